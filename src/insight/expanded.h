/*-------------------------------------------------------------------------
 *
 * expanded.h
 *	  States of aggregates that gather what they see.
 *
 * To SQL such a state is a bytea, so that it can be sent between processes
 * and servers, be combined, and be pushed down.  In memory it is an expanded
 * object of whatever layout suits its aggregate.  It is made flat when it
 * leaves the aggregate, and the flat form is the only way from one state into
 * another: a kind of states has one function that writes its flat form and one
 * that adds a flat form to a state, which may be empty.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PIPELINES_EXPANDED_H
#define PIPELINES_EXPANDED_H

#include "forecast/state.h"
#include "port/pg_bswap.h"
#include "utils/expandeddatum.h"

typedef struct ExpandedState ExpandedState;

/*
 * A flat form on its way out.  It is gone through twice: without a place
 * (at is NULL) it is only measured.
 */
typedef struct FlatWriter
{
	char	   *at;
	Size		size;
	Size		room;
} FlatWriter;

/* a flat form on its way in, of which nothing is believed */
typedef struct FlatReader
{
	const char *at;
	const char *end;
	const char *name;			/* of the aggregate, for messages */
} FlatReader;

/* what tells the states of one family of aggregates from all others */
typedef struct StateKind
{
	const char *name;			/* of the aggregate, for messages */
	uint32		format;			/* first word of the flat form */
	Size		size;			/* of the struct */
	bool		many;			/* small, and one for each of many groups? */
	void		(*write) (FlatWriter *writer, ExpandedState *state);
	void		(*merge) (FlatReader *reader, ExpandedState *state);
} StateKind;

/* what the struct of each kind begins with; all the rest of it begins as zeros */
struct ExpandedState
{
	ExpandedObjectHeader header;
	const StateKind *kind;
};

/* where a state keeps what it allocates */
#define STATE_CONTEXT(state)	(((ExpandedState *) (state))->header.eoh_context)

/* a state as a result */
#define STATE_DATUM(state)		EOHPGetRWDatum(&((ExpandedState *) (state))->header)

extern const ExpandedObjectMethods expanded_state_methods;

extern void *state_make(const StateKind *kind, FunctionCallInfo fcinfo);
extern void *state_to_read(const StateKind *kind, FunctionCallInfo fcinfo);
extern Datum state_combine(const StateKind *kind, FunctionCallInfo fcinfo);

/*
 * The first argument as a state that may be changed: the aggregate's own, a
 * new one for NULL, or a copy for whoever calls the function by hand.
 */
static inline void *
state_to_change(const StateKind *kind, FunctionCallInfo fcinfo)
{
	if (likely(!PG_ARGISNULL(0) && state_is_ours(fcinfo) &&
			   VARATT_IS_EXTERNAL_EXPANDED_RW(DatumGetPointer(PG_GETARG_DATUM(0)))))
	{
		ExpandedState *state = (ExpandedState *) DatumGetEOHP(PG_GETARG_DATUM(0));

		if (likely(state->header.eoh_methods == &expanded_state_methods && state->kind == kind))
			return state;
	}
	return state_make(kind, fcinfo);
}

/* ----- writing; numbers are big-endian ----- */

/* The place of the next so many bytes; NULL if they are only measured. */
extern char *flat_place(FlatWriter *writer, Size size);

static inline char *
put_32(char *at, uint32 value)
{
	value = pg_hton32(value);
	memcpy(at, &value, sizeof(value));
	return at + sizeof(value);
}

static inline char *
put_64(char *at, uint64 value)
{
	value = pg_hton64(value);
	memcpy(at, &value, sizeof(value));
	return at + sizeof(value);
}

extern void flat_put_32(FlatWriter *writer, uint32 value);
extern void flat_put_64(FlatWriter *writer, uint64 value);
extern void flat_put_text(FlatWriter *writer, const char *text);

/* ----- reading ----- */

/* The flat form is none: what is wrong with it? */
compat_noreturn extern void flat_refuse(const FlatReader *reader, const char *what);

/* The next so many bytes of each of n items, which are all there. */
extern const char *flat_take(FlatReader *reader, uint64 n, Size size, const char *what);

static inline uint32
get_32(const char **at)
{
	uint32		value;

	memcpy(&value, *at, sizeof(value));
	*at += sizeof(value);
	return pg_ntoh32(value);
}

static inline uint64
get_64(const char **at)
{
	uint64		value;

	memcpy(&value, *at, sizeof(value));
	*at += sizeof(value);
	return pg_ntoh64(value);
}

extern uint32 flat_get_32(FlatReader *reader, const char *what);
extern uint64 flat_get_64(FlatReader *reader, const char *what);
extern char *flat_get_text(FlatReader *reader, const char *what);

/* ----------
 * Long lists of 64-bit numbers, which only grow.
 * ----------
 */

/* can be divided by how many numbers any item has: 1, 3 or 6 */
#define WORDS_IN_CHUNK	252

typedef struct WordChunk
{
	struct WordChunk *next;
	uint64		words[WORDS_IN_CHUNK];
} WordChunk;

/* all zeros: empty */
typedef struct WordList
{
	WordChunk  *newest;
	uint32		used;			/* numbers of the newest chunk; all others are full */
} WordList;

extern void word_list_grow(WordList *list, MemoryContext context);
extern uint64 word_list_length(const WordList *list);
extern void flat_put_words(FlatWriter *writer, const WordList *list);

/* the place of the next item, of so many numbers */
static inline uint64 *
word_list_add(WordList *list, uint32 nwords, MemoryContext context)
{
	uint64	   *word;

	if (unlikely(list->newest == NULL || list->used == WORDS_IN_CHUNK))
		word_list_grow(list, context);
	word = &list->newest->words[list->used];
	list->used += nwords;
	return word;
}

/* for each item of so many numbers, as uint64 pointer "word", the newest chunk first */
#define FOR_EACH_WORD(word, nwords, list) \
	for (const WordChunk *chunk_ = (list)->newest; chunk_ != NULL; chunk_ = chunk_->next) \
		for (const uint64 *word = chunk_->words, \
			 *end_ = word + (chunk_ == (list)->newest ? (list)->used : WORDS_IN_CHUNK); \
			 word < end_; word += (nwords))

#endif							/* PIPELINES_EXPANDED_H */
