-------------------------------------------------------------------------------
-- rates.sql
--   Win rate, length of the cycle, velocity, load of the owners (R-3.7, R-7.1).
--
-- All of them look at the deals as they were at as_of, one row each; of the past
-- they ask no more than when a deal was closed, and whether it was ever open.
-- Money of different currencies is never added: one row per currency, or all of
-- it in the one that is asked for.
-------------------------------------------------------------------------------

-- The amount of a row of _rows_at(r), in a currency that is asked for or not;
-- each deal is rounded once.  A rate that was corrected after an instant of the
-- past ($1) counts as it was known then.
CREATE FUNCTION pipelines._report_amount(currency text, "on" text, past boolean)
RETURNS text
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF currency IS NULL THEN
		RETURN 'r.amount_';
	END IF;
	-- that there is such a currency
	PERFORM pipelines.minor_units(currency);
	RETURN format('pipelines.round_money(pipelines.convert(r.amount_, r.currency_, %1$L::text, %2$s, ''spot''::text%3$s), %1$L::text)', currency, "on",
		CASE WHEN past THEN ', $1' ELSE '' END);
END
$$;
COMMENT ON FUNCTION pipelines._report_amount(text, text, boolean) IS
	'The amount of a deal, in its own currency or converted on a day, as SQL text. Raises 22023 for an unknown currency.';

-- A function with a setting is never put into the query that calls it: what is
-- worked out here is worked out once a stage.
CREATE FUNCTION pipelines._report_stages(at timestamptz, since date, until date, span interval DEFAULT NULL)
RETURNS TABLE (pipeline_id integer, stage_id integer, outcome text, probability numeric, forecast_category text, time_zone text,
	lo timestamptz, hi timestamptz, lo_day date, hi_day date, today date)
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000 ROWS 100
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT d.pipeline_id, d.stage_id, d.outcome, d.probability, d.forecast_category, d.time_zone,
		coalesce(d.lo_day::timestamp AT TIME ZONE d.time_zone, '-infinity'), coalesce(d.hi_day::timestamp AT TIME ZONE d.time_zone, 'infinity'),
		coalesce(d.lo_day, '-infinity'::date), coalesce(d.hi_day, 'infinity'::date), d.today
	FROM (
		SELECT s.*, t.today, coalesce($2, (coalesce($3, t.today + 1) - $4)::date) AS lo_day,
			CASE WHEN $4 IS NULL THEN $3 ELSE coalesce($3, t.today + 1) END AS hi_day
		FROM pipelines._stages_at($1) s
		CROSS JOIN LATERAL (SELECT ($1 AT TIME ZONE s.time_zone)::date AS today) t
	) d
$$;
COMMENT ON FUNCTION pipelines._report_stages(timestamptz, date, date, interval) IS
	'The stages as they were defined at an instant, and the period of a report in the time zone of each: instants lo and hi, days lo_day and hi_day (not in it), today: the day of that instant there. span: a period without an end ends with that day, one without a beginning is so long.';

-- FROM clause: deals (r) as of $1, and their stages then, with the period from $2
-- to $3 (o).  Of the stages the planner knows nothing, and would take most
-- conditions on them for such as hardly a deal fulfils: in the form
-- coalesce(..., false) they count as a half.
CREATE FUNCTION pipelines._report_from(deals regclass, by text, past boolean, span interval DEFAULT NULL, open_only boolean DEFAULT false,
	lives boolean DEFAULT false)
RETURNS text
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('(%s) r LEFT JOIN pipelines._report_stages($1, $2, $3, %L::interval) o ON o.pipeline_id = r.pipeline_id_ AND o.stage_id = r.stage_id_',
				  pipelines._rows_at($1, $2, $3, $5, $6), $4)
$$;
COMMENT ON FUNCTION pipelines._report_from(regclass, text, boolean, interval, boolean, boolean) IS
	'The FROM clause of a report on deals: r their rows at $1, o their stages, with the period from $2 to $3, as SQL text.';

CREATE FUNCTION pipelines.win_rate(deals regclass, since date DEFAULT NULL, until date DEFAULT NULL, by text DEFAULT NULL,
	pipeline text DEFAULT NULL, convert_to text DEFAULT NULL, all_closed boolean DEFAULT false, old_after interval DEFAULT NULL,
	count_reopened boolean DEFAULT false, as_of timestamptz DEFAULT now())
RETURNS TABLE (pipeline_id integer, pipeline_name text, value text, currency text, won bigint, lost bigint, disqualified bigint, done bigint,
	created bigint, created_won bigint, overdue bigint, old bigint, unpriced bigint, won_amount numeric, lost_amount numeric,
	count_rate numeric, value_rate numeric, cohort_rate numeric, penalised_rate numeric)
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000000 ROWS 100
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	past CONSTANT boolean := pipelines._is_past(as_of);
	chosen CONSTANT integer := pipelines._report_pipeline(deals, pipeline);
	amount CONSTANT text := pipelines._report_amount(convert_to, 'coalesce(r.closed_on_, o.today)', past);
	reopened text := '';
	slow_in integer[];
	slow interval[];
BEGIN
	PERFORM pipelines._need_deals(deals);
	IF old_after IS NULL THEN
		-- once, and not in each process
		SELECT array_agg(c.pipeline_id), array_agg(c.p90) INTO slow_in, slow FROM pipelines.cycle(deals, as_of => as_of) c;
	END IF;
	IF count_reopened THEN
		reopened := format(' UNION ALL %s', pipelines._reopened_at(deals, by, past, amount));
	END IF;
	RETURN QUERY EXECUTE format($sql$
		SELECT g.pipeline_id_, p.name, g.by_, g.currency_, g.won, g.lost, g.disqualified, g.done, g.created, g.created_won, g.overdue, g.old, g.unpriced,
			coalesce(g.won_amount, 0), coalesce(g.lost_amount, 0),
			g.won::numeric / nullif(g.won + x.lost, 0),
			coalesce(g.won_amount, 0) / nullif(coalesce(g.won_amount, 0) + coalesce(g.lost_amount, 0), 0),
			g.created_won::numeric / nullif(g.created, 0),
			g.won::numeric / nullif(g.won + x.lost + g.overdue + g.old, 0)
		FROM (
			SELECT j.pipeline_id_, j.by_, j.currency_,
				count(*) FILTER (WHERE j.closed AND j.outcome = 'won') AS won,
				count(*) FILTER (WHERE j.closed AND j.outcome = 'lost') AS lost,
				count(*) FILTER (WHERE j.closed AND j.outcome = 'disqualified') AS disqualified,
				count(*) FILTER (WHERE j.closed AND j.outcome = 'done') AS done,
				count(*) FILTER (WHERE j.created) AS created,
				count(*) FILTER (WHERE j.created AND j.outcome = 'won') AS created_won,
				count(*) FILTER (WHERE j.overdue) AS overdue,
				count(*) FILTER (WHERE j.old) AS old,
				count(*) FILTER (WHERE j.closed AND j.amount_ IS NULL) AS unpriced,
				sum(j.amount_) FILTER (WHERE j.closed AND j.outcome = 'won') AS won_amount,
				sum(j.amount_) FILTER (WHERE j.closed AND j.outcome IN (%8$s)) AS lost_amount
			FROM (
				SELECT r.pipeline_id_, r.by_, %3$s AS currency_, o.outcome, %4$s AS amount_,
					(r.closed_on_ >= o.lo_day AND r.closed_on_ < o.hi_day) IS TRUE AND o.outcome NOT IN ('open', 'on_hold') AS closed,
					(r.created_at_ >= o.lo AND r.created_at_ < o.hi) IS TRUE AS created,
					o.outcome = 'open' AND r.expected_close_on_ < o.today AS overdue,
					o.outcome = 'open' AND (r.expected_close_on_ < o.today) IS NOT TRUE AND r.created_at_ < $1 - %5$s AS old
				FROM %1$s%6$s
				%2$s%7$s
			) j
			GROUP BY 1, 2, 3
		) g
		CROSS JOIN LATERAL (SELECT g.lost + %9$s AS lost) x
		LEFT JOIN pipelines.pipeline p ON p.pipeline_id = g.pipeline_id_
		ORDER BY g.pipeline_id_, g.by_, g.currency_$sql$,
		pipelines._report_from(deals, by, past),
		CASE WHEN chosen IS NULL THEN '' ELSE 'WHERE r.pipeline_id_ = $4' END,
		CASE WHEN convert_to IS NULL THEN 'r.currency_' ELSE quote_literal(convert_to) || '::text' END,
		amount,
		CASE WHEN old_after IS NULL THEN 'c.p90' ELSE '$5' END,
		CASE WHEN old_after IS NULL
			 THEN ' LEFT JOIN unnest($6, $7) c(pipeline_id, p90) ON c.pipeline_id = r.pipeline_id_' ELSE '' END,
		reopened,
		CASE WHEN all_closed THEN '''lost'', ''disqualified'', ''done''' ELSE '''lost''' END,
		CASE WHEN all_closed THEN 'g.disqualified + g.done' ELSE '0' END)
	USING as_of, since, until, chosen, old_after, slow_in, slow;
END
$$;
COMMENT ON FUNCTION pipelines.win_rate(regclass, date, date, text, text, text, boolean, interval, boolean, timestamptz) IS
'How many deals are won: per pipeline and currency, and by a column of T or an expression over its columns, as they were when the deal was closed (S26, S76, S103).
won, lost, disqualified, done: deals that were closed (closed_on) from the day since on and before the day until; created: those made in the period, created_won: those of them that are won.  overdue: open deals that should have been closed before the day of as_of; old: other open ones older than old_after (NULL: than 90 % of the won deals were when they were won).  unpriced: closed deals without an amount, or without a rate.
Rates, as fractions of 1, NULL where there is nothing to divide by: count_rate = won / (won + lost); value_rate: the same of amounts; cohort_rate = created_won / created; penalised_rate = won / (won + lost + overdue + old).  all_closed counts the disqualified and the done among the lost.
convert_to: a currency that all amounts are converted to, by the rates of the day of closing, each rounded once; else one row per currency (NULL: the table has none).  count_reopened: a deal that was closed and reopened counts for that closing, too (R-2.27).
Errors: 22023 an instant before the history of an adopted table; 23S01 unknown pipeline; 42703 unknown column; 0A000 an expression with more than immutable functions of pg_catalog.';

-- Closings that a reopening ended, in the form of win_rate's rows.
CREATE FUNCTION pipelines._reopened_at(deals regclass, by text, past boolean, amount text)
RETURNS text
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format($sql$
		SELECT r.pipeline_id_, r.by_, %11$s, o.outcome, %1$s,
			r.closed_on_ >= coalesce($2, '-infinity') AND r.closed_on_ < coalesce($3, 'infinity'), false, false, false
		FROM (SELECT %2$s AS pipeline_id_, %3$s AS stage_id_, %4$s AS amount_, %5$s AS currency_, %6$s AS closed_on_, %7$s AS by_, h.%8$I AS ended_
			  FROM %9$s h%10$s
			  WHERE h.%12$I = 'reopen' AND (NOT %13$L::boolean OR h.%8$I <= $1)) r
		CROSS JOIN LATERAL (SELECT s.outcome, s.time_zone, r.closed_on_ AS today
							FROM pipelines._stages_at(r.ended_ - interval '1 microsecond') s
							WHERE s.pipeline_id = r.pipeline_id_ AND s.stage_id = r.stage_id_) o
		WHERE $4 IS NULL OR r.pipeline_id_ = $4$sql$,
		$4, pipelines._column($1, 'pipeline_id', NULL, true), pipelines._column($1, 'stage_id', NULL, true),
		pipelines._column($1, 'amount', 'numeric', true),
		format('coalesce(%s, %L::text)', pipelines._column($1, 'currency', 'text', true), t.currency),
		pipelines._column($1, 'closed_on', 'date', true),
		-- what was changed after the closing doesn't count
		CASE WHEN y.history IS NULL THEN x.expression
			 ELSE format('(SELECT %s FROM %s g WHERE %s AND g.%I = %s AND g.%I = %s ORDER BY g.%I LIMIT 1)',
				pipelines._text_of(t.history, 'g', y.history), t.history, pipelines._versions_match($1, 'g', 'h'), k.episode, pipelines._column($1, 'episode', NULL, true),
				k.closed_at, pipelines._column($1, 'closed_at', NULL, true), pipelines._own_column(t.history, 'version')) END,
		pipelines._own_column(t.history, 'valid_to'), pipelines._history_source($1),
		x.joined,
		CASE WHEN $4 = 'r.amount_' THEN 'r.currency_' ELSE 'CAST(NULL AS text)' END,
		pipelines._own_column(t.history, 'change'), $3)
	FROM pipelines.tracked_table t
	CROSS JOIN pipelines._dimension_of_past($1, $2) x
	CROSS JOIN pipelines._dimension($1, $2) y
	CROSS JOIN (SELECT max(m.history_column::text) FILTER (WHERE m.role = 'episode') AS episode,
					   max(m.history_column::text) FILTER (WHERE m.role = 'closed_at') AS closed_at
				FROM pipelines._roles($1) m) k
	WHERE t.relation = $1
$$;
COMMENT ON FUNCTION pipelines._reopened_at(regclass, text, boolean, text) IS
	'Closings that a reopening ended, as SQL text.';

-- The changes that closed a deal by the instant $1, to be joined to r as e: one for
-- each episode that ended so, whatever closings superseded it (R-2.26).  A deal
-- that was made closed was never on its way (R-1.3), and its key may have had an
-- earlier life.
CREATE FUNCTION pipelines._closed_join(deals regclass, past boolean, lives boolean DEFAULT false)
RETURNS text
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format(' LEFT JOIN (SELECT %s AS key_, %s AS episode_ FROM %s h%s WHERE h.%I = ''close'' AND %s IS NULL%s) e ON e.key_ = r.key_ AND e.episode_ = r.episode_',
				  pipelines._report_key($1, true, $3),
				  pipelines._column($1, 'episode', NULL, true), t.history, CASE WHEN $3 THEN (pipelines._life($1, 'h', true)).joined END,
				  pipelines._own_column(t.history, 'change'), pipelines._column($1, 'closed_at', NULL, true),
				  CASE WHEN $2 THEN format(' AND h.%I <= $1', pipelines._own_column(t.history, 'valid_to')) ELSE '' END)
	FROM pipelines.tracked_table t
	WHERE t.relation = $1
$$;
COMMENT ON FUNCTION pipelines._closed_join(regclass, boolean, boolean) IS
	'A join with the changes that closed deals by the instant $1, as SQL text.';

CREATE FUNCTION pipelines.cycle(deals regclass, since date DEFAULT NULL, until date DEFAULT NULL, by text DEFAULT NULL,
	pipeline text DEFAULT NULL, from_stage text DEFAULT NULL, closed_as text DEFAULT 'won', without_hold boolean DEFAULT false,
	business boolean DEFAULT false, calendar text DEFAULT NULL, days boolean DEFAULT false, as_of timestamptz DEFAULT now())
RETURNS TABLE (pipeline_id integer, pipeline_name text, value text, n bigint, unknown bigint, total interval, mean interval,
	shortest interval, longest interval, median interval, p75 interval, p90 interval)
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000000 ROWS 100
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	past CONSTANT boolean := pipelines._is_past(as_of);
	chosen CONSTANT integer := pipelines._report_pipeline(deals, pipeline);
	lives CONSTANT boolean := (from_stage IS NOT NULL OR without_hold) AND pipelines._returned(deals);
	-- who was made at the end of time, or closed there, took no time that could be told
	began text := 'CASE WHEN isfinite(r.created_at_) AND isfinite(r.closed_at_) THEN r.created_at_ END';
	joins text := '';
	held text := '';
	stage integer;
BEGIN
	PERFORM pipelines._need_deals(deals);
	PERFORM pipelines._check_word('closed_as', closed_as, '{won,lost,disqualified,done,any}');
	IF from_stage IS NOT NULL THEN
		SELECT s.stage_id INTO stage FROM pipelines.stage s
		WHERE s.name = from_stage OR s.code = from_stage OR s.stage_id::text = from_stage
		ORDER BY s.name = from_stage DESC, s.code = from_stage DESC
		LIMIT 1;
		IF NOT FOUND THEN
			RAISE EXCEPTION 'there is no stage "%"', from_stage
				USING ERRCODE = '23S01', HINT = 'pipelines.stage lists the stages.';
		END IF;
		began := 'CASE WHEN isfinite(r.closed_at_) THEN f.entered_ END';
		joins := format(' LEFT JOIN (SELECT x.key_, min(x.entered_) AS entered_ FROM (%s) x WHERE x.stage_id_ = $5 GROUP BY x.key_) f ON f.key_ = r.key_',
						pipelines._stays_at(deals, NULL::text, past, lives => lives));
	END IF;
	IF without_hold THEN
		joins := joins || format($sql$ LEFT JOIN (
				SELECT x.key_, array_agg(x.entered_) AS entered, array_agg(x.exited_) AS exited
				FROM (%s) x
				JOIN pipelines._stages_at($1) q ON q.pipeline_id = x.pipeline_id_ AND q.stage_id = x.stage_id_ AND q.outcome = 'on_hold'
				WHERE NOT x.closed_
				GROUP BY x.key_) k ON k.key_ = r.key_$sql$,
			pipelines._stays_at(deals, NULL::text, past, true, lives => lives));
		held := format($sql$, (SELECT coalesce(make_interval(secs => CAST(sum(extract(epoch FROM z.until_ - z.since_)) AS double precision)), interval '0')
				FROM unnest(k.entered, k.exited) h(entered, exited)
				CROSS JOIN LATERAL (SELECT %s) z(since_, until_)
				WHERE h.exited > %s AND h.entered < r.closed_at_) AS held$sql$,
			pipelines._measured(format('greatest(h.entered, %s)', began), 'least(h.exited, r.closed_at_)', 'o.time_zone', business, calendar, days), began);
	END IF;
	RETURN QUERY EXECUTE format($sql$
		SELECT g.pipeline_id_, p.name, g.by_, g.n, g.unknown,
			%8$s
		FROM (
			SELECT y.pipeline_id_, y.by_,
				count(*) FILTER (WHERE y.known AND y.began IS NOT NULL) AS n,
				count(*) FILTER (WHERE NOT y.known OR y.began IS NULL) AS unknown,
				pipelines._durations(%1$s, false) FILTER (WHERE y.known) AS stats
			FROM (
				SELECT r.pipeline_id_, r.by_, o.time_zone AS zone, e.key_ IS NOT NULL AS known, %2$s AS began, r.closed_at_ AS ended%3$s
				FROM %4$s%5$s
				WHERE coalesce(%6$s AND r.closed_on_ >= o.lo_day AND r.closed_on_ < o.hi_day, false)%7$s
			) y
			GROUP BY y.pipeline_id_, y.by_
		) g
		LEFT JOIN pipelines.pipeline p ON p.pipeline_id = g.pipeline_id_
		ORDER BY g.pipeline_id_, g.by_$sql$,
		pipelines._measured('y.began', 'y.ended', 'y.zone', business, calendar, days) || CASE WHEN without_hold THEN ' - y.held' ELSE '' END,
		began, held,
		pipelines._report_from(deals, by, past, lives => lives), joins || pipelines._closed_join(deals, past, lives),
		CASE closed_as WHEN 'any' THEN 'o.outcome NOT IN (''open'', ''on_hold'')' ELSE format('o.outcome = %L', closed_as) END,
		CASE WHEN chosen IS NULL THEN '' ELSE ' AND r.pipeline_id_ = $4' END,
		(SELECT string_agg(pipelines._shown_length(s, business), ', ' ORDER BY s)
		 FROM unnest('{g.stats[1],g.stats[2],g.stats[3],g.stats[4],g.stats[5],g.stats[6],g.stats[7]}'::text[]) s))
	USING as_of, since, until, chosen, stage;
END
$$;
COMMENT ON FUNCTION pipelines.cycle(regclass, date, date, text, text, text, text, boolean, boolean, text, boolean, timestamptz) IS
'How long it takes to close a deal: of the won ones (closed_as: lost, disqualified, done, any), from created_at, or from the first entry into from_stage (a stage by name, code or id, in whatever pipeline), to closed_at; of a deal that was reopened, to its last closing.
Per pipeline, and by a column of T or an expression over its columns, as they were at the closing.  since, until: closed (closed_on) from the day since on and before the day until.  n: how many were measured; unknown: deals that were made closed (R-1.3), or were never in from_stage.  Times in days of 24 hours and less, percentiles as of percentile_cont(); a deal that was closed before it began takes no time.
without_hold takes off the time on hold between the two, in the same unit; business: hours of a business calendar (the standard one, or the one named), and no days; days: days of the calendar.
Errors: 22023 unknown outcome, or an instant before the history of an adopted table; 23S01 unknown pipeline or stage; 42703 unknown column; 0A000 an expression with more than immutable functions of pg_catalog.';

CREATE FUNCTION pipelines.velocity(deals regclass, n_basis text DEFAULT 'open', since date DEFAULT NULL, until date DEFAULT NULL,
	by text DEFAULT NULL, pipeline text DEFAULT NULL, convert_to text DEFAULT NULL, as_of timestamptz DEFAULT now())
RETURNS TABLE (pipeline_id integer, pipeline_name text, value text, currency text, n bigint, mean_value numeric, win_rate numeric,
	cycle_days numeric, velocity numeric)
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000000 ROWS 100
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	past CONSTANT boolean := pipelines._is_past(as_of);
	chosen CONSTANT integer := pipelines._report_pipeline(deals, pipeline);
BEGIN
	PERFORM pipelines._need_deals(deals);
	PERFORM pipelines._check_word('n_basis', n_basis, '{open,created,closed}');
	RETURN QUERY EXECUTE format($sql$
		SELECT g.pipeline_id_, p.name, g.by_, g.currency_, g.n, v.mean_value, v.win_rate, v.cycle_days,
			g.n * v.mean_value * v.win_rate / nullif(v.cycle_days, 0)
		FROM (
			SELECT r.pipeline_id_, r.by_, %1$s AS currency_,
				count(*) FILTER (WHERE %2$s) AS n,
				avg(%3$s) FILTER (WHERE o.outcome = 'won' AND x.closed) AS mean_value,
				count(*) FILTER (WHERE o.outcome = 'won' AND x.closed) AS won,
				count(*) FILTER (WHERE o.outcome = 'lost' AND x.closed) AS lost,
				avg(CASE WHEN isfinite(r.created_at_) AND isfinite(r.closed_at_) THEN date_part('epoch', greatest(r.closed_at_ - r.created_at_, interval '0')) END)
					FILTER (WHERE o.outcome = 'won' AND x.closed AND e.key_ IS NOT NULL) AS cycle
			FROM %4$s%5$s
			CROSS JOIN LATERAL (SELECT (r.closed_on_ >= o.lo_day AND r.closed_on_ < o.hi_day) IS TRUE AS closed,
									   (r.created_at_ >= o.lo AND r.created_at_ < o.hi) IS TRUE AS created) x%6$s
			GROUP BY 1, 2, 3
		) g
		CROSS JOIN LATERAL (SELECT g.mean_value, g.won::numeric / nullif(g.won + g.lost, 0) AS win_rate, round((g.cycle / 86400)::numeric, 6) AS cycle_days) v
		LEFT JOIN pipelines.pipeline p ON p.pipeline_id = g.pipeline_id_
		ORDER BY g.pipeline_id_, g.by_, g.currency_$sql$,
		CASE WHEN convert_to IS NULL THEN 'r.currency_' ELSE quote_literal(convert_to) || '::text' END,
		CASE n_basis WHEN 'open' THEN 'o.outcome = ''open''' WHEN 'created' THEN 'x.created'
			ELSE 'x.closed AND o.outcome IN (''won'', ''lost'')' END,
		pipelines._report_amount(convert_to, 'coalesce(r.closed_on_, o.today)', past),
		pipelines._report_from(deals, by, past, interval '12 months'),
		pipelines._closed_join(deals, past),
		CASE WHEN chosen IS NULL THEN '' ELSE ' WHERE r.pipeline_id_ = $4' END)
	USING as_of, since, until, chosen;
END
$$;
COMMENT ON FUNCTION pipelines.velocity(regclass, text, date, date, text, text, text, timestamptz) IS
'How much money a pipeline brings per day (R-7.1): velocity = n * mean_value * win_rate / cycle_days, in the currency of the row.
n: open deals now (n_basis open), deals created in the period (created), or won and lost in it (closed).  mean_value, win_rate = won / (won + lost), and cycle_days (mean, days of 24 hours from created_at to closed_at) are those of deals closed from the day since on and before the day until; until defaults to the day after as_of, since to twelve months before until.  A factor that is not known, and a cycle of no time, make the product NULL.
Per pipeline and currency (or in one that is asked for, by the rates of the day of closing), and by a column of T or an expression over its columns.
Errors: 22023 unknown n_basis, or an instant before the history of an adopted table; 23S01 unknown pipeline; 42703 unknown column; 0A000 an expression with more than immutable functions of pg_catalog.';

CREATE FUNCTION pipelines.load(deals regclass, by text DEFAULT 'owner', pipeline text DEFAULT NULL, convert_to text DEFAULT NULL,
	as_of timestamptz DEFAULT now())
RETURNS TABLE (pipeline_id integer, pipeline_name text, value text, currency text, n bigint, on_hold bigint, unpriced bigint,
	amount numeric, weighted numeric, largest numeric, overdue bigint, without_next_action bigint, mean_age_days numeric)
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000000 ROWS 100
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	past CONSTANT boolean := pipelines._is_past(as_of, true);
	chosen CONSTANT integer := pipelines._report_pipeline(deals, pipeline);
	scored CONSTANT boolean := pipelines._scores_count(deals, as_of);
	-- what nobody asked for may be missing
	split CONSTANT text := CASE WHEN by <> 'owner' OR EXISTS (
		SELECT FROM pg_attribute a
		LEFT JOIN pipelines._roles(deals) m ON m.column_name = a.attname
		WHERE a.attrelid = deals AND NOT a.attisdropped AND (a.attname = 'owner' OR m.role = 'owner')) THEN by END;
BEGIN
	PERFORM pipelines._need_deals(deals);
	RETURN QUERY EXECUTE format($sql$
		SELECT g.pipeline_id_, p.name, g.by_, g.currency_, g.n, g.on_hold, g.unpriced, coalesce(g.amount, 0), coalesce(g.weighted, 0), g.largest,
			g.overdue, g.without_next_action, round((g.age / 86400)::numeric, 2)
		FROM (
			SELECT r.pipeline_id_, r.by_, %1$s AS currency_, count(*) AS n,
				count(*) FILTER (WHERE o.outcome = 'on_hold') AS on_hold,
				count(*) FILTER (WHERE x.amount IS NULL) AS unpriced,
				sum(x.amount) AS amount,
				sum(x.amount * coalesce(%5$sr.probability_, o.probability) * 0.01)
					FILTER (WHERE coalesce(r.forecast_category_, o.forecast_category, CASE o.outcome WHEN 'on_hold' THEN 'omitted' ELSE 'pipeline' END) <> 'omitted') AS weighted,
				max(x.amount) AS largest,
				count(*) FILTER (WHERE r.expected_close_on_ < o.today) AS overdue,
				count(*) FILTER (WHERE (r.next_action_at_ >= $1) IS NOT TRUE) AS without_next_action,
				avg(CASE WHEN isfinite(r.created_at_) THEN date_part('epoch', $1 - r.created_at_) END) AS age
			FROM %2$s%6$s
			CROSS JOIN LATERAL (SELECT %3$s AS amount) x
			WHERE coalesce(o.outcome IN ('open', 'on_hold'), false)%4$s
			GROUP BY 1, 2, 3
		) g
		LEFT JOIN pipelines.pipeline p ON p.pipeline_id = g.pipeline_id_
		ORDER BY g.pipeline_id_, g.by_, g.currency_$sql$,
		CASE WHEN convert_to IS NULL THEN 'r.currency_' ELSE quote_literal(convert_to) || '::text' END,
		pipelines._report_from(deals, split, past, open_only => true),
		pipelines._report_amount(convert_to, 'o.today', past),
		CASE WHEN chosen IS NULL THEN '' ELSE ' AND r.pipeline_id_ = $4' END,
		CASE WHEN scored THEN 'z.effective_probability, ' ELSE '' END,
		CASE WHEN scored THEN format(' LEFT JOIN pipelines.scores(%L::regclass, NULL::text, $1) z ON z.deal = CAST(r.key_ AS text)', deals) ELSE '' END)
	USING as_of, NULL::date, NULL::date, chosen;
END
$$;
COMMENT ON FUNCTION pipelines.load(regclass, text, text, text, timestamptz) IS
'What is on whose desk (S95): the deals that are open or on hold, per pipeline and currency, by owner (if the table has owners), or by another column of T or an expression over its columns.
n: how many (on_hold: so many of them); unpriced: without an amount, or a rate; amount; weighted (amount times effective probability; omitted deals add nothing); largest: the largest amount; overdue: expected to be closed before the day of as_of; without_next_action: none planned, or missed; mean_age_days: days of 24 hours since creation.
convert_to: a currency that all amounts are converted to, by the rates of the day; else one row per currency.
Errors: 22023 as_of infinity, or an instant before the history of an adopted table; 23S01 unknown pipeline; 42703 unknown column; 0A000 an expression with more than immutable functions of pg_catalog.';
