/*-------------------------------------------------------------------------
 *
 * forecast.h
 *	  The type pipelines.forecast.
 *
 * See forecast.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PIPELINES_FORECAST_H
#define PIPELINES_FORECAST_H

#include "forecast/distribution.h"
#include "values/decimal.h"

/* changes whenever the struct or its text or binary form does */
#define FORECAST_FORMAT			1

/* bytes of a currency, at most */
#define FORECAST_CURRENCY_MAX	23

/* counts beyond this are refused where a forecast is read or combined */
#define FORECAST_COUNT_MAX		INT64CONST(9007199254740992)

/* what is counted */
typedef enum ForecastCount
{
	COUNT_DEALS,				/* all */
	COUNT_OPEN,
	COUNT_ON_HOLD,
	COUNT_WON,
	COUNT_LOST,
	COUNT_UNPRICED,				/* all without an amount */
	COUNT_UNRATED,				/* open, with an amount, without a probability */
	COUNT_UNSKETCHED			/* open, with an amount that has no sketch */
} ForecastCount;

#define FORECAST_COUNTS			(COUNT_UNSKETCHED + 1)

/* what is summed up, exactly */
typedef enum ForecastSum
{
	SUM_PIPELINE,				/* amounts of open deals */
	SUM_WEIGHTED,				/* the same times their percentage */
	SUM_WON,
	SUM_LOST
} ForecastSum;

#define FORECAST_SUMS			(SUM_LOST + 1)

typedef struct Forecast
{
	int32		vl_len_;		/* varlena header (do not touch directly!) */
	uint16		format;
	uint16		flags;			/* 1 << ForecastSum: it has an odd part */
	int64		count[FORECAST_COUNTS];
	Decimal128	sum[FORECAST_SUMS]; /* see sum_scale[] */
	int16		dscale[FORECAST_SUMS];	/* decimals to show, -1: no row yet */
	double		cumulant[3];	/* second to fourth, of the sum of open deals */
	char		currency[FORECAST_CURRENCY_MAX + 1];	/* empty: not named */
	Sketch		sketch;
	/* odd parts, in order: numerics with a 4-byte header, MAXALIGNed */
	char		tail[FLEXIBLE_ARRAY_MEMBER];
} Forecast;

#define FORECAST_SIZE	MAXALIGN(offsetof(Forecast, tail))

#endif							/* PIPELINES_FORECAST_H */
