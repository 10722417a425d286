/*-------------------------------------------------------------------------
 *
 * bookkeeping.c
 *	  The triggers of the definition tables: versions, the past, news.
 *
 * Owns the columns version and changed_at of every definition table, and the
 * tables called <table>_history.  The invariant: a row of a definition table
 * is its own newest version, and each version that ended is exactly one row
 * of the twin, valid from its changed_at to that of the version after it;
 * the first version is valid since ever.  Further it tells every backend of
 * a change (see definitions.c), asks usage.c before anything is removed or
 * redefined that deals refer to, and references.c after anything was made or
 * removed that refers to other definitions.
 *
 * One BEFORE and one AFTER function serve all definition tables; what is
 * particular to one of them stands in complete_pipeline() and
 * judge_pipeline_stage().  Must never look at deals itself, and never depend
 * on the order in which definition tables are restored.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "compat.h"
#include "deals/deals.h"
#include "definitions/definitions_private.h"
#include "errors.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "pgtime.h"
#include "pipelines.h"
#include "replication/logicalworker.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

PG_FUNCTION_INFO_V1(pipelines_definition_turn);
PG_FUNCTION_INFO_V1(pipelines_definition_before);
PG_FUNCTION_INFO_V1(pipelines_definition_after);
PG_FUNCTION_INFO_V1(pipelines_definition_truncate);

/* while definitions_change_outcome() runs: the stage that it is about */
static const Redefinition *outcome_in_change = NULL;

/* a definition table as the triggers need it */
typedef struct Subject
{
	Relation	rel;
	TupleDesc	desc;
	Oid			root;			/* the table itself, where rel is a partition */
	const char *name;			/* of the root */
	Oid			twin;
	AttrNumber	version;
	AttrNumber	changed_at;
	Bitmapset  *key;			/* as RelationGetIndexAttrBitmap() has it */
	bool	   *tracked;		/* per column: does the twin have it, too? */
} Subject;

/* what a twin has beyond the columns of its table, in the order of append_past() */
#define N_PAST_COLUMNS	5

static const struct
{
	const char *name;
	Oid			type;
}			past_columns[N_PAST_COLUMNS] =
{
	{"valid_from", TIMESTAMPTZOID},
	{"valid_to", TIMESTAMPTZOID},
	{"change", TEXTOID},
	{"actor", TEXTOID},
	{"recorded_at", TIMESTAMPTZOID}
};

static AttrNumber
attribute_number(TupleDesc desc, const char *name)
{
	int			i;

	for (i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && strcmp(NameStr(att->attname), name) == 0)
			return i + 1;
	}
	return InvalidAttrNumber;
}

/*
 * Check how a trigger function was called, and find out what it works on.
 *
 * Anybody may create a trigger on a table of their own with our function; it
 * works for tables in our schema only, into which they can't create.
 */
static TriggerData *
begin_trigger(FunctionCallInfo fcinfo, const char *function, TriggerEvent timing,
			  Subject *subject)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	Relation	rel;
	Oid			schema;
	Relation	twin;
	int			i;

	if (!CALLED_AS_TRIGGER(fcinfo) ||
		(trigdata->tg_event & TRIGGER_EVENT_TIMINGMASK) != timing ||
		!TRIGGER_FIRED_FOR_ROW(trigdata->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be called by a row trigger of a definition table",
						function),
				 errhint("\"SELECT pipelines.setup();\" makes these triggers.")));

	rel = trigdata->tg_relation;
	schema = get_namespace_oid(PIPELINES_SCHEMA, true);
	memset(subject, 0, sizeof(*subject));
	subject->rel = rel;
	subject->desc = RelationGetDescr(rel);
	subject->root = RelationGetRelid(rel);
	if (rel->rd_rel->relispartition)
		subject->root = llast_oid(get_partition_ancestors(RelationGetRelid(rel)));
	subject->name = get_rel_name(subject->root);
	subject->version = attribute_number(subject->desc, "version");
	subject->changed_at = attribute_number(subject->desc, "changed_at");
	if (OidIsValid(schema) && get_rel_namespace(subject->root) == schema)
		subject->twin = get_relname_relid(psprintf("%s_history", subject->name), schema);

	if (!OidIsValid(subject->twin) ||
		subject->version == InvalidAttrNumber ||
		subject->changed_at == InvalidAttrNumber ||
		TupleDescAttr(subject->desc, subject->version - 1)->atttypid != INT4OID ||
		TupleDescAttr(subject->desc, subject->changed_at - 1)->atttypid != TIMESTAMPTZOID)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" is not a complete definition table",
						RelationGetRelationName(rel)),
				 errdetail("A definition table lies in schema \"%s\", has the columns \"version\" and \"changed_at\", and a table \"%s_history\" beside it.",
						   PIPELINES_SCHEMA, subject->name),
				 errhint(SETUP_HINT),
				 errtable(rel)));

	twin = table_open(subject->twin, AccessShareLock);
	if (twin->rd_rel->relowner != rel->rd_rel->relowner ||
		(twin->rd_rel->relkind != RELKIND_RELATION &&
		 twin->rd_rel->relkind != RELKIND_PARTITIONED_TABLE))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("\"%s\" is not a table of role \"%s\", who owns \"%s\"",
						RelationGetRelationName(twin),
						GetUserNameFromId(rel->rd_rel->relowner, true),
						RelationGetRelationName(rel)),
				 errhint("Find out who made it and drop it; then run \"SELECT pipelines.setup();\".")));

	subject->tracked = (bool *) palloc0(sizeof(bool) * subject->desc->natts);
	for (i = 0; i < subject->desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(subject->desc, i);

		subject->tracked[i] = !att->attisdropped &&
			attribute_number(RelationGetDescr(twin), NameStr(att->attname)) != InvalidAttrNumber;
	}
	table_close(twin, AccessShareLock);

	subject->key = RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_PRIMARY_KEY);
	if (bms_is_empty(subject->key))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the definition table \"%s\" has no primary key",
						RelationGetRelationName(rel)),
				 errhint(SETUP_HINT),
				 errtable(rel)));
	return trigdata;
}

/*
 * A regclass is kept in the past as text, since an oid means nothing after
 * the table is gone.
 */
static Datum
past_value(Oid type, Datum value)
{
	Oid			relid;
	char	   *name;

	if (type != REGCLASSOID)
		return value;
	relid = DatumGetObjectId(value);
	name = get_rel_name(relid);
	if (name == NULL)
		return CStringGetTextDatum(psprintf("%u", relid));
	return CStringGetTextDatum(quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
														  name));
}

static Oid
past_type(Oid type)
{
	return type == REGCLASSOID ? TEXTOID : type;
}

/* a value as text, for messages */
static char *
value_text(TupleDesc desc, HeapTuple tuple, AttrNumber attnum)
{
	bool		isnull;
	Datum		value;
	Oid			output;
	bool		is_varlena;

	value = heap_getattr(tuple, attnum, desc, &isnull);
	if (isnull)
		return "NULL";
	getTypeOutputInfo(TupleDescAttr(desc, attnum - 1)->atttypid, &output, &is_varlena);
	return OidOutputFunctionCall(output, value);
}

static char *
column_text(const Subject *subject, HeapTuple tuple, const char *column)
{
	AttrNumber	attnum = attribute_number(subject->desc, column);
	bool		isnull = true;

	if (attnum != InvalidAttrNumber)
		(void) heap_getattr(tuple, attnum, subject->desc, &isnull);
	return isnull ? NULL : value_text(subject->desc, tuple, attnum);
}

static int32
column_int(const Subject *subject, HeapTuple tuple, const char *column)
{
	AttrNumber	attnum = attribute_number(subject->desc, column);
	bool		isnull = true;
	Datum		value = 0;

	if (attnum != InvalidAttrNumber)
		value = heap_getattr(tuple, attnum, subject->desc, &isnull);
	return isnull ? 0 : DatumGetInt32(value);
}

static bool
column_null(const Subject *subject, HeapTuple tuple, const char *column)
{
	AttrNumber	attnum = attribute_number(subject->desc, column);
	bool		isnull = true;

	if (attnum != InvalidAttrNumber)
		(void) heap_getattr(tuple, attnum, subject->desc, &isnull);
	return isnull;
}

static bool
same_value(TupleDesc desc, HeapTuple a, HeapTuple b, AttrNumber attnum)
{
	Form_pg_attribute att = TupleDescAttr(desc, attnum - 1);
	bool		null_a;
	bool		null_b;
	Datum		value_a = heap_getattr(a, attnum, desc, &null_a);
	Datum		value_b = heap_getattr(b, attnum, desc, &null_b);

	if (null_a || null_b)
		return null_a && null_b;
	return datum_image_eq(value_a, value_b, att->attbyval, att->attlen);
}

/* do two versions differ in anything that is kept? */
static bool
is_changed(const Subject *subject, HeapTuple old_tuple, HeapTuple new_tuple)
{
	int			i;

	for (i = 0; i < subject->desc->natts; i++)
	{
		if (subject->tracked[i] &&
			i + 1 != subject->version && i + 1 != subject->changed_at &&
			!same_value(subject->desc, old_tuple, new_tuple, i + 1))
			return true;
	}
	return false;
}

/*
 * The instant of a change of a row that has been what it is since 'since'.
 */
static TimestampTz
instant_after(TimestampTz since)
{
	TimestampTz instant = deals_transaction_instant();

	if (!TIMESTAMP_NOT_FINITE(since) && instant <= since)
		instant = since + 1;
	return instant;
}

/*
 * The last version of a key that was deleted before, from the twin.  Reads
 * with the newest snapshot by the twin's primary key, without SQL: loads of
 * many rows pass here once per row.
 */
static bool
last_version(const Subject *subject, HeapTuple tuple,
			 int32 *version, TimestampTz *valid_to)
{
	Relation	twin = table_open(subject->twin, AccessShareLock);
	TupleDesc	twin_desc = RelationGetDescr(twin);
	AttrNumber	twin_version = attribute_number(twin_desc, "version");
	AttrNumber	twin_valid_to = attribute_number(twin_desc, "valid_to");
	ScanKeyData keys[INDEX_MAX_KEYS];
	int			nkeys = 0;
	List	   *indexes;
	SysScanDesc scan;
	Snapshot	snapshot;
	HeapTuple	past;
	bool		found = false;
	int			x = -1;

	if (twin->rd_rel->relkind != RELKIND_RELATION ||
		twin_version == InvalidAttrNumber || twin_valid_to == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" is not the past of a definition table",
						RelationGetRelationName(twin)),
				 errhint(SETUP_HINT),
				 errtable(twin)));

	while ((x = bms_next_member(subject->key, x)) >= 0)
	{
		Form_pg_attribute att =
			TupleDescAttr(subject->desc, x + FirstLowInvalidHeapAttributeNumber - 1);
		AttrNumber	twin_att = attribute_number(twin_desc, NameStr(att->attname));
		bool		isnull;
		Datum		value = heap_getattr(tuple, att->attnum, subject->desc, &isnull);
		Oid			type = past_type(att->atttypid);
		Oid			collation = get_typcollation(type);
		RegProcedure equal;

		/* a key without a value is refused by its constraint */
		if (isnull || twin_att == InvalidAttrNumber || nkeys >= INDEX_MAX_KEYS)
		{
			table_close(twin, AccessShareLock);
			return false;
		}
		equal = get_opcode(lookup_type_cache(type, TYPECACHE_EQ_OPR)->eq_opr);
		ScanKeyEntryInitialize(&keys[nkeys++], 0, twin_att, BTEqualStrategyNumber,
							   InvalidOid, collation, equal,
							   past_value(att->atttypid, value));
	}

	indexes = RelationGetIndexList(twin);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan = systable_beginscan(twin, twin->rd_pkindex, OidIsValid(twin->rd_pkindex),
							  snapshot, nkeys, keys);
	while (HeapTupleIsValid(past = systable_getnext(scan)))
	{
		bool		isnull;
		int32		this_version =
			DatumGetInt32(heap_getattr(past, twin_version, twin_desc, &isnull));

		if (!found || this_version > *version)
		{
			*version = this_version;
			*valid_to = DatumGetTimestampTz(heap_getattr(past, twin_valid_to,
														 twin_desc, &isnull));
		}
		found = true;
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	list_free(indexes);
	table_close(twin, AccessShareLock);
	return found;
}

static HeapTuple
set_column(const Subject *subject, HeapTuple tuple, const char *column, Datum value)
{
	int			attnum = attribute_number(subject->desc, column);
	bool		isnull = false;

	if (attnum == InvalidAttrNumber)
		return tuple;
	return heap_modify_tuple_by_cols(tuple, subject->desc, 1, &attnum, &value, &isnull);
}

static HeapTuple
set_bookkeeping(const Subject *subject, HeapTuple tuple,
				int32 version, TimestampTz changed_at)
{
	int			attnums[2] = {subject->version, subject->changed_at};
	Datum		values[2] = {Int32GetDatum(version), TimestampTzGetDatum(changed_at)};
	bool		nulls[2] = {false, false};

	return heap_modify_tuple_by_cols(tuple, subject->desc, 2, attnums, values, nulls);
}

static void
get_bookkeeping(const Subject *subject, HeapTuple tuple, bool *complete,
				int32 *version, TimestampTz *changed_at)
{
	bool		null_version;
	bool		null_changed_at;
	Datum		value;

	value = heap_getattr(tuple, subject->version, subject->desc, &null_version);
	*version = null_version ? 0 : DatumGetInt32(value);
	value = heap_getattr(tuple, subject->changed_at, subject->desc, &null_changed_at);
	*changed_at = null_changed_at ? DT_NOBEGIN : DatumGetTimestampTz(value);
	if (complete != NULL)
		*complete = !null_version && !null_changed_at;
}

/* 'stage "Quote" of pipeline "New cars"', with ids where names are unknown */
static char *
stage_label(int32 pipeline_id, int32 stage_id)
{
	const NamedDef *stage = definitions_catalogue_stage(stage_id);
	char	   *stage_name = stage != NULL ?
		psprintf("\"%s\"", stage->name) : psprintf("%d", stage_id);
	const PipelineDef *pipeline = definitions_pipeline_seen(pipeline_id);

	return psprintf("stage %s of pipeline %s", stage_name,
					pipeline != NULL ? psprintf("\"%s\"", pipeline->name) :
					psprintf("%d", pipeline_id));
}

static char *
pipeline_label(int32 pipeline_id)
{
	const PipelineDef *pipeline = definitions_pipeline_seen(pipeline_id);

	return pipeline != NULL ? psprintf("pipeline \"%s\"", pipeline->name) :
		psprintf("pipeline %d", pipeline_id);
}

/* is there a standard pipeline in the layout, rows of this very statement included? */
static bool
layout_has_standard(const Subject *subject, int32 layout_id)
{
	AttrNumber	layout = attribute_number(subject->desc, "layout_id");
	AttrNumber	standard = attribute_number(subject->desc, "is_standard");
	ScanKeyData keys[2];
	SysScanDesc scan;
	bool		found;

	ScanKeyInit(&keys[0], layout, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(layout_id));
	ScanKeyInit(&keys[1], standard, BTEqualStrategyNumber, F_BOOLEQ,
				BoolGetDatum(true));
	scan = systable_beginscan(subject->rel, InvalidOid, false, SnapshotSelf, 2, keys);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	return found;
}

/*
 * What is particular to the table pipeline: the first one of a layout is its
 * standard one unless something else is said, and a day needs a time zone.
 */
static HeapTuple
complete_pipeline(const Subject *subject, HeapTuple tuple)
{
	char	   *zone;
	pg_tz	   *tz;

	if (column_null(subject, tuple, "is_standard") &&
		!column_null(subject, tuple, "layout_id"))
		tuple = set_column(subject, tuple, "is_standard",
						   BoolGetDatum(column_null(subject, tuple, "archived_at") &&
										!layout_has_standard(subject,
															 column_int(subject, tuple, "layout_id"))));

	zone = column_text(subject, tuple, "time_zone");
	if (zone == NULL)
		return set_column(subject, tuple, "time_zone",
						  CStringGetTextDatum(pg_get_timezone_name(session_timezone)));
	tz = pg_tzset(zone);
	if (tz == NULL || !pg_tz_acceptable(tz))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time zone \"%s\" not recognized", zone),
				 errdetail("It was given for pipeline \"%s\".",
						   column_text(subject, tuple, "name") != NULL ?
						   column_text(subject, tuple, "name") : ""),
				 errhint("The view pg_timezone_names lists them."),
				 errtablecol(subject->rel, attribute_number(subject->desc, "time_zone"))));
	return tuple;
}

static void
refuse_stage(const Subject *subject, HeapTuple tuple, const char *constraint,
			 const char *problem, const char *rule)
{
	int32		stage_id = column_int(subject, tuple, "stage_id");
	int32		pipeline_id = column_int(subject, tuple, "pipeline_id");

	ereport(ERROR,
			(errcode(ERRCODE_CHECK_VIOLATION),
			 errmsg("%s: %s", stage_label(pipeline_id, stage_id), problem),
			 errdetail("%s", rule),
			 errtableconstraint(subject->rel, constraint)));
}

static bool
numeric_between(Datum value, int32 low, int32 high)
{
	Datum		low_numeric = DirectFunctionCall1(int4_numeric, Int32GetDatum(low));
	Datum		high_numeric = DirectFunctionCall1(int4_numeric, Int32GetDatum(high));

	return DatumGetBool(DirectFunctionCall2(numeric_ge, value, low_numeric)) &&
		DatumGetBool(DirectFunctionCall2(numeric_le, value, high_numeric));
}

/*
 * What is particular to the table pipeline_stage.  The same rules stand as
 * constraints beside the table, and hold without us; here they get words
 * that name the stage, the pipeline, the value and the rule.
 */
static HeapTuple
judge_pipeline_stage(const Subject *subject, HeapTuple tuple)
{
	char	   *outcome = column_text(subject, tuple, "outcome");
	bool		is_open;
	bool		is_won;
	AttrNumber	probability = attribute_number(subject->desc, "probability");
	AttrNumber	stall_limit = attribute_number(subject->desc, "stall_limit");
	Datum		value;
	bool		isnull;

	if (outcome == NULL)
		return tuple;			/* refused by NOT NULL */
	is_open = strcmp(outcome, "open") == 0 || strcmp(outcome, "on_hold") == 0;
	is_won = strcmp(outcome, "won") == 0;
	if (!is_open && !is_won && strcmp(outcome, "lost") != 0 &&
		strcmp(outcome, "disqualified") != 0 && strcmp(outcome, "done") != 0)
		refuse_stage(subject, tuple, "outcome_is_known",
					 psprintf("unknown outcome \"%s\"", outcome),
					 "The outcome is one of open, on_hold, won, lost, disqualified, done.");

	if (probability != InvalidAttrNumber)
	{
		value = heap_getattr(tuple, probability, subject->desc, &isnull);
		if (isnull && !is_open)
			tuple = set_column(subject, tuple, "probability",
							   DirectFunctionCall1(int4_numeric,
												   Int32GetDatum(is_won ? 100 : 0)));
		else if (!isnull)
		{
			char	   *problem = psprintf("probability %s is not possible",
										   value_text(subject->desc, tuple, probability));

			if (is_won && !numeric_between(value, 100, 100))
				refuse_stage(subject, tuple, "won_means_100_percent", problem,
							 "A won stage has a probability of 100 percent.");
			if (is_open && !numeric_between(value, 0, 99))
				refuse_stage(subject, tuple, "open_means_0_to_99_percent", problem,
							 psprintf("A stage of outcome %s has a probability of 0 to 99 percent; 100 is for won stages.", outcome));
			if (!is_open && !is_won && !numeric_between(value, 0, 0))
				refuse_stage(subject, tuple, "closed_without_win_means_0_percent", problem,
							 psprintf("A stage of outcome %s has a probability of 0 percent.", outcome));
			if (!DatumGetBool(DirectFunctionCall2(numeric_eq, value,
												  DirectFunctionCall2(numeric_round, value,
																	  Int32GetDatum(2)))))
				refuse_stage(subject, tuple, "probability_has_two_decimals", problem,
							 "A probability has at most two decimals.");
		}
	}

	if (column_null(subject, tuple, "forecast_category"))
		tuple = set_column(subject, tuple, "forecast_category",
						   CStringGetTextDatum(strcmp(outcome, "open") == 0 ? "pipeline" :
											   is_won ? "closed" : "omitted"));

	if (stall_limit != InvalidAttrNumber && !column_null(subject, tuple, "stall_limit"))
	{
		Interval	zero = {0};
		char	   *word;

		value = heap_getattr(tuple, stall_limit, subject->desc, &isnull);
		if (DatumGetBool(DirectFunctionCall2(interval_le, value, IntervalPGetDatum(&zero))))
			refuse_stage(subject, tuple, "stall_limit_is_positive",
						 psprintf("stall limit \"%s\" is not possible",
								  value_text(subject->desc, tuple, stall_limit)),
						 "A stall limit is a positive interval, or NULL for none.");
		if (DatumGetIntervalP(value)->month != 0 &&
			(word = column_text(subject, tuple, "stall_time")) != NULL &&
			strcmp(word, "business") == 0)
			refuse_stage(subject, tuple, "business_limit_has_no_months",
						 psprintf("stall limit \"%s\" is not possible",
								  value_text(subject->desc, tuple, stall_limit)),
						 "Business time is told in days, hours, minutes and seconds.");
	}
	return tuple;
}

static HeapTuple
complete(const Subject *subject, HeapTuple tuple)
{
	if (strcmp(subject->name, "pipeline") == 0)
		return complete_pipeline(subject, tuple);
	if (strcmp(subject->name, "pipeline_stage") == 0)
		return judge_pipeline_stage(subject, tuple);
	return tuple;
}

/* whether a pipeline is protected is for access.c to change; see there */
static void
check_protection(const Subject *subject, HeapTuple old_tuple, HeapTuple new_tuple)
{
	AttrNumber	attnum;
	bool		isnull;

	if (strcmp(subject->name, "pipeline") != 0)
		return;
	attnum = attribute_number(subject->desc, "protected");
	if (attnum == InvalidAttrNumber)
		return;
	if (old_tuple != NULL ?
		!same_value(subject->desc, old_tuple, new_tuple, attnum) :
		DatumGetBool(heap_getattr(new_tuple, attnum, subject->desc, &isnull)))
		definitions_check_protection(subject->rel, column_text(subject, new_tuple, "name"));
}

/*
 * A rule that is new must be one that can be evaluated, and that runs no code
 * of anybody's.  Rows that come with a restore are let through: the tables of
 * deals may not be there yet, and a rule is read again before it is used.
 */
static void
check_rules(const Subject *subject, HeapTuple old_tuple, HeapTuple new_tuple)
{
	static const char *const columns[] = {"entry_rule", "exit_rule"};
	int			i;

	if (strcmp(subject->name, "pipeline_stage") != 0)
		return;
	for (i = 0; i < (int) lengthof(columns); i++)
	{
		AttrNumber	attnum = attribute_number(subject->desc, columns[i]);
		char	   *rule = column_text(subject, new_tuple, columns[i]);
		int32		pipeline_id = column_int(subject, new_tuple, "pipeline_id");
		const PipelineDef *pipeline;

		if (rule == NULL ||
			(old_tuple != NULL && same_value(subject->desc, old_tuple, new_tuple, attnum)))
			continue;
		/* without a pipeline the reference will be refused */
		pipeline = definitions_pipeline(pipeline_id);
		if (pipeline != NULL)
			usage_check_rule(pipeline->layout_id, rule,
							 psprintf("%s of %s", columns[i],
									  stage_label(pipeline_id,
												  column_int(subject, new_tuple, "stage_id"))));
	}
}

/*
 * A row comes in with its bookkeeping (a restore, a copy) or without.
 */
static HeapTuple
before_insert(const Subject *subject, HeapTuple tuple)
{
	bool		refers = references_made_by(subject->name);
	bool		given;
	bool		kept;
	int32		version;
	TimestampTz changed_at;

	get_bookkeeping(subject, tuple, &given, &version, &changed_at);
	kept = given && version >= 1 &&
		changed_at <= GetCurrentTimestamp() &&
		has_privs_of_role(GetUserId(), subject->rel->rd_rel->relowner);

	/* what it refers to must still be there when its transaction ends */
	if (!kept)
	{
		check_protection(subject, NULL, tuple);
		definitions_lock();
	}
	tuple = complete(subject, tuple);
	if (!kept)
		check_rules(subject, NULL, tuple);
	if (refers)
		references_note(subject->root, subject->desc, subject->key, tuple, kept);
	if (kept)
		return tuple;

	/* a key that comes back continues its versions */
	if (last_version(subject, tuple, &version, &changed_at))
		return set_bookkeeping(subject, tuple, version + 1, instant_after(changed_at));
	return set_bookkeeping(subject, tuple, 1, DT_NOBEGIN);
}

static void
refuse_used(const Subject *subject, const char *what, const char *report,
			const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_PIPELINES_IN_USE),
			 errmsg("%s", what),
			 errdetail("%s", report),
			 errhint("%s", hint),
			 errtable(subject->rel)));
}

/*
 * Is the pipeline of a stage gone already?  If so in the course of a removal
 * that is handed on, what refers to any of its stages was looked for at once.
 */
static bool
pipeline_is_gone(int32 pipeline_id)
{
	Relation	rel = table_open(definitions_relid("pipeline"), AccessShareLock);
	AttrNumber	attnum = attribute_number(RelationGetDescr(rel), "pipeline_id");
	ScanKeyData key;
	SysScanDesc scan;
	Snapshot	snapshot;
	bool		found;

	/* where there is no such table to scan by itself, look again */
	if (rel->rd_rel->relkind != RELKIND_RELATION || attnum == InvalidAttrNumber)
	{
		table_close(rel, AccessShareLock);
		return false;
	}
	ScanKeyInit(&key, attnum, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(pipeline_id));
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan = systable_beginscan(rel, InvalidOid, false, snapshot, 1, &key);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	return !found;
}

/*
 * Before something is removed or redefined that deals or other definitions
 * may refer to: keep away who could make new references, then look.
 */
static void
before_removal(const Subject *subject, HeapTuple tuple)
{
	bool		is_stage = strcmp(subject->name, "pipeline_stage") == 0;
	Usage		usage = {0};
	char	   *report;
	char	   *label;

	if (!references_lead_to(subject->name))
		return;

	usage_lock();

	/* deals refer to pipelines and stages only */
	if (strcmp(subject->name, "pipeline") != 0 &&
		strcmp(subject->name, "stage") != 0 &&
		!is_stage)
		return;
	usage.pipeline_id = column_int(subject, tuple, "pipeline_id");
	usage.stage_id = column_int(subject, tuple, "stage_id");
	usage.in_history = true;
	if (is_stage && references_hand_on_from("pipeline") &&
		pipeline_is_gone(usage.pipeline_id))
		return;
	report = usage_report(&usage);
	if (report == NULL)
		return;
	label = usage.stage_id == 0 ? pipeline_label(usage.pipeline_id) :
		usage.pipeline_id != 0 ? stage_label(usage.pipeline_id, usage.stage_id) :
		psprintf("stage \"%s\"", column_text(subject, tuple, "name"));
	refuse_used(subject, psprintf("%s is in use and can't be deleted", label), report,
				"Archive it instead (pipelines.archive_stage, pipelines.archive_pipeline): it takes no more deals, and what deals and history say of it stays readable.");
}

/* is it the outcome of this stage that definitions_change_outcome() changes? */
static bool
is_in_change(const Subject *subject, HeapTuple tuple)
{
	return outcome_in_change != NULL &&
		strcmp(subject->name, "pipeline_stage") == 0 &&
		outcome_in_change->pipeline_id == column_int(subject, tuple, "pipeline_id") &&
		outcome_in_change->stage_id == column_int(subject, tuple, "stage_id");
}

static void
before_redefinition(const Subject *subject, HeapTuple old_tuple, HeapTuple new_tuple)
{
	bool		archived = column_null(subject, old_tuple, "archived_at") &&
		!column_null(subject, new_tuple, "archived_at");
	Usage		usage = {0};
	char	   *report;

	if (strcmp(subject->name, "pipeline_stage") == 0)
	{
		AttrNumber	outcome = attribute_number(subject->desc, "outcome");
		bool		redefined = outcome != InvalidAttrNumber &&
			!same_value(subject->desc, old_tuple, new_tuple, outcome);

		if (archived || redefined)
			usage_lock();
		if (!redefined || is_in_change(subject, old_tuple))
			return;
		usage.pipeline_id = column_int(subject, old_tuple, "pipeline_id");
		usage.stage_id = column_int(subject, old_tuple, "stage_id");
		report = usage_report(&usage);
		if (report != NULL)
			refuse_used(subject,
						psprintf("the outcome of %s can't be changed from %s to %s while deals are in it",
								 stage_label(usage.pipeline_id, usage.stage_id),
								 value_text(subject->desc, old_tuple, outcome),
								 value_text(subject->desc, new_tuple, outcome)),
						report,
						"pipelines.change_outcome() closes or reopens them (apply_to => 'all'), or leaves them as they are and lets another stage take the place of this one (apply_to => 'new').");
	}
	else if (strcmp(subject->name, "pipeline") == 0)
	{
		AttrNumber	layout = attribute_number(subject->desc, "layout_id");
		bool		redefined = layout != InvalidAttrNumber &&
			!same_value(subject->desc, old_tuple, new_tuple, layout);

		if (archived || redefined)
			usage_lock();
		if (!redefined)
			return;
		usage.pipeline_id = column_int(subject, old_tuple, "pipeline_id");
		report = usage_report(&usage);
		if (report != NULL)
			refuse_used(subject,
						psprintf("%s can't go to another layout while deals are in it",
								 pipeline_label(usage.pipeline_id)),
						report,
						"Clone the pipeline into the other layout: SELECT pipelines.clone_pipeline(...).");
	}
}

static HeapTuple
before_update(const Subject *subject, HeapTuple old_tuple, HeapTuple new_tuple)
{
	int32		version;
	TimestampTz changed_at;
	TimestampTz instant;
	int			x = -1;

	while ((x = bms_next_member(subject->key, x)) >= 0)
	{
		AttrNumber	attnum = x + FirstLowInvalidHeapAttributeNumber;

		if (!same_value(subject->desc, old_tuple, new_tuple, attnum))
			ereport(ERROR,
					(errcode(ERRCODE_PIPELINES_KEY_CHANGED),
					 errmsg("column \"%s\" of the definition table \"%s\" can't be changed",
							NameStr(TupleDescAttr(subject->desc, attnum - 1)->attname),
							subject->name),
					 errdetail("It would change from %s to %s; deals and history refer to it.",
							   value_text(subject->desc, old_tuple, attnum),
							   value_text(subject->desc, new_tuple, attnum)),
					 errhint("Add a new row, and archive or delete the old one."),
					 errtablecol(subject->rel, attnum)));
	}

	check_protection(subject, old_tuple, new_tuple);
	new_tuple = complete(subject, new_tuple);
	get_bookkeeping(subject, old_tuple, NULL, &version, &changed_at);
	if (!is_changed(subject, old_tuple, new_tuple))
		return set_bookkeeping(subject, new_tuple, version, changed_at);

	check_rules(subject, old_tuple, new_tuple);

	/* a new reference must keep what it leads to, as in an INSERT */
	if (references_made_by(subject->name))
		definitions_lock();
	before_redefinition(subject, old_tuple, new_tuple);
	instant = instant_after(changed_at);
	/* after everything that this transaction did to deals, which are closed by it */
	if (is_in_change(subject, old_tuple))
		instant = Max(instant, GetCurrentTimestamp());
	return set_bookkeeping(subject, new_tuple, version + 1, instant);
}

void
definitions_change_outcome(int32 pipeline_id, int32 stage_id, const char *outcome,
						   NullableDatum probability, NullableDatum category,
						   Redefinition *change)
{
	Oid			types[5] = {INT4OID, INT4OID, TEXTOID, NUMERICOID, TEXTOID};
	Datum		values[5];
	char		nulls[5] = {' ', ' ', ' ', ' ', ' '};
	const Redefinition *previous = outcome_in_change;
	const PipelineDef *pipeline;
	const StageDef *stage;
	bool		isnull;

	/* what it was must be what the deals in it were judged by */
	usage_lock();
	pipeline = definitions_pipeline_seen(pipeline_id);
	stage = pipeline == NULL ? NULL : definitions_stage(pipeline, stage_id);
	if (stage == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_PIPELINES_UNKNOWN_STAGE),
				 errmsg("there is no stage with id %d in a pipeline with id %d",
						stage_id, pipeline_id)));
	change->pipeline_id = pipeline_id;
	change->stage_id = stage_id;
	change->was = stage->outcome;

	values[0] = Int32GetDatum(pipeline_id);
	values[1] = Int32GetDatum(stage_id);
	values[2] = CStringGetTextDatum(outcome);
	values[3] = probability.value;
	values[4] = category.value;
	if (probability.isnull)
		nulls[3] = 'n';
	if (category.isnull)
		nulls[4] = 'n';
	outcome_in_change = change;
	PG_TRY();
	{
		if (SPI_connect() != SPI_OK_CONNECT)
			elog(ERROR, "SPI_connect failed");
		if (SPI_execute_with_args("UPDATE pipelines.pipeline_stage AS s"
								  " SET outcome = $3, probability = $4, forecast_category = $5"
								  " WHERE s.pipeline_id OPERATOR(pg_catalog.=) $1"
								  " AND s.stage_id OPERATOR(pg_catalog.=) $2"
								  " RETURNING s.changed_at",
								  5, types, values, nulls, false, 0) != SPI_OK_UPDATE_RETURNING)
			elog(ERROR, "the UPDATE of \"pipeline_stage\" failed");
		if (SPI_processed != 1)
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("permission denied to change %s", stage_label(pipeline_id, stage_id))));
		change->instant = DatumGetTimestampTz(SPI_getbinval(SPI_tuptable->vals[0],
															SPI_tuptable->tupdesc, 1, &isnull));
		if (SPI_finish() != SPI_OK_FINISH)
			elog(ERROR, "SPI_finish failed");
	}
	PG_FINALLY();
	{
		outcome_in_change = previous;
	}
	PG_END_TRY();
}

/*
 * Before a statement updates or deletes, and locks any row.
 */
Datum
pipelines_definition_turn(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) ||
		!TRIGGER_FIRED_BEFORE(trigdata->tg_event) ||
		!TRIGGER_FIRED_FOR_STATEMENT(trigdata->tg_event) ||
		RelationGetNamespace(trigdata->tg_relation) !=
		get_namespace_oid(PIPELINES_SCHEMA, true))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be called by a BEFORE STATEMENT trigger of a definition table",
						"_definition_turn"),
				 errhint("\"SELECT pipelines.setup();\" makes these triggers.")));
	usage_take_turn();
	return PointerGetDatum(NULL);
}

Datum
pipelines_definition_before(PG_FUNCTION_ARGS)
{
	Subject		subject;
	TriggerData *trigdata = begin_trigger(fcinfo, "_definition_before",
										  TRIGGER_EVENT_BEFORE, &subject);
	HeapTuple	result;

	/* a subscriber gets rows with their bookkeeping, judged where they were made */
	if (TRIGGER_FIRED_BY_INSERT(trigdata->tg_event))
		result = IsLogicalWorker() ? trigdata->tg_trigtuple :
			before_insert(&subject, trigdata->tg_trigtuple);
	else if (TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event))
		result = IsLogicalWorker() ? trigdata->tg_newtuple :
			before_update(&subject, trigdata->tg_trigtuple, trigdata->tg_newtuple);
	else
	{
		result = trigdata->tg_trigtuple;
		if (!IsLogicalWorker())
			before_removal(&subject, result);
	}
	return PointerGetDatum(result);
}

/*
 * Write the version that ended into the twin, as the twin's owner.
 */
static void
append_past(const Subject *subject, HeapTuple tuple,
			TimestampTz valid_from, TimestampTz valid_to, const char *change)
{
	int			natts = subject->desc->natts;
	Oid		   *types = (Oid *) palloc(sizeof(Oid) * (natts + N_PAST_COLUMNS));
	Datum	   *values = (Datum *) palloc(sizeof(Datum) * (natts + N_PAST_COLUMNS));
	char	   *nulls = (char *) palloc(natts + N_PAST_COLUMNS);
	StringInfoData query;
	StringInfoData parameters;
	RunAs		saved;
	int			n = 0;
	int			i;

	initStringInfo(&query);
	initStringInfo(&parameters);
	appendStringInfo(&query, "INSERT INTO %s (",
					 quote_qualified_identifier(PIPELINES_SCHEMA,
												get_rel_name(subject->twin)));
	for (i = 0; i < natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(subject->desc, i);
		bool		isnull;
		Datum		value;

		if (!subject->tracked[i])
			continue;
		value = heap_getattr(tuple, i + 1, subject->desc, &isnull);
		types[n] = past_type(att->atttypid);
		values[n] = isnull ? (Datum) 0 : past_value(att->atttypid, value);
		nulls[n] = isnull ? 'n' : ' ';
		appendStringInfo(&query, "%s, ", quote_identifier(NameStr(att->attname)));
		appendStringInfo(&parameters, "$%d, ", ++n);
	}
	for (i = 0; i < N_PAST_COLUMNS; i++)
	{
		types[n + i] = past_columns[i].type;
		nulls[n + i] = ' ';
		appendStringInfo(&query, "%s%s", past_columns[i].name,
						 i < N_PAST_COLUMNS - 1 ? ", " : ") VALUES (");
		appendStringInfo(&parameters, "$%d%s", n + i + 1,
						 i < N_PAST_COLUMNS - 1 ? ", " : ")");
	}
	values[n++] = TimestampTzGetDatum(valid_from);
	values[n++] = TimestampTzGetDatum(valid_to);
	values[n++] = CStringGetTextDatum(change);
	values[n++] = CStringGetTextDatum(pipelines_actor != NULL && pipelines_actor[0] != '\0' ?
									  pipelines_actor :
									  GetUserNameFromId(GetSessionUserId(), false));
	values[n++] = TimestampTzGetDatum(GetCurrentTimestamp());
	appendStringInfoString(&query, parameters.data);

	run_as(subject->rel->rd_rel->relowner, &saved);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args(query.data, n, types, values, nulls, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not write the past of \"%s\"", subject->name);
	SPI_finish();
	run_as_end(&saved);
}

static void
tell_everybody(const Subject *subject, HeapTuple tuple)
{
	CacheInvalidateRelcacheByRelid(subject->root);

	/* who tracks the table has looked up how it is mapped */
	if (strcmp(subject->name, "tracked_table") == 0)
	{
		AttrNumber	attnum = attribute_number(subject->desc, "relation");
		bool		isnull = true;
		Datum		value = 0;

		if (attnum != InvalidAttrNumber)
			value = heap_getattr(tuple, attnum, subject->desc, &isnull);
		if (!isnull && SearchSysCacheExists1(RELOID, value))
			CacheInvalidateRelcacheByRelid(DatumGetObjectId(value));
	}
}

Datum
pipelines_definition_after(PG_FUNCTION_ARGS)
{
	Subject		subject;
	TriggerData *trigdata = begin_trigger(fcinfo, "_definition_after",
										  TRIGGER_EVENT_AFTER, &subject);
	HeapTuple	tuple = trigdata->tg_trigtuple;
	int32		version;
	TimestampTz changed_at;

	tell_everybody(&subject, tuple);
	if (IsLogicalWorker())
		return PointerGetDatum(NULL);
	if (TRIGGER_FIRED_BY_INSERT(trigdata->tg_event))
	{
		/* a restore may load what it refers to later */
		if (references_made_by(subject.name) &&
			!references_noted(subject.root, subject.desc, subject.key, tuple))
			references_check(subject.rel, subject.name, NULL, tuple);
		return PointerGetDatum(NULL);
	}

	get_bookkeeping(&subject, tuple, NULL, &version, &changed_at);
	if (TRIGGER_FIRED_BY_DELETE(trigdata->tg_event))
	{
		append_past(&subject, tuple, changed_at, instant_after(changed_at), "delete");
		references_release(subject.rel, subject.name, tuple);
	}
	else
	{
		HeapTuple	new_tuple = trigdata->tg_newtuple;
		int32		new_version;
		TimestampTz new_changed_at;

		get_bookkeeping(&subject, new_tuple, NULL, &new_version, &new_changed_at);
		if (new_version == version && new_changed_at == changed_at &&
			!is_changed(&subject, tuple, new_tuple))
			return PointerGetDatum(NULL);
		if (new_version != version + 1 || new_changed_at <= changed_at)
			ereport(ERROR,
					(errcode(ERRCODE_PIPELINES_ROW_ALTERED),
					 errmsg("another trigger changed a row of the definition table \"%s\" after its version was set",
							subject.name),
					 errdetail("Version %d would be followed by version %d.",
							   version, new_version),
					 errhint("Triggers of your own must sort before \"~pipelines_before\", and leave \"version\" and \"changed_at\" alone; \"SELECT pipelines.setup();\" makes a missing trigger again."),
					 errtable(subject.rel)));
		append_past(&subject, tuple, changed_at, new_changed_at, "update");
		references_check(subject.rel, subject.name, tuple, new_tuple);
	}
	return PointerGetDatum(NULL);
}

Datum
pipelines_definition_truncate(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BY_TRUNCATE(trigdata->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be called by a TRUNCATE trigger",
						"_definition_truncate")));
	ereport(ERROR,
			(errcode(ERRCODE_PIPELINES_TRUNCATE_REFUSED),
			 errmsg("the definition table \"%s\" can't be truncated",
					RelationGetRelationName(trigdata->tg_relation)),
			 errdetail("TRUNCATE would forget versions of definitions, and overlook the deals that refer to them."),
			 errhint("Use DELETE."),
			 errtable(trigdata->tg_relation)));
	return PointerGetDatum(NULL);	/* keep the compiler quiet */
}
