-- tour.sql: what there is to see at the dealer's.
--
-- What somebody would type in the morning is shown as typed.  Of the reports
-- only the results are shown, under the name of the view or function that
-- they come from.

\pset footer off
\pset numericlocale on
\pset null ''

\echo
\echo '=== A morning: a plain INSERT and plain UPDATEs, and what became of them'
\echo
\set ECHO queries

INSERT INTO deals (name, account, owner, amount, expected_close_on)
VALUES ('12 vans', 'North Bakeries', 'Chiara', 480000, current_date + 45);
\echo
UPDATE deals SET stage_id = pipelines.stage_id('New cars', 'Test drive and choice')
WHERE name = '12 vans';
\echo
BEGIN;
SET LOCAL pipelines.reason = 'new price list';
UPDATE deals SET amount = round(amount * 1.02, 2)
WHERE pipeline_id = pipelines.pipeline_id('New cars')
  AND (name = '12 vans' OR stage_id = pipelines.stage_id('New cars', 'Quote'));
COMMIT;

\set ECHO none
\echo

SELECT name, pipeline_name AS pipeline, stage_name AS stage, amount,
	effective_probability AS "%", weighted, version
FROM deals_current
WHERE name = '12 vans';

SELECT h.version, h.change, h.amount, s.name AS stage, t.name AS "to stage", h.reason
FROM deals_history AS h
JOIN deals AS d USING (deal_id)
JOIN pipelines.stage AS s ON s.stage_id = h.stage_id
JOIN pipelines.stage AS t ON t.stage_id = h.to_stage_id
WHERE d.name = '12 vans'
ORDER BY h.version;

\echo '=== The board (deals_board)'
\echo

SELECT pipeline_name AS pipeline, stage_name AS stage, outcome, deals,
	round(amount) AS amount, round(weighted) AS weighted,
	round(nullif(avg_days_in_stage, 0), 1) AS days
FROM deals_board
ORDER BY pipeline_id, position, currency;

\echo '=== The forecast by the month in which deals are expected to close (deals_forecast)'
\echo

SELECT CASE bucket WHEN 'month' THEN to_char(month, 'YYYY-MM') ELSE bucket END AS expected,
	sum(deals) AS deals, round(sum(pipeline)) AS open, round(sum(weighted)) AS weighted,
	round(sum(won)) AS won, round(sum(lost)) AS lost
FROM deals_forecast
WHERE bucket <> 'month' OR month >= date_trunc('month', current_date)
GROUP BY 1
ORDER BY bool_or(bucket = 'month'), 1;

\echo '... and the book as a whole: what comes in, with a chance of 90, 50 and 10 %'
\echo

SELECT p.name AS pipeline, pipelines.deals(book) AS deals, round(pipelines.pipeline(book)) AS open,
	round(pipelines.weighted(book)) AS weighted,
	round(pipelines.quantile(book, 0.1)::numeric) AS "at least, 90 %",
	round(pipelines.quantile(book, 0.5)::numeric) AS "50 %",
	round(pipelines.quantile(book, 0.9)::numeric) AS "10 %"
FROM (
	SELECT pipeline_id, pipelines.forecast(amount, effective_probability, outcome) AS book
	FROM deals_current
	WHERE outcome = 'open'
	GROUP BY pipeline_id
) AS b
JOIN pipelines.pipeline AS p USING (pipeline_id)
ORDER BY pipeline_id;

\echo '=== The same forecast as it was three months ago (pipelines.as_of)'
\echo

SELECT now() - interval '3 months' AS earlier \gset

SELECT expected, count(*) AS deals,
	round(pipelines.pipeline(pipelines.forecast(amount, probability, outcome))) AS open,
	round(pipelines.weighted(pipelines.forecast(amount, probability, outcome))) AS weighted,
	round(pipelines.won(pipelines.forecast(amount, probability, outcome))) AS won,
	round(pipelines.lost(pipelines.forecast(amount, probability, outcome))) AS lost
FROM (
	SELECT d.amount, coalesce(d.probability, s.probability) AS probability, s.outcome,
		CASE
			WHEN s.outcome <> 'open' THEN to_char(d.closed_on, 'YYYY-MM')
			WHEN d.expected_close_on IS NULL THEN 'undated'
			WHEN d.expected_close_on < :'earlier'::date THEN 'overdue'
			ELSE to_char(d.expected_close_on, 'YYYY-MM') END AS expected
	FROM pipelines.as_of(NULL::deals, :'earlier') AS d
	JOIN pipelines.pipeline_stage AS s USING (pipeline_id, stage_id)
) AS deal
WHERE expected >= to_char(:'earlier'::date, 'YYYY-MM')
GROUP BY expected
ORDER BY expected <> 'overdue', expected;

\echo '... and what has become of the deals that were open then'
\echo

SELECT now.outcome AS today, count(*) AS deals, round(sum(earlier.amount)) AS "amount then",
	round(sum(now.amount)) AS "amount today"
FROM pipelines.as_of(NULL::deals, :'earlier') AS earlier
JOIN pipelines.pipeline_stage AS s USING (pipeline_id, stage_id)
JOIN deals_current AS now USING (deal_id)
WHERE s.outcome = 'open'
GROUP BY now.outcome
ORDER BY min(now.position);

\echo '=== New cars that stalled, the worst ten (deals_stalled)'
\echo

SELECT deal_id::text AS deal, name, owner, stage_name AS stage, round(days_over) AS over,
	array_to_string(array_remove(reasons, 'over_limit'), ', ') AS "and besides"
FROM deals_stalled
WHERE pipeline_name = 'New cars'
ORDER BY days_over DESC, deal_id
LIMIT 10;

\echo '=== The journey of one deal (deals_visits)'
\echo

SELECT deal_id AS traveller
FROM deals_visits
JOIN deals_current USING (deal_id)
WHERE outcome = 'won'
GROUP BY deal_id
ORDER BY count(*) DESC, deal_id DESC
LIMIT 1 \gset

SELECT visit, stage_name AS stage, entered_at::date AS entered,
	round((extract(epoch FROM duration) / 86400)::numeric, 1) AS days,
	amount, owner, coalesce(change, '(is there)') AS "left by"
FROM deals_visits
WHERE deal_id = :traveller
ORDER BY visit;

\echo '=== A move that the pipeline refuses'
\echo
\set ON_ERROR_STOP off
\set ECHO queries

UPDATE deals SET stage_id = pipelines.stage_id('New cars', 'Negotiation')
WHERE name = '12 vans';

\set ECHO none
\echo 'SQLSTATE:' :SQLSTATE
\set ON_ERROR_STOP on

\echo
\echo '=== What pipelines.verify finds wrong, after all this'
\echo

SELECT count(*) AS problems FROM pipelines.verify('deals');
