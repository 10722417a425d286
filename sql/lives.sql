-- lives.sql: deals that are there and yet none (soft-deleted rows of an adopted
-- table), in reports on the past as on the present; keys that were deleted and came
-- back, whose lives are different deals (R-2.36); and scores that count wherever a
-- probability does (R-11.5).  In a database of its own.
\set ECHO none
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_pipelines_lives;
CREATE DATABASE regress_pipelines_lives TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\set home :DBNAME
\c regress_pipelines_lives
\i test/data/checks.sql
\set ECHO all
SET timezone = 'UTC';
SELECT pipelines.create_pipeline('Cars', time_zone => 'UTC', stages => '[{"name": "Lead", "probability": 20},
	{"name": "Offer", "probability": 50}, {"name": "Won", "outcome": "won"}, {"name": "Lost", "outcome": "lost"}]') AS cars;
SELECT pipelines.create_deals('deals', currency => 'EUR') AS deals;

--
-- Soft-deleted rows.  Deal 1 is one, 2 was taken away softly, 3 really; of gone
-- nothing is remembered, so that what it says now counts for all times.
--
ALTER TABLE deals ADD gone boolean NOT NULL DEFAULT false, ADD label text;
UPDATE pipelines.tracked_table SET live = 'NOT gone';
SELECT pipelines.rebuild_views('deals') \g /dev/null
SET pipelines.event_time = '2026-03-02 09:00+00';
INSERT INTO deals (deal_id, name, label, pipeline_id, stage_id, amount, expected_close_on, created_at)
SELECT g, 'deal ' || g, 'label ' || g, 1, 1, 10 ^ g, '2026-03-31', '2026-03-02 09:00+00' FROM generate_series(1, 3) g;
SET pipelines.event_time = '2026-03-10 09:00+00';
UPDATE deals SET stage_id = 2;
SET pipelines.event_time = '2026-03-20 09:00+00';
UPDATE deals SET stage_id = 3 WHERE deal_id <> 1;
SET pipelines.event_time = '2026-04-05 09:00+00';
DELETE FROM deals WHERE deal_id = 3;
RESET pipelines.event_time;
UPDATE deals SET gone = true WHERE deal_id = 2;

-- what every report on the past sees of them, from which the soft-deleted one is missing
CREATE FUNCTION seen() RETURNS TABLE (report text, n bigint, amount numeric) LANGUAGE sql AS $$
	SELECT 'as of, ' || column_name, deals_count, amount FROM pipelines.board('deals', as_of => '2026-03-15') WHERE deals_count > 0
	UNION ALL SELECT 'load', n, amount FROM pipelines.load('deals', NULL, as_of => '2026-03-15')
	UNION ALL SELECT 'forecast', deals, amount FROM pipelines.forecast_report('deals', by => '{}', as_of => '2026-03-15') WHERE deals > 0
	UNION ALL SELECT 'bridge', deals, value FROM pipelines.bridge('deals', '2026-03-15', '2026-03-31') WHERE leg = 'start'
	UNION ALL SELECT 'flow, ' || kind, n, amount FROM pipelines.flow('deals', since => '2026-03-01', as_of => '2026-03-31')
	UNION ALL SELECT 'trend, ' || week_end || ' ' || stage_name, n, amount FROM pipelines.trend('deals', 4, as_of => '2026-03-31')
	UNION ALL SELECT 'transitions, ' || kind, n, NULL FROM pipelines.transitions('deals', as_of => '2026-03-31')
	UNION ALL SELECT 'time in stage ' || stage_name, n, NULL FROM pipelines.time_in_stage('deals', as_of => '2026-03-31')
	UNION ALL SELECT 'accuracy', horizon, won_then + weighted_then FROM pipelines.forecast_accuracy('deals', '{20}', 'month', 1, as_of => '2026-04-01')
	UNION ALL SELECT 'won', won, won_amount FROM pipelines.win_rate('deals', as_of => '2026-03-31')
$$;
SELECT * FROM seen();
-- cards of the past have what is not remembered from the present row
SELECT card_list FROM pipelines.board('deals', as_of => '2026-03-15') WHERE deals_count > 0;
SELECT column_name, deals_count FROM pipelines.board('deals', by => 'label', as_of => '2026-03-15');
-- remembered since it is tracked: the same deal, softly deleted, was one before
SELECT pipelines.track('deals', 'gone') \g /dev/null
SELECT * FROM seen();

--
-- Two lives of one key.  Deal 1: made 2 March, Lead 2 to 4 March, Offer until it is
-- won on 20 March, deleted on 1 April; made again on 11 May, Lead one day, won from
-- there.  Deal 2: made 2 March, deleted 3 March; back on 11 May, in Lead since.  What
-- is remembered of 3 is its end alone; 4 never went.
--
SELECT pipelines.create_deals('again', currency => 'EUR') AS again;
SET pipelines.event_time = '2026-03-02 00:00+00';
INSERT INTO again (deal_id, name, pipeline_id, stage_id, amount, source, created_at)
SELECT g, 'first ' || g, 1, 1, 10 ^ g, 'fair', '2026-03-02 00:00+00' FROM generate_series(1, 4) g;
SET pipelines.event_time = '2026-03-03 00:00+00';
DELETE FROM again WHERE deal_id IN (2, 3);
SET pipelines.event_time = '2026-03-04 00:00+00';
UPDATE again SET stage_id = 2 WHERE deal_id = 1;
SET pipelines.event_time = '2026-03-20 00:00+00';
UPDATE again SET stage_id = 3 WHERE deal_id = 1;
SET pipelines.event_time = '2026-04-01 00:00+00';
DELETE FROM again WHERE deal_id = 1;
SET pipelines.event_time = '2026-05-11 00:00+00';
INSERT INTO again (deal_id, name, pipeline_id, stage_id, amount, source, created_at)
SELECT g, 'second ' || g, 1, 1, 10 ^ g, 'web', '2026-05-11 00:00+00' FROM generate_series(1, 2) g;
SET pipelines.event_time = '2026-05-12 00:00+00';
UPDATE again SET stage_id = 3 WHERE deal_id = 1;
RESET pipelines.event_time;

SELECT pipelines._returned('deals'), pipelines._returned('again');
-- the deletions are found by an index, which has no other versions
SET enable_seqscan = off;
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT deal_id, version FROM again_history WHERE change = 'delete';
SELECT deal_id, version FROM again_history WHERE change = 'delete';
RESET enable_seqscan;
RESET enable_bitmapscan;
-- of the past: name and age of that life, where they are known
SELECT c ->> 'deal' AS deal, c ->> 'name' AS name FROM pipelines.board('again', as_of => '2026-03-15'), jsonb_array_elements(card_list) c ORDER BY 1;
SELECT c ->> 'deal' AS deal, c ->> 'name' AS name FROM pipelines.board('again', as_of => '2026-05-11 12:00'), jsonb_array_elements(card_list) c ORDER BY 1;
SELECT n, round(mean_age_days, 2) AS age FROM pipelines.load('again', NULL, as_of => '2026-03-10');
SELECT n, round(mean_age_days, 2) AS age FROM pipelines.load('again', NULL, as_of => '2026-05-11 12:00');
SELECT deal, age_days FROM pipelines.scores('again', as_of => '2026-03-10') ORDER BY 1;
SELECT deal, age_days FROM pipelines.scores('again', as_of => '2026-05-11 12:00') ORDER BY 1;
-- how long: of its life; from Offer on nothing, since in this life it wasn't there
SELECT won, created, created_won FROM pipelines.win_rate('again');
SELECT n, unknown, mean FROM pipelines.cycle('again');
SELECT n, unknown, mean FROM pipelines.cycle('again', as_of => '2026-03-25');
SELECT n, unknown, mean FROM pipelines.cycle('again', from_stage => 'Lead');
SELECT n, unknown, mean FROM pipelines.cycle('again', from_stage => 'Offer');
SELECT n, unknown, mean FROM pipelines.cycle('again', from_stage => 'Offer', as_of => '2026-03-25');
-- deal 1 was in Offer in its first life only
SELECT stage_name, n, won, still_open, exits, next_n FROM pipelines.funnel('again');
SELECT stage_name, n, won, still_open, exits, next_n FROM pipelines.funnel('again', 'direct');
SELECT stage_name, n, won, still_open FROM pipelines.funnel('again', as_of => '2026-03-25');
-- what is not remembered of a life that ended is not that of the next one
CREATE FUNCTION split() RETURNS TABLE (report text, value text, n bigint) LANGUAGE sql AS $$
	SELECT 'time in stage ' || stage_name, value, n + deleted FROM pipelines.time_in_stage('again', by => 'name') WHERE n + deleted > 0
	UNION ALL SELECT 'cumulative ' || stage_name, value, n + deleted FROM pipelines.time_in_stage('again', by => 'name', measure => 'cumulative') WHERE n + deleted > 0
	UNION ALL SELECT 'by an expression ' || stage_name, value, n + deleted FROM pipelines.time_in_stage('again', by => 'upper(name)') WHERE n + deleted > 0
	UNION ALL SELECT 'transitions ' || kind, value, n FROM pipelines.transitions('again', by => 'name')
	UNION ALL SELECT 'flow ' || kind, value, n FROM pipelines.flow('again', '2026-03-01', by => 'name')
	UNION ALL SELECT 'trend', value, n FROM pipelines.trend('again', 1, by => 'name', as_of => '2026-03-25')
	UNION ALL SELECT 'accuracy', dimension, count(*) FROM pipelines.forecast_accuracy('again', '{5}', 'month', 3, by => 'name', as_of => '2026-06-01') GROUP BY 2
	UNION ALL SELECT 'bridge ' || leg, 'second', deals FROM pipelines.bridge('again', '2026-03-03 12:00', '2026-05-20', filter => 'name LIKE ''second%''') WHERE deals > 0
$$;
SELECT * FROM split() ORDER BY 1, 2;
-- lives are deals: four of them left Lead, one after two days, two were deleted, one after one day
SELECT m, stage_name, n, running, deleted, mean FROM unnest('{visit,first,latest,cumulative}'::text[]) m, pipelines.time_in_stage('again', measure => m) ORDER BY m, position;
SELECT deal, stage_name, visits, running, first_entered, last_exited, cumulative_time, stage_time FROM pipelines.stage_times('again', '1');
SELECT count(*), count(*) FILTER (WHERE deal = '1') AS first FROM pipelines.stage_times('again');
-- deal 1 was won after eighteen days in Lead and Offer, and in another life after one day in Lead
SELECT won, lost FROM pipelines.train_scores('again', ages => '{10 days}', min_won => 1, min_lost => 0);
SELECT c.feature, c.age, s.name AS stage, c.won, c.lost FROM pipelines.score_count c LEFT JOIN pipelines.stage s ON c.feature = 'stage' AND s.stage_id::text = c.value
WHERE c.relation = 'again'::regclass ORDER BY 1, 2, s.stage_id;
-- no instant
SELECT try(format('SELECT FROM pipelines.%s(''again'', as_of => NULL)', f))
FROM unnest('{flow,trend,transitions,funnel,win_rate,cycle,velocity,load,time_in_stage,stage_times,stalled,next_steps,candidates,review}'::text[]) f;
SELECT try($$SELECT FROM pipelines.stalling('again', 'infinity', as_of => NULL)$$);
SELECT try($$SELECT FROM pipelines.journey('again', '1', as_of => NULL)$$);
-- the end of time: all that is known to come; how long it is until then can't be told
SELECT call, i AS at, try(format('SELECT FROM pipelines.' || call, i))
FROM unnest('{"flow(''again'', as_of => %L)", "transitions(''again'', as_of => %L)", "funnel(''again'', as_of => %L)", "funnel(''again'', mature_only => true, as_of => %L)",
	"win_rate(''again'', as_of => %L)", "cycle(''again'', as_of => %L)", "velocity(''again'', as_of => %L)", "load(''again'', as_of => %L)", "trend(''again'', as_of => %L)",
	"time_in_stage(''again'', as_of => %L)", "time_in_stage(''again'', include_running => true, as_of => %L)", "time_in_stage(''again'', days => true, as_of => %L)",
	"time_in_stage(''again'', measure => ''cumulative'', as_of => %L)", "time_in_stage(''again'', since => %1$L, until => %1$L)",
	"stage_times(''again'', as_of => %L)", "stage_times(''again'', ''1'', days => true, as_of => %L)", "journey(''again'', ''2'', as_of => %L)",
	"stalled(''again'', as_of => %L)", "stalling(''again'', %L)", "stalling(''again'', ''2026-06-01'', as_of => %L)", "next_steps(''again'', as_of => %L)", "candidates(''again'', as_of => %L)",
	"review(''again'', as_of => %L)", "board(''again'', as_of => %L)", "scores(''again'', as_of => %L)", "train_scores(''again'', as_of => %L)",
	"calibration(''again'', %L)", "calibration(''again'', ''2026-03-01'', as_of => %L)", "forecast_accuracy(''again'', as_of => %L)", "forecast_report(''again'', as_of => %L)",
	"quota_report(''again'', as_of => %L)", "bridge(''again'', ''2026-03-01'', %L)", "changes(''again'', %L)"}'::text[]) WITH ORDINALITY u(call, n), unnest('{infinity,-infinity}'::timestamptz[]) i ORDER BY n, i DESC;
-- many deleted at once, keys of any length: each of them is in the index on deletions
CREATE TABLE parts (code text PRIMARY KEY, stage text NOT NULL CHECK (stage IN ('asked', 'won')));
SELECT count(*) > 0 AS adopted FROM pipelines.adopt('parts', 'stage', apply => true);
INSERT INTO parts SELECT rpad(concat(length, '/', g, '/'), length, '0123456789'), 'asked' FROM generate_series(6, 600, 6) length, generate_series(1, 5) g;
DO $$ BEGIN FOR n IN 6 .. 600 LOOP DELETE FROM parts WHERE length(code) = n; END LOOP; END $$;
SET enable_seqscan = off;
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT code FROM parts_history WHERE change = 'delete';
SELECT count(*), min(length(code)), max(length(code)) FROM parts_history WHERE change = 'delete';
RESET enable_seqscan;
RESET enable_bitmapscan;
\c :home
DROP DATABASE regress_pipelines_lives;
