/*-------------------------------------------------------------------------
 *
 * durations.h
 *	  Aggregates over many durations.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PIPELINES_DURATIONS_H
#define PIPELINES_DURATIONS_H

#include "insight/gathered.h"

typedef struct Durations
{
	ExpandedState state;
	Gathered	ended;
	Gathered	cut;
	int64		running;
	int64		deleted;
	int64		transient;
} Durations;

typedef enum StayEnd
{
	STAY_LEFT,
	STAY_RUNS,
	STAY_DELETED,
	STAY_TRANSIENT				/* nobody ever saw it; has no length */
} StayEnd;

/* an empty one, that is no aggregate's */
extern Durations *durations_make(void);

/*
 * A stay from the arguments of a function: entered, left, now and change from one
 * on, and length, which may be given.  False: there is none.
 */
extern bool durations_read_stay(FunctionCallInfo fcinfo, int entered, int given_length,
								int64 *length, StayEnd *end);
extern void durations_add_stay(Durations *durations, int64 length, StayEnd end, bool count_running);

/* what the final functions return; these put the durations in another order */
extern Datum durations_counts(const Durations *durations);
extern Datum durations_stats(Durations *durations, bool *isnull);
extern Datum durations_survival(Durations *durations, bool *isnull);

#endif							/* PIPELINES_DURATIONS_H */
