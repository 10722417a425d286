-------------------------------------------------------------------------------
-- time_in_stage.sql
--   How long deals stay in stages (R-3.1 to R-3.4).
--
-- Stays in closed stages are left out (R-3.2), and so are those that no one
-- ever saw (R-2.6).  A stay that is not over is never dropped in silence: it is
-- counted, and on request it takes part as censored (Kaplan and Meier) or with
-- the time so far.
-------------------------------------------------------------------------------

CREATE FUNCTION pipelines._durations_add(bytea, timestamptz, timestamptz, boolean) RETURNS bytea
LANGUAGE C IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1
AS 'MODULE_PATHNAME', 'pipelines_durations_add';
COMMENT ON FUNCTION pipelines._durations_add(bytea, timestamptz, timestamptz, boolean) IS
	'Transition function of _durations.';

CREATE FUNCTION pipelines._durations_result(bytea) RETURNS interval[]
LANGUAGE C IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000
AS 'MODULE_PATHNAME', 'pipelines_durations_result';
COMMENT ON FUNCTION pipelines._durations_result(bytea) IS
	'Final function of _durations and _stay_stats.';

CREATE FUNCTION pipelines._survival_result(bytea) RETURNS interval
LANGUAGE C IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000
AS 'MODULE_PATHNAME', 'pipelines_survival_result';
COMMENT ON FUNCTION pipelines._survival_result(bytea) IS
	'Final function of _stay_survival.';

-- Cheap in the eyes of the planner, which expects many more groups than there are.
CREATE FUNCTION pipelines._durations_combine(bytea, bytea) RETURNS bytea
LANGUAGE C IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10
AS 'MODULE_PATHNAME', 'pipelines_durations_combine';
COMMENT ON FUNCTION pipelines._durations_combine(bytea, bytea) IS
	'Combine function of _durations, _stay_counts, _stay_stats and _stay_survival.  Raises 22P03 for what is no state of theirs.';

CREATE AGGREGATE pipelines._durations("from" timestamptz, "to" timestamptz, cut boolean) (
	SFUNC = pipelines._durations_add,
	STYPE = bytea,
	COMBINEFUNC = pipelines._durations_combine,
	FINALFUNC = pipelines._durations_result,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE pipelines._durations(timestamptz, timestamptz, boolean) IS
	'{sum, mean, least, greatest, median, 75th and 90th percentile} of the durations that are not cut, in days of 24 hours and less; NULL without any.';

CREATE FUNCTION pipelines._stay_add(bytea, entered timestamptz, "left" timestamptz, now timestamptz, change text, count_running boolean, length interval) RETURNS bytea
LANGUAGE C IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1
AS 'MODULE_PATHNAME', 'pipelines_stay_add';
COMMENT ON FUNCTION pipelines._stay_add(bytea, timestamptz, timestamptz, timestamptz, text, boolean, interval) IS
	'Transition function of _stay_counts, _stay_stats and _stay_survival, which share their state.';

CREATE FUNCTION pipelines._stay_counts_result(bytea) RETURNS bigint[]
LANGUAGE C IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10
AS 'MODULE_PATHNAME', 'pipelines_stay_counts';
COMMENT ON FUNCTION pipelines._stay_counts_result(bytea) IS
	'Final function of _stay_counts.';

CREATE AGGREGATE pipelines._stay_counts(entered timestamptz, "left" timestamptz, now timestamptz, change text, count_running boolean, length interval) (
	SFUNC = pipelines._stay_add,
	STYPE = bytea,
	COMBINEFUNC = pipelines._durations_combine,
	FINALFUNC = pipelines._stay_counts_result,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE pipelines._stay_counts(timestamptz, timestamptz, timestamptz, text, boolean, interval) IS
	'{n, running, deleted, transient}: how many stays were measured, run, were ended by a deletion, or were never seen by anybody (R-2.6).';

CREATE AGGREGATE pipelines._stay_stats(entered timestamptz, "left" timestamptz, now timestamptz, change text, count_running boolean, length interval) (
	SFUNC = pipelines._stay_add,
	STYPE = bytea,
	COMBINEFUNC = pipelines._durations_combine,
	FINALFUNC = pipelines._durations_result,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE pipelines._stay_stats(timestamptz, timestamptz, timestamptz, text, boolean, interval) IS
	'{sum, mean, least, greatest, median, 75th and 90th percentile} of the stays that were measured, in days of 24 hours and less; NULL without any.';

CREATE AGGREGATE pipelines._stay_survival(entered timestamptz, "left" timestamptz, now timestamptz, change text, count_running boolean, length interval) (
	SFUNC = pipelines._stay_add,
	STYPE = bytea,
	COMBINEFUNC = pipelines._durations_combine,
	FINALFUNC = pipelines._survival_result,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE pipelines._stay_survival(timestamptz, timestamptz, timestamptz, text, boolean, interval) IS
	'Median length of stays by Kaplan and Meier; running and deleted ones are censored (count_running must be false).';

-- The stays of a deal in a stage, put together: see stays.c.

CREATE FUNCTION pipelines._deal_stays_add(bytea, key bigint, version integer, pipeline_id integer, stage_id integer,
	entered timestamptz, "left" timestamptz, now timestamptz, change text, length interval, measure text, count_running boolean, survival boolean) RETURNS bytea
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1
AS 'MODULE_PATHNAME', 'pipelines_deal_stays_add';
COMMENT ON FUNCTION pipelines._deal_stays_add(bytea, bigint, integer, integer, integer, timestamptz, timestamptz, timestamptz, text, interval, text, boolean, boolean) IS
	'Transition function of _deal_stays.';

CREATE FUNCTION pipelines._deal_stays_combine(bytea, bytea) RETURNS bytea
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1
AS 'MODULE_PATHNAME', 'pipelines_deal_stays_combine';
COMMENT ON FUNCTION pipelines._deal_stays_combine(bytea, bytea) IS
	'Combine function of _deal_stays.  Raises 22P03 for what is no state of it.';

CREATE FUNCTION pipelines._deal_stays_result(bytea) RETURNS bytea
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100000
AS 'MODULE_PATHNAME', 'pipelines_deal_stays_result';
COMMENT ON FUNCTION pipelines._deal_stays_result(bytea) IS
	'Final function of _deal_stays.';

CREATE AGGREGATE pipelines._deal_stays(key bigint, version integer, pipeline_id integer, stage_id integer,
	entered timestamptz, "left" timestamptz, now timestamptz, change text, length interval, measure text, count_running boolean, survival boolean) (
	SFUNC = pipelines._deal_stays_add,
	STYPE = bytea,
	COMBINEFUNC = pipelines._deal_stays_combine,
	FINALFUNC = pipelines._deal_stays_result,
	FINALFUNC_MODIFY = READ_WRITE,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE pipelines._deal_stays(bigint, integer, integer, integer, timestamptz, timestamptz, timestamptz, text, interval, text, boolean, boolean) IS
	'How long deals were in stages, for _deal_stays_rows(): by the first stay of each deal in each stage, the latest one, or all together (measure cumulative). Stays that no one ever saw are left out. count_running: running ones are among those that were measured; survival: the median by Kaplan and Meier is asked for.  Raises 54000 for more than 16777216 stays.';

CREATE FUNCTION pipelines._deal_stays_rows(bytea)
RETURNS TABLE (pipeline_id integer, stage_id integer, counts bigint[], stats interval[], survival_median interval)
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 1000 ROWS 100
AS 'MODULE_PATHNAME', 'pipelines_deal_stays_rows';
COMMENT ON FUNCTION pipelines._deal_stays_rows(bytea) IS
	'What _deal_stays() tells, by pipeline and stage: counts and stats as of _stay_counts() and _stay_stats().  Raises 22P03 for what is none of it.';

-- How a duration is measured, for the expressions of its two ends.
CREATE FUNCTION pipelines._measured_length(entered text, left_at text, zone text, business boolean, calendar text, days boolean)
RETURNS text
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF business AND days THEN
		RAISE EXCEPTION 'business and days can''t be asked for together'
			USING ERRCODE = 'invalid_parameter_value',
				  HINT = 'business counts the hours of a business calendar, days the days of the calendar.';
	END IF;
	IF business THEN
		IF to_regprocedure('pipelines.business_time(timestamptz, timestamptz, text)') IS NULL THEN
			RAISE EXCEPTION 'this installation knows no business hours'
				USING ERRCODE = 'feature_not_supported',
					  HINT = 'Leave business out, or update the extension.';
		END IF;
		RETURN format('pipelines.business_time(%s, %s, %L::text)', entered, left_at, calendar);
	ELSIF days THEN
		RETURN format('pipelines._local_days(%1$s, %2$s, %3$s)', entered, left_at, zone);
	END IF;
	RETURN format('%2$s - %1$s', entered, left_at);
END
$$;
COMMENT ON FUNCTION pipelines._measured_length(text, text, text, boolean, text, boolean) IS
	'How long a stay is, as SQL text: in time, in business time, or in days of the calendar.';

-- The same as two expressions that _durations() takes.
CREATE FUNCTION pipelines._measured(entered text, left_at text, zone text, business boolean, calendar text, days boolean)
RETURNS text
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN $4 OR $6
		THEN 'timestamptz ''2000-01-01 00:00+00'', timestamptz ''2000-01-01 00:00+00'' + ' || pipelines._measured_length($1, $2, $3, $4, $5, $6)
		ELSE format('%s, %s', $1, $2) END
$$;
COMMENT ON FUNCTION pipelines._measured(text, text, text, boolean, text, boolean) IS
	'Two instants that are as far apart as a stay is long, as SQL text: in time, in business time, or in days of the calendar.';

-- Business time has hours, and no days, which would be of 24 of them; any other
-- has days of 24 hours and less, as sums of intervals have not.
CREATE FUNCTION pipelines._shown_length(length text, business boolean)
RETURNS text
LANGUAGE sql IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format(CASE WHEN $2 THEN '(%1$s - date_trunc(''day'', %1$s) + extract(day FROM %1$s) * interval ''24 hours'')' ELSE 'justify_hours(%1$s)' END, $1)
$$;
COMMENT ON FUNCTION pipelines._shown_length(text, boolean) IS
	'How a length of time is shown, as SQL text.';

-- Are there more versions than should be gathered in memory?
CREATE FUNCTION pipelines._many_versions(deals regclass)
RETURNS boolean
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
	-- where nothing is known, no row takes less than eighty bytes
	SELECT sum(CASE WHEN c.reltuples > 0 THEN c.reltuples ELSE pg_relation_size(c.oid) / 80 END) > 12 * 1024 ^ 2
	FROM (SELECT p.relid FROM pipelines._parts($1) p
		  UNION ALL
		  SELECT p.relid FROM pipelines.tracked_table t CROSS JOIN LATERAL pipelines._parts(t.history) p WHERE t.relation = $1) x
	JOIN pg_class c ON c.oid = x.relid AND c.relkind = 'r'
$$;
COMMENT ON FUNCTION pipelines._many_versions(regclass) IS
	'Has a deals table with its history more versions than reports gather in memory, as it seems?';

CREATE FUNCTION pipelines.time_in_stage(deals regclass, by text DEFAULT NULL, since date DEFAULT NULL, until date DEFAULT NULL,
	pipeline text DEFAULT NULL, measure text DEFAULT 'visit', business boolean DEFAULT false, calendar text DEFAULT NULL,
	days boolean DEFAULT false, include_running boolean DEFAULT false, survival boolean DEFAULT false,
	as_of timestamptz DEFAULT now())
RETURNS TABLE (pipeline_id integer, pipeline_name text, stage_id integer, stage_name text, "position" integer, outcome text,
	value text, n bigint, running bigint, deleted bigint, transient bigint, total interval, mean interval, shortest interval,
	longest interval, median interval, p75 interval, p90 interval, survival_median interval)
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000000 ROWS 100
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	past CONSTANT boolean := pipelines._is_past(as_of, include_running OR survival OR business OR days OR measure = 'cumulative');
	chosen CONSTANT integer := pipelines._report_pipeline(deals, pipeline);
	stays text;
	zones text := '';
	length text;
	arguments text;
	gathered text;
BEGIN
	PERFORM pipelines._need_deals(deals);
	PERFORM pipelines._check_word('measure', measure, '{visit,first,latest,cumulative}');
	stays := format($sql$
		SELECT x.key_, x.version_, x.pipeline_id_, x.stage_id_, x.by_, x.entered_, x.exited_, x.change_
		FROM (%s) x%s
		WHERE NOT x.closed_%s$sql$,
		pipelines._stays_at(deals, by, past, lives => measure <> 'visit' AND pipelines._returned(deals)),
		CASE WHEN since IS NULL AND until IS NULL THEN ''
			 ELSE $sql$ JOIN (SELECT z.pipeline_id, coalesce($2::timestamp AT TIME ZONE z.zone, '-infinity') AS lo,
								coalesce($3::timestamp AT TIME ZONE z.zone, 'infinity') AS hi
							 FROM (SELECT p.pipeline_id, coalesce(p.time_zone, current_setting('TimeZone')) AS zone
								   FROM pipelines.pipeline p) z) w
						ON w.pipeline_id = x.pipeline_id_ AND x.entered_ >= w.lo AND x.entered_ < w.hi$sql$ END,
		CASE WHEN chosen IS NULL THEN '' ELSE ' AND x.pipeline_id_ = $4' END);
	IF business OR days THEN
		zones := ' LEFT JOIN (SELECT q.pipeline_id, coalesce(q.time_zone, current_setting(''TimeZone'')) AS zone FROM pipelines.pipeline q) p ON p.pipeline_id = y.pipeline_id_';
		length := pipelines._measured_length('y.entered_', 'coalesce(y.exited_, $1)', 'p.zone', business, calendar, days);
	END IF;

	-- one row per deal and stage; those that no one ever saw are left out
	IF measure <> 'visit' AND by IS NULL AND pipelines._key_is_number(deals) AND NOT pipelines._returned(deals) AND NOT pipelines._many_versions(deals) THEN
		gathered := format($sql$
			SELECT y.pipeline_id AS pipeline_id_, y.stage_id AS stage_id_, CAST(NULL AS text) AS by_, y.counts, y.stats, y.survival_median AS survival
			FROM pipelines._deal_stays_rows((
				SELECT pipelines._deal_stays(y.key_, y.version_, y.pipeline_id_, y.stage_id_, y.entered_, y.exited_, $1, y.change_, %s, %L, %L, %L)
				FROM (%s) y%s
			)) y$sql$,
			coalesce(length, 'CAST(NULL AS interval)'), measure, include_running, survival, stays, zones);
	ELSIF measure IN ('first', 'latest') THEN
		stays := format('SELECT DISTINCT ON (y.key_, y.pipeline_id_, y.stage_id_) y.* FROM (%s) y WHERE (y.exited_ >= y.entered_ + interval ''20 microseconds'') IS NOT FALSE ORDER BY y.key_, y.pipeline_id_, y.stage_id_, y.version_%s',
						stays, CASE measure WHEN 'latest' THEN ' DESC' ELSE '' END);
	ELSIF measure = 'cumulative' THEN
		stays := format($sql$
			SELECT y.pipeline_id_, y.stage_id_, (array_agg(y.by_ ORDER BY y.version_ DESC))[1] AS by_,
				timestamptz 'epoch' AS entered_, CASE WHEN bool_or(y.exited_ IS NULL) THEN NULL ELSE timestamptz 'epoch' + interval '1 second' END AS exited_,
				max(y.change_) FILTER (WHERE y.change_ = 'delete') AS change_, sum(y.long_) AS long_
			FROM (SELECT y.*, %s AS long_
				  FROM (%s) y%s
				  WHERE (y.exited_ >= y.entered_ + interval '20 microseconds') IS NOT FALSE) y
			GROUP BY y.key_, y.pipeline_id_, y.stage_id_$sql$,
			coalesce(length, 'greatest(coalesce(y.exited_, $1) - y.entered_, interval ''0'')'), stays, zones);
		length := 'y.long_';
		zones := '';
	END IF;
	arguments := format('y.entered_, y.exited_, $1, y.change_, %L::boolean, %s', include_running, coalesce(length, 'CAST(NULL AS interval)'));
	RETURN QUERY EXECUTE format($sql$
		SELECT g.pipeline_id_, d.pipeline_name, g.stage_id_, d.stage_name, d.position, d.outcome, g.by_,
			g.counts[1], g.counts[2], g.counts[3], g.counts[4],
			%2$s
		FROM (%1$s) g
		LEFT JOIN pipelines._stages_at($1) d ON d.pipeline_id = g.pipeline_id_ AND d.stage_id = g.stage_id_
		ORDER BY g.pipeline_id_, d.position, g.stage_id_, g.by_$sql$,
		coalesce(gathered, format($sql$
			SELECT y.pipeline_id_, y.stage_id_, %5$s AS by_,
				pipelines._stay_counts(%2$s) AS counts, pipelines._stay_stats(%2$s) AS stats, %3$s AS survival
			FROM (%1$s) y%4$s
			GROUP BY 1, 2%6$s$sql$,
		stays, arguments,
		CASE WHEN survival
			 THEN format('pipelines._stay_survival(y.entered_, y.exited_, $1, y.change_, false, %s)', coalesce(length, 'CAST(NULL AS interval)'))
			 ELSE 'CAST(NULL AS interval)' END,
		zones, CASE WHEN by IS NULL THEN 'CAST(NULL AS text)' ELSE 'y.by_' END, CASE WHEN by IS NULL THEN '' ELSE ', 3' END)),
		(SELECT string_agg(pipelines._shown_length(s, business), ', ' ORDER BY s)
		 FROM unnest('{g.stats[1],g.stats[2],g.stats[3],g.stats[4],g.stats[5],g.stats[6],g.stats[7],g.survival}'::text[]) s))
	USING as_of, since, until, chosen;
END
$$;
COMMENT ON FUNCTION pipelines.time_in_stage(regclass, text, date, date, text, text, boolean, text, boolean, boolean, boolean, timestamptz) IS
'How long deals stay in stages: per pipeline and stage, and by a column of T or an expression over its columns.
n: stays that have ended (R-2.6: those that no one ever saw are transient, counted apart); running: deals that are still there; deleted: deals that were deleted there.  total, mean, shortest, longest, median, p75 and p90 are those of the n, in days of 24 hours and less; percentiles as of percentile_cont().  Closed stages are left out (R-3.2).
by: a tracked column as it was at the end of the stay; any other of the present row.  since, until: only stays begun from the day since on and before the day until, in the pipeline''s time zone.
measure: visit (each stay), first or latest (one stay per deal and stage), cumulative (all stays of a deal in a stage together).
business: hours of a business calendar (the standard one, or the one named), and no days; days: days of the calendar, as of local dates.
include_running: stays that run are among the n, with their time so far.  survival: survival_median is the median by Kaplan and Meier, in which running and deleted ones are censored; NULL while it is not reached.
as_of: as everything was at that instant.
Errors: 22023 unknown measure, as_of infinity where running stays are measured, or an instant before the history of an adopted table; 23S01 unknown pipeline; 42703 unknown column; 0A000 an expression with more than immutable functions of pg_catalog.';

-- R-3.1, deal by deal.
CREATE FUNCTION pipelines.stage_times(deals regclass, of_deal text DEFAULT NULL, business boolean DEFAULT false,
	calendar text DEFAULT NULL, days boolean DEFAULT false, as_of timestamptz DEFAULT now())
RETURNS TABLE (deal text, pipeline_id integer, pipeline_name text, stage_id integer, stage_name text, "position" integer, outcome text,
	visits bigint, running boolean, first_entered timestamptz, last_entered timestamptz, last_exited timestamptz,
	latest_time interval, cumulative_time interval, stage_time interval)
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000000 ROWS 1000
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	past CONSTANT boolean := pipelines._is_past(as_of, true);
	lives CONSTANT boolean := pipelines._returned(deals);
	keys text[];
BEGIN
	PERFORM pipelines._need_deals(deals);
	IF of_deal IS NOT NULL THEN
		keys := pipelines._key_of(deals, of_deal);
	END IF;
	RETURN QUERY EXECUTE format($sql$
		SELECT %4$s, g.pipeline_id_, d.pipeline_name, g.stage_id_, d.stage_name, d.position, d.outcome,
			g.visits, g.running, g.first_entered, g.last_entered, g.last_exited, %5$s, %6$s, %7$s
		FROM (
			SELECT y.key_, y.pipeline_id_, y.stage_id_, count(*) AS visits, bool_or(y.exited_ IS NULL) AS running,
				min(y.entered_) AS first_entered, max(y.entered_) AS last_entered, max(y.exited_) AS last_exited,
				(array_agg(y.long_ ORDER BY y.version_ DESC))[1] AS latest, sum(y.long_) AS cumulative
			FROM (SELECT x.*, CASE WHEN x.closed_ THEN interval '0' ELSE greatest(z.until_ - z.since_, interval '0') END AS long_
				  FROM (%1$s) x%3$s
				  CROSS JOIN LATERAL (SELECT %2$s) z(since_, until_)) y
			GROUP BY y.key_, y.pipeline_id_, y.stage_id_
		) g
		LEFT JOIN pipelines._stages_at($1) d ON d.pipeline_id = g.pipeline_id_ AND d.stage_id = g.stage_id_
		ORDER BY g.key_, g.first_entered, d.position$sql$,
		CASE WHEN keys IS NULL THEN pipelines._stays_at(deals, NULL::text, past, lives => lives)
			 ELSE pipelines._stays_of(deals, past, '$2', lives) END,
		pipelines._measured('x.entered_', 'coalesce(x.exited_, $1)', 'coalesce(p.time_zone, current_setting(''TimeZone''))', business, calendar, days),
		CASE WHEN days THEN ' LEFT JOIN pipelines.pipeline p ON p.pipeline_id = x.pipeline_id_' ELSE '' END,
		-- without its life
		CASE WHEN lives THEN 'regexp_replace(g.key_, ''#[0-9]+$'', '''')' ELSE 'CAST(g.key_ AS text)' END,
		pipelines._shown_length('g.latest', business), pipelines._shown_length('g.cumulative', business),
		pipelines._shown_length('(sum(g.cumulative) OVER (PARTITION BY g.key_, g.stage_id_))', business))
	USING as_of, keys;
END
$$;
COMMENT ON FUNCTION pipelines.stage_times(regclass, text, boolean, text, boolean, timestamptz) IS
'How long each deal, or one (the text form of its key), was in each stage (R-3.1): visits; running: it is there; first_entered, last_entered, last_exited; latest_time: of the last visit, running or not; cumulative_time: of all of them in this pipeline; stage_time: of all of them in this stage in whatever pipeline (R-2.15).  Closed stages: no time, the clock stops at the closing (R-3.2).  A key that was deleted and came back has rows for each of its lives.
business: hours of a business calendar, the standard one or the one named, and no days.  days: days of the calendar, as of local dates in the pipeline''s time zone (R-3.3), each of 24 hours.
Errors: 22P02 no key, 22023 business and days together, as_of infinity, or an instant before the history of an adopted table.';

-- The stays of one deal; its key is in a parameter of the query.
CREATE FUNCTION pipelines._stays_of(deals regclass, past boolean, parameter text, lives boolean)
RETURNS text
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('SELECT s.* FROM (%s AND %s) s UNION ALL SELECT r.key_, r.version_, r.episode_, r.pipeline_id_, r.stage_id_, r.stage_entered_at_, CAST(NULL AS timestamptz), r.closed_at_ IS NOT NULL, CAST(NULL AS text), r.by_ FROM (%s WHERE %s) r',
				  pipelines._stays_at($1, NULL::text, $2, true, lives => $4), pipelines._key_is($1, 'h', true, $3),
				  pipelines._rows_at($1, NULL::text, $2, lives => $4), pipelines._key_is($1, 'd', false, $3))
$$;
COMMENT ON FUNCTION pipelines._stays_of(regclass, boolean, text, boolean) IS
	'The stays of one deal, as SQL text.';
