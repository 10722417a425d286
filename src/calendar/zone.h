/*-------------------------------------------------------------------------
 *
 * zone.h
 *	  A time zone as a table.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PIPELINES_ZONE_H
#define PIPELINES_ZONE_H

#include "datatype/timestamp.h"
#include "pgtime.h"

/* the table knows what clocks did from 1700-01-01 on and before 2500-01-01 */
#define ZONE_TABLE_BEGIN	(INT64CONST(-9467020800) * USECS_PER_SEC)
#define ZONE_TABLE_END		(INT64CONST(15778540800) * USECS_PER_SEC)

/* from each instant on the clocks are that far ahead of UTC */
typedef struct ZoneTable
{
	int			n;				/* at least 1 */
	TimestampTz *since;			/* the first is -infinity */
	int64	   *ahead;			/* in microseconds */
} ZoneTable;

/* palloc'd in the current memory context */
extern ZoneTable *zone_table(const pg_tz *tz);

/* which line of the table holds at an instant? */
extern int	zone_line(const ZoneTable *zone, TimestampTz instant);

#endif							/* PIPELINES_ZONE_H */
