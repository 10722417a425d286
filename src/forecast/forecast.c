/*-------------------------------------------------------------------------
 *
 * forecast.c
 *	  The type pipelines.forecast, its aggregates and accessors.
 *
 * Owns the state that is also the result: counts, exact sums, currency,
 * cumulants and sketch of a set of deals.  The invariant: counts and sums are
 * those of core's count() and sum() over the same deals to the last digit,
 * display scale included, whichever way the set was cut into parts; only
 * cumulants and the sketch are floating point.  Numbers that don't fit into
 * 128 bits ("odd" ones: many decimals, huge, NaN, infinite) are summed up by
 * core in numerics at the end of the state.  Must never keep anything outside
 * the state, and never add amounts of different currencies.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "common/shortest_dec.h"
#include "compat.h"
#include "fmgr.h"
#include "forecast/forecast.h"
#include "forecast/state.h"
#include "libpq/pqformat.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(pipelines_forecast_in);
PG_FUNCTION_INFO_V1(pipelines_forecast_out);
PG_FUNCTION_INFO_V1(pipelines_forecast_recv);
PG_FUNCTION_INFO_V1(pipelines_forecast_send);
PG_FUNCTION_INFO_V1(pipelines_forecast_add);
PG_FUNCTION_INFO_V1(pipelines_forecast_combine);
PG_FUNCTION_INFO_V1(pipelines_forecast_plus);
PG_FUNCTION_INFO_V1(pipelines_forecast_pipeline);
PG_FUNCTION_INFO_V1(pipelines_forecast_weighted);
PG_FUNCTION_INFO_V1(pipelines_forecast_won);
PG_FUNCTION_INFO_V1(pipelines_forecast_lost);
PG_FUNCTION_INFO_V1(pipelines_forecast_deals);
PG_FUNCTION_INFO_V1(pipelines_forecast_open_deals);
PG_FUNCTION_INFO_V1(pipelines_forecast_unpriced);
PG_FUNCTION_INFO_V1(pipelines_forecast_unrated);
PG_FUNCTION_INFO_V1(pipelines_forecast_currency);
PG_FUNCTION_INFO_V1(pipelines_forecast_stddev);
PG_FUNCTION_INFO_V1(pipelines_forecast_quantile);
PG_FUNCTION_INFO_V1(pipelines_forecast_quantiles);
PG_FUNCTION_INFO_V1(pipelines_forecast_chance);
PG_FUNCTION_INFO_V1(pipelines_forecast_outlook);
PG_FUNCTION_INFO_V1(pipelines_forecast_equal);
PG_FUNCTION_INFO_V1(pipelines_forecast_unequal);
PG_FUNCTION_INFO_V1(pipelines_forecast_hash);
PG_FUNCTION_INFO_V1(pipelines_forecast_hash_extended);
PG_FUNCTION_INFO_V1(pipelines_forecast_json);
PG_FUNCTION_INFO_V1(pipelines_forecast_jsonb);

typedef enum DealOutcome
{
	DEAL_OPEN,
	DEAL_ON_HOLD,
	DEAL_WON,
	DEAL_LOST,
	DEAL_CLOSED				/* disqualified, done */
} DealOutcome;

static const int sum_scale[FORECAST_SUMS] = {
	DECIMAL_SCALE, DECIMAL_PRODUCT_SCALE, DECIMAL_SCALE, DECIMAL_SCALE
};

static const char *const count_name[FORECAST_COUNTS] = {
	"deals", "open_deals", "on_hold_deals", "won_deals", "lost_deals",
	"unpriced", "unrated", "unsketched"
};

/* ----------------------------------------------------------------
 *						states
 * ----------------------------------------------------------------
 */

static Forecast *
make_forecast(void)
{
	Forecast   *f = (Forecast *) palloc0(FORECAST_SIZE);

	SET_VARSIZE(f, FORECAST_SIZE);
	f->format = FORECAST_FORMAT;
	for (int i = 0; i < FORECAST_SUMS; i++)
		f->dscale[i] = -1;
	return f;
}

/* A forecast as an argument, aligned and checked, not to be written to. */
static inline Forecast *
get_forecast(Datum datum)
{
	Forecast   *f = (Forecast *) state_argument(datum);

	if (unlikely(VARSIZE(f) < FORECAST_SIZE || f->format != FORECAST_FORMAT))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("invalid value of type %s", "pipelines.forecast")));
	return f;
}

static Forecast *
copy_forecast(const Forecast *f)
{
	Forecast   *copy = (Forecast *) palloc(VARSIZE(f));

	memcpy(copy, f, VARSIZE(f));
	return copy;
}

/*
 * The state that a transition function may write to: the aggregate's own, or
 * a copy when somebody calls the function by hand.
 */
static inline Forecast *
transition_state(FunctionCallInfo fcinfo)
{
	Forecast   *f;

	if (unlikely(PG_ARGISNULL(0)))
		return make_forecast();
	f = get_forecast(PG_GETARG_DATUM(0));
	if (unlikely(!state_is_ours(fcinfo)))
		f = copy_forecast(f);
	return f;
}

/* The odd part of a sum, NULL if there is none. */
static Numeric
odd_part(const Forecast *f, ForecastSum which)
{
	const char *at = (const char *) f + FORECAST_SIZE;

	if ((f->flags & (1 << which)) == 0)
		return NULL;
	for (int i = 0; i < (int) which; i++)
		if (f->flags & (1 << i))
			at += MAXALIGN(VARSIZE(at));
	return (Numeric) at;
}

/*
 * The forecast with another odd part of one sum.  In the current memory
 * context: inside an aggregate the executor copies it to the right one.
 */
static Forecast *
replace_odd_part(const Forecast *f, ForecastSum which, Numeric value)
{
	Numeric		part[FORECAST_SUMS];
	Size		size = FORECAST_SIZE;
	Forecast   *result;
	char	   *at;

	for (int i = 0; i < FORECAST_SUMS; i++)
	{
		part[i] = i == (int) which ? value : odd_part(f, i);
		if (part[i] != NULL)
			size += MAXALIGN(VARSIZE(part[i]));
	}
	result = (Forecast *) palloc0(size);
	memcpy(result, f, FORECAST_SIZE);
	SET_VARSIZE(result, size);
	result->flags |= 1 << which;
	at = (char *) result + FORECAST_SIZE;
	for (int i = 0; i < FORECAST_SUMS; i++)
		if (part[i] != NULL)
		{
			memcpy(at, part[i], VARSIZE(part[i]));
			at += MAXALIGN(VARSIZE(part[i]));
		}
	return result;
}

/* Add a number to the odd part of a sum. */
static Forecast *
add_odd(Forecast *f, ForecastSum which, Numeric value)
{
	Numeric		part = odd_part(f, which);

	if (decimal_is_finite(value))
		f->dscale[which] = Max(f->dscale[which], decimal_dscale(value));
	else
		f->dscale[which] = Max(f->dscale[which], 0);
	if (part != NULL)
		value = decimal_add(part, value);
	return replace_odd_part(f, which, value);
}

/* One of the sums as a numeric; NULL if no row went into it. */
static Numeric
get_sum(const Forecast *f, ForecastSum which)
{
	Numeric		part = odd_part(f, which);
	Numeric		sum;

	if (f->dscale[which] < 0)
		return NULL;
	if (part != NULL && decimal128_is_zero(&f->sum[which]) &&
		(!decimal_is_finite(part) ||
		 decimal_dscale(part) >= f->dscale[which]))
		return part;
	sum = decimal128_to_numeric(&f->sum[which], sum_scale[which],
								Min(f->dscale[which], sum_scale[which]));
	return part != NULL ? decimal_add(sum, part) : sum;
}

/* The weighted sum in units of money; NULL if no row went into it. */
static Numeric
get_weighted(const Forecast *f)
{
	Numeric		sum;

	/* the usual case is cheap: moving the point needs no multiplication */
	if (f->dscale[SUM_WEIGHTED] < 0)
		return NULL;
	if ((f->flags & (1 << SUM_WEIGHTED)) == 0)
		return decimal128_to_numeric(&f->sum[SUM_WEIGHTED],
									 DECIMAL_PRODUCT_SCALE + 2,
									 f->dscale[SUM_WEIGHTED] + 2);
	sum = get_sum(f, SUM_WEIGHTED);
	return decimal_multiply(sum, decimal_hundredth());
}

/* ----------------------------------------------------------------
 *						adding a deal
 * ----------------------------------------------------------------
 */

static void
refuse_outcome(text *outcome)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown outcome \"%s\"", text_to_cstring(outcome)),
			 errhint("An outcome is one of open, on_hold, won, lost, disqualified, done.")));
}

static inline DealOutcome
get_outcome(Datum datum)
{
	text	   *outcome = DatumGetTextPP(datum);
	const char *name = VARDATA_ANY(outcome);

	switch (VARSIZE_ANY_EXHDR(outcome))
	{
		case 3:
			if (memcmp(name, "won", 3) == 0)
				return DEAL_WON;
			break;
		case 4:
			if (memcmp(name, "open", 4) == 0)
				return DEAL_OPEN;
			if (memcmp(name, "lost", 4) == 0)
				return DEAL_LOST;
			if (memcmp(name, "done", 4) == 0)
				return DEAL_CLOSED;
			break;
		case 7:
			if (memcmp(name, "on_hold", 7) == 0)
				return DEAL_ON_HOLD;
			break;
		case 12:
			if (memcmp(name, "disqualified", 12) == 0)
				return DEAL_CLOSED;
			break;
		default:
			break;
	}
	refuse_outcome(outcome);
	return DEAL_CLOSED;		/* keep compiler quiet */
}

static void
refuse_currency(const char *ours, const char *theirs)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("amounts of different currencies can't be added"),
			 errdetail("%s%s%s was followed by %s%s%s.",
					   *ours ? "\"" : "", *ours ? ours : "No named currency", *ours ? "\"" : "",
					   *theirs ? "\"" : "", *theirs ? theirs : "no named currency", *theirs ? "\"" : ""),
			 errhint("Convert the amounts first, or group by currency.")));
}

/*
 * Check the currency of a deal, NULL for none, against the forecast's.  The
 * first deal decides.
 */
static inline void
check_currency(Forecast *f, const char *name, Size size)
{
	char		other[FORECAST_CURRENCY_MAX + 1];

	if (likely(f->count[COUNT_DEALS] > 0 &&
			   size <= FORECAST_CURRENCY_MAX &&
			   memcmp(f->currency, name, size) == 0 &&
			   f->currency[size] == '\0'))
		return;
	if (size > FORECAST_CURRENCY_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION),
				 errmsg("currency \"%.*s\" is too long", (int) size, name),
				 errdetail("A currency has at most %d bytes.",
						   FORECAST_CURRENCY_MAX)));
	memcpy(other, name, size);
	other[size] = '\0';
	if (f->count[COUNT_DEALS] > 0)
		refuse_currency(f->currency, other);
	memcpy(f->currency, other, size + 1);
}

/*
 * An open deal with amount and probability: its cumulants and its place in
 * the sketch.  The number of wins of a deal is a Bernoulli variable with the
 * cumulants p, pq, pq(1-2p), pq(1-6pq) (Johnson, Kemp, Kotz, Univariate
 * Discrete Distributions, 3rd ed., 3.2); cumulants of a sum add up.
 */
static inline void
add_chance(Forecast *f, double amount, double p)
{
	double		pq = p * (1.0 - p);
	double		square = amount * amount;

	f->cumulant[0] += square * pq;
	f->cumulant[1] += square * amount * pq * (1.0 - 2.0 * p);
	f->cumulant[2] += square * square * pq * (1.0 - 6.0 * pq);
	sketch_add(&f->sketch, amount, p);
}

/* An amount, or an amount times a probability, that core must add. */
static Forecast *
add_odd_deal(Forecast *f, DealOutcome outcome, Datum amount_datum,
			 bool has_probability, Datum probability_datum)
{
	Numeric		amount = DatumGetNumeric(amount_datum);

	if (outcome == DEAL_WON)
		return add_odd(f, SUM_WON, amount);
	if (outcome == DEAL_LOST)
		return add_odd(f, SUM_LOST, amount);
	f = add_odd(f, SUM_PIPELINE, amount);
	if (has_probability)
	{
		Numeric		probability = DatumGetNumeric(probability_datum);
		double		value;

		f = add_odd(f, SUM_WEIGHTED, decimal_multiply(amount, probability));
		value = decimal_to_double(amount);
		if (fabs(value) <= SKETCH_LIMIT)
			add_chance(f, value, decimal_to_double(probability) / 100.0);
		else
			f->count[COUNT_UNSKETCHED]++;
	}
	return f;
}

/*
 * Transition function: state, amount, probability in percent, outcome
 * [, currency].
 */
Datum
pipelines_forecast_add(PG_FUNCTION_ARGS)
{
	Forecast   *f;
	DealOutcome outcome;
	int64		amount;
	int64		probability = 0;
	int			ascale;
	int			pscale = 0;
	bool		has_probability;

	if (unlikely(PG_ARGISNULL(3)))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("outcome of a deal must not be null"),
				 errhint("An outcome is one of open, on_hold, won, lost, disqualified, done; leave other rows out with FILTER (WHERE ...).")));
	outcome = get_outcome(PG_GETARG_DATUM(3));
	f = transition_state(fcinfo);

	if (PG_NARGS() > 4 && !PG_ARGISNULL(4))
	{
		text	   *currency = PG_GETARG_TEXT_PP(4);
		Size		size = VARSIZE_ANY_EXHDR(currency);

		if (unlikely(size == 0))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("currency must not be empty"),
					 errhint("Use NULL for the currency that is not named.")));
		check_currency(f, VARDATA_ANY(currency), size);
	}
	else
		check_currency(f, "", 0);

	f->count[COUNT_DEALS]++;
	switch (outcome)
	{
		case DEAL_OPEN:
			f->count[COUNT_OPEN]++;
			break;
		case DEAL_ON_HOLD:
			f->count[COUNT_ON_HOLD]++;
			break;
		case DEAL_WON:
			f->count[COUNT_WON]++;
			break;
		case DEAL_LOST:
			f->count[COUNT_LOST]++;
			break;
		case DEAL_CLOSED:
			break;
	}

	/* a probability must be one, even where it doesn't count */
	has_probability = !PG_ARGISNULL(2);
	if (has_probability)
		probability = probability_from_numeric(PG_GETARG_DATUM(2), &pscale);

	if (PG_ARGISNULL(1))
	{
		f->count[COUNT_UNPRICED]++;
		PG_RETURN_POINTER(f);
	}
	if (outcome == DEAL_ON_HOLD || outcome == DEAL_CLOSED)
		PG_RETURN_POINTER(f);
	if (outcome == DEAL_OPEN && !has_probability)
		f->count[COUNT_UNRATED]++;

	if (unlikely(probability < 0 && outcome == DEAL_OPEN) ||
		unlikely(!decimal_decode(PG_GETARG_DATUM(1), &amount, &ascale)))
		PG_RETURN_POINTER(add_odd_deal(f, outcome, PG_GETARG_DATUM(1),
									   has_probability, PG_GETARG_DATUM(2)));

	if (outcome == DEAL_OPEN)
	{
		decimal128_add_value(&f->sum[SUM_PIPELINE], amount);
		if (ascale > f->dscale[SUM_PIPELINE])
			f->dscale[SUM_PIPELINE] = ascale;
		if (has_probability)
		{
			decimal128_add_product(&f->sum[SUM_WEIGHTED], amount, probability);
			if (ascale + pscale > f->dscale[SUM_WEIGHTED])
				f->dscale[SUM_WEIGHTED] = ascale + pscale;
			/* division, not multiplication: the nearest double */
			add_chance(f, (double) amount / 10000.0,
					   (double) probability / DECIMAL_HUNDRED);
		}
	}
	else
	{
		ForecastSum which = outcome == DEAL_WON ? SUM_WON : SUM_LOST;

		decimal128_add_value(&f->sum[which], amount);
		if (ascale > f->dscale[which])
			f->dscale[which] = ascale;
	}
	PG_RETURN_POINTER(f);
}

/* ----------------------------------------------------------------
 *						combining
 * ----------------------------------------------------------------
 */

/* Add another forecast; the result may be the first or a new one. */
static Forecast *
combine(Forecast *f, const Forecast *other)
{
	Sketch	   *copy = NULL;

	if (other->count[COUNT_DEALS] == 0)
		return f;
	check_currency(f, other->currency, strlen(other->currency));
	for (int i = 0; i < FORECAST_COUNTS; i++)
		f->count[i] += other->count[i];
	if (f->count[COUNT_DEALS] > FORECAST_COUNT_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("forecast out of range")));
	for (int i = 0; i < 3; i++)
		f->cumulant[i] += other->cumulant[i];

	/* the same object on both sides is possible when called by hand */
	if (f == other)
	{
		copy = palloc(sizeof(Sketch));
		memcpy(copy, &other->sketch, sizeof(Sketch));
	}
	sketch_merge(&f->sketch, copy ? copy : &other->sketch);

	for (int i = 0; i < FORECAST_SUMS; i++)
	{
		if (!decimal128_add(&f->sum[i], &other->sum[i]))
			ereport(ERROR,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("forecast out of range")));
		f->dscale[i] = Max(f->dscale[i], other->dscale[i]);
	}
	for (int i = 0; i < FORECAST_SUMS; i++)
	{
		Numeric		part = odd_part(other, i);

		if (part != NULL)
			f = add_odd(f, i, part);
	}
	return f;
}

/* Combine function, and transition function of rollup(). */
Datum
pipelines_forecast_combine(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(1))
	{
		if (PG_ARGISNULL(0))
			PG_RETURN_NULL();
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	}
	if (PG_ARGISNULL(0))
		PG_RETURN_POINTER(copy_forecast(get_forecast(PG_GETARG_DATUM(1))));
	PG_RETURN_POINTER(combine(transition_state(fcinfo),
							  get_forecast(PG_GETARG_DATUM(1))));
}

/* The operator + */
Datum
pipelines_forecast_plus(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(combine(copy_forecast(get_forecast(PG_GETARG_DATUM(0))),
							  get_forecast(PG_GETARG_DATUM(1))));
}

/* ----------------------------------------------------------------
 *						accessors
 * ----------------------------------------------------------------
 */

static Datum
return_sum(FunctionCallInfo fcinfo, ForecastSum which)
{
	Forecast   *f = get_forecast(PG_GETARG_DATUM(0));
	Numeric		sum = which == SUM_WEIGHTED ? get_weighted(f) : get_sum(f, which);

	if (sum == NULL)
		PG_RETURN_NULL();
	PG_RETURN_NUMERIC(sum);
}

Datum
pipelines_forecast_pipeline(PG_FUNCTION_ARGS)
{
	return return_sum(fcinfo, SUM_PIPELINE);
}

Datum
pipelines_forecast_weighted(PG_FUNCTION_ARGS)
{
	return return_sum(fcinfo, SUM_WEIGHTED);
}

Datum
pipelines_forecast_won(PG_FUNCTION_ARGS)
{
	return return_sum(fcinfo, SUM_WON);
}

Datum
pipelines_forecast_lost(PG_FUNCTION_ARGS)
{
	return return_sum(fcinfo, SUM_LOST);
}

Datum
pipelines_forecast_deals(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(get_forecast(PG_GETARG_DATUM(0))->count[COUNT_DEALS]);
}

Datum
pipelines_forecast_open_deals(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(get_forecast(PG_GETARG_DATUM(0))->count[COUNT_OPEN]);
}

Datum
pipelines_forecast_unpriced(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(get_forecast(PG_GETARG_DATUM(0))->count[COUNT_UNPRICED]);
}

Datum
pipelines_forecast_unrated(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(get_forecast(PG_GETARG_DATUM(0))->count[COUNT_UNRATED]);
}

Datum
pipelines_forecast_currency(PG_FUNCTION_ARGS)
{
	Forecast   *f = get_forecast(PG_GETARG_DATUM(0));

	if (f->currency[0] == '\0')
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(f->currency));
}

/* Is there an open deal with amount and probability? */
static inline bool
has_chances(const Forecast *f)
{
	return f->dscale[SUM_WEIGHTED] >= 0;
}

static double
get_stddev(const Forecast *f)
{
	if (f->count[COUNT_UNSKETCHED] > 0)
		return get_float8_nan();
	/* certain deals only, but for rounding */
	return sqrt(Max(f->cumulant[0], 0.0));
}

Datum
pipelines_forecast_stddev(PG_FUNCTION_ARGS)
{
	Forecast   *f = get_forecast(PG_GETARG_DATUM(0));

	if (!has_chances(f))
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(get_stddev(f));
}

/*
 * The distribution of a forecast's open deals.  The last one is kept, since
 * several quantiles of one forecast are the rule: a report asks for p10, p50
 * and p90 in one row.
 */
static const Distribution *
get_distribution(const Forecast *f)
{
	static MemoryContext context = NULL;
	static Sketch sketch;
	static Distribution *last = NULL;
	MemoryContext old_context;

	if (last != NULL && memcmp(&sketch, &f->sketch, sizeof(Sketch)) == 0)
		return last;
	if (context == NULL)
		context = AllocSetContextCreate(TopMemoryContext,
										"pipelines distribution",
										ALLOCSET_DEFAULT_SIZES);
	last = NULL;
	MemoryContextReset(context);
	old_context = MemoryContextSwitchTo(context);
	last = distribution_of(&f->sketch, 0);
	MemoryContextSwitchTo(old_context);
	memcpy(&sketch, &f->sketch, sizeof(Sketch));
	return last;
}

/* A quantile of a forecast that has_chances(); NaN if it isn't known. */
static double
get_quantile(const Forecast *f, double p)
{
	const Distribution *dist;

	/* written so that NaN fails */
	if (!(p >= 0.0 && p <= 1.0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("quantile %g is out of range", p),
				 errdetail("A quantile is asked for by a number from 0 to 1.")));
	if (f->count[COUNT_UNSKETCHED] > 0)
		return get_float8_nan();
	dist = get_distribution(f);
	/* no deal that could bring anything */
	if (dist == NULL)
		return 0.0;
	return distribution_quantile(dist, p);
}

Datum
pipelines_forecast_quantile(PG_FUNCTION_ARGS)
{
	Forecast   *f = get_forecast(PG_GETARG_DATUM(0));
	double		p = PG_GETARG_FLOAT8(1);

	if (!has_chances(f))
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(get_quantile(f, p));
}

/* Several quantiles at once; a null among the numbers stays one. */
Datum
pipelines_forecast_quantiles(PG_FUNCTION_ARGS)
{
	Forecast   *f = get_forecast(PG_GETARG_DATUM(0));
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(1);
	Datum	   *value;
	bool	   *isnull;
	int			n;
	ArrayType  *result;

	if (!has_chances(f))
		PG_RETURN_NULL();
	deconstruct_array(array, FLOAT8OID, sizeof(float8), FLOAT8PASSBYVAL,
					  TYPALIGN_DOUBLE, &value, &isnull, &n);
	for (int i = 0; i < n; i++)
		if (!isnull[i])
			value[i] = Float8GetDatum(get_quantile(f, DatumGetFloat8(value[i])));
	result = construct_md_array(value, isnull, ARR_NDIM(array),
								ARR_DIMS(array), ARR_LBOUND(array),
								FLOAT8OID, sizeof(float8), FLOAT8PASSBYVAL,
								TYPALIGN_DOUBLE);
	PG_RETURN_ARRAYTYPE_P(result);
}

/* Chance that the open deals bring the target or more: 0 to 1. */
Datum
pipelines_forecast_chance(PG_FUNCTION_ARGS)
{
	Forecast   *f = get_forecast(PG_GETARG_DATUM(0));
	double		target = PG_GETARG_FLOAT8(1);
	const Distribution *dist;

	if (isnan(target))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("target must be a number")));
	if (!has_chances(f))
		PG_RETURN_NULL();
	if (f->count[COUNT_UNSKETCHED] > 0)
		PG_RETURN_FLOAT8(get_float8_nan());
	dist = get_distribution(f);
	if (dist == NULL)
		PG_RETURN_FLOAT8(target <= 0.0 ? 1.0 : 0.0);
	PG_RETURN_FLOAT8(distribution_chance(dist, target));
}

/*
 * _outlook(forecast, target): p10, p50, p90, and the chance to reach the
 * target (NULL: not asked for), for reports with thousands of rows.  The more
 * deals, the smaller is the deviation beside the sum, and the coarser the grid
 * may be for the same precision.
 */
Datum
pipelines_forecast_outlook(PG_FUNCTION_ARGS)
{
	static const double wanted[3] = {0.1, 0.5, 0.9};
	Forecast   *f;
	int64		deals;
	Distribution *dist;
	Datum		values[4];
	bool		nulls[4] = {false, false, false, false};
	int			dims[1] = {4};
	int			lower[1] = {1};

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	f = get_forecast(PG_GETARG_DATUM(0));
	if (!has_chances(f))
		PG_RETURN_NULL();
	deals = f->count[COUNT_OPEN];
	nulls[3] = PG_ARGISNULL(1);
	if (f->count[COUNT_UNSKETCHED] > 0)
	{
		for (int i = 0; i < 4; i++)
			values[i] = Float8GetDatum(get_float8_nan());
	}
	else
	{
		double		target = nulls[3] ? 0.0 : PG_GETARG_FLOAT8(1);

		dist = distribution_of(&f->sketch, deals > 250 ? 512 : deals > 60 ? 1024 : 4096);
		for (int i = 0; i < 3; i++)
			values[i] = Float8GetDatum(dist == NULL ? 0.0 : distribution_quantile(dist, wanted[i]));
		values[3] = Float8GetDatum(dist == NULL ? (target <= 0.0 ? 1.0 : 0.0) :
								   distribution_chance(dist, target));
	}
	PG_RETURN_ARRAYTYPE_P(construct_md_array(values, nulls, 1, dims, lower, FLOAT8OID,
											 sizeof(float8), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* ----------------------------------------------------------------
 *						comparison
 * ----------------------------------------------------------------
 */

/*
 * Equal are forecasts whose exact parts are: counts, sums, currency and the
 * largest deals.  Cumulants and classes are floating point sums, whose last
 * digits depend on the order of the deals.
 */
static bool
same_figures(const Forecast *a, const Forecast *b)
{
	if (memcmp(a->count, b->count, sizeof(a->count)) != 0 ||
		strcmp(a->currency, b->currency) != 0 ||
		a->sketch.ndeals != b->sketch.ndeals ||
		memcmp(a->sketch.deals, b->sketch.deals,
			   a->sketch.ndeals * sizeof(SketchDeal)) != 0)
		return false;
	for (int i = 0; i < FORECAST_SUMS; i++)
	{
		Numeric		x = get_sum(a, i);
		Numeric		y = get_sum(b, i);

		if ((x == NULL) != (y == NULL) ||
			(x != NULL && decimal_compare(x, y) != 0))
			return false;
	}
	return true;
}

Datum
pipelines_forecast_equal(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(same_figures(get_forecast(PG_GETARG_DATUM(0)),
						 get_forecast(PG_GETARG_DATUM(1))));
}

Datum
pipelines_forecast_unequal(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(!same_figures(get_forecast(PG_GETARG_DATUM(0)),
						  get_forecast(PG_GETARG_DATUM(1))));
}

/* Hash of a part of what same_figures() compares. */
static uint64
hash_forecast(const Forecast *f, uint64 seed)
{
	uint64		hash = seed;

	hash = hash_combine64(hash, DatumGetUInt64(hash_any_extended((const unsigned char *) f->count,
																 sizeof(f->count), seed)));
	for (int i = 0; i < FORECAST_SUMS; i++)
	{
		Numeric		sum = get_sum(f, i);

		if (sum != NULL)
			hash = hash_combine64(hash,
								  DatumGetUInt64(DirectFunctionCall2(hash_numeric_extended,
																	 NumericGetDatum(sum),
																	 UInt64GetDatum(seed))));
	}
	return hash;
}

Datum
pipelines_forecast_hash(PG_FUNCTION_ARGS)
{
	uint64		hash = hash_forecast(get_forecast(PG_GETARG_DATUM(0)), 0);

	PG_RETURN_INT32((int32) (hash ^ (hash >> 32)));
}

Datum
pipelines_forecast_hash_extended(PG_FUNCTION_ARGS)
{
	Forecast   *f = get_forecast(PG_GETARG_DATUM(0));
	uint64		seed = (uint64) PG_GETARG_INT64(1);
	uint64		hash = hash_forecast(f, seed);

	/* with seed 0 the low half must be that of the plain hash */
	if (seed == 0)
		hash = (hash & ~UINT64CONST(0xFFFFFFFF)) |
			(uint32) (hash ^ (hash >> 32));
	PG_RETURN_INT64((int64) hash);
}

/* ----------------------------------------------------------------
 *						text and binary form
 * ----------------------------------------------------------------
 */

/*
 * Text form, fields separated by '|', numbers in them by blanks:
 *		format
 *		counts, in the order of ForecastCount
 *		sums, in the order of ForecastSum (weighted: amounts times percentages);
 *			'-' if no deal went into it
 *		cumulants
 *		largest deals, each amount:probability
 *		shift, and classes, each amount:deals:sum of p:sum of p squared
 *		currency, up to the end
 * Doubles are written in the shortest form that reads back the same.
 */
static void
append_double(StringInfo text, double value)
{
	char		buffer[DOUBLE_SHORTEST_DECIMAL_LEN];

	double_to_shortest_decimal_buf(value, buffer);
	appendStringInfoString(text, buffer);
}

static const char *
sum_text(const Forecast *f, ForecastSum which)
{
	Numeric		sum = get_sum(f, which);

	return sum == NULL ? "-" : decimal_to_text(sum);
}

Datum
pipelines_forecast_out(PG_FUNCTION_ARGS)
{
	Forecast   *f = get_forecast(PG_GETARG_DATUM(0));
	const Sketch *sketch = &f->sketch;
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, "%d|", FORECAST_FORMAT);
	for (int i = 0; i < FORECAST_COUNTS; i++)
		appendStringInfo(&text, i > 0 ? " " INT64_FORMAT : INT64_FORMAT,
						 f->count[i]);
	for (int i = 0; i < FORECAST_SUMS; i++)
		appendStringInfo(&text, "%c%s", i > 0 ? ' ' : '|', sum_text(f, i));
	for (int i = 0; i < 3; i++)
	{
		appendStringInfoChar(&text, i > 0 ? ' ' : '|');
		append_double(&text, f->cumulant[i]);
	}
	appendStringInfoChar(&text, '|');
	for (int i = 0; i < sketch->ndeals; i++)
	{
		if (i > 0)
			appendStringInfoChar(&text, ' ');
		append_double(&text, sketch->deals[i].amount);
		appendStringInfoChar(&text, ':');
		append_double(&text, sketch->deals[i].probability);
	}
	appendStringInfo(&text, "|%d", sketch->shift);
	for (int i = 0; i < sketch->nclasses; i++)
	{
		appendStringInfoChar(&text, ' ');
		append_double(&text, sketch->classes[i].amount);
		appendStringInfoChar(&text, ':');
		append_double(&text, sketch->classes[i].deals);
		appendStringInfoChar(&text, ':');
		append_double(&text, sketch->classes[i].p);
		appendStringInfoChar(&text, ':');
		append_double(&text, sketch->classes[i].pp);
	}
	appendStringInfo(&text, "|%s", f->currency);
	PG_RETURN_CSTRING(text.data);
}

/* Set a sum from its text, that of a number, or - where there is none. */
static void
set_sum(Forecast **f, ForecastSum which, const char *text)
{
	Numeric		number;

	if (strcmp(text, "-") == 0)
		return;
	number = decimal_from_text(text);
	if (decimal128_from_numeric(number, sum_scale[which], &(*f)->sum[which]))
		(*f)->dscale[which] = decimal_dscale(number);
	else
		*f = add_odd(*f, which, number);
}

/* What is wrong with a forecast that came from outside?  NULL: nothing. */
static const char *
check_forecast(const Forecast *f)
{
	const int64 *count = f->count;
	double		sketched = f->sketch.ndeals;

	for (int i = 0; i < FORECAST_COUNTS; i++)
		if (count[i] < 0 || count[i] > FORECAST_COUNT_MAX)
			return "number of deals";
	if (count[COUNT_OPEN] + count[COUNT_ON_HOLD] + count[COUNT_WON] +
		count[COUNT_LOST] > count[COUNT_DEALS] ||
		count[COUNT_UNPRICED] > count[COUNT_DEALS] ||
		count[COUNT_UNRATED] + count[COUNT_UNSKETCHED] > count[COUNT_OPEN])
		return "number of deals";
	if ((count[COUNT_OPEN] == 0 && f->dscale[SUM_PIPELINE] >= 0) ||
		(f->dscale[SUM_PIPELINE] < 0 && f->dscale[SUM_WEIGHTED] >= 0) ||
		(count[COUNT_WON] == 0 && f->dscale[SUM_WON] >= 0) ||
		(count[COUNT_LOST] == 0 && f->dscale[SUM_LOST] >= 0))
		return "sum";
	for (int i = 0; i < 3; i++)
		if (!(fabs(f->cumulant[i]) <= 1e300))
			return "cumulant";
	if (f->cumulant[0] < 0.0)
		return "cumulant";
	for (int i = 0; i < f->sketch.nclasses; i++)
		sketched += f->sketch.classes[i].deals;
	if (sketched > (double) (count[COUNT_OPEN] - count[COUNT_UNRATED] -
							 count[COUNT_UNSKETCHED]) ||
		(sketched > 0.0 && f->dscale[SUM_WEIGHTED] < 0))
		return "number of deals";
	return sketch_check(&f->sketch);
}

/* Set the currency from its text; false if it can't be one. */
static bool
set_currency(Forecast *f, const char *text)
{
	if (strlen(text) > FORECAST_CURRENCY_MAX)
		return false;
	strlcpy(f->currency, text, sizeof(f->currency));
	return f->currency[0] == '\0' || f->count[COUNT_DEALS] > 0;
}

static void
refuse_text(const char *text, const char *what)
{
	/* it may be long: the beginning is enough to recognise it */
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("invalid input syntax for type %s: \"%.*s%s\"",
					"pipelines.forecast",
					pg_mbcliplen(text, (int) strlen(text), 60), text,
					strlen(text) > 60 ? "..." : ""),
			 errdetail("The %s can't be right.", what)));
}

/* The next field of a text, up to a separator or the end, cut off. */
static char *
next_field(char **at, char separator)
{
	char	   *field = *at;
	char	   *end;

	if (field == NULL)
		return NULL;
	end = strchr(field, separator);
	if (end != NULL)
		*end++ = '\0';
	*at = end;
	return field;
}

/* The next number of a text; false if there is none. */
static bool
next_double(char **at, char separator, double *value)
{
	char	   *field = next_field(at, separator);
	char	   *end;

	if (field == NULL || (*field != '-' && (*field < '0' || *field > '9')))
		return false;
	*value = strtod(field, &end);
	/* not hexadecimal, not infinite */
	return *end == '\0' && end > field && isfinite(*value) &&
		strpbrk(field, "xXnNpP") == NULL;
}

static bool
next_integer(char **at, char separator, int64 *value)
{
	char	   *field = next_field(at, separator);
	char	   *end;

	if (field == NULL || (*field != '-' && (*field < '0' || *field > '9')))
		return false;
	errno = 0;
	*value = strtoll(field, &end, 10);
	return *end == '\0' && end > field && errno == 0;
}

Datum
pipelines_forecast_in(PG_FUNCTION_ARGS)
{
	char	   *text = PG_GETARG_CSTRING(0);
	char	   *rest = pstrdup(text);
	char	   *field;
	Forecast   *f = make_forecast();
	Sketch	   *sketch;
	int64		number;
	const char *problem;

	field = next_field(&rest, '|');
	if (!next_integer(&field, ' ', &number) || number != FORECAST_FORMAT ||
		field != NULL)
		refuse_text(text, "format");

	field = next_field(&rest, '|');
	for (int i = 0; i < FORECAST_COUNTS; i++)
		if (!next_integer(&field, ' ', &f->count[i]))
			refuse_text(text, "number of deals");
	if (field != NULL)
		refuse_text(text, "number of deals");

	field = next_field(&rest, '|');
	for (int i = 0; i < FORECAST_SUMS; i++)
	{
		char	   *sum = next_field(&field, ' ');

		if (sum == NULL)
			refuse_text(text, "sum");
		set_sum(&f, i, sum);
	}
	if (field != NULL)
		refuse_text(text, "sum");

	field = next_field(&rest, '|');
	for (int i = 0; i < 3; i++)
		if (!next_double(&field, ' ', &f->cumulant[i]))
			refuse_text(text, "cumulant");
	if (field != NULL)
		refuse_text(text, "cumulant");

	sketch = &f->sketch;
	field = next_field(&rest, '|');
	if (field == NULL)
		refuse_text(text, "number of fields");
	if (*field == '\0')
		field = NULL;
	while (field != NULL)
	{
		SketchDeal	deal = {0};

		if (sketch->ndeals >= SKETCH_DEALS ||
			!next_double(&field, ':', &deal.amount) ||
			!next_double(&field, ' ', &deal.probability))
			refuse_text(text, "list of the largest deals");
		sketch->deals[sketch->ndeals++] = deal;
	}

	field = next_field(&rest, '|');
	if (!next_integer(&field, ' ', &number) || number < 0 ||
		number > SKETCH_SHIFT_MAX)
		refuse_text(text, "resolution");
	sketch->shift = (int32) number;
	while (field != NULL)
	{
		SketchClass c = {0};

		if (sketch->nclasses >= SKETCH_CLASSES ||
			!next_double(&field, ':', &c.amount) ||
			!next_double(&field, ':', &c.deals) ||
			!next_double(&field, ':', &c.p) ||
			!next_double(&field, ' ', &c.pp))
			refuse_text(text, "list of classes");
		sketch->classes[sketch->nclasses++] = c;
	}

	if (rest == NULL || !set_currency(f, rest))
		refuse_text(text, "currency");
	problem = check_forecast(f);
	if (problem != NULL)
		refuse_text(text, problem);
	PG_RETURN_POINTER(f);
}

/*
 * Binary form: the same in the same order; integers of 16 bits (format,
 * lengths, shift) and 64 bits (counts), sums and currency as text, doubles.
 */
Datum
pipelines_forecast_send(PG_FUNCTION_ARGS)
{
	Forecast   *f = get_forecast(PG_GETARG_DATUM(0));
	const Sketch *sketch = &f->sketch;
	StringInfoData buffer;

	pq_begintypsend(&buffer);
	pq_sendint16(&buffer, FORECAST_FORMAT);
	for (int i = 0; i < FORECAST_COUNTS; i++)
		pq_sendint64(&buffer, (uint64) f->count[i]);
	for (int i = 0; i < FORECAST_SUMS; i++)
		pq_sendstring(&buffer, sum_text(f, i));
	for (int i = 0; i < 3; i++)
		pq_sendfloat8(&buffer, f->cumulant[i]);
	pq_sendint16(&buffer, (uint16) sketch->ndeals);
	for (int i = 0; i < sketch->ndeals; i++)
	{
		pq_sendfloat8(&buffer, sketch->deals[i].amount);
		pq_sendfloat8(&buffer, sketch->deals[i].probability);
	}
	pq_sendint16(&buffer, (uint16) sketch->shift);
	pq_sendint16(&buffer, (uint16) sketch->nclasses);
	for (int i = 0; i < sketch->nclasses; i++)
	{
		pq_sendfloat8(&buffer, sketch->classes[i].amount);
		pq_sendfloat8(&buffer, sketch->classes[i].deals);
		pq_sendfloat8(&buffer, sketch->classes[i].p);
		pq_sendfloat8(&buffer, sketch->classes[i].pp);
	}
	pq_sendstring(&buffer, f->currency);
	PG_RETURN_BYTEA_P(pq_endtypsend(&buffer));
}

static void
refuse_binary(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
			 errmsg("invalid binary form of type %s", "pipelines.forecast"),
			 errdetail("The %s can't be right.", what)));
}

Datum
pipelines_forecast_recv(PG_FUNCTION_ARGS)
{
	StringInfo	buffer = (StringInfo) PG_GETARG_POINTER(0);
	Forecast   *f = make_forecast();
	Sketch	   *sketch;
	int			n;
	const char *problem;

	if (pq_getmsgint(buffer, 2) != FORECAST_FORMAT)
		refuse_binary("format");
	for (int i = 0; i < FORECAST_COUNTS; i++)
		f->count[i] = pq_getmsgint64(buffer);
	for (int i = 0; i < FORECAST_SUMS; i++)
		set_sum(&f, i, pq_getmsgstring(buffer));
	for (int i = 0; i < 3; i++)
		f->cumulant[i] = pq_getmsgfloat8(buffer);
	sketch = &f->sketch;
	n = pq_getmsgint(buffer, 2);
	if (n > SKETCH_DEALS)
		refuse_binary("number of the largest deals");
	sketch->ndeals = n;
	for (int i = 0; i < n; i++)
	{
		sketch->deals[i].amount = pq_getmsgfloat8(buffer);
		sketch->deals[i].probability = pq_getmsgfloat8(buffer);
	}
	n = pq_getmsgint(buffer, 2);
	if (n > SKETCH_SHIFT_MAX)
		refuse_binary("resolution");
	sketch->shift = n;
	n = pq_getmsgint(buffer, 2);
	if (n > SKETCH_CLASSES)
		refuse_binary("number of classes");
	sketch->nclasses = n;
	for (int i = 0; i < n; i++)
	{
		sketch->classes[i].amount = pq_getmsgfloat8(buffer);
		sketch->classes[i].deals = pq_getmsgfloat8(buffer);
		sketch->classes[i].p = pq_getmsgfloat8(buffer);
		sketch->classes[i].pp = pq_getmsgfloat8(buffer);
	}
	if (!set_currency(f, pq_getmsgstring(buffer)))
		refuse_binary("currency");
	problem = check_forecast(f);
	if (problem != NULL)
		refuse_binary(problem);
	PG_RETURN_POINTER(f);
}

/* ----------------------------------------------------------------
 *						all figures by name
 * ----------------------------------------------------------------
 */

static void
append_json_numeric(StringInfo json, const char *name, Numeric value)
{
	appendStringInfo(json, ", \"%s\": ", name);
	if (value == NULL)
		appendStringInfoString(json, "null");
	else if (decimal_is_finite(value))
		appendStringInfoString(json, decimal_to_text(value));
	else
		appendStringInfo(json, "\"%s\"", decimal_to_text(value));
}

static void
append_json_double(StringInfo json, const char *name, double value, bool isnull)
{
	appendStringInfo(json, ", \"%s\": ", name);
	if (isnull)
		appendStringInfoString(json, "null");
	else if (isnan(value))
		appendStringInfoString(json, "\"NaN\"");
	else
		append_double(json, value);
}

static char *
forecast_to_json(const Forecast *f)
{
	bool		isnull = !has_chances(f);
	StringInfoData json;

	initStringInfo(&json);
	for (int i = 0; i < COUNT_UNSKETCHED; i++)
		appendStringInfo(&json, "%s\"%s\": " INT64_FORMAT, i > 0 ? ", " : "{",
						 count_name[i], f->count[i]);
	append_json_numeric(&json, "pipeline", get_sum(f, SUM_PIPELINE));
	append_json_numeric(&json, "weighted", get_weighted(f));
	append_json_numeric(&json, "won", get_sum(f, SUM_WON));
	append_json_numeric(&json, "lost", get_sum(f, SUM_LOST));
	append_json_double(&json, "stddev", isnull ? 0.0 : get_stddev(f), isnull);
	append_json_double(&json, "p10", isnull ? 0.0 : get_quantile(f, 0.1), isnull);
	append_json_double(&json, "p50", isnull ? 0.0 : get_quantile(f, 0.5), isnull);
	append_json_double(&json, "p90", isnull ? 0.0 : get_quantile(f, 0.9), isnull);
	appendStringInfoString(&json, ", \"currency\": ");
	if (f->currency[0] == '\0')
		appendStringInfoString(&json, "null");
	else
		escape_json(&json, f->currency);
	appendStringInfoChar(&json, '}');
	return json.data;
}

Datum
pipelines_forecast_json(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(forecast_to_json(get_forecast(PG_GETARG_DATUM(0)))));
}

Datum
pipelines_forecast_jsonb(PG_FUNCTION_ARGS)
{
	char	   *json = forecast_to_json(get_forecast(PG_GETARG_DATUM(0)));

	PG_RETURN_DATUM(DirectFunctionCall1(jsonb_in, CStringGetDatum(json)));
}
