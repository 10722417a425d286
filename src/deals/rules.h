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

/* what the judge says of an UPDATE, beside the completed new state */
typedef struct Verdict
{
	bool		moved;			/* pipeline or stage changed */
	ChangeKind	kind;			/* CHANGE_NONE: the stage did not change */
	bool		clear_overrides;
	bool		clear_closing;	/* reopened: the reason goes to the history */
	bool		warn;			/* mode warn: stages were skipped */
	int			nskipped;
	int32	   *skipped;		/* palloc'd */
} Verdict;

/* whom a message is about */
typedef struct DealContext
{
	Relation	rel;
	const DealsTable *table;
	const Datum *values;		/* of the row, for its key */
	const bool *nulls;
} DealContext;

extern void judge_new_deal(const DealContext *deal, DealState *state);
extern bool judge_new_deal_needed(const DealState *state);
extern void judge_entry(const DealContext *deal, const DealState *state);
extern void check_kept_deal(const DealContext *deal, const DealState *state);
extern void judge_change(const DealContext *deal, const DealState *old,
						 DealState *state, TimestampTz instant,
						 Verdict *verdict);

#endif							/* PIPELINES_RULES_H */
