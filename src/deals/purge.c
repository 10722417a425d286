/*-------------------------------------------------------------------------
 *
 * purge.c
 *	  Erasing what was kept about one deal.
 *
 * Owns the one way in which a past is changed: the texts and names
 * of a deal go, or all of it, from the deals, their history and their
 * activities.  The invariant: what is done here stands in purge_log and in
 * the server's log, in the same transaction; the history is open to one
 * statement at a time, which is made here and names one deal.  Must never run
 * a statement that somebody else wrote, nor work for anybody but the owner of
 * the history.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "deals/deals.h"
#include "deals/history.h"
#include "deals/key_text.h"
#include "deals/mapping.h"
#include "definitions/definitions.h"
#include "definitions/guard.h"
#include "definitions/privilege.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "pipelines.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(pipelines_purge);

/* what is done to one relation; see _purge_plan() */
typedef struct PurgeStep
{
	char	   *part;			/* deals, history, activity, or skipped */
	char	   *relation;		/* quoted and qualified */
	char	   *assignments;	/* of UPDATE; NULL: none */
	char	  **keys;			/* names of its key columns */
} PurgeStep;

/*
 * Ask _purge_plan() what is to be done, in the caller's memory.
 */
static PurgeStep *
read_plan(Oid relid, bool keep_owner, int nkeys, int *nsteps)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid			types[2] = {REGCLASSOID, BOOLOID};
	Datum		args[2] = {ObjectIdGetDatum(relid), BoolGetDatum(keep_owner)};
	MemoryContext spi;
	PurgeStep  *steps;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args("SELECT p.part, p.relation, p.assignments, p.keys"
							  " FROM pipelines._purge_plan($1, $2) AS p ORDER BY p.n",
							  2, types, args, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute_with_args failed");
	spi = MemoryContextSwitchTo(caller);
	*nsteps = (int) SPI_processed;
	steps = palloc0(sizeof(PurgeStep) * Max(*nsteps, 1));
	for (int i = 0; i < *nsteps; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		Datum	   *elements;
		bool	   *nulls;
		int			n;
		bool		isnull;

		steps[i].part = SPI_getvalue(tuple, desc, 1);
		steps[i].relation = SPI_getvalue(tuple, desc, 2);
		steps[i].assignments = SPI_getvalue(tuple, desc, 3);
		deconstruct_array(DatumGetArrayTypePCopy(SPI_getbinval(tuple, desc, 4, &isnull)),
						  TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &n);
		if (n != nkeys)
			elog(ERROR, "the key of %s has %d columns instead of %d", steps[i].relation, n, nkeys);
		steps[i].keys = palloc(sizeof(char *) * n);
		for (int k = 0; k < n; k++)
			steps[i].keys[k] = nulls[k] ? NULL : TextDatumGetCString(elements[k]);
	}
	MemoryContextSwitchTo(spi);
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	return steps;
}

/*
 * Run one step; returns how many rows it met.  Row security would hide rows
 * from those who own them only where it is forced: better an error then.
 */
static uint64
run_step(const PurgeStep *step, Oid relid, Oid history, bool keep_figures,
		 int nkeys, Oid *types, Datum *values)
{
	StringInfoData query;
	volatile uint64 processed = 0;
	int			nest_level;

	if (keep_figures && step->assignments == NULL)
		return 0;
	initStringInfo(&query);
	if (keep_figures)
		appendStringInfo(&query, "UPDATE %s AS t SET %s WHERE ", step->relation, step->assignments);
	else
		appendStringInfo(&query, "DELETE FROM %s AS t WHERE ", step->relation);
	for (int k = 0; k < nkeys; k++)
		appendStringInfo(&query, "%st.%s %s $%d", k > 0 ? " AND " : "",
						 quote_identifier(step->keys[k]), equality_of_type(types[k]), k + 1);

	nest_level = NewGUCNestLevel();
	(void) set_config_option("row_security", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	PG_TRY();
	{
		if (strcmp(step->part, "deals") == 0)
			deals_pass_begin(relid);
		else if (strcmp(step->part, "history") == 0)
			guard_open(history);
		if (SPI_connect() != SPI_OK_CONNECT)
			elog(ERROR, "SPI_connect failed");
		if (SPI_execute_with_args(query.data, nkeys, types, values, NULL, false, 0) !=
			(keep_figures ? SPI_OK_UPDATE : SPI_OK_DELETE))
			elog(ERROR, "SPI_execute_with_args failed");
		processed = SPI_processed;
		if (SPI_finish() != SPI_OK_FINISH)
			elog(ERROR, "SPI_finish failed");
	}
	PG_FINALLY();
	{
		deals_pass_end();
		guard_close();
	}
	PG_END_TRY();
	AtEOXact_GUC(true, nest_level);
	return processed;
}

static void
write_log(Relation rel, const char *deal, bool keep_figures, int64 history_rows)
{
	Oid			types[7] = {TEXTOID, TEXTOID, BOOLOID, INT8OID, TEXTOID, TEXTOID, TEXTOID};
	Datum		values[7];
	char		nulls[7] = {' ', ' ', ' ', ' ', ' ', ' ', ' '};
	const char *name = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
												  RelationGetRelationName(rel));
	const char *role = GetUserNameFromId(role_at_work(), false);
	RunAs		saved;

	values[0] = CStringGetTextDatum(name);
	values[1] = CStringGetTextDatum(deal);
	values[2] = BoolGetDatum(keep_figures);
	values[3] = Int64GetDatum(history_rows);
	values[4] = history_actor();
	values[5] = CStringGetTextDatum(role);
	values[6] = CStringGetTextDatum(pipelines_reason);
	if (pipelines_reason[0] == '\0')
		nulls[6] = 'n';

	run_as(definitions_owner(), &saved);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args("INSERT INTO pipelines.purge_log (relation, deal, keep_figures,"
							  " history_rows, purged_at, purged_by, role_name, reason)"
							  " VALUES ($1, $2, $3, $4, pg_catalog.clock_timestamp(), $5, $6, $7)",
							  7, types, values, nulls, false, 0) != SPI_OK_INSERT ||
		SPI_processed != 1)
		elog(ERROR, "could not write \"purge_log\"");
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	run_as_end(&saved);

	ereport(LOG,
			(errmsg("deal %s of table %s was purged", deal, name),
			 errdetail("By role \"%s\"; " INT64_FORMAT " rows of its history were %s.",
					   role, history_rows, keep_figures ? "changed" : "deleted")));
}

/*
 * purge(deals, deal, keep_figures, keep_owner): returns how many rows of the
 * history were changed or deleted.
 */
Datum
pipelines_purge(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	char	   *deal = text_to_cstring(PG_GETARG_TEXT_PP(1));
	bool		keep_figures = PG_GETARG_BOOL(2);
	bool		keep_owner = PG_GETARG_BOOL(3);
	Relation	rel = open_given_table(relid, RowExclusiveLock);
	TupleDesc	tupdesc = RelationGetDescr(rel);
	DealsTable *table;
	Relation	history;
	Oid			history_id;
	Oid			types[INDEX_MAX_KEYS];
	Datum		values[INDEX_MAX_KEYS];
	char	  **texts;
	PurgeStep  *steps;
	int			nkeys;
	int			nsteps;
	uint64		met = 0;
	int64		history_rows = 0;

	if (!has_privs_of_role(GetUserId(), rel->rd_rel->relowner))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, RelationGetRelationName(rel));
	table = whole_deals_table(rel);
	history_id = table->history;
	history = table_open(history_id, RowExclusiveLock);
	if (!has_privs_of_role(GetUserId(), history->rd_rel->relowner))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, RelationGetRelationName(history));
	table_close(history, NoLock);

	/* rows that this statement has yet to write would come too late */
	history_flush();

	nkeys = table->nkeys;
	texts = key_text_values(deal, nkeys);
	for (int k = 0; k < nkeys; k++)
	{
		KeyColumn	key;

		key_column_open(&key, rel, table->keys[k]);
		types[k] = getBaseType(TupleDescAttr(tupdesc, table->keys[k] - 1)->atttypid);
		values[k] = key_column_value(&key, texts[k]);
	}

	steps = read_plan(relid, keep_owner, nkeys, &nsteps);
	for (int i = 0; i < nsteps; i++)
	{
		uint64		processed;

		if (strcmp(steps[i].part, "skipped") == 0)
		{
			ereport(WARNING,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the activities of deal %s in view %s were not purged",
							deal, steps[i].relation),
					 errhint("The view takes no changes: erase what it shows where it comes from.")));
			continue;
		}
		processed = run_step(&steps[i], relid, history_id, keep_figures,
							 nkeys, types, values);
		met += processed;
		if (strcmp(steps[i].part, "history") == 0)
			history_rows = (int64) processed;
	}
	if (met == 0)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("table \"%s\" has no deal %s, and has had none",
						RelationGetRelationName(rel), deal),
				 errhint("Give the key as text, for several columns as in '(1,2)'.")));
	write_log(rel, deal, keep_figures, history_rows);
	table_close(rel, NoLock);
	PG_RETURN_INT64(history_rows);
}
