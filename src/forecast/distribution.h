/*-------------------------------------------------------------------------
 *
 * distribution.h
 *	  What will become of many open deals: sketch and distribution.
 *
 * See distribution.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PIPELINES_DISTRIBUTION_H
#define PIPELINES_DISTRIBUTION_H

/* deals kept one by one: the largest */
#define SKETCH_DEALS	32
/* classes of amounts that the others are kept in */
#define SKETCH_CLASSES	40
/* amounts beyond this can't be sketched: their fourth power must be finite */
#define SKETCH_LIMIT	1e70
/* the largest shift: nothing but the sign and the top bit are left of a key */
#define SKETCH_SHIFT_MAX	62

/* an open deal: won with the probability (0 to 1), or nothing */
typedef struct SketchDeal
{
	double		amount;
	double		probability;
} SketchDeal;

/* deals of about the same amount; of exactly the same while shift is 0 */
typedef struct SketchClass
{
	double		amount;			/* mean, weighted by probability */
	double		deals;			/* a whole number */
	double		p;				/* sum of the probabilities */
	double		pp;				/* sum of their squares */
} SketchClass;

typedef struct Sketch
{
	int16		ndeals;
	int16		nclasses;
	int32		shift;			/* low bits of an amount's key that don't count */
	SketchDeal	deals[SKETCH_DEALS]; /* largest first, see sketch_compare() */
	SketchClass classes[SKETCH_CLASSES];	/* by ascending amount */
} Sketch;

typedef struct Distribution Distribution;

extern void sketch_insert(Sketch *sketch, double amount, double probability);
extern void sketch_to_class(Sketch *sketch, double amount, double deals,
							double p, double pp);
extern void sketch_merge(Sketch *sketch, const Sketch *other);
extern const char *sketch_check(const Sketch *sketch);

extern Distribution *distribution_of(const Sketch *sketch, int cells);
extern double distribution_quantile(const Distribution *dist, double p);
extern double distribution_chance(const Distribution *dist, double target);

/* Does a deal come before another one in Sketch.deals? */
static inline bool
sketch_before(double amount, double probability, const SketchDeal *other)
{
	double		a = amount < 0 ? -amount : amount;
	double		b = other->amount < 0 ? -other->amount : other->amount;

	if (a != b)
		return a > b;
	if (amount != other->amount)
		return amount > other->amount;
	return probability > other->probability;
}

/*
 * The part of an amount that decides its class: its bits, turned so that they
 * order like the amounts, less the low ones.  Bits rather than a logarithm:
 * exact, and halving the resolution joins whole classes.
 */
static inline uint64
sketch_key(double amount, int shift)
{
	union
	{
		double		value;
		uint64		bits;
	}			u;

	u.value = amount;
	if (u.bits >> 63)
		u.bits = ~u.bits;
	else
		u.bits |= UINT64CONST(1) << 63;
	return u.bits >> shift;
}

/*
 * Add a deal.  A deal that can't change the sum (nothing to win, or no
 * chance) is not remembered.  The usual case, a deal that is not one of the
 * largest and whose class is there, is decided here.
 */
static inline void
sketch_add(Sketch *sketch, double amount, double probability)
{
	if (amount == 0.0 || probability <= 0.0)
		return;
	if (likely(sketch->ndeals == SKETCH_DEALS) &&
		likely(!sketch_before(amount, probability,
							  &sketch->deals[SKETCH_DEALS - 1])))
		sketch_to_class(sketch, amount, 1.0, probability,
						probability * probability);
	else
		sketch_insert(sketch, amount, probability);
}

#endif							/* PIPELINES_DISTRIBUTION_H */
