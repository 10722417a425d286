/*-------------------------------------------------------------------------
 *
 * references.c
 *	  What definitions refer to each other.
 *
 * Owns the references among the definition tables, which are not declared as
 * foreign keys: a parallel restore of data alone loads tables in any order,
 * and would lose the rows that come too early.  The invariant: a row that
 * was made here refers to rows that exist, and whatever refers to a row goes
 * with it or keeps it.  Only a row that comes in with all its bookkeeping (a
 * restore, a copy) is let through as it is; check_definitions() lists those
 * that refer to nothing.
 *
 * It holds between sessions because of the lock on definition_lock, which
 * bookkeeping.c takes before it comes here: who makes a reference holds ROW
 * SHARE, who deletes what can be referred to holds EXCLUSIVE, both until the
 * end of the transaction.  The look comes after the lock, with the newest
 * snapshot, when the statement is through; so one statement may make both
 * ends of a reference, in any order.
 *
 * Must never be called for a row that a subscription brings, and never put a
 * value into SQL other than as a parameter.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "compat.h"
#include "definitions/definitions_private.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/bitmapset.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* columns of a reference, and of a key, at most */
#define MAX_REFERENCE_COLUMNS	2
#define MAX_KEY_COLUMNS			3

/* rows that are named in a message */
#define LISTED_ROWS				5

typedef struct Reference
{
	const char *name;			/* for errors, as of a constraint */
	const char *table;
	const char *columns[MAX_REFERENCE_COLUMNS];
	const char *target;
	const char *keys[MAX_REFERENCE_COLUMNS];
	const char *label;			/* SQL: names a row that is in the way */
	bool		cascades;		/* or does it go with what it refers to? */
} Reference;

/* check_definitions() knows the same list */
static const Reference references[] =
{
	{
		"pipeline_belongs_to_a_layout",
		"pipeline", {"layout_id", NULL}, "layout", {"layout_id", NULL},
		"pg_catalog.format('pipeline \"%s\"', r.name)", false
	},
	{
		"stage_belongs_to_a_pipeline",
		"pipeline_stage", {"pipeline_id", NULL}, "pipeline", {"pipeline_id", NULL},
		NULL, true
	},
	{
		"stage_is_in_the_picklist",
		"pipeline_stage", {"stage_id", NULL}, "stage", {"stage_id", NULL},
		"coalesce((SELECT pg_catalog.format('pipeline \"%s\"', p.name)"
		" FROM pipelines.pipeline AS p"
		" WHERE p.pipeline_id OPERATOR(pg_catalog.=) r.pipeline_id),"
		" pg_catalog.format('pipeline %s', r.pipeline_id))", false
	},
	{
		"map_leaves_a_stage",
		"stage_map", {"from_pipeline_id", "from_stage_id"},
		"pipeline_stage", {"pipeline_id", "stage_id"}, NULL, true
	},
	{
		"map_enters_a_stage",
		"stage_map", {"to_pipeline_id", "to_stage_id"},
		"pipeline_stage", {"pipeline_id", "stage_id"}, NULL, true
	},
	{
		"transition_leaves_a_stage",
		"stage_transition", {"pipeline_id", "from_stage_id"},
		"pipeline_stage", {"pipeline_id", "stage_id"}, NULL, true
	},
	{
		"transition_enters_a_stage",
		"stage_transition", {"pipeline_id", "to_stage_id"},
		"pipeline_stage", {"pipeline_id", "stage_id"}, NULL, true
	},
	{
		"pipeline_is_reckoned_by_a_calendar",
		"pipeline", {"calendar_id", NULL}, "fiscal_calendar", {"calendar_id", NULL},
		"pg_catalog.format('pipeline \"%s\"', r.name)", false
	},
	{
		"period_belongs_to_a_calendar",
		"fiscal_period", {"calendar_id", NULL}, "fiscal_calendar", {"calendar_id", NULL}, NULL, true
	},
	{
		"period_is_part_of_a_period",
		"fiscal_period", {"parent_id", NULL}, "fiscal_period", {"period_id", NULL}, NULL, true
	},
	{
		"hours_belong_to_a_calendar",
		"business_hours", {"calendar_id", NULL}, "fiscal_calendar", {"calendar_id", NULL}, NULL, true
	},
	{
		"holiday_belongs_to_a_calendar",
		"holiday", {"calendar_id", NULL}, "fiscal_calendar", {"calendar_id", NULL}, NULL, true
	},
	{
		"tracked_table_belongs_to_a_layout",
		"tracked_table", {"layout_id", NULL}, "layout", {"layout_id", NULL},
		"pg_catalog.format('deals table %s', r.relation)", false
	},
	{
		"stage_is_merged_into_a_stage",
		"pipeline_stage", {"pipeline_id", "merged_into"},
		"pipeline_stage", {"pipeline_id", "stage_id"},
		"pg_catalog.format('stage %s, which was merged into it', r.stage_id)", false
	},
	{
		"activity_belongs_to_a_stage",
		"stage_activity", {"pipeline_id", "stage_id"},
		"pipeline_stage", {"pipeline_id", "stage_id"}, NULL, true
	},
	{
		"approval_belongs_to_a_pipeline",
		"approval", {"pipeline_id", NULL}, "pipeline", {"pipeline_id", NULL}, NULL, true
	},
	{
		"approval_leaves_a_stage",
		"approval", {"pipeline_id", "from_stage_id"},
		"pipeline_stage", {"pipeline_id", "stage_id"}, NULL, true
	},
	{
		"approval_enters_a_stage",
		"approval", {"pipeline_id", "to_stage_id"},
		"pipeline_stage", {"pipeline_id", "stage_id"}, NULL, true
	},
	{
		"deal_type_belongs_to_a_layout",
		"deal_type", {"layout_id", NULL}, "layout", {"layout_id", NULL}, NULL, true
	},
	{
		"deal_type_has_a_pipeline",
		"deal_type", {"pipeline_id", NULL}, "pipeline", {"pipeline_id", NULL}, NULL, true
	},
	{
		"role_belongs_to_a_pipeline",
		"pipeline_role", {"pipeline_id", NULL}, "pipeline", {"pipeline_id", NULL}, NULL, true
	},
	{
		"value_stands_for_a_stage",
		"stage_value", {"stage_id", NULL}, "stage", {"stage_id", NULL},
		"pg_catalog.format('adopted table %s', r.relation)", false
	},
	{
		"unit_belongs_to_a_unit",
		"sales_unit", {"parent_id", NULL}, "sales_unit", {"unit_id", NULL},
		"pg_catalog.format('unit \"%s\"', r.name)", false
	},
	{
		"member_belongs_to_a_unit",
		"sales_unit_member", {"unit_id", NULL}, "sales_unit", {"unit_id", NULL},
		"pg_catalog.format('member %s', r.owner)", false
	},
	{
		"quota_has_a_forecast_type",
		"quota", {"forecast_type_id", NULL}, "forecast_type", {"forecast_type_id", NULL},
		"pg_catalog.format('quota %s', r.quota_id)", false
	},
	{
		"quota_is_for_a_period",
		"quota", {"period_id", NULL}, "fiscal_period", {"period_id", NULL},
		"pg_catalog.format('quota %s', r.quota_id)", false
	},
	{
		"quota_is_for_a_unit",
		"quota", {"unit_id", NULL}, "sales_unit", {"unit_id", NULL},
		"pg_catalog.format('quota %s', r.quota_id)", false
	},
	{
		"quota_is_for_a_pipeline",
		"quota", {"pipeline_id", NULL}, "pipeline", {"pipeline_id", NULL},
		NULL, true
	},
	/* what people said of a forecast is no definition, and never goes */
	{
		"adjustment_has_a_forecast_type",
		"adjustment", {"forecast_type_id", NULL}, "forecast_type", {"forecast_type_id", NULL},
		"pg_catalog.format('adjustment %s', r.adjustment_id)", false
	},
	{
		"adjustment_is_for_a_period",
		"adjustment", {"period_id", NULL}, "fiscal_period", {"period_id", NULL},
		"pg_catalog.format('adjustment %s', r.adjustment_id)", false
	},
	{
		"submission_has_a_forecast_type",
		"submission", {"forecast_type_id", NULL}, "forecast_type", {"forecast_type_id", NULL},
		"pg_catalog.format('submission %s', r.submission_id)", false
	},
	{
		"submission_is_for_a_period",
		"submission", {"period_id", NULL}, "fiscal_period", {"period_id", NULL},
		"pg_catalog.format('submission %s', r.submission_id)", false
	}
};

#define N_REFERENCES			((int) lengthof(references))

/* how a column is set against a parameter */
#define COLUMN_IS		"%s%s OPERATOR(pg_catalog.=) $%d"

/* a row that was kept as it came, between its BEFORE and its AFTER trigger */
typedef struct KeptRow
{
	Oid			relid;
	int32		key[MAX_KEY_COLUMNS];
} KeptRow;

/* lives until the end of the transaction at most */
static HTAB *kept_rows = NULL;

/* the table from which a deletion is being handed on */
static const char *cascade_source = NULL;

static void
forget_kept_rows(void *arg)
{
	kept_rows = NULL;
}

/*
 * A key of a definition table consists of ids and oids, of four bytes each,
 * and of texts, of which a hash stands here.
 */
static bool
make_kept_row(KeptRow *row, Oid root, TupleDesc desc, Bitmapset *key, HeapTuple tuple)
{
	int			n = 0;
	int			x = -1;

	memset(row, 0, sizeof(*row));
	row->relid = root;
	while ((x = bms_next_member(key, x)) >= 0)
	{
		AttrNumber	attnum = x + FirstLowInvalidHeapAttributeNumber;
		bool		isnull;
		Datum		value;

		value = heap_getattr(tuple, attnum, desc, &isnull);
		if (isnull || n >= MAX_KEY_COLUMNS)
			return false;
		if (TupleDescAttr(desc, attnum - 1)->atttypid == TEXTOID)
		{
			text	   *words = DatumGetTextPP(value);

			row->key[n++] = (int32) DatumGetUInt32(hash_any((unsigned char *) VARDATA_ANY(words),
															VARSIZE_ANY_EXHDR(words)));
		}
		else if (TupleDescAttr(desc, attnum - 1)->attlen == sizeof(int32) &&
				 TupleDescAttr(desc, attnum - 1)->attbyval)
			row->key[n++] = DatumGetInt32(value);
		else
			return false;
	}
	return true;
}

/*
 * A BEFORE trigger knows whether a row comes in with its bookkeeping; the
 * AFTER trigger, which looks at references, can't tell any more.  So it is
 * noted in between.  Each INSERT of a key passes here first, so that what an
 * earlier one left behind (it did nothing on conflict, it failed) is never
 * taken for the present one.
 */
void
references_note(Oid root, TupleDesc desc, Bitmapset *key, HeapTuple tuple, bool kept)
{
	KeptRow		row;

	if (!kept && kept_rows == NULL)
		return;
	if (!make_kept_row(&row, root, desc, key, tuple))
		return;
	if (!kept)
	{
		(void) hash_search(kept_rows, &row, HASH_REMOVE, NULL);
		return;
	}
	if (kept_rows == NULL)
	{
		HASHCTL		control = {0};
		MemoryContextCallback *callback;

		callback = (MemoryContextCallback *)
			MemoryContextAllocZero(TopTransactionContext, sizeof(MemoryContextCallback));
		callback->func = forget_kept_rows;
		control.keysize = sizeof(KeptRow);
		control.entrysize = sizeof(KeptRow);
		control.hcxt = TopTransactionContext;
		kept_rows = hash_create("pipelines kept definitions", 64, &control,
								HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
		MemoryContextRegisterResetCallback(TopTransactionContext, callback);
	}
	(void) hash_search(kept_rows, &row, HASH_ENTER, NULL);
}

/* was the row kept as it came?  The note is used up. */
bool
references_noted(Oid root, TupleDesc desc, Bitmapset *key, HeapTuple tuple)
{
	KeptRow		row;

	return kept_rows != NULL &&
		make_kept_row(&row, root, desc, key, tuple) &&
		hash_search(kept_rows, &row, HASH_REMOVE, NULL) != NULL;
}

/*
 * The values of some columns of a row; false if one of them is NULL, or is
 * none that an id is kept in.
 */
static bool
get_ids(Relation rel, HeapTuple tuple, const char *const *columns, int32 *ids)
{
	TupleDesc	desc = RelationGetDescr(rel);
	int			i;

	for (i = 0; i < MAX_REFERENCE_COLUMNS && columns[i] != NULL; i++)
	{
		int			attnum = SPI_fnumber(desc, columns[i]);
		bool		isnull;
		Datum		value;

		if (attnum <= 0 || TupleDescAttr(desc, attnum - 1)->atttypid != INT4OID)
			return false;
		value = heap_getattr(tuple, attnum, desc, &isnull);
		if (isnull)
			return false;
		ids[i] = DatumGetInt32(value);
	}
	return true;
}

static void
append_condition(StringInfo query, const char *prefix, const char *const *columns)
{
	int			i;

	for (i = 0; i < MAX_REFERENCE_COLUMNS && columns[i] != NULL; i++)
	{
		appendStringInfoString(query, i == 0 ? " WHERE " : " AND ");
		appendStringInfo(query, COLUMN_IS, prefix, columns[i], i + 1);
	}
}

/*
 * Run a statement with the newest snapshot, everything that the present
 * statement did included.  Under REPEATABLE READ a deletion of a row that
 * the transaction can't see fails, as that of a foreign key does.  The caller
 * is connected to SPI.
 */
static void
execute_newest(const char *query, const int32 *ids, int n, int expected)
{
	Oid			types[MAX_REFERENCE_COLUMNS] = {INT4OID, INT4OID};
	Datum		values[MAX_REFERENCE_COLUMNS];
	Snapshot	snapshot;
	Snapshot	crosscheck = InvalidSnapshot;
	SPIPlanPtr	plan;
	int			i;

	for (i = 0; i < n; i++)
		values[i] = Int32GetDatum(ids[i]);
	plan = SPI_prepare(query, n, types);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	if (expected == SPI_OK_DELETE && IsolationUsesXactSnapshot())
		crosscheck = GetTransactionSnapshot();
	CommandCounterIncrement();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	if (SPI_execute_snapshot(plan, values, NULL, snapshot, crosscheck,
							 false, true, 0) != expected)
		elog(ERROR, "SPI_execute_snapshot failed");
	UnregisterSnapshot(snapshot);
	SPI_freeplan(plan);
}

static int
column_count(const char *const *columns)
{
	int			n = 0;

	while (n < MAX_REFERENCE_COLUMNS && columns[n] != NULL)
		n++;
	return n;
}

/* (a, b)=(1, 2) */
static char *
key_text(const char *const *columns, const int32 *ids)
{
	StringInfoData text;
	int			i;

	initStringInfo(&text);
	for (i = 0; i < column_count(columns); i++)
		appendStringInfo(&text, "%s%s", i == 0 ? "(" : ", ", columns[i]);
	appendStringInfoString(&text, ")=");
	for (i = 0; i < column_count(columns); i++)
		appendStringInfo(&text, "%s%d", i == 0 ? "(" : ", ", ids[i]);
	appendStringInfoChar(&text, ')');
	return text.data;
}

static char *
stage_text(int32 stage_id)
{
	const NamedDef *stage = definitions_catalogue_stage(stage_id);

	return stage != NULL ? psprintf("stage \"%s\"", stage->name) :
		psprintf("stage %d", stage_id);
}

static char *
pipeline_text(int32 pipeline_id)
{
	const PipelineDef *pipeline = definitions_pipeline_seen(pipeline_id);

	return pipeline != NULL ? psprintf("pipeline \"%s\"", pipeline->name) :
		psprintf("pipeline %d", pipeline_id);
}

/* may several rows of the table, of different days, be what is referred to? */
static bool
is_dated(const char *table)
{
	return strcmp(table, "sales_unit") == 0;
}

/* is there what a row refers to? */
static bool
target_exists(const Reference *reference, const int32 *ids)
{
	StringInfoData query;
	RunAs		saved;
	bool		found;

	initStringInfo(&query);
	appendStringInfo(&query, "SELECT FROM pipelines.%s AS t", reference->target);
	append_condition(&query, "t.", reference->keys);

	run_as(definitions_owner(), &saved);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	execute_newest(query.data, ids, column_count(reference->keys), SPI_OK_SELECT);
	found = SPI_processed > 0;
	SPI_finish();
	run_as_end(&saved);
	return found;
}

/*
 * Does what a row refers to exist?
 */
static void
check_reference(const Reference *reference, Relation rel, const int32 *ids)
{
	if (target_exists(reference, ids))
		return;

	ereport(ERROR,
			(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
			 reference->keys[1] != NULL ?
			 errmsg("%s is not in %s", stage_text(ids[1]), pipeline_text(ids[0])) :
			 errmsg("%s %d does not exist", reference->target, ids[0]),
			 errdetail("Key %s of table \"%s\" is not present in table \"%s\".",
					   key_text(reference->columns, ids), reference->table,
					   reference->target),
			 errtableconstraint(rel, reference->name)));
}

/*
 * After a row of the definition table "table" was made (old_tuple is NULL) or
 * changed: what it refers to must exist.
 */
void
references_check(Relation rel, const char *table, HeapTuple old_tuple, HeapTuple new_tuple)
{
	int			i;

	for (i = 0; i < N_REFERENCES; i++)
	{
		const Reference *reference = &references[i];
		int32		ids[MAX_REFERENCE_COLUMNS] = {0};
		int32		old_ids[MAX_REFERENCE_COLUMNS] = {0};

		if (strcmp(reference->table, table) != 0 ||
			!get_ids(rel, new_tuple, reference->columns, ids))
			continue;
		if (old_tuple != NULL &&
			get_ids(rel, old_tuple, reference->columns, old_ids) &&
			memcmp(ids, old_ids, sizeof(ids)) == 0)
			continue;
		check_reference(reference, rel, ids);
	}
}

/*
 * What refers to a row that is gone, if that must not be.
 */
static void
refuse_deletion(const Reference *reference, Relation rel, HeapTuple tuple, const int32 *ids)
{
	MemoryContext caller = CurrentMemoryContext;
	StringInfoData query;
	StringInfoData list;
	Relation	referring;
	RunAs		saved;
	Oid			caller_id = GetUserId();
	bool		of_pipeline = strcmp(reference->table, "pipeline") == 0 ||
		strcmp(reference->table, "pipeline_stage") == 0;
	bool		others = false;
	uint64		i;
	int			name;

	initStringInfo(&query);
	initStringInfo(&list);
	appendStringInfo(&query, "SELECT l.label, l.pipeline_id FROM (SELECT %s AS label, %s AS pipeline_id FROM pipelines.%s AS r",
					 reference->label, of_pipeline ? "r.pipeline_id" : "NULL::pg_catalog.int4",
					 reference->table);
	append_condition(&query, "r.", reference->columns);
	appendStringInfo(&query, ") AS l ORDER BY l.label COLLATE pg_catalog.\"C\" LIMIT %d",
					 LISTED_ROWS + 1);

	run_as(definitions_owner(), &saved);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	execute_newest(query.data, ids, column_count(reference->columns), SPI_OK_SELECT);
	for (i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		MemoryContext spi_context = MemoryContextSwitchTo(caller);
		const PipelineDef *pipeline;
		bool		isnull;
		Datum		value = SPI_getbinval(row, desc, 2, &isnull);

		pipeline = isnull ? NULL : definitions_pipeline(DatumGetInt32(value));
		if (i == LISTED_ROWS)
			appendStringInfoString(&list, ", ...");
		else if (pipeline != NULL && !definitions_may_see(pipeline, caller_id))
		{
			/* what he may not see is in the way, but is not named */
			if (!others)
				appendStringInfo(&list, "%sothers", list.len == 0 ? "" : ", ");
			others = true;
		}
		else
			appendStringInfo(&list, "%s%s", list.len == 0 ? "" : ", ",
							 SPI_getvalue(row, desc, 1));
		MemoryContextSwitchTo(spi_context);
	}
	SPI_finish();
	run_as_end(&saved);
	if (list.len == 0)
		return;

	name = SPI_fnumber(RelationGetDescr(rel), "name");
	if (name <= 0)
		name = SPI_fnumber(RelationGetDescr(rel), "label");
	referring = table_open(get_relname_relid(reference->table, RelationGetNamespace(rel)),
						   AccessShareLock);
	ereport(ERROR,
			(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
			 name > 0 ?
			 errmsg("%s \"%s\" is in use and can't be deleted", reference->target,
					SPI_getvalue(tuple, RelationGetDescr(rel), name)) :
			 errmsg("%s of %s is in use and can't be deleted",
					stage_text(ids[1]), pipeline_text(ids[0])),
			 errdetail("Key %s is still referenced from table \"%s\" (%s).",
					   key_text(reference->keys, ids), reference->table, list.data),
			 errtableconstraint(referring, reference->name)));
}

static void
hand_on_deletion(const Reference *reference, const int32 *ids)
{
	const char *outer_source = cascade_source;
	StringInfoData query;
	RunAs		saved;

	initStringInfo(&query);
	appendStringInfo(&query, "DELETE FROM pipelines.%s AS r", reference->table);
	append_condition(&query, "r.", reference->columns);

	run_as(definitions_owner(), &saved);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	cascade_source = reference->target;
	PG_TRY();
	{
		execute_newest(query.data, ids, column_count(reference->columns), SPI_OK_DELETE);
	}
	PG_FINALLY();
	{
		cascade_source = outer_source;
	}
	PG_END_TRY();
	SPI_finish();
	run_as_end(&saved);
}

/*
 * After a row of the definition table "table" was deleted: what refers to it
 * goes with it, or is in the way.
 */
void
references_release(Relation rel, const char *table, HeapTuple tuple)
{
	int			i;

	for (i = 0; i < N_REFERENCES; i++)
	{
		const Reference *reference = &references[i];
		int32		ids[MAX_REFERENCE_COLUMNS] = {0};

		if (strcmp(reference->target, table) != 0 ||
			!get_ids(rel, tuple, reference->keys, ids))
			continue;
		if (is_dated(reference->target) && target_exists(reference, ids))
			continue;
		if (reference->cascades)
			hand_on_deletion(reference, ids);
		else
			refuse_deletion(reference, rel, tuple, ids);
	}
}

/* does the definition table refer to another one? */
bool
references_made_by(const char *table)
{
	int			i;

	for (i = 0; i < N_REFERENCES; i++)
	{
		if (strcmp(references[i].table, table) == 0)
			return true;
	}
	return false;
}

/* can rows of the definition table be referred to? */
bool
references_lead_to(const char *table)
{
	int			i;

	for (i = 0; i < N_REFERENCES; i++)
	{
		if (strcmp(references[i].target, table) == 0)
			return true;
	}
	return false;
}

/* is a row being deleted only because a row of that table was? */
bool
references_hand_on_from(const char *table)
{
	return cascade_source != NULL && strcmp(cascade_source, table) == 0;
}
