/*-------------------------------------------------------------------------
 *
 * moves.c
 *	  Moving deals by functions.
 *
 * Owns what a plain UPDATE can't say: that refused deals are left out, that a
 * deal must be where the caller thinks it is, that a move pushes a deal back
 * or takes a batch back; and the rehearsal of a move.  Each of them is one
 * UPDATE (undo two), made here and run with the rights, the row security
 * and the search_path of the caller; all names and operators in it are
 * qualified.
 *
 * The invariant: what happens to a deal is decided by the triggers, which
 * tell us; a result that is handed back says what they said.  Must never
 * write a table other than by that UPDATE, nor tell of a deal that the caller
 * can't see.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_am.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "compat.h"
#include "deals/deals.h"
#include "deals/history.h"
#include "deals/key_text.h"
#include "deals/mapping.h"
#include "deals/requirements.h"
#include "deals/triggers.h"
#include "definitions/definitions.h"
#include "definitions/privilege.h"
#include "errors.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(pipelines_move);
PG_FUNCTION_INFO_V1(pipelines_move_many);
PG_FUNCTION_INFO_V1(pipelines_move_plan);
PG_FUNCTION_INFO_V1(pipelines_push_back);
PG_FUNCTION_INFO_V1(pipelines_undo_batch);

/* deals that are named in an error */
#define LISTED_DEALS	20

/* what became of one deal */
typedef struct MoveResult
{
	Datum		key;			/* where the key is one number */
	char	   *deal;			/* the text form of the key; NULL: not made yet */
	bool		told;			/* the trigger has seen it */
	bool		ok;
	bool		late;			/* refused when the row stood already */
	int			sqlerrcode;
	char	   *reason;			/* NULL: none */
	char	   *target;			/* name of the stage; NULL: unknown */
	bool		has_change;
	Datum		change;			/* numeric */
} MoveResult;

/* one call */
typedef struct Mover
{
	Oid			relid;
	char	   *relation;		/* quoted and qualified */
	int32		layout_id;
	int			nkeys;
	char	   *keys[INDEX_MAX_KEYS];	/* quoted */
	Oid			types[INDEX_MAX_KEYS];
	KeyColumn	inputs[INDEX_MAX_KEYS];
	FmgrInfo	outputs[INDEX_MAX_KEYS];
	char	   *stage_column;	/* quoted */
	char	   *pipeline_column;

	int32		stage_id;		/* 0: as for any transfer */
	int32		pipeline_id;	/* 0: the deal's own */
	int32		expected_stage; /* 0: none */

	int			ndeals;			/* as they were given */
	MoveResult **deals;			/* one may be given more than once */
	Datum	   *values[INDEX_MAX_KEYS];
	bool		by_number;		/* the key is one number, and told by it */
	bool		by_index;		/* it is one column, and an index begins with it */
	int			nresults;
	MoveResult *results;
	uint32	   *buckets;		/* numbers of results, from 1, by hash; 0: free */
	uint32		mask;			/* as many less one, a power of two */

	/* what the weighted amount of a deal gains, for each unit of it, ... */
	Datum		gain;			/* numeric; 0: not known */
	int32		gain_from[2];	/* ... from this pipeline and stage ... */
	int32		gain_to[2];		/* ... to this */
	int32		target_stage;	/* whose name was last asked for, and it */
	char	   *target_name;
	MemoryContext context;		/* of all that lasts */
} Mover;

/*
 * One value of a row as record_out() writes it.
 */
static void
append_quoted(StringInfo buf, const char *value)
{
	bool		quote = value[0] == '\0';

	for (const char *p = value; *p != '\0' && !quote; p++)
		quote = strchr("\"\\(), \t\n\r\v\f", *p) != NULL;
	if (!quote)
	{
		appendStringInfoString(buf, value);
		return;
	}
	appendStringInfoChar(buf, '"');
	for (const char *p = value; *p != '\0'; p++)
	{
		if (*p == '"' || *p == '\\')
			appendStringInfoChar(buf, *p);
		appendStringInfoChar(buf, *p);
	}
	appendStringInfoChar(buf, '"');
}

/*
 * The text form of a key, palloc'd in the current context.
 */
static char *
deal_text(Mover *mover, const Datum *key)
{
	StringInfoData buf;

	if (mover->nkeys == 1)
		return OutputFunctionCall(&mover->outputs[0], key[0]);
	initStringInfo(&buf);
	for (int k = 0; k < mover->nkeys; k++)
	{
		appendStringInfoChar(&buf, k == 0 ? '(' : ',');
		append_quoted(&buf, OutputFunctionCall(&mover->outputs[k], key[k]));
	}
	appendStringInfoChar(&buf, ')');
	return buf.data;
}

static bool
index_begins_with(Relation rel, AttrNumber attnum)
{
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *lc;
	bool		result = false;

	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		result = result ||
			(index->rd_index->indisvalid && index->rd_rel->relam == BTREE_AM_OID &&
			 index->rd_index->indkey.values[0] == attnum &&
			 RelationGetIndexPredicate(index) == NIL);
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	return result;
}

/*
 * What is to be known of the table.
 */
static Mover *
open_mover(Oid relid, LOCKMODE mode, Relation *result)
{
	Relation	rel = open_given_table(relid, mode);
	TupleDesc	tupdesc = RelationGetDescr(rel);
	Mover	   *mover = palloc0(sizeof(Mover));
	DealsTable *table;

	table = whole_deals_table(rel);

	mover->context = CurrentMemoryContext;
	mover->relid = relid;
	mover->relation = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
												 RelationGetRelationName(rel));
	mover->layout_id = table->layout_id;
	mover->nkeys = table->nkeys;
	for (int k = 0; k < table->nkeys; k++)
	{
		Form_pg_attribute att = TupleDescAttr(tupdesc, table->keys[k] - 1);
		Oid			output;
		bool		varlena;

		mover->keys[k] = pstrdup(quote_identifier(NameStr(att->attname)));
		mover->types[k] = getBaseType(att->atttypid);
		key_column_open(&mover->inputs[k], rel, table->keys[k]);
		getTypeOutputInfo(att->atttypid, &output, &varlena);
		fmgr_info(output, &mover->outputs[k]);
	}
	mover->by_index = mover->nkeys == 1 && index_begins_with(rel, table->keys[0]);
	mover->by_number = mover->nkeys == 1 && get_typbyval(mover->types[0]) &&
		mover->types[0] != FLOAT4OID && mover->types[0] != FLOAT8OID;
	mover->stage_column =
		pstrdup(quote_identifier(NameStr(TupleDescAttr(tupdesc, table->role[ROLE_STAGE_ID] - 1)->attname)));
	mover->pipeline_column =
		pstrdup(quote_identifier(NameStr(TupleDescAttr(tupdesc, table->role[ROLE_PIPELINE_ID] - 1)->attname)));
	*result = rel;
	return mover;
}

static char *
optional_text(FunctionCallInfo fcinfo, int number)
{
	return PG_ARGISNULL(number) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(number));
}

static void
require_argument(FunctionCallInfo fcinfo, int number, const char *name)
{
	if (PG_ARGISNULL(number))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be NULL", name)));
}

static void
set_target(Mover *mover, const char *stage, const char *pipeline, const char *expected)
{
	if (stage == NULL && pipeline == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("neither a stage nor a pipeline is given to move to")));
	/* a statement that locks no table would not hear of new stages */
	AcceptInvalidationMessages();
	if (pipeline != NULL)
		mover->pipeline_id = definitions_pipeline_named(pipeline, mover->layout_id);
	if (stage != NULL)
		mover->stage_id = definitions_stage_named(stage, mover->pipeline_id, mover->layout_id);
	if (expected != NULL)
		mover->expected_stage = definitions_stage_named(expected, 0, mover->layout_id);
}

static uint32
hash_of(const Mover *mover, Datum number, const char *text)
{
	return mover->by_number ? murmurhash32((uint32) number ^ (uint32) ((uint64) number >> 32)) :
		DatumGetUInt32(hash_any((const unsigned char *) text, (int) strlen(text)));
}

/*
 * The entry of a deal.  Made, if asked to, where it is not there; else NULL.
 */
static MoveResult *
result_of(Mover *mover, const Datum *key, bool make)
{
	char	   *text = mover->by_number ? NULL : deal_text(mover, key);
	uint32		place = hash_of(mover, key[0], text) & mover->mask;
	MoveResult *result;

	for (; mover->buckets[place] != 0; place = (place + 1) & mover->mask)
	{
		result = &mover->results[mover->buckets[place] - 1];
		if (mover->by_number ? result->key == key[0] : strcmp(result->deal, text) == 0)
			return result;
	}
	if (!make)
		return NULL;
	result = &mover->results[mover->nresults++];
	mover->buckets[place] = mover->nresults;
	result->key = key[0];
	result->deal = text == NULL ? NULL : MemoryContextStrdup(mover->context, text);
	return result;
}

static const char *
result_text(Mover *mover, const MoveResult *result)
{
	return result->deal != NULL ? result->deal : deal_text(mover, &result->key);
}

/*
 * Take keys apart.
 */
static void
set_deals(Mover *mover, char **texts, int n)
{
	Size		nbuckets = 16;

	while (nbuckets < (Size) n * 2)
		nbuckets *= 2;
	mover->ndeals = n;
	mover->mask = (uint32) (nbuckets - 1);
	mover->buckets = MemoryContextAllocExtended(mover->context, sizeof(uint32) * nbuckets,
												MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	mover->results = MemoryContextAllocExtended(mover->context, sizeof(MoveResult) * Max(n, 1),
												MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	mover->deals = MemoryContextAllocHuge(mover->context, sizeof(MoveResult *) * Max(n, 1));
	for (int k = 0; k < mover->nkeys; k++)
		mover->values[k] = MemoryContextAllocHuge(mover->context, sizeof(Datum) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		char	  **parts = mover->nkeys == 1 ? &texts[i] :
			key_text_values(texts[i], mover->nkeys);
		Datum		key[INDEX_MAX_KEYS];

		for (int k = 0; k < mover->nkeys; k++)
		{
			key[k] = key_column_value(&mover->inputs[k], parts[k]);
			mover->values[k][i] = key[k];
		}
		mover->deals[i] = result_of(mover, key, true);
		CHECK_FOR_INTERRUPTS();
	}
}

static void
set_deals_from_array(Mover *mover, ArrayType *array)
{
	Datum	   *elements;
	bool	   *nulls;
	char	  **texts;
	int			n;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &n);
	texts = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(char *) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("no deal has the key NULL")));
		texts[i] = TextDatumGetCString(elements[i]);
	}
	set_deals(mover, texts, n);
}

static char *
stage_name(int32 pipeline_id, int32 stage_id)
{
	const PipelineDef *pipeline = definitions_pipeline(pipeline_id);
	const StageDef *stage = pipeline == NULL || stage_id == 0 ? NULL :
		definitions_stage(pipeline, stage_id);

	return stage == NULL ? NULL : pstrdup(stage->name);
}

static bool
is_null(const DealContext *deal, const bool *nulls, DealRole role)
{
	AttrNumber	attnum = deal->table->role[role];

	return attnum == InvalidAttrNumber || nulls[attnum - 1];
}

/* by what a deal without any say of its own is weighted, in ten thousandths */
static int32
stage_weight(int32 pipeline_id, int32 stage_id)
{
	const PipelineDef *pipeline = definitions_pipeline(pipeline_id);
	const StageDef *stage = pipeline == NULL ? NULL : definitions_stage(pipeline, stage_id);

	if (stage == NULL)
		return -1;
	if (OUTCOME_IS_CLOSED(stage->outcome))
		return stage->outcome == OUTCOME_WON ? 10000 : 0;
	return stage->omitted ? 0 : stage->probability;
}

/*
 * By how much the weighted amount changes: exact, and without the zeros that
 * only tell of the way it was found.  False: there is none.  Most moves of one
 * call are alike, and need but one multiplication.
 */
static bool
weighted_change(Mover *mover, const DealContext *deal, const DealState *old,
				const DealState *state, Datum *change)
{
	AttrNumber	amount = deal->table->role[ROLE_AMOUNT];

	if (!is_null(deal, deal->nulls, ROLE_AMOUNT) &&
		TupleDescAttr(RelationGetDescr(deal->rel), amount - 1)->atttypid == NUMERICOID &&
		is_null(deal, deal->nulls, ROLE_PROBABILITY) &&
		is_null(deal, deal->old_nulls, ROLE_PROBABILITY) &&
		is_null(deal, deal->nulls, ROLE_FORECAST_CATEGORY) &&
		is_null(deal, deal->old_nulls, ROLE_FORECAST_CATEGORY))
	{
		if (mover->gain == (Datum) 0 ||
			mover->gain_from[0] != old->pipeline_id || mover->gain_from[1] != old->stage_id ||
			mover->gain_to[0] != state->pipeline_id || mover->gain_to[1] != state->stage_id)
		{
			int32		before = stage_weight(old->pipeline_id, old->stage_id);
			int32		after = stage_weight(state->pipeline_id, state->stage_id);
			MemoryContext oldcontext;

			if (before < 0 || after < 0)
				return false;
			oldcontext = MemoryContextSwitchTo(mover->context);
			mover->gain = DirectFunctionCall3(numeric_in,
											  CStringGetDatum(psprintf("%de-4", after - before)),
											  ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
			MemoryContextSwitchTo(oldcontext);
			mover->gain_from[0] = old->pipeline_id;
			mover->gain_from[1] = old->stage_id;
			mover->gain_to[0] = state->pipeline_id;
			mover->gain_to[1] = state->stage_id;
		}
		*change = DirectFunctionCall2(numeric_mul, deal->values[amount - 1], mover->gain);
	}
	else
	{
		Datum		before;
		Datum		after;

		if (!weighted_amount(deal, deal->values, deal->nulls, state, &after) ||
			!weighted_amount(deal, deal->old_values, deal->old_nulls, old, &before))
			return false;
		*change = DirectFunctionCall2(numeric_sub, after, before);
	}
	*change = DirectFunctionCall1(numeric_trim_scale, *change);
	return true;
}

/*
 * The triggers tell what they say of a deal.  One that was refused late is
 * left out when the statement is repeated.
 */
static bool
observe_move(void *arg, const DealContext *deal, const DealState *old,
			 const DealState *state, const Verdict *verdict, bool late)
{
	static const Refusal none;
	Mover	   *mover = (Mover *) arg;
	const Refusal *refusal = verdict->refusal.sqlerrcode != 0 ? &verdict->refusal : &none;
	Datum		key[INDEX_MAX_KEYS];
	Datum		change;
	MoveResult *result;
	MemoryContext oldcontext;

	for (int k = 0; k < mover->nkeys; k++)
		key[k] = deal->values[deal->table->keys[k] - 1];
	if (mover->expected_stage != 0 && old->stage_id != mover->expected_stage)
	{
		char	   *present = stage_name(old->pipeline_id, old->stage_id);
		char	   *expected = stage_name(old->pipeline_id, mover->expected_stage);

		ereport(ERROR,
				(errcode(ERRCODE_PIPELINES_NOT_AS_EXPECTED),
				 errmsg("deal %s of table \"%s\" is in stage \"%s\"",
						deal_text(mover, key), get_rel_name(mover->relid),
						present != NULL ? present : "?"),
				 errdetail("It was expected in stage \"%s\".", expected != NULL ? expected : "?"),
				 errhint("Somebody has moved it.  Read it again, and decide anew."),
				 errtablecol(deal->rel, deal->table->role[ROLE_STAGE_ID])));
	}

	result = result_of(mover, key, false);
	if (result == NULL)
		return true;
	if (result->late)
		return false;
	oldcontext = MemoryContextSwitchTo(mover->context);
	result->told = true;
	result->late = late;
	result->has_change = false;
	result->ok = refusal->sqlerrcode == 0;
	result->sqlerrcode = refusal->sqlerrcode;
	if (refusal->sqlerrcode != 0)
	{
		result->reason = refusal->reason == NULL ? pstrdup(refusal->message) :
			psprintf("%s.  %s", refusal->message, refusal->reason);
		result->target = stage_name(mover->pipeline_id != 0 ? mover->pipeline_id : old->pipeline_id,
									mover->stage_id);
	}
	else
	{
		if (mover->target_name == NULL || mover->target_stage != state->stage_id)
		{
			mover->target_name = stage_name(state->pipeline_id, state->stage_id);
			mover->target_stage = state->stage_id;
		}
		result->target = mover->target_name;
	}
	MemoryContextSwitchTo(oldcontext);

	if (result->ok && weighted_change(mover, deal, old, state, &change))
	{
		oldcontext = MemoryContextSwitchTo(mover->context);
		result->has_change = true;
		result->change = datumCopy(change, false, -1);
		MemoryContextSwitchTo(oldcontext);
	}
	return true;
}

/*
 * What picks the deals; their keys are the first parameters.  'from' brings in
 * one more relation, where there is one: FROM, or a comma.
 */
static void
append_deals(const Mover *mover, StringInfo query, const char *from)
{
	if (mover->ndeals != 1 && mover->nkeys == 1 && (mover->by_index || compat_any_is_hashed))
	{
		appendStringInfo(query, " WHERE d.%s %s ANY ($1)", mover->keys[0],
						 equality_of_type(mover->types[0]));
		return;
	}
	if (mover->ndeals != 1)
	{
		appendStringInfo(query, "%s ROWS FROM (", from);
		for (int k = 0; k < mover->nkeys; k++)
			appendStringInfo(query, "%spg_catalog.unnest($%d)", k > 0 ? ", " : "", k + 1);
		appendStringInfoString(query, ") AS k (");
		for (int k = 0; k < mover->nkeys; k++)
			appendStringInfo(query, "%sk%d", k > 0 ? ", " : "", k + 1);
		appendStringInfoChar(query, ')');
	}
	for (int k = 0; k < mover->nkeys; k++)
	{
		appendStringInfo(query, " %s d.%s %s ", k > 0 ? "AND" : "WHERE", mover->keys[k],
						 equality_of_type(mover->types[k]));
		if (mover->ndeals == 1)
			appendStringInfo(query, "$%d", k + 1);
		else
			appendStringInfo(query, "k.k%d", k + 1);
	}
}

static int
deals_parameters(const Mover *mover, Oid *types, Datum *values)
{
	for (int k = 0; k < mover->nkeys; k++)
	{
		int16		len;
		bool		byval;
		char		align;

		if (mover->ndeals == 1)
		{
			types[k] = mover->types[k];
			values[k] = mover->values[k][0];
			continue;
		}
		types[k] = get_array_type(mover->types[k]);
		if (!OidIsValid(types[k]))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("there are no arrays of type %s", format_type_be(mover->types[k])),
					 errhint("Move deals with such a key one by one.")));
		get_typlenbyvalalign(mover->types[k], &len, &byval, &align);
		values[k] = PointerGetDatum(construct_array(mover->values[k], mover->ndeals,
													mover->types[k], len, byval, align));
	}
	return mover->nkeys;
}

/*
 * Run a statement over the deals.  Where an index finds them, it is planned
 * without regard to how many they are: to look at each of many keys while
 * planning would cost more than it could save.
 */
static int
execute_deals(const Mover *mover, const char *query, int nargs, Oid *types, Datum *values,
			  bool read_only)
{
	SPIPlanPtr	plan;

	if (!mover->by_index)
		return SPI_execute_with_args(query, nargs, types, values, NULL, read_only, 0);
	plan = SPI_prepare_cursor(query, nargs, types, CURSOR_OPT_GENERIC_PLAN);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare_cursor failed: %s", SPI_result_code_string(SPI_result));
	return SPI_execute_plan(plan, values, NULL, read_only, 0);
}

/* a reason that is given stands in for pipelines.reason */
static void
set_reason(const char *reason)
{
	if (reason != NULL)
		(void) set_config_option("pipelines.reason", reason, PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
}

/*
 * Run one UPDATE as an operation.
 */
static void
run_operation(const Mover *mover, DealOperation *operation, const char *query,
			  int nargs, Oid *types, Datum *values, const char *reason)
{
	DealOperation *previous = deals_set_operation(operation);
	int			nest_level = NewGUCNestLevel();

	PG_TRY();
	{
		set_reason(reason);
		if (SPI_connect() != SPI_OK_CONNECT)
			elog(ERROR, "SPI_connect failed");
		if (execute_deals(mover, query, nargs, types, values, false) != SPI_OK_UPDATE)
			elog(ERROR, "the UPDATE of %s failed", mover->relation);
		if (SPI_finish() != SPI_OK_FINISH)
			elog(ERROR, "SPI_finish failed");
	}
	PG_FINALLY();
	{
		(void) deals_set_operation(previous);
	}
	PG_END_TRY();
	AtEOXact_GUC(true, nest_level);
}

/*
 * The same where deals may be refused when their rows stand already: then the
 * statement is taken back and repeated without them.  As each round leaves
 * out one deal at least, it comes to an end.
 */
static void
run_until_accepted(const Mover *mover, DealOperation *operation, const char *query,
				   int nargs, Oid *types, Datum *values, const char *reason)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;

	operation->may_repeat = true;
	/* what is taken back must not take the transaction's instant along */
	(void) deals_transaction_instant();
	do
	{
		operation->statement = NULL;
		operation->refused_late = false;
		for (int i = 0; i < mover->nresults; i++)
		{
			if (!mover->results[i].late)
				mover->results[i].told = false;
		}
		BeginInternalSubTransaction(NULL);
		MemoryContextSwitchTo(context);
		PG_TRY();
		{
			run_operation(mover, operation, query, nargs, types, values, reason);
			if (operation->refused_late)
				RollbackAndReleaseCurrentSubTransaction();
			else
				ReleaseCurrentSubTransaction();
			MemoryContextSwitchTo(context);
			CurrentResourceOwner = owner;
		}
		PG_CATCH();
		{
			ErrorData  *error;

			MemoryContextSwitchTo(context);
			error = CopyErrorData();
			FlushErrorState();
			RollbackAndReleaseCurrentSubTransaction();
			MemoryContextSwitchTo(context);
			CurrentResourceOwner = owner;
			ReThrowError(error);
		}
		PG_END_TRY();
		CHECK_FOR_INTERRUPTS();
	} while (operation->refused_late);
}

static void
run_move(Mover *mover, Relation rel, ChangeKind kind, bool skip, const char *reason)
{
	DealOperation operation = {0};
	StringInfoData query;
	Oid			types[INDEX_MAX_KEYS + 2];
	Datum		values[INDEX_MAX_KEYS + 2];
	int			nargs;

	if (mover->ndeals == 0)
		return;
	operation.root = mover->relid;
	operation.kind = kind;
	operation.skip_refused = skip;
	operation.observe = observe_move;
	operation.arg = mover;

	nargs = deals_parameters(mover, types, values);
	initStringInfo(&query);
	appendStringInfo(&query, "UPDATE %s AS d SET ", mover->relation);
	if (mover->pipeline_id != 0)
	{
		types[nargs] = INT4OID;
		values[nargs++] = Int32GetDatum(mover->pipeline_id);
		appendStringInfo(&query, "%s = $%d", mover->pipeline_column, nargs);
	}
	if (mover->stage_id != 0)
	{
		types[nargs] = INT4OID;
		values[nargs++] = Int32GetDatum(mover->stage_id);
		appendStringInfo(&query, "%s%s = $%d", mover->pipeline_id != 0 ? ", " : "",
						 mover->stage_column, nargs);
	}
	append_deals(mover, &query, " FROM");
	if (skip && deals_refuse_late(rel))
		run_until_accepted(mover, &operation, query.data, nargs, types, values, reason);
	else
		run_operation(mover, &operation, query.data, nargs, types, values, reason);
}

/*
 * Deals that no row was found for: the caller is told, or gets an error.
 */
static void
complete_results(Mover *mover, bool raise)
{
	StringInfoData list;
	int64		missing = 0;

	initStringInfo(&list);
	for (int i = 0; i < mover->ndeals; i++)
	{
		MoveResult *result = mover->deals[i];

		if (result->told || result->reason != NULL)
			continue;
		result->sqlerrcode = ERRCODE_NO_DATA_FOUND;
		result->reason = psprintf("there is no deal %s", result_text(mover, result));
		if (missing++ < LISTED_DEALS)
			appendStringInfo(&list, "%s%s", missing > 1 ? ", " : "", result_text(mover, result));
	}
	if (missing > 0 && raise)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 missing == 1 ?
				 errmsg("table \"%s\" has no deal %s", get_rel_name(mover->relid), list.data) :
				 errmsg("table \"%s\" has no such deals: " INT64_FORMAT " of those that were given",
						get_rel_name(mover->relid), missing),
				 missing == 1 ? 0 :
				 errdetail("%s%s", list.data, missing > LISTED_DEALS ? ", ..." : ""),
				 errhint("Give keys as text, of several columns as in '(1,2)'; deals that you may not change are none.")));
}

static void
put_result(Mover *mover, ReturnSetInfo *rsinfo, const MoveResult *result)
{
	Datum		values[6];
	bool		nulls[6] = {false, false, false, false, false, false};

	values[0] = CStringGetTextDatum(result_text(mover, result));
	values[1] = BoolGetDatum(result->ok);
	values[2] = result->sqlerrcode == 0 ? (Datum) 0 :
		CStringGetTextDatum(unpack_sql_state(result->sqlerrcode));
	nulls[2] = result->sqlerrcode == 0;
	values[3] = result->reason == NULL ? (Datum) 0 : CStringGetTextDatum(result->reason);
	nulls[3] = result->reason == NULL;
	values[4] = result->target == NULL ? (Datum) 0 : CStringGetTextDatum(result->target);
	nulls[4] = result->target == NULL;
	values[5] = result->has_change ? result->change : (Datum) 0;
	nulls[5] = !result->has_change;
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * One row for each deal that was given, in that order.
 */
static void
put_results(Mover *mover, FunctionCallInfo fcinfo)
{
	MemoryContext per_row = AllocSetContextCreate(CurrentMemoryContext, "pipelines move result",
												  ALLOCSET_SMALL_SIZES);

	compat_materialize(fcinfo);
	for (int i = 0; i < mover->ndeals; i++)
	{
		MemoryContext oldcontext = MemoryContextSwitchTo(per_row);

		put_result(mover, (ReturnSetInfo *) fcinfo->resultinfo, mover->deals[i]);
		MemoryContextSwitchTo(oldcontext);
		MemoryContextReset(per_row);
	}
}

/*
 * move(deals, deal, stage, pipeline, reason, expect_stage)
 */
Datum
pipelines_move(PG_FUNCTION_ARGS)
{
	Relation	rel;
	Mover	   *mover;
	char	   *deal;

	require_argument(fcinfo, 0, "deals");
	require_argument(fcinfo, 1, "deal");
	mover = open_mover(PG_GETARG_OID(0), RowExclusiveLock, &rel);
	deal = text_to_cstring(PG_GETARG_TEXT_PP(1));
	set_target(mover, optional_text(fcinfo, 2), optional_text(fcinfo, 3), optional_text(fcinfo, 5));
	set_deals(mover, &deal, 1);
	run_move(mover, rel, CHANGE_NONE, false, optional_text(fcinfo, 4));
	complete_results(mover, true);
	put_results(mover, fcinfo);
	table_close(rel, NoLock);
	PG_RETURN_NULL();
}

/*
 * move_many(deals, ids, stage, pipeline, reason, on_refuse)
 */
Datum
pipelines_move_many(PG_FUNCTION_ARGS)
{
	Relation	rel;
	Mover	   *mover;
	char	   *on_refuse = optional_text(fcinfo, 5);
	bool		skip;

	require_argument(fcinfo, 0, "deals");
	require_argument(fcinfo, 1, "ids");
	if (on_refuse == NULL || (strcmp(on_refuse, "error") != 0 && strcmp(on_refuse, "skip") != 0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("on_refuse can't be \"%s\"", on_refuse == NULL ? "NULL" : on_refuse),
				 errhint("It is 'error' (all or nothing) or 'skip' (leave out what is refused).")));
	skip = strcmp(on_refuse, "skip") == 0;
	mover = open_mover(PG_GETARG_OID(0), RowExclusiveLock, &rel);
	set_target(mover, optional_text(fcinfo, 2), optional_text(fcinfo, 3), NULL);
	set_deals_from_array(mover, PG_GETARG_ARRAYTYPE_P(1));
	run_move(mover, rel, CHANGE_NONE, skip, optional_text(fcinfo, 4));
	complete_results(mover, !skip);
	put_results(mover, fcinfo);
	table_close(rel, NoLock);
	PG_RETURN_NULL();
}

/*
 * Rehearse the move of the deals that the caller sees.
 */
static void
rehearse(Mover *mover, const char *reason)
{
	DealOperation operation = {0};
	StringInfoData query;
	Oid			types[INDEX_MAX_KEYS];
	Datum		values[INDEX_MAX_KEYS];
	int			nargs = deals_parameters(mover, types, values);
	int			nest_level = NewGUCNestLevel();
	MemoryContext per_row;
	Oid		   *tables;
	ItemPointerData *tids;
	uint64		n;
	Relation	rel = NULL;
	TupleTableSlot *slot = NULL;

	operation.root = mover->relid;
	operation.observe = observe_move;
	operation.arg = mover;

	initStringInfo(&query);
	appendStringInfo(&query, "SELECT d.tableoid, d.ctid FROM %s AS d", mover->relation);
	append_deals(mover, &query, ",");

	/* the very snapshot by which the rows are fetched below */
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (execute_deals(mover, query.data, nargs, types, values, true) != SPI_OK_SELECT)
		elog(ERROR, "the query of %s failed", mover->relation);
	n = SPI_processed;
	tables = MemoryContextAllocHuge(mover->context, sizeof(Oid) * Max(n, 1));
	tids = MemoryContextAllocHuge(mover->context, sizeof(ItemPointerData) * Max(n, 1));
	for (uint64 i = 0; i < n; i++)
	{
		bool		isnull;

		tables[i] = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc,
												   1, &isnull));
		tids[i] = *(ItemPointer) DatumGetPointer(SPI_getbinval(SPI_tuptable->vals[i],
																SPI_tuptable->tupdesc,
																2, &isnull));
	}
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");

	set_reason(reason);
	per_row = AllocSetContextCreate(CurrentMemoryContext, "pipelines move plan",
									ALLOCSET_DEFAULT_SIZES);
	for (uint64 i = 0; i < n; i++)
	{
		MemoryContext oldcontext;

		CHECK_FOR_INTERRUPTS();
		if (rel == NULL || RelationGetRelid(rel) != tables[i])
		{
			if (rel != NULL)
			{
				ExecDropSingleTupleTableSlot(slot);
				table_close(rel, NoLock);
			}
			rel = table_open(tables[i], AccessShareLock);
			slot = table_slot_create(rel, NULL);
		}
		if (!table_tuple_fetch_row_version(rel, &tids[i], GetActiveSnapshot(), slot))
			continue;
		oldcontext = MemoryContextSwitchTo(per_row);
		{
			DealsTable *table = deals_table(rel, true);
			bool		should_free;
			HeapTuple	tuple = ExecFetchSlotHeapTuple(slot, false, &should_free);
			bool		isnull;
			int32		pipeline_id = DatumGetInt32(slot_getattr(slot, table->role[ROLE_PIPELINE_ID], &isnull));
			int32		stage_id = DatumGetInt32(slot_getattr(slot, table->role[ROLE_STAGE_ID], &isnull));

			deals_judge_move(rel, tuple,
							 mover->pipeline_id != 0 ? mover->pipeline_id : pipeline_id,
							 mover->stage_id != 0 ? mover->stage_id : stage_id, &operation);
		}
		MemoryContextSwitchTo(oldcontext);
		MemoryContextReset(per_row);
	}
	if (rel != NULL)
	{
		ExecDropSingleTupleTableSlot(slot);
		table_close(rel, NoLock);
	}
	MemoryContextDelete(per_row);
	AtEOXact_GUC(true, nest_level);
}

/*
 * A plan of what the caller may not do would be no plan.
 */
static void
check_may_update(const Mover *mover, Relation rel, bool no_stage, bool no_pipeline)
{
	const DealsTable *table = deals_table(rel, true);

	if (pg_class_aclcheck(mover->relid, GetUserId(), ACL_UPDATE) == ACLCHECK_OK)
		return;
	if ((no_stage || pg_attribute_aclcheck(mover->relid, table->role[ROLE_STAGE_ID],
										   GetUserId(), ACL_UPDATE) == ACLCHECK_OK) &&
		(no_pipeline || pg_attribute_aclcheck(mover->relid, table->role[ROLE_PIPELINE_ID],
											  GetUserId(), ACL_UPDATE) == ACLCHECK_OK))
		return;
	aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, RelationGetRelationName(rel));
}

/*
 * move_plan(deals, ids, stage, pipeline, reason)
 */
Datum
pipelines_move_plan(PG_FUNCTION_ARGS)
{
	Relation	rel;
	Mover	   *mover;

	require_argument(fcinfo, 0, "deals");
	require_argument(fcinfo, 1, "ids");
	mover = open_mover(PG_GETARG_OID(0), AccessShareLock, &rel);
	check_may_update(mover, rel, PG_ARGISNULL(2), PG_ARGISNULL(3));
	set_target(mover, optional_text(fcinfo, 2), optional_text(fcinfo, 3), NULL);
	set_deals_from_array(mover, PG_GETARG_ARRAYTYPE_P(1));
	if (mover->ndeals > 0)
		rehearse(mover, optional_text(fcinfo, 4));
	complete_results(mover, false);
	put_results(mover, fcinfo);
	table_close(rel, NoLock);
	PG_RETURN_NULL();
}

/*
 * the first mandatory stage that the deal jumped over in its present
 * episode and has not been in since.  The history is read as its owner: not
 * everybody who may push a deal back may see what it skipped.
 */
static int32
skipped_stage(Mover *mover, Relation rel)
{
	DealsTable *table = deals_table(rel, true);
	TupleDesc	hdesc = table->history_desc;
	Relation	history;
	StringInfoData query;
	StringInfoData match;
	Oid			types[INDEX_MAX_KEYS + 2];
	Datum		values[INDEX_MAX_KEYS + 2];
	int			nargs = deals_parameters(mover, types, values);
	int32		pipeline_id;
	int32		stage_id;
	int32		episode;
	int32		best = 0;
	int64		best_position = 0;
	const PipelineDef *pipeline;
	const StageDef *present;
	int32	   *skipped;
	uint64		n;
	RunAs		saved;
	bool		isnull;
	MemoryContext caller = CurrentMemoryContext;

	/* hold the deal where it is */
	initStringInfo(&query);
	appendStringInfo(&query, "SELECT d.%s, d.%s, d.%s FROM %s AS d", mover->pipeline_column,
					 mover->stage_column,
					 quote_identifier(NameStr(TupleDescAttr(RelationGetDescr(rel),
															table->role[ROLE_EPISODE] - 1)->attname)),
					 mover->relation);
	append_deals(mover, &query, ",");
	appendStringInfoString(&query, " FOR UPDATE OF d");
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args(query.data, nargs, types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute_with_args failed");
	if (SPI_processed == 0)
	{
		SPI_finish();
		return 0;
	}
	pipeline_id = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	stage_id = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	episode = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3, &isnull));
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");

#define HISTORY_NAME(attnum) quote_identifier(NameStr(TupleDescAttr(hdesc, (attnum) - 1)->attname))
	history_flush();
	history = table_open(table->history, AccessShareLock);
	initStringInfo(&match);
	for (int k = 0; k < mover->nkeys; k++)
		appendStringInfo(&match, "h.%s %s $%d AND ", HISTORY_NAME(table->history_keys[k]),
						 equality_of_type(mover->types[k]), k + 1);
	{
		const char *role_pipeline = NULL;
		const char *role_stage = NULL;

		for (int i = 0; i < table->ntracked; i++)
		{
			if (table->tracked[i].attnum == table->role[ROLE_PIPELINE_ID])
				role_pipeline = pstrdup(HISTORY_NAME(table->tracked[i].history_attnum));
			else if (table->tracked[i].attnum == table->role[ROLE_STAGE_ID])
				role_stage = pstrdup(HISTORY_NAME(table->tracked[i].history_attnum));
		}
		if (role_pipeline == NULL || role_stage == NULL)
			elog(ERROR, "the history of %s lacks pipeline or stage", mover->relation);
		appendStringInfo(&match, "h.%s OPERATOR(pg_catalog.=) $%d AND h.%s OPERATOR(pg_catalog.=) $%d",
						 pstrdup(HISTORY_NAME(table->history_episode)), nargs + 1,
						 role_pipeline, nargs + 2);
		resetStringInfo(&query);
		appendStringInfo(&query, "SELECT DISTINCT k.k FROM %s AS h, LATERAL pg_catalog.unnest(h.%s) AS k (k)"
						 " WHERE %s AND NOT EXISTS (SELECT FROM %s AS h WHERE %s AND h.%s OPERATOR(pg_catalog.=) k.k)",
						 quote_qualified_identifier(get_namespace_name(RelationGetNamespace(history)),
													RelationGetRelationName(history)),
						 HISTORY_NAME(table->history_column[HISTORY_SKIPPED_STAGES]), match.data,
						 quote_qualified_identifier(get_namespace_name(RelationGetNamespace(history)),
													RelationGetRelationName(history)),
						 match.data, role_stage);
	}
#undef HISTORY_NAME
	types[nargs] = INT4OID;
	values[nargs++] = Int32GetDatum(episode);
	types[nargs] = INT4OID;
	values[nargs++] = Int32GetDatum(pipeline_id);

	run_as(history->rd_rel->relowner, &saved);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args(query.data, nargs, types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute_with_args failed");
	n = SPI_processed;
	skipped = MemoryContextAlloc(caller, sizeof(int32) * Max(n, 1));
	for (uint64 i = 0; i < n; i++)
		skipped[i] = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc,
												 1, &isnull));
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	run_as_end(&saved);
	table_close(history, AccessShareLock);

	pipeline = definitions_pipeline(pipeline_id);
	present = pipeline == NULL ? NULL : definitions_stage(pipeline, stage_id);
	for (uint64 i = 0; present != NULL && i < n; i++)
	{
		const StageDef *stage = definitions_stage(pipeline, skipped[i]);

		if (stage == NULL || stage->archived || !stage->mandatory || stage->stage_id == stage_id ||
			stage->outcome != OUTCOME_OPEN || stage->position >= present->position)
			continue;
		if (best == 0 || stage->position < best_position)
		{
			best = stage->stage_id;
			best_position = stage->position;
		}
	}
	if (best == 0)
		ereport(ERROR,
				(errcode(ERRCODE_PIPELINES_MOVE_REFUSED),
				 errmsg("deal %s of table \"%s\" can't be pushed back", result_text(mover, mover->deals[0]),
						RelationGetRelationName(rel)),
				 errdetail("It has skipped no mandatory stage in its present episode, or has been there since."),
				 errhint("Name the stage: push_back(..., stage => '...')."),
				 errtablecol(rel, table->role[ROLE_STAGE_ID])));
	return best;
}

/*
 * push_back(deals, deal, reason, stage)
 */
Datum
pipelines_push_back(PG_FUNCTION_ARGS)
{
	Relation	rel;
	Mover	   *mover;
	char	   *deal;
	char	   *stage = optional_text(fcinfo, 3);

	require_argument(fcinfo, 0, "deals");
	require_argument(fcinfo, 1, "deal");
	require_argument(fcinfo, 2, "reason");
	mover = open_mover(PG_GETARG_OID(0), RowExclusiveLock, &rel);
	deal = text_to_cstring(PG_GETARG_TEXT_PP(1));
	set_deals(mover, &deal, 1);
	if (stage != NULL)
		set_target(mover, stage, NULL, NULL);
	else
		mover->stage_id = skipped_stage(mover, rel);
	if (mover->stage_id != 0)
		run_move(mover, rel, CHANGE_PUSH_BACK, false, optional_text(fcinfo, 2));
	complete_results(mover, true);
	put_results(mover, fcinfo);
	table_close(rel, NoLock);
	PG_RETURN_NULL();
}

/*
 * undo_batch(deals, batch): the query and the statements come from
 * _undo_texts(), since they name every tracked column.  Deals that the first
 * statement restored are not met by the second: they have changed by then.
 */
Datum
pipelines_undo_batch(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	DealOperation operation = {0};
	Relation	rel;
	Mover	   *mover;
	Oid			regclass_type = REGCLASSOID;
	Oid			text_type = TEXTOID;
	Datum		relid;
	Datum		batch;
	char	   *list_query;
	char	   *restore;
	char	   *go_back;
	char	  **texts;
	char	  **states;
	uint64		n;
	MemoryContext spi;

	require_argument(fcinfo, 0, "deals");
	require_argument(fcinfo, 1, "batch");
	relid = PG_GETARG_DATUM(0);
	batch = PG_GETARG_DATUM(1);
	mover = open_mover(PG_GETARG_OID(0), RowExclusiveLock, &rel);
	history_flush();

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args("SELECT u.list_query, u.restore, u.go_back"
							  " FROM pipelines._undo_texts($1) AS u",
							  1, &regclass_type, &relid, NULL, false, 0) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "_undo_texts failed");
	list_query = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	restore = MemoryContextStrdup(caller, SPI_getvalue(SPI_tuptable->vals[0],
													   SPI_tuptable->tupdesc, 2));
	go_back = MemoryContextStrdup(caller, SPI_getvalue(SPI_tuptable->vals[0],
													   SPI_tuptable->tupdesc, 3));

	if (SPI_execute_with_args(list_query, 1, &text_type, &batch, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute_with_args failed");
	n = SPI_processed;
	spi = MemoryContextSwitchTo(caller);
	texts = MemoryContextAllocHuge(caller, sizeof(char *) * Max(n, 1));
	states = MemoryContextAllocHuge(caller, sizeof(char *) * Max(n, 1));
	for (uint64 i = 0; i < n; i++)
	{
		texts[i] = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
		states[i] = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2);
	}
	MemoryContextSwitchTo(spi);
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	if (n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("no change of table \"%s\" belongs to batch \"%s\"",
						RelationGetRelationName(rel), TextDatumGetCString(batch)),
				 errhint("A batch is what was changed under one pipelines.batch.")));
	set_deals(mover, texts, (int) n);

	operation.root = mover->relid;
	operation.kind = CHANGE_UNDO;
	operation.skip_refused = true;
	operation.observe = observe_move;
	operation.arg = mover;
	/* these pick their deals themselves */
	mover->by_index = false;
	run_operation(mover, &operation, restore, 1, &text_type, &batch, NULL);
	operation.kind = CHANGE_NONE;
	operation.statement = NULL;
	run_operation(mover, &operation, go_back, 1, &text_type, &batch, NULL);

	for (uint64 i = 0; i < n; i++)
	{
		MoveResult *result = mover->deals[i];

		if (!result->told)
			result->reason = states[i];
	}
	{
		ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

		compat_materialize(fcinfo);
		for (int i = 0; i < mover->ndeals; i++)
		{
			MoveResult *result = mover->deals[i];
			Datum		values[3];
			bool		nulls[3] = {false, false, false};

			values[0] = CStringGetTextDatum(result_text(mover, result));
			values[1] = BoolGetDatum(result->ok);
			values[2] = result->reason == NULL ? (Datum) 0 : CStringGetTextDatum(result->reason);
			nulls[2] = result->reason == NULL;
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		}
	}
	table_close(rel, NoLock);
	PG_RETURN_NULL();
}
