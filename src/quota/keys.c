/*-------------------------------------------------------------------------
 *
 * keys.c
 *	  Several values as one, to group by.
 *
 * Owns the packing of what a report is split by.  The planner multiplies the
 * numbers of distinct values of all that is grouped by, comes to believe in
 * as many groups as rows, and sorts a million rows where there are two
 * thousand groups; of one column that it knows nothing about it expects few.
 * _pack() is declared volatile for that alone: what calls it is then a
 * column to the planner, not an expression that it looks into.  The
 * invariant: equal values make equal keys, and different ones different keys.
 *
 * Must never be stored: a key is good for one statement.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "compat.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(pipelines_pack);
PG_FUNCTION_INFO_V1(pipelines_unpack);

#define TAG_NULL	'n'
#define TAG_INT		'i'
#define TAG_TEXT	't'

#define MAX_PARTS	16

/*
 * _pack(VARIADIC "any"): each argument is a text or an integer
 */
Datum
pipelines_pack(PG_FUNCTION_ARGS)
{
	int			n = PG_NARGS();
	char	   *tags = (char *) fcinfo->flinfo->fn_extra;
	text	   *values[MAX_PARTS];
	Size		size = VARHDRSZ;
	bytea	   *result;
	char	   *at;

	if (tags == NULL)
	{
		if (n > MAX_PARTS)
			ereport(ERROR,
					(errcode(ERRCODE_TOO_MANY_ARGUMENTS),
					 errmsg("a key has at most %d parts", MAX_PARTS),
					 errhint("Split the report by fewer things.")));
		tags = MemoryContextAlloc(fcinfo->flinfo->fn_mcxt, n + 1);
		for (int i = 0; i < n; i++)
		{
			Oid			type = get_fn_expr_argtype(fcinfo->flinfo, i);

			if (type != INT4OID && type != TEXTOID)
				ereport(ERROR,
						(errcode(ERRCODE_DATATYPE_MISMATCH),
						 errmsg("part %d of a key is neither a text nor an integer", i + 1),
						 errhint("Cast it to text.")));
			tags[i] = type == INT4OID ? TAG_INT : TAG_TEXT;
		}
		fcinfo->flinfo->fn_extra = tags;
	}

	for (int i = 0; i < n; i++)
	{
		size++;
		if (PG_ARGISNULL(i))
			continue;
		if (tags[i] == TAG_INT)
			size += sizeof(int32);
		else
		{
			values[i] = PG_GETARG_TEXT_PP(i);
			size += sizeof(int32) + VARSIZE_ANY_EXHDR(values[i]);
		}
	}

	result = (bytea *) palloc(size);
	SET_VARSIZE(result, size);
	at = VARDATA(result);
	for (int i = 0; i < n; i++)
	{
		if (PG_ARGISNULL(i))
		{
			*at++ = TAG_NULL;
			continue;
		}
		*at++ = tags[i];
		if (tags[i] == TAG_INT)
		{
			int32		value = PG_GETARG_INT32(i);

			memcpy(at, &value, sizeof(value));
			at += sizeof(value);
		}
		else
		{
			int32		length = VARSIZE_ANY_EXHDR(values[i]);

			memcpy(at, &length, sizeof(length));
			at += sizeof(length);
			memcpy(at, VARDATA_ANY(values[i]), length);
			at += length;
		}
	}
	PG_RETURN_BYTEA_P(result);
}

compat_noreturn static void
not_a_key(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
			 errmsg("this is not a key of a report"),
			 errhint("Keys are made by pipelines._pack().")));
}

/*
 * _unpack(key): its parts as text
 */
Datum
pipelines_unpack(PG_FUNCTION_ARGS)
{
	bytea	   *key = PG_GETARG_BYTEA_PP(0);
	const char *at = VARDATA_ANY(key);
	const char *end = at + VARSIZE_ANY_EXHDR(key);
	Datum		values[MAX_PARTS];
	bool		nulls[MAX_PARTS];
	int			n = 0;
	int			lower = 1;

	while (at < end)
	{
		char		tag = *at++;
		int32		number = 0;

		if (n == MAX_PARTS || (tag != TAG_NULL && end - at < (ptrdiff_t) sizeof(number)))
			not_a_key();
		nulls[n] = tag == TAG_NULL;
		values[n] = (Datum) 0;
		if (tag != TAG_NULL)
		{
			memcpy(&number, at, sizeof(number));
			at += sizeof(number);
		}
		if (tag == TAG_INT)
			values[n] = CStringGetTextDatum(psprintf("%d", number));
		else if (tag == TAG_TEXT)
		{
			if (number < 0 || number > end - at)
				not_a_key();
			values[n] = PointerGetDatum(cstring_to_text_with_len(at, number));
			at += number;
		}
		else if (tag != TAG_NULL)
			not_a_key();
		n++;
	}
	if (n == 0)
		PG_RETURN_ARRAYTYPE_P(construct_empty_array(TEXTOID));
	PG_RETURN_ARRAYTYPE_P(construct_md_array(values, nulls, 1, &n, &lower, TEXTOID, -1, false,
											 TYPALIGN_INT));
}
