/*-------------------------------------------------------------------------
 *
 * calendar.c
 *	  Fiscal calendars as each backend knows them.
 *
 * Owns a copy of all calendars in the backend's memory: periods as sorted
 * arrays, what is locked, business hours and holidays; and the functions that
 * find the period of a day.  The invariant is that of watched.c: whoever looks
 * something up sees the newest committed calendars plus the changes of their
 * own transaction, whatever the isolation level.
 *
 * Must never run SQL, and never free the copy that a caller may still look at.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "calendar/calendar.h"
#include "calendar/calendar_private.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "definitions/watched.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "values/texts.h"

PG_FUNCTION_INFO_V1(pipelines_calendar_id);
PG_FUNCTION_INFO_V1(pipelines_fiscal_period_id);
PG_FUNCTION_INFO_V1(pipelines_fiscal_period_id_at);
PG_FUNCTION_INFO_V1(pipelines_locked_period_id);

/* names listed in an error message at most */
#define MAX_LISTED		20

/* steps from a guessed place before the search is done properly */
#define MAX_STEPS		4

typedef enum CalendarTable
{
	TABLE_CALENDAR,
	TABLE_PERIOD,
	TABLE_HOURS,
	TABLE_HOLIDAY
} CalendarTable;

#define N_TABLES		(TABLE_HOLIDAY + 1)

static const char *const table_names[N_TABLES] = {
	"fiscal_calendar", "fiscal_period", "business_hours", "holiday"
};

typedef struct CalendarCache
{
	MemoryContext context;
	bool		any_locked;
	int			n;
	int			room;
	CalendarDef *calendars;		/* by name */
} CalendarCache;

/* one row of fiscal_period while loading */
typedef struct LoadedPeriod
{
	int32		calendar_id;
	int32		period_id;
	PeriodKind	kind;
	DateADT		starts;
	DateADT		ends;
	char	   *label;			/* of a locked one; else NULL */
} LoadedPeriod;

typedef struct LoadedHours
{
	int32		calendar_id;
	int			weekday;		/* 0 is Monday */
	BusinessSpan span;
} LoadedHours;

typedef struct LoadedHoliday
{
	int32		calendar_id;
	DateADT		day;
} LoadedHoliday;

typedef struct LoadState
{
	CalendarCache *cache;
	int			nperiods;
	int			period_room;
	LoadedPeriod *periods;
	int			nhours;
	int			hours_room;
	LoadedHours *hours;
	int			nholidays;
	int			holiday_room;
	LoadedHoliday *holidays;
} LoadState;

static WatchedTables tables = {.names = table_names, .n = N_TABLES};

/* each load has a number of its own */
static uint64 load_number = 0;

static CalendarCache *cache = NULL;

/* kept for those who still look at it while a nested lookup loads anew */
static CalendarCache *retired = NULL;

void
calendar_init(void)
{
	watched_begin(&tables);
	periods_init();
}

Oid
calendar_relid(const char *table_name)
{
	return watched_relid(&tables, table_name);
}

#define SORT(array, n, compare) \
	do { \
		if ((n) > 1) \
			qsort((array), (n), sizeof(*(array)), (compare)); \
	} while (0)

static const WatchedColumn calendar_columns[] = {
	{"calendar_id", INT4OID}, {"name", TEXTOID}, {"is_standard", BOOLOID},
	{"time_zone", TEXTOID}, {NULL, InvalidOid}
};

static void
read_calendar(const Datum *values, const bool *nulls, void *arg)
{
	LoadState  *state = (LoadState *) arg;
	CalendarCache *c = state->cache;
	CalendarDef *def;

	if (nulls[0] || nulls[1])
		return;
	WATCHED_APPEND(c->calendars, c->n, c->room);
	def = &c->calendars[c->n++];
	memset(def, 0, sizeof(*def));
	def->calendar_id = DatumGetInt32(values[0]);
	def->name = TextDatumGetCString(values[1]);
	def->is_standard = !nulls[2] && DatumGetBool(values[2]);

	/* a name that this server does not know counts as UTC, as for pipelines */
	def->tz = nulls[3] ? NULL : pg_tzset(TextDatumGetCString(values[3]));
	if (def->tz == NULL)
		def->tz = pg_tzset("GMT");
}

static const char *const kind_words[N_KINDS] = {"week", "month", "quarter", "year"};

/* N_KINDS: there is no such kind */
static PeriodKind
kind_named(const char *name, int len)
{
	int			i;

	for (i = 0; i < N_KINDS; i++)
	{
		if ((int) strlen(kind_words[i]) == len && memcmp(kind_words[i], name, len) == 0)
			break;
	}
	return (PeriodKind) i;
}

static const WatchedColumn period_columns[] = {
	{"period_id", INT4OID}, {"calendar_id", INT4OID}, {"kind", TEXTOID},
	{"starts", DATEOID}, {"ends", DATEOID}, {"label", TEXTOID},
	{"locked_at", TIMESTAMPTZOID}, {NULL, InvalidOid}
};

static void
read_period(const Datum *values, const bool *nulls, void *arg)
{
	LoadState  *state = (LoadState *) arg;
	LoadedPeriod *period;
	text	   *kind;
	int			i;

	for (i = 0; i <= 4; i++)
	{
		if (nulls[i])
			return;
	}
	WATCHED_APPEND(state->periods, state->nperiods, state->period_room);
	period = &state->periods[state->nperiods];
	kind = DatumGetTextPP(values[2]);
	period->period_id = DatumGetInt32(values[0]);
	period->calendar_id = DatumGetInt32(values[1]);
	period->kind = kind_named(VARDATA_ANY(kind), VARSIZE_ANY_EXHDR(kind));
	period->starts = DatumGetDateADT(values[3]);
	period->ends = DatumGetDateADT(values[4]);
	period->label = nulls[6] ? NULL :
		nulls[5] ? pstrdup("") : TextDatumGetCString(values[5]);

	/* constraints keep others out */
	if ((int) period->kind < N_KINDS && period->starts < period->ends)
		state->nperiods++;
}

static const WatchedColumn hours_columns[] = {
	{"calendar_id", INT4OID}, {"weekday", INT4OID}, {"opens", TIMEOID},
	{"closes", TIMEOID}, {NULL, InvalidOid}
};

static void
read_hours(const Datum *values, const bool *nulls, void *arg)
{
	LoadState  *state = (LoadState *) arg;
	LoadedHours *hours;

	if (nulls[0] || nulls[1] || nulls[2] || nulls[3])
		return;
	WATCHED_APPEND(state->hours, state->nhours, state->hours_room);
	hours = &state->hours[state->nhours];
	hours->calendar_id = DatumGetInt32(values[0]);
	hours->weekday = DatumGetInt32(values[1]) - 1;
	hours->span.opens = DatumGetTimeADT(values[2]);
	hours->span.closes = DatumGetTimeADT(values[3]);
	if (hours->weekday >= 0 && hours->weekday < 7 && hours->span.opens < hours->span.closes)
		state->nhours++;
}

static const WatchedColumn holiday_columns[] = {
	{"calendar_id", INT4OID}, {"day", DATEOID}, {NULL, InvalidOid}
};

static void
read_holiday(const Datum *values, const bool *nulls, void *arg)
{
	LoadState  *state = (LoadState *) arg;
	LoadedHoliday *holiday;

	if (nulls[0] || nulls[1])
		return;
	WATCHED_APPEND(state->holidays, state->nholidays, state->holiday_room);
	holiday = &state->holidays[state->nholidays++];
	holiday->calendar_id = DatumGetInt32(values[0]);
	holiday->day = DatumGetDateADT(values[1]);
}

#define COMPARE(a, b)	((a) < (b) ? -1 : (a) > (b) ? 1 : 0)

static int
compare_calendars(const void *a, const void *b)
{
	return strcmp(((const CalendarDef *) a)->name, ((const CalendarDef *) b)->name);
}

static int
compare_periods(const void *a, const void *b)
{
	const LoadedPeriod *pa = (const LoadedPeriod *) a;
	const LoadedPeriod *pb = (const LoadedPeriod *) b;
	int			c = COMPARE(pa->starts, pb->starts);

	/* the longer one first: it is the one to name where both are locked */
	if (c == 0)
		c = COMPARE(pb->ends, pa->ends);
	if (c == 0)
		c = COMPARE(pa->period_id, pb->period_id);
	return c;
}

static int
compare_hours(const void *a, const void *b)
{
	return COMPARE(((const LoadedHours *) a)->span.opens, ((const LoadedHours *) b)->span.opens);
}

static int
compare_holidays(const void *a, const void *b)
{
	return COMPARE(((const LoadedHoliday *) a)->day, ((const LoadedHoliday *) b)->day);
}

static CalendarDef *
find_calendar(CalendarCache *c, int32 calendar_id)
{
	int			i;

	for (i = 0; i < c->n; i++)
	{
		if (calendar_id == 0 ? c->calendars[i].is_standard :
			c->calendars[i].calendar_id == calendar_id)
			return &c->calendars[i];
	}
	return NULL;
}

/*
 * Hand the periods, which are sorted, to their calendars.
 */
static void
assemble_periods(LoadState *state)
{
	int			i;

	SORT(state->periods, state->nperiods, compare_periods);
	for (i = 0; i < state->nperiods; i++)
	{
		const LoadedPeriod *period = &state->periods[i];
		CalendarDef *calendar = find_calendar(state->cache, period->calendar_id);
		PeriodList *list;
		DateADT		covered;

		if (calendar == NULL || period->calendar_id == 0)
			continue;
		list = &calendar->kinds[period->kind];
		if (list->n >= list->room)
		{
			list->room = Max(16, list->room * 2);
			list->starts = list->starts == NULL ? palloc(sizeof(DateADT) * list->room) :
				repalloc(list->starts, sizeof(DateADT) * list->room);
			list->ends = list->ends == NULL ? palloc(sizeof(DateADT) * list->room) :
				repalloc(list->ends, sizeof(DateADT) * list->room);
			list->ids = list->ids == NULL ? palloc(sizeof(int32) * list->room) :
				repalloc(list->ids, sizeof(int32) * list->room);
		}

		/* in the middle of a transaction they may overlap for a while */
		list->starts[list->n] = list->n == 0 ? period->starts :
			Max(period->starts, list->ends[list->n - 1]);
		if (list->starts[list->n] < period->ends)
		{
			list->ends[list->n] = period->ends;
			list->ids[list->n] = period->period_id;
			list->n++;
		}

		if (period->label == NULL)
			continue;
		covered = calendar->nlocked == 0 ? DATEVAL_NOBEGIN :
			calendar->locked[calendar->nlocked - 1].ends;
		if (period->ends <= covered)
			continue;
		calendar->locked = calendar->locked == NULL ? palloc(sizeof(LockedSegment)) :
			repalloc(calendar->locked, sizeof(LockedSegment) * (calendar->nlocked + 1));
		calendar->locked[calendar->nlocked].starts = Max(period->starts, covered);
		calendar->locked[calendar->nlocked].ends = period->ends;
		calendar->locked[calendar->nlocked].period_id = period->period_id;
		calendar->locked[calendar->nlocked].label = period->label;
		calendar->nlocked++;
		state->cache->any_locked = true;
	}
}

static void
add_span(CalendarDef *calendar, int weekday, const BusinessSpan *span)
{
	BusinessDay *day = &calendar->week[weekday];
	BusinessSpan *last = day->n == 0 ? NULL : &day->spans[day->n - 1];

	if (last != NULL && span->opens <= last->closes)
	{
		last->closes = Max(last->closes, span->closes);
		return;
	}
	WATCHED_APPEND(day->spans, day->n, day->room);
	day->spans[day->n++] = *span;
}

/*
 * What one day of the calendar is worth by the clock; the days before it in
 * its week, and all holidays before it, are summed up.
 */
static void
assemble_business(LoadState *state)
{
	static const BusinessSpan usual = {9 * USECS_PER_HOUR, 17 * USECS_PER_HOUR};
	int			i;
	int			j;

	SORT(state->hours, state->nhours, compare_hours);
	for (i = 0; i < state->nhours; i++)
	{
		CalendarDef *calendar = find_calendar(state->cache, state->hours[i].calendar_id);

		if (calendar == NULL || state->hours[i].calendar_id == 0)
			continue;
		calendar->has_hours = true;
		add_span(calendar, state->hours[i].weekday, &state->hours[i].span);
	}
	for (i = 0; i < state->cache->n; i++)
	{
		CalendarDef *calendar = &state->cache->calendars[i];

		for (j = 0; j < 5 && !calendar->has_hours; j++)
			add_span(calendar, j, &usual);
		for (j = 0; j < 7; j++)
		{
			BusinessDay *day = &calendar->week[j];
			int			k;

			day->before = calendar->week_total;
			day->days_before = calendar->week_days;
			for (k = 0; k < day->n; k++)
				day->total += day->spans[k].closes - day->spans[k].opens;
			calendar->week_total += day->total;
			calendar->week_days += day->n > 0 ? 1 : 0;
		}
	}

	SORT(state->holidays, state->nholidays, compare_holidays);
	for (i = 0; i < state->nholidays; i++)
	{
		CalendarDef *calendar = find_calendar(state->cache, state->holidays[i].calendar_id);
		DateADT		day = state->holidays[i].day;
		int			weekday = calendar_weekday(day);
		int64		worth;

		if (calendar == NULL || state->holidays[i].calendar_id == 0 || DATE_NOT_FINITE(day))
			continue;
		if (calendar->week[weekday].n == 0)
			continue;
		worth = calendar->nholidays == 0 ? 0 :
			calendar->holiday_time[calendar->nholidays];
		if (calendar->nholidays + 2 > calendar->holiday_room)
		{
			calendar->holiday_room = Max(32, calendar->holiday_room * 2);
			calendar->holidays = calendar->holidays == NULL ?
				palloc(sizeof(DateADT) * calendar->holiday_room) :
				repalloc(calendar->holidays, sizeof(DateADT) * calendar->holiday_room);
			calendar->holiday_time = calendar->holiday_time == NULL ?
				palloc0(sizeof(int64) * calendar->holiday_room) :
				repalloc(calendar->holiday_time, sizeof(int64) * calendar->holiday_room);
		}
		calendar->holidays[calendar->nholidays++] = day;
		calendar->holiday_time[calendar->nholidays] = worth + calendar->week[weekday].total;
	}
}

static void
load_calendars(void)
{
	MemoryContext context;
	MemoryContext old_context;
	LoadState	state = {0};
	CalendarCache *c;
	Snapshot	snapshot;
	uint64		wanted;
	bool		in_parallel_mode = IsInParallelMode();

	watched_lock(&tables, N_TABLES);
	wanted = tables.wanted;

	context = AllocSetContextCreate(CurrentMemoryContext, "pipelines calendars",
									ALLOCSET_DEFAULT_SIZES);
	old_context = MemoryContextSwitchTo(context);
	c = state.cache = palloc0(sizeof(CalendarCache));
	c->context = context;

	snapshot = watched_snapshot();
	watched_read(&tables, TABLE_CALENDAR, snapshot, calendar_columns, read_calendar, &state);
	watched_read(&tables, TABLE_PERIOD, snapshot, period_columns, read_period, &state);
	watched_read(&tables, TABLE_HOURS, snapshot, hours_columns, read_hours, &state);
	watched_read(&tables, TABLE_HOLIDAY, snapshot, holiday_columns, read_holiday, &state);
	UnregisterSnapshot(snapshot);

	SORT(c->calendars, c->n, compare_calendars);
	assemble_periods(&state);
	assemble_business(&state);

	/* nothing can fail from here on */
	MemoryContextSwitchTo(old_context);
	MemoryContextSetParent(context, CacheMemoryContext);
	if (retired != NULL)
		MemoryContextDelete(retired->context);
	retired = cache;
	cache = c;
	tables.current = wanted;
	tables.in_parallel_mode = in_parallel_mode;
	load_number++;
}

static inline void
ensure_loaded(void)
{
	if (!watched_is_current(&tables))
		load_calendars();
}

uint64
calendar_generation(void)
{
	return watched_is_current(&tables) ? load_number : 0;
}

const ZoneTable *
calendar_zone(CalendarDef *calendar)
{
	if (calendar->zone == NULL)
	{
		MemoryContext old_context = MemoryContextSwitchTo(cache->context);

		calendar->zone = zone_table(calendar->tz);
		MemoryContextSwitchTo(old_context);
	}
	return calendar->zone;
}

DateADT
calendar_day(CalendarDef *calendar, TimestampTz instant)
{
	const ZoneTable *zone = calendar_zone(calendar);
	int64		local;

	if (TIMESTAMP_IS_NOBEGIN(instant))
		return DATEVAL_NOBEGIN;
	if (TIMESTAMP_IS_NOEND(instant))
		return DATEVAL_NOEND;
	local = instant + zone->ahead[zone_line(zone, instant)];
	return (DateADT) floor_div(local, USECS_PER_DAY);
}

static char *
calendar_list(void)
{
	StringInfoData list;
	int			i;

	if (cache->n == 0)
		return "none";
	initStringInfo(&list);
	for (i = 0; i < cache->n && i < MAX_LISTED; i++)
		appendStringInfo(&list, "%s%s", i == 0 ? "" : ", ", cache->calendars[i].name);
	if (cache->n > MAX_LISTED)
		appendStringInfoString(&list, ", ...");
	return list.data;
}

CalendarDef *
calendar_named(const text *name)
{
	CalendarDef *calendar;
	char	   *wanted;
	int			i;

	ensure_loaded();
	if (name == NULL)
	{
		calendar = find_calendar(cache, 0);
		if (calendar == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("there is no standard fiscal calendar"),
					 errdetail("Calendars: %s.", calendar_list()),
					 errhint("Make one, for example SELECT pipelines.create_fiscal_calendar('Standard'), or name a calendar.")));
		return calendar;
	}
	wanted = text_to_cstring(name);
	for (i = 0; i < cache->n; i++)
	{
		if (strcmp(cache->calendars[i].name, wanted) == 0)
		{
			pfree(wanted);
			return &cache->calendars[i];
		}
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("fiscal calendar \"%s\" does not exist", wanted),
			 errdetail("Calendars: %s.", calendar_list()),
			 errhint("SELECT pipelines.create_fiscal_calendar(...) makes one.")));
	return NULL;				/* keep the compiler quiet */
}

bool
calendar_day_is_locked(int32 calendar_id, DateADT day, LockedPeriod *period)
{
	CalendarDef *calendar;
	int			low = 0;
	int			high;

	/* a database that was set up by an earlier version has no such tables */
	if (!watched_is_current(&tables) && !watched_find(&tables, true))
		return false;
	ensure_loaded();
	if (likely(!cache->any_locked))
		return false;
	calendar = find_calendar(cache, calendar_id);
	if (calendar == NULL || calendar->nlocked == 0)
		return false;

	/* the first segment that ends after the day */
	high = calendar->nlocked;
	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (calendar->locked[middle].ends <= day)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == calendar->nlocked || calendar->locked[low].starts > day)
		return false;
	period->period_id = calendar->locked[low].period_id;
	period->label = calendar->locked[low].label;
	period->calendar = calendar->name;
	return true;
}

/*
 * The place of the period that contains a day, -1 if there is none.  Periods
 * of a kind are of nearly the same length, so that a proportion leads close
 * to the place; where it does not, the search is done properly.
 */
static int
period_place(const PeriodList *list, DateADT day)
{
	int			n = list->n;
	int			place;
	int			low;
	int			high;
	int			step;

	if (n == 0 || day < list->starts[0] || day >= list->ends[n - 1])
		return -1;
	place = (int) (((int64) day - list->starts[0]) * n /
				   ((int64) list->ends[n - 1] - list->starts[0]));
	for (step = 0; step < MAX_STEPS; step++)
	{
		if (day < list->starts[place])
			place--;
		else if (place + 1 < n && day >= list->starts[place + 1])
			place++;
		else
			return day < list->ends[place] ? place : -1;
	}

	/* the last period that starts at or before the day */
	low = 0;
	high = n - 1;
	while (low < high)
	{
		int			middle = (low + high + 1) / 2;

		if (list->starts[middle] <= day)
			low = middle;
		else
			high = middle - 1;
	}
	return day < list->ends[low] ? low : -1;
}

/*
 * What a call in a query remembers from one row to the next.
 */
typedef struct PeriodLookup
{
	uint64		generation;		/* of 'list'; 0: none */
	bool		is_stable;		/* kind and calendar are the same in each row */
	text	   *kind;			/* as they were last; in fn_mcxt */
	text	   *calendar_name;	/* NULL: the standard one */
	CalendarDef *calendar;
	const PeriodList *list;
	DateADT		starts;			/* the last hit; empty at first */
	DateADT		ends;
	int32		period_id;
} PeriodLookup;

static bool
same_text(const text *a, const text *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return texts_equal(a, b);
}

static void
keep_text(text **place, const text *value, MemoryContext context)
{
	if (*place != NULL)
		pfree(*place);
	*place = NULL;
	if (value != NULL)
	{
		*place = MemoryContextAlloc(context, VARSIZE_ANY(value));
		memcpy(*place, value, VARSIZE_ANY(value));
	}
}

/*
 * Kind is the second argument, the calendar the third.
 */
static PeriodLookup *
look_up(FunctionCallInfo fcinfo)
{
	PeriodLookup *lookup = (PeriodLookup *) fcinfo->flinfo->fn_extra;
	text	   *kind;
	text	   *name;

	if (likely(lookup != NULL && lookup->is_stable &&
			   lookup->generation == calendar_generation()))
		return lookup;

	kind = PG_GETARG_TEXT_PP(1);
	name = PG_ARGISNULL(2) ? NULL : PG_GETARG_TEXT_PP(2);
	if (lookup == NULL)
	{
		lookup = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(PeriodLookup));
		lookup->is_stable = get_fn_expr_arg_stable(fcinfo->flinfo, 1) &&
			get_fn_expr_arg_stable(fcinfo->flinfo, 2);
		fcinfo->flinfo->fn_extra = lookup;
	}
	if (lookup->generation == 0 || lookup->generation != calendar_generation() ||
		!same_text(kind, lookup->kind) || !same_text(name, lookup->calendar_name))
	{
		PeriodKind	place = kind_named(VARDATA_ANY(kind), VARSIZE_ANY_EXHDR(kind));

		lookup->generation = 0;
		if ((int) place >= N_KINDS)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("unknown kind of fiscal period \"%s\"", text_to_cstring(kind)),
					 errhint("Kinds are week, month, quarter and year.")));
		lookup->calendar = calendar_named(name);
		lookup->list = &lookup->calendar->kinds[place];
		lookup->starts = lookup->ends = 0;
		keep_text(&lookup->kind, kind, fcinfo->flinfo->fn_mcxt);
		keep_text(&lookup->calendar_name, name, fcinfo->flinfo->fn_mcxt);
		lookup->generation = calendar_generation();
	}
	return lookup;
}

static inline bool
find_period(PeriodLookup *lookup, DateADT day, int32 *period_id)
{
	int			place;

	if (day < lookup->starts || day >= lookup->ends)
	{
		place = period_place(lookup->list, day);
		if (place < 0)
			return false;
		lookup->starts = lookup->list->starts[place];
		lookup->ends = lookup->list->ends[place];
		lookup->period_id = lookup->list->ids[place];
	}
	*period_id = lookup->period_id;
	return true;
}

/*
 * fiscal_period_id("on" date, kind text, calendar text)
 */
Datum
pipelines_fiscal_period_id(PG_FUNCTION_ARGS)
{
	int32		period_id;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) ||
		!find_period(look_up(fcinfo), PG_GETARG_DATEADT(0), &period_id))
		PG_RETURN_NULL();
	PG_RETURN_INT32(period_id);
}

/*
 * fiscal_period_id("at" timestamptz, kind text, calendar text)
 */
Datum
pipelines_fiscal_period_id_at(PG_FUNCTION_ARGS)
{
	PeriodLookup *lookup;
	int32		period_id;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	lookup = look_up(fcinfo);
	if (!find_period(lookup, calendar_day(lookup->calendar, PG_GETARG_TIMESTAMPTZ(0)),
					 &period_id))
		PG_RETURN_NULL();
	PG_RETURN_INT32(period_id);
}

/*
 * locked_period_id("on" date, calendar text)
 */
Datum
pipelines_locked_period_id(PG_FUNCTION_ARGS)
{
	CalendarDef *calendar;
	LockedPeriod period;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	calendar = calendar_named(PG_ARGISNULL(1) ? NULL : PG_GETARG_TEXT_PP(1));
	if (!calendar_day_is_locked(calendar->calendar_id, PG_GETARG_DATEADT(0), &period))
		PG_RETURN_NULL();
	PG_RETURN_INT32(period.period_id);
}

/*
 * calendar_id(name text)
 */
Datum
pipelines_calendar_id(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(calendar_named(PG_ARGISNULL(0) ? NULL : PG_GETARG_TEXT_PP(0))->calendar_id);
}
