/*-------------------------------------------------------------------------
 *
 * application.h
 *	  The application's own columns for the stage of an adopted table.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PIPELINES_APPLICATION_H
#define PIPELINES_APPLICATION_H

#include "deals/mapping.h"
#include "deals/rules.h"

/*
 * Look up what concerns the application's columns, for a description under
 * construction (in the memory context of it).  Does nothing for a table that
 * was not adopted.
 */
extern void application_describe(DealsTable *table, Relation rel);

/*
 * A row that the adoption has not reached yet: complete it as the adoption
 * would.  Returns whether it was such a row.  With 'strict' a value that
 * stands for no stage is an error, else the row stays as it is.
 */
extern bool application_complete(const DealContext *deal, Datum *values,
								 bool *nulls, bool strict);

/*
 * Do the application's columns of a new row say no more than their defaults
 * do, which nobody has said?  False, too, for such a default while the
 * dictionary that says what it stands for isn't there: in a restore.
 */
extern bool application_is_silent(const DealContext *deal);

/*
 * Before judging: where the application's columns were changed, the stage in
 * *state follows.  'old' is NULL for a new row.  False: refused.
 */
extern bool application_follow(const DealContext *deal, const DealState *old,
							   DealState *state, Refusal *refusal);

/*
 * After judging: where the stage changed, the application's columns in
 * 'values' follow; *replaced says whether any did.  False: refused.
 */
extern bool application_write(const DealContext *deal, const DealState *old,
							  Datum *values, bool *nulls, const DealState *state,
							  bool *replaced, Refusal *refusal);

/* a change was refused: the application's columns are as they were */
extern void application_keep(const DealContext *deal, Datum *values, bool *nulls);

#endif							/* PIPELINES_APPLICATION_H */
