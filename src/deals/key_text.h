/*-------------------------------------------------------------------------
 *
 * key_text.h
 *	  The key of a deal as one text.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PIPELINES_KEY_TEXT_H
#define PIPELINES_KEY_TEXT_H

#include "fmgr.h"
#include "utils/relcache.h"

/* one column of a key, and how a value of it is read */
typedef struct KeyColumn
{
	const char *schema;			/* of the table, for errors: as they are called */
	const char *table;
	const char *column;
	const char *type;
	FmgrInfo	input;
	Oid			ioparam;
	int32		typmod;
} KeyColumn;

/*
 * The values of n key columns in a text: of one column the text as it is, of
 * several a record literal such as '(3,"a b")'.  palloc'd.  Anything else is
 * an error.
 */
extern char **key_text_values(const char *deal, int n);

/* palloc'd parts last as long as the present context */
extern void key_column_open(KeyColumn *key, Relation rel, AttrNumber attnum);

/*
 * The value that a text stands for.  What its type can't read is an error that
 * names the table and the column.
 */
extern Datum key_column_value(KeyColumn *key, const char *text);

#endif							/* PIPELINES_KEY_TEXT_H */
