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
 * Before judging: where the application's columns were changed, the stage in
 * *state follows.  'old_values' and 'old_nulls' are NULL for a new row.
 */
extern void application_follow(const DealContext *deal, const DealState *old,
							   const Datum *old_values, const bool *old_nulls,
							   const Datum *values, const bool *nulls,
							   DealState *state);

/*
 * After judging: where the stage changed (old is NULL for a new row), the
 * application's columns follow.  Returns whether a value was replaced.
 */
extern bool application_write(const DealContext *deal, const DealState *old,
							  Datum *values, bool *nulls,
							  const DealState *state);

#endif							/* PIPELINES_APPLICATION_H */
