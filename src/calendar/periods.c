/*-------------------------------------------------------------------------
 *
 * periods.c
 *	  The triggers of calendars and their periods.
 *
 * Owns what must hold among the periods of one calendar: none overlaps
 * another of its kind, there is no gap between them, each lies in its parent,
 * and the parts of a period fill it.  That is looked at once, when the
 * transaction ends, so that periods can be edited step by step.  A deferred
 * constraint trigger would do the same, but may not fire for rows that go
 * because a row that they refer to goes (references.c).  Further: a locked
 * period stays what it is until it is unlocked, and it is locked only when
 * nobody is changing deals.
 *
 * Rows that come with their bookkeeping (a restore, a copy) are let through
 * as they are, since they come in any order; check_calendar() looks at them.
 *
 * Must never change the bookkeeping of a row, which is bookkeeping.c's, and
 * so its trigger sorts before that one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "calendar/calendar_private.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "compat.h"
#include "definitions/definitions.h"
#include "definitions/privilege.h"
#include "errors.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "parser/parse_func.h"
#include "replication/logicalworker.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(pipelines_calendar_before);
PG_FUNCTION_INFO_V1(pipelines_period_before);

/* calendars whose periods were changed in this transaction; ints */
static List *changed_calendars = NIL;

static void
forget_changes(void *arg)
{
	changed_calendars = NIL;
}

static void
note_change(int32 calendar_id)
{
	MemoryContext old_context = MemoryContextSwitchTo(TopTransactionContext);

	if (changed_calendars == NIL)
	{
		MemoryContextCallback *callback = palloc0(sizeof(MemoryContextCallback));

		callback->func = forget_changes;
		MemoryContextRegisterResetCallback(TopTransactionContext, callback);
	}
	changed_calendars = list_append_unique_int(changed_calendars, calendar_id);
	MemoryContextSwitchTo(old_context);
}

/*
 * Anybody may create a trigger on a table of their own with our functions.
 */
static TriggerData *
begin_trigger(FunctionCallInfo fcinfo, const char *function, TriggerEvent timing,
			  const char *table_name)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	Oid			relid;

	if (!CALLED_AS_TRIGGER(fcinfo) ||
		(trigdata->tg_event & TRIGGER_EVENT_TIMINGMASK) != timing ||
		!TRIGGER_FIRED_FOR_ROW(trigdata->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be called by a row trigger of the definition table \"%s\"",
						function, table_name),
				 errhint("\"SELECT pipelines.setup();\" makes these triggers.")));
	relid = RelationGetRelid(trigdata->tg_relation);
	if (trigdata->tg_relation->rd_rel->relispartition)
		relid = llast_oid(get_partition_ancestors(relid));
	if (relid != calendar_relid(table_name))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" serves the definition table \"%s\" only",
						function, table_name),
				 errhint("Drop the trigger.")));
	return trigdata;
}

static Datum
column_value(Relation rel, HeapTuple tuple, const char *column, bool *isnull)
{
	AttrNumber	attnum = get_attnum(RelationGetRelid(rel), column);

	if (attnum == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the definition table \"%s\" has no column \"%s\"",
						RelationGetRelationName(rel), column),
				 errhint("Run \"SELECT pipelines.setup();\" as the database's administrator."),
				 errtable(rel)));
	return heap_getattr(tuple, attnum, RelationGetDescr(rel), isnull);
}

static bool
column_is_null(Relation rel, HeapTuple tuple, const char *column)
{
	bool		isnull;

	(void) column_value(rel, tuple, column, &isnull);
	return isnull;
}

/* 0 for NULL */
static int32
column_int(Relation rel, HeapTuple tuple, const char *column)
{
	bool		isnull;
	Datum		value = column_value(rel, tuple, column, &isnull);

	return isnull ? 0 : DatumGetInt32(value);
}

static char *
column_text(Relation rel, HeapTuple tuple, const char *column)
{
	bool		isnull;
	Datum		value = column_value(rel, tuple, column, &isnull);

	return isnull ? pstrdup("") : TextDatumGetCString(value);
}

static HeapTuple
set_column(Relation rel, HeapTuple tuple, const char *column, Datum value)
{
	int			attnum = get_attnum(RelationGetRelid(rel), column);
	bool		isnull = false;

	return heap_modify_tuple_by_cols(tuple, RelationGetDescr(rel), 1, &attnum, &value, &isnull);
}

/* did one of these columns change? */
static bool
any_changed(TriggerData *trigdata, const char *const *columns, int n)
{
	Relation	rel = trigdata->tg_relation;
	int			i;

	for (i = 0; i < n; i++)
	{
		AttrNumber	attnum = get_attnum(RelationGetRelid(rel), columns[i]);
		bool		null_old;
		bool		null_new;
		Datum		value_old = column_value(rel, trigdata->tg_trigtuple, columns[i], &null_old);
		Datum		value_new = column_value(rel, trigdata->tg_newtuple, columns[i], &null_new);
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), attnum - 1);

		if (null_old != null_new ||
			(!null_old && !datum_image_eq(value_old, value_new, att->attbyval, att->attlen)))
			return true;
	}
	return false;
}

/* does a new row come from a restore or a copy?  See bookkeeping.c. */
static bool
is_kept(Relation rel, HeapTuple tuple)
{
	bool		no_version;
	bool		no_changed_at;
	Datum		version = column_value(rel, tuple, "version", &no_version);
	Datum		changed_at = column_value(rel, tuple, "changed_at", &no_changed_at);

	return !no_version && !no_changed_at && DatumGetInt32(version) >= 1 &&
		DatumGetTimestampTz(changed_at) <= GetCurrentTimestamp() &&
		has_privs_of_role(GetUserId(), rel->rd_rel->relowner);
}

/*
 * Is there a standard calendar, rows of this very statement included?
 */
static bool
standard_exists(void)
{
	RunAs		saved;
	bool		found;

	run_as(definitions_owner(), &saved);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute("SELECT FROM pipelines.fiscal_calendar AS c WHERE c.is_standard",
					false, 1) != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute failed");
	found = SPI_processed > 0;
	SPI_finish();
	run_as_end(&saved);
	return found;
}

/*
 * BEFORE INSERT OR UPDATE of fiscal_calendar: the first one is the standard
 * one unless something else is said, and a day needs a time zone.
 */
Datum
pipelines_calendar_before(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = begin_trigger(fcinfo, "_calendar_before", TRIGGER_EVENT_BEFORE,
										  "fiscal_calendar");
	Relation	rel = trigdata->tg_relation;
	bool		is_insert = TRIGGER_FIRED_BY_INSERT(trigdata->tg_event);
	HeapTuple	tuple = is_insert ? trigdata->tg_trigtuple : trigdata->tg_newtuple;
	char	   *zone;
	pg_tz	   *tz;

	if (IsLogicalWorker())
		return PointerGetDatum(tuple);
	if (column_is_null(rel, tuple, "is_standard"))
	{
		/* two at once would both be the first */
		usage_take_turn();
		tuple = set_column(rel, tuple, "is_standard", BoolGetDatum(!standard_exists()));
	}
	if (column_is_null(rel, tuple, "time_zone"))
		tuple = set_column(rel, tuple, "time_zone",
						   CStringGetTextDatum(pg_get_timezone_name(session_timezone)));
	zone = column_text(rel, tuple, "time_zone");
	tz = pg_tzset(zone);
	if (tz == NULL || !pg_tz_acceptable(tz))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time zone \"%s\" not recognized", zone),
				 errdetail("It was given for fiscal calendar \"%s\".",
						   column_text(rel, tuple, "name")),
				 errhint("The view pg_timezone_names lists them."),
				 errtablecol(rel, get_attnum(RelationGetRelid(rel), "time_zone"))));
	return PointerGetDatum(tuple);
}

static void
refuse_locked(Relation rel, HeapTuple tuple, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_PIPELINES_PERIOD_LOCKED),
			 errmsg("fiscal period \"%s\" is locked and can't be %s",
					column_text(rel, tuple, "label"), what),
			 errdetail("Deals were reported by it."),
			 errhint("Unlock it first: SELECT pipelines.unlock_period(%d, reason => '...').",
					 column_int(rel, tuple, "period_id")),
			 errtable(rel)));
}

/*
 * BEFORE INSERT OR UPDATE OR DELETE of fiscal_period.
 */
Datum
pipelines_period_before(PG_FUNCTION_ARGS)
{
	static const char *const shape[] = {"calendar_id", "kind", "starts", "ends"};
	static const char *const place[] = {"parent_id"};
	TriggerData *trigdata = begin_trigger(fcinfo, "_period_before", TRIGGER_EVENT_BEFORE,
										  "fiscal_period");
	Relation	rel = trigdata->tg_relation;
	HeapTuple	old = trigdata->tg_trigtuple;
	HeapTuple	result = TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event) ?
		trigdata->tg_newtuple : trigdata->tg_trigtuple;

	if (IsLogicalWorker())
		return PointerGetDatum(result);
	if (TRIGGER_FIRED_BY_INSERT(trigdata->tg_event))
	{
		if (is_kept(rel, result))
			return PointerGetDatum(result);

		/* two at once would not see each other's */
		usage_take_turn();
		if (!column_is_null(rel, result, "locked_at"))
			usage_lock();
		note_change(column_int(rel, result, "calendar_id"));
	}
	else if (TRIGGER_FIRED_BY_DELETE(trigdata->tg_event))
	{
		if (!column_is_null(rel, old, "locked_at"))
			refuse_locked(rel, old, "deleted");
		note_change(column_int(rel, old, "calendar_id"));
	}
	else
	{
		bool		was_locked = !column_is_null(rel, old, "locked_at");

		/* who has closed deals in it has done so by then, or comes too late */
		if (!was_locked && !column_is_null(rel, result, "locked_at"))
			usage_lock();
		if (any_changed(trigdata, shape, lengthof(shape)))
		{
			if (was_locked)
				refuse_locked(rel, old, "changed");
			note_change(column_int(rel, old, "calendar_id"));
			note_change(column_int(rel, result, "calendar_id"));
		}
		else if (any_changed(trigdata, place, lengthof(place)))
			note_change(column_int(rel, result, "calendar_id"));
	}
	return PointerGetDatum(result);
}

/*
 * Look at a calendar with the newest snapshot, everything that the present
 * transaction did included.
 */
static void
check_calendar(int32 calendar_id)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid			types[1] = {INT4OID};
	Datum		values[1] = {Int32GetDatum(calendar_id)};
	RunAs		saved;
	char	   *message = NULL;
	char	   *detail = NULL;

	run_as(definitions_owner(), &saved);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	PushActiveSnapshot(GetLatestSnapshot());
	if (SPI_execute_with_args("SELECT p.message, pg_catalog.format('Fiscal calendar \"%s\".', c.name)"
							  " FROM pipelines._calendar_problems($1) AS p"
							  " JOIN pipelines.fiscal_calendar AS c"
							  " ON c.calendar_id OPERATOR(pg_catalog.=) p.calendar_id"
							  " ORDER BY p.starts, p.period_id LIMIT 1",
							  1, types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute_with_args failed");
	PopActiveSnapshot();
	if (SPI_processed > 0)
	{
		MemoryContext spi_context = MemoryContextSwitchTo(caller);

		message = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
		detail = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2);
		message = pstrdup(message);
		detail = pstrdup(detail);
		MemoryContextSwitchTo(spi_context);
	}
	SPI_finish();
	run_as_end(&saved);
	if (message == NULL)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_PIPELINES_CALENDAR_BROKEN),
			 errmsg("%s", message),
			 errdetail("%s", detail),
			 errhint("Change all periods concerned in one transaction; pipelines.check_calendar() shows what is wrong."),
			 err_generic_string(PG_DIAG_SCHEMA_NAME, "pipelines"),
			 err_generic_string(PG_DIAG_TABLE_NAME, "fiscal_period")));
}

/*
 * Is all there that a look needs?  The same transaction may have dropped the
 * tables, or the extension.
 */
static bool
can_check(void)
{
	static const char *const tables[] = {"definition_lock", "fiscal_calendar", "fiscal_period"};
	Oid			schema = get_namespace_oid("pipelines", true);
	Oid			types[1] = {INT4OID};

	if (!OidIsValid(schema))
		return false;
	for (int i = 0; i < (int) lengthof(tables); i++)
	{
		if (!OidIsValid(get_relname_relid(tables[i], schema)))
			return false;
	}
	return OidIsValid(LookupFuncName(list_make2(makeString(pstrdup("pipelines")),
												makeString(pstrdup("_calendar_problems"))),
									 1, types, true));
}

static void
xact_callback(XactEvent event, void *arg)
{
	ListCell   *lc;

	if (changed_calendars == NIL ||
		(event != XACT_EVENT_PRE_COMMIT && event != XACT_EVENT_PRE_PREPARE) ||
		!can_check())
		return;
	foreach(lc, changed_calendars)
		check_calendar(lfirst_int(lc));
}

void
periods_init(void)
{
	RegisterXactCallback(xact_callback, NULL);
}
