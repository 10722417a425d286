/*-------------------------------------------------------------------------
 *
 * zone.c
 *	  A time zone as a table.
 *
 * Owns the table of all changes of a zone's clocks, from 1700 to 2500, so that
 * an instant is turned into local time by a binary search and an addition, and
 * so that between two changes local time is arithmetic.  Before and after,
 * the first and the last line hold: no zone had rules before, and none is
 * known to keep them that long.
 *
 * Must never look at the session's time zone.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "calendar/zone.h"

/* seconds between the epochs of Unix and PostgreSQL */
#define EPOCH_DIFFERENCE \
	((pg_time_t) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY)

/* in seconds since 1970 */
#define FIRST_INSTANT	(ZONE_TABLE_BEGIN / USECS_PER_SEC + EPOCH_DIFFERENCE)
#define LAST_INSTANT	(ZONE_TABLE_END / USECS_PER_SEC + EPOCH_DIFFERENCE)

ZoneTable *
zone_table(const pg_tz *tz)
{
	ZoneTable  *zone = palloc(sizeof(ZoneTable));
	pg_time_t	at = FIRST_INSTANT;
	pg_time_t	boundary;
	long		before;
	long		after;
	int			before_isdst;
	int			after_isdst;
	int			room = 64;
	int			next;

	zone->since = palloc(sizeof(TimestampTz) * room);
	zone->ahead = palloc(sizeof(int64) * room);
	zone->n = 1;
	zone->since[0] = DT_NOBEGIN;
	zone->ahead[0] = 0;

	next = pg_next_dst_boundary(&at, &before, &before_isdst, &boundary,
								&after, &after_isdst, tz);
	if (next >= 0)
		zone->ahead[0] = (int64) before * USECS_PER_SEC;
	while (next > 0 && boundary < LAST_INSTANT)
	{
		int64		ahead = (int64) after * USECS_PER_SEC;

		/* only the name changed, or whether it is called summer time */
		if (ahead != zone->ahead[zone->n - 1])
		{
			if (zone->n >= room)
			{
				room *= 2;
				zone->since = repalloc(zone->since, sizeof(TimestampTz) * room);
				zone->ahead = repalloc(zone->ahead, sizeof(int64) * room);
			}
			zone->since[zone->n] = (TimestampTz) (boundary - EPOCH_DIFFERENCE) * USECS_PER_SEC;
			zone->ahead[zone->n] = ahead;
			zone->n++;
		}
		at = boundary;
		next = pg_next_dst_boundary(&at, &before, &before_isdst, &boundary,
									&after, &after_isdst, tz);
	}
	return zone;
}

int
zone_line(const ZoneTable *zone, TimestampTz instant)
{
	int			low = 0;
	int			high = zone->n - 1;

	/* the last line that began at or before the instant */
	while (low < high)
	{
		int			middle = (low + high + 1) / 2;

		if (zone->since[middle] <= instant)
			low = middle;
		else
			high = middle - 1;
	}
	return low;
}
