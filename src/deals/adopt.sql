-------------------------------------------------------------------------------
-- adopt.sql
--   How a table that an application has already becomes a deals table.
--
-- adopt() looks at the table, reads the picklist of its stage column, and puts
-- what it proposes into pipelines.adoption_plan, where the owner of the table
-- edits it.  Applied, it makes a pipeline of the plan and adds our columns: with
-- constant defaults, so that the rows that are there have them at once.  What
-- differs from row to row (the stage, and what follows from it) is filled in
-- below the executor by _adopt_fill(), in one go or in batches beside writers;
-- a row that is changed before its turn is completed by the trigger.
--
-- What is asked for travels as one jsonb object, the arguments; what was found
-- out about it as another, the facts, see _adoption_facts().
-------------------------------------------------------------------------------

CREATE FUNCTION pipelines._adoption_instant() RETURNS timestamptz
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE COST 1
AS 'MODULE_PATHNAME', 'pipelines_adoption_instant';
COMMENT ON FUNCTION pipelines._adoption_instant() IS
'The instant that all changes of this transaction bear.';

CREATE FUNCTION pipelines._is_condition(deals regclass, condition text, what text) RETURNS boolean
LANGUAGE c STABLE STRICT PARALLEL SAFE COST 100
AS 'MODULE_PATHNAME', 'pipelines_is_condition';
COMMENT ON FUNCTION pipelines._is_condition(regclass, text, text) IS
'Is the text a condition over the columns of the table, of immutable functions of pg_catalog, and nothing else, so that it can stand in parentheses in a view? what: how errors call it. Raises 42601 for what is no SQL, 42703 for what is no column, 0A000 for more than a condition may use.';

CREATE FUNCTION pipelines._register_adoption(relation regclass, application jsonb, live text) RETURNS boolean
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000
AS 'MODULE_PATHNAME', 'pipelines_register_adoption';
COMMENT ON FUNCTION pipelines._register_adoption(regclass, jsonb, text) IS
'Notes in pipelines.tracked_table what concerns an adopted table, in the name of the definitions'' owner. The caller must own the table (42501).';

CREATE FUNCTION pipelines._register_values(relation regclass, part text[], value text[],
	stage_id integer[], is_written boolean[], replace boolean) RETURNS bigint
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE COST 1000
AS 'MODULE_PATHNAME', 'pipelines_register_values';
COMMENT ON FUNCTION pipelines._register_values(regclass, text[], text[], integer[], boolean[], boolean) IS
'Writes rows of pipelines.stage_value, all of a table anew or some of them, in the name of the definitions'' owner. The caller must own the table (42501). Returns how many.';

CREATE FUNCTION pipelines._adopt_fill(relation regclass, first_block bigint, blocks bigint) RETURNS bigint
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE COST 1000000
AS 'MODULE_PATHNAME', 'pipelines_adopt_fill';
COMMENT ON FUNCTION pipelines._adopt_fill(regclass, bigint, bigint) IS
'Completes rows of an adopted table (or one partition of it) that were there before: those in some of its blocks, or all (0 blocks). No trigger fires. Returns how many. The caller must own the table (42501).';

-- A column of the table by its plain name.
CREATE FUNCTION pipelines._adoption_column(deals regclass, name text, what text)
RETURNS pg_attribute
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	attribute pg_attribute;
BEGIN
	SELECT a.* INTO attribute FROM pg_attribute a
		WHERE a.attrelid = _adoption_column.deals AND a.attname = _adoption_column.name
			AND a.attnum > 0 AND NOT a.attisdropped;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'column "%" of table % does not exist', name, deals
			USING ERRCODE = 'undefined_column',
				  DETAIL = format('It was named as the column for %s.  Columns: %s.', what,
								  (SELECT string_agg(a.attname, ', ' ORDER BY a.attnum) FROM pg_attribute a
								   WHERE a.attrelid = _adoption_column.deals AND a.attnum > 0 AND NOT a.attisdropped)),
				  HINT = 'Give the plain name, without quotes.';
	END IF;
	RETURN attribute;
END
$$;
COMMENT ON FUNCTION pipelines._adoption_column(regclass, text, text) IS
	'A column of a table to be adopted; raises 42703 if there is none.';

-- Can this relation be adopted at all?
CREATE FUNCTION pipelines._adoption_check(deals regclass)
RETURNS void
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	relation pg_class;
	other text;
BEGIN
	PERFORM pipelines._need_owner(deals);
	SELECT c.* INTO STRICT relation FROM pg_class c WHERE c.oid = _adoption_check.deals;
	IF relation.relkind NOT IN ('r', 'p') THEN
		RAISE EXCEPTION '% can''t be adopted: it is %', deals,
				CASE relation.relkind WHEN 'v' THEN 'a view' WHEN 'm' THEN 'a materialized view'
					WHEN 'f' THEN 'a foreign table' ELSE 'not a table' END
			USING ERRCODE = CASE relation.relkind WHEN 'f' THEN 'feature_not_supported' ELSE 'wrong_object_type' END,
				  DETAIL = CASE relation.relkind
					WHEN 'f' THEN 'What is changed at the other server can''t be seen from here, so that no history could be kept.'
					WHEN 'v' THEN 'A view has no rows of its own that could be tracked.'
					ELSE 'Only tables can be tracked.' END,
				  HINT = CASE relation.relkind
					WHEN 'f' THEN 'Adopt the table in the database where it is, or adopt a table here that takes over its rows.'
					WHEN 'v' THEN 'Adopt the table that it shows; writing through the view goes on working.'
					ELSE 'Adopt a table.' END;
	ELSIF relation.relpersistence <> 'p' THEN
		RAISE EXCEPTION 'table % can''t be adopted: it is %', deals,
				CASE relation.relpersistence WHEN 't' THEN 'temporary' ELSE 'unlogged' END
			USING ERRCODE = 'feature_not_supported',
				  DETAIL = 'Its history would outlive it.',
				  HINT = CASE relation.relpersistence WHEN 't' THEN 'Adopt an ordinary table.'
							ELSE format('ALTER TABLE %s SET LOGGED first.', deals) END;
	ELSIF relation.relispartition THEN
		RAISE EXCEPTION 'table % can''t be adopted: it is a partition', deals
			USING ERRCODE = 'wrong_object_type',
				  HINT = format('Adopt %s.', (SELECT p.relid FROM pg_partition_ancestors(_adoption_check.deals) p
											  WHERE NOT (SELECT c.relispartition FROM pg_class c WHERE c.oid = p.relid)));
	ELSIF relation.reloftype <> 0 THEN
		RAISE EXCEPTION 'table % can''t be adopted: it is a table of type %', deals, relation.reloftype::regtype
			USING ERRCODE = 'feature_not_supported',
				  DETAIL = 'It can''t have columns that its type does not have.',
				  HINT = format('ALTER TABLE %s NOT OF first.', deals);
	END IF;
	PERFORM pipelines._check_deals_name(relation.relnamespace::regnamespace::text, relation.relname::text);

	SELECT string_agg(x.relid::regclass::text, ', ' ORDER BY x.relid::regclass::text) INTO other
	FROM (SELECT i.inhrelid AS relid FROM pg_inherits i
		  WHERE i.inhparent = _adoption_check.deals AND relation.relkind = 'r'
		  UNION ALL
		  SELECT i.inhparent FROM pg_inherits i WHERE i.inhrelid = _adoption_check.deals) x;
	IF other IS NOT NULL THEN
		RAISE EXCEPTION 'table % can''t be adopted: it inherits, or is inherited', deals
			USING ERRCODE = 'feature_not_supported',
				  DETAIL = format('Triggers are not inherited: what is written to a child would have no history.  Parents and children: %s.', other),
				  HINT = 'Use declarative partitioning, or ALTER TABLE ... NO INHERIT.';
	END IF;
	SELECT string_agg(p.relid::text, ', ' ORDER BY p.relid::text) INTO other
	FROM pg_partition_tree(_adoption_check.deals) p JOIN pg_class c ON c.oid = p.relid
	WHERE c.relkind = 'f';
	IF other IS NOT NULL THEN
		RAISE EXCEPTION 'table % can''t be adopted: it has foreign partitions', deals
			USING ERRCODE = 'feature_not_supported',
				  DETAIL = format('Foreign partitions: %s.', other),
				  HINT = 'DETACH them first.';
	END IF;
	IF to_regclass('pipelines.tracked_table') IS NULL THEN
		RETURN;
	END IF;
	IF EXISTS (SELECT FROM pipelines.tracked_table t WHERE t.relation = _adoption_check.deals) THEN
		RAISE EXCEPTION 'table % is a deals table already', deals
			USING ERRCODE = 'duplicate_object',
				  HINT = CASE WHEN pipelines._adoption_open(deals)
					THEN format('Its adoption was interrupted: CALL pipelines.adopt_in_batches(%L) goes on with it, pipelines.release(%L) takes it back.', deals, deals)
					ELSE 'A new value of its stage column is made known by pipelines.add_stage_value(); pipelines.release() lets the table go.' END;
	END IF;
END
$$;
COMMENT ON FUNCTION pipelines._adoption_check(regclass) IS
	'Raises an error if a relation can''t be adopted: 42501, 42809, 0A000, 42622, 42939, 42710.';

-- Is the table registered, but not all of its rows filled in?
CREATE FUNCTION pipelines._adoption_open(deals regclass)
RETURNS boolean
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT coalesce((SELECT t.application ? 'unfilled' FROM pipelines.tracked_table t WHERE t.relation = $1), false)
$$;
COMMENT ON FUNCTION pipelines._adoption_open(regclass) IS
	'Was the adoption of a table begun, but not ended?';

-- The columns that every adopted table gets unless one of its own plays the
-- part.  What else deals may have is added only when columns => says so.
CREATE FUNCTION pipelines._adoption_needs()
RETURNS text[]
LANGUAGE sql IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT '{pipeline_id,stage_id,probability,forecast_category,closed_at,closed_on,close_reason,competitor,close_notes,next_action_at,stage_entered_at,furthest_stage_id,gate_stage_id,episode,version,changed_at}'::text[]
$$;
COMMENT ON FUNCTION pipelines._adoption_needs() IS
	'The parts that every adopted table has a column for.';

-- A role of _deal_columns() that a column of the application may play, and
-- whether a column of that type can.
CREATE FUNCTION pipelines._adoption_fits(role text, type oid)
RETURNS boolean
LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 100
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE
		WHEN $1 IN ('amount', 'quantity', 'cost') THEN t.plain IN ('numeric', 'double precision', 'real', 'bigint', 'integer', 'smallint', 'money')
		WHEN $1 = 'probability' THEN t.plain IN ('numeric', 'double precision', 'real', 'bigint', 'integer', 'smallint')
		WHEN $1 IN ('expected_close_on', 'next_action_at', 'created_at', 'application_since')
			THEN t.plain IN ('date', 'timestamp without time zone', 'timestamp with time zone')
		WHEN $1 = 'closed_at' THEN t.plain = 'timestamp with time zone'
		WHEN $1 = 'closed_on' THEN t.plain = 'date'
		WHEN $1 IN ('close_reason', 'competitor', 'close_notes', 'forecast_category') THEN t.plain IN ('text', 'character varying')
		ELSE true END
	FROM (SELECT pipelines._plain_type($2)) t(plain)
$$;
COMMENT ON FUNCTION pipelines._adoption_fits(text, oid) IS
	'Can a column of this type play this part in an adopted table?';

-- Everything that can be known of an adoption before its values are looked at:
--   key, columns (part -> column that is there), add (part -> name of a column to
--   be added), kind of the stage column, lookup, currency, scale of
--   probabilities, history, make_activity, live, remarks
CREATE FUNCTION pipelines._adoption_facts(deals regclass, arguments jsonb)
RETURNS jsonb
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100000
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	relation pg_class;
	facts jsonb := '{}';
	columns jsonb := '{}';
	additions jsonb := '{}';
	named jsonb := '{}';
	remarks text[] := '{}';
	wanted jsonb;
	part record;
	attribute pg_attribute;
	stage pg_attribute;
	key text[];
	other text;
	names text[];
	constraint_found record;
	plain text;
BEGIN
	SELECT c.* INTO STRICT relation FROM pg_class c WHERE c.oid = deals;

	-- the stage
	IF arguments ->> 'stage' IS NULL THEN
		RAISE EXCEPTION 'the column that says the stage must be named'
			USING ERRCODE = 'null_value_not_allowed',
				  HINT = format('As in adopt(%L, stage => ''state'').', deals);
	END IF;
	stage := pipelines._adoption_column(deals, arguments ->> 'stage', 'the stage');
	plain := pipelines._plain_type(stage.atttypid);
	IF stage.attgenerated <> '' THEN
		RAISE EXCEPTION 'column "%" of table % can''t be the column for the stage: it is a generated column', stage.attname, deals
			USING ERRCODE = 'feature_not_supported',
				  HINT = 'Name the column that it is computed from.';
	ELSIF plain IS NULL OR (SELECT t.typtype <> 'e' AND plain NOT IN ('text', 'character varying', 'bpchar', 'character', 'name',
				'smallint', 'integer', 'bigint', 'numeric', 'boolean', 'uuid', '"char"') AND t.typname <> 'citext'
			FROM pg_type t WHERE t.oid = plain::regtype) THEN
		RAISE EXCEPTION 'column "%" of table % can''t be the column for the stage: it has type %', stage.attname, deals,
				format_type(stage.atttypid, stage.atttypmod)
			USING ERRCODE = 'datatype_mismatch',
				  HINT = 'It must be an enum, text, an integer, or a reference to a table of stages.';
	END IF;
	columns := jsonb_build_object('application_stage', stage.attname);

	-- what kind of picklist has it?
	SELECT c.confrelid::regclass AS lookup, a.attname AS key INTO constraint_found
	FROM pg_constraint c
	JOIN pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = c.confkey[1]
	WHERE c.conrelid = deals AND c.contype = 'f' AND c.conkey = ARRAY[stage.attnum] AND c.conparentid = 0
	ORDER BY c.oid LIMIT 1;
	IF FOUND THEN
		facts := facts || jsonb_build_object('kind', 'lookup', 'lookup', constraint_found.lookup::oid,
											 'lookup_key', constraint_found.key);
	ELSIF (SELECT t.typtype = 'e' FROM pg_type t WHERE t.oid = plain::regtype) THEN
		facts := facts || jsonb_build_object('kind', 'enum', 'enum', plain::regtype::oid);
	ELSE
		names := pipelines._checked_values(deals, stage.attnum);
		facts := facts || CASE WHEN names IS NOT NULL THEN jsonb_build_object('kind', 'check', 'values', to_jsonb(names))
			WHEN plain IN ('smallint', 'integer', 'bigint', 'numeric') THEN '{"kind": "number"}' ELSE '{"kind": "text"}' END;
	END IF;

	-- the key
	key := ARRAY(SELECT k.value FROM jsonb_array_elements_text(nullif(arguments -> 'key', 'null')) WITH ORDINALITY k(value, n) ORDER BY k.n);
	IF cardinality(key) = 0 THEN
		SELECT array_agg(a.attname::text ORDER BY k.n) INTO key
		FROM pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, n)
		JOIN pg_attribute a ON a.attrelid = deals AND a.attnum = k.attnum
		WHERE i.indrelid = deals AND i.indisprimary AND k.n <= i.indnkeyatts;
		IF key IS NULL THEN
			RAISE EXCEPTION 'table % has no primary key', deals
				USING ERRCODE = 'object_not_in_prerequisite_state',
					  DETAIL = 'The history knows a deal by its key, which never changes.',
					  HINT = 'Add a primary key, or name the columns of a unique index: key => ''{id}''.';
		END IF;
	ELSE
		IF cardinality(key) > (SELECT count(DISTINCT k.name) FROM unnest(key) k(name)) THEN
			RAISE EXCEPTION 'a column stands twice in the key of table %', deals
				USING ERRCODE = 'invalid_parameter_value',
					  DETAIL = format('The key: %s.', key::text);
		END IF;
		FOR part IN SELECT k.name FROM unnest(key) k(name) LOOP
			attribute := pipelines._adoption_column(deals, part.name, 'the key');
			IF NOT attribute.attnotnull THEN
				RAISE EXCEPTION 'column "%" of table % can''t be part of the key: it may be NULL', part.name, deals
					USING ERRCODE = 'not_null_violation',
						  HINT = format('ALTER TABLE %s ALTER COLUMN %I SET NOT NULL first.', deals, part.name);
			END IF;
		END LOOP;
		-- on a partitioned table a unique index needs the partition key, too
		IF relation.relkind = 'r' AND NOT EXISTS (
			SELECT FROM pg_index i
			WHERE i.indrelid = deals AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
				AND (SELECT array_agg(a.attname::text ORDER BY a.attname) FROM pg_attribute a
					 WHERE a.attrelid = deals AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1]))
					= (SELECT array_agg(DISTINCT k.name ORDER BY k.name) FROM unnest(key) k(name)))
		THEN
			RAISE EXCEPTION 'columns % of table % are not unique', array_to_string(key, ', '), deals
				USING ERRCODE = 'invalid_foreign_key',
					  DETAIL = 'There is no unique index on exactly these columns.',
					  HINT = format('CREATE UNIQUE INDEX CONCURRENTLY ON %s (%s);', deals,
									(SELECT string_agg(quote_ident(k.name), ', ') FROM unnest(key) k(name)));
		END IF;
	END IF;
	-- a unique index may have an operator class of its own, the primary key of the history
	-- has none; and views and reports know the operators of pg_catalog alone
	FOR part IN
		SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, pipelines._is_ordered(a.atttypid) AS ordered
		FROM unnest(key) WITH ORDINALITY k(name, n)
		JOIN pg_attribute a ON a.attrelid = deals AND a.attname = k.name AND a.attnum > 0
		ORDER BY k.n
	LOOP
		IF NOT part.ordered THEN
			RAISE EXCEPTION 'column "%" of table % can''t be part of the key: type % has no default operator class for B-tree indexes', part.name, deals, part.type
				USING ERRCODE = 'undefined_object',
					  DETAIL = 'The history of the deals gets a primary key, which begins with the key of the deals and uses such operator classes.',
					  HINT = 'Name a unique index on columns of other types by key => ....';
		END IF;
		BEGIN
			EXECUTE format('SELECT d.%1$I = d.%1$I FROM %2$s d WHERE false', part.name, deals);
		EXCEPTION WHEN undefined_function OR ambiguous_function THEN
			RAISE EXCEPTION 'column "%" of table % can''t be part of the key: no operator of pg_catalog compares values of type %', part.name, deals, part.type
				USING ERRCODE = 'undefined_function',
					  DETAIL = 'Views and reports find the history of a deal by its key, with operators of PostgreSQL alone.',
					  HINT = 'Name a unique index on columns of other types by key => ....';
		END;
	END LOOP;
	IF stage.attname = ANY (key) THEN
		RAISE EXCEPTION 'column "%" of table % can''t be both the stage and part of the key', stage.attname, deals
			USING ERRCODE = 'invalid_parameter_value',
				  DETAIL = 'The key of a deal never changes, its stage does.',
				  HINT = 'Name another unique index by key => ....';
	END IF;

	-- the other columns of the application
	SELECT jsonb_object_agg(x.role, x.name) INTO wanted
	FROM (SELECT w.role, arguments ->> w.argument AS name
		  FROM (VALUES ('amount', 'amount'), ('close_date', 'expected_close_on'), ('owner', 'owner'),
				('probability', 'probability'), ('outcome', 'application_outcome'),
				('since', 'application_since')) w(argument, role)) x
	WHERE x.name IS NOT NULL;
	wanted := coalesce(wanted, '{}');
	-- a currency is a column, or the code of one
	IF arguments ->> 'currency' IS NOT NULL THEN
		IF arguments ->> 'currency' ~ '^[A-Z]{3}$'
			AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = deals AND a.attname = arguments ->> 'currency' AND NOT a.attisdropped)
		THEN
			facts := facts || jsonb_build_object('currency', arguments ->> 'currency');
		ELSE
			wanted := wanted || jsonb_build_object('currency', arguments ->> 'currency');
		END IF;
	END IF;
	IF jsonb_typeof(arguments -> 'columns') NOT IN ('object', 'null') THEN
		RAISE EXCEPTION 'columns must be a JSON object'
			USING ERRCODE = 'invalid_parameter_value',
				  DETAIL = format('It is: %s.', left(arguments ->> 'columns', 200)),
				  HINT = 'columns => is an object: {"part": "column"}.';
	END IF;
	FOR part IN
		SELECT w.key AS role, w.value AS name, false AS may_be_added, 1 AS n FROM jsonb_each_text(wanted) w
		UNION ALL
		SELECT w.key, w.value, true, 2 FROM jsonb_each_text(nullif(arguments -> 'columns', 'null')) w
		ORDER BY n, role
	LOOP
		-- what views show, and nothing else looks at
		IF part.role IN ('name', 'account', 'parent_account') THEN
			attribute := pipelines._adoption_column(deals, part.name, part.role);
			named := named || jsonb_build_object(part.role, part.name);
			CONTINUE;
		END IF;
		IF part.role NOT LIKE 'application\_%'
			AND part.role NOT IN (SELECT c.role FROM pipelines._deal_columns() c WHERE c.mapped)
		THEN
			RAISE EXCEPTION 'there is no part "%" for a column of deals', part.role
				USING ERRCODE = 'invalid_parameter_value',
					  DETAIL = format('Parts: name, account, parent_account, %s.', (SELECT string_agg(c.role, ', ' ORDER BY c.n) FROM pipelines._deal_columns() c WHERE c.mapped)),
					  HINT = 'columns => is an object: {"part": "column"}.';
		END IF;
		IF columns ? part.role OR additions ? part.role THEN
			RAISE EXCEPTION 'two columns are named for the part "%"', part.role
				USING ERRCODE = 'invalid_parameter_value',
					  DETAIL = format('"%s" and "%s".', coalesce(columns ->> part.role, additions ->> part.role), part.name);
		END IF;
		SELECT a.* INTO attribute FROM pg_attribute a
			WHERE a.attrelid = deals AND a.attname = part.name AND a.attnum > 0 AND NOT a.attisdropped;
		IF NOT FOUND THEN
			IF NOT part.may_be_added THEN
				PERFORM pipelines._adoption_column(deals, part.name, part.role);
			END IF;
			IF octet_length(part.name) NOT BETWEEN 1 AND 63 THEN
				RAISE EXCEPTION 'improper name for a column: "%"', part.name
					USING ERRCODE = 'invalid_name';
			END IF;
			additions := additions || jsonb_build_object(part.role, part.name);
			CONTINUE;
		END IF;
		IF part.role IN ('pipeline_id', 'stage_id', 'stage_entered_at', 'furthest_stage_id', 'gate_stage_id',
						 'episode', 'version', 'changed_at')
		THEN
			RAISE EXCEPTION 'column "%" of table % can''t be the column for %', part.name, deals, part.role
				USING ERRCODE = 'duplicate_column',
					  DETAIL = 'We write that column ourselves: it must be a new one.',
					  HINT = format('Give a name that is free, or leave it out to have it called %I.',
									CASE WHEN part.name = part.role THEN 'pipelines_' || part.role ELSE part.role END);
		ELSIF part.name = ANY (key) OR part.name IN (SELECT e.value FROM jsonb_each_text(columns) e)
		THEN
			RAISE EXCEPTION 'column "%" of table % can''t play two parts', part.name, deals
				USING ERRCODE = 'invalid_parameter_value',
					  DETAIL = format('It was named for %s, and is %s already.', part.role,
									  coalesce((SELECT e.key FROM jsonb_each_text(columns) e WHERE e.value = part.name), 'part of the key'));
		ELSIF NOT pipelines._adoption_fits(part.role, attribute.atttypid) THEN
			RAISE EXCEPTION 'column "%" of table % can''t be the column for %: it has type %', part.name, deals, part.role,
					format_type(attribute.atttypid, attribute.atttypmod)
				USING ERRCODE = 'datatype_mismatch',
					  HINT = CASE WHEN part.role IN ('closed_at', 'closed_on')
						THEN 'Leave it out: a column of ours is added, and filled from close_date.'
						ELSE 'Leave it out, or alter its type.' END;
		ELSIF part.role IN ('closed_at', 'closed_on', 'application_outcome') AND attribute.attgenerated <> '' THEN
			RAISE EXCEPTION 'column "%" of table % can''t be the column for %: it is a generated column', part.name, deals, part.role
				USING ERRCODE = 'feature_not_supported',
					  HINT = 'Name the column that it is computed from.';
		END IF;
		IF attribute.attgenerated = 'v' THEN
			RAISE EXCEPTION 'column "%" of table % can''t be the column for %: it is a virtual generated column', part.name, deals, part.role
				USING ERRCODE = 'feature_not_supported',
					  HINT = 'Its value is stored nowhere, so that it has no past.  Make it a stored one, or leave it out.';
		END IF;
		columns := columns || jsonb_build_object(part.role, part.name);
	END LOOP;

	PERFORM pipelines._history_type(deals, a.attname, a.atttypid)
	FROM pg_attribute a
	WHERE a.attrelid = deals AND a.attnum > 0 AND NOT a.attisdropped
		AND (a.attname = ANY (key)
			 OR a.attname IN (SELECT e.value FROM jsonb_each_text(columns) e LEFT JOIN pipelines._deal_columns() c ON c.role = e.key
							  WHERE c.tracked IS NOT FALSE));

	-- deals never move between partitions
	SELECT string_agg(quote_ident(a.attname), ', ') INTO other
	FROM pg_partitioned_table p
	JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = ANY (p.partattrs::int2[])
	WHERE p.partrelid IN (SELECT r.relid FROM pipelines._parts(deals) r)
		AND a.attname IN (columns ->> 'application_stage', columns ->> 'application_outcome');
	IF other IS NOT NULL THEN
		RAISE EXCEPTION 'table % can''t be adopted: it is partitioned by its stage', deals
			USING ERRCODE = 'feature_not_supported',
				  DETAIL = format('A deal must never move to another partition, but %s decides it.', other),
				  HINT = 'Partition the table by a column that never changes.';
	END IF;
	SELECT string_agg(DISTINCT quote_ident(a.attname), ', ') INTO other
	FROM pg_partitioned_table p
	JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = ANY (p.partattrs::int2[])
	WHERE p.partrelid IN (SELECT r.relid FROM pipelines._parts(deals) r) AND a.attname <> ALL (key);
	IF other IS NOT NULL THEN
		remarks := remarks || format('It is partitioned by %s, which can''t be changed any more.', other);
	END IF;

	-- what we add
	FOR part IN
		SELECT c.role FROM pipelines._deal_columns() c
		WHERE c.role = ANY (pipelines._adoption_needs()) AND NOT columns ? c.role AND NOT additions ? c.role
		ORDER BY c.n
	LOOP
		additions := additions || jsonb_build_object(part.role,
			CASE WHEN EXISTS (SELECT FROM pg_attribute a
							  WHERE a.attrelid = deals AND a.attname = part.role AND a.attnum > 0 AND NOT a.attisdropped)
					OR part.role IN (SELECT e.value FROM jsonb_each_text(additions) e)
				THEN 'pipelines_' || part.role ELSE part.role END);
	END LOOP;
	SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) INTO other
	FROM pg_attribute a
	JOIN jsonb_each_text(additions) e ON true
	LEFT JOIN pipelines._deal_columns() c ON c.role = e.key
	WHERE a.attrelid = deals AND a.attnum > 0 AND NOT a.attisdropped
		AND (a.attname = e.value
			 OR (a.attname = e.key AND col_description(a.attrelid, a.attnum) = c.comment));
	IF other IS NOT NULL THEN
		RAISE EXCEPTION 'table % has columns already that an adoption would add', deals
			USING ERRCODE = 'duplicate_column',
				  DETAIL = format('Columns: %s.  They may be left from an earlier adoption.', other),
				  HINT = 'Drop or rename them, or give ours other names by columns =>.';
	END IF;

	-- probabilities: percent, or a fraction of 1
	IF columns ? 'probability' THEN
		facts := facts || jsonb_build_object('scale', coalesce(arguments ->> 'scale', pipelines._adoption_scale(deals, columns ->> 'probability')));
		IF facts ->> 'scale' NOT IN ('percent', 'fraction') THEN
			RAISE EXCEPTION 'there is no scale "%" of probabilities', facts ->> 'scale'
				USING ERRCODE = 'invalid_parameter_value',
					  HINT = 'It is ''percent'' or ''fraction''.';
		END IF;
	END IF;

	-- what is made for the table must find its name free
	other := coalesce(arguments ->> 'history', relation.relname || '_history');
	facts := facts || jsonb_build_object('history', other);
	IF octet_length(other) NOT BETWEEN 1 AND 63 - octet_length('_default') THEN
		RAISE EXCEPTION '%', CASE WHEN other = '' THEN 'a history has no name' ELSE format('name "%s" is too long for a history', other) END
			USING ERRCODE = CASE WHEN other = '' THEN 'invalid_name' ELSE 'name_too_long' END,
				  HINT = 'Give another one by history =>.';
	END IF;
	SELECT string_agg(quote_ident(c.relname), ', ' ORDER BY c.relname) INTO other
	FROM pg_class c
	WHERE c.relnamespace = relation.relnamespace
		AND c.relname IN (SELECT facts ->> 'history'
						  UNION ALL SELECT relation.relname || '_' || v.kind FROM pipelines._view_kinds() v);
	IF other IS NOT NULL THEN
		RAISE EXCEPTION 'table % can''t be adopted: names are taken that are needed', deals
			USING ERRCODE = 'duplicate_table',
				  DETAIL = format('In schema %s there is already %s.', relation.relnamespace::regnamespace, other),
				  HINT = 'Rename what is there.  A history may have another name: history => ....';
	END IF;

	-- activities are in a table of their own, unless one is named
	IF arguments ->> 'activity' IS NULL THEN
		IF EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = relation.relnamespace AND c.relname = relation.relname || '_activity') THEN
			remarks := remarks || format('There is a table %I: name it by activity => if it has the activities of these deals.',
										 relation.relname || '_activity');
		ELSE
			facts := facts || jsonb_build_object('make_activity', relation.relname || '_activity');
		END IF;
	END IF;

	-- which rows count as deals
	IF arguments ->> 'live' IS NOT NULL THEN
		IF NOT pipelines._is_condition(deals, arguments ->> 'live', pipelines._live_name(deals)) THEN
			RAISE EXCEPTION 'live is not a condition: %', arguments ->> 'live'
				USING ERRCODE = 'syntax_error',
					  HINT = 'For example live => ''deleted_at IS NULL''.';
		END IF;
		EXECUTE format(E'SELECT FROM %s WHERE (%s\n) LIMIT 0', deals, arguments ->> 'live');
		facts := facts || jsonb_build_object('live', arguments ->> 'live');
	END IF;

	RETURN facts || jsonb_build_object('key', to_jsonb(key), 'columns', columns, 'add', additions, 'named', named,
									   'remarks', to_jsonb(remarks), 'stage_type', plain);
END
$$;
COMMENT ON FUNCTION pipelines._adoption_facts(regclass, jsonb) IS
	'What can be known of an adoption before the values of its stage column are looked at. Raises 22004, 22023, 42703, 42701, 42804, 0A000, 42P07, 55000.';

-- The list of a CHECK such as state IN ('a', 'b'), on the column or on its
-- domain, in the order of the list; NULL: none.
CREATE FUNCTION pipelines._checked_values(deals regclass, attnum smallint)
RETURNS text[]
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	definition text;
	list text;
	found text[];
BEGIN
	FOR definition IN
		WITH RECURSIVE domain(oid) AS (
			SELECT a.atttypid FROM pg_attribute a WHERE a.attrelid = _checked_values.deals AND a.attnum = _checked_values.attnum
			UNION ALL
			SELECT t.typbasetype FROM domain d JOIN pg_type t ON t.oid = d.oid WHERE t.typtype = 'd'
		)
		SELECT pg_get_constraintdef(c.oid)
		FROM pg_constraint c
		WHERE c.contype = 'c'
			AND ((c.conrelid = _checked_values.deals AND c.conkey = ARRAY[_checked_values.attnum])
				 OR (c.contypid <> 0 AND c.contypid IN (SELECT d.oid FROM domain d)))
		ORDER BY c.conrelid = 0, c.oid
	LOOP
		IF definition !~ '= ANY \(' OR definition ~ '<>|NOT ' THEN
			CONTINUE;
		END IF;
		list := substring(definition FROM 'ARRAY\[(.*?)\](?:\)|::)');
		IF list IS NULL THEN
			-- '{a,b}'::text[]
			list := substring(definition FROM '= ANY \(+''((?:[^'']|'''')*)''::');
			IF list IS NULL THEN
				CONTINUE;
			END IF;
			RETURN replace(list, '''''', '''')::text[];
		END IF;
		IF list ~ '''' THEN
			SELECT array_agg(replace(m[1], '''''', '''') ORDER BY n) INTO found
			FROM regexp_matches(list, '''((?:[^'']|'''')*)''', 'g') WITH ORDINALITY r(m, n);
		ELSE
			SELECT array_agg(m[1] ORDER BY n) INTO found
			FROM regexp_matches(list, '-?[0-9]+(?:\.[0-9]+)?', 'g') WITH ORDINALITY r(m, n);
		END IF;
		RETURN found;
	END LOOP;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION pipelines._checked_values(regclass, smallint) IS
	'The values that a CHECK allows in a column, in their order.';

CREATE FUNCTION pipelines._adoption_scale(deals regclass, probability text)
RETURNS text
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	answer text;
BEGIN
	-- nothing above 1, and something above 0: a table of percents all at 1 % is rarer
	EXECUTE format('SELECT CASE WHEN max(d.%1$I) <= 1 AND max(d.%1$I) > 0 THEN ''fraction'' ELSE ''percent'' END FROM %2$s d',
				   probability, deals) INTO answer;
	RETURN answer;
END
$$;
COMMENT ON FUNCTION pipelines._adoption_scale(regclass, text) IS
	'How a column writes probabilities: percent, or fraction (of 1).';

-- How the application's table of activities hangs on the deals: by a foreign
-- key, if there is one.
CREATE FUNCTION pipelines._adoption_activity(deals regclass, key text[], activity regclass)
RETURNS jsonb
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT coalesce(jsonb_object_agg('key' || array_position($2, t.attname::text), a.attname), '{}')
	FROM (SELECT c.conkey, c.confkey FROM pg_constraint c
		  WHERE c.contype = 'f' AND c.conrelid = $3 AND c.confrelid = $1
			AND cardinality(c.confkey) = cardinality($2)
		  ORDER BY c.oid LIMIT 1) f
	CROSS JOIN LATERAL unnest(f.conkey, f.confkey) u(mine, its)
	JOIN pg_attribute a ON a.attrelid = $3 AND a.attnum = u.mine
	JOIN pg_attribute t ON t.attrelid = $1 AND t.attnum = u.its AND t.attname = ANY ($2)
$$;
COMMENT ON FUNCTION pipelines._adoption_activity(regclass, text[], regclass) IS
	'The columns of a table of activities that refer to the key of the deals, for use_activities().';

-- The picklist of the stage column, and what the table has beside it, in its
-- own order.  label: what the stage may be called; given_*: what the lookup
-- table says of it; usual: the probability that most of its rows have.
CREATE FUNCTION pipelines._adoption_picklist(deals regclass, facts jsonb)
RETURNS TABLE (value text, place bigint, label text, rows bigint, listed boolean,
			   given_outcome text, given_probability numeric, usual numeric)
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000000 ROWS 20
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	stage CONSTANT text := facts -> 'columns' ->> 'application_stage';
	probability CONSTANT text := facts -> 'columns' ->> 'probability';
	lookup CONSTANT regclass := (facts ->> 'lookup')::oid::regclass;
	picklist text;
	label_column text;
	order_column text;
	won_column text;
	lost_column text;
	probability_column text;
	usual text := 'NULL::numeric';
	many bigint;
BEGIN
	CASE facts ->> 'kind'
	WHEN 'enum' THEN
		picklist := format('SELECT e.enumlabel::text AS value, row_number() OVER (ORDER BY e.enumsortorder) AS place, e.enumlabel::text AS label,
				NULL::text AS given_outcome, NULL::numeric AS given_probability
			FROM pg_enum e WHERE e.enumtypid = %s', facts ->> 'enum');
	WHEN 'check' THEN
		picklist := format('SELECT u.value, min(u.n) AS place, u.value AS label, NULL::text AS given_outcome, NULL::numeric AS given_probability
			FROM unnest(%L::text[]) WITH ORDINALITY u(value, n) GROUP BY u.value',
			(SELECT array_agg(v.value ORDER BY v.n) FROM jsonb_array_elements_text(facts -> 'values') WITH ORDINALITY v(value, n)));
	WHEN 'lookup' THEN
		-- the first column of each list that the lookup table has
		SELECT (array_agg(CASE WHEN a.type IN ('json', 'jsonb')
							-- translated names: English, else any
							THEN format('coalesce(l.%1$I ->> ''en_US'', l.%1$I ->> ''en'', (SELECT min(x.value) FROM jsonb_each_text(l.%1$I::jsonb) x))', a.attname)
							ELSE pipelines._text_of(lookup, 'l', a.attname) END
						  ORDER BY w.n) FILTER (WHERE w.part = 'label'))[1],
			   (array_agg(format('l.%I', a.attname) ORDER BY w.n) FILTER (WHERE w.part = 'order' AND a.number))[1],
			   (array_agg(format('l.%I', a.attname) ORDER BY w.n) FILTER (WHERE w.part = 'won' AND a.type = 'boolean'))[1],
			   (array_agg(format('l.%I', a.attname) ORDER BY w.n) FILTER (WHERE w.part = 'lost' AND a.type = 'boolean'))[1],
			   (array_agg(a.attname ORDER BY w.n) FILTER (WHERE w.part = 'probability' AND a.number))[1]
		INTO label_column, order_column, won_column, lost_column, probability_column
		FROM (VALUES (1, 'label', 'name'), (2, 'label', 'label'), (3, 'label', 'title'), (4, 'label', 'stage_name'),
				(5, 'label', 'stage'), (6, 'label', 'display_name'), (7, 'label', 'description'), (8, 'label', 'code'),
				(1, 'order', 'sequence'), (2, 'order', 'position'), (3, 'order', 'sort_order'), (4, 'order', 'sortorder'),
				(5, 'order', 'sort'), (6, 'order', 'order'), (7, 'order', 'ordering'), (8, 'order', 'rank'), (9, 'order', 'display_order'),
				(10, 'order', 'order_no'), (11, 'order', 'order_nr'), (12, 'order', 'ordinal'), (13, 'order', 'seq'), (14, 'order', 'idx'),
				(1, 'won', 'is_won'), (2, 'won', 'won'), (1, 'lost', 'is_lost'), (2, 'lost', 'lost'),
				(1, 'probability', 'probability'), (2, 'probability', 'win_probability')) w(n, part, name)
		JOIN (SELECT a.attname, pipelines._plain_type(a.atttypid) AS type,
					 pipelines._plain_type(a.atttypid) IN ('smallint', 'integer', 'bigint', 'numeric', 'real', 'double precision') AS number
			  FROM pg_attribute a WHERE a.attrelid = lookup AND a.attnum > 0 AND NOT a.attisdropped) a ON a.attname = w.name;
		picklist := format('SELECT %8$s AS value, row_number() OVER (ORDER BY %2$s) AS place, %3$s AS label,
				CASE WHEN %4$s THEN ''won'' WHEN %5$s THEN ''lost'' END AS given_outcome, %6$s AS given_probability
			FROM %7$s l',
			facts ->> 'lookup_key', concat_ws(', ', order_column, 'l.' || quote_ident(facts ->> 'lookup_key')),
			coalesce(label_column, pipelines._text_of(lookup, 'l', (facts ->> 'lookup_key')::name)),
			coalesce(won_column, 'false'), coalesce(lost_column, 'false'),
			CASE WHEN probability_column IS NULL THEN 'NULL::numeric'
				ELSE format('CASE WHEN l.%1$I BETWEEN 0 AND 100 THEN round(l.%1$I::numeric * %2$s, 2) END', probability_column,
							CASE pipelines._adoption_scale(lookup, probability_column) WHEN 'fraction' THEN 100 ELSE 1 END) END,
			lookup, pipelines._text_of(lookup, 'l', (facts ->> 'lookup_key')::name));
	ELSE
		picklist := 'SELECT NULL::text AS value, NULL::bigint AS place, NULL::text AS label, NULL::text AS given_outcome, NULL::numeric AS given_probability WHERE false';
	END CASE;

	IF probability IS NOT NULL THEN
		usual := format('mode() WITHIN GROUP (ORDER BY CASE WHEN d.%1$I BETWEEN 0 AND %2$s THEN round(d.%1$I::numeric * %3$s, 2) END)',
						probability, CASE facts ->> 'scale' WHEN 'fraction' THEN 1 ELSE 100 END,
						CASE facts ->> 'scale' WHEN 'fraction' THEN 100 ELSE 1 END);
	END IF;
	RETURN QUERY EXECUTE format($sql$
		WITH listed AS (%1$s),
		present AS (
			SELECT coalesce(%2$s, '') AS value, count(*) AS rows, %3$s AS usual
			FROM %4$s d GROUP BY 1
		)
		SELECT coalesce(l.value, p.value), l.place, coalesce(l.label, p.value), coalesce(p.rows, 0), l.value IS NOT NULL,
			   l.given_outcome, l.given_probability, p.usual
		FROM listed l FULL JOIN present p ON p.value = l.value$sql$, picklist, pipelines._text_of(deals, 'd', stage::name), usual, deals);
	GET DIAGNOSTICS many = ROW_COUNT;
	IF many > 5000 THEN
		RAISE EXCEPTION 'column "%" of table % has % different values', stage, deals, many
			USING ERRCODE = 'program_limit_exceeded',
				  HINT = 'No pipeline has so many stages.  Is it the right column?';
	END IF;
END
$$;
COMMENT ON FUNCTION pipelines._adoption_picklist(regclass, jsonb) IS
	'The values of the stage column of a table to be adopted. Reads the whole table once. Raises 54000 for more than 5,000 of them.';

-- What the plan would be if nobody had edited one.
CREATE FUNCTION pipelines._adoption_proposal(deals regclass, facts jsonb)
RETURNS TABLE (part text, value text, rows bigint, stage text, "position" integer, outcome text, probability numeric, remark text)
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000000 ROWS 20
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	plan jsonb;
	outcomes jsonb := '[]';
	outcome_column CONSTANT text := facts -> 'columns' ->> 'application_outcome';
BEGIN
	WITH raw AS (
		SELECT p.*,
			   nullif(left(btrim(regexp_replace(p.label, '\s+', ' ', 'g')), 190), '') AS name,
			   lower(regexp_replace(btrim(p.value), '\s+', ' ', 'g')) AS folded
		FROM pipelines._adoption_picklist(deals, facts) p
	), judged AS (
		SELECT r.*,
			   coalesce(r.given_outcome, pipelines._guess_outcome(r.name)) AS outcome
		FROM raw r
	), ordered AS (
		-- what is in no list: open ones first, the more frequent ones before the others
		SELECT j.*,
			   row_number() OVER (ORDER BY j.name IS NULL, j.place NULLS LAST,
				CASE facts ->> 'kind' WHEN 'number' THEN 0
					ELSE array_position('{open,on_hold,won,lost,disqualified,done}', j.outcome) END,
				CASE facts ->> 'kind' WHEN 'number' THEN j.value::numeric ELSE -j.rows END, j.value COLLATE "C") AS n,
			   row_number() OVER (PARTITION BY j.name ORDER BY j.place NULLS LAST, j.rows DESC, j.value COLLATE "C") AS namesake,
			   row_number() OVER (PARTITION BY j.folded ORDER BY j.place NULLS LAST, j.rows DESC, j.value COLLATE "C") AS alike,
			   first_value(j.value) OVER (PARTITION BY j.folded ORDER BY j.place NULLS LAST, j.rows DESC, j.value COLLATE "C") AS model
		FROM judged j
	), spread AS (
		SELECT o.*,
			   CASE WHEN o.outcome = 'open' AND o.name IS NOT NULL
				THEN count(*) FILTER (WHERE o.outcome = 'open' AND o.name IS NOT NULL) OVER (ORDER BY o.n) END AS nth_open,
			   count(*) FILTER (WHERE o.outcome = 'open' AND o.name IS NOT NULL) OVER () AS open_stages,
			   coalesce(o.given_probability, o.usual) AS known
		FROM ordered o
	)
	SELECT jsonb_agg(jsonb_build_object('value', s.value, 'rows', s.rows,
			'stage', CASE WHEN s.name IS NULL THEN NULL
						WHEN s.namesake > 1 THEN format('%s (%s)', s.name, s.namesake)
						WHEN facts ->> 'kind' IN ('number', 'check') AND s.name ~ '^-?[0-9.]+$' THEN 'Stage ' || s.name ELSE s.name END,
			'position', CASE WHEN s.name IS NOT NULL THEN s.n END,
			'outcome', CASE WHEN s.name IS NOT NULL THEN s.outcome END,
			'probability', CASE WHEN s.name IS NULL THEN NULL
				WHEN s.outcome = 'won' THEN 100
				WHEN s.outcome = 'open' AND s.known IS NOT NULL THEN least(s.known, 99)
				WHEN s.outcome = 'open' THEN CASE WHEN s.open_stages = 1 THEN 50
					ELSE round(10 + 80.0 * (s.nth_open - 1) / (s.open_stages - 1)) END
				WHEN s.outcome = 'on_hold' THEN least(coalesce(s.known, 0), 99)
				ELSE 0 END,
			'remark', nullif(concat_ws('  ',
				CASE WHEN s.name IS NULL THEN 'These rows say no stage: name the one that they shall be in.' END,
				CASE WHEN s.name IS NOT NULL AND s.alike > 1
					THEN format('Differs from "%s" in case or blanks only: name the same stage for both to merge them.', s.model) END,
				CASE WHEN s.name IS NOT NULL AND s.namesake > 1 AND s.alike = 1 THEN 'Another value has the same name.' END,
				CASE WHEN NOT s.listed AND facts ->> 'kind' IN ('lookup', 'check', 'enum') AND s.value <> '' THEN 'It is not in the list.' END,
				CASE WHEN s.outcome IN ('open', 'on_hold') AND s.known > 99 THEN 'Only won deals have more than 99 percent.' END), ''))
		ORDER BY s.n)
	INTO plan
	FROM spread s;

	-- Won or lost, said apart: stands for the only stage of that outcome, else
	-- for a new one.
	IF outcome_column IS NOT NULL THEN
		EXECUTE format($sql$
			SELECT jsonb_agg(jsonb_build_object('value', x.value, 'rows', x.rows) ORDER BY x.value COLLATE "C")
			FROM (SELECT coalesce(%s, '') AS value, count(*) AS rows FROM %s d GROUP BY 1
				  ORDER BY 2 DESC LIMIT 101) x$sql$, pipelines._text_of(deals, 'd', outcome_column::name), deals)
		INTO outcomes;
		IF jsonb_array_length(outcomes) > 100 THEN
			RAISE EXCEPTION 'column "%" of table % has more than 100 different values', outcome_column, deals
				USING ERRCODE = 'program_limit_exceeded',
					  HINT = 'Is it the column that says won or lost?';
		END IF;
	END IF;

	RETURN QUERY
		WITH stages AS (
			SELECT p.value, p.rows, p.stage, p."position", p.outcome, p.probability, p.remark
			FROM jsonb_to_recordset(plan) AS p(value text, rows bigint, stage text, "position" integer, outcome text, probability numeric, remark text)
		), said AS (
			SELECT o.value, o.rows,
				   CASE WHEN o.value = 'true' THEN CASE WHEN outcome_column ~* 'lost|dead|fail' THEN 'lost' ELSE 'won' END
						WHEN o.value IN ('', 'false') THEN 'open'
						ELSE pipelines._guess_outcome(o.value) END AS outcome
			FROM jsonb_to_recordset(outcomes) AS o(value text, rows bigint)
		), named AS (
			SELECT s.*, CASE WHEN s.outcome IN ('won', 'lost', 'disqualified', 'done')
							THEN coalesce((SELECT min(t.stage) FROM stages t WHERE t.outcome = s.outcome HAVING count(*) = 1),
								CASE WHEN s.value = 'true' THEN initcap(s.outcome) ELSE initcap(btrim(s.value)) END) END AS stage
			FROM said s
		)
		SELECT 'stage', s.value, s.rows, s.stage, s."position", s.outcome, s.probability, s.remark
		FROM stages s
		UNION ALL
		SELECT 'outcome', n.value, n.rows, n.stage,
			   CASE WHEN n.stage IS NULL THEN NULL
					ELSE coalesce((SELECT min(t."position") FROM stages t WHERE t.stage = n.stage),
						(SELECT coalesce(max(t."position"), 0) FROM stages t)::integer
						+ (dense_rank() OVER (ORDER BY n.stage IS NULL, array_position('{won,lost,disqualified,done}', n.outcome), n.stage))::integer) END,
			   CASE WHEN n.stage IS NOT NULL THEN n.outcome END,
			   CASE WHEN n.stage IS NOT NULL THEN CASE n.outcome WHEN 'won' THEN 100 ELSE 0 END::numeric END,
			   CASE WHEN n.stage IS NULL THEN 'The stage says it.' END
		FROM named n;
END
$$;
COMMENT ON FUNCTION pipelines._adoption_proposal(regclass, jsonb) IS
	'What adopt() proposes for the values of the stage column, and of the column for the outcome.';

-- The layout and the pipeline that the deals shall go to, by name.
CREATE FUNCTION pipelines._adoption_target(deals regclass, arguments jsonb,
	OUT layout text, OUT layout_id integer, OUT pipeline text, OUT pipeline_id integer)
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	layout := btrim(arguments ->> 'layout', E' \t\r\n');
	IF layout IS NULL THEN
		SELECT CASE WHEN count(*) = 1 THEN min(l.name) ELSE 'default' END INTO layout FROM pipelines.layout l;
	END IF;
	SELECT l.layout_id INTO layout_id FROM pipelines.layout l WHERE l.name = _adoption_target.layout;
	pipeline := btrim(arguments ->> 'pipeline', E' \t\r\n');
	IF pipeline IS NOT NULL THEN
		SELECT p.pipeline_id INTO pipeline_id FROM pipelines.pipeline p
			WHERE p.layout_id = _adoption_target.layout_id AND p.name = _adoption_target.pipeline AND p.archived_at IS NULL;
		RETURN;
	END IF;
	-- the standard pipeline of a layout that has none; else one that is called as the table
	pipeline := 'Standard';
	IF EXISTS (SELECT FROM pipelines.pipeline p WHERE p.layout_id = _adoption_target.layout_id AND p.name = _adoption_target.pipeline) THEN
		SELECT c.relname INTO pipeline FROM pg_class c WHERE c.oid = _adoption_target.deals;
	END IF;
END
$$;
COMMENT ON FUNCTION pipelines._adoption_target(regclass, jsonb) IS
	'Where the deals of a table to be adopted shall go; ids are NULL for what does not exist yet.';

CREATE FUNCTION pipelines.adopt(deals regclass, stage text, key text[] DEFAULT NULL, amount text DEFAULT NULL,
	currency text DEFAULT NULL, close_date text DEFAULT NULL, owner text DEFAULT NULL,
	probability text DEFAULT NULL, outcome text DEFAULT NULL, live text DEFAULT NULL,
	activity regclass DEFAULT NULL, columns jsonb DEFAULT NULL, layout text DEFAULT NULL,
	pipeline text DEFAULT NULL, history text DEFAULT NULL, since text DEFAULT NULL,
	scale text DEFAULT NULL, apply boolean DEFAULT false)
RETURNS TABLE (item text, action text)
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000 ROWS 30
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	arguments CONSTANT jsonb := jsonb_strip_nulls(jsonb_build_object('stage', stage, 'key', to_jsonb(key),
		'amount', amount, 'currency', currency, 'close_date', close_date, 'owner', owner, 'probability', probability,
		'outcome', outcome, 'live', live, 'activity', activity, 'columns', columns, 'layout', layout,
		'pipeline', pipeline, 'history', history, 'since', since, 'scale', scale));
BEGIN
	PERFORM pipelines._adoption_check(deals);
	PERFORM pipelines._require_setup();
	RETURN QUERY SELECT * FROM pipelines._plan_adoption(deals, arguments);
	IF adopt.apply THEN
		RETURN QUERY SELECT * FROM pipelines.apply_adoption(deals);
	ELSE
		item := 'next';
		action := format('edit pipelines.adoption_plan, then SELECT * FROM pipelines.apply_adoption(%1$L), or beside writers CALL pipelines.adopt_in_batches(%1$L)', deals);
		RETURN NEXT;
	END IF;
END
$$;
COMMENT ON FUNCTION pipelines.adopt(regclass, text, text[], text, text, text, text, text, text, text, regclass, jsonb, text, text, text, text, text, boolean) IS
'Makes a table that an application has already a deals table; without apply => true it only looks, and proposes.
stage: the column that says the stage: an enum, a reference to a table of stages, text with or without a CHECK, an integer.  It goes on working: who changes it moves the deal, and a moved deal changes it.
key: columns that identify a deal and never change; left out: the primary key.
amount, currency (or the code of one, as EUR), close_date, owner, probability, outcome (says won or lost where the stage does not), since (says when the stage was entered): columns of the table.
scale: of the probabilities, percent or fraction (of 1); left out: as they look.
live: condition that says which rows count as deals in the views, as deleted_at IS NULL: of columns, constants, and immutable functions and operators of pg_catalog.  Where its columns are tracked (pipelines.track()), the past tells when a row ceased to be a deal; else a row that is none now never was one.
activity: table of activities with the columns kind and done_at, see use_activities(); left out: T_activity is made.
columns: {"part": "column"}, parts as the columns that create_deals() makes, and parent_account; a column that is not there is added under that name (but none for name, account and parent_account, which are only shown).
layout, pipeline: where the deals go; left out: a new pipeline Standard of the layout.
history: name of the table for the past, in the same schema; left out: T_history.
Fills pipelines.adoption_plan, one row per value; what was edited there stays. apply_adoption() and adopt_in_batches() do what it says. Reads the table once or twice. Returns what would be done, or was.
Errors: 42501 not the owner, 42703, 42804, 42701, 22023 a column is not what it should be, 55000 no primary key, 42809 a view, 0A000 foreign, temporary, inherited, 42710 adopted already, 42P07 a name is taken, 23S01 rows without a stage.';

-- First half of adopt(): the plan, and what to say of it.
CREATE FUNCTION pipelines._plan_adoption(deals regclass, arguments jsonb)
RETURNS TABLE (item text, action text)
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000 ROWS 30
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	facts jsonb;
	target record;
	remark text;
	many bigint;
	rows bigint;
BEGIN
	facts := pipelines._adoption_facts(deals, arguments);

	-- a plan for another column is no plan
	DELETE FROM pipelines.adoption_plan a
	USING pipelines.adoption b
	WHERE a.relation = _plan_adoption.deals AND b.relation = a.relation
		AND b.arguments ->> a.part IS DISTINCT FROM _plan_adoption.arguments ->> a.part;
	INSERT INTO pipelines.adoption AS a (relation, arguments) VALUES (_plan_adoption.deals, _plan_adoption.arguments)
	ON CONFLICT (relation) DO UPDATE SET arguments = excluded.arguments;
	-- an existing pipeline has stages already: those of the same name
	SELECT * INTO target FROM pipelines._adoption_target(deals, arguments);
	INSERT INTO pipelines.adoption_plan AS a (relation, part, value, deals, stage, "position", outcome, probability, remark)
	SELECT _plan_adoption.deals, p.part, p.value, p.rows,
		   CASE WHEN target.pipeline_id IS NULL OR p.stage IS NULL THEN p.stage ELSE e.name END,
		   CASE WHEN target.pipeline_id IS NULL THEN p."position" ELSE e."position" END,
		   CASE WHEN target.pipeline_id IS NULL THEN p.outcome ELSE e.outcome END,
		   CASE WHEN target.pipeline_id IS NULL THEN p.probability ELSE e.probability END,
		   nullif(concat_ws('  ', p.remark, CASE WHEN target.pipeline_id IS NOT NULL AND p.stage IS NOT NULL AND e.name IS NULL
				THEN format('Pipeline "%s" has no such stage: name one of its stages.', target.pipeline) END), '')
	FROM pipelines._adoption_proposal(deals, facts) p
	LEFT JOIN LATERAL (
		SELECT s.name, ps."position", ps.outcome, ps.probability
		FROM pipelines.pipeline_stage ps JOIN pipelines.stage s ON s.stage_id = ps.stage_id
		WHERE ps.pipeline_id = target.pipeline_id AND ps.archived_at IS NULL
			AND lower(s.name) = lower(btrim(p.stage))
		ORDER BY s.name = p.stage DESC, s.name LIMIT 1
	) e ON true
	ON CONFLICT (relation, part, value) DO UPDATE SET deals = excluded.deals;
	SELECT sum(a.deals) FILTER (WHERE a.part = 'stage'), count(DISTINCT a.stage) INTO rows, many
	FROM pipelines.adoption_plan a WHERE a.relation = _plan_adoption.deals;

	item := format('table %s', deals);
	action := format('%s rows, key (%s), stages read from %s', coalesce(rows, 0),
					 (SELECT string_agg(quote_ident(k.value), ', ' ORDER BY k.n) FROM jsonb_array_elements_text(facts -> 'key') WITH ORDINALITY k(value, n)),
					 CASE facts ->> 'kind' WHEN 'enum' THEN format('enum %s', (facts ->> 'enum')::oid::regtype)
						WHEN 'lookup' THEN format('table %s', (facts ->> 'lookup')::oid::regclass)
						WHEN 'check' THEN 'a CHECK constraint' ELSE 'the values that there are' END);
	RETURN NEXT;
	item := format('pipeline %I', target.pipeline);
	action := CASE WHEN target.pipeline_id IS NULL
		THEN format('to be made in layout "%s" with %s', target.layout,
			CASE many WHEN 0 THEN 'the stages of template standard, since there are no values yet'
				ELSE format('%s stages', many) END)
		ELSE format('is there, in layout "%s"', target.layout) END;
	RETURN NEXT;
	FOR item, action IN
		SELECT format('column %I', e.value),
			   format('is %s%s', CASE e.key WHEN 'application_stage' THEN 'the stage' WHEN 'application_outcome' THEN 'the outcome'
						WHEN 'application_since' THEN 'the instant at which the stage was entered' ELSE e.key END,
					  CASE WHEN e.key = 'probability' THEN ', in ' || (facts ->> 'scale') END)
		FROM (SELECT * FROM jsonb_each_text(facts -> 'columns') UNION ALL SELECT * FROM jsonb_each_text(facts -> 'named')) e
		ORDER BY e.key NOT LIKE 'application%', e.key
	LOOP
		RETURN NEXT;
	END LOOP;
	FOR item, action IN
		SELECT format('column %I', e.value),
			   format('to be added: %s%s', c.type, CASE WHEN e.value <> c.role THEN ', for ' || c.role END)
		FROM jsonb_each_text(facts -> 'add') e
		JOIN pipelines._deal_columns() c ON c.role = e.key
		ORDER BY c.n
	LOOP
		RETURN NEXT;
	END LOOP;
	item := format('table %I', facts ->> 'history');
	action := 'to be made, for the past';
	RETURN NEXT;
	IF facts ? 'make_activity' THEN
		item := format('table %I', facts ->> 'make_activity');
		action := 'to be made, for activities';
		RETURN NEXT;
	END IF;
	FOR remark IN SELECT r.value FROM jsonb_array_elements_text(facts -> 'remarks') r LOOP
		item := format('table %s', deals);
		action := 'note: ' || remark;
		RETURN NEXT;
	END LOOP;
	FOR item, action IN
		SELECT format('column %I', a.attname), format('note: it is not used; name it if it is the %s of the deals', w.part)
		FROM (VALUES ('amount'), ('currency'), ('owner'), ('probability')) w(part)
		JOIN pg_attribute a ON a.attrelid = _plan_adoption.deals AND a.attname = w.part AND NOT a.attisdropped
		WHERE NOT facts -> 'columns' ? w.part
		ORDER BY w.part
	LOOP
		RETURN NEXT;
	END LOOP;
	-- without it reports count nothing as made, without a word
	IF NOT facts -> 'columns' ? 'created_at' AND NOT facts -> 'add' ? 'created_at' THEN
		item := format('table %s', deals);
		action := 'note: nothing says when its deals were made, so that their ages, cycles and cohorts are not known; columns => ''{"created_at": "..."}'' names the column, or adds one';
		RETURN NEXT;
		FOR item, action IN
			SELECT format('column %I', a.attname), 'note: it is not used; name it if it says when the deals were made'
			FROM pg_attribute a
			WHERE a.attrelid = _plan_adoption.deals AND a.attnum > 0 AND NOT a.attisdropped
				AND lower(replace(a.attname, '_', '')) IN ('created', 'createdat', 'createdate', 'createddate', 'createdon', 'createdtime', 'creation',
															'creationdate', 'creationtime', 'datecreated', 'dateentered', 'insertedat')
				AND pipelines._adoption_fits('created_at', a.atttypid)
				AND a.attname NOT IN (SELECT e.value FROM jsonb_each_text(facts -> 'columns') e)
			ORDER BY a.attnum
		LOOP
			RETURN NEXT;
		END LOOP;
	END IF;
	SELECT count(*) INTO many FROM pipelines.adoption_plan a WHERE a.relation = _plan_adoption.deals AND a.part = 'stage';
	IF many > 50 THEN
		item := format('column %I', facts -> 'columns' ->> 'application_stage');
		action := format('warning: it has %s different values; merge what means the same, by one stage name for them', many);
		RETURN NEXT;
	END IF;
	FOR item, action IN
		SELECT format('%s "%s"', CASE a.part WHEN 'stage' THEN 'value' ELSE 'outcome' END, a.value), 'note: ' || a.remark
		FROM pipelines.adoption_plan a
		WHERE a.relation = _plan_adoption.deals AND a.remark IS NOT NULL AND a.part = 'stage'
		ORDER BY a."position" NULLS LAST, a.value COLLATE "C"
		LIMIT 20
	LOOP
		RETURN NEXT;
	END LOOP;
END
$$;
COMMENT ON FUNCTION pipelines._plan_adoption(regclass, jsonb) IS
	'Fills pipelines.adoption_plan for a table, and says what its adoption would do.';

-- The pipeline that the plan asks for, and the stage that each value stands
-- for.
CREATE FUNCTION pipelines._adoption_pipeline(deals regclass, arguments jsonb, facts jsonb)
RETURNS integer
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	target record;
	problems text;
	many bigint;
BEGIN
	-- what is said of one stage must agree
	SELECT string_agg(format('"%s": %s', x.stage, x.what), '; ' ORDER BY x.stage) INTO problems
	FROM (
		-- stages that were merged have the probability of the first of them
		SELECT a.stage, format('outcome %s', string_agg(DISTINCT a.outcome, ' and ')) AS what
		FROM pipelines.adoption_plan a
		WHERE a.relation = _adoption_pipeline.deals AND a.stage IS NOT NULL
		GROUP BY a.stage
		HAVING count(DISTINCT a.outcome) > 1
	) x;
	IF problems IS NOT NULL THEN
		RAISE EXCEPTION 'the plan for table % contradicts itself', deals
			USING ERRCODE = 'invalid_parameter_value',
				  DETAIL = problems || '.',
				  HINT = 'Values of one stage must have one outcome: UPDATE pipelines.adoption_plan.';
	END IF;

	SELECT * INTO target FROM pipelines._adoption_target(deals, arguments);
	IF target.pipeline_id IS NULL THEN
		IF NOT has_table_privilege('pipelines.pipeline', 'INSERT') THEN
			RAISE EXCEPTION 'permission denied to make pipeline "%"', target.pipeline
				USING ERRCODE = 'insufficient_privilege',
					  HINT = 'Ask the owner of the definitions to grant it (pipelines.grant_access, level define), or to make a pipeline; then name it by pipeline =>.';
		END IF;
		target.pipeline_id := pipelines.create_pipeline(target.pipeline, NULL::text,
			(SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object('name', x.stage, 'position', x.n, 'outcome', x.outcome,
					'probability', x.probability)) ORDER BY x.n)
			 FROM (SELECT a.stage, min(a.outcome) AS outcome,
						  (array_agg(a.probability ORDER BY a.part DESC, a."position", a.value COLLATE "C") FILTER (WHERE a.probability IS NOT NULL))[1] AS probability,
						  row_number() OVER (ORDER BY min(a."position") NULLS LAST, min(a.value COLLATE "C")) AS n
				   FROM pipelines.adoption_plan a
				   WHERE a.relation = _adoption_pipeline.deals AND a.stage IS NOT NULL
				   GROUP BY a.stage) x),
			target.layout, NULL::text, NULL::text, 'free'::text, 'keep'::text, 'error'::text, NULL::text, NULL::jsonb,
			'allowed'::text, '{}'::text[], NULL::text);
	END IF;

	SELECT string_agg(DISTINCT format('"%s"', a.stage), ', ') INTO problems
	FROM pipelines.adoption_plan a
	WHERE a.relation = _adoption_pipeline.deals AND a.stage IS NOT NULL
		AND NOT EXISTS (SELECT FROM pipelines.pipeline_stage ps JOIN pipelines.stage s ON s.stage_id = ps.stage_id
						WHERE ps.pipeline_id = target.pipeline_id AND s.name = btrim(a.stage, E' \t\r\n') AND ps.archived_at IS NULL);
	IF problems IS NOT NULL THEN
		RAISE EXCEPTION 'pipeline "%" has no stage %', target.pipeline, problems
			USING ERRCODE = '23S01',
				  DETAIL = format('Its stages: %s.', (SELECT string_agg(format('"%s"', s.name), ', ' ORDER BY ps."position")
						FROM pipelines.pipeline_stage ps JOIN pipelines.stage s ON s.stage_id = ps.stage_id
						WHERE ps.pipeline_id = target.pipeline_id AND ps.archived_at IS NULL)),
				  HINT = 'UPDATE pipelines.adoption_plan SET stage = ....';
	END IF;

	-- the most frequent value of a stage is the one that is written for it
	PERFORM pipelines._register_values(deals, array_agg(x.part), array_agg(x.value), array_agg(x.stage_id), array_agg(x.first), true)
	FROM (SELECT a.part, a.value, s.stage_id,
				 a.value <> '' AND row_number() OVER (PARTITION BY a.part, s.stage_id
					ORDER BY a.value = '', a.deals DESC NULLS LAST, a."position", a.value COLLATE "C") = 1 AS first
		  FROM pipelines.adoption_plan a
		  JOIN pipelines.stage s ON s.name = btrim(a.stage, E' \t\r\n')
		  WHERE a.relation = _adoption_pipeline.deals) x;
	RETURN target.pipeline_id;
END
$$;
COMMENT ON FUNCTION pipelines._adoption_pipeline(regclass, jsonb, jsonb) IS
	'Makes the pipeline of a plan, or takes the one that is named, and writes pipelines.stage_value. Raises 23S01, 22023, 42501.';

-- Rows that no stage is planned for.  Won or lost, said apart, is enough.
CREATE FUNCTION pipelines._refuse_stageless(deals regclass, facts jsonb)
RETURNS void
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	stage CONSTANT text := facts -> 'columns' ->> 'application_stage';
	outcome CONSTANT text := facts -> 'columns' ->> 'application_outcome';
	found text;
	many bigint;
BEGIN
	EXECUTE format($sql$
		SELECT string_agg(format('"%%s" (%%s rows)', x.value, x.rows), ', ' ORDER BY x.rows DESC, x.value COLLATE "C") FILTER (WHERE x.n <= 20), sum(x.rows)
		FROM (SELECT v.value, sum(v.rows) AS rows, row_number() OVER (ORDER BY sum(v.rows) DESC, v.value COLLATE "C") AS n
			  FROM (SELECT coalesce(%1$s, '') AS value, %2$s AS outcome, count(*) AS rows FROM %3$s d GROUP BY 1, 2) v
			  WHERE NOT EXISTS (SELECT FROM pipelines.adoption_plan a WHERE a.relation = %4$s AND a.part = 'stage' AND a.value = v.value AND a.stage IS NOT NULL)
				AND NOT EXISTS (SELECT FROM pipelines.adoption_plan a WHERE a.relation = %4$s AND a.part = 'outcome' AND a.value = v.outcome AND a.stage IS NOT NULL)
			  GROUP BY v.value) x$sql$,
		pipelines._text_of(deals, 'd', stage::name),
		CASE WHEN outcome IS NULL THEN 'NULL::text' ELSE format('coalesce(%s, '''')', pipelines._text_of(deals, 'd', outcome::name)) END,
		deals, deals::oid)
	INTO found, many;
	IF many > 0 THEN
		RAISE EXCEPTION '% rows of table % would be in no stage', many, deals
			USING ERRCODE = '23S01',
				  DETAIL = format('The plan has no stage for these values of column "%s": %s.', stage, found),
				  HINT = format('Adopt without apply => true to bring the plan up to date; then UPDATE pipelines.adoption_plan SET stage = ... WHERE relation = %L::regclass AND value = ... (an empty value stands for NULL).', deals),
				  TABLE = (SELECT c.relname FROM pg_class c WHERE c.oid = deals), COLUMN = stage;
	END IF;
END
$$;
COMMENT ON FUNCTION pipelines._refuse_stageless(regclass, jsonb) IS
	'Raises 23S01 if rows of the table have a value that the plan has no stage for.';

-- Whoever waits for this lock makes all others wait behind him.  So it is tried
-- for a moment at a time, with room for the others in between.
CREATE FUNCTION pipelines._lock_gently(deals regclass)
RETURNS void
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 100000
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '200ms'
AS $$
DECLARE
	deadline CONSTANT timestamptz := clock_timestamp() + interval '60 seconds';
BEGIN
	LOOP
		BEGIN
			EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', deals);
			RETURN;
		EXCEPTION WHEN lock_not_available THEN
			IF clock_timestamp() > deadline THEN
				RAISE EXCEPTION 'could not lock table %', deals
					USING ERRCODE = 'lock_not_available',
						  DETAIL = 'Other transactions were using it all the time, for a minute.',
						  HINT = 'pg_locks shows who.  Try again when long transactions have ended.';
			END IF;
		END;
		PERFORM pg_sleep(0.2);
	END LOOP;
END
$$;
COMMENT ON FUNCTION pipelines._lock_gently(regclass) IS
	'Locks a table against everybody without making writers wait for more than moments. Raises 55P03 after a minute.';

-- The part of an adoption that locks the table: columns, triggers, history,
-- views, registration.  No row is read or written.
CREATE FUNCTION pipelines._begin_adoption(deals regclass)
RETURNS TABLE (item text, action text)
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000 ROWS 30
SET search_path = pg_catalog, pg_temp
SET datestyle = 'ISO'
AS $$
#variable_conflict use_column
DECLARE
	arguments jsonb;
	facts jsonb;
	columns jsonb;
	target_pipeline integer;
	instant timestamptz;
	history regclass;
	layout integer;
	commands text;
	open_outcome text;
BEGIN
	PERFORM pipelines._adoption_check(deals);
	SELECT a.arguments INTO arguments FROM pipelines.adoption a WHERE a.relation = _begin_adoption.deals;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'there is no plan for the adoption of table %', deals
			USING ERRCODE = 'object_not_in_prerequisite_state',
				  HINT = format('SELECT * FROM pipelines.adopt(%L, stage => ...) makes one.', deals);
	END IF;
	facts := pipelines._adoption_facts(deals, arguments);
	UPDATE pipelines.adoption_plan a SET stage = nullif(btrim(a.stage, E' \t\r\n'), '')
	WHERE a.relation = _begin_adoption.deals AND a.stage IS DISTINCT FROM nullif(btrim(a.stage, E' \t\r\n'), '');
	-- every row must go somewhere; this reads the table, so it comes before the lock
	PERFORM pipelines._refuse_stageless(deals, facts);
	PERFORM pipelines._lock_gently(deals);
	-- somebody else may have been faster
	PERFORM pipelines._adoption_check(deals);
	target_pipeline := pipelines._adoption_pipeline(deals, arguments, facts);
	SELECT p.layout_id INTO layout FROM pipelines.pipeline p WHERE p.pipeline_id = target_pipeline;
	item := format('pipeline %I', (SELECT p.name FROM pipelines.pipeline p WHERE p.pipeline_id = target_pipeline));
	action := format('takes the deals in, with %s stages', (SELECT count(*) FROM pipelines.pipeline_stage ps WHERE ps.pipeline_id = target_pipeline AND ps.archived_at IS NULL));
	RETURN NEXT;

	instant := pipelines._adoption_instant();
	-- constants for the rows that are there, no default for those to come
	SELECT string_agg(x.command, ', ' ORDER BY x.n)
	INTO commands
	FROM (SELECT c.n, format('ADD COLUMN %I %s%s', e.value, c.type,
					CASE c.role WHEN 'pipeline_id' THEN format(' NOT NULL DEFAULT %s', target_pipeline)
						WHEN 'episode' THEN ' NOT NULL DEFAULT 1'
						WHEN 'version' THEN ' NOT NULL DEFAULT 1'
						WHEN 'changed_at' THEN format(' NOT NULL DEFAULT %L', instant)
						WHEN 'stage_entered_at' THEN format(' NOT NULL DEFAULT %L', instant)
						WHEN 'probability' THEN format(' CHECK (%1$I >= 0 AND %1$I <= 100)', e.value)
						ELSE '' END) AS command
		  FROM jsonb_each_text(facts -> 'add') e
		  JOIN pipelines._deal_columns() c ON c.role = e.key) x;
	EXECUTE format('ALTER TABLE %s %s', deals, commands);
	SELECT string_agg(format('ALTER COLUMN %I DROP DEFAULT', e.value), ', ')
	INTO commands
	FROM jsonb_each_text(facts -> 'add') e
	WHERE e.key IN ('pipeline_id', 'episode', 'version', 'changed_at', 'stage_entered_at');
	EXECUTE format('ALTER TABLE %s %s', deals, commands);
	item := format('table %s', deals);
	action := format('got %s columns', (SELECT count(*) FROM jsonb_object_keys(facts -> 'add')));
	RETURN NEXT;

	columns := (facts -> 'columns') || (facts -> 'add');
	history := pipelines._create_history(deals, ARRAY(SELECT k.value FROM jsonb_array_elements_text(facts -> 'key') WITH ORDINALITY k(value, n) ORDER BY k.n),
										 columns, false, facts ->> 'history');
	item := format('table %s', history);
	action := 'created';
	RETURN NEXT;
	PERFORM pipelines._register(deals, history, layout,
		ARRAY(SELECT k.value FROM jsonb_array_elements_text(facts -> 'key') WITH ORDINALITY k(value, n) ORDER BY k.n),
		columns, facts ->> 'currency', false, 'refuse'::text, instant, true, NULL::jsonb);
	SELECT a.value INTO open_outcome FROM pipelines.adoption_plan a
		WHERE a.relation = _begin_adoption.deals AND a.part = 'outcome' AND a.stage IS NULL
		ORDER BY a.value = '', a.deals DESC NULLS LAST, a.value COLLATE "C" LIMIT 1;
	PERFORM pipelines._register_adoption(deals,
		jsonb_strip_nulls(jsonb_build_object('stage', facts -> 'columns' ->> 'application_stage',
			'outcome', facts -> 'columns' ->> 'application_outcome', 'open_outcome', nullif(open_outcome, ''),
			'pipeline', target_pipeline, 'scale', facts ->> 'scale', 'named', nullif(facts -> 'named', '{}'), 'added', (SELECT jsonb_agg(e.value) FROM jsonb_each_text(facts -> 'add') e),
			'unfilled', true)),
		facts ->> 'live');
	IF facts ? 'make_activity' THEN
		item := format('table %s', pipelines._create_activity(deals,
			ARRAY(SELECT k.value FROM jsonb_array_elements_text(facts -> 'key') WITH ORDINALITY k(value, n) ORDER BY k.n)));
		action := 'created';
		RETURN NEXT;
	END IF;
	PERFORM pipelines._create_triggers(deals);
	IF arguments ->> 'activity' IS NOT NULL THEN
		PERFORM pipelines.use_activities(deals, (arguments ->> 'activity')::regclass,
			pipelines._adoption_activity(deals, ARRAY(SELECT k.value FROM jsonb_array_elements_text(facts -> 'key') WITH ORDINALITY k(value, n) ORDER BY k.n),
										 (arguments ->> 'activity')::regclass));
	END IF;
	PERFORM pipelines._comment(deals);
	PERFORM pipelines._copy_policies(deals);
	PERFORM pipelines._create_views(deals, false);
	item := 'triggers and views';
	action := 'created';
	RETURN NEXT;
END
$$;
COMMENT ON FUNCTION pipelines._begin_adoption(regclass) IS
	'Adds columns, history, triggers and views to a table as its plan says, and registers it.';

-- The parts of a deals table that have rows, and how large they are.
CREATE FUNCTION pipelines._leaves(deals regclass)
RETURNS TABLE (leaf regclass, blocks bigint)
LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 1000 ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT r.relid, pg_relation_size(r.relid) / current_setting('block_size')::bigint
	FROM pipelines._parts($1) r JOIN pg_class c ON c.oid = r.relid
	WHERE c.relkind = 'r'
	ORDER BY r.relid::text
$$;
COMMENT ON FUNCTION pipelines._leaves(regclass) IS
	'The plain tables that a deals table consists of, with their blocks.';

CREATE FUNCTION pipelines._is_filled(deals regclass)
RETURNS boolean
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	answer boolean;
BEGIN
	EXECUTE format('SELECT NOT EXISTS (SELECT FROM %s d WHERE %s IS NULL)', deals, pipelines._column(deals, 'stage_id'))
	INTO answer;
	RETURN answer;
END
$$;
COMMENT ON FUNCTION pipelines._is_filled(regclass) IS
	'Are all rows of an adopted table in a stage?';

-- How many rows are not in a stage yet, and with which values.
CREATE FUNCTION pipelines._refuse_unfilled(deals regclass)
RETURNS void
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	found text;
	many bigint;
	stage text;
BEGIN
	SELECT r.column_name INTO stage FROM pipelines._roles(deals) r WHERE r.role = 'application_stage';
	EXECUTE format($sql$
		SELECT string_agg(format('"%%s" (%%s rows)', x.value, x.rows), ', ' ORDER BY x.rows DESC, x.value COLLATE "C") FILTER (WHERE x.n <= 20), sum(x.rows)
		FROM (SELECT coalesce(d.%1$I::text, '') AS value, count(*) AS rows,
					 row_number() OVER (ORDER BY count(*) DESC, d.%1$I::text COLLATE "C") AS n
			  FROM %2$s d WHERE %3$s IS NULL GROUP BY d.%1$I::text) x$sql$,
		stage, deals, pipelines._column(deals, 'stage_id'))
	INTO found, many;
	IF many > 0 THEN
		RAISE EXCEPTION '% rows of table % are in no stage', many, deals
			USING ERRCODE = '23S01',
				  DETAIL = format('Values of column "%s" that stand for no stage: %s.', stage, found),
				  HINT = format('SELECT pipelines.add_stage_value(%1$L, value, stage) for each of them, then CALL pipelines.adopt_in_batches(%1$L) goes on.', deals),
				  TABLE = (SELECT c.relname FROM pg_class c WHERE c.oid = deals), COLUMN = stage;
	END IF;
END
$$;
COMMENT ON FUNCTION pipelines._refuse_unfilled(regclass) IS
	'Raises 23S01 if rows of an adopted table are in no stage yet.';

-- The plan is done with.
CREATE FUNCTION pipelines._end_adoption(deals regclass)
RETURNS void
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	registration record;
BEGIN
	SELECT t.* INTO STRICT registration FROM pipelines.tracked_table t WHERE t.relation = _end_adoption.deals;
	PERFORM pipelines._register_adoption(deals, registration.application - 'unfilled', registration.live);
	DELETE FROM pipelines.adoption_plan a WHERE a.relation = _end_adoption.deals;
	DELETE FROM pipelines.adoption a WHERE a.relation = _end_adoption.deals;
END
$$;
COMMENT ON FUNCTION pipelines._end_adoption(regclass) IS
	'Notes that all rows of an adopted table are filled in, and forgets its plan.';

CREATE FUNCTION pipelines.apply_adoption(deals regclass)
RETURNS TABLE (item text, action text)
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000 ROWS 30
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	part record;
	filled bigint := 0;
BEGIN
	PERFORM pipelines._require_setup();
	RETURN QUERY SELECT * FROM pipelines._begin_adoption(deals);
	FOR part IN SELECT * FROM pipelines._leaves(deals) LOOP
		filled := filled + pipelines._adopt_fill(part.leaf, 0::bigint, 0::bigint);
	END LOOP;
	-- this looks at every row as it is, whatever the snapshot of the transaction
	BEGIN
		EXECUTE format('ALTER TABLE %s ALTER COLUMN %I SET NOT NULL, ALTER COLUMN %I SET NOT NULL', deals,
					   (SELECT r.column_name FROM pipelines._roles(deals) r WHERE r.role = 'stage_id'),
					   (SELECT r.column_name FROM pipelines._roles(deals) r WHERE r.role = 'furthest_stage_id'));
	EXCEPTION WHEN not_null_violation THEN
		PERFORM pipelines._refuse_unfilled(deals);
		RAISE;
	END;
	PERFORM pipelines._end_adoption(deals);
	item := 'rows';
	action := format('%s put into the pipeline', filled);
	RETURN NEXT;
	item := 'next';
	action := pipelines._index_advice(deals);
	RETURN NEXT;
END
$$;
COMMENT ON FUNCTION pipelines.apply_adoption(regclass) IS
'Adopts a table as pipelines.adoption_plan says, in this transaction: adds our columns, puts every row into the pipeline, makes history, triggers and views. The table is locked until the transaction ends; CALL pipelines.adopt_in_batches() does the same beside writers. Triggers of the application do not fire. Returns what was done.
Errors: as adopt(), and 23S01 for rows that no stage is planned for: they are listed, and nothing is changed.';

-- An index that most lists of deals want is left to the owner: it can be made
-- without stopping writers, but not from here.
CREATE FUNCTION pipelines._index_advice(deals regclass)
RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('ANALYZE %1$s; and for lists by stage: CREATE INDEX%2$s ON %1$s (%3$s)', $1,
				  CASE WHEN c.relkind = 'r' THEN ' CONCURRENTLY' ELSE '' END,
				  (SELECT string_agg(quote_ident(r.column_name), ', ' ORDER BY array_position('{pipeline_id,stage_id,stage_entered_at}', r.role))
				   FROM pipelines._roles($1) r WHERE r.role IN ('pipeline_id', 'stage_id', 'stage_entered_at')))
	FROM pg_class c WHERE c.oid = $1
$$;
COMMENT ON FUNCTION pipelines._index_advice(regclass) IS
	'What to do after an adoption, in words.';

-- A procedure that commits can't have settings of its own: every name in it
-- is qualified, and the work is done by functions that have.
CREATE PROCEDURE pipelines.adopt_in_batches(deals regclass, batch_rows bigint DEFAULT 10000)
LANGUAGE plpgsql
AS $$
DECLARE
	part record;
	step record;
	position bigint;
	filled bigint := 0;
	batches bigint := 0;
	last_pass bigint;
BEGIN
	PERFORM pipelines._check_batches(deals, batch_rows);
	IF NOT pipelines._adoption_open(deals) THEN
		FOR step IN SELECT b.item, b.action FROM pipelines._begin_adoption(deals) AS b LOOP
			RAISE NOTICE '%: %', step.item, step.action;
		END LOOP;
		COMMIT;
	END IF;

	-- A row that somebody else was changing is left to the next pass.
	LOOP
		last_pass := filled;
		FOR part IN SELECT l.leaf, l.blocks, pipelines._blocks_of(l.leaf, batch_rows) AS size FROM pipelines._leaves(deals) AS l LOOP
			position := 0;
			WHILE position OPERATOR(pg_catalog.<) part.blocks LOOP
				filled := filled OPERATOR(pg_catalog.+) pipelines._adopt_fill(part.leaf, position, part.size);
				position := position OPERATOR(pg_catalog.+) part.size;
				batches := batches OPERATOR(pg_catalog.+) 1;
				COMMIT;
				IF batches OPERATOR(pg_catalog.%) 100 OPERATOR(pg_catalog.=) 0 THEN
					RAISE NOTICE '% rows adopted; block % of % of %', filled, position, part.blocks, part.leaf;
				END IF;
			END LOOP;
		END LOOP;
		EXIT WHEN pipelines._is_filled(deals);
		IF filled OPERATOR(pg_catalog.=) last_pass THEN
			PERFORM pipelines._refuse_unfilled(deals);
		END IF;
	END LOOP;

	-- NOT NULL without reading the table under a lock that stops writers
	PERFORM pipelines._not_null_step(deals, 1);
	COMMIT;
	PERFORM pipelines._not_null_step(deals, 2);
	COMMIT;
	PERFORM pipelines._not_null_step(deals, 3);
	PERFORM pipelines._end_adoption(deals);
	RAISE NOTICE '% rows of % adopted', filled, deals
		USING HINT = pipelines._index_advice(deals);
END
$$;
COMMENT ON PROCEDURE pipelines.adopt_in_batches(regclass, bigint) IS
'Adopts a table as pipelines.adoption_plan says, beside writers: columns, triggers and views first (a moment''s lock), then the rows in batches of about batch_rows, each in a transaction of its own, then NOT NULL. Rows that are changed meanwhile are completed by the trigger. Call it outside a transaction; if it is interrupted, call it again. Progress is reported by notices.
Errors: as adopt(), and 23S01 for rows that no stage is planned for.';

CREATE FUNCTION pipelines._check_batches(deals regclass, batch_rows bigint)
RETURNS void
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM pipelines._need_owner(deals);
	IF batch_rows IS NULL OR batch_rows < 1 THEN
		RAISE EXCEPTION 'batch_rows must be at least 1'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	PERFORM pipelines._need_definitions();
END
$$;
COMMENT ON FUNCTION pipelines._check_batches(regclass, bigint) IS
	'Raises an error if adopt_in_batches() can''t work.';

-- so many blocks hold about so many rows
CREATE FUNCTION pipelines._blocks_of(leaf regclass, rows bigint)
RETURNS bigint
LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 10
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT greatest(1, CASE WHEN c.relpages > 0 AND c.reltuples > 0 THEN ceil($2 * c.relpages / c.reltuples)
							ELSE ceil($2 / 50.0) END)::bigint
	FROM pg_class c WHERE c.oid = $1
$$;
COMMENT ON FUNCTION pipelines._blocks_of(regclass, bigint) IS
	'How many blocks of a table hold about so many rows.';

CREATE FUNCTION pipelines._not_null_step(deals regclass, step integer)
RETURNS void
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	stage name;
	furthest name;
BEGIN
	SELECT r.column_name INTO stage FROM pipelines._roles(deals) r WHERE r.role = 'stage_id';
	SELECT r.column_name INTO furthest FROM pipelines._roles(deals) r WHERE r.role = 'furthest_stage_id';
	IF step = 1 THEN
		PERFORM pipelines._lock_gently(deals);
		IF NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conrelid = deals AND c.conname = 'pipelines_filled') THEN
			EXECUTE format('ALTER TABLE %s ADD CONSTRAINT pipelines_filled CHECK (%I IS NOT NULL AND %I IS NOT NULL) NOT VALID',
						   deals, stage, furthest);
		END IF;
	ELSIF step = 2 THEN
		EXECUTE format('ALTER TABLE %s VALIDATE CONSTRAINT pipelines_filled', deals);
	ELSE
		PERFORM pipelines._lock_gently(deals);
		EXECUTE format('ALTER TABLE %s ALTER COLUMN %I SET NOT NULL, ALTER COLUMN %I SET NOT NULL', deals, stage, furthest);
		EXECUTE format('ALTER TABLE %s DROP CONSTRAINT pipelines_filled', deals);
	END IF;
END
$$;
COMMENT ON FUNCTION pipelines._not_null_step(regclass, integer) IS
	'One of three steps to NOT NULL of our columns: a check that is not valid yet, its validation, NOT NULL itself.';

CREATE FUNCTION pipelines.add_stage_value(deals regclass, value text, stage text, part text DEFAULT 'stage',
	is_written boolean DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	registration record;
	stage_found integer;
BEGIN
	PERFORM pipelines._need_owner(deals);
	IF value IS NULL OR part IS NULL OR part NOT IN ('stage', 'outcome') THEN
		RAISE EXCEPTION 'a value of the stage or of the outcome must be given'
			USING ERRCODE = 'invalid_parameter_value',
				  HINT = 'part is ''stage'' or ''outcome''; an empty value stands for NULL.';
	END IF;
	SELECT t.* INTO registration FROM pipelines.tracked_table t WHERE t.relation = add_stage_value.deals AND t.adopted;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'table % was not adopted', deals
			USING ERRCODE = 'object_not_in_prerequisite_state';
	END IF;
	SELECT s.stage_id INTO stage_found
	FROM pipelines.stage s
	WHERE (s.name = add_stage_value.stage OR s.code = add_stage_value.stage)
		AND EXISTS (SELECT FROM pipelines.pipeline_stage ps JOIN pipelines.pipeline p ON p.pipeline_id = ps.pipeline_id
					WHERE ps.stage_id = s.stage_id AND p.layout_id = registration.layout_id)
	ORDER BY s.name = add_stage_value.stage DESC
	LIMIT 1;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'stage "%" does not exist in the layout of table %', stage, deals
			USING ERRCODE = '23S01',
				  HINT = 'Add it to a pipeline first.';
	END IF;
	PERFORM pipelines._register_values(deals, ARRAY[add_stage_value.part], ARRAY[add_stage_value.value], ARRAY[stage_found],
		ARRAY[coalesce(add_stage_value.is_written, add_stage_value.value <> '' AND NOT EXISTS (
			SELECT FROM pipelines.stage_value v
			WHERE v.relation = add_stage_value.deals AND v.part = add_stage_value.part AND v.stage_id = stage_found AND v.is_written
				AND v.value <> add_stage_value.value))], false);
END
$$;
COMMENT ON FUNCTION pipelines.add_stage_value(regclass, text, text, text, boolean) IS
'Says which stage a value of the application''s own column stands for, after the table was adopted: a new label of its enum, a new row of its table of stages. is_written: is it the value that is written for the stage? Left out: if it is the first one.
Errors: 42501 not the owner, 23S01 no such stage, 55000 not an adopted table, 22023.';

-- import_history() has filled in the past of an adopted table: if it did so for
-- every deal that was adopted, what is known begins right before the first event,
-- which created a deal.
CREATE FUNCTION pipelines._extend_past(deals regclass)
RETURNS void
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	registration record;
	first timestamptz;
	many bigint;
BEGIN
	SELECT t.* INTO registration FROM pipelines.tracked_table t
		WHERE t.relation = _extend_past.deals AND t.adopted AND t.tracked_since <> '-infinity';
	IF NOT FOUND THEN
		RETURN;
	END IF;
	EXECUTE format('SELECT min(x.since), count(*) FILTER (WHERE x.version = 1 AND x.since = $1)
		FROM (SELECT %1$s AS version, %2$s AS since FROM %3$s d
			  UNION ALL SELECT h.%4$I, h.%5$I FROM %6$s h) x',
		pipelines._column(deals, 'version'), pipelines._column(deals, 'changed_at'), deals,
		pipelines._own_column(registration.history, 'version'), pipelines._own_column(registration.history, 'valid_from'),
		registration.history)
	INTO first, many USING registration.tracked_since;
	IF many > 0 THEN
		RAISE NOTICE 'of % deals of % nothing is known before they were adopted', many, deals
			USING HINT = 'as_of() goes further back once the past of all of them is imported.';
	ELSIF first < registration.tracked_since THEN
		PERFORM pipelines._register(deals, registration.history, registration.layout_id, registration.key,
			registration.columns, registration.currency, registration.foreign_keys, registration.on_truncate,
			first - interval '1 microsecond', true, NULL::jsonb);
	END IF;
END
$$;
COMMENT ON FUNCTION pipelines._extend_past(regclass) IS
	'After an import: since when the past of an adopted table is known.';

-- What the application's columns of a deal (d) say, as SQL text: the id of a
-- stage, NULL for a value that stands for none.
CREATE FUNCTION pipelines._said_stage(deals regclass)
RETURNS text
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	-- a value of a stage that was merged stands for the one that took over
	SELECT format('(SELECT coalesce(p.merged_into, s.said) FROM (SELECT coalesce(%s) AS said) s LEFT JOIN pipelines.pipeline_stage p ON p.pipeline_id = %s AND p.stage_id = s.said)',
				  string_agg(x.expression, ', ' ORDER BY x.n), pipelines._column($1, 'pipeline_id'))
	FROM (SELECT w.n, format('(SELECT v.stage_id FROM pipelines.stage_value v WHERE v.relation = %s AND v.part = %L AND v.value = coalesce(%s, ''''))',
							 $1::oid, w.part, pipelines._text_of($1, 'd', r.column_name)) AS expression
		  FROM (VALUES (1, 'application_outcome', 'outcome'), (2, 'application_stage', 'stage')) w(n, role, part)
		  JOIN pipelines._roles($1) r ON r.role = w.role
		  WHERE r.column_name IS NOT NULL
		  UNION ALL
		  SELECT 3, format('(SELECT s.stage_id FROM pipelines.stage s WHERE s.name = %s)', pipelines._text_of($1, 'd', r.column_name))
		  FROM pipelines._roles($1) r WHERE r.role = 'application_stage' AND r.column_name IS NOT NULL) x
$$;
COMMENT ON FUNCTION pipelines._said_stage(regclass) IS
	'The stage that the application''s columns of an adopted table say, as SQL text.';

-- How many deals are elsewhere than the application says: it wrote while our
-- triggers were not there.
CREATE FUNCTION pipelines._disagreeing(deals regclass)
RETURNS bigint
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	answer bigint := 0;
BEGIN
	IF EXISTS (SELECT FROM pipelines._roles(deals) r WHERE r.role = 'application_stage' AND r.column_name IS NOT NULL)
		AND NOT pipelines._adoption_open(deals)
	THEN
		EXECUTE format('SELECT count(*) FROM %s d WHERE %s <> %s', deals, pipelines._said_stage(deals),
					   pipelines._column(deals, 'stage_id'))
		INTO answer;
	END IF;
	RETURN answer;
END
$$;
COMMENT ON FUNCTION pipelines._disagreeing(regclass) IS
	'How many deals of an adopted table are elsewhere than the application''s columns say.';

CREATE FUNCTION pipelines.follow_application(deals regclass)
RETURNS bigint
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	moved bigint;
BEGIN
	PERFORM pipelines._need_owner(deals);
	IF NOT EXISTS (SELECT FROM pipelines._roles(deals) r WHERE r.role = 'application_stage') THEN
		RAISE EXCEPTION 'table % was not adopted', deals
			USING ERRCODE = 'object_not_in_prerequisite_state';
	END IF;
	EXECUTE format('UPDATE %1$s d SET %2$I = %3$s WHERE %3$s <> d.%2$I', deals,
				   (SELECT r.column_name FROM pipelines._roles(deals) r WHERE r.role = 'stage_id'),
				   pipelines._said_stage(deals));
	GET DIAGNOSTICS moved = ROW_COUNT;
	RETURN moved;
END
$$;
COMMENT ON FUNCTION pipelines.follow_application(regclass) IS
'Moves deals of an adopted table to the stage that the application''s own columns say: after these were written while our triggers were missing (resume() reports it). A move as any other, with rules and history, of the present instant. Returns how many.
Errors: 42501 not the owner, 55000 not an adopted table, and those of a move.';
