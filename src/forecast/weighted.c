/*-------------------------------------------------------------------------
 *
 * weighted.c
 *	  The aggregate weighted_forecast and its state, pipelines.weighted_sum.
 *
 * Owns the exact sum of amount * probability.  The invariant: the state
 * always stands for exactly the rows that were added and not removed, and its
 * result is what core's sum(amount * probability) * 0.01 gives, display scale
 * included.  Products that fit are summed up in 128 bits, the others ("odd"
 * ones) in a numeric at the end of the state.  Must never keep anything
 * outside the state: it travels between processes and, with Citus, machines,
 * by its text or binary form.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"
#include "fmgr.h"
#include "forecast/state.h"
#include "libpq/pqformat.h"
#include "utils/builtins.h"
#include "values/decimal.h"

/* changes whenever the struct or its text or binary form does */
#define WEIGHTED_FORMAT		1

/* scales of products that fit: 0 to 8 decimals */
#define WEIGHTED_SCALES		(DECIMAL_PRODUCT_SCALE + 1)

/* counts beyond this are refused where a state is read or combined */
#define WEIGHTED_COUNT_MAX	INT64CONST(9007199254740992)

typedef struct Weighted
{
	int32		vl_len_;		/* varlena header (do not touch directly!) */
	uint16		format;
	uint16		flags;			/* none yet */
	int64		rows[WEIGHTED_SCALES];	/* rows by their product's scale */
	int64		odd;			/* rows in the numeric at the end */
	int64		nans;			/* rows that are not finite */
	int64		plus_infinities;
	int64		minus_infinities;
	int64		widest;			/* odd rows with the largest scale ... */
	int32		widest_scale;	/* ... which is this */
	int32		unused;
	Decimal128	sum;			/* at DECIMAL_PRODUCT_SCALE */
	/* if odd > 0: their sum, a numeric with a 4-byte header */
	char		tail[FLEXIBLE_ARRAY_MEMBER];
} Weighted;

#define WEIGHTED_SIZE	offsetof(Weighted, tail)

PG_FUNCTION_INFO_V1(pipelines_weighted_in);
PG_FUNCTION_INFO_V1(pipelines_weighted_out);
PG_FUNCTION_INFO_V1(pipelines_weighted_recv);
PG_FUNCTION_INFO_V1(pipelines_weighted_send);
PG_FUNCTION_INFO_V1(pipelines_weighted_add);
PG_FUNCTION_INFO_V1(pipelines_weighted_add_probability);
PG_FUNCTION_INFO_V1(pipelines_weighted_remove);
PG_FUNCTION_INFO_V1(pipelines_weighted_remove_probability);
PG_FUNCTION_INFO_V1(pipelines_weighted_combine);
PG_FUNCTION_INFO_V1(pipelines_weighted_result);

static inline Numeric
tail_numeric(Weighted *state)
{
	return (Numeric) state->tail;
}

static Weighted *
make_state(void)
{
	Weighted   *state = (Weighted *) palloc0(WEIGHTED_SIZE);

	SET_VARSIZE(state, WEIGHTED_SIZE);
	state->format = WEIGHTED_FORMAT;
	return state;
}

/* A state as an argument, aligned and checked, not to be written to. */
static inline Weighted *
get_state(Datum datum)
{
	Weighted   *state = (Weighted *) state_argument(datum);

	if (unlikely(VARSIZE(state) < WEIGHTED_SIZE ||
				 state->format != WEIGHTED_FORMAT))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("invalid value of type %s", "pipelines.weighted_sum")));
	return state;
}

static Weighted *
copy_state(const Weighted *state)
{
	Weighted   *copy = (Weighted *) palloc(VARSIZE(state));

	memcpy(copy, state, VARSIZE(state));
	return copy;
}

/*
 * The state that a transition function may write to: the aggregate's own, or
 * a copy when somebody calls the function by hand.
 */
static inline Weighted *
transition_state(FunctionCallInfo fcinfo)
{
	Weighted   *state;

	if (unlikely(PG_ARGISNULL(0)))
		return make_state();
	state = get_state(PG_GETARG_DATUM(0));
	if (unlikely(!state_is_ours(fcinfo)))
		state = copy_state(state);
	return state;
}

/*
 * A state like the given one, with another numeric at the end (NULL: none).
 * In the current memory context: the executor copies it to the aggregate's.
 */
static Weighted *
replace_tail(const Weighted *state, Numeric tail)
{
	Size		size = WEIGHTED_SIZE + (tail ? VARSIZE(tail) : 0);
	Weighted   *result = (Weighted *) palloc(size);

	memcpy(result, state, WEIGHTED_SIZE);
	if (tail)
		memcpy(result->tail, tail, VARSIZE(tail));
	SET_VARSIZE(result, size);
	return result;
}

/* Count a row that is not finite; false if it is finite. */
static bool
count_special(Weighted *state, Numeric product, int64 by)
{
	if (decimal_is_finite(product))
		return false;
	if (numeric_is_nan(product))
		state->nans += by;
	else if (decimal_compare(product, decimal_zero()) > 0)
		state->plus_infinities += by;
	else
		state->minus_infinities += by;
	return true;
}

/* Add a row whose product needs core's numeric. */
static Weighted *
add_odd(Weighted *state, Numeric amount, Numeric probability)
{
	Numeric		product = decimal_multiply(amount, probability);
	int			dscale;

	if (count_special(state, product, 1))
		return state;
	dscale = decimal_dscale(product);
	if (state->odd == 0 || dscale > state->widest_scale)
	{
		state->widest = 1;
		state->widest_scale = dscale;
	}
	else if (dscale == state->widest_scale)
		state->widest++;
	if (state->odd > 0)
		product = decimal_add(tail_numeric(state), product);
	state->odd++;
	return replace_tail(state, product);
}

/*
 * Remove such a row again.  NULL if the display scale of what remains isn't
 * known: then the frame is computed anew, as core's sum() does.
 */
static Weighted *
remove_odd(Weighted *state, Numeric amount, Numeric probability)
{
	Numeric		product = decimal_multiply(amount, probability);

	if (count_special(state, product, -1))
		return state;
	state->odd--;
	if (state->odd == 0)
		return replace_tail(state, NULL);
	if (decimal_dscale(product) == state->widest_scale && --state->widest == 0)
		return NULL;
	return replace_tail(state, decimal_subtract(tail_numeric(state), product));
}

/* One row with the probability as numeric. */
static pg_attribute_always_inline Datum
move_numeric(FunctionCallInfo fcinfo, int sign)
{
	Weighted   *state = transition_state(fcinfo);
	int64		probability;
	int64		amount;
	int			pscale;
	int			ascale;

	if (PG_ARGISNULL(1) || PG_ARGISNULL(2))
		PG_RETURN_POINTER(state);
	probability = probability_from_numeric(PG_GETARG_DATUM(2), &pscale);
	if (likely(probability >= 0 &&
			   decimal_decode(PG_GETARG_DATUM(1), &amount, &ascale)))
	{
		state->rows[ascale + pscale] += sign;
		decimal128_add_product(&state->sum, amount, sign * probability);
	}
	else if (sign > 0)
		state = add_odd(state, PG_GETARG_NUMERIC(1), PG_GETARG_NUMERIC(2));
	else
		state = remove_odd(state, PG_GETARG_NUMERIC(1), PG_GETARG_NUMERIC(2));
	if (state == NULL)
		PG_RETURN_NULL();
	PG_RETURN_POINTER(state);
}

/* One row with the probability as pipelines.probability, two decimals. */
static pg_attribute_always_inline Datum
move_probability(FunctionCallInfo fcinfo, int sign)
{
	Weighted   *state = transition_state(fcinfo);
	int64		amount;
	int			ascale;

	if (PG_ARGISNULL(1) || PG_ARGISNULL(2))
		PG_RETURN_POINTER(state);
	if (likely(decimal_decode(PG_GETARG_DATUM(1), &amount, &ascale)))
	{
		state->rows[ascale + 2] += sign;
		decimal128_add_product(&state->sum, amount,
							   sign * PG_GETARG_INT16(2) * 100);
	}
	else
	{
		char		text[16];
		int			value = PG_GETARG_INT16(2);
		Numeric		probability;

		snprintf(text, sizeof(text), "%d.%02d", value / 100, value % 100);
		probability = decimal_from_text(text);
		if (sign > 0)
			state = add_odd(state, PG_GETARG_NUMERIC(1), probability);
		else
			state = remove_odd(state, PG_GETARG_NUMERIC(1), probability);
	}
	if (state == NULL)
		PG_RETURN_NULL();
	PG_RETURN_POINTER(state);
}

/* Transition functions.  Never NULL: a moving aggregate requires that. */
Datum
pipelines_weighted_add(PG_FUNCTION_ARGS)
{
	return move_numeric(fcinfo, 1);
}

Datum
pipelines_weighted_add_probability(PG_FUNCTION_ARGS)
{
	return move_probability(fcinfo, 1);
}

/* Inverse transition functions.  NULL: start anew. */
Datum
pipelines_weighted_remove(PG_FUNCTION_ARGS)
{
	return move_numeric(fcinfo, -1);
}

Datum
pipelines_weighted_remove_probability(PG_FUNCTION_ARGS)
{
	return move_probability(fcinfo, -1);
}

/* Two states as one. */
Datum
pipelines_weighted_combine(PG_FUNCTION_ARGS)
{
	Weighted   *state;
	Weighted   *other;
	int64		total = 0;

	if (PG_ARGISNULL(1))
	{
		if (PG_ARGISNULL(0))
			PG_RETURN_NULL();
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	}
	other = get_state(PG_GETARG_DATUM(1));
	if (PG_ARGISNULL(0))
		PG_RETURN_POINTER(copy_state(other));
	state = transition_state(fcinfo);

	for (int i = 0; i < WEIGHTED_SCALES; i++)
		total += state->rows[i] += other->rows[i];
	state->nans += other->nans;
	state->plus_infinities += other->plus_infinities;
	state->minus_infinities += other->minus_infinities;
	total += state->nans + state->plus_infinities + state->minus_infinities +
		state->odd + other->odd;
	if (total > WEIGHTED_COUNT_MAX || !decimal128_add(&state->sum, &other->sum))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("weighted sum out of range")));
	if (other->odd > 0)
	{
		Numeric		tail = tail_numeric(other);

		if (state->odd > 0)
			tail = decimal_add(tail_numeric(state), tail);
		if (state->odd == 0 || other->widest_scale > state->widest_scale)
		{
			state->widest = other->widest;
			state->widest_scale = other->widest_scale;
		}
		else if (other->widest_scale == state->widest_scale)
			state->widest += other->widest;
		state->odd += other->odd;
		state = replace_tail(state, tail);
	}
	PG_RETURN_POINTER(state);
}

/* The largest scale of a product that fits; -1 if there is none. */
static int
largest_scale(const Weighted *state)
{
	int			scale = WEIGHTED_SCALES - 1;

	while (scale >= 0 && state->rows[scale] == 0)
		scale--;
	return scale;
}

/* The result: the sum times 0.01, NULL if there was no row. */
Datum
pipelines_weighted_result(PG_FUNCTION_ARGS)
{
	Weighted   *state;
	Numeric		sum = NULL;
	int			scale;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	state = get_state(PG_GETARG_DATUM(0));
	scale = largest_scale(state);
	if (state->nans > 0 ||
		(state->plus_infinities > 0 && state->minus_infinities > 0))
		PG_RETURN_NUMERIC(decimal_from_text("NaN"));
	if (state->plus_infinities > 0)
		PG_RETURN_NUMERIC(decimal_from_text("Infinity"));
	if (state->minus_infinities > 0)
		PG_RETURN_NUMERIC(decimal_from_text("-Infinity"));
	if (state->odd == 0)
	{
		if (scale < 0)
			PG_RETURN_NULL();
		PG_RETURN_NUMERIC(decimal128_to_numeric(&state->sum,
												DECIMAL_PRODUCT_SCALE + 2,
												scale + 2));
	}
	sum = tail_numeric(state);
	if (scale >= 0)
		sum = decimal_add(sum, decimal128_to_numeric(&state->sum,
													 DECIMAL_PRODUCT_SCALE,
													 scale));
	PG_RETURN_NUMERIC(decimal_multiply(sum, decimal_hundredth()));
}

/* ----------
 * Text form: format, nine row counts, nans, infinities, odd, widest,
 * widest_scale, sum, tail; separated by blanks.  The sums are decimal
 * numbers, '-' stands for no tail.
 * ----------
 */
static void
refuse_text(const char *text, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("invalid input syntax for type %s: \"%s\"",
					"pipelines.weighted_sum", text),
			 errdetail("The %s can't be right.", what)));
}

/* What is wrong with a state that came from outside?  NULL: nothing. */
static const char *
check_state(const Weighted *state)
{
	for (int i = 0; i < WEIGHTED_SCALES; i++)
		if (state->rows[i] < 0 || state->rows[i] > WEIGHTED_COUNT_MAX / 16)
			return "number of rows";
	if (state->nans < 0 || state->nans > WEIGHTED_COUNT_MAX / 16 ||
		state->plus_infinities < 0 ||
		state->plus_infinities > WEIGHTED_COUNT_MAX / 16 ||
		state->minus_infinities < 0 ||
		state->minus_infinities > WEIGHTED_COUNT_MAX / 16 ||
		state->odd < 0 || state->odd > WEIGHTED_COUNT_MAX / 16)
		return "number of rows";
	if (state->odd == 0 ? (state->widest != 0 || state->widest_scale != 0) :
		(state->widest < 1 || state->widest > state->odd ||
		 state->widest_scale < 0 || state->widest_scale > 0x3FFF))
		return "scale";
	return NULL;
}

/* Fill in the sums from their text forms; NULL, or what is wrong. */
static const char *
fill_sums(Weighted **state, const char *sum, const char *tail)
{
	Numeric		number = decimal_from_text(sum);
	const char *problem;

	if (!decimal_is_finite(number))
		return "sum";
	problem = check_state(*state);
	if (problem != NULL)
		return problem;
	if (((*state)->odd == 0) != (strcmp(tail, "-") == 0))
		return "sum of the odd rows";
#ifdef DECIMAL_FAST
	if (!decimal128_from_numeric(number, DECIMAL_PRODUCT_SCALE, &(*state)->sum))
		return "sum";
#else
	/* without 128-bit integers all rows are odd */
	{
		int			scale = largest_scale(*state);

		if (scale >= 0 && scale >= (*state)->widest_scale)
		{
			(*state)->widest = (*state)->rows[scale] +
				(scale == (*state)->widest_scale ? (*state)->widest : 0);
			(*state)->widest_scale = scale;
		}
		for (int i = 0; i < WEIGHTED_SCALES; i++)
		{
			(*state)->odd += (*state)->rows[i];
			(*state)->rows[i] = 0;
		}
		if (scale >= 0 && strcmp(tail, "-") != 0)
			tail = decimal_to_text(decimal_add(number, decimal_from_text(tail)));
		else if (scale >= 0)
			tail = sum;
		else if (decimal_compare(number, decimal_zero()) != 0)
			return "sum";
	}
#endif
#ifdef DECIMAL_FAST
	{
		/* nothing behind the decimals that are shown, see largest_scale() */
		int			scale = largest_scale(*state);
		int128		rest = (*state)->sum;

		for (int i = Max(scale, 0); i < DECIMAL_PRODUCT_SCALE; i++)
		{
			if (rest % 10 != 0)
				return "sum";
			rest /= 10;
		}
	}
#endif
	if (largest_scale(*state) < 0 && !decimal128_is_zero(&(*state)->sum))
		return "sum";
	if ((*state)->odd > 0)
	{
		number = decimal_from_text(tail);
		if (!decimal_is_finite(number) ||
			decimal_dscale(number) != (*state)->widest_scale)
			return "sum of the odd rows";
		*state = replace_tail(*state, number);
	}
	return NULL;
}

/* The numbers before the sums, in the order of the text and binary forms */
#define WEIGHTED_NUMBERS	(WEIGHTED_SCALES + 6)

static int64
get_number(const Weighted *state, int i)
{
	if (i < WEIGHTED_SCALES)
		return state->rows[i];
	switch (i - WEIGHTED_SCALES)
	{
		case 0:
			return state->nans;
		case 1:
			return state->plus_infinities;
		case 2:
			return state->minus_infinities;
		case 3:
			return state->odd;
		case 4:
			return state->widest;
		default:
			return state->widest_scale;
	}
}

static void
set_number(Weighted *state, int i, int64 value)
{
	if (i < WEIGHTED_SCALES)
		state->rows[i] = value;
	else
		switch (i - WEIGHTED_SCALES)
		{
			case 0:
				state->nans = value;
				break;
			case 1:
				state->plus_infinities = value;
				break;
			case 2:
				state->minus_infinities = value;
				break;
			case 3:
				state->odd = value;
				break;
			case 4:
				state->widest = value;
				break;
			default:
				state->widest_scale =
					(value < 0 || value > PG_INT32_MAX) ? -1 : (int32) value;
				break;
		}
}

static char *
sum_text(const Weighted *state)
{
	return decimal_to_text(decimal128_to_numeric(&state->sum,
												 DECIMAL_PRODUCT_SCALE,
												 Max(largest_scale(state), 0)));
}

Datum
pipelines_weighted_out(PG_FUNCTION_ARGS)
{
	Weighted   *state = get_state(PG_GETARG_DATUM(0));
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, "%d", WEIGHTED_FORMAT);
	for (int i = 0; i < WEIGHTED_NUMBERS; i++)
		appendStringInfo(&text, " " INT64_FORMAT, get_number(state, i));
	appendStringInfo(&text, " %s %s", sum_text(state),
					 state->odd > 0 ? decimal_to_text(tail_numeric(state)) : "-");
	PG_RETURN_CSTRING(text.data);
}

Datum
pipelines_weighted_in(PG_FUNCTION_ARGS)
{
	char	   *text = PG_GETARG_CSTRING(0);
	char	   *at = pstrdup(text);
	char	   *word[WEIGHTED_NUMBERS + 3];
	Weighted   *state = make_state();
	const char *problem;
	int			words = 0;

	/* cut at single blanks */
	word[words++] = at;
	for (; *at != '\0'; at++)
		if (*at == ' ')
		{
			if (words == (int) lengthof(word))
				refuse_text(text, "number of fields");
			*at = '\0';
			word[words++] = at + 1;
		}
	if (words != (int) lengthof(word))
		refuse_text(text, "number of fields");
	if (strcmp(word[0], "1") != 0)
		refuse_text(text, "format");
	for (int i = 0; i < WEIGHTED_NUMBERS; i++)
	{
		char	   *end;
		int64		value;

		errno = 0;
		value = strtoll(word[i + 1], &end, 10);
		if (errno != 0 || end == word[i + 1] || *end != '\0')
			refuse_text(text, "number of rows");
		set_number(state, i, value);
	}
	problem = fill_sums(&state, word[WEIGHTED_NUMBERS + 1],
						word[WEIGHTED_NUMBERS + 2]);
	if (problem != NULL)
		refuse_text(text, problem);
	PG_RETURN_POINTER(state);
}

/* Binary form: format (16 bits), the numbers (64 bits each), the sums as text */
Datum
pipelines_weighted_send(PG_FUNCTION_ARGS)
{
	Weighted   *state = get_state(PG_GETARG_DATUM(0));
	StringInfoData buffer;

	pq_begintypsend(&buffer);
	pq_sendint16(&buffer, WEIGHTED_FORMAT);
	for (int i = 0; i < WEIGHTED_NUMBERS; i++)
		pq_sendint64(&buffer, (uint64) get_number(state, i));
	pq_sendstring(&buffer, sum_text(state));
	pq_sendstring(&buffer, state->odd > 0 ?
				  decimal_to_text(tail_numeric(state)) : "-");
	PG_RETURN_BYTEA_P(pq_endtypsend(&buffer));
}

Datum
pipelines_weighted_recv(PG_FUNCTION_ARGS)
{
	StringInfo	buffer = (StringInfo) PG_GETARG_POINTER(0);
	Weighted   *state = make_state();
	const char *sum;
	const char *tail;
	const char *problem = NULL;

	if (pq_getmsgint(buffer, 2) != WEIGHTED_FORMAT)
		problem = "format";
	else
	{
		for (int i = 0; i < WEIGHTED_NUMBERS; i++)
			set_number(state, i, pq_getmsgint64(buffer));
		sum = pq_getmsgstring(buffer);
		tail = pq_getmsgstring(buffer);
		problem = fill_sums(&state, sum, tail);
	}
	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("invalid binary form of type %s",
						"pipelines.weighted_sum"),
				 errdetail("The %s can't be right.", problem)));
	PG_RETURN_POINTER(state);
}
