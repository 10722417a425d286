-------------------------------------------------------------------------------
-- adoption.sql
--   How a table becomes a deals table, stays one, and ceases to be one.
--
-- What is made here (tables, triggers, views, comments, grants) are ordinary
-- objects of built-in column types that belong to the caller and are members
-- of nothing; every name in the commands that make them goes through
-- format('%I').  All functions run with the rights of their caller.
--
-- The mapping of a deals table (which column plays which part, and what it is
-- called in the history) lives in the trigger "pipelines_columns", whose
-- column list follows renames; pipelines.tracked_table has a copy of it by
-- name, from which the triggers can be made again when they are gone.
-------------------------------------------------------------------------------

-- The columns that create_deals() gives a table beside its key, in order.
-- mapped: the triggers and views know the column by its role; tracked: its
-- past values are kept in the history.
CREATE FUNCTION pipelines._deal_columns()
RETURNS TABLE (n integer, role text, type text, condition text,
			   mapped boolean, tracked boolean, comment text)
LANGUAGE plpgsql IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10 ROWS 40
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN QUERY VALUES
	(1, 'name', 'text', '', false, false,
	 'What the deal is about.  Its past is not kept.'),
	(2, 'account', 'text', '', false, false,
	 'With whom.  Its past is not kept.'),
	(3, 'owner', 'text', '', true, true,
	 'Who works on the deal.  A change never restarts the clock of the stage.'),
	(4, 'source', 'text', '', true, true,
	 'Where the deal came from.'),
	(5, 'pipeline_id', 'integer', 'NOT NULL', true, true,
	 'Pipeline of the deal; left out at INSERT: the standard pipeline of the layout.'),
	(6, 'stage_id', 'integer', 'NOT NULL', true, true,
	 'Stage of the deal in its pipeline; left out at INSERT: the first open stage.  A plain UPDATE of it is a move.'),
	(7, 'amount', 'numeric', '', true, true,
	 'Value of the deal in its currency; NULL: not known yet (the deal counts as unpriced).'),
	(8, 'currency', 'text', '', true, true,
	 'Currency of amount and cost; NULL: the default currency of the table.'),
	(9, 'quantity', 'numeric', '', true, true,
	 'How many.'),
	(10, 'cost', 'numeric', '', true, true,
	 'What the deal costs us, in its currency.'),
	(11, 'probability', 'numeric', 'CHECK (probability >= 0 AND probability <= 100)', true, true,
	 'Override of the probability of the stage, in percent, 0 to 100; NULL: the probability of the stage counts.'),
	(12, 'forecast_category', 'text', '', true, true,
	 'Override of the forecast category of the stage; NULL: that of the stage counts.'),
	(13, 'expected_close_on', 'date', '', true, true,
	 'Day on which the deal is expected to close.  Closing does not change it, so the slip can be seen.'),
	(14, 'closed_at', 'timestamptz', '', true, true,
	 'Instant of the closing of the present episode, NULL while the deal is not closed.  May be given in the statement that closes.'),
	(15, 'closed_on', 'date', '', true, true,
	 'Day of the closing: given, else that of closed_at in the time zone of the pipeline.  Periods use it.'),
	(16, 'close_reason', 'text', '', true, true,
	 'Why the deal was won or lost.'),
	(17, 'competitor', 'text', '', true, true,
	 'Against whom the deal was won or lost.'),
	(18, 'close_notes', 'text', '', true, true,
	 'Notes on the closing.'),
	(19, 'team', 'text', '', true, true,
	 'Team of the owner.'),
	(20, 'territory', 'text', '', true, true,
	 'Sales territory.'),
	(21, 'product', 'text', '', true, true,
	 'Product or product line.'),
	(22, 'channel', 'text', '', true, true,
	 'Sales channel.'),
	(23, 'next_action_at', 'timestamptz', '', true, true,
	 'When the next action is due; NULL: none is planned.'),
	(24, 'parent_deal_id', 'bigint', '', true, true,
	 'The deal that this one follows from.  No foreign key is declared on it.'),
	(25, 'created_at', 'timestamptz', 'NOT NULL', true, false,
	 'When the deal was made; left out at INSERT: the instant of the transaction.'),
	(26, 'created_by', 'text', 'NOT NULL', true, false,
	 'Who made the deal; left out at INSERT: the actor, else the session user.'),
	(27, 'attributes', 'jsonb', '', false, false,
	 'Whatever else the application knows.  Its past is not kept.'),
	(28, 'stage_entered_at', 'timestamptz', 'NOT NULL', true, true,
	 'Bookkeeping, written by the trigger: when the deal entered its present stage.'),
	(29, 'furthest_stage_id', 'integer', 'NOT NULL', true, true,
	 'Bookkeeping, written by the trigger: furthest stage reached in the present episode; the stage that the episode began in as long as that was no progress (on hold, lost).'),
	(30, 'gate_stage_id', 'integer', '', true, true,
	 'Bookkeeping, written by the trigger: stage up to which a deal that was pushed back must obey the strict rules; NULL: no gate.'),
	(31, 'episode', 'integer', 'NOT NULL', true, true,
	 'Bookkeeping, written by the trigger: 1, and one more for each reopening.'),
	(32, 'version', 'integer', 'NOT NULL', true, true,
	 'Bookkeeping, written by the trigger: number of this version of the deal.  The versions before it are in the history.'),
	(33, 'changed_at', 'timestamptz', 'NOT NULL', true, true,
	 'Bookkeeping, written by the trigger: since when this version is valid.');
END
$$;
COMMENT ON FUNCTION pipelines._deal_columns() IS
	'The columns that create_deals() gives a table beside its key.';

-- The columns that a history has of its own, beside the key and the copies of
-- the tracked columns.  lead: they stand before those copies.
CREATE FUNCTION pipelines._history_columns()
RETURNS TABLE (n integer, name text, type text, condition text, lead boolean, comment text)
LANGUAGE sql IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10 ROWS 20
SET search_path = pg_catalog, pg_temp
AS $$
	VALUES
	(1, 'version', 'integer', 'NOT NULL', true,
	 'Number of the version that ended.'),
	(2, 'change', 'text', 'NOT NULL', true,
	 'What ended it: the first that applies of delete, close, reopen, transfer, push_back, merge, undo, move, change.'),
	(3, 'valid_from', 'timestamptz', 'NOT NULL', true,
	 'Since when the version was valid: changed_at of the deal then.'),
	(4, 'valid_to', 'timestamptz', 'NOT NULL', true,
	 'Until when the version was valid, exclusive: changed_at of the next version, or the deletion.'),
	(5, 'to_pipeline_id', 'integer', '', false,
	 'Pipeline of the version that followed; NULL for delete.'),
	(6, 'to_stage_id', 'integer', '', false,
	 'Stage of the version that followed; NULL for delete.'),
	(7, 'skipped_stages', 'integer[]', '', false,
	 'Mandatory stages that the move jumped over; NULL: none.'),
	(8, 'actor', 'text', '', false,
	 'Who made the change: the setting pipelines.actor, else the session user.'),
	(9, 'role_name', 'text', '', false,
	 'Database role that made the change.'),
	(10, 'application_name', 'text', '', false,
	 'application_name of the session that made the change.'),
	(11, 'reason', 'text', '', false,
	 'Why: the setting pipelines.reason.'),
	(12, 'batch', 'text', '', false,
	 'Batch that the change belongs to: the setting pipelines.batch.'),
	(13, 'txid', 'bigint', '', false,
	 'Transaction that made the change.'),
	(14, 'recorded_at', 'timestamptz', 'NOT NULL', false,
	 'When the row was written; differs from valid_to for imports and given event times.'),
	(15, 'bypassed', 'boolean', 'NOT NULL', false,
	 'Was a rule of the pipeline not applied?'),
	(16, 'imported', 'boolean', 'NOT NULL', false,
	 'Was the row written by import_history()?')
$$;
COMMENT ON FUNCTION pipelines._history_columns() IS
	'The columns that a history has of its own.';

-- What is made for a deals table T is called after it: T_history, T_board, ...
-- The longest of these names, those of later versions included, must fit.
CREATE FUNCTION pipelines._check_deals_name(schema_name text, table_name text)
RETURNS void
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	longest CONSTANT text := '_forecast_accuracy';
	room CONSTANT integer := current_setting('max_identifier_length')::integer - octet_length(longest);
BEGIN
	IF schema_name ~ '^pg_temp' THEN
		RAISE EXCEPTION 'a deals table can''t be temporary'
			USING ERRCODE = 'feature_not_supported',
				  DETAIL = 'Its history would vanish at the end of the session.',
				  HINT = 'Name a schema, as in create_deals(''public.deals'').';
	ELSIF schema_name IN ('pipelines', 'information_schema') OR schema_name ~ '^pg_' THEN
		RAISE EXCEPTION 'schema "%" is reserved: no deals table can be made there', schema_name
			USING ERRCODE = 'reserved_name',
				  HINT = 'Name a schema of your own, as in create_deals(''crm.deals'').';
	ELSIF octet_length(table_name) > room THEN
		RAISE EXCEPTION 'name "%" is too long for a deals table', table_name
			USING ERRCODE = 'name_too_long',
				  DETAIL = format('It has %s bytes.  What belongs to the table is called after it, up to "...%s", and a name has at most %s bytes.',
								  octet_length(table_name), longest, current_setting('max_identifier_length')),
				  HINT = format('Use at most %s bytes.', room);
	END IF;
END
$$;
COMMENT ON FUNCTION pipelines._check_deals_name(text, text) IS
	'Raises an error if no deals table may bear this name.';

-- The definition tables must be there.  They are made for a caller who may
-- create in schema pipelines, and for nobody else.
CREATE FUNCTION pipelines._need_definitions()
RETURNS void
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF to_regclass('pipelines.tracked_table') IS NOT NULL THEN
		RETURN;
	END IF;
	IF NOT has_schema_privilege(current_user, 'pipelines', 'CREATE') THEN
		RAISE EXCEPTION 'the definition tables of pipelines do not exist yet'
			USING ERRCODE = 'object_not_in_prerequisite_state',
				  HINT = 'An administrator makes them: SELECT pipelines.setup(owner => ...).';
	END IF;
	PERFORM pipelines.setup();
END
$$;
COMMENT ON FUNCTION pipelines._need_definitions() IS
	'Makes the definition tables if they are missing and the caller may.';

-- 'pipelines_x' stands for 'x' where the deals have an 'x' of their own
CREATE FUNCTION pipelines._own_column(history regclass, wanted text)
RETURNS name
LANGUAGE c STABLE STRICT PARALLEL SAFE COST 5
AS 'MODULE_PATHNAME', 'pipelines_own_column';
COMMENT ON FUNCTION pipelines._own_column(regclass, text) IS
	'The name of a column that a history has of its own.';

-- A type as plain as the values allow: no domain (its constraints may change),
-- no length (it may be widened).
CREATE FUNCTION pipelines._plain_type(type oid)
RETURNS text
LANGUAGE c STABLE STRICT PARALLEL SAFE COST 5
AS 'MODULE_PATHNAME', 'pipelines_plain_type';
COMMENT ON FUNCTION pipelines._plain_type(oid) IS
	'The type below all domains, without a length, as SQL text.';

CREATE FUNCTION pipelines._is_ordered(type oid)
RETURNS boolean
LANGUAGE c STABLE STRICT PARALLEL SAFE COST 5
AS 'MODULE_PATHNAME', 'pipelines_is_ordered';
COMMENT ON FUNCTION pipelines._is_ordered(oid) IS
	'Has the type a default operator class for B-tree indexes, so that a column of it can be part of a primary key? NULL: there is no such type.';

-- What a type is made of: what a domain is over, an array or a range is of, and
-- the columns of a row.
CREATE FUNCTION pipelines._type_is_ours(type oid)
RETURNS boolean
LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
	WITH RECURSIVE part(type) AS (
		SELECT $1
		UNION
		SELECT x.type
		FROM part p
		JOIN pg_type t ON t.oid = p.type
		CROSS JOIN LATERAL (
			SELECT t.typbasetype WHERE t.typtype = 'd'
			UNION ALL
			SELECT t.typelem WHERE t.typcategory = 'A'
			UNION ALL
			SELECT r.rngsubtype FROM pg_range r WHERE r.rngtypid = t.oid
			UNION ALL
			SELECT a.atttypid FROM pg_attribute a WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
		) x(type)
	)
	SELECT EXISTS (SELECT FROM part p JOIN pg_type t ON t.oid = p.type WHERE t.typnamespace = 'pipelines'::regnamespace)
$$;
COMMENT ON FUNCTION pipelines._type_is_ours(oid) IS
	'Would values of a type go away with the extension?';

CREATE FUNCTION pipelines._history_type(deals regclass, "column" name, type oid)
RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF pipelines._type_is_ours(type) THEN
		RAISE EXCEPTION 'column "%" of table % can''t be tracked', "column", deals
			USING ERRCODE = 'feature_not_supported',
				  DETAIL = format('Its type %s goes away with the extension, and the history would lose the column.', format_type(type, NULL)),
				  HINT = 'Change the type of the column to numeric or text.';
	END IF;
	RETURN pipelines._plain_type(type);
END
$$;
COMMENT ON FUNCTION pipelines._history_type(regclass, name, oid) IS
	'The type of a column of T in its history, as SQL text. Raises 0A000 for a type of ours, or one that has to do with it.';

-- A domain's own conditions are code of whoever made it, and decide what may be
-- stored, not what is looked for.
CREATE FUNCTION pipelines._beneath_domains(INOUT type oid, INOUT modifier integer)
LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 100
SET search_path = pg_catalog, pg_temp
AS $$
	WITH RECURSIVE base AS (
		SELECT $1 AS type, $2 AS modifier
		UNION ALL
		SELECT t.typbasetype, t.typtypmod FROM base b JOIN pg_type t ON t.oid = b.type WHERE t.typtype = 'd'
	)
	SELECT b.type, b.modifier FROM base b JOIN pg_type t ON t.oid = b.type WHERE t.typtype <> 'd'
$$;
COMMENT ON FUNCTION pipelines._beneath_domains(oid, integer) IS
	'The type beneath a domain, or the type itself.';

CREATE FUNCTION pipelines._base_type(type oid, modifier integer)
RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 100
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format_type(b.type, b.modifier) FROM pipelines._beneath_domains($1, $2) b
$$;
COMMENT ON FUNCTION pipelines._base_type(oid, integer) IS
	'The type beneath a domain, or the type itself, as SQL text.';

-- A cast to text may have been made by whoever owns the type, and would run as
-- whoever reads: it is used of PostgreSQL's own types alone, of others what their
-- output function writes.
CREATE FUNCTION pipelines._text_of(expression text, type oid)
RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format(CASE t.typnamespace WHEN 'pg_catalog'::regnamespace THEN 'CAST(%1$s AS text)'
					   ELSE 'CASE WHEN pg_catalog.num_nulls(%1$s) = 0 THEN pg_catalog.format(''%%s'', %1$s) END' END, $1)
	FROM pipelines._beneath_domains($2, -1) b
	JOIN pg_type t ON t.oid = b.type
$$;
COMMENT ON FUNCTION pipelines._text_of(text, oid) IS
	'An expression of a type as text, as SQL text that calls no cast that somebody made.';

CREATE FUNCTION pipelines._text_of(relation regclass, alias text, name name)
RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT pipelines._text_of(format('%s.%I', $2, $3), a.atttypid)
	FROM pg_attribute a WHERE a.attrelid = $1 AND a.attname = $3 AND NOT a.attisdropped
$$;
COMMENT ON FUNCTION pipelines._text_of(regclass, text, name) IS
	'A column of a relation as text, as SQL text that calls no cast that somebody made.';

-- What the mapping trigger of a table says: for each role, in order, the column
-- that plays it and the one that follows it in the history (NULL where there is
-- no such column any more, or no history).  No rows where there is no such
-- trigger.
CREATE FUNCTION pipelines._mapping_trigger(relation regclass, history regclass)
RETURNS TABLE (n integer, role text, column_name name, history_column name)
LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10 ROWS 40
AS 'MODULE_PATHNAME', 'pipelines_mapping_trigger';
COMMENT ON FUNCTION pipelines._mapping_trigger(regclass, regclass) IS
	'Roles that the mapping trigger of a table lists, with their columns there and in its history.';

-- Which column plays which part, in the order of the mapping trigger: the key
-- columns (key1, key2, ...), the tracked columns, then the mapped columns that
-- have no history.  Where the trigger is missing: as pipelines.tracked_table
-- remembers it.  column_name and history_column are NULL where there is no
-- such column (any more).
CREATE FUNCTION pipelines._roles(deals regclass)
RETURNS TABLE (n integer, role text, column_name name, history_column name)
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE COST 1000 ROWS 40
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	registration record;
BEGIN
	SELECT t.history, t.key, t.columns INTO registration FROM pipelines.tracked_table t WHERE t.relation = _roles.deals;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'table % is not registered as a deals table', _roles.deals
			USING ERRCODE = 'object_not_in_prerequisite_state',
				  HINT = 'Deals tables are made by pipelines.create_deals().';
	END IF;

	RETURN QUERY SELECT * FROM pipelines._mapping_trigger(_roles.deals, registration.history);
	IF FOUND THEN
		RETURN;
	END IF;

	RETURN QUERY
		WITH part AS (
			SELECT 0 AS class, k.n::integer AS place, 'key' || k.n AS role, k.name AS name
			FROM unnest(registration.key) WITH ORDINALITY k(name, n)
			UNION ALL
			SELECT CASE WHEN c.tracked THEN 1 ELSE 2 END, c.n, e.key, e.value
			FROM jsonb_each_text(registration.columns) e
			LEFT JOIN pipelines._deal_columns() c ON c.role = e.key
		), own AS (
			SELECT c.name AS meaning, pipelines._own_column(registration.history, c.name) AS name
			FROM pipelines._history_columns() c
		), found AS (
			SELECT p.class, p.place, p.role, p.name, a.attname AS column_name, h.attname AS history_column
			FROM part p
			LEFT JOIN own o
				ON o.meaning = CASE p.role WHEN 'version' THEN 'version' WHEN 'changed_at' THEN 'valid_from' END
			LEFT JOIN pg_attribute a
				ON a.attrelid = _roles.deals AND a.attname = p.name AND a.attnum > 0 AND NOT a.attisdropped
			LEFT JOIN pg_attribute h
				ON h.attrelid = registration.history AND h.attnum > 0 AND NOT h.attisdropped
				AND h.attname = coalesce(o.name, p.name::name)
				AND (o.name IS NOT NULL OR h.attname NOT IN (SELECT x.name FROM own x))
		)
		SELECT (row_number() OVER (ORDER BY CASE WHEN f.class = 2 AND f.history_column IS NULL THEN 3 ELSE f.class END,
										   f.place, f.role))::integer,
			   f.role,
			   f.column_name,
			   f.history_column
		FROM found f
		ORDER BY 1;
END
$$;
COMMENT ON FUNCTION pipelines._roles(regclass) IS
	'Which column of a deals table plays which part, and its name in the history.';

-- Make T_history: the key, columns of its own, and a plain copy of each
-- tracked column, under its own name.  Nobody but the owner of the deals gets
-- any right on it, whatever the default privileges say.  A partitioned one is
-- so by the end of the versions, which is then part of its key, and begins with
-- a default partition alone.
CREATE FUNCTION pipelines._create_history(deals regclass, key text[], columns jsonb,
	partitioned boolean DEFAULT false, name text DEFAULT NULL)
RETURNS regclass
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	relation pg_class;
	target text;
	names name[];
	key_columns text;
	copies text;
	own_lead text;
	own_rest text;
	valid_to text;
	part regclass;
	grantee oid;
BEGIN
	SELECT c.* INTO STRICT relation FROM pg_class c WHERE c.oid = _create_history.deals;
	target := format('%s.%I', relation.relnamespace::regnamespace,
					 coalesce(_create_history.name, relation.relname || '_history'));

	SELECT array_agg(x.name),
		   string_agg(x.definition || ' NOT NULL', ', ' ORDER BY x.n) FILTER (WHERE x.is_key),
		   string_agg(x.definition, ', ' ORDER BY x.n) FILTER (WHERE NOT x.is_key)
	INTO names, key_columns, copies
	FROM (SELECT true AS is_key, k.n, a.attname AS name,
				 format('%I %s', a.attname, pipelines._history_type(_create_history.deals, a.attname, a.atttypid)) AS definition
		  FROM unnest(_create_history.key) WITH ORDINALITY k(name, n)
		  JOIN pg_attribute a
			ON a.attrelid = _create_history.deals AND a.attname = k.name AND a.attnum > 0
		  UNION ALL
		  SELECT false, c.n, a.attname,
				 format('%I %s', a.attname, pipelines._history_type(_create_history.deals, a.attname, a.atttypid))
		  FROM pipelines._deal_columns() c
		  JOIN pg_attribute a
			ON a.attrelid = _create_history.deals AND a.attnum > 0
			AND a.attname = _create_history.columns ->> c.role
		  WHERE c.tracked AND c.role NOT IN ('version', 'changed_at')
		  UNION ALL
		  -- what an adopted table said itself
		  SELECT false, 100 + o.n, a.attname,
				 format('%I %s', a.attname, pipelines._history_type(_create_history.deals, a.attname, a.atttypid))
		  FROM (VALUES (1, 'application_stage'), (2, 'application_outcome')) o(n, role)
		  JOIN pg_attribute a
			ON a.attrelid = _create_history.deals AND a.attnum > 0
			AND a.attname = _create_history.columns ->> o.role) x;
	SELECT string_agg(x.definition, ', ' ORDER BY x.n) FILTER (WHERE x.lead),
		   string_agg(x.definition, ', ' ORDER BY x.n) FILTER (WHERE NOT x.lead)
	INTO own_lead, own_rest
	FROM (SELECT c.n, c.lead,
				 format('%I %s %s',
						CASE WHEN c.name = ANY (names) THEN 'pipelines_' || c.name ELSE c.name END,
						c.type, c.condition) AS definition
		  FROM pipelines._history_columns() c) x;

	valid_to := CASE WHEN 'valid_to' = ANY (names) THEN 'pipelines_valid_to' ELSE 'valid_to' END;
	EXECUTE format('CREATE TABLE %s (%s, %s, %s, %s)', target, key_columns, own_lead, copies, own_rest)
		|| CASE WHEN partitioned THEN format(' PARTITION BY RANGE (%I)', valid_to) ELSE '' END;
	EXECUTE format('ALTER TABLE %s ADD PRIMARY KEY (%s, %I%s)', target,
				   (SELECT string_agg(quote_ident(k.name), ', ' ORDER BY k.n)
					FROM unnest(_create_history.key) WITH ORDINALITY k(name, n)),
				   pipelines._own_column(target::regclass, 'version'),
				   CASE WHEN partitioned THEN ', ' || quote_ident(valid_to) ELSE '' END);
	EXECUTE format('CREATE INDEX ON %s (%I)', target, valid_to);
	-- reports ask which keys came back after a deletion: see _returned()
	EXECUTE format('CREATE INDEX ON %s (%s, %I) WHERE %I = %L', target,
				   (SELECT string_agg(quote_ident(k.name), ', ' ORDER BY k.n)
					FROM unnest(_create_history.key) WITH ORDINALITY k(name, n)),
				   pipelines._own_column(target::regclass, 'version'), pipelines._own_column(target::regclass, 'change'), 'delete');
	IF partitioned THEN
		EXECUTE format('CREATE TABLE %s.%I PARTITION OF %s DEFAULT', relation.relnamespace::regnamespace,
					   relation.relname || '_history_default', target);
	END IF;
	FOR part IN SELECT r.relid FROM pipelines._parts(target::regclass) r LOOP
		PERFORM pipelines._give_to_owner(part, _create_history.deals);
		FOR grantee IN
			SELECT DISTINCT x.grantee
			FROM pg_class c, aclexplode(c.relacl) x
			WHERE c.oid = part AND x.grantee <> c.relowner
		LOOP
			EXECUTE format('REVOKE ALL ON %s FROM %s CASCADE', part,
						   CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE grantee::regrole::text END);
		END LOOP;
	END LOOP;
	RETURN target::regclass;
END
$$;
COMMENT ON FUNCTION pipelines._create_history(regclass, text[], jsonb, boolean, text) IS
	'Makes the history of a deals table.';

-- What belongs to a deals table belongs to its owner, also where a superuser
-- or another member of the owning role made it.
CREATE FUNCTION pipelines._give_to_owner(relation regclass, deals regclass)
RETURNS boolean
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	mine pg_class;
	its pg_class;
BEGIN
	SELECT c.* INTO STRICT mine FROM pg_class c WHERE c.oid = _give_to_owner.relation;
	SELECT c.* INTO STRICT its FROM pg_class c WHERE c.oid = _give_to_owner.deals;
	IF mine.relowner <> its.relowner THEN
		EXECUTE format('ALTER %s %s OWNER TO %s',
					   CASE mine.relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END,
					   _give_to_owner.relation, its.relowner::regrole);
		RETURN true;
	END IF;
	RETURN false;
END
$$;
COMMENT ON FUNCTION pipelines._give_to_owner(regclass, regclass) IS
	'Makes the owner of the deals the owner of a relation that belongs to them; true if it was not.';

-- A report needs a deals table that has all its columns; whether it may be read
-- shows when it is.
CREATE FUNCTION pipelines._need_deals(deals regclass)
RETURNS void
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	past regclass;
	lost record;
BEGIN
	IF deals IS NULL THEN
		RAISE EXCEPTION 'the deals table must be named'
			USING ERRCODE = 'null_value_not_allowed';
	END IF;
	SELECT t.history INTO past FROM pipelines.tracked_table t WHERE t.relation = _need_deals.deals;
	IF NOT FOUND THEN
		RAISE EXCEPTION '% is not a deals table', deals
			USING ERRCODE = 'object_not_in_prerequisite_state',
				HINT = 'pipelines.tracked_table lists them; pipelines.create_deals() makes one, pipelines.adopt() takes one over.';
	END IF;
	SELECT x.relation, x.name INTO lost
	FROM (SELECT CASE WHEN r.column_name IS NULL THEN deals ELSE past END AS relation, r.role AS name
		  FROM pipelines._roles(deals) r
		  WHERE (r.role ~ '^key[1-9]'
				 OR r.role IN ('pipeline_id', 'stage_id', 'stage_entered_at', 'furthest_stage_id', 'gate_stage_id', 'episode', 'version', 'changed_at'))
			AND (r.column_name IS NULL OR r.history_column IS NULL)
		  UNION ALL
		  SELECT past, c.name
		  FROM unnest('{version,change,valid_from,valid_to,to_pipeline_id,to_stage_id,skipped_stages,reason,recorded_at}'::text[]) c(name)
		  WHERE pipelines._own_column(past, c.name) IS NULL) x
	LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'table % has lost its column %', lost.relation, lost.name
			USING ERRCODE = 'undefined_column',
				HINT = 'pipelines.verify() lists what else is missing.';
	END IF;
END
$$;
COMMENT ON FUNCTION pipelines._need_deals(regclass) IS
	'Raises 22004 or 55000 where there is no deals table to report on, 42703 where it has lost a column.';

-- Only the owner of a deals table changes what belongs to it.
CREATE FUNCTION pipelines._need_owner(deals regclass)
RETURNS void
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF deals IS NULL THEN
		RAISE EXCEPTION 'the deals table must be named'
			USING ERRCODE = 'null_value_not_allowed';
	END IF;
	IF NOT EXISTS (SELECT FROM pg_class c
				   WHERE c.oid = deals AND pg_has_role(current_user, c.relowner, 'USAGE')) THEN
		RAISE EXCEPTION 'must be owner of table %', deals
			USING ERRCODE = 'insufficient_privilege';
	END IF;
END
$$;
COMMENT ON FUNCTION pipelines._need_owner(regclass) IS
	'Raises an error if the caller does not own the table.';

-- Make the triggers that are missing on the deals and on their history, mend
-- those that are not enabled as they must be, and say what was done.  The
-- triggers on the deals fire on the origin only (the history is replicated as
-- a table); the guards on the history always.  Statement triggers are not
-- cloned to partitions: those get their own.
CREATE FUNCTION pipelines._create_triggers(deals regclass)
RETURNS TABLE (item text, action text)
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000 ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	history regclass;
	our_columns text;
	our_arguments text;
	history_columns text;
	history_arguments text;
	wanted record;
	state "char";
BEGIN
	SELECT t.history INTO history FROM pipelines.tracked_table t WHERE t.relation = _create_triggers.deals;
	SELECT string_agg(quote_ident(m.column_name), ', ' ORDER BY m.n),
		   string_agg(quote_literal(m.role || '=' || coalesce(m.history_column, '')), ', ' ORDER BY m.n),
		   string_agg(quote_ident(m.history_column), ', ' ORDER BY m.n),
		   string_agg(quote_literal(m.role || '=' || m.history_column), ', ' ORDER BY m.n)
	INTO our_columns, our_arguments, history_columns, history_arguments
	FROM pipelines._roles(_create_triggers.deals) m
	WHERE m.column_name IS NOT NULL;

	FOR wanted IN
		SELECT x.relation, x.name, x.always, x.definition
		FROM (
			SELECT 1 AS n, deals AS relation, 'pipelines_columns' AS name, false AS always,
				   format('BEFORE UPDATE OF %s ON %s FOR EACH STATEMENT WHEN (false) EXECUTE FUNCTION pipelines._columns(%s)',
						  our_columns, deals, our_arguments) AS definition
			UNION ALL
			SELECT 2, deals, pipelines._trigger_name(), false,
				   format('BEFORE INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION pipelines._deal_before()', deals)
			UNION ALL
			SELECT 3, deals, 'pipelines_after', false,
				   format('AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW WHEN (pipelines._pending()) EXECUTE FUNCTION pipelines._deal_after()', deals)
			UNION ALL
			SELECT 4, r.relid, 'pipelines_turn', false,
				   format('BEFORE UPDATE OR DELETE ON %s FOR EACH STATEMENT EXECUTE FUNCTION pipelines._deal_turn()', r.relid)
			FROM pipelines._parts(deals) r
			UNION ALL
			SELECT 4, r.relid, 'pipelines_truncate', false,
				   format('BEFORE TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION pipelines._deal_truncate()', r.relid)
			FROM pipelines._parts(deals) r
			UNION ALL
			SELECT 5, history, 'pipelines_columns', false,
				   format('BEFORE UPDATE OF %s ON %s FOR EACH STATEMENT WHEN (false) EXECUTE FUNCTION pipelines._columns(%s)',
						  history_columns, history, history_arguments)
			UNION ALL
			SELECT 6, history, 'pipelines_guard', true,
				   format('BEFORE UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION pipelines._history_guard()', history)
			UNION ALL
			-- clones of the guard on partitions: only their state is looked after
			SELECT 7, r.relid, 'pipelines_guard', true, NULL
			FROM pipelines._parts(history) r WHERE r.relid <> history
			UNION ALL
			SELECT 8, r.relid, 'pipelines_guard_truncate', true,
				   format('BEFORE TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION pipelines._history_guard()', r.relid)
			FROM pipelines._parts(history) r
			UNION ALL
			-- the parts of the activities, where they are in a table that has them all
			SELECT 9, t.activity, 'pipelines_columns', false,
				   format('BEFORE UPDATE OF %s ON %s FOR EACH STATEMENT WHEN (false) EXECUTE FUNCTION pipelines._columns(%s)',
						  string_agg(quote_ident(p.value), ', ' ORDER BY p.key), t.activity,
						  string_agg(quote_literal(p.key || '='), ', ' ORDER BY p.key))
			FROM pipelines.tracked_table t
			JOIN pg_class c ON c.oid = t.activity AND c.relkind IN ('r', 'p')
			CROSS JOIN LATERAL jsonb_each_text(t.activity_columns) p
			LEFT JOIN pg_attribute a
				ON a.attrelid = t.activity AND a.attname = p.value AND a.attnum > 0 AND NOT a.attisdropped
			WHERE t.relation = _create_triggers.deals
			GROUP BY t.activity
			HAVING bool_and(a.attname IS NOT NULL)
		) x
		ORDER BY x.n, x.relation::text, x.name
	LOOP
		item := format('trigger %I on %s', wanted.name, wanted.relation);
		SELECT g.tgenabled INTO state FROM pg_trigger g
			WHERE g.tgrelid = wanted.relation AND g.tgname = wanted.name;
		IF NOT FOUND AND wanted.definition IS NOT NULL THEN
			EXECUTE format('CREATE TRIGGER %I %s', wanted.name, wanted.definition);
			IF wanted.always THEN
				EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', wanted.relation, wanted.name);
			END IF;
			action := 'created';
			RETURN NEXT;
		ELSIF wanted.always AND state <> 'A' THEN
			EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', wanted.relation, wanted.name);
			action := 'enabled always';
			RETURN NEXT;
		ELSIF NOT wanted.always AND state IN ('D', 'R') THEN
			EXECUTE format('ALTER TABLE %s ENABLE TRIGGER %I', wanted.relation, wanted.name);
			action := 'enabled';
			RETURN NEXT;
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION pipelines._create_triggers(regclass) IS
	'Makes missing triggers of a deals table and its history, mends their state.';

-- a table and all its partitions, at every level
CREATE FUNCTION pipelines._parts(relation regclass)
RETURNS TABLE (relid regclass)
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE COST 100 ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN QUERY
		SELECT $1
		UNION
		SELECT t.relid FROM pg_partition_tree($1) t
		JOIN pg_class c ON c.oid = t.relid
		WHERE c.relkind IN ('r', 'p');
END
$$;
COMMENT ON FUNCTION pipelines._parts(regclass) IS
	'A table and all its partitions.';

-- Say what everything is, where nobody has said anything yet.
CREATE FUNCTION pipelines._comment(deals regclass)
RETURNS void
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	history regclass;
	c record;
BEGIN
	SELECT t.history INTO history FROM pipelines.tracked_table t WHERE t.relation = _comment.deals;
	IF obj_description(deals, 'pg_class') IS NULL
		AND NOT (SELECT t.adopted FROM pipelines.tracked_table t WHERE t.relation = _comment.deals)
	THEN
		EXECUTE format('COMMENT ON TABLE %s IS %L', deals,
					   format('Deals, checked and tracked by pipelines.  A plain UPDATE moves them; their past is in %s.', history));
	END IF;
	IF obj_description(history, 'pg_class') IS NULL THEN
		EXECUTE format('COMMENT ON TABLE %s IS %L', history,
					   format('The ended versions of the deals in %s, append only: one row for each change of a tracked column.  The present version is the deal itself.', deals));
	END IF;
	FOR c IN
		SELECT x.relation, x.name, x.comment
		FROM (
			SELECT _comment.deals AS relation, m.column_name AS name, d.comment
			FROM pipelines._roles(_comment.deals) m
			JOIN pipelines._deal_columns() d ON d.role = m.role
			JOIN pipelines.tracked_table t ON t.relation = _comment.deals
			-- what was the application's before is not ours to explain
			WHERE NOT t.adopted OR t.application -> 'added' ? (t.columns ->> m.role)
			UNION ALL
			-- untracked columns of create_deals() have no role
			SELECT t.relation, d.role, d.comment
			FROM pipelines.tracked_table t, pipelines._deal_columns() d
			WHERE t.relation = _comment.deals AND NOT d.mapped AND NOT t.adopted
			UNION ALL
			SELECT _comment.deals, m.column_name, 'Key of the deal.  It never changes.'
			FROM pipelines._roles(_comment.deals) m, pipelines.tracked_table t
			WHERE m.role ~ '^key[1-9]' AND t.relation = _comment.deals AND NOT t.adopted
			UNION ALL
			SELECT history, m.history_column, 'Key of the deal.'
			FROM pipelines._roles(_comment.deals) m WHERE m.role ~ '^key[1-9]'
			UNION ALL
			SELECT history, pipelines._own_column(history, o.name), o.comment
			FROM pipelines._history_columns() o
			UNION ALL
			SELECT history, m.history_column, format('%s of the version that ended.', m.column_name)
			FROM pipelines._roles(_comment.deals) m
			WHERE m.role !~ '^key[1-9]' AND m.role NOT IN ('version', 'changed_at')
		) x
		JOIN pg_attribute a ON a.attrelid = x.relation AND a.attname = x.name AND a.attnum > 0
		WHERE col_description(a.attrelid, a.attnum) IS NULL
	LOOP
		EXECUTE format('COMMENT ON COLUMN %s.%I IS %L', c.relation, c.name, c.comment);
	END LOOP;
END
$$;
COMMENT ON FUNCTION pipelines._comment(regclass) IS
	'Comments on a deals table, its history and their columns, where there are none.';

-- The names in a list such as 'a, "B c"', as identifiers; NULL if it is no
-- such list.
CREATE FUNCTION pipelines._parse_names(list text)
RETURNS text[]
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 100
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	rest text := list || ',';
	part text;
	names text[] := '{}';
BEGIN
	WHILE rest <> '' LOOP
		part := substring(rest FROM '^\s*("(?:[^"]|"")+"|[^\s",().]+)\s*,');
		IF part IS NULL THEN
			RETURN NULL;
		END IF;
		names := names || parse_ident(part);
		rest := regexp_replace(rest, '^\s*("(?:[^"]|"")+"|[^\s",().]+)\s*,', '');
	END LOOP;
	RETURN names;
END
$$;
COMMENT ON FUNCTION pipelines._parse_names(text) IS
	'The identifiers in a list of column names.';

-- The layout of a new deals table: the one that is named; else the one that
-- create_pipeline() takes when none is named; else the only one.
CREATE FUNCTION pipelines._layout_id(layout text)
RETURNS integer
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	id integer;
	names text;
	many bigint;
BEGIN
	SELECT count(*), min(l.layout_id), string_agg(quote_literal(l.name), ', ' ORDER BY l.layout_id)
	INTO many, id, names
	FROM pipelines.layout l;
	IF many = 0 THEN
		RAISE EXCEPTION 'there is no layout yet'
			USING ERRCODE = 'object_not_in_prerequisite_state',
				  DETAIL = 'Deals need a pipeline to be in, and a pipeline is part of a layout.',
				  HINT = 'Make a pipeline first: SELECT pipelines.create_pipeline(...).';
	END IF;
	IF _layout_id.layout IS NULL AND many > 1 THEN
		SELECT l.layout_id INTO id FROM pipelines.layout l WHERE l.name = 'default';
		IF NOT FOUND THEN
			RAISE EXCEPTION 'there are several layouts'
				USING ERRCODE = 'invalid_parameter_value',
					  DETAIL = format('Layouts: %s.', names),
					  HINT = 'Name one: create_deals(..., layout => ...).';
		END IF;
	END IF;
	IF _layout_id.layout IS NULL THEN
		RETURN id;
	END IF;
	SELECT l.layout_id INTO id FROM pipelines.layout l WHERE l.name = _layout_id.layout;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'layout "%" does not exist', _layout_id.layout
			USING ERRCODE = 'undefined_object',
				  DETAIL = format('Layouts: %s.', names);
	END IF;
	RETURN id;
END
$$;
COMMENT ON FUNCTION pipelines._layout_id(text) IS
	'The id of a layout by name; NULL: of the layout "default", else of the only one.';

-- No SET clause here: the schema that a new table goes to is the caller's.
CREATE FUNCTION pipelines.create_deals(name text, layout text DEFAULT NULL, currency text DEFAULT NULL,
	key text[] DEFAULT '{deal_id}', foreign_keys boolean DEFAULT false,
	on_truncate text DEFAULT 'refuse', partition_by text DEFAULT NULL,
	partition_history boolean DEFAULT false)
RETURNS regclass
LANGUAGE sql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 100000
AS $$
	SELECT pipelines._create_deals(pg_catalog.current_schema(), $1, $2, $3, $4, $5, $6, $7, $8)
$$;
COMMENT ON FUNCTION pipelines.create_deals(text, text, text, text[], boolean, text, text, boolean) IS
'Makes a deals table, its history, a table of activities and its views, all owned by the caller.
name: of the table, with a schema or without (then as CREATE TABLE), at most 45 bytes, quoted as in SQL.
layout: whose pipelines the deals may be in; left out: the one called default, else the only one.
currency: what amounts without a currency are in.
key: names of the key columns, bigint NOT NULL, the last one an identity column; default {deal_id}.
foreign_keys: declare a real foreign key (pipeline_id, stage_id) to pipelines.pipeline_stage; needs the privilege REFERENCES on it.
on_truncate: refuse, or record (one delete in the history per deal).
partition_by: as after PARTITION BY, on key columns or created_at, e.g. HASH (deal_id); afterwards make partitions and call pipelines.resume().
partition_history: partition the history by valid_to, beginning with a default partition; its key is then (key, version, valid_to).
Errors: 42P07 something of that name exists, 42622 name too long, 42939 reserved schema, 0A000 temporary table, 42704 unknown layout, 55000 no definitions yet.';

CREATE FUNCTION pipelines._create_deals(creation_schema name, name text, layout text, currency text,
	key text[], foreign_keys boolean, on_truncate text, partition_by text, partition_history boolean)
RETURNS regclass
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 100000
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	parts text[];
	schema_name text := creation_schema;
	table_name text;
	target text;
	deals regclass;
	history regclass;
	layout_id integer;
	columns jsonb;
	partition_method text;
	partition_columns text[] := '{}';
	taken text;
BEGIN
	IF name IS NULL OR foreign_keys IS NULL OR on_truncate IS NULL OR key IS NULL OR partition_history IS NULL THEN
		RAISE EXCEPTION 'name, key, foreign_keys, on_truncate and partition_history must not be null'
			USING ERRCODE = 'null_value_not_allowed';
	END IF;
	IF on_truncate NOT IN ('refuse', 'record') THEN
		RAISE EXCEPTION 'on_truncate can''t be "%"', on_truncate
			USING ERRCODE = 'invalid_parameter_value',
				  HINT = 'It is ''refuse'' or ''record''.';
	END IF;
	IF btrim(currency) = '' THEN
		RAISE EXCEPTION 'the currency is empty'
			USING ERRCODE = 'invalid_parameter_value',
				  HINT = 'Leave it out, or give a code such as ''EUR''.';
	END IF;

	-- what it is to be called
	parts := parse_ident(name);
	table_name := parts[cardinality(parts)];
	IF cardinality(parts) = 2 THEN
		schema_name := parts[1];
	ELSIF cardinality(parts) > 2 THEN
		RAISE EXCEPTION 'improper name for a table: %', name
			USING ERRCODE = 'syntax_error',
				  HINT = 'Give a table, or a schema and a table: ''crm.deals''.';
	ELSIF schema_name IS NULL THEN
		RAISE EXCEPTION 'no schema has been selected to create in'
			USING ERRCODE = 'invalid_schema_name',
				  HINT = 'Name the schema: ''crm.deals''.';
	END IF;
	PERFORM pipelines._check_deals_name(schema_name, table_name);
	IF NOT EXISTS (SELECT FROM pg_namespace n WHERE n.nspname = schema_name) THEN
		RAISE EXCEPTION 'schema "%" does not exist', schema_name
			USING ERRCODE = 'invalid_schema_name';
	ELSIF NOT has_schema_privilege(schema_name, 'CREATE') THEN
		RAISE EXCEPTION 'permission denied for schema %', schema_name
			USING ERRCODE = 'insufficient_privilege',
				  HINT = 'Name a schema that you may create in, as in create_deals(''crm.deals'').';
	END IF;
	target := format('%I.%I', schema_name, table_name);
	SELECT string_agg(quote_ident(c.relname), ', ' ORDER BY c.relname) INTO taken
	FROM pg_class c
	WHERE c.relnamespace = (SELECT n.oid FROM pg_namespace n WHERE n.nspname = schema_name)
		AND c.relname = ANY (ARRAY[table_name, table_name || '_history',
								   CASE WHEN partition_history THEN table_name || '_history_default' END, table_name || '_activity']
							 || ARRAY(SELECT table_name || '_' || v.kind FROM pipelines._view_kinds() v));
	IF taken IS NOT NULL THEN
		RAISE EXCEPTION 'a deals table "%" can''t be made: the name is taken', table_name
			USING ERRCODE = 'duplicate_table',
				  DETAIL = format('In schema %I there is already %s.', schema_name, taken),
				  HINT = 'Choose another name.  An existing table becomes a deals table by pipelines.adopt().',
				  SCHEMA = schema_name, TABLE = table_name;
	END IF;

	-- its key
	IF cardinality(key) = 0 OR array_ndims(key) <> 1 OR array_position(key, NULL) IS NOT NULL
		OR array_position(key, '') IS NOT NULL
		OR (SELECT count(DISTINCT k.name) FROM unnest(key) k(name)) <> cardinality(key)
	THEN
		RAISE EXCEPTION 'a key is a list of different column names'
			USING ERRCODE = 'invalid_parameter_value',
				  HINT = 'For example key => ''{tenant_id,deal_id}''.';
	END IF;
	SELECT string_agg(quote_ident(k.name), ', ') INTO taken
	FROM unnest(key) k(name)
	WHERE k.name IN (SELECT c.role FROM pipelines._deal_columns() c)
		OR k.name IN (SELECT c.name FROM pipelines._history_columns() c);
	IF taken IS NOT NULL THEN
		RAISE EXCEPTION 'a key column can''t be called %', taken
			USING ERRCODE = 'duplicate_column',
				  DETAIL = 'Deals tables and histories have a column of that name already.',
				  HINT = 'Choose another name.';
	END IF;

	-- its partitioning, by what never changes
	IF partition_by IS NOT NULL THEN
		partition_method := lower(substring(partition_by FROM '^\s*([A-Za-z]+)\s*\('));
		partition_columns := pipelines._parse_names(substring(partition_by FROM '^\s*[A-Za-z]+\s*\((.*)\)\s*$'));
		IF partition_method IS NULL OR partition_method NOT IN ('hash', 'list', 'range')
			OR partition_columns IS NULL
		THEN
			RAISE EXCEPTION 'improper partitioning: %', partition_by
				USING ERRCODE = 'invalid_parameter_value',
					  DETAIL = 'It must be HASH, LIST or RANGE, and columns in parentheses.',
					  HINT = 'For example partition_by => ''HASH (deal_id)''.';
		END IF;
		SELECT string_agg(quote_ident(c.name), ', ') INTO taken
		FROM unnest(partition_columns) c(name)
		WHERE c.name <> ALL (key) AND c.name <> 'created_at';
		IF taken IS NOT NULL THEN
			RAISE EXCEPTION 'deals can''t be partitioned by %', taken
				USING ERRCODE = 'feature_not_supported',
					  DETAIL = 'A deal must never move to another partition, so that only columns that never change can decide it.',
					  HINT = 'Partition by columns of the key (key => ''{tenant_id,deal_id}'') or by created_at.';
		END IF;
	END IF;

	PERFORM pipelines._need_definitions();
	layout_id := pipelines._layout_id(layout);
	IF foreign_keys AND NOT has_table_privilege('pipelines.pipeline_stage', 'REFERENCES') THEN
		RAISE EXCEPTION 'permission denied to declare a foreign key to pipelines.pipeline_stage'
			USING ERRCODE = 'insufficient_privilege',
				  HINT = format('The owner of the definitions can allow it: GRANT REFERENCES ON pipelines.pipeline_stage TO %I.  Deals are checked without a foreign key, too.',
								current_user);
	END IF;

	EXECUTE format('CREATE TABLE %s (%s, %s)%s', target,
				   (SELECT string_agg(format('%I bigint %s', k.name,
									  CASE WHEN k.n = cardinality(key) THEN 'GENERATED BY DEFAULT AS IDENTITY'
										   ELSE 'NOT NULL' END), ', ' ORDER BY k.n)
					FROM unnest(key) WITH ORDINALITY k(name, n)),
				   -- a row is routed to its partition before the trigger can complete it
				   (SELECT string_agg(format('%I %s %s %s', c.role, c.type, c.condition,
									  CASE WHEN c.role = 'created_at' AND c.role = ANY (partition_columns)
										   THEN 'DEFAULT pg_catalog.now()' END), ', ' ORDER BY c.n)
					FROM pipelines._deal_columns() c),
				   ' PARTITION BY ' || partition_method ||
				   (SELECT format(' (%s)', string_agg(quote_ident(c.name), ', ' ORDER BY c.n))
					FROM unnest(partition_columns) WITH ORDINALITY c(name, n)));
	deals := target::regclass;
	-- a unique index of a partitioned table needs the partition key
	EXECUTE format('ALTER TABLE %s ADD PRIMARY KEY (%s)', target,
				   (SELECT string_agg(quote_ident(c.name), ', ' ORDER BY c.n)
					FROM unnest(key || array(SELECT p.name FROM unnest(partition_columns) p(name)
											 WHERE p.name <> ALL (key)))
						 WITH ORDINALITY c(name, n)));
	EXECUTE format('CREATE INDEX ON %s (pipeline_id, stage_id, stage_entered_at)', target);

	-- where the server can declare a foreign key without enforcing it, tools
	-- that read foreign keys see how deals and stages hang together
	IF foreign_keys THEN
		EXECUTE format('ALTER TABLE %s ADD FOREIGN KEY (pipeline_id, stage_id) REFERENCES pipelines.pipeline_stage (pipeline_id, stage_id)', target);
	ELSIF current_setting('server_version_num')::integer >= 180000 AND partition_by IS NULL
		AND has_table_privilege('pipelines.pipeline_stage', 'REFERENCES')
	THEN
		EXECUTE format('ALTER TABLE %s ADD FOREIGN KEY (pipeline_id, stage_id) REFERENCES pipelines.pipeline_stage (pipeline_id, stage_id) NOT ENFORCED', target);
	END IF;

	SELECT jsonb_object_agg(c.role, c.role) INTO columns FROM pipelines._deal_columns() c WHERE c.mapped;
	history := pipelines._create_history(deals, key, columns, partition_history, NULL::text);
	PERFORM pipelines._register(deals, history, layout_id, key, columns, currency,
								foreign_keys, on_truncate, '-infinity'::timestamptz, false);
	PERFORM pipelines._create_activity(deals, key);
	PERFORM pipelines._create_triggers(deals);
	PERFORM pipelines._comment(deals);
	PERFORM pipelines._copy_policies(deals);
	PERFORM pipelines._create_views(deals, false);
	RETURN deals;
END
$$;
COMMENT ON FUNCTION pipelines._create_deals(name, text, text, text, text[], boolean, text, text, boolean) IS
	'The work of create_deals(), which adds the schema that the caller creates in.';

-- What is wrong with the mapping of one table, in words; no rows: nothing.
CREATE FUNCTION pipelines._mapping_problems(deals regclass)
RETURNS TABLE (item text, problem text)
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000 ROWS 5
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT x.item, x.problem
	FROM pipelines.tracked_table t
	CROSS JOIN LATERAL pipelines._roles($1) r
	LEFT JOIN pg_attribute a ON a.attrelid = t.relation AND a.attname = r.column_name AND a.attnum > 0
	LEFT JOIN pg_attribute h ON h.attrelid = t.history AND h.attname = r.history_column AND h.attnum > 0
	LEFT JOIN pipelines._deal_columns() c ON c.role = r.role
	-- what it was called when last looked at
	CROSS JOIN LATERAL (SELECT coalesce(t.columns ->> r.role, t.key[r.n]) AS name) e
	CROSS JOIN LATERAL (
		SELECT format('column %I of %s', e.name, t.relation) AS item,
			   'missing; if it was renamed, rename it back, resume, and rename it again; else add it' AS problem
		WHERE a.attname IS NULL
			AND (h.attname IS NOT NULL OR r.role ~ '^key[1-9]'
				 OR r.role IN ('pipeline_id', 'stage_id', 'stage_entered_at', 'furthest_stage_id',
							   'gate_stage_id', 'episode', 'version', 'changed_at'))
		UNION ALL
		SELECT format('column %I of %s', e.name, t.history),
			   'missing; if it was renamed, rename it back; else add it, or make the table anew from a backup'
		WHERE h.attname IS NULL AND a.attname IS NOT NULL AND r.role <> 'application_since'
			AND (r.role ~ '^key[1-9]' OR coalesce(c.tracked, true))
		UNION ALL
		SELECT format('column %I of %s', a.attname, t.relation),
			   format('has type %s, but its copy in %s has type %s; alter one of them',
					  format_type(a.atttypid, NULL), t.history, format_type(h.atttypid, NULL))
		WHERE pipelines._plain_type(a.atttypid) <> pipelines._plain_type(h.atttypid)
	) x
	WHERE t.relation = $1
	ORDER BY r.n
$$;
COMMENT ON FUNCTION pipelines._mapping_problems(regclass) IS
	'Columns of a deals table or its history that are missing or of another type.';

-- Nothing is written down about a mapping that is broken: what a lost column
-- was must not be forgotten.
CREATE FUNCTION pipelines._need_mapping(deals regclass)
RETURNS void
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	problems text;
BEGIN
	SELECT string_agg(format('%s: %s.', p.item, p.problem), ' ') INTO problems
	FROM pipelines._mapping_problems(_need_mapping.deals) p;
	IF problems IS NOT NULL THEN
		RAISE EXCEPTION 'the columns of deals table % are not what they must be', deals
			USING ERRCODE = 'object_not_in_prerequisite_state',
				  DETAIL = problems;
	END IF;
END
$$;
COMMENT ON FUNCTION pipelines._need_mapping(regclass) IS
	'Raises an error if a mapped column is missing or of another type.';

-- After columns were renamed, write down in pipelines.tracked_table what the
-- mapping trigger says, and let the columns of the history follow, since they
-- bear the names of those that they copy.  After the deals got another owner,
-- let the history follow, too: it is written in the name of its owner.
CREATE FUNCTION pipelines._follow_changes(deals regclass)
RETURNS TABLE (item text, action text)
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000 ROWS 5
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	registration record;
	part record;
	present_key text[];
	present_columns jsonb;
	changed boolean := false;
BEGIN
	SELECT t.* INTO STRICT registration FROM pipelines.tracked_table t WHERE t.relation = _follow_changes.deals;
	-- writers lock the deals, then the history: whoever changes both must, too
	IF EXISTS (SELECT FROM pipelines._roles(_follow_changes.deals) r
			   WHERE r.role NOT IN ('version', 'changed_at') AND r.history_column <> r.column_name)
		OR (SELECT count(DISTINCT c.relowner) FROM pg_class c
			WHERE c.oid IN (_follow_changes.deals, registration.history)) > 1
	THEN
		EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', deals);
	END IF;
	IF pipelines._give_to_owner(registration.history, deals) THEN
		item := format('table %s', registration.history);
		action := 'given to the owner of the deals';
		RETURN NEXT;
	END IF;
	-- columns may have exchanged their names: first those are put aside that bear
	-- one that another column is to have
	FOR part IN
		WITH renamed AS MATERIALIZED (
			SELECT r.n, r.column_name, r.history_column, 'pipelines_aside_' || r.n AS aside
			FROM pipelines._roles(_follow_changes.deals) r
			WHERE r.role NOT IN ('version', 'changed_at') AND r.history_column <> r.column_name
		), disputed AS (
			SELECT r.* FROM renamed r WHERE r.history_column IN (SELECT o.column_name FROM renamed o)
		)
		SELECT 1 AS pass, d.n, d.history_column, d.history_column AS present, d.aside AS wanted FROM disputed d
		UNION ALL
		SELECT 2, r.n, r.history_column, coalesce((SELECT d.aside FROM disputed d WHERE d.n = r.n), r.history_column), r.column_name
		FROM renamed r
		ORDER BY 1, 2
	LOOP
		PERFORM pipelines._make_room(registration.history, part.wanted);
		EXECUTE format('ALTER TABLE %s RENAME COLUMN %I TO %I', registration.history, part.present, part.wanted);
		CONTINUE WHEN part.pass = 1;
		item := format('column %I of %s', part.history_column, registration.history);
		action := format('renamed to %I', part.wanted);
		changed := true;
		RETURN NEXT;
	END LOOP;

	SELECT array_agg(r.column_name::text ORDER BY r.n) FILTER (WHERE r.role ~ '^key[1-9]'),
		   jsonb_object_agg(r.role, r.column_name) FILTER (WHERE r.role !~ '^key[1-9]')
	INTO present_key, present_columns
	FROM pipelines._roles(_follow_changes.deals) r
	WHERE r.column_name IS NOT NULL;
	IF present_key <> registration.key OR present_columns <> registration.columns THEN
		PERFORM pipelines._register(deals, registration.history, registration.layout_id, present_key,
									present_columns, registration.currency, registration.foreign_keys,
									registration.on_truncate, registration.tracked_since, registration.adopted);
		item := 'mapping';
		action := 'written down';
		RETURN NEXT;
	END IF;
	IF changed THEN
		PERFORM pipelines._drop_mapping(deals, registration.history);
		PERFORM pipelines._create_triggers(deals);
	END IF;

	-- the activities that were made with the deals are called after them
	IF EXISTS (SELECT FROM pg_class a JOIN pg_class d ON d.oid = _follow_changes.deals
			   WHERE a.oid = registration.activity AND a.relkind IN ('r', 'p')
				AND a.relname = d.relname || '_activity' AND a.relnamespace = d.relnamespace)
		AND pipelines._give_to_owner(registration.activity, deals)
	THEN
		item := format('table %s', registration.activity);
		action := 'given to the owner of the deals';
		RETURN NEXT;
	END IF;
	IF pipelines._follow_activity(deals) THEN
		item := 'activities';
		action := 'written down';
		RETURN NEXT;
	END IF;
	FOR part IN SELECT p.item, p.problem FROM pipelines._activity_problems(_follow_changes.deals) p LOOP
		item := part.item;
		action := 'problem: ' || part.problem;
		RETURN NEXT;
	END LOOP;
END
$$;
COMMENT ON FUNCTION pipelines._follow_changes(regclass) IS
	'Lets tracked_table, the history and the activities follow renamed columns and a new owner.';

-- A column of the history's own that bears this name gets the prefix.
CREATE FUNCTION pipelines._make_room(history regclass, wanted name)
RETURNS void
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF EXISTS (SELECT FROM pipelines._history_columns() c
			   WHERE c.name = _make_room.wanted
				AND pipelines._own_column(_make_room.history, c.name) = _make_room.wanted)
	THEN
		EXECUTE format('ALTER TABLE %s RENAME COLUMN %I TO %I', history, wanted, 'pipelines_' || wanted);
	END IF;
END
$$;
COMMENT ON FUNCTION pipelines._make_room(regclass, name) IS
	'Renames a column of the history''s own out of the way.';

CREATE FUNCTION pipelines._drop_mapping(deals regclass, history regclass)
RETURNS void
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	EXECUTE format('DROP TRIGGER IF EXISTS pipelines_columns ON %s', deals);
	EXECUTE format('DROP TRIGGER IF EXISTS pipelines_columns ON %s', history);
END
$$;
COMMENT ON FUNCTION pipelines._drop_mapping(regclass, regclass) IS
	'Drops the mapping triggers, to be made anew.';

-- Row security: who may not see a deal may not see its past either.  The
-- policies that decide what is read of the deals are copied to the history,
-- and follow there when they are changed (those that bear our comment; others
-- are left alone).  They judge each version by what it said then.  The history
-- is not forced to obey them: it is written in the name of its owner.  First
-- the policies that protect pipelines are made, on both.
CREATE FUNCTION pipelines._copy_policies(deals regclass)
RETURNS TABLE (item text, action text)
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000 ROWS 5
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	mark CONSTANT text := 'Copied from the deals by pipelines.';
	history regclass;
	secure boolean;
	policy record;
	missing text;
BEGIN
	RETURN QUERY SELECT * FROM pipelines._secure(deals);
	SELECT t.history, c.relrowsecurity INTO STRICT history, secure
	FROM pipelines.tracked_table t JOIN pg_class c ON c.oid = t.relation
	WHERE t.relation = _copy_policies.deals;

	IF secure <> (SELECT c.relrowsecurity FROM pg_class c WHERE c.oid = history) THEN
		EXECUTE format('ALTER TABLE %s %s ROW LEVEL SECURITY', history, CASE WHEN secure THEN 'ENABLE' ELSE 'DISABLE' END);
		item := format('row security of %s', history);
		action := CASE WHEN secure THEN 'enabled' ELSE 'disabled' END;
		RETURN NEXT;
	END IF;

	FOR policy IN
		WITH theirs AS (
			SELECT p.oid, p.polname, p.polpermissive, p.polroles, pg_get_expr(p.polqual, p.polrelid) AS condition
			FROM pg_policy p
			WHERE p.polrelid = _copy_policies.deals AND p.polcmd IN ('r', '*')
				AND p.polname NOT IN (SELECT a.policy FROM pipelines._access_policies() a)
		), ours AS (
			SELECT p.oid, p.polname, p.polpermissive, p.polroles, pg_get_expr(p.polqual, p.polrelid) AS condition,
				   obj_description(p.oid, 'pg_policy') = mark AS copied
			FROM pg_policy p
			WHERE p.polrelid = history
				AND p.polname NOT IN (SELECT a.policy FROM pipelines._access_policies() a)
		)
		SELECT coalesce(t.polname, o.polname) AS name, t.oid, t.polpermissive AS permissive, t.polroles AS roles,
			   t.condition, o.oid IS NOT NULL AS exists
		FROM theirs t
		FULL JOIN ours o ON o.polname = t.polname
		WHERE (t.oid IS NULL AND o.copied)
			OR (t.oid IS NOT NULL AND o.oid IS NULL)
			OR (o.copied AND (t.polpermissive, t.polroles, t.condition) IS DISTINCT FROM (o.polpermissive, o.polroles, o.condition))
		ORDER BY 1
	LOOP
		item := format('policy %I on %s', policy.name, history);
		IF policy.exists THEN
			EXECUTE format('DROP POLICY %I ON %s', policy.name, history);
			action := 'dropped';
		END IF;
		IF policy.oid IS NOT NULL THEN
			SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) INTO missing
			FROM pg_depend d
			JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
			WHERE d.classid = 'pg_policy'::regclass AND d.objid = policy.oid
				AND d.refclassid = 'pg_class'::regclass AND d.refobjid = _copy_policies.deals AND d.refobjsubid > 0
				AND NOT EXISTS (SELECT FROM pipelines._roles(_copy_policies.deals) r
								WHERE r.column_name = a.attname AND r.history_column = a.attname);
			IF missing IS NOT NULL THEN
				RAISE EXCEPTION 'policy "%" of table % can''t be copied to the history', policy.name, deals
					USING ERRCODE = 'feature_not_supported',
						  DETAIL = format('The history does not have %s, which the policy needs.', missing),
						  HINT = format('Track it: SELECT pipelines.track(%L, ...).', deals);
			END IF;
			BEGIN
				EXECUTE format('CREATE POLICY %I ON %s AS %s FOR SELECT TO %s USING (%s)', policy.name, history,
							   CASE WHEN policy.permissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
							   (SELECT string_agg(CASE WHEN r.oid = 0 THEN 'PUBLIC' ELSE r.oid::regrole::text END, ', ')
								FROM unnest(policy.roles) r(oid)),
							   coalesce(policy.condition, 'true'));
			EXCEPTION WHEN undefined_table OR undefined_column OR ambiguous_column THEN
				RAISE EXCEPTION 'policy "%" of table % can''t be copied to the history', policy.name, deals
					USING ERRCODE = 'feature_not_supported',
						  DETAIL = format('It names the table itself: %s', policy.condition),
						  HINT = format('Make a policy of that name on %s yourself.', history);
			END;
			EXECUTE format('COMMENT ON POLICY %I ON %s IS %L', policy.name, history, mark);
			action := CASE WHEN policy.exists THEN 'remade' ELSE 'created' END;
		END IF;
		RETURN NEXT;
	END LOOP;
	RETURN QUERY SELECT * FROM pipelines._follow_deal(deals, secure AND NOT pipelines._secured(deals));
END
$$;
COMMENT ON FUNCTION pipelines._copy_policies(regclass) IS
	'Lets the row security of the history, and of the activities, follow that of the deals.';

-- Activities are seen, and written, by those who see their deal.  The table of an
-- application, which has rules of its own, is left alone; where pipelines are
-- protected, _secure() sees to it.
CREATE FUNCTION pipelines._follow_deal(deals regclass, secure boolean)
RETURNS TABLE (item text, action text)
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000 ROWS 5
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	activity record;
BEGIN
	SELECT c.oid::regclass AS relation, c.relrowsecurity AS secured, k.matches,
		   EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname = 'pipelines_of_deal') AS follows,
		   EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname <> 'pipelines_of_deal') AS others
	INTO activity
	FROM pipelines.tracked_table t
	JOIN pg_class d ON d.oid = t.relation
	JOIN pg_class c ON c.oid = t.activity AND c.relkind = 'r' AND c.relnamespace = d.relnamespace AND c.relname = d.relname || '_activity'
	CROSS JOIN LATERAL (SELECT string_agg(format('pipelines_deal.%I = %I.%I', r.column_name, c.relname, a.attname), ' AND ' ORDER BY r.n) AS matches
						FROM pipelines._roles(_follow_deal.deals) r
						LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = t.activity_columns ->> r.role AND a.attnum > 0 AND NOT a.attisdropped
						WHERE r.role ~ '^key[1-9]'
						HAVING count(*) = count(a.attname)) k
	WHERE t.relation = _follow_deal.deals;
	IF NOT FOUND OR activity.follows = (secure AND (activity.follows OR NOT activity.secured)) THEN
		RETURN;
	END IF;
	item := format('policy pipelines_of_deal on %s', activity.relation);
	IF activity.follows THEN
		EXECUTE format('DROP POLICY pipelines_of_deal ON %s', activity.relation);
		action := 'dropped';
		RETURN NEXT;
	ELSE
		EXECUTE format('CREATE POLICY pipelines_of_deal ON %s USING (EXISTS (SELECT FROM %s AS pipelines_deal WHERE %s))',
					   activity.relation, deals, activity.matches);
		EXECUTE format('COMMENT ON POLICY pipelines_of_deal ON %s IS %L', activity.relation,
					   'Made by pipelines: activities are seen and written by those who see their deal.');
		action := 'created';
		RETURN NEXT;
	END IF;
	IF activity.secured <> secure AND (secure OR NOT activity.others) THEN
		EXECUTE format('ALTER TABLE %s %s ROW LEVEL SECURITY', activity.relation, CASE WHEN secure THEN 'ENABLE' ELSE 'DISABLE' END);
		item := format('row security of %s', activity.relation);
		action := CASE WHEN secure THEN 'enabled' ELSE 'disabled' END;
		RETURN NEXT;
	END IF;
END
$$;
COMMENT ON FUNCTION pipelines._follow_deal(regclass, boolean) IS
	'Makes or drops the policy by which activities follow the row security of their deals; says what was done.';

CREATE FUNCTION pipelines.rebuild_views(deals regclass)
RETURNS TABLE (item text, action text)
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 100000 ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM pipelines._need_owner(deals);
	PERFORM 1 FROM pipelines._roles(deals);
	PERFORM pipelines._need_mapping(deals);
	RETURN QUERY SELECT * FROM pipelines._follow_changes(deals);
	RETURN QUERY SELECT * FROM pipelines._copy_policies(deals);
	RETURN QUERY SELECT * FROM pipelines._create_views(deals, true);
	PERFORM pipelines._comment(deals);
END
$$;
COMMENT ON FUNCTION pipelines.rebuild_views(regclass) IS
'Makes the views of a deals table anew: after columns were added, renamed or dropped, or the table itself was renamed or got another owner, and copies its policies to the history.  Columns and views follow the new names; grants are kept.  Returns what was done.
Errors: 42501 not the owner, 55000 not a deals table, 2BP01 something of yours stands on a view whose columns change (drop it first), 0A000 a policy needs a column that is not tracked.
Before PostgreSQL 15 no views are made on a table with row security, which is among what is returned; those that stand show nothing to whom the policies concern.';

CREATE FUNCTION pipelines.track(deals regclass, "column" name)
RETURNS void
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 100000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	registration record;
	attribute pg_attribute;
	role text;
	column_type text;
BEGIN
	PERFORM pipelines._need_owner(deals);
	PERFORM 1 FROM pipelines._roles(deals);
	PERFORM pipelines._need_mapping(deals);
	-- nobody may be changing deals from here on: else it could not be said since when
	EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', deals);
	PERFORM 1 FROM pipelines._follow_changes(deals);
	SELECT t.* INTO STRICT registration FROM pipelines.tracked_table t WHERE t.relation = track.deals;

	SELECT a.* INTO attribute FROM pg_attribute a
		WHERE a.attrelid = track.deals AND a.attname = track."column" AND a.attnum > 0 AND NOT a.attisdropped;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'column "%" of table % does not exist', "column", deals
			USING ERRCODE = 'undefined_column';
	END IF;
	IF EXISTS (SELECT FROM pipelines._roles(track.deals) r
			   WHERE r.column_name = track."column"
				AND (r.history_column IS NOT NULL OR r.role IN ('version', 'changed_at')))
	THEN
		RAISE EXCEPTION 'column "%" of table % is tracked already', "column", deals
			USING ERRCODE = 'duplicate_column';
	END IF;
	IF attribute.attgenerated = 'v' THEN
		RAISE EXCEPTION 'column "%" of table % can''t be tracked', "column", deals
			USING ERRCODE = 'feature_not_supported',
				  DETAIL = 'It is a virtual generated column: its value is stored nowhere.',
				  HINT = 'Track the columns that it is computed from.';
	END IF;
	column_type := pipelines._history_type(deals, "column", attribute.atttypid);

	PERFORM pipelines._make_room(registration.history, "column");
	IF NOT EXISTS (SELECT FROM pg_attribute a
				   WHERE a.attrelid = registration.history AND a.attname = track."column" AND NOT a.attisdropped)
	THEN
		EXECUTE format('ALTER TABLE %s ADD COLUMN %I %s', registration.history, "column", column_type);
	END IF;

	-- a column that had a role without a history keeps it; any other gets its
	-- own name for a role, or something like it where that means something else
	SELECT r.role INTO role FROM pipelines._roles(track.deals) r WHERE r.column_name = track."column";
	IF NOT FOUND THEN
		role := replace("column", '=', '-');
		WHILE registration.columns ? role OR role ~ '^(key[1-9]|@)'
			OR role IN (SELECT c.role FROM pipelines._deal_columns() c WHERE c.mapped) LOOP
			role := 'pipelines_' || role;
		END LOOP;
	END IF;
	PERFORM pipelines._register(deals, registration.history, registration.layout_id, registration.key,
								registration.columns || jsonb_build_object(role, "column"),
								registration.currency, registration.foreign_keys, registration.on_truncate,
								registration.tracked_since, registration.adopted,
								tracked => registration.tracked || jsonb_build_object(role, clock_timestamp()));
	PERFORM pipelines._drop_mapping(deals, registration.history);
	PERFORM pipelines._create_triggers(deals);
	PERFORM pipelines._comment(deals);
	-- only ours: a policy of somebody else may want one more column
	PERFORM pipelines._secure(deals);
	PERFORM pipelines._create_views(deals, true);
END
$$;
COMMENT ON FUNCTION pipelines.track(regclass, name) IS
'Keeps the past of one more column of a deals table from now on: adds it to the history.  as_of() shows NULL for earlier instants.  Locks the table for a moment.
Errors: 42501 not the owner, 42703 no such column, 42701 tracked already, 0A000 a type or a generated column that can''t be kept.';

-- After a DELETE that was not committed yet beside an INSERT of the same key,
-- the new life begins with the version that the deletion has, and the next of its
-- changes runs into the history of the old one.  Lift it above.
CREATE FUNCTION pipelines.repair(deals regclass)
RETURNS TABLE (deal text, was integer, version integer)
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 100000 ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	history regclass;
	key_columns text;
	matches text;
	as_text text;
BEGIN
	PERFORM pipelines._need_owner(deals);
	SELECT string_agg(format('d.%I', r.column_name), ', ' ORDER BY r.n),
		   CASE WHEN count(*) = 1 THEN format('b.%I::text', min(r.column_name::text))
				ELSE format('ROW(%s)::text', string_agg(format('b.%I', r.column_name), ', ' ORDER BY r.n)) END
	INTO key_columns, as_text
	FROM pipelines._roles(repair.deals) r
	WHERE r.role ~ '^key[1-9]';
	SELECT t.history INTO history FROM pipelines.tracked_table t WHERE t.relation = repair.deals;
	matches := pipelines._key_match(deals, 'h', 'd');

	EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', deals);
	IF to_regclass('pg_temp.pipelines_repair') IS NOT NULL THEN
		DROP TABLE pg_temp.pipelines_repair;
	END IF;
	EXECUTE format($sql$
		CREATE TEMPORARY TABLE pipelines_repair ON COMMIT DROP AS
		SELECT %1$s, %2$s AS was,
			   greatest(%3$s, l.valid_to) AS stage_entered_at, %4$s AS furthest_stage_id,
			   %5$s AS gate_stage_id,
			   CASE WHEN l.change = 'delete' THEN l.episode + 1 ELSE %6$s END AS episode,
			   l.version + 1 AS version,
			   greatest(%7$s, l.valid_to) AS changed_at, %8$s AS closed_at, %9$s AS closed_on
		FROM %10$s d
		CROSS JOIN LATERAL (
			SELECT h.%11$I AS version, h.%12$I AS valid_to, h.%15$I AS change, h.%16$I AS episode
			FROM %13$s h
			WHERE %14$s
			ORDER BY h.%11$I DESC
			LIMIT 1
		) l
		WHERE l.version >= %2$s$sql$,
		key_columns, pipelines._column(deals, 'version'), pipelines._column(deals, 'stage_entered_at'),
		pipelines._column(deals, 'furthest_stage_id'), pipelines._column(deals, 'gate_stage_id', 'integer'),
		pipelines._column(deals, 'episode'), pipelines._column(deals, 'changed_at'),
		pipelines._column(deals, 'closed_at', 'timestamptz'), pipelines._column(deals, 'closed_on', 'date'),
		deals, pipelines._own_column(history, 'version'), pipelines._own_column(history, 'valid_to'),
		history, matches, pipelines._own_column(history, 'change'),
		(SELECT r.history_column FROM pipelines._roles(repair.deals) r WHERE r.role = 'episode'));
	PERFORM pipelines._rebook(deals, 'pg_temp.pipelines_repair'::regclass);
	RETURN QUERY EXECUTE format('SELECT %s, b.was, b.version FROM pg_temp.pipelines_repair b ORDER BY 1', as_text);
	DROP TABLE pg_temp.pipelines_repair;
END
$$;
COMMENT ON FUNCTION pipelines.repair(regclass) IS
'Mends deals whose version the history has already (error 23S09): a key that was inserted again before its deletion was committed.  Their version becomes the next one, their times not earlier than the end of the last one.  Returns the deals, the version they had and the version they have.
Errors: 42501 not the owner, 55000 not a deals table.';

-- The guard goes, too: what was let go is its owner's again, and nothing of it
-- stands on the extension any more.
CREATE FUNCTION pipelines.release(deals regclass)
RETURNS void
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 100000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	registration record;
	part record;
	view regclass;
	as_of regprocedure;
BEGIN
	PERFORM pipelines._need_owner(deals);
	SELECT t.* INTO registration FROM pipelines.tracked_table t WHERE t.relation = release.deals;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'table % is not registered as a deals table', deals
			USING ERRCODE = 'object_not_in_prerequisite_state';
	END IF;
	-- in the order in which writers lock them
	EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', deals);
	FOR view IN SELECT v.view FROM pipelines._find_views(release.deals) v WHERE v.view IS NOT NULL LOOP
		EXECUTE format('DROP VIEW %s', view);
	END LOOP;
	as_of := pipelines._find_as_of(deals);
	IF as_of IS NOT NULL THEN
		EXECUTE format('DROP FUNCTION %s', as_of);
	END IF;

	-- the application goes on without us: it can't fill in the bookkeeping
	FOR part IN
		SELECT r.column_name AS name
		FROM pipelines._roles(release.deals) r
		JOIN pg_attribute a ON a.attrelid = release.deals AND a.attname = r.column_name
		WHERE a.attnotnull
			AND (r.role IN ('stage_entered_at', 'furthest_stage_id', 'episode', 'version', 'changed_at')
				 OR (r.role IN ('pipeline_id', 'stage_id') AND registration.adopted)
				 OR (r.role IN ('created_at', 'created_by') AND NOT registration.adopted))
			AND NOT EXISTS (SELECT FROM pg_index i
							WHERE i.indrelid = release.deals AND i.indisprimary AND a.attnum = ANY (i.indkey))
	LOOP
		EXECUTE format('ALTER TABLE %s ALTER COLUMN %I DROP NOT NULL', deals, part.name);
	END LOOP;

	IF registration.adopted THEN
		IF EXISTS (SELECT FROM pg_constraint c WHERE c.conrelid = release.deals AND c.conname = 'pipelines_filled') THEN
			EXECUTE format('ALTER TABLE %s DROP CONSTRAINT pipelines_filled', deals);
		END IF;
		DELETE FROM pipelines.adoption_plan a WHERE a.relation = release.deals;
		DELETE FROM pipelines.adoption a WHERE a.relation = release.deals;
		PERFORM pipelines._register_values(deals, '{}'::text[], '{}'::text[], '{}'::integer[], '{}'::boolean[], true);
	END IF;
	DELETE FROM pipelines.score_count c WHERE c.relation = release.deals;
	DELETE FROM pipelines.score_model m WHERE m.relation = release.deals;
	PERFORM pipelines._release_access(deals);

	-- clones on partitions go with their originals
	FOR part IN
		SELECT g.tgname, g.tgrelid::regclass AS relation
		FROM pg_trigger g
		JOIN pg_proc p ON p.oid = g.tgfoid AND p.pronamespace = 'pipelines'::regnamespace
		WHERE g.tgparentid = 0
			AND (g.tgrelid IN (SELECT r.relid FROM pipelines._parts(release.deals) r)
				 OR g.tgrelid IN (SELECT r.relid FROM pipelines._parts(registration.history) r))
		ORDER BY g.tgrelid, g.tgname
	LOOP
		EXECUTE format('DROP TRIGGER %I ON %s', part.tgname, part.relation);
	END LOOP;
	PERFORM pipelines._release_activity(registration.activity);
	PERFORM pipelines._unregister(deals);
END
$$;
COMMENT ON FUNCTION pipelines.release(regclass) IS
'Lets a deals table go: drops its views and triggers, the guard of its history included, and forgets it and what its scores are made of.  All columns, rows, the history and the activities stay; the bookkeeping may be NULL from now on.
Errors: 42501 not the owner, 55000 not a deals table, 2BP01 something of yours stands on a view.';

-- Deals that were changed while no trigger was there, as far as it can be
-- seen: the version before is not in the history or went elsewhere, or the
-- history has the present version already.  A row is its own newest version,
-- so a change that left the bookkeeping alone and the stage in place can't be
-- seen.
CREATE FUNCTION pipelines._changed_meanwhile(deals regclass)
RETURNS bigint
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	history regclass;
	answer bigint;
BEGIN
	SELECT t.history INTO history FROM pipelines.tracked_table t WHERE t.relation = _changed_meanwhile.deals;
	EXECUTE format($sql$
		SELECT count(*)
		FROM %1$s d
		LEFT JOIN %2$s h ON %3$s AND h.%4$I = %5$s - 1
		WHERE (%5$s > 1 AND h.%4$I IS NULL)
			OR h.%6$I > %7$s
			OR (h.%8$I <> 'delete' AND (h.%9$I <> %10$s OR h.%11$I <> %12$s))
			OR EXISTS (SELECT FROM %2$s l WHERE %13$s AND l.%4$I >= %5$s)$sql$,
		deals, history, pipelines._key_match(deals, 'h', 'd'), pipelines._own_column(history, 'version'), pipelines._column(deals, 'version'),
		pipelines._own_column(history, 'valid_to'), pipelines._column(deals, 'changed_at'),
		pipelines._own_column(history, 'change'),
		pipelines._own_column(history, 'to_pipeline_id'), pipelines._column(deals, 'pipeline_id'),
		pipelines._own_column(history, 'to_stage_id'), pipelines._column(deals, 'stage_id'), pipelines._key_match(deals, 'l', 'd'))
	INTO answer;
	RETURN answer;
END
$$;
COMMENT ON FUNCTION pipelines._changed_meanwhile(regclass) IS
	'How many deals were visibly changed without a trigger.';

CREATE FUNCTION pipelines.resume(deals_table regclass DEFAULT NULL)
RETURNS TABLE (deals regclass, item text, action text)
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000 ROWS 20
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	registration record;
	owner oid;
	step record;
	done text[];
	healthy boolean;
	condition text;
	many bigint;
BEGIN
	IF deals_table IS NOT NULL THEN
		PERFORM pipelines._need_owner(deals_table);
	END IF;
	-- the definitions have triggers of their own
	IF has_schema_privilege(current_user, 'pipelines', 'CREATE') THEN
		PERFORM pipelines.setup();
	ELSE
		PERFORM pipelines._need_definitions();
		IF NOT EXISTS (SELECT FROM pg_trigger g
					   JOIN pg_proc p ON p.oid = g.tgfoid AND p.pronamespace = 'pipelines'::regnamespace
					   WHERE g.tgrelid = to_regclass('pipelines.pipeline_stage'))
		THEN
			item := 'definitions';
			action := 'problem: their triggers are missing; an administrator must run SELECT pipelines.setup()';
			RETURN NEXT;
		END IF;
	END IF;
	IF deals_table IS NOT NULL
		AND NOT EXISTS (SELECT FROM pipelines.tracked_table t WHERE t.relation = deals_table)
	THEN
		RAISE EXCEPTION 'table % is not registered as a deals table', deals_table
			USING ERRCODE = 'object_not_in_prerequisite_state',
				  HINT = 'Deals tables are made by pipelines.create_deals().';
	END IF;

	FOR registration IN
		SELECT t.* FROM pipelines.tracked_table t
		WHERE deals_table IS NULL OR t.relation = deals_table
		ORDER BY t.relation::text
	LOOP
		deals := registration.relation;
		SELECT c.relowner INTO owner FROM pg_class c WHERE c.oid = registration.relation;
		IF NOT FOUND THEN
			item := 'table';
			action := 'forgotten: it does not exist any more';
			PERFORM pipelines._unregister(registration.relation);
			RETURN NEXT;
			CONTINUE;
		END IF;
		IF NOT pg_has_role(current_user, owner, 'USAGE') THEN
			item := 'table';
			action := format('left alone: it belongs to %s', owner::regrole);
			RETURN NEXT;
			CONTINUE;
		END IF;
		IF NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = registration.history) THEN
			item := 'history';
			action := 'problem: it does not exist any more; restore it, or let the table go with pipelines.release()';
			RETURN NEXT;
			CONTINUE;
		END IF;

		healthy := true;
		FOR step IN SELECT * FROM pipelines._mapping_problems(registration.relation) LOOP
			item := step.item;
			action := 'problem: ' || step.problem;
			healthy := false;
			RETURN NEXT;
		END LOOP;
		CONTINUE WHEN NOT healthy;

		FOR step IN
			SELECT * FROM pipelines._follow_changes(registration.relation)
			UNION ALL
			SELECT * FROM pipelines._create_triggers(registration.relation)
			UNION ALL
			SELECT * FROM pipelines._secure(registration.relation)
		LOOP
			item := step.item;
			action := step.action;
			RETURN NEXT;
		END LOOP;
		PERFORM pipelines._comment(registration.relation);

		-- a policy that can't be copied, or something in the way of a view, must
		-- not keep the rest away
		BEGIN
			SELECT array_agg(ARRAY[x.item, x.action]) INTO done
			FROM pipelines._copy_policies(registration.relation) x;
		EXCEPTION WHEN feature_not_supported OR duplicate_object THEN
			done := ARRAY[ARRAY['policies', 'problem: ' || SQLERRM]];
		END;
		BEGIN
			condition := pipelines._live_problem(registration.relation);
			IF condition IS NULL THEN
				SELECT done || array_agg(ARRAY[x.item, x.action]) INTO done
				FROM pipelines._create_views(registration.relation, false) x;
			ELSE
				done := done || ARRAY[ARRAY['which rows count as deals', 'problem: ' || condition]];
			END IF;
		EXCEPTION WHEN feature_not_supported OR duplicate_table OR duplicate_function OR insufficient_privilege THEN
			done := done || ARRAY[ARRAY['views', 'problem: ' || SQLERRM]];
		END;
		FOR many IN 1 .. coalesce(array_length(done, 1), 0) LOOP
			item := done[many][1];
			action := done[many][2];
			RETURN NEXT;
		END LOOP;

		many := pipelines._changed_meanwhile(registration.relation);
		IF many > 0 THEN
			item := 'rows';
			action := format('problem: %s deals were changed without their history; pipelines.verify() lists them', many);
			RETURN NEXT;
		END IF;
		many := pipelines._disagreeing(registration.relation);
		IF many > 0 THEN
			item := 'rows';
			action := format('problem: %s deals are elsewhere than the application''s column says; pipelines.follow_application() moves them', many);
			RETURN NEXT;
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION pipelines.resume(regclass) IS
'Makes again what a deals table needs and lacks: triggers, guards, policies, views, comments; of one table, or of all that the caller owns.  After CREATE EXTENSION that follows a DROP EXTENSION CASCADE, after pg_restore --disable-triggers or ALTER TABLE ... ENABLE TRIGGER ALL (which turn ENABLE ALWAYS off), and after new partitions were made or attached (they get their TRUNCATE triggers).  Drops nothing.  Those who may read the deals may read the views that are made again.  Reads the deals and their history once, to count deals that were changed meanwhile.
Returns what was done, and what must be mended first: rows whose action begins with "problem".
Errors: 42501 not the owner, 55000 not a deals table.';

CREATE FUNCTION pipelines.grant_access(deals regclass, role name, level text)
RETURNS void
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 100000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	registration record;
	relation pg_class;
	activity regclass;
	grantee text;
	part text;
BEGIN
	IF role IS NULL OR level IS NULL OR level NOT IN ('read', 'write', 'define') THEN
		RAISE EXCEPTION 'there is no level "%" of access', level
			USING ERRCODE = 'invalid_parameter_value',
				  HINT = 'It is ''read'', ''write'' (and read) or ''define'' (and both).';
	END IF;
	PERFORM pipelines._need_owner(deals);
	SELECT t.* INTO registration FROM pipelines.tracked_table t WHERE t.relation = grant_access.deals;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'table % is not registered as a deals table', deals
			USING ERRCODE = 'object_not_in_prerequisite_state',
				  HINT = 'Deals tables are made by pipelines.create_deals().';
	END IF;
	IF role = 'public' THEN
		grantee := 'PUBLIC';
	ELSIF EXISTS (SELECT FROM pg_roles r WHERE r.rolname = grant_access.role) THEN
		grantee := quote_ident(role);
	ELSE
		RAISE EXCEPTION 'role "%" does not exist', role
			USING ERRCODE = 'undefined_object',
				  HINT = 'Give the name as it is, without quotes; ''public'' means everybody.';
	END IF;
	SELECT c.* INTO STRICT relation FROM pg_class c WHERE c.oid = grant_access.deals;
	IF level = 'define' AND NOT pg_has_role(current_user,
			(SELECT c.relowner FROM pg_class c WHERE c.oid = 'pipelines.pipeline'::regclass), 'USAGE')
	THEN
		RAISE EXCEPTION 'only the owner of the definitions can let others define'
			USING ERRCODE = 'insufficient_privilege',
				  DETAIL = format('The definitions belong to %s.',
								  (SELECT c.relowner::regrole FROM pg_class c WHERE c.oid = 'pipelines.pipeline'::regclass)),
				  HINT = 'Grant the level write, and ask that role for the rest.';
	END IF;

	IF NOT has_schema_privilege(role, relation.relnamespace, 'USAGE') THEN
		IF has_schema_privilege(current_user, relation.relnamespace, 'USAGE WITH GRANT OPTION') THEN
			EXECUTE format('GRANT USAGE ON SCHEMA %s TO %s', relation.relnamespace::regnamespace, grantee);
		ELSE
			RAISE WARNING 'role % has no USAGE on schema %', grantee, relation.relnamespace::regnamespace
				USING HINT = 'Its owner must grant it.';
		END IF;
	END IF;

	PERFORM pipelines._copy_policies(deals);
	EXECUTE format('GRANT SELECT ON %s TO %s', deals, grantee);
	PERFORM pipelines._grant_history(registration.history, grantee, pipelines._secured(registration.history), false);
	SELECT c.oid::regclass INTO activity FROM pg_class c WHERE c.oid = registration.activity;
	IF activity IS NOT NULL THEN
		EXECUTE format('GRANT SELECT ON %s TO %s', activity, grantee);
	END IF;
	FOR part IN SELECT v.view::text FROM pipelines._find_views(grant_access.deals) v WHERE v.view IS NOT NULL LOOP
		EXECUTE format('GRANT SELECT ON %s TO %s', part, grantee);
	END LOOP;

	IF pipelines._find_as_of(deals) IS NOT NULL THEN
		EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', pipelines._find_as_of(deals), grantee);
	END IF;

	IF level IN ('write', 'define') THEN
		EXECUTE format('GRANT INSERT, UPDATE, DELETE ON %s TO %s', deals, grantee);
		IF activity IS NOT NULL THEN
			EXECUTE format('GRANT INSERT, UPDATE, DELETE ON %s TO %s', activity, grantee);
		END IF;
		FOR part IN
			SELECT d.objid::regclass::text
			FROM pg_depend d
			JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
			WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
				AND d.refobjid IN (grant_access.deals, activity) AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
		LOOP
			EXECUTE format('GRANT USAGE, SELECT ON SEQUENCE %s TO %s', part, grantee);
		END LOOP;
	END IF;
	IF level = 'define' THEN
		FOR part IN
			SELECT format('pipelines.%I', t.name)
			FROM unnest(ARRAY['layout', 'stage', 'pipeline', 'pipeline_stage', 'stage_map', 'stage_transition',
									'stage_activity', 'approval', 'deal_type']) t(name)
			WHERE to_regclass(format('pipelines.%I', t.name)) IS NOT NULL
		LOOP
			EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO %s', part, grantee);
		END LOOP;
	END IF;
END
$$;
COMMENT ON FUNCTION pipelines.grant_access(regclass, name, text) IS
'Gives a role (by its plain name; public: everybody) access to a deals table.
read: SELECT on the deals, their history, their activities and their views.  write: also INSERT, UPDATE and DELETE on the deals and their activities; nobody but the owner ever writes the history.  define: also INSERT, UPDATE and DELETE on the definitions, which only their owner can grant.
It only grants: nothing is remembered, and REVOKE takes it back.  Policies on the deals are copied to the history first.
While a pipeline is protected, the history is granted without the columns that tell where a deal went, and deals of that pipeline are seen by those only to whom grant_pipeline() gave it: this function decides about tables, that one about their rows.
Errors: 42501 not the owner, 42704 no such role, 22023 no such level, 55000 not a deals table, 0A000 a policy needs a column that is not tracked.';
