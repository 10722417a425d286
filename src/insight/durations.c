/*-------------------------------------------------------------------------
 *
 * durations.c
 *	  Aggregates over many durations: sums, quantiles, survival.
 *
 * Owns the state in which the lengths of stays are gathered, each exact in
 * microseconds, those that were cut off (the deal is still there, or was
 * deleted) apart from those that ended.  Quantiles are those of
 * percentile_cont(), three of them over millions of stays.
 *
 * Invariant: what is returned depends on the set of durations only, not on
 * their order.  It must never lose a duration: a stay that was cut off counts
 * for survival, and is no end.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "common/int.h"
#include "fmgr.h"
#include "insight/durations.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "values/texts.h"

PG_FUNCTION_INFO_V1(pipelines_durations_add);
PG_FUNCTION_INFO_V1(pipelines_stay_add);
PG_FUNCTION_INFO_V1(pipelines_durations_combine);
PG_FUNCTION_INFO_V1(pipelines_stay_counts);
PG_FUNCTION_INFO_V1(pipelines_durations_result);
PG_FUNCTION_INFO_V1(pipelines_survival_result);

/* more than any count of rows; sums of a few of them are still numbers */
#define COUNT_MAX	INT64CONST(9007199254740992)

static void write_durations(FlatWriter *writer, ExpandedState *state);
static void merge_durations(FlatReader *reader, ExpandedState *state);

static const StateKind durations_kind = {
	.name = "pipelines._durations",
	.format = 0x50447201,
	.size = sizeof(Durations),
	.many = true,
	.write = write_durations,
	.merge = merge_durations
};

static inline void
gather(Gathered *set, int64 value, Durations *state)
{
	gathered_add(set, value, STATE_CONTEXT(state));
}

/* ----------
 * Flat form: running, deleted, transient; how many ended, how many were cut
 * off, and the lengths of both.
 * ----------
 */

static void
write_durations(FlatWriter *writer, ExpandedState *state)
{
	const Durations *durations = (const Durations *) state;

	flat_put_64(writer, durations->running);
	flat_put_64(writer, durations->deleted);
	flat_put_64(writer, durations->transient);
	flat_put_gathered(writer, &durations->ended);
	flat_put_gathered(writer, &durations->cut);
}

static uint64
merge_set(FlatReader *reader, Gathered *set, Durations *durations)
{
	return flat_get_gathered(reader, set, 0, STATE_CONTEXT(durations), "durations");
}

static void
merge_durations(FlatReader *reader, ExpandedState *state)
{
	Durations  *durations = (Durations *) state;
	uint64		running = flat_get_64(reader, "number of stays");
	uint64		deleted = flat_get_64(reader, "number of stays");
	uint64		transient = flat_get_64(reader, "number of stays");

	merge_set(reader, &durations->ended, durations);
	if (running > COUNT_MAX || deleted > COUNT_MAX || transient > COUNT_MAX ||
		merge_set(reader, &durations->cut, durations) < running + deleted)
		flat_refuse(reader, "number of stays");
	durations->running += running;
	durations->deleted += deleted;
	durations->transient += transient;
}

Datum
pipelines_durations_combine(PG_FUNCTION_ARGS)
{
	return state_combine(&durations_kind, fcinfo);
}

/* ----------
 * Gathering
 * ----------
 */

static void
refuse_length(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_INTERVAL_FIELD_OVERFLOW),
			 errmsg("a stay is too long to be measured")));
}

/*
 * pipelines_durations_add(state, from timestamptz, to timestamptz, cut bool)
 *		Rows without one of the instants are left out; a stay that would end
 *		before it began (clocks that went back) has no length.
 */
Datum
pipelines_durations_add(PG_FUNCTION_ARGS)
{
	Durations  *state = state_to_change(&durations_kind, fcinfo);
	int64		length;

	if (PG_ARGISNULL(1) || PG_ARGISNULL(2))
		PG_RETURN_DATUM(STATE_DATUM(state));

	if (pg_sub_s64_overflow(PG_GETARG_TIMESTAMPTZ(2), PG_GETARG_TIMESTAMPTZ(1), &length))
		refuse_length();
	if (!PG_ARGISNULL(3) && PG_GETARG_BOOL(3))
		gather(&state->cut, Max(length, 0), state);
	else
		gather(&state->ended, Max(length, 0), state);
	PG_RETURN_DATUM(STATE_DATUM(state));
}

/* a stay that is over sooner than this was never seen by anybody */
#define TRANSIENT_USECS	20

/*
 * left is NULL while the stay runs, change is what ended it; length is given where
 * it is not the time from entered to left.
 */
bool
durations_read_stay(FunctionCallInfo fcinfo, int entered, int given_length,
					int64 *length, StayEnd *end)
{
	int			left = entered + 1;
	int			now = entered + 2;
	int			change = entered + 3;
	bool		running = PG_ARGISNULL(left);

	if (PG_ARGISNULL(entered) || (running && PG_ARGISNULL(now)))
		return false;

	*end = running ? STAY_RUNS : STAY_LEFT;
	if (pg_sub_s64_overflow(PG_GETARG_TIMESTAMPTZ(running ? now : left),
							PG_GETARG_TIMESTAMPTZ(entered), length))
		refuse_length();
	if (!running && *length < TRANSIENT_USECS)
	{
		*end = STAY_TRANSIENT;
		return true;
	}
	if (!PG_ARGISNULL(given_length))
	{
		Interval   *given = PG_GETARG_INTERVAL_P(given_length);

		if (pg_mul_s64_overflow((int64) given->day + (int64) given->month * DAYS_PER_MONTH, USECS_PER_DAY, length) ||
			pg_add_s64_overflow(*length, given->time, length))
			refuse_length();
	}
	*length = Max(*length, 0);
	if (!running && !PG_ARGISNULL(change) && text_is(PG_GETARG_TEXT_PP(change), "delete"))
		*end = STAY_DELETED;
	return true;
}

/*
 * What a running stay has lasted is taken as its length if that is asked for, and
 * is a length that was cut off in any case.
 */
void
durations_add_stay(Durations *state, int64 length, StayEnd end, bool count_running)
{
	switch (end)
	{
		case STAY_TRANSIENT:
			state->transient++;
			break;
		case STAY_RUNS:
			state->running++;
			gather(&state->cut, length, state);
			if (count_running)
				gather(&state->ended, length, state);
			break;
		case STAY_DELETED:
			state->deleted++;
			gather(&state->cut, length, state);
			break;
		case STAY_LEFT:
			gather(&state->ended, length, state);
			break;
	}
}

/*
 * pipelines_stay_add(state, entered timestamptz, left timestamptz,
 *					  now timestamptz, change text, count_running bool, length interval)
 *		One stay in a stage.
 */
Datum
pipelines_stay_add(PG_FUNCTION_ARGS)
{
	Durations  *state = state_to_change(&durations_kind, fcinfo);
	int64		length;
	StayEnd		end;

	if (durations_read_stay(fcinfo, 1, 6, &length, &end))
		durations_add_stay(state, length, end, !PG_ARGISNULL(5) && PG_GETARG_BOOL(5));
	PG_RETURN_DATUM(STATE_DATUM(state));
}

Durations *
durations_make(void)
{
	Durations  *durations = palloc0(sizeof(Durations));

	durations->state.header.eoh_context = CurrentMemoryContext;
	return durations;
}

void
durations_counts(const Durations *state, int64 *counts)
{
	counts[0] = state->ended.n;
	counts[1] = state->running;
	counts[2] = state->deleted;
	counts[3] = state->transient;
}

Datum
counts_datum(const int64 *counts)
{
	Datum		elements[DURATION_COUNTS];

	for (int i = 0; i < DURATION_COUNTS; i++)
		elements[i] = Int64GetDatum(counts[i]);
	return PointerGetDatum(construct_array(elements, DURATION_COUNTS, INT8OID,
										   sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

Datum
pipelines_stay_counts(PG_FUNCTION_ARGS)
{
	int64		counts[DURATION_COUNTS];

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	durations_counts(state_to_read(&durations_kind, fcinfo), counts);
	return counts_datum(counts);
}

/* percentile_cont() */
static int64
quantile(Gathered *set, double fraction)
{
	double		place = fraction * (set->n - 1);
	int64		k = (int64) floor(place);
	int64		below = gathered_kth(set, k);
	int64		above;

	if (place == k)
		return below;
	above = set->values[k + 1];
	for (int64 i = k + 2; i < set->n; i++)
		above = Min(above, set->values[i]);
	return below + (int64) rint((above - below) * (place - k));
}

/* microseconds as an interval of days and less */
static Interval
as_interval(int128 length)
{
	Interval	result = {0};
	int128		days = length / USECS_PER_DAY;

	if (days > PG_INT32_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INTERVAL_FIELD_OVERFLOW),
				 errmsg("the sum of the durations is too long")));
	result.day = (int32) days;
	result.time = (TimeOffset) (length % USECS_PER_DAY);
	return result;
}

bool
durations_stats(Durations *state, Interval *stats)
{
	Gathered   *set = &state->ended;
	int128		sum = 0;
	int64		least = PG_INT64_MAX;
	int64		greatest = 0;

	if (set->n == 0)
		return false;

	for (int64 i = 0; i < set->n; i++)
	{
		sum += set->values[i];
		least = Min(least, set->values[i]);
		greatest = Max(greatest, set->values[i]);
	}
	stats[0] = as_interval(sum);
	stats[1] = as_interval((sum + set->n / 2) / set->n);
	stats[2] = as_interval(least);
	stats[3] = as_interval(greatest);
	stats[4] = as_interval(quantile(set, 0.5));
	stats[5] = as_interval(quantile(set, 0.75));
	stats[6] = as_interval(quantile(set, 0.9));
	return true;
}

Datum
stats_datum(const Interval *stats)
{
	Datum		elements[DURATION_STATS];

	for (int i = 0; i < DURATION_STATS; i++)
		elements[i] = IntervalPGetDatum(unconstify(Interval *, &stats[i]));
	return PointerGetDatum(construct_array(elements, DURATION_STATS, INTERVALOID,
										   sizeof(Interval), false, TYPALIGN_DOUBLE));
}

Datum
pipelines_durations_result(PG_FUNCTION_ARGS)
{
	Interval	stats[DURATION_STATS];

	if (PG_ARGISNULL(0) || !durations_stats(state_to_read(&durations_kind, fcinfo), stats))
		PG_RETURN_NULL();
	return stats_datum(stats);
}

static int
compare_durations(const void *a, const void *b)
{
	int64		x = *(const int64 *) a;
	int64		y = *(const int64 *) b;

	return (x > y) - (x < y);
}

/*
 * The median by Kaplan and Meier: the shortest duration by which the estimated
 * chance to be still there is one half or less.  It is not reached while more than
 * half are expected to be there for longer than anything seen.  Not to be asked
 * where running stays count as ended.
 */
bool
durations_survival(Durations *state, Interval *median)
{
	int64		i = 0;
	int64		j = 0;
	double		chance = 1;

	if (state->ended.n > 0)
		qsort(state->ended.values, state->ended.n, sizeof(int64), compare_durations);
	if (state->cut.n > 0)
		qsort(state->cut.values, state->cut.n, sizeof(int64), compare_durations);

	while (i < state->ended.n)
	{
		int64		at = state->ended.values[i];
		int64		first = i;

		CHECK_FOR_INTERRUPTS();
		/* who was cut off at that very instant was still at risk */
		while (j < state->cut.n && state->cut.values[j] < at)
			j++;
		while (i < state->ended.n && state->ended.values[i] == at)
			i++;
		chance *= 1 - (double) (i - first) /
			((double) (state->ended.n - first) + (double) (state->cut.n - j));
		/* a product of quotients that is 1/2 in exact arithmetic */
		if (chance <= 0.5 + 1e-12)
		{
			*median = as_interval(at);
			return true;
		}
	}
	return false;
}

Datum
pipelines_survival_result(PG_FUNCTION_ARGS)
{
	Interval   *median = palloc(sizeof(Interval));

	if (PG_ARGISNULL(0) || !durations_survival(state_to_read(&durations_kind, fcinfo), median))
		PG_RETURN_NULL();
	PG_RETURN_INTERVAL_P(median);
}
