/*-------------------------------------------------------------------------
 *
 * expanded.c
 *	  States of aggregates that gather what they see.
 *
 * Owns how such a state lives as an expanded object, becomes flat, and is
 * read again.  The invariant: what is read from a flat form was checked
 * first, since the flat form is a bytea, and anybody may hand us any bytea:
 * nothing that we did not write is believed, be it a length, a number of
 * items or a place in a list.  Must never change a state that isn't the
 * aggregate's own.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "insight/expanded.h"
#include "mb/pg_wchar.h"
#include "utils/memutils.h"

static Size state_flat_size(ExpandedObjectHeader *eohptr);
static void state_flatten_into(ExpandedObjectHeader *eohptr, void *result, Size allocated_size);

const ExpandedObjectMethods expanded_state_methods = {
	state_flat_size,
	state_flatten_into
};

/* ----------
 * Writing
 * ----------
 */

char *
flat_place(FlatWriter *writer, Size size)
{
	char	   *place;

	writer->size += size;
	if (writer->at == NULL)
		return NULL;
	if (writer->size > writer->room)
		elog(ERROR, "the flat form of a state is longer than was measured");
	place = writer->at;
	writer->at += size;
	return place;
}

void
flat_put_32(FlatWriter *writer, uint32 value)
{
	char	   *at = flat_place(writer, sizeof(uint32));

	if (at != NULL)
		put_32(at, value);
}

void
flat_put_64(FlatWriter *writer, uint64 value)
{
	char	   *at = flat_place(writer, sizeof(uint64));

	if (at != NULL)
		put_64(at, value);
}

void
flat_put_text(FlatWriter *writer, const char *text)
{
	Size		length = strlen(text);
	char	   *at = flat_place(writer, sizeof(uint32) + length);

	if (at != NULL)
		memcpy(put_32(at, (uint32) length), text, length);
}

/* the numbers of a list, without how many they are */
void
flat_put_words(FlatWriter *writer, const WordList *list)
{
	char	   *at = flat_place(writer, sizeof(uint64) * word_list_length(list));

	if (at != NULL)
		FOR_EACH_WORD(word, 1, list)
			at = put_64(at, *word);
}

static void
write_state(FlatWriter *writer, ExpandedState *state)
{
	flat_put_32(writer, state->kind->format);
	state->kind->write(writer, state);
}

static Size
state_flat_size(ExpandedObjectHeader *eohptr)
{
	ExpandedState *state = (ExpandedState *) eohptr;
	FlatWriter	writer = {NULL, 0, 0};

	write_state(&writer, state);
	if (writer.size > MaxAllocSize - VARHDRSZ)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the state of aggregate %s is too large to be sent", state->kind->name),
				 errdetail("%zu bytes.", writer.size),
				 errhint("One process doesn't send it: SET max_parallel_workers_per_gather = 0.")));
	return writer.size + VARHDRSZ;
}

static void
state_flatten_into(ExpandedObjectHeader *eohptr, void *result, Size allocated_size)
{
	FlatWriter	writer = {VARDATA(result), 0, allocated_size - VARHDRSZ};

	write_state(&writer, (ExpandedState *) eohptr);
	if (writer.size != writer.room)
		elog(ERROR, "the flat form of a state is shorter than was measured");
	SET_VARSIZE(result, allocated_size);
}

/* ----------
 * Reading
 * ----------
 */

void
flat_refuse(const FlatReader *reader, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
			 errmsg("invalid state of aggregate %s", reader->name),
			 errdetail("The %s can't be right.", what),
			 errhint("States are made by the functions of the aggregate, and are read by the version that made them.")));
}

const char *
flat_take(FlatReader *reader, uint64 n, Size size, const char *what)
{
	const char *at = reader->at;

	if (n > (Size) (reader->end - at) / size)
		flat_refuse(reader, what);
	reader->at += n * size;
	return at;
}

uint32
flat_get_32(FlatReader *reader, const char *what)
{
	const char *at = flat_take(reader, 1, sizeof(uint32), what);

	return get_32(&at);
}

uint64
flat_get_64(FlatReader *reader, const char *what)
{
	const char *at = flat_take(reader, 1, sizeof(uint64), what);

	return get_64(&at);
}

/* a text of the encoding of the database, in the current memory context */
char *
flat_get_text(FlatReader *reader, const char *what)
{
	uint32		length = flat_get_32(reader, what);
	const char *at = flat_take(reader, length, 1, what);

	if (!pg_verify_mbstr(GetDatabaseEncoding(), at, (int) length, true))
		flat_refuse(reader, what);
	return pnstrdup(at, length);
}

/* Add a state in whatever form to one that may be changed. */
static void
merge_state(ExpandedState *state, Datum datum)
{
	const StateKind *kind = state->kind;
	struct varlena *flat = pg_detoast_datum_packed((struct varlena *) DatumGetPointer(datum));
	FlatReader	reader;

	reader.at = VARDATA_ANY(flat);
	reader.end = reader.at + VARSIZE_ANY_EXHDR(flat);
	reader.name = kind->name;
	if (flat_get_32(&reader, "format") != kind->format)
		flat_refuse(&reader, "format");
	kind->merge(&reader, state);
	if (reader.at != reader.end)
		flat_refuse(&reader, "length");
	if (flat != (struct varlena *) DatumGetPointer(datum))
		pfree(flat);
}

/* ----------
 * States
 * ----------
 */

/* A state that belongs to the aggregate, or to whoever calls by hand. */
static ExpandedState *
make_empty(const StateKind *kind, FunctionCallInfo fcinfo)
{
	MemoryContext parent;
	MemoryContext context;
	ExpandedState *state;

	if (!AggCheckCallContext(fcinfo, &parent))
		parent = CurrentMemoryContext;
	if (kind->many)
		context = AllocSetContextCreate(parent, "pipelines state", ALLOCSET_SMALL_SIZES);
	else
		context = AllocSetContextCreate(parent, "pipelines state", ALLOCSET_DEFAULT_SIZES);
	state = MemoryContextAllocZero(context, kind->size);
	EOH_init_header(&state->header, &expanded_state_methods, context);
	state->kind = kind;
	return state;
}

/* A new state: empty where the first argument is NULL, else a copy of that. */
void *
state_make(const StateKind *kind, FunctionCallInfo fcinfo)
{
	ExpandedState *state = make_empty(kind, fcinfo);

	if (!PG_ARGISNULL(0))
		merge_state(state, PG_GETARG_DATUM(0));
	return state;
}

/*
 * The first argument, not NULL, for a final function: the aggregate's own
 * state, or a copy that may be put in order, or spoilt.
 */
void *
state_to_read(const StateKind *kind, FunctionCallInfo fcinfo)
{
	if (state_is_ours(fcinfo) &&
		VARATT_IS_EXTERNAL_EXPANDED(DatumGetPointer(PG_GETARG_DATUM(0))))
	{
		ExpandedState *state = (ExpandedState *) DatumGetEOHP(PG_GETARG_DATUM(0));

		if (state->header.eoh_methods == &expanded_state_methods && state->kind == kind)
			return state;
	}
	return state_make(kind, fcinfo);
}

/* The combine function of every kind. */
Datum
state_combine(const StateKind *kind, FunctionCallInfo fcinfo)
{
	ExpandedState *state;

	if (PG_ARGISNULL(0) && PG_ARGISNULL(1))
		PG_RETURN_NULL();
	state = state_to_change(kind, fcinfo);
	if (!PG_ARGISNULL(1))
		merge_state(state, PG_GETARG_DATUM(1));
	return STATE_DATUM(state);
}

/* ----------
 * Lists of numbers
 * ----------
 */

void
word_list_grow(WordList *list, MemoryContext context)
{
	WordChunk  *chunk = MemoryContextAlloc(context, sizeof(WordChunk));

	chunk->next = list->newest;
	list->newest = chunk;
	list->used = 0;
}

uint64
word_list_length(const WordList *list)
{
	uint64		length = list->used;

	if (list->newest == NULL)
		return 0;
	for (const WordChunk *chunk = list->newest->next; chunk != NULL; chunk = chunk->next)
		length += WORDS_IN_CHUNK;
	return length;
}
