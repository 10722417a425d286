/*-------------------------------------------------------------------------
 *
 * money.h
 *	  Currencies, and exchange rates as each backend knows them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PIPELINES_MONEY_H
#define PIPELINES_MONEY_H

#include "fmgr.h"
#include "utils/date.h"
#include "utils/timestamp.h"
#include "values/decimal.h"
#include "values/texts.h"

/* three letters as one number, 0 for anything else; see currency_code() */
typedef uint32 CurrencyCode;

/* decimals of a rate on the fast path */
#define RATE_SCALE			8
/* decimals of a converted amount, at least */
#define CONVERTED_SCALE		DECIMAL_ENCODED_SCALE
/* of a currency that has no minor units */
#define NO_MINOR_UNITS		(-1)

/* a rate of a day */
typedef struct Rate
{
	DateADT		on;
	uint8		scale;			/* decimals without trailing zeroes */
	uint8		digits;			/* of the number without its point */
	uint8		dscale;			/* decimals as stored */
	uint8		shift;			/* see 'inverse' */
	uint64		value;			/* at RATE_SCALE; 0: not on the fast path */
	union
	{
		uint64		inverse;	/* of value * 10^DECIMAL_SCALE << shift */
		Numeric		odd;		/* the rate, where it is not on the fast path */
	}			u;
} Rate;

/* the rate where it is not on the fast path; NULL: it is, or it is the base */
static inline Numeric
rate_odd(const Rate *rate)
{
	return rate->value == 0 ? rate->u.odd : NULL;
}

/* what an amount is multiplied with and divided by */
typedef struct RatePair
{
	const Rate *from;
	const Rate *to;
	DateADT		oldest;			/* the older one of their days */
} RatePair;

/* why there is no rate */
typedef enum RateProblem
{
	RATE_FOUND,
	RATE_MISSING,				/* none on or before the day */
	RATE_TOO_OLD
} RateProblem;

/* the cache's look-up of one pair of currencies; opaque, see rates.c */
typedef struct RatePath RatePath;

/* where a call remembers what it looked up last */
#define RATE_MEMOS	64

typedef struct RateMemo
{
	CurrencyCode from;			/* and a flag, see rates.c */
	CurrencyCode to;
	const RatePath *path;
} RateMemo;

typedef struct RateCall
{
	uint64		epoch;			/* of the cache that 'memos' leads to */
	int			set_size;		/* -1: no set yet */
	char	   *set;
	RateMemo	memos[RATE_MEMOS];
} RateCall;

extern void rates_init(void);
extern RateCall *rates_call(FunctionCallInfo fcinfo);
extern RateProblem rates_find(RateCall *call, const text *set,
							  CurrencyCode from, CurrencyCode to, DateADT on,
							  TimestampTz known_at, RatePair *result);

/* the instant that asks for rates as they are known now */
#define KNOWN_NOW	DT_NOEND

/* A currency as a number; 0 where the text has not three bytes. */
static inline CurrencyCode
currency_code(const text *currency)
{
	const unsigned char *data = (const unsigned char *) VARDATA_ANY(currency);

	if (VARSIZE_ANY_EXHDR(currency) != 3)
		return 0;
	return ((uint32) data[0] << 16) | ((uint32) data[1] << 8) | data[2];
}

/* currencies.c: decimals of a currency of ISO 4217; an error for others */
extern int	currency_minor_units(const text *currency);

/* money.c */
extern Numeric money_convert(Datum amount, const RatePair *rates);
extern Numeric money_round(Numeric amount, int minor_units);

#ifdef DECIMAL_FAST

/* high * 2^64 + low divided by a normalized divisor, by its inverse */
static inline uint64
divide_by_inverse(uint64 high, uint64 low, uint64 divisor, uint64 inverse,
				  uint64 *rest)
{
	uint128		q = (uint128) inverse * high;
	uint64		q1;
	uint64		r;

	q += ((uint128) high << 64) | low;
	q1 = (uint64) (q >> 64) + 1;
	r = low - q1 * divisor;
	if (r > (uint64) q)
	{
		q1--;
		r += divisor;
	}
	if (unlikely(r >= divisor))
	{
		q1++;
		r -= divisor;
	}
	*rest = r;
	return q1;
}

/* A quotient whose decimals are still to come. */
typedef struct Quotient
{
	uint64		whole;
	uint64		rest;			/* shifted, as the divisor */
	uint64		divisor;
	uint64		inverse;
	bool		negative;
} Quotient;

/*
 * Begin amount * to / from, the amount being at DECIMAL_SCALE.  False where
 * the numbers are too large, or have too many digits for what the comment on
 * money_convert() promises.
 */
static pg_attribute_always_inline bool
quotient_begin(Quotient *quotient, int64 amount, const Rate *from, const Rate *to)
{
	uint64		magnitude = amount < 0 ? -(uint64) amount : (uint64) amount;
	int			decimals = DECIMAL_SCALE + to->scale - from->scale;
	uint128		product;
	uint64		high;

	if (unlikely(from->value == 0 || to->value == 0 ||
				 Max(decimals, 8) + from->digits > CONVERTED_SCALE))
		return false;
	product = (uint128) magnitude * to->value;
	if (unlikely((uint64) (product >> 64) >> (63 - from->shift) >> 1 != 0))
		return false;
	product <<= from->shift;
	high = (uint64) (product >> 64);
	quotient->divisor = (from->value * 10000) << from->shift;
	if (unlikely(high >= quotient->divisor))
		return false;
	quotient->inverse = from->u.inverse;
	quotient->negative = amount < 0;
	quotient->whole = divide_by_inverse(high, (uint64) product,
										quotient->divisor, from->u.inverse,
										&quotient->rest);
	return true;
}

/* The next decimals, as many as power (at most 10^16) has zeroes. */
static pg_attribute_always_inline uint64
quotient_decimals(Quotient *quotient, uint64 power)
{
	uint128		product = (uint128) quotient->rest * power;

	return divide_by_inverse((uint64) (product >> 64), (uint64) product,
							 quotient->divisor, quotient->inverse,
							 &quotient->rest);
}

/* Is what remains a half or more? */
static pg_attribute_always_inline bool
quotient_rounds_up(const Quotient *quotient)
{
	return quotient->rest >= quotient->divisor - quotient->rest;
}

#endif							/* DECIMAL_FAST */

#endif							/* PIPELINES_MONEY_H */
