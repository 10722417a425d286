/*-------------------------------------------------------------------------
 *
 * guard.c
 *	  History is append only.
 *
 * Owns the trigger that stands guard on every table of past versions, of
 * definitions and of deals alike.  The invariant: while the trigger is
 * enabled (ENABLE ALWAYS, so in the replica role, too), no UPDATE, DELETE or
 * TRUNCATE passes, whoever runs it, but for the one statement by which purge()
 * erases a deal, and logs it, and for what arrives from a publisher, where it
 * was purge() that passed.  Must never make an exception that can be reached
 * by a setting.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/partition.h"
#include "commands/trigger.h"
#include "definitions/guard.h"
#include "errors.h"
#include "fmgr.h"
#include "replication/logicalworker.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(pipelines_history_guard);

/* the history that is open to one statement, and that statement */
static Oid	open_history = InvalidOid;
static int	open_depth;
static MemoryContext open_statement = NULL; /* never followed, only compared */

/*
 * How many triggers are we in, the running one included?
 */
int
trigger_depth(void)
{
	LOCAL_FCINFO(fcinfo, 0);

	InitFunctionCallInfoData(*fcinfo, NULL, 0, InvalidOid, NULL, NULL);
	return DatumGetInt32(pg_trigger_depth(fcinfo));
}

void
guard_open(Oid history)
{
	open_history = history;
	open_depth = trigger_depth() + 1;
	open_statement = NULL;
}

void
guard_close(void)
{
	open_history = InvalidOid;
}

/*
 * Row triggers run in the per-tuple memory of their statement's executor
 * state: its parent tells statements apart.
 */
static bool
is_open(Relation rel)
{
	MemoryContext statement = MemoryContextGetParent(CurrentMemoryContext);

	if (open_depth != trigger_depth())
		return false;
	if (open_history != RelationGetRelid(rel) &&
		!(rel->rd_rel->relispartition &&
		  list_member_oid(get_partition_ancestors(RelationGetRelid(rel)), open_history)))
		return false;
	if (open_statement == NULL)
		open_statement = statement;
	return open_statement == statement;
}

Datum
pipelines_history_guard(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	const char *operation;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigdata->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be called by a BEFORE trigger",
						"_history_guard")));

	/* appending is the owner's business: a restore does it */
	if (TRIGGER_FIRED_BY_INSERT(trigdata->tg_event))
		return PointerGetDatum(trigdata->tg_trigtuple);

	if (unlikely(OidIsValid(open_history)) &&
		TRIGGER_FIRED_FOR_ROW(trigdata->tg_event) && is_open(trigdata->tg_relation))
		return PointerGetDatum(TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event) ?
							   trigdata->tg_newtuple : trigdata->tg_trigtuple);

	/* a subscriber that refused what the publisher purged would stop for ever */
	if (TRIGGER_FIRED_FOR_ROW(trigdata->tg_event) && IsLogicalWorker())
		return PointerGetDatum(TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event) ?
							   trigdata->tg_newtuple : trigdata->tg_trigtuple);

	operation = TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event) ? "UPDATE" :
		TRIGGER_FIRED_BY_DELETE(trigdata->tg_event) ? "DELETE" : "TRUNCATE";
	ereport(ERROR,
			(errcode(ERRCODE_PIPELINES_APPEND_ONLY),
			 errmsg("history is append only: %s of \"%s.%s\" refused", operation,
					get_namespace_name(RelationGetNamespace(trigdata->tg_relation)),
					RelationGetRelationName(trigdata->tg_relation)),
			 errdetail("What was recorded stays, whoever wants to change it."),
			 errtable(trigdata->tg_relation)));
	return PointerGetDatum(NULL);	/* keep the compiler quiet */
}
