--
-- what is not a forecast is refused: text (for bytes see test/t/021_exact.pl)
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pipelines;
RESET client_min_messages;

CREATE TEMP TABLE tried (kind text, input text, sqlstate text, message text);
CREATE FUNCTION pg_temp.try(kind text, input text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	state text;
	shown text;
BEGIN
	IF kind = 'forecast' THEN
		-- whatever is accepted must be usable and come back as it is shown
		shown := input::pipelines.forecast::text;
		PERFORM f::jsonb, pipelines.chance(f, 1), pipelines.quantiles(f, '{0, 0.01, 0.5, 0.99, 1}'),
			(f OPERATOR(pipelines.+) f)::text::pipelines.forecast
		FROM (SELECT input::pipelines.forecast AS f) AS t;
		IF shown <> shown::pipelines.forecast::text THEN
			RETURN 'NOT STABLE';
		END IF;
	ELSE
		shown := input::pipelines.weighted_sum::text;
		PERFORM pipelines._weighted_result(w), pipelines._weighted_combine(w, w)::text::pipelines.weighted_sum
		FROM (SELECT input::pipelines.weighted_sum AS w) AS t;
		IF shown <> shown::pipelines.weighted_sum::text THEN
			RETURN 'NOT STABLE';
		END IF;
	END IF;
	RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE;
	RETURN state;
END $$;

-- by hand
SELECT ''::pipelines.forecast;
SELECT '2|0 0 0 0 0 0 0 0|- - - -|0 0 0||0|'::pipelines.forecast;
SELECT '1|-1 0 0 0 0 0 0 0|- - - -|0 0 0||0|'::pipelines.forecast;
SELECT '1|1 1 0 0 0 0 0 0|100 5000 - -|NaN 0 0|100:0.5|0|'::pipelines.forecast;
SELECT '1|1 1 0 0 0 0 0 0|x 5000 - -|0 0 0|100:0.5|0|'::pipelines.forecast;
SELECT '1|1 1 0 0 0 0 0 0|100 5000 - -|2500 0 0|100:1.5|0|'::pipelines.forecast;
SELECT '1|1 1 0 0 0 0 0 0|100 5000 - -|2500 0 0|100:0.5|0|a currency that is far too long'::pipelines.forecast;
SELECT ''::pipelines.weighted_sum;
SELECT '1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1 -'::pipelines.weighted_sum;
SELECT input, pg_temp.try('forecast', input) FROM (VALUES
	('1|0 0 0 0 0 0 0 0|- - - -|0 0 0||0|'),
	('1|1 1 0 0 0 0 0 0|100 5000 - -|2500 0 0|100:0.5|0|'),
	('1|1 1 0 0 0 0 0 0|100 5000 - -|2500 0 0|100:0.5|0|E|R'),
	('1|0 0 0 0 0 0 0 0|- - - -|0 0 0||0|EUR'),
	('1|0 1 0 0 0 0 0 0|- - - -|0 0 0||0|'),
	('1|1 1 1 0 0 0 0 0|- - - -|0 0 0||0|'),
	('1|9007199254740993 0 0 0 0 0 0 0|- - - -|0 0 0||0|'),
	('1|99999999999999999999 0 0 0 0 0 0 0|- - - -|0 0 0||0|'),
	('1|1 1 0 0 0 0 0 0|100 5000 - -|-1 0 0|100:0.5|0|'),
	('1|1 1 0 0 0 0 0 0|100 5000 - -|2500 0 0|1e71:0.5|0|'),
	('1|1 1 0 0 0 0 0 0|100 5000 - -|2500 0 0|0:0.5|0|'),
	('1|1 1 0 0 0 0 0 0|100 5000 - -|2500 0 0|100:0|0|'),
	('1|2 2 0 0 0 0 0 0|100 5000 - -|2500 0 0|100:0.5 101:0.5|0|'),
	('1|1 1 0 0 0 0 0 0|100 5000 - -|2500 0 0|100:0.5 99:0.5|0|'),
	('1|2 2 0 0 0 0 0 0|100 5000 - -|2500 0 0|100:0.5|0 99:1:0.5:0.25|'),
	('1|1 1 0 0 0 0 0 0|100 5000 - -|2500 0 0|100:0.5|7|'),
	('1|1 1 0 0 0 0 0 0|100 5000 - -|2500 0 0|0x10:0.5|0|'),
	('1|1 1 0 0 0 0 0 0|100 5000 - -|2500 0 0|inf:0.5|0|'),
	('1|1 1 0 0 0 0 0 0|100 5000 - -|2500 0 0|100 0.5|0|'),
	('1|1 1 0 0 0 0 0 0|100 NaN - -|2500 0 0|100:0.5|0|'),
	('1|1 1 0 0 0 0 0 0|1e200 5000 - -|2500 0 0|100:0.5|0|'),
	('1|1 1 0 0 0 0 0 0|100 5000 - -|1e-320 1e-320 1e-320|1e-320:1e-320|0|'),
	('1|1 1 0 0 0 0 0 0|100 5000 1 -|2500 0 0|100:0.5|0|'),
	('1|1 1 0 0 0 0 0 0|- 5000 - -|2500 0 0|100:0.5|0|'),
	('|||||||')) AS v(input);

-- a long list of all kinds of sizes, tiny and huge, is fine
SELECT pg_temp.try('forecast', pipelines.forecast(('1e' || i)::numeric, 50, 'open')::text) FROM generate_series(-300, 60) AS i;
SELECT pg_temp.try('forecast', pipelines.forecast(('1e' || i % 30)::numeric * CASE WHEN i % 2 = 0 THEN 1 ELSE -1 END, 1e-15 * (1 + i), 'open')::text)
FROM generate_series(1, 1000) AS i;

-- by machine: every character of some texts replaced, removed or doubled; each
-- result is refused in time, or usable
CREATE TEMP TABLE sample AS
SELECT 'forecast' AS kind, pipelines.forecast(a, p, o, 'EUR')::text AS input
FROM (VALUES (100.25, 50, 'open'), (200, 25, 'open'), (1e25, 10, 'open'), (NULL, 10, 'open'), (5, NULL, 'won'), (7, 0, 'lost')) AS v(a, p, o)
UNION ALL
SELECT 'forecast', pipelines.forecast(1000 + i % 37, 10 + i % 80, 'open')::text FROM generate_series(1, 60) AS i
UNION ALL
SELECT 'forecast', pipelines.forecast(1000.01 * i, 10 + i % 80, 'open')::text FROM generate_series(1, 150) AS i
UNION ALL
SELECT 'weighted_sum', s FROM (VALUES ('1 0 0 0 1 0 0 0 0 0 0 0 0 1 1 0 30000031.250 50000000000000000000000000000000'), ('1 0 0 2 0 0 0 0 0 0 1 2 3 0 0 0 -150.25 -')) AS v(s);
SELECT kind, length(input) > 50 AS long, pg_temp.try(kind, input) FROM sample ORDER BY kind, length(input);
SELECT kind, result, count(*) > 0 AS some
FROM (SELECT kind, pg_temp.try(kind, CASE op
			WHEN 'cut' THEN left(input, at)
			WHEN 'remove' THEN left(input, at) || substr(input, at + 2)
			WHEN 'double' THEN left(input, at + 1) || substr(input, at + 1)
			ELSE left(input, at) || op || substr(input, at + 2) END) AS result
	FROM (SELECT DISTINCT ON (kind, length(input)) kind, input FROM sample WHERE length(input) < 1500) AS s,
		generate_series(0, length(input) - 1) AS at,
		unnest(ARRAY['cut', 'remove', 'double', '9', '-', '.', ' ', '|', ':', 'e', 'N']) AS op) AS t
GROUP BY 1, 2 ORDER BY 1, 2;
