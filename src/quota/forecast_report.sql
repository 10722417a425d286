-------------------------------------------------------------------------------
-- forecast_report.sql
--   What will come in, by forecast category, single and cumulative (R-5.1);
--   what people say to it (R-5.6); what if (S27); and the deals behind it.
-------------------------------------------------------------------------------

CREATE TYPE pipelines.forecast_row AS (
	forecast_type text, forecast_period text, fiscal_period text, starts date, ends date, bucket text,
	owner text, unit_id integer, unit_name text, team text, territory text, pipeline_id integer, pipeline_name text,
	product text, dimensions jsonb, currency text, category text, category_name text, rank integer,
	deals bigint, unpriced bigint, unconverted jsonb, amount numeric, weighted numeric, lost numeric,
	cumulative numeric, cumulative_weighted numeric,
	stddev double precision, p10 double precision, p50 double precision, p90 double precision,
	computed numeric, own_adjusted numeric, manager_adjusted numeric, final numeric, adjustments jsonb,
	submitted numeric, submitted_by text, submitted_at timestamptz
);
COMMENT ON TYPE pipelines.forecast_row IS
	'A row of forecast_report().';

-- What people say, the one nearest to the deals first, laid over a figure: a
-- value takes the place of what is below it, a delta is added to it.
CREATE FUNCTION pipelines._layered(computed numeric, layers jsonb,
	OUT own numeric, OUT manager numeric, OUT final numeric, OUT list jsonb)
LANGUAGE plpgsql IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	layer record;
	first_manager integer;
BEGIN
	own := computed;
	manager := computed;
	final := computed;
	FOR layer IN
		SELECT x.value AS row, (x.value ->> 'level')::integer AS level
		FROM jsonb_array_elements(layers) x
		ORDER BY (x.value ->> 'level')::integer, x.value ->> 'made_at', (x.value ->> 'id')::bigint
	LOOP
		final := coalesce((layer.row ->> 'value')::numeric, final + (layer.row ->> 'delta')::numeric);
		IF layer.level = 0 THEN
			own := final;
			manager := final;
		ELSIF layer.level = coalesce(first_manager, layer.level) THEN
			first_manager := layer.level;
			manager := final;
		END IF;
		list := coalesce(list, '[]') || jsonb_build_array(jsonb_strip_nulls(layer.row - 'id' || jsonb_build_object('result', final)));
	END LOOP;
END
$$;
COMMENT ON FUNCTION pipelines._layered(numeric, jsonb) IS
	'A computed figure after what the owner, his manager, and all above say to it; list: each layer with its result.';

-- What people say to the figures of a report: one row for each that anybody
-- says something to.  Level 0 is the owner (or who leads the unit), 1 the
-- manager next above him, and so on; who is not above him comes last.
CREATE FUNCTION pipelines._said(deals regclass, dimension text, forecast_type_id integer, calendar text, default_currency text, "at" timestamptz)
RETURNS TABLE (name text, period_id integer, category text, currency text, layers jsonb,
			   submitted numeric, submitted_by text, submitted_at timestamptz)
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000 ROWS 100
SET search_path = pg_catalog, pg_temp
AS $$
	WITH said AS (
		SELECT DISTINCT ON (a.owner, a.unit_id, a.period_id, a.category, coalesce(a.currency, $5), a.made_by)
			   a.*, coalesce(a.currency, $5) AS money, coalesce(a.owner, a.unit_id::text) AS name
		FROM pipelines.adjustment a
		WHERE a.forecast_type_id = $3 AND a.made_at <= $6 AND (a.relation IS NULL OR a.relation = $1)
			AND CASE $2 WHEN 'owner' THEN a.owner IS NOT NULL WHEN 'unit' THEN a.unit_id IS NOT NULL
						ELSE a.owner IS NULL AND a.unit_id IS NULL END
		ORDER BY a.owner, a.unit_id, a.period_id, a.category, coalesce(a.currency, $5), a.made_by, a.made_at DESC, a.adjustment_id DESC
	), layer AS (
		SELECT s.name, s.period_id, s.category, s.money,
			   jsonb_agg(jsonb_build_object('id', s.adjustment_id, 'by', s.made_by, 'level', l.level, 'value', s.value, 'delta', s.delta,
											'reason', s.reason, 'made_at', s.made_at)) AS layers
		FROM said s
		JOIN pipelines.fiscal_period p ON p.period_id = s.period_id
		CROSS JOIN LATERAL (
			SELECT coalesce(CASE WHEN s.made_by = s.owner THEN 0 END,
				(SELECT min(u.n) - CASE WHEN s.owner IS NULL THEN 1 ELSE 0 END
				 FROM unnest(CASE WHEN s.owner IS NOT NULL
								  THEN (SELECT x.units FROM pipelines._unit_spans() x
										WHERE x.owner = s.owner AND x.starts_on <= p.starts AND p.starts < x.ends_on)
								  ELSE (SELECT array_agg(y.unit_id ORDER BY y.n DESC) FROM pipelines.sales_structure(p.starts) t
										CROSS JOIN LATERAL unnest(t.path) WITH ORDINALITY y (unit_id, n) WHERE t.unit_id = s.unit_id) END)
					  WITH ORDINALITY u (unit_id, n)
				 JOIN pipelines._unit_rows() r ON r.unit_id = u.unit_id AND r.starts_on <= p.starts AND p.starts < r.ends_on
				 WHERE r.manager = s.made_by), 1000)::integer AS level) l
		WHERE s.value IS NOT NULL OR s.delta IS NOT NULL
		GROUP BY s.name, s.period_id, s.category, s.money
	), submitted AS (
		SELECT DISTINCT ON (a.owner, a.unit_id, a.period_id, a.category, coalesce(a.currency, $5))
			   coalesce(a.owner, a.unit_id::text) AS name, a.period_id, a.category, coalesce(a.currency, $5) AS money,
			   a.value, a.made_by, a.made_at
		FROM pipelines.submission a
		WHERE a.forecast_type_id = $3 AND a.made_at <= $6 AND (a.relation IS NULL OR a.relation = $1)
			AND CASE $2 WHEN 'owner' THEN a.owner IS NOT NULL WHEN 'unit' THEN a.unit_id IS NOT NULL
						ELSE a.owner IS NULL AND a.unit_id IS NULL END
		ORDER BY a.owner, a.unit_id, a.period_id, a.category, coalesce(a.currency, $5), a.made_at DESC, a.submission_id DESC
	)
	SELECT coalesce(l.name, s.name), coalesce(l.period_id, s.period_id), coalesce(l.category, s.category), coalesce(l.money, s.money),
		   l.layers, s.value, s.made_by, s.made_at
	FROM layer l
	FULL JOIN submitted s ON coalesce(s.name, '') = coalesce(l.name, '') AND s.period_id = l.period_id AND s.category = l.category
		AND coalesce(s.money, '') = coalesce(l.money, '')
$$;
COMMENT ON FUNCTION pipelines._said(regclass, text, integer, text, text, timestamptz) IS
	'Adjustments and submissions that the caller may see, as of an instant, by whom and what they are about.';

CREATE FUNCTION pipelines._forecast_query(deals regclass, dimensions text[], options jsonb)
RETURNS text
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 50000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	t record;
	kind text := options ->> 'kind';
	by_unit boolean := 'unit' = ANY (dimensions);
	converts boolean;
	keys text := (SELECT coalesce(string_agg(CASE WHEN n.name = 'unit' THEN ', f.units_text' ELSE format(', f.d%s', n.i) END, '' ORDER BY n.i), '')
				  FROM unnest(dimensions) WITH ORDINALITY n (name, i));
	list text := (SELECT coalesce(string_agg(CASE WHEN n.name = 'unit' THEN 'u.unit_id::text' ELSE format('k.parts[%s]', n.i + 4) END, ', ' ORDER BY n.i), '')
				  FROM unnest(dimensions) WITH ORDINALITY n (name, i));
	currency text;
	measure text;
	said text;
BEGIN
	SELECT f.* INTO STRICT t FROM pipelines._report_type(options) f;
	converts := t.is_money AND options ->> 'currency' IS NOT NULL;
	currency := CASE WHEN converts THEN quote_literal(options ->> 'currency') || '::text' ELSE 'k.parts[3]' END;
	measure := CASE WHEN t.weighted THEN 'weighted' ELSE 'pipeline' END;
	said := CASE WHEN options ->> 'calendar' IS NOT NULL AND dimensions IN ('{owner}', '{unit}', '{}')
		THEN format('(SELECT * FROM pipelines._said(%L::regclass, %L::text, %s, %L::text, %L::text, %s) y%s OFFSET 0)', deals,
					coalesce(dimensions[1], ''), t.forecast_type_id, options ->> 'calendar',
					CASE WHEN t.is_money THEN (SELECT r.currency FROM pipelines.tracked_table r WHERE r.relation = _forecast_query.deals) END,
					coalesce(quote_literal(options ->> 'at') || '::timestamptz', 'now()'),
					-- what is said in another currency is not about these figures
					CASE WHEN converts THEN format(' WHERE y.currency = %L', options ->> 'currency') ELSE '' END)
		ELSE '(SELECT NULL::text AS name, 0 AS period_id, ''''::text AS category, NULL::text AS currency, NULL::jsonb AS layers,'
			 ' NULL::numeric AS submitted, NULL::text AS submitted_by, NULL::timestamptz AS submitted_at WHERE false)' END;

	RETURN format($sql$
		WITH fact AS MATERIALIZED (
			SELECT x.key, count(*) AS deals, count(*) - count(x.value) AS unpriced,
				   count(x.raw) - count(x.value) AS unconverted, sum(x.raw) FILTER (WHERE x.value IS NULL) AS unconverted_sum,
				   pipelines.forecast(x.value, x.probability, x.counts_as) AS forecast
			FROM (SELECT pipelines._pack(f.period_key, f.bucket, f.native, f.category%1$s) AS key, f.value, f.raw, f.probability, f.counts_as
				  FROM (%2$s) f) x
			GROUP BY x.key
		), cell AS MATERIALIZED (
			SELECT ARRAY[%3$s]::text[] AS dims, k.parts[1]::integer AS period_key, k.parts[2]::integer AS bucket, %4$s AS currency,
				   k.parts[4] AS category, sum(f.deals)::bigint AS deals, sum(f.unpriced)::bigint AS unpriced,
				   pipelines.rollup(f.forecast) AS forecast,
				   jsonb_object_agg(coalesce(k.parts[3], ''), f.unconverted_sum) FILTER (WHERE f.unconverted > 0) AS unconverted
			FROM fact f
			CROSS JOIN LATERAL (SELECT pipelines._unpack(f.key) AS parts OFFSET 0) k
			%5$s
			GROUP BY 1, 2, 3, 4, 5
		), pd AS MATERIALIZED (%6$s),
		known AS MATERIALIZED (SELECT * FROM pipelines._categories_at(%16$s)),
		category AS MATERIALIZED (
			SELECT c.code, c.name, c.rank, c.includes_closed, c.is_closed_won, c.omit, c.includes_open, c.cumulative_name FROM known c
			UNION ALL
			-- unknown codes stand at the end of the open pipeline
			SELECT DISTINCT x.category, x.category, NULL::integer, false, false, false, true, NULL::text FROM cell x
			WHERE NOT EXISTS (SELECT FROM known c WHERE c.code = x.category)
		), place AS (
			SELECT x.dims, x.period_key, x.bucket, x.currency FROM cell x GROUP BY 1, 2, 3, 4
			UNION
			SELECT ARRAY[%7$s]::text[], s.period_id, 0, s.currency FROM %8$s s
			JOIN pd p ON p.period_id = s.period_id AND p.kind = %9$L
		), grid AS (
			SELECT g.dims, g.period_key, g.bucket, g.currency, c.code, c.name, c.rank, c.omit, c.is_closed_won, c.includes_closed,
				   x.deals, x.unpriced, x.unconverted, x.forecast,
				   CASE WHEN c.omit THEN 0 WHEN c.is_closed_won THEN coalesce(pipelines.won(x.forecast), 0)
						ELSE coalesce(pipelines.%10$s(x.forecast), 0) END AS amount,
				   CASE WHEN c.omit THEN 0 WHEN c.is_closed_won THEN coalesce(pipelines.won(x.forecast), 0)
						ELSE coalesce(pipelines.weighted(x.forecast), 0) END AS weighted,
				   CASE WHEN c.rank IS NULL THEN (SELECT min(y.rank) FROM category y WHERE y.includes_open) ELSE c.rank END AS place
			FROM place g
			CROSS JOIN category c
			LEFT JOIN cell x ON x.category = c.code AND x.dims = g.dims AND x.bucket = g.bucket
				AND x.period_key IS NOT DISTINCT FROM g.period_key AND x.currency IS NOT DISTINCT FROM g.currency
			WHERE x.dims IS NOT NULL OR (c.rank IS NOT NULL AND NOT c.omit)
		), rolled AS (
			SELECT g.*,
				   -- all open categories of the rank and above, and what is won where the category takes that in
				   CASE WHEN g.omit OR g.rank IS NULL THEN NULL WHEN g.is_closed_won THEN g.amount ELSE
					   sum(g.amount) FILTER (WHERE NOT g.omit AND NOT g.is_closed_won) OVER above
					   + CASE WHEN g.includes_closed THEN coalesce(sum(g.amount) FILTER (WHERE g.is_closed_won) OVER whole, 0) ELSE 0 END END AS cumulative,
				   CASE WHEN g.omit OR g.rank IS NULL THEN NULL WHEN g.is_closed_won THEN g.weighted ELSE
					   sum(g.weighted) FILTER (WHERE NOT g.omit AND NOT g.is_closed_won) OVER above
					   + CASE WHEN g.includes_closed THEN coalesce(sum(g.weighted) FILTER (WHERE g.is_closed_won) OVER whole, 0) ELSE 0 END END AS cumulative_weighted
			FROM grid g
			WINDOW whole AS (PARTITION BY g.dims, g.period_key, g.bucket, g.currency),
				   above AS (PARTITION BY g.dims, g.period_key, g.bucket, g.currency ORDER BY g.place DESC RANGE UNBOUNDED PRECEDING)
		)
		SELECT %11$L::text, %9$L::text, a.label, a.starts, a.ends,
			   CASE a.bucket WHEN 1 THEN 'overdue' WHEN 2 THEN 'undated' ELSE CASE WHEN a.label IS NULL THEN 'no_period' ELSE 'period' END END,
			   %12$s, a.currency, a.code, CASE WHEN %13$L = 'cumulative' THEN coalesce(a.cumulative_name, a.name) ELSE a.name END, a.rank,
			   coalesce(a.deals, 0), coalesce(a.unpriced, 0), a.unconverted, a.amount, a.weighted, coalesce(pipelines.lost(a.forecast), 0),
			   a.cumulative, a.cumulative_weighted,
			   pipelines.stddev(a.forecast), q.outlook[1], q.outlook[2], q.outlook[3],
			   v.computed, l.own, l.manager, l.final, l.list, s.submitted, s.submitted_by, s.submitted_at
		FROM (SELECT r.*, c.cumulative_name, p.period_id, p.label, p.starts, p.ends
			  FROM rolled r
			  LEFT JOIN category c ON c.code = r.code
			  LEFT JOIN pd p ON p.period_id = r.period_key) a
		CROSS JOIN LATERAL (SELECT CASE WHEN %13$L = 'cumulative' THEN coalesce(a.cumulative, a.amount) ELSE a.amount END AS computed) v
		LEFT JOIN %8$s s ON a.bucket = 0 AND s.period_id = a.period_key AND s.category = a.code
			AND coalesce(s.name, '') = coalesce(a.dims[1], '') AND coalesce(s.currency, '') = coalesce(a.currency, '')
		CROSS JOIN LATERAL pipelines._layered(v.computed, s.layers) l
		CROSS JOIN LATERAL (SELECT pipelines._outlook(a.forecast, NULL::float8) AS outlook OFFSET 0) q
		%14$s
		%15$s
		ORDER BY a.starts NULLS LAST, a.bucket, a.dims, a.currency, a.rank NULLS LAST, a.code$sql$,
		keys, pipelines._fact_text(deals, dimensions, kind, options), list, currency,
		CASE WHEN by_unit THEN format('CROSS JOIN LATERAL unnest(coalesce(k.parts[%s]::integer[], ARRAY[NULL::integer])) u (unit_id)',
									  array_position(dimensions, 'unit') + 4) ELSE '' END,
		pipelines._period_text(options ->> 'calendar', '{cell}'::text[]),
		CASE WHEN dimensions IN ('{owner}', '{unit}') THEN 's.name' ELSE '' END, said, kind, measure, t.code,
		pipelines._dimension_columns(dimensions), t.rollup, pipelines._dimension_joins(dimensions),
		'WHERE a.label = ' || quote_literal(options ->> 'fiscal_period'), quote_nullable(options ->> 'at') || '::timestamptz');
END
$$;
COMMENT ON FUNCTION pipelines._forecast_query(regclass, text[], jsonb) IS
	'The query behind forecast_report().';

CREATE FUNCTION pipelines.forecast_report(deals regclass, forecast_type text DEFAULT NULL, "by" text[] DEFAULT '{pipeline,owner}',
	forecast_period text DEFAULT 'month', fiscal_period text DEFAULT NULL, currency text DEFAULT NULL,
	rates text DEFAULT 'close_date', rate_set text DEFAULT 'spot', overdue text DEFAULT 'bucket',
	calendar text DEFAULT NULL, overrides jsonb DEFAULT NULL, as_of timestamptz DEFAULT now(), definitions text DEFAULT 'then')
RETURNS SETOF pipelines.forecast_row
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000000 ROWS 1000
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
DECLARE
	options jsonb := pipelines._report_options(deals, forecast_type, coalesce(forecast_period, 'month'), currency, rates, rate_set,
											   overdue, calendar, overrides, as_of, definitions);
BEGIN
	RETURN QUERY EXECUTE pipelines._forecast_query(deals, pipelines._ordered_dimensions("by"),
		options || jsonb_build_object('fiscal_period', fiscal_period));
END
$$;
COMMENT ON FUNCTION pipelines.forecast_report(regclass, text, text[], text, text, text, text, text, text, text, jsonb, timestamptz, text) IS
	'The forecast of the deals that the caller sees, by fiscal period, by what is asked for (as in quota_report()), currency and forecast category. amount is the category''s own, cumulative takes in the categories above it and, where the category says so, what is won (R-5.1); computed is the one that the forecast type rolls up. own_adjusted, manager_adjusted and final lay over it what the owner, his manager and all above say (R-5.6; shown by owner, by unit, and in total), as far as the caller may see it; submitted is what was committed to last. overdue: bucket (rows of their own) or carry (to the present period). Lost deals add nothing but to lost (R-5.5). overrides: what-if without writing, a list of {"pipeline", "stage", "probability", "category"} and {"deal", "amount", "probability", "category", "expected_close_on", "currency", "quantity", "cost", "owner", "team", "territory", "product"}. as_of: deals and definitions as they were; definitions current: the stages'' outcome, probability and category are those of today (R-2.33). Errors: 22023, 22003, 42704 for arguments, 42703 for columns that do not exist.';

-- ---------------------------------------------------------------------------
-- The deals behind a figure (I9)
-- ---------------------------------------------------------------------------

CREATE TYPE pipelines.forecast_deal AS (
	deal text, forecast_type text, forecast_period text, fiscal_period text, starts date, ends date, bucket text,
	owner text, unit_id integer, unit_name text, team text, territory text, pipeline_id integer, pipeline_name text,
	product text, dimensions jsonb, currency text, stage_id integer, outcome text, category text, day date,
	native_value numeric, native_currency text, value numeric, probability numeric,
	won numeric, pipeline numeric, weighted numeric, lost numeric
);
COMMENT ON TYPE pipelines.forecast_deal IS
	'A row of forecast_deals().';

CREATE FUNCTION pipelines.forecast_deals(deals regclass, forecast_type text DEFAULT NULL, "by" text[] DEFAULT '{pipeline,owner}',
	forecast_period text DEFAULT 'month', fiscal_period text DEFAULT NULL, currency text DEFAULT NULL,
	rates text DEFAULT 'close_date', rate_set text DEFAULT 'spot', overdue text DEFAULT 'bucket',
	calendar text DEFAULT NULL, overrides jsonb DEFAULT NULL, as_of timestamptz DEFAULT now(), definitions text DEFAULT 'then')
RETURNS SETOF pipelines.forecast_deal
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000000 ROWS 100000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	options jsonb := pipelines._report_options(deals, forecast_type, coalesce(forecast_period, 'month'), currency, rates, rate_set,
											   overdue, calendar, overrides, as_of, definitions);
	dims text[] := pipelines._ordered_dimensions("by");
	t record;
BEGIN
	SELECT f.* INTO STRICT t FROM pipelines._report_type(options) f;
	RETURN QUERY EXECUTE format($sql$
		WITH fact AS MATERIALIZED (%1$s), pd AS MATERIALIZED (%2$s)
		SELECT a.deal, %3$L::text, %4$L::text, a.label, a.starts, a.ends,
			   CASE a.bucket WHEN 1 THEN 'overdue' WHEN 2 THEN 'undated' ELSE CASE WHEN a.label IS NULL THEN 'no_period' ELSE 'period' END END,
			   %5$s, %6$s, a.stage_id, a.outcome, a.category, a.day, a.raw, a.native, a.value, a.probability,
			   CASE WHEN a.counts_as = 'won' THEN coalesce(a.value, 0) ELSE 0 END,
			   CASE WHEN a.counts_as = 'open' THEN coalesce(a.value%7$s, 0) ELSE 0 END,
			   CASE WHEN a.counts_as = 'open' THEN coalesce(a.value * a.probability * 0.01, 0) ELSE 0 END,
			   CASE WHEN a.counts_as = 'lost' THEN coalesce(a.value, 0) ELSE 0 END
		FROM (SELECT f.*, ARRAY[%8$s]::text[] AS dims, p.label, p.starts, p.ends
			  FROM fact f%9$s
			  LEFT JOIN pd p ON p.period_id = f.period_key) a
		%10$s
		%11$s
		ORDER BY a.deal$sql$,
		pipelines._fact_text(deals, dims, options ->> 'kind', options),
		pipelines._period_text(options ->> 'calendar', '{fact}'::text[]), t.code, options ->> 'kind',
		pipelines._dimension_columns(dims),
		CASE WHEN t.is_money AND options ->> 'currency' IS NOT NULL THEN quote_literal(options ->> 'currency') || '::text' ELSE 'a.native' END,
		CASE WHEN t.weighted THEN ' * a.probability * 0.01' ELSE '' END,
		(SELECT string_agg(CASE WHEN n.name = 'unit' THEN 'u.unit_id::text' ELSE format('f.d%s', n.i) END, ', ' ORDER BY n.i)
		 FROM unnest(dims) WITH ORDINALITY n (name, i)),
		CASE WHEN 'unit' = ANY (dims) THEN ' CROSS JOIN LATERAL unnest(coalesce(f.units_text::integer[], ARRAY[NULL::integer])) u (unit_id)' ELSE '' END,
		pipelines._dimension_joins(dims),
		'WHERE a.label = ' || quote_literal(fiscal_period));
END
$$;
COMMENT ON FUNCTION pipelines.forecast_deals(regclass, text, text[], text, text, text, text, text, text, text, jsonb, timestamptz, text) IS
	'The deals behind the figures of forecast_report() and quota_report(), with the same arguments: won, pipeline, weighted and lost of the rows of a period, bucket, dimension, currency and category add up to its figures (I9). By unit a deal has a row for each unit above its owner. Errors as forecast_report().';
