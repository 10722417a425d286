# Exactness: weighted_forecast and forecast against core's numeric on random
# numbers of every size and scale, in every kind of plan and in parts; and
# flipped bytes in the binary form of every type.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('exact');
$node->init;
$node->start;
my $version = $node->safe_psql('postgres', 'SHOW server_version_num');
my $dir = PostgreSQL::Test::Utils::tempdir;

# infinite numerics exist since 14
my $infinities = $version >= 140000 ? "'Infinity', '-Infinity'," : '';

$node->safe_psql('postgres', <<"SQL");
CREATE EXTENSION pipelines;
SELECT setseed(0.20261121);
-- three kinds of groups: what fits into 128 bits, everything finite, everything
CREATE TABLE deals AS
SELECT i AS id, kind, g, h,
	CASE
		WHEN r[1] < 0.03 THEN NULL
		WHEN kind = 2 AND r[1] < 0.04 THEN (ARRAY[$infinities 'NaN', '0', '0.00'])[1 + floor(r[2] * @{[ $infinities ? 5 : 3 ]})::integer]::numeric
		WHEN kind = 0 THEN round(((r[3] - 0.3) * 10 ^ (r[4] * 14)::integer)::numeric, (r[5] * 4)::integer)
		ELSE round((r[3] - 0.3)::numeric * 10::numeric ^ (r[4] * 40)::integer + (r[6] * 1e-9)::numeric, (r[5] * 20)::integer)
	END AS amount,
	CASE
		WHEN r[7] < 0.03 THEN NULL
		WHEN r[7] < 0.06 THEN 0
		WHEN r[7] < 0.09 THEN 100
		WHEN kind = 0 THEN round((r[8] * 100)::numeric, (r[9] * 4)::integer)
		ELSE round(r[8]::numeric * 100 + (r[6] * 1e-10)::numeric - 1e-10, (r[9] * 20)::integer)
	END AS probability,
	round((r[8] * 100)::numeric, 2)::pipelines.probability AS chance,
	(ARRAY['open', 'open', 'open', 'on_hold', 'won', 'lost', 'disqualified', 'done'])[1 + floor(r[10] * 8)::integer] AS outcome
FROM (SELECT i, i % 3 AS kind, floor(random() * 100)::integer AS g, i % 7 AS h,
		ARRAY[random(), random(), random(), random(), random(), random(), random(), random(), random(), random()] AS r
	FROM generate_series(1, 6000) AS i) AS t;
UPDATE deals SET probability = greatest(probability, 0) WHERE probability < 0;
ANALYZE deals;
SQL

is($node->safe_psql('postgres', <<'SQL'), "3|t|t|t", 'the numbers are of every size and scale');
SELECT count(DISTINCT kind), max(scale(amount)) = 20, max(abs(amount)) FILTER (WHERE amount::text !~ '[NI]') > 1e39,
	bool_or(amount < 0) FROM deals
SQL

# what must be the same, by group; a figure that differs is listed
my $figures = <<'SQL';
	pipelines.weighted_forecast(amount, probability)::text AS a1,
	(sum(amount * probability) * 0.01)::text AS b1,
	pipelines.weighted_forecast(amount, chance)::text AS a2,
	(sum(amount * chance::numeric) * 0.01)::text AS b2,
	pipelines.weighted_forecast(amount, probability) FILTER (WHERE id % 2 = 0)::text AS a3,
	(sum(amount * probability) FILTER (WHERE id % 2 = 0) * 0.01)::text AS b3,
	pipelines.forecast(amount, probability, outcome) AS f,
	count(*) AS deals, count(*) FILTER (WHERE outcome = 'open') AS open_deals,
	count(*) FILTER (WHERE amount IS NULL) AS unpriced,
	count(*) FILTER (WHERE outcome = 'open' AND probability IS NULL AND amount IS NOT NULL) AS unrated,
	sum(amount) FILTER (WHERE outcome = 'open')::text AS pipeline,
	(sum(amount * probability) FILTER (WHERE outcome = 'open') * 0.01)::text AS weighted,
	sum(amount) FILTER (WHERE outcome = 'won')::text AS won, sum(amount) FILTER (WHERE outcome = 'lost')::text AS lost
SQL
my $differs = <<'SQL';
	a1 IS DISTINCT FROM b1 OR a2 IS DISTINCT FROM b2 OR a3 IS DISTINCT FROM b3
	OR pipelines.deals(f) IS DISTINCT FROM deals OR pipelines.open_deals(f) IS DISTINCT FROM open_deals
	OR pipelines.unpriced(f) IS DISTINCT FROM unpriced OR pipelines.unrated(f) IS DISTINCT FROM unrated
	OR pipelines.pipeline(f)::text IS DISTINCT FROM pipeline OR pipelines.weighted(f)::text IS DISTINCT FROM weighted
	OR pipelines.won(f)::text IS DISTINCT FROM won OR pipelines.lost(f)::text IS DISTINCT FROM lost
SQL

my $parallel = 'SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET max_parallel_workers_per_gather = 2;';
for my $case (
	[ 'one group each', '', 'GROUP BY id', 6000 ],
	[ 'hash', 'SET enable_sort = off;', 'GROUP BY kind, g', 300 ],
	[ 'sort', 'SET enable_hashagg = off;', 'GROUP BY kind, g', 300 ],
	[ 'parallel hash', "$parallel SET enable_sort = off;", 'GROUP BY kind, g', 300 ],
	[ 'parallel sort', "$parallel SET enable_hashagg = off;", 'GROUP BY kind, h', 21 ],
	[ 'everything', '', 'GROUP BY kind', 3 ],
	[ 'parallel, everything', $parallel, 'GROUP BY kind', 3 ],
	[ 'rollup', '', 'GROUP BY kind, ROLLUP (g, h)', undef ],
	[ 'cube, little memory', "SET work_mem = '64kB';", 'WHERE g < 20 GROUP BY kind, CUBE (g, h)', undef ],
	[ 'spilled', "SET work_mem = '64kB'; SET enable_sort = off;", 'WHERE g < 50 GROUP BY kind, g, h', undef ])
{
	my ($name, $set, $group, $groups) = @$case;
	my $out = $node->safe_psql('postgres', <<"SQL");
SET jit = off; $set
WITH t AS MATERIALIZED (SELECT min(id) AS first, $figures FROM deals $group)
SELECT count(*), count(*) FILTER (WHERE $differs),
	(array_agg(first || ': ' || concat_ws(' ', a1, b1, a2, b2, a3, b3, f::jsonb, pipeline, weighted, won, lost)) FILTER (WHERE $differs))[1] FROM t
SQL
	my ($n, $bad, $first) = split /\|/, $out;
	is($bad, 0, "$name: the same figures as core's, to the last digit shown") or diag($first);
	is($n, $groups, "$name: number of groups") if defined $groups;
}

# moving frames
for my $frame ('ROWS BETWEEN 3 PRECEDING AND CURRENT ROW', 'ROWS BETWEEN 20 PRECEDING AND 5 PRECEDING',
	'ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW', 'ROWS BETWEEN CURRENT ROW AND 2 FOLLOWING EXCLUDE TIES',
	'RANGE BETWEEN 5 PRECEDING AND 5 FOLLOWING')
{
	my $out = $node->safe_psql('postgres', <<"SQL");
WITH t AS MATERIALIZED (SELECT id,
	pipelines.weighted_forecast(amount, probability) OVER w::text AS a1, (sum(amount * probability) OVER w * 0.01)::text AS b1,
	pipelines.weighted_forecast(amount, chance) OVER w::text AS a2, (sum(amount * chance::numeric) OVER w * 0.01)::text AS b2
	FROM deals WINDOW w AS (PARTITION BY kind, g ORDER BY id $frame))
SELECT count(*) > 5000, count(*) FILTER (WHERE a1 IS DISTINCT FROM b1 OR a2 IS DISTINCT FROM b2),
	(array_agg(concat_ws(' ', id, a1, b1, a2, b2)) FILTER (WHERE a1 IS DISTINCT FROM b1 OR a2 IS DISTINCT FROM b2))[1] FROM t
SQL
	my ($many, $bad, $first) = split /\|/, $out;
	is("$many $bad", 't 0', "moving frame, $frame") or diag($first);
}

# parts, combined in random trees, by way of the text and the binary form
$node->safe_psql('postgres', <<"SQL");
CREATE AGGREGATE weighted_state(numeric, numeric) (SFUNC = pipelines._weighted_add, STYPE = pipelines.weighted_sum);
CREATE AGGREGATE weighted_rollup(pipelines.weighted_sum) (SFUNC = pipelines._weighted_combine, STYPE = pipelines.weighted_sum);
SELECT setseed(0.5);
CREATE TABLE part AS SELECT kind, floor(random() * 40)::integer AS node, f, w, false AS used
	FROM (SELECT kind, floor(random() * 300)::integer AS leaf, pipelines.forecast(amount, probability, outcome) AS f, weighted_state(amount, probability) AS w
		FROM deals GROUP BY 1, 2) AS t;
-- forms, twice each
UPDATE part SET f = f::text::pipelines.forecast, w = w::text::pipelines.weighted_sum WHERE node % 2 = 0;
COPY part TO '$dir/part' (FORMAT binary);
CREATE TABLE part2 (LIKE part);
COPY part2 FROM '$dir/part' (FORMAT binary);
CREATE TABLE part3 AS SELECT kind, floor(random() * 5)::integer AS node, pipelines.rollup(f ORDER BY random()) AS f, weighted_rollup(w ORDER BY random()) AS w
	FROM part2 GROUP BY kind, part2.node;
UPDATE part3 SET f = f::text::pipelines.forecast WHERE node % 2 = 0;
CREATE TABLE part4 AS SELECT kind, pipelines.rollup(f) AS f, weighted_rollup(w) AS w
	FROM (SELECT kind, pipelines.rollup(f) AS f, weighted_rollup(w) AS w FROM part3 GROUP BY kind, node) AS t GROUP BY kind;
SQL
is($node->safe_psql('postgres', <<'SQL'), '3|t|t|t|t|t', 'combined in random trees, through text and binary');
SELECT count(*), bool_and(pipelines._weighted_result(p.w)::text = d.w), bool_and(pipelines.weighted(p.f)::text = d.v),
	bool_and(p.f OPERATOR(pipelines.=) d.f),
	bool_and(pipelines.pipeline(p.f)::text = pipelines.pipeline(d.f)::text AND pipelines.won(p.f)::text = pipelines.won(d.f)::text),
	bool_and(kind = 2 OR abs(pipelines.stddev(p.f) / pipelines.stddev(d.f) - 1) < 1e-9)
FROM part4 AS p JOIN (SELECT kind, (sum(amount * probability) * 0.01)::text AS w, (sum(amount * probability) FILTER (WHERE outcome = 'open') * 0.01)::text AS v,
	pipelines.forecast(amount, probability, outcome) AS f FROM deals GROUP BY kind) AS d USING (kind)
SQL
is($node->safe_psql('postgres', <<'SQL'), 't|t|t', 'text and binary forms are lossless');
SELECT count(*) > 100, bool_and(a.f::text = a.f::text::pipelines.forecast::text AND a.w::text = a.w::text::pipelines.weighted_sum::text),
	(SELECT array_agg((f::text, w::text) ORDER BY f::text, w::text) FROM part) = (SELECT array_agg((f::text, w::text) ORDER BY f::text, w::text) FROM part2)
FROM part AS a
SQL
is($node->safe_psql('postgres', q{SET extra_float_digits = -10; SET lc_numeric = 'C'; SELECT bool_and(f::text::pipelines.forecast::text = f::text) FROM part}),
	't', 'whatever the settings');

# ---------------------------------------------------------------------------
# flipped bytes
# ---------------------------------------------------------------------------

# Takes one row apart that was written by COPY BINARY, damages each byte of the
# value in turn, and reads it back; what is accepted must be usable.
$node->safe_psql('postgres', <<"SQL");
CREATE TABLE sample (name text, type text, value text);
INSERT INTO sample SELECT 'probability', 'pipelines.probability', '62.5';
INSERT INTO sample SELECT 'weighted sum', 'pipelines.weighted_sum', weighted_state(a, p) FROM (VALUES (100.5, 50), (1e25, 33.333333), (NULL, 5), ('NaN', 1)) AS v(a, p);
INSERT INTO sample SELECT 'small forecast', 'pipelines.forecast', pipelines.forecast(a, p, o, 'EUR')
	FROM (VALUES (100.25, 50, 'open'), (1e25, 10, 'open'), (NULL, 10, 'open'), (5, NULL, 'won'), (7, 0, 'lost')) AS v(a, p, o);
INSERT INTO sample SELECT 'large forecast', 'pipelines.forecast', pipelines.forecast(1000.01 * i, 10 + i % 80, 'open') FROM generate_series(1, 150) AS i;
CREATE FUNCTION use(value pipelines.forecast) RETURNS void LANGUAGE sql AS \$\$
	SELECT value::jsonb, pipelines.chance(value, 1), (value OPERATOR(pipelines.+) value)::text::pipelines.forecast,
		value::text::pipelines.forecast \$\$;
CREATE FUNCTION use(value pipelines.weighted_sum) RETURNS void LANGUAGE sql AS \$\$
	SELECT pipelines._weighted_result(value), pipelines._weighted_combine(value, value)::text::pipelines.weighted_sum, value::text::pipelines.weighted_sum \$\$;
CREATE FUNCTION use(value pipelines.probability) RETURNS void LANGUAGE sql AS \$\$
	SELECT value::numeric, value::text::pipelines.probability \$\$;
CREATE FUNCTION damage(name text, type text, value text, every integer, OUT tried bigint, OUT accepted bigint, OUT states text) LANGUAGE plpgsql AS \$\$
DECLARE
	file text := '$dir/damaged';
	good bytea;
	bad bytea;
	lo oid;
	state text;
	i integer;
	change text;
	found text[] := '{}';
BEGIN
	tried := 0;
	accepted := 0;
	EXECUTE format('CREATE TEMP TABLE damaged (value %s)', type);
	EXECUTE format('INSERT INTO damaged VALUES (%L)', value);
	EXECUTE format('COPY damaged TO %L (FORMAT binary)', file);
	good := pg_read_binary_file(file);
	-- 19 bytes of file header, 2 of the number of fields, 4 of the length; 2 of the trailer
	i := 25;
	WHILE i < length(good) - 2 LOOP
		FOREACH change IN ARRAY ARRAY['flip', 'sign', 'ones', 'zero', 'cut'] LOOP
			bad := CASE change WHEN 'flip' THEN set_byte(good, i, get_byte(good, i) # (1 << (i % 8))) WHEN 'sign' THEN set_byte(good, i, get_byte(good, i) # 128)
				WHEN 'ones' THEN set_byte(good, i, 255) WHEN 'zero' THEN set_byte(good, i, 0)
				-- the value ends here
				ELSE substr(good, 1, 21) || int4send(i - 25) || substr(good, 26, i - 25) || '\\xffff' END;
			CONTINUE WHEN bad = good;
			tried := tried + 1;
			lo := lo_from_bytea(0, bad);
			PERFORM lo_export(lo, file);
			PERFORM lo_unlink(lo);
			BEGIN
				TRUNCATE damaged;
				EXECUTE format('COPY damaged FROM %L (FORMAT binary)', file);
				PERFORM use(d.value) FROM damaged AS d;
				accepted := accepted + 1;
			EXCEPTION WHEN OTHERS THEN
				GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE;
				IF state <> ALL (found) THEN
					found := found || state;
				END IF;
			END;
		END LOOP;
		i := i + every;
	END LOOP;
	DROP TABLE damaged;
	SELECT string_agg(s, ' ' ORDER BY s) INTO states FROM unnest(found) AS s;
END \$\$;
SQL
for my $case ([ 'probability', 1 ], [ 'weighted sum', 1 ], [ 'small forecast', 1 ], [ 'large forecast', 11 ])
{
	my ($name, $every) = @$case;
	my ($status, $out, $err);
	$status = $node->psql('postgres', "SELECT tried, accepted < tried, states FROM sample, damage(name, type, value, $every) WHERE name = '$name'",
		stdout => \$out, stderr => \$err);
	is($status, 0, "$name: damaged byte by byte, and the server lives") or diag($err);
	my ($tried, $some, $states) = split /\|/, $out // '';
	cmp_ok($tried, '>', 5, "$name: $tried damages");
	is($some, 't', "$name: not all are accepted");

	# 22P03 binary form, 22P02 text in it, 22003 out of range, 08P01 cut short, 22021 bytes that are no text
	like($states, qr/^(?:(?:22P03|22P02|22003|08P01|22021) ?)+$/, "$name: refused with the right codes");
}

$node->stop;
done_testing();
