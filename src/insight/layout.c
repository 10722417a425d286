/*-------------------------------------------------------------------------
 *
 * layout.c
 *	  How a table of deals is laid out, read from the catalogs.
 *
 * Owns the reading of two things that reports need: the row of
 * pipelines.tracked_table, and the mapping of T's columns to those of its
 * history, by the same rules as the history is written (deals/mapping.c): the
 * trigger pipelines_columns names roles and columns of the history, its
 * column list follows renames (as does that of its namesake on the history),
 * and a column of the history that it doesn't name belongs to the column of T
 * of the same name.
 *
 * Invariant: what is returned was true for the catalogs at the time of the
 * call; nothing is kept between calls, so nothing can be stale.
 *
 * It must never raise an error for a relation that simply isn't tracked (the
 * planner asks about any type), and never write.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "compat.h"
#include "definitions/definitions.h"
#include "definitions/watched.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "funcapi.h"
#include "insight/insight.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(pipelines_layout_columns);

#define MAPPING_TRIGGER	"pipelines_columns"

/*
 * tracked_table, or InvalidOid before the first setup().  definitions_relid()
 * does the checks that matter for safety; this only avoids its error.
 */
static Oid
tracked_table_relid(void)
{
	Oid			namespace = get_namespace_oid("pipelines", true);

	if (!OidIsValid(namespace) ||
		!OidIsValid(get_relname_relid("tracked_table", namespace)))
		return InvalidOid;
	return definitions_relid("tracked_table");
}

/* value of a column of tracked_table, found by name */
static Datum
tracked_column(TupleTableSlot *slot, const char *name, bool *isnull)
{
	TupleDesc	desc = slot->tts_tupleDescriptor;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && strcmp(NameStr(att->attname), name) == 0)
			return slot_getattr(slot, i + 1, isnull);
	}
	elog(ERROR, "column \"%s\" of pipelines.tracked_table is missing", name);
	return (Datum) 0;			/* keep the compiler quiet */
}

/*
 * Find relid in tracked_table.  A scan, not an index: there are as many rows
 * as tables of deals, and it must work while the index is being made.
 */
static bool
read_tracked_row(Oid relid, DealsLayout *layout)
{
	Oid			tracked_oid = tracked_table_relid();
	Relation	tracked;
	Snapshot	snapshot;
	TableScanDesc scan;
	TupleTableSlot *slot;
	bool		found = false;

	if (!OidIsValid(tracked_oid))
		return false;

	tracked = table_open(tracked_oid, AccessShareLock);
	snapshot = watched_snapshot();
	slot = table_slot_create(tracked, NULL);
	scan = compat_table_beginscan(tracked, snapshot);
	while (!found && table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		bool		isnull;
		Datum		value = tracked_column(slot, "relation", &isnull);

		if (isnull || DatumGetObjectId(value) != relid)
			continue;
		value = tracked_column(slot, "history", &isnull);
		layout->history = isnull ? InvalidOid : DatumGetObjectId(value);
		value = tracked_column(slot, "layout_id", &isnull);
		layout->layout_id = isnull ? 0 : DatumGetInt32(value);
		value = tracked_column(slot, "tracked_since", &isnull);
		layout->tracked_since = isnull ? DT_NOBEGIN : DatumGetTimestampTz(value);
		value = tracked_column(slot, "tracked", &isnull);
		layout->tracked = isnull ? NULL : DatumGetJsonbPCopy(value);
		found = true;
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	table_close(tracked, AccessShareLock);
	return found;
}

static Trigger *
mapping_trigger(Relation rel)
{
	TriggerDesc *triggers = rel->trigdesc;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];

		if (strcmp(trigger->tgname, MAPPING_TRIGGER) == 0 &&
			trigger->tgnargs == trigger->tgnattr)
			return trigger;
	}
	return NULL;
}

/* length of the role in an argument 'role=history column' */
static size_t
role_length(const char *argument)
{
	const char *equals = strchr(argument, '=');

	return equals ? (size_t) (equals - argument) : strlen(argument);
}

/* a live column, by name */
static AttrNumber
find_column(TupleDesc desc, const char *name)
{
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && strcmp(NameStr(att->attname), name) == 0)
			return att->attnum;
	}
	return InvalidAttrNumber;
}

/*
 * A column that the history has of its own.  It has a prefix where the deals
 * have a column of that name.
 */
static AttrNumber
own_column(TupleDesc history, const char *name)
{
	AttrNumber	attnum = find_column(history, psprintf("pipelines_%s", name));

	return attnum != InvalidAttrNumber ? attnum : find_column(history, name);
}

static MappedColumn *
add_column(DealsLayout *layout, char *role, AttrNumber attnum, AttrNumber history_attnum)
{
	MappedColumn *column = palloc(sizeof(MappedColumn));

	column->role = role;
	column->attnum = attnum;
	column->history_attnum = history_attnum;
	column->copied_as = NULL;
	layout->columns = lappend(layout->columns, column);
	return column;
}

/*
 * Where the history keeps a role: where its own mapping says, else in the
 * column that T's mapping names.
 */
static AttrNumber
history_attribute(Trigger *history_mapping, TupleDesc history, const char *argument)
{
	size_t		length = role_length(argument);

	for (int i = 0; history_mapping != NULL && i < history_mapping->tgnattr; i++)
	{
		const char *other = history_mapping->tgargs[i];

		if (role_length(other) == length && strncmp(other, argument, length) == 0)
			return history_mapping->tgattr[i];
	}
	if (argument[length] == '=' && argument[length + 1] != '\0')
		return find_column(history, argument + length + 1);
	return InvalidAttrNumber;
}

/* what T's trigger says: a column may have a role and no place in the history */
static void
read_roles(DealsLayout *layout, Trigger *mapping, Trigger *history_mapping,
		   TupleDesc history)
{
	for (int i = 0; i < mapping->tgnattr; i++)
	{
		const char *argument = mapping->tgargs[i];
		size_t		length = role_length(argument);
		MappedColumn *column = add_column(layout, pnstrdup(argument, length),
										  mapping->tgattr[i], InvalidAttrNumber);

		/* these two are the history's own, under other names */
		if (strcmp(column->role, "version") != 0 &&
			strcmp(column->role, "changed_at") != 0)
		{
			column->history_attnum =
				history_attribute(history_mapping, history, argument);
			if (argument[length] == '=' && argument[length + 1] != '\0')
				column->copied_as = pstrdup(argument + length + 1);
		}
	}
}

/* what the history tracks beyond that */
static void
read_tracked(DealsLayout *layout, TupleDesc desc, TupleDesc history)
{
	for (int i = 0; i < history->natts; i++)
	{
		Form_pg_attribute his = TupleDescAttr(history, i);
		AttrNumber	attnum;
		bool		known = false;
		ListCell   *cell;

		if (his->attisdropped || his->attgenerated != '\0')
			continue;
		foreach(cell, layout->own)
			known |= ((MappedColumn *) lfirst(cell))->history_attnum == his->attnum;
		foreach(cell, layout->columns)
			known |= ((MappedColumn *) lfirst(cell))->history_attnum == his->attnum;
		if (known)
			continue;
		attnum = find_column(desc, NameStr(his->attname));
		if (attnum != InvalidAttrNumber)
			add_column(layout, pstrdup(NameStr(his->attname)), attnum, his->attnum);
	}
}

DealsLayout *
layout_read(Oid relid)
{
	static const char *const own_names[] = {
		"version", "change", "valid_from", "valid_to", "to_pipeline_id",
		"to_stage_id", "skipped_stages", "actor", "role_name",
		"application_name", "reason", "batch", "txid", "recorded_at",
		"bypassed", "imported"
	};
	DealsLayout *layout;
	Relation	rel;
	Relation	history;
	Trigger    *mapping;

	if (!OidIsValid(relid))
		return NULL;

	layout = palloc0(sizeof(DealsLayout));
	layout->relid = relid;
	if (!read_tracked_row(relid, layout))
		return NULL;

	rel = try_relation_open(relid, AccessShareLock);
	if (rel == NULL)
		return NULL;
	history = try_relation_open(layout->history, AccessShareLock);
	if (history == NULL)
	{
		relation_close(rel, AccessShareLock);
		return NULL;
	}

	mapping = mapping_trigger(rel);
	if (mapping != NULL)
	{
		for (int i = 0; i < (int) lengthof(own_names); i++)
		{
			MappedColumn *own = palloc(sizeof(MappedColumn));

			own->role = psprintf("@%s", own_names[i]);
			own->copied_as = NULL;
			own->attnum = InvalidAttrNumber;
			own->history_attnum = own_column(RelationGetDescr(history), own_names[i]);
			layout->own = lappend(layout->own, own);
		}
		read_roles(layout, mapping, mapping_trigger(history), RelationGetDescr(history));
		read_tracked(layout, RelationGetDescr(rel), RelationGetDescr(history));
	}

	relation_close(history, AccessShareLock);
	relation_close(rel, AccessShareLock);
	return mapping == NULL ? NULL : layout;
}

char *
layout_history_column(const DealsLayout *layout, const char *name)
{
	ListCell   *cell;

	foreach(cell, layout->own)
	{
		MappedColumn *own = lfirst(cell);

		if (strcmp(own->role + 1, name) == 0 && own->history_attnum != InvalidAttrNumber)
			return get_attname(layout->history, own->history_attnum, false);
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("history \"%s\" has no column \"%s\"",
					get_rel_name(layout->history), name),
			 errhint("pipelines.verify() lists what else is missing.")));
	return NULL;				/* keep the compiler quiet */
}

DealsLayout *
layout_require(Oid relid)
{
	DealsLayout *layout = layout_read(relid);

	if (layout == NULL)
	{
		char	   *name = get_rel_name(relid);

		if (name == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_TABLE),
					 errmsg("relation with OID %u does not exist", relid)));
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a table of deals, or is one no longer",
						name),
				 errhint("pipelines.create_deals() makes one; pipelines.resume() restores what a tracked table has lost.")));
	}
	return layout;
}

/*
 * pipelines_layout_columns
 *		The mapping as rows, for the SQL functions of verify and import.
 */
Datum
pipelines_layout_columns(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	DealsLayout *layout = layout_require(PG_GETARG_OID(0));
	List	   *columns = list_concat(list_copy(layout->columns), layout->own);
	ListCell   *cell;

	compat_materialize(fcinfo);

	foreach(cell, columns)
	{
		MappedColumn *column = lfirst(cell);
		Datum		values[6] = {0};
		bool		nulls[6] = {false, true, true, true, true, true};
		char	   *name = NULL;
		char	   *history_name = NULL;

		if (column->attnum != InvalidAttrNumber)
			name = get_attname(layout->relid, column->attnum, true);
		if (column->history_attnum != InvalidAttrNumber)
			history_name = get_attname(layout->history, column->history_attnum, true);

		values[0] = CStringGetTextDatum(column->role);
		if (name != NULL)
		{
			values[1] = Int16GetDatum(column->attnum);
			values[2] = CStringGetTextDatum(name);
			nulls[1] = nulls[2] = false;
		}
		if (history_name != NULL)
		{
			values[3] = Int16GetDatum(column->history_attnum);
			values[4] = CStringGetTextDatum(history_name);
			nulls[3] = nulls[4] = false;
		}
		if (column->copied_as != NULL)
		{
			values[5] = CStringGetTextDatum(column->copied_as);
			nulls[5] = false;
		}
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
