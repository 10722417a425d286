-------------------------------------------------------------------------------
-- bridge.sql
--   What changed between two instants: definitions as they were, the bridge
--   from one pipeline to another, the deals behind it, and the review.
-------------------------------------------------------------------------------

-- A definition table and its past, as a query with $1 instant.  A first version
-- is valid since -infinity.
CREATE FUNCTION pipelines._definitions_query(definitions regclass) RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	name name;
	twin regclass;
	past text;
	present text;
BEGIN
	SELECT c.relname INTO name
	FROM pg_class AS c
	JOIN pipelines._definition_tables() AS d ON d.table_name = c.relname AND d.versioned
	WHERE c.oid = definitions AND c.relnamespace = 'pipelines'::regnamespace;
	IF name IS NOT NULL THEN
		twin := to_regclass(format('pipelines.%I', name || '_history'));
	END IF;
	IF twin IS NULL THEN
		RAISE EXCEPTION '% is not a definition table with a past', definitions
			USING ERRCODE = 'wrong_object_type',
				  HINT = format('These are: %s.', (SELECT string_agg(d.table_name, ', ' ORDER BY d.ordinal)
					FROM pipelines._definition_tables() AS d WHERE d.versioned));
	END IF;
	-- a regclass is kept as the name that the table had
	SELECT string_agg(CASE WHEN h.attnum IS NULL AND a.attname <> 'changed_at' THEN format('NULL::%s', format_type(a.atttypid, a.atttypmod))
				WHEN a.attname = 'changed_at' THEN 'h.valid_from'
				WHEN a.atttypid = 'regclass'::regtype THEN format('to_regclass(h.%I)', a.attname)
				WHEN h.atttypid <> a.atttypid THEN format('h.%I::%s', a.attname, format_type(a.atttypid, a.atttypmod))
				ELSE format('h.%I', a.attname) END, ', ' ORDER BY a.attnum),
		   string_agg(format('d.%I', a.attname), ', ' ORDER BY a.attnum)
	INTO STRICT past, present
	FROM pg_attribute AS a
	LEFT JOIN pg_attribute AS h ON h.attrelid = twin AND h.attname = a.attname AND h.attnum > 0 AND NOT h.attisdropped
	WHERE a.attrelid = definitions AND a.attnum > 0 AND NOT a.attisdropped;
	RETURN format('SELECT %s FROM %s AS h WHERE h.valid_from <= $1 AND h.valid_to > $1 '
				  'UNION ALL SELECT %s FROM %s AS d WHERE d.changed_at <= $1',
				  past, twin, present, definitions);
END
$$;
COMMENT ON FUNCTION pipelines._definitions_query(regclass) IS
'Text of the query that reads a definition table as it was at $1. Raises 42809 for any other table.';

CREATE FUNCTION pipelines.definitions_as_of(definitions anyelement, at timestamptz)
RETURNS SETOF anyelement
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000 ROWS 1000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	relation regclass := (SELECT t.typrelid FROM pg_type AS t WHERE t.oid = pg_typeof(definitions) AND t.typrelid <> 0);
BEGIN
	IF relation IS NULL THEN
		RAISE EXCEPTION 'the first argument of pipelines.definitions_as_of() is not a row of a table'
			USING ERRCODE = 'datatype_mismatch',
				  HINT = 'Write NULL::<table>, as in pipelines.definitions_as_of(NULL::pipelines.pipeline_stage, now()).';
	END IF;
	RETURN QUERY EXECUTE pipelines._definitions_query(relation) USING definitions_as_of.at;
END
$$;
COMMENT ON FUNCTION pipelines.definitions_as_of(anyelement, timestamptz) IS
'A definition table (pipelines, stages, maps, rates, quotas, ...: all that have a twin <table>_history) as it was at an instant: SELECT * FROM pipelines.definitions_as_of(NULL::pipelines.pipeline_stage, ''2026-03-03''). The first version of a row counts for all times before it, as everywhere in reports. changed_at is the beginning of the version. A NULL instant gives no rows. Errors: 42804 (not a row of a table), 42809 (not a definition table with a past). Runs with the rights of the caller.';
