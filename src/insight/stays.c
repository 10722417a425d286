/*-------------------------------------------------------------------------
 *
 * stays.c
 *	  The stays of each deal in each stage, put together.
 *
 * Owns the aggregate _deal_stays(), which gathers the stays of all deals in any
 * order, finds those of one deal in one stage, keeps the first or the latest of
 * them, or adds them up, and tells how long they were, by pipeline and stage; and
 * _deal_stays_rows(), which shows that as rows.  The same in SQL is a sort, or a hash of as many groups
 * as there are deals and stages, by one process.
 *
 * Invariant: what comes out does not depend on the order of the rows.  A stay that
 * nobody ever saw is none.
 *
 * A state is a bytea, and anybody may hand us any bytea: what is read from one is
 * checked.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"
#include "common/int.h"
#include "fmgr.h"
#include "insight/durations.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"
#include "values/texts.h"

PG_FUNCTION_INFO_V1(pipelines_deal_stays_add);
PG_FUNCTION_INFO_V1(pipelines_deal_stays_combine);
PG_FUNCTION_INFO_V1(pipelines_deal_stays_result);
PG_FUNCTION_INFO_V1(pipelines_deal_stays_rows);

/* arguments of the aggregate, after the state */
enum
{
	ARG_KEY = 1,
	ARG_VERSION,				/* the last one of the stay */
	ARG_PIPELINE,
	ARG_STAGE,
	ARG_ENTERED,
	ARG_LEFT,
	ARG_NOW,
	ARG_CHANGE,
	ARG_LENGTH,
	ARG_MEASURE,				/* these are constant */
	ARG_COUNT_RUNNING,
	ARG_SURVIVAL
};

typedef enum StayMeasure
{
	MEASURE_FIRST, MEASURE_LATEST, MEASURE_CUMULATIVE
} StayMeasure;

typedef struct Stay
{
	int64		key;
	int32		version;
	uint16		place;			/* of the stage in the list */
	uint8		end;			/* StayEnd */
	int64		length;			/* in microseconds, not negative */
} Stay;

typedef struct StayPlace
{
	int32		pipeline;
	int32		stage;
} StayPlace;

typedef struct DealStays
{
	ExpandedState state;
	StayMeasure measure;
	bool		count_running;	/* are running ones among those that ended? */
	bool		survival;		/* is the median by Kaplan and Meier asked for? */
	int			nplaces;
	int			places_room;
	StayPlace  *places;
	int			last_place;		/* where the one before was */
	int64		n;
	int64		room;
	Stay	   *stays;
} DealStays;

/* 400 MB while they are gathered */
#define STAYS_MAX			(16 * 1024 * 1024)
#define PLACES_MAX			PG_UINT16_MAX
#define FIRST_ROOM			1024
#define STAY_WIDTH			(3 * sizeof(uint64))

/* how many keys lie between the first and the last one, at most, for each stay */
#define KEYS_PER_STAY		4

static void write_stays(FlatWriter *writer, ExpandedState *state);
static void merge_stays(FlatReader *reader, ExpandedState *state);

static const StateKind stays_kind = {
	.name = "pipelines._deal_stays",
	.format = 0x50497501,
	.size = sizeof(DealStays),
	.write = write_stays,
	.merge = merge_stays
};

/* ----------
 * Gathering
 * ----------
 */

static void
make_room(DealStays *stays, uint64 more)
{
	if (more > STAYS_MAX - (uint64) stays->n)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("too many stays to be put together at once"),
				 errdetail("There can be %d.", STAYS_MAX),
				 errhint("Ask for one pipeline, or for the stays of a shorter time.")));
	if ((uint64) (stays->room - stays->n) >= more)
		return;
	stays->room = Max(Max(FIRST_ROOM, stays->room * 2), stays->n + (int64) more);
	stays->stays = stays->stays == NULL ?
		MemoryContextAllocHuge(STATE_CONTEXT(stays), sizeof(Stay) * stays->room) :
		repalloc_huge(stays->stays, sizeof(Stay) * stays->room);
}

/* stages are few, and the one of the row before is likely that of this one */
static uint16
find_place(DealStays *stays, int32 pipeline, int32 stage)
{
	StayPlace  *place;

	if (stays->nplaces > 0)
	{
		place = &stays->places[stays->last_place];
		if (place->pipeline == pipeline && place->stage == stage)
			return (uint16) stays->last_place;
	}
	for (int i = 0; i < stays->nplaces; i++)
	{
		place = &stays->places[i];
		if (place->pipeline == pipeline && place->stage == stage)
		{
			stays->last_place = i;
			return (uint16) i;
		}
	}
	if (stays->nplaces == PLACES_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("too many stages for one report"),
				 errdetail("There can be %d.", PLACES_MAX),
				 errhint("Ask for one pipeline.")));
	if (stays->nplaces == stays->places_room)
	{
		stays->places_room = Max(16, stays->places_room * 2);
		stays->places = stays->places == NULL ?
			MemoryContextAlloc(STATE_CONTEXT(stays), sizeof(StayPlace) * stays->places_room) :
			repalloc(stays->places, sizeof(StayPlace) * stays->places_room);
	}
	place = &stays->places[stays->nplaces];
	place->pipeline = pipeline;
	place->stage = stage;
	stays->last_place = stays->nplaces;
	return (uint16) stays->nplaces++;
}

/* what is asked is said in each row, and read of the first one */
static void
read_question(DealStays *stays, FunctionCallInfo fcinfo)
{
	text	   *measure = PG_ARGISNULL(ARG_MEASURE) ? NULL : PG_GETARG_TEXT_PP(ARG_MEASURE);

	stays->measure = measure == NULL ? MEASURE_CUMULATIVE :
		text_is(measure, "first") ? MEASURE_FIRST :
		text_is(measure, "latest") ? MEASURE_LATEST : MEASURE_CUMULATIVE;
	stays->count_running = !PG_ARGISNULL(ARG_COUNT_RUNNING) && PG_GETARG_BOOL(ARG_COUNT_RUNNING);
	stays->survival = !PG_ARGISNULL(ARG_SURVIVAL) && PG_GETARG_BOOL(ARG_SURVIVAL);
}

/*
 * pipelines_deal_stays_add(state, key bigint, version integer, pipeline_id integer,
 *							stage_id integer, entered timestamptz, left timestamptz,
 *							now timestamptz, change text, length interval,
 *							measure text, count_running bool, survival bool)
 *		Arguments from "entered" to "length" as of pipelines_stay_add().
 */
Datum
pipelines_deal_stays_add(PG_FUNCTION_ARGS)
{
	DealStays  *stays = state_to_change(&stays_kind, fcinfo);
	int64		length;
	StayEnd		end;
	Stay	   *stay;

	if (PG_ARGISNULL(ARG_KEY) || PG_ARGISNULL(ARG_VERSION) ||
		PG_ARGISNULL(ARG_PIPELINE) || PG_ARGISNULL(ARG_STAGE) ||
		!durations_read_stay(fcinfo, ARG_ENTERED, ARG_LENGTH, &length, &end) ||
		end == STAY_TRANSIENT)
		PG_RETURN_DATUM(STATE_DATUM(stays));

	if (unlikely(stays->n == 0))
		read_question(stays, fcinfo);
	if (unlikely(stays->n == stays->room))
		make_room(stays, 1);
	stay = &stays->stays[stays->n];
	stay->key = PG_GETARG_INT64(ARG_KEY);
	stay->version = PG_GETARG_INT32(ARG_VERSION);
	stay->place = find_place(stays, PG_GETARG_INT32(ARG_PIPELINE), PG_GETARG_INT32(ARG_STAGE));
	stay->end = (uint8) end;
	stay->length = length;
	stays->n++;
	PG_RETURN_DATUM(STATE_DATUM(stays));
}

/* ----------
 * Flat form: what is asked; how many stages; each with its pipeline; how many stays; of each the
 * key, version, place and end, length.
 * ----------
 */

static void
write_stays(FlatWriter *writer, ExpandedState *state)
{
	const DealStays *stays = (const DealStays *) state;
	char	   *at;

	flat_put_32(writer, (uint32) stays->measure << 2 | (stays->count_running ? 2 : 0) | (stays->survival ? 1 : 0));
	flat_put_32(writer, stays->nplaces);
	for (int i = 0; i < stays->nplaces; i++)
	{
		flat_put_32(writer, (uint32) stays->places[i].pipeline);
		flat_put_32(writer, (uint32) stays->places[i].stage);
	}
	flat_put_64(writer, stays->n);
	at = flat_place(writer, STAY_WIDTH * stays->n);
	if (at != NULL)
		for (int64 i = 0; i < stays->n; i++)
		{
			const Stay *stay = &stays->stays[i];

			at = put_64(at, stay->key);
			at = put_64(at, (uint64) (uint32) stay->version << 32 | (uint64) stay->place << 8 | stay->end);
			at = put_64(at, stay->length);
		}
}

static void
merge_stays(FlatReader *reader, ExpandedState *state)
{
	DealStays  *stays = (DealStays *) state;
	uint32		question = flat_get_32(reader, "measure");
	uint32		nplaces = flat_get_32(reader, "number of stages");
	const char *place = flat_take(reader, nplaces, sizeof(StayPlace), "number of stages");
	uint64		n = flat_get_64(reader, "number of stays");
	const char *at = flat_take(reader, n, STAY_WIDTH, "number of stays");
	uint16	   *places;

	if (question >> 2 > MEASURE_CUMULATIVE)
		flat_refuse(reader, "measure");
	if (stays->n == 0)
	{
		stays->measure = (StayMeasure) (question >> 2);
		stays->count_running = (question & 2) != 0;
		stays->survival = (question & 1) != 0;
	}
	if (nplaces > PLACES_MAX)
		flat_refuse(reader, "number of stages");
	/* the other one may have seen them in another order */
	places = palloc(sizeof(uint16) * (nplaces + 1));
	for (uint32 i = 0; i < nplaces; i++)
	{
		int32		pipeline = (int32) get_32(&place);
		int32		stage = (int32) get_32(&place);

		places[i] = find_place(stays, pipeline, stage);
	}
	make_room(stays, n);
	for (uint64 i = 0; i < n; i++)
	{
		Stay	   *stay = &stays->stays[stays->n];
		uint64		word;

		stay->key = (int64) get_64(&at);
		word = get_64(&at);
		stay->length = (int64) get_64(&at);
		if ((word >> 8 & 0xffffff) >= nplaces || (word & 0xff) >= STAY_TRANSIENT || stay->length < 0)
			flat_refuse(reader, "stay");
		stay->version = (int32) (uint32) (word >> 32);
		stay->place = places[word >> 8 & 0xffff];
		stay->end = (uint8) (word & 0xff);
		stays->n++;
	}
	pfree(places);
}

Datum
pipelines_deal_stays_combine(PG_FUNCTION_ARGS)
{
	return state_combine(&stays_kind, fcinfo);
}

/* ----------
 * Putting together
 * ----------
 */

/* what is told of a stage */
typedef struct StageResult
{
	Durations  *shown;
	Durations  *survival;		/* running ones are never among those that ended; or NULL */
} StageResult;

static int
compare_in_deal(const Stay *a, const Stay *b)
{
	if (a->place != b->place)
		return a->place < b->place ? -1 : 1;
	return a->version < b->version ? -1 : a->version > b->version ? 1 : 0;
}

static int
compare_stays(const void *a, const void *b)
{
	const Stay *x = a;
	const Stay *y = b;

	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return compare_in_deal(x, y);
}

/* Those of one deal are few, as a rule, and mostly in order. */
static void
sort_deal(Stay *stays, int64 n)
{
	if (n > 64)
	{
		qsort(stays, n, sizeof(Stay), compare_stays);
		return;
	}
	for (int64 i = 1; i < n; i++)
	{
		Stay		stay = stays[i];
		int64		j = i;

		for (; j > 0 && compare_in_deal(&stays[j - 1], &stay) > 0; j--)
			stays[j] = stays[j - 1];
		stays[j] = stay;
	}
}

/*
 * The stays by deal, stage and version.  Where keys lie close together, each key
 * is counted, and so has its place; else they are sorted.
 */
static Stay *
sort_stays(DealStays *stays)
{
	int64		first = PG_INT64_MAX;
	int64		last = PG_INT64_MIN;
	uint64		nkeys;
	uint32	   *begin;
	uint32		sum = 0;
	Stay	   *sorted;

	for (int64 i = 0; i < stays->n; i++)
	{
		first = Min(first, stays->stays[i].key);
		last = Max(last, stays->stays[i].key);
	}
	nkeys = (uint64) last - (uint64) first;
	if (nkeys >= (uint64) stays->n * KEYS_PER_STAY)
	{
		qsort(stays->stays, stays->n, sizeof(Stay), compare_stays);
		return stays->stays;
	}

	nkeys++;
	begin = MemoryContextAllocExtended(CurrentMemoryContext, sizeof(uint32) * (nkeys + 1),
									   MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (int64 i = 0; i < stays->n; i++)
		begin[(uint64) stays->stays[i].key - (uint64) first]++;
	for (uint64 i = 0; i <= nkeys; i++)
	{
		uint32		count = begin[i];

		begin[i] = sum;
		sum += count;
	}
	sorted = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Stay) * stays->n);
	/* each beginning moves on to the next one */
	for (int64 i = 0; i < stays->n; i++)
		sorted[begin[(uint64) stays->stays[i].key - (uint64) first]++] = stays->stays[i];
	sum = 0;
	for (uint64 i = 0; i < nkeys; i++)
	{
		sort_deal(&sorted[sum], (int64) begin[i] - sum);
		sum = begin[i];
		if (i % 65536 == 65535)
			CHECK_FOR_INTERRUPTS();
	}
	pfree(begin);
	return sorted;
}

/* The stays of one deal in one stage as one. */
static Stay
fold_stays(const Stay *stays, int64 n, StayMeasure measure)
{
	Stay		whole = stays[measure == MEASURE_FIRST ? 0 : n - 1];

	if (measure == MEASURE_CUMULATIVE)
		for (int64 i = 0; i < n - 1; i++)
		{
			if (pg_add_s64_overflow(whole.length, stays[i].length, &whole.length))
				ereport(ERROR,
						(errcode(ERRCODE_INTERVAL_FIELD_OVERFLOW),
						 errmsg("the sum of the durations is too long")));
			/* one that runs is more than one that was deleted, in another life */
			if (stays[i].end == STAY_RUNS || (stays[i].end == STAY_DELETED && whole.end == STAY_LEFT))
				whole.end = stays[i].end;
		}
	return whole;
}

/* ----------
 * What came of it: for each stage a line of numbers, in network order
 *
 *		pipeline, stage, which of the following there are (32 bits each); counts
 *		(64); of each of the statistics, and of the median by Kaplan and Meier,
 *		days (32) and microseconds (64)
 * ----------
 */

#define RESULT_FORMAT		0x50497502
#define RESULT_STATS		1
#define RESULT_SURVIVAL		2
#define RESULT_WIDTH		(3 * sizeof(uint32) + DURATION_COUNTS * sizeof(uint64) + \
							 (DURATION_STATS + 1) * (sizeof(uint32) + sizeof(uint64)))

static char *
put_interval(char *at, const Interval *interval)
{
	return put_64(put_32(at, (uint32) interval->day), (uint64) interval->time);
}

static void
get_interval(const char **at, Interval *interval)
{
	interval->month = 0;
	interval->day = (int32) get_32(at);
	interval->time = (TimeOffset) get_64(at);
}

static char *
put_result(char *at, const StayPlace *place, StageResult *result)
{
	int64		counts[DURATION_COUNTS];
	Interval	stats[DURATION_STATS + 1];
	uint32		there = 0;

	memset(stats, 0, sizeof(stats));
	durations_counts(result->shown, counts);
	if (durations_stats(result->shown, stats))
		there |= RESULT_STATS;
	if (result->survival != NULL && durations_survival(result->survival, &stats[DURATION_STATS]))
		there |= RESULT_SURVIVAL;
	at = put_32(put_32(put_32(at, (uint32) place->pipeline), (uint32) place->stage), there);
	for (int i = 0; i < DURATION_COUNTS; i++)
		at = put_64(at, counts[i]);
	for (int i = 0; i <= DURATION_STATS; i++)
		at = put_interval(at, &stats[i]);
	return at;
}

/* the stays of all deals, each deal's in each stage as one */
static StageResult *
fold_all(DealStays *stays)
{
	StageResult *results = palloc0(sizeof(StageResult) * (stays->nplaces + 1));
	const Stay *sorted = sort_stays(stays);
	int64		n;

	for (int64 i = 0; i < stays->n; i += n)
	{
		StageResult *result = &results[sorted[i].place];
		Stay		whole;

		for (n = 1; i + n < stays->n && sorted[i + n].key == sorted[i].key &&
			 sorted[i + n].place == sorted[i].place; n++)
			;
		whole = fold_stays(&sorted[i], n, stays->measure);
		if (result->shown == NULL)
		{
			result->shown = durations_make();
			result->survival = stays->survival ? durations_make() : NULL;
		}
		durations_add_stay(result->shown, whole.length, whole.end, stays->count_running);
		if (result->survival != NULL)
			durations_add_stay(result->survival, whole.length, whole.end, false);
		if ((i & 0xffff) == 0)
			CHECK_FOR_INTERRUPTS();
	}
	return results;
}

/* NULL: there are no stays */
Datum
pipelines_deal_stays_result(PG_FUNCTION_ARGS)
{
	DealStays  *stays;
	StageResult *results;
	bytea	   *lines;
	char	   *at;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	stays = state_to_read(&stays_kind, fcinfo);
	if (stays->n == 0)
		PG_RETURN_NULL();
	results = fold_all(stays);
	lines = palloc(VARHDRSZ + sizeof(uint32) + RESULT_WIDTH * stays->nplaces);
	at = put_32(VARDATA(lines), RESULT_FORMAT);
	for (int i = 0; i < stays->nplaces; i++)
		if (results[i].shown != NULL)
			at = put_result(at, &stays->places[i], &results[i]);
	SET_VARSIZE(lines, at - (char *) lines);
	PG_RETURN_BYTEA_P(lines);
}

/*
 * pipelines_deal_stays_rows(stays bytea)
 *		-> setof (pipeline_id integer, stage_id integer, counts bigint[],
 *				  stats interval[], survival interval)
 */
Datum
pipelines_deal_stays_rows(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	bytea	   *lines = PG_GETARG_BYTEA_PP(0);
	const char *at = VARDATA_ANY(lines);
	const char *end = at + VARSIZE_ANY_EXHDR(lines);

	if (end - at < (ptrdiff_t) sizeof(uint32) || (end - at - sizeof(uint32)) % RESULT_WIDTH != 0 ||
		get_32(&at) != RESULT_FORMAT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("invalid result of aggregate %s", stays_kind.name),
				 errdetail("Its length or its format can't be right."),
				 errhint("Results are made by the aggregate, and are read by the version that made them.")));
	compat_materialize(fcinfo);
	while (at < end)
	{
		Datum		values[5];
		bool		nulls[5] = {false};
		int64		counts[DURATION_COUNTS];
		Interval	stats[DURATION_STATS + 1];
		uint32		there;

		values[0] = Int32GetDatum((int32) get_32(&at));
		values[1] = Int32GetDatum((int32) get_32(&at));
		there = get_32(&at);
		for (int i = 0; i < DURATION_COUNTS; i++)
			counts[i] = (int64) get_64(&at);
		for (int i = 0; i <= DURATION_STATS; i++)
			get_interval(&at, &stats[i]);
		values[2] = counts_datum(counts);
		values[3] = stats_datum(stats);
		nulls[3] = (there & RESULT_STATS) == 0;
		values[4] = IntervalPGetDatum(&stats[DURATION_STATS]);
		nulls[4] = (there & RESULT_SURVIVAL) == 0;
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
