/*-------------------------------------------------------------------------
 *
 * privilege.c
 *	  Doing something as the owner of a table, without trusting anybody.
 *
 * Owns the switch of the user id around internal reads and writes, and the
 * question whose doing a change is.  The invariant: between run_as() and
 * run_as_end() no name is looked up in a schema other than pg_catalog unless it
 * is qualified, and nothing that runs can escape to the caller's or the owner's
 * other privileges.  Must never be used around code that the caller could
 * choose.  An error in between needs no care: the end of the (sub)transaction
 * restores all three.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "definitions/definitions_private.h"
#include "miscadmin.h"
#include "utils/guc.h"

void
run_as(Oid userid, RunAs *saved)
{
	saved->nest_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp",
							 PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	GetUserIdAndSecContext(&saved->userid, &saved->sec_context);
	SetUserIdAndSecContext(userid,
						   saved->sec_context |
						   SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION |
						   SECURITY_NOFORCE_RLS);
}

void
run_as_end(const RunAs *saved)
{
	SetUserIdAndSecContext(saved->userid, saved->sec_context);
	AtEOXact_GUC(true, saved->nest_level);
}

/*
 * Whose doing is what happens now?  The outer role's: an action of a foreign
 * key runs as the owner of a table, which says nothing of who is at work.  But
 * where code was left for others to run, in an index, in a materialized view
 * that they refresh, in a trigger on a history that they make grow, it is its
 * owner's, and whoever stands outside has no part in it.
 */
Oid
role_at_work(void)
{
	return InSecurityRestrictedOperation() ? GetUserId() : GetOuterUserId();
}

/*
 * The same, to be asked for rights.  InvalidOid: nobody's; what left code does
 * by a foreign key, or within what we do as an owner, has none to lend.
 */
Oid
rights_at_work(void)
{
	Oid			userid;
	int			sec_context;

	GetUserIdAndSecContext(&userid, &sec_context);
	if ((sec_context & SECURITY_RESTRICTED_OPERATION) == 0)
		return GetOuterUserId();
	return (sec_context & SECURITY_NOFORCE_RLS) == 0 ? userid : InvalidOid;
}
