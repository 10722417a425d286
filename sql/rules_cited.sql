-- rules_cited.sql: rules of SEMANTICS that other tests only touch, each with what must
-- hold: R-2.6, R-2.8, R-2.11 to R-2.13, R-2.18, R-2.30, R-2.31, R-2.33, R-2.34, R-2.36,
-- R-2.38; R-2.2 for moves of every kind.  In a database of its own.
\set ECHO none
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_pipelines_rules_cited;
CREATE DATABASE regress_pipelines_rules_cited TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\set home :DBNAME
\c regress_pipelines_rules_cited
\i test/data/checks.sql
\set ECHO all
SELECT pipelines.create_pipeline('Sales', stages => '[
	{"name": "New", "probability": 10}, {"name": "Quote", "probability": 40}, {"name": "Demo", "probability": 60}, {"name": "Contract", "probability": 80},
	{"name": "Won", "outcome": "won"}, {"name": "Lost", "outcome": "lost"}, {"name": "Parked", "outcome": "on_hold", "probability": 5, "mandatory": false}]');
SELECT pipelines.create_pipeline('Renewal', stages => '["New", {"name": "Quote", "probability": 45}, {"name": "Won", "outcome": "won"}]');
SELECT pipelines.create_deals('deals', currency => 'EUR');
CREATE FUNCTION st(stage text, pipeline text DEFAULT 'Sales') RETURNS integer LANGUAGE sql STABLE AS
	'SELECT pipelines.stage_id(pipeline, stage)';
CREATE FUNCTION day(d date) RETURNS void LANGUAGE sql AS $$SELECT set_config('pipelines.event_time', d || ' 09:00+00', false)$$;
CREATE FUNCTION go(deal bigint, stage text) RETURNS text LANGUAGE sql AS
	$$SELECT regexp_replace(try(format('UPDATE deals SET stage_id = %s WHERE deal_id = %s', st(stage), deal)), '^(.....): .*', '\1')$$;

--
-- R-2.6: to and fro in one transaction: three changes, and stays of no length, flagged
--
INSERT INTO deals (deal_id) VALUES (1);
BEGIN;
UPDATE deals SET stage_id = st('Quote') WHERE deal_id = 1;
UPDATE deals SET stage_id = st('New') WHERE deal_id = 1;
UPDATE deals SET stage_id = st('Quote') WHERE deal_id = 1;
COMMIT;
SELECT count(*) AS changes FROM deals_history WHERE deal_id = 1;
SELECT visit, stage_name, transient, running FROM deals_visits WHERE deal_id = 1 ORDER BY visit;

--
-- R-2.8: what each mode says of the same three moves (New to Demo; Demo back to New; New to Demo,
-- where the deal has been before), and of losing.  graph lists only New to Demo and Demo to Lost.
--
INSERT INTO pipelines.stage_transition VALUES (1, st('New'), st('Demo')), (1, st('Demo'), st('Lost'));
INSERT INTO deals (deal_id) SELECT generate_series(10, 13);
CREATE PROCEDURE in_mode(mode text, deal bigint) LANGUAGE plpgsql AS $$
BEGIN
	UPDATE pipelines.pipeline SET mode = in_mode.mode WHERE pipeline_id = 1;
	INSERT INTO said VALUES (in_mode.mode, go(deal, 'Demo'), go(deal, 'New'), go(deal, 'Demo'), go(deal, 'Lost'));
END
$$;
CREATE TABLE said (mode text, "to Demo" text, "back to New" text, "to Demo again" text, "lost" text);
CALL in_mode('free', 10);
CALL in_mode('warn', 11);
CALL in_mode('strict', 12);
CALL in_mode('graph', 13);
TABLE said;
UPDATE pipelines.pipeline SET mode = 'free' WHERE pipeline_id = 1;

--
-- R-2.2, R-2.3, R-2.27: is an override still there after a move forward, one back, a push-back,
-- no move at all, and a reopening?
--
ALTER TABLE deals ALTER deal_id RESTART WITH 1000;
CREATE FUNCTION keeps(policy text, start text, statement text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	id bigint;
BEGIN
	UPDATE pipelines.pipeline SET override_policy = policy WHERE pipeline_id = 1;
	INSERT INTO deals (name) VALUES ('policy') RETURNING deal_id INTO id;
	UPDATE deals SET stage_id = st(start) WHERE deal_id = id AND start <> 'New';
	UPDATE deals SET probability = 77, forecast_category = 'commit' WHERE deal_id = id;
	EXECUTE statement USING id;
	RETURN (SELECT CASE num_nulls(d.probability, d.forecast_category) WHEN 0 THEN true WHEN 2 THEN false END FROM deals d WHERE deal_id = id);
END
$$;
SELECT p.policy, keeps(policy, 'New', 'UPDATE deals SET stage_id = st(''Quote'') WHERE deal_id = $1') AS forward,
	keeps(policy, 'Demo', 'UPDATE deals SET stage_id = st(''Quote'') WHERE deal_id = $1') AS back,
	keeps(policy, 'Demo', 'SELECT pipelines.push_back(''deals'', $1::text, ''why'')') AS pushed_back,
	keeps(policy, 'Demo', 'UPDATE deals SET stage_id = stage_id, amount = 7 WHERE deal_id = $1') AS no_move,
	keeps(policy, 'Won', 'UPDATE deals SET stage_id = st(''Demo'') WHERE deal_id = $1') AS reopened
FROM unnest('{keep,clear_on_forward,clear_on_move}'::text[]) p(policy);
UPDATE pipelines.pipeline SET override_policy = 'keep' WHERE pipeline_id = 1;

--
-- R-2.11: what opens the gate, and what does not; how far forward moves go while it is set.
-- Each deal jumped to Contract and was pushed back to Quote; then it tries to go on.
--
CREATE FUNCTION gated(id bigint, VARIADIC stages text[]) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO deals (deal_id) VALUES (id);
	UPDATE deals SET stage_id = st('Contract') WHERE deal_id = id;
	PERFORM pipelines.push_back('deals', id::text, 'why');
	FOR i IN 1 .. cardinality(stages) LOOP
		IF stages[i] = 'Renewal' THEN
			UPDATE deals SET pipeline_id = 2 WHERE deal_id = id;
			stages[i] := stages[i] || ' ok';
		ELSE
			stages[i] := stages[i] || replace(' ' || go(id, stages[i]), ' rows: 1', ' ok');
		END IF;
	END LOOP;
	RETURN array_to_string(stages, ', ') || coalesce('; gate at ' || (SELECT name FROM pipelines.stage s WHERE s.stage_id = (SELECT gate_stage_id FROM deals WHERE deal_id = id)), '; no gate');
END
$$;
SELECT gated(20, 'Contract', 'Won', 'Demo', 'Contract');
SELECT gated(21, 'New', 'Demo', 'Quote', 'Demo');
SELECT gated(22, 'Parked', 'Quote', 'Demo');
-- a pause is no way around
SELECT gated(31, 'Parked', 'Contract', 'Won', 'Demo', 'Parked', 'Contract');
-- R-2.10: nor one to be pushed back forward; a deal on hold stands where it was before, and so does the gate
INSERT INTO deals (deal_id) SELECT generate_series(32, 34);
INSERT INTO deals (deal_id, stage_id) VALUES (36, st('Parked'));
SELECT go(32, 'Parked'), go(33, 'Contract'), go(33, 'Parked'), go(34, 'Contract'), go(34, 'Demo'), go(34, 'Parked');
SELECT try($$SELECT pipelines.push_back('deals', '32', 'x', 'Contract')$$);
SELECT try($$SELECT pipelines.push_back('deals', '34', 'x', 'Demo')$$);
SELECT try($$SELECT pipelines.push_back('deals', '36', 'x', 'New')$$);
SELECT deal, ok, target FROM pipelines.push_back('deals', '33', 'x', 'Quote');
SELECT deal, ok, target FROM pipelines.push_back('deals', '34', 'x', 'Quote');
SELECT deal_id, s.name AS gate FROM deals JOIN pipelines.stage s ON s.stage_id = gate_stage_id WHERE deal_id IN (33, 34) ORDER BY 1;
SELECT go(34, 'Contract'), go(34, 'Demo'), go(33, 'Contract'), go(33, 'Demo'), go(33, 'Contract');
SELECT deal_id, s.name AS gate FROM deals LEFT JOIN pipelines.stage s ON s.stage_id = gate_stage_id WHERE deal_id BETWEEN 32 AND 34 ORDER BY 1;
DELETE FROM deals WHERE deal_id IN (32, 33, 34, 36);
SELECT gated(23, 'Lost');
SELECT gated(24, 'Lost', 'Contract');
SELECT gated(25, 'Renewal');
SELECT gated(26, 'Won', 'Demo', 'Won', 'Contract', 'Won');
-- other changes leave it as it is, and nobody but a push-back sets it
UPDATE deals SET amount = 5, owner = 'eve', gate_stage_id = NULL WHERE deal_id = 21;
UPDATE deals SET gate_stage_id = st('Contract') WHERE deal_id = 20;
SELECT deal_id, s.name AS gate FROM deals d LEFT JOIN pipelines.stage s ON s.stage_id = gate_stage_id WHERE deal_id IN (20, 21) ORDER BY 1;
-- pushed back again before it was where it had been: the gate stays there
SELECT gated(27, 'Demo');
SELECT deal, ok, target FROM pipelines.push_back('deals', '27', 'again', 'New');
SELECT s.name AS gate FROM pipelines.stage s JOIN deals d ON d.gate_stage_id = s.stage_id WHERE deal_id = 27;
-- in every mode, a stage's activities and its exit rule are asked (free is the mode here)
INSERT INTO pipelines.stage_activity (pipeline_id, stage_id, kind) VALUES (1, st('Demo'), 'demo');
UPDATE pipelines.pipeline_stage SET exit_rule = 'amount' WHERE pipeline_id = 1 AND stage_id = st('Quote');
SELECT gated(28, 'Demo', 'New', 'Lost'), gated(29, 'Demo');
UPDATE deals SET amount = 5 WHERE deal_id = 29;
SELECT go(29, 'Demo'), go(29, 'Contract');
SELECT go(29, 'Parked'), go(29, 'Contract'), go(29, 'Won'), go(29, 'Demo');
INSERT INTO deals_activity (deal_id, kind, done_at) VALUES (29, 'demo', clock_timestamp());
SELECT go(29, 'Contract');
SELECT gate_stage_id FROM deals WHERE deal_id = 29;
DELETE FROM pipelines.stage_activity;
UPDATE pipelines.pipeline_stage SET exit_rule = NULL;

-- R-2.12: the forecast drops at once
INSERT INTO deals (deal_id, amount) VALUES (30, 1000);
SELECT go(30, 'Contract');
SELECT trim_scale(weighted) AS before FROM deals_current WHERE deal_id = 30;
SELECT deal, ok, target, trim_scale(weighted_change) AS weighted_change FROM pipelines.push_back('deals', '30', 'why');
SELECT trim_scale(weighted) AS after, trim_scale(amount) AS amount FROM deals_current WHERE deal_id = 30;

--
-- R-2.13: back: a new visit with a number of its own, beside the earlier ones; the furthest stage is the same
--
INSERT INTO deals (deal_id) VALUES (35);
SELECT go(35, 'Quote'), go(35, 'Demo'), go(35, 'Quote'), go(35, 'Demo'), go(35, 'New');
SELECT visit, stage_name, episode, change FROM deals_visits WHERE deal_id = 35 ORDER BY 1;
SELECT count(*) AS regressions FROM deals_history h JOIN pipelines.pipeline_stage a USING (pipeline_id, stage_id)
	JOIN pipelines.pipeline_stage b ON b.pipeline_id = h.to_pipeline_id AND b.stage_id = h.to_stage_id WHERE deal_id = 35 AND b.position < a.position;
SELECT episode, furthest_stage_id = st('Demo') AS furthest FROM deals WHERE deal_id = 35;

--
-- R-2.18: money belongs to the pipeline of that instant, and what leaves one arrives in the other
--
DELETE FROM deals;
SELECT day('2020-01-01');
INSERT INTO deals (deal_id, amount, pipeline_id) VALUES (40, 100, 1), (41, 20, 1), (42, 3, 2);
SELECT day('2020-02-01');
UPDATE deals SET pipeline_id = 2 WHERE deal_id = 40;
SELECT day('2020-03-01');
UPDATE deals SET amount = 50 WHERE deal_id = 40;
UPDATE deals SET pipeline_id = 1 WHERE deal_id = 42;
SELECT at, sum(amount) FILTER (WHERE pipeline_id = 1) AS sales, sum(amount) FILTER (WHERE pipeline_id = 2) AS renewal, sum(amount) AS both
FROM (VALUES ('2020-01-15'::timestamptz), ('2020-02-15'), ('2020-03-15')) t(at), LATERAL pipelines.as_of(NULL::deals, at) d GROUP BY 1 ORDER BY 1;
SELECT leg, valid_to, p.name AS pipeline, amount FROM deals_history h, LATERAL (VALUES ('out', pipeline_id, amount), ('in', to_pipeline_id, amount)) l(leg, id, moved)
	JOIN pipelines.pipeline p ON p.pipeline_id = l.id WHERE change = 'transfer' AND deal_id >= 40 ORDER BY valid_to, leg DESC;

--
-- R-2.30: amounts and dates: a change, no visit; how often, and by how much, the day was pushed can be told
--
DELETE FROM deals;
SELECT day('2020-01-01');
INSERT INTO deals (deal_id, amount, quantity, cost, expected_close_on) VALUES (50, 100, 1, 50, '2020-03-31');
SELECT day('2020-01-02');
UPDATE deals SET amount = 90 WHERE deal_id = 50;
UPDATE deals SET currency = 'USD' WHERE deal_id = 50;
UPDATE deals SET quantity = 2, cost = 60 WHERE deal_id = 50;
UPDATE deals SET expected_close_on = '2020-04-10' WHERE deal_id = 50;
UPDATE deals SET expected_close_on = '2020-04-30' WHERE deal_id = 50;
UPDATE deals SET expected_close_on = '2020-04-20' WHERE deal_id = 50;
UPDATE deals SET expected_close_on = NULL WHERE deal_id = 50;
SELECT version, change, amount, currency, quantity, cost, expected_close_on FROM deals_history WHERE deal_id = 50 ORDER BY 1;
SELECT visit, running, entered_at FROM deals_visits WHERE deal_id = 50;
WITH v AS (SELECT version, expected_close_on FROM deals_history WHERE deal_id = 50 UNION ALL SELECT version, expected_close_on FROM deals WHERE deal_id = 50),
	w AS (SELECT expected_close_on - lag(expected_close_on) OVER (ORDER BY version) AS days FROM v)
SELECT count(*) FILTER (WHERE days > 0) AS pushed, sum(days) FILTER (WHERE days > 0) AS days, count(*) FILTER (WHERE days < 0) AS pulled FROM w;

--
-- R-2.31: a new owner or team is a change, and no clock is touched; who owned it then can be told
--
SELECT day('2020-01-05');
UPDATE deals SET owner = 'ann', team = 'north' WHERE deal_id = 50;
SELECT day('2020-01-07');
UPDATE deals SET owner = 'bob' WHERE deal_id = 50;
SELECT stage_entered_at, changed_at, version FROM deals WHERE deal_id = 50;
SELECT at, owner, team FROM (VALUES ('2020-01-03'::timestamptz), ('2020-01-06'), ('2020-01-08')) t(at), LATERAL pipelines.as_of(NULL::deals, at) d WHERE d.deal_id = 50 ORDER BY 1;
RESET pipelines.event_time;

--
-- R-2.33: definitions have a past: what an instant found in force
--
SELECT max(version) AS first FROM pipelines.pipeline_stage WHERE pipeline_id = 1 AND stage_id = st('Quote') \gset
UPDATE pipelines.pipeline_stage SET probability = 41, stall_limit = '3 days' WHERE pipeline_id = 1 AND stage_id = st('Quote');
UPDATE pipelines.pipeline_stage SET probability = 42 WHERE pipeline_id = 1 AND stage_id = st('Quote');
UPDATE pipelines.pipeline SET mode = 'strict' WHERE pipeline_id = 1;
SELECT version - :first AS since, probability, stall_limit, valid_from < valid_to AS lasted FROM pipelines.pipeline_stage_history WHERE pipeline_id = 1 AND stage_id = st('Quote') AND version >= :first
UNION ALL SELECT version - :first, probability, stall_limit, NULL FROM pipelines.pipeline_stage WHERE pipeline_id = 1 AND stage_id = st('Quote') ORDER BY 1;
SELECT mode FROM pipelines.pipeline_history WHERE pipeline_id = 1 ORDER BY version DESC LIMIT 1;
UPDATE pipelines.pipeline SET mode = 'free' WHERE pipeline_id = 1;
-- reports of the past by the probabilities of then (40), or by those of today (42)
SELECT day('2020-01-09');
INSERT INTO deals (deal_id, amount, currency, stage_id, expected_close_on) VALUES (59, 1000, 'CHF', st('Quote'), '2020-02-10');
RESET pipelines.event_time;
SELECT d.definitions,
	(SELECT weighted FROM pipelines.trend('deals', 1, as_of => '2020-01-20', definitions => d.definitions) WHERE currency = 'CHF') AS trend,
	(SELECT weighted FROM pipelines.board('deals', as_of => '2020-01-20', definitions => d.definitions) WHERE currency = 'CHF' AND column_name = 'Quote') AS board,
	(SELECT k ->> 'effective_probability' FROM pipelines.board('deals', as_of => '2020-01-20', definitions => d.definitions), jsonb_array_elements(card_list) k WHERE k ->> 'deal' = '59') AS card,
	(SELECT sum(value) FROM pipelines.bridge('deals', '2020-01-10', '2020-01-20', weighted => true, definitions => d.definitions) WHERE currency = 'CHF' AND leg = 'end') AS bridge,
	(SELECT string_agg(leg || ' ' || value, ', ' ORDER BY n) FROM pipelines.bridge('deals', '2020-01-10', weighted => true, definitions => d.definitions) WHERE currency = 'CHF' AND value <> 0) AS to_today,
	(SELECT count(*) FROM pipelines.changes('deals', '2020-01-10', weighted => true, definitions => d.definitions) WHERE deal = '59') AS changes,
	(SELECT sum(weighted) FROM pipelines.forecast_report('deals', as_of => '2020-01-20', definitions => d.definitions) WHERE currency = 'CHF') AS forecast,
	(SELECT sum(weighted) FROM pipelines.forecast_deals('deals', as_of => '2020-01-20', definitions => d.definitions) WHERE currency = 'CHF') AS behind,
	(SELECT sum(weighted) FROM pipelines.quota_report('deals', "by" => '{}', forecast_period => 'year', as_of => '2020-01-20', definitions => d.definitions) WHERE currency = 'CHF') AS quota
FROM unnest('{then,current}'::text[]) d(definitions);
\set VERBOSITY terse
SELECT * FROM pipelines.trend('deals', definitions => 'now');
SELECT * FROM pipelines.board('deals', definitions => NULL);
SELECT * FROM pipelines.bridge('deals', definitions => 'today');
SELECT * FROM pipelines.changes('deals', definitions => NULL);
SELECT * FROM pipelines.forecast_report('deals', definitions => '');
\set VERBOSITY default
DELETE FROM deals WHERE deal_id = 59;

--
-- R-2.34: name, colour, order: no deal changes; an outcome in use becomes no other one unless it is said what becomes of the deals (outcome.sql)
--
SELECT sum(version) AS versions, (SELECT count(*) FROM deals_history) AS rows FROM deals \gset
UPDATE pipelines.stage SET name = 'Offer' WHERE name = 'Quote';
UPDATE pipelines.pipeline_stage SET colour = 'red' WHERE pipeline_id = 1;
UPDATE pipelines.pipeline_stage SET position = position + 100 WHERE pipeline_id = 1 AND stage_id IN (st('Offer'), st('Demo'));
SELECT sum(version) - :versions AS versions, (SELECT count(*) FROM deals_history) - :rows AS rows FROM deals;
SELECT try('UPDATE pipelines.pipeline_stage SET outcome = ''won'', probability = 100 WHERE pipeline_id = 1 AND stage_id = st(''New'')');
UPDATE pipelines.pipeline_stage SET position = position - 100 WHERE pipeline_id = 1 AND stage_id IN (st('Offer'), st('Demo'));
UPDATE pipelines.stage SET name = 'Quote' WHERE name = 'Offer';

--
-- R-2.36: a deal that is deleted keeps its past; with its key it comes back, and the past goes on
--
SELECT day('2020-02-01');
DELETE FROM deals WHERE deal_id = 50;
SELECT day('2020-03-01');
INSERT INTO deals (deal_id, amount) VALUES (50, 5);
SELECT version, change, to_stage_id, valid_to FROM deals_history WHERE deal_id = 50 ORDER BY 1 DESC LIMIT 1;
SELECT version, episode, changed_at FROM deals WHERE deal_id = 50;
SELECT at, d.amount FROM (VALUES ('2020-01-31'::timestamptz), ('2020-02-15'), ('2020-03-02')) t(at) LEFT JOIN LATERAL pipelines.as_of(NULL::deals, at) d ON d.deal_id = 50 ORDER BY 1;
RESET pipelines.event_time;

--
-- R-2.38: when it was true and when it was learned are two instants; a date of the past may be given
-- by import_history() and by members of the owner who write in order, and by nobody else
--
CREATE TABLE events (deal_id bigint, at timestamptz, stage text, amount numeric);
INSERT INTO events VALUES (60, '2019-01-01', 'New', 1), (60, '2019-02-01', 'Quote', 2), (60, '2019-03-01', 'Demo', 3);
SELECT * FROM pipelines.import_history('deals', 'events');
SELECT version, change, valid_from, valid_to, recorded_at > '2020-01-01' AS learned_later, imported FROM deals_history WHERE deal_id = 60 ORDER BY 1;
SET pipelines.event_time = '2019-02-15';
SELECT try('UPDATE deals SET amount = 9 WHERE deal_id = 60');
SET pipelines.event_time = '2100-01-01';
SELECT try('UPDATE deals SET amount = 9 WHERE deal_id = 60');
RESET pipelines.event_time;
-- nothing is put before its creation
INSERT INTO events VALUES (60, '2018-12-31', 'New', 1);
SELECT regexp_replace(try('SELECT * FROM pipelines.import_history(''deals'', ''events'')'), ' \| .*', '');
CREATE ROLE regress_rules_cited_clerk;
SELECT pipelines.grant_access('deals', 'regress_rules_cited_clerk', 'write');
GRANT EXECUTE ON FUNCTION try, said TO PUBLIC;
SET ROLE regress_rules_cited_clerk;
SET pipelines.event_time = '2020-06-01';
SELECT regexp_replace(try('UPDATE deals SET amount = 9 WHERE deal_id = 60'), ' \| .*', '');
RESET pipelines.event_time;
RESET ROLE;
SELECT problems();
\set ECHO none
\c :home
SET client_min_messages = warning;
DROP DATABASE regress_pipelines_rules_cited;
DROP ROLE regress_rules_cited_clerk;
