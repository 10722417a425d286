/*-------------------------------------------------------------------------
 *
 * decimal.h
 *	  Exact decimals: on-disk numeric to 128-bit integers and back.
 *
 * See decimal.c for what is promised.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PIPELINES_DECIMAL_H
#define PIPELINES_DECIMAL_H

#include "compat.h"
#include "fmgr.h"
#include "utils/numeric.h"

/* decimals of an amount, and of a probability in percent, on the fast path */
#define DECIMAL_SCALE			4
/* decimals of their product */
#define DECIMAL_PRODUCT_SCALE	8
/* decimals that decimal_encode() shows */
#define DECIMAL_ENCODED_SCALE	20
/* 100 % at DECIMAL_SCALE */
#define DECIMAL_HUNDRED			1000000

/*
 * A 128-bit sum.  Where the compiler has no such integer the fast path is
 * never taken and the sum stays zero, so that states keep their layout.
 */
#if defined(HAVE_INT128) && !defined(PIPELINES_NO_INT128)
#define DECIMAL_FAST 1
typedef int128 Decimal128;
#else
typedef struct Decimal128
{
	int64		word[2];
} Decimal128;
#endif

extern bool decimal_decode_checked(Datum datum, int64 *value, int *dscale);
extern bool decimal_layout_is_known(void);
extern bool decimal_decode_digits(Datum datum, uint64 *digits, int *scale,
								  int *dscale);
extern Numeric decimal_encode(uint64 whole, uint64 decimals,
							  uint32 last_decimals, bool negative);

extern Numeric decimal_from_text(const char *text);
extern char *decimal_to_text(Numeric value);
extern Numeric decimal_add(Numeric a, Numeric b);
extern Numeric decimal_subtract(Numeric a, Numeric b);
extern Numeric decimal_multiply(Numeric a, Numeric b);
extern Numeric decimal_divide(Numeric a, Numeric b);
extern Numeric decimal_round(Numeric value, int dscale);
extern int	decimal_compare(Numeric a, Numeric b);
extern int	decimal_dscale(Numeric value);
extern bool decimal_is_finite(Numeric value);
extern double decimal_to_double(Numeric value);
extern Numeric decimal_zero(void);
extern Numeric decimal_hundred(void);
extern Numeric decimal_hundredth(void);
/* so many hundredths, with two decimals */
extern Numeric decimal_hundredths(int64 value);

extern Numeric decimal128_to_numeric(const Decimal128 *value, int scale,
									 int dscale);
extern bool decimal128_from_numeric(Numeric value, int scale,
									Decimal128 *result);
extern bool decimal128_add(Decimal128 *sum, const Decimal128 *value);

extern int64 probability_from_odd_numeric(Datum datum, int *dscale);
extern void probability_refuse(Numeric value);

#ifdef DECIMAL_FAST

/* The parts of a finite numeric, as they are stored. */
typedef struct DecimalParts
{
	bool		negative;
	int			dscale;
	int			weight;			/* of the first group, in groups */
	int			ndigits;		/* groups of four digits */
	const char *digits;
} DecimalParts;

/*
 * Take a numeric apart; false where it is not finite.  No memory is allocated
 * unless the datum is toasted.
 *
 * The layout read here is private to numeric.c but is its on-disk format,
 * which pg_upgrade depends on: a header of 16 bits (short form, tagged by
 * 0x8000) or 32 bits, then base-10000 digits, without leading or trailing
 * zeroes.  It is compared with core once per backend (see decimal.c).
 */
static pg_attribute_always_inline bool
decimal_take_apart(Datum datum, DecimalParts *parts)
{
	struct varlena *raw = (struct varlena *) DatumGetPointer(datum);
	const char *data;
	int			size;
	uint16		header;

	if (unlikely(VARATT_IS_EXTENDED(raw) && !VARATT_IS_SHORT(raw)))
		raw = pg_detoast_datum_packed(raw);
	data = VARDATA_ANY(raw);
	size = (int) VARSIZE_ANY_EXHDR(raw);

	memcpy(&header, data, sizeof(header));
	if (likely((header & 0xC000) == 0x8000))
	{
		parts->negative = (header & 0x2000) != 0;
		parts->dscale = (header & 0x1F80) >> 7;
		parts->weight = (header & 0x003F) | ((header & 0x0040) ? ~0x003F : 0);
		data += sizeof(uint16);
		size -= sizeof(uint16);
	}
	else if ((header & 0xC000) != 0xC000)
	{
		int16		long_weight;

		memcpy(&long_weight, data + sizeof(uint16), sizeof(long_weight));
		parts->negative = (header & 0xC000) == 0x4000;
		parts->dscale = header & 0x3FFF;
		parts->weight = long_weight;
		data += 2 * sizeof(uint16);
		size -= 2 * sizeof(uint16);
	}
	else
		return false;			/* NaN, infinity */
	parts->ndigits = size / (int) sizeof(uint16);
	parts->digits = data;
	return true;
}

#endif							/* DECIMAL_FAST */

/* ----------
 * Decode a numeric into an integer of DECIMAL_SCALE decimals.
 *
 * Returns false, and promises nothing about the results, where the number
 * is not finite, has more than four decimals, or is too large for the fast
 * path; the caller then computes with core's numeric.  No memory is
 * allocated unless the datum is toasted.
 * ----------
 */
static pg_attribute_always_inline bool
decimal_decode_inline(Datum datum, int64 *value, int *dscale)
{
#ifdef DECIMAL_FAST
	static const int64 power[] = {1, INT64CONST(10000), INT64CONST(100000000),
	INT64CONST(1000000000000), INT64CONST(10000000000000000)};
	DecimalParts parts;
	const char *data;
	uint16		digit;
	int			weight;
	int			ndigits;
	int64		v;

	if (unlikely(!decimal_take_apart(datum, &parts)))
		return false;
	*dscale = parts.dscale;
	weight = parts.weight;
	ndigits = parts.ndigits;
	data = parts.digits;

	if (unlikely(*dscale > DECIMAL_SCALE))
		return false;
	if (unlikely(ndigits == 0))
	{
		*value = 0;
		return true;
	}
	/* at most four groups before the point, and one after it */
	if (unlikely(weight > 3 || ndigits > weight + 2))
		return false;

	memcpy(&digit, data, sizeof(digit));
	v = digit;

	/*
	 * 922 * 10^16 is within 64 bits; with all digit groups present the first
	 * one decides.
	 */
	if (unlikely(weight == 3 && v >= 922))
		return false;
	switch (ndigits)
	{
		case 5:
			memcpy(&digit, data + 2, sizeof(digit));
			v = v * 10000 + digit;
			data += 2;
			compat_fallthrough;
			/* FALLTHROUGH */
		case 4:
			memcpy(&digit, data + 2, sizeof(digit));
			v = v * 10000 + digit;
			data += 2;
			compat_fallthrough;
			/* FALLTHROUGH */
		case 3:
			memcpy(&digit, data + 2, sizeof(digit));
			v = v * 10000 + digit;
			data += 2;
			compat_fallthrough;
			/* FALLTHROUGH */
		case 2:
			memcpy(&digit, data + 2, sizeof(digit));
			v = v * 10000 + digit;
			compat_fallthrough;
			/* FALLTHROUGH */
		default:
			break;
	}
	v *= power[weight + 2 - ndigits];
	*value = parts.negative ? -v : v;
	return true;
#else
	return false;
#endif
}

/* 0: not compared with core yet, 1: as expected, -1: another layout */
extern int	decimal_layout;

static pg_attribute_always_inline bool
decimal_decode(Datum datum, int64 *value, int *dscale)
{
	if (likely(decimal_layout > 0))
		return decimal_decode_inline(datum, value, dscale);
	return decimal_decode_checked(datum, value, dscale);
}

/*
 * Check a percentage given as numeric, and return it at DECIMAL_SCALE.
 *
 * Returns -1 where it is a probability that only core's numeric can compute
 * with (more than four decimals).  *dscale is its display scale.
 */
static pg_attribute_always_inline int64
probability_from_numeric(Datum datum, int *dscale)
{
	int64		value;

	if (likely(decimal_decode(datum, &value, dscale) &&
			   value >= 0 && value <= DECIMAL_HUNDRED))
		return value;
	return probability_from_odd_numeric(datum, dscale);
}

/* sum += value; value and what may be summed up in a lifetime leave room */
static inline void
decimal128_add_value(Decimal128 *sum, int64 value)
{
#ifdef DECIMAL_FAST
	*sum += value;
#endif
}

/* sum += value * factor */
static inline void
decimal128_add_product(Decimal128 *sum, int64 value, int64 factor)
{
#ifdef DECIMAL_FAST
	*sum += (int128) value * factor;
#endif
}

static inline bool
decimal128_is_zero(const Decimal128 *sum)
{
#ifdef DECIMAL_FAST
	return *sum == 0;
#else
	return true;
#endif
}

#endif							/* PIPELINES_DECIMAL_H */
