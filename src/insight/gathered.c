/*-------------------------------------------------------------------------
 *
 * gathered.c
 *	  Lists of 64-bit numbers of which one by its rank is wanted.
 *
 * Owns how such a list grows, is written and read, and how a number is found
 * by its rank: by selection and not by sorting, since reports ask it of
 * millions.  The order in which numbers came must never matter.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "insight/gathered.h"
#include "miscadmin.h"
#include "utils/memutils.h"

/* numbers that the array has room for at first; it doubles from there */
#define FIRST_ROOM	16

/* room for so many more */
void
gathered_make_room(Gathered *set, int64 more, MemoryContext context)
{
	if (set->values == NULL)
	{
		set->room = Max(FIRST_ROOM, more);
		set->values = MemoryContextAllocHuge(context, sizeof(int64) * set->room);
	}
	else if (set->room - set->n < more)
	{
		set->room = Max(set->room * 2, set->n + more);
		set->values = repalloc_huge(set->values, sizeof(int64) * set->room);
	}
}

void
flat_put_gathered(FlatWriter *writer, const Gathered *set)
{
	char	   *at;

	flat_put_64(writer, set->n);
	at = flat_place(writer, sizeof(int64) * set->n);
	if (at != NULL)
		for (int64 i = 0; i < set->n; i++)
			at = put_64(at, set->values[i]);
}

/* Add what was written; none of it may be less than the least.  How many? */
uint64
flat_get_gathered(FlatReader *reader, Gathered *set, int64 least,
				  MemoryContext context, const char *what)
{
	uint64		n = flat_get_64(reader, what);
	const char *at = flat_take(reader, n, sizeof(int64), what);

	if (n == 0)
		return 0;
	gathered_make_room(set, n, context);
	for (uint64 i = 0; i < n; i++)
	{
		int64		value = (int64) get_64(&at);

		if (value < least)
			flat_refuse(reader, what);
		set->values[set->n++] = value;
	}
	return n;
}

static inline void
swap(int64 *a, int64 *b)
{
	int64		t = *a;

	*a = *b;
	*b = t;
}

/*
 * The k-th smallest (from 0, and less than n), after which the list is in
 * another order: nothing before it is larger and nothing after it smaller.
 */
int64
gathered_kth(Gathered *set, int64 k)
{
	int64	   *values = set->values;
	int64		low = 0;
	int64		high = set->n - 1;

	while (low < high)
	{
		int64		middle = low + (high - low) / 2;
		int64		i = low;
		int64		j = high;
		int64		pivot;

		CHECK_FOR_INTERRUPTS();
		if (values[middle] < values[low])
			swap(&values[middle], &values[low]);
		if (values[high] < values[low])
			swap(&values[high], &values[low]);
		if (values[high] < values[middle])
			swap(&values[high], &values[middle]);
		pivot = values[middle];
		while (i <= j)
		{
			while (values[i] < pivot)
				i++;
			while (values[j] > pivot)
				j--;
			if (i <= j)
				swap(&values[i++], &values[j--]);
		}
		if (k <= j)
			high = j;
		else if (k >= i)
			low = i;
		else
			break;
	}
	return values[k];
}
