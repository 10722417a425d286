/*-------------------------------------------------------------------------
 *
 * locked.c
 *	  Deals that were closed in a locked fiscal period.
 *
 * Owns the one rule of locked periods: what was reported of a period
 * that is locked stays as it was reported.  No deal is closed into it, and
 * one that was closed in it is not reopened, deleted or moved, and keeps its
 * day, its figures and what was said at its closing.  Who owns it, and all
 * else, may change.  The calendar is that of the deal's pipeline.
 *
 * There is no way around it but to unlock the period; merging stages changes
 * none of that and passes, and so does what comes with its bookkeeping (a
 * restore, an import by the owner of the table).
 *
 * Must never raise a refusal but say it, see rules.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "calendar/calendar.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "deals/locked.h"
#include "errors.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/rel.h"

/* what a closed deal is reported by, beside pipeline, stage and day */
static const char *const reported[] = {
	"amount", "currency", "quantity", "cost", "close_reason", "competitor", "close_notes"
};

/*
 * The day that a closing counts for; false: the deal is not closed, or its
 * pipeline is unknown.
 */
static bool
closing_day(const DealState *state, const PipelineDef *pipeline, DateADT *day)
{
	if (pipeline == NULL || !state->has_closed_at)
		return false;
	*day = state->has_closed_on ? state->closed_on : day_of(state->closed_at, pipeline->tz);
	return true;
}

static bool
is_locked(const DealState *state, LockedPeriod *period, DateADT *day)
{
	const PipelineDef *pipeline;

	if (!state->has_closed_at)
		return false;
	pipeline = definitions_pipeline(state->pipeline_id);
	return closing_day(state, pipeline, day) &&
		calendar_day_is_locked(pipeline->calendar_id, *day, period);
}

bool
closed_in_locked_period(const DealState *state)
{
	LockedPeriod period;
	DateADT		day;

	return is_locked(state, &period, &day);
}

/*
 * Say why not; always false.
 */
static bool
refuse(const DealContext *deal, Refusal *refusal, AttrNumber column,
	   const LockedPeriod *period, const char *message, const char *because)
{
	refusal->sqlerrcode = ERRCODE_PIPELINES_PERIOD_LOCKED;
	refusal->column = column;
	refusal->message = psprintf(message,
								psprintf("%s of table \"%s\"",
										 deal_label(deal->table, RelationGetDescr(deal->rel),
													deal->old_values != NULL ? deal->old_values : deal->values,
													deal->old_values != NULL ? deal->old_nulls : deal->nulls),
										 RelationGetRelationName(deal->rel)),
								period->label);
	refusal->detail = psprintf("Fiscal period \"%s\" of calendar \"%s\" is locked.  %s",
							   period->label, period->calendar, because);
	refusal->reason = refusal->detail;
	refusal->hint = psprintf("Who may change pipelines.fiscal_period, as role \"%s\" may, can unlock it: SELECT pipelines.unlock_period(%d, reason => '...').",
							 GetUserNameFromId(definitions_owner(), true), period->period_id);
	return false;
}

static char *
day_text(DateADT day)
{
	return DatumGetCString(DirectFunctionCall1(date_out, DateADTGetDatum(day)));
}

bool
lock_allows_change(const DealContext *deal, const DealState *old,
				   const DealState *state, Verdict *verdict)
{
	TupleDesc	tupdesc = RelationGetDescr(deal->rel);
	LockedPeriod was;
	LockedPeriod will_be;
	DateADT		old_day;
	DateADT		new_day;
	bool		same_day;

	if (likely(!old->has_closed_at && !state->has_closed_at))
		return true;
	if (!is_locked(old, &was, &old_day))
	{
		if (likely(!is_locked(state, &will_be, &new_day)))
			return true;
		return refuse(deal, &verdict->refusal, deal->table->role[ROLE_CLOSED_ON], &will_be,
					  old->has_closed_at ?
					  "%s can't be moved to fiscal period \"%s\"" :
					  "%s can't be closed in fiscal period \"%s\"",
					  psprintf("Its closing day would be %s.", day_text(new_day)));
	}

	same_day = closing_day(state, definitions_pipeline(state->pipeline_id), &new_day) &&
		new_day == old_day && old->closed_at == state->closed_at;
	if (verdict->moved && verdict->kind != CHANGE_MERGE)
		return refuse(deal, &verdict->refusal, deal->table->role[ROLE_STAGE_ID], &was,
					  state->has_closed_at ?
					  "%s can't be moved: it was closed in fiscal period \"%s\"" :
					  "%s can't be reopened: it was closed in fiscal period \"%s\"",
					  psprintf("It was closed on %s.", day_text(old_day)));
	if (!same_day)
		return refuse(deal, &verdict->refusal, deal->table->role[ROLE_CLOSED_ON], &was,
					  "the closing day of %s can't be changed: it lies in fiscal period \"%s\"",
					  psprintf("It was closed on %s.", day_text(old_day)));

	for (int i = 0; i < (int) lengthof(reported); i++)
	{
		AttrNumber	attnum = deals_column(deal->table, tupdesc, reported[i]);
		Form_pg_attribute att;
		bool		null_old;
		bool		null_new;

		if (attnum == InvalidAttrNumber)
			continue;
		att = TupleDescAttr(tupdesc, attnum - 1);
		if (att->attgenerated != '\0' && verdict->when != JUDGE_AFTER)
		{
			verdict->postponed = true;
			continue;
		}
		null_old = deal->old_nulls[attnum - 1];
		null_new = deal->nulls[attnum - 1];
		if (null_old && null_new)
			continue;
		if (!null_old && !null_new &&
			datum_image_eq(deal->old_values[attnum - 1], deal->values[attnum - 1],
						   att->attbyval, att->attlen))
			continue;

		/* 1.0 and 1.00 are the same amount */
		if (!null_old && !null_new && att->atttypid == NUMERICOID &&
			DatumGetBool(DirectFunctionCall2(numeric_eq, deal->old_values[attnum - 1],
											 deal->values[attnum - 1])))
			continue;
		return refuse(deal, &verdict->refusal, attnum, &was,
					  psprintf("column \"%s\" of %%s can't be changed: it was closed in fiscal period \"%%s\"",
							   NameStr(att->attname)),
					  psprintf("It was closed on %s.", day_text(old_day)));
	}
	return true;
}

bool
lock_allows_entry(const DealContext *deal, const DealState *state, Refusal *refusal)
{
	LockedPeriod period;
	DateADT		day;

	if (likely(!is_locked(state, &period, &day)))
		return true;
	return refuse(deal, refusal, deal->table->role[ROLE_CLOSED_ON], &period,
				  "%s can't be closed in fiscal period \"%s\"",
				  psprintf("Its closing day would be %s.", day_text(day)));
}

bool
lock_allows_delete(const DealContext *deal, const DealState *state, Refusal *refusal)
{
	LockedPeriod period;
	DateADT		day;

	if (likely(!is_locked(state, &period, &day)))
		return true;
	return refuse(deal, refusal, InvalidAttrNumber, &period,
				  "%s can't be deleted: it was closed in fiscal period \"%s\"",
				  psprintf("It was closed on %s.", day_text(day)));
}
