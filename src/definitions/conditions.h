/*-------------------------------------------------------------------------
 *
 * conditions.h
 *	  Conditions over the columns of a deal.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PIPELINES_CONDITIONS_H
#define PIPELINES_CONDITIONS_H

#include "access/attnum.h"
#include "access/tupdesc.h"
#include "nodes/primnodes.h"

typedef struct Condition
{
	Expr	   *expr;			/* NULL: the columns must be filled in */
	int			ncolumns;
	AttrNumber *columns;		/* those that it looks at, each once */
	bool		uses_generated; /* some of them are generated columns */
} Condition;

/* which column a name means; InvalidAttrNumber: none */
typedef AttrNumber (*ColumnResolver) (const char *name, void *arg);

/*
 * Read a condition over the columns of 'desc'.  'what' says in error messages
 * where it stands.  The result is palloc'd; its expression is ready for
 * ExecInitExpr(), with the columns as those of relation number 1.
 *
 * Raises 42601 (no condition), 42703 (no such column), 42804 (not boolean),
 * 0A000 (more than immutable functions of pg_catalog).
 */
extern Condition *condition_parse(const char *text, TupleDesc desc,
								  ColumnResolver resolve, void *arg,
								  const char *what);

/*
 * Read an expression over the columns of 'desc', as a value of type 'wanted'.
 * Errors as above, 42804 where it can't be of that type.  The result is not
 * planned.
 */
extern Expr *expression_parse(const char *text, TupleDesc desc,
							  ColumnResolver resolve, void *arg,
							  const char *what, Oid wanted);

/*
 * Is this one expression, whatever it is made of?  Nothing is looked up.  Then it
 * can stand in parentheses, followed by a new line, and mean no more than that.
 * Raises 42601 if it is not.
 */
extern void expression_check(const char *text, const char *what, const char *example);

#endif							/* PIPELINES_CONDITIONS_H */
