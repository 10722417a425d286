-- outcome.sql: a stage gets another outcome with deals in it (R-2.34; R-2.25 to R-2.27).
-- In a database of its own.
\set ECHO none
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_pipelines_outcome;
CREATE DATABASE regress_pipelines_outcome TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\set home :DBNAME
\c regress_pipelines_outcome
\i test/data/checks.sql
\set ECHO all
CREATE ROLE regress_outcome_clerk;
SELECT pipelines.create_pipeline('Sales', stages => '[
	{"name": "New", "probability": 10}, {"name": "Quote", "probability": 40}, {"name": "Verbal", "probability": 80, "activities": ["call"]},
	{"name": "Signed", "outcome": "won"}, {"name": "Lost", "outcome": "lost"}, {"name": "Parked", "outcome": "on_hold", "probability": 5, "mandatory": false}]');
SELECT pipelines.create_pipeline('Renewal', stages => '["New", "Verbal", {"name": "Signed", "outcome": "won"}]');
SELECT pipelines.create_deals('deals', currency => 'EUR');
SELECT pipelines.create_deals('others', key => '{a,b}');
CREATE FUNCTION st(stage text) RETURNS integer LANGUAGE sql STABLE AS 'SELECT pipelines.stage_id(''Sales'', stage)';
INSERT INTO deals (deal_id, amount, stage_id, probability) VALUES (1, 10, st('Quote'), NULL), (2, 20, st('Quote'), 33), (3, 30, st('Signed'), NULL),
	(4, 40, st('Lost'), NULL), (5, 50, st('Parked'), NULL);
INSERT INTO deals (deal_id, amount, close_reason, close_notes, competitor, stage_id) VALUES (6, 60, 'price', 'too dear', 'Acme', st('Lost'));
INSERT INTO others (a, b, amount, stage_id) VALUES (1, 1, 100, st('Quote'));
UPDATE deals SET stage_id = st('Verbal') WHERE deal_id IN (1, 2);

-- what is refused
SELECT try($$SELECT pipelines.change_outcome('Sales', 'Verbal', 'won')$$);
SELECT try($$SELECT pipelines.change_outcome('Sales', 'Verbal', 'won', 'some')$$);
SELECT try($$SELECT pipelines.change_outcome('Sales', 'Verbal', 'gone', 'all')$$);
SELECT try($$SELECT pipelines.change_outcome('Sales', 'Verbal', 'open', 'all')$$);
SELECT try($$SELECT pipelines.change_outcome('Sales', 'Verbal', 'won', 'all', probability => 90)$$);
SELECT try($$SELECT pipelines.change_outcome('Sales', 'Verbal', 'won', 'all', name => 'Yes')$$);
SELECT try($$SELECT pipelines.change_outcome('Sales', 'Verbal', NULL, 'all')$$);
SELECT try($$SELECT pipelines.change_outcome('Sales', 'Oral', 'won', 'all')$$);
SELECT try($$SELECT pipelines.change_outcome('Sales', 'Lost', 'open', 'all')$$);
SELECT try($$SELECT pipelines._redefine_outcome(1, NULL, 'won', NULL, NULL)$$);
SELECT try($$SELECT pipelines._redefine_outcome(1, 77, 'won', NULL, NULL)$$);
SELECT count(*) FROM deals_history;

-- all: open to won; rules of the pipeline do not stand in the way, the stage is the same
UPDATE pipelines.pipeline SET mode = 'strict', close_requires = '{lost_reason,won_amount}' WHERE name = 'Sales';
UPDATE pipelines.pipeline_stage SET entry_rule = 'account' WHERE pipeline_id = 1 AND stage_id = st('Verbal');
SET pipelines.reason = 'a word is a word';
SELECT * FROM pipelines.change_outcome('Sales', 'Verbal', 'won', apply_to => 'all');
RESET pipelines.reason;
SELECT deal_id, version, stage_name, outcome, effective_probability, weighted, closed_at = changed_at AND stage_entered_at = changed_at AS at_once, closed_on IS NOT NULL AS on_day FROM deals_current WHERE deal_id <= 2 ORDER BY 1;
SELECT deal_id, change, stage_id = to_stage_id AS stayed, skipped_stages, reason, bypassed FROM deals_history WHERE change = 'close' ORDER BY 1;
-- the definition and the deals changed at one instant
SELECT DISTINCT d.changed_at = p.changed_at AS same FROM deals d JOIN pipelines.pipeline_stage p USING (pipeline_id, stage_id) WHERE d.stage_id = st('Verbal');
SELECT deal_id, outcome, reason, amount, probability_before, category_before, from_stage_name, stage_name, superseded_at, reopened_at FROM deals_closings WHERE deal_id <= 2 ORDER BY 1;
SELECT deal_id, visit, episode, stage_name, running, change FROM deals_visits WHERE deal_id <= 2 ORDER BY 1, 2;
SELECT problems();

-- won to lost: closed differently, R-2.26; lost to open: reopened, R-2.27
SELECT * FROM pipelines.change_outcome('Sales', 'Verbal', 'lost', apply_to => 'all');
SELECT * FROM pipelines.change_outcome('Sales', 'Lost', 'open', apply_to => 'all', probability => 15);
SELECT deal_id, episode, outcome, closed_at, closed_on, close_reason, close_notes, competitor, furthest_stage_id = stage_id AS furthest, stage_entered_at = changed_at AS anew FROM deals_current WHERE deal_id IN (4, 6) ORDER BY 1;
SELECT deal_id, outcome, reason, competitor, superseded_at IS NOT NULL AS superseded, reopened_at IS NOT NULL AS reopened, probability_before, from_stage_name FROM deals_closings ORDER BY deal_id, closed_at;
SELECT deal_id, visit, episode, stage_name, running, change FROM deals_visits WHERE deal_id IN (1, 6) ORDER BY 1, 2;
SELECT problems();
-- what a stage was is told by its past
SELECT outcome, probability, forecast_category FROM pipelines.pipeline_stage_history WHERE pipeline_id = 1 AND stage_id = st('Verbal') AND outcome <> 'lost' ORDER BY version DESC LIMIT 2;

-- on hold and open differ by their stage only
SELECT version FROM deals WHERE deal_id = 5 \gset
SELECT * FROM pipelines.change_outcome('Sales', 'Parked', 'open', apply_to => 'all');
SELECT version = :version AS same, outcome, effective_probability, effective_category FROM deals_current WHERE deal_id = 5;
SELECT * FROM pipelines.change_outcome('Sales', 'Parked', 'on_hold', apply_to => 'all', forecast_category => 'best_case');
SELECT version = :version AS same, outcome, effective_category FROM deals_current WHERE deal_id = 5;
-- a stage without deals
SELECT * FROM pipelines.change_outcome('Sales', 'New', 'done');
SELECT * FROM pipelines.change_outcome('Sales', 'New', 'open', apply_to => 'all', probability => 10);

-- one transaction: a deal that was made, moved and edited in it, and edited after it
BEGIN;
INSERT INTO deals (deal_id, amount, stage_id) VALUES (20, 20, st('New'));
UPDATE deals SET stage_id = st('Quote'), account = 'A' WHERE deal_id = 20;
UPDATE deals SET amount = 21 WHERE deal_id = 20;
SELECT * FROM pipelines.change_outcome('Sales', 'Quote', 'won', apply_to => 'all');
UPDATE deals SET owner = 'ann' WHERE deal_id = 20;
SELECT outcome, probability_before, amount FROM deals_closings WHERE deal_id = 20;
SELECT deal FROM pipelines.verify('deals');
ROLLBACK;
SELECT outcome FROM pipelines.pipeline_stage WHERE pipeline_id = 1 AND stage_id = st('Quote');

-- deals that are not the caller's to change: nothing happens at all
SELECT pipelines.grant_access('deals', 'regress_outcome_clerk', 'define');
ALTER TABLE deals ENABLE ROW LEVEL SECURITY;
CREATE POLICY few ON deals TO regress_outcome_clerk USING (deal_id = 6);
SET ROLE regress_outcome_clerk;
SELECT try($$SELECT pipelines.change_outcome('Sales', 'Lost', 'lost', 'all')$$);
SELECT try($$SELECT pipelines.change_outcome('Sales', 'Quote', 'won', 'all')$$);
RESET ROLE;
ALTER TABLE deals DISABLE ROW LEVEL SECURITY;
CREATE ROLE regress_outcome_stranger;
SET ROLE regress_outcome_stranger;
SELECT try($$SELECT pipelines.change_outcome('Sales', 'Lost', 'lost', 'all')$$);
SELECT try($$SELECT pipelines.change_outcome('Sales', 'Lost', 'lost', 'new')$$);
SELECT try($$SELECT pipelines._redefine_outcome(1, 1, 'lost', NULL, NULL)$$);
RESET ROLE;
SELECT outcome, count(*) FROM deals_current WHERE stage_name = 'Lost' GROUP BY 1;
-- and deals that the transaction does not see yet can't be left behind
CREATE FUNCTION hide() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN CASE WHEN new.deal_id <> 6 THEN new END; END$$;
CREATE TRIGGER hide BEFORE UPDATE ON deals FOR EACH ROW EXECUTE FUNCTION hide();
SELECT try($$SELECT pipelines.change_outcome('Sales', 'Lost', 'lost', 'all')$$);
DROP TRIGGER hide ON deals;

-- triggers that fire after ours; a path that they count on; partitions
CREATE SCHEMA app;
CREATE TABLE app.seen (deal_id bigint, closed boolean);
CREATE FUNCTION app.see() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO seen VALUES (new.deal_id, new.closed_at IS NOT NULL); RETURN new; END$$;
CREATE TRIGGER "§zz" BEFORE UPDATE ON deals FOR EACH ROW EXECUTE FUNCTION app.see();
SET search_path = public, app;
SELECT * FROM pipelines.change_outcome('Sales', 'Lost', 'disqualified', apply_to => 'all');
SELECT * FROM app.seen ORDER BY 1;
DROP TRIGGER "§zz" ON deals;
RESET search_path;
SELECT problems();
SELECT pipelines.create_deals('parted', partition_by => 'HASH (deal_id)');
CREATE TABLE parted_0 PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 1);
SELECT count(*) > 0 AS resumed FROM pipelines.resume('parted');
INSERT INTO parted (deal_id, stage_id) SELECT i, st('Parked') FROM generate_series(1, 5) i;
SELECT * FROM pipelines.change_outcome('Sales', 'Parked', 'lost', apply_to => 'all');
SELECT change, count(*) FROM parted_history GROUP BY 1;
SELECT problems('parted');
SELECT * FROM pipelines.change_outcome('Sales', 'Parked', 'on_hold', apply_to => 'all', probability => 5);

-- new: deals stay what they are, another stage takes the place of theirs
UPDATE pipelines.pipeline SET mode = 'graph', close_requires = '{}' WHERE name = 'Sales';
UPDATE pipelines.pipeline_stage SET entry_rule = NULL, exit_rule = 'amount > 0', stall_limit = '3 days', colour = 'red' WHERE pipeline_id = 1 AND stage_id = st('Quote');
INSERT INTO pipelines.stage_activity (pipeline_id, stage_id, kind) VALUES (1, st('Quote'), 'visit');
INSERT INTO pipelines.stage_transition (pipeline_id, from_stage_id, to_stage_id) VALUES (1, st('New'), st('Quote')), (1, st('Quote'), st('Signed'));
INSERT INTO deals (deal_id, amount, stage_id) VALUES (30, 30, st('Quote'));
INSERT INTO pipelines.approval (pipeline_id, from_stage_id, to_stage_id, role) VALUES (1, NULL, st('Quote'), 'regress_outcome_clerk'), (1, st('Quote'), st('Signed'), 'regress_outcome_clerk');
INSERT INTO pipelines.stage_map (from_pipeline_id, from_stage_id, to_pipeline_id, to_stage_id) SELECT 2, pipelines.stage_id('Renewal', 'Verbal'), 1, st('Quote');
SELECT version FROM deals WHERE deal_id = 30 \gset
SELECT try($$SELECT pipelines.change_outcome('Sales', 'Quote', 'on_hold', 'new', name => 'Lost')$$);
SELECT * FROM pipelines.change_outcome('Sales', 'Quote', 'on_hold', apply_to => 'new', probability => 20);
SELECT s.name, p."position", p.outcome, p.probability, p.forecast_category, p.exit_rule, p.stall_limit, p.colour, p.archived_at IS NOT NULL AS archived
FROM pipelines.pipeline_stage p JOIN pipelines.stage s USING (stage_id) WHERE p.pipeline_id = 1 ORDER BY 2, 1;
SELECT s.name, a.kind FROM pipelines.stage_activity a JOIN pipelines.stage s USING (stage_id) ORDER BY 1, 2;
SELECT a.name, b.name FROM pipelines.stage_transition t JOIN pipelines.stage a ON a.stage_id = t.from_stage_id JOIN pipelines.stage b ON b.stage_id = t.to_stage_id ORDER BY 1, 2;
SELECT a.name, b.name FROM pipelines.approval t LEFT JOIN pipelines.stage a ON a.stage_id = t.from_stage_id LEFT JOIN pipelines.stage b ON b.stage_id = t.to_stage_id ORDER BY 1, 2;
SELECT a.name, b.name FROM pipelines.stage_map t JOIN pipelines.stage a ON a.stage_id = t.from_stage_id JOIN pipelines.stage b ON b.stage_id = t.to_stage_id ORDER BY 1, 2;
SELECT version = :version AS same, stage_name, outcome FROM deals_current WHERE deal_id = 30;
SELECT try('UPDATE deals SET stage_id = st(''Quote'') WHERE deal_id = 5') ~ '^23S02' AS archived;
SELECT try($$SELECT pipelines.change_outcome('Sales', 'Quote', 'won', 'new')$$);
-- an archived stage: those in it may still be closed all at once
SELECT * FROM pipelines.change_outcome('Sales', 'Quote', 'lost', apply_to => 'all');
SELECT stage_name, outcome, closed_at IS NOT NULL AS closed FROM deals_current WHERE deal_id = 30;
SELECT problems();

-- an adopted table writes its stages as before
CREATE TABLE orders (id bigint PRIMARY KEY, state text NOT NULL);
INSERT INTO orders VALUES (1, 'New'), (2, 'Checked'), (3, 'Won');
SELECT count(*) > 0 AS adopted FROM pipelines.adopt('orders', stage => 'state', layout => 'orders', apply => true);
SELECT p.name AS orders FROM pipelines.pipeline p JOIN pipelines.layout l USING (layout_id) WHERE l.name = 'orders' \gset
SELECT * FROM pipelines.change_outcome(:'orders', 'Checked', 'won', apply_to => 'new', name => 'Checked and done');
INSERT INTO orders VALUES (4, 'Checked');
UPDATE orders SET state = 'New' WHERE id = 2;
UPDATE orders SET state = 'Checked' WHERE id = 2;
SELECT id, state, stage_name, outcome FROM orders_current ORDER BY 1;
SELECT * FROM pipelines.change_outcome(:'orders', 'New', 'lost', apply_to => 'all');
SELECT id, state, stage_name, outcome, closed_at IS NOT NULL AS closed FROM orders_current ORDER BY 1;
SELECT * FROM pipelines.verify('orders');

-- a protected pipeline: without to_* the visits are the same
CREATE TEMPORARY TABLE visits AS SELECT deal_id, visit, stage_name, running, change FROM deals_visits;
SELECT pipelines.grant_pipeline('Sales', 'regress_outcome_clerk', 'see');
SELECT count(*) > 0 AS protected FROM pipelines.protect_pipeline('Sales');
-- before PostgreSQL 15 the view remains, and shows no row to whom row security concerns
SELECT (pg_get_viewdef('deals_visits'::regclass) ~ 'to_stage_id') = (current_setting('server_version_num')::integer < 150000) AS without_to;
SELECT * FROM (SELECT deal_id, visit, stage_name, running, change FROM deals_visits EXCEPT ALL SELECT * FROM visits) a;
SELECT * FROM (SELECT * FROM visits EXCEPT ALL SELECT deal_id, visit, stage_name, running, change FROM deals_visits) b;
\set ECHO none
\c :home
SET client_min_messages = warning;
DROP DATABASE regress_pipelines_outcome;
DROP ROLE regress_outcome_clerk, regress_outcome_stranger;
