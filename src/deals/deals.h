/*-------------------------------------------------------------------------
 *
 * deals.h
 *	  What the other modules may ask of the deals.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PIPELINES_DEALS_H
#define PIPELINES_DEALS_H

#include "datatype/timestamp.h"

extern void deals_init(void);

/*
 * The instant of the running transaction: the clock at its first tracked
 * change.  Everything that the transaction changes, deals and definitions,
 * bears this instant (made strictly increasing per row), so that a view of
 * the past never tears a transaction apart.
 */
extern TimestampTz deals_transaction_instant(void);

/*
 * Let the next statement on a deals table change or delete rows unseen: they
 * are not judged, and no version ends.  What its triggers do in their turn is
 * judged like anything else.  Whoever opens the door closes it, also when an
 * error is thrown.
 */
extern void deals_pass_begin(Oid relid);
extern void deals_pass_end(void);

#endif							/* PIPELINES_DEALS_H */
