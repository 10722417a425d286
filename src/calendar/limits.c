/*-------------------------------------------------------------------------
 *
 * limits.c
 *	  When a limit by the calendar is over, and how many days lie between instants.
 *
 * Owns _limit_over(): the days and months of a limit are those of the calendar
 * where the pipeline is, its hours go by, whatever clocks show.
 *
 * Invariant: the answer is that of
 *
 *		((began AT TIME ZONE zone + date_trunc('day', limit)) AT TIME ZONE zone)
 *			+ (limit - date_trunc('day', limit))
 *
 * which is what is computed wherever it isn't plain: where clocks are changed
 * around the end, where months count, for what is an abbreviation rather than a
 * zone.  And owns _local_days(), which in the same way is
 *
 *		((until AT TIME ZONE zone)::date - (since AT TIME ZONE zone)::date) * interval '24 hours'
 *
 * Reports ask both of each deal, and those functions look for the zone by its
 * name, and for what its clocks show by its rules, each time anew.  _days_between()
 * has no zone: its days have 24 hours.
 *
 * Must never look at the session's time zone.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "calendar/calendar_private.h"
#include "common/int.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/timestamp.h"
#include "values/decimal.h"
#include "values/texts.h"

PG_FUNCTION_INFO_V1(pipelines_limit_over);
PG_FUNCTION_INFO_V1(pipelines_local_days);
PG_FUNCTION_INFO_V1(pipelines_days_between);

/* zones that one place in a query knows at a time */
#define ZONES_KEPT		8

/* plain are limits of no more than a century */
#define PLAIN_DAYS		36525
#define PLAIN_TIME		(PLAIN_DAYS * USECS_PER_DAY)

/* no clock is ever changed by more than a day */
#define CLOCK_MARGIN	(2 * USECS_PER_DAY)

typedef struct NamedZone
{
	text	   *name;
	ZoneTable  *table;			/* NULL: it is no plain zone */
} NamedZone;

typedef struct KnownZones
{
	int			n;
	int			next;			/* the place of the next one */
	NamedZone	zones[ZONES_KEPT];
} KnownZones;

/*
 * Only a name with a slash (Europe/Sofia) is never taken for an abbreviation,
 * which comes first, and of which some are zones, too, with other clocks (CET).
 */
static ZoneTable *
plain_zone(const text *name)
{
	char	   *string = text_to_cstring(name);
	pg_tz	   *tz = NULL;

	if (strcmp(string, "UTC") == 0 ||
		(strchr(string, '/') != NULL && strlen(string) <= TZ_STRLEN_MAX))
		tz = pg_tzset(string);
	pfree(string);
	return tz != NULL ? zone_table(tz) : NULL;
}

static const ZoneTable *
find_zone(FunctionCallInfo fcinfo, text *name)
{
	KnownZones *known = fcinfo->flinfo->fn_extra;
	NamedZone  *zone;
	MemoryContext old_context;

	if (known == NULL)
		known = fcinfo->flinfo->fn_extra = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt,
																  sizeof(KnownZones));
	for (int i = 0; i < known->n; i++)
	{
		zone = &known->zones[i];
		if (texts_equal(zone->name, name))
			return zone->table;
	}

	zone = &known->zones[known->next];
	if (known->next < known->n)
	{
		pfree(zone->name);
		if (zone->table != NULL)
		{
			pfree(zone->table->since);
			pfree(zone->table->ahead);
			pfree(zone->table);
		}
	}
	known->n = Max(known->n, known->next + 1);
	known->next = (known->next + 1) % ZONES_KEPT;
	memset(zone, 0, sizeof(NamedZone));
	old_context = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
	zone->name = cstring_to_text_with_len(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
	zone->table = plain_zone(name);
	MemoryContextSwitchTo(old_context);
	return zone->table;
}

/* as many days later at the same time of the day, where clocks are left alone */
static bool
days_later(const ZoneTable *zone, TimestampTz began, int32 days, TimestampTz *over)
{
	TimestampTz at = began + days * USECS_PER_DAY;
	int64		ahead = zone->ahead[zone_line(zone, began)];
	int			line = zone_line(zone, at);

	if (at >= ZONE_TABLE_END - CLOCK_MARGIN ||
		(line > 0 && at - CLOCK_MARGIN < zone->since[line]) ||
		(line < zone->n - 1 && at + CLOCK_MARGIN >= zone->since[line + 1]))
		return false;
	*over = at + ahead - zone->ahead[line];
	return true;
}

/*
 * pipelines_limit_over(began timestamptz, stall_limit interval, zone text) -> timestamptz
 */
Datum
pipelines_limit_over(PG_FUNCTION_ARGS)
{
	TimestampTz began = PG_GETARG_TIMESTAMPTZ(0);
	Interval   *limit = PG_GETARG_INTERVAL_P(1);
	text	   *name = PG_GETARG_TEXT_PP(2);
	const ZoneTable *zone = find_zone(fcinfo, name);
	TimestampTz over;
	Datum		days;
	Datum		at;

	if (likely(zone != NULL && began >= ZONE_TABLE_BEGIN && began < ZONE_TABLE_END &&
			   limit->month == 0 && limit->day >= 0 && limit->day <= PLAIN_DAYS &&
			   limit->time >= -PLAIN_TIME && limit->time <= PLAIN_TIME &&
			   days_later(zone, began, limit->day, &over)))
		PG_RETURN_TIMESTAMPTZ(over + limit->time);

	days = DirectFunctionCall2(interval_trunc, CStringGetTextDatum("day"), IntervalPGetDatum(limit));
	at = DirectFunctionCall2(timestamptz_zone, PointerGetDatum(name), TimestampTzGetDatum(began));
	at = DirectFunctionCall2(timestamp_pl_interval, at, days);
	at = DirectFunctionCall2(timestamp_zone, PointerGetDatum(name), at);
	return DirectFunctionCall2(timestamptz_pl_interval, at,
							   DirectFunctionCall2(interval_mi, IntervalPGetDatum(limit), days));
}

/* the day of an instant where clocks are known */
static bool
local_day(const ZoneTable *zone, TimestampTz at, int64 *day)
{
	if (zone == NULL || at < ZONE_TABLE_BEGIN || at >= ZONE_TABLE_END)
		return false;
	*day = floor_div(at + zone->ahead[zone_line(zone, at)], USECS_PER_DAY);
	return true;
}

static Datum
date_by_rules(text *name, TimestampTz at)
{
	return DirectFunctionCall1(timestamp_date,
							   DirectFunctionCall2(timestamptz_zone, PointerGetDatum(name),
												   TimestampTzGetDatum(at)));
}

/*
 * pipelines_local_days(since timestamptz, until timestamptz, zone text) -> interval
 */
Datum
pipelines_local_days(PG_FUNCTION_ARGS)
{
	TimestampTz since = PG_GETARG_TIMESTAMPTZ(0);
	TimestampTz until = PG_GETARG_TIMESTAMPTZ(1);
	text	   *name = PG_GETARG_TEXT_PP(2);
	const ZoneTable *zone = find_zone(fcinfo, name);
	Interval   *result = palloc0(sizeof(Interval));
	int64		first;
	int64		last;

	if (likely(local_day(zone, since, &first) && local_day(zone, until, &last)))
		last -= first;
	else
		last = DatumGetInt32(DirectFunctionCall2(date_mi, date_by_rules(name, until), date_by_rules(name, since)));
	result->time = last * USECS_PER_DAY;
	PG_RETURN_INTERVAL_P(result);
}

/* a hundredth of a day */
#define USECS_PER_HUNDREDTH	(USECS_PER_DAY / 100)

/*
 * pipelines_days_between(since timestamptz, until timestamptz) -> numeric
 *		With two decimals, rounded half away from zero; NULL: there is no end.
 */
Datum
pipelines_days_between(PG_FUNCTION_ARGS)
{
	TimestampTz since = PG_GETARG_TIMESTAMPTZ(0);
	TimestampTz until = PG_GETARG_TIMESTAMPTZ(1);
	int64		length;

	if (TIMESTAMP_NOT_FINITE(since) || TIMESTAMP_NOT_FINITE(until))
		PG_RETURN_NULL();
	if (pg_sub_s64_overflow(until, since, &length))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("interval out of range")));
	PG_RETURN_NUMERIC(decimal_hundredths(length / USECS_PER_HUNDREDTH +
										 (length % USECS_PER_HUNDREDTH) / (USECS_PER_HUNDREDTH / 2)));
}
