/*-------------------------------------------------------------------------
 *
 * import.c
 *	  What the import of history can't say in SQL.
 *
 * Owns one thing: taking the lock on the definitions as the triggers do.  An
 * import works out outcomes and positions before it writes, so that it must
 * hold off whoever would take a stage away in between.  In SQL that lock
 * would need a privilege on the lock's table, which nobody has.
 *
 * It must never do more than that: import.sql does the work.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "definitions/definitions.h"
#include "fmgr.h"

PG_FUNCTION_INFO_V1(pipelines_lock_definitions);

Datum
pipelines_lock_definitions(PG_FUNCTION_ARGS)
{
	definitions_lock();
	PG_RETURN_VOID();
}
