/*-------------------------------------------------------------------------
 *
 * time_machine.c
 *	  A table of deals as it was at an instant.
 *
 * Owns the text of the query behind as_of(), its execution where nothing
 * better is possible, and the planner support that replaces a call of
 * as_of(NULL::T, t) by one of T_as_of(t): an SQL function with that very
 * text, which the planner then inlines, so that "as of" costs a scan of T
 * and one range of an index, and not a copy of the table.
 *
 * Invariants: a row is in the answer exactly if it was the deal's version
 * valid at the instant (valid_from <= t < valid_to, or the present row from
 * its changed_at on); both ways of execution run the same text.  As known at
 * another instant: the same, over the versions that were known then,
 * the last of which had not ended.
 *
 * It must never run a text that it didn't make: T_as_of replaces as_of only
 * when it belongs to T's owner, has no settings or rights of its own, and its
 * body equals, byte for byte, what as_of_query() returns now.  A function
 * that somebody planted, or one that a renamed column has made stale, is left
 * alone.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_language.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "insight/insight.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/pathnodes.h"
#include "nodes/supportnodes.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "utils/typcache.h"

PG_FUNCTION_INFO_V1(pipelines_as_of);
PG_FUNCTION_INFO_V1(pipelines_as_of_known);
PG_FUNCTION_INFO_V1(pipelines_as_of_support);
PG_FUNCTION_INFO_V1(pipelines_as_of_body);
PG_FUNCTION_INFO_V1(pipelines_as_of_covered);
PG_FUNCTION_INFO_V1(pipelines_as_of_cheap);
PG_FUNCTION_INFO_V1(pipelines_as_of_cheap_support);
PG_FUNCTION_INFO_V1(pipelines_ends_within);

/* suffix of the SQL function that stands beside each table of deals */
#define AS_OF_SUFFIX	"_as_of"

static char *
qualified_name(Oid relid)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
									  get_rel_name(relid));
}

static char *
qualified_collation(Oid collation)
{
	HeapTuple	tuple = SearchSysCache1(COLLOID, ObjectIdGetDatum(collation));
	Form_pg_collation form;
	char	   *name;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for collation %u", collation);
	form = (Form_pg_collation) GETSTRUCT(tuple);
	name = quote_qualified_identifier(get_namespace_name(form->collnamespace),
									  NameStr(form->collname));
	ReleaseSysCache(tuple);
	return name;
}

/* the instant since which T's column is tracked, or NULL if it always was */
static char *
tracked_from(const DealsLayout *layout, const char *role, const char *name)
{
	const char *keys[] = {role, name};

	if (layout->tracked == NULL || !JB_ROOT_IS_OBJECT(layout->tracked))
		return NULL;

	for (int i = 0; i < (int) lengthof(keys); i++)
	{
		JsonbValue	buffer;
		JsonbValue *value;

		value = getKeyJsonValueFromContainer(&layout->tracked->root, keys[i],
											 strlen(keys[i]), &buffer);
		if (value != NULL && value->type == jbvString)
			return pnstrdup(value->val.string.val, value->val.string.len);
	}
	return NULL;
}

/*
 * One column of T, as it is read from the history and from T itself.  A
 * column that isn't tracked is NULL in both: a report must not mix values of
 * then with values of now.
 */
static void
append_column(StringInfo past, StringInfo present, const DealsLayout *layout,
			  Form_pg_attribute att, TupleDesc history_desc)
{
	MappedColumn *column = NULL;
	ListCell   *cell;
	char	   *type = format_type_extended(att->atttypid, att->atttypmod,
											FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);
	const char *name = quote_identifier(NameStr(att->attname));
	char	   *since;

	foreach(cell, layout->columns)
	{
		MappedColumn *candidate = lfirst(cell);

		if (candidate->attnum == att->attnum)
			column = candidate;
	}

	if (past->len > 0)
	{
		appendStringInfoString(past, ", ");
		appendStringInfoString(present, ", ");
	}

	if (column != NULL && (strcmp(column->role, "changed_at") == 0 ||
						   strcmp(column->role, "version") == 0))
	{
		const char *own = strcmp(column->role, "version") == 0 ? "version" : "valid_from";

		appendStringInfo(past, "h.%s", quote_identifier(layout_history_column(layout, own)));
		appendStringInfo(present, "d.%s", name);
		return;
	}
	if (column == NULL || column->history_attnum == InvalidAttrNumber)
	{
		appendStringInfo(past, "NULL::%s", type);
		appendStringInfo(present, "NULL::%s", type);
		return;
	}

	since = tracked_from(layout, column->role, NameStr(att->attname));
	if (since != NULL)
	{
		char	   *condition =
			psprintf("CASE WHEN $1 OPERATOR(pg_catalog.>=) %s::pg_catalog.timestamptz THEN ",
					 quote_literal_cstr(since));

		appendStringInfoString(past, condition);
		appendStringInfoString(present, condition);
	}

	{
		Form_pg_attribute his = TupleDescAttr(history_desc, column->history_attnum - 1);

		appendStringInfo(past, "h.%s", quote_identifier(NameStr(his->attname)));
		if (his->atttypid != att->atttypid || his->atttypmod != att->atttypmod)
			appendStringInfo(past, "::%s", type);
		if (his->attcollation != att->attcollation && OidIsValid(att->attcollation))
			appendStringInfo(past, " COLLATE %s", qualified_collation(att->attcollation));
	}
	appendStringInfo(present, "d.%s", name);

	if (since != NULL)
	{
		appendStringInfoString(past, " END");
		appendStringInfoString(present, " END");
	}
}

/*
 * The query: $1 is the instant, the result has T's live columns in order.
 * Everything in it is qualified, since it is planned under whatever
 * search_path the caller has.
 */
static char *
as_of_query(const DealsLayout *layout)
{
	StringInfoData past;
	StringInfoData present;
	StringInfoData outer;		/* v.c1, v.c2, ... */
	StringInfoData names;		/* c1, c2, ... */
	StringInfoData query;
	Relation	rel = table_open(layout->relid, AccessShareLock);
	Relation	history = table_open(layout->history, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);
	char	   *changed_at = NULL;
	char	   *covered = "";
	ListCell   *cell;

	initStringInfo(&past);
	initStringInfo(&present);
	initStringInfo(&outer);
	initStringInfo(&names);
	initStringInfo(&query);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped)
			continue;
		append_column(&past, &present, layout, att, RelationGetDescr(history));
		appendStringInfo(&outer, "%sv.c%d", outer.len > 0 ? ", " : "", att->attnum);
		appendStringInfo(&names, "%sc%d", names.len > 0 ? ", " : "", att->attnum);
	}
	foreach(cell, layout->columns)
	{
		MappedColumn *column = lfirst(cell);

		if (strcmp(column->role, "changed_at") == 0)
			changed_at = get_attname(layout->relid, column->attnum, true);
	}
	if (changed_at == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("table \"%s\" has lost its column changed_at",
						RelationGetRelationName(rel)),
				 errhint("pipelines.verify() lists what else is missing.")));

	/* a table that was adopted has no past before that, unless imported */
	if (!TIMESTAMP_IS_NOBEGIN(layout->tracked_since))
		covered = psprintf("\nAND pipelines._as_of_covered(%s::pg_catalog.regclass, $1)",
						   quote_literal_cstr(qualified_name(layout->relid)));

	/*
	 * The conditions stand outside the UNION ALL: arms with conditions of
	 * their own would not be pulled up, and cost a projection of all columns
	 * for each row.  The planner pushes them down to where they belong.
	 * LEAST, since the present row, whose end is 'infinity', is in the answer
	 * for the instant 'infinity' too; IS NULL OR would do, at the price of a
	 * plain index scan.
	 *
	 * The CASE is gone once the planner has looked at it: it leaves the
	 * instant as it is where it costs nothing to evaluate for each row and
	 * tells the planner something, and a subquery, evaluated once, where it
	 * is an expression like now() - interval '7 days'.
	 */
	appendStringInfo(&query,
					 "SELECT %s\nFROM (SELECT %s, h.%s, h.%s FROM %s h\n"
					 "UNION ALL\n"
					 "SELECT %s, d.%s, 'infinity'::pg_catalog.timestamptz FROM %s d)\n"
					 "AS v (%s, f, t)\n"
					 "WHERE v.f OPERATOR(pg_catalog.<=)"
					 " CASE WHEN pipelines._as_of_cheap($1) THEN $1 ELSE (SELECT $1) END"
					 " AND v.t OPERATOR(pg_catalog.>)"
					 " LEAST($1, '294276-12-31 23:59:59.999999+00'::pg_catalog.timestamptz)%s",
					 outer.data, past.data,
					 quote_identifier(layout_history_column(layout, "valid_from")),
					 quote_identifier(layout_history_column(layout, "valid_to")),
					 qualified_name(layout->history),
					 present.data, quote_identifier(changed_at),
					 qualified_name(layout->relid), names.data, covered);

	table_close(history, AccessShareLock);
	table_close(rel, AccessShareLock);
	return query.data;
}

/* the operator with which a unique index compares values of a type */
static char *
qualified_equality(Oid type)
{
	Oid			operator = lookup_type_cache(type, TYPECACHE_EQ_OPR)->eq_opr;
	HeapTuple	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(operator));
	Form_pg_operator form;
	char	   *name;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("type %s has no equality operator", format_type_be(type)),
				 errhint("Keys of deals are of types that an index can keep unique.")));
	form = (Form_pg_operator) GETSTRUCT(tuple);
	name = psprintf("OPERATOR(%s.%s)",
					quote_identifier(get_namespace_name(form->oprnamespace)),
					NameStr(form->oprname));
	ReleaseSysCache(tuple);
	return name;
}

/*
 * The key of a deal, three times: as columns of a row of the history (h), of a
 * deal (d), and as a comparison of a version v with a row n of the history.
 */
static void
append_keys(const DealsLayout *layout, StringInfo past, StringInfo present,
			StringInfo names, StringInfo match)
{
	ListCell   *cell;

	foreach(cell, layout->columns)
	{
		MappedColumn *column = lfirst(cell);
		char	   *name;

		if (strncmp(column->role, "key", 3) != 0 ||
			!isdigit((unsigned char) column->role[3]) ||
			column->history_attnum == InvalidAttrNumber)
			continue;
		name = get_attname(layout->history, column->history_attnum, false);
		appendStringInfo(past, ", h.%s", quote_identifier(name));
		appendStringInfo(present, ", d.%s",
						 quote_identifier(get_attname(layout->relid, column->attnum, false)));
		appendStringInfo(names, ", k%d", column->attnum);
		appendStringInfo(match, " AND n.%s %s v.k%d", quote_identifier(name),
						 qualified_equality(get_atttype(layout->history,
														column->history_attnum)),
						 column->attnum);
	}
}

/*
 * As known at $2.  Three kinds of versions were known then: those whose end was
 * known; those which, as far as anybody knew, had not ended, though they have
 * now; and present ones that had begun.  A version's beginning was known when
 * the row of the version before it was written; that of a first version when
 * it began, or when it was imported.  So the last two kinds are left out where
 * the row that tells of their beginning was written later.  That row ended when
 * the version began, or before: few rows ended by an instant and were written
 * after it, which is why this is asked of all versions together, once.
 */
static char *
known_query(const DealsLayout *layout)
{
	StringInfoData past;
	StringInfoData present;
	StringInfoData outer;
	StringInfoData names;
	StringInfoData query;
	Relation	rel = table_open(layout->relid, AccessShareLock);
	Relation	history = table_open(layout->history, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);
	char	   *changed_at = NULL;
	char	   *version = NULL;
	const char *from = quote_identifier(layout_history_column(layout, "valid_from"));
	const char *to = quote_identifier(layout_history_column(layout, "valid_to"));
	const char *recorded = quote_identifier(layout_history_column(layout, "recorded_at"));
	const char *own_version = quote_identifier(layout_history_column(layout, "version"));
	StringInfoData past_keys;
	StringInfoData present_keys;
	StringInfoData key_names;
	StringInfoData same_key;
	char	   *ended;
	char	   *covered = "";
	ListCell   *cell;

	initStringInfo(&past);
	initStringInfo(&present);
	initStringInfo(&outer);
	initStringInfo(&names);
	initStringInfo(&query);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped)
			continue;
		append_column(&past, &present, layout, att, RelationGetDescr(history));
		appendStringInfo(&outer, "%sv.c%d", outer.len > 0 ? ", " : "", att->attnum);
		appendStringInfo(&names, "%sc%d", names.len > 0 ? ", " : "", att->attnum);
	}
	foreach(cell, layout->columns)
	{
		MappedColumn *column = lfirst(cell);
		char	  **name = strcmp(column->role, "changed_at") == 0 ? &changed_at :
			strcmp(column->role, "version") == 0 ? &version : NULL;

		if (name != NULL)
			*name = get_attname(layout->relid, column->attnum, true);
	}
	if (changed_at == NULL || version == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("table \"%s\" has lost its column %s",
						RelationGetRelationName(rel),
						changed_at == NULL ? "changed_at" : "version"),
				 errhint("pipelines.verify() lists what else is missing.")));

	if (!TIMESTAMP_IS_NOBEGIN(layout->tracked_since))
		covered = psprintf("\nAND pipelines._as_of_covered(%s::pg_catalog.regclass, $1)",
						   quote_literal_cstr(qualified_name(layout->relid)));
	ended = psprintf("(h.%s OPERATOR(pg_catalog.<=) $2 AND h.%s OPERATOR(pg_catalog.<=) $2)",
					 recorded, to);
	initStringInfo(&past_keys);
	initStringInfo(&present_keys);
	initStringInfo(&key_names);
	initStringInfo(&same_key);
	append_keys(layout, &past_keys, &present_keys, &key_names, &same_key);

	appendStringInfo(&query,
					 "SELECT %s\nFROM (SELECT %s%s, h.%s,"
					 " CASE WHEN %s THEN h.%s ELSE 'infinity'::pg_catalog.timestamptz END,"
					 " CASE WHEN %s THEN NULL ELSE h.%s OPERATOR(pg_catalog.-) 1 END FROM %s h"
					 " WHERE %s OR h.%s OPERATOR(pg_catalog.<=) $2"
					 " AND NOT (h.%s OPERATOR(pg_catalog.=) 1 AND h.%s)\n"
					 "UNION ALL\n",
					 outer.data, past.data, past_keys.data, from, ended, to, ended, own_version,
					 qualified_name(layout->history), ended, from, own_version,
					 quote_identifier(layout_history_column(layout, "imported")));
	appendStringInfo(&query,
					 "SELECT %s%s, d.%s, 'infinity'::pg_catalog.timestamptz, d.%s OPERATOR(pg_catalog.-) 1 FROM %s d"
					 " WHERE d.%s OPERATOR(pg_catalog.<=) $2)\n"
					 "AS v (%s%s, f, t, b)\n"
					 "WHERE v.f OPERATOR(pg_catalog.<=) $1 AND v.t OPERATOR(pg_catalog.>)"
					 " LEAST($1, '294276-12-31 23:59:59.999999+00'::pg_catalog.timestamptz)%s\n",
					 present.data, present_keys.data, quote_identifier(changed_at),
					 quote_identifier(version), qualified_name(layout->relid),
					 quote_identifier(changed_at), names.data, key_names.data, covered);
	appendStringInfo(&query,
					 "AND NOT EXISTS (SELECT FROM %s n WHERE n.%s OPERATOR(pg_catalog.>) $2"
					 " AND n.%s OPERATOR(pg_catalog.<=) LEAST($1, $2)"
					 " AND n.%s OPERATOR(pg_catalog.=) v.b%s)",
					 qualified_name(layout->history), recorded, to, own_version, same_key.data);

	table_close(history, AccessShareLock);
	table_close(rel, AccessShareLock);
	return query.data;
}

/* the text, for those who make T_as_of */
Datum
pipelines_as_of_body(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(as_of_query(layout_require(PG_GETARG_OID(0)))));
}

/*
 * Raises the error for an instant of which nothing is known; true otherwise.
 * It stands in the query as a condition without columns, so that it is
 * evaluated once.
 */
Datum
pipelines_as_of_covered(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	TimestampTz instant = PG_GETARG_TIMESTAMPTZ(1);
	DealsLayout *layout = layout_require(relid);

	if (instant < layout->tracked_since)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("nothing is known of \"%s\" at %s",
						get_rel_name(relid), timestamptz_to_str(instant)),
				 errdetail("Its history begins at %s, when it was adopted.",
						   timestamptz_to_str(layout->tracked_since)),
				 errhint("pipelines.import_history() loads an earlier past.")));
	PG_RETURN_BOOL(true);
}

/*
 * Is an instant cheap to evaluate for each row?  Said at planning time, see
 * as_of_query(); what is left for execution is a parameter of T_as_of.
 */
Datum
pipelines_as_of_cheap(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(true);
}

/* a variable of any query level */
static bool
contains_variable(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var) || IsA(node, PlaceHolderVar))
		return true;
	return expression_tree_walker(node, contains_variable, context);
}

Datum
pipelines_as_of_cheap_support(PG_FUNCTION_ARGS)
{
	Node	   *request = (Node *) PG_GETARG_POINTER(0);
	Node	   *instant;

	if (!IsA(request, SupportRequestSimplify))
		PG_RETURN_POINTER(NULL);
	instant = linitial(((SupportRequestSimplify *) request)->fcall->args);

	/* a subquery with a variable in it would be run for each row */
	PG_RETURN_POINTER(makeBoolConst(IsA(instant, Const) || IsA(instant, Param) ||
									contains_variable(instant, NULL),
									false));
}

/*
 * Does T_as_of exist, and is it the function that we would make now?  Returns
 * its OID or InvalidOid.
 */
static Oid
inlinable_as_of(Oid relid)
{
	char		name[NAMEDATALEN];
	const char *table_name = get_rel_name(relid);
	Oid			argtype = TIMESTAMPTZOID;
	DealsLayout *layout;
	HeapTuple	tuple;
	Form_pg_proc proc;
	Oid			funcid;
	bool		usable;

	if (table_name == NULL ||
		strlen(table_name) + strlen(AS_OF_SUFFIX) >= NAMEDATALEN)
		return InvalidOid;
	snprintf(name, sizeof(name), "%s%s", table_name, AS_OF_SUFFIX);

	tuple = SearchSysCache3(PROCNAMEARGSNSP, PointerGetDatum(name),
							PointerGetDatum(buildoidvector(&argtype, 1)),
							ObjectIdGetDatum(get_rel_namespace(relid)));
	if (!HeapTupleIsValid(tuple))
		return InvalidOid;

	proc = (Form_pg_proc) GETSTRUCT(tuple);
	funcid = proc->oid;
	usable = proc->prolang == SQLlanguageId &&
		proc->prokind == PROKIND_FUNCTION &&
		proc->provolatile == PROVOLATILE_STABLE &&
		proc->proretset &&
		!proc->prosecdef &&
		!proc->proisstrict &&
		!OidIsValid(proc->prosupport) &&
		get_typ_typrelid(proc->prorettype) == relid &&
		heap_attisnull(tuple, Anum_pg_proc_proconfig, NULL) &&
		compat_function_aclcheck(funcid, GetUserId()) == ACLCHECK_OK;
	if (usable)
	{
		HeapTuple	class = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));

		usable = HeapTupleIsValid(class) &&
			((Form_pg_class) GETSTRUCT(class))->relowner == proc->proowner;
		if (HeapTupleIsValid(class))
			ReleaseSysCache(class);
	}

	if (usable && (layout = layout_read(relid)) != NULL)
	{
		bool		isnull;
		Datum		source = SysCacheGetAttr(PROCNAMEARGSNSP, tuple,
											 Anum_pg_proc_prosrc, &isnull);

		usable = !isnull &&
			strcmp(TextDatumGetCString(source), as_of_query(layout)) == 0;
	}
	else
		usable = false;

	ReleaseSysCache(tuple);
	return usable ? funcid : InvalidOid;
}

/* the table whose row type an expression has, or InvalidOid */
static Oid
row_type_relation(Oid type)
{
	if (!OidIsValid(type) || get_typtype(type) != TYPTYPE_COMPOSITE)
		return InvalidOid;
	return get_typ_typrelid(type);
}

/*
 * pipelines_as_of_support
 *		Replace as_of(NULL::T, t) by T_as_of(t), which the planner inlines.
 */
Datum
pipelines_as_of_support(PG_FUNCTION_ARGS)
{
	Node	   *request = (Node *) PG_GETARG_POINTER(0);
	FuncExpr   *call;
	FuncExpr   *result;
	Node	   *row;
	Oid			relid;
	Oid			funcid;
	MemoryContext context;
	MemoryContext caller;

	if (!IsA(request, SupportRequestSimplify))
		PG_RETURN_POINTER(NULL);

	call = ((SupportRequestSimplify *) request)->fcall;
	if (list_length(call->args) != 2)
		PG_RETURN_POINTER(NULL);

	/* the row serves for its type only, but must not be worth evaluating */
	row = linitial(call->args);
	relid = row_type_relation(exprType(row));
	if (!OidIsValid(relid) || !IsA(row, Const))
		PG_RETURN_POINTER(NULL);

	/* the planner's memory lives as long as a prepared plan: leave no litter */
	context = AllocSetContextCreate(CurrentMemoryContext, "pipelines as_of",
									ALLOCSET_SMALL_SIZES);
	caller = MemoryContextSwitchTo(context);
	funcid = inlinable_as_of(relid);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);

	if (!OidIsValid(funcid))
		PG_RETURN_POINTER(NULL);

	result = makeFuncExpr(funcid, call->funcresulttype,
						  list_make1(lsecond(call->args)),
						  InvalidOid, call->inputcollid, COERCE_EXPLICIT_CALL);
	result->funcretset = true;
	result->location = call->location;
	PG_RETURN_POINTER(result);
}

/*
 * Prepare rsinfo for rows of T, and say which attribute each column of the
 * query goes to: dropped ones are in T's row type, not in the query.
 */
static AttrNumber *
prepare_result(FunctionCallInfo fcinfo, Oid type)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext old;
	AttrNumber *target;
	int			live = 0;

	if (rsinfo == NULL || !IsA(rsinfo, ReturnSetInfo) ||
		(rsinfo->allowedModes & SFRM_Materialize) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("pipelines.as_of() can't be called here"),
				 errhint("Call it in FROM.")));

	old = MemoryContextSwitchTo(rsinfo->econtext->ecxt_per_query_memory);
	rsinfo->returnMode = SFRM_Materialize;
	rsinfo->setDesc = lookup_rowtype_tupdesc_copy(type, -1);
	rsinfo->setResult =
		tuplestore_begin_heap((rsinfo->allowedModes & SFRM_Materialize_Random) != 0,
							  false, work_mem);
	target = palloc(sizeof(AttrNumber) * (rsinfo->setDesc->natts + 1));
	for (int i = 0; i < rsinfo->setDesc->natts; i++)
		if (!TupleDescAttr(rsinfo->setDesc, i)->attisdropped)
			target[live++] = i;
	target[live] = -1;
	MemoryContextSwitchTo(old);
	return target;
}

/* rows of a query, on their way to the result */
typedef struct AsOfReceiver
{
	DestReceiver pub;
	ReturnSetInfo *rsinfo;
	const AttrNumber *target;
	Datum	   *values;
	bool	   *nulls;
} AsOfReceiver;

static void
start_rows(DestReceiver *self, int operation, TupleDesc desc)
{
}

static bool
receive_row(TupleTableSlot *slot, DestReceiver *self)
{
	AsOfReceiver *receiver = (AsOfReceiver *) self;

	slot_getallattrs(slot);
	for (int i = 0; receiver->target[i] >= 0; i++)
	{
		receiver->values[receiver->target[i]] = slot->tts_values[i];
		receiver->nulls[receiver->target[i]] = slot->tts_isnull[i];
	}
	tuplestore_putvalues(receiver->rsinfo->setResult, receiver->rsinfo->setDesc,
						 receiver->values, receiver->nulls);
	return true;
}

static void
end_rows(DestReceiver *self)
{
}

/* run as_of() or its like in the way that always works, and keep the rows */
static Datum
materialize(FunctionCallInfo fcinfo, char *(*make_query) (const DealsLayout *layout))
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Oid			type = get_fn_expr_argtype(fcinfo->flinfo, 0);
	Oid			relid = row_type_relation(type);
	int			nargs = PG_NARGS() - 1;
	Oid			argtypes[2] = {TIMESTAMPTZOID, TIMESTAMPTZOID};
	Datum		args[2];
	AsOfReceiver receiver;

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the first argument of pipelines.as_of() is not a row of a table"),
				 errhint("Write NULL::<table>, as in pipelines.as_of(NULL::deals, '2026-10-01').")));

	memset(&receiver, 0, sizeof(receiver));
	receiver.target = prepare_result(fcinfo, type);
	for (int i = 0; i < nargs; i++)
	{
		/* as for any comparison with NULL, no row is known to qualify */
		if (PG_ARGISNULL(i + 1))
			return (Datum) 0;
		args[i] = PG_GETARG_DATUM(i + 1);
	}

	receiver.pub.mydest = DestNone;
	receiver.pub.rStartup = start_rows;
	receiver.pub.receiveSlot = receive_row;
	receiver.pub.rShutdown = end_rows;
	receiver.pub.rDestroy = end_rows;
	receiver.rsinfo = rsinfo;
	receiver.values = palloc0(sizeof(Datum) * rsinfo->setDesc->natts);
	receiver.nulls = palloc(sizeof(bool) * rsinfo->setDesc->natts);
	for (int i = 0; i < rsinfo->setDesc->natts; i++)
		receiver.nulls[i] = true;

	SPI_connect();
	compat_spi_send(make_query(layout_require(relid)), nargs, argtypes, args, NULL, &receiver.pub);
	SPI_finish();
	return (Datum) 0;
}

/*
 * pipelines_as_of
 *		as_of() where the planner couldn't replace it: runs the same text.
 */
Datum
pipelines_as_of(PG_FUNCTION_ARGS)
{
	return materialize(fcinfo, as_of_query);
}

Datum
pipelines_as_of_known(PG_FUNCTION_ARGS)
{
	return materialize(fcinfo, known_query);
}

/* how many instants of an ascending list lie before one */
static int
count_before(const TimestampTz *instants, int count, TimestampTz bound)
{
	int			low = 0;

	while (low < count)
	{
		int			middle = low + (count - low) / 2;

		if (instants[middle] < bound)
			low = middle + 1;
		else
			count = middle;
	}
	return low;
}

/* the elements of an array of values of fixed length; NULL: some are null */
static void *
plain_elements(ArrayType *array, int *count)
{
	*count = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	if (ARR_HASNULL(array))
		return NULL;
	return (char *) array + ARR_OVERHEAD_NONULLS(ARR_NDIM(array));
}

/*
 * pipelines_ends_within
 *		Which of its pipeline's instants a version was valid at: the place of
 *		the first one, and that of the last one below it.
 */
Datum
pipelines_ends_within(PG_FUNCTION_ARGS)
{
	ArrayType  *ends = PG_GETARG_ARRAYTYPE_P(0);
	ArrayType  *pipelines = PG_GETARG_ARRAYTYPE_P(1);
	int32		pipeline_id = PG_GETARG_INT32(2);
	TimestampTz from = PG_GETARG_TIMESTAMPTZ(3);
	TimestampTz until = PG_GETARG_TIMESTAMPTZ(4);
	int			count;
	int			npipelines;
	const TimestampTz *instants = plain_elements(ends, &count);
	const int32 *ids = plain_elements(pipelines, &npipelines);
	int			i = 0;
	int			above;
	int			first;
	int			last;

	/* as for any comparison with NULL */
	if (instants == NULL || ids == NULL)
		PG_RETURN_NULL();
	above = npipelines;
	while (i < above)
	{
		int			middle = i + (above - i) / 2;

		if (ids[middle] < pipeline_id)
			i = middle + 1;
		else
			above = middle;
	}
	if (i == npipelines || ids[i] != pipeline_id)
		PG_RETURN_NULL();
	count /= npipelines;
	instants += (Size) i * count;

	first = count_before(instants, count, from);
	last = TIMESTAMP_IS_NOEND(until) ? count :
		first + count_before(instants + first, count - first, until);
	if (first >= last)
		PG_RETURN_NULL();
	PG_RETURN_INT64(((int64) (first + 1) << 32) | last);
}
