/*-------------------------------------------------------------------------
 *
 * sums.c
 *	  Counts and exact sums for each of few groups of very many rows.
 *
 * Owns the aggregate _sums(), which groups by its first arguments and adds up
 * the others, _tenths(), which says of numerics where the largest tenth begins
 * instead, and _sums_rows(), which shows what came of it.  It is what GROUP BY
 * with count() and sum() or percentile_disc(0.9) says, for reports that read
 * all deals or a whole history: there the executor takes longer to find the
 * group of a row, and to add to each sum with a call of its own, than to read
 * the row.
 *
 * Invariant: a sum is that of numeric, with the decimals that numeric shows,
 * whatever order rows come in; of float8 it is as exact as sum() is.  Keys are
 * one group when their bytes are the same, whatever their collation says: who
 * asks groups again by what is shown.
 *
 * All groups are in memory, some hundred bytes each: it must never be asked for
 * groups that are as many as rows.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "funcapi.h"
#include "insight/amounts.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "values/decimal.h"
#include "values/texts.h"

PG_FUNCTION_INFO_V1(pipelines_sums_add);
PG_FUNCTION_INFO_V1(pipelines_tenths_add);
PG_FUNCTION_INFO_V1(pipelines_sums_combine);
PG_FUNCTION_INFO_V1(pipelines_sums_rows);

#define MAX_KEYS		16
#define MAX_VALUES		16
#define FIRST_SLOTS		64		/* a power of two */

/* more than any count of rows */
#define COUNT_MAX		INT64CONST(9007199254740992)

/* what is grouped by, and what is added up; written into flat forms */
typedef enum SumKind
{
	SUM_BOOLEAN = 1,			/* as a value: how often it is true */
	SUM_INTEGER,				/* only keys */
	SUM_BIGINT,
	SUM_TEXT,
	SUM_NUMERIC,				/* only values */
	SUM_FLOAT,
	SUM_AMOUNTS					/* numerics, of which the largest tenth is wanted */
} SumKind;

typedef struct SumShape
{
	int32		nkeys;
	int32		nvalues;
	uint8		kinds[MAX_KEYS + MAX_VALUES];
} SumShape;

typedef struct SumValue
{
	int64		n;				/* not null; of booleans: true */
	Decimal128	sum;			/* of numerics, at DECIMAL_SCALE */
	Numeric		odd;			/* of those that don't fit there, or NULL */
	double		number;			/* of float8 */
	int32		dscale;			/* decimals that sum shows */
	Amounts    *amounts;		/* those that were gathered, or NULL */
} SumValue;

typedef union SumKey
{
	int64		number;
	text	   *text;
} SumKey;

typedef struct SumGroup
{
	uint32		hash;
	uint32		nulls;			/* a bit for each key that is NULL */
	int64		n;
	SumKey		keys[MAX_KEYS]; /* as many as there are; then the values */
} SumGroup;

#define VALUES_OFFSET(shape)	MAXALIGN(offsetof(SumGroup, keys) + sizeof(SumKey) * (shape)->nkeys)
#define GROUP_VALUES(group, shape)	((SumValue *) ((char *) (group) + VALUES_OFFSET(shape)))

typedef struct Sums
{
	ExpandedState state;
	SumShape	shape;			/* without keys and values: nothing was seen */
	uint32		ngroups;
	uint32		nslots;
	SumGroup  **slots;			/* open addressing; NULL: free */
} Sums;

static void write_sums(FlatWriter *writer, ExpandedState *state);
static void merge_sums(FlatReader *reader, ExpandedState *state);

static const StateKind sums_kind = {
	.name = "pipelines._sums",
	.format = 0x50536D01,
	.size = sizeof(Sums),
	.write = write_sums,
	.merge = merge_sums
};

/* ----------
 * Shapes
 * ----------
 */

static inline bool
shape_is_known(const SumShape *shape)
{
	return shape->nkeys + shape->nvalues > 0;
}

static inline bool
shape_is(const SumShape *a, const SumShape *b)
{
	return a->nkeys == b->nkeys && a->nvalues == b->nvalues &&
		memcmp(a->kinds, b->kinds, a->nkeys + a->nvalues) == 0;
}

static bool
kind_fits(uint8 kind, bool key)
{
	switch (kind)
	{
		case SUM_BOOLEAN:
			return true;
		case SUM_INTEGER:
		case SUM_BIGINT:
		case SUM_TEXT:
			return key;
		case SUM_NUMERIC:
		case SUM_FLOAT:
		case SUM_AMOUNTS:
			return !key;
		default:
			return false;
	}
}

static uint8
kind_of_type(Oid type)
{
	switch (type)
	{
		case BOOLOID:
			return SUM_BOOLEAN;
		case INT4OID:
			return SUM_INTEGER;
		case INT8OID:
			return SUM_BIGINT;
		case TEXTOID:
			return SUM_TEXT;
		case NUMERICOID:
			return SUM_NUMERIC;
		case FLOAT8OID:
			return SUM_FLOAT;
		default:
			return 0;
	}
}

static Oid
type_of_kind(uint8 kind)
{
	static const Oid types[] = {InvalidOid, BOOLOID, INT4OID, INT8OID, TEXTOID, NUMERICOID, FLOAT8OID, NUMERICOID};

	return types[kind];
}

/* What the arguments of a call are, found out once for all calls. */
static const SumShape *
shape_of_call(FunctionCallInfo fcinfo, SumKind of_numeric)
{
	SumShape   *shape = fcinfo->flinfo->fn_extra;
	int			n = PG_NARGS() - 2;
	int32		nkeys;

	if (likely(shape != NULL && !PG_ARGISNULL(1) && PG_GETARG_INT32(1) == shape->nkeys))
		return shape;

	nkeys = PG_ARGISNULL(1) ? -1 : PG_GETARG_INT32(1);
	if (nkeys < 0 || nkeys > Min(n, MAX_KEYS) || n - nkeys > MAX_VALUES || n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("there can't be so many keys and values"),
				 errdetail("%d keys of %d arguments; there are at most %d keys and %d values.",
						   nkeys, n, MAX_KEYS, MAX_VALUES),
				 errhint("The first argument says how many of the others are keys.")));
	shape = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(SumShape));
	shape->nkeys = nkeys;
	shape->nvalues = n - nkeys;
	for (int i = 0; i < n; i++)
	{
		Oid			type = get_fn_expr_argtype(fcinfo->flinfo, i + 2);

		shape->kinds[i] = type == NUMERICOID ? of_numeric : kind_of_type(type);
		if (!kind_fits(shape->kinds[i], i < nkeys))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 i < nkeys ? errmsg("sums can't be grouped by type %s", OidIsValid(type) ? format_type_be(type) : "unknown") :
					 errmsg("values of type %s can't be added up", OidIsValid(type) ? format_type_be(type) : "unknown"),
					 errhint("Keys are boolean, integer, bigint or text; values are boolean, numeric or double precision.")));
	}
	fcinfo->flinfo->fn_extra = shape;
	return shape;
}

/* ----------
 * Groups
 * ----------
 */

static inline uint64
mix(uint64 hash, uint64 value)
{
	hash = (hash ^ value) * UINT64CONST(0x9E3779B97F4A7C15);
	return hash ^ (hash >> 32);
}

static inline uint64
hash_text(const text *value)
{
	Size		length = VARSIZE_ANY_EXHDR(value);
	uint64		word = 0;

	if (length > sizeof(word))
		return hash_bytes((const unsigned char *) VARDATA_ANY(value), (int) length);
	memcpy(&word, VARDATA_ANY(value), length);
	return word ^ (uint64) length << 56;
}

static uint32
hash_keys(const SumShape *shape, const SumKey *keys, uint32 nulls)
{
	uint64		hash = nulls;

	for (int i = 0; i < shape->nkeys; i++)
		if ((nulls & (1U << i)) == 0)
			hash = mix(hash, shape->kinds[i] == SUM_TEXT ? hash_text(keys[i].text) : (uint64) keys[i].number);
	return (uint32) hash;
}

static bool
group_is(const SumGroup *group, const SumShape *shape, const SumKey *keys, uint32 nulls)
{
	if (group->nulls != nulls)
		return false;
	for (int i = 0; i < shape->nkeys; i++)
	{
		if ((nulls & (1U << i)) != 0)
			continue;
		if (shape->kinds[i] == SUM_TEXT ?
			!texts_equal(group->keys[i].text, keys[i].text) :
			group->keys[i].number != keys[i].number)
			return false;
	}
	return true;
}

static void
more_slots(Sums *sums)
{
	uint32		nslots = Max(FIRST_SLOTS, sums->nslots * 2);
	SumGroup  **slots;

	if (nslots < sums->nslots)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("there are too many groups to be added up at once"),
				 errhint("Group by what has fewer values.")));
	slots = MemoryContextAllocExtended(STATE_CONTEXT(sums), sizeof(SumGroup *) * (Size) nslots,
									   MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (uint32 i = 0; i < sums->nslots; i++)
	{
		uint32		slot;

		if (sums->slots[i] == NULL)
			continue;
		slot = sums->slots[i]->hash & (nslots - 1);
		while (slots[slot] != NULL)
			slot = (slot + 1) & (nslots - 1);
		slots[slot] = sums->slots[i];
	}
	if (sums->slots != NULL)
		pfree(sums->slots);
	sums->slots = slots;
	sums->nslots = nslots;
}

static SumGroup *
make_group(Sums *sums, const SumKey *keys, uint32 nulls, uint32 hash)
{
	const SumShape *shape = &sums->shape;
	MemoryContext old = MemoryContextSwitchTo(STATE_CONTEXT(sums));
	SumGroup   *group = palloc0(VALUES_OFFSET(shape) + sizeof(SumValue) * shape->nvalues);

	group->hash = hash;
	group->nulls = nulls;
	for (int i = 0; i < shape->nkeys; i++)
	{
		if ((nulls & (1U << i)) != 0)
			continue;
		if (shape->kinds[i] == SUM_TEXT)
		{
			Size		size = VARSIZE_ANY(keys[i].text);

			group->keys[i].text = palloc(size);
			memcpy(group->keys[i].text, keys[i].text, size);
		}
		else
			group->keys[i].number = keys[i].number;
	}
	MemoryContextSwitchTo(old);
	return group;
}

/* the group of these keys, which is made if there is none yet */
static SumGroup *
find_group(Sums *sums, const SumKey *keys, uint32 nulls)
{
	uint32		hash = hash_keys(&sums->shape, keys, nulls);
	uint32		steps = 0;
	uint32		slot;

	if (unlikely(sums->ngroups >= sums->nslots / 2))
		more_slots(sums);
	slot = hash & (sums->nslots - 1);
	while (sums->slots[slot] != NULL)
	{
		SumGroup   *group = sums->slots[slot];

		if (likely(group->hash == hash && group_is(group, &sums->shape, keys, nulls)))
			return group;
		slot = (slot + 1) & (sums->nslots - 1);
		/* keys may have been chosen so that they collide */
		if (unlikely(++steps % 1024 == 0))
			CHECK_FOR_INTERRUPTS();
	}
	sums->slots[slot] = make_group(sums, keys, nulls, hash);
	sums->ngroups++;
	return sums->slots[slot];
}

/* what doesn't fit into 128 bits is added by numeric */
static void
add_odd(Sums *sums, SumValue *value, Numeric number)
{
	MemoryContext old = MemoryContextSwitchTo(STATE_CONTEXT(sums));
	Numeric		before = value->odd;

	value->odd = decimal_add(before == NULL ? decimal_zero() : before, number);
	if (before != NULL)
		pfree(before);
	MemoryContextSwitchTo(old);
}

/* what is gathered of a value, from now on if nothing was yet */
static inline Amounts *
value_amounts(Sums *sums, SumValue *value)
{
	if (unlikely(value->amounts == NULL))
		value->amounts = MemoryContextAllocZero(STATE_CONTEXT(sums), sizeof(Amounts));
	return value->amounts;
}

/* the transition: a row is added to its group; what is a numeric to it? */
static Datum
add_row(FunctionCallInfo fcinfo, SumKind of_numeric)
{
	const SumShape *shape = shape_of_call(fcinfo, of_numeric);
	Sums	   *sums = state_to_change(&sums_kind, fcinfo);
	SumKey		keys[MAX_KEYS];
	uint32		nulls = 0;
	SumGroup   *group;
	SumValue   *value;
	int			arg = 2;

	if (unlikely(!shape_is(&sums->shape, shape)))
	{
		if (shape_is_known(&sums->shape))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("sums of different keys and values can't be put together"),
					 errhint("Give the arguments the types that they had in the calls before.")));
		sums->shape = *shape;
	}

	for (int i = 0; i < shape->nkeys; i++, arg++)
	{
		if (PG_ARGISNULL(arg))
		{
			nulls |= 1U << i;
			continue;
		}
		switch (shape->kinds[i])
		{
			case SUM_BOOLEAN:
				keys[i].number = PG_GETARG_BOOL(arg);
				break;
			case SUM_INTEGER:
				keys[i].number = PG_GETARG_INT32(arg);
				break;
			case SUM_BIGINT:
				keys[i].number = PG_GETARG_INT64(arg);
				break;
			default:
				keys[i].text = PG_GETARG_TEXT_PP(arg);
				break;
		}
	}
	group = find_group(sums, keys, nulls);
	group->n++;

	value = GROUP_VALUES(group, shape);
	for (int i = 0; i < shape->nvalues; i++, arg++, value++)
	{
		int64		number;
		int			dscale;

		if (PG_ARGISNULL(arg))
			continue;
		switch (shape->kinds[shape->nkeys + i])
		{
			case SUM_BOOLEAN:
				value->n += PG_GETARG_BOOL(arg);
				break;
			case SUM_FLOAT:
				value->n++;
				value->number += PG_GETARG_FLOAT8(arg);
				break;
			case SUM_AMOUNTS:
				value->n++;
				amounts_add(value_amounts(sums, value), PG_GETARG_DATUM(arg), STATE_CONTEXT(sums));
				break;
			default:
				value->n++;
				if (likely(decimal_decode(PG_GETARG_DATUM(arg), &number, &dscale)))
				{
					decimal128_add_value(&value->sum, number);
					value->dscale = Max(value->dscale, dscale);
				}
				else
					add_odd(sums, value, PG_GETARG_NUMERIC(arg));
				break;
		}
	}
	PG_RETURN_DATUM(STATE_DATUM(sums));
}

/*
 * pipelines_sums_add(state, keys integer, VARIADIC "any")
 *		So many of the arguments are keys (boolean, integer, bigint, text), the
 *		others are values (boolean, numeric, double precision).
 */
Datum
pipelines_sums_add(PG_FUNCTION_ARGS)
{
	return add_row(fcinfo, SUM_NUMERIC);
}

/*
 * pipelines_tenths_add(state, keys integer, VARIADIC "any")
 *		The same, but numerics are gathered.
 */
Datum
pipelines_tenths_add(PG_FUNCTION_ARGS)
{
	return add_row(fcinfo, SUM_AMOUNTS);
}

Datum
pipelines_sums_combine(PG_FUNCTION_ARGS)
{
	return state_combine(&sums_kind, fcinfo);
}

/* ----------
 * Flat form: how many keys and values, and what they are; of each group how many
 * rows, and which keys are NULL; the others; of each value its count and sum.
 * ----------
 */

static void
put_decimal128(FlatWriter *writer, const Decimal128 *value)
{
#ifdef DECIMAL_FAST
	flat_put_64(writer, (uint64) (*value >> 64));
	flat_put_64(writer, (uint64) *value);
#else
	flat_put_64(writer, 0);
	flat_put_64(writer, 0);
#endif
}

static void
write_value(FlatWriter *writer, const SumValue *value, uint8 kind)
{
	uint64		bits;

	flat_put_64(writer, value->n);
	switch (kind)
	{
		case SUM_FLOAT:
			memcpy(&bits, &value->number, sizeof(bits));
			flat_put_64(writer, bits);
			break;
		case SUM_NUMERIC:
			flat_put_32(writer, value->dscale);
			put_decimal128(writer, &value->sum);
			flat_put_text(writer, value->odd == NULL ? "" : decimal_to_text(value->odd));
			break;
		case SUM_AMOUNTS:
			if (value->n > 0)
				flat_put_amounts(writer, value->amounts);
			break;
		default:
			break;
	}
}

static void
write_key(FlatWriter *writer, const SumKey *key, uint8 kind)
{
	if (kind == SUM_TEXT)
		flat_put_text(writer, text_to_cstring(key->text));
	else
		flat_put_64(writer, (uint64) key->number);
}

static void
write_sums(FlatWriter *writer, ExpandedState *state)
{
	const Sums *sums = (const Sums *) state;
	const SumShape *shape = &sums->shape;

	flat_put_32(writer, shape->nkeys);
	flat_put_32(writer, shape->nvalues);
	for (int i = 0; i < shape->nkeys + shape->nvalues; i++)
		flat_put_32(writer, shape->kinds[i]);
	flat_put_32(writer, sums->ngroups);
	for (uint32 slot = 0; slot < sums->nslots; slot++)
	{
		SumGroup   *group = sums->slots[slot];

		if (group == NULL)
			continue;
		flat_put_64(writer, group->n);
		flat_put_32(writer, group->nulls);
		for (int i = 0; i < shape->nkeys; i++)
			if ((group->nulls & (1U << i)) == 0)
				write_key(writer, &group->keys[i], shape->kinds[i]);
		for (int i = 0; i < shape->nvalues; i++)
			write_value(writer, &GROUP_VALUES(group, shape)[i], shape->kinds[shape->nkeys + i]);
	}
}

static void
merge_shape(FlatReader *reader, SumShape *shape)
{
	uint32		nkeys = flat_get_32(reader, "number of keys");
	uint32		nvalues = flat_get_32(reader, "number of values");

	if (nkeys > MAX_KEYS || nvalues > MAX_VALUES)
		flat_refuse(reader, "number of keys and values");
	memset(shape, 0, sizeof(SumShape));
	shape->nkeys = (int32) nkeys;
	shape->nvalues = (int32) nvalues;
	for (uint32 i = 0; i < nkeys + nvalues; i++)
	{
		uint32		kind = flat_get_32(reader, "kind of key or value");

		if (kind > SUM_AMOUNTS || !kind_fits((uint8) kind, i < nkeys))
			flat_refuse(reader, "kind of key or value");
		shape->kinds[i] = (uint8) kind;
	}
}

/* a sum shows no fewer decimals than it has, and leaves room for more */
static void
merge_decimal128(FlatReader *reader, SumValue *value)
{
	uint32		dscale = flat_get_32(reader, "scale");
	uint64		high = flat_get_64(reader, "sum");
	uint64		low = flat_get_64(reader, "sum");
#ifdef DECIMAL_FAST
	Decimal128	sum = (Decimal128) (((uint128) high << 64) | low);
	int			unit = 1;

	if (dscale > DECIMAL_SCALE)
		flat_refuse(reader, "scale");
	for (uint32 i = dscale; i < DECIMAL_SCALE; i++)
		unit *= 10;
	if (sum % unit != 0 || !decimal128_add(&value->sum, &sum))
		flat_refuse(reader, "sum");
	value->dscale = Max(value->dscale, (int32) dscale);
#else
	if (dscale != 0 || high != 0 || low != 0)
		flat_refuse(reader, "sum");
#endif
}

static void
merge_value(FlatReader *reader, Sums *sums, SumValue *value, uint8 kind, int64 rows)
{
	uint64		n = flat_get_64(reader, "count");
	uint64		bits;
	double		number;
	char	   *odd;

	if (n > (uint64) rows)
		flat_refuse(reader, "count");
	value->n += (int64) n;
	switch (kind)
	{
		case SUM_FLOAT:
			bits = flat_get_64(reader, "sum");
			memcpy(&number, &bits, sizeof(number));
			value->number += number;
			break;
		case SUM_NUMERIC:
			merge_decimal128(reader, value);
			odd = flat_get_text(reader, "sum");
			if (odd[0] != '\0')
				add_odd(sums, value, decimal_from_text(odd));
			pfree(odd);
			break;
		case SUM_AMOUNTS:
			if (n > 0 && flat_get_amounts(reader, value_amounts(sums, value), STATE_CONTEXT(sums)) != n)
				flat_refuse(reader, "count");
			break;
		default:
			break;
	}
}

static void
merge_sums(FlatReader *reader, ExpandedState *state)
{
	Sums	   *sums = (Sums *) state;
	SumShape	shape;
	uint32		ngroups;

	merge_shape(reader, &shape);
	if (!shape_is_known(&sums->shape))
		sums->shape = shape;
	else if (shape_is_known(&shape) && !shape_is(&sums->shape, &shape))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("sums of different keys and values can't be put together"),
				 errhint("Give the arguments the types that they had in the calls before.")));
	ngroups = flat_get_32(reader, "number of groups");
	for (uint32 g = 0; g < ngroups; g++)
	{
		uint64		n = flat_get_64(reader, "count");
		uint32		nulls = flat_get_32(reader, "key");
		SumKey		keys[MAX_KEYS];
		SumGroup   *group;

		CHECK_FOR_INTERRUPTS();
		if (n == 0 || n > COUNT_MAX || (nulls >> shape.nkeys) != 0)
			flat_refuse(reader, "group");
		for (int i = 0; i < shape.nkeys; i++)
		{
			if ((nulls & (1U << i)) != 0)
				continue;
			if (shape.kinds[i] == SUM_TEXT)
			{
				char	   *key = flat_get_text(reader, "key");

				keys[i].text = cstring_to_text(key);
				pfree(key);
				continue;
			}
			keys[i].number = (int64) flat_get_64(reader, "key");
			if ((shape.kinds[i] == SUM_BOOLEAN && keys[i].number != 0 && keys[i].number != 1) ||
				(shape.kinds[i] == SUM_INTEGER && keys[i].number != (int32) keys[i].number))
				flat_refuse(reader, "key");
		}
		group = find_group(sums, keys, nulls);
		group->n += (int64) n;
		for (int i = 0; i < shape.nvalues; i++)
			merge_value(reader, sums, &GROUP_VALUES(group, &shape)[i], shape.kinds[shape.nkeys + i], (int64) n);
		for (int i = 0; i < shape.nkeys; i++)
			if (shape.kinds[i] == SUM_TEXT && (nulls & (1U << i)) == 0)
				pfree(keys[i].text);
	}
}

/* ----------
 * What came of it
 * ----------
 */

/* Are the columns that are asked for those that there are? */
static void
check_columns(const SumShape *shape, TupleDesc wanted)
{
	int			column = 0;
	bool		right = true;

#define COLUMN_IS(type)		(right = right && column < wanted->natts && TupleDescAttr(wanted, column)->atttypid == (type), column++)
	for (int i = 0; i < shape->nkeys; i++)
		COLUMN_IS(type_of_kind(shape->kinds[i]));
	COLUMN_IS(INT8OID);
	for (int i = shape->nkeys; i < shape->nkeys + shape->nvalues; i++)
	{
		COLUMN_IS(INT8OID);
		if (shape->kinds[i] != SUM_BOOLEAN)
			COLUMN_IS(type_of_kind(shape->kinds[i]));
	}
#undef COLUMN_IS
	if (!right || column != wanted->natts)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("these are not the columns of the sums"),
				 errdetail("There are the keys, how many rows, and of each value a count and, unless it is boolean, a sum: %d columns.", column),
				 errhint("Name them with the types that pipelines._sums() was given.")));
}

/* The sum or the largest tenth; NULL where there is nothing, as of sum(). */
static Datum
value_sum(const SumValue *value, uint8 kind, bool *isnull)
{
	Numeric		sum;

	*isnull = value->n == 0;
	if (*isnull)
		return (Datum) 0;
	if (kind == SUM_FLOAT)
		return Float8GetDatum(value->number);
	if (kind == SUM_AMOUNTS)
		return NumericGetDatum(amounts_largest_tenth(value->amounts));
	sum = decimal128_to_numeric(&value->sum, DECIMAL_SCALE, value->dscale);
	return NumericGetDatum(value->odd == NULL ? sum : decimal_add(sum, value->odd));
}

/*
 * pipelines_sums_rows(sums bytea) -> setof record
 *		A row for each group: its keys; how many rows it had; of each value how
 *		many were not null and their sum (or from which on they are in the
 *		largest tenth), of a boolean one how many were true.
 */
Datum
pipelines_sums_rows(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Sums	   *sums = state_to_read(&sums_kind, fcinfo);
	const SumShape *shape = &sums->shape;
	Datum		values[MAX_KEYS + 1 + 2 * MAX_VALUES];
	bool		nulls[MAX_KEYS + 1 + 2 * MAX_VALUES];

	if (rsinfo == NULL || !IsA(rsinfo, ReturnSetInfo) || rsinfo->expectedDesc == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("sums can't be shown here"),
				 errhint("Call pipelines._sums_rows() in FROM, and list its columns.")));
	compat_materialize(fcinfo);
	check_columns(shape, rsinfo->setDesc);
	for (uint32 slot = 0; slot < sums->nslots; slot++)
	{
		SumGroup   *group = sums->slots[slot];
		int			column = 0;

		CHECK_FOR_INTERRUPTS();
		if (group == NULL)
			continue;
		for (int i = 0; i < shape->nkeys; i++, column++)
		{
			nulls[column] = (group->nulls & (1U << i)) != 0;
			switch (shape->kinds[i])
			{
				case SUM_BOOLEAN:
					values[column] = BoolGetDatum(group->keys[i].number != 0);
					break;
				case SUM_INTEGER:
					values[column] = Int32GetDatum((int32) group->keys[i].number);
					break;
				case SUM_BIGINT:
					values[column] = Int64GetDatum(group->keys[i].number);
					break;
				default:
					values[column] = PointerGetDatum(group->keys[i].text);
					break;
			}
		}
		nulls[column] = false;
		values[column++] = Int64GetDatum(group->n);
		for (int i = 0; i < shape->nvalues; i++)
		{
			const SumValue *value = &GROUP_VALUES(group, shape)[i];
			uint8		kind = shape->kinds[shape->nkeys + i];

			nulls[column] = false;
			values[column++] = Int64GetDatum(value->n);
			if (kind != SUM_BOOLEAN)
			{
				values[column] = value_sum(value, kind, &nulls[column]);
				column++;
			}
		}
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
