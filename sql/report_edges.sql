-- report_edges.sql: reports where definitions were changed, keys came back, clocks
-- were changed, and dates have no end.  In a database of its own.
\set ECHO none
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_pipelines_edges;
CREATE DATABASE regress_pipelines_edges TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\set home :DBNAME
\c regress_pipelines_edges
\i test/data/checks.sql
\set ECHO all
SET timezone = 'UTC';

--
-- An archived stage is shown where deals were in it, but none on the way (R-2.35, R-3.7)
--
SELECT pipelines.create_pipeline('Shrunk', time_zone => 'UTC', stages => '["Call", "Offer", "Demo", "Contract", "Won", "Lost"]') AS shrunk;
SELECT pipelines.create_deals('shrunk', currency => 'EUR');
INSERT INTO shrunk (stage_id, amount) VALUES (pipelines.stage_id('Shrunk', 'Call'), 1), (pipelines.stage_id('Shrunk', 'Demo'), 1);
SELECT pipelines.archive_stage('Shrunk', 'Call'), pipelines.archive_stage('Shrunk', 'Demo');
INSERT INTO shrunk (stage_id, amount) SELECT pipelines.stage_id('Shrunk', 'Offer'), 1 FROM generate_series(1, 10);
UPDATE shrunk SET stage_id = pipelines.stage_id('Shrunk', 'Contract') WHERE deal_id BETWEEN 3 AND 10;
SELECT m.mode, f.stage_name, f.n, f.exits, f.next_n, round(f.next_rate, 2) AS next_rate, round(f.cumulative_rate, 2) AS cumulative_rate
FROM unnest('{any,strict,reached,direct}'::text[]) m(mode), pipelines.funnel('shrunk', m.mode) f ORDER BY array_position('{any,strict,reached,direct}', m.mode), f.position;

--
-- An archived pipeline keeps its figures
--
SELECT pipelines.create_pipeline('Closed down', time_zone => 'UTC', stages => '["Call", "Offer", "Demo", "Won", "Lost"]') > 0 AS made;
SELECT pipelines.create_deals('old', currency => 'EUR');
INSERT INTO old (pipeline_id, amount) SELECT pipelines.pipeline_id('Closed down'), 1 FROM generate_series(1, 10);
UPDATE old SET stage_id = pipelines.stage_id('Closed down', 'Demo') WHERE deal_id > 2;
UPDATE old SET stage_id = pipelines.stage_id('Closed down', 'Won');
CREATE VIEW figures AS
	SELECT 'funnel ' || m.mode AS report, f.stage_name AS of, f.n, round(f.next_rate, 2) AS rate FROM unnest('{any,reached}'::text[]) m(mode), pipelines.funnel('old', m.mode, pipeline => 'Closed down') f
	UNION ALL SELECT 'entered', f.stage_name, f.n, NULL FROM pipelines.funnel('old', 'any', 'entered_first_stage_in', pipeline => 'Closed down') f
	UNION ALL SELECT t.kind, concat(t.stage_name, ' to ', t.to_stage_name), t.n, round(t.rate, 2) FROM old_transitions t;
CREATE TABLE before AS TABLE figures;
SELECT pipelines.archive_pipeline('Closed down');
SELECT count(*) > 10 AS rows, (SELECT count(*) FROM ((TABLE figures EXCEPT TABLE before) UNION ALL (TABLE before EXCEPT TABLE figures)) x) AS changed FROM figures;

--
-- What happened keeps the outcome that it had (R-2.34)
--
SELECT pipelines.create_pipeline('Turned', time_zone => 'UTC', stages => '["Offer", "Won", "Lost", {"name": "Parked", "outcome": "lost"}]') > 0 AS made;
SELECT pipelines.create_deals('turned', currency => 'EUR');
INSERT INTO turned (deal_id, pipeline_id, amount) VALUES (1, pipelines.pipeline_id('Turned'), 100);
UPDATE turned SET stage_id = pipelines.stage_id('Turned', 'Parked');
SELECT deals FROM pipelines.change_outcome('Turned', 'Parked', 'won', apply_to => 'all');
SELECT kind, stage_name, to_stage_name, n, amount FROM turned_flow;
SELECT outcome, superseded_at IS NOT NULL AS superseded FROM turned_closings ORDER BY closed_at;
SELECT deals FROM pipelines.change_outcome('Turned', 'Parked', 'open', apply_to => 'all', probability => 30);
INSERT INTO turned (deal_id, pipeline_id, stage_id, amount) SELECT 2, p, pipelines.stage_id('Turned', 'Won'), 7 FROM pipelines.pipeline_id('Turned') p;
SELECT deals FROM pipelines.change_outcome('Turned', 'Won', 'lost', apply_to => 'all');
SELECT kind, stage_name, to_stage_name, n, amount FROM turned_flow;
SELECT stage_name, to_stage_name, kind, to_outcome, n FROM turned_transitions;
SELECT stage_name, to_stage_name, kind, to_outcome, n FROM pipelines.transitions('turned', transient => false);

--
-- Two lives of one key: what T_detail tells is of the present one
--
SELECT pipelines.create_deals('again', currency => 'EUR');
INSERT INTO again (deal_id, name, amount, expected_close_on) VALUES (1, 'x', 100, '2026-01-01');
UPDATE again SET expected_close_on = '2026-02-01';
UPDATE again SET stage_id = pipelines.stage_id('Shrunk', 'Contract');
DELETE FROM again;
INSERT INTO again (deal_id, name, amount, expected_close_on) VALUES (1, 'y', 5, '2026-12-01');
UPDATE again SET amount = 6;
SELECT name, changes, push_count, pushed_days, jsonb_path_query_array(visits, '$[*].stage') AS visits FROM again_detail;
SELECT visit, episode, stage_name, change FROM again_visits;

--
-- Days of a limit are those of the calendar, hours go by (R-4.4): the nights in which clocks are changed
--
SELECT pipelines.create_pipeline('London', layout => 'london', time_zone => 'Europe/London', stages => '[{"name": "Hours", "stall_limit": "90 minutes"},
	{"name": "Many", "stall_limit": "36 hours"}, {"name": "Day", "stall_limit": "1 day"}, {"name": "Both", "stall_limit": "1 day 2 hours"}, "Won"]') > 0 AS made;
SELECT pipelines.create_deals('night', layout => 'london');
SET pipelines.event_time = '2026-03-29 00:45+00';
INSERT INTO night (stage_id) SELECT ps.stage_id FROM pipelines.pipeline_stage ps WHERE ps.pipeline_id = pipelines.pipeline_id('London', 'london') AND ps.stall_limit IS NOT NULL;
SET pipelines.event_time = '2026-10-25 00:15+00';
INSERT INTO night (stage_id) SELECT ps.stage_id FROM pipelines.pipeline_stage ps WHERE ps.pipeline_id = pipelines.pipeline_id('London', 'london') AND ps.stall_limit IS NOT NULL;
RESET pipelines.event_time;
SELECT stage_name, stage_entered_at, stalled_at - stage_entered_at AS after FROM night_stalled ORDER BY stage_entered_at, position;
SELECT stage_name, stalled_at FROM pipelines.stalled('night', as_of => '2026-03-29 02:15+00');
SELECT stage_name, stalled_at FROM pipelines.stalled('night', as_of => '2026-03-29 02:14:59+00');
SELECT count(*) AS apart FROM pipelines.stalling('night', '2026-03-31', as_of => '2026-03-29 01:00+00') s FULL JOIN (SELECT * FROM night_stalled WHERE stage_entered_at < '2026-04-01') v ON v.deal_id::text = s.deal
WHERE s.stalled_at IS DISTINCT FROM v.stalled_at;

--
-- Dates without end, and beyond what instants reach, break no report
--
SELECT pipelines.create_pipeline('Endless', layout => 'endless', time_zone => 'UTC', stages => '[{"name": "Offer", "stall_limit": "1 day"}, {"name": "Old", "stall_limit": "1 day", "stall_basis": "age"}, "Won", "Lost"]') > 0 AS made;
CREATE FUNCTION broken(deals text) RETURNS TABLE (report text, error text) LANGUAGE plpgsql AS $$
DECLARE
	n bigint;
BEGIN
	FOR report IN
		SELECT c.oid::regclass::text FROM pg_class c WHERE c.relkind = 'v' AND c.relname LIKE deals || '\_%'
		UNION ALL
		SELECT format('pipelines.%s(%L%s)', f.name, deals, f.arguments || CASE WHEN t.past THEN ', as_of => now() - interval ''1 microsecond''' ELSE '' END)
		FROM (VALUES ('stalled', ''), ('stalling', ', now() + interval ''1 year'''), ('forecast_deals', ''), ('forecast_report', ''), ('quota_report', ''), ('board', ''), ('board', ', as_json => true'),
			('scores', ''), ('time_in_stage', ', days => true, include_running => true'), ('stage_times', ''), ('funnel', ', mature_only => true'), ('flow', ''), ('load', ''), ('cycle', ''),
			('velocity', ''), ('win_rate', ''), ('review', ''), ('trend', '')) f(name, arguments), (VALUES (false), (true)) t(past)
	LOOP
		BEGIN
			EXECUTE format('SELECT count(r::text) FROM %s r', report) INTO n;
		EXCEPTION WHEN OTHERS THEN
			error := SQLERRM;
			RETURN NEXT;
		END;
	END LOOP;
END
$$;
SELECT pipelines.create_deals('endless', layout => 'endless', currency => 'EUR');
INSERT INTO endless (deal_id, amount, stage_id, created_at, expected_close_on, next_action_at) VALUES
	(1, 1, pipelines.stage_id('Endless', 'Offer'), 'infinity', 'infinity', 'infinity'), (2, 1, pipelines.stage_id('Endless', 'Offer'), '-infinity', '-infinity', '-infinity'),
	(3, 1, pipelines.stage_id('Endless', 'Old'), 'infinity', '5874897-12-31', NULL), (4, 1, pipelines.stage_id('Endless', 'Old'), '-infinity', '4713-01-01 BC', NULL),
	(5, 1, pipelines.stage_id('Endless', 'Old'), '294276-12-31', NULL, NULL), (6, 1, pipelines.stage_id('Endless', 'Old'), '4713-01-01 BC', NULL, NULL);
INSERT INTO endless (deal_id, amount, stage_id, created_at, closed_at, closed_on) VALUES
	(11, 1, pipelines.stage_id('Endless', 'Won'), '2026-01-01', 'infinity', DEFAULT), (12, 1, pipelines.stage_id('Endless', 'Won'), '2026-01-01', '-infinity', DEFAULT),
	(13, 1, pipelines.stage_id('Endless', 'Won'), '-infinity', '2026-01-01', 'infinity'), (14, 1, pipelines.stage_id('Endless', 'Won'), 'infinity', '2026-01-01', '5874897-12-31');
UPDATE endless SET amount = 2;
SELECT * FROM broken('endless');
SELECT deal_id, age_days IS NULL AS ageless FROM endless_current ORDER BY 1;
SELECT deal, fiscal_period IS NULL AS of_no_period, bucket FROM pipelines.forecast_deals('endless') ORDER BY deal::integer;
SELECT pipelines.create_fiscal_calendar('Year', from_year => 2026, to_year => 2026) \g /dev/null
SELECT * FROM broken('endless');
SELECT pipelines.train_scores('endless') \g /dev/null
SELECT * FROM broken('endless');

--
-- One bridge begins with what another one ended with, also where a rate was corrected in between
--
SELECT pipelines.create_deals('priced', currency => 'EUR');
INSERT INTO pipelines.exchange_rate (rate_set, currency, base, rate_on, rate) VALUES ('spot', 'USD', 'EUR', current_date - 1, 2);
INSERT INTO priced (deal_id, amount) VALUES (1, 100);
SELECT pg_sleep(0.01), clock_timestamp() AS t \gset
SELECT pg_sleep(0.01) \g /dev/null
UPDATE pipelines.exchange_rate SET rate = 3;
UPDATE priced SET amount = 110;
SELECT leg, value FROM pipelines.bridge('priced', '-infinity', :'t', currency => 'USD') WHERE value <> 0;
SELECT leg, value FROM pipelines.bridge('priced', :'t', currency => 'USD') WHERE value <> 0;
SELECT amount FROM pipelines.load('priced', convert_to => 'USD', as_of => :'t');
SELECT leg, value FROM pipelines.changes('priced', :'t', currency => 'USD') ORDER BY leg;

--
-- What undo_batch() gives back are all values of before (R-2.23), also those that a move or a reopening takes away (R-2.17, R-2.27)
--
SELECT pipelines.create_pipeline('Forgetful', layout => 'forgetful', stages => '["Offer", "Quote", "Won", "Lost"]', override_policy => 'clear_on_move') > 0 AS made;
SELECT pipelines.create_deals('undone', layout => 'forgetful');
INSERT INTO undone (deal_id, amount, probability, forecast_category) VALUES (1, 100, 42, 'commit'), (2, 100, 42, NULL), (3, 100, NULL, NULL);
UPDATE undone SET stage_id = pipelines.stage_id('Forgetful', 'Lost'), close_reason = 'price', competitor = 'them', probability = 7 WHERE deal_id = 3;
CREATE TABLE undone_before AS SELECT deal_id, stage_id, probability, forecast_category, close_reason, competitor, closed_at, closed_on FROM undone;
BEGIN;
SET LOCAL pipelines.batch = 'b';
UPDATE undone SET stage_id = pipelines.stage_id('Forgetful', 'Won'), close_reason = 'good' WHERE deal_id = 1;
UPDATE undone SET stage_id = pipelines.stage_id('Forgetful', 'Quote') WHERE deal_id = 2;
UPDATE undone SET stage_id = pipelines.stage_id('Forgetful', 'Offer') WHERE deal_id = 3;
COMMIT;
SELECT deal_id, probability, forecast_category, close_reason, competitor FROM undone ORDER BY 1;
SELECT * FROM pipelines.undo_batch('undone', 'b');
SELECT count(*) AS apart FROM (TABLE undone_before EXCEPT SELECT deal_id, stage_id, probability, forecast_category, close_reason, competitor, closed_at, closed_on FROM undone) x;
SELECT * FROM pipelines.verify('undone');

--
-- What an import makes is said to the application, whatever its column's default says
--
CREATE TABLE opp (id integer PRIMARY KEY, state text NOT NULL DEFAULT 'New', value numeric);
INSERT INTO opp VALUES (1, 'New', 100), (2, 'Quoted', 200), (3, 'Won', 300);
SELECT count(*) > 0 AS adopted FROM pipelines.adopt('opp', stage => 'state', amount => 'value', pipeline => 'Opp', apply => true);
CREATE TABLE log (id integer, at timestamptz, stage text, value numeric);
INSERT INTO log VALUES (7, '2026-01-01', 'New', 70), (7, '2026-02-01', 'Won', 77), (8, '2026-01-01', 'Quoted', 80), (9, '2026-01-01', 'New', 90);
SELECT * FROM pipelines.import_history('opp', 'log');
SELECT o.id, o.state, s.name AS stage FROM opp o JOIN pipelines.stage s USING (stage_id) ORDER BY 1;
-- a table of stages that has no row for one of them
CREATE TABLE state (id integer PRIMARY KEY, label text);
INSERT INTO state VALUES (1, 'New'), (2, 'Quoted'), (3, 'Won');
CREATE TABLE listed (id integer PRIMARY KEY, state integer NOT NULL DEFAULT 1 REFERENCES state, value numeric);
INSERT INTO listed VALUES (1, 1, 100), (2, 2, 200), (3, 3, 300);
SELECT count(*) > 0 AS adopted FROM pipelines.adopt('listed', stage => 'state', amount => 'value', pipeline => 'Listed', apply => true);
INSERT INTO pipelines.stage (name) VALUES ('Odd');
INSERT INTO pipelines.pipeline_stage (pipeline_id, stage_id, position, outcome, probability) SELECT pipelines.pipeline_id('Listed'), stage_id, 500, 'open', 5 FROM pipelines.stage WHERE name = 'Odd';
DELETE FROM log WHERE id <> 7;
SELECT * FROM pipelines.import_history('listed', 'log');
SELECT l.id, l.state, s.name AS stage FROM listed l JOIN pipelines.stage s USING (stage_id) ORDER BY 1;
UPDATE log SET id = 10, stage = 'Odd';
SELECT try($t$SELECT pipelines.import_history('listed', 'log')$t$);

--
-- Soft deletion by a tracked column (live): what was open plus what came minus what
-- went is what is open, as bridge() says it; visits and closings end with it
--
CREATE TABLE soft (id integer PRIMARY KEY, state text NOT NULL, value numeric, rep text, made timestamptz DEFAULT '2026-01-01', deleted_at timestamptz);
INSERT INTO soft SELECT n, 'New', 10 * n, 'r' || n % 2 FROM generate_series(1, 10) n;
SELECT pipelines.create_pipeline('Soft', time_zone => 'UTC', stages => '["New", "Quoted", "Won", "Lost"]') > 0 AS made, pipelines.create_pipeline('Softer', time_zone => 'UTC', stages => '["Start", "Sold", "Gone"]') > 0 AS made;
SELECT count(*) > 0 AS adopted FROM pipelines.adopt('soft', stage => 'state', amount => 'value', currency => 'EUR', owner => 'rep', pipeline => 'Soft', columns => '{"created_at": "made"}', live => 'deleted_at IS NULL', apply => true);
SELECT pipelines.track('soft', 'deleted_at');
SELECT clock_timestamp() AS before, pg_sleep(0.001) \gset
UPDATE soft SET state = 'Quoted' WHERE id <= 3;
UPDATE soft SET deleted_at = now() WHERE id = 1;
UPDATE soft SET deleted_at = now(), state = 'Won' WHERE id = 2;	-- won and deleted at once
UPDATE soft SET state = 'Won' WHERE id = 3;
UPDATE soft SET deleted_at = now() WHERE id = 3;
UPDATE soft SET deleted_at = now() WHERE id = 4;
UPDATE soft SET state = 'Quoted' WHERE id = 4;					-- no move of a deal
UPDATE soft SET deleted_at = NULL, value = 44 WHERE id = 4;		-- comes again where it is now
UPDATE soft SET deleted_at = now(), pipeline_id = pipelines.pipeline_id('Softer'), stage_id = pipelines.stage_id('Softer', 'Start') WHERE id = 5;
DELETE FROM soft WHERE id = 6;
UPDATE soft SET deleted_at = now() WHERE id = 7;
DELETE FROM soft WHERE id = 7;									-- deleted once
INSERT INTO soft VALUES (11, 'New', 110, 'r1', now(), now());
UPDATE soft SET deleted_at = NULL WHERE id = 11;
UPDATE soft SET state = 'Won' WHERE id = 8;
UPDATE soft SET deleted_at = now() WHERE id = 8;
UPDATE soft SET deleted_at = NULL WHERE id = 8;					-- won, but once
SELECT clock_timestamp() AS after \gset
SELECT pipeline_name, kind, stage_name, to_stage_name, n, amount, mean_age_days > 100 AS old FROM pipelines.flow('soft', :'before');
SELECT pipeline_name, kind, stage_name, to_stage_name, value, n, amount FROM pipelines.flow('soft', :'before', by => 'rep', as_of => :'after') WHERE kind IN ('new', 'deleted');
SELECT leg, deals, value FROM pipelines.bridge('soft', :'before') WHERE deals > 0;
SELECT f.open_at_first + f.came - f.went AS counted, f.left_open, b.deals AS bridged
FROM (SELECT (SELECT sum(n) FROM pipelines.flow('soft', as_of => :'before') WHERE kind = 'left_open') AS open_at_first,
		sum(n) FILTER (WHERE kind IN ('new', 'transferred_in', 'reopened')) AS came,
		sum(n) FILTER (WHERE kind IN ('won', 'lost', 'transferred_out') OR kind = 'deleted' AND stage_name NOT IN ('Won', 'Lost')) AS went,
		sum(n) FILTER (WHERE kind = 'left_open') AS left_open
	  FROM pipelines.flow('soft', :'before')) f, pipelines.bridge('soft', :'before') b
WHERE b.leg = 'end';
SELECT id, stage_name, running, change, exited_at = (SELECT max(valid_to) FROM soft_history h WHERE h.id = v.id AND h.deleted_at IS NULL) AS when_deleted FROM soft_visits v WHERE id < 9 ORDER BY id, visit;
SELECT id, outcome, from_stage_name, amount, deleted_at = (SELECT max(valid_to) FROM soft_history h WHERE h.id = c.id AND h.deleted_at IS NULL) AS when_deleted FROM soft_closings c ORDER BY id;
-- where nothing tells when a row ceased to be a deal, it never was one
CREATE TABLE untold (id integer PRIMARY KEY, state text NOT NULL, deleted_at timestamptz);
INSERT INTO untold SELECT n, CASE n WHEN 4 THEN 'Won' ELSE 'New' END FROM generate_series(1, 4) n;
SELECT count(*) > 0 AS adopted FROM pipelines.adopt('untold', stage => 'state', pipeline => 'Untold', live => 'deleted_at IS NULL', apply => true);
UPDATE untold SET state = 'Won' WHERE id = 2;
UPDATE untold SET deleted_at = now() WHERE id IN (1, 2);
SELECT kind, stage_name, to_stage_name, n FROM pipelines.flow('untold');
SELECT id, stage_name, running, change FROM untold_visits ORDER BY 1, visit;
SELECT count(*) FROM untold_closings;

\set ECHO none
\c :home
DROP DATABASE regress_pipelines_edges;
