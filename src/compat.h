/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  The only place that knows PostgreSQL's version numbers.
 *
 * Each difference between PostgreSQL 13 and 19 that the sources meet is
 * given one name here; no other file compares PG_VERSION_NUM.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PIPELINES_COMPAT_H
#define PIPELINES_COMPAT_H

#if PG_VERSION_NUM < 130000
#error "pipelines needs PostgreSQL 13 or later"
#endif

/* varatt.h was split off postgres.h in 16 */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* functions that never return; the old spelling went with 18 */
#if PG_VERSION_NUM >= 180000
#define compat_noreturn pg_noreturn
#else
#define compat_noreturn pg_attribute_noreturn()
#endif

/* a case that goes on into the next: a comment says so, and since 19 a word */
#if PG_VERSION_NUM >= 190000
#define compat_fallthrough pg_fallthrough
#else
#define compat_fallthrough ((void) 0)
#endif

/* a setting of our prefix that we don't know is an error since 15 */
#if PG_VERSION_NUM >= 150000
#define compat_reserve_guc_prefix(prefix) MarkGUCPrefixReserved(prefix)
#else
#define compat_reserve_guc_prefix(prefix) EmitWarningsOnPlaceholders(prefix)
#endif

/* index_insert() is told about unchanged columns since 14, cleans up since 17 */
#if PG_VERSION_NUM >= 140000
#define compat_index_insert(index, values, nulls, tid, heap, check, info) \
	((void) index_insert(index, values, nulls, tid, heap, check, false, info))
#else
#define compat_index_insert(index, values, nulls, tid, heap, check, info) \
	((void) index_insert(index, values, nulls, tid, heap, check, info))
#endif
#if PG_VERSION_NUM >= 170000
#define compat_index_insert_cleanup(index, info) index_insert_cleanup(index, info)
#else
#define compat_index_insert_cleanup(index, info) ((void) 0)
#endif

/* index scans can be instrumented since 18 */
#if PG_VERSION_NUM >= 190000
#define compat_index_beginscan(heap, index, snapshot, nkeys) \
	index_beginscan(heap, index, snapshot, NULL, nkeys, 0, 0)
#elif PG_VERSION_NUM >= 180000
#define compat_index_beginscan(heap, index, snapshot, nkeys) \
	index_beginscan(heap, index, snapshot, NULL, nkeys, 0)
#else
#define compat_index_beginscan(heap, index, snapshot, nkeys) \
	index_beginscan(heap, index, snapshot, nkeys, 0)
#endif

/* scans of tables have flags since 19, and so have updates */
#include "access/tableam.h"
#if PG_VERSION_NUM >= 190000
#define compat_table_beginscan(rel, snapshot) table_beginscan(rel, snapshot, 0, NULL, 0)
#define compat_table_update(rel, tid, slot, cid, snapshot, failure, lockmode, indexes) \
	table_tuple_update(rel, tid, slot, cid, 0, snapshot, InvalidSnapshot, true, failure, \
					   lockmode, indexes)
#else
#define compat_table_beginscan(rel, snapshot) table_beginscan(rel, snapshot, 0, NULL)
#define compat_table_update(rel, tid, slot, cid, snapshot, failure, lockmode, indexes) \
	table_tuple_update(rel, tid, slot, cid, snapshot, InvalidSnapshot, true, failure, \
					   lockmode, indexes)
#endif

/* moves: x = ANY (array) looks into a hash table since 14, where no index helps */
#if PG_VERSION_NUM >= 140000
#define compat_any_is_hashed true
#else
#define compat_any_is_hashed false
#endif

/* deals: a domain tells since 19 whether what it checks is volatile, too */
#include "utils/typcache.h"
#if PG_VERSION_NUM >= 190000
#define compat_domain_has_constraints(type) DomainHasConstraints(type, NULL)
#else
#define compat_domain_has_constraints(type) DomainHasConstraints(type)
#endif

/* insight: what is being made of a jsonb is a struct of the caller's since 19 */
#include "utils/jsonb.h"
#if PG_VERSION_NUM >= 190000
typedef JsonbInState CompatJsonb;
#else
typedef struct CompatJsonb
{
	JsonbParseState *parseState;
	JsonbValue *result;
} CompatJsonb;
#endif
static inline void
compat_push_jsonb(CompatJsonb *json, JsonbIteratorToken token, JsonbValue *value)
{
#if PG_VERSION_NUM >= 190000
	pushJsonbValue(json, token, value);
#else
	json->result = pushJsonbValue(&json->parseState, token, value);
#endif
}

/* insight: a set-returning function that fills a tuplestore */
#include "funcapi.h"
#include "utils/tuplestore.h"
#if PG_VERSION_NUM >= 150000
#define compat_materialize(fcinfo) InitMaterializedSRF((fcinfo), 0)
#else
#include "miscadmin.h"
static inline void
compat_materialize(FunctionCallInfo fcinfo)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext old;
	TupleDesc	desc;

	if (rsinfo == NULL || !IsA(rsinfo, ReturnSetInfo) ||
		(rsinfo->allowedModes & SFRM_Materialize) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("set-valued function called in context that cannot accept a set")));
	old = MemoryContextSwitchTo(rsinfo->econtext->ecxt_per_query_memory);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	rsinfo->returnMode = SFRM_Materialize;
	rsinfo->setResult =
		tuplestore_begin_heap((rsinfo->allowedModes & SFRM_Materialize_Random) != 0,
							  false, work_mem);
	rsinfo->setDesc = desc;
	MemoryContextSwitchTo(old);
}
#endif

/* insight: state of the other backends, read anew */
#include "pgstat.h"
#if PG_VERSION_NUM >= 140000
#include "utils/backend_status.h"
#define compat_clear_backend_status() pgstat_clear_backend_activity_snapshot()
#else
#define compat_clear_backend_status() pgstat_clear_snapshot()
#endif
#if PG_VERSION_NUM >= 160000
#define compat_local_beentry(i) pgstat_get_local_beentry_by_index(i)
#else
#define compat_local_beentry(i) pgstat_fetch_stat_local_beentry(i)
#endif

/* insight: may the role execute the function? */
#include "utils/acl.h"
#if PG_VERSION_NUM >= 160000
#include "catalog/pg_proc.h"
#define compat_function_aclcheck(funcid, roleid) \
	object_aclcheck(ProcedureRelationId, (funcid), (roleid), ACL_EXECUTE)
#else
#define compat_function_aclcheck(funcid, roleid) \
	pg_proc_aclcheck((funcid), (roleid), ACL_EXECUTE)
#endif

/* definitions: the grammar alone; it can start from other things since 14 */
#if PG_VERSION_NUM >= 140000
#define compat_raw_parser(text) raw_parser((text), RAW_PARSE_DEFAULT)
#else
#define compat_raw_parser(text) raw_parser(text)
#endif
/*
 * deals: an UPDATE below the executor says which indexes want an entry since
 * 16, before that whether any does; and who makes the entries wants to know.
 */
#include "executor/executor.h"
#if PG_VERSION_NUM >= 160000
typedef TU_UpdateIndexes CompatUpdateIndexes;
#else
typedef bool CompatUpdateIndexes;
#endif
static inline void
compat_insert_indexes(ResultRelInfo *relinfo, TupleTableSlot *slot, EState *estate,
					  CompatUpdateIndexes indexes)
{
	if (relinfo->ri_NumIndices == 0 || indexes == 0)
		return;
#if PG_VERSION_NUM >= 190000
	(void) ExecInsertIndexTuples(relinfo, estate,
								 indexes == TU_Summarizing ? EIIT_ONLY_SUMMARIZING : 0,
								 slot, NIL, NULL);
#elif PG_VERSION_NUM >= 160000
	(void) ExecInsertIndexTuples(relinfo, slot, estate, false, false, NULL, NIL,
								 indexes == TU_Summarizing);
#elif PG_VERSION_NUM >= 140000
	(void) ExecInsertIndexTuples(relinfo, slot, estate, false, false, NULL, NIL);
#else
	estate->es_result_relation_info = relinfo;
	(void) ExecInsertIndexTuples(slot, estate, false, NULL, NIL);
#endif
}

/*
 * insight: a query within SPI whose rows go to a receiver one by one, read by
 * several processes where the planner likes.  Since 14; before that a cursor,
 * which is read by one.
 */
#include "executor/spi.h"
#include "nodes/params.h"
static inline void
compat_spi_send(const char *query, int nargs, Oid *types, Datum *values, const char *nulls,
				DestReceiver *receiver)
{
#if PG_VERSION_NUM >= 140000
	SPIExecuteOptions options;

	memset(&options, 0, sizeof(options));
	options.params = makeParamList(nargs);
	for (int i = 0; i < nargs; i++)
	{
		ParamExternData *param = &options.params->params[i];

		param->value = values[i];
		param->isnull = nulls != NULL && nulls[i] == 'n';
		param->pflags = PARAM_FLAG_CONST;
		param->ptype = types[i];
	}
	options.read_only = true;
	options.dest = receiver;
	if (SPI_execute_extended(query, &options) < 0)
		elog(ERROR, "could not run a query: %s", SPI_result_code_string(SPI_result));
#else
	Portal		portal = SPI_cursor_open_with_args(NULL, query, nargs, types, values, nulls,
												   true, CURSOR_OPT_NO_SCROLL);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(portal->tupDesc, &TTSOpsHeapTuple);

	receiver->rStartup(receiver, CMD_SELECT, portal->tupDesc);
	for (;;)
	{
		SPI_cursor_fetch(portal, true, 1000);
		if (SPI_processed == 0)
			break;
		for (uint64 row = 0; row < SPI_processed; row++)
		{
			ExecStoreHeapTuple(SPI_tuptable->vals[row], slot, false);
			(void) receiver->receiveSlot(slot, receiver);
		}
		ExecClearTuple(slot);
		SPI_freetuptable(SPI_tuptable);
	}
	receiver->rShutdown(receiver);
	ExecDropSingleTupleTableSlot(slot);
	SPI_cursor_close(portal);
#endif
}

/* values: infinite numerics exist since 14 */
#if PG_VERSION_NUM >= 140000
#define compat_numeric_is_inf(num) numeric_is_inf(num)
#else
#define compat_numeric_is_inf(num) false
#endif

/* values: input functions may report bad input softly since 16 */
#if PG_VERSION_NUM >= 160000
#define compat_ereturn(context, result, details) \
	ereturn(context, result, details)
#else
#define compat_ereturn(context, result, details) \
	do { ereport(ERROR, details); return result; } while (0)
#endif

#endif							/* PIPELINES_COMPAT_H */
