/*-------------------------------------------------------------------------
 *
 * guard.c
 *	  History is append only.
 *
 * Owns the trigger that stands guard on every table of past versions, of
 * definitions and of deals alike.  The invariant: while the trigger is
 * enabled (ENABLE ALWAYS, so in the replica role, too), no UPDATE, DELETE or
 * TRUNCATE passes, whoever runs it.  Must never make an exception that can be
 * reached by a setting.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/trigger.h"
#include "errors.h"
#include "fmgr.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(pipelines_history_guard);

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
