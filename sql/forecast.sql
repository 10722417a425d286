--
-- pipelines.forecast: everything about a set of deals in one pass
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pipelines;
RESET client_min_messages;

CREATE TEMP TABLE deals (id integer, amount numeric, probability numeric, outcome text, currency text, owner text);
INSERT INTO deals VALUES
	(1, 480000.00, 62.5, 'open', 'EUR', 'ann'),
	(2, 12500, 10, 'open', 'EUR', 'bob'),
	(3, 99.90, 0, 'open', 'EUR', 'ann'),
	(4, 30000, 100, 'open', 'EUR', 'bob'),
	(5, NULL, 50, 'open', 'EUR', 'ann'),
	(6, 7000, NULL, 'open', 'EUR', 'bob'),
	(7, 8000, 40, 'on_hold', 'EUR', 'ann'),
	(8, 250000.5, NULL, 'won', 'EUR', 'ann'),
	(9, 1000, 100, 'won', 'EUR', 'bob'),
	(10, 4000, 30, 'lost', 'EUR', 'ann'),
	(11, NULL, 0, 'lost', 'EUR', 'bob'),
	(12, 5, 0, 'disqualified', 'EUR', 'ann'),
	(13, 6, NULL, 'done', 'EUR', 'bob');

-- what counts where
SELECT pipelines.deals(f), pipelines.open_deals(f), pipelines.unpriced(f), pipelines.unrated(f),
	pipelines.pipeline(f), pipelines.weighted(f), pipelines.won(f), pipelines.lost(f), pipelines.currency(f)
FROM (SELECT pipelines.forecast(amount, probability, outcome, currency) AS f FROM deals) AS t;
SELECT pipelines.deals(f) = n AS deals, pipelines.pipeline(f)::text = p::text AS pipeline, pipelines.weighted(f)::text = w::text AS weighted,
	pipelines.won(f)::text = won::text AS won, pipelines.lost(f)::text = lost::text AS lost
FROM (SELECT pipelines.forecast(amount, probability, outcome) AS f, count(*) AS n,
		sum(amount) FILTER (WHERE outcome = 'open') AS p,
		sum(amount * probability) FILTER (WHERE outcome = 'open') * 0.01 AS w,
		sum(amount) FILTER (WHERE outcome = 'won') AS won, sum(amount) FILTER (WHERE outcome = 'lost') AS lost
	FROM deals) AS t;

-- the distribution of what the open deals bring: 30000 for certain, 12500 and 480000 or not
SELECT round(pipelines.stddev(f)::numeric, 6) AS stddev,
	round(sqrt(480000::numeric ^ 2 * 0.625 * 0.375 + 12500::numeric ^ 2 * 0.1 * 0.9), 6) AS expected,
	pipelines.quantiles(f, '{0, 0.33, 0.34, 0.37, 0.38, 0.5, 0.93, 0.94, 1, NULL}') AS quantiles
FROM (SELECT pipelines.forecast(amount, probability, outcome) AS f FROM deals) AS t;
SELECT target, round(pipelines.chance(f, target)::numeric, 9) AS chance, round(pipelines.chance(f, target + 0.01)::numeric, 9) AS more
FROM (SELECT pipelines.forecast(amount, probability, outcome) AS f FROM deals) AS t,
	(VALUES (-1), (0), (30000), (42500), (510000), (522500)) AS v(target);
SELECT pipelines.quantile(f, 0.5) = (pipelines.quantiles(f, ARRAY[0.5]))[1] AS same, pipelines.quantiles(f, '{}') AS none
FROM (SELECT pipelines.forecast(amount, probability, outcome) AS f FROM deals) AS t;

-- nothing there: null, no error
SELECT pipelines.deals(f), pipelines.weighted(f), pipelines.quantile(f, 0.5), pipelines.chance(f, 1), f::jsonb
FROM (SELECT pipelines.forecast(amount, probability, outcome) AS f FROM deals WHERE false) AS t;
SELECT pipelines.deals(f), pipelines.pipeline(f), pipelines.weighted(f), pipelines.stddev(f), pipelines.quantile(f, 0.5), pipelines.quantiles(f, '{0.5}'),
	pipelines.chance(f, 1), pipelines.won(f), pipelines.lost(f), pipelines.currency(f)
FROM (SELECT pipelines.forecast(amount, probability, outcome) AS f FROM deals WHERE outcome IN ('on_hold', 'done')) AS t;
-- open deals that can't bring anything, or bring it for certain
SELECT pipelines.weighted(f), pipelines.stddev(f), pipelines.quantile(f, 0.5), pipelines.chance(f, 0), pipelines.chance(f, 1)
FROM (SELECT pipelines.forecast(amount, 0, 'open') AS f FROM deals WHERE id < 4) AS t;
SELECT pipelines.weighted(f), pipelines.stddev(f), pipelines.quantiles(f, '{0.1, 0.5, 1}'), pipelines.chance(f, 492500), pipelines.chance(f, 492501)
FROM (SELECT pipelines.forecast(amount, 100, 'open') AS f FROM deals WHERE id < 3) AS t;
-- a credit: what is certain is lost, the rest is a chance of getting it back
SELECT pipelines.quantiles(f, '{0, 0.25, 0.5, 0.75, 1}'), pipelines.chance(f, 0)
FROM (SELECT pipelines.forecast(a, 50, 'open') AS f FROM (VALUES (100), (-40)) AS v(a)) AS t;

-- not finite, and too large for a distribution
SELECT pipelines.pipeline(f), pipelines.weighted(f), pipelines.stddev(f), pipelines.quantile(f, 0.5), pipelines.chance(f, 1), f::jsonb -> 'p50' AS p50
FROM (SELECT pipelines.forecast(a, 50, 'open') AS f FROM (VALUES ('NaN'::numeric), (1)) AS v(a)) AS t;
SELECT pipelines.weighted(f) = 0.5 * 1e80 + 0.5 AS weighted, pipelines.stddev(f), pipelines.quantile(f, 0.5)
FROM (SELECT pipelines.forecast(a, 50, 'open') AS f FROM (VALUES (1e80), (1)) AS v(a)) AS t;
-- odd numbers
SELECT pipelines.pipeline(f), pipelines.weighted(f), pipelines.won(f), pipelines.lost(f), pipelines.quantile(f, 0.9), f::text
FROM (SELECT pipelines.forecast(a, p, o) AS f FROM (VALUES (1e20, 50, 'open'), (1.123456789, 33.33333, 'open'), (5, 50, 'open'),
	(0.0000001, NULL, 'won'), (1e16, 0, 'lost')) AS v(a, p, o)) AS t;

-- refused
SELECT pipelines.forecast(1, 50, 'opened');
SELECT pipelines.forecast(1, 50, 'Open');
SELECT pipelines.forecast(1, 50, '');
SELECT pipelines.forecast(1, 50, NULL);
SELECT pipelines.forecast(1, 100.01, 'open');
SELECT pipelines.forecast(1, -1, 'won');
SELECT pipelines.forecast(1, 50, 'open', '');
SELECT pipelines.forecast(1, 50, 'open', 'twenty-four bytes are too');
SELECT pipelines.forecast(1, 50, 'open', c) FROM (VALUES ('EUR'), ('USD')) AS v(c);
SELECT pipelines.forecast(1, 50, 'open', c) FROM (VALUES ('EUR'), (NULL)) AS v(c);
SELECT pipelines.rollup(f) FROM (SELECT pipelines.forecast(1, 50, 'open', c) AS f FROM (VALUES ('EUR'), ('USD')) AS v(c) GROUP BY c ORDER BY c) AS t;
SELECT pipelines.quantile(pipelines.forecast(1, 50, 'open'), 1.01);
SELECT pipelines.quantile(pipelines.forecast(1, 50, 'open'), 'NaN');
SELECT pipelines.chance(pipelines.forecast(1, 50, 'open'), 'NaN');

-- currency: null is one of its own, and the form without currency means it
SELECT pipelines.currency(pipelines.rollup(f)), pipelines.weighted(pipelines.rollup(f))
FROM (SELECT pipelines.forecast(1, 50, 'open', NULL) AS f UNION ALL SELECT pipelines.forecast(2, 50, 'open')) AS t;
SELECT pipelines.currency(pipelines.forecast(1, 50, 'open', 'Bezant')) AS currency;

-- how the arguments may be given
SELECT pipelines.weighted(pipelines.forecast(100, '62.5', 'open')) AS literal, pipelines.weighted(pipelines.forecast(100, '62.5'::pipelines.probability, 'open')) AS probability,
	pipelines.weighted(pipelines.forecast(100, 62, 'open'::varchar(20))) AS "integer", pipelines.won(pipelines.forecast(100, NULL, 'won')) AS won;

-- parts, rolled up and added, in any order
SELECT pipelines.rollup(f) OPERATOR(pipelines.=) (SELECT pipelines.forecast(amount, probability, outcome, currency) FROM deals) AS rollup
FROM (SELECT pipelines.forecast(amount, probability, outcome, currency) AS f FROM deals GROUP BY owner) AS t;
SET search_path = public, pipelines;
CREATE TEMP TABLE summary AS SELECT owner, forecast(amount, probability, outcome, currency) AS f FROM deals GROUP BY owner ORDER BY owner;
SELECT a.f + b.f = b.f + a.f AS commutes, a.f + b.f <> a.f AS differs, a.f + NULL IS NULL AS "null",
	weighted(a.f + b.f), deals(a.f + b.f), a.f + b.f = (SELECT rollup(f) FROM summary) AS rollup
FROM summary AS a, summary AS b WHERE a.owner = 'ann' AND b.owner = 'bob';
SELECT count(*), count(DISTINCT f::text) FROM (SELECT f FROM summary UNION SELECT f FROM summary) AS t;
SELECT count(*) FROM summary AS a JOIN summary AS b USING (f);
SELECT f::text::forecast = f AS text FROM summary;
SELECT f::text::forecast::text = f::text AS text FROM summary;
SELECT f + f = (SELECT rollup(g) FROM (VALUES (f), (f)) AS v(g)) AS twice FROM summary;
SELECT owner, to_jsonb(f) = f::jsonb AS same, f::jsonb - 'stddev' AS figures FROM summary ORDER BY owner;
SELECT owner, deals(sum_f), weighted(sum_f) FROM (SELECT owner, rollup(f) AS sum_f FROM summary GROUP BY ROLLUP (owner)) AS t ORDER BY owner;
RESET search_path;
-- the operator's and the combine function's arguments stay as they are
SELECT pipelines._forecast_combine(f, f) OPERATOR(pipelines.=) (f OPERATOR(pipelines.+) f) AS same, pipelines.deals(f)
FROM (SELECT f FROM summary OFFSET 0) AS t;

-- a large book: parts, parallel, text; and its figures from an independent computation
CREATE TABLE forecast_rows AS
SELECT i AS id, round(10000 * exp(sin(i * 12.9898) * 2)::numeric, 2) AS amount, (5 + i % 91)::numeric AS probability,
	(ARRAY['open', 'open', 'open', 'won', 'lost', 'on_hold'])[1 + i % 6] AS outcome
FROM generate_series(1, 5000) AS i;
ANALYZE forecast_rows;
CREATE TEMP TABLE whole AS SELECT pipelines.forecast(amount, probability, outcome) AS f FROM forecast_rows;
SELECT round((pipelines.quantile(f, 0.5) / mean - 1)::numeric, 3) AS median, round((pipelines.stddev(f) / sd - 1)::numeric, 9) AS stddev,
	round((pipelines.quantile(f, 0.1) - mean + 1.28155 * sd)::numeric / mean::numeric, 3) AS p10,
	round((pipelines.quantile(f, 0.9) - mean - 1.28155 * sd)::numeric / mean::numeric, 3) AS p90,
	round(pipelines.chance(f, pipelines.quantile(f, 0.25))::numeric, 2) AS chance
FROM whole, (SELECT sum(amount * probability / 100)::float8 AS mean, sqrt(sum(amount * amount * probability * (100 - probability) / 10000))::float8 AS sd
	FROM forecast_rows WHERE outcome = 'open') AS t;
SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET max_parallel_workers_per_gather = 2;
SELECT w.f OPERATOR(pipelines.=) p.f AS parallel,
	abs(pipelines.quantile(w.f, 0.3) / pipelines.quantile(p.f, 0.3) - 1) < 1e-6 AS quantile
FROM whole AS w, (SELECT pipelines.forecast(amount, probability, outcome) AS f FROM forecast_rows OFFSET 0) AS p;
RESET parallel_setup_cost; RESET parallel_tuple_cost; RESET min_parallel_table_scan_size; RESET max_parallel_workers_per_gather;
SELECT k, w.f OPERATOR(pipelines.=) p.f AS same, w.f::text::pipelines.forecast::text = w.f::text AS text,
	abs(pipelines.quantile(w.f, 0.3) / pipelines.quantile(p.f, 0.3) - 1) < 1e-6 AS quantile
FROM whole AS w, (VALUES (2), (7), (100), (4999)) AS v(k),
	LATERAL (SELECT pipelines.rollup(f ORDER BY r DESC) AS f
		FROM (SELECT id % k AS r, pipelines.forecast(amount, probability, outcome) AS f FROM forecast_rows GROUP BY 1) AS t) AS p
ORDER BY k;
DROP TABLE forecast_rows;

-- by running total, and as a moving frame (computed anew for each row)
SELECT id, pipelines.deals(f) AS deals, pipelines.weighted(f) AS weighted
FROM (SELECT id, pipelines.forecast(amount, probability, outcome) OVER (ORDER BY id) AS f FROM deals) AS t WHERE id < 5 ORDER BY id;
SELECT id, pipelines.deals(f) AS deals, pipelines.weighted(f) AS weighted
FROM (SELECT id, pipelines.forecast(amount, probability, outcome) OVER (ORDER BY id ROWS 1 PRECEDING) AS f FROM deals) AS t WHERE id < 5 ORDER BY id;

-- what the quota view shows, all in one go, is what quantile() and chance() say: of 1 to 40 deals of very different
-- sizes, within a hundredth of a deviation, and half a percent of probability
SELECT setseed(0.3) IS NOT NULL AS seeded;
SELECT count(*) > 90 AS some, count(*) FILTER (WHERE abs(o[1] - pipelines.quantile(f, 0.1)) > 0.01 * s OR abs(o[2] - pipelines.quantile(f, 0.5)) > 0.01 * s
		OR abs(o[3] - pipelines.quantile(f, 0.9)) > 0.01 * s) AS far_off,
	count(*) FILTER (WHERE abs(o[4] - pipelines.chance(f, target::numeric)) > 0.005) AS chance_far_off
FROM (SELECT f, pipelines.stddev(f) AS s, pipelines.weighted(f)::float8 * 1.1 AS target, pipelines._outlook(f, pipelines.weighted(f)::float8 * 1.1) AS o
	FROM (SELECT pipelines.forecast((exp(random() * 8) * 10)::numeric(12,2), (random() * 98 + 1)::integer, 'open') AS f
		FROM generate_series(1, 2000) AS i WHERE random() < (i % 100 + 1) / 50.0 GROUP BY i % 100) AS g) AS x;

-- every object has a description
SELECT count(*) AS undescribed FROM pg_depend AS d
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pipelines')
	AND obj_description(d.objid, d.classid::regclass::name) IS NULL
	AND pg_describe_object(d.classid, d.objid, 0) ~ 'forecast|weighted|probability|quantile|rollup'
	AND d.classid IN ('pg_type'::regclass, 'pg_proc'::regclass, 'pg_operator'::regclass, 'pg_cast'::regclass, 'pg_opclass'::regclass, 'pg_opfamily'::regclass)
	AND NOT (d.classid = 'pg_type'::regclass AND (SELECT typelem <> 0 AND typlen = -1 FROM pg_type WHERE oid = d.objid));
