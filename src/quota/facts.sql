-------------------------------------------------------------------------------
-- facts.sql
--   One row for each deal that a report is about: what it is worth, in which
--   period, for whom.
--
-- Every report of forecasts and quotas, and the list of the deals behind each
-- of its figures, is made from the text of _fact_text(): so all of them count
-- the same deals the same way (I9).  The text reads tables as whoever runs it.
-------------------------------------------------------------------------------

CREATE FUNCTION pipelines._pack(VARIADIC "any")
RETURNS bytea
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL SAFE COST 1
AS 'MODULE_PATHNAME', 'pipelines_pack';
COMMENT ON FUNCTION pipelines._pack("any") IS
	'Texts and integers as one key to group by. Volatile by declaration only: see keys.c.';

CREATE FUNCTION pipelines._unpack(key bytea)
RETURNS text[]
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 5
AS 'MODULE_PATHNAME', 'pipelines_unpack';
COMMENT ON FUNCTION pipelines._unpack(bytea) IS
	'The parts of a key that _pack() made, as text. Errors: 22P03.';

-- The forecast type and the categories of a report as they were defined at its
-- instant; NULL: now.  The first version counts for all times before it, as that
-- of a stage does.
CREATE FUNCTION pipelines._report_type(options jsonb)
RETURNS TABLE (forecast_type_id integer, code text, name text, measure text, weighted boolean, is_money boolean, period_date text,
	filter text, rollup text)
LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 1000 ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT v.forecast_type_id, v.code, v.name, v.measure, v.weighted, v.is_money, v.period_date, v.filter, v.rollup
	FROM (SELECT f.forecast_type_id, f.code, f.name, f.measure, f.weighted, f.is_money, f.period_date, f.filter, f.rollup,
				 'infinity'::timestamptz AS valid_to
		  FROM pipelines.forecast_type f
		  UNION ALL
		  SELECT h.forecast_type_id, h.code, h.name, h.measure, h.weighted, h.is_money, h.period_date, h.filter, h.rollup, h.valid_to
		  FROM pipelines.forecast_type_history h
		  WHERE h.valid_to > ($1 ->> 'at')::timestamptz) v
	WHERE v.forecast_type_id = ($1 ->> 'type')::integer
	ORDER BY v.valid_to
	LIMIT 1
$$;
COMMENT ON FUNCTION pipelines._report_type(jsonb) IS
	'The forecast type of a report, as it was defined at its instant.';

CREATE FUNCTION pipelines._categories_at(at timestamptz)
RETURNS TABLE (code text, name text, cumulative_name text, rank integer, includes_open boolean, includes_closed boolean,
	is_closed_won boolean, omit boolean)
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000 ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT DISTINCT ON (v.code) v.code, v.name, v.cumulative_name, v.rank, v.includes_open, v.includes_closed, v.is_closed_won, v.omit
	FROM (SELECT c.code, c.name, c.cumulative_name, c.rank, c.includes_open, c.includes_closed, c.is_closed_won, c.omit,
				 'infinity'::timestamptz AS valid_to
		  FROM pipelines.forecast_category c
		  UNION ALL
		  SELECT h.code, h.name, h.cumulative_name, h.rank, h.includes_open, h.includes_closed, h.is_closed_won, h.omit, h.valid_to
		  FROM pipelines.forecast_category_history h
		  WHERE h.valid_to > $1) v
	ORDER BY v.code, v.valid_to
$$;
COMMENT ON FUNCTION pipelines._categories_at(timestamptz) IS
	'The forecast categories as they were defined at an instant.';

-- Arguments that many functions hand on, as one object; see _report_options().
CREATE FUNCTION pipelines._report_options(deals regclass, forecast_type text, forecast_period text, currency text,
	rates text, rate_set text, overdue text, calendar text, overrides jsonb, as_of timestamptz, definitions text)
RETURNS jsonb
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	found_calendar record;
BEGIN
	PERFORM pipelines._roles(deals);
	IF as_of IS NULL THEN
		RAISE EXCEPTION 'as_of must not be null'
			USING ERRCODE = 'null_value_not_allowed', HINT = 'Leave it out for the present.';
	END IF;
	PERFORM pipelines._check_word('definitions', definitions, '{then,current}');
	IF forecast_period NOT IN ('week', 'month', 'quarter', 'year') THEN
		RAISE EXCEPTION 'unknown kind of period "%"', forecast_period
			USING ERRCODE = 'invalid_parameter_value', HINT = 'It is one of week, month, quarter, year.';
	END IF;
	IF overdue IS NULL OR overdue NOT IN ('bucket', 'carry') THEN
		RAISE EXCEPTION 'unknown way to treat overdue deals "%"', overdue
			USING ERRCODE = 'invalid_parameter_value',
				  HINT = 'It is one of bucket (a row of their own) and carry (to the present period).';
	END IF;
	PERFORM pipelines.conversion_rate_set(coalesce(rates, ''), 'spot'::text);
	IF currency IS NOT NULL THEN
		PERFORM pipelines.minor_units(currency);
	END IF;
	SELECT c.name, c.time_zone INTO found_calendar
	FROM pipelines.fiscal_calendar c
	WHERE CASE WHEN _report_options.calendar IS NULL THEN c.is_standard ELSE c.name = _report_options.calendar END;
	IF NOT FOUND AND calendar IS NOT NULL THEN
		RAISE EXCEPTION 'fiscal calendar "%" does not exist', calendar
			USING ERRCODE = 'undefined_object',
				  HINT = 'pipelines.fiscal_calendar lists them; without one, reports go by calendar months.';
	END IF;
	IF currency IS NOT NULL THEN
		PERFORM pipelines._need_rate_set(pipelines.conversion_rate_set(rates, coalesce(rate_set, 'spot')));
	END IF;
	RETURN jsonb_build_object('type', pipelines._forecast_type_named(forecast_type), 'kind', forecast_period,
		'currency', currency, 'rates', rates, 'rate_set', pipelines.conversion_rate_set(rates, coalesce(rate_set, 'spot')), 'carry', overdue = 'carry',
		'calendar', found_calendar.name, 'overrides', pipelines._checked_overrides(deals, overrides),
		'at', CASE WHEN as_of <> now() THEN as_of END, 'defined_at', CASE WHEN as_of <> now() AND definitions = 'then' THEN as_of END,
		'today', (as_of AT TIME ZONE coalesce(found_calendar.time_zone, current_setting('TimeZone')))::date);
END
$$;
COMMENT ON FUNCTION pipelines._report_options(regclass, text, text, text, text, text, text, text, jsonb, timestamptz, text) IS
	'Checks the arguments that reports have in common, and puts them into one object. Errors: 22023, 22004, 42704.';

-- What-if: what deals and stages are taken for.
CREATE FUNCTION pipelines._checked_overrides(deals regclass, overrides jsonb)
RETURNS jsonb
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	item jsonb;
	bad text;
	stages jsonb := '[]';
	single jsonb := '{}';
	known CONSTANT text[] := '{amount,currency,quantity,cost,probability,category,expected_close_on,owner,team,territory,product}';
	hint CONSTANT text := 'Give a list of objects such as {"pipeline": "Sales", "stage": "Quote", "probability": 70} or {"deal": "5", "amount": 1000, "category": "commit"}.';
	layout integer := (SELECT t.layout_id FROM pipelines.tracked_table t WHERE t.relation = _checked_overrides.deals);
	place record;
BEGIN
	IF overrides IS NULL OR overrides = '[]' OR jsonb_typeof(overrides) = 'null' THEN
		RETURN NULL;
	END IF;
	IF jsonb_typeof(overrides) <> 'array' THEN
		RAISE EXCEPTION 'overrides is not a list'
			USING ERRCODE = 'invalid_parameter_value', HINT = hint;
	END IF;
	FOR item IN SELECT e.value FROM jsonb_array_elements(overrides) e LOOP
		IF jsonb_typeof(item) <> 'object' OR (item ? 'deal') = (item ? 'stage') OR (item ? 'deal' AND item ? 'pipeline') THEN
			RAISE EXCEPTION 'an override is about a deal or about a stage of a pipeline'
				USING ERRCODE = 'invalid_parameter_value', DETAIL = format('It is %s.', item), HINT = hint;
		END IF;
		SELECT string_agg(k.key, ', ' ORDER BY k.key) INTO bad
		FROM jsonb_object_keys(item) k (key)
		WHERE k.key <> ALL (CASE WHEN item ? 'deal' THEN known || 'deal'::text ELSE '{pipeline,stage,probability,category}'::text[] END);
		IF bad IS NOT NULL THEN
			RAISE EXCEPTION 'an override can''t say anything of: %', bad
				USING ERRCODE = 'invalid_parameter_value', DETAIL = format('It is %s.', item),
					  HINT = format('Of a deal it may say: %s; of a stage: probability, category.', array_to_string(known, ', '));
		END IF;
		IF item ? 'probability' AND NOT coalesce((item ->> 'probability')::numeric BETWEEN 0 AND 100, item ? 'deal') THEN
			RAISE EXCEPTION 'probability % is not one from 0 to 100', item ->> 'probability'
				USING ERRCODE = 'numeric_value_out_of_range', DETAIL = format('It is %s.', item);
		END IF;
		IF item ? 'deal' THEN
			IF single ? (item ->> 'deal') THEN
				RAISE EXCEPTION 'deal % is overridden twice', item ->> 'deal'
					USING ERRCODE = 'invalid_parameter_value', HINT = 'Put all that is taken of it into one object.';
			END IF;
			single := single || jsonb_build_object(item ->> 'deal', item);
		ELSE
			-- of all pipelines of the layout that have the stage, or of one
			FOR place IN
				SELECT p.pipeline_id, s.stage_id, p.name AS pipeline_name, s.name AS stage_name, ps.outcome
				FROM pipelines.pipeline_stage ps
				JOIN pipelines.pipeline p ON p.pipeline_id = ps.pipeline_id
				JOIN pipelines.stage s ON s.stage_id = ps.stage_id
				WHERE (layout IS NULL OR p.layout_id = layout)
					AND (NOT item ? 'pipeline' OR item ->> 'pipeline' IN (p.name, p.code, p.pipeline_id::text))
					AND item ->> 'stage' IN (s.name, s.code, s.stage_id::text)
			LOOP
				IF place.outcome NOT IN ('open', 'on_hold') THEN
					RAISE EXCEPTION 'stage "%" of pipeline "%" is closed', place.stage_name, place.pipeline_name
						USING ERRCODE = 'invalid_parameter_value',
							  DETAIL = 'What is won counts in full, what is lost not at all.';
				END IF;
				stages := stages || jsonb_build_array(item || jsonb_build_object('pipeline', place.pipeline_id, 'stage', place.stage_id));
			END LOOP;
			IF NOT FOUND THEN
				RAISE EXCEPTION 'there is no stage "%"%', item ->> 'stage',
						coalesce(' in pipeline "' || (item ->> 'pipeline') || '"', '')
					USING ERRCODE = 'undefined_object', HINT = 'pipelines.pipeline_stage lists them.';
			END IF;
		END IF;
	END LOOP;
	RETURN jsonb_build_object('stages', stages, 'deals', single);
END
$$;
COMMENT ON FUNCTION pipelines._checked_overrides(regclass, jsonb) IS
	'Checks the overrides of a what-if, and sorts them: stages with their ids, deals by their keys. Errors: 22023, 22003, 42704.';

-- The text form of the key of a deal (d).
CREATE FUNCTION pipelines._key_expression(deals regclass, alias text)
RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 2000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE count(*) WHEN 1 THEN format('%s.%I::text', $2, max(r.column_name))
		ELSE format('ROW(%s)::text', string_agg(format('%s.%I', $2, r.column_name), ', ' ORDER BY r.n)) END
	FROM pipelines._roles($1) r
	WHERE r.role ~ '^key[1-9]'
$$;
COMMENT ON FUNCTION pipelines._key_expression(regclass, text) IS
	'The text form of a deal''s key as SQL text: as functions take it.';

-- What stands after FROM for the deals: now or as of an instant, with what is
-- taken instead of some of their values.  An override takes the place of a
-- column, so that whatever is worked out from the column follows.
CREATE FUNCTION pipelines._fact_source(deals regclass, options jsonb)
RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE COST 2000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	source text := CASE WHEN options ->> 'at' IS NULL THEN pipelines._deals_source(deals, NULL::name[])
						ELSE pipelines._past_source(deals, format('%L::timestamptz', options ->> 'at')) END;
	scale text;
	list text;
BEGIN
	IF coalesce(options #> '{overrides,deals}', '{}') = '{}' THEN
		RETURN source || ' d';
	END IF;
	SELECT t.application ->> 'scale' INTO scale FROM pipelines.tracked_table t WHERE t.relation = _fact_source.deals;
	SELECT string_agg(CASE WHEN r.role IS NULL THEN format('s.%I', a.attname)
			ELSE format('CASE WHEN o.value ? %1$L THEN CAST(%2$s AS %3$s) ELSE s.%4$I END AS %4$I', k.key,
				CASE WHEN r.role = 'probability' AND scale = 'fraction' THEN format('(o.value ->> %L)::numeric * 0.01', k.key)
					 ELSE format('(o.value ->> %L)', k.key) END,
				format_type(a.atttypid, a.atttypmod), a.attname) END, ', ' ORDER BY a.attnum)
	INTO list
	FROM pg_attribute a
	LEFT JOIN pipelines._roles(deals) r
		JOIN (SELECT x.key, CASE x.key WHEN 'category' THEN 'forecast_category' ELSE x.key END AS role
			  FROM unnest('{amount,currency,quantity,cost,probability,category,expected_close_on,owner,team,territory,product}'::text[]) x (key)) k
			ON k.role = r.role
		ON r.column_name = a.attname
	WHERE a.attrelid = _fact_source.deals AND a.attnum > 0 AND NOT a.attisdropped;
	RETURN format('(SELECT %s FROM %s s LEFT JOIN jsonb_each(%L::jsonb) o ON o.key = %s) d',
				  list, source, options #> '{overrides,deals}', pipelines._key_expression(deals, 's'));
END
$$;
COMMENT ON FUNCTION pipelines._fact_source(regclass, jsonb) IS
	'The deals that a report is about, as SQL text for FROM.';

-- A key by which figures are split: text about d.
CREATE FUNCTION pipelines._fact_dimension(deals regclass, name text)
RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 2000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE
		WHEN $2 IN ('pipeline', 'pipeline_id') THEN pipelines._column($1, 'pipeline_id', 'text')
		-- a part that the table does not have
		WHEN EXISTS (SELECT FROM pipelines._deal_columns() c WHERE c.role = $2 AND c.mapped)
			AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = $1 AND a.attname = $2 AND NOT a.attisdropped)
		THEN pipelines._column($1, $2, 'text')
		ELSE pipelines._deal_expression($1, $2, 'text'::regtype, format('the dimension "%s"', $2)) END
$$;
COMMENT ON FUNCTION pipelines._fact_dimension(regclass, text) IS
	'A dimension of reports as SQL text: a part or a column of the deals, or an expression; NULL for a part that the table does not have.';

CREATE FUNCTION pipelines._fact_measure(deals regclass, options jsonb)
RETURNS text
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 2000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE
		WHEN t.measure IN ('amount', 'quantity', 'cost') THEN pipelines._column($1, t.measure, 'numeric')
		WHEN t.measure = 'margin'
		THEN format('(%s - %s)', pipelines._column($1, 'amount', 'numeric'), pipelines._column($1, 'cost', 'numeric'))
		ELSE pipelines._deal_expression($1, CASE t.measure
				WHEN 'recurring_monthly' THEN 'recurring_amount / nullif(recurring_months, 0)'
				WHEN 'recurring_annual' THEN 'recurring_amount * 12 / nullif(recurring_months, 0)'
				ELSE t.measure END, 'numeric'::regtype, format('the measure of forecast type "%s"', t.code)) END
	FROM pipelines._report_type($2) t
$$;
COMMENT ON FUNCTION pipelines._fact_measure(regclass, jsonb) IS
	'What a forecast type adds up, as SQL text about d.';

-- The day to the period of a kind.  Without a calendar: calendar months, weeks
-- from Monday; the number then says the first day and the kind.
CREATE FUNCTION pipelines._period_key(day text, kind text, calendar text)
RETURNS text
LANGUAGE sql IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN $3 IS NOT NULL
		THEN format('pipelines.fiscal_period_id(%s, %L::text, %L::text)', $1, $2, $3)
		-- beyond that there are no periods
		ELSE format('CASE WHEN %2$s BETWEEN date ''0001-01-01 BC'' AND date ''294275-12-31'' THEN (date_trunc(%1$L, (%2$s)::timestamp)::date - date ''2000-01-01'') * 4 + %3$s END', $2, $1,
					array_position('{week,month,quarter,year}'::text[], $2) - 1) END
$$;
COMMENT ON FUNCTION pipelines._period_key(text, text, text) IS
	'The period of a day, as SQL text.';

-- What a stage says of its deals, as rows: the planner then knows how few they
-- are.  Of a past instant by the definitions of then (R-2.1).
CREATE FUNCTION pipelines._stage_facts(options jsonb)
RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	WITH stage AS (
		SELECT s.pipeline_id, s.stage_id, s.outcome, s.probability, s.forecast_category
		FROM pipelines.pipeline_stage s
		WHERE s.changed_at <= coalesce(($1 ->> 'defined_at')::timestamptz, 'infinity')
		UNION ALL
		SELECT s.pipeline_id, s.stage_id, s.outcome, s.probability, s.forecast_category
		FROM pipelines.pipeline_stage_history s
		WHERE s.valid_from <= ($1 ->> 'defined_at')::timestamptz AND ($1 ->> 'defined_at')::timestamptz < s.valid_to
	)
	SELECT coalesce(string_agg(format('(%s, %s, %L::text, %L::boolean, %L::numeric, %L::text, %L::text, %L::date, %L::boolean)',
			s.pipeline_id, s.stage_id, s.outcome, c.closed,
			CASE WHEN s.outcome = 'won' THEN 100 WHEN c.closed THEN 0 ELSE coalesce(o.probability, s.probability) END,
			CASE WHEN s.outcome = 'won' THEN 'closed' WHEN c.closed THEN 'omitted'
				 ELSE coalesce(c.category, CASE WHEN s.outcome = 'on_hold' THEN 'omitted' ELSE 'pipeline' END) END,
			CASE WHEN c.closed THEN s.outcome WHEN coalesce(c.category, s.outcome) IN ('omitted', 'on_hold') THEN 'done' ELSE 'open' END,
			(coalesce(($1 ->> 'at')::timestamptz, now()) AT TIME ZONE coalesce(p.time_zone, current_setting('TimeZone')))::date,
			coalesce(CASE WHEN $1 ->> 'defined_at' IS NULL THEN p.use_scores ELSE u.use_scores END AND NOT c.closed AND o.probability IS NULL, false)),
			', ' ORDER BY s.pipeline_id, s.stage_id),
		'(NULL::integer, NULL::integer, NULL::text, NULL::boolean, NULL::numeric, NULL::text, NULL::text, NULL::date, NULL::boolean)')
	FROM stage s
	LEFT JOIN pipelines.pipeline p ON p.pipeline_id = s.pipeline_id
	-- a NULL instant gives no rows
	LEFT JOIN pipelines.definitions_as_of(NULL::pipelines.pipeline, ($1 ->> 'defined_at')::timestamptz) u ON u.pipeline_id = s.pipeline_id
	LEFT JOIN jsonb_to_recordset($1 #> '{overrides,stages}') AS o (pipeline integer, stage integer, probability numeric, category text)
		ON o.pipeline = s.pipeline_id AND o.stage = s.stage_id
	CROSS JOIN LATERAL (SELECT s.outcome NOT IN ('open', 'on_hold') AS closed, coalesce(o.category, s.forecast_category) AS category) c
$$;
COMMENT ON FUNCTION pipelines._stage_facts(jsonb) IS
	'Outcome, probability and category of each stage, the day that it is in its pipeline, and whether scores stand in for its probability, as SQL text of rows.';

CREATE FUNCTION pipelines._fact_text(deals regclass, dimensions text[], kind text, options jsonb)
RETURNS text
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 20000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	t record;
	registration record;
	said text := pipelines._column(deals, 'forecast_category', 'text');
	probability text := pipelines._column(deals, 'probability', 'numeric');
	expected text := pipelines._column(deals, 'expected_close_on', 'date');
	today text;
	closed_on text := pipelines._column(deals, 'closed_on', 'date');
	instant text := coalesce(quote_literal(options ->> 'at') || '::timestamptz', 'now()');
	by_unit boolean := 'unit' = ANY (dimensions);
	scored CONSTANT boolean := pipelines._scores_count(deals, (options ->> 'defined_at')::timestamptz);
	value text := 'x.raw';
	day text;
	overdue text;
	rate_day text;
	known text;
	unit_join text := '';
	list text;
BEGIN
	SELECT f.* INTO STRICT t FROM pipelines._report_type(options) f;
	SELECT r.currency INTO STRICT registration FROM pipelines.tracked_table r WHERE r.relation = _fact_text.deals;
	today := format('coalesce(k.today, (%s AT TIME ZONE current_setting(''TimeZone''))::date)', instant);

	IF t.period_date IS NULL THEN
		overdue := format('NOT coalesce(k.closed, false) AND %s < %s', expected, today);
		day := format('CASE WHEN k.closed THEN %s ELSE %s END', closed_on,
					  CASE WHEN (options ->> 'carry')::boolean THEN format('greatest(%s, CASE WHEN %1$s IS NOT NULL THEN %s END)', expected, today)
						   ELSE expected END);
		IF (options ->> 'carry')::boolean THEN
			overdue := 'false';
		END IF;
	ELSE
		overdue := 'false';
		day := pipelines._deal_expression(deals, t.period_date, 'date'::regtype, format('the day of forecast type "%s"', t.code));
	END IF;

	IF t.is_money AND options ->> 'currency' IS NOT NULL THEN
		rate_day := CASE WHEN options ->> 'rates' ~ '^fixed:'
						 THEN format('%L::date', pipelines.conversion_date(options ->> 'rates', NULL::date, NULL::date, NULL::date))
						 WHEN options ->> 'rates' = 'creation' THEN 'x.created_on'
						 WHEN options ->> 'rates' = 'current' THEN 'x.today'
						 ELSE 'CASE WHEN x.closed THEN coalesce(x.closed_on, x.today) ELSE x.today END' END;
		known := CASE WHEN options ->> 'rates' = 'frozen'
					  THEN format('CASE WHEN x.closed THEN %s ELSE %s END',
								  CASE WHEN options ->> 'at' IS NULL THEN 'x.closed_at' ELSE format('least(x.closed_at, %L::timestamptz)', options ->> 'at') END,
								  coalesce(quote_literal(options ->> 'at'), 'NULL') || '::timestamptz')
					  WHEN options ->> 'at' IS NOT NULL THEN quote_literal(options ->> 'at') || '::timestamptz' END;
		value := format('pipelines.round_money(pipelines.convert(x.raw, x.native, %1$L::text, %2$s, %3$L::text%4$s), %1$L::text)',
						options ->> 'currency', rate_day, options ->> 'rate_set', ', ' || known);
	ELSIF t.is_money AND t.measure IN ('recurring_monthly', 'recurring_annual') THEN
		value := 'CASE WHEN x.native IS NULL THEN round(x.raw, 2) ELSE pipelines.round_money(x.raw, x.native) END';
	END IF;

	IF by_unit THEN
		-- what is won stays with the unit of its day (R-6.3)
		unit_join := format(' LEFT JOIN (SELECT s.*, s.units::text AS units_text FROM pipelines._unit_spans(%L::timestamptz) s OFFSET 0) u ON u.owner = x.owner AND u.starts_on <= x.unit_day AND x.unit_day < u.ends_on',
							options ->> 'defined_at');
	END IF;

	SELECT string_agg(CASE WHEN n.name = 'unit' THEN '' ELSE format('%s AS d%s, ', pipelines._fact_dimension(deals, n.name), n.i) END, '' ORDER BY n.i)
	INTO list
	FROM unnest(dimensions) WITH ORDINALITY n (name, i);

	RETURN format($sql$
		SELECT x.*, %1$s AS value, %2$s AS period_key%3$s
		FROM (
			SELECT %4$s %5$s AS deal, %6$s AS owner, %18$s AS pipeline_id, %19$s AS stage_id,
				   k.outcome, coalesce(k.closed, false) AS closed, %7$s AS today,
				   %8$s AS day, %9$s AS closed_on, %10$s AS created_on, %22$s AS closed_at,
				   CASE WHEN %8$s IS NULL THEN 2 WHEN %11$s THEN 1 ELSE 0 END AS bucket,
				   CASE WHEN k.closed THEN coalesce(%8$s, %7$s) ELSE greatest(%8$s, %7$s) END AS unit_day,
				   %12$s AS native,
				   %13$s AS raw,
				   CASE WHEN k.closed THEN k.probability ELSE coalesce(%14$s, k.probability) END AS probability,
				   CASE WHEN k.closed OR %15$s IS NULL THEN coalesce(k.category, 'pipeline') ELSE %15$s END AS category,
				   CASE WHEN k.closed OR %15$s IS NULL THEN coalesce(k.counts_as, 'open')
						WHEN %15$s = 'omitted' THEN 'done'
						ELSE 'open' END AS counts_as
			FROM %16$s
			LEFT JOIN (VALUES %17$s) k (pipeline_id, stage_id, outcome, closed, probability, category, counts_as, today, scored)
				ON k.pipeline_id = %18$s AND k.stage_id = %19$s%23$s
			%20$s
		) x%21$s$sql$,
		value, pipelines._period_key('x.day', kind, options ->> 'calendar'), CASE WHEN by_unit THEN ', u.units_text' ELSE '' END,
		list, pipelines._key_expression(deals, 'd'), pipelines._column(deals, 'owner', 'text'), today,
		day, closed_on,
		CASE WHEN options ->> 'rates' = 'creation' THEN format('%s::date', pipelines._column(deals, 'created_at', 'timestamptz')) ELSE 'NULL::date' END,
		overdue,
		CASE WHEN t.is_money THEN format('coalesce(%s, %s)', pipelines._column(deals, 'currency', 'text'), quote_nullable(registration.currency) || '::text')
			 ELSE 'NULL::text' END,
		pipelines._fact_measure(deals, options),
		CASE WHEN scored THEN format('%s, CASE WHEN k.scored THEN z.score END', pipelines._own_probability(deals, 'k.probability')) ELSE probability END, said,
		pipelines._fact_source(deals, options), pipelines._stage_facts(options),
		pipelines._column(deals, 'pipeline_id'), pipelines._column(deals, 'stage_id'),
		'WHERE ' || pipelines._deal_expression(deals, t.filter, 'boolean'::regtype, format('the filter of forecast type "%s"', t.code)),
		unit_join,
		CASE WHEN options ->> 'rates' = 'frozen' THEN pipelines._column(deals, 'closed_at', 'timestamptz') ELSE 'NULL::timestamptz' END,
		CASE WHEN scored THEN format(E'\n\t\t\tLEFT JOIN pipelines.scores(%L::regclass, NULL::text, %s) z ON z.deal = %s', deals, instant,
									 pipelines._key_expression(deals, 'd')) ELSE '' END);
END
$$;
COMMENT ON FUNCTION pipelines._fact_text(regclass, text[], text, jsonb) IS
	'A query for the deals that a report is about, one row each: dimensions d1, d2 ... as text, units, day, bucket (0 in a period, 1 overdue, 2 undated), period_key, value, probability, category and how the aggregate forecast() is to count it.';
