-- import.sql: logs of past changes become deals and their history.

CREATE TYPE pipelines.import_result AS (
	deals bigint,
	events bigint,
	rows bigint,
	repeats bigint
);
COMMENT ON TYPE pipelines.import_result IS
'What import_history() did: deals made or given a past, events read, history rows written, events that changed nothing.';

CREATE FUNCTION pipelines._lock_definitions() RETURNS void
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE COST 10
	AS 'MODULE_PATHNAME', 'pipelines_lock_definitions';
COMMENT ON FUNCTION pipelines._lock_definitions() IS
'Keeps destructive changes of definitions away until the end of the transaction, as every change of a deal does.';

CREATE FUNCTION pipelines._furthest_equivalent(from_pipeline integer, from_stage integer, furthest_stage integer,
		to_pipeline integer, to_stage integer) RETURNS integer
	LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10
	AS 'MODULE_PATHNAME', 'pipelines_furthest_equivalent';
COMMENT ON FUNCTION pipelines._furthest_equivalent(integer, integer, integer, integer, integer) IS
'How far a deal has got that changes its pipeline, as the new one sees it: the furthest of its stages that answer to those that the deal has been through; NULL: none does (R-2.16).';

CREATE FUNCTION pipelines._import_forget() RETURNS void
	LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE COST 1000
	SET search_path = pg_catalog, pg_temp
	AS $function$
DECLARE
	name text;
BEGIN
	FOREACH name IN ARRAY ARRAY['pipelines_import_event', 'pipelines_import_state',
			'pipelines_import_furthest', 'pipelines_import_version', 'pipelines_import_book'] LOOP
		IF to_regclass('pg_temp.' || name) IS NOT NULL THEN
			EXECUTE format('DROP TABLE pg_temp.%I', name);
		END IF;
	END LOOP;
END
$function$;
COMMENT ON FUNCTION pipelines._import_forget() IS
'Drops the staging tables of import_history(), all of them temporary.';

CREATE FUNCTION pipelines._import_columns(deals regclass, events regclass,
		OUT part text, OUT number integer, OUT event_column text, OUT event_type regtype,
		OUT deals_column text, OUT deals_type text, OUT history_column text)
	RETURNS SETOF record
	LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 1000 ROWS 20
	SET search_path = pg_catalog, pg_temp
	AS $function$
	WITH target AS (
		SELECT a.attname, format_type(a.atttypid, a.atttypmod) AS type,
			a.attgenerated <> '' AS generated, m.role, m.history_column
		FROM pg_catalog.pg_attribute a
			LEFT JOIN pipelines._layout_columns($1) m ON m.attnum = a.attnum
		WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
	), source AS (
		SELECT CASE
				WHEN t.role ~ '^key[1-9]' THEN 'key'
				WHEN e.attname IN ('at', 'seq', 'actor', 'reason') THEN e.attname
				WHEN e.attname IN ('pipeline', 'pipeline_id') OR t.role = 'pipeline_id' THEN 'pipeline'
				WHEN e.attname IN ('stage', 'stage_id') OR t.role = 'stage_id' THEN 'stage'
				WHEN t.attname IS NULL THEN 'unknown'
				WHEN t.generated OR t.role IN ('stage_entered_at', 'furthest_stage_id', 'gate_stage_id',
					'episode', 'version', 'changed_at') THEN 'computed'
				WHEN t.role IN ('closed_at', 'closed_on', 'created_at', 'created_by') THEN t.role
				WHEN t.history_column IS NOT NULL THEN 'value'
				ELSE 'plain'
			END::text AS part,
			e.attname AS event_column, e.atttypid::regtype AS event_type,
			t.attname AS deals_column, t.type AS deals_type, t.history_column, t.role, e.attnum
		FROM pg_catalog.pg_attribute e
			LEFT JOIN target t ON t.attname = e.attname
		WHERE e.attrelid = $2 AND e.attnum > 0 AND NOT e.attisdropped
	)
	SELECT part,
		CASE part WHEN 'key' THEN substr(role, 4)::integer
			ELSE row_number() OVER (PARTITION BY part ORDER BY attnum) END::integer,
		event_column, event_type, deals_column, deals_type, history_column
	FROM source
	$function$;
COMMENT ON FUNCTION pipelines._import_columns(regclass, regclass) IS
'How import_history() understands the columns of an events table: key, at, seq, pipeline, stage, actor, reason, closed_at, closed_on, created_at, created_by, value (tracked), plain (not tracked), computed and unknown (both refused).';

CREATE FUNCTION pipelines._import_refuse(problems text[], total bigint, deals regclass, events regclass) RETURNS void
	LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100
	SET search_path = pg_catalog, pg_temp
	AS $function$
BEGIN
	RAISE EXCEPTION USING
		ERRCODE = '23S12',
		MESSAGE = format('import into %s refused: %s problem%s in %s', deals, total,
			CASE WHEN total = 1 THEN '' ELSE 's' END, events),
		DETAIL = array_to_string(problems, E'\n')
			|| CASE WHEN total > cardinality(problems)
				THEN format(E'\n... and %s more', total - cardinality(problems)) ELSE '' END,
		HINT = 'Nothing was written. Leave these events out, or mend them, and import again.',
		SCHEMA = (SELECT n.nspname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = deals),
		TABLE = (SELECT c.relname FROM pg_catalog.pg_class c WHERE c.oid = deals);
END
$function$;
COMMENT ON FUNCTION pipelines._import_refuse(text[], bigint, regclass, regclass) IS
'Raises 23S12 with the first problems of an import.';

-- Reads the events into pg_temp.pipelines_import_event: one row per event,
-- with pipeline and stage resolved.  k1 ... the key, v1 ... tracked values,
-- x1 ... the others; bad says what is wrong with an event.
CREATE FUNCTION pipelines._import_read(deals regclass, events regclass) RETURNS void
	LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE COST 1000
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	AS $function$
DECLARE
	columns text;
	pipeline_expression text := 'NULL::text';
	pipeline_names text;
	stage_expression text;
	stage_names text;
	tracked record;
	standard integer;
	nothing text;
	part_name text;
	wrong text;
BEGIN
	SELECT t.layout_id, t.key, (t.application ->> 'pipeline')::integer AS home INTO tracked
	FROM pipelines.tracked_table t WHERE t.relation = deals;

	SELECT string_agg(quote_ident(event_column), ', ' ORDER BY number) INTO wrong
	FROM pipelines._import_columns(deals, events) WHERE part = 'unknown';
	IF wrong IS NOT NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'undefined_column',
			MESSAGE = format('%s has columns that %s does not have: %s', events, deals, wrong),
			HINT = 'Import through a view that leaves them out, or names them as the deals do. Beside the deals'' columns there may be at, seq, pipeline, stage, actor and reason.';
	END IF;
	SELECT string_agg(quote_ident(event_column), ', ' ORDER BY number) INTO wrong
	FROM pipelines._import_columns(deals, events) WHERE part = 'computed';
	IF wrong IS NOT NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_column_reference',
			MESSAGE = format('%s gives columns that are worked out from the events: %s', events, wrong),
			HINT = 'Import through a view that leaves them out.';
	END IF;
	SELECT string_agg(m.column_name, ', ' ORDER BY m.role) INTO wrong
	FROM pipelines._layout_columns(deals) m
	WHERE m.role ~ '^key[1-9]' AND NOT EXISTS (
		SELECT FROM pipelines._import_columns(deals, events) c WHERE c.part = 'key' AND c.deals_column = m.column_name);
	FOREACH part_name IN ARRAY ARRAY['at', 'stage'] LOOP
		IF NOT EXISTS (SELECT FROM pipelines._import_columns(deals, events) c WHERE c.part = part_name) THEN
			wrong := concat_ws(', ', wrong, part_name);
		END IF;
	END LOOP;
	IF wrong IS NOT NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'undefined_column',
			MESSAGE = format('%s lacks columns that an import needs: %s', events, wrong),
			HINT = 'An event has the deal''s key, at (timestamp with time zone) and stage (name or id).';
	END IF;
	SELECT string_agg(c.part, ', ') INTO wrong
	FROM pipelines._import_columns(deals, events) c WHERE c.part IN ('pipeline', 'stage') AND c.number = 2;
	IF wrong IS NOT NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'ambiguous_column',
			MESSAGE = format('%s gives more than one column for: %s', events, wrong),
			HINT = 'Keep the name or the id, not both.';
	END IF;
	SELECT event_type::text INTO wrong
	FROM pipelines._import_columns(deals, events) WHERE part = 'at' AND event_type <> 'timestamptz'::regtype;
	IF wrong IS NOT NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'datatype_mismatch',
			MESSAGE = format('column at of %s has type %s, but timestamp with time zone is needed', events, wrong),
			HINT = 'Say in which zone the instants were written down, as in (at AT TIME ZONE ''Europe/Vienna'').';
	END IF;

	-- an adopted table has a pipeline of its own, which may be another one
	SELECT p.pipeline_id INTO standard
	FROM pipelines.pipeline p
	WHERE p.layout_id = tracked.layout_id AND (p.is_standard OR p.pipeline_id = tracked.home)
	ORDER BY p.pipeline_id = tracked.home DESC NULLS LAST
	LIMIT 1;

	-- names or ids
	SELECT CASE WHEN event_type IN ('integer'::regtype, 'bigint'::regtype, 'smallint'::regtype)
			THEN 'SELECT pipeline_id::text AS name, pipeline_id FROM known'
			ELSE 'SELECT DISTINCT ON (name) name, pipeline_id FROM (SELECT 1 AS rank, name, pipeline_id FROM known UNION ALL SELECT 2, code, pipeline_id FROM known) n ORDER BY name, rank' END,
		format('e.%I::text', event_column)
	INTO pipeline_names, pipeline_expression
	FROM pipelines._import_columns(deals, events) WHERE part = 'pipeline';
	IF NOT FOUND THEN
		pipeline_names := 'SELECT NULL::text AS name, NULL::integer AS pipeline_id';
		pipeline_expression := 'NULL::text';
		IF standard IS NULL THEN
			RAISE EXCEPTION USING
				ERRCODE = 'object_not_in_prerequisite_state',
				MESSAGE = format('%s has no column pipeline, and the layout of %s has no standard pipeline', events, deals),
				HINT = 'Give the pipeline with each event, or create one with pipelines.create_pipeline().';
		END IF;
	END IF;
	SELECT CASE WHEN event_type IN ('integer'::regtype, 'bigint'::regtype, 'smallint'::regtype)
			THEN 'SELECT ps.pipeline_id, ps.stage_id::text AS name, ps.stage_id, ps."position", ps.outcome FROM pipelines.pipeline_stage ps'
			ELSE 'SELECT DISTINCT ON (pipeline_id, name) pipeline_id, name, stage_id, "position", outcome FROM (SELECT 1 AS rank, ps.pipeline_id, s.name, ps.stage_id, ps."position", ps.outcome FROM pipelines.pipeline_stage ps JOIN pipelines.stage s USING (stage_id) UNION ALL SELECT 2, ps.pipeline_id, s.code, ps.stage_id, ps."position", ps.outcome FROM pipelines.pipeline_stage ps JOIN pipelines.stage s USING (stage_id)) n ORDER BY pipeline_id, name, rank' END,
		format('e.%I::text', event_column)
	INTO STRICT stage_names, stage_expression
	FROM pipelines._import_columns(deals, events) WHERE part = 'stage';

	SELECT string_agg(CASE part
			WHEN 'key' THEN format('e.%I::%s AS k%s', event_column, deals_type, number)
			WHEN 'value' THEN format('e.%I::%s AS v%s', event_column, deals_type, number)
			WHEN 'plain' THEN format('e.%I::%s AS x%s', event_column, deals_type, number)
			ELSE format('e.%I::%s AS given_%s', event_column, deals_type, part) END, ', ' ORDER BY part, number)
	INTO STRICT columns
	FROM pipelines._import_columns(deals, events)
	WHERE part IN ('key', 'value', 'plain', 'closed_at', 'closed_on', 'created_at', 'created_by');

	-- what an event may give, and this one doesn't
	SELECT string_agg(missing.expression, '') INTO nothing
	FROM (VALUES ('closed_at', ', NULL::timestamptz AS given_closed_at'),
			('closed_on', ', NULL::date AS given_closed_on'),
			('created_at', ', NULL::timestamptz AS given_created_at'),
			('created_by', ', NULL::text AS given_created_by'),
			('seq', ', NULL::integer AS seq'),
			('actor', ', NULL::text AS actor'),
			('reason', ', NULL::text AS reason')) AS missing(part, expression)
	WHERE NOT EXISTS (SELECT FROM pipelines._import_columns(deals, events) c WHERE c.part = missing.part);
	SELECT concat(coalesce(nothing, ''), string_agg(format(', e.%I%s AS %I', event_column,
			CASE part WHEN 'seq' THEN '' ELSE '::text' END, part), ''))
	INTO nothing
	FROM pipelines._import_columns(deals, events) WHERE part IN ('seq', 'actor', 'reason');

	EXECUTE format($query$
		CREATE TEMP TABLE pipelines_import_event AS
		WITH known AS (
			SELECT p.pipeline_id, p.name, p.code FROM pipelines.pipeline p WHERE p.layout_id = %1$s
		), pipeline_name AS MATERIALIZED (%2$s), stage_name AS MATERIALIZED (%3$s)
		SELECT %4$s, e.at %5$s,
			p.pipeline_id AS p, s.stage_id AS s, s."position",
			s.outcome, s.outcome IN ('won', 'lost', 'disqualified', 'done') AS closed,
			s.outcome IN ('open', 'won', 'done') AS progress,
			CASE WHEN e.at IS NULL THEN 'it has no instant'
				WHEN NOT isfinite(e.at) OR e.at > clock_timestamp() THEN format('its instant, %%s, has not come yet', e.at)
				WHEN %6$s IS NOT NULL AND n.pipeline_id IS NULL THEN format('there is no pipeline %%s in the layout of the table', %6$s)
				WHEN p.pipeline_id IS NULL THEN 'it has no pipeline, and there is no standard one'
				WHEN %7$s IS NULL THEN 'it has no stage'
				WHEN s.stage_id IS NULL THEN format('%%s is not a stage of pipeline %%s', %7$s,
					(SELECT q.name FROM pipelines.pipeline q WHERE q.pipeline_id = p.pipeline_id))
			END AS bad
		FROM %8$s e
			LEFT JOIN pipeline_name n ON n.name = %6$s
			CROSS JOIN LATERAL (SELECT CASE WHEN %6$s IS NULL THEN %9$s ELSE n.pipeline_id END AS pipeline_id) p
			LEFT JOIN stage_name s ON s.pipeline_id = p.pipeline_id AND s.name = %7$s
		$query$,
		tracked.layout_id, pipeline_names, stage_names, columns, nothing,
		pipeline_expression, stage_expression, events, coalesce(standard::text, 'NULL::integer'));
	ANALYZE pg_temp.pipelines_import_event;
END
$function$;
COMMENT ON FUNCTION pipelines._import_read(regclass, regclass) IS
'First step of import_history(): the events with pipeline and stage resolved, in a temporary table.';

CREATE FUNCTION pipelines._import_check(deals regclass, events regclass) RETURNS void
	LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE COST 1000
	SET search_path = pg_catalog, pg_temp
	AS $function$
DECLARE
	history regclass;
	deal text;
	keys text;
	same_state text;
	in_deals text;
	in_history text;
	missing_key text;
	problems text[];
	total bigint;
	book record;
BEGIN
	SELECT t.history INTO history FROM pipelines.tracked_table t WHERE t.relation = deals;
	SELECT CASE count(*) WHEN 1 THEN 'e.k1::text' ELSE 'ROW(' || string_agg('e.k' || number, ', ' ORDER BY number) || ')::text' END,
		string_agg('e.k' || number, ', ' ORDER BY number),
		string_agg(format('e.k%s = d.%I', number, deals_column), ' AND ' ORDER BY number),
		string_agg(format('e.k%s = h.%I', number, c.history_column), ' AND ' ORDER BY number),
		string_agg(format('e.k%s IS NULL', number), ' OR ' ORDER BY number)
	INTO STRICT deal, keys, in_deals, in_history, missing_key
	FROM pipelines._import_columns(deals, events) c WHERE part = 'key';
	same_state := pipelines._import_same_state(deals, events);
	SELECT max(column_name) FILTER (WHERE role = 'pipeline_id') AS pipeline,
		max(column_name) FILTER (WHERE role = 'stage_id') AS stage,
		max(column_name) FILTER (WHERE role = 'version') AS version
	INTO STRICT book FROM pipelines._layout_columns(deals);

	EXECUTE format($query$
		WITH problem AS (
			SELECT 1 AS rank, NULL::text AS deal, NULL::timestamptz AS at, 'an event has no key' AS what
			FROM pipelines_import_event e WHERE %6$s
			UNION ALL
			SELECT 2, %1$s, e.at, format('deal %%s%%s: %%s', %1$s, ', event at ' || e.at, e.bad)
			FROM pipelines_import_event e WHERE e.bad IS NOT NULL AND NOT (%6$s)
			UNION ALL
			SELECT 3, %1$s, e.at, format('deal %%s: several events at %%s, and no seq that orders them', %1$s, e.at)
			FROM (SELECT e.*, e.at = lag(e.at) OVER k AND e.seq IS NOT DISTINCT FROM lag(e.seq) OVER k AND NOT %3$s AS ambiguous
				FROM pipelines_import_event e WHERE e.bad IS NULL
				WINDOW k AS (PARTITION BY %2$s ORDER BY e.at, e.seq)) e
			WHERE e.ambiguous
			UNION ALL
			SELECT 4, %1$s, NULL, format('deal %%s has history already', %1$s)
			FROM (SELECT DISTINCT %2$s FROM pipelines_import_event e) e
			WHERE EXISTS (SELECT FROM %8$s h WHERE %5$s)
			UNION ALL
			SELECT 5, %1$s, NULL, CASE WHEN d.%11$I <> 1
					THEN format('deal %%s is at version %%s, but has no history', %1$s, d.%11$I)
					ELSE format('deal %%s is in stage %%s of pipeline %%s, but its last event leads to stage %%s of pipeline %%s', %1$s,
						(SELECT n.name FROM pipelines.stage n WHERE n.stage_id = d.%10$I),
						(SELECT n.name FROM pipelines.pipeline n WHERE n.pipeline_id = d.%9$I),
						(SELECT n.name FROM pipelines.stage n WHERE n.stage_id = e.s),
						(SELECT n.name FROM pipelines.pipeline n WHERE n.pipeline_id = e.p)) END
			FROM (SELECT DISTINCT ON (%2$s) e.* FROM pipelines_import_event e WHERE e.bad IS NULL
					ORDER BY %2$s, e.at DESC, e.seq DESC) e
				JOIN %7$s d ON %4$s
			WHERE (d.%11$I <> 1 OR (d.%9$I, d.%10$I) IS DISTINCT FROM (e.p, e.s))
				AND NOT EXISTS (SELECT FROM %8$s h WHERE %5$s)
		)
		SELECT (SELECT array_agg(p.what) FROM (SELECT q.what FROM problem q ORDER BY q.rank, q.deal, q.at LIMIT 20) p),
			(SELECT count(*) FROM problem)
		$query$, deal, keys, same_state, in_deals, in_history, missing_key,
		deals, history, book.pipeline, book.stage, book.version)
	INTO problems, total;
	IF total > 0 THEN
		PERFORM pipelines._import_refuse(problems, total, deals, events);
	END IF;
END
$function$;
COMMENT ON FUNCTION pipelines._import_check(regclass, regclass) IS
'Second step of import_history(): raises 23S12 with everything that is wrong with the events.';

-- A condition over pipelines_import_event e with window k: does the event
-- leave the deal as the one before it did?
CREATE FUNCTION pipelines._import_same_state(deals regclass, events regclass) RETURNS text
	LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 1000
	SET search_path = pg_catalog, pg_temp
	AS $function$
	SELECT '(coalesce(e.p = lag(e.p) OVER k AND e.s = lag(e.s) OVER k, false)'
		|| coalesce((SELECT string_agg(
				-- types without equality are compared by their text
				CASE WHEN c.deals_type IN ('json', 'xml', 'point', 'box', 'polygon', 'line', 'path', 'circle', 'lseg')
					THEN format(' AND e.v%s::text IS NOT DISTINCT FROM lag(e.v%s::text) OVER k', c.number, c.number)
					ELSE format(' AND e.v%s IS NOT DISTINCT FROM lag(e.v%s) OVER k', c.number, c.number) END,
				'' ORDER BY c.number)
			FROM pipelines._import_columns($1, $2) c WHERE c.part = 'value'), '')
		|| ' AND (NOT e.closed OR e.given_closed_on IS NULL OR e.given_closed_on IS NOT DISTINCT FROM lag(e.given_closed_on) OVER k))'
	$function$;
COMMENT ON FUNCTION pipelines._import_same_state(regclass, regclass) IS
'Condition of import_history() for an event that changes nothing.';

-- From events to versions, in pg_temp.pipelines_import_version.
CREATE FUNCTION pipelines._import_replay(deals regclass, events regclass) RETURNS void
	LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE COST 1000
	SET search_path = pg_catalog, pg_temp
	AS $function$
DECLARE
	keys text;
	same_key text;
	segment integer;
BEGIN
	SELECT string_agg('e.k' || number, ', ' ORDER BY number),
		string_agg(format('f.k%s = e.k%s', number, number), ' AND ' ORDER BY number)
	INTO STRICT keys, same_key
	FROM pipelines._import_columns(deals, events) WHERE part = 'key';

	-- Which events end a version, and what each of them is.  A segment is a
	-- stretch of versions within one episode and one pipeline.
	EXECUTE format($query$
		CREATE TEMP TABLE pipelines_import_state AS
		SELECT e.*,
			1 + count(*) FILTER (WHERE e.reopened) OVER k AS episode,
			max(e.at) FILTER (WHERE e.entered) OVER k AS entered_at,
			max(e.version) FILTER (WHERE e.closing) OVER k AS closing_version,
			max(e.version) FILTER (WHERE e.closing OR (e.closed AND e.given_closed_on IS NOT NULL)) OVER k AS closed_on_version,
			count(*) FILTER (WHERE e.version = 1 OR e.reopened OR e.transferred) OVER k AS segment
		FROM (
			SELECT e.*,
				e.version = 1 OR e.p <> e.p0 OR e.s <> e.s0 AS entered,
				e.version > 1 AND e.p <> e.p0 AS transferred,
				e.version > 1 AND e.closed0 AND NOT e.closed AS reopened,
				e.closed AND (e.version = 1 OR NOT e.closed0 OR e.outcome <> e.outcome0) AS closing
			FROM (
				SELECT e.*, row_number() OVER k AS version, lead(e.at) OVER k AS ended,
					lag(e.p) OVER k AS p0, lag(e.s) OVER k AS s0,
					lag(e.closed) OVER k AS closed0, lag(e.outcome) OVER k AS outcome0
				FROM (
					SELECT e.*, %2$s AS repeated
					FROM pipelines_import_event e
					WINDOW k AS (PARTITION BY %1$s ORDER BY e.at, e.seq)
				) e
				WHERE NOT e.repeated
				WINDOW k AS (PARTITION BY %1$s ORDER BY e.at, e.seq)
			) e
		) e
		WINDOW k AS (PARTITION BY %1$s ORDER BY e.version)
		$query$, keys, pipelines._import_same_state(deals, events));
	ANALYZE pg_temp.pipelines_import_state;

	-- The furthest stage, as rules.c has it: it starts with the stage that
	-- a deal is created, reopened or transferred into (unless stages of the
	-- new pipeline answer to those it has been through), and only progress to
	-- a higher position replaces it; what is no progress, as a pause, is before
	-- all of them.  Position and version are packed into one number whose
	-- maximum is taken; version 0 stands for what was brought along, so that
	-- on a tie the older one stays.  low is the position of the furthest stage
	-- before the change, for what was skipped.
	EXECUTE format('CREATE TEMP TABLE pipelines_import_furthest AS
		SELECT %s, e.version, e.s AS furthest, e."position" AS low FROM pipelines_import_state e WHERE false', keys);
	FOR segment IN
		SELECT DISTINCT s.segment FROM pg_temp.pipelines_import_state s ORDER BY 1
	LOOP
		EXECUTE format($query$
			INSERT INTO pipelines_import_furthest
			SELECT %1$s, e.version, CASE WHEN e.best = 0 THEN e.brought ELSE b.s END, e.low
			FROM (
				SELECT %1$s, e.version, max(e.brought) OVER k AS brought,
					2147483648 - (e.best & 4294967295) AS best,
					CASE WHEN e.unknown_here THEN -2147483648
						ELSE coalesce(e.brought_position, lag(e.best) OVER k >> 32) END AS low
				FROM (
					SELECT e.*, max(e.packed) OVER (PARTITION BY %1$s ORDER BY e.version) AS best
					FROM (
						SELECT %1$s, e.version, c.stage_id AS brought, c."position" AS brought_position,
							f.version IS NOT NULL AND c.stage_id IS NULL AS unknown_here,
							CASE WHEN e.version = 1 OR e.reopened OR e.transferred THEN
								CASE WHEN c."position" IS NULL
										THEN CASE WHEN e.progress THEN e."position" ELSE -2147483648 END * 4294967296 + (2147483648 - e.version)
									ELSE greatest(c."position" * 4294967296 + 2147483648,
										CASE WHEN e.progress THEN e."position" * 4294967296 + (2147483648 - e.version) END) END
							WHEN e.progress THEN e."position" * 4294967296 + (2147483648 - e.version) END AS packed
						FROM pipelines_import_state e
							LEFT JOIN pipelines_import_furthest f ON %2$s AND f.version = e.version - 1
								AND e.transferred AND NOT e.reopened
							LEFT JOIN pipelines.pipeline_stage c ON c.pipeline_id = e.p AND f.version IS NOT NULL
								AND c.stage_id = pipelines._furthest_equivalent(e.p0, e.s0, f.furthest::integer, e.p, e.s)
						WHERE e.segment = %3$s
					) e
				) e
				WINDOW k AS (PARTITION BY %1$s ORDER BY e.version)
			) e
			LEFT JOIN pipelines_import_state b ON %4$s AND b.version = e.best
			$query$, keys, same_key, segment, replace(same_key, 'f.k', 'b.k'));
	END LOOP;
	ANALYZE pg_temp.pipelines_import_furthest;

	EXECUTE format($query$
		CREATE TEMP TABLE pipelines_import_version AS
		WITH forward AS (
			SELECT DISTINCT e.p, f.low, e."position" AS high
			FROM pipelines_import_state e
				JOIN pipelines_import_furthest f ON %1$s AND f.version = e.version
			WHERE e.version > 1 AND e.entered AND e.progress AND NOT e.reopened AND e."position" > f.low
		), skip AS (
			SELECT w.p, w.low, w.high, array_agg(m.stage_id ORDER BY m."position") AS skipped
			FROM forward w
				JOIN pipelines.pipeline_stage m ON m.pipeline_id = w.p AND m.mandatory AND m.outcome = 'open'
					AND m.archived_at IS NULL AND m."position" > w.low AND m."position" < w.high
			GROUP BY w.p, w.low, w.high
		)
		SELECT e.*, f.furthest, skip.skipped,
			coalesce(c.given_closed_at, c.at) AS closed_at,
			coalesce(d.given_closed_on,
				timezone(coalesce(p.time_zone, 'GMT'), coalesce(c.given_closed_at, c.at))::date) AS closed_on
		FROM pipelines_import_state e
			JOIN pipelines_import_furthest f ON %1$s AND f.version = e.version
			-- the event that closed the deal, and the last one that said the day
			LEFT JOIN pipelines_import_state c ON e.closed AND %2$s AND c.version = e.closing_version
			LEFT JOIN pipelines.pipeline p ON p.pipeline_id = c.p
			LEFT JOIN pipelines_import_state d ON e.closed AND %3$s AND d.version = e.closed_on_version
			LEFT JOIN skip ON skip.p = e.p AND skip.low = f.low AND skip.high = e."position"
				AND e.version > 1 AND e.entered AND e.progress AND NOT e.reopened
		$query$, same_key, replace(same_key, 'f.k', 'c.k'), replace(same_key, 'f.k', 'd.k'));
	ANALYZE pg_temp.pipelines_import_version;
END
$function$;
COMMENT ON FUNCTION pipelines._import_replay(regclass, regclass) IS
'Third step of import_history(): the versions that the events make, in a temporary table.';

-- Writes versions that ended to the history, the others to the deals.
CREATE FUNCTION pipelines._import_write(deals regclass, events regclass, OUT made bigint, OUT written bigint)
	LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE COST 1000
	SET search_path = pg_catalog, pg_temp
	AS $function$
DECLARE
	history regclass;
	keys text;
	in_deals text;
	same_key text;
	targets text;
	sources text;
	created text;
	rebooked bigint;
	sequence record;
BEGIN
	SELECT t.history INTO history FROM pipelines.tracked_table t WHERE t.relation = deals;
	SELECT string_agg('e.k' || number, ', ' ORDER BY number),
		string_agg(format('d.%I = e.k%s', deals_column, number), ' AND ' ORDER BY number),
		string_agg(format('f.k%s = e.k%s', number, number), ' AND ' ORDER BY number)
	INTO STRICT keys, in_deals, same_key
	FROM pipelines._import_columns(deals, events) WHERE part = 'key';

	-- the history's columns: key, tracked values, what was worked out, and its own
	SELECT string_agg(quote_ident(c.name), ', ' ORDER BY c.name), string_agg(c.source, ', ' ORDER BY c.name)
	INTO STRICT targets, sources
	FROM (
		SELECT i.history_column AS name, CASE i.part WHEN 'key' THEN 'e.k' ELSE 'e.v' END || i.number AS source
		FROM pipelines._import_columns(deals, events) i WHERE i.part IN ('key', 'value')
		UNION ALL
		SELECT m.history_column, w.source
		FROM pipelines._layout_columns(deals) m
			JOIN (VALUES ('pipeline_id', 'e.p'), ('stage_id', 'e.s'), ('closed_at', 'e.closed_at'), ('closed_on', 'e.closed_on'),
				('stage_entered_at', 'e.entered_at'), ('furthest_stage_id', 'e.furthest'), ('episode', 'e.episode'),
				('@version', 'e.version'), ('@valid_from', 'e.at'), ('@valid_to', 'e.ended'), ('@change', 'e.change'),
				('@to_pipeline_id', 'e.to_p'), ('@to_stage_id', 'e.to_s'), ('@skipped_stages', 'e.to_skipped'),
				('@actor', $$coalesce(e.to_actor, nullif(current_setting('pipelines.actor'), ''), session_user::text)$$),
				('@role_name', 'current_user::text'),
				('@application_name', $$nullif(current_setting('application_name'), '')$$),
				('@reason', $$coalesce(e.to_reason, nullif(current_setting('pipelines.reason'), ''))$$),
				('@batch', $$nullif(current_setting('pipelines.batch'), '')$$),
				('@txid', 'pg_current_xact_id()::text::bigint'), ('@recorded_at', 'statement.at'),
				('@bypassed', 'false'), ('@imported', 'true')) AS w(role, source) USING (role)
		WHERE m.history_column IS NOT NULL
	) c;
	EXECUTE format($query$
		INSERT INTO %3$s (%1$s)
		SELECT %2$s
		FROM (
			SELECT e.*, lead(e.p) OVER k AS to_p, lead(e.s) OVER k AS to_s, lead(e.skipped) OVER k AS to_skipped,
				lead(e.actor) OVER k AS to_actor, lead(e.reason) OVER k AS to_reason,
				lead(CASE WHEN e.closing THEN 'close' WHEN e.reopened THEN 'reopen'
					WHEN e.transferred THEN 'transfer' WHEN e.entered THEN 'move' ELSE 'change' END) OVER k AS change
			FROM pipelines_import_version e
			WINDOW k AS (PARTITION BY %4$s ORDER BY e.version)
		) e, (SELECT clock_timestamp() AS at) AS statement
		WHERE e.ended IS NOT NULL
		$query$, targets, sources, history, keys);
	GET DIAGNOSTICS written = ROW_COUNT;

	-- deals that are there already
	SELECT m.column_name INTO created FROM pipelines._layout_columns(deals) m WHERE m.role = 'created_at';
	EXECUTE format($query$
		CREATE TEMP TABLE pipelines_import_book AS
		SELECT %1$s, e.entered_at AS stage_entered_at, e.furthest::integer AS furthest_stage_id,
			NULL::integer AS gate_stage_id, e.episode::integer AS episode, e.version::integer AS version,
			e.at AS changed_at, e.closed_at, e.closed_on
		FROM pipelines_import_version e
		WHERE e.ended IS NULL AND EXISTS (SELECT FROM %2$s d WHERE %3$s)
		$query$,
		(SELECT string_agg(format('e.k%s AS %I', number, deals_column), ', ' ORDER BY number)
			FROM pipelines._import_columns(deals, events) WHERE part = 'key'),
		deals, in_deals);
	SELECT count(*) INTO rebooked FROM pg_temp.pipelines_import_book;
	IF rebooked > 0 THEN
		ANALYZE pg_temp.pipelines_import_book;
		PERFORM pipelines._rebook(deals, 'pg_temp.pipelines_import_book'::regclass);
		-- no deal is older than itself
		IF created IS NOT NULL THEN
			EXECUTE format('UPDATE %s d SET %I = e.at FROM pipelines_import_version e
				WHERE %s AND e.version = 1 AND d.%I > e.at', deals, created, in_deals, created);
		END IF;
	END IF;

	SELECT string_agg(quote_ident(c.name), ', ' ORDER BY c.name), string_agg(c.source, ', ' ORDER BY c.name)
	INTO STRICT targets, sources
	FROM (
		SELECT i.deals_column AS name,
			CASE i.part WHEN 'key' THEN 'e.k' WHEN 'value' THEN 'e.v' ELSE 'l.x' END || i.number AS source
		FROM pipelines._import_columns(deals, events) i WHERE i.part IN ('key', 'value', 'plain')
		UNION ALL
		SELECT m.column_name, w.source
		FROM pipelines._layout_columns(deals) m
			JOIN (VALUES ('pipeline_id', 'e.p'), ('stage_id', 'e.s'), ('closed_at', 'e.closed_at'), ('closed_on', 'e.closed_on'),
				('created_at', 'coalesce(f.given_created_at, f.at)'),
				('created_by', $$coalesce(f.given_created_by, f.actor, nullif(current_setting('pipelines.actor'), ''), session_user::text)$$),
				('stage_entered_at', 'e.entered_at'), ('furthest_stage_id', 'e.furthest'), ('episode', 'e.episode'),
				('version', 'e.version'), ('changed_at', 'e.at')) AS w(role, source) USING (role)
	) c;
	EXECUTE format($query$
		INSERT INTO %3$s (%1$s) OVERRIDING SYSTEM VALUE
		SELECT %2$s
		FROM pipelines_import_version e
			JOIN pipelines_import_version f ON %5$s AND f.version = 1
			JOIN (SELECT DISTINCT ON (%4$s) e.* FROM pipelines_import_event e ORDER BY %7$s, e.at DESC, e.seq DESC) l ON %6$s
		WHERE e.ended IS NULL AND NOT EXISTS (SELECT FROM pipelines_import_book b WHERE %8$s)
		ORDER BY %7$s
		$query$, targets, sources, deals, keys, same_key, replace(same_key, 'f.k', 'l.k'), keys,
		(SELECT string_agg(format('b.%I = e.k%s', deals_column, number), ' AND ' ORDER BY number)
			FROM pipelines._import_columns(deals, events) WHERE part = 'key'));
	GET DIAGNOSTICS made = ROW_COUNT;
	made := made + rebooked;

	-- the next deal must not get a key that was imported
	FOR sequence IN
		SELECT i.deals_column, pg_get_serial_sequence(deals::text, i.deals_column) AS name
		FROM pipelines._import_columns(deals, events) i
		WHERE i.part = 'key' AND pg_get_serial_sequence(deals::text, i.deals_column) IS NOT NULL
	LOOP
		EXECUTE format('SELECT setval(%L, highest) FROM (SELECT max(%I)::bigint AS highest FROM %s) d
			WHERE highest > (SELECT CASE WHEN s.is_called THEN s.last_value ELSE s.last_value - 1 END FROM %s s)',
			sequence.name, sequence.deals_column, deals, sequence.name);
	END LOOP;
END
$function$;
COMMENT ON FUNCTION pipelines._import_write(regclass, regclass) IS
'Last step of import_history(): writes history and deals.';

CREATE FUNCTION pipelines.import_history(deals regclass, events regclass) RETURNS pipelines.import_result
	LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE COST 10000
	SET search_path = pg_catalog, pg_temp
	-- the events have times of their own
	SET pipelines.event_time = ''
	AS $function$
DECLARE
	result pipelines.import_result;
	owner record;
BEGIN
	PERFORM pipelines._layout_columns(deals);	-- an error if it isn't a table of deals
	SELECT r.oid, r.rolname INTO STRICT owner
	FROM pg_catalog.pg_class c JOIN pg_catalog.pg_roles r ON r.oid = c.relowner WHERE c.oid = deals;
	IF NOT pg_has_role(owner.oid, 'USAGE') THEN
		RAISE EXCEPTION USING
			ERRCODE = 'insufficient_privilege',
			MESSAGE = format('permission denied to import history into %s', deals),
			HINT = format('Only members of role %I, who owns the deals, may write their past.', owner.rolname);
	END IF;

	-- first the lock, then the look at the definitions
	PERFORM pipelines._lock_definitions();
	PERFORM pipelines._import_forget();
	PERFORM pipelines._import_read(deals, events);
	PERFORM pipelines._import_check(deals, events);
	PERFORM pipelines._import_replay(deals, events);
	SELECT w.made, w.written INTO STRICT result.deals, result.rows FROM pipelines._import_write(deals, events) w;
	SELECT count(*) INTO result.events FROM pg_temp.pipelines_import_event;
	SELECT result.events - count(*) INTO result.repeats FROM pg_temp.pipelines_import_version;
	PERFORM pipelines._import_forget();
	PERFORM pipelines._extend_past(deals);
	RETURN result;
END
$function$;
COMMENT ON FUNCTION pipelines.import_history(regclass, regclass) IS
'Makes deals and their history from a log of past changes. events: a table or view with the deal''s key, at (timestamp with time zone), stage (name, code or id) and, if wanted, seq (order among events of one instant), pipeline (default: the layout''s standard one), actor, reason, and columns of the deals. Each event says the whole state of the columns that events has: NULL means NULL. Columns that are not tracked are taken from a deal''s last event. The first event creates the deal; one that changes nothing writes nothing and counts as a repeat. Deals that exist already, without history and in the stage of their last event, get a past, and keep their present values. Rules of the pipelines are not applied to the past. For members of the role that owns the deals (42501). Refused events and deals: one error 23S12 that lists them, and nothing is written.';
