-- Scores: section 3.11.2 (R-11.1 to R-11.5), S40, S42, S73, S78, S80; rows 75 to 78.
-- All counts and probabilities are worked out by hand in comments.
-- In a database of its own, so that every id is the same in every run.
\set ECHO none
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_pipelines_scoring;
CREATE DATABASE regress_pipelines_scoring TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\set home :DBNAME
\c regress_pipelines_scoring
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
\pset null '-'

SELECT pipelines.create_pipeline('Sales', time_zone => 'UTC', stages => '[
	{"name": "Lead", "probability": 10}, {"name": "Demo", "probability": 30}, {"name": "Offer", "probability": 60},
	{"name": "Won", "outcome": "won"}, {"name": "Lost", "outcome": "lost"},
	{"name": "Junk", "outcome": "disqualified"}, {"name": "Filed", "outcome": "done"}]');
SELECT pipelines.create_deals('deals', currency => 'EUR');

-- day 0 is 2024-01-01; each deal: source, then stages with the day of entry
CREATE TABLE event (deal_id bigint, day numeric, stage text, source text, amount numeric);
INSERT INTO event VALUES
	(1, 0, 'Lead', 'web', 100), (1, 2, 'Demo', 'web', 100), (1, 4, 'Offer', 'web', 100), (1, 20, 'Won', 'web', 100),
	(2, 0, 'Lead', 'fair', 200), (2, 12, 'Demo', 'fair', 200), (2, 14, 'Won', 'fair', 200),
	(3, 0, 'Lead', 'web', 300), (3, 3, 'Offer', 'web', 300), (3, 9, 'Won', 'web', 300),
	(4, 0, 'Lead', 'fair', 400), (4, 3, 'Lost', 'fair', 400),
	(5, 0, 'Lead', 'fair', 500), (5, 15, 'Lost', 'fair', 500),
	(6, 0, 'Lead', 'web', 600), (6, 5, 'Demo', 'web', 600), (6, 30, 'Junk', 'web', 600),
	(7, 0, 'Lead', NULL, 700), (7, 5, 'Demo', NULL, 700), (7, 7, 'Lead', NULL, 700), (7, 20, 'Lost', NULL, 700),
	-- closed, but neither won nor lost; never seen open; still open on day 40
	(8, 0, 'Lead', 'web', 800), (8, 2, 'Filed', 'web', 800),
	(9, 38, 'Lead', 'web', 900),
	(10, 10, 'Lead', 'fair', 1000), (10, 12, 'Offer', 'fair', 1000),
	(11, 35, 'Lead', 'mail', 1100), (11, 39, 'Demo', 'mail', 1100),
	-- won, and taken back on day 39: no evidence after that, evidence before
	(12, 1, 'Lead', 'web', 1200), (12, 6, 'Won', 'web', 1200), (12, 39, 'Lead', 'web', 1200);
CREATE VIEW events AS
	SELECT deal_id, timestamptz '2024-01-01' + day * interval '1 day' AS at, stage, source, amount FROM event;
SELECT * FROM pipelines.import_history('deals', 'events');

-- Counts as known on day 40 with one bound at 10 days.  Won: 1, 2, 3; lost: 4, 5, 6 (disqualified), 7.
-- younger than 10 days, by furthest stage: Lead 1 2 3 | 4 5 6 7, Demo 1 | 6 7, Offer 1 3 | -
-- older: Lead 2 | 5, Demo 2 | 6 7, Offer 1 | -     (7 was pushed back to Lead on day 7: it had been in Demo)
SELECT * FROM pipelines.train_scores('deals', ages => '{10 days}', min_won => 3, min_lost => 3, as_of => '2024-02-10');
SELECT c.feature, s.name AS stage, c.age, c.won, c.lost
FROM pipelines.score_count c LEFT JOIN pipelines.stage s ON c.feature = 'stage' AND s.stage_id::text = c.value
ORDER BY c.feature, s.stage_id, c.age;

-- the same again, whatever the order of the rows (R-11.1)
CREATE TABLE counts AS SELECT * FROM pipelines.score_count;
CREATE FUNCTION same_counts() RETURNS bigint LANGUAGE sql AS $$
	SELECT count(*) FROM (
		(TABLE pipelines.score_count EXCEPT TABLE counts) UNION ALL (TABLE counts EXCEPT TABLE pipelines.score_count)) x
$$;
SELECT count(*) FROM pipelines.train_scores('deals', as_of => '2024-02-10');
SELECT same_counts();

-- Scores on day 40.  9: 2 days old, Lead.
--   prior ln(4/5) = -0.2231; age ln((4/5) / (5/6)) = -0.0408; stage ln((4/6) / (5/7)) = -0.0690; e^-0.3330 / (1 + ...) = 41.75 %
-- 10: 30 days, Offer.
--   age ln((3/5) / (4/6)) = -0.1054; stage ln((2/5) / (1/6)) = 0.8755; sum 0.5470: 63.34 %
-- 11: 5 days, Demo.  stage ln((2/6) / (3/7)) = -0.2513; sum -0.5152: 37.40 %
-- 12 is older than 10 days, in its second episode, at Lead: age -0.1054; stage ln((2/5) / (2/6)) = 0.1823; sum -0.1462: 46.35 %
SELECT deal, stage_name, age_days, score, stage_probability, effective_probability, probability_source, basis, won, lost, log_odds, contributions
FROM pipelines.scores('deals', as_of => '2024-02-10') ORDER BY deal::bigint;

-- known on day 35: deal 12 was won then
SELECT * FROM pipelines.train_scores('deals', as_of => '2024-02-05');
SELECT age, won, lost FROM pipelines.score_count WHERE feature = 'age' ORDER BY age;
-- with the closing on day 20 of deal 1 not known yet, nor that of 6 and 7
SELECT pipeline_name, won, lost, enough FROM pipelines.train_scores('deals', as_of => '2024-01-19');

-- Features: 'web' 1 3 | 6, 'fair' 2 | 4 5, none for 7; two values.  Numbers by order of magnitude.
SELECT pipeline_name, won, lost, enough FROM pipelines.train_scores('deals', features => '{source,amount,"upper(source)"}', as_of => '2024-02-10');
SELECT feature, value, won, lost FROM pipelines.score_count WHERE feature LIKE 'column:%' ORDER BY feature, value;
-- source of 9 (web): ln((3/5) / (2/5)) = 0.4055; 10 (fair): ln((2/5) / (3/5)); 11: never seen, says nothing
SELECT deal, score, contributions - '{prior,age,stage}'::text[] AS features FROM pipelines.scores('deals', as_of => '2024-02-10') ORDER BY deal::bigint;
SELECT try($$SELECT pipelines.train_scores('deals', features => '{nonsense}')$$);
SELECT try($$SELECT pipelines.train_scores('deals', features => '{account}')$$);
SELECT try($$SELECT pipelines.train_scores('deals', features => '{"pg_sleep(1)::text"}')$$);
SELECT try($$SELECT pipelines.train_scores('deals', features => '{"source) FROM pg_authid h --"}')$$);
SELECT try($$SELECT pipelines.train_scores('deals', smoothing => 0)$$);
SELECT try($$SELECT pipelines.train_scores('event')$$);
SELECT try($$SELECT count(*) FROM pipelines.scores('deals', as_of => NULL)$$);
SELECT try($$SELECT count(*) FROM pipelines.scores('deals', 'Nowhere')$$);

-- R-11.4: too few closings: (won + 10 * p) / (won + lost + 10) of those that were once as far.
-- Lead 3 | 4 at 10 %: 4 / 17 = 23.53; Offer 2 | 0 at 60 %: 8 / 12 = 66.67; Demo 2 | 2 at 30 %: 5 / 14 = 35.71
SELECT pipeline_name, won, lost, enough FROM pipelines.train_scores('deals', features => '{}', min_won => 40, as_of => '2024-02-10');
SELECT deal, stage_name, score, basis, won, lost, contributions FROM pipelines.scores('deals', as_of => '2024-02-10') ORDER BY deal::bigint;
SELECT count(*) FROM pipelines.train_scores('deals', prior_weight => 0, as_of => '2024-02-10');
-- nothing is certain
SELECT deal, score FROM pipelines.scores('deals', as_of => '2024-02-10') ORDER BY deal::bigint;

-- R-11.5: scores count where the pipeline uses them, change no deal and no override; T_board and T_forecast agree
SELECT count(*) FROM pipelines.train_scores('deals', min_won => 3, prior_weight => 10, as_of => '2024-02-10');
SELECT same_counts();
UPDATE deals SET probability = 77 WHERE deal_id = 10;
UPDATE deals SET forecast_category = 'omitted' WHERE deal_id = 11;
UPDATE deals SET expected_close_on = '2099-05-05' WHERE deal_id = 9;
CREATE TABLE before AS SELECT * FROM deals;
SELECT deal_id, effective_probability, probability_source, weighted FROM deals_current WHERE outcome = 'open' ORDER BY deal_id;
UPDATE pipelines.pipeline SET use_scores = true;
-- all of them are older than 10 days by now: Lead as 12 above; Demo, stage ln((2/5) / (3/6)) = -0.2231: 36.55 %
SELECT deal_id, effective_probability, probability_source, weighted FROM deals_current WHERE outcome = 'open' ORDER BY deal_id;
SELECT stage_name, deals, amount, weighted FROM deals_board WHERE outcome = 'open' ORDER BY position;
SELECT stage_name, sum(weighted) AS weighted FROM deals_current WHERE outcome = 'open' GROUP BY 1, position ORDER BY position;
SELECT bucket, month, deals, pipeline, weighted FROM deals_forecast WHERE pipeline > 0 ORDER BY bucket;
SELECT deal, effective_probability, probability_source FROM pipelines.scores('deals', 'Sales') ORDER BY deal::bigint;
-- and so does every report; one bucket for deals without a day, one for the one that has one
SELECT n, amount, weighted FROM pipelines.load('deals', NULL) UNION ALL
SELECT sum(deals), sum(amount), sum(weighted) FROM deals_board WHERE outcome = 'open' UNION ALL
SELECT sum(deals_count), sum(amount), sum(weighted) FROM pipelines.board('deals') WHERE outcome = 'open';
SELECT category, bucket, deals, amount, weighted FROM pipelines.forecast_report('deals', 'weighted', by => '{}') WHERE deals > 0;
SELECT deal, probability FROM pipelines.review('deals', since => '2024-02-01') WHERE outcome = 'open' ORDER BY deal::bigint;
-- what a stage or a deal is taken for comes before a score
SELECT deal, probability FROM pipelines.forecast_deals('deals', 'weighted', overdue => 'carry', overrides => '[{"stage": "Lead", "probability": 1}, {"deal": "9", "probability": 2}]') ORDER BY 1;
-- of the past, by what was known then; whether scores counted then, the pipelines of then say (R-2.33)
SELECT sum(weighted) AS weighted, count(*) FROM (SELECT round(d.amount * s.effective_probability / 100, 6) AS weighted
	FROM pipelines.as_of(NULL::deals, '2024-02-09') d JOIN pipelines.scores('deals', as_of => '2024-02-09') s ON s.deal = d.deal_id::text) x;
SELECT round(weighted, 6) AS weighted, n FROM pipelines.load('deals', NULL, as_of => '2024-02-09');
SELECT round(sum(weighted), 6) AS weighted, sum(deals_count) FROM pipelines.board('deals', as_of => '2024-02-09') WHERE outcome = 'open';
SELECT round(sum(weighted), 6) AS weighted FROM pipelines.forecast_report('deals', 'weighted', by => '{}', overdue => 'carry', as_of => '2024-02-09');
SELECT round(sum(weighted), 6) AS weighted FROM pipelines.forecast_report('deals', 'weighted', by => '{}', overdue => 'carry', as_of => '2024-02-09', definitions => 'current');
SELECT deal, probability FROM pipelines.review('deals', since => '2024-02-01', as_of => '2024-02-09') WHERE outcome = 'open' ORDER BY deal::bigint;
-- as if they always had
ALTER TABLE pipelines.pipeline_history DISABLE TRIGGER USER;
UPDATE pipelines.pipeline_history SET use_scores = true;
ALTER TABLE pipelines.pipeline_history ENABLE ALWAYS TRIGGER pipelines_guard;
SELECT sum(weighted) AS weighted, count(*) FROM (SELECT round(d.amount * s.effective_probability / 100, 6) AS weighted
	FROM pipelines.as_of(NULL::deals, '2024-02-09') d JOIN pipelines.scores('deals', as_of => '2024-02-09') s ON s.deal = d.deal_id::text) x;
SELECT round(weighted, 6) AS weighted, n FROM pipelines.load('deals', NULL, as_of => '2024-02-09');
SELECT round(sum(weighted), 6) AS weighted, sum(deals_count) FROM pipelines.board('deals', as_of => '2024-02-09') WHERE outcome = 'open';
SELECT round(sum(weighted), 6) AS weighted FROM pipelines.forecast_report('deals', 'weighted', by => '{}', overdue => 'carry', as_of => '2024-02-09');
SELECT deal, probability FROM pipelines.review('deals', since => '2024-02-01', as_of => '2024-02-09') WHERE outcome = 'open' ORDER BY deal::bigint;
SELECT count(*) FROM (TABLE before EXCEPT TABLE deals) x;
SELECT count(*) FROM deals_history WHERE version > 3;
-- a feature reaches the views
SELECT count(*) FROM pipelines.train_scores('deals', features => '{source}', as_of => '2024-02-10');
SELECT d.deal_id, d.effective_probability = s.score AS same FROM deals_current d JOIN pipelines.scores('deals') s ON s.deal = d.deal_id::text
WHERE d.probability_source = 'score' ORDER BY 1;
SELECT count(*) FROM pipelines.train_scores('deals', features => '{}', as_of => '2024-02-10');
UPDATE pipelines.pipeline SET use_scores = false;
SELECT DISTINCT probability_source FROM deals_current ORDER BY 1;

-- No leakage: what happens later changes neither counts nor scores of the past
CREATE TABLE scored AS SELECT * FROM pipelines.scores('deals', as_of => '2024-02-09');
UPDATE deals SET stage_id = pipelines.stage_id('Sales', 'Won'), source = 'other', amount = 5 WHERE deal_id IN (4, 9);
UPDATE deals SET stage_id = pipelines.stage_id('Sales', 'Lost') WHERE deal_id IN (1, 10);
UPDATE deals SET stage_id = pipelines.stage_id('Sales', 'Offer') WHERE deal_id IN (2, 11);
DELETE FROM deals WHERE deal_id IN (3, 6, 12);
INSERT INTO deals (name, stage_id) SELECT 'later', pipelines.stage_id('Sales', 'Demo') FROM generate_series(1, 5);
UPDATE deals SET stage_id = pipelines.stage_id('Sales', 'Lost') WHERE name = 'later';
UPDATE pipelines.pipeline_stage SET probability = 55 WHERE stage_id = pipelines.stage_id('Sales', 'Demo');
SELECT count(*) FROM pipelines.train_scores('deals', as_of => '2024-02-10');
SELECT same_counts();
SELECT count(*) FROM ((TABLE scored EXCEPT SELECT * FROM pipelines.scores('deals', as_of => '2024-02-09'))
	UNION ALL (SELECT * FROM pipelines.scores('deals', as_of => '2024-02-09') EXCEPT TABLE scored)) x;
-- now they count: 1 lost after all, 2 open again, 3 and 6 closed when they were deleted, 4 and 9 won, 12 deleted when open
SELECT won, lost FROM pipelines.train_scores('deals');

-- Calibration by hand: known on day 16 are 2, 3 | 4, 5, and 12 (won then).  From then on each 10 days:
-- day 16: 1 (Offer), 6 (Demo), 7 (Lead; furthest Demo), 10 (Offer); day 26: 6, 10; day 36: 10, 11 and (as of day 38) open
-- 1 is won, 6 and 7 lost: configured 60, 30, 10, 30 percent.  Brier (0.16 + 0.09 + 0.01 + 0.09) / 4 = 0.0875
-- log loss -(ln 0.6 + ln 0.7 + ln 0.9 + ln 0.7) / 4 = 0.332382
-- base 3 of 5: Brier (0.16 + 3 * 0.36) / 4 = 0.31
SELECT predictor, bin, predictions, still_open, mean_predicted, won, observed, brier, log_loss
FROM pipelines.calibration('deals', '2024-01-17', every => '10 days', ages => '{10 days}', as_of => '2024-02-08');
SELECT count(*) FROM pipelines.calibration('deals', '2024-01-17', every => '10 days', new_only => true, as_of => '2024-02-08') WHERE predictor <> 'score';
SELECT try($$SELECT pipelines.calibration('deals', '2024-02-08', as_of => '2024-01-17')$$);

-- An adopted table: names of its own, a key of two columns; what was closed before was never seen open
CREATE SCHEMA crm;
CREATE TABLE crm.opportunity (tenant integer, code text, state text NOT NULL, value numeric, chance numeric, PRIMARY KEY (tenant, code));
INSERT INTO crm.opportunity SELECT 1 + g % 2, 'c' || g, 'open', g, NULL FROM generate_series(1, 12) g;
INSERT INTO crm.opportunity VALUES (9, 'was won', 'won', 1, NULL), (9, 'was lost', 'lost', 1, NULL);
SELECT count(*) > 0 AS adopted FROM pipelines.adopt('crm.opportunity', stage => 'state', amount => 'value', layout => 'CRM', apply => true);
UPDATE crm.opportunity SET state = 'won' WHERE value <= 3;
UPDATE crm.opportunity SET state = 'lost' WHERE value BETWEEN 4 AND 9;
-- 3 of 9: ln(4/7) = -0.5596; all at the youngest age and in the only stage: 4/4 against 7/7 of their own, by k = 2 and 1:
-- age ln((4/5) / (7/8)) = -0.0896; stage 0; value up to 3: ln((4/5) / (1/8)) = 1.8563, from 10 on never seen: e^-0.6492 / (1 + ...) = 34.32 %
SELECT won, lost, enough FROM pipelines.train_scores('crm.opportunity', features => '{amount}', ages => '{1000 days}', min_won => 3, min_lost => 3);
SELECT feature, value, age, won, lost FROM pipelines.score_count WHERE relation = 'crm.opportunity'::regclass AND feature <> 'stage' ORDER BY 1, 2, 3;
SELECT deal, age_days < 1 AS young, score, basis, contributions FROM pipelines.scores('crm.opportunity') ORDER BY deal;

-- one call for rows of two tables: each by its own model, which is read once for each of the three calls (without pg_backend_memory_contexts nobody counts)
CREATE FUNCTION models_kept() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	n bigint := 2;
BEGIN
	IF to_regclass('pg_catalog.pg_backend_memory_contexts') IS NOT NULL THEN
		EXECUTE 'SELECT count(*) FROM pg_catalog.pg_backend_memory_contexts WHERE name = ''pipelines scores''' INTO n;
	END IF;
	RETURN n;
END
$$;
WITH deal AS (
	SELECT 'deals'::regclass AS t, 1 AS p, pipelines.stage_id('Sales', 'Demo') AS s, '{}'::text[] AS features
	UNION ALL SELECT 'crm.opportunity', m.pipeline_id, (SELECT ps.stage_id FROM pipelines.pipeline_stage ps WHERE ps.pipeline_id = m.pipeline_id AND ps.outcome = 'open' LIMIT 1), '{10^1}'
	FROM (SELECT min(pipeline_id) AS pipeline_id FROM pipelines.score_model WHERE relation = 'crm.opportunity'::regclass) m
), alone AS (
	SELECT t, pipelines._score(t, p, s, '2024-01-01', '2024-01-20', 30, features) AS score FROM deal WHERE t = 'deals'::regclass
	UNION ALL SELECT t, pipelines._score(t, p, s, '2024-01-01', '2024-01-20', 30, features) FROM deal WHERE t <> 'deals'::regclass
), together AS MATERIALIZED (
	SELECT d.t, pipelines._score(d.t, d.p, d.s, '2024-01-01', '2024-01-20', 30, d.features) AS score
	FROM (SELECT d.* FROM generate_series(1, 50) g, deal d ORDER BY g, d.t OFFSET 0) d
)
SELECT x.t, x.n, x.same, x.score IS NOT NULL AS known, x.many <= 4 AS few_models
FROM (SELECT t.t, count(*) AS n, bool_and(t.score = a.score) AS same, min(t.score) AS score, models_kept() AS many
	  FROM together t JOIN alone a ON a.t = t.t GROUP BY t.t) x ORDER BY 1;

-- the view says the same as the report with its defaults
SELECT count(*) > 0 AS some, count(*) FILTER (WHERE v.score IS DISTINCT FROM f.score OR v.contributions IS DISTINCT FROM f.contributions) AS wrong
FROM deals_scores v FULL JOIN pipelines.scores('deals') f USING (deal);

-- an expression asks of the past what is tracked, or of the present row where a report doesn't learn from it
SELECT try($$SELECT FROM pipelines.train_scores('deals', features => '{upper(account)}')$$);
SELECT try($$SELECT FROM pipelines.calibration('deals', '2024-01-15', features => ARRAY['coalesce(owner, account)'])$$);
UPDATE deals SET account = 'acme';
SELECT a.dimension, a.n, a.actual = b.actual AS same FROM (SELECT dimension, count(*) AS n, sum(actual) AS actual FROM pipelines.forecast_accuracy('deals', by => 'upper(account)', as_of => '2024-12-01') GROUP BY 1) a
	FULL JOIN (SELECT upper(dimension) AS dimension, count(*) AS n, sum(actual) AS actual FROM pipelines.forecast_accuracy('deals', by => 'account', as_of => '2024-12-01') GROUP BY 1) b
	ON coalesce(a.dimension, '-') = coalesce(b.dimension, '-') AND a.n = b.n ORDER BY 1;

-- scores count nowhere before somebody has trained them
BEGIN;
SELECT pipelines.create_deals('untrained', currency => 'EUR');
UPDATE pipelines.pipeline SET use_scores = true;
INSERT INTO untrained (amount) SELECT 100 FROM generate_series(1, 20);
UPDATE untrained SET stage_id = pipelines.stage_id('Sales', 'Won') WHERE deal_id > 1;
SELECT s.score <> s.stage_probability AS another, s.effective_probability, s.probability_source, s.log_odds, c.effective_probability AS of_view, c.probability_source AS source_of_view
FROM pipelines.scores('untrained') s JOIN untrained_current c ON c.deal_id::text = s.deal;
ROLLBACK;

-- Only who owns the table trains, and sees what it says of protected pipelines only who sees them
CREATE ROLE scoring_clerk;
GRANT SELECT, UPDATE ON deals TO scoring_clerk;
GRANT SELECT ON deals_history TO scoring_clerk;
SET ROLE scoring_clerk;
SELECT try($$SELECT pipelines.train_scores('deals')$$);
SELECT count(*) > 0 AS scores FROM pipelines.scores('deals');
RESET ROLE;
SELECT pipelines.protect_pipeline('Sales');
SET ROLE scoring_clerk;
SELECT count(*) FROM pipelines.score_count WHERE relation = 'deals'::regclass;
SELECT count(*) FROM pipelines.scores('deals');
SELECT count(*) FROM pipelines.scores('deals', as_of => '2024-02-09');
RESET ROLE;

-- a table that is let go takes what its scores are made of with it
SELECT pipelines.release('deals');
SELECT count(*) FILTER (WHERE relation = 'deals'::regclass) AS released, count(*) > 0 AS others FROM pipelines.score_model;
SELECT count(*) FILTER (WHERE relation = 'deals'::regclass) AS released, count(*) > 0 AS others FROM pipelines.score_count;

-- what a deal says only just before it is closed is no news of the time before (R-11.5): 160 deals, each open for ten days, whose source is known in the last hour
SELECT pipelines.create_pipeline('Late', layout => 'late', time_zone => 'UTC', stages => '[{"name": "Open", "probability": 50}, {"name": "Good", "outcome": "won"}, {"name": "Bad", "outcome": "lost"}]') > 0 AS late;
SELECT pipelines.create_deals('late', layout => 'late');
CREATE TABLE late_log AS
SELECT i AS deal_id, timestamptz '2025-01-01' + i * interval '1 day' + v.after AS at, CASE WHEN v.after < '10 days' THEN 'Open' WHEN i % 2 = 0 THEN 'Good' ELSE 'Bad' END AS stage,
	CASE WHEN v.after > '0' THEN CASE i % 2 WHEN 0 THEN 'fair' ELSE 'call' END END AS source
FROM generate_series(1, 160) i, unnest('{0 days,9 days 23 hours,10 days}'::interval[]) v(after);
SELECT * FROM pipelines.import_history('late', 'late_log');
SELECT f, predictor, predictions, won, brier, log_loss FROM unnest(ARRAY['{}', '{source}', '{source,stage_id}']::text[]) f, pipelines.calibration('late', '2025-04-01', every => '3 days', features => f::text[], as_of => '2025-07-01')
WHERE bin = 'all' AND predictor = 'score' ORDER BY f COLLATE "C";
-- where it has been said for long it tells all, and what is told at the end is what was said then
UPDATE late_log SET source = CASE deal_id % 2 WHEN 0 THEN 'fair' ELSE 'call' END;
SELECT pipelines.create_deals('early', layout => 'late');
SELECT * FROM pipelines.import_history('early', 'late_log');
SELECT predictions, won, brier < 0.001 AS good FROM pipelines.calibration('early', '2025-04-01', every => '3 days', features => '{source}', as_of => '2025-07-01') WHERE bin = 'all' AND predictor = 'score';

-- a deal is judged by what became of it, wherever it went (R-11.5): 1 won; 2 transferred, and lost there; 3 lost, reopened, lost; 4 lost, reopened; 5 deleted;
-- 6 transferred, and open there; 7 done.  Predicted every twenty days from 02-01 on: 02-21, 03-13, 04-02, 04-22, 05-12, 06-01.
SELECT pipelines.create_pipeline('First', layout => 'two', time_zone => 'UTC', stages => '["Offer", "Won", "Lost", {"name": "Over", "outcome": "done"}]') > 0 AS first,
	pipelines.create_pipeline('Second', layout => 'two', time_zone => 'UTC', stages => '["Offer", "Won", "Lost"]') > 0 AS second;
SELECT pipelines.create_deals('went', layout => 'two');
CREATE TABLE went_log (deal_id bigint, at timestamptz, pipeline text, stage text);
INSERT INTO went_log SELECT i, '2026-01-01', 'First', 'Offer' FROM generate_series(1, 7) i;
INSERT INTO went_log VALUES (1, '2026-03-01', 'First', 'Won'), (2, '2026-03-01', 'Second', 'Offer'), (2, '2026-04-01', 'Second', 'Lost'), (3, '2026-03-01', 'First', 'Lost'),
	(3, '2026-04-01', 'First', 'Offer'), (3, '2026-05-01', 'First', 'Lost'), (4, '2026-03-01', 'First', 'Lost'), (4, '2026-04-01', 'First', 'Offer'),
	(6, '2026-03-01', 'Second', 'Offer'), (7, '2026-03-01', 'First', 'Over');
SELECT * FROM pipelines.import_history('went', 'went_log');
SET pipelines.event_time = '2026-06-01 00:00+00';
DELETE FROM went WHERE deal_id = 5;
RESET pipelines.event_time;
-- on 04-15: 2 + 2 predictions in the first pipeline (deals 1, 2), 1 in the second (2); for open ones 3 + 3 + 4 + 2 (3, 4, 5, 6), and 2 (6)
-- on 06-02: 2 + 2 + 4 (deals 1, 2, 3), and 1 (2); for open ones 6 + 2 (4, 6), and 5 (6)
SELECT until, f, pipeline_name, predictions, still_open, won FROM unnest('{2026-04-15,2026-06-02}'::timestamptz[]) until, unnest(ARRAY['{}', '{owner}']::text[]) f,
	pipelines.calibration('went', '2026-02-01', every => '20 days', features => f::text[], as_of => until) WHERE bin = 'all' AND predictor = 'score' ORDER BY until, f COLLATE "C", pipeline_name;

\c :home
DROP DATABASE regress_pipelines_scoring;
DROP ROLE scoring_clerk;
