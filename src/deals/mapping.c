/*-------------------------------------------------------------------------
 *
 * mapping.c
 *	  Which column of a deals table plays which part.
 *
 * Owns the per-backend descriptions of deals tables.  Their source is the
 * trigger "pipelines_columns": its column list (pg_trigger.tgattr) follows
 * renames and survives dump and restore, its arguments say, in the same
 * order, what each column is ("role=history column").  The history and the
 * layout come from pipelines.tracked_table.
 *
 * The invariant: a description that is marked valid agrees with the catalogs
 * as of the last invalidation message.  The invalidation callback only clears
 * that mark.  A description that was replaced is kept until the transaction
 * ends, since a trigger further up the stack may be using it.
 *
 * Must never look anything up through search_path, nor trust a relation
 * because of its name: a table counts as a deals table only through
 * tracked_table.  Nor may it trust that table alone, which its owner can
 * write: a history must belong to the owner of the deals.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_am.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_index.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "compat.h"
#include "deals/application.h"
#include "definitions/definitions.h"
#include "lib/stringinfo.h"
#include "mapping.h"
#include "miscadmin.h"
#include "nodes/bitmapset.h"
#include "optimizer/optimizer.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/partcache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#define COLUMNS_TRIGGER "pipelines_columns"
#define AFTER_TRIGGER "pipelines_after"

PG_FUNCTION_INFO_V1(pipelines_mapping_trigger);
PG_FUNCTION_INFO_V1(pipelines_own_column);
PG_FUNCTION_INFO_V1(pipelines_plain_type);
PG_FUNCTION_INFO_V1(pipelines_is_ordered);

static const char *const role_names[NUM_ROLES] = {
	[ROLE_PIPELINE_ID] = "pipeline_id",
	[ROLE_STAGE_ID] = "stage_id",
	[ROLE_AMOUNT] = "amount",
	[ROLE_CURRENCY] = "currency",
	[ROLE_PROBABILITY] = "probability",
	[ROLE_FORECAST_CATEGORY] = "forecast_category",
	[ROLE_CLOSED_AT] = "closed_at",
	[ROLE_CLOSED_ON] = "closed_on",
	[ROLE_CLOSE_REASON] = "close_reason",
	[ROLE_COMPETITOR] = "competitor",
	[ROLE_CLOSE_NOTES] = "close_notes",
	[ROLE_CREATED_AT] = "created_at",
	[ROLE_CREATED_BY] = "created_by",
	[ROLE_APPLICATION_STAGE] = "application_stage",
	[ROLE_APPLICATION_OUTCOME] = "application_outcome",
	[ROLE_STAGE_ENTERED_AT] = "stage_entered_at",
	[ROLE_FURTHEST_STAGE_ID] = "furthest_stage_id",
	[ROLE_GATE_STAGE_ID] = "gate_stage_id",
	[ROLE_EPISODE] = "episode",
	[ROLE_VERSION] = "version",
	[ROLE_CHANGED_AT] = "changed_at"
};

/*
 * The type that each of them must have (domains over it are accepted, and
 * varchar for text); InvalidOid: any.
 */
static const Oid role_types[NUM_ROLES] = {
	[ROLE_PIPELINE_ID] = INT4OID,
	[ROLE_STAGE_ID] = INT4OID,
	[ROLE_AMOUNT] = InvalidOid,
	[ROLE_CURRENCY] = InvalidOid,
	[ROLE_PROBABILITY] = NUMERICOID,
	[ROLE_FORECAST_CATEGORY] = TEXTOID,
	[ROLE_CLOSED_AT] = TIMESTAMPTZOID,
	[ROLE_CLOSED_ON] = DATEOID,
	[ROLE_CLOSE_REASON] = TEXTOID,
	[ROLE_COMPETITOR] = TEXTOID,
	[ROLE_CLOSE_NOTES] = TEXTOID,
	[ROLE_CREATED_AT] = TIMESTAMPTZOID,
	[ROLE_CREATED_BY] = TEXTOID,
	[ROLE_APPLICATION_STAGE] = InvalidOid,
	[ROLE_APPLICATION_OUTCOME] = InvalidOid,
	[ROLE_STAGE_ENTERED_AT] = TIMESTAMPTZOID,
	[ROLE_FURTHEST_STAGE_ID] = INT4OID,
	[ROLE_GATE_STAGE_ID] = INT4OID,
	[ROLE_EPISODE] = INT4OID,
	[ROLE_VERSION] = INT4OID,
	[ROLE_CHANGED_AT] = TIMESTAMPTZOID
};

static const char *const history_names[NUM_HISTORY_COLUMNS] = {
	[HISTORY_VERSION] = "version",
	[HISTORY_CHANGE] = "change",
	[HISTORY_VALID_FROM] = "valid_from",
	[HISTORY_VALID_TO] = "valid_to",
	[HISTORY_TO_PIPELINE_ID] = "to_pipeline_id",
	[HISTORY_TO_STAGE_ID] = "to_stage_id",
	[HISTORY_SKIPPED_STAGES] = "skipped_stages",
	[HISTORY_ACTOR] = "actor",
	[HISTORY_ROLE_NAME] = "role_name",
	[HISTORY_APPLICATION_NAME] = "application_name",
	[HISTORY_REASON] = "reason",
	[HISTORY_BATCH] = "batch",
	[HISTORY_TXID] = "txid",
	[HISTORY_RECORDED_AT] = "recorded_at",
	[HISTORY_BYPASSED] = "bypassed",
	[HISTORY_IMPORTED] = "imported"
};

static const Oid history_types[NUM_HISTORY_COLUMNS] = {
	[HISTORY_VERSION] = INT4OID,
	[HISTORY_CHANGE] = TEXTOID,
	[HISTORY_VALID_FROM] = TIMESTAMPTZOID,
	[HISTORY_VALID_TO] = TIMESTAMPTZOID,
	[HISTORY_TO_PIPELINE_ID] = INT4OID,
	[HISTORY_TO_STAGE_ID] = INT4OID,
	[HISTORY_SKIPPED_STAGES] = INT4ARRAYOID,
	[HISTORY_ACTOR] = TEXTOID,
	[HISTORY_ROLE_NAME] = TEXTOID,
	[HISTORY_APPLICATION_NAME] = TEXTOID,
	[HISTORY_REASON] = TEXTOID,
	[HISTORY_BATCH] = TEXTOID,
	[HISTORY_TXID] = INT8OID,
	[HISTORY_RECORDED_AT] = TIMESTAMPTZOID,
	[HISTORY_BYPASSED] = BOOLOID,
	[HISTORY_IMPORTED] = BOOLOID
};

/* one hash entry a relation; the description hangs on it */
typedef struct TableEntry
{
	Oid			relid;
	DealsTable *table;
} TableEntry;

static HTAB *tables = NULL;
static List *retired = NIL;		/* MemoryContexts of replaced descriptions */
static bool outdated = false;	/* some description is marked invalid */
static DealsTable *last_used = NULL;	/* most rows are like the one before */
static uint64 lock_epoch = 1;
static Oid	tracked_table_relid = InvalidOid;	/* as of the last build */
static uint64 invalidations = 0;	/* messages seen so far */

/*
 * Something about a relation changed.  Only marks: we may be anywhere.
 */
static void
table_invalidated(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS status;
	TableEntry *entry;

	invalidations++;
	hash_seq_init(&status, tables);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		DealsTable *table = entry->table;

		if (table != NULL &&
			(relid == InvalidOid || relid == table->relid ||
			 relid == table->root || relid == table->history || relid == table->activity ||
			 relid == tracked_table_relid))
		{
			table->valid = false;
			outdated = true;
		}
	}
}

void
mapping_init(void)
{
	HASHCTL		ctl;

	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(TableEntry);
	tables = hash_create("pipelines deals tables", 16, &ctl,
						 HASH_ELEM | HASH_BLOBS);
	CacheRegisterRelcacheCallback(table_invalidated, (Datum) 0);
}

void
mapping_forget_locks(void)
{
	lock_epoch++;
}

/*
 * The transaction ends: nobody looks at a description any more.  Outdated
 * ones go too; their relations may be gone for good.
 */
void
mapping_free_retired(void)
{
	HASH_SEQ_STATUS status;
	TableEntry *entry;
	ListCell   *lc;

	foreach(lc, retired)
		MemoryContextDelete((MemoryContext) lfirst(lc));
	list_free(retired);
	retired = NIL;
	last_used = NULL;

	if (!outdated)
		return;
	hash_seq_init(&status, tables);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (entry->table != NULL && entry->table->valid)
			continue;
		if (entry->table != NULL)
			MemoryContextDelete(entry->table->context);
		hash_search(tables, &entry->relid, HASH_REMOVE, NULL);
	}
	outdated = false;
}

static Trigger *
find_trigger(Relation rel, const char *name)
{
	TriggerDesc *trigdesc = rel->trigdesc;

	for (int i = 0; trigdesc != NULL && i < trigdesc->numtriggers; i++)
	{
		if (strcmp(trigdesc->triggers[i].tgname, name) == 0)
			return &trigdesc->triggers[i];
	}
	return NULL;
}

static AttrNumber
find_column(TupleDesc tupdesc, const char *name)
{
	for (int i = 0; i < tupdesc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(tupdesc, i);

		if (!att->attisdropped && strcmp(NameStr(att->attname), name) == 0)
			return att->attnum;
	}
	return InvalidAttrNumber;
}

/*
 * A column that a history has of its own: 'pipelines_x' stands for 'x' where
 * the deals have an 'x' of their own.
 */
static AttrNumber
find_own_column(TupleDesc history, const char *name)
{
	AttrNumber	attnum = find_column(history, psprintf("pipelines_%s", name));

	return attnum == InvalidAttrNumber ? find_column(history, name) : attnum;
}

/* pipelines._deal_before(), by name and schema: no path is searched */
static Oid
before_function(void)
{
	oidvector  *no_arguments = buildoidvector(NULL, 0);

	return GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid,
						   CStringGetDatum("_deal_before"),
						   PointerGetDatum(no_arguments),
						   ObjectIdGetDatum(get_namespace_oid("pipelines", false)));
}

bool
has_deal_triggers(Relation rel)
{
	Oid			before = before_function();

	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
	{
		if (rel->trigdesc->triggers[i].tgfoid == before)
			return true;
	}
	return false;
}

/*
 * The names of the BEFORE ROW triggers for one event that fire after ours.
 * "Ours" is the trigger that calls our function; the name is not looked at.
 */
static char *
later_triggers(Relation rel, Oid our_function, int16 event)
{
	TriggerDesc *trigdesc = rel->trigdesc;
	StringInfoData buf;
	bool		ours_seen = false;

	initStringInfo(&buf);
	for (int i = 0; trigdesc != NULL && i < trigdesc->numtriggers; i++)
	{
		Trigger    *trigger = &trigdesc->triggers[i];

		if (!TRIGGER_TYPE_MATCHES(trigger->tgtype, TRIGGER_TYPE_ROW,
								  TRIGGER_TYPE_BEFORE, event))
			continue;
		if (trigger->tgfoid == our_function)
			ours_seen = true;
		else if (ours_seen && trigger->tgenabled != TRIGGER_DISABLED)
			appendStringInfo(&buf, "%s\"%s\"", buf.len > 0 ? ", " : "",
							 trigger->tgname);
	}
	return buf.len > 0 ? buf.data : NULL;
}

/*
 * Find the row of tracked_table for this relation, or for the partitioned
 * table that it is a partition of.  False if there is none.
 */
static bool
find_registration(DealsTable *table, List *candidates)
{
	Oid			relid;
	Relation	rel;
	TupleDesc	tupdesc;
	TableScanDesc scan;
	TupleTableSlot *slot;
	Snapshot	snapshot;
	AttrNumber	a_relation,
				a_history,
				a_layout,
				a_truncate,
				a_currency,
				a_activity,
				a_activity_columns,
				a_application,
				a_adopted,
				a_since;
	bool		found = false;

	if (!definitions_exist())
		return false;
	relid = definitions_relid("tracked_table");
	tracked_table_relid = relid;
	rel = table_open(relid, AccessShareLock);
	tupdesc = RelationGetDescr(rel);
	a_relation = find_column(tupdesc, "relation");
	a_history = find_column(tupdesc, "history");
	a_layout = find_column(tupdesc, "layout_id");
	a_truncate = find_column(tupdesc, "on_truncate");
	a_currency = find_column(tupdesc, "currency");
	a_activity = find_column(tupdesc, "activity");
	a_activity_columns = find_column(tupdesc, "activity_columns");
	a_application = find_column(tupdesc, "application");
	a_adopted = find_column(tupdesc, "adopted");
	a_since = find_column(tupdesc, "tracked_since");
	if (a_relation == InvalidAttrNumber || a_history == InvalidAttrNumber ||
		a_layout == InvalidAttrNumber || a_truncate == InvalidAttrNumber ||
		a_currency == InvalidAttrNumber || a_activity == InvalidAttrNumber ||
		a_activity_columns == InvalidAttrNumber ||
		a_adopted == InvalidAttrNumber || a_since == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" lacks a column that pipelines needs",
						RelationGetRelationName(rel)),
				 errhint("Run SELECT pipelines.setup().")));

	snapshot = RegisterSnapshot(GetLatestSnapshot());
	slot = table_slot_create(rel, NULL);
	scan = compat_table_beginscan(rel, snapshot);
	while (!found && table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		bool		isnull;
		Oid			tracked = DatumGetObjectId(slot_getattr(slot, a_relation, &isnull));
		Datum		value;

		if (isnull || !list_member_oid(candidates, tracked))
			continue;
		found = true;
		table->root = tracked;
		table->history = DatumGetObjectId(slot_getattr(slot, a_history, &isnull));
		table->layout_id = DatumGetInt32(slot_getattr(slot, a_layout, &isnull));
		if (isnull)
			table->layout_id = 0;
		value = slot_getattr(slot, a_truncate, &isnull);
		table->record_truncate = !isnull &&
			strcmp(TextDatumGetCString(value), "record") == 0;
		value = slot_getattr(slot, a_currency, &isnull);
		table->currency = isnull ? NULL : TextDatumGetCString(value);
		value = slot_getattr(slot, a_activity, &isnull);
		table->activity = isnull ? InvalidOid : DatumGetObjectId(value);
		value = slot_getattr(slot, a_activity_columns, &isnull);
		table->activity_columns = isnull ? NULL : PG_DETOAST_DATUM_COPY(value);
		if (a_application != InvalidAttrNumber)
		{
			value = slot_getattr(slot, a_application, &isnull);
			if (!isnull)
				table->settings = JsonbPGetDatum(DatumGetJsonbPCopy(value));
		}
		value = slot_getattr(slot, a_adopted, &isnull);
		table->adopted_at = DT_NOBEGIN;
		if (!isnull && DatumGetBool(value))
			table->adopted_at = DatumGetTimestampTz(slot_getattr(slot, a_since, &isnull));
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	return found;
}

/*
 * The columns that decide which partition a row of this partition lives in:
 * those of every partitioned ancestor, by our own column numbers.
 */
static void
find_partition_key(DealsTable *table, Relation rel, List *ancestors)
{
	TupleDesc	tupdesc = RelationGetDescr(rel);
	ListCell   *lc;

	table->partkeys = palloc(sizeof(AttrNumber) * tupdesc->natts);
	foreach(lc, ancestors)
	{
		Relation	ancestor = table_open(lfirst_oid(lc), AccessShareLock);
		PartitionKey key = RelationGetPartitionKey(ancestor);
		Bitmapset  *columns = NULL;
		int			column = -1;

		for (int i = 0; key != NULL && i < key->partnatts; i++)
		{
			if (key->partattrs[i] != 0)
				columns = bms_add_member(columns, key->partattrs[i]);
		}
		if (key != NULL && key->partexprs != NIL)
		{
			Bitmapset  *used = NULL;

			pull_varattnos((Node *) key->partexprs, 1, &used);
			while ((column = bms_next_member(used, column)) >= 0)
				columns = bms_add_member(columns, column + FirstLowInvalidHeapAttributeNumber);
			column = -1;
		}
		while ((column = bms_next_member(columns, column)) >= 0)
		{
			Form_pg_attribute att = TupleDescAttr(RelationGetDescr(ancestor), column - 1);
			AttrNumber	attnum = find_column(tupdesc, NameStr(att->attname));
			bool		known = false;

			for (int i = 0; i < table->npartkeys; i++)
				known |= table->partkeys[i] == attnum;
			if (!known && attnum != InvalidAttrNumber)
				table->partkeys[table->npartkeys++] = attnum;
		}
		table_close(ancestor, NoLock);
	}
}

compat_noreturn static void
mapping_broken(Relation rel, bool altered, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the triggers of deals table \"%s\" are not complete",
					RelationGetRelationName(rel)),
			 errdetail("%s", detail),
			 errhint(altered ? "Drop the trigger, then run SELECT pipelines.resume('%s')." :
					 "Run SELECT pipelines.resume('%s').",
					 quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
												RelationGetRelationName(rel))),
			 errtable(rel)));
}

/* may views show such a column as a number? */
static bool
is_number(Oid type)
{
	return type == NUMERICOID || type == FLOAT8OID || type == FLOAT4OID ||
		type == INT8OID || type == INT4OID || type == INT2OID;
}

/*
 * Read the mapping trigger of the deals table: for each of its columns, the
 * column of the relation at hand and the name of the column in the history.
 */
static void
read_columns(DealsTable *table, Relation rel, Relation root, char **history_column)
{
	TupleDesc	tupdesc = RelationGetDescr(rel);
	Trigger    *trigger = find_trigger(root, COLUMNS_TRIGGER);

	if (trigger == NULL || trigger->tgnattr != trigger->tgnargs)
		mapping_broken(root, trigger != NULL, "Trigger \"" COLUMNS_TRIGGER "\" is missing or was altered.");

	table->keys = palloc0(sizeof(AttrNumber) * trigger->tgnattr);
	table->parts = palloc0(sizeof(MappedPart) * trigger->tgnattr);
	for (int i = 0; i < trigger->tgnattr; i++)
	{
		AttrNumber	attnum = trigger->tgattr[i];
		char	   *role = pstrdup(trigger->tgargs[i]);
		char	   *target = strchr(role, '=');

		if (target == NULL)
			mapping_broken(root, true, "An argument of trigger \"" COLUMNS_TRIGGER "\" is malformed.");
		*target++ = '\0';

		if (rel != root)
		{
			Form_pg_attribute att = TupleDescAttr(RelationGetDescr(root), attnum - 1);

			attnum = find_column(tupdesc, NameStr(att->attname));
			if (attnum == InvalidAttrNumber)
				elog(ERROR, "column \"%s\" is missing in partition \"%s\"",
					 NameStr(att->attname), RelationGetRelationName(rel));
		}

		if (strncmp(role, "key", 3) == 0 && role[3] >= '1' && role[3] <= '9')
		{
			long		n = strtol(role + 3, NULL, 10);

			/* whoever owns the table can make such a trigger, too */
			if (n > Min(trigger->tgnattr, INDEX_MAX_KEYS))
				mapping_broken(root, true, "An argument of trigger \"" COLUMNS_TRIGGER "\" is malformed.");
			table->keys[n - 1] = attnum;
			table->nkeys = Max(table->nkeys, (int) n);
		}
		else
		{
			for (int r = 0; r < NUM_ROLES; r++)
			{
				if (strcmp(role, role_names[r]) == 0)
					table->role[r] = attnum;
			}
			/* what adoption reads, and nobody else here */
			if (strcmp(role, "expected_close_on") == 0)
				table->close_date = attnum;
			else if (strcmp(role, "application_since") == 0)
				table->since = attnum;
		}
		table->parts[table->nparts].name = role;
		table->parts[table->nparts++].attnum = attnum;
		history_column[attnum - 1] = *target == '\0' ? NULL : target;
	}

	if (table->nkeys == 0)
		mapping_broken(root, true, "Trigger \"" COLUMNS_TRIGGER "\" names no key.");
	for (int i = 0; i < table->nkeys; i++)
	{
		Form_pg_attribute att;

		if (table->keys[i] == InvalidAttrNumber)
			mapping_broken(root, true, "Trigger \"" COLUMNS_TRIGGER "\" does not name the whole key.");
		att = TupleDescAttr(tupdesc, table->keys[i] - 1);
		if (!att->attnotnull)
			ereport(ERROR,
					(errcode(ERRCODE_NOT_NULL_VIOLATION),
					 errmsg("column \"%s\" of table \"%s\" can't be part of the key: it may be NULL",
							NameStr(att->attname), RelationGetRelationName(rel)),
					 errhint("ALTER TABLE %s ALTER COLUMN %s SET NOT NULL.",
							 quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
														RelationGetRelationName(rel)),
							 quote_identifier(NameStr(att->attname))),
					 errtablecol(rel, table->keys[i])));
	}
	for (int r = 0; r < NUM_ROLES; r++)
	{
		AttrNumber	attnum = table->role[r];
		bool		required = r == ROLE_PIPELINE_ID || r == ROLE_STAGE_ID ||
			r >= ROLE_STAGE_ENTERED_AT;
		Form_pg_attribute att;
		Oid			type;

		if (attnum == InvalidAttrNumber)
		{
			if (required)
				mapping_broken(root, true,
							   psprintf("Trigger \"" COLUMNS_TRIGGER "\" names no column for %s.",
										role_names[r]));
			continue;
		}
		att = TupleDescAttr(tupdesc, attnum - 1);
		type = getBaseType(att->atttypid);
		if (type != role_types[r] && OidIsValid(role_types[r]) &&
			!(role_types[r] == TEXTOID && type == VARCHAROID))
		{
			/* of an adopted table, where views alone read them */
			if (r == ROLE_CREATED_AT || r == ROLE_CREATED_BY)
			{
				table->role[r] = InvalidAttrNumber;
				continue;
			}
			if (r == ROLE_PROBABILITY && is_number(type))
				continue;
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" of deals table \"%s\" has type %s, but %s is needed",
							NameStr(att->attname), RelationGetRelationName(rel),
							format_type_be(att->atttypid),
							format_type_be(role_types[r])),
					 errtablecol(rel, attnum)));
		}
		if (att->attgenerated != '\0' &&
			(r <= ROLE_STAGE_ID || r >= ROLE_STAGE_ENTERED_AT))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("column \"%s\" of deals table \"%s\" can't be a generated column",
							NameStr(att->attname), RelationGetRelationName(rel)),
					 errtablecol(rel, attnum)));
	}
}

static bool
is_role(const DealsTable *table, AttrNumber attnum, DealRole from)
{
	for (int r = from; r < NUM_ROLES; r++)
	{
		if (table->role[r] == attnum)
			return true;
	}
	return false;
}

/* the history's unique index on exactly (key, version), for probing */
static Oid
find_history_index(const DealsTable *table, Relation history)
{
	List	   *indexes;
	ListCell   *lc;
	Oid			result = InvalidOid;

	/* an index of a partitioned table has no entries of its own */
	if (history->rd_rel->relkind != RELKIND_RELATION)
		return InvalidOid;

	indexes = RelationGetIndexList(history);
	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		Form_pg_index form = index->rd_index;
		bool		matches = form->indisunique && form->indisvalid &&
			form->indnkeyatts == table->nkeys + 1 &&
			index->rd_rel->relam == BTREE_AM_OID &&
			heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL);

		for (int i = 0; matches && i < table->nkeys; i++)
			matches = form->indkey.values[i] == table->history_keys[i] &&
				TupleDescAttr(RelationGetDescr(history), table->history_keys[i] - 1)->attnotnull;
		if (matches)
			matches = form->indkey.values[table->nkeys] ==
				table->history_column[HISTORY_VERSION] &&
				(index->rd_indoption[table->nkeys] & INDOPTION_DESC) == 0;
		index_close(index, AccessShareLock);
		if (matches)
		{
			result = lfirst_oid(lc);
			break;
		}
	}
	list_free(indexes);
	return result;
}

/* is a column of the history filled in every row that we write? */
static bool
always_filled(const DealsTable *table, Relation rel, AttrNumber history_attnum)
{
	for (int c = 0; c < NUM_HISTORY_COLUMNS; c++)
	{
		if (table->history_column[c] == history_attnum)
			return c == HISTORY_VERSION || c == HISTORY_CHANGE ||
				c == HISTORY_VALID_FROM || c == HISTORY_VALID_TO ||
				c == HISTORY_ACTOR || c == HISTORY_ROLE_NAME ||
				c >= HISTORY_TXID;
	}
	for (int i = 0; i < table->nkeys; i++)
	{
		if (table->history_keys[i] == history_attnum)
			return true;
	}
	for (int i = 0; i < table->ntracked; i++)
	{
		if (table->tracked[i].history_attnum == history_attnum)
			return TupleDescAttr(RelationGetDescr(rel),
								 table->tracked[i].attnum - 1)->attnotnull;
	}
	return false;
}

/*
 * Is an index only on the rows in which a text column has one value?  That much
 * of a condition runs no code but ours: by the collations that are accepted
 * here, texts are equal where their bytes are.  The value is in the current memory
 * context.
 */
bool
index_on_one_value(Relation index, AttrNumber *attnum, Datum *value)
{
	List	   *predicate = RelationGetIndexPredicate(index);
	OpExpr	   *expr;

	if (list_length(predicate) != 1 || !IsA(linitial(predicate), OpExpr))
		return false;
	expr = linitial_node(OpExpr, predicate);
	if (expr->opno != TextEqualOperator ||
		(expr->inputcollid != DEFAULT_COLLATION_OID && expr->inputcollid != C_COLLATION_OID) ||
		!IsA(linitial(expr->args), Var) || !IsA(lsecond(expr->args), Const) ||
		lsecond_node(Const, expr->args)->constisnull)
		return false;
	*attnum = linitial_node(Var, expr->args)->varattno;
	*value = lsecond_node(Const, expr->args)->constvalue;
	return true;
}

/*
 * May rows be put into the history below the executor?  Only where the
 * executor would do nothing that we leave out, and where no code but that of
 * index access methods would run.
 */
static bool
history_is_plain(const DealsTable *table, Relation rel, Relation history)
{
	TriggerDesc *trigdesc = history->trigdesc;
	TupleDesc	hdesc = RelationGetDescr(history);
	List	   *indexes;
	ListCell   *lc;
	bool		plain = true;

	if (history->rd_rel->relkind != RELKIND_RELATION ||
		history->rd_rel->relispartition ||
		history->rd_rel->relhasrules ||
		history->rd_rel->relforcerowsecurity)
		return false;
	if (trigdesc != NULL &&
		(trigdesc->trig_insert_before_row || trigdesc->trig_insert_after_row ||
		 trigdesc->trig_insert_before_statement ||
		 trigdesc->trig_insert_after_statement))
		return false;
	if (hdesc->constr != NULL &&
		(hdesc->constr->has_generated_stored || hdesc->constr->num_check > 0 ||
		 hdesc->constr->num_defval > 0))
		return false;
	for (int i = 0; i < hdesc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(hdesc, i);

		if (!att->attisdropped && att->attnotnull &&
			!always_filled(table, rel, att->attnum))
			return false;
	}

	indexes = RelationGetIndexList(history);
	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		AttrNumber	attnum;
		Datum		value;

		if (!index->rd_index->indimmediate || index->rd_index->indisexclusion ||
			(!heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL) &&
			 !index_on_one_value(index, &attnum, &value)) ||
			!heap_attisnull(index->rd_indextuple, Anum_pg_index_indexprs, NULL))
			plain = false;
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	return plain;
}

/*
 * The column of the deals table that a column of the history is a copy of, by the
 * history's own mapping trigger; InvalidAttrNumber where that says nothing.
 */
static AttrNumber
copied_column(const DealsTable *table, const Trigger *mapping, AttrNumber history_attnum)
{
	for (int i = 0; mapping != NULL && i < Min(mapping->tgnargs, mapping->tgnattr); i++)
	{
		size_t		length = strcspn(mapping->tgargs[i], "=");

		if (mapping->tgattr[i] != history_attnum)
			continue;
		for (int p = 0; p < table->nparts; p++)
		{
			if (strlen(table->parts[p].name) == length &&
				strncmp(table->parts[p].name, mapping->tgargs[i], length) == 0)
				return table->parts[p].attnum;
		}
	}
	return InvalidAttrNumber;
}

/*
 * Match the columns of the history with those of the deals table.  A column
 * of the history is its own, or the copy of a column of the deals table: the
 * one that the mapping trigger says, else the one of the same name.
 */
static void
match_history(DealsTable *table, Relation rel, char **history_column)
{
	TupleDesc	tupdesc = RelationGetDescr(rel);
	Relation	history = table_open(table->history, AccessShareLock);
	TupleDesc	hdesc = RelationGetDescr(history);
	Trigger    *mapping = find_trigger(history, COLUMNS_TRIGGER);

	/* whoever may write tracked_table must not write through it to others' tables */
	if (!has_privs_of_role(table->owner, history->rd_rel->relowner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("history \"%s\" belongs to another role than deals table \"%s\"",
						RelationGetRelationName(history), RelationGetRelationName(rel)),
				 errhint("ALTER TABLE the history OWNER TO the owner of the deals table."),
				 errtable(history)));
	table->history_desc = CreateTupleDescCopy(hdesc);
	table->history_keys = palloc0(sizeof(AttrNumber) * table->nkeys);
	table->tracked = palloc0(sizeof(TrackedColumn) * hdesc->natts);

	for (int c = 0; c < NUM_HISTORY_COLUMNS; c++)
	{
		AttrNumber	attnum = find_own_column(hdesc, history_names[c]);
		Form_pg_attribute att;

		if (attnum == InvalidAttrNumber)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("history \"%s\" has no column \"%s\"",
							RelationGetRelationName(history), history_names[c]),
					 errhint("Add the column with type %s.",
							 format_type_be(history_types[c])),
					 errtable(history)));
		att = TupleDescAttr(hdesc, attnum - 1);
		if (att->atttypid != history_types[c])
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" of history \"%s\" has type %s, but %s is needed",
							NameStr(att->attname), RelationGetRelationName(history),
							format_type_be(att->atttypid),
							format_type_be(history_types[c])),
					 errtablecol(history, attnum)));
		table->history_column[c] = attnum;
	}

	for (int h = 0; h < hdesc->natts; h++)
	{
		Form_pg_attribute hatt = TupleDescAttr(hdesc, h);
		Form_pg_attribute att;
		AttrNumber	attnum = InvalidAttrNumber;
		AttrNumber	copied;
		TrackedColumn *tracked;
		bool		own = false;

		if (hatt->attisdropped || hatt->attgenerated != '\0')
			continue;
		for (int c = 0; c < NUM_HISTORY_COLUMNS; c++)
			own |= table->history_column[c] == hatt->attnum;
		if (own)
			continue;

		for (int i = 0; i < tupdesc->natts; i++)
		{
			if (history_column[i] != NULL &&
				strcmp(history_column[i], NameStr(hatt->attname)) == 0 &&
				table->role[ROLE_VERSION] != i + 1 &&
				table->role[ROLE_CHANGED_AT] != i + 1)
				attnum = i + 1;
		}
		if (attnum == InvalidAttrNumber)
			attnum = find_column(tupdesc, NameStr(hatt->attname));

		/*
		 * Its own mapping follows it when it is renamed.  Whoever reads the past
		 * goes by that: nothing else may be put there, whatever it is called now.
		 */
		copied = copied_column(table, mapping, hatt->attnum);
		if (copied != InvalidAttrNumber && copied != attnum)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" of history \"%s\" was renamed",
							NameStr(hatt->attname), RelationGetRelationName(history)),
					 errdetail("It keeps the past of column \"%s\" of deals table \"%s\".",
							   NameStr(TupleDescAttr(tupdesc, copied - 1)->attname),
							   RelationGetRelationName(rel)),
					 errhint("SELECT pipelines.resume('%s') renames it back.",
							 quote_qualified_identifier(get_namespace_name(get_rel_namespace(table->root)),
														get_rel_name(table->root))),
					 errtablecol(history, hatt->attnum)));
		if (attnum == InvalidAttrNumber)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" of history \"%s\" has no counterpart in deals table \"%s\"",
							NameStr(hatt->attname), RelationGetRelationName(history),
							RelationGetRelationName(rel)),
					 errhint("Add the column to the deals table, rename the column of the history as the deals table's, or drop it.  To track a column, use pipelines.track().")));

		att = TupleDescAttr(tupdesc, attnum - 1);
		if (hatt->atttypid != att->atttypid &&
			hatt->atttypid != getBaseType(att->atttypid))
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" has type %s in deals table \"%s\", but type %s in history \"%s\"",
							NameStr(att->attname), format_type_be(att->atttypid),
							RelationGetRelationName(rel),
							format_type_be(hatt->atttypid),
							RelationGetRelationName(history)),
					 errhint("Alter the type of the column in the history too."),
					 errtablecol(rel, attnum)));

		for (int i = 0; i < table->nkeys; i++)
		{
			if (table->keys[i] == attnum)
			{
				table->history_keys[i] = hatt->attnum;
				own = true;
			}
		}
		if (own)
			continue;
		/* computed on reading: a trigger does not see it */
		if (att->attgenerated == 'v')
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("column \"%s\" of deals table \"%s\" is a virtual generated column and can't be tracked",
							NameStr(att->attname), RelationGetRelationName(rel)),
					 errhint("Make it a stored one, or drop the column of the history."),
					 errtablecol(rel, attnum)));

		tracked = &table->tracked[table->ntracked++];
		tracked->attnum = attnum;
		tracked->history_attnum = hatt->attnum;
		tracked->bookkeeping = is_role(table, attnum, ROLE_STAGE_ENTERED_AT);
		if (attnum == table->role[ROLE_EPISODE])
			table->history_episode = hatt->attnum;
		tracked->byval = att->attbyval;
		tracked->len = att->attlen;
		if (att->attgenerated != '\0')
			tracked->comparison = COMPARE_NEVER;
		else if (getBaseType(att->atttypid) == NUMERICOID)
			tracked->comparison = COMPARE_NUMERIC;
		else
			tracked->comparison = COMPARE_IMAGE;
	}

	for (int i = 0; i < table->nkeys; i++)
	{
		if (table->history_keys[i] == InvalidAttrNumber)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("history \"%s\" lacks a column of the deal key",
							RelationGetRelationName(history)),
					 errtable(history)));
	}
	for (int r = 0; r < NUM_ROLES; r++)
	{
		bool		kept = r == ROLE_VERSION || r == ROLE_CHANGED_AT;

		for (int i = 0; i < table->ntracked; i++)
			kept |= table->tracked[i].attnum == table->role[r];
		if (!kept && (r <= ROLE_STAGE_ID || r >= ROLE_STAGE_ENTERED_AT))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("history \"%s\" has no column \"%s\"",
							RelationGetRelationName(history), role_names[r]),
					 errhint("Add the column with type %s.",
							 format_type_be(role_types[r])),
					 errtable(history)));
	}

	table->history_index = find_history_index(table, history);
	table->history_direct = history_is_plain(table, rel, history);
	table_close(history, NoLock);
}

/*
 * Describe a relation, in a memory context of its own.
 */
static DealsTable *
build_table(Relation rel)
{
	bool		registered;
	MemoryContext context;
	MemoryContext oldcontext;
	DealsTable *table;
	List	   *ancestors = NIL;
	Relation	root;
	Trigger    *after;
	Oid			before;
	char	  **history_column;

	context = AllocSetContextCreate(CurrentMemoryContext, "pipelines deals table",
									ALLOCSET_SMALL_SIZES);
	oldcontext = MemoryContextSwitchTo(context);
	table = palloc0(sizeof(DealsTable));
	table->context = context;
	table->relid = RelationGetRelid(rel);

	if (rel->rd_rel->relispartition)
		ancestors = get_partition_ancestors(table->relid);
	table->root = ancestors == NIL ? table->relid : llast_oid(ancestors);
	registered = find_registration(table, lcons_oid(table->relid, list_copy(ancestors)));

	/* relhassubclass may be left from children that are gone */
	if (rel->rd_rel->relhassubclass && rel->rd_rel->relkind == RELKIND_RELATION &&
		find_inheritance_children(table->relid, NoLock) != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("deals table \"%s\" has inheritance children",
						RelationGetRelationName(rel)),
				 errdetail("Triggers are not inherited: what is written to a child would have no history."),
				 errhint("Use declarative partitioning, or ALTER TABLE the child NO INHERIT this table."),
				 errtable(rel)));

	root = table->root == table->relid ? rel : table_open(table->root, AccessShareLock);
	table->owner = root->rd_rel->relowner;
	history_column = palloc0(sizeof(char *) * RelationGetDescr(rel)->natts);
	read_columns(table, rel, root, history_column);
	if (root != rel)
		table_close(root, NoLock);
	find_partition_key(table, rel, ancestors);
	for (int i = 0; i < table->npartkeys; i++)
	{
		bool		in_key = false;

		for (int k = 0; k < table->nkeys; k++)
			in_key |= table->keys[k] == table->partkeys[i];
		table->loose_key |= !in_key;
	}

	/* a buffered row must be sure to be written at the statement's end */
	after = find_trigger(rel, AFTER_TRIGGER);
	if (after == NULL || after->tgenabled == TRIGGER_DISABLED)
		mapping_broken(rel, false, "Trigger \"" AFTER_TRIGGER "\" is missing or disabled.");
	before = before_function();
	table->later_insert = later_triggers(rel, before, TRIGGER_TYPE_INSERT);
	table->later_update = later_triggers(rel, before, TRIGGER_TYPE_UPDATE);
	table->later_delete = later_triggers(rel, before, TRIGGER_TYPE_DELETE);

	application_describe(table, rel);
	if (registered)
	{
		if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(table->history)))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_TABLE),
					 errmsg("the history of deals table \"%s\" does not exist",
							RelationGetRelationName(rel)),
					 errhint("Restore it, or let the table go with pipelines.release()."),
					 errtable(rel)));
		match_history(table, rel, history_column);
	}

	MemoryContextSwitchTo(oldcontext);
	return table;
}

/*
 * Build the description anew and put it in the place of the old one, if any.
 */
static DealsTable *
refresh_table(Relation rel)
{
	Oid			relid = RelationGetRelid(rel);
	uint64		seen = invalidations;
	DealsTable *table = build_table(rel);
	TableEntry *entry;
	MemoryContext oldcontext;
	bool		found;

	entry = hash_search(tables, &relid, HASH_ENTER, &found);
	if (!found)
		entry->table = NULL;
	if (entry->table != NULL)
	{
		oldcontext = MemoryContextSwitchTo(TopMemoryContext);
		retired = lappend(retired, entry->table->context);
		MemoryContextSwitchTo(oldcontext);
	}
	MemoryContextSetParent(table->context, CacheMemoryContext);
	entry->table = table;

	/* what came in meanwhile may concern us: then use it this once only */
	table->valid = seen == invalidations;
	outdated |= !table->valid;
	return table;
}

DealsTable *
deals_table(Relation rel, bool need_history)
{
	Oid			relid = RelationGetRelid(rel);
	Oid			locked = InvalidOid;

	if (likely(last_used != NULL && last_used->relid == relid && last_used->valid &&
			   last_used->lock_epoch == lock_epoch))
		return last_used;

	for (;;)
	{
		TableEntry *entry = hash_search(tables, &relid, HASH_FIND, NULL);
		DealsTable *table;

		if (entry != NULL && entry->table != NULL && entry->table->valid)
			table = entry->table;
		else
			table = refresh_table(rel);

		if (!need_history)
			return table;
		/* deals may have been restored before they were registered */
		if (!OidIsValid(table->history))
			table = refresh_table(rel);
		if (!OidIsValid(table->history))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("table \"%s\" is not registered as a deals table",
							RelationGetRelationName(rel)),
					 errdetail("It has the triggers of pipelines, but pipelines.tracked_table has no row for it."),
					 errhint("Restore the rows of pipelines.tracked_table, or drop the triggers."),
					 errtable(rel)));
		if (table->history == locked)
			table->lock_epoch = lock_epoch;
		if (table->lock_epoch == lock_epoch)
		{
			last_used = table;
			return table;
		}

		/* taking the lock reads pending invalidations: look once more */
		LockRelationOid(table->history, RowExclusiveLock);
		locked = table->history;
	}
}

Relation
open_given_table(Oid relid, LOCKMODE mode)
{
	Relation	rel = try_relation_open(relid, mode);

	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	relation_close(rel, NoLock);

	/* which refuses what is no table at all */
	return table_open(relid, NoLock);
}

DealsTable *
whole_deals_table(Relation rel)
{
	DealsTable *table;

	if (!has_deal_triggers(rel))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" is not a deals table", RelationGetRelationName(rel)),
				 errhint("If it was one, run pipelines.resume() first.")));
	definitions_lock();
	table = deals_table(rel, true);
	if (table->root != RelationGetRelid(rel))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("table \"%s\" is a partition", RelationGetRelationName(rel)),
				 errhint("Name the deals table itself.")));
	return table;
}

AttrNumber
deals_column(const DealsTable *table, TupleDesc tupdesc, const char *name)
{
	AttrNumber	attnum = find_column(tupdesc, name);

	for (int r = 0; attnum == InvalidAttrNumber && r < NUM_ROLES; r++)
	{
		if (strcmp(role_names[r], name) == 0)
			attnum = table->role[r];
	}
	for (int i = 0; attnum == InvalidAttrNumber && i < table->nparts; i++)
	{
		if (strcmp(table->parts[i].name, name) == 0)
			attnum = table->parts[i].attnum;
	}
	return attnum;
}

char *
equality_of_type(Oid type)
{
	Oid			operator = lookup_type_cache(type, TYPECACHE_EQ_OPR)->eq_opr;
	HeapTuple	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(operator));
	Form_pg_operator form;
	char	   *result;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("type %s has no equality operator", format_type_be(type)),
				 errhint("Choose a deal key of another type.")));
	form = (Form_pg_operator) GETSTRUCT(tuple);
	result = psprintf("OPERATOR(%s.%s)",
					  quote_identifier(get_namespace_name(form->oprnamespace)),
					  NameStr(form->oprname));
	ReleaseSysCache(tuple);
	return result;
}

char *
deal_label(const DealsTable *table, TupleDesc tupdesc,
		   const Datum *values, const bool *nulls)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoString(&buf, "deal ");
	if (table->nkeys > 1)
		appendStringInfoChar(&buf, '(');
	for (int i = 0; i < table->nkeys; i++)
	{
		int			k = table->keys[i] - 1;
		Oid			output;
		bool		varlena;

		if (i > 0)
			appendStringInfoChar(&buf, ',');
		if (nulls[k])
			continue;
		getTypeOutputInfo(TupleDescAttr(tupdesc, k)->atttypid, &output, &varlena);
		appendStringInfoString(&buf, OidOutputFunctionCall(output, values[k]));
	}
	if (table->nkeys > 1)
		appendStringInfoChar(&buf, ')');
	return buf.data;
}

/* the column that a mapping trigger lists for a role, whose name is so long */
static AttrNumber
listed_column(const Trigger *trigger, const char *role, size_t length)
{
	for (int i = 0; trigger != NULL && i < Min(trigger->tgnargs, trigger->tgnattr); i++)
	{
		const char *argument = trigger->tgargs[i];

		if (strcspn(argument, "=") == length && strncmp(argument, role, length) == 0)
			return trigger->tgattr[i];
	}
	return InvalidAttrNumber;
}

static Datum
column_name(Relation rel, AttrNumber attnum, bool *isnull)
{
	Form_pg_attribute att = NULL;

	if (rel != NULL && attnum > 0 && attnum <= RelationGetNumberOfAttributes(rel))
		att = TupleDescAttr(RelationGetDescr(rel), attnum - 1);
	*isnull = att == NULL || att->attisdropped;
	return *isnull ? (Datum) 0 : NameGetDatum(&att->attname);
}

/*
 * _mapping_trigger(relation, history)
 *
 * A trigger that somebody altered is no error here: whoever mends it asks, too.
 *
 * Nothing is locked: this is asked about tables of all kinds in any order, by
 * whoever may not even read them.  So both relations are opened before
 * anything is read from either: opening one can replace what is known of the
 * other, and nothing that follows can.
 */
Datum
pipelines_mapping_trigger(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Relation	rels[2];
	Trigger    *triggers[2];

	compat_materialize(fcinfo);
	for (int r = 0; r < 2; r++)
		rels[r] = PG_ARGISNULL(r) ? NULL : RelationIdGetRelation(PG_GETARG_OID(r));
	for (int r = 0; r < 2; r++)
		triggers[r] = rels[r] == NULL ? NULL : find_trigger(rels[r], COLUMNS_TRIGGER);

	for (int i = 0; triggers[0] != NULL && i < triggers[0]->tgnargs; i++)
	{
		const char *role = triggers[0]->tgargs[i];
		size_t		length = strcspn(role, "=");
		Datum		values[4];
		bool		nulls[4] = {false};

		values[0] = Int32GetDatum(i + 1);
		values[1] = PointerGetDatum(cstring_to_text_with_len(role, length));
		values[2] = column_name(rels[0], i < triggers[0]->tgnattr ? triggers[0]->tgattr[i] : InvalidAttrNumber, &nulls[2]);
		values[3] = column_name(rels[1], listed_column(triggers[1], role, length), &nulls[3]);
		/* its own trigger is missing, or knows nothing of the column yet */
		if (nulls[3] && rels[1] != NULL && role[length] == '=')
			values[3] = column_name(rels[1], find_column(RelationGetDescr(rels[1]), role + length + 1), &nulls[3]);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	for (int r = 0; r < 2; r++)
	{
		if (rels[r] != NULL)
			RelationClose(rels[r]);
	}
	return (Datum) 0;
}

/*
 * _own_column(history, name), unlocked as well
 */
Datum
pipelines_own_column(PG_FUNCTION_ARGS)
{
	char	   *wanted = text_to_cstring(PG_GETARG_TEXT_PP(1));
	Relation	history = RelationIdGetRelation(PG_GETARG_OID(0));
	bool		isnull = true;
	Datum		result = (Datum) 0;

	if (history != NULL)
	{
		result = column_name(history, find_own_column(RelationGetDescr(history), wanted), &isnull);
		/* the name goes with the relation */
		if (!isnull)
			result = datumCopy(result, false, NAMEDATALEN);
		RelationClose(history);
	}
	if (isnull)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(result);
}

/*
 * _plain_type(type)
 */
Datum
pipelines_plain_type(PG_FUNCTION_ARGS)
{
	Oid			type = PG_GETARG_OID(0);

	if (!get_typisdefined(type))
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(format_type_extended(getBaseType(type), -1, FORMAT_TYPE_TYPEMOD_GIVEN)));
}

/*
 * _is_ordered(type)
 */
Datum
pipelines_is_ordered(PG_FUNCTION_ARGS)
{
	Oid			type = PG_GETARG_OID(0);

	if (!get_typisdefined(type))
		PG_RETURN_NULL();
	/* of arrays and rows, it asks about what they consist of, too */
	PG_RETURN_BOOL(OidIsValid(lookup_type_cache(getBaseType(type), TYPECACHE_CMP_PROC)->cmp_proc));
}
