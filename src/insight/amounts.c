/*-------------------------------------------------------------------------
 *
 * amounts.c
 *	  Lists of numerics of which one by its rank is wanted.
 *
 * Owns how amounts are gathered, written and read: as integers, and those that
 * are none with four decimals as what they are.  The invariant: ranks are those
 * in the order of numeric, whichever way amounts are kept, and whatever order
 * they came in.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "insight/amounts.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

static void
add_odd(Amounts *amounts, Numeric number, MemoryContext context)
{
	Size		size = VARSIZE(number);

	if (amounts->nodd == amounts->room)
	{
		amounts->room = Max(16, amounts->room * 2);
		amounts->odd = amounts->odd == NULL ?
			MemoryContextAllocHuge(context, sizeof(Numeric) * amounts->room) :
			repalloc_huge(amounts->odd, sizeof(Numeric) * amounts->room);
	}
	amounts->odd[amounts->nodd] = MemoryContextAlloc(context, size);
	memcpy(amounts->odd[amounts->nodd++], number, size);
}

void
amounts_add(Amounts *amounts, Datum datum, MemoryContext context)
{
	int64		number;
	int			dscale;

	if (likely(decimal_decode(datum, &number, &dscale)))
		gathered_add(&amounts->common, number, context);
	else
		add_odd(amounts, DatumGetNumeric(datum), context);
}

/* the common ones; how many odd ones, and each of them as text */
void
flat_put_amounts(FlatWriter *writer, const Amounts *amounts)
{
	flat_put_gathered(writer, &amounts->common);
	flat_put_64(writer, amounts->nodd);
	for (int64 i = 0; i < amounts->nodd; i++)
	{
		char	   *text = decimal_to_text(amounts->odd[i]);

		flat_put_text(writer, text);
		pfree(text);
	}
}

/* Add what was written; how many? */
uint64
flat_get_amounts(FlatReader *reader, Amounts *amounts, MemoryContext context)
{
	uint64		n = flat_get_gathered(reader, &amounts->common, PG_INT64_MIN, context, "amounts");
	uint64		nodd = flat_get_64(reader, "amounts");

	for (uint64 i = 0; i < nodd; i++)
	{
		char	   *text = flat_get_text(reader, "amounts");
		Numeric		number = decimal_from_text(text);

		CHECK_FOR_INTERRUPTS();
		add_odd(amounts, number, context);
		pfree(number);
		pfree(text);
	}
	return n + nodd;
}

/* unit: the least step at DECIMAL_SCALE */
static Numeric
common_to_numeric(int64 value, Numeric unit)
{
	Datum		number = DirectFunctionCall1(int8_numeric, Int64GetDatum(value));

	return decimal_multiply(DatumGetNumeric(number), unit);
}

static int
compare_numbers(const void *a, const void *b)
{
	CHECK_FOR_INTERRUPTS();
	return decimal_compare(*(const Numeric *) a, *(const Numeric *) b);
}

/*
 * The least of the amounts that at least nine tenths of them don't exceed:
 * percentile_disc(0.9).  There has to be one.
 */
Numeric
amounts_largest_tenth(Amounts *amounts)
{
	int64		n = amounts->common.n + amounts->nodd;
	int64		k = n / 10 * 9 + (n % 10 * 9 + 9) / 10 - 1;
	Numeric		unit = decimal_from_text("0.0001");
	Numeric    *all;

	StaticAssertStmt(DECIMAL_SCALE == 4, "the unit has as many decimals");
	if (amounts->nodd == 0)
		return common_to_numeric(gathered_kth(&amounts->common, k), unit);

	all = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Numeric) * n);
	memcpy(all, amounts->odd, sizeof(Numeric) * amounts->nodd);
	for (int64 i = 0; i < amounts->common.n; i++)
		all[amounts->nodd + i] = common_to_numeric(amounts->common.values[i], unit);
	qsort(all, n, sizeof(Numeric), compare_numbers);
	return all[k];
}
