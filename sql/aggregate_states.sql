-- States of the aggregates behind the reports: real ones, so that they can be
-- sent, combined and pushed down (DESIGN: no internal state; R-3.1, R-3.7,
-- R-11.1).  The same result however the rows are split, what is no state is an
-- error, and a state is nobody's but its aggregate's.
-- In a database of its own, so that every id is the same in every run.
\set ECHO none
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_pipelines_aggregate_states;
CREATE DATABASE regress_pipelines_aggregate_states TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\set home :DBNAME
\c regress_pipelines_aggregate_states
\set ECHO all
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE EXTENSION pipelines;
\pset null '-'
CREATE FUNCTION try(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text; result text;
BEGIN
	EXECUTE command INTO result;
	RETURN coalesce(result, 'NULL');
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN concat_ws(' | ', SQLSTATE || ': ' || SQLERRM, nullif(detail, ''));
END
$$;

-- none is internal, each can be combined; but for five, each may run in parallel
SELECT count(*) > 10 AS several, count(*) FILTER (WHERE t.typtype = 'p') AS internal,
	count(*) FILTER (WHERE a.aggcombinefn = 0) AS not_combined, count(*) FILTER (WHERE p.proparallel <> 's') AS not_parallel
FROM pg_aggregate a
JOIN pg_proc p ON p.oid = a.aggfnoid
JOIN pg_type t ON t.oid = a.aggtranstype
WHERE p.pronamespace = 'pipelines'::regnamespace;

--
-- The same in parallel: keys that are numbers, and keys that are not
--
SELECT pipelines.create_pipeline('Sales', time_zone => 'UTC', stages => '[
	{"name": "Lead", "probability": 10}, {"name": "Demo", "probability": 30}, {"name": "Offer", "probability": 60},
	{"name": "Won", "outcome": "won"}, {"name": "Lost", "outcome": "lost"}, {"name": "Over", "outcome": "done"}]');
SELECT pipelines.create_deals('numbered', currency => 'EUR');
SELECT pipelines.create_deals('named', currency => 'EUR', key => '{tenant,deal_no}');
-- 600 deals that go this way and that; one in seven comes back after its closing
CREATE VIEW events AS
SELECT g AS deal_id, timestamptz '2024-01-01' + (g % 200 + v * (1 + g % 11)) * interval '1 day' + g * interval '1 second' AS at,
	CASE WHEN v = 5 AND g % 7 > 0 THEN (ARRAY['Won', 'Lost', 'Won', 'Over', 'Demo'])[1 + g % 5]
		 WHEN v = 5 THEN 'Won'
		 ELSE (ARRAY['Lead', 'Demo', 'Lead', 'Demo', 'Offer'])[1 + (v + g % 2) % 5] END AS stage,
	'owner ' || g % 4 AS owner, (ARRAY['web', 'fair', NULL])[1 + g % 3] AS source, g * 10.0 AS amount
FROM generate_series(1, 600) g, generate_series(0, 6) v
WHERE v < 6 OR g % 7 = 0;
CREATE VIEW named_events AS SELECT deal_id % 3 AS tenant, deal_id AS deal_no, e.at, e.stage, e.owner, e.source, e.amount FROM events e;
SELECT count(*) FROM pipelines.import_history('numbered', 'events');
SELECT count(*) FROM pipelines.import_history('named', 'named_events');
SELECT (SELECT count(*) FROM numbered_history) AS numbered, (SELECT count(*) FROM named_history) AS named;
ANALYZE;

CREATE FUNCTION alike(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	apart bigint; rows bigint;
BEGIN
	SET LOCAL max_parallel_workers_per_gather = 0;
	EXECUTE 'CREATE TEMP TABLE serial AS ' || query;
	SET LOCAL max_parallel_workers_per_gather = 2;
	SET LOCAL parallel_setup_cost = 0;
	SET LOCAL cpu_operator_cost = 0;
	SET LOCAL min_parallel_table_scan_size = 0;
	SET LOCAL parallel_leader_participation = off;
	EXECUTE 'CREATE TEMP TABLE parallel AS ' || query;
	SELECT count(*) INTO rows FROM serial;
	SELECT count(*) INTO apart FROM (
		(SELECT to_jsonb(s) FROM serial s EXCEPT ALL SELECT to_jsonb(p) FROM parallel p)
		UNION ALL
		(SELECT to_jsonb(p) FROM parallel p EXCEPT ALL SELECT to_jsonb(s) FROM serial s)) x;
	DROP TABLE serial, parallel;
	RETURN format('%s rows, %s differ', rows, apart);
END
$$;
SELECT t, mode, alike(format('SELECT * FROM pipelines.funnel(%L, %L, as_of => ''2024-09-01'')', t, mode)) AS plain,
	alike(format('SELECT * FROM pipelines.funnel(%L, %L, by => ''owner'', cohort => ''entered_first_stage_in'', since => ''2024-02-01'', as_of => ''2024-06-01'')', t, mode)) AS cohort
FROM unnest('{numbered,named}'::text[]) t, unnest('{any,strict,reached,direct}'::text[]) mode ORDER BY 1, 2;
SELECT t, measure, alike(format('SELECT * FROM pipelines.time_in_stage(%L, measure => %L, by => ''source'', survival => true, as_of => ''2024-06-01'')', t, measure))
FROM unnest('{numbered,named}'::text[]) t, unnest('{visit,latest,cumulative}'::text[]) measure ORDER BY 1, 2;
SELECT t, report, alike(format('SELECT * FROM pipelines.%s(%L, as_of => ''2024-09-01'')', report, t))
FROM unnest('{numbered,named}'::text[]) t, unnest('{cycle,velocity,win_rate}'::text[]) report ORDER BY 1, 2;
-- those of funnels are combined by other planners than PostgreSQL's own: one like it
CREATE AGGREGATE scored(jsonb, timestamptz, timestamptz, bigint, bigint, integer, integer, timestamptz, timestamptz, integer, integer, integer, timestamptz, text, text[]) (SFUNC = pipelines._score_see, STYPE = bytea, COMBINEFUNC = pipelines._score_combine,
	FINALFUNC = pipelines._score_counts_final, FINALFUNC_MODIFY = READ_WRITE, PARALLEL = SAFE);
CREATE AGGREGATE judged(jsonb, timestamptz, timestamptz, bigint, bigint, integer, integer, timestamptz, timestamptz, integer, integer, integer, timestamptz, text, text[]) (SFUNC = pipelines._score_see, STYPE = bytea, COMBINEFUNC = pipelines._score_combine,
	FINALFUNC = pipelines._score_bins_final, FINALFUNC_MODIFY = READ_WRITE, PARALLEL = SAFE);
CREATE AGGREGATE funnelled(integer[], text, text, bigint, integer, integer, integer, boolean, text, boolean, text) (SFUNC = pipelines._funnel_add,
	STYPE = bytea, COMBINEFUNC = pipelines._funnel_combine, FINALFUNC = pipelines._funnel_result, FINALFUNC_MODIFY = READ_WRITE, PARALLEL = SAFE);
CREATE AGGREGATE funnelled(integer[], text, text, text, integer, integer, integer, boolean, text, boolean, text) (SFUNC = pipelines._funnel_add,
	STYPE = bytea, COMBINEFUNC = pipelines._funnel_combine, FINALFUNC = pipelines._funnel_result, FINALFUNC_MODIFY = READ_WRITE, PARALLEL = SAFE);
SELECT t, mode, alike(format($q$SELECT e FROM jsonb_array_elements((
		SELECT funnelled(%L, %L, 'entered_stage_in', %s, x.version, x.pipeline_id, x.stage_id, x.inside, x.outcome, x.outcome IS NOT NULL, x.owner)::jsonb
		FROM (SELECT h.*, h.valid_from < '2024-03-01' AS inside, NULL AS outcome FROM %I h WHERE h.to_stage_id <> h.stage_id
			  UNION ALL
			  SELECT h.*, h.valid_from < '2024-03-01', s.outcome FROM %I h JOIN pipelines.pipeline_stage s ON s.stage_id = h.stage_id
			  WHERE h.version = 5) x)) e$q$,
	(SELECT array_agg(v ORDER BY s.position, n) FROM pipelines.pipeline_stage s
	 CROSS JOIN LATERAL unnest(ARRAY[s.pipeline_id, s.stage_id, (s.position - 1)::integer, CASE s.outcome WHEN 'won' THEN 1 WHEN 'done' THEN 2 ELSE 0 END]) WITH ORDINALITY u(v, n)
	 WHERE s.outcome IN ('open', 'won', 'done')), mode, key, t || '_history', t || '_history')) AS alike
FROM (VALUES ('numbered', 'x.deal_id'), ('named', 'ROW(x.tenant, x.deal_no)::text')) v(t, key), unnest('{any,strict,reached,direct}'::text[]) mode ORDER BY 1, 2;
-- keys close to each other and far from each other, below zero, and what becomes of keys that were far at first: all the same
CREATE FUNCTION funnel_of(key text, mode text, sorted text) RETURNS text LANGUAGE sql AS $$
	SELECT format('SELECT jsonb_agg(e ORDER BY e::text) FROM jsonb_array_elements((SELECT funnelled(%L, %L, ''created_in'', %s, x.version, x.pipeline_id, x.stage_id, true,
		x.outcome, x.outcome IS NOT NULL, x.owner %s)::jsonb
		FROM (SELECT h.*, NULL AS outcome FROM numbered_history h WHERE h.version < 5
			  UNION ALL
			  SELECT h.*, s.outcome FROM numbered_history h JOIN pipelines.pipeline_stage s ON s.stage_id = h.stage_id WHERE h.version = 5) x)) e',
		'{1,1,0,0,1,2,1,0,1,3,2,0,1,4,3,1,1,6,4,2}', $2, $1, $3)
$$;
CREATE FUNCTION answer(query text) RETURNS text LANGUAGE plpgsql AS 'DECLARE r text; BEGIN EXECUTE query INTO r; RETURN r; END';
SELECT mode, count(*) AS asked, count(DISTINCT answer(funnel_of(key, mode, sorted))) AS answers
FROM unnest('{any,strict,reached,direct}'::text[]) mode,
	unnest(ARRAY['deal_id', '-deal_id', 'deal_id * 4096', 'deal_id * 99999999999', 'CASE WHEN deal_id % 2 = 0 THEN deal_id ELSE deal_id * 4096 * 77 END',
		'9223372036854775807 - deal_id', 'deal_id::text', '''deal '' || deal_id']) key,
	unnest(ARRAY['', 'ORDER BY version, deal_id', 'ORDER BY version DESC, deal_id DESC', 'ORDER BY deal_id % 2 DESC, version, deal_id']) sorted
GROUP BY 1 ORDER BY 1;
SELECT key, alike(funnel_of(key, 'direct', '')) FROM unnest(ARRAY['-deal_id', 'deal_id * 4096', 'CASE WHEN deal_id % 2 = 0 THEN deal_id ELSE deal_id * 4096 * 77 END', 'deal_id::text']) key;
-- the same for what is seen for scores: versions and episodes of every size, with features and without
CREATE FUNCTION score_of(key text, shift bigint) RETURNS text LANGUAGE sql AS $$
	SELECT format('SELECT scored(%1$L, ''2024-09-01'', NULL, %2$s, h.episode + %3$s, h.version + %3$s,
			h.stage_entered_at, h.valid_to, h.pipeline_id, h.stage_id, h.furthest_stage_id, NULL, h.change,
		CASE WHEN h.change = ''close'' THEN ARRAY[h.owner || %4$L] END)
		FROM (SELECT deal_id, episode, version, stage_entered_at, valid_to, pipeline_id, stage_id, furthest_stage_id, change, owner FROM numbered_history
			  UNION ALL SELECT deal_id, episode, version, stage_entered_at, NULL, pipeline_id, stage_id, furthest_stage_id, NULL, owner FROM numbered) h',
		'{"ages": [86400, 864000], "features": ["owner"], "stages": [[1, 1, 0, 10], [1, 2, 0, 30], [1, 3, 0, 60], [1, 4, 2, 100], [1, 5, 3, 0], [1, 6, 5, 0]], "counts": []}',
		$1, $2, CASE WHEN $2 > 0 THEN '' END)
$$;
SELECT shift, count(*) AS asked, count(DISTINCT answer(score_of(key, shift))) AS answers, min(jsonb_array_length(answer(score_of(key, shift))::jsonb)) AS counts
FROM unnest('{0,4090,65530,2000000000}'::bigint[]) shift,
	unnest(ARRAY['deal_id, 0', '-deal_id, 0', 'deal_id * 4096, 0', 'deal_id * 99999999999, 0', '9223372036854775807 - deal_id, 0', '0, deal_id', 'deal_id, 1',
		'CASE WHEN deal_id % 2 = 0 THEN deal_id ELSE deal_id * 4096 * 1021 END, 0']) key
GROUP BY 1 ORDER BY 1;
SELECT key, alike(score_of(key, 4090)) FROM unnest(ARRAY['deal_id, 0', 'deal_id * 4096 * 1021, 0', '0, deal_id']) key;
CREATE FUNCTION feed(deals regclass, aggregate text) RETURNS text LANGUAGE sql AS $$
	SELECT 'SELECT ' || aggregate || replace(replace(replace(pipelines._score_feed(deals, '{owner,source,amount}'),
		'$1', quote_literal(pipelines._score_count(deals, pipelines._score_settings(deals, '{owner,source,amount}', NULL, NULL, NULL, NULL, NULL), '2024-04-01')) || '::jsonb'),
		'$2', '''2024-06-01''::timestamptz'), '$3', '''2024-04-01''::timestamptz')
$$;
SELECT t, alike(feed(t::regclass, 'scored')) AS counts, alike('SELECT e -> 0 AS pipeline, e -> 1 AS predictor, e -> 2 AS bin, e -> 3 AS n, e -> 4 AS won, round((e ->> 5)::numeric, 6) AS predicted, round((e ->> 7)::numeric, 6) AS loss
		FROM (' || feed(t::regclass, 'judged') || ') f(b), jsonb_array_elements(b) e') AS bins
FROM unnest('{numbered,named}'::text[]) t ORDER BY 1;
SELECT t, alike(format($q$SELECT pipelines._score_count(%L, pipelines._score_settings(%L, '{owner,source,amount}', NULL, NULL, NULL, NULL, NULL), '2024-06-01')$q$, t, t)) AS counts,
	alike(format($q$SELECT * FROM pipelines.calibration(%L, '2024-04-01', every => '3 days', features => '{owner,source}', as_of => '2024-09-01')$q$, t)) AS calibration
FROM unnest('{numbered,named}'::text[]) t ORDER BY 1;

-- what is counted on the way is what would have been counted before, at whatever instant
CREATE FUNCTION bins(deals regclass, trained timestamptz, judged timestamptz, features text[], in_one boolean) RETURNS text LANGUAGE sql AS $$
	SELECT 'SELECT jsonb_agg(jsonb_build_array(e -> 0, e -> 1, e -> 2, e -> 3, e -> 4, round((e ->> 5)::numeric, 6), round((e ->> 7)::numeric, 6)) ORDER BY e::text) FROM (SELECT judged'
		|| replace(replace(replace(pipelines._score_feed(deals, features, cardinality(features) > 0),
			'$1', quote_literal((CASE WHEN in_one THEN pipelines._score_untrained(deals, s, trained) || '{"train": 1, "every": 86400}'
									  ELSE pipelines._score_count(deals, s, trained) || '{"every": 86400}' END)
								|| jsonb_build_object('dated', (cardinality(features) > 0)::integer)) || '::jsonb'),
			'$2', quote_literal(judged) || '::timestamptz'), '$3', quote_literal(trained) || '::timestamptz') || ') f(b), jsonb_array_elements(b) e'
	FROM pipelines._score_settings(deals, features, NULL, NULL, 5, 5, NULL) s
$$;
SELECT t, count(*) AS asked, count(*) FILTER (WHERE answer(bins(t::regclass, at, judged, f, true)) IS DISTINCT FROM answer(bins(t::regclass, at, judged, f, false))) AS differ,
	max(jsonb_array_length(answer(bins(t::regclass, at, judged, f, true))::jsonb)) AS bins
FROM unnest('{numbered,named}'::text[]) t, generate_series(timestamptz '2024-01-20', '2024-06-20', '20 days 5 hours') at,
	unnest('{2024-07-01,2024-12-01}'::timestamptz[]) judged, (VALUES ('{}'::text[]), ('{owner,source}')) v(f)
GROUP BY 1 ORDER BY 1;

-- and it was in parallel: the aggregate itself below the node that gathers
CREATE FUNCTION partial(query text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	plan jsonb;
BEGIN
	SET LOCAL max_parallel_workers_per_gather = 2;
	SET LOCAL parallel_setup_cost = 0;
	SET LOCAL cpu_operator_cost = 0;
	SET LOCAL min_parallel_table_scan_size = 0;
	EXECUTE 'EXPLAIN (FORMAT json) ' || query INTO plan;
	RETURN plan::text ~ '"Partial Mode": "Partial"';
END
$$;
SELECT partial(feed('numbered', 'scored')) AS scores,
	partial($q$SELECT stage_id, pipelines._stay_stats(stage_entered_at, valid_to, now(), change, false, NULL) FROM numbered_history GROUP BY 1$q$) AS stays,
	partial($q$SELECT funnelled('{1,1,0,0}', 'any', 'created_in', deal_id, version, pipeline_id, stage_id, true, NULL, NULL, NULL) FROM numbered_history$q$) AS funnel;

--
-- Split into parts and put together again, by hand and in a tree
--
CREATE AGGREGATE stays(timestamptz, timestamptz, timestamptz, text, boolean, interval) (SFUNC = pipelines._stay_add, STYPE = bytea);
CREATE AGGREGATE together(bytea) (SFUNC = pipelines._durations_combine, STYPE = bytea, COMBINEFUNC = pipelines._durations_combine);
CREATE TABLE part AS
SELECT deal_id % 10 AS part, stays(stage_entered_at, valid_to, '2025-01-01', change, deal_id % 3 = 0, NULL) AS state FROM numbered_history GROUP BY 1;
INSERT INTO part SELECT 11, stays(stage_entered_at, NULL, '2025-01-01', NULL, deal_id % 3 = 0, NULL) FROM numbered;
INSERT INTO part VALUES (12, NULL);
SELECT pipelines._stay_counts_result(s.state) = w.counts AS counts, pipelines._durations_result(s.state) = w.stats AS stats,
	pipelines._durations_result(t.state) = w.stats AS tree, pipelines._survival_result(t.state) = w.survival AS survival, cardinality(w.stats)
FROM (SELECT together(state) AS state FROM part) s,
	(SELECT pipelines._durations_combine((SELECT together(state) FROM part WHERE part < 5), (SELECT together(state ORDER BY part DESC) FROM part WHERE part >= 5)) AS state) t,
	(SELECT pipelines._stay_counts(a, b, c, d, e, f) AS counts, pipelines._stay_stats(a, b, c, d, e, f) AS stats, pipelines._stay_survival(a, b, c, d, e, f) AS survival
	 FROM (SELECT stage_entered_at, valid_to, timestamptz '2025-01-01', change, deal_id % 3 = 0, NULL::interval FROM numbered_history
		   UNION ALL SELECT stage_entered_at, NULL, '2025-01-01', NULL, deal_id % 3 = 0, NULL FROM numbered) x(a, b, c, d, e, f)) w;
-- over a window: the state goes on after its result was asked for
SELECT n, (pipelines._durations('epoch', timestamptz 'epoch' + n * interval '1 hour', false) OVER (ORDER BY n DESC))[5] AS median
FROM generate_series(1, 5) n ORDER BY 1;

-- no time at all is a duration, too
SELECT pipelines._durations_result(pipelines._durations_combine(pipelines._durations_add(NULL, 'epoch', 'epoch', false), NULL)) AS none;

-- a variable that holds a state keeps it, whoever looks at it or adds to a copy
CREATE FUNCTION kept() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	s bytea; more bytea; before text;
	model CONSTANT jsonb := '{"ages": [86400], "features": ["x"], "stages": [[1, 1, 0, 10], [1, 2, 2, 100]], "counts": []}';
BEGIN
	FOR n IN REVERSE 9 .. 1 LOOP
		s := pipelines._durations_add(s, 'epoch', timestamptz 'epoch' + n * interval '1 hour', false);
	END LOOP;
	before := s::text;
	RETURN NEXT pipelines._durations_result(s)::text;
	more := pipelines._durations_combine(s, s);
	RETURN NEXT pipelines._durations_result(more)::text;
	RETURN NEXT before = s::text;
	s := NULL;
	s := pipelines._funnel_add(s, '{1,1,0,0,1,2,1,0}', 'direct', 'created_in', 7::bigint, 1, 1, 1, true, 'won', true, 'a "value"');
	before := s::text;
	more := pipelines._funnel_add(s, NULL, NULL, NULL, 7::bigint, 2, 1, 2, true, NULL, NULL, NULL);
	RETURN NEXT pipelines._funnel_result(s);
	RETURN NEXT pipelines._funnel_result(pipelines._funnel_combine(more, s));
	RETURN NEXT before = s::text;
	s := pipelines._score_see(NULL, model, '2024-02-01', '2024-01-01',
		1, 0, 1, 1, '2024-01-01', '2024-01-03', 1, 1, 1, NULL, 'move', '{web}');
	s := pipelines._score_see(s, NULL, NULL, NULL,
		1, 0, 1, 2, '2024-01-03', NULL, 1, 2, 1, '2024-01-01', NULL, NULL);
	before := s::text;
	RETURN NEXT pipelines._score_counts_final(s);
	RETURN NEXT pipelines._score_counts_final(pipelines._score_combine(s, s));
	RETURN NEXT pipelines._score_bins_final(s);
	RETURN NEXT before = s::text;
END
$$;
SELECT * FROM kept();

-- states of different questions have nothing to do with each other
SELECT try(q) FROM unnest(ARRAY[
	$q$SELECT pipelines._funnel_combine(pipelines._funnel_add(NULL, '{1,1,0,0}', 'any', '', 1::bigint, 1, 1, 1, true, NULL, NULL, NULL),
		pipelines._funnel_add(NULL, '{1,1,0,0}', 'strict', '', 1::bigint, 1, 1, 1, true, NULL, NULL, NULL))$q$,
	$q$SELECT pipelines._funnel_combine(pipelines._funnel_add(NULL, '{1,1,0,0}', 'any', '', 1::bigint, 1, 1, 1, true, NULL, NULL, NULL),
		pipelines._funnel_add(NULL, '{1,2,0,0}', 'any', '', 1::bigint, 1, 1, 1, true, NULL, NULL, NULL))$q$,
	$q$SELECT pipelines._funnel_add(pipelines._funnel_add(NULL, '{1,1,0,0}', 'any', '', 1::bigint, 1, 1, 1, true, NULL, NULL, NULL),
		'{1,1,0,0}', 'any', '', '1'::text, 1, 1, 1, true, NULL, NULL, NULL)$q$,
	$q$SELECT pipelines._score_combine(pipelines._score_see(NULL, s, now(), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
		pipelines._score_see(NULL, s, now() - interval '1 day', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL))
		FROM (SELECT '{"ages": [], "features": [], "stages": [], "counts": []}'::jsonb) x(s)$q$,
	$q$SELECT pipelines._durations_combine(NULL, pipelines._funnel_add(NULL, '{1,1,0,0}', 'any', '', 1::bigint, 1, 1, 1, true, NULL, NULL, NULL))$q$]) q;

--
-- Counts and sums of groups: the same as GROUP BY, in one process and in several
--
CREATE TABLE summed AS
SELECT n, (n % 3)::integer AS i, nullif(n % 5, 0) * 4000000000 AS b, nullif(n % 4, 0) > 2 AS yes, 'key ' || n % 7 AS t,
	CASE n % 6 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE repeat('long ', (n % 6)::integer) END AS u,
	CASE WHEN n % 11 > 0 THEN (n * 7919 % 1000003 - 500000) * 0.01 END AS amount, (n % 4 * 10 ^ (n % 5 * 4))::numeric / 3 AS odd,
	CASE WHEN n % 13 > 0 THEN n * 1.5 END AS few, (n % 17 / 16.0)::double precision AS f
FROM generate_series(1::bigint, 6000) n;
ANALYZE summed;
CREATE FUNCTION sums_alike(rows text, OUT several text, OUT groups bigint, OUT wrong bigint) LANGUAGE plpgsql AS $$
BEGIN
	several := alike(format('SELECT * FROM pipelines._sums_rows((SELECT pipelines._sums(5, i, b, yes, t, u, amount, odd, few, yes, f) FROM %s)) AS r(i integer, b bigint, yes boolean, t text, u text,
		n bigint, n1 bigint, v1 numeric, n2 bigint, v2 numeric, n3 bigint, v3 numeric, n4 bigint, n5 bigint, v5 double precision)', rows));
	EXECUTE format($q$
		WITH ours AS (
			SELECT r.* FROM pipelines._sums_rows((SELECT pipelines._sums(5, i, b, yes, t, u, amount, odd, few, yes, f) FROM %1$s)) AS r(i integer, b bigint, yes boolean, t text, u text,
				n bigint, n1 bigint, v1 numeric, n2 bigint, v2 numeric, n3 bigint, v3 numeric, n4 bigint, n5 bigint, v5 double precision)
		), theirs AS (
			SELECT i, b, yes, t, u, count(*), count(amount), sum(amount), count(odd), sum(odd), count(few), sum(few), count(*) FILTER (WHERE yes), count(f), sum(f)
			FROM %1$s GROUP BY 1, 2, 3, 4, 5
		)
		SELECT (SELECT count(*) FROM ours), (SELECT count(*) FROM (SELECT o1::text FROM ours o1 EXCEPT SELECT o2::text FROM theirs o2) x)
			+ (SELECT count(*) FROM (SELECT o2::text FROM theirs o2 EXCEPT SELECT o1::text FROM ours o1) x)$q$, rows) INTO groups, wrong;
END
$$;
SELECT name, s.several, s.groups, s.wrong FROM (VALUES (1, 'all', 'summed'), (2, 'one', '(SELECT * FROM summed WHERE n = 1) s'), (3, 'none', '(SELECT * FROM summed WHERE false) s'),
	(4, 'numbers that are none', $$(SELECT n, i, b, yes, t, u, CASE WHEN n = 77 THEN 'NaN' ELSE amount END AS amount, odd, few, f FROM summed) s$$),
	(5, 'large numbers', $$(SELECT n, i, b, yes, t, u, amount * 1e14 AS amount, odd * 1e200 AS odd, few * 1e-9 AS few, f FROM summed) s$$),
	(6, 'mixed', $$(SELECT n, i, b, yes, t, u, CASE WHEN n % 2 = 0 THEN amount ELSE amount * 1e20 END AS amount, odd, CASE WHEN n % 10 = 0 THEN few / 7 ELSE few END AS few, f FROM summed) s$$)) v(o, name, rows),
	sums_alike(v.rows) s ORDER BY o;
SELECT alike('SELECT * FROM pipelines._sums_rows((SELECT pipelines._sums(1, t, amount, few) FROM summed)) AS r(t text, n bigint, n1 bigint, v1 numeric, n2 bigint, v2 numeric)') AS several;
-- without keys; without values
SELECT * FROM pipelines._sums_rows((SELECT pipelines._sums(0, amount, yes) FROM summed)) AS r(n bigint, n1 bigint, v1 numeric, n2 bigint);
SELECT * FROM pipelines._sums_rows((SELECT pipelines._sums(1, yes) FROM summed)) AS r(yes boolean, n bigint) ORDER BY 1;
-- of what is said by hand nothing is lost, and nothing changes that was there before
SELECT * FROM pipelines._sums_rows(pipelines._sums_combine(pipelines._sums_add(NULL, 1, 'a'::text, 1.50), pipelines._sums_add(pipelines._sums_add(NULL, 1, 'a'::text, 2.5), 1, NULL::text, 4.25)))
	AS r(t text, n bigint, n1 bigint, v1 numeric) ORDER BY 1;
SELECT * FROM pipelines._sums_rows(pipelines._sums_combine(NULL, NULL)) AS r(t text);
SELECT try(q) FROM unnest(ARRAY[
	$q$SELECT pipelines._sums(NULL, 1)$q$,
	$q$SELECT pipelines._sums(-1, 1)$q$,
	$q$SELECT pipelines._sums(2, 1)$q$,
	$q$SELECT pipelines._sums(1, 'unknown')$q$,
	$q$SELECT pipelines._sums(1, now())$q$,
	$q$SELECT pipelines._sums(1, 1, 1)$q$,
	$q$SELECT pipelines._sums(1, 1.5)$q$,
	$q$SELECT pipelines._sums(1, VARIADIC ARRAY[1, 2])$q$,
	'SELECT pipelines._sums(17' || repeat(', true', 17) || ')',
	'SELECT pipelines._sums(1' || repeat(', true', 18) || ')',
	$q$SELECT pipelines._sums(n, true, true) FROM generate_series(0, 1) n$q$,
	$q$SELECT pipelines._sums_add(pipelines._sums_add(NULL, 1, 1), 1, 1::bigint)$q$,
	$q$SELECT pipelines._sums_combine(pipelines._sums_add(NULL, 1, 1), pipelines._sums_add(NULL, 1, true))$q$,
	$q$SELECT * FROM pipelines._sums_rows(pipelines._sums_add(NULL, 1, 1)) AS r(a integer)$q$,
	$q$SELECT * FROM pipelines._sums_rows(pipelines._sums_add(NULL, 1, 1)) AS r(a bigint, n bigint)$q$,
	$q$SELECT * FROM pipelines._sums_rows(pipelines._sums_add(NULL, 1, 1, true)) AS r(a integer, n bigint, v bigint, w bigint)$q$,
	$q$SELECT * FROM pipelines._sums_rows(pipelines._sums_add(NULL, 1, 1))$q$,
	$q$SELECT pipelines._sums_rows(pipelines._sums_add(NULL, 1, 1))$q$]) q;
SELECT n, try(format('SELECT count(*) FROM pipelines._sums_rows(%L) AS r(i integer, n bigint, n1 bigint, v1 numeric)', decode(b, 'hex'))) AS sums FROM unnest(ARRAY[
	'', '50536d01', '50536d02', '50536d01' || '00000011' || '00000000', '50536d01' || '00000001' || '00000001' || '00000005' || '00000005',
	'50536d01' || '00000001' || '00000001' || '00000002' || '00000008',
	'50536d01' || '00000001' || '00000001' || '00000002' || '00000005' || '00000000' || '00',
	'50536d01' || '00000001' || '00000001' || '00000002' || '00000005' || '00000000',
	'50536d01' || '00000001' || '00000001' || '00000002' || '00000005' || 'ffffffff',
	'50536d01' || '00000001' || '00000001' || '00000002' || '00000005' || '00000001' || '0000000000000000' || '00000000' || '0000000000000001',
	'50536d01' || '00000001' || '00000001' || '00000002' || '00000005' || '00000001' || '0000000000000001' || '00000002' || '0000000000000001',
	'50536d01' || '00000001' || '00000001' || '00000002' || '00000005' || '00000001' || '0000000000000001' || '00000000' || '0000000100000001',
	'50536d01' || '00000001' || '00000001' || '00000002' || '00000005' || '00000001' || '0000000000000001' || '00000000' || '0000000000000001' || '0000000000000002',
	'50536d01' || '00000001' || '00000001' || '00000002' || '00000005' || '00000001' || '0000000000000001' || '00000000' || '0000000000000001' || '0000000000000001' || '00000005' || repeat('00', 20),
	'50536d01' || '00000001' || '00000001' || '00000002' || '00000005' || '00000001' || '0000000000000001' || '00000000' || '0000000000000001' || '0000000000000001' || '00000002' || repeat('00', 15) || '63' || '00000000',
	'50536d01' || '00000001' || '00000001' || '00000002' || '00000005' || '00000001' || '0000000000000001' || '00000000' || '0000000000000001' || '0000000000000001' || '00000004' || '7f' || repeat('00', 15) || '00000000',
	'50536d01' || '00000001' || '00000001' || '00000002' || '00000005' || '00000001' || '0000000000000001' || '00000000' || '0000000000000001' || '0000000000000001' || '00000002' || repeat('00', 15) || '64' || '00000001' || '78',
	'50536d01' || '00000001' || '00000001' || '00000002' || '00000005' || '00000001' || '0000000000000001' || '00000000' || '0000000000000001' || '0000000000000001' || '00000002' || repeat('00', 15) || '64' || '00000000']) WITH ORDINALITY x(b, n) ORDER BY n;

--
-- The largest tenth of each group: the same as percentile_disc(), in one process and
-- in several, whatever numbers there are
--
CREATE FUNCTION tenths_alike(rows text, OUT several text, OUT groups bigint, OUT wrong bigint) LANGUAGE plpgsql AS $$
BEGIN
	several := alike(format('SELECT * FROM pipelines._sums_rows((SELECT pipelines._tenths(2, i, t, amount, yes, odd, f) FROM %s)) AS r(i integer, t text,
		n bigint, n1 bigint, v1 numeric, n2 bigint, n3 bigint, v3 numeric, n4 bigint, v4 double precision)', rows));
	EXECUTE format($q$
		WITH ours AS (
			SELECT i, t, n, n1, trim_scale(v1), n2, n3, trim_scale(v3), n4, v4 FROM pipelines._sums_rows((SELECT pipelines._tenths(2, i, t, amount, yes, odd, f) FROM %1$s)) AS r(i integer, t text,
				n bigint, n1 bigint, v1 numeric, n2 bigint, n3 bigint, v3 numeric, n4 bigint, v4 double precision)
		), theirs AS (
			SELECT i, t, count(*), count(amount), trim_scale(percentile_disc(0.9) WITHIN GROUP (ORDER BY amount)), count(*) FILTER (WHERE yes),
				count(odd), trim_scale(percentile_disc(0.9) WITHIN GROUP (ORDER BY odd)), count(f), sum(f)
			FROM %1$s GROUP BY 1, 2
		)
		SELECT (SELECT count(*) FROM ours), (SELECT count(*) FROM (SELECT o1::text FROM ours o1 EXCEPT SELECT o2::text FROM theirs o2) x)
			+ (SELECT count(*) FROM (SELECT o2::text FROM theirs o2 EXCEPT SELECT o1::text FROM ours o1) x)$q$, rows) INTO groups, wrong;
END
$$;
SELECT name, s.several, s.groups, s.wrong FROM (VALUES (1, 'all', 'summed'), (2, 'one', '(SELECT * FROM summed WHERE n = 1) s'), (3, 'none', '(SELECT * FROM summed WHERE false) s'),
	(4, 'groups of one to forty', '(SELECT (n % 40)::integer AS i, NULL::text AS t, amount, yes, odd, f FROM summed WHERE n / 40 < n % 40) s'),
	(5, 'equal', $$(SELECT i, t, 7.50 AS amount, yes, 1e30 + n % 2 AS odd, f FROM summed) s$$),
	(6, 'no amounts', $$(SELECT i, t, NULL::numeric AS amount, yes, CASE WHEN t = 'key 1' THEN odd END AS odd, f FROM summed) s$$),
	(7, 'numbers that are none', $$(SELECT i, t, CASE WHEN n % 10 = 7 THEN 'NaN' ELSE amount END AS amount, yes, odd, f FROM summed) s$$),
	(8, 'mixed', $$(SELECT i, t, CASE n % 4 WHEN 0 THEN amount WHEN 1 THEN amount * 1e20 WHEN 2 THEN amount / 1e9 ELSE -amount END AS amount, yes, round(odd, (n % 6)::integer) AS odd, f FROM summed) s$$)) v(o, name, rows),
	tenths_alike(v.rows) s ORDER BY o;
SELECT try(q) FROM unnest(ARRAY[
	$q$SELECT pipelines._tenths(1, 1, 1)$q$,
	$q$SELECT pipelines._tenths_add(pipelines._sums_add(NULL, 1, 1, 1.5), 1, 1, 1.5)$q$,
	$q$SELECT pipelines._sums_combine(pipelines._sums_add(NULL, 1, 1, 1.5), pipelines._tenths_add(NULL, 1, 1, 1.5))$q$]) q;
SELECT n, try(format('SELECT v1 FROM pipelines._sums_rows(%L) AS r(n bigint, n1 bigint, v1 numeric)', decode('50536d01' || '00000000' || '00000001' || '00000007' || '00000001' || '0000000000000003' || '00000000' || b, 'hex'))) AS tenths FROM unnest(ARRAY[
	'0000000000000000', '0000000000000002', '0000000000000004',
	'0000000000000002' || '0000000000000001' || '0000000000000005' || '0000000000000000',
	'0000000000000002' || 'ffffffffffffffff',
	'0000000000000002' || '0000000000000002' || '0000000000000005',
	'0000000000000002' || '0000000000000001' || '8000000000000005' || '0000000000000001' || '00000001',
	'0000000000000002' || '0000000000000001' || '8000000000000005' || '0000000000000001' || '00000001' || '78',
	'0000000000000002' || '0000000000000001' || '8000000000000005' || 'ffffffffffffffff' || '00000001' || '31' || '00000001' || '32',
	'0000000000000002' || '0000000000000001' || '8000000000000005' || '0000000000000001' || '00000001' || '31',
	'0000000000000002' || '0000000000000002' || '8000000000000005' || '0000000000000015' || '0000000000000000']) WITH ORDINALITY x(b, n) ORDER BY n;

--
-- Tables of instants: keys that lie together, that lie far apart, one, none
--
CREATE TABLE keyed AS
SELECT name, key, nullif(timestamptz '2024-01-01' + n % 1000 * interval '1 hour' - n * interval '1 microsecond', '2024-01-01') AS at
FROM generate_series(0::bigint, 5000) n, LATERAL (VALUES ('together', n + 77), ('every third', 3 * n - 1000), ('apart', n * n * 368934881474 - 1000), ('one', 4 * n), ('none', NULL)) v(name, key)
WHERE name <> 'one' OR n = 7;
INSERT INTO keyed VALUES ('ends', -9223372036854775808, '2024-01-01'), ('ends', 9223372036854775807, '2024-01-02'), ('endless', 1, '-infinity'), ('endless', 2, 'infinity'), ('endless', 3, NULL);
CREATE FUNCTION looked_up(instants bytea, of text) RETURNS text LANGUAGE sql AS $$
	SELECT format('%s keys, %s known, %s wrong', count(*), count(pipelines._seconds_since($1, k.key, '2024-01-15 12:00')),
		count(*) FILTER (WHERE round(pipelines._seconds_since($1, k.key, '2024-01-15 12:00')::numeric, 6)
			IS DISTINCT FROM CASE WHEN isfinite(t.at) THEN round(greatest(date_part('epoch', timestamptz '2024-01-15 12:00' - t.at), 0)::numeric, 6) END))
	FROM (SELECT DISTINCT key FROM keyed WHERE key IS NOT NULL) k LEFT JOIN keyed t ON t.key = k.key AND t.name = of
$$;
CREATE AGGREGATE gathered(bigint, timestamptz) (SFUNC = pipelines._instants_add, STYPE = bytea);
SELECT name, length(pipelines._instants(key, at)) AS length, looked_up(pipelines._instants(key, at), name),
	looked_up(pipelines._instants_result(pipelines._instants_combine(gathered(key, at) FILTER (WHERE key % 2 = 0), gathered(key, at) FILTER (WHERE key % 2 <> 0))), name) AS of_two
FROM keyed GROUP BY 1 ORDER BY 1;
SELECT pipelines._seconds_since(pipelines._instants(1, '2024-01-01'), 1, at) FROM unnest('{infinity,-infinity,2023-01-01,2024-01-01 00:01,294276-12-31}'::timestamptz[]) at GROUP BY at ORDER BY at;
SELECT pipelines._seconds_since(pipelines._instants(key, at), 3, '2024-01-01') FROM keyed WHERE false;
SELECT try($q$SELECT pipelines._instants(n, 'epoch') FROM generate_series(1, 8388609) n$q$);
-- spoilt ones: there is an error, or what is looked up lies in it
CREATE FUNCTION spoilt(instants bytea) RETURNS TABLE (kind text, tries bigint, refused bigint, otherwise bigint) LANGUAGE sql AS $$
	SELECT b.kind, count(*), count(*) FILTER (WHERE r ~ '^22P03: invalid table of instants'), count(*) FILTER (WHERE r !~ '^(22P03: .*|NULL|[0-9.e+]+)$')
	FROM (SELECT 'a byte' AS kind, set_byte($1, n, v) AS b FROM generate_series(0, length($1) - 1) n, unnest('{0,1,64,128,255}'::integer[]) v
		  UNION ALL SELECT 'cut', substr($1, 1, n) FROM generate_series(0, length($1) - 1) n
		  UNION ALL SELECT 'longer', $1 || decode(repeat('00', n), 'hex') FROM generate_series(1, 40) n) b,
		LATERAL try(format('SELECT sum(pipelines._seconds_since(%L, key, ''infinity'')) + sum(pipelines._seconds_since(%1$L, key, now())) FROM generate_series(-9::bigint, 9) key', b)) r
	GROUP BY 1 ORDER BY 1
$$;
SELECT v.key, s.* FROM (VALUES ('together', 1), ('apart', 1000000)) v(key, factor),
	LATERAL spoilt((SELECT pipelines._instants(n * factor, '2024-01-01') FROM generate_series(1, 4) n)) s ORDER BY 1, 2;

--
-- Tables of past dates: none for too many versions, keys or versions far apart
--
CREATE AGGREGATE dated(bigint, integer, date, text, boolean) (SFUNC = pipelines._past_dates_add, STYPE = bytea);
SELECT length(pipelines._past_dates(n, 1, NULL, NULL, NULL)) AS together, length(pipelines._past_dates(3 * n, 1, '2024-01-01', NULL, NULL)) AS apart,
	length(pipelines._past_dates(n, 3, '2024-01-01', 'move', false)) AS gaps, length(pipelines._past_dates(n << 33, 1, '2024-01-01', 'move', false)) AS far_apart,
	length(pipelines._past_dates(n - 50, 1, '2024-01-01', 'move', false)) AS below_zero, length(pipelines._past_dates(n + 9223372036854775707, 1, '2024-01-01', 'move', false)) AS highest,
	length(pipelines._past_dates(NULL, 1, '2024-01-01', 'move', false)) AS no_key, length(pipelines._past_dates(n, NULL, '2024-01-01', 'move', false)) AS no_version,
	length(pipelines._past_dates(n, -1, '2024-01-01', 'move', false)) AS untold, length(pipelines._past_dates(n, 1, NULL, NULL, NULL) FILTER (WHERE false)) AS none
FROM generate_series(1::bigint, 100) n;
SELECT length(pipelines._past_dates(n, 1, NULL, NULL, NULL)) AS too_many FROM generate_series(1, 8388609) n;
SELECT length(pipelines._past_dates_result(pipelines._past_dates_combine(a.s, b.s))) AS of_two,
	pipelines._past_dates_result(pipelines._past_dates_combine(a.s, b.s)) = pipelines._past_dates_result(pipelines._past_dates_combine(b.s, a.s)) AS in_any_order,
	pipelines._past_dates_result(pipelines._past_dates_combine(a.s, c.s)) IS NULL AS far_apart
FROM (SELECT dated(n, 1, '2024-01-01', 'move', false) AS s FROM generate_series(1, 50) n) a, (SELECT dated(n, 2, '2024-01-02', 'move', false) AS s FROM generate_series(1, 50) n) b,
	(SELECT dated(n << 33, 2, '2024-01-02', 'move', false) AS s FROM generate_series(1::bigint, 50) n) c;

--
-- Stays put together: in any order, from one process or two, keys far apart and close together, many of one deal
--
CREATE TABLE stayed AS
SELECT k.name, k.key, n AS version, 1 AS pipeline_id, 1 + (n * 7 + d) % 4 AS stage_id, timestamptz '2024-01-01' + n * interval '1 hour' AS entered,
	CASE WHEN n < k.stays THEN timestamptz '2024-01-01' + n * interval '1 hour' + (n * d % 50) * interval '1 minute' + CASE WHEN d % 3 = 0 THEN interval '0' ELSE interval '1 second' END END AS "left",
	CASE WHEN n = 3 AND d % 5 = 0 THEN 'delete' ELSE 'move' END AS change
FROM generate_series(1, 40) d, LATERAL (VALUES ('together', d::bigint, 6), ('apart', d * 368934881474::bigint, 6), ('of one', 1::bigint, 3), ('ends', CASE WHEN d % 2 = 0 THEN 9223372036854775807 ELSE -9223372036854775808 END, 4)) k(name, key, stays),
	LATERAL generate_series(1, k.stays) n;
UPDATE stayed SET version = version + 10 * extract(microsecond FROM entered)::integer % 7;
CREATE AGGREGATE half(bigint, integer, integer, integer, timestamptz, timestamptz, timestamptz, text, interval, text, boolean, boolean) (SFUNC = pipelines._deal_stays_add, STYPE = bytea);
CREATE TABLE told AS
SELECT s.name, m.measure, pipelines._deal_stays(s.key, s.version, s.pipeline_id, s.stage_id, s.entered, s.left, '2024-02-01', s.change, NULL, m.measure, true, true ORDER BY s.key, s.version) AS straight,
	pipelines._deal_stays(s.key, s.version, s.pipeline_id, s.stage_id, s.entered, s.left, '2024-02-01', s.change, NULL, m.measure, true, true ORDER BY md5(s::text)) AS shuffled,
	pipelines._deal_stays_result(pipelines._deal_stays_combine(half(s.key, s.version, s.pipeline_id, s.stage_id, s.entered, s.left, '2024-02-01', s.change, NULL, m.measure, true, true) FILTER (WHERE version % 2 = 0),
		half(s.key, s.version, s.pipeline_id, s.stage_id, s.entered, s.left, '2024-02-01', s.change, NULL, m.measure, true, true) FILTER (WHERE version % 2 <> 0))) AS of_two
FROM stayed s, unnest('{first,latest,cumulative}'::text[]) m(measure)
WHERE s.name <> 'of one' AND s.name <> 'ends'
GROUP BY 1, 2;
SELECT t.name, t.measure, (SELECT array_agg(r ORDER BY r) FROM pipelines._deal_stays_rows(t.straight) r) = (SELECT array_agg(r ORDER BY r) FROM pipelines._deal_stays_rows(t.shuffled) r) AS in_any_order,
	(SELECT array_agg(r ORDER BY r) FROM pipelines._deal_stays_rows(t.straight) r) = (SELECT array_agg(r ORDER BY r) FROM pipelines._deal_stays_rows(t.of_two) r) AS of_two
FROM told t ORDER BY 1, 2;
SELECT t.measure, r.stage_id, r.counts, r.stats[1] AS total, r.stats[5] AS median, r.survival_median FROM told t, pipelines._deal_stays_rows(t.straight) r WHERE t.name = 'together' AND r.stage_id < 3 ORDER BY 1, 2;
-- what SQL says of the same
SELECT m.measure, x.stage_id, count(*) FILTER (WHERE change <> 'delete') AS n, sum(long) FILTER (WHERE change <> 'delete') AS total
FROM unnest('{first,latest,cumulative}'::text[]) m(measure), LATERAL (
	SELECT DISTINCT ON (s.key, s.stage_id) s.stage_id, CASE WHEN m.measure = 'cumulative' THEN sum(s.long) OVER w ELSE s.long END AS long,
		CASE WHEN m.measure = 'cumulative' THEN CASE WHEN bool_or(s.left IS NULL) OVER w THEN 'runs' WHEN bool_or(s.change = 'delete') OVER w THEN 'delete' ELSE 'move' END WHEN s.left IS NULL THEN 'runs' ELSE s.change END AS change
	FROM (SELECT y.*, coalesce(y.left, '2024-02-01') - y.entered AS long FROM stayed y WHERE y.name = 'together' AND (y.left - y.entered < '20 microseconds') IS NOT TRUE) s
	WINDOW w AS (PARTITION BY s.key, s.stage_id)
	ORDER BY s.key, s.stage_id, CASE WHEN m.measure = 'first' THEN s.version ELSE -s.version END) x
WHERE x.stage_id < 3 GROUP BY 1, 2 ORDER BY 1, 2;
SELECT s.name, m, r.stage_id, r.counts, r.stats[1] AS total FROM unnest('{of one,ends}'::text[]) s(name), unnest('{first,cumulative}'::text[]) m,
	LATERAL (SELECT pipelines._deal_stays(y.key, y.version, 1, y.stage_id, y.entered, y.left, '2024-02-01', y.change, NULL, m, false, false) AS told FROM (SELECT key, version, min(stage_id) AS stage_id, min(entered) AS entered, min("left") AS left, min(change) AS change FROM stayed WHERE stayed.name = s.name GROUP BY 1, 2) y) t,
	pipelines._deal_stays_rows(t.told) r WHERE r.stage_id < 3 ORDER BY 1, 2, 3;
SELECT pipelines._deal_stays(NULL, 1, 1, 1, now(), now(), now(), NULL, NULL, NULL, NULL, NULL) IS NULL AS none, count(*) FROM pipelines._deal_stays_rows(NULL);
-- spoilt results: an error, or numbers
SELECT b.kind, count(*), count(*) FILTER (WHERE r ~ '^22P03: invalid result of aggregate pipelines._deal_stays') AS refused, count(*) FILTER (WHERE r !~ '^(22P03: .*|[0-9]+)$') AS otherwise
FROM (SELECT straight AS t FROM told WHERE name = 'together' AND measure = 'first') t,
	LATERAL (SELECT 'a byte' AS kind, set_byte(t.t, n, v) AS b FROM generate_series(0, 40) n, unnest('{0,1,64,128,255}'::integer[]) v
		UNION ALL SELECT 'cut', substr(t.t, 1, n) FROM generate_series(0, length(t.t) - 1) n
		UNION ALL SELECT 'longer', t.t || decode(repeat('00', n), 'hex') FROM generate_series(1, 20) n) b,
	LATERAL try(format('SELECT count(r::text) FROM pipelines._deal_stays_rows(%L) r', b.b)) r
GROUP BY 1 ORDER BY 1;

--
-- What is no state, and what is no question
--
CREATE TABLE bad (n integer, b bytea);
CREATE VIEW model AS SELECT lpad(to_hex(octet_length(m)), 8, '0') || encode(convert_to(m, 'UTF8'), 'hex') AS m
	FROM (VALUES ('{"ages": [], "features": [], "stages": [[1, 1, 0, 10]], "counts": []}')) v(m);
INSERT INTO bad SELECT n, decode(b, 'hex') FROM unnest(ARRAY['', '00', '50447201', '5044720100', '01724450', '50466e01ff', '5053630100000003313233',
	'50447201' || repeat('00', 24) || repeat('ff', 16),
	'50447201' || repeat('00', 24) || '0000000000000001' || 'ffffffffffffffff' || repeat('00', 8),
	'50447201' || repeat('00', 40) || '00',
	'50447201' || repeat('00', 7) || '01' || repeat('00', 32),
	'50466e01' || '00000000' || '7fffffff',
	'50466e01' || '00040000' || repeat('00', 20),
	'50466e01' || repeat('00', 8) || 'ffffffff',
	'50466e01' || repeat('00', 12) || 'ffffffff',
	'50466e01' || repeat('00', 12) || '0000000000000001' || '00',
	'50466e01' || '00000001' || repeat('00', 8) || '0000000000000001' || '41',
	'50466e01' || repeat('00', 20) || 'ffffffffffffffff',
	'50466e01' || repeat('00', 20) || '0000000000000001' || 'ffffffffffffffff' || repeat('00', 16),
	'50466e01' || repeat('00', 20) || '0000000000000001' || repeat('00', 8) || 'ffffffffffffffff' || repeat('00', 8),
	'50466e01' || repeat('00', 20) || '0000000000000001' || repeat('00', 8) || '0000000000000001' || repeat('00', 8) || 'f000000000000000',
	'50466e01' || repeat('00', 20) || '0000000000000001' || repeat('00', 8) || '0000000000000001' || repeat('00', 8) || '0000000000000002',
	'50466e01' || repeat('00', 20) || '0000000000000001' || repeat('00', 16) || 'ffffffffffffffff',
	'50466e01' || repeat('00', 20) || '0000000000000001' || repeat('00', 16) || '0000000000000001' || repeat('00', 8),
	'50466e01' || '00000000' || '00000001' || '00000001' || '00000001' || repeat('00', 8) || repeat('00', 12) ||
		'0000000000000001' || repeat('00', 16) || '0000000000000001' || '0000000100000000' || repeat('00', 16),
	'50466e01' || repeat('00', 28) || 'ffffffffffffffff',
	'50466e01' || '00000001' || repeat('00', 24) || '0000000000000001' || repeat('00', 24),
	'50466e01' || repeat('00', 44),
	'50466e01' || repeat('00', 44) || '00',
	'50536301' || '00000001' || 'ff',
	'50536301' || '00000002' || '7b7d' || repeat('00', 28),
	'50536301' || (SELECT m FROM model) || repeat('00', 16) || 'ffffffff',
	'50536301' || (SELECT m FROM model) || repeat('00', 16) || '00000001' || 'ffffffff',
	'50536301' || (SELECT m FROM model) || repeat('00', 16) || '00000001' || '00000001' || '00000002',
	'50536301' || (SELECT m FROM model) || repeat('00', 16) || '00000000' || 'ffffffff',
	'50536301' || (SELECT m FROM model) || repeat('00', 16) || '00000000' || '00000001' || repeat('00', 8) || 'ffffffffffffffff',
	'50536301' || (SELECT m FROM model) || repeat('00', 16) || '00000000' || '00000001' || repeat('00', 8) || '0000000000000001' || repeat('00', 16) || '00001000000000fc',
	'50536301' || (SELECT m FROM model) || repeat('00', 16) || '00000000' || '00000001' || repeat('00', 8) || '0000000000000001' || repeat('00', 16) || '00000010000000fc',
	'50536301' || (SELECT m FROM model) || repeat('00', 16) || '00000000' || '00000001' || repeat('00', 8) || '0000000000000001' || repeat('00', 16) || '000ffff000000000',
	'50536301' || (SELECT m FROM model) || repeat('00', 16) || '00000000' || '00000000' || 'ffffffffffffffff',
	'50536301' || (SELECT m FROM model) || repeat('00', 16) || '00000000' || '00000000' || '0000000000000001' || repeat('00', 40) || '00010000fffffffc',
	'50536301' || (SELECT m FROM model) || repeat('00', 16) || '00000000' || '00000000' || '0000000000000001' || repeat('00', 40) || 'ffffffff00000000',
	'50536301' || (SELECT m FROM model) || repeat('00', 16) || '00000000' || '00000001' || repeat('00', 8) || '0000000000000001' || repeat('00', 16) || '000ffff0000001ff' || '0000000000000001' || repeat('00', 40) || 'fffffffffffffffe',
	'50497301' || 'ffffffffffffffff',
	'50497301' || '0000000000000001' || repeat('00', 8),
	'50497301' || '0000000000000001' || repeat('00', 8) || '7fffffffffffffff',
	'50497301' || '0000000000000001' || repeat('00', 16) || '00',
	'50497401' || '00000000' || '00000000' || 'ffffffffffffffff',
	'50497401' || '00000000' || '00000000' || '0000000000000002' || '0000000100200005',
	'50497401' || '00000000' || '00000000' || '0000000000000001' || '0000000100200005' || '00',
	'50497401' || '00000001' || 'ffffffff' || '0000000000000000',
	'50497401' || '00000000' || 'ffffffff' || '0000000000000001' || 'ffffffffffffffff',
	'50497401' || '00000000' || 'ffffffff' || '0000000000000001' || repeat('00', 8),
	'50497501' || '00000003' || '00000001' || '0000000100000001' || '0000000000000001' || '0000000000000007' || '0000000100000000' || '0000000000000005',
	'50497501' || '0000000c' || '00000001' || '0000000100000001' || '0000000000000001' || '0000000000000007' || '0000000100000000' || '0000000000000005',
	'50497501' || '00000003' || 'ffffffff' || '0000000100000001' || '0000000000000001' || '0000000000000007' || '0000000100000000' || '0000000000000005',
	'50497501' || '00000003' || '00000001' || '0000000100000001' || 'ffffffffffffffff' || '0000000000000007' || '0000000100000000' || '0000000000000005',
	'50497501' || '00000003' || '00000001' || '0000000100000001' || '0000000000000001' || '0000000000000007' || '0000000100000100' || '0000000000000005',
	'50497501' || '00000003' || '00000001' || '0000000100000001' || '0000000000000001' || '0000000000000007' || '0000000101000000' || '0000000000000005',
	'50497501' || '00000003' || '00000001' || '0000000100000001' || '0000000000000001' || '0000000000000007' || '0000000100000003' || '0000000000000005',
	'50497501' || '00000003' || '00000001' || '0000000100000001' || '0000000000000001' || '0000000000000007' || '0000000100000000' || 'ffffffffffffffff',
	'50497501' || '00000008' || '00000001' || '0000000100000001' || '0000000000000002' || '0000000000000007' || '0000000100000000' || '7fffffffffffffff' || '0000000000000007' || '0000000200000000' || '7fffffffffffffff',
	'50497501' || '00000003' || '00010000' || repeat('0000000100000001', 65536) || '0000000000000000',
	repeat('78', 100000)]) WITH ORDINALITY x(b, n);
SELECT n, try(format('SELECT pipelines._durations_result(%L)', b)) AS durations FROM bad ORDER BY n;
SELECT n, try(format('SELECT pipelines._funnel_result(%L)', b)) AS funnel FROM bad ORDER BY n;
SELECT n, try(format('SELECT pipelines._score_counts_final(%L)', b)) AS scores FROM bad ORDER BY n;
SELECT n, try(format('SELECT pipelines._instants_result(%L)', b)) AS instants FROM bad ORDER BY n;
SELECT n, try(format('SELECT pipelines._past_dates_result(%L)', b)) AS past_dates FROM bad ORDER BY n;
SELECT n, left(try(format('SELECT pipelines._deal_stays_result(%L)', b)), 100) AS deal_stays FROM bad WHERE n > 53 OR n < 3 ORDER BY n;
SELECT name, left(try(format('SELECT pipelines.%s(%s%L)', name, CASE WHEN name ~ 'combine' THEN 'NULL, ' ELSE '' END, b)), 5) AS sqlstate, count(*)
FROM bad, unnest('{_durations_combine,_funnel_combine,_instants_combine,_past_dates_combine,_deal_stays_combine,_score_combine,_stay_counts_result,_survival_result,_score_bins_final}'::text[]) name
GROUP BY 1, 2 ORDER BY 1, 2;
SELECT try(q) FROM unnest(ARRAY[
	$q$SELECT pipelines._funnel(NULL, 'any', 'created_in', 1::bigint, 1, 1, 1, true, NULL, NULL, NULL)$q$,
	$q$SELECT pipelines._funnel('{1,1,0,0}', NULL, 'created_in', 1::bigint, 1, 1, 1, true, NULL, NULL, NULL)$q$,
	$q$SELECT pipelines._funnel('{1,1,40000,0}', 'any', 'created_in', 'x'::text, 1, 1, 1, true, NULL, NULL, NULL)$q$,
	$q$SELECT pipelines._funnel('{1,NULL,0,0}', 'any', 'created_in', 'x'::text, 1, 1, 1, true, NULL, NULL, NULL)$q$,
	$q$SELECT pipelines._funnel('{}', '', '', NULL::text, NULL, NULL, NULL, NULL, NULL, NULL, NULL)$q$,
	$q$SELECT pipelines._durations('-infinity', 'infinity', false)$q$,
	$q$SELECT pipelines._stay_stats('epoch', '2000-01-01', 'epoch', '', false, '178000000 years')$q$,
	$q$SELECT pipelines._stay_survival(NULL, NULL, NULL, NULL, NULL, NULL)$q$,
	$q$SELECT pipelines._score_counts('1', now(), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)$q$,
	$q$SELECT pipelines._score_counts('{"ages": [], "features": [], "stages": [1], "counts": []}', now(), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)$q$,
	$q$SELECT pipelines._score_counts('{"ages": [], "features": [], "stages": [[1, 1, 9, 0]], "counts": []}', now(), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)$q$,
	$q$SELECT pipelines._score_counts('{"ages": [], "features": [], "stages": [], "counts": [{"a": 1}]}', now(), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)$q$,
	$q$SELECT pipelines._score_counts('{"ages": [], "features": [], "stages": [], "counts": [], "smoothing": 0}', now(), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)$q$,
	$q$SELECT pipelines._score_bins('{"ages": [], "features": [], "stages": [], "counts": []}', now(), '-infinity', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)$q$,
	$q$SELECT pipelines._score_bins('{"ages": [], "features": [], "stages": [], "counts": [], "every": 0}', now(), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)$q$,
	$q$SELECT pipelines._score_bins(jsonb_build_object('ages', (SELECT jsonb_agg(n) FROM generate_series(1, 3000) n), 'features', '[]'::jsonb,
		'stages', (SELECT jsonb_agg(jsonb_build_array(n, n, 0, 0)) FROM generate_series(1, 3000) n), 'counts', '[]'::jsonb), now(), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)$q$]) q;

-- a forecast of few rows, whose weighted sum is too large: without integers of 128 bits it would not be
SELECT count(*) FROM (WITH RECURSIVE d(n, s) AS (SELECT 0, pipelines.forecast(1e12, 99.99, 'open') UNION ALL SELECT n + 1, s OPERATOR(pipelines.+) s FROM d WHERE n < 51)
	SELECT n, pipelines.deals(s) FROM d) x;
SELECT try($$SELECT count(*) FROM (WITH RECURSIVE d(n, s) AS (SELECT 0, pipelines.forecast(9e14, 99.99, 'open') UNION ALL SELECT n + 1, s OPERATOR(pipelines.+) s FROM d WHERE n < 51)
	SELECT n, pipelines.deals(s) FROM d) x$$);

\set ECHO none
\c :home
SET client_min_messages = warning;
DROP DATABASE regress_pipelines_aggregate_states;
