# The reference rates of the European Central Bank, 1999 to 2025: all days and
# currencies load, the conversions that were worked out without a database come
# out equal, the limit in days turns old ones into NULL and says so, and a
# million conversions on random days are what plain arithmetic gives (R-8.1,
# R-8.2, R-8.4).
use strict;
use warnings;

use File::Basename qw(dirname);
use lib dirname(__FILE__);
use PostgreSQL::Test::Utils;
use RealData;
use Test::More;

my $folder = data_folder('ecb_fx');
my $want = oracle("$folder/oracle_ecb_fx.json");
my $node = start_node('ecb');

sub sql { return $node->safe_psql('postgres', $_[0]); }

# ----- load: newest first, N/A where there is none, an empty column at the end

open my $handle, '<', "$folder/eurofxref-hist.csv" or die "$!";
my @currencies = split /,/, (<$handle> =~ s/\s+$//r);
close $handle;
shift @currencies;
sql('CREATE TABLE file (day date, ' . join(', ', map { "\"$_\" text" } @currencies, 'nothing') . ");
	COPY file FROM '$folder/eurofxref-hist.csv' (FORMAT csv, HEADER);
	CREATE TABLE cell AS SELECT f.day, c.key AS currency, c.value FROM file f, jsonb_each_text(to_jsonb(f) - 'day' - 'nothing') c;
	SELECT pipelines.setup();");
is(sql('SELECT count(*) FROM file'), $want->{days}, 'days in the file');
is(sql(q{SELECT count(*) FROM cell WHERE value = 'N/A'}), $want->{na_cells}, 'cells without a rate');
sql(q{
	INSERT INTO pipelines.rate_set (rate_set, max_age, description) VALUES ('any age', NULL, 'Without limit');
	INSERT INTO pipelines.exchange_rate (rate_set, currency, base, rate_on, rate)
	SELECT s, currency, 'EUR', day, value::numeric FROM cell, unnest('{spot,any age}'::text[]) s WHERE value <> 'N/A';
});
my $rates = 0;
$rates += $_->{n} for values %{ $want->{coverage} };
is(sql(q{SELECT concat_ws(' ', rates, currencies, first_on, last_on, max_age) FROM pipelines.rate_sets() WHERE rate_set = 'spot'}),
	"$rates $want->{currencies} $want->{first} $want->{last} 10", 'what rate_sets() says');
same_figures(
	figures($node, q{SELECT json_object_agg(currency, json_build_object('n', n, 'first', f, 'last', l)) FROM (
		SELECT currency, count(*) n, min(rate_on) f, max(rate_on) l FROM pipelines.exchange_rate WHERE rate_set = 'spot' GROUP BY 1) c}),
	$want->{coverage}, 'coverage');
is(sql(q{SELECT string_agg(currency, ' ') FROM unnest(ARRAY(SELECT DISTINCT currency FROM pipelines.exchange_rate)) currency
		WHERE pipelines.minor_units(currency) NOT IN (0, 2)}), '', 'every one of them is in ISO 4217');

# ----- the conversions that were worked out

my @given = @{ $want->{conversions_last_rate_on_or_before} };
my $values = join(', ', map { "($_, $given[$_]{amount}, '$given[$_]{from}', '$given[$_]{to}', date '$given[$_]{on}')" } 0 .. $#given);
my $got = figures($node, qq{
	SELECT json_agg(json_build_object(
			'exact', round(pipelines.convert(a, f, t, d, 'any age'), 8)::text,
			'rounded', round(pipelines.convert(a, f, t, d, 'any age'), 2)::text,
			'from_rate', r.from_rate, 'from_rate_date', coalesce(r.from_rate_on, d), 'to_rate', r.to_rate, 'to_rate_date', coalesce(r.to_rate_on, d),
			'stale_days', d - r.oldest_rate_on,
			'limited', round(pipelines.convert(a, f, t, d), 8)::text, 'problem', l.problem) ORDER BY i)
	FROM (VALUES $values) v (i, a, f, t, d), pipelines.rate_on(f, t, d, 'any age') r, pipelines.rate_on(f, t, d) l});
my %old;
for my $i (0 .. $#given)
{
	my ($c, $g) = ($given[$i], $got->[$i]);
	my $title = "$c->{amount} $c->{from} to $c->{to} on $c->{on}";
	# JSON has them without zeroes at the end
	my $exact = sprintf('%.8f', $c->{result});
	my $is_old = $c->{stale_days} > 10;

	is($g->{exact}, $exact, $title);
	is($g->{rounded}, $c->{rounded_2}, "$title, rounded");
	is(join(' ', map { $_ // '-' } $g->{limited}, $g->{problem}), $is_old ? '- too old' : "$exact -", "$title, at most ten days old");
	next if $c->{from} eq $c->{to};
	same_figures({ map { $_ => $g->{$_} } qw(from_rate from_rate_date to_rate to_rate_date stale_days) },
		{ map { $_ => $c->{$_} } qw(from_rate from_rate_date to_rate to_rate_date stale_days) }, "$title, what was used");
	$old{ $c->{from} } += 1 if $is_old;
}
is(join(' ', sort keys %old), 'EEK HRK ISK USD', 'rates older than ten days');

# the aggregate says of the same conversions which were left out
my $all = figures($node, qq{SELECT pipelines.converted_sum(a, f, 'EUR', d, 'spot')::jsonb FROM (VALUES $values) v (i, a, f, t, d) WHERE t = 'EUR'});
is($all->{deals}, scalar(grep { $_->{to} eq 'EUR' } @given), 'converted_sum counts all');
is(join(' ', map { "$_=$all->{unconverted_amounts}{$_}{deals}" } sort keys %{ $all->{unconverted_amounts} }),
	join(' ', map { "$_=$old{$_}" } sort keys %old), 'and lists what it could not convert');
ok(!$all->{complete}, 'and is not complete');

for my $none (sort keys %{ $want->{no_rate} })
{
	my ($currency, $day) = $none =~ /^(\w+) on ([\d-]+)/ or die;
	is(sql("SELECT pipelines.convert(1, '$currency', 'EUR', '$day', 'any age') IS NULL AND problem = 'missing'
		FROM pipelines.rate_on('$currency', 'EUR', '$day', 'any age')"), 't', "no rate: $none");
}

# a currency that ended, one that paused, and the day on which each comes back or goes
is(sql(q{SELECT string_agg(coalesce(round(pipelines.convert(100, c, 'EUR', d::date), 4)::text, 'none'), ' ')
	FROM (VALUES ('HRK', '2022-12-30'), ('HRK', '2023-01-09'), ('HRK', '2023-01-10'), ('ISK', '2008-12-09'), ('ISK', '2008-12-19'), ('ISK', '2008-12-20'),
		('ISK', '2018-02-04'), ('ISK', '2018-02-05'), ('RUB', '2022-03-11'), ('RUB', '2022-03-12')) v (c, d)}),
	sql(q{SELECT string_agg(coalesce(round(100 / (SELECT value::numeric FROM cell WHERE currency = c AND value <> 'N/A' AND day <= d::date AND day >= d::date - 10
		ORDER BY day DESC LIMIT 1), 4)::text, 'none'), ' ')
	FROM (VALUES ('HRK', '2022-12-30'), ('HRK', '2023-01-09'), ('HRK', '2023-01-10'), ('ISK', '2008-12-09'), ('ISK', '2008-12-19'), ('ISK', '2008-12-20'),
		('ISK', '2018-02-04'), ('ISK', '2018-02-05'), ('RUB', '2022-03-11'), ('RUB', '2022-03-12')) v (c, d)}),
	'currencies that end or pause');

# ----- a million conversions on random days, or a part of them

my $n = $ENV{PIPELINES_TEST_ALL} ? 1_000_000 : 200_000;
sql(qq{
	SELECT setseed(0.25);
	CREATE TABLE conversion AS
	SELECT g AS id, (ARRAY(SELECT DISTINCT currency FROM cell UNION ALL SELECT 'EUR'))[1 + floor(random() * 42)] AS f,
		(ARRAY(SELECT DISTINCT currency FROM cell UNION ALL SELECT 'EUR'))[1 + floor(random() * 42)] AS t,
		date '1998-12-15' + floor(random() * 9700)::integer AS d,
		round(((random() - 0.1) * power(10, 1 + g % 9))::numeric, g % 5) AS a
	FROM generate_series(1, $n) g;
	-- the last rate on or before each day, as plain SQL fills gaps
	CREATE TABLE daily AS
	SELECT currency, d, max(day) OVER w AS day, CASE WHEN count(day) OVER w > 0 THEN max(rate) OVER (PARTITION BY currency, part) END AS rate
	FROM (SELECT c.currency, g.d::date AS d, r.day, r.value::numeric AS rate, count(r.day) OVER (PARTITION BY c.currency ORDER BY g.d) AS part
		FROM (SELECT DISTINCT currency FROM cell) c
			CROSS JOIN generate_series(timestamp '1998-12-15', '2025-07-15', '1 day') g (d)
			LEFT JOIN cell r ON r.currency = c.currency AND r.day = g.d AND r.value <> 'N/A') x
	WINDOW w AS (PARTITION BY currency ORDER BY d);
	INSERT INTO daily SELECT 'EUR', g.d::date, NULL, 1 FROM generate_series(timestamp '1998-12-15', '2025-07-15', '1 day') g (d);
	ANALYZE daily; ANALYZE conversion;
	CREATE TABLE wanted AS
	SELECT c.*, round(c.a * t.rate, 40) / f.rate AS exact, least(f.day, t.day) AS oldest
	FROM conversion c LEFT JOIN daily f ON f.currency = c.f AND f.d = c.d LEFT JOIN daily t ON t.currency = c.t AND t.d = c.d;
});
for my $set ('spot', 'any age')
{
	my $limit = $set eq 'spot' ? 'c.d - oldest <= 10' : 'true';
	is(sql(qq{
		SELECT concat_ws(' ', count(*), count(*) FILTER (WHERE ours IS NULL AND theirs IS NULL) BETWEEN $n / 10 AND $n * 9 / 10,
			count(*) FILTER (WHERE round(ours, 8) IS DISTINCT FROM round(theirs, 8)))
		FROM (SELECT pipelines.convert(c.a, c.f, c.t, c.d, '$set') AS ours,
				CASE WHEN c.f = c.t THEN c.a WHEN $limit THEN exact END AS theirs
			FROM wanted c) x}),
		"$n t 0", "$n conversions on random days, $set");
	is(sql(qq{
		SELECT (s::jsonb ->> 'total')::numeric IS NOT DISTINCT FROM total AND pipelines.unconverted(s) = missing
			AND pipelines.oldest_rate_on(s) = oldest AND pipelines.deals(s) = $n
		FROM (SELECT pipelines.converted_sum(c.a, c.f, 'USD', c.d, '$set') AS s FROM conversion c) o,
			(SELECT sum(CASE WHEN c.f = 'USD' THEN round(c.a, 2) ELSE round(round(c.a * u.rate, 40) / f.rate, 2) END) FILTER (WHERE ok) AS total,
				count(*) FILTER (WHERE ok IS NOT TRUE) AS missing, min(least(f.day, u.day)) FILTER (WHERE ok AND c.f <> 'USD') AS oldest
			FROM conversion c LEFT JOIN daily f ON f.currency = c.f AND f.d = c.d LEFT JOIN daily u ON u.currency = 'USD' AND u.d = c.d,
				LATERAL (SELECT c.f = 'USD' OR f.rate IS NOT NULL AND u.rate IS NOT NULL} . ($set eq 'spot' ? ' AND c.d - least(f.day, u.day) <= 10' : '') . qq{ AS ok) k) w}),
		't', "their total, each rounded once, $set");
}
is(sql(q{
	SELECT count(*) FILTER (WHERE pipelines.convert(a, f, t, c.d, 'any age')::text <> (round(a * x.rate, 20) / y.rate)::text)
	FROM conversion c JOIN daily y ON y.currency = c.f AND y.d = c.d JOIN daily x ON x.currency = c.t AND x.d = c.d
	WHERE f <> t AND abs(a * x.rate / y.rate) >= 1}),
	0, 'digit by digit what one division of numeric gives');

done_testing();
