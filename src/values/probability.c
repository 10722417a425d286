/*-------------------------------------------------------------------------
 *
 * probability.c
 *	  The type pipelines.probability: 0 to 100 %, in hundredths of a percent.
 *
 * Owns the type's text and binary form and its casts.  The invariant: a value
 * is an int16 from 0 to 10000, by value; comparison and hashing are therefore
 * int2's own functions, declared in values.sql.  Must never round what
 * somebody typed: more than two decimals are refused (a double has no
 * decimals; only that cast rounds).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "compat.h"
#include "fmgr.h"
#include "libpq/pqformat.h"
#include "utils/builtins.h"
#include "values/decimal.h"

/* 100 % */
#define PROBABILITY_MAX		10000

PG_FUNCTION_INFO_V1(pipelines_probability_in);
PG_FUNCTION_INFO_V1(pipelines_probability_out);
PG_FUNCTION_INFO_V1(pipelines_probability_recv);
PG_FUNCTION_INFO_V1(pipelines_probability_send);
PG_FUNCTION_INFO_V1(pipelines_probability_from_numeric);
PG_FUNCTION_INFO_V1(pipelines_probability_from_integer);
PG_FUNCTION_INFO_V1(pipelines_probability_from_double);
PG_FUNCTION_INFO_V1(pipelines_probability_to_numeric);
PG_FUNCTION_INFO_V1(pipelines_probability_to_double);

#define PROBABILITY_RANGE_DETAIL \
	errdetail("A probability is a percentage from 0 to 100.")
#define PROBABILITY_DECIMALS_DETAIL \
	errdetail("A probability has at most two decimals.")

static inline bool
is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/*
 * Text in: blanks, '62.5' or '62.5%', blanks.  Digits beyond the second
 * decimal must be zeroes.
 */
Datum
pipelines_probability_in(PG_FUNCTION_ARGS)
{
	char	   *text = PG_GETARG_CSTRING(0);
	const char *at = text;
	bool		negative = false;
	bool		precise = true;
	int			digits = 0;
	int			decimals = -1;
	int			value = 0;

	while (is_blank(*at))
		at++;
	if (*at == '+' || *at == '-')
		negative = *at++ == '-';
	for (;; at++)
	{
		if (*at == '.' && decimals < 0)
			decimals = 0;
		else if (*at >= '0' && *at <= '9')
		{
			digits++;
			if (decimals < 2)
			{
				/* saturates far beyond the limit */
				if (value < 1000000)
					value = value * 10 + (*at - '0');
				if (decimals >= 0)
					decimals++;
			}
			else if (*at != '0')
				precise = false;
		}
		else
			break;
	}
	while (is_blank(*at))
		at++;
	if (*at == '%')
		at++;
	while (is_blank(*at))
		at++;
	if (*at != '\0' || digits == 0)
		compat_ereturn(fcinfo->context, (Datum) 0,
					   (errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
						errmsg("invalid input syntax for type %s: \"%s\"",
							   "pipelines.probability", text),
						errhint("Write a percentage such as 62.5 or 62.5%%.")));
	for (int i = Max(decimals, 0); i < 2; i++)
		value *= 10;
	if (value > PROBABILITY_MAX || (negative && (value != 0 || !precise)) ||
		(value == PROBABILITY_MAX && !precise))
		compat_ereturn(fcinfo->context, (Datum) 0,
					   (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
						errmsg("probability \"%s\" is out of range", text),
						PROBABILITY_RANGE_DETAIL));
	if (!precise)
		compat_ereturn(fcinfo->context, (Datum) 0,
					   (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
						errmsg("probability \"%s\" has too many decimals", text),
						PROBABILITY_DECIMALS_DETAIL));
	PG_RETURN_INT16((int16) value);
}

/* Text out: the shortest form, without the sign: '62.5', '100', '0.05'. */
Datum
pipelines_probability_out(PG_FUNCTION_ARGS)
{
	int			value = PG_GETARG_INT16(0);
	int			whole = value / 100;
	int			rest = value % 100;

	if (rest == 0)
		PG_RETURN_CSTRING(psprintf("%d", whole));
	if (rest % 10 == 0)
		PG_RETURN_CSTRING(psprintf("%d.%d", whole, rest / 10));
	PG_RETURN_CSTRING(psprintf("%d.%02d", whole, rest));
}

/* Binary in and out: the hundredths of a percent as a 16-bit integer. */
Datum
pipelines_probability_recv(PG_FUNCTION_ARGS)
{
	StringInfo	buffer = (StringInfo) PG_GETARG_POINTER(0);
	int16		value = (int16) pq_getmsgint(buffer, sizeof(int16));

	if (value < 0 || value > PROBABILITY_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("invalid binary form of type %s",
						"pipelines.probability"),
				 errdetail("%d hundredths of a percent are not between 0 and %d.",
						   value, PROBABILITY_MAX)));
	PG_RETURN_INT16(value);
}

Datum
pipelines_probability_send(PG_FUNCTION_ARGS)
{
	StringInfoData buffer;

	pq_begintypsend(&buffer);
	pq_sendint16(&buffer, (uint16) PG_GETARG_INT16(0));
	PG_RETURN_BYTEA_P(pq_endtypsend(&buffer));
}

/* Complain about a percentage that is not from 0 to 100. */
void
probability_refuse(Numeric value)
{
	ereport(ERROR,
			(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
			 errmsg("probability \"%s\" is out of range",
					decimal_to_text(value)),
			 PROBABILITY_RANGE_DETAIL));
}

/*
 * The unusual cases of probability_from_numeric(): not a probability, or one
 * that needs core's numeric.
 */
int64
probability_from_odd_numeric(Datum datum, int *dscale)
{
	Numeric		number = DatumGetNumeric(datum);

	/* NaN and infinity are greater than 100 */
	if (decimal_compare(number, decimal_zero()) < 0 ||
		decimal_compare(number, decimal_hundred()) > 0)
		probability_refuse(number);
	*dscale = decimal_dscale(number);
	return -1;
}

/* Cast from numeric: nothing is rounded away. */
Datum
pipelines_probability_from_numeric(PG_FUNCTION_ARGS)
{
	Numeric		number = PG_GETARG_NUMERIC(0);
	Numeric		hundredths;
	int32		value;

	if (decimal_compare(number, decimal_zero()) < 0 ||
		decimal_compare(number, decimal_hundred()) > 0)
		probability_refuse(number);
	hundredths = decimal_multiply(number, decimal_hundred());
	value = DatumGetInt32(DirectFunctionCall1(numeric_int4,
											  NumericGetDatum(hundredths)));
	if (decimal_compare(hundredths,
						DatumGetNumeric(DirectFunctionCall1(int4_numeric,
															Int32GetDatum(value)))) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("probability \"%s\" has too many decimals",
						decimal_to_text(number)),
				 PROBABILITY_DECIMALS_DETAIL,
				 errhint("Round it to two decimals first.")));
	PG_RETURN_INT16((int16) value);
}

Datum
pipelines_probability_from_integer(PG_FUNCTION_ARGS)
{
	int32		value = PG_GETARG_INT32(0);

	if (value < 0 || value > 100)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("probability \"%d\" is out of range", value),
				 PROBABILITY_RANGE_DETAIL));
	PG_RETURN_INT16((int16) (value * 100));
}

/* Cast from double precision: rounds to the nearest hundredth. */
Datum
pipelines_probability_from_double(PG_FUNCTION_ARGS)
{
	double		value = PG_GETARG_FLOAT8(0);

	/* written so that NaN fails */
	if (!(value >= 0.0 && value <= 100.0))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("probability \"%s\" is out of range",
						DatumGetCString(DirectFunctionCall1(float8out,
															Float8GetDatum(value)))),
				 PROBABILITY_RANGE_DETAIL));
	PG_RETURN_INT16((int16) rint(value * 100.0));
}

/* Cast to numeric: always two decimals, as a column numeric(5,2) has. */
Datum
pipelines_probability_to_numeric(PG_FUNCTION_ARGS)
{
	int			value = PG_GETARG_INT16(0);
	char		text[16];

	snprintf(text, sizeof(text), "%d.%02d", value / 100, value % 100);
	PG_RETURN_NUMERIC(decimal_from_text(text));
}

Datum
pipelines_probability_to_double(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(PG_GETARG_INT16(0) / 100.0);
}
