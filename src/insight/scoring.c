/*-------------------------------------------------------------------------
 *
 * scoring.c
 *	  Counting how deals ended, and what that says about those still open.
 *
 * Owns the aggregates _score_counts() and _score_bins(), which see every
 * version of every deal once, in any order, and what a model makes of counts.
 * Seeing only writes down, to one of many lists by the deal's key; what the
 * versions of a deal say together is found out at the end, one list after the
 * other, each small enough for the processor's cache.
 * The invariant: what happened after the instant in question has no part in
 * the result, and the counts are whole numbers of deals, the same for the same
 * past in whatever order it is read.  A deal is counted for a stage and an age
 * when it was, at that age and while it was open, no further than that stage:
 * so a deal that is looked at now is compared with deals that were as far at
 * its age.  Smoothing happens when the counts are read, and never
 * before.
 *
 * Must never write anything, nor read a table by itself except the counts of
 * the one that it is asked about, with the rights of whoever asks.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "common/int.h"
#include "compat.h"
#include "definitions/definitions.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "insight/expanded.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"
#include "values/texts.h"

PG_FUNCTION_INFO_V1(pipelines_score_see);
PG_FUNCTION_INFO_V1(pipelines_score_combine);
PG_FUNCTION_INFO_V1(pipelines_score_counts_final);
PG_FUNCTION_INFO_V1(pipelines_score_bins_final);
PG_FUNCTION_INFO_V1(pipelines_score);
PG_FUNCTION_INFO_V1(pipelines_score_detail);

/* nothing is certain: bounds of a score, as a share of 1 */
#define SCORE_LEAST			0.0001
#define SCORE_MOST			0.9999

/* a reliability table has so many rows */
#define SCORE_BINS			10

/* versions are kept in so many lists; deals with neighbouring keys are in one */
#define LISTS				1024
#define NEIGHBOURS			12	/* bits of the key */

/* a calibration has at most so many instants */
#define MAX_INSTANTS		100000

/* what numbers of a model may be: sums of many of them are still finite */
#define MOST				1e100
#define COUNT_MOST			9007199254740992.0
#define SECONDS_MOST		9.2e12

/* a model has so many pairs of a stage and an age, or of a pipeline and a feature */
#define MAX_CELLS			(1 << 22)

/* no entry, no node, no stage, no set of features */
#define NOTHING				(-1)

/* what a stage was at the instant of the model */
typedef struct ScoreStage
{
	int32		pipeline_id;
	int32		stage_id;
	StageOutcome outcome;
	double		probability;	/* configured, share of 1 */
} ScoreStage;

/* what was seen of a version */
typedef struct Sighting
{
	int64		key1;
	int64		key2;
	TimestampTz from;			/* DT_NOEND: only says when the deal was made */
	TimestampTz to;				/* or when the deal was made */
	int32		episode;
	int32		version;
	int			stage;			/* both are indexes of stages, or NOTHING */
	int			furthest;
	int32		features;		/* number of the set, or NOTHING */
	bool		reopened;
	bool		made;			/* what is 'to'? */
} Sighting;

/*
 * It is kept as 64-bit numbers.  Memory that is touched for the first time is
 * what seeing costs most: so three of them where they suffice, for neighbours of
 * the first deal of the list and without features as a rule: begin, end, and
 *
 *		key (12 bits), stage (8), furthest (8), version (16), episode (12), set of
 *		features + 1 (6), reopened? (1), made? (1)
 *
 * and else six: key1, key2, begin, end, episode and version, and
 *
 *		stage (16), furthest (16), set of features + 1 (30), reopened?, made?
 */
#define SHORT_WORDS			3
#define SHORT_STAGES		0xFF	/* fewer than so many; this itself: none */
#define SHORT_VERSIONS		(1 << 16)
#define SHORT_EPISODES		(1 << 12)
#define SHORT_SETS			((1 << 6) - 1)
#define LONG_WORDS			6
#define LONG_STAGES			0xFFFF
#define LONG_SETS			((1 << 30) - 1)
typedef struct SightingList
{
	WordList	shorts;
	WordList	longs;
	uint64		neighbours;		/* what the keys of the short ones begin with */
} SightingList;

/* a stretch of a deal's open life: as far as one stage, being in another */
typedef struct ScoreNode
{
	int32		next;			/* of the same episode, or NOTHING */
	uint16		furthest;		/* both are indexes of stages */
	uint16		stage;
	int32		features;		/* number of the set, or NOTHING; see ScoreState.dated */
	TimestampTz from;
	TimestampTz to;
} ScoreNode;

/* an episode of a deal */
typedef struct ScoreEntry
{
	int64		key1;
	int64		key2;
	TimestampTz first;			/* earliest version seen */
	TimestampTz created;		/* as the deal says, or DT_NOEND */
	int32		episode;
	int32		open_version;	/* newest open version, or 0 */
	int32		closed_version; /* newest closed version, or 0 */
	int32		open_pipeline;	/* of open_version */
	int32		nodes;			/* first one, or NOTHING */
	int32		features;		/* number of the set, or NOTHING */
	int32		other;			/* of another episode, where deals are neighbours */
	uint8		outcome;		/* of closed_version */
	bool		withdrawn;		/* closed_version ended by a reopening */
	bool		gone;			/* open_version ended, and with it what is known */
} ScoreEntry;

/* how often a value was seen with deals that were won, and that were lost */
typedef struct ScorePair
{
	int64		won;
	int64		lost;
} ScorePair;

typedef struct ScoreValue
{
	char	   *value;
	ScorePair	seen;
} ScoreValue;

typedef struct ScoreFeature
{
	char	   *name;
	int			nvalues;
	int			maxvalues;
	ScoreValue *values;			/* sorted by value once the model is read */
	ScorePair	total;
} ScoreFeature;

/* what a score comes from */
typedef struct ScoreResult
{
	double		probability;	/* share of 1 */
	double		log_odds;
	bool		enough;			/* or the rate of the stage? */
	ScorePair	seen;			/* deals that were as far at that age (or ever) */
	double		prior;
	double		age;
	double		stage;
	double	   *features;		/* one for each feature of the model, or NULL */
} ScoreResult;

/* the same for every deal in a cell, where there are no features */
typedef struct ScoreCell
{
	bool		known;
	Datum		score;
	Datum		log_odds;
	Datum		contributions;
	ScoreResult result;
} ScoreCell;

typedef struct ScorePipeline
{
	int32		pipeline_id;
	ScorePair	total;
	int			nstages;
	int32	   *stages;
	ScorePair  *ever;			/* [nstages] */
	ScorePair  *ages;			/* [nages + 1] */
	ScorePair  *cells;			/* [(nages + 1) * nstages] */
	ScoreFeature *features;		/* [nfeatures] */
	ScoreCell  *cached;			/* [(nages + 1) * nstages] */
} ScorePipeline;

typedef struct ScoreModel
{
	MemoryContext context;
	double		smoothing;
	double		prior_weight;
	int64		min_won;
	int64		min_lost;
	int			nages;
	int64	   *ages;			/* bounds in microseconds, ascending */
	int			nfeatures;
	char	  **features;
	int			npipelines;
	ScorePipeline *pipelines;	/* by pipeline_id */
	int			nstages;
	ScoreStage *stages;			/* by pipeline and stage */
} ScoreModel;

/* where a stage is in the model, as was found out before */
typedef struct StageSeen
{
	int32		pipeline_id;
	int32		stage_id;
	int			index;			/* or NOTHING */
	bool		known;
} StageSeen;
#define RECENT_STAGES		32

typedef struct ScoreState
{
	ExpandedState state;
	MemoryContext context;
	char	   *settings;		/* JSON that the model was read from */
	ScoreModel *model;			/* NULL: nothing was seen yet */
	TimestampTz at;
	TimestampTz since;			/* first instant of a calibration */
	int64		every;			/* microseconds between two of them */
	bool		new_only;		/* only deals made since then? */
	bool		train;			/* count first what was known at since? */
	bool		dated;			/* are versions told one by one, with their features? */
	uint32		parts;			/* of so many parts of the deals ... */
	uint32		part;			/* ... this one is seen */
	StageSeen	recent[RECENT_STAGES];

	SightingList *lists;		/* [LISTS] */

	/* of the list that is being judged */
	ScoreEntry *entries;
	int32		nentries;
	int32		maxentries;
	bool		only_neighbours;	/* which entries are found through: */
	int32		neighbours[1 << NEIGHBOURS];
	int32	   *slots;			/* or else these */
	uint32		nslots;			/* a power of two */
	ScoreNode  *nodes;
	int32		nnodes;
	int32		maxnodes;

	ArrayType **sets;			/* of features, each once */
	int32		nsets;
	int32		maxsets;
	int32	   *set_slots;
	uint32		nset_slots;
} ScoreState;

static void write_scores(FlatWriter *writer, ExpandedState *state);
static void merge_scores(FlatReader *reader, ExpandedState *state);

static const StateKind scores_kind = {
	.name = "pipelines._score_counts",
	.format = 0x50536301,
	.size = sizeof(ScoreState),
	.write = write_scores,
	.merge = merge_scores
};

/* ----- reading settings ----- */

static JsonbContainer *
json_object_array(JsonbContainer *object, const char *key)
{
	JsonbValue	buffer;
	JsonbValue *value = getKeyJsonValueFromContainer(object, key, strlen(key), &buffer);

	if (value == NULL || value->type != jbvBinary ||
		!JsonContainerIsArray(value->val.binary.data))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a model of scores has no list \"%s\"", key),
				 errhint("Models are made by pipelines.train_scores().")));
	return value->val.binary.data;
}

/* one row of a list */
static JsonbContainer *
json_row(JsonbContainer *list, int i)
{
	JsonbValue *value = getIthJsonbValueFromContainer(list, i);

	if (value == NULL || value->type != jbvBinary ||
		!JsonContainerIsArray(value->val.binary.data))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a row of a model of scores is no list"),
				 errhint("Models are made by pipelines.train_scores().")));
	return value->val.binary.data;
}

static double
json_number(const JsonbValue *value)
{
	if (value == NULL || value->type != jbvNumeric)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a number of a model of scores is missing"),
				 errhint("Models are made by pipelines.train_scores().")));
	return DatumGetFloat8(DirectFunctionCall1(numeric_float8,
											  NumericGetDatum(value->val.numeric)));
}

static double
json_bounded(const JsonbValue *value, double least, double most)
{
	double		number = json_number(value);

	if (!(number >= least && number <= most))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a number of a model of scores is out of range"),
				 errdetail("%g is not between %g and %g.", number, least, most),
				 errhint("Models are made by pipelines.train_scores().")));
	return number;
}

static int32
json_int32(const JsonbValue *value)
{
	return (int32) json_bounded(value, PG_INT32_MIN, PG_INT32_MAX);
}

static double
json_object_number(JsonbContainer *object, const char *key, double missing, double least, double most)
{
	JsonbValue	buffer;
	JsonbValue *value = getKeyJsonValueFromContainer(object, key, strlen(key), &buffer);

	return value == NULL ? missing : json_bounded(value, least, most);
}

static char *
json_text(const JsonbValue *value)
{
	if (value == NULL || value->type != jbvString)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a text of a model of scores is missing"),
				 errhint("Models are made by pipelines.train_scores().")));
	return pnstrdup(value->val.string.val, value->val.string.len);
}

static int
compare_stages(const void *a, const void *b)
{
	const ScoreStage *x = a;
	const ScoreStage *y = b;

	if (x->pipeline_id != y->pipeline_id)
		return x->pipeline_id < y->pipeline_id ? -1 : 1;
	if (x->stage_id != y->stage_id)
		return x->stage_id < y->stage_id ? -1 : 1;
	return 0;
}

static int
compare_values(const void *a, const void *b)
{
	return strcmp(((const ScoreValue *) a)->value, ((const ScoreValue *) b)->value);
}

/* index in model->stages, or NOTHING */
static int
find_stage(const ScoreModel *model, int32 pipeline_id, int32 stage_id)
{
	int			low = 0;
	int			high = model->nstages;

	while (low < high)
	{
		int			middle = (low + high) / 2;
		const ScoreStage *stage = &model->stages[middle];

		if (stage->pipeline_id < pipeline_id ||
			(stage->pipeline_id == pipeline_id && stage->stage_id < stage_id))
			low = middle + 1;
		else
			high = middle;
	}
	if (low < model->nstages && model->stages[low].pipeline_id == pipeline_id &&
		model->stages[low].stage_id == stage_id)
		return low;
	return NOTHING;
}

static ScorePipeline *
find_pipeline(const ScoreModel *model, int32 pipeline_id)
{
	for (int i = 0; i < model->npipelines; i++)
		if (model->pipelines[i].pipeline_id == pipeline_id)
			return &model->pipelines[i];
	return NULL;
}

static int
find_open_stage(const ScorePipeline *pipeline, int32 stage_id)
{
	for (int i = 0; i < pipeline->nstages; i++)
		if (pipeline->stages[i] == stage_id)
			return i;
	return NOTHING;
}

/* how old at an instant; what is made later is not yet born, what ever was is very old */
static inline int64
age_at(TimestampTz at, TimestampTz born)
{
	int64		age;

	if (at <= born)
		return 0;
	return pg_sub_s64_overflow(at, born, &age) ? PG_INT64_MAX : age;
}

/* the bucket that an age falls into: 0 is the youngest */
static int
age_bucket(const ScoreModel *model, int64 age)
{
	int			bucket = 0;

	while (bucket < model->nages && age >= model->ages[bucket])
		bucket++;
	return bucket;
}

/* one row of the counts: pipeline, feature, value, age, won, lost */
static void
read_count(ScoreModel *model, JsonbContainer *row)
{
	ScorePipeline *pipeline;
	char	   *feature;
	char	   *value;
	int			age;
	ScorePair	seen;

	pipeline = find_pipeline(model, json_int32(getIthJsonbValueFromContainer(row, 0)));
	if (pipeline == NULL)
		return;
	feature = json_text(getIthJsonbValueFromContainer(row, 1));
	value = json_text(getIthJsonbValueFromContainer(row, 2));
	age = json_int32(getIthJsonbValueFromContainer(row, 3));
	seen.won = (int64) json_bounded(getIthJsonbValueFromContainer(row, 4), 0, COUNT_MOST);
	seen.lost = (int64) json_bounded(getIthJsonbValueFromContainer(row, 5), 0, COUNT_MOST);

	if (strcmp(feature, "prior") == 0)
		pipeline->total = seen;
	else if (strcmp(feature, "age") == 0)
	{
		if (age >= 0 && age <= model->nages)
			pipeline->ages[age] = seen;
	}
	else if (strcmp(feature, "stage") == 0)
	{
		int			stage = find_open_stage(pipeline, pg_strtoint32(value));

		if (stage == NOTHING)
			return;
		if (age < 0)
			pipeline->ever[stage] = seen;
		else if (age <= model->nages)
			pipeline->cells[age * pipeline->nstages + stage] = seen;
	}
	else
	{
		for (int i = 0; i < model->nfeatures; i++)
		{
			ScoreFeature *target = &pipeline->features[i];

			if (strcmp(feature, psprintf("column:%s", model->features[i])) != 0)
				continue;
			if (target->nvalues >= target->maxvalues)
			{
				target->maxvalues = Max(16, target->maxvalues * 2);
				target->values = target->values == NULL ?
					palloc(sizeof(ScoreValue) * target->maxvalues) :
					repalloc(target->values, sizeof(ScoreValue) * target->maxvalues);
			}
			target->values[target->nvalues].value = value;
			target->values[target->nvalues++].seen = seen;
			target->total.won += seen.won;
			target->total.lost += seen.lost;
			break;
		}
	}
}

/*
 * The model that settings describe, in 'context'.  Stages: pipeline, stage,
 * outcome, percent.
 */
static ScoreModel *
read_model(Jsonb *settings, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	ScoreModel *model = palloc0(sizeof(ScoreModel));
	JsonbContainer *root = &settings->root;
	JsonbContainer *list;
	int			n;

	if (!JsonContainerIsObject(root))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a model of scores is an object"),
				 errhint("Models are made by pipelines.train_scores().")));
	model->context = context;
	model->smoothing = json_object_number(root, "smoothing", 1, 1 / MOST, MOST);
	model->prior_weight = json_object_number(root, "prior_weight", 10, 0, MOST);
	model->min_won = (int64) json_object_number(root, "min_won", 40, 0, COUNT_MOST);
	model->min_lost = (int64) json_object_number(root, "min_lost", 40, 0, COUNT_MOST);

	list = json_object_array(root, "ages");
	model->nages = JsonContainerSize(list);
	model->ages = palloc(sizeof(int64) * (model->nages + 1));
	for (int i = 0; i < model->nages; i++)
		model->ages[i] = (int64) rint(json_bounded(getIthJsonbValueFromContainer(list, i), -SECONDS_MOST, SECONDS_MOST) * USECS_PER_SEC);

	list = json_object_array(root, "features");
	model->nfeatures = JsonContainerSize(list);
	model->features = palloc(sizeof(char *) * (model->nfeatures + 1));
	for (int i = 0; i < model->nfeatures; i++)
		model->features[i] = json_text(getIthJsonbValueFromContainer(list, i));

	list = json_object_array(root, "stages");
	model->nstages = JsonContainerSize(list);
	if (model->nstages > PG_UINT16_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("there are too many stages for scores"),
				 errdetail("%d, of at most %d in all pipelines of a table.",
						   model->nstages, PG_UINT16_MAX),
				 errhint("Ask for one pipeline.")));
	if ((uint64) model->nstages * (model->nages + 1) > MAX_CELLS ||
		(uint64) model->nstages * (model->nfeatures + 1) > MAX_CELLS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("there are too many stages, ages or features for scores"),
				 errdetail("%d stages, %d ages, %d features.", model->nstages, model->nages, model->nfeatures),
				 errhint("Ask for fewer ages and features.")));
	model->stages = palloc(sizeof(ScoreStage) * (model->nstages + 1));
	for (int i = 0; i < model->nstages; i++)
	{
		JsonbContainer *row = json_row(list, i);
		ScoreStage *stage = &model->stages[i];

		stage->pipeline_id = json_int32(getIthJsonbValueFromContainer(row, 0));
		stage->stage_id = json_int32(getIthJsonbValueFromContainer(row, 1));
		stage->outcome = (StageOutcome) json_bounded(getIthJsonbValueFromContainer(row, 2), OUTCOME_OPEN, OUTCOME_DONE);
		stage->probability = json_bounded(getIthJsonbValueFromContainer(row, 3), 0, 100) / 100;
	}
	qsort(model->stages, model->nstages, sizeof(ScoreStage), compare_stages);

	/* a pipeline for each that has stages */
	model->pipelines = palloc0(sizeof(ScorePipeline) * (model->nstages + 1));
	for (int i = 0; i < model->nstages; i++)
	{
		ScorePipeline *pipeline;

		if (i == 0 || model->stages[i - 1].pipeline_id != model->stages[i].pipeline_id)
		{
			pipeline = &model->pipelines[model->npipelines++];
			pipeline->pipeline_id = model->stages[i].pipeline_id;
			for (n = 0; i + n < model->nstages && model->stages[i + n].pipeline_id == pipeline->pipeline_id;)
				n++;
			pipeline->stages = palloc(sizeof(int32) * n);
		}
		pipeline = &model->pipelines[model->npipelines - 1];
		if (!OUTCOME_IS_CLOSED(model->stages[i].outcome))
			pipeline->stages[pipeline->nstages++] = model->stages[i].stage_id;
	}
	for (int i = 0; i < model->npipelines; i++)
	{
		ScorePipeline *pipeline = &model->pipelines[i];
		int			cells = (model->nages + 1) * pipeline->nstages;

		pipeline->ever = palloc0(sizeof(ScorePair) * (pipeline->nstages + 1));
		pipeline->ages = palloc0(sizeof(ScorePair) * (model->nages + 1));
		pipeline->cells = palloc0(sizeof(ScorePair) * (cells + 1));
		pipeline->cached = palloc0(sizeof(ScoreCell) * (cells + 1));
		pipeline->features = palloc0(sizeof(ScoreFeature) * (model->nfeatures + 1));
	}

	list = json_object_array(root, "counts");
	n = JsonContainerSize(list);
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		read_count(model, json_row(list, i));
	}
	for (int i = 0; i < model->npipelines; i++)
		for (int k = 0; k < model->nfeatures; k++)
			if (model->pipelines[i].features[k].nvalues > 0)
				qsort(model->pipelines[i].features[k].values, model->pipelines[i].features[k].nvalues,
					  sizeof(ScoreValue), compare_values);

	MemoryContextSwitchTo(old);
	return model;
}

/* ----- what counts say ----- */

/* how much a value speaks for winning; nothing if it was never seen */
static double
evidence(ScorePair seen, ScorePair total, int nvalues, double smoothing)
{
	if (seen.won + seen.lost == 0 || smoothing <= 0)
		return 0;
	return log((seen.won + smoothing) / (total.won + smoothing * nvalues)) -
		log((seen.lost + smoothing) / (total.lost + smoothing * nvalues));
}

static double
feature_evidence(const ScoreModel *model, const ScoreFeature *feature, const char *value)
{
	ScoreValue	wanted;
	ScoreValue *found;

	wanted.value = unconstify(char *, value);
	found = feature->nvalues == 0 ? NULL :
		bsearch(&wanted, feature->values, feature->nvalues, sizeof(ScoreValue), compare_values);
	return found == NULL ? 0 :
		evidence(found->seen, feature->total, feature->nvalues, model->smoothing);
}

/* where there are too few closings; features may be NULL */
static void
compute_score(const ScoreModel *model, const ScorePipeline *pipeline, int stage,
			  int64 age, double configured, Datum *features, bool *feature_nulls, ScoreResult *result)
{
	int			bucket = age_bucket(model, age);
	double		probability;

	memset(result, 0, sizeof(ScoreResult));
	result->enough = pipeline->total.won >= model->min_won && pipeline->total.lost >= model->min_lost &&
		pipeline->total.won + pipeline->total.lost > 0;
	if (!result->enough)
	{
		double		closed;

		if (stage != NOTHING)
			result->seen = pipeline->ever[stage];
		closed = result->seen.won + result->seen.lost + model->prior_weight;
		probability = closed > 0 ?
			(result->seen.won + model->prior_weight * configured) / closed : configured;
		result->probability = Min(Max(probability, SCORE_LEAST), SCORE_MOST);
		result->log_odds = log(result->probability / (1 - result->probability));
		return;
	}

	/* older than any deal that ended: as the oldest of them */
	while (bucket > 0 && pipeline->ages[bucket].won + pipeline->ages[bucket].lost == 0)
		bucket--;
	result->prior = log((pipeline->total.won + model->smoothing) / (pipeline->total.lost + model->smoothing));
	result->age = evidence(pipeline->ages[bucket], pipeline->total, model->nages + 1, model->smoothing);
	if (stage != NOTHING)
	{
		result->seen = pipeline->cells[bucket * pipeline->nstages + stage];
		result->stage = evidence(result->seen, pipeline->ages[bucket], pipeline->nstages, model->smoothing);
	}
	result->log_odds = result->prior + result->age + result->stage;
	if (features != NULL && model->nfeatures > 0)
	{
		result->features = palloc(sizeof(double) * model->nfeatures);
		for (int i = 0; i < model->nfeatures; i++)
		{
			result->features[i] = feature_nulls[i] ? 0 :
				feature_evidence(model, &pipeline->features[i], TextDatumGetCString(features[i]));
			result->log_odds += result->features[i];
		}
	}
	probability = 1 / (1 + exp(-result->log_odds));
	result->probability = Min(Max(probability, SCORE_LEAST), SCORE_MOST);
}

static Datum
make_numeric(double value, int decimals)
{
	char		buffer[64];

	snprintf(buffer, sizeof(buffer), "%.*f", decimals, value);
	/* a rounded minus zero */
	if (buffer[0] == '-' && strspn(buffer + 1, "0.") == strlen(buffer + 1))
		memmove(buffer, buffer + 1, strlen(buffer));
	return DirectFunctionCall3(numeric_in, CStringGetDatum(buffer),
							   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
}

/* the whole of it, after its last token */
static Datum
finish(CompatJsonb *state, JsonbIteratorToken token)
{
	compat_push_jsonb(state, token, NULL);
	return JsonbPGetDatum(JsonbValueToJsonb(state->result));
}

static void
push_key(CompatJsonb *state, const char *name)
{
	JsonbValue	key;

	key.type = jbvString;
	key.val.string.val = unconstify(char *, name);
	key.val.string.len = strlen(name);
	compat_push_jsonb(state, WJB_KEY, &key);
}

static void
push_number(CompatJsonb *state, JsonbIteratorToken token, Datum numeric)
{
	JsonbValue	value;

	value.type = jbvNumeric;
	value.val.numeric = DatumGetNumeric(numeric);
	compat_push_jsonb(state, token, &value);
}

static void
push_text(CompatJsonb *state, const char *text)
{
	JsonbValue	value;

	value.type = jbvString;
	value.val.string.val = unconstify(char *, text);
	value.val.string.len = strlen(text);
	compat_push_jsonb(state, WJB_ELEM, &value);
}

static void
push_integer(CompatJsonb *state, JsonbIteratorToken token, int64 value)
{
	push_number(state, token, DirectFunctionCall1(int8_numeric, Int64GetDatum(value)));
}

/* what each thing adds to the log-odds, or what the rate of the stage is made of */
static Datum
contributions(const ScoreModel *model, const ScoreResult *result, double configured)
{
	CompatJsonb state = {0};

	compat_push_jsonb(&state, WJB_BEGIN_OBJECT, NULL);
	if (result->enough)
	{
		push_key(&state, "prior");
		push_number(&state, WJB_VALUE, make_numeric(result->prior, 4));
		push_key(&state, "age");
		push_number(&state, WJB_VALUE, make_numeric(result->age, 4));
		push_key(&state, "stage");
		push_number(&state, WJB_VALUE, make_numeric(result->stage, 4));
		for (int i = 0; result->features != NULL && i < model->nfeatures; i++)
		{
			push_key(&state, psprintf("column:%s", model->features[i]));
			push_number(&state, WJB_VALUE, make_numeric(result->features[i], 4));
		}
	}
	else
	{
		push_key(&state, "configured");
		push_number(&state, WJB_VALUE, make_numeric(configured * 100, 2));
		push_key(&state, "prior_weight");
		push_number(&state, WJB_VALUE, make_numeric(model->prior_weight, 2));
		push_key(&state, "won");
		push_integer(&state, WJB_VALUE, result->seen.won);
		push_key(&state, "lost");
		push_integer(&state, WJB_VALUE, result->seen.lost);
	}
	return finish(&state, WJB_END_OBJECT);
}

/*
 * The score of a deal.  Without features, all deals of a cell have the same,
 * which is kept in the model; with them it is made in the current context.
 * NULL: the model says nothing about the pipeline.
 */
static ScoreCell *
score_of(ScoreModel *model, int32 pipeline_id, int32 furthest, int64 age,
		 double configured, ArrayType *features, bool details)
{
	ScorePipeline *pipeline = find_pipeline(model, pipeline_id);
	ScoreCell  *cell;
	MemoryContext old = NULL;
	Datum	   *values = NULL;
	bool	   *nulls = NULL;
	int			stage;

	if (pipeline == NULL)
		return NULL;
	stage = find_open_stage(pipeline, furthest);

	if (model->nfeatures == 0 && stage != NOTHING &&
		pipeline->total.won >= model->min_won && pipeline->total.lost >= model->min_lost)
	{
		cell = &pipeline->cached[age_bucket(model, age) * pipeline->nstages + stage];
		if (cell->known)
			return cell;
		old = MemoryContextSwitchTo(model->context);
		details = true;
	}
	else
		cell = palloc0(sizeof(ScoreCell));

	if (model->nfeatures > 0 && features != NULL)
	{
		int			n;

		deconstruct_array(features, TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls, &n);
		if (n != model->nfeatures)
			values = NULL;
	}
	compute_score(model, pipeline, stage, age, configured, values, nulls, &cell->result);
	cell->score = make_numeric(cell->result.probability * 100, 2);
	if (details)
	{
		cell->log_odds = make_numeric(cell->result.log_odds, 4);
		cell->contributions = contributions(model, &cell->result, configured);
	}
	cell->known = true;
	if (old != NULL)
		MemoryContextSwitchTo(old);
	return cell;
}

/* ----- seeing versions ----- */

static void
grow_slots(int32 **slots, uint32 *nslots, uint32 wanted, MemoryContext context)
{
	uint32		size = 1024;

	while (size < wanted)
		size *= 2;
	if (*slots != NULL)
		pfree(*slots);
	*slots = MemoryContextAllocHuge(context, sizeof(int32) * (Size) size);
	*nslots = size;
	memset(*slots, 0xFF, sizeof(int32) * (Size) size);
}

static inline uint64
entry_hash(int64 key1, int64 key2, int32 episode)
{
	uint64		h = (uint64) key1 * UINT64CONST(0x9E3779B97F4A7C15);

	h ^= h >> 32;
	h = (h + (uint64) key2) * UINT64CONST(0xC2B2AE3D27D4EB4F);
	h ^= h >> 29;
	h = (h + (uint64) episode) * UINT64CONST(0x165667B19E3779F9);
	return h ^ (h >> 32);
}

/* which part of the deals one is in: the same for all its episodes */
static inline uint32
entry_part(uint32 parts, int64 key1, int64 key2)
{
	return (uint32) (entry_hash(key1, key2, 0) >> 32) % parts;
}

static void
place_entries(ScoreState *state, uint32 size)
{
	grow_slots(&state->slots, &state->nslots, size, state->context);
	for (int32 i = 0; i < state->nentries; i++)
	{
		ScoreEntry *entry = &state->entries[i];
		uint32		slot = (uint32) entry_hash(entry->key1, entry->key2, entry->episode) & (state->nslots - 1);

		while (state->slots[slot] != NOTHING)
			slot = (slot + 1) & (state->nslots - 1);
		state->slots[slot] = i;
	}
}

static int32
make_entry(ScoreState *state, int64 key1, int64 key2, int32 episode)
{
	ScoreEntry *entry;

	if (state->nentries >= state->maxentries)
	{
		if (state->maxentries > PG_INT32_MAX / 2)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("there are too many deals to be counted at once"),
					 errhint("Raise maintenance_work_mem no further, so that they are counted in parts.")));
		state->maxentries = Max(1024, state->maxentries * 2);
		state->entries = state->entries == NULL ?
			MemoryContextAllocHuge(state->context, sizeof(ScoreEntry) * (Size) state->maxentries) :
			repalloc_huge(state->entries, sizeof(ScoreEntry) * (Size) state->maxentries);
	}
	entry = &state->entries[state->nentries];
	memset(entry, 0, sizeof(ScoreEntry));
	entry->key1 = key1;
	entry->key2 = key2;
	entry->episode = episode;
	entry->first = DT_NOEND;
	entry->created = DT_NOEND;
	entry->nodes = NOTHING;
	entry->features = NOTHING;
	return state->nentries++;
}

/* find_entry() where all deals of the list are neighbours: by the rest of the key */
static int32
find_neighbour(ScoreState *state, int64 key1, int32 episode, bool make)
{
	int32	   *place = &state->neighbours[(uint64) key1 & ((1 << NEIGHBOURS) - 1)];
	int32		number;

	for (number = *place; number != NOTHING; number = state->entries[number].other)
		if (state->entries[number].episode == episode)
			return number;
	if (!make)
		return NOTHING;
	number = make_entry(state, key1, 0, episode);
	state->entries[number].other = *place;
	*place = number;
	return number;
}

/* number of the entry; NOTHING if it isn't there and shall not be made */
static int32
find_entry(ScoreState *state, int64 key1, int64 key2, int32 episode, bool make)
{
	uint32		slot;

	if (state->only_neighbours)
		return find_neighbour(state, key1, episode, make);
	if (make && (uint32) state->nentries >= state->nslots / 2)
		place_entries(state, state->nslots == 0 ? 1024 : state->nslots * 2);
	if (state->nslots == 0)
		return NOTHING;

	slot = (uint32) entry_hash(key1, key2, episode) & (state->nslots - 1);
	while (state->slots[slot] != NOTHING)
	{
		const ScoreEntry *entry = &state->entries[state->slots[slot]];

		if (entry->key1 == key1 && entry->key2 == key2 && entry->episode == episode)
			return state->slots[slot];
		slot = (slot + 1) & (state->nslots - 1);
	}
	if (!make)
		return NOTHING;
	state->slots[slot] = make_entry(state, key1, key2, episode);
	return state->slots[slot];
}

/* a stretch of an open life */
static void
push_node(ScoreState *state, ScoreEntry *entry, int furthest, int stage, int32 features,
		  TimestampTz from, TimestampTz to)
{
	ScoreNode  *node;

	if (state->nnodes >= state->maxnodes)
	{
		if (state->maxnodes > PG_INT32_MAX / 2)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("there are too many versions to be counted at once"),
					 errhint("Raise maintenance_work_mem no further, so that they are counted in parts.")));
		state->maxnodes = Max(4096, state->maxnodes * 2);
		state->nodes = state->nodes == NULL ?
			MemoryContextAllocHuge(state->context, sizeof(ScoreNode) * (Size) state->maxnodes) :
			repalloc_huge(state->nodes, sizeof(ScoreNode) * (Size) state->maxnodes);
	}
	node = &state->nodes[state->nnodes];
	node->next = entry->nodes;
	node->furthest = furthest;
	node->stage = stage;
	node->features = features;
	node->from = from;
	node->to = to;
	entry->nodes = state->nnodes++;
}

/* the same, joined with one that it continues */
static void
add_node(ScoreState *state, ScoreEntry *entry, int furthest, int stage, int32 features,
		 TimestampTz from, TimestampTz to)
{
	uint32		steps = 0;

	for (int32 i = entry->nodes; i != NOTHING; i = state->nodes[i].next)
	{
		ScoreNode  *node = &state->nodes[i];

		/* a deal may have gone to and fro for ever */
		if (++steps % 1024 == 0)
			CHECK_FOR_INTERRUPTS();
		if (node->furthest != furthest || node->stage != stage || node->features != features)
			continue;
		/* they follow each other, or are told by versions of one visit */
		if (node->from <= to && from <= node->to)
		{
			node->from = Min(node->from, from);
			node->to = Max(node->to, to);
			return;
		}
	}
	push_node(state, entry, furthest, stage, features, from, to);
}

/* number of a set of features, each kept once */
static int32
find_set(ScoreState *state, ArrayType *set)
{
	Size		size = VARSIZE(set);
	uint32		hash = hash_bytes((const unsigned char *) set, size);
	uint32		slot;

	if (state->nsets >= LONG_SETS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("there are too many different features to be counted at once"),
				 errdetail("At most %d.", LONG_SETS),
				 errhint("Choose features with fewer values.")));
	if ((uint32) state->nsets >= state->nset_slots / 2)
	{
		grow_slots(&state->set_slots, &state->nset_slots,
				   state->nset_slots == 0 ? 1024 : state->nset_slots * 2, state->context);
		for (int32 i = 0; i < state->nsets; i++)
		{
			slot = hash_bytes((const unsigned char *) state->sets[i], VARSIZE(state->sets[i])) &
				(state->nset_slots - 1);
			while (state->set_slots[slot] != NOTHING)
				slot = (slot + 1) & (state->nset_slots - 1);
			state->set_slots[slot] = i;
		}
	}
	for (slot = hash & (state->nset_slots - 1);
		 state->set_slots[slot] != NOTHING;
		 slot = (slot + 1) & (state->nset_slots - 1))
	{
		ArrayType  *known = state->sets[state->set_slots[slot]];

		if (VARSIZE(known) == size && memcmp(known, set, size) == 0)
			return state->set_slots[slot];
	}
	if (state->nsets >= state->maxsets)
	{
		state->maxsets = Max(256, state->maxsets * 2);
		state->sets = state->sets == NULL ?
			MemoryContextAllocHuge(state->context, sizeof(ArrayType *) * (Size) state->maxsets) :
			repalloc_huge(state->sets, sizeof(ArrayType *) * (Size) state->maxsets);
	}
	state->sets[state->nsets] = MemoryContextAlloc(state->context, size);
	memcpy(state->sets[state->nsets], set, size);
	state->set_slots[slot] = state->nsets;
	return state->nsets++;
}

/* what the constant arguments say, of a state that knows nothing yet */
static void
begin_seeing(ScoreState *state, Jsonb *settings, TimestampTz at, TimestampTz since)
{
	MemoryContext context = STATE_CONTEXT(state);
	MemoryContext old;
	ScoreModel *model = read_model(settings, context);
	JsonbContainer *root = &settings->root;

	state->at = at;
	state->since = since;
	state->every = (int64) rint(json_object_number(root, "every", 604800, 1e-6, SECONDS_MOST) * USECS_PER_SEC);
	if (TIMESTAMP_NOT_FINITE(at) || TIMESTAMP_NOT_FINITE(since) ||
		((double) at - (double) since) / state->every > MAX_INSTANTS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("instants of a calibration must be finite, and at most %d", MAX_INSTANTS),
				 errhint("Ask pipelines.calibration().")));
	state->new_only = json_object_number(root, "new_only", 0, 0, 1) != 0;
	state->train = json_object_number(root, "train", 0, 0, 1) != 0;
	state->dated = json_object_number(root, "dated", 0, 0, 1) != 0;
	state->parts = (uint32) json_object_number(root, "parts", 1, 1, PG_INT32_MAX);
	state->part = (uint32) json_object_number(root, "part", 0, 0, PG_INT32_MAX);
	old = MemoryContextSwitchTo(context);
	state->settings = JsonbToCString(NULL, root, VARSIZE(settings));
	MemoryContextSwitchTo(old);
	state->lists = MemoryContextAllocZero(context, sizeof(SightingList) * LISTS);
	state->context = context;
	state->model = model;
}

/* ----- writing down what is seen ----- */

/* the list of a deal: all its episodes are in one */
static inline SightingList *
find_list(ScoreState *state, int64 key1, int64 key2)
{
	return &state->lists[entry_hash((int64) ((uint64) key1 >> NEIGHBOURS), key2, 0) % LISTS];
}

/* a number of at most so many, where NOTHING is that many */
#define PUT_NUMBER(number, none)	((uint64) ((number) == NOTHING ? (none) : (number)))
#define GET_NUMBER(bits, none)		((int) ((bits) & (none)) == (none) ? NOTHING : (int) ((bits) & (none)))

#define FLAGS(seen)					(((seen)->reopened ? 2 : 0) | ((seen)->made ? 1 : 0))

static inline void
write_long(uint64 *word, const Sighting *seen)
{
	word[0] = (uint64) seen->key1;
	word[1] = (uint64) seen->key2;
	word[2] = (uint64) seen->from;
	word[3] = (uint64) seen->to;
	word[4] = (uint64) (uint32) seen->episode << 32 | (uint32) seen->version;
	word[5] = PUT_NUMBER(seen->stage, LONG_STAGES) << 48 | PUT_NUMBER(seen->furthest, LONG_STAGES) << 32 |
		PUT_NUMBER(seen->features, LONG_SETS) << 2 | FLAGS(seen);
}

static inline void
read_long(const uint64 *word, Sighting *seen)
{
	seen->key1 = (int64) word[0];
	seen->key2 = (int64) word[1];
	seen->from = (TimestampTz) word[2];
	seen->to = (TimestampTz) word[3];
	seen->episode = (int32) (uint32) (word[4] >> 32);
	seen->version = (int32) (uint32) word[4];
	seen->stage = GET_NUMBER(word[5] >> 48, LONG_STAGES);
	seen->furthest = GET_NUMBER(word[5] >> 32, LONG_STAGES);
	seen->features = GET_NUMBER(word[5] >> 2, LONG_SETS);
	seen->reopened = (word[5] & 2) != 0;
	seen->made = (word[5] & 1) != 0;
}

static bool
fits_short(const SightingList *list, const Sighting *seen)
{
	return seen->key2 == 0 && (uint64) seen->key1 >> NEIGHBOURS == list->neighbours &&
		seen->stage < SHORT_STAGES && seen->furthest < SHORT_STAGES &&
		seen->version >= 0 && seen->version < SHORT_VERSIONS &&
		seen->episode >= 0 && seen->episode < SHORT_EPISODES && seen->features < SHORT_SETS;
}

static void
keep_sighting(ScoreState *state, const Sighting *seen)
{
	SightingList *list = find_list(state, seen->key1, seen->key2);
	uint64	   *word;

	if (list->shorts.newest == NULL)
		list->neighbours = (uint64) seen->key1 >> NEIGHBOURS;
	if (fits_short(list, seen))
	{
		word = word_list_add(&list->shorts, SHORT_WORDS, state->context);
		word[0] = (uint64) seen->from;
		word[1] = (uint64) seen->to;
		word[2] = (uint64) seen->key1 << (64 - NEIGHBOURS) |
			PUT_NUMBER(seen->stage, SHORT_STAGES) << 44 | PUT_NUMBER(seen->furthest, SHORT_STAGES) << 36 |
			(uint64) seen->version << 20 | (uint64) seen->episode << 8 | PUT_NUMBER(seen->features, SHORT_SETS) << 2 | FLAGS(seen);
		return;
	}
	write_long(word_list_add(&list->longs, LONG_WORDS, state->context), seen);
}

static inline void
read_short(const SightingList *list, const uint64 *word, Sighting *seen)
{
	seen->key1 = (int64) (list->neighbours << NEIGHBOURS | word[2] >> (64 - NEIGHBOURS));
	seen->key2 = 0;
	seen->from = (TimestampTz) word[0];
	seen->to = (TimestampTz) word[1];
	seen->stage = GET_NUMBER(word[2] >> 44, SHORT_STAGES);
	seen->furthest = GET_NUMBER(word[2] >> 36, SHORT_STAGES);
	seen->version = (int32) (word[2] >> 20 & (SHORT_VERSIONS - 1));
	seen->episode = (int32) (word[2] >> 8 & (SHORT_EPISODES - 1));
	seen->features = GET_NUMBER(word[2] >> 2, SHORT_SETS);
	seen->reopened = (word[2] & 2) != 0;
	seen->made = (word[2] & 1) != 0;
}

/* Show all that a list keeps, one after the other. */
static inline void
show_sightings(const SightingList *list, void (*show) (const Sighting *seen, void *arg), void *arg)
{
	Sighting	seen;

	FOR_EACH_WORD(word, SHORT_WORDS, &list->shorts)
	{
		read_short(list, word, &seen);
		show(&seen, arg);
	}
	FOR_EACH_WORD(word, LONG_WORDS, &list->longs)
	{
		read_long(word, &seen);
		show(&seen, arg);
	}
}

/* both are the same for most rows of a table: what was asked last is asked again */
static int
find_stage_again(ScoreState *state, int32 pipeline_id, int32 stage_id)
{
	StageSeen  *seen = &state->recent[(uint32) stage_id % RECENT_STAGES];

	if (seen->pipeline_id != pipeline_id || seen->stage_id != stage_id || !seen->known)
	{
		seen->pipeline_id = pipeline_id;
		seen->stage_id = stage_id;
		seen->index = find_stage(state->model, pipeline_id, stage_id);
		seen->known = true;
	}
	return seen->index;
}

/*
 * pipelines_score_see
 *		One version: state, settings, at, since, key1, key2, episode, version,
 *		begin of its visit (NULL: it came after the instant), valid_to, pipeline,
 *		stage, furthest stage, created_at (of the deal as it is now), the change
 *		that ended it, features (of the last version before a closing).
 *
 * Versions that ended without a move need not be seen: the last one of a visit
 * knows when that began.  Where the settings say "dated", each version is seen,
 * from its own beginning and with the features that it had.
 */
Datum
pipelines_score_see(PG_FUNCTION_ARGS)
{
	ScoreState *state;
	Sighting	seen;
	bool		visit = !PG_ARGISNULL(8) && !PG_ARGISNULL(10) && !PG_ARGISNULL(11);
	text	   *change = NULL;
	bool		ended;

	if (PG_ARGISNULL(0) && (PG_ARGISNULL(1) || PG_ARGISNULL(2)))
		PG_RETURN_NULL();
	state = state_to_change(&scores_kind, fcinfo);
	if (unlikely(state->model == NULL))
	{
		if (PG_ARGISNULL(1) || PG_ARGISNULL(2))
			PG_RETURN_DATUM(STATE_DATUM(state));
		begin_seeing(state, PG_GETARG_JSONB_P(1), PG_GETARG_TIMESTAMPTZ(2),
					 PG_GETARG_TIMESTAMPTZ(PG_ARGISNULL(3) ? 2 : 3));
	}

	/* half a row says nothing (a restore in progress) */
	if (PG_ARGISNULL(4) || PG_ARGISNULL(5) || PG_ARGISNULL(6) || PG_ARGISNULL(7))
		PG_RETURN_DATUM(STATE_DATUM(state));
	seen.made = !PG_ARGISNULL(13);
	if (!visit && !seen.made)
		PG_RETURN_DATUM(STATE_DATUM(state));
	/* the present version goes on, and tells when the deal was made */
	seen.to = seen.made ? PG_GETARG_TIMESTAMPTZ(13) : PG_ARGISNULL(9) ? DT_NOEND : PG_GETARG_TIMESTAMPTZ(9);
	ended = !seen.made && seen.to <= state->at;
	if (ended && !PG_ARGISNULL(14))
	{
		change = PG_GETARG_TEXT_PP(14);
		if (text_is(change, "change"))
			PG_RETURN_DATUM(STATE_DATUM(state));
	}
	seen.key1 = PG_GETARG_INT64(4);
	seen.key2 = PG_GETARG_INT64(5);
	if (state->parts > 1 && entry_part(state->parts, seen.key1, seen.key2) != state->part)
		PG_RETURN_DATUM(STATE_DATUM(state));
	seen.episode = PG_GETARG_INT32(6);
	seen.version = PG_GETARG_INT32(7);
	seen.stage = seen.furthest = seen.features = NOTHING;
	seen.from = DT_NOEND;
	if (visit)
	{
		int32		pipeline_id = PG_GETARG_INT32(10);

		seen.from = PG_GETARG_TIMESTAMPTZ(8);
		seen.stage = find_stage_again(state, pipeline_id, PG_GETARG_INT32(11));
		if (!PG_ARGISNULL(12))
			seen.furthest = find_stage_again(state, pipeline_id, PG_GETARG_INT32(12));
	}
	seen.reopened = change != NULL && text_is(change, "reopen");
	if (!PG_ARGISNULL(15) && (ended || state->dated) && seen.stage != NOTHING &&
		!OUTCOME_IS_CLOSED(state->model->stages[seen.stage].outcome))
		seen.features = find_set(state, PG_GETARG_ARRAYTYPE_P(15));
	keep_sighting(state, &seen);
	PG_RETURN_DATUM(STATE_DATUM(state));
}

/* ----- putting together what was seen of each deal ----- */

/* what is put together, and as of when */
typedef struct Together
{
	ScoreState *state;
	TimestampTz at;
} Together;

static void
add_sighting(const Sighting *seen, void *arg)
{
	ScoreState *state = ((Together *) arg)->state;
	TimestampTz at = ((Together *) arg)->at;
	TimestampTz to = seen->made ? DT_NOEND : seen->to;
	const ScoreStage *stage;
	ScoreEntry *entry;
	int32		number;

	/* when the deal was made is a property of its first episode */
	if (seen->made)
	{
		number = find_entry(state, seen->key1, seen->key2, 1, true);
		state->entries[number].created = seen->to;
	}
	/* a visit says the same of an earlier instant, once it had begun */
	if (seen->from > at)
		return;
	number = find_entry(state, seen->key1, seen->key2, seen->episode, true);
	entry = &state->entries[number];
	entry->first = Min(entry->first, seen->from);
	if (seen->stage == NOTHING)
		return;
	stage = &state->model->stages[seen->stage];
	if (OUTCOME_IS_CLOSED(stage->outcome))
	{
		if (seen->version >= entry->closed_version)
		{
			entry->closed_version = seen->version;
			entry->outcome = stage->outcome;
			entry->withdrawn = seen->reopened && to <= at;
		}
		return;
	}

	if (seen->version >= entry->open_version)
	{
		entry->open_version = seen->version;
		entry->open_pipeline = stage->pipeline_id;
		entry->features = to <= at ? seen->features : NOTHING;
		entry->gone = to <= at;
	}
	if (seen->furthest != NOTHING)
		add_node(state, entry, seen->furthest, seen->stage, state->dated ? seen->features : NOTHING, seen->from, to);
}

/*
 * The episodes of the deals of a list, as they were at an instant, in the place
 * of those of the list before.
 */
static void
put_together(ScoreState *state, const SightingList *list, TimestampTz at)
{
	Together	together = {state, at};

	CHECK_FOR_INTERRUPTS();
	state->nentries = state->nnodes = 0;
	state->only_neighbours = list->longs.newest == NULL;
	if (state->only_neighbours)
		memset(state->neighbours, 0xFF, sizeof(state->neighbours));
	else if (state->slots != NULL)
		memset(state->slots, 0xFF, sizeof(int32) * (Size) state->nslots);
	show_sightings(list, add_sighting, &together);
}

/* ----- flat form ----- */

/*
 * Settings as JSON, at, since; the sets of features, each as a list of texts;
 * what was seen, as the words that keep it: the short ones of each list with
 * what their keys begin with, and the long ones of all lists.
 */

static void
write_set(FlatWriter *writer, ArrayType *set)
{
	Datum	   *elements;
	bool	   *nulls;
	int			n;

	deconstruct_array(set, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &n);
	flat_put_32(writer, n);
	for (int i = 0; i < n; i++)
	{
		flat_put_32(writer, nulls[i] ? 1 : 0);
		if (!nulls[i])
			flat_put_text(writer, TextDatumGetCString(elements[i]));
	}
}

static void
write_scores(FlatWriter *writer, ExpandedState *expanded)
{
	const ScoreState *state = (const ScoreState *) expanded;
	uint32		nlists = 0;
	uint64		nlongs = 0;

	/* nothing was seen: nothing is said */
	if (state->model == NULL)
		return;
	flat_put_text(writer, state->settings);
	flat_put_64(writer, state->at);
	flat_put_64(writer, state->since);
	flat_put_32(writer, state->nsets);
	for (int32 i = 0; i < state->nsets; i++)
		write_set(writer, state->sets[i]);
	for (int i = 0; i < LISTS; i++)
	{
		nlists += state->lists[i].shorts.newest != NULL;
		nlongs += word_list_length(&state->lists[i].longs) / LONG_WORDS;
	}
	flat_put_32(writer, nlists);
	for (int i = 0; i < LISTS; i++)
	{
		const SightingList *list = &state->lists[i];

		if (list->shorts.newest == NULL)
			continue;
		flat_put_64(writer, list->neighbours);
		flat_put_64(writer, word_list_length(&list->shorts) / SHORT_WORDS);
		flat_put_words(writer, &list->shorts);
	}
	flat_put_64(writer, nlongs);
	for (int i = 0; i < LISTS; i++)
		flat_put_words(writer, &state->lists[i].longs);
}

/* the next set of features of the list: its number among ours */
static int32
merge_set(FlatReader *reader, ScoreState *state)
{
	uint32		n = flat_get_32(reader, "number of features");
	Datum	   *elements;
	bool	   *nulls;
	ArrayType  *set;
	int			dims[1];
	int			lbs[1] = {1};
	int32		number;

	if (n > (Size) (reader->end - reader->at) / sizeof(uint32))
		flat_refuse(reader, "number of features");
	elements = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Datum) * ((Size) n + 1));
	nulls = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(bool) * ((Size) n + 1));
	for (uint32 i = 0; i < n; i++)
	{
		uint32		lacking = flat_get_32(reader, "feature");

		if (lacking > 1)
			flat_refuse(reader, "feature");
		nulls[i] = lacking == 1;
		elements[i] = nulls[i] ? (Datum) 0 : CStringGetTextDatum(flat_get_text(reader, "feature"));
	}
	dims[0] = (int) n;
	set = construct_md_array(elements, nulls, 1, dims, lbs, TEXTOID, -1, false, TYPALIGN_INT);
	number = find_set(state, set);
	pfree(set);
	pfree(elements);
	pfree(nulls);
	return number;
}

/* the next so many numbers */
static inline void
get_words(const char **at, uint64 *words, int n)
{
	for (int i = 0; i < n; i++)
		words[i] = get_64(at);
}

/* what was seen of a version, with our own numbers of sets */
static inline void
merge_sighting(FlatReader *reader, ScoreState *state, Sighting *seen, const int32 *sets, uint32 nsets)
{
	if (seen->stage >= state->model->nstages || seen->furthest >= state->model->nstages)
		flat_refuse(reader, "stage");
	if (seen->features != NOTHING)
	{
		if ((uint32) seen->features >= nsets)
			flat_refuse(reader, "features");
		seen->features = sets[seen->features];
	}
	keep_sighting(state, seen);
}

static void
merge_sightings(FlatReader *reader, ScoreState *state, const int32 *sets, uint32 nsets)
{
	uint32		nlists = flat_get_32(reader, "number of lists");
	uint64		n;
	const char *at;
	Sighting	seen;

	for (uint32 list = 0; list < nlists; list++)
	{
		SightingList from = {.neighbours = flat_get_64(reader, "key")};
		uint64		word[SHORT_WORDS];

		CHECK_FOR_INTERRUPTS();
		n = flat_get_64(reader, "number of versions");
		at = flat_take(reader, n, sizeof(word), "number of versions");
		for (uint64 i = 0; i < n; i++)
		{
			get_words(&at, word, SHORT_WORDS);
			read_short(&from, word, &seen);
			merge_sighting(reader, state, &seen, sets, nsets);
		}
	}
	n = flat_get_64(reader, "number of versions");
	at = flat_take(reader, n, sizeof(uint64) * LONG_WORDS, "number of versions");
	for (uint64 i = 0; i < n; i++)
	{
		uint64		word[LONG_WORDS];

		if (i % 65536 == 0)
			CHECK_FOR_INTERRUPTS();
		get_words(&at, word, LONG_WORDS);
		read_long(word, &seen);
		merge_sighting(reader, state, &seen, sets, nsets);
	}
}

static void
merge_scores(FlatReader *reader, ExpandedState *expanded)
{
	ScoreState *state = (ScoreState *) expanded;
	char	   *settings;
	TimestampTz at;
	TimestampTz since;
	uint32		nsets;
	int32	   *sets;

	if (reader->at == reader->end)
		return;
	settings = flat_get_text(reader, "settings");
	at = (int64) flat_get_64(reader, "instant");
	since = (int64) flat_get_64(reader, "instant");
	if (state->model == NULL)
		begin_seeing(state, DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(settings))), at, since);
	else if (at != state->at || since != state->since || strcmp(settings, state->settings) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("counts of different models or instants can't be put together"),
				 errhint("Ask pipelines.train_scores() or pipelines.calibration().")));

	nsets = flat_get_32(reader, "number of features");
	if (nsets > (Size) (reader->end - reader->at) / sizeof(uint32))
		flat_refuse(reader, "number of features");
	sets = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(int32) * ((Size) nsets + 1));
	for (uint32 i = 0; i < nsets; i++)
		sets[i] = merge_set(reader, state);
	merge_sightings(reader, state, sets, nsets);
	pfree(sets);
	pfree(settings);
}

Datum
pipelines_score_combine(PG_FUNCTION_ARGS)
{
	return state_combine(&scores_kind, fcinfo);
}

/* ----- counting ----- */

/* since when a deal's age counts */
static TimestampTz
entry_born(ScoreState *state, const ScoreEntry *entry)
{
	const ScoreEntry *first = entry;

	if (entry->episode != 1)
	{
		int32		number = find_entry(state, entry->key1, entry->key2, 1, false);

		if (number != NOTHING)
			first = &state->entries[number];
	}
	if (!TIMESTAMP_IS_NOEND(first->created))
		return Min(first->created, entry->first);
	return Min(first->first, entry->first);
}

/* did it end by the instant, and how?  won 1, lost 0, else -1 */
static int
entry_ended(const ScoreEntry *entry)
{
	if (entry->open_version == 0 || entry->closed_version <= entry->open_version || entry->withdrawn)
		return -1;
	switch ((StageOutcome) entry->outcome)
	{
		case OUTCOME_WON:
			return 1;
		case OUTCOME_LOST:
		case OUTCOME_DISQUALIFIED:
			return 0;
		default:
			return -1;
	}
}

static void
add_pair(ScorePair *pair, bool won)
{
	if (won)
		pair->won++;
	else
		pair->lost++;
}

static void
push_count(CompatJsonb *json, int32 pipeline_id, const char *feature, const char *value,
		   int age, ScorePair seen)
{
	if (seen.won + seen.lost == 0 && strcmp(feature, "prior") != 0)
		return;
	compat_push_jsonb(json, WJB_BEGIN_ARRAY, NULL);
	push_integer(json, WJB_ELEM, pipeline_id);
	push_text(json, feature);
	push_text(json, value);
	push_integer(json, WJB_ELEM, age);
	push_integer(json, WJB_ELEM, seen.won);
	push_integer(json, WJB_ELEM, seen.lost);
	compat_push_jsonb(json, WJB_END_ARRAY, NULL);
}

/* features: how often each set was seen, then how often each value was */
static void
push_features(CompatJsonb *json, ScoreState *state, ScorePair *sets, int32 pipeline_id)
{
	ScoreModel *model = state->model;

	for (int k = 0; k < model->nfeatures; k++)
	{
		ScoreValue *values = palloc(sizeof(ScoreValue) * (state->nsets + 1));
		int			nvalues = 0;
		const char *name = psprintf("column:%s", model->features[k]);

		for (int32 i = 0; i < state->nsets; i++)
		{
			Datum	   *elements;
			bool	   *nulls;
			int			n;

			if (sets[i].won + sets[i].lost == 0)
				continue;
			deconstruct_array(state->sets[i], TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &n);
			if (k >= n || nulls[k])
				continue;
			values[nvalues].value = TextDatumGetCString(elements[k]);
			values[nvalues++].seen = sets[i];
		}
		qsort(values, nvalues, sizeof(ScoreValue), compare_values);
		for (int i = 0; i < nvalues; i++)
		{
			ScorePair	sum = values[i].seen;

			CHECK_FOR_INTERRUPTS();
			while (i + 1 < nvalues && strcmp(values[i].value, values[i + 1].value) == 0)
			{
				i++;
				sum.won += values[i].seen.won;
				sum.lost += values[i].seen.lost;
			}
			push_count(json, pipeline_id, name, values[i].value, -1, sum);
		}
	}
}

/* Count the episodes that were put together; sets: by pipeline, made when needed. */
static void
count_episodes(ScoreState *state, ScorePair **sets)
{
	ScoreModel *model = state->model;
	int			nbuckets = model->nages + 1;

	for (int32 i = 0; i < state->nentries; i++)
	{
		const ScoreEntry *entry = &state->entries[i];
		int			won = entry_ended(entry);
		ScorePipeline *pipeline;
		TimestampTz born;
		uint64		cells[32];
		Bitmapset  *many = NULL;
		uint64		ages = 0;
		uint64		ever = 0;
		bool		few;

		if (won < 0 || (pipeline = find_pipeline(model, entry->open_pipeline)) == NULL)
			continue;
		born = entry_born(state, entry);
		add_pair(&pipeline->total, won);
		if (entry->features != NOTHING && model->nfeatures > 0)
		{
			int			p = pipeline - model->pipelines;

			if (sets[p] == NULL)
				sets[p] = MemoryContextAllocExtended(state->context, sizeof(ScorePair) * (Size) state->nsets,
													 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
			add_pair(&sets[p][entry->features], won);
		}

		/* each cell once a deal: bits, in few words where there are few */
		few = pipeline->nstages <= 64 && nbuckets <= 32;
		if (few)
			memset(cells, 0, sizeof(uint64) * nbuckets);
		for (int32 n = entry->nodes; n != NOTHING; n = state->nodes[n].next)
		{
			const ScoreNode *node = &state->nodes[n];
			int			first;
			int			last;
			int			stage;

			if (model->stages[node->furthest].pipeline_id != pipeline->pipeline_id)
				continue;
			stage = find_open_stage(pipeline, model->stages[node->furthest].stage_id);
			if (stage == NOTHING)
				continue;
			first = age_bucket(model, age_at(node->from, born));
			last = first;
			while (last < model->nages && node->to > node->from && age_at(node->to, born) > model->ages[last])
				last++;
			for (int b = first; b <= last; b++)
			{
				if (few)
				{
					uint64		bit = UINT64CONST(1) << stage;

					if ((cells[b] & bit) == 0)
					{
						cells[b] |= bit;
						add_pair(&pipeline->cells[b * pipeline->nstages + stage], won);
					}
					if ((ages & (UINT64CONST(1) << b)) == 0)
					{
						ages |= UINT64CONST(1) << b;
						add_pair(&pipeline->ages[b], won);
					}
					if ((ever & bit) == 0)
					{
						ever |= bit;
						add_pair(&pipeline->ever[stage], won);
					}
				}
				else
				{
					int			cell = b * pipeline->nstages + stage;
					int			base = nbuckets * pipeline->nstages;

					if (!bms_is_member(cell, many))
					{
						many = bms_add_member(many, cell);
						add_pair(&pipeline->cells[cell], won);
					}
					if (!bms_is_member(base + b, many))
					{
						many = bms_add_member(many, base + b);
						add_pair(&pipeline->ages[b], won);
					}
					if (!bms_is_member(base + nbuckets + stage, many))
					{
						many = bms_add_member(many, base + nbuckets + stage);
						add_pair(&pipeline->ever[stage], won);
					}
				}
			}
		}
		bms_free(many);
	}
}

/* The counts of what was known at an instant; spoils the state's model. */
static Datum
count_all(ScoreState *state, TimestampTz at)
{
	ScoreModel *model = state->model;
	CompatJsonb json = {0};
	ScorePair **sets = palloc0(sizeof(ScorePair *) * (model->npipelines + 1));
	int			nbuckets = model->nages + 1;

	compat_push_jsonb(&json, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < LISTS; i++)
	{
		put_together(state, &state->lists[i], at);
		count_episodes(state, sets);
	}

	for (int i = 0; i < model->npipelines; i++)
	{
		ScorePipeline *pipeline = &model->pipelines[i];

		push_count(&json, pipeline->pipeline_id, "prior", "", -1, pipeline->total);
		for (int b = 0; b < nbuckets; b++)
			push_count(&json, pipeline->pipeline_id, "age", "", b, pipeline->ages[b]);
		for (int s = 0; s < pipeline->nstages; s++)
		{
			/* it is looked at when the list is complete */
			const char *value = psprintf("%d", pipeline->stages[s]);

			push_count(&json, pipeline->pipeline_id, "stage", value, -1, pipeline->ever[s]);
			for (int b = 0; b < nbuckets; b++)
				push_count(&json, pipeline->pipeline_id, "stage", value, b,
						   pipeline->cells[b * pipeline->nstages + s]);
		}
		if (sets[i] != NULL)
			push_features(&json, state, sets[i], pipeline->pipeline_id);
	}
	return finish(&json, WJB_END_ARRAY);
}

/* no counts, no predictions */
static Datum
empty_list(void)
{
	CompatJsonb json = {0};

	compat_push_jsonb(&json, WJB_BEGIN_ARRAY, NULL);
	return finish(&json, WJB_END_ARRAY);
}

/*
 * pipelines_score_counts_final
 *		The counts, as a list of [pipeline, feature, value, age, won, lost];
 *		age -1: at any age.
 */
Datum
pipelines_score_counts_final(PG_FUNCTION_ARGS)
{
	ScoreState *state = PG_ARGISNULL(0) ? NULL : state_to_read(&scores_kind, fcinfo);

	if (state == NULL || state->model == NULL)
		return empty_list();
	return count_all(state, state->at);
}

/* ----- calibration ----- */

typedef struct ScoreBin
{
	int64		n;
	int64		won;
	double		predicted;
	double		squares;
	double		log_loss;
} ScoreBin;

#define PREDICTORS		3

static const char *const predictor_names[PREDICTORS] = {"score", "stage", "base"};

static void
judge(ScoreBin *bins, double probability, bool won)
{
	int			bin = (int) floor(probability * SCORE_BINS);
	double		p = Min(Max(probability, SCORE_LEAST), SCORE_MOST);
	ScoreBin   *b = &bins[Min(Max(bin, 0), SCORE_BINS - 1)];

	b->n++;
	b->won += won;
	b->predicted += probability;
	b->squares += (probability - won) * (probability - won);
	b->log_loss -= log(won ? p : 1 - p);
}

/* The model becomes that of the counts of what was known at the first instant. */
static void
train(ScoreState *state)
{
	CompatJsonb json = {0};
	JsonbValue	counts;
	Datum		counted = count_all(state, state->since);
	Datum		settings = DirectFunctionCall1(jsonb_in, CStringGetDatum(state->settings));

	compat_push_jsonb(&json, WJB_BEGIN_OBJECT, NULL);
	push_key(&json, "counts");
	counts.type = jbvBinary;
	counts.val.binary.data = &DatumGetJsonbP(counted)->root;
	counts.val.binary.len = VARSIZE(DatumGetJsonbP(counted)) - VARHDRSZ;
	compat_push_jsonb(&json, WJB_VALUE, &counts);
	settings = DirectFunctionCall2(jsonb_concat, settings, finish(&json, WJB_END_OBJECT));
	state->model = read_model(DatumGetJsonbP(settings), state->context);
}

/* the values of a set; none if it has others than the model */
static void
features_of(const ScoreState *state, int32 set, Datum **values, bool **nulls)
{
	int			n;

	*values = NULL;
	if (set == NOTHING)
		return;
	deconstruct_array(state->sets[set], TEXTOID, -1, false, TYPALIGN_INT, values, nulls, &n);
	if (n != state->model->nfeatures)
		*values = NULL;
}

/* how a prediction turned out */
typedef enum ScoreFate
{
	FATE_LOST,
	FATE_WON,
	FATE_OPEN,
	FATE_NOBODYS				/* closed otherwise, or deleted: not predicted */
} ScoreFate;

/*
 * What became of the deal of an episode by the instant: a closing that was
 * withdrawn is none, how the next episode ended counts.
 */
static ScoreFate
fate_of(ScoreState *state, const ScoreEntry *entry)
{
	int			won;

	while (entry->closed_version > entry->open_version && entry->withdrawn)
	{
		int32		next = find_entry(state, entry->key1, entry->key2, entry->episode + 1, false);

		if (next == NOTHING)
			return FATE_NOBODYS;
		entry = &state->entries[next];
	}
	won = entry_ended(entry);
	if (won >= 0)
		return won ? FATE_WON : FATE_LOST;
	return entry->closed_version > entry->open_version || entry->gone ? FATE_NOBODYS : FATE_OPEN;
}

/*
 * Judge the episodes that were put together.  The current memory context is
 * emptied for each of them.
 */
static void
judge_episodes(ScoreState *state, ScoreBin *bins, int64 *open)
{
	ScoreModel *model = state->model;

	for (int32 i = 0; i < state->nentries; i++)
	{
		const ScoreEntry *entry = &state->entries[i];
		ScoreFate	fate;
		TimestampTz born;
		int32		features = NOTHING;
		Datum	   *values = NULL;
		bool	   *nulls = NULL;

		if (entry->nodes == NOTHING)
			continue;
		if (model->nfeatures > 0)
			MemoryContextReset(CurrentMemoryContext);
		born = entry_born(state, entry);
		if (state->new_only && born < state->since)
			continue;
		fate = fate_of(state, entry);
		if (fate == FATE_NOBODYS)
			continue;
		for (int32 k = entry->nodes; k != NOTHING; k = state->nodes[k].next)
		{
			const ScoreNode *node = &state->nodes[k];
			const ScoreStage *stage = &model->stages[node->stage];
			/* in which it was then, wherever it went later */
			ScorePipeline *pipeline = find_pipeline(model, stage->pipeline_id);
			TimestampTz end = Min(node->to, state->at);
			ScoreBin   *mine;
			int64		step;
			int			furthest;

			CHECK_FOR_INTERRUPTS();
			if (pipeline == NULL || end <= state->since || end <= node->from)
				continue;
			mine = &bins[(pipeline - model->pipelines) * PREDICTORS * SCORE_BINS];
			if (node->features != features)
			{
				features = node->features;
				features_of(state, features, &values, &nulls);
			}
			furthest = find_open_stage(pipeline, model->stages[node->furthest].stage_id);
			step = node->from <= state->since ? 0 :
				(node->from - state->since + state->every - 1) / state->every;
			for (TimestampTz t = state->since + step * state->every; t < end; t += state->every)
			{
				bool		won = fate == FATE_WON;
				ScoreResult result;

				if (fate == FATE_OPEN)
				{
					open[pipeline - model->pipelines]++;
					continue;
				}
				compute_score(model, pipeline, furthest, age_at(t, born), stage->probability,
							  values, nulls, &result);
				judge(&mine[0], result.probability, won);
				judge(&mine[SCORE_BINS], stage->probability, won);
				if (pipeline->total.won + pipeline->total.lost > 0)
					judge(&mine[2 * SCORE_BINS],
						  (double) pipeline->total.won / (pipeline->total.won + pipeline->total.lost), won);
			}
		}
	}
}

/*
 * pipelines_score_bins_final
 *		What would have been predicted at each instant for each deal that was
 *		open then, against how it ended: a list of [pipeline, predictor, bin,
 *		n, won, sum of predictions, of squared errors, of logarithmic losses],
 *		bin -1: how many are still open.  The model is the one that was given, or,
 *		where its settings say "train", that of what was known at the first
 *		instant.
 */
Datum
pipelines_score_bins_final(PG_FUNCTION_ARGS)
{
	ScoreState *state;
	ScoreModel *model;
	CompatJsonb json = {0};
	ScoreBin   *bins;
	int64	   *open;
	MemoryContext scratch;
	MemoryContext old;

	state = PG_ARGISNULL(0) ? NULL : state_to_read(&scores_kind, fcinfo);
	if (state == NULL || state->model == NULL)
		return empty_list();
	if (state->train)
		train(state);
	compat_push_jsonb(&json, WJB_BEGIN_ARRAY, NULL);
	model = state->model;
	bins = palloc0(sizeof(ScoreBin) * (model->npipelines + 1) * PREDICTORS * SCORE_BINS);
	open = palloc0(sizeof(int64) * (model->npipelines + 1));
	scratch = AllocSetContextCreate(CurrentMemoryContext, "pipelines calibration", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(scratch);

	for (int i = 0; i < LISTS; i++)
	{
		put_together(state, &state->lists[i], state->at);
		judge_episodes(state, bins, open);
	}

	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);

	for (int i = 0; i < model->npipelines; i++)
	{
		for (int k = 0; k < PREDICTORS * SCORE_BINS; k++)
		{
			ScoreBin   *bin = &bins[i * PREDICTORS * SCORE_BINS + k];

			if (bin->n == 0)
				continue;
			compat_push_jsonb(&json, WJB_BEGIN_ARRAY, NULL);
			push_integer(&json, WJB_ELEM, model->pipelines[i].pipeline_id);
			push_text(&json, predictor_names[k / SCORE_BINS]);
			push_integer(&json, WJB_ELEM, k % SCORE_BINS);
			push_integer(&json, WJB_ELEM, bin->n);
			push_integer(&json, WJB_ELEM, bin->won);
			push_number(&json, WJB_ELEM, make_numeric(bin->predicted, 10));
			push_number(&json, WJB_ELEM, make_numeric(bin->squares, 10));
			push_number(&json, WJB_ELEM, make_numeric(bin->log_loss, 10));
			compat_push_jsonb(&json, WJB_END_ARRAY, NULL);
		}
		if (open[i] > 0)
		{
			compat_push_jsonb(&json, WJB_BEGIN_ARRAY, NULL);
			push_integer(&json, WJB_ELEM, model->pipelines[i].pipeline_id);
			push_text(&json, "score");
			push_integer(&json, WJB_ELEM, -1);
			push_integer(&json, WJB_ELEM, open[i]);
			for (int k = 0; k < 4; k++)
				push_integer(&json, WJB_ELEM, 0);
			compat_push_jsonb(&json, WJB_END_ARRAY, NULL);
		}
	}
	return finish(&json, WJB_END_ARRAY);
}

/* ----- scores of deals ----- */

/* a model that a query works with, kept for as long as it runs */
typedef struct ScoreCache
{
	ScoreModel *model;			/* NULL: the table has none */
	Oid			relid;
	TupleDesc	desc;
	struct ScoreCache *next;	/* that of another table */
} ScoreCache;

/* percent as a share of 1; what is none counts as 0 or 1 */
static double
share_argument(FunctionCallInfo fcinfo, int n)
{
	double		share;

	if (PG_ARGISNULL(n))
		return 0;
	share = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, PG_GETARG_DATUM(n))) / 100;
	return isnan(share) ? 0 : Min(Max(share, 0), 1);
}

/* the model of a deals table as it is kept, or NULL */
static ScoreModel *
load_model(Oid relid, MemoryContext context)
{
	Oid			argtypes[1] = {REGCLASSOID};
	Datum		args[1];
	ScoreModel *model = NULL;

	args[0] = ObjectIdGetDatum(relid);
	SPI_connect();
	if (SPI_execute_with_args("SELECT pipelines._score_model($1)", 1, argtypes, args, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "the model of scores can't be read");
	if (SPI_processed == 1)
	{
		bool		isnull;
		Datum		settings = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);

		if (!isnull)
			model = read_model(DatumGetJsonbP(settings), context);
	}
	SPI_finish();
	return model;
}

/*
 * pipelines_score
 *		The score of a deal by the model that is kept for its table: deals,
 *		pipeline, furthest stage, created, at, percent of its stage, features.
 *		NULL without a model.
 */
Datum
pipelines_score(PG_FUNCTION_ARGS)
{
	ScoreCache *cache = fcinfo->flinfo->fn_extra;
	ScoreCell  *cell;
	int64		age;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	while (cache != NULL && cache->relid != PG_GETARG_OID(0))
		cache = cache->next;
	if (cache == NULL)
	{
		MemoryContext context = AllocSetContextCreate(fcinfo->flinfo->fn_mcxt, "pipelines scores",
													  ALLOCSET_DEFAULT_SIZES);
		ScoreCache *loaded = MemoryContextAllocZero(context, sizeof(ScoreCache));

		loaded->relid = PG_GETARG_OID(0);
		loaded->model = load_model(loaded->relid, context);
		loaded->next = fcinfo->flinfo->fn_extra;
		fcinfo->flinfo->fn_extra = cache = loaded;
	}
	if (cache->model == NULL)
		PG_RETURN_NULL();

	age = PG_ARGISNULL(3) || PG_ARGISNULL(4) ? 0 :
		age_at(PG_GETARG_TIMESTAMPTZ(4), PG_GETARG_TIMESTAMPTZ(3));
	cell = score_of(cache->model, PG_GETARG_INT32(1), PG_ARGISNULL(2) ? 0 : PG_GETARG_INT32(2), age,
					share_argument(fcinfo, 5), PG_ARGISNULL(6) ? NULL : PG_GETARG_ARRAYTYPE_P(6), false);
	if (cell == NULL)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(cell->score);
}

/*
 * pipelines_score_detail
 *		The same by a model that is given, with what it is made of.
 */
Datum
pipelines_score_detail(PG_FUNCTION_ARGS)
{
	ScoreCache *cache = fcinfo->flinfo->fn_extra;
	ScoreModel *model;
	ScoreCell  *cell;
	Datum		values[6];
	bool		nulls[6] = {false};
	int64		age;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	if (cache == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);

		cache = palloc0(sizeof(ScoreCache));
		if (get_call_result_type(fcinfo, NULL, &cache->desc) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "return type must be a row type");
		cache->desc = BlessTupleDesc(cache->desc);
		if (get_fn_expr_arg_stable(fcinfo->flinfo, 0))
			cache->model = read_model(PG_GETARG_JSONB_P(0), fcinfo->flinfo->fn_mcxt);
		MemoryContextSwitchTo(old);
		fcinfo->flinfo->fn_extra = cache;
	}
	model = cache->model != NULL ? cache->model : read_model(PG_GETARG_JSONB_P(0), CurrentMemoryContext);

	age = PG_ARGISNULL(3) || PG_ARGISNULL(4) ? 0 :
		age_at(PG_GETARG_TIMESTAMPTZ(4), PG_GETARG_TIMESTAMPTZ(3));
	cell = score_of(model, PG_GETARG_INT32(1), PG_ARGISNULL(2) ? 0 : PG_GETARG_INT32(2), age,
					share_argument(fcinfo, 5), PG_ARGISNULL(6) ? NULL : PG_GETARG_ARRAYTYPE_P(6), true);
	if (cell == NULL)
		PG_RETURN_NULL();
	values[0] = cell->score;
	values[1] = BoolGetDatum(cell->result.enough);
	values[2] = Int64GetDatum(cell->result.seen.won);
	values[3] = Int64GetDatum(cell->result.seen.lost);
	values[4] = cell->log_odds;
	values[5] = cell->contributions;
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(cache->desc, values, nulls)));
}
