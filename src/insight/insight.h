/*-------------------------------------------------------------------------
 *
 * insight.h
 *	  What the parts of insight share: how a table of deals is laid out.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PIPELINES_INSIGHT_H
#define PIPELINES_INSIGHT_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"
#include "utils/relcache.h"

/*
 * One mapped column: its role (a tracked column without one bears its own
 * name), and where it stands in T and in T_history.
 */
typedef struct MappedColumn
{
	char	   *role;
	AttrNumber	attnum;			/* in T; InvalidAttrNumber for '@...' */
	AttrNumber	history_attnum; /* in T_history, InvalidAttrNumber if absent */
	const char *copied_as;		/* as T's mapping calls it there, or NULL */
} MappedColumn;

/* what tracked_table says about T, together with the mapping */
typedef struct DealsLayout
{
	Oid			relid;
	Oid			history;
	int32		layout_id;		/* whose pipelines; 0: of all */
	TimestampTz tracked_since;
	Jsonb	   *tracked;		/* columns added later, with their instant */
	List	   *columns;		/* of MappedColumn */
	List	   *own;			/* the history's own: roles '@valid_from' ... */
} DealsLayout;

/*
 * The layout of relid in the current memory context, or NULL when it isn't a
 * table of deals (or its history is gone).  Takes AccessShareLock on both for
 * as long as it works; raises no error for a table that is no table of deals.
 */
extern DealsLayout *layout_read(Oid relid);

/* the same, but an error with a hint instead of NULL */
extern DealsLayout *layout_require(Oid relid);

/* name of one of the history's own columns, which may bear a prefix */
extern char *layout_history_column(const DealsLayout *layout, const char *name);

#endif							/* PIPELINES_INSIGHT_H */
