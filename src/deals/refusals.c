/*-------------------------------------------------------------------------
 *
 * refusals.c
 *	  Changes that were refused, until the statement ends.
 *
 * Owns the list of refusals of the running statements.  One UPDATE of many
 * deals says at its end which of them were refused and why, not just the
 * first.  The row trigger that refuses a change keeps the deal where
 * it was and notes the refusal here; the AFTER trigger, which comes when the
 * statement is through, raises what was noted.
 *
 * The invariant: a refusal that was noted is raised, at the latest before the
 * transaction commits, by the subtransaction that noted it, or vanishes with
 * it.  One refusal is raised with the very fields that it was noted with.
 *
 * Must never decide whether something is refused.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "compat.h"
#include "lib/stringinfo.h"
#include "refusals.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

/* refusals that are told one by one */
#define LISTED_REFUSALS 20

typedef struct NotedRefusals
{
	struct NotedRefusals *outer;
	SubTransactionId subid;
	bool		announced;		/* the AFTER trigger will come */
	int64		awaited;		/* calls of it that are still to come */
	int64		count;
	MemoryContext context;		/* of all that follows; NULL: nothing noted */
	Refusal		first;
	char	   *schema;
	char	   *table;
	char	   *column;
	char	   *lines[LISTED_REFUSALS];
} NotedRefusals;

static NotedRefusals *noted = NULL; /* innermost first */

static NotedRefusals *
current_level(bool create)
{
	SubTransactionId subid = GetCurrentSubTransactionId();
	NotedRefusals *level = noted;

	if (level != NULL && level->subid == subid)
		return level;
	if (!create)
		return NULL;
	level = MemoryContextAllocZero(TopTransactionContext, sizeof(NotedRefusals));
	level->subid = subid;
	level->outer = noted;
	noted = level;
	return level;
}

static void
drop_level(void)
{
	NotedRefusals *level = noted;

	noted = level->outer;
	if (level->context != NULL)
		MemoryContextDelete(level->context);
	pfree(level);
}

compat_noreturn static void
raise_refusals(NotedRefusals *level)
{
	const Refusal *first = &level->first;
	StringInfoData lines;
	int			listed = (int) Min(level->count, LISTED_REFUSALS);

	if (level->count == 1)
		ereport(ERROR,
				(errcode(first->sqlerrcode),
				 errmsg("%s", first->message),
				 first->detail != NULL ? errdetail("%s", first->detail) : 0,
				 first->hint != NULL ? errhint("%s", first->hint) : 0,
				 err_generic_string(PG_DIAG_SCHEMA_NAME, level->schema),
				 err_generic_string(PG_DIAG_TABLE_NAME, level->table),
				 level->column != NULL ?
				 err_generic_string(PG_DIAG_COLUMN_NAME, level->column) : 0));

	initStringInfo(&lines);
	for (int i = 0; i < listed; i++)
		appendStringInfo(&lines, "%s%s", i > 0 ? "\n" : "", level->lines[i]);
	if (level->count > listed)
		appendStringInfo(&lines, "\n... and " INT64_FORMAT " more", level->count - listed);
	ereport(ERROR,
			(errcode(first->sqlerrcode),
			 errmsg(INT64_FORMAT " deals of table \"%s\" were refused", level->count, level->table),
			 errdetail("%s", lines.data),
			 errhint("Nothing was changed.  pipelines.move_many(..., on_refuse => 'skip') moves the others; pipelines.move_plan() shows beforehand what would be refused."),
			 err_generic_string(PG_DIAG_SCHEMA_NAME, level->schema),
			 err_generic_string(PG_DIAG_TABLE_NAME, level->table),
			 level->column != NULL ?
			 err_generic_string(PG_DIAG_COLUMN_NAME, level->column) : 0));
}

static void
refusals_xact_callback(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			for (NotedRefusals *level = noted; level != NULL; level = level->outer)
			{
				if (level->count > 0)
					raise_refusals(level);
			}
			break;
		default:
			/* the memory goes with the transaction's */
			noted = NULL;
			break;
	}
}

static void
refusals_subxact_callback(SubXactEvent event, SubTransactionId subid,
						  SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		while (noted != NULL && noted->subid >= subid)
			drop_level();
	}
	else if (event == SUBXACT_EVENT_PRE_COMMIT_SUB)
	{
		NotedRefusals *level = current_level(false);

		if (level != NULL && level->subid == subid && level->count > 0)
			raise_refusals(level);
	}
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		/* nothing is noted there, and no statement of it is under way */
		if (noted != NULL && noted->subid == subid)
			drop_level();
	}
}

void
refusals_init(void)
{
	RegisterXactCallback(refusals_xact_callback, NULL);
	RegisterSubXactCallback(refusals_subxact_callback, NULL);
}

/*
 * Where the message does not name the deal, the line does.
 */
char *
refusal_line(const Refusal *refusal, const char *deal)
{
	StringInfoData line;

	initStringInfo(&line);
	if (strstr(refusal->message, deal) == NULL)
		appendStringInfo(&line, "%s: ", deal);
	appendStringInfoString(&line, refusal->message);
	if (refusal->reason != NULL)
		appendStringInfo(&line, ".  %s", refusal->reason);
	return line.data;
}

static char *
keep(const char *text)
{
	return text == NULL ? NULL : pstrdup(text);
}

void
refusal_note(const DealContext *deal, const Refusal *refusal)
{
	NotedRefusals *level = current_level(true);
	MemoryContext oldcontext;

	if (level->context == NULL)
		level->context = AllocSetContextCreate(TopTransactionContext, "pipelines refusals",
											   ALLOCSET_SMALL_SIZES);
	if (level->count < LISTED_REFUSALS)
	{
		oldcontext = MemoryContextSwitchTo(level->context);
		if (level->count == 0)
		{
			level->first = *refusal;
			level->first.message = keep(refusal->message);
			level->first.detail = keep(refusal->detail);
			level->first.reason = keep(refusal->reason);
			level->first.hint = keep(refusal->hint);
			level->schema = keep(get_namespace_name(RelationGetNamespace(deal->rel)));
			level->table = keep(get_rel_name(deal->table->root));
			level->column = refusal->column == InvalidAttrNumber ? NULL :
				keep(NameStr(TupleDescAttr(RelationGetDescr(deal->rel),
										   refusal->column - 1)->attname));
		}
		level->lines[level->count] =
			refusal_line(refusal, deal_label(deal->table, RelationGetDescr(deal->rel),
											 deal->values, deal->nulls));
		MemoryContextSwitchTo(oldcontext);
	}
	level->count++;
}

bool
refusals_noted(void)
{
	NotedRefusals *level = current_level(false);

	return level != NULL && level->count > 0;
}

bool
refusals_announce(void)
{
	NotedRefusals *level = current_level(false);

	if (level == NULL || level->count == 0 || level->announced)
		return false;
	level->announced = true;
	return true;
}

void
refusals_expect_call(void)
{
	current_level(true)->awaited++;
}

void
refusals_call_came(void)
{
	NotedRefusals *level = current_level(false);

	if (level == NULL)
		return;
	if (level->awaited > 0)
		level->awaited--;
	if (level->awaited > 0)
		return;
	if (level->count > 0)
		raise_refusals(level);
	level->announced = false;
}
