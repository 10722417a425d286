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
 * - the distribution computed from a sketch.  Up to 24 deals: all subsets
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
#define EXACT_DEALS		24
/* deals enumerated beside the grid, at most */
#define WHALES			10
/* whales are larger than so many deviations of all the others together */
#define WHALE_SIZE		4.0
/* cells that the interesting part of the distribution is spread over, at most */
#define GRID_CELLS		8192
/* deviations that this part is wide */
#define GRID_WIDTH		16.0
/* room for cells; the distribution is cut to half of it */
#define GRID_ROOM(cells)	(4 * (cells))
/* room for the numbers of deals won, whatever the grid */
#define COUNT_ROOM		(4 * GRID_CELLS)
/* probability that may be cut off at an end of the grid at each step */
#define GRID_TAIL		1e-13
/* deals may be summed up as normal if they are small: compared with the */
#define SMALL_DEAL		0.04	/* deviation of everything, */
#define SMALL_IN_MEAN	0.004	/* what is expected, */
#define SMALL_IN_SUM	0.15	/* and the deviation of their own sum, */
#define SMALL_SUM		1e-4	/* unless that is as good as nothing */
/* probabilities closer to 0 or 1 are taken for it */
#define CERTAIN			1e-12
/* sums closer than this part of the largest are the same but for rounding */
#define ROUNDING		1e-14

/* deals of the same amount, with one or two different probabilities */
typedef struct Part
{
	double		amount;			/* positive */
	double		deals[2];
	double		p[2];
} Part;

/*
 * All amounts are divided by unit, a power of two near the largest one, so
 * that neither their squares overflow nor anything is rounded.
 */
struct Distribution
{
	double		unit;
	double		shift;			/* what is certain; the least possible sum */
	double		most;			/* the largest possible sum, less the shift */

	/* The sum of some deals: each possible value, ascending */
	int			nsums;
	double	   *sum;
	double	   *sum_p;

	/*
	 * The sum of the others: ascending values, and the probability that each
	 * is not exceeded.  Without values, those of a grid: there is one in each
	 * cell, (origin + i + place[i]) * width.
	 */
	int			ncells;
	double	   *value;
	double	   *cumulated;
	double	   *place;
	double		origin;
	double		width;
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

/* Put deals of one amount into a class, whose key is the amount's. */
static inline void
join_class(SketchClass *into, double amount, double deals,
		   double p, double pp, int shift, uint64 key)
{
	into->p += p;
	into->pp += pp;
	into->deals += deals;
	if (into->amount != amount)
	{
		double		mean = into->amount + (amount - into->amount) * (p / into->p);

		/* rounding must not carry the mean out of its class */
		if (likely(sketch_key(mean, shift) == key))
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

		uint64		key = sketch_key(c->amount, shift);

		if (sketch_key(sketch->classes[n].amount, shift) == key)
			join_class(&sketch->classes[n], c->amount, c->deals, c->p, c->pp,
					   shift, key);
		else
			sketch->classes[++n] = *c;
	}
	sketch->nclasses = sketch->nclasses > 0 ? n + 1 : 0;
}

/*
 * Add deals of one amount to their class.
 *
 * Where a class is found is remembered by sketch and key, in the process and
 * not in the sketch: it is a guess that is checked before it is believed, and
 * saves the search for nearly every deal.
 */
void
sketch_to_class(Sketch *sketch, double amount, double deals,
				double p, double pp)
{
	static uint8 guess[1024];

	for (;;)
	{
		int			shift = sketch->shift;
		uint64		key = sketch_key(amount, shift);
		uint8	   *slot = &guess[(key ^ ((uintptr_t) sketch >> 6)) %
								  lengthof(guess)];
		int			low = *slot;
		int			n = sketch->nclasses;

		if (likely(low < n && sketch_key(sketch->classes[low].amount,
										 shift) == key))
		{
			join_class(&sketch->classes[low], amount, deals, p, pp, shift, key);
			return;
		}

		/* the first class whose key is not smaller */
		low = 0;
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
		*slot = (uint8) low;
		if (low < sketch->nclasses &&
			sketch_key(sketch->classes[low].amount, shift) == key)
		{
			join_class(&sketch->classes[low], amount, deals, p, pp, shift, key);
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

/*
 * The grid while it is computed.  Each cell holds one value: where in the cell
 * (0 to 1) the mean of all sums lies that fall into it.  So a sum that is
 * alone in its cell, or always the same, stays exactly where it is, and the
 * values don't get blurred from step to step.
 */
typedef struct Grid
{
	int			cells;			/* resolution, see distribution_of() */
	double		width;
	int64		origin;
	int			n;
	double	   *mass;			/* probability */
	double	   *place;
	double	   *new_mass;		/* work space */
	double	   *new_place;
} Grid;

static int
compare_parts(const void *a, const void *b)
{
	const Part *x = (const Part *) a;
	const Part *y = (const Part *) b;

	if (x->amount != y->amount)
		return x->amount > y->amount ? -1 : 1;
	return (x->p[0] < y->p[0]) - (x->p[0] > y->p[0]);
}

/*
 * Add deals of one amount to a part that is being made.  A certain deal only
 * shifts the sum.  A negative one is the same as a certain negative amount and
 * a chance of getting it back.
 */
static void
add_to_part(Part *part, int which, double *shift,
			double amount, double p, double deals)
{
	if (deals < 1.0 || p < CERTAIN || amount == 0.0)
		return;
	if (amount < 0.0 || p > 1.0 - CERTAIN)
		*shift += deals * amount;
	if (p > 1.0 - CERTAIN)
		return;
	part->amount = fabs(amount);
	part->deals[which] = deals;
	part->p[which] = amount < 0.0 ? 1.0 - p : p;
}

/*
 * A class as two groups of deals, each with one probability, that have the
 * number of deals, the mean and the variance of the class.
 */
static void
add_class_to_part(Part *part, double *shift, const SketchClass *c)
{
	double		n = c->deals;
	double		mean = Min(c->p / n, 1.0);
	double		variance = c->pp / n - mean * mean;
	double		low;
	double		spread;

	if (n < 2.0 || variance <= 1e-12 * mean)
	{
		add_to_part(part, 0, shift, c->amount, mean, n);
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
	add_to_part(part, 0, shift, c->amount,
				Max(mean - spread * sqrt((n - low) / low), 0.0), low);
	add_to_part(part, 1, shift, c->amount,
				Min(mean + spread * sqrt(low / (n - low)), 1.0), n - low);
}

static double
part_deals(const Part *part)
{
	return part->deals[0] + part->deals[1];
}

static double
part_mean(const Part *part)
{
	return part->amount *
		(part->deals[0] * part->p[0] + part->deals[1] * part->p[1]);
}

static double
part_variance(const Part *part)
{
	return part->amount * part->amount *
		(part->deals[0] * part->p[0] * (1.0 - part->p[0]) +
		 part->deals[1] * part->p[1] * (1.0 - part->p[1]));
}

/* third cumulant */
static double
part_third(const Part *part)
{
	return part->amount * part->amount * part->amount *
		(part->deals[0] * part->p[0] * (1.0 - part->p[0]) * (1.0 - 2.0 * part->p[0]) +
		 part->deals[1] * part->p[1] * (1.0 - part->p[1]) * (1.0 - 2.0 * part->p[1]));
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
		deals += (int) part_deals(&parts[i]);
	Assert(deals < 20);
	sum = palloc(sizeof(double) << deals);
	p = palloc(sizeof(double) << deals);
	new_sum = palloc(sizeof(double) << deals);
	new_p = palloc(sizeof(double) << deals);
	sum[0] = 0.0;
	p[0] = 1.0;
	for (int i = 0; i < nparts; i++)
		for (int k = 0; k < (int) part_deals(&parts[i]); k++)
		{
			double		amount = parts[i].amount;
			double		chance = parts[i].p[k < parts[i].deals[0] ? 0 : 1];
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

/* Move the probability of one cell into another one. */
static inline void
grid_move(Grid *grid, int from, int to)
{
	double		mass = grid->mass[to] + grid->mass[from];

	if (mass > 0.0 && grid->mass[from] > 0.0)
	{
		if (grid->mass[to] <= 0.0)
			grid->place[to] = 0.5;
		grid->mass[to] = mass;
	}
	grid->mass[from] = 0.0;
}

/* Cut off what is practically impossible, and what there is no room for. */
static void
grid_trim(Grid *grid)
{
	double		tail = 0.0;
	int			first = 0;
	int			last = grid->n - 1;

	while (first < last && (tail += grid->mass[first]) < GRID_TAIL)
	{
		grid_move(grid, first, first + 1);
		first++;
	}
	tail = 0.0;
	while (first < last && (tail += grid->mass[last]) < GRID_TAIL)
	{
		grid_move(grid, last, last - 1);
		last--;
	}
	/* no room left: whichever end is less likely goes */
	while (last - first + 1 > GRID_ROOM(grid->cells) / 2)
	{
		if (grid->mass[first] < grid->mass[last])
		{
			grid_move(grid, first, first + 1);
			first++;
		}
		else
		{
			grid_move(grid, last, last - 1);
			last--;
		}
	}
	grid->n = last - first + 1;
	grid->origin += first;
	if (first > 0)
	{
		memmove(grid->mass, grid->mass + first, grid->n * sizeof(double));
		memmove(grid->place, grid->place + first, grid->n * sizeof(double));
	}
}

/*
 * Add to the grid an independent amount that is offset[i] cells (ascending,
 * not whole, not negative) with probability weight[i].
 */
static void
grid_convolve(Grid *grid, const double *offset, const double *weight, int n)
{
	int64		base = (int64) offset[0];
	int64		span = (int64) offset[n - 1] + 2 - base;
	int			size;
	double	   *swap;

	/* what is out of reach of the grid is moved to its end */
	if (span > GRID_ROOM(grid->cells) / 2)
		span = GRID_ROOM(grid->cells) / 2;
	size = grid->n + (int) span;
	memset(grid->new_mass, 0, size * sizeof(double));
	memset(grid->new_place, 0, size * sizeof(double));
	for (int i = 0; i < n; i++)
	{
		int64		whole = (int64) offset[i];
		double		part = offset[i] - (double) whole;
		double		w = weight[i];
		int			at = (int) Min(whole - base, span - 2);
		double	   *to_mass = grid->new_mass + at;
		double	   *to_place = grid->new_place + at;

		for (int j = 0; j < grid->n; j++)
		{
			double		mass = w * grid->mass[j];
			double		place = grid->place[j] + part;
			int			carry = place >= 1.0;

			to_mass[j + carry] += mass;
			to_place[j + carry] += mass * (place - carry);
		}
	}
	for (int i = 0; i < size; i++)
		if (grid->new_mass[i] > 0.0)
			grid->new_place[i] /= grid->new_mass[i];
	grid->origin += base;
	grid->n = size;
	swap = grid->mass;
	grid->mass = grid->new_mass;
	grid->new_mass = swap;
	swap = grid->place;
	grid->place = grid->new_place;
	grid->new_place = swap;
	grid_trim(grid);
}

/*
 * Probabilities of the number of deals won out of n, from *first on; returns
 * how many there are.  What is next to impossible is left out.
 */
static int
binomial(double n, double p, double *first, double *weight)
{
	double		mean = n * p;
	double		deviation = sqrt(n * p * (1.0 - p));
	double		k = Max(0.0, floor(mean - 7.0 * deviation - 2.0));
	double		last = Min(n, ceil(mean + 7.5 * deviation + 14.0));
	double		total = 0.0;
	int			count = 0;

	*first = k;
	for (; k <= last && count < GRID_CELLS; k += 1.0)
	{
		double		w = exp(lgamma(n + 1.0) - lgamma(k + 1.0) -
							lgamma(n - k + 1.0) +
							k * log(p) + (n - k) * log1p(-p));

		if (w < 1e-15 && k > mean)
			break;
		weight[count++] = w;
		total += w;
	}
	for (int i = 0; i < count; i++)
		weight[i] /= total;
	return count;
}

/* Add a part to the grid: the number won is binomial, or a sum of two such. */
static void
grid_add_part(Grid *grid, const Part *part, double *offset, double *weight,
			  double *work)
{
	double		step = part->amount / grid->width;
	double		first = 0.0;
	int			count = 0;

	weight[0] = 1.0;
	for (int group = 0; group < 2; group++)
	{
		double		more_first = 0.0;
		double	   *more = work;
		double	   *product = work + GRID_CELLS;
		int			n;

		if (part->deals[group] < 1.0)
			continue;
		if (count == 0)
		{
			if (part->deals[group] == 1.0)
			{
				weight[0] = 1.0 - part->p[group];
				weight[1] = part->p[group];
				count = 2;
			}
			else
				count = binomial(part->deals[group], part->p[group],
								 &first, weight);
			continue;
		}
		n = binomial(part->deals[group], part->p[group], &more_first, more);
		first += more_first;
		memset(product, 0, (count + n - 1) * sizeof(double));
		for (int i = 0; i < count; i++)
			for (int j = 0; j < n; j++)
				product[i + j] += weight[i] * more[j];
		count += n - 1;
		memcpy(weight, product, count * sizeof(double));
	}
	for (int i = 0; i < count; i++)
		offset[i] = (first + i) * step;
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
		grid->origin = (int64) floor(centre);
		grid->mass[0] = 1.0;
		grid->place[0] = centre - floor(centre);
		grid->n = 1;
		return;
	}
	reach = (int) Min(ceil(deviation * 7.5) + 1.0,
					  GRID_ROOM(grid->cells) / 4 - 1);
	grid->origin = (int64) floor(centre) - reach;
	grid->n = 2 * reach + 1;
	for (int i = 0; i < grid->n; i++)
	{
		double		x = ((double) (grid->origin + i) + 1.0 - centre) / deviation;
		double		f = 0.5 * erfc(-x * M_SQRT1_2) -
		exp(-0.5 * x * x) * 0.3989422804014327 * skewness / 6.0 * (x * x - 1.0);

		f = Max(before, Min(1.0, f));
		grid->mass[i] = f - before;
		grid->place[i] = 0.5;
		total += grid->mass[i];
		before = f;
	}
	for (int i = 0; i < grid->n; i++)
		grid->mass[i] /= total;
}

/*
 * The distribution of the sum of a sketch's deals.  NULL if there is no deal.
 * Allocated in the current memory context, in several pieces.  The finer the
 * grid (cells, at most GRID_CELLS; 0 stands for that), the dearer.
 */
Distribution *
distribution_of(const Sketch *sketch, int cells)
{
	Part		parts[SKETCH_DEALS + SKETCH_CLASSES];
	int			nparts = 0;
	int			nwhales;
	int			nlarge;
	int			exponent;
	double		deals = 0.0;
	double		mean = 0.0;
	double		variance = 0.0;
	double		mean_small = 0.0;
	double		variance_small = 0.0;
	double		third_small = 0.0;
	double		sum_small = 0.0;
	double		within = 0.0;
	double		deviation;
	double		range = 0.0;
	double		small;
	Distribution *dist;
	Grid		grid;
	double	   *offset;
	double	   *weight;
	double	   *work;

	if (sketch->ndeals == 0)
		return NULL;
	if (cells <= 0 || cells > GRID_CELLS)
		cells = GRID_CELLS;

	dist = palloc0(sizeof(Distribution));
	exponent = ilogb(sketch->deals[0].amount);
	dist->unit = ldexp(1.0, exponent);
	for (int i = 0; i < sketch->ndeals; i++)
	{
		const SketchDeal *deal = &sketch->deals[i];
		double		amount = ldexp(deal->amount, -exponent);

		mean += fabs(amount) * deal->probability;
		memset(&parts[nparts], 0, sizeof(Part));
		add_to_part(&parts[nparts], 0, &dist->shift, amount,
					deal->probability, 1.0);
		if (parts[nparts].amount > 0.0)
			nparts++;
	}
	for (int i = 0; i < sketch->nclasses; i++)
	{
		SketchClass c = sketch->classes[i];

		c.amount = ldexp(c.amount, -exponent);
		mean += fabs(c.amount) * c.p;
		memset(&parts[nparts], 0, sizeof(Part));
		add_class_to_part(&parts[nparts], &dist->shift, &c);
		if (parts[nparts].amount > 0.0)
			nparts++;

		/*
		 * The amounts of a class differ, as far as their key allows: take
		 * them as evenly spread over it.
		 */
		if (sketch->shift > 0 && c.deals > 1.0 && c.amount != 0.0)
		{
			double		size = fabs(c.amount);

			if (sketch->shift <= 52)
				size = ldexp(1.0, sketch->shift - 52 + ilogb(size));
			within += size * size / 12.0 * Max(c.p - c.pp, 0.0);
		}
	}
	qsort(parts, nparts, sizeof(Part), compare_parts);
	for (int i = 0; i < nparts; i++)
	{
		deals += part_deals(&parts[i]);
		dist->most += parts[i].amount * part_deals(&parts[i]);
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
		return dist;
	}

	/* whales: the deals that are large beside all smaller ones together */
	nwhales = 0;
	{
		double		rest = variance;

		for (int i = 0; i < Min(WHALES, nparts - 1) && part_deals(&parts[i]) == 1.0; i++)
		{
			rest = Max(rest - part_variance(&parts[i]), 0.0);
			/* not by subtraction where that would leave noise */
			if (rest < 1e-6 * variance)
			{
				rest = 0.0;
				for (int j = i + 1; j < nparts; j++)
					rest += part_variance(&parts[j]);
			}
			if (parts[i].amount > WHALE_SIZE * sqrt(rest + within))
				nwhales = i + 1;
		}
	}
	dist->nsums = enumerate(parts, nwhales, &dist->sum, &dist->sum_p);
	variance = within;
	for (int i = nwhales; i < nparts; i++)
	{
		variance += part_variance(&parts[i]);
		range += parts[i].amount * part_deals(&parts[i]);
	}
	deviation = sqrt(variance);
	grid.cells = cells;
	grid.width = Min(GRID_WIDTH * deviation, range) / cells;

	/* small deals, of which only the sum matters */
	small = Max(Min(SMALL_DEAL * deviation, SMALL_IN_MEAN * mean),
				0.25 * grid.width);
	for (nlarge = nparts;
		 nlarge > nwhales && parts[nlarge - 1].amount <= small;
		 nlarge--)
	{
		variance_small += part_variance(&parts[nlarge - 1]);
		sum_small += parts[nlarge - 1].amount * part_deals(&parts[nlarge - 1]);
	}
	while (nlarge < nparts &&
		   parts[nlarge].amount > SMALL_IN_SUM * sqrt(variance_small) &&
		   sum_small > SMALL_SUM * deviation)
	{
		variance_small = Max(variance_small - part_variance(&parts[nlarge]), 0.0);
		sum_small -= parts[nlarge].amount * part_deals(&parts[nlarge]);
		nlarge++;
	}
	variance_small = within;
	for (int i = nlarge; i < nparts; i++)
	{
		mean_small += part_mean(&parts[i]);
		variance_small += part_variance(&parts[i]);
		third_small += part_third(&parts[i]);
	}

	grid.mass = palloc(GRID_ROOM(cells) * sizeof(double));
	grid.place = palloc(GRID_ROOM(cells) * sizeof(double));
	grid.new_mass = palloc(GRID_ROOM(cells) * sizeof(double));
	grid.new_place = palloc(GRID_ROOM(cells) * sizeof(double));
	offset = palloc(COUNT_ROOM * sizeof(double));
	weight = palloc(COUNT_ROOM * sizeof(double));
	work = palloc(COUNT_ROOM * sizeof(double));
	grid_start(&grid, mean_small, variance_small, third_small);
	for (int i = nlarge - 1; i >= nwhales; i--)
		grid_add_part(&grid, &parts[i], offset, weight, work);
	pfree(offset);
	pfree(weight);
	pfree(work);
	pfree(grid.new_mass);
	pfree(grid.new_place);

	dist->origin = (double) grid.origin;
	dist->width = grid.width;
	dist->ncells = grid.n;
	dist->place = grid.place;
	dist->cumulated = grid.mass;
	for (int i = 1; i < grid.n; i++)
		dist->cumulated[i] += dist->cumulated[i - 1];
	for (int i = 0; i < grid.n; i++)
		dist->cumulated[i] /= dist->cumulated[grid.n - 1];
	return dist;
}

/*
 * Probability that the sum, less the shift, is at most x.  With atom, the
 * smallest of the values beyond x is stored there as well, if it is smaller
 * than what is there.
 */
static double
lower(const Distribution *dist, double x, double *atom)
{
	double		f = 0.0;
	int			j = dist->ncells - 1;

	for (int i = 0; i < dist->nsums; i++)
	{
		double		rest = x - dist->sum[i];
		double		next;

		if (dist->value != NULL)
		{
			/* both lists ascend: one pass through them */
			while (j >= 0 && dist->value[j] > rest)
				j--;
			next = j + 1 < dist->ncells ? dist->value[j + 1] : dist->most;
		}
		else
		{
			double		at = rest / dist->width - dist->origin;

			if (at < 0.0)
				j = -1;
			else if (at >= dist->ncells)
				j = dist->ncells - 1;
			else
			{
				j = (int) at;
				if (dist->place[j] > at - j)
					j--;
			}
			next = dist->most;
			if (atom != NULL)
				for (int k = j + 1; k < dist->ncells; k++)
					if (dist->cumulated[k] > (k > 0 ? dist->cumulated[k - 1] : 0.0))
					{
						next = (dist->origin + k + dist->place[k]) * dist->width;
						break;
					}
		}
		if (j >= 0)
			f += dist->sum_p[i] * dist->cumulated[j];
		if (atom != NULL)
			*atom = Min(*atom, dist->sum[i] + next);
		else if (rest < 0.0)
			break;
	}
	return f;
}

/* The smallest sum that is not exceeded with probability p (0 to 1). */
double
distribution_quantile(const Distribution *dist, double p)
{
	double		low = 0.0;
	double		high = dist->most;
	double		tolerance = dist->most * ROUNDING;
	double		atom = dist->most;

	/* rounding must not carry us past the sum whose turn it is */
	p -= 1e-11;
	if (p <= 0.0 || dist->ncells == 0)
		return dist->shift * dist->unit;
	if (p >= 1.0 - 2e-11)
		return (dist->shift + dist->most) * dist->unit;

	/* F(low) < p <= F(high), then the value that lies there */
	if (lower(dist, tolerance, NULL) >= p)
		return dist->shift * dist->unit;
	while (high - low > tolerance)
	{
		double		middle = low + (high - low) * 0.5;

		if (lower(dist, middle, NULL) >= p)
			high = middle;
		else
			low = middle;
	}
	(void) lower(dist, low, &atom);
	return (dist->shift + atom) * dist->unit;
}

/* Probability that the sum is the target or more. */
double
distribution_chance(const Distribution *dist, double target)
{
	double		x = target / dist->unit - dist->shift;
	double		f;

	/* rounding must not make a sum miss its own value */
	x -= ROUNDING * (dist->most + fabs(dist->shift));
	f = x < 0.0 ? 0.0 : lower(dist, x, NULL);
	return Min(1.0, Max(0.0, 1.0 - f));
}
