-------------------------------------------------------------------------------
-- funnel.sql
--   Which stages deals came through (R-3.7), and from where to where they went.
--
-- funnel() puts the stays of all deals through one aggregate, which sees each
-- deal's stays in the order of its versions.  Steps are the open stages of a
-- pipeline and those that are won or done; on hold, lost and disqualified are
-- no steps.  A stage that was merged into another one counts as that one.
-------------------------------------------------------------------------------

CREATE FUNCTION pipelines._funnel_add(bytea, steps integer[], mode text, cohort text, key bigint, version integer,
	pipeline integer, stage integer, inside boolean, outcome text, member boolean, value text) RETURNS bytea
LANGUAGE C IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1
AS 'MODULE_PATHNAME', 'pipelines_funnel_add_number';
COMMENT ON FUNCTION pipelines._funnel_add(bytea, integer[], text, text, bigint, integer, integer, integer, boolean, text, boolean, text) IS
	'Transition function of _funnel, for keys that are numbers.';

CREATE FUNCTION pipelines._funnel_add(bytea, steps integer[], mode text, cohort text, key text, version integer,
	pipeline integer, stage integer, inside boolean, outcome text, member boolean, value text) RETURNS bytea
LANGUAGE C IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1
AS 'MODULE_PATHNAME', 'pipelines_funnel_add_text';
COMMENT ON FUNCTION pipelines._funnel_add(bytea, integer[], text, text, text, integer, integer, integer, boolean, text, boolean, text) IS
	'Transition function of _funnel, for all other keys.';

CREATE FUNCTION pipelines._funnel_result(bytea) RETURNS text
LANGUAGE C IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000
AS 'MODULE_PATHNAME', 'pipelines_funnel_result';
COMMENT ON FUNCTION pipelines._funnel_result(bytea) IS
	'Final function of _funnel.';

CREATE FUNCTION pipelines._funnel_combine(bytea, bytea) RETURNS bytea
LANGUAGE C IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
AS 'MODULE_PATHNAME', 'pipelines_funnel_combine';
COMMENT ON FUNCTION pipelines._funnel_combine(bytea, bytea) IS
	'Combine function of _funnel.  Raises 22P03 for what is no state of it, 22023 for states of different questions.';

-- Several processes gather at a time; what one of them has gathered is sent as
-- one value, which can't be larger than a gigabyte.
CREATE AGGREGATE pipelines._funnel(steps integer[], mode text, cohort text, key bigint, version integer,
	pipeline integer, stage integer, inside boolean, outcome text, member boolean, value text) (
	SFUNC = pipelines._funnel_add,
	STYPE = bytea,
	COMBINEFUNC = pipelines._funnel_combine,
	FINALFUNC = pipelines._funnel_result,
	FINALFUNC_MODIFY = READ_WRITE,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE pipelines._funnel(integer[], text, text, bigint, integer, integer, integer, boolean, text, boolean, text) IS
	'The counts of a funnel, as a list in JSON.  steps (constant): pipeline, stage, step (from 0, ascending by pipeline and stage; -1: none) and kind (0 open, 1 won, 2 done, 3 open and archived) of each stage.  A row is a stay; outcome is given for the one in which the deal is now, together with member and value.';

CREATE AGGREGATE pipelines._funnel(steps integer[], mode text, cohort text, key text, version integer,
	pipeline integer, stage integer, inside boolean, outcome text, member boolean, value text) (
	SFUNC = pipelines._funnel_add,
	STYPE = bytea,
	COMBINEFUNC = pipelines._funnel_combine,
	FINALFUNC = pipelines._funnel_result,
	FINALFUNC_MODIFY = READ_WRITE,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE pipelines._funnel(integer[], text, text, text, integer, integer, integer, boolean, text, boolean, text) IS
	'The counts of a funnel, as a list in JSON; for keys that are not numbers.';

-- For tables that are larger than that allows: others read for the one that gathers.
CREATE AGGREGATE pipelines._funnel_large(steps integer[], mode text, cohort text, key bigint, version integer,
	pipeline integer, stage integer, inside boolean, outcome text, member boolean, value text) (
	SFUNC = pipelines._funnel_add,
	STYPE = bytea,
	COMBINEFUNC = pipelines._funnel_combine,
	FINALFUNC = pipelines._funnel_result,
	FINALFUNC_MODIFY = READ_WRITE,
	PARALLEL = RESTRICTED
);
COMMENT ON AGGREGATE pipelines._funnel_large(integer[], text, text, bigint, integer, integer, integer, boolean, text, boolean, text) IS
	'As _funnel, of any size, in one process.';

CREATE AGGREGATE pipelines._funnel_large(steps integer[], mode text, cohort text, key text, version integer,
	pipeline integer, stage integer, inside boolean, outcome text, member boolean, value text) (
	SFUNC = pipelines._funnel_add,
	STYPE = bytea,
	COMBINEFUNC = pipelines._funnel_combine,
	FINALFUNC = pipelines._funnel_result,
	FINALFUNC_MODIFY = READ_WRITE,
	PARALLEL = RESTRICTED
);
COMMENT ON AGGREGATE pipelines._funnel_large(integer[], text, text, text, integer, integer, integer, boolean, text, boolean, text) IS
	'As _funnel, of any size, in one process; for keys that are not numbers.';

-- A stay takes 16 bytes at most, and its key, if that is a text: at most four
-- times as long as it is in its row, of which all else is at least a hundred bytes.
CREATE FUNCTION pipelines._funnel_aggregate(deals regclass)
RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN sum(pg_relation_size(p.relid)) <= CASE WHEN pipelines._key_is_number($1) THEN 4 ELSE 1 END * 1024::numeric ^ 3
				THEN 'pipelines._funnel' ELSE 'pipelines._funnel_large' END
	FROM pipelines.tracked_table t
	CROSS JOIN LATERAL (SELECT r.relid FROM pipelines._parts(t.relation) r UNION ALL SELECT r.relid FROM pipelines._parts(t.history) r) p
	WHERE t.relation = $1
$$;
COMMENT ON FUNCTION pipelines._funnel_aggregate(regclass) IS
	'The aggregate for the funnel of a deals table: in several processes, if what each gathers is certain to be below a gigabyte.';

-- The steps of all funnels at an instant.
CREATE FUNCTION pipelines._funnel_steps(at timestamptz)
RETURNS TABLE (pipeline_id integer, stage_id integer, step integer, kind integer)
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000 ROWS 100
SET search_path = pg_catalog, pg_temp
AS $$
	WITH stage AS (
		SELECT s.pipeline_id, s.stage_id, s.merged_into,
			   CASE WHEN s.outcome = 'won' THEN 1 WHEN s.outcome = 'done' THEN 2
					WHEN s.archived THEN 3 ELSE 0 END AS kind,
			   (row_number() OVER (ORDER BY s.pipeline_id, s.position, s.archived DESC, s.stage_id) - 1)::integer AS step
		FROM pipelines._stages_at($1) s
		WHERE s.outcome IN ('open', 'won', 'done') AND s.merged_into IS NULL
	)
	SELECT s.pipeline_id, s.stage_id, s.step, s.kind FROM stage s
	UNION ALL
	SELECT m.pipeline_id, m.stage_id, s.step, s.kind
	FROM pipelines._stages_at($1) m
	JOIN stage s ON s.pipeline_id = m.pipeline_id AND s.stage_id = m.merged_into
	WHERE m.merged_into IS NOT NULL
$$;
COMMENT ON FUNCTION pipelines._funnel_steps(timestamptz) IS
	'The stages that are steps of a funnel; a stage that was merged into another is that one''s step.';

CREATE FUNCTION pipelines.funnel(deals regclass, mode text DEFAULT 'any', cohort text DEFAULT 'created_in',
	since date DEFAULT NULL, until date DEFAULT NULL, by text DEFAULT NULL, pipeline text DEFAULT NULL,
	mature_only boolean DEFAULT false, as_of timestamptz DEFAULT now())
RETURNS TABLE (pipeline_id integer, pipeline_name text, stage_id integer, stage_name text, "position" integer, outcome text,
	value text, n bigint, won bigint, lost bigint, still_open bigint, other bigint, exits bigint, next_n bigint,
	next_rate numeric, cumulative_rate numeric, win_rate numeric)
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000000 ROWS 100
SET search_path = pg_catalog, pg_temp
SET parallel_tuple_cost = 0
AS $$
#variable_conflict use_column
DECLARE
	past CONSTANT boolean := pipelines._is_past(as_of, mature_only);
	chosen CONSTANT integer := pipelines._report_pipeline(deals, pipeline);
	bounded CONSTANT boolean := since IS NOT NULL OR until IS NOT NULL;
	lives CONSTANT boolean := pipelines._returned(deals);
	steps integer[];
	member text;
	inside text := 'true';
	slow_in integer[];
	slow interval[];
	counts text;
BEGIN
	PERFORM pipelines._need_deals(deals);
	PERFORM pipelines._check_word('mode', mode, '{any,strict,reached,direct}');
	PERFORM pipelines._check_word('cohort', cohort, '{created_in,entered_first_stage_in,entered_stage_in,closed_in}');
	SELECT coalesce(array_agg(v.n ORDER BY s.step, s.stage_id, v.place), '{}') INTO steps
	FROM pipelines._funnel_steps(as_of) s
	CROSS JOIN LATERAL (VALUES (1, s.pipeline_id), (2, s.stage_id), (3, s.step), (4, s.kind)) v(place, n)
	WHERE chosen IS NULL OR s.pipeline_id = chosen;

	IF mature_only THEN
		SELECT array_agg(c.pipeline_id), array_agg(c.p90) INTO slow_in, slow FROM pipelines.cycle(deals, as_of => as_of) c;
	END IF;

	-- who takes part: the deal itself, or one whose entry lies in the period
	member := concat_ws(' AND ', 'true',
		CASE WHEN cohort = 'created_in' AND bounded THEN 'r.created_at_ >= w.lo AND r.created_at_ < w.hi'
			 WHEN cohort = 'closed_in' THEN 'r.closed_on_ >= coalesce($2, ''-infinity'') AND r.closed_on_ < coalesce($3, ''infinity'')' END,
		CASE WHEN mature_only THEN '(r.created_at_ <= $1 - c.p90) IS NOT FALSE' END);
	IF cohort IN ('entered_first_stage_in', 'entered_stage_in') AND bounded THEN
		inside := 'x.entered_ >= w.lo AND x.entered_ < w.hi';
	END IF;

	EXECUTE format($sql$
		WITH period AS MATERIALIZED (
			SELECT z.pipeline_id, coalesce($2::timestamp AT TIME ZONE z.zone, '-infinity') AS lo,
				coalesce($3::timestamp AT TIME ZONE z.zone, 'infinity') AS hi
			FROM (SELECT p.pipeline_id, coalesce(p.time_zone, current_setting('TimeZone')) AS zone FROM pipelines.pipeline p) z
		)
		SELECT %11$s($4, $5, $6, x.key_, x.version_, x.pipeline_id_, x.stage_id_, %1$s, x.outcome_, x.member_, x.by_)
		FROM (
			SELECT e.key_, e.version_, e.pipeline_id_, e.stage_id_, e.entered_,
				CAST(NULL AS text) AS outcome_, CAST(NULL AS boolean) AS member_, CAST(NULL AS text) AS by_
			FROM (%2$s AND h.%3$I >= %4$s + interval '20 microseconds') e
			UNION ALL
			SELECT r.key_, r.version_, r.pipeline_id_, r.stage_id_, r.stage_entered_at_, coalesce(o.outcome, 'open'), %5$s, r.by_
			FROM (%6$s) r
			LEFT JOIN pipelines._stages_at($1) o ON o.pipeline_id = r.pipeline_id_ AND o.stage_id = r.stage_id_%7$s%8$s
		) x%9$s%10$s$sql$,
		inside, pipelines._stays_at(deals, NULL::text, past, true, lives => lives),
		(SELECT pipelines._own_column(t.history, 'valid_to') FROM pipelines.tracked_table t WHERE t.relation = deals),
		pipelines._column(deals, 'stage_entered_at', NULL::text, true),
		member, pipelines._rows_at(deals, by, past, lives => lives),
		CASE WHEN cohort = 'created_in' AND bounded THEN ' LEFT JOIN period w ON w.pipeline_id = r.pipeline_id_' ELSE '' END,
		CASE WHEN mature_only
			 THEN ' LEFT JOIN unnest($7, $8) c(pipeline_id, p90) ON c.pipeline_id = r.pipeline_id_' ELSE '' END,
		CASE WHEN inside <> 'true' THEN ' LEFT JOIN period w ON w.pipeline_id = x.pipeline_id_' ELSE '' END,
		-- where each stay led matters if its end is counted
		CASE WHEN chosen IS NULL OR mode = 'direct' THEN '' ELSE ' WHERE x.pipeline_id_ = ' || chosen END,
		pipelines._funnel_aggregate(deals))
	INTO counts
	USING as_of, since, until, steps, mode, cohort, slow_in, slow;

	RETURN QUERY
		WITH counted AS (
			SELECT j.* FROM jsonb_to_recordset(counts::jsonb)
				AS j(value text, step integer, deals bigint, won bigint, lost bigint, still_open bigint, other bigint,
					 exits bigint, next bigint, to_won bigint)
		), step AS (
			SELECT s.pipeline_id, d.pipeline_name, s.stage_id, d.stage_name, d.position, d.outcome, s.step, s.kind
			FROM pipelines._funnel_steps(as_of) s
			JOIN pipelines._stages_at(as_of) d ON d.pipeline_id = s.pipeline_id AND d.stage_id = s.stage_id
			WHERE d.merged_into IS NULL AND (chosen IS NULL OR s.pipeline_id = chosen)
				AND (d.layout_id = (SELECT t.layout_id FROM pipelines.tracked_table t WHERE t.relation = deals)) IS NOT FALSE
		), grid AS (
			-- every step of each pipeline, for each value that has a deal in it
			SELECT s.*, v.value
			FROM step s
			JOIN (SELECT DISTINCT t.pipeline_id, c.value FROM counted c JOIN step t ON t.step = c.step
				  UNION
				  SELECT t.pipeline_id, NULL FROM step t WHERE by IS NULL) v ON v.pipeline_id = s.pipeline_id
		), filled AS (
			SELECT g.*, coalesce(c.deals, 0) AS n, coalesce(c.won, 0) AS won, coalesce(c.lost, 0) AS lost,
				   coalesce(c.still_open, 0) AS still_open, coalesce(c.other, 0) AS other,
				   coalesce(c.exits, 0) AS exits, coalesce(c.next, 0) AS next_exits, coalesce(c.to_won, 0) AS to_won
			FROM grid g
			LEFT JOIN counted c ON c.step = g.step AND c.value IS NOT DISTINCT FROM g.value
			WHERE g.kind <> 3 OR c.step IS NOT NULL
		), way AS (
			-- a last stage comes after all others, and none after it; an archived one is none on the way
			SELECT f.*, CASE WHEN f.kind <> 3 THEN first_value(f.n) OVER w END AS first_n,
				   CASE WHEN f.kind NOT IN (1, 2) AND mode = 'direct' THEN f.next_exits
						WHEN f.kind = 0 THEN lead(f.n) OVER w END AS next_n
			FROM filled f
			WINDOW w AS (PARTITION BY f.pipeline_id, f.value, f.kind = 3 ORDER BY f.kind IN (1, 2), f.step)
		)
		SELECT f.pipeline_id, f.pipeline_name, f.stage_id, f.stage_name, f.position, f.outcome, f.value, f.n,
			   f.won, f.lost, f.still_open, f.other,
			   CASE WHEN mode = 'direct' THEN f.exits END,
			   f.next_n, f.next_n::numeric / nullif(CASE WHEN mode = 'direct' THEN f.exits ELSE f.n END, 0),
			   f.n::numeric / nullif(f.first_n, 0),
			   CASE WHEN mode = 'direct' THEN f.to_won::numeric / nullif(f.exits, 0)
					ELSE f.won::numeric / nullif(f.n, 0) END
		FROM way f
		ORDER BY f.pipeline_id, f.value, f.step;
END
$$;
COMMENT ON FUNCTION pipelines.funnel(regclass, text, text, date, date, text, text, boolean, timestamptz) IS
'How many deals came through the stages of their pipeline (S24, R-3.7).  Rows: open stages and those that are won or done, in the order of the stages, empty ones included; archived ones where a deal was in them, which are none on the way: what comes next, and first, are the others; a stage that was merged into another counts as that.  Each deal counts in the pipeline in which it stands, once per stage; its stays in other pipelines don''t count, nor those that no one ever saw (R-2.6), nor deals that were deleted.
mode: any: it was in the stage, in whatever order; strict: it was in every stage up to this one, in their order (a stage that was skipped ends that); reached: it was in this stage or a further one, so that skipped stages count as passed, but lost and disqualified deals count where they really were; direct: n are stays (those that follow each other in one stage, or in stages that became one, are one), exits those of them that ended, next_n those that ended in a move to the next stage.
cohort: created_in, closed_in, entered_first_stage_in, entered_stage_in (each stage by its own first entry), from the day since on and before the day until; days of the pipeline''s time zone.  mature_only leaves out deals that are younger than 90 % of the won ones were when they were won.
won, lost, still_open (on hold, too), other (disqualified, done): where the n stand at as_of.  next_n: of the next open stage; after the last of those of the first one that is won or done, after which there is none (NULL): won is not on the way to won in part.  next_rate = next_n / n (direct: / exits); cumulative_rate = n / n of the first stage; win_rate = won / n (direct: exits to a won stage / exits).  Fractions of 1; NULL where there is nothing to divide by.
by: a column of T or an expression over its columns, as it is at as_of, for closed deals as it was at the closing.
Memory: 8 bytes a deal and 8 bytes a stay; where keys are no numbers, or are far from each other, 24 bytes each, the length of the key with each, and 40 bytes a deal.  Errors: 22023 unknown mode or cohort, mature_only as of infinity, or an instant before the history of an adopted table; 23S01 unknown pipeline; 42703 unknown column; 0A000 an expression with more than immutable functions of pg_catalog.';

-- From where to where: moves, not deals.
CREATE FUNCTION pipelines.transitions(deals regclass, since date DEFAULT NULL, until date DEFAULT NULL, by text DEFAULT NULL,
	pipeline text DEFAULT NULL, transient boolean DEFAULT true, as_of timestamptz DEFAULT now())
RETURNS TABLE (pipeline_id integer, pipeline_name text, stage_id integer, stage_name text, "position" integer,
	to_pipeline_id integer, to_pipeline_name text, to_stage_id integer, to_stage_name text, to_position integer, to_outcome text,
	kind text, value text, n bigint, exits bigint, rate numeric)
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000000 ROWS 100
SET search_path = pg_catalog, pg_temp
-- what is done where there are stays that no one saw is in the plan, and in its cost, in any case
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	past CONSTANT boolean := pipelines._is_past(as_of);
	chosen CONSTANT integer := pipelines._report_pipeline(deals, pipeline);
	bounded CONSTANT boolean := since IS NOT NULL OR until IS NOT NULL;
	-- as in T_visits
	eras CONSTANT timestamptz[] := pipelines._outcome_eras();
	era CONSTANT text := CASE WHEN eras IS NULL THEN '0' ELSE 'width_bucket(%s, $5)' END;
	seen CONSTANT text := CASE WHEN transient THEN 'true' ELSE 'm.exited_ >= m.entered_ + interval ''20 microseconds''' END;
BEGIN
	PERFORM pipelines._need_deals(deals);
	PERFORM pipelines._as_of_covered(deals, as_of);
	RETURN QUERY EXECUTE format($sql$
		WITH period AS MATERIALIZED (
			SELECT z.pipeline_id, coalesce($2::timestamp AT TIME ZONE z.zone, '-infinity') AS lo,
				coalesce($3::timestamp AT TIME ZONE z.zone, 'infinity') AS hi
			FROM (SELECT p.pipeline_id, coalesce(p.time_zone, current_setting('TimeZone')) AS zone FROM pipelines.pipeline p) z
		), stage AS MATERIALIZED (
			-- each stage as the one that it counts as
			SELECT s.pipeline_id AS of_pipeline, s.stage_id AS of_stage, c.*
			FROM pipelines._stages_at($1) s
			JOIN pipelines._stages_at($1) c ON c.pipeline_id = s.pipeline_id AND c.stage_id = coalesce(s.merged_into, s.stage_id)
		), ended AS MATERIALIZED (
			SELECT m.pipeline_id_, m.stage_id_, m.to_pipeline_, m.to_stage_, m.change_, m.by_, %4$s AS seen_, %6$s AS era_, %7$s AS was_era_, count(*) AS n
			FROM (%1$s) m%2$s%3$s
			GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9
		), stay AS (
			-- where there are stays that no one saw: those of their deals, of which each that was seen begins a way
			SELECT e.*, count(*) FILTER (WHERE e.begins_) OVER (PARTITION BY e.key_ ORDER BY e.version_) AS way_
			FROM (
				SELECT m.*, %4$s AS seen_,
					%4$s OR (lag(m.exited_) OVER w = m.entered_ AND lag(m.change_) OVER w <> 'delete') IS NOT TRUE AS begins_
				FROM (%1$s) m
				WHERE m.key_ IN (SELECT m.key_ FROM (%5$s) m WHERE NOT (%4$s)) AND (SELECT NOT bool_and(n.seen_) FROM ended n)
				WINDOW w AS (PARTITION BY m.key_ ORDER BY m.version_)
			) e
		), way AS (
			SELECT y.*, count(*) OVER w AS stays_, bool_or(y.change_ = 'reopen') OVER w AS reopened_,
				last_value(y.to_pipeline_) OVER w AS last_pipeline_, last_value(y.to_stage_) OVER w AS last_stage_, last_value(y.change_) OVER w AS last_change_,
				last_value(y.exited_) OVER w AS last_exited_
			FROM stay y
			WINDOW w AS (PARTITION BY y.key_, y.way_ ORDER BY y.version_ ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
		), moved AS (
			SELECT n.* FROM ended n WHERE n.seen_
			UNION ALL
			-- not to the next stay, but to the next one that was seen
			SELECT m.pipeline_id_, m.stage_id_, v.to_pipeline_, v.to_stage_, v.change_, m.by_, true, v.era, %7$s, v.n
			FROM (SELECT x.* FROM way x WHERE x.seen_ AND x.stays_ > 1) m%2$s
			CROSS JOIN LATERAL (VALUES
				(m.to_pipeline_, m.to_stage_, m.change_, %6$s, -1),
				(m.last_pipeline_, m.last_stage_,
					CASE WHEN m.last_stage_ = m.stage_id_ THEN 'move' WHEN m.last_change_ IN ('delete', 'close') THEN m.last_change_ WHEN m.closed_ AND m.reopened_ THEN 'reopen' ELSE 'move' END,
					%8$s, 1)
			) v(to_pipeline_, to_stage_, change_, era, n)%3$s
		)
		SELECT m.pipeline_id_, f.pipeline_name, coalesce(f.stage_id, m.stage_id_), f.stage_name, f.position,
			m.to_pipeline_, t.pipeline_name, coalesce(t.stage_id, m.to_stage_), t.stage_name, t.position, o.outcome,
			CASE WHEN m.change_ = 'delete' THEN 'delete'
				 WHEN m.to_pipeline_ IS DISTINCT FROM m.pipeline_id_ THEN 'transfer'
				 WHEN m.change_ = 'reopen' THEN 'reopen'
				 WHEN o.outcome NOT IN ('open', 'on_hold') THEN 'close'
				 WHEN o.outcome = 'on_hold' THEN 'hold'
				 WHEN b.outcome = 'on_hold' THEN 'resume'
				 WHEN t.position < f.position THEN 'back'
				 WHEN EXISTS (SELECT FROM pipelines._stages_at($1) x
							  WHERE x.pipeline_id = m.pipeline_id_ AND x.outcome = 'open' AND NOT x.archived
								AND x.position > f.position AND x.position < t.position) THEN 'skip'
				 ELSE 'next' END AS kind,
			m.by_, sum(m.n)::bigint, (sum(sum(m.n)) OVER w)::bigint, sum(m.n) / sum(sum(m.n)) OVER w
		FROM moved m
		LEFT JOIN stage f ON f.of_pipeline = m.pipeline_id_ AND f.of_stage = m.stage_id_
		LEFT JOIN stage t ON t.of_pipeline = m.to_pipeline_ AND t.of_stage = m.to_stage_
		LEFT JOIN pipelines._outcomes_in($5, $1) o ON o.era = m.era_ AND o.pipeline_id = t.pipeline_id AND o.stage_id = t.stage_id
		LEFT JOIN pipelines._outcomes_in($5, $1) b ON b.era = m.was_era_ AND b.pipeline_id = f.pipeline_id AND b.stage_id = f.stage_id
		-- a stay that ends in its own stage: that one's outcome was changed
		WHERE ((f.pipeline_id, f.stage_id) = (t.pipeline_id, t.stage_id)) IS NOT TRUE
			OR m.stage_id_ = m.to_stage_ AND m.change_ IN ('close', 'reopen')
		GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13
		HAVING sum(m.n) > 0
		WINDOW w AS (PARTITION BY m.pipeline_id_, coalesce(f.stage_id, m.stage_id_), m.by_)
		ORDER BY m.pipeline_id_, m.by_, f.position, 3, m.to_pipeline_ = m.pipeline_id_ DESC, t.position, 8, kind$sql$,
		pipelines._moves_at(deals, by, past, ''),
		CASE WHEN bounded THEN format(' JOIN period w ON w.pipeline_id = m.pipeline_id_ AND (m.exited_ >= w.lo AND m.exited_ < w.hi OR NOT (%s))', seen) ELSE '' END,
		CASE WHEN chosen IS NULL THEN '' ELSE format(' WHERE (m.pipeline_id_ = $4 OR NOT (%s))', seen) END,
		seen, pipelines._stays_at(deals, NULL::text, past, true), format(era, 'm.exited_'), format(era, 'm.exited_ - interval ''1 microsecond'''),
		format(era, 'm.last_exited_'))
	USING as_of, since, until, chosen, eras;
END
$$;
COMMENT ON FUNCTION pipelines.transitions(regclass, date, date, text, text, boolean, timestamptz) IS
'From which stage to which one deals moved, and how often: the matrix of transitions, one row per pair.  Moves, not deals: whoever goes there twice counts twice; deals that were deleted later count for what they did before.  A stage that was merged into another counts as that.
kind: next, skip (an open stage lies between), back, hold, resume, close, reopen (the latter two also in place, by change_outcome()), transfer (to another pipeline), delete (no target).  exits: all moves out of the stage; rate = n / exits, a fraction of 1.
since, until: moves made from the day since on and before the day until, in the time zone of the pipeline that they leave.  by: a tracked column as it was until the move (the owner who made it: S76); any other of the present row.
transient: every move counts, as it is written; false: a stay that no one ever saw (R-2.6) is none, and the move before it leads to the next stage that was seen, if that is another one.
On a protected table a move into a pipeline that the reader may not see has no target.
Errors: 22023 an instant before the history of an adopted table; 23S01 unknown pipeline; 42703 unknown column; 0A000 an expression with more than immutable functions of pg_catalog.';

-- The stays that ended by $1, and where each led.  Readers of a protected table
-- don't see where a deal went: there the next stay tells, if they may see it, and
-- if it is the next one.
CREATE FUNCTION pipelines._moves_at(deals regclass, by text, past boolean, extra text DEFAULT '', also text DEFAULT NULL)
RETURNS text
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN NOT pipelines._secured($1)
		THEN pipelines._stays_at($1, $2, $3, true, format(', h.%I AS to_pipeline_, h.%I AS to_stage_',
			 pipelines._own_column(t.history, 'to_pipeline_id'), pipelines._own_column(t.history, 'to_stage_id')) || $4, $5)
		ELSE format($sql$SELECT e.*, n.to_pipeline_, n.to_stage_
			FROM (%s) e
			LEFT JOIN (
				SELECT y.key_, y.version_,
					CASE WHEN y.change_ <> 'delete' AND lead(y.entered_) OVER w <= y.exited_ THEN lead(y.pipeline_id_) OVER w END AS to_pipeline_,
					CASE WHEN y.change_ <> 'delete' AND lead(y.entered_) OVER w <= y.exited_ THEN lead(y.stage_id_) OVER w END AS to_stage_
				FROM (%s) y
				WINDOW w AS (PARTITION BY y.key_ ORDER BY y.version_)) n ON n.key_ = e.key_ AND n.version_ = e.version_$sql$,
			pipelines._stays_at($1, $2, $3, true, $4, $5), pipelines._stays_at($1, NULL::text, $3, false, '')) END
	FROM pipelines.tracked_table t
	WHERE t.relation = $1
$$;
COMMENT ON FUNCTION pipelines._moves_at(regclass, text, boolean, text, text) IS
	'The stays that had ended by the instant $1, and where each led, as SQL text: the columns of _stays_at(), to_pipeline_, to_stage_. also: a condition for further versions of the history.';
