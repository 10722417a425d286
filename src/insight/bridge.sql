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

CREATE FUNCTION pipelines._condition_columns(deals regclass, condition text, OUT name text, OUT attnum smallint)
RETURNS SETOF record
LANGUAGE c STABLE STRICT PARALLEL SAFE COST 100 ROWS 5
AS 'MODULE_PATHNAME', 'pipelines_condition_columns';
COMMENT ON FUNCTION pipelines._condition_columns(regclass, text) IS
'What a condition over a table of deals calls columns (their names, or the parts that they play), and which they are. Raises 42601, 42703, 42804 and 0A000 for what is not a condition of immutable functions of pg_catalog.';

-- The deals or their history as one arm of a query: FROM and the columns of a
-- deal that conditions look at.  A column that is not tracked is that of the
-- present row, also in the past (NULL where the deal is gone).
CREATE FUNCTION pipelines._bridge_from(deals regclass, of_history boolean, conditions text[])
RETURNS text
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	history regclass := (SELECT t.history FROM pipelines.tracked_table t WHERE t.relation = _bridge_from.deals);
	result text := CASE WHEN of_history THEN format('%s h', history) ELSE format('%s d', deals) END;
	condition text;
	columns text;
	present boolean;
	n integer := 0;
BEGIN
	SELECT string_agg(CASE WHEN NOT of_history THEN format('d.%I AS %I', a.attname, w.name)
				WHEN m.history_column IS NULL THEN format('n.%I AS %I', a.attname, w.name)
				ELSE format('CAST(h.%I AS %s) AS %I', m.history_column, format_type(a.atttypid, a.atttypmod), w.name) END, ', '),
		   coalesce(bool_or(m.history_column IS NULL), false) AND of_history
	INTO columns, present
	FROM (SELECT DISTINCT k.name, k.attnum FROM unnest(conditions) c (text), pipelines._condition_columns(_bridge_from.deals, c.text) k) w
	JOIN pg_attribute a ON a.attrelid = _bridge_from.deals AND a.attnum = w.attnum
	LEFT JOIN pipelines._layout_columns(_bridge_from.deals) m ON m.attnum = a.attnum;
	IF present THEN
		result := result || format(' LEFT JOIN %s n ON %s', deals,
			(SELECT string_agg(format('n.%I = h.%I', m.column_name, m.history_column), ' AND ' ORDER BY m.n)
			 FROM pipelines._roles(_bridge_from.deals) m WHERE m.role ~ '^key[1-9]'));
	END IF;
	FOREACH condition IN ARRAY conditions LOOP
		n := n + 1;
		CONTINUE WHEN condition IS NULL;
		result := result || format(E' CROSS JOIN LATERAL (SELECT (%s\n) IS TRUE AS met FROM (SELECT %s) x) c%s',
								   condition, coalesce(columns, '1'), n);
	END LOOP;
	RETURN result;
END
$$;
COMMENT ON FUNCTION pipelines._bridge_from(regclass, boolean, text[]) IS
'What stands after FROM for the deals (d) or their history (h), with the conditions as c1.met, c2.met, ..., as SQL text.';

-- The query of bridge.c: all versions that were valid at any time from $1 to $2,
-- in no order.  Further parameters: $3 pipelines, $4 owners, $5 days of the
-- expected closing.  Unless all of them are wanted (whole), those are left out
-- that began and ended in between and neither begin a life nor precede a closing
-- or deletion.  Columns that only changes() needs are NULL where it isn't asked.
CREATE FUNCTION pipelines._bridge_query(deals regclass, of_pipelines boolean, of_owners boolean, of_days boolean,
										filter text, listed boolean, whole boolean)
RETURNS text
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	registration record;
	of_history boolean;
	arms text[] := '{}';
	missing text;
	keys text;
	began text;
	ended text;
	change text;
	version text;
BEGIN
	SELECT t.* INTO registration FROM pipelines.tracked_table t WHERE t.relation = _bridge_query.deals;
	FOREACH of_history IN ARRAY '{true,false}'::boolean[] LOOP
		IF of_history THEN
			began := format('h.%I', pipelines._own_column(registration.history, 'valid_from'));
			ended := format('h.%I', pipelines._own_column(registration.history, 'valid_to'));
			change := format('h.%I', pipelines._own_column(registration.history, 'change'));
			version := format('h.%I', pipelines._own_column(registration.history, 'version'));
		ELSE
			began := pipelines._column(deals, 'changed_at');
			version := pipelines._column(deals, 'version');
		END IF;
		missing := coalesce((
			SELECT string_agg(format('CASE WHEN %s THEN 0 ELSE %s END', w.condition, w.bit), ' + ')
			FROM (VALUES
				(of_pipelines, 1, pipelines._column(deals, 'pipeline_id', NULL::text, of_history) || ' = ANY ($3)'),
				(of_owners, 2, pipelines._column(deals, 'owner', 'text'::text, of_history) || ' = ANY ($4)'),
				(of_days, 4, pipelines._column(deals, 'expected_close_on', 'date'::text, of_history) || ' <@ $5'),
				(filter IS NOT NULL, 8, 'c1.met')) AS w (wanted, bit, condition)
			WHERE w.wanted), '0');
		SELECT string_agg(CASE WHEN of_history THEN format('h.%I', m.history_column) ELSE format('d.%I', m.column_name) END, ', ' ORDER BY m.n)
		INTO STRICT keys
		FROM pipelines._roles(_bridge_query.deals) m
		WHERE m.role ~ '^key[1-9]';

		arms := arms || format('SELECT %s, %s, %s, %s, %s, %s, %s, coalesce(%s, %L), %s, %s, %s, %s, %s, %s, %s, %s FROM %s WHERE %s',
			version,
			CASE WHEN of_history THEN format('%s = %L', change, 'delete') ELSE 'false' END,
			began, CASE WHEN of_history THEN ended ELSE format('%L::timestamptz', 'infinity') END,
			pipelines._column(deals, 'pipeline_id', NULL::text, of_history), pipelines._column(deals, 'stage_id', NULL::text, of_history),
			pipelines._column(deals, 'amount', 'numeric'::text, of_history),
			pipelines._column(deals, 'currency', 'text'::text, of_history), registration.currency,
			pipelines._column(deals, 'probability', 'numeric'::text, of_history),
			pipelines._column(deals, 'forecast_category', 'text'::text, of_history),
			CASE WHEN registration.live IS NOT NULL THEN 'c2.met' ELSE 'true' END, missing,
			CASE WHEN listed THEN pipelines._column(deals, 'owner', 'text'::text, of_history) ELSE 'NULL::text' END,
			CASE WHEN listed THEN pipelines._column(deals, 'expected_close_on', 'date'::text, of_history) ELSE 'NULL::date' END,
			CASE WHEN NOT listed THEN 'NULL::text'
				WHEN keys LIKE '%, %' THEN format('ROW(%s)::text', keys) ELSE format('%s::text', keys) END,
			keys,
			pipelines._bridge_from(deals, of_history, ARRAY[filter, registration.live]),
			concat_ws(' AND ',
				CASE WHEN of_history THEN format('%s > $1', ended) END,
				format('%s <= $2', began),
				CASE WHEN of_history AND NOT (whole OR registration.live IS NOT NULL)
					THEN format('(%s = 1 OR %s IN (%L, %L) OR %s > $2 OR %s <= $1)', version, change, 'close', 'delete', ended, began) END));
	END LOOP;
	RETURN array_to_string(arms, ' UNION ALL ');
END
$$;
COMMENT ON FUNCTION pipelines._bridge_query(regclass, boolean, boolean, boolean, text, boolean, boolean) IS
'Text of the query behind bridge() and changes(): what the scope names, whether for changes(), whether of all versions.';

-- Composite types, since a result may not be called as an argument is.
CREATE TYPE pipelines.bridge_leg AS (
	currency text,
	n integer,
	leg text,
	reason text,
	deals bigint,
	unpriced bigint,
	value numeric
);
COMMENT ON TYPE pipelines.bridge_leg IS 'A row of pipelines.bridge().';
COMMENT ON COLUMN pipelines.bridge_leg.currency IS 'Currency of the value; NULL: the table has no default currency, and none was given.';
COMMENT ON COLUMN pipelines.bridge_leg.n IS 'Order of the legs.';
COMMENT ON COLUMN pipelines.bridge_leg.leg IS 'start, created, reopened, moved_in, increased, decreased, stage_move, override, probability_redefined (these three where it is weighted), fx (where it is converted), won, lost, disqualified, done, moved_out, deleted, end.';
COMMENT ON COLUMN pipelines.bridge_leg.reason IS 'Of moved_in and moved_out: pipeline, owner, date (of the expected closing), currency, other (the filter; on hold, or omitted from forecasts).';
COMMENT ON COLUMN pipelines.bridge_leg.deals IS 'How many deals make the leg.';
COMMENT ON COLUMN pipelines.bridge_leg.unpriced IS 'How many of them have no amount, or none that could be converted: they are counted, and worth nothing.';
COMMENT ON COLUMN pipelines.bridge_leg.value IS 'What the leg adds; start and all legs add up to end.';

CREATE TYPE pipelines.deal_change AS (
	deal text,
	currency text,
	leg text,
	reason text,
	value numeric,
	amount_before numeric,
	amount_after numeric,
	currency_before text,
	currency_after text,
	pipeline_before integer,
	pipeline_after integer,
	stage_before integer,
	stage_after integer,
	outcome_before text,
	outcome_after text,
	probability_before numeric,
	probability_after numeric,
	weighted_before numeric,
	weighted_after numeric,
	owner_before text,
	owner_after text,
	expected_before date,
	expected_after date
);
COMMENT ON TYPE pipelines.deal_change IS 'A row of pipelines.changes(): a deal, one leg of the bridge that it makes, and what it was before and after. ..._before is NULL for a deal that was not there at the first instant, ..._after for one that is not at the second.';
COMMENT ON COLUMN pipelines.deal_change.deal IS 'The deal: text form of its key.';
COMMENT ON COLUMN pipelines.deal_change.leg IS 'The leg, as in bridge(); NULL: changed in a way that the bridge does not count.';
COMMENT ON COLUMN pipelines.deal_change.value IS 'What the deal adds to the leg.';
COMMENT ON COLUMN pipelines.deal_change.pipeline_before IS 'pipeline_id at the first instant.';
COMMENT ON COLUMN pipelines.deal_change.stage_before IS 'stage_id at the first instant.';
COMMENT ON COLUMN pipelines.deal_change.probability_before IS 'Percent, by the definitions in force at the first instant.';
COMMENT ON COLUMN pipelines.deal_change.probability_after IS 'Percent, by the definitions in force at the second instant.';

CREATE FUNCTION pipelines.bridge(deals regclass, "from" timestamptz DEFAULT now() - interval '7 days', "to" timestamptz DEFAULT now(),
		pipelines text[] DEFAULT NULL, owners text[] DEFAULT NULL, expected daterange DEFAULT NULL, filter text DEFAULT NULL,
		weighted boolean DEFAULT false, currency text DEFAULT NULL, rate_set text DEFAULT 'spot')
RETURNS SETOF pipelines.bridge_leg
LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000 ROWS 20
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pipelines_bridge';
COMMENT ON FUNCTION pipelines.bridge(regclass, timestamptz, timestamptz, text[], text[], daterange, text, boolean, text, text) IS
'What led from the open pipeline of one instant to that of another: start plus the legs is end, exactly, for every scope and any two instants. In scope are open deals that count in forecasts (not of category omitted), of the pipelines (names, codes or ids) and owners given, expected to close on days of the range, for which the filter is true (a condition over columns of the deals: immutable functions of pg_catalog only; a column that is not tracked is taken from the present row). weighted: amount times probability. One row a leg and currency, or converted to one currency: at the rate of the day of each instant, of the closing for closed deals. A deal made and closed in between makes both legs; changes before a closing, and what the closing itself sets, go to increased and decreased, and won is the amount it was won with. Definitions count as they were at each instant. Errors: 22023 (the instants, or nothing is known of the first one), 42601, 42703, 42804, 0A000 (the filter), 23S01 (no such pipeline).';

CREATE FUNCTION pipelines.changes(deals regclass, "from" timestamptz DEFAULT now() - interval '7 days', "to" timestamptz DEFAULT now(),
		pipelines text[] DEFAULT NULL, owners text[] DEFAULT NULL, expected daterange DEFAULT NULL, filter text DEFAULT NULL,
		weighted boolean DEFAULT false, currency text DEFAULT NULL, rate_set text DEFAULT 'spot')
RETURNS SETOF pipelines.deal_change
LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000 ROWS 10000
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pipelines_changes';
COMMENT ON FUNCTION pipelines.changes(regclass, timestamptz, timestamptz, text[], text[], daterange, text, boolean, text, text) IS
'The deals behind bridge(), with the same arguments: one row for each deal and leg, what the deal was before and after side by side. The values of a leg add up to the bridge''s. A deal that changed in scope without making a leg has one row with leg NULL and value 0. A key that was deleted and came back makes the legs of both lives.';
