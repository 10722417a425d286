/*-------------------------------------------------------------------------
 *
 * history.h
 *	  Writing the versions that ended.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PIPELINES_HISTORY_H
#define PIPELINES_HISTORY_H

#include "deals/mapping.h"
#include "deals/rules.h"

/*
 * Remember that a version ended.  The row is written with others, at the
 * latest when the statement ends.  'values' and 'nulls' are the old row.  The
 * caller's memory context identifies the statement: call it in the context
 * that the trigger was called in.
 */
extern void history_append(const DealsTable *table, TupleDesc tupdesc,
						   const Datum *values, const bool *nulls,
						   const DealState *old, const DealState *new_state,
						   const Verdict *verdict, TimestampTz valid_to);

/*
 * Which statement are we in?  Never followed, only compared; another may get
 * the same address once it has ended.
 */
extern MemoryContext current_statement(void);

/* who makes the changes, as text; valid until the next call */
extern Datum history_actor(void);

/* must the AFTER trigger be called, to write what the statement left? */
extern bool history_announce(void);

/* write what the statement that ends left */
extern void history_flush(void);

/*
 * The last version that the history has of a deal key: its number, end and
 * episode.  False where there is none.
 */
extern bool history_last_version(const DealsTable *table, TupleDesc tupdesc,
								 const Datum *values, const bool *nulls,
								 int32 *version, TimestampTz *valid_to,
								 int32 *episode);

extern void history_init(void);

#endif							/* PIPELINES_HISTORY_H */
