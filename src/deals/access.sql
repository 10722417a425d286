-------------------------------------------------------------------------------
-- access.sql
--   Who sees which pipeline: protection, grants, and the row security that
--   enforces them.
--
-- Two things decide.  Privileges (grant_access(), GRANT) say which tables a
-- role may use; grants on a pipeline say which rows of them concern it.  An
-- unprotected pipeline concerns everybody.  Policies ask C functions that read
-- the backend's copy of the definitions, once a query.
--
-- A deals table, its history and its activities get policies while a pipeline
-- of their layout is protected, the definition tables while any is.  Policies
-- on deals are restrictive: they narrow what others allow.  They stand on the
-- extension, and would go with DROP EXTENSION CASCADE; so one more, made of
-- built-in parts, lets nobody see anything while they are missing.
-------------------------------------------------------------------------------

CREATE FUNCTION pipelines.visible_pipelines() RETURNS integer[]
LANGUAGE c STABLE STRICT PARALLEL SAFE COST 10
AS 'MODULE_PATHNAME', 'pipelines_visible_pipelines';
COMMENT ON FUNCTION pipelines.visible_pipelines() IS
'Ids of the pipelines that the current user may see: unprotected ones, and those granted to a role that he is a member of; for superusers, roles with BYPASSRLS and members of the definitions'' owner all of them. Follows the newest committed definitions.';

CREATE FUNCTION pipelines.movable_pipelines() RETURNS integer[]
LANGUAGE c STABLE STRICT PARALLEL SAFE COST 10
AS 'MODULE_PATHNAME', 'pipelines_movable_pipelines';
COMMENT ON FUNCTION pipelines.movable_pipelines() IS
'Ids of the pipelines in which the current user may make, change, move and delete deals, as far as protection goes; privileges on the tables count besides.';

CREATE FUNCTION pipelines.definable_pipelines() RETURNS integer[]
LANGUAGE c STABLE STRICT PARALLEL SAFE COST 10
AS 'MODULE_PATHNAME', 'pipelines_definable_pipelines';
COMMENT ON FUNCTION pipelines.definable_pipelines() IS
'Ids of the pipelines that the current user may change, as far as protection goes; privileges on the definition tables count besides.';

CREATE FUNCTION pipelines._hidden_stages() RETURNS integer[]
LANGUAGE c STABLE STRICT PARALLEL SAFE COST 10
AS 'MODULE_PATHNAME', 'pipelines_hidden_stages';
COMMENT ON FUNCTION pipelines._hidden_stages() IS
'Ids of the stages that no pipeline has but those that the current user does not see. Empty for whoever may add to the picklist (INSERT on pipelines.stage).';

CREATE FUNCTION pipelines._protects(layout_id integer) RETURNS boolean
LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10
AS 'MODULE_PATHNAME', 'pipelines_protects';
COMMENT ON FUNCTION pipelines._protects(integer) IS
'Is a pipeline of the layout (NULL: any pipeline) protected? NULL where there are no definitions yet.';

CREATE FUNCTION pipelines._set_protected(pipeline_id integer, protected boolean) RETURNS boolean
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE COST 1000
AS 'MODULE_PATHNAME', 'pipelines_set_protected';
COMMENT ON FUNCTION pipelines._set_protected(integer, boolean) IS
'Protects a pipeline or opens it, in the name of the definitions'' owner; false if it was so already. The caller must be a member of that role or have the right to define the pipeline (42501).';

CREATE FUNCTION pipelines._set_pipeline_role(pipeline_id integer, role text, can_see boolean, can_move boolean, can_define boolean)
RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE COST 1000
AS 'MODULE_PATHNAME', 'pipelines_set_pipeline_role';
COMMENT ON FUNCTION pipelines._set_pipeline_role(integer, text, boolean, boolean, boolean) IS
'Writes down what a role may do in a pipeline, in the name of the definitions'' owner; can_see false: see totals only. The caller as for _set_protected().';

CREATE FUNCTION pipelines._revoke_pipeline_role(pipeline_id integer, role text)
RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE COST 1000
AS 'MODULE_PATHNAME', 'pipelines_revoke_pipeline_role';
COMMENT ON FUNCTION pipelines._revoke_pipeline_role(integer, text) IS
'Removes what was written down of a role in a pipeline, in the name of the definitions'' owner. The caller as for _set_protected().';

CREATE FUNCTION pipelines._copy_protection(source integer, target integer) RETURNS boolean
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE COST 1000
AS 'MODULE_PATHNAME', 'pipelines_copy_protection';
COMMENT ON FUNCTION pipelines._copy_protection(integer, integer) IS
'Gives a new pipeline the protection and the grants of another one; false if that is not protected.';

-- The definition tables, and what of them is seen and written, while a
-- pipeline is protected.  A row that is just being made is in no list yet: so
-- pipelines are judged by themselves, and stages by what is hidden.  The past
-- of a pipeline that does not exist any more is for the owner alone.
CREATE FUNCTION pipelines._definition_policies()
RETURNS TABLE (table_name name, see text, make text, change text)
LANGUAGE sql IMMUTABLE PARALLEL SAFE COST 10 ROWS 20
SET search_path = pg_catalog, pg_temp
AS $$
	WITH list (seen, defined, hidden) AS (VALUES (
		'ANY ((SELECT pipelines.visible_pipelines())::integer[])',
		'ANY ((SELECT pipelines.definable_pipelines())::integer[])',
		'ALL ((SELECT pipelines._hidden_stages())::integer[])'))
	SELECT x.table_name::name, x.see, x.make, x.change
	FROM list l
	CROSS JOIN LATERAL (
		SELECT t.table_name, format('pipeline_id = %s', l.seen) AS see,
			   format('pipeline_id = %s', l.defined) AS make, format('pipeline_id = %s', l.defined) AS change
		FROM unnest('{pipeline_stage,stage_transition,stage_activity,approval,deal_type,pipeline_role}'::text[]) t (table_name)
		UNION ALL
		SELECT t.table_name || '_history', format('pipeline_id = %s', l.seen), NULL, NULL
		FROM unnest('{pipeline,pipeline_stage,stage_transition,stage_activity,approval,deal_type,pipeline_role}'::text[]) t (table_name)
		UNION ALL
		SELECT 'pipeline', format('NOT protected OR pipeline_id = %s', l.seen),
			   'NOT protected', format('pipeline_id = %s', l.defined)
		UNION ALL
		SELECT t.table_name, format('from_pipeline_id = %s AND to_pipeline_id = %1$s', l.seen), t.make, t.make
		FROM (VALUES ('stage_map', format('from_pipeline_id = %s AND to_pipeline_id = %s', l.seen, l.defined)),
				('stage_map_history', NULL)) t (table_name, make)
		UNION ALL
		SELECT t.table_name, format('stage_id <> %s', l.hidden), t.make, t.change
		FROM (VALUES ('stage', 'true', format('stage_id <> %s', l.hidden)), ('stage_history', NULL, NULL),
				('stage_value', 'true', 'true'), ('stage_value_history', NULL, NULL)) t (table_name, make, change)
		UNION ALL
		-- where secure_quotas() says who may set them, that decides
		SELECT t.table_name, format('pipeline_id IS NULL OR pipeline_id = %s', l.seen),
			   CASE WHEN t.written THEN o.condition END, CASE WHEN t.written THEN o.condition END
		FROM (VALUES ('quota', true), ('quota_history', false)) t (table_name, written)
		CROSS JOIN (SELECT 'NOT EXISTS (SELECT FROM pg_catalog.pg_policy AS p WHERE p.polname = ''pipelines_set_quota'')'
						   ' AND (pipeline_id IS NULL OR pipeline_id = ' || m.seen || ')' FROM list m) o (condition)
		UNION ALL
		-- the trigger lets only the owner of the deals write them
		SELECT t.table_name, format('pipeline_id = %s', l.seen), 'true', format('pipeline_id = %s', l.seen)
		FROM unnest('{score_model,score_count}'::text[]) t (table_name)
		UNION ALL
		-- a plan names stages, and is its maker's
		SELECT t.table_name, o.condition, o.condition, o.condition
		FROM unnest('{adoption,adoption_plan}'::text[]) t (table_name)
		CROSS JOIN (VALUES ('pg_has_role((SELECT c.relowner FROM pg_catalog.pg_class AS c WHERE c.oid = relation), ''USAGE'')')) o (condition)
	) x
$$;
COMMENT ON FUNCTION pipelines._definition_policies() IS
'What of the definition tables is seen, made, and changed or deleted by others than their owner while a pipeline is protected, as conditions; NULL: nothing.';

-- The caller is a member of the definitions' owner, or nothing need be done.
CREATE FUNCTION pipelines._secure_definitions() RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	mark CONSTANT text := 'Made by pipelines.';
	wanted boolean := coalesce(pipelines._protects(NULL::integer), false);
	t record;
	p record;
BEGIN
	IF NOT pg_has_role(current_user, (SELECT c.relowner FROM pg_class AS c WHERE c.oid = 'pipelines.pipeline'::regclass), 'USAGE') THEN
		IF wanted AND NOT (SELECT c.relrowsecurity FROM pg_class AS c WHERE c.oid = 'pipelines.pipeline'::regclass) THEN
			RAISE EXCEPTION 'only the owner of the definitions can protect the first pipeline'
				USING ERRCODE = 'insufficient_privilege',
					DETAIL = format('The definitions belong to %s.',
						(SELECT c.relowner::regrole FROM pg_class AS c WHERE c.oid = 'pipelines.pipeline'::regclass));
		END IF;
		RETURN;
	END IF;
	FOR t IN
		SELECT c.oid::regclass AS relation, c.relrowsecurity, d.see, d.make, d.change
		FROM pipelines._definition_policies() AS d
		JOIN pg_class AS c ON c.oid = to_regclass(format('pipelines.%I', d.table_name))
		ORDER BY d.table_name
	LOOP
		FOR p IN
			SELECT w.name, w.command, w.using_check, o.oid IS NOT NULL AS there
			FROM (VALUES ('pipelines_see', 'SELECT', format('USING (%s)', t.see)),
					('pipelines_make', 'INSERT', format('WITH CHECK (%s)', t.make)),
					('pipelines_change', 'UPDATE', format('USING (%s)', t.change)
						|| CASE WHEN t.relation = 'pipelines.pipeline'::regclass
							THEN format(' WITH CHECK (NOT protected OR %s)', t.change) ELSE '' END),
					('pipelines_remove', 'DELETE', format('USING (%s)', t.change))) AS w (name, command, using_check)
			LEFT JOIN pg_policy AS o ON o.polrelid = t.relation AND o.polname = w.name
			WHERE CASE w.command WHEN 'SELECT' THEN t.see WHEN 'INSERT' THEN t.make ELSE t.change END IS NOT NULL
		LOOP
			IF wanted AND NOT p.there THEN
				EXECUTE format('CREATE POLICY %I ON %s FOR %s %s', p.name, t.relation, p.command, p.using_check);
				EXECUTE format('COMMENT ON POLICY %I ON %s IS %L', p.name, t.relation, mark);
			ELSIF NOT wanted AND p.there THEN
				EXECUTE format('DROP POLICY %I ON %s', p.name, t.relation);
			END IF;
		END LOOP;
		IF wanted <> t.relrowsecurity
			AND (wanted OR NOT EXISTS (SELECT FROM pg_policy AS o WHERE o.polrelid = t.relation))
		THEN
			EXECUTE format('ALTER TABLE %s %s ROW LEVEL SECURITY', t.relation,
				CASE WHEN wanted THEN 'ENABLE' ELSE 'DISABLE' END);
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION pipelines._secure_definitions() IS
'Makes the policies of the definition tables while a pipeline is protected, and drops them when none is. Raises 42501 if they are needed and the caller does not own the definitions.';

-- Our policies on deals, histories and activities.
CREATE FUNCTION pipelines._access_policies()
RETURNS TABLE (policy name, command text)
LANGUAGE sql IMMUTABLE PARALLEL SAFE COST 10 ROWS 6
SET search_path = pg_catalog, pg_temp
AS $$
	VALUES ('pipelines_open'::name, 'ALL'), ('pipelines_closed', 'ALL'), ('pipelines_see', 'SELECT'),
		('pipelines_make', 'INSERT'), ('pipelines_move', 'UPDATE'), ('pipelines_remove', 'DELETE')
$$;
COMMENT ON FUNCTION pipelines._access_policies() IS
'The policies that protect deals: open lets everything through where nobody else said what is let through, closed nothing while see is missing; the others are about one command each.';

-- Was the table protected when it was last looked after?  This outlives the
-- extension.
CREATE FUNCTION pipelines._secured(relation regclass) RETURNS boolean
LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 100
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT EXISTS (SELECT FROM pg_policy AS p WHERE p.polrelid = $1 AND p.polname = 'pipelines_closed')
$$;
COMMENT ON FUNCTION pipelines._secured(regclass) IS
'Has the table the policies that protect pipelines?';

-- The policies of one table.  move is NULL where nobody but the owner writes.
CREATE FUNCTION pipelines._secure_table(relation regclass, see text, move text, open boolean)
RETURNS TABLE (item text, action text)
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000 ROWS 5
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	p record;
BEGIN
	FOR p IN
		SELECT a.policy, a.command, o.oid IS NOT NULL AS there,
			   CASE a.policy WHEN 'pipelines_open' THEN open
					WHEN 'pipelines_closed' THEN true
					WHEN 'pipelines_see' THEN true
					ELSE move IS NOT NULL END AS wanted,
			   CASE a.policy
					WHEN 'pipelines_open' THEN 'USING (true) WITH CHECK (true)'
					WHEN 'pipelines_closed' THEN
						format('USING (EXISTS (SELECT FROM pg_catalog.pg_policy AS p WHERE p.polrelid = %L::pg_catalog.regclass AND p.polname = %L))',
							   relation, 'pipelines_see')
					WHEN 'pipelines_see' THEN format('USING (%s)', see)
					WHEN 'pipelines_make' THEN format('WITH CHECK (%s)', move)
					ELSE format('USING (%s)', move) END AS condition
		FROM pipelines._access_policies() AS a
		LEFT JOIN pg_policy AS o ON o.polrelid = _secure_table.relation AND o.polname = a.policy
		ORDER BY a.policy
	LOOP
		CONTINUE WHEN p.wanted = p.there;
		item := format('policy %I on %s', p.policy, relation);
		IF p.wanted THEN
			EXECUTE format('CREATE POLICY %I ON %s AS %s FOR %s %s', p.policy, relation,
						   CASE p.policy WHEN 'pipelines_open' THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
						   p.command, p.condition);
			EXECUTE format('COMMENT ON POLICY %I ON %s IS %L', p.policy, relation, 'Made by pipelines.');
			action := 'created';
		ELSE
			EXECUTE format('DROP POLICY %I ON %s', p.policy, relation);
			action := 'dropped';
		END IF;
		RETURN NEXT;
	END LOOP;
	IF NOT (SELECT c.relrowsecurity FROM pg_class AS c WHERE c.oid = relation) THEN
		EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', relation);
		item := format('row security of %s', relation);
		action := 'enabled';
		RETURN NEXT;
	END IF;
END
$$;
COMMENT ON FUNCTION pipelines._secure_table(regclass, text, text, boolean) IS
'Makes the policies that protect a table, as far as they are missing, and enables its row security.';

-- The reverse.  Policies of others stay, and with them what they stand on.
CREATE FUNCTION pipelines._open_table(relation regclass)
RETURNS TABLE (item text, action text)
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000 ROWS 5
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	p record;
	alone CONSTANT boolean := NOT EXISTS (SELECT FROM pg_policy AS o
		WHERE o.polrelid = _open_table.relation AND o.polname NOT IN (SELECT a.policy FROM pipelines._access_policies() AS a));
	opened CONSTANT boolean := EXISTS (SELECT FROM pg_policy AS o
		WHERE o.polrelid = _open_table.relation AND o.polname = 'pipelines_open');
BEGIN
	FOR p IN
		SELECT o.polname FROM pg_policy AS o
		JOIN pipelines._access_policies() AS a ON a.policy = o.polname
		WHERE o.polrelid = _open_table.relation AND (alone OR o.polname <> 'pipelines_open')
		ORDER BY o.polname
	LOOP
		EXECUTE format('DROP POLICY %I ON %s', p.polname, relation);
		item := format('policy %I on %s', p.polname, relation);
		action := 'dropped';
		RETURN NEXT;
	END LOOP;
	IF alone AND opened THEN
		EXECUTE format('ALTER TABLE %s DISABLE ROW LEVEL SECURITY', relation);
		item := format('row security of %s', relation);
		action := 'disabled';
		RETURN NEXT;
	END IF;
END
$$;
COMMENT ON FUNCTION pipelines._open_table(regclass) IS
'Drops the policies that protect a table, and disables its row security if it was enabled for them alone.';

-- What a reader gets of the history of a protected table: all columns but
-- those that tell where a deal went, which may have been a hidden pipeline.
CREATE FUNCTION pipelines._open_columns(history regclass) RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum)
	FROM pg_attribute AS a
	WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
		AND a.attname NOT IN (SELECT n.name FROM pipelines._hidden_columns($1) AS n (name))
$$;
COMMENT ON FUNCTION pipelines._open_columns(regclass) IS
'The columns of a history that readers get while a pipeline is protected, as SQL text.';

CREATE FUNCTION pipelines._hidden_columns(history regclass) RETURNS SETOF name
LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 100 ROWS 3
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT pipelines._own_column($1, c.name)
	FROM unnest('{to_pipeline_id,to_stage_id,skipped_stages}'::text[]) AS c (name)
$$;
COMMENT ON FUNCTION pipelines._hidden_columns(regclass) IS
'The columns of a history that tell where a deal went.';

-- Lets a role read a history: all of it, or what readers get.
CREATE FUNCTION pipelines._grant_history(history regclass, grantee text, secured boolean, grantable boolean)
RETURNS void
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	EXECUTE format('GRANT SELECT%s ON %s TO %s%s',
				   CASE WHEN secured THEN format(' (%s)', pipelines._open_columns(history)) ELSE '' END,
				   history, grantee, CASE WHEN grantable THEN ' WITH GRANT OPTION' ELSE '' END);
END
$$;
COMMENT ON FUNCTION pipelines._grant_history(regclass, text, boolean, boolean) IS
'Grants SELECT on a history, or on those of its columns that readers get while a pipeline is protected.';

-- Turns SELECT on a history into SELECT on columns, or back.  Who has all the
-- columns that histories have of their own, but those that are hidden, is
-- taken for a reader of that kind, and gets columns that were added since;
-- grants on fewer columns are somebody's own affair, as long as they don't
-- show what is hidden.
CREATE FUNCTION pipelines._restrict_history(history regclass, secured boolean)
RETURNS TABLE (item text, action text)
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE COST 10000 ROWS 5
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	hidden CONSTANT name[] := ARRAY(SELECT n.name FROM pipelines._hidden_columns(history) AS n (name));
	reader record;
	grantee text;
BEGIN
	FOR reader IN
		WITH whole AS (
			SELECT x.grantee, bool_or(x.is_grantable) AS grantable
			FROM pg_class AS c, aclexplode(c.relacl) AS x
			WHERE c.oid = history AND x.privilege_type = 'SELECT' AND x.grantee <> c.relowner
			GROUP BY x.grantee
		), part AS (
			SELECT x.grantee, bool_or(x.is_grantable) AS grantable, array_agg(a.attname) AS columns
			FROM pg_attribute AS a
			JOIN pg_class AS c ON c.oid = a.attrelid, aclexplode(a.attacl) AS x
			WHERE a.attrelid = history AND a.attnum > 0 AND NOT a.attisdropped
				AND x.privilege_type = 'SELECT' AND x.grantee <> c.relowner
			GROUP BY x.grantee
		)
		SELECT coalesce(w.grantee, p.grantee) AS grantee, coalesce(w.grantable, p.grantable) AS grantable,
			   w.grantee IS NOT NULL AS is_whole,
			   coalesce(p.columns && hidden, false) AS sees_hidden,
			   NOT EXISTS (SELECT FROM pipelines._history_columns() AS h
						   WHERE pipelines._own_column(history, h.name) <> ALL (hidden)
							AND pipelines._own_column(history, h.name) <> ALL (coalesce(p.columns, '{}'))) AS is_reader,
			   NOT EXISTS (SELECT FROM pg_attribute AS a
						   WHERE a.attrelid = history AND a.attnum > 0 AND NOT a.attisdropped
							AND a.attname <> ALL (hidden) AND a.attname <> ALL (coalesce(p.columns, '{}'))) AS is_complete
		FROM whole AS w FULL JOIN part AS p ON p.grantee = w.grantee
		ORDER BY 1
	LOOP
		CONTINUE WHEN NOT CASE WHEN secured THEN reader.is_whole OR reader.sees_hidden
				OR (reader.is_reader AND NOT reader.is_complete)
			ELSE reader.is_reader AND NOT reader.is_whole END;
		grantee := CASE WHEN reader.grantee = 0 THEN 'PUBLIC' ELSE reader.grantee::regrole::text END;
		item := format('SELECT on %s', history);
		IF secured AND NOT reader.is_whole AND NOT reader.is_reader THEN
			EXECUTE format('REVOKE SELECT (%s) ON %s FROM %s CASCADE',
						   (SELECT string_agg(quote_ident(n.name), ', ') FROM unnest(hidden) AS n (name)), history, grantee);
			action := format('of columns that tell of other pipelines revoked from %s', grantee);
		ELSE
			-- this takes away privileges on columns, too
			EXECUTE format('REVOKE SELECT ON %s FROM %s CASCADE', history, grantee);
			PERFORM pipelines._grant_history(history, grantee, secured, reader.grantable);
			action := format(CASE WHEN secured THEN 'narrowed to columns for %s' ELSE 'of all columns for %s' END, grantee);
		END IF;
		RETURN NEXT;
	END LOOP;
END
$$;
COMMENT ON FUNCTION pipelines._restrict_history(regclass, boolean) IS
'Takes the columns that tell of other pipelines away from the readers of a history, or gives them back.';

-- Let a deals table, its history and its activities be protected as the
-- pipelines of its layout are.  The caller owns it.
CREATE FUNCTION pipelines._secure(deals regclass)
RETURNS TABLE (item text, action text)
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000 ROWS 5
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	registration record;
	before CONSTANT boolean := pipelines._secured(deals);
	wanted boolean;
	part regclass;
	pipeline_column name;
	history_column name;
	activity_name name;
	stage_column name;
	matches text;
	opened boolean;
BEGIN
	SELECT t.* INTO registration FROM pipelines.tracked_table t WHERE t.relation = _secure.deals;
	-- without definitions nothing is known: leave all as it is
	wanted := coalesce(pipelines._protects(registration.layout_id), before);
	IF NOT wanted AND NOT before THEN
		RETURN;
	END IF;

	IF NOT wanted THEN
		FOR part IN
			SELECT r.relid FROM pipelines._parts(deals) r
			UNION ALL
			SELECT r.relid FROM pipelines._parts(registration.history) r
			UNION ALL
			SELECT r.relid FROM pipelines._parts(registration.activity) r
			JOIN pg_class c ON c.oid = r.relid AND c.relkind IN ('r', 'p')
			ORDER BY 1
		LOOP
			RETURN QUERY SELECT * FROM pipelines._open_table(part);
		END LOOP;
		FOR part IN SELECT r.relid FROM pipelines._parts(registration.history) r LOOP
			RETURN QUERY SELECT * FROM pipelines._restrict_history(part, false);
		END LOOP;
		RETURN;
	END IF;

	SELECT r.column_name, r.history_column INTO pipeline_column, history_column
	FROM pipelines._roles(_secure.deals) r WHERE r.role = 'pipeline_id';
	IF pipeline_column IS NULL OR history_column IS NULL THEN
		PERFORM pipelines._need_mapping(deals);
	END IF;
	FOR part IN SELECT r.relid FROM pipelines._parts(deals) r ORDER BY r.relid::text LOOP
		opened := NOT (SELECT c.relrowsecurity FROM pg_class c WHERE c.oid = part)
			OR EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = part AND p.polname = 'pipelines_open');
		RETURN QUERY SELECT * FROM pipelines._secure_table(part,
			format('%I = ANY ((SELECT pipelines.visible_pipelines())::integer[])', pipeline_column),
			format('%I = ANY ((SELECT pipelines.movable_pipelines())::integer[])', pipeline_column), opened);
	END LOOP;
	-- where somebody else says what is let through, the same holds for the past
	opened := EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = _secure.deals AND p.polname = 'pipelines_open');
	FOR part IN SELECT r.relid FROM pipelines._parts(registration.history) r ORDER BY r.relid::text LOOP
		RETURN QUERY SELECT * FROM pipelines._secure_table(part,
			format('%I = ANY ((SELECT pipelines.visible_pipelines())::integer[])', history_column), NULL::text, opened);
		RETURN QUERY SELECT * FROM pipelines._restrict_history(part, true);
	END LOOP;

	-- activities are seen and written by those who see and move their deal; in
	-- a view it is for its maker to see to that
	FOR part IN
		SELECT r.relid FROM pipelines._parts(registration.activity) r
		JOIN pg_class c ON c.oid = r.relid AND c.relkind IN ('r', 'p')
		ORDER BY r.relid::text
	LOOP
		SELECT c.relname INTO activity_name FROM pg_class c WHERE c.oid = part;
		SELECT a.attname INTO stage_column FROM pg_attribute a
		WHERE a.attrelid = part AND a.attnum > 0 AND a.attname = registration.activity_columns ->> 'stage_id';
		-- where the key is not known in full, no activity is anybody's
		SELECT CASE WHEN bool_and(registration.activity_columns ? r.role)
				THEN string_agg(format('pipelines_deal.%I = %I.%I', r.column_name, activity_name,
									   coalesce(registration.activity_columns ->> r.role, '')), ' AND ' ORDER BY r.n)
				ELSE 'false' END
		INTO matches
		FROM pipelines._roles(_secure.deals) r WHERE r.role ~ '^key[1-9]';
		opened := NOT (SELECT c.relrowsecurity FROM pg_class c WHERE c.oid = part)
			OR EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = part AND p.polname = 'pipelines_open');
		RETURN QUERY SELECT * FROM pipelines._secure_table(part,
			format('EXISTS (SELECT FROM %s AS pipelines_deal WHERE %s)', deals, matches)
				|| CASE WHEN stage_column IS NULL THEN ''
					ELSE format(' AND (%1$I.%2$I IS NULL OR %1$I.%2$I <> ALL ((SELECT pipelines._hidden_stages())::integer[]))',
								activity_name, stage_column) END,
			format('EXISTS (SELECT FROM %s AS pipelines_deal WHERE %s AND pipelines_deal.%I = ANY ((SELECT pipelines.movable_pipelines())::integer[]))',
				   deals, matches, pipeline_column), opened);
	END LOOP;
END
$$;
COMMENT ON FUNCTION pipelines._secure(regclass) IS
'Makes or drops the policies of a deals table, its history and its activities, and narrows or widens who reads which columns of the history; says what was done.';

-- For release(): nothing of ours may stand on the extension, but what was
-- protected must not lie open.
CREATE FUNCTION pipelines._release_access(deals regclass)
RETURNS void
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	registration record;
	p record;
BEGIN
	IF NOT pipelines._secured(deals) THEN
		RETURN;
	END IF;
	SELECT t.* INTO registration FROM pipelines.tracked_table t WHERE t.relation = _release_access.deals;
	FOR p IN
		SELECT o.polname, o.polrelid::regclass AS relation
		FROM pg_policy o
		WHERE o.polname IN ('pipelines_see', 'pipelines_make', 'pipelines_move', 'pipelines_remove')
			AND o.polrelid IN (SELECT r.relid FROM pipelines._parts(deals) r
							   UNION ALL SELECT r.relid FROM pipelines._parts(registration.history) r
							   UNION ALL SELECT r.relid FROM pipelines._parts(registration.activity) r)
		ORDER BY o.polrelid::regclass::text, o.polname
	LOOP
		EXECUTE format('DROP POLICY %I ON %s', p.polname, p.relation);
	END LOOP;
	RAISE NOTICE 'table % is seen by its owner only from now on', deals
		USING DETAIL = 'A pipeline of its layout is protected, and without pipelines nothing says who sees which deals.',
			  HINT = format('Make policies of your own on %1$s and %2$s, then DROP POLICY pipelines_closed on both.',
							deals, registration.history);
END
$$;
COMMENT ON FUNCTION pipelines._release_access(regclass) IS
'Drops the policies of a deals table that stand on the extension; what remains lets nobody see it but its owner.';

-- Bring everything in line after a pipeline became protected or was opened:
-- deals first, since their writers come to the definitions from there.
CREATE FUNCTION pipelines._follow_protection(layout_id integer)
RETURNS void
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 100000
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	t record;
BEGIN
	FOR t IN
		SELECT k.relation, k.layout_id, k.activity, pg_has_role(current_user, c.relowner, 'USAGE') AS mine
		FROM pipelines.tracked_table k
		JOIN pg_class c ON c.oid = k.relation
		WHERE k.layout_id = _follow_protection.layout_id OR k.layout_id IS NULL
		ORDER BY k.relation::text
	LOOP
		IF t.mine THEN
			IF pipelines._protects(t.layout_id) <> pipelines._secured(t.relation) THEN
				EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', t.relation);
			END IF;
			PERFORM 1 FROM pipelines._copy_policies(t.relation);
			PERFORM 1 FROM pipelines._create_views(t.relation, false);
		ELSIF pipelines._protects(t.layout_id) AND NOT pipelines._secured(t.relation) THEN
			RAISE WARNING 'deals table % is not protected yet', t.relation
				USING DETAIL = 'Whoever may read it sees deals of all pipelines.',
					  HINT = format('Its owner must run SELECT pipelines.resume(%L).', t.relation);
		END IF;
	END LOOP;
	PERFORM pipelines._secure_definitions();
END
$$;
COMMENT ON FUNCTION pipelines._follow_protection(integer) IS
'Lets the deals tables of a layout that the caller owns, and the definition tables, follow what is protected now; warns of tables of others.';

CREATE FUNCTION pipelines.protect_pipeline(pipeline text, protected boolean DEFAULT true)
RETURNS void
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 100000
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	target CONSTANT integer := pipelines.pipeline_id(protect_pipeline.pipeline, NULL::text);
	in_layout integer;
BEGIN
	IF target IS NULL OR protect_pipeline.protected IS NULL THEN
		RAISE EXCEPTION 'pipeline and protected must not be null' USING ERRCODE = 'null_value_not_allowed';
	END IF;
	SELECT p.layout_id INTO in_layout FROM pipelines.pipeline AS p WHERE p.pipeline_id = target;
	PERFORM pipelines._set_protected(target, protect_pipeline.protected);
	PERFORM pipelines._follow_protection(in_layout);
END
$$;
COMMENT ON FUNCTION pipelines.protect_pipeline(text, boolean) IS
'Protects a pipeline: from now on it, its deals and their past are there only for those to whom grant_pipeline() gave it, for the owner of the definitions, and for superusers and roles with BYPASSRLS. With false it is open to everybody again; grants are kept for the next time.
Deals tables of its layout that the caller owns get row security with it, or lose it with the last protected pipeline of the layout, which locks them for a moment; of others there is a warning: their owner must run resume().
The owner of a deals table sees all of it, as always in PostgreSQL. Errors: 23S01 unknown pipeline, 42501 not allowed to define it.';

CREATE FUNCTION pipelines.grant_pipeline(pipeline text, role name, level text)
RETURNS void
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 100000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	target CONSTANT integer := pipelines.pipeline_id(grant_pipeline.pipeline, NULL::text);
BEGIN
	IF target IS NULL THEN
		RAISE EXCEPTION 'the pipeline must be named' USING ERRCODE = 'null_value_not_allowed';
	END IF;
	IF role IS NULL OR level IS NULL OR level NOT IN ('totals', 'see', 'move', 'define') THEN
		RAISE EXCEPTION 'there is no level "%" of access to a pipeline', level
			USING ERRCODE = 'invalid_parameter_value',
				  HINT = 'It is ''totals'' (only), ''see'', ''move'' (and see) or ''define'' (and both).';
	END IF;
	IF role <> 'public' AND NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = grant_pipeline.role) THEN
		RAISE EXCEPTION 'role "%" does not exist', role
			USING ERRCODE = 'undefined_object',
				  HINT = 'Give the name as it is, without quotes; ''public'' means everybody.';
	END IF;
	PERFORM pipelines._set_pipeline_role(target, role::text, level <> 'totals', level IN ('move', 'define'), level = 'define');
	PERFORM pipelines.protect_pipeline(grant_pipeline.pipeline, true);
END
$$;
COMMENT ON FUNCTION pipelines.grant_pipeline(text, name, text) IS
'Lets a role (by its plain name; public: everybody) and its members into a pipeline, which is protected from then on. totals: what totals() tells of it, as long as the total consists of at least pipeline.totals_from amounts, and nothing else (R-12.2). see: the pipeline, its deals and their past. move: also make, change, move and delete deals. define: also change the pipeline and its stages, and decide who has access. Replaces what the role had.
It decides about rows only: privileges on the tables are granted besides, by grant_access(deals, role, ''read'', ''write'' or ''define'').
For members of the definitions'' owner and of roles that may define the pipeline. Errors: 23S01 unknown pipeline, 42501 not allowed, 42704 no such role, 22023 no such level. Locks deals tables for a moment when the first pipeline of a layout becomes protected.';

CREATE FUNCTION pipelines.revoke_pipeline(pipeline text, role name)
RETURNS void
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	target CONSTANT integer := pipelines.pipeline_id(revoke_pipeline.pipeline, NULL::text);
BEGIN
	IF target IS NULL OR role IS NULL THEN
		RAISE EXCEPTION 'pipeline and role must not be null' USING ERRCODE = 'null_value_not_allowed';
	END IF;
	PERFORM pipelines._revoke_pipeline_role(target, role::text);
END
$$;
COMMENT ON FUNCTION pipelines.revoke_pipeline(text, name) IS
'Takes back what grant_pipeline() gave a role, which may have been dropped since; nothing happens if it had nothing. The pipeline stays protected, also when nobody is left: see protect_pipeline(). Callers and errors as for grant_pipeline().';
