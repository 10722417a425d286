/*-------------------------------------------------------------------------
 *
 * key_text.c
 *	  The key of a deal as one text.
 *
 * Owns how functions are told which deal is meant: by the text form of its
 * key, for keys of several columns that of a row, as in '(3,"a b")', by the
 * rules of record_in().  The invariant: what ROW(...)::text writes is read
 * back as it was.  Must never take an empty value for a key: no part of a key
 * is NULL.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "deals/key_text.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"

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

Datum
pipelines_key_values(PG_FUNCTION_ARGS)
{
	int			n = PG_GETARG_INT32(1);
	char	  **values;
	Datum	   *elements;

	if (n < 1 || n > INDEX_MAX_KEYS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a key can't have %d columns", n)));
	values = key_text_values(text_to_cstring(PG_GETARG_TEXT_PP(0)), n);
	elements = palloc(sizeof(Datum) * n);
	for (int i = 0; i < n; i++)
		elements[i] = CStringGetTextDatum(values[i]);
	PG_RETURN_ARRAYTYPE_P(construct_array(elements, n, TEXTOID, -1, false, TYPALIGN_INT));
}
