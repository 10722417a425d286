-- insight.sql: the time machine, and the check of what it stands on.

-- the columns of a table of deals and of its history, by role
CREATE FUNCTION pipelines._layout_columns(deals pg_catalog.regclass,
		OUT role pg_catalog.text, OUT attnum pg_catalog.int2,
		OUT column_name pg_catalog.text,
		OUT history_attnum pg_catalog.int2, OUT history_column pg_catalog.text,
		OUT copied_as pg_catalog.text)
	RETURNS SETOF record
	LANGUAGE C STABLE STRICT PARALLEL SAFE COST 100 ROWS 50
	AS 'MODULE_PATHNAME', 'pipelines_layout_columns';
COMMENT ON FUNCTION pipelines._layout_columns(pg_catalog.regclass) IS
'Mapped columns of a table of deals: role, column, column of the history (NULL where there is none); roles beginning with @ are the columns that the history has of its own. Follows renames; copied_as is what the column of the history was called when the mapping was made (NULL: it has no role).';

CREATE FUNCTION pipelines._as_of_body(deals pg_catalog.regclass)
	RETURNS pg_catalog.text
	LANGUAGE C STABLE STRICT PARALLEL SAFE COST 100
	AS 'MODULE_PATHNAME', 'pipelines_as_of_body';
COMMENT ON FUNCTION pipelines._as_of_body(pg_catalog.regclass) IS
'Text of the query that answers as_of() for a table of deals; its parameter $1 is the instant.';

CREATE FUNCTION pipelines._as_of_covered(deals pg_catalog.regclass, at pg_catalog.timestamptz)
	RETURNS pg_catalog.bool
	LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10
	AS 'MODULE_PATHNAME', 'pipelines_as_of_covered';
COMMENT ON FUNCTION pipelines._as_of_covered(pg_catalog.regclass, pg_catalog.timestamptz) IS
'Error 22023 for an instant before the history of an adopted table begins; true otherwise.';

CREATE FUNCTION pipelines._as_of_cheap_support(pg_catalog.internal)
	RETURNS pg_catalog.internal
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1
	AS 'MODULE_PATHNAME', 'pipelines_as_of_cheap_support';
COMMENT ON FUNCTION pipelines._as_of_cheap_support(pg_catalog.internal) IS
'Planner support of _as_of_cheap(), which it answers.';

CREATE FUNCTION pipelines._as_of_cheap(at pg_catalog.timestamptz)
	RETURNS pg_catalog.bool
	LANGUAGE C IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1
	SUPPORT pipelines._as_of_cheap_support
	AS 'MODULE_PATHNAME', 'pipelines_as_of_cheap';
COMMENT ON FUNCTION pipelines._as_of_cheap(pg_catalog.timestamptz) IS
'Does an instant cost nothing to evaluate for each row (a constant, a parameter, a column)? Answered while planning as_of().';

CREATE FUNCTION pipelines._as_of_support(pg_catalog.internal)
	RETURNS pg_catalog.internal
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1
	AS 'MODULE_PATHNAME', 'pipelines_as_of_support';
COMMENT ON FUNCTION pipelines._as_of_support(pg_catalog.internal) IS
'Planner support of as_of(): replaces it by T_as_of(), which the planner inlines.';

CREATE FUNCTION pipelines.as_of(deals anyelement, at pg_catalog.timestamptz)
	RETURNS SETOF anyelement
	LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000 ROWS 100000
	SUPPORT pipelines._as_of_support
	AS 'MODULE_PATHNAME', 'pipelines_as_of';
COMMENT ON FUNCTION pipelines.as_of(anyelement, pg_catalog.timestamptz) IS
'The table of deals as it was: SELECT * FROM pipelines.as_of(NULL::deals, ''2026-10-01''). Final for instants before pipelines.settled_at(), provisional after it, while earlier writers have yet to commit. A transaction that had to wait for another one on one of its deals may be seen in part for the instants between the two; it is seen whole if it locked its deals before it changed the first one, or ran at REPEATABLE READ. Columns that are not tracked (name, account, created_at, created_by, attributes and your own) are NULL; one that was added by pipelines.track() is NULL before that. A NULL instant gives no rows. Error 22023 for an instant before an adopted table''s history begins. Runs with the rights of the caller, who needs SELECT on the history.';

CREATE FUNCTION pipelines.as_of(deals anyelement, at pg_catalog.timestamptz, known_at pg_catalog.timestamptz)
	RETURNS SETOF anyelement
	LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100000 ROWS 100000
	AS 'MODULE_PATHNAME', 'pipelines_as_of_known';
COMMENT ON FUNCTION pipelines.as_of(anyelement, pg_catalog.timestamptz, pg_catalog.timestamptz) IS
'The table of deals as it was at one instant, as was known at another: SELECT * FROM pipelines.as_of(NULL::deals, ''2026-07-01'', known_at => ''2026-07-01''). What was recorded later (recorded_at of the history) is left out: history imported since, changes with an earlier event_time; a version whose end was not known yet goes on. For live changes, and known_at not before at, the same as as_of(). A deal counts as known since its valid_from where nothing tells when it was recorded (made with an event_time, or imported with a single event), and not before the import where its past was imported. NULL, rights and errors as for as_of(); keeps the rows, so it takes longer.';

CREATE FUNCTION pipelines.settled_at()
	RETURNS pg_catalog.timestamptz
	LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED COST 100
	AS 'MODULE_PATHNAME', 'pipelines_settled_at';
COMMENT ON FUNCTION pipelines.settled_at() IS
'Instant before which as_of() is final: the start of the oldest transaction that is writing deals, or now. NULL when it can''t be known: a prepared transaction has written deals, a writer doesn''t report its state (track_activities = off), or this is a standby.';

-- Made anew whenever T's columns change; called by create_deals() and
-- rebuild_views(), as T's owner or a member.
CREATE FUNCTION pipelines._make_as_of(deals pg_catalog.regclass)
	RETURNS pg_catalog.void
	LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE COST 1000
	SET search_path = pg_catalog, pg_temp
	AS $function$
DECLARE
	class record;
	signature text;
BEGIN
	SELECT c.relname, n.nspname, c.relowner, r.rolname AS owner INTO STRICT class
	FROM pg_catalog.pg_class c
		JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		JOIN pg_catalog.pg_roles r ON r.oid = c.relowner
	WHERE c.oid = deals;
	-- a name that would be cut off: as_of() works without it, slower
	IF octet_length(class.relname || '_as_of') > 63 THEN
		RETURN;
	END IF;
	signature := format('%I.%I(timestamp with time zone)', class.nspname, class.relname || '_as_of');
	EXECUTE format('CREATE OR REPLACE FUNCTION %I.%I(at timestamp with time zone) RETURNS SETOF %I.%I '
		'LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000 ROWS 100000 AS %L',
		class.nspname, class.relname || '_as_of', class.nspname, class.relname,
		pipelines._as_of_body(deals));
	IF NOT EXISTS (SELECT FROM pg_catalog.pg_proc p
				   WHERE p.oid = signature::pg_catalog.regprocedure AND p.proowner = class.relowner) THEN
		EXECUTE format('ALTER FUNCTION %s OWNER TO %I', signature, class.owner);
	END IF;
	EXECUTE format('COMMENT ON FUNCTION %s IS %L', signature,
		format('%s as it was at an instant; pipelines.as_of(NULL::%s, at) is the same.', class.relname, class.relname));
END
$function$;
COMMENT ON FUNCTION pipelines._make_as_of(pg_catalog.regclass) IS
'Makes the SQL function T_as_of(timestamptz) beside a table of deals, which the planner uses for pipelines.as_of().';

-- The triggers that a table of deals, its history and their partitions must have.
CREATE FUNCTION pipelines._verify_triggers(deals pg_catalog.regclass, history pg_catalog.regclass,
		OUT problem pg_catalog.text, OUT expected pg_catalog.text, OUT found pg_catalog.text)
	RETURNS SETOF record
	LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 1000 ROWS 5
	SET search_path = pg_catalog, pg_temp
	AS $function$
	WITH part AS (
		-- a plain table is its own and only part
		SELECT w.root, coalesce(t.relid, w.root) AS relid
		FROM (VALUES ($1), ($2)) AS w(root)
			LEFT JOIN LATERAL pg_partition_tree(w.root) t ON true
			JOIN pg_catalog.pg_class c ON c.oid = coalesce(t.relid, w.root) AND c.relkind IN ('r', 'p')
	), wanted AS (
		-- type: ROW 1, BEFORE 2, INSERT 4, DELETE 8, UPDATE 16, TRUNCATE 32
		SELECT p.relid, w.name, w.type, w.function, w.always
		FROM (VALUES ($1, 'pipelines_columns', 18, '_columns', false, true),
				($1, pipelines._trigger_name()::text, 31, '_deal_before', false, false),
				($1, 'pipelines_after', 29, '_deal_after', false, false),
				($1, 'pipelines_turn', 26, '_deal_turn', false, false),
				($1, 'pipelines_truncate', 34, '_deal_truncate', false, false),
				($2, 'pipelines_columns', 18, '_columns', false, true),
				($2, 'pipelines_guard', 27, '_history_guard', true, false),
				($2, 'pipelines_guard_truncate', 34, '_history_guard', true, false))
				AS w(root, name, type, function, always, root_only)
			JOIN part p ON p.root = w.root AND (NOT w.root_only OR p.relid = w.root)
	)
	SELECT CASE WHEN t.oid IS NULL THEN 'trigger missing'
			WHEN t.tgtype <> w.type OR n.nspname <> 'pipelines' OR f.proname <> w.function THEN 'trigger altered'
			WHEN w.always THEN 'guard not enabled always'
			ELSE 'trigger disabled' END,
		format('trigger %I on %s%s', w.name, w.relid, CASE WHEN w.always THEN ', ENABLE ALWAYS' ELSE '' END),
		CASE WHEN t.oid IS NULL THEN 'none'
			WHEN t.tgtype <> w.type OR n.nspname <> 'pipelines' OR f.proname <> w.function THEN pg_get_triggerdef(t.oid)
			ELSE format('tgenabled %s', t.tgenabled) END
	FROM wanted w
		LEFT JOIN pg_catalog.pg_trigger t ON t.tgrelid = w.relid AND t.tgname = w.name
		LEFT JOIN pg_catalog.pg_proc f ON f.oid = t.tgfoid
		LEFT JOIN pg_catalog.pg_namespace n ON n.oid = f.pronamespace
	WHERE t.oid IS NULL OR t.tgtype <> w.type OR n.nspname <> 'pipelines' OR f.proname <> w.function
		OR t.tgenabled <> 'A' AND (w.always OR t.tgenabled <> 'O')
	ORDER BY w.relid::text, w.name
	$function$;
COMMENT ON FUNCTION pipelines._verify_triggers(pg_catalog.regclass, pg_catalog.regclass) IS
'Part of verify(): triggers that are missing, altered or not enabled as they must be.';

-- What _deal_before() and the writing of the history refuse to work with, among
-- other things: as long as there is such a row, changes of deals are errors, or
-- leave no trace.
CREATE FUNCTION pipelines._verify_shape(deals pg_catalog.regclass, history pg_catalog.regclass,
		OUT problem pg_catalog.text, OUT expected pg_catalog.text, OUT found pg_catalog.text)
	RETURNS SETOF record
	LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 1000 ROWS 5
	SET search_path = pg_catalog, pg_temp
	AS $function$
	WITH mapped AS MATERIALIZED (
		SELECT m.* FROM pipelines._layout_columns($1) m
	)
	SELECT 'inheritance child', 'declarative partitions, or none',
		format('%s, whose rows have no history', i.inhrelid::regclass)
	FROM pg_catalog.pg_inherits i
		JOIN pg_catalog.pg_class c ON c.oid = i.inhparent AND c.relkind = 'r'
	WHERE i.inhparent = $1
	UNION ALL
	SELECT 'history of another owner', format('%s owned by %s, as the deals are', $2, d.relowner::regrole),
		format('owned by %s; pipelines.resume(%L) gives it to the owner of the deals', h.relowner::regrole, $1::text)
	FROM pg_catalog.pg_class d, pg_catalog.pg_class h
	WHERE d.oid = $1 AND h.oid = $2 AND NOT pg_has_role(d.relowner, h.relowner, 'USAGE')
	UNION ALL
	SELECT 'column missing', format('a column of %s that is its %s', $1, m.role), 'none'
	FROM mapped m
	WHERE m.column_name IS NULL AND m.role !~ '^@'
	UNION ALL
	SELECT 'column missing', format('column %s of %s', substr(m.role, 2), $2), 'none'
	FROM mapped m
	WHERE m.history_column IS NULL AND m.role ~ '^@'
	UNION ALL
	SELECT 'column missing', format('column %I of %s, as %s has it', m.copied_as, $2, $1),
		format('none; pipelines.resume(%L) says what to do', $1::text)
	FROM mapped m
	WHERE m.history_column IS NULL AND m.copied_as IS NOT NULL AND m.column_name IS NOT NULL
	UNION ALL
	SELECT 'column missing', format('column %I of %s, as its history has it', a.attname, $1), 'none'
	FROM pg_catalog.pg_attribute a
	WHERE a.attrelid = $2 AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
		AND NOT EXISTS (SELECT FROM mapped m WHERE m.history_attnum = a.attnum)
	UNION ALL
	-- it may be called as it was, or as the column of the deals is called now
	SELECT 'column renamed', format('column %I of %s', m.copied_as, $2),
		format('%I; pipelines.resume(%L) renames it', m.history_column, $1::text)
	FROM mapped m
	WHERE m.history_column <> m.copied_as AND m.history_column <> m.column_name
	UNION ALL
	SELECT 'column has another type', format('column %I of %s with type %s, as %s has it', h.attname, $2, pipelines._plain_type(a.atttypid), $1),
		format('type %s; pipelines.resume(%L) says what to do', format_type(h.atttypid, NULL), $1::text)
	FROM mapped m
		JOIN pg_catalog.pg_attribute a ON a.attrelid = $1 AND a.attnum = m.attnum
		JOIN pg_catalog.pg_attribute h ON h.attrelid = $2 AND h.attnum = m.history_attnum
	WHERE h.atttypid <> a.atttypid AND format_type(h.atttypid, NULL) <> pipelines._plain_type(a.atttypid)
	UNION ALL
	SELECT 'column has another type', format('column %I of %s with type %s', h.attname, $2, format_type(c.type::regtype, NULL)),
		format('type %s', format_type(h.atttypid, NULL))
	FROM mapped m
		JOIN pipelines._history_columns() c ON '@' || c.name = m.role
		JOIN pg_catalog.pg_attribute h ON h.attrelid = $2 AND h.attnum = m.history_attnum
	WHERE h.atttypid <> c.type::regtype
	$function$;
COMMENT ON FUNCTION pipelines._verify_shape(pg_catalog.regclass, pg_catalog.regclass) IS
'Part of verify(): columns that are missing on one side, were renamed or have another type, a history of another owner, and children whose rows would be lost.';

-- The replay: each version against the one before it, in one pass over both
-- tables.  The present row is the last version.
CREATE FUNCTION pipelines._verify_query(deals pg_catalog.regclass, history pg_catalog.regclass)
	RETURNS pg_catalog.text
	LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 1000
	SET search_path = pg_catalog, pg_temp
	AS $function$
	WITH key AS (
		SELECT string_agg(format('h.%I AS k%s', history_column, substr(role, 4)), ', ' ORDER BY substr(role, 4)::integer) AS past,
			string_agg(format('d.%I AS k%s', column_name, substr(role, 4)), ', ' ORDER BY substr(role, 4)::integer) AS present,
			string_agg('v.k' || substr(role, 4), ', ' ORDER BY substr(role, 4)::integer) AS list,
			CASE count(*) WHEN 1 THEN 'v.k1::text'
				ELSE 'ROW(' || string_agg('v.k' || substr(role, 4), ', ' ORDER BY substr(role, 4)::integer) || ')::text' END AS text
		FROM pipelines._layout_columns($1) WHERE role ~ '^key[1-9]'
	), value AS (
		SELECT string_agg(format('%s AS %s', coalesce('h.' || quote_ident(m.history_column), 'NULL::' || w.type), w.name), ', ' ORDER BY w.n) AS past,
			string_agg(format('%s AS %s', coalesce('d.' || quote_ident(m.column_name), 'NULL::' || w.type), w.name), ', ' ORDER BY w.n) AS present
		FROM (VALUES (1, 'pipeline_id', 'p', 'integer'), (2, 'stage_id', 's', 'integer'), (3, 'stage_entered_at', 'entered_at', 'timestamptz'),
				(4, 'furthest_stage_id', 'furthest', 'integer'), (5, 'episode', 'episode', 'integer'),
				(6, 'closed_at', 'closed_at', 'timestamptz')) AS w(n, role, name, type)
			LEFT JOIN pipelines._layout_columns($1) m USING (role)
	), own AS (
		SELECT string_agg(format('h.%I AS %s', m.history_column, substr(m.role, 2)), ', ' ORDER BY m.role) AS past,
			string_agg(CASE m.role
				WHEN '@version' THEN (SELECT 'd.' || quote_ident(d.column_name) FROM pipelines._layout_columns($1) d WHERE d.role = 'version')
				WHEN '@valid_from' THEN (SELECT 'd.' || quote_ident(d.column_name) FROM pipelines._layout_columns($1) d WHERE d.role = 'changed_at')
				ELSE 'NULL' END, ', ' ORDER BY m.role) AS present
		FROM pipelines._layout_columns($1) m
		WHERE m.role IN ('@version', '@change', '@valid_from', '@valid_to', '@to_pipeline_id', '@to_stage_id')
	)
	SELECT format($query$
		WITH version AS (
			SELECT %1$s, %2$s, %3$s, false AS present FROM %4$s h
			UNION ALL
			SELECT %5$s, %6$s, %7$s, true FROM %8$s d
		), pair AS (
			SELECT v.*,
				lag(v.version) OVER k AS version0, lag(v.present) OVER k AS present0, lag(v.change) OVER k AS change0,
				lag(v.valid_to) OVER k AS valid_to0, lag(v.to_pipeline_id) OVER k AS to_p0, lag(v.to_stage_id) OVER k AS to_s0,
				lag(v.p) OVER k AS p0, lag(v.s) OVER k AS s0, lag(v.entered_at) OVER k AS entered_at0,
				lag(v.furthest) OVER k AS furthest0, lag(v.episode) OVER k AS episode0,
				lead(v.version) OVER k AS version1
			FROM version v
			WINDOW k AS (PARTITION BY %9$s ORDER BY v.version, v.present)
		), judged AS (
			SELECT v.*,
				-- is this the next version of the same life of the same deal?
				coalesce(NOT v.present0 AND v.version = v.version0 + 1 AND v.change0 <> 'delete', false) AS continues,
				coalesce(NOT v.present0 AND v.version = v.version0 + 1 AND v.change0 = 'delete', false) AS returns,
				s.outcome, s.stage_id IS NOT NULL AS defined, f.stage_id IS NOT NULL AS furthest_defined
			FROM pair v
				LEFT JOIN pipelines.pipeline_stage s ON v.present AND s.pipeline_id = v.p AND s.stage_id = v.s
				LEFT JOIN pipelines.pipeline_stage f ON v.present AND f.pipeline_id = v.p AND f.stage_id = v.furthest
		), checked AS (
			SELECT v.*,
				v.version0 IS NULL AND v.version <> 1 AS b1,
				coalesce(v.present0, false) AS b2,
				coalesce(NOT v.present0 AND v.version = v.version0, false) AS b3,
				coalesce(NOT v.present0 AND v.version > v.version0 + 1, false) AS b4,
				v.continues AND v.valid_from IS DISTINCT FROM v.valid_to0 AS b5,
				v.returns AND v.valid_from < v.valid_to0 AS b6,
				v.continues AND (v.p, v.s) IS DISTINCT FROM (v.to_p0, v.to_s0) AS b7,
				v.continues AND v.entered_at IS DISTINCT FROM
					CASE WHEN (v.p, v.s) IS NOT DISTINCT FROM (v.p0, v.s0) AND v.change0 NOT IN ('close', 'reopen')
						THEN v.entered_at0 ELSE v.valid_from END
					OR v.entered_at > v.valid_from AS b8,
				v.episode IS DISTINCT FROM CASE WHEN v.continues THEN v.episode0 + (v.change0 = 'reopen')::integer
					WHEN v.returns THEN v.episode0 + 1 WHEN v.version = 1 THEN 1 ELSE v.episode END AS b9,
				-- in another pipeline the stage that answers to the furthest one has another number
				v.continues AND v.p = v.p0 AND v.furthest IS DISTINCT FROM v.furthest0 AND v.furthest IS DISTINCT FROM v.s AS b10,
				NOT v.present AND v.version1 IS NULL AND v.change <> 'delete' AS b11,
				NOT v.present AND v.valid_from > v.valid_to AS b12,
				NOT v.present AND (v.change = 'delete') <> (v.to_pipeline_id IS NULL OR v.to_stage_id IS NULL) AS b13,
				v.present AND NOT v.defined AS b14,
				v.present AND NOT v.furthest_defined AS b15,
				v.present AND v.defined AND (v.outcome IN ('won', 'lost', 'disqualified', 'done')) <> (v.closed_at IS NOT NULL) AND %11$s AS b16,
				v.present AND v.valid_from > clock_timestamp() AS b17
			FROM judged v
		)
		SELECT %10$s, v.version, c.problem, c.expected, c.found
		FROM checked v
			CROSS JOIN LATERAL (VALUES
				(v.b1, 'history missing', 'versions from 1 on', format('version %%s first', v.version)),
				(v.b2, 'deal key occurs twice', 'one row', format('versions %%s and %%s', v.version0, v.version)),
				(v.b3, 'version occurs twice', (v.version0 + 1)::text, v.version::text),
				(v.b4, 'version missing', (v.version0 + 1)::text, v.version::text),
				(v.b5, 'versions do not meet in time', v.valid_to0::text, v.valid_from::text),
				(v.b6, 'life overlaps the one before it', 'not before ' || v.valid_to0, v.valid_from::text),
				(v.b7, 'history leads to another stage', format('pipeline %%s, stage %%s', coalesce(v.to_p0::text, 'null'), coalesce(v.to_s0::text, 'null')), format('pipeline %%s, stage %%s', v.p, v.s)),
				(v.b8, 'stage_entered_at differs from replay', CASE WHEN v.entered_at > v.valid_from THEN 'not after ' || v.valid_from
					WHEN (v.p, v.s) IS NOT DISTINCT FROM (v.p0, v.s0) AND v.change0 NOT IN ('close', 'reopen') THEN v.entered_at0::text ELSE v.valid_from::text END, v.entered_at::text),
				(v.b9, 'episode differs from replay', (CASE WHEN v.continues THEN v.episode0 + (v.change0 = 'reopen')::integer
					WHEN v.returns THEN v.episode0 + 1 ELSE 1 END)::text, v.episode::text),
				(v.b10, 'furthest stage differs from replay', format('stage %%s or %%s', v.furthest0, v.s), format('stage %%s', v.furthest)),
				(v.b11, 'deal missing', 'the deal, or a deletion', format('version %%s ended by %%s', v.version, v.change)),
				(v.b12, 'version ends before it begins', 'not before ' || v.valid_from, v.valid_to::text),
				(v.b13, 'change without a target, or a deletion with one', CASE WHEN v.change = 'delete' THEN 'none' ELSE 'pipeline and stage' END,
					format('pipeline %%s, stage %%s', coalesce(v.to_pipeline_id::text, 'null'), coalesce(v.to_stage_id::text, 'null'))),
				(v.b14, 'stage has no definition', 'a row of pipelines.pipeline_stage', format('pipeline %%s, stage %%s', v.p, v.s)),
				(v.b15, 'furthest stage has no definition', 'a row of pipelines.pipeline_stage', format('pipeline %%s, stage %%s', v.p, v.furthest)),
				(v.b16, 'closed_at does not agree with the stage', CASE WHEN v.closed_at IS NULL THEN 'an instant' ELSE 'none' END,
					coalesce(v.closed_at::text, 'none')),
				(v.b17, 'changed_at lies in the future', 'not after ' || clock_timestamp(), v.valid_from::text)
			) AS c(bad, problem, expected, found)
		WHERE (v.b1 OR v.b2 OR v.b3 OR v.b4 OR v.b5 OR v.b6 OR v.b7 OR v.b8 OR v.b9 OR v.b10 OR v.b11 OR v.b12 OR v.b13
			OR v.b14 OR v.b15 OR v.b16 OR v.b17) AND c.bad
		ORDER BY %9$s, v.version, c.problem
		$query$,
		key.past, value.past, own.past, $2, key.present, value.present, own.present, $1, key.list, key.text,
		CASE WHEN EXISTS (SELECT FROM pipelines._layout_columns($1) m WHERE m.role = 'closed_at' AND m.column_name IS NOT NULL)
			THEN 'true' ELSE 'false' END)
	FROM key, value, own
	$function$;
COMMENT ON FUNCTION pipelines._verify_query(pg_catalog.regclass, pg_catalog.regclass) IS
'Part of verify(): text of the query that replays the history of all deals against their rows.';

CREATE FUNCTION pipelines.verify(deals pg_catalog.regclass,
		OUT deal pg_catalog.text, OUT version pg_catalog.int4, OUT problem pg_catalog.text,
		OUT expected pg_catalog.text, OUT found pg_catalog.text)
	RETURNS SETOF record
	LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE COST 100000 ROWS 10
	SET search_path = pg_catalog, pg_temp
	AS $function$
DECLARE
	history regclass;
BEGIN
	SELECT t.history INTO history FROM pipelines.tracked_table t WHERE t.relation = deals;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'wrong_object_type',
			MESSAGE = format('%s is not a table of deals', deals),
			HINT = 'pipelines.tracked_table lists them; pipelines.create_deals() makes one.';
	END IF;
	IF NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = deals) THEN
		RETURN QUERY SELECT NULL::text, NULL::integer, 'table missing',
			format('relation %s, as pipelines.tracked_table says', deals::oid), 'none';
		RETURN;
	END IF;
	IF NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = history) THEN
		RETURN QUERY SELECT NULL::text, NULL::integer, 'history missing',
			format('relation %s, as pipelines.tracked_table says', history::oid), 'none';
		RETURN;
	END IF;

	RETURN QUERY SELECT NULL::text, NULL::integer, t.problem, t.expected, t.found
		FROM pipelines._verify_triggers(deals, history) t;
	-- without the mapping nothing more can be said
	IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = deals AND t.tgname = 'pipelines_columns') THEN
		RETURN;
	END IF;
	RETURN QUERY SELECT NULL::text, NULL::integer, t.problem, t.expected, t.found
		FROM pipelines._verify_shape(deals, history) t;
	IF FOUND AND EXISTS (SELECT FROM pipelines._verify_shape(deals, history) t WHERE t.problem IN ('column missing', 'column has another type')) THEN
		RETURN;
	END IF;
	-- without it no report and no view can be had
	RETURN QUERY SELECT NULL::text, NULL::integer, 'which rows count as deals is unknown',
			format('a condition over columns of %s', deals), l.problem
		FROM pipelines._live_problem(deals) l(problem)
		WHERE l.problem IS NOT NULL;
	RETURN QUERY EXECUTE pipelines._verify_query(deals, history);
END
$function$;
COMMENT ON FUNCTION pipelines.verify(pg_catalog.regclass) IS
'Replays the history of a table of deals against its rows, and checks definitions, triggers and columns. No rows: sound. deal is the text form of the key, NULL for what concerns the table. Can''t see a change of a tracked value made while the triggers were switched off, since the row is its own newest version. Needs SELECT on the table and its history.';
