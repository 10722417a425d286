/*-------------------------------------------------------------------------
 *
 * funnel.c
 *	  The aggregate behind the report funnel().
 *
 * Owns the judgement which stages of its pipeline a deal counts in, by the
 * four modes of: it gathers the stays of all deals in any order, puts
 * those of each deal in the order of its versions, and counts.
 *
 * Speed is a question of memory here.  Gathering writes eight bytes a stay, to
 * the end of a list of those whose keys are its neighbours: several processes
 * can do that at a time, and what they have is put together by copying.  Which
 * stays are of one deal is found out at the end, one such list after the other,
 * each small enough for the processor's cache.
 *
 * Invariant: a deal is counted at most once per stage (stays are, in mode
 * direct), and only in the pipeline that it stands in at the instant of the
 * report; what comes out does not depend on the order of the rows.
 *
 * It must never read a table: what is a stage, and who takes part, is said by
 * its arguments.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "insight/expanded.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(pipelines_funnel_add_number);
PG_FUNCTION_INFO_V1(pipelines_funnel_add_text);
PG_FUNCTION_INFO_V1(pipelines_funnel_combine);
PG_FUNCTION_INFO_V1(pipelines_funnel_result);

/* arguments of the aggregate, after the state */
enum
{
	ARG_STEPS = 1,				/* int4[]: pipeline, stage, step, kind; constant */
	ARG_MODE,					/* text, constant */
	ARG_COHORT,					/* text, constant */
	ARG_KEY,					/* bigint or text */
	ARG_VERSION,				/* the last one of the stay */
	ARG_PIPELINE,
	ARG_STAGE,
	ARG_INSIDE,					/* was the stay begun in the period? */
	ARG_OUTCOME,				/* 'open' ...; NULL: a stay that is over */
	ARG_MEMBER,					/* is the deal in the cohort? */
	ARG_VALUE					/* what the report is split by */
};

/* what kind of step a stage is */
enum
{
	STEP_OPEN = 0,
	STEP_WON = 1,
	STEP_DONE = 2,
	STEP_GONE = 3				/* open, but archived: nobody has to pass it */
};

typedef enum FunnelMode
{
	MODE_ANY, MODE_STRICT, MODE_REACHED, MODE_DIRECT
} FunnelMode;

typedef enum FunnelCohort
{
	COHORT_DEAL,				/* the deal is a member or not */
	COHORT_FIRST_STAGE,			/* it entered the first stage in the period */
	COHORT_STAGE				/* it entered the stage in question in it */
} FunnelCohort;

/* where a deal stands at the instant of the report */
enum
{
	STANDS_OPEN, STANDS_WON, STANDS_LOST, STANDS_OTHER
};

typedef struct StageStep
{
	int32		pipeline;
	int32		stage;
	int32		step;			/* -1: none */
	int32		kind;			/* of the step */
} StageStep;

/*
 * Keys that differ in their last bits only share a page.  Of a stay and of what
 * is known of a deal a page keeps one number each:
 *
 *		stay	key (12 bits), version (32), step + 1 (15), inside? (1)
 *		deal	value + 1 (32), first step of its pipeline (16), key (12),
 *				member? (1), dropped? (1), where it stands (2)
 */
#define PAGE_BITS			12
#define PAGE_KEYS			(1 << PAGE_BITS)
#define PAGE_OF(key)		((key) >> PAGE_BITS)
#define IN_PAGE(key)		((uint32) (key) & (PAGE_KEYS - 1))

#define STAY_KEY(stay)		IN_PAGE((stay) >> 48)
#define STAY_VERSION(stay)	((int32) (uint32) ((stay) >> 16))
#define STAY_STEP(stay)		((int) ((stay) >> 1 & 0x7FFF) - 1)
#define STAY_INSIDE(stay)	(((stay) & 1) != 0)
#define STAY_BITS			60

#define DEAL_VALUE(deal)	((int64) ((deal) >> 32) - 1)
#define DEAL_FIRST(deal)	((int) ((deal) >> 16 & 0xFFFF))
#define DEAL_KEY(deal)		IN_PAGE((deal) >> 4)
#define DEAL_MEMBER			8
#define DEAL_DROPPED		4	/* lost or disqualified */
#define DEAL_STANDS(deal)	((int) ((deal) & 3))

typedef struct PageEntry
{
	uint64		page;
	WordList	stays;
	WordList	deals;
	char		status;
} PageEntry;

/*
 * A page with few stays is a waste.  While there are many of those already, what
 * would need a new one is kept beside its key, as all is whose key is a text.
 */
#define PAGES_ALLOWED(nstays)	(64 + (nstays) / WORDS_IN_CHUNK)

typedef struct Loose
{
	uint64		key;			/* the number, or where in the texts it is */
	uint64		item;			/* a stay or a deal, whose own key is 0 */
} Loose;

typedef struct LooseList
{
	Loose	   *items;
	int64		n;
	int64		room;
} LooseList;

/* a stay among those of its deal */
typedef struct Visit
{
	int32		version;
	int16		step;
	bool		inside;
} Visit;

/* a key that is looked up: a number, or a text and the hash of it */
typedef struct Key
{
	uint64		number;
	const char *text;			/* NULL for a number */
} Key;

typedef struct KeyEntry
{
	Key			key;
	uint32		index;			/* of a deal, or in values */
	char		status;
} KeyEntry;

static inline bool
same_key(Key a, Key b)
{
	if (a.number != b.number)
		return false;
	return a.text == b.text ||
		(a.text != NULL && b.text != NULL && strcmp(a.text, b.text) == 0);
}

/* the product spreads keys that follow each other; its upper half is mixed best */
static inline uint32
spread(uint64 number)
{
	return (uint32) ((number * UINT64CONST(0x9E3779B97F4A7C15)) >> 32);
}

#define SH_PREFIX entries
#define SH_ELEMENT_TYPE KeyEntry
#define SH_KEY_TYPE Key
#define SH_KEY key
#define SH_HASH_KEY(tb, key) spread((key).number)
#define SH_EQUAL(tb, a, b) same_key(a, b)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

#define SH_PREFIX pages
#define SH_ELEMENT_TYPE PageEntry
#define SH_KEY_TYPE uint64
#define SH_KEY page
#define SH_HASH_KEY(tb, key) spread(key)
#define SH_EQUAL(tb, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

typedef struct Funnel
{
	ExpandedState state;
	MemoryContext context;		/* NULL: nothing was seen yet */
	FunnelMode	mode;
	FunnelCohort cohort;

	/* the steps, each pipeline's in the order of its stages */
	int			nsteps;
	int32	   *step_pipeline;
	uint8	   *step_kind;

	/* which step a stage is; several may be the same one */
	int			nstages;
	StageStep  *stages;

	bool		texts;			/* are the keys texts? */
	char	   *text;			/* all of them, each with a zero at its end */
	int64		text_size;
	int64		text_room;

	pages_hash *pages;
	int64		npaged;			/* stays in them */
	LooseList	stays;
	LooseList	deals;

	entries_hash *value_keys;
	char	  **values;
	int			nvalues;
	int			values_room;
} Funnel;

typedef struct Counts
{
	int64		deals;
	int64		won;
	int64		lost;
	int64		open;
	int64		other;
	int64		exits;
	int64		next;			/* exits to the next step */
	int64		to_won;			/* exits to a stage that is won */
} Counts;

static void write_funnel(FlatWriter *writer, ExpandedState *state);
static void merge_funnel(FlatReader *reader, ExpandedState *state);

static const StateKind funnel_kind = {
	.name = "pipelines._funnel",
	.format = 0x50466E01,
	.size = sizeof(Funnel),
	.write = write_funnel,
	.merge = merge_funnel
};

/* ----------
 * Gathering
 * ----------
 */

/* the steps of the stages, which are the caller's to have checked */
static void
set_steps(Funnel *funnel)
{
	for (int i = 0; i < funnel->nstages; i++)
		funnel->nsteps = Max(funnel->nsteps, funnel->stages[i].step + 1);
	funnel->step_pipeline = MemoryContextAllocZero(funnel->context, sizeof(int32) * (funnel->nsteps + 1));
	funnel->step_kind = MemoryContextAllocZero(funnel->context, funnel->nsteps + 1);
	for (int i = funnel->nstages - 1; i >= 0; i--)
	{
		int			step = funnel->stages[i].step;

		if (step >= 0)
		{
			funnel->step_pipeline[step] = funnel->stages[i].pipeline;
			funnel->step_kind[step] = (uint8) funnel->stages[i].kind;
		}
	}
}

static bool
right_stage(const StageStep *stage)
{
	return stage->step >= -1 && stage->step < PG_INT16_MAX &&
		stage->kind >= STEP_OPEN && stage->kind <= STEP_GONE;
}

static void
read_steps(Funnel *funnel, ArrayType *array)
{
	Datum	   *numbers;
	int			n;

	deconstruct_array(array, INT4OID, sizeof(int32), true, TYPALIGN_INT, &numbers, NULL, &n);
	n /= 4;
	funnel->nstages = n;
	funnel->stages = MemoryContextAlloc(funnel->context, sizeof(StageStep) * (n + 1));
	for (int i = 0; i < n; i++)
	{
		funnel->stages[i].pipeline = DatumGetInt32(numbers[4 * i]);
		funnel->stages[i].stage = DatumGetInt32(numbers[4 * i + 1]);
		funnel->stages[i].step = DatumGetInt32(numbers[4 * i + 2]);
		funnel->stages[i].kind = DatumGetInt32(numbers[4 * i + 3]);
		if (!right_stage(&funnel->stages[i]))
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("a funnel can't have step %d of kind %d",
							funnel->stages[i].step, funnel->stages[i].kind),
					 errdetail("There are %d stages, steps from -1 to %d, kinds from %d to %d.",
							   n, PG_INT16_MAX - 1, STEP_OPEN, STEP_GONE),
					 errhint("Ask pipelines.funnel() for one pipeline.")));
	}
	set_steps(funnel);
}

static void
begin_list(LooseList *list, MemoryContext context)
{
	list->n = 0;
	list->room = 64;
	list->items = MemoryContextAllocHuge(context, sizeof(Loose) * list->room);
}

static void
begin_funnel(Funnel *funnel)
{
	MemoryContext context = STATE_CONTEXT(funnel);

	funnel->value_keys = entries_create(context, 64, NULL);
	funnel->values_room = 64;
	funnel->values = MemoryContextAllocHuge(context, sizeof(char *) * funnel->values_room);
	funnel->text_room = 8192;
	funnel->text = MemoryContextAllocHuge(context, funnel->text_room);
	funnel->pages = pages_create(context, 256, NULL);
	begin_list(&funnel->stays, context);
	begin_list(&funnel->deals, context);
	funnel->context = context;
}

/* what the constant arguments say */
static void
read_question(FunctionCallInfo fcinfo, Funnel *funnel, bool texts)
{
	char	   *mode;
	char	   *cohort;

	if (PG_ARGISNULL(ARG_STEPS) || PG_ARGISNULL(ARG_MODE) || PG_ARGISNULL(ARG_COHORT))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("steps, mode and cohort of a funnel must not be null"),
				 errhint("Ask pipelines.funnel().")));
	begin_funnel(funnel);
	mode = text_to_cstring(PG_GETARG_TEXT_PP(ARG_MODE));
	cohort = text_to_cstring(PG_GETARG_TEXT_PP(ARG_COHORT));
	funnel->mode = strcmp(mode, "strict") == 0 ? MODE_STRICT :
		strcmp(mode, "reached") == 0 ? MODE_REACHED :
		strcmp(mode, "direct") == 0 ? MODE_DIRECT : MODE_ANY;
	funnel->cohort = strcmp(cohort, "entered_first_stage_in") == 0 ? COHORT_FIRST_STAGE :
		strcmp(cohort, "entered_stage_in") == 0 ? COHORT_STAGE : COHORT_DEAL;
	funnel->texts = texts;
	read_steps(funnel, PG_GETARG_ARRAYTYPE_P(ARG_STEPS));
}

static Key
text_key(const char *text)
{
	Key			key;

	key.text = text;
	key.number = DatumGetUInt64(hash_any_extended((const unsigned char *) text, (int) strlen(text), 0));
	return key;
}

static int32
find_value(Funnel *funnel, Key key)
{
	bool		found;
	KeyEntry   *entry = entries_insert(funnel->value_keys, key, &found);

	if (!found)
	{
		if (funnel->nvalues == funnel->values_room)
		{
			funnel->values_room *= 2;
			funnel->values = repalloc_huge(funnel->values, sizeof(char *) * funnel->values_room);
		}
		entry->key.text = MemoryContextStrdup(funnel->context, key.text);
		entry->index = funnel->nvalues;
		funnel->values[funnel->nvalues++] = unconstify(char *, entry->key.text);
	}
	return (int32) entry->index;
}

static int
find_step(Funnel *funnel, int32 pipeline, int32 stage)
{
	for (int i = 0; i < funnel->nstages; i++)
		if (funnel->stages[i].stage == stage && funnel->stages[i].pipeline == pipeline)
			return funnel->stages[i].step;
	return -1;
}

/* the steps of a pipeline: from *first to before *end */
static void
steps_of(Funnel *funnel, int32 pipeline, int *first, int *end)
{
	int			i = 0;

	while (i < funnel->nsteps && funnel->step_pipeline[i] != pipeline)
		i++;
	*first = i;
	while (i < funnel->nsteps && funnel->step_pipeline[i] == pipeline)
		i++;
	*end = i;
}

/* What is known of a deal, as a number without its key; false: it counts nowhere. */
static bool
describe_deal(Funnel *funnel, FunctionCallInfo fcinfo, uint64 *deal)
{
	text	   *outcome = PG_GETARG_TEXT_PP(ARG_OUTCOME);
	const char *name = VARDATA_ANY(outcome);
	int			length = VARSIZE_ANY_EXHDR(outcome);
	int			first;
	int			end;
#define IS(word) (length == (int) strlen(word) && memcmp(name, word, length) == 0)

	steps_of(funnel, PG_GETARG_INT32(ARG_PIPELINE), &first, &end);
	if (first == end)
		return false;
	*deal = (uint64) first << 16;
	if (!PG_ARGISNULL(ARG_VALUE))
	{
		char	   *value = text_to_cstring(PG_GETARG_TEXT_PP(ARG_VALUE));

		*deal |= ((uint64) find_value(funnel, text_key(value)) + 1) << 32;
		pfree(value);
	}
	if (!PG_ARGISNULL(ARG_MEMBER) && PG_GETARG_BOOL(ARG_MEMBER))
		*deal |= DEAL_MEMBER;
	if (IS("lost") || IS("disqualified"))
		*deal |= DEAL_DROPPED;
	*deal |= IS("won") ? STANDS_WON : IS("lost") ? STANDS_LOST :
		IS("disqualified") || IS("done") ? STANDS_OTHER : STANDS_OPEN;
#undef IS
	return true;
}

static void
refuse_other_funnel(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("funnels of different steps, modes, cohorts or keys can't be put together"),
			 errhint("Ask pipelines.funnel().")));
}

/* An array with room for more items, of which it has n. */
static void *
with_room(void *items, Size size, int64 n, int64 *room, int64 more)
{
	if (*room - n >= more)
		return items;
	*room = Max(*room * 2, n + more);
	return repalloc_huge(items, size * *room);
}

static void
add_loose(LooseList *list, uint64 key, uint64 item)
{
	list->items = with_room(list->items, sizeof(Loose), list->n, &list->room, 1);
	list->items[list->n].key = key;
	list->items[list->n++].item = item;
}

/* The page of a number, which is made if there is none yet. */
static PageEntry *
make_page(pages_hash *pages, uint64 number)
{
	bool		found;
	PageEntry  *page = pages_insert(pages, number, &found);

	if (!found)
	{
		memset(&page->stays, 0, sizeof(WordList));
		memset(&page->deals, 0, sizeof(WordList));
	}
	return page;
}

/* The page of a key; NULL: there are too many already. */
static inline PageEntry *
find_page(Funnel *funnel, uint64 key)
{
	PageEntry  *page = pages_lookup(funnel->pages, PAGE_OF(key));

	if (likely(page != NULL))
		return page;
	if (funnel->pages->members >= PAGES_ALLOWED(funnel->npaged))
		return NULL;
	return make_page(funnel->pages, PAGE_OF(key));
}

/* A stay; its number has no key in it yet. */
static inline void
add_stay(Funnel *funnel, uint64 key, uint64 stay)
{
	PageEntry  *page = funnel->texts ? NULL : find_page(funnel, key);

	if (page == NULL)
	{
		add_loose(&funnel->stays, key, stay);
		return;
	}
	*word_list_add(&page->stays, 1, funnel->context) = (uint64) IN_PAGE(key) << 48 | stay;
	funnel->npaged++;
}

static inline void
add_deal(Funnel *funnel, uint64 key, uint64 deal)
{
	PageEntry  *page = funnel->texts ? NULL : find_page(funnel, key);

	if (page == NULL)
		add_loose(&funnel->deals, key, deal);
	else
		*word_list_add(&page->deals, 1, funnel->context) = (uint64) IN_PAGE(key) << 4 | deal;
}

/* Where so many bytes of texts may be put. */
static char *
new_text(Funnel *funnel, Size size)
{
	funnel->text = with_room(funnel->text, 1, funnel->text_size, &funnel->text_room, (int64) size);
	funnel->text_size += size;
	return funnel->text + funnel->text_size - size;
}

static uint64
keep_text(Funnel *funnel, text *key)
{
	Size		length = VARSIZE_ANY_EXHDR(key);
	char	   *at = new_text(funnel, length + 1);

	memcpy(at, VARDATA_ANY(key), length);
	at[length] = '\0';
	return at - funnel->text;
}

static inline Datum
funnel_add(FunctionCallInfo fcinfo, bool key_is_text)
{
	Funnel	   *funnel = state_to_change(&funnel_kind, fcinfo);
	uint64		key;
	int32		version;
	int			step;
	bool		inside;
	uint64		deal;

	if (unlikely(funnel->context == NULL))
		read_question(fcinfo, funnel, key_is_text);
	if (unlikely(funnel->texts != key_is_text))
		refuse_other_funnel();
	if (PG_ARGISNULL(ARG_KEY) || PG_ARGISNULL(ARG_PIPELINE) || PG_ARGISNULL(ARG_STAGE))
		PG_RETURN_DATUM(STATE_DATUM(funnel));

	key = key_is_text ? keep_text(funnel, PG_GETARG_TEXT_PP(ARG_KEY)) : (uint64) PG_GETARG_INT64(ARG_KEY);
	version = PG_ARGISNULL(ARG_VERSION) ? 0 : PG_GETARG_INT32(ARG_VERSION);
	step = find_step(funnel, PG_GETARG_INT32(ARG_PIPELINE), PG_GETARG_INT32(ARG_STAGE));
	inside = !PG_ARGISNULL(ARG_INSIDE) && PG_GETARG_BOOL(ARG_INSIDE);
	add_stay(funnel, key, (uint64) (uint32) version << 16 | (uint64) (step + 1) << 1 | (inside ? 1 : 0));
	if (!PG_ARGISNULL(ARG_OUTCOME) && describe_deal(funnel, fcinfo, &deal))
		add_deal(funnel, key, deal);
	PG_RETURN_DATUM(STATE_DATUM(funnel));
}

Datum
pipelines_funnel_add_number(PG_FUNCTION_ARGS)
{
	return funnel_add(fcinfo, false);
}

Datum
pipelines_funnel_add_text(PG_FUNCTION_ARGS)
{
	return funnel_add(fcinfo, true);
}

/* ----------
 * Flat form: mode, cohort, are keys texts?; the stages; the values; the texts of
 * the keys; the pages, each with its stays and its deals; the loose stays and
 * deals, each with its key.
 * ----------
 */

#define STAGE_SIZE	16
#define PAGE_HEAD	24
#define ITEM_SIZE	8
#define LOOSE_SIZE	16

static void
write_pages(FlatWriter *writer, const Funnel *funnel)
{
	pages_iterator pages;
	PageEntry  *page;

	flat_put_64(writer, funnel->pages->members);
	pages_start_iterate(funnel->pages, &pages);
	while ((page = pages_iterate(funnel->pages, &pages)) != NULL)
	{
		flat_put_64(writer, page->page);
		flat_put_64(writer, word_list_length(&page->stays));
		flat_put_64(writer, word_list_length(&page->deals));
		flat_put_words(writer, &page->stays);
		flat_put_words(writer, &page->deals);
	}
}

static void
write_loose(FlatWriter *writer, const LooseList *list)
{
	char	   *at;

	flat_put_64(writer, list->n);
	at = flat_place(writer, (Size) list->n * LOOSE_SIZE);
	for (int64 i = 0; at != NULL && i < list->n; i++)
	{
		at = put_64(at, list->items[i].key);
		at = put_64(at, list->items[i].item);
	}
}

static void
write_funnel(FlatWriter *writer, ExpandedState *state)
{
	const Funnel *funnel = (const Funnel *) state;
	char	   *at;

	/* nothing was seen: nothing is said */
	if (funnel->context == NULL)
		return;
	flat_put_32(writer, funnel->mode << 16 | funnel->cohort << 8 | (funnel->texts ? 1 : 0));
	flat_put_32(writer, funnel->nstages);
	at = flat_place(writer, (Size) funnel->nstages * STAGE_SIZE);
	for (int i = 0; at != NULL && i < funnel->nstages; i++)
	{
		at = put_32(at, funnel->stages[i].pipeline);
		at = put_32(at, funnel->stages[i].stage);
		at = put_32(at, funnel->stages[i].step);
		at = put_32(at, funnel->stages[i].kind);
	}
	flat_put_32(writer, funnel->nvalues);
	for (int i = 0; i < funnel->nvalues; i++)
		flat_put_text(writer, funnel->values[i]);
	flat_put_64(writer, funnel->text_size);
	at = flat_place(writer, funnel->text_size);
	if (at != NULL)
		memcpy(at, funnel->text, funnel->text_size);
	write_pages(writer, funnel);
	write_loose(writer, &funnel->stays);
	write_loose(writer, &funnel->deals);
}

/* the question: that of an empty funnel from now on, else the same as before */
static void
merge_question(FlatReader *reader, Funnel *funnel)
{
	uint32		word = flat_get_32(reader, "mode");
	uint32		nstages = flat_get_32(reader, "number of stages");
	const char *at = flat_take(reader, nstages, STAGE_SIZE, "number of stages");
	bool		begin = funnel->context == NULL;

	if ((word >> 16) > MODE_DIRECT || ((word >> 8) & 0xFF) > COHORT_STAGE || (word & 0xFF) > 1)
		flat_refuse(reader, "mode");
	if (begin)
	{
		begin_funnel(funnel);
		funnel->mode = word >> 16;
		funnel->cohort = (word >> 8) & 0xFF;
		funnel->texts = (word & 1) != 0;
		funnel->nstages = (int) nstages;
		funnel->stages = MemoryContextAlloc(funnel->context, sizeof(StageStep) * ((Size) nstages + 1));
	}
	else if (word != (uint32) (funnel->mode << 16 | funnel->cohort << 8 | (funnel->texts ? 1 : 0)) ||
			 nstages != (uint32) funnel->nstages)
		refuse_other_funnel();
	for (uint32 i = 0; i < nstages; i++)
	{
		StageStep	stage;

		stage.pipeline = (int32) get_32(&at);
		stage.stage = (int32) get_32(&at);
		stage.step = (int32) get_32(&at);
		stage.kind = (int32) get_32(&at);
		if (!right_stage(&stage))
			flat_refuse(reader, "stage");
		if (begin)
			funnel->stages[i] = stage;
		else if (memcmp(&stage, &funnel->stages[i], sizeof(StageStep)) != 0)
			refuse_other_funnel();
	}
	if (begin)
		set_steps(funnel);
}

/* the values: what number each of them has among ours */
static int32 *
merge_values(FlatReader *reader, Funnel *funnel, uint32 *nvalues)
{
	int32	   *numbers;

	*nvalues = flat_get_32(reader, "number of values");
	if (*nvalues > (Size) (reader->end - reader->at) / sizeof(uint32))
		flat_refuse(reader, "number of values");
	numbers = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(int32) * ((Size) *nvalues + 1));
	for (uint32 i = 0; i < *nvalues; i++)
	{
		char	   *text = flat_get_text(reader, "value");

		numbers[i] = find_value(funnel, text_key(text));
		pfree(text);
	}
	return numbers;
}

/* the texts of the keys, which will stand after ours; how many bytes they are */
static uint64
merge_texts(FlatReader *reader, Funnel *funnel)
{
	uint64		size = flat_get_64(reader, "size of the keys");
	const char *at = flat_take(reader, size, 1, "size of the keys");

	if (size > 0 && (!funnel->texts || at[size - 1] != '\0'))
		flat_refuse(reader, "text of the keys");
	memcpy(new_text(funnel, size), at, size);
	return size;
}

static inline uint64
right_stay(FlatReader *reader, const Funnel *funnel, uint64 stay)
{
	if (stay >> STAY_BITS != 0 || STAY_STEP(stay) >= funnel->nsteps)
		flat_refuse(reader, "stay");
	return stay;
}

/* a deal, its value by our own numbers */
static inline uint64
right_deal(FlatReader *reader, const Funnel *funnel, uint64 deal, const int32 *values, uint32 nvalues)
{
	uint32		value = (uint32) (deal >> 32);

	if (DEAL_FIRST(deal) >= funnel->nsteps || value > nvalues)
		flat_refuse(reader, "description of a deal");
	return value == 0 ? deal : (deal & PG_UINT32_MAX) | ((uint64) values[value - 1] + 1) << 32;
}

static void
merge_pages(FlatReader *reader, Funnel *funnel, const int32 *values, uint32 nvalues)
{
	uint64		npages = flat_get_64(reader, "number of pages");

	/* each takes some of the bytes: a number that is too large ends in an error */
	for (uint64 i = 0; i < npages; i++)
	{
		const char *at = flat_take(reader, 1, PAGE_HEAD, "number of pages");
		uint64		number = get_64(&at);
		uint64		nstays = get_64(&at);
		uint64		ndeals = get_64(&at);
		PageEntry  *page;

		CHECK_FOR_INTERRUPTS();
		if (funnel->texts || number > PAGE_OF(PG_UINT64_MAX))
			flat_refuse(reader, "page");
		page = make_page(funnel->pages, number);
		at = flat_take(reader, nstays, ITEM_SIZE, "number of stays");
		for (uint64 j = 0; j < nstays; j++)
			*word_list_add(&page->stays, 1, funnel->context) = right_stay(reader, funnel, get_64(&at));
		funnel->npaged += (int64) nstays;
		at = flat_take(reader, ndeals, ITEM_SIZE, "number of deals");
		for (uint64 j = 0; j < ndeals; j++)
			*word_list_add(&page->deals, 1, funnel->context) = right_deal(reader, funnel, get_64(&at), values, nvalues);
	}
}

/* a key: among our own texts, where it is one of 'size' bytes of them */
static inline uint64
merge_key(FlatReader *reader, const Funnel *funnel, uint64 key, uint64 size)
{
	if (!funnel->texts)
		return key;
	if (key >= size)
		flat_refuse(reader, "place of a key");
	return key + funnel->text_size - size;
}

static void
merge_funnel(FlatReader *reader, ExpandedState *state)
{
	Funnel	   *funnel = (Funnel *) state;
	uint32		nvalues;
	int32	   *values;
	uint64		size;
	uint64		n;
	const char *at;

	if (reader->at == reader->end)
		return;
	merge_question(reader, funnel);
	values = merge_values(reader, funnel, &nvalues);
	size = merge_texts(reader, funnel);
	merge_pages(reader, funnel, values, nvalues);

	n = flat_get_64(reader, "number of stays");
	at = flat_take(reader, n, LOOSE_SIZE, "number of stays");
	for (uint64 i = 0; i < n; i++)
	{
		uint64		key = merge_key(reader, funnel, get_64(&at), size);

		if (i % 65536 == 0)
			CHECK_FOR_INTERRUPTS();
		add_loose(&funnel->stays, key, right_stay(reader, funnel, get_64(&at)) & ~(UINT64CONST(0xFFF) << 48));
	}
	n = flat_get_64(reader, "number of deals");
	at = flat_take(reader, n, LOOSE_SIZE, "number of deals");
	for (uint64 i = 0; i < n; i++)
	{
		uint64		key = merge_key(reader, funnel, get_64(&at), size);

		if (i % 65536 == 0)
			CHECK_FOR_INTERRUPTS();
		add_loose(&funnel->deals, key, right_deal(reader, funnel, get_64(&at), values, nvalues) & ~(UINT64CONST(0xFFF) << 4));
	}
	pfree(values);
}

Datum
pipelines_funnel_combine(PG_FUNCTION_ARGS)
{
	return state_combine(&funnel_kind, fcinfo);
}

/* ----------
 * Judging
 * ----------
 */

static int
compare_visits(const void *a, const void *b)
{
	int32		x = ((const Visit *) a)->version;
	int32		y = ((const Visit *) b)->version;

	return (x > y) - (x < y);
}

static void
sort_visits(Visit *visits, int64 n)
{
	if (n > 32)
	{
		qsort(visits, n, sizeof(Visit), compare_visits);
		return;
	}
	for (int64 i = 1; i < n; i++)
	{
		Visit		visit = visits[i];
		int64		j = i;

		for (; j > 0 && visits[j - 1].version > visit.version; j--)
			visits[j] = visits[j - 1];
		visits[j] = visit;
	}
}

/* the next stage that has to be passed, from 'step' on, or 'end' */
static int
next_required(Funnel *funnel, int step, int end)
{
	while (step < end && funnel->step_kind[step] != STEP_OPEN)
		step++;
	return step;
}

static bool
is_terminal(Funnel *funnel, int step)
{
	return funnel->step_kind[step] == STEP_WON || funnel->step_kind[step] == STEP_DONE;
}

/* The open step after an open one, or the first last one; 'end': there is none. */
static int
next_step(Funnel *funnel, int step, int first, int end)
{
	int			next;

	if (is_terminal(funnel, step))
		return end;
	next = next_required(funnel, step + 1, end);
	if (next < end)
		return next;
	for (next = first; next < end; next++)
		if (is_terminal(funnel, next))
			break;
	return next;
}

/*
 * Which steps the deal counts in: counted[step] is made true.  The stays are
 * in order; first_inside tells of each step whether it was first entered in
 * the period.
 */
static void
judge_deal(Funnel *funnel, uint64 deal, const Visit *visits, int64 n, int first, int end, bool *counted)
{
	int			expected = next_required(funnel, first, end);
	int			furthest = -1;
	bool		through = false;

	for (int64 i = 0; i < n; i++)
	{
		int			step = visits[i].step;

		if (step < first || step >= end)
			continue;
		if (is_terminal(funnel, step))
			through = true;
		else
			furthest = Max(furthest, step);

		if (funnel->mode != MODE_STRICT)
			counted[step] = true;
		else if (step == expected)
		{
			counted[step] = true;
			expected = next_required(funnel, step + 1, end);
		}
		/* a last stage comes after all others, one that is gone after those before it */
		else if (is_terminal(funnel, step) ? expected == end :
				 funnel->step_kind[step] == STEP_GONE && step < expected)
			counted[step] = true;
	}

	if (funnel->mode == MODE_REACHED && (deal & DEAL_DROPPED) == 0)
		for (int step = first; step < end; step++)
			if (funnel->step_kind[step] == STEP_OPEN && (through || step <= furthest))
				counted[step] = true;
}

/* is the first entry into a step in the period? */
static bool
entered_inside(const Visit *visits, int64 n, int step)
{
	for (int64 i = 0; i < n; i++)
		if (visits[i].step == step)
			return visits[i].inside;
	return false;
}

static void
count_deal(Funnel *funnel, uint64 deal, const Visit *visits, int64 n, Counts *counts, bool *counted)
{
	int			first = DEAL_FIRST(deal);
	int			end = first;
	int			stands = DEAL_STANDS(deal);

	while (end < funnel->nsteps && funnel->step_pipeline[end] == funnel->step_pipeline[first])
		end++;
	if ((deal & DEAL_MEMBER) == 0 ||
		(funnel->cohort == COHORT_FIRST_STAGE &&
		 !entered_inside(visits, n, next_required(funnel, first, end))))
		return;

	if (funnel->mode == MODE_DIRECT)
	{
		for (int64 i = 0; i < n; i++)
		{
			int			step = visits[i].step;
			bool		inside = visits[i].inside;

			/* what came between was not seen, or the stages are one by now */
			while (i + 1 < n && step >= 0 && visits[i + 1].step == step)
				i++;
			if (step < first || step >= end ||
				(funnel->cohort == COHORT_STAGE && !inside))
				continue;
			counts[step].deals++;
			counts[step].won += stands == STANDS_WON;
			counts[step].lost += stands == STANDS_LOST;
			counts[step].open += stands == STANDS_OPEN;
			counts[step].other += stands == STANDS_OTHER;
			if (i + 1 < n)
			{
				int			to = visits[i + 1].step;
				int			next = next_step(funnel, step, first, end);

				counts[step].exits++;
				counts[step].next += to == next && next < end;
				counts[step].to_won += to >= 0 && funnel->step_kind[to] == STEP_WON;
			}
		}
		return;
	}

	memset(counted + first, 0, end - first);
	judge_deal(funnel, deal, visits, n, first, end, counted);
	for (int step = first; step < end; step++)
	{
		if (!counted[step] ||
			(funnel->cohort == COHORT_STAGE && !entered_inside(visits, n, step)))
			continue;
		counts[step].deals++;
		counts[step].won += stands == STANDS_WON;
		counts[step].lost += stands == STANDS_LOST;
		counts[step].open += stands == STANDS_OPEN;
		counts[step].other += stands == STANDS_OTHER;
	}
}

/* what judging one page after the other needs again and again */
typedef struct Judge
{
	Funnel	   *funnel;
	Counts	   *counts;			/* first those of deals without a value */
	bool	   *counted;		/* by step */
	uint64		deals[PAGE_KEYS];	/* PG_UINT64_MAX: none, or it was deleted */
	int64		ends[PAGE_KEYS];
	Visit	   *visits;
	int64		visits_room;
} Judge;

static void
judge_page(Judge *judge, const PageEntry *page)
{
	Funnel	   *funnel = judge->funnel;
	int64		n = 0;
	int64		begin = 0;

	/* only deals that are there count, and each once */
	memset(judge->deals, 0xFF, sizeof(judge->deals));
	FOR_EACH_WORD(deal, 1, &page->deals)
		judge->deals[DEAL_KEY(*deal)] = *deal;

	/* the stays of each deal together; ends[i] is where they begin at first */
	memset(judge->ends, 0, sizeof(judge->ends));
	FOR_EACH_WORD(stay, 1, &page->stays)
		judge->ends[STAY_KEY(*stay)]++;
	for (int i = 0; i < PAGE_KEYS; i++)
	{
		int64		here = judge->ends[i];

		judge->ends[i] = n;
		n += here;
	}
	judge->visits = with_room(judge->visits, sizeof(Visit), 0, &judge->visits_room, n);
	FOR_EACH_WORD(stay, 1, &page->stays)
	{
		Visit	   *visit = &judge->visits[judge->ends[STAY_KEY(*stay)]++];

		visit->version = STAY_VERSION(*stay);
		visit->step = (int16) STAY_STEP(*stay);
		visit->inside = STAY_INSIDE(*stay);
	}

	for (int i = 0; i < PAGE_KEYS; i++)
	{
		uint64		deal = judge->deals[i];
		Visit	   *visits = judge->visits + begin;

		n = judge->ends[i] - begin;
		begin = judge->ends[i];
		if (deal == PG_UINT64_MAX)
			continue;
		sort_visits(visits, n);
		count_deal(funnel, deal, visits, n,
				   judge->counts + (DEAL_VALUE(deal) + 1) * funnel->nsteps, judge->counted);
	}
}

/* The pages that loose items belong to: by number, where their own has none. */
typedef struct LoosePages
{
	Funnel	   *funnel;
	entries_hash *numbers;
	pages_hash *pages;
} LoosePages;

static PageEntry *
page_of_loose(LoosePages *loose, uint64 key, uint64 *in_page)
{
	Key			k = {key, NULL};
	bool		found;
	KeyEntry   *entry;
	PageEntry  *page;

	if (loose->funnel->texts)
		k = text_key(loose->funnel->text + key);
	else if ((page = pages_lookup(loose->funnel->pages, PAGE_OF(key))) != NULL)
	{
		/* another process, or this one later, had the page */
		*in_page = IN_PAGE(key);
		return page;
	}
	entry = entries_insert(loose->numbers, k, &found);
	if (!found)
		entry->index = loose->numbers->members - 1;
	*in_page = IN_PAGE(entry->index);
	return make_page(loose->pages, PAGE_OF(entry->index));
}

/*
 * Loose items become those of pages: of those that there are by now, or of such
 * in a table of their own.  That is why the aggregates call their final function
 * one that changes the state.
 */
static pages_hash *
settle_loose(Funnel *funnel)
{
	LoosePages	loose;
	MemoryContext context = funnel->context;
	uint64		in_page = 0;

	loose.funnel = funnel;
	loose.numbers = entries_create(context, 1024, NULL);
	loose.pages = pages_create(context, 64, NULL);
	for (int64 i = 0; i < funnel->stays.n; i++)
	{
		PageEntry  *page = page_of_loose(&loose, funnel->stays.items[i].key, &in_page);

		if (i % 65536 == 0)
			CHECK_FOR_INTERRUPTS();
		*word_list_add(&page->stays, 1, context) = in_page << 48 | funnel->stays.items[i].item;
	}
	for (int64 i = 0; i < funnel->deals.n; i++)
	{
		PageEntry  *page = page_of_loose(&loose, funnel->deals.items[i].key, &in_page);

		if (i % 65536 == 0)
			CHECK_FOR_INTERRUPTS();
		*word_list_add(&page->deals, 1, context) = in_page << 4 | funnel->deals.items[i].item;
	}
	return loose.pages;
}

static void
judge_pages(Judge *judge, pages_hash *table)
{
	pages_iterator pages;
	PageEntry  *page;

	pages_start_iterate(table, &pages);
	while ((page = pages_iterate(table, &pages)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		judge_page(judge, page);
	}
}

/*
 * pipelines_funnel_result
 *		The counts as a JSON list, one entry per value and step that has any.
 */
Datum
pipelines_funnel_result(PG_FUNCTION_ARGS)
{
	Funnel	   *funnel;
	Judge	   *judge;
	StringInfoData json;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	funnel = state_to_read(&funnel_kind, fcinfo);
	if (funnel->context == NULL)
		PG_RETURN_NULL();

	judge = palloc(sizeof(Judge));
	judge->funnel = funnel;
	judge->counts = MemoryContextAllocHuge(CurrentMemoryContext,
										   sizeof(Counts) * ((Size) funnel->nvalues + 1) * (funnel->nsteps + 1));
	memset(judge->counts, 0, sizeof(Counts) * ((Size) funnel->nvalues + 1) * (funnel->nsteps + 1));
	judge->counted = palloc0(funnel->nsteps + 1);
	judge->visits_room = PAGE_KEYS * 8;
	judge->visits = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Visit) * judge->visits_room);
	judge_pages(judge, settle_loose(funnel));
	judge_pages(judge, funnel->pages);

	initStringInfo(&json);
	appendStringInfoChar(&json, '[');
	for (int value = 0; value <= funnel->nvalues; value++)
		for (int step = 0; step < funnel->nsteps; step++)
		{
			Counts	   *c = &judge->counts[(Size) value * funnel->nsteps + step];

			if (c->deals == 0)
				continue;
			appendStringInfoString(&json, json.len > 1 ? ",{\"value\":" : "{\"value\":");
			if (value == 0)
				appendStringInfoString(&json, "null");
			else
				escape_json(&json, funnel->values[value - 1]);
			appendStringInfo(&json, ",\"step\":%d,\"deals\":" INT64_FORMAT ",\"won\":" INT64_FORMAT
							 ",\"lost\":" INT64_FORMAT ",\"still_open\":" INT64_FORMAT
							 ",\"other\":" INT64_FORMAT ",\"exits\":" INT64_FORMAT
							 ",\"next\":" INT64_FORMAT ",\"to_won\":" INT64_FORMAT "}",
							 step, c->deals, c->won, c->lost, c->open, c->other,
							 c->exits, c->next, c->to_won);
		}
	appendStringInfoChar(&json, ']');
	PG_RETURN_TEXT_P(cstring_to_text_with_len(json.data, json.len));
}
