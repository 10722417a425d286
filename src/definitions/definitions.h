/*-------------------------------------------------------------------------
 *
 * definitions.h
 *	  What a pipeline is, as the triggers on deals see it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PIPELINES_DEFINITIONS_H
#define PIPELINES_DEFINITIONS_H

#include "datatype/timestamp.h"
#include "pgtime.h"
#include "utils/relcache.h"

typedef enum StageOutcome
{
	OUTCOME_OPEN,
	OUTCOME_ON_HOLD,
	OUTCOME_WON,
	OUTCOME_LOST,
	OUTCOME_DISQUALIFIED,
	OUTCOME_DONE
} StageOutcome;

/* does a deal in such a stage count as closed? */
#define OUTCOME_IS_CLOSED(outcome)	((outcome) >= OUTCOME_WON)

typedef enum PipelineMode
{
	MODE_FREE,
	MODE_WARN,
	MODE_STRICT,
	MODE_GRAPH
} PipelineMode;

typedef enum OverridePolicy
{
	OVERRIDE_KEEP,
	OVERRIDE_CLEAR_ON_MOVE,
	OVERRIDE_CLEAR_ON_FORWARD
} OverridePolicy;

typedef enum TransferPolicy
{
	TRANSFER_ERROR,
	TRANSFER_FIRST,
	TRANSFER_NEAREST
} TransferPolicy;

/* moves to an earlier stage */
typedef enum BackwardPolicy
{
	BACKWARD_ALLOWED,
	BACKWARD_REASON,
	BACKWARD_REFUSED
} BackwardPolicy;

/* what a closing must bring along: bits of close_requires */
#define CLOSE_LOST_REASON		0x01
#define CLOSE_OTHER_NOTES		0x02
#define CLOSE_WON_AMOUNT		0x04
#define CLOSE_BY_TODAY			0x08

typedef struct StageDef
{
	int32		stage_id;
	int32		position;
	StageOutcome outcome;
	int32		probability;	/* hundredths of a percent, 0 to 10000 */
	bool		mandatory;
	bool		may_start;
	bool		archived;
	bool		omitted;		/* its forecast category keeps it out of forecasts */
	int32		merged_into;	/* stage that took over its deals; 0: none */
	char	   *name;
	char	   *entry_rule;		/* NULL: none */
	char	   *exit_rule;		/* NULL: none */
	int			nactivities;
	char	  **activities;		/* kinds that must be done before it is left */
} StageDef;

/* what only members of a role may bring about; 0 and NULL stand for 'any' */
typedef struct ApprovalDef
{
	int32		approval_id;
	int32		from_stage;
	int32		to_stage;
	bool		has_above;
	Datum		above;			/* numeric */
	char	   *currency;		/* of 'above'; NULL: the table's */
	char	   *role;
} ApprovalDef;

typedef struct PipelineRoleDef
{
	char	   *role;
	bool		can_see;
	bool		can_move;
	bool		can_define;
} PipelineRoleDef;

typedef struct PipelineDef
{
	int32		pipeline_id;
	int32		layout_id;
	PipelineMode mode;
	OverridePolicy override_policy;
	TransferPolicy transfer_policy;
	BackwardPolicy backward;
	int			close_requires; /* CLOSE_... bits */
	bool		is_standard;
	bool		archived;
	bool		is_protected;	/* only 'roles' see it */
	int32		totals_from;	/* deals that a total must have to be shown */
	int32		calendar_id;	/* fiscal calendar; 0: the standard one */
	pg_tz	   *tz;				/* of time_zone; never NULL */
	char	   *name;
	char	   *bypass_role;	/* NULL: nobody may bypass rules */
	int			nstages;
	StageDef   *stages;			/* live ones by position, then archived ones */
	int			napprovals;
	ApprovalDef *approvals;
	int			nroles;
	PipelineRoleDef *roles;
} PipelineDef;

/* a stage that got another outcome with deals in it, R-2.34 */
typedef struct Redefinition
{
	int32		pipeline_id;
	int32		stage_id;
	StageOutcome was;
	TimestampTz instant;		/* since when it has the new one */
} Redefinition;

/* deals with this value of a column go to this pipeline */
typedef struct DealTypeDef
{
	int32		layout_id;
	int32		position;
	int32		pipeline_id;
	char	   *column;
	char	   *value;
} DealTypeDef;

/* how an adopted table writes a stage */
typedef struct StageValueDef
{
	Oid			relid;
	bool		is_outcome;		/* of its column for the outcome, not the stage */
	bool		is_written;
	int32		stage_id;
	char	   *value;
} StageValueDef;

extern void definitions_init(void);

/*
 * Take the lock that keeps destructive changes of definitions away until the
 * end of the transaction.  Call it before looking anything up.  Cheap when
 * the (sub)transaction holds it already.
 */
extern void definitions_lock(void);

/*
 * Are there any definitions at all, pipelines as well as stages in them?
 * False in a data-only restore that has not loaded both yet, or not even made
 * the tables; each of the two is loaded at once.
 */
extern bool definitions_exist(void);

/*
 * Lookups.  They load the definitions (newest committed state plus our own
 * changes) when something was changed.  NULL where there is no such thing.
 * A pointer is valid until the next call of any of these functions, provided
 * that no invalidation came in; use it at once, keep ids.
 */
extern const PipelineDef *definitions_pipeline(int32 pipeline_id);
extern const PipelineDef *definitions_standard_pipeline(int32 layout_id);
extern const StageDef *definitions_stage(const PipelineDef *pipeline, int32 stage_id);
/* stored stage_map; 0 where there is none */
extern int32 definitions_mapped_stage(int32 from_pipeline, int32 from_stage,
									  int32 to_pipeline);
/* is the edge listed in stage_transition? */
extern bool definitions_transition_listed(int32 pipeline_id, int32 from_stage,
										  int32 to_stage);
/*
 * Names, codes or ids, as people give them, to ids; an error where there is
 * no such thing.  Layout 0: any; pipeline 0: any of the layout.
 */
extern int32 definitions_pipeline_named(const char *name, int32 layout_id);
extern int32 definitions_stage_named(const char *name, int32 pipeline_id,
									 int32 layout_id);
/*
 * The deal types of a layout, lowest position first; and the values of an
 * adopted table.  *count is set, the result is valid as a pipeline is.
 */
extern const DealTypeDef *definitions_deal_types(int32 layout_id, int *count);
extern const StageValueDef *definitions_stage_values(Oid relid, int *count);

/*
 * Counts up whenever what is looked up here may have changed; what was
 * derived from it under another number is out of date.
 */
extern uint64 definitions_generation(void);

/*
 * palloc'd list of names for errdetail: 'name (id), ...', at most 20; of
 * pipelines those that the current user sees
 */
extern char *definitions_stage_list(const PipelineDef *pipeline);
extern char *definitions_pipeline_list(int32 layout_id);

/*
 * Access (access.c).  An unprotected pipeline is everybody's, whatever the
 * role; these are cheap then.
 */
extern bool definitions_may_see(const PipelineDef *pipeline, Oid roleid);
extern bool definitions_may_move(const PipelineDef *pipeline, Oid roleid);
extern bool definitions_may_define(const PipelineDef *pipeline, Oid roleid);
/* may it not see the pipeline, but its totals? */
extern bool definitions_totals_only(const PipelineDef *pipeline, Oid roleid);
/* is it hidden from a statement of the current user on this deals table? */
extern bool definitions_hidden_in(const PipelineDef *pipeline, Oid deals);
/* may such a statement not make deals in it, or move them there? */
extern bool definitions_move_denied(const PipelineDef *pipeline, Oid deals);
/* as definitions_pipeline(), NULL too where the current user does not see it */
extern const PipelineDef *definitions_pipeline_seen(int32 pipeline_id);

/*
 * Give a stage another outcome, with the rights of the current user, though
 * deals are in it (bookkeeping.c).  No deal moves until the transaction ends.
 * NULL for probability and category: what goes with the outcome.  Who calls
 * it must see to it that each deal in the stage is closed or reopened.
 */
extern void definitions_change_outcome(int32 pipeline_id, int32 stage_id,
									   const char *outcome, NullableDatum probability,
									   NullableDatum category, Redefinition *change);

/* all pipelines, by id; *pipelines is valid until definitions are loaded anew */
extern int	definitions_pipelines(const PipelineDef ***pipelines);
/* the word for an outcome */
extern const char *definitions_outcome_word(StageOutcome outcome);

/*
 * Locks of those who change definitions, kept until the end of the
 * transaction, or 55P03: one at a time; and after that nobody who changes
 * deals beside it.
 */
extern void usage_take_turn(void);
extern void usage_lock(void);

/* owner of the definition tables; ERROR with hint when they are not there */
extern Oid	definitions_owner(void);
/* oid of a definition table, checked for kind and owner; same ERROR */
extern Oid	definitions_relid(const char *table_name);

#endif							/* PIPELINES_DEFINITIONS_H */
