-- The views of a deals table.  In a database of its own, so that ids are known.
SELECT current_database() AS regression \gset
CREATE DATABASE regress_pipelines_views ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0;
\c regress_pipelines_views
\set SHOW_CONTEXT never
SET client_encoding = 'UTF8';
SET TimeZone = 'UTC';
CREATE EXTENSION pipelines;
CREATE ROLE regress_views_owner;
CREATE ROLE regress_views_reader;
SELECT pipelines.create_pipeline('Sales', stages => '[
	{"name": "Lead", "probability": 10, "stall_limit": "7 days"},
	{"name": "Talks", "probability": 40, "stall_limit": "5 days", "stall_basis": "activity"},
	{"name": "Offer", "probability": 62.5, "stall_limit": "30 days", "stall_basis": "age"},
	{"name": "Contract", "probability": 90},
	{"name": "Hold", "probability": 20, "outcome": "on_hold", "stall_limit": "1 day"},
	{"name": "Sold", "outcome": "won"},
	{"name": "Gone", "outcome": "lost"},
	{"name": "Junk", "outcome": "disqualified"},
	{"name": "Handed over", "outcome": "done"}]');
SELECT pipelines.create_pipeline('Service', stages => '["Lead", "Visit", {"name": "Sold", "outcome": "won"}]');
UPDATE pipelines.pipeline SET time_zone = 'Pacific/Kiritimati' WHERE name = 'Service';
CREATE SCHEMA app AUTHORIZATION regress_views_owner;
GRANT USAGE ON SCHEMA app TO regress_views_reader;
SET search_path = app;
SET ROLE regress_views_owner;
SELECT pipelines.create_deals('deals', currency => 'EUR');

-- rows that are kept as they are, since the owner gives all their bookkeeping
CREATE PROCEDURE put(id bigint, pipeline text, stage text, amount numeric, entered interval DEFAULT '1 day',
	changed interval DEFAULT NULL, created interval DEFAULT '10 days', probability numeric DEFAULT NULL,
	category text DEFAULT NULL, expected date DEFAULT NULL, closed_on date DEFAULT NULL, currency text DEFAULT NULL,
	owner text DEFAULT 'ann', next_action interval DEFAULT NULL)
LANGUAGE sql AS $$
	INSERT INTO app.deals (deal_id, pipeline_id, stage_id, amount, stage_entered_at, changed_at, created_at, created_by,
		probability, forecast_category, expected_close_on, closed_at, closed_on, currency, owner, next_action_at,
		furthest_stage_id, episode, version)
	SELECT id, s.pipeline_id, s.stage_id, put.amount, now() - entered, now() - coalesce(changed, entered), now() - created, 'x',
		put.probability, put.category, expected, CASE WHEN s.outcome IN ('won', 'lost', 'disqualified', 'done') THEN now() - entered END,
		put.closed_on, put.currency, put.owner, now() + next_action, s.stage_id, 1, 1
	FROM pipelines.pipeline_stage s
	WHERE s.pipeline_id = pipelines.pipeline_id(pipeline) AND s.stage_id = pipelines.stage_id(pipeline, stage)
$$;
CALL put(1, 'Sales', 'Lead', 1000, '3 days');
CALL put(2, 'Sales', 'Lead', 2000.55, '8 days', probability => 33.333, expected => '2020-02-29');
CALL put(3, 'Sales', 'Lead', NULL, '9 days', next_action => '1 day');
CALL put(4, 'Sales', 'Talks', 500, '20 days', '4 days', category => 'commit', expected => '2100-07-31');
CALL put(5, 'Sales', 'Talks', 700, '20 days', '6 days', next_action => '-1 day');
CALL put(6, 'Sales', 'Offer', 300, '1 day', created => '31 days', category => 'omitted', next_action => '1 day');
CALL put(7, 'Sales', 'Offer', 0.01, '1 day', currency => 'USD');
CALL put(8, 'Sales', 'Hold', 100, '5 days');
CALL put(9, 'Sales', 'Hold', 400, '5 days', category => 'pipeline', probability => 5);
CALL put(10, 'Sales', 'Sold', 9000, '2 days', probability => 12, category => 'omitted', closed_on => '2026-03-15');
CALL put(11, 'Sales', 'Sold', NULL, '2 days', closed_on => '2026-03-16');
CALL put(12, 'Sales', 'Gone', 8000, '2 days', closed_on => '2026-03-31', owner => 'bob');
CALL put(13, 'Sales', 'Junk', 7000, '2 days', closed_on => '2026-04-01', owner => NULL);
CALL put(14, 'Sales', 'Handed over', 6000, '2 days', closed_on => '2026-04-01');
CALL put(15, 'Service', 'Visit', 50, '1000 days', expected => '2100-01-01');

-- T_current
SELECT deal_id, pipeline_name, stage_name, position, outcome, effective_probability AS probability, probability_source AS source,
	   effective_category AS category, weighted, days_in_stage, age_days
FROM deals_current ORDER BY deal_id;
SELECT array_agg(attname ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'deals_current'::regclass AND attnum > 34;

-- T_board: the same deals, added up; every live stage, in order
SELECT pipeline_name, stage_name, position, outcome, currency, deals, unpriced, amount, weighted, avg_days_in_stage AS days
FROM deals_board;
SELECT count(*) AS differences FROM (
	(SELECT pipeline_id, stage_id, coalesce(currency, 'EUR'), count(*), count(*) - count(amount), coalesce(sum(amount), 0), coalesce(sum(weighted), 0),
			round(avg(days_in_stage), 2) FROM deals_current GROUP BY 1, 2, 3
	 EXCEPT SELECT pipeline_id, stage_id, currency, deals, unpriced, amount, weighted, avg_days_in_stage FROM deals_board)
	UNION ALL
	(SELECT pipeline_id, stage_id, currency, deals, unpriced, amount, weighted, avg_days_in_stage FROM deals_board WHERE deals > 0
	 EXCEPT SELECT pipeline_id, stage_id, coalesce(currency, 'EUR'), count(*), count(*) - count(amount), coalesce(sum(amount), 0), coalesce(sum(weighted), 0),
			round(avg(days_in_stage), 2) FROM deals_current GROUP BY 1, 2, 3)) d;
-- an archived stage shows while deals are in it
RESET ROLE;
UPDATE pipelines.pipeline_stage SET archived_at = now()
WHERE pipeline_id = pipelines.pipeline_id('Sales') AND stage_id IN (pipelines.stage_id('Sales', 'Talks'), pipelines.stage_id('Sales', 'Contract'));
SET ROLE regress_views_owner;
SELECT stage_name, deals FROM deals_board WHERE pipeline_name = 'Sales' AND stage_name IN ('Talks', 'Contract');
RESET ROLE;
UPDATE pipelines.pipeline_stage SET archived_at = NULL WHERE archived_at IS NOT NULL;
SET ROLE regress_views_owner;

-- T_forecast: no deal is dropped
SELECT pipeline_name, month, bucket, owner, currency, deals, unpriced, pipeline, weighted, won, lost
FROM deals_forecast ORDER BY pipeline_id, bucket, month, owner, currency;
SELECT sum(deals) AS deals, sum(unpriced) AS unpriced, sum(pipeline) AS pipeline, sum(won) AS won, sum(lost) AS lost FROM deals_forecast;
SELECT count(*) AS deals, count(*) - count(amount) AS unpriced,
	   sum(amount) FILTER (WHERE outcome IN ('open', 'on_hold') AND effective_category <> 'omitted') AS pipeline,
	   sum(amount) FILTER (WHERE outcome = 'won') AS won, sum(amount) FILTER (WHERE outcome = 'lost') AS lost
FROM deals_current;
SELECT count(*) AS differences FROM (
	SELECT pipeline_id, owner, coalesce(currency, 'EUR'),
		   CASE WHEN outcome IN ('open', 'on_hold') THEN expected_close_on ELSE closed_on END IS NULL,
		   count(*), coalesce(sum(weighted) FILTER (WHERE outcome IN ('open', 'on_hold')), 0)
	FROM deals_current GROUP BY 1, 2, 3, 4
	EXCEPT
	SELECT pipeline_id, owner, currency, bucket = 'undated', sum(deals), sum(weighted)
	FROM deals_forecast GROUP BY 1, 2, 3, 4) d;
SELECT bool_and(p10 <= p50 AND p50 <= p90 AND stddev >= 0) AS sound FROM deals_forecast WHERE pipeline > 0;
-- overdue is a matter of the pipeline's day
BEGIN;
UPDATE deals SET expected_close_on = (now() AT TIME ZONE 'Pacific/Kiritimati')::date WHERE deal_id = 15;
SELECT bucket FROM deals_forecast WHERE pipeline_name = 'Service';
UPDATE deals SET expected_close_on = (now() AT TIME ZONE 'Pacific/Kiritimati')::date - 1 WHERE deal_id = 15;
SELECT bucket FROM deals_forecast WHERE pipeline_name = 'Service';
ROLLBACK;

-- T_stalled
SELECT deal_id, stage_name, round(days_over, 1) AS days_over, reasons, stalled_at <= now() AS due FROM deals_stalled ORDER BY deal_id;
SELECT array_agg(attname ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'deals_stalled'::regclass AND attnum > 44;
-- a stage that was jumped over, and not visited since
BEGIN;
CALL put(20, 'Sales', 'Lead', 1, '50 days', created => '50 days', next_action => '1 day');
UPDATE deals SET stage_id = pipelines.stage_id('Sales', 'Offer') WHERE deal_id = 20;
SELECT reasons FROM deals_stalled WHERE deal_id = 20;
ROLLBACK;

-- T_visits
CALL put(30, 'Sales', 'Lead', 10, '30 days');
UPDATE deals SET amount = 20, owner = 'bob' WHERE deal_id = 30;
UPDATE deals SET stage_id = pipelines.stage_id('Sales', 'Talks'), amount = 30 WHERE deal_id = 30;
UPDATE deals SET owner = 'cid' WHERE deal_id = 30;
BEGIN;
UPDATE deals SET stage_id = pipelines.stage_id('Sales', 'Offer') WHERE deal_id = 30;
UPDATE deals SET stage_id = pipelines.stage_id('Sales', 'Talks') WHERE deal_id = 30;
COMMIT;
UPDATE deals SET stage_id = pipelines.stage_id('Sales', 'Sold') WHERE deal_id = 30;
UPDATE deals SET stage_id = pipelines.stage_id('Sales', 'Lead') WHERE deal_id = 30;
UPDATE deals SET pipeline_id = pipelines.pipeline_id('Service') WHERE deal_id = 30;
DELETE FROM deals WHERE deal_id = 30;
INSERT INTO deals (deal_id, amount) VALUES (30, 1);
UPDATE deals SET amount = 2 WHERE deal_id = 30;
SELECT deal_id, visit, episode, pipeline_name, stage_name, running, transient, owner, amount, change,
	   entered_at = lag(exited_at) OVER (ORDER BY visit) AS adjoins, duration >= '0' AS long
FROM deals_visits WHERE deal_id = 30 ORDER BY visit;
SELECT stage_name, exited_at, running, date_trunc('day', duration) AS duration FROM deals_visits WHERE deal_id = 10;
-- the same by the book: maximal runs of one stage over all versions
INSERT INTO deals (deal_id, amount) SELECT i, i FROM generate_series(100, 150) i;
UPDATE deals SET stage_id = pipelines.stage_id('Sales', 'Talks') WHERE deal_id % 2 = 0 AND deal_id >= 100;
UPDATE deals SET owner = 'dan' WHERE deal_id % 3 = 0 AND deal_id >= 100;
UPDATE deals SET stage_id = CASE WHEN deal_id % 4 = 0 THEN 1 ELSE stage_id END, amount = 1 WHERE deal_id >= 100;
DELETE FROM deals WHERE deal_id % 5 = 0 AND deal_id >= 100;
INSERT INTO deals (deal_id, amount) SELECT i, i FROM generate_series(100, 150, 10) i;
CREATE TEMPORARY VIEW by_the_book AS
	WITH version AS (
		SELECT deal_id, version, pipeline_id, stage_id, valid_from, valid_to, change, owner, amount, episode FROM deals_history
		UNION ALL
		SELECT deal_id, version, pipeline_id, stage_id, changed_at, NULL, NULL, owner, amount, episode FROM deals
	), marked AS (
		SELECT v.*, CASE WHEN (pipeline_id, stage_id) IS DISTINCT FROM (lag(pipeline_id) OVER w, lag(stage_id) OVER w)
						  OR lag(change) OVER w = 'delete' THEN 1 END AS first
		FROM version v WINDOW w AS (PARTITION BY deal_id ORDER BY version)
	), numbered AS (
		SELECT m.*, count(first) OVER (PARTITION BY deal_id ORDER BY version)::integer AS visit FROM marked m
	)
	SELECT DISTINCT ON (deal_id, visit) deal_id, visit, episode, pipeline_id, stage_id,
		   first_value(valid_from) OVER (PARTITION BY deal_id, visit ORDER BY version) AS entered_at,
		   valid_to AS exited_at, owner, amount, change
	FROM numbered ORDER BY deal_id, visit, version DESC;
SELECT count(*) AS visits, count(DISTINCT deal_id) AS deals,
	   count(*) FILTER (WHERE visit > 1) AS later_ones FROM deals_visits WHERE deal_id >= 30;
SELECT count(*) AS differences FROM (
	(SELECT deal_id, visit, episode, pipeline_id, stage_id, entered_at, exited_at, owner, amount, change FROM by_the_book WHERE deal_id >= 30
	 EXCEPT SELECT deal_id, visit, episode, pipeline_id, stage_id, entered_at, exited_at, owner, amount, change FROM deals_visits)
	UNION ALL
	(SELECT deal_id, visit, episode, pipeline_id, stage_id, entered_at, exited_at, owner, amount, change FROM deals_visits WHERE deal_id >= 30
	 EXCEPT SELECT deal_id, visit, episode, pipeline_id, stage_id, entered_at, exited_at, owner, amount, change FROM by_the_book)) d;
-- one deal's visits are index lookups
CREATE FUNCTION plan(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$BEGIN RETURN QUERY EXECUTE 'EXPLAIN (COSTS OFF) ' || query; END$$;
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SELECT count(*) AS lookups FROM plan('SELECT * FROM deals_visits WHERE deal_id = 30') p WHERE p ~ 'Index Cond: \(deal_id = 30\)';
SELECT count(*) AS lookups FROM plan('SELECT * FROM deals_visits WHERE deal_id IN (SELECT 30)') p WHERE p ~ 'Index Cond: .*deal_id';
RESET enable_seqscan;
RESET enable_bitmapscan;
-- names that nobody asks for are not looked up; what tells row security before
-- PostgreSQL 15 keeps the three joins
SELECT count(*) = CASE WHEN current_setting('server_version_num')::int >= 150000 THEN 0 ELSE 3 END AS joins_as_few
FROM plan('SELECT deal_id, name FROM deals_current') p WHERE p ~ 'Join|Loop';

-- a deal whose definition is missing is not dropped
BEGIN;
RESET ROLE;
SET LOCAL session_replication_role = replica;
INSERT INTO deals (deal_id, pipeline_id, stage_id, amount, created_at, created_by, stage_entered_at, furthest_stage_id, episode, version, changed_at)
VALUES (99, 77, 88, 5, now(), 'x', now(), 88, 1, 1, now());
SELECT deal_id, pipeline_name, stage_name, outcome, effective_category, weighted FROM deals_current WHERE deal_id = 99;
SELECT month, bucket, deals, pipeline, weighted FROM deals_forecast WHERE pipeline_id = 77;
ROLLBACK;
SET ROLE regress_views_owner;

-- a new column takes its place at the end of the views, under whatever stands on them
CREATE VIEW mine AS SELECT deal_id, age_days FROM deals_current;
ALTER TABLE deals ADD extra text;
SELECT * FROM pipelines.rebuild_views('deals');
SELECT attname FROM pg_attribute WHERE attrelid = 'deals_current'::regclass AND attnum > 42 ORDER BY attnum;
SELECT attname FROM pg_attribute WHERE attrelid = 'deals_stalled'::regclass AND attnum > 42 ORDER BY attnum;
SELECT count(*) FROM mine;
DROP VIEW mine;

-- columns come, go, and are renamed; views follow when asked, with their grants
GRANT SELECT ON deals, deals_current TO regress_views_reader;
ALTER TABLE deals ADD position text, ADD score pipelines.probability;
ALTER TABLE deals RENAME amount TO "Der Wert";
ALTER TABLE deals RENAME team TO reason;
UPDATE deals SET position = 'x', score = '12.5', "Der Wert" = 11, reason = 'blue' WHERE deal_id = 1;
SELECT * FROM pipelines.rebuild_views('deals');
SELECT * FROM pipelines.rebuild_views('deals');
SELECT deal_id, "Der Wert", reason, position, pg_typeof(score) AS type_of_score, score, pipelines_position, stage_name, weighted
FROM deals_current WHERE deal_id = 1;
SELECT version, change, "Der Wert", reason, pipelines_reason FROM deals_history WHERE deal_id = 1;
SELECT amount FROM deals_visits WHERE deal_id = 1;
SELECT has_table_privilege('regress_views_reader', 'deals_current', 'SELECT') AS current,
	   has_table_privilege('regress_views_reader', 'deals_board', 'SELECT') AS board;
SELECT columns -> 'amount' AS amount, columns -> 'team' AS team FROM pipelines.tracked_table;
-- ... but not over what stands on them
CREATE VIEW mine AS SELECT deal_id, score FROM deals_current;
ALTER TABLE deals RENAME score TO points;
SELECT * FROM pipelines.rebuild_views('deals');
\echo :LAST_ERROR_SQLSTATE
DROP VIEW mine;
ALTER TABLE deals DROP position;
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY terse
ALTER TABLE deals DROP position CASCADE;
\set VERBOSITY default
ALTER TABLE deals RENAME TO "Geschäfte";
SELECT * FROM pipelines.rebuild_views('"Geschäfte"');
SELECT count(*), sum(points::numeric) FROM "Geschäfte_current";
SELECT tracked.relation FROM pipelines.tracked_table tracked;
UPDATE "Geschäfte" SET reason = 'red' WHERE deal_id = 1;
SELECT max(version) FROM deals_history WHERE deal_id = 1;
SET ROLE regress_views_reader;
SELECT * FROM pipelines.rebuild_views('app."Geschäfte"');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;

-- row security: views show what their reader may see; before PostgreSQL 15,
-- where they can't, there are none
SET ROLE regress_views_owner;
ALTER TABLE "Geschäfte" ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON "Geschäfte" FOR SELECT TO regress_views_reader USING (deal_id <= 3);
DROP VIEW "Geschäfte_stalled";
SELECT bool_or(item = 'views' AND action ~ '^refused') = (current_setting('server_version_num')::int < 150000)
   AND bool_or(item = 'view app."Geschäfte_stalled"' AND action = 'created') = (current_setting('server_version_num')::int >= 150000) AS as_it_must_be
FROM pipelines.rebuild_views('app."Geschäfte"');
SELECT (to_regclass('"Geschäfte_stalled"') IS NOT NULL) = (current_setting('server_version_num')::int >= 150000) AS as_it_must_be;
GRANT SELECT ON "Geschäfte_board" TO regress_views_reader;
SET ROLE regress_views_reader;
SELECT coalesce((SELECT sum(deals) FROM "Geschäfte_board"), 0) = v.seen AS seen, (SELECT count(*) FROM "Geschäfte_current") = v.seen AS seen_too
FROM (SELECT CASE WHEN current_setting('server_version_num')::int >= 150000 THEN 3 ELSE 0 END AS seen) v;
RESET ROLE;

\c :"regression"
DROP DATABASE regress_pipelines_views;
DROP ROLE regress_views_owner, regress_views_reader;
