/*-------------------------------------------------------------------------
 *
 * decimal.c
 *	  Exact decimals: on-disk numeric to 128-bit integers and back.
 *
 * Owns the only knowledge in pipelines of how a numeric is stored, and the
 * calls into core's numeric for whatever does not fit into 128 bits.  The
 * invariant: nothing here rounds.  A number either is decoded exactly, or is
 * left to core.  Must never trust the layout blindly: the first use in a
 * backend decodes a set of numbers that core has just made and compares;
 * should a release ever change the layout, everything goes on working, at
 * core's speed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "values/decimal.h"

int			decimal_layout = 0;

/* digits of the largest 128-bit sum that we make of a numeric: 10^36 < 2^120 */
#define DECIMAL128_DIGITS	36

/* Make a numeric of its text form; anything but a number is an error. */
Numeric
decimal_from_text(const char *text)
{
	return DatumGetNumeric(DirectFunctionCall3(numeric_in,
											   CStringGetDatum(text),
											   ObjectIdGetDatum(InvalidOid),
											   Int32GetDatum(-1)));
}

/* The text form of a numeric, with its display scale. */
char *
decimal_to_text(Numeric value)
{
	return DatumGetCString(DirectFunctionCall1(numeric_out,
											   NumericGetDatum(value)));
}

Numeric
decimal_add(Numeric a, Numeric b)
{
	return DatumGetNumeric(DirectFunctionCall2(numeric_add,
											   NumericGetDatum(a),
											   NumericGetDatum(b)));
}

Numeric
decimal_subtract(Numeric a, Numeric b)
{
	return DatumGetNumeric(DirectFunctionCall2(numeric_sub,
											   NumericGetDatum(a),
											   NumericGetDatum(b)));
}

Numeric
decimal_multiply(Numeric a, Numeric b)
{
	return DatumGetNumeric(DirectFunctionCall2(numeric_mul,
											   NumericGetDatum(a),
											   NumericGetDatum(b)));
}

Numeric
decimal_divide(Numeric a, Numeric b)
{
	return DatumGetNumeric(DirectFunctionCall2(numeric_div,
											   NumericGetDatum(a),
											   NumericGetDatum(b)));
}

/* <0, 0, >0; NaN is equal to itself and larger than everything else */
int
decimal_compare(Numeric a, Numeric b)
{
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp,
											 NumericGetDatum(a),
											 NumericGetDatum(b)));
}

bool
decimal_is_finite(Numeric value)
{
	return !numeric_is_nan(value) && !compat_numeric_is_inf(value);
}

/* Display scale of a finite number. */
int
decimal_dscale(Numeric value)
{
	return DatumGetInt32(DirectFunctionCall1(numeric_scale,
											 NumericGetDatum(value)));
}

/* Nearest double; infinite where a double can't hold the number. */
double
decimal_to_double(Numeric value)
{
	return DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow,
											  NumericGetDatum(value)));
}

/* A number that is needed again and again, kept for the backend's life. */
static Numeric
constant(Numeric *cache, const char *text)
{
	if (*cache == NULL)
	{
		Numeric		value = decimal_from_text(text);

		*cache = (Numeric) MemoryContextAlloc(TopMemoryContext,
											  VARSIZE_ANY(value));
		memcpy(*cache, value, VARSIZE_ANY(value));
		pfree(value);
	}
	return *cache;
}

Numeric
decimal_zero(void)
{
	static Numeric cache = NULL;

	return constant(&cache, "0");
}

Numeric
decimal_hundred(void)
{
	static Numeric cache = NULL;

	return constant(&cache, "100");
}

Numeric
decimal_hundredth(void)
{
	static Numeric cache = NULL;

	return constant(&cache, "0.01");
}

Numeric
decimal_hundredths(int64 value)
{
#ifdef DECIMAL_FAST
	Decimal128	sum = value;

	return decimal128_to_numeric(&sum, 2, 2);
#else
	return decimal_multiply(DatumGetNumeric(DirectFunctionCall1(int8_numeric, Int64GetDatum(value))),
							decimal_hundredth());
#endif
}

#ifdef DECIMAL_FAST

/* groups of a 64-bit number, and of twenty decimals */
#define WHOLE_GROUPS	5
#define DECIMAL_GROUPS	5

/*
 * Store whole + decimals / 10^16 + last_decimals / 10^20 as core does, with
 * twenty decimals shown.
 */
static Numeric
encode(uint64 whole, uint64 decimals, uint32 last_decimals, bool negative)
{
	uint16		group[WHOLE_GROUPS + DECIMAL_GROUPS];
	int			first = 0;
	int			end = WHOLE_GROUPS + DECIMAL_GROUPS;
	uint32		high;
	uint32		low;
	uint16		header;
	int			weight;
	char	   *result;

	/* halves, since 32 bits are divided faster */
	high = (uint32) (decimals / 100000000);
	low = (uint32) (decimals % 100000000);
	group[5] = high / 10000;
	group[6] = high % 10000;
	group[7] = low / 10000;
	group[8] = low % 10000;
	group[9] = last_decimals;
	if (likely(whole < 100000000))
	{
		high = (uint32) whole;
		group[3] = high / 10000;
		group[4] = high % 10000;
		first = 3;
	}
	else
	{
		for (int i = WHOLE_GROUPS - 1; i >= 0; i--)
		{
			group[i] = whole % 10000;
			whole /= 10000;
		}
	}
	while (first < end && group[first] == 0)
		first++;
	while (first < end && group[end - 1] == 0)
		end--;
	weight = WHOLE_GROUPS - 1 - first;
	if (first == end)
	{
		weight = 0;
		negative = false;
	}

	header = 0x8000 | (negative ? 0x2000 : 0) |
		DECIMAL_ENCODED_SCALE << 7 |
		(weight < 0 ? 0x0040 : 0) | (weight & 0x003F);
	result = (char *) palloc(VARHDRSZ + sizeof(uint16) * (1 + end - first));
	SET_VARSIZE(result, VARHDRSZ + sizeof(uint16) * (1 + end - first));
	memcpy(result + VARHDRSZ, &header, sizeof(uint16));
	memcpy(result + VARHDRSZ + sizeof(uint16), &group[first],
		   sizeof(uint16) * (end - first));
	return (Numeric) result;
}

/* Does encode() store the number of the text as core does? */
static bool
encodes_like_core(uint64 whole, uint64 decimals, uint32 last_decimals,
				  bool negative, const char *text)
{
	Numeric		ours = encode(whole, decimals, last_decimals, negative);
	Numeric		theirs = decimal_from_text(text);
	bool		result = VARSIZE_ANY(ours) == VARSIZE_ANY(theirs) &&
		memcmp(ours, theirs, VARSIZE_ANY(ours)) == 0;

	pfree(ours);
	pfree(theirs);
	return result;
}

#endif							/* DECIMAL_FAST */

/*
 * Is a numeric stored as decimal_decode_inline() expects?  Asked once per
 * backend.  The samples cover both header forms, both signs, every number of
 * digit groups, stripped zeroes on either side, and what must be declined.
 */
bool
decimal_layout_is_known(void)
{
#ifdef DECIMAL_FAST
	static const struct
	{
		const char *text;
		bool		fits;
		int64		value;
		int			dscale;
	}			sample[] =
	{
		{"0", true, 0, 0},
		{"0.000", true, 0, 3},
		{"1", true, 10000, 0},
		{"-1", true, -10000, 0},
		{"62.5", true, 625000, 1},
		{"62.50", true, 625000, 2},
		{"100", true, 1000000, 0},
		{"0.0001", true, 1, 4},
		{"-0.1000", true, -1000, 4},
		{"9999.9999", true, 99999999, 4},
		{"10000", true, 100000000, 0},
		{"-480000.25", true, INT64CONST(-4800002500), 2},
		{"100000000", true, INT64CONST(1000000000000), 0},
		{"123456789012.3456", true, INT64CONST(1234567890123456), 4},
		{"1000000000000", true, INT64CONST(10000000000000000), 0},
		{"-921999999999999.9999", true, INT64CONST(-9219999999999999999), 4},
		{"922000000000000", false, 0, 0},
		{"10000000000000000", false, 0, 0},
		{"0.00001", false, 0, 0},
		{"1.00000", false, 0, 0},
		{"0.00000000000000000000000000000000000000000000000000000000000000001", false, 0, 0},
		{"NaN", false, 0, 0}
	};

	if (decimal_layout == 0)
	{
		int			verdict = 1;

		for (int i = 0; i < (int) lengthof(sample); i++)
		{
			Numeric		number = decimal_from_text(sample[i].text);
			int64		value = 0;
			int			dscale = 0;
			bool		fits;

			fits = decimal_decode_inline(NumericGetDatum(number),
										 &value, &dscale);
			if (fits != sample[i].fits ||
				(fits && (value != sample[i].value ||
						  dscale != sample[i].dscale)))
				verdict = -1;
			pfree(number);
		}
		if (!encodes_like_core(0, 0, 0, true, "0.00000000000000000000") ||
			!encodes_like_core(0, 0, 7, true, "-0.00000000000000000007") ||
			!encodes_like_core(0, UINT64CONST(1000000000000), 0, false,
							   "0.00010000000000000000") ||
			!encodes_like_core(1, UINT64CONST(9999000020003), 4000, false,
							   "1.00099990000200034000") ||
			!encodes_like_core(UINT64CONST(123456780000), 0, 0, true,
							   "-123456780000.00000000000000000000") ||
			!encodes_like_core(PG_UINT64_MAX, UINT64CONST(9999999999999999), 9999,
							   false, "18446744073709551615.99999999999999999999"))
			verdict = -1;
		decimal_layout = verdict;
	}
#else
	decimal_layout = -1;
#endif
	return decimal_layout > 0;
}

/* decimal_decode() until the layout has been compared, or where it differs */
bool
decimal_decode_checked(Datum datum, int64 *value, int *dscale)
{
	if (!decimal_layout_is_known())
		return false;
	return decimal_decode_inline(datum, value, dscale);
}

/*
 * A number that is not negative as digits / 10^scale, without trailing zeroes.
 * False where it has more than eighteen digits, or the layout is not known.
 */
bool
decimal_decode_digits(Datum datum, uint64 *digits, int *scale, int *dscale)
{
#ifdef DECIMAL_FAST
	DecimalParts parts;
	uint64		value = 0;
	int			decimals;

	if (!decimal_layout_is_known() || !decimal_take_apart(datum, &parts) ||
		parts.negative || parts.ndigits > 5)
		return false;
	for (int i = 0; i < parts.ndigits; i++)
	{
		uint16		group;

		memcpy(&group, parts.digits + sizeof(uint16) * i, sizeof(group));
		/* room for four more digits */
		if (value > UINT64CONST(100000000000000))
			return false;
		value = value * 10000 + group;
	}
	decimals = (parts.ndigits - 1 - parts.weight) * 4;
	for (; decimals < 0; decimals++)
	{
		if (value > UINT64CONST(100000000000000000))
			return false;
		value *= 10;
	}
	while (decimals > 0 && value % 10 == 0)
	{
		value /= 10;
		decimals--;
	}
	*digits = value;
	*scale = decimals;
	*dscale = parts.dscale;
	return true;
#else
	return false;
#endif
}

/*
 * whole + decimals / 10^16 + last_decimals / 10^20, with twenty decimals shown.
 * Only after a number has been decoded, which says that the layout is known.
 */
Numeric
decimal_encode(uint64 whole, uint64 decimals, uint32 last_decimals, bool negative)
{
#ifdef DECIMAL_FAST
	return encode(whole, decimals, last_decimals, negative);
#else
	elog(ERROR, "numbers are not encoded here");
	return NULL;				/* keep the compiler quiet */
#endif
}

/*
 * value / 10^scale as a numeric that shows dscale <= scale decimals.  The
 * decimals that are not shown must be zeroes.
 */
Numeric
decimal128_to_numeric(const Decimal128 *value, int scale, int dscale)
{
#ifdef DECIMAL_FAST
	char		buffer[64];
	char	   *at = buffer + sizeof(buffer);
	int128		rest = *value;
	uint128		magnitude = rest < 0 ? -(uint128) rest : (uint128) rest;

	Assert(dscale >= 0 && dscale <= scale && scale <= 20);
	for (int i = dscale; i < scale; i++)
	{
		Assert(magnitude % 10 == 0);
		magnitude /= 10;
	}
	*--at = '\0';
	for (int i = 0; i <= dscale || magnitude != 0; i++)
	{
		if (i == dscale && dscale > 0)
			*--at = '.';
		/* divide one word as soon as one word is left */
		if (magnitude <= PG_UINT64_MAX)
		{
			uint64		low = (uint64) magnitude;

			*--at = '0' + (char) (low % 10);
			magnitude = low / 10;
		}
		else
		{
			*--at = '0' + (char) (magnitude % 10);
			magnitude /= 10;
		}
	}
	if (rest < 0)
		*--at = '-';
	return decimal_from_text(at);
#else
	Assert(decimal128_is_zero(value));
	return decimal_round(decimal_zero(), dscale);
#endif
}

/* A number shown with dscale decimals; at most 1000 can be asked for. */
Numeric
decimal_round(Numeric value, int dscale)
{
	return DatumGetNumeric(DirectFunctionCall2(numeric_round,
											   NumericGetDatum(value),
											   Int32GetDatum(dscale)));
}

/*
 * The inverse: false where the number is not finite, has more decimals than
 * scale, or has more than 36 digits at that scale.
 */
bool
decimal128_from_numeric(Numeric value, int scale, Decimal128 *result)
{
#ifdef DECIMAL_FAST
	char	   *text;
	char	   *at;
	int			digits = 0;
	int			decimals = -1;
	bool		negative = false;
	int128		sum = 0;

	if (!decimal_is_finite(value) || decimal_dscale(value) > scale)
		return false;
	text = decimal_to_text(value);
	for (at = text; *at != '\0'; at++)
	{
		if (*at == '-')
			negative = true;
		else if (*at == '.')
			decimals = 0;
		else
		{
			if (++digits > DECIMAL128_DIGITS)
				return false;
			sum = sum * 10 + (*at - '0');
			if (decimals >= 0)
				decimals++;
		}
	}
	for (int i = Max(decimals, 0); i < scale; i++)
	{
		if (++digits > DECIMAL128_DIGITS)
			return false;
		sum *= 10;
	}
	pfree(text);
	*result = negative ? -sum : sum;
	return true;
#else
	return false;
#endif
}

/* sum += value, or false and sum unchanged where that would overflow */
bool
decimal128_add(Decimal128 *sum, const Decimal128 *value)
{
#ifdef DECIMAL_FAST
	/* half the range on either side, so that rows still fit afterwards */
	const int128 limit = ((int128) 1) << 125;
	int128		total;

	if (*sum > limit || *sum < -limit || *value > limit || *value < -limit)
		return false;
	total = *sum + *value;
	if (total > limit || total < -limit)
		return false;
	*sum = total;
#endif
	return true;
}
