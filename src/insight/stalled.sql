-------------------------------------------------------------------------------
-- stalled.sql
--   Deals that are longer where they are than they should be, now or at an instant
--   of the past, and those that will be by a later one (R-4.1 to R-4.5).
--
-- Nothing is stored: a limit that is changed applies to all deals at once, and
-- an UPDATE of what is not tracked touches no clock.  When a limit is over says
-- _stalls_at() (views.sql).
-------------------------------------------------------------------------------

-- What the clocks of the limits run from that there are.
CREATE FUNCTION pipelines._stall_bases(at timestamptz)
RETURNS text[]
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT ARRAY(SELECT DISTINCT s.stall_basis FROM pipelines._stages_at($1) s WHERE s.stall_limit IS NOT NULL)
$$;
COMMENT ON FUNCTION pipelines._stall_bases(timestamptz) IS
	'The bases of the limits of all stages at an instant.';

-- A deal (d) with the instant at which it stalls (w), as of $1.  ps is its stage.
-- latest: nobody asks for those that stall after it.
-- bases: what the clocks of the stages run from.  A last activity is looked for,
-- and time on hold, only where one does: a query that does so is left to one
-- process.
-- Of the stages the planner knows nothing: with an outer join, which conditions
-- in the form coalesce(..., false) keep, it looks them up for each deal and does
-- not look up the deals for each of them.
CREATE FUNCTION pipelines._stall_from(deals regclass, source text, bases text[], latest text)
RETURNS text
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format($sql$%1$s d
		LEFT JOIN (SELECT * FROM pipelines._stages_at($1) x WHERE x.outcome = 'open' AND x.stall_limit IS NOT NULL) ps
			ON ps.pipeline_id = %2$s AND ps.stage_id = %3$s
		CROSS JOIN LATERAL (SELECT ps.layout_id, ps.pipeline_name AS name) p
		CROSS JOIN LATERAL (SELECT CASE ps.stall_basis%4$s%5$s ELSE %6$s END AS began) b
		CROSS JOIN LATERAL (SELECT %7$s AS limit_over) l%9$s
		CROSS JOIN LATERAL (SELECT ps.time_zone AS zone, %8$s AS stalled_at) w$sql$,
		$2, pipelines._column($1, 'pipeline_id'), pipelines._column($1, 'stage_id'),
		CASE WHEN 'activity' = ANY ($3) THEN format(' WHEN ''activity'' THEN %s', pipelines._last_activity($1, '$1')) ELSE '' END,
		format(' WHEN ''age'' THEN %s', pipelines._age_began(pipelines._column($1, 'created_at', 'timestamptz'))),
		pipelines._column($1, 'stage_entered_at'),
		pipelines._stalls_at('b.began', 'ps', 'ps.time_zone', 'ps.calendar'),
		CASE WHEN 'age' = ANY ($3)
			 THEN pipelines._stalls_after_hold($1, 'l.limit_over', $4, pipelines._column($1, 'created_at', 'timestamptz'), '$1', 'ps', 'ps.calendar', 'o.holds')
			 ELSE 'l.limit_over' END,
		CASE WHEN 'age' = ANY ($3) THEN format(E'\n\t\tCROSS JOIN %s o(holds)', pipelines._holds('pipelines._stages_at($1)')) ELSE '' END)
$$;
COMMENT ON FUNCTION pipelines._stall_from(regclass, text, text[], text) IS
	'The FROM clause of the deals that have a limit, with the instant at which each stalls, as SQL text.';

-- What all versions say of expected closings, at once: see past_dates.c.

CREATE FUNCTION pipelines._past_dates_add(bytea, key bigint, version integer, expected date, change text, skipped boolean) RETURNS bytea
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1
AS 'MODULE_PATHNAME', 'pipelines_past_dates_add';
COMMENT ON FUNCTION pipelines._past_dates_add(bytea, bigint, integer, date, text, boolean) IS
	'Transition function of _past_dates.';

CREATE FUNCTION pipelines._past_dates_combine(bytea, bytea) RETURNS bytea
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1
AS 'MODULE_PATHNAME', 'pipelines_past_dates_combine';
COMMENT ON FUNCTION pipelines._past_dates_combine(bytea, bytea) IS
	'Combine function of _past_dates.  Raises 22P03 for what is no state of it.';

CREATE FUNCTION pipelines._past_dates_result(bytea) RETURNS bytea
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000
AS 'MODULE_PATHNAME', 'pipelines_past_dates_result';
COMMENT ON FUNCTION pipelines._past_dates_result(bytea) IS
	'Final function of _past_dates.';

CREATE AGGREGATE pipelines._past_dates(key bigint, version integer, expected date, change text, skipped boolean) (
	SFUNC = pipelines._past_dates_add,
	STYPE = bytea,
	COMBINEFUNC = pipelines._past_dates_combine,
	FINALFUNC = pipelines._past_dates_result,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE pipelines._past_dates(bigint, integer, date, text, boolean) IS
	'A table for _past_reasons(): how often expected closings were put off, by keys.  NULL where there are more than 8388608 versions, or keys or versions are far apart.  Keys whose versions have gaps or jumped over stages are not told.';

CREATE FUNCTION pipelines._past_reasons(history regclass, columns text[], stages bigint[], names text[],
	dates bytea, version integer, expected date, episode integer, pipeline_id integer, stage_id integer, VARIADIC key "any")
RETURNS text[]
LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000
AS 'MODULE_PATHNAME', 'pipelines_past_reasons';
COMMENT ON FUNCTION pipelines._past_reasons(regclass, text[], bigint[], text[], bytea, integer, date, integer, integer, integer, "any") IS
	'How often the closing of a deal was put off, and which stages it jumped over, by the versions in a history before the given one; NULL where the caller can''t read this history by its index.  columns: those of the key, then version, change, expected_close_on, episode, pipeline_id, stage_id, to_pipeline_id, skipped_stages.  stages: all there are, pipeline << 32 | stage, in the order in which their names are to be told. dates: a table of _past_dates() or NULL.  Raises 22P03 for what is no such table.';

-- What the past of a deal (d) tells, said by _past_reasons(), where that can
-- read the history of this table.
CREATE FUNCTION pipelines._past_reasons_of(deals regclass, dates text DEFAULT NULL)
RETURNS text
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	call_begin text;
	call_end text;
	readable boolean;
BEGIN
	SELECT format($sql$pipelines._past_reasons(CAST(%s AS regclass), CAST(%L AS text[]),
			(SELECT array_agg(CAST(k.pipeline_id AS bigint) << 32 | k.stage_id ORDER BY k.position, n.name)
			 FROM pipelines.pipeline_stage k JOIN pipelines.stage n ON n.stage_id = k.stage_id),
			(SELECT array_agg(n.name ORDER BY k.position, n.name)
			 FROM pipelines.pipeline_stage k JOIN pipelines.stage n ON n.stage_id = k.stage_id), $sql$,
			quote_literal(CAST(t.history AS oid)),
			array_agg(m.history_column ORDER BY m.n)
				|| ARRAY[pipelines._own_column(t.history, 'version'), pipelines._own_column(t.history, 'change')]
				|| ARRAY(SELECT o.history_column
						 FROM unnest(ARRAY['expected_close_on', 'episode', 'pipeline_id', 'stage_id']) WITH ORDINALITY u(role, n)
						 LEFT JOIN pipelines._roles(deals) o ON o.role = u.role
						 ORDER BY u.n)
				|| ARRAY[pipelines._own_column(t.history, 'to_pipeline_id'), pipelines._own_column(t.history, 'skipped_stages')]),
		format(', %s, %s, %s, %s, %s, %s)',
			pipelines._column(deals, 'version'), pipelines._column(deals, 'expected_close_on', 'date'), pipelines._column(deals, 'episode'),
			pipelines._column(deals, 'pipeline_id'), pipelines._column(deals, 'stage_id'),
			string_agg('d.' || quote_ident(m.column_name), ', ' ORDER BY m.n))
	INTO call_begin, call_end
	FROM pipelines.tracked_table t
	CROSS JOIN pipelines._roles(deals) m
	WHERE t.relation = deals AND m.role ~ '^key[1-9]' AND NOT pipelines._secured(deals)
	GROUP BY t.history;
	IF call_begin IS NOT NULL THEN
		EXECUTE format('SELECT %s IS NOT NULL FROM (SELECT (CAST(NULL AS %s)).*) d', call_begin || 'NULL' || call_end, deals) INTO readable;
	END IF;
	RETURN CASE WHEN readable THEN call_begin || coalesce(dates, 'NULL') || call_end END;
END
$$;
COMMENT ON FUNCTION pipelines._past_reasons_of(regclass, text) IS
	'A call of _past_reasons() for each deal, as SQL text; NULL where the caller can''t read the history like that. dates: as of _past_dates_of(), or NULL.';

-- To read the whole history once takes about as long as to go to the past of one
-- deal for each twenty of its versions.
CREATE FUNCTION pipelines._past_dates_of(deals regclass, at timestamptz, past boolean, chosen integer)
RETURNS text
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	history CONSTANT regclass := (SELECT t.history FROM pipelines.tracked_table t WHERE t.relation = deals);
	expected CONSTANT text := pipelines._column(deals, 'expected_close_on', 'date', true);
	versions CONSTANT float8 := (SELECT CASE WHEN c.reltuples > 0 THEN c.reltuples ELSE pg_relation_size(c.oid) / 200 END FROM pg_class c WHERE c.oid = history);
	pages CONSTANT float8 := (SELECT greatest(sum(pg_relation_size(p.relid)) / current_setting('block_size')::integer, 1) FROM pipelines._parts(deals) p);
	share CONSTANT float8 := least(100, 5000 / pages);
	stalled bigint;
BEGIN
	IF versions > 8388608 OR NOT pipelines._key_is_number(deals) THEN
		RETURN NULL;
	END IF;
	-- the past is read as a whole anyway; of the present, some pages tell
	IF NOT past THEN
		EXECUTE format('SELECT count(*) FROM %s WHERE coalesce(w.stalled_at <= $1, false) AND ($2 IS NULL OR %s = $2)',
			pipelines._stall_from(deals, format('(SELECT * FROM %s TABLESAMPLE SYSTEM (%s) REPEATABLE (0))', deals, share), pipelines._stall_bases(at), '$1'),
			pipelines._column(deals, 'pipeline_id'))
		INTO stalled USING at, chosen;
		IF stalled * 100 / share < versions / 20 THEN
			RETURN NULL;
		END IF;
	END IF;
	RETURN format('(SELECT pipelines._past_dates(CAST(%s AS bigint), h.%I, %s, h.%I, h.%I IS NOT NULL) FROM %s h%s)',
		pipelines._column(deals, 'key1', NULL, true), pipelines._own_column(history, 'version'), expected, pipelines._own_column(history, 'change'),
		pipelines._own_column(history, 'skipped_stages'), history,
		CASE WHEN past THEN format(' WHERE h.%I <= $1', pipelines._own_column(history, 'valid_to')) ELSE '' END);
END
$$;
COMMENT ON FUNCTION pipelines._past_dates_of(regclass, timestamptz, boolean, integer) IS
	'The table of _past_dates() as SQL text; NULL where so few deals are stalled that it doesn''t pay, or the history is too large for it. past: at is not the present ($1); chosen: a pipeline, or NULL.';

-- What stalled() and stalling() ask.  The inner query, which is sorted, is never
-- put into the outer one: so the instant is worked out once a deal, not wherever
-- it is used.
CREATE FUNCTION pipelines._stall_query(deals regclass, source text, condition text, bases text[], latest text, respect_next_action boolean,
	with_reasons boolean, ahead boolean DEFAULT false, dates text DEFAULT NULL)
RETURNS text
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format($sql$
		SELECT x.deal, x.pipeline_id, x.pipeline_name, x.stage_id, x.stage_name, x.basis, x.owner, x.amount, x.currency,
			x.stage_entered_at, x.next_action_at, x.stalled_at,
			pipelines._days_between(x.stalled_at, $1), x.reasons
		FROM (
			SELECT %s, ps.pipeline_id, p.name, ps.stage_id, ps.stage_name, ps.stall_basis, %s, %s, coalesce(%s, %L::text),
				%s, %s, %s.stalled_at, %s
			FROM %s
			WHERE %s%s
			ORDER BY %s.stalled_at, 1
		) x(deal, pipeline_id, pipeline_name, stage_id, stage_name, basis, owner, amount, currency,
			stage_entered_at, next_action_at, stalled_at, reasons)$sql$,
		pipelines._key_as_text($1, 'd', false), pipelines._column($1, 'owner', 'text'), pipelines._column($1, 'amount', 'numeric'),
		pipelines._column($1, 'currency', 'text'), t.currency, pipelines._column($1, 'stage_entered_at'),
		n.at, e.source,
		CASE WHEN $7 THEN pipelines._reasons($1, '$1', pipelines._past_reasons_of($1, $9), EXISTS (SELECT FROM pipelines.deal_type))
			 ELSE 'CAST(NULL AS text[])' END,
		pipelines._stall_from($1, $2, $4, $5)
			-- worked out once a deal
			|| CASE WHEN e.source = 'e' THEN format(' CROSS JOIN LATERAL (SELECT CASE WHEN %1$s >= greatest(w.stalled_at, $1)
				AND ($2 IS NULL OR CASE WHEN isfinite(%1$s) THEN %1$s - CASE WHEN w.stalled_at > $1 THEN w.stalled_at ELSE $1 END <= $2 END) THEN %1$s ELSE w.stalled_at END AS stalled_at OFFSET 0) e', n.at) ELSE '' END,
		replace($3, 'w.stalled_at', e.source || '.stalled_at'),
		CASE WHEN $6 AND NOT $8 THEN format(' AND (%1$s >= $1 AND ($2 IS NULL OR CASE WHEN isfinite(%1$s) THEN %1$s - $1 <= $2 END)) IS NOT TRUE', n.at) ELSE '' END,
		e.source)
	FROM pipelines.tracked_table t
	CROSS JOIN (SELECT pipelines._column($1, 'next_action_at', 'timestamptz')) n(at)
	CROSS JOIN (SELECT CASE WHEN $6 AND $8 THEN 'e' ELSE 'w' END) e(source)
	WHERE t.relation = $1
$$;
COMMENT ON FUNCTION pipelines._stall_query(regclass, text, text, text[], text, boolean, boolean, boolean, text) IS
	'The query of stalled() and stalling(), as SQL text: the deals of a source that have a limit and fulfil a condition, as of $1. $2: how far off a next action may be that is respected: at $1, or ahead, when the limit is over or at $1 if that is later; a deal stalls then when the action was due. dates: as of _past_dates_of(), or NULL.';

CREATE FUNCTION pipelines.stalled(deals regclass, pipeline text DEFAULT NULL, respect_next_action boolean DEFAULT false,
	max_future interval DEFAULT NULL, with_reasons boolean DEFAULT true, as_of timestamptz DEFAULT now())
RETURNS TABLE (deal text, pipeline_id integer, pipeline_name text, stage_id integer, stage_name text, basis text, owner text,
	amount numeric, currency text, stage_entered_at timestamptz, next_action_at timestamptz, stalled_at timestamptz, days_over numeric, reasons text[])
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000000 ROWS 1000
SET search_path = pg_catalog, pg_temp
-- to compile what may look into the history takes longer than to do it
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	past CONSTANT boolean := pipelines._is_past(as_of, true);
	chosen CONSTANT integer := pipelines._report_pipeline(deals, pipeline);
BEGIN
	PERFORM pipelines._need_deals(deals);
	RETURN QUERY EXECUTE pipelines._stall_query(deals,
		CASE WHEN past THEN pipelines._past_source(deals) ELSE pipelines._deals_source(deals, NULL::name[]) END,
		'coalesce(w.stalled_at <= $1, false)' || CASE WHEN chosen IS NULL THEN '' ELSE format(' AND %s = $3', pipelines._column(deals, 'pipeline_id')) END,
		pipelines._stall_bases(as_of), '$1', respect_next_action, with_reasons,
		dates => CASE WHEN with_reasons THEN pipelines._past_dates_of(deals, as_of, past, chosen) END)
	USING as_of, max_future, chosen;
END
$$;
COMMENT ON FUNCTION pipelines.stalled(regclass, text, boolean, interval, boolean, timestamptz) IS
'Open deals whose limit was reached by as_of (S18, R-4.1 to R-4.5), the longest stalled first; the view T_stalled is the same for now, with all columns of T.
A limit is days and months of the calendar in the time zone of the pipeline and then hours that go by, or business time of its calendar (stall_time; R-4.2): so many business days later at the same time of the day, and from there so many business hours.
The clock of a limit (basis): stage: since the stage was entered; activity: since the last change of a tracked column or the last activity that was done; age: since the deal was created, time on hold left out.  No other UPDATE touches it.  Limits and definitions are those of as_of; business time is that of the calendar as it is now.
respect_next_action: a deal whose next action is yet to come, within max_future if that is given, is not stalled.  days_over: days of 24 hours since stalled_at.
reasons: over_limit, past_expected_close, no_amount, no_next_action, pipeline_mismatch, pushed_<n>_times, skipped_stage:<name> (S19); with_reasons => false saves looking for them.
Errors: 22023 as_of infinity, or an instant before the history of an adopted table; 23S01 unknown pipeline.';

-- When a stage was entered whose limit is reached at an instant, and how far off
-- that may be: some days for months of different lengths, two weeks for holidays
-- where the limit is business time, a day where clocks are changed around one of
-- the two instants, else nothing but the second.
CREATE FUNCTION pipelines._stall_edge(at timestamptz, stall_limit interval, stall_time text, zone text, calendar text,
	OUT entered timestamptz, OUT slack interval)
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT x.entered,
		CASE WHEN NOT isfinite(x.entered) THEN interval '0'
			 WHEN $3 = 'business' THEN interval '14 days'
			 WHEN extract(year FROM $2) <> 0 OR extract(month FROM $2) <> 0 THEN interval '5 days'
			 WHEN (SELECT count(DISTINCT (p.at AT TIME ZONE $4) - (p.at AT TIME ZONE 'UTC'))
				   FROM (VALUES (x.entered - interval '25 hours'), (x.entered), (x.entered + interval '25 hours'),
								($1 - interval '25 hours'), ($1), ($1 + interval '25 hours')) p(at)) = 1 THEN interval '1 second'
			 ELSE interval '25 hours' END
	FROM (SELECT CASE WHEN $3 = 'business' AND isfinite($1)
				THEN pipelines.add_business_time(
					(pipelines.add_business_days(($1 AT TIME ZONE $4)::date, -extract(day FROM $2)::integer, $5)
						+ ($1 AT TIME ZONE $4)::time) AT TIME ZONE $4,
					make_interval(days => extract(day FROM $2)::integer) - $2, $5)
				ELSE (($1 - ($2 - date_trunc('day', $2))) AT TIME ZONE $4 - date_trunc('day', $2)) AT TIME ZONE $4 END AS entered) x
$$;
COMMENT ON FUNCTION pipelines._stall_edge(timestamptz, interval, text, text, text) IS
'When a stage was entered whose limit, by the calendar of a time zone or in business time, is reached at an instant; slack: by how much that may be wrong.';

-- One range of the index on pipeline, stage and stage_entered_at per stage: what
-- was entered a limit ago, and then asked exactly.  A clock that is
-- not the stage's has no such range: there the deals of the stage are read.  The
-- past, which has no such index, is read once for all stages.
CREATE FUNCTION pipelines.stalling(deals regclass, until timestamptz, pipeline text DEFAULT NULL, respect_next_action boolean DEFAULT false,
	max_future interval DEFAULT NULL, with_reasons boolean DEFAULT true, as_of timestamptz DEFAULT now())
RETURNS TABLE (deal text, pipeline_id integer, pipeline_name text, stage_id integer, stage_name text, basis text, owner text,
	amount numeric, currency text, stage_entered_at timestamptz, next_action_at timestamptz, stalled_at timestamptz, days_over numeric, reasons text[])
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100000 ROWS 100
SET search_path = pg_catalog, pg_temp
-- to compile what may look into the history takes longer than to do it
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	past CONSTANT boolean := pipelines._is_past(as_of);
	chosen CONSTANT integer := pipelines._report_pipeline(deals, pipeline);
	layout CONSTANT integer := (SELECT t.layout_id FROM pipelines.tracked_table t WHERE t.relation = deals);
	statement CONSTANT text := pipelines._stall_query(deals,
		CASE WHEN past THEN pipelines._past_source(deals) ELSE pipelines._deals_source(deals, NULL::name[]) END,
		-- named once, since it is worked out wherever it is named
		format('coalesce(tstzrange($1, greatest($1, $3), ''(]'') @> w.stalled_at, false) AND '
			|| CASE WHEN past THEN '($4 IS NULL OR %1$s = $4)' ELSE '%1$s = $4 AND %2$s = $5 AND %3$s >= $6 AND %3$s <= $7' END,
			pipelines._column(deals, 'pipeline_id'), pipelines._column(deals, 'stage_id'), pipelines._column(deals, 'stage_entered_at')),
		pipelines._stall_bases(as_of), '$3', respect_next_action, with_reasons, true);
	s record;
BEGIN
	PERFORM pipelines._need_deals(deals);
	PERFORM pipelines._as_of_covered(deals, as_of);
	IF past THEN
		RETURN QUERY EXECUTE format('SELECT q.* FROM (%s) q LEFT JOIN pipelines._stages_at($1) s ON s.pipeline_id = q.pipeline_id AND s.stage_id = q.stage_id
			ORDER BY q.pipeline_id, s.position, q.stage_id, q.stalled_at, q.deal', statement)
		USING as_of, max_future, until, chosen;
		RETURN;
	END IF;
	FOR s IN
		SELECT x.*, lo.entered - lo.slack AS lo, hi.entered + hi.slack AS hi
		FROM pipelines._stages_at(as_of) x
		CROSS JOIN LATERAL pipelines._stall_edge(as_of, x.stall_limit, x.stall_time, x.time_zone, x.calendar) lo
		CROSS JOIN LATERAL pipelines._stall_edge(until, x.stall_limit, x.stall_time, x.time_zone, x.calendar) hi
		WHERE x.outcome = 'open' AND x.stall_limit IS NOT NULL
			AND (chosen IS NULL OR x.pipeline_id = chosen) AND (x.layout_id = layout) IS NOT FALSE
		ORDER BY x.pipeline_id, x.position, x.stage_id
	LOOP
		-- nothing happens in a stage before it is entered
		RETURN QUERY EXECUTE statement
		USING as_of, max_future, until, s.pipeline_id, s.stage_id,
			-- what only a next action keeps from being stalled is over its limit for long, maybe
			CASE WHEN s.stall_basis = 'stage' AND NOT respect_next_action THEN s.lo ELSE '-infinity' END,
			CASE WHEN s.stall_basis IN ('stage', 'activity') THEN s.hi ELSE 'infinity' END;
	END LOOP;
END
$$;
COMMENT ON FUNCTION pipelines.stalling(regclass, timestamptz, text, boolean, interval, boolean, timestamptz) IS
'Open deals that are not stalled by as_of and will be by the instant until if nothing happens to them, by pipeline, stage and stalled_at; days_over is negative: days of 24 hours to go.  Columns are as in stalled().  respect_next_action: a deal whose limit is over while its next action is yet to come, within max_future of that instant (of as_of, if the limit was over before) if that is given, stalls when the action was due.  reasons are those of as_of, so that over_limit is one only of what an action keeps from being stalled.
One range of the index on (pipeline, stage, stage_entered_at) per stage: the time depends on how many deals will stall, not on how many there are.  For stages whose limit runs by age or by activity, and where next actions are respected, all deals of the stage that may be over it are read, and for an instant of the past all deals, once.
Errors: 22023 an instant before the history of an adopted table; 23S01 unknown pipeline.';
