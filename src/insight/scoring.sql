-------------------------------------------------------------------------------
-- scoring.sql
--   Scores: the chance that an open deal is won, from how deals like it ended.
--
-- train_scores() counts closings and keeps the counts (score_model,
-- score_count); nothing is ever kept on a deal.  Views and scores() compute the
-- score when they are read, from the counts and the deal.  calibration() counts
-- up to one instant and judges what is said after it, so that no prediction
-- knows its own outcome.
-------------------------------------------------------------------------------

CREATE FUNCTION pipelines._score_see(bytea, settings jsonb, at timestamptz, since timestamptz,
	key1 bigint, key2 bigint, episode integer, version integer, begun_at timestamptz, valid_to timestamptz,
	pipeline_id integer, stage_id integer, furthest_stage_id integer, created_at timestamptz, change text, features text[])
RETURNS bytea
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1
AS 'MODULE_PATHNAME', 'pipelines_score_see';
COMMENT ON FUNCTION pipelines._score_see(bytea, jsonb, timestamptz, timestamptz, bigint, bigint, integer, integer, timestamptz, timestamptz, integer, integer, integer, timestamptz, text, text[]) IS
'One version of a deal, for _score_counts() and _score_bins(): begun_at is NULL for what came after at, created_at says so of the present row, change ended the version. Raises 22023 for settings that are no model.';

CREATE FUNCTION pipelines._score_counts_final(bytea)
RETURNS jsonb
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100000
AS 'MODULE_PATHNAME', 'pipelines_score_counts_final';
COMMENT ON FUNCTION pipelines._score_counts_final(bytea) IS 'The result of _score_counts().';

CREATE FUNCTION pipelines._score_bins_final(bytea)
RETURNS jsonb
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100000
AS 'MODULE_PATHNAME', 'pipelines_score_bins_final';
COMMENT ON FUNCTION pipelines._score_bins_final(bytea) IS 'The result of _score_bins().';

CREATE FUNCTION pipelines._score_combine(bytea, bytea)
RETURNS bytea
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
AS 'MODULE_PATHNAME', 'pipelines_score_combine';
COMMENT ON FUNCTION pipelines._score_combine(bytea, bytea) IS
'Combine function of _score_counts() and _score_bins(). Raises 22P03 for what is no state of theirs, 22023 for states of different models or instants.';

CREATE AGGREGATE pipelines._score_counts(settings jsonb, at timestamptz, since timestamptz,
	key1 bigint, key2 bigint, episode integer, version integer, begun_at timestamptz, valid_to timestamptz,
	pipeline_id integer, stage_id integer, furthest_stage_id integer, created_at timestamptz, change text, features text[]) (
	SFUNC = pipelines._score_see,
	STYPE = bytea,
	COMBINEFUNC = pipelines._score_combine,
	FINALFUNC = pipelines._score_counts_final,
	FINALFUNC_MODIFY = READ_WRITE,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE pipelines._score_counts(jsonb, timestamptz, timestamptz, bigint, bigint, integer, integer, timestamptz, timestamptz, integer, integer, integer, timestamptz, text, text[]) IS
'How deals ended that were known at an instant: a list of [pipeline, feature, value, age, won, lost], of all versions of all deals in any order.';

CREATE AGGREGATE pipelines._score_bins(settings jsonb, at timestamptz, since timestamptz,
	key1 bigint, key2 bigint, episode integer, version integer, begun_at timestamptz, valid_to timestamptz,
	pipeline_id integer, stage_id integer, furthest_stage_id integer, created_at timestamptz, change text, features text[]) (
	SFUNC = pipelines._score_see,
	STYPE = bytea,
	COMBINEFUNC = pipelines._score_combine,
	FINALFUNC = pipelines._score_bins_final,
	FINALFUNC_MODIFY = READ_WRITE,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE pipelines._score_bins(jsonb, timestamptz, timestamptz, bigint, bigint, integer, integer, timestamptz, timestamptz, integer, integer, integer, timestamptz, text, text[]) IS
'What a model says about deals at instants after since, against how they had ended by at: a list of [pipeline, predictor, bin, n, won, predicted, squared error, log loss].';

CREATE FUNCTION pipelines._score(deals regclass, pipeline_id integer, furthest_stage_id integer,
	created_at timestamptz, at timestamptz, probability numeric, features text[])
RETURNS numeric
LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10
AS 'MODULE_PATHNAME', 'pipelines_score';
COMMENT ON FUNCTION pipelines._score(regclass, integer, integer, timestamptz, timestamptz, numeric, text[]) IS
'Percent: the score of a deal by the counts that are kept for its table; NULL if there are none. probability is that of its stage, in percent.';

CREATE FUNCTION pipelines._score_detail(model jsonb, pipeline_id integer, furthest_stage_id integer,
	created_at timestamptz, at timestamptz, probability numeric, features text[],
	OUT score numeric, OUT enough boolean, OUT won bigint, OUT lost bigint, OUT log_odds numeric, OUT contributions jsonb)
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10
AS 'MODULE_PATHNAME', 'pipelines_score_detail';
COMMENT ON FUNCTION pipelines._score_detail(jsonb, integer, integer, timestamptz, timestamptz, numeric, text[]) IS
'The score of a deal by a model that is given, and what it is made of.';

-- A dimension of deals: a column by its part or its name, or an expression
-- over the columns under the rule for entry rules.  SQL text of type text, over
-- the deals (d) or their history (h).  Scores look at what is tracked, and at
-- numbers by their order of magnitude; reports take what is not tracked from the
-- present row.
CREATE FUNCTION pipelines._deal_dimension(deals regclass, dimension text, of_history boolean, for_scores boolean)
RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	by_name record;
	alias CONSTANT text := CASE WHEN of_history THEN 'h' ELSE 'd' END;
	expression text;
	tracked text;
BEGIN
	SELECT a.attname AS deals_column, h.attname AS history_column, t.oid AS type, t.typcategory,
		   CASE WHEN r.role IS NOT NULL
				THEN pipelines._column(_deal_dimension.deals, r.role, NULL::text, _deal_dimension.of_history) END AS expression
	INTO by_name
	FROM pg_attribute a
	JOIN pipelines.tracked_table k ON k.relation = a.attrelid
	JOIN pg_type t ON t.oid = a.atttypid
	LEFT JOIN pipelines._roles(_deal_dimension.deals) r ON r.column_name = a.attname
	LEFT JOIN pg_attribute h ON h.attrelid = k.history AND h.attnum > 0 AND NOT h.attisdropped
		AND h.attname = coalesce(r.history_column, a.attname) AND r.role IS DISTINCT FROM 'created_at'
	WHERE a.attrelid = _deal_dimension.deals AND a.attnum > 0 AND NOT a.attisdropped
		AND (r.role = _deal_dimension.dimension OR a.attname = _deal_dimension.dimension)
	ORDER BY r.role = _deal_dimension.dimension DESC NULLS LAST
	LIMIT 1;
	IF FOUND THEN
		IF of_history AND by_name.history_column IS NULL AND NOT for_scores THEN
			-- of that life
			RETURN (SELECT format('(SELECT %s FROM %s d WHERE %s%s)', pipelines._text_of(deals, 'd', by_name.deals_column), deals, pipelines._key_match(deals, 'h', 'd'),
								  CASE WHEN pipelines._returned(deals)
									   THEN format(' AND NOT EXISTS (SELECT FROM %1$s e WHERE %2$s AND e.%3$I = ''delete'' AND e.%4$I >= h.%4$I)',
											k.history, pipelines._versions_match(deals, 'e', 'h'), pipelines._own_column(k.history, 'change'), pipelines._own_column(k.history, 'version')) END)
					FROM pipelines.tracked_table k WHERE k.relation = _deal_dimension.deals);
		END IF;
		IF of_history AND by_name.history_column IS NULL THEN
			RAISE EXCEPTION 'column % of table % is not tracked', quote_ident(by_name.deals_column), deals
				USING ERRCODE = 'invalid_parameter_value',
					  DETAIL = 'What it was in the past is not known.',
					  HINT = format('SELECT pipelines.track(%L, %L);', deals, by_name.deals_column);
		END IF;
		-- of the history's columns only those with a part follow a rename
		expression := coalesce(by_name.expression,
							   format('%s.%I', alias, CASE WHEN of_history THEN by_name.history_column ELSE by_name.deals_column END));
		RETURN CASE WHEN by_name.typcategory = 'N' AND for_scores
					THEN format('pipelines._magnitude(CAST(%s AS numeric))', expression)
					ELSE pipelines._text_of(expression, by_name.type) END;
	END IF;
	IF NOT pipelines._is_condition(deals, format(E'((%s\n)) IS NULL', dimension), format('the expression "%s"', dimension)) THEN
		RAISE EXCEPTION '"%" is neither a column of table % nor an expression over its columns', dimension, deals
			USING ERRCODE = 'invalid_parameter_value',
				  HINT = 'Name a column, or write an expression of immutable functions of pg_catalog.';
	END IF;
	SELECT string_agg(format('%s AS %I', n.expression, n.name), ', '), string_agg(format('CAST(NULL AS %s) AS %I', n.type, n.name), ', ') FILTER (WHERE n.tracked)
	INTO expression, tracked
	FROM (
		SELECT DISTINCT ON (x.name) x.name, x.expression, x.type, x.tracked
		FROM (
			SELECT a.attname::text AS name, 1 AS n, format_type(a.atttypid, a.atttypmod) AS type, h.attname IS NOT NULL AS tracked,
				   CASE WHEN NOT _deal_dimension.of_history THEN format('d.%I', a.attname)
						-- what is not tracked: as it is now
						WHEN h.attname IS NULL THEN format('(SELECT d.%I FROM %s d WHERE %s)', a.attname, deals, pipelines._key_match(deals, 'h', 'd'))
						ELSE format('h.%I', h.attname) END AS expression
			FROM pg_attribute a
			JOIN pipelines.tracked_table k ON k.relation = a.attrelid
			LEFT JOIN pipelines._roles(_deal_dimension.deals) r ON r.column_name = a.attname
			LEFT JOIN pg_attribute h ON h.attrelid = k.history AND h.attnum > 0 AND NOT h.attisdropped
				AND h.attname = coalesce(r.history_column, a.attname)
			WHERE a.attrelid = _deal_dimension.deals AND a.attnum > 0 AND NOT a.attisdropped
			UNION ALL
			SELECT r.role, 2, format_type(a.atttypid, a.atttypmod), true, format('%s.%I', CASE WHEN _deal_dimension.of_history THEN 'h' ELSE 'd' END,
									 CASE WHEN _deal_dimension.of_history THEN r.history_column ELSE r.column_name END)
			FROM pipelines._roles(_deal_dimension.deals) r
			JOIN pg_attribute a ON a.attrelid = _deal_dimension.deals AND a.attname = r.column_name
			WHERE r.column_name IS NOT NULL AND (r.history_column IS NOT NULL OR NOT _deal_dimension.of_history)
		) x
		ORDER BY x.name, x.n
	) n;
	IF of_history AND for_scores THEN
		BEGIN
			EXECUTE format(E'SELECT (%s\n) FROM (SELECT %s) d WHERE false', dimension, tracked);
		EXCEPTION WHEN undefined_column THEN
			RAISE EXCEPTION '"%" uses a column of table % that is not tracked', dimension, deals
				USING ERRCODE = 'invalid_parameter_value',
					  DETAIL = 'What it was in the past is not known.',
					  HINT = format('SELECT pipelines.track(%L, ...);', deals);
		END;
	END IF;
	RETURN format(E'(SELECT CAST((%s\n) AS text) FROM (SELECT %s) d)', dimension, expression);
END
$$;
COMMENT ON FUNCTION pipelines._deal_dimension(regclass, text, boolean, boolean) IS
'SQL text of a dimension of deals (d) or of their history (h), as text; for scores numbers by their order of magnitude. Raises 22023 for what is no column, or not tracked, or more than a dimension may use.';

-- Half decades: 1000 to 3162 is 10^3, up to 9999 10^3.5.
CREATE FUNCTION pipelines._magnitude(value numeric)
RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 10
AS $$
	SELECT CASE WHEN $1 OPERATOR(pg_catalog.<) 0 THEN '< 0' WHEN $1 OPERATOR(pg_catalog.=) 0 THEN '0'
				WHEN $1 OPERATOR(pg_catalog.>=) 1e30 THEN '10^30'
				ELSE '10^' OPERATOR(pg_catalog.||) (pg_catalog.floor(pg_catalog.log($1) OPERATOR(pg_catalog.*) 2) OPERATOR(pg_catalog.*) 0.5)::pg_catalog.text END
$$;
COMMENT ON FUNCTION pipelines._magnitude(numeric) IS
'The order of magnitude of a number, in steps of half a power of ten, as text.';

-- The key of a deal for counting: exact for one whole number, else two hash
-- values of its text (128 bits).  lives: and which life of its key it is.
CREATE FUNCTION pipelines._score_key(deals regclass, of_history boolean, lives boolean)
RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN count(*) = 1 AND bool_and(a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype))
				THEN format('CAST(%s AS bigint), CAST(%s AS bigint)', min(k.column_text), coalesce(max(l.expression), '0'))
				ELSE format('hashtextextended(%1$s, 0), hashtextextended(%1$s, 1)',
							format(CASE count(*) WHEN 1 THEN '(CAST(%s AS text)%s) COLLATE "C"' ELSE '(CAST(ROW(%s) AS text)%s) COLLATE "C"' END,
								   string_agg(k.column_text, ', ' ORDER BY k.n), ' || ''#'' || ' || max(l.expression)))
				END
	FROM (SELECT m.n, m.column_name,
				 format('%s.%I', CASE WHEN $2 THEN 'h' ELSE 'd' END, CASE WHEN $2 THEN m.history_column ELSE m.column_name END) AS column_text
		  FROM pipelines._roles($1) m
		  WHERE m.role ~ '^key[1-9]') k
	JOIN pg_attribute a ON a.attrelid = $1 AND a.attname = k.column_name
	LEFT JOIN pipelines._life($1, CASE WHEN $2 THEN 'h' ELSE 'd' END, $2) l ON $3
$$;
COMMENT ON FUNCTION pipelines._score_key(regclass, boolean, boolean) IS
'SQL text of the key of a deal (d) or of a version of it (h) as two whole numbers.';

-- All visits of all deals as _score_counts() wants them; $1 settings, $2 at, $3
-- since.  The last version of a visit says all of it, so versions that ended
-- without a move are left out.  The present row tells when the deal was made,
-- whenever it was changed last.
-- dated: each version with the features that it had, for predictions of any time.
CREATE FUNCTION pipelines._score_feed(deals regclass, features text[], dated boolean DEFAULT false)
RETURNS text
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format($sql$($1, $2, $3, v.key1, v.key2, v.episode, v.version, v.begun_at, v.valid_to, v.pipeline_id, v.stage_id, v.furthest,
		v.created_at, v.change, v.features)
	FROM (
		SELECT %1$s, %2$s, %3$s, CASE WHEN %4$s <= $2 THEN %21$s END, CAST(NULL AS timestamptz), %5$s, %6$s, %7$s, %8$s,
			CAST(NULL AS text), %25$s
		FROM %9$s d%23$s
		UNION ALL
		SELECT %10$s, %11$s, h.%12$I, %22$s, h.%14$I, %15$s, %16$s, %17$s, CAST(NULL AS timestamptz), %26$s, %19$s
		FROM %20$s h%24$s
		WHERE h.%13$I <= $2
	) v(key1, key2, episode, version, begun_at, valid_to, pipeline_id, stage_id, furthest, created_at, change, features)$sql$,
		pipelines._score_key($1, false, r.lives), pipelines._column($1, 'episode'), pipelines._column($1, 'version'), pipelines._column($1, 'changed_at'),
		pipelines._column($1, 'pipeline_id'), pipelines._column($1, 'stage_id'), pipelines._column($1, 'furthest_stage_id'),
		pipelines._column($1, 'created_at', 'timestamptz'), pipelines._deals_source($1, pipelines._role_columns($1)),
		pipelines._score_key($1, true, r.lives), pipelines._column($1, 'episode', NULL, true), pipelines._own_column(t.history, 'version'),
		pipelines._own_column(t.history, 'valid_from'), pipelines._own_column(t.history, 'valid_to'),
		pipelines._column($1, 'pipeline_id', NULL, true), pipelines._column($1, 'stage_id', NULL, true),
		pipelines._column($1, 'furthest_stage_id', NULL, true), pipelines._own_column(t.history, 'change'),
		CASE WHEN cardinality($2) > 0
			THEN format(CASE WHEN $3 THEN 'ARRAY[%2$s]' ELSE 'CASE WHEN h.%1$I = ''close'' THEN ARRAY[%2$s] END' END,
						pipelines._own_column(t.history, 'change'),
						(SELECT string_agg(pipelines._deal_dimension($1, f.name, true, true), ', ' ORDER BY f.n)
						 FROM unnest($2) WITH ORDINALITY f(name, n)))
			ELSE 'CAST(NULL AS text[])' END,
		t.history,
		CASE WHEN $3 THEN pipelines._column($1, 'changed_at') ELSE pipelines._column($1, 'stage_entered_at') END,
		CASE WHEN $3 THEN format('h.%I', pipelines._own_column(t.history, 'valid_from')) ELSE pipelines._column($1, 'stage_entered_at', NULL, true) END,
		CASE WHEN r.lives THEN (pipelines._life($1, 'd', false)).joined END, CASE WHEN r.lives THEN (pipelines._life($1, 'h', true)).joined END,
		CASE WHEN $3 AND cardinality($2) > 0
			THEN (SELECT format('ARRAY[%s]', string_agg(pipelines._deal_dimension($1, f.name, false, true), ', ' ORDER BY f.n))
				  FROM unnest($2) WITH ORDINALITY f(name, n))
			ELSE 'CAST(NULL AS text[])' END,
		format(CASE WHEN $3 THEN 'nullif(h.%I, ''change'')' ELSE 'h.%I' END, pipelines._own_column(t.history, 'change')))
	FROM pipelines.tracked_table t
	CROSS JOIN (SELECT pipelines._returned($1)) r(lives)
	WHERE t.relation = $1
$$;
COMMENT ON FUNCTION pipelines._score_feed(regclass, text[], boolean) IS
'Arguments and FROM clause of _score_counts() and _score_bins() for a deals table, as SQL text; $1 settings, $2 at, $3 since.';

-- The stages of a deals table as they were: pipeline, stage, outcome (0 open
-- to 5 done), percent.
CREATE FUNCTION pipelines._score_stages(deals regclass, at timestamptz)
RETURNS jsonb
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT coalesce(jsonb_agg(jsonb_build_array(s.pipeline_id, s.stage_id, array_position(
			ARRAY['open', 'on_hold', 'won', 'lost', 'disqualified', 'done'], s.outcome) - 1, s.probability)
		ORDER BY s.pipeline_id, s.stage_id), '[]')
	FROM (SELECT ps.pipeline_id, ps.stage_id, ps.outcome, ps.probability FROM pipelines.pipeline_stage ps
		  WHERE ps.changed_at <= $2 OR ps.version = 1
		  UNION ALL
		  SELECT h.pipeline_id, h.stage_id, h.outcome, h.probability FROM pipelines.pipeline_stage_history h
		  WHERE h.valid_to > $2 AND (h.valid_from <= $2 OR h.version = 1)) s
	LEFT JOIN pipelines.pipeline p ON p.pipeline_id = s.pipeline_id
	JOIN pipelines.tracked_table t ON t.relation = $1
	WHERE t.layout_id IS NULL OR p.layout_id IS NULL OR p.layout_id = t.layout_id
$$;
COMMENT ON FUNCTION pipelines._score_stages(regclass, timestamptz) IS
'The stages that deals of a table may be in, as they were at an instant.';

-- What train_scores() is told, else what it was told last, else what is usual.
CREATE FUNCTION pipelines._score_settings(deals regclass, features text[], ages interval[], smoothing numeric,
	min_won integer, min_lost integer, prior_weight numeric)
RETURNS jsonb
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT jsonb_build_object(
		'features', coalesce($2, m.features, '{}'),
		'ages', (SELECT coalesce(jsonb_agg(a.seconds ORDER BY a.seconds), '[]')
				 FROM (SELECT DISTINCT extract(epoch FROM x)::numeric AS seconds
					   FROM unnest(coalesce($3, m.ages, '{1 day,2 days,4 days,7 days,10 days,14 days,21 days,30 days,45 days,60 days,90 days,180 days,365 days,730 days}')) x
					   WHERE x > interval '0') a),
		'smoothing', coalesce($4, m.smoothing, 1), 'min_won', coalesce($5, m.min_won, 40),
		'min_lost', coalesce($6, m.min_lost, 40), 'prior_weight', coalesce($7, m.prior_weight, 10),
		'stages', '[]'::jsonb, 'counts', '[]'::jsonb)
	FROM (SELECT) x
	LEFT JOIN (SELECT k.features, k.ages, k.smoothing, k.min_won, k.min_lost, k.prior_weight
			   FROM pipelines.score_model k WHERE k.relation = $1
			   ORDER BY k.pipeline_id LIMIT 1) m ON true
$$;
COMMENT ON FUNCTION pipelines._score_settings(regclass, text[], interval[], numeric, integer, integer, numeric) IS
'How a deals table is scored, as part of a model.';

CREATE FUNCTION pipelines._check_features(features text[], ages interval[])
RETURNS void
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF cardinality(ages) > 30 OR cardinality(features) > 20 OR array_ndims(features) > 1 OR array_ndims(ages) > 1
		OR array_position(features, NULL) IS NOT NULL OR array_position(ages, NULL) IS NOT NULL
		OR (SELECT count(DISTINCT f) < count(*) FROM unnest(features) f)
	THEN
		RAISE EXCEPTION 'features and ages are lists without NULL, and no feature stands there twice'
			USING ERRCODE = 'invalid_parameter_value',
				  DETAIL = format('Features %s; ages %s.', coalesce(features::text, 'NULL'), coalesce(ages::text, 'NULL')),
				  HINT = 'There are at most 30 ages and 20 features.';
	END IF;
END
$$;
COMMENT ON FUNCTION pipelines._check_features(text[], interval[]) IS
'Raises 22023 for features or ages that a model can''t have.';

-- The model of an instant, before anything was counted.
CREATE FUNCTION pipelines._score_untrained(deals regclass, settings jsonb, at timestamptz)
RETURNS jsonb
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF NOT isfinite(at) THEN
		RAISE EXCEPTION 'the instant must be finite' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	PERFORM pipelines._as_of_covered(deals, at);
	RETURN settings || jsonb_build_object('stages', pipelines._score_stages(deals, at));
END
$$;
COMMENT ON FUNCTION pipelines._score_untrained(regclass, jsonb, timestamptz) IS
'A model of scores without counts, with the stages of an instant. Raises 22023 for an instant before an adopted table''s history begins.';

-- The model of what was known at an instant, counted now.
CREATE FUNCTION pipelines._score_count(deals regclass, settings jsonb, at timestamptz)
RETURNS jsonb
LANGUAGE plpgsql STABLE STRICT PARALLEL RESTRICTED COST 1000000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	model jsonb := pipelines._score_untrained(deals, settings, at);
	query text;
	counts jsonb;
	part jsonb[] := '{}';
	parts integer;
BEGIN
	query := 'SELECT pipelines._score_counts' || pipelines._score_feed(deals, ARRAY(
		SELECT f FROM jsonb_array_elements_text(settings -> 'features') f));
	parts := pipelines._score_parts(deals);
	FOR n IN 0 .. parts - 1 LOOP
		EXECUTE query INTO counts USING model || jsonb_build_object('parts', parts, 'part', n), at, NULL::timestamptz;
		part := part || counts;
	END LOOP;
	IF parts > 1 THEN
		SELECT jsonb_agg(jsonb_build_array(c.p, c.f, c.v, c.a, c.won, c.lost) ORDER BY c.p, c.f, c.v, c.a) INTO counts
		FROM (SELECT x ->> 0 AS p0, (x ->> 0)::integer AS p, x ->> 1 AS f, x ->> 2 AS v, (x ->> 3)::integer AS a,
					 sum((x ->> 4)::bigint)::bigint AS won, sum((x ->> 5)::bigint)::bigint AS lost
			  FROM unnest(part) y, jsonb_array_elements(y) x
			  GROUP BY 1, 2, 3, 4, 5) c;
	END IF;
	RETURN model || jsonb_build_object('counts', coalesce(counts, '[]'));
END
$$;
COMMENT ON FUNCTION pipelines._score_count(regclass, jsonb, timestamptz) IS
'A model of scores from what was known at an instant. Raises 22023 for an instant before an adopted table''s history begins.';

-- Counting takes so many bytes a version: more than maintenance_work_mem, or 256
-- MB where that is less, is counted in parts, each in a pass of its own.
CREATE FUNCTION pipelines._score_parts(deals regclass)
RETURNS integer
LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT greatest(1, ceil(coalesce(sum(greatest(c.reltuples, 0)::numeric), 0)
				* CASE WHEN pipelines._key_is_number($1) AND NOT pipelines._returned($1) THEN 30 ELSE 49 END
				/ greatest(pg_size_bytes(current_setting('maintenance_work_mem')), 256 * 1024 * 1024)))::integer
	FROM pipelines.tracked_table t
	CROSS JOIN LATERAL (SELECT r.relid FROM pipelines._parts(t.relation) r UNION ALL SELECT r.relid FROM pipelines._parts(t.history) r) p
	JOIN pg_class c ON c.oid = p.relid AND c.relkind = 'r'
	WHERE t.relation = $1
$$;
COMMENT ON FUNCTION pipelines._score_parts(regclass) IS
'In how many parts the deals of a table are counted.';

-- The model that is kept, for _score() and scores().
CREATE FUNCTION pipelines._score_model(deals regclass)
RETURNS jsonb
LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT pipelines._score_settings($1, NULL::text[], NULL::interval[], NULL::numeric, NULL::integer, NULL::integer, NULL::numeric)
		|| jsonb_build_object(
			'stages', (SELECT coalesce(jsonb_agg(x), '[]') FROM jsonb_array_elements(pipelines._score_stages($1, statement_timestamp())) x
					   WHERE (x ->> 0)::integer IN (SELECT m.pipeline_id FROM pipelines.score_model m WHERE m.relation = $1)),
			'counts', (SELECT coalesce(jsonb_agg(jsonb_build_array(c.pipeline_id, c.feature, c.value, c.age, c.won, c.lost)), '[]')
					   FROM pipelines.score_count c WHERE c.relation = $1))
	WHERE EXISTS (SELECT FROM pipelines.score_model m WHERE m.relation = $1)
$$;
COMMENT ON FUNCTION pipelines._score_model(regclass) IS
'The model of scores that train_scores() has kept for a deals table, as far as the caller sees its pipelines; NULL: none.';

CREATE FUNCTION pipelines.train_scores(deals regclass, features text[] DEFAULT NULL, ages interval[] DEFAULT NULL,
	smoothing numeric DEFAULT NULL, min_won integer DEFAULT NULL, min_lost integer DEFAULT NULL,
	prior_weight numeric DEFAULT NULL, as_of timestamptz DEFAULT now())
RETURNS TABLE (pipeline_id integer, pipeline_name text, won bigint, lost bigint, enough boolean)
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000 ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	settings jsonb;
	model jsonb;
	before text[];
BEGIN
	IF deals IS NULL OR as_of IS NULL THEN
		RAISE EXCEPTION 'deals and as_of must not be null' USING ERRCODE = 'null_value_not_allowed';
	END IF;
	IF smoothing <= 0 OR min_won < 0 OR min_lost < 0 OR prior_weight < 0 THEN
		RAISE EXCEPTION 'smoothing must be positive, min_won, min_lost and prior_weight not negative'
			USING ERRCODE = 'invalid_parameter_value',
				  DETAIL = format('smoothing %s, min_won %s, min_lost %s, prior_weight %s.', coalesce(smoothing::text, 'NULL'),
								  coalesce(min_won::text, 'NULL'), coalesce(min_lost::text, 'NULL'), coalesce(prior_weight::text, 'NULL'));
	END IF;
	PERFORM pipelines._check_features(train_scores.features, train_scores.ages);
	PERFORM pipelines._require_setup();
	-- two trainings of one table, one after the other
	PERFORM pg_advisory_xact_lock(hashtextextended('pipelines.score_model', deals::oid::bigint));
	before := (SELECT m.features FROM pipelines.score_model m WHERE m.relation = deals ORDER BY m.pipeline_id LIMIT 1);
	settings := pipelines._score_settings(deals, train_scores.features, train_scores.ages, train_scores.smoothing,
										  train_scores.min_won, train_scores.min_lost, train_scores.prior_weight);
	model := pipelines._score_count(deals, settings, pipelines._up_to(as_of));

	DELETE FROM pipelines.score_count c WHERE c.relation = deals;
	DELETE FROM pipelines.score_model m WHERE m.relation = deals;
	INSERT INTO pipelines.score_model (relation, pipeline_id, trained_at, as_of, features, ages, smoothing, min_won, min_lost,
									   prior_weight, won, lost)
	SELECT train_scores.deals, p.id, clock_timestamp(), train_scores.as_of,
		   ARRAY(SELECT f FROM jsonb_array_elements_text(settings -> 'features') f),
		   ARRAY(SELECT make_interval(secs => a::double precision) FROM jsonb_array_elements_text(settings -> 'ages') a),
		   (settings ->> 'smoothing')::numeric, (settings ->> 'min_won')::integer, (settings ->> 'min_lost')::integer,
		   (settings ->> 'prior_weight')::numeric, coalesce(p.won, 0), coalesce(p.lost, 0)
	FROM (SELECT DISTINCT (s ->> 0)::integer AS id, (x ->> 4)::bigint AS won, (x ->> 5)::bigint AS lost
		  FROM jsonb_array_elements(model -> 'stages') s
		  LEFT JOIN jsonb_array_elements(model -> 'counts') x ON x -> 0 = s -> 0 AND x ->> 1 = 'prior') p;
	INSERT INTO pipelines.score_count (relation, pipeline_id, feature, value, age, won, lost)
	SELECT train_scores.deals, (x ->> 0)::integer, x ->> 1, x ->> 2, (x ->> 3)::integer, (x ->> 4)::bigint, (x ->> 5)::bigint
	FROM jsonb_array_elements(model -> 'counts') x;

	-- from the first training on the views know of scores and their features
	IF before IS DISTINCT FROM ARRAY(SELECT f FROM jsonb_array_elements_text(settings -> 'features') f) THEN
		PERFORM pipelines.rebuild_views(deals);
	END IF;

	RETURN QUERY
		SELECT m.pipeline_id, p.name, m.won, m.lost, m.won >= m.min_won AND m.lost >= m.min_lost
		FROM pipelines.score_model m
		LEFT JOIN pipelines.pipeline p ON p.pipeline_id = m.pipeline_id
		WHERE m.relation = deals
		ORDER BY m.pipeline_id;
END
$$;
COMMENT ON FUNCTION pipelines.train_scores(regclass, text[], interval[], numeric, integer, integer, numeric, timestamptz) IS
'Counts how the deals of a table ended, as known at as_of, and keeps the counts for scores: per pipeline, how many deals that were won and lost were at each age (bounds: ages) no further than each stage, and which values the features had at the end of their open time (columns that are tracked, by part or name, or expressions; numbers by order of magnitude). Lost counts with disqualified; done counts not at all, nor does a closing that was taken back. The counts are whole and the same for the same past. smoothing is added to each when they are read; a pipeline with fewer than min_won won or min_lost lost deals gets the rate of the stage instead, drawn towards the configured probability with the weight of prior_weight deals. NULL: as in the last training, else none, 1 day to 2 years, 1, 40, 40, 10. Changes no deal; scores count in views only for pipelines with use_scores. The first training, and one with other features, makes the views of the table anew (which from then on need the extension). Takes 25 to 49 bytes of memory a version, and twice as much of its own share in each process that helps to read; more than maintenance_work_mem, or than 256 MB, are counted in several passes. For the owner of the table (42501). Raises 22023 for an instant before an adopted table''s history begins, and for features that are not tracked.';

-- When a deal was made, for its age: as it says itself, else its first version.
CREATE FUNCTION pipelines._score_born(deals regclass)
RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN EXISTS (SELECT FROM pipelines._roles($1) r WHERE r.role = 'created_at' AND r.column_name IS NOT NULL)
		THEN pipelines._column($1, 'created_at', 'timestamptz')
		ELSE format('coalesce((SELECT h.%1$I FROM %2$s h WHERE %3$s ORDER BY h.%4$I LIMIT 1), %5$s)',
			pipelines._own_column(t.history, 'valid_from'), t.history,
			pipelines._key_match($1, 'h', 'd'),
			pipelines._own_column(t.history, 'version'), pipelines._column($1, 'changed_at'))
		END
	FROM pipelines.tracked_table t WHERE t.relation = $1
$$;
COMMENT ON FUNCTION pipelines._score_born(regclass) IS
'SQL text: since when the age of a deal (d) counts.';

-- The score of a deal (d), for views.  Only evaluated for pipelines that use
-- scores.
CREATE FUNCTION pipelines._score_text(deals regclass, stage_probability text)
RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	features text := 'NULL::text[]';
	chosen text[];
BEGIN
	SELECT m.features INTO chosen FROM pipelines.score_model m
	WHERE m.relation = _score_text.deals ORDER BY m.pipeline_id LIMIT 1;
	IF cardinality(chosen) > 0 THEN
		SELECT 'ARRAY[' || string_agg(pipelines._deal_dimension(_score_text.deals, f.name, false, true), ', ' ORDER BY f.n) || ']'
		INTO features
		FROM unnest(chosen) WITH ORDINALITY f(name, n);
	END IF;
	RETURN format('pipelines._score(%L::regclass, %s, %s, %s, now(), %s, %s)', deals,
				  pipelines._column(deals, 'pipeline_id', NULL::text, false), pipelines._column(deals, 'furthest_stage_id', NULL::text, false),
				  pipelines._score_born(deals), stage_probability, features);
END
$$;
COMMENT ON FUNCTION pipelines._score_text(regclass, text) IS
'SQL text of the score of a deal (d) now, percent; stage_probability is SQL text, too.';

CREATE FUNCTION pipelines.scores(deals regclass, pipeline text DEFAULT NULL, as_of timestamptz DEFAULT now())
RETURNS TABLE (deal text, pipeline_id integer, pipeline_name text, stage_id integer, stage_name text,
	furthest_stage_id integer, age_days numeric, score numeric, stage_probability numeric,
	effective_probability numeric, probability_source text, basis text, won bigint, lost bigint,
	log_odds numeric, contributions jsonb)
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED COST 1000000 ROWS 10000
SET search_path = pg_catalog, pg_temp
-- few of the rows that are read are open deals: the planner doesn't know
SET parallel_tuple_cost = 0.01
SET enable_nestloop = off
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	present CONSTANT boolean := NOT pipelines._is_past(as_of, true);
	wanted integer;
	model jsonb;
	rows text;
	probability text;
	part record;
	life record;
BEGIN
	IF deals IS NULL THEN
		RAISE EXCEPTION 'deals must not be null' USING ERRCODE = 'null_value_not_allowed';
	END IF;
	wanted := pipelines._report_pipeline(deals, scores.pipeline);
	IF present THEN
		model := pipelines._score_model(deals);
	END IF;
	IF model IS NULL THEN
		model := pipelines._score_count(deals, pipelines._score_settings(deals, NULL::text[], NULL::interval[], NULL::numeric,
																		 NULL::integer, NULL::integer, NULL::numeric), pipelines._up_to(as_of));
	END IF;
	model := model || jsonb_build_object('stages', pipelines._score_stages(deals, as_of));

	SELECT t.history, pipelines._own_column(t.history, 'valid_from') AS valid_from,
		   pipelines._own_column(t.history, 'valid_to') AS valid_to,
		   (SELECT CASE count(*) WHEN 1 THEN format('CAST(d.%I AS text)', min(m.column_name::text))
						ELSE format('CAST(ROW(%s) AS text)', string_agg(format('d.%I', m.column_name), ', ' ORDER BY m.n)) END
			FROM pipelines._roles(scores.deals) m WHERE m.role ~ '^key[1-9]') AS key,
		   (SELECT CASE count(*) WHEN 1 THEN format('CAST(h.%I AS text)', min(m.history_column::text))
						ELSE format('CAST(ROW(%s) AS text)', string_agg(format('h.%I', m.history_column), ', ' ORDER BY m.n)) END
			FROM pipelines._roles(scores.deals) m WHERE m.role ~ '^key[1-9]') AS history_key,
		   pipelines._key_match(scores.deals, 'h', 'd') AS same_deal,
		   k.matches AS key_given, k.keys AS history_keys, k.many,
		   (SELECT coalesce('ARRAY[' || string_agg(pipelines._deal_dimension(scores.deals, f.name, false, true), ', ' ORDER BY f.n) || ']', 'NULL::text[]')
			FROM jsonb_array_elements_text(model -> 'features') WITH ORDINALITY f(name, n)) AS features,
		   (SELECT coalesce('ARRAY[' || string_agg(pipelines._deal_dimension(scores.deals, f.name, true, true), ', ' ORDER BY f.n) || ']', 'NULL::text[]')
			FROM jsonb_array_elements_text(model -> 'features') WITH ORDINALITY f(name, n)) AS history_features
	INTO part
	FROM pipelines.tracked_table t
	CROSS JOIN pipelines._key_parameters(scores.deals, 'g', 'h', true) k
	WHERE t.relation = scores.deals;

	-- the columns that are needed of the deals that were open
	rows := format('SELECT %s, %s, %s, %s, %s, %s, %s FROM %s d %s',
		part.key, pipelines._column(deals, 'pipeline_id', NULL::text, false), pipelines._column(deals, 'stage_id', NULL::text, false),
		pipelines._column(deals, 'furthest_stage_id', NULL::text, false), pipelines._score_born(deals),
		pipelines._column(deals, 'probability', 'numeric'::text, false), part.features,
		pipelines._deals_source(deals, NULL::name[]),
		CASE WHEN NOT present THEN format('WHERE %s <= $2', pipelines._column(deals, 'changed_at', NULL::text, false)) ELSE '' END);
	IF NOT present THEN
		-- the present row may be of a later life of the key
		IF pipelines._returned(deals) THEN
			SELECT l.joined AS joined, format(' AND %s = coalesce(cardinality(l.ends_), 0)', l.expression) AS alive,
				   format(' AND g.%I > $%s', pipelines._own_column(part.history, 'version'), part.many + 1) AS since,
				   format(', coalesce(l.ends_[%s], 0)', l.expression) AS dead
			INTO life
			FROM pipelines._life(deals, 'h', true) l;
		ELSE
			SELECT '' AS joined, '' AS alive, '' AS since, '' AS dead INTO life;
		END IF;
		rows := rows || format(' UNION ALL SELECT %s, %s, %s, %s, coalesce(%s, pipelines._lookup_instant(%L, %s)), %s, %s FROM %s LEFT JOIN %s d ON %s WHERE h.%I <= $2 AND h.%I > $2',
			part.history_key, pipelines._column(deals, 'pipeline_id', NULL::text, true), pipelines._column(deals, 'stage_id', NULL::text, true),
			pipelines._column(deals, 'furthest_stage_id', NULL::text, true),
			pipelines._column(deals, 'created_at', 'timestamptz'::text, false),
			-- as a subquery it would leave all of them to one process
			format('SELECT min(g.%I) FROM %s g WHERE %s%s', part.valid_from, part.history, part.key_given, life.since), part.history_keys || life.dead,
			pipelines._column(deals, 'probability', 'numeric'::text, true), part.history_features,
			part.history::text || ' h' || life.joined, deals, part.same_deal || life.alive, part.valid_from, part.valid_to);
	END IF;
	-- an application's own column may be a copy of the stage's probability
	probability := CASE WHEN EXISTS (SELECT FROM pipelines.tracked_table t WHERE t.relation = scores.deals AND t.application ? 'scale')
		THEN 'nullif(r.probability, k.probability)' ELSE 'r.probability' END;

	RETURN QUERY EXECUTE format($sql$
		SELECT x.deal, x.pipeline_id, x.pipeline_name, x.stage_id, x.stage_name, x.furthest,
			   round(extract(epoch FROM x.age)::numeric / 86400, 2), (x.s).score, x.configured,
			   CASE WHEN x.own IS NOT NULL THEN x.own WHEN x.use_scores AND $4 THEN coalesce((x.s).score, x.configured) ELSE x.configured END,
			   CASE WHEN x.own IS NOT NULL THEN 'deal' WHEN x.use_scores AND $4 AND (x.s).score IS NOT NULL THEN 'score' ELSE 'stage' END,
			   CASE WHEN (x.s).enough THEN 'model' WHEN NOT (x.s).enough THEN 'stage_rate' END,
			   (x.s).won, (x.s).lost, CASE WHEN (x.s).enough THEN (x.s).log_odds END, (x.s).contributions
		FROM (
			SELECT r.deal, r.pipeline AS pipeline_id, k.pipeline_name, r.stage AS stage_id, k.stage_name, r.furthest,
				   CASE WHEN isfinite(r.born) THEN greatest($2 - r.born, interval '0') END AS age, k.probability AS configured, %1$s AS own, k.use_scores,
				   pipelines._score_detail($1, r.pipeline, r.furthest, r.born, $2, k.probability, r.features) AS s
			FROM (%2$s) r(deal, pipeline, stage, furthest, born, probability, features)
			JOIN (SELECT (j ->> 0)::integer AS pipeline_id, (j ->> 1)::integer AS stage_id, (j ->> 3)::numeric AS probability,
						 p.name AS pipeline_name, u.use_scores, s.name AS stage_name
				  FROM jsonb_array_elements($1 -> 'stages') j
				  LEFT JOIN pipelines.pipeline p ON p.pipeline_id = (j ->> 0)::integer
				  LEFT JOIN pipelines.definitions_as_of(NULL::pipelines.pipeline, $2) u ON u.pipeline_id = p.pipeline_id
				  LEFT JOIN pipelines.stage s ON s.stage_id = (j ->> 1)::integer
				  WHERE (j ->> 2)::integer <= 1 AND ($3 IS NULL OR (j ->> 0)::integer = $3)) k
				ON k.pipeline_id = r.pipeline AND k.stage_id = r.stage
			OFFSET 0
		) x$sql$, probability, rows)
	-- where nobody has trained them they count nowhere
	USING model, as_of, wanted, pipelines._scored(deals);
END
$$;
COMMENT ON FUNCTION pipelines.scores(regclass, text, timestamptz) IS
'The open deals of a table with their scores: percent chance of being won, with two decimals, between 0.01 and 99.99. Now: by the counts that train_scores() has kept; for an instant in the past, or without kept counts: by what was known then, counted on the spot, for the deals as they were. basis model: log_odds is the sum of the contributions (natural logarithms) of prior (deals won against lost), age (of those still open at that age), stage (of those as far at that age) and each feature; won and lost are the deals that were as far at that age. A stage or a value that no closed deal had at that age says nothing (0), and an age that none reached is taken for the last one that some did. basis stage_rate, where there are too few closings: (won + prior_weight * configured probability) / (won + lost + prior_weight), of deals that were once that far. effective_probability: the deal''s own, else the score where the pipeline has (or had then) use_scores and train_scores() was ever called, else that of the stage. Runs with the rights of the caller. Raises 22023 for an infinite instant, or one before an adopted table''s history begins.';

CREATE FUNCTION pipelines.calibration(deals regclass, trained_at timestamptz, every interval DEFAULT '7 days',
	new_only boolean DEFAULT false, pipeline text DEFAULT NULL, features text[] DEFAULT NULL, ages interval[] DEFAULT NULL,
	as_of timestamptz DEFAULT now())
RETURNS TABLE (pipeline_id integer, pipeline_name text, predictor text, bin text, predictions bigint, still_open bigint,
	mean_predicted numeric, won bigint, observed numeric, brier numeric, log_loss numeric)
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED COST 1000000 ROWS 50
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	wanted integer;
	settings jsonb;
	model jsonb;
	part jsonb;
	bins jsonb := '[]';
	parts integer;
	dated boolean;
	query text;
BEGIN
	IF deals IS NULL OR calibration.trained_at IS NULL OR every IS NULL OR new_only IS NULL OR as_of IS NULL THEN
		RAISE EXCEPTION 'deals, trained_at, every, new_only and as_of must not be null' USING ERRCODE = 'null_value_not_allowed';
	END IF;
	wanted := pipelines._report_pipeline(deals, calibration.pipeline);
	IF every <= interval '0' OR calibration.trained_at >= as_of OR NOT isfinite(as_of) OR NOT isfinite(calibration.trained_at)
		OR extract(epoch FROM as_of - calibration.trained_at) / extract(epoch FROM every) > 100000
	THEN
		RAISE EXCEPTION 'there must be between 1 and 100000 instants between trained_at and as_of'
			USING ERRCODE = 'invalid_parameter_value',
				  DETAIL = format('From %s to %s, every %s.', calibration.trained_at, as_of, every);
	END IF;
	PERFORM pipelines._check_features(calibration.features, calibration.ages);
	settings := pipelines._score_settings(deals, calibration.features, calibration.ages, NULL::numeric, NULL::integer, NULL::integer, NULL::numeric);
	-- counted and judged in one pass, where all deals are in one part
	parts := pipelines._score_parts(deals);
	model := CASE WHEN parts = 1 THEN pipelines._score_untrained(deals, settings, calibration.trained_at) || '{"train": 1}'
				  ELSE pipelines._score_count(deals, settings, calibration.trained_at) END;
	-- each prediction by what the deal said when it was made
	dated := jsonb_array_length(settings -> 'features') > 0;
	query := 'SELECT pipelines._score_bins' || pipelines._score_feed(deals, ARRAY(
		SELECT f FROM jsonb_array_elements_text(settings -> 'features') f), dated);
	FOR n IN 0 .. parts - 1 LOOP
		EXECUTE query INTO part
		USING model || jsonb_build_object('parts', parts, 'part', n, 'every', extract(epoch FROM every)::numeric,
										  'new_only', new_only::integer, 'dated', dated::integer), as_of, calibration.trained_at;
		bins := bins || part;
	END LOOP;

	RETURN QUERY
		WITH row AS (
			SELECT (x ->> 0)::integer AS p, x ->> 1 AS predictor, (x ->> 2)::integer AS bin, (x ->> 3)::bigint AS n, (x ->> 4)::bigint AS won,
				   (x ->> 5)::numeric AS predicted, (x ->> 6)::numeric AS squares, (x ->> 7)::numeric AS losses
			FROM jsonb_array_elements(bins) x
		), total AS (
			SELECT r.p, r.predictor, r.bin, sum(r.n) FILTER (WHERE r.bin >= 0) AS n, sum(r.n) FILTER (WHERE r.bin < 0) AS open,
				   sum(r.won) AS won, sum(r.predicted) AS predicted, sum(r.squares) AS squares, sum(r.losses) AS losses
			FROM row r
			GROUP BY GROUPING SETS ((r.p, r.predictor), (r.p, r.predictor, r.bin))
		)
		SELECT t.p, q.name, t.predictor,
			   CASE WHEN t.bin IS NULL THEN 'all' ELSE format('%s-%s', t.bin * 10, t.bin * 10 + 10) END,
			   coalesce(t.n, 0)::bigint, CASE WHEN t.bin IS NULL THEN (SELECT coalesce(sum(o.open), 0)::bigint FROM total o WHERE o.p = t.p AND o.bin < 0) END,
			   round(t.predicted / t.n * 100, 2), t.won::bigint, round(t.won / t.n * 100, 2),
			   round(t.squares / t.n, 6), round(t.losses / t.n, 6)
		FROM total t
		LEFT JOIN pipelines.pipeline q ON q.pipeline_id = t.p
		WHERE coalesce(t.bin, 0) >= 0 AND (wanted IS NULL OR t.p = wanted)
		ORDER BY t.p, array_position(ARRAY['score', 'stage', 'base'], t.predictor), t.bin NULLS FIRST;
END
$$;
COMMENT ON FUNCTION pipelines.calibration(regclass, timestamptz, interval, boolean, text, text[], interval[], timestamptz) IS
'How good predictions are, without leakage: the model is counted from what was known at trained_at; then each deal that was open at trained_at, or a multiple of every after it, is predicted as it was at that instant, in the pipeline of then, and judged by how it had ended by as_of, wherever it went in the meantime; a closing that was withdrawn is none. Predictors: score (the model), stage (the probability configured for its stage, as it was at trained_at), base (the share of won deals known at trained_at). Row all: predictions, how many more were made for deals that are still open (and can''t be judged), mean prediction and share of won in percent, Brier score (mean squared error, of shares of 1) and log loss (mean natural logarithm, predictions cut to 0.01 to 99.99 percent); the less the better. The other rows are the reliability table, by predicted percent. Lost includes disqualified; deals that are done, or were deleted while they were open, are left out. new_only: only deals made since trained_at. Features and ages as in train_scores(); the model knows them from the end of the open time of deals that were closed, a prediction from the deal as it was at the instant. Runs with the rights of the caller. Raises 22023 for other instants than that.';
