/*-------------------------------------------------------------------------
 *
 * money.c
 *	  Conversion of amounts, and the policies that say which day counts.
 *
 * Owns what a converted amount is: amount * rate of the target / rate of its
 * own currency, by one division, not rounded for any practical purpose (see
 * money_convert()).  The invariant: the fast path gives what core's numeric
 * gives, digit by digit.  Must never give an amount where a rate is missing
 * or too old, and never round an amount in the middle of a computation.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "money/money.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"

PG_FUNCTION_INFO_V1(pipelines_convert);
PG_FUNCTION_INFO_V1(pipelines_convert_known);
PG_FUNCTION_INFO_V1(pipelines_rate_on);
PG_FUNCTION_INFO_V1(pipelines_round_money);
PG_FUNCTION_INFO_V1(pipelines_conversion_date);
PG_FUNCTION_INFO_V1(pipelines_conversion_rate_set);
PG_FUNCTION_INFO_V1(pipelines_conversion_known_at);

/* a rate as a numeric, with the decimals that were stored */
static Numeric
rate_numeric(const Rate *rate)
{
#ifdef DECIMAL_FAST
	if (rate_odd(rate) == NULL)
	{
		Decimal128	value = rate->value;
		Numeric		number;

		number = decimal128_to_numeric(&value, RATE_SCALE,
									   Max(rate->scale, Min(rate->dscale, RATE_SCALE)));
		return rate->dscale > RATE_SCALE ? decimal_round(number, rate->dscale) : number;
	}
#endif
	/* the base itself, where nothing is fast */
	return rate_odd(rate) == NULL ? decimal_from_text("1") : rate_odd(rate);
}

/*
 * Decimals of amount * to / from so that rounding the quotient to eight or
 * fewer gives the same as rounding the exact one: with to and from being
 * integers over powers of ten, a quotient that is no tie of eight decimals is
 * at least 1 / (2 * from * 10^decimals) away from one.
 */
static int
converted_scale(int decimals, int digits_of_from)
{
	return Max(CONVERTED_SCALE, Max(decimals, 8) + digits_of_from);
}

/* decimals of a rate, and its digits without the point */
static void
measure_rate(const Rate *rate, int *scale, int *digits)
{
	if (rate_odd(rate) == NULL)
	{
		*scale = rate->scale;
		*digits = Max(rate->digits, 1);
	}
	else
	{
		char	   *text = decimal_to_text(rate_odd(rate));

		*scale = decimal_dscale(rate_odd(rate));
		*digits = (int) strlen(text);
		pfree(text);
	}
}

/*
 * An amount times the rate of the target by the rate of its own currency.
 *
 * The quotient is core's, with twenty decimals, or as many more as it takes
 * for this promise: rounded to at most eight decimals it is the exact quotient
 * rounded once.
 */
Numeric
money_convert(Datum amount, const RatePair *rates)
{
	Numeric		product;
	Numeric		number;
	int			from_scale;
	int			from_digits;
	int			to_scale;
	int			to_digits;
	int			dscale;

#ifdef DECIMAL_FAST
	int64		value;
	Quotient	quotient;

	if (likely(decimal_decode(amount, &value, &dscale) &&
			   quotient_begin(&quotient, value, rates->from, rates->to) &&
			   quotient.whole > 0))
	{
		/*
		 * A whole part, because core shows more decimals of less than 0.0001,
		 * and guesses whether it will be.
		 */
		uint64		whole = quotient.whole;
		uint64		decimals = quotient_decimals(&quotient, UINT64CONST(10000000000000000));
		uint32		last_decimals = (uint32) quotient_decimals(&quotient, 10000);

		if (likely(!quotient_rounds_up(&quotient) ||
				   ++last_decimals < 10000))
			return decimal_encode(whole, decimals, last_decimals, quotient.negative);
	}
#endif

	number = DatumGetNumeric(amount);
	product = decimal_multiply(number, rate_numeric(rates->to));
	if (decimal_is_finite(product))
	{
		measure_rate(rates->from, &from_scale, &from_digits);
		measure_rate(rates->to, &to_scale, &to_digits);
		dscale = converted_scale(decimal_dscale(number) + to_scale - from_scale,
								 from_digits);
		product = decimal_round(product, Max(dscale, decimal_dscale(product)));
	}
	return decimal_divide(product, rate_numeric(rates->from));
}

/* Round to a currency's minor units, if it has any. */
Numeric
money_round(Numeric amount, int minor_units)
{
	if (minor_units == NO_MINOR_UNITS || !decimal_is_finite(amount))
		return amount;
	return decimal_round(amount, minor_units);
}

Datum
pipelines_convert(PG_FUNCTION_ARGS)
{
	const text *from = PG_GETARG_TEXT_PP(1);
	const text *to = PG_GETARG_TEXT_PP(2);
	RatePair	rates;

	if (texts_equal(from, to))
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	if (rates_find(rates_call(fcinfo), PG_GETARG_TEXT_PP(4),
				   currency_code(from), currency_code(to),
				   PG_GETARG_DATEADT(3), KNOWN_NOW, &rates) != RATE_FOUND)
		PG_RETURN_NULL();
	PG_RETURN_NUMERIC(money_convert(PG_GETARG_DATUM(0), &rates));
}

Datum
pipelines_convert_known(PG_FUNCTION_ARGS)
{
	const text *from;
	const text *to;
	RatePair	rates;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2) ||
		PG_ARGISNULL(3) || PG_ARGISNULL(4))
		PG_RETURN_NULL();
	from = PG_GETARG_TEXT_PP(1);
	to = PG_GETARG_TEXT_PP(2);
	if (texts_equal(from, to))
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	if (rates_find(rates_call(fcinfo), PG_GETARG_TEXT_PP(4),
				   currency_code(from), currency_code(to), PG_GETARG_DATEADT(3),
				   PG_ARGISNULL(5) ? KNOWN_NOW : PG_GETARG_TIMESTAMPTZ(5),
				   &rates) != RATE_FOUND)
		PG_RETURN_NULL();
	PG_RETURN_NUMERIC(money_convert(PG_GETARG_DATUM(0), &rates));
}

/*
 * What a conversion would use: rate, oldest day, both rates and their days,
 * or why there is none.
 */
Datum
pipelines_rate_on(PG_FUNCTION_ARGS)
{
	const text *from;
	const text *to;
	TupleDesc	desc;
	Datum		values[7] = {0};
	bool		nulls[7];
	RatePair	rates;
	RateProblem problem;

	memset(nulls, true, sizeof(nulls));
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2) || PG_ARGISNULL(3))
		PG_RETURN_NULL();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	from = PG_GETARG_TEXT_PP(0);
	to = PG_GETARG_TEXT_PP(1);
	if (texts_equal(from, to))
	{
		values[0] = NumericGetDatum(decimal_from_text("1"));
		nulls[0] = false;
	}
	else
	{
		/* get_call_result_type() looks into flinfo, but not at fn_extra */
		problem = rates_find(rates_call(fcinfo), PG_GETARG_TEXT_PP(3),
							 currency_code(from), currency_code(to),
							 PG_GETARG_DATEADT(2),
							 PG_ARGISNULL(4) ? KNOWN_NOW : PG_GETARG_TIMESTAMPTZ(4),
							 &rates);
		if (problem == RATE_FOUND)
		{
			values[0] = NumericGetDatum(money_convert(NumericGetDatum(decimal_from_text("1")),
													  &rates));
			nulls[0] = false;
		}
		if (problem != RATE_MISSING)
		{
			values[1] = DateADTGetDatum(rates.oldest);
			values[2] = NumericGetDatum(rate_numeric(rates.from));
			values[3] = DateADTGetDatum(rates.from->on);
			values[4] = NumericGetDatum(rate_numeric(rates.to));
			values[5] = DateADTGetDatum(rates.to->on);
			memset(&nulls[1], false, 5);
			/* the base has no day of its own */
			nulls[3] = DATE_NOT_FINITE(rates.from->on);
			nulls[5] = DATE_NOT_FINITE(rates.to->on);
		}
		if (problem != RATE_FOUND)
		{
			values[6] = CStringGetTextDatum(problem == RATE_MISSING ? "missing" : "too old");
			nulls[6] = false;
		}
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}

Datum
pipelines_round_money(PG_FUNCTION_ARGS)
{
	PG_RETURN_NUMERIC(money_round(PG_GETARG_NUMERIC(0),
								  currency_minor_units(PG_GETARG_TEXT_PP(1))));
}

/* ----------
 * Policies
 * ----------
 */

typedef enum PolicyKind
{
	POLICY_CLOSE_DATE,
	POLICY_FROZEN,
	POLICY_CREATION,
	POLICY_CURRENT,
	POLICY_FIXED
} PolicyKind;

/* what 'fixed:' consists of */
typedef struct Policy
{
	PolicyKind	kind;
	const char *set;			/* not terminated */
	int			set_size;
	DateADT		day;
} Policy;

#define FIXED		"fixed:"
#define FIXED_SIZE	((int) sizeof(FIXED) - 1)
#define DAY_SIZE	10			/* 2026-12-31 */

static bool
parse_day(const char *text, DateADT *day)
{
	int			number[3] = {0};
	int			part = 0;
	int			i;

	for (i = 0; i < DAY_SIZE; i++)
	{
		if (i == 4 || i == 7)
		{
			if (text[i] != '-')
				return false;
			part++;
		}
		else if (text[i] < '0' || text[i] > '9')
			return false;
		else
			number[part] = number[part] * 10 + text[i] - '0';
	}
	if (number[0] < 1 || number[1] < 1 || number[1] > 12 || number[2] < 1 ||
		number[2] > day_tab[isleap(number[0])][number[1] - 1])
		return false;
	*day = date2j(number[0], number[1], number[2]) - POSTGRES_EPOCH_JDATE;
	return true;
}

static void
parse_policy(const text *policy, Policy *result)
{
	static const struct
	{
		const char *name;
		PolicyKind	kind;
	}			known[] =
	{
		{"close_date", POLICY_CLOSE_DATE},
		{"frozen", POLICY_FROZEN},
		{"creation", POLICY_CREATION},
		{"current", POLICY_CURRENT}
	};
	const char *data = VARDATA_ANY(policy);
	int			size = VARSIZE_ANY_EXHDR(policy);
	int			i;

	for (i = 0; i < (int) lengthof(known); i++)
	{
		if (size == (int) strlen(known[i].name) && memcmp(data, known[i].name, size) == 0)
		{
			result->kind = known[i].kind;
			return;
		}
	}
	/* fixed:<rate set>@<day> */
	result->kind = POLICY_FIXED;
	result->set = data + FIXED_SIZE;
	result->set_size = size - FIXED_SIZE - 1 - DAY_SIZE;
	if (result->set_size < 1 || memcmp(data, FIXED, FIXED_SIZE) != 0 ||
		result->set[result->set_size] != '@' ||
		!parse_day(result->set + result->set_size + 1, &result->day))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown conversion policy \"%s\"", text_to_cstring(policy)),
				 errhint("There are close_date, frozen, creation, current, and fixed:<rate set>@<day>, as in fixed:plan@2026-01-31.")));
}

/* The day whose rates count for a deal. */
Datum
pipelines_conversion_date(PG_FUNCTION_ARGS)
{
	Policy		policy;
	int			argument = 1;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	parse_policy(PG_GETARG_TEXT_PP(0), &policy);
	switch (policy.kind)
	{
		case POLICY_CLOSE_DATE:
		case POLICY_FROZEN:
			if (!PG_ARGISNULL(3))
				argument = 3;
			break;
		case POLICY_CREATION:
			argument = 2;
			break;
		case POLICY_CURRENT:
			break;
		case POLICY_FIXED:
			PG_RETURN_DATEADT(policy.day);
	}
	if (PG_ARGISNULL(argument))
		PG_RETURN_NULL();
	PG_RETURN_DATUM(PG_GETARG_DATUM(argument));
}

/* The rate set that counts for a deal. */
Datum
pipelines_conversion_rate_set(PG_FUNCTION_ARGS)
{
	Policy		policy;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	parse_policy(PG_GETARG_TEXT_PP(0), &policy);
	if (policy.kind == POLICY_FIXED)
		PG_RETURN_TEXT_P(cstring_to_text_with_len(policy.set, policy.set_size));
	if (PG_ARGISNULL(1))
		PG_RETURN_NULL();
	PG_RETURN_DATUM(PG_GETARG_DATUM(1));
}

/* The instant whose knowledge of rates counts for a deal; NULL is now. */
Datum
pipelines_conversion_known_at(PG_FUNCTION_ARGS)
{
	Policy		policy;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	parse_policy(PG_GETARG_TEXT_PP(0), &policy);
	if (policy.kind != POLICY_FROZEN || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	PG_RETURN_DATUM(PG_GETARG_DATUM(1));
}
