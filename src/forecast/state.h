/*-------------------------------------------------------------------------
 *
 * state.h
 *	  How the aggregates get at their states.
 *
 * A state is a value of a variable-length type that a transition function
 * changes in place when it belongs to the aggregate.  A state that has to
 * grow is made anew in the current memory context: the executor copies it to
 * the aggregate's context and frees the old one.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PIPELINES_STATE_H
#define PIPELINES_STATE_H

#include "compat.h"
#include "fmgr.h"
#include "nodes/nodes.h"

/*
 * Is the function called by an aggregate, so that it may change its first
 * argument?  AggCheckCallContext() without its call: this is asked per row.
 */
static inline bool
state_is_ours(FunctionCallInfo fcinfo)
{
	return fcinfo->context != NULL &&
		(IsA(fcinfo->context, AggState) || IsA(fcinfo->context, WindowAggState));
}

/* An argument as it is, or detoasted; aligned either way. */
static inline struct varlena *
state_argument(Datum datum)
{
	struct varlena *value = (struct varlena *) DatumGetPointer(datum);

	if (unlikely(VARATT_IS_EXTENDED(value)))
		value = pg_detoast_datum(value);
	return value;
}

#endif							/* PIPELINES_STATE_H */
