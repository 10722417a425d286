/*-------------------------------------------------------------------------
 *
 * instants.c
 *	  An instant for each of many keys, looked up while other rows are read.
 *
 * Owns the aggregate _instants(), which makes a table of keys and instants, and
 * _seconds_since(), which looks one up.  A report that needs when a deal was
 * created, of each of its moves, in the order in which they happened, looks at
 * another place of memory each time: a join does so three times a row, this
 * does it once.
 *
 * Invariant: a table is one piece of memory, so that it can be sent to other
 * processes, and lies there as it is looked up.  It is never kept on disk.
 *
 * A table is a bytea, and anybody may hand us any bytea: what is looked up must
 * never lie outside of it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "datatype/timestamp.h"
#include "fmgr.h"
#include "insight/expanded.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(pipelines_instants_add);
PG_FUNCTION_INFO_V1(pipelines_instants_combine);
PG_FUNCTION_INFO_V1(pipelines_instants_result);
PG_FUNCTION_INFO_V1(pipelines_seconds_since);

typedef struct KeyInstant
{
	int64		key;
	TimestampTz at;				/* NO_INSTANT in a slot that is free */
} KeyInstant;

typedef struct Instants
{
	ExpandedState state;
	int64		n;
	int64		room;
	KeyInstant *items;
} Instants;

/* 128 MB while they are gathered; the table takes no more than twice of that */
#define INSTANTS_MAX		(8 * 1024 * 1024)
#define FIRST_ROOM			1024

/* below every instant that is kept */
#define NO_INSTANT			PG_INT64_MIN

/*
 * A table: keys that lie close together are places in a list of instants, all
 * others are found by their hash.  Its slots are so many that at least half of
 * them are free; who collides goes to the next one.
 */
#define FORMAT_PLACES		0x5049A101
#define FORMAT_HASHED		0x5049A102

typedef struct TableHeader
{
	int32		vl_len_;
	uint32		format;
	int64		first;			/* key of the first place */
	uint64		slots;
} TableHeader;

#define TABLE_DATA(header)	((char *) (header) + sizeof(TableHeader))
#define SLOT_SIZE(format)	((format) == FORMAT_PLACES ? sizeof(TimestampTz) : sizeof(KeyInstant))

static void write_instants(FlatWriter *writer, ExpandedState *state);
static void merge_instants(FlatReader *reader, ExpandedState *state);

static const StateKind instants_kind = {
	.name = "pipelines._instants",
	.format = 0x50497301,
	.size = sizeof(Instants),
	.write = write_instants,
	.merge = merge_instants
};

/* room for so many more */
static void
make_room(Instants *instants, uint64 more)
{
	if (more > INSTANTS_MAX - (uint64) instants->n)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("too many instants for one table"),
				 errdetail("There can be %d.", INSTANTS_MAX),
				 errhint("Join the rows instead.")));
	if ((uint64) (instants->room - instants->n) >= more)
		return;
	instants->room = Max(Max(FIRST_ROOM, instants->room * 2), instants->n + (int64) more);
	instants->items = instants->items == NULL ?
		MemoryContextAllocHuge(STATE_CONTEXT(instants), sizeof(KeyInstant) * instants->room) :
		repalloc_huge(instants->items, sizeof(KeyInstant) * instants->room);
}

/* ----------
 * Flat form: how many there are; keys and instants.
 * ----------
 */

static void
write_instants(FlatWriter *writer, ExpandedState *state)
{
	const Instants *instants = (const Instants *) state;
	char	   *at;

	flat_put_64(writer, instants->n);
	at = flat_place(writer, sizeof(KeyInstant) * instants->n);
	if (at != NULL)
		for (int64 i = 0; i < instants->n; i++)
			at = put_64(put_64(at, instants->items[i].key), instants->items[i].at);
}

static void
merge_instants(FlatReader *reader, ExpandedState *state)
{
	Instants   *instants = (Instants *) state;
	uint64		n = flat_get_64(reader, "number of instants");
	const char *at = flat_take(reader, n, sizeof(KeyInstant), "number of instants");

	make_room(instants, n);
	for (uint64 i = 0; i < n; i++)
	{
		KeyInstant *item = &instants->items[instants->n];

		item->key = (int64) get_64(&at);
		item->at = (TimestampTz) get_64(&at);
		if (TIMESTAMP_NOT_FINITE(item->at))
			flat_refuse(reader, "instant");
		instants->n++;
	}
}

Datum
pipelines_instants_combine(PG_FUNCTION_ARGS)
{
	return state_combine(&instants_kind, fcinfo);
}

/*
 * pipelines_instants_add(state, key bigint, at timestamptz)
 *		Rows without one of both, and instants without a place in time, are left
 *		out.
 */
Datum
pipelines_instants_add(PG_FUNCTION_ARGS)
{
	Instants   *instants = state_to_change(&instants_kind, fcinfo);
	KeyInstant	item;

	if (!PG_ARGISNULL(1) && !PG_ARGISNULL(2))
	{
		item.key = PG_GETARG_INT64(1);
		item.at = PG_GETARG_TIMESTAMPTZ(2);
		if (!TIMESTAMP_NOT_FINITE(item.at))
		{
			if (unlikely(instants->n == instants->room))
				make_room(instants, 1);
			instants->items[instants->n++] = item;
		}
	}
	PG_RETURN_DATUM(STATE_DATUM(instants));
}

/* ----------
 * The table
 * ----------
 */

static inline uint64
hash_key(int64 key)
{
	uint64		hash = (uint64) key;

	hash = (hash ^ (hash >> 33)) * UINT64CONST(0xff51afd7ed558ccd);
	hash = (hash ^ (hash >> 33)) * UINT64CONST(0xc4ceb9fe1a85ec53);
	return hash ^ (hash >> 33);
}

static TableHeader *
make_table(uint32 format, int64 first, uint64 slots)
{
	Size		size = sizeof(TableHeader) + slots * SLOT_SIZE(format);
	TableHeader *table = palloc(size);

	SET_VARSIZE(table, size);
	table->format = format;
	table->first = first;
	table->slots = slots;
	return table;
}

static TableHeader *
table_of_places(const Instants *instants, int64 first, uint64 slots)
{
	TableHeader *table = make_table(FORMAT_PLACES, first, slots);
	TimestampTz *places = (TimestampTz *) TABLE_DATA(table);

	for (uint64 i = 0; i < slots; i++)
		places[i] = NO_INSTANT;
	for (int64 i = 0; i < instants->n; i++)
		places[(uint64) instants->items[i].key - (uint64) first] = instants->items[i].at;
	return table;
}

static TableHeader *
table_of_hashes(const Instants *instants)
{
	TableHeader *table;
	KeyInstant *items;
	uint64		slots = 16;

	while (slots < (uint64) instants->n * 2)
		slots *= 2;
	table = make_table(FORMAT_HASHED, 0, slots);
	items = (KeyInstant *) TABLE_DATA(table);
	for (uint64 i = 0; i < slots; i++)
		items[i].at = NO_INSTANT;
	for (int64 i = 0; i < instants->n; i++)
	{
		const KeyInstant *item = &instants->items[i];
		uint64		slot = hash_key(item->key) & (slots - 1);
		uint64		steps = 0;

		/* keys may have been chosen so that they collide */
		while (items[slot].at != NO_INSTANT && items[slot].key != item->key)
		{
			slot = (slot + 1) & (slots - 1);
			if (++steps % 1024 == 0)
				CHECK_FOR_INTERRUPTS();
		}
		items[slot] = *item;
	}
	return table;
}

Datum
pipelines_instants_result(PG_FUNCTION_ARGS)
{
	Instants   *instants;
	int64		first = PG_INT64_MAX;
	int64		last = PG_INT64_MIN;
	uint64		range;

	if (PG_ARGISNULL(0))
		PG_RETURN_POINTER(make_table(FORMAT_PLACES, 0, 0));
	instants = state_to_read(&instants_kind, fcinfo);
	if (instants->n == 0)
		PG_RETURN_POINTER(make_table(FORMAT_PLACES, 0, 0));

	for (int64 i = 0; i < instants->n; i++)
	{
		first = Min(first, instants->items[i].key);
		last = Max(last, instants->items[i].key);
	}
	/* a place takes half of what a slot does, and slots are mostly free */
	range = (uint64) last - (uint64) first;
	if (range < (uint64) instants->n * 4)
		PG_RETURN_POINTER(table_of_places(instants, first, range + 1));
	PG_RETURN_POINTER(table_of_hashes(instants));
}

static void
refuse_table(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
			 errmsg("invalid table of instants"),
			 errdetail("Its length is not what it says."),
			 errhint("Such tables are made by pipelines._instants().")));
}

/*
 * pipelines_seconds_since(instants bytea, key bigint, at timestamptz) -> float8
 *		NULL: there is nothing of this key, or "at" has no place in time.
 */
Datum
pipelines_seconds_since(PG_FUNCTION_ARGS)
{
	bytea	   *packed = PG_GETARG_BYTEA_PP(0);
	int64		key = PG_GETARG_INT64(1);
	TimestampTz at = PG_GETARG_TIMESTAMPTZ(2);
	TimestampTz since = NO_INSTANT;
	TableHeader header;
	const char *slots = VARDATA_ANY(packed) + sizeof(TableHeader) - VARHDRSZ;
	Size		size = VARSIZE_ANY_EXHDR(packed) + VARHDRSZ;

	if (size < sizeof(TableHeader))
		refuse_table();
	memcpy((char *) &header + VARHDRSZ, VARDATA_ANY(packed), sizeof(TableHeader) - VARHDRSZ);
	size -= sizeof(TableHeader);
	if ((header.format != FORMAT_PLACES && header.format != FORMAT_HASHED) ||
		size % SLOT_SIZE(header.format) != 0 || header.slots != size / SLOT_SIZE(header.format))
		refuse_table();

	if (header.format == FORMAT_PLACES)
	{
		uint64		place = (uint64) key - (uint64) header.first;

		if (place < header.slots)
			memcpy(&since, slots + place * sizeof(TimestampTz), sizeof(TimestampTz));
	}
	else
	{
		uint64		hash = hash_key(key);

		/* no more of them than there are, whatever is in them */
		for (uint64 i = 0; i < header.slots; i++)
		{
			uint64		slot = (hash + i) & (header.slots - 1);
			KeyInstant	item;

			memcpy(&item, slots + slot * sizeof(KeyInstant), sizeof(KeyInstant));
			if (item.at == NO_INSTANT)
				break;
			if (item.key == key)
			{
				since = item.at;
				break;
			}
			if (i % 1024 == 1023)
				CHECK_FOR_INTERRUPTS();
		}
	}
	PG_FREE_IF_COPY(packed, 0);

	if (since == NO_INSTANT || TIMESTAMP_NOT_FINITE(at))
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(at <= since ? 0.0 : ((double) at - (double) since) / USECS_PER_SEC);
}
