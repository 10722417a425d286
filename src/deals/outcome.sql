-- outcome.sql: a stage gets another outcome with deals in it.
--
-- Nothing but its stage says what a deal is.  So either the stage changes and
-- all deals in it are closed or reopened, each with a row of its own in the
-- history, or they stay what they are, in their stage, and another stage takes
-- its place for those that come.

-- The tables with deals in a stage: how many, and the UPDATE that leaves each
-- of them in its stage (parameters $1 pipeline, $2 stage; NULL: the caller may
-- not move them).
CREATE FUNCTION pipelines._stage_tables(pipeline_id integer, stage_id integer)
RETURNS TABLE (deals regclass, many bigint, statement text)
LANGUAGE sql VOLATILE STRICT PARALLEL UNSAFE COST 100000 ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT l.deals, l.many,
		   CASE WHEN l.deals IN (SELECT t FROM pipelines._movable_tables(p.layout_id) AS t)
				THEN (SELECT format('UPDATE %s.%I AS d SET %3$I = d.%3$I'
									' WHERE d.%4$I OPERATOR(pg_catalog.=) $1 AND d.%3$I OPERATOR(pg_catalog.=) $2',
									c.relnamespace::regnamespace, c.relname, s.column_name, r.column_name)
					  FROM pg_class AS c
					  CROSS JOIN pipelines._roles(l.deals) AS s
					  CROSS JOIN pipelines._roles(l.deals) AS r
					  WHERE c.oid = l.deals AND s.role = 'stage_id' AND r.role = 'pipeline_id') END
	FROM pipelines.pipeline AS p
	CROSS JOIN pipelines._deals_left($1, ARRAY[$2]) AS l
	WHERE p.pipeline_id = $1
	ORDER BY l.deals::text
$$;
COMMENT ON FUNCTION pipelines._stage_tables(integer, integer) IS
'The tables with deals in a stage: how many, and the UPDATE that leaves each deal in its stage, as SQL text.';

CREATE FUNCTION pipelines._redefine_outcome(pipeline_id integer, stage_id integer, outcome text,
	probability numeric, forecast_category text)
RETURNS TABLE (deals regclass, changed bigint)
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000 ROWS 2
AS 'MODULE_PATHNAME', 'pipelines_redefine_outcome';
COMMENT ON FUNCTION pipelines._redefine_outcome(integer, integer, text, numeric, text) IS
'The work of change_outcome(apply_to => ''all'').';

-- Another stage takes the place of one whose deals stay what they are, with
-- whatever leads to it.
CREATE FUNCTION pipelines._replace_stage(pipeline_id integer, stage_id integer, outcome text,
	probability numeric, forecast_category text, name text)
RETURNS integer
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 100000
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	target CONSTANT integer := _replace_stage.pipeline_id;
	old_stage CONSTANT integer := _replace_stage.stage_id;
	goes_on CONSTANT boolean := _replace_stage.outcome IN ('open', 'on_hold');
	new_stage integer;
	s record;
BEGIN
	UPDATE pipelines.pipeline_stage AS p SET archived_at = clock_timestamp()
	WHERE p.pipeline_id = target AND p.stage_id = old_stage
	RETURNING p.* INTO s;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'permission denied to change pipeline "%"',
				(SELECT p.name FROM pipelines.pipeline AS p WHERE p.pipeline_id = target)
			USING ERRCODE = 'insufficient_privilege';
	END IF;
	INSERT INTO pipelines.stage AS c (name) VALUES (_replace_stage.name)
	ON CONFLICT (name) DO NOTHING;
	SELECT c.stage_id INTO STRICT new_stage FROM pipelines.stage AS c WHERE c.name = _replace_stage.name;
	IF EXISTS (SELECT FROM pipelines.pipeline_stage AS p WHERE p.pipeline_id = target AND p.stage_id = new_stage) THEN
		RAISE EXCEPTION 'pipeline "%" has a stage "%" already',
				(SELECT p.name FROM pipelines.pipeline AS p WHERE p.pipeline_id = target), _replace_stage.name
			USING ERRCODE = 'unique_violation',
				HINT = 'Give the stage that takes the place of the old one another name: change_outcome(..., name => ''...'').';
	END IF;
	INSERT INTO pipelines.pipeline_stage (pipeline_id, stage_id, "position", outcome, probability,
		forecast_category, mandatory, stall_limit, stall_basis, stall_time, may_start, entry_rule, exit_rule, colour, attrs)
	VALUES (target, new_stage, s."position", _replace_stage.outcome, _replace_stage.probability,
		_replace_stage.forecast_category, s.mandatory, CASE WHEN goes_on THEN s.stall_limit END, s.stall_basis, s.stall_time,
		s.may_start, s.entry_rule, CASE WHEN goes_on THEN s.exit_rule END, s.colour, s.attrs);
	IF goes_on THEN
		INSERT INTO pipelines.stage_activity (pipeline_id, stage_id, kind, description)
		SELECT target, new_stage, a.kind, a.description
		FROM pipelines.stage_activity AS a WHERE a.pipeline_id = target AND a.stage_id = old_stage;
	END IF;

	-- what leads to the old stage leads to the new one; its deals may leave it as before
	INSERT INTO pipelines.stage_transition (pipeline_id, from_stage_id, to_stage_id)
	SELECT target, new_stage, t.to_stage_id
	FROM pipelines.stage_transition AS t WHERE t.pipeline_id = target AND t.from_stage_id = old_stage
	UNION ALL
	SELECT target, t.from_stage_id, new_stage
	FROM pipelines.stage_transition AS t WHERE t.pipeline_id = target AND t.to_stage_id = old_stage;
	DELETE FROM pipelines.stage_transition AS t WHERE t.pipeline_id = target AND t.to_stage_id = old_stage;
	UPDATE pipelines.approval AS a SET to_stage_id = new_stage
	WHERE a.pipeline_id = target AND a.to_stage_id = old_stage AND a.from_stage_id IS DISTINCT FROM old_stage;
	INSERT INTO pipelines.approval (pipeline_id, from_stage_id, to_stage_id, above, currency, role)
	SELECT target, new_stage, a.to_stage_id, a.above, a.currency, a.role
	FROM pipelines.approval AS a WHERE a.pipeline_id = target AND a.from_stage_id = old_stage;
	UPDATE pipelines.stage_map AS m SET to_stage_id = new_stage
	WHERE m.to_pipeline_id = target AND m.to_stage_id = old_stage;
	INSERT INTO pipelines.stage_map (from_pipeline_id, from_stage_id, to_pipeline_id, to_stage_id)
	SELECT target, new_stage, m.to_pipeline_id, m.to_stage_id
	FROM pipelines.stage_map AS m WHERE m.from_pipeline_id = target AND m.from_stage_id = old_stage;
	PERFORM pipelines._hand_on_values(target, old_stage, new_stage);
	RETURN new_stage;
END
$$;
COMMENT ON FUNCTION pipelines._replace_stage(integer, integer, text, numeric, text, text) IS
'Archives a stage and puts another one, of another outcome, in its place; its deals stay.  Returns the new stage.';

-- What change_outcome() is asked for; what is not about the deals in the stage
-- is done here.  No row: that was all.
CREATE FUNCTION pipelines._outcome_plan(pipeline text, stage text, outcome text, apply_to text,
	probability numeric, forecast_category text, name text)
RETURNS TABLE (pipeline_id integer, stage_id integer, percent numeric)
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 100000 ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	s record;
BEGIN
	pipeline_id := pipelines.pipeline_id(_outcome_plan.pipeline, NULL::text);
	stage_id := pipelines.stage_id(_outcome_plan.pipeline, _outcome_plan.stage);
	IF pipeline_id IS NULL OR stage_id IS NULL OR _outcome_plan.outcome IS NULL THEN
		RAISE EXCEPTION 'pipeline, stage and outcome must not be NULL'
			USING ERRCODE = 'null_value_not_allowed';
	END IF;
	IF apply_to NOT IN ('new', 'all') THEN
		RAISE EXCEPTION 'apply_to can''t be "%"', apply_to
			USING ERRCODE = 'invalid_parameter_value',
				HINT = 'new: deals in the stage stay what they are, and another stage takes its place.  all: they are closed or reopened.  NULL: there are none.';
	END IF;
	IF _outcome_plan.name IS NOT NULL AND apply_to IS DISTINCT FROM 'new' THEN
		RAISE EXCEPTION 'name is for apply_to => ''new'''
			USING ERRCODE = 'invalid_parameter_value',
				DETAIL = 'No other case makes a stage.';
	END IF;
	SELECT p.name AS pipeline, c.name, o.outcome, o.probability, o.archived_at
	INTO STRICT s
	FROM pipelines.pipeline_stage AS o
	JOIN pipelines.pipeline AS p ON p.pipeline_id = o.pipeline_id
	JOIN pipelines.stage AS c ON c.stage_id = o.stage_id
	WHERE o.pipeline_id = _outcome_plan.pipeline_id AND o.stage_id = _outcome_plan.stage_id;
	IF s.outcome = _outcome_plan.outcome THEN
		RAISE EXCEPTION 'the outcome of stage "%" of pipeline "%" is % already', s.name, s.pipeline, s.outcome
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	percent := coalesce(_outcome_plan.probability,
						CASE WHEN s.outcome IN ('open', 'on_hold') AND _outcome_plan.outcome IN ('open', 'on_hold')
							 THEN s.probability END);
	IF percent IS NULL AND _outcome_plan.outcome IN ('open', 'on_hold') THEN
		RAISE EXCEPTION 'the probability of stage "%" of pipeline "%" is not said', s.name, s.pipeline
			USING ERRCODE = 'null_value_not_allowed',
				DETAIL = format('A stage of outcome %s has a probability of 0 to 99 percent.', _outcome_plan.outcome),
				HINT = 'change_outcome(..., probability => 50)';
	END IF;

	IF apply_to = 'all' THEN
		RETURN NEXT;
	ELSIF apply_to = 'new' THEN
		IF s.archived_at IS NOT NULL THEN
			RAISE EXCEPTION 'stage "%" of pipeline "%" is archived', s.name, s.pipeline
				USING ERRCODE = '23S02',
					DETAIL = 'No deal may enter it, so there will be no new ones.';
		END IF;
		PERFORM pipelines._replace_stage(pipeline_id, stage_id, _outcome_plan.outcome, percent,
			_outcome_plan.forecast_category,
			coalesce(_outcome_plan.name, format('%s (%s)', s.name, replace(_outcome_plan.outcome, '_', ' '))));
	ELSE
		UPDATE pipelines.pipeline_stage AS o
		SET outcome = _outcome_plan.outcome, probability = percent, forecast_category = _outcome_plan.forecast_category
		WHERE o.pipeline_id = _outcome_plan.pipeline_id AND o.stage_id = _outcome_plan.stage_id;
		IF NOT FOUND THEN
			RAISE EXCEPTION 'permission denied to change pipeline "%"', s.pipeline
				USING ERRCODE = 'insufficient_privilege';
		END IF;
	END IF;
END
$$;
COMMENT ON FUNCTION pipelines._outcome_plan(text, text, text, text, numeric, text, text) IS
'What change_outcome() is to do with the deals in the stage; it does what is not about them.';

-- No search_path of its own: deals are updated under that of the caller, which
-- the triggers of an application may count on.
CREATE FUNCTION pipelines.change_outcome(pipeline text, stage text, outcome text, apply_to text DEFAULT NULL,
	probability numeric DEFAULT NULL, forecast_category text DEFAULT NULL, name text DEFAULT NULL)
RETURNS TABLE (deals regclass, changed bigint)
LANGUAGE sql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000 ROWS 2
AS $$
	SELECT r.deals, r.changed
	FROM pipelines._outcome_plan($1, $2, $3, $4, $5, $6, $7) AS p
	CROSS JOIN LATERAL pipelines._redefine_outcome(p.pipeline_id, p.stage_id, $3, p.percent, $6) AS r
$$;
COMMENT ON FUNCTION pipelines.change_outcome(text, text, text, text, numeric, text, text) IS
'Gives a stage of a pipeline (names, codes or ids) another outcome: open, on_hold, won, lost, disqualified, done (R-2.34).
apply_to: NULL, it is refused if deals are in the stage; all, each of them is closed, closed differently or reopened at this instant (changes close and reopen, which no rule of the pipeline refuses; a new visit begins, the stage is the same), or nothing is changed; new, they stay what they are in their stage, which is archived, and a new stage takes its place, its rules, and whatever leads to it, also what the application of an adopted table writes.
probability: percent; needed where a closed stage becomes an open one.  forecast_category: by outcome unless given.  name: of the new stage; "<stage> (<outcome>)" unless given.
Returns, for apply_to all, how many deals of each table were closed or reopened; on_hold and open differ by their stage only.  While it runs, no other deal moves.
Errors: 23S01 no such stage, 23S07 deals are in it and apply_to is NULL, 23S02 it is archived (new), 23505 there is a stage of that name (new), 22004 no probability, 22023 apply_to, or it has that outcome already, 23514 outcome or probability is not possible, 42501 the pipeline or some of the deals are not the caller''s to change, 55P03 others hold the definitions.';
