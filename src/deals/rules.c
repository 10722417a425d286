/*-------------------------------------------------------------------------
 *
 * rules.c
 *	  Judging one change of one deal.
 *
 * Owns the meaning of a stage change: which stage is meant, whether it is
 * allowed, what becomes of furthest stage, gate, episode, closing date and
 * overrides, and how the change is called.  Numbers like refer to the
 * rules that the tests cite.
 *
 * A change is judged in two steps.  judge_change() finds out what it is; its
 * outcome depends on nothing but the old and the new state, what the history
 * says of the deal's past, the definitions and the instant, so that judging the
 * result again gives the same result, which is how the AFTER trigger finds out
 * that somebody else's trigger tampered with a row.  judge_requirements() then asks whether the deal, the
 * activities and the role fulfil what the move demands; what it refuses may be
 * bypassed by leave.
 *
 * Must never raise a refusal but say it, so that a statement can tell them
 * all; never read a table itself (requirements.c does), nor look at the clock.
 * Definitions are looked up anew after anything that may read catalogs.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"
#include "deals/deals.h"
#include "deals/locked.h"
#include "definitions/definitions.h"
#include "errors.h"
#include "miscadmin.h"
#include "pipelines.h"
#include "requirements.h"
#include "rules.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

static char *
label(const DealContext *deal)
{
	/* the key never changes, but an UPDATE may try */
	return deal_label(deal->table, RelationGetDescr(deal->rel),
					  deal->old_values != NULL ? deal->old_values : deal->values,
					  deal->old_values != NULL ? deal->old_nulls : deal->nulls);
}

/* 'deal 42 of table "deals"' */
static char *
full_label(const DealContext *deal)
{
	return psprintf("%s of table \"%s\"", label(deal), RelationGetRelationName(deal->rel));
}

/*
 * Say why not.  Always false, so that a judge can return it.
 */
static bool
refuse(Refusal *refusal, int sqlerrcode, AttrNumber column,
	   char *message, char *detail, char *hint)
{
	refusal->sqlerrcode = sqlerrcode;
	refusal->column = column;
	refusal->message = message;
	refusal->detail = detail;
	refusal->hint = hint;
	refusal->reason = NULL;
	return false;
}

/* the same, where the detail is what a list of refusals must show */
static bool
refuse_because(Refusal *refusal, int sqlerrcode, AttrNumber column,
			   char *message, char *detail, char *hint)
{
	(void) refuse(refusal, sqlerrcode, column, message, detail, hint);
	refusal->reason = detail;
	return false;
}

void
refuse_now(const DealContext *deal, const Refusal *refusal)
{
	ereport(ERROR,
			(errcode(refusal->sqlerrcode),
			 errmsg("%s", refusal->message),
			 refusal->detail != NULL ? errdetail("%s", refusal->detail) : 0,
			 refusal->hint != NULL ? errhint("%s", refusal->hint) : 0,
			 refusal->column != InvalidAttrNumber ?
			 errtablecol(deal->rel, refusal->column) : errtable(deal->rel)));
}

/* stage "Quote", or its number where the definitions don't know it */
static char *
stage_label(const PipelineDef *pipeline, int32 stage_id)
{
	const StageDef *stage = pipeline == NULL ? NULL :
		definitions_stage(pipeline, stage_id);

	if (stage == NULL)
		return psprintf("stage %d", stage_id);
	return psprintf("stage \"%s\"", stage->name);
}

static const PipelineDef *
known_pipeline(const DealContext *deal, int32 pipeline_id, Refusal *refusal)
{
	const PipelineDef *pipeline = definitions_pipeline(pipeline_id);

	/* what is hidden is not told from what does not exist */
	if (pipeline != NULL && definitions_hidden_in(pipeline, deal->table->root))
		pipeline = NULL;
	if (pipeline == NULL)
		(void) refuse(refusal, ERRCODE_PIPELINES_UNKNOWN_STAGE,
					  deal->table->role[ROLE_PIPELINE_ID],
					  psprintf("pipeline %d does not exist", pipeline_id),
					  psprintf("Refused for %s.  Pipelines: %s.", full_label(deal),
							   definitions_pipeline_list(deal->table->layout_id)),
					  "Look a pipeline up by name with pipelines.pipeline_id().");
	return pipeline;
}

/*
 * row security would refuse it, too, but could not say why, nor let a
 * statement go on.
 */
static bool
may_move_in(const DealContext *deal, const PipelineDef *pipeline, Refusal *refusal)
{
	if (!definitions_move_denied(pipeline, deal->table->root))
		return true;
	return refuse_because(refusal, ERRCODE_INSUFFICIENT_PRIVILEGE,
						  deal->table->role[ROLE_PIPELINE_ID],
						  psprintf("permission denied to make or move deals in pipeline \"%s\"",
								   pipeline->name),
						  psprintf("The pipeline is protected.  Refused for %s.", full_label(deal)),
						  psprintf("Whoever may define the pipeline can allow it: pipelines.grant_pipeline('%s', ..., 'move').",
								   pipeline->name));
}

static const StageDef *
known_stage(const DealContext *deal, const PipelineDef *pipeline, int32 stage_id,
			Refusal *refusal)
{
	const StageDef *stage = definitions_stage(pipeline, stage_id);

	if (stage == NULL)
		(void) refuse(refusal, ERRCODE_PIPELINES_UNKNOWN_STAGE,
					  deal->table->role[ROLE_STAGE_ID],
					  psprintf("stage %d is not a stage of pipeline \"%s\"",
							   stage_id, pipeline->name),
					  psprintf("Refused for %s.  Stages of the pipeline: %s.", full_label(deal),
							   definitions_stage_list(pipeline)),
					  psprintf("Look a stage up by name with pipelines.stage_id('%s', ...).  To change the pipeline, set pipeline_id too.",
							   pipeline->name));
	return stage;
}

/*
 * no deal may enter what is archived, though it may stay there, and
 * finish its way through an archived pipeline.
 */
static bool
is_not_archived(const DealContext *deal, const PipelineDef *pipeline, const StageDef *stage,
				bool enters_pipeline, Refusal *refusal)
{
	if (pipeline->archived && enters_pipeline)
		return refuse(refusal, ERRCODE_PIPELINES_ARCHIVED,
					  deal->table->role[ROLE_PIPELINE_ID],
					  psprintf("pipeline \"%s\" is archived", pipeline->name),
					  psprintf("No deal may enter it.  Refused for %s.", full_label(deal)),
					  "Choose another pipeline, or set archived_at of this one to NULL.");
	if (stage->archived)
		return refuse(refusal, ERRCODE_PIPELINES_ARCHIVED,
					  deal->table->role[ROLE_STAGE_ID],
					  psprintf("stage \"%s\" of pipeline \"%s\" is archived",
							   stage->name, pipeline->name),
					  psprintf("No deal may enter it.  Refused for %s.", full_label(deal)),
					  psprintf("Stages of the pipeline: %s.", definitions_stage_list(pipeline)));
	return true;
}

/* the first live open stage; NULL if there is none */
static const StageDef *
first_open_stage(const PipelineDef *pipeline)
{
	const StageDef *first = NULL;

	for (int i = 0; i < pipeline->nstages; i++)
	{
		const StageDef *stage = &pipeline->stages[i];

		if (stage->archived || stage->outcome != OUTCOME_OPEN)
			continue;
		if (stage->may_start)
			return stage;
		if (first == NULL)
			first = stage;
	}
	return first;
}

/* reaching such a stage is progress; lost ones and pauses are not */
static bool
is_progress(const StageDef *stage)
{
	return stage->outcome == OUTCOME_OPEN || stage->outcome == OUTCOME_WON ||
		stage->outcome == OUTCOME_DONE;
}

DateADT
day_of(TimestampTz instant, pg_tz *tz)
{
	struct pg_tm tm;
	fsec_t		fsec;
	int			offset;

	if (TIMESTAMP_IS_NOBEGIN(instant))
		return DATEVAL_NOBEGIN;
	if (TIMESTAMP_IS_NOEND(instant))
		return DATEVAL_NOEND;
	if (timestamp2tm(instant, &offset, &tm, &fsec, NULL, tz) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	return date2j(tm.tm_year, tm.tm_mon, tm.tm_mday) - POSTGRES_EPOCH_JDATE;
}

/* the closing date is given, or the instant; its day likewise */
static void
set_closing(DealState *state, const PipelineDef *pipeline)
{
	if (!state->has_closed_at)
	{
		state->has_closed_at = true;
		state->closed_at = state->changed_at;
	}
	if (!state->has_closed_on)
	{
		state->has_closed_on = true;
		state->closed_on = day_of(state->closed_at, pipeline->tz);
	}
}

static void
clear_closing(DealState *state)
{
	state->has_closed_at = false;
	state->has_closed_on = false;
}

/* a table's deals stay in pipelines of its layout */
static bool
is_of_layout(const DealContext *deal, const PipelineDef *pipeline, Refusal *refusal)
{
	if (deal->table->layout_id == 0 || pipeline->layout_id == deal->table->layout_id)
		return true;
	return refuse(refusal, ERRCODE_PIPELINES_OTHER_LAYOUT,
				  deal->table->role[ROLE_PIPELINE_ID],
				  psprintf("pipeline \"%s\" belongs to another layout than table \"%s\"",
						   pipeline->name, RelationGetRelationName(deal->rel)),
				  psprintf("Refused for %s.  Pipelines of the table's layout: %s.",
						   label(deal), definitions_pipeline_list(deal->table->layout_id)),
				  NULL);
}

/* S4, S102: where does a new deal go that names no pipeline? */
static const PipelineDef *
default_pipeline(const DealContext *deal, Refusal *refusal)
{
	const PipelineDef *standard = definitions_standard_pipeline(deal->table->layout_id);
	int32		layout_id = deal->table->layout_id != 0 ? deal->table->layout_id :
		standard == NULL ? 0 : standard->layout_id;
	int32		suitable = pipeline_by_deal_type(deal, layout_id);
	const PipelineDef *pipeline = suitable == 0 ? NULL : definitions_pipeline(suitable);

	/* a pipeline that is hidden is suitable for nothing */
	if (pipeline != NULL && !pipeline->archived &&
		!definitions_hidden_in(pipeline, deal->table->root))
		return pipeline;
	pipeline = definitions_standard_pipeline(deal->table->layout_id);
	if (pipeline != NULL && definitions_hidden_in(pipeline, deal->table->root))
		pipeline = NULL;
	if (pipeline == NULL)
		(void) refuse(refusal, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
					  deal->table->role[ROLE_PIPELINE_ID],
					  psprintf("there is no standard pipeline for table \"%s\"",
							   RelationGetRelationName(deal->rel)),
					  "A deal without a pipeline goes to the standard pipeline of its table's layout, which has none.",
					  "Create a pipeline, for example SELECT pipelines.create_pipeline('Sales', template => 'standard'), or give pipeline_id.");
	return pipeline;
}

/*
 * Complete a new deal.  On entry pipeline and stage are what was given, 0 for
 * not given; version, episode and changed_at are set.  Only existence is
 * checked here: a proposed row may still turn into the update of another, so
 * that what a new deal must fulfil is judged after the insertion.
 */
bool
judge_new_deal(const DealContext *deal, DealState *state, Refusal *refusal)
{
	const PipelineDef *pipeline;
	const StageDef *stage;

	if (state->pipeline_id != 0)
		pipeline = known_pipeline(deal, state->pipeline_id, refusal);
	else
		pipeline = default_pipeline(deal, refusal);
	if (pipeline == NULL || !is_of_layout(deal, pipeline, refusal) ||
		!may_move_in(deal, pipeline, refusal))
		return false;
	state->pipeline_id = pipeline->pipeline_id;

	if (state->stage_id != 0)
	{
		stage = known_stage(deal, pipeline, state->stage_id, refusal);
		if (stage == NULL)
			return false;
	}
	else
	{
		stage = first_open_stage(pipeline);
		if (stage == NULL)
			return refuse(refusal, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
						  deal->table->role[ROLE_STAGE_ID],
						  psprintf("pipeline \"%s\" has no open stage to start in", pipeline->name),
						  psprintf("Refused for %s.", full_label(deal)),
						  "Add an open stage to the pipeline, or give stage_id.");
		state->stage_id = stage->stage_id;
	}

	state->stage_entered_at = state->changed_at;
	state->furthest_stage_id = state->stage_id;
	state->gate_stage_id = 0;
	if (OUTCOME_IS_CLOSED(stage->outcome))
		set_closing(state, pipeline);
	else
		clear_closing(state);
	return true;
}

/*
 * Is there anything that judge_entry() may object to?
 */
bool
judge_new_deal_needed(const DealState *state)
{
	const PipelineDef *pipeline = definitions_pipeline(state->pipeline_id);
	const StageDef *stage = pipeline == NULL ? NULL :
		definitions_stage(pipeline, state->stage_id);

	return stage == NULL || !stage->may_start || stage->archived || pipeline->archived ||
		stage->entry_rule != NULL || pipeline->napprovals > 0 ||
		(pipeline->close_requires != 0 && OUTCOME_IS_CLOSED(stage->outcome)) ||
		closed_in_locked_period(state);
}

/*
 * A row that came with all its bookkeeping is kept as it is, but it must be
 * in a stage that exists.
 */
bool
check_kept_deal(const DealContext *deal, const DealState *state, Refusal *refusal)
{
	const PipelineDef *pipeline = known_pipeline(deal, state->pipeline_id, refusal);

	return pipeline != NULL && is_of_layout(deal, pipeline, refusal) &&
		known_stage(deal, pipeline, state->stage_id, refusal) != NULL;
}

/*
 * the stage of a pipeline that answers to the deal's present one; NULL
 * if nothing says which.
 */
static const StageDef *
answering_stage(const DealState *old, const PipelineDef *target)
{
	const PipelineDef *source;
	const StageDef *from;
	const StageDef *stage = definitions_stage(target, old->stage_id);
	int32		mapped;

	if (stage != NULL && !stage->archived)
		return stage;

	mapped = definitions_mapped_stage(old->pipeline_id, old->stage_id, target->pipeline_id);
	if (mapped != 0)
		return definitions_stage(target, mapped);

	source = definitions_pipeline(old->pipeline_id);
	from = source == NULL ? NULL : definitions_stage(source, old->stage_id);
	if (target->transfer_policy == TRANSFER_NEAREST && from != NULL)
	{
		const StageDef *nearest = NULL;

		/* live stages come by position: on a tie the lower one stays */
		for (int i = 0; i < target->nstages; i++)
		{
			const StageDef *candidate = &target->stages[i];

			if (candidate->archived || candidate->outcome != from->outcome)
				continue;
			if (nearest == NULL ||
				abs(candidate->probability - from->probability) <
				abs(nearest->probability - from->probability))
				nearest = candidate;
		}
		return nearest;
	}
	if (target->transfer_policy == TRANSFER_FIRST)
		return first_open_stage(target);
	return NULL;
}

/*
 * how far has a deal that comes from another pipeline got, as this one
 * sees it?  The furthest of the stages here that answer to what it has been
 * through there, up to 'furthest'; NULL: none does.
 */
static const StageDef *
furthest_equivalent(const DealState *old, const PipelineDef *source, const StageDef *furthest,
					const PipelineDef *target, const StageDef *entered)
{
	const StageDef *best = NULL;

	if (is_progress(entered) && answering_stage(old, target) == entered)
		best = entered;
	for (int i = 0; furthest != NULL && is_progress(furthest) && i < source->nstages; i++)
	{
		const StageDef *been = &source->stages[i];
		const StageDef *here;

		if (been->position > furthest->position || !is_progress(been))
			continue;
		here = definitions_stage(target, been->stage_id);
		if (here == NULL || here->archived)
		{
			int32		mapped = definitions_mapped_stage(source->pipeline_id, been->stage_id,
														  target->pipeline_id);

			here = mapped == 0 ? NULL : definitions_stage(target, mapped);
		}
		if (here != NULL && is_progress(here) &&
			(best == NULL || here->position > best->position))
			best = here;
	}
	return best;
}

int32
furthest_after_transfer(const DealState *old, int32 pipeline_id, int32 stage_id)
{
	const PipelineDef *target = definitions_pipeline(pipeline_id);
	const PipelineDef *source = definitions_pipeline(old->pipeline_id);
	const StageDef *entered = target == NULL ? NULL : definitions_stage(target, stage_id);
	const StageDef *furthest = source == NULL ? NULL :
		definitions_stage(source, old->furthest_stage_id);

	furthest = entered == NULL ? NULL :
		furthest_equivalent(old, source, furthest, target, entered);
	return furthest == NULL ? 0 : furthest->stage_id;
}

/*
 * the mandatory open stages strictly between a position and the target.
 */
static void
find_skipped(const PipelineDef *pipeline, int64 reached, const StageDef *target,
			 Verdict *verdict)
{
	if (!is_progress(target))
		return;

	for (int i = 0; i < pipeline->nstages; i++)
	{
		const StageDef *stage = &pipeline->stages[i];

		if (stage->archived || !stage->mandatory || stage->outcome != OUTCOME_OPEN ||
			stage->position <= reached || stage->position >= target->position)
			continue;
		if (verdict->skipped == NULL)
			verdict->skipped = palloc(sizeof(int32) * pipeline->nstages);
		verdict->skipped[verdict->nskipped++] = stage->stage_id;
	}
}

static char *
skipped_names(const PipelineDef *pipeline, const Verdict *verdict)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < verdict->nskipped; i++)
	{
		const StageDef *stage = definitions_stage(pipeline, verdict->skipped[i]);

		appendStringInfo(&buf, "%s\"%s\"", i > 0 ? ", " : "", stage->name);
	}
	return buf.data;
}

/*
 * A deal on hold stands where it was before: 'paused_in', or as far as it got
 * if that is not known, or was not asked for.  Any other stands in its stage.
 */
static const StageDef *
where_it_stands(const DealState *old, const PipelineDef *pipeline, const StageDef *from,
				int32 paused_in)
{
	if (from == NULL || from->outcome != OUTCOME_ON_HOLD)
		return from;
	return definitions_stage(pipeline, paused_in != 0 ? paused_in : old->furthest_stage_id);
}

/* a pause, or a stage where deals are lost, counts as the furthest one */
static bool
furthest_is_no_progress(const DealState *old, const PipelineDef *pipeline)
{
	const StageDef *furthest = pipeline == NULL ? NULL :
		definitions_stage(pipeline, old->furthest_stage_id);

	return furthest != NULL && !is_progress(furthest);
}

/*
 * how far has a deal got that stands in 'base'?  A furthest stage that
 * is no progress says that the deal began in it; or it was an open one, and
 * became a pause when the deal had been there: then what it was in counts.
 */
static const StageDef *
furthest_progress(const DealState *old, const PipelineDef *pipeline, const StageDef *base,
				  const Verdict *verdict)
{
	const StageDef *furthest = pipeline == NULL ? NULL :
		definitions_stage(pipeline, old->furthest_stage_id);
	const StageDef *been = base != NULL && is_progress(base) ? base : NULL;
	ListCell   *cell;

	if (furthest == NULL || is_progress(furthest))
		return furthest;
	foreach(cell, verdict->visited)
	{
		const StageDef *stage = definitions_stage(pipeline, lfirst_int(cell));

		if (stage != NULL && is_progress(stage) &&
			(been == NULL || stage->position > been->position))
			been = stage;
	}
	return been != NULL ? been : furthest;
}

/*
 * a push-back leads to an earlier open stage of the same pipeline.
 * 'base' is where the deal stands; of one on hold, where it was before.
 */
static bool
may_be_pushed_back(const DealContext *deal, const DealState *old, const PipelineDef *pipeline,
				   const StageDef *base, const StageDef *stage, Refusal *refusal)
{
	if (old->pipeline_id == pipeline->pipeline_id && base != NULL &&
		base->outcome == OUTCOME_OPEN && stage->outcome == OUTCOME_OPEN &&
		stage->position < base->position)
		return true;
	return refuse_because(refusal, ERRCODE_PIPELINES_MOVE_REFUSED,
						  deal->table->role[ROLE_STAGE_ID],
						  psprintf("%s can't be pushed back to %s", full_label(deal),
								   stage_label(pipeline, stage->stage_id)),
						  psprintf("It is in %s%s; a deal that is not closed can be pushed back to an earlier open stage.",
								   stage_label(pipeline, old->stage_id),
								   base == NULL || base->stage_id == old->stage_id ? "" :
								   psprintf(" after %s", stage_label(pipeline, base->stage_id))),
						  "Name an earlier stage, or reopen the deal first.");
}

/* what a closing said before the batch, no matter what closed the deal since */
static void
bring_closing_back(DealState *state, const DealState *sent, const Verdict *verdict)
{
	if (verdict->forced != CHANGE_UNDO || !state->has_closed_at || !sent->has_closed_at)
		return;
	state->closed_at = sent->closed_at;
	if (sent->has_closed_on)
	{
		state->has_closed_on = true;
		state->closed_on = sent->closed_on;
	}
}

/* is it no move that anybody asked of this deal? */
static bool
decided_elsewhere(const Verdict *verdict)
{
	return verdict->forced != CHANGE_NONE || verdict->redefined != NULL;
}

/*
 * Does it matter where a deal on hold was before?  To ask the history is dear,
 * and most pipelines demand nothing of who leaves a stage, and let it go back.
 */
static bool
pause_matters(const DealState *old, const Verdict *verdict)
{
	const PipelineDef *pipeline = definitions_pipeline(old->pipeline_id);

	if (old->gate_stage_id != 0 || verdict->forced == CHANGE_PUSH_BACK ||
		(pipeline != NULL && pipeline->backward != BACKWARD_ALLOWED) ||
		furthest_is_no_progress(old, pipeline))
		return true;
	for (int i = 0; pipeline != NULL && i < pipeline->nstages; i++)
	{
		if (pipeline->stages[i].exit_rule != NULL || pipeline->stages[i].nactivities > 0)
			return true;
	}
	return false;
}

/*
 * Find out what an UPDATE is.  On entry *state is the new row as the client
 * sent it, with the bookkeeping of the old one; closed_at and closed_on count
 * as given if they differ from the old row's.  On return *state is complete
 * but for version and changed_at, which the caller sets when anything changed
 * at all; 'instant' is what changed_at will be then.
 */
bool
judge_change(const DealContext *deal, const DealState *old, DealState *state,
			 TimestampTz instant, Verdict *verdict)
{
	Refusal    *refusal = &verdict->refusal;
	const PipelineDef *pipeline;
	const PipelineDef *source;
	const StageDef *stage;
	const StageDef *from;
	const StageDef *base;
	const StageDef *furthest;
	DealState	sent = *state;
	DealState	given = *state;
	bool		was_closed;
	bool		transfer;
	bool		forward;
	bool		unknown;
	StageOutcome left = OUTCOME_OPEN;

	given.has_closed_at = state->has_closed_at &&
		(!old->has_closed_at || state->closed_at != old->closed_at);
	given.has_closed_on = state->has_closed_on &&
		(!old->has_closed_on || state->closed_on != old->closed_on);

	state->furthest_stage_id = old->furthest_stage_id;
	state->gate_stage_id = old->gate_stage_id;
	state->episode = old->episode;
	state->stage_entered_at = old->stage_entered_at;
	state->has_closed_at = old->has_closed_at;
	state->closed_at = old->closed_at;

	/* writing the same stage changes nothing, unless it is a new one */
	if (state->pipeline_id == old->pipeline_id && state->stage_id == old->stage_id &&
		verdict->redefined == NULL)
	{
		/* without a closing there is no day of it */
		if (!old->has_closed_at && !old->has_closed_on)
			state->has_closed_on = false;
		else if (!state->has_closed_on)
		{
			state->has_closed_on = old->has_closed_on;
			state->closed_on = old->closed_on;
		}
		bring_closing_back(state, &sent, verdict);
		return true;
	}

	verdict->moved = true;
	transfer = state->pipeline_id != old->pipeline_id;
	if (state->pipeline_id == 0 || (state->stage_id == 0 && !transfer))
		return refuse(refusal, ERRCODE_NOT_NULL_VIOLATION,
					  deal->table->role[state->pipeline_id == 0 ? ROLE_PIPELINE_ID : ROLE_STAGE_ID],
					  psprintf("%s must be in a stage of a pipeline", full_label(deal)),
					  "Pipeline and stage can't be set to NULL.", NULL);
	if (pause_matters(old, verdict))
		verdict->paused_in = stage_before_pause(deal, old);
	if (furthest_is_no_progress(old, definitions_pipeline(old->pipeline_id)))
		verdict->visited = stages_visited(deal, old, &verdict->adopted);
	pipeline = known_pipeline(deal, state->pipeline_id, refusal);
	if (pipeline == NULL || !may_move_in(deal, pipeline, refusal))
		return false;
	source = definitions_pipeline(old->pipeline_id);
	if (source != NULL && source->layout_id != pipeline->layout_id)
		return refuse(refusal, ERRCODE_PIPELINES_OTHER_LAYOUT,
					  deal->table->role[ROLE_PIPELINE_ID],
					  psprintf("%s can't move to pipeline \"%s\" of another layout",
							   full_label(deal), pipeline->name),
					  psprintf("Pipelines of its layout: %s.",
							   definitions_pipeline_list(source->layout_id)),
					  NULL);

	if (transfer && (state->stage_id == old->stage_id || state->stage_id == 0))
	{
		stage = answering_stage(old, pipeline);
		if (stage == NULL)
			return refuse(refusal, ERRCODE_PIPELINES_NO_MAPPING,
						  deal->table->role[ROLE_STAGE_ID],
						  psprintf("pipeline \"%s\" has no stage that answers to %s of pipeline \"%s\"",
								   pipeline->name, stage_label(source, old->stage_id),
								   source == NULL ? "?" : source->name),
						  psprintf("Only the pipeline of %s was changed.  Stages of the target: %s.",
								   full_label(deal), definitions_stage_list(pipeline)),
						  "Set stage_id too, or add a row to pipelines.stage_map, or set transfer_policy of the pipeline.");
		state->stage_id = stage->stage_id;
	}
	else
	{
		stage = known_stage(deal, pipeline, state->stage_id, refusal);
		if (stage == NULL)
			return false;
	}
	if (verdict->redefined == NULL &&
		!is_not_archived(deal, pipeline, stage, transfer, refusal))
		return false;

	from = source == NULL ? NULL : definitions_stage(source, old->stage_id);
	if (from != NULL)
		left = verdict->redefined != NULL ? verdict->redefined->was : from->outcome;
	was_closed = from == NULL ? old->has_closed_at : OUTCOME_IS_CLOSED(left);

	base = where_it_stands(old, source, from, verdict->paused_in);
	if (verdict->forced == CHANGE_PUSH_BACK &&
		!may_be_pushed_back(deal, old, pipeline, base, stage, refusal))
		return false;

	state->stage_entered_at = instant;

	/* furthest stage and skipped ones, as this pipeline sees them */
	furthest = furthest_progress(old, source, base, verdict);
	/* where a deal had been that was adopted in a pause is not known */
	unknown = verdict->adopted && furthest != NULL && !is_progress(furthest);
	if (transfer)
	{
		state->gate_stage_id = 0;
		furthest = furthest_equivalent(old, source, furthest, pipeline, stage);
	}
	if (was_closed && !OUTCOME_IS_CLOSED(stage->outcome))
	{
		/* a new episode begins */
		state->episode = old->episode + 1;
		state->furthest_stage_id = state->stage_id;
		state->gate_stage_id = 0;
		verdict->clear_overrides = true;
		verdict->clear_closing = true;
	}
	else
	{
		int64		reached = furthest == NULL ? (transfer ? PG_INT64_MIN : PG_INT64_MAX) :
			is_progress(furthest) ? furthest->position : PG_INT64_MIN;

		/* behind the gate the way is gone stage by stage, pauses or not */
		if (!unknown)
			find_skipped(pipeline, state->gate_stage_id != 0 && base != NULL ? base->position : reached,
						 stage, verdict);
		if (furthest == NULL || (is_progress(stage) && stage->position > reached))
			state->furthest_stage_id = state->stage_id;
		else if (transfer)
			state->furthest_stage_id = furthest->stage_id;
	}

	/* the gate stands where the deal was; one further on stays */
	if (verdict->forced == CHANGE_PUSH_BACK)
	{
		const StageDef *gate = state->gate_stage_id == 0 ? NULL :
			definitions_stage(pipeline, state->gate_stage_id);

		if (gate == NULL || gate->position < base->position)
			state->gate_stage_id = base->stage_id;
	}
	/* it opens where it was set, or when the deal is given up */
	else if (state->gate_stage_id != 0)
	{
		const StageDef *gate = definitions_stage(pipeline, state->gate_stage_id);

		if (gate == NULL || (is_progress(stage) && stage->position >= gate->position) ||
			(OUTCOME_IS_CLOSED(stage->outcome) && stage->outcome != OUTCOME_WON))
			state->gate_stage_id = 0;
	}

	/* closing, closing differently, reopening */
	if (OUTCOME_IS_CLOSED(stage->outcome))
	{
		if (!was_closed || from == NULL || left != stage->outcome)
		{
			given.changed_at = instant;
			set_closing(&given, pipeline);
			state->has_closed_at = true;
			state->closed_at = given.closed_at;
			state->has_closed_on = true;
			state->closed_on = given.closed_on;
			verdict->kind = CHANGE_CLOSE;
		}
		else if (!state->has_closed_on)
		{
			state->has_closed_on = old->has_closed_on;
			state->closed_on = old->closed_on;
		}
		bring_closing_back(state, &sent, verdict);
	}
	else
	{
		clear_closing(state);
		if (was_closed)
			verdict->kind = CHANGE_REOPEN;
	}

	/* the target's policy decides on overrides */
	forward = from == NULL || stage->position > from->position;
	if (verdict->redefined != NULL)
		 /* it does not move */ ;
	else if (pipeline->override_policy == OVERRIDE_CLEAR_ON_MOVE ||
		(pipeline->override_policy == OVERRIDE_CLEAR_ON_FORWARD && forward))
		verdict->clear_overrides = true;
	/* all that it had comes back, also what looks as if nobody had written it */
	if (verdict->forced == CHANGE_UNDO)
		verdict->clear_overrides = verdict->clear_closing = false;

	if (verdict->kind == CHANGE_NONE)
	{
		if (transfer)
			verdict->kind = CHANGE_TRANSFER;
		else if (verdict->forced == CHANGE_PUSH_BACK)
			verdict->kind = CHANGE_PUSH_BACK;
		else if (from != NULL && from->merged_into == stage->stage_id)
			verdict->kind = CHANGE_MERGE;
		else if (verdict->forced == CHANGE_UNDO)
			verdict->kind = CHANGE_UNDO;
		else
			verdict->kind = CHANGE_MOVE;
	}
	/* what was decided elsewhere jumps over nothing */
	if (decided_elsewhere(verdict) || verdict->kind == CHANGE_MERGE)
		verdict->nskipped = 0;
	return true;
}

/*
 * what the pipeline's mode says of the move.
 */
static bool
mode_allows(const DealContext *deal, const DealState *old, const PipelineDef *pipeline,
			const StageDef *stage, Verdict *verdict)
{
	bool		transfer = old->pipeline_id != pipeline->pipeline_id;
	bool		gated = old->gate_stage_id != 0 && !transfer && is_progress(stage);

	if ((pipeline->mode == MODE_STRICT || gated) && verdict->nskipped > 0)
		return refuse_because(&verdict->refusal, ERRCODE_PIPELINES_MOVE_REFUSED,
							  deal->table->role[ROLE_STAGE_ID],
							  psprintf("%s can't skip to stage \"%s\"", full_label(deal), stage->name),
							  pipeline->mode == MODE_STRICT ?
							  psprintf("Pipeline \"%s\" is strict, and these mandatory stages were not visited: %s.",
									   pipeline->name, skipped_names(pipeline, verdict)) :
							  psprintf("It was pushed back, and goes on stage by stage until it is where it was; these mandatory stages lie between: %s.",
									   skipped_names(pipeline, verdict)),
							  "Move the deal through them in order, or set mandatory of a stage that may be skipped to false.");
	if (pipeline->mode == MODE_GRAPH && !transfer &&
		!definitions_transition_listed(pipeline->pipeline_id, old->stage_id, stage->stage_id))
		return refuse_because(&verdict->refusal, ERRCODE_PIPELINES_MOVE_REFUSED,
							  deal->table->role[ROLE_STAGE_ID],
							  psprintf("%s can't move from %s to stage \"%s\"", full_label(deal),
									   stage_label(pipeline, old->stage_id), stage->name),
							  psprintf("Pipeline \"%s\" allows only the moves listed in pipelines.stage_transition.",
									   pipeline->name),
							  "Add the transition, or choose another stage.");
	verdict->warn = pipeline->mode == MODE_WARN && verdict->nskipped > 0;
	return true;
}

static bool
reason_is_given(void)
{
	return pipelines_reason[strspn(pipelines_reason, " \t\r\n")] != '\0';
}

/*
 * Is it a move to an earlier stage?  A pause does not turn one into none: what
 * counts is where the deal stood before.
 */
static bool
goes_backward(const DealState *old, const PipelineDef *pipeline, const StageDef *from,
			  const StageDef *stage, int32 paused_in)
{
	const StageDef *base;

	if (old->pipeline_id != pipeline->pipeline_id || from == NULL ||
		OUTCOME_IS_CLOSED(from->outcome) || stage->outcome != OUTCOME_OPEN)
		return false;
	base = where_it_stands(old, pipeline, from, paused_in);
	return base != NULL && is_progress(base) && stage->position < base->position;
}

static bool
direction_is_allowed(const DealContext *deal, const DealState *old, const PipelineDef *pipeline,
					 const StageDef *from, const StageDef *stage, Verdict *verdict)
{
	Refusal    *refusal = &verdict->refusal;

	if (pipeline->backward == BACKWARD_ALLOWED ||
		!goes_backward(old, pipeline, from, stage, verdict->paused_in) ||
		(pipeline->backward == BACKWARD_REASON && reason_is_given()))
		return true;
	if (pipeline->backward == BACKWARD_REFUSED)
		return refuse_because(refusal, ERRCODE_PIPELINES_MOVE_REFUSED,
							  deal->table->role[ROLE_STAGE_ID],
							  psprintf("%s can't move back to stage \"%s\"", full_label(deal), stage->name),
							  psprintf("Pipeline \"%s\" allows no moves to earlier stages.", pipeline->name),
							  "pipelines.push_back() sends a deal back to a stage that it skipped.");
	return refuse_because(refusal, ERRCODE_PIPELINES_REASON_REQUIRED,
						  deal->table->role[ROLE_STAGE_ID],
						  psprintf("%s can't move back to stage \"%s\" without a reason",
								   full_label(deal), stage->name),
						  psprintf("Pipeline \"%s\" wants to know why a deal moves to an earlier stage.",
								   pipeline->name),
						  "SET LOCAL pipelines.reason = '...' in the transaction, or pipelines.move(..., reason => '...').");
}

static bool
may_start(const DealContext *deal, const PipelineDef *pipeline, const StageDef *stage,
		  bool is_new, Refusal *refusal)
{
	if (stage->may_start)
		return true;
	return refuse(refusal, ERRCODE_PIPELINES_MOVE_REFUSED,
				  deal->table->role[ROLE_STAGE_ID],
				  psprintf("no deal may start in stage \"%s\" of pipeline \"%s\"",
						   stage->name, pipeline->name),
				  psprintf("Refused for %s.", full_label(deal)),
				  is_new ?
				  "Insert the deal in an earlier stage and move it, or set may_start of the stage." :
				  "Let the deal enter the pipeline in an earlier stage, or set may_start of the stage.");
}

/* an entry or exit rule; the definitions may be loaded anew */
static bool
rule_allows(const DealContext *deal, const PipelineDef *pipeline, const StageDef *stage,
			bool entry, JudgeWhen when, bool *postponed, Refusal *refusal)
{
	const char *text = entry ? stage->entry_rule : stage->exit_rule;
	char	   *stage_name;
	char	   *what;
	char	   *detail;
	AttrNumber	column;

	if (text == NULL || when == JUDGE_BEFORE_OTHERS)
		return true;
	stage_name = pstrdup(stage->name);
	what = psprintf("%s rule of stage \"%s\" of pipeline \"%s\"", entry ? "entry" : "exit",
					stage->name, pipeline->name);
	switch (rule_fulfilled(deal, text, what, when == JUDGE_AFTER, &detail, &column))
	{
		case FULFILLED:
			return true;
		case NOT_KNOWN_YET:
			*postponed = true;
			return true;
		case NOT_FULFILLED:
			break;
	}
	return refuse_because(refusal, ERRCODE_PIPELINES_RULE_NOT_FULFILLED,
						  column != InvalidAttrNumber ? column : deal->table->role[ROLE_STAGE_ID],
						  psprintf("%s can't %s stage \"%s\" yet", full_label(deal),
								   entry ? "enter" : "leave", stage_name),
						  detail,
						  psprintf("Fill in what is missing in the same statement or before.  The %s asks for it.",
								   what));
}

static bool
activities_allow(const DealContext *deal, const DealState *old, const StageDef *stage,
				 JudgeWhen when, Refusal *refusal)
{
	char	   *stage_name;
	char	   *missing;
	char	   *table;

	if (stage->nactivities == 0 || when == JUDGE_BEFORE_OTHERS)
		return true;
	stage_name = pstrdup(stage->name);
	missing = missing_activities(deal, stage, old->episode);
	if (missing == NULL)
		return true;
	/* it may have been dropped */
	table = OidIsValid(deal->table->activity) ? get_rel_name(deal->table->activity) : NULL;
	return refuse_because(refusal, ERRCODE_PIPELINES_ACTIVITY_MISSING,
						  deal->table->role[ROLE_STAGE_ID],
						  psprintf("%s can't leave stage \"%s\" yet", full_label(deal), stage_name),
						  psprintf("Activities that must be done before: %s.", missing),
						  table != NULL ?
						  psprintf("Record them, with the time at which they were done, in table %s.", table) :
						  "The deals have no table of activities; pipelines.use_activities() names one.");
}

/*
 * What a deal must fulfil to leave a stage forward, R-2.11 and S31.  Given
 * up or put aside, and taken to another pipeline, it may be at any time.
 */
static bool
lets_go(const DealContext *deal, const DealState *old, const DealState *state,
		int32 stage_id, Verdict *verdict)
{
	const PipelineDef *source = definitions_pipeline(old->pipeline_id);
	const PipelineDef *pipeline = definitions_pipeline(state->pipeline_id);
	const StageDef *from = source == NULL ? NULL : definitions_stage(source, stage_id);
	const StageDef *stage = pipeline == NULL ? NULL :
		definitions_stage(pipeline, state->stage_id);

	if (from == NULL || stage == NULL || OUTCOME_IS_CLOSED(from->outcome) || !is_progress(stage))
		return true;
	if (stage->outcome == OUTCOME_OPEN &&
		(old->pipeline_id != state->pipeline_id || stage->position <= from->position))
		return true;
	if (!rule_allows(deal, source, from, false, verdict->when, &verdict->postponed,
					 &verdict->refusal))
		return false;
	source = definitions_pipeline(old->pipeline_id);
	from = source == NULL ? NULL : definitions_stage(source, stage_id);
	return from == NULL ||
		activities_allow(deal, old, from, verdict->when, &verdict->refusal);
}

/*
 * A pause is no way around what the stage before it demands; nor is a stage
 * further on a way around what the pause itself demands.
 */
static bool
may_leave(const DealContext *deal, const DealState *old, const DealState *state,
		  Verdict *verdict)
{
	const PipelineDef *source = definitions_pipeline(old->pipeline_id);
	const StageDef *from = source == NULL ? NULL : definitions_stage(source, old->stage_id);
	const StageDef *base = where_it_stands(old, source, from, verdict->paused_in);
	int32		before = base == NULL ? old->stage_id : base->stage_id;

	return lets_go(deal, old, state, old->stage_id, verdict) &&
		(before == old->stage_id || old->pipeline_id != state->pipeline_id ||
		 lets_go(deal, old, state, before, verdict));
}

/*
 * Does the deal say why it is closed?  The reason of a closing of another
 * outcome that this one takes the place of says nothing of it.
 */
static bool
close_reason_is_given(const DealContext *deal)
{
	AttrNumber	closed_at = deal->table->role[ROLE_CLOSED_AT];
	AttrNumber	reason = deal->table->role[ROLE_CLOSE_REASON];
	DealContext before = deal_as_it_was(deal);

	if (!is_filled_in(deal, ROLE_CLOSE_REASON))
		return false;
	if (deal->old_values == NULL || closed_at == InvalidAttrNumber ||
		deal->old_nulls[closed_at - 1] || deal->old_nulls[reason - 1])
		return true;
	return strcmp(role_text(deal, ROLE_CLOSE_REASON), role_text(&before, ROLE_CLOSE_REASON)) != 0;
}

static bool
is_lost(const StageDef *stage)
{
	return stage->outcome == OUTCOME_LOST || stage->outcome == OUTCOME_DISQUALIFIED;
}

/* Is one of the things missing that a closing may require? */
static bool
closing_lacks(const DealContext *deal, const DealState *state, const PipelineDef *pipeline,
			  const StageDef *stage, int requirement)
{
	switch (requirement)
	{
		case CLOSE_LOST_REASON:
			return is_lost(stage) && !is_filled_in(deal, ROLE_CLOSE_REASON);
		case CLOSE_OTHER_NOTES:
			return is_filled_in(deal, ROLE_CLOSE_REASON) &&
				pg_strcasecmp(role_text(deal, ROLE_CLOSE_REASON), "other") == 0 &&
				!is_filled_in(deal, ROLE_CLOSE_NOTES);
		case CLOSE_WON_AMOUNT:
			return stage->outcome == OUTCOME_WON && !is_filled_in(deal, ROLE_AMOUNT);
		default:
			return state->has_closed_on &&
				state->closed_on > day_of(deals_transaction_instant(), pipeline->tz);
	}
}

/*
 * what a closing must bring along.  'old' is the deal as it was in the
 * same closing: what is there must stay there.  NULL: it is being closed.
 */
static bool
closing_is_complete(const DealContext *deal, const DealState *old, const DealState *state,
					JudgeWhen when, bool *postponed, Refusal *refusal)
{
	static const struct
	{
		int			requirement;
		DealRole	role;
		const char *missing;
	}			requirements[] = {
		{CLOSE_LOST_REASON, ROLE_CLOSE_REASON, NULL},
		{CLOSE_OTHER_NOTES, ROLE_CLOSE_NOTES, "A closing whose reason is \"other\" must be explained in close_notes."},
		{CLOSE_WON_AMOUNT, ROLE_AMOUNT, "A deal that is won must have its amount."},
		{CLOSE_BY_TODAY, ROLE_CLOSED_ON, "The day of a closing can't lie in the future."},
	};
	const PipelineDef *pipeline = definitions_pipeline(state->pipeline_id);
	const StageDef *stage = definitions_stage(pipeline, state->stage_id);

	if (stage == NULL || pipeline->close_requires == 0 || when == JUDGE_BEFORE_OTHERS)
		return true;
	for (int i = 0; i < (int) lengthof(requirements); i++)
	{
		int			requirement = requirements[i].requirement;
		AttrNumber	attnum = deal->table->role[requirements[i].role];
		bool		lacks;

		if ((pipeline->close_requires & requirement) == 0)
			continue;
		if (requirement == CLOSE_WON_AMOUNT && stage->outcome == OUTCOME_WON &&
			when != JUDGE_AFTER && amount_is_generated(deal))
		{
			*postponed = true;
			continue;
		}
		lacks = closing_lacks(deal, state, pipeline, stage, requirement);
		if (requirement == CLOSE_LOST_REASON && is_lost(stage))
			lacks = !reason_is_given() &&
				(lacks || (old == NULL && !close_reason_is_given(deal)));
		if (lacks && old != NULL)
		{
			DealContext before = deal_as_it_was(deal);

			lacks = !closing_lacks(&before, old, pipeline, stage, requirement);
		}
		if (!lacks)
			continue;
		if (requirement == CLOSE_LOST_REASON)
			return refuse_because(refusal, ERRCODE_PIPELINES_REASON_REQUIRED, attnum,
								  psprintf("%s can't be %s as %s without a reason", full_label(deal),
										   old == NULL ? "closed" : "kept",
										   stage->outcome == OUTCOME_LOST ? "lost" : "disqualified"),
								  psprintf("Pipeline \"%s\" wants to know why a deal is lost.", pipeline->name),
								  "Set close_reason in the same statement, or SET LOCAL pipelines.reason = '...'.");
		return refuse_because(refusal, ERRCODE_PIPELINES_RULE_NOT_FULFILLED, attnum,
							  psprintf(old == NULL ? "%s can't be closed yet" :
									   "%s must keep what its closing requires", full_label(deal)),
							  pstrdup(requirements[i].missing),
							  psprintf("Pipeline \"%s\" asks for it: close_requires.", pipeline->name));
	}
	return true;
}

/*
 * Who may do it?  'old' is NULL for a new deal.
 */
static bool
approval_concerns(const DealContext *deal, const ApprovalDef *approval, const DealState *old,
				  const DealState *state, bool moved, bool is_source)
{
	if (is_source)
		return approval->from_stage != 0 && approval->from_stage == old->stage_id &&
			approval->to_stage == 0 &&
			(!approval->has_above || amount_is_above(deal, deal->values, deal->nulls, approval));
	if (approval->to_stage != 0 && approval->to_stage != state->stage_id)
		return false;
	if (moved)
	{
		if (approval->from_stage != 0 &&
			(old == NULL || old->pipeline_id != state->pipeline_id ||
			 approval->from_stage != old->stage_id))
			return false;
		return !approval->has_above || amount_is_above(deal, deal->values, deal->nulls, approval);
	}

	/* the amount grows where the deal is; one in another currency was another one */
	return approval->from_stage == 0 && approval->has_above &&
		amount_is_above(deal, deal->values, deal->nulls, approval) &&
		(!amount_is_above(deal, deal->old_values, deal->old_nulls, approval) ||
		 currency_differs(deal));
}

static bool
is_approved(const DealContext *deal, const DealState *old, const DealState *state,
			bool moved, JudgeWhen when, bool *postponed, Refusal *refusal)
{
	bool		transfer = old != NULL && old->pipeline_id != state->pipeline_id;

	if (when == JUDGE_BEFORE_OTHERS)
		return true;
	for (int side = transfer ? 0 : 1; side <= 1; side++)
	{
		const PipelineDef *pipeline = definitions_pipeline(side == 0 ? old->pipeline_id :
														   state->pipeline_id);

		for (int i = 0; pipeline != NULL && i < pipeline->napprovals; i++)
		{
			const ApprovalDef *approval = &pipeline->approvals[i];

			if (approval->has_above && when != JUDGE_AFTER && amount_is_generated(deal))
			{
				*postponed = true;
				continue;
			}
			if (!approval_concerns(deal, approval, old, state, moved, side == 0) ||
				is_member(approval->role))
				continue;
			return refuse_because(refusal, ERRCODE_INSUFFICIENT_PRIVILEGE,
								  deal->table->role[approval->has_above && !moved ?
													ROLE_AMOUNT : ROLE_STAGE_ID],
								  moved ?
								  psprintf("permission denied to move %s to %s", full_label(deal),
										   stage_label(definitions_pipeline(state->pipeline_id), state->stage_id)) :
								  psprintf("permission denied to raise the amount of %s", full_label(deal)),
								  approval->has_above ?
								  psprintf("Only members of role \"%s\" may do it for amounts above %s%s%s.",
										   approval->role,
										   DatumGetCString(DirectFunctionCall1(numeric_out, approval->above)),
										   approval->currency != NULL ? " " : "",
										   approval->currency != NULL ? approval->currency : "") :
								  psprintf("Only members of role \"%s\" may do it.", approval->role),
								  "Ask a member of that role; pipelines.approval lists what needs one.");
		}
	}
	return true;
}

/*
 * The only way around the rules: a setting, a role, and a reason, all of which
 * the history remembers.
 */
static bool
may_bypass(const DealContext *deal, int32 pipeline_id, Verdict *verdict)
{
	const PipelineDef *pipeline = definitions_pipeline(pipeline_id);
	char	   *refused = verdict->refusal.message;
	char	   *because = verdict->refusal.detail == NULL ? "" : verdict->refusal.detail;

	if (!pipelines_bypass || pipeline == NULL)
		return false;
	if (pipeline->bypass_role == NULL || !is_member(pipeline->bypass_role))
		return refuse_because(&verdict->refusal, ERRCODE_INSUFFICIENT_PRIVILEGE,
							  deal->table->role[ROLE_STAGE_ID],
							  psprintf("permission denied to bypass the rules of pipeline \"%s\"",
									   pipeline->name),
							  psprintf("It would be needed, since %s.  %s", refused, because),
							  pipeline->bypass_role == NULL ?
							  "Nobody may: bypass_role of the pipeline is NULL." :
							  psprintf("Only members of role \"%s\" may; a superuser must be one, too.",
									   pipeline->bypass_role));
	if (!reason_is_given())
		return refuse_because(&verdict->refusal, ERRCODE_PIPELINES_REASON_REQUIRED,
							  deal->table->role[ROLE_STAGE_ID],
							  psprintf("the rules of pipeline \"%s\" can't be bypassed without a reason",
									   pipeline->name),
							  psprintf("It would be needed, since %s.  %s", refused, because),
							  "SET LOCAL pipelines.reason = '...' in the transaction.");
	memset(&verdict->refusal, 0, sizeof(Refusal));
	verdict->bypassed = true;
	return true;
}

/* would the rules of a pipeline be bypassed, if need be? */
static bool
has_bypass(int32 pipeline_id)
{
	const PipelineDef *pipeline = pipelines_bypass ? definitions_pipeline(pipeline_id) : NULL;

	return pipeline != NULL && pipeline->bypass_role != NULL &&
		is_member(pipeline->bypass_role) && reason_is_given();
}

/* nothing that a closing required is taken away later */
static bool
closing_stays_complete(const DealContext *deal, const DealState *old, const DealState *state,
					   Verdict *verdict)
{
	return !old->has_closed_at || !state->has_closed_at ||
		closing_is_complete(deal, old, state, verdict->when, &verdict->postponed,
							&verdict->refusal);
}

bool
judge_requirements(const DealContext *deal, const DealState *old, const DealState *state,
				   Verdict *verdict)
{
	const PipelineDef *pipeline = definitions_pipeline(state->pipeline_id);
	const PipelineDef *source;
	const StageDef *from;
	const StageDef *stage;
	bool		transfer = old->pipeline_id != state->pipeline_id;
	Refusal		refused;

	if (!verdict->moved)
	{
		/* what comes back was allowed once */
		if (pipeline == NULL || verdict->forced == CHANGE_UNDO ||
			(closing_stays_complete(deal, old, state, verdict) &&
			 is_approved(deal, old, state, false, verdict->when, &verdict->postponed,
						 &verdict->refusal)))
			return true;
		return may_bypass(deal, state->pipeline_id, verdict);
	}

	/* what puts right, or follows from, what was decided elsewhere */
	if (decided_elsewhere(verdict))
		return true;

	pipeline = known_pipeline(deal, state->pipeline_id, &verdict->refusal);
	stage = pipeline == NULL ? NULL :
		known_stage(deal, pipeline, state->stage_id, &verdict->refusal);
	if (stage == NULL)
		return false;
	if (verdict->kind == CHANGE_MERGE)
		return is_approved(deal, old, state, false, verdict->when, &verdict->postponed,
						   &verdict->refusal) ||
			may_bypass(deal, state->pipeline_id, verdict);

	source = definitions_pipeline(old->pipeline_id);
	from = source == NULL ? NULL : definitions_stage(source, old->stage_id);
	if (mode_allows(deal, old, pipeline, stage, verdict) &&
		direction_is_allowed(deal, old, pipeline, from, stage, verdict) &&
		(!transfer || may_start(deal, pipeline, stage, false, &verdict->refusal)) &&
		may_leave(deal, old, state, verdict))
	{
		/* who looks at activities may run code of their owner's */
		pipeline = known_pipeline(deal, state->pipeline_id, &verdict->refusal);
		stage = pipeline == NULL ? NULL :
			known_stage(deal, pipeline, state->stage_id, &verdict->refusal);
		if (stage == NULL)
			return false;
		if (rule_allows(deal, pipeline, stage, true, verdict->when, &verdict->postponed,
						&verdict->refusal) &&
			(verdict->kind == CHANGE_CLOSE ?
			 closing_is_complete(deal, NULL, state, verdict->when, &verdict->postponed,
								 &verdict->refusal) :
			 closing_stays_complete(deal, old, state, verdict)) &&
			is_approved(deal, old, state, true, verdict->when, &verdict->postponed,
						&verdict->refusal))
		{
			/* what is not known yet can't be written down later */
			verdict->bypassed = verdict->postponed && verdict->when == JUDGE_BEFORE &&
				has_bypass(state->pipeline_id) && (!transfer || has_bypass(old->pipeline_id));
			return true;
		}
	}
	refused = verdict->refusal;
	if (!may_bypass(deal, state->pipeline_id, verdict))
		return false;
	if (!transfer)
		return true;

	/* rules of both were left out, so both must allow it */
	verdict->refusal = refused;
	verdict->bypassed = false;
	return may_bypass(deal, old->pipeline_id, verdict);
}

/*
 * What a new deal must fulfil, judged once it has been inserted.  There is no
 * way around it: nothing would remember that it was taken.
 */
bool
judge_entry(const DealContext *deal, const DealState *state, Refusal *refusal)
{
	const PipelineDef *pipeline = known_pipeline(deal, state->pipeline_id, refusal);
	const StageDef *stage = pipeline == NULL ? NULL :
		known_stage(deal, pipeline, state->stage_id, refusal);
	bool		postponed = false;

	if (stage == NULL ||
		!is_not_archived(deal, pipeline, stage, true, refusal) ||
		!may_start(deal, pipeline, stage, true, refusal) ||
		!rule_allows(deal, pipeline, stage, true, JUDGE_AFTER, &postponed, refusal) ||
		!lock_allows_entry(deal, state, refusal))
		return false;
	return (!state->has_closed_at ||
			closing_is_complete(deal, NULL, state, JUDGE_AFTER, &postponed, refusal)) &&
		is_approved(deal, NULL, state, true, JUDGE_AFTER, &postponed, refusal);
}
