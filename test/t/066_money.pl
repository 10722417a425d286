# Money at random: rates with gaps, several bases and sets, corrected and
# deleted since, and deals in many currencies.  Whatever the policy, each
# conversion is what a query over the rates and their past says, the total is
# the sum of amounts rounded once, and the totals of any split add up to it
# (I8, R-8.2 to R-8.5).
#
# The seed is printed; PIPELINES_SEED repeats a run.  PIPELINES_TEST_ALL=1 makes
# it longer.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PipelinesTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = new_seed();
my $rounds = $ENV{PIPELINES_TEST_ALL} ? 10 : 1;
my $deals = $ENV{PIPELINES_TEST_ALL} ? 5_000 : 1_500;

my $node = start_node('money');
my $db = 'postgres';
$node->safe_psql($db, 'CREATE EXTENSION pipelines');
sub value { return run_sql($node, $db, $_[0]); }

run_sql($node, $db, <<'END', 'made');
SELECT pipelines.setup();
-- all versions of rates, with the time for which they were known
CREATE VIEW known AS
SELECT rate_set, currency, base, rate_on, rate, changed_at AS since, 'infinity'::timestamptz AS until FROM pipelines.exchange_rate
UNION ALL
SELECT rate_set, currency, base, rate_on, rate, valid_from, valid_to FROM pipelines.exchange_rate_history;
-- the last rate of a pair on or before a day, as known then
CREATE FUNCTION last_rate(s text, c text, b text, d date, k timestamptz, OUT rate numeric, OUT rate_on date) LANGUAGE sql STABLE AS $$
	SELECT rate, rate_on FROM known WHERE rate_set = s AND currency = c AND base = b AND rate_on <= d AND since <= k AND k < until
	ORDER BY rate_on DESC LIMIT 1
$$;
CREATE FUNCTION wanted(a numeric, f text, t text, d date, s text, k timestamptz, OUT amount numeric, OUT oldest date) LANGUAGE plpgsql STABLE AS $$
DECLARE
	max_age integer;
BEGIN
	IF f = t THEN
		amount := a;
		RETURN;
	END IF;
	SELECT r.max_age INTO max_age FROM pipelines.rate_set r WHERE r.rate_set = s;
	IF NOT FOUND THEN
		max_age := 10;
	END IF;
	SELECT round(a * w.t, 60) / w.f, w.o INTO amount, oldest FROM (
		SELECT 1 AS place, '' AS base, x.rate AS f, 1::numeric AS t, x.rate_on AS o FROM last_rate(s, f, t, d, k) x
		UNION ALL
		SELECT 2, '', 1, x.rate, x.rate_on FROM last_rate(s, t, f, d, k) x
		UNION ALL
		SELECT 3, b.base, x.rate, y.rate, least(x.rate_on, y.rate_on)
		FROM (VALUES ('CHF'), ('EUR'), ('USD')) b (base), last_rate(s, f, b.base, d, k) x, last_rate(s, t, b.base, d, k) y
		WHERE x.rate IS NOT NULL AND y.rate IS NOT NULL) w
	WHERE w.o IS NOT NULL AND (max_age IS NULL OR d - w.o <= max_age)
	ORDER BY w.o DESC, w.place, w.base COLLATE "C" LIMIT 1;
END $$;
CREATE TABLE deal (id integer, amount numeric, currency text, created_on date, closed_on date, closed_at timestamptz, team integer, owner integer);
CREATE TABLE result (id integer, amount numeric, currency text, d date, s text, k timestamptz, team integer, owner integer, w numeric, oldest date);
END

for my $round (1 .. $rounds)
{
	value(sprintf('SELECT setseed(%.6f)', (($seed * 7919 + $round * 104729) % 1_000_000) / 1_000_000) . q{;
		DELETE FROM pipelines.rate_set;
		DELETE FROM pipelines.exchange_rate;
		INSERT INTO pipelines.rate_set (rate_set, max_age) VALUES ('plan', NULL), ('tight', 2);
		INSERT INTO pipelines.exchange_rate (rate_set, currency, base, rate_on, rate)
		SELECT s, c, b, d::date, round((random() * power(10, n % 6) + 0.00001)::numeric, 5 + (random() * 4)::integer)
		FROM unnest('{spot,plan,tight}'::text[]) s, unnest('{EUR,USD,GBP,JPY,KWD,HUF,CLF,XAU}'::text[]) WITH ORDINALITY u (c, n),
			unnest('{EUR,CHF,USD}'::text[]) b, generate_series(timestamp '2025-01-01', '2025-12-31', '1 day') d
		WHERE b <> c AND random() < CASE WHEN s = 'plan' THEN 0.02 WHEN b = 'EUR' THEN 0.7 WHEN b = 'CHF' THEN 0.1 ELSE 0.05 END
			-- a currency that ends, one that pauses
			AND NOT (c = 'HUF' AND d > '2025-06-30') AND NOT (c = 'KWD' AND d BETWEEN '2025-04-01' AND '2025-09-01')
		ON CONFLICT DO NOTHING;
	});
	# corrections at different instants, each in a transaction of its own
	my @instants = (value('SELECT clock_timestamp()'));
	for my $change ('UPDATE pipelines.exchange_rate SET rate = rate * 1.0625 WHERE random() < 0.1',
		'DELETE FROM pipelines.exchange_rate WHERE random() < 0.1',
		'UPDATE pipelines.exchange_rate SET rate = rate * 0.9375 WHERE random() < 0.1')
	{
		value(sprintf('SELECT setseed(%.6f)', (($seed + @instants * 31337) % 1_000_000) / 1_000_000) . "; $change; SELECT pg_sleep(0.01)");
		push @instants, value('SELECT clock_timestamp()');
	}
	my $instants = join(', ', map { "'$_'::timestamptz" } @instants);
	value(sprintf('SELECT setseed(%.6f)', (($seed * 13 + $round) % 1_000_000) / 1_000_000) . qq{;
		TRUNCATE deal;
		INSERT INTO deal SELECT g, CASE WHEN random() > 0.05 THEN round(((random() - 0.2) * power(10, random() * 17))::numeric, (random() * 6)::integer) END,
			(ARRAY['EUR', 'USD', 'GBP', 'JPY', 'KWD', 'HUF', 'CLF', 'XAU', 'CHF', 'SEK', NULL, 'euro'])[1 + floor(random() * 12)],
			date '2024-12-20' + floor(random() * 400)::integer,
			CASE WHEN random() < 0.7 THEN date '2024-12-20' + floor(random() * 400)::integer END,
			(ARRAY[$instants])[1 + floor(random() * $#instants)], floor(random() * 7), floor(random() * 50)
		FROM generate_series(1, $deals) g;
		UPDATE deal SET closed_at = NULL WHERE closed_on IS NULL;
	});

	for my $policy (qw(close_date frozen creation current fixed:plan@2025-08-15))
	{
		for my $to (qw(EUR JPY KWD))
		{
			value(qq{
				TRUNCATE result;
				INSERT INTO result
				SELECT d.id, d.amount, d.currency, x.d, x.s, x.k, d.team, d.owner, w.amount, w.oldest
				FROM deal d, LATERAL (SELECT pipelines.conversion_date('$policy', date '2025-12-28', d.created_on, d.closed_on) AS d,
						pipelines.conversion_rate_set('$policy', CASE WHEN d.id % 3 = 0 THEN 'tight' ELSE 'spot' END) AS s,
						pipelines.conversion_known_at('$policy', d.closed_at) AS k) x,
					wanted(d.amount, d.currency, '$to', x.d, x.s, coalesce(x.k, clock_timestamp())) w;
			});
			is(value(qq{
				SELECT concat_ws(' ', count(*), count(*) FILTER (WHERE round(pipelines.convert(amount, currency, '$to', d, s, k), 8) IS DISTINCT FROM round(w, 8)
					OR k IS NULL AND pipelines.convert(amount, currency, '$to', d, s)::text IS DISTINCT FROM pipelines.convert(amount, currency, '$to', d, s, k)::text))
				FROM result}), "$deals 0", "round $round, $policy, to $to: each conversion");
			is(value(qq{
				WITH part AS MATERIALIZED (
					SELECT team, owner, pipelines.converted_sum(amount, currency, '$to', d, s, k) AS p FROM result GROUP BY GROUPING SETS ((), (team), (owner, team))),
				whole AS (SELECT p FROM part WHERE team IS NULL),
				theirs AS (SELECT sum(round(w, pipelines.minor_units('$to'))) AS total, count(w) AS converted,
						count(*) FILTER (WHERE amount IS NULL) AS unpriced, min(oldest) FILTER (WHERE w IS NOT NULL) AS oldest FROM result),
				missing AS (SELECT jsonb_object_agg(c, jsonb_build_object('deals', n, 'amount', a)) AS j FROM (
					SELECT coalesce(currency, '') AS c, count(*) AS n, sum(amount) AS a FROM result WHERE w IS NULL AND amount IS NOT NULL GROUP BY 1) m)
				SELECT concat_ws(' ', pipelines.total(p) = total, pipelines.converted(p) = converted, pipelines.unpriced(p) = unpriced,
					pipelines.deals(p) = $deals, pipelines.oldest_rate_on(p) IS NOT DISTINCT FROM oldest, pipelines.unconverted_amounts(p) = j,
					(SELECT sum(pipelines.total(p)) FROM part WHERE team IS NOT NULL AND owner IS NULL) = total,
					(SELECT sum(pipelines.total(p)) FROM part WHERE owner IS NOT NULL) = total,
					(SELECT pipelines.rollup(p)::text FROM part WHERE owner IS NOT NULL) = p::text,
					(SELECT pipelines.rollup(p::text::pipelines.converted_sum)::text FROM part WHERE team IS NOT NULL AND owner IS NULL) = p::text)
				FROM whole, theirs, missing}), join(' ', ('t') x 10), "round $round, $policy, to $to: total, what is missing, and any split");
		}
	}
}

# Memory stays bounded however many sets are asked for in one session.
my $grown = value(q{
	DELETE FROM pipelines.exchange_rate;
	INSERT INTO pipelines.exchange_rate (rate_set, currency, base, rate_on, rate)
	SELECT 'set ' || s, 'USD', 'EUR', date '2000-01-01' + n, 1 + n FROM generate_series(1, 100) s, generate_series(0, 999) n;
	DO $$
	BEGIN
		FOR i IN 1 .. 60 LOOP
			PERFORM pipelines.convert(1, 'USD', 'EUR', '2001-01-01', 'set ' || s) FROM generate_series(1, 100) s;
			-- whatever currency a deal may name
			PERFORM pipelines.convert(1, chr(65 + n % 26) || chr(65 + n / 26) || 'Z', 'EUR', '2001-01-01', 'none') FROM generate_series(0, 600) n;
			PERFORM FROM pipelines.exchange_rate LIMIT 1;
			UPDATE pipelines.exchange_rate SET rate = rate + 1 WHERE rate_set = 'set 1' AND rate_on = '2000-01-01';
		END LOOP;
	END $$;
	SELECT total_bytes < 16 * 1024 * 1024 FROM pg_backend_memory_contexts WHERE name = 'pipelines exchange rates';
}) if value("SHOW server_version_num") >= 140000;
is($grown, 't', 'the memory for rates does not grow') if defined $grown;

repeat_recorded_seeds();
done_testing();
