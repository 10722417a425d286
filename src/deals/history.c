/*-------------------------------------------------------------------------
 *
 * history.c
 *	  Writing the versions that ended.
 *
 * Owns the rows on their way into a history.  A BEFORE trigger that sees a
 * deal change hands over the version that ends; the rows of a statement are
 * collected and written in batches, so that a bulk change costs about what a
 * hand-written INSERT ... SELECT would.  The AFTER trigger, which its WHEN
 * clause lets through for one row of a statement only, writes what is left.
 * Statements nest (triggers, functions, cascades), hence a stack.
 *
 * The invariant: every row handed over is written before its statement ends,
 * by the subtransaction that handed it over, or vanishes with it.  Rows of an
 * outer statement must not be written while an inner subtransaction runs:
 * they would vanish with that.  A transaction that would commit with rows
 * left fails.
 *
 * Must never decide anything about a deal, nor be called for a row whose
 * change could still be called off: if other BEFORE triggers fire after ours,
 * rows are handed over by the AFTER trigger.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/nbtree.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "deals/deals.h"
#include "definitions/privilege.h"
#include "errors.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "history.h"
#include "miscadmin.h"
#include "pipelines.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"

/* rows and bytes after which a batch is written */
#define BATCH_ROWS 512
#define BATCH_BYTES (256 * 1024)

/* texts that all rows of a statement share, as long as no setting changes */
typedef struct Provenance
{
	char	   *actor_setting;
	char	   *reason_setting;
	char	   *batch_setting;
	char	   *application_setting;
	Oid			role;
	Datum		actor;
	Datum		role_name;
	Datum		application_name;
	Datum		reason;			/* 0: none */
	Datum		batch;			/* 0: none */
} Provenance;

typedef struct PendingRows
{
	struct PendingRows *outer;	/* next lower in the stack */
	MemoryContext context;		/* owns this and all that it points to */
	MemoryContext tuple_context;	/* the rows, reset after each batch */
	MemoryContext statement;	/* never followed, only compared */
	SubTransactionId subid;
	bool		announced;		/* the AFTER trigger will come */
	bool		writing;		/* we are in write_rows(): hands off */
	Oid			history;
	Oid			root;
	bool		direct;
	Provenance	provenance;
	Size		bytes;
	int			warnings;		/* deals that skipped stages, mode warn */
	bool		has_deletes;
	int			nrows;
	int			maxrows;
	HeapTuple  *rows;
	TupleDesc	desc;			/* of the history; the table's description has it */
	int			nslots;
	int			maxslots;
	TupleTableSlot **slots;
} PendingRows;

static PendingRows *pending = NULL; /* innermost first */

/* highest key in a history, as found by this statement */
static struct
{
	MemoryContext statement;	/* NULL: nothing known */
	CommandId	command;
	Oid			history;
	bool		empty;
	Datum		highest;
	FmgrInfo   *comparator;		/* NULL: compare nothing, probe every key */
	Oid			collation;
	MemoryContext context;		/* of highest */
} known_keys;

/* whose name history_actor() remembers, until the transaction ends */
static Oid	actor_user = InvalidOid;

static const char *const change_names[] = {
	[CHANGE_NONE] = "change",
	[CHANGE_DELETE] = "delete",
	[CHANGE_CLOSE] = "close",
	[CHANGE_REOPEN] = "reopen",
	[CHANGE_TRANSFER] = "transfer",
	[CHANGE_PUSH_BACK] = "push_back",
	[CHANGE_MERGE] = "merge",
	[CHANGE_UNDO] = "undo",
	[CHANGE_MOVE] = "move",
	[CHANGE_OTHER] = "change"
};

static Datum change_texts[lengthof(change_names)];

static void write_rows(PendingRows *rows);

static void
drop_pending(void)
{
	PendingRows *rows = pending;

	pending = rows->outer;
	MemoryContextDelete(rows->context);
}

/*
 * May these rows be written here and now?  Not those of another level, nor
 * those that are being written: then we are in code attached to the history.
 */
static inline bool
may_be_written(const PendingRows *rows)
{
	return rows != NULL && !rows->writing &&
		rows->subid == GetCurrentSubTransactionId();
}

static void
history_xact_callback(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			for (PendingRows *rows = pending; rows != NULL; rows = rows->outer)
			{
				if (rows->nrows > 0)
					ereport(ERROR,
							(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
							 errmsg_plural("%d history row of table \"%s\" was not written",
										   "%d history rows of table \"%s\" were not written",
										   rows->nrows,
										   rows->nrows, get_rel_name(rows->root)),
							 errhint("Trigger \"pipelines_after\" did not fire; run pipelines.resume().")));
			}
			break;
		default:
			while (pending != NULL)
				drop_pending();
			known_keys.statement = NULL;
			actor_user = InvalidOid;
			break;
	}
}

static void
history_subxact_callback(SubXactEvent event, SubTransactionId subid,
						 SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		while (pending != NULL && pending->subid >= subid)
			drop_pending();
		known_keys.statement = NULL;
	}
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		for (PendingRows *rows = pending; rows != NULL; rows = rows->outer)
		{
			if (rows->subid == subid)
				rows->subid = parent;
		}
	}
}

void
history_init(void)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(TopMemoryContext);

	for (int i = 0; i < (int) lengthof(change_names); i++)
		change_texts[i] = PointerGetDatum(cstring_to_text(change_names[i]));
	MemoryContextSwitchTo(oldcontext);

	RegisterXactCallback(history_xact_callback, NULL);
	RegisterSubXactCallback(history_subxact_callback, NULL);
}

/*
 * Which statement are we in?  Row triggers run in the per-tuple memory of
 * their statement's executor state, whose parent is the state's own context.
 */
MemoryContext
current_statement(void)
{
	return MemoryContextGetParent(CurrentMemoryContext);
}

static PendingRows *
pending_rows(const DealsTable *table)
{
	MemoryContext statement = current_statement();
	MemoryContext context;
	PendingRows *rows;

	/*
	 * A statement that has ended may have lent its address to the present
	 * one, if its AFTER triggers have yet to fire (those of RI actions do so
	 * late).  Joining its rows does no harm within one subtransaction.
	 */
	for (rows = pending; may_be_written(rows); rows = rows->outer)
	{
		if (rows->statement == statement && rows->history == table->history)
			return rows;
	}

	context = AllocSetContextCreate(TopTransactionContext, "pipelines history rows",
									ALLOCSET_DEFAULT_SIZES);
	rows = MemoryContextAllocZero(context, sizeof(PendingRows));
	rows->context = context;
	rows->tuple_context = AllocSetContextCreate(context, "pipelines history tuples",
												ALLOCSET_DEFAULT_SIZES);
	rows->statement = statement;
	rows->subid = GetCurrentSubTransactionId();
	rows->history = table->history;
	rows->root = table->root;
	rows->direct = table->history_direct;
	rows->desc = table->history_desc;
	rows->maxrows = 8;
	rows->rows = MemoryContextAlloc(context, sizeof(HeapTuple) * rows->maxrows);
	rows->outer = pending;
	pending = rows;
	return rows;
}

bool
history_announce(void)
{
	bool		result = false;

	for (PendingRows *rows = pending; may_be_written(rows); rows = rows->outer)
	{
		result |= !rows->announced;
		rows->announced = true;
	}
	return result;
}

static Datum
setting_text(const char *value)
{
	return value[0] == '\0' ? (Datum) 0 : CStringGetTextDatum(value);
}

static bool
setting_changed(char *remembered, const char *value)
{
	return remembered == NULL || strcmp(remembered, value) != 0;
}

/*
 * pipelines.actor, else the session user.  Most rows have the same.
 */
Datum
history_actor(void)
{
	static char *setting = NULL;
	static text *actor = NULL;

	if (actor == NULL || actor_user != GetSessionUserId() ||
		setting_changed(setting, pipelines_actor))
	{
		const char *name = pipelines_actor[0] != '\0' ? pipelines_actor :
			GetUserNameFromId(GetSessionUserId(), false);
		MemoryContext oldcontext = MemoryContextSwitchTo(TopMemoryContext);
		text	   *fresh = cstring_to_text(name);
		char	   *fresh_setting = pstrdup(pipelines_actor);

		MemoryContextSwitchTo(oldcontext);
		if (actor != NULL)
		{
			pfree(actor);
			pfree(setting);
		}
		actor = fresh;
		setting = fresh_setting;
		actor_user = GetSessionUserId();
	}
	return PointerGetDatum(actor);
}

/*
 * Who changes, why, and in which batch.  Looked up once a statement unless a
 * setting changes in its midst.
 */
static const Provenance *
current_provenance(PendingRows *rows)
{
	Provenance *p = &rows->provenance;
	const char *application = application_name == NULL ? "" : application_name;
	Oid			role = role_at_work();
	MemoryContext oldcontext;

	if (likely(p->role == role &&
			   !setting_changed(p->actor_setting, pipelines_actor) &&
			   !setting_changed(p->reason_setting, pipelines_reason) &&
			   !setting_changed(p->batch_setting, pipelines_batch) &&
			   !setting_changed(p->application_setting, application)))
		return p;

	oldcontext = MemoryContextSwitchTo(rows->context);
	p->role = role;
	p->actor_setting = pstrdup(pipelines_actor);
	p->reason_setting = pstrdup(pipelines_reason);
	p->batch_setting = pstrdup(pipelines_batch);
	p->application_setting = pstrdup(application);
	p->actor = datumCopy(history_actor(), false, -1);
	p->role_name = CStringGetTextDatum(GetUserNameFromId(p->role, false));
	p->application_name = setting_text(application);
	p->reason = setting_text(pipelines_reason);
	p->batch = setting_text(pipelines_batch);
	MemoryContextSwitchTo(oldcontext);
	return p;
}

void
history_append(const DealsTable *table, TupleDesc tupdesc,
			   const Datum *values, const bool *nulls,
			   const DealState *old, const DealState *new_state,
			   const Verdict *verdict, TimestampTz valid_to)
{
	PendingRows *rows = pending_rows(table);
	const Provenance *who = current_provenance(rows);
	const AttrNumber *column = table->history_column;
	Datum		hvalues[MaxHeapAttributeNumber];
	bool		hnulls[MaxHeapAttributeNumber];
	HeapTuple	tuple;
	MemoryContext oldcontext;

#define SET(c, datum) \
	(hvalues[column[c] - 1] = (datum), hnulls[column[c] - 1] = false)

	memset(hnulls, true, table->history_desc->natts * sizeof(bool));
	for (int i = 0; i < table->nkeys; i++)
	{
		hvalues[table->history_keys[i] - 1] = values[table->keys[i] - 1];
		hnulls[table->history_keys[i] - 1] = nulls[table->keys[i] - 1];
	}
	for (int i = 0; i < table->ntracked; i++)
	{
		const TrackedColumn *tracked = &table->tracked[i];

		hvalues[tracked->history_attnum - 1] = values[tracked->attnum - 1];
		hnulls[tracked->history_attnum - 1] = nulls[tracked->attnum - 1];
	}

	SET(HISTORY_VERSION, Int32GetDatum(old->version));
	SET(HISTORY_CHANGE, change_texts[verdict->kind]);
	SET(HISTORY_VALID_FROM, TimestampTzGetDatum(old->changed_at));
	SET(HISTORY_VALID_TO, TimestampTzGetDatum(valid_to));
	if (verdict->kind != CHANGE_DELETE)
	{
		SET(HISTORY_TO_PIPELINE_ID, Int32GetDatum(new_state->pipeline_id));
		SET(HISTORY_TO_STAGE_ID, Int32GetDatum(new_state->stage_id));
	}
	if (verdict->nskipped > 0)
	{
		Datum	   *stages = palloc(sizeof(Datum) * verdict->nskipped);

		for (int i = 0; i < verdict->nskipped; i++)
			stages[i] = Int32GetDatum(verdict->skipped[i]);
		SET(HISTORY_SKIPPED_STAGES,
			PointerGetDatum(construct_array(stages, verdict->nskipped, INT4OID,
											sizeof(int32), true, TYPALIGN_INT)));
	}
	SET(HISTORY_ACTOR, who->actor);
	SET(HISTORY_ROLE_NAME, who->role_name);
	if (who->application_name != (Datum) 0)
		SET(HISTORY_APPLICATION_NAME, who->application_name);
	if (who->reason != (Datum) 0)
		SET(HISTORY_REASON, who->reason);
	if (who->batch != (Datum) 0)
		SET(HISTORY_BATCH, who->batch);
	SET(HISTORY_TXID, Int64GetDatum((int64) U64FromFullTransactionId(GetTopFullTransactionId())));
	SET(HISTORY_RECORDED_AT, TimestampTzGetDatum(deals_transaction_instant()));
	SET(HISTORY_BYPASSED, BoolGetDatum(verdict->bypassed));
	SET(HISTORY_IMPORTED, BoolGetDatum(false));
#undef SET

	if (verdict->warn)
		rows->warnings++;
	if (verdict->kind == CHANGE_DELETE)
		rows->has_deletes = true;

	oldcontext = MemoryContextSwitchTo(rows->tuple_context);
	tuple = heap_form_tuple(table->history_desc, hvalues, hnulls);
	MemoryContextSwitchTo(oldcontext);
	if (rows->nrows == rows->maxrows)
	{
		rows->maxrows *= 4;
		rows->rows = repalloc(rows->rows, sizeof(HeapTuple) * rows->maxrows);
	}
	rows->rows[rows->nrows++] = tuple;
	rows->bytes += tuple->t_len;
	if (rows->nrows == BATCH_ROWS || rows->bytes >= BATCH_BYTES)
		write_rows(rows);
}

/*
 * Enter the rows in one index, which is on plain columns only; where it has a
 * condition, those that meet it.
 */
static void
insert_index_entries(PendingRows *rows, Relation history, Oid indexid)
{
	Relation	index = index_open(indexid, RowExclusiveLock);
	IndexInfo  *info = BuildIndexInfo(index);
	IndexUniqueCheck check = index->rd_index->indisunique ?
		UNIQUE_CHECK_YES : UNIQUE_CHECK_NO;
	AttrNumber	condition_column = InvalidAttrNumber;
	Datum		condition_value = (Datum) 0;
	Datum		values[INDEX_MAX_KEYS];
	bool		nulls[INDEX_MAX_KEYS];
	MemoryContext per_row;
	MemoryContext oldcontext;

	/* before the context of a row, which is reset: the value lives as long as we do */
	if (info->ii_Predicate != NIL &&
		!index_on_one_value(index, &condition_column, &condition_value))
		elog(ERROR, "index \"%s\" has a condition that was not expected",
			 RelationGetRelationName(index));
	per_row = AllocSetContextCreate(CurrentMemoryContext, "pipelines index entry", ALLOCSET_SMALL_SIZES);
	oldcontext = MemoryContextSwitchTo(per_row);
	for (int i = 0; i < rows->nrows && info->ii_ReadyForInserts; i++)
	{
		TupleTableSlot *slot = rows->slots[i];

		if (condition_column != InvalidAttrNumber)
		{
			bool		isnull;
			Datum		value = slot_getattr(slot, condition_column, &isnull);

			if (isnull || !DatumGetBool(DirectFunctionCall2Coll(texteq, C_COLLATION_OID,
																value, condition_value)))
				continue;
		}
		FormIndexDatum(info, slot, NULL, values, nulls);
		compat_index_insert(index, values, nulls, &slot->tts_tid, history, check, info);
		MemoryContextReset(per_row);
		CHECK_FOR_INTERRUPTS();
	}
	MemoryContextSwitchTo(oldcontext);
	MemoryContextDelete(per_row);
	compat_index_insert_cleanup(index, info);
	index_close(index, NoLock);
}

/*
 * Put the rows into the history without the executor.  Nothing is skipped by
 * that: see history_is_plain().
 */
static void
write_direct(PendingRows *rows, Relation history)
{
	List	   *indexes;
	ListCell   *lc;
	MemoryContext oldcontext;

	/* slots stay for the next batch of the statement */
	oldcontext = MemoryContextSwitchTo(rows->context);
	if (rows->maxslots < rows->nrows)
	{
		rows->maxslots = rows->maxrows;
		rows->slots = rows->slots == NULL ?
			palloc(sizeof(TupleTableSlot *) * rows->maxslots) :
			repalloc(rows->slots, sizeof(TupleTableSlot *) * rows->maxslots);
	}
	while (rows->nslots < rows->nrows)
		rows->slots[rows->nslots++] = MakeSingleTupleTableSlot(rows->desc, &TTSOpsHeapTuple);
	MemoryContextSwitchTo(rows->tuple_context);
	for (int i = 0; i < rows->nrows; i++)
		ExecStoreHeapTuple(rows->rows[i], rows->slots[i], true);
	table_multi_insert(history, rows->slots, rows->nrows,
					   GetCurrentCommandId(true), 0, NULL);
	MemoryContextSwitchTo(oldcontext);

	/*
	 * One index after the other, rather than row by row as the executor does:
	 * neighbours meet the same pages.
	 */
	indexes = RelationGetIndexList(history);
	foreach(lc, indexes)
		insert_index_entries(rows, history, lfirst_oid(lc));
	list_free(indexes);
	for (int i = 0; i < rows->nrows; i++)
		ExecClearTuple(rows->slots[i]);
}

/*
 * Put the rows into the history by INSERT, as the history's owner: whatever
 * the history is, partitioned, with constraints, indexes on expressions or
 * triggers of its own, nothing is left out.
 */
static void
write_by_insert(PendingRows *rows, Relation history)
{
	TupleDesc	hdesc = RelationGetDescr(history);
	StringInfoData columns;
	StringInfoData params;
	Oid		   *types = palloc(sizeof(Oid) * hdesc->natts);
	Datum	   *all = palloc(sizeof(Datum) * hdesc->natts);
	bool	   *all_nulls = palloc(sizeof(bool) * hdesc->natts);
	Datum	   *values = palloc(sizeof(Datum) * hdesc->natts);
	char	   *nulls = palloc(hdesc->natts);
	int			nargs = 0;
	SPIPlanPtr	plan;

	initStringInfo(&columns);
	initStringInfo(&params);
	for (int i = 0; i < hdesc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(hdesc, i);

		if (att->attisdropped || att->attgenerated != '\0')
			continue;
		types[nargs++] = att->atttypid;
		appendStringInfo(&columns, "%s%s", nargs > 1 ? ", " : "",
						 quote_identifier(NameStr(att->attname)));
		appendStringInfo(&params, "%s$%d", nargs > 1 ? ", " : "", nargs);
	}

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	plan = SPI_prepare(psprintf("INSERT INTO %s (%s) VALUES (%s)",
								quote_qualified_identifier(get_namespace_name(RelationGetNamespace(history)),
														   RelationGetRelationName(history)),
								columns.data, params.data),
					   nargs, types);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	for (int r = 0; r < rows->nrows; r++)
	{
		nargs = 0;
		heap_deform_tuple(rows->rows[r], hdesc, all, all_nulls);
		for (int i = 0; i < hdesc->natts; i++)
		{
			Form_pg_attribute att = TupleDescAttr(hdesc, i);

			if (att->attisdropped || att->attgenerated != '\0')
				continue;
			values[nargs] = all[i];
			nulls[nargs++] = all_nulls[i] ? 'n' : ' ';
		}
		if (SPI_execute_plan(plan, values, nulls, false, 0) != SPI_OK_INSERT ||
			SPI_processed != 1)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("history \"%s\" did not take a row",
							RelationGetRelationName(history)),
					 errdetail("A trigger or a rule on it replaced or dropped the insertion."),
					 errhint("Drop the trigger or rule: a history that lacks rows is none."),
					 errtable(history)));
		CHECK_FOR_INTERRUPTS();
	}
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
}

/*
 * A duplicate (key, version) means that two lives of one key got mixed up.
 */
static void
report_version_conflict(ErrorData *edata, Oid root)
{
	char	   *detail = edata->detail;

	FlushErrorState();
	ereport(ERROR,
			(errcode(ERRCODE_PIPELINES_VERSION_EXISTS),
			 errmsg("the history of table \"%s\" has this version of a deal already",
					get_rel_name(root)),
			 detail != NULL ? errdetail("%s", detail) : 0,
			 errhint("A deal was deleted while another session inserted its key.  SELECT pipelines.repair('%s') mends that.",
					 quote_qualified_identifier(get_namespace_name(get_rel_namespace(root)),
												get_rel_name(root)))));
}

static void
write_rows(PendingRows *rows)
{
	MemoryContext oldcontext = CurrentMemoryContext;
	Relation	history;

	if (rows->nrows == 0)
		return;

	/* the lock was taken when the table was looked up */
	history = table_open(rows->history, NoLock);
	rows->writing = true;
	PG_TRY();
	{
		if (rows->direct)
			write_direct(rows, history);
		else
		{
			RunAs		saved;

			run_as(history->rd_rel->relowner, &saved);
			write_by_insert(rows, history);
			run_as_end(&saved);
		}
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		MemoryContextSwitchTo(oldcontext);
		edata = CopyErrorData();
		/* a partitioned history names its partition */
		if (edata->sqlerrcode == ERRCODE_UNIQUE_VIOLATION &&
			edata->table_name != NULL &&
			(history->rd_rel->relkind == RELKIND_PARTITIONED_TABLE ||
			 strcmp(edata->table_name, RelationGetRelationName(history)) == 0))
			report_version_conflict(edata, rows->root);
		PG_RE_THROW();
	}
	PG_END_TRY();
	table_close(history, NoLock);

	/* a key that went may be above the highest that was known */
	if (rows->has_deletes)
		known_keys.statement = NULL;
	rows->writing = false;
	rows->nrows = 0;
	rows->bytes = 0;
	rows->has_deletes = false;
	MemoryContextReset(rows->tuple_context);
}

/*
 * Called when a statement ends: write all that may be written here.  Rows of
 * statements further out are among them if no subtransaction lies between;
 * that they come early does no harm.
 */
void
history_flush(void)
{
	while (may_be_written(pending))
	{
		PendingRows *rows = pending;

		write_rows(rows);
		if (rows->warnings > 0)
		{
			int			warnings = rows->warnings;

			rows->warnings = 0;
			ereport(NOTICE,
					(errmsg_plural("%d deal of table \"%s\" skipped mandatory stages",
								   "%d deals of table \"%s\" skipped mandatory stages",
								   warnings, warnings, get_rel_name(rows->root)),
					 errhint("The history names them in skipped_stages.")));
		}
		/* code attached to the history may have changed deals in its turn */
		if (rows == pending && rows->nrows == 0)
			drop_pending();
	}
}

/*
 * Remember the highest key of a history for the rest of the statement.
 */
static void
learn_highest_key(const DealsTable *table, TupleDesc tupdesc)
{
	MemoryContext oldcontext;
	Relation	history = table_open(table->history, NoLock);

	known_keys.statement = NULL;
	known_keys.comparator = NULL;
	known_keys.empty = true;
	if (known_keys.context == NULL)
		known_keys.context = AllocSetContextCreate(TopMemoryContext, "pipelines highest key",
												   ALLOCSET_SMALL_SIZES);
	MemoryContextReset(known_keys.context);

	if (OidIsValid(table->history_index))
	{
		Relation	index = index_open(table->history_index, AccessShareLock);
		IndexScanDesc scan = compat_index_beginscan(history, index, SnapshotSelf, 0);
		TupleTableSlot *slot = table_slot_create(history, NULL);

		index_rescan(scan, NULL, 0, NULL, 0);
		if (index_getnext_slot(scan, BackwardScanDirection, slot))
		{
			Form_pg_attribute att = TupleDescAttr(tupdesc, table->keys[0] - 1);
			bool		isnull;
			Datum		key = slot_getattr(slot, table->history_keys[0], &isnull);
			TypeCacheEntry *type = lookup_type_cache(att->atttypid, TYPECACHE_CMP_PROC_FINFO);

			known_keys.empty = false;
			/* with several columns the highest first column says little */
			if (table->nkeys == 1 && OidIsValid(type->cmp_proc) &&
				(index->rd_indoption[0] & INDOPTION_DESC) == 0 &&
				index->rd_indcollation[0] == att->attcollation)
			{
				oldcontext = MemoryContextSwitchTo(known_keys.context);
				known_keys.highest = datumCopy(key, att->attbyval, att->attlen);
				MemoryContextSwitchTo(oldcontext);
				known_keys.comparator = &type->cmp_proc_finfo;
				known_keys.collation = att->attcollation;
			}
		}
		ExecDropSingleTupleTableSlot(slot);
		index_endscan(scan);
		index_close(index, AccessShareLock);
	}
	else
		known_keys.empty = false;
	table_close(history, NoLock);

	known_keys.statement = current_statement();
	known_keys.command = GetCurrentCommandId(false);
	known_keys.history = table->history;
}

static bool
last_version_by_index(const DealsTable *table, const Datum *values,
					  int32 *version, TimestampTz *valid_to, int32 *episode)
{
	Relation	history = table_open(table->history, NoLock);
	Relation	index = index_open(table->history_index, AccessShareLock);
	ScanKeyData keys[INDEX_MAX_KEYS];
	IndexScanDesc scan;
	TupleTableSlot *slot = table_slot_create(history, NULL);
	bool		found;
	bool		isnull;

	for (int i = 0; i < table->nkeys; i++)
	{
		Oid			opfamily = index->rd_opfamily[i];
		Oid			opcintype = index->rd_opcintype[i];
		Oid			operator = get_opfamily_member(opfamily, opcintype, opcintype,
												   BTEqualStrategyNumber);

		ScanKeyEntryInitialize(&keys[i], 0, i + 1, BTEqualStrategyNumber, opcintype,
							   index->rd_indcollation[i], get_opcode(operator),
							   values[table->keys[i] - 1]);
	}
	scan = compat_index_beginscan(history, index, SnapshotSelf, table->nkeys);
	index_rescan(scan, keys, table->nkeys, NULL, 0);
	found = index_getnext_slot(scan, BackwardScanDirection, slot);
	if (found)
	{
		*version = DatumGetInt32(slot_getattr(slot, table->history_column[HISTORY_VERSION], &isnull));
		*valid_to = DatumGetTimestampTz(slot_getattr(slot, table->history_column[HISTORY_VALID_TO], &isnull));
		*episode = DatumGetInt32(slot_getattr(slot, table->history_episode, &isnull));
	}
	ExecDropSingleTupleTableSlot(slot);
	index_endscan(scan);
	index_close(index, AccessShareLock);
	table_close(history, NoLock);
	return found;
}

/*
 * The same for a history without the index that we know how to use, such as
 * a partitioned one.
 */
static bool
last_version_by_query(const DealsTable *table, TupleDesc tupdesc, const Datum *values,
					  int32 *version, TimestampTz *valid_to, int32 *episode)
{
	Relation	history = table_open(table->history, NoLock);
	TupleDesc	hdesc = table->history_desc;
	Oid			types[INDEX_MAX_KEYS];
	Datum		args[INDEX_MAX_KEYS];
	StringInfoData query;
	RunAs		saved;
	bool		found;

#define HISTORY_NAME(attnum) quote_identifier(NameStr(TupleDescAttr(hdesc, (attnum) - 1)->attname))
	initStringInfo(&query);
	appendStringInfo(&query, "SELECT %s",
					 HISTORY_NAME(table->history_column[HISTORY_VERSION]));
	appendStringInfo(&query, ", %s",
					 HISTORY_NAME(table->history_column[HISTORY_VALID_TO]));
	appendStringInfo(&query, ", %s FROM %s WHERE ",
					 HISTORY_NAME(table->history_episode),
					 quote_qualified_identifier(get_namespace_name(RelationGetNamespace(history)),
												RelationGetRelationName(history)));
	for (int i = 0; i < table->nkeys; i++)
	{
		Oid			type = TupleDescAttr(hdesc, table->history_keys[i] - 1)->atttypid;

		types[i] = type;
		args[i] = values[table->keys[i] - 1];
		appendStringInfo(&query, "%s%s %s $%d", i > 0 ? " AND " : "",
						 HISTORY_NAME(table->history_keys[i]),
						 equality_of_type(type), i + 1);
	}
	appendStringInfo(&query, " ORDER BY 1 DESC LIMIT 1");
#undef HISTORY_NAME

	run_as(history->rd_rel->relowner, &saved);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	/* not read-only: what this statement wrote before must be seen */
	if (SPI_execute_with_args(query.data, table->nkeys, types, args, NULL,
							  false, 1) != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute_with_args failed");
	found = SPI_processed > 0;
	if (found)
	{
		HeapTuple	tuple = SPI_tuptable->vals[0];
		bool		isnull;

		*version = DatumGetInt32(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 1, &isnull));
		*valid_to = DatumGetTimestampTz(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 2, &isnull));
		*episode = DatumGetInt32(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 3, &isnull));
	}
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	run_as_end(&saved);
	table_close(history, NoLock);
	return found;
}

/*
 * The same among rows that another level of subtransaction has yet to write.
 */
static bool
last_version_in_memory(const DealsTable *table, TupleDesc tupdesc, const PendingRows *rows,
					   const Datum *values,
					   int32 *version, TimestampTz *valid_to, int32 *episode)
{
	TupleDesc	hdesc = table->history_desc;

	for (int r = rows->nrows - 1; r >= 0; r--)
	{
		HeapTuple	tuple = rows->rows[r];
		bool		same = true;
		bool		isnull;

		for (int i = 0; i < table->nkeys && same; i++)
		{
			Form_pg_attribute att = TupleDescAttr(tupdesc, table->keys[i] - 1);
			Datum		key = heap_getattr(tuple, table->history_keys[i], hdesc, &isnull);

			same = !isnull &&
				datum_image_eq(key, values[table->keys[i] - 1], att->attbyval, att->attlen);
		}
		if (!same)
			continue;
		*version = DatumGetInt32(heap_getattr(tuple, table->history_column[HISTORY_VERSION],
											  hdesc, &isnull));
		*valid_to = DatumGetTimestampTz(heap_getattr(tuple, table->history_column[HISTORY_VALID_TO],
													 hdesc, &isnull));
		*episode = DatumGetInt32(heap_getattr(tuple, table->history_episode, hdesc, &isnull));
		return true;
	}
	return false;
}

bool
history_last_version(const DealsTable *table, TupleDesc tupdesc,
					 const Datum *values, const bool *nulls,
					 int32 *version, TimestampTz *valid_to, int32 *episode)
{
	for (int i = 0; i < table->nkeys; i++)
	{
		/* NOT NULL of the key will refuse the row */
		if (nulls[table->keys[i] - 1])
			return false;
	}

	/*
	 * A deletion may not have been written yet.  Where it may be written now,
	 * do so; else look for the key among the rows in memory.
	 */
	for (PendingRows *rows = pending; rows != NULL; rows = rows->outer)
	{
		if (rows->history != table->history || !rows->has_deletes)
			continue;
		if (may_be_written(rows))
			write_rows(rows);
		else if (last_version_in_memory(table, tupdesc, rows, values,
										version, valid_to, episode))
			return true;
	}

	if (known_keys.statement == NULL ||
		known_keys.statement != current_statement() ||
		known_keys.command != GetCurrentCommandId(false) ||
		known_keys.history != table->history)
		learn_highest_key(table, tupdesc);
	if (known_keys.empty)
		return false;
	if (known_keys.comparator != NULL &&
		DatumGetInt32(FunctionCall2Coll(known_keys.comparator, known_keys.collation,
										values[table->keys[0] - 1],
										known_keys.highest)) > 0)
		return false;

	if (OidIsValid(table->history_index))
		return last_version_by_index(table, values, version, valid_to, episode);
	return last_version_by_query(table, tupdesc, values, version, valid_to, episode);
}
