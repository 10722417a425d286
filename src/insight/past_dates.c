/*-------------------------------------------------------------------------
 *
 * past_dates.c
 *	  How often the expected closings of many deals were put off, of all of
 *	  them at once.
 *
 * Owns the aggregate _past_dates(), which reads a history in whatever order it
 * comes and makes a table of keys, and find_past_dates(), which looks one up.
 * Where many deals are asked for, to read the whole history once costs less
 * than to go to the versions of each of them, which lie far apart.
 *
 * Invariant: what the table says of a key is what its versions say one after
 * the other.  Of a key that it can't say all of, it says nothing, and where it
 * would be too large, or mostly holes, there is none: who asks goes to the
 * history then.  A table is one piece of memory, is sent to other processes
 * as it is, and is never kept on disk.
 *
 * A table is a bytea, and anybody may hand us any bytea: what is looked up must
 * never lie outside of it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "insight/expanded.h"
#include "insight/past_dates.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "values/texts.h"

PG_FUNCTION_INFO_V1(pipelines_past_dates_add);
PG_FUNCTION_INFO_V1(pipelines_past_dates_combine);
PG_FUNCTION_INFO_V1(pipelines_past_dates_result);

/*
 * What one version says, in one number: the lower half of the key, the version,
 * whether stages were jumped over with it, and the expected closing as days
 * since a day so long ago that the first numbers are free.  Of a version that
 * doesn't fit (VERSION_UNTOLD) nothing is known but that it is there.
 */
#define KEY_SHIFT			32
#define VERSION_SHIFT		21
#define VERSION_MASK		0x7ff
#define VERSION_UNTOLD		0
#define SKIPPED_BIT			((uint64) 1 << 20)
#define DATE_MASK			0xfffff

#define DATE_HOLE			0	/* there is no such version */
#define DATE_NONE			1	/* it has no expected closing */
#define DATE_END_OF_LIFE	2	/* a life of the key ended with it */
#define DATE_FIRST			3
#define DATE_EPOCH			(DATE_FIRST - (DATE_MASK >> 1))

#define ITEM_KEY(item)		((uint32) ((item) >> KEY_SHIFT))
#define ITEM_VERSION(item)	((uint32) ((item) >> VERSION_SHIFT) & VERSION_MASK)
#define ITEM_DATE(item)		((uint32) (item) & DATE_MASK)

typedef struct DatesState
{
	ExpandedState state;
	bool		too_many;		/* or too far apart: nothing is gathered any more */
	uint32		upper;			/* half of all keys */
	uint32		least;			/* of the lower halves */
	uint32		greatest;
	int64		n;
	int64		room;
	uint64	   *items;
} DatesState;

/* 64 MB while they are gathered; what is made of them takes no more than twice of that */
#define ITEMS_MAX			(8 * 1024 * 1024)
#define FIRST_ROOM			1024

/* a table: keys, which lie close together, are places in a list */
#define TABLE_FORMAT		0x5049A201

typedef struct TableHeader
{
	int32		vl_len_;
	uint32		format;
	int64		first;			/* key of the first place */
	uint64		places;
} TableHeader;

typedef struct Place
{
	DateADT		expected;		/* of the last version */
	uint16		last;			/* that version; 0: there is none */
	uint16		pushes;			/* and what is known */
} Place;

#define PLACE_KNOWN			0x8000	/* else nothing is said here */
#define PLACE_EXPECTED		0x4000	/* the last version has an expected closing */
#define PLACE_PUSHES		0x3fff	/* more than a key has versions */

static void write_dates(FlatWriter *writer, ExpandedState *state);
static void merge_dates(FlatReader *reader, ExpandedState *state);

static const StateKind dates_kind = {
	.name = "pipelines._past_dates",
	.format = 0x50497401,
	.size = sizeof(DatesState),
	.write = write_dates,
	.merge = merge_dates
};

static void
give_up(DatesState *dates)
{
	if (dates->items != NULL)
		pfree(dates->items);
	dates->items = NULL;
	dates->n = dates->room = 0;
	dates->too_many = true;
}

/* room for so many more, with this upper half of their keys; false: there is none */
static bool
make_room(DatesState *dates, uint64 more, uint32 upper)
{
	if (dates->n == 0)
	{
		dates->upper = upper;
		dates->least = PG_UINT32_MAX;
	}
	if (dates->too_many || upper != dates->upper || more > ITEMS_MAX - (uint64) dates->n)
	{
		give_up(dates);
		return false;
	}
	if ((uint64) (dates->room - dates->n) >= more)
		return true;
	dates->room = Max(Max(FIRST_ROOM, dates->room * 2), dates->n + (int64) more);
	dates->items = dates->items == NULL ?
		MemoryContextAllocHuge(STATE_CONTEXT(dates), sizeof(uint64) * dates->room) :
		repalloc_huge(dates->items, sizeof(uint64) * dates->room);
	return true;
}

static inline void
put_item(DatesState *dates, uint64 item)
{
	dates->least = Min(dates->least, ITEM_KEY(item));
	dates->greatest = Max(dates->greatest, ITEM_KEY(item));
	dates->items[dates->n++] = item;
}

/* ----------
 * Flat form: are they too many; the upper half of keys; how many there are; items.
 * ----------
 */

static void
write_dates(FlatWriter *writer, ExpandedState *state)
{
	const DatesState *dates = (const DatesState *) state;
	char	   *at;

	flat_put_32(writer, dates->too_many ? 1 : 0);
	flat_put_32(writer, dates->upper);
	flat_put_64(writer, dates->n);
	at = flat_place(writer, sizeof(uint64) * dates->n);
	if (at != NULL)
		for (int64 i = 0; i < dates->n; i++)
			at = put_64(at, dates->items[i]);
}

static void
merge_dates(FlatReader *reader, ExpandedState *state)
{
	DatesState *dates = (DatesState *) state;
	bool		too_many = flat_get_32(reader, "size") != 0;
	uint32		upper = flat_get_32(reader, "upper half of keys");
	uint64		n = flat_get_64(reader, "number of versions");
	const char *at = flat_take(reader, n, sizeof(uint64), "number of versions");

	if (too_many)
		give_up(dates);
	if (n == 0 || !make_room(dates, n, upper))
		return;
	for (uint64 i = 0; i < n; i++)
		put_item(dates, get_64(&at));
}

Datum
pipelines_past_dates_combine(PG_FUNCTION_ARGS)
{
	return state_combine(&dates_kind, fcinfo);
}

/*
 * pipelines_past_dates_add(state, key bigint, version integer, expected date,
 *							change text, skipped boolean)
 *		Rows without a key or a version are left out.
 */
Datum
pipelines_past_dates_add(PG_FUNCTION_ARGS)
{
	DatesState *dates = state_to_change(&dates_kind, fcinfo);
	int64		key = PG_GETARG_INT64(1);
	int32		version = PG_GETARG_INT32(2);
	int64		date = DATE_NONE;

	if (PG_ARGISNULL(1) || PG_ARGISNULL(2))
		PG_RETURN_DATUM(STATE_DATUM(dates));
	if (unlikely(dates->n == dates->room || (uint32) (key >> 32) != dates->upper) &&
		!make_room(dates, 1, (uint32) (key >> 32)))
		PG_RETURN_DATUM(STATE_DATUM(dates));

	if (!PG_ARGISNULL(4) && text_is(PG_GETARG_TEXT_PP(4), "delete"))
		date = DATE_END_OF_LIFE;
	else if (!PG_ARGISNULL(3))
	{
		date = (int64) PG_GETARG_DATEADT(3) - DATE_EPOCH;
		if (unlikely(date < DATE_FIRST || date > DATE_MASK))
			version = VERSION_UNTOLD;
	}
	if (unlikely(version <= 0 || version > VERSION_MASK))
	{
		version = VERSION_UNTOLD;
		date = DATE_NONE;
	}
	put_item(dates, (uint64) (uint32) key << KEY_SHIFT | (uint64) version << VERSION_SHIFT |
			 (!PG_ARGISNULL(5) && PG_GETARG_BOOL(5) ? SKIPPED_BIT : 0) | (uint64) date);
	PG_RETURN_DATUM(STATE_DATUM(dates));
}

/* ----------
 * The table
 * ----------
 */

/* a place of which nothing is said has more versions than any key */
#define LAST_UNTOLD			(VERSION_MASK + 1)
#define BEGIN_UNTOLD		PG_UINT32_MAX

/* the last version of each place, and how many there are of all */
static uint16 *
last_versions(const DatesState *dates, uint32 places, uint64 *n)
{
	uint16	   *last = MemoryContextAllocExtended(CurrentMemoryContext, sizeof(uint16) * places,
												  MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);

	for (int64 i = 0; i < dates->n; i++)
	{
		uint64		item = dates->items[i];
		uint32		place = ITEM_KEY(item) - dates->least;
		uint32		version = ITEM_VERSION(item);

		if (unlikely(version == VERSION_UNTOLD || (item & SKIPPED_BIT) != 0))
			version = LAST_UNTOLD;
		if (version > last[place])
			last[place] = version;
	}
	*n = 0;
	for (uint32 i = 0; i < places; i++)
		if (last[i] != LAST_UNTOLD)
			*n += last[i];
	return last;
}

/* what the versions from 1 to the last one say; nothing, if one is missing */
static Place
fold_versions(const uint32 *versions, uint32 last)
{
	PastDates	past = {0};
	Place		place = {0};

	for (uint32 v = 0; v < last; v++)
	{
		if (versions[v] == DATE_HOLE)
			return place;
		if (versions[v] == DATE_END_OF_LIFE)
			see_end_of_life(&past);
		else
			see_expected(&past, versions[v] != DATE_NONE, (DateADT) versions[v] + DATE_EPOCH);
	}
	place.expected = past.expected;
	place.last = last;
	place.pushes = past.pushes | PLACE_KNOWN | (past.has_expected ? PLACE_EXPECTED : 0);
	return place;
}

/*
 * Versions are numbered from 1 on without a gap, so that a number is a place,
 * too, behind those of the key before.
 */
static TableHeader *
make_table(const DatesState *dates, uint32 places)
{
	uint64		n;
	uint16	   *last = last_versions(dates, places, &n);
	uint32	   *begin;
	uint32	   *versions;
	TableHeader *table;
	Place	   *place;
	Size		size = sizeof(TableHeader) + sizeof(Place) * places;

	if (n > (uint64) dates->n * 2)
		return NULL;			/* mostly holes */

	begin = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(uint32) * places);
	n = 0;
	for (uint32 i = 0; i < places; i++)
	{
		begin[i] = last[i] == LAST_UNTOLD ? BEGIN_UNTOLD : (uint32) n;
		n += last[i] == LAST_UNTOLD ? 0 : last[i];
	}
	versions = MemoryContextAllocExtended(CurrentMemoryContext, sizeof(uint32) * Max(n, 1),
										  MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (int64 i = 0; i < dates->n; i++)
	{
		uint64		item = dates->items[i];
		uint32		at = begin[ITEM_KEY(item) - dates->least];

		if (likely(i + 16 < dates->n))
		{
			uint64		ahead = dates->items[i + 8];

			__builtin_prefetch(&begin[ITEM_KEY(dates->items[i + 16]) - dates->least]);
			__builtin_prefetch(&versions[begin[ITEM_KEY(ahead) - dates->least] + ITEM_VERSION(ahead)], 1);
		}
		if (likely(at != BEGIN_UNTOLD))
			versions[at + ITEM_VERSION(item) - 1] = ITEM_DATE(item);
	}

	table = palloc(size);
	SET_VARSIZE(table, size);
	table->format = TABLE_FORMAT;
	table->first = (int64) ((uint64) dates->upper << 32 | dates->least);
	table->places = places;
	place = (Place *) ((char *) table + sizeof(TableHeader));
	for (uint32 i = 0; i < places; i++)
	{
		if (likely(last[i] != LAST_UNTOLD))
			place[i] = fold_versions(&versions[begin[i]], last[i]);
		else
			memset(&place[i], 0, sizeof(Place));
		if (i % 65536 == 65535)
			CHECK_FOR_INTERRUPTS();
	}
	pfree(versions);
	pfree(begin);
	pfree(last);
	return table;
}

/* NULL: there is no table */
Datum
pipelines_past_dates_result(PG_FUNCTION_ARGS)
{
	DatesState *dates;
	TableHeader *table;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	dates = state_to_read(&dates_kind, fcinfo);
	if (dates->n == 0 || dates->greatest - dates->least >= (uint64) dates->n * 2)
		PG_RETURN_NULL();
	table = make_table(dates, dates->greatest - dates->least + 1);
	if (table == NULL)
		PG_RETURN_NULL();
	PG_RETURN_POINTER(table);
}

/* What a table says of a key before a version; false: nothing. */
bool
find_past_dates(const bytea *table, int64 key, int32 version, PastDates *past)
{
	TableHeader header;
	const char *places = VARDATA_ANY(table) + sizeof(TableHeader) - VARHDRSZ;
	Size		size = VARSIZE_ANY_EXHDR(table) + VARHDRSZ;
	uint64		at;
	Place		place;

	if (size >= sizeof(TableHeader))
		memcpy((char *) &header + VARHDRSZ, VARDATA_ANY(table), sizeof(TableHeader) - VARHDRSZ);
	if (size < sizeof(TableHeader) || header.format != TABLE_FORMAT ||
		(size - sizeof(TableHeader)) % sizeof(Place) != 0 ||
		header.places != (size - sizeof(TableHeader)) / sizeof(Place))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("invalid table of past dates"),
				 errdetail("Its length is not what it says."),
				 errhint("Such tables are made by pipelines._past_dates().")));

	at = (uint64) key - (uint64) header.first;
	if (at >= header.places)
		return false;
	memcpy(&place, places + at * sizeof(Place), sizeof(Place));
	if ((place.pushes & PLACE_KNOWN) == 0 || (int64) place.last + 1 != version)
		return false;
	past->has_expected = (place.pushes & PLACE_EXPECTED) != 0;
	past->expected = place.expected;
	past->pushes = place.pushes & PLACE_PUSHES;
	return true;
}
