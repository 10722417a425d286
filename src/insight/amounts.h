/*-------------------------------------------------------------------------
 *
 * amounts.h
 *	  Lists of numerics of which one by its rank is wanted.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PIPELINES_AMOUNTS_H
#define PIPELINES_AMOUNTS_H

#include "insight/gathered.h"
#include "values/decimal.h"

/* all zeros: empty */
typedef struct Amounts
{
	Gathered	common;			/* at DECIMAL_SCALE */
	int64		nodd;
	int64		room;
	Numeric    *odd;			/* those that don't fit there */
} Amounts;

extern void amounts_add(Amounts *amounts, Datum datum, MemoryContext context);
extern void flat_put_amounts(FlatWriter *writer, const Amounts *amounts);
extern uint64 flat_get_amounts(FlatReader *reader, Amounts *amounts, MemoryContext context);
extern Numeric amounts_largest_tenth(Amounts *amounts);

#endif							/* PIPELINES_AMOUNTS_H */
