/*-------------------------------------------------------------------------
 *
 * totals.c
 *	  Totals of pipelines, also for those who see nothing else of them.
 *
 * Owns: a role that was given the totals of a protected pipeline, and
 * no more, is told sums over all its deals.  They are computed in the name of
 * the table's owner, over pipelines that the definitions say it may have the
 * totals of, by a query whose text is ours alone.
 *
 * The invariant: such a sum consists of at least pipeline.totals_from amounts,
 * or nothing but its being there is told.  Must never take any part of that
 * query from the caller, nor tell a sum from which another one that is told
 * could be subtracted.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "deals/deals.h"
#include "deals/mapping.h"
#include "definitions/definitions.h"
#include "definitions/privilege.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(pipelines_totals);

#define TOTALS_COLUMNS	9

/* pipeline, stage, outcome, percent of each stage, and is it omitted?, side by side */
typedef struct StageArrays
{
	int			n;
	Datum	   *pipelines;
	Datum	   *stages;
	Datum	   *outcomes;
	Datum	   *percents;
	Datum	   *omitted;
	Datum		values[5];
} StageArrays;

/*
 * The stages of all pipelines that the current user sees, or has the totals
 * of only.
 */
static void
collect_stages(StageArrays *arrays, bool totals_only)
{
	const PipelineDef **pipelines;
	int			npipelines;
	int			room = 0;

	AcceptInvalidationMessages();
	npipelines = definitions_pipelines(&pipelines);
	for (int i = 0; i < npipelines; i++)
		room += pipelines[i]->nstages;
	arrays->n = 0;
	arrays->pipelines = palloc(sizeof(Datum) * Max(room, 1));
	arrays->stages = palloc(sizeof(Datum) * Max(room, 1));
	arrays->outcomes = palloc(sizeof(Datum) * Max(room, 1));
	arrays->percents = palloc(sizeof(Datum) * Max(room, 1));
	arrays->omitted = palloc(sizeof(Datum) * Max(room, 1));
	for (int i = 0; i < npipelines; i++)
	{
		const PipelineDef *pipeline = pipelines[i];

		if (!(totals_only ? definitions_totals_only(pipeline, GetUserId()) :
			  definitions_may_see(pipeline, GetUserId())))
			continue;
		for (int j = 0; j < pipeline->nstages; j++)
		{
			const StageDef *stage = &pipeline->stages[j];
			int			n = arrays->n++;

			arrays->pipelines[n] = Int32GetDatum(pipeline->pipeline_id);
			arrays->stages[n] = Int32GetDatum(stage->stage_id);
			arrays->outcomes[n] = CStringGetTextDatum(definitions_outcome_word(stage->outcome));
			arrays->percents[n] = Int32GetDatum(stage->probability);
			arrays->omitted[n] = BoolGetDatum(stage->omitted);
		}
	}
	arrays->values[0] = PointerGetDatum(construct_array(arrays->pipelines, arrays->n, INT4OID,
														sizeof(int32), true, TYPALIGN_INT));
	arrays->values[1] = PointerGetDatum(construct_array(arrays->stages, arrays->n, INT4OID,
														sizeof(int32), true, TYPALIGN_INT));
	arrays->values[2] = PointerGetDatum(construct_array(arrays->outcomes, arrays->n, TEXTOID,
														-1, false, TYPALIGN_INT));
	arrays->values[3] = PointerGetDatum(construct_array(arrays->percents, arrays->n, INT4OID,
														sizeof(int32), true, TYPALIGN_INT));
	arrays->values[4] = PointerGetDatum(construct_array(arrays->omitted, arrays->n, BOOLOID,
														sizeof(bool), true, TYPALIGN_CHAR));
}

/* the query, which names the table's columns */
static char *
totals_query(Oid relid)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid			types[1] = {REGCLASSOID};
	Datum		values[1] = {ObjectIdGetDatum(relid)};
	char	   *query;
	RunAs		saved;

	run_as(definitions_owner(), &saved);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args("SELECT pipelines._totals_text($1)", 1, types, values,
							  NULL, true, 1) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "_totals_text failed");
	query = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	if (query == NULL)
		elog(ERROR, "_totals_text returned null");
	query = MemoryContextStrdup(caller, query);
	SPI_finish();
	run_as_end(&saved);
	return query;
}

/*
 * Run the query as the current user, and hand its rows on.  The amounts of
 * groups that are too small are left out where 'mask' is set.
 */
static void
put_totals(ReturnSetInfo *rsinfo, const char *query, StageArrays *arrays, bool mask)
{
	Oid			types[5] = {INT4ARRAYOID, INT4ARRAYOID, TEXTARRAYOID, INT4ARRAYOID, BOOLARRAYOID};

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args(query, 5, types, arrays->values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "the query of totals failed");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		Datum		values[TOTALS_COLUMNS];
		bool		nulls[TOTALS_COLUMNS] = {false};
		const PipelineDef *pipeline;
		bool		masked;

		/* pipeline, outcome, currency, deals, unpriced, amount, weighted */
		values[0] = SPI_getbinval(tuple, desc, 1, &nulls[0]);
		for (int c = 2; c < TOTALS_COLUMNS - 1; c++)
			values[c] = SPI_getbinval(tuple, desc, c, &nulls[c]);
		pipeline = definitions_pipeline(DatumGetInt32(values[0]));
		if (pipeline == NULL)
			continue;
		values[1] = CStringGetTextDatum(pipeline->name);
		/* one amount among many deals without any is that deal's */
		masked = mask &&
			DatumGetInt64(values[4]) - DatumGetInt64(values[5]) < pipeline->totals_from;
		for (int c = 4; c <= 7; c++)
			nulls[c] = nulls[c] || masked;
		values[8] = BoolGetDatum(mask);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	SPI_finish();
}

/*
 * _totals(deals): one row for each pipeline, outcome and currency.
 */
Datum
pipelines_totals(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Relation	rel;
	StageArrays seen;
	StageArrays totals_only;
	char	   *query;
	Oid			owner;

	compat_materialize(fcinfo);
	rel = open_given_table(PG_GETARG_OID(0), AccessShareLock);
	(void) whole_deals_table(rel);
	owner = rel->rd_rel->relowner;
	query = totals_query(RelationGetRelid(rel));
	collect_stages(&seen, false);
	collect_stages(&totals_only, true);

	/* whoever may read nothing is told so, unless there is something to tell */
	if (totals_only.n == 0 ||
		pg_class_aclcheck(RelationGetRelid(rel), GetUserId(), ACL_SELECT) == ACLCHECK_OK)
		put_totals(rsinfo, query, &seen, false);
	if (totals_only.n > 0)
	{
		RunAs		saved;

		run_as(owner, &saved);
		put_totals(rsinfo, query, &totals_only, true);
		run_as_end(&saved);
	}
	table_close(rel, NoLock);
	PG_RETURN_NULL();
}
