-- checks.sql: what the tests of deals share: try() runs a statement and tells its
-- error with all its fields, problems() retells I1, I4, I6 and I7 from the tables
-- alone and then asks verify().  Read with \i into a fresh database.
SET lc_messages = 'C';
SET client_encoding = 'UTF8';
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
SET intervalstyle = 'postgres';
SET extra_float_digits = 1;
CREATE EXTENSION pipelines;
\pset format unaligned
\pset footer off
\pset null (null)

-- what an error says, with everything that a driver can see; PostgreSQL 18 names
-- the child table of a mismatch, 19 says more of functions that don't exist
CREATE FUNCTION said(state text, message text, detail text, hint text, schema_name text, table_name text, column_name text)
RETURNS text LANGUAGE sql AS $$
	SELECT regexp_replace(concat_ws(' | ', state || ': ' || regexp_replace(message, 'in child table "[^"]*"', 'in child table'),
		CASE WHEN m.unknown THEN NULL ELSE regexp_replace(regexp_replace(nullif(detail, ''), 'Failing row contains.*', 'Failing row ...'), '(depends on column "[^"]*")\.$', '\1') END,
		CASE WHEN m.unknown THEN NULL ELSE nullif(hint, '') END,
		nullif(concat_ws('.', nullif(schema_name, ''), nullif(table_name, ''), nullif(column_name, '')), '')),
		'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+\+00', '<instant>', 'g')
	FROM (SELECT state = '42883' AND message ~ '^(function|operator) ' AS unknown) m
$$;
-- run a statement; say how many rows it touched, or its error
CREATE FUNCTION try(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	n bigint;
	s text; m text; d text; h text; sn text; tn text; cn text;
BEGIN
	EXECUTE statement;
	GET DIAGNOSTICS n = ROW_COUNT;
	RETURN 'rows: ' || n;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS s = RETURNED_SQLSTATE, m = MESSAGE_TEXT, d = PG_EXCEPTION_DETAIL,
		h = PG_EXCEPTION_HINT, sn = SCHEMA_NAME, tn = TABLE_NAME, cn = COLUMN_NAME;
	RETURN said(s, m, d, h, sn, tn, cn);
END
$$;
-- the life of a deal, one line per version; without times where they are the clock's
CREATE FUNCTION life(which text, times boolean DEFAULT false, relation text DEFAULT 'deals')
RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY EXECUTE format($q$
		WITH t AS (SELECT * FROM pipelines.tracked_table WHERE relation = %1$s),
		v AS (
			SELECT to_jsonb(h) AS r, (to_jsonb(h) ->> 'valid_from')::timestamptz AS at FROM %2$s h
			UNION ALL
			SELECT to_jsonb(d), d.changed_at FROM %3$s d
		),
		k AS (
			SELECT v.r, v.at, CASE WHEN cardinality(t.key) = 1 THEN v.r ->> t.key[1]
				ELSE (SELECT '(' || string_agg(v.r ->> c, ',' ORDER BY n) || ')' FROM unnest(t.key) WITH ORDINALITY u(c, n)) END AS deal
			FROM v, t
		)
		SELECT concat_ws(' ', 'v' || (r ->> 'version'), CASE WHEN $2 THEN to_char(at, 'YYYY-MM-DD HH24:MI:SS') END,
			p.name || '/' || s.name, 'e' || (r ->> 'episode'),
			CASE WHEN $2 THEN 'in stage since ' || to_char((r ->> 'stage_entered_at')::timestamptz, 'YYYY-MM-DD HH24:MI:SS') END,
			CASE WHEN f.stage_id <> s.stage_id THEN 'furthest ' || f.name END,
			'amount ' || (r ->> 'amount'), 'override ' || (r ->> 'probability'), 'category ' || (r ->> 'forecast_category'),
			'expected ' || (r ->> 'expected_close_on'), 'owner ' || (r ->> 'owner'),
			CASE WHEN $2 THEN 'closed at ' || to_char((r ->> 'closed_at')::timestamptz, 'YYYY-MM-DD HH24:MI:SS')
				WHEN r ->> 'closed_at' IS NOT NULL THEN 'closed' END,
			CASE WHEN $2 THEN 'on ' || (r ->> 'closed_on') END, 'because ' || (r ->> 'close_reason'),
			'-> ' || (r ->> 'change'),
			CASE WHEN r ->> 'to_stage_id' <> r ->> 'stage_id' OR r ->> 'to_pipeline_id' <> r ->> 'pipeline_id' THEN 'to ' || p2.name || '/' || s2.name END,
			(SELECT 'skipping ' || string_agg(x.name, ',' ORDER BY j.n) FROM jsonb_array_elements_text(nullif(r -> 'skipped_stages', 'null')) WITH ORDINALITY j(id, n)
				JOIN pipelines.stage x ON x.stage_id = j.id::integer))
		FROM k
		LEFT JOIN pipelines.pipeline p ON p.pipeline_id = (r ->> 'pipeline_id')::integer
		LEFT JOIN pipelines.stage s ON s.stage_id = (r ->> 'stage_id')::integer
		LEFT JOIN pipelines.stage f ON f.stage_id = (r ->> 'furthest_stage_id')::integer
		LEFT JOIN pipelines.pipeline p2 ON p2.pipeline_id = (r ->> 'to_pipeline_id')::integer
		LEFT JOIN pipelines.stage s2 ON s2.stage_id = (r ->> 'to_stage_id')::integer
		WHERE deal = $1 ORDER BY (r ->> 'version')::integer, r ? 'change' DESC$q$,
		relation::regclass::oid, (SELECT t.history::text FROM pipelines.tracked_table t WHERE t.relation = life.relation::regclass), relation)
	USING which, times;
END
$$;
-- invariants I1, I4, I6, I7, told from the tables alone; no rows: sound
CREATE FUNCTION problems(relation text DEFAULT 'deals')
RETURNS TABLE (deal text, version integer, problem text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY EXECUTE format($q$
		WITH t AS (SELECT * FROM pipelines.tracked_table WHERE relation = %1$s),
		r AS (
			SELECT to_jsonb(h) AS r, true AS past FROM %2$s h
			UNION ALL
			SELECT to_jsonb(d) || jsonb_build_object('valid_from', d.changed_at), false FROM %3$s d
		),
		v AS (
			SELECT (SELECT string_agg(r.r ->> c, ',' ORDER BY n) FROM unnest(t.key) WITH ORDINALITY u(c, n)) AS deal,
				(r.r ->> 'version')::integer AS version, r.past, r.r, r.r ->> 'change' AS change,
				(r.r ->> 'valid_from')::timestamptz AS valid_from, (r.r ->> 'valid_to')::timestamptz AS valid_to,
				(r.r ->> 'stage_entered_at')::timestamptz AS entered,
				(r.r ->> 'pipeline_id') || '/' || (r.r ->> 'stage_id') AS stage,
				(r.r ->> 'to_pipeline_id') || '/' || (r.r ->> 'to_stage_id') AS to_stage,
				-- the tracked values: what the history has under names of the deals
				(SELECT jsonb_object_agg(e.key, e.value) FROM jsonb_each(r.r) e
				 WHERE e.key IN (SELECT a.attname FROM pg_attribute a JOIN pg_attribute b ON b.attname = a.attname
					WHERE a.attrelid = %1$s AND b.attrelid = t.history AND a.attnum > 0 AND b.attnum > 0
						AND NOT a.attisdropped AND NOT b.attisdropped AND a.attgenerated = '' AND a.attname NOT IN ('version', 'stage_entered_at', 'changed_at'))) AS tracked
			FROM r, t
		),
		w AS (
			SELECT *, lag(version) OVER k AS version0, lag(valid_to) OVER k AS valid_to0, lag(change) OVER k AS change0,
				lag(stage) OVER k AS stage0, lag(to_stage) OVER k AS to_stage0, lag(entered) OVER k AS entered0,
				lag(tracked) OVER k AS tracked0, lead(version) OVER k IS NULL AS newest
			FROM v WINDOW k AS (PARTITION BY deal ORDER BY version, past DESC)
		)
		SELECT deal, version, p FROM w, LATERAL (VALUES
			(version <> coalesce(version0, 0) + 1, format('I7: version follows %%s', coalesce(version0::text, 'nothing'))),
			(past AND valid_from > valid_to, 'I7: ends before it begins'),
			(change0 <> 'delete' AND valid_from <> valid_to0 OR change0 = 'delete' AND valid_from < valid_to0, 'I4: does not begin where the last one ended'),
			(change0 <> 'delete' AND to_stage0 IS DISTINCT FROM stage, 'I4: not where the last one led to'),
			(change = 'delete' AND to_stage IS NOT NULL, 'I4: a deletion with a target'),
			(change0 <> 'delete' AND entered <> CASE WHEN stage = stage0 AND change0 NOT IN ('close', 'reopen') THEN entered0 ELSE valid_from END, 'R-2.4, R-2.5, R-2.34: clock of the stage'),
			(coalesce(change0, 'delete') = 'delete' AND past AND entered > valid_from, 'entered after its beginning'),
			(change0 <> 'delete' AND tracked = tracked0, 'I6: a version in which nothing changed'),
			(newest AND past AND change <> 'delete', 'I4: the deal is missing'),
			(NOT EXISTS (SELECT FROM pipelines.pipeline_stage s WHERE s.pipeline_id || '/' || s.stage_id = stage), 'I1: no such stage'),
			(past AND (r ->> 'recorded_at' IS NULL OR r ->> 'txid' IS NULL OR r ->> 'actor' IS NULL OR r ->> 'role_name' IS NULL), 'no provenance')
		) c(bad, p) WHERE bad
		UNION ALL
		SELECT deal, version, 'verify: ' || problem FROM pipelines.verify(%1$s::oid::regclass)$q$,
		relation::regclass::oid, (SELECT t.history::text FROM pipelines.tracked_table t WHERE t.relation = problems.relation::regclass), relation);
END
$$;
RESET client_min_messages;
