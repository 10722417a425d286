/*-------------------------------------------------------------------------
 *
 * usage.c
 *	  What deals and their history refer to, and the definers' lock.
 *
 * Owns the other side of the lock protocol of definitions.c: whoever removes
 * or redefines what deals refer to holds EXCLUSIVE on
 * pipelines.definition_lock until the end of the transaction.  It is taken
 * by repeated attempts that never queue: behind a queued EXCLUSIVE every
 * move of a deal would wait, too, for as long as one idle writer stays.
 * Before it comes a lock among definers alone, and whoever adds definitions
 * holds ROW SHARE like a writer of deals: so nobody who holds EXCLUSIVE waits
 * for a row of another definer.
 *
 * The invariant: the look at the deals comes after the lock, with the newest
 * snapshot, as each table's owner, over every tracked table that still
 * exists.  So nothing is removed that a committed deal refers to, and no deal
 * that is being written can refer to it either.
 *
 * Also owns the rows of pipelines.tracked_table, which say what tables these
 * are.  Must never put a name into SQL unquoted or unqualified.  All of this
 * is a cold path: it runs when definitions change, never when deals do.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "compat.h"
#include "definitions/conditions.h"
#include "definitions/definitions_private.h"
#include "errors.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "pipelines.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(pipelines_register);
PG_FUNCTION_INFO_V1(pipelines_register_activity);
PG_FUNCTION_INFO_V1(pipelines_deals_left);
PG_FUNCTION_INFO_V1(pipelines_unregister);

/* pause between two attempts at the lock */
#define LOCK_PAUSE_MS		5

/* nobody needs to know more exactly how many deals are in the way */
#define COUNT_LIMIT			1000

/* deals that are named in a report */
#define LISTED_DEALS		5

/* the trigger that says which column plays which part; see deals/mapping.c */
#define COLUMNS_TRIGGER		"pipelines_columns"

/* one tracked table, and how its columns are called today */
typedef struct TrackedTable
{
	Oid			relid;
	Oid			history;
	Oid			owner;
	char	   *name;			/* quoted and qualified */
	char	   *history_name;	/* NULL: gone */
	char	   *pipeline;		/* column names; NULL: there is none */
	char	   *stage;
	char	   *furthest;
	char	   *gate;
	char	   *history_pipeline;
	char	   *history_stage;
	int32		layout_id;		/* 0: not said */
	List	   *key;			/* char * */
} TrackedTable;

static bool
try_relation(Oid relid, LOCKMODE mode)
{
	return ConditionalLockRelationOid(relid, mode);
}

/* a lock that nothing else takes: that of the table's number as an object */
static bool
try_object(Oid relid, LOCKMODE mode)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, RelationRelationId, relid, 0);
	return LockAcquire(&tag, mode, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

/*
 * Take a lock by attempts; false when pipelines.definition_wait is over.
 */
static bool
lock_by_attempts(bool (*try_lock) (Oid relid, LOCKMODE mode), Oid relid, LOCKMODE mode)
{
	TimestampTz give_up = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													  pipelines_definition_wait);

	while (!try_lock(relid, mode))
	{
		if (GetCurrentTimestamp() >= give_up)
			return false;
		CHECK_FOR_INTERRUPTS();
		pg_usleep(LOCK_PAUSE_MS * 1000L);
	}
	return true;
}

/*
 * One transaction at a time updates or deletes definitions.  A statement
 * takes its turn before it locks any row: else a definer who holds EXCLUSIVE
 * could wait for another definer's row, and all movers of deals would wait
 * with him.  No mover ever meets this lock.
 */
void
usage_take_turn(void)
{
	if (!lock_by_attempts(try_object, definitions_relid("definition_lock"), ExclusiveLock))
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("definitions are being changed in another transaction"),
				 errdetail("One transaction at a time updates or deletes definitions; its end was waited for %d ms.",
						   pipelines_definition_wait),
				 errhint("Try again, or raise pipelines.definition_wait.")));
}

/*
 * Take the definers' lock, or fail after pipelines.definition_wait.
 */
void
usage_lock(void)
{
	usage_take_turn();
	if (!lock_by_attempts(try_relation, definitions_relid("definition_lock"), ExclusiveLock))
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("deals or definitions are being changed in other transactions"),
				 errdetail("Removing or redefining a pipeline or stage waits for the end of every transaction that has changed deals or added definitions; it waited %d ms.",
						   pipelines_definition_wait),
				 errhint("Try again, raise pipelines.definition_wait, or look in pg_locks for who holds a lock on \"%s.definition_lock\".",
						 PIPELINES_SCHEMA)));
}

static char *
qualified_name(Oid relid)
{
	char	   *name = get_rel_name(relid);

	if (name == NULL)
		return NULL;
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), name);
}

/* a column that there is and that holds an id, else NULL */
static char *
id_column(Oid relid, const char *name)
{
	AttrNumber	attnum = name == NULL ? InvalidAttrNumber : get_attnum(relid, name);
	Oid			type;

	if (attnum == InvalidAttrNumber)
		return NULL;
	type = getBaseType(get_atttype(relid, attnum));
	if (type != INT4OID && type != INT8OID && type != INT2OID)
		return NULL;
	return pstrdup(name);
}

/*
 * Names of columns from the mapping trigger, which follows renames.  False
 * if there is no such trigger.
 */
static bool
read_mapping(TrackedTable *table)
{
	Relation	rel = relation_open(table->relid, NoLock);
	TriggerDesc *trigdesc = rel->trigdesc;
	bool		found = false;
	int			i;

	for (i = 0; trigdesc != NULL && i < trigdesc->numtriggers; i++)
	{
		Trigger    *trigger = &trigdesc->triggers[i];
		int			j;

		if (strcmp(trigger->tgname, COLUMNS_TRIGGER) != 0 ||
			trigger->tgnattr != trigger->tgnargs)
			continue;
		found = true;
		for (j = 0; j < trigger->tgnattr; j++)
		{
			char	   *column = get_attname(table->relid, trigger->tgattr[j], true);
			char	   *role = pstrdup(trigger->tgargs[j]);
			char	   *target = strchr(role, '=');

			if (column == NULL || target == NULL)
				continue;
			*target++ = '\0';
			if (strcmp(role, "pipeline_id") == 0)
			{
				table->pipeline = id_column(table->relid, column);
				table->history_pipeline = id_column(table->history, target);
			}
			else if (strcmp(role, "stage_id") == 0)
			{
				table->stage = id_column(table->relid, column);
				table->history_stage = id_column(table->history, target);
			}
			else if (strcmp(role, "furthest_stage_id") == 0)
				table->furthest = id_column(table->relid, column);
			else if (strcmp(role, "gate_stage_id") == 0)
				table->gate = id_column(table->relid, column);
			else if (strncmp(role, "key", 3) == 0 && role[3] >= '1' && role[3] <= '9')
				table->key = lappend(table->key, column);
		}
	}
	relation_close(rel, NoLock);
	return found;
}

static char *
spi_text(HeapTuple tuple, int column)
{
	return SPI_getvalue(tuple, SPI_tuptable->tupdesc, column);
}

static Oid
spi_oid(HeapTuple tuple, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(tuple, SPI_tuptable->tupdesc, column, &isnull);

	return isnull ? InvalidOid : DatumGetObjectId(value);
}

/*
 * Run a query with the newest snapshot.  The caller is connected to SPI.
 */
static void
execute_latest(const char *query, int nargs, Oid *types, Datum *values)
{
	SPIPlanPtr	plan = SPI_prepare(query, nargs, types);
	Snapshot	snapshot;

	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	if (SPI_execute_snapshot(plan, values, NULL, snapshot, InvalidSnapshot,
							 true, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute_snapshot failed");
	UnregisterSnapshot(snapshot);
	SPI_freeplan(plan);
}

/*
 * Keep a table in place while it is looked at.  Not by waiting in line, since
 * all movers of deals wait for us: somebody may hold a table for long.
 */
static void
lock_tracked(Oid relid)
{
	if (!lock_by_attempts(try_relation, relid, AccessShareLock))
	{
		char	   *name = qualified_name(relid);

		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("could not look whether the definition is in use: table %s is locked",
						name != NULL ? name : "(dropped)"),
				 errdetail("It was waited for %d ms.", pipelines_definition_wait),
				 errhint("Try again, or raise pipelines.definition_wait.")));
	}
}

/*
 * All tracked tables that still exist.  What is only an entry (the table was
 * dropped, or the entry came with a restore of something else) is left out.
 */
static List *
tracked_tables(void)
{
	MemoryContext caller = CurrentMemoryContext;
	List	   *tables = NIL;
	ListCell   *lc;
	List	   *result = NIL;
	RunAs		saved;
	uint64		i;

	run_as(definitions_owner(), &saved);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	execute_latest("SELECT relation::pg_catalog.oid, history::pg_catalog.oid,"
				   " columns OPERATOR(pg_catalog.->>) 'pipeline_id',"
				   " columns OPERATOR(pg_catalog.->>) 'stage_id',"
				   " columns OPERATOR(pg_catalog.->>) 'furthest_stage_id',"
				   " columns OPERATOR(pg_catalog.->>) 'gate_stage_id', key, layout_id"
				   " FROM pipelines.tracked_table", 0, NULL, NULL);
	for (i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		MemoryContext spi_context = MemoryContextSwitchTo(caller);
		TrackedTable *table = (TrackedTable *) palloc0(sizeof(TrackedTable));
		bool		isnull;
		Datum		key;

		table->relid = spi_oid(tuple, 1);
		table->history = spi_oid(tuple, 2);
		/* fall-back for a table whose mapping trigger is gone */
		table->pipeline = spi_text(tuple, 3);
		table->stage = spi_text(tuple, 4);
		table->furthest = spi_text(tuple, 5);
		table->gate = spi_text(tuple, 6);
		key = SPI_getbinval(tuple, SPI_tuptable->tupdesc, 7, &isnull);
		if (!isnull)
		{
			Datum	   *elements;
			bool	   *nulls;
			int			n;
			int			j;

			deconstruct_array(DatumGetArrayTypeP(key), TEXTOID, -1, false, TYPALIGN_INT,
							  &elements, &nulls, &n);
			for (j = 0; j < n; j++)
			{
				if (!nulls[j])
					table->key = lappend(table->key, TextDatumGetCString(elements[j]));
			}
		}
		key = SPI_getbinval(tuple, SPI_tuptable->tupdesc, 8, &isnull);
		table->layout_id = isnull ? 0 : DatumGetInt32(key);
		tables = lappend(tables, table);
		MemoryContextSwitchTo(spi_context);
	}
	SPI_finish();
	run_as_end(&saved);

	foreach(lc, tables)
	{
		TrackedTable *table = (TrackedTable *) lfirst(lc);
		List	   *stored_key = table->key;
		char		relkind;
		HeapTuple	tuple;

		if (!OidIsValid(table->relid))
			continue;
		lock_tracked(table->relid);
		if (OidIsValid(table->history))
			lock_tracked(table->history);
		tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(table->relid));
		if (!HeapTupleIsValid(tuple))
			continue;
		relkind = ((Form_pg_class) GETSTRUCT(tuple))->relkind;
		table->owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
		ReleaseSysCache(tuple);
		if (relkind != RELKIND_RELATION && relkind != RELKIND_PARTITIONED_TABLE)
			continue;
		table->name = qualified_name(table->relid);
		if (OidIsValid(table->history))
			table->history_name = qualified_name(table->history);

		table->key = NIL;
		if (read_mapping(table))
		{
			if (table->pipeline == NULL || table->stage == NULL || table->key == NIL)
				ereport(ERROR,
						(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						 errmsg("the mapping of deals table \"%s\" is not complete", table->name),
						 errhint("Drop its trigger \"pipelines_columns\", then run \"SELECT pipelines.resume();\".")));
		}
		else
		{
			table->history_pipeline = id_column(table->history, table->pipeline);
			table->history_stage = id_column(table->history, table->stage);
			table->pipeline = id_column(table->relid, table->pipeline);
			table->stage = id_column(table->relid, table->stage);
			table->furthest = id_column(table->relid, table->furthest);
			table->gate = id_column(table->relid, table->gate);
			table->key = stored_key;
			if (table->pipeline == NULL || table->stage == NULL)
				continue;		/* another table that got the number */
		}
		result = lappend(result, table);
	}
	return result;
}

/*
 * Does the caller see every row of the table anyway?  Else a report must not
 * say which deals there are.
 */
static bool
may_list(Oid relid)
{
	return pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) == ACLCHECK_OK &&
		check_enable_rls(relid, InvalidOid, true) != RLS_ENABLED;
}

/* column = $n, for a column that may be missing */
static void
append_equal(StringInfo buf, const char *column, int parameter)
{
	if (column == NULL)
		appendStringInfoString(buf, "false");
	else
		appendStringInfo(buf, "%s::pg_catalog.int8 OPERATOR(pg_catalog.=) $%d",
						 quote_identifier(column), parameter);
}

static void
append_deals_condition(StringInfo buf, const TrackedTable *table, const Usage *usage)
{
	if (usage->pipeline_id != 0)
		append_equal(buf, table->pipeline, 1);
	else
		appendStringInfoString(buf, "true");
	if (usage->stage_id == 0)
		return;
	appendStringInfoString(buf, " AND (");
	append_equal(buf, table->stage, 2);
	if (usage->in_history)
	{
		appendStringInfoString(buf, " OR ");
		append_equal(buf, table->furthest, 2);
		appendStringInfoString(buf, " OR ");
		append_equal(buf, table->gate, 2);
	}
	appendStringInfoChar(buf, ')');
}

static void
append_history_condition(StringInfo buf, const TrackedTable *table, const Usage *usage)
{
	char	   *to_pipeline = id_column(table->history, "to_pipeline_id");
	char	   *to_stage = id_column(table->history, "to_stage_id");

	appendStringInfoChar(buf, '(');
	if (usage->pipeline_id != 0)
		append_equal(buf, table->history_pipeline, 1);
	else
		appendStringInfoString(buf, "true");
	if (usage->stage_id != 0)
	{
		appendStringInfoString(buf, " AND ");
		append_equal(buf, table->history_stage, 2);
	}
	appendStringInfoString(buf, ") OR (");
	if (usage->pipeline_id != 0)
		append_equal(buf, to_pipeline, 1);
	else
		appendStringInfoString(buf, "true");
	if (usage->stage_id != 0)
	{
		appendStringInfoString(buf, " AND (");
		append_equal(buf, to_stage, 2);
		if (get_attnum(table->history, "skipped_stages") != InvalidAttrNumber)
			appendStringInfoString(buf, " OR $2 OPERATOR(pg_catalog.=) ANY (skipped_stages)");
		appendStringInfoChar(buf, ')');
	}
	appendStringInfoChar(buf, ')');
}

/*
 * Count, as the table's owner, and list the first few keys.
 */
static int64
count_rows(const TrackedTable *table, const char *relation, const char *condition,
		   List *key, const Usage *usage, char **listed)
{
	StringInfoData query;
	MemoryContext caller = CurrentMemoryContext;
	Oid			types[2] = {INT8OID, INT8OID};
	Datum		values[2];
	RunAs		saved;
	ListCell   *lc;
	int64		count;
	bool		isnull;

	initStringInfo(&query);
	appendStringInfoString(&query, "SELECT pg_catalog.count(*), pg_catalog.array_to_string((pg_catalog.array_agg(key))[1:"
						   CppAsString2(LISTED_DEALS) "], ', ') FROM (SELECT ");
	if (key == NIL)
		appendStringInfoString(&query, "NULL::pg_catalog.text");
	else if (list_length(key) == 1)
		appendStringInfo(&query, "pg_catalog.format('%%s', %s)",
						 quote_identifier((char *) linitial(key)));
	else
	{
		appendStringInfoString(&query, "pg_catalog.format('%s', ROW(");
		foreach(lc, key)
			appendStringInfo(&query, "%s%s", lc == list_head(key) ? "" : ", ",
							 quote_identifier((char *) lfirst(lc)));
		appendStringInfoString(&query, "))");
	}
	appendStringInfo(&query, " AS key FROM %s WHERE %s LIMIT %d) AS used",
					 relation, condition, COUNT_LIMIT + 1);

	values[0] = Int64GetDatum((int64) usage->pipeline_id);
	values[1] = Int64GetDatum((int64) usage->stage_id);
	run_as(table->owner, &saved);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	execute_latest(query.data, 2, types, values);
	count = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc,
										1, &isnull));
	*listed = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2);
	if (*listed != NULL)
		*listed = MemoryContextStrdup(caller, *listed);
	SPI_finish();
	run_as_end(&saved);
	return count;
}

/*
 * What refers to a pipeline or stage, as text for DETAIL; NULL: nothing does.
 */
char *
usage_report(const Usage *usage)
{
	StringInfoData report;
	ListCell   *lc;

	initStringInfo(&report);
	foreach(lc, tracked_tables())
	{
		const TrackedTable *table = (const TrackedTable *) lfirst(lc);
		StringInfoData condition;
		char	   *listed;
		int64		count;

		initStringInfo(&condition);
		append_deals_condition(&condition, table, usage);
		count = count_rows(table, table->name, condition.data, table->key, usage, &listed);
		if (count > 0)
		{
			if (report.len > 0)
				appendStringInfoChar(&report, ' ');
			if (!may_list(table->relid))
				appendStringInfo(&report, "Deals of %s refer to it.", table->name);
			else if (count > COUNT_LIMIT)
				appendStringInfo(&report, "More than %d deals of %s refer to it (%s, ...).",
								 COUNT_LIMIT, table->name, listed);
			else
				appendStringInfo(&report, INT64_FORMAT " %s of %s %s to it (%s%s).", count,
								 count == 1 ? "deal" : "deals", table->name,
								 count == 1 ? "refers" : "refer", listed,
								 count > LISTED_DEALS ? ", ..." : "");
		}

		if (!usage->in_history || table->history_name == NULL)
			continue;
		resetStringInfo(&condition);
		append_history_condition(&condition, table, usage);
		count = count_rows(table, table->history_name, condition.data, NIL, usage, &listed);
		if (count > 0)
		{
			if (report.len > 0)
				appendStringInfoChar(&report, ' ');
			if (!may_list(table->history))
				appendStringInfo(&report, "History in %s refers to it.", table->history_name);
			else
				appendStringInfo(&report, "%s" INT64_FORMAT " %s of %s %s to it.",
								 count > COUNT_LIMIT ? "More than " : "",
								 Min(count, COUNT_LIMIT),
								 count == 1 ? "row" : "rows", table->history_name,
								 count == 1 ? "refers" : "refer");
		}
	}
	return report.len > 0 ? report.data : NULL;
}

/* where a condition looks its names up: a table's columns, then their parts */
typedef struct RuleColumns
{
	TupleDesc	desc;
	Trigger    *mapping;		/* NULL: none */
} RuleColumns;

static AttrNumber
rule_column(const char *name, void *arg)
{
	const RuleColumns *columns = (const RuleColumns *) arg;
	size_t		length = strlen(name);
	int			i;

	for (i = 0; i < columns->desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(columns->desc, i);

		if (!att->attisdropped && strcmp(NameStr(att->attname), name) == 0)
			return att->attnum;
	}
	for (i = 0; columns->mapping != NULL && i < columns->mapping->tgnargs &&
		 i < columns->mapping->tgnattr; i++)
	{
		if (strncmp(columns->mapping->tgargs[i], name, length) == 0 &&
			columns->mapping->tgargs[i][length] == '=')
			return columns->mapping->tgattr[i];
	}
	return InvalidAttrNumber;
}

/*
 * The columns of a table that create_deals() would make, for rules that are
 * defined before there is one.
 */
static TupleDesc
standard_columns(void)
{
	MemoryContext caller = CurrentMemoryContext;
	TupleDesc	desc;
	RunAs		saved;
	int			n;
	int			i;

	run_as(GetUserId(), &saved);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute("SELECT role, type::pg_catalog.regtype::pg_catalog.oid"
					" FROM pipelines._deal_columns()"
					" UNION ALL SELECT 'deal_id', 'pg_catalog.int8'::pg_catalog.regtype",
					true, 0) != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute failed");
	n = (int) SPI_processed;
	MemoryContextSwitchTo(caller);
	desc = CreateTemplateTupleDesc(n);
	for (i = 0; i < n; i++)
		TupleDescInitEntry(desc, i + 1, spi_text(SPI_tuptable->vals[i], 1),
						   spi_oid(SPI_tuptable->vals[i], 2), -1, 0);
	SPI_finish();
	run_as_end(&saved);
	return desc;
}

/*
 * Can a rule be evaluated for the deals of a layout?  It is read for each of
 * its tables; where there is none yet, for a table as create_deals() makes it.
 */
void
usage_check_rule(int32 layout_id, const char *rule, const char *what)
{
	RuleColumns columns = {0};
	bool		checked = false;
	ListCell   *lc;

	foreach(lc, tracked_tables())
	{
		const TrackedTable *table = (const TrackedTable *) lfirst(lc);
		Relation	rel;
		int			i;

		if (table->layout_id != layout_id && table->layout_id != 0)
			continue;
		rel = relation_open(table->relid, NoLock);
		columns.desc = RelationGetDescr(rel);
		columns.mapping = NULL;
		for (i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
		{
			if (strcmp(rel->trigdesc->triggers[i].tgname, COLUMNS_TRIGGER) == 0)
				columns.mapping = &rel->trigdesc->triggers[i];
		}
		(void) condition_parse(rule, columns.desc, rule_column, &columns,
							   psprintf("%s, for deals of %s", what, table->name));
		relation_close(rel, NoLock);
		checked = true;
	}
	if (checked)
		return;
	columns.desc = standard_columns();
	columns.mapping = NULL;
	(void) condition_parse(rule, columns.desc, rule_column, &columns, what);
}

/*
 * _deals_left(pipeline_id, stage_ids)
 *
 * How many deals of which table are in these stages, whoever may see them:
 * for those who may change the pipeline, and want to know whether anything is
 * left in it.  Looks with the newest snapshot, as each table's owner.
 */
Datum
pipelines_deals_left(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Oid			types[2] = {INT8OID, INT4ARRAYOID};
	Datum		args[2];
	ListCell   *lc;

	if (pg_class_aclcheck(definitions_relid("pipeline"), GetUserId(), ACL_UPDATE) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, "pipeline");
	args[0] = Int64GetDatum((int64) PG_GETARG_INT32(0));
	args[1] = PG_GETARG_DATUM(1);
	compat_materialize(fcinfo);
	foreach(lc, tracked_tables())
	{
		const TrackedTable *table = (const TrackedTable *) lfirst(lc);
		StringInfoData query;
		Datum		values[2];
		bool		nulls[2] = {false, false};
		RunAs		saved;
		int64		count;
		bool		isnull;

		initStringInfo(&query);
		appendStringInfo(&query, "SELECT pg_catalog.count(*) FROM %s WHERE ", table->name);
		append_equal(&query, table->pipeline, 1);
		appendStringInfo(&query, " AND %s::pg_catalog.int4 OPERATOR(pg_catalog.=) ANY ($2)",
						 quote_identifier(table->stage));
		run_as(table->owner, &saved);
		if (SPI_connect() != SPI_OK_CONNECT)
			elog(ERROR, "SPI_connect failed");
		execute_latest(query.data, 2, types, args);
		count = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc,
											1, &isnull));
		SPI_finish();
		run_as_end(&saved);
		if (count == 0)
			continue;
		values[0] = ObjectIdGetDatum(table->relid);
		values[1] = Int64GetDatum(count);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	PG_RETURN_VOID();
}

/*
 * The caller must own what is registered: rows of it will be read, and
 * history written, in its owner's name.
 */
static void
check_table(Oid relid, const char *what)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Form_pg_class form;
	char		relkind;
	char		persistence;
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("%s with OID %u does not exist", what, relid)));
	form = (Form_pg_class) GETSTRUCT(tuple);
	relkind = form->relkind;
	persistence = form->relpersistence;
	owner = form->relowner;
	ReleaseSysCache(tuple);

	if (!has_privs_of_role(GetUserId(), owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of table %s", qualified_name(relid))));
	if (relkind != RELKIND_RELATION && relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("%s is not a table", qualified_name(relid)),
				 errhint("Deals and their history are kept in ordinary or partitioned tables.")));
	if (persistence == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("\"%s\" is a temporary table", get_rel_name(relid)),
				 errhint("Deals and their history are kept in permanent tables.")));
}

static void
require_argument(FunctionCallInfo fcinfo, int number, const char *name)
{
	if (PG_ARGISNULL(number))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be NULL", name)));
}

/*
 * _register(relation, history, layout_id, key, columns, currency,
 *			 foreign_keys, on_truncate, tracked_since, adopted, tracked)
 *
 * Makes or replaces the row of tracked_table, as the definitions' owner.
 * Without "tracked", what track() noted of a table that is there already is
 * kept.
 */
Datum
pipelines_register(PG_FUNCTION_ARGS)
{
	static const char *const names[11] = {
		"relation", "history", "layout_id", "key", "columns", "currency",
		"foreign_keys", "on_truncate", "tracked_since", "adopted", "tracked"
	};
	Oid			types[11] = {
		REGCLASSOID, REGCLASSOID, INT4OID, TEXTARRAYOID, JSONBOID, TEXTOID,
		BOOLOID, TEXTOID, TIMESTAMPTZOID, BOOLOID, JSONBOID
	};
	Datum		values[11];
	char		nulls[11];
	RunAs		saved;
	int			i;

	for (i = 0; i < 11; i++)
	{
		if (i != 2 && i != 5 && i != 10)
			require_argument(fcinfo, i, names[i]);
		values[i] = PG_ARGISNULL(i) ? (Datum) 0 : PG_GETARG_DATUM(i);
		nulls[i] = PG_ARGISNULL(i) ? 'n' : ' ';
	}
	check_table(PG_GETARG_OID(0), "deals table");
	check_table(PG_GETARG_OID(1), "history table");

	run_as(definitions_owner(), &saved);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");

	/* entries of tables that were dropped would only get in the way */
	if (SPI_execute("DELETE FROM pipelines.tracked_table AS t WHERE NOT EXISTS"
					" (SELECT FROM pg_catalog.pg_class AS c WHERE c.oid OPERATOR(pg_catalog.=) t.relation)",
					false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not clear \"tracked_table\"");
	if (SPI_execute_with_args("INSERT INTO pipelines.tracked_table AS t"
							  " (relation, history, layout_id, key, columns, currency,"
							  " foreign_keys, on_truncate, tracked_since, adopted, tracked)"
							  " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, coalesce($11, '{}'))"
							  " ON CONFLICT (relation) DO UPDATE SET"
							  " history = excluded.history, layout_id = excluded.layout_id,"
							  " key = excluded.key, columns = excluded.columns,"
							  " currency = excluded.currency, foreign_keys = excluded.foreign_keys,"
							  " on_truncate = excluded.on_truncate,"
							  " tracked_since = excluded.tracked_since, adopted = excluded.adopted,"
							  " tracked = coalesce($11, t.tracked)",
							  11, types, values, nulls, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not write \"tracked_table\"");
	SPI_finish();
	run_as_end(&saved);
	PG_RETURN_VOID();
}

/*
 * _register_activity(relation, activity, activity_columns)
 *
 * Activities may come from anything that can be read, but the caller must own
 * it: it is read in the name of the owner of the deals.
 */
Datum
pipelines_register_activity(PG_FUNCTION_ARGS)
{
	Oid			types[3] = {REGCLASSOID, REGCLASSOID, JSONBOID};
	Datum		values[3];
	char		nulls[3] = {' ', ' ', ' '};
	uint64		processed;
	RunAs		saved;

	require_argument(fcinfo, 0, "relation");
	require_argument(fcinfo, 2, "activity_columns");
	values[0] = PG_GETARG_DATUM(0);
	values[1] = PG_ARGISNULL(1) ? (Datum) 0 : PG_GETARG_DATUM(1);
	values[2] = PG_GETARG_DATUM(2);
	check_table(PG_GETARG_OID(0), "deals table");
	if (PG_ARGISNULL(1))
		nulls[1] = 'n';
	else
	{
		HeapTuple	tuple = SearchSysCache1(RELOID, values[1]);
		Form_pg_class form;
		char		relkind;
		char		persistence;
		Oid			owner;

		if (!HeapTupleIsValid(tuple))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_TABLE),
					 errmsg("table of activities with OID %u does not exist",
							DatumGetObjectId(values[1]))));
		form = (Form_pg_class) GETSTRUCT(tuple);
		relkind = form->relkind;
		persistence = form->relpersistence;
		owner = form->relowner;
		ReleaseSysCache(tuple);

		if (!has_privs_of_role(GetUserId(), owner))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("must be owner of table %s", qualified_name(DatumGetObjectId(values[1])))));
		if (relkind != RELKIND_RELATION && relkind != RELKIND_PARTITIONED_TABLE &&
			relkind != RELKIND_VIEW && relkind != RELKIND_MATVIEW &&
			relkind != RELKIND_FOREIGN_TABLE)
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("%s is neither a table nor a view",
							qualified_name(DatumGetObjectId(values[1])))));
		if (persistence == RELPERSISTENCE_TEMP)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("\"%s\" is temporary", get_rel_name(DatumGetObjectId(values[1]))),
					 errhint("What was done for deals is kept in permanent tables.")));
	}

	run_as(definitions_owner(), &saved);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args("UPDATE pipelines.tracked_table"
							  " SET activity = $2, activity_columns = $3"
							  " WHERE relation OPERATOR(pg_catalog.=) $1",
							  3, types, values, nulls, false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "could not write \"tracked_table\"");
	processed = SPI_processed;
	SPI_finish();
	run_as_end(&saved);
	if (processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table %s is not registered as a deals table",
						qualified_name(DatumGetObjectId(values[0])))));
	PG_RETURN_VOID();
}

/*
 * _unregister(relation): true if there was an entry.  The entry of a table
 * that does not exist any more may be removed by anybody.
 */
Datum
pipelines_unregister(PG_FUNCTION_ARGS)
{
	Oid			types[1] = {REGCLASSOID};
	Datum		values[1];
	HeapTuple	tuple;
	RunAs		saved;
	bool		found;

	require_argument(fcinfo, 0, "relation");
	values[0] = PG_GETARG_DATUM(0);
	tuple = SearchSysCache1(RELOID, values[0]);
	if (HeapTupleIsValid(tuple))
	{
		Oid			owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;

		ReleaseSysCache(tuple);
		if (!has_privs_of_role(GetUserId(), owner))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("must be owner of table %s", qualified_name(PG_GETARG_OID(0)))));
	}

	run_as(definitions_owner(), &saved);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args("DELETE FROM pipelines.tracked_table WHERE relation OPERATOR(pg_catalog.=) $1",
							  1, types, values, NULL, false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not write \"tracked_table\"");
	found = SPI_processed > 0;
	SPI_finish();
	run_as_end(&saved);
	PG_RETURN_BOOL(found);
}
