/*-------------------------------------------------------------------------
 *
 * distribution.c
 *	  What will become of many open deals: sketch and distribution.
 *
 * Each open deal is won, with its probability, or brings nothing; deals are
 * independent.  Wanted are quantiles of the sum.  This file owns
 *
 * - the sketch: all that is remembered of the open deals, in fixed space.
 *	 The largest deals are kept one by one, the others in classes of equal
 *	 amounts.  When the classes run out, amounts that agree in their leading
 *	 bits become one class, and the number of bits goes down until there are
 *	 enough classes.  So nothing at all is lost of a book with few deals, or
 *	 with few different amounts; and of a large book, where a single deal no
 *	 longer counts, as little as the space allows.
 *
 *	 The invariant: which deals are kept, and which classes there are, depends
 *	 only on the deals, not on the order in which they came or how the sketches
 *	 of their parts were merged.  (The means and sums of a class are floating
 *	 point: their last digits do depend on it.)
 *
 * - the distribution computed from a sketch.  Up to 22 deals: all subsets
 *	 (of two halves, met in the middle).  Beyond: the distribution is computed on a
 *	 grid, deal by deal, class by class (a class is two binomials that
 *	 have its mean and variance); deals so small that only their sum matters
 *	 enter as a normal distribution with a correction for skewness; deals so
 *	 large that they would spoil the grid (whales) are enumerated.
 *
 * Must never touch the database, and must not allocate in the sketch
 * functions: they run once per row.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "forecast/distribution.h"

/* all subsets are enumerated up to so many deals (half of them at a time) */
#define EXACT_DEALS		22
/* deals enumerated beside the grid, at most */
#define WHALES			10
/* a deal is a whale if it is larger than so many deviations of the others */
#define WHALE_SIZE		4.0
/* cells that the interesting part of the distribution is spread over */
#define GRID_CELLS		8192
/* deviations that this part is wide */
#define GRID_WIDTH		16.0
/* room for cells; the distribution is cut to it */
#define GRID_ROOM		(4 * GRID_CELLS)
/* probability that may be cut off at an end of the grid at each step */
#define GRID_TAIL		1e-13
/* deals smaller than this part of the deviation may be summed up as normal */
#define SMALL_DEAL		0.04
/* ... if they are small compared with the deviation of their own sum */
#define SMALL_IN_SUM	0.15
/* ... or if that deviation is as good as nothing */
#define SMALL_SUM		1e-4

/* deals with the same amount and probability */
typedef struct Part
{
	double		amount;			/* positive */
	double		p;
	int			deals;
} Part;

struct Distribution
{
	double		shift;			/* what is certain */
	double		least;			/* smallest and largest possible sum, */
	double		most;			/* without the shift */

	/*
	 * Sums of the deals that are enumerated, ascending, each with its
	 * probability
	 */
	int			nsums;
	double	   *sum;
	double	   *sum_p;

	/*
	 * The others: either sums as well (step), or cells of a grid, cell i being
	 * the value (origin + i) * width.  cumulated[i] is the probability of the
	 * values up to and including i.
	 */
	int			ncells;
	double	   *value;			/* exact case only */
	double	   *cumulated;
	double		origin;
	double		width;
	bool		step;			/* values are atoms, else smeared over cells */
};

/* ----------------------------------------------------------------
 *						the sketch
 * ----------------------------------------------------------------
 */

/* The next coarser resolution: from exact to 8 bits of fraction, then halved */
static inline int
coarser(int shift)
{
	return shift == 0 ? 44 : shift + 1;
}

/* Put what is in one class into another one; both have the same key. */
static inline void
join_classes(SketchClass *into, double amount, double deals,
			 double p, double pp, int shift)
{
	into->p += p;
	into->pp += pp;
	into->deals += deals;
	if (into->amount != amount)
	{
		double		mean = into->amount + (amount - into->amount) * (p / into->p);

		/* rounding must not carry the mean out of its class */
		if (sketch_key(mean, shift) == sketch_key(amount, shift))
			into->amount = mean;
	}
}

/* Halve the resolution until at least one class is free. */
static void
coarsen(Sketch *sketch, int shift)
{
	int			n = 0;

	sketch->shift = shift;
	for (int i = 1; i < sketch->nclasses; i++)
	{
		SketchClass *c = &sketch->classes[i];

		if (sketch_key(c->amount, shift) ==
			sketch_key(sketch->classes[n].amount, shift))
			join_classes(&sketch->classes[n], c->amount, c->deals, c->p, c->pp,
						 shift);
		else
			sketch->classes[++n] = *c;
	}
	sketch->nclasses = sketch->nclasses > 0 ? n + 1 : 0;
}

/* Add deals of one amount to their class. */
void
sketch_to_class(Sketch *sketch, double amount, double deals,
				double p, double pp)
{
	for (;;)
	{
		int			shift = sketch->shift;
		uint64		key = sketch_key(amount, shift);
		int			low = 0;
		int			n = sketch->nclasses;

		/* the first class whose key is not smaller */
		while (n > 0)
		{
			int			half = n >> 1;

			if (sketch_key(sketch->classes[low + half].amount, shift) < key)
			{
				low += half + 1;
				n -= half + 1;
			}
			else
				n = half;
		}
		if (low < sketch->nclasses &&
			sketch_key(sketch->classes[low].amount, shift) == key)
		{
			join_classes(&sketch->classes[low], amount, deals, p, pp, shift);
			return;
		}
		if (sketch->nclasses < SKETCH_CLASSES)
		{
			SketchClass *c = &sketch->classes[low];

			memmove(c + 1, c,
					(sketch->nclasses - low) * sizeof(SketchClass));
			sketch->nclasses++;
			c->amount = amount;
			c->deals = deals;
			c->p = p;
			c->pp = pp;
			return;
		}
		coarsen(sketch, coarser(shift));
	}
}

/* Add a deal that is among the largest; the one it displaces gets a class. */
void
sketch_insert(Sketch *sketch, double amount, double probability)
{
	int			at;

	if (sketch->ndeals == SKETCH_DEALS)
	{
		SketchDeal	last = sketch->deals[SKETCH_DEALS - 1];

		if (!sketch_before(amount, probability, &last))
		{
			sketch_to_class(sketch, amount, 1.0, probability,
							probability * probability);
			return;
		}
		sketch->ndeals--;
		sketch_to_class(sketch, last.amount, 1.0, last.probability,
						last.probability * last.probability);
	}
	for (at = sketch->ndeals;
		 at > 0 && sketch_before(amount, probability, &sketch->deals[at - 1]);
		 at--)
		sketch->deals[at] = sketch->deals[at - 1];
	sketch->deals[at].amount = amount;
	sketch->deals[at].probability = probability;
	sketch->ndeals++;
}

/* Add another sketch; they must not be the same object. */
void
sketch_merge(Sketch *sketch, const Sketch *other)
{
	if (sketch->shift < other->shift)
		coarsen(sketch, other->shift);
	for (int i = 0; i < other->nclasses; i++)
	{
		const SketchClass *c = &other->classes[i];

		sketch_to_class(sketch, c->amount, c->deals, c->p, c->pp);
	}
	for (int i = 0; i < other->ndeals; i++)
		sketch_insert(sketch, other->deals[i].amount,
					  other->deals[i].probability);
}

/* What is wrong with a sketch that came from outside?  NULL: nothing. */
const char *
sketch_check(const Sketch *sketch)
{
	if (sketch->ndeals < 0 || sketch->ndeals > SKETCH_DEALS ||
		sketch->nclasses < 0 || sketch->nclasses > SKETCH_CLASSES)
		return "number of deals or classes";
	if (sketch->shift != 0 &&
		(sketch->shift < coarser(0) || sketch->shift > SKETCH_SHIFT_MAX))
		return "resolution";
	if (sketch->nclasses > 0 && sketch->ndeals < SKETCH_DEALS)
		return "classes of deals without the largest deals";
	for (int i = 0; i < sketch->ndeals; i++)
	{
		const SketchDeal *deal = &sketch->deals[i];

		if (!(fabs(deal->amount) <= SKETCH_LIMIT) || deal->amount == 0.0)
			return "amount of a deal";
		if (!(deal->probability > 0.0 && deal->probability <= 1.0))
			return "probability of a deal";
		if (i > 0 && sketch_before(deal->amount, deal->probability, deal - 1))
			return "order of the deals";
	}
	for (int i = 0; i < sketch->nclasses; i++)
	{
		const SketchClass *c = &sketch->classes[i];

		if (!(fabs(c->amount) <= fabs(sketch->deals[SKETCH_DEALS - 1].amount)) ||
			c->amount == 0.0)
			return "amount of a class";
		if (!(c->deals >= 1.0 && c->deals <= 9007199254740992.0) ||
			c->deals != floor(c->deals))
			return "number of deals in a class";
		if (!(c->p > 0.0 && c->p <= c->deals * (1.0 + 1e-9)) ||
			!(c->pp > 0.0 && c->pp <= c->p * (1.0 + 1e-9)) ||
			!(c->pp >= c->p * c->p / c->deals * (1.0 - 1e-9)))
			return "probabilities of a class";
		if (i > 0 && sketch_key(c[-1].amount, sketch->shift) >=
			sketch_key(c->amount, sketch->shift))
			return "order of the classes";
	}
	return NULL;
}

/* ----------------------------------------------------------------
 *						the distribution
 * ----------------------------------------------------------------
 */

/* The grid while it is computed: probability of (origin + i) * width */
typedef struct Grid
{
	double		width;
	int64		origin;
	int			n;
	double	   *cell;
	double	   *spare;
} Grid;

static int
compare_parts(const void *a, const void *b)
{
	const Part *x = (const Part *) a;
	const Part *y = (const Part *) b;

	if (x->amount != y->amount)
		return x->amount > y->amount ? -1 : 1;
	return (x->p < y->p) - (x->p > y->p);
}

/*
 * Add deals of one amount and probability to the list of parts.  A certain
 * deal only shifts the sum.  A negative one is the same as a certain negative
 * amount and a chance of getting it back.
 */
static void
add_part(Part *parts, int *nparts, double *shift,
		 double amount, double p, double deals)
{
	if (deals < 1.0 || p <= 0.0)
		return;
	if (p >= 1.0)
	{
		*shift += deals * amount;
		return;
	}
	if (amount < 0)
	{
		*shift += deals * amount;
		amount = -amount;
		p = 1.0 - p;
	}
	parts[*nparts].amount = amount;
	parts[*nparts].p = p;
	parts[*nparts].deals = (int) Min(deals, 1e9);
	(*nparts)++;
}

/*
 * A class as two groups of deals, each with one probability, that have the
 * number of deals, the mean and the variance of the class.
 */
static void
add_class(Part *parts, int *nparts, double *shift, const SketchClass *c)
{
	double		n = c->deals;
	double		mean = Min(c->p / n, 1.0);
	double		variance = c->pp / n - mean * mean;
	double		low;
	double		spread;

	if (n < 2.0 || variance <= 1e-12 * mean)
	{
		add_part(parts, nparts, shift, c->amount, mean, n);
		return;
	}
	spread = sqrt(variance);

	/*
	 * Of n deals, 'low' have the smaller probability.  Half of them, unless a
	 * probability would leave its range; then the nearest number that keeps
	 * both inside, if there is one.
	 */
	low = floor(n / 2.0);
	if (mean - spread * sqrt((n - low) / low) < 0.0)
		low = Min(n - 1.0, ceil(n * variance / (variance + mean * mean)));
	else if (mean + spread * sqrt(low / (n - low)) > 1.0)
		low = Max(1.0, floor(n * (1.0 - mean) * (1.0 - mean) /
							 (variance + (1.0 - mean) * (1.0 - mean))));
	add_part(parts, nparts, shift, c->amount,
			 Max(mean - spread * sqrt((n - low) / low), 0.0), low);
	add_part(parts, nparts, shift, c->amount,
			 Min(mean + spread * sqrt(low / (n - low)), 1.0), n - low);
}

/*
 * All sums of the deals of some parts, ascending, equal ones joined.
 * Returns their number.
 */
static int
enumerate(const Part *parts, int nparts, double **sum_out, double **p_out)
{
	int			deals = 0;
	int			n = 1;
	double	   *sum;
	double	   *p;
	double	   *new_sum;
	double	   *new_p;

	for (int i = 0; i < nparts; i++)
		deals += parts[i].deals;
	Assert(deals < 20);
	sum = palloc(sizeof(double) << deals);
	p = palloc(sizeof(double) << deals);
	new_sum = palloc(sizeof(double) << deals);
	new_p = palloc(sizeof(double) << deals);
	sum[0] = 0.0;
	p[0] = 1.0;
	for (int i = 0; i < nparts; i++)
		for (int k = 0; k < parts[i].deals; k++)
		{
			double		amount = parts[i].amount;
			double		chance = parts[i].p;
			int			without = 0;
			int			with = 0;
			int			m = 0;
			double	   *swap;

			/* merge the sums without the deal and those with it */
			while (with < n)
			{
				double		s;
				double		q;

				if (without < n && sum[without] <= sum[with] + amount)
				{
					s = sum[without];
					q = p[without++] * (1.0 - chance);
				}
				else
				{
					s = sum[with] + amount;
					q = p[with++] * chance;
				}
				/* equal but for rounding: one sum */
				if (m > 0 && s - new_sum[m - 1] <= 1e-14 * s)
					new_p[m - 1] += q;
				else
				{
					new_sum[m] = s;
					new_p[m++] = q;
				}
			}
			n = m;
			swap = sum;
			sum = new_sum;
			new_sum = swap;
			swap = p;
			p = new_p;
			new_p = swap;
		}
	pfree(new_sum);
	pfree(new_p);
	*sum_out = sum;
	*p_out = p;
	return n;
}

/* Cut off what is practically impossible, and what there is no room for. */
static void
grid_trim(Grid *grid)
{
	double		tail = 0.0;
	int			first = 0;
	int			last = grid->n - 1;

	while (first < last && tail + grid->cell[first] < GRID_TAIL)
		tail += grid->cell[first++];
	grid->cell[first] += tail;
	tail = 0.0;
	while (first < last && tail + grid->cell[last] < GRID_TAIL)
		tail += grid->cell[last--];
	/* no room left: whichever end is less likely goes */
	while (last - first + 1 > GRID_ROOM / 2)
	{
		if (grid->cell[first] < grid->cell[last])
		{
			grid->cell[first + 1] += grid->cell[first];
			first++;
		}
		else
		{
			tail += grid->cell[last];
			last--;
		}
	}
	grid->cell[last] += tail;
	if (first > 0)
		memmove(grid->cell, grid->cell + first,
				(last - first + 1) * sizeof(double));
	grid->origin += first;
	grid->n = last - first + 1;
}

/*
 * Add to the grid an independent amount that is offset[i] cells (ascending,
 * not whole) with probability weight[i].  A value between two cells is split
 * so that the mean stays.
 */
static void
grid_convolve(Grid *grid, const double *offset, const double *weight, int n)
{
	int64		base = (int64) floor(offset[0]);
	int64		span = (int64) floor(offset[n - 1]) + 2 - base;
	int			size;
	double	   *swap;

	/* what is out of reach of the grid is moved to its end */
	if (span > GRID_ROOM / 2)
		span = GRID_ROOM / 2;
	size = grid->n + (int) span;
	memset(grid->spare, 0, size * sizeof(double));
	for (int i = 0; i < n; i++)
	{
		double		whole = floor(offset[i]);
		double		part = offset[i] - whole;
		int64		at = Min((int64) whole - base, span - 2);
		double	   *to = grid->spare + at;
		const double *from = grid->cell;
		double		w1 = weight[i] * part;
		double		w0 = weight[i] - w1;

		if (w1 == 0.0)
			for (int j = 0; j < grid->n; j++)
				to[j] += w0 * from[j];
		else
		{
			double		before = 0.0;

			for (int j = 0; j < grid->n; j++)
			{
				to[j] += w0 * from[j] + w1 * before;
				before = from[j];
			}
			to[grid->n] += w1 * before;
		}
	}
	grid->origin += base;
	grid->n = size;
	swap = grid->cell;
	grid->cell = grid->spare;
	grid->spare = swap;
	grid_trim(grid);
}

/* A part of n deals: the number won is binomial. */
static void
grid_add_part(Grid *grid, const Part *part, double *offset, double *weight)
{
	double		step = part->amount / grid->width;
	double		n = part->deals;
	double		p = part->p;
	double		mean = n * p;
	double		deviation = sqrt(n * p * (1.0 - p));
	double		first;
	double		last;
	double		total = 0.0;
	int			count = 0;

	/* amounts that are whole multiples but for rounding */
	if (fabs(step - rint(step)) < 1e-9 * step)
		step = rint(step);
	if (part->deals == 1)
	{
		offset[0] = 0.0;
		weight[0] = 1.0 - p;
		offset[1] = step;
		weight[1] = p;
		grid_convolve(grid, offset, weight, 2);
		return;
	}

	/* all that has a chance above 1e-15 or so, and no more than there is */
	first = Max(0.0, floor(mean - 8.0 * deviation - 4.0));
	last = Min(n, ceil(mean + 8.5 * deviation + 24.0));
	for (double k = first; k <= last && count < GRID_ROOM; k += 1.0)
	{
		double		w = exp(lgamma(n + 1.0) - lgamma(k + 1.0) -
							lgamma(n - k + 1.0) +
							k * log(p) + (n - k) * log1p(-p));

		if (w < 1e-16 && k > mean)
			break;
		if (w < 1e-16)
			continue;
		offset[count] = k * step;
		weight[count++] = w;
		total += w;
	}
	for (int i = 0; i < count; i++)
		weight[i] /= total;
	grid_convolve(grid, offset, weight, count);
}

/*
 * Start the grid with the sum of the small deals: normal, corrected for
 * skewness by the first term of Edgeworth's series,
 *		F(x) = Phi(x) - phi(x) * skewness / 6 * (x^2 - 1)
 * (Petrov, Sums of Independent Random Variables, 1975, chapter VI).
 */
static void
grid_start(Grid *grid, double mean, double variance, double third)
{
	double		deviation = sqrt(variance) / grid->width;
	double		centre = mean / grid->width;
	double		skewness = 0.0;
	double		before = 0.0;
	double		total = 0.0;
	int			reach;

	if (variance > 0.0)
		skewness = third / (variance * sqrt(variance));
	/* too skewed for a series, but then so little that it doesn't matter */
	if (fabs(skewness) > 0.4)
		skewness = 0.0;
	if (deviation < 0.25)
	{
		double		whole = floor(centre);

		grid->origin = (int64) whole;
		grid->cell[0] = 1.0 - (centre - whole);
		grid->cell[1] = centre - whole;
		grid->n = grid->cell[1] > 0.0 ? 2 : 1;
		return;
	}
	reach = (int) Min(ceil(deviation * 7.5) + 1.0, GRID_ROOM / 4 - 1);
	grid->origin = (int64) floor(centre) - reach;
	grid->n = 2 * reach + 1;
	for (int i = 0; i < grid->n; i++)
	{
		double		x = ((double) (grid->origin + i) + 0.5 - centre) / deviation;
		double		f = 0.5 * erfc(-x * M_SQRT1_2) -
		exp(-0.5 * x * x) * 0.3989422804014327 * skewness / 6.0 * (x * x - 1.0);

		f = Max(before, Min(1.0, f));
		grid->cell[i] = f - before;
		total += grid->cell[i];
		before = f;
	}
	for (int i = 0; i < grid->n; i++)
		grid->cell[i] /= total;
}

/*
 * The largest width of which all amounts are whole multiples, or zero if
 * there is none that keeps the grid within its size.
 */
static double
common_width(const Part *parts, int nparts, double smallest)
{
	double		width = 0.0;

	for (int i = 0; i < nparts; i++)
	{
		double		a = parts[i].amount;
		double		b = width;
		double		noise = 1e-9 * a;

		if (b == 0.0)
		{
			width = a;
			continue;
		}
		while (b > noise)
		{
			double		rest = a - floor(a / b + 1e-9) * b;

			a = b;
			b = fabs(rest);
		}
		width = a;
		if (width < smallest)
			return 0.0;
	}
	return width;
}

static double
part_variance(const Part *part)
{
	return part->amount * part->amount * part->p * (1.0 - part->p) *
		part->deals;
}

/*
 * The distribution of the sum of a sketch's deals.  NULL if there is no deal.
 * Allocated in the current memory context, in several pieces.
 */
Distribution *
distribution_of(const Sketch *sketch)
{
	Part		parts[SKETCH_DEALS + 2 * SKETCH_CLASSES];
	int			nparts = 0;
	int			nwhales = 0;
	int			nlarge;
	double		deals = 0.0;
	double		variance = 0.0;
	double		mean_small = 0.0;
	double		variance_small = 0.0;
	double		third_small = 0.0;
	double		sum_small = 0.0;
	double		within = 0.0;
	double		deviation;
	double		common;
	Distribution *dist;
	Grid		grid;
	double	   *offset;
	double	   *weight;

	if (sketch->ndeals == 0)
		return NULL;

	dist = palloc0(sizeof(Distribution));
	for (int i = 0; i < sketch->ndeals; i++)
		add_part(parts, &nparts, &dist->shift, sketch->deals[i].amount,
				 sketch->deals[i].probability, 1.0);
	for (int i = 0; i < sketch->nclasses; i++)
	{
		const SketchClass *c = &sketch->classes[i];

		add_class(parts, &nparts, &dist->shift, c);

		/*
		 * The amounts of a class differ, as far as their key allows: take
		 * them as evenly spread over it.
		 */
		if (sketch->shift > 0 && c->deals > 1.0)
		{
			double		size;

			if (sketch->shift <= 52)
				size = ldexp(1.0, sketch->shift - 52) *
					ldexp(1.0, ilogb(c->amount));
			else
				size = fabs(c->amount);
			within += size * size / 12.0 * Max(c->p - c->pp, 0.0);
		}
	}
	qsort(parts, nparts, sizeof(Part), compare_parts);
	for (int i = 0; i < nparts; i++)
	{
		deals += parts[i].deals;
		dist->most += parts[i].amount * parts[i].deals;
		variance += part_variance(&parts[i]);
	}

	/* few deals: the sums of one half, and those of the other */
	if (deals <= EXACT_DEALS)
	{
		int			half = nparts / 2;

		dist->nsums = enumerate(parts, half, &dist->sum, &dist->sum_p);
		dist->ncells = enumerate(parts + half, nparts - half,
								 &dist->value, &dist->cumulated);
		for (int i = 1; i < dist->ncells; i++)
			dist->cumulated[i] += dist->cumulated[i - 1];
		dist->step = true;
		return dist;
	}

	/* whales: deals that are large beside all smaller ones together */
	while (nwhales < WHALES && nwhales < nparts - 1 &&
		   parts[nwhales].deals == 1)
	{
		double		rest = 0.0;

		for (int i = nwhales + 1; i < nparts; i++)
			rest += part_variance(&parts[i]);
		if (parts[nwhales].amount <= WHALE_SIZE * sqrt(rest))
			break;
		variance = rest;
		nwhales++;
	}
	dist->nsums = enumerate(parts, nwhales, &dist->sum, &dist->sum_p);
	deviation = sqrt(variance + within);

	/* small deals, of which only the sum matters */
	for (nlarge = nparts; nlarge > nwhales; nlarge--)
	{
		const Part *part = &parts[nlarge - 1];

		if (part->amount > SMALL_DEAL * deviation)
			break;
	}
	for (int i = nlarge; i < nparts; i++)
	{
		variance_small += part_variance(&parts[i]);
		sum_small += parts[i].amount * parts[i].deals;
	}
	while (nlarge < nparts &&
		   parts[nlarge].amount > SMALL_IN_SUM * sqrt(variance_small) &&
		   sum_small > SMALL_SUM * deviation)
	{
		variance_small -= part_variance(&parts[nlarge]);
		sum_small -= parts[nlarge].amount * parts[nlarge].deals;
		nlarge++;
	}
	variance_small = within;
	for (int i = nlarge; i < nparts; i++)
	{
		double		n = parts[i].deals;
		double		a = parts[i].amount;
		double		p = parts[i].p;
		double		v = a * a * p * (1.0 - p);

		mean_small += n * a * p;
		variance_small += n * v;
		third_small += n * v * a * (1.0 - 2.0 * p);
	}

	/*
	 * The width of a cell: a whole part of what all amounts are multiples of
	 * if the grid stays fine and small enough, so that the sums fall on
	 * cells; else at least of the largest.
	 */
	grid.width = GRID_WIDTH * deviation / GRID_CELLS;
	if (nlarge > nwhales)
	{
		double		total = 0.0;

		for (int i = nwhales; i < nlarge; i++)
			total += parts[i].amount * parts[i].deals;
		total += sum_small;
		grid.width = Min(grid.width, total / 256);
		common = nlarge == nparts && within == 0.0 ?
			common_width(parts + nwhales, nlarge - nwhales, grid.width / 2) : 0.0;
		if (common > 0.0)
		{
			grid.width = common;
			dist->step = true;
		}
		else if (parts[nwhales].amount > grid.width)
			grid.width = parts[nwhales].amount /
				ceil(parts[nwhales].amount / grid.width);
	}

	grid.cell = palloc(GRID_ROOM * sizeof(double));
	grid.spare = palloc(GRID_ROOM * sizeof(double));
	offset = palloc(GRID_ROOM * sizeof(double));
	weight = palloc(GRID_ROOM * sizeof(double));
	grid_start(&grid, mean_small, variance_small, third_small);
	for (int i = nlarge - 1; i >= nwhales; i--)
		grid_add_part(&grid, &parts[i], offset, weight);
	pfree(offset);
	pfree(weight);
	pfree(grid.spare);

	dist->origin = (double) grid.origin;
	dist->width = grid.width;
	dist->ncells = grid.n;
	dist->cumulated = grid.cell;
	for (int i = 1; i < grid.n; i++)
		dist->cumulated[i] += dist->cumulated[i - 1];
	for (int i = 0; i < grid.n; i++)
		dist->cumulated[i] /= dist->cumulated[grid.n - 1];
	return dist;
}

/* Probability that the part that is not enumerated is at most x. */
static double
lower_part(const Distribution *dist, double x)
{
	double		at = x / dist->width - dist->origin;
	double		cell;

	if (dist->step)
	{
		cell = floor(at + 1e-7);
		if (cell < 0.0)
			return 0.0;
		if (cell >= dist->ncells - 1)
			return 1.0;
		return dist->cumulated[(int) cell];
	}
	/* a cell's probability lies evenly between the middles to either side */
	at += 0.5;
	cell = floor(at);
	if (cell < 0.0)
		return 0.0;
	if (cell >= dist->ncells)
		return 1.0;
	{
		double		low = cell >= 1.0 ? dist->cumulated[(int) cell - 1] : 0.0;

		return low + (dist->cumulated[(int) cell] - low) * (at - cell);
	}
}

/*
 * Probability that the sum, without the shift, is at most x.  If the
 * distribution has atoms that are known one by one, *atom is set to the
 * smallest of those that are larger than x less the tolerance.
 */
static double
lower(const Distribution *dist, double x, double tolerance, double *atom)
{
	double		f = 0.0;

	if (dist->value != NULL)
	{
		int			j = dist->ncells - 1;

		for (int i = 0; i < dist->nsums; i++)
		{
			while (j >= 0 && dist->sum[i] + dist->value[j] > x + tolerance)
				j--;
			if (j >= 0)
				f += dist->sum_p[i] * dist->cumulated[j];
			if (atom != NULL && j + 1 < dist->ncells)
				*atom = Min(*atom, dist->sum[i] + dist->value[j + 1]);
			if (j < 0 && atom == NULL)
				break;
		}
		return f;
	}
	for (int i = 0; i < dist->nsums; i++)
	{
		if (dist->sum[i] + dist->origin * dist->width - dist->width >
			x + tolerance)
			break;
		f += dist->sum_p[i] * lower_part(dist, x + tolerance - dist->sum[i]);
	}
	return f;
}

/* The smallest sum that is not exceeded with probability p (0 to 1). */
double
distribution_quantile(const Distribution *dist, double p)
{
	double		low = 0.0;
	double		high = dist->most;
	double		tolerance = dist->most * 1e-12;

	if (p <= 0.0)
		return dist->shift;
	if (p >= 1.0)
		return dist->shift + dist->most;
	/* rounding must not carry us past the sum whose turn it is */
	p -= 1e-11;

	/* F(low) < p <= F(high) */
	if (lower(dist, low, tolerance, NULL) >= p)
		high = low;
	for (int i = 0; i < 200 && high - low > tolerance * 0.1; i++)
	{
		double		middle = low + (high - low) * 0.5;

		if (lower(dist, middle, tolerance, NULL) >= p)
			high = middle;
		else
			low = middle;
	}
	if (dist->value != NULL && high > 0.0)
	{
		double		atom = dist->most;

		/* the sum itself rather than a number within the tolerance of it */
		(void) lower(dist, low - 2.0 * tolerance, 0.0, &atom);
		high = atom;
	}
	return dist->shift + high;
}

/* Probability that the sum is the target or more. */
double
distribution_chance(const Distribution *dist, double target)
{
	double		tolerance = dist->most * 1e-12;
	double		f;

	f = 1.0 - lower(dist, target - dist->shift - 2.0 * tolerance, 0.0, NULL);
	return Min(1.0, Max(0.0, f));
}
