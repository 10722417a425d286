# quantile() and chance() of random books of deals: against all outcomes of up
# to 20 deals, and against a million draws of larger books.
#
# The books come from a generator of our own, so that they are the same on
# every machine; the draws are made by a small program in C, and skipped where
# there is no compiler.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my @p = map { $_ / 20 } 1 .. 19;

# a linear congruential generator (Numerical Recipes' constants), 32 bits
my $seed = 20261121;

sub uniform
{
	$seed = ($seed * 1664525 + 1013904223) % 4294967296;
	return ($seed + 0.5) / 4294967296;
}

sub normal
{
	return sqrt(-2 * log(uniform())) * cos(6.283185307179586 * uniform());
}

# kinds of books: an amount each
my %amount = (
	'log-normal, sigma 0.05' => sub { sprintf('%.2f', 20000 * exp(0.05 * normal())) },
	'log-normal, sigma 0.5' => sub { sprintf('%.2f', 20000 * exp(0.5 * normal())) },
	'log-normal, sigma 1' => sub { sprintf('%.2f', 20000 * exp(normal())) },
	'log-normal, sigma 2' => sub { sprintf('%.2f', 20000 * exp(2 * normal()) + 0.01) },
	'one whale' => sub { $_[0] == 3 ? '9000000' : sprintf('%.2f', 20000 * exp(normal())) },
	'equal' => sub { 25000 },
	'one to five' => sub { 1 + int(5 * uniform()) },
	'price list' => sub { (55, 550, 1096, 3393, 4821, 5482, 26768)[7 * uniform()] },
	'some negative' => sub { sprintf('%.2f', (uniform() < 0.1 ? -1 : 1) * 20000 * exp(normal())) },
	'tiny and huge' => sub { uniform() < 0.5 ? sprintf('%.2f', 1 + uniform()) : int(1e9 * (1 + uniform())) },
	'zeroes among them' => sub { uniform() < 0.3 ? 0 : int(1000 * (1 + uniform())) });

# kinds of odds: a percentage each, 5 to 95
my %odds = (
	mixed => sub { sprintf('%.2f', 5 + 90 * uniform()) },
	steps => sub { 5 * (1 + int(19 * uniform())) },
	low => sub { 5 },
	high => sub { 95 },
	extreme => sub { (0, 1, 50, 99, 100)[5 * uniform()] });

sub book
{
	my ($kind, $odds, $n) = @_;
	return [ map { [ $amount{$kind}->($_), $odds{$odds}->($_) ] } 0 .. $n - 1 ];
}

my $node = PostgreSQL::Test::Cluster->new('quantile');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION pipelines');

# What pipelines says of some books: [quantiles], [chances of these
# quantiles], [chances of a little more].
sub answers
{
	my (@books) = @_;
	my $rows = join(",\n", map {
		my $b = $_;
		map { "($b, $_->[0], $_->[1])" } @{ $books[$b] }
	} 0 .. $#books);
	my $out = $node->safe_psql('postgres', <<"SQL");
SET extra_float_digits = 3;
SELECT q, (SELECT array_agg(pipelines.chance(f, x) ORDER BY i) FROM unnest(q) WITH ORDINALITY AS u(x, i)),
	(SELECT array_agg(pipelines.chance(f, x + d) ORDER BY i) FROM unnest(q) WITH ORDINALITY AS u(x, i))
FROM (SELECT b, f, d, pipelines.quantiles(f, '{@{[ join(',', @p) ]}}') AS q
	FROM (SELECT b, pipelines.forecast(amount, probability, 'open') AS f, (1e-6 * max(abs(amount)))::float8 AS d
		FROM (VALUES $rows) AS v(b, amount, probability) GROUP BY b) AS t) AS s
ORDER BY b
SQL
	return map { [ map { [ split /,/, s/[{}]//gr ] } split /\|/ ] } split /\n/, $out;
}

# ---------------------------------------------------------------------------
# few deals: all outcomes
# ---------------------------------------------------------------------------

# all sums with their probabilities, ascending; sums closer than the last
# digits of the amounts are one
sub outcomes
{
	my ($book) = @_;
	my %sum = ('0.0000' => 1);
	for my $deal (@$book)
	{
		my ($amount, $p) = ($deal->[0], $deal->[1] / 100);
		my %new;
		while (my ($s, $q) = each %sum)
		{
			$new{$s} += $q * (1 - $p) if $p < 1;
			$new{ sprintf('%.4f', $s + $amount) } += $q * $p if $p > 0;
		}
		%sum = %new;
	}
	my $f = 0;
	return [ map { [ $_, $f += $sum{$_} ] } sort { $a <=> $b } keys %sum ];
}

my @few;
my @few_names;
for my $kind (sort keys %amount)
{
	for my $odds (sort keys %odds)
	{
		for my $n ('equal one to five price list' =~ /$kind/ ? (1, 2, 7, 20) : (1, 2, 5, 9))
		{
			push @few, book($kind, $odds, $n);
			push @few_names, "$n deals, $kind, $odds odds";
		}
	}
}
for my $kind ('log-normal, sigma 1', 'one whale')
{
	push @few, book($kind, 'mixed', 14);
	push @few_names, "14 deals, $kind";
}
push @few, book('log-normal, sigma 2', 'mixed', 18);
push @few_names, '18 deals, log-normal, sigma 2';
push @few, [ map { [ int($_->[0] / 1000), $_->[1] ] } @{ book('log-normal, sigma 1', 'mixed', 20) } ];
push @few_names, '20 deals, log-normal, sigma 1, thousands';

my @answers = answers(@few);
is(scalar @answers, scalar @few, 'an answer for each book of few deals');
my @wrong;
for my $b (0 .. $#few)
{
	my $all = outcomes($few[$b]);
	my $size = 1;
	$size += abs($_->[0]) for @{ $few[$b] };
	for my $i (0 .. $#p)
	{
		my ($q, $at_least, $more) = map { $_->[$i] } @{ $answers[$b] };

		# the first sum that is not exceeded with probability p; where
		# probabilities meet p but for rounding, each of their sums will do
		my $k = 0;
		$k++ while $k < $#$all && $all->[$k][1] < $p[$i] - 1e-9;
		my $next = $k;
		$next++ while $next < $#$all && $all->[$next][1] < $p[$i] + 1e-9;
		my ($hit) = grep { abs($all->[$_][0] - $q) <= 1e-13 * $size + 0.0005 } $k .. $next;
		if (!defined $hit)
		{
			push @wrong, "$few_names[$b]: quantile $p[$i] is $all->[$k][0], not $q";
			next;
		}
		push @wrong, "$few_names[$b]: chance of $q is " . (1 - ($hit ? $all->[ $hit - 1 ][1] : 0)) . ", not $at_least"
			if abs($at_least - 1 + ($hit ? $all->[ $hit - 1 ][1] : 0)) > 1e-9;
	}
}
is(scalar @wrong, 0, scalar(@few) . ' books of up to 20 deals: every quantile and chance is exact')
  or diag(join("\n", @wrong[ 0 .. ($#wrong > 20 ? 20 : $#wrong) ]));

# ---------------------------------------------------------------------------
# many deals: a million draws
# ---------------------------------------------------------------------------

my $dir = PostgreSQL::Test::Utils::tempdir;
append_to_file("$dir/draw.c", <<'C');
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define DRAWS 1000000

static uint64_t s0 = 88172645463325252ULL, s1 = 0x9E3779B97F4A7C15ULL;

/* xorshift128+ */
static inline uint64_t draw(void)
{
	uint64_t a = s0, b = s1;
	s0 = b;
	a ^= a << 23;
	s1 = a ^ b ^ (a >> 17) ^ (b >> 26);
	return s1 + b;
}

static int cmp(const void *a, const void *b)
{
	double x = *(const double *) a, y = *(const double *) b;
	return (x > y) - (x < y);
}

/* share of the draws that are below x, or not above it */
static double share(const double *sum, double x, int inclusive)
{
	long low = 0, high = DRAWS;
	while (low < high)
	{
		long m = (low + high) / 2;
		if (inclusive ? sum[m] <= x : sum[m] < x)
			low = m + 1;
		else
			high = m;
	}
	return (double) low / DRAWS;
}

/* in: deals, amount and probability of each, number of points, points
 * (p, quantile); out: for each point the drawn quantile and both shares */
int main(void)
{
	int n, points;
	double *sum = malloc(DRAWS * sizeof(double));

	while (scanf("%d", &n) == 1)
	{
		double *a = malloc((n + 1) * sizeof(double)), size = 0;
		uint32_t *t = malloc((n + 1) * sizeof(uint32_t));
		for (int i = 0; i < n; i++)
		{
			double p;
			if (scanf("%lf %lf", &a[i], &p) != 2)
				return 1;
			t[i] = (uint32_t) fmin(p / 100 * 4294967296.0, 4294967295.0);
			size += fabs(a[i]);
		}
		a[n] = t[n] = 0;
		for (long k = 0; k < DRAWS; k++)
		{
			double s = 0;
			for (int i = 0; i < n; i += 2)
			{
				uint64_t r = draw();
				s += (uint32_t) r < t[i] ? a[i] : 0;
				s += (uint32_t) (r >> 32) < t[i + 1] ? a[i + 1] : 0;
			}
			sum[k] = s;
		}
		qsort(sum, DRAWS, sizeof(double), cmp);
		if (scanf("%d", &points) != 1)
			return 1;
		for (int i = 0; i < points; i++)
		{
			double p, q;
			if (scanf("%lf %lf", &p, &q) != 2)
				return 1;
			printf("%.17g %.9g %.9g\n", sum[(long) ceil(p * DRAWS - 1e-6) - 1],
				   share(sum, q - 1e-9 * size, 0), share(sum, q + 1e-9 * size, 1));
		}
		free(a);
		free(t);
	}
	return 0;
}
C

SKIP:
{
	my $cc = $ENV{CC} || 'cc';
	skip 'no C compiler', 3
	  if system("$cc -O2 -o $dir/draw $dir/draw.c -lm >$dir/cc.log 2>&1") != 0;

	my (@many, @names);
	for my $spec (
		[ 'log-normal, sigma 0.05', 'low', 60 ], [ 'log-normal, sigma 0.5', 'mixed', 33 ],
		[ 'log-normal, sigma 1', 'steps', 25 ], [ 'log-normal, sigma 1', 'mixed', 200 ],
		[ 'log-normal, sigma 2', 'low', 90 ], [ 'log-normal, sigma 2', 'mixed', 100 ],
		[ 'one whale', 'mixed', 30 ], [ 'one whale', 'low', 120 ], [ 'one whale', 'high', 50 ],
		[ 'equal', 'mixed', 45 ], [ 'equal', 'low', 120 ], [ 'one to five', 'mixed', 80 ],
		[ 'price list', 'low', 70 ], [ 'some negative', 'mixed', 90 ], [ 'tiny and huge', 'mixed', 50 ],
		[ 'tiny and huge', 'low', 100 ], [ 'zeroes among them', 'extreme', 100 ],
		[ 'log-normal, sigma 2', 'mixed', 500 ])
	{
		push @many, book(@$spec);
		push @names, "$spec->[2] deals, $spec->[0], $spec->[1] odds";
	}
	@answers = answers(@many);
	is(scalar @answers, scalar @many, 'an answer for each book of many deals');

	my $input = '';
	for my $b (0 .. $#many)
	{
		$input .= join("\n", scalar @{ $many[$b] }, (map { "$_->[0] $_->[1]" } @{ $many[$b] }), scalar @p,
			(map { "$p[$_] $answers[$b][0][$_]" } 0 .. $#p)) . "\n";
	}
	my ($out, $err) = ('', '');
	IPC::Run::run([ "$dir/draw" ], '<', \$input, '>', \$out, '2>', \$err) or die "draw: $err";
	my @lines = split /\n/, $out;
	my (@off, @chance_off);
	for my $b (0 .. $#many)
	{
		my $mean = 0;
		$mean += $_->[0] * $_->[1] / 100 for @{ $many[$b] };
		my $worst = 0;
		for my $i (0 .. $#p)
		{
			my ($drawn, $below, $upto) = split / /, shift @lines;
			my ($q, $at_least, $more) = map { $_->[$i] } @{ $answers[$b] };

			# 0.0015 is three deviations of a share of the draws
			my $good = abs($q - $drawn) <= 0.005 * abs($mean)
			  || abs($upto - $p[$i]) <= 0.005 + 0.0015
			  || ($below - 0.0015 <= $p[$i] && $p[$i] <= $upto + 0.0015);
			push @off, "$names[$b]: quantile $p[$i] is about $drawn, not $q (" . ($q - $drawn) / abs($mean) . " of the mean, $below to $upto)"
			  if !$good;
			# within the sums that are as good as equal to it
			push @chance_off, "$names[$b]: chance of $q is " . (1 - $below) . " or " . (1 - $upto) . ", not $at_least or $more"
			  if $at_least > 1 - $below + 0.0115 || $more < 1 - $upto - 0.0115;
		}
	}
	is(scalar @off, 0, scalar(@many) . ' books of 25 to 500 deals: quantiles within 0.5 % of the mean or 0.005 of p')
	  or diag(join("\n", @off));
	is(scalar @chance_off, 0, 'and chances within 0.01') or diag(join("\n", @chance_off));
}

$node->stop;
done_testing();
