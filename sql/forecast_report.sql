-- Forecast categories, single and cumulative (R-5.1 to R-5.5), what people say
-- to them (R-5.6), what if, and the deals behind every figure (I8, I9).
SELECT current_database() AS regression \gset
CREATE DATABASE regress_pipelines_forecast_report ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0;
\c regress_pipelines_forecast_report
\set SHOW_CONTEXT never
SET client_encoding = 'UTF8';
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
CREATE EXTENSION pipelines;
SELECT pipelines.create_pipeline('Sales', stages => '[
	{"name": "Lead", "probability": 10}, {"name": "Talks", "probability": 50, "forecast_category": "best_case"},
	{"name": "Contract", "probability": 90, "forecast_category": "commit"}, {"name": "Verbal", "probability": 20, "forecast_category": "upside"},
	{"name": "Hold", "probability": 20, "outcome": "on_hold"},
	{"name": "Sold", "outcome": "won"}, {"name": "Gone", "outcome": "lost"}]');
SELECT pipelines.create_deals('deals', currency => 'EUR');
INSERT INTO deals (stage_id, owner, amount, expected_close_on, closed_on, quantity, cost)
SELECT pipelines.stage_id('Sales', s), 'ann', a, '2099-05-15', CASE WHEN s IN ('Sold', 'Gone') THEN current_date END, q, a / 2
FROM (VALUES ('Sold', 50, 1), ('Contract', 100, 2), ('Talks', 150, 3), ('Lead', 200, 4), ('Gone', 1000, 5)) d(s, a, q);
-- without any fiscal calendar: calendar months.  What was closed counts today.
UPDATE deals SET closed_on = '2099-05-10' WHERE closed_on IS NOT NULL;
-- the example of 3.5: single 50, 100, 150, 200; cumulative 150, 300, 450
SELECT fiscal_period, starts, ends, owner, category, category_name, deals, amount, cumulative, weighted, cumulative_weighted, lost, computed, p50
FROM pipelines.forecast_report('deals', by => '{owner}') ORDER BY rank;
-- sticky overrides, unknown codes and closed deals (R-5.2)
UPDATE deals SET forecast_category = 'commit' WHERE amount IN (150, 1000);
INSERT INTO deals (stage_id, owner, amount, expected_close_on, forecast_category) VALUES
	(pipelines.stage_id('Sales', 'Verbal'), 'ann', 7, '2099-05-01', NULL), (pipelines.stage_id('Sales', 'Lead'), 'ann', 9, '2099-05-01', 'omitted'),
	(pipelines.stage_id('Sales', 'Hold'), 'ann', 11, '2099-05-01', NULL);
SELECT category, rank, deals, amount, cumulative FROM pipelines.forecast_report('deals', by => '{}') ORDER BY rank NULLS LAST;
UPDATE deals SET stage_id = pipelines.stage_id('Sales', 'Contract') WHERE amount = 150;
SELECT category FROM pipelines.forecast_deals('deals') WHERE value = 150;
-- a category of one's own has its place
INSERT INTO pipelines.forecast_category (code, name, rank) VALUES ('upside', 'Upside', 15);
SELECT category, rank, amount, cumulative FROM pipelines.forecast_report('deals', by => '{}') ORDER BY rank;
-- single roll-up, and other measures (R-5.4)
INSERT INTO pipelines.forecast_type (code, name, rollup) VALUES ('single', 'Single', 'single');
SELECT category, category_name, computed FROM pipelines.forecast_report('deals', 'single', by => '{}') WHERE category IN ('pipeline', 'commit') ORDER BY rank;
SELECT t.code, f.currency, f.amount FROM pipelines.forecast_type t, pipelines.forecast_report('deals', t.code, by => '{}') f
WHERE f.category = 'commit' ORDER BY t.code;
UPDATE pipelines.forecast_type SET period_date = 'expected_close_on + 31', filter = 'amount < 500' WHERE code = 'single';
SELECT fiscal_period, sum(deals) AS deals FROM pipelines.forecast_report('deals', 'single', by => '{}') GROUP BY 1;
INSERT INTO pipelines.forecast_type (code, name, measure) VALUES ('recurring', 'Recurring', 'recurring_monthly');
SELECT * FROM pipelines.forecast_report('deals', 'recurring');
ALTER TABLE deals ADD recurring_amount numeric, ADD recurring_months integer;
UPDATE deals SET recurring_amount = 100, recurring_months = 12 WHERE amount = 100;
SELECT amount FROM pipelines.forecast_report('deals', 'recurring', by => '{}') WHERE category = 'commit';

-- what if: in a transaction
BEGIN;
UPDATE pipelines.pipeline_stage SET probability = 70 WHERE stage_id = pipelines.stage_id('Sales', 'Lead');
SELECT weighted FROM pipelines.forecast_report('deals', by => '{}') WHERE category = 'pipeline';
ROLLBACK;
SELECT weighted FROM pipelines.forecast_report('deals', by => '{}') WHERE category = 'pipeline';
-- and without writing
SELECT category, amount, weighted FROM pipelines.forecast_report('deals', by => '{}', overrides => '[
	{"pipeline": "Sales", "stage": "Lead", "probability": 70},
	{"deal": "3", "amount": 1000, "category": "best_case", "probability": null},
	{"deal": "2", "expected_close_on": "2099-06-01", "owner": "bob"}]') WHERE fiscal_period = '2099-05' ORDER BY rank;
SELECT deal, fiscal_period, owner, value, probability FROM pipelines.forecast_deals('deals', overrides => '[{"deal": "2", "expected_close_on": "2099-06-01", "owner": "bob"}]')
WHERE deal = '2';
SELECT count(*) FROM deals_history WHERE reason IS NOT NULL;
SELECT * FROM pipelines.forecast_report('deals', overrides => '{"deal": "5"}');
SELECT * FROM pipelines.forecast_report('deals', overrides => '[{"deal": "5", "stage": "Lead"}]');
SELECT * FROM pipelines.forecast_report('deals', overrides => '[{"deal": "5", "name": "x"}]');
SELECT * FROM pipelines.forecast_report('deals', overrides => '[{"stage": "Lead", "probability": 170}]');
SELECT * FROM pipelines.forecast_report('deals', overrides => '[{"stage": "Sold", "probability": 70}]');
SELECT * FROM pipelines.forecast_report('deals', overrides => '[{"stage": "Nowhere", "probability": 70}]');
SELECT * FROM pipelines.forecast_report('deals', overrides => '[{"deal": "5", "amount": 1}, {"deal": "5", "amount": 2}]');

-- what people say: computed, own, manager's and final side by side (R-5.6)
SELECT pipelines.create_fiscal_calendar('Standard', from_year => 2099, to_year => 2099);
CREATE ROLE regress_forecast_ann;
CREATE ROLE regress_forecast_mia;
CREATE ROLE regress_forecast_leads;
GRANT regress_forecast_leads TO regress_forecast_mia;
UPDATE deals SET owner = 'regress_forecast_ann';
INSERT INTO pipelines.sales_unit (unit_id, name, parent_id, manager) VALUES (1, 'World', NULL, 'wanda'), (2, 'Team', 1, 'regress_forecast_mia');
INSERT INTO pipelines.sales_unit_member (owner, unit_id) VALUES ('regress_forecast_ann', 2);
SELECT pipelines.grant_access('deals', r, 'read') FROM unnest('{regress_forecast_ann,regress_forecast_mia}'::name[]) r;
GRANT INSERT ON pipelines.adjustment, pipelines.submission TO regress_forecast_ann, regress_forecast_mia;
SELECT period_id AS may FROM pipelines.fiscal_period WHERE kind = 'month' AND starts = '2099-05-01' \gset
CREATE VIEW said AS SELECT category, computed, own_adjusted, manager_adjusted, final, submitted, submitted_by,
	(SELECT string_agg(concat_ws(' ', a ->> 'by', a ->> 'level', coalesce(a ->> 'value', '+' || (a ->> 'delta')), '->', a ->> 'result'), ', ') FROM jsonb_array_elements(adjustments) a) AS layers
FROM pipelines.forecast_report('deals', by => '{owner}', fiscal_period => 'May 2099') WHERE category IN ('commit', 'best_case');
ALTER VIEW said OWNER TO regress_forecast_mia;
GRANT SELECT ON said TO PUBLIC;
SET ROLE regress_forecast_ann;
INSERT INTO pipelines.adjustment (forecast_type_id, period_id, owner, category, value, reason) VALUES (1, :may, current_user, 'commit', 350, 'a verbal yes');
SET ROLE regress_forecast_mia;
INSERT INTO pipelines.adjustment (forecast_type_id, period_id, owner, category, delta, reason, visible_to) VALUES (1, :may, 'regress_forecast_ann', 'commit', -50, 'ann is an optimist', '{regress_forecast_leads}');
INSERT INTO pipelines.submission (forecast_type_id, period_id, owner, category, value) VALUES (1, :may, 'regress_forecast_ann', 'commit', 290);
-- nobody speaks in the name of others
INSERT INTO pipelines.adjustment (forecast_type_id, period_id, owner, category, delta, made_by) VALUES (1, :may, 'regress_forecast_ann', 'commit', 1, 'wanda');
RESET ROLE;
INSERT INTO pipelines.adjustment (forecast_type_id, period_id, owner, category, delta, made_by) VALUES (1, :may, 'regress_forecast_ann', 'commit', 5, 'wanda');
SET ROLE regress_forecast_mia;
SELECT * FROM said ORDER BY category;
-- the manager's is not for ann
SET ROLE regress_forecast_ann;
SELECT * FROM said ORDER BY category;
-- the newest row of each counts; an empty one takes back
INSERT INTO pipelines.adjustment (forecast_type_id, period_id, owner, category) VALUES (1, :may, current_user, 'commit');
SELECT * FROM said WHERE category = 'commit';
UPDATE pipelines.adjustment SET value = 1;
RESET ROLE;
UPDATE pipelines.adjustment SET value = 1;
DELETE FROM pipelines.submission;
-- nothing is erased by another kind of period or another method (R-5.6)
SELECT count(*) AS layers FROM pipelines.forecast_report('deals', by => '{owner}', forecast_period => 'quarter') WHERE adjustments IS NOT NULL;
UPDATE pipelines.forecast_type SET rollup = 'single' WHERE code = 'amount';
SELECT category, computed, final FROM pipelines.forecast_report('deals', by => '{owner}') WHERE adjustments IS NOT NULL;
UPDATE pipelines.forecast_type SET rollup = 'cumulative' WHERE code = 'amount';
SELECT count(*) FROM pipelines.adjustment;
-- types and categories count as they were defined at the instant of a report
SELECT clock_timestamp() AS before \gset
UPDATE pipelines.forecast_type SET rollup = 'single', measure = 'amount * 2' WHERE code = 'amount';
UPDATE pipelines.forecast_category SET name = 'Promised', cumulative_name = 'All that is promised' WHERE code = 'commit';
INSERT INTO pipelines.forecast_category (code, name, rank) VALUES ('hope', 'Hope', 17);
CREATE VIEW now_and_then AS
SELECT category, x.name, x.computed, y.name AS name_then, y.computed AS computed_then
FROM (SELECT category, min(category_name) AS name, sum(amount) AS computed FROM pipelines.forecast_report('deals', by => '{}') GROUP BY 1) x
LEFT JOIN (SELECT category, min(category_name) AS name, sum(amount) AS computed FROM pipelines.forecast_report('deals', by => '{}', as_of => current_setting('app.before')::timestamptz) GROUP BY 1) y USING (category);
SELECT set_config('app.before', :'before', false) = :'before' AS set;
SELECT * FROM now_and_then ORDER BY category;
SELECT sum(pipeline) AS twice, (SELECT sum(pipeline) FROM pipelines.quota_report('deals', 'amount', "by" => '{}', forecast_period => 'month', as_of => :'before')) AS once
FROM pipelines.quota_report('deals', 'amount', "by" => '{}', forecast_period => 'month');
DROP VIEW now_and_then;
UPDATE pipelines.forecast_type SET rollup = 'cumulative', measure = 'amount' WHERE code = 'amount';
UPDATE pipelines.forecast_category SET name = 'Commit', cumulative_name = 'Commit Forecast' WHERE code = 'commit';
DELETE FROM pipelines.forecast_category WHERE code = 'hope';
-- and what somebody has said something about is not deleted under it
DELETE FROM pipelines.forecast_type WHERE forecast_type_id = 1;
DELETE FROM pipelines.fiscal_period WHERE period_id = :may;

-- I8 and I9 at random: any split adds up to the whole, and to its deals, in any
-- currency by any policy
SELECT setseed(0.42);
INSERT INTO pipelines.exchange_rate (rate_set, currency, base, rate_on, rate)
SELECT s, c, 'EUR', d::date, round((0.5 + random() * 2)::numeric, 4)
FROM unnest('{spot,plan}'::text[]) s, unnest('{USD,CHF,JPY}'::text[]) c, generate_series(current_date - 400, current_date, interval '5 days') d;
INSERT INTO deals (stage_id, owner, product, territory, amount, currency, probability, forecast_category, expected_close_on)
SELECT (ARRAY(SELECT stage_id FROM pipelines.pipeline_stage ORDER BY position))[1 + floor(random() * 7)],
	(ARRAY['regress_forecast_ann', 'bob', 'cid', NULL])[1 + floor(random() * 4)], (ARRAY['A', 'B', NULL])[1 + floor(random() * 3)],
	(ARRAY['N', 'S'])[1 + floor(random() * 2)], CASE WHEN random() < 0.9 THEN round((random() * 10000)::numeric, 2) END,
	(ARRAY['EUR', 'USD', 'CHF', 'SEK', NULL])[1 + floor(random() * 5)], CASE WHEN random() < 0.2 THEN round((random() * 100)::numeric, 2) END,
	(ARRAY['commit', 'omitted', 'mystery'])[1 + floor(random() * 20)], CASE WHEN random() < 0.9 THEN current_date - 60 + floor(random() * 200)::integer END
FROM generate_series(1, 600);
SELECT pipelines.create_fiscal_calendar('Now', from_year => extract(year FROM current_date)::integer - 1,
	to_year => extract(year FROM current_date)::integer + 1) IS NOT NULL AS made;
DO $$
DECLARE
	target text; policy text; kind text; split text[]; late text;
	whole record; parts record; behind record; quota record; listed record;
	wrong integer := 0; done integer := 0;
BEGIN
	FOR target, policy IN
		SELECT t, p FROM unnest(ARRAY[NULL, 'EUR', 'JPY']) t, unnest(ARRAY['close_date', 'creation', 'current', 'frozen', format('fixed:plan@%s', current_date - 90)]) p
		WHERE t IS NOT NULL OR p = 'close_date'
	LOOP
		FOR kind, late IN VALUES ('month', 'bucket'), ('week', 'carry') LOOP
			SELECT array_agg(x ORDER BY x) AS figures INTO whole FROM (
				SELECT concat_ws('|', currency, sum(deals), sum(unpriced), sum(amount) FILTER (WHERE category = 'closed'),
					sum(amount) FILTER (WHERE category <> 'closed'), sum(weighted) FILTER (WHERE category <> 'closed'), sum(lost)) AS x
				FROM pipelines.forecast_report('deals', by => '{}', forecast_period => kind, currency => target, rates => policy, overdue => late, calendar => 'Now') GROUP BY currency) y;
			FOREACH split SLICE 1 IN ARRAY ARRAY[ARRAY['owner', 'owner'], ARRAY['product', 'territory'], ARRAY['pipeline', 'upper(territory)']] LOOP
				SELECT array_agg(x ORDER BY x) AS figures INTO parts FROM (
					SELECT concat_ws('|', currency, sum(deals), sum(unpriced), sum(amount) FILTER (WHERE category = 'closed'),
						sum(amount) FILTER (WHERE category <> 'closed'), sum(weighted) FILTER (WHERE category <> 'closed'), sum(lost)) AS x
					FROM pipelines.forecast_report('deals', by => split, forecast_period => kind, currency => target, rates => policy, overdue => late, calendar => 'Now') GROUP BY currency) y;
				wrong := wrong + (whole.figures IS DISTINCT FROM parts.figures)::integer;
				done := done + 1;
			END LOOP;
			-- quota_report() says the same
			SELECT array_agg(x ORDER BY x) AS figures INTO parts FROM (
				SELECT concat_ws('|', currency, sum(won), sum(pipeline), sum(weighted), sum(deals)) AS x
				FROM pipelines.quota_report('deals', by => '{owner}', forecast_period => kind, currency => target, rates => policy, overdue => late, calendar => 'Now') GROUP BY currency) y;
			SELECT array_agg(x ORDER BY x) AS figures INTO quota FROM (
				SELECT concat_ws('|', currency, sum(won), sum(pipeline), sum(weighted), count(*)) AS x
				FROM pipelines.forecast_deals('deals', forecast_period => kind, currency => target, rates => policy, overdue => late, calendar => 'Now') GROUP BY currency) y;
			wrong := wrong + (quota.figures IS DISTINCT FROM parts.figures)::integer;
			-- each figure by itself, and the deals behind it
			SELECT count(*) AS n INTO behind FROM (
				SELECT fiscal_period, bucket, owner, product, currency, category, sum(deals)::bigint AS deals, sum(amount) AS amount, sum(weighted) AS weighted, sum(lost) AS lost
				FROM pipelines.forecast_report('deals', by => '{owner,product}', forecast_period => kind, currency => target, rates => policy, overdue => late, calendar => 'Now')
				WHERE deals > 0 GROUP BY 1, 2, 3, 4, 5, 6
				EXCEPT
				SELECT fiscal_period, bucket, owner, product, currency, category, count(*), sum(won + pipeline), sum(won + weighted), sum(lost)
				FROM pipelines.forecast_deals('deals', by => '{owner,product}', forecast_period => kind, currency => target, rates => policy, overdue => late, calendar => 'Now')
				GROUP BY 1, 2, 3, 4, 5, 6) x;
			wrong := wrong + behind.n;
			-- top units, and what belongs to none
			SELECT array_agg(x ORDER BY x) AS figures INTO parts FROM (
				SELECT concat_ws('|', currency, sum(deals), sum(unpriced), sum(amount) FILTER (WHERE category = 'closed'),
					sum(amount) FILTER (WHERE category <> 'closed'), sum(weighted) FILTER (WHERE category <> 'closed'), sum(lost)) AS x
				FROM pipelines.forecast_report('deals', by => '{unit}', forecast_period => kind, currency => target, rates => policy, overdue => late, calendar => 'Now')
				WHERE coalesce(unit_id, 1) = 1 GROUP BY currency) y;
			wrong := wrong + (whole.figures IS DISTINCT FROM parts.figures)::integer;
			done := done + 3;
		END LOOP;
	END LOOP;
	RAISE NOTICE '% comparisons, % wrong', done, wrong;
END
$$;
-- what could not be converted is told, and the view of old says the same as the report
SELECT DISTINCT (SELECT string_agg(k, ',') FROM jsonb_object_keys(unconverted) k) AS missing
FROM pipelines.forecast_report('deals', by => '{}', currency => 'EUR') WHERE unconverted IS NOT NULL;
SELECT count(*) AS different FROM (
	SELECT bucket, owner, currency, sum(deals), sum(pipeline), sum(weighted), sum(won), sum(lost) FROM deals_forecast GROUP BY 1, 2, 3
	EXCEPT
	SELECT CASE bucket WHEN 'overdue' THEN bucket WHEN 'undated' THEN bucket ELSE 'month' END, owner, currency, sum(deals),
		coalesce(sum(amount) FILTER (WHERE category <> 'closed'), 0), coalesce(sum(weighted) FILTER (WHERE category <> 'closed'), 0),
		coalesce(sum(amount) FILTER (WHERE category = 'closed'), 0), sum(lost)
	FROM pipelines.forecast_report('deals') GROUP BY 1, 2, 3) x;

-- reports of the past go by the sales structure as it was then, rows that were altered since included (R-6.3)
SELECT clock_timestamp() AS before, pg_sleep(0.001) \gset
CREATE TABLE by_unit AS SELECT fiscal_period, bucket, unit_id, currency, category, deals, amount FROM pipelines.forecast_report('deals', by => '{unit}') WHERE deals > 0;
CREATE TABLE quotas AS SELECT fiscal_period, unit_id, won FROM pipelines.quota_report('deals', by => '{unit}') WHERE won > 0;
UPDATE pipelines.sales_unit_member SET unit_id = 1;
UPDATE pipelines.sales_unit SET name = 'Renamed', parent_id = NULL WHERE unit_id = 2;
SELECT (SELECT count(*) > 0 FROM by_unit) AS some,
	(SELECT count(*) FROM (TABLE by_unit EXCEPT SELECT fiscal_period, bucket, unit_id, currency, category, deals, amount FROM pipelines.forecast_report('deals', by => '{unit}', as_of => :'before')) x) AS different,
	(SELECT count(*) FROM (TABLE quotas EXCEPT SELECT fiscal_period, unit_id, won FROM pipelines.quota_report('deals', by => '{unit}', as_of => :'before')) x) AS quotas_different,
	(SELECT count(*) > 0 FROM (TABLE by_unit EXCEPT SELECT fiscal_period, bucket, unit_id, currency, category, deals, amount FROM pipelines.forecast_report('deals', by => '{unit}')) x) AS now,
	(SELECT count(*) > 0 FROM (TABLE by_unit EXCEPT SELECT fiscal_period, bucket, unit_id, currency, category, deals, amount FROM pipelines.forecast_report('deals', by => '{unit}', as_of => :'before', definitions => 'current')) x) AS current;

-- a table of the application's own: other names, no owner, no currency, fractions
CREATE TABLE opportunity (id serial PRIMARY KEY, state text, worth integer, chance numeric, due date);
INSERT INTO opportunity (state, worth, chance, due) VALUES ('new', 100, 0.5, '2099-05-05'), ('won', 40, 1, '2099-05-06'), ('new', 60, NULL, NULL);
SELECT count(*) > 0 AS adopted FROM pipelines.adopt('opportunity', stage => 'state', amount => 'worth', close_date => 'due', probability => 'chance', apply => true);
SELECT fiscal_period, bucket, owner, currency, category, deals, amount, weighted FROM pipelines.forecast_report('opportunity') WHERE deals > 0 ORDER BY bucket, category;
SELECT fiscal_period, bucket, owner, won, pipeline, weighted FROM opportunity_quota WHERE forecast_period = 'month' ORDER BY bucket;
SELECT category, amount, weighted FROM pipelines.forecast_report('opportunity', by => '{worth > 50}', overrides => '[{"deal": "1", "probability": 80, "amount": 200}]')
WHERE deals > 0 AND bucket = 'period' ORDER BY category;
\c :regression
DROP DATABASE regress_pipelines_forecast_report;
DROP ROLE regress_forecast_ann;
DROP ROLE regress_forecast_mia;
DROP ROLE regress_forecast_leads;
