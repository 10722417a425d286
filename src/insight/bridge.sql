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

CREATE FUNCTION pipelines._condition_columns(deals regclass, condition text, what text, OUT name text, OUT attnum smallint)
RETURNS SETOF record
LANGUAGE c STABLE STRICT PARALLEL SAFE COST 100 ROWS 5
AS 'MODULE_PATHNAME', 'pipelines_condition_columns';
COMMENT ON FUNCTION pipelines._condition_columns(regclass, text, text) IS
'What a condition over a table of deals calls columns (their names, or the parts that they play), and which they are. what: how errors call it. Raises 42601, 42703, 42804 and 0A000 for what is not a condition of immutable functions of pg_catalog.';

-- The deals or their history as one arm of a query: FROM and the columns of a
-- deal that conditions look at.  A column that is not tracked is that of the
-- present row, also in the past (NULL where the deal, or that life of its key, is
-- gone).  A version whose columns don't say whether it is a deal, since they weren't
-- tracked yet or the deal is gone, is one.
CREATE FUNCTION pipelines._bridge_from(deals regclass, of_history boolean, filter text)
RETURNS text
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	registration record;
	result text;
	columns text;
	present boolean;
	unsaid text := of_history::text;
BEGIN
	SELECT t.history, t.live INTO registration FROM pipelines.tracked_table t WHERE t.relation = _bridge_from.deals;
	result := CASE WHEN of_history THEN format('%s h', registration.history) ELSE format('%s d', deals) END;
	SELECT string_agg(CASE WHEN NOT of_history THEN format('d.%I AS %I', a.attname, w.name)
				WHEN m.history_column IS NULL THEN format('n.%I AS %I', a.attname, w.name)
				ELSE format('CAST(h.%I AS %s) AS %I', m.history_column, format_type(a.atttypid, a.atttypmod), w.name) END, ', '),
		   coalesce(bool_or(m.history_column IS NULL), false) AND of_history
	INTO columns, present
	FROM (SELECT DISTINCT k.name, k.attnum
		  FROM (VALUES (filter, 'the filter'), (registration.live, pipelines._live_name(_bridge_from.deals))) c (text, name),
			  pipelines._condition_columns(_bridge_from.deals, c.text, c.name) k) w
	JOIN pg_attribute a ON a.attrelid = _bridge_from.deals AND a.attnum = w.attnum
	LEFT JOIN pipelines._layout_columns(_bridge_from.deals) m ON m.attnum = a.attnum;
	IF present THEN
		result := result || (SELECT format('%s LEFT JOIN %s n ON %s%s', l.joined, deals, pipelines._key_match(_bridge_from.deals, 'h', 'n'), l.condition)
			FROM pipelines._of_present_life(_bridge_from.deals) l);
		SELECT format('n.%I IS NULL', m.column_name) INTO unsaid
		FROM pipelines._roles(_bridge_from.deals) m WHERE m.role = 'key1';
	END IF;
	RETURN concat(result,
		CASE WHEN filter IS NOT NULL
			 THEN format(E' CROSS JOIN LATERAL (SELECT (%s\n) IS TRUE AS met FROM (SELECT %s) x) c1', filter, coalesce(columns, '1')) END,
		CASE WHEN registration.live IS NOT NULL
			 THEN format(E' CROSS JOIN LATERAL (SELECT coalesce((%s\n), %s) AS met FROM (SELECT %s) x) c2', registration.live, unsaid, coalesce(columns, '1')) END);
END
$$;
COMMENT ON FUNCTION pipelines._bridge_from(regclass, boolean, text) IS
'What stands after FROM for the deals (d) or their history (h), with what meets a filter as c1.met, and what counts as a deal as c2.met (if there are such conditions), as SQL text.';

-- Did a version begin after an instant, with one before it that the reader doesn't
-- see?  Of a protected table that tells that the deal was in a pipeline that isn't
-- theirs to see (or deleted in it: that looks the same).
CREATE FUNCTION pipelines._came_unseen(deals regclass, of_history boolean, instant text)
RETURNS text
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN pipelines._secured($1)
		THEN format('%1$s > %2$s AND %3$s > 1 AND NOT EXISTS (SELECT FROM %4$s p WHERE %5$s AND p.%6$I = %3$s - 1)',
			v.began, $3, v.version, t.history,
			CASE WHEN $2 THEN pipelines._versions_match($1, 'p', 'h') ELSE pipelines._key_match($1, 'p', 'd') END,
			pipelines._own_column(t.history, 'version'))
		ELSE 'false' END
	FROM pipelines.tracked_table t
	CROSS JOIN LATERAL (SELECT CASE WHEN $2 THEN format('h.%I', pipelines._own_column(t.history, 'valid_from')) ELSE pipelines._column($1, 'changed_at') END,
		CASE WHEN $2 THEN format('h.%I', pipelines._own_column(t.history, 'version')) ELSE pipelines._column($1, 'version') END) v(began, version)
	WHERE t.relation = $1
$$;
COMMENT ON FUNCTION pipelines._came_unseen(regclass, boolean, text) IS
'The condition that a deal (d), or a version of it (h), came after an instant from where its reader can''t see it, as SQL text.';

-- The query of bridge.c: all versions that were valid at any time from $1 to $2,
-- in no order.  Further parameters: $3 pipelines, $4 owners, $5 days of the
-- expected closing.  Unless all of them are wanted (whole), those are left out
-- that began and ended in between and neither begin a life nor precede a closing
-- or deletion, nor are closed: the first of those says what the closing set.  Columns that only changes() needs
-- are NULL where it isn't asked.
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

		arms := arms || format('SELECT %s, %s, %s, %s, %s, %s, %s, %s, coalesce(%s, %L), %s, %s, %s, %s, %s, %s, %s, %s FROM %s WHERE %s',
			version,
			CASE WHEN of_history THEN format('%s = %L', change, 'delete') ELSE 'false' END,
			pipelines._came_unseen(deals, of_history, '$1'::text), began, CASE WHEN of_history THEN ended ELSE format('%L::timestamptz', 'infinity') END,
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
			pipelines._bridge_from(deals, of_history, filter),
			concat_ws(' AND ',
				CASE WHEN of_history THEN format('%s > $1', ended) END,
				format('%s <= $2', began),
				CASE WHEN of_history AND NOT (whole OR registration.live IS NOT NULL)
					THEN format('(%s = 1 OR %s IN (%L, %L) OR %s IS NOT NULL OR %s > $2 OR %s <= $1)', version, change, 'close', 'delete',
						pipelines._column(deals, 'closed_at', NULL::text, true), ended, began) END));
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
	expected_after date,
	flags text[]
);
COMMENT ON TYPE pipelines.deal_change IS 'A row of pipelines.changes(): a deal, one leg of the bridge that it makes, and what it was before and after. ..._before is NULL for a deal that was not there at the first instant, ..._after for one that is not at the second.';
COMMENT ON COLUMN pipelines.deal_change.deal IS 'The deal: text form of its key.';
COMMENT ON COLUMN pipelines.deal_change.currency IS 'Currency of the value; NULL: the table has no default currency, and none was given.';
COMMENT ON COLUMN pipelines.deal_change.leg IS 'The leg, as in bridge(); NULL: changed in a way that the bridge does not count.';
COMMENT ON COLUMN pipelines.deal_change.value IS 'What the deal adds to the leg.';
COMMENT ON COLUMN pipelines.deal_change.reason IS 'Of moved_in and moved_out, as in bridge(): pipeline, owner, date, currency, other.';
COMMENT ON COLUMN pipelines.deal_change.amount_before IS 'Amount at the first instant, in its own currency.';
COMMENT ON COLUMN pipelines.deal_change.amount_after IS 'Amount at the second instant, in its own currency.';
COMMENT ON COLUMN pipelines.deal_change.currency_before IS 'Currency at the first instant.';
COMMENT ON COLUMN pipelines.deal_change.currency_after IS 'Currency at the second instant.';
COMMENT ON COLUMN pipelines.deal_change.pipeline_before IS 'pipeline_id at the first instant.';
COMMENT ON COLUMN pipelines.deal_change.pipeline_after IS 'pipeline_id at the second instant.';
COMMENT ON COLUMN pipelines.deal_change.stage_before IS 'stage_id at the first instant.';
COMMENT ON COLUMN pipelines.deal_change.stage_after IS 'stage_id at the second instant.';
COMMENT ON COLUMN pipelines.deal_change.outcome_before IS 'Outcome of the stage, by the definitions in force at the first instant.';
COMMENT ON COLUMN pipelines.deal_change.outcome_after IS 'Outcome of the stage, by the definitions in force at the second instant.';
COMMENT ON COLUMN pipelines.deal_change.probability_before IS 'Percent, by the definitions in force at the first instant.';
COMMENT ON COLUMN pipelines.deal_change.probability_after IS 'Percent, by the definitions in force at the second instant.';
COMMENT ON COLUMN pipelines.deal_change.weighted_before IS 'Amount times probability at the first instant.';
COMMENT ON COLUMN pipelines.deal_change.weighted_after IS 'Amount times probability at the second instant.';
COMMENT ON COLUMN pipelines.deal_change.owner_before IS 'Owner at the first instant.';
COMMENT ON COLUMN pipelines.deal_change.owner_after IS 'Owner at the second instant.';
COMMENT ON COLUMN pipelines.deal_change.expected_before IS 'Day of the expected closing at the first instant.';
COMMENT ON COLUMN pipelines.deal_change.expected_after IS 'Day of the expected closing at the second instant.';
COMMENT ON COLUMN pipelines.deal_change.flags IS 'What a review would point out at the second instant, as in review(): new, moved, pushed_back, stalled, pushed, past_due, no_next_step, large; NULL for a deal that is not there then.';

-- What is done with a row costs more than its way from another process.
CREATE FUNCTION pipelines.bridge(deals regclass, "from" timestamptz DEFAULT NULL, "to" timestamptz DEFAULT now(),
		pipelines text[] DEFAULT NULL, owners text[] DEFAULT NULL, expected daterange DEFAULT NULL, filter text DEFAULT NULL,
		weighted boolean DEFAULT false, currency text DEFAULT NULL, rate_set text DEFAULT 'spot', definitions text DEFAULT 'then')
RETURNS SETOF pipelines.bridge_leg
LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000 ROWS 20
SET search_path = pg_catalog, pg_temp
SET parallel_tuple_cost = 0.01
AS 'MODULE_PATHNAME', 'pipelines_bridge';
COMMENT ON FUNCTION pipelines.bridge(regclass, timestamptz, timestamptz, text[], text[], daterange, text, boolean, text, text, text) IS
'What led from the open pipeline of one instant to that of another: start plus the legs is end, exactly, for every scope and any two instants. In scope are open deals that count in forecasts (not of category omitted), of the pipelines (names, codes or ids) and owners given (of nobody''s: filter => ''owner IS NULL''), expected to close on days of the range, for which the filter is true (a condition over columns of the deals: immutable functions of pg_catalog only; a column that is not tracked is taken from the present row). weighted: amount times probability, the deal''s own or that of its stage; scores don''t count here. One row a leg and currency, or converted to one currency: at the rate of the day of each instant, of the closing for closed deals; rates as they were known at the instant, so that one bridge begins where another one ended, and a correction in between is in fx; an amount without a rate at only one of them counts in fx. from NULL: seven days before to, but not before an adopted table was adopted. A deal made and closed in between makes both legs, also one that was made closed; changes before a closing, and what the closing itself sets, go to increased and decreased, and won is the amount it was won with. Definitions count as they were at each instant (definitions then), or as they are today for both (current; R-2.33). On a protected table a deal that comes from a pipeline that the reader may not see has moved in (also one whose key was deleted there: that looks the same), one that goes there has moved out. Errors: 22023 (the instants, nothing is known of the first one, or definitions neither of these words), 42601, 42703, 42804, 0A000 (the filter), 23S01 (no such pipeline).';

CREATE FUNCTION pipelines._changes(deals regclass, "from" timestamptz, "to" timestamptz, pipelines text[], owners text[],
		expected daterange, filter text, weighted boolean, currency text, rate_set text, definitions text)
RETURNS SETOF pipelines.deal_change
LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000 ROWS 10000
SET search_path = pg_catalog, pg_temp
SET parallel_tuple_cost = 0.01
AS 'MODULE_PATHNAME', 'pipelines_changes';
COMMENT ON FUNCTION pipelines._changes(regclass, timestamptz, timestamptz, text[], text[], daterange, text, boolean, text, text, text) IS
'What changes() returns, without the flags.';

CREATE TYPE pipelines.deal_review AS (
	deal text,
	flags text[],
	pipeline_id integer,
	pipeline_name text,
	stage_id integer,
	stage_name text,
	outcome text,
	owner text,
	currency text,
	amount numeric,
	amount_before numeric,
	probability numeric,
	stage_before text,
	expected_close_on date,
	expected_before date,
	pushed_days integer,
	next_action_at timestamptz,
	days_in_stage numeric
);
COMMENT ON TYPE pipelines.deal_review IS 'A row of pipelines.review().';
COMMENT ON COLUMN pipelines.deal_review.deal IS 'The deal: text form of its key.';
COMMENT ON COLUMN pipelines.deal_review.flags IS 'Why it is here: new, moved (another stage, pipeline or outcome; also what comes from a pipeline that the reader does not see), pushed_back (to an earlier stage, by push_back()), stalled, pushed (expected to close later), past_due, no_next_step, large.';
COMMENT ON COLUMN pipelines.deal_review.outcome IS 'Outcome of its stage.';
COMMENT ON COLUMN pipelines.deal_review.amount_before IS 'Amount at the earlier instant; NULL: none, or the deal was not there.';
COMMENT ON COLUMN pipelines.deal_review.probability IS 'Percent, as it counts.';
COMMENT ON COLUMN pipelines.deal_review.stage_before IS 'Name of the stage at the earlier instant.';
COMMENT ON COLUMN pipelines.deal_review.expected_before IS 'Day of the expected closing at the earlier instant.';
COMMENT ON COLUMN pipelines.deal_review.pushed_days IS 'By how many days the expected closing was put off; negative: brought forward.';
COMMENT ON COLUMN pipelines.deal_review.days_in_stage IS 'Days of 24 hours since the stage was entered; NULL at the end of time.';

-- What a review asks of the stages, as they were.
CREATE FUNCTION pipelines._review_stages(at timestamptz, large numeric)
RETURNS TABLE (p integer, s integer, outcome text, probability numeric, stall_limit interval, stall_basis text, stall_time text,
	pipeline_name text, stage_name text, large_from numeric, calendar text, zone text, today date)
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000 ROWS 100
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT x.pipeline_id, x.stage_id, x.outcome, x.probability, x.stall_limit, x.stall_basis, x.stall_time, p.name, s.name,
		   coalesce($2, p.large_from), k.name, z.zone, ($1 AT TIME ZONE z.zone)::date
	FROM pipelines.definitions_as_of(NULL::pipelines.pipeline_stage, $1) x
	LEFT JOIN pipelines.pipeline p ON p.pipeline_id = x.pipeline_id
	LEFT JOIN pipelines.stage s ON s.stage_id = x.stage_id
	LEFT JOIN pipelines.fiscal_calendar k ON k.calendar_id = p.calendar_id
	CROSS JOIN LATERAL (SELECT coalesce(p.time_zone, current_setting('TimeZone')) AS zone) z
$$;
COMMENT ON FUNCTION pipelines._review_stages(timestamptz, numeric) IS
'The stages of all pipelines as they were at an instant, with what a review asks of them; large: from which amount on a deal is large, whatever its pipeline says.';

-- Volatile, though it isn't: so it is called once a row, wherever its result is
-- looked at.
CREATE FUNCTION pipelines._flags(VARIADIC flags text[]) RETURNS text[]
LANGUAGE sql VOLATILE CALLED ON NULL INPUT PARALLEL SAFE COST 1
AS $$ SELECT pg_catalog.array_remove($1, NULL) $$;
COMMENT ON FUNCTION pipelines._flags(text[]) IS
'Those of the flags that are there.';

-- $1 the instant, $2 the earlier one, $3 from which amount on a deal is large, $4
-- and $5 what wanted = 'before' tells: from which amounts on a deal is in the
-- largest tenth, and what is on hold.  The last that it tells is bases: those of
-- limits that there are.  What only another one asks for is a subquery, which
-- would keep the work to one process.
-- The version at the earlier instant of a deal that changed since is in the
-- history; of any other it is the same.  When a deal was made is looked up only
-- where a limit asks for it.  Nothing is materialized: several processes read.
CREATE FUNCTION pipelines._review_query(deals regclass, wanted text, bases text[], scored boolean DEFAULT false) RETURNS text
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	registration record;
	of_history boolean;
	arms text[] := '{}';
	keys text;
	named text;
	began text;
	created text;
	key_columns text;
	last_activity text;
	-- where deals may come from a pipeline that the reader doesn't see
	secured CONSTANT boolean := pipelines._secured(deals);
	said text;
	has_step CONSTANT boolean := EXISTS (SELECT FROM pipelines._roles(deals) r WHERE r.role = 'next_action_at' AND r.column_name IS NOT NULL);
BEGIN
	SELECT t.* INTO registration FROM pipelines.tracked_table t WHERE t.relation = _review_query.deals;
	FOREACH of_history IN ARRAY '{true,false}'::boolean[] LOOP
		SELECT string_agg(CASE WHEN of_history THEN format('h.%I', m.history_column) ELSE format('d.%I', m.column_name) END, ', ' ORDER BY m.n),
			   string_agg(CASE WHEN of_history THEN format('h.%I AS k%s', m.history_column, m.n) ELSE format('d.%I', m.column_name) END, ', ' ORDER BY m.n),
			   format('(SELECT %s FROM %s d WHERE %s)', pipelines._column(deals, 'created_at', 'timestamptz'::text), deals,
					string_agg(format('d.%I = a.k%s', m.column_name, m.n), ' AND ' ORDER BY m.n))
		INTO STRICT keys, named, created
		FROM pipelines._roles(_review_query.deals) m
		WHERE m.role ~ '^key[1-9]';
		began := CASE WHEN of_history THEN format('h.%I', pipelines._own_column(registration.history, 'valid_from'))
			ELSE pipelines._column(deals, 'changed_at') END;
		arms := arms || format('SELECT %s AS key, %s, %s AS began, %s AS ended, %s AS p, %s AS s, %s AS amount, coalesce(%s, %L) AS currency, %s AS probability, %s AS owner, %s AS expected, %s AS step, %s AS entered, %s AS created, %s AS deleted, %s AS pushed_back, %s AS version, %s AS unseen FROM %s WHERE %s <= $1%s%s',
			CASE WHEN keys LIKE '%, %' THEN format('ROW(%s)', keys) ELSE keys END, named, began,
			CASE WHEN of_history THEN format('h.%I', pipelines._own_column(registration.history, 'valid_to'))
				ELSE format('%L::timestamptz', 'infinity') END,
			pipelines._column(deals, 'pipeline_id', NULL::text, of_history), pipelines._column(deals, 'stage_id', NULL::text, of_history),
			pipelines._column(deals, 'amount', 'numeric'::text, of_history),
			pipelines._column(deals, 'currency', 'text'::text, of_history), registration.currency,
			pipelines._column(deals, 'probability', 'numeric'::text, of_history),
			pipelines._column(deals, 'owner', 'text'::text, of_history),
			pipelines._column(deals, 'expected_close_on', 'date'::text, of_history),
			pipelines._column(deals, 'next_action_at', 'timestamptz'::text, of_history),
			pipelines._column(deals, 'stage_entered_at', 'timestamptz'::text, of_history),
			CASE WHEN of_history THEN 'NULL::timestamptz' ELSE pipelines._column(deals, 'created_at', 'timestamptz'::text) END,
			CASE WHEN of_history THEN format('h.%I = %L', pipelines._own_column(registration.history, 'change'), 'delete') ELSE 'false' END,
			CASE WHEN of_history THEN format('h.%I = %L', pipelines._own_column(registration.history, 'change'), 'push_back') ELSE 'false' END,
			CASE WHEN of_history THEN format('h.%I', pipelines._own_column(registration.history, 'version')) ELSE pipelines._column(deals, 'version') END,
			pipelines._came_unseen(deals, of_history, '$2'::text),
			pipelines._bridge_from(deals, of_history, NULL), began,
			CASE WHEN of_history THEN format(' AND h.%I > least($1, $2)', pipelines._own_column(registration.history, 'valid_to')) ELSE '' END,
			CASE WHEN registration.live IS NOT NULL THEN ' AND c2.met' ELSE '' END);
	END LOOP;
	created := format('coalesce(a.created, %s)', created);
	SELECT k.columns, format('(SELECT %s FROM (SELECT a.began AS %I, %s) d)', pipelines._last_activity(deals, '$1'), k.changed_at, k.columns)
	INTO STRICT key_columns, last_activity
	FROM (SELECT max(m.column_name::text) FILTER (WHERE m.role = 'changed_at') AS changed_at,
				 string_agg(format('a.k%s AS %I', m.n, m.column_name), ', ' ORDER BY m.n) FILTER (WHERE m.role ~ '^key[1-9]') AS columns
		  FROM pipelines._roles(_review_query.deals) m) k;
	arms[2] := arms[2] || format(' AND (%s > $2 OR coalesce((%s, %s) NOT IN (SELECT c.p, c.s FROM closed c), true))', began,
		pipelines._column(deals, 'pipeline_id'), pipelines._column(deals, 'stage_id'));
	said := format($query$
	WITH definition AS NOT MATERIALIZED (
		SELECT x.* FROM pipelines._review_stages($1, $3) x
	), past AS NOT MATERIALIZED (
		%1$s
	), closed AS NOT MATERIALIZED (
		SELECT f.p, f.s FROM definition f WHERE f.outcome NOT IN ('open', 'on_hold')
	), deal AS NOT MATERIALIZED (
		-- closed before that: nothing to be said any more
		SELECT h.* FROM past h
		WHERE h.ended > $1 AND (h.began > $2 OR coalesce((h.p, h.s) NOT IN (SELECT c.p, c.s FROM closed c), true))
		UNION ALL
		%2$s
	)$query$, arms[1], arms[2]);
	IF wanted = 'before' THEN
		-- the tenth is for where nothing says what is large
		RETURN said || format($query$
	SELECT coalesce(jsonb_agg(jsonb_build_object('p', x.p, 'currency', x.currency, 'amount', x.amount)), '[]'), %s,
		ARRAY(SELECT DISTINCT f.stall_basis FROM definition f WHERE f.stall_limit IS NOT NULL)
	FROM (
		SELECT pipelines._tenths(2, a.p, a.currency, a.amount) AS tenths
		FROM deal a JOIN definition f ON f.p = a.p AND f.s = a.s AND f.outcome = 'open' AND f.large_from IS NULL
		WHERE a.amount > 0
	) t
	JOIN LATERAL pipelines._sums_rows(t.tenths) x(p integer, currency text, n bigint, amounts bigint, amount numeric) ON x.n >= 10$query$, pipelines._holds('(SELECT f.p AS pipeline_id, f.s AS stage_id, f.outcome FROM definition f)'::text));
	END IF;
	RETURN said || format($query$, earlier AS (
		-- of another life of the key: not the same deal
		SELECT h.* FROM past h
		WHERE h.began <= $2 AND h.ended > $2
			AND NOT EXISTS (SELECT FROM past x WHERE x.key = h.key AND x.deleted AND x.ended > $2 AND x.ended <= $1)%8$s
	), sent_back AS (
		SELECT DISTINCT h.key FROM past h WHERE h.pushed_back AND h.ended > $2 AND h.ended <= $1
	)
	SELECT r.deal, r.flags%5$s
	FROM (
		SELECT a.key::text AS deal, a.p, f.pipeline_name, a.s, f.stage_name, f.outcome, a.owner, a.currency, a.amount, a.step, a.entered, a.expected,
			CASE WHEN f.outcome = 'won' THEN 100 WHEN f.outcome IN ('open', 'on_hold') THEN coalesce(%6$sa.probability, f.probability) ELSE 0 END AS probability,
			CASE WHEN a.began <= $2 THEN a.amount ELSE b.amount END AS amount_before,
			CASE WHEN a.began <= $2 THEN f.stage_name ELSE n.name END AS stage_before,
			CASE WHEN a.began <= $2 THEN a.expected ELSE b.expected END AS expected_before,
			pipelines._flags(
				CASE WHEN a.began > $2 AND b.key IS NULL AND NOT %9$s THEN 'new' END,
				CASE WHEN b.s <> a.s OR b.p <> a.p OR (b.s = a.s AND b.entered <> a.entered) OR b.key IS NULL AND %9$s THEN 'moved' END,
				CASE WHEN v.key IS NOT NULL THEN 'pushed_back' END,
				CASE WHEN f.outcome = 'open' AND f.stall_limit IS NOT NULL AND
					%4$s <= $1 THEN 'stalled' END,
				CASE WHEN f.outcome = 'open' AND a.began > $2 AND a.expected > b.expected THEN 'pushed' END,
				CASE WHEN f.outcome = 'open' AND a.expected < f.today THEN 'past_due' END,
				CASE WHEN f.outcome = 'open' AND %1$s AND (a.step IS NULL OR a.step < $1) THEN 'no_next_step' END,
				CASE WHEN f.outcome = 'open' AND (CASE WHEN f.large_from IS NOT NULL AND a.currency <> %2$L
						THEN pipelines.convert(a.amount, a.currency, %2$L, f.today, 'spot') ELSE a.amount END)
					>= coalesce(f.large_from, t.amount) THEN 'large' END) AS flags
		FROM deal a
		LEFT JOIN definition f ON f.p = a.p AND f.s = a.s
		LEFT JOIN jsonb_to_recordset($4) t (p integer, currency text, amount numeric) ON t.p = a.p AND t.currency COLLATE "C" IS NOT DISTINCT FROM a.currency
		LEFT JOIN earlier b ON b.key = a.key AND a.began > $2
		LEFT JOIN sent_back v ON v.key = a.key AND a.began > $2
		LEFT JOIN pipelines.stage n ON n.stage_id = b.s%7$s
		CROSS JOIN LATERAL (SELECT %3$s AS limit_over) l
	) r
	WHERE r.flags <> '{}'$query$,
		has_step::text, registration.currency,
		pipelines._stalls_at(concat('CASE f.stall_basis WHEN ''stage'' THEN a.entered',
			CASE WHEN 'activity' = ANY (bases) THEN format(' WHEN ''activity'' THEN %s', last_activity) END,
			CASE WHEN 'age' = ANY (bases) THEN format(' WHEN ''age'' THEN %s', pipelines._age_began(created)) END, ' END'), 'f'::text, 'f.zone'::text, 'f.calendar'::text),
		CASE WHEN 'age' = ANY (bases)
			 THEN format('(SELECT %s FROM (SELECT %s) d)', pipelines._stalls_after_hold(deals, 'l.limit_over'::text, '$1'::text, created, '$1'::text,
				'f'::text, 'f.calendar'::text, '$5'::text), key_columns)
			 ELSE 'l.limit_over' END,
		CASE WHEN wanted = 'flags' THEN '' ELSE ', r.p, r.pipeline_name, r.s, r.stage_name, r.outcome, r.owner, r.currency, r.amount, r.amount_before, r.probability,
		r.stage_before, r.expected, r.expected_before, CASE WHEN isfinite(r.expected) AND isfinite(r.expected_before) THEN r.expected - r.expected_before END, r.step, pipelines._days_between(r.entered, $1)' END,
		CASE WHEN scored THEN 'z.effective_probability, ' ELSE '' END,
		CASE WHEN scored THEN format(E'\n\t\tLEFT JOIN pipelines.scores(%L::regclass, NULL::text, $1) z ON z.deal = a.key::text', deals) ELSE '' END
			|| CASE WHEN secured THEN E'\n\t\tLEFT JOIN arrival u ON u.key = a.key' ELSE '' END,
		-- the first version that is seen of the life, since the earlier instant
		CASE WHEN secured THEN $sql$
	), arrival AS (
		SELECT DISTINCT ON (v.key) v.key, v.unseen
		FROM (SELECT h.key, h.version, h.unseen FROM past h WHERE h.began > $2
			  UNION ALL
			  SELECT d.key, d.version, d.unseen FROM deal d WHERE d.began > $2) v
		WHERE NOT EXISTS (SELECT FROM past x WHERE x.key = v.key AND x.deleted AND x.version >= v.version AND x.ended <= $1)
		ORDER BY v.key, v.version$sql$ ELSE '' END,
		CASE WHEN secured THEN 'coalesce(u.unseen, false)' ELSE 'false' END);
END
$$;
COMMENT ON FUNCTION pipelines._review_query(regclass, text, text[], boolean) IS
'Text of the query behind review() (list), of deal and flags only behind changes() (flags), and of what $4 and $5 of these are (before); $1 the instant, $2 the earlier one, $3 from which amount on a deal is large.';

CREATE FUNCTION pipelines.review(deals regclass, since timestamptz DEFAULT NULL, large numeric DEFAULT NULL, as_of timestamptz DEFAULT now())
RETURNS SETOF pipelines.deal_review
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000000 ROWS 1000
SET search_path = pg_catalog, pg_temp
-- few of the rows that are read go on, and few of the definitions they meet:
-- the planner knows neither
SET parallel_tuple_cost = 0.01
SET enable_mergejoin = off
SET jit = off
AS $$
DECLARE
	known_since CONSTANT timestamptz := (SELECT t.tracked_since FROM pipelines.tracked_table t WHERE t.relation = deals);
	earlier CONSTANT timestamptz := greatest(coalesce(since, as_of - interval '7 days'), known_since);
	shown CONSTANT timestamptz := pipelines._up_to(as_of);
	tenth jsonb;
	holds bigint[];
	bases text[];
BEGIN
	PERFORM pipelines._is_past(as_of);
	PERFORM pipelines._need_deals(deals);
	IF as_of < known_since THEN
		PERFORM pipelines._as_of_covered(deals, as_of);
	END IF;
	EXECUTE pipelines._review_query(deals, 'before'::text, NULL::text[]) INTO STRICT tenth, holds, bases USING shown, earlier, large;
	RETURN QUERY EXECUTE pipelines._review_query(deals, 'list'::text, bases, pipelines._scores_count(deals, shown)) USING shown, earlier, large, tenth, holds;
END
$$;
COMMENT ON FUNCTION pipelines.review(regclass, timestamptz, numeric, timestamptz) IS
'What a review of the pipeline should look at (S116, S86): deals that are new or have moved since an instant (a week before as_of unless given; of an adopted table, not before its adoption), closed ones included, and open deals that are stalled, were pushed, are past due, have no next step, or are large: from the amount given on, else from pipeline.large_from on (in the currency of the table), else the largest tenth of each pipeline and currency with ten deals or more. Definitions count as they were at as_of. With the rights of the caller, who needs SELECT on the history. Errors: 22023 where nothing is known of as_of.';

CREATE FUNCTION pipelines._review_flags(deals regclass, since timestamptz, as_of timestamptz)
RETURNS TABLE (deal text, flags text[])
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000000 ROWS 1000
SET search_path = pg_catalog, pg_temp
SET parallel_tuple_cost = 0.01
SET enable_mergejoin = off
SET jit = off
AS $$
DECLARE
	known_since CONSTANT timestamptz := (SELECT t.tracked_since FROM pipelines.tracked_table t WHERE t.relation = deals);
	earlier CONSTANT timestamptz := greatest(coalesce(since, as_of - interval '7 days'), known_since);
	shown CONSTANT timestamptz := pipelines._up_to(as_of);
	tenth jsonb;
	holds bigint[];
	bases text[];
BEGIN
	EXECUTE pipelines._review_query(deals, 'before'::text, NULL::text[]) INTO STRICT tenth, holds, bases USING shown, earlier, NULL::numeric;
	RETURN QUERY EXECUTE pipelines._review_query(deals, 'flags'::text, bases) USING shown, earlier, NULL::numeric, tenth, holds;
END
$$;
COMMENT ON FUNCTION pipelines._review_flags(regclass, timestamptz, timestamptz) IS
'The deals of review() and their flags, also to the end of time.';

-- Inlined, which a SET clause would prevent: so the join, which finds one row at
-- most, is left out where nobody looks at the flags.
CREATE FUNCTION pipelines.changes(deals regclass, "from" timestamptz DEFAULT NULL, "to" timestamptz DEFAULT now(),
		pipelines text[] DEFAULT NULL, owners text[] DEFAULT NULL, expected daterange DEFAULT NULL, filter text DEFAULT NULL,
		weighted boolean DEFAULT false, currency text DEFAULT NULL, rate_set text DEFAULT 'spot', definitions text DEFAULT 'then')
RETURNS SETOF pipelines.deal_change
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000 ROWS 10000
AS $$
	SELECT c.deal, c.currency, c.leg, c.reason, c.value, c.amount_before, c.amount_after, c.currency_before, c.currency_after,
		c.pipeline_before, c.pipeline_after, c.stage_before, c.stage_after, c.outcome_before, c.outcome_after,
		c.probability_before, c.probability_after, c.weighted_before, c.weighted_after, c.owner_before, c.owner_after,
		c.expected_before, c.expected_after,
		CASE WHEN c.stage_after IS NOT NULL THEN coalesce(f.flags, '{}') END
	FROM pipelines._changes($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) c
	LEFT JOIN (SELECT x.deal, pg_catalog.min(x.flags) AS flags FROM pipelines._review_flags($1, $2, $3) x GROUP BY x.deal) f
		ON f.deal OPERATOR(pg_catalog.=) c.deal
$$;
COMMENT ON FUNCTION pipelines.changes(regclass, timestamptz, timestamptz, text[], text[], daterange, text, boolean, text, text, text) IS
'The deals behind bridge(), with the same arguments: one row for each deal and leg, what the deal was before and after side by side. The values of a leg add up to the bridge''s. A deal that changed in scope without making a leg has one row with leg NULL and value 0. A key that was deleted and came back makes the legs of both lives. flags: what review() would say of the deal at the second instant, since the first one, by the definitions of then; a query that does not read them does not pay for them, unless an argument is a subquery or volatile.';
