/*-------------------------------------------------------------------------
 *
 * outcome.c
 *	  A stage gets another outcome with deals in it.
 *
 * Owns the deals' half of: what the stage is now, each deal in it
 * becomes.  The definition changes first (bookkeeping.c), which keeps all
 * other movers of deals away; then every table of deals gets one UPDATE, run
 * with the rights, the row security and the search_path of the caller, under
 * which the triggers close or reopen what they see.
 *
 * The invariant: afterwards no deal in the stage is left as it was, or nothing
 * has happened at all.  Must never leave out a deal that the caller can't
 * reach: it would be closed by its stage and open by its closing date.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "compat.h"
#include "deals/history.h"
#include "deals/triggers.h"
#include "definitions/definitions.h"
#include "errors.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(pipelines_redefine_outcome);

/* deals of one table */
typedef struct RedefinedDeals
{
	Oid			relid;
	char	   *update;			/* SQL; NULL: not the caller's to move */
	int64		in_stage;		/* as its owner counts them */
	int64		changed;
} RedefinedDeals;

/*
 * The tables with deals in the stage, with the UPDATE of each.
 */
static List *
tables_of_stage(const Redefinition *change)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid			types[2] = {INT4OID, INT4OID};
	Datum		values[2];
	List	   *tables = NIL;

	values[0] = Int32GetDatum(change->pipeline_id);
	values[1] = Int32GetDatum(change->stage_id);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args("SELECT t.deals::pg_catalog.oid, t.many, t.statement"
							  " FROM pipelines._stage_tables($1, $2) AS t",
							  2, types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "_stage_tables failed");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		MemoryContext spi = MemoryContextSwitchTo(caller);
		RedefinedDeals *deals = palloc0(sizeof(RedefinedDeals));
		bool		isnull;

		deals->relid = DatumGetObjectId(SPI_getbinval(tuple, desc, 1, &isnull));
		deals->in_stage = DatumGetInt64(SPI_getbinval(tuple, desc, 2, &isnull));
		deals->update = SPI_getvalue(tuple, desc, 3);
		tables = lappend(tables, deals);
		MemoryContextSwitchTo(spi);
	}
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	return tables;
}

static void
redefine_deals(RedefinedDeals *deals, const Redefinition *change)
{
	Oid			types[2] = {INT4OID, INT4OID};
	Datum		values[2];
	DealOperation operation = {0};
	DealOperation *previous;

	operation.root = deals->relid;
	operation.redefined = change;
	values[0] = Int32GetDatum(change->pipeline_id);
	values[1] = Int32GetDatum(change->stage_id);
	previous = deals_set_operation(&operation);
	PG_TRY();
	{
		if (SPI_connect() != SPI_OK_CONNECT)
			elog(ERROR, "SPI_connect failed");
		if (SPI_execute_with_args(deals->update, 2, types, values, NULL, false, 0) != SPI_OK_UPDATE)
			elog(ERROR, "the UPDATE of deals failed");
		deals->changed = (int64) SPI_processed;
		if (SPI_finish() != SPI_OK_FINISH)
			elog(ERROR, "SPI_finish failed");
	}
	PG_FINALLY();
	{
		(void) deals_set_operation(previous);
	}
	PG_END_TRY();
}

/*
 * All or nothing.
 */
static void
refuse_if_any_is_left(List *tables, const Redefinition *change)
{
	StringInfoData left;
	bool		denied = false;
	ListCell   *lc;

	initStringInfo(&left);
	foreach(lc, tables)
	{
		const RedefinedDeals *deals = (const RedefinedDeals *) lfirst(lc);

		if (deals->changed >= deals->in_stage)
			continue;
		denied = denied || deals->update == NULL ||
			check_enable_rls(deals->relid, InvalidOid, true) == RLS_ENABLED;
		appendStringInfo(&left, "%s" INT64_FORMAT " of %s", left.len > 0 ? ", " : "",
						 deals->in_stage - deals->changed,
						 quote_qualified_identifier(get_namespace_name(get_rel_namespace(deals->relid)),
													get_rel_name(deals->relid)));
	}
	if (left.len > 0)
		ereport(ERROR,
				(errcode(denied ? ERRCODE_INSUFFICIENT_PRIVILEGE :
						 ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the outcome of stage \"%s\" can't be changed for all deals in it",
						definitions_stage(definitions_pipeline(change->pipeline_id),
										  change->stage_id)->name),
				 errdetail("Deals that were not reached: %s.  Nothing was changed.", left.data),
				 errhint("Let somebody do it who may change all these deals, outside of a transaction that began before they were made.")));
}

/*
 * _redefine_outcome(pipeline_id, stage_id, outcome, probability, category)
 *
 * One row for each table with deals that were closed or reopened.
 */
Datum
pipelines_redefine_outcome(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Redefinition change = {0};
	StageOutcome outcome;
	List	   *tables = NIL;
	ListCell   *lc;

	for (int i = 0; i < 3; i++)
	{
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("pipeline, stage and outcome must not be NULL")));
	}
	/* else the lock on the definitions would be refused, in words of its own */
	PreventCommandIfReadOnly("change_outcome()");
	compat_materialize(fcinfo);
	history_flush();
	definitions_change_outcome(PG_GETARG_INT32(0), PG_GETARG_INT32(1),
							   text_to_cstring(PG_GETARG_TEXT_PP(2)),
							   fcinfo->args[3], fcinfo->args[4], &change);
	outcome = definitions_stage(definitions_pipeline(change.pipeline_id),
								change.stage_id)->outcome;

	/* a deal is no different for being on hold */
	if (outcome != change.was &&
		(OUTCOME_IS_CLOSED(outcome) || OUTCOME_IS_CLOSED(change.was)))
	{
		tables = tables_of_stage(&change);
		foreach(lc, tables)
		{
			RedefinedDeals *deals = (RedefinedDeals *) lfirst(lc);

			CHECK_FOR_INTERRUPTS();
			if (deals->update != NULL)
				redefine_deals(deals, &change);
		}
		refuse_if_any_is_left(tables, &change);
	}
	foreach(lc, tables)
	{
		const RedefinedDeals *deals = (const RedefinedDeals *) lfirst(lc);
		Datum		values[2];
		bool		nulls[2] = {false, false};

		values[0] = ObjectIdGetDatum(deals->relid);
		values[1] = Int64GetDatum(deals->changed);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	PG_RETURN_NULL();
}
