/*-------------------------------------------------------------------------
 *
 * watched.c
 *	  Definition tables of which a backend keeps a copy.
 *
 * Owns what all copies of definition tables have in common: how the tables are
 * found and trusted, how a backend hears that they have changed, and how they
 * are read.  The copies themselves belong to definitions.c, calendar.c and
 * rates.c.
 *
 * The invariant: a copy that is current shows the newest committed state of
 * its tables plus the changes of the transaction itself, whatever the
 * isolation level.  Every change of a definition table sends a relcache
 * invalidation of it (bookkeeping.c).  The callback counts it, and a copy is
 * current as long as the count is what it was before the copy was read; so an
 * error in the middle of a load is harmless, and no invalidation that comes in
 * during one is lost.
 *
 * Must never allocate, touch a catalog or free a copy in a callback, never run
 * SQL, and never trust a table because of its name alone: it must belong to
 * the owner of definition_lock.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "compat.h"
#include "definitions/definitions_private.h"
#include "definitions/watched.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/* whose owner all definition tables must have */
#define LOCK_TABLE		"definition_lock"

/* attempts at locking tables that are being made anew */
#define MAX_ATTEMPTS	5

static WatchedTables *all_tables = NULL;

/*
 * Something about a table has changed; InvalidOid stands for all of them.
 */
static void
relcache_callback(Datum arg, Oid relid)
{
	WatchedTables *tables;

	for (tables = all_tables; tables != NULL; tables = tables->next)
	{
		bool		ours = !OidIsValid(relid) || relid == tables->lock_relid;
		int			i;

		for (i = 0; i < tables->n && !ours; i++)
			ours = tables->relids[i] == relid;
		if (ours)
			tables->wanted++;
	}
}

/*
 * What was read in parallel mode was read with a snapshot of that transaction,
 * and is worth nothing after it.
 */
static void
xact_callback(XactEvent event, void *arg)
{
	WatchedTables *tables;

	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PARALLEL_ABORT:
		case XACT_EVENT_PREPARE:
			for (tables = all_tables; tables != NULL; tables = tables->next)
			{
				if (tables->in_parallel_mode)
					tables->current = 0;
			}
			break;
		default:
			break;
	}
}

void
watched_init(void)
{
	CacheRegisterRelcacheCallback(relcache_callback, (Datum) 0);
	RegisterXactCallback(xact_callback, NULL);
}

void
watched_begin(WatchedTables *tables)
{
	Assert(tables->n <= MAX_WATCHED_TABLES);
	tables->wanted = 1;
	tables->next = all_tables;
	all_tables = tables;
}

/*
 * Find one definition table, and look whether it can be trusted.  owner is
 * InvalidOid for the one whose owner counts.
 */
static Oid
find_table(const char *name, Oid schema, Oid *owner, bool missing_ok)
{
	Oid			relid = OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;
	HeapTuple	tuple;
	Form_pg_class form;
	char		relkind;
	Oid			relowner;

	tuple = OidIsValid(relid) ? SearchSysCache1(RELOID, ObjectIdGetDatum(relid)) : NULL;
	if (!HeapTupleIsValid(tuple))
	{
		if (missing_ok)
			return InvalidOid;
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the definition table \"%s.%s\" does not exist",
						PIPELINES_SCHEMA, name),
				 errhint(SETUP_HINT)));
	}
	form = (Form_pg_class) GETSTRUCT(tuple);
	relkind = form->relkind;
	relowner = form->relowner;
	ReleaseSysCache(tuple);

	if (relkind != RELKIND_RELATION && relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("\"%s.%s\" is not a table", PIPELINES_SCHEMA, name),
				 errdetail("Definitions are read from ordinary tables only."),
				 errhint("Find out who made it and drop it; then run \"SELECT pipelines.setup();\".")));
	if (!OidIsValid(*owner))
		*owner = relowner;
	else if (relowner != *owner)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the definition table \"%s.%s\" belongs to role \"%s\" instead of \"%s\"",
						PIPELINES_SCHEMA, name,
						GetUserNameFromId(relowner, true),
						GetUserNameFromId(*owner, true)),
				 errdetail("All definition tables must belong to the owner of \"%s.%s\".",
						   PIPELINES_SCHEMA, LOCK_TABLE),
				 errhint("Find out who made it, then drop it or ALTER TABLE ... OWNER TO, and run \"SELECT pipelines.setup();\".")));
	return relid;
}

/*
 * Find the tables.  With missing_ok, false says that there are none (or not
 * all of them, as in the middle of a restore); a table that is there but can't
 * be trusted is always an error.
 */
bool
watched_find(WatchedTables *tables, bool missing_ok)
{
	uint64		wanted = tables->wanted;
	Oid			owner = InvalidOid;
	Oid			schema;
	int			i;

	if (tables->found == tables->wanted)
		return true;

	schema = get_namespace_oid(PIPELINES_SCHEMA, true);
	tables->lock_relid = find_table(LOCK_TABLE, schema, &owner, missing_ok);
	if (!OidIsValid(tables->lock_relid))
		return false;
	for (i = tables->n - 1; i >= 0; i--)
	{
		tables->relids[i] = find_table(tables->names[i], schema, &owner, missing_ok);
		if (!OidIsValid(tables->relids[i]))
			return false;
	}
	tables->owner = owner;
	tables->found = wanted;
	return true;
}

Oid
watched_relid(WatchedTables *tables, const char *name)
{
	int			i;

	(void) watched_find(tables, false);
	for (i = 0; i < tables->n; i++)
	{
		if (strcmp(tables->names[i], name) == 0)
			return tables->relids[i];
	}
	elog(ERROR, "\"%s\" is not a definition table", name);
	return InvalidOid;			/* keep the compiler quiet */
}

/*
 * Lock the first n tables, so that none is rewritten or dropped under a scan.
 */
void
watched_lock(WatchedTables *tables, int n)
{
	int			attempt;

	for (attempt = 1;; attempt++)
	{
		Oid			locked[MAX_WATCHED_TABLES];
		int			i;

		(void) watched_find(tables, false);
		memcpy(locked, tables->relids, sizeof(Oid) * n);
		for (i = 0; i < n; i++)
			LockRelationOid(locked[i], AccessShareLock);
		(void) watched_find(tables, false);
		if (memcmp(locked, tables->relids, sizeof(Oid) * n) == 0)
			return;
		for (i = 0; i < n; i++)
			UnlockRelationOid(locked[i], AccessShareLock);
		if (attempt >= MAX_ATTEMPTS)
			ereport(ERROR,
					(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
					 errmsg("the definition tables are being made anew"),
					 errhint("Try again.")));
	}
}

/*
 * The snapshot to read a copy with, registered: the newest one, as for foreign
 * keys.  Under REPEATABLE READ the transaction's own would load a past that
 * stays in the copy after it.  Parallel mode forbids taking one; what is read
 * there is used there only.
 */
Snapshot
watched_snapshot(void)
{
	return RegisterSnapshot(IsInParallelMode() ? GetActiveSnapshot() : GetLatestSnapshot());
}

/*
 * Where a column is in a definition table.  They are found by name, so that
 * the order of columns and columns added by users don't matter.
 */
AttrNumber
watched_column(Relation rel, const char *name, Oid type)
{
	TupleDesc	desc = RelationGetDescr(rel);
	int			i;

	for (i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped || strcmp(NameStr(att->attname), name) != 0)
			continue;
		if (att->atttypid != type)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("column \"%s\" of the definition table \"%s\" has the wrong type",
							name, RelationGetRelationName(rel)),
					 errdetail("It must have the type %s.", format_type_be(type)),
					 errtablecol(rel, i + 1)));
		return i + 1;
	}
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the definition table \"%s\" has no column \"%s\"",
					RelationGetRelationName(rel), name),
			 errhint(SETUP_HINT),
			 errtable(rel)));
	return InvalidAttrNumber;	/* keep the compiler quiet */
}

/*
 * Read one of the tables from end to end, its partitions included.
 */
void
watched_read(const WatchedTables *tables, int which, Snapshot snapshot,
			 const WatchedColumn *columns, WatchedReader reader, void *state)
{
	List	   *parts = find_all_inheritors(tables->relids[which], AccessShareLock, NULL);
	ListCell   *lc;

	foreach(lc, parts)
	{
		Relation	rel = table_open(lfirst_oid(lc), NoLock);
		AttrNumber	numbers[MAX_WATCHED_COLUMNS];
		Datum		values[MAX_WATCHED_COLUMNS];
		bool		nulls[MAX_WATCHED_COLUMNS];
		TupleTableSlot *slot;
		TableScanDesc scan;
		int			n;

		if (rel->rd_rel->relkind != RELKIND_RELATION)
		{
			table_close(rel, NoLock);
			continue;
		}
		for (n = 0; columns[n].name != NULL; n++)
			numbers[n] = watched_column(rel, columns[n].name, columns[n].type);
		Assert(n <= MAX_WATCHED_COLUMNS);

		slot = table_slot_create(rel, NULL);
		scan = compat_table_beginscan(rel, snapshot);
		while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
		{
			int			i;

			CHECK_FOR_INTERRUPTS();
			for (i = 0; i < n; i++)
				values[i] = slot_getattr(slot, numbers[i], &nulls[i]);
			reader(values, nulls, state);
		}
		table_endscan(scan);
		ExecDropSingleTupleTableSlot(slot);
		table_close(rel, NoLock);
	}
	list_free(parts);
}
