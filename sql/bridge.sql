-- The bridge between two instants, and the deals behind it (SEMANTICS 3.10: R-10.1, R-10.2, R-10.4; I9).
-- In a database of its own, since schema pipelines is one per database.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT current_database() AS home \gset
DROP DATABASE IF EXISTS regress_pipelines_bridge;
CREATE DATABASE regress_pipelines_bridge;
CREATE ROLE regress_bridge_owner;
CREATE ROLE regress_bridge_reader;
\c regress_pipelines_bridge
SET lc_messages = 'C';
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
CREATE EXTENSION pipelines;

SELECT pipelines.create_pipeline('Sales', time_zone => 'UTC', stages => '[{"name": "Lead", "probability": 10}, {"name": "Quote", "probability": 50},
	{"name": "Held", "outcome": "on_hold", "probability": 20}, {"name": "Won", "outcome": "won"}, {"name": "Lost", "outcome": "lost"},
	{"name": "Junk", "outcome": "disqualified"}, {"name": "Done", "outcome": "done"}]');
SELECT pipelines.create_pipeline('Renewal', time_zone => 'UTC', stages => '[{"name": "Lead", "probability": 60}, {"name": "Won", "outcome": "won"}]');
SELECT pipelines.create_deals('deals', currency => 'EUR');
CREATE FUNCTION st(stage text) RETURNS integer LANGUAGE sql STABLE AS 'SELECT pipelines.stage_id(''Sales'', stage)';
-- what isn't nothing, and whether it balances
CREATE FUNCTION legs(VARIADIC arguments text[]) RETURNS TABLE (currency text, leg text, deals bigint, unpriced bigint, value numeric, balances boolean) LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY EXECUTE format('SELECT b.currency, concat_ws('': '', b.leg, b.reason), b.deals, b.unpriced, b.value,
		CASE b.leg WHEN ''end'' THEN sum(CASE b.leg WHEN ''end'' THEN -b.value ELSE b.value END) OVER (PARTITION BY b.currency) = 0 END
		FROM pipelines.bridge(%s) b WHERE b.deals <> 0 OR b.leg IN (''start'', ''end'') ORDER BY b.currency, b.n, b.reason', array_to_string(arguments, ', '));
END $$;
-- changes() adds up to bridge(): rows are differences
CREATE FUNCTION unlike(arguments text) RETURNS TABLE (currency text, leg text, reason text, deals bigint, value numeric) LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY EXECUTE format('WITH b AS (
			SELECT b.currency, b.leg, b.reason, b.deals, b.value FROM pipelines.bridge(%1$s) b WHERE b.leg NOT IN (''start'', ''end'') AND b.deals <> 0
		), c AS (
			SELECT c.currency, c.leg, c.reason, count(*), sum(c.value) FROM pipelines.changes(%1$s) c WHERE c.leg IS NOT NULL GROUP BY 1, 2, 3
		)
		(SELECT * FROM b EXCEPT SELECT * FROM c) UNION ALL (SELECT * FROM c EXCEPT SELECT * FROM b)', arguments);
END $$;

-- ----- one deal for each leg

SET pipelines.event_time = '2026-01-01 12:00';
INSERT INTO deals (deal_id, name, amount, owner, expected_close_on, stage_id) VALUES
	(1, 'stays', 100, 'ann', '2026-03-15', st('Lead')), (2, 'grows', 200, 'ann', '2026-03-15', st('Lead')), (3, 'shrinks', 300, 'bob', '2026-03-15', st('Lead')),
	(4, 'is won', 400, 'bob', '2026-03-15', st('Quote')), (5, 'is lost', 500, 'bob', '2026-03-15', st('Lead')), (6, 'is junk', 600, 'bob', NULL, st('Lead')),
	(7, 'is done', 700, 'bob', NULL, st('Lead')), (8, 'is deleted', 800, 'ann', NULL, st('Lead')), (9, 'was lost', 900, 'ann', '2026-03-15', st('Lost')),
	(10, 'is held', 1000, 'ann', NULL, st('Lead')), (11, 'was held', 1100, 'ann', NULL, st('Held')), (12, 'no amount', NULL, 'ann', NULL, st('Lead')),
	(13, 'changes hands', 1300, 'ann', '2026-03-15', st('Lead')), (14, 'is put off', 1400, 'ann', '2026-03-20', st('Lead')),
	(15, 'goes over', 1500, 'ann', '2026-03-15', st('Lead')), (16, 'was won, stays', 1600, 'ann', NULL, st('Won')), (17, 'is grown, then won', 1700, 'ann', NULL, st('Lead')),
	(18, 'changes money', 1800, 'ann', NULL, st('Lead'));
SET pipelines.event_time = '2026-02-10 12:00';
UPDATE deals SET amount = 250.55 WHERE deal_id = 2;
UPDATE deals SET amount = 299.99 WHERE deal_id = 3;
UPDATE deals SET stage_id = st('Won') WHERE deal_id = 4;
UPDATE deals SET stage_id = st('Lost') WHERE deal_id = 5;
UPDATE deals SET stage_id = st('Junk') WHERE deal_id = 6;
UPDATE deals SET stage_id = st('Done') WHERE deal_id = 7;
DELETE FROM deals WHERE deal_id = 8;
UPDATE deals SET stage_id = st('Quote') WHERE deal_id = 9;
UPDATE deals SET stage_id = st('Held') WHERE deal_id = 10;
UPDATE deals SET stage_id = st('Lead') WHERE deal_id = 11;
UPDATE deals SET owner = 'bob' WHERE deal_id = 13;
UPDATE deals SET expected_close_on = '2026-04-20' WHERE deal_id = 14;
UPDATE deals SET pipeline_id = 2, stage_id = st('Lead') WHERE deal_id = 15;
UPDATE deals SET amount = 1750 WHERE deal_id = 17;
UPDATE deals SET amount = 1900, currency = 'USD' WHERE deal_id = 18;
INSERT INTO deals (deal_id, name, amount, owner, stage_id) VALUES (20, 'comes', 20, 'ann', st('Lead')), (21, 'comes and is won', 21, 'bob', st('Lead')),
	(22, 'comes and goes', 22, 'bob', st('Lead')), (23, 'comes won', 23, 'bob', st('Won')), (24, 'comes held', 24, 'bob', st('Held'));
SET pipelines.event_time = '2026-02-11 12:00';
UPDATE deals SET stage_id = st('Won'), amount = 1751 WHERE deal_id = 17;
UPDATE deals SET amount = 25 WHERE deal_id = 21;
UPDATE deals SET stage_id = st('Won') WHERE deal_id = 21;
DELETE FROM deals WHERE deal_id = 22;
UPDATE deals SET stage_id = st('Quote'), amount = 26 WHERE deal_id = 24;
-- a correction after the closing is no part of it
SET pipelines.event_time = '2026-02-12 12:00';
UPDATE deals SET amount = 9999 WHERE deal_id = 21;
RESET pipelines.event_time;

SELECT * FROM pipelines.bridge('deals', '2026-02-01', '2026-03-01');
SELECT deal, currency, leg, reason, value, amount_before, amount_after, stage_before, stage_after, outcome_before, outcome_after
FROM pipelines.changes('deals', '2026-02-01', '2026-03-01') ORDER BY deal::integer, value DESC;
SELECT * FROM unlike($$'deals', '2026-02-01', '2026-03-01'$$);
-- start and end are what as_of() says
SELECT coalesce(a.currency, 'EUR'), sum(a.amount) FROM pipelines.as_of(NULL::deals, '2026-03-01') a JOIN pipelines.pipeline_stage s USING (pipeline_id, stage_id) WHERE s.outcome = 'open' GROUP BY 1 ORDER BY 1;
-- nothing in between, nothing before, nothing at all
SELECT * FROM legs($$'deals'$$, $$'2026-03-01'$$, $$'2026-03-01'$$);
SELECT * FROM legs($$'deals'$$, $$'-infinity'$$, $$'infinity'$$);
SELECT * FROM legs($$'deals'$$, $$'2020-01-01'$$, $$'2020-02-01'$$);
-- each half adds up to the whole at its end
SELECT * FROM legs($$'deals'$$, $$'2026-02-01'$$, $$'2026-02-10 12:00'$$) WHERE leg IN ('end', 'start');
SELECT * FROM legs($$'deals'$$, $$'2026-02-10 12:00'$$, $$'2026-03-01'$$);

-- ----- scopes, and why a deal came in or went out (R-2.18)

SELECT * FROM legs($$'deals'$$, $$'2026-02-01'$$, $$'2026-03-01'$$, $$owners => '{ann}'$$);
SELECT * FROM legs($$'deals'$$, $$'2026-02-01'$$, $$'2026-03-01'$$, $$owners => '{bob,nobody}'$$);
SELECT * FROM legs($$'deals'$$, $$'2026-02-01'$$, $$'2026-03-01'$$, $$pipelines => '{Renewal}'$$);
SELECT * FROM legs($$'deals'$$, $$'2026-02-01'$$, $$'2026-03-01'$$, $$expected => '[2026-03-01,2026-04-01)'$$);
SELECT * FROM legs($$'deals'$$, $$'2026-02-01'$$, $$'2026-03-01'$$, $$expected => '[2026-04-01,2026-05-01)'$$, $$owners => '{ann}'$$);
SELECT * FROM legs($$'deals'$$, $$'2026-02-01'$$, $$'2026-03-01'$$, $$filter => 'amount > 250 AND amount < 1000'$$);
-- name is not tracked: it is the present one, and nobody's where the deal is gone
SELECT * FROM legs($$'deals'$$, $$'2026-02-01'$$, $$'2026-03-01'$$, $$filter => 'name LIKE ''%won%'' AND coalesce(owner, ''x'') <> ''x'' -- and so on'$$);
-- a column by the part that it plays
ALTER TABLE deals RENAME COLUMN owner TO "the rep";
SELECT leg, value FROM pipelines.bridge('deals', '2026-02-01', '2026-03-01', filter => 'owner = ''ann'' AND "the rep" = owner', owners => '{ann}') WHERE currency = 'EUR' AND leg IN ('start', 'end');
ALTER TABLE deals RENAME COLUMN "the rep" TO owner;
SELECT * FROM unlike($$'deals', '2026-02-01', '2026-03-01', filter => 'name LIKE ''%won%''', owners => '{ann}', pipelines => '{Sales,Renewal}'$$);

-- ----- weighted, and what definitions say (R-10.2, R-2.33, R-2.34)

SET pipelines.event_time = '2026-03-05 12:00';
UPDATE deals SET stage_id = st('Quote') WHERE deal_id = 1;
UPDATE deals SET probability = 30 WHERE deal_id = 2;
UPDATE deals SET probability = 70, amount = 400, stage_id = st('Quote') WHERE deal_id = 3;
SET pipelines.event_time = '2026-03-06 12:00';
UPDATE deals SET stage_id = st('Won') WHERE deal_id = 9;
RESET pipelines.event_time;
SELECT * FROM legs($$'deals'$$, $$'2026-03-01'$$, $$'2026-04-01'$$, 'weighted => true');
SELECT * FROM legs($$'deals'$$, $$'2026-03-01'$$, $$'2026-04-01'$$);
SELECT deal, leg, value, probability_before, probability_after, weighted_before, weighted_after
FROM pipelines.changes('deals', '2026-03-01', '2026-04-01', weighted => true) ORDER BY deal::integer, leg;
SELECT * FROM unlike($$'deals', '2026-03-01', '2026-04-01', weighted => true$$);
-- the forecast of now, and the end of a bridge to now
SELECT f.currency, sum(f.pipeline) = (SELECT value FROM pipelines.bridge('deals') b WHERE b.leg = 'end' AND b.currency = f.currency),
	sum(f.weighted) = (SELECT value FROM pipelines.bridge('deals', weighted => true) b WHERE b.leg = 'end' AND b.currency = f.currency)
FROM deals_forecast f GROUP BY 1 ORDER BY 1;
-- a definition that changes, and deals that move besides: their move counts first, by the definitions that were
CREATE TABLE mark AS SELECT clock_timestamp() AS at;
UPDATE pipelines.pipeline_stage SET probability = 20 WHERE pipeline_id = 1 AND stage_id = st('Lead');
UPDATE deals SET stage_id = st('Lead') WHERE deal_id = 24;
SELECT * FROM legs($$'deals'$$, '(SELECT at FROM mark)', 'now()', 'weighted => true');
SELECT deal, leg, value, probability_before, probability_after FROM pipelines.changes('deals', (SELECT at FROM mark), weighted => true) ORDER BY deal::integer, leg;
SELECT * FROM unlike($$'deals', (SELECT at FROM mark), now(), weighted => true$$);
SELECT * FROM unlike($$'deals', (SELECT at FROM mark), now()$$);
-- a closing without a move: the stage was given another outcome
UPDATE mark SET at = clock_timestamp();
SELECT * FROM pipelines.change_outcome('Sales', 'Quote', 'lost', apply_to => 'all');
SELECT * FROM legs($$'deals'$$, '(SELECT at FROM mark)', 'now()', 'weighted => true');
UPDATE mark SET at = clock_timestamp();
SELECT * FROM pipelines.change_outcome('Sales', 'Quote', 'open', apply_to => 'all', probability => 45);
SELECT * FROM legs($$'deals'$$, '(SELECT at FROM mark)', 'now()', 'weighted => true');
SELECT * FROM unlike($$'deals', (SELECT at FROM mark), now(), weighted => true$$);
-- omitted from forecasts, or counted again
UPDATE mark SET at = clock_timestamp();
UPDATE pipelines.pipeline_stage SET forecast_category = 'omitted' WHERE pipeline_id = 1 AND stage_id = st('Quote');
UPDATE deals SET forecast_category = 'commit' WHERE deal_id = 10;
SELECT * FROM legs($$'deals'$$, '(SELECT at FROM mark)', 'now()');
SELECT * FROM unlike($$'deals', (SELECT at FROM mark), now()$$);

-- learned of after its stage had become a lost one: the definition closed it at what it was worth then
SELECT pipelines.create_pipeline('Late', stages => '[{"name": "Trial", "probability": 50}, {"name": "Won", "outcome": "won"}]') AS late \gset
SELECT pipelines.create_deals('late', currency => 'EUR');
UPDATE mark SET at = clock_timestamp();
SELECT * FROM pipelines.change_outcome('Late', 'Trial', 'lost', apply_to => 'all');
SET pipelines.event_time = '2020-01-01';
INSERT INTO late (deal_id, pipeline_id, stage_id, amount) VALUES (1, :late, pipelines.stage_id('Late', 'Trial'), 10);
RESET pipelines.event_time;
UPDATE late SET amount = 11;
SELECT * FROM legs($$'late'$$, '(SELECT at FROM mark)', 'now()');
SELECT * FROM legs($$'late'$$, '(SELECT at FROM mark)', 'now()', 'weighted => true');
SELECT deal, leg, value, amount_before, amount_after FROM pipelines.changes('late', (SELECT at FROM mark)) ORDER BY leg;
-- open for a while between two instants at which it was closed
UPDATE mark SET at = clock_timestamp();
SELECT count(*) FROM pipelines.change_outcome('Late', 'Trial', 'open', apply_to => 'all', probability => 50);
SELECT count(*) FROM pipelines.change_outcome('Late', 'Trial', 'lost', apply_to => 'all');
SET pipelines.event_time = '2020-01-01';
INSERT INTO late (deal_id, pipeline_id, stage_id, amount) VALUES (2, :late, pipelines.stage_id('Late', 'Trial'), 20);
RESET pipelines.event_time;
SELECT * FROM legs($$'late'$$, '(SELECT at FROM mark)', 'now()');
SELECT deal, leg, value FROM pipelines.changes('late', (SELECT at FROM mark)) ORDER BY deal, leg;
-- what came after the closing is no part of it, however little is read
SELECT pipelines.create_deals('later', currency => 'EUR');
SET pipelines.event_time = '2026-01-01';
INSERT INTO later (deal_id, amount, stage_id) VALUES (1, 100, st('Lead')), (2, 100, st('Lead'));
SET pipelines.event_time = '2026-02-10';
UPDATE later SET stage_id = st('Won'), amount = 200;
SET pipelines.event_time = '2026-02-12';
UPDATE later SET amount = 9999 WHERE deal_id = 1;
RESET pipelines.event_time;
SELECT * FROM legs($$'later'$$, $$'2026-02-01'$$, $$'2026-03-01'$$);
SELECT * FROM legs($$'later'$$, $$'2026-02-01'$$, $$'2026-03-01'$$, $$filter => 'true'$$);
-- an amount that was never known until the closing told it
INSERT INTO deals (deal_id, name, stage_id) VALUES (30, 'told at last', st('Lead'));
UPDATE mark SET at = clock_timestamp();
UPDATE deals SET amount = 30, stage_id = st('Won') WHERE deal_id = 30;
SELECT * FROM legs($$'deals'$$, '(SELECT at FROM mark)', 'now()', $$filter => 'deal_id >= 30'$$);
DELETE FROM deals WHERE deal_id = 30;

-- ----- a key that comes back has two lives

SELECT pipelines.create_deals('lives', key => '{a,b}', currency => 'EUR');
SET pipelines.event_time = '2026-01-01';
INSERT INTO lives (a, b, amount) VALUES (1, 1, 10), (1, 2, 20);
SET pipelines.event_time = '2026-02-01';
DELETE FROM lives WHERE b = 1;
INSERT INTO lives (a, b, amount) VALUES (1, 1, 11);
SET pipelines.event_time = '2026-02-02';
UPDATE lives SET amount = 12 WHERE b = 1;
SET pipelines.event_time = '2026-02-03';
DELETE FROM lives WHERE b = 1;
INSERT INTO lives (a, b, amount, owner) VALUES (1, 1, 13, 'me');
-- what no instant sees makes no leg
UPDATE lives SET amount = 14 WHERE b = 1;
RESET pipelines.event_time;
SELECT * FROM legs($$'lives'$$, $$'2026-01-15'$$, $$'2026-03-01'$$);
SELECT deal, leg, value, amount_before, amount_after, owner_after FROM pipelines.changes('lives', '2026-01-15', '2026-03-01') ORDER BY 3 DESC;

-- ----- converted: amount first, at the rates of then, and what the rates did after it (R-8.6)

SELECT pipelines.create_deals('fx', currency => 'EUR');
INSERT INTO pipelines.exchange_rate (rate_set, currency, base, rate_on, rate) VALUES
	('spot', 'USD', 'EUR', '2026-02-01', 1.1), ('spot', 'USD', 'EUR', '2026-02-10', 1.2), ('spot', 'USD', 'EUR', '2026-02-28', 1.25), ('spot', 'GBP', 'EUR', '2026-02-28', 0.8);
SET pipelines.event_time = '2026-01-20';
INSERT INTO fx (deal_id, amount, currency) VALUES (1, 110, 'USD'), (2, 220, 'USD'), (3, 100, NULL), (4, 500, 'USD'), (6, 50, 'CHF'), (7, 10.005, 'EUR'), (8, NULL, 'USD'), (9, 80, 'GBP');
SET pipelines.event_time = '2026-02-10 08:00';
UPDATE fx SET amount = 330 WHERE deal_id = 2;
UPDATE fx SET amount = 200, currency = 'USD' WHERE deal_id = 3;
UPDATE fx SET stage_id = st('Won') WHERE deal_id = 4;
SET pipelines.event_time = '2026-02-11 08:00';
INSERT INTO fx (deal_id, amount, currency) VALUES (5, 60, 'USD');
RESET pipelines.event_time;
SELECT * FROM legs($$'fx'$$, $$'2026-02-01 12:00'$$, $$'2026-03-01 12:00'$$, $$currency => 'EUR'$$);
SELECT deal, leg, value FROM pipelines.changes('fx', '2026-02-01 12:00', '2026-03-01 12:00', currency => 'EUR') ORDER BY deal, leg;
SELECT * FROM unlike($$'fx', '2026-02-01 12:00', '2026-03-01 12:00', currency => 'EUR'$$);
SELECT * FROM legs($$'fx'$$, $$'2026-02-01 12:00'$$, $$'2026-03-01 12:00'$$, $$currency => 'JPY'$$);
SELECT * FROM legs($$'fx'$$, $$'2026-02-01 12:00'$$, $$'2026-03-01 12:00'$$, $$currency => 'EUR', weighted => true, filter => 'amount > 100'$$);
SELECT * FROM unlike($$'fx', '2026-02-01 12:00', '2026-03-01 12:00', currency => 'EUR', weighted => true, filter => 'amount > 100'$$);
SELECT * FROM legs($$'fx'$$, $$'2020-02-01'$$, $$'2020-03-01'$$, $$currency => 'EUR'$$);
SELECT * FROM pipelines.bridge('fx', '2026-02-01', '2026-03-01', currency => 'XYZ');

-- ----- the review (R-10.4, S116, S86)

SELECT pipelines.create_deals('rev', currency => 'EUR');
UPDATE pipelines.pipeline_stage SET stall_limit = '10 days' WHERE pipeline_id = 1 AND stage_id = st('Lead');
SET pipelines.event_time = '2026-02-01';
INSERT INTO rev (deal_id, amount, expected_close_on, next_action_at) VALUES (1, 1, '2026-04-01', '2026-04-01'), (2, 2, '2026-04-01', '2026-04-01'),
	(3, 3, '2026-04-01', '2026-04-01'), (4, 4, '2026-03-01', '2026-04-01'), (5, 5, '2026-04-01', NULL), (6, 600, '2026-04-01', '2026-04-01'),
	(7, 7, '2026-04-01', '2026-03-01'), (8, 8, '2026-04-01', '2026-04-01'), (9, 9, '2026-04-01', '2026-04-01');
UPDATE rev SET stage_id = st('Won') WHERE deal_id = 9;
SET pipelines.event_time = '2026-03-05';
UPDATE rev SET stage_id = st('Quote') WHERE deal_id IN (2, 8);
UPDATE rev SET expected_close_on = '2026-05-01', stage_id = st('Quote') WHERE deal_id = 3;
UPDATE rev SET stage_id = st('Quote') WHERE deal_id IN (4, 5, 6, 7);
SET pipelines.event_time = '2026-03-12';
UPDATE rev SET stage_id = st('Won') WHERE deal_id = 8;
UPDATE rev SET amount = 90 WHERE deal_id = 9;
UPDATE rev SET expected_close_on = '2026-04-20' WHERE deal_id = 2;
INSERT INTO rev (deal_id, amount, stage_id, expected_close_on, next_action_at) VALUES (10, 10, st('Quote'), '2026-04-01', '2026-04-01');
RESET pipelines.event_time;
SELECT deal, flags, stage_name, stage_before, outcome, amount, amount_before, expected_before, pushed_days, days_in_stage
FROM pipelines.review('rev', large => 500, as_of => '2026-03-15 12:00') ORDER BY deal::integer;
-- another week, another answer; the threshold of the pipeline
UPDATE pipelines.pipeline SET large_from = 5 WHERE pipeline_id = 1;
SELECT deal, flags, pushed_days FROM pipelines.review('rev', since => '2026-03-01', as_of => '2026-03-08') ORDER BY deal::integer;
SELECT count(*) FROM pipelines.review('rev', as_of => '2020-01-01');
-- at the end of time no one can say for how long a deal has been where it is
SELECT count(*) > 0 AS some, count(days_in_stage) AS days FROM pipelines.review('rev', since => '2026-03-01', as_of => 'infinity');
-- changes() has the same flags (R-10.4), of the deal at the second instant; one that is not there then has none
BEGIN;
SET LOCAL pipelines.event_time = '2026-03-13';
DELETE FROM rev WHERE deal_id = 10;
SELECT deal, leg, value, flags FROM pipelines.changes('rev', '2026-03-01', '2026-03-15 12:00') ORDER BY deal::integer, leg;
SELECT deal, leg, value, flags FROM pipelines.changes('rev', '2026-03-11', '2026-03-12 12:00', pipelines => '{Sales}') ORDER BY deal::integer, leg;
SELECT count(*) AS rows, count(*) FILTER (WHERE c.flags IS DISTINCT FROM CASE WHEN c.stage_after IS NOT NULL THEN coalesce(r.flags, '{}') END) AS wrong
FROM (VALUES ('2026-01-01'::timestamptz, '2026-03-08'::timestamptz), ('2026-03-01', '2026-03-08'), ('2026-03-08', '2026-03-15 12:00'), ('-infinity', now())) i(since, at)
CROSS JOIN LATERAL pipelines.changes('rev', since, at) c
LEFT JOIN LATERAL pipelines.review('rev', since => since, as_of => at) r ON r.deal = c.deal;
SELECT deal, leg, flags FROM pipelines.changes('rev', '2026-03-10', 'infinity') ORDER BY deal::integer;
ROLLBACK;
-- a key that came back is another deal
SELECT deal, leg, flags FROM pipelines.changes('lives', '2026-01-15', '2026-02-01 12:00') ORDER BY deal, leg;
SELECT deal, flags, amount, amount_before, stage_before FROM pipelines.review('lives', since => '2026-01-15', as_of => '2026-02-01 12:00') ORDER BY deal;
SELECT deal, flags, amount, amount_before, stage_before FROM pipelines.review('lives', since => '2026-02-01 12:00', as_of => '2026-02-02 12:00') ORDER BY deal;
SELECT deal, flags, amount, amount_before, stage_before FROM pipelines.review('lives', since => '2026-01-15') ORDER BY deal;
-- who does not look at the flags does not pay for them
EXPLAIN (COSTS OFF) SELECT deal, leg, value FROM pipelines.changes('rev', '2026-03-01', '2026-03-15 12:00') WHERE value > 0;
SELECT count(*) FROM pipelines.changes(NULL, '2026-03-01', '2026-03-15 12:00') WHERE flags IS NULL;
SELECT flags FROM pipelines.changes('rev', '2026-03-01', '2026-02-01');
SELECT flags FROM pipelines.changes('mark', '2026-03-01', '2026-03-15');
-- the view is the last week to now; the largest tenth where nothing says what is large
UPDATE pipelines.pipeline SET large_from = NULL WHERE pipeline_id = 1;
INSERT INTO rev (deal_id, amount) SELECT 100 + n, n FROM generate_series(1, 12) n;
SELECT deal, flags FROM rev_review WHERE 'large' = ANY (flags) ORDER BY deal::integer;
SELECT deal FROM rev_review WHERE 'stalled' = ANY (flags) ORDER BY deal::integer;
SELECT count(*) FROM rev_review r FULL JOIN pipelines.review('rev') f USING (deal) WHERE r.flags IS DISTINCT FROM f.flags;
SELECT count(*) > 0 AS some, count(*) FILTER (WHERE v.value IS DISTINCT FROM f.value OR v.deals IS DISTINCT FROM f.deals) AS wrong
FROM rev_bridge v FULL JOIN pipelines.bridge('rev') f USING (n, leg);
SELECT count(*) > 0 AS some, count(*) FILTER (WHERE v IS DISTINCT FROM f) AS wrong
FROM (SELECT x::text AS v FROM rev_changes x) v FULL JOIN (SELECT x::text AS f FROM pipelines.changes('rev') x) f ON v = f;
-- where activities count, a call is one; what has no rate is not known to be large
UPDATE pipelines.pipeline_stage SET stall_limit = '30 days', stall_basis = 'activity' WHERE stage_id = st('Lead');
UPDATE pipelines.pipeline SET large_from = 1000 WHERE pipeline_id = 1;
SET pipelines.event_time = '2026-01-01';
INSERT INTO rev (deal_id, stage_id, amount, currency) VALUES (200, st('Lead'), 1, 'EUR'), (201, st('Lead'), 1, 'EUR'), (202, st('Lead'), 150000, 'JPY'), (203, st('Lead'), 150000, 'EUR');
RESET pipelines.event_time;
INSERT INTO rev_activity (deal_id, kind, done_at) VALUES (200, 'call', now() - interval '1 day'), (201, 'call', now() + interval '1 day');
SELECT deal, flags FROM pipelines.review('rev') WHERE deal::integer >= 200 ORDER BY deal::integer;
SELECT * FROM pipelines.review('mark');

-- ----- what it can't be asked, and rights

SELECT * FROM pipelines.bridge('deals', '2026-03-01', '2026-02-01');
SELECT * FROM pipelines.bridge('mark', '2026-02-01', '2026-03-01');
SELECT * FROM pipelines.bridge('deals', '2026-03-01', NULL);
-- from a week before, if nothing is said
CREATE VIEW week AS SELECT * FROM pipelines.bridge('deals', NULL, '2026-02-13');
SELECT count(*) FILTER (WHERE deals > 0) > 2 AS some, (SELECT count(*) FROM (TABLE week EXCEPT SELECT * FROM pipelines.bridge('deals', '2026-02-06', '2026-02-13')) x) AS different FROM week;
SELECT * FROM pipelines.bridge('deals', '2026-02-01', '2026-03-01', pipelines => '{Nothing}');
SELECT * FROM pipelines.bridge('deals', '2026-02-01', '2026-03-01', filter => 'pg_sleep(1) IS NULL');
SELECT * FROM pipelines.bridge('deals', '2026-02-01', '2026-03-01', filter => 'nothing > 1');
SELECT * FROM pipelines.bridge('deals', '2026-02-01', '2026-03-01', filter => 'amount');
SELECT * FROM pipelines.bridge('deals', '2026-02-01', '2026-03-01', filter => 'true) OR (true');
SELECT * FROM pipelines.bridge('deals', '2026-02-01', '2026-03-01', filter => E'name = ''\\''');
SET ROLE regress_bridge_reader;
SELECT * FROM pipelines.bridge('deals', '2026-02-01', '2026-03-01');
RESET ROLE;
SELECT count(*) > 0 FROM pipelines.grant_access('deals', 'regress_bridge_reader', 'read');
SELECT pipelines.protect_pipeline('Renewal');
-- of a protected pipeline a reader sees no deals; one that went there has moved out
SET ROLE regress_bridge_reader;
SELECT * FROM legs($$'deals'$$, $$'2026-02-01'$$, $$'2026-03-01'$$, $$expected => '[2026-03-01,2026-04-01)'$$);
SELECT * FROM pipelines.changes('deals', '2026-02-01', '2026-03-01') WHERE deal = '15';
SELECT * FROM pipelines.bridge('deals', '2026-02-01', '2026-03-01', pipelines => '{Renewal}');
RESET ROLE;
SELECT leg, deals, value FROM pipelines.bridge('deals', '2026-02-01', '2026-03-01', pipelines => '{Renewal}') WHERE deals > 0;
-- gone to a pipeline that the reader doesn't see, and back
SELECT pipelines.create_deals('hidden', currency => 'EUR');
SELECT count(*) > 0 FROM pipelines.grant_access('hidden', 'regress_bridge_reader', 'read');
SELECT pipelines.grant_pipeline('Sales', 'regress_bridge_reader', 'see');
SET pipelines.event_time = '2026-03-10';
INSERT INTO hidden (deal_id, amount, stage_id, created_at) VALUES (1, 70, st('Lead'), '2026-03-10');
SET pipelines.event_time = '2026-03-11';
UPDATE hidden SET pipeline_id = pipelines.pipeline_id('Renewal'), stage_id = pipelines.stage_id('Renewal', 'Lead');
SET pipelines.event_time = '2026-03-13';
UPDATE hidden SET pipeline_id = pipelines.pipeline_id('Sales'), stage_id = st('Quote');
RESET pipelines.event_time;
SET ROLE regress_bridge_reader;
SELECT * FROM legs($$'hidden'$$, $$'2026-03-10 12:00'$$, $$'2026-03-12'$$);
SELECT * FROM legs($$'hidden'$$, $$'2026-03-14'$$, $$'infinity'$$);
SELECT leg, reason, value, amount_before, amount_after FROM pipelines.changes('hidden', '2026-03-10 12:00', '2026-03-12');
SELECT * FROM legs($$'hidden'$$, $$'2026-03-12'$$, $$'2026-03-14'$$);
SELECT * FROM legs($$'hidden'$$, $$'2026-03-10 12:00'$$, $$'2026-03-14'$$);
SELECT stage_name, to_stage_name, kind, n FROM pipelines.transitions('hidden');
SELECT kind, stage_name, to_stage_name, n FROM pipelines.flow('hidden', '2026-03-09', as_of => '2026-03-14');
RESET ROLE;
SELECT kind, pipeline_name, stage_name, to_stage_name, n FROM pipelines.flow('hidden', '2026-03-09', as_of => '2026-03-14');
-- come from there (R-2.18, R-2.19): not made, whatever came of it here; 8 and 9 were made, of keys that had been deleted
SET pipelines.event_time = '2026-03-10';
INSERT INTO hidden (deal_id, amount, pipeline_id, stage_id, created_at)
SELECT i, 10 ^ i, pipelines.pipeline_id('Renewal'), pipelines.stage_id('Renewal', 'Lead'), '2026-03-10' FROM generate_series(2, 7) i;
INSERT INTO hidden (deal_id, amount, stage_id, created_at) SELECT i, 10 ^ i, st('Lead'), '2026-03-10' FROM generate_series(8, 9) i;
UPDATE hidden SET stage_id = pipelines.stage_id('Renewal', 'Won') WHERE deal_id = 7;
DELETE FROM hidden WHERE deal_id = 8;
SET pipelines.event_time = '2026-03-12 06:00';
UPDATE hidden SET pipeline_id = pipelines.pipeline_id('Sales'), stage_id = CASE deal_id WHEN 6 THEN st('Lost') WHEN 7 THEN st('Won') ELSE st('Quote') END WHERE deal_id BETWEEN 2 AND 7;
DELETE FROM hidden WHERE deal_id = 9;
SET pipelines.event_time = '2026-03-12 12:00';
UPDATE hidden SET amount = amount * 2 WHERE deal_id BETWEEN 2 AND 5;
INSERT INTO hidden (deal_id, amount, stage_id, created_at) SELECT i, 10 ^ i, st('Lead'), '2026-03-12 12:00' FROM generate_series(8, 9) i;
SET pipelines.event_time = '2026-03-13';
UPDATE hidden SET stage_id = st('Won') WHERE deal_id = 3;
UPDATE hidden SET pipeline_id = pipelines.pipeline_id('Renewal'), stage_id = pipelines.stage_id('Renewal', 'Lead') WHERE deal_id = 4;
DELETE FROM hidden WHERE deal_id = 5;
UPDATE hidden SET stage_id = st('Quote') WHERE deal_id = 7;
RESET pipelines.event_time;
SET ROLE regress_bridge_reader;
SELECT * FROM legs($$'hidden'$$, $$'2026-03-12'$$, $$'2026-03-14'$$);
SELECT deal, leg, reason, value, amount_before, amount_after, pipeline_before FROM pipelines.changes('hidden', '2026-03-12', '2026-03-14') ORDER BY deal, leg;
SELECT * FROM unlike($$'hidden', '2026-03-12', '2026-03-14'$$);
-- so its flags say that it has moved (S116); deal 1 was made here before it went there and came back
SELECT deal, flags, pipeline_before FROM pipelines.changes('hidden', '2026-03-12', '2026-03-14') WHERE stage_after IS NOT NULL ORDER BY deal, leg;
CREATE TEMPORARY TABLE flagged AS SELECT since, deal, flags FROM unnest('{2026-03-09,2026-03-12}'::timestamptz[]) since, pipelines.review('hidden', since => since, as_of => '2026-03-14');
-- who sees both sees the same, of one of them
RESET ROLE;
SELECT f.since, f.deal, f.flags, o.flags AS of_who_sees_both
FROM flagged f LEFT JOIN LATERAL pipelines.review('hidden', since => f.since, as_of => '2026-03-14') o ON o.deal = f.deal ORDER BY 1, 2;
SELECT * FROM legs($$'hidden'$$, $$'2026-03-12'$$, $$'2026-03-14'$$, $$pipelines => '{Sales}'$$);

-- what was closed stays so for who doesn't see where it was reopened, though its stage is an open one by now
SELECT pipelines.create_pipeline('Turned', stages => '["Lead", {"name": "Shelved", "outcome": "lost"}]') AS turned \gset
SET pipelines.event_time = '2026-04-01';
INSERT INTO hidden (deal_id, amount, pipeline_id, stage_id) VALUES (20, 5, :turned, pipelines.stage_id('Turned', 'Shelved'));
SET pipelines.event_time = '2026-04-01 12:00';
UPDATE hidden SET expected_close_on = '2026-05-01' WHERE deal_id = 20;
SET pipelines.event_time = '2026-04-02';
UPDATE hidden SET pipeline_id = pipelines.pipeline_id('Renewal'), stage_id = pipelines.stage_id('Renewal', 'Lead') WHERE deal_id = 20;
RESET pipelines.event_time;
UPDATE pipelines.pipeline_stage SET outcome = 'open' WHERE pipeline_id = :turned AND stage_id = pipelines.stage_id('Turned', 'Shelved');
SET ROLE regress_bridge_reader;
SELECT * FROM legs($$'hidden'$$, $$'2026-03-31'$$, $$now()$$, $$pipelines => '{Turned}'$$);
RESET ROLE;
SELECT * FROM legs($$'hidden'$$, $$'2026-03-31'$$, $$now()$$, $$pipelines => '{Turned}'$$);

\c :home
SET client_min_messages = warning;
DROP DATABASE regress_pipelines_bridge;
DROP ROLE regress_bridge_owner;
DROP ROLE regress_bridge_reader;
