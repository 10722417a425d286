-- story.sql: the story of S18 to S23, told by one deal.  It skips two stages and gets
-- stuck; it is pushed back, and goes on only when the activities are done; it turns
-- out to be in the wrong pipeline and moves to the same stage of another, with nothing
-- lost.  In a database of its own.
\set ECHO none
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_pipelines_story;
CREATE DATABASE regress_pipelines_story TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\set home :DBNAME
\c regress_pipelines_story
\i test/data/checks.sql
\set ECHO all
-- both pipelines are made of the same picklist of stages (S2, S11); Enterprise is free (S21)
SELECT pipelines.create_pipeline('Enterprise', stages => '[
	{"name": "Qualification", "probability": 10}, {"name": "Discovery", "probability": 20}, {"name": "Needs analysis", "probability": 30},
	{"name": "Evaluation", "probability": 50, "stall_limit": "14 days"}, {"name": "Negotiation", "probability": 80},
	{"name": "Closed won", "outcome": "won"}, {"name": "Closed lost", "outcome": "lost"}]');
SELECT pipelines.create_pipeline('SMB', stages => '[
	{"name": "Qualification", "probability": 15}, {"name": "Evaluation", "probability": 60}, {"name": "Closed won", "outcome": "won"}, {"name": "Closed lost", "outcome": "lost"}]');
SELECT pipelines.create_deals('deals', currency => 'EUR');
ALTER TABLE deals ADD COLUMN seats integer, ADD COLUMN contract_until date;
CREATE FUNCTION st(stage text, pipeline text DEFAULT 'Enterprise') RETURNS integer LANGUAGE sql STABLE AS
	'SELECT pipelines.stage_id(pipeline, stage)';
CREATE FUNCTION day(d date) RETURNS text LANGUAGE sql AS $$SELECT set_config('pipelines.event_time', d || ' 09:00+00', false)$$;
CREATE FUNCTION go(stage text) RETURNS text LANGUAGE sql AS
	$$SELECT try(format('UPDATE deals SET stage_id = %s WHERE deal_id = 1', st(stage)))$$;
CREATE VIEW stuck AS SELECT deal_id, pipeline_name, stage_name, reasons FROM deals_stalled;
-- what a rep must do before a deal may leave a stage
INSERT INTO pipelines.stage_activity (pipeline_id, stage_id, kind) VALUES
	(1, st('Discovery'), 'call'), (1, st('Needs analysis'), 'workshop'), (1, st('Needs analysis'), 'report');
-- small ones do not belong in Enterprise (S4)
INSERT INTO pipelines.deal_type (layout_id, column_name, value, pipeline_id) VALUES (1, 'channel', 'small business', 2);

--
-- A deal with a value in every column and a past: it was lost, and opened again.
-- The call and the workshop of back then do not count any more.
--
SELECT day('2020-01-01');
INSERT INTO deals (deal_id, name, account, owner, source, amount, currency, quantity, cost, probability, forecast_category, expected_close_on, team, territory,
	product, channel, next_action_at, parent_deal_id, attributes, seats, contract_until)
VALUES (1, 'licences', 'Acme', 'ann', 'fair', 5000, 'EUR', 40, 900, NULL, NULL, '2100-12-31', 'north', 'Rhine',
	'suite', NULL, '2100-01-01', 7, '{"tier": [1, 2]}', 40, '2021-12-31');
SELECT day('2020-01-02');
SELECT go('Discovery');
INSERT INTO deals_activity (deal_id, kind, subject, direction, done_at, owner) VALUES (1, 'call', 'first call', 'out', '2020-01-02 10:00+00', 'ann'),
	(1, 'workshop', 'with the boss', NULL, '2020-01-02 12:00+00', 'ann');
SELECT day('2020-01-03');
UPDATE deals SET stage_id = st('Closed lost'), close_reason = 'no budget', close_notes = 'next year', competitor = 'Rival' WHERE deal_id = 1;
SELECT day('2020-02-01');
UPDATE deals SET stage_id = st('Qualification'), owner = 'bob' WHERE deal_id = 1;

--
-- S18, S19: it skips two stages (R-2.7), is too long where it is, and both are named
--
SELECT day('2020-02-02');
SELECT go('Evaluation');
SELECT version, change, (SELECT array_agg(s.name ORDER BY x.n) FROM unnest(h.skipped_stages) WITH ORDINALITY x(id, n) JOIN pipelines.stage s ON s.stage_id = x.id) AS skipped
FROM deals_history h WHERE deal_id = 1 AND change = 'move' ORDER BY 1;
SELECT * FROM stuck;
UPDATE deals SET channel = 'small business', probability = 45, forecast_category = 'commit' WHERE deal_id = 1;
SELECT * FROM stuck;

--
-- S20, R-2.10: it is pushed back to the earliest stage that it skipped.  Its amount,
-- day and override stay (R-2.12).
--
SELECT day('2020-03-01');
SELECT deal, ok, target FROM pipelines.push_back('deals', '1', 'we know nothing of them');
SELECT life('1', true);
SELECT s.name AS gate, f.name AS furthest, d.amount, d.probability, d.expected_close_on FROM deals d
	JOIN pipelines.stage s ON s.stage_id = d.gate_stage_id JOIN pipelines.stage f ON f.stage_id = d.furthest_stage_id;
-- R-2.11: forward it goes without skips only, though the pipeline is free, ...
SELECT go('Evaluation'), go('Negotiation'), go('Closed won');
-- ... and only when what the stage demands is done, in this episode
SELECT go('Needs analysis');
-- to be done is not done; nor is a call of yesteryear, nor somebody else's
INSERT INTO deals_activity (deal_id, kind, due_at) VALUES (1, 'call', '2020-03-02');
INSERT INTO deals_activity (deal_id, kind, done_at) VALUES (2, 'call', '2020-03-02'), (1, 'mail', '2020-03-02');
SELECT day('2020-03-02');
SELECT go('Needs analysis');
-- what is not forward stays free (S21)
SELECT go('Qualification'), go('Discovery');
UPDATE deals_activity SET done_at = '2020-03-02 08:00+00', subject = 'second call' WHERE deal_id = 1 AND due_at IS NOT NULL;
SELECT go('Needs analysis');
SELECT s.name AS gate FROM pipelines.stage s JOIN deals d ON d.gate_stage_id = s.stage_id;
-- the next stage has demands of its own, both of them
INSERT INTO deals_activity (deal_id, kind, done_at) VALUES (1, 'workshop', '2020-03-03');
SELECT day('2020-03-04');
SELECT go('Evaluation');
SELECT deal, ok, sqlstate, target FROM pipelines.move_plan('deals', '{1}', 'Evaluation');
INSERT INTO deals_activity (deal_id, kind, done_at) VALUES (1, 'report', '2020-03-04');
SELECT deal, ok, sqlstate, target FROM pipelines.move_plan('deals', '{1}', 'Evaluation');
SELECT go('Evaluation');
-- it is where it was: the gate is open, and nothing is skipped any more
SELECT gate_stage_id, furthest_stage_id = st('Evaluation') AS furthest FROM deals;
SELECT * FROM stuck;

--
-- S21 to S23: to the same stage of the right pipeline, in one call
--
CREATE TABLE kept AS
	SELECT 'deal' AS what, to_jsonb(d) AS was FROM deals d
	UNION ALL SELECT 'history', to_jsonb(h) FROM deals_history h
	UNION ALL SELECT 'activity', to_jsonb(a) FROM deals_activity a
	UNION ALL SELECT 'visit', to_jsonb(v) - 'duration' FROM deals_visits v
	UNION ALL SELECT 'closing', to_jsonb(c) FROM deals_closings c;
SELECT day('2020-03-05');
SELECT deal, ok, target FROM pipelines.move('deals', '1', NULL, pipeline => 'SMB', reason => 'wrong_pipeline');
-- of the deal itself, these columns are others now; no column is empty that was not
SELECT e.key AS "column", e.value AS was, to_jsonb(d) -> e.key AS "is" FROM kept k, deals d, jsonb_each(k.was) e
WHERE k.what = 'deal' AND to_jsonb(d) -> e.key IS DISTINCT FROM e.value ORDER BY 1;
SELECT count(*) AS columns, count(*) FILTER (WHERE e.value = 'null') AS empty, array_agg(e.key ORDER BY e.key) FILTER (WHERE e.value = 'null') AS which FROM deals d, jsonb_each(to_jsonb(d)) e;
-- each change, activity, visit and closing of before is there, unchanged but for the visit that ended
WITH now AS (
	SELECT 'history' AS what, to_jsonb(h) AS is FROM deals_history h
	UNION ALL SELECT 'activity', to_jsonb(a) FROM deals_activity a
	UNION ALL SELECT 'visit', to_jsonb(v) - 'duration' FROM deals_visits v
	UNION ALL SELECT 'closing', to_jsonb(c) FROM deals_closings c
)
SELECT what, (SELECT count(*) FROM kept k WHERE k.what = n.what) AS before,
	(SELECT count(*) FROM kept k JOIN now x ON x.what = k.what AND x.is = k.was WHERE k.what = n.what) AS unchanged, count(*) AS now
FROM now n GROUP BY what ORDER BY 1;
-- one more change, of the kind transfer, and where it came from
SELECT h.version, change, p.name AS "from", q.name AS "to", s.name AS stage, t.name AS to_stage, reason FROM deals_history h
	JOIN pipelines.pipeline p USING (pipeline_id) JOIN pipelines.pipeline q ON q.pipeline_id = to_pipeline_id
	JOIN pipelines.stage s USING (stage_id) JOIN pipelines.stage t ON t.stage_id = to_stage_id
WHERE change = 'transfer';
-- R-2.15: the age goes on, the clock of the stage starts anew, the time in "the same stage" adds up
SELECT deal_id, pipeline_name, stage_name, episode, effective_probability, probability_source, effective_category, created_at, stage_entered_at FROM deals_current;
SELECT visit, episode, pipeline_name, stage_name, entered_at, exited_at, change FROM deals_visits ORDER BY visit;
SELECT stage_name, count(*) AS visits, count(DISTINCT pipeline_id) AS pipelines, sum(duration) FILTER (WHERE NOT running) AS before FROM deals_visits WHERE stage_name = 'Evaluation' GROUP BY 1;
-- it is in the right pipeline, and stalled no more
SELECT * FROM stuck;
-- what was before is still to be had
SELECT p.name AS pipeline, s.name AS stage, d.owner, d.channel, d.probability FROM (VALUES ('2020-01-02 20:00+00'), ('2020-02-15 00:00+00'), ('2020-03-02 00:00+00'), ('2020-03-06 00:00+00')) t(at),
	LATERAL pipelines.as_of(NULL::deals, at::timestamptz) d JOIN pipelines.pipeline p USING (pipeline_id) JOIN pipelines.stage s USING (stage_id) ORDER BY at;

--
-- It ends well, and both its endings are kept (R-2.24)
--
SELECT day('2020-03-06');
SELECT deal, ok, target FROM pipelines.move('deals', '1', 'Closed won', reason => 'signed', expect_stage => 'Evaluation');
SELECT episode, outcome, pipeline_name, from_pipeline_name, from_stage_name, furthest_stage_name, reason, notes, competitor, closed_at, reopened_at, probability_before FROM deals_closings ORDER BY closed_at;
SELECT problems();
\set ECHO none
\c :home
SET client_min_messages = warning;
DROP DATABASE regress_pipelines_story;
