--
-- pipelines.weighted_forecast: the exact weighted sum
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pipelines;
RESET client_min_messages;

-- how the probability may be given
SELECT pipelines.weighted_forecast(480000, 62.5) AS "numeric",
	pipelines.weighted_forecast(480000, 62) AS "integer",
	pipelines.weighted_forecast(480000, 62::smallint) AS "smallint",
	pipelines.weighted_forecast(480000, 62::bigint) AS "bigint",
	pipelines.weighted_forecast(480000, '62.5') AS literal,
	pipelines.weighted_forecast(480000, '62.5'::pipelines.probability) AS probability,
	pipelines.weighted_forecast(480000, NULL) AS "null";

-- no rows, null rows
SELECT pipelines.weighted_forecast(a, p) AS w FROM (VALUES (1.5, 50)) AS t(a, p) WHERE false;
SELECT pipelines.weighted_forecast(a, p) AS w FROM (VALUES (NULL::numeric, 50), (1.5, NULL)) AS t(a, p);
SELECT pipelines.weighted_forecast(a, p) AS w FROM (VALUES (NULL::numeric, 50), (1.5, NULL), (2, 50)) AS t(a, p);

-- refused
SELECT pipelines.weighted_forecast(1, 100.0001);
SELECT pipelines.weighted_forecast(1, -0.01);
SELECT pipelines.weighted_forecast(1, 1000);
SELECT pipelines.weighted_forecast(1, 100.000000000000000001);
SELECT pipelines.weighted_forecast(1, 'NaN'::numeric);
\set VERBOSITY terse
SELECT pipelines.weighted_forecast(1, 50::double precision);
\set VERBOSITY default

-- numbers of every size and scale, as core has them: to the last digit shown
CREATE TEMP TABLE deals (id serial, amount numeric, probability numeric, chance pipelines.probability);
INSERT INTO deals (amount, probability) VALUES
	(480000, 62.5), (480000.00, 62.50), (0, 0), (0.00, 100), (-12.5, 99.99), (0.0001, 0.01), (9999.9999, 33.33),
	(123456789012.3456, 7), (921999999999999, 100), (922000000000000, 100), (-922000000000000.5, 99.9),
	(9999999999999999, 1), (0.00001, 50), (1.000000000, 50), (12345.123456789012345678, 12.345678901234),
	(1e40, 62.5), (-1e40, 0.00000000001), (1e-20, 1e-10), (NULL, 50), (50, NULL), (1e15, 1.0000), (7, 0.0001), (7, 0.00010);
UPDATE deals SET chance = round(probability, 2);
SELECT count(*) AS rows,
	bool_and(one IS NOT DISTINCT FROM core) AS "numeric", bool_and(two IS NOT DISTINCT FROM core_chance) AS probability
FROM (SELECT pipelines.weighted_forecast(amount, probability)::text AS one,
		(sum(amount * probability) * 0.01)::text AS core,
		pipelines.weighted_forecast(amount, chance)::text AS two,
		(sum(amount * chance::numeric) * 0.01)::text AS core_chance
	FROM deals GROUP BY id) AS t;
SELECT pipelines.weighted_forecast(amount, probability)::text AS w,
	pipelines.weighted_forecast(amount, probability)::text = (sum(amount * probability) * 0.01)::text AS same,
	pipelines.weighted_forecast(amount, chance)::text = (sum(amount * chance::numeric) * 0.01)::text AS chance_same
FROM deals;
SELECT pipelines.weighted_forecast(amount, probability)::text AS w,
	pipelines.weighted_forecast(amount, probability)::text = (sum(amount * probability) * 0.01)::text AS same
FROM deals WHERE scale(amount) <= 4 AND abs(amount) < 1e12 AND scale(probability) <= 4;
SELECT pipelines.weighted_forecast(amount, probability) FILTER (WHERE id < 4) AS filtered,
	pipelines.weighted_forecast(DISTINCT amount, probability) FILTER (WHERE id < 4) = 300000 AS distinct_rows
FROM deals;
SELECT id % 3 AS k, id % 2 AS l,
	pipelines.weighted_forecast(amount, probability)::text IS NOT DISTINCT FROM (sum(amount * probability) * 0.01)::text AS same
FROM deals GROUP BY ROLLUP (1, 2) ORDER BY 1, 2;

-- not finite
SELECT pipelines.weighted_forecast(a, 50) AS w FROM (VALUES ('NaN'::numeric), (1)) AS t(a);
SELECT pipelines.weighted_forecast('NaN', 0) AS w, pipelines.weighted_forecast('NaN', '50'::pipelines.probability) AS v;

-- moving frames: exact inversion
SELECT count(*) AS rows,
	bool_and(one IS NOT DISTINCT FROM core) AS "numeric", bool_and(two IS NOT DISTINCT FROM core_chance) AS probability
FROM (SELECT pipelines.weighted_forecast(amount, probability) OVER w::text AS one,
		(sum(amount * probability) OVER w * 0.01)::text AS core,
		pipelines.weighted_forecast(amount, chance) OVER w::text AS two,
		(sum(amount * chance::numeric) OVER w * 0.01)::text AS core_chance
	FROM deals WINDOW w AS (ORDER BY id ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING)) AS t;
WITH more AS (
	SELECT i, CASE WHEN i % 11 = 0 THEN 'NaN' WHEN i % 7 = 0 THEN NULL WHEN i % 5 = 0 THEN i * 1e20 ELSE i * 1.25 END::numeric AS amount,
		(i % 101)::numeric AS probability
	FROM generate_series(1, 500) AS i)
SELECT count(*) AS rows, bool_and(one IS NOT DISTINCT FROM core) AS same
FROM (SELECT pipelines.weighted_forecast(amount, probability) OVER w::text AS one,
		(sum(amount * probability) OVER w * 0.01)::text AS core
	FROM more WINDOW w AS (ORDER BY i ROWS BETWEEN 3 PRECEDING AND CURRENT ROW)) AS t;
SELECT sum(w) FROM (SELECT pipelines.weighted_forecast(i, 50) OVER (ORDER BY i ROWS BETWEEN CURRENT ROW AND 2 FOLLOWING EXCLUDE CURRENT ROW) AS w
	FROM generate_series(1, 10) AS i) AS t;

-- the state: text form, back, and combined
SELECT pipelines._weighted_result(state::text::pipelines.weighted_sum),
	pipelines._weighted_result(pipelines._weighted_combine(state, state::text::pipelines.weighted_sum)) AS twice,
	pipelines._weighted_result(pipelines._weighted_remove(state, 1e30, 50)) AS less
FROM (SELECT pipelines._weighted_add(pipelines._weighted_add(NULL, 480000.50, 62.5), 1e30, 50) AS state) AS t;
SELECT pipelines._weighted_combine(NULL, NULL) IS NULL AS "null", pipelines._weighted_result(NULL) IS NULL AS "null";

-- parallel
CREATE TABLE weighted_forecast_rows AS SELECT i AS id, (i * 1.37)::numeric AS amount, (i % 101)::numeric AS probability FROM generate_series(1, 20000) AS i;
INSERT INTO weighted_forecast_rows VALUES (-1, 1e30, 33.3333333);
ANALYZE weighted_forecast_rows;
SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET max_parallel_workers_per_gather = 2;
CREATE FUNCTION pg_temp.plan_has(query text, what text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		IF line ~ what THEN
			RETURN true;
		END IF;
	END LOOP;
	RETURN false;
END $$;
SELECT pg_temp.plan_has('SELECT pipelines.weighted_forecast(amount, probability) FROM weighted_forecast_rows', 'Partial Aggregate') AS partial;
SELECT pipelines.weighted_forecast(amount, probability)::text = (sum(amount * probability) * 0.01)::text AS same FROM weighted_forecast_rows;
SELECT bool_and(same) AS same FROM (SELECT pipelines.weighted_forecast(amount, probability)::text = (sum(amount * probability) * 0.01)::text AS same
	FROM weighted_forecast_rows GROUP BY id % 10) AS t;
RESET parallel_setup_cost; RESET parallel_tuple_cost; RESET min_parallel_table_scan_size; RESET max_parallel_workers_per_gather;
DROP TABLE weighted_forecast_rows;

-- a plan's facts
SELECT aggfnoid::regprocedure, aggtranstype::regtype, aggmtranstype::regtype FROM pg_aggregate
WHERE aggfnoid::text IN ('pipelines.weighted_forecast', 'pipelines.forecast', 'pipelines.rollup') ORDER BY 1::text;
