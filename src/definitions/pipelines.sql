-- pipelines.sql: making, copying and archiving pipelines; names to ids; advice.

CREATE FUNCTION pipelines.pipeline_id(name text, layout text DEFAULT NULL) RETURNS integer
LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1
AS 'MODULE_PATHNAME', 'pipelines_pipeline_id';
COMMENT ON FUNCTION pipelines.pipeline_id(text, text) IS
'Id of the pipeline with this name, or code, or id as text, in the given layout or in any. Unknown: 23S01, listing what there is; several: 22023. NULL for NULL. Sees the newest committed definitions at every isolation level.';

CREATE FUNCTION pipelines.stage_id(pipeline text, stage text) RETURNS integer
LANGUAGE c STABLE STRICT PARALLEL SAFE COST 1
AS 'MODULE_PATHNAME', 'pipelines_stage_id';
COMMENT ON FUNCTION pipelines.stage_id(text, text) IS
'Id of the stage with this name, or code, or id as text, in the pipeline with this name, code or id. Unknown: 23S01, listing what there is. Sees the newest committed definitions at every isolation level.';

CREATE FUNCTION pipelines._guess_outcome(stage text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 10
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE
		WHEN n ~ '\m(closed|won|win) ?/ ?lost\M' OR n ~ '\m(won|win)\M' AND n ~ '\m(lost|lose|loss)\M' THEN 'done'
		WHEN n ~ '\mnot (won|sold)\M' OR n ~ '\m(lost|loss)\M' THEN 'lost'
		WHEN n ~ '\m(disqualified|unqualified|not qualified|not interested|junk|spam|rejected)\M' THEN 'disqualified'
		WHEN n ~ '\m(on hold|paused|postponed|dormant)\M' THEN 'on_hold'
		WHEN n ~ '\m(won|closed won|deal closed|sold)\M' THEN 'won'
		WHEN n ~ '\m(request closed|done|completed|finished)\M' OR n = 'closed' THEN 'done'
		ELSE 'open'
	END
	FROM (VALUES (regexp_replace(lower(stage), '[-_\s]+', ' ', 'g'))) AS v (n)
$$;
COMMENT ON FUNCTION pipelines._guess_outcome(text) IS
'Outcome of a stage for which nothing but its name was given; open unless one of a few English words says otherwise. A stage for won and lost together is done.';

-- What create_pipeline() was asked for, as rows: names or objects in, every
-- property with its default out.  Touches no table.
CREATE FUNCTION pipelines._stage_plan(stages jsonb)
RETURNS TABLE (ordinal integer, name text, code text, description text, "position" integer,
	outcome text, probability numeric, forecast_category text, mandatory boolean,
	stall_limit interval, stall_basis text, stall_time text, may_start boolean, entry_rule text, exit_rule text,
	colour text, archived_at timestamptz, attrs jsonb, activities text[])
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000 ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	known CONSTANT text[] := '{name,code,description,position,outcome,probability,forecast_category,mandatory,stall_limit,stall_basis,stall_time,may_start,entry_rule,exit_rule,colour,archived_at,attrs,activities}';
	element jsonb;
	label text;
	unknown text;
	nth integer := 0;
	open_stages integer := 0;
	nth_open integer := 0;
BEGIN
	IF jsonb_typeof(stages) IS DISTINCT FROM 'array' OR jsonb_array_length(stages) = 0 THEN
		RAISE EXCEPTION 'stages must be a JSON array with at least one stage'
			USING ERRCODE = 'invalid_parameter_value',
				HINT = 'Give names, as in ''["New", "Quote", "Won", "Lost"]'', or objects with the columns of pipelines.pipeline_stage.';
	END IF;

	-- the even spread of probabilities needs to know how many open stages there are
	FOR element IN SELECT e.value FROM jsonb_array_elements(stages) AS e LOOP
		nth := nth + 1;
		IF jsonb_typeof(element) = 'string' THEN
			element := jsonb_build_object('name', element);
		END IF;
		IF jsonb_typeof(element) <> 'object' OR jsonb_typeof(element -> 'name') IS DISTINCT FROM 'string' THEN
			RAISE EXCEPTION 'stage % is neither a name nor an object with a "name": %', nth, element
				USING ERRCODE = 'invalid_parameter_value';
		END IF;
		SELECT string_agg(format('"%s"', k.key), ', ') INTO unknown
		FROM jsonb_object_keys(element) AS k (key) WHERE k.key <> ALL (known);
		IF unknown IS NOT NULL THEN
			RAISE EXCEPTION 'stage "%" has an unknown property: %', element ->> 'name', unknown
				USING ERRCODE = 'invalid_parameter_value',
					HINT = format('Known are %s.', array_to_string(known, ', '));
		END IF;
		IF coalesce(element ->> 'outcome', pipelines._guess_outcome(element ->> 'name')) = 'open'
			AND element ->> 'archived_at' IS NULL
		THEN
			open_stages := open_stages + 1;
		END IF;
	END LOOP;

	nth := 0;
	FOR element IN SELECT e.value FROM jsonb_array_elements(stages) AS e LOOP
		nth := nth + 1;
		IF jsonb_typeof(element) = 'string' THEN
			element := jsonb_build_object('name', element);
		END IF;
		label := btrim(element ->> 'name', E' \t\r\n');
		BEGIN
			ordinal := nth;
			name := label;
			code := element ->> 'code';
			description := element ->> 'description';
			"position" := coalesce((element ->> 'position')::integer, nth);
			outcome := coalesce(element ->> 'outcome', pipelines._guess_outcome(label));
			archived_at := (element ->> 'archived_at')::timestamptz;
			probability := (element ->> 'probability')::numeric;
			IF outcome = 'open' AND archived_at IS NULL THEN
				nth_open := nth_open + 1;
				probability := coalesce(probability, CASE WHEN open_stages = 1 THEN 50
					ELSE round(10 + 80.0 * (nth_open - 1) / (open_stages - 1)) END);
			END IF;
			probability := coalesce(probability, CASE outcome WHEN 'won' THEN 100 ELSE 0 END);
			forecast_category := element ->> 'forecast_category';
			mandatory := coalesce((element ->> 'mandatory')::boolean, true);
			stall_limit := (element ->> 'stall_limit')::interval;
			stall_basis := coalesce(element ->> 'stall_basis', 'stage');
			stall_time := coalesce(element ->> 'stall_time', 'calendar');
			may_start := coalesce((element ->> 'may_start')::boolean, true);
			entry_rule := element ->> 'entry_rule';
			exit_rule := element ->> 'exit_rule';
			colour := element ->> 'colour';
			attrs := nullif(element -> 'attrs', 'null');
			activities := CASE WHEN jsonb_typeof(element -> 'activities') = 'array'
				THEN ARRAY(SELECT DISTINCT btrim(k.kind) FROM jsonb_array_elements_text(element -> 'activities') AS k (kind) ORDER BY 1) END;
			IF activities IS NULL AND element ->> 'activities' IS NOT NULL THEN
				RAISE EXCEPTION 'activities must be a JSON array of kinds' USING ERRCODE = 'invalid_parameter_value';
			END IF;
		EXCEPTION WHEN data_exception THEN
			RAISE EXCEPTION 'stage "%": %', label, sqlerrm
				USING ERRCODE = sqlstate, DETAIL = format('Stage %s of the list is %s.', nth, element);
		END;
		RETURN NEXT;
	END LOOP;
END
$$;
COMMENT ON FUNCTION pipelines._stage_plan(jsonb) IS
'The stages that create_pipeline() was given, completed: outcome guessed from the name, open stages spread evenly from 10 to 90 percent. Raises 22023 for what it can''t read.';

-- Not a lock on the table: VACUUM, ANALYZE and changes of other pipelines would wait
-- for it, too.  A plain INSERT is not held up; constraints see to what it may do.
CREATE FUNCTION pipelines._await_definers()
RETURNS void
LANGUAGE sql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 100
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT pg_advisory_xact_lock(('pipelines.pipeline'::regclass::oid::bigint << 32) | 1)
$$;
COMMENT ON FUNCTION pipelines._await_definers() IS
	'Waits until no other transaction is making or archiving a pipeline, and makes others wait until the end of this one.';

CREATE FUNCTION pipelines.create_pipeline(name text, template text DEFAULT NULL, stages jsonb DEFAULT NULL,
	layout text DEFAULT NULL, code text DEFAULT NULL, kind text DEFAULT NULL, mode text DEFAULT 'free',
	override_policy text DEFAULT 'keep', transfer_policy text DEFAULT 'error', time_zone text DEFAULT NULL,
	attrs jsonb DEFAULT NULL, backward text DEFAULT 'allowed', close_requires text[] DEFAULT '{}',
	bypass_role text DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	pipeline_name CONSTANT text := btrim(create_pipeline.name, E' \t\r\n');
	layout_name CONSTANT text := coalesce(btrim(create_pipeline.layout, E' \t\r\n'), 'default');
	wanted_template CONSTANT text := CASE
		WHEN create_pipeline.stages IS NULL THEN coalesce(create_pipeline.template, 'standard')
		ELSE create_pipeline.template END;
	wanted_kind text := create_pipeline.kind;
	wanted jsonb := create_pipeline.stages;
	in_layout integer;
	new_pipeline integer;
	s record;
	picked integer;
	picked_code text;
	repeated text;
BEGIN
	IF pipeline_name IS NULL THEN
		RAISE EXCEPTION 'a pipeline needs a name' USING ERRCODE = 'null_value_not_allowed';
	END IF;
	IF create_pipeline.template IS NOT NULL AND create_pipeline.stages IS NOT NULL THEN
		RAISE EXCEPTION 'a pipeline is made from a template or from stages, not from both'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF wanted_template IS NOT NULL THEN
		SELECT max(t.kind), jsonb_agg(jsonb_build_object('name', t.stage, 'description', t.stage_description,
				'position', t."position", 'outcome', t.outcome, 'probability', t.probability,
				'forecast_category', t.forecast_category, 'stall_limit', t.stall_limit) ORDER BY t."position")
		INTO s
		FROM pipelines.templates() AS t (template, kind, description, "position", stage, stage_description,
			outcome, probability, forecast_category, stall_limit)
		WHERE t.template = wanted_template;
		IF s.jsonb_agg IS NULL THEN
			RAISE EXCEPTION 'there is no template "%"', wanted_template
				USING ERRCODE = 'invalid_parameter_value',
					DETAIL = format('Templates: %s.', (SELECT string_agg(DISTINCT t.template, ', ') FROM pipelines.templates() AS t)),
					HINT = 'SELECT * FROM pipelines.templates() shows them.';
		END IF;
		wanted := s.jsonb_agg;
		wanted_kind := coalesce(wanted_kind, s.max);
	END IF;

	SELECT string_agg(DISTINCT format('"%s"', p.name), ', ') INTO repeated
	FROM (SELECT k.name FROM pipelines._stage_plan(wanted) AS k GROUP BY k.name HAVING count(*) > 1) AS p;
	IF repeated IS NOT NULL THEN
		RAISE EXCEPTION 'a stage can be in a pipeline only once: %', repeated
			USING ERRCODE = 'invalid_parameter_value';
	END IF;

	SELECT string_agg(format('%s (%s)', p."position", p.names), ', ') INTO repeated
	FROM (SELECT k."position", string_agg(format('"%s"', k.name), ', ') AS names FROM pipelines._stage_plan(wanted) AS k
		WHERE k.archived_at IS NULL GROUP BY k."position" HAVING count(*) > 1 ORDER BY k."position") AS p;
	IF repeated IS NOT NULL THEN
		RAISE EXCEPTION 'live stages of pipeline "%" have the same position: %', pipeline_name, repeated
			USING ERRCODE = 'exclusion_violation',
				SCHEMA = 'pipelines', TABLE = 'pipeline_stage', CONSTRAINT = 'live_stages_have_different_positions',
				HINT = 'Leave the positions out to have the order of the list.';
	END IF;

	PERFORM pipelines._require_setup();

	-- two first pipelines of a layout made at once would both become the standard one
	PERFORM pipelines._await_definers();

	SELECT l.layout_id INTO in_layout FROM pipelines.layout AS l WHERE l.name = layout_name;
	IF NOT FOUND THEN
		INSERT INTO pipelines.layout (name) VALUES (layout_name) RETURNING layout_id INTO in_layout;
	END IF;
	IF EXISTS (SELECT FROM pipelines.pipeline AS p WHERE p.layout_id = in_layout AND p.name = pipeline_name) THEN
		RAISE EXCEPTION 'there is already a pipeline "%" in layout "%"', pipeline_name, layout_name
			USING ERRCODE = 'unique_violation',
				SCHEMA = 'pipelines', TABLE = 'pipeline', CONSTRAINT = 'pipeline_name_is_unique_in_its_layout',
				HINT = 'Choose another name, or another layout.';
	END IF;

	INSERT INTO pipelines.pipeline (layout_id, name, code, kind, is_standard, mode, override_policy,
		transfer_policy, time_zone, attrs, backward, close_requires, bypass_role)
	VALUES (in_layout, pipeline_name, create_pipeline.code, wanted_kind, NULL, create_pipeline.mode,
		create_pipeline.override_policy, create_pipeline.transfer_policy,
		coalesce(create_pipeline.time_zone, current_setting('TimeZone')), create_pipeline.attrs,
		create_pipeline.backward, create_pipeline.close_requires, create_pipeline.bypass_role)
	RETURNING pipeline_id INTO new_pipeline;

	FOR s IN SELECT * FROM pipelines._stage_plan(wanted) AS p ORDER BY p.ordinal LOOP
		SELECT c.stage_id, c.code INTO picked, picked_code FROM pipelines.stage AS c WHERE c.name = s.name;
		IF NOT FOUND THEN
			INSERT INTO pipelines.stage (name, code, description) VALUES (s.name, s.code, s.description)
			RETURNING stage_id INTO picked;
		ELSIF s.code <> coalesce(picked_code, '') THEN
			RAISE EXCEPTION 'stage "%" is in the picklist with another code than "%"', s.name, s.code
				USING ERRCODE = 'invalid_parameter_value',
					DETAIL = CASE WHEN picked_code IS NULL THEN 'It has no code.' ELSE format('Its code is "%s".', picked_code) END,
					HINT = 'Leave the code out, or change it in pipelines.stage: it is the same in all pipelines.';
		END IF;
		INSERT INTO pipelines.pipeline_stage (pipeline_id, stage_id, "position", outcome, probability,
			forecast_category, mandatory, stall_limit, stall_basis, stall_time, may_start, entry_rule, exit_rule, colour,
			archived_at, attrs)
		VALUES (new_pipeline, picked, s."position", s.outcome, s.probability, s.forecast_category, s.mandatory,
			s.stall_limit, s.stall_basis, s.stall_time, s.may_start, s.entry_rule, s.exit_rule, s.colour, s.archived_at, s.attrs);
		INSERT INTO pipelines.stage_activity (pipeline_id, stage_id, kind)
		SELECT new_pipeline, picked, k.kind FROM unnest(s.activities) AS k (kind);
	END LOOP;
	RETURN new_pipeline;
END
$$;
COMMENT ON FUNCTION pipelines.create_pipeline(text, text, jsonb, text, text, text, text, text, text, text, jsonb, text, text[], text) IS
'Makes a pipeline and returns its id: from a template (see templates(); standard if nothing is said), or from stages: a JSON array of names, or of objects with the columns of pipelines.pipeline_stage, and activities: kinds that must be done before the stage is left. Stages are picked from pipelines.stage by name, missing ones are added there. For names alone the outcome is taken from a few words (won, lost, disqualified, on hold, done; else open), open stages get 10 to 90 percent in even steps. The first pipeline of a layout becomes its standard one. Makes the definition tables if there are none and the caller may. Raises 22023, 23505, 23514, 55000.';

CREATE FUNCTION pipelines.clone_pipeline(pipeline text, name text, layout text DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	source CONSTANT integer := pipelines.pipeline_id(clone_pipeline.pipeline, NULL::text);
	p record;
	new_pipeline integer;
	in_layout integer;
BEGIN
	SELECT o.*, l.name AS layout_name INTO p
	FROM pipelines.pipeline AS o JOIN pipelines.layout AS l ON l.layout_id = o.layout_id
	WHERE o.pipeline_id = source;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'clone_pipeline needs the name of a pipeline' USING ERRCODE = 'null_value_not_allowed';
	END IF;

	-- the stages of the source are picked by name; NULLs say 'the default', as there
	new_pipeline := pipelines.create_pipeline(
		clone_pipeline.name,
		NULL::text,
		(SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object('name', c.name, 'position', s."position",
				'outcome', s.outcome, 'probability', s.probability, 'forecast_category', s.forecast_category,
				'mandatory', s.mandatory, 'stall_limit', s.stall_limit, 'stall_basis', s.stall_basis,
				'stall_time', s.stall_time, 'may_start', s.may_start, 'entry_rule', s.entry_rule, 'exit_rule', s.exit_rule, 'colour', s.colour)) || CASE WHEN s.attrs IS NULL THEN '{}'
					ELSE jsonb_build_object('attrs', s.attrs) END ORDER BY s."position")
			FROM pipelines.pipeline_stage AS s JOIN pipelines.stage AS c ON c.stage_id = s.stage_id
			WHERE s.pipeline_id = source AND s.archived_at IS NULL),
		coalesce(clone_pipeline.layout, p.layout_name),
		NULL::text, p.kind, p.mode, p.override_policy, p.transfer_policy, p.time_zone, p.attrs,
		p.backward, p.close_requires, p.bypass_role);
	IF p.protected THEN
		PERFORM pipelines._copy_protection(source, new_pipeline);
		SELECT n.layout_id INTO in_layout FROM pipelines.pipeline AS n WHERE n.pipeline_id = new_pipeline;
		PERFORM pipelines._follow_protection(in_layout);
	END IF;
	IF p.use_scores OR p.calendar_id IS NOT NULL THEN
		UPDATE pipelines.pipeline AS n SET use_scores = p.use_scores, calendar_id = p.calendar_id
		WHERE n.pipeline_id = new_pipeline;
	END IF;
	INSERT INTO pipelines.stage_activity (pipeline_id, stage_id, kind, description)
	SELECT new_pipeline, a.stage_id, a.kind, a.description
	FROM pipelines.stage_activity AS a
	JOIN pipelines.pipeline_stage AS b ON b.pipeline_id = new_pipeline AND b.stage_id = a.stage_id
	WHERE a.pipeline_id = source;
	INSERT INTO pipelines.approval (pipeline_id, from_stage_id, to_stage_id, above, currency, role)
	SELECT new_pipeline, a.from_stage_id, a.to_stage_id, a.above, a.currency, a.role
	FROM pipelines.approval AS a
	WHERE a.pipeline_id = source
		AND (a.from_stage_id IS NULL OR EXISTS (SELECT FROM pipelines.pipeline_stage AS b
			WHERE b.pipeline_id = new_pipeline AND b.stage_id = a.from_stage_id))
		AND (a.to_stage_id IS NULL OR EXISTS (SELECT FROM pipelines.pipeline_stage AS b
			WHERE b.pipeline_id = new_pipeline AND b.stage_id = a.to_stage_id))
	ORDER BY a.approval_id;
	INSERT INTO pipelines.stage_transition (pipeline_id, from_stage_id, to_stage_id)
	SELECT new_pipeline, t.from_stage_id, t.to_stage_id
	FROM pipelines.stage_transition AS t
	JOIN pipelines.pipeline_stage AS a ON a.pipeline_id = new_pipeline AND a.stage_id = t.from_stage_id
	JOIN pipelines.pipeline_stage AS b ON b.pipeline_id = new_pipeline AND b.stage_id = t.to_stage_id
	WHERE t.pipeline_id = source;
	RETURN new_pipeline;
END
$$;
COMMENT ON FUNCTION pipelines.clone_pipeline(text, text, text) IS
'Makes a pipeline with the live stages, properties, rules, activities, approvals and transitions of another one, in the same or in another layout, and returns its id. Codes and maps are not copied. A copy of a protected pipeline is protected, for the same roles. Raises 23S01, 23505, 42501.';

CREATE FUNCTION pipelines.archive_stage(pipeline text, stage text) RETURNS void
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	UPDATE pipelines.pipeline_stage AS s SET archived_at = clock_timestamp()
	WHERE s.pipeline_id = pipelines.pipeline_id(archive_stage.pipeline, NULL::text)
		AND s.stage_id = pipelines.stage_id(archive_stage.pipeline, archive_stage.stage)
		AND s.archived_at IS NULL;
END
$$;
COMMENT ON FUNCTION pipelines.archive_stage(text, text) IS
'Archives a stage of a pipeline: deals in it stay, none enters it any more, everything that refers to it stays readable. Raises 23S01, 55P03.';

CREATE FUNCTION pipelines.check_definitions()
RETURNS TABLE (pipeline_id integer, pipeline_name text, stage_id integer, stage_name text, advice text, message text)
LANGUAGE plpgsql STABLE PARALLEL SAFE COST 10000 ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	IF to_regclass('pipelines.pipeline_stage') IS NULL OR to_regclass('pipelines.tracked_table') IS NULL THEN
		RAISE EXCEPTION 'the definition tables do not exist'
			USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Run "SELECT pipelines.setup();" as the database''s administrator.';
	END IF;
	RETURN QUERY
	WITH live AS (
		SELECT p.pipeline_id, p.name AS pipeline_name, p.kind, p.mode, p.layout_id, p.is_standard
		FROM pipelines.pipeline AS p WHERE p.archived_at IS NULL
	),
	stages AS (
		SELECT l.pipeline_id, l.pipeline_name, s.stage_id, c.name AS stage_name, c.description, s."position",
			s.outcome, s.probability, s.may_start,
			lag(s.probability) OVER before AS last_probability,
			row_number() OVER before AS nth,
			bool_or(s.outcome NOT IN ('open', 'on_hold')) OVER (PARTITION BY s.pipeline_id ORDER BY s."position") AS after_closing
		FROM live AS l
		JOIN pipelines.pipeline_stage AS s ON s.pipeline_id = l.pipeline_id AND s.archived_at IS NULL
		JOIN pipelines.stage AS c ON c.stage_id = s.stage_id
		WINDOW before AS (PARTITION BY s.pipeline_id, s.outcome = 'open' ORDER BY s."position")
	),
	counted AS (
		SELECT l.*, count(s.stage_id) AS n,
			count(*) FILTER (WHERE s.outcome = 'open') AS n_open,
			count(*) FILTER (WHERE s.outcome = 'open' AND s.may_start) AS n_start,
			count(*) FILTER (WHERE s.outcome = 'won') AS n_won,
			count(*) FILTER (WHERE s.outcome = 'done') AS n_done,
			count(*) FILTER (WHERE s.outcome IN ('lost', 'disqualified')) AS n_lost
		FROM live AS l LEFT JOIN stages AS s ON s.pipeline_id = l.pipeline_id
		GROUP BY l.pipeline_id, l.pipeline_name, l.kind, l.mode, l.layout_id, l.is_standard
	),
	found AS (
		SELECT NULL::integer AS pipeline_id, NULL::text AS pipeline_name, NULL::integer AS nth, NULL::integer AS stage_id,
			NULL::text AS stage_name, 'no_standard_pipeline' AS advice,
			format('Layout "%s" has no standard pipeline: deals that name none are refused.', l.name) AS message
		FROM pipelines.layout AS l
		WHERE EXISTS (SELECT FROM live AS p WHERE p.layout_id = l.layout_id)
			AND NOT EXISTS (SELECT FROM live AS p WHERE p.layout_id = l.layout_id AND p.is_standard)
		UNION ALL
		SELECT NULL, NULL, NULL, NULL, NULL, 'trigger_missing',
			format('A trigger of "%s" is missing or does not fire always: run "SELECT pipelines.setup();".', d.relation)
		FROM (
			SELECT n.table_name || k.suffix AS relation, k.trigger_name
			FROM pipelines._definition_tables() AS n
			CROSS JOIN (VALUES ('', 'pipelines_turn'), ('', '~pipelines_before'), ('', 'pipelines_after'), ('', 'pipelines_truncate'),
				('_history', 'pipelines_guard'), ('_history', 'pipelines_guard_truncate')) AS k (suffix, trigger_name)
			WHERE n.versioned AND (n.table_name <> 'tracked_table' OR k.trigger_name <> 'pipelines_turn')
			UNION ALL
			VALUES ('purge_log', 'pipelines_guard'), ('purge_log', 'pipelines_guard_truncate'),
				('adjustment', 'pipelines_guard'), ('adjustment', 'pipelines_guard_truncate'),
				('submission', 'pipelines_guard'), ('submission', 'pipelines_guard_truncate'),
				('fiscal_calendar', 'pipelines_calendar'), ('fiscal_period', 'pipelines_calendar')
		) AS d
		WHERE NOT EXISTS (SELECT FROM pg_trigger AS t
			WHERE t.tgrelid = to_regclass(format('pipelines.%I', d.relation))
				AND t.tgname = d.trigger_name AND t.tgenabled = 'A')
		GROUP BY d.relation
		UNION ALL
		SELECT NULL, NULL, NULL, NULL, NULL, 'constraint_disabled',
			format('Foreign keys or unique positions of "%1$s" are not enforced: run "ALTER TABLE pipelines.%1$I ENABLE TRIGGER ALL;" and then "SELECT pipelines.setup();".', n.table_name)
		FROM pipelines._definition_tables() AS n
		WHERE EXISTS (SELECT FROM pg_trigger AS t
			WHERE t.tgrelid = to_regclass(format('pipelines.%I', n.table_name))
				AND t.tgisinternal AND t.tgenabled = 'D')
		UNION ALL
		SELECT o.pipeline_id, p.name, 0, o.stage_id, c.name, 'reference_missing',
			format('Row (%s) of "%s" refers to %s, which does not exist.', o.key, o.relation, o.target)
		FROM (
			SELECT r.pipeline_id, NULL::integer AS stage_id, 'pipeline' AS relation,
				r.pipeline_id::text AS key, format('layout %s', r.layout_id) AS target
			FROM pipelines.pipeline AS r
			WHERE NOT EXISTS (SELECT FROM pipelines.layout AS t WHERE t.layout_id = r.layout_id)
			UNION ALL
			SELECT r.pipeline_id, r.stage_id, 'pipeline_stage', format('%s, %s', r.pipeline_id, r.stage_id),
				format('pipeline %s', r.pipeline_id)
			FROM pipelines.pipeline_stage AS r
			WHERE NOT EXISTS (SELECT FROM pipelines.pipeline AS t WHERE t.pipeline_id = r.pipeline_id)
			UNION ALL
			SELECT r.pipeline_id, r.stage_id, 'pipeline_stage', format('%s, %s', r.pipeline_id, r.stage_id),
				format('stage %s', r.stage_id)
			FROM pipelines.pipeline_stage AS r
			WHERE NOT EXISTS (SELECT FROM pipelines.stage AS t WHERE t.stage_id = r.stage_id)
			UNION ALL
			SELECT e.pipeline_id, e.stage_id, 'stage_map',
				format('%s, %s, %s', r.from_pipeline_id, r.from_stage_id, r.to_pipeline_id),
				format('stage %s of pipeline %s', e.stage_id, e.pipeline_id)
			FROM pipelines.stage_map AS r
			CROSS JOIN LATERAL (VALUES (r.from_pipeline_id, r.from_stage_id),
				(r.to_pipeline_id, r.to_stage_id)) AS e (pipeline_id, stage_id)
			WHERE NOT EXISTS (SELECT FROM pipelines.pipeline_stage AS t
				WHERE t.pipeline_id = e.pipeline_id AND t.stage_id = e.stage_id)
			UNION ALL
			SELECT r.pipeline_id, e.stage_id, 'stage_transition',
				format('%s, %s, %s', r.pipeline_id, r.from_stage_id, r.to_stage_id),
				format('stage %s of pipeline %s', e.stage_id, r.pipeline_id)
			FROM pipelines.stage_transition AS r
			CROSS JOIN LATERAL (VALUES (r.from_stage_id), (r.to_stage_id)) AS e (stage_id)
			WHERE NOT EXISTS (SELECT FROM pipelines.pipeline_stage AS t
				WHERE t.pipeline_id = r.pipeline_id AND t.stage_id = e.stage_id)
			UNION ALL
			SELECT NULL, NULL, 'tracked_table', r.relation::text, format('layout %s', r.layout_id)
			FROM pipelines.tracked_table AS r
			WHERE NOT EXISTS (SELECT FROM pipelines.layout AS t WHERE t.layout_id = r.layout_id)
				AND r.layout_id IS NOT NULL
			UNION ALL
			SELECT r.pipeline_id, r.stage_id, 'pipeline_stage', format('%s, %s', r.pipeline_id, r.stage_id),
				format('stage %s of pipeline %s', r.merged_into, r.pipeline_id)
			FROM pipelines.pipeline_stage AS r
			WHERE r.merged_into IS NOT NULL
				AND NOT EXISTS (SELECT FROM pipelines.pipeline_stage AS t
					WHERE t.pipeline_id = r.pipeline_id AND t.stage_id = r.merged_into)
			UNION ALL
			SELECT r.pipeline_id, r.stage_id, 'stage_activity', format('%s, %s, %s', r.pipeline_id, r.stage_id, r.kind),
				format('stage %s of pipeline %s', r.stage_id, r.pipeline_id)
			FROM pipelines.stage_activity AS r
			WHERE NOT EXISTS (SELECT FROM pipelines.pipeline_stage AS t
				WHERE t.pipeline_id = r.pipeline_id AND t.stage_id = r.stage_id)
			UNION ALL
			SELECT r.pipeline_id, NULL, 'approval', r.approval_id::text, format('pipeline %s', r.pipeline_id)
			FROM pipelines.approval AS r
			WHERE NOT EXISTS (SELECT FROM pipelines.pipeline AS t WHERE t.pipeline_id = r.pipeline_id)
			UNION ALL
			SELECT r.pipeline_id, e.stage_id, 'approval', r.approval_id::text,
				format('stage %s of pipeline %s', e.stage_id, r.pipeline_id)
			FROM pipelines.approval AS r
			CROSS JOIN LATERAL (VALUES (r.from_stage_id), (r.to_stage_id)) AS e (stage_id)
			WHERE e.stage_id IS NOT NULL
				AND NOT EXISTS (SELECT FROM pipelines.pipeline_stage AS t
					WHERE t.pipeline_id = r.pipeline_id AND t.stage_id = e.stage_id)
			UNION ALL
			SELECT r.pipeline_id, NULL, 'deal_type', format('%s, %s, %s', r.layout_id, r.column_name, r.value),
				format('layout %s', r.layout_id)
			FROM pipelines.deal_type AS r
			WHERE NOT EXISTS (SELECT FROM pipelines.layout AS t WHERE t.layout_id = r.layout_id)
			UNION ALL
			SELECT r.pipeline_id, NULL, 'deal_type', format('%s, %s, %s', r.layout_id, r.column_name, r.value),
				format('pipeline %s', r.pipeline_id)
			FROM pipelines.deal_type AS r
			WHERE NOT EXISTS (SELECT FROM pipelines.pipeline AS t WHERE t.pipeline_id = r.pipeline_id)
			UNION ALL
			SELECT r.pipeline_id, NULL, 'pipeline_role', format('%s, %s', r.pipeline_id, r.role),
				format('pipeline %s', r.pipeline_id)
			FROM pipelines.pipeline_role AS r
			WHERE NOT EXISTS (SELECT FROM pipelines.pipeline AS t WHERE t.pipeline_id = r.pipeline_id)
			UNION ALL
			SELECT NULL, r.stage_id, 'stage_value', format('%s, %s, %s', r.relation, r.part, r.value),
				format('stage %s', r.stage_id)
			FROM pipelines.stage_value AS r
			WHERE NOT EXISTS (SELECT FROM pipelines.stage AS t WHERE t.stage_id = r.stage_id)
			UNION ALL
			SELECT NULL, NULL, 'sales_unit', format('%s, %s', r.unit_id, r.starts_on), format('sales unit %s', r.parent_id)
			FROM pipelines.sales_unit AS r
			WHERE r.parent_id IS NOT NULL AND NOT EXISTS (SELECT FROM pipelines.sales_unit AS t WHERE t.unit_id = r.parent_id)
			UNION ALL
			SELECT NULL, NULL, 'sales_unit_member', format('%s, %s', r.owner, r.starts_on), format('sales unit %s', r.unit_id)
			FROM pipelines.sales_unit_member AS r
			WHERE r.unit_id IS NOT NULL AND NOT EXISTS (SELECT FROM pipelines.sales_unit AS t WHERE t.unit_id = r.unit_id)
			UNION ALL
			SELECT r.pipeline_id, NULL, 'quota', r.quota_id::text, e.target
			FROM pipelines.quota AS r
			CROSS JOIN LATERAL (VALUES
				(format('forecast type %s', r.forecast_type_id),
				 NOT EXISTS (SELECT FROM pipelines.forecast_type AS t WHERE t.forecast_type_id = r.forecast_type_id)),
				(format('fiscal period %s', r.period_id),
				 NOT EXISTS (SELECT FROM pipelines.fiscal_period AS t WHERE t.period_id = r.period_id)),
				(format('sales unit %s', r.unit_id),
				 r.unit_id IS NOT NULL AND NOT EXISTS (SELECT FROM pipelines.sales_unit AS t WHERE t.unit_id = r.unit_id)),
				(format('pipeline %s', r.pipeline_id),
				 r.pipeline_id IS NOT NULL AND NOT EXISTS (SELECT FROM pipelines.pipeline AS t WHERE t.pipeline_id = r.pipeline_id))
				) AS e (target, missing)
			WHERE e.missing
			UNION ALL
			SELECT NULL, NULL, r.relation, r.key, e.target
			FROM (SELECT 'adjustment' AS relation, a.adjustment_id::text AS key, a.forecast_type_id, a.period_id
				  FROM pipelines.adjustment AS a
				  UNION ALL
				  SELECT 'submission', b.submission_id::text, b.forecast_type_id, b.period_id
				  FROM pipelines.submission AS b) AS r
			CROSS JOIN LATERAL (VALUES
				(format('forecast type %s', r.forecast_type_id),
				 NOT EXISTS (SELECT FROM pipelines.forecast_type AS t WHERE t.forecast_type_id = r.forecast_type_id)),
				(format('fiscal period %s', r.period_id),
				 NOT EXISTS (SELECT FROM pipelines.fiscal_period AS t WHERE t.period_id = r.period_id))
				) AS e (target, missing)
			WHERE e.missing
		) AS o
		LEFT JOIN pipelines.pipeline AS p ON p.pipeline_id = o.pipeline_id
		LEFT JOIN pipelines.stage AS c ON c.stage_id = o.stage_id
		UNION ALL
		SELECT NULL, NULL, NULL, NULL, NULL, 'table_missing',
			format('The deals table with OID %s does not exist any more; its entry in tracked_table is without effect.', t.relation::oid)
		FROM pipelines.tracked_table AS t
		WHERE NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = t.relation)
		UNION ALL
		SELECT NULL, NULL, NULL, NULL, NULL, 'not_protected',
			format('A pipeline whose deals may be in table %s is protected, but the table is not: its owner must run "SELECT pipelines.resume(%L);".', t.relation, t.relation)
		FROM pipelines.tracked_table AS t
		JOIN pg_class AS c ON c.oid = t.relation
		WHERE pipelines._protects(t.layout_id) AND NOT pipelines._secured(t.relation)
		UNION ALL
		SELECT r.pipeline_id, p.name, 0, NULL, NULL, 'role_missing', format('%s names role "%s", which does not exist: %s.', r.what, r.role, r.effect)
		FROM (
			SELECT x.pipeline_id, x.bypass_role AS role, 'bypass_role' AS what, 'nobody may bypass the rules' AS effect
			FROM pipelines.pipeline AS x
			UNION
			SELECT x.pipeline_id, x.role, 'An approval', 'nobody can make the moves that need it'
			FROM pipelines.approval AS x
			UNION
			SELECT x.pipeline_id, x.role, 'pipeline_role', 'it gives nobody access'
			FROM pipelines.pipeline_role AS x
		) AS r
		LEFT JOIN pipelines.pipeline AS p ON p.pipeline_id = r.pipeline_id
		WHERE r.role <> 'public' AND NOT EXISTS (SELECT FROM pg_roles AS g WHERE g.rolname = r.role)
		UNION ALL
		SELECT s.pipeline_id, s.pipeline_name, s."position", s.stage_id, s.stage_name, 'no_activities',
			format('It demands activities (%s), and %s has no table of activities: its deals can''t leave this stage forward.',
				(SELECT string_agg(a.kind, ', ' ORDER BY a.kind) FROM pipelines.stage_activity AS a
				 WHERE a.pipeline_id = s.pipeline_id AND a.stage_id = s.stage_id), t.relation)
		FROM stages AS s
		JOIN live AS l ON l.pipeline_id = s.pipeline_id
		JOIN pipelines.tracked_table AS t ON t.layout_id = l.layout_id
		JOIN pg_class AS c ON c.oid = t.relation
		WHERE EXISTS (SELECT FROM pipelines.stage_activity AS a
				WHERE a.pipeline_id = s.pipeline_id AND a.stage_id = s.stage_id)
			AND NOT EXISTS (SELECT FROM pg_class AS g WHERE g.oid = t.activity)
		UNION ALL
		SELECT NULL, NULL, NULL, NULL, NULL, 'column_missing',
			format('deal_type looks at column "%s", which no table of layout "%s" has.', y.column_name, l.name)
		FROM (SELECT DISTINCT x.layout_id, x.column_name FROM pipelines.deal_type AS x) AS y
		JOIN pipelines.layout AS l ON l.layout_id = y.layout_id
		WHERE EXISTS (SELECT FROM pipelines.tracked_table AS t WHERE t.layout_id = y.layout_id)
			AND NOT EXISTS (SELECT FROM pipelines.tracked_table AS t
				WHERE t.layout_id = y.layout_id
					AND (t.columns ? y.column_name
						OR EXISTS (SELECT FROM pg_attribute AS a
							WHERE a.attrelid = t.relation AND a.attname = y.column_name AND a.attnum > 0 AND NOT a.attisdropped)))
		UNION ALL
		SELECT c.pipeline_id, c.pipeline_name, 0, NULL, NULL, 'no_open_stage', 'No deal can be worked on in this pipeline: it has no open stage.'
		FROM counted AS c WHERE c.n_open = 0
		UNION ALL
		SELECT c.pipeline_id, c.pipeline_name, 0, NULL, NULL, 'no_start', 'No deal can be created in this pipeline: no open stage has may_start.'
		FROM counted AS c WHERE c.n_open > 0 AND c.n_start = 0
		UNION ALL
		SELECT c.pipeline_id, c.pipeline_name, 0, NULL, NULL, 'no_closing_stage', 'No deal can be closed successfully: there is no stage of outcome won or done.'
		FROM counted AS c WHERE c.n_won = 0 AND c.n_done = 0
		UNION ALL
		SELECT c.pipeline_id, c.pipeline_name, 0, NULL, NULL, 'no_lost_stage', 'Deals can be won, but not lost: win rates will be 100 percent.'
		FROM counted AS c WHERE c.n_won > 0 AND c.n_lost = 0
		UNION ALL
		SELECT c.pipeline_id, c.pipeline_name, 0, NULL, NULL, 'stage_count',
			format('%s stages; pipelines of kind %s usually have %s to %s.', c.n, c.kind, g.least, g.most)
		FROM counted AS c
		JOIN (VALUES ('new_business', 5, 8), ('upsell', 3, 5), ('renewal', 3, 5)) AS g (kind, least, most) ON g.kind = c.kind
		WHERE c.n > 0 AND c.n NOT BETWEEN g.least AND g.most
		UNION ALL
		SELECT c.pipeline_id, c.pipeline_name, 0, NULL, NULL, 'no_transitions', 'Mode graph without rows in stage_transition: no deal can move.'
		FROM counted AS c
		WHERE c.mode = 'graph' AND NOT EXISTS (SELECT FROM pipelines.stage_transition AS t WHERE t.pipeline_id = c.pipeline_id)
		UNION ALL
		SELECT s.pipeline_id, s.pipeline_name, s."position", s.stage_id, s.stage_name, 'probability_falls',
			format('%s percent after %s percent: deals that advance lose value in the forecast.', s.probability, s.last_probability)
		FROM stages AS s WHERE s.outcome = 'open' AND s.probability < s.last_probability
		UNION ALL
		SELECT s.pipeline_id, s.pipeline_name, s."position", s.stage_id, s.stage_name, 'probability_zero',
			'0 percent in an open stage other than the first: its deals are not in the forecast.'
		FROM stages AS s WHERE s.outcome = 'open' AND s.probability = 0 AND s.nth > 1
		UNION ALL
		SELECT s.pipeline_id, s.pipeline_name, s."position", s.stage_id, s.stage_name, 'open_after_closing',
			'An open stage after a closing one: a deal that goes there counts as reopened.'
		FROM stages AS s WHERE s.outcome = 'open' AND s.after_closing
		UNION ALL
		SELECT s.pipeline_id, s.pipeline_name, s."position", s.stage_id, s.stage_name, 'no_calendar',
			'Its limit counts business time, but its pipeline has no calendar and there is no standard one: nobody can ask which deals have stalled.'
		FROM stages AS s
		JOIN pipelines.pipeline AS p ON p.pipeline_id = s.pipeline_id
		JOIN pipelines.pipeline_stage AS x ON x.pipeline_id = s.pipeline_id AND x.stage_id = s.stage_id
		WHERE s.outcome = 'open' AND x.stall_limit IS NOT NULL AND x.stall_time = 'business'
			AND NOT EXISTS (SELECT FROM pipelines.fiscal_calendar AS k
				WHERE CASE WHEN p.calendar_id IS NULL THEN k.is_standard ELSE k.calendar_id = p.calendar_id END)
		UNION ALL
		SELECT s.pipeline_id, s.pipeline_name, s."position", s.stage_id, s.stage_name, 'no_description',
			'Nothing says what is to be done in this stage, and when it is complete.'
		FROM stages AS s WHERE coalesce(btrim(s.description), '') = ''
	)
	SELECT f.pipeline_id, f.pipeline_name, f.stage_id, f.stage_name, f.advice, f.message
	FROM found AS f ORDER BY f.pipeline_name NULLS FIRST, f.pipeline_id NULLS FIRST, f.nth, f.advice, f.message;
END
$$;
COMMENT ON FUNCTION pipelines.check_definitions() IS
'Advice on the definitions, one row each; none of it is enforced. Columns: the pipeline and stage concerned (NULL: all), a code that programs can rely on, a message for people. No row: nothing to say.';
