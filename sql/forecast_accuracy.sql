-- Forecast accuracy: what would have been forecast against what came (section 5, no. 9; S78, S79).
-- In a database of its own, so that every id is the same in every run.
\set ECHO none
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_pipelines_forecast_accuracy;
CREATE DATABASE regress_pipelines_forecast_accuracy TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\set home :DBNAME
\c regress_pipelines_forecast_accuracy
\set ECHO all
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
CREATE EXTENSION pipelines;
CREATE FUNCTION try(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text; hint text; result text;
BEGIN
	EXECUTE command INTO result;
	RETURN coalesce(result, 'NULL');
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(' | ', SQLSTATE || ': ' || SQLERRM, nullif(detail, ''), nullif(hint, ''));
END
$$;
\pset format unaligned
\pset null -

SELECT pipelines.create_pipeline('Sales', time_zone => 'UTC', stages => '[
	{"name": "Lead", "probability": 10}, {"name": "Offer", "probability": 60},
	{"name": "Won", "outcome": "won"}, {"name": "Lost", "outcome": "lost"}]');
SELECT pipelines.create_deals('deals', currency => 'EUR');
-- each line is a version: when, stage, amount, expected, owner, own probability
CREATE TABLE event (deal_id bigint, at timestamptz, stage text, amount numeric, expected_close_on date, owner text,
	probability numeric, currency text, closed_on date);
INSERT INTO event VALUES
	-- expected in March from the start; raised in February, won on 20 March
	(1, '2024-01-05', 'Lead', 1000, '2024-03-15', 'ann', NULL, NULL, NULL),
	(1, '2024-02-10', 'Offer', 1200, '2024-03-15', 'ann', NULL, NULL, NULL),
	(1, '2024-03-20', 'Won', 1200, '2024-03-15', 'ann', NULL, NULL, '2024-03-20'),
	-- expected in March, put off on 25 March, won in April
	(2, '2024-01-10', 'Offer', 500, '2024-03-31', 'bob', 40, NULL, NULL),
	(2, '2024-03-25', 'Offer', 500, '2024-04-30', 'bob', 40, NULL, NULL),
	(2, '2024-04-10', 'Won', 500, '2024-04-30', 'bob', 40, NULL, '2024-04-10'),
	-- won early in March, never forecast for it; lost in March
	(3, '2024-02-20', 'Lead', 300, '2024-05-01', 'ann', NULL, NULL, NULL),
	(3, '2024-03-01', 'Won', 300, '2024-05-01', 'ann', NULL, NULL, '2024-03-01'),
	(4, '2024-01-20', 'Lead', 700, '2024-03-10', 'bob', NULL, NULL, NULL),
	(4, '2024-03-05', 'Lost', 700, '2024-03-10', 'bob', NULL, NULL, '2024-03-05'),
	-- in dollars; and ann's, which was bob's before 15 March
	(5, '2024-01-20', 'Offer', 90, '2024-03-10', 'bob', NULL, 'USD', NULL),
	(5, '2024-03-15', 'Offer', 90, '2024-03-10', 'ann', NULL, 'USD', NULL),
	(5, '2024-03-28', 'Won', 90, '2024-03-10', 'ann', NULL, 'USD', '2024-03-28');
SELECT * FROM pipelines.import_history('deals', 'event');

-- March ends on the 31st; 30, 60, 90 days before 1 April: 2 March, 1 February, 2 January.
-- 2 March, EUR: won 300; open 1200 * 60 % + 500 * 40 % + 700 * 10 % = 990: 1290.  USD 90 * 60 % = 54
-- 1 February, EUR: 1000 * 10 % + 200 + 70 = 370; USD 54.  2 January: nothing.
-- What came: 1200 + 300 in EUR, 90 in USD.
SELECT period_label, starts, ends, currency, horizon, forecast_at::date, won_then, weighted_then, forecast, actual, error, error_percent
FROM pipelines.forecast_accuracy('deals', periods => 1, as_of => '2024-04-05');
-- by owner, as it was then
SELECT dimension, currency, horizon, won_then, weighted_then, forecast, actual, error
FROM pipelines.forecast_accuracy('deals', horizons => '{30,10}', by => 'owner', periods => 1, as_of => '2024-04-05');
-- the first quarter: a week before its end is 25 March, midnight, the very instant at which deal 2 is put off
SELECT period_label, currency, horizon, won_then, weighted_then, forecast, actual
FROM pipelines.forecast_accuracy('deals', horizons => '{7,8}', period => 'quarter', periods => 1, as_of => '2024-04-05') ORDER BY 2, 3;
-- several months: bias and WAPE
SELECT currency, horizon, sum(error) AS bias, round(sum(abs(error)) / sum(actual), 4) AS wape
FROM pipelines.forecast_accuracy('deals', as_of => '2024-05-01') GROUP BY 1, 2 ORDER BY 1, 2;
SELECT period_label, count(*) FROM pipelines.forecast_accuracy('deals', period => 'week', periods => 6, as_of => '2024-04-05') GROUP BY 1 ORDER BY 1;

-- The definitions of that day: what is redefined later changes no old forecast, nor does what happens later
CREATE TABLE before AS SELECT * FROM pipelines.forecast_accuracy('deals', by => 'owner', as_of => '2024-04-05');
UPDATE pipelines.pipeline_stage SET probability = 1 WHERE stage_id IN (pipelines.stage_id('Sales', 'Lead'), pipelines.stage_id('Sales', 'Offer'));
UPDATE deals SET amount = 5, owner = 'eve' WHERE deal_id = 1;
DELETE FROM deals WHERE deal_id = 3;
SELECT count(*) FROM (TABLE before EXCEPT SELECT * FROM pipelines.forecast_accuracy('deals', by => 'owner', as_of => '2024-04-05')) x;
-- but what came is what is known now: the amount of deal 1 was corrected, deal 3 deleted
SELECT currency, horizon, forecast, actual FROM pipelines.forecast_accuracy('deals', horizons => '{30}', periods => 40 * 12)
WHERE period_label = '2024-03' ORDER BY 1;

-- the view says the same as the report with its defaults
BEGIN;
CREATE TABLE lately AS
	SELECT 90::bigint AS deal_id, (m.day + interval '10 hours' - interval '100 days') AT TIME ZONE 'UTC' AS at, 'Offer' AS stage, 12 AS amount, m.day AS expected_close_on, NULL::date AS closed_on
	FROM (SELECT date_trunc('month', current_date)::date - 5 AS day) m;
INSERT INTO lately SELECT deal_id, at + interval '100 days', 'Won', amount, expected_close_on, expected_close_on FROM lately;
SELECT * FROM pipelines.import_history('deals', 'lately');
SELECT count(*) > 0 AS some, sum(actual) > 0 AS won FROM deals_forecast_accuracy;
SELECT count(*) FROM (SELECT * FROM deals_forecast_accuracy EXCEPT ALL SELECT * FROM pipelines.forecast_accuracy('deals')) x;
ROLLBACK;
-- by the periods of a calendar: the 4-4-5 months are not those of the calendar year
SELECT pipelines.create_fiscal_calendar('Weeks', '4-4-5', year_end => 'last saturday of december', from_year => 2023, to_year => 2025) > 0 AS made;
SELECT f.period_label, f.starts, f.ends, f.currency, f.horizon, f.actual,
	f.starts = p.starts AND f.ends = p.ends AS of_the_calendar
FROM pipelines.forecast_accuracy('deals', horizons => '{7}', periods => 2, calendar => 'Weeks', as_of => '2024-04-05') f
LEFT JOIN pipelines.fiscal_period p ON p.label = f.period_label AND p.kind = 'month' AND p.calendar_id = pipelines.calendar_id('Weeks')
ORDER BY f.starts, f.currency;
SELECT try($$SELECT pipelines.forecast_accuracy('deals', period => 'day')$$);
SELECT try($$SELECT pipelines.forecast_accuracy('deals', horizons => '{-1}')$$);
SELECT try($$SELECT pipelines.forecast_accuracy('deals', by => 'nonsense')$$);
SELECT try($$SELECT pipelines.forecast_accuracy('event')$$);

\c :home
DROP DATABASE regress_pipelines_forecast_accuracy;
