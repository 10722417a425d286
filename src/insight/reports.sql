-------------------------------------------------------------------------------
-- reports.sql
--   What all reports on a deals table stand on.
--
-- A report reads two things: the deals as they were at its instant (from
-- _rows_at(): the table itself for the present, as_of() for the past), and the
-- stays in stages that had ended by then (from _stays_at(): the versions of the
-- history that were the last of a visit).  Both are SQL text, put together from
-- the mapping of T, and run with the rights of the caller.
--
-- Definitions are those of the instant (R-2.33), names those of today.  Periods
-- are days of the time zone of each pipeline: since is the first one, until the
-- first one after it.  A report that is split by a column takes a tracked one as
-- it was at the time in question, and for closed deals at their closing; any
-- other from the present row.
-------------------------------------------------------------------------------

-- Each stage of each pipeline as it was defined at an instant.  The first
-- version of a definition counts for all times before it; from now on, what
-- stands there now does.
CREATE FUNCTION pipelines._stages_at(at timestamptz)
RETURNS TABLE (pipeline_id integer, pipeline_name text, layout_id integer, time_zone text, stage_id integer, stage_name text,
	"position" integer, outcome text, probability numeric, forecast_category text, mandatory boolean,
	stall_limit interval, stall_basis text, stall_time text, calendar text, archived boolean, merged_into integer,
	entry_rule text, exit_rule text, pipeline_archived boolean)
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000 ROWS 100
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT ps.pipeline_id, p.name, p.layout_id, coalesce(p.time_zone, current_setting('TimeZone')),
		   ps.stage_id, s.name,
		   coalesce(h.position, ps.position), coalesce(h.outcome, ps.outcome), coalesce(h.probability, ps.probability),
		   coalesce(h.forecast_category, ps.forecast_category), coalesce(h.mandatory, ps.mandatory),
		   CASE WHEN h.pipeline_id IS NULL THEN ps.stall_limit ELSE h.stall_limit END, coalesce(h.stall_basis, ps.stall_basis),
		   coalesce(h.stall_time, ps.stall_time),
		   (SELECT k.name FROM pipelines.fiscal_calendar k WHERE k.calendar_id = p.calendar_id),
		   CASE WHEN h.pipeline_id IS NULL THEN ps.archived_at IS NOT NULL ELSE h.archived_at IS NOT NULL END,
		   CASE WHEN h.pipeline_id IS NULL THEN ps.merged_into ELSE h.merged_into END,
		   CASE WHEN h.pipeline_id IS NULL THEN ps.entry_rule ELSE h.entry_rule END,
		   CASE WHEN h.pipeline_id IS NULL THEN ps.exit_rule ELSE h.exit_rule END,
		   p.archived_at IS NOT NULL AND p.archived_at <= $1
	FROM pipelines.pipeline_stage ps
	JOIN pipelines.pipeline p ON p.pipeline_id = ps.pipeline_id
	JOIN pipelines.stage s ON s.stage_id = ps.stage_id
	LEFT JOIN pipelines.pipeline_stage_history h
		ON h.pipeline_id = ps.pipeline_id AND h.stage_id = ps.stage_id
		AND $1 < now() AND h.valid_to > $1 AND (h.valid_from <= $1 OR h.version = 1)
$$;
COMMENT ON FUNCTION pipelines._stages_at(timestamptz) IS
	'The stages of all pipelines as they were defined at an instant, with the present names.';

-- What happened is judged by the outcomes of then (R-2.34).  They are the same for
-- all times, but for stages that were given another one.
CREATE FUNCTION pipelines._outcome_eras()
RETURNS timestamptz[]
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT array_agg(DISTINCT v.valid_to ORDER BY v.valid_to)
	FROM (SELECT h.valid_to, h.outcome, lead(h.outcome) OVER (PARTITION BY h.pipeline_id, h.stage_id ORDER BY h.version) AS later,
				 (SELECT ps.outcome FROM pipelines.pipeline_stage ps WHERE ps.pipeline_id = h.pipeline_id AND ps.stage_id = h.stage_id) AS last
		  FROM pipelines.pipeline_stage_history h) v
	WHERE v.outcome <> coalesce(v.later, v.last)
$$;
COMMENT ON FUNCTION pipelines._outcome_eras() IS
	'The instants at which stages were given other outcomes, in ascending order; NULL: none ever was.  width_bucket() tells the era of an instant.';

CREATE FUNCTION pipelines._outcomes_in(eras timestamptz[], at timestamptz)
RETURNS TABLE (era integer, pipeline_id integer, stage_id integer, outcome text)
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000 ROWS 100
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT e.n, s.pipeline_id, s.stage_id, s.outcome
	FROM (SELECT 0 AS n, CASE WHEN $1 IS NULL THEN $2 ELSE '-infinity' END AS at
		  UNION ALL
		  SELECT u.n::integer, u.at FROM unnest($1) WITH ORDINALITY u(at, n)) e
	CROSS JOIN LATERAL pipelines._stages_at(e.at) s
$$;
COMMENT ON FUNCTION pipelines._outcomes_in(timestamptz[], timestamptz) IS
	'The outcome of each stage in each of the eras; without eras, at an instant, as era 0.';

-- The key of a deal in a row of T (alias) or of its history, as one value.
CREATE FUNCTION pipelines._key_as_text(deals regclass, alias text, of_history boolean DEFAULT false)
RETURNS text
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 2000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format(CASE count(*) WHEN 1 THEN 'CAST(%s AS text)' ELSE 'CAST(ROW(%s) AS text)' END,
				  string_agg(format('%s.%I', $2, CASE WHEN $3 THEN m.history_column ELSE m.column_name END), ', ' ORDER BY m.n))
	FROM pipelines._roles($1) m
	WHERE m.role ~ '^key[1-9]'
$$;
COMMENT ON FUNCTION pipelines._key_as_text(regclass, text, boolean) IS
	'The text form of a deal''s key, as SQL text.';

-- bigint where the key is one number: the cheapest to compare.
CREATE FUNCTION pipelines._key_is_number(deals regclass)
RETURNS boolean
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 2000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT count(*) = 1 AND bool_and(a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype))
	FROM pipelines._roles($1) m
	JOIN pg_attribute a ON a.attrelid = $1 AND a.attname = m.column_name AND a.attnum > 0
	WHERE m.role ~ '^key[1-9]'
$$;
COMMENT ON FUNCTION pipelines._key_is_number(regclass) IS
	'Is the key of a deals table one integer?';

-- A key that is deleted and comes back is another deal: its versions count on, and
-- so do its episodes, but it has nothing else of its earlier lives (R-2.36).
CREATE FUNCTION pipelines._returned(deals regclass)
RETURNS boolean
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	-- compared, and not equal, so that each deletion looks for its own key, and
	-- not all of them for any
	query CONSTANT text := (
		SELECT format('SELECT EXISTS (SELECT FROM %1$s l WHERE l.%2$I = ''delete'' AND (EXISTS (SELECT FROM %3$s d WHERE %4$s AND %5$s > l.%6$I)
			OR EXISTS (SELECT FROM %1$s h WHERE %7$s AND h.%6$I > l.%6$I)))',
			t.history, pipelines._own_column(t.history, 'change'), t.relation, pipelines._key_match(deals, 'l', 'd'),
			pipelines._column(deals, 'version'), pipelines._own_column(t.history, 'version'), pipelines._versions_match(deals, 'h', 'l'))
		FROM pipelines.tracked_table t
		WHERE t.relation = _returned.deals);
	result boolean := false;
BEGIN
	IF query IS NOT NULL THEN
		EXECUTE query INTO result;
	END IF;
	RETURN result;
END
$$;
COMMENT ON FUNCTION pipelines._returned(regclass) IS
	'Did any key of a deals table come back after its deal was deleted?  Fast by the index on the deletions of the history.';

-- Which life of its key a version is of, from 0 on; l is what this joins to it.
CREATE FUNCTION pipelines._life(deals regclass, alias text, of_history boolean, OUT expression text, OUT joined text)
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('coalesce(width_bucket(%s.%I - 1, l.ends_), 0)', $2,
			CASE WHEN $3 THEN pipelines._own_column(t.history, 'version') ELSE max(m.column_name::text) FILTER (WHERE m.role = 'version') END),
		format(' LEFT JOIN (SELECT %1$s, array_agg(e.%2$I ORDER BY e.%2$I) FROM %3$s e WHERE e.%4$I = ''delete'' GROUP BY %1$s) l(%5$s, ends_) ON %6$s',
			string_agg(format('e.%I', m.history_column), ', ' ORDER BY m.n) FILTER (WHERE m.role ~ '^key[1-9]'),
			pipelines._own_column(t.history, 'version'), t.history, pipelines._own_column(t.history, 'change'),
			string_agg(m.role, ', ' ORDER BY m.n) FILTER (WHERE m.role ~ '^key[1-9]'),
			string_agg(format('l.%s = %s.%I', m.role, $2, CASE WHEN $3 THEN m.history_column ELSE m.column_name END), ' AND ' ORDER BY m.n)
				FILTER (WHERE m.role ~ '^key[1-9]'))
	FROM pipelines.tracked_table t, pipelines._roles($1) m
	WHERE t.relation = $1
	GROUP BY t.history
$$;
COMMENT ON FUNCTION pipelines._life(regclass, text, boolean) IS
	'Which life of its key a row is of, as SQL text, and the join (l) that it needs.';

-- The present row says nothing of a life of its key that has ended: so that a
-- version (h) is of the present one, and what has to be joined to it (g) to know.
CREATE FUNCTION pipelines._of_present_life(deals regclass, OUT condition text, OUT joined text)
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format(' AND h.%I > coalesce(g.last, 0)', k.version),
		format(' LEFT JOIN (SELECT %1$s, max(e.%2$I) FROM %3$s e WHERE e.%4$I = ''delete'' GROUP BY %1$s) g(%5$s, last) ON %6$s',
			k.list, k.version, t.history, pipelines._own_column(t.history, 'change'), k.names, k.matches)
	FROM pipelines.tracked_table t
	CROSS JOIN LATERAL (
		SELECT pipelines._own_column(t.history, 'version') AS version, string_agg(format('e.%I', m.history_column), ', ' ORDER BY m.n) AS list,
			string_agg(m.role, ', ' ORDER BY m.n) AS names, string_agg(format('g.%s = h.%I', m.role, m.history_column), ' AND ' ORDER BY m.n) AS matches
		FROM pipelines._roles($1) m WHERE m.role ~ '^key[1-9]') k
	WHERE t.relation = $1 AND pipelines._returned($1)
$$;
COMMENT ON FUNCTION pipelines._of_present_life(regclass) IS
	'The condition that a version is of the life that its key has now, and the join (g) that it needs, as SQL text; NULL if no key came back.';

-- The key by which the rows of a deal (d, or h of the history) are put together.
-- lives: and those of each life of a key by themselves.
CREATE FUNCTION pipelines._report_key(deals regclass, of_history boolean, lives boolean DEFAULT false)
RETURNS text
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN $3 THEN format('(%s || ''#'' || %s)', pipelines._key_as_text($1, x.alias, $2), (pipelines._life($1, x.alias, $2)).expression)
				WHEN pipelines._key_is_number($1) THEN format('CAST(%s AS bigint)', pipelines._column($1, 'key1', NULL, $2))
				ELSE pipelines._key_as_text($1, x.alias, $2) END
	FROM (VALUES (CASE WHEN $2 THEN 'h' ELSE 'd' END)) x(alias)
$$;
COMMENT ON FUNCTION pipelines._report_key(regclass, boolean, boolean) IS
	'The key of a deal as SQL text: a bigint, or a text where keys are no numbers, or which life it is counts.';

CREATE FUNCTION pipelines._key_match(deals regclass, history text, row_alias text)
RETURNS text
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 2000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT string_agg(format('%s.%I = %s.%I', $2, m.history_column, $3, m.column_name), ' AND ' ORDER BY m.n)
	FROM pipelines._roles($1) m
	WHERE m.role ~ '^key[1-9]'
$$;
COMMENT ON FUNCTION pipelines._key_match(regclass, text, text) IS
	'The condition that a row of the history and a row of T are of one deal, as SQL text.';

CREATE FUNCTION pipelines._versions_match(deals regclass, one text, other text)
RETURNS text
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 2000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT string_agg(format('%1$s.%3$I = %2$s.%3$I', $2, $3, m.history_column), ' AND ' ORDER BY m.n)
	FROM pipelines._roles($1) m
	WHERE m.role ~ '^key[1-9]'
$$;
COMMENT ON FUNCTION pipelines._versions_match(regclass, text, text) IS
	'The condition that two rows of the history are of one deal, as SQL text.';

-- The key that a caller named, as a condition that an index can use.  $4 of the
-- query is then the list of its values.
CREATE FUNCTION pipelines._key_is(deals regclass, alias text, of_history boolean, parameter text)
RETURNS text
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 2000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT string_agg(format('%s.%I = CAST((%s)[%s] AS %s)', $2, CASE WHEN $3 THEN m.history_column ELSE m.column_name END,
							 $4, substr(m.role, 4), pipelines._base_type(a.atttypid, a.atttypmod)), ' AND ' ORDER BY m.n)
	FROM pipelines._roles($1) m
	JOIN pg_attribute a ON a.attrelid = $1 AND a.attname = m.column_name AND a.attnum > 0
	WHERE m.role ~ '^key[1-9]'
$$;
COMMENT ON FUNCTION pipelines._key_is(regclass, text, boolean, text) IS
	'The condition that a row is that of a deal whose key is in a list of texts, as SQL text.';

-- For a query over the history that is told a key by its parameters.
CREATE FUNCTION pipelines._key_parameters(deals regclass, history text, row_alias text, of_history boolean,
	OUT many integer, OUT matches text, OUT keys text)
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 2000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT count(*)::integer, string_agg(format('%s.%I = $%s', $2, m.history_column, m.place), ' AND ' ORDER BY m.n),
		string_agg(format('%s.%I', $3, CASE WHEN $4 THEN m.history_column ELSE m.column_name END), ', ' ORDER BY m.n)
	FROM (SELECT r.n, r.column_name, r.history_column, row_number() OVER (ORDER BY r.n) AS place
		  FROM pipelines._roles($1) r WHERE r.role ~ '^key[1-9]') m
$$;
COMMENT ON FUNCTION pipelines._key_parameters(regclass, text, text, boolean) IS
	'The key of a deals table as SQL text: how many columns it has, the condition that the history (by an alias) has the key of the parameters $1 and so on, and the columns to be given, of a deal or (of_history) a version by its alias.';

-- The deals at an instant that is past ($1, unless it is given as text), in the
-- form of T: tracked columns as they were, the others from the present row, if
-- there is one, and of the same life of the key.  Which rows are deals is asked of what stands there then; one that
-- doesn't say, since its columns weren't tracked yet or the deal is gone, is one.
CREATE FUNCTION pipelines._past_source(deals regclass, instant text DEFAULT '$1')
RETURNS text
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('(SELECT %1$s FROM pipelines.as_of(CAST(NULL AS %2$s), %3$s) a%4$s LEFT JOIN %2$s c ON %5$s%6$s%7$s)',
		x.list, $1, $2, life.joined, k.matches,
		-- all lives but that of the present row have ended
		CASE WHEN life.expression IS NOT NULL
			 THEN format(' AND %s = coalesce(cardinality(l.ends_), 0)', life.expression) END,
		-- asked where nothing but the columns of T has a name
		CASE WHEN t.live IS NOT NULL
			 THEN format(E' CROSS JOIN LATERAL (SELECT (%s\n) AS met FROM (SELECT %s) x) m WHERE coalesce(m.met, %s)', t.live, x.list,
				CASE WHEN pipelines._live_is_tracked($1) THEN 'true' ELSE format('%s IS NULL', k.first) END) END)
	FROM pipelines.tracked_table t
	CROSS JOIN (SELECT string_agg(format('a.%1$I = c.%1$I', m.column_name), ' AND ' ORDER BY m.n) AS matches,
					   min(format('c.%I', m.column_name)) AS first
				FROM pipelines._roles($1) m WHERE m.role ~ '^key[1-9]') k
	LEFT JOIN pipelines._life($1, 'a', false) life ON pipelines._returned($1)
	CROSS JOIN LATERAL (
		SELECT string_agg(CASE
			WHEN m.role ~ '^key[1-9]' OR m.role IN ('version', 'changed_at') OR m.history_column IS NOT NULL
				OR EXISTS (SELECT FROM pg_attribute h WHERE h.attrelid = t.history AND h.attname = a.attname AND h.attnum > 0 AND NOT h.attisdropped)
			THEN format('a.%I', a.attname)
			WHEN m.role = 'created_at'
			-- as a subquery it would leave all of the report to one process
			THEN format('coalesce(c.%1$I, pipelines._lookup_instant(%2$L, %3$s, %4$s)) AS %1$I', a.attname,
						format('SELECT f.%I FROM %s f WHERE %s AND f.%I = $%s', pipelines._own_column(t.history, 'valid_from'), t.history,
							   f.matches, pipelines._own_column(t.history, 'version'), f.many + 1),
						f.keys, CASE WHEN life.expression IS NULL THEN '1' ELSE format('coalesce(l.ends_[%s], 0) + 1', life.expression) END)
			ELSE format('c.%I', a.attname) END, ', ' ORDER BY a.attnum) AS list
		FROM pipelines.tracked_table t
		JOIN pg_attribute a ON a.attrelid = t.relation AND a.attnum > 0 AND NOT a.attisdropped
		LEFT JOIN pipelines._roles($1) m ON m.column_name = a.attname
		CROSS JOIN pipelines._key_parameters($1, 'f', 'a', false) f
		WHERE t.relation = $1) x
	WHERE t.relation = $1
$$;
COMMENT ON FUNCTION pipelines._past_source(regclass, text) IS
	'What stands after FROM for the deals as they were at an instant, as SQL text.';

-- The history, without the versions that say that they are no deals; of what it
-- doesn't know, the present row says it.
CREATE FUNCTION pipelines._history_source(deals regclass)
RETURNS text
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN t.live IS NULL THEN t.history::text
				ELSE format('(SELECT h.* FROM %s WHERE c2.met)', pipelines._bridge_from($1, true, NULL)) END
	FROM pipelines.tracked_table t
	WHERE t.relation = $1
$$;
COMMENT ON FUNCTION pipelines._history_source(regclass) IS
	'What stands after FROM for the versions of deals that have ended, as SQL text.';

-- What a report is split by, as text: a column by its part or its name, else an
-- expression over the columns of T.  name: the column, NULL for an expression;
-- history: where the history has it, NULL if it hasn't.
CREATE FUNCTION pipelines._dimension(deals regclass, by text)
RETURNS TABLE (name name, history name, expression text)
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000 ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	past regclass;
BEGIN
	IF _dimension.by IS NULL THEN
		RETURN QUERY SELECT NULL::name, NULL::name, 'CAST(NULL AS text)';
		RETURN;
	END IF;
	SELECT t.history INTO past FROM pipelines.tracked_table t WHERE t.relation = _dimension.deals;
	SELECT m.column_name, m.history_column INTO name, history
	FROM pipelines._roles(_dimension.deals) m
	WHERE m.role = _dimension.by AND m.column_name IS NOT NULL AND m.role <> 'version';
	IF NOT FOUND THEN
		SELECT a.attname, h.attname INTO name, history
		FROM pg_attribute a
		LEFT JOIN pipelines._roles(_dimension.deals) m ON m.column_name = a.attname
		LEFT JOIN pg_attribute h
			ON h.attrelid = past AND h.attnum > 0 AND NOT h.attisdropped
			AND h.attname = coalesce(m.history_column, CASE WHEN m.role IS NULL THEN a.attname END)
		WHERE a.attrelid = _dimension.deals AND a.attname = _dimension.by AND a.attnum > 0 AND NOT a.attisdropped;
	END IF;
	IF name IS NOT NULL THEN
		expression := pipelines._text_of(_dimension.deals, 'd', name);
	ELSE
		-- with d before each column
		expression := pipelines._deal_expression(_dimension.deals, _dimension.by, 'text'::regtype, 'what the report is split by');
	END IF;
	RETURN NEXT;
END
$$;
COMMENT ON FUNCTION pipelines._dimension(regclass, text) IS
	'The column or expression that a report is split by.  Raises 42601 for what is no SQL, 42703 for what is no column, 0A000 for more than an expression may use.';

-- Volatile, though it only reads: what is split by it is then a column like any
-- other to the planner, which else expects as many groups as there are keys.
CREATE FUNCTION pipelines._lookup(query text, VARIADIC parameters "any") RETURNS text
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL SAFE COST 1000
AS 'MODULE_PATHNAME', 'pipelines_lookup';
COMMENT ON FUNCTION pipelines._lookup(text, "any") IS
	'The first row of a query for one text, which may only read; $1 and so on are the parameters.  With the rights of the caller.  Raises 42804 for other queries, 42P18 for a parameter without a type.';

-- Not volatile: the planner may leave it out where nobody wants to know.
CREATE FUNCTION pipelines._lookup_instant(query text, VARIADIC parameters "any") RETURNS timestamptz
LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000
AS 'MODULE_PATHNAME', 'pipelines_lookup';
COMMENT ON FUNCTION pipelines._lookup_instant(text, "any") IS
	'The first row of a query for one instant, which may only read; $1 and so on are the parameters.  With the rights of the caller.  Raises 42804 for other queries, 42P18 for a parameter without a type.';

-- The same for a row of T or of the past (d), at the time that counts: a closed
-- deal that was changed after its closing says what it said then.
CREATE FUNCTION pipelines._dimension_of_row(deals regclass, by text)
RETURNS text
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN x.history IS NULL THEN x.expression
		ELSE format('CASE WHEN %1$s IS NOT NULL AND %2$s IS DISTINCT FROM %1$s THEN pipelines._lookup(%3$L::text, %4$s, %5$s, %6$s, %1$s, %7$s) ELSE %7$s END',
			pipelines._column($1, 'closed_at'), pipelines._column($1, 'changed_at'),
			format('SELECT v.value FROM (SELECT h.%1$I AS version, %2$s AS value FROM %3$s h WHERE %4$s AND h.%1$I < $%5$s AND %6$s = $%7$s AND %8$s = $%9$s
				UNION ALL SELECT $%5$s, $%10$s) v ORDER BY v.version LIMIT 1',
				pipelines._own_column(t.history, 'version'), pipelines._text_of(t.history, 'h', x.history), t.history, k.matches, k.many + 1,
				pipelines._column($1, 'episode', NULL, true), k.many + 2, pipelines._column($1, 'closed_at', NULL, true), k.many + 3, k.many + 4),
			k.keys, pipelines._column($1, 'version'), pipelines._column($1, 'episode'), x.expression) END
	FROM pipelines.tracked_table t
	CROSS JOIN pipelines._dimension($1, $2) x
	CROSS JOIN pipelines._key_parameters($1, 'h', 'd', false) k
	WHERE t.relation = $1
$$;
COMMENT ON FUNCTION pipelines._dimension_of_row(regclass, text) IS
	'What a report is split by, of a deal, as SQL text.';

-- The same for a row of the history (h): a column that is tracked as it was, any
-- other, and an expression, from the present row (p) of that life, which is to be
-- joined.
CREATE FUNCTION pipelines._dimension_of_past(deals regclass, by text, OUT expression text, OUT joined text)
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN $2 IS NULL THEN 'CAST(NULL AS text)' WHEN x.history IS NULL THEN 'p.by_' ELSE pipelines._text_of((SELECT t.history FROM pipelines.tracked_table t WHERE t.relation = $1), 'h', x.history) END,
		CASE WHEN $2 IS NOT NULL AND x.history IS NULL
			 THEN format('%s LEFT JOIN (SELECT %s, %s FROM %s d) p(%s, by_) ON %s%s', life.joined, k.list, x.expression, $1, k.names, k.matches, life.condition)
			 ELSE '' END
	FROM pipelines._dimension($1, $2) x
	CROSS JOIN pipelines._of_present_life($1) life
	CROSS JOIN (SELECT string_agg(format('d.%I', m.column_name), ', ' ORDER BY m.n) AS list, string_agg(m.role, ', ' ORDER BY m.n) AS names,
					   string_agg(format('h.%I = p.%s', m.history_column, m.role), ' AND ' ORDER BY m.n) AS matches
				FROM pipelines._roles($1) m WHERE m.role ~ '^key[1-9]') k
$$;
COMMENT ON FUNCTION pipelines._dimension_of_past(regclass, text) IS
	'What a report is split by, of a row of the history, and the join that it needs, as SQL text.';

-- One row per deal as it was at the instant $1.  open_only: those that are closed
-- don't matter; then no closing has to be looked for, which only one process could.
-- lives: key_ is of one life of a key; to be asked for only if any came back.
CREATE FUNCTION pipelines._rows_at(deals regclass, by text, past boolean, open_only boolean DEFAULT false, lives boolean DEFAULT false)
RETURNS text
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('SELECT %s, %s AS by_ FROM %s d%s', x.list,
				  CASE WHEN $4 THEN (SELECT y.expression FROM pipelines._dimension($1, $2) y) ELSE pipelines._dimension_of_row($1, $2) END,
				  CASE WHEN $3 THEN pipelines._past_source($1) ELSE pipelines._deals_source($1, NULL::name[]) END,
				  CASE WHEN $5 THEN (pipelines._life($1, 'd', false)).joined ELSE '' END)
	FROM (
		SELECT format('%s AS key_, ', pipelines._report_key($1, false, $5))
			|| string_agg(format('%s AS %s_', CASE WHEN r.role = 'currency'
											  THEN format('coalesce(%s, %s)', pipelines._column($1, r.role, r.type),
														  (SELECT quote_nullable(t.currency) || '::text' FROM pipelines.tracked_table t WHERE t.relation = $1))
											  ELSE pipelines._column($1, r.role, r.type) END, r.role), ', ') AS list
		FROM (VALUES ('version', NULL), ('episode', NULL), ('pipeline_id', NULL), ('stage_id', NULL), ('furthest_stage_id', NULL),
				('stage_entered_at', NULL), ('changed_at', NULL), ('created_at', 'timestamptz'), ('closed_at', 'timestamptz'),
				('closed_on', 'date'), ('expected_close_on', 'date'), ('next_action_at', 'timestamptz'), ('amount', 'numeric'),
				('currency', 'text'), ('owner', 'text'), ('probability', 'numeric'), ('forecast_category', 'text')) r(role, type)
	) x
$$;
COMMENT ON FUNCTION pipelines._rows_at(regclass, text, boolean, boolean, boolean) IS
	'The deals as they were at the instant $1 (past: it is not the present), as SQL text.  Columns: the roles, each with _ behind it, key_ and by_.';

-- The stays that had ended by the instant $1, and those that ran then.
-- ended_only: without the latter; extra: further columns of the history (h);
-- lives: as of _rows_at().
CREATE FUNCTION pipelines._stays_at(deals regclass, by text, past boolean, ended_only boolean DEFAULT false, extra text DEFAULT '',
									also text DEFAULT NULL, lives boolean DEFAULT false)
RETURNS text
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format($sql$SELECT %1$s AS key_, h.%2$I AS version_, %3$s AS episode_, %4$s AS pipeline_id_, %5$s AS stage_id_,
			%6$s AS entered_, h.%7$I AS exited_, %8$s IS NOT NULL AS closed_, h.%9$I AS change_, %10$s AS by_%15$s
		FROM %11$s h%12$s
		WHERE ((%13$s)%14$s%16$s)$sql$,
		pipelines._report_key($1, true, $7),
		pipelines._own_column(t.history, 'version'), pipelines._column($1, 'episode', NULL, true),
		pipelines._column($1, 'pipeline_id', NULL, true), pipelines._column($1, 'stage_id', NULL, true),
		pipelines._column($1, 'stage_entered_at', NULL, true), pipelines._own_column(t.history, 'valid_to'),
		pipelines._column($1, 'closed_at', NULL, true), pipelines._own_column(t.history, 'change'),
		x.expression,
		pipelines._history_source($1),
		x.joined || CASE WHEN $7 THEN (pipelines._life($1, 'h', true)).joined ELSE '' END,
		pipelines._visit_ends($1),
		CASE WHEN $3 THEN format(' AND h.%I <= $1', pipelines._own_column(t.history, 'valid_to')) ELSE '' END, $5,
		' OR ' || $6)
		|| CASE WHEN $4 THEN '' ELSE format($sql$
		UNION ALL
		SELECT r.key_, r.version_, r.episode_, r.pipeline_id_, r.stage_id_, r.stage_entered_at_, CAST(NULL AS timestamptz),
			r.closed_at_ IS NOT NULL, CAST(NULL AS text), r.by_
		FROM (%s) r$sql$, pipelines._rows_at($1, $2, $3, lives => $7)) END
	FROM pipelines.tracked_table t, pipelines._dimension_of_past($1, $2) x
	WHERE t.relation = $1
$$;
COMMENT ON FUNCTION pipelines._stays_at(regclass, text, boolean, boolean, text, text, boolean) IS
	'The stays in stages as they were known at the instant $1 (past: it is not the present), as SQL text.  Columns key_, version_, episode_, pipeline_id_, stage_id_, entered_, exited_ (NULL: it runs), closed_, change_, by_, and what extra adds. also: a condition for further versions of the history.';

-- The pipeline that a report is limited to, NULL for NULL; an error for what is
-- no table of deals.
CREATE FUNCTION pipelines._report_pipeline(deals regclass, pipeline text)
RETURNS integer
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM FROM pipelines._roles(deals);
	IF pipeline IS NULL THEN
		RETURN NULL;
	END IF;
	RETURN pipelines.pipeline_id(pipeline, (SELECT l.name FROM pipelines.tracked_table t
											JOIN pipelines.layout l ON l.layout_id = t.layout_id
											WHERE t.relation = _report_pipeline.deals));
END
$$;
COMMENT ON FUNCTION pipelines._report_pipeline(regclass, text) IS
	'The pipeline of a report by its name, code or id.';

-- measured: it tells how long something has lasted by then.
CREATE FUNCTION pipelines._is_past(as_of timestamptz, measured boolean DEFAULT false)
RETURNS boolean
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF as_of IS NULL THEN
		RAISE EXCEPTION 'as_of must not be null'
			USING ERRCODE = 'null_value_not_allowed', HINT = 'Leave it out for the present.';
	END IF;
	IF measured AND as_of = 'infinity' THEN
		RAISE EXCEPTION 'as_of can''t be infinity'
			USING ERRCODE = 'invalid_parameter_value', HINT = 'Give an instant: how long it is until the end of time can''t be told.';
	END IF;
	RETURN as_of < now();
END
$$;
COMMENT ON FUNCTION pipelines._is_past(timestamptz, boolean) IS
	'Is the instant of a report in the past?  Raises 22004 for NULL, and 22023 for infinity where times up to it are measured.';

-- Changes bear the instant at which their transaction made its first one: those of
-- the transaction that asks, and of others that were committed since it began, lie
-- after its now().
CREATE FUNCTION pipelines._up_to(as_of timestamptz) RETURNS timestamptz
LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 1
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN $1 >= now() THEN greatest($1, clock_timestamp()) ELSE $1 END
$$;
COMMENT ON FUNCTION pipelines._up_to(timestamptz) IS
	'The instant up to which a report counts what happened: as_of, but for the present all that the caller sees.';

-- An argument that is one of a few words.
CREATE FUNCTION pipelines._check_word(argument text, value text, words text[])
RETURNS void
LANGUAGE plpgsql IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF value IS NULL OR value <> ALL (words) THEN
		RAISE EXCEPTION '% can''t be %', argument, coalesce(quote_literal(value), 'null')
			USING ERRCODE = 'invalid_parameter_value',
				  HINT = format('It is one of: %s.', array_to_string(words, ', '));
	END IF;
END
$$;
COMMENT ON FUNCTION pipelines._check_word(text, text, text[]) IS
	'Raises 22023 for an argument that is not one of a few words.';

-- Counts and sums of groups of rows: see sums.c.

CREATE FUNCTION pipelines._sums_add(bytea, keys integer, VARIADIC "values" "any") RETURNS bytea
LANGUAGE C IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1
AS 'MODULE_PATHNAME', 'pipelines_sums_add';
COMMENT ON FUNCTION pipelines._sums_add(bytea, integer, "any") IS
	'Transition function of _sums.';

CREATE FUNCTION pipelines._tenths_add(bytea, keys integer, VARIADIC "values" "any") RETURNS bytea
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1
AS 'MODULE_PATHNAME', 'pipelines_tenths_add';
COMMENT ON FUNCTION pipelines._tenths_add(bytea, integer, "any") IS
	'Transition function of _tenths.';

CREATE FUNCTION pipelines._sums_combine(bytea, bytea) RETURNS bytea
LANGUAGE C IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1
AS 'MODULE_PATHNAME', 'pipelines_sums_combine';
COMMENT ON FUNCTION pipelines._sums_combine(bytea, bytea) IS
	'Combine function of _sums and _tenths.  Raises 22P03 for what is no state of theirs, 22023 for states of other keys and values.';

CREATE AGGREGATE pipelines._sums(keys integer, VARIADIC "values" "any") (
	SFUNC = pipelines._sums_add,
	STYPE = bytea,
	COMBINEFUNC = pipelines._sums_combine,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE pipelines._sums(integer, "any") IS
	'What GROUP BY with count() and sum() says, in much less time where groups are few: the first of the other arguments, as many as keys says (at most 16), are what rows are grouped by (boolean, integer, bigint, text); the rest (at most 16) are added up (boolean, numeric, double precision).  For _sums_rows().  All groups are kept in memory.';

CREATE AGGREGATE pipelines._tenths(keys integer, VARIADIC "values" "any") (
	SFUNC = pipelines._tenths_add,
	STYPE = bytea,
	COMBINEFUNC = pipelines._sums_combine,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE pipelines._tenths(integer, "any") IS
	'As _sums(), but of each numeric not the sum: from which amount on an amount is in the largest tenth of its group, which is percentile_disc(0.9).  All amounts are kept in memory.';

CREATE FUNCTION pipelines._sums_rows(sums bytea) RETURNS SETOF record
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1000 ROWS 100
AS 'MODULE_PATHNAME', 'pipelines_sums_rows';
COMMENT ON FUNCTION pipelines._sums_rows(bytea) IS
	'The groups of _sums() or _tenths(), in no order: their keys; how many rows; of each value how many were not null, and their sum (bigint and the type of the value), of a boolean only how many were true.  Raises 42804 if the columns asked for are others, 22P03 for what doesn''t come from one of them.';

-- What is added up of amounts that are weighted later, by what a stage was at some
-- instants: with the deal's own probability, if it has one, multiplied at once;
-- and, if it says its category itself, apart from those that go by their stage's.
CREATE FUNCTION pipelines._weighable(amount text, probability text, category text, OUT "values" text, OUT columns text)
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 10
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('%1$s, CASE WHEN %2$s IS NULL AND %3$s IS NULL THEN %1$s END, CASE WHEN %3$s IS NULL THEN %1$s * %2$s END,
		CASE WHEN %2$s IS NULL AND %3$s <> ''omitted'' THEN %1$s END, CASE WHEN %3$s <> ''omitted'' THEN %1$s * %2$s END', $1, $2, $3),
		'priced bigint, amount numeric, plain bigint, plain_amount numeric, multiplied bigint, product numeric,
		said bigint, said_amount numeric, said_multiplied bigint, said_product numeric'
$$;
COMMENT ON FUNCTION pipelines._weighable(text, text, text) IS
	'Values for _sums() of an amount, its own probability and category, and the columns of _sums_rows() for them; all as SQL text.';
