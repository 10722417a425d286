/*-------------------------------------------------------------------------
 *
 * past_reasons.c
 *	  What the past of a deal tells about why it needs a look.
 *
 * Owns _past_reasons(): how often the expected closing of a deal was put off,
 * and the stages that it jumped over (S19).  The same is written in SQL in
 * views.sql, as correlated subqueries; these PostgreSQL leaves to one process,
 * and they look at the past of a deal up to four times.  Here it is one range
 * of the index on key and version, by however many processes; or nothing but a
 * look into a table (past_dates.c), where there is one that tells it.
 *
 * Invariant: the answer is that of the SQL, for the snapshot of the query that
 * asks.  It is given only where the current user could read the history by
 * himself, row by row and without a policy; everywhere else it is NULL, never
 * a guess.
 *
 * It must never keep anything open between two calls: nothing would close it
 * when the query fails.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_am.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "fmgr.h"
#include "insight/past_dates.h"
#include "miscadmin.h"
#include "parser/parse_coerce.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(pipelines_past_reasons);

/* the arguments */
#define ARG_HISTORY		0
#define ARG_COLUMNS		1
#define ARG_STAGES		2
#define ARG_NAMES		3
#define ARG_DATES		4
#define ARG_VERSION		5
#define ARG_EXPECTED	6
#define ARG_EPISODE		7
#define ARG_PIPELINE	8
#define ARG_STAGE		9
#define ARG_KEY			10

/* the columns of the history that are read, in the order of their argument */
typedef enum PastColumn
{
	PAST_VERSION,
	PAST_CHANGE,
	PAST_EXPECTED,
	PAST_EPISODE,
	PAST_PIPELINE,
	PAST_STAGE,
	PAST_TO_PIPELINE,
	PAST_SKIPPED
} PastColumn;

#define NUM_PAST_COLUMNS	(PAST_SKIPPED + 1)

static const Oid past_types[NUM_PAST_COLUMNS] = {
	INT4OID, TEXTOID, DATEOID, INT4OID, INT4OID, INT4OID, INT4OID, INT4ARRAYOID
};

/* what one place in a query asks, worked out at its first call */
typedef struct PastReader
{
	bool		readable;
	Oid			history;
	Oid			index;
	int			nkeys;
	RegProcedure equal[INDEX_MAX_KEYS];
	Oid			subtype[INDEX_MAX_KEYS];
	Oid			collation[INDEX_MAX_KEYS];
	RegProcedure less;			/* of versions */
	AttrNumber	columns[NUM_PAST_COLUMNS];
	AttrNumber	last_column;	/* rows are taken apart up to it */
} PastReader;

/* one row of the past */
typedef struct PastRow
{
	Datum		values[NUM_PAST_COLUMNS];
	bool		nulls[NUM_PAST_COLUMNS];
} PastRow;

/* where the columns are that an array names: first the key's, then ours */
static bool
find_columns(PastReader *reader, Relation history, ArrayType *names, AttrNumber *keys)
{
	TupleDesc	desc = RelationGetDescr(history);
	Datum	   *elements;
	bool	   *nulls;
	int			n;

	deconstruct_array(names, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &n);
	if (n != reader->nkeys + NUM_PAST_COLUMNS)
		return false;
	for (int i = 0; i < n; i++)
	{
		AttrNumber	attnum = nulls[i] ? InvalidAttrNumber :
			get_attnum(RelationGetRelid(history), TextDatumGetCString(elements[i]));

		if (attnum <= 0)
			return false;
		if (i < reader->nkeys)
			keys[i] = attnum;
		else if (TupleDescAttr(desc, attnum - 1)->atttypid != past_types[i - reader->nkeys])
			return false;
		else
			reader->columns[i - reader->nkeys] = attnum;
		reader->last_column = Max(reader->last_column, attnum);
	}
	return true;
}

/* can the index say where the versions of a key are, in their order? */
static bool
index_serves(PastReader *reader, FunctionCallInfo fcinfo, Relation index, const AttrNumber *keys)
{
	Form_pg_index form = index->rd_index;
	int			n = reader->nkeys;

	if (!form->indisunique || !form->indisvalid || form->indnkeyatts != n + 1 ||
		index->rd_rel->relam != BTREE_AM_OID ||
		!heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL))
		return false;
	/* in versions that differ from what they were made from, see pg_index */
	if (form->indcheckxmin)
		return false;
	for (int i = 0; i <= n; i++)
	{
		Oid			operator;

		if (form->indkey.values[i] != (i < n ? keys[i] : reader->columns[PAST_VERSION]))
			return false;
		operator = get_opfamily_member(index->rd_opfamily[i], index->rd_opcintype[i],
									   index->rd_opcintype[i],
									   i < n ? BTEqualStrategyNumber : BTLessStrategyNumber);
		if (!OidIsValid(operator))
			return false;
		if (i == n)
		{
			reader->less = get_opcode(operator);
			return (index->rd_indoption[n] & INDOPTION_DESC) == 0 &&
				index->rd_opcintype[n] == INT4OID;
		}
		if (!IsBinaryCoercible(getBaseType(get_fn_expr_argtype(fcinfo->flinfo, ARG_KEY + i)),
							   index->rd_opcintype[i]))
			return false;
		reader->equal[i] = get_opcode(operator);
		reader->subtype[i] = index->rd_opcintype[i];
		reader->collation[i] = index->rd_indcollation[i];
	}
	return false;				/* not reached */
}

/*
 * What the calls of one place in a query have in common.  The lock on the
 * history is kept, so that it stays true until the query ends.
 */
static PastReader *
make_reader(FunctionCallInfo fcinfo)
{
	PastReader *reader = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(PastReader));
	AttrNumber	keys[INDEX_MAX_KEYS];
	Relation	history;

	fcinfo->flinfo->fn_extra = reader;
	reader->history = PG_GETARG_OID(ARG_HISTORY);
	reader->nkeys = PG_NARGS() - ARG_KEY;
	if (get_rel_relkind(reader->history) != RELKIND_RELATION ||
		reader->nkeys >= INDEX_MAX_KEYS ||
		get_fn_expr_variadic(fcinfo->flinfo) ||
		pg_class_aclcheck(reader->history, GetUserId(), ACL_SELECT) != ACLCHECK_OK ||
		check_enable_rls(reader->history, InvalidOid, true) == RLS_ENABLED)
		return reader;

	history = table_open(reader->history, AccessShareLock);
	if (find_columns(reader, history, PG_GETARG_ARRAYTYPE_P(ARG_COLUMNS), keys))
	{
		List	   *indexes = RelationGetIndexList(history);
		ListCell   *lc;

		foreach(lc, indexes)
		{
			Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

			if (index_serves(reader, fcinfo, index, keys))
			{
				reader->index = lfirst_oid(lc);
				reader->readable = true;
			}
			index_close(index, NoLock);
			if (reader->readable)
				break;
		}
		list_free(indexes);
	}
	table_close(history, NoLock);
	return reader;
}

/* what was seen of a deal's past so far */
typedef struct Past
{
	PastDates	dates;
	List	   *skipped;		/* stages jumped over in the present episode */
	List	   *visited;		/* and those where it was */
} Past;

static void
see_skipped(Past *past, Datum stages)
{
	ArrayType  *array = DatumGetArrayTypeP(stages);
	Datum	   *elements;
	bool	   *nulls;
	int			n;

	deconstruct_array(array, INT4OID, sizeof(int32), true, TYPALIGN_INT, &elements, &nulls, &n);
	for (int i = 0; i < n; i++)
		if (!nulls[i])
			past->skipped = list_append_unique_int(past->skipped, DatumGetInt32(elements[i]));
}

static bool
row_says(const PastRow *row, PastColumn column, FunctionCallInfo fcinfo, int argument)
{
	return !row->nulls[column] && !PG_ARGISNULL(argument) &&
		DatumGetInt32(row->values[column]) == PG_GETARG_INT32(argument);
}

static void
see_row(Past *past, const PastRow *row, FunctionCallInfo fcinfo)
{
	text	   *change = DatumGetTextPP(row->values[PAST_CHANGE]);

	if (VARSIZE_ANY_EXHDR(change) == strlen("delete") &&
		memcmp(VARDATA_ANY(change), "delete", strlen("delete")) == 0)
		see_end_of_life(&past->dates);
	else
		see_expected(&past->dates, !row->nulls[PAST_EXPECTED],
					 DatumGetDateADT(row->values[PAST_EXPECTED]));

	if (row_says(row, PAST_EPISODE, fcinfo, ARG_EPISODE) &&
		row_says(row, PAST_PIPELINE, fcinfo, ARG_PIPELINE))
	{
		if (!row->nulls[PAST_STAGE])
			past->visited = list_append_unique_int(past->visited,
												   DatumGetInt32(row->values[PAST_STAGE]));
		if (!row->nulls[PAST_SKIPPED] && row_says(row, PAST_TO_PIPELINE, fcinfo, ARG_PIPELINE))
			see_skipped(past, row->values[PAST_SKIPPED]);
	}
}

/* the versions of the key before the given one, from the first one on */
static void
read_past(const PastReader *reader, FunctionCallInfo fcinfo, Past *past)
{
	Relation	history = table_open(reader->history, AccessShareLock);
	Relation	index = index_open(reader->index, AccessShareLock);
	TupleTableSlot *slot = table_slot_create(history, NULL);
	ScanKeyData keys[INDEX_MAX_KEYS];
	IndexScanDesc scan;
	int			n = reader->nkeys;

	for (int i = 0; i < n; i++)
		ScanKeyEntryInitialize(&keys[i], 0, i + 1, BTEqualStrategyNumber, reader->subtype[i],
							   reader->collation[i], reader->equal[i], PG_GETARG_DATUM(ARG_KEY + i));
	ScanKeyEntryInitialize(&keys[n], 0, n + 1, BTLessStrategyNumber, INT4OID, InvalidOid,
						   reader->less, PG_GETARG_DATUM(ARG_VERSION));
	scan = compat_index_beginscan(history, index, GetActiveSnapshot(), n + 1);
	index_rescan(scan, keys, n + 1, NULL, 0);
	while (index_getnext_slot(scan, ForwardScanDirection, slot))
	{
		PastRow		row;

		CHECK_FOR_INTERRUPTS();
		slot_getsomeattrs(slot, reader->last_column);
		for (int c = 0; c < NUM_PAST_COLUMNS; c++)
			row.values[c] = slot_getattr(slot, reader->columns[c], &row.nulls[c]);
		see_row(past, &row, fcinfo);
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, AccessShareLock);
	table_close(history, AccessShareLock);
}

/* the same of a table that was made of the whole history, if it tells all of it */
static bool
known_past(const PastReader *reader, FunctionCallInfo fcinfo, Past *past)
{
	bytea	   *table;
	int64		key;
	bool		found;

	if (PG_ARGISNULL(ARG_DATES) || reader->nkeys != 1)
		return false;
	switch (reader->subtype[0])
	{
		case INT2OID:
			key = PG_GETARG_INT16(ARG_KEY);
			break;
		case INT4OID:
			key = PG_GETARG_INT32(ARG_KEY);
			break;
		case INT8OID:
			key = PG_GETARG_INT64(ARG_KEY);
			break;
		default:
			return false;
	}
	table = PG_GETARG_BYTEA_PP(ARG_DATES);
	found = find_past_dates(table, key, PG_GETARG_INT32(ARG_VERSION), &past->dates);
	PG_FREE_IF_COPY(table, ARG_DATES);
	return found;
}

/* the names of what was skipped and not visited later, in the order of all names */
static ArrayBuildState *
name_skipped(const Past *past, FunctionCallInfo fcinfo, ArrayBuildState *reasons)
{
	Datum	   *stages;
	Datum	   *names;
	int			nstages;
	int			nnames;

	if (past->skipped == NIL || PG_ARGISNULL(ARG_STAGES) || PG_ARGISNULL(ARG_NAMES))
		return reasons;
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(ARG_STAGES), INT8OID, sizeof(int64), FLOAT8PASSBYVAL,
					  TYPALIGN_DOUBLE, &stages, NULL, &nstages);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(ARG_NAMES), TEXTOID, -1, false,
					  TYPALIGN_INT, &names, NULL, &nnames);
	for (int i = 0; i < Min(nstages, nnames); i++)
	{
		int64		stage = DatumGetInt64(stages[i]);
		int32		id = (int32) (stage & 0xffffffff);

		if (stage >> 32 == PG_GETARG_INT32(ARG_PIPELINE) &&
			list_member_int(past->skipped, id) && !list_member_int(past->visited, id) &&
			(PG_ARGISNULL(ARG_STAGE) || id != PG_GETARG_INT32(ARG_STAGE)))
			reasons = accumArrayResult(reasons,
									   CStringGetTextDatum(psprintf("skipped_stage:%s",
																	TextDatumGetCString(names[i]))),
									   false, TEXTOID, CurrentMemoryContext);
	}
	return reasons;
}

/*
 * Arguments: the history; the names of its columns, first those of the key,
 * then those of PastColumn; all stages, each with its pipeline as one number,
 * and their names, in the order in which they are to be told; a table of
 * _past_dates() or NULL; version, expected closing, episode, pipeline and stage
 * of the deal; its key.
 *
 * NULL where this history can't be read like that.  Without a version nothing
 * is read.
 */
Datum
pipelines_past_reasons(PG_FUNCTION_ARGS)
{
	PastReader *reader = fcinfo->flinfo->fn_extra;
	ArrayBuildState *reasons = NULL;
	Past		past = {0};

	if (PG_NARGS() <= ARG_KEY || PG_ARGISNULL(ARG_HISTORY) || PG_ARGISNULL(ARG_COLUMNS))
		PG_RETURN_NULL();
	if (reader == NULL || reader->history != PG_GETARG_OID(ARG_HISTORY))
		reader = make_reader(fcinfo);
	if (!reader->readable)
		PG_RETURN_NULL();
	for (int i = ARG_KEY; i < PG_NARGS(); i++)
		if (PG_ARGISNULL(i))
			return PointerGetDatum(construct_empty_array(TEXTOID));
	if (PG_ARGISNULL(ARG_VERSION))
		return PointerGetDatum(construct_empty_array(TEXTOID));

	if (!known_past(reader, fcinfo, &past))
		read_past(reader, fcinfo, &past);
	see_expected(&past.dates, !PG_ARGISNULL(ARG_EXPECTED), PG_GETARG_DATEADT(ARG_EXPECTED));
	if (past.dates.pushes > 0)
		reasons = accumArrayResult(reasons, CStringGetTextDatum(psprintf("pushed_%d_times", past.dates.pushes)),
								   false, TEXTOID, CurrentMemoryContext);
	if (!PG_ARGISNULL(ARG_PIPELINE))
		reasons = name_skipped(&past, fcinfo, reasons);
	if (reasons == NULL)
		return PointerGetDatum(construct_empty_array(TEXTOID));
	return makeArrayResult(reasons, CurrentMemoryContext);
}
