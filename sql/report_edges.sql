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
-- the same everywhere, with clocks that are changed or have no rules (10 zones, 9 limits)
CREATE FUNCTION by_calendar(began timestamptz, stall_limit interval, zone text) RETURNS timestamptz LANGUAGE sql AS
	$$SELECT ((began AT TIME ZONE zone + date_trunc('day', stall_limit)) AT TIME ZONE zone) + (stall_limit - date_trunc('day', stall_limit))$$;
SELECT count(*) > 100000 AS many, count(*) FILTER (WHERE pipelines._limit_over(b.began, l.stall_limit, z.zone) IS DISTINCT FROM by_calendar(b.began, l.stall_limit, z.zone)) AS different
FROM unnest('{UTC,CET,EST5EDT,Etc/GMT+12,Europe/London,America/Sao_Paulo,Pacific/Apia,Africa/Casablanca,"EST5EDT,M3.2.0/2,M11.1.0/2",<+03>-3}'::text[]) z(zone),
	unnest('{1 day,90 minutes,36 hours,14 days 3:00,1 mon,1 year 2 mons 3 days 4:05:06,0.000001 seconds,40000 days,3 days -2:00}'::interval[]) l(stall_limit),
	(SELECT timestamptz '1955-01-01 00:17+00' + n * interval '47 days 13 minutes 7.1 seconds' FROM generate_series(1, 900) n
	 UNION ALL
	 SELECT at FROM unnest('{2026-03-27,2026-10-23,2011-12-28,2012-02-24}'::timestamptz[]) d(day), generate_series(d.day, d.day + interval '4 days', interval '37 minutes') at
	 UNION ALL
	 SELECT unnest('{infinity,-infinity,1600-01-01,2499-12-31 12:00+00,2500-01-01,9999-12-31,1699-12-31 23:59:59+00,1700-01-01 00:00+00}'::timestamptz[])) b(began);
SELECT count(*) AS compared, count(*) FILTER (WHERE pipelines._local_days(a.at, b.at, z) <> ((b.at AT TIME ZONE z)::date - (a.at AT TIME ZONE z)::date) * interval '24 hours') AS different,
	count(*) FILTER (WHERE pipelines._days_between(a.at, b.at)::text <> round((extract(epoch FROM b.at - a.at)::numeric / 86400), 2)::text) AS days_different
FROM unnest('{UTC,CET,Europe/London,Pacific/Apia,<+03>-3}'::text[]) z,
	(SELECT timestamptz '1955-01-01 00:17+00' + n * interval '447 days 13 minutes 7.1 seconds' AS at FROM generate_series(1, 60) n UNION ALL SELECT unnest('{1600-01-01,1699-12-31 23:59:59+00,2026-03-29 00:59+00,2026-03-28 23:30+00,2011-12-30 12:00+00,9999-12-31}'::timestamptz[])) a,
	(SELECT timestamptz '2026-03-29 01:00+00' + n * interval '7 hours 12 minutes' AS at FROM generate_series(-20, 20) n UNION ALL SELECT unnest('{1200-01-01,2600-06-01}'::timestamptz[])) b;
SELECT pipelines._days_between(at, '2026-01-01') AS days FROM unnest('{2025-12-31 23:52:48+00,2025-12-31 23:52:48.000001+00,2026-01-01 00:07:12+00,2026-01-01 00:07:11.999999+00,infinity,-infinity}'::timestamptz[]) at;
SELECT try($t$SELECT pipelines._local_days('infinity', now(), 'UTC')$t$), try($t$SELECT pipelines._days_between('4713-01-01 BC', '294276-12-31')$t$);
SELECT try($t$SELECT pipelines._limit_over(now(), '1 day', 'no/zone')$t$), try($t$SELECT pipelines._limit_over('294276-12-31', '1 day', 'Europe/Sofia')$t$), pipelines._limit_over(now(), '1 day', NULL) AS none;

--
-- What the past tells of a stalled deal (S19): of many deals the whole history is
-- read once; it says what the view says, which reads the past of each
--
SELECT pipelines.create_pipeline('Put off', layout => 'put_off', time_zone => 'UTC', stages => '[{"name": "First", "stall_limit": "1 day"},
	{"name": "Second", "stall_limit": "1 day"}, {"name": "Third", "stall_limit": "1 day"}, "Won", "Lost"]') > 0 AS made;
SELECT pipelines.create_deals('put_off', layout => 'put_off');
INSERT INTO put_off (deal_id, created_at, expected_close_on) SELECT n, '2026-01-01', CASE WHEN n % 5 <> 0 THEN date '2026-02-01' END FROM generate_series(1, 60) n;
UPDATE put_off SET expected_close_on = CASE deal_id % 6 WHEN 0 THEN NULL WHEN 1 THEN date '2026-01-15' WHEN 2 THEN date 'infinity' WHEN 3 THEN date '9999-12-31' ELSE date '2026-03-01' END, source = 'a' WHERE deal_id % 10 <> 9;
UPDATE put_off SET expected_close_on = CASE deal_id % 7 WHEN 0 THEN NULL WHEN 1 THEN date '2026-02-20' WHEN 2 THEN date '-infinity' WHEN 3 THEN date '0001-01-01' ELSE expected_close_on + 1 END, source = 'b'
WHERE deal_id % 8 <> 7 AND isfinite(expected_close_on);
UPDATE put_off SET stage_id = pipelines.stage_id('Put off', 'Third') WHERE deal_id % 9 = 4;	-- jumps over one
UPDATE put_off SET stage_id = pipelines.stage_id('Put off', 'Second') WHERE deal_id % 27 = 4;	-- after all
DELETE FROM put_off WHERE deal_id IN (3, 14, 25, 36, 47);
INSERT INTO put_off (deal_id, expected_close_on) VALUES (14, '2026-01-01'), (36, '2026-12-01'), (47, NULL);
UPDATE put_off SET expected_close_on = '2026-12-31' WHERE deal_id IN (14, 36);
UPDATE put_off SET expected_close_on = '2026-12-31' WHERE deal_id = 5;
SELECT pipelines._past_dates_of('put_off', now() + interval '1 year', false, NULL) ~ '_past_dates' AS at_once, pipelines._past_dates_of('put_off', now() - interval '1 year', false, NULL) AS none_is_stalled;
SELECT count(*) AS deals, count(DISTINCT s.reasons) AS kinds, count(*) FILTER (WHERE s.reasons::text ~ 'pushed') AS pushed, count(*) FILTER (WHERE s.reasons::text ~ 'skipped') AS skipped
FROM pipelines.stalled('put_off', as_of => now() + interval '1 year') s;
DO $$ BEGIN FOR n IN 1..2100 LOOP UPDATE put_off SET expected_close_on = date '2026-01-01' + n WHERE deal_id = 50; END LOOP; END $$;
CREATE VIEW told AS SELECT d.deal_id, pipelines._past_reasons('put_off_history'::regclass, '{deal_id,version,change,expected_close_on,episode,pipeline_id,stage_id,to_pipeline_id,skipped_stages}',
		(SELECT array_agg(CAST(k.pipeline_id AS bigint) << 32 | k.stage_id ORDER BY k.position) FROM pipelines.pipeline_stage k),
		(SELECT array_agg(n.name ORDER BY k.position) FROM pipelines.pipeline_stage k JOIN pipelines.stage n USING (stage_id)),
		t.dates, d.version, d.expected_close_on, d.episode, d.pipeline_id, d.stage_id, d.deal_id) AS reasons, t.kind
FROM put_off d, (SELECT 'read' AS kind, NULL::bytea AS dates UNION ALL
	SELECT 'at once', (SELECT pipelines._past_dates(h.deal_id, h.version, h.expected_close_on, h.change, h.skipped_stages IS NOT NULL) FROM put_off_history h) UNION ALL
	-- of a key of which a version is missing, nothing is told
	SELECT 'in part', (SELECT pipelines._past_dates(h.deal_id, h.version, h.expected_close_on, h.change, h.skipped_stages IS NOT NULL) FROM put_off_history h WHERE (h.deal_id + h.version) % 10 <> 0 OR h.deal_id = 50)) t;
SELECT a.kind, count(*), count(*) FILTER (WHERE a.reasons IS DISTINCT FROM b.reasons) AS different FROM told a JOIN told b USING (deal_id) WHERE b.kind = 'read' GROUP BY 1 ORDER BY 1;
SELECT reasons, count(*), min(deal_id) FROM told WHERE kind = 'at once' GROUP BY 1 ORDER BY 2 DESC, 3;
SET pipelines.event_time = '2024-01-01';
SELECT pipelines.create_deals('put_off2', layout => 'put_off');
INSERT INTO put_off2 (deal_id, created_at, expected_close_on) SELECT deal_id, '2024-01-01', '2024-02-01' FROM put_off;
SET pipelines.event_time = '2024-01-02';
UPDATE put_off2 SET expected_close_on = '2024-03-01' WHERE deal_id % 3 = 0;
SET pipelines.event_time = '2024-01-03';
UPDATE put_off2 SET expected_close_on = '2024-04-01' WHERE deal_id % 2 = 0;
UPDATE put_off2 SET stage_id = pipelines.stage_id('Put off', 'Third') WHERE deal_id % 5 = 0;
RESET pipelines.event_time;
SELECT count(*), count(*) FILTER (WHERE s.reasons IS DISTINCT FROM v.reasons) AS different FROM pipelines.stalled('put_off2') s FULL JOIN put_off2_stalled v ON v.deal_id::text = s.deal;
-- and of the past, as it was then
SELECT at, s.reasons, count(*) FROM unnest('{2024-01-02 12:00,2024-01-05 12:00}'::timestamptz[]) at, pipelines.stalled('put_off2', as_of => at) s GROUP BY 1, 2 ORDER BY 1, 2;
-- spoilt tables: there is an error, or what is looked up lies in it
SELECT b.kind, count(*), count(*) FILTER (WHERE r ~ '^22P03: invalid table of past dates') AS refused, count(*) FILTER (WHERE r !~ '^(22P03: .*|rows: 1)$') AS otherwise
FROM (SELECT pipelines._past_dates(n, 1, '2026-01-01', 'move', false) AS t FROM generate_series(1, 4) n) t,
	LATERAL (SELECT 'a byte' AS kind, set_byte(t.t, n, v) AS b FROM generate_series(0, length(t.t) - 1) n, unnest('{0,1,64,128,255}'::integer[]) v
		UNION ALL SELECT 'cut', substr(t.t, 1, n) FROM generate_series(0, length(t.t) - 1) n
		UNION ALL SELECT 'longer', t.t || decode(repeat('00', n), 'hex') FROM generate_series(1, 20) n) b,
	LATERAL try(format('SELECT array_agg(pipelines._past_reasons(''put_off_history'', ''{deal_id,version,change,expected_close_on,episode,pipeline_id,stage_id,to_pipeline_id,skipped_stages}'', NULL, NULL, %L, 2, ''2027-01-01'', 1, 1, 1, n)::text) FROM generate_series(-9::bigint, 9) n', b.b)) r
GROUP BY 1 ORDER BY 1;

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
		FROM (VALUES ('stalled', ''), ('stalled', ', respect_next_action => true, max_future => ''1 day'''), ('stalling', ', now() + interval ''1 year'''), ('stalling', ', now() + interval ''1 year'', respect_next_action => true, max_future => ''1 day'''), ('forecast_deals', ''), ('forecast_report', ''), ('quota_report', ''), ('board', ''), ('board', ', as_json => true'),
			('scores', ''), ('time_in_stage', ', days => true, include_running => true'), ('stage_times', ''), ('funnel', ', mature_only => true'), ('flow', ''), ('load', ''), ('cycle', ''), ('cycle', ', without_hold => true'), ('cycle', ', from_stage => ''Offer'''),
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
-- and whoever was open first
INSERT INTO endless (deal_id, amount, stage_id, created_at) SELECT n, 1, pipelines.stage_id('Endless', 'Offer'), CASE n WHEN 21 THEN timestamptz '-infinity' WHEN 22 THEN 'infinity' ELSE '2026-01-01' END FROM generate_series(21, 25) n;
UPDATE endless SET stage_id = pipelines.stage_id('Endless', 'Won'), closed_at = CASE deal_id WHEN 23 THEN timestamptz 'infinity' WHEN 24 THEN '-infinity' END WHERE deal_id > 20;
SELECT n, unknown, longest < '100 years' AS finite FROM pipelines.cycle('endless');
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
