/*-------------------------------------------------------------------------
 *
 * expression.c
 *	  Measures, dimensions and filters of reports, as SQL that is safe to run.
 *
 * Owns the way from a text in a forecast type, a quota or an argument to a
 * piece of a command.  The invariant: what comes out is not the text but
 * what was read from it, written anew with every column by its own name; so
 * it can't end a command, run anybody's code, or mean something else under
 * other settings.  Must never evaluate anything.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "deals/mapping.h"
#include "definitions/conditions.h"
#include "fmgr.h"
#include "nodes/makefuncs.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

PG_FUNCTION_INFO_V1(pipelines_expression);
PG_FUNCTION_INFO_V1(pipelines_need_expression);

typedef struct Names
{
	TupleDesc	desc;
	int			n;
	char	  **roles;
	char	  **columns;
} Names;

static AttrNumber
own_column(TupleDesc desc, const char *name)
{
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && strcmp(NameStr(att->attname), name) == 0)
			return att->attnum;
	}
	return InvalidAttrNumber;
}

/* a column by its own name, else by the part that it plays */
static AttrNumber
find_column(const char *name, void *arg)
{
	const Names *names = (const Names *) arg;
	AttrNumber	attnum = own_column(names->desc, name);

	for (int i = 0; attnum == InvalidAttrNumber && i < names->n; i++)
	{
		if (strcmp(names->roles[i], name) == 0)
			attnum = own_column(names->desc, names->columns[i]);
	}
	return attnum;
}

static char **
text_array(ArrayType *array, int *n)
{
	Datum	   *elements;
	bool	   *nulls;
	char	  **result;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, n);
	result = palloc(sizeof(char *) * (*n + 1));
	for (int i = 0; i < *n; i++)
		result[i] = nulls[i] ? pstrdup("") : TextDatumGetCString(elements[i]);
	return result;
}

/*
 * _expression(deals, expression, type, what, roles, columns)
 */
Datum
pipelines_expression(PG_FUNCTION_ARGS)
{
	Relation	rel = open_given_table(PG_GETARG_OID(0), AccessShareLock);
	char	   *source = text_to_cstring(PG_GETARG_TEXT_PP(1));
	Names		names = {RelationGetDescr(rel), 0, NULL, NULL};
	int			nroles;
	Expr	   *expr;
	char	   *result;

	names.roles = text_array(PG_GETARG_ARRAYTYPE_P(4), &nroles);
	names.columns = text_array(PG_GETARG_ARRAYTYPE_P(5), &names.n);
	names.n = Min(names.n, nroles);
	expr = expression_parse(source, names.desc, find_column, &names,
							text_to_cstring(PG_GETARG_TEXT_PP(3)), PG_GETARG_OID(2));
	result = deparse_expression((Node *) expr,
								deparse_context_for("d", RelationGetRelid(rel)), true, false);
	relation_close(rel, AccessShareLock);
	PG_RETURN_TEXT_P(cstring_to_text(result));
}

/*
 * _need_expression(expression, what, example)
 */
Datum
pipelines_need_expression(PG_FUNCTION_ARGS)
{
	expression_check(text_to_cstring(PG_GETARG_TEXT_PP(0)), text_to_cstring(PG_GETARG_TEXT_PP(1)),
					 text_to_cstring(PG_GETARG_TEXT_PP(2)));
	PG_RETURN_VOID();
}
