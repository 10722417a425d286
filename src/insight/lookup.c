/*-------------------------------------------------------------------------
 *
 * lookup.c
 *	  A subquery that parallel workers may run.
 *
 * PostgreSQL leaves every query with a correlated subquery to one process,
 * however seldom the subquery is reached: a report by owner, say, that asks the
 * history only of deals that were changed after their closing.  The same text
 * as a call of _lookup() doesn't stop the workers.
 *
 * Invariant: the text is run with the rights of the caller, by the caller's
 * snapshot, and can only read.  It must never keep anything of a row.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(pipelines_lookup);

/* one call site; lives as long as the query that calls */
typedef struct Lookup
{
	MemoryContextCallback callback;
	char	   *text;
	SPIPlanPtr	plan;
} Lookup;

static void
forget_plan(void *arg)
{
	Lookup	   *lookup = arg;

	if (lookup->plan != NULL)
		SPI_freeplan(lookup->plan);
	lookup->plan = NULL;
}

/* the plan of a text, connected to SPI; a call site seldom has more than one */
static SPIPlanPtr
plan_of(FunctionCallInfo fcinfo, const char *text)
{
	Lookup	   *lookup = fcinfo->flinfo->fn_extra;
	Oid			types[FUNC_MAX_ARGS];
	SPIPlanPtr	plan;

	if (lookup == NULL)
	{
		lookup = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(Lookup));
		lookup->callback.func = forget_plan;
		lookup->callback.arg = lookup;
		MemoryContextRegisterResetCallback(fcinfo->flinfo->fn_mcxt, &lookup->callback);
		fcinfo->flinfo->fn_extra = lookup;
	}
	if (lookup->plan != NULL && strcmp(lookup->text, text) == 0)
		return lookup->plan;

	for (int i = 1; i < PG_NARGS(); i++)
	{
		types[i - 1] = get_fn_expr_argtype(fcinfo->flinfo, i);
		if (!OidIsValid(types[i - 1]) || types[i - 1] == UNKNOWNOID)
			ereport(ERROR,
					(errcode(ERRCODE_INDETERMINATE_DATATYPE),
					 errmsg("parameter $%d of a look-up has no type", i),
					 errhint("Write CAST(... AS text), for example.")));
	}
	plan = SPI_prepare(text, PG_NARGS() - 1, types);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	if (SPI_keepplan(plan) != 0)
		elog(ERROR, "SPI_keepplan failed");
	forget_plan(lookup);
	lookup->plan = plan;
	if (lookup->text != NULL)
		pfree(lookup->text);
	lookup->text = MemoryContextStrdup(fcinfo->flinfo->fn_mcxt, text);
	return plan;
}

/*
 * Arguments: the text of a query for one value of the type that is returned, then
 * its parameters.  The first row counts; without one, NULL.
 */
Datum
pipelines_lookup(PG_FUNCTION_ARGS)
{
	Datum		values[FUNC_MAX_ARGS];
	char		nulls[FUNC_MAX_ARGS];
	char	   *query;
	Oid			type = get_fn_expr_rettype(fcinfo->flinfo);
	SPIPlanPtr	plan;
	Datum		result = (Datum) 0;
	bool		isnull = true;
	int16		length;
	bool		byval;

	if (get_fn_expr_variadic(fcinfo->flinfo))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the parameters of a look-up can't be an array"),
				 errhint("List them, without VARIADIC.")));
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	query = text_to_cstring(PG_GETARG_TEXT_PP(0));
	for (int i = 1; i < PG_NARGS(); i++)
	{
		values[i - 1] = PG_GETARG_DATUM(i);
		nulls[i - 1] = PG_ARGISNULL(i) ? 'n' : ' ';
	}

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	plan = plan_of(fcinfo, query);
	if (SPI_execute_plan(plan, values, nulls, true, 1) != SPI_OK_SELECT ||
		SPI_tuptable->tupdesc->natts != 1 ||
		SPI_gettypeid(SPI_tuptable->tupdesc, 1) != type)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("a look-up is not a query for one %s", format_type_be(type)),
				 errdetail("It is: %s", query)));
	if (SPI_processed > 0)
	{
		result = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
		get_typlenbyval(type, &length, &byval);
		if (!isnull)
			result = SPI_datumTransfer(result, byval, length);
	}
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	if (isnull)
		PG_RETURN_NULL();
	return result;
}
