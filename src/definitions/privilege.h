/*-------------------------------------------------------------------------
 *
 * privilege.h
 *	  Doing something as the owner of a table, without trusting anybody.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PIPELINES_PRIVILEGE_H
#define PIPELINES_PRIVILEGE_H

/* what run_as() changed, to be put back */
typedef struct RunAs
{
	Oid			userid;
	int			sec_context;
	int			nest_level;
} RunAs;

extern void run_as(Oid userid, RunAs *saved);
extern void run_as_end(const RunAs *saved);

extern Oid	role_at_work(void);
extern Oid	rights_at_work(void);

#endif							/* PIPELINES_PRIVILEGE_H */
