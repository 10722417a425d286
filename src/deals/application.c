/*-------------------------------------------------------------------------
 *
 * application.c
 *	  The application's own columns for the stage of an adopted table.
 *
 * An application that had its table before us goes on reading and writing
 * the stage in a column of its own (part "application_stage"), and perhaps
 * won or lost in another one (part "application_outcome").  This module owns
 * the translation between these columns and ours, whose dictionary is
 * pipelines.stage_value, and the filling of rows that were there before.
 *
 * The invariant: when a statement ends, the application's columns say the
 * stage that the deal is in.  Who changes one side moves the other; who
 * changes both must agree with himself.
 *
 * Must never judge a move, and must never run code that a table's owner
 * wrote, beside the input and output functions of the columns' types.  What
 * it does must follow from the old and the new row alone: a row is looked at
 * twice where triggers fire after ours.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_am.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "compat.h"
#include "deals/application.h"
#include "deals/deals.h"
#include "deals/requirements.h"
#include "definitions/conditions.h"
#include "definitions/definitions.h"
#include "definitions/privilege.h"
#include "errors.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteHandler.h"
#include "storage/bufmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/datum.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

PG_FUNCTION_INFO_V1(pipelines_adoption_instant);
PG_FUNCTION_INFO_V1(pipelines_is_condition);
PG_FUNCTION_INFO_V1(pipelines_register_adoption);
PG_FUNCTION_INFO_V1(pipelines_register_values);
PG_FUNCTION_INFO_V1(pipelines_adopt_fill);

/* one column of the application */
typedef struct ApplicationColumn
{
	AttrNumber	attnum;			/* InvalidAttrNumber: there is none */
	Oid			type;
	Oid			base_type;		/* below domains */
	int32		typmod;
	FmgrInfo	input;
	FmgrInfo	output;
	Oid			ioparam;
	bool		readable_names; /* a stage's name may stand for it */
	bool		writable_names; /* ... and be written */
	bool		has_default;	/* a constant one */
	Datum		default_value;
} ApplicationColumn;

typedef struct Application
{
	ApplicationColumn stage;
	ApplicationColumn outcome;
	char	   *open_outcome;	/* value for deals that are not closed; NULL: null */
	int32		home_pipeline;	/* where its deals went when it was adopted */
} Application;

/* is the column bound by a foreign key or, if asked for, by a check? */
static bool
is_bound(Relation rel, AttrNumber attnum, bool by_check)
{
	ListCell   *lc;

	foreach(lc, RelationGetFKeyList(rel))
	{
		ForeignKeyCacheInfo *fk = (ForeignKeyCacheInfo *) lfirst(lc);

		for (int i = 0; i < fk->nkeys; i++)
		{
			if (fk->conkey[i] == attnum)
				return true;
		}
	}
	if (by_check && rel->rd_att->constr != NULL)
	{
		for (int i = 0; i < rel->rd_att->constr->num_check; i++)
		{
			Bitmapset  *used = NULL;

			pull_varattnos(stringToNode(rel->rd_att->constr->check[i].ccbin), 1, &used);
			if (bms_is_member(attnum - FirstLowInvalidHeapAttributeNumber, used))
				return true;
		}
	}
	return false;
}

static bool
is_foreign_function(Oid funcid, void *context)
{
	return get_func_namespace(funcid) != PG_CATALOG_NAMESPACE;
}

/* does an expression call functions that are not the server's own? */
static bool
calls_foreign_code(Node *node, void *context)
{
	if (node == NULL)
		return false;
	return check_functions_in_node(node, is_foreign_function, context) ||
		expression_tree_walker(node, calls_foreign_code, context);
}

static void
describe_column(ApplicationColumn *column, Relation rel, AttrNumber attnum)
{
	Form_pg_attribute att;
	Oid			input;
	Oid			output;
	bool		varlena;
	bool		is_text;

	column->attnum = attnum;
	if (attnum == InvalidAttrNumber)
		return;
	att = TupleDescAttr(RelationGetDescr(rel), attnum - 1);
	column->type = att->atttypid;
	column->typmod = att->atttypmod;
	column->base_type = getBaseType(att->atttypid);
	getTypeInputInfo(column->type, &input, &column->ioparam);
	getTypeOutputInfo(column->type, &output, &varlena);
	fmgr_info_cxt(input, &column->input, CurrentMemoryContext);
	fmgr_info_cxt(output, &column->output, CurrentMemoryContext);

	is_text = column->base_type == TEXTOID || column->base_type == VARCHAROID;
	column->readable_names = (is_text || type_is_enum(column->base_type)) &&
		!is_bound(rel, attnum, false);
	column->writable_names = column->readable_names &&
		!is_bound(rel, attnum, true) &&
		!(column->type != column->base_type && compat_domain_has_constraints(column->type));

	if (att->atthasdef && att->attgenerated == '\0')
	{
		Node	   *expression = build_column_default(rel, attnum);

		/* planning calls what is immutable */
		if (expression != NULL && !calls_foreign_code(expression, NULL))
			expression = (Node *) expression_planner((Expr *) expression);
		if (expression != NULL && IsA(expression, Const) &&
			!((Const *) expression)->constisnull)
		{
			column->has_default = true;
			column->default_value = datumCopy(((Const *) expression)->constvalue,
											  att->attbyval, att->attlen);
		}
	}
}

void
application_describe(DealsTable *table, Relation rel)
{
	Application *application;

	if (table->role[ROLE_APPLICATION_STAGE] == InvalidAttrNumber)
		return;
	application = palloc0(sizeof(Application));
	describe_column(&application->stage, rel, table->role[ROLE_APPLICATION_STAGE]);
	describe_column(&application->outcome, rel, table->role[ROLE_APPLICATION_OUTCOME]);
	if (table->settings != (Datum) 0)
	{
		Jsonb	   *settings = DatumGetJsonbP(table->settings);
		JsonbValue	key;
		JsonbValue *value;

		key.type = jbvString;
		key.val.string.val = pstrdup("open_outcome");
		key.val.string.len = strlen("open_outcome");
		value = findJsonbValueFromContainer(&settings->root, JB_FOBJECT, &key);
		if (value != NULL && value->type == jbvString)
			application->open_outcome = pnstrdup(value->val.string.val,
												 value->val.string.len);
		key.val.string.val = pstrdup("pipeline");
		key.val.string.len = strlen("pipeline");
		value = findJsonbValueFromContainer(&settings->root, JB_FOBJECT, &key);
		if (value != NULL && value->type == jbvNumeric)
			application->home_pipeline =
				DatumGetInt32(DirectFunctionCall1(numeric_int4,
												  NumericGetDatum(value->val.numeric)));
	}
	table->application = application;
}

/*
 * A value as stage_value has it: like a cast to text, and empty for NULL.
 */
static char *
value_text(ApplicationColumn *column, Datum value, bool isnull)
{
	char	   *text;

	if (isnull)
		return pstrdup("");
	if (column->base_type == BOOLOID)
		return pstrdup(DatumGetBool(value) ? "true" : "false");
	text = OutputFunctionCall(&column->output, value);
	if (column->base_type == BPCHAROID)
	{
		int			length = strlen(text);

		while (length > 0 && text[length - 1] == ' ')
			text[--length] = '\0';
	}
	return text;
}

/* the entry for a value; NULL: not listed */
static const StageValueDef *
find_value(const DealsTable *table, bool is_outcome, const char *value)
{
	int			high;
	int			low = 0;
	const StageValueDef *values = definitions_stage_values(table->root, &high);

	/* those of the stage come first, each part sorted by strcmp() */
	while (low < high)
	{
		int			middle = low + (high - low) / 2;
		const StageValueDef *at = &values[middle];
		int			order = at->is_outcome == is_outcome ? strcmp(at->value, value) :
			(at->is_outcome ? 1 : -1);

		if (order == 0)
			return at;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

/* the entry whose value is written for a stage; NULL: none */
static const StageValueDef *
find_written(const DealsTable *table, bool is_outcome, int32 stage_id)
{
	int			count;
	const StageValueDef *values = definitions_stage_values(table->root, &count);

	for (int i = 0; i < count; i++)
	{
		if (values[i].stage_id == stage_id && values[i].is_written &&
			values[i].is_outcome == is_outcome)
			return &values[i];
	}
	return NULL;
}

static const PipelineDef *
pipeline_of(const DealsTable *table, int32 pipeline_id)
{
	return pipeline_id != 0 ? definitions_pipeline(pipeline_id) :
		definitions_standard_pipeline(table->layout_id);
}

/* the same for messages, what is hidden does not exist; or NULL */
static const PipelineDef *
shown_pipeline(const DealsTable *table, int32 pipeline_id)
{
	const PipelineDef *pipeline = pipeline_of(table, pipeline_id);

	return pipeline == NULL || definitions_hidden_in(pipeline, table->root) ? NULL : pipeline;
}

/*
 * A new deal that names no pipeline goes where those went that were there
 * when the table was adopted, unless its type or its stage says otherwise.
 */
static void
choose_pipeline(const DealContext *deal, DealState *state, int32 said)
{
	const DealsTable *table = deal->table;
	const PipelineDef *pipeline;

	if (state->pipeline_id != 0)
		return;
	pipeline = definitions_pipeline(table->application->home_pipeline);
	if (pipeline == NULL || pipeline->archived ||
		definitions_hidden_in(pipeline, table->root) ||
		pipeline_by_deal_type(deal, pipeline->layout_id) != 0)
		return;
	if (said != 0 && definitions_stage(pipeline, said) == NULL)
		return;
	state->pipeline_id = pipeline->pipeline_id;
}

/* a value of a stage that was merged stands for the one that took over */
static int32
merged_stage(const DealsTable *table, int32 pipeline_id, int32 stage_id)
{
	const PipelineDef *pipeline = pipeline_of(table, pipeline_id);
	const StageDef *stage = pipeline == NULL ? NULL : definitions_stage(pipeline, stage_id);

	/* a chain of mergers, but never round */
	for (int i = 0; stage != NULL && stage->merged_into != 0 && i < pipeline->nstages; i++)
		stage = definitions_stage(pipeline, stage->merged_into);
	return stage == NULL ? stage_id : stage->stage_id;
}

/*
 * The stage that the application's columns say; 0: none that is known.  Won
 * or lost, where the application says so apart, comes before the stage.
 */
static int32
said_stage(const DealsTable *table, const Datum *values, const bool *nulls,
		   int32 pipeline_id)
{
	Application *application = table->application;
	ApplicationColumn *column = &application->outcome;
	const StageValueDef *found;
	const PipelineDef *pipeline;
	char	   *text;

	if (column->attnum != InvalidAttrNumber)
	{
		int			c = column->attnum - 1;

		found = find_value(table, true, value_text(column, values[c], nulls[c]));
		if (found != NULL)
			return merged_stage(table, pipeline_id, found->stage_id);
	}

	column = &application->stage;
	text = value_text(column, values[column->attnum - 1], nulls[column->attnum - 1]);
	found = find_value(table, false, text);
	if (found != NULL)
		return merged_stage(table, pipeline_id, found->stage_id);
	if (!column->readable_names || nulls[column->attnum - 1])
		return 0;
	pipeline = pipeline_of(table, pipeline_id);
	for (int i = 0; pipeline != NULL && i < pipeline->nstages; i++)
	{
		if (!pipeline->stages[i].archived && strcmp(pipeline->stages[i].name, text) == 0)
			return pipeline->stages[i].stage_id;
	}
	return 0;
}

/* "a", "b", ... for messages: the values of the pipeline's stages, else their names */
static char *
known_values(const DealContext *deal, int32 pipeline_id)
{
	const DealsTable *table = deal->table;
	const PipelineDef *pipeline = shown_pipeline(table, pipeline_id);
	StringInfoData buf;
	int			count;
	const StageValueDef *values = definitions_stage_values(table->root, &count);
	int			listed = 0;

	initStringInfo(&buf);
	for (int i = 0; i < count; i++)
	{
		if (values[i].is_outcome || values[i].value[0] == '\0' || pipeline == NULL ||
			definitions_stage(pipeline, values[i].stage_id) == NULL)
			continue;
		if (listed++ == 20)
		{
			appendStringInfoString(&buf, ", ...");
			break;
		}
		appendStringInfo(&buf, "%s\"%s\"", buf.len > 0 ? ", " : "", values[i].value);
	}
	for (int i = 0; listed == 0 && pipeline != NULL && i < pipeline->nstages; i++)
	{
		if (table->application->stage.readable_names && !pipeline->stages[i].archived)
			appendStringInfo(&buf, "%s\"%s\"", buf.len > 0 ? ", " : "",
							 pipeline->stages[i].name);
	}
	return buf.data;
}

static char *
label(const DealContext *deal)
{
	return deal_label(deal->table, RelationGetDescr(deal->rel),
					  deal->values, deal->nulls);
}

static const char *
column_name(const DealContext *deal, AttrNumber attnum)
{
	return NameStr(TupleDescAttr(RelationGetDescr(deal->rel), attnum - 1)->attname);
}

static char *
stage_name(const DealsTable *table, int32 pipeline_id, int32 stage_id)
{
	const PipelineDef *pipeline = shown_pipeline(table, pipeline_id);
	const StageDef *stage = pipeline == NULL ? NULL : definitions_stage(pipeline, stage_id);

	return stage == NULL ? psprintf("%d", stage_id) : psprintf("\"%s\"", stage->name);
}

/* note why; returns false, for the caller to return */
static bool
refuse(Refusal *refusal, int sqlerrcode, AttrNumber column,
	   char *message, char *detail, char *hint)
{
	memset(refusal, 0, sizeof(Refusal));
	refusal->sqlerrcode = sqlerrcode;
	refusal->column = column;
	refusal->message = message;
	refusal->detail = detail;
	refusal->hint = hint;
	return false;
}

static char *
root_name(const DealsTable *table)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(table->root)),
									  get_rel_name(table->root));
}

static bool
unknown_value(const DealContext *deal, int32 pipeline_id, const Datum *values,
			  const bool *nulls, Refusal *refusal)
{
	ApplicationColumn *column = &deal->table->application->stage;
	int			c = column->attnum - 1;
	char	   *value = value_text(column, values[c], nulls[c]);

	return refuse(refusal, ERRCODE_PIPELINES_UNKNOWN_STAGE, column->attnum,
				  nulls[c] ?
				  psprintf("NULL in column \"%s\" of table \"%s\" stands for no stage",
						   column_name(deal, column->attnum),
						   RelationGetRelationName(deal->rel)) :
				  psprintf("value \"%s\" of column \"%s\" of table \"%s\" stands for no stage",
						   value, column_name(deal, column->attnum),
						   RelationGetRelationName(deal->rel)),
				  psprintf("Refused for %s.  Values that stand for one: %s.",
						   label(deal), known_values(deal, pipeline_id)),
				  psprintf("Say which stage it stands for: SELECT pipelines.add_stage_value('%s', %s, ...).",
						   root_name(deal->table), quote_literal_cstr(value)));
}

static bool
stages_disagree(const DealContext *deal, int32 said, const DealState *state,
				const Datum *values, const bool *nulls, Refusal *refusal)
{
	ApplicationColumn *column = &deal->table->application->stage;
	int			c = column->attnum - 1;
	const char *later = deal->old_values == NULL ? deal->table->later_insert :
		deal->table->later_update;

	return refuse(refusal, ERRCODE_PIPELINES_STAGES_DISAGREE, deal->table->role[ROLE_STAGE_ID],
				  psprintf("columns \"%s\" and \"%s\" of table \"%s\" say different stages",
						   column_name(deal, column->attnum),
						   column_name(deal, deal->table->role[ROLE_STAGE_ID]),
						   RelationGetRelationName(deal->rel)),
				  psprintf("Refused for %s: the application's \"%s\" stands for stage %s, but stage %s was given.%s%s%s",
						   label(deal), value_text(column, values[c], nulls[c]),
						   stage_name(deal->table, state->pipeline_id, said),
						   stage_name(deal->table, state->pipeline_id, state->stage_id),
						   later == NULL ? "" : "  These triggers fire after ours: ",
						   later == NULL ? "" : later, later == NULL ? "" : "."),
				  "Set one of them; the other one follows.");
}

static bool
is_default(ApplicationColumn *column, Relation rel, const Datum *values, const bool *nulls)
{
	int			c = column->attnum - 1;
	Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), c);

	if (nulls[c])
		return true;
	return column->has_default &&
		datum_image_eq(values[c], column->default_value, att->attbyval, att->attlen);
}

static bool
is_changed(const ApplicationColumn *column, const DealContext *deal)
{
	int			c = column->attnum - 1;
	Form_pg_attribute att;

	if (c < 0)
		return false;
	if (deal->nulls[c] || deal->old_nulls[c])
		return deal->nulls[c] != deal->old_nulls[c];
	att = TupleDescAttr(RelationGetDescr(deal->rel), c);
	return !datum_image_eq(deal->old_values[c], deal->values[c], att->attbyval, att->attlen);
}

bool
application_is_silent(const DealContext *deal)
{
	Application *application = deal->table->application;
	int			nvalues;

	(void) definitions_stage_values(deal->table->root, &nvalues);
	return (nvalues > 0 || deal->nulls[application->stage.attnum - 1]) &&
		is_default(&application->stage, deal->rel, deal->values, deal->nulls) &&
		(application->outcome.attnum == InvalidAttrNumber ||
		 is_default(&application->outcome, deal->rel, deal->values, deal->nulls));
}

bool
application_follow(const DealContext *deal, const DealState *old, DealState *state,
				   Refusal *refusal)
{
	const DealsTable *table = deal->table;
	Application *application = table->application;
	const Datum *values = deal->values;
	const bool *nulls = deal->nulls;
	int32		pipeline_id = state->pipeline_id;
	int32		said;

	if (old == NULL)
	{
		if (state->stage_id != 0 && application_is_silent(deal))
		{
			choose_pipeline(deal, state, state->stage_id);
			return true;
		}
		said = said_stage(table, values, nulls,
						  pipeline_id != 0 ? pipeline_id : application->home_pipeline);
		choose_pipeline(deal, state, said);
		if (said == 0)
			return nulls[application->stage.attnum - 1] ||
				unknown_value(deal, state->pipeline_id, values, nulls, refusal);
		if (state->stage_id == 0)
			state->stage_id = said;
		else if (state->stage_id != said)
			return stages_disagree(deal, said, state, values, nulls, refusal);
		return true;
	}

	if (!is_changed(&application->stage, deal) && !is_changed(&application->outcome, deal))
		return true;
	said = said_stage(table, values, nulls, pipeline_id);
	if (said == 0)
		return unknown_value(deal, state->pipeline_id, values, nulls, refusal);
	if (said == state->stage_id)
		return true;
	if (state->stage_id != old->stage_id &&
		!(state->stage_id == 0 && state->pipeline_id != old->pipeline_id))
		return stages_disagree(deal, said, state, values, nulls, refusal);
	state->stage_id = said;
	return true;
}

void
application_keep(const DealContext *deal, Datum *values, bool *nulls)
{
	const Application *application = deal->table->application;
	const AttrNumber columns[] = {application->stage.attnum, application->outcome.attnum};

	for (int i = 0; i < (int) lengthof(columns); i++)
	{
		int			c = columns[i] - 1;

		if (c < 0)
			continue;
		values[c] = deal->old_values[c];
		nulls[c] = deal->old_nulls[c];
	}
}

/*
 * The refusal of a stage that the application's column can't hold.
 */
static bool
unwritable(const DealContext *deal, const DealState *state, const char *detail,
		   Refusal *refusal)
{
	AttrNumber	attnum = deal->table->application->stage.attnum;

	return refuse(refusal, ERRCODE_PIPELINES_STAGE_UNWRITABLE, attnum,
				  psprintf("column \"%s\" of table \"%s\" has no value for stage %s",
						   column_name(deal, attnum), RelationGetRelationName(deal->rel),
						   stage_name(deal->table, state->pipeline_id, state->stage_id)),
				  psprintf("%s  Refused for %s.", detail, label(deal)),
				  psprintf("Let the application's column take such a value, and say so: SELECT pipelines.add_stage_value('%s', ...).",
						   root_name(deal->table)));
}

static void
set_value(ApplicationColumn *column, Datum *values, bool *nulls, const char *text)
{
	int			c = column->attnum - 1;

	nulls[c] = text == NULL;
	values[c] = text == NULL ? (Datum) 0 :
		InputFunctionCall(&column->input, pstrdup(text), column->ioparam,
						  column->typmod);
}

/* the application's own column for the stage gets the value of that stage */
static bool
write_stage(const DealContext *deal, const DealState *state, Datum *values, bool *nulls,
			Refusal *refusal)
{
	const DealsTable *table = deal->table;
	ApplicationColumn *column = &table->application->stage;
	const StageValueDef *found = find_written(table, false, state->stage_id);
	const PipelineDef *pipeline = pipeline_of(table, state->pipeline_id);
	const StageDef *stage = definitions_stage(pipeline, state->stage_id);

	if (found != NULL)
	{
		set_value(column, values, nulls, found->value);
		return true;
	}
	if (column->base_type != column->type && compat_domain_has_constraints(column->type))
		return unwritable(deal, state, "Its domain allows certain values only.", refusal);
	if (type_is_enum(column->base_type))
	{
		if (!SearchSysCacheExists2(ENUMTYPOIDNAME, ObjectIdGetDatum(column->base_type),
								   CStringGetDatum(stage->name)))
			return unwritable(deal, state, "Its enum type has no such label.", refusal);
	}
	else if (!column->writable_names)
		return unwritable(deal, state, "Its type or its constraints allow certain values only.", refusal);
	else if (column->base_type == VARCHAROID && column->typmod >= (int32) VARHDRSZ &&
			 pg_mbstrlen(stage->name) > column->typmod - (int32) VARHDRSZ)
		return unwritable(deal, state, "The name of the stage is too long for it.", refusal);
	set_value(column, values, nulls, stage->name);
	return true;
}

bool
application_write(const DealContext *deal, const DealState *old,
				  Datum *values, bool *nulls, const DealState *state,
				  bool *replaced, Refusal *refusal)
{
	const DealsTable *table = deal->table;
	Application *application = table->application;
	ApplicationColumn *stage = &application->stage;
	ApplicationColumn *outcome = &application->outcome;
	const StageValueDef *closing = NULL;

	*replaced = false;
	if (old != NULL && old->stage_id == state->stage_id)
		return true;
	if (state->stage_id == 0 ||
		said_stage(table, values, nulls, state->pipeline_id) == state->stage_id)
		return true;

	*replaced = true;
	if (outcome->attnum != InvalidAttrNumber)
	{
		int			c = outcome->attnum - 1;

		closing = find_written(table, true, state->stage_id);
		if (closing != NULL)
			set_value(outcome, values, nulls, closing->value);
		else if (find_value(table, true, value_text(outcome, values[c], nulls[c])) != NULL)
			set_value(outcome, values, nulls, application->open_outcome);
	}
	if (closing == NULL || find_written(table, false, state->stage_id) != NULL)
	{
		if (!write_stage(deal, state, values, nulls, refusal))
			return false;
	}
	else if (nulls[stage->attnum - 1] &&
			 TupleDescAttr(RelationGetDescr(deal->rel), stage->attnum - 1)->attnotnull)
	{
		/* closed at once: the column must say something all the same */
		const PipelineDef *pipeline = pipeline_of(table, state->pipeline_id);

		for (int i = 0; i < pipeline->nstages; i++)
		{
			const StageValueDef *first = find_written(table, false, pipeline->stages[i].stage_id);

			if (first == NULL)
				continue;
			set_value(stage, values, nulls, first->value);
			break;
		}
	}

	return said_stage(table, values, nulls, state->pipeline_id) == state->stage_id ||
		unwritable(deal, state, "The value that would be written for it stands for another stage.",
				   refusal);
}

/* the first instant of a day in a time zone; false: no timestamp goes so far */
static bool
beginning_of_day(DateADT day, pg_tz *tz, TimestampTz *instant)
{
	struct pg_tm tm;
	int			offset;

	memset(&tm, 0, sizeof(tm));
	j2date(day + POSTGRES_EPOCH_JDATE, &tm.tm_year, &tm.tm_mon, &tm.tm_mday);
	offset = DetermineTimeZoneOffset(&tm, tz);
	return tm2timestamp(&tm, 0, &offset, instant) == 0;
}

static DateADT
day_of_instant(TimestampTz instant, pg_tz *tz)
{
	struct pg_tm tm;
	fsec_t		fsec;
	int			offset;

	if (timestamp2tm(instant, &offset, &tm, &fsec, NULL, tz) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	return date2j(tm.tm_year, tm.tm_mon, tm.tm_mday) - POSTGRES_EPOCH_JDATE;
}

/*
 * The instant that a column of the application says, by the clock of the
 * pipeline where it knows no zones.  False: none, or none that has passed.
 */
static bool
said_instant(const DealContext *deal, AttrNumber attnum, const Datum *values,
			 const bool *nulls, pg_tz *tz, TimestampTz latest, TimestampTz *instant)
{
	Oid			type;

	if (attnum == InvalidAttrNumber || nulls[attnum - 1])
		return false;
	type = getBaseType(TupleDescAttr(RelationGetDescr(deal->rel), attnum - 1)->atttypid);
	if (type == DATEOID)
	{
		DateADT		day = DatumGetDateADT(values[attnum - 1]);

		if (DATE_NOT_FINITE(day) || !IS_VALID_DATE(day) || !beginning_of_day(day, tz, instant))
			return false;
	}
	else if (type == TIMESTAMPTZOID)
		*instant = DatumGetTimestampTz(values[attnum - 1]);
	else if (type == TIMESTAMPOID)
	{
		Timestamp	local = DatumGetTimestamp(values[attnum - 1]);
		struct pg_tm tm;
		fsec_t		fsec;
		int			offset;

		if (TIMESTAMP_NOT_FINITE(local) ||
			timestamp2tm(local, NULL, &tm, &fsec, NULL, NULL) != 0)
			return false;
		offset = DetermineTimeZoneOffset(&tm, tz);
		if (tm2timestamp(&tm, fsec, &offset, instant) != 0)
			return false;
	}
	else
		return false;
	return !TIMESTAMP_NOT_FINITE(*instant) && *instant <= latest;
}

static void
fill(const DealsTable *table, DealRole role, Datum *values, bool *nulls, Datum value)
{
	AttrNumber	attnum = table->role[role];

	if (attnum == InvalidAttrNumber)
		return;
	values[attnum - 1] = value;
	nulls[attnum - 1] = false;
}

bool
application_complete(const DealContext *deal, Datum *values, bool *nulls, bool strict)
{
	const DealsTable *table = deal->table;
	int			a_pipeline = table->role[ROLE_PIPELINE_ID] - 1;
	int			a_changed = table->role[ROLE_CHANGED_AT] - 1;
	const PipelineDef *pipeline;
	const StageDef *stage;
	TimestampTz adopted_at;
	TimestampTz instant;
	int32		stage_id;

	if (!nulls[table->role[ROLE_STAGE_ID] - 1] || nulls[a_pipeline] || nulls[a_changed])
		return false;
	pipeline = definitions_pipeline(DatumGetInt32(values[a_pipeline]));
	stage_id = pipeline == NULL ? 0 :
		said_stage(table, values, nulls, pipeline->pipeline_id);
	stage = stage_id == 0 ? NULL : definitions_stage(pipeline, stage_id);
	if (stage == NULL)
	{
		Refusal		refusal;

		if (strict)
		{
			(void) unknown_value(deal, pipeline == NULL ? 0 : pipeline->pipeline_id,
								 values, nulls, &refusal);
			refuse_now(deal, &refusal);
		}
		return false;
	}

	adopted_at = DatumGetTimestampTz(values[a_changed]);
	fill(table, ROLE_STAGE_ID, values, nulls, Int32GetDatum(stage_id));
	fill(table, ROLE_FURTHEST_STAGE_ID, values, nulls, Int32GetDatum(stage_id));
	if (said_instant(deal, table->since, values, nulls, pipeline->tz, adopted_at, &instant))
		fill(table, ROLE_STAGE_ENTERED_AT, values, nulls, TimestampTzGetDatum(instant));
	if (OUTCOME_IS_CLOSED(stage->outcome))
	{
		AttrNumber	a_closed = table->role[ROLE_CLOSED_AT];
		AttrNumber	a_closed_on = table->role[ROLE_CLOSED_ON];

		/* the application's own instant and day of closing, where it has them */
		if (a_closed != InvalidAttrNumber && !nulls[a_closed - 1])
			instant = DatumGetTimestampTz(values[a_closed - 1]);
		else if (!said_instant(deal, a_closed_on, values, nulls, pipeline->tz, adopted_at, &instant) &&
				 !said_instant(deal, table->close_date, values, nulls, pipeline->tz,
							   adopted_at, &instant))
			instant = adopted_at;
		fill(table, ROLE_CLOSED_AT, values, nulls, TimestampTzGetDatum(instant));
		if (a_closed_on != InvalidAttrNumber && nulls[a_closed_on - 1])
			fill(table, ROLE_CLOSED_ON, values, nulls,
				 DateADTGetDatum(day_of_instant(instant, pipeline->tz)));
	}
	else
	{
		/* what is open has no closing, whatever the application left there */
		if (table->role[ROLE_CLOSED_AT] != InvalidAttrNumber)
			nulls[table->role[ROLE_CLOSED_AT] - 1] = true;
		if (table->role[ROLE_CLOSED_ON] != InvalidAttrNumber)
			nulls[table->role[ROLE_CLOSED_ON] - 1] = true;
	}
	return true;
}

/* ---------------------------------------------------------------- adoption */

Datum
pipelines_adoption_instant(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(deals_transaction_instant());
}

/* a column of the table itself: what stands in a view must have its name */
static AttrNumber
own_column(const char *name, void *arg)
{
	TupleDesc	desc = (TupleDesc) arg;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && strcmp(NameStr(att->attname), name) == 0)
			return att->attnum;
	}
	return InvalidAttrNumber;
}

/*
 * Is the text a condition over the columns of a table?  It goes into views, so
 * that it must not end a command and begin another; and it comes from
 * tracked_table, whose owner must not run code as whoever reads the views.
 */
Datum
pipelines_is_condition(PG_FUNCTION_ARGS)
{
	Relation	rel = open_given_table(PG_GETARG_OID(0), AccessShareLock);
	char	   *source = text_to_cstring(PG_GETARG_TEXT_PP(1));
	Condition  *condition = condition_parse(source, RelationGetDescr(rel), own_column,
											RelationGetDescr(rel),
											text_to_cstring(PG_GETARG_TEXT_PP(2)));

	relation_close(rel, AccessShareLock);
	/* what a backslash means is a setting's to say */
	PG_RETURN_BOOL(condition->expr != NULL && strchr(source, '\\') == NULL);
}

static void
need_owner(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	if (!has_privs_of_role(GetUserId(), owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of table %s", get_rel_name(relid))));
}

/*
 * _register_adoption(relation, application, live)
 *
 * Notes in tracked_table what concerns an adopted table alone.
 */
Datum
pipelines_register_adoption(PG_FUNCTION_ARGS)
{
	Oid			types[3] = {REGCLASSOID, JSONBOID, TEXTOID};
	Datum		values[3];
	char		nulls[3];
	RunAs		saved;

	for (int i = 0; i < 3; i++)
	{
		values[i] = PG_ARGISNULL(i) ? (Datum) 0 : PG_GETARG_DATUM(i);
		nulls[i] = PG_ARGISNULL(i) ? 'n' : ' ';
	}
	if (PG_ARGISNULL(0))
		PG_RETURN_BOOL(false);
	need_owner(PG_GETARG_OID(0));

	run_as(definitions_owner(), &saved);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args("UPDATE pipelines.tracked_table SET"
							  " application = coalesce($2, '{}'), live = $3"
							  " WHERE relation OPERATOR(pg_catalog.=) $1",
							  3, types, values, nulls, false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "could not write \"tracked_table\"");
	SPI_finish();
	run_as_end(&saved);
	PG_RETURN_BOOL(true);
}

/*
 * _register_values(relation, part[], value[], stage_id[], is_written[], replace)
 *
 * Writes the dictionary of an adopted table: all of it anew, or what is given
 * beside what there is.
 */
Datum
pipelines_register_values(PG_FUNCTION_ARGS)
{
	Oid			types[5] = {REGCLASSOID, TEXTARRAYOID, TEXTARRAYOID, INT4ARRAYOID, BOOLARRAYOID};
	Datum		values[5];
	bool		replace = PG_GETARG_BOOL(5);
	RunAs		saved;
	int64		written;

	for (int i = 0; i < 5; i++)
		values[i] = PG_GETARG_DATUM(i);
	need_owner(PG_GETARG_OID(0));

	run_as(definitions_owner(), &saved);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (replace &&
		SPI_execute_with_args("DELETE FROM pipelines.stage_value"
							  " WHERE relation OPERATOR(pg_catalog.=) $1",
							  1, types, values, NULL, false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not write \"stage_value\"");
	if (SPI_execute_with_args("INSERT INTO pipelines.stage_value AS v"
							  " (relation, part, value, stage_id, is_written)"
							  " SELECT $1, u.part, u.value, u.stage_id, u.is_written"
							  " FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3),"
							  " pg_catalog.unnest($4), pg_catalog.unnest($5))"
							  " AS u (part, value, stage_id, is_written)"
							  " ON CONFLICT (relation, part, value) DO UPDATE"
							  " SET stage_id = excluded.stage_id, is_written = excluded.is_written",
							  5, types, values, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not write \"stage_value\"");
	written = (int64) SPI_processed;
	SPI_finish();
	run_as_end(&saved);
	PG_RETURN_INT64(written);
}

/*
 * _adopt_fill(relation, first block, blocks): complete the rows of one plain
 * table that were there before it was adopted.
 *
 * Below the executor: no trigger of the application fires, since nothing
 * happened to its deals (updated_at stays), and no policy hides a row.  A row
 * that somebody else changes at the same time is left to his trigger, or to
 * the next call.  Returns how many rows were completed.
 */
Datum
pipelines_adopt_fill(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	int64		first = PG_GETARG_INT64(1);
	int64		blocks = PG_GETARG_INT64(2);
	Relation	rel;
	TupleDesc	tupdesc;
	DealsTable *table;
	Snapshot	snapshot;
	TableScanDesc scan;
	TupleTableSlot *slot;
	TupleTableSlot *new_slot;
	EState	   *estate;
	ResultRelInfo *relinfo;
	MemoryContext per_row;
	RunAs		saved;
	CommandId	cid;
	int			a_stage;
	int64		filled = 0;

	need_owner(relid);
	rel = table_open(relid, RowExclusiveLock);
	tupdesc = RelationGetDescr(rel);
	if (rel->rd_rel->relkind != RELKIND_RELATION)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a table with rows of its own", RelationGetRelationName(rel)),
				 errhint("Name each partition.")));
	definitions_lock();
	table = deals_table(rel, true);
	if (table->application == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" was not adopted", RelationGetRelationName(rel)),
				 errhint("Use pipelines.adopt().")));
	CheckCmdReplicaIdentity(rel, CMD_UPDATE);
	a_stage = table->role[ROLE_STAGE_ID];

	/* expressions of indexes are the table owner's code */
	run_as(rel->rd_rel->relowner, &saved);
	CommandCounterIncrement();
	cid = GetCurrentCommandId(true);
	/* as when a table is rewritten: what was read before decides nothing here */
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	estate = CreateExecutorState();
	relinfo = makeNode(ResultRelInfo);
	InitResultRelInfo(relinfo, rel, 1, NULL, 0);
	ExecOpenIndices(relinfo, false);
	slot = table_slot_create(rel, NULL);
	new_slot = MakeSingleTupleTableSlot(tupdesc, &TTSOpsVirtual);
	per_row = AllocSetContextCreate(CurrentMemoryContext, "pipelines adoption",
									ALLOCSET_DEFAULT_SIZES);

	scan = table_beginscan_strat(rel, snapshot, 0, NULL, true, false);
	if (blocks > 0 && rel->rd_rel->relam == HEAP_TABLE_AM_OID)
	{
		int64		end = RelationGetNumberOfBlocks(rel);

		if (first < end)
			heap_setscanlimits(scan, (BlockNumber) first,
							   (BlockNumber) Min(blocks, end - first));
		else
		{
			table_endscan(scan);
			scan = NULL;
		}
	}
	while (scan != NULL && table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		MemoryContext oldcontext;
		DealContext deal;
		bool		isnull;
		TM_Result	result;
		TM_FailureData failure;
		LockTupleMode lockmode;
		CompatUpdateIndexes indexes;

		CHECK_FOR_INTERRUPTS();
		(void) slot_getattr(slot, a_stage, &isnull);
		if (!isnull)
			continue;
		slot_getallattrs(slot);
		ExecClearTuple(new_slot);
		memcpy(new_slot->tts_values, slot->tts_values, sizeof(Datum) * tupdesc->natts);
		memcpy(new_slot->tts_isnull, slot->tts_isnull, sizeof(bool) * tupdesc->natts);

		oldcontext = MemoryContextSwitchTo(per_row);
		deal.rel = rel;
		deal.table = table;
		deal.values = new_slot->tts_values;
		deal.nulls = new_slot->tts_isnull;
		deal.old_values = NULL;
		deal.old_nulls = NULL;
		if (!application_complete(&deal, new_slot->tts_values, new_slot->tts_isnull, false))
		{
			MemoryContextSwitchTo(oldcontext);
			MemoryContextReset(per_row);
			continue;
		}
		ExecStoreVirtualTuple(new_slot);
		new_slot->tts_tableOid = relid;

		result = compat_table_update(rel, &slot->tts_tid, new_slot, cid, snapshot, &failure,
									 &lockmode, &indexes);
		if (result == TM_Ok)
		{
			filled++;
			compat_insert_indexes(relinfo, new_slot, estate, indexes);
		}
		MemoryContextSwitchTo(oldcontext);
		MemoryContextReset(per_row);
		ResetPerTupleExprContext(estate);
	}

	if (scan != NULL)
		table_endscan(scan);
	ExecDropSingleTupleTableSlot(new_slot);
	ExecDropSingleTupleTableSlot(slot);
	ExecCloseIndices(relinfo);
	FreeExecutorState(estate);
	MemoryContextDelete(per_row);
	UnregisterSnapshot(snapshot);
	run_as_end(&saved);
	table_close(rel, NoLock);
	PG_RETURN_INT64(filled);
}
