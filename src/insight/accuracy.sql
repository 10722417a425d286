-------------------------------------------------------------------------------
-- accuracy.sql
--   How good forecasts were: what would have been forecast some days before the
--   end of a period, by the deals and the definitions of that day, against what
--   came.  It needs no snapshots, since the past is there as it was.
-------------------------------------------------------------------------------

-- The last periods that ended by a day: of the calendar of everybody, or of a
-- fiscal one.
CREATE FUNCTION pipelines._past_periods(kind text, many integer, calendar text, until date)
RETURNS TABLE (starts date, ends date, label text)
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000 ROWS 12
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	IF calendar IS NULL THEN
		RETURN QUERY
			SELECT x.starts, (x.starts + x.step)::date,
				   CASE kind WHEN 'month' THEN to_char(x.starts, 'YYYY-MM') WHEN 'quarter' THEN to_char(x.starts, 'YYYY-"Q"Q')
							 WHEN 'year' THEN to_char(x.starts, 'YYYY') ELSE to_char(x.starts, 'IYYY-"W"IW') END
			FROM (SELECT (date_trunc(kind, until::timestamp) - n * s.step)::date AS starts, s.step
				  FROM (SELECT CASE kind WHEN 'quarter' THEN interval '3 months' ELSE ('1 ' || kind)::interval END AS step) s,
					   generate_series(1, many) n) x
			ORDER BY 1;
	ELSE
		RETURN QUERY EXECUTE
			'SELECT x.starts, x.ends, x.label FROM (
				SELECT p.starts::date AS starts, p.ends::date AS ends, p.label::text AS label
				FROM pipelines.fiscal_period p JOIN pipelines.fiscal_calendar c ON c.calendar_id = p.calendar_id
				WHERE c.name = $1 AND p.kind = $2 AND p.ends <= $3
				ORDER BY p.ends DESC LIMIT $4) x ORDER BY 1'
		USING calendar, kind, until, many;
	END IF;
END
$$;
COMMENT ON FUNCTION pipelines._past_periods(text, integer, text, date) IS
'The last periods of a kind that had ended on a day; ends is exclusive.';

CREATE FUNCTION pipelines.forecast_accuracy(deals regclass, horizons integer[] DEFAULT '{30,60,90}', period text DEFAULT 'month',
	periods integer DEFAULT 12, calendar text DEFAULT NULL, by text DEFAULT NULL, as_of timestamptz DEFAULT now())
RETURNS TABLE (pipeline_id integer, pipeline_name text, period_label text, starts date, ends date, dimension text, currency text,
	horizon integer, forecast_at timestamptz, won_then numeric, weighted_then numeric, forecast numeric, actual numeric,
	error numeric, error_percent numeric)
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000000 ROWS 100
SET search_path = pg_catalog, pg_temp
-- that few versions go on is not known to the planner: joined in the order in
-- which they are written, the fewest rows go on
SET join_collapse_limit = 1
SET enable_nestloop = off
SET enable_mergejoin = off
SET enable_sort = off
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	part record;
	target record;
	day record;
	stage record;
	weighable CONSTANT record := pipelines._weighable('v.amount', 'v.probability', 'v.category');
	-- one day later than anywhere
	furthest CONSTANT date := (as_of AT TIME ZONE 'UTC')::date + 1;
BEGIN
	IF deals IS NULL OR horizons IS NULL OR period IS NULL OR periods IS NULL OR as_of IS NULL
		OR array_position(horizons, NULL) IS NOT NULL
	THEN
		RAISE EXCEPTION 'deals, horizons, period, periods and as_of must not be null' USING ERRCODE = 'null_value_not_allowed';
	END IF;
	IF NOT isfinite(as_of) OR periods NOT BETWEEN 1 AND 1000 OR cardinality(horizons) NOT BETWEEN 1 AND 20
		OR (SELECT min(h) < 0 OR max(h) > 3660 FROM unnest(horizons) h)
		OR (calendar IS NULL AND period NOT IN ('week', 'month', 'quarter', 'year'))
	THEN
		RAISE EXCEPTION 'nothing can be forecast for these periods'
			USING ERRCODE = 'invalid_parameter_value',
				  DETAIL = format('%s periods of kind "%s", forecast %s days before they end.', periods, period, array_to_string(horizons, ', ')),
				  HINT = 'period is week, month, quarter or year; periods is 1 to 1000; there are 1 to 20 horizons of 0 to 3660 days.';
	END IF;
	IF calendar IS NOT NULL AND NOT EXISTS (SELECT FROM pipelines.fiscal_period p
											WHERE p.calendar_id = pipelines.calendar_id(calendar) AND p.kind = period)
	THEN
		RAISE EXCEPTION 'fiscal calendar "%" has no periods of kind "%"', calendar, period
			USING ERRCODE = 'invalid_parameter_value',
				  DETAIL = format('Kinds: %s.', coalesce((SELECT string_agg(DISTINCT p.kind, ', ') FROM pipelines.fiscal_period p
														  WHERE p.calendar_id = pipelines.calendar_id(calendar)), 'none'));
	END IF;
	SELECT t.currency, t.tracked_since, pipelines._own_column(t.history, 'valid_from') AS valid_from,
		   pipelines._own_column(t.history, 'valid_to') AS valid_to
	INTO part
	FROM pipelines.tracked_table t
	WHERE t.relation = forecast_accuracy.deals;
	PERFORM pipelines._roles(deals);

	-- What is looked at when; what came is looked at now.  And between which
	-- instants each day of a period is looked at.  Handed over as parameters, so
	-- that several processes can share the reading.
	SELECT array_agg(x.n) AS n, array_agg(x.pipeline_id) AS pipeline_id, array_agg(x.starts) AS starts,
		   array_agg(x.horizon) AS horizon, array_agg(x.at) AS at, max(x.n) AS many
	INTO target
	FROM (
		SELECT dense_rank() OVER (ORDER BY q.pipeline_id, p.starts)::integer AS n, q.pipeline_id, p.starts, h.horizon,
			   CASE WHEN h.horizon IS NULL THEN as_of ELSE (p.ends - h.horizon)::timestamp AT TIME ZONE q.time_zone END AS at
		FROM pipelines.pipeline q
		CROSS JOIN LATERAL pipelines._past_periods(period, periods, calendar, (as_of AT TIME ZONE q.time_zone)::date) p
		CROSS JOIN (SELECT DISTINCT x FROM unnest(horizons || NULL::integer) x) h(horizon)
		ORDER BY n, at, horizon) x;
	SELECT array_agg(x.pipeline_id) AS pipeline_id, array_agg(x.n) AS n, array_agg(x.day) AS day,
		   array_agg(x.first_at) AS first_at, array_agg(x.last_at) AS last_at
	INTO day
	FROM (
		SELECT t.pipeline_id, t.n, g::date AS day, min(t.at) AS first_at, max(t.at) AS last_at
		FROM pipelines._past_periods(period, periods + 1, calendar, furthest) p
		CROSS JOIN LATERAL generate_series(p.starts, p.ends - 1, interval '1 day') g
		JOIN unnest(target.n, target.pipeline_id, target.starts, target.at) t(n, pipeline_id, starts, at) ON t.starts = p.starts
		GROUP BY 1, 2, 3) x;

	-- the stages at each of the instants
	SELECT array_agg(t.pipeline_id) AS pipeline_id, array_agg(t.starts) AS starts, array_agg(t.horizon) AS horizon, array_agg(t.at) AS at,
		   array_agg(s.stage_id) AS stage_id, array_agg(s.outcome) AS outcome, array_agg(s.probability::numeric) AS probability,
		   array_agg(s.forecast_category) AS forecast_category
	INTO stage
	FROM unnest(target.pipeline_id, target.starts, target.horizon, target.at) t(pipeline_id, starts, horizon, at)
	JOIN (
		SELECT x.pipeline_id, x.stage_id, x.outcome, x.probability, x.forecast_category,
			   CASE WHEN x.version = 1 THEN '-infinity' ELSE x.changed_at END AS since, timestamptz 'infinity' AS until
		FROM pipelines.pipeline_stage x
		UNION ALL
		SELECT x.pipeline_id, x.stage_id, x.outcome, x.probability, x.forecast_category,
			   CASE WHEN x.version = 1 THEN '-infinity' ELSE x.valid_from END, x.valid_to
		FROM pipelines.pipeline_stage_history x) s ON s.pipeline_id = t.pipeline_id AND s.since <= t.at AND t.at < s.until;

	RETURN QUERY EXECUTE format($sql$
		WITH period AS (
			SELECT p.starts, p.ends, p.label FROM pipelines._past_periods($2, $3 + 1, $4, $24) p
		), target AS NOT MATERIALIZED (
			SELECT t.pipeline_id, t.starts, t.horizon, t.at, t.n, row_number() OVER (PARTITION BY t.n ORDER BY t.at, t.horizon) AS place
			FROM unnest($7, $8, $9, $10, $25) t(pipeline_id, starts, horizon, at, n)
		), day AS NOT MATERIALIZED (
			SELECT t.* FROM unnest($11, $12, $13, $14, $15) t(pipeline_id, n, day, first_at, last_at)
		), stage AS NOT MATERIALIZED (
			SELECT t.* FROM unnest($16, $17, $18, $19, $20, $21, $22, $23) t(pipeline_id, starts, horizon, at, stage_id, outcome, probability, forecast_category)
		), version AS (
			SELECT %1$s AS pipeline_id, %2$s AS stage_id, CASE WHEN %3$s IS NOT NULL THEN %4$s ELSE %5$s END AS day,
				   coalesce(%6$s, %7$L::text) AS currency, %8$s AS amount, %9$s AS probability, %10$s AS category,
				   %11$s AS since, timestamptz 'infinity' AS until, %12$s AS dimension
			FROM %13$s d
			UNION ALL
			SELECT %14$s, %15$s, CASE WHEN %16$s IS NOT NULL THEN %17$s ELSE %18$s END,
				   coalesce(%19$s, %7$L::text), %20$s, %21$s, %22$s, h.%23$I, h.%24$I, %25$s
			FROM %26$s h
		), stood AS (
			SELECT r.*
			FROM pipelines._sums_rows((
				SELECT pipelines._sums(5, y.n, v.stage_id, v.currency, v.dimension, pipelines._ends_within($10, $26, y.n, v.since, v.until), %27$s)
				FROM version v
				-- most versions stood at none of the instants
				JOIN day y ON y.pipeline_id = v.pipeline_id AND y.day = v.day AND v.since <= y.last_at AND y.first_at < v.until
			)) AS r(n integer, stage_id integer, currency text, dimension text, span bigint, versions bigint, %28$s)
			WHERE r.span IS NOT NULL
		), figure AS (
			SELECT t.pipeline_id, t.starts, t.horizon, v.currency, v.dimension,
				   coalesce(sum(v.amount) FILTER (WHERE s.outcome = 'won'), 0) AS won,
				   coalesce(sum(coalesce(v.said_product, 0) + coalesce(v.said_amount, 0) * s.probability
								+ CASE WHEN s.forecast_category <> 'omitted' THEN coalesce(v.product, 0) + coalesce(v.plain_amount, 0) * s.probability ELSE 0 END)
							FILTER (WHERE s.outcome IN ('open', 'on_hold') AND t.horizon IS NOT NULL) * 0.01, 0) AS weighted
			FROM stood v
			CROSS JOIN LATERAL generate_series(v.span >> 32, v.span & 4294967295) k(place)
			JOIN target t ON t.n = v.n AND t.place = k.place
			JOIN stage s ON s.pipeline_id = t.pipeline_id AND s.starts = t.starts AND s.stage_id = v.stage_id AND s.horizon IS NOT DISTINCT FROM t.horizon
			GROUP BY 1, 2, 3, 4, 5
		), line AS (
			SELECT DISTINCT f.pipeline_id, f.starts, f.currency, f.dimension FROM figure f WHERE f.won <> 0 OR f.weighted <> 0
		)
		SELECT l.pipeline_id, q.name, p.label, l.starts, p.ends, l.dimension, l.currency, t.horizon, t.at,
			   coalesce(f.won, 0), coalesce(f.weighted, 0), coalesce(f.won + f.weighted, 0), coalesce(a.won, 0),
			   coalesce(f.won + f.weighted, 0) - coalesce(a.won, 0),
			   round((coalesce(f.won + f.weighted, 0) - a.won) / nullif(a.won, 0) * 100, 2)
		FROM line l
		JOIN pipelines.pipeline q ON q.pipeline_id = l.pipeline_id
		JOIN period p ON p.starts = l.starts
		JOIN target t ON t.pipeline_id = l.pipeline_id AND t.starts = l.starts AND t.horizon IS NOT NULL AND t.at <= $1 AND t.at >= $6
		LEFT JOIN figure f ON f.pipeline_id = l.pipeline_id AND f.starts = l.starts AND f.horizon = t.horizon
			AND f.currency IS NOT DISTINCT FROM l.currency AND f.dimension IS NOT DISTINCT FROM l.dimension
		LEFT JOIN figure a ON a.pipeline_id = l.pipeline_id AND a.starts = l.starts AND a.horizon IS NULL
			AND a.currency IS NOT DISTINCT FROM l.currency AND a.dimension IS NOT DISTINCT FROM l.dimension
		ORDER BY l.pipeline_id, l.starts, l.dimension, l.currency, t.horizon$sql$,
		pipelines._column(deals, 'pipeline_id', NULL::text, false), pipelines._column(deals, 'stage_id', NULL::text, false),
		pipelines._column(deals, 'closed_at', 'timestamptz'::text, false), pipelines._column(deals, 'closed_on', 'date'::text, false),
		pipelines._column(deals, 'expected_close_on', 'date'::text, false), pipelines._column(deals, 'currency', 'text'::text, false),
		part.currency, pipelines._column(deals, 'amount', 'numeric'::text, false),
		pipelines._column(deals, 'probability', 'numeric'::text, false), pipelines._column(deals, 'forecast_category', 'text'::text, false),
		pipelines._column(deals, 'changed_at', NULL::text, false),
		CASE WHEN by IS NULL THEN 'NULL::text' ELSE pipelines._deal_dimension(deals, by, false, false) END,
		pipelines._deals_source(deals, NULL::name[]),
		pipelines._column(deals, 'pipeline_id', NULL::text, true), pipelines._column(deals, 'stage_id', NULL::text, true),
		pipelines._column(deals, 'closed_at', 'timestamptz'::text, true), pipelines._column(deals, 'closed_on', 'date'::text, true),
		pipelines._column(deals, 'expected_close_on', 'date'::text, true), pipelines._column(deals, 'currency', 'text'::text, true),
		pipelines._column(deals, 'amount', 'numeric'::text, true), pipelines._column(deals, 'probability', 'numeric'::text, true),
		pipelines._column(deals, 'forecast_category', 'text'::text, true), part.valid_from, part.valid_to,
		CASE WHEN by IS NULL THEN 'NULL::text' ELSE pipelines._deal_dimension(deals, by, true, false) END,
		pipelines._history_source(deals), weighable.values, weighable.columns)
	USING as_of, period, periods, calendar, horizons, part.tracked_since,
		  target.pipeline_id, target.starts, target.horizon, target.at,
		  day.pipeline_id, day.n, day.day, day.first_at, day.last_at,
		  stage.pipeline_id, stage.starts, stage.horizon, stage.at, stage.stage_id, stage.outcome, stage.probability, stage.forecast_category,
		  furthest, target.n, ARRAY(SELECT generate_series(1, target.many));
END
$$;
COMMENT ON FUNCTION pipelines.forecast_accuracy(regclass, integer[], text, integer, text, text, timestamptz) IS
'Forecasts against what came, for the last periods that ended by as_of: one row per pipeline, period, value of the dimension by (a column by part or name, or an expression; as it was then), currency and horizon (days before the end of the period; midnight in the pipeline''s time zone). won_then: amounts won in the period by then; weighted_then: open amounts that were expected in it, whether overdue or not, times their probabilities of that day (the deal''s own, else the one configured for its stage then; omitted deals not); forecast: their sum; actual: what was won in the period, as known at as_of; error: forecast less actual, positive where too much was promised (sum(error) is the bias, sum(abs(error)) / sum(actual) the WAPE). period: week (from Monday), month, quarter or year, or a kind of the fiscal calendar that is named. Instants before an adopted table''s history begins are left out. Runs with the rights of the caller. Raises 22023 for other periods.';
