/*-------------------------------------------------------------------------
 *
 * key_text.c
 *	  The key of a deal as one text.
 *
 * Owns how functions are told which deal is meant: by the text form of its
 * key, for keys of several columns that of a row, as in '(3,"a b")', by the
 * rules of record_in(); and the reading of each of its values by the type of
 * its column.  The invariant: what ROW(...)::text writes is read back as it
 * was.  Must never take an empty value for a key: no part of a key is NULL.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "deals/key_text.h"
#include "deals/mapping.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(pipelines_key_values);

static void
refuse(const char *deal, int n, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("\"%s\" is not the key of a deal", deal),
			 errdetail("%s", detail),
			 errhint("Give the values of the %d key columns as in '(1,2)'.", n)));
}

static bool
is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f';
}

char	  **
key_text_values(const char *deal, int n)
{
	char	  **values = palloc(sizeof(char *) * n);
	const char *p = deal;
	StringInfoData buf;

	if (n == 1)
	{
		values[0] = pstrdup(deal);
		return values;
	}

	while (is_space(*p))
		p++;
	if (*p++ != '(')
		refuse(deal, n, "It does not begin with a parenthesis.");
	initStringInfo(&buf);
	for (int i = 0; i < n; i++)
	{
		bool		in_quotes = false;
		bool		quoted = false;

		resetStringInfo(&buf);
		while (in_quotes || (*p != ',' && *p != ')'))
		{
			char		c = *p++;

			if (c == '\0')
				refuse(deal, n, "It ends too early.");
			if (c == '\\')
			{
				if (*p == '\0')
					refuse(deal, n, "It ends too early.");
				appendStringInfoChar(&buf, *p++);
			}
			else if (c == '"')
			{
				if (in_quotes && *p == '"')
					appendStringInfoChar(&buf, *p++);
				else
					in_quotes = !in_quotes;
				quoted = true;
			}
			else
				appendStringInfoChar(&buf, c);
		}
		if (buf.len == 0 && !quoted)
			refuse(deal, n, "No column of a key is empty.");
		values[i] = pstrdup(buf.data);
		if (i < n - 1 && *p != ',')
			refuse(deal, n, "It has too few columns.");
		if (i == n - 1 && *p != ')')
			refuse(deal, n, "It has too many columns.");
		p++;
	}
	while (is_space(*p))
		p++;
	if (*p != '\0')
		refuse(deal, n, "Something follows the right parenthesis.");
	return values;
}

void
key_column_open(KeyColumn *key, Relation rel, AttrNumber attnum)
{
	Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), attnum - 1);
	Oid			type;
	Oid			input;

	key->schema = get_namespace_name(RelationGetNamespace(rel));
	key->table = pstrdup(RelationGetRelationName(rel));
	key->column = pstrdup(NameStr(att->attname));
	/* what a domain demands of what is stored is its owner's code, and not for us to run */
	key->typmod = att->atttypmod;
	type = getBaseTypeAndTypmod(att->atttypid, &key->typmod);
	key->type = format_type_with_typemod(type, key->typmod);
	getTypeInputInfo(type, &input, &key->ioparam);
	fmgr_info(input, &key->input);
}

/* the type knows the text alone, and not what it was meant for */
static void
key_error_callback(void *arg)
{
	const KeyColumn *key = (const KeyColumn *) arg;

	if (ERRCODE_TO_CATEGORY(geterrcode()) != ERRCODE_DATA_EXCEPTION)
		return;
	errhint("Give the key of a deal of table \"%s\": its column \"%s\" is of type %s.",
			key->table, key->column, key->type);
	err_generic_string(PG_DIAG_SCHEMA_NAME, key->schema);
	err_generic_string(PG_DIAG_TABLE_NAME, key->table);
	err_generic_string(PG_DIAG_COLUMN_NAME, key->column);
}

Datum
key_column_value(KeyColumn *key, const char *text)
{
	ErrorContextCallback callback;
	Datum		value;

	callback.callback = key_error_callback;
	callback.arg = key;
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	value = InputFunctionCall(&key->input, unconstify(char *, text), key->ioparam, key->typmod);
	error_context_stack = callback.previous;
	return value;
}

/*
 * _key_values(relation, columns, deal)
 *
 * The values in a key as they were written, each of them one that its column
 * may have.
 */
Datum
pipelines_key_values(PG_FUNCTION_ARGS)
{
	Relation	rel = open_given_table(PG_GETARG_OID(0), AccessShareLock);
	Datum	   *columns;
	bool	   *nulls;
	int			n;
	char	  **values;
	Datum	   *elements;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR,
					  &columns, &nulls, &n);
	if (n < 1 || n > INDEX_MAX_KEYS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a key can't have %d columns", n)));
	values = key_text_values(text_to_cstring(PG_GETARG_TEXT_PP(2)), n);
	elements = palloc(sizeof(Datum) * n);
	for (int i = 0; i < n; i++)
	{
		const char *name = nulls[i] ? "" : NameStr(*DatumGetName(columns[i]));
		AttrNumber	attnum = get_attnum(RelationGetRelid(rel), name);
		KeyColumn	key;

		if (attnum <= 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" of table \"%s\" does not exist",
							name, RelationGetRelationName(rel))));
		key_column_open(&key, rel, attnum);
		(void) key_column_value(&key, values[i]);
		elements[i] = CStringGetTextDatum(values[i]);
	}
	table_close(rel, AccessShareLock);
	PG_RETURN_ARRAYTYPE_P(construct_array(elements, n, TEXTOID, -1, false, TYPALIGN_INT));
}
