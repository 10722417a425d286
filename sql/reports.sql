-- reports.sql: time in stage (R-3.1 to R-3.4), funnel, transitions, win rate,
-- cycle, velocity and load (R-3.7, R-7.1).  In a database of its own.
\set ECHO none
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_pipelines_reports;
CREATE DATABASE regress_pipelines_reports TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\set home :DBNAME
\c regress_pipelines_reports
\i test/data/checks.sql
\set ECHO all
SET timezone = 'UTC';
SELECT pipelines.create_pipeline('Sales', time_zone => 'UTC', stages => '[
	{"name": "Lead", "probability": 10}, {"name": "Demo", "probability": 30}, {"name": "Offer", "probability": 60},
	{"name": "Parked", "outcome": "on_hold", "probability": 5},
	{"name": "Won", "outcome": "won"}, {"name": "Lost", "outcome": "lost"}, {"name": "Junk", "outcome": "disqualified"}]');
SELECT pipelines.create_pipeline('Service', time_zone => 'Pacific/Auckland', stages => '["Demo", {"name": "Over", "outcome": "done"}]');
SELECT pipelines.create_deals('deals', currency => 'EUR');
-- a deal's way: a list of day and stage
CREATE PROCEDURE go(id bigint, way text, amount numeric DEFAULT 100, owner text DEFAULT 'eve', product text DEFAULT 'car') LANGUAGE plpgsql AS $$
DECLARE step text; d text; stage text; pipe text := 'Sales';
BEGIN
	FOREACH step IN ARRAY string_to_array(way, ' ') LOOP
		d := split_part(step, ':', 1); stage := split_part(step, ':', 2);
		PERFORM set_config('pipelines.event_time', '2026-01-' || lpad(d, 2, '0') || ' 12:00+00', true);
		IF stage = 'Over' THEN pipe := 'Service'; END IF;
		IF NOT EXISTS (SELECT FROM deals WHERE deal_id = id) THEN
			INSERT INTO deals (deal_id, name, amount, owner, product, source, stage_id, created_at, pipeline_id)
			VALUES (id, 'n', go.amount, go.owner, go.product, 'web', pipelines.stage_id(pipe, stage), current_setting('pipelines.event_time')::timestamptz, pipelines.pipeline_id(pipe));
		ELSIF stage LIKE '@%' THEN
			UPDATE deals SET owner = substr(stage, 2) WHERE deal_id = id;
		ELSIF stage = 'X' THEN
			DELETE FROM deals WHERE deal_id = id;
		ELSE
			UPDATE deals SET pipeline_id = pipelines.pipeline_id(pipe), stage_id = pipelines.stage_id(pipe, stage) WHERE deal_id = id;
		END IF;
	END LOOP;
END
$$;
CALL go(1, '1:Lead 3:Demo 6:Offer 10:Won', 1000, 'ann');
CALL go(2, '1:Lead 5:Offer 7:Demo 8:Offer 9:Lost', 500, 'ann', 'van');
CALL go(3, '2:Lead 4:Demo 5:Lead 9:Demo', 300, 'bob');
CALL go(4, '2:Lead 12:Won', 700, 'bob', 'van');
CALL go(5, '3:Lead 4:Demo 6:Parked 11:Demo 13:Offer', NULL, 'bob');
CALL go(6, '3:Lead 4:Junk', 50, 'ann');
CALL go(7, '4:Lead 6:Demo 8:@bob 9:Won 10:@cat', 900, 'ann');
CALL go(8, '5:Lead 6:X', 10, 'ann');
CALL go(9, '6:Won', 400, 'bob');
CALL go(10, '6:Lead 7:Won 9:Offer 14:Lost', 600, 'ann', 'van');
CALL go(11, '7:Lead 8:Demo 9:Over', 80, 'cat');
-- what everybody asks for is now: the day is fixed here
\set at '''2026-01-20 12:00+00'''

-- time in stage: closed stages are left out (R-3.2), running and deleted stays are counted
SELECT pipeline_name, stage_name, outcome, n, running, deleted, transient, total, mean, shortest, longest, median, p75, p90
FROM pipelines.time_in_stage('deals', as_of => :at);
-- the same by hand, from the visits
SELECT stage_name, count(*) AS n, sum(exited_at - entered_at) AS total,
	percentile_cont(0.5) WITHIN GROUP (ORDER BY exited_at - entered_at) AS median, percentile_cont(0.9) WITHIN GROUP (ORDER BY exited_at - entered_at) AS p90
FROM deals_visits WHERE exited_at IS NOT NULL AND change <> 'delete' AND stage_name NOT IN ('Won', 'Lost') GROUP BY 1 ORDER BY 1;
-- as everything was on the 8th, before noon
SELECT pipeline_name, stage_name, n, running, deleted, total, median FROM pipelines.time_in_stage('deals', as_of => '2026-01-08 11:00+00');
-- R-3.4: running stays are censored, or take part with their time so far
SELECT stage_name, n, running, mean, survival_median FROM pipelines.time_in_stage('deals', survival => true, as_of => :at);
SELECT stage_name, n, running, mean, longest FROM pipelines.time_in_stage('deals', include_running => true, as_of => :at);
-- one figure per deal and stage
SELECT stage_name, m, n, running, total FROM unnest('{first,latest,cumulative}'::text[]) m
CROSS JOIN LATERAL pipelines.time_in_stage('deals', measure => m, pipeline => 'Sales', as_of => :at) ORDER BY position, m DESC;
-- by the owner who had the deal when it left the stage; by a column that is not tracked, and by an expression
SELECT stage_name, value, n, running, total FROM pipelines.time_in_stage('deals', by => 'owner', pipeline => 'Sales', as_of => :at);
SELECT stage_name, value, n, total FROM pipelines.time_in_stage('deals', by => 'name', pipeline => 'Sales', as_of => :at);
SELECT stage_name, value, n, total FROM pipelines.time_in_stage('deals', by => 'coalesce(amount, 0) >= 500', pipeline => 'Sales', as_of => :at);
-- stays begun in a period; days of the calendar
SELECT stage_name, n, running, total FROM pipelines.time_in_stage('deals', since => '2026-01-03', until => '2026-01-06', as_of => :at);
SELECT pipeline_name, stage_name, n, total FROM pipelines.time_in_stage('deals', days => true, as_of => :at);
-- R-3.1 deal by deal
SELECT stage_name, visits, running, first_entered, last_entered, last_exited, latest_time, cumulative_time, stage_time FROM pipelines.stage_times('deals', '5', as_of => :at);
SELECT stage_name, visits, running, latest_time, cumulative_time FROM pipelines.stage_times('deals', '3', as_of => '2026-01-09 06:00+00');
-- R-3.3: days by the calendar, in the time zone of each pipeline; for one deal as for all, and together as in time_in_stage()
SELECT stage_name, visits, running, latest_time, cumulative_time FROM pipelines.stage_times('deals', '3', days => true, as_of => '2026-01-09 06:00+00');
BEGIN;
UPDATE pipelines.pipeline SET time_zone = 'Pacific/Auckland' WHERE name = 'Sales';
SELECT stage_name, visits, running, latest_time, cumulative_time FROM pipelines.stage_times('deals', '3', days => true, as_of => '2026-01-09 06:00+00');
ROLLBACK;
SELECT count(*) > 0 AS some, count(*) FILTER (WHERE a IS DISTINCT FROM o) AS wrong
FROM pipelines.stage_times('deals', days => true, as_of => :at) a LEFT JOIN LATERAL pipelines.stage_times('deals', a.deal, days => true, as_of => :at) o ON (o.pipeline_id, o.stage_id) = (a.pipeline_id, a.stage_id);
SELECT count(*) > 0 AS some, count(*) FILTER (WHERE t.total IS DISTINCT FROM s.total) AS wrong
FROM pipelines.time_in_stage('deals', measure => 'cumulative', days => true, include_running => true, as_of => :at) t
JOIN (SELECT pipeline_id, stage_id, sum(cumulative_time) AS total FROM pipelines.stage_times('deals', days => true, as_of => :at) GROUP BY 1, 2) s USING (pipeline_id, stage_id) WHERE t.deleted = 0;
SELECT pipeline_name, stage_name, cumulative_time, stage_time FROM pipelines.stage_times('deals', '11', as_of => :at);
-- the parts of a life are the whole life
SELECT count(*) AS wrong FROM (
	SELECT deal, sum(cumulative_time) AS s FROM pipelines.stage_times('deals', as_of => :at) GROUP BY 1) t
JOIN deals d ON d.deal_id::text = t.deal
WHERE t.s <> coalesce(CASE WHEN d.episode = 1 THEN d.closed_at END, CASE WHEN d.episode = 1 THEN :at::timestamptz END, d.closed_at - interval '2 days') - d.created_at;

-- funnel
SELECT stage_name, n, won, lost, still_open, other, next_n, round(next_rate, 4) AS next, round(cumulative_rate, 4) AS cumulative, round(win_rate, 4) AS win
FROM pipelines.funnel('deals', pipeline => 'Sales', as_of => :at);
SELECT mode, string_agg(concat_ws(' ', stage_name, n), ', ' ORDER BY position) AS counts
FROM unnest('{any,strict,reached,direct}'::text[]) mode
CROSS JOIN LATERAL pipelines.funnel('deals', mode, pipeline => 'Sales', as_of => :at) GROUP BY 1 ORDER BY 1;
SELECT stage_name, n, exits, next_n, round(next_rate, 4) AS next, round(win_rate, 4) AS win FROM pipelines.funnel('deals', 'direct', pipeline => 'Sales', as_of => :at);
SELECT pipeline_name, stage_name, outcome, n, won, other FROM pipelines.funnel('deals', pipeline => 'Service', as_of => :at);
-- cohorts
SELECT cohort, string_agg(concat_ws(' ', stage_name, n), ', ' ORDER BY position) AS counts
FROM unnest('{created_in,entered_first_stage_in,entered_stage_in,closed_in}'::text[]) cohort
CROSS JOIN LATERAL pipelines.funnel('deals', cohort => cohort, since => '2026-01-02', until => '2026-01-05', pipeline => 'Sales', as_of => :at) GROUP BY 1 ORDER BY 1;
SELECT stage_name, n FROM pipelines.funnel('deals', cohort => 'closed_in', since => '2026-01-09', until => '2026-01-13', pipeline => 'Sales', as_of => :at);
-- by the owner at the closing (deal 7 was bob's then), and as of the past
SELECT value, string_agg(concat_ws(' ', stage_name, n, 'won', won), ', ' ORDER BY position) AS counts
FROM pipelines.funnel('deals', by => 'owner', pipeline => 'Sales', as_of => :at) GROUP BY 1 ORDER BY 1;
SELECT stage_name, n, won, lost, still_open FROM pipelines.funnel('deals', pipeline => 'Sales', as_of => '2026-01-08 11:00+00');
SELECT stage_name, n, won FROM pipelines.funnel('deals', mature_only => true, pipeline => 'Sales', as_of => '2026-01-12 13:00+00');
-- a stage that was archived is nobody's duty; one that was merged counts as the other (R-2.35)
BEGIN;
SELECT deals, moved FROM pipelines.merge_stages('Sales', 'Demo', 'Offer');
SELECT string_agg(concat_ws(' ', stage_name, n), ', ' ORDER BY position) AS counts FROM pipelines.funnel('deals', 'strict', pipeline => 'Sales');
ROLLBACK;
BEGIN;
DELETE FROM deals WHERE deal_id = 3;
SELECT pipelines.archive_stage('Sales', 'Demo');
SELECT string_agg(concat_ws(' ', stage_name, n), ', ' ORDER BY position) AS counts FROM pipelines.funnel('deals', 'strict', pipeline => 'Sales');
ROLLBACK;

-- transitions
SELECT pipeline_name, stage_name, to_pipeline_name, to_stage_name, kind, n, exits, round(rate, 4) AS rate FROM pipelines.transitions('deals', as_of => :at);
SELECT stage_name, to_stage_name, kind, value, n, exits FROM pipelines.transitions('deals', by => 'owner', since => '2026-01-09', until => '2026-01-10', as_of => :at);
SELECT sum(n) FROM pipelines.transitions('deals', as_of => '2026-01-06 13:00+00');
-- a stage that was merged into another is that one: no deal has moved (R-2.35)
BEGIN;
SELECT pipelines.merge_stages('Sales', 'Demo', 'Offer') \g /dev/null
SELECT stage_name, n, exits, next_n, round(next_rate, 4) AS next, round(win_rate, 4) AS win FROM pipelines.funnel('deals', 'direct', pipeline => 'Sales');
SELECT stage_name, to_pipeline_name, to_stage_name, kind, n, exits FROM pipelines.transitions('deals', pipeline => 'Sales');
ROLLBACK;
-- stays that no one ever saw are no part of the way (R-2.6), wherever they were, unless every move counts
BEGIN;
CALL go(31, '21:Lead 22:Demo 22:Offer 23:Won 23:Lost');
CALL go(32, '21:Lead 22:Demo 22:Lead 24:Offer');
CALL go(33, '21:Lead 21:Demo 22:Offer');
CALL go(34, '21:Lead 22:Won 22:Offer');
CALL go(35, '21:Won 22:Offer 22:Demo');
CALL go(36, '21:Lead 22:Demo 22:X');
CALL go(37, '21:Lead 22:X 22:Demo 22:Offer 23:Won');
CALL go(38, '21:Lead 22:Over 22:Demo', owner => 'kim');
SELECT pipeline_name, stage_name, to_pipeline_name, to_stage_name, kind, n, exits FROM pipelines.transitions('deals', since => '2026-01-21', as_of => '2026-01-30', transient => false);
SELECT sum(n) = (SELECT count(*) FROM deals_visits WHERE exited_at >= '2026-01-21') AS all_moves FROM pipelines.transitions('deals', since => '2026-01-21');
SELECT stage_name, to_pipeline_name, to_stage_name, kind, value, n FROM pipelines.transitions('deals', by => 'owner', pipeline => 'Sales', since => '2026-01-21', as_of => '2026-01-30', transient => false) WHERE value = 'kim';
SELECT stage_name, n, exits, next_n FROM pipelines.funnel('deals', 'direct', since => '2026-01-21', pipeline => 'Sales', as_of => '2026-01-30');
-- to another pipeline and back: two stays, also where only one pipeline is asked for
SET LOCAL pipelines.event_time = '2026-01-23 12:00+00';
UPDATE deals SET pipeline_id = pipelines.pipeline_id('Sales'), stage_id = pipelines.stage_id('Sales', 'Lead') WHERE deal_id = 38;
RESET pipelines.event_time;
SELECT stage_name, n, exits, next_n FROM pipelines.funnel('deals', 'direct', since => '2026-01-21', pipeline => 'Sales', as_of => '2026-01-30');
SELECT stage_name, n, exits, next_n FROM pipelines.funnel('deals', 'direct', since => '2026-01-21', as_of => '2026-01-30') WHERE pipeline_name = 'Sales';
-- the same where the next stay tells where a deal went
CREATE TABLE moves AS SELECT true AS transient, t.* FROM pipelines.transitions('deals', as_of => '2026-01-30') t
	UNION ALL SELECT false, t.* FROM pipelines.transitions('deals', as_of => '2026-01-30', transient => false) t;
SELECT pipelines._secured('deals');
SELECT pipelines.protect_pipeline('Service') \g /dev/null
SELECT pipelines._secured('deals');
SELECT count(*) > 0 AS some, count(*) FILTER (WHERE t IS DISTINCT FROM m) AS wrong
FROM moves m FULL JOIN (SELECT true AS transient, t.* FROM pipelines.transitions('deals', as_of => '2026-01-30') t
	UNION ALL SELECT false, t.* FROM pipelines.transitions('deals', as_of => '2026-01-30', transient => false) t) t ON t = m;
ROLLBACK;

-- win rate
SELECT pipeline_name, currency, won, lost, disqualified, done, created, created_won, overdue, old, unpriced, won_amount, lost_amount,
	round(count_rate, 4) AS count, round(value_rate, 4) AS value, round(cohort_rate, 4) AS cohort, round(penalised_rate, 4) AS penalised
FROM pipelines.win_rate('deals', as_of => :at);
SELECT value, won, lost, created, round(count_rate, 4) AS rate FROM pipelines.win_rate('deals', by => 'owner', pipeline => 'Sales', as_of => :at);
SELECT value, won, lost FROM pipelines.win_rate('deals', by => 'product', since => '2026-01-09', until => '2026-01-13', pipeline => 'Sales', as_of => :at);
SELECT won, lost, round(count_rate, 4) AS rate FROM pipelines.win_rate('deals', all_closed => true, pipeline => 'Sales', as_of => :at);
-- R-2.27: deal 10 was won, and reopened
SELECT won, lost FROM pipelines.win_rate('deals', pipeline => 'Sales', as_of => '2026-01-08 11:00+00');
SELECT won, lost FROM pipelines.win_rate('deals', pipeline => 'Sales', as_of => '2026-01-09 13:00+00');
SELECT won, lost FROM pipelines.win_rate('deals', pipeline => 'Sales', count_reopened => true, as_of => '2026-01-09 13:00+00');
SELECT old, round(penalised_rate, 4) AS rate FROM pipelines.win_rate('deals', pipeline => 'Sales', old_after => '10 days', as_of => :at);

-- cycle: deal 9 was made closed (R-1.3)
SELECT pipeline_name, n, unknown, total, mean, shortest, longest, median, p90 FROM pipelines.cycle('deals', as_of => :at);
SELECT value, n, unknown, mean FROM pipelines.cycle('deals', by => 'owner', as_of => :at);
SELECT n, unknown, mean FROM pipelines.cycle('deals', from_stage => 'Demo', as_of => :at);
SELECT n, unknown, mean, longest FROM pipelines.cycle('deals', closed_as => 'any', pipeline => 'Sales', as_of => :at);
SELECT n, mean FROM pipelines.cycle('deals', since => '2026-01-10', until => '2026-01-12', as_of => :at);
-- velocity: four factors and their product
SELECT pipeline_name, n_basis, n, mean_value, round(win_rate, 4) AS win_rate, cycle_days, round(velocity, 4) AS velocity
FROM unnest('{open,created,closed}'::text[]) n_basis CROSS JOIN LATERAL pipelines.velocity('deals', n_basis, as_of => :at) ORDER BY 1, 2;
-- load
SELECT pipeline_name, value, currency, n, on_hold, unpriced, amount, weighted, largest, overdue, without_next_action, mean_age_days FROM pipelines.load('deals', as_of => :at);
SELECT value, n, on_hold, amount, weighted FROM pipelines.load('deals', by => 'product', as_of => '2026-01-08 13:00+00');

-- a closing that supersedes another one (R-2.26) is no second deal; whoever was made closed has no cycle (R-1.3), even if that was corrected
SELECT pipelines.create_deals('superseded', currency => 'EUR');
CREATE FUNCTION into_stage(stage text, VARIADIC deals bigint[]) RETURNS void LANGUAGE sql AS $$
	UPDATE superseded SET stage_id = pipelines.stage_id('Sales', $1) WHERE deal_id = ANY ($2) $$;
SET pipelines.event_time = '2026-05-10';
INSERT INTO superseded (deal_id, amount, created_at) VALUES (1, 40, '2026-05-10'), (2, 100, '2026-05-10'), (3, 40, '2026-05-10');
INSERT INTO superseded (deal_id, amount, stage_id) VALUES (4, 7, pipelines.stage_id('Sales', 'Lost'));
SET pipelines.event_time = '2026-05-11';
SELECT into_stage('Lost', 1, 3);
SET pipelines.event_time = '2026-05-20';
SELECT into_stage('Won', 1, 2, 4);
RESET pipelines.event_time;
SELECT n, unknown, mean FROM pipelines.cycle('superseded', as_of => '2026-06-01');
SELECT n, round(mean_value, 2) AS mean_value, win_rate, cycle_days FROM pipelines.velocity('superseded', 'closed', as_of => '2026-06-01');
SELECT won, lost, count_rate FROM pipelines.win_rate('superseded', as_of => '2026-06-01');
-- whose it was when it was closed: not who has it now, nor who moved it from one won stage to another, nor who had it when it was reopened
SELECT pipelines.create_pipeline('Twice', time_zone => 'UTC', stages => '["Open", {"name": "Won", "outcome": "won"}, {"name": "Best", "outcome": "won"}]') AS twice \gset
SET pipelines.event_time = '2026-02-01';
INSERT INTO superseded (deal_id, pipeline_id, owner, amount) SELECT g, :twice, 'ann', 1 FROM generate_series(11, 13) g;
SET pipelines.event_time = '2026-02-10';
UPDATE superseded SET stage_id = pipelines.stage_id('Twice', 'Won') WHERE pipeline_id = :twice;
SET pipelines.event_time = '2026-02-11';
UPDATE superseded SET owner = 'bob' WHERE pipeline_id = :twice;
SET pipelines.event_time = '2026-02-12';
UPDATE superseded SET stage_id = pipelines.stage_id('Twice', CASE deal_id WHEN 11 THEN 'Best' ELSE 'Open' END) WHERE deal_id IN (11, 12);
RESET pipelines.event_time;
SELECT value, won FROM pipelines.win_rate('superseded', by => 'owner', pipeline => 'Twice', as_of => '2026-06-01') WHERE won > 0;
SELECT value, won FROM pipelines.win_rate('superseded', by => 'owner', pipeline => 'Twice', count_reopened => true, as_of => '2026-06-01') WHERE won > 0;
SELECT value, won FROM pipelines.win_rate('superseded', by => 'owner', pipeline => 'Twice', count_reopened => true) WHERE won > 0;
-- of a deal without an instant of creation no cycle is known
ALTER TABLE superseded ALTER created_at DROP NOT NULL;
UPDATE superseded SET created_at = NULL WHERE deal_id = 2;
SELECT n, cycle_days FROM pipelines.velocity('superseded', 'closed', as_of => '2026-06-01');
-- the currency of a table is that of deals without one
SET pipelines.event_time = '2026-05-21';
INSERT INTO superseded (deal_id, amount, currency) VALUES (5, 100, NULL), (6, 50, 'EUR');
RESET pipelines.event_time;
SELECT currency, n, amount FROM pipelines.trend('superseded', 1, as_of => '2026-06-01') WHERE outcome = 'open';

-- R-2.32: time on hold is taken off in the unit of the cycle (5th: a Monday), and only where it lies within it: not before the
-- stage that the cycle begins with, after the closing, nor in an earlier life of the key
SELECT pipelines.create_fiscal_calendar('Standard', from_year => 2025, to_year => 2026) > 0 AS made;
SELECT pipelines.create_pipeline('Held', time_zone => 'UTC', stages => '["Asked", "Talks", {"name": "Held", "outcome": "on_hold"}, {"name": "Won", "outcome": "won"}]') AS held \gset
SELECT pipelines.create_deals('held', currency => 'EUR');
CREATE TABLE step (deal bigint, at timestamptz, stage text);
INSERT INTO step VALUES
	(1, '2026-01-05 09:00+00', 'Asked'), (1, '2026-01-09 16:00+00', 'Held'), (1, '2026-01-12 10:00+00', 'Talks'), (1, '2026-01-12 11:00+00', 'Won'),
	(2, '2026-01-05 09:00+00', 'Asked'), (2, '2026-01-05 12:00+00', 'Held'), (2, '2026-01-07 12:00+00', 'Talks'), (2, '2026-01-08 12:00+00', 'Won'),
	(3, '2025-12-01 09:00+00', 'Asked'), (3, '2025-12-02 09:00+00', 'Held'), (3, '2025-12-20 09:00+00', 'Talks'), (3, '2025-12-22 09:00+00', NULL),
	(3, '2026-01-05 09:00+00', 'Asked'), (3, '2026-01-06 09:00+00', 'Won'),
	(4, '2026-01-05 09:00+00', 'Talks'), (4, '2026-01-06 09:00+00', 'Held'), (4, '2026-01-07 09:00+00', 'Won'), (4, '2026-01-08 09:00+00', 'Held'), (4, '2026-01-10 09:00+00', 'Won');
DO $$
DECLARE s record;
BEGIN
	FOR s IN SELECT * FROM step ORDER BY deal, at LOOP
		PERFORM set_config('pipelines.event_time', s.at::text, true);
		IF s.stage IS NULL THEN
			DELETE FROM held WHERE deal_id = s.deal;
		ELSIF NOT EXISTS (SELECT FROM held WHERE deal_id = s.deal) THEN
			INSERT INTO held (deal_id, pipeline_id, stage_id, created_at)
			VALUES (s.deal, pipelines.pipeline_id('Held'), pipelines.stage_id('Held', s.stage), CASE s.deal WHEN 3 THEN timestamptz '2025-12-10 09:00+00' ELSE s.at END);
		ELSE
			UPDATE held SET stage_id = pipelines.stage_id('Held', s.stage) WHERE deal_id = s.deal;
		END IF;
	END LOOP;
END
$$;
SELECT value AS deal, n, total, (SELECT total FROM pipelines.cycle('held', by => 'deal_id', without_hold => true) w WHERE w.value = c.value) AS without_hold,
	(SELECT total FROM pipelines.cycle('held', by => 'deal_id', business => true) w WHERE w.value = c.value) AS business,
	(SELECT total FROM pipelines.cycle('held', by => 'deal_id', without_hold => true, business => true) w WHERE w.value = c.value) AS business_without,
	(SELECT total FROM pipelines.cycle('held', by => 'deal_id', days => true) w WHERE w.value = c.value) AS days,
	(SELECT total FROM pipelines.cycle('held', by => 'deal_id', without_hold => true, days => true) w WHERE w.value = c.value) AS days_without
FROM pipelines.cycle('held', by => 'deal_id') c ORDER BY 1;
SELECT value AS deal, n, total, (SELECT total FROM pipelines.cycle('held', by => 'deal_id', from_stage => 'Talks', without_hold => true) w WHERE w.value = c.value) AS without_hold
FROM pipelines.cycle('held', by => 'deal_id', from_stage => 'Talks') c WHERE value <> '3' ORDER BY 1;
-- as it was known before the reopening
SELECT value AS deal, total FROM pipelines.cycle('held', by => 'deal_id', without_hold => true, as_of => '2026-01-07 12:00+00') ORDER BY 1;

-- no way leads from one last stage to another, in whatever order they are
SELECT pipelines.create_pipeline('Three ends', stages => '["Lead", {"name": "Won", "outcome": "won"}, "Offer", {"name": "Won, partly", "outcome": "won"}, {"name": "Over", "outcome": "done"}]') AS ends \gset
SET pipelines.event_time = '2026-01-01 12:00+00';
INSERT INTO deals (deal_id, pipeline_id, stage_id) SELECT 100 + i, :ends, pipelines.stage_id('Three ends', 'Lead') FROM generate_series(1, 9) i;
SET pipelines.event_time = '2026-01-02 12:00+00';
UPDATE deals SET stage_id = pipelines.stage_id('Three ends', 'Offer') WHERE deal_id > 101;
SET pipelines.event_time = '2026-01-03 12:00+00';
UPDATE deals SET stage_id = pipelines.stage_id('Three ends', CASE WHEN deal_id < 105 THEN 'Won' WHEN deal_id < 107 THEN 'Won, partly' ELSE 'Over' END) WHERE deal_id BETWEEN 102 AND 107;
SET pipelines.event_time = '2026-01-04 12:00+00';
UPDATE deals SET stage_id = pipelines.stage_id('Three ends', 'Won, partly') WHERE deal_id = 102;
RESET pipelines.event_time;
SELECT mode, stage_name, n, exits, next_n, round(next_rate, 4) AS next, round(cumulative_rate, 4) AS cumulative
FROM unnest('{any,direct}'::text[]) mode CROSS JOIN LATERAL pipelines.funnel('deals', mode, pipeline => 'Three ends');

-- of a pipeline without stages there is nothing to be told
INSERT INTO pipelines.pipeline (layout_id, name) SELECT layout_id, 'Bare' FROM pipelines.pipeline WHERE name = 'Sales';
SELECT mode, count(n) FROM unnest('{any,direct}'::text[]) mode LEFT JOIN LATERAL pipelines.funnel('deals', mode, pipeline => 'Bare') ON true GROUP BY 1;
DELETE FROM pipelines.pipeline WHERE name = 'Bare';

-- whoever forbids the planner something gives its plans a cost at which servers compile them: for a second each, whatever the size of the tables
SELECT oid::regprocedure FROM pg_proc
WHERE pronamespace = 'pipelines'::regnamespace AND proconfig::text LIKE '%enable\_%=off%' AND NOT 'jit=off' = ANY (proconfig);

-- by month: what is shown depends on settings, as that of a column does; a cast that somebody planted is not called
SELECT bool_and(value ~ '^20..-..-01') AS months, count(DISTINCT value) > 1 AS several, sum(n) = (SELECT sum(n) FROM pipelines.time_in_stage('deals')) AS all_of_them
FROM pipelines.time_in_stage('deals', by => $$date_trunc('month', created_at AT TIME ZONE 'UTC')$$);
BEGIN;
CREATE TYPE planted AS (a integer);
CREATE FUNCTION planted(planted) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'planted'; END $$;
CREATE CAST (planted AS text) WITH FUNCTION planted(planted) AS ASSIGNMENT;
ALTER TABLE deals ADD planted planted;
SELECT try($t$SELECT pipelines.load('deals', by => 'coalesce(planted, planted)')$t$);
ROLLBACK;

-- the stays of a deal in a stage, put together in C, as SQL puts them together where the report is split
SET client_min_messages = notice;
DO $$
DECLARE
	m text; o text; reports integer := 0; compared bigint := 0; apart bigint := 0; n bigint; d bigint;
BEGIN
	FOREACH m IN ARRAY '{first,latest,cumulative}'::text[] LOOP
		FOREACH o IN ARRAY ARRAY['', ', include_running => true', ', survival => true', ', days => true', ', include_running => true, survival => true, days => true',
				', since => ''2026-01-08''', ', pipeline => ''Sales''', ', as_of => ''2026-01-20 10:00+00'''] LOOP
			EXECUTE format($q$
				WITH whole AS MATERIALIZED (SELECT to_jsonb(t) - 'value' AS line FROM pipelines.time_in_stage('deals', measure => %1$L%2$s) t),
				parts AS MATERIALIZED (SELECT to_jsonb(t) - 'value' AS line FROM pipelines.time_in_stage('deals', by => 'team', measure => %1$L%2$s) t)
				SELECT (SELECT count(*) FROM whole), (SELECT count(*) FROM whole w FULL JOIN parts p USING (line) WHERE w.line IS NULL OR p.line IS NULL)$q$, m, o)
			INTO n, d;
			reports := reports + 1;
			compared := compared + n;
			apart := apart + d;
		END LOOP;
	END LOOP;
	RAISE NOTICE '% reports, rows: %, different: %', reports, compared > 100, apart;
END
$$;
SET client_min_messages = warning;

-- refusals
SELECT try($t$SELECT pipelines.funnel('deals', 'some')$t$);
SELECT try($t$SELECT pipelines.funnel('deals', cohort => 'mine')$t$);
SELECT try($t$SELECT pipelines.win_rate('deals', by => 'nothing')$t$);
SELECT try($t$SELECT pipelines.win_rate('deals', by => 'random()')$t$);
SELECT try($t$SELECT pipelines.cycle('deals', from_stage => 'Nowhere')$t$);
SELECT try($t$SELECT pipelines.time_in_stage('deals', pipeline => 'Nowhere')$t$);
SELECT try($t$SELECT pipelines.time_in_stage('deals', business => true, days => true)$t$);
SELECT try($t$SELECT pipelines.stage_times('deals', business => true, days => true)$t$);
SELECT try($t$SELECT pipelines.time_in_stage('pg_class')$t$);

\set ECHO none
\c :home
SET client_min_messages = warning;
DROP DATABASE regress_pipelines_reports;
