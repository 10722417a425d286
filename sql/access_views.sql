-- access_views.sql: the views of deals under protection (S105, R-12.1, CORE 14 of its tests)
-- In a database of its own.  From PostgreSQL 15 on: before it, no views are made
-- on tables with row security.
\set ECHO none
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_pipelines_access_views;
CREATE DATABASE regress_pipelines_access_views TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\set home :DBNAME
\c regress_pipelines_access_views
SET client_min_messages = warning;
\i test/data/checks.sql
\set ECHO all
\set SHOW_CONTEXT never
CREATE ROLE regress_accessv_clerk;
CREATE ROLE regress_accessv_banker;
SELECT pipelines.create_pipeline('Sales', stages => '[{"name": "Lead", "stall_limit": "3 days"}, {"name": "Talks", "stall_limit": "3 days"},
	{"name": "Demo", "stall_limit": "3 days"}, {"name": "Offer", "stall_limit": "3 days"}, {"name": "Won", "outcome": "won"}, {"name": "Lost", "outcome": "lost"}]');
SELECT pipelines.create_pipeline('Takeovers', stages => '[{"name": "Lead", "stall_limit": "3 days"}, {"name": "Target", "stall_limit": "3 days"},
	{"name": "Due diligence", "stall_limit": "3 days"}, {"name": "Offer", "stall_limit": "3 days"}, {"name": "Signed", "outcome": "won"}]');
-- keys of two columns, and names that the application chose
SELECT pipelines.create_deals('deals', currency => 'EUR', key => '{tenant,deal}');
ALTER TABLE deals RENAME COLUMN stage_id TO "Stage";
ALTER TABLE deals RENAME COLUMN version TO row_version;
SELECT count(*) > 0 AS followed FROM pipelines.rebuild_views('deals');
SELECT pipelines.grant_access('deals', r, 'write') FROM unnest('{regress_accessv_clerk,regress_accessv_banker}'::name[]) r;
-- lives of all kinds: in order, with skips, back, closed and reopened, to the other pipeline and back
SET pipelines.event_time = '2024-01-01 10:00+00';
INSERT INTO deals (tenant, deal, name, amount, pipeline_id, owner, expected_close_on)
SELECT g % 3, g, 'd' || g, g, CASE WHEN g % 4 = 0 THEN 2 ELSE 1 END, 'o' || g % 5, '2024-03-01' FROM generate_series(1, 60) g;
SET pipelines.event_time = '2024-01-02 10:00+00';
UPDATE deals SET "Stage" = CASE pipeline_id WHEN 1 THEN pipelines.stage_id('Sales', CASE deal % 3 WHEN 0 THEN 'Talks' WHEN 1 THEN 'Demo' ELSE 'Offer' END)
	ELSE pipelines.stage_id('Takeovers', CASE deal % 3 WHEN 0 THEN 'Target' WHEN 1 THEN 'Due diligence' ELSE 'Offer' END) END WHERE deal % 7 <> 0;
SET pipelines.event_time = '2024-01-03 10:00+00';
UPDATE deals SET amount = amount * 10 WHERE deal % 2 = 0;
SET pipelines.event_time = '2024-01-04 10:00+00';
UPDATE deals SET "Stage" = 1 WHERE deal % 5 = 0;
SET pipelines.event_time = '2024-01-05 10:00+00';
UPDATE deals SET "Stage" = pipelines.stage_id('Sales', CASE deal % 2 WHEN 0 THEN 'Won' ELSE 'Lost' END) WHERE pipeline_id = 1 AND deal % 4 = 1;
SET pipelines.event_time = '2024-01-06 10:00+00';
UPDATE deals SET "Stage" = pipelines.stage_id('Sales', 'Talks') WHERE pipeline_id = 1 AND deal % 8 = 1;
SET pipelines.event_time = '2024-01-07 10:00+00';
UPDATE deals SET pipeline_id = 2, "Stage" = pipelines.stage_id('Takeovers', 'Due diligence') WHERE pipeline_id = 1 AND deal % 6 = 1;
UPDATE deals SET pipeline_id = 1, "Stage" = pipelines.stage_id('Sales', 'Talks') WHERE pipeline_id = 2 AND deal % 12 = 8;
SET pipelines.event_time = '2024-01-08 10:00+00';
UPDATE deals SET "Stage" = pipelines.stage_id('Sales', 'Offer') WHERE pipeline_id = 1 AND deal % 12 = 8;
UPDATE deals SET "Stage" = pipelines.stage_id('Takeovers', 'Offer') WHERE pipeline_id = 2 AND deal % 6 = 1;
SET pipelines.event_time = '2024-01-09 10:00+00';
UPDATE deals SET pipeline_id = 1, "Stage" = 1 WHERE pipeline_id = 2 AND deal % 12 = 1;
DELETE FROM deals WHERE deal IN (3, 4);
RESET pipelines.event_time;
-- undone changes, of an amount and of a stage, as if they had been restored
INSERT INTO deals_history (tenant, deal, version, change, valid_from, valid_to, pipeline_id, "Stage", amount, stage_entered_at, furthest_stage_id, episode,
	to_pipeline_id, to_stage_id, recorded_at, bypassed, imported)
VALUES (9, 90, 1, 'undo', '2024-01-01', '2024-01-02', 1, 1, 5, '2024-01-01', 1, 1, 1, 1, now(), false, false),
	(9, 90, 2, 'undo', '2024-01-02', '2024-01-03', 1, 1, 4, '2024-01-01', 1, 1, 1, 2, now(), false, false),
	(9, 90, 3, 'undo', '2024-01-03', '2024-01-04', 1, 2, 4, '2024-01-03', 2, 1, 1, 2, now(), false, false);
INSERT INTO deals (tenant, deal, name, amount, pipeline_id, "Stage", stage_entered_at, furthest_stage_id, episode, row_version, changed_at, created_at, created_by)
VALUES (9, 90, 'undone', 5, 1, 2, '2024-01-03', 2, 1, 4, '2024-01-04', '2024-01-01', 'x');
SELECT * FROM pipelines.verify('deals');
SELECT count(*) FROM deals;
SELECT change, count(*) FROM deals_history GROUP BY 1 ORDER BY 1;
-- what the views say while nothing is protected
CREATE TEMP TABLE visits AS SELECT tenant, deal, visit, episode, pipeline_id, pipeline_name, stage_id, stage_name, entered_at, exited_at, running, transient, owner, amount, change FROM deals_visits;
CREATE TEMP TABLE stalled AS SELECT tenant, deal, stalled_at, reasons FROM deals_stalled;
CREATE TEMP TABLE board AS SELECT * FROM deals_board;
CREATE TEMP TABLE forecast AS SELECT * FROM deals_forecast;
CREATE TEMP TABLE closings AS SELECT * FROM deals_closings;
GRANT SELECT ON visits, stalled, board, forecast, closings TO PUBLIC;
SELECT count(*), count(reopened_at) AS reopened, count(superseded_at) AS superseded FROM closings;
SELECT count(*), count(*) FILTER (WHERE reasons::text ~ 'skipped') AS skipped FROM stalled;

--
-- Protected: the owner and a member see the same as before
--
SELECT pipelines.grant_pipeline('Takeovers', 'regress_accessv_banker', 'move');
SELECT * FROM pipelines.rebuild_views('deals');
-- no view reads what readers don't have
SELECT DISTINCT r.ev_class::regclass, a.attname FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid
JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
WHERE d.refobjid = 'deals_history'::regclass AND a.attname IN ('to_pipeline_id', 'to_stage_id', 'skipped_stages');
CREATE FUNCTION differences() RETURNS TABLE (what text, rows bigint) LANGUAGE sql AS $$
	WITH present AS (SELECT tenant, deal, visit, episode, pipeline_id, pipeline_name, stage_id, stage_name, entered_at, exited_at, running, transient, owner, amount, change FROM deals_visits)
	SELECT 'visits missing', count(*) FROM (SELECT * FROM visits EXCEPT ALL SELECT * FROM present) x
	UNION ALL SELECT 'visits too many', count(*) FROM (SELECT * FROM present EXCEPT ALL SELECT * FROM visits) x
	UNION ALL SELECT 'stalled missing', count(*) FROM (SELECT * FROM stalled EXCEPT ALL SELECT tenant, deal, stalled_at, reasons FROM deals_stalled) x
	UNION ALL SELECT 'stalled too many', count(*) FROM (SELECT tenant, deal, stalled_at, reasons FROM deals_stalled EXCEPT ALL SELECT * FROM stalled) x
	UNION ALL SELECT 'closings missing', count(*) FROM (SELECT * FROM closings EXCEPT ALL SELECT * FROM deals_closings) x
	UNION ALL SELECT 'closings too many', count(*) FROM (SELECT * FROM deals_closings EXCEPT ALL SELECT * FROM closings) x
	UNION ALL SELECT 'board', count(*) FROM (SELECT pipeline_id, stage_id, currency, deals, amount, weighted FROM board EXCEPT ALL SELECT pipeline_id, stage_id, currency, deals, amount, weighted FROM deals_board) x
	UNION ALL SELECT 'forecast', count(*) FROM (SELECT pipeline_id, month, bucket, owner, currency, deals, unpriced, pipeline, weighted, won, lost, round(stddev::numeric, 6) FROM forecast
		EXCEPT ALL SELECT pipeline_id, month, bucket, owner, currency, deals, unpriced, pipeline, weighted, won, lost, round(stddev::numeric, 6) FROM deals_forecast) x
$$;
SELECT * FROM differences();
SET ROLE regress_accessv_banker;
SELECT * FROM differences();
RESET ROLE;

--
-- Others see their part, and the same deals everywhere
--
CREATE FUNCTION agreement() RETURNS TABLE (what text, deals numeric, amount numeric) LANGUAGE sql AS $$
	SELECT 'table', count(*), sum(amount) FROM deals
	UNION ALL SELECT 'current', count(*), sum(amount) FROM deals_current
	UNION ALL SELECT 'named', count(pipeline_name), sum(amount) FROM deals_current
	UNION ALL SELECT 'board', sum(deals), sum(amount) FROM deals_board
	UNION ALL SELECT 'forecast', sum(deals), NULL FROM deals_forecast
	UNION ALL SELECT 'visits', count(*), sum(amount) FROM deals_visits WHERE running
	UNION ALL SELECT 'as of', count(*), sum(amount) FROM pipelines.as_of(NULL::deals, now())
	UNION ALL SELECT 'function', count(*), sum(amount) FROM deals_as_of(now())
	UNION ALL SELECT 'stalled', count(*), NULL FROM deals_stalled
$$;
SELECT * FROM agreement();
SET ROLE regress_accessv_clerk;
SELECT * FROM agreement();
SELECT pipeline_name, string_agg(stage_name, ' ' ORDER BY position) FROM deals_board GROUP BY 1;
SELECT DISTINCT pipeline_name FROM deals_current UNION ALL SELECT DISTINCT pipeline_name FROM deals_forecast;
-- his visits are those of his pipeline, each as it was; an end is no more than an end
SELECT count(*) FROM (
	(SELECT tenant, deal, episode, pipeline_id, stage_id, stage_name, entered_at, exited_at, owner, amount, change FROM deals_visits
	 EXCEPT ALL SELECT tenant, deal, episode, pipeline_id, stage_id, stage_name, entered_at, exited_at, owner, amount, change FROM visits)
	UNION ALL
	(SELECT tenant, deal, episode, pipeline_id, stage_id, stage_name, entered_at, exited_at, owner, amount, change FROM visits WHERE pipeline_id = 1
	 EXCEPT ALL SELECT tenant, deal, episode, pipeline_id, stage_id, stage_name, entered_at, exited_at, owner, amount, change FROM deals_visits)) x;
SELECT visit, pipeline_name, stage_name, entered_at, exited_at, running, change FROM deals_visits WHERE deal = 7 ORDER BY visit;
SELECT visit, pipeline_name, stage_name, entered_at, exited_at, running, change FROM deals_visits WHERE deal = 20 ORDER BY visit;
SELECT visit, pipeline_name, stage_name, entered_at, exited_at, running, change FROM deals_visits WHERE deal = 90 ORDER BY visit;
SELECT count(*) FROM (SELECT * FROM deals_closings EXCEPT ALL SELECT * FROM closings) x;
SELECT DISTINCT pipeline_name, from_pipeline_name FROM deals_closings ORDER BY 1, 2;
-- what was skipped elsewhere is not told
SELECT count(*) FROM deals_stalled WHERE reasons::text ~ 'Target|diligence';
SELECT (SELECT count(*) FROM (SELECT s.tenant, s.deal, s.reasons FROM deals_stalled s EXCEPT SELECT tenant, deal, reasons FROM stalled) x) AS told_otherwise;
-- a deal that goes is gone everywhere
RESET ROLE;
UPDATE deals SET pipeline_id = 2, "Stage" = pipelines.stage_id('Takeovers', 'Target') WHERE deal = 90;
SET ROLE regress_accessv_clerk;
SELECT deal FROM deals_current WHERE deal = 90 UNION ALL SELECT deal FROM pipelines.as_of(NULL::deals, now()) WHERE deal = 90
UNION ALL SELECT deal FROM deals_stalled WHERE deal = 90 UNION ALL SELECT deal FROM deals_visits WHERE deal = 90 AND running;
SELECT visit, pipeline_name, stage_name, running, change FROM deals_visits WHERE deal = 90 ORDER BY visit;
SELECT * FROM agreement();
RESET ROLE;

--
-- A view that somebody made of ours goes on when protection ends and begins
--
CREATE VIEW mine AS SELECT tenant, deal, stage_name FROM deals_visits;
SELECT pipelines.protect_pipeline('Takeovers', false);
SELECT DISTINCT r.ev_class::regclass::text AS view, a.attname FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid
JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
WHERE d.refobjid = 'deals_history'::regclass AND a.attname IN ('to_pipeline_id', 'to_stage_id', 'skipped_stages') ORDER BY 1, 2;
SET ROLE regress_accessv_clerk;
SELECT * FROM agreement();
RESET ROLE;
SELECT * FROM pipelines.rebuild_views('deals');
SELECT pipelines.protect_pipeline('Takeovers', true);
SET ROLE regress_accessv_clerk;
SELECT * FROM agreement();
RESET ROLE;

\set ECHO none
\c :home
SET client_min_messages = warning;
DROP DATABASE regress_pipelines_access_views;
DROP ROLE regress_accessv_clerk, regress_accessv_banker;
