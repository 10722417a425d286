-- Quotas and the formulas of 3.6 (S47, S48, S75), R-6.1 to R-6.6.
SELECT current_database() AS regression \gset
CREATE DATABASE regress_pipelines_quota_report ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0;
\c regress_pipelines_quota_report
\set SHOW_CONTEXT never
SET client_encoding = 'UTF8';
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
CREATE EXTENSION pipelines;
SELECT pipelines.create_pipeline('Sales', stages => '[
	{"name": "Lead", "probability": 25}, {"name": "Offer", "probability": 50},
	{"name": "Hold", "probability": 20, "outcome": "on_hold"},
	{"name": "Sold", "outcome": "won"}, {"name": "Gone", "outcome": "lost"}]');
SELECT pipelines.create_deals('deals', currency => 'EUR');
SELECT pipelines.create_fiscal_calendar('Standard', from_year => 2026, to_year => 2026);

-- rows that are kept as they are, known since the beginning of the year
CREATE PROCEDURE put(id bigint, stage text, owner text, amount numeric, day date, currency text DEFAULT NULL, product text DEFAULT NULL)
LANGUAGE sql AS $$
	INSERT INTO public.deals (deal_id, pipeline_id, stage_id, owner, amount, currency, product, expected_close_on, closed_at, closed_on,
		stage_entered_at, changed_at, created_at, created_by, furthest_stage_id, episode, version)
	SELECT id, s.pipeline_id, s.stage_id, put.owner, put.amount, put.currency, put.product, day,
		CASE WHEN s.outcome IN ('won', 'lost') THEN '2026-01-05 12:00'::timestamptz END, CASE WHEN s.outcome IN ('won', 'lost') THEN day END,
		'2026-01-05 12:00', '2026-01-05 12:00', '2026-01-02', 'x', s.stage_id, 1, 1
	FROM pipelines.pipeline_stage s WHERE s.stage_id = pipelines.stage_id('Sales', stage)
$$;
-- ann: no quota; bob: quota 0; cid: nothing open; dan: over-achieved; eve: all of it
CALL put(1, 'Sold', 'ann', 100, '2026-05-04');
CALL put(2, 'Offer', 'ann', 200, '2026-05-20');
CALL put(3, 'Sold', 'bob', 100, '2026-05-05');
CALL put(4, 'Offer', 'bob', 50, '2026-05-30');
CALL put(5, 'Sold', 'cid', 250, '2026-05-06');
CALL put(6, 'Sold', 'dan', 900, '2026-05-01');
CALL put(7, 'Sold', 'dan', 600, '2026-05-31');
CALL put(8, 'Lead', 'dan', 400, '2026-05-28');
CALL put(9, 'Sold', 'eve', 300, '2026-05-15');
CALL put(10, 'Lead', 'eve', 400, '2026-05-25');
CALL put(11, 'Offer', 'eve', 200, '2026-05-16');
CALL put(12, 'Gone', 'eve', 5000, '2026-05-07');
CALL put(13, 'Hold', 'eve', 800, '2026-05-29');
CALL put(14, 'Lead', 'eve', NULL, '2026-05-29');
-- overdue, undated, and in no fiscal period
CALL put(15, 'Offer', 'eve', 70, '2026-05-15');
CALL put(16, 'Offer', 'eve', 30, NULL);
CALL put(17, 'Offer', 'eve', 11, '2031-01-01');
-- a period that is over, and one that has not begun
CALL put(18, 'Sold', 'eve', 120, '2026-04-10');
CALL put(19, 'Lead', 'eve', 60, '2026-06-10');
-- another currency
CALL put(20, 'Sold', 'eve', 55, '2026-05-09', 'USD');
SELECT pipelines.set_quota(v, p, o) IS NOT NULL AS set
FROM (VALUES (0, '2026-05', 'bob'), (1000, '2026-05', 'cid'), (1000, '2026-05', 'dan'), (1000, '2026-05', 'eve'),
	(200, '2026-04', 'eve'), (400, '2026-06', 'eve'), (700, '2026-05', 'fay')) q(v, p, o);
UPDATE pipelines.quota SET set_at = '2026-01-01';

-- on the morning of 16 May 15 of 31 days are over
\set at '''2026-05-16 08:00+00'''
SELECT fiscal_period, owner, currency, deals, unpriced, quota, won, gap, pipeline, weighted, projected, remaining,
	round(projected_attainment, 4) AS projected_attainment, round(attainment, 4) AS attainment, round(coverage, 4) AS coverage,
	round(coverage_remaining, 4) AS coverage_remaining, round(required_win_rate, 4) AS required_win_rate,
	round(expected_to_date, 4) AS expected_to_date, round(pace_gap, 4) AS pace_gap, round(shortage_pct, 4) AS shortage_pct, mismatch
FROM pipelines.quota_report('deals', forecast_period => 'month', as_of => :at)
WHERE bucket = 'period' ORDER BY starts, owner, currency;
-- the same, worked out from the deals without us
WITH d AS (
	SELECT d.owner, coalesce(d.currency, 'EUR') AS currency, s.outcome, d.amount, s.probability,
		coalesce(d.closed_on, d.expected_close_on) AS day
	FROM deals d JOIN pipelines.pipeline_stage s USING (pipeline_id, stage_id)
), f AS (
	SELECT d.owner, d.currency, date_trunc('month', d.day)::date AS month, coalesce(sum(d.amount) FILTER (WHERE d.outcome = 'won'), 0) AS won,
		coalesce(sum(d.amount) FILTER (WHERE d.outcome = 'open'), 0) AS pipeline, coalesce(sum(d.amount * d.probability / 100) FILTER (WHERE d.outcome = 'open'), 0) AS weighted
	FROM d WHERE d.day BETWEEN '2026-01-01' AND '2026-12-31' AND NOT (d.outcome IN ('open', 'on_hold') AND d.day < '2026-05-16')
	GROUP BY 1, 2, 3
), q AS (
	SELECT q.owner, 'EUR' AS currency, p.starts AS month, q.value AS quota FROM pipelines.quota q JOIN pipelines.fiscal_period p USING (period_id)
), a AS (
	SELECT owner, currency, month, coalesce(won, 0) AS won, coalesce(pipeline, 0) AS pipeline, coalesce(weighted, 0) AS weighted, quota,
		(date '2026-05-16' - month) / (((month + interval '1 month')::date - month)::numeric) AS part
	FROM f FULL JOIN q USING (owner, currency, month)
), mine AS (
	SELECT owner, currency, month, won, pipeline, weighted, quota, quota - won AS gap, won + weighted AS projected,
		CASE WHEN quota - won > 0 THEN quota - won WHEN quota IS NOT NULL THEN 0 END AS remaining,
		CASE WHEN quota <> 0 THEN round(won / quota, 6) END AS attainment, CASE WHEN quota <> 0 THEN round((won + weighted) / quota, 6) END AS projected_attainment,
		CASE WHEN quota <> 0 THEN round(pipeline / quota, 6) END AS coverage,
		CASE WHEN quota - won > 0 THEN round(pipeline / (quota - won), 6) END AS coverage_remaining,
		CASE WHEN pipeline <> 0 AND quota IS NOT NULL THEN round(CASE WHEN quota > won THEN quota - won ELSE 0 END / pipeline, 6) END AS required_win_rate,
		round(quota * CASE WHEN part < 0 THEN 0 WHEN part > 1 THEN 1 ELSE part END, 6) AS expected_to_date,
		CASE WHEN quota <> 0 THEN round(CASE WHEN quota > won + pipeline THEN quota - won - pipeline ELSE 0 END / quota, 6) END AS shortage_pct
	FROM a
), ours AS (
	SELECT owner, currency, starts, won, pipeline, weighted, quota, gap, projected, remaining, round(attainment, 6), round(projected_attainment, 6),
		round(coverage, 6), round(coverage_remaining, 6), round(required_win_rate, 6), round(expected_to_date, 6), round(shortage_pct, 6)
	FROM pipelines.quota_report('deals', forecast_period => 'month', as_of => :at) WHERE bucket = 'period'
)
SELECT 'only ours' AS difference, x.* FROM (SELECT * FROM ours EXCEPT SELECT * FROM mine) x
UNION ALL SELECT 'only theirs', x.* FROM (SELECT * FROM mine EXCEPT SELECT * FROM ours) x;
-- no deal is dropped (R-5.3)
SELECT bucket, fiscal_period, deals, pipeline FROM pipelines.quota_report('deals', forecast_period => 'month', as_of => :at)
WHERE bucket <> 'period' ORDER BY bucket;
SELECT sum(deals) AS deals, (SELECT count(*) FROM deals) AS of FROM pipelines.quota_report('deals', forecast_period => 'month', as_of => :at);
SELECT fiscal_period, bucket, deals, pipeline FROM pipelines.quota_report('deals', forecast_period => 'month', overdue => 'carry', as_of => :at)
WHERE owner = 'eve' AND currency = 'EUR' ORDER BY starts;
-- chances: dan and bob have reached it, cid can't, eve's deals can bring 600 with 700 to go
SELECT owner, chance, p10, p50, p90, round(stddev::numeric, 4) AS stddev
FROM pipelines.quota_report('deals', fiscal_period => 'May 2026', as_of => :at) WHERE currency = 'EUR' ORDER BY owner;
-- working days: 11 of May's 21 are over
SELECT round(expected_to_date, 4) AS expected_to_date
FROM pipelines.quota_report('deals', fiscal_period => 'May 2026', pace => 'business', as_of => :at) WHERE owner = 'eve' AND currency = 'EUR';

-- longer periods add up; shorter ones are not invented (R-6.4)
SELECT forecast_period, fiscal_period, quota, quota_source, won, pipeline FROM pipelines.quota_report('deals', as_of => :at)
WHERE owner = 'eve' AND currency = 'EUR' AND bucket = 'period' AND fiscal_period IN ('May 2026', 'Q2 2026', '2026') ORDER BY starts, ends;
SELECT pipelines.set_quota(1000, '2026-07', 'fay', kind => 'quarter', forecast_type => 'amount') IS NOT NULL AS set;
UPDATE pipelines.quota SET set_at = '2026-01-01';
SELECT split, fiscal_period, quota, quota_source
FROM (VALUES (1, NULL, NULL), (2, 'equal', NULL), (3, 'days', NULL), (4, 'business_days', NULL), (5, 'weights', '{1,1,2}'::numeric[])) s(n, split, weights),
	pipelines.quota_report('deals', forecast_period => 'month', split => s.split, weights => s.weights, as_of => :at)
WHERE owner = 'fay' AND starts >= '2026-07-01' ORDER BY n, starts;
SELECT fiscal_period, quota, quota_source FROM pipelines.quota_report('deals', forecast_period => 'quarter', as_of => :at)
WHERE owner = 'fay' ORDER BY starts;
SELECT count(*), sum(quota) FROM pipelines.quota_report('deals', forecast_period => 'week', split => 'days', as_of => :at) WHERE owner = 'fay' AND starts >= '2026-07-01';

-- revisions are kept (S46, R-6.2)
SELECT pipelines.set_quota(1200, '2026-05', 'eve') IS NOT NULL AS set;
SELECT value, version, since = '2026-01-01' AS from_the_beginning FROM pipelines.quota_as_of('2026-05-16') WHERE owner = 'eve' AND value > 500;
SELECT value, version FROM pipelines.quota_as_of() WHERE owner = 'eve' AND value > 500;
SELECT count(*) FROM pipelines.quota_as_of('2025-12-31');
SELECT quota FROM pipelines.quota_report('deals', fiscal_period => 'May 2026', as_of => :at) WHERE owner = 'eve' AND currency = 'EUR';
SELECT quota FROM pipelines.quota_report('deals', fiscal_period => 'May 2026') WHERE owner = 'eve' AND currency = 'EUR';
SELECT quota FROM deals_quota WHERE fiscal_period = 'May 2026' AND owner = 'eve' AND currency = 'EUR';
-- one quota for each target
INSERT INTO pipelines.quota (forecast_type_id, period_id, owner, value) SELECT forecast_type_id, period_id, owner, 1 FROM pipelines.quota WHERE owner = 'cid';
INSERT INTO pipelines.quota (forecast_type_id, period_id, owner, value) SELECT 99, period_id, owner, 1 FROM pipelines.quota WHERE owner = 'cid';
INSERT INTO pipelines.quota (forecast_type_id, period_id, owner, value) VALUES (1, 123456, 'cid', 1);
-- a period that somebody has a quota for stays
DELETE FROM pipelines.fiscal_period WHERE period_id IN (SELECT period_id FROM pipelines.quota WHERE owner = 'cid');
SELECT pipelines.set_quota(NULL, '2026-05', 'fay') IS NOT NULL AS gone, count(*) FROM pipelines.quota WHERE owner = 'fay' AND value = 700;

-- one currency: without a rate nothing is counted as 1 (R-8.2), quotas go by the plan (R-6.5)
SELECT owner, deals, unpriced, unconverted, won FROM pipelines.quota_report('deals', fiscal_period => 'May 2026', currency => 'EUR', as_of => :at)
WHERE owner = 'eve';
INSERT INTO pipelines.exchange_rate (rate_set, currency, base, rate_on, rate) VALUES
	('spot', 'USD', 'EUR', '2026-05-08', 1.10), ('plan', 'USD', 'EUR', '2026-05-01', 2);
SELECT owner, quota, won, unconverted FROM pipelines.quota_report('deals', fiscal_period => 'May 2026', currency => 'EUR', as_of => :at) WHERE owner = 'eve';
SELECT owner, quota, won, unconverted FROM pipelines.quota_report('deals', fiscal_period => 'May 2026', currency => 'USD', rates => 'fixed:plan@2026-05-01', as_of => :at)
WHERE owner = 'eve';

-- by anything: total, product, an expression; types (R-5.4)
SELECT dimension, deals, won, pipeline FROM pipelines.quota_report('deals', "by" => '{}', fiscal_period => 'May 2026', as_of => :at) ORDER BY currency;
SELECT dimension, dimensions, deals, won FROM pipelines.quota_report('deals', "by" => '{amount >= 500}', fiscal_period => 'May 2026', as_of => :at)
WHERE currency = 'EUR' ORDER BY deals;
INSERT INTO pipelines.forecast_type (code, name, measure, is_money, filter) VALUES ('pieces', 'Pieces', '1', false, 'amount IS NOT NULL');
SELECT forecast_type, currency, deals, won, pipeline FROM pipelines.quota_report('deals', 'pieces', "by" => '{}', fiscal_period => 'May 2026', as_of => :at);
SELECT forecast_type, pipeline, weighted FROM pipelines.quota_report('deals', 'weighted', "by" => '{}', fiscal_period => 'May 2026', as_of => :at) WHERE currency = 'EUR';

-- wrong arguments
SELECT * FROM pipelines.quota_report('deals', 'turnover');
SELECT * FROM pipelines.quota_report('deals', forecast_period => 'decade');
SELECT * FROM pipelines.quota_report('deals', "by" => '{shoe_size}');
SELECT * FROM pipelines.quota_report('deals', split => 'somehow');
SELECT * FROM pipelines.quota_report('deals', pace => 'slow');
SELECT * FROM pipelines.quota_report('deals', overdue => 'hide');
SELECT * FROM pipelines.quota_report('deals', currency => 'XYZ');
SELECT * FROM pipelines.quota_report('deals', as_of => NULL);
SELECT * FROM pipelines.quota_report('pg_class');

-- the structure: rita sold 10 with team A in April, 20 with team B in May (R-6.3)
INSERT INTO pipelines.sales_unit (unit_id, name, parent_id, manager) VALUES (1, 'World', NULL, 'wanda'), (2, 'Team A', 1, 'alma'), (3, 'Team B', 1, 'bert');
INSERT INTO pipelines.sales_unit_member (owner, starts_on, unit_id) VALUES ('rita', '-infinity', 2), ('rita', '2026-05-01', 3), ('dan', '-infinity', 3);
CALL put(30, 'Sold', 'rita', 10, '2026-04-30');
CALL put(31, 'Sold', 'rita', 20, '2026-05-01');
SELECT pipelines.set_quota(v, '2026-05', unit => u) IS NOT NULL AS set FROM (VALUES (3000, 'World'), (900, 'Team A'), (1500, 'Team B')) q(v, u);
SELECT pipelines.set_quota(300, '2026-05', 'rita') IS NOT NULL AS set;
UPDATE pipelines.quota SET set_at = '2026-01-01';
SELECT fiscal_period, unit_id, unit_name, deals, won, quota, children_quota, mismatch
FROM pipelines.quota_report('deals', "by" => '{unit}', forecast_period => 'month', as_of => :at)
WHERE starts IN ('2026-04-01', '2026-05-01') AND currency = 'EUR' ORDER BY starts, unit_id;
-- quotas of several kinds: each way to split is a part of the view
SELECT dimension, count(*) > 0 AS shown FROM deals_quota GROUP BY 1 ORDER BY 1;

-- who sets whose quota (R-6.6)
-- S37: where less was won by now than a running period asks for; nothing was due on its first day
SELECT pipelines.set_quota(1000000, current_date::text, 'ann', kind => 'year') IS NOT NULL AS set;
SELECT (count(*) > 0) = EXISTS (SELECT FROM deals_quota q WHERE q.owner = 'ann' AND q.forecast_period = 'year' AND q.starts < current_date AND q.ends > current_date) AS told FROM deals_behind WHERE owner = 'ann' AND forecast_period = 'year' AND pace_gap < 0;
SELECT count(*) AS others FROM deals_behind b WHERE NOT EXISTS (SELECT FROM deals_quota q WHERE q = b);
CREATE ROLE regress_quota_bert;
CREATE ROLE regress_quota_dan;
UPDATE pipelines.sales_unit SET manager = 'regress_quota_bert' WHERE unit_id = 3;
INSERT INTO pipelines.sales_unit_member (owner, unit_id) VALUES ('regress_quota_dan', 3);
GRANT SELECT, INSERT, UPDATE, DELETE ON pipelines.quota TO regress_quota_bert, regress_quota_dan;
SELECT pipelines.secure_quotas();
SET ROLE regress_quota_bert;
SELECT pipelines.set_quota(500, '2026-06', 'regress_quota_dan') IS NOT NULL AS set;
SELECT pipelines.set_quota(1, '2026-06', 'regress_quota_bert');
SELECT pipelines.set_quota(1, '2026-06', 'ann');
SELECT pipelines.set_quota(1, '2026-06', unit => 'Team B');
SELECT pipelines.set_quota(1, '2026-05', 'eve');
SET ROLE regress_quota_dan;
SELECT value FROM pipelines.quota WHERE owner = 'regress_quota_dan';
SELECT pipelines.set_quota(1, '2026-06', 'regress_quota_dan');
DELETE FROM pipelines.quota WHERE owner = 'regress_quota_dan';
-- the view shows nothing of a table that one may not read
SELECT count(*) FROM deals_quota;
RESET ROLE;
SELECT pipelines.secure_quotas(secured => false);
SELECT relrowsecurity FROM pg_class WHERE oid = 'pipelines.quota'::regclass;

-- a protected pipeline: neither its deals nor its quotas, of today and of before, are in any report of who may not see it
SELECT pipelines.create_pipeline('Secret', layout => 'secret'), pipelines.create_pipeline('Known', layout => 'secret') > 0 AS made;
SELECT pipelines.create_deals('offers', layout => 'secret', currency => 'EUR');
INSERT INTO offers (name, pipeline_id, owner, amount, expected_close_on)
	SELECT p.name, p.pipeline_id, 'ann', CASE p.name WHEN 'Secret' THEN 7000 ELSE 100 END, '2026-05-20'
	FROM pipelines.pipeline p WHERE p.name IN ('Secret', 'Known');
INSERT INTO pipelines.quota (relation, forecast_type_id, period_id, pipeline_id, value)
	SELECT 'offers', 1, f.period_id, p.pipeline_id, CASE p.name WHEN 'Secret' THEN 8000 ELSE 200 END
	FROM pipelines.pipeline p, pipelines.fiscal_period f WHERE p.name IN ('Secret', 'Known') AND f.label = 'May 2026' AND f.kind = 'month';
UPDATE pipelines.quota SET value = value + 1 WHERE relation = 'offers'::regclass;
SELECT count(*) > 0 AS granted FROM pipelines.grant_access('offers', 'regress_quota_dan', 'read');
SELECT pipelines.protect_pipeline('Secret');
-- (the view: access_as_if)
SET ROLE regress_quota_dan;
SELECT pipeline_name, quota, pipeline FROM pipelines.quota_report('offers', "by" => '{pipeline}', forecast_period => 'month', currency => 'EUR');
SELECT owner, category, deals, amount FROM pipelines.forecast_report('offers') WHERE deals > 0;
SELECT pipeline_name, value FROM pipelines.forecast_deals('offers');
SELECT value FROM pipelines.quota WHERE relation = 'offers'::regclass;
SELECT value FROM pipelines.quota_history WHERE relation ~ 'offers';
SELECT value FROM pipelines.quota_as_of(now()) WHERE relation ~ 'offers';
RESET ROLE;
SELECT bucket, pipeline_name, quota, pipeline FROM offers_quota WHERE forecast_period = 'month' AND dimension = 'pipeline' ORDER BY 1, 2;
\c :regression
DROP DATABASE regress_pipelines_quota_report;
DROP ROLE regress_quota_bert;
DROP ROLE regress_quota_dan;
