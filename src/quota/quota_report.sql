-------------------------------------------------------------------------------
-- quota_report.sql
--   Quota, won, gap, pipeline (S47) and what follows from them, by fiscal
--   period, forecast type and currency (S48): with the formulas that R-6 asks for.
-------------------------------------------------------------------------------

-- By what a quota is set, in the order in which reports name it.
CREATE FUNCTION pipelines._quota_dimensions(owner text, unit_id integer, team text, territory text, pipeline_id integer,
	product text, dimensions jsonb)
RETURNS text[]
LANGUAGE sql IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT array_remove(ARRAY[CASE WHEN $1 IS NOT NULL THEN 'owner' END, CASE WHEN $2 IS NOT NULL THEN 'unit' END,
			CASE WHEN $3 IS NOT NULL THEN 'team' END, CASE WHEN $4 IS NOT NULL THEN 'territory' END,
			CASE WHEN $5 IS NOT NULL THEN 'pipeline' END, CASE WHEN $6 IS NOT NULL THEN 'product' END], NULL)
		|| CASE WHEN $7 = '{}' THEN '{}'::text[] ELSE ARRAY(SELECT k.key FROM jsonb_object_keys($7) k (key) ORDER BY k.key) END
$$;
COMMENT ON FUNCTION pipelines._quota_dimensions(text, integer, text, text, integer, text, jsonb) IS
	'By what a quota is set: owner, unit, team, territory, pipeline, product, then further keys.';

-- The same order for what a caller asks for.
CREATE FUNCTION pipelines._ordered_dimensions(dimensions text[])
RETURNS text[]
LANGUAGE plpgsql IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	standard CONSTANT text[] := '{owner,unit,team,territory,pipeline,product}';
	result text[];
BEGIN
	SELECT array_agg(x.name ORDER BY array_position(standard, x.name), x.name) INTO result
	FROM (SELECT DISTINCT CASE n WHEN 'pipeline_id' THEN 'pipeline' WHEN 'unit_id' THEN 'unit' ELSE n END AS name
		  FROM unnest(dimensions) n) x;
	IF array_position(result, NULL) IS NOT NULL OR cardinality(result) > 8 THEN
		RAISE EXCEPTION 'a report is split by at most 8 things, each of which has a name'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	RETURN coalesce(result, '{}'::text[]);
END
$$;
COMMENT ON FUNCTION pipelines._ordered_dimensions(text[]) IS
	'What a report is split by, each once, in a fixed order. Errors: 22023.';

-- Working days of a span, the last day not included: the business days of the
-- calendar; where there is none, Monday to Friday.
CREATE FUNCTION pipelines._working_days(starts date, ends date, calendar text)
RETURNS bigint
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN $3 IS NOT NULL THEN pipelines.business_days($1, $2, $3)
		ELSE (SELECT count(*) FROM generate_series(0, $2 - $1 - 1) n WHERE extract(isodow FROM $1 + n) < 6) END
$$;
COMMENT ON FUNCTION pipelines._working_days(date, date, text) IS
	'Working days from starts up to ends, exclusive.';

-- The periods of a report: those of the calendar, or calendar months and so on
-- for the keys that occur.
CREATE FUNCTION pipelines._period_text(calendar text, facts text[])
RETURNS text
LANGUAGE sql IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN $1 IS NOT NULL THEN format($sql$
		SELECT p.period_id, p.kind, array_position('{week,month,quarter,year}'::text[], p.kind) - 1 AS level,
			   p.label, p.starts, p.ends
		FROM pipelines.fiscal_period p
		JOIN pipelines.fiscal_calendar c ON c.calendar_id = p.calendar_id
		WHERE c.name = %L$sql$, $1)
	ELSE format($sql$
		SELECT (s.starts - date '2000-01-01') * 4 + k.level AS period_id, k.kind, k.level,
			   to_char(s.starts::timestamp, k.format) AS label, s.starts,
			   (s.starts::timestamp + k.length)::date AS ends
		FROM (%s) f
		CROSS JOIN (VALUES (0, 'week', 'IYYY-"W"IW', interval '7 days'), (1, 'month', 'YYYY-MM', interval '1 month'),
						   (2, 'quarter', 'YYYY-"Q"Q', interval '3 months'), (3, 'year', 'YYYY', interval '1 year'))
				   AS k (level, kind, format, length)
		CROSS JOIN LATERAL (SELECT date_trunc(k.kind, (date '2000-01-01' + (f.period_key - (f.period_key %% 4 + 4) %% 4) / 4)::timestamp)::date AS starts) s
		WHERE f.period_key IS NOT NULL AND ((f.period_key %% 4 + 4) %% 4 = 0) = (k.level = 0)
		GROUP BY 1, 2, 3, 4, 5, 6$sql$,
		(SELECT string_agg('SELECT period_key FROM ' || f, ' UNION ALL ') FROM unnest($2) f)) END
$$;
COMMENT ON FUNCTION pipelines._period_text(text, text[]) IS
	'A query for the periods that a report may show.';

-- Deals added up, by dimensions, period of one kind, bucket and currency.
CREATE FUNCTION pipelines._quota_facts(deals regclass, dimensions text[], kind text, options jsonb)
RETURNS text
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 20000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format($sql$
		SELECT %1$s k.parts[1]::integer AS period_key, k.parts[2]::integer AS bucket, k.parts[3] AS native,
			   g.deals, g.unpriced, g.unconverted, g.unconverted_sum, g.forecast
		FROM (
			SELECT x.key, count(*) AS deals, count(*) - count(x.value) AS unpriced,
				   %2$s
				   pipelines.forecast(x.value, x.probability, x.counts_as) AS forecast
			FROM (SELECT pipelines._pack(CASE WHEN f.bucket = 0 THEN f.period_key END, f.bucket, f.native%3$s) AS key,
						 f.value, f.raw, f.probability, f.counts_as
				  FROM (%4$s) f) x
			GROUP BY x.key
			OFFSET 0) g
		CROSS JOIN LATERAL (SELECT pipelines._unpack(g.key) AS parts OFFSET 0) k$sql$,
		(SELECT coalesce(string_agg(CASE WHEN n.name = 'unit' THEN format('k.parts[%s]::integer[] AS units, ', n.i + 3)
										 ELSE format('k.parts[%s] AS d%s, ', n.i + 3, n.i) END, '' ORDER BY n.i), '')
		 FROM unnest($2) WITH ORDINALITY n (name, i)),
		CASE WHEN $4 ->> 'currency' IS NULL THEN '0 AS unconverted, NULL::numeric AS unconverted_sum,'
			 ELSE 'count(x.raw) - count(x.value) AS unconverted, sum(x.raw) FILTER (WHERE x.value IS NULL) AS unconverted_sum,' END,
		(SELECT coalesce(string_agg(CASE WHEN n.name = 'unit' THEN ', f.units_text' ELSE format(', f.d%s', n.i) END, '' ORDER BY n.i), '')
		 FROM unnest($2) WITH ORDINALITY n (name, i)),
		pipelines._fact_text($1, $2, $3, $4))
$$;
COMMENT ON FUNCTION pipelines._quota_facts(regclass, text[], text, jsonb) IS
	'A query that adds up the deals of a report.';

-- The same in its final shape: dimensions as one array, units with all below
-- them, converted currencies together.  Period keys NULL: not in a period.
CREATE FUNCTION pipelines._quota_figures(fact text, dimensions text[], kinds text[], options jsonb, is_money boolean)
RETURNS text
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	by_unit boolean := 'unit' = ANY (dimensions);
	converts boolean := is_money AND options ->> 'currency' IS NOT NULL;
	list text := (SELECT string_agg(CASE WHEN n.name = 'unit' THEN 'u.unit_id::text' ELSE format('f.d%s', n.i) END, ', ' ORDER BY n.i)
				  FROM unnest(dimensions) WITH ORDINALITY n (name, i));
	base text;
	result text;
BEGIN
	base := format($sql$
		SELECT ARRAY[%s]::text[] AS dims, f.period_key, f.bucket, %s AS currency, f.deals, f.unpriced, f.forecast%s
		FROM %s f%s$sql$,
		list, CASE WHEN converts THEN quote_literal(options ->> 'currency') || '::text' ELSE 'f.native' END,
		CASE WHEN converts THEN ', f.native, f.unconverted, f.unconverted_sum' ELSE '' END,
		fact,
		-- the whole is the top units and what belongs to none
		CASE WHEN by_unit THEN ' CROSS JOIN LATERAL unnest(coalesce(f.units, ARRAY[NULL::integer])) u (unit_id)' ELSE '' END);
	IF by_unit OR converts THEN
		base := format($sql$
			SELECT b.dims, b.period_key, b.bucket, b.currency, sum(b.deals)::bigint AS deals, sum(b.unpriced)::bigint AS unpriced,
				   pipelines.rollup(b.forecast) AS forecast, %s AS unconverted
			FROM (%s) b
			GROUP BY b.dims, b.period_key, b.bucket, b.currency$sql$,
			CASE WHEN converts THEN format('(SELECT jsonb_object_agg(coalesce(n.native, ''''), n.s) FROM (SELECT m.native, sum(m.s) AS s'
				' FROM unnest(array_agg(b.native) FILTER (WHERE b.unconverted > 0), array_agg(b.unconverted_sum) FILTER (WHERE b.unconverted > 0)) m (native, s)'
				' GROUP BY m.native) n)')
				 ELSE 'NULL::jsonb' END,
			base);
	ELSE
		base := format('SELECT b.*, NULL::jsonb AS unconverted FROM (%s) b', base);
	END IF;
	RETURN base;
END
$$;
COMMENT ON FUNCTION pipelines._quota_figures(text, text[], text[], jsonb, boolean) IS
	'A query that brings sums of deals into the shape of a report.';

-- Quotas by dimensions, period and currency, as they were set at an instant:
-- own ones; sums of finer ones where a coarser period has none of its own; and
-- parts of coarser ones, only if somebody says how to split (R-6.4).
CREATE FUNCTION pipelines._quota_targets(deals regclass, dimensions text[], options jsonb, prefix text)
RETURNS text
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	t record;
	default_currency text := (SELECT r.currency FROM pipelines.tracked_table r WHERE r.relation = _quota_targets.deals);
	target text := options ->> 'currency';
	value text := 'q.value';
	currency text;
	own text;
	result text;
	list text := (SELECT string_agg(CASE n WHEN 'unit' THEN 'q.unit_id::text' WHEN 'pipeline' THEN 'q.pipeline_id::text'
			WHEN 'owner' THEN 'q.owner' WHEN 'team' THEN 'q.team' WHEN 'territory' THEN 'q.territory' WHEN 'product' THEN 'q.product'
			ELSE format('q.dimensions ->> %L', n) END, ', ' ORDER BY i)
		FROM unnest(dimensions) WITH ORDINALITY x (n, i));
BEGIN
	SELECT f.* INTO STRICT t FROM pipelines._report_type(options) f;
	currency := CASE WHEN t.is_money THEN format('coalesce(q.currency, %L)::text', default_currency) ELSE 'NULL::text' END;
	IF t.is_money AND target IS NOT NULL THEN
		-- at the rates that were planned with, on the first day of the period (R-6.5)
		value := format('CASE WHEN %1$s = %2$L THEN q.value ELSE pipelines.round_money(pipelines.convert(q.value, %1$s, %2$L::text, p.starts, %3$L::text), %2$L::text) END',
						currency, target, options ->> 'quota_rate_set');
		currency := quote_literal(target) || '::text';
	END IF;
	own := format($sql$
		SELECT ARRAY[%s]::text[] AS dims, p.period_id, p.level, p.starts, p.ends, %s AS currency,
			   -- one that can't be converted makes the whole unknown
			   CASE WHEN count(*) = count(%s) THEN sum(%3$s) END AS value
		FROM pipelines.quota_as_of(%s) q
		JOIN pd p ON p.period_id = q.period_id
		WHERE q.forecast_type_id = %s AND (q.relation IS NULL OR q.relation = %L)
			AND pipelines._quota_dimensions(q.owner, q.unit_id, q.team, q.territory, q.pipeline_id, q.product, q.dimensions) = %L::text[]
			AND (q.pipeline_id IS NULL OR EXISTS (SELECT FROM pipelines.pipeline y WHERE y.pipeline_id = q.pipeline_id))
		GROUP BY 1, p.period_id, p.level, p.starts, p.ends, 6$sql$,
		list, currency, value, coalesce(quote_literal(options ->> 'at') || '::timestamptz', 'now()'),
		options ->> 'type', deals::text, dimensions);
	-- level by level, each from the one below it
	result := format($sql$
		%1$sown AS MATERIALIZED (%2$s),
		%1$sfirst AS MATERIALIZED (
			SELECT o.dims, o.currency, o.period_id, o.value, 'own' AS source FROM %1$sown o WHERE o.level <= 1
		), %1$ssecond AS MATERIALIZED (
			SELECT x.dims, x.currency, x.period_id,
				   CASE WHEN bool_or(x.own) THEN max(x.value) FILTER (WHERE x.own)
						WHEN bool_and(x.value IS NOT NULL) THEN sum(x.value) END AS value,
				   CASE WHEN bool_or(x.own) THEN 'own' ELSE 'sum' END AS source
			FROM (SELECT o.dims, o.currency, o.period_id, o.value, true AS own FROM %1$sown o WHERE o.level = 2
				  UNION ALL
				  SELECT o.dims, o.currency, u.above, o.value, false FROM %1$sfirst o JOIN pu u ON u.below = o.period_id AND u.level = 2) x
			GROUP BY x.dims, x.currency, x.period_id
		), %1$sthird AS MATERIALIZED (
			SELECT x.dims, x.currency, x.period_id,
				   CASE WHEN bool_or(x.own) THEN max(x.value) FILTER (WHERE x.own)
						WHEN bool_and(x.value IS NOT NULL) THEN sum(x.value) END AS value,
				   CASE WHEN bool_or(x.own) THEN 'own' ELSE 'sum' END AS source
			FROM (SELECT o.dims, o.currency, o.period_id, o.value, true AS own FROM %1$sown o WHERE o.level = 3
				  UNION ALL
				  SELECT o.dims, o.currency, u.above, o.value, false
				  FROM (SELECT s.dims, s.currency, s.period_id, s.value FROM %1$ssecond s
						UNION ALL
						SELECT f.dims, f.currency, f.period_id, f.value FROM %1$sfirst f
						WHERE f.period_id NOT IN (SELECT u.below FROM pu u WHERE u.level = 2)) o
				  JOIN pu u ON u.below = o.period_id AND u.level = 3) x
			GROUP BY x.dims, x.currency, x.period_id
		), %1$starget AS MATERIALIZED (
			SELECT f.dims, f.currency, f.period_id, f.value, f.source FROM %1$sfirst f
			UNION ALL SELECT f.dims, f.currency, f.period_id, f.value, f.source FROM %1$ssecond f
			UNION ALL SELECT f.dims, f.currency, f.period_id, f.value, f.source FROM %1$sthird f$sql$, prefix, own);
	IF options ->> 'split' IS NOT NULL THEN
		-- parts are cut where the running total is rounded: they add up to the whole
		result := result || format($sql$
			UNION ALL
			SELECT s.dims, s.currency, s.period_id,
				   round(s.value * s.upto / s.total, s.places) - round(s.value * (s.upto - s.weight) / s.total, s.places), 'split'
			FROM (SELECT o.dims, p.period_id, o.currency, o.value, w.weight,
						 sum(w.weight) OVER (PARTITION BY o.dims, o.currency, o.period_id, p.level ORDER BY p.starts) AS upto,
						 sum(w.weight) OVER (PARTITION BY o.dims, o.currency, o.period_id, p.level) AS total,
						 CASE WHEN o.currency IS NULL THEN 2 ELSE pipelines.minor_units(o.currency) END AS places
				  FROM %2$sown o
				  JOIN (SELECT c.*, b.period_id AS within, row_number() OVER (PARTITION BY b.period_id, c.level ORDER BY c.starts) AS n
						FROM pd b JOIN pd c ON c.level < b.level AND b.starts <= c.starts AND c.starts < b.ends) p ON p.within = o.period_id
				  CROSS JOIN LATERAL (SELECT %1$s AS weight) w
				  -- not where a part of it has its own, or something nearer says more
				  WHERE NOT EXISTS (SELECT FROM %2$sown b
									WHERE b.dims = o.dims AND b.currency IS NOT DISTINCT FROM o.currency AND b.level < o.level
										AND ((b.level = p.level AND o.starts <= b.starts AND b.starts < o.ends)
											 OR (b.level > p.level AND b.starts <= p.starts AND p.starts < b.ends)))
				 ) s
			WHERE s.total > 0 AND NOT EXISTS (SELECT FROM %2$sown b WHERE b.dims = s.dims AND b.period_id = s.period_id
											  AND b.currency IS NOT DISTINCT FROM s.currency)$sql$,
			CASE options ->> 'split'
				WHEN 'equal' THEN '1'
				WHEN 'days' THEN 'p.ends - p.starts'
				WHEN 'business_days' THEN format('pipelines._working_days(p.starts, p.ends, %L::text)', options ->> 'calendar')
				ELSE format('coalesce((%L::numeric[])[p.n], 0)', ARRAY(SELECT e.value FROM jsonb_array_elements_text(options -> 'weights') e)) END, prefix);
	END IF;
	RETURN result || ')';
END
$$;
COMMENT ON FUNCTION pipelines._quota_targets(regclass, text[], jsonb, text) IS
	'The quotas of a report, as common table expressions named own and target with a prefix; they need pd, the periods.';

CREATE FUNCTION pipelines._quota_query(deals regclass, dimensions text[], kinds text[], options jsonb)
RETURNS text
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 50000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	t record;
	base text := (SELECT k FROM unnest('{month,quarter,year}'::text[]) WITH ORDINALITY x (k, n) WHERE k = ANY (kinds) ORDER BY n LIMIT 1);
	facts text := '';
	fact_names text[] := '{}';
	figures text := '';
	kind text;
	today text := quote_literal(options ->> 'today') || '::date';
	children text := 'NULL::numeric';
	place text;
	result text;
BEGIN
	SELECT f.* INTO STRICT t FROM pipelines._report_type(options) f;
	FOREACH kind IN ARRAY array_remove(ARRAY[CASE WHEN 'week' = ANY (kinds) THEN 'week' END, base], NULL) LOOP
		facts := facts || format('fact_%1$s AS MATERIALIZED (%2$s), sum_%1$s AS MATERIALIZED (%3$s), ', kind,
			pipelines._quota_facts(deals, dimensions, kind, options),
			pipelines._quota_figures('fact_' || kind, dimensions, kinds, options, t.is_money));
		fact_names := fact_names || ('sum_' || kind);
		figures := figures || CASE WHEN figures = '' THEN '' ELSE ' UNION ALL ' END || format($sql$
			SELECT %1$L AS kind, p.period_id, b.dims, b.bucket, b.currency, b.deals, b.unpriced, b.unconverted, b.forecast
			FROM sum_%1$s b LEFT JOIN pd p ON p.period_id = b.period_key$sql$, kind);
	END LOOP;
	FOREACH kind IN ARRAY kinds LOOP
		CONTINUE WHEN kind IN ('week', base);
		figures := figures || format($sql$
			UNION ALL
			SELECT %L, p.above, b.dims, b.bucket, b.currency, sum(b.deals)::bigint, sum(b.unpriced)::bigint,
				   (SELECT jsonb_object_agg(j.key, j.s) FROM (SELECT e.key, sum(e.value::numeric) AS s
					FROM unnest(array_agg(b.unconverted) FILTER (WHERE b.unconverted IS NOT NULL)) a (u) CROSS JOIN LATERAL jsonb_each_text(a.u) e GROUP BY e.key) j),
				   pipelines.rollup(b.forecast)
			FROM sum_%s b
			LEFT JOIN pu p ON p.below = b.period_key AND p.level = array_position('{week,month,quarter,year}'::text[], %1$L) - 1
			GROUP BY p.above, b.dims, b.bucket, b.currency$sql$, kind, base);
	END LOOP;

	place := '(a.dims)[' || coalesce(array_position(dimensions, 'unit'), 0) || ']';
	IF dimensions = '{unit}' THEN
		-- units and owners that belong to it directly on the first day of the period
		children := format($sql$(
			SELECT sum(c.value) FROM (
				SELECT g.value FROM pipelines._unit_rows(%2$L::timestamptz) u
				JOIN target g ON g.dims = ARRAY[u.unit_id::text] AND g.period_id = a.period_id AND g.currency IS NOT DISTINCT FROM a.currency
				WHERE u.parent_id = (%1$s)::integer AND u.starts_on <= a.starts AND a.starts < u.ends_on
				UNION ALL
				SELECT g.value FROM pipelines._member_rows(%2$L::timestamptz) m
				JOIN owner_target g ON g.dims = ARRAY[m.owner] AND g.period_id = a.period_id AND g.currency IS NOT DISTINCT FROM a.currency
				WHERE m.unit_id = (%1$s)::integer AND m.starts_on <= a.starts AND a.starts < m.ends_on) c)$sql$, place, options ->> 'defined_at');
	END IF;

	result := format($sql$
		WITH %1$s pd AS MATERIALIZED (%2$s),
		pu AS MATERIALIZED (
			SELECT c.period_id AS below, p.period_id AS above, p.level
			FROM pd c JOIN pd p ON p.level > c.level AND c.level > 0 AND p.starts <= c.starts AND c.starts < p.ends
		), %3$s,%4$s
		figure AS (%5$s),
		joined AS (
			SELECT coalesce(f.kind, g.kind) AS kind, coalesce(f.period_id, g.period_id) AS period_id, coalesce(f.dims, g.dims) AS dims,
				   coalesce(f.bucket, 0) AS bucket, coalesce(f.currency, g.currency) AS currency, coalesce(f.deals, 0) AS deals,
				   coalesce(f.unpriced, 0) AS unpriced, f.unconverted, f.forecast, g.value AS quota, g.source
			FROM figure f
			FULL JOIN (SELECT g.*, p.kind, 0 AS bucket, coalesce(g.currency, '') AS currency_key
					   FROM target g JOIN pd p ON p.period_id = g.period_id AND p.kind = ANY (%6$L::text[])) g
				ON g.period_id = f.period_id AND g.dims = f.dims AND g.bucket = f.bucket AND g.currency_key = coalesce(f.currency, '')
		)
		SELECT %7$L::text, a.kind, a.label, a.starts, a.ends,
			   CASE a.bucket WHEN 1 THEN 'overdue' WHEN 2 THEN 'undated' ELSE CASE WHEN a.label IS NULL THEN 'no_period' ELSE 'period' END END,
			   %8$L::text, %9$s, a.currency, a.deals, a.unpriced, a.unconverted,
			   m.quota, a.source, m.won, m.gap, m.pipeline, m.weighted,
			   m.projected, m.projected / nullif(m.quota, 0), m.won / nullif(m.quota, 0), m.remaining,
			   m.pipeline / nullif(m.quota, 0), m.pipeline / nullif(m.remaining, 0), m.remaining / nullif(m.pipeline, 0),
			   m.quota * e.share, m.won - m.quota * e.share,
			   CASE WHEN m.quota IS NOT NULL THEN greatest(m.quota - m.won - m.pipeline, 0) / nullif(m.quota, 0) END,
			   a.children, m.quota - a.children,
			   coalesce(pipelines.stddev(a.forecast), 0), m.won::float8 + coalesce(q.outlook[1], 0),
			   m.won::float8 + coalesce(q.outlook[2], 0), m.won::float8 + coalesce(q.outlook[3], 0),
			   CASE WHEN m.quota IS NULL THEN NULL WHEN m.won >= m.quota THEN 1
					ELSE coalesce(q.outlook[4], 0) END
		FROM (SELECT a.*, %10$s AS children
			  FROM (SELECT j.*, p.label, p.starts, p.ends FROM joined j LEFT JOIN pd p ON p.period_id = j.period_id) a) a
		CROSS JOIN LATERAL (SELECT a.quota, coalesce(pipelines.won(a.forecast), 0) AS won,
								   coalesce(pipelines.%11$s(a.forecast), 0) AS pipeline,
								   coalesce(pipelines.weighted(a.forecast), 0) AS weighted OFFSET 0) s
		CROSS JOIN LATERAL (SELECT s.quota, s.won, s.pipeline, s.weighted, s.quota - s.won AS gap, s.won + s.weighted AS projected,
								   CASE WHEN s.quota IS NOT NULL THEN greatest(s.quota - s.won, 0) END AS remaining) m
		CROSS JOIN LATERAL (SELECT pipelines._outlook(a.forecast, (m.quota - m.won)::float8) AS outlook OFFSET 0) q
		LEFT JOIN LATERAL (SELECT %12$s AS share) e ON true
		%13$s
		ORDER BY a.starts NULLS LAST, a.kind, a.bucket, a.dims, a.currency$sql$,
		facts, pipelines._period_text(options ->> 'calendar', fact_names),
		pipelines._quota_targets(deals, dimensions, options, ''),
		CASE WHEN dimensions = '{unit}' THEN
			pipelines._quota_targets(deals, '{owner}'::text[], options, 'owner_') || ','
			ELSE '' END,
		figures, kinds, t.code,
		coalesce(nullif(array_to_string(dimensions, '+'), ''), 'total'),
		pipelines._dimension_columns(dimensions), children,
		CASE WHEN t.weighted THEN 'weighted' ELSE 'pipeline' END,
		CASE WHEN options ->> 'pace' = 'business' THEN format('pipelines._working_days(a.starts, least(greatest(%s, a.starts), a.ends), %L::text)::numeric'
				' / nullif(pipelines._working_days(a.starts, a.ends, %2$L::text), 0)', today, options ->> 'calendar')
			 ELSE format('(least(greatest(%s, a.starts), a.ends) - a.starts)::numeric / (a.ends - a.starts)', today) END,
		pipelines._dimension_joins(dimensions));
	RETURN result;
END
$$;
COMMENT ON FUNCTION pipelines._quota_query(regclass, text[], text[], jsonb) IS
	'The query behind quota_report() for one forecast type and one way to split.';

-- dims[] into the columns that reports have: owner, unit_id, unit_name, team,
-- territory, pipeline_id, pipeline_name, product, dimensions.
CREATE FUNCTION pipelines._dimension_columns(dimensions text[])
RETURNS text
LANGUAGE sql IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT string_agg(CASE
			WHEN c.name = 'unit_name' THEN CASE WHEN 'unit' = ANY ($1) THEN 'unit_.name' ELSE 'NULL::text' END
			WHEN c.name = 'pipeline_name' THEN CASE WHEN 'pipeline' = ANY ($1) THEN 'pipeline_.name' ELSE 'NULL::text' END
			WHEN p.place IS NULL THEN format('NULL::%s', c.type)
			ELSE format('((a.dims)[%s])::%s', p.place, c.type) END, ', ' ORDER BY c.n)
		|| ', ' || coalesce((SELECT 'jsonb_build_object(' || string_agg(format('%L, (a.dims)[%s]', d.name, d.n), ', ' ORDER BY d.n) || ')'
							 FROM unnest($1) WITH ORDINALITY d (name, n)
							 WHERE d.name <> ALL ('{owner,unit,team,territory,pipeline,product}'::text[])), 'NULL::jsonb')
	FROM (VALUES (1, 'owner', 'text'), (2, 'unit', 'integer'), (3, 'unit_name', 'text'), (4, 'team', 'text'), (5, 'territory', 'text'),
				 (6, 'pipeline', 'integer'), (7, 'pipeline_name', 'text'), (8, 'product', 'text')) c (n, name, type)
	CROSS JOIN LATERAL (SELECT array_position($1, c.name) AS place) p
$$;
COMMENT ON FUNCTION pipelines._dimension_columns(text[]) IS
	'The dimension columns of a report (of a.dims), as SQL text.';

CREATE FUNCTION pipelines._dimension_joins(dimensions text[])
RETURNS text
LANGUAGE sql IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN 'pipeline' = ANY ($1)
			THEN format(' LEFT JOIN pipelines.pipeline pipeline_ ON pipeline_.pipeline_id = ((a.dims)[%s])::integer', array_position($1, 'pipeline'))
			ELSE '' END
		|| CASE WHEN 'unit' = ANY ($1)
			-- its name on the first day of the period, else the latest one
			THEN format(' LEFT JOIN LATERAL (SELECT u.name FROM pipelines.sales_unit u WHERE u.unit_id = ((a.dims)[%s])::integer'
				' ORDER BY (u.starts_on <= a.starts) DESC NULLS LAST, CASE WHEN u.starts_on <= a.starts THEN u.starts_on END DESC NULLS LAST, u.starts_on LIMIT 1) unit_ ON true',
				array_position($1, 'unit'))
			ELSE '' END
$$;
COMMENT ON FUNCTION pipelines._dimension_joins(text[]) IS
	'The joins that the dimension columns of a report need, as SQL text.';

CREATE TYPE pipelines.quota_row AS (
	forecast_type text, forecast_period text, fiscal_period text, starts date, ends date, bucket text,
	dimension text, owner text, unit_id integer, unit_name text, team text, territory text, pipeline_id integer, pipeline_name text,
	product text, dimensions jsonb, currency text, deals bigint, unpriced bigint, unconverted jsonb,
	quota numeric, quota_source text, won numeric, gap numeric, pipeline numeric, weighted numeric,
	projected numeric, projected_attainment numeric, attainment numeric, remaining numeric,
	coverage numeric, coverage_remaining numeric, required_win_rate numeric, expected_to_date numeric, pace_gap numeric,
	shortage_pct numeric, children_quota numeric, mismatch numeric,
	stddev double precision, p10 double precision, p50 double precision, p90 double precision, chance double precision
);
COMMENT ON TYPE pipelines.quota_row IS
	'A row of quota_report() and of the views T_quota.';

-- The statement is long, and what it reads is added up at its beginning: compiling
-- it takes longer than running it.
CREATE FUNCTION pipelines.quota_report(deals regclass, forecast_type text DEFAULT NULL, "by" text[] DEFAULT NULL,
	forecast_period text DEFAULT NULL, fiscal_period text DEFAULT NULL, currency text DEFAULT NULL,
	rates text DEFAULT 'close_date', rate_set text DEFAULT 'spot', quota_rate_set text DEFAULT 'plan',
	overdue text DEFAULT 'bucket', pace text DEFAULT 'calendar', split text DEFAULT NULL, weights numeric[] DEFAULT NULL,
	calendar text DEFAULT NULL, overrides jsonb DEFAULT NULL, as_of timestamptz DEFAULT now(), definitions text DEFAULT 'then')
RETURNS SETOF pipelines.quota_row
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000000 ROWS 1000
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	options jsonb;
	part record;
	kinds text[];
	query text;
BEGIN
	IF pace IS NULL OR pace NOT IN ('calendar', 'business') THEN
		RAISE EXCEPTION 'unknown way to count days "%"', pace
			USING ERRCODE = 'invalid_parameter_value', HINT = 'It is calendar or business.';
	END IF;
	IF split NOT IN ('equal', 'days', 'business_days', 'weights') OR (split = 'weights') IS DISTINCT FROM (weights IS NOT NULL)
			AND (split = 'weights' OR weights IS NOT NULL) THEN
		RAISE EXCEPTION 'unknown way to split quotas "%"', split
			USING ERRCODE = 'invalid_parameter_value',
				  HINT = 'It is equal, days, business_days, or weights with an array of them; without it no quota is split.';
	END IF;
	options := pipelines._report_options(quota_report.deals, quota_report.forecast_type, quota_report.forecast_period,
			quota_report.currency, rates, rate_set, overdue, calendar, overrides, as_of, definitions)
		|| jsonb_build_object('quota_rate_set', quota_rate_set, 'pace', pace, 'split', split, 'weights', to_jsonb(weights));

	-- what the quotas are about, unless it is said
	FOR part IN
		WITH used AS (
			SELECT DISTINCT q.forecast_type_id,
				   pipelines._quota_dimensions(q.owner, q.unit_id, q.team, q.territory, q.pipeline_id, q.product, q.dimensions) AS dims
			FROM pipelines.quota_as_of(as_of) q
			WHERE (q.relation IS NULL OR q.relation = quota_report.deals::text)
				AND (q.pipeline_id IS NULL OR EXISTS (SELECT FROM pipelines.pipeline y WHERE y.pipeline_id = q.pipeline_id))
		), types AS (
			SELECT (options ->> 'type')::integer AS type
			WHERE quota_report.forecast_type IS NOT NULL OR NOT EXISTS (SELECT FROM used)
			UNION
			SELECT u.forecast_type_id FROM used u WHERE quota_report.forecast_type IS NULL
		)
		SELECT t.type, f.code, d.dims
		FROM types t
		JOIN pipelines.forecast_type f ON f.forecast_type_id = t.type
		CROSS JOIN LATERAL (
			SELECT pipelines._ordered_dimensions(quota_report."by") AS dims WHERE quota_report."by" IS NOT NULL
			UNION ALL
			SELECT u.dims FROM used u WHERE u.forecast_type_id = t.type AND quota_report."by" IS NULL
			UNION ALL
			SELECT '{owner}'::text[]
			WHERE quota_report."by" IS NULL AND NOT EXISTS (SELECT FROM used u WHERE u.forecast_type_id = t.type)
		) d
		ORDER BY f.code, d.dims
	LOOP
		SELECT array_agg(k.kind ORDER BY k.n) INTO kinds
		FROM unnest('{week,month,quarter,year}'::text[]) WITH ORDINALITY k (kind, n)
		WHERE CASE WHEN quota_report.forecast_period IS NOT NULL THEN k.kind = quota_report.forecast_period
			-- a second pass over the deals: only where somebody thinks in weeks
			WHEN k.kind = 'week' THEN EXISTS (
				SELECT FROM pipelines.quota_as_of(as_of) q JOIN pipelines.fiscal_period p ON p.period_id = q.period_id AND p.kind = 'week'
				WHERE q.forecast_type_id = part.type)
			ELSE options ->> 'calendar' IS NULL
				OR EXISTS (SELECT FROM pipelines.fiscal_period p JOIN pipelines.fiscal_calendar c ON c.calendar_id = p.calendar_id
						   WHERE c.name = options ->> 'calendar' AND p.kind = k.kind) END;
		CONTINUE WHEN kinds IS NULL;
		query := pipelines._quota_query(quota_report.deals, part.dims, kinds, options || jsonb_build_object('type', part.type));
		IF quota_report.fiscal_period IS NOT NULL THEN
			query := format('SELECT * FROM (%s) r (c1, c2, label) WHERE label = %L', query, quota_report.fiscal_period);
		END IF;
		RETURN QUERY EXECUTE query;
	END LOOP;
END
$$;
COMMENT ON FUNCTION pipelines.quota_report(regclass, text, text[], text, text, text, text, text, text, text, text, text, numeric[], text, jsonb, timestamptz, text) IS
	'Quota, won, gap, pipeline and what follows from them, of the deals that the caller sees. forecast_type NULL: those that quotas are set for, else the standard one. by: owner, unit (with all below it, R-6.3), team, territory, pipeline, product, any column or expression; {} for the total; NULL: the ways in which quotas are set, else owner. forecast_period: week, month, quarter or year; NULL: month, quarter and year, and week if a quota is set for one. fiscal_period: label of one period. currency: everything converted to it (rates: close_date, frozen, creation, current, fixed:<set>@<day>; quotas at quota_rate_set on the first day of their period), else one row for each currency. overdue: bucket (rows of their own) or carry (to the present period). pace: calendar or business days; days that are over count. split (equal, days, business_days, weights): how quotas are cut into shorter periods, which is never done unasked (R-6.4). overrides: what-if, see forecast_report(). as_of: deals, definitions and quotas as they were; definitions current: the stages'' outcome, probability and category are those of today (R-2.33). A ratio is NULL where its divisor is NULL or 0. Errors: 22023, 42704 for arguments, 42703 for columns that do not exist, 22004.';

-- The view calls the function: what it shows depends on types and quotas, which
-- are data.  It runs as whoever reads it.
CREATE FUNCTION pipelines._quota_view(deals regclass)
RETURNS text
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('SELECT %s FROM pipelines.quota_report(%L::pg_catalog.regclass) q',
				  (SELECT string_agg('q.' || quote_ident(a.attname), ', ' ORDER BY a.attnum)
				   FROM pg_attribute a WHERE a.attrelid = 'pipelines.quota_row'::regclass AND a.attnum > 0 AND NOT a.attisdropped), $1)
$$;
COMMENT ON FUNCTION pipelines._quota_view(regclass) IS 'The text of the view T_quota.';
