/*-------------------------------------------------------------------------
 *
 * guard.h
 *	  History is append only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PIPELINES_GUARD_H
#define PIPELINES_GUARD_H

/*
 * Let the next statement on a history through, and nothing that its triggers
 * do in their turn.  For purge() alone, which logs what it does.  Whoever
 * opens the guard closes it, also when an error is thrown.
 */
extern void guard_open(Oid history);
extern void guard_close(void);

/*
 * How many triggers we are in, the running one included: what triggers do is
 * told by it from what the statement does that fired them.
 */
extern int	trigger_depth(void);

#endif							/* PIPELINES_GUARD_H */
