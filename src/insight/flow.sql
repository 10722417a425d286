-------------------------------------------------------------------------------
-- flow.sql
--   What moved in a time (R-7.2), where deals stood at the end of each week, and
--   the way of one deal.
-------------------------------------------------------------------------------

-- Tables of instants: see instants.c.

CREATE FUNCTION pipelines._instants_add(bytea, key bigint, at timestamptz) RETURNS bytea
LANGUAGE C IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1
AS 'MODULE_PATHNAME', 'pipelines_instants_add';
COMMENT ON FUNCTION pipelines._instants_add(bytea, bigint, timestamptz) IS
	'Transition function of _instants.';

CREATE FUNCTION pipelines._instants_combine(bytea, bytea) RETURNS bytea
LANGUAGE C IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1
AS 'MODULE_PATHNAME', 'pipelines_instants_combine';
COMMENT ON FUNCTION pipelines._instants_combine(bytea, bytea) IS
	'Combine function of _instants.  Raises 22P03 for what is no state of it.';

CREATE FUNCTION pipelines._instants_result(bytea) RETURNS bytea
LANGUAGE C IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000
AS 'MODULE_PATHNAME', 'pipelines_instants_result';
COMMENT ON FUNCTION pipelines._instants_result(bytea) IS
	'Final function of _instants.';

CREATE AGGREGATE pipelines._instants(key bigint, at timestamptz) (
	SFUNC = pipelines._instants_add,
	STYPE = bytea,
	COMBINEFUNC = pipelines._instants_combine,
	FINALFUNC = pipelines._instants_result,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE pipelines._instants(bigint, timestamptz) IS
	'A table of instants for _seconds_since(), by their keys.  Raises 54000 for more than 8388608 of them.';

CREATE FUNCTION pipelines._seconds_since(instants bytea, key bigint, at timestamptz) RETURNS float8
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 2
AS 'MODULE_PATHNAME', 'pipelines_seconds_since';
COMMENT ON FUNCTION pipelines._seconds_since(bytea, bigint, timestamptz) IS
	'Seconds from the instant of a key to another, 0 where that is earlier; NULL: the key is not in the table. Raises 22P03 for what is no table of _instants().';

CREATE FUNCTION pipelines.flow(deals regclass, since timestamptz DEFAULT NULL, by text DEFAULT NULL, pipeline text DEFAULT NULL,
	convert_to text DEFAULT NULL, as_of timestamptz DEFAULT now())
RETURNS TABLE (pipeline_id integer, pipeline_name text, kind text, stage_id integer, stage_name text, to_stage_id integer, to_stage_name text,
	value text, currency text, n bigint, unpriced bigint, amount numeric, mean_age_days numeric)
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000000 ROWS 100
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	chosen CONSTANT integer := pipelines._report_pipeline(deals, pipeline);
	begin_at CONSTANT timestamptz := coalesce(since, as_of - interval '7 days');
	eras CONSTANT timestamptz[] := pipelines._outcome_eras();
BEGIN
	PERFORM pipelines._need_deals(deals);
	RETURN QUERY EXECUTE format($sql$
		%1$s
		SELECT g.pipeline_id_, p.name, g.kind, g.stage_id_, f.stage_name, g.to_, t.stage_name, g.by_, g.currency_, g.n, g.unpriced,
			coalesce(g.amount, 0), round((g.age / 86400)::numeric, 2)
		FROM (
			SELECT k.pipeline_id_, k.kind, k.stage_id_, k.to_, c.by_, c.currency_, sum(c.n)::bigint AS n, sum(c.n - c.priced)::bigint AS unpriced,
				sum(c.amount) AS amount, sum(c.seconds) / nullif(sum(c.aged), 0)::float8 AS age
			FROM event c
			LEFT JOIN pipelines._outcomes_in($4, $1) o ON o.era = c.era_ AND o.pipeline_id = c.to_pipeline_ AND o.stage_id = c.to_stage_
			CROSS JOIN LATERAL (SELECT CASE WHEN o.outcome IN ('won', 'lost', 'disqualified', 'done') THEN o.outcome ELSE 'closed' END AS kind) e
			CROSS JOIN LATERAL (
				SELECT c.pipeline_id_, c.stage_id_, c.to_stage_ AS to_,
					CASE WHEN c.change_ = 'made_closed' THEN 'new'
						 WHEN c.change_ IN ('new', 'left_open') THEN c.change_
						 WHEN c.change_ = 'delete' THEN 'deleted'
						 WHEN c.to_pipeline_ IS DISTINCT FROM c.pipeline_id_ THEN 'transferred_out'
						 WHEN c.change_ = 'reopen' THEN 'reopened'
						 WHEN c.change_ = 'close' THEN e.kind
						 ELSE 'moved' END AS kind
				UNION ALL
				SELECT c.to_pipeline_, NULL, c.to_stage_, 'transferred_in'
				WHERE c.to_pipeline_ <> c.pipeline_id_
				UNION ALL
				-- what else the same statement did: open when it comes or goes, closed there
				SELECT c.to_pipeline_, NULL, c.to_stage_, e.kind
				WHERE c.change_ = 'made_closed' OR c.change_ = 'close' AND c.to_pipeline_ <> c.pipeline_id_
				UNION ALL
				SELECT c.pipeline_id_, c.stage_id_, NULL, 'reopened'
				WHERE c.change_ = 'reopen' AND c.to_pipeline_ <> c.pipeline_id_
			) k%2$s
			GROUP BY 1, 2, 3, 4, 5, 6
		) g
		LEFT JOIN pipelines.pipeline p ON p.pipeline_id = g.pipeline_id_
		LEFT JOIN pipelines._stages_at($1) f ON f.pipeline_id = g.pipeline_id_ AND f.stage_id = g.stage_id_
		LEFT JOIN pipelines._stages_at($1) t ON t.pipeline_id = g.pipeline_id_ AND t.stage_id = g.to_
		ORDER BY g.pipeline_id_,
			array_position('{new,transferred_in,reopened,moved,transferred_out,won,lost,disqualified,done,closed,deleted,left_open}'::text[], g.kind),
			f.position, g.stage_id_, t.position, g.to_, g.by_, g.currency_$sql$,
		pipelines._flow_events(deals, by, pipelines._is_past(as_of), convert_to, chosen IS NOT NULL, pipelines._many_moves(deals, begin_at),
			eras IS NOT NULL),
		CASE WHEN chosen IS NULL THEN '' ELSE ' WHERE k.pipeline_id_ = $3' END)
	USING pipelines._up_to(as_of), begin_at, chosen, eras;
END
$$;
COMMENT ON FUNCTION pipelines.flow(regclass, timestamptz, text, text, text, timestamptz) IS
'What moved between since (seven days before as_of, if it is not given) and as_of (R-7.2): per pipeline, kind, stages and currency, and by a column of T or an expression over its columns.
kind: new (into to_stage; a deal that was there when its table was adopted is not); moved (from stage to to_stage, forward, back, on hold or off it); won, lost, disqualified, done: closed; reopened; transferred_out and transferred_in (to and from other pipelines: over all pipelines they cancel); deleted; left_open: what is open or on hold at as_of.  A deal that is made closed is new and closed; one that a single statement closes in another pipeline is transferred and closed there, without a stage that it comes from; one that is reopened so is reopened, without a stage that it goes to, and transferred.
A row that ceases to be a deal by a condition on tracked columns (adopt(), live) is deleted, and new when it becomes one again while it is open.
n: moves, not deals; amount: of the deals just before the change (new, left_open: then), unpriced ones have none; mean_age_days: days of 24 hours since their creation.  by: a tracked column as it was until the change; any other of the present row.
convert_to: a currency that all amounts are converted to, by the rates of the day of the change; else one row per currency.
Errors: 22023 an instant before the history of an adopted table; 23S01 unknown pipeline; 42703 unknown column; 0A000 an expression with more than immutable functions of pg_catalog.';

-- Is it better to look up when a deal was created, of each of its moves, in a table
-- of instants?  A join is where moves are few, for keys that are no numbers, and
-- where the table would be too large.
CREATE FUNCTION pipelines._many_moves(deals regclass, since timestamptz)
RETURNS boolean
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	history CONSTANT regclass := (SELECT t.history FROM pipelines.tracked_table t WHERE t.relation = deals);
	many bigint;
	size bigint;
	moves bigint;
BEGIN
	SELECT greatest(sum(c.reltuples) / 8, 1000), sum(pg_relation_size(p.relid)) INTO many, size
	FROM pipelines._parts(deals) p
	JOIN pg_class c ON c.oid = p.relid AND c.relkind = 'r';
	-- no row takes less than eighty bytes, and 8388608 of them fit into a table
	IF size > 640 * 1024 ^ 2 OR NOT pipelines._key_is_number(deals)
		OR NOT EXISTS (SELECT FROM pipelines._roles(deals) m WHERE m.role = 'created_at' AND m.column_name IS NOT NULL) THEN
		RETURN false;
	END IF;
	EXECUTE format('SELECT count(*) FROM (SELECT FROM %s h WHERE h.%I > $1 LIMIT $2) m', history, pipelines._own_column(history, 'valid_to'))
	INTO moves USING since, many;
	RETURN moves = many;
END
$$;
COMMENT ON FUNCTION pipelines._many_moves(regclass, timestamptz) IS
	'Are there so many versions since an instant, compared with the deals, that flow() should not join them?';

-- What flow() counts, as WITH clause of a query over event.  The history is read
-- once: a version counts for the move that ended it (moved_), for the beginning of
-- the deal (first_), or for both.  A deal's age counts from its created_at; of one
-- that has been deleted since, from its first version.  Those, and the lives that
-- followed a deletion, are looked for only if there may have been one.
CREATE FUNCTION pipelines._flow_events(deals regclass, by text, past boolean, convert_to text, limited boolean, tabled boolean, eras boolean)
RETURNS text
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	tracked CONSTANT pipelines.tracked_table := (SELECT t FROM pipelines.tracked_table t WHERE t.relation = deals);
	valid_from CONSTANT text := format('h.%I', pipelines._own_column(tracked.history, 'valid_from'));
	valid_to CONSTANT text := format('h.%I', pipelines._own_column(tracked.history, 'valid_to'));
	version CONSTANT text := format('h.%I', pipelines._own_column(tracked.history, 'version'));
	-- of a version: a life may have begun with it, the first one or one after a deletion
	begun CONSTANT text := format('%1$s = %2$s AND %2$s > $2 AND %2$s <= $1', pipelines._column(deals, 'stage_entered_at', NULL, true), valid_from)
		|| CASE WHEN tracked.adopted THEN format(' AND %s <> %s', valid_from, pipelines._adopted_at(deals)) ELSE '' END;
	again CONSTANT text := format('%s > 1 AND %s > 1', version, pipelines._column(deals, 'episode', NULL, true));
	-- the amount of a row (r) on the day of an instant, where its pipeline is
	zones CONSTANT text := (SELECT coalesce(string_agg(format('WHEN %s THEN %L', p.pipeline_id, p.time_zone), ' ' ORDER BY p.pipeline_id),
											'WHEN 0 THEN NULL') FROM pipelines.pipeline p);
	amount CONSTANT text := pipelines._report_amount(convert_to,
		format('(%%s AT TIME ZONE CASE r.pipeline_id_ %s ELSE current_setting(''TimeZone'') END)::date', replace(zones, '%', '%%')), past);
	currency CONSTANT text := CASE WHEN convert_to IS NULL THEN 'r.currency_' ELSE quote_literal(convert_to) || '::text' END;
	chosen CONSTANT text := CASE WHEN limited THEN ' AND (r.pipeline_id_ = $3 OR r.to_pipeline_ = $3)' ELSE '' END;
	created CONSTANT text := coalesce((SELECT format('CAST(c.%I AS timestamptz)', m.column_name) FROM pipelines._roles(deals) m
									   WHERE m.role = 'created_at' AND m.column_name IS NOT NULL), 'CAST(NULL AS timestamptz)');
	-- as _seconds_since() measures
	seconds CONSTANT text := 'CASE WHEN isfinite(%2$s) AND isfinite(%1$s) THEN date_part(''epoch'', greatest(%1$s - %2$s, interval ''0'')) END';
	-- that a version ended by a move is mostly seen from what rows are grouped by
	seen CONSTANT boolean := NOT past AND NOT pipelines._secured(deals);
	returned CONSTANT boolean := pipelines._returned(deals);
	era CONSTANT text := CASE WHEN eras THEN 'width_bucket(%s, $4)' ELSE '0' END;
	matches text;
	moves text;
BEGIN
	SELECT string_agg(format('c.%I = m.key%s_', m.column_name, m.n), ' AND ' ORDER BY m.n),
		pipelines._moves_at(deals, by, past,
			format(', %1$s AS began_, %2$s AS amount_, coalesce(%3$s, %4$L::text) AS currency_, %6$s <= $1 AS ended_, ((%5$s) AND %6$s <= $1) IS TRUE AS moved_,
				(%7$s = 1 AND %8$s) IS TRUE AS first_, (%9$s AND %8$s) IS TRUE AS again_, (%7$s = 1 AND %10$s IS NOT NULL) AS made_closed_',
				valid_from, pipelines._column(deals, 'amount', 'numeric', true), pipelines._column(deals, 'currency', 'text', true), tracked.currency,
				pipelines._visit_ends(deals), valid_to, version, begun, again, pipelines._column(deals, 'closed_at', NULL, true))
			|| string_agg(format(', h.%I AS key%s_', m.history_column, m.n), '' ORDER BY m.n),
			format('%s AND (%s = 1 OR %s)', begun, version, again))
	INTO matches, moves
	FROM pipelines._roles(deals) m
	WHERE m.role ~ '^key[1-9]';
	RETURN format($sql$WITH %16$sversion AS MATERIALIZED (
			SELECT r.pipeline_id_, r.stage_id_, r.to_pipeline_, r.to_stage_, r.change_, r.by_, r.currency_, r.first_, r.made_closed_, %17$s AS moved_,
				r.again_ > 0 AS again_, %22$s, r.n, r.priced, r.amount, r.priced_before, r.amount_before, r.seconds, r.aged
			FROM pipelines._sums_rows((
				SELECT pipelines._sums(%23$s, r.pipeline_id_, r.stage_id_, r.to_pipeline_, r.to_stage_, r.change_, CAST(r.by_ AS text), %1$s, r.first_, r.made_closed_, r.%18$s,
					%20$s
					r.again_, x.amount, y.amount, r.seconds_)
				FROM (SELECT m.*, %2$s AS seconds_ FROM (%3$s) m%4$s WHERE m.exited_ > $2) r
				CROSS JOIN LATERAL (SELECT %5$s AS amount) x
				CROSS JOIN LATERAL (SELECT %6$s AS amount) y
				WHERE true%7$s
			)) AS r(pipeline_id_ integer, stage_id_ integer, to_pipeline_ integer, to_stage_ integer, change_ text, by_ text, currency_ text, first_ boolean, made_closed_ boolean, %18$s boolean,%24$s
				n bigint, again_ bigint, priced bigint, amount numeric, priced_before bigint, amount_before numeric, aged bigint, seconds double precision)
		), begun AS MATERIALIZED (
			SELECT r.pipeline_id_, r.stage_id_, r.by_, %1$s AS currency_, r.again_, r.closed_, %21$s AS era_, count(*) AS n, count(x.amount) AS priced, sum(x.amount) AS amount
			FROM (%8$s) r
			CROSS JOIN LATERAL (SELECT %9$s AS amount) x
			WHERE true%7$s
			GROUP BY 1, 2, 3, 4, 5, 6, 7
		), deletion AS MATERIALIZED (
			SELECT EXISTS (SELECT FROM version v WHERE v.change_ = 'delete' OR v.again_ OR v.moved_ AND v.aged < v.n)
				OR EXISTS (SELECT FROM begun b WHERE b.again_) AS possible
		), gone AS MATERIALIZED (
			SELECT g.key, g.began, g.first, g.last
			FROM (%10$s) g
			WHERE (SELECT p.possible FROM deletion p)
		), event AS (
			SELECT v.pipeline_id_, v.stage_id_, v.to_pipeline_, v.to_stage_, v.change_, v.era_, v.by_, v.currency_, v.n, v.priced, v.amount, v.seconds, v.aged
			FROM version v
			WHERE v.moved_
			UNION ALL
			SELECT v.pipeline_id_, NULL, v.pipeline_id_, v.stage_id_, CASE WHEN v.made_closed_ THEN 'made_closed' ELSE 'new' END, v.first_era_, v.by_, v.currency_, v.n, v.priced_before, v.amount_before, 0, v.n
			FROM version v
			WHERE v.first_
			UNION ALL
			SELECT b.pipeline_id_, NULL, b.pipeline_id_, b.stage_id_, CASE WHEN b.closed_ THEN 'made_closed' ELSE 'new' END, b.era_, b.by_, b.currency_, b.n, b.priced, b.amount, 0, b.n
			FROM begun b
			WHERE NOT b.again_
			UNION ALL
			SELECT r.pipeline_id_, NULL::integer, r.to_pipeline_, r.stage_id_, CASE WHEN r.closed_ THEN 'made_closed' ELSE 'new' END, %21$s, r.by_, %1$s, count(*), count(x.amount), sum(x.amount), 0, count(*)
			FROM (%11$s) r
			CROSS JOIN LATERAL (SELECT %9$s AS amount) x
			WHERE (SELECT p.possible FROM deletion p)%7$s
			GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
			UNION ALL
			SELECT r.pipeline_id_, r.stage_id_, r.to_pipeline_, r.to_stage_, r.change_, %19$s, r.by_, %1$s, 0, 0, NULL::numeric, sum(%12$s), count(r.created_)
			FROM (SELECT m.*, g.began AS created_
				  FROM (%3$s) m
				  JOIN gone g ON g.key = m.key_ AND g.first <= m.version_ AND m.version_ <= g.last
				  WHERE m.exited_ > $2 AND m.moved_) r
			WHERE (SELECT p.possible FROM deletion p)%7$s
			GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
%25$s			UNION ALL
			SELECT r.pipeline_id_, r.stage_id_, NULL::integer, NULL::integer, 'left_open'::text, 0, r.by_, r.currency_, r.n, r.priced, r.amount, r.seconds, r.aged
			FROM pipelines._sums_rows((
				SELECT pipelines._sums(4, r.pipeline_id_, r.stage_id_, CAST(r.by_ AS text), %1$s, x.amount, %13$s)
				FROM (SELECT s.*, s.pipeline_id_ AS to_pipeline_ FROM (%14$s) s) r
				CROSS JOIN LATERAL (SELECT %15$s AS amount) x
				WHERE true%7$s
			)) AS r(pipeline_id_ integer, stage_id_ integer, by_ text, currency_ text, n bigint, priced bigint, amount numeric, aged bigint, seconds double precision)
			JOIN pipelines._stages_at($1) o ON o.pipeline_id = r.pipeline_id_ AND o.stage_id = r.stage_id_ AND o.outcome IN ('open', 'on_hold')
		)$sql$,
		currency,
		format(CASE WHEN returned THEN 'CASE WHEN b.key IS NULL OR m.version_ > b.last THEN %s END' ELSE '%s' END,
			   CASE WHEN tabled THEN 'pipelines._seconds_since((SELECT c.instants FROM creation c), m.key_, m.exited_)' ELSE format(seconds, 'm.exited_', created) END),
		moves,
		CASE WHEN tabled THEN '' ELSE format(' LEFT JOIN %s c ON %s', deals, matches) END
		|| CASE WHEN returned
				THEN format(' LEFT JOIN (SELECT g.key, max(g.last) AS last FROM (%s) g GROUP BY g.key) b ON b.key = m.key_', pipelines._deletions(deals)) ELSE '' END,
		format(amount, 'r.exited_'), format(amount, 'r.began_'), chosen,
		pipelines._beginnings(deals, by, false), format(amount, 'r.at_'), pipelines._deletions(deals),
		pipelines._beginnings(deals, by, true),
		format(seconds, 'r.exited_', 'r.created_'),
		format(seconds, '$1', 'r.created_at_'), pipelines._rows_at(deals, by, past, true), format(amount, '$1'),
		CASE WHEN tabled
			 THEN format('creation AS MATERIALIZED (
			SELECT pipelines._instants(CAST(c.%I AS bigint), %s) AS instants FROM %s c
		), ', (SELECT m.column_name FROM pipelines._roles(deals) m WHERE m.role = 'key1'), created, deals)
			 ELSE '' END,
		CASE WHEN seen
			 THEN 'r.ended_ AND (r.stage_id_ <> r.to_stage_ OR r.pipeline_id_ <> r.to_pipeline_ OR r.to_stage_ IS NULL OR r.change_ IN (''close'', ''reopen''))'
			 ELSE 'r.moved_' END,
		CASE WHEN seen THEN 'ended_' ELSE 'moved_' END, format(era, 'r.exited_'),
		-- two more to group by, where there is more than one era
		CASE WHEN eras THEN format('%s, CASE WHEN r.made_closed_ THEN %s END,', format(era, 'r.exited_'), format(era, 'r.began_')) ELSE '' END,
		format(era, 'r.at_'), CASE WHEN eras THEN 'r.era_, r.first_era_' ELSE '0 AS era_, 0 AS first_era_' END, CASE WHEN eras THEN 12 ELSE 10 END,
		CASE WHEN eras THEN ' era_ integer, first_era_ integer,' ELSE '' END,
		CASE WHEN pipelines._live_is_tracked(deals)
			 THEN format($sql$			UNION ALL
			SELECT r.pipeline_id_, r.stage_id_, r.to_pipeline_, r.to_stage_, r.change_, 0, r.by_, %s, count(*), count(x.amount), sum(x.amount),
				coalesce(sum(a.seconds) FILTER (WHERE r.change_ = 'delete'), 0), count(*) FILTER (WHERE r.change_ = 'new' OR a.seconds IS NOT NULL)
			FROM (%s) r
			CROSS JOIN LATERAL (SELECT %s AS amount) x
			CROSS JOIN LATERAL (SELECT %s AS seconds) a
			WHERE true%s
			GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
$sql$, currency, pipelines._live_changes(deals, by), format(amount, 'r.at_'), format(seconds, 'r.at_', 'r.created_at_'), chosen)
			 ELSE '' END);
END
$$;
COMMENT ON FUNCTION pipelines._flow_events(regclass, text, boolean, text, boolean, boolean, boolean) IS
	'What flow() counts between the instants $2 and $1, as SQL text: a WITH clause whose query event has pipeline_id_, stage_id_, to_pipeline_, to_stage_, change_ (also new, made_closed, left_open), era_, by_, currency_, n, priced, amount, seconds, aged. limited: to the pipeline $3; tabled: as _many_moves() says; eras: of outcomes, $4.';

-- The lives that ended in a deletion, whether their keys came back or not.
CREATE FUNCTION pipelines._deletions(deals regclass)
RETURNS text
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('SELECT %1$s AS key, h.%2$I AS began, l.first, l.last
			FROM (SELECT %3$s, e.%4$I, coalesce(lag(e.%4$I) OVER (PARTITION BY %3$s ORDER BY e.%4$I), 0) + 1
				  FROM %5$s e WHERE e.%6$I = ''delete'') l(%7$s, last, first)
			JOIN %5$s h ON %8$s AND h.%4$I = l.first',
		pipelines._report_key($1, true), pipelines._own_column(t.history, 'valid_from'), k.list, pipelines._own_column(t.history, 'version'), t.history,
		pipelines._own_column(t.history, 'change'), k.names, k.matches)
	FROM pipelines.tracked_table t
	CROSS JOIN (SELECT string_agg(format('e.%I', m.history_column), ', ' ORDER BY m.n) AS list, string_agg(m.role, ', ' ORDER BY m.n) AS names,
					   string_agg(format('h.%I = l.%s', m.history_column, m.role), ' AND ' ORDER BY m.n) AS matches
				FROM pipelines._roles($1) m WHERE m.role ~ '^key[1-9]') k
	WHERE t.relation = $1
$$;
COMMENT ON FUNCTION pipelines._deletions(regclass) IS
	'The lives that ended in a deletion, as SQL text: key, began, and the first and last of their versions.';

-- When a table was adopted.  Deals that were there then have a first version since
-- that very instant, which is no creation (R-13.1).
CREATE FUNCTION pipelines._adopted_at(deals regclass)
RETURNS text
LANGUAGE sql IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('(SELECT t.tracked_since FROM pipelines.tracked_table t WHERE t.relation = %s AND t.adopted)', $1::oid)
$$;
COMMENT ON FUNCTION pipelines._adopted_at(regclass) IS
	'The instant at which a table was adopted, or since which its past is known; NULL: it was not; as SQL text.';

-- Beginnings of lives after the instant $2 and by $1: of the present row of a deal,
-- and, where they followed a deletion, of all versions.
CREATE FUNCTION pipelines._beginnings(deals regclass, by text, again boolean)
RETURNS text
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT string_agg(format($sql$
			SELECT %1$s AS pipeline_id_, %2$s AS stage_id_, %1$s AS to_pipeline_, %3$s AS by_, coalesce(%4$s, %5$L::text) AS currency_,
				%6$s AS amount_, %7$s AS at_, %10$s > 1 AS again_, %12$s IS NOT NULL AS closed_
			FROM %8$s
			WHERE %7$s > $2 AND %7$s <= $1 AND %9$s = %7$s AND %11$s$sql$,
		s.pipeline_id, s.stage_id, s.by_, s.currency, t.currency, s.amount, s.began, s.source, s.entered, s.version,
		CASE WHEN NOT $3 THEN format('(%s = 1%s OR %s > 1)', s.version,
									 CASE WHEN t.adopted THEN format(' AND %s <> %s', s.began, pipelines._adopted_at($1)) ELSE '' END, s.episode)
			 ELSE format('%1$s > 1 AND %2$s > 1 AND EXISTS (SELECT FROM %3$s l WHERE %4$s AND l.%5$I = %1$s - 1 AND l.%6$I = ''delete'')',
						 s.version, s.episode, t.history, s.life, pipelines._own_column(t.history, 'version'), pipelines._own_column(t.history, 'change')) END,
		s.closed), ' UNION ALL ')
	FROM pipelines.tracked_table t
	CROSS JOIN pipelines._dimension($1, $2) x
	CROSS JOIN pipelines._dimension_of_past($1, $2) y
	CROSS JOIN LATERAL (
		SELECT pipelines._column($1, 'pipeline_id'), pipelines._column($1, 'stage_id'), x.expression,
			pipelines._column($1, 'currency', 'text'), pipelines._column($1, 'amount', 'numeric'), pipelines._column($1, 'changed_at'),
			pipelines._deals_source($1, NULL::name[]) || ' d', pipelines._column($1, 'stage_entered_at'), pipelines._column($1, 'version'),
			pipelines._column($1, 'episode'), pipelines._key_match($1, 'l', 'd'), pipelines._column($1, 'closed_at')
		UNION ALL
		-- a version ends when it begins, or later: so the index on the ends serves
		SELECT pipelines._column($1, 'pipeline_id', NULL, true), pipelines._column($1, 'stage_id', NULL, true),
			y.expression, pipelines._column($1, 'currency', 'text', true), pipelines._column($1, 'amount', 'numeric', true),
			format('h.%I', pipelines._own_column(t.history, 'valid_from')), format('%s h%s', pipelines._history_source($1), y.joined),
			format('h.%I > $2 AND %s', pipelines._own_column(t.history, 'valid_to'), pipelines._column($1, 'stage_entered_at', NULL, true)),
			format('h.%I', pipelines._own_column(t.history, 'version')), pipelines._column($1, 'episode', NULL, true),
			pipelines._versions_match($1, 'l', 'h'), pipelines._column($1, 'closed_at', NULL, true)
		WHERE $3
	) s(pipeline_id, stage_id, by_, currency, amount, began, source, entered, version, episode, life, closed)
	WHERE t.relation = $1
$$;
COMMENT ON FUNCTION pipelines._beginnings(regclass, text, boolean) IS
	'Lives that began after the instant $2 and by $1, as SQL text: pipeline_id_, stage_id_, to_pipeline_, by_, currency_, amount_, at_, again_, closed_. Those of the present rows, of which some (again_) may have followed a deletion; or (again) of all versions those that did.';

-- A row that ceases to be a deal, by what tracked_table.live says of its tracked
-- columns, is deleted; one that becomes a deal again while it is open comes anew.
-- (One that is closed doesn't: it was not closed a second time.)
CREATE FUNCTION pipelines._live_changes(deals regclass, by text)
RETURNS text
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format($sql$
			SELECT v.next_pipeline_ AS pipeline_id_, CASE WHEN v.live_ THEN v.next_stage_ END AS stage_id_,
				CASE WHEN NOT v.live_ THEN v.next_pipeline_ END AS to_pipeline_, CASE WHEN NOT v.live_ THEN v.next_stage_ END AS to_stage_,
				CASE WHEN v.live_ THEN 'delete' ELSE 'new' END AS change_, CASE WHEN v.live_ THEN v.by_ ELSE v.next_by_ END AS by_,
				CASE WHEN v.live_ THEN v.currency_ ELSE v.next_currency_ END AS currency_,
				CASE WHEN v.live_ THEN v.amount_ ELSE v.next_amount_ END AS amount_, v.at_, v.created_at_
			FROM (
				SELECT a.*, lead(a.version_) OVER w AS next_version_, lead(a.live_) OVER w AS next_live_, lead(a.pipeline_id_) OVER w AS next_pipeline_,
					lead(a.stage_id_) OVER w AS next_stage_, lead(a.by_) OVER w AS next_by_, lead(a.currency_) OVER w AS next_currency_,
					lead(a.amount_) OVER w AS next_amount_, lead(a.closed_) OVER w AS next_closed_, max(a.created_) OVER w AS created_at_
				FROM (%s) a
				WINDOW w AS (PARTITION BY %s ORDER BY a.version_ ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
			) v
			WHERE v.at_ > $2 AND v.at_ <= $1 AND v.change_ <> 'delete' AND v.next_version_ = v.version_ + 1
				AND v.live_ <> v.next_live_ AND (v.live_ OR NOT v.next_closed_)$sql$,
		string_agg(format($sql$
					SELECT %s, %s AS version_, %s AS pipeline_id_, %s AS stage_id_, %s AS by_, coalesce(%s, %L::text) AS currency_,
						%s AS amount_, %s IS NOT NULL AS closed_, %s AS at_, %s AS change_, c2.met AS live_, %s AS created_
					FROM %s$sql$,
			s.keys, s.version, s.pipeline_id, s.stage_id, s.by_, s.currency, t.currency, s.amount, s.closed, s.at, s.change, s.created, s.source),
			' UNION ALL '),
		min(k.names))
	FROM pipelines.tracked_table t
	CROSS JOIN pipelines._dimension($1, $2) x
	CROSS JOIN pipelines._dimension_of_past($1, $2) y
	CROSS JOIN (SELECT string_agg(format('d.%I AS %s_', m.column_name, m.role), ', ' ORDER BY m.n) AS present,
					   string_agg(format('h.%I AS %s_', m.history_column, m.role), ', ' ORDER BY m.n) AS past,
					   string_agg(format('a.%s_', m.role), ', ' ORDER BY m.n) AS names
				FROM pipelines._roles($1) m WHERE m.role ~ '^key[1-9]') k
	CROSS JOIN LATERAL (
		SELECT k.present, pipelines._column($1, 'version'), pipelines._column($1, 'pipeline_id'), pipelines._column($1, 'stage_id'), x.expression,
			pipelines._column($1, 'currency', 'text'), pipelines._column($1, 'amount', 'numeric'), pipelines._column($1, 'closed_at'),
			'CAST(''infinity'' AS timestamptz)', 'CAST(''none'' AS text)', pipelines._column($1, 'created_at', 'timestamptz'),
			pipelines._bridge_from($1, false, NULL)
		UNION ALL
		SELECT k.past, format('h.%I', pipelines._own_column(t.history, 'version')), pipelines._column($1, 'pipeline_id', NULL, true),
			pipelines._column($1, 'stage_id', NULL, true), y.expression, pipelines._column($1, 'currency', 'text', true),
			pipelines._column($1, 'amount', 'numeric', true), pipelines._column($1, 'closed_at', NULL, true),
			format('h.%I', pipelines._own_column(t.history, 'valid_to')), format('h.%I', pipelines._own_column(t.history, 'change')),
			'CAST(NULL AS timestamptz)', pipelines._bridge_from($1, true, NULL) || y.joined
	) s(keys, version, pipeline_id, stage_id, by_, currency, amount, closed, at, change, created, source)
	WHERE t.relation = $1 AND pipelines._live_is_tracked($1)
$$;
COMMENT ON FUNCTION pipelines._live_changes(regclass, text) IS
	'The changes by which rows ceased to be deals, or became some again, between the instants $2 and $1, as SQL text: pipeline_id_, stage_id_, to_pipeline_, to_stage_, change_ (delete, new), by_, currency_, amount_, at_, created_at_; NULL where the history does not tell.';

-- Which week ends fall into the time of a version, as one number to group by.
CREATE FUNCTION pipelines._ends_within(ends timestamptz[], pipelines integer[], pipeline_id integer, "from" timestamptz, until timestamptz)
RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 2
AS 'MODULE_PATHNAME', 'pipelines_ends_within';
COMMENT ON FUNCTION pipelines._ends_within(timestamptz[], integer[], integer, timestamptz, timestamptz) IS
'Of the instants of a pipeline (pipelines in ascending order, or whatever else has numbers), in ascending order, those that are not before from and before until: the place of the first of them times 2^32, plus that of the last one; NULL: none, or no such pipeline. ends has as many instants for each of the pipelines, one pipeline after the other.';

-- A version counts at each week end in its time.  Versions are added up by the
-- first and the last of their week ends before they are spread over them: so the
-- history is read once, however many weeks there are.  The weeks are parameters,
-- so that several processes can share the reading.
CREATE FUNCTION pipelines.trend(deals regclass, weeks integer DEFAULT 104, pipeline text DEFAULT NULL, by text DEFAULT NULL,
	as_of timestamptz DEFAULT now(), definitions text DEFAULT 'then')
RETURNS TABLE (week_end date, pipeline_id integer, pipeline_name text, stage_id integer, stage_name text, "position" integer, outcome text,
	value text, currency text, n bigint, unpriced bigint, amount numeric, weighted numeric)
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000000 ROWS 5000
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	chosen CONSTANT integer := pipelines._report_pipeline(deals, pipeline);
	known_since CONSTANT timestamptz := (SELECT t.tracked_since FROM pipelines.tracked_table t WHERE t.relation = deals AND t.adopted);
	known integer[];
	zones text[];
	ends timestamptz[];
BEGIN
	PERFORM pipelines._need_deals(deals);
	PERFORM pipelines._is_past(as_of, true);
	PERFORM pipelines._as_of_covered(deals, as_of);
	PERFORM pipelines._check_word('definitions', definitions, '{then,current}');
	IF weeks IS NULL OR weeks < 1 OR weeks > 5200 THEN
		RAISE EXCEPTION 'weeks can''t be %', coalesce(weeks::text, 'null')
			USING ERRCODE = 'invalid_parameter_value', HINT = 'Give a number from 1 to 5200.';
	END IF;
	-- the last weeks of each pipeline's time zone, as the instants at which they end
	SELECT array_agg(z.id ORDER BY z.id) FILTER (WHERE z.w = 0), array_agg(z.zone ORDER BY z.id) FILTER (WHERE z.w = 0),
		-- one of which not all deals of an adopted table are known is none
		array_agg(CASE WHEN e.at < known_since THEN '-infinity' ELSE e.at END ORDER BY z.id, z.w DESC)
	INTO known, zones, ends
	FROM (SELECT p.pipeline_id AS id, coalesce(p.time_zone, current_setting('TimeZone')) AS zone, w,
				 date_trunc('week', as_of AT TIME ZONE coalesce(p.time_zone, current_setting('TimeZone')))::date AS monday
		  FROM pipelines.pipeline p, generate_series(0, weeks - 1) w) z
	CROSS JOIN LATERAL (SELECT (z.monday - 7 * z.w)::timestamp AT TIME ZONE z.zone) e(at);
	RETURN QUERY EXECUTE (
		SELECT format($sql$
		WITH zone AS MATERIALIZED (
			SELECT u.pipeline_id, u.zone, $2[((u.n - 1) * $4 + 1)::integer : (u.n * $4)::integer] AS ends
			FROM unnest($1, $5) WITH ORDINALITY u(pipeline_id, zone, n)
		), version AS (
			SELECT %1$s AS pipeline_id_, %2$s AS stage_id_, %3$s AS currency_, %4$s AS amount_, %5$s AS probability_, %6$s AS category_,
				%7$s AS by_, pipelines._ends_within($2, $1, %1$s, h.%8$I, h.%9$I) AS span_
			FROM %10$s h%11$s
			UNION ALL
			SELECT %12$s, %13$s, %14$s, %15$s, %16$s, %17$s, %18$s, pipelines._ends_within($2, $1, %12$s, %19$s, 'infinity'::timestamptz)
			FROM %20$s d
		), spans AS (
			SELECT r.pipeline_id_, r.stage_id_, r.currency_, r.by_, r.span_, r.n, r.n - r.priced AS unpriced, r.amount, r.plain_amount, r.product,
				r.said_amount, r.said_product
			FROM pipelines._sums_rows((
				SELECT pipelines._sums(5, v.pipeline_id_, v.stage_id_, v.currency_, CAST(v.by_ AS text), v.span_, %22$s)
				FROM version v
				WHERE true%21$s
			)) AS r(pipeline_id_ integer, stage_id_ integer, currency_ text, by_ text, span_ bigint, n bigint, %23$s)
			WHERE r.span_ IS NOT NULL
		), week AS (
			SELECT r.pipeline_id_, r.stage_id_, r.currency_, r.by_, r.k, r.n::bigint AS n, r.unpriced::bigint AS unpriced,
				coalesce(r.amount, 0) AS amount, coalesce(r.plain_amount, 0) AS plain_amount, coalesce(r.product, 0) AS product,
				coalesce(r.said_amount, 0) AS said_amount, coalesce(r.said_product, 0) AS said_product
			FROM pipelines._sums_rows((
				SELECT pipelines._sums(5, s.pipeline_id_, s.stage_id_, s.currency_, s.by_, w.k,
					s.n::numeric, s.unpriced::numeric, s.amount, s.plain_amount, s.product, s.said_amount, s.said_product)
				FROM spans s
				CROSS JOIN LATERAL generate_series((s.span_ >> 32)::integer, (s.span_ & 4294967295)::integer) w(k)
			)) AS r(pipeline_id_ integer, stage_id_ integer, currency_ text, by_ text, k integer, spans bigint, n1 bigint, n numeric,
				n2 bigint, unpriced numeric, n3 bigint, amount numeric, n4 bigint, plain_amount numeric, n5 bigint, product numeric,
				n6 bigint, said_amount numeric, n7 bigint, said_product numeric)
		)
		SELECT ((z.ends[w.k] AT TIME ZONE z.zone)::date - 1), w.pipeline_id_, q.name, w.stage_id_, s.name, d.position, d.outcome, w.by_, w.currency_,
			w.n, w.unpriced, w.amount,
			CASE WHEN d.outcome = 'won' THEN w.amount
				 WHEN d.outcome IN ('lost', 'disqualified', 'done') THEN 0::numeric
				 ELSE (w.said_product + w.said_amount * d.probability +
					   CASE WHEN coalesce(d.forecast_category, d.outcome) NOT IN ('omitted', 'on_hold')
							THEN w.product + w.plain_amount * d.probability ELSE 0::numeric END) * 0.01 END
		FROM week w
		JOIN zone z ON z.pipeline_id = w.pipeline_id_
		LEFT JOIN pipelines.pipeline q ON q.pipeline_id = w.pipeline_id_
		LEFT JOIN pipelines.stage s ON s.stage_id = w.stage_id_
		LEFT JOIN LATERAL (
			SELECT coalesce(h.position, ps.position) AS position, coalesce(h.outcome, ps.outcome) AS outcome,
				coalesce(h.probability, ps.probability) AS probability, coalesce(h.forecast_category, ps.forecast_category) AS forecast_category
			FROM pipelines.pipeline_stage ps
			LEFT JOIN pipelines.pipeline_stage_history h
				ON h.pipeline_id = ps.pipeline_id AND h.stage_id = ps.stage_id
				AND h.valid_to > z.ends[w.k] AND (h.valid_from <= z.ends[w.k] OR h.version = 1) AND $6 = 'then'
			WHERE ps.pipeline_id = w.pipeline_id_ AND ps.stage_id = w.stage_id_
		) d ON true
		ORDER BY 1, w.pipeline_id_, d.position, w.stage_id_, w.by_, 9$sql$,
			pipelines._column(deals, 'pipeline_id', NULL::text, true), pipelines._column(deals, 'stage_id', NULL::text, true),
			format('coalesce(%s, %L)', pipelines._column(deals, 'currency', 'text', true), t.currency), pipelines._column(deals, 'amount', 'numeric', true),
			pipelines._column(deals, 'probability', 'numeric', true), pipelines._column(deals, 'forecast_category', 'text', true),
			y.expression,
			pipelines._own_column(t.history, 'valid_from'), pipelines._own_column(t.history, 'valid_to'), pipelines._history_source(deals),
			y.joined,
			pipelines._column(deals, 'pipeline_id'), pipelines._column(deals, 'stage_id'), format('coalesce(%s, %L)', pipelines._column(deals, 'currency', 'text'), t.currency),
			pipelines._column(deals, 'amount', 'numeric'), pipelines._column(deals, 'probability', 'numeric'),
			pipelines._column(deals, 'forecast_category', 'text'), x.expression, pipelines._column(deals, 'changed_at'),
			pipelines._deals_source(deals, NULL::name[]),
			CASE WHEN chosen IS NULL THEN '' ELSE ' AND v.pipeline_id_ = $3' END, w.values, w.columns)
		FROM pipelines._weighable('v.amount_', 'v.probability_', 'v.category_') w, pipelines.tracked_table t, pipelines._dimension(deals, by) x, pipelines._dimension_of_past(deals, by) y
		WHERE t.relation = deals)
	USING known, ends, chosen, weeks, zones, definitions;
END
$$;
COMMENT ON FUNCTION pipelines.trend(regclass, integer, text, text, timestamptz, text) IS
'Where the deals stood at the end of each of the last weeks before as_of: n, unpriced (without an amount), amount and weighted, per pipeline, stage and currency, and by a column of T or an expression over its columns (a tracked column as it was then).
Of an adopted table, only weeks of which all of its deals are known.  week_end is the Sunday; what counts is the instant at which it ends in the time zone of the pipeline.  Probabilities, categories, positions and outcomes are those of the definitions at that instant (definitions then), or those of today (current; R-2.33); scores don''t count here.
Errors: 22023 weeks not from 1 to 5200, as_of infinity, or before the history of an adopted table, or definitions neither of these; 23S01 unknown pipeline; 42703 unknown column; 0A000 an expression with more than immutable functions of pg_catalog.';

-- The way of one deal, version by version: what the history knows of it, and
-- what it is now.
CREATE FUNCTION pipelines.journey(deals regclass, deal text, as_of timestamptz DEFAULT now())
RETURNS TABLE (version integer, at timestamptz, change text, pipeline_id integer, pipeline_name text, stage_id integer, stage_name text,
	outcome text, until timestamptz, in_stage interval, amount numeric, currency text, expected_close_on date, owner text, episode integer,
	actor text, reason text, batch text)
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100000 ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	keys text[];
BEGIN
	PERFORM pipelines._is_past(as_of, true);
	PERFORM pipelines._need_deals(deals);
	IF journey.deal IS NULL THEN
		RAISE EXCEPTION 'deal must not be null' USING ERRCODE = 'null_value_not_allowed';
	END IF;
	keys := pipelines._key_of(deals, journey.deal);
	RETURN QUERY EXECUTE (
		SELECT format($sql$
		WITH version AS (
			SELECT h.%1$I AS version_, h.%2$I AS from_, h.%3$I AS to_, %4$s AS pipeline_, %5$s AS stage_, %6$s AS entered_, %7$s AS amount_,
				%8$s AS currency_, %9$s AS expected_, %10$s AS owner_, %11$s AS episode_,
				h.%12$I AS change_, h.%13$I AS actor_, h.%14$I AS reason_, h.%15$I AS batch_
			FROM %16$s h
			WHERE %17$s AND h.%2$I <= $1
			UNION ALL
			SELECT %18$s, %19$s, NULL, %20$s, %21$s, %22$s, %23$s, %24$s, %25$s, %26$s, %27$s, NULL, NULL, NULL, NULL
			FROM %28$s d
			WHERE %29$s AND %19$s <= $1
		), line AS (
			SELECT v.*, lag(v.change_) OVER w AS began_by, lag(v.actor_) OVER w AS began_actor, lag(v.reason_) OVER w AS began_reason,
				lag(v.batch_) OVER w AS began_batch
			FROM version v
			WINDOW w AS (ORDER BY v.version_)
		), told AS (
			SELECT l.version_, l.from_, CASE WHEN l.began_by IS NULL AND l.from_ = %31$s THEN 'adopt'
					WHEN l.began_by IS NULL OR l.began_by = 'delete' THEN 'create' ELSE l.began_by END AS change,
				l.pipeline_, l.stage_, CASE WHEN l.to_ <= $1 THEN l.to_ END AS until, l.entered_, l.amount_, l.currency_, l.expected_, l.owner_, l.episode_,
				CASE WHEN l.began_by <> 'delete' THEN l.began_actor END AS actor, CASE WHEN l.began_by <> 'delete' THEN l.began_reason END AS reason,
				CASE WHEN l.began_by <> 'delete' THEN l.began_batch END AS batch
			FROM line l
			UNION ALL
			SELECT l.version_ + 1, l.to_, 'delete', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, l.episode_, l.actor_, l.reason_, l.batch_
			FROM line l
			WHERE l.change_ = 'delete' AND l.to_ <= $1
		)
		SELECT t.version_, t.from_, t.change, t.pipeline_, p.name, t.stage_, s.name, coalesce(h.outcome, ps.outcome), t.until,
			CASE WHEN t.entered_ IS NOT NULL THEN greatest(coalesce(t.until, $3) - t.entered_, interval '0') END, t.amount_, coalesce(t.currency_, CASE WHEN t.stage_ IS NOT NULL THEN %30$L::text END), t.expected_, t.owner_, t.episode_,
			t.actor, t.reason, t.batch
		FROM told t
		LEFT JOIN pipelines.pipeline p ON p.pipeline_id = t.pipeline_
		LEFT JOIN pipelines.stage s ON s.stage_id = t.stage_
		LEFT JOIN pipelines.pipeline_stage ps ON ps.pipeline_id = t.pipeline_ AND ps.stage_id = t.stage_
		LEFT JOIN pipelines.pipeline_stage_history h
			ON h.pipeline_id = t.pipeline_ AND h.stage_id = t.stage_
			AND h.valid_to > t.from_ AND (h.valid_from <= t.from_ OR h.version = 1)
		ORDER BY t.version_, t.from_, t.change = 'create'$sql$,
			pipelines._own_column(t.history, 'version'), pipelines._own_column(t.history, 'valid_from'), pipelines._own_column(t.history, 'valid_to'),
			pipelines._column(deals, 'pipeline_id', NULL::text, true), pipelines._column(deals, 'stage_id', NULL::text, true),
			pipelines._column(deals, 'stage_entered_at', NULL::text, true), pipelines._column(deals, 'amount', 'numeric', true),
			pipelines._column(deals, 'currency', 'text', true), pipelines._column(deals, 'expected_close_on', 'date', true),
			pipelines._column(deals, 'owner', 'text', true), pipelines._column(deals, 'episode', NULL::text, true),
			pipelines._own_column(t.history, 'change'), pipelines._own_column(t.history, 'actor'), pipelines._own_column(t.history, 'reason'),
			pipelines._own_column(t.history, 'batch'), t.history, pipelines._key_is(deals, 'h', true, '$2'),
			pipelines._column(deals, 'version'), pipelines._column(deals, 'changed_at'),
			pipelines._column(deals, 'pipeline_id'), pipelines._column(deals, 'stage_id'), pipelines._column(deals, 'stage_entered_at'),
			pipelines._column(deals, 'amount', 'numeric'), pipelines._column(deals, 'currency', 'text'),
			pipelines._column(deals, 'expected_close_on', 'date'), pipelines._column(deals, 'owner', 'text'), pipelines._column(deals, 'episode'),
			pipelines._deals_source(deals, NULL::name[]), pipelines._key_is(deals, 'd', false, '$2'), t.currency, pipelines._adopted_at(deals))
		FROM pipelines.tracked_table t WHERE t.relation = deals)
	USING CASE WHEN as_of >= now() THEN 'infinity' ELSE as_of END, keys, as_of;
END
$$;
COMMENT ON FUNCTION pipelines.journey(regclass, text, timestamptz) IS
'The whole way of one deal (the text form of its key): a row for its creation or adoption, for each change of a tracked column, and for its deletion; in time independent of how many deals there are.
at: when it happened; change: create, adopt (it was there when its table was adopted), or the kind of change as in the history; what it was from then until the next change: pipeline, stage, outcome (by the definitions of that instant), amount, currency, expected_close_on, owner, episode; in_stage: how long it had been in the stage when that ended (NULL for a deletion).  actor, reason and batch are those of the change; of a creation they are not kept.
Columns on who and why, and deals that others may not see, follow the rights of the caller on the history.  Errors: 22P02 no key, 22004 NULL for the deal, 22023 as_of infinity, 55000 not a deals table.';
