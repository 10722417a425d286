-- moves.sql: moving many deals at once: stages that are merged, pipelines that end.
--
-- Deals are moved by plain UPDATEs with the rights of the caller, so that all
-- rules, triggers and row security hold.  The functions that people call have
-- no search_path of their own: they pass on the caller's, under which the
-- UPDATE runs, since the triggers of an application may count on it.  Nothing
-- else does, and what runs under it names every object and operator in full.

-- The UPDATE that moves deals of one table, as SQL text with the parameters $1
-- source pipeline, $2 source stages, $3 target pipelines, $4 target stages
-- (NULL: as for any transfer).
CREATE FUNCTION pipelines._move_text(deals regclass) RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('UPDATE %1$s.%2$I AS d SET %3$I = m.pipeline, %4$I = coalesce(m.stage, d.%4$I)'
				  ' FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4)) AS m (source, pipeline, stage)'
				  ' WHERE d.%3$I OPERATOR(pg_catalog.=) $1 AND d.%4$I OPERATOR(pg_catalog.=) m.source',
				  c.relnamespace::regnamespace, c.relname, p.column_name, s.column_name)
	FROM pg_class c
	CROSS JOIN pipelines._roles($1) p
	CROSS JOIN pipelines._roles($1) s
	WHERE c.oid = $1 AND p.role = 'pipeline_id' AND s.role = 'stage_id'
$$;
COMMENT ON FUNCTION pipelines._move_text(regclass) IS
'The UPDATE that moves deals of a table from some stages to others, as SQL text.';

-- The deals tables whose deals may be in pipelines of a layout, and may be
-- moved by the caller.
CREATE FUNCTION pipelines._movable_tables(layout_id integer) RETURNS SETOF regclass
LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 10000 ROWS 2
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT t.relation
	FROM pipelines.tracked_table t
	JOIN pg_class c ON c.oid = t.relation
	CROSS JOIN LATERAL (
		SELECT bool_and(has_column_privilege(c.oid, r.column_name::text, 'UPDATE')
						AND has_column_privilege(c.oid, r.column_name::text, 'SELECT')) AS may
		FROM pipelines._roles(t.relation) r
		WHERE r.role IN ('pipeline_id', 'stage_id')) p
	WHERE (t.layout_id = $1 OR t.layout_id IS NULL)
		AND has_schema_privilege(c.relnamespace, 'USAGE') AND p.may
	ORDER BY t.relation::text
$$;
COMMENT ON FUNCTION pipelines._movable_tables(integer) IS
'The deals tables of a layout whose deals the caller may move.';

-- What an application writes for a stage that another one took the place of
-- means that one from now on, unless another pipeline of the layout has the old
-- stage still.
CREATE FUNCTION pipelines._hand_on_values(pipeline_id integer, old_stage integer, new_stage integer)
RETURNS void
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	layout CONSTANT integer := (SELECT p.layout_id FROM pipelines.pipeline AS p WHERE p.pipeline_id = _hand_on_values.pipeline_id);
BEGIN
	IF has_table_privilege('pipelines.stage_value', 'UPDATE') THEN
		UPDATE pipelines.stage_value AS v
		SET stage_id = new_stage,
			is_written = v.is_written AND NOT EXISTS (SELECT FROM pipelines.stage_value AS w
				WHERE w.relation = v.relation AND w.part = v.part AND w.stage_id = new_stage AND w.is_written)
		WHERE v.stage_id = old_stage
			AND EXISTS (SELECT FROM pipelines.tracked_table AS t
				WHERE t.relation = v.relation AND t.layout_id = layout)
			AND NOT EXISTS (SELECT FROM pipelines.pipeline_stage AS o
				JOIN pipelines.pipeline AS q ON q.pipeline_id = o.pipeline_id
				WHERE o.stage_id = old_stage AND o.archived_at IS NULL
					AND q.layout_id = layout AND q.archived_at IS NULL);
	END IF;
END
$$;
COMMENT ON FUNCTION pipelines._hand_on_values(integer, integer, integer) IS
'What applications write for a stage of the pipeline means the one that took its place.';

CREATE FUNCTION pipelines.merge_stages(pipeline text, "from" text, "into" text)
RETURNS TABLE (deals regclass, moved bigint, left_alone bigint)
LANGUAGE sql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000 ROWS 2
AS $$
	SELECT m.deals, m.moved, m.left_alone
	FROM pipelines._merge_stages(pg_catalog.current_setting('search_path'), $1, $2, $3) m
$$;
COMMENT ON FUNCTION pipelines.merge_stages(text, text, text) IS
'Archives a stage of a pipeline for good in favour of another one with the same outcome (names, codes or ids), and moves the deals in it there, closed ones included (change merge, which no rule of the pipeline refuses).  Past visits keep the old stage; its merged_into says under which one a report may show them, also for stages that were merged into it before.  Transitions and maps that led to the old stage lead to the new one; transitions that began there begin in the new one.  What the application of an adopted table writes for the old stage means the new one from then on.
Returns, for each deals table concerned, how many deals were moved, and how many were left alone since the caller may not change them.  While it runs, no other deal moves.
Errors: 23S01 no such stage, 23S02 the target is archived, 22023 the same stage or another outcome, 42501 the pipeline is not the caller''s to change, 55P03 others hold the definitions.';

CREATE FUNCTION pipelines._merge_stages(callers_path text, pipeline text, from_stage text, into_stage text)
RETURNS TABLE (deals regclass, moved bigint, left_alone bigint)
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000 ROWS 2
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	target CONSTANT integer := pipelines.pipeline_id(_merge_stages.pipeline, NULL::text);
	old_stage CONSTANT integer := pipelines.stage_id(_merge_stages.pipeline, from_stage);
	new_stage CONSTANT integer := pipelines.stage_id(_merge_stages.pipeline, into_stage);
	s record;
	statement text;
	tables regclass[] := '{}';
	counts bigint[] := '{}';
	many bigint;
BEGIN
	IF old_stage IS NULL OR new_stage IS NULL THEN
		RETURN;
	END IF;
	IF old_stage = new_stage THEN
		RAISE EXCEPTION 'a stage can''t be merged into itself'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	SELECT p.name AS pipeline, p.layout_id, a.name AS old_name, b.name AS new_name,
		o.outcome AS old_outcome, n.outcome AS new_outcome, n.archived_at
	INTO STRICT s
	FROM pipelines.pipeline AS p
	JOIN pipelines.pipeline_stage AS o ON o.pipeline_id = p.pipeline_id AND o.stage_id = old_stage
	JOIN pipelines.pipeline_stage AS n ON n.pipeline_id = p.pipeline_id AND n.stage_id = new_stage
	JOIN pipelines.stage AS a ON a.stage_id = o.stage_id
	JOIN pipelines.stage AS b ON b.stage_id = n.stage_id
	WHERE p.pipeline_id = target;
	IF s.archived_at IS NOT NULL THEN
		RAISE EXCEPTION 'stage "%" of pipeline "%" is archived', s.new_name, s.pipeline
			USING ERRCODE = '23S02',
				DETAIL = format('No deal may enter it, so stage "%s" can''t be merged into it.', s.old_name),
				HINT = 'Choose a live stage, or set archived_at of this one to NULL.';
	END IF;
	IF s.old_outcome <> s.new_outcome THEN
		RAISE EXCEPTION 'stage "%" can''t be merged into stage "%" of another outcome', s.old_name, s.new_name
			USING ERRCODE = 'invalid_parameter_value',
				DETAIL = format('In pipeline "%s" one is %s, the other %s: its deals would be closed or reopened.',
					s.pipeline, s.old_outcome, s.new_outcome),
				HINT = 'pipelines.change_outcome() changes an outcome, and closes or reopens the deals.';
	END IF;

	UPDATE pipelines.pipeline_stage AS p
	SET archived_at = coalesce(p.archived_at, clock_timestamp()), merged_into = new_stage
	WHERE p.pipeline_id = target AND (p.stage_id = old_stage OR p.merged_into = old_stage);
	IF NOT FOUND THEN
		RAISE EXCEPTION 'permission denied to change pipeline "%"', s.pipeline
			USING ERRCODE = 'insufficient_privilege';
	END IF;
	INSERT INTO pipelines.stage_transition (pipeline_id, from_stage_id, to_stage_id)
	SELECT target, e.from_stage_id, e.to_stage_id
	FROM (SELECT CASE t.from_stage_id WHEN old_stage THEN new_stage ELSE t.from_stage_id END AS from_stage_id,
				 CASE t.to_stage_id WHEN old_stage THEN new_stage ELSE t.to_stage_id END AS to_stage_id
		  FROM pipelines.stage_transition AS t
		  WHERE t.pipeline_id = target AND old_stage IN (t.from_stage_id, t.to_stage_id)) AS e
	WHERE e.from_stage_id <> e.to_stage_id
	ON CONFLICT (pipeline_id, from_stage_id, to_stage_id) DO NOTHING;
	DELETE FROM pipelines.stage_transition AS t
	WHERE t.pipeline_id = target AND old_stage IN (t.from_stage_id, t.to_stage_id);
	UPDATE pipelines.stage_map AS m SET to_stage_id = new_stage
	WHERE m.to_pipeline_id = target AND m.to_stage_id = old_stage;
	PERFORM pipelines._hand_on_values(target, old_stage, new_stage);

	FOR deals IN SELECT t FROM pipelines._movable_tables(s.layout_id) AS t LOOP
		statement := pipelines._move_text(deals);
		PERFORM set_config('search_path', callers_path, true);
		EXECUTE statement USING target, ARRAY[old_stage], ARRAY[target], ARRAY[new_stage];
		GET DIAGNOSTICS many = ROW_COUNT;
		PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
		tables := tables || deals;
		counts := counts || many;
	END LOOP;

	RETURN QUERY
		SELECT coalesce(m.deals, l.deals), coalesce(m.moved, 0), coalesce(l.many, 0)
		FROM unnest(tables, counts) AS m (deals, moved)
		FULL JOIN pipelines._deals_left(target, ARRAY[old_stage]) AS l ON l.deals = m.deals
		WHERE m.moved > 0 OR l.many > 0
		ORDER BY coalesce(m.deals, l.deals)::text;
END
$$;
COMMENT ON FUNCTION pipelines._merge_stages(text, text, text, text) IS
'The work of merge_stages(), which adds the search_path of its caller.';

-- Where the deals of a pipeline that ends shall go: for each stage that is not
-- closed a pipeline and, where the map says so, a stage.  No pipeline: the map
-- does not say.
CREATE FUNCTION pipelines._archive_plan(pipeline text, map jsonb)
RETURNS TABLE (stage_id integer, stage_name text, to_pipeline_id integer, to_stage_id integer)
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE COST 10000 ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	source CONSTANT integer := pipelines.pipeline_id(_archive_plan.pipeline, NULL::text);
	all_to text;
	entries jsonb := '{}';
	stages integer[] := '{}';
	pipelines_to integer[] := '{}';
	stages_to integer[] := '{}';
	e record;
	wrong text;
BEGIN
	IF jsonb_typeof(map) IN ('string', 'number') THEN
		all_to := map #>> '{}';
	ELSIF jsonb_typeof(map) = 'object' AND jsonb_typeof(map -> 'pipeline') IN ('string', 'number') THEN
		all_to := map ->> 'pipeline';
		SELECT string_agg(format('"%s"', k.key), ', ') INTO wrong
		FROM jsonb_each(map) AS k WHERE k.key NOT IN ('pipeline', 'stages')
			OR k.key = 'stages' AND jsonb_typeof(k.value) <> 'object';
		IF wrong IS NULL THEN
			SELECT coalesce(jsonb_object_agg(k.key, jsonb_build_object('pipeline', all_to, 'stage', k.value)), '{}') INTO entries
			FROM jsonb_each(map -> 'stages') AS k;
		END IF;
	ELSIF jsonb_typeof(map) = 'object' THEN
		entries := map;
	ELSE
		wrong := jsonb_typeof(map);
	END IF;
	IF wrong IS NULL THEN
		SELECT string_agg(format('"%s"', k.key), ', ') INTO wrong
		FROM jsonb_each(entries) AS k
		WHERE CASE jsonb_typeof(k.value) WHEN 'object' THEN
			coalesce(jsonb_typeof(k.value -> 'pipeline') NOT IN ('string', 'number'), true)
			OR coalesce(jsonb_typeof(k.value -> 'stage') NOT IN ('string', 'number', 'null'), false)
			OR (SELECT count(*) FROM jsonb_object_keys(k.value) AS o (key) WHERE o.key NOT IN ('pipeline', 'stage')) > 0
			ELSE true END;
	END IF;
	IF wrong IS NOT NULL THEN
		RAISE EXCEPTION 'the map does not say where deals shall go: %', wrong
			USING ERRCODE = 'invalid_parameter_value',
				HINT = 'Give ''"Other pipeline"'', or ''{"pipeline": "Other", "stages": {"Offer": "Quote"}}'', or ''{"Offer": {"pipeline": "Other", "stage": "Quote"}}''.';
	END IF;

	FOR e IN
		SELECT x.key AS stage, x.value ->> 'pipeline' AS pipeline, x.value ->> 'stage' AS to_stage
		FROM jsonb_each(entries) AS x ORDER BY x.key
	LOOP
		stages := stages || pipelines.stage_id(_archive_plan.pipeline, e.stage);
		pipelines_to := pipelines_to || pipelines.pipeline_id(e.pipeline, NULL::text);
		stages_to := stages_to || pipelines.stage_id(e.pipeline, e.to_stage);
		IF (SELECT s.outcome NOT IN ('open', 'on_hold') FROM pipelines.pipeline_stage AS s
			WHERE s.pipeline_id = source AND s.stage_id = stages[cardinality(stages)])
		THEN
			RAISE EXCEPTION 'deals in stage "%" are closed: they stay', e.stage
				USING ERRCODE = 'invalid_parameter_value',
					HINT = 'Leave the stage out of the map.';
		END IF;
	END LOOP;
	IF all_to IS NOT NULL THEN
		all_to := pipelines.pipeline_id(all_to, NULL::text);
	END IF;
	IF source = ANY (pipelines_to) OR source = all_to::integer THEN
		RAISE EXCEPTION 'deals of a pipeline that ends can''t go to itself'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;

	RETURN QUERY
		SELECT s.stage_id, c.name, coalesce(m.pipeline_id, all_to::integer), m.stage_id
		FROM pipelines.pipeline_stage AS s
		JOIN pipelines.stage AS c ON c.stage_id = s.stage_id
		LEFT JOIN unnest(stages, pipelines_to, stages_to) AS m (from_stage_id, pipeline_id, stage_id) ON m.from_stage_id = s.stage_id
		WHERE s.pipeline_id = source AND s.outcome IN ('open', 'on_hold')
		ORDER BY s."position", s.stage_id;
END
$$;
COMMENT ON FUNCTION pipelines._archive_plan(text, jsonb) IS
'Where archive_pipeline() takes the deals, stage by stage. Raises 22023, 23S01.';

CREATE FUNCTION pipelines.archive_pipeline(pipeline text, map jsonb DEFAULT NULL)
RETURNS TABLE (deals regclass, moved bigint)
LANGUAGE sql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000 ROWS 2
AS $$
	SELECT a.deals, a.moved
	FROM pipelines._archive_pipeline(pg_catalog.current_setting('search_path'), $1, $2) a
$$;
COMMENT ON FUNCTION pipelines.archive_pipeline(text, jsonb) IS
'Archives a pipeline: none enters it any more, everything that refers to it stays readable.  Without a map the deals in it stay.  The standard pipeline of a layout only if it is the last one.
map: where the deals go that are not closed: ''"Other"''; or ''{"pipeline": "Other", "stages": {"Offer": "Quote"}}''; or ''{"Offer": {"pipeline": "Other", "stage": "Quote"}, ...}'' (names, codes or ids).  A stage without an entry of its own goes by the rules for any transfer: the same stage, stage_map, transfer_policy.  It is all or nothing: if a deal can''t be moved, nothing is archived.
Returns how many deals of each table were moved.  While it runs, no other deal moves.
Errors: 23S01 no such pipeline or stage, 55000 it is the standard pipeline or deals are left, 22023 the map, 42501 deals that are not the caller''s to move, 55P03 others hold the definitions, and what refuses a transfer.';

CREATE FUNCTION pipelines._archive_pipeline(callers_path text, pipeline text, map jsonb)
RETURNS TABLE (deals regclass, moved bigint)
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000 ROWS 2
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	target CONSTANT integer := pipelines.pipeline_id(_archive_pipeline.pipeline, NULL::text);
	p record;
	plan record;
	others text;
	statement text;
BEGIN
	IF target IS NULL THEN
		RETURN;
	END IF;
	PERFORM pipelines._await_definers();
	SELECT o.* INTO p FROM pipelines.pipeline AS o WHERE o.pipeline_id = target;
	IF p.is_standard THEN
		SELECT string_agg(o.name, ', ' ORDER BY o.name) INTO others FROM pipelines.pipeline AS o
		WHERE o.layout_id = p.layout_id AND o.pipeline_id <> target AND o.archived_at IS NULL;
		IF others IS NOT NULL THEN
			RAISE EXCEPTION 'pipeline "%" is the standard pipeline of its layout', p.name
				USING ERRCODE = 'object_not_in_prerequisite_state',
					DETAIL = format('Deals that name no pipeline go there. Other pipelines of the layout: %s.', others),
					HINT = format('Name another one first: UPDATE pipelines.pipeline SET is_standard = (name = %L) WHERE layout_id = %s;',
						'...', p.layout_id);
		END IF;
	END IF;
	UPDATE pipelines.pipeline AS o SET archived_at = clock_timestamp(), is_standard = false
	WHERE o.pipeline_id = target AND o.archived_at IS NULL;
	IF NOT FOUND AND p.archived_at IS NULL THEN
		RAISE EXCEPTION 'permission denied to change pipeline "%"', p.name
			USING ERRCODE = 'insufficient_privilege';
	END IF;
	IF map IS NULL THEN
		RETURN;
	END IF;

	SELECT array_agg(a.stage_id) AS stages, array_agg(a.to_pipeline_id) AS to_pipelines, array_agg(a.to_stage_id) AS to_stages,
		array_agg(a.stage_id) FILTER (WHERE a.to_pipeline_id IS NULL) AS unsaid
	INTO plan
	FROM pipelines._archive_plan(_archive_pipeline.pipeline, map) AS a;
	IF EXISTS (SELECT FROM pipelines._deals_left(target, plan.unsaid)) THEN
		RAISE EXCEPTION 'the map does not say where all deals of pipeline "%" shall go', p.name
			USING ERRCODE = 'invalid_parameter_value',
				DETAIL = format('Stages that it leaves out, with deals in them: %s.',
					(SELECT string_agg(c.name, ', ' ORDER BY s."position")
					 FROM pipelines.pipeline_stage AS s
					 JOIN pipelines.stage AS c ON c.stage_id = s.stage_id
					 WHERE s.pipeline_id = target AND s.stage_id = ANY (plan.unsaid)
						AND EXISTS (SELECT FROM pipelines._deals_left(target, ARRAY[s.stage_id]))));
	END IF;

	FOR deals IN SELECT t FROM pipelines._movable_tables(p.layout_id) AS t LOOP
		statement := pipelines._move_text(deals);
		PERFORM set_config('search_path', callers_path, true);
		EXECUTE statement USING target, plan.stages, plan.to_pipelines, plan.to_stages;
		GET DIAGNOSTICS moved = ROW_COUNT;
		PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
		IF moved > 0 THEN
			RETURN NEXT;
		END IF;
	END LOOP;

	SELECT string_agg(format('%s of %s', l.many, l.deals), ', ' ORDER BY l.deals::text) INTO others
	FROM pipelines._deals_left(target, plan.stages) AS l;
	IF others IS NOT NULL THEN
		RAISE EXCEPTION 'deals of pipeline "%" could not be moved', p.name
			USING ERRCODE = CASE WHEN EXISTS (SELECT FROM pipelines._deals_left(target, plan.stages) AS l
											  WHERE l.deals NOT IN (SELECT t FROM pipelines._movable_tables(p.layout_id) AS t)
												OR row_security_active(l.deals))
								THEN '42501' ELSE '55000' END,
				DETAIL = format('Left in the pipeline: %s.  Nothing was archived.', others),
				HINT = 'Let somebody do it who may change all these deals, outside of a transaction that began before they were made.';
	END IF;
END
$$;
COMMENT ON FUNCTION pipelines._archive_pipeline(text, text, jsonb) IS
'The work of archive_pipeline(), which adds the search_path of its caller.';

CREATE TYPE pipelines.move_result AS (
	deal text,
	ok boolean,
	sqlstate text,
	reason text,
	target text,
	weighted_change numeric
);
COMMENT ON TYPE pipelines.move_result IS
'What a move did, or would do, to one deal: its key; was it (would it be) moved, or was there already; the SQLSTATE and the reason of a refusal; the name of the stage that it goes to; by how much its weighted amount changes, in its own currency (NULL without an amount); scores are left aside.';

CREATE FUNCTION pipelines.move(deals regclass, deal text, stage text, pipeline text DEFAULT NULL,
	reason text DEFAULT NULL, expect_stage text DEFAULT NULL)
RETURNS SETOF pipelines.move_result
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000 ROWS 1
AS 'MODULE_PATHNAME', 'pipelines_move';
COMMENT ON FUNCTION pipelines.move(regclass, text, text, text, text, text) IS
'Moves one deal, as a plain UPDATE would: to a stage of its pipeline; to a pipeline (stage NULL: by the rules for any transfer); to a stage of another pipeline.
deal: the text form of its key.  stage, pipeline: name, code or id.  reason: stands in for pipelines.reason.  expect_stage: the stage that the deal must be in, else nothing is done (compare and set).
Errors: P0002 there is no such deal (that the caller may change), 23S17 it is in another stage than expected, 23S01 no such stage or pipeline, 22P02 no key, and what refuses a move.';

CREATE FUNCTION pipelines.move_many(deals regclass, ids text[], stage text, pipeline text DEFAULT NULL,
	reason text DEFAULT NULL, on_refuse text DEFAULT 'error')
RETURNS SETOF pipelines.move_result
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 100000 ROWS 1000
AS 'MODULE_PATHNAME', 'pipelines_move_many';
COMMENT ON FUNCTION pipelines.move_many(regclass, text[], text, text, text, text) IS
'Moves many deals by one UPDATE; the arguments are those of move().  One row for each key that was given, in that order.
on_refuse: error (all or nothing: the error lists what is refused, as for a plain UPDATE) or skip (what is refused, or is not there, is left out and told with its SQLSTATE and reason).  What can be refused only once the rows stand (by a rule that looks at generated columns, or because of a trigger of your own that fires after ours) is left out, too: the UPDATE is taken back and repeated without those deals.  An error that a trigger of your own raises is one in both.
Errors: as move(), 22023 on_refuse.';

CREATE FUNCTION pipelines.move_plan(deals regclass, ids text[], stage text, pipeline text DEFAULT NULL,
	reason text DEFAULT NULL)
RETURNS SETOF pipelines.move_result
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 100000 ROWS 1000
AS 'MODULE_PATHNAME', 'pipelines_move_plan';
COMMENT ON FUNCTION pipelines.move_plan(regclass, text[], text, text, text) IS
'What move_many() would do, and refuse, without doing it: no row is changed or locked.  Triggers of your own are not asked, nor policies for UPDATE that are narrower than those for SELECT.
Errors: 42501 no right to move deals, 23S01 no such stage or pipeline, 22P02 no key.';

CREATE FUNCTION pipelines.push_back(deals regclass, deal text, reason text, stage text DEFAULT NULL)
RETURNS SETOF pipelines.move_result
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000 ROWS 1
AS 'MODULE_PATHNAME', 'pipelines_push_back';
COMMENT ON FUNCTION pipelines.push_back(regclass, text, text, text) IS
'Pushes a deal back (R-2.10): to the first mandatory stage that it jumped over in its present episode and has not been in since, or to an earlier open stage that is named (name, code or id).  Up to where it was, it then advances without skips only, and with the activities of each stage done.  Amounts and dates stay.
Errors: P0002 there is no such deal, 23S03 it has skipped nothing or is no further than that stage, 22004 no reason, 23S01 no such stage.';

-- What undo_batch() asks and does.  A batch counts as far as its changes of a
-- deal were the last ones, one after the other: what it did before somebody
-- else changed the deal is not taken back.  b: the deal, first and last version
-- that the batch ended; n: the version right after it, if that has ended.  What
-- comes back as a whole was allowed once; a former stage beside new values may
-- never have been, so that such a move is judged as any other.
CREATE FUNCTION pipelines._undo_texts(deals regclass, OUT list_query text, OUT restore text, OUT go_back text)
LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	WITH k AS (
		SELECT string_agg(format('h.%I', r.history_column), ', ' ORDER BY r.n) AS h_keys,
			   string_agg(format('g.%I', r.history_column), ', ' ORDER BY r.n) AS g_keys,
			   string_agg(format('b.%I', r.history_column), ', ' ORDER BY r.n) AS b_keys,
			   string_agg(format('d.%I OPERATOR(pg_catalog.=) b.%I', r.column_name, r.history_column), ' AND ' ORDER BY r.n) AS d_is_b,
			   string_agg(format('n.%1$I OPERATOR(pg_catalog.=) b.%1$I', r.history_column), ' AND ' ORDER BY r.n) AS n_is_b,
			   string_agg(format('o.%1$I OPERATOR(pg_catalog.=) b.%1$I', r.history_column), ' AND ' ORDER BY r.n) AS o_is_b,
			   CASE WHEN count(*) = 1 THEN format('b.%I::pg_catalog.text', min(r.history_column::text))
					ELSE format('ROW(%s)::pg_catalog.text', string_agg(format('b.%I', r.history_column), ', ' ORDER BY r.n)) END AS as_text
		FROM pipelines._roles($1) r
		WHERE r.role ~ '^key[1-9]'
	), c AS (
		SELECT max(r.column_name::text) FILTER (WHERE r.role = 'version') AS version,
			   max(r.column_name::text) FILTER (WHERE r.role = 'pipeline_id') AS pipeline,
			   max(r.column_name::text) FILTER (WHERE r.role = 'stage_id') AS stage,
			   max(r.column_name::text) FILTER (WHERE r.role = 'stage_entered_at') AS entered,
			   max(r.history_column::text) FILTER (WHERE r.role = 'pipeline_id') AS h_pipeline,
			   max(r.history_column::text) FILTER (WHERE r.role = 'stage_id') AS h_stage,
			   max(r.history_column::text) FILTER (WHERE r.role = 'stage_entered_at') AS h_entered
		FROM pipelines._roles($1) r
	), t AS (
		SELECT format('%s.%I', d.relnamespace::regnamespace, d.relname) AS deals,
			   format('%s.%I', h.relnamespace::regnamespace, h.relname) AS history,
			   pipelines._own_column(x.history, 'version') AS version,
			   pipelines._own_column(x.history, 'change') AS change,
			   pipelines._own_column(x.history, 'batch') AS batch,
			   pipelines._own_column(x.history, 'recorded_at') AS recorded_at,
			   x.tracked
		FROM pipelines.tracked_table x
		JOIN pg_class d ON d.oid = x.relation
		JOIN pg_class h ON h.oid = x.history
		WHERE x.relation = $1
	), p AS (
		SELECT format('(SELECT DISTINCT ON (%2$s) %2$s, pg_catalog.min(g.%3$I) AS first_, pg_catalog.max(g.%3$I) AS last_,'
					  ' pg_catalog.bool_or(g.%4$I OPERATOR(pg_catalog.=) ''delete'') AS deleted_'
					  ' FROM (SELECT %1$s, h.%3$I, h.%4$I, h.%3$I OPERATOR(pg_catalog.-) pg_catalog.row_number() OVER (PARTITION BY %1$s ORDER BY h.%3$I) AS island_'
					  ' FROM %5$s AS h WHERE h.%6$I OPERATOR(pg_catalog.=) $1) AS g'
					  ' GROUP BY %2$s, g.island_ ORDER BY %2$s, pg_catalog.max(g.%3$I) DESC) AS b',
					  k.h_keys, k.g_keys, t.version, t.change, t.history, t.batch) AS b,
			   format('LEFT JOIN %1$s AS n ON %2$s AND n.%3$I OPERATOR(pg_catalog.=) (b.last_ OPERATOR(pg_catalog.+) 1)',
					  t.history, k.n_is_b, t.version) AS n,
			   format('d.%1$I OPERATOR(pg_catalog.=) (b.last_ OPERATOR(pg_catalog.+) 1)', c.version) AS untouched,
			   format('n.%1$I OPERATOR(pg_catalog.=) d.%2$I AND n.%3$I OPERATOR(pg_catalog.=) d.%4$I AND n.%5$I OPERATOR(pg_catalog.=) d.%6$I',
					  c.h_entered, c.entered, c.h_pipeline, c.pipeline, c.h_stage, c.stage) AS unmoved
		FROM k, c, t
	)
	SELECT format('SELECT %1$s, CASE WHEN b.deleted_ OR d.%2$I IS NULL THEN ''it was deleted'''
				  ' WHEN %3$s OR (%4$s) THEN ''it is not yours to change'' ELSE ''it has moved since'' END'
				  ' FROM %5$s LEFT JOIN %6$s AS d ON %7$s %8$s ORDER BY %9$s',
				  k.as_text, c.version, p.untouched, p.unmoved, p.b, t.deals, k.d_is_b, p.n, k.b_keys),
		   u.text || (SELECT string_agg(format(', %1$I = %2$s', r.column_name,
											   -- a column whose past was not kept yet has none to come back
											   CASE WHEN t.tracked ? r.role
													THEN format('CASE WHEN o.%1$I OPERATOR(pg_catalog.>=) %2$L::pg_catalog.timestamptz THEN o.%3$I ELSE d.%4$I END',
																t.recorded_at, t.tracked ->> r.role, r.history_column, r.column_name)
													ELSE format('o.%I', r.history_column) END), '' ORDER BY r.n)
					  FROM pipelines._roles($1) r
					  JOIN pg_attribute a ON a.attrelid = $1 AND a.attname = r.column_name AND a.attnum > 0 AND a.attgenerated = ''
					  WHERE r.history_column IS NOT NULL AND r.role !~ '^key[1-9]'
						AND r.role NOT IN ('pipeline_id', 'stage_id', 'stage_entered_at', 'furthest_stage_id', 'gate_stage_id',
										   'episode', 'version', 'changed_at', 'created_at', 'created_by'))
			|| format(' FROM %1$s JOIN %2$s AS o ON %3$s AND o.%4$I OPERATOR(pg_catalog.=) b.first_'
					  ' WHERE %5$s AND NOT b.deleted_ AND %6$s',
					  p.b, t.history, k.o_is_b, t.version, k.d_is_b, p.untouched),
		   u.text
			|| format(' FROM %1$s JOIN %2$s AS o ON %3$s AND o.%4$I OPERATOR(pg_catalog.=) b.first_ %7$s'
					  ' WHERE %5$s AND NOT b.deleted_ AND NOT %6$s AND %8$s',
					  p.b, t.history, k.o_is_b, t.version, k.d_is_b, p.untouched, p.n, p.unmoved)
	FROM k, c, t, p
	CROSS JOIN LATERAL (SELECT format('UPDATE %1$s AS d SET %2$I = o.%3$I, %4$I = o.%5$I',
									  t.deals, c.pipeline, c.h_pipeline, c.stage, c.h_stage) AS text) u
$$;
COMMENT ON FUNCTION pipelines._undo_texts(regclass) IS
'What undo_batch() asks and does, as SQL texts with the batch as parameter.';

CREATE FUNCTION pipelines.undo_batch(deals regclass, batch text)
RETURNS TABLE (deal text, ok boolean, reason text)
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000 ROWS 1000
AS 'MODULE_PATHNAME', 'pipelines_undo_batch';
COMMENT ON FUNCTION pipelines.undo_batch(regclass, text) IS
'Takes back what was changed under one pipelines.batch (R-2.23), by changes that are kept like any other; nothing is removed from the history.  A deal that has not changed since gets all its tracked values of before the batch (change undo, close or reopen; no rule refuses it, since it was allowed once).  One that has changed, but not moved, goes back to its stage only, as far as the rules let it.  One that has moved or was deleted is left as it is.  New deals stay.  Reads the history once, from end to end.
One row for each deal that the batch changed: was it taken back, else why not.
Errors: P0002 nothing belongs to the batch, 55000 not a deals table.';
