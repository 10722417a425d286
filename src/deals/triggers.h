/*-------------------------------------------------------------------------
 *
 * triggers.h
 *	  What the functions that move deals may ask of the triggers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PIPELINES_TRIGGERS_H
#define PIPELINES_TRIGGERS_H

#include "deals/rules.h"

/*
 * An UPDATE of a deals table that is more than a plain one.  Set it, run one
 * UPDATE by SPI, and put the previous one back, also after an error.
 */
typedef struct DealOperation
{
	Oid			root;			/* the deals table */
	ChangeKind	kind;			/* CHANGE_PUSH_BACK, CHANGE_UNDO; NONE: a plain one */
	bool		skip_refused;	/* leave out the deals that are refused */
	bool		may_repeat;		/* the caller takes the statement back, and
								 * repeats it, if one is refused late */
	const Redefinition *redefined;	/* deals follow the new outcome of their
									 * stage; NULL: a plain UPDATE */

	/*
	 * Called for each row of the statement once it is judged, before it is
	 * written, in the row's memory context; NULL: nobody wants to know.
	 * verdict->refusal.sqlerrcode is 0 if the change is allowed.  Called
	 * again, with 'late', for a row that stands already and is refused, as
	 * only then could be seen; the statement must be taken back then.  Returns
	 * false for a deal that must be left out whatever the verdict says.
	 */
	bool		(*observe) (void *arg, const DealContext *deal,
							const DealState *old, const DealState *state,
							const Verdict *verdict, bool late);
	void	   *arg;
	bool		refused_late;	/* ours: it must be taken back */
	MemoryContext statement;	/* ours: which one it is; set it to NULL */
	int			depth;			/* ours: how deep in triggers it is */
} DealOperation;

extern DealOperation *deals_set_operation(DealOperation *next);

/* can a change of a deal of this table be refused when its row stands already? */
extern bool deals_refuse_late(Relation rel);

/*
 * Judge what would become of a deal whose row is 'tuple' if its pipeline and
 * stage were set to these (0: to NULL), without doing it.  Calls 'observe' as
 * an UPDATE would.
 */
extern void deals_judge_move(Relation rel, HeapTuple tuple,
							 int32 pipeline_id, int32 stage_id,
							 DealOperation *plan);

#endif							/* PIPELINES_TRIGGERS_H */
