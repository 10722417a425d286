/*-------------------------------------------------------------------------
 *
 * converted.c
 *	  The aggregate converted_sum, and its type of the same name.
 *
 * Owns the total of amounts in one currency: each amount converted and
 * rounded once, then summed up, and beside it what could not be converted.
 * The invariant: deals = converted + unpriced + the deals of all entries, so
 * that nothing is lost in silence, and the order of rows, and how they are
 * split and combined, never shows.  Sums are integers of 128 bits: the total
 * in minor units, native amounts at DECIMAL_SCALE; what does not fit into the
 * fast path is added up by core in the tail.  Must never add amounts of
 * different currencies.
 *
 * The state has entries for up to MAX_ENTRIES currencies; deals of any
 * further ones are counted in one that has no amount.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "forecast/state.h"
#include "lib/stringinfo.h"
#include "libpq/pqformat.h"
#include "mb/pg_wchar.h"
#include "money/money.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/jsonb.h"

PG_FUNCTION_INFO_V1(pipelines_converted_add);
PG_FUNCTION_INFO_V1(pipelines_converted_combine);
PG_FUNCTION_INFO_V1(pipelines_converted_plus);
PG_FUNCTION_INFO_V1(pipelines_converted_in);
PG_FUNCTION_INFO_V1(pipelines_converted_out);
PG_FUNCTION_INFO_V1(pipelines_converted_recv);
PG_FUNCTION_INFO_V1(pipelines_converted_send);
PG_FUNCTION_INFO_V1(pipelines_converted_total);
PG_FUNCTION_INFO_V1(pipelines_converted_currency);
PG_FUNCTION_INFO_V1(pipelines_converted_deals);
PG_FUNCTION_INFO_V1(pipelines_converted_converted);
PG_FUNCTION_INFO_V1(pipelines_converted_unpriced);
PG_FUNCTION_INFO_V1(pipelines_converted_unconverted);
PG_FUNCTION_INFO_V1(pipelines_converted_missing);
PG_FUNCTION_INFO_V1(pipelines_converted_complete);
PG_FUNCTION_INFO_V1(pipelines_converted_oldest);
PG_FUNCTION_INFO_V1(pipelines_converted_jsonb);

/* changes whenever the struct or its text form does */
#define CONVERTED_FORMAT	1

/* currencies without rates that are listed with their amounts */
#define MAX_ENTRIES			256
/* bytes of such a currency, at most */
#define MAX_CODE			23
/* the entry for all others; no currency has dots */
#define OTHERS				"..."

/* counts beyond this are refused where a sum is read or combined */
#define COUNT_MAX			INT64CONST(9007199254740992)

/* what of a currency was not converted */
typedef struct Entry
{
	char		currency[MAX_CODE + 1];
	int64		deals;
	Decimal128	sum;			/* at DECIMAL_SCALE */
	int32		dscale;			/* decimals to show */
	bool		has_odd;		/* is there a numeric in the tail? */
} Entry;

typedef struct Converted
{
	int32		vl_len_;		/* varlena header (do not touch directly!) */
	uint16		format;
	bool		has_odd;		/* has the total a numeric in the tail? */
	int8		minor_units;
	char		currency[4];
	DateADT		oldest;			/* of the rates used; DATEVAL_NOEND: none */
	int64		deals;
	int64		unpriced;
	int64		converted;
	Decimal128	sum;			/* of the total, in minor units */
	uint16		nentries;
	/* sorted by currency; after them the numerics in order, MAXALIGNed */
	Entry		entries[FLEXIBLE_ARRAY_MEMBER];
} Converted;

#define CONVERTED_SIZE(n) \
	MAXALIGN(offsetof(Converted, entries) + sizeof(Entry) * (n))

#ifdef DECIMAL_FAST
/* 10^n, n up to DECIMAL_SCALE */
static const int64 powers[DECIMAL_SCALE + 1] = {1, 10, 100, 1000, 10000};
#endif

/* ----------
 * The state
 * ----------
 */

static Converted *
new_state(const text *to)
{
	Converted  *state;
	int			minor_units = currency_minor_units(to);

	if (minor_units == NO_MINOR_UNITS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("currency \"%s\" has no minor units to round to",
						text_to_cstring(to)),
				 errhint("Convert with pipelines.convert(), and round as you like.")));
	state = (Converted *) palloc0(CONVERTED_SIZE(0));
	SET_VARSIZE(state, CONVERTED_SIZE(0));
	state->format = CONVERTED_FORMAT;
	state->minor_units = minor_units;
	memcpy(state->currency, VARDATA_ANY(to), 3);
	DATE_NOEND(state->oldest);
	return state;
}

/*
 * A state in pieces: entries and the numerics of the tail, each of which may
 * be changed.  odd[0] is that of the total, odd[i + 1] that of entry i.
 */
typedef struct Pieces
{
	Entry		entries[MAX_ENTRIES + 1];
	Numeric		odd[MAX_ENTRIES + 2];
	Converted	head;			/* last: it ends in an array, which is empty here */
} Pieces;

static Pieces *
take_apart(const Converted *state)
{
	Pieces	   *pieces = (Pieces *) palloc0(sizeof(Pieces));
	const char *tail = (const char *) state + CONVERTED_SIZE(state->nentries);
	int			i;

	memcpy(&pieces->head, state, offsetof(Converted, entries));
	memcpy(pieces->entries, state->entries, sizeof(Entry) * state->nentries);
	for (i = -1; i < state->nentries; i++)
	{
		if (i < 0 ? state->has_odd : state->entries[i].has_odd)
		{
			pieces->odd[i + 1] = (Numeric) tail;
			tail += MAXALIGN(VARSIZE_ANY(tail));
		}
	}
	return pieces;
}

static Converted *
put_together(Pieces *pieces)
{
	int			n = pieces->head.nentries;
	Size		size = CONVERTED_SIZE(n);
	Converted  *state;
	char	   *tail;
	int			i;

	pieces->head.has_odd = pieces->odd[0] != NULL;
	for (i = 0; i <= n; i++)
	{
		if (i > 0)
			pieces->entries[i - 1].has_odd = pieces->odd[i] != NULL;
		if (pieces->odd[i] != NULL)
			size += MAXALIGN(VARSIZE_ANY(pieces->odd[i]));
	}
	state = (Converted *) palloc0(size);
	memcpy(state, &pieces->head, offsetof(Converted, entries));
	SET_VARSIZE(state, size);
	memcpy(state->entries, pieces->entries, sizeof(Entry) * n);
	tail = (char *) state + CONVERTED_SIZE(n);
	for (i = 0; i <= n; i++)
	{
		if (pieces->odd[i] != NULL)
		{
			memcpy(tail, pieces->odd[i], VARSIZE_ANY(pieces->odd[i]));
			tail += MAXALIGN(VARSIZE_ANY(pieces->odd[i]));
		}
	}
	pfree(pieces);
	return state;
}

/* The place of a currency among entries, or where it belongs. */
static int
find_entry(const Entry *entries, int n, const char *currency, bool *found)
{
	int			low = 0;
	int			high = n;

	while (low < high)
	{
		int			middle = (low + high) / 2;
		int			c = strcmp(entries[middle].currency, currency);

		if (c == 0)
		{
			*found = true;
			return middle;
		}
		if (c < 0)
			low = middle + 1;
		else
			high = middle;
	}
	*found = false;
	return low;
}

/*
 * The place of the entry of a currency among the pieces, made if need be.
 */
static int
get_entry(Pieces *pieces, const char *currency)
{
	bool		found;
	int			n = pieces->head.nentries;
	int			place = find_entry(pieces->entries, n, currency, &found);

	if (found)
		return place;
	if (n >= MAX_ENTRIES && strcmp(currency, OTHERS) != 0)
		return get_entry(pieces, OTHERS);
	memmove(&pieces->entries[place + 1], &pieces->entries[place],
			sizeof(Entry) * (n - place));
	memmove(&pieces->odd[place + 2], &pieces->odd[place + 1],
			sizeof(Numeric) * (n - place));
	memset(&pieces->entries[place], 0, sizeof(Entry));
	strlcpy(pieces->entries[place].currency, currency, MAX_CODE + 1);
	pieces->odd[place + 1] = NULL;
	pieces->head.nentries++;
	return place;
}

static void
add_odd(Numeric *sum, Numeric value)
{
	*sum = *sum == NULL ? value : decimal_add(*sum, value);
}

/* The state that a transition may change. */
static Converted *
transition_state(FunctionCallInfo fcinfo)
{
	Converted  *state = (Converted *) state_argument(PG_GETARG_DATUM(0));
	Converted  *copy;

	if (likely(state_is_ours(fcinfo)))
		return state;
	copy = (Converted *) palloc(VARSIZE(state));
	memcpy(copy, state, VARSIZE(state));
	return copy;
}

/* ----------
 * The aggregate
 * ----------
 */

/* a currency as it is listed, clipped where it is no code at all */
static void
listed_currency(const text *currency, char *result)
{
	int			size = currency == NULL ? 0 : VARSIZE_ANY_EXHDR(currency);

	if (size > MAX_CODE)
		size = pg_mbcliplen(VARDATA_ANY(currency), size, MAX_CODE);
	if (size > 0)
		memcpy(result, VARDATA_ANY(currency), size);
	result[size] = '\0';
}

/* An amount that can't be converted. */
static Converted *
add_missing(Converted *state, Datum amount, const text *currency)
{
	char		listed[MAX_CODE + 1];
	Pieces	   *pieces;
	Entry	   *entry;
	bool		found;
	int			place;
	int64		value;
	int			dscale;
	bool		fits = decimal_decode(amount, &value, &dscale);

	listed_currency(currency, listed);
	place = find_entry(state->entries, state->nentries, listed, &found);
	if (likely(found && fits))
	{
		entry = &state->entries[place];
		entry->deals++;
		entry->dscale = Max(entry->dscale, dscale);
		decimal128_add_value(&entry->sum, value);
		return state;
	}

	pieces = take_apart(state);
	place = get_entry(pieces, listed);
	entry = &pieces->entries[place];
	entry->deals++;
	if (strcmp(entry->currency, OTHERS) != 0)
	{
		if (fits)
		{
			entry->dscale = Max(entry->dscale, dscale);
			decimal128_add_value(&entry->sum, value);
		}
		else
			add_odd(&pieces->odd[place + 1], DatumGetNumeric(amount));
	}
	return put_together(pieces);
}

/* An amount, converted and rounded, that the fast path could not take. */
static Converted *
add_odd_total(Converted *state, Numeric amount)
{
	Pieces	   *pieces = take_apart(state);

	add_odd(&pieces->odd[0], money_round(amount, state->minor_units));
	return put_together(pieces);
}

#ifdef DECIMAL_FAST

/* value / divisor, halves away from zero, as round() does */
static inline int64
divide_rounding(int64 value, int64 divisor)
{
	int64		result = value / divisor;
	int64		rest = value % divisor;

	if (rest >= divisor - rest)
		return result + 1;
	if (-rest >= divisor + rest)
		return result - 1;
	return result;
}

#endif

/* The transition function: state, amount, currency, to, on, rate set [, known at]. */
Datum
pipelines_converted_add(PG_FUNCTION_ARGS)
{
	Converted  *state;
	const text *to;
	const text *currency;
	RatePair	rates;

	if (unlikely(PG_ARGISNULL(3)))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the currency to convert to must not be null")));
	to = PG_GETARG_TEXT_PP(3);
	if (unlikely(PG_ARGISNULL(0)))
		state = new_state(to);
	else
	{
		state = transition_state(fcinfo);
		if (unlikely(VARSIZE_ANY_EXHDR(to) != 3 ||
					 memcmp(state->currency, VARDATA_ANY(to), 3) != 0))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("amounts in \"%s\" and in \"%s\" can't be added",
							state->currency, text_to_cstring(to)),
					 errhint("Group by the currency that is converted to.")));
	}

	state->deals++;
	if (PG_ARGISNULL(1))
	{
		state->unpriced++;
		PG_RETURN_POINTER(state);
	}
	currency = PG_ARGISNULL(2) ? NULL : PG_GETARG_TEXT_PP(2);
	if (currency != NULL && texts_equal(currency, to))
	{
#ifdef DECIMAL_FAST
		int64		value;
		int			dscale;

		if (likely(decimal_decode(PG_GETARG_DATUM(1), &value, &dscale)))
			decimal128_add_value(&state->sum,
								 divide_rounding(value, powers[DECIMAL_SCALE - state->minor_units]));
		else
#endif
			state = add_odd_total(state, PG_GETARG_NUMERIC(1));
	}
	else if (currency != NULL && !PG_ARGISNULL(4) && !PG_ARGISNULL(5) &&
			 rates_find(rates_call(fcinfo), PG_GETARG_TEXT_PP(5),
						currency_code(currency), currency_code(to),
						PG_GETARG_DATEADT(4),
						PG_NARGS() > 6 && !PG_ARGISNULL(6) ?
						PG_GETARG_TIMESTAMPTZ(6) : KNOWN_NOW,
						&rates) == RATE_FOUND)
	{
#ifdef DECIMAL_FAST
		int64		value;
		int			dscale;
		Quotient	quotient;

		if (likely(decimal_decode(PG_GETARG_DATUM(1), &value, &dscale) &&
				   quotient_begin(&quotient, value, rates.from, rates.to)))
		{
			int64		power = powers[state->minor_units];
			int128		units = (int128) quotient.whole * power;

			units += quotient_decimals(&quotient, power);
			if (quotient_rounds_up(&quotient))
				units++;
			state->sum += quotient.negative ? -units : units;
		}
		else
#endif
			state = add_odd_total(state, money_convert(PG_GETARG_DATUM(1), &rates));
		if (rates.oldest < state->oldest)
			state->oldest = rates.oldest;
	}
	else
	{
		state = add_missing(state, PG_GETARG_DATUM(1), currency);
		PG_RETURN_POINTER(state);
	}
	state->converted++;
	PG_RETURN_POINTER(state);
}

static void
refuse_range(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
			 errmsg("converted sum out of range")));
}

/* Two states as one, in the current memory context. */
static Converted *
combine(const Converted *a, const Converted *b)
{
	Pieces	   *pieces = take_apart(a);
	Pieces	   *others = take_apart(b);
	Converted  *head = &pieces->head;
	int			i;

	if (memcmp(a->currency, b->currency, sizeof(a->currency)) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("amounts in \"%s\" and in \"%s\" can't be added",
						a->currency, b->currency),
				 errhint("Group by the currency that is converted to.")));
	head->deals += b->deals;
	head->unpriced += b->unpriced;
	head->converted += b->converted;
	head->oldest = Min(a->oldest, b->oldest);
	if (head->deals > COUNT_MAX || !decimal128_add(&head->sum, &b->sum))
		refuse_range();
	if (others->odd[0] != NULL)
		add_odd(&pieces->odd[0], others->odd[0]);
	for (i = 0; i < b->nentries; i++)
	{
		const Entry *from = &others->entries[i];
		int			place = get_entry(pieces, from->currency);
		Entry	   *entry = &pieces->entries[place];

		entry->deals += from->deals;
		if (strcmp(entry->currency, OTHERS) == 0)
			continue;
		entry->dscale = Max(entry->dscale, from->dscale);
		if (!decimal128_add(&entry->sum, &from->sum))
			refuse_range();
		if (others->odd[i + 1] != NULL)
			add_odd(&pieces->odd[place + 1], others->odd[i + 1]);
	}
	pfree(others);
	return put_together(pieces);
}

Datum
pipelines_converted_combine(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0) && PG_ARGISNULL(1))
		PG_RETURN_NULL();
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
	{
		const Converted *only = (const Converted *)
			state_argument(PG_GETARG_DATUM(PG_ARGISNULL(0) ? 1 : 0));
		Converted  *copy;

		if (!PG_ARGISNULL(0))
			PG_RETURN_DATUM(PG_GETARG_DATUM(0));
		copy = (Converted *) palloc(VARSIZE(only));
		memcpy(copy, only, VARSIZE(only));
		PG_RETURN_POINTER(copy);
	}
	PG_RETURN_POINTER(combine((const Converted *) state_argument(PG_GETARG_DATUM(0)),
							  (const Converted *) state_argument(PG_GETARG_DATUM(1))));
}

Datum
pipelines_converted_plus(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(combine((const Converted *) state_argument(PG_GETARG_DATUM(0)),
							  (const Converted *) state_argument(PG_GETARG_DATUM(1))));
}

/* ----------
 * What it consists of
 * ----------
 */

static const Converted *
get_argument(FunctionCallInfo fcinfo)
{
	return (const Converted *) state_argument(PG_GETARG_DATUM(0));
}

static Numeric
total(const Converted *state)
{
	Numeric		result;
	Pieces	   *pieces;

	if (state->converted == 0)
		return NULL;
	result = decimal128_to_numeric(&state->sum, state->minor_units, state->minor_units);
	if (!state->has_odd)
		return result;
	pieces = take_apart(state);
	return decimal_add(result, pieces->odd[0]);
}

/* the native amount of an entry; NULL where it has none */
static Numeric
entry_amount(const Pieces *pieces, int i)
{
	const Entry *entry = &pieces->entries[i];
	Numeric		sum;

	if (strcmp(entry->currency, OTHERS) == 0)
		return NULL;
	sum = decimal128_to_numeric(&entry->sum, DECIMAL_SCALE, entry->dscale);
	return pieces->odd[i + 1] == NULL ? sum : decimal_add(sum, pieces->odd[i + 1]);
}

static int64
unconverted(const Converted *state)
{
	return state->deals - state->converted - state->unpriced;
}

Datum
pipelines_converted_total(PG_FUNCTION_ARGS)
{
	Numeric		result = total(get_argument(fcinfo));

	if (result == NULL)
		PG_RETURN_NULL();
	PG_RETURN_NUMERIC(result);
}

Datum
pipelines_converted_currency(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(get_argument(fcinfo)->currency));
}

Datum
pipelines_converted_deals(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(get_argument(fcinfo)->deals);
}

Datum
pipelines_converted_converted(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(get_argument(fcinfo)->converted);
}

Datum
pipelines_converted_unpriced(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(get_argument(fcinfo)->unpriced);
}

Datum
pipelines_converted_unconverted(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(unconverted(get_argument(fcinfo)));
}

Datum
pipelines_converted_complete(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(unconverted(get_argument(fcinfo)) == 0);
}

Datum
pipelines_converted_oldest(PG_FUNCTION_ARGS)
{
	const Converted *state = get_argument(fcinfo);

	if (DATE_NOT_FINITE(state->oldest))
		PG_RETURN_NULL();
	PG_RETURN_DATEADT(state->oldest);
}

static void
append_number(StringInfo buf, Numeric value)
{
	if (value == NULL)
		appendStringInfoString(buf, "null");
	else if (decimal_is_finite(value))
		appendStringInfoString(buf, decimal_to_text(value));
	else
		appendStringInfo(buf, "\"%s\"", decimal_to_text(value));
}

static void
append_missing(StringInfo buf, const Converted *state)
{
	Pieces	   *pieces = take_apart(state);
	int			i;

	appendStringInfoChar(buf, '{');
	for (i = 0; i < state->nentries; i++)
	{
		if (i > 0)
			appendStringInfoString(buf, ", ");
		escape_json(buf, pieces->entries[i].currency);
		appendStringInfo(buf, ": {\"deals\": " INT64_FORMAT ", \"amount\": ",
						 pieces->entries[i].deals);
		append_number(buf, entry_amount(pieces, i));
		appendStringInfoChar(buf, '}');
	}
	appendStringInfoChar(buf, '}');
	pfree(pieces);
}

Datum
pipelines_converted_missing(PG_FUNCTION_ARGS)
{
	StringInfoData buf;

	initStringInfo(&buf);
	append_missing(&buf, get_argument(fcinfo));
	PG_RETURN_DATUM(DirectFunctionCall1(jsonb_in, CStringGetDatum(buf.data)));
}

Datum
pipelines_converted_jsonb(PG_FUNCTION_ARGS)
{
	const Converted *state = get_argument(fcinfo);
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfo(&buf, "{\"currency\": \"%s\", \"deals\": " INT64_FORMAT ", \"converted\": " INT64_FORMAT
					 ", \"unpriced\": " INT64_FORMAT ", \"unconverted\": " INT64_FORMAT ", \"complete\": %s, \"total\": ",
					 state->currency, state->deals, state->converted, state->unpriced,
					 unconverted(state), unconverted(state) == 0 ? "true" : "false");
	append_number(&buf, total(state));
	appendStringInfoString(&buf, ", \"oldest_rate_on\": ");
	if (DATE_NOT_FINITE(state->oldest))
		appendStringInfoString(&buf, "null");
	else
	{
		int			year;
		int			month;
		int			day;

		j2date(state->oldest + POSTGRES_EPOCH_JDATE, &year, &month, &day);
		if (year > 0)
			appendStringInfo(&buf, "\"%04d-%02d-%02d\"", year, month, day);
		else
			appendStringInfo(&buf, "\"%04d-%02d-%02d BC\"", 1 - year, month, day);
	}
	appendStringInfoString(&buf, ", \"unconverted_amounts\": ");
	append_missing(&buf, state);
	appendStringInfoChar(&buf, '}');
	PG_RETURN_DATUM(DirectFunctionCall1(jsonb_in, CStringGetDatum(buf.data)));
}

/* ----------
 * Text and binary form: format, currency, deals, unpriced, converted, oldest
 * day (days since 2000, '-' for none), sum in minor units, the rest of it ('-'
 * for none), number of entries; per entry currency (bytes other than letters
 * and digits as %XX, '-' for none), deals, sum, decimals to show, the rest of
 * it.  Separated by blanks, ASCII only, without regard to any setting.
 * ----------
 */

static void
append_sum(StringInfo buf, const Decimal128 *sum)
{
	Numeric		number = decimal128_to_numeric(sum, 0, 0);

	appendStringInfo(buf, " %s", decimal_to_text(number));
}

static void
append_odd(StringInfo buf, Numeric odd)
{
	appendStringInfo(buf, " %s", odd == NULL ? "-" : decimal_to_text(odd));
}

static char *
to_text(const Converted *state)
{
	StringInfoData buf;
	Pieces	   *pieces = take_apart(state);
	int			i;

	initStringInfo(&buf);
	appendStringInfo(&buf, "%d %s " INT64_FORMAT " " INT64_FORMAT " " INT64_FORMAT,
					 CONVERTED_FORMAT, state->currency, state->deals,
					 state->unpriced, state->converted);
	if (DATE_NOT_FINITE(state->oldest))
		appendStringInfoString(&buf, " -");
	else
		appendStringInfo(&buf, " %d", state->oldest);
	append_sum(&buf, &state->sum);
	append_odd(&buf, pieces->odd[0]);
	appendStringInfo(&buf, " %d", state->nentries);
	for (i = 0; i < state->nentries; i++)
	{
		const Entry *entry = &pieces->entries[i];
		const char *at;

		appendStringInfoChar(&buf, ' ');
		if (entry->currency[0] == '\0')
			appendStringInfoChar(&buf, '-');
		for (at = entry->currency; *at != '\0'; at++)
		{
			unsigned char c = (unsigned char) *at;

			if ((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
				appendStringInfoChar(&buf, c);
			else
				appendStringInfo(&buf, "%%%02X", c);
		}
		appendStringInfo(&buf, " " INT64_FORMAT, entry->deals);
		append_sum(&buf, &entry->sum);
		appendStringInfo(&buf, " %d", entry->dscale);
		append_odd(&buf, pieces->odd[i + 1]);
	}
	pfree(pieces);
	return buf.data;
}

/* what is left of a text form */
typedef struct Reader
{
	char	   *rest;
	const char *problem;		/* NULL: none so far */
} Reader;

static char *
next_word(Reader *reader, const char *what)
{
	char	   *word = reader->rest;
	char	   *end = word + strcspn(word, " ");

	if (end == word && reader->problem == NULL)
		reader->problem = what;
	reader->rest = *end == '\0' ? end : end + 1;
	*end = '\0';
	return word;
}

static int64
next_integer(Reader *reader, int64 low, int64 high, const char *what)
{
	char	   *word = next_word(reader, what);
	char	   *end;
	int64		result;

	if (reader->problem != NULL)
		return low;
	errno = 0;
	result = strtoll(word, &end, 10);
	if (*end != '\0' || errno != 0 || result < low || result > high)
	{
		reader->problem = what;
		return low;
	}
	return result;
}

/* a number without more than digits, sign, point; or what numeric_out() shows else */
static Numeric
next_number(Reader *reader, bool may_lack, const char *what)
{
	char	   *word = next_word(reader, what);

	if (reader->problem != NULL || (may_lack && strcmp(word, "-") == 0))
		return NULL;
	if (strspn(word, "-0123456789.") != strlen(word) || strlen(word) > 100000 ||
		strspn(word, "-.") == strlen(word) || strchr(word + 1, '-') != NULL)
	{
		if (!may_lack || (strcmp(word, "NaN") != 0 && strcmp(word, "Infinity") != 0 &&
						  strcmp(word, "-Infinity") != 0))
		{
			reader->problem = what;
			return NULL;
		}
	}
	return decimal_from_text(word);
}

static void
next_sum(Reader *reader, Decimal128 *sum, const char *what)
{
	Numeric		number = next_number(reader, false, what);

	if (reader->problem == NULL && !decimal128_from_numeric(number, 0, sum))
	{
#ifndef DECIMAL_FAST
		if (decimal_compare(number, decimal_zero()) == 0)
			return;
#endif
		reader->problem = what;
	}
}

static void
next_currency(Reader *reader, char *currency)
{
	const char *what = "currency";
	char	   *word = next_word(reader, what);
	int			n = 0;

	if (reader->problem != NULL)
		return;
	if (strcmp(word, "-") == 0)
		word++;
	for (; *word != '\0' && n < MAX_CODE; word++)
	{
		unsigned int c = (unsigned char) *word;

		if (c == '%')
		{
			if (sscanf(word, "%%%2X", &c) != 1 || word[1] == '\0' || word[2] == '\0' || c == 0)
				break;
			word += 2;
		}
		else if (!(c >= 'A' && c <= 'Z') && !(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9'))
			break;
		currency[n++] = (char) c;
	}
	currency[n] = '\0';
	if (*word != '\0' || !pg_verify_mbstr(GetDatabaseEncoding(), currency, n, true))
		reader->problem = what;
}

/* NULL, and what is wrong, for a text that is none of ours */
static Converted *
from_text(char *text, const char **problem)
{
	Reader		reader = {text, NULL};
	Pieces	   *pieces = (Pieces *) palloc0(sizeof(Pieces));
	Converted  *head = &pieces->head;
	int64		deals = 0;
	int			n;
	int			i;
	char	   *word;

	if (text[0] != '\0' && text[strlen(text) - 1] == ' ')
		reader.problem = "end";
	(void) next_integer(&reader, CONVERTED_FORMAT, CONVERTED_FORMAT, "format");
	head->format = CONVERTED_FORMAT;
	word = next_word(&reader, "currency");
	if (reader.problem == NULL)
	{
		Converted  *fresh;

		if (strlen(word) != 3 || strspn(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != 3)
		{
			*problem = "currency";
			return NULL;
		}
		fresh = new_state(cstring_to_text(word));
		head->minor_units = fresh->minor_units;
		strlcpy(head->currency, word, sizeof(head->currency));
	}
	head->deals = next_integer(&reader, 0, COUNT_MAX, "number of deals");
	head->unpriced = next_integer(&reader, 0, COUNT_MAX, "number of deals");
	head->converted = next_integer(&reader, 0, COUNT_MAX, "number of deals");
	if (strncmp(reader.rest, "- ", 2) == 0)
	{
		reader.rest += 2;
		DATE_NOEND(head->oldest);
	}
	else
	{
		head->oldest = (DateADT) next_integer(&reader, PG_INT32_MIN, PG_INT32_MAX, "day");
		if (!IS_VALID_DATE(head->oldest) && reader.problem == NULL)
			reader.problem = "day";
	}
	next_sum(&reader, &head->sum, "sum");
	pieces->odd[0] = next_number(&reader, true, "sum");
	n = (int) next_integer(&reader, 0, MAX_ENTRIES + 1, "number of currencies");
	for (i = 0; i < n && reader.problem == NULL; i++)
	{
		Entry	   *entry = &pieces->entries[i];

		next_currency(&reader, entry->currency);
		entry->deals = next_integer(&reader, 1, COUNT_MAX, "number of deals");
		next_sum(&reader, &entry->sum, "sum");
		entry->dscale = (int32) next_integer(&reader, 0, DECIMAL_SCALE, "scale");
		pieces->odd[i + 1] = next_number(&reader, true, "sum");
		deals += entry->deals;
		if (reader.problem == NULL && i > 0 &&
			strcmp(pieces->entries[i - 1].currency, entry->currency) >= 0)
			reader.problem = "order of currencies";
#ifdef DECIMAL_FAST
		/* what is not shown is zero */
		if (reader.problem == NULL && entry->sum % powers[DECIMAL_SCALE - entry->dscale] != 0)
			reader.problem = "scale";
#endif
	}
	head->nentries = n;
	if (reader.problem == NULL && *reader.rest != '\0')
		reader.problem = "end";
	if (reader.problem == NULL && head->deals - head->unpriced - head->converted != deals)
		reader.problem = "number of deals";
	*problem = reader.problem;
	return reader.problem == NULL ? put_together(pieces) : NULL;
}

Datum
pipelines_converted_in(PG_FUNCTION_ARGS)
{
	char	   *input = PG_GETARG_CSTRING(0);
	const char *problem;
	Converted  *state = from_text(pstrdup(input), &problem);

	if (state == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("invalid input syntax for type %s: \"%s\"",
						"pipelines.converted_sum", input),
				 errdetail("The %s can't be right.", problem)));
	PG_RETURN_POINTER(state);
}

Datum
pipelines_converted_out(PG_FUNCTION_ARGS)
{
	PG_RETURN_CSTRING(to_text(get_argument(fcinfo)));
}

Datum
pipelines_converted_recv(PG_FUNCTION_ARGS)
{
	StringInfo	buffer = (StringInfo) PG_GETARG_POINTER(0);
	const char *problem;
	Converted  *state = from_text(pstrdup(pq_getmsgstring(buffer)), &problem);

	if (state == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("invalid binary form of type %s", "pipelines.converted_sum"),
				 errdetail("The %s can't be right.", problem)));
	PG_RETURN_POINTER(state);
}

Datum
pipelines_converted_send(PG_FUNCTION_ARGS)
{
	StringInfoData buffer;

	pq_begintypsend(&buffer);
	pq_sendstring(&buffer, to_text(get_argument(fcinfo)));
	PG_RETURN_BYTEA_P(pq_endtypsend(&buffer));
}
