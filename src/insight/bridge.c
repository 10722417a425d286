/*-------------------------------------------------------------------------
 *
 * bridge.c
 *	  What changed between two instants: the bridge and the deals behind it.
 *
 * Owns bridge() and changes().  For a scope, A(t) is the set of the deals that
 * are open, count in forecasts (their category is not 'omitted') and satisfy
 * the scope at the instant t.  What A(t0) was worth, plus the legs, is what
 * A(t1) is worth.
 *
 * Every leg is made in fold_life(), one life of a deal at a time, from the
 * versions that overlap the interval.  Invariant: whatever a life adds to the
 * legs, to start and to end, balances exactly; so does any sum of
 * lives, and changes() lists what bridge() adds up (I9).  Amounts are core
 * numerics, never rounded but once for each deal where they are converted.
 * Outcome, probability and category are those of the definitions of the
 * instant that they are asked for.
 *
 * History and deals are read in one pass.  Deals with one and the same version
 * at both instants are added up by stage, as one life that stands for many;
 * the others are sorted by their keys and versions.
 *
 * It reads with the rights of the caller and writes nothing.  The text of the
 * queries is made by pipelines._bridge_query(), with every name qualified.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "definitions/conditions.h"
#include "definitions/definitions.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "funcapi.h"
#include "insight/insight.h"
#include "miscadmin.h"
#include "parser/parse_func.h"
#include "pgtime.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/datum.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"
#include "utils/tuplesort.h"
#include "utils/tuplestore.h"
#include "utils/typcache.h"
#include "values/decimal.h"
#include "values/texts.h"

PG_FUNCTION_INFO_V1(pipelines_bridge);
PG_FUNCTION_INFO_V1(pipelines_changes);
PG_FUNCTION_INFO_V1(pipelines_condition_columns);

/* rows that are read at once, and after which memory is given back */
#define BRIDGE_BATCH	2000

typedef enum Reason
{
	REASON_NONE,
	REASON_PIPELINE,
	REASON_OWNER,
	REASON_DATE,
	REASON_CURRENCY,
	REASON_OTHER
} Reason;

#define N_REASONS	(REASON_OTHER + 1)

static const char *const reason_names[N_REASONS] = {
	NULL, "pipeline", "owner", "date", "currency", "other"
};

typedef enum Leg
{
	LEG_START,
	LEG_CREATED,
	LEG_REOPENED,
	LEG_MOVED_IN,
	LEG_INCREASED,
	LEG_DECREASED,
	LEG_STAGE_MOVE,
	LEG_OVERRIDE,
	LEG_REDEFINED,
	LEG_FX,
	LEG_WON,
	LEG_LOST,
	LEG_DISQUALIFIED,
	LEG_DONE,
	LEG_MOVED_OUT,
	LEG_DELETED,
	LEG_END,
	LEG_NONE					/* changed, but nothing that the bridge adds up */
} Leg;

#define N_LEGS	(LEG_END + 1)

static const char *const leg_names[N_LEGS] = {
	"start", "created", "reopened", "moved_in", "increased", "decreased",
	"stage_move", "override", "probability_redefined", "fx", "won", "lost",
	"disqualified", "done", "moved_out", "deleted", "end"
};

/* a stage of a pipeline as it was defined for a time */
typedef struct StageVersion
{
	TimestampTz from;
	TimestampTz to;
	StageOutcome outcome;
	bool		omitted;
	Numeric		probability;
} StageVersion;

/* deals of a stage that stayed as they were, in one currency */
typedef struct DealGroup
{
	struct DealGroup *next;
	char	   *currency;		/* NULL: none */
	int64		deals;
	int64		priced;
	int64		valued;			/* with an amount that isn't zero */
	Decimal128	sum;			/* of the amounts, at DECIMAL_SCALE */
	int			dscale;
	Numeric		odd;			/* of those that don't fit there; NULL: none */
} DealGroup;

typedef struct StagePast
{
	int64		id;				/* pipeline and stage; key of the hash table */
	int			count;
	StageVersion *versions;		/* oldest first */
	bool		redefined;		/* do the two instants differ, or what was between? */
	DealGroup  *groups;
} StagePast;

typedef struct PipelineZone
{
	int32		pipeline_id;	/* key of the hash table */
	pg_tz	   *tz;
} PipelineZone;

/* a version of a deal, or one of many that are alike */
typedef struct Version
{
	int32		number;
	bool		deleted;		/* it was ended by the deletion of the deal */
	bool		arrived;		/* before it came one that the reader may not see */
	bool		live;			/* does the row count as a deal? */
	int			missing;		/* conditions of the scope that it doesn't meet */
	TimestampTz from;
	TimestampTz to;
	int32		pipeline_id;
	int32		stage_id;
	StagePast  *stage;			/* NULL: not defined, or not to be seen */
	Numeric		amount;			/* NULL: none */
	int64		deals;			/* how many it stands for */
	int64		unpriced;		/* how many of them have no amount */
	int64		valued;			/* how many have one that isn't zero */
	char	   *currency;		/* NULL: none */
	Numeric		override;		/* NULL: none */
	char	   *category;		/* override; NULL: none */
	/* for changes() only */
	char	   *owner;
	bool		has_expected;
	DateADT		expected;
	char	   *deal;
} Version;

/* bits of Version.missing */
#define MISSING_PIPELINE	0x01
#define MISSING_OWNER		0x02
#define MISSING_DATE		0x04
#define MISSING_OTHER		0x08

typedef enum Standing
{
	STANDING_ABSENT,
	STANDING_CLOSED,
	STANDING_OUT,				/* open, and out of scope */
	STANDING_IN
} Standing;

/* a version at an instant, or just before one */
typedef struct Point
{
	Version    *version;		/* NULL: no such point */
	TimestampTz at;
	bool		before;
	Version    *priced;			/* whose amount counts; usually 'version' */
	TimestampTz rate_at;		/* the day of the exchange rate ... */
	TimestampTz known_at;		/* ... as it was known then, or at the second instant */
} Point;

typedef struct LegSum
{
	int64		deals;
	int64		unpriced;
	Numeric		value;			/* NULL: nothing yet */
} LegSum;

typedef struct CurrencySum
{
	char	   *currency;
	LegSum		legs[N_LEGS][N_REASONS];
} CurrencySum;

typedef struct Bridge
{
	/* what was asked for */
	Oid			deals;
	TimestampTz from;
	TimestampTz to;
	bool		weighted;
	bool		current;		/* definitions are those of today */
	bool		list;			/* changes(), not bridge() */
	char	   *currency;		/* to convert to; NULL: don't */
	text	   *currency_text;
	text	   *rate_set;
	int			units;			/* to round to; -1: don't */
	FmgrInfo	convert;

	/* what was read */
	HTAB	   *stages;
	HTAB	   *zones;
	StagePast  *last_stage;
	char	   *default_currency;

	/* the life that is being folded */
	MemoryContext life_context;
	int			nversions;
	int			allocated;
	Version    *versions;
	Version    *before;			/* for changes() */
	Version    *after;
	bool		told;			/* has it made a leg? */

	/* see read_all() */
	bool		whole;			/* are all versions read? */
	bool		incomplete;		/* would that have been necessary? */
	Tuplesortstate *sort;
	TupleTableSlot *slot;
	int			nkeys;
	int64		rows;

	/* what comes out */
	MemoryContext context;
	List	   *sums;			/* of CurrencySum */
	CurrencySum *last_sum;
	Tuplestorestate *store;
	TupleDesc	desc;
} Bridge;

/* ----------------------------------------------------------------
 * Definitions
 * ----------------------------------------------------------------
 */

static StageOutcome
outcome_named(const char *name)
{
	static const char *const names[] = {
		"open", "on_hold", "won", "lost", "disqualified", "done"
	};

	for (int i = 0; i < (int) lengthof(names); i++)
		if (strcmp(names[i], name) == 0)
			return (StageOutcome) i;
	return OUTCOME_OPEN;
}

static const char *
outcome_name(StageOutcome outcome)
{
	static const char *const names[] = {
		"open", "on_hold", "won", "lost", "disqualified", "done"
	};

	return names[outcome];
}

static int64
stage_key(int32 pipeline_id, int32 stage_id)
{
	return ((int64) pipeline_id << 32) | (uint32) stage_id;
}

static HTAB *
make_table(const char *name, Size keysize, Size entrysize, MemoryContext context)
{
	HASHCTL		control;

	memset(&control, 0, sizeof(control));
	control.keysize = keysize;
	control.entrysize = entrysize;
	control.hcxt = context;
	return hash_create(name, 256, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* text of a column of a row of SPI, or NULL */
static char *
column_string(HeapTuple tuple, TupleDesc desc, int column)
{
	return SPI_getvalue(tuple, desc, column);
}

static void
read_definitions(Bridge *bridge)
{
	MemoryContext old;

	if (SPI_execute(bridge->current ?
					"SELECT pipeline_id, stage_id, changed_at, timestamptz 'infinity',"
					" outcome, forecast_category, probability"
					" FROM pipelines.pipeline_stage" :
					"SELECT pipeline_id, stage_id, valid_from, valid_to, outcome, forecast_category, probability"
					" FROM pipelines.pipeline_stage_history"
					" UNION ALL"
					" SELECT pipeline_id, stage_id, changed_at, 'infinity', outcome, forecast_category, probability"
					" FROM pipelines.pipeline_stage"
					" ORDER BY 1, 2, 3", true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the definitions");

	old = MemoryContextSwitchTo(bridge->context);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[row];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;
		int64		key = stage_key(DatumGetInt32(SPI_getbinval(tuple, desc, 1, &isnull)),
									DatumGetInt32(SPI_getbinval(tuple, desc, 2, &isnull)));
		bool		found;
		StagePast  *stage = hash_search(bridge->stages, &key, HASH_ENTER, &found);
		StageVersion *version;
		char	   *outcome = column_string(tuple, desc, 5);
		char	   *category = column_string(tuple, desc, 6);
		Datum		probability = SPI_getbinval(tuple, desc, 7, &isnull);

		if (!found)
		{
			stage->count = 0;
			stage->groups = NULL;
			stage->versions = palloc(sizeof(StageVersion));
		}
		else
			stage->versions = repalloc(stage->versions, sizeof(StageVersion) * (stage->count + 1));
		version = &stage->versions[stage->count++];
		version->probability = isnull ? decimal_zero() :
			DatumGetNumeric(datumCopy(PointerGetDatum(DatumGetNumeric(probability)), false, -1));
		version->from = DatumGetTimestampTz(SPI_getbinval(tuple, desc, 3, &isnull));
		version->to = DatumGetTimestampTz(SPI_getbinval(tuple, desc, 4, &isnull));
		version->outcome = outcome == NULL ? OUTCOME_OPEN : outcome_named(outcome);
		version->omitted = strcmp(category != NULL ? category :
								  version->outcome == OUTCOME_ON_HOLD ? "omitted" : "pipeline",
								  "omitted") == 0;
	}
	MemoryContextSwitchTo(old);
	SPI_freetuptable(SPI_tuptable);

	if (SPI_execute("SELECT pipeline_id, time_zone FROM pipelines.pipeline", true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the pipelines");
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		bool		isnull;
		int32		id = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[row],
													 SPI_tuptable->tupdesc, 1, &isnull));
		char	   *name = column_string(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, 2);
		PipelineZone *zone = hash_search(bridge->zones, &id, HASH_ENTER, NULL);

		zone->tz = name == NULL ? NULL : pg_tzset(name);
		if (zone->tz == NULL)
			zone->tz = session_timezone;
	}
	SPI_freetuptable(SPI_tuptable);
}

static StagePast *
find_stage(Bridge *bridge, int32 pipeline_id, int32 stage_id)
{
	int64		key = stage_key(pipeline_id, stage_id);

	if (bridge->last_stage == NULL || bridge->last_stage->id != key)
	{
		StagePast  *stage = hash_search(bridge->stages, &key, HASH_FIND, NULL);

		if (stage == NULL)
			return NULL;
		bridge->last_stage = stage;
	}
	return bridge->last_stage;
}

/*
 * The definition in force at an instant, or just before it.  The first one is
 * in force for ever before, the last one for ever after.
 */
static const StageVersion *
stage_at(const StagePast *stage, TimestampTz at, bool before)
{
	int			i = stage->count - 1;

	while (i > 0 && (before ? stage->versions[i].from >= at : stage->versions[i].from > at))
		i--;
	return &stage->versions[i];
}

/* what differs between the two instants: closed or not, how much, whether at all */
static bool
is_redefined(const Bridge *bridge, const StagePast *stage)
{
	const StageVersion *a = stage_at(stage, bridge->from, false);
	const StageVersion *b = stage_at(stage, bridge->to, false);

	return a != b && (a->outcome != b->outcome || a->omitted != b->omitted ||
					  decimal_compare(a->probability, b->probability) != 0);
}

/*
 * Which stages are.  Where any became open, closed or omitted between the
 * instants, deals may have come and gone without a version of their own: then
 * every version matters.
 */
static void
mark_redefined(Bridge *bridge)
{
	HASH_SEQ_STATUS status;
	StagePast  *stage;

	hash_seq_init(&status, bridge->stages);
	while ((stage = hash_seq_search(&status)) != NULL)
	{
		stage->redefined = is_redefined(bridge, stage);
		for (int i = 1; i < stage->count; i++)
		{
			const StageVersion *a = &stage->versions[i - 1];
			const StageVersion *b = &stage->versions[i];

			if (b->from > bridge->from && b->from <= bridge->to &&
				(a->outcome != b->outcome || a->omitted != b->omitted))
				bridge->whole = stage->redefined = true;
		}
	}
}

/* ----------------------------------------------------------------
 * Where a deal stands, and what it is worth
 * ----------------------------------------------------------------
 */

static Standing
standing(const Version *version, TimestampTz at, bool before)
{
	const StageVersion *stage;
	bool		omitted = false;

	if (!version->live)
		return STANDING_ABSENT;
	if (version->stage != NULL)
	{
		stage = stage_at(version->stage, at, before);
		if (OUTCOME_IS_CLOSED(stage->outcome))
			return STANDING_CLOSED;
		omitted = stage->omitted;
	}
	if (version->category != NULL)
		omitted = strcmp(version->category, "omitted") == 0;
	return version->missing != 0 || omitted ? STANDING_OUT : STANDING_IN;
}

/* why a deal that is open is out of scope */
static Reason
out_reason(const Version *version)
{
	if (version->missing & MISSING_PIPELINE)
		return REASON_PIPELINE;
	if (version->missing & MISSING_OWNER)
		return REASON_OWNER;
	if (version->missing & MISSING_DATE)
		return REASON_DATE;
	return REASON_OTHER;
}

/* percent; the override if there is one, else what the stage says */
static Numeric
probability_of(Numeric override, const StagePast *stage, TimestampTz at, bool before)
{
	if (override != NULL)
		return override;
	if (stage == NULL)
		return decimal_zero();
	return stage_at(stage, at, before)->probability;
}

static Numeric
point_probability(const Point *point)
{
	return probability_of(point->version->override, point->version->stage,
						  point->at, point->before);
}

/* the day of an instant where the deal's pipeline is */
static DateADT
day_of(Bridge *bridge, const Version *version, TimestampTz at)
{
	PipelineZone *zone = hash_search(bridge->zones, &version->pipeline_id, HASH_FIND, NULL);
	struct pg_tm tm;
	fsec_t		fsec;
	int			tz;

	/* a rate of the day at the edge of time is the newest one */
	if (TIMESTAMP_NOT_FINITE(at))
		at = TIMESTAMP_IS_NOBEGIN(at) ? 0 : GetCurrentTimestamp();
	if (timestamp2tm(at, &tz, &tm, &fsec, NULL, zone != NULL ? zone->tz : session_timezone) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	return date2j(tm.tm_year, tm.tm_mon, tm.tm_mday) - POSTGRES_EPOCH_JDATE;
}

/*
 * An amount as it counts: as it is, or converted at the rate of a day, as it
 * was known at an instant (by the second one, at last), and rounded once.
 * NULL where there is no amount, or no rate.
 */
static Numeric
price(Bridge *bridge, const Version *version, TimestampTz rate_at, TimestampTz known_at)
{
	LOCAL_FCINFO(call, 6);
	Datum		result;

	if (bridge->currency == NULL || version->amount == NULL)
		return version->amount;
	if (version->currency == NULL)
		return NULL;

	InitFunctionCallInfoData(*call, &bridge->convert, 6, InvalidOid, NULL, NULL);
	call->args[0].value = NumericGetDatum(version->amount);
	call->args[1].value = PointerGetDatum(cstring_to_text(version->currency));
	call->args[2].value = PointerGetDatum(bridge->currency_text);
	call->args[3].value = DateADTGetDatum(day_of(bridge, version, rate_at));
	call->args[4].value = PointerGetDatum(bridge->rate_set);
	known_at = Min(known_at, bridge->to);
	call->args[5].value = TimestampTzGetDatum(known_at);
	for (int i = 0; i < 5; i++)
		call->args[i].isnull = false;
	call->args[5].isnull = known_at >= GetCurrentTransactionStartTimestamp();
	result = FunctionCallInvoke(call);
	if (call->isnull)
		return NULL;
	return bridge->units < 0 ? DatumGetNumeric(result) :
		decimal_round(DatumGetNumeric(result), bridge->units);
}

/* amount times percent; NULL is worth nothing */
static Numeric
weigh(const Bridge *bridge, Numeric amount, Numeric probability)
{
	if (amount == NULL || !bridge->weighted)
		return amount;
	return decimal_multiply(decimal_multiply(amount, probability), decimal_hundredth());
}

static Numeric
difference(Numeric a, Numeric b)
{
	if (b == NULL)
		return a == NULL ? decimal_zero() : a;
	return decimal_subtract(a == NULL ? decimal_zero() : a, b);
}

/* ----------------------------------------------------------------
 * Legs
 * ----------------------------------------------------------------
 */

static bool
same_string(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static CurrencySum *
find_sum(Bridge *bridge, const char *currency)
{
	ListCell   *cell;
	MemoryContext old;

	if (bridge->last_sum != NULL && same_string(bridge->last_sum->currency, currency))
		return bridge->last_sum;
	foreach(cell, bridge->sums)
	{
		CurrencySum *sum = lfirst(cell);

		if (same_string(sum->currency, currency))
			return bridge->last_sum = sum;
	}
	old = MemoryContextSwitchTo(bridge->context);
	bridge->last_sum = palloc0(sizeof(CurrencySum));
	bridge->last_sum->currency = currency == NULL ? NULL : pstrdup(currency);
	bridge->sums = lappend(bridge->sums, bridge->last_sum);
	MemoryContextSwitchTo(old);
	return bridge->last_sum;
}

static void
add_value(Bridge *bridge, Numeric *sum, Numeric value)
{
	MemoryContext old = MemoryContextSwitchTo(bridge->context);
	Numeric		before = *sum;

	*sum = before == NULL ?
		DatumGetNumeric(datumCopy(NumericGetDatum(value), false, -1)) :
		decimal_add(before, value);
	if (before != NULL)
		pfree(before);
	MemoryContextSwitchTo(old);
}

static void
set_text(Datum *values, bool *nulls, int column, const char *value)
{
	nulls[column] = value == NULL;
	if (value != NULL)
		values[column] = CStringGetTextDatum(value);
}

static void
set_numeric(Datum *values, bool *nulls, int column, Numeric value)
{
	nulls[column] = value == NULL;
	if (value != NULL)
		values[column] = NumericGetDatum(value);
}

/* one side of a row of changes(): 9 columns, of which every other one is ours */
static void
set_side(Bridge *bridge, Datum *values, bool *nulls, int first, Version *version, TimestampTz at)
{
	const StageVersion *stage = NULL;
	Numeric		probability;

	for (int i = 0; i < 9; i++)
		nulls[first + 2 * i] = true;
	if (version == NULL)
		return;
	if (version->stage != NULL)
		stage = stage_at(version->stage, at, false);
	set_numeric(values, nulls, first, version->amount);
	set_text(values, nulls, first + 2, version->currency);
	values[first + 4] = Int32GetDatum(version->pipeline_id);
	values[first + 6] = Int32GetDatum(version->stage_id);
	nulls[first + 4] = nulls[first + 6] = false;
	set_text(values, nulls, first + 8, stage == NULL ? NULL : outcome_name(stage->outcome));
	probability = stage == NULL ? version->override :
		OUTCOME_IS_CLOSED(stage->outcome) ? stage->probability :
		probability_of(version->override, version->stage, at, false);
	set_numeric(values, nulls, first + 10, probability);
	set_numeric(values, nulls, first + 12,
				version->amount == NULL || probability == NULL ? NULL :
				decimal_multiply(decimal_multiply(version->amount, probability), decimal_hundredth()));
	set_text(values, nulls, first + 14, version->owner);
	nulls[first + 16] = !version->has_expected;
	values[first + 16] = DateADTGetDatum(version->expected);
}

static void
put_change(Bridge *bridge, Leg leg, Reason reason, const char *currency, Numeric value)
{
	Datum		values[24] = {0};
	bool		nulls[24] = {0};

	set_text(values, nulls, 0, bridge->versions[0].deal);
	set_text(values, nulls, 1, currency);
	set_text(values, nulls, 2, leg == LEG_NONE ? NULL : leg_names[leg]);
	set_text(values, nulls, 3, reason_names[reason]);
	values[4] = NumericGetDatum(value);
	set_side(bridge, values, nulls, 5, bridge->before, bridge->from);
	set_side(bridge, values, nulls, 6, bridge->after, bridge->to);
	/* the flags, which only changes() itself knows */
	nulls[23] = true;
	tuplestore_putvalues(bridge->store, bridge->desc, values, nulls);
}

/*
 * A leg of the life that is being folded.  value NULL: not priced, counted
 * all the same; 'version', whose amount counts, says how many it stands for.
 */
static void
put_leg(Bridge *bridge, Leg leg, Reason reason, const char *currency,
		const Version *version, Numeric value, bool negative)
{
	int64		deals = version->deals;
	int64		unpriced = value == NULL ? version->deals : version->unpriced;

	/* an effect is that of deals that are worth something */
	if (leg >= LEG_INCREASED && leg <= LEG_FX)
	{
		deals = version->valued;
		unpriced = 0;
	}

	value = difference(negative ? NULL : value, negative ? value : NULL);
	bridge->told |= leg != LEG_START && leg != LEG_END;
	if (!bridge->list)
	{
		LegSum	   *sum = &find_sum(bridge, currency)->legs[leg][reason];

		sum->deals += deals;
		sum->unpriced += unpriced;
		add_value(bridge, &sum->value, value);
	}
	else if (leg != LEG_START && leg != LEG_END)
		put_change(bridge, leg, reason, currency, value);
}

/* a difference; none is no leg */
static void
put_effect(Bridge *bridge, Leg leg, const char *currency, const Version *version, Numeric effect)
{
	int			sign = decimal_compare(effect, decimal_zero());

	if (sign == 0)
		return;
	if (leg == LEG_INCREASED && sign < 0)
		leg = LEG_DECREASED;
	put_leg(bridge, leg, REASON_NONE, currency, version, effect, false);
}

/*
 * From one point in scope to another, of deals in one currency (or converted):
 * first the amount, at the rates and the probability of the first point, then
 * the rates, then the probability: the stage, the override, and what
 * the definitions say.
 */
static void
put_effects(Bridge *bridge, const Point *entry, const Point *exit, const char *currency,
			Numeric entry_price, Numeric exit_price)
{
	const Version *version = exit->version;
	Numeric		p_entry = NULL;
	Numeric		p_stage = NULL;
	Numeric		p_override = NULL;
	Numeric		p_exit = NULL;
	Numeric		at_old_rates = exit_price;

	if (bridge->weighted)
	{
		p_entry = point_probability(entry);
		p_stage = probability_of(entry->version->override, exit->version->stage,
								 entry->at, entry->before);
		p_override = probability_of(exit->version->override, exit->version->stage,
									entry->at, entry->before);
		p_exit = point_probability(exit);
	}

	if (bridge->currency != NULL)
	{
		at_old_rates = price(bridge, exit->priced, entry->rate_at, entry->known_at);
		/* without a rate then there is no effect of the amount to be told */
		if (at_old_rates == NULL)
			at_old_rates = entry_price;
	}
	put_effect(bridge, LEG_INCREASED, currency, version,
			   difference(weigh(bridge, at_old_rates, p_entry), weigh(bridge, entry_price, p_entry)));
	if (bridge->currency != NULL)
		put_effect(bridge, LEG_FX, currency, version,
				   difference(weigh(bridge, exit_price, p_entry), weigh(bridge, at_old_rates, p_entry)));
	if (bridge->weighted)
	{
		Numeric		a = weigh(bridge, exit_price, p_entry);
		Numeric		b = weigh(bridge, exit_price, p_stage);
		Numeric		c = weigh(bridge, exit_price, p_override);
		Numeric		d = weigh(bridge, exit_price, p_exit);

		put_effect(bridge, LEG_STAGE_MOVE, currency, version, difference(b, a));
		put_effect(bridge, LEG_OVERRIDE, currency, version, difference(c, b));
		put_effect(bridge, LEG_REDEFINED, currency, version, difference(d, c));
	}
}

static Point
point_at(Version *version, TimestampTz at, bool before)
{
	Point		point;

	point.version = version;
	point.at = at;
	point.before = before;
	point.priced = version;
	point.rate_at = at;
	point.known_at = DT_NOEND;
	return point;
}

/*
 * The first point in scope of a life that began inside the interval.  Of a
 * life that was not in scope from its beginning on all versions are needed.
 */
static Point
first_in_scope(Bridge *bridge)
{
	Version    *first = &bridge->versions[0];

	if (!bridge->whole &&
		(first->number != 1 || first->from >= first->to ||
		 standing(first, first->from, false) != STANDING_IN) &&
		(bridge->nversions > 1 || first->number != 1))
		bridge->incomplete = true;
	for (int i = 0; i < bridge->nversions; i++)
	{
		Version    *version = &bridge->versions[i];
		TimestampTz end = Min(version->to, bridge->to);

		/* nobody ever saw a version without duration */
		if (version->from >= version->to)
			continue;
		if (standing(version, version->from, false) == STANDING_IN)
			return point_at(version, version->from, false);
		/* a new definition may have brought it in */
		for (int k = 0; version->stage != NULL && k < version->stage->count; k++)
		{
			TimestampTz at = version->stage->versions[k].from;

			if (at > version->from && (at < version->to && at <= end) &&
				standing(version, at, false) == STANDING_IN)
				return point_at(version, at, false);
		}
	}
	return point_at(NULL, 0, false);
}

/* the last point at which a life was open, in scope or not */
static Point
last_open(Bridge *bridge, int *index)
{
	for (int i = bridge->nversions - 1; i >= 0; i--)
	{
		Version    *version = &bridge->versions[i];
		TimestampTz begin = Max(version->from, bridge->from);
		TimestampTz end = Min(version->to, bridge->to);

		*index = i;
		if (version->from >= version->to)
			continue;
		if (end > begin && standing(version, end, true) >= STANDING_OUT)
			return point_at(version, end, true);
		/* a new definition may have closed it */
		for (int k = version->stage == NULL ? -1 : version->stage->count - 1; k >= 0; k--)
		{
			TimestampTz at = version->stage->versions[k].from;

			if (at > begin && at <= end && standing(version, at, true) >= STANDING_OUT)
				return point_at(version, at, true);
		}
	}
	return point_at(NULL, 0, false);
}

/*
 * The version with which a life began inside the interval, if that was closed
 * and is in scope but for that: such a deal was never on its way, and yet
 * what the interval has won has it.
 */
static Version *
made_closed(Bridge *bridge)
{
	for (int i = 0; i < bridge->nversions; i++)
	{
		Version    *version = &bridge->versions[i];

		if (version->from >= version->to)
			continue;
		if (standing(version, version->from, false) == STANDING_CLOSED && version->missing == 0 &&
			(version->category == NULL || strcmp(version->category, "omitted") != 0))
			return version;
		break;
	}
	return NULL;
}

static Leg
closing_leg(const Version *version, TimestampTz at, bool before)
{
	StageOutcome outcome = version->stage == NULL ? OUTCOME_DONE :
		stage_at(version->stage, at, before)->outcome;

	return outcome == OUTCOME_WON ? LEG_WON : outcome == OUTCOME_LOST ? LEG_LOST :
		outcome == OUTCOME_DISQUALIFIED ? LEG_DISQUALIFIED : LEG_DONE;
}

/*
 * One life of one deal: its versions that overlap the interval, in order.
 */
static void
fold_life(Bridge *bridge)
{
	Version    *first = &bridge->versions[0];
	Version    *last = &bridge->versions[bridge->nversions - 1];
	bool		deleted = last->deleted && last->to <= bridge->to;
	/* the next version is one that the reader may not see: in another pipeline */
	bool		left = !deleted && last->to <= bridge->to && last->to != DT_NOEND;
	/* what was closed stays so for them, whatever becomes of its stage */
	bool		hidden = left && standing(last, last->to, true) != STANDING_CLOSED;
	/* so was the one before: closed there, too, if it came closed */
	bool		arrived = first->arrived && first->live;
	Standing	s0 = first->from <= bridge->from ? standing(first, bridge->from, false) :
		!arrived ? STANDING_ABSENT :
		standing(first, first->from, false) == STANDING_CLOSED ? STANDING_CLOSED : STANDING_OUT;
	Standing	s1 = deleted ? STANDING_ABSENT : hidden ? STANDING_OUT :
		left ? STANDING_CLOSED : standing(last, bridge->to, false);
	Point		entry = point_at(NULL, 0, false);
	Point		exit = point_at(NULL, 0, false);
	Version    *outside = NULL; /* the last open version, out of scope */
	Leg			entry_leg = LEG_START;
	Leg			exit_leg = LEG_END;
	Numeric		entry_price = NULL;
	Numeric		exit_price = NULL;
	const char *entry_currency = bridge->currency;
	const char *exit_currency = bridge->currency;

	/* the one that was left out may be another that came from there */
	if (arrived && !bridge->whole)
		bridge->incomplete = true;
	bridge->told = false;
	bridge->before = s0 == STANDING_ABSENT || arrived ? NULL : first;
	bridge->after = s1 == STANDING_ABSENT || hidden ? NULL : last;

	/* how it came in */
	if (s0 == STANDING_IN)
	{
		/* what a bridge to this instant ended with */
		entry = point_at(first, bridge->from, false);
		entry.known_at = bridge->from;
	}
	else if (s0 == STANDING_ABSENT)
	{
		entry_leg = LEG_CREATED;
		entry = first_in_scope(bridge);
	}
	else
		entry_leg = s0 == STANDING_CLOSED ? LEG_REOPENED : LEG_MOVED_IN;

	/* how it ended */
	if (s1 == STANDING_IN)
		exit = point_at(last, bridge->to, false);
	else if (s1 == STANDING_OUT)
		outside = last;
	else
	{
		int			index = 0;
		Point		point = last_open(bridge, &index);

		if (point.version != NULL &&
			standing(point.version, point.at, point.before) == STANDING_OUT)
			outside = point.version;
		else if (point.version != NULL)
		{
			exit = point;
			if (s1 == STANDING_CLOSED)
				exit_leg = left ? closing_leg(last, last->to, true) : closing_leg(last, bridge->to, false);
			else if (deleted && last->live && standing(last, last->to, true) == STANDING_CLOSED)
				exit_leg = closing_leg(last, last->to, true);
			else
				exit_leg = LEG_DELETED;

			/*
			 * What a closing sets counts as set just before it; a definition
			 * that closed it amid a version has set nothing.
			 */
			if (exit_leg != LEG_DELETED && exit.at >= exit.version->to &&
				index + 1 < bridge->nversions)
			{
				exit.priced = &bridge->versions[index + 1];
				exit.rate_at = exit.priced->from;
			}
		}
	}

	if (entry.version == NULL && exit.version == NULL)
	{
		Version    *made = s0 == STANDING_ABSENT ? made_closed(bridge) : NULL;

		if (made != NULL)
		{
			Point		point = point_at(made, made->from, false);
			Numeric		value = weigh(bridge, price(bridge, made, made->from, DT_NOEND), point_probability(&point));

			if (bridge->currency == NULL)
				entry_currency = made->currency;
			put_leg(bridge, LEG_CREATED, REASON_NONE, entry_currency, made, value, false);
			put_leg(bridge, closing_leg(made, made->from, false), REASON_NONE, entry_currency, made, value, true);
		}
		return;
	}

	if (entry.version != NULL)
	{
		entry_price = price(bridge, entry.priced, entry.rate_at, entry.known_at);
		if (bridge->currency == NULL)
			entry_currency = entry.priced->currency;
		put_leg(bridge, entry_leg, REASON_NONE, entry_currency, entry.version,
				weigh(bridge, entry_price, point_probability(&entry)), false);
		if (exit.version == NULL)
			put_leg(bridge, LEG_MOVED_OUT,
					hidden ? REASON_PIPELINE : outside == NULL ? REASON_OTHER : out_reason(outside),
					entry_currency, entry.version,
					weigh(bridge, entry_price, point_probability(&entry)), true);
	}
	if (exit.version != NULL)
	{
		Numeric		value;

		exit_price = price(bridge, exit.priced, exit.rate_at, exit.known_at);
		if (bridge->currency == NULL)
			exit_currency = exit.priced->currency;
		value = weigh(bridge, exit_price, point_probability(&exit));

		if (entry.version == NULL)
			put_leg(bridge, entry_leg,
					entry_leg != LEG_MOVED_IN ? REASON_NONE : arrived ? REASON_PIPELINE : out_reason(first),
					exit_currency, exit.priced, value, false);
		else if (same_string(entry_currency, exit_currency))
			put_effects(bridge, &entry, &exit, exit_currency, entry_price, exit_price);
		else
		{
			put_leg(bridge, LEG_MOVED_OUT, REASON_CURRENCY, entry_currency, entry.version,
					weigh(bridge, entry_price, point_probability(&entry)), true);
			put_leg(bridge, LEG_MOVED_IN, REASON_CURRENCY, exit_currency, exit.priced, value, false);
		}
		put_leg(bridge, exit_leg, REASON_NONE, exit_currency, exit.priced, value,
				exit_leg != LEG_END);
	}

	/* it has changed, in ways that don't count here */
	if (bridge->list && !bridge->told && bridge->nversions > 1)
		put_change(bridge, LEG_NONE, REASON_NONE, exit_currency, decimal_zero());
}

/* ----------------------------------------------------------------
 * Reading
 * ----------------------------------------------------------------
 */

static Version *
next_version(Bridge *bridge)
{
	if (bridge->nversions == bridge->allocated)
	{
		bridge->allocated *= 2;
		bridge->versions = repalloc(bridge->versions, sizeof(Version) * bridge->allocated);
	}
	return memset(&bridge->versions[bridge->nversions++], 0, sizeof(Version));
}

/* fold what has been collected, and begin anew */
static void
finish_life(Bridge *bridge)
{
	MemoryContext old;

	if (bridge->nversions == 0)
		return;
	old = MemoryContextSwitchTo(bridge->life_context);
	fold_life(bridge);
	MemoryContextSwitchTo(old);
	bridge->nversions = 0;
}

/*
 * A row of the query: version, is it ended by a deletion, is the one before it
 * hidden, from, to, pipeline, stage, amount, currency, probability, category,
 * live, missing, owner, expected, deal, keys.
 */
enum
{
	COLUMN_VERSION,
	COLUMN_DELETED,
	COLUMN_ARRIVED,
	COLUMN_FROM,
	COLUMN_TO,
	COLUMN_PIPELINE,
	COLUMN_STAGE,
	COLUMN_AMOUNT,
	COLUMN_CURRENCY,
	COLUMN_PROBABILITY,
	COLUMN_CATEGORY,
	COLUMN_LIVE,
	COLUMN_MISSING,
	COLUMN_OWNER,
	COLUMN_EXPECTED,
	COLUMN_DEAL,
	COLUMN_KEYS
};

static char *
get_string(const TupleTableSlot *slot, int column)
{
	return slot->tts_isnull[column] ? NULL : TextDatumGetCString(slot->tts_values[column]);
}

static Numeric
get_numeric(const TupleTableSlot *slot, int column)
{
	if (slot->tts_isnull[column])
		return NULL;
	return DatumGetNumeric(datumCopy(NumericGetDatum(DatumGetNumeric(slot->tts_values[column])), false, -1));
}

static void
read_version(Bridge *bridge, const TupleTableSlot *slot)
{
	Version    *version = next_version(bridge);

	version->number = DatumGetInt32(slot->tts_values[COLUMN_VERSION]);
	version->deleted = DatumGetBool(slot->tts_values[COLUMN_DELETED]);
	version->arrived = DatumGetBool(slot->tts_values[COLUMN_ARRIVED]);
	version->from = DatumGetTimestampTz(slot->tts_values[COLUMN_FROM]);
	version->to = DatumGetTimestampTz(slot->tts_values[COLUMN_TO]);
	version->pipeline_id = DatumGetInt32(slot->tts_values[COLUMN_PIPELINE]);
	version->stage_id = DatumGetInt32(slot->tts_values[COLUMN_STAGE]);
	version->stage = find_stage(bridge, version->pipeline_id, version->stage_id);
	version->amount = get_numeric(slot, COLUMN_AMOUNT);
	version->deals = version->valued = 1;
	version->unpriced = version->amount == NULL ? 1 : 0;
	version->currency = get_string(slot, COLUMN_CURRENCY);
	version->override = get_numeric(slot, COLUMN_PROBABILITY);
	version->category = get_string(slot, COLUMN_CATEGORY);
	version->live = DatumGetBool(slot->tts_values[COLUMN_LIVE]);
	version->missing = DatumGetInt32(slot->tts_values[COLUMN_MISSING]);
	if (bridge->list)
	{
		version->owner = get_string(slot, COLUMN_OWNER);
		version->has_expected = !slot->tts_isnull[COLUMN_EXPECTED];
		version->expected = version->has_expected ?
			DatumGetDateADT(slot->tts_values[COLUMN_EXPECTED]) : 0;
		version->deal = get_string(slot, COLUMN_DEAL);
	}
}

/* is a text datum the same as a string? */
static bool
same_text(const TupleTableSlot *slot, int column, const char *string)
{
	if (slot->tts_isnull[column] || string == NULL)
		return slot->tts_isnull[column] && string == NULL;
	return text_is(DatumGetTextPP(slot->tts_values[column]), string);
}

/* one more deal that stayed as it was */
static void
add_to_group(Bridge *bridge, StagePast *stage, const TupleTableSlot *slot)
{
	DealGroup  *group;
	int64		value;
	int			dscale;

	for (group = stage->groups; group != NULL; group = group->next)
		if (same_text(slot, COLUMN_CURRENCY, group->currency))
			break;
	if (group == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(bridge->context);

		group = palloc0(sizeof(DealGroup));
		group->currency = get_string(slot, COLUMN_CURRENCY);
		group->next = stage->groups;
		stage->groups = group;
		MemoryContextSwitchTo(old);
	}

	group->deals++;
	if (slot->tts_isnull[COLUMN_AMOUNT])
		return;
	group->priced++;
	if (decimal_decode(slot->tts_values[COLUMN_AMOUNT], &value, &dscale))
	{
		group->valued += value != 0;
		group->dscale = Max(group->dscale, dscale);
		decimal128_add_value(&group->sum, value);
	}
	else
	{
		Numeric		amount = DatumGetNumeric(slot->tts_values[COLUMN_AMOUNT]);

		group->valued += decimal_compare(amount, decimal_zero()) != 0;
		add_value(bridge, &group->odd, amount);
	}
}

/* the deals of a group as one life that stands for all of them */
static void
fold_groups(Bridge *bridge)
{
	HASH_SEQ_STATUS status;
	StagePast  *stage;
	MemoryContext old = MemoryContextSwitchTo(bridge->life_context);

	hash_seq_init(&status, bridge->stages);
	while ((stage = hash_seq_search(&status)) != NULL)
	{
		for (DealGroup *group = stage->groups; group != NULL; group = group->next)
		{
			Version    *version = next_version(bridge);

			version->number = 1;
			version->live = true;
			version->from = DT_NOBEGIN;
			version->to = DT_NOEND;
			version->pipeline_id = (int32) (stage->id >> 32);
			version->stage_id = (int32) stage->id;
			version->stage = stage;
			version->currency = group->currency;
			version->deals = group->deals;
			version->unpriced = group->deals - group->priced;
			version->valued = group->valued;
			version->amount = decimal128_to_numeric(&group->sum, DECIMAL_SCALE, group->dscale);
			if (group->odd != NULL)
				version->amount = decimal_add(version->amount, group->odd);
			finish_life(bridge);
		}
		stage->groups = NULL;
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(bridge->life_context);
}

typedef struct Scope
{
	Datum		pipelines;		/* int4[] */
	Datum		owners;			/* text[] */
	Datum		expected;		/* daterange */
	char	   *filter;
	bool		has_pipelines;
	bool		has_owners;
	bool		has_expected;
} Scope;

/* the text of the query, made by SQL */
static char *
query_text(Bridge *bridge, const Scope *scope)
{
	Oid			types[7] = {REGCLASSOID, BOOLOID, BOOLOID, BOOLOID, TEXTOID, BOOLOID, BOOLOID};
	Datum		values[7];
	char		nulls[7];
	char	   *result;

	values[0] = ObjectIdGetDatum(bridge->deals);
	values[1] = BoolGetDatum(scope->has_pipelines);
	values[2] = BoolGetDatum(scope->has_owners);
	values[3] = BoolGetDatum(scope->has_expected);
	values[4] = scope->filter == NULL ? (Datum) 0 : CStringGetTextDatum(scope->filter);
	values[5] = BoolGetDatum(bridge->list);
	values[6] = BoolGetDatum(bridge->whole);
	memset(nulls, ' ', sizeof(nulls));
	if (scope->filter == NULL)
		nulls[4] = 'n';
	if (SPI_execute_with_args("SELECT pipelines._bridge_query($1, $2, $3, $4, $5, $6, $7)",
							  7, types, values, nulls, true, 1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "could not make the query of a bridge");
	result = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	SPI_freetuptable(SPI_tuptable);
	return result;
}

/* sort by the keys, then by the version */
static void
begin_sort(Bridge *bridge, TupleDesc desc)
{
	AttrNumber	columns[INDEX_MAX_KEYS + 2];
	Oid			operators[INDEX_MAX_KEYS + 2];
	Oid			collations[INDEX_MAX_KEYS + 2];
	bool		nulls_first[INDEX_MAX_KEYS + 2];
	int			n;

	bridge->nkeys = desc->natts - COLUMN_KEYS;
	if (bridge->nkeys > INDEX_MAX_KEYS)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the key of a deal has at most %d columns", INDEX_MAX_KEYS),
				 errdetail("Trigger \"pipelines_columns\" names %d.", bridge->nkeys),
				 errhint("Drop it, then run \"SELECT pipelines.resume();\".")));
	for (n = 0; n < bridge->nkeys + 2; n++)
	{
		int			column = n < bridge->nkeys ? COLUMN_KEYS + n :
			n == bridge->nkeys ? COLUMN_VERSION : COLUMN_TO;

		columns[n] = column + 1;
		operators[n] = lookup_type_cache(TupleDescAttr(desc, column)->atttypid,
										 TYPECACHE_LT_OPR)->lt_opr;
		/* keys in the order of bytes: that is faster, and any order will do */
		collations[n] = OidIsValid(TupleDescAttr(desc, column)->attcollation) ?
			C_COLLATION_OID : InvalidOid;
		nulls_first[n] = false;
	}
	bridge->sort = tuplesort_begin_heap(desc, n, columns, operators, collations, nulls_first,
										work_mem, NULL, 0);
	bridge->slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
}

/* a row as it comes, in no order */
static void
take_row(Bridge *bridge, TupleTableSlot *slot)
{
	StagePast  *stage;

	slot_getallattrs(slot);
	if (++bridge->rows % BRIDGE_BATCH == 0)
	{
		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(bridge->life_context);
	}

	if (DatumGetTimestampTz(slot->tts_values[COLUMN_FROM]) > bridge->from ||
		DatumGetTimestampTz(slot->tts_values[COLUMN_TO]) <= bridge->to)
	{
		tuplesort_puttupleslot(bridge->sort, slot);
		return;
	}

	/* the same at both instants: out of scope at both, or in it */
	if (!DatumGetBool(slot->tts_values[COLUMN_LIVE]) ||
		DatumGetInt32(slot->tts_values[COLUMN_MISSING]) != 0)
		return;
	stage = find_stage(bridge, DatumGetInt32(slot->tts_values[COLUMN_PIPELINE]),
					   DatumGetInt32(slot->tts_values[COLUMN_STAGE]));
	if (bridge->currency == NULL && stage != NULL)
	{
		if (bridge->list && !stage->redefined)
			return;
		if (!bridge->list && slot->tts_isnull[COLUMN_PROBABILITY] &&
			slot->tts_isnull[COLUMN_CATEGORY])
		{
			add_to_group(bridge, stage, slot);
			return;
		}
	}
	read_version(bridge, slot);
	finish_life(bridge);
}

/* those that changed, version by version in the order of their keys */
static void
fold_sorted(Bridge *bridge)
{
	MemoryContext old = MemoryContextSwitchTo(bridge->life_context);
	TupleTableSlot *slot = bridge->slot;
	Datum		key[INDEX_MAX_KEYS];
	bool		known = false;	/* is there a key? */
	bool		ended = true;	/* does the next version begin a life? */
	int			lives = 0;

	tuplesort_performsort(bridge->sort);
	while (!bridge->incomplete && tuplesort_gettupleslot(bridge->sort, true, false, slot, NULL))
	{
		bool		same = known;

		slot_getallattrs(slot);
		for (int i = 0; same && i < bridge->nkeys; i++)
		{
			Form_pg_attribute att = TupleDescAttr(slot->tts_tupleDescriptor, COLUMN_KEYS + i);

			same = !slot->tts_isnull[COLUMN_KEYS + i] &&
				datum_image_eq(key[i], slot->tts_values[COLUMN_KEYS + i],
							   att->attbyval, att->attlen);
		}
		if (!same || ended)
		{
			finish_life(bridge);
			/* memory goes back in lumps, or it would cost more than it is worth */
			if (++lives % BRIDGE_BATCH == 0)
			{
				CHECK_FOR_INTERRUPTS();
				MemoryContextReset(bridge->life_context);
				same = false;
			}
		}
		if (!same)
		{
			known = true;
			for (int i = 0; i < bridge->nkeys; i++)
			{
				Form_pg_attribute att = TupleDescAttr(slot->tts_tupleDescriptor, COLUMN_KEYS + i);

				/* nothing in a key is null, unless the mapping was altered */
				if (slot->tts_isnull[COLUMN_KEYS + i])
					known = false;
				else
					key[i] = datumCopy(slot->tts_values[COLUMN_KEYS + i], att->attbyval, att->attlen);
			}
		}
		read_version(bridge, slot);
		ended = bridge->versions[bridge->nversions - 1].deleted;
	}
	if (!bridge->incomplete)
		finish_life(bridge);
	bridge->nversions = 0;
	MemoryContextSwitchTo(old);
	MemoryContextReset(bridge->life_context);
}

/* the rows of the query, on their way to take_row() */
typedef struct BridgeReceiver
{
	DestReceiver pub;
	Bridge	   *bridge;
} BridgeReceiver;

static void
start_rows(DestReceiver *self, int operation, TupleDesc desc)
{
	Bridge	   *bridge = ((BridgeReceiver *) self)->bridge;
	MemoryContext old = MemoryContextSwitchTo(bridge->context);

	begin_sort(bridge, CreateTupleDescCopy(desc));
	MemoryContextSwitchTo(old);
}

static bool
receive_row(TupleTableSlot *slot, DestReceiver *self)
{
	Bridge	   *bridge = ((BridgeReceiver *) self)->bridge;
	MemoryContext old = MemoryContextSwitchTo(bridge->life_context);

	take_row(bridge, slot);
	MemoryContextSwitchTo(old);
	return true;
}

static void
end_rows(DestReceiver *self)
{
}

/* one pass over the history and the deals */
static void
read_once(Bridge *bridge, const Scope *scope)
{
	Oid			types[5] = {TIMESTAMPTZOID, TIMESTAMPTZOID, INT4ARRAYOID, TEXTARRAYOID, DATERANGEOID};
	Datum		values[5];
	char		nulls[5];
	BridgeReceiver receiver;

	values[0] = TimestampTzGetDatum(bridge->from);
	values[1] = TimestampTzGetDatum(bridge->to);
	values[2] = scope->pipelines;
	values[3] = scope->owners;
	values[4] = scope->expected;
	memset(nulls, ' ', sizeof(nulls));
	nulls[2] = scope->has_pipelines ? ' ' : 'n';
	nulls[3] = scope->has_owners ? ' ' : 'n';
	nulls[4] = scope->has_expected ? ' ' : 'n';

	memset(&receiver, 0, sizeof(receiver));
	receiver.pub.mydest = DestNone;
	receiver.pub.rStartup = start_rows;
	receiver.pub.receiveSlot = receive_row;
	receiver.pub.rShutdown = end_rows;
	receiver.pub.rDestroy = end_rows;
	receiver.bridge = bridge;
	compat_spi_send(query_text(bridge, scope), 5, types, values, nulls, &receiver.pub);

	fold_sorted(bridge);
	ExecDropSingleTupleTableSlot(bridge->slot);
	tuplesort_end(bridge->sort);
	fold_groups(bridge);
}

/*
 * Versions that lie between the two instants and neither begin a deal's life
 * nor precede a closing or a deletion don't matter as long as each life that
 * began in between was in scope from its first version on.  If one wasn't, all
 * are read after all; so they are at once where it can be foreseen.
 */
static void
read_all(Bridge *bridge, const Scope *scope)
{
	if (scope->has_pipelines || scope->has_owners || scope->has_expected || scope->filter != NULL)
		bridge->whole = true;
	read_once(bridge, scope);
	if (bridge->incomplete)
	{
		bridge->whole = true;
		bridge->incomplete = false;
		bridge->sums = NIL;
		bridge->last_sum = NULL;
		tuplestore_clear(bridge->store);
		read_once(bridge, scope);
	}
}

/* ----------------------------------------------------------------
 * The functions
 * ----------------------------------------------------------------
 */

static void
prepare_conversion(Bridge *bridge)
{
	Oid			types[6] = {NUMERICOID, TEXTOID, TEXTOID, DATEOID, TEXTOID, TIMESTAMPTZOID};
	Oid			texttype[1] = {TEXTOID};
	Datum		values[1];
	Oid			function;
	bool		isnull;

	if (bridge->currency == NULL)
		return;
	values[0] = PointerGetDatum(bridge->rate_set);
	if (SPI_execute_with_args("SELECT pipelines._need_rate_set($1)", 1, texttype, values, NULL,
							  true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not look for a set of exchange rates");
	SPI_freetuptable(SPI_tuptable);
	function = LookupFuncName(list_make2(makeString("pipelines"), makeString("convert")),
							  6, types, true);
	if (!OidIsValid(function))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("there is no pipelines.convert() to convert amounts with"),
				 errhint("Leave the currency out: there is a bridge for each currency then.")));
	fmgr_info_cxt(function, &bridge->convert, bridge->context);
	values[0] = PointerGetDatum(bridge->currency_text);
	if (SPI_execute_with_args("SELECT pipelines.minor_units($1)", 1, texttype, values, NULL,
							  true, 1) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "could not find out the minor units of a currency");
	bridge->units = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	if (isnull)
		bridge->units = -1;
	SPI_freetuptable(SPI_tuptable);
}

/* names, codes or ids of pipelines, as ids */
static Datum
pipeline_ids(ArrayType *names, int32 layout_id)
{
	Datum	   *elements;
	bool	   *nulls;
	int			count;

	deconstruct_array(names, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
	for (int i = 0; i < count; i++)
		elements[i] = nulls[i] ? Int32GetDatum(0) :
			Int32GetDatum(definitions_pipeline_named(TextDatumGetCString(elements[i]), layout_id));
	return PointerGetDatum(construct_array(elements, count, INT4OID, 4, true, TYPALIGN_INT));
}

/* one row a leg, in the order in which they are read */
static void
put_sums(Bridge *bridge)
{
	ListCell   *cell;

	foreach(cell, bridge->sums)
	{
		CurrencySum *sum = lfirst(cell);

		for (int leg = 0; leg < N_LEGS; leg++)
		{
			bool		shown = false;

			if ((leg == LEG_STAGE_MOVE || leg == LEG_OVERRIDE || leg == LEG_REDEFINED) && !bridge->weighted)
				continue;
			if (leg == LEG_FX && bridge->currency == NULL)
				continue;
			/* the reason 'none' last: it stands for a leg that nothing happened in */
			for (int k = 1; k <= N_REASONS; k++)
			{
				int			reason = k % N_REASONS;
				LegSum	   *part = &sum->legs[leg][reason];
				Datum		values[7] = {0};
				bool		nulls[7] = {0};

				if (reason == REASON_NONE ? shown : part->value == NULL)
					continue;
				shown = true;
				set_text(values, nulls, 0, sum->currency);
				values[1] = Int32GetDatum(leg + 1);
				set_text(values, nulls, 2, leg_names[leg]);
				set_text(values, nulls, 3, reason_names[reason]);
				values[4] = Int64GetDatum(part->deals);
				values[5] = Int64GetDatum(part->unpriced);
				values[6] = NumericGetDatum(part->value == NULL ? decimal_zero() : part->value);
				tuplestore_putvalues(bridge->store, bridge->desc, values, nulls);
			}
		}
	}
}

static int
compare_currencies(const ListCell *a, const ListCell *b)
{
	const char *x = ((CurrencySum *) lfirst(a))->currency;
	const char *y = ((CurrencySum *) lfirst(b))->currency;

	if (x == NULL || y == NULL)
		return (x == NULL) - (y == NULL);
	return strcmp(x, y);
}

/*
 * A week before an instant; if the past is known for less than that, since
 * then.
 */
static TimestampTz
week_before(TimestampTz instant, const DealsLayout *layout)
{
	Interval	week = {0};
	TimestampTz before;

	week.day = 7;
	before = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_mi_interval,
													 TimestampTzGetDatum(instant),
													 IntervalPGetDatum(&week)));
	return Min(Max(before, layout->tracked_since), instant);
}

/*
 * Arguments: deals, from, to, pipelines, owners, expected, filter, weighted,
 * currency, rate_set.
 */
/* the definitions of today for all instants, or those of then? */
static bool
current_definitions(FunctionCallInfo fcinfo, int argument)
{
	char	   *word = PG_ARGISNULL(argument) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(argument));

	if (word != NULL && strcmp(word, "then") == 0)
		return false;
	if (word == NULL || strcmp(word, "current") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 word == NULL ? errmsg("definitions can't be null") :
				 errmsg("definitions can't be '%s'", word),
				 errhint("It is one of: then, current.")));
	return true;
}

static Datum
bridge_main(FunctionCallInfo fcinfo, bool list)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Bridge	   *bridge = palloc0(sizeof(Bridge));
	Scope		scope;

	compat_materialize(fcinfo);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(2))
		return (Datum) 0;

	bridge->deals = PG_GETARG_OID(0);
	bridge->to = PG_GETARG_TIMESTAMPTZ(2);
	bridge->from = PG_ARGISNULL(1) ? week_before(bridge->to, layout_require(bridge->deals)) :
		PG_GETARG_TIMESTAMPTZ(1);
	if (bridge->from > bridge->to)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the second instant lies before the first one"),
				 errhint("A bridge leads from an earlier instant to a later one.")));
	/* up to the present: with what this transaction did, and others since it began */
	if (bridge->to >= GetCurrentTransactionStartTimestamp())
		bridge->to = Max(bridge->to, GetCurrentTimestamp());
	bridge->weighted = !PG_ARGISNULL(7) && PG_GETARG_BOOL(7);
	bridge->current = current_definitions(fcinfo, 10);
	bridge->list = list;
	bridge->context = CurrentMemoryContext;
	bridge->life_context = AllocSetContextCreate(CurrentMemoryContext, "pipelines bridge",
												 ALLOCSET_DEFAULT_SIZES);
	bridge->stages = make_table("pipelines stages", sizeof(int64), sizeof(StagePast),
								bridge->context);
	bridge->zones = make_table("pipelines zones", sizeof(int32), sizeof(PipelineZone),
							   bridge->context);
	bridge->allocated = 32;
	bridge->versions = palloc(sizeof(Version) * bridge->allocated);
	bridge->store = rsinfo->setResult;
	bridge->desc = rsinfo->setDesc;
	if (!PG_ARGISNULL(8))
	{
		bridge->currency_text = PG_GETARG_TEXT_PP(8);
		bridge->currency = text_to_cstring(bridge->currency_text);
		bridge->rate_set = PG_ARGISNULL(9) ? cstring_to_text("spot") : PG_GETARG_TEXT_PP(9);
	}

	memset(&scope, 0, sizeof(scope));
	scope.has_pipelines = !PG_ARGISNULL(3);
	if (scope.has_pipelines)
		scope.pipelines = pipeline_ids(PG_GETARG_ARRAYTYPE_P(3), layout_require(bridge->deals)->layout_id);
	scope.has_owners = !PG_ARGISNULL(4);
	scope.owners = PG_GETARG_DATUM(4);
	scope.has_expected = !PG_ARGISNULL(5);
	scope.expected = PG_GETARG_DATUM(5);
	scope.filter = PG_ARGISNULL(6) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(6));

	{
		DealsLayout *layout = layout_require(bridge->deals);

		if (bridge->from < layout->tracked_since)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("nothing is known of \"%s\" at %s",
							get_rel_name(bridge->deals), timestamptz_to_str(bridge->from)),
					 errdetail("Its history begins at %s, when it was adopted.",
							   timestamptz_to_str(layout->tracked_since)),
					 errhint("pipelines.import_history() loads an earlier past.")));
	}

	SPI_connect();
	prepare_conversion(bridge);
	read_definitions(bridge);
	mark_redefined(bridge);
	read_all(bridge, &scope);
	SPI_finish();

	if (!list)
	{
		/* a bridge from nothing to nothing */
		if (bridge->sums == NIL && bridge->currency != NULL)
			(void) find_sum(bridge, bridge->currency);
		list_sort(bridge->sums, compare_currencies);
		put_sums(bridge);
	}
	return (Datum) 0;
}

Datum
pipelines_bridge(PG_FUNCTION_ARGS)
{
	return bridge_main(fcinfo, false);
}

Datum
pipelines_changes(PG_FUNCTION_ARGS)
{
	return bridge_main(fcinfo, true);
}

/* ----------------------------------------------------------------
 * What a condition looks at
 * ----------------------------------------------------------------
 */

typedef struct NamesUsed
{
	DealsLayout *layout;
	TupleDesc	desc;
	List	   *names;			/* of char *, each once */
	List	   *attnums;		/* of AttrNumber, their columns */
} NamesUsed;

/* a column of the table by its name, else by the part that it plays */
static AttrNumber
condition_column(const char *name, void *arg)
{
	NamesUsed  *used = (NamesUsed *) arg;
	AttrNumber	attnum = InvalidAttrNumber;
	ListCell   *cell;

	for (int i = 0; i < used->desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(used->desc, i);

		if (!att->attisdropped && strcmp(NameStr(att->attname), name) == 0)
			attnum = att->attnum;
	}
	foreach(cell, attnum == InvalidAttrNumber ? used->layout->columns : NIL)
	{
		MappedColumn *column = lfirst(cell);

		if (strcmp(column->role, name) == 0)
			attnum = column->attnum;
	}
	if (attnum == InvalidAttrNumber)
		return attnum;
	foreach(cell, used->names)
	{
		if (strcmp((char *) lfirst(cell), name) == 0)
			return attnum;
	}
	used->names = lappend(used->names, pstrdup(name));
	used->attnums = lappend_int(used->attnums, attnum);
	return attnum;
}

/*
 * pipelines_condition_columns
 *		What a condition over a table of deals calls columns, and which they
 *		are.  An error for what isn't one: see conditions.c.
 */
Datum
pipelines_condition_columns(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Oid			relid = PG_GETARG_OID(0);
	char	   *filter = text_to_cstring(PG_GETARG_TEXT_PP(1));
	char	   *what = text_to_cstring(PG_GETARG_TEXT_PP(2));
	NamesUsed	used = {layout_require(relid), NULL, NIL, NIL};
	Relation	rel = relation_open(relid, AccessShareLock);
	Condition  *condition;
	ListCell   *name;
	ListCell   *attnum;

	compat_materialize(fcinfo);
	used.desc = RelationGetDescr(rel);
	condition = condition_parse(filter, used.desc, condition_column, &used, what);
	relation_close(rel, AccessShareLock);

	/* what a backslash means is a setting's to say */
	if (condition->expr == NULL || strchr(filter, '\\') != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("%s is not a condition", what),
				 errdetail("It is \"%s\".", filter),
				 errhint("Give one condition over columns of the deals, such as \"amount > 1000\", without backslashes.")));
	forboth(name, used.names, attnum, used.attnums)
	{
		Datum		values[2] = {CStringGetTextDatum((char *) lfirst(name)),
			Int16GetDatum((AttrNumber) lfirst_int(attnum))};
		bool		nulls[2] = {false, false};

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
