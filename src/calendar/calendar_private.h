/*-------------------------------------------------------------------------
 *
 * calendar_private.h
 *	  What the files of src/calendar share among themselves.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PIPELINES_CALENDAR_PRIVATE_H
#define PIPELINES_CALENDAR_PRIVATE_H

#include "calendar/calendar.h"
#include "calendar/zone.h"

typedef enum PeriodKind
{
	KIND_WEEK,
	KIND_MONTH,
	KIND_QUARTER,
	KIND_YEAR
} PeriodKind;

#define N_KINDS			(KIND_YEAR + 1)

/* the periods of one kind of a calendar, earliest first; they don't overlap */
typedef struct PeriodList
{
	int			n;
	int			room;
	DateADT    *starts;
	DateADT    *ends;
	int32	   *ids;
} PeriodList;

/* days on which everything is locked; segments don't overlap */
typedef struct LockedSegment
{
	DateADT		starts;
	DateADT		ends;
	int32		period_id;
	char	   *label;
} LockedSegment;

/* hours of a weekday, in microseconds since midnight */
typedef struct BusinessSpan
{
	int64		opens;
	int64		closes;
} BusinessSpan;

typedef struct BusinessDay
{
	int			n;
	int			room;
	BusinessSpan *spans;		/* earliest first, apart from each other */
	int64		total;			/* of this day */
	int64		before;			/* of the days of the week before it */
	int			days_before;	/* likewise, business days */
} BusinessDay;

typedef struct CalendarDef
{
	int32		calendar_id;
	char	   *name;
	bool		is_standard;
	pg_tz	   *tz;
	const ZoneTable *zone;		/* NULL: not made yet, see calendar_zone() */
	PeriodList	kinds[N_KINDS];
	int			nlocked;
	LockedSegment *locked;

	bool		has_hours;		/* or are they the usual ones? */
	BusinessDay week[7];		/* Monday first */
	int64		week_total;
	int			week_days;
	int			nholidays;
	int			holiday_room;
	DateADT    *holidays;		/* earliest first; on business days only */
	int64	   *holiday_time;	/* business time of the ones before */
} CalendarDef;

static inline int64
floor_div(int64 a, int64 b)
{
	return a >= 0 ? a / b : -((b - 1 - a) / b);
}

/* 0 for Monday to 6 for Sunday; day 2 was a Monday */
static inline int
calendar_weekday(DateADT day)
{
	int64		since = (int64) day - 2;

	return (int) (since - 7 * floor_div(since, 7));
}

/*
 * The calendar of that name, or the standard one for NULL; an error if there
 * is none.  A pointer is valid until the next call of this function, provided
 * that no invalidation came in.
 */
extern CalendarDef *calendar_named(const text *name);

/*
 * What was looked up is current while this returns what it returned right
 * after the look; 0: it is not current any more.
 */
extern uint64 calendar_generation(void);

extern const ZoneTable *calendar_zone(CalendarDef *calendar);

/* of periods.c */
extern void periods_init(void);

/* the oid of a table of ours; an error with a hint if it is not there */
extern Oid	calendar_relid(const char *table_name);

/* the day of an instant where the calendar is */
extern DateADT calendar_day(CalendarDef *calendar, TimestampTz instant);

#endif							/* PIPELINES_CALENDAR_PRIVATE_H */
