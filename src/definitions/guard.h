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

#endif							/* PIPELINES_GUARD_H */
