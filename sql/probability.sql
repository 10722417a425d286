--
-- pipelines.probability
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pipelines;
RESET client_min_messages;
\set VERBOSITY default

-- written and shown
SELECT v, v::pipelines.probability AS p
FROM (VALUES ('62.5'), ('62.5%'), ('  7 % '), ('0'), ('-0'), ('+5'), ('100'), ('100.00'), ('0.05'), ('.5'), ('5.'),
	('99.99'), ('62.500000'), ('000012.30')) AS t(v);

-- refused: out of range
SELECT '100.01'::pipelines.probability;
SELECT '101%'::pipelines.probability;
SELECT '-0.01'::pipelines.probability;
SELECT '1000'::pipelines.probability;
SELECT '99999999999999999999999999'::pipelines.probability;
-- refused: too precise
SELECT '62.555'::pipelines.probability;
SELECT '100.001'::pipelines.probability;
SELECT '-0.001'::pipelines.probability;
-- refused: not a percentage
SELECT ''::pipelines.probability;
SELECT '%'::pipelines.probability;
SELECT '.'::pipelines.probability;
SELECT '62,5'::pipelines.probability;
SELECT '1e1'::pipelines.probability;
SELECT '5 0'::pipelines.probability;
SELECT '5%%'::pipelines.probability;
SELECT 'NaN'::pipelines.probability;
SELECT '--5'::pipelines.probability;
SELECT '1.2.3'::pipelines.probability;

-- casts
SELECT 62.5::pipelines.probability, 62.5000::pipelines.probability, 40::pipelines.probability,
	33.333::double precision::pipelines.probability AS rounded,
	'62.5'::pipelines.probability::numeric AS "numeric",
	'62.5'::pipelines.probability::double precision AS "double";
SELECT 62.505::pipelines.probability;
SELECT 100.01::pipelines.probability;
SELECT (-1)::numeric::pipelines.probability;
SELECT 'NaN'::numeric::pipelines.probability;
SELECT 1e30::numeric::pipelines.probability;
SELECT 101::pipelines.probability;
SELECT (-1)::pipelines.probability;
SELECT 100.5::double precision::pipelines.probability;
SELECT 'NaN'::double precision::pipelines.probability;

-- every value there is survives text and numeric
SELECT count(*) AS probabilities,
	bool_and(p::text::pipelines.probability::text = p::text) AS text,
	bool_and(p::numeric = n) AS "numeric",
	bool_and(p::numeric::text = n::text) AS scale
FROM (SELECT n::pipelines.probability AS p, n FROM (SELECT (i / 100.0)::numeric(5, 2) AS n FROM generate_series(0, 10000) AS i) AS a) AS b;

-- in a table: assignment, comparison without the schema in the path, indexes
CREATE TEMP TABLE chances (id integer, p pipelines.probability);
INSERT INTO chances VALUES (1, 62.5), (2, '7.25%'), (3, 100), (4, NULL), (5, 0), (6, 62.50);
SELECT id, p FROM chances ORDER BY p DESC NULLS LAST, id;
SELECT id FROM chances WHERE p = 62.5 ORDER BY id;
SELECT id FROM chances WHERE p > 50 ORDER BY id;
SELECT p, count(*) FROM chances GROUP BY p ORDER BY p;
SELECT coalesce(p, 0.0) AS p, CASE WHEN id > 3 THEN p ELSE 1.5 END AS q, p * 2 AS twice FROM chances ORDER BY id;
SELECT min(p), max(p), sum(p), round(avg(p), 2) AS avg FROM chances;
SET search_path = public, pipelines;
CREATE INDEX chances_btree ON chances (p);
CREATE INDEX chances_hash ON chances USING hash (p);
SET enable_seqscan = off;
SELECT id FROM chances WHERE p = '62.5' ORDER BY id;
SELECT id FROM chances WHERE p >= '62.5'::probability ORDER BY id;
SELECT id FROM chances WHERE p < '62.5'::probability ORDER BY id;
SELECT a.id, b.id FROM chances AS a JOIN chances AS b USING (p) WHERE a.id < b.id;
SELECT '5'::probability < '50'::probability AS lt, '5'::probability <= '5'::probability AS le,
	'5'::probability = '5.0'::probability AS eq, '5'::probability <> '5'::probability AS ne,
	'5'::probability >= '50'::probability AS ge, '50'::probability > '5'::probability AS gt;
RESET enable_seqscan;
RESET search_path;
INSERT INTO chances VALUES (7, 12.345);

-- by value, two bytes, and described
SELECT typlen, typbyval, typalign, typcategory, typispreferred FROM pg_type WHERE oid = 'pipelines.probability'::regtype;
SELECT amvalidate(oid) FROM pg_opclass WHERE opcname = 'probability_ops' ORDER BY opcmethod;
