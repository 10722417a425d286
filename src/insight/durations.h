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
#include "utils/timestamp.h"

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

/*
 * What the final functions tell: {measured, running, deleted, transient}; {sum,
 * mean, least, greatest, median, p75, p90} of those that ended, false without any;
 * and the median by Kaplan and Meier, false where it is not reached.  The latter
 * two put the durations in another order.
 */
#define DURATION_COUNTS	4
#define DURATION_STATS	7
extern void durations_counts(const Durations *durations, int64 *counts);
extern bool durations_stats(Durations *durations, Interval *stats);
extern bool durations_survival(Durations *durations, Interval *median);

/* these, as the arrays that SQL sees */
extern Datum counts_datum(const int64 *counts);
extern Datum stats_datum(const Interval *stats);

#endif							/* PIPELINES_DURATIONS_H */
