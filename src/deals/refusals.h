/*-------------------------------------------------------------------------
 *
 * refusals.h
 *	  Changes that were refused, until the statement ends.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PIPELINES_REFUSALS_H
#define PIPELINES_REFUSALS_H

#include "deals/rules.h"

/*
 * Note that a change was refused; the statement goes on, to find out what
 * else is, and fails when it ends.
 */
extern void refusal_note(const DealContext *deal, const Refusal *refusal);

/* the refusal in one line, for lists; palloc'd */
extern char *refusal_line(const Refusal *refusal, const char *deal);

/* will the running statement fail, because something of it was refused? */
extern bool refusals_noted(void);

/* must the AFTER trigger be called on account of refusals? */
extern bool refusals_announce(void);

/*
 * The AFTER trigger will come once more; it came.  When it came for the last
 * time, what was noted is raised.
 */
extern void refusals_expect_call(void);
extern void refusals_call_came(void);

extern void refusals_init(void);

#endif							/* PIPELINES_REFUSALS_H */
