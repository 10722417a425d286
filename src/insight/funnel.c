/*-------------------------------------------------------------------------
 *
 * funnel.c
 *	  The aggregate behind the report funnel().
 *
 * Owns the judgement which stages of its pipeline a deal counts in, by the
 * four modes of: it gathers the stays of all deals in any order, puts
 * those of each deal in the order of its versions, and counts.  The stays of
 * five million changes are far too many to be sorted by deal for each
 * question; here each costs one look into a hash table and twelve bytes.
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

typedef struct Stay
{
	uint32		deal;
	int32		version;
	int16		step;			/* -1: the stage is no step */
	bool		inside;
} Stay;

typedef struct Deal
{
	int32		pipeline;
	int32		value;			/* index into values, -1: NULL */
	bool		present;
	bool		member;
	bool		dropped;		/* lost or disqualified */
	uint8		stands;
} Deal;

/* the key of a deal: a number, or a text and the hash of it */
typedef struct DealKey
{
	uint64		number;
	const char *text;			/* NULL for a number */
} DealKey;

typedef struct DealEntry
{
	DealKey		key;
	uint32		index;			/* in deals, or in values */
	char		status;
} DealEntry;

static inline bool
same_key(DealKey a, DealKey b)
{
	if (a.number != b.number)
		return false;
	return a.text == b.text ||
		(a.text != NULL && b.text != NULL && strcmp(a.text, b.text) == 0);
}

/*
 * Keys that are small numbers close to each other, as those of an identity
 * column, are looked up in pages of an array: four bytes a deal, next to those
 * of its neighbours, where the hash table costs a cache miss each.  A page is
 * made for the first of its keys, unless there are many pages with few deals
 * already: then all keys of that page are in the hash table.
 */
#define PAGE_BITS		16
#define PAGE_KEYS		(1 << PAGE_BITS)
#define NPAGES			(1 << 15)
#define PAGES_ALLOWED(ndeals)	(64 + (ndeals) / 2048)
#define NO_DEAL			PG_UINT32_MAX

/* the product spreads keys that follow each other; its upper half is mixed best */
static inline uint32
spread(uint64 number)
{
	return (uint32) ((number * UINT64CONST(0x9E3779B97F4A7C15)) >> 32);
}

#define SH_PREFIX entries
#define SH_ELEMENT_TYPE DealEntry
#define SH_KEY_TYPE DealKey
#define SH_KEY key
#define SH_HASH_KEY(tb, key) spread((key).number)
#define SH_EQUAL(tb, a, b) same_key(a, b)
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
	Size		text_size;		/* of all of them together */
	entries_hash *keys;
	uint32	  **pages;			/* NULL: not met yet */
	bool	   *hashed;			/* the keys of this page are in the hash table */
	uint32		npages;
	Deal	   *deals;
	uint32		ndeals;
	uint32		deals_room;

	entries_hash *value_keys;
	char	  **values;
	int			nvalues;
	int			values_room;

	Stay	   *stays;
	int64		nstays;
	int64		stays_room;
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
begin_funnel(Funnel *funnel)
{
	MemoryContext context = STATE_CONTEXT(funnel);

	funnel->keys = entries_create(context, 1024, NULL);
	funnel->pages = MemoryContextAllocZero(context, sizeof(uint32 *) * NPAGES);
	funnel->hashed = MemoryContextAllocZero(context, sizeof(bool) * NPAGES);
	funnel->value_keys = entries_create(context, 64, NULL);
	funnel->deals_room = 1024;
	funnel->deals = MemoryContextAllocHuge(context, sizeof(Deal) * funnel->deals_room);
	funnel->values_room = 64;
	funnel->values = MemoryContextAllocHuge(context, sizeof(char *) * funnel->values_room);
	funnel->stays_room = 4096;
	funnel->stays = MemoryContextAllocHuge(context, sizeof(Stay) * funnel->stays_room);
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

static DealKey
text_key(const char *text, Size length)
{
	DealKey		key;

	key.text = text;
	key.number = DatumGetUInt64(hash_any_extended((const unsigned char *) text, (int) length, 0));
	return key;
}

static DealKey
datum_key(Datum value)
{
	text	   *t = DatumGetTextPP(value);

	return text_key(text_to_cstring(t), VARSIZE_ANY_EXHDR(t));
}

/* a deal that knows nothing of itself yet */
static uint32
new_deal(Funnel *funnel)
{
	if (funnel->ndeals == NO_DEAL)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a funnel can't have more than %u deals", NO_DEAL)));
	if (funnel->ndeals == funnel->deals_room)
	{
		funnel->deals_room *= 2;
		funnel->deals = repalloc_huge(funnel->deals, sizeof(Deal) * funnel->deals_room);
	}
	memset(&funnel->deals[funnel->ndeals], 0, sizeof(Deal));
	funnel->deals[funnel->ndeals].value = -1;
	return funnel->ndeals++;
}

/* where the deal of a number is kept, or NULL: in the hash table */
static uint32 *
find_place(Funnel *funnel, uint64 number)
{
	uint64		page = number >> PAGE_BITS;

	if (page >= NPAGES || funnel->hashed[page])
		return NULL;
	if (funnel->pages[page] == NULL)
	{
		if (funnel->npages >= PAGES_ALLOWED(funnel->ndeals))
		{
			funnel->hashed[page] = true;
			return NULL;
		}
		funnel->pages[page] = MemoryContextAlloc(funnel->context, sizeof(uint32) * PAGE_KEYS);
		for (int i = 0; i < PAGE_KEYS; i++)
			funnel->pages[page][i] = NO_DEAL;
		funnel->npages++;
	}
	return &funnel->pages[page][number & (PAGE_KEYS - 1)];
}

/* the deal of a key */
static uint32
find_deal(Funnel *funnel, DealKey key)
{
	uint32	   *place = key.text == NULL ? find_place(funnel, key.number) : NULL;
	bool		found;
	DealEntry  *entry;

	if (place != NULL)
	{
		if (*place == NO_DEAL)
			*place = new_deal(funnel);
		return *place;
	}
	entry = entries_insert(funnel->keys, key, &found);
	if (!found)
	{
		entry->index = new_deal(funnel);
		if (key.text != NULL)
		{
			entry->key.text = MemoryContextStrdup(funnel->context, key.text);
			funnel->text_size += strlen(key.text);
		}
	}
	return entry->index;
}

static int32
find_value(Funnel *funnel, DealKey key)
{
	bool		found;
	DealEntry  *entry = entries_insert(funnel->value_keys, key, &found);

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

static void
describe_deal(Funnel *funnel, FunctionCallInfo fcinfo, Deal *deal)
{
	text	   *outcome = PG_GETARG_TEXT_PP(ARG_OUTCOME);
	const char *name = VARDATA_ANY(outcome);
	int			length = VARSIZE_ANY_EXHDR(outcome);
#define IS(word) (length == (int) strlen(word) && memcmp(name, word, length) == 0)

	deal->present = true;
	deal->pipeline = PG_GETARG_INT32(ARG_PIPELINE);
	deal->member = !PG_ARGISNULL(ARG_MEMBER) && PG_GETARG_BOOL(ARG_MEMBER);
	deal->value = PG_ARGISNULL(ARG_VALUE) ? -1 : find_value(funnel, datum_key(PG_GETARG_DATUM(ARG_VALUE)));
	deal->stands = IS("won") ? STANDS_WON : IS("lost") ? STANDS_LOST :
		IS("disqualified") || IS("done") ? STANDS_OTHER : STANDS_OPEN;
	deal->dropped = IS("lost") || IS("disqualified");
#undef IS
}

static void
refuse_other_funnel(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("funnels of different steps, modes, cohorts or keys can't be put together"),
			 errhint("Ask pipelines.funnel().")));
}

/* room for so many more stays */
static void
make_room(Funnel *funnel, int64 more)
{
	if (funnel->stays_room - funnel->nstays >= more)
		return;
	funnel->stays_room = Max(funnel->stays_room * 2, funnel->nstays + more);
	funnel->stays = repalloc_huge(funnel->stays, sizeof(Stay) * funnel->stays_room);
}

static Datum
funnel_add(FunctionCallInfo fcinfo, bool key_is_text)
{
	Funnel	   *funnel = state_to_change(&funnel_kind, fcinfo);
	DealKey		key = {0, NULL};
	Stay	   *stay;

	if (unlikely(funnel->context == NULL))
		read_question(fcinfo, funnel, key_is_text);
	if (unlikely(funnel->texts != key_is_text))
		refuse_other_funnel();
	if (PG_ARGISNULL(ARG_KEY) || PG_ARGISNULL(ARG_PIPELINE) || PG_ARGISNULL(ARG_STAGE))
		PG_RETURN_DATUM(STATE_DATUM(funnel));

	if (key_is_text)
		key = datum_key(PG_GETARG_DATUM(ARG_KEY));
	else
		key.number = (uint64) PG_GETARG_INT64(ARG_KEY);

	make_room(funnel, 1);
	stay = &funnel->stays[funnel->nstays++];
	stay->deal = find_deal(funnel, key);
	stay->version = PG_ARGISNULL(ARG_VERSION) ? 0 : PG_GETARG_INT32(ARG_VERSION);
	stay->step = (int16) find_step(funnel, PG_GETARG_INT32(ARG_PIPELINE), PG_GETARG_INT32(ARG_STAGE));
	stay->inside = !PG_ARGISNULL(ARG_INSIDE) && PG_GETARG_BOOL(ARG_INSIDE);
	if (!PG_ARGISNULL(ARG_OUTCOME))
		describe_deal(funnel, fcinfo, &funnel->deals[stay->deal]);
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
 * Flat form: mode, cohort, are keys texts?; the stages; the values; the deals,
 * each with its key and its place in this list; the stays.
 * ----------
 */

#define STAGE_SIZE	16
#define DEAL_SIZE	14			/* and the key */
#define STAY_SIZE	11

/* bits of a deal */
#define DEAL_PRESENT	1
#define DEAL_MEMBER		2
#define DEAL_DROPPED	4

static char *
put_deal(char *at, const Funnel *funnel, uint32 index)
{
	const Deal *deal = &funnel->deals[index];

	at = put_32(at, index);
	at = put_32(at, deal->pipeline);
	at = put_32(at, deal->value);
	at = put_8(at, (deal->present ? DEAL_PRESENT : 0) | (deal->member ? DEAL_MEMBER : 0) |
			   (deal->dropped ? DEAL_DROPPED : 0));
	return put_8(at, deal->stands);
}

static void
write_deals(char *at, const Funnel *funnel)
{
	entries_iterator entries;
	DealEntry  *entry;

	for (uint64 page = 0; page < NPAGES; page++)
		for (uint32 i = 0; funnel->pages[page] != NULL && i < PAGE_KEYS; i++)
			if (funnel->pages[page][i] != NO_DEAL)
			{
				at = put_deal(at, funnel, funnel->pages[page][i]);
				at = put_64(at, page << PAGE_BITS | i);
			}
	entries_start_iterate(funnel->keys, &entries);
	while ((entry = entries_iterate(funnel->keys, &entries)) != NULL)
	{
		at = put_deal(at, funnel, entry->index);
		if (funnel->texts)
		{
			Size		length = strlen(entry->key.text);

			at = put_32(at, (uint32) length);
			memcpy(at, entry->key.text, length);
			at += length;
		}
		else
			at = put_64(at, entry->key.number);
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
	flat_put_32(writer, funnel->ndeals);
	at = flat_place(writer, (Size) funnel->ndeals * (DEAL_SIZE + (funnel->texts ? sizeof(uint32) : sizeof(uint64))) +
					funnel->text_size);
	if (at != NULL)
		write_deals(at, funnel);
	flat_put_64(writer, funnel->nstays);
	at = flat_place(writer, (Size) funnel->nstays * STAY_SIZE);
	for (int64 i = 0; at != NULL && i < funnel->nstays; i++)
	{
		at = put_32(at, funnel->stays[i].deal);
		at = put_32(at, funnel->stays[i].version);
		at = put_16(at, funnel->stays[i].step);
		at = put_8(at, funnel->stays[i].inside);
	}
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

/* the next deal of the list; its place there, and its number among ours */
static void
merge_deal(FlatReader *reader, Funnel *funnel, uint32 *numbers, uint32 ndeals, const int32 *values, uint32 nvalues)
{
	const char *at = flat_take(reader, 1, DEAL_SIZE, "number of deals");
	uint32		place = get_32(&at);
	int32		pipeline = (int32) get_32(&at);
	int32		value = (int32) get_32(&at);
	uint8		bits = get_8(&at);
	uint8		stands = get_8(&at);
	DealKey		key = {0, NULL};
	Deal	   *deal;

	if (place >= ndeals || numbers[place] != NO_DEAL)
		flat_refuse(reader, "place of a deal");
	if (value < -1 || (value >= 0 && (uint32) value >= nvalues) || stands > STANDS_OTHER ||
		bits > (DEAL_PRESENT | DEAL_MEMBER | DEAL_DROPPED))
		flat_refuse(reader, "description of a deal");
	if (funnel->texts)
	{
		char	   *text = flat_get_text(reader, "key of a deal");

		key = text_key(text, strlen(text));
		numbers[place] = find_deal(funnel, key);
		pfree(text);
	}
	else
	{
		key.number = flat_get_64(reader, "key of a deal");
		numbers[place] = find_deal(funnel, key);
	}
	if ((bits & DEAL_PRESENT) == 0)
		return;
	deal = &funnel->deals[numbers[place]];
	deal->present = true;
	deal->pipeline = pipeline;
	deal->member = (bits & DEAL_MEMBER) != 0;
	deal->dropped = (bits & DEAL_DROPPED) != 0;
	deal->stands = stands;
	deal->value = value < 0 ? -1 : values[value];
}

static void
merge_funnel(FlatReader *reader, ExpandedState *state)
{
	Funnel	   *funnel = (Funnel *) state;
	uint32		nvalues;
	int32	   *values;
	uint32		ndeals;
	uint32	   *numbers;
	uint64		nstays;
	const char *at;

	if (reader->at == reader->end)
		return;
	merge_question(reader, funnel);

	nvalues = flat_get_32(reader, "number of values");
	if (nvalues > (Size) (reader->end - reader->at) / sizeof(uint32))
		flat_refuse(reader, "number of values");
	values = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(int32) * ((Size) nvalues + 1));
	for (uint32 i = 0; i < nvalues; i++)
	{
		char	   *text = flat_get_text(reader, "value");

		values[i] = find_value(funnel, text_key(text, strlen(text)));
		pfree(text);
	}

	ndeals = flat_get_32(reader, "number of deals");
	if (ndeals > (Size) (reader->end - reader->at) / DEAL_SIZE)
		flat_refuse(reader, "number of deals");
	numbers = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(uint32) * ((Size) ndeals + 1));
	memset(numbers, 0xFF, sizeof(uint32) * ((Size) ndeals + 1));
	for (uint32 i = 0; i < ndeals; i++)
	{
		if (i % 65536 == 0)
			CHECK_FOR_INTERRUPTS();
		merge_deal(reader, funnel, numbers, ndeals, values, nvalues);
	}

	nstays = flat_get_64(reader, "number of stays");
	at = flat_take(reader, nstays, STAY_SIZE, "number of stays");
	make_room(funnel, (int64) nstays);
	for (uint64 i = 0; i < nstays; i++)
	{
		Stay	   *stay = &funnel->stays[funnel->nstays];
		uint32		place = get_32(&at);
		uint8		inside;

		if (i % 65536 == 0)
			CHECK_FOR_INTERRUPTS();
		stay->version = (int32) get_32(&at);
		stay->step = (int16) get_16(&at);
		inside = get_8(&at);
		if (place >= ndeals || stay->step < -1 || stay->step >= funnel->nsteps || inside > 1)
			flat_refuse(reader, "stay");
		stay->deal = numbers[place];
		stay->inside = inside != 0;
		funnel->nstays++;
	}
	pfree(numbers);
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

/* the stays of each deal together: where they begin, by deal */
static Stay *
by_deal(Funnel *funnel, int64 *begins)
{
	Stay	   *sorted = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Stay) * (funnel->nstays + 1));
	int64		sum = 0;

	for (int64 i = 0; i < funnel->nstays; i++)
		begins[funnel->stays[i].deal]++;
	for (uint32 i = 0; i < funnel->ndeals; i++)
	{
		int64		n = begins[i];

		begins[i] = sum;
		sum += n;
	}
	/* begins[i] moves to the end of deal i, which is the beginning of i + 1 */
	for (int64 i = 0; i < funnel->nstays; i++)
		sorted[begins[funnel->stays[i].deal]++] = funnel->stays[i];
	return sorted;
}

static int
compare_stays(const void *a, const void *b)
{
	int32		x = ((const Stay *) a)->version;
	int32		y = ((const Stay *) b)->version;

	return (x > y) - (x < y);
}

static void
sort_stays(Stay *stays, int64 n)
{
	if (n > 32)
	{
		qsort(stays, n, sizeof(Stay), compare_stays);
		return;
	}
	for (int64 i = 1; i < n; i++)
	{
		Stay		stay = stays[i];
		int64		j = i;

		for (; j > 0 && stays[j - 1].version > stay.version; j--)
			stays[j] = stays[j - 1];
		stays[j] = stay;
	}
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

/*
 * Which steps the deal counts in: counted[step] is made true.  The stays are
 * in order; first_inside tells of each step whether it was first entered in
 * the period.
 */
static void
judge_deal(Funnel *funnel, Deal *deal, Stay *stays, int64 n, int first, int end, bool *counted)
{
	int			expected = next_required(funnel, first, end);
	int			furthest = -1;
	bool		through = false;

	for (int64 i = 0; i < n; i++)
	{
		int			step = stays[i].step;

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

	if (funnel->mode == MODE_REACHED && !deal->dropped)
		for (int step = first; step < end; step++)
			if (funnel->step_kind[step] == STEP_OPEN && (through || step <= furthest))
				counted[step] = true;
}

/* is the first entry into a step in the period? */
static bool
entered_inside(Stay *stays, int64 n, int step)
{
	for (int64 i = 0; i < n; i++)
		if (stays[i].step == step)
			return stays[i].inside;
	return false;
}

static void
count_deal(Funnel *funnel, Deal *deal, Stay *stays, int64 n, Counts *counts, bool *counted)
{
	int			first;
	int			end;

	steps_of(funnel, deal->pipeline, &first, &end);
	if (first == end)
		return;
	if (!deal->member ||
		(funnel->cohort == COHORT_FIRST_STAGE &&
		 !entered_inside(stays, n, next_required(funnel, first, end))))
		return;

	if (funnel->mode == MODE_DIRECT)
	{
		for (int64 i = 0; i < n; i++)
		{
			int			step = stays[i].step;

			if (step < first || step >= end ||
				(funnel->cohort == COHORT_STAGE && !stays[i].inside))
				continue;
			counts[step].deals++;
			counts[step].won += deal->stands == STANDS_WON;
			counts[step].lost += deal->stands == STANDS_LOST;
			counts[step].open += deal->stands == STANDS_OPEN;
			counts[step].other += deal->stands == STANDS_OTHER;
			if (i + 1 < n)
			{
				int			to = stays[i + 1].step;
				int			next = step + 1;

				while (next < end && funnel->step_kind[next] == STEP_GONE)
					next++;
				counts[step].exits++;
				counts[step].next += to == next && next < end;
				counts[step].to_won += to >= 0 && funnel->step_kind[to] == STEP_WON;
			}
		}
		return;
	}

	memset(counted + first, 0, end - first);
	judge_deal(funnel, deal, stays, n, first, end, counted);
	for (int step = first; step < end; step++)
	{
		if (!counted[step] ||
			(funnel->cohort == COHORT_STAGE && !entered_inside(stays, n, step)))
			continue;
		counts[step].deals++;
		counts[step].won += deal->stands == STANDS_WON;
		counts[step].lost += deal->stands == STANDS_LOST;
		counts[step].open += deal->stands == STANDS_OPEN;
		counts[step].other += deal->stands == STANDS_OTHER;
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
	int64	   *begins;
	Stay	   *stays;
	Counts	   *counts;
	bool	   *counted;
	int64		begin = 0;
	StringInfoData json;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	funnel = state_to_read(&funnel_kind, fcinfo);
	if (funnel->context == NULL)
		PG_RETURN_NULL();

	begins = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(int64) * ((Size) funnel->ndeals + 1));
	memset(begins, 0, sizeof(int64) * ((Size) funnel->ndeals + 1));
	stays = by_deal(funnel, begins);
	/* the first ones are of the deals without a value */
	counts = MemoryContextAllocHuge(CurrentMemoryContext,
									sizeof(Counts) * ((Size) funnel->nvalues + 1) * (funnel->nsteps + 1));
	memset(counts, 0, sizeof(Counts) * ((Size) funnel->nvalues + 1) * (funnel->nsteps + 1));
	counted = palloc0(funnel->nsteps + 1);

	for (uint32 i = 0; i < funnel->ndeals; i++)
	{
		Deal	   *deal = &funnel->deals[i];
		int64		n = begins[i] - begin;

		if (i % 65536 == 0)
			CHECK_FOR_INTERRUPTS();
		if (deal->present)
		{
			sort_stays(stays + begin, n);
			count_deal(funnel, deal, stays + begin, n,
					   counts + (Size) (deal->value + 1) * funnel->nsteps, counted);
		}
		begin = begins[i];
	}

	initStringInfo(&json);
	appendStringInfoChar(&json, '[');
	for (int value = 0; value <= funnel->nvalues; value++)
		for (int step = 0; step < funnel->nsteps; step++)
		{
			Counts	   *c = &counts[(Size) value * funnel->nsteps + step];

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
