/*-------------------------------------------------------------------------
 *
 * definitions.c
 *	  The definitions as each backend knows them, and the lock that keeps
 *	  them in place while deals change.
 *
 * Owns two things.  First, a copy of all pipelines, stages, maps and
 * transitions in the backend's memory.  Its invariant is that of watched.c:
 * whoever looks something up sees the newest committed definitions plus the
 * changes of their own transaction, whatever the isolation level, as foreign
 * keys do.
 *
 * Second, the writers' side of the lock protocol: whoever changes a deal
 * holds ROW SHARE on pipelines.definition_lock until the end of the
 * transaction, and so does whoever adds definitions, to keep what they refer
 * to; destructive changes of definitions hold EXCLUSIVE (usage.c).
 *
 * Must never run SQL (it serves row triggers under any search_path and any
 * role), and never free the copy that a caller may still look at.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "definitions/definitions_private.h"
#include "definitions/watched.h"
#include "errors.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* names listed in an error message at most */
#define MAX_LISTED		20

/* attempts at locking tables that keep changing under us */
#define MAX_ATTEMPTS	5

typedef enum DefinitionTable
{
	TABLE_LAYOUT,
	TABLE_STAGE,
	TABLE_PIPELINE,
	TABLE_PIPELINE_STAGE,
	TABLE_STAGE_MAP,
	TABLE_STAGE_TRANSITION,
	TABLE_STAGE_ACTIVITY,
	TABLE_APPROVAL,
	TABLE_DEAL_TYPE,
	TABLE_PIPELINE_ROLE,
	TABLE_STAGE_VALUE,
	TABLE_TRACKED_TABLE,
	TABLE_DEFINITION_LOCK
} DefinitionTable;

#define N_TABLES		(TABLE_DEFINITION_LOCK + 1)
/* the first ones are those that the cache is made of */
#define N_CACHED		(TABLE_STAGE_VALUE + 1)

static const char *const table_names[N_TABLES] = {
	"layout", "stage", "pipeline", "pipeline_stage", "stage_map",
	"stage_transition", "stage_activity", "approval", "deal_type",
	"pipeline_role", "stage_value", "tracked_table", "definition_lock"
};

/* from ids to places in an array: open addressing, 0 = free, else place + 1 */
typedef struct IdIndex
{
	uint32		mask;
	int32	   *slots;
} IdIndex;

typedef struct CachedPipeline
{
	PipelineDef def;			/* first, what others see */
	IdIndex		by_stage;
	char	   *code;
	char	  **stage_codes;	/* beside def.stages */
} CachedPipeline;

typedef struct MapDef
{
	int32		from_pipeline;
	int32		from_stage;
	int32		to_pipeline;
	int32		to_stage;
} MapDef;

typedef struct EdgeDef
{
	int32		pipeline;
	int32		from_stage;
	int32		to_stage;
} EdgeDef;

typedef struct DefinitionCache
{
	MemoryContext context;
	int			npipelines;
	int			nplaces;		/* stages of pipelines, of all together */
	CachedPipeline *pipelines;	/* by layout, then name */
	const PipelineDef **pipeline_list;
	IdIndex		by_pipeline;
	int			nlayouts;
	NamedDef   *layouts;		/* by id */
	int			nstages;
	NamedDef   *stages;			/* by id */
	int			nmaps;
	MapDef	   *maps;			/* sorted */
	int			nedges;
	EdgeDef    *edges;			/* sorted */
	int			ntypes;
	DealTypeDef *types;			/* by layout, then position */
	int			nvalues;
	StageValueDef *values;		/* by table */
} DefinitionCache;

/* one row of pipeline_stage while loading */
typedef struct LoadedStage
{
	int32		pipeline_id;
	StageDef	def;
} LoadedStage;

/* rows that go to the pipeline or stage that they belong to */
typedef struct LoadedActivity
{
	int32		pipeline_id;
	int32		stage_id;
	char	   *kind;
} LoadedActivity;

typedef struct LoadedApproval
{
	int32		pipeline_id;
	ApprovalDef def;
} LoadedApproval;

typedef struct LoadedRole
{
	int32		pipeline_id;
	PipelineRoleDef def;
} LoadedRole;

static WatchedTables tables = {.names = table_names, .n = N_TABLES};

static DefinitionCache *cache = NULL;

/*
 * The cache before the present one.  It is kept until the next load, so that
 * a caller who still holds a pointer when a nested lookup reloads reads old
 * data rather than freed memory.
 */
static DefinitionCache *retired = NULL;

/* the subtransaction that holds the writers' lock, if any does */
static SubTransactionId lock_holder = InvalidSubTransactionId;

static void xact_callback(XactEvent event, void *arg);
static void subxact_callback(SubXactEvent event, SubTransactionId my_subid,
							 SubTransactionId parent_subid, void *arg);
static void load_definitions(void);

void
definitions_init(void)
{
	watched_begin(&tables);
	RegisterXactCallback(xact_callback, NULL);
	RegisterSubXactCallback(subxact_callback, NULL);
}

static void
xact_callback(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PARALLEL_ABORT:
		case XACT_EVENT_PREPARE:
			lock_holder = InvalidSubTransactionId;
			break;
		default:
			break;
	}
}

/*
 * ROLLBACK TO releases the locks of a subtransaction, RELEASE hands them to
 * its parent.
 */
static void
subxact_callback(SubXactEvent event, SubTransactionId my_subid,
				 SubTransactionId parent_subid, void *arg)
{
	if (lock_holder != my_subid)
		return;
	if (event == SUBXACT_EVENT_COMMIT_SUB)
		lock_holder = parent_subid;
	else if (event == SUBXACT_EVENT_ABORT_SUB)
		lock_holder = InvalidSubTransactionId;
}

Oid
definitions_owner(void)
{
	(void) watched_find(&tables, false);
	return tables.owner;
}

Oid
definitions_relid(const char *table_name)
{
	return watched_relid(&tables, table_name);
}

void
definitions_lock(void)
{
	int			attempt;

	/*
	 * With the lock at hand nothing can be removed any more.  But what others
	 * have added or changed since we got it, we must not miss: a statement
	 * that takes no new lock would not hear of it.  Where there is no news
	 * this is a look at one flag.
	 */
	if (lock_holder != InvalidSubTransactionId)
	{
		AcceptInvalidationMessages();
		return;
	}

	/* nothing to protect where there is nothing; lookups say what is wrong */
	if (!watched_find(&tables, true))
		return;

	for (attempt = 1;; attempt++)
	{
		Oid			relid = tables.relids[TABLE_DEFINITION_LOCK];

		/* this also takes in the changes that others have committed */
		LockRelationOid(relid, RowShareLock);

		/* was it dropped and made again while we waited? */
		if (!watched_find(&tables, true))
			return;
		if (relid == tables.relids[TABLE_DEFINITION_LOCK])
			break;
		UnlockRelationOid(relid, RowShareLock);
		if (attempt >= MAX_ATTEMPTS)
			ereport(ERROR,
					(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
					 errmsg("the definition tables are being made anew"),
					 errhint("Try again.")));
	}
	lock_holder = GetCurrentSubTransactionId();
}

/*
 * Hash of an id.  Identity columns give dense numbers, so that the low bits
 * would nearly do; the multiplication is for those who number otherwise.
 */
static inline uint32
id_hash(int32 id)
{
	return ((uint32) id * 0x9E3779B1U) >> 8;
}

static void
index_init(IdIndex *index, int n)
{
	uint32		size = 4;

	while (size < (uint32) n * 2)
		size *= 2;
	index->mask = size - 1;
	index->slots = (int32 *) palloc0(size * sizeof(int32));
}

static void
index_add(IdIndex *index, int32 id, int32 place)
{
	uint32		slot = id_hash(id) & index->mask;

	while (index->slots[slot] != 0)
		slot = (slot + 1) & index->mask;
	index->slots[slot] = place + 1;
}

typedef struct LoadState
{
	DefinitionCache *cache;
	LoadedStage *stages;
	int			nstages;
	int			stage_room;
	int			pipeline_room;
	int			layout_room;
	int			catalogue_room;
	int			map_room;
	int			edge_room;
	int			type_room;
	int			value_room;
	LoadedActivity *activities;
	int			nactivities;
	int			activity_room;
	LoadedApproval *approvals;
	int			napprovals;
	int			approval_room;
	LoadedRole *roles;
	int			nroles;
	int			role_room;
} LoadState;

static char *
text_or_null(Datum value, bool isnull)
{
	return isnull ? NULL : TextDatumGetCString(value);
}

/*
 * Place of a word in a list.  Constraints keep other words out; one that got
 * in nevertheless must not be taken for something it is not.
 */
static int
word_place(const char *word, const char *const *words, int nwords,
		   const char *column)
{
	int			i;

	for (i = 0; i < nwords; i++)
	{
		if (strcmp(word, words[i]) == 0)
			return i;
	}
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("unknown %s \"%s\" in the definitions", column, word),
			 errhint("Correct it, and run \"SELECT pipelines.setup();\" to have the constraints back.")));
	return 0;					/* keep the compiler quiet */
}

static const char *const outcome_words[] = {
	"open", "on_hold", "won", "lost", "disqualified", "done"
};
static const char *const mode_words[] = {"free", "warn", "strict", "graph"};
static const char *const override_words[] = {
	"keep", "clear_on_move", "clear_on_forward"
};
static const char *const transfer_words[] = {"error", "first", "nearest"};
static const char *const backward_words[] = {"allowed", "reason", "refused"};
/* in the order of the CLOSE_... bits */
static const char *const close_words[] = {
	"lost_reason", "other_notes", "won_amount", "closed_by_today"
};

#define WORD(datum, words, column) \
	word_place(TextDatumGetCString(datum), words, lengthof(words), column)

/*
 * The name of a time zone as a zone.  A name that this server does not know
 * (another operating system's, after a restore) counts as UTC.
 */
static pg_tz *
time_zone(const char *name)
{
	pg_tz	   *tz = name == NULL ? NULL : pg_tzset(name);

	if (tz == NULL)
		tz = pg_tzset("GMT");
	return tz;
}

static const WatchedColumn layout_columns[] = {
	{"layout_id", INT4OID}, {"name", TEXTOID}, {NULL, InvalidOid}
};

static void
read_layout(const Datum *values, const bool *nulls, void *arg)
{
	LoadState  *state = (LoadState *) arg;
	DefinitionCache *c = state->cache;
	NamedDef   *def;

	if (nulls[0])
		return;
	WATCHED_APPEND(c->layouts, c->nlayouts, state->layout_room);
	def = &c->layouts[c->nlayouts++];
	def->id = DatumGetInt32(values[0]);
	def->name = nulls[1] ? pstrdup("") : TextDatumGetCString(values[1]);
	def->code = NULL;
}

static const WatchedColumn stage_columns[] = {
	{"stage_id", INT4OID}, {"name", TEXTOID}, {"code", TEXTOID}, {NULL, InvalidOid}
};

static void
read_stage(const Datum *values, const bool *nulls, void *arg)
{
	LoadState  *state = (LoadState *) arg;
	DefinitionCache *c = state->cache;
	NamedDef   *def;

	if (nulls[0])
		return;
	WATCHED_APPEND(c->stages, c->nstages, state->catalogue_room);
	def = &c->stages[c->nstages++];
	def->id = DatumGetInt32(values[0]);
	def->name = nulls[1] ? pstrdup("") : TextDatumGetCString(values[1]);
	def->code = text_or_null(values[2], nulls[2]);
}

static const WatchedColumn pipeline_columns[] = {
	{"pipeline_id", INT4OID}, {"layout_id", INT4OID}, {"name", TEXTOID},
	{"code", TEXTOID}, {"is_standard", BOOLOID}, {"mode", TEXTOID},
	{"override_policy", TEXTOID}, {"transfer_policy", TEXTOID},
	{"time_zone", TEXTOID}, {"archived_at", TIMESTAMPTZOID},
	{"backward", TEXTOID}, {"close_requires", TEXTARRAYOID},
	{"bypass_role", TEXTOID}, {"protected", BOOLOID},
	{"totals_from", INT4OID}, {"calendar_id", INT4OID}, {NULL, InvalidOid}
};

static int
close_bits(Datum array)
{
	Datum	   *words;
	bool	   *nulls;
	int			n;
	int			bits = 0;
	int			i;

	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT,
					  &words, &nulls, &n);
	for (i = 0; i < n; i++)
	{
		if (!nulls[i])
			bits |= 1 << WORD(words[i], close_words, "close_requires");
	}
	return bits;
}

static void
read_pipeline(const Datum *values, const bool *nulls, void *arg)
{
	LoadState  *state = (LoadState *) arg;
	DefinitionCache *c = state->cache;
	CachedPipeline *p;
	char	   *zone;

	if (nulls[0] || nulls[1])
		return;
	WATCHED_APPEND(c->pipelines, c->npipelines, state->pipeline_room);
	p = &c->pipelines[c->npipelines++];
	memset(p, 0, sizeof(*p));
	p->def.pipeline_id = DatumGetInt32(values[0]);
	p->def.layout_id = DatumGetInt32(values[1]);
	p->def.name = nulls[2] ? pstrdup("") : TextDatumGetCString(values[2]);
	p->code = text_or_null(values[3], nulls[3]);
	p->def.is_standard = !nulls[4] && DatumGetBool(values[4]);
	p->def.mode = nulls[5] ? MODE_FREE :
		(PipelineMode) WORD(values[5], mode_words, "mode");
	p->def.override_policy = nulls[6] ? OVERRIDE_KEEP :
		(OverridePolicy) WORD(values[6], override_words, "override_policy");
	p->def.transfer_policy = nulls[7] ? TRANSFER_ERROR :
		(TransferPolicy) WORD(values[7], transfer_words, "transfer_policy");
	zone = text_or_null(values[8], nulls[8]);
	p->def.tz = time_zone(zone);
	p->def.archived = !nulls[9];
	p->def.backward = nulls[10] ? BACKWARD_ALLOWED :
		(BackwardPolicy) WORD(values[10], backward_words, "backward");
	p->def.close_requires = nulls[11] ? 0 : close_bits(values[11]);
	p->def.bypass_role = text_or_null(values[12], nulls[12]);
	p->def.is_protected = !nulls[13] && DatumGetBool(values[13]);
	/* without the column nothing is shown */
	p->def.totals_from = nulls[14] ? PG_INT32_MAX : DatumGetInt32(values[14]);
	p->def.calendar_id = nulls[15] ? 0 : DatumGetInt32(values[15]);
}

static const WatchedColumn pipeline_stage_columns[] = {
	{"pipeline_id", INT4OID}, {"stage_id", INT4OID}, {"position", INT4OID},
	{"outcome", TEXTOID}, {"probability", NUMERICOID}, {"mandatory", BOOLOID},
	{"may_start", BOOLOID}, {"archived_at", TIMESTAMPTZOID},
	{"forecast_category", TEXTOID}, {"entry_rule", TEXTOID},
	{"exit_rule", TEXTOID}, {"merged_into", INT4OID}, {NULL, InvalidOid}
};

static void
read_pipeline_stage(const Datum *values, const bool *nulls, void *arg)
{
	LoadState  *state = (LoadState *) arg;
	LoadedStage *s;
	int			i;

	for (i = 0; i <= 4; i++)
	{
		if (nulls[i])
			return;
	}
	WATCHED_APPEND(state->stages, state->nstages, state->stage_room);
	s = &state->stages[state->nstages++];
	memset(s, 0, sizeof(*s));
	s->pipeline_id = DatumGetInt32(values[0]);
	s->def.stage_id = DatumGetInt32(values[1]);
	s->def.position = DatumGetInt32(values[2]);
	s->def.outcome = (StageOutcome) WORD(values[3], outcome_words, "outcome");
	s->def.probability =
		DatumGetInt32(DirectFunctionCall1(numeric_int4,
										  DirectFunctionCall2(numeric_mul, values[4],
															  DirectFunctionCall1(int4_numeric,
																				  Int32GetDatum(100)))));
	s->def.mandatory = nulls[5] || DatumGetBool(values[5]);
	s->def.may_start = nulls[6] || DatumGetBool(values[6]);
	s->def.archived = !nulls[7];
	s->def.omitted = nulls[8] ? s->def.outcome == OUTCOME_ON_HOLD :
		strcmp(TextDatumGetCString(values[8]), "omitted") == 0;
	s->def.entry_rule = text_or_null(values[9], nulls[9]);
	s->def.exit_rule = text_or_null(values[10], nulls[10]);
	s->def.merged_into = nulls[11] ? 0 : DatumGetInt32(values[11]);
}

static const WatchedColumn map_columns[] = {
	{"from_pipeline_id", INT4OID}, {"from_stage_id", INT4OID},
	{"to_pipeline_id", INT4OID}, {"to_stage_id", INT4OID}, {NULL, InvalidOid}
};

static void
read_map(const Datum *values, const bool *nulls, void *arg)
{
	LoadState  *state = (LoadState *) arg;
	DefinitionCache *c = state->cache;
	MapDef	   *def;

	WATCHED_APPEND(c->maps, c->nmaps, state->map_room);
	def = &c->maps[c->nmaps++];
	def->from_pipeline = DatumGetInt32(values[0]);
	def->from_stage = DatumGetInt32(values[1]);
	def->to_pipeline = DatumGetInt32(values[2]);
	def->to_stage = DatumGetInt32(values[3]);
}

static const WatchedColumn edge_columns[] = {
	{"pipeline_id", INT4OID}, {"from_stage_id", INT4OID},
	{"to_stage_id", INT4OID}, {NULL, InvalidOid}
};

static void
read_edge(const Datum *values, const bool *nulls, void *arg)
{
	LoadState  *state = (LoadState *) arg;
	DefinitionCache *c = state->cache;
	EdgeDef    *def;

	WATCHED_APPEND(c->edges, c->nedges, state->edge_room);
	def = &c->edges[c->nedges++];
	def->pipeline = DatumGetInt32(values[0]);
	def->from_stage = DatumGetInt32(values[1]);
	def->to_stage = DatumGetInt32(values[2]);
}

static const WatchedColumn activity_columns[] = {
	{"pipeline_id", INT4OID}, {"stage_id", INT4OID}, {"kind", TEXTOID},
	{NULL, InvalidOid}
};

static void
read_activity(const Datum *values, const bool *nulls, void *arg)
{
	LoadState  *state = (LoadState *) arg;
	LoadedActivity *activity;

	WATCHED_APPEND(state->activities, state->nactivities, state->activity_room);
	activity = &state->activities[state->nactivities++];
	activity->pipeline_id = DatumGetInt32(values[0]);
	activity->stage_id = DatumGetInt32(values[1]);
	activity->kind = TextDatumGetCString(values[2]);
}

static const WatchedColumn approval_columns[] = {
	{"approval_id", INT4OID}, {"pipeline_id", INT4OID}, {"from_stage_id", INT4OID},
	{"to_stage_id", INT4OID}, {"above", NUMERICOID}, {"currency", TEXTOID},
	{"role", TEXTOID}, {NULL, InvalidOid}
};

static void
read_approval(const Datum *values, const bool *nulls, void *arg)
{
	LoadState  *state = (LoadState *) arg;
	LoadedApproval *approval;

	if (nulls[1] || nulls[6])
		return;
	WATCHED_APPEND(state->approvals, state->napprovals, state->approval_room);
	approval = &state->approvals[state->napprovals++];
	memset(approval, 0, sizeof(*approval));
	approval->pipeline_id = DatumGetInt32(values[1]);
	approval->def.approval_id = DatumGetInt32(values[0]);
	approval->def.from_stage = nulls[2] ? 0 : DatumGetInt32(values[2]);
	approval->def.to_stage = nulls[3] ? 0 : DatumGetInt32(values[3]);
	approval->def.has_above = !nulls[4];
	if (!nulls[4])
		approval->def.above = PointerGetDatum(PG_DETOAST_DATUM_COPY(values[4]));
	approval->def.currency = text_or_null(values[5], nulls[5]);
	approval->def.role = TextDatumGetCString(values[6]);
}

static const WatchedColumn type_columns[] = {
	{"layout_id", INT4OID}, {"column_name", TEXTOID}, {"value", TEXTOID},
	{"pipeline_id", INT4OID}, {"position", INT4OID}, {NULL, InvalidOid}
};

static void
read_type(const Datum *values, const bool *nulls, void *arg)
{
	LoadState  *state = (LoadState *) arg;
	DefinitionCache *c = state->cache;
	DealTypeDef *def;

	if (nulls[3] || nulls[4])
		return;
	WATCHED_APPEND(c->types, c->ntypes, state->type_room);
	def = &c->types[c->ntypes++];
	def->layout_id = DatumGetInt32(values[0]);
	def->column = TextDatumGetCString(values[1]);
	def->value = TextDatumGetCString(values[2]);
	def->pipeline_id = DatumGetInt32(values[3]);
	def->position = DatumGetInt32(values[4]);
}

static const WatchedColumn role_columns[] = {
	{"pipeline_id", INT4OID}, {"role", TEXTOID}, {"can_see", BOOLOID},
	{"can_move", BOOLOID}, {"can_define", BOOLOID}, {NULL, InvalidOid}
};

static void
read_role(const Datum *values, const bool *nulls, void *arg)
{
	LoadState  *state = (LoadState *) arg;
	LoadedRole *role;

	WATCHED_APPEND(state->roles, state->nroles, state->role_room);
	role = &state->roles[state->nroles++];
	role->pipeline_id = DatumGetInt32(values[0]);
	role->def.role = TextDatumGetCString(values[1]);
	role->def.can_see = !nulls[2] && DatumGetBool(values[2]);
	role->def.can_move = !nulls[3] && DatumGetBool(values[3]);
	role->def.can_define = !nulls[4] && DatumGetBool(values[4]);
}

static const WatchedColumn value_columns[] = {
	{"relation", REGCLASSOID}, {"part", TEXTOID}, {"value", TEXTOID},
	{"stage_id", INT4OID}, {"is_written", BOOLOID}, {NULL, InvalidOid}
};

static void
read_value(const Datum *values, const bool *nulls, void *arg)
{
	LoadState  *state = (LoadState *) arg;
	DefinitionCache *c = state->cache;
	StageValueDef *def;

	if (nulls[3])
		return;
	WATCHED_APPEND(c->values, c->nvalues, state->value_room);
	def = &c->values[c->nvalues++];
	def->relid = DatumGetObjectId(values[0]);
	def->is_outcome = strcmp(TextDatumGetCString(values[1]), "outcome") == 0;
	def->value = TextDatumGetCString(values[2]);
	def->stage_id = DatumGetInt32(values[3]);
	def->is_written = !nulls[4] && DatumGetBool(values[4]);
}

static inline int
compare_ids(int32 a, int32 b)
{
	return a < b ? -1 : (a > b ? 1 : 0);
}

static int
compare_named(const void *a, const void *b)
{
	return compare_ids(((const NamedDef *) a)->id, ((const NamedDef *) b)->id);
}

static int
compare_pipelines(const void *a, const void *b)
{
	const PipelineDef *pa = &((const CachedPipeline *) a)->def;
	const PipelineDef *pb = &((const CachedPipeline *) b)->def;
	int			c = compare_ids(pa->layout_id, pb->layout_id);

	if (c == 0)
		c = strcmp(pa->name, pb->name);
	if (c == 0)
		c = compare_ids(pa->pipeline_id, pb->pipeline_id);
	return c;
}

/* by pipeline; there live stages by position, then archived ones */
static int
compare_stages(const void *a, const void *b)
{
	const LoadedStage *sa = (const LoadedStage *) a;
	const LoadedStage *sb = (const LoadedStage *) b;
	int			c = compare_ids(sa->pipeline_id, sb->pipeline_id);

	if (c == 0)
		c = (int) sa->def.archived - (int) sb->def.archived;
	if (c == 0)
		c = compare_ids(sa->def.position, sb->def.position);
	if (c == 0)
		c = compare_ids(sa->def.stage_id, sb->def.stage_id);
	return c;
}

static int
compare_maps(const void *a, const void *b)
{
	const MapDef *ma = (const MapDef *) a;
	const MapDef *mb = (const MapDef *) b;
	int			c = compare_ids(ma->from_pipeline, mb->from_pipeline);

	if (c == 0)
		c = compare_ids(ma->from_stage, mb->from_stage);
	if (c == 0)
		c = compare_ids(ma->to_pipeline, mb->to_pipeline);
	return c;
}

static int
compare_edges(const void *a, const void *b)
{
	const EdgeDef *ea = (const EdgeDef *) a;
	const EdgeDef *eb = (const EdgeDef *) b;
	int			c = compare_ids(ea->pipeline, eb->pipeline);

	if (c == 0)
		c = compare_ids(ea->from_stage, eb->from_stage);
	if (c == 0)
		c = compare_ids(ea->to_stage, eb->to_stage);
	return c;
}

static int
compare_types(const void *a, const void *b)
{
	const DealTypeDef *ta = (const DealTypeDef *) a;
	const DealTypeDef *tb = (const DealTypeDef *) b;
	int			c = compare_ids(ta->layout_id, tb->layout_id);

	if (c == 0)
		c = compare_ids(ta->position, tb->position);
	if (c == 0)
		c = strcmp(ta->column, tb->column);
	if (c == 0)
		c = strcmp(ta->value, tb->value);
	return c;
}

static int
compare_values(const void *a, const void *b)
{
	const StageValueDef *va = (const StageValueDef *) a;
	const StageValueDef *vb = (const StageValueDef *) b;

	if (va->relid != vb->relid)
		return va->relid < vb->relid ? -1 : 1;
	if (va->is_outcome != vb->is_outcome)
		return va->is_outcome ? 1 : -1;
	return strcmp(va->value, vb->value);
}

static int
compare_activities(const void *a, const void *b)
{
	const LoadedActivity *aa = (const LoadedActivity *) a;
	const LoadedActivity *ab = (const LoadedActivity *) b;
	int			c = compare_ids(aa->pipeline_id, ab->pipeline_id);

	if (c == 0)
		c = compare_ids(aa->stage_id, ab->stage_id);
	if (c == 0)
		c = strcmp(aa->kind, ab->kind);
	return c;
}

static int
compare_approvals(const void *a, const void *b)
{
	const LoadedApproval *aa = (const LoadedApproval *) a;
	const LoadedApproval *ab = (const LoadedApproval *) b;
	int			c = compare_ids(aa->pipeline_id, ab->pipeline_id);

	if (c == 0)
		c = compare_ids(aa->def.approval_id, ab->def.approval_id);
	return c;
}

static int
compare_roles(const void *a, const void *b)
{
	const LoadedRole *ra = (const LoadedRole *) a;
	const LoadedRole *rb = (const LoadedRole *) b;
	int			c = compare_ids(ra->pipeline_id, rb->pipeline_id);

	if (c == 0)
		c = strcmp(ra->def.role, rb->def.role);
	return c;
}

/* qsort() must not be given the NULL of an empty array */
#define SORT(array, n, compare) \
	do { \
		if ((n) > 1) \
			qsort((array), (n), sizeof(*(array)), (compare)); \
	} while (0)

static const NamedDef *
find_named(const NamedDef *array, int n, int32 id)
{
	NamedDef	key = {0};

	key.id = id;
	return n == 0 ? NULL :
		(const NamedDef *) bsearch(&key, array, n, sizeof(NamedDef), compare_named);
}

static CachedPipeline *
find_pipeline(const DefinitionCache *c, int32 pipeline_id)
{
	uint32		slot;
	int32		place;

	for (slot = id_hash(pipeline_id) & c->by_pipeline.mask;
		 (place = c->by_pipeline.slots[slot]) != 0;
		 slot = (slot + 1) & c->by_pipeline.mask)
	{
		if (c->pipelines[place - 1].def.pipeline_id == pipeline_id)
			return &c->pipelines[place - 1];
	}
	return NULL;
}

/*
 * Distribute the stages, which are sorted, to their pipelines.
 */
static void
assemble_pipelines(LoadState *state)
{
	DefinitionCache *c = state->cache;
	int			i;

	SORT(c->pipelines, c->npipelines, compare_pipelines);
	SORT(state->stages, state->nstages, compare_stages);

	index_init(&c->by_pipeline, c->npipelines);
	c->pipeline_list = palloc(sizeof(PipelineDef *) * Max(c->npipelines, 1));
	for (i = 0; i < c->npipelines; i++)
	{
		index_add(&c->by_pipeline, c->pipelines[i].def.pipeline_id, i);
		c->pipeline_list[i] = &c->pipelines[i].def;
		index_init(&c->pipelines[i].by_stage, 0);
	}

	i = 0;
	while (i < state->nstages)
	{
		int32		pipeline_id = state->stages[i].pipeline_id;
		int			n = 1;
		CachedPipeline *p;
		int			j;

		while (i + n < state->nstages &&
			   state->stages[i + n].pipeline_id == pipeline_id)
			n++;
		p = find_pipeline(c, pipeline_id);
		if (p != NULL)
		{
			p->def.nstages = n;
			p->def.stages = palloc(sizeof(StageDef) * n);
			p->stage_codes = palloc(sizeof(char *) * n);
			index_init(&p->by_stage, n);
			for (j = 0; j < n; j++)
			{
				StageDef   *def = &p->def.stages[j];
				const NamedDef *named;

				*def = state->stages[i + j].def;
				named = find_named(c->stages, c->nstages, def->stage_id);
				def->name = named != NULL ? named->name : psprintf("%d", def->stage_id);
				p->stage_codes[j] = named != NULL ? named->code : NULL;
				index_add(&p->by_stage, def->stage_id, j);
			}
		}
		i += n;
	}
}

/*
 * Hang activities, approvals and roles, which are sorted, on what they belong
 * to.
 */
static void
assemble_rules(LoadState *state)
{
	DefinitionCache *c = state->cache;
	int			i;

	SORT(state->activities, state->nactivities, compare_activities);
	for (i = 0; i < state->nactivities; i++)
	{
		const LoadedActivity *activity = &state->activities[i];
		CachedPipeline *p = find_pipeline(c, activity->pipeline_id);
		StageDef   *stage = p == NULL ? NULL :
			unconstify(StageDef *, definitions_stage(&p->def, activity->stage_id));

		if (stage == NULL)
			continue;
		stage->activities = stage->activities == NULL ?
			palloc(sizeof(char *)) :
			repalloc(stage->activities, sizeof(char *) * (stage->nactivities + 1));
		stage->activities[stage->nactivities++] = activity->kind;
	}

	SORT(state->approvals, state->napprovals, compare_approvals);
	for (i = 0; i < state->napprovals; i++)
	{
		CachedPipeline *p = find_pipeline(c, state->approvals[i].pipeline_id);

		if (p == NULL)
			continue;
		p->def.approvals = p->def.approvals == NULL ?
			palloc(sizeof(ApprovalDef)) :
			repalloc(p->def.approvals, sizeof(ApprovalDef) * (p->def.napprovals + 1));
		p->def.approvals[p->def.napprovals++] = state->approvals[i].def;
	}

	SORT(state->roles, state->nroles, compare_roles);
	for (i = 0; i < state->nroles; i++)
	{
		CachedPipeline *p = find_pipeline(c, state->roles[i].pipeline_id);

		if (p == NULL)
			continue;
		p->def.roles = p->def.roles == NULL ?
			palloc(sizeof(PipelineRoleDef)) :
			repalloc(p->def.roles, sizeof(PipelineRoleDef) * (p->def.nroles + 1));
		p->def.roles[p->def.nroles++] = state->roles[i].def;
	}
}

static void
load_definitions(void)
{
	uint64		wanted;
	MemoryContext context;
	MemoryContext old_context;
	LoadState	state = {0};
	DefinitionCache *c;
	Snapshot	snapshot;
	bool		in_parallel_mode = IsInParallelMode();

	watched_lock(&tables, N_CACHED);
	wanted = tables.wanted;

	context = AllocSetContextCreate(CurrentMemoryContext,
									"pipelines definitions",
									ALLOCSET_SMALL_SIZES);
	old_context = MemoryContextSwitchTo(context);
	c = state.cache = palloc0(sizeof(DefinitionCache));
	c->context = context;

	snapshot = watched_snapshot();
	watched_read(&tables, TABLE_LAYOUT, snapshot, layout_columns, read_layout, &state);
	watched_read(&tables, TABLE_STAGE, snapshot, stage_columns, read_stage, &state);
	watched_read(&tables, TABLE_PIPELINE, snapshot, pipeline_columns, read_pipeline, &state);
	watched_read(&tables, TABLE_PIPELINE_STAGE, snapshot, pipeline_stage_columns,
			   read_pipeline_stage, &state);
	watched_read(&tables, TABLE_STAGE_MAP, snapshot, map_columns, read_map, &state);
	watched_read(&tables, TABLE_STAGE_TRANSITION, snapshot, edge_columns, read_edge, &state);
	watched_read(&tables, TABLE_STAGE_ACTIVITY, snapshot, activity_columns, read_activity, &state);
	watched_read(&tables, TABLE_APPROVAL, snapshot, approval_columns, read_approval, &state);
	watched_read(&tables, TABLE_DEAL_TYPE, snapshot, type_columns, read_type, &state);
	watched_read(&tables, TABLE_PIPELINE_ROLE, snapshot, role_columns, read_role, &state);
	watched_read(&tables, TABLE_STAGE_VALUE, snapshot, value_columns, read_value, &state);
	UnregisterSnapshot(snapshot);

	SORT(c->layouts, c->nlayouts, compare_named);
	SORT(c->stages, c->nstages, compare_named);
	SORT(c->maps, c->nmaps, compare_maps);
	SORT(c->edges, c->nedges, compare_edges);
	SORT(c->types, c->ntypes, compare_types);
	SORT(c->values, c->nvalues, compare_values);
	assemble_pipelines(&state);
	assemble_rules(&state);
	c->nplaces = state.nstages;

	/* nothing can fail from here on */
	MemoryContextSwitchTo(old_context);
	MemoryContextSetParent(context, CacheMemoryContext);
	if (retired != NULL)
		MemoryContextDelete(retired->context);
	retired = cache;
	cache = c;
	tables.current = wanted;
	tables.in_parallel_mode = in_parallel_mode;
}

static inline void
ensure_loaded(void)
{
	if (!watched_is_current(&tables))
		load_definitions();
}

bool
definitions_exist(void)
{
	if (!watched_is_current(&tables) && !watched_find(&tables, true))
		return false;
	ensure_loaded();
	return cache->npipelines > 0 && cache->nplaces > 0;
}

const PipelineDef *
definitions_pipeline(int32 pipeline_id)
{
	const CachedPipeline *p;

	ensure_loaded();
	p = find_pipeline(cache, pipeline_id);
	return p == NULL ? NULL : &p->def;
}

/*
 * Loads nothing: it reads what the pipeline at hand consists of.
 */
const StageDef *
definitions_stage(const PipelineDef *pipeline, int32 stage_id)
{
	const IdIndex *index = &((const CachedPipeline *) pipeline)->by_stage;
	uint32		slot;
	int32		place;

	for (slot = id_hash(stage_id) & index->mask;
		 (place = index->slots[slot]) != 0;
		 slot = (slot + 1) & index->mask)
	{
		if (pipeline->stages[place - 1].stage_id == stage_id)
			return &pipeline->stages[place - 1];
	}
	return NULL;
}

/*
 * The standard pipeline of a layout.  Layout 0 stands for 'not said': the
 * layout called default, or the only one that there is.
 */
const PipelineDef *
definitions_standard_pipeline(int32 layout_id)
{
	int			i;

	ensure_loaded();
	if (layout_id == 0)
	{
		const NamedDef *layout = definitions_layout_named("default");

		if (layout == NULL && cache->nlayouts == 1)
			layout = &cache->layouts[0];
		if (layout == NULL)
			return NULL;
		layout_id = layout->id;
	}
	for (i = 0; i < cache->npipelines; i++)
	{
		const PipelineDef *p = &cache->pipelines[i].def;

		if (p->layout_id == layout_id && p->is_standard)
			return p;
	}
	return NULL;
}

int32
definitions_mapped_stage(int32 from_pipeline, int32 from_stage, int32 to_pipeline)
{
	MapDef		key = {from_pipeline, from_stage, to_pipeline, 0};
	const MapDef *found;

	ensure_loaded();
	found = cache->nmaps == 0 ? NULL :
		(const MapDef *) bsearch(&key, cache->maps, cache->nmaps,
								 sizeof(MapDef), compare_maps);
	return found == NULL ? 0 : found->to_stage;
}

bool
definitions_transition_listed(int32 pipeline_id, int32 from_stage, int32 to_stage)
{
	EdgeDef		key = {pipeline_id, from_stage, to_stage};

	ensure_loaded();
	return cache->nedges > 0 &&
		bsearch(&key, cache->edges, cache->nedges,
				sizeof(EdgeDef), compare_edges) != NULL;
}

/*
 * The part of a sorted array whose rows belong to one owner.  Layouts have
 * few types and tables few values: no search is worth its while.
 */
#define SLICE(result, count, array, n, field, wanted) \
	do { \
		int			first_ = 0; \
		int			end_; \
		while (first_ < (n) && (array)[first_].field != (wanted)) \
			first_++; \
		for (end_ = first_; end_ < (n) && (array)[end_].field == (wanted); end_++) \
			; \
		*(count) = end_ - first_; \
		(result) = *(count) == 0 ? NULL : &(array)[first_]; \
	} while (0)

const DealTypeDef *
definitions_deal_types(int32 layout_id, int *count)
{
	const DealTypeDef *result;

	ensure_loaded();
	SLICE(result, count, cache->types, cache->ntypes, layout_id, layout_id);
	return result;
}

const StageValueDef *
definitions_stage_values(Oid relid, int *count)
{
	const StageValueDef *result;

	ensure_loaded();
	SLICE(result, count, cache->values, cache->nvalues, relid, relid);
	return result;
}

uint64
definitions_generation(void)
{
	return tables.wanted;
}

/* add 'name (id)' to a list; false when it is full */
static bool
append_listed(StringInfo buf, int place, const char *name, int32 id)
{
	if (place == MAX_LISTED)
	{
		appendStringInfoString(buf, ", ...");
		return false;
	}
	if (place > 0)
		appendStringInfoString(buf, ", ");
	appendStringInfo(buf, "%s (%d)", name, id);
	return true;
}

char *
definitions_stage_list(const PipelineDef *pipeline)
{
	StringInfoData buf;
	int			i;
	int			n = 0;

	initStringInfo(&buf);
	for (i = 0; i < pipeline->nstages; i++)
	{
		const StageDef *s = &pipeline->stages[i];

		if (!s->archived && !append_listed(&buf, n++, s->name, s->stage_id))
			break;
	}
	return buf.data;
}

char *
definitions_pipeline_list(int32 layout_id)
{
	StringInfoData buf;
	int			i;
	int			n = 0;

	ensure_loaded();
	initStringInfo(&buf);
	for (i = 0; i < cache->npipelines; i++)
	{
		const PipelineDef *p = &cache->pipelines[i].def;

		if (p->archived || (layout_id != 0 && p->layout_id != layout_id) ||
			!definitions_may_see(p, GetUserId()))
			continue;
		if (!append_listed(&buf, n++, p->name, p->pipeline_id))
			break;
	}
	return buf.data;
}

char *
definitions_layout_list(void)
{
	StringInfoData buf;
	int			i;

	ensure_loaded();
	initStringInfo(&buf);
	for (i = 0; i < cache->nlayouts; i++)
	{
		if (!append_listed(&buf, i, cache->layouts[i].name, cache->layouts[i].id))
			break;
	}
	return buf.data;
}

int
definitions_pipelines(const PipelineDef ***pipelines)
{
	ensure_loaded();
	*pipelines = cache->pipeline_list;
	return cache->npipelines;
}

const char *
definitions_outcome_word(StageOutcome outcome)
{
	return outcome_words[outcome];
}

const char *
definitions_pipeline_code(const PipelineDef *pipeline)
{
	return ((const CachedPipeline *) pipeline)->code;
}

/* of the stage at that place of pipeline->stages */
const char *
definitions_stage_code(const PipelineDef *pipeline, int place)
{
	return ((const CachedPipeline *) pipeline)->stage_codes[place];
}

const NamedDef *
definitions_layout_named(const char *name)
{
	int			i;

	ensure_loaded();
	for (i = 0; i < cache->nlayouts; i++)
	{
		if (strcmp(cache->layouts[i].name, name) == 0)
			return &cache->layouts[i];
	}
	return NULL;
}

const NamedDef *
definitions_catalogue_stage(int32 stage_id)
{
	ensure_loaded();
	return find_named(cache->stages, cache->nstages, stage_id);
}
