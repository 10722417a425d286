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

#endif							/* PIPELINES_DEALS_H */
