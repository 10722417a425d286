/*-------------------------------------------------------------------------
 *
 * requirements.c
 *	  What a deal must fulfil, beyond its stage.
 *
 * Owns the evaluation of entry and exit rules, the look at the table of
 * activities, and everything else that rules.c needs to know of a row beside
 * its bookkeeping.  Rules are compiled once for each table and text, and kept
 * with the table's description; what they may contain is decided when they
 * are defined, and checked again when they are compiled (conditions.c), since
 * the definition may have come with a restore.
 *
 * The invariant: nothing here runs code that a definer chose: rules consist
 * of immutable functions of pg_catalog, and activities are read by a query of
 * ours, as the owner of their table.
 *
 * Must never decide whether a deal may move: that is rules.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "definitions/conditions.h"
#include "definitions/definitions.h"
#include "definitions/privilege.h"
#include "errors.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "requirements.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/rel.h"
#include "utils/syscache.h"

/* rules of a table that are kept; those whose text is no more go in the end */
#define KEPT_RULES 256

/* a rule as one deals table sees it; lives with the table's description */
typedef struct CompiledRule
{
	struct CompiledRule *next;
	MemoryContext context;		/* of all of it, a child of the table's */
	char	   *text;
	Condition  *condition;
	ExprState  *state;			/* NULL: a list of columns */
	TupleTableSlot *slot;
} CompiledRule;

typedef struct ColumnSearch
{
	const DealsTable *table;
	TupleDesc	desc;
} ColumnSearch;

static AttrNumber
resolve_column(const char *name, void *arg)
{
	const ColumnSearch *search = (const ColumnSearch *) arg;

	return deals_column(search->table, search->desc, name);
}

/*
 * The rule, compiled for the table.  The one used last comes first: most rows
 * are like the one before.
 */
static CompiledRule *
compiled_rule(const DealContext *deal, const char *text, const char *what)
{
	DealsTable *table = unconstify(DealsTable *, deal->table);
	CompiledRule **link = &table->rules;
	CompiledRule *rule;
	MemoryContext oldcontext;
	MemoryContext context;
	int			kept = 0;

	for (rule = *link; rule != NULL; link = &rule->next, rule = rule->next)
	{
		if (strcmp(rule->text, text) == 0)
		{
			*link = rule->next;
			rule->next = table->rules;
			table->rules = rule;
			return rule;
		}
		/* the last one was not used for long, and nobody is at it */
		if (++kept == KEPT_RULES)
		{
			*link = NULL;
			MemoryContextDelete(rule->context);
			break;
		}
	}

	{
		/* garbage of parsing goes with the row, what is kept is copied */
		ColumnSearch search = {table, RelationGetDescr(deal->rel)};
		Condition  *condition = condition_parse(text, search.desc, resolve_column, &search, what);

		if (table->rule_context == NULL)
		{
			oldcontext = MemoryContextSwitchTo(table->context);
			table->rule_context = CreateStandaloneExprContext();
			MemoryContextSwitchTo(oldcontext);
		}
		context = AllocSetContextCreate(table->context, "pipelines rule", ALLOCSET_SMALL_SIZES);
		oldcontext = MemoryContextSwitchTo(context);
		rule = palloc0(sizeof(CompiledRule));
		rule->context = context;
		rule->text = pstrdup(text);
		rule->condition = palloc(sizeof(Condition));
		*rule->condition = *condition;
		rule->condition->columns = palloc(sizeof(AttrNumber) * (condition->ncolumns + 1));
		memcpy(rule->condition->columns, condition->columns,
			   sizeof(AttrNumber) * condition->ncolumns);
		if (condition->expr != NULL)
		{
			rule->condition->expr = copyObject(condition->expr);
			rule->slot = MakeSingleTupleTableSlot(CreateTupleDescCopy(search.desc),
												  &TTSOpsVirtual);
			rule->state = ExecInitExpr(rule->condition->expr, NULL);
		}
		MemoryContextSwitchTo(oldcontext);
		rule->next = table->rules;
		table->rules = rule;
	}
	return rule;
}

static bool
is_blank(text *value)
{
	const char *c = VARDATA_ANY(value);
	const char *end = c + VARSIZE_ANY_EXHDR(value);

	for (; c < end; c++)
		if (*c != ' ' && *c != '\t' && *c != '\n' && *c != '\r')
			return false;
	return true;
}

/* a text of nothing but blanks says as little as none */
static bool
column_is_filled_in(const DealContext *deal, AttrNumber attnum)
{
	Form_pg_attribute att;

	if (deal->nulls[attnum - 1])
		return false;
	att = TupleDescAttr(RelationGetDescr(deal->rel), attnum - 1);
	if (att->attlen != -1)
		return true;
	switch (att->atttypid)
	{
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
			break;
		default:
			if (get_typtype(att->atttypid) != TYPTYPE_DOMAIN)
				return true;
			switch (getBaseType(att->atttypid))
			{
				case TEXTOID:
				case VARCHAROID:
				case BPCHAROID:
					break;
				default:
					return true;
			}
	}
	return !is_blank(DatumGetTextPP(deal->values[attnum - 1]));
}

DealContext
deal_as_it_was(const DealContext *deal)
{
	DealContext before = *deal;

	before.values = deal->old_values;
	before.nulls = deal->old_nulls;
	return before;
}

bool
is_filled_in(const DealContext *deal, DealRole role)
{
	AttrNumber	attnum = deal->table->role[role];

	return attnum != InvalidAttrNumber && column_is_filled_in(deal, attnum);
}

static char *
column_text(const DealContext *deal, AttrNumber attnum)
{
	Form_pg_attribute att = TupleDescAttr(RelationGetDescr(deal->rel), attnum - 1);
	Oid			output;
	bool		is_varlena;

	if (deal->nulls[attnum - 1])
		return NULL;
	if (att->atttypid == BOOLOID)
		return pstrdup(DatumGetBool(deal->values[attnum - 1]) ? "true" : "false");
	getTypeOutputInfo(att->atttypid, &output, &is_varlena);
	return OidOutputFunctionCall(output, deal->values[attnum - 1]);
}

char *
role_text(const DealContext *deal, DealRole role)
{
	AttrNumber	attnum = deal->table->role[role];

	return attnum == InvalidAttrNumber ? NULL : column_text(deal, attnum);
}

static Fulfilment
columns_fulfilled(const DealContext *deal, const Condition *condition,
				  char **detail, AttrNumber *column)
{
	StringInfoData missing;

	for (int i = 0; i < condition->ncolumns; i++)
	{
		if (!column_is_filled_in(deal, condition->columns[i]))
		{
			*column = condition->columns[i];
			break;
		}
	}
	if (*column == InvalidAttrNumber)
		return FULFILLED;

	initStringInfo(&missing);
	for (int i = 0; i < condition->ncolumns; i++)
	{
		if (!column_is_filled_in(deal, condition->columns[i]))
			appendStringInfo(&missing, "%s%s", missing.len > 0 ? ", " : "",
							 NameStr(TupleDescAttr(RelationGetDescr(deal->rel),
												   condition->columns[i] - 1)->attname));
	}
	*detail = psprintf("Columns that must be filled in: %s.", missing.data);
	return NOT_FULFILLED;
}

Fulfilment
rule_fulfilled(const DealContext *deal, const char *text, const char *what,
			   bool in_after, char **detail, AttrNumber *column)
{
	CompiledRule *rule = compiled_rule(deal, text, what);
	const Condition *condition = rule->condition;
	ExprContext *context = deal->table->rule_context;
	Datum		result;
	bool		isnull;

	*detail = NULL;
	*column = InvalidAttrNumber;
	if (condition->uses_generated && !in_after)
		return NOT_KNOWN_YET;
	if (rule->state == NULL)
		return columns_fulfilled(deal, condition, detail, column);

	ExecClearTuple(rule->slot);
	memset(rule->slot->tts_isnull, true,
		   sizeof(bool) * rule->slot->tts_tupleDescriptor->natts);
	for (int i = 0; i < condition->ncolumns; i++)
	{
		int			c = condition->columns[i] - 1;

		rule->slot->tts_values[c] = deal->values[c];
		rule->slot->tts_isnull[c] = deal->nulls[c];
	}
	ExecStoreVirtualTuple(rule->slot);
	context->ecxt_scantuple = rule->slot;
	result = ExecEvalExprSwitchContext(rule->state, context, &isnull);
	ExecClearTuple(rule->slot);
	ResetExprContext(context);
	if (!isnull && DatumGetBool(result))
		return FULFILLED;
	*detail = psprintf("It must be true of the deal that %s.", text);
	if (condition->ncolumns == 1)
		*column = condition->columns[0];
	return NOT_FULFILLED;
}

/* what tracked_table says of a column of the table of activities */
static char *
activity_column(const DealContext *deal, const char *part)
{
	JsonbValue	key;
	JsonbValue *value;

	key.type = jbvString;
	key.val.string.val = unconstify(char *, part);
	key.val.string.len = strlen(part);
	value = deal->table->activity_columns == NULL ? NULL :
		findJsonbValueFromContainer(&((Jsonb *) deal->table->activity_columns)->root,
									JB_FOBJECT, &key);
	if (value == NULL || value->type != jbvString)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("it is not known which column of the activities of table \"%s\" is the %s",
						RelationGetRelationName(deal->rel), part),
				 errhint("Say so: SELECT pipelines.use_activities(...).")));
	return pnstrdup(value->val.string.val, value->val.string.len);
}

static char *
relation_name(Oid relid)
{
	char	   *name = get_rel_name(relid);

	return name == NULL ? NULL :
		quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), name);
}

static Oid
relation_owner(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relid);
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

static void
free_plans(void *arg)
{
	DealsTable *table = (DealsTable *) arg;

	if (table->activity_plan != NULL)
		SPI_freeplan(table->activity_plan);
	if (table->episode_plan != NULL)
		SPI_freeplan(table->episode_plan);
	if (table->pause_plan != NULL)
		SPI_freeplan(table->pause_plan);
	if (table->past_plan != NULL)
		SPI_freeplan(table->past_plan);
	/* it may have been registered twice */
	table->activity_plan = NULL;
	table->episode_plan = NULL;
	table->pause_plan = NULL;
	table->past_plan = NULL;
}

/*
 * Keep a plan with the table's description.  Its parameters are the key, then
 * those that are named.
 */
static SPIPlanPtr
keep_plan(const DealContext *deal, const char *query, int nextra, const Oid *extra)
{
	DealsTable *table = unconstify(DealsTable *, deal->table);
	TupleDesc	desc = RelationGetDescr(deal->rel);
	Oid			types[INDEX_MAX_KEYS + 3];
	SPIPlanPtr	plan;

	for (int i = 0; i < table->nkeys; i++)
		types[i] = TupleDescAttr(desc, table->keys[i] - 1)->atttypid;
	for (int i = 0; i < nextra; i++)
		types[table->nkeys + i] = extra[i];
	plan = SPI_prepare(query, table->nkeys + nextra, types);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	if (table->activity_plan == NULL && table->episode_plan == NULL &&
		table->pause_plan == NULL && table->past_plan == NULL)
	{
		MemoryContextCallback *callback =
			MemoryContextAllocZero(table->context, sizeof(MemoryContextCallback));

		callback->func = free_plans;
		callback->arg = table;
		MemoryContextRegisterResetCallback(table->context, callback);
	}
	if (SPI_keepplan(plan) != 0)
		elog(ERROR, "SPI_keepplan failed");
	return plan;
}

static void
append_key_condition(StringInfo query, const DealContext *deal, const char *alias,
					 char *(*column) (const DealContext *deal, int n))
{
	const DealsTable *table = deal->table;

	for (int i = 0; i < table->nkeys; i++)
	{
		Oid			type = TupleDescAttr(RelationGetDescr(deal->rel), table->keys[i] - 1)->atttypid;

		appendStringInfo(query, "%s%s.%s %s $%d", i > 0 ? " AND " : "", alias,
						 quote_identifier(column(deal, i)), equality_of_type(type), i + 1);
	}
}

static char *
activity_key(const DealContext *deal, int n)
{
	return activity_column(deal, psprintf("key%d", n + 1));
}

static char *
history_key(const DealContext *deal, int n)
{
	return NameStr(TupleDescAttr(deal->table->history_desc, deal->table->history_keys[n] - 1)->attname);
}

#define HISTORY_COLUMN(attnum) \
	quote_identifier(NameStr(TupleDescAttr(deal->table->history_desc, (attnum) - 1)->attname))

/*
 * When did the present episode begin?  The first one: long ago.
 */
static Datum
episode_begin(const DealContext *deal, int32 episode, Datum *args)
{
	DealsTable *table = unconstify(DealsTable *, deal->table);
	bool		isnull = true;
	Datum		begin = TimestampTzGetDatum(DT_NOBEGIN);
	RunAs		saved;

	if (episode <= 1)
		return begin;

	run_as(table->owner, &saved);
	if (table->episode_plan == NULL)
	{
		static const Oid extra[] = {INT4OID};
		StringInfoData query;

		initStringInfo(&query);
		appendStringInfo(&query, "SELECT pg_catalog.max(h.%s) FROM %s AS h WHERE ",
						 HISTORY_COLUMN(table->history_column[HISTORY_VALID_TO]),
						 relation_name(table->history));
		append_key_condition(&query, deal, "h", history_key);
		appendStringInfo(&query, " AND h.%s OPERATOR(pg_catalog.<) $%d",
						 HISTORY_COLUMN(table->history_episode), table->nkeys + 1);
		table->episode_plan = keep_plan(deal, query.data, 1, extra);
	}
	args[table->nkeys] = Int32GetDatum(episode);
	if (SPI_execute_plan(table->episode_plan, args, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute_plan failed");
	if (SPI_processed > 0)
	{
		Datum		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);

		if (!isnull)
			begin = value;
	}
	run_as_end(&saved);
	return begin;
}

/* the history's column for one that T has in this part */
static const char *
tracked_name(const DealContext *deal, DealRole role)
{
	const DealsTable *table = deal->table;

	for (int i = 0; i < table->ntracked; i++)
	{
		if (table->tracked[i].attnum == table->role[role])
			return pstrdup(HISTORY_COLUMN(table->tracked[i].history_attnum));
	}
	elog(ERROR, "the history of table %u lacks the stage", table->root);
}

int32
stage_before_pause(const DealContext *deal, const DealState *old)
{
	DealsTable *table = unconstify(DealsTable *, deal->table);
	const PipelineDef *pipeline = definitions_pipeline(old->pipeline_id);
	const StageDef *stage = pipeline == NULL ? NULL :
		definitions_stage(pipeline, old->stage_id);
	Datum		args[INDEX_MAX_KEYS + 3];
	Datum	   *pauses;
	int			npauses = 0;
	int32		result = 0;
	RunAs		saved;

	if (stage == NULL || stage->outcome != OUTCOME_ON_HOLD)
		return 0;
	pauses = palloc(sizeof(Datum) * pipeline->nstages);
	for (int i = 0; i < pipeline->nstages; i++)
	{
		if (pipeline->stages[i].outcome == OUTCOME_ON_HOLD)
			pauses[npauses++] = Int32GetDatum(pipeline->stages[i].stage_id);
	}
	for (int i = 0; i < table->nkeys; i++)
		args[i] = deal->old_values[table->keys[i] - 1];
	args[table->nkeys] = Int32GetDatum(old->episode);
	args[table->nkeys + 1] = PointerGetDatum(construct_array(pauses, npauses, INT4OID,
															 sizeof(int32), true, TYPALIGN_INT));
	args[table->nkeys + 2] = Int32GetDatum(old->pipeline_id);

	run_as(table->owner, &saved);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (table->pause_plan == NULL)
	{
		static const Oid extra[] = {INT4OID, INT4ARRAYOID, INT4OID};
		StringInfoData query;
		const char *stage_column = tracked_name(deal, ROLE_STAGE_ID);

		initStringInfo(&query);
		appendStringInfo(&query, "SELECT h.%s FROM %s AS h WHERE ",
						 stage_column, relation_name(table->history));
		append_key_condition(&query, deal, "h", history_key);
		appendStringInfo(&query, " AND h.%s OPERATOR(pg_catalog.=) $%d",
						 HISTORY_COLUMN(table->history_episode), table->nkeys + 1);
		appendStringInfo(&query, " AND h.%s OPERATOR(pg_catalog.<>) ALL ($%d)",
						 stage_column, table->nkeys + 2);
		/* what it was in another pipeline is no stage of this one */
		appendStringInfo(&query, " AND h.%s OPERATOR(pg_catalog.=) $%d",
						 tracked_name(deal, ROLE_PIPELINE_ID), table->nkeys + 3);
		appendStringInfo(&query, " ORDER BY h.%s DESC LIMIT 1",
						 HISTORY_COLUMN(table->history_column[HISTORY_VERSION]));
		table->pause_plan = keep_plan(deal, query.data, 3, extra);
	}
	if (SPI_execute_plan(table->pause_plan, args, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute_plan failed");
	if (SPI_processed > 0)
	{
		bool		isnull;
		Datum		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);

		result = isnull ? 0 : DatumGetInt32(value);
	}
	run_as_end(&saved);
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	return result;
}

List *
stages_visited(const DealContext *deal, const DealState *old, bool *adopted)
{
	DealsTable *table = unconstify(DealsTable *, deal->table);
	Datum		args[INDEX_MAX_KEYS + 1];
	TimestampTz began = old->changed_at;
	List	   *visited = NIL;
	MemoryContext caller = CurrentMemoryContext;
	RunAs		saved;

	for (int i = 0; i < table->nkeys; i++)
		args[i] = deal->old_values[table->keys[i] - 1];
	args[table->nkeys] = Int32GetDatum(old->episode);

	run_as(table->owner, &saved);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (table->past_plan == NULL)
	{
		static const Oid extra[] = {INT4OID};
		StringInfoData query;

		initStringInfo(&query);
		appendStringInfo(&query, "SELECT h.%s, h.%s, pg_catalog.min(h.%s) FROM %s AS h WHERE ",
						 tracked_name(deal, ROLE_PIPELINE_ID), tracked_name(deal, ROLE_STAGE_ID),
						 HISTORY_COLUMN(table->history_column[HISTORY_VALID_FROM]),
						 relation_name(table->history));
		append_key_condition(&query, deal, "h", history_key);
		appendStringInfo(&query, " AND h.%s OPERATOR(pg_catalog.=) $%d GROUP BY 1, 2",
						 HISTORY_COLUMN(table->history_episode), table->nkeys + 1);
		table->past_plan = keep_plan(deal, query.data, 1, extra);
	}
	if (SPI_execute_plan(table->past_plan, args, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute_plan failed");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;
		TimestampTz from = DatumGetTimestampTz(SPI_getbinval(tuple, desc, 3, &isnull));
		MemoryContext mine;

		if (from < began)
			began = from;
		if (DatumGetInt32(SPI_getbinval(tuple, desc, 1, &isnull)) != old->pipeline_id)
			continue;
		mine = MemoryContextSwitchTo(caller);
		visited = lappend_int(visited, DatumGetInt32(SPI_getbinval(tuple, desc, 2, &isnull)));
		MemoryContextSwitchTo(mine);
	}
	run_as_end(&saved);
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	*adopted = old->episode == 1 && began == table->adopted_at;
	return visited;
}

/*
 * S20: the activities of a stage must have been done in the present
 * episode, no matter in which stage the deal was then.
 */
char *
missing_activities(const DealContext *deal, const StageDef *stage, int32 episode)
{
	DealsTable *table = unconstify(DealsTable *, deal->table);
	Datum		args[INDEX_MAX_KEYS + 2];
	int			nkinds = stage->nactivities;
	Datum	   *kinds = palloc(sizeof(Datum) * nkinds);
	char	   *activity = OidIsValid(table->activity) ? relation_name(table->activity) : NULL;
	char	   *missing = NULL;
	MemoryContext caller = CurrentMemoryContext;
	RunAs		saved;

	for (int i = 0; i < nkinds; i++)
		kinds[i] = CStringGetTextDatum(stage->activities[i]);
	if (activity == NULL)
	{
		StringInfoData all;

		/* nowhere to be done */
		initStringInfo(&all);
		for (int i = 0; i < stage->nactivities; i++)
			appendStringInfo(&all, "%s%s", i > 0 ? ", " : "", stage->activities[i]);
		return all.data;
	}

	/* from here on the definitions may be loaded anew: "stage" is not used */
	for (int i = 0; i < table->nkeys; i++)
		args[i] = deal->values[table->keys[i] - 1];
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	args[table->nkeys + 1] = episode_begin(deal, episode, args);
	args[table->nkeys] = PointerGetDatum(construct_array(kinds, nkinds, TEXTOID, -1, false,
														 TYPALIGN_INT));

	run_as(relation_owner(table->activity), &saved);
	if (table->activity_plan == NULL)
	{
		static const Oid extra[] = {TEXTARRAYOID, TIMESTAMPTZOID};
		StringInfoData query;

		initStringInfo(&query);
		appendStringInfo(&query, "SELECT pg_catalog.string_agg(k.kind, ', ' ORDER BY k.n)"
						 " FROM pg_catalog.unnest($%d) WITH ORDINALITY AS k(kind, n)"
						 " WHERE NOT EXISTS (SELECT FROM %s AS a WHERE ",
						 table->nkeys + 1, activity);
		append_key_condition(&query, deal, "a", activity_key);
		appendStringInfo(&query, " AND a.%s::pg_catalog.text OPERATOR(pg_catalog.=) k.kind",
						 quote_identifier(activity_column(deal, "kind")));
		appendStringInfo(&query, " AND a.%1$s::pg_catalog.timestamptz OPERATOR(pg_catalog.>=) $%2$d"
						 " AND a.%1$s::pg_catalog.timestamptz OPERATOR(pg_catalog.<=) pg_catalog.clock_timestamp())",
						 quote_identifier(activity_column(deal, "done_at")), table->nkeys + 2);
		table->activity_plan = keep_plan(deal, query.data, 2, extra);
	}
	if (SPI_execute_plan(table->activity_plan, args, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute_plan failed");
	if (SPI_processed > 0)
		missing = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	if (missing != NULL)
		missing = MemoryContextStrdup(caller, missing);
	run_as_end(&saved);
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	return missing;
}

/*
 * A function of the user's that runs as its owner hands leave on.  An action of
 * a foreign key runs as the owner of the table, which says nothing of who is at
 * work.
 */
bool
is_member(const char *role)
{
	Oid			roleid = get_role_oid(role, true);
	Oid			userid;
	int			sec_context;

	GetUserIdAndSecContext(&userid, &sec_context);
	if ((sec_context & SECURITY_NOFORCE_RLS) != 0)
		userid = rights_at_work();
	return OidIsValid(roleid) && OidIsValid(userid) && is_member_of_role_nosuper(userid, roleid);
}

/* a value of a column that holds a number, as numeric; false: it does not */
static bool
as_numeric(Oid type, Datum value, Datum *result)
{
	switch (getBaseType(type))
	{
		case NUMERICOID:
			*result = value;
			return true;
		case INT2OID:
			*result = DirectFunctionCall1(int2_numeric, value);
			return true;
		case INT4OID:
			*result = DirectFunctionCall1(int4_numeric, value);
			return true;
		case INT8OID:
			*result = DirectFunctionCall1(int8_numeric, value);
			return true;
		case FLOAT4OID:
			*result = DirectFunctionCall1(float4_numeric, value);
			return true;
		case FLOAT8OID:
			*result = DirectFunctionCall1(float8_numeric, value);
			return true;
		case CASHOID:
			*result = DirectFunctionCall1(cash_numeric, value);
			return true;
		default:
			return false;
	}
}

static bool
role_as_numeric(const DealContext *deal, const Datum *values, const bool *nulls,
				DealRole role, Datum *result)
{
	AttrNumber	attnum = deal->table->role[role];

	return attnum != InvalidAttrNumber && !nulls[attnum - 1] &&
		as_numeric(TupleDescAttr(RelationGetDescr(deal->rel), attnum - 1)->atttypid,
				   values[attnum - 1], result);
}

bool
amount_is_generated(const DealContext *deal)
{
	static const DealRole roles[] = {ROLE_AMOUNT, ROLE_CURRENCY};

	for (int i = 0; i < (int) lengthof(roles); i++)
	{
		AttrNumber	attnum = deal->table->role[roles[i]];

		if (attnum != InvalidAttrNumber &&
			TupleDescAttr(RelationGetDescr(deal->rel), attnum - 1)->attgenerated != '\0')
			return true;
	}
	return false;
}

bool
currency_differs(const DealContext *deal)
{
	DealContext row = deal_as_it_was(deal);
	const char *now = role_text(deal, ROLE_CURRENCY);
	const char *before = role_text(&row, ROLE_CURRENCY);

	if (now == NULL)
		now = deal->table->currency;
	if (before == NULL)
		before = deal->table->currency;
	return now == NULL || before == NULL ? now != before : strcmp(now, before) != 0;
}

bool
amount_is_above(const DealContext *deal, const Datum *values, const bool *nulls,
				const ApprovalDef *approval)
{
	DealContext row = *deal;
	const char *currency;
	const char *threshold_currency = approval->currency != NULL ?
		approval->currency : deal->table->currency;
	Datum		amount;

	if (!role_as_numeric(deal, values, nulls, ROLE_AMOUNT, &amount))
		return false;
	row.values = values;
	row.nulls = nulls;
	currency = role_text(&row, ROLE_CURRENCY);
	if (currency == NULL)
		currency = deal->table->currency;
	if (currency != NULL && threshold_currency != NULL && strcmp(currency, threshold_currency) != 0)
		return DatumGetBool(DirectFunctionCall2(numeric_gt, amount,
												DirectFunctionCall1(int4_numeric, Int32GetDatum(0))));
	return DatumGetBool(DirectFunctionCall2(numeric_gt, amount, approval->above));
}

int32
pipeline_by_deal_type(const DealContext *deal, int32 layout_id)
{
	int			ntypes;
	const DealTypeDef *types = definitions_deal_types(layout_id, &ntypes);

	for (int i = 0; i < ntypes; i++)
	{
		AttrNumber	attnum = deals_column(deal->table, RelationGetDescr(deal->rel),
										  types[i].column);
		char	   *value = attnum == InvalidAttrNumber ? NULL : column_text(deal, attnum);

		if (value != NULL && strcmp(value, types[i].value) == 0)
			return types[i].pipeline_id;
	}
	return 0;
}

/* an integer number of hundredths as numeric; no division, which would round */
static Datum
hundredths(Datum number)
{
	return DirectFunctionCall2(numeric_mul,
							   DirectFunctionCall1(int4_numeric, number),
							   DirectFunctionCall3(numeric_in, CStringGetDatum("0.01"),
												   ObjectIdGetDatum(InvalidOid),
												   Int32GetDatum(-1)));
}

/*
 * The deal's own probability in percent, as _column() has it.  An application
 * that writes fractions of 1 may write other things as well, which say nothing.
 */
static bool
own_probability(const DealContext *deal, const Datum *values, const bool *nulls,
				Datum *percent)
{
	JsonbValue	key;
	JsonbValue *scale;
	bool		is_fraction;
	Datum		limit;

	if (!role_as_numeric(deal, values, nulls, ROLE_PROBABILITY, percent))
		return false;
	key.type = jbvString;
	key.val.string.val = "scale";
	key.val.string.len = strlen("scale");
	scale = deal->table->settings == (Datum) 0 ? NULL :
		findJsonbValueFromContainer(&DatumGetJsonbP(deal->table->settings)->root,
									JB_FOBJECT, &key);
	if (scale == NULL || scale->type == jbvNull)
		return true;

	is_fraction = scale->type == jbvString &&
		scale->val.string.len == strlen("fraction") &&
		memcmp(scale->val.string.val, "fraction", strlen("fraction")) == 0;
	limit = DirectFunctionCall1(int4_numeric, Int32GetDatum(is_fraction ? 1 : 100));
	if (!DatumGetBool(DirectFunctionCall2(numeric_ge, *percent, hundredths(Int32GetDatum(0)))) ||
		!DatumGetBool(DirectFunctionCall2(numeric_le, *percent, limit)))
		return false;
	if (is_fraction)
		*percent = DirectFunctionCall2(numeric_mul, *percent,
									   DirectFunctionCall1(int4_numeric, Int32GetDatum(100)));
	*percent = DirectFunctionCall2(numeric_round, *percent, Int32GetDatum(2));
	return true;
}

bool
weighted_amount(const DealContext *deal, const Datum *values, const bool *nulls,
				const DealState *state, Datum *weighted)
{
	const PipelineDef *pipeline = definitions_pipeline(state->pipeline_id);
	const StageDef *stage = pipeline == NULL ? NULL :
		definitions_stage(pipeline, state->stage_id);
	AttrNumber	category = deal->table->role[ROLE_FORECAST_CATEGORY];
	bool		omitted;
	Datum		amount;
	Datum		percent;

	if (stage == NULL || !role_as_numeric(deal, values, nulls, ROLE_AMOUNT, &amount))
		return false;
	if (OUTCOME_IS_CLOSED(stage->outcome))
		omitted = stage->outcome != OUTCOME_WON;
	else if (category != InvalidAttrNumber && !nulls[category - 1])
	{
		DealContext row = *deal;

		row.values = values;
		row.nulls = nulls;
		omitted = strcmp(column_text(&row, category), "omitted") == 0;
	}
	else
		omitted = stage->omitted;

	if (omitted || OUTCOME_IS_CLOSED(stage->outcome) ||
		!own_probability(deal, values, nulls, &percent))
		percent = hundredths(Int32GetDatum(omitted ? 0 : stage->probability));
	*weighted = DirectFunctionCall2(numeric_mul,
									DirectFunctionCall2(numeric_mul, amount, percent),
									hundredths(Int32GetDatum(1)));
	return true;
}
