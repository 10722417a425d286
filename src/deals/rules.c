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
 * The invariant: the outcome of a judgement depends on nothing but the old
 * and the new state, the definitions and the instant; judging the result
 * again gives the same result, which is how the AFTER trigger finds out that
 * somebody else's trigger tampered with a row.
 *
 * Must never read or write a table, nor look at the clock.  Definitions are
 * looked up anew after anything that may read catalogs.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"
#include "definitions/definitions.h"
#include "errors.h"
#include "rules.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/rel.h"

static char *
label(const DealContext *deal)
{
	return deal_label(deal->table, RelationGetDescr(deal->rel),
					  deal->values, deal->nulls);
}

/* fields that drivers branch on */
static int
error_about(const DealContext *deal, DealRole role)
{
	return errtablecol(deal->rel, deal->table->role[role]);
}

/* "stage "Quote"", or its number where the definitions don't know it */
static char *
stage_label(const PipelineDef *pipeline, int32 stage_id)
{
	const StageDef *stage = pipeline == NULL ? NULL :
		definitions_stage(pipeline, stage_id);

	if (stage == NULL)
		return psprintf("stage %d", stage_id);
	return psprintf("stage \"%s\"", stage->name);
}

static compat_noreturn void
no_pipeline(const DealContext *deal)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("there is no standard pipeline for table \"%s\"",
					RelationGetRelationName(deal->rel)),
			 errdetail("A deal without a pipeline goes to the standard pipeline of its table's layout, which has none."),
			 errhint("Create a pipeline, for example SELECT pipelines.create_pipeline('Sales', template => 'standard'), or give pipeline_id."),
			 error_about(deal, ROLE_PIPELINE_ID)));
}

static const PipelineDef *
require_pipeline(const DealContext *deal, int32 pipeline_id)
{
	const PipelineDef *pipeline = definitions_pipeline(pipeline_id);

	if (pipeline == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_PIPELINES_UNKNOWN_STAGE),
				 errmsg("pipeline %d does not exist", pipeline_id),
				 errdetail("Refused for %s of table \"%s\".  Pipelines: %s.",
						   label(deal), RelationGetRelationName(deal->rel),
						   definitions_pipeline_list(deal->table->layout_id)),
				 errhint("Look a pipeline up by name with pipelines.pipeline_id()."),
				 error_about(deal, ROLE_PIPELINE_ID)));
	return pipeline;
}

static const StageDef *
require_stage(const DealContext *deal, const PipelineDef *pipeline, int32 stage_id)
{
	const StageDef *stage = definitions_stage(pipeline, stage_id);

	if (stage == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_PIPELINES_UNKNOWN_STAGE),
				 errmsg("stage %d is not a stage of pipeline \"%s\"",
						stage_id, pipeline->name),
				 errdetail("Refused for %s of table \"%s\".  Stages of the pipeline: %s.",
						   label(deal), RelationGetRelationName(deal->rel),
						   definitions_stage_list(pipeline)),
				 errhint("Look a stage up by name with pipelines.stage_id('%s', ...).  To change the pipeline, set pipeline_id too.",
						 pipeline->name),
				 error_about(deal, ROLE_STAGE_ID)));
	return stage;
}

/*
 * no deal may enter what is archived, though it may stay there, and
 * finish its way through an archived pipeline.
 */
static void
refuse_archived(const DealContext *deal, const PipelineDef *pipeline, const StageDef *stage,
				bool enters_pipeline)
{
	if (pipeline->archived && enters_pipeline)
		ereport(ERROR,
				(errcode(ERRCODE_PIPELINES_ARCHIVED),
				 errmsg("pipeline \"%s\" is archived", pipeline->name),
				 errdetail("No deal may enter it.  Refused for %s of table \"%s\".",
						   label(deal), RelationGetRelationName(deal->rel)),
				 errhint("Choose another pipeline, or set archived_at of this one to NULL."),
				 error_about(deal, ROLE_PIPELINE_ID)));
	if (stage->archived)
		ereport(ERROR,
				(errcode(ERRCODE_PIPELINES_ARCHIVED),
				 errmsg("stage \"%s\" of pipeline \"%s\" is archived",
						stage->name, pipeline->name),
				 errdetail("No deal may enter it.  Refused for %s of table \"%s\".",
						   label(deal), RelationGetRelationName(deal->rel)),
				 errhint("Stages of the pipeline: %s.", definitions_stage_list(pipeline)),
				 error_about(deal, ROLE_STAGE_ID)));
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
		/* one that deals may start in is better than one that comes earlier */
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

static DateADT
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
static void
refuse_other_layout(const DealContext *deal, const PipelineDef *pipeline)
{
	if (deal->table->layout_id != 0 &&
		pipeline->layout_id != deal->table->layout_id)
		ereport(ERROR,
				(errcode(ERRCODE_PIPELINES_OTHER_LAYOUT),
				 errmsg("pipeline \"%s\" belongs to another layout than table \"%s\"",
						pipeline->name, RelationGetRelationName(deal->rel)),
				 errdetail("Refused for %s.  Pipelines of the table's layout: %s.",
						   label(deal), definitions_pipeline_list(deal->table->layout_id)),
				 error_about(deal, ROLE_PIPELINE_ID)));
}

/*
 * Complete a new deal.  On entry pipeline and stage are what was given, 0 for
 * not given; version, episode and changed_at are set.  Only existence is
 * checked here: a proposed row may still turn into the update of another, so
 * that what a new deal must fulfil is judged after the insertion.
 */
void
judge_new_deal(const DealContext *deal, DealState *state)
{
	const PipelineDef *pipeline;
	const StageDef *stage;

	if (state->pipeline_id != 0)
		pipeline = require_pipeline(deal, state->pipeline_id);
	else
	{
		pipeline = definitions_standard_pipeline(deal->table->layout_id);
		if (pipeline == NULL)
			no_pipeline(deal);
		state->pipeline_id = pipeline->pipeline_id;
	}

	refuse_other_layout(deal, pipeline);

	if (state->stage_id != 0)
		stage = require_stage(deal, pipeline, state->stage_id);
	else
	{
		stage = first_open_stage(pipeline);
		if (stage == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("pipeline \"%s\" has no open stage to start in", pipeline->name),
					 errdetail("Refused for %s of table \"%s\".",
							   label(deal), RelationGetRelationName(deal->rel)),
					 errhint("Add an open stage to the pipeline, or give stage_id."),
					 error_about(deal, ROLE_STAGE_ID)));
		state->stage_id = stage->stage_id;
	}

	state->stage_entered_at = state->changed_at;
	state->furthest_stage_id = state->stage_id;
	state->gate_stage_id = 0;
	if (OUTCOME_IS_CLOSED(stage->outcome))
		set_closing(state, pipeline);
	else
		clear_closing(state);
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

	return stage == NULL || !stage->may_start || stage->archived || pipeline->archived;
}

/*
 * What a new deal must fulfil, judged once it has been inserted.
 */
void
judge_entry(const DealContext *deal, const DealState *state)
{
	const PipelineDef *pipeline = require_pipeline(deal, state->pipeline_id);
	const StageDef *stage = require_stage(deal, pipeline, state->stage_id);

	refuse_archived(deal, pipeline, stage, true);
	if (!stage->may_start)
		ereport(ERROR,
				(errcode(ERRCODE_PIPELINES_MOVE_REFUSED),
				 errmsg("no deal may start in stage \"%s\" of pipeline \"%s\"",
						stage->name, pipeline->name),
				 errdetail("Refused for %s of table \"%s\".",
						   label(deal), RelationGetRelationName(deal->rel)),
				 errhint("Insert the deal in an earlier stage and move it, or set may_start of the stage."),
				 error_about(deal, ROLE_STAGE_ID)));
}

/*
 * A row that came with all its bookkeeping is kept as it is, but it must be
 * in a stage that exists.
 */
void
check_kept_deal(const DealContext *deal, const DealState *state)
{
	const PipelineDef *pipeline = require_pipeline(deal, state->pipeline_id);

	refuse_other_layout(deal, pipeline);
	require_stage(deal, pipeline, state->stage_id);
}

/*
 * only the pipeline was changed.  Which stage is meant?
 */
static const StageDef *
mapped_stage(const DealContext *deal, const DealState *old, const PipelineDef *target)
{
	const PipelineDef *source;
	const StageDef *from;
	const StageDef *stage = definitions_stage(target, old->stage_id);
	int32		mapped;

	if (stage != NULL && !stage->archived)
		return stage;

	mapped = definitions_mapped_stage(old->pipeline_id, old->stage_id, target->pipeline_id);
	if (mapped != 0)
		return require_stage(deal, target, mapped);

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
		if (nearest != NULL)
			return nearest;
	}
	else if (target->transfer_policy == TRANSFER_FIRST)
	{
		stage = first_open_stage(target);
		if (stage != NULL)
			return stage;
	}

	ereport(ERROR,
			(errcode(ERRCODE_PIPELINES_NO_MAPPING),
			 errmsg("pipeline \"%s\" has no stage that answers to %s of pipeline \"%s\"",
					target->name, stage_label(source, old->stage_id),
					source == NULL ? "?" : source->name),
			 errdetail("Only the pipeline of %s of table \"%s\" was changed.  Stages of the target: %s.",
					   label(deal), RelationGetRelationName(deal->rel),
					   definitions_stage_list(target)),
			 errhint("Set stage_id too, or add a row to pipelines.stage_map, or set transfer_policy of the pipeline."),
			 error_about(deal, ROLE_STAGE_ID)));
	return NULL;				/* keep compiler quiet */
}

/*
 * the mandatory open stages strictly between the furthest one visited
 * and the target.
 */
static void
find_skipped(const PipelineDef *pipeline, int32 furthest_position,
			 const StageDef *target, Verdict *verdict)
{
	verdict->nskipped = 0;
	verdict->skipped = NULL;
	if (!is_progress(target))
		return;

	for (int i = 0; i < pipeline->nstages; i++)
	{
		const StageDef *stage = &pipeline->stages[i];

		if (stage->archived || !stage->mandatory || stage->outcome != OUTCOME_OPEN ||
			stage->position <= furthest_position || stage->position >= target->position)
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
 * what the pipeline's mode says of a move inside it.
 */
static void
apply_mode(const DealContext *deal, const DealState *old, const PipelineDef *pipeline,
		   const StageDef *stage, Verdict *verdict)
{
	bool		transfer = old->pipeline_id != pipeline->pipeline_id;

	switch (pipeline->mode)
	{
		case MODE_FREE:
			break;
		case MODE_WARN:
			verdict->warn = verdict->nskipped > 0;
			break;
		case MODE_STRICT:
			if (verdict->nskipped > 0)
				ereport(ERROR,
						(errcode(ERRCODE_PIPELINES_MOVE_REFUSED),
						 errmsg("%s of table \"%s\" can't skip to stage \"%s\"",
								label(deal), RelationGetRelationName(deal->rel),
								stage->name),
						 errdetail("Pipeline \"%s\" is strict, and these mandatory stages were not visited: %s.",
								   pipeline->name, skipped_names(pipeline, verdict)),
						 errhint("Move the deal through them in order, or set mandatory of a stage that may be skipped to false."),
						 error_about(deal, ROLE_STAGE_ID)));
			break;
		case MODE_GRAPH:
			if (!transfer &&
				!definitions_transition_listed(pipeline->pipeline_id, old->stage_id,
											   stage->stage_id))
				ereport(ERROR,
						(errcode(ERRCODE_PIPELINES_MOVE_REFUSED),
						 errmsg("%s of table \"%s\" can't move from %s to stage \"%s\"",
								label(deal), RelationGetRelationName(deal->rel),
								stage_label(pipeline, old->stage_id), stage->name),
						 errdetail("Pipeline \"%s\" allows only the moves listed in pipelines.stage_transition.",
								   pipeline->name),
						 errhint("Add the transition, or choose another stage."),
						 error_about(deal, ROLE_STAGE_ID)));
			break;
	}
}


/*
 * Judge an UPDATE.  On entry *state is the new row as the client sent it,
 * with the bookkeeping of the old one; closed_at and closed_on count as given
 * if they differ from the old row's.  On return *state is complete but for
 * version and changed_at, which the caller sets when anything changed at all;
 * 'instant' is what changed_at will be then.
 */
void
judge_change(const DealContext *deal, const DealState *old, DealState *state,
			 TimestampTz instant, Verdict *verdict)
{
	const PipelineDef *pipeline;
	const PipelineDef *source;
	const StageDef *stage;
	const StageDef *from;
	DealState	given = *state;
	bool		was_closed;
	const StageDef *furthest;
	bool		forward;

	memset(verdict, 0, sizeof(Verdict));

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

	/* writing the same stage changes nothing */
	if (state->pipeline_id == old->pipeline_id && state->stage_id == old->stage_id)
	{
		/* without a closing there is no day of it */
		if (!old->has_closed_at && !old->has_closed_on)
			state->has_closed_on = false;
		else if (!state->has_closed_on)
		{
			state->has_closed_on = old->has_closed_on;
			state->closed_on = old->closed_on;
		}
		return;
	}

	verdict->moved = true;
	if (state->pipeline_id == 0 || (state->stage_id == 0 && state->pipeline_id == old->pipeline_id))
		ereport(ERROR,
				(errcode(ERRCODE_NOT_NULL_VIOLATION),
				 errmsg("%s of table \"%s\" must be in a stage of a pipeline",
						label(deal), RelationGetRelationName(deal->rel)),
				 errdetail("Pipeline and stage can't be set to NULL."),
				 error_about(deal, state->pipeline_id == 0 ? ROLE_PIPELINE_ID : ROLE_STAGE_ID)));
	pipeline = require_pipeline(deal, state->pipeline_id);
	source = definitions_pipeline(old->pipeline_id);
	if (source != NULL && source->layout_id != pipeline->layout_id)
		ereport(ERROR,
				(errcode(ERRCODE_PIPELINES_OTHER_LAYOUT),
				 errmsg("%s of table \"%s\" can't move to pipeline \"%s\" of another layout",
						label(deal), RelationGetRelationName(deal->rel), pipeline->name),
				 errdetail("Pipelines of its layout: %s.",
						   definitions_pipeline_list(source->layout_id)),
				 error_about(deal, ROLE_PIPELINE_ID)));

	if (state->pipeline_id != old->pipeline_id &&
		(state->stage_id == old->stage_id || state->stage_id == 0))
	{
		stage = mapped_stage(deal, old, pipeline);
		state->stage_id = stage->stage_id;
	}
	else
		stage = require_stage(deal, pipeline, state->stage_id);
	refuse_archived(deal, pipeline, stage, state->pipeline_id != old->pipeline_id);

	from = source == NULL ? NULL : definitions_stage(source, old->stage_id);
	was_closed = from == NULL ? old->has_closed_at : OUTCOME_IS_CLOSED(from->outcome);

	state->stage_entered_at = instant;

	/* furthest stage and skipped ones, as this pipeline sees them */
	furthest = definitions_stage(pipeline, old->furthest_stage_id);
	if (furthest == NULL)
		state->furthest_stage_id = state->stage_id;
	if (state->pipeline_id != old->pipeline_id)
		state->gate_stage_id = 0;
	if (was_closed && !OUTCOME_IS_CLOSED(stage->outcome))
	{
		/* a new episode begins */
		state->episode = old->episode + 1;
		state->furthest_stage_id = state->stage_id;
		state->gate_stage_id = 0;
		verdict->clear_overrides = true;
		verdict->clear_closing = true;
	}
	else if (furthest != NULL)
	{
		find_skipped(pipeline, furthest->position, stage, verdict);
		if (is_progress(stage) && stage->position > furthest->position)
			state->furthest_stage_id = state->stage_id;
	}
	apply_mode(deal, old, pipeline, stage, verdict);

	/* the gate opens where it was set, or when the deal is given up */
	if (state->gate_stage_id != 0)
	{
		const StageDef *gate = definitions_stage(pipeline, state->gate_stage_id);

		if (gate == NULL || (is_progress(stage) && stage->position >= gate->position) ||
			(OUTCOME_IS_CLOSED(stage->outcome) && stage->outcome != OUTCOME_WON))
			state->gate_stage_id = 0;
	}

	/* closing, closing differently, reopening */
	if (OUTCOME_IS_CLOSED(stage->outcome))
	{
		if (!was_closed || from == NULL || from->outcome != stage->outcome)
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
	}
	else
	{
		clear_closing(state);
		if (was_closed)
			verdict->kind = CHANGE_REOPEN;
	}

	/* the target's policy decides on overrides */
	forward = from == NULL || stage->position > from->position;
	if (pipeline->override_policy == OVERRIDE_CLEAR_ON_MOVE ||
		(pipeline->override_policy == OVERRIDE_CLEAR_ON_FORWARD && forward))
		verdict->clear_overrides = true;

	if (verdict->kind == CHANGE_NONE)
		verdict->kind = state->pipeline_id != old->pipeline_id ?
			CHANGE_TRANSFER : CHANGE_MOVE;
}
