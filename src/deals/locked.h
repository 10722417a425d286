/*-------------------------------------------------------------------------
 *
 * locked.h
 *	  Deals that were closed in a locked fiscal period.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PIPELINES_LOCKED_H
#define PIPELINES_LOCKED_H

#include "deals/rules.h"

/*
 * Each costs next to nothing while no period is locked, and for a
 * deal that is not closed.  False: refused, and *refusal or that of the
 * verdict says why.
 */
extern bool lock_allows_change(const DealContext *deal, const DealState *old,
							   const DealState *state, Verdict *verdict);
extern bool lock_allows_entry(const DealContext *deal, const DealState *state,
							  Refusal *refusal);
extern bool lock_allows_delete(const DealContext *deal, const DealState *state,
							   Refusal *refusal);

/* is it closed on a day that is locked? */
extern bool closed_in_locked_period(const DealState *state);

#endif							/* PIPELINES_LOCKED_H */
