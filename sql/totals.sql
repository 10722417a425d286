-- totals.sql: totals of pipelines that one sees, and of those that one does not (R-12.1,
-- R-12.2).  In a database of its own.
\set ECHO none
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_pipelines_totals;
CREATE DATABASE regress_pipelines_totals TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\set home :DBNAME
\c regress_pipelines_totals
\i test/data/checks.sql
\set ECHO all
CREATE ROLE regress_totals_seller;
CREATE ROLE regress_totals_board;
CREATE ROLE regress_totals_stranger;
SELECT pipelines.create_pipeline('Sales', stages => '[{"name": "New", "probability": 10}, {"name": "Quote", "probability": 33.33}, {"name": "Won", "outcome": "won"}, {"name": "Lost", "outcome": "lost"}]');
SELECT pipelines.create_pipeline('Takeovers', stages => '[{"name": "Idea", "probability": 10}, {"name": "Talks", "probability": 50}, {"name": "Won", "outcome": "won"}]');
SELECT pipelines.create_deals('deals', currency => 'EUR');
INSERT INTO deals (deal_id, amount, probability, currency) VALUES (1, 100, NULL, NULL), (2, 10.01, 25, NULL), (3, NULL, NULL, NULL), (4, 7, NULL, 'USD');
UPDATE deals SET stage_id = pipelines.stage_id('Sales', 'Won') WHERE deal_id = 1;
INSERT INTO deals (deal_id, pipeline_id, amount) SELECT i, 2, i FROM generate_series(11, 15) i;
INSERT INTO deals (deal_id, pipeline_id, stage_id, amount) SELECT i, 2, pipelines.stage_id('Takeovers', 'Won'), i FROM generate_series(21, 24) i;

-- over all deals
SELECT * FROM pipelines.totals('deals');
SELECT pipelines.scope_note('deals');

-- the totals of a protected pipeline, and nothing else of it
SELECT pipelines.grant_access('deals', 'regress_totals_seller', 'write');
SELECT pipelines.grant_pipeline('Takeovers', 'regress_totals_board', 'totals');
SELECT role, can_see, can_move, can_define FROM pipelines.pipeline_role;
GRANT USAGE ON SCHEMA pipelines TO regress_totals_board, regress_totals_stranger;
SELECT * FROM pipelines.totals('deals');
SET ROLE regress_totals_seller;
SELECT * FROM pipelines.totals('deals');
SELECT pipelines.scope_note('deals');
SET ROLE regress_totals_board;
SELECT * FROM pipelines.totals('deals');
SELECT try('SELECT count(*) FROM deals');
SELECT pipelines.visible_pipelines();
SELECT try($$SELECT pipelines.pipeline_id('Takeovers')$$);
SET ROLE regress_totals_stranger;
SELECT try($$SELECT count(*) FROM pipelines.totals('deals')$$);
RESET ROLE;
SELECT try($$SELECT count(*) FROM pipelines.totals('deals_history')$$);
SELECT try($$SELECT count(*) FROM pipelines.totals('deals_current')$$);

-- as few as it is said; members of a role as the role itself; rights add up
UPDATE pipelines.pipeline SET totals_from = 4 WHERE name = 'Takeovers';
SELECT try($$UPDATE pipelines.pipeline SET totals_from = 0 WHERE name = 'Takeovers'$$);
CREATE ROLE regress_totals_member IN ROLE regress_totals_board;
SET ROLE regress_totals_member;
SELECT pipeline_name, outcome, currency, deals, amount, weighted, scope_note FROM pipelines.totals('deals');
RESET ROLE;
SELECT pipelines.grant_access('deals', 'regress_totals_member', 'read');
SET ROLE regress_totals_member;
SELECT pipeline_name, outcome, currency, deals, amount, weighted, scope_note FROM pipelines.totals('deals');
RESET ROLE;
SELECT pipelines.grant_pipeline('Takeovers', 'regress_totals_member', 'see');
CREATE POLICY large ON deals AS RESTRICTIVE TO regress_totals_member USING (amount > 12);
SET ROLE regress_totals_member;
SELECT pipeline_name, outcome, currency, deals, amount, weighted, scope_note FROM pipelines.totals('deals');
RESET ROLE;
DROP POLICY large ON deals;

-- one amount among deals without any is that deal's
UPDATE deals SET amount = NULL WHERE deal_id BETWEEN 12 AND 14;
SET ROLE regress_totals_board;
SELECT outcome, deals, unpriced, amount FROM pipelines.totals('deals');
RESET ROLE;

-- taken back
SELECT pipelines.revoke_pipeline('Takeovers', 'regress_totals_member');
SELECT pipelines.revoke_pipeline('Takeovers', 'regress_totals_board');
SET ROLE regress_totals_board;
SELECT try($$SELECT count(*) FROM pipelines.totals('deals')$$);
RESET ROLE;
SELECT count(*) FROM pipelines.pipeline_role;

-- a copy is as closed, and tells as much
SELECT pipelines.grant_pipeline('Takeovers', 'regress_totals_board', 'totals');
SELECT pipelines.clone_pipeline('Takeovers', 'Mergers');
SELECT p.name, p.protected, p.totals_from, r.role, r.can_see FROM pipelines.pipeline p JOIN pipelines.pipeline_role r USING (pipeline_id) ORDER BY 1;

-- an adopted table: fractions, rows that do not count, no currency
CREATE TABLE orders (id integer PRIMARY KEY, state text NOT NULL, value integer, chance double precision, deleted_at timestamptz);
INSERT INTO orders VALUES (1, 'New', 10, 0.5, NULL), (2, 'New', 20, NULL, NULL), (3, 'New', 40, 0.25, now()), (4, 'Won', 80, 0.1, NULL);
SELECT count(*) > 0 AS adopted FROM pipelines.adopt('orders', stage => 'state', amount => 'value', probability => 'chance', layout => 'orders', live => 'deleted_at IS NULL', apply => true);
UPDATE pipelines.pipeline_stage p SET probability = 10 FROM pipelines.stage s WHERE s.stage_id = p.stage_id AND p.outcome = 'open' AND p.pipeline_id > 3;
SELECT outcome, currency, deals, unpriced, amount, weighted FROM pipelines.totals('orders');

-- what is omitted from forecasts, by its stage or by itself, weighs nothing, as in T_board
SELECT pipelines.create_pipeline('Slow', layout => 'slow', stages => '[{"name": "Open", "probability": 50}, {"name": "Waiting", "outcome": "on_hold", "probability": 40}, {"name": "Vague", "probability": 20, "forecast_category": "omitted"}, "Won"]') > 0 AS made;
SELECT pipelines.create_deals('slow', layout => 'slow', currency => 'EUR');
INSERT INTO slow (deal_id, stage_id, amount, forecast_category, probability) SELECT n, pipelines.stage_id('Slow', v.stage), 10 ^ n, v.category, v.probability
FROM (VALUES (1, 'Open', NULL, NULL), (2, 'Open', 'omitted', NULL), (3, 'Waiting', NULL, 30), (4, 'Waiting', 'pipeline', NULL), (5, 'Vague', NULL, NULL), (6, 'Vague', 'best_case', 7), (7, 'Won', NULL, NULL)) v(n, stage, category, probability);
SELECT outcome, deals, amount, weighted FROM pipelines.totals('slow');
SELECT outcome, sum(weighted) AS weighted FROM slow_current GROUP BY 1 ORDER BY 1;
\set ECHO none
\c :home
SET client_min_messages = warning;
DROP DATABASE regress_pipelines_totals;
DROP ROLE regress_totals_member, regress_totals_seller, regress_totals_board, regress_totals_stranger;
