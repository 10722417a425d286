/*-------------------------------------------------------------------------
 *
 * rates.c
 *	  Exchange rates as each backend knows them.
 *
 * Owns a copy of the rates that were asked for, in the backend's memory: per
 * rate set and currency one array per base, sorted by day.  Its invariant is
 * that of watched.c: whoever looks something up sees the newest committed
 * rates plus the changes of their own transaction, whatever the isolation
 * level.  A copy that is not current is dropped as a whole at the next look-up.
 *
 * A currency is read when it is first needed, by the primary key, and not by
 * row of a query.  A copy that has grown beyond MAX_CACHED_BYTES is dropped,
 * so that memory stays bounded however many sets there are.
 *
 * Rates are read without SQL, in nobody's name; so the caller must have the
 * right to read the table himself, and there must be no policy that would
 * hide rows of it from him.
 *
 * Must never drop the copy while somebody uses it (only at the beginning of a
 * look-up), and never take 1 for a rate that is missing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "definitions/definitions_private.h"
#include "definitions/watched.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "money/money.h"
#include "port/pg_bitutils.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

/* days after its own that a rate holds for, where the set says nothing */
#define DEFAULT_MAX_AGE		10
/* without limit */
#define ANY_AGE				(-1)

/* the copy is dropped when it has become as large as this */
#define MAX_CACHED_BYTES	((Size) 64 * 1024 * 1024)

/* attempts at reading rates that keep changing under us */
#define MAX_ATTEMPTS		5

/* in a memo's and a path's 'from': the rates as they were known at an instant */
#define AS_KNOWN			((CurrencyCode) 1 << 24)

typedef enum RateTable
{
	TABLE_RATE_SET,
	TABLE_EXCHANGE_RATE,
	TABLE_EXCHANGE_RATE_HISTORY
} RateTable;

#define N_TABLES	(TABLE_EXCHANGE_RATE_HISTORY + 1)

static const char *const table_names[N_TABLES] = {
	"rate_set", "exchange_rate", "exchange_rate_history"
};

/* since when a rate was what it is, and until when */
typedef struct Validity
{
	TimestampTz since;
	TimestampTz until;
} Validity;

/* the rates of a currency for one base */
typedef struct Series
{
	CurrencyCode base;
	int			nrates;
	DateADT		first;			/* day of the first one */
	Rate	   *rates;			/* by day, then by validity */
	Validity   *validity;		/* beside 'rates'; NULL: all are of now */

	/*
	 * Where most days have a rate there is one for each day, if need be that
	 * of a day before.  Else buckets of days narrow the search down.
	 */
	bool		is_dense;
	int			shift;			/* 2^shift days share a bucket */
	int			nbuckets;
	int32	   *buckets;		/* number of rates up to the bucket's end */
} Series;

typedef struct RateSet
{
	char	   *name;
	int			max_age;		/* days, or ANY_AGE */
} RateSet;

/* all series of a currency */
typedef struct QuotesKey
{
	int32		set;
	CurrencyCode currency;		/* may have AS_KNOWN */
} QuotesKey;

typedef struct Quotes
{
	QuotesKey	key;
	int			nseries;
	Series	   *series;			/* by base */
} Quotes;

/* one way from a currency to another; NULL stands for the base itself */
typedef struct Way
{
	const Series *from;
	const Series *to;
} Way;

typedef struct PathKey
{
	int32		set;
	CurrencyCode from;			/* may have AS_KNOWN */
	CurrencyCode to;
} PathKey;

struct RatePath
{
	PathKey		key;
	int			max_age;
	int			nways;
	Way		   *ways;			/* the direct ones first, then by base */
};

/* a row while it is read */
typedef struct LoadedRate
{
	CurrencyCode base;
	Rate		rate;
	Validity	validity;
} LoadedRate;

typedef struct LoadState
{
	bool		is_past;		/* reading versions that ended? */
	Oid			columns_of;		/* the table that these belong to */
	AttrNumber	base;
	AttrNumber	rate_on;
	AttrNumber	rate;
	AttrNumber	since;
	AttrNumber	until;
	int			n;
	int			room;
	LoadedRate *rates;
	int			max_age;		/* of a rate set */
} LoadState;

static WatchedTables tables = {.names = table_names, .n = N_TABLES};

/* counts the copies; what leads into an earlier one is void */
static uint64 epoch = 1;

/* who was found to have the right to read them, and when */
static Oid	checked_user = InvalidOid;
static uint64 checked = 0;

static MemoryContext cache_context = NULL;
static Size cached_bytes = 0;	/* nearly: what grows with use */
static int	nsets = 0;
static int	sets_room = 0;
static RateSet *sets = NULL;
static HTAB *all_quotes = NULL;
static HTAB *all_paths = NULL;

/* what the base costs in itself */
static Rate one;

/*
 * Make the fast form of a rate: value / 10^scale.
 */
static void
set_rate(Rate *rate, uint64 value, int scale)
{
#ifdef DECIMAL_FAST
	static const uint64 power[RATE_SCALE + 1] = {
		1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000
	};
	uint64		rest = value;
	uint64		divisor;
	int			digits = 0;

	while (rest != 0)
	{
		rest /= 10;
		digits++;
	}
	if (value == 0 || scale > RATE_SCALE ||
		value > PG_UINT64_MAX / 10000 / power[RATE_SCALE - scale])
		return;
	rate->value = value * power[RATE_SCALE - scale];
	divisor = rate->value * 10000;
	rate->shift = 63 - pg_leftmost_one_pos64(divisor);
	divisor <<= rate->shift;
	rate->u.inverse = (uint64) (~(uint128) 0 / divisor);
	rate->scale = scale;
	rate->digits = digits;
#endif
}

void
rates_init(void)
{
	set_rate(&one, 1, 0);
	DATE_NOBEGIN(one.on);
	watched_begin(&tables);
}

/*
 * What a call of one of our functions remembers from row to row.  A new
 * statement begins with nothing.  It hears of what others have committed: in a
 * transaction that holds its locks already nothing else would tell.
 */
RateCall *
rates_call(FunctionCallInfo fcinfo)
{
	RateCall   *call = (RateCall *) fcinfo->flinfo->fn_extra;

	if (unlikely(call == NULL))
	{
		call = (RateCall *) MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt,
												   sizeof(RateCall));
		call->set_size = -1;
		fcinfo->flinfo->fn_extra = call;
		AcceptInvalidationMessages();
	}
	return call;
}

/*
 * May the current user read rates?  A change of that sends an invalidation of
 * the table.
 */
static void
check_user(void)
{
	int			i;

	for (i = 0; i < N_TABLES; i++)
	{
		AclResult	result = pg_class_aclcheck(tables.relids[i], GetUserId(), ACL_SELECT);

		if (result != ACLCHECK_OK)
			aclcheck_error(result, OBJECT_TABLE, get_rel_name(tables.relids[i]));
		if (check_enable_rls(tables.relids[i], InvalidOid, true) == RLS_ENABLED)
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("row security of table \"%s.%s\" can't be kept while amounts are converted",
							PIPELINES_SCHEMA, table_names[i]),
					 errdetail("Rates are read once for all, and not row by row as policies demand."),
					 errhint("Keep secret rates in another table, and disable row security on this one.")));
	}
	checked_user = GetUserId();
	checked = tables.found;
}

/* after this nothing that was found before may be used */
static void
forget_rates(void)
{
	epoch++;
	nsets = sets_room = 0;
	sets = NULL;
	all_quotes = all_paths = NULL;
	tables.current = 0;
	tables.in_parallel_mode = false;
	cached_bytes = 0;
	if (cache_context != NULL)
		MemoryContextReset(cache_context);
}

/*
 * Begin anew where rates have changed, or the copy has become too large.
 */
static void
begin_cache(void)
{
	HASHCTL		control = {0};

	forget_rates();
	if (cache_context == NULL)
		cache_context = AllocSetContextCreate(CacheMemoryContext,
											  "pipelines exchange rates",
											  ALLOCSET_DEFAULT_SIZES);
	control.hcxt = cache_context;
	control.keysize = sizeof(QuotesKey);
	control.entrysize = sizeof(Quotes);
	all_quotes = hash_create("pipelines quotes", 64, &control,
							 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	control.keysize = sizeof(PathKey);
	control.entrysize = sizeof(RatePath);
	all_paths = hash_create("pipelines rate paths", 64, &control,
							HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	/* the one that tables and rights were looked at under */
	tables.current = tables.found;
}

/* ----------
 * Reading
 * ----------
 */

/* the primary key, if it helps to find rows by these columns */
static Oid
index_on(Relation rel, const ScanKeyData *keys, int nkeys)
{
	List	   *indexes = RelationGetIndexList(rel);
	Oid			result = rel->rd_pkindex;
	Relation	index;
	int			i;

	list_free(indexes);
	if (!OidIsValid(result))
		return InvalidOid;
	index = index_open(result, AccessShareLock);
	for (i = 0; i < nkeys; i++)
	{
		if (i >= index->rd_index->indnkeyatts ||
			index->rd_index->indkey.values[i] != keys[i].sk_attno)
			result = InvalidOid;
	}
	index_close(index, AccessShareLock);
	return result;
}

typedef void (*RowReader) (Relation rel, HeapTuple tuple, LoadState *state);

/*
 * Read the rows of a set (of one currency, unless that is 0) with the newest
 * snapshot, partitions included.
 */
static void
read_rows(RateTable which, const char *set, CurrencyCode currency,
		  RowReader reader, LoadState *state)
{
	List	   *parts;
	ListCell   *lc;
	Snapshot	snapshot;
	Datum		set_text = CStringGetTextDatum(set);
	char		code[4] = {(char) (currency >> 16), (char) (currency >> 8), (char) currency, '\0'};
	Datum		code_text = CStringGetTextDatum(code);

	if (IsInParallelMode())
		tables.in_parallel_mode = true;
	/* it locks the partitions, but leaves the table itself to us */
	LockRelationOid(tables.relids[which], AccessShareLock);
	parts = find_all_inheritors(tables.relids[which], AccessShareLock, NULL);
	snapshot = watched_snapshot();
	foreach(lc, parts)
	{
		Relation	rel = table_open(lfirst_oid(lc), NoLock);
		ScanKeyData keys[2];
		int			nkeys = currency == 0 ? 1 : 2;
		SysScanDesc scan;
		HeapTuple	tuple;
		Oid			index;

		if (rel->rd_rel->relkind != RELKIND_RELATION)
		{
			table_close(rel, NoLock);
			continue;
		}
		ScanKeyEntryInitialize(&keys[0], 0, watched_column(rel, "rate_set", TEXTOID),
							   BTEqualStrategyNumber, InvalidOid,
							   DEFAULT_COLLATION_OID, F_TEXTEQ, set_text);
		if (nkeys == 2)
			ScanKeyEntryInitialize(&keys[1], 0, watched_column(rel, "currency", TEXTOID),
								   BTEqualStrategyNumber, InvalidOid,
								   DEFAULT_COLLATION_OID, F_TEXTEQ, code_text);
		index = index_on(rel, keys, nkeys);
		scan = systable_beginscan(rel, index, OidIsValid(index), snapshot, nkeys, keys);
		while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		{
			CHECK_FOR_INTERRUPTS();
			reader(rel, tuple, state);
		}
		systable_endscan(scan);
		table_close(rel, NoLock);
	}
	UnregisterSnapshot(snapshot);
	list_free(parts);
}

static void
read_set(Relation rel, HeapTuple tuple, LoadState *state)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, watched_column(rel, "max_age", INT4OID),
									 RelationGetDescr(rel), &isnull);

	state->max_age = isnull ? ANY_AGE : DatumGetInt32(value);
}

/* a rate, or a version of one that ended */
static void
read_rate(Relation rel, HeapTuple tuple, LoadState *state)
{
	TupleDesc	desc = RelationGetDescr(rel);
	LoadedRate *row;
	Datum		value;
	bool		isnull;
	uint64		digits;
	int			scale;
	int			dscale;

	if (state->columns_of != RelationGetRelid(rel))
	{
		state->base = watched_column(rel, "base", TEXTOID);
		state->rate_on = watched_column(rel, "rate_on", DATEOID);
		state->rate = watched_column(rel, "rate", NUMERICOID);
		state->since = watched_column(rel, state->is_past ? "valid_from" : "changed_at",
									 TIMESTAMPTZOID);
		state->until = state->is_past ? watched_column(rel, "valid_to", TIMESTAMPTZOID) :
			InvalidAttrNumber;
		state->columns_of = RelationGetRelid(rel);
	}
	if (state->n >= state->room)
	{
		state->room = Max(256, state->room * 2);
		state->rates = state->rates == NULL ?
			palloc(sizeof(LoadedRate) * state->room) :
			repalloc_huge(state->rates, sizeof(LoadedRate) * state->room);
	}
	row = &state->rates[state->n];
	memset(row, 0, sizeof(*row));

	value = heap_getattr(tuple, state->base, desc, &isnull);
	if (isnull)
		return;
	row->base = currency_code(DatumGetTextPP(value));
	value = heap_getattr(tuple, state->rate_on, desc, &isnull);
	if (isnull)
		return;
	row->rate.on = DatumGetDateADT(value);
	value = heap_getattr(tuple, state->since, desc, &isnull);
	row->validity.since = isnull ? DT_NOBEGIN : DatumGetTimestampTz(value);
	row->validity.until = DT_NOEND;
	if (state->is_past)
	{
		value = heap_getattr(tuple, state->until, desc, &isnull);
		if (isnull)
			return;
		row->validity.until = DatumGetTimestampTz(value);
	}
	value = heap_getattr(tuple, state->rate, desc, &isnull);
	if (isnull)
		return;
	if (decimal_decode_digits(value, &digits, &scale, &dscale))
	{
		set_rate(&row->rate, digits, scale);
		row->rate.dscale = Min(dscale, PG_UINT8_MAX);
	}
	if (row->rate.value == 0)
	{
		/* dividing by nothing, or by what is no number, is for nobody */
		Numeric		odd = DatumGetNumericCopy(value);

		if (!decimal_is_finite(odd) || decimal_compare(odd, decimal_zero()) <= 0)
			return;
		row->rate.u.odd = odd;
		row->rate.digits = 0;
	}
	state->n++;
}

static int
compare_loaded(const void *a, const void *b)
{
	const LoadedRate *ra = (const LoadedRate *) a;
	const LoadedRate *rb = (const LoadedRate *) b;

	if (ra->base != rb->base)
		return ra->base < rb->base ? -1 : 1;
	if (ra->rate.on != rb->rate.on)
		return ra->rate.on < rb->rate.on ? -1 : 1;
	if (ra->validity.since != rb->validity.since)
		return ra->validity.since < rb->validity.since ? -1 : 1;
	return 0;
}

/*
 * Make the series of one base out of rows that are sorted.  It takes at most
 * two places per rate, or else one and four buckets, which are as narrow as
 * that allows.
 */
static void
make_series(Series *series, const LoadedRate *rows, int n, bool with_validity)
{
	DateADT		first = rows[0].rate.on;
	int64		days = (int64) rows[n - 1].rate.on - first;
	int			bucket = 0;
	int			i;

	series->base = rows[0].base;
	series->first = first;
	series->is_dense = !with_validity && days < (int64) n * 2;
	series->nrates = series->is_dense ? (int) days + 1 : n;
	series->rates = palloc_extended(sizeof(Rate) * series->nrates, MCXT_ALLOC_HUGE);
	if (series->is_dense)
	{
		int			row = 0;

		for (i = 0; i < series->nrates; i++)
		{
			while (row + 1 < n && (int64) rows[row + 1].rate.on - first <= i)
				row++;
			series->rates[i] = rows[row].rate;
		}
		return;
	}

	if (with_validity)
		series->validity = palloc_extended(sizeof(Validity) * n, MCXT_ALLOC_HUGE);
	for (i = 0; i < n; i++)
	{
		series->rates[i] = rows[i].rate;
		if (with_validity)
			series->validity[i] = rows[i].validity;
	}
	while ((days >> series->shift) >= (int64) n * 4)
		series->shift++;
	series->nbuckets = (int) (days >> series->shift) + 1;
	series->buckets = palloc_extended(sizeof(int32) * series->nbuckets, MCXT_ALLOC_HUGE);
	for (i = 0; i < n; i++)
	{
		int			own = (int) (((int64) rows[i].rate.on - first) >> series->shift);

		while (bucket < own)
			series->buckets[bucket++] = i;
	}
	series->buckets[bucket] = n;
}

/*
 * The rates of a currency, read now if they have not been yet.
 */
static const Quotes *
get_quotes(int set, CurrencyCode currency)
{
	QuotesKey	key = {set, currency};
	Quotes	   *quotes = (Quotes *) hash_search(all_quotes, &key, HASH_FIND, NULL);
	MemoryContext scratch;
	MemoryContext old_context;
	MemoryContext own;
	LoadState	state = {0};
	Series	   *series = NULL;
	int			nseries = 0;
	int			first;
	int			end;

	if (quotes != NULL)
		return quotes;

	scratch = AllocSetContextCreate(CurrentMemoryContext, "pipelines rates being read",
									ALLOCSET_DEFAULT_SIZES);
	old_context = MemoryContextSwitchTo(scratch);
	read_rows(TABLE_EXCHANGE_RATE, sets[set].name, currency & ~AS_KNOWN, read_rate, &state);
	if (currency & AS_KNOWN)
	{
		state.is_past = true;
		state.columns_of = InvalidOid;
		read_rows(TABLE_EXCHANGE_RATE_HISTORY, sets[set].name, currency & ~AS_KNOWN,
				  read_rate, &state);
	}
	if (state.n > 1)
		qsort(state.rates, state.n, sizeof(LoadedRate), compare_loaded);

	/* an error in between leaves nothing behind */
	own = AllocSetContextCreate(scratch, "pipelines rates of a currency",
								ALLOCSET_SMALL_SIZES);
	MemoryContextSwitchTo(own);
	for (first = 0; first < state.n; first = end)
	{
		int			i;

		for (end = first + 1; end < state.n && state.rates[end].base == state.rates[first].base; end++)
			;
		series = series == NULL ? palloc0(sizeof(Series)) :
			repalloc(series, sizeof(Series) * (nseries + 1));
		memset(&series[nseries], 0, sizeof(Series));
		for (i = first; i < end; i++)
		{
			Numeric		odd = rate_odd(&state.rates[i].rate);

			if (odd != NULL)
				state.rates[i].rate.u.odd = DatumGetNumericCopy(NumericGetDatum(odd));
		}
		make_series(&series[nseries++], &state.rates[first], end - first,
					(currency & AS_KNOWN) != 0);
	}
	quotes = (Quotes *) hash_search(all_quotes, &key, HASH_ENTER, NULL);
	MemoryContextSetParent(own, cache_context);
	cached_bytes += MemoryContextMemAllocated(own, false) + sizeof(Quotes);
	quotes->nseries = nseries;
	quotes->series = series;
	MemoryContextSwitchTo(old_context);
	MemoryContextDelete(scratch);
	return quotes;
}

static int
get_set(const text *name)
{
	int			size = VARSIZE_ANY_EXHDR(name);
	LoadState	state = {0};
	char	   *copy;
	int			i;

	for (i = 0; i < nsets; i++)
	{
		if (strlen(sets[i].name) == (size_t) size &&
			memcmp(sets[i].name, VARDATA_ANY(name), size) == 0)
			return i;
	}
	copy = MemoryContextAlloc(cache_context, size + 1);
	memcpy(copy, VARDATA_ANY(name), size);
	copy[size] = '\0';
	state.max_age = DEFAULT_MAX_AGE;
	read_rows(TABLE_RATE_SET, copy, 0, read_set, &state);
	if (nsets >= sets_room)
	{
		int			room = Max(8, sets_room * 2);

		sets = sets == NULL ? MemoryContextAlloc(cache_context, sizeof(RateSet) * room) :
			repalloc(sets, sizeof(RateSet) * room);
		sets_room = room;
	}
	cached_bytes += size + sizeof(RateSet);
	sets[nsets].name = copy;
	sets[nsets].max_age = state.max_age;
	return nsets++;
}

static const Series *
find_series(const Quotes *quotes, CurrencyCode base)
{
	int			i;

	for (i = 0; i < quotes->nseries; i++)
	{
		if (quotes->series[i].base == base)
			return &quotes->series[i];
	}
	return NULL;
}

/*
 * The ways that lead from one currency to the other: either is quoted in
 * units for one of the other, or both for one of a third currency.  Longer
 * ways would need more than one division.
 */
static const RatePath *
get_path(int set, CurrencyCode from, CurrencyCode to)
{
	PathKey		key = {set, from, to};
	CurrencyCode flag = from & AS_KNOWN;
	RatePath   *path = (RatePath *) hash_search(all_paths, &key, HASH_FIND, NULL);
	const Quotes *quotes_from;
	const Quotes *quotes_to;
	Way		   *ways;
	int			nways = 0;
	int			i;

	if (path != NULL)
		return path;
	quotes_from = get_quotes(set, from);
	quotes_to = get_quotes(set, to | flag);
	ways = MemoryContextAlloc(cache_context, sizeof(Way) * (quotes_from->nseries + 2));
	if ((ways[nways].from = find_series(quotes_from, to)) != NULL)
		ways[nways++].to = NULL;
	if ((ways[nways].to = find_series(quotes_to, from & ~AS_KNOWN)) != NULL)
		ways[nways++].from = NULL;
	for (i = 0; i < quotes_from->nseries; i++)
	{
		ways[nways].from = &quotes_from->series[i];
		ways[nways].to = find_series(quotes_to, quotes_from->series[i].base);
		if (ways[nways].to != NULL)
			nways++;
	}
	path = (RatePath *) hash_search(all_paths, &key, HASH_ENTER, NULL);
	path->max_age = sets[set].max_age;
	path->nways = nways;
	path->ways = ways;
	cached_bytes += sizeof(RatePath) + sizeof(Way) * (quotes_from->nseries + 2);
	return path;
}

/* ----------
 * Looking up
 * ----------
 */

/*
 * The last rate on or before a day, as known at an instant, of a series that
 * is not dense; NULL if there is none.
 */
static const Rate *
series_search(const Series *series, int64 days, DateADT on, TimestampTz known_at)
{
	int64		bucket = days >> series->shift;
	int			low = series->nrates - 1;

	if (bucket < series->nbuckets)
	{
		/* rates[low] is on or before the day, rates[high] is after it */
		int			high = series->buckets[bucket];

		low = bucket == 0 ? 0 : series->buckets[bucket - 1] - 1;
		while (high - low > 1)
		{
			int			middle = low + (high - low) / 2;

			if (series->rates[middle].on <= on)
				low = middle;
			else
				high = middle;
		}
	}
	if (series->validity != NULL)
	{
		while (low >= 0 && !(series->validity[low].since <= known_at &&
							 known_at < series->validity[low].until))
			low--;
		if (low < 0)
			return NULL;
	}
	return &series->rates[low];
}

static pg_attribute_always_inline const Rate *
series_find(const Series *series, DateADT on, TimestampTz known_at)
{
	int64		days = (int64) on - series->first;

	if (days < 0)
		return NULL;
	if (likely(series->is_dense))
		return &series->rates[Min(days, series->nrates - 1)];
	return series_search(series, days, on, known_at);
}

static pg_attribute_always_inline RateProblem
way_find(const RatePath *path, const Way *way, DateADT on, TimestampTz known_at,
		 RatePair *result)
{
	result->from = way->from == NULL ? &one : series_find(way->from, on, known_at);
	result->to = way->to == NULL ? &one : series_find(way->to, on, known_at);
	if (result->from == NULL || result->to == NULL)
		return RATE_MISSING;
	result->oldest = way->from == NULL ? result->to->on :
		way->to == NULL ? result->from->on :
		Min(result->from->on, result->to->on);
	if (path->max_age != ANY_AGE &&
		(int64) on - result->oldest > path->max_age)
		return RATE_TOO_OLD;
	return RATE_FOUND;
}

/*
 * Of several ways the one whose older rate is the newest, of equal ones the
 * first.
 */
static RateProblem
best_way(const RatePath *path, DateADT on, TimestampTz known_at, RatePair *result)
{
	RateProblem problem = RATE_MISSING;
	RatePair	pair;
	int			i;

	for (i = 0; i < path->nways; i++)
	{
		RateProblem this_problem = way_find(path, &path->ways[i], on, known_at, &pair);

		if (this_problem == RATE_MISSING)
			continue;
		/* who is found is newer than who is too old, so days alone decide */
		if (problem == RATE_MISSING || pair.oldest > result->oldest)
		{
			*result = pair;
			problem = this_problem;
		}
	}
	return problem;
}

/*
 * Find the path, reading what is needed for it.
 */
static const RatePath *
find_path(RateCall *call, const text *set, CurrencyCode from, CurrencyCode to)
{
	const RatePath *path;
	int			attempt;

	for (attempt = 1;; attempt++)
	{
		uint64		generation;

		(void) watched_find(&tables, false);
		if (checked != tables.found || checked_user != GetUserId())
			check_user();
		if (!watched_is_current(&tables) || cached_bytes > MAX_CACHED_BYTES)
			begin_cache();
		generation = tables.current;
		path = get_path(get_set(set), from, to);
		if (generation == tables.wanted)
			break;
		/* what others have committed meanwhile, both rates must know */
		if (attempt >= MAX_ATTEMPTS)
			ereport(ERROR,
					(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
					 errmsg("exchange rates are being changed all the time"),
					 errhint("Try again.")));
	}

	/* remember it for the rows that follow */
	if (call->epoch != epoch || call->set_size < 0 ||
		call->set_size != (int) VARSIZE_ANY_EXHDR(set) ||
		memcmp(call->set, VARDATA_ANY(set), call->set_size) != 0)
	{
		memset(call->memos, 0, sizeof(call->memos));
		if (call->set_size < (int) VARSIZE_ANY_EXHDR(set))
			call->set = call->set == NULL ?
				MemoryContextAlloc(GetMemoryChunkContext(call), VARSIZE_ANY_EXHDR(set)) :
				repalloc(call->set, VARSIZE_ANY_EXHDR(set));
		call->set_size = VARSIZE_ANY_EXHDR(set);
		memcpy(call->set, VARDATA_ANY(set), call->set_size);
		call->epoch = epoch;
	}
	return path;
}

/* places of a memo, one of which is its own, to begin with */
#define MEMO_OF(from)	(((from) * 0x9E3779B1U) >> 26)
#define MEMO_PLACES		4

/*
 * The rates that lead from one currency to another one on a day, as they were
 * known at an instant, or KNOWN_NOW.
 */
RateProblem
rates_find(RateCall *call, const text *set, CurrencyCode from, CurrencyCode to,
		   DateADT on, TimestampTz known_at, RatePair *result)
{
	RateMemo   *memo;
	const RatePath *path = NULL;
	uint32		place;
	int			i;

	if (unlikely(from == 0 || to == 0 || DATE_NOT_FINITE(on)))
		return RATE_MISSING;
	if (known_at != KNOWN_NOW)
		from |= AS_KNOWN;
	place = MEMO_OF(from);
	if (likely(call->epoch == epoch &&
			   watched_is_current(&tables) &&
			   checked_user == GetUserId() &&
			   call->set_size == (int) VARSIZE_ANY_EXHDR(set) &&
			   memcmp(call->set, VARDATA_ANY(set), call->set_size) == 0))
	{
		for (i = 0; i < MEMO_PLACES; i++)
		{
			memo = &call->memos[(place + i) % RATE_MEMOS];
			if (memo->from == from && memo->to == to)
			{
				path = memo->path;
				break;
			}
		}
	}
	if (unlikely(path == NULL))
	{
		path = find_path(call, set, from, to);
		for (i = 0; i < MEMO_PLACES; i++)
		{
			memo = &call->memos[(place + i) % RATE_MEMOS];
			if (memo->from == 0)
				break;
		}
		if (i == MEMO_PLACES)
			memo = &call->memos[place];
		memo->from = from;
		memo->to = to;
		memo->path = path;
	}
	if (likely(path->nways == 1))
		return way_find(path, &path->ways[0], on, known_at, result);
	return best_way(path, on, known_at, result);
}
