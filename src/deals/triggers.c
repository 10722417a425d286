/*-------------------------------------------------------------------------
 *
 * triggers.c
 *	  The triggers on a deals table.
 *
 * Owns the order in which things happen to a row:
 *
 *	TURN	once a statement, wait for who is removing or redefining stages
 *	BEFORE	complete the row, judge an UPDATE, hand the version that ends to
 *			the history (history.c), which writes it with others
 *	AFTER	once a statement, write what is left; row by row only where other
 *			BEFORE triggers fire after ours, or where a new deal may not
 *			fulfil what its stage demands
 *
 * The invariant: what stands in the table is what was judged.  Where ours is
 * the last BEFORE trigger that holds by construction; else AFTER judges the
 * row again and raises an error that names the other trigger.
 *
 * Must never trust a bookkeeping value that a client sends, but for rows
 * that arrive with all of it from a member of the table owner's role: those
 * are a restore or a copy.  Must never take a time for its own: everything a
 * transaction changes bears one instant.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/tupmacs.h"
#include "access/xact.h"
#include "catalog/partition.h"
#include "catalog/pg_inherits.h"
#include "commands/trigger.h"
#include "common/int.h"
#include "compat.h"
#include "deals/application.h"
#include "deals/deals.h"
#include "deals/history.h"
#include "deals/locked.h"
#include "deals/mapping.h"
#include "deals/refusals.h"
#include "deals/requirements.h"
#include "deals/rules.h"
#include "deals/triggers.h"
#include "definitions/definitions.h"
#include "definitions/guard.h"
#include "definitions/privilege.h"
#include "errors.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pipelines.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(pipelines_deal_before);
PG_FUNCTION_INFO_V1(pipelines_deal_after);
PG_FUNCTION_INFO_V1(pipelines_deal_turn);
PG_FUNCTION_INFO_V1(pipelines_deal_truncate);
PG_FUNCTION_INFO_V1(pipelines_columns);
PG_FUNCTION_INFO_V1(pipelines_pending);
PG_FUNCTION_INFO_V1(pipelines_trigger_name);
PG_FUNCTION_INFO_V1(pipelines_rebook);

/* the instant of the running transaction; 0: not taken yet */
static TimestampTz transaction_instant = 0;

/* the subtransaction that took it: with it the lock goes that made it sure */
static SubTransactionId instant_subid = InvalidSubTransactionId;

/*
 * Statements (never followed, only compared) whose row at hand the AFTER
 * trigger is wanted for.  By statement, since another statement may run
 * between BEFORE and AFTER of one row, and must not take its call away.  One
 * is left over when a row was called off after we saw it: then AFTER is
 * called once more than needed, which does no harm.
 */
static List *rows_to_judge = NIL;

/* those of them that came with their bookkeeping, where others fire after us */
static int	kept_rows_to_judge = 0;

/*
 * The closing day that was worked out for the row that an INSERT proposed
 * last.  If the statement turns out to be an upsert that sets all columns to
 * EXCLUDED's, the day comes back, but nobody gave it.
 */
static struct
{
	MemoryContext statement;	/* NULL: none; never followed */
	CommandId	command;		/* a later statement may be at the same address */
	DateADT		closed_on;
} proposed_closing;

/*
 * Some row of this transaction was written before all could be judged.  Not
 * noted by table: its description may be made anew in between.
 */
static bool some_postponed = false;

/* deals table that the next statement may change unseen, see deals_pass_begin() */
static Oid	rebooking = InvalidOid;
static int	rebooking_depth;
static MemoryContext rebooking_statement = NULL;	/* never followed */

/* the statement of moves.c that is being run, if any; see triggers.h */
static DealOperation *operation = NULL;

static void
deals_xact_callback(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT ||
		event == XACT_EVENT_PREPARE)
	{
		transaction_instant = 0;
		rows_to_judge = NIL;
		kept_rows_to_judge = 0;
		some_postponed = false;
		rebooking = InvalidOid;
		operation = NULL;
		proposed_closing.statement = NULL;
		mapping_forget_locks();
		mapping_free_retired();
	}
}

static void
deals_subxact_callback(SubXactEvent event, SubTransactionId subid,
					   SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		/*
		 * Locks taken inside are gone.  So is the lock on the definitions,
		 * by which settled_at() knows that we are writing: an instant taken
		 * under it must not be used again.
		 */
		mapping_forget_locks();
		if (transaction_instant != 0 && instant_subid >= subid)
			transaction_instant = 0;
	}
	else if (event == SUBXACT_EVENT_COMMIT_SUB && instant_subid == subid)
		instant_subid = parent;
}

void
deals_init(void)
{
	mapping_init();
	history_init();
	refusals_init();
	RegisterXactCallback(deals_xact_callback, NULL);
	RegisterSubXactCallback(deals_subxact_callback, NULL);
}

TimestampTz
deals_transaction_instant(void)
{
	if (transaction_instant == 0)
	{
		/* settled_at() must know of us before it reads a later clock */
		definitions_lock();
		transaction_instant = GetCurrentTimestamp();
		instant_subid = GetCurrentSubTransactionId();
	}
	return transaction_instant;
}

DealOperation *
deals_set_operation(DealOperation *next)
{
	DealOperation *previous = operation;

	operation = next;
	if (next != NULL && next->statement == NULL)
		next->depth = trigger_depth() + 1;
	return previous;
}

/*
 * Does the row at hand belong to the operation that moves.c runs?  What other
 * statements do meanwhile, in triggers of the user's, is judged like anything
 * else; those triggers may come before ours, so that the first row that we see
 * need not be the operation's.
 */
static DealOperation *
operation_on(const DealsTable *table)
{
	if (likely(operation == NULL) || operation->root != table->root ||
		operation->depth != trigger_depth())
		return NULL;
	if (operation->statement == NULL)
		operation->statement = current_statement();
	return operation->statement == current_statement() ? operation : NULL;
}

void
deals_pass_begin(Oid relid)
{
	rebooking = relid;
	rebooking_depth = trigger_depth() + 1;
	rebooking_statement = NULL;
}

void
deals_pass_end(void)
{
	rebooking = InvalidOid;
}

/*
 * Does the row at hand pass unseen?  What triggers change in their turn does
 * not.
 */
static bool
passes_unseen(const DealsTable *table)
{
	if (likely(rebooking != table->root) || rebooking_depth != trigger_depth())
		return false;
	if (rebooking_statement == NULL)
		rebooking_statement = current_statement();
	return rebooking_statement == current_statement();
}

/*
 * The AFTER trigger must come for the row at hand.
 */
static void
want_judgement(void)
{
	MemoryContext statement = current_statement();
	MemoryContext oldcontext = MemoryContextSwitchTo(TopTransactionContext);

	rows_to_judge = list_append_unique_ptr(rows_to_judge, statement);
	MemoryContextSwitchTo(oldcontext);
}

/* one row, taken apart */
typedef struct DealRow
{
	Datum	   *values;
	bool	   *nulls;
	uint32	   *offsets;		/* of what is not null, if wanted; else NULL */
} DealRow;

static void
deform_row(DealRow *row, HeapTuple tuple, TupleDesc tupdesc)
{
	row->values = palloc(sizeof(Datum) * tupdesc->natts);
	row->nulls = palloc(sizeof(bool) * tupdesc->natts);
	row->offsets = NULL;
	heap_deform_tuple(tuple, tupdesc, row->values, row->nulls);
}

/*
 * The same for a row whose bookkeeping we are going to change, noting where
 * each value lies, so that patch_row() need not form the tuple anew.
 */
static void
deform_row_to_patch(DealRow *row, HeapTuple tuple, TupleDesc tupdesc)
{
	HeapTupleHeader header = tuple->t_data;
	int			natts = Min((int) HeapTupleHeaderGetNatts(header), tupdesc->natts);
	char	   *data = (char *) header + header->t_hoff;
	uint32		offset = 0;

	row->values = palloc(sizeof(Datum) * tupdesc->natts);
	row->nulls = palloc(sizeof(bool) * tupdesc->natts);
	row->offsets = palloc(sizeof(uint32) * tupdesc->natts);
	for (int i = 0; i < natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(tupdesc, i);

		row->nulls[i] = HeapTupleHasNulls(tuple) && att_isnull(i, header->t_bits);
		if (row->nulls[i])
		{
			row->values[i] = (Datum) 0;
			continue;
		}
		offset = att_align_pointer(offset, att->attalign, att->attlen, data + offset);
		row->offsets[i] = offset;
		row->values[i] = fetchatt(att, data + offset);
		offset = att_addlength_pointer(offset, att->attlen, data + offset);
	}

	/* a row that the executor made has all columns; else don't patch */
	for (int i = natts; i < tupdesc->natts; i++)
	{
		row->values[i] = heap_getattr(tuple, i + 1, tupdesc, &row->nulls[i]);
		row->offsets[i] = 0;
	}
	if (natts < tupdesc->natts)
		row->offsets = NULL;
}

static inline bool
role_is_null(const DealsTable *table, const DealRow *row, DealRole role)
{
	AttrNumber	attnum = table->role[role];

	return attnum == InvalidAttrNumber || row->nulls[attnum - 1];
}

static inline Datum
role_value(const DealsTable *table, const DealRow *row, DealRole role)
{
	return row->values[table->role[role] - 1];
}

static inline int32
role_int32(const DealsTable *table, const DealRow *row, DealRole role)
{
	return role_is_null(table, row, role) ? 0 :
		DatumGetInt32(role_value(table, row, role));
}

static inline void
set_role(const DealsTable *table, DealRow *row, DealRole role, Datum value, bool isnull)
{
	AttrNumber	attnum = table->role[role];

	if (attnum == InvalidAttrNumber)
		return;
	row->values[attnum - 1] = value;
	row->nulls[attnum - 1] = isnull;
}

static void
read_state(const DealsTable *table, const DealRow *row, DealState *state)
{
	state->pipeline_id = role_int32(table, row, ROLE_PIPELINE_ID);
	state->stage_id = role_int32(table, row, ROLE_STAGE_ID);
	state->furthest_stage_id = role_int32(table, row, ROLE_FURTHEST_STAGE_ID);
	state->gate_stage_id = role_int32(table, row, ROLE_GATE_STAGE_ID);
	state->episode = role_int32(table, row, ROLE_EPISODE);
	state->version = role_int32(table, row, ROLE_VERSION);
	state->stage_entered_at = role_is_null(table, row, ROLE_STAGE_ENTERED_AT) ? 0 :
		DatumGetTimestampTz(role_value(table, row, ROLE_STAGE_ENTERED_AT));
	state->changed_at = role_is_null(table, row, ROLE_CHANGED_AT) ? 0 :
		DatumGetTimestampTz(role_value(table, row, ROLE_CHANGED_AT));
	state->has_closed_at = !role_is_null(table, row, ROLE_CLOSED_AT);
	state->closed_at = state->has_closed_at ?
		DatumGetTimestampTz(role_value(table, row, ROLE_CLOSED_AT)) : 0;
	state->has_closed_on = !role_is_null(table, row, ROLE_CLOSED_ON);
	state->closed_on = state->has_closed_on ?
		DatumGetDateADT(role_value(table, row, ROLE_CLOSED_ON)) : 0;
}

static void
write_state(const DealsTable *table, DealRow *row, const DealState *state)
{
	set_role(table, row, ROLE_PIPELINE_ID, Int32GetDatum(state->pipeline_id), state->pipeline_id == 0);
	set_role(table, row, ROLE_STAGE_ID, Int32GetDatum(state->stage_id), state->stage_id == 0);
	set_role(table, row, ROLE_FURTHEST_STAGE_ID, Int32GetDatum(state->furthest_stage_id), false);
	set_role(table, row, ROLE_GATE_STAGE_ID, Int32GetDatum(state->gate_stage_id), state->gate_stage_id == 0);
	set_role(table, row, ROLE_EPISODE, Int32GetDatum(state->episode), false);
	set_role(table, row, ROLE_VERSION, Int32GetDatum(state->version), false);
	set_role(table, row, ROLE_STAGE_ENTERED_AT, TimestampTzGetDatum(state->stage_entered_at), false);
	set_role(table, row, ROLE_CHANGED_AT, TimestampTzGetDatum(state->changed_at), false);
	set_role(table, row, ROLE_CLOSED_AT, TimestampTzGetDatum(state->closed_at), !state->has_closed_at);
	set_role(table, row, ROLE_CLOSED_ON, DateADTGetDatum(state->closed_on), !state->has_closed_on);
}

static bool
values_differ(const TrackedColumn *column,
			  Datum a, bool a_null, Datum b, bool b_null)
{
	if (a_null || b_null)
		return a_null != b_null;
	if (column->byval)
		return a != b;
	if (datum_image_eq(a, b, false, column->len))
		return false;
	if (column->comparison == COMPARE_NUMERIC)
		return !DatumGetBool(DirectFunctionCall2(numeric_eq, a, b));
	return true;
}

/* did a column change that we remember? */
static bool
tracked_column_changed(const DealsTable *table,
					   const DealRow *old, const DealRow *row)
{
	for (int i = 0; i < table->ntracked; i++)
	{
		const TrackedColumn *column = &table->tracked[i];
		int			c = column->attnum - 1;

		if (!column->bookkeeping && column->comparison != COMPARE_NEVER &&
			values_differ(column, old->values[c], old->nulls[c],
						  row->values[c], row->nulls[c]))
			return true;
	}
	return false;
}

static void
refuse_changed_column(const DealContext *deal, TupleDesc tupdesc,
					  const DealRow *old, const DealRow *row,
					  const AttrNumber *columns, int ncolumns, bool partition_key)
{
	for (int i = 0; i < ncolumns; i++)
	{
		int			c = columns[i] - 1;
		Form_pg_attribute att = TupleDescAttr(tupdesc, c);

		if (old->nulls[c] && row->nulls[c])
			continue;
		if (!old->nulls[c] && !row->nulls[c] &&
			datum_image_eq(old->values[c], row->values[c], att->attbyval, att->attlen))
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_PIPELINES_KEY_CHANGED),
				 errmsg("column \"%s\" of %s of table \"%s\" can't be changed",
						NameStr(att->attname),
						deal_label(deal->table, tupdesc, old->values, old->nulls),
						RelationGetRelationName(deal->rel)),
				 partition_key ?
				 errdetail("It decides the partition of the deal; a deal never moves between partitions.") :
				 errdetail("It is part of the deal key, by which the history knows the deal."),
				 partition_key ?
				 errhint("Choose a partition key that never changes, or delete the deal and insert it anew.") :
				 errhint("Keep a name that may change in another column."),
				 errtablecol(deal->rel, columns[i])));
	}
}

static void
check_event_time(TimestampTz event_time, const DealContext *deal,
				 bool has_changed_at, TimestampTz changed_at)
{
	Oid			roleid = rights_at_work();

	if (!OidIsValid(roleid) || !has_privs_of_role(roleid, deal->table->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to set the event time of changes of table \"%s\"",
						RelationGetRelationName(deal->rel)),
				 errdetail("Only members of role \"%s\", which owns the table, may use pipelines.event_time.",
						   GetUserNameFromId(deal->table->owner, true)),
				 errhint("RESET pipelines.event_time.")));
	if (TIMESTAMP_IS_NOBEGIN(event_time))
		ereport(ERROR,
				(errcode(ERRCODE_PIPELINES_EVENT_TIME),
				 errmsg("event time %s is no instant", timestamptz_to_str(event_time)),
				 errhint("Set pipelines.event_time to an instant that has passed.")));
	if (event_time > GetCurrentTimestamp())
		ereport(ERROR,
				(errcode(ERRCODE_PIPELINES_EVENT_TIME),
				 errmsg("event time %s lies in the future", timestamptz_to_str(event_time)),
				 errhint("Set pipelines.event_time to an instant that has passed.")));
	if (has_changed_at && event_time < changed_at)
		ereport(ERROR,
				(errcode(ERRCODE_PIPELINES_EVENT_TIME),
				 errmsg("event time %s lies before the last change of %s of table \"%s\"",
						pstrdup(timestamptz_to_str(event_time)),
						deal_label(deal->table, RelationGetDescr(deal->rel),
								   deal->values, deal->nulls),
						RelationGetRelationName(deal->rel)),
				 errdetail("It last changed at %s.", timestamptz_to_str(changed_at)),
				 errhint("Apply events in their order, or load them with pipelines.import_history().")));
}

/*
 * When does this change happen?  At the transaction's instant, though always
 * after the last change of the same deal; or when an import says.  With
 * 'may_be_equal' not before it is enough: a key comes back at the instant at
 * which it went, so that no look at the past misses it.
 */
static TimestampTz
instant_of_change(const DealContext *deal, bool has_changed_at, TimestampTz changed_at,
				  bool may_be_equal)
{
	TimestampTz instant = deals_transaction_instant();

	if (unlikely(pipelines_event_time[0] != '\0'))
	{
		instant = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in,
														  CStringGetDatum(pipelines_event_time),
														  ObjectIdGetDatum(InvalidOid),
														  Int32GetDatum(-1)));
		check_event_time(instant, deal, has_changed_at, changed_at);
		return instant;
	}
	if (has_changed_at && instant <= changed_at)
		return may_be_equal ? changed_at : changed_at + 1;
	return instant;
}

/*
 * CORE 3: does this row come from a restore or a copy?
 */
static bool
is_kept(const DealsTable *table, const DealRow *row, const DealState *state)
{
	if (role_is_null(table, row, ROLE_STAGE_ENTERED_AT) ||
		role_is_null(table, row, ROLE_FURTHEST_STAGE_ID) ||
		role_is_null(table, row, ROLE_EPISODE) ||
		role_is_null(table, row, ROLE_VERSION) ||
		role_is_null(table, row, ROLE_CHANGED_AT) ||
		state->pipeline_id == 0 || state->stage_id == 0)
		return false;
	return state->version >= 1 && state->version < PG_INT32_MAX &&
		state->episode >= 1 && state->episode < PG_INT32_MAX &&
		!TIMESTAMP_NOT_FINITE(state->stage_entered_at) &&
		state->stage_entered_at <= state->changed_at &&
		state->changed_at <= GetCurrentTimestamp() &&
		has_privs_of_role(GetUserId(), table->owner);
}

/*
 * Complete a new row in place.
 */
static void
complete_new_row(Relation rel, const DealsTable *table, DealRow *row, DealState *state)
{
	TupleDesc	tupdesc = RelationGetDescr(rel);
	DealContext deal = {rel, table, row->values, row->nulls, NULL, NULL};
	Refusal		refusal;
	bool		replaced;
	int32		version = 0;
	int32		episode = 0;
	TimestampTz valid_to = DT_NOBEGIN;

	/* CORE 2: a key that comes back continues its versions */
	bool		returning = history_last_version(table, tupdesc, row->values, row->nulls,
												 &version, &valid_to, &episode);

	state->version = returning ? version + 1 : 1;
	state->episode = returning ? episode + 1 : 1;
	state->changed_at = instant_of_change(&deal, returning, valid_to, true);
	if (unlikely(table->application != NULL) &&
		!application_follow(&deal, NULL, state, &refusal))
		refuse_now(&deal, &refusal);
	/* at once: COPY says in which line */
	if (!judge_new_deal(&deal, state, &refusal))
		refuse_now(&deal, &refusal);
	write_state(table, row, state);
	if (unlikely(table->application != NULL) &&
		!application_write(&deal, NULL, row->values, row->nulls, state, &replaced, &refusal))
		refuse_now(&deal, &refusal);
}

/*
 * Where the partition key is not part of the deal key, no unique index keeps
 * a deal from being in two partitions.  Look for it, as the table's owner.
 */
static void
refuse_second_partition(Relation rel, const DealsTable *table, const DealRow *row)
{
	TupleDesc	tupdesc = RelationGetDescr(rel);
	StringInfoData query;
	Oid			types[2 * INDEX_MAX_KEYS];
	Datum		args[2 * INDEX_MAX_KEYS];
	char		nulls[2 * INDEX_MAX_KEYS];
	int			nargs = 0;
	RunAs		saved;

	initStringInfo(&query);
	appendStringInfo(&query, "SELECT tableoid::pg_catalog.regclass::pg_catalog.text FROM %s WHERE ",
					 quote_qualified_identifier(get_namespace_name(get_rel_namespace(table->root)),
												get_rel_name(table->root)));
	for (int i = 0; i < table->nkeys + table->npartkeys; i++)
	{
		bool		in_key = i < table->nkeys;
		AttrNumber	attnum = in_key ? table->keys[i] : table->partkeys[i - table->nkeys];
		Form_pg_attribute att = TupleDescAttr(tupdesc, attnum - 1);

		if (i == table->nkeys)
			appendStringInfoString(&query, " AND NOT (true");
		types[nargs] = att->atttypid;
		args[nargs] = row->values[attnum - 1];
		nulls[nargs] = row->nulls[attnum - 1] ? 'n' : ' ';
		nargs++;
		appendStringInfo(&query, "%s%s %s $%d%s", i > 0 ? " AND " : "",
						 in_key ? quote_identifier(NameStr(att->attname)) :
						 psprintf("(%s", quote_identifier(NameStr(att->attname))),
						 equality_of_type(att->atttypid), nargs,
						 in_key ? "" : ") IS TRUE");
	}
	appendStringInfoString(&query, ") LIMIT 1");

	run_as(table->owner, &saved);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args(query.data, nargs, types, args, nulls, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute_with_args failed");
	if (SPI_processed > 0)
	{
		char	   *other = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);

		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("%s of table \"%s\" exists already",
						deal_label(table, tupdesc, row->values, row->nulls),
						get_rel_name(table->root)),
				 errdetail("It is in partition %s; the new row would go to partition %s.",
						   other, quote_identifier(RelationGetRelationName(rel))),
				 errhint("A deal key must be unique across partitions."),
				 errtable(rel)));
	}
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	run_as_end(&saved);
}

/*
 * In a DealState 0 stands for NULL, so that a 0 that was given must not come
 * that far.  No definition has that id.
 */
static void
refuse_zero_ids(Relation rel, const DealsTable *table, const DealRow *row)
{
	for (int r = ROLE_PIPELINE_ID; r <= ROLE_STAGE_ID; r++)
	{
		if (!role_is_null(table, row, r) && role_int32(table, row, r) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_PIPELINES_UNKNOWN_STAGE),
					 errmsg("%s 0 does not exist",
							r == ROLE_PIPELINE_ID ? "pipeline" : "stage"),
					 errdetail("Refused for %s of table \"%s\".",
							   deal_label(table, RelationGetDescr(rel), row->values, row->nulls),
							   RelationGetRelationName(rel)),
					 errhint("Leave the column out, or set it to NULL, to have it filled in."),
					 errtablecol(rel, table->role[r])));
	}
}

static HeapTuple
complete_insert(Relation rel, HeapTuple tuple)
{
	TupleDesc	tupdesc = RelationGetDescr(rel);
	DealRow		row;
	DealState	state;
	DealsTable *table;
	bool		given_closed_on;

	deform_row(&row, tuple, tupdesc);
	table = deals_table(rel, false);
	refuse_zero_ids(rel, table, &row);
	read_state(table, &row, &state);

	if (is_kept(table, &row, &state))
	{
		/* a data-only restore may load deals before definitions */
		if (definitions_exist())
		{
			DealContext deal = {rel, table, row.values, row.nulls, NULL, NULL};
			Refusal		refusal;

			definitions_lock();
			if (!check_kept_deal(&deal, &state, &refusal))
				refuse_now(&deal, &refusal);
		}
		if (table->loose_key)
			refuse_second_partition(rel, table, &row);
		if (table->later_insert != NULL)
		{
			want_judgement();
			kept_rows_to_judge++;
		}
		/* one that comes from an import says nothing to the application yet */
		if (unlikely(table->application != NULL) && definitions_exist())
		{
			DealContext deal = {rel, table, row.values, row.nulls, NULL, NULL};
			Refusal		refusal;
			bool		replaced;

			if (!application_is_silent(&deal))
				return tuple;
			if (!application_write(&deal, NULL, row.values, row.nulls, &state,
								   &replaced, &refusal))
				refuse_now(&deal, &refusal);
			if (replaced)
				return heap_form_tuple(tupdesc, row.values, row.nulls);
		}
		return tuple;
	}

	definitions_lock();
	table = deals_table(rel, true);
	if (table->loose_key)
		refuse_second_partition(rel, table, &row);
	given_closed_on = state.has_closed_on;
	complete_new_row(rel, table, &row, &state);

	proposed_closing.statement = NULL;
	if (state.has_closed_on && !given_closed_on)
	{
		proposed_closing.statement = current_statement();
		proposed_closing.command = GetCurrentCommandId(false);
		proposed_closing.closed_on = state.closed_on;
	}
	if (role_is_null(table, &row, ROLE_CREATED_AT))
		set_role(table, &row, ROLE_CREATED_AT, TimestampTzGetDatum(state.changed_at), false);
	if (role_is_null(table, &row, ROLE_CREATED_BY))
		set_role(table, &row, ROLE_CREATED_BY, history_actor(), false);

	if (table->later_insert != NULL || judge_new_deal_needed(&state))
		want_judgement();
	return heap_form_tuple(tupdesc, row.values, row.nulls);
}

/* the new row is as the old one in all that we look after */
static void
keep_in_place(const DealContext *deal, DealRow *row, const DealState *old_state)
{
	write_state(deal->table, row, old_state);
	if (unlikely(deal->table->application != NULL))
	{
		application_keep(deal, row->values, row->nulls);
		row->offsets = NULL;
	}
}

/*
 * While a table is being adopted, the old row may be one that the adoption
 * has not reached: it is completed, and the new row with it, before anything
 * is judged.
 */
static void
complete_adopted(const DealContext *deal, DealRow *old, DealRow *row)
{
	static const DealRole filled[] = {
		ROLE_STAGE_ID, ROLE_FURTHEST_STAGE_ID, ROLE_STAGE_ENTERED_AT,
		ROLE_CLOSED_AT, ROLE_CLOSED_ON
	};

	if (likely(!role_is_null(deal->table, old, ROLE_STAGE_ID)))
		return;
	if (!application_complete(deal, old->values, old->nulls,
							  !role_is_null(deal->table, row, ROLE_STAGE_ID)))
	{
		/* the old value stands for no stage: this is what mends it */
		if (!application_complete(deal, row->values, row->nulls, true))
			return;
		for (int i = 0; i < (int) lengthof(filled); i++)
			if (!role_is_null(deal->table, row, filled[i]))
				set_role(deal->table, old, filled[i],
						 role_value(deal->table, row, filled[i]), false);
		row->offsets = NULL;
		return;
	}
	for (int i = 0; i < (int) lengthof(filled); i++)
	{
		if (role_is_null(deal->table, row, filled[i]) &&
			!role_is_null(deal->table, old, filled[i]))
			set_role(deal->table, row, filled[i],
					 role_value(deal->table, old, filled[i]), false);
	}
	row->offsets = NULL;
}

/*
 * Complete and judge the new row of an UPDATE in place.  Returns whether a
 * version ends.  If the change is refused, verdict->refusal says so, and the
 * deal stays where it was.
 */
static bool
complete_update(Relation rel, const DealsTable *table, const DealRow *old, DealRow *row,
				DealState *old_state, DealState *state, Verdict *verdict)
{
	TupleDesc	tupdesc = RelationGetDescr(rel);
	DealContext deal = {rel, table, row->values, row->nulls, old->values, old->nulls};
	TimestampTz instant;
	bool		changed;

	refuse_changed_column(&deal, tupdesc, old, row, table->keys, table->nkeys, false);
	refuse_changed_column(&deal, tupdesc, old, row, table->partkeys, table->npartkeys, true);

	refuse_zero_ids(rel, table, row);
	if (unlikely(table->application != NULL))
		complete_adopted(&deal, unconstify(DealRow *, old), row);
	read_state(table, old, old_state);
	read_state(table, row, state);
	if (unlikely(table->application != NULL) &&
		!application_follow(&deal, old_state, state, &verdict->refusal))
	{
		keep_in_place(&deal, row, old_state);
		*state = *old_state;
		return false;
	}
	/* a stage and the deals in it get their new outcome at one instant */
	if (unlikely(verdict->redefined != NULL))
		instant = Max(verdict->redefined->instant, old_state->changed_at + 1);
	else
		instant = instant_of_change(&deal, true, old_state->changed_at, false);

	if (unlikely(proposed_closing.statement != NULL) &&
		proposed_closing.statement == current_statement() &&
		proposed_closing.command == GetCurrentCommandId(false) &&
		state->has_closed_on && state->closed_on == proposed_closing.closed_on)
	{
		state->has_closed_on = old_state->has_closed_on;
		state->closed_on = old_state->closed_on;
	}

	if (!judge_change(&deal, old_state, state, instant, verdict))
	{
		keep_in_place(&deal, row, old_state);
		*state = *old_state;
		return false;
	}
	state->version = old_state->version;
	state->changed_at = old_state->changed_at;
	write_state(table, row, state);
	if (unlikely(table->application != NULL))
	{
		bool		replaced;

		if (!application_write(&deal, old_state, row->values, row->nulls, state,
							   &replaced, &verdict->refusal))
		{
			keep_in_place(&deal, row, old_state);
			*state = *old_state;
			return false;
		}
		if (replaced)
			row->offsets = NULL;
	}

	/* what the client did not write in this statement goes */
	if (verdict->clear_overrides || verdict->clear_closing)
	{
		static const struct
		{
			DealRole	role;
			bool		closing;
		}			clearable[] = {
			{ROLE_PROBABILITY, false},
			{ROLE_FORECAST_CATEGORY, false},
			{ROLE_CLOSE_REASON, true},
			{ROLE_COMPETITOR, true},
			{ROLE_CLOSE_NOTES, true}
		};

		for (int i = 0; i < (int) lengthof(clearable); i++)
		{
			AttrNumber	attnum = table->role[clearable[i].role];
			Form_pg_attribute att;

			if (attnum == InvalidAttrNumber || row->nulls[attnum - 1] ||
				!(clearable[i].closing ? verdict->clear_closing : verdict->clear_overrides))
				continue;
			att = TupleDescAttr(tupdesc, attnum - 1);
			if (!old->nulls[attnum - 1] &&
				datum_image_eq(old->values[attnum - 1], row->values[attnum - 1],
							   att->attbyval, att->attlen))
				row->nulls[attnum - 1] = true;
		}
	}

	changed = verdict->moved || tracked_column_changed(table, old, row);
	/* an amount that is computed may grow without anything that we look at */
	if (!lock_allows_change(&deal, old_state, state, verdict) ||
		((changed || amount_is_generated(&deal)) &&
		 !judge_requirements(&deal, old_state, state, verdict)))
	{
		keep_in_place(&deal, row, old_state);
		*state = *old_state;
		return false;
	}
	if (!changed)
		return false;
	if (verdict->kind == CHANGE_NONE)
		verdict->kind = verdict->forced == CHANGE_UNDO ? CHANGE_UNDO : CHANGE_OTHER;
	if (pg_add_s32_overflow(old_state->version, 1, &state->version))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("%s of table \"%s\" has no version left",
						deal_label(table, tupdesc, old->values, old->nulls),
						RelationGetRelationName(rel))));
	state->changed_at = instant;
	set_role(table, row, ROLE_VERSION, Int32GetDatum(state->version), false);
	set_role(table, row, ROLE_CHANGED_AT, TimestampTzGetDatum(state->changed_at), false);
	return true;
}

/* heap_modify_tuple() for a row that was taken apart already */
static HeapTuple
form_row(TupleDesc tupdesc, HeapTuple original, const DealRow *row)
{
	HeapTuple	tuple = heap_form_tuple(tupdesc, row->values, row->nulls);

	tuple->t_data->t_ctid = original->t_data->t_ctid;
	tuple->t_self = original->t_self;
	tuple->t_tableOid = original->t_tableOid;
	return tuple;
}

/*
 * The same where only values of fixed length changed that were not null and
 * still are not: then a copy is enough.  Most moves are like that.
 */
static HeapTuple
patch_row(const DealsTable *table, TupleDesc tupdesc, HeapTuple original, const DealRow *row)
{
	HeapTuple	tuple;
	char	   *data;

	if (row->offsets == NULL)
		return form_row(tupdesc, original, row);
	for (int i = 0; i < tupdesc->natts; i++)
	{
		bool		was_null = HeapTupleHasNulls(original) &&
			att_isnull(i, original->t_data->t_bits);

		if (was_null != row->nulls[i])
			return form_row(tupdesc, original, row);
	}

	/* something else than a value of fixed length was replaced */
	data = (char *) original->t_data + original->t_data->t_hoff;
	for (int r = 0; r < NUM_ROLES; r++)
	{
		int			i = table->role[r] - 1;

		if (i >= 0 && !row->nulls[i] && !TupleDescAttr(tupdesc, i)->attbyval &&
			DatumGetPointer(row->values[i]) != data + row->offsets[i])
			return form_row(tupdesc, original, row);
	}

	tuple = heap_copytuple(original);
	data = (char *) tuple->t_data + tuple->t_data->t_hoff;
	for (int r = 0; r < NUM_ROLES; r++)
	{
		int			i = table->role[r] - 1;

		if (i >= 0 && !row->nulls[i] && TupleDescAttr(tupdesc, i)->attbyval)
			store_att_byval(data + row->offsets[i], row->values[i],
							TupleDescAttr(tupdesc, i)->attlen);
	}
	return tuple;
}

static HeapTuple
before_update(Relation rel, HeapTuple oldtuple, HeapTuple newtuple)
{
	TupleDesc	tupdesc = RelationGetDescr(rel);
	DealsTable *table;
	DealRow		old;
	DealRow		row;
	DealState	old_state;
	DealState	state;
	Verdict		verdict = {0};
	DealOperation *running;
	bool		ends;

	definitions_lock();
	table = deals_table(rel, true);
	if (passes_unseen(table))
		return newtuple;

	deform_row(&old, oldtuple, tupdesc);
	deform_row_to_patch(&row, newtuple, tupdesc);
	running = operation_on(table);
	if (running != NULL)
	{
		verdict.forced = running->kind;
		verdict.redefined = running->redefined;
	}
	/* who wants to leave out what is refused must know it now */
	verdict.when = table->later_update != NULL && (running == NULL || !running->skip_refused) ?
		JUDGE_BEFORE_OTHERS : JUDGE_BEFORE;
	ends = complete_update(rel, table, &old, &row, &old_state, &state, &verdict);
	if (running != NULL && running->observe != NULL)
	{
		DealContext deal = {rel, table, row.values, row.nulls, old.values, old.nulls};

		bool		wanted = running->observe(running->arg, &deal, &old_state, &state,
											  &verdict, false);

		/* nothing happens to it, and the others go on */
		if (!wanted || (verdict.refusal.sqlerrcode != 0 && running->skip_refused))
			return NULL;
	}
	if (unlikely(verdict.refusal.sqlerrcode != 0))
	{
		DealContext deal = {rel, table, row.values, row.nulls, old.values, old.nulls};

		refusal_note(&deal, &verdict.refusal);
		/* half a change might break a constraint, which would be told instead */
		return oldtuple;
	}
	if (ends && table->later_update == NULL)
		history_append(table, tupdesc, old.values, old.nulls,
					   &old_state, &state, &verdict, state.changed_at);
	if (table->later_update != NULL || verdict.postponed)
		want_judgement();
	some_postponed |= verdict.postponed;
	return patch_row(table, tupdesc, newtuple, &row);
}

/* triggers after ours, or generated columns, decide about rows of this one */
static bool
decides_late(Relation rel)
{
	TupleConstr *constr = RelationGetDescr(rel)->constr;

	return deals_table(rel, true)->later_update != NULL ||
		(constr != NULL && constr->has_generated_stored);
}

bool
deals_refuse_late(Relation rel)
{
	ListCell   *lc;

	if (!rel->rd_rel->relhassubclass)
		return decides_late(rel);
	foreach(lc, find_all_inheritors(RelationGetRelid(rel), AccessShareLock, NULL))
	{
		Relation	member = table_open(lfirst_oid(lc), NoLock);
		bool		late = member->rd_rel->relkind == RELKIND_RELATION && decides_late(member);

		table_close(member, NoLock);
		if (late)
			return true;
	}
	return false;
}

void
deals_judge_move(Relation rel, HeapTuple tuple, int32 pipeline_id, int32 stage_id,
				 DealOperation *plan)
{
	TupleDesc	tupdesc = RelationGetDescr(rel);
	DealsTable *table;
	DealRow		old;
	DealRow		row;
	DealState	old_state;
	DealState	state;
	Verdict		verdict = {0};
	DealContext deal;

	definitions_lock();
	table = deals_table(rel, true);
	deform_row(&old, tuple, tupdesc);
	deform_row(&row, tuple, tupdesc);
	set_role(table, &row, ROLE_PIPELINE_ID, Int32GetDatum(pipeline_id), pipeline_id == 0);
	set_role(table, &row, ROLE_STAGE_ID, Int32GetDatum(stage_id), stage_id == 0);
	verdict.when = JUDGE_AFTER;
	verdict.forced = plan->kind;
	(void) complete_update(rel, table, &old, &row, &old_state, &state, &verdict);
	deal.rel = rel;
	deal.table = table;
	deal.values = row.values;
	deal.nulls = row.nulls;
	deal.old_values = old.values;
	deal.old_nulls = old.nulls;
	(void) plan->observe(plan->arg, &deal, &old_state, &state, &verdict, false);
}

static void
end_by_delete(Relation rel, const DealsTable *table, HeapTuple tuple)
{
	TupleDesc	tupdesc = RelationGetDescr(rel);
	DealRow		old;
	DealState	old_state;
	DealContext deal;
	Verdict		verdict;

	deform_row(&old, tuple, tupdesc);
	deal.rel = rel;
	deal.table = table;
	deal.values = old.values;
	deal.nulls = old.nulls;
	deal.old_values = NULL;
	deal.old_nulls = NULL;
	if (unlikely(table->application != NULL))
		(void) application_complete(&deal, old.values, old.nulls, true);
	read_state(table, &old, &old_state);
	memset(&verdict, 0, sizeof(verdict));
	if (!lock_allows_delete(&deal, &old_state, &verdict.refusal))
		refuse_now(&deal, &verdict.refusal);
	verdict.kind = CHANGE_DELETE;
	history_append(table, tupdesc, old.values, old.nulls, &old_state, NULL, &verdict,
				   instant_of_change(&deal, true, old_state.changed_at, false));
}

static HeapTuple
before_delete(Relation rel, HeapTuple tuple)
{
	DealsTable *table;

	definitions_lock();
	table = deals_table(rel, true);
	if (passes_unseen(table))
		return tuple;
	if (table->later_delete != NULL)
		want_judgement();
	else
		end_by_delete(rel, table, tuple);
	return tuple;
}

static TriggerData *
row_trigger(FunctionCallInfo fcinfo, bool before, const char *name)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_ROW(trigdata->tg_event) ||
		(before ? !TRIGGER_FIRED_BEFORE(trigdata->tg_event) :
		 !TRIGGER_FIRED_AFTER(trigdata->tg_event)))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be called by a trigger that is %s ... FOR EACH ROW",
						name, before ? "BEFORE" : "AFTER"),
				 errhint("Deals tables get their triggers from pipelines.create_deals() and pipelines.resume().")));
	return trigdata;
}

Datum
pipelines_deal_before(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = row_trigger(fcinfo, true, "_deal_before");
	HeapTuple	result;

	if (TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event))
		result = before_update(trigdata->tg_relation, trigdata->tg_trigtuple,
							   trigdata->tg_newtuple);
	else if (TRIGGER_FIRED_BY_INSERT(trigdata->tg_event))
		result = complete_insert(trigdata->tg_relation, trigdata->tg_trigtuple);
	else
		result = before_delete(trigdata->tg_relation, trigdata->tg_trigtuple);
	return PointerGetDatum(result);
}

compat_noreturn static void
row_was_altered(Relation rel, const DealsTable *table, const DealRow *row,
				const char *others, DealRole role)
{
	ereport(ERROR,
			(errcode(ERRCODE_PIPELINES_ROW_ALTERED),
			 errmsg("%s of table \"%s\" was altered after it had been judged",
					deal_label(table, RelationGetDescr(rel), row->values, row->nulls),
					RelationGetRelationName(rel)),
			 errdetail("Column \"%s\" is not what it must be.  These triggers fire after ours: %s.",
					   NameStr(TupleDescAttr(RelationGetDescr(rel), table->role[role] - 1)->attname),
					   others == NULL ? "none" : others),
			 errhint("Rename the trigger so that it sorts before \"%s\".",
					 NameStr(*DatumGetName(DirectFunctionCall1(pipelines_trigger_name, (Datum) 0)))),
			 errtablecol(rel, table->role[role])));
}

/*
 * Compare the bookkeeping of the row as it stands with what it must be.
 * Returns whether they agree, else *offender says where they don't.
 */
static bool
bookkeeping_agrees(Relation rel, const DealsTable *table, const DealRow *found,
				   const DealRow *expected, DealRole *offender)
{
	static const DealRole checked[] = {
		ROLE_PIPELINE_ID, ROLE_STAGE_ID, ROLE_CLOSED_AT, ROLE_STAGE_ENTERED_AT,
		ROLE_FURTHEST_STAGE_ID, ROLE_GATE_STAGE_ID, ROLE_EPISODE, ROLE_VERSION,
		ROLE_CHANGED_AT, ROLE_APPLICATION_STAGE, ROLE_APPLICATION_OUTCOME
	};

	for (int i = 0; i < (int) lengthof(checked); i++)
	{
		AttrNumber	attnum = table->role[checked[i]];
		Form_pg_attribute att;

		if (attnum == InvalidAttrNumber)
			continue;
		att = TupleDescAttr(RelationGetDescr(rel), attnum - 1);
		if (found->nulls[attnum - 1] != expected->nulls[attnum - 1] ||
			(!found->nulls[attnum - 1] &&
			 !datum_image_eq(found->values[attnum - 1], expected->values[attnum - 1],
							 att->attbyval, att->attlen)))
		{
			*offender = checked[i];
			return false;
		}
	}
	return true;
}

static void
after_insert(Relation rel, HeapTuple tuple)
{
	TupleDesc	tupdesc = RelationGetDescr(rel);
	DealsTable *table;
	DealRow		found;
	DealRow		expected;
	DealState	state;
	DealState	expected_state;
	DealContext deal;
	Refusal		refusal;
	DealRole	offender;
	int32		version;
	int32		episode;
	TimestampTz valid_to;
	bool		changed_since;

	if (!definitions_exist())
		return;
	table = deals_table(rel, true);
	deform_row(&found, tuple, tupdesc);
	deform_row(&expected, tuple, tupdesc);
	read_state(table, &found, &state);
	deal.rel = rel;
	deal.table = table;
	deal.values = found.values;
	deal.nulls = found.nulls;
	deal.old_values = NULL;
	deal.old_nulls = NULL;

	/* what would we have made of this row? */
	expected_state = state;
	complete_new_row(rel, table, &expected, &expected_state);
	changed_since = history_last_version(table, tupdesc, found.values, found.nulls,
										 &version, &valid_to, &episode) &&
		version >= state.version && valid_to > state.changed_at;
	if (!changed_since && !bookkeeping_agrees(rel, table, &found, &expected, &offender))
	{
		/* a restored row was judged when it was made */
		if (table->later_insert == NULL)
		{
			if (pipelines_event_time[0] == '\0' &&
				state.changed_at < deals_transaction_instant())
				return;
		}
		else if (kept_rows_to_judge > 0 && is_kept(table, &found, &state))
		{
			kept_rows_to_judge--;
			return;
		}
		else
			row_was_altered(rel, table, &found, table->later_insert, offender);
	}
	if (!judge_entry(&deal, &state, &refusal))
		refusal_note(&deal, &refusal);
}

static void
after_update(Relation rel, HeapTuple oldtuple, HeapTuple newtuple)
{
	TupleDesc	tupdesc = RelationGetDescr(rel);
	DealsTable *table = deals_table(rel, true);
	DealRow		old;
	DealRow		row;
	DealRow		found;
	DealState	old_state;
	DealState	state;
	Verdict		verdict = {0};
	DealRole	offender;
	DealOperation *running = NULL;
	bool		ends;

	verdict.when = JUDGE_AFTER;
	if (operation != NULL && operation->root == table->root &&
		operation->depth == trigger_depth())
	{
		running = operation;
		verdict.forced = running->kind;
		verdict.redefined = running->redefined;
	}
	deform_row(&old, oldtuple, tupdesc);
	deform_row(&found, newtuple, tupdesc);
	deform_row(&row, newtuple, tupdesc);
	ends = complete_update(rel, table, &old, &row, &old_state, &state, &verdict);
	if (verdict.refusal.sqlerrcode != 0)
	{
		DealContext deal = {rel, table, found.values, found.nulls, old.values, old.nulls};

		if (running != NULL && running->may_repeat)
		{
			running->refused_late = true;
			(void) running->observe(running->arg, &deal, &old_state, &state, &verdict, true);
		}
		else
			refusal_note(&deal, &verdict.refusal);
		return;
	}
	/* the statement fails: all that is left to find out is what else is refused */
	if (refusals_noted())
		return;
	if (table->later_update != NULL &&
		!bookkeeping_agrees(rel, table, &found, &row, &offender))
		row_was_altered(rel, table, &found, table->later_update, offender);
	/* else the history has it already: only the judgement was postponed */
	if (ends && table->later_update != NULL)
		history_append(table, tupdesc, old.values, old.nulls,
					   &old_state, &state, &verdict, state.changed_at);
}

/*
 * A trigger after ours changed the partition key: the deletion that we see is
 * half of a move.
 */
compat_noreturn static void
refuse_partition_move(Relation rel, const DealsTable *table, HeapTuple tuple)
{
	DealRow		row;

	deform_row(&row, tuple, RelationGetDescr(rel));
	ereport(ERROR,
			(errcode(ERRCODE_PIPELINES_KEY_CHANGED),
			 errmsg("%s can't leave partition \"%s\"",
					deal_label(table, RelationGetDescr(rel), row.values, row.nulls),
					RelationGetRelationName(rel)),
			 errdetail("The partition key was changed after the row had been judged.  These triggers fire after ours: %s.",
					   table->later_update == NULL ? "none" : table->later_update),
			 errhint("Choose a partition key that never changes, or delete the deal and insert it anew."),
			 errtable(rel)));
}

Datum
pipelines_deal_after(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = row_trigger(fcinfo, false, "_deal_after");
	Relation	rel = trigdata->tg_relation;
	DealsTable *table;

	history_flush();

	if (TRIGGER_FIRED_BY_INSERT(trigdata->tg_event))
		after_insert(rel, trigdata->tg_trigtuple);
	else if (TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event))
	{
		table = deals_table(rel, true);
		if (table->later_update != NULL || some_postponed)
			after_update(rel, trigdata->tg_trigtuple, trigdata->tg_newtuple);
	}
	else
	{
		table = deals_table(rel, true);
		if (ItemPointerIndicatesMovedPartitions(&trigdata->tg_trigtuple->t_data->t_ctid))
			refuse_partition_move(rel, table, trigdata->tg_trigtuple);
		if (table->later_delete != NULL)
			end_by_delete(rel, table, trigdata->tg_trigtuple);
	}
	history_flush();
	refusals_call_came();
	return PointerGetDatum(NULL);
}

Datum
pipelines_pending(PG_FUNCTION_ARGS)
{
	bool		result = history_announce();

	result |= refusals_announce();
	if (list_member_ptr(rows_to_judge, current_statement()))
	{
		rows_to_judge = list_delete_ptr(rows_to_judge, current_statement());
		result = true;
	}
	if (result)
		refusals_expect_call();
	PG_RETURN_BOOL(result);
}

/*
 * One deletion for each deal of a relation that is about to be emptied.
 */
static void
record_truncate(Relation rel, const DealsTable *table)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TableScanDesc scan = compat_table_beginscan(rel, snapshot);
	MemoryContext per_row = AllocSetContextCreate(CurrentMemoryContext, "pipelines truncate",
												  ALLOCSET_DEFAULT_SIZES);
	/* rows of one statement are known by the parent of their context */
	MemoryContext oldcontext = MemoryContextSwitchTo(per_row);

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		bool		should_free;
		HeapTuple	tuple = ExecFetchSlotHeapTuple(slot, false, &should_free);

		end_by_delete(rel, table, tuple);
		MemoryContextReset(per_row);
		CHECK_FOR_INTERRUPTS();
	}
	MemoryContextSwitchTo(oldcontext);
	MemoryContextDelete(per_row);
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	history_flush();
}

/*
 * PostgreSQL locks a row before it calls a BEFORE ROW trigger.  Who waited for
 * the definers' lock only there would hold a row that the definer may be about
 * to change, and one of them would have to die.  So a statement waits here,
 * while it holds nothing.  What has no statement trigger (rows that arrive by
 * replication, a partition that PostgreSQL routes to) waits where it did.
 */
Datum
pipelines_deal_turn(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_STATEMENT(trigdata->tg_event) ||
		!TRIGGER_FIRED_BEFORE(trigdata->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be called by a trigger that is BEFORE ... FOR EACH STATEMENT",
						"_deal_turn"),
				 errhint("Deals tables get their triggers from pipelines.create_deals() and pipelines.resume().")));

	/* a partition that was detached has kept this trigger, but no other */
	if (has_deal_triggers(trigdata->tg_relation))
		definitions_lock();
	return PointerGetDatum(NULL);
}

Datum
pipelines_deal_truncate(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	Relation	rel;
	DealsTable *table;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_STATEMENT(trigdata->tg_event) ||
		!TRIGGER_FIRED_BEFORE(trigdata->tg_event) ||
		!TRIGGER_FIRED_BY_TRUNCATE(trigdata->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be called by a trigger that is BEFORE TRUNCATE",
						"_deal_truncate")));

	rel = trigdata->tg_relation;
	/* a partition that was detached has kept this trigger, but no other */
	if (!has_deal_triggers(rel))
		return PointerGetDatum(NULL);
	definitions_lock();
	table = deals_table(rel, true);
	if (!table->record_truncate)
		ereport(ERROR,
				(errcode(ERRCODE_PIPELINES_TRUNCATE_REFUSED),
				 errmsg("deals table \"%s\" can't be truncated", RelationGetRelationName(rel)),
				 errdetail("Its history would not know what became of the deals."),
				 errhint("Use DELETE, or set on_truncate of the table in pipelines.tracked_table to 'record'."),
				 errtable(rel)));

	/* partitions are emptied too, and each has this trigger itself */
	if (rel->rd_rel->relkind == RELKIND_RELATION)
		record_truncate(rel, table);
	return PointerGetDatum(NULL);
}

Datum
pipelines_columns(PG_FUNCTION_ARGS)
{
	ereport(ERROR,
			(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
			 errmsg("function \"%s\" must not be called", "_columns"),
			 errhint("It only marks the columns of a deals table.")));
	PG_RETURN_NULL();
}

/*
 * A sign that sorts after every ASCII one, in the byte order that triggers
 * fire in: the section sign where the encoding has it.  In single-byte
 * encodings the same byte may look different, but sorts as well.
 */
Datum
pipelines_trigger_name(PG_FUNCTION_ARGS)
{
	Name		name = palloc0(NAMEDATALEN);
	int			encoding = GetDatabaseEncoding();
	const char *sign;

	if (encoding == PG_UTF8)
		sign = "\xc2\xa7";
	else if (pg_database_encoding_max_length() == 1)
		sign = "\xa7";
	else
		sign = "~~~~";
	namestrcpy(name, psprintf("%spipelines_before", sign));
	PG_RETURN_NAME(name);
}

/*
 * Set the bookkeeping of deals from outside.  The values have been checked by
 * the functions that call this one; what we check is who calls.
 */
Datum
pipelines_rebook(PG_FUNCTION_ARGS)
{
	static const DealRole roles[] = {
		ROLE_STAGE_ENTERED_AT, ROLE_FURTHEST_STAGE_ID, ROLE_GATE_STAGE_ID,
		ROLE_EPISODE, ROLE_VERSION, ROLE_CHANGED_AT, ROLE_CLOSED_AT, ROLE_CLOSED_ON
	};
	static const char *const columns[] = {
		"stage_entered_at", "furthest_stage_id", "gate_stage_id",
		"episode", "version", "changed_at", "closed_at", "closed_on"
	};
	Oid			relid = PG_GETARG_OID(0);
	Oid			source = PG_GETARG_OID(1);
	Relation	rel = open_given_table(relid, RowExclusiveLock);
	Relation	bookkeeping = open_given_table(source, AccessShareLock);
	TupleDesc	tupdesc = RelationGetDescr(rel);
	DealsTable *table;
	StringInfoData query;
	uint64		processed = 0;
	bool		first = true;

	if (!has_privs_of_role(GetUserId(), rel->rd_rel->relowner))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, RelationGetRelationName(rel));
	table = whole_deals_table(rel);

	initStringInfo(&query);
	appendStringInfo(&query, "UPDATE %s AS t SET ",
					 quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
												RelationGetRelationName(rel)));
	for (int i = 0; i < (int) lengthof(roles); i++)
	{
		AttrNumber	attnum = table->role[roles[i]];

		if (attnum == InvalidAttrNumber)
			continue;
		appendStringInfo(&query, "%s%s = b.%s", first ? "" : ", ",
						 quote_identifier(NameStr(TupleDescAttr(tupdesc, attnum - 1)->attname)),
						 columns[i]);
		first = false;
	}
	appendStringInfo(&query, " FROM %s AS b WHERE ",
					 quote_qualified_identifier(get_namespace_name(RelationGetNamespace(bookkeeping)),
												RelationGetRelationName(bookkeeping)));
	for (int i = 0; i < table->nkeys; i++)
	{
		Form_pg_attribute att = TupleDescAttr(tupdesc, table->keys[i] - 1);
		const char *key = quote_identifier(NameStr(att->attname));

		appendStringInfo(&query, "%st.%s %s b.%s", i > 0 ? " AND " : "",
						 key, equality_of_type(att->atttypid), key);
	}

	deals_pass_begin(relid);
	PG_TRY();
	{
		if (SPI_connect() != SPI_OK_CONNECT)
			elog(ERROR, "SPI_connect failed");
		if (SPI_execute(query.data, false, 0) != SPI_OK_UPDATE)
			elog(ERROR, "SPI_execute failed");
		processed = SPI_processed;
		if (SPI_finish() != SPI_OK_FINISH)
			elog(ERROR, "SPI_finish failed");
	}
	PG_FINALLY();
	{
		deals_pass_end();
	}
	PG_END_TRY();
	relation_close(bookkeeping, NoLock);
	table_close(rel, NoLock);
	PG_RETURN_INT64((int64) processed);
}
