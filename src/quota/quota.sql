-------------------------------------------------------------------------------
-- quota.sql
--   What forecasts are about: categories, types, the sales structure, quotas.
--
-- The tables are definition tables (definitions.sql).  Here is what fills them,
-- what reads them as of a day, and who may write them.
-------------------------------------------------------------------------------

CREATE FUNCTION pipelines._expression(deals regclass, expression text, type regtype, what text, roles text[], columns text[])
RETURNS text
LANGUAGE c STABLE STRICT PARALLEL SAFE COST 1000
AS 'MODULE_PATHNAME', 'pipelines_expression';
COMMENT ON FUNCTION pipelines._expression(regclass, text, regtype, text, text[], text[]) IS
	'An expression over the columns of deals (d) as SQL text, written anew from what was read. roles are other names for columns; what says in errors where it stands. Errors: 42601, 42703, 42804, 0A000.';

CREATE FUNCTION pipelines._need_expression(expression text, what text, example text)
RETURNS void
LANGUAGE c STABLE STRICT PARALLEL SAFE COST 100
AS 'MODULE_PATHNAME', 'pipelines_need_expression';
COMMENT ON FUNCTION pipelines._need_expression(text, text, text) IS
	'Raises 42601 if a text is not one expression, which can stand in parentheses and a new line; nothing in it is looked up. what says in errors where it stands; example is one.';

-- _expression() by the parts of a deals table: whatever its columns are called.
CREATE FUNCTION pipelines._deal_expression(deals regclass, expression text, type regtype, what text)
RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 2000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT pipelines._expression($1, $2, $3, $4,
		coalesce((SELECT array_agg(r.role ORDER BY r.n) FROM pipelines._roles($1) r WHERE r.column_name IS NOT NULL), '{}'::text[]),
		coalesce((SELECT array_agg(r.column_name::text ORDER BY r.n) FROM pipelines._roles($1) r WHERE r.column_name IS NOT NULL), '{}'::text[]))
$$;
COMMENT ON FUNCTION pipelines._deal_expression(regclass, text, regtype, text) IS
	'An expression over the columns of a deals table, by their names or ours, as SQL text about d.';

-- What setup() puts into tables that it has just made.
CREATE FUNCTION pipelines._setup_forecasts(fresh text[])
RETURNS void
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	c record;
BEGIN
	IF 'forecast_category' = ANY (fresh) THEN
		INSERT INTO pipelines.forecast_category
			(code, name, cumulative_name, rank, includes_open, includes_closed, is_closed_won, omit)
		VALUES
			('omitted', 'Omitted', NULL, 0, false, false, false, true),
			('pipeline', 'Pipeline', 'Open Pipeline', 10, true, false, false, false),
			('best_case', 'Best Case', 'Best Case Forecast', 20, true, true, false, false),
			('most_likely', 'Most Likely', 'Most Likely Forecast', 30, true, true, false, false),
			('commit', 'Commit', 'Commit Forecast', 40, true, true, false, false),
			('closed', 'Closed', NULL, 50, false, true, true, false);
	END IF;
	IF 'forecast_type' = ANY (fresh) THEN
		INSERT INTO pipelines.forecast_type (code, name, is_standard, measure, weighted, is_money)
		VALUES
			('amount', 'Amount', true, 'amount', false, true),
			('weighted', 'Weighted amount', false, 'amount', true, true),
			('quantity', 'Quantity', false, 'quantity', false, false),
			('weighted_quantity', 'Weighted quantity', false, 'quantity', true, false),
			('cost', 'Cost', false, 'cost', false, true),
			('margin', 'Margin', false, 'margin', false, true);
	END IF;

	-- what people say is seen by those whom they name, and written by nobody else
	FOR c IN
		SELECT k.name, format('pipelines.%I', k.name)::regclass AS relation
		FROM (VALUES ('adjustment'), ('submission')) AS k (name)
		WHERE k.name = ANY (fresh)
	LOOP
		EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', c.relation);
		PERFORM pipelines._say_policies(c.relation, text 'current_user::text');
	END LOOP;
END
$$;
COMMENT ON FUNCTION pipelines._setup_forecasts(text[]) IS
	'Fills the tables of forecasts that setup() has just made.';

CREATE FUNCTION pipelines._drop_policies(relation regclass, names name[])
RETURNS void
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	policy name;
BEGIN
	FOR policy IN
		SELECT p.polname FROM pg_policy p
		WHERE p.polrelid = _drop_policies.relation AND p.polname = ANY (names) ORDER BY p.polname
	LOOP
		EXECUTE format('DROP POLICY %I ON %s', policy, relation);
	END LOOP;
END
$$;
COMMENT ON FUNCTION pipelines._drop_policies(regclass, name[]) IS
	'Drops those of the policies that a table has.';

-- Who sees what people say: who said it, members of the roles that he names,
-- everybody where he names none.  Plain SQL: it holds without the extension.
CREATE FUNCTION pipelines._say_policies(relation regclass, who text)
RETURNS void
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM pipelines._drop_policies(relation, '{pipelines_visible,pipelines_say}'::name[]);
	EXECUTE format(E'CREATE POLICY pipelines_visible ON %s FOR SELECT USING (visible_to IS NULL OR made_by = (%s\n)'
		' OR EXISTS (SELECT FROM pg_catalog.pg_roles AS r WHERE r.rolname = ANY (visible_to) AND pg_catalog.pg_has_role(r.oid, ''MEMBER'')))',
		relation, who);
	EXECUTE format(E'CREATE POLICY pipelines_say ON %s FOR INSERT WITH CHECK (made_by = (%s\n) AND role_name = session_user)',
		relation, who);
	EXECUTE format('COMMENT ON POLICY pipelines_visible ON %s IS %L', relation, 'Made by pipelines: seen by who said it and by the roles that are named.');
	EXECUTE format('COMMENT ON POLICY pipelines_say ON %s IS %L', relation, 'Made by pipelines: nobody speaks in the name of others.');
END
$$;
COMMENT ON FUNCTION pipelines._say_policies(regclass, text) IS
	'Makes the policies of the table of adjustments or submissions. who: expression for the present user.';

-- ---------------------------------------------------------------------------
-- The sales structure
-- ---------------------------------------------------------------------------

-- Rows hold up to the next one of the same unit: so none overlap.  at: as they
-- were at an instant, before rows were altered; NULL: now.
CREATE FUNCTION pipelines._unit_rows(at timestamptz DEFAULT NULL)
RETURNS TABLE (unit_id integer, name text, parent_id integer, manager text, starts_on date, ends_on date)
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000 ROWS 100
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT x.unit_id, x.name, x.parent_id, x.manager, x.starts_on, x.ends_on
	FROM (SELECT u.unit_id, u.name, u.parent_id, u.manager, u.starts_on,
				 least(coalesce(u.ends_on, 'infinity'),
					   lead(u.starts_on, 1, 'infinity') OVER (PARTITION BY u.unit_id ORDER BY u.starts_on)) AS ends_on
		  FROM (SELECT s.* FROM pipelines.sales_unit s WHERE $1 IS NULL
				UNION ALL
				SELECT s.* FROM pipelines.definitions_as_of(NULL::pipelines.sales_unit, $1) s) u) x
	WHERE x.ends_on > x.starts_on
$$;
COMMENT ON FUNCTION pipelines._unit_rows(timestamptz) IS
	'Units of the sales structure with the days on which each row holds: from starts_on up to ends_on, exclusive. at: as the rows were at an instant; NULL: now.';

CREATE FUNCTION pipelines._member_rows(at timestamptz DEFAULT NULL)
RETURNS TABLE (owner text, unit_id integer, starts_on date, ends_on date)
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000 ROWS 1000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT x.owner, x.unit_id, x.starts_on, x.ends_on
	FROM (SELECT m.owner, m.unit_id, m.starts_on,
				 least(coalesce(m.ends_on, 'infinity'),
					   lead(m.starts_on, 1, 'infinity') OVER (PARTITION BY m.owner ORDER BY m.starts_on)) AS ends_on
		  FROM (SELECT s.* FROM pipelines.sales_unit_member s WHERE $1 IS NULL
				UNION ALL
				SELECT s.* FROM pipelines.definitions_as_of(NULL::pipelines.sales_unit_member, $1) s) m) x
	WHERE x.ends_on > x.starts_on AND x.unit_id IS NOT NULL
$$;
COMMENT ON FUNCTION pipelines._member_rows(timestamptz) IS
	'Which owner is in which unit, from starts_on up to ends_on, exclusive. at: as the rows were at an instant; NULL: now.';

CREATE FUNCTION pipelines.sales_structure("on" date DEFAULT CURRENT_DATE)
RETURNS TABLE (unit_id integer, name text, parent_id integer, manager text, level integer, path integer[], members text[])
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000 ROWS 100
SET search_path = pg_catalog, pg_temp
AS $$
	WITH RECURSIVE unit AS MATERIALIZED (
		SELECT u.* FROM pipelines._unit_rows() u WHERE u.starts_on <= $1 AND $1 < u.ends_on
	), tree AS (
		SELECT u.unit_id, u.name, u.parent_id, u.manager, 1 AS level, ARRAY[u.unit_id] AS path
		FROM unit u
		-- one whose parent does not exist on that day stands on its own
		WHERE u.parent_id IS NULL OR NOT EXISTS (SELECT FROM unit p WHERE p.unit_id = u.parent_id)
		UNION ALL
		SELECT u.unit_id, u.name, u.parent_id, u.manager, t.level + 1, t.path || u.unit_id
		FROM tree t
		JOIN unit u ON u.parent_id = t.unit_id
		WHERE u.unit_id <> ALL (t.path)
	)
	SELECT t.unit_id, t.name, t.parent_id, t.manager, t.level, t.path,
		   coalesce((SELECT array_agg(m.owner ORDER BY m.owner) FROM pipelines._member_rows() m
					 WHERE m.unit_id = t.unit_id AND m.starts_on <= $1 AND $1 < m.ends_on), '{}'::text[])
	FROM tree t
	ORDER BY t.path
$$;
COMMENT ON FUNCTION pipelines.sales_structure(date) IS
	'The sales structure as it is on a day: units from the top down, path from the top unit to each, level from 1, and the owners that belong directly to it. Units that are above themselves are not shown.';

-- For each owner, spans of days in which all units above him stay the same.
CREATE FUNCTION pipelines._unit_spans(at timestamptz DEFAULT NULL)
RETURNS TABLE (owner text, starts_on date, ends_on date, units integer[])
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000 ROWS 1000
SET search_path = pg_catalog, pg_temp
AS $$
	WITH RECURSIVE unit AS MATERIALIZED (
		SELECT u.* FROM pipelines._unit_rows($1) u
	), up AS (
		SELECT m.owner, u.unit_id, u.parent_id, greatest(m.starts_on, u.starts_on) AS starts_on,
			   least(m.ends_on, u.ends_on) AS ends_on, ARRAY[u.unit_id] AS path
		FROM pipelines._member_rows($1) m
		JOIN unit u ON u.unit_id = m.unit_id AND u.starts_on < m.ends_on AND m.starts_on < u.ends_on
		UNION ALL
		SELECT c.owner, u.unit_id, u.parent_id, greatest(c.starts_on, u.starts_on),
			   least(c.ends_on, u.ends_on), c.path || u.unit_id
		FROM up c
		JOIN unit u ON u.unit_id = c.parent_id AND u.starts_on < c.ends_on AND c.starts_on < u.ends_on
		WHERE u.unit_id <> ALL (c.path)
	), edge AS (
		SELECT x.owner, x.day, lead(x.day) OVER (PARTITION BY x.owner ORDER BY x.day) AS next_day
		FROM (SELECT u.owner, u.starts_on AS day FROM up u UNION SELECT u.owner, u.ends_on FROM up u) x
	)
	SELECT e.owner, e.day, e.next_day, array_agg(u.unit_id ORDER BY cardinality(u.path))
	FROM edge e
	JOIN up u ON u.owner = e.owner AND u.starts_on <= e.day AND e.next_day <= u.ends_on
	WHERE e.next_day IS NOT NULL
	GROUP BY e.owner, e.day, e.next_day
$$;
COMMENT ON FUNCTION pipelines._unit_spans(timestamptz) IS
	'For each owner the units above him, the nearest first, in spans of days that do not overlap; ends_on is exclusive. at: as the rows were at an instant; NULL: now.';

CREATE FUNCTION pipelines.unit_of(owner text, "on" date DEFAULT CURRENT_DATE)
RETURNS integer
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT m.unit_id FROM pipelines._member_rows() m
	WHERE m.owner = $1 AND m.starts_on <= $2 AND $2 < m.ends_on
$$;
COMMENT ON FUNCTION pipelines.unit_of(text, date) IS
	'The unit of the sales structure that an owner belongs to on a day, or NULL.';

CREATE FUNCTION pipelines._unit_named(unit text)
RETURNS integer
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	ids integer[] := ARRAY(SELECT DISTINCT u.unit_id FROM pipelines.sales_unit u WHERE u.name = unit ORDER BY u.unit_id);
BEGIN
	IF cardinality(ids) <> 1 THEN
		RAISE EXCEPTION '%', CASE WHEN ids = '{}' THEN format('sales unit "%s" does not exist', unit)
								  ELSE format('several sales units are called "%s"', unit) END
			USING ERRCODE = CASE WHEN ids = '{}' THEN 'undefined_object' ELSE 'ambiguous_parameter' END,
				  DETAIL = format('Units: %s.', coalesce((SELECT string_agg(DISTINCT format('%s (%s)', u.name, u.unit_id), ', ')
														  FROM pipelines.sales_unit u), 'none')),
				  HINT = 'pipelines.sales_unit lists them.';
	END IF;
	RETURN ids[1];
END
$$;
COMMENT ON FUNCTION pipelines._unit_named(text) IS
	'A unit of the sales structure by its name. Errors: 42704, 42P08.';

CREATE FUNCTION pipelines._forecast_type_named(code text)
RETURNS integer
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	found_id integer;
BEGIN
	SELECT t.forecast_type_id INTO found_id FROM pipelines.forecast_type t
	WHERE CASE WHEN _forecast_type_named.code IS NULL THEN t.is_standard ELSE t.code = _forecast_type_named.code END;
	IF found_id IS NULL THEN
		RAISE EXCEPTION '%', CASE WHEN code IS NULL THEN 'there is no standard forecast type'
								  ELSE format('forecast type "%s" does not exist', code) END
			USING ERRCODE = 'undefined_object',
				  DETAIL = format('Forecast types: %s.', coalesce((SELECT string_agg(t.code, ', ' ORDER BY t.code) FROM pipelines.forecast_type t), 'none')),
				  HINT = 'pipelines.forecast_type lists them; the standard one has is_standard.';
	END IF;
	RETURN found_id;
END
$$;
COMMENT ON FUNCTION pipelines._forecast_type_named(text) IS
	'A forecast type by its code; NULL: the standard one. Errors: 42704.';

-- ---------------------------------------------------------------------------
-- Quotas
-- ---------------------------------------------------------------------------

CREATE FUNCTION pipelines._period_named(period text, kind text, calendar text)
RETURNS integer
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	ids integer[];
	found_id integer;
BEGIN
	IF period ~ '^[0-9]{4}-[0-9]{2}(-[0-9]{2})?$' THEN
		found_id := pipelines.fiscal_period_id(CASE WHEN length(period) = 7 THEN period || '-01' ELSE period END::date, kind, calendar);
		ids := CASE WHEN found_id IS NOT NULL THEN ARRAY[found_id] ELSE '{}'::integer[] END;
	ELSE
		ids := ARRAY(SELECT p.period_id FROM pipelines.fiscal_period p
					 JOIN pipelines.fiscal_calendar c ON c.calendar_id = p.calendar_id
					 WHERE p.label = _period_named.period
						AND CASE WHEN _period_named.calendar IS NULL THEN c.is_standard ELSE c.name = _period_named.calendar END);
	END IF;
	IF cardinality(ids) <> 1 THEN
		RAISE EXCEPTION '%', CASE WHEN ids = '{}' THEN format('there is no fiscal period "%s"', period)
								  ELSE format('several fiscal periods are called "%s"', period) END
			USING ERRCODE = CASE WHEN ids = '{}' THEN 'undefined_object' ELSE 'ambiguous_parameter' END,
				  HINT = 'Give the label of a period as in pipelines.fiscal_period, or a day such as 2026-03-01 and the kind of the period.';
	END IF;
	RETURN ids[1];
END
$$;
COMMENT ON FUNCTION pipelines._period_named(text, text, text) IS
	'A fiscal period by its label, or by a day and a kind. Errors: 42704, 42P08.';

CREATE FUNCTION pipelines.quota_as_of("at" timestamptz DEFAULT now())
RETURNS TABLE (quota_id integer, relation text, forecast_type_id integer, period_id integer, owner text, unit_id integer,
	team text, territory text, pipeline_id integer, product text, dimensions jsonb, currency text, value numeric, note text,
	version integer, since timestamptz)
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000 ROWS 1000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT q.quota_id, q.relation::text, q.forecast_type_id, q.period_id, q.owner, q.unit_id, q.team, q.territory,
		   q.pipeline_id, q.product, q.dimensions, q.currency, q.value, q.note, q.version, greatest(q.changed_at, q.set_at)
	FROM pipelines.quota q
	WHERE q.changed_at <= $1 AND q.set_at <= $1
	UNION ALL
	SELECT q.quota_id, q.relation, q.forecast_type_id, q.period_id, q.owner, q.unit_id, q.team, q.territory,
		   q.pipeline_id, q.product, q.dimensions, q.currency, q.value, q.note, q.version,
		   greatest(q.valid_from, coalesce(l.set_at, q.set_at))
	FROM pipelines.quota_history q
	-- when it was set may be corrected: what is said now counts
	LEFT JOIN pipelines.quota l ON l.quota_id = q.quota_id
	WHERE q.valid_from <= $1 AND $1 < q.valid_to AND coalesce(l.set_at, q.set_at) <= $1
$$;
COMMENT ON FUNCTION pipelines.quota_as_of(timestamptz) IS
	'The quotas as they were set at an instant (R-6.2); since: when that value was set. A quota that was not yet set then is not in the answer.';

CREATE FUNCTION pipelines.set_quota(value numeric, period text, owner text DEFAULT NULL, unit text DEFAULT NULL,
	team text DEFAULT NULL, territory text DEFAULT NULL, pipeline text DEFAULT NULL, product text DEFAULT NULL,
	dimensions jsonb DEFAULT '{}', forecast_type text DEFAULT NULL, currency text DEFAULT NULL,
	deals regclass DEFAULT NULL, kind text DEFAULT 'month', calendar text DEFAULT NULL, note text DEFAULT NULL)
RETURNS integer
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	wanted_type integer := pipelines._forecast_type_named(set_quota.forecast_type);
	wanted_period integer := pipelines._period_named(set_quota.period, set_quota.kind, set_quota.calendar);
	wanted_unit integer := pipelines._unit_named(set_quota.unit);
	wanted_pipeline integer := CASE WHEN set_quota.pipeline IS NOT NULL THEN pipelines.pipeline_id(set_quota.pipeline, NULL::text) END;
	found_id integer;
BEGIN
	SELECT q.quota_id INTO found_id
	FROM pipelines.quota q
	WHERE q.forecast_type_id = wanted_type AND q.period_id = wanted_period
		AND (q.owner, q.unit_id, q.team, q.territory, q.pipeline_id, q.product, q.dimensions, q.currency, q.relation)
			IS NOT DISTINCT FROM
			(set_quota.owner, wanted_unit, set_quota.team, set_quota.territory, wanted_pipeline, set_quota.product,
			 coalesce(set_quota.dimensions, '{}'::jsonb), set_quota.currency, set_quota.deals);
	IF set_quota.value IS NULL THEN
		DELETE FROM pipelines.quota q WHERE q.quota_id = found_id;
	ELSIF found_id IS NOT NULL THEN
		UPDATE pipelines.quota q SET value = set_quota.value, note = coalesce(set_quota.note, q.note)
		WHERE q.quota_id = found_id;
		IF NOT FOUND THEN
			RAISE EXCEPTION 'you may not set this quota'
				USING ERRCODE = 'insufficient_privilege',
					  HINT = 'Row security of pipelines.quota says who may; see pipelines.secure_quotas().';
		END IF;
	ELSE
		INSERT INTO pipelines.quota (relation, forecast_type_id, period_id, owner, unit_id, team, territory, pipeline_id,
			product, dimensions, currency, value, note)
		VALUES (set_quota.deals, wanted_type, wanted_period, set_quota.owner, wanted_unit, set_quota.team, set_quota.territory,
			wanted_pipeline, set_quota.product, coalesce(set_quota.dimensions, '{}'::jsonb), set_quota.currency,
			set_quota.value, set_quota.note)
		RETURNING quota_id INTO found_id;
	END IF;
	RETURN found_id;
END
$$;
COMMENT ON FUNCTION pipelines.set_quota(numeric, text, text, text, text, text, text, text, jsonb, text, text, regclass, text, text, text) IS
	'Sets a quota, or revises it: what it was stays readable by quota_as_of(). period: label of a fiscal period, or a day in it and its kind (week, month, quarter, year). value NULL takes the quota away. Returns its id. Errors: 42704 for names that do not exist, 42501 where row security refuses.';

CREATE FUNCTION pipelines.may_set_quota(owner text, unit_id integer, who text DEFAULT CURRENT_USER)
RETURNS boolean
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	WITH RECURSIVE unit AS MATERIALIZED (
		SELECT u.* FROM pipelines._unit_rows() u WHERE u.starts_on <= CURRENT_DATE AND CURRENT_DATE < u.ends_on
	), led AS (
		SELECT u.unit_id FROM unit u WHERE u.manager = $3
		UNION
		SELECT u.unit_id FROM led l JOIN unit u ON u.parent_id = l.unit_id
	)
	SELECT coalesce(CASE
		WHEN $1 IS NOT NULL
		THEN $1 <> $3 AND (EXISTS (SELECT FROM pipelines._member_rows() m JOIN led l ON l.unit_id = m.unit_id
								   WHERE m.owner = $1 AND m.starts_on <= CURRENT_DATE AND CURRENT_DATE < m.ends_on)
						   OR EXISTS (SELECT FROM unit u JOIN led l ON l.unit_id = u.unit_id WHERE u.manager = $1))
		WHEN $2 IS NOT NULL
		THEN EXISTS (SELECT FROM unit u JOIN led l ON l.unit_id = u.unit_id
					 WHERE u.unit_id = $2 AND u.manager IS DISTINCT FROM $3)
		ELSE EXISTS (SELECT FROM unit u WHERE u.manager = $3 AND u.parent_id IS NULL)
		END, false)
$$;
COMMENT ON FUNCTION pipelines.may_set_quota(text, integer, text) IS
	'May somebody set the quota of an owner, a unit, or (both NULL) of anything else? Managers set those of the owners and units below them today; nobody sets their own, or that of the unit that they lead; what has neither owner nor unit is for managers of top units (R-6.6).';

CREATE FUNCTION pipelines.secure_quotas(who text DEFAULT 'current_user', secured boolean DEFAULT true)
RETURNS void
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	condition text := format(E'pipelines.may_set_quota(owner, unit_id, (%s\n)::text)', who);
	c record;
	problem text;
BEGIN
	IF who IS NULL OR secured IS NULL THEN
		RAISE EXCEPTION 'who and secured must not be null'
			USING ERRCODE = 'null_value_not_allowed';
	END IF;
	PERFORM pipelines._need_expression(who, 'the expression for the present user (who)', 'current_user or current_setting(''app.user'')');
	PERFORM pipelines._require_setup();
	PERFORM pipelines._drop_policies('pipelines.quota'::regclass,
		'{pipelines_read_quota,pipelines_set_quota,pipelines_revise_quota,pipelines_drop_quota}'::name[]);
	IF secured THEN
		CREATE POLICY pipelines_read_quota ON pipelines.quota FOR SELECT
			USING (pipeline_id IS NULL OR EXISTS (SELECT FROM pipelines.pipeline AS p WHERE p.pipeline_id = quota.pipeline_id));
	END IF;
	-- what is still wrong with the expression, only those find out who use it
	BEGIN
		IF secured THEN
			EXECUTE format('CREATE POLICY pipelines_set_quota ON pipelines.quota FOR INSERT WITH CHECK (%s)', condition);
			EXECUTE format('CREATE POLICY pipelines_revise_quota ON pipelines.quota FOR UPDATE USING (%s) WITH CHECK (%1$s)', condition);
			EXECUTE format('CREATE POLICY pipelines_drop_quota ON pipelines.quota FOR DELETE USING (%s)', condition);
		END IF;
		PERFORM pipelines._say_policies('pipelines.adjustment'::regclass, who);
		PERFORM pipelines._say_policies('pipelines.submission'::regclass, who);
	EXCEPTION
		WHEN insufficient_privilege THEN
			RAISE;
		WHEN syntax_error_or_access_rule_violation OR invalid_text_representation OR feature_not_supported THEN
			GET STACKED DIAGNOSTICS problem = MESSAGE_TEXT;
			RAISE EXCEPTION 'the expression for the present user (who) can''t be used: %', problem
				USING ERRCODE = SQLSTATE,
					  DETAIL = format('It is "%s".', who),
					  HINT = 'Give an expression of a text, such as current_user or current_setting(''app.user''); what is not of pg_catalog needs its schema.';
	END;
	IF secured THEN
		FOR c IN
			SELECT p.polname FROM pg_policy p
			WHERE p.polrelid = 'pipelines.quota'::regclass AND p.polname ~ '^pipelines_(read|set|revise|drop)_quota$'
		LOOP
			EXECUTE format('COMMENT ON POLICY %I ON pipelines.quota IS %L', c.polname, 'Made by pipelines.secure_quotas().');
		END LOOP;
		ALTER TABLE pipelines.quota ENABLE ROW LEVEL SECURITY;
	ELSIF NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = 'pipelines.quota'::regclass) THEN
		ALTER TABLE pipelines.quota DISABLE ROW LEVEL SECURITY;
	END IF;
END
$$;
COMMENT ON FUNCTION pipelines.secure_quotas(text, boolean) IS
	'Policy template (R-6.6): row security on pipelines.quota by which managers set the quotas of those below them and nobody their own, see may_set_quota(). who: expression for the present user, as owners of deals are named, such as current_setting(''app.user''). It also says in whose name adjustments and submissions are made. secured => false takes it away. The privileges to write are granted apart: GRANT INSERT, UPDATE, DELETE ON pipelines.quota TO ... For the owner of the definitions (42501). Errors: 42601 where who is not one expression, else what is wrong with it.';
