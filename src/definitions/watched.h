/*-------------------------------------------------------------------------
 *
 * watched.h
 *	  Definition tables of which a backend keeps a copy.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PIPELINES_WATCHED_H
#define PIPELINES_WATCHED_H

#include "access/attnum.h"
#include "access/xact.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

/* tables of one copy at most */
#define MAX_WATCHED_TABLES	16

/* columns that are read of one table at most */
#define MAX_WATCHED_COLUMNS 20

/*
 * The tables that a copy is read from.  Who keeps one fills in the first two
 * members and, when the copy has been read, 'current' with what 'wanted' was
 * before; the rest is watched.c's.
 */
typedef struct WatchedTables
{
	const char *const *names;
	int			n;

	uint64		wanted;			/* counts invalidations, from 1 on */
	uint64		found;			/* what that was when the tables were found */
	uint64		current;		/* what that was for the copy; 0: no copy */
	bool		in_parallel_mode;	/* was the copy read there? */
	Oid			owner;			/* of all of them */
	Oid			relids[MAX_WATCHED_TABLES];
	Oid			lock_relid;		/* whose owner that is */
	struct WatchedTables *next;
} WatchedTables;

typedef struct WatchedColumn
{
	const char *name;			/* NULL ends a list */
	Oid			type;
} WatchedColumn;

typedef void (*WatchedReader) (const Datum *values, const bool *nulls, void *state);

extern void watched_init(void);
extern void watched_begin(WatchedTables *tables);
extern bool watched_find(WatchedTables *tables, bool missing_ok);
extern Oid	watched_relid(WatchedTables *tables, const char *name);
extern void watched_lock(WatchedTables *tables, int n);
extern Snapshot watched_snapshot(void);
extern AttrNumber watched_column(Relation rel, const char *name, Oid type);
extern void watched_read(const WatchedTables *tables, int which, Snapshot snapshot,
						 const WatchedColumn *columns, WatchedReader reader, void *state);

/* what was read in parallel mode is good in parallel mode only */
static inline bool
watched_is_current(const WatchedTables *tables)
{
	return likely(tables->current == tables->wanted &&
				  (!tables->in_parallel_mode || IsInParallelMode()));
}

/* an array that grows while it is read */
#define WATCHED_APPEND(array, n, room) \
	do { \
		if ((n) >= (room)) \
		{ \
			(room) = Max(16, (room) * 2); \
			(array) = (array) == NULL ? \
				palloc(sizeof(*(array)) * (room)) : \
				repalloc((array), sizeof(*(array)) * (room)); \
		} \
	} while (0)

#endif							/* PIPELINES_WATCHED_H */
