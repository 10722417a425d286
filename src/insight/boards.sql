-------------------------------------------------------------------------------
-- boards.sql
--   Boards: deals in columns, arranged by stage or anything else (S98, S109,
--   S111, S113), as rows and as one document for a front end; saved under names.
-------------------------------------------------------------------------------

-- The deals of a board (d), with their definitions (p, ps, s, e) as in T_current;
-- in the past as they and their stages (definitions) were at $1.  scored: the query
-- has a table score of what scores() said then.
CREATE FUNCTION pipelines._board_from(deals regclass, present boolean, scored boolean, definitions text)
RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN $2 THEN pipelines._deal_from($1)
		ELSE format($sql$
	FROM %1$s d
	LEFT JOIN pipelines.pipeline p ON p.pipeline_id = %2$s
	LEFT JOIN %8$s ps ON ps.pipeline_id = %2$s AND ps.stage_id = %3$s
	LEFT JOIN pipelines.stage s ON s.stage_id = %3$s%6$s
	CROSS JOIN LATERAL (
		SELECT coalesce(ps.outcome NOT IN ('open', 'on_hold'), false) AS closed,
			   CASE WHEN ps.outcome = 'won' THEN 100::numeric
					WHEN ps.outcome IN ('lost', 'disqualified', 'done') THEN 0::numeric
					ELSE coalesce(%7$s%4$s, ps.probability) END AS probability,
			   CASE WHEN ps.outcome = 'won' THEN 'closed'
					WHEN ps.outcome IN ('lost', 'disqualified', 'done') THEN 'omitted'
					ELSE coalesce(%5$s, ps.forecast_category,
								  CASE WHEN ps.outcome = 'on_hold' THEN 'omitted' ELSE 'pipeline' END)
					END AS category
	) e$sql$, pipelines._past_source($1), pipelines._column($1, 'pipeline_id'), pipelines._column($1, 'stage_id'),
			pipelines._column($1, 'probability', 'numeric'), pipelines._column($1, 'forecast_category', 'text'),
			CASE WHEN $3 THEN format(E'\n\tLEFT JOIN score z ON z.deal = %s', pipelines._key_as_text($1, 'd')) ELSE '' END,
			CASE WHEN $3 THEN 'z.effective_probability, ' ELSE '' END, $4)
		END
$$;
COMMENT ON FUNCTION pipelines._board_from(regclass, boolean, boolean, text) IS
'The FROM clause of a board, as SQL text; $1 is the instant.';

CREATE FUNCTION pipelines.board(deals regclass, by text DEFAULT NULL, stages text[] DEFAULT NULL, pipeline text DEFAULT NULL,
	condition text DEFAULT NULL, order_by text DEFAULT NULL, cards integer DEFAULT 50, page integer DEFAULT 1,
	as_json boolean DEFAULT false, as_of timestamptz DEFAULT now(), definitions text DEFAULT 'then')
RETURNS TABLE (column_number integer, column_name text, pipeline_id integer, stage_id integer, outcome text, currency text,
	deals_count bigint, unpriced bigint, amount numeric, weighted numeric, card_list jsonb, next_page integer, document jsonb)
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED COST 1000000 ROWS 20
SET search_path = pg_catalog, pg_temp
SET parallel_tuple_cost = 0.01
AS $$
#variable_conflict use_column
DECLARE
	present CONSTANT boolean := NOT pipelines._is_past(as_of, true);
	scored CONSTANT boolean := NOT present AND pipelines._scores_count(deals, as_of);
	wanted integer;
	by_stage CONSTANT boolean := coalesce(board.by, 'stage_id') IN ('stage', 'stage_id');
	by_pipeline CONSTANT boolean := board.by IN ('pipeline', 'pipeline_id');
	wanted_stages integer[];
	missing text;
	value text;
	sort text;
	part record;
	stage CONSTANT text := CASE WHEN present OR board.definitions = 'current' THEN 'pipelines.pipeline_stage'
								ELSE 'pipelines.definitions_as_of(NULL::pipelines.pipeline_stage, $1)' END;
	columns text;
	source text;
	query text;
BEGIN
	IF deals IS NULL OR cards IS NULL OR page IS NULL OR as_json IS NULL THEN
		RAISE EXCEPTION 'deals, cards, page and as_json must not be null' USING ERRCODE = 'null_value_not_allowed';
	END IF;
	PERFORM pipelines._check_word('definitions', board.definitions, '{then,current}');
	IF cards NOT BETWEEN 0 AND 10000 OR page < 1 THEN
		RAISE EXCEPTION 'a column of a board has 0 to 10000 cards on a page, and pages count from 1'
			USING ERRCODE = 'invalid_parameter_value', DETAIL = format('%s cards, page %s.', cards, page);
	END IF;
	wanted := pipelines._report_pipeline(deals, board.pipeline);
	IF stages IS NOT NULL THEN
		SELECT array_agg(DISTINCT s.stage_id), string_agg(DISTINCT quote_literal(w.name), ', ') FILTER (WHERE s.stage_id IS NULL)
		INTO wanted_stages, missing
		FROM unnest(stages) w(name)
		LEFT JOIN pipelines.stage s ON w.name IN (s.name, s.code, s.stage_id::text);
		IF missing IS NOT NULL THEN
			RAISE EXCEPTION 'there is no stage %', missing
				USING ERRCODE = '23S01', HINT = 'Give names, codes or ids of stages; upper and lower case differ.';
		END IF;
		wanted_stages := coalesce(wanted_stages, '{}');
	END IF;
	IF condition IS NOT NULL AND NOT pipelines._is_condition(deals, condition, 'the condition of the board') THEN
		RAISE EXCEPTION 'what says which deals are on the board is not a condition'
			USING ERRCODE = 'syntax_error', DETAIL = condition, HINT = 'Write a condition over the columns of the deals.';
	END IF;
	value := CASE WHEN by_stage OR by_pipeline THEN 'NULL::text'
				  ELSE coalesce((SELECT format('CAST(%s AS text)', replace(c.expression, 'now()', '$1'))
								 FROM pipelines._current_columns(board.deals) c WHERE c.n > 10000 AND c.name = board.by),
								pipelines._deal_dimension(deals, board.by, false, false)) END;

	-- a column of the deals, by part or name, or of T_current
	IF order_by IS NOT NULL THEN
		SELECT x.expression INTO sort
		FROM (SELECT 1 AS n, pipelines._column(board.deals, r.role, NULL::text, false) AS expression
			  FROM pipelines._roles(board.deals) r
			  WHERE r.role = regexp_replace(board.order_by, ' +(asc|desc)$', '', 'i') AND r.column_name IS NOT NULL
			  UNION ALL
			  SELECT 2, c.expression FROM pipelines._current_columns(board.deals) c
			  WHERE c.name = regexp_replace(board.order_by, ' +(asc|desc)$', '', 'i')) x
		ORDER BY x.n LIMIT 1;
		IF sort IS NULL THEN
			RAISE EXCEPTION 'deals can''t be ordered by "%"', order_by
				USING ERRCODE = 'undefined_column', HINT = 'Name a column of the deals or of their view _current, and asc or desc after it.';
		END IF;
		sort := sort || CASE WHEN order_by ~* ' desc$' THEN ' DESC NULLS LAST' ELSE '' END;
	ELSE
		sort := pipelines._column(deals, 'stage_entered_at', NULL::text, false);
	END IF;

	SELECT t.currency, t.layout_id,
		   (SELECT CASE count(*) WHEN 1 THEN format('CAST(d.%I AS text)', min(m.column_name::text))
						ELSE format('CAST(ROW(%s) AS text)', string_agg(format('d.%I', m.column_name), ', ' ORDER BY m.n)) END
			FROM pipelines._roles(board.deals) m WHERE m.role ~ '^key[1-9]') AS key,
		   (SELECT string_agg(format('d.%I', m.column_name), ', ' ORDER BY m.n)
			FROM pipelines._roles(board.deals) m WHERE m.role ~ '^key[1-9]') AS keys,
		   (SELECT string_agg('x.c_key' || m.n, ', ' ORDER BY m.n) FROM pipelines._roles(board.deals) m WHERE m.role ~ '^key[1-9]') AS inner_keys,
		   (SELECT string_agg(format('d.%I AS c_key%s', m.column_name, m.n), ', ' ORDER BY m.n)
			FROM pipelines._roles(board.deals) m WHERE m.role ~ '^key[1-9]') AS outer_keys,
		   (SELECT string_agg(format('d.%I = x.c_key%s', m.column_name, m.n), ' AND ' ORDER BY m.n)
			FROM pipelines._roles(board.deals) m WHERE m.role ~ '^key[1-9]') AS same_keys,
		   -- what a card shows, as far as the table has it
		   (SELECT string_agg(format('%L, %s', r.role, pipelines._column(board.deals, r.role, NULL::text, false)), ', ' ORDER BY r.n)
			FROM pipelines._roles(board.deals) r
			WHERE r.column_name IS NOT NULL AND r.role IN ('owner', 'source', 'pipeline_id', 'stage_id', 'amount', 'currency',
				'quantity', 'expected_close_on', 'closed_on', 'next_action_at', 'stage_entered_at', 'version')) AS fields,
		   (SELECT string_agg(format('%L, d.%I', w.part, a.attname), ', ' ORDER BY a.attnum)
			FROM unnest(ARRAY['name', 'account', 'title']) w(part)
			JOIN pg_attribute a ON a.attrelid = board.deals AND a.attname = pipelines._shown_column(board.deals, w.part)) AS texts,
		   (SELECT string_agg(format('%L, %s', replace(c.name, 'pipelines_', ''), c.expression), ', ' ORDER BY c.n)
			FROM pipelines._current_columns(board.deals) c
			WHERE c.n > 10000 AND c.name ~ '^(pipelines_)?(stage_name|outcome|effective_probability|weighted|days_in_stage)$') AS figures
	INTO part
	FROM pipelines.tracked_table t WHERE t.relation = board.deals;

	-- the columns: all live stages in order, all live pipelines, or all values that the deals have
	columns := CASE WHEN by_stage THEN
			'SELECT row_number() OVER (ORDER BY q.pipeline_id, t.position, t.stage_id)::integer, n.name, q.pipeline_id, t.stage_id, NULL::text, t.outcome, t.colour, q.name
			 FROM pipelines.pipeline q JOIN ' || stage || ' t ON t.pipeline_id = q.pipeline_id JOIN pipelines.stage n ON n.stage_id = t.stage_id
			 WHERE ($2 IS NULL OR q.pipeline_id = $2) AND ($3 IS NULL OR t.stage_id = ANY ($3)) AND ($4 IS NULL OR q.layout_id = $4)
				AND (t.archived_at IS NULL AND q.archived_at IS NULL OR EXISTS (SELECT FROM total o WHERE o.c_pipeline = q.pipeline_id AND o.c_stage = t.stage_id))'
		WHEN by_pipeline THEN
			'SELECT row_number() OVER (ORDER BY q.pipeline_id)::integer, q.name, q.pipeline_id, NULL::integer, NULL::text, NULL::text, NULL::text, q.name
			 FROM pipelines.pipeline q
			 WHERE ($2 IS NULL OR q.pipeline_id = $2) AND ($4 IS NULL OR q.layout_id = $4)
				AND (q.archived_at IS NULL OR EXISTS (SELECT FROM total o WHERE o.c_pipeline = q.pipeline_id))'
		ELSE format('SELECT row_number() OVER (ORDER BY w.n, w.value COLLATE "C")::integer, w.value, NULL::integer, NULL::integer, w.value, NULL::text, NULL::text, NULL::text
			 FROM (SELECT v.value, min(v.n) AS n
				   FROM (SELECT DISTINCT o.c_value, 2147483647 FROM total o%s) v(value, n)
				   GROUP BY v.value) w',
			-- labels of an enum in their order, used or not
			(SELECT format(' UNION ALL SELECT l.enumlabel::text, l.enumsortorder FROM pg_catalog.pg_enum l WHERE l.enumtypid = %s', a.atttypid)
			 FROM pg_attribute a
			 JOIN pg_type y ON y.oid = a.atttypid AND y.typtype = 'e'
			 WHERE a.attrelid = board.deals AND a.attname = board.by)) END;

	-- the definitions that are joined to the deals
	source := replace(pipelines._board_from(deals, present, scored, stage), 'now()', '$1');
	source := substr(source, strpos(source, 'LEFT JOIN pipelines.pipeline p'));

	query := format($sql$
		WITH %21$stotal AS (
			SELECT %1$s AS c_pipeline, %2$s AS c_stage, %3$s AS c_value, coalesce(%4$s, %5$L::text) AS c_currency,
				   count(*) FILTER (WHERE k.shown) AS deals, count(*) FILTER (WHERE k.shown AND %6$s IS NULL) AS unpriced,
				   coalesce(sum(%6$s) FILTER (WHERE k.shown), 0) AS amount,
				   coalesce(pipelines.weighted_forecast(%6$s, e.probability) FILTER (WHERE k.shown AND e.category <> 'omitted'), 0) AS weighted
			%7$s
			CROSS JOIN LATERAL (SELECT coalesce(%8$s, false) AS shown) k
			GROUP BY 1, 2, 3, 4
		), col(number, name, pipeline_id, stage_id, value, outcome, colour, pipeline_name) AS (
			%9$s
		), place AS MATERIALIZED (
			SELECT x.c_place, %16$s
			FROM (
				SELECT row_number() OVER (PARTITION BY %10$s ORDER BY %11$s, %12$s) AS c_place, %17$s
				%7$s
				WHERE (%8$s) AND $5 > 0
			) x
			WHERE x.c_place > ($6 - 1)::bigint * $5 AND x.c_place <= $6::bigint * $5
		), card AS MATERIALIZED (
			-- only what is shown is looked at closely
			SELECT %1$s AS c_pipeline, %2$s AS c_stage, %3$s AS c_value, coalesce(%4$s, %5$L::text) AS c_currency, x.c_place,
				   jsonb_strip_nulls(jsonb_build_object('deal', %13$s, %14$s)) AS c_card
			FROM place x
			JOIN LATERAL (SELECT d.* %15$s d WHERE %18$s%20$s) d ON true
			%19$s
		)$sql$,
		CASE WHEN by_stage OR by_pipeline THEN pipelines._column(deals, 'pipeline_id', NULL::text, false) ELSE 'NULL::integer' END,
		CASE WHEN by_stage THEN pipelines._column(deals, 'stage_id', NULL::text, false) ELSE 'NULL::integer' END,
		value, pipelines._column(deals, 'currency', 'text'::text, false), part.currency,
		pipelines._column(deals, 'amount', 'numeric'::text, false),
		replace(pipelines._board_from(deals, present, scored, stage), 'now()', '$1'),
		concat_ws(' AND ', 'true',
			format('($2 IS NULL OR %s = $2)', pipelines._column(deals, 'pipeline_id', NULL::text, false)),
			format('($3 IS NULL OR %s = ANY ($3))', pipelines._column(deals, 'stage_id', NULL::text, false)),
			CASE WHEN condition IS NOT NULL THEN pipelines._board_condition(deals, condition) END),
		columns,
		CASE WHEN by_stage THEN pipelines._column(deals, 'pipeline_id', NULL::text, false) || ', ' || pipelines._column(deals, 'stage_id', NULL::text, false)
			 WHEN by_pipeline THEN pipelines._column(deals, 'pipeline_id', NULL::text, false) ELSE value END,
		replace(sort, 'now()', '$1'), part.keys, part.key, replace(concat_ws(', ', part.texts, part.fields, part.figures), 'now()', '$1'),
		CASE WHEN present THEN 'FROM ' || pipelines._deals_source(deals, NULL::name[])
			 ELSE 'FROM ' || pipelines._past_source(deals) END,
		part.inner_keys, part.outer_keys, part.same_keys, source,
		-- there is one, and few are wanted: by its key, not by reading all
		CASE WHEN present THEN ' LIMIT 1' ELSE '' END,
		CASE WHEN scored
			 THEN format('score AS MATERIALIZED (SELECT z.deal, z.effective_probability FROM pipelines.scores(%L::regclass, NULL::text, $1) z), ', deals)
			 ELSE '' END);
	query := query || CASE WHEN as_json THEN $sql$
		SELECT NULL::integer, NULL::text, NULL::integer, NULL::integer, NULL::text, NULL::text, NULL::bigint, NULL::bigint, NULL::numeric, NULL::numeric,
			   NULL::jsonb, NULL::integer,
			   jsonb_build_object('board', $7::text, 'by', $8::text, 'as_of', $1, 'page', $6, 'limit', $5,
					'columns', coalesce(jsonb_agg(y.document ORDER BY y.number), '[]'))
		FROM (
			SELECT c.number,
				   jsonb_build_object('number', c.number, 'name', c.name)
				   || jsonb_strip_nulls(jsonb_build_object('pipeline_id', c.pipeline_id, 'pipeline_name', c.pipeline_name, 'stage_id', c.stage_id,
						'outcome', c.outcome, 'colour', c.colour))
				   || jsonb_build_object('deals', coalesce(o.deals, 0), 'totals', coalesce(o.totals, '[]'), 'cards', coalesce(k.cards, '[]'),
						'next_page', CASE WHEN $5 > 0 AND o.deals > $6::bigint * $5 THEN $6 + 1 END) AS document
			FROM col c
			LEFT JOIN LATERAL (
				SELECT sum(t.deals)::bigint AS deals,
					   jsonb_agg(jsonb_build_object('currency', t.c_currency, 'deals', t.deals, 'unpriced', t.unpriced, 'amount', t.amount, 'weighted', t.weighted)
								 ORDER BY t.c_currency) FILTER (WHERE t.deals > 0) AS totals
				FROM total t
				WHERE t.c_pipeline IS NOT DISTINCT FROM c.pipeline_id AND t.c_stage IS NOT DISTINCT FROM c.stage_id AND t.c_value IS NOT DISTINCT FROM c.value) o ON true
			LEFT JOIN (
				SELECT x.c_pipeline, x.c_stage, x.c_value, jsonb_agg(x.c_card ORDER BY x.c_place) AS cards
				FROM card x
				GROUP BY 1, 2, 3) k
				ON k.c_pipeline IS NOT DISTINCT FROM c.pipeline_id AND k.c_stage IS NOT DISTINCT FROM c.stage_id AND k.c_value IS NOT DISTINCT FROM c.value
		) y$sql$
	ELSE $sql$
		SELECT c.number, c.name, c.pipeline_id, c.stage_id, c.outcome, coalesce(t.c_currency, $9), coalesce(t.deals, 0), coalesce(t.unpriced, 0), coalesce(t.amount, 0),
			   coalesce(t.weighted, 0),
			   coalesce(k.cards, '[]'),
			   CASE WHEN $5 > 0 AND sum(t.deals) OVER (PARTITION BY c.number) > $6::bigint * $5 THEN $6 + 1 END, NULL::jsonb
		FROM col c
		LEFT JOIN total t ON t.c_pipeline IS NOT DISTINCT FROM c.pipeline_id AND t.c_stage IS NOT DISTINCT FROM c.stage_id
			AND t.c_value IS NOT DISTINCT FROM c.value AND t.deals > 0
		LEFT JOIN (
			SELECT x.c_pipeline, x.c_stage, x.c_value, x.c_currency, jsonb_agg(x.c_card ORDER BY x.c_place) AS cards
			FROM card x
			GROUP BY 1, 2, 3, 4) k
			ON k.c_pipeline IS NOT DISTINCT FROM c.pipeline_id AND k.c_stage IS NOT DISTINCT FROM c.stage_id AND k.c_value IS NOT DISTINCT FROM c.value
			AND k.c_currency IS NOT DISTINCT FROM t.c_currency
		ORDER BY c.number, t.c_currency$sql$ END;
	RETURN QUERY EXECUTE query
	USING as_of, wanted, wanted_stages, part.layout_id, cards, page, deals::text, coalesce(board.by, 'stage_id'), part.currency;
END
$$;
COMMENT ON FUNCTION pipelines.board(regclass, text, text[], text, text, text, integer, integer, boolean, timestamptz, text) IS
'A board of the deals that the caller sees: columns by stage (the default), pipeline, or any column (by part or name, or one of the view _current) or expression over the columns; empty columns included: all live stages or pipelines, all labels of an enum, else all values that any deal has, NULL last. Only deals in these stages (names, codes or ids), of this pipeline, and with this condition (as in an entry rule). Rows: one per column and currency, with totals (amount, weighted exact), the cards of that currency on the page (jsonb, in order) and the next page of the column, NULL on its last. as_json: one row whose document has columns with totals per currency, cards in order, and next_page. A column shows cards (0 to 10000) cards a page, ordered by order_by (a column of the deals or of their view _current, then asc or desc; default: longest in the stage first) and the key. as_of: deals and their stages as they were, by their present names; definitions current: deals as they were, stages as they are today (R-2.33). Raises 23S01 for stages and pipelines that do not exist, 22023 (also for as_of infinity), 42703.';

-- A condition over the columns by their names and parts, for deals (d).
CREATE FUNCTION pipelines._board_condition(deals regclass, condition text)
RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT pipelines._deal_dimension($1, format(E'(%s\n)', $2), false, false) || '::boolean'
$$;
COMMENT ON FUNCTION pipelines._board_condition(regclass, text) IS
'A condition over deals (d), as SQL text.';

CREATE FUNCTION pipelines.save_board(name text, deals regclass, by text DEFAULT NULL, stages text[] DEFAULT NULL, pipeline text DEFAULT NULL,
	condition text DEFAULT NULL, order_by text DEFAULT NULL, cards integer DEFAULT 50, shared boolean DEFAULT false)
RETURNS void
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 100000
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF save_board.name IS NULL OR deals IS NULL OR shared IS NULL THEN
		RAISE EXCEPTION 'name, deals and shared must not be null' USING ERRCODE = 'null_value_not_allowed';
	END IF;
	PERFORM pipelines._require_setup();
	-- what can't be shown is not saved
	PERFORM pipelines.board(deals, by, stages, pipeline, condition, order_by, 0, 1, true, now());
	INSERT INTO pipelines.board AS b (name, owner, relation, settings, shared, saved_at)
	VALUES (btrim(save_board.name), current_user, save_board.deals,
			-- by their numbers: names may change
			jsonb_strip_nulls(jsonb_build_object('by', save_board.by,
												 'stages', (SELECT jsonb_agg(DISTINCT s.stage_id::text)
															FROM unnest(save_board.stages) w(name)
															JOIN pipelines.stage s ON w.name IN (s.name, s.code, s.stage_id::text)),
												 'pipeline', pipelines._report_pipeline(save_board.deals, save_board.pipeline)::text,
												 'condition', save_board.condition, 'order_by', save_board.order_by, 'cards', save_board.cards)),
			save_board.shared, clock_timestamp())
	ON CONFLICT ON CONSTRAINT board_pkey DO UPDATE
		SET relation = EXCLUDED.relation, settings = EXCLUDED.settings, shared = EXCLUDED.shared, saved_at = EXCLUDED.saved_at;
END
$$;
COMMENT ON FUNCTION pipelines.save_board(text, regclass, text, text[], text, text, text, integer, boolean) IS
'Saves the arguments of board() under a name that is the caller''s own, in place of what was saved under it. shared: others may show it, too, with their own rights. Raises what board() raises.';

CREATE FUNCTION pipelines.drop_board(name text)
RETURNS void
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	DELETE FROM pipelines.board b WHERE b.name = drop_board.name AND b.owner = current_user;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'you have no board "%"', name
			USING ERRCODE = 'undefined_object', HINT = 'SELECT * FROM pipelines.boards() lists what there is.';
	END IF;
END
$$;
COMMENT ON FUNCTION pipelines.drop_board(text) IS
'Forgets a board of the caller''s. Raises 42704.';

CREATE FUNCTION pipelines.boards()
RETURNS TABLE (name text, owner text, deals regclass, settings jsonb, shared boolean, saved_at timestamptz)
LANGUAGE sql STABLE PARALLEL SAFE COST 1000 ROWS 20
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT b.name, b.owner, b.relation,
		   b.settings || jsonb_strip_nulls(jsonb_build_object(
				'stages', (SELECT jsonb_agg(coalesce(s.name, x.stage) ORDER BY x.n)
						   FROM jsonb_array_elements_text(b.settings -> 'stages') WITH ORDINALITY x(stage, n)
						   LEFT JOIN pipelines.stage s ON s.stage_id::text = x.stage),
				'pipeline', (SELECT p.name FROM pipelines.pipeline p WHERE p.pipeline_id::text = b.settings ->> 'pipeline'))),
		   b.shared, b.saved_at
	FROM pipelines.board b
	WHERE b.owner = current_user OR b.shared
	ORDER BY b.owner <> current_user, b.name, b.owner
$$;
COMMENT ON FUNCTION pipelines.boards() IS
'The saved boards that the caller may show: the own ones, then those that are shared.';

CREATE FUNCTION pipelines.saved_board(name text, owner text DEFAULT NULL, as_json boolean DEFAULT false, page integer DEFAULT 1,
	as_of timestamptz DEFAULT now())
RETURNS TABLE (column_number integer, column_name text, pipeline_id integer, stage_id integer, outcome text, currency text,
	deals_count bigint, unpriced bigint, amount numeric, weighted numeric, card_list jsonb, next_page integer, document jsonb)
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED COST 1000000 ROWS 20
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	saved record;
BEGIN
	SELECT b.relation, b.settings INTO saved
	FROM pipelines.board b
	WHERE (b.owner = current_user OR b.shared)
		AND b.name = saved_board.name AND (saved_board.owner IS NULL OR b.owner = saved_board.owner)
	ORDER BY b.owner <> current_user, b.owner
	LIMIT 1;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'there is no board "%"', saved_board.name
			USING ERRCODE = 'undefined_object', HINT = 'SELECT * FROM pipelines.boards() lists what there is.';
	END IF;
	IF NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = saved.relation) THEN
		RAISE EXCEPTION 'the table of board "%" is gone', saved_board.name
			USING ERRCODE = 'undefined_table', HINT = 'pipelines.drop_board() forgets the board.';
	END IF;
	RETURN QUERY SELECT * FROM pipelines.board(saved.relation, saved.settings ->> 'by',
		CASE WHEN saved.settings ? 'stages' THEN ARRAY(SELECT s FROM jsonb_array_elements_text(saved.settings -> 'stages') s) END,
		saved.settings ->> 'pipeline', saved.settings ->> 'condition', saved.settings ->> 'order_by',
		coalesce((saved.settings ->> 'cards')::integer, 50), saved_board.page, saved_board.as_json, saved_board.as_of);
END
$$;
COMMENT ON FUNCTION pipelines.saved_board(text, text, boolean, integer, timestamptz) IS
'A board that was saved under a name, the caller''s own before one that is shared, with the rights of the caller. Its pipeline and stages may have been renamed since. Raises 42704, 42P01 if its table is gone.';
