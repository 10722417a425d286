/*-------------------------------------------------------------------------
 *
 * rules.h
 *	  Judging one change of one deal.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PIPELINES_RULES_H
#define PIPELINES_RULES_H

#include "deals/mapping.h"
#include "definitions/definitions.h"
#include "utils/date.h"
#include "utils/timestamp.h"

/* kinds of change, in the order in which the first that applies is taken */
typedef enum ChangeKind
{
	CHANGE_NONE,
	CHANGE_DELETE,
	CHANGE_CLOSE,
	CHANGE_REOPEN,
	CHANGE_TRANSFER,
	CHANGE_PUSH_BACK,
	CHANGE_MERGE,
	CHANGE_UNDO,
	CHANGE_MOVE,
	CHANGE_OTHER
} ChangeKind;

/* one version of a deal, as far as the rules look at it; 0 stands for NULL */
typedef struct DealState
{
	int32		pipeline_id;
	int32		stage_id;
	int32		furthest_stage_id;
	int32		gate_stage_id;
	int32		episode;
	int32		version;
	TimestampTz stage_entered_at;
	TimestampTz changed_at;
	bool		has_closed_at;
	bool		has_closed_on;
	TimestampTz closed_at;
	DateADT		closed_on;
} DealState;

/* why a change is refused; texts are palloc'd or constant */
typedef struct Refusal
{
	int			sqlerrcode;		/* 0: it is not */
	char	   *message;
	char	   *detail;
	char	   *reason;			/* the part of the detail that a list shows; NULL: none */
	char	   *hint;
	AttrNumber	column;			/* to blame; InvalidAttrNumber: none */
} Refusal;

/* what the judge looks at */
typedef enum JudgeWhen
{
	JUDGE_BEFORE,				/* all but what generated columns decide */
	JUDGE_BEFORE_OTHERS,		/* other triggers follow: only what they can't mend */
	JUDGE_AFTER					/* the row stands: everything */
} JudgeWhen;

/* what the judge says of an UPDATE, beside the completed new state */
typedef struct Verdict
{
	JudgeWhen	when;			/* given */
	ChangeKind	forced;			/* given: PUSH_BACK or UNDO, else NONE */
	const Redefinition *redefined;	/* given: of the deal's stage, which it
									 * does not leave; NULL: none */
	Refusal		refusal;
	bool		postponed;		/* generated columns decide: judge again after */
	bool		bypassed;		/* a rule was not applied, by leave */
	bool		moved;			/* pipeline or stage changed */
	int32		paused_in;		/* stage_before_pause(), where it was asked for */
	List	   *visited;		/* stages_visited(), likewise */
	bool		adopted;		/* with a past that isn't known, likewise */
	ChangeKind	kind;			/* CHANGE_NONE: the stage did not change */
	bool		clear_overrides;
	bool		clear_closing;	/* reopened: the reason goes to the history */
	bool		warn;			/* mode warn: stages were skipped */
	int			nskipped;
	int32	   *skipped;		/* palloc'd */
} Verdict;

/* the row that is judged */
typedef struct DealContext
{
	Relation	rel;
	const DealsTable *table;
	const Datum *values;		/* as it will be */
	const bool *nulls;
	const Datum *old_values;	/* as it was; NULL: it is new */
	const bool *old_nulls;
} DealContext;

/*
 * Each returns false if the deal is refused; *refusal, or that of the
 * verdict, says why.
 */
extern bool judge_new_deal(const DealContext *deal, DealState *state, Refusal *refusal);
extern bool judge_new_deal_needed(const DealState *state);
extern bool judge_entry(const DealContext *deal, const DealState *state, Refusal *refusal);
extern bool check_kept_deal(const DealContext *deal, const DealState *state, Refusal *refusal);
extern bool judge_change(const DealContext *deal, const DealState *old,
						 DealState *state, TimestampTz instant,
						 Verdict *verdict);
/* after judge_change(): what the row must fulfil beside its stage */
extern bool judge_requirements(const DealContext *deal, const DealState *old,
							   const DealState *state, Verdict *verdict);

/*
 * The stage of another pipeline that answers to the furthest one that a deal
 * has been through when it enters that pipeline there; 0: none does.
 */
extern int32 furthest_after_transfer(const DealState *old, int32 pipeline_id,
									 int32 stage_id);

/* the day of an instant in a time zone */
extern DateADT day_of(TimestampTz instant, pg_tz *tz);

/* raise a refusal at once */
extern void refuse_now(const DealContext *deal, const Refusal *refusal);

#endif							/* PIPELINES_RULES_H */
