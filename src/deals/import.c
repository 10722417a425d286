/*-------------------------------------------------------------------------
 *
 * import.c
 *	  What the import of history can't say in SQL.
 *
 * Owns two things.  One is taking the lock on the definitions as the triggers
 * do.  An import works out outcomes and positions before it writes, so that
 * it must hold off whoever would take a stage away in between.  In SQL that
 * lock would need a privilege on the lock's table, which nobody has.  The
 * other is asking rules.c how far a deal has got that changes its pipeline,
 * so that an import and live changes give the same.
 *
 * It must never do more than that: import.sql does the work.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "deals/rules.h"
#include "definitions/definitions.h"
#include "fmgr.h"

PG_FUNCTION_INFO_V1(pipelines_lock_definitions);
PG_FUNCTION_INFO_V1(pipelines_furthest_equivalent);

Datum
pipelines_lock_definitions(PG_FUNCTION_ARGS)
{
	definitions_lock();
	PG_RETURN_VOID();
}

Datum
pipelines_furthest_equivalent(PG_FUNCTION_ARGS)
{
	DealState	old = {0};
	int32		stage_id;

	old.pipeline_id = PG_GETARG_INT32(0);
	old.stage_id = PG_GETARG_INT32(1);
	old.furthest_stage_id = PG_GETARG_INT32(2);
	stage_id = furthest_after_transfer(&old, PG_GETARG_INT32(3), PG_GETARG_INT32(4));
	if (stage_id == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT32(stage_id);
}
