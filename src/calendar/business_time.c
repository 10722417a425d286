/*-------------------------------------------------------------------------
 *
 * business_time.c
 *	  Business time and business days.
 *
 * Owns their arithmetic.  Business time between two instants is the
 * time for which the clocks of the calendar's time zone show business hours
 * of a day that is no holiday.  So an hour that the clocks show twice counts
 * twice, and one that they leave out does not count.
 *
 * As long as the clocks are not changed, local time is an addition, and what
 * lies before a local time is whole weeks, the days of the week before it, the
 * holidays before it and a part of its day, all of them summed up by
 * calendar.c.  So the work grows with the number of changes of the clocks,
 * not with that of days.
 *
 * Must never look at the session's time zone.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "calendar/calendar_private.h"
#include "compat.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(pipelines_business_time);
PG_FUNCTION_INFO_V1(pipelines_business_days);
PG_FUNCTION_INFO_V1(pipelines_add_business_time);
PG_FUNCTION_INFO_V1(pipelines_add_business_days);

/* days that are looked through at most, in either direction: 10,000 years */
#define MAX_DAYS		3652425

/*
 * The calendar, given as argument 'number', from one row to the next.
 */
typedef struct CalendarLookup
{
	uint64		generation;		/* 0: none yet */
	bool		is_stable;
	CalendarDef *calendar;
} CalendarLookup;

static CalendarDef *
calendar_argument(FunctionCallInfo fcinfo, int number)
{
	CalendarLookup *lookup = (CalendarLookup *) fcinfo->flinfo->fn_extra;

	if (likely(lookup != NULL && lookup->is_stable &&
			   lookup->generation == calendar_generation()))
		return lookup->calendar;
	if (lookup == NULL)
	{
		lookup = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(CalendarLookup));
		lookup->is_stable = get_fn_expr_arg_stable(fcinfo->flinfo, number);
		fcinfo->flinfo->fn_extra = lookup;
	}
	lookup->generation = 0;
	lookup->calendar = calendar_named(PG_ARGISNULL(number) ? NULL : PG_GETARG_TEXT_PP(number));
	lookup->generation = calendar_generation();
	return lookup->calendar;
}

/* how many holidays, of those that fall on business days, are before the day? */
static int
holidays_before(const CalendarDef *calendar, int64 day)
{
	int			low = 0;
	int			high = calendar->nholidays;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (calendar->holidays[middle] < day)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/*
 * Business time before a local time, counted from some day that is always the
 * same: only differences mean anything.
 */
static int64
time_before(const CalendarDef *calendar, int64 local)
{
	int64		day = floor_div(local, USECS_PER_DAY);
	int64		in_day = local - day * USECS_PER_DAY;
	int64		week = floor_div(day - 2, 7);
	const BusinessDay *weekday = &calendar->week[day - 2 - 7 * week];
	int			holidays = holidays_before(calendar, day);
	int64		result = week * calendar->week_total + weekday->before;

	if (calendar->nholidays > 0)
		result -= calendar->holiday_time[holidays];
	if (holidays < calendar->nholidays && calendar->holidays[holidays] == day)
		return result;
	for (int i = 0; i < weekday->n && weekday->spans[i].opens < in_day; i++)
		result += Min(in_day, weekday->spans[i].closes) - weekday->spans[i].opens;
	return result;
}

/* the same in business days, before the beginning of a day */
static int64
days_before(const CalendarDef *calendar, int64 day)
{
	int64		week = floor_div(day - 2, 7);

	return week * calendar->week_days + calendar->week[day - 2 - 7 * week].days_before -
		holidays_before(calendar, day);
}

/* from <= to */
static int64
time_between(CalendarDef *calendar, TimestampTz from, TimestampTz to)
{
	const ZoneTable *zone = calendar_zone(calendar);
	int			line = zone_line(zone, from);
	int64		result = 0;

	for (;;)
	{
		TimestampTz until = line + 1 < zone->n && zone->since[line + 1] < to ?
			zone->since[line + 1] : to;

		result += time_before(calendar, until + zone->ahead[line]) -
			time_before(calendar, from + zone->ahead[line]);
		if (until == to)
			return result;
		from = until;
		line++;
	}
}

static void
require_finite(bool finite)
{
	if (!finite)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("business time up to infinity can't be told"),
				 errhint("Give a finite instant or day.")));
}

/*
 * business_time("from" timestamptz, "to" timestamptz, calendar text)
 */
Datum
pipelines_business_time(PG_FUNCTION_ARGS)
{
	TimestampTz from;
	TimestampTz to;
	CalendarDef *calendar;
	Interval   *result;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	from = PG_GETARG_TIMESTAMPTZ(0);
	to = PG_GETARG_TIMESTAMPTZ(1);
	require_finite(!TIMESTAMP_NOT_FINITE(from) && !TIMESTAMP_NOT_FINITE(to));
	calendar = calendar_argument(fcinfo, 2);
	result = palloc0(sizeof(Interval));
	result->time = from <= to ? time_between(calendar, from, to) :
		-time_between(calendar, to, from);
	PG_RETURN_INTERVAL_P(result);
}

/*
 * business_days("from" date, "to" date, calendar text)
 */
Datum
pipelines_business_days(PG_FUNCTION_ARGS)
{
	DateADT		from;
	DateADT		to;
	CalendarDef *calendar;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	from = PG_GETARG_DATEADT(0);
	to = PG_GETARG_DATEADT(1);
	require_finite(!DATE_NOT_FINITE(from) && !DATE_NOT_FINITE(to));
	calendar = calendar_argument(fcinfo, 2);
	PG_RETURN_INT32((int32) (days_before(calendar, to) - days_before(calendar, from)));
}

static void
refuse_without_hours(const CalendarDef *calendar, bool found)
{
	if (found)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
			 errmsg("fiscal calendar \"%s\" has no such business time within 10000 years",
					calendar->name),
			 errhint("Look at pipelines.business_hours and pipelines.holiday.")));
}

/*
 * add_business_time("from" timestamptz, duration interval, calendar text)
 *
 * The first instant up to which that much business time has passed; of a
 * negative duration, the last one since which it has.  Business time never
 * goes back, so that the instant is searched for between two that enclose it.
 */
Datum
pipelines_add_business_time(PG_FUNCTION_ARGS)
{
	TimestampTz from;
	Interval   *duration;
	CalendarDef *calendar;
	int64		wanted;
	int64		low = 0;		/* too little */
	int64		high = USECS_PER_DAY;	/* enough */
	bool		back;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	from = PG_GETARG_TIMESTAMPTZ(0);
	duration = PG_GETARG_INTERVAL_P(1);
	require_finite(!TIMESTAMP_NOT_FINITE(from));
	if (duration->month != 0 || duration->day != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("business time is told in hours, minutes and seconds"),
				 errdetail("How long a day or a month is depends on the calendar."),
				 errhint("Use pipelines.add_business_days() for days.")));
	calendar = calendar_argument(fcinfo, 2);
	back = duration->time < 0;
	wanted = back ? -duration->time : duration->time;
	if (wanted == 0)
		PG_RETURN_TIMESTAMPTZ(from);

#define PASSED(away) \
	(back ? time_between(calendar, from - (away), from) : \
	 time_between(calendar, from, from + (away)))
	while (high < (int64) MAX_DAYS * USECS_PER_DAY && PASSED(high) < wanted)
	{
		low = high;
		high *= 2;
	}
	refuse_without_hours(calendar, PASSED(high) >= wanted);
	while (high - low > 1)
	{
		int64		middle = low + (high - low) / 2;

		if (PASSED(middle) < wanted)
			low = middle;
		else
			high = middle;
	}
#undef PASSED
	from = back ? from - high : from + high;
	if (!IS_VALID_TIMESTAMP(from))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	PG_RETURN_TIMESTAMPTZ(from);
}

/*
 * add_business_days("from" date, days integer, calendar text)
 *
 * The business day that is so many after the day, which does not count
 * itself.
 */
Datum
pipelines_add_business_days(PG_FUNCTION_ARGS)
{
	DateADT		from;
	int64		days;
	CalendarDef *calendar;
	int64		low = 0;
	int64		high = 1;
	bool		back;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	from = PG_GETARG_DATEADT(0);
	days = PG_GETARG_INT32(1);
	require_finite(!DATE_NOT_FINITE(from));
	calendar = calendar_argument(fcinfo, 2);
	if (days == 0)
		PG_RETURN_DATEADT(from);
	back = days < 0;
	if (back)
		days = -days;

	/* business days among the 'away' days after 'from', or before it */
#define PASSED(away) \
	(back ? days_before(calendar, from) - days_before(calendar, from - (away)) : \
	 days_before(calendar, (int64) from + 1 + (away)) - days_before(calendar, (int64) from + 1))
	while (high < MAX_DAYS && PASSED(high) < days)
	{
		low = high;
		high *= 2;
	}
	refuse_without_hours(calendar, PASSED(high) >= days);
	while (high - low > 1)
	{
		int64		middle = low + (high - low) / 2;

		if (PASSED(middle) < days)
			low = middle;
		else
			high = middle;
	}
#undef PASSED
	high = back ? (int64) from - high : (int64) from + high;
	if (!IS_VALID_DATE(high))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("date out of range")));
	PG_RETURN_DATEADT((DateADT) high);
}
