/*-------------------------------------------------------------------------
 *
 * requirements.h
 *	  What a deal must fulfil, beyond its stage.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PIPELINES_REQUIREMENTS_H
#define PIPELINES_REQUIREMENTS_H

#include "deals/rules.h"

typedef enum Fulfilment
{
	FULFILLED,
	NOT_FULFILLED,
	NOT_KNOWN_YET				/* it looks at generated columns */
} Fulfilment;

/*
 * Does the new row fulfil an entry or exit rule?  'what' names the rule in
 * errors.  Not before the row is stored (in_after) can it be said of one that
 * looks at generated columns.  If it is not fulfilled, *detail says why and
 * *column is one to blame (InvalidAttrNumber: none in particular).
 */
extern Fulfilment rule_fulfilled(const DealContext *deal, const char *rule,
								 const char *what, bool in_after,
								 char **detail, AttrNumber *column);

/* the row as it was before, in place of as it will be */
extern DealContext deal_as_it_was(const DealContext *deal);

/*
 * The kinds of activities that a stage demands and the deal lacks in its
 * episode, as 'a, b'; NULL: none.
 */
extern char *missing_activities(const DealContext *deal, const StageDef *stage,
								int32 episode);

/*
 * The stage that a deal was in before it was put on hold, in its present
 * episode; 0: it is not on hold, or the history does not know.  The definitions
 * may be loaded anew.
 */
extern int32 stage_before_pause(const DealContext *deal, const DealState *old);

/*
 * The stages of its pipeline that a deal has been in, in its present episode, up
 * to the one before the present one.  *adopted: the episode had begun before the
 * table was adopted, and nothing is known of that.  The definitions may be loaded
 * anew.
 */
extern List *stages_visited(const DealContext *deal, const DealState *old, bool *adopted);

/* is the current user a member of the role?  Superusers only if they are */
extern bool is_member(const char *role);

/* is there something in the column that plays this part? */
extern bool is_filled_in(const DealContext *deal, DealRole role);

/* the text of a column of the new row; NULL: none */
extern char *role_text(const DealContext *deal, DealRole role);

/* are amount or currency computed from other columns, and known only later? */
extern bool amount_is_generated(const DealContext *deal);

/* does the new row have another currency than the old one? */
extern bool currency_differs(const DealContext *deal);

/*
 * May this amount not pass without approval?  It is above the threshold, or
 * in a currency that can't be compared with it.
 */
extern bool amount_is_above(const DealContext *deal, const Datum *values,
							const bool *nulls, const ApprovalDef *approval);

/* the pipeline that suits the new deal by the deal types of its layout; 0: none */
extern int32 pipeline_by_deal_type(const DealContext *deal, int32 layout_id);

/*
 * What a version adds to the forecast, scores aside: amount times effective
 * probability, 0 if it is omitted, as numeric.  False if it has no amount.
 */
extern bool weighted_amount(const DealContext *deal, const Datum *values,
							const bool *nulls, const DealState *state,
							Datum *weighted);

#endif							/* PIPELINES_REQUIREMENTS_H */
