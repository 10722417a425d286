/*-------------------------------------------------------------------------
 *
 * past_dates.h
 *	  How often the expected closings of many deals were put off.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PIPELINES_PAST_DATES_H
#define PIPELINES_PAST_DATES_H

#include "utils/date.h"

typedef struct PastDates
{
	bool		has_expected;	/* of the last version, in this life of the key */
	DateADT		expected;
	int			pushes;
} PastDates;

/* what the versions of one life say, one after the other */
static inline void
see_expected(PastDates *past, bool has_expected, DateADT expected)
{
	if (has_expected && past->has_expected && expected > past->expected)
		past->pushes++;
	past->has_expected = has_expected;
	past->expected = has_expected ? expected : 0;
}

/* with a deletion a life ends, of which the next one knows nothing */
static inline void
see_end_of_life(PastDates *past)
{
	memset(past, 0, sizeof(*past));
}

extern bool find_past_dates(const bytea *table, int64 key, int32 version,
							PastDates *past);

#endif							/* PIPELINES_PAST_DATES_H */
