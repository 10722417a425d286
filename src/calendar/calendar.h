/*-------------------------------------------------------------------------
 *
 * calendar.h
 *	  Fiscal calendars, as the other modules need them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PIPELINES_CALENDAR_H
#define PIPELINES_CALENDAR_H

#include "utils/date.h"

extern void calendar_init(void);

/* a period that takes no changes any more; valid as a definition is */
typedef struct LockedPeriod
{
	int32		period_id;
	const char *label;
	const char *calendar;		/* its name */
} LockedPeriod;

/*
 * Is the day in a locked period of the calendar (0: the standard one)?  Costs
 * next to nothing where no period of any calendar is locked, or none exists.
 */
extern bool calendar_day_is_locked(int32 calendar_id, DateADT day,
								   LockedPeriod *period);

#endif							/* PIPELINES_CALENDAR_H */
