/*-------------------------------------------------------------------------
 *
 * gathered.h
 *	  Lists of 64-bit numbers of which one by its rank is wanted.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PIPELINES_GATHERED_H
#define PIPELINES_GATHERED_H

#include "insight/expanded.h"

/* all zeros: empty */
typedef struct Gathered
{
	int64		n;
	int64		room;
	int64	   *values;
} Gathered;

extern void gathered_make_room(Gathered *set, int64 more, MemoryContext context);
extern int64 gathered_kth(Gathered *set, int64 k);
extern void flat_put_gathered(FlatWriter *writer, const Gathered *set);
extern uint64 flat_get_gathered(FlatReader *reader, Gathered *set, int64 least,
								MemoryContext context, const char *what);

static inline void
gathered_add(Gathered *set, int64 value, MemoryContext context)
{
	if (unlikely(set->n == set->room))
		gathered_make_room(set, 1, context);
	set->values[set->n++] = value;
}

#endif							/* PIPELINES_GATHERED_H */
