-- Forecast categories and types as data (R-5.1, R-5.4, S45), and the sales
-- structure with validity in time (R-6.3).
SELECT current_database() AS regression \gset
CREATE DATABASE regress_pipelines_sales_units ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0;
\c regress_pipelines_sales_units
\set SHOW_CONTEXT never
SET client_encoding = 'UTF8';
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
CREATE EXTENSION pipelines;
SELECT pipelines.setup();

-- the usual set, and its cumulative forecasts
SELECT code, name, cumulative_name, rank, includes_open, includes_closed, is_closed_won, omit
FROM pipelines.forecast_category ORDER BY rank;
SELECT code, is_standard, measure, weighted, is_money, rollup FROM pipelines.forecast_type ORDER BY forecast_type_id;

-- they are the user's: setup() brings nothing back
DELETE FROM pipelines.forecast_category WHERE code = 'most_likely';
UPDATE pipelines.forecast_category SET name = 'Upside' WHERE code = 'best_case';
INSERT INTO pipelines.forecast_category (code, name, rank) VALUES ('verbal', 'Verbal agreement', 45);
SELECT pipelines.setup();
SELECT code, name, rank FROM pipelines.forecast_category ORDER BY rank;
SELECT code, name, change FROM pipelines.forecast_category_history ORDER BY code;

-- what is won and what is left out follow the outcome, and nothing else does (R-5.2)
INSERT INTO pipelines.forecast_category (code, name, rank, omit, includes_open) VALUES ('parked', 'Parked', 5, true, false);
INSERT INTO pipelines.forecast_category (code, name, rank, is_closed_won, includes_open) VALUES ('signed', 'Signed', 46, true, false);
INSERT INTO pipelines.forecast_category (code, name, rank) VALUES ('other', 'Same rank', 45);
-- one standard type
UPDATE pipelines.forecast_type SET is_standard = true WHERE code = 'margin';
UPDATE pipelines.forecast_type SET is_standard = code = 'margin';
SELECT code FROM pipelines.forecast_type WHERE is_standard;

-- expressions may be anything that entry rules may be
SELECT pipelines.create_pipeline('Sales', template => 'standard');
SELECT pipelines.create_deals('deals', currency => 'EUR');
SELECT pipelines._deal_expression('deals', e, t, 'the measure')
FROM (VALUES (1, 'amount - coalesce(cost, 0)', 'numeric'::regtype), (2, 'quantity', 'numeric'), (3, 'upper(owner) || ''\''', 'text'),
	(4, 'expected_close_on + 30', 'date'), (5, 'amount > 100 AND source IN (''web'', ''fair'') -- large', 'boolean')) v(n, e, t) ORDER BY n;
SELECT pipelines._deal_expression('deals', 'now()', 'date', 'the measure');
SELECT pipelines._deal_expression('deals', 'owner', 'numeric', 'the measure');
SELECT pipelines._deal_expression('deals', 'amount, cost', 'numeric', 'the measure');
SELECT pipelines._deal_expression('deals', 'amount) FROM deals; DROP TABLE deals --', 'numeric', 'the measure');
SELECT pipelines._deal_expression('deals', 'turnover', 'numeric', 'the measure');
SELECT pipelines._deal_expression('deals', '(SELECT 1)', 'numeric', 'the measure');

-- the structure: two teams in a region, and one that moves to another region in May
INSERT INTO pipelines.sales_unit (unit_id, name, parent_id, manager) VALUES
	(1, 'World', NULL, 'wanda'), (2, 'North', 1, 'nora'), (3, 'South', 1, 'saul'),
	(4, 'Team A', 2, 'alma'), (5, 'Team B', 2, 'bert');
INSERT INTO pipelines.sales_unit (unit_id, starts_on, name, parent_id, manager) VALUES (5, '2026-05-01', 'Team B', 3, 'bert');
-- rita moves in May, sam leaves in March, tom begins in June
INSERT INTO pipelines.sales_unit_member (owner, starts_on, unit_id, ends_on) VALUES
	('rita', '-infinity', 4, NULL), ('rita', '2026-05-01', 5, NULL), ('sam', '2025-01-01', 4, '2026-04-01'),
	('tom', '2026-06-01', 5, NULL), ('vera', '-infinity', 3, NULL);
SELECT unit_id, name, parent_id, level, path, members FROM pipelines.sales_structure('2026-04-30');
SELECT unit_id, name, parent_id, level, path, members FROM pipelines.sales_structure('2026-06-01');
SELECT day, pipelines.unit_of('rita', day) AS rita, pipelines.unit_of('sam', day) AS sam, pipelines.unit_of('tom', day) AS tom,
	pipelines.unit_of('nobody', day) AS nobody
FROM unnest('{2024-12-31,2026-03-31,2026-04-01,2026-04-30,2026-05-01,2026-06-01}'::date[]) day;
SELECT owner, starts_on, ends_on, units FROM pipelines._unit_spans() ORDER BY owner, starts_on;

-- references
INSERT INTO pipelines.sales_unit (unit_id, name, parent_id) VALUES (9, 'Nowhere', 99);
INSERT INTO pipelines.sales_unit_member (owner, unit_id) VALUES ('xaver', 99);
DELETE FROM pipelines.sales_unit WHERE unit_id = 4;
-- one of several rows of a unit may go, the last one may not
BEGIN;
DELETE FROM pipelines.sales_unit WHERE unit_id = 5 AND starts_on = '2026-05-01';
SELECT unit_id, parent_id FROM pipelines.sales_structure('2026-06-01') WHERE unit_id = 5;
DELETE FROM pipelines.sales_unit WHERE unit_id = 5;
ROLLBACK;
INSERT INTO pipelines.sales_unit (unit_id, name, parent_id) VALUES (6, 'Loop', 6);
-- units above themselves are left out, and stop nothing
BEGIN;
INSERT INTO pipelines.sales_unit (unit_id, name) VALUES (7, 'Hen');
INSERT INTO pipelines.sales_unit (unit_id, name, parent_id) VALUES (8, 'Egg', 7);
UPDATE pipelines.sales_unit SET parent_id = 8 WHERE unit_id = 7;
INSERT INTO pipelines.sales_unit_member (owner, unit_id) VALUES ('chick', 8);
SELECT count(*) FROM pipelines.sales_structure('2026-06-01');
SELECT units FROM pipelines._unit_spans() WHERE owner = 'chick';
ROLLBACK;

-- who may set whose quota (R-6.6): those above, and nobody their own
SELECT pipelines.may_set_quota('tom', NULL, 'bert') AS bert, pipelines.may_set_quota('tom', NULL, 'saul') AS saul,
	pipelines.may_set_quota('tom', NULL, 'wanda') AS wanda, pipelines.may_set_quota('tom', NULL, 'nora') AS nora,
	pipelines.may_set_quota('tom', NULL, 'tom') AS tom, pipelines.may_set_quota('bert', NULL, 'bert') AS bert_own,
	pipelines.may_set_quota('bert', NULL, 'saul') AS saul_bert;
SELECT pipelines.may_set_quota(NULL, 5, 'bert') AS own_unit, pipelines.may_set_quota(NULL, 5, 'saul') AS unit_below,
	pipelines.may_set_quota(NULL, 1, 'wanda') AS own_top, pipelines.may_set_quota(NULL, NULL, 'wanda') AS anything,
	pipelines.may_set_quota(NULL, NULL, 'saul') AS not_at_the_top;

SELECT advice, message FROM pipelines.check_definitions() WHERE advice NOT IN ('no_description', 'stage_count');
\c :regression
DROP DATABASE regress_pipelines_sales_units;
