-- definitions.sql: the definition tables, made by setup() and owned by a role,
-- never by the extension; the trigger functions that keep them; registration.

-- The schema is not a member of the extension (definitions survive DROP
-- EXTENSION), so it may have been there before.  Refuse one that belongs to
-- somebody else, or in which somebody else left code: from here on this
-- script and every administrator would run it.
DO $guard$
DECLARE
	script_path text := pg_catalog.current_setting('search_path');
	schema_oid oid;
	schema_owner name;
	planted text;
BEGIN
	PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);

	SELECT n.oid, r.rolname INTO schema_oid, schema_owner
	FROM pg_catalog.pg_namespace AS n
	JOIN pg_catalog.pg_roles AS r ON r.oid = n.nspowner
	WHERE n.nspname = 'pipelines'
		AND n.nspowner <> (SELECT u.oid FROM pg_catalog.pg_roles AS u WHERE u.rolname = current_user)
		AND NOT r.rolsuper;
	IF FOUND THEN
		RAISE EXCEPTION 'schema "pipelines" belongs to role "%"', schema_owner
			USING ERRCODE = 'insufficient_privilege',
				HINT = 'If its contents can be trusted, ALTER SCHEMA pipelines OWNER TO the role that creates the extension; else drop it.';
	END IF;

	SELECT pg_catalog.string_agg(pg_catalog.format('%s (of role "%s")', o.what, r.rolname), ', '
			ORDER BY o.what COLLATE pg_catalog."C")
	INTO planted
	FROM (
		SELECT 'function ' || p.oid::pg_catalog.regprocedure::text AS what, p.proowner AS owner,
			'pg_catalog.pg_proc'::pg_catalog.regclass AS class, p.oid
		FROM pg_catalog.pg_proc AS p WHERE p.pronamespace = 'pipelines'::pg_catalog.regnamespace
		UNION ALL
		SELECT 'operator ' || p.oid::pg_catalog.regoperator::text, p.oprowner,
			'pg_catalog.pg_operator'::pg_catalog.regclass, p.oid
		FROM pg_catalog.pg_operator AS p WHERE p.oprnamespace = 'pipelines'::pg_catalog.regnamespace
		UNION ALL
		SELECT 'type ' || p.oid::pg_catalog.regtype::text, p.typowner,
			'pg_catalog.pg_type'::pg_catalog.regclass, p.oid
		FROM pg_catalog.pg_type AS p
		WHERE p.typnamespace = 'pipelines'::pg_catalog.regnamespace
			AND p.typrelid = 0 AND p.typelem = 0
		UNION ALL
		SELECT 'view ' || p.oid::pg_catalog.regclass::text, p.relowner,
			'pg_catalog.pg_class'::pg_catalog.regclass, p.oid
		FROM pg_catalog.pg_class AS p
		WHERE p.relnamespace = 'pipelines'::pg_catalog.regnamespace AND p.relkind IN ('v', 'm', 'f')
	) AS o
	JOIN pg_catalog.pg_roles AS r ON r.oid = o.owner
	WHERE NOT r.rolsuper AND r.rolname <> current_user
		AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d
			WHERE d.classid = o.class AND d.objid = o.oid AND d.deptype = 'e');
	IF planted IS NOT NULL THEN
		RAISE EXCEPTION 'schema "pipelines" contains what is not ours: %', planted
			USING ERRCODE = 'insufficient_privilege',
				HINT = 'Find out who made it, and drop it before CREATE EXTENSION.';
	END IF;

	PERFORM pg_catalog.set_config('search_path', script_path, true);
END
$guard$;

GRANT USAGE ON SCHEMA pipelines TO PUBLIC;

CREATE FUNCTION pipelines._definition_turn() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE COST 10
AS 'MODULE_PATHNAME', 'pipelines_definition_turn';
COMMENT ON FUNCTION pipelines._definition_turn() IS
'BEFORE STATEMENT trigger on a definition table: one transaction at a time updates or deletes definitions, and waits before it locks any row. Raises 55P03.';

CREATE FUNCTION pipelines._definition_before() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE COST 10
AS 'MODULE_PATHNAME', 'pipelines_definition_before';
COMMENT ON FUNCTION pipelines._definition_before() IS
'BEFORE ROW trigger on a definition table: sets version and changed_at, judges the row, and keeps what deals refer to. Raises 23514, 23S05, 23S07, 0A000, 55P03.';

CREATE FUNCTION pipelines._definition_after() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE COST 100
AS 'MODULE_PATHNAME', 'pipelines_definition_after';
COMMENT ON FUNCTION pipelines._definition_after() IS
'AFTER ROW trigger on a definition table: writes the version that ended to <table>_history as its owner, tells every session, and keeps references among definitions. Raises 23503, 23S06, 40001.';

CREATE FUNCTION pipelines._definition_truncate() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE COST 1
AS 'MODULE_PATHNAME', 'pipelines_definition_truncate';
COMMENT ON FUNCTION pipelines._definition_truncate() IS
'BEFORE TRUNCATE trigger on a definition table: refuses (23S13).';

CREATE FUNCTION pipelines._history_guard() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE COST 1
AS 'MODULE_PATHNAME', 'pipelines_history_guard';
COMMENT ON FUNCTION pipelines._history_guard() IS
'BEFORE trigger on a table of past versions: refuses UPDATE, DELETE and TRUNCATE (23S11), whoever runs it.';

-- The plan of an adoption is edited by plain UPDATE, by whoever owns the table
-- that it is about (or the definitions, as in a restore).
CREATE FUNCTION pipelines._adoption_guard() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE COST 100
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	concerned regclass[] := '{}';
	refused regclass;
BEGIN
	IF TG_OP <> 'INSERT' THEN
		concerned := concerned || OLD.relation;
	END IF;
	IF TG_OP <> 'DELETE' THEN
		concerned := concerned || NEW.relation;
	END IF;
	SELECT r.relation INTO refused
	FROM unnest(concerned) AS r (relation)
	WHERE NOT EXISTS (SELECT FROM pg_class AS c
		WHERE c.oid IN (r.relation, TG_RELID) AND pg_has_role(current_user, c.relowner, 'USAGE'))
	LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'must be owner of table %', refused
			USING ERRCODE = 'insufficient_privilege',
				HINT = CASE WHEN TG_TABLE_NAME LIKE 'score%' THEN 'Scores are trained by the owner of the table.'
					ELSE 'The adoption of a table is planned by its owner.' END;
	END IF;
	RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END
$$;
COMMENT ON FUNCTION pipelines._adoption_guard() IS
'BEFORE ROW trigger on pipelines.adoption, adoption_plan, score_model and score_count: only who owns the table concerned writes there (42501).';

-- A board belongs to who saved it (or is restored by who owns the definitions).
CREATE FUNCTION pipelines._board_guard() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE COST 100
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	concerned text[] := '{}';
	refused text;
BEGIN
	IF TG_OP <> 'INSERT' THEN
		concerned := concerned || OLD.owner;
	END IF;
	IF TG_OP <> 'DELETE' THEN
		concerned := concerned || NEW.owner;
	END IF;
	SELECT r.owner INTO refused
	FROM unnest(concerned) AS r (owner)
	WHERE NOT EXISTS (SELECT FROM pg_roles AS o WHERE o.rolname = r.owner AND pg_has_role(current_user, o.oid, 'USAGE'))
		AND NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = TG_RELID AND pg_has_role(current_user, c.relowner, 'USAGE'))
	LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'must be owner of the board, which is role "%"', refused
			USING ERRCODE = 'insufficient_privilege',
				HINT = 'Save it under your own name.';
	END IF;
	RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END
$$;
COMMENT ON FUNCTION pipelines._board_guard() IS
'BEFORE ROW trigger on pipelines.board: only members of the role that owns a board write it (42501).';

CREATE FUNCTION pipelines._register(relation regclass, history regclass, layout_id integer,
	key text[], columns jsonb, currency text, foreign_keys boolean, on_truncate text,
	tracked_since timestamptz, adopted boolean, tracked jsonb DEFAULT NULL) RETURNS void
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000
AS 'MODULE_PATHNAME', 'pipelines_register';
COMMENT ON FUNCTION pipelines._register(regclass, regclass, integer, text[], jsonb, text, boolean, text, timestamptz, boolean, jsonb) IS
'Notes a deals table in pipelines.tracked_table, in the name of the definitions'' owner. The caller must own the table and its history (42501).';

CREATE FUNCTION pipelines._register_activity(relation regclass, activity regclass, activity_columns jsonb) RETURNS void
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000
AS 'MODULE_PATHNAME', 'pipelines_register_activity';
COMMENT ON FUNCTION pipelines._register_activity(regclass, regclass, jsonb) IS
'Notes the table of activities (NULL: none) of a deals table in pipelines.tracked_table, in the name of the definitions'' owner. The caller must own both (42501).';

CREATE FUNCTION pipelines._unregister(relation regclass) RETURNS boolean
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000
AS 'MODULE_PATHNAME', 'pipelines_unregister';
COMMENT ON FUNCTION pipelines._unregister(regclass) IS
'Removes a deals table from pipelines.tracked_table; false if it was not there. The caller must own the table (42501), unless it does not exist any more.';

CREATE FUNCTION pipelines._deals_left(pipeline_id integer, stage_ids integer[])
RETURNS TABLE (deals regclass, many bigint)
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE COST 100000 ROWS 1
AS 'MODULE_PATHNAME', 'pipelines_deals_left';
COMMENT ON FUNCTION pipelines._deals_left(integer, integer[]) IS
'How many deals of which table are in these stages of the pipeline, whoever may see them; for those who may change pipelines (42501).';

-- What the definition tables consist of.  setup() makes whatever is missing,
-- so a later version adds lines here and needs no other upgrade.  A column
-- that is added to tables with rows needs a default if it is NOT NULL; what it
-- consists of is plain types and functions of pg_catalog, since the tables
-- outlive the extension.

CREATE FUNCTION pipelines._definition_tables()
RETURNS TABLE (ordinal integer, table_name name, versioned boolean, comment text)
LANGUAGE sql IMMUTABLE PARALLEL SAFE COST 10 ROWS 20
SET search_path = pg_catalog, pg_temp
AS $$
	VALUES
	(1, 'layout'::name, true, 'What pipelines belong to; a deal moves between pipelines of one layout only.'),
	(2, 'stage', true, 'The picklist of stages that all pipelines choose from: the same stage in two pipelines is the same row.'),
	(3, 'pipeline', true, 'Sales pipelines: ordered selections of stages with their rules.'),
	(4, 'pipeline_stage', true, 'What a stage is in a pipeline: position, outcome, probability, limits.'),
	(5, 'stage_map', true, 'Where a deal goes that changes its pipeline, if the target does not have its stage.'),
	(6, 'stage_transition', true, 'The moves that a pipeline of mode graph allows.'),
	(7, 'tracked_table', true, 'Tables of deals: what their columns mean and where their history is. Written by functions of pipelines only.'),
	(23, 'fiscal_calendar', true, 'Calendars by which periods are reckoned: fiscal years and what they consist of. Several at once; one is the standard one.'),
	(24, 'fiscal_period', true, 'The weeks, months, quarters and years of the calendars. Made by create_fiscal_calendar() and extend_fiscal_calendar(), or by hand; checked when the transaction ends.'),
	(25, 'business_hours', true, 'When work is done, by calendar and weekday; several spans a day. A calendar without any: Monday to Friday, 9 to 17.'),
	(26, 'holiday', true, 'Days on which no work is done, by calendar.'),
	(8, 'definition_lock', false, 'Always empty. Changes of deals and additions of definitions lock it in ROW SHARE MODE, removals of definitions in EXCLUSIVE MODE.'),
	(9, 'stage_activity', true, 'What must be done before a deal may leave a stage: an activity of each kind, done in the deal''s present episode.'),
	(10, 'approval', true, 'Moves, and amounts above a threshold, that only members of a role may bring about.'),
	(11, 'deal_type', true, 'Which pipeline suits which deals: a value of one of their columns, and the pipeline that deals with it go to unless they name one.'),
	(12, 'pipeline_role', true, 'Who may see, move and define in a protected pipeline. Written by grant_pipeline() and revoke_pipeline().'),
	(35, 'score_model', false, 'How the deals of a table are scored in a pipeline, and what was known for it. Written by train_scores() only.'),
	(36, 'score_count', false, 'How many deals that were won and lost had something in common. Written by train_scores() only.'),
	(37, 'board', false, 'Boards that were saved under a name. Written by save_board() and drop_board().'),
	(13, 'stage_value', true, 'How an adopted table writes down a stage in its own column. Written by adopt() and apply_adoption() only.'),
	(14, 'adoption_plan', false, 'What adopt() proposes for a table, to be edited before it is applied.'),
	(15, 'purge_log', false, 'Deals whose past was purged, by whom and how. Written by purge() only.'),
	(16, 'adoption', false, 'What adopt() was asked for. Who owns the table may change it until it is applied.'),
	(21, 'rate_set', true, 'Sets of exchange rates whose limit is not the usual one of 10 days, or that are described. A set needs no row here.'),
	(22, 'exchange_rate', true, 'Dated exchange rates as central banks publish them: units of the currency for one unit of the base. A rate holds until the next one, for as many days as its set allows.'),
	(27, 'forecast_category', true, 'How sure open deals are, in order, and what each cumulative forecast takes in. setup() fills in the usual ones; edit them.'),
	(28, 'forecast_type', true, 'What a forecast measures, by which day, and of which deals. setup() fills in the usual ones; edit them.'),
	(29, 'sales_unit', true, 'The sales structure: teams, regions and whatever is above them. A row holds from its day to the next row of the same unit.'),
	(30, 'sales_unit_member', true, 'Which owner of deals belongs to which unit. A row holds from its day to the next row of the same owner.'),
	(31, 'quota', true, 'Targets: by owner, unit, team, territory, pipeline, product or any other key, for a fiscal period. What it was before is in quota_history.'),
	(32, 'adjustment', false, 'What people say to computed forecasts. Append only: the newest row of each of them counts.'),
	(33, 'submission', false, 'Forecasts that people have committed to. Append only: the newest row counts.')
$$;
COMMENT ON FUNCTION pipelines._definition_tables() IS
'The definition tables that setup() makes, in the order in which they refer to each other.';

CREATE FUNCTION pipelines._definition_columns()
RETURNS TABLE (table_name name, column_name name, definition text, is_key boolean, comment text)
LANGUAGE sql IMMUTABLE PARALLEL SAFE COST 10 ROWS 160
SET search_path = pg_catalog, pg_temp
AS $$
	VALUES
	('layout'::name, 'layout_id'::name, 'integer GENERATED BY DEFAULT AS IDENTITY', true, 'Key; never changes.'),
	('layout', 'name', 'text NOT NULL', false, 'Unique name.'),
	('layout', 'description', 'text', false, 'For people.'),
	('layout', 'attrs', 'jsonb', false, 'The application''s own properties.'),

	('stage', 'stage_id', 'integer GENERATED BY DEFAULT AS IDENTITY', true, 'Key; never changes. Deals refer to it.'),
	('stage', 'name', 'text NOT NULL', false, 'Unique name.'),
	('stage', 'code', 'text', false, 'Unique short name for programs, or NULL.'),
	('stage', 'description', 'text', false, 'What is to be done, and when the stage is complete.'),

	('pipeline', 'pipeline_id', 'integer GENERATED BY DEFAULT AS IDENTITY', true, 'Key; never changes. Deals refer to it.'),
	('pipeline', 'layout_id', 'integer NOT NULL', false, 'The layout that it belongs to.'),
	('pipeline', 'name', 'text NOT NULL', false, 'Name, unique in its layout.'),
	('pipeline', 'code', 'text', false, 'Unique short name for programs, or NULL.'),
	('pipeline', 'kind', 'text', false, 'What it is for: new_business, upsell, renewal, service or anything else; check_definitions() knows these.'),
	('pipeline', 'is_standard', 'boolean NOT NULL', false, 'Do deals of the layout go here that name no pipeline? One per layout; the first one unless said otherwise.'),
	('pipeline', 'mode', 'text NOT NULL DEFAULT ''free''', false, 'Moves: free, warn (skips are reported), strict (no skips), graph (those of stage_transition).'),
	('pipeline', 'override_policy', 'text NOT NULL DEFAULT ''keep''', false, 'A deal''s own probability and category at a move: keep, clear_on_move, clear_on_forward.'),
	('pipeline', 'transfer_policy', 'text NOT NULL DEFAULT ''error''', false, 'Stage of a deal that comes from another pipeline without a counterpart: error, first, nearest.'),
	('pipeline', 'use_scores', 'boolean NOT NULL DEFAULT false', false, 'Do scores stand in for the stage''s probability?'),
	('pipeline', 'time_zone', 'text NOT NULL', false, 'Where a day begins for closed_on and reports; the session''s TimeZone unless given.'),
	('pipeline', 'archived_at', 'timestamptz', false, 'Since when it takes no more deals, or NULL.'),
	('pipeline', 'attrs', 'jsonb', false, 'The application''s own properties.'),
	('pipeline', 'backward', 'text NOT NULL DEFAULT ''allowed''', false, 'Moves to an earlier stage: allowed, reason (only with one), refused.'),
	('pipeline', 'close_requires', 'text[] NOT NULL DEFAULT ''{}''', false, 'What a closing must bring along and keep: lost_reason, other_notes (where the reason is Other), won_amount, closed_by_today.'),
	('pipeline', 'bypass_role', 'text', false, 'Role whose members may set pipelines.bypass, or NULL for nobody.'),
	('pipeline', 'protected', 'boolean NOT NULL DEFAULT false', false, 'Do only the roles of pipeline_role see it and its deals?'),
	('pipeline', 'large_from', 'numeric', false, 'From which amount on, in the currency of the deals table, a deal is large: review() shows it; NULL: the largest tenth.'),
	('pipeline', 'totals_from', 'integer NOT NULL DEFAULT 5', false, 'How many amounts a total must consist of to be shown to those who see totals only.'),
	('pipeline', 'calendar_id', 'integer', false, 'The fiscal calendar by which its deals are reckoned; NULL: the standard one.'),

	('pipeline_stage', 'pipeline_id', 'integer', true, 'The pipeline.'),
	('pipeline_stage', 'stage_id', 'integer', true, 'The stage.'),
	('pipeline_stage', 'position', 'integer NOT NULL', false, 'Order; unique among live stages of the pipeline.'),
	('pipeline_stage', 'outcome', 'text NOT NULL', false, 'What a deal is in here: open, on_hold, won, lost, disqualified, done. Nothing else says so.'),
	('pipeline_stage', 'probability', 'numeric NOT NULL', false, 'Percent: won 100; lost, disqualified, done 0; open, on_hold 0 to 99, two decimals. Read through by deals without one of their own.'),
	('pipeline_stage', 'forecast_category', 'text NOT NULL', false, 'pipeline, best_case, commit, closed, omitted, or one of your own; by outcome unless given.'),
	('pipeline_stage', 'mandatory', 'boolean NOT NULL DEFAULT true', false, 'Is leaving it out a skip?'),
	('pipeline_stage', 'stall_limit', 'interval', false, 'How long a deal may stay before it counts as stalled, or NULL for ever.'),
	('pipeline_stage', 'stall_basis', 'text NOT NULL DEFAULT ''stage''', false, 'What the limit counts from: stage (entry), activity (last one), age (of the deal).'),
	('pipeline_stage', 'stall_time', 'text NOT NULL DEFAULT ''calendar''', false, 'How the limit counts: calendar, or business: business days, then business hours of the pipeline''s calendar.'),
	('pipeline_stage', 'may_start', 'boolean NOT NULL DEFAULT true', false, 'May a deal be created here, or come here from another pipeline?'),
	('pipeline_stage', 'entry_rule', 'text', false, 'What a deal must fulfil to enter: names of columns that must be filled in, or a condition over its columns. Dates in it are written as 2026-12-31, instants without a zone are in UTC.'),
	('pipeline_stage', 'exit_rule', 'text', false, 'What a deal must fulfil to leave it forward: names of columns that must be filled in, or a condition over its columns.'),
	('pipeline_stage', 'colour', 'text', false, 'For boards.'),
	('pipeline_stage', 'archived_at', 'timestamptz', false, 'Since when it takes no more deals, or NULL.'),
	('pipeline_stage', 'attrs', 'jsonb', false, 'The application''s own properties.'),
	('pipeline_stage', 'merged_into', 'integer', false, 'The stage of the pipeline that took over its deals, or NULL; see merge_stages().'),

	('stage_map', 'from_pipeline_id', 'integer', true, 'The pipeline that the deal leaves.'),
	('stage_map', 'from_stage_id', 'integer', true, 'The stage that the deal leaves.'),
	('stage_map', 'to_pipeline_id', 'integer', true, 'The pipeline that the deal enters.'),
	('stage_map', 'to_stage_id', 'integer NOT NULL', false, 'The stage that the deal enters.'),

	('stage_transition', 'pipeline_id', 'integer', true, 'The pipeline.'),
	('stage_transition', 'from_stage_id', 'integer', true, 'The stage that the deal leaves.'),
	('stage_transition', 'to_stage_id', 'integer', true, 'The stage that the deal may enter.'),

	('rate_set', 'rate_set', 'text', true, 'Name of the set: spot, month_end, plan or anything else.'),
	('rate_set', 'max_age', 'integer DEFAULT 10', false, 'How many days after its day a rate may be used where there is no later one; NULL: without limit. Sets without a row: 10.'),
	('rate_set', 'description', 'text', false, 'For people.'),

	('exchange_rate', 'rate_set', 'text', true, 'The set that it belongs to.'),
	('exchange_rate', 'currency', 'text', true, 'The currency: three upper-case letters as in ISO 4217.'),
	('exchange_rate', 'base', 'text', true, 'The currency of which one unit is meant.'),
	('exchange_rate', 'rate_on', 'date', true, 'The day of the rate.'),
	('exchange_rate', 'rate', 'numeric NOT NULL', false, 'Units of the currency for one unit of the base.'),

	('tracked_table', 'relation', 'regclass', true, 'The table of deals.'),
	('tracked_table', 'history', 'regclass NOT NULL', false, 'The table of its ended versions.'),
	('tracked_table', 'layout_id', 'integer', false, 'Where deals that name no pipeline belong; NULL: the default layout.'),
	('tracked_table', 'key', 'text[] NOT NULL', false, 'The key''s columns when it was registered.'),
	('tracked_table', 'columns', 'jsonb NOT NULL', false, 'Part -> column when it was registered; the trigger pipelines_columns follows renames.'),
	('tracked_table', 'currency', 'text', false, 'Currency of amounts without one.'),
	('tracked_table', 'foreign_keys', 'boolean NOT NULL DEFAULT false', false, 'Has it real foreign keys to the definitions?'),
	('tracked_table', 'on_truncate', 'text NOT NULL DEFAULT ''refuse''', false, 'TRUNCATE: refuse, or record one deletion per deal.'),
	('tracked_table', 'tracked_since', 'timestamptz NOT NULL DEFAULT ''-infinity''', false, 'Since when its past is known.'),
	('tracked_table', 'tracked', 'jsonb NOT NULL DEFAULT ''{}''', false, 'Column -> since when it is tracked, for columns added by track().'),
	('tracked_table', 'adopted', 'boolean NOT NULL DEFAULT false', false, 'Was it the application''s before?'),
	('tracked_table', 'activity', 'regclass', false, 'The table of its activities, or NULL.'),
	('tracked_table', 'activity_columns', 'jsonb NOT NULL DEFAULT ''{}''', false, 'Part -> column of that table: key1, key2 ... (the deal''s key), kind, done_at and others.'),
	('tracked_table', 'live', 'text', false, 'Condition that says which rows count as deals in views, or NULL for all.'),
	('tracked_table', 'application', 'jsonb NOT NULL DEFAULT ''{}''', false, 'Of an adopted table: the application''s own columns for stage and outcome, and how probabilities are written.'),

	('fiscal_calendar', 'calendar_id', 'integer GENERATED BY DEFAULT AS IDENTITY', true, 'Key; never changes.'),
	('fiscal_calendar', 'name', 'text NOT NULL', false, 'Unique name.'),
	('fiscal_calendar', 'description', 'text', false, 'For people.'),
	('fiscal_calendar', 'is_standard', 'boolean NOT NULL', false, 'Is it meant where no calendar is named? The first one unless said otherwise.'),
	('fiscal_calendar', 'time_zone', 'text NOT NULL', false, 'Where a day begins; the session''s TimeZone unless given.'),
	('fiscal_calendar', 'pattern', 'text NOT NULL DEFAULT ''custom''', false, 'What a year consists of: months, 4-4-5, 4-5-4, 5-4-4 (weeks of each month of a quarter), 13x4 (thirteen periods of four weeks), iso_weeks, or custom (periods made by hand).'),
	('fiscal_calendar', 'first_month', 'integer NOT NULL DEFAULT 1', false, 'Of pattern months: the month in which the year begins, 1 to 12.'),
	('fiscal_calendar', 'year_end', 'text', false, 'Of patterns of weeks: the last day of the year, as ''last saturday of september'' or ''saturday nearest to january 31''.'),
	('fiscal_calendar', 'year_name', 'text NOT NULL DEFAULT ''end''', false, 'Is a year called by the calendar year in which it begins (start) or ends (end)?'),
	('fiscal_calendar', 'quarters', 'integer[] NOT NULL DEFAULT ''{3,3,3,3}''', false, 'How many months each quarter has; empty: there are no quarters.'),
	('fiscal_calendar', 'first_weekday', 'integer NOT NULL DEFAULT 1', false, 'Of pattern months: the day on which a week begins, 1 Monday to 7 Sunday.'),
	('fiscal_calendar', 'labels', 'jsonb NOT NULL DEFAULT ''{}''', false, 'Kind -> how its periods are called; {year} {yy} {n} {nn} {q} {mon} {month} {calendar_year} {first_year} {last_year} {last_yy} are filled in.'),
	('fiscal_calendar', 'attrs', 'jsonb', false, 'The application''s own properties.'),

	('fiscal_period', 'period_id', 'integer GENERATED BY DEFAULT AS IDENTITY', true, 'Key; never changes.'),
	('fiscal_period', 'calendar_id', 'integer NOT NULL', false, 'The calendar.'),
	('fiscal_period', 'kind', 'text NOT NULL', false, 'week, month, quarter or year; the month of a pattern of weeks has four or five of them.'),
	('fiscal_period', 'starts', 'date NOT NULL', false, 'Its first day.'),
	('fiscal_period', 'ends', 'date NOT NULL', false, 'The first day after it.'),
	('fiscal_period', 'number', 'integer NOT NULL', false, 'Which one of its kind in the year, from 1; of a year 1.'),
	('fiscal_period', 'year', 'integer NOT NULL', false, 'The fiscal year by its name.'),
	('fiscal_period', 'label', 'text NOT NULL', false, 'How it is called; unique in calendar and kind.'),
	('fiscal_period', 'parent_id', 'integer', false, 'The period that it is part of, or NULL: a year, or a week across months.'),
	('fiscal_period', 'locked_at', 'timestamptz', false, 'Since when nothing that was closed in it may change any more, or NULL. A day is locked if any period that it belongs to is. See lock_period().'),
	('fiscal_period', 'lock_reason', 'text', false, 'Why it was locked or unlocked last; who did it is in the past of this table.'),

	('business_hours', 'hours_id', 'integer GENERATED BY DEFAULT AS IDENTITY', true, 'Key; never changes.'),
	('business_hours', 'calendar_id', 'integer NOT NULL', false, 'The calendar.'),
	('business_hours', 'weekday', 'integer NOT NULL', false, '1 Monday to 7 Sunday.'),
	('business_hours', 'opens', 'time NOT NULL', false, 'When work begins, by the clocks of the calendar''s time zone.'),
	('business_hours', 'closes', 'time NOT NULL', false, 'When it ends; 24:00 is the end of the day. What several spans have in common counts once.'),

	('holiday', 'calendar_id', 'integer', true, 'The calendar.'),
	('holiday', 'day', 'date', true, 'The day.'),
	('holiday', 'name', 'text', false, 'What it is called.'),

	('stage_activity', 'pipeline_id', 'integer', true, 'The pipeline.'),
	('stage_activity', 'stage_id', 'integer', true, 'The stage.'),
	('stage_activity', 'kind', 'text', true, 'Kind of activity, as in the table of activities.'),
	('stage_activity', 'description', 'text', false, 'For people.'),

	('approval', 'approval_id', 'integer GENERATED BY DEFAULT AS IDENTITY', true, 'Key; never changes.'),
	('approval', 'pipeline_id', 'integer NOT NULL', false, 'The pipeline.'),
	('approval', 'from_stage_id', 'integer', false, 'The stage that the deal leaves, or NULL for any.'),
	('approval', 'to_stage_id', 'integer', false, 'The stage that the deal enters, or NULL for any.'),
	('approval', 'above', 'numeric', false, 'Only for amounts above this one, or NULL for any.'),
	('approval', 'currency', 'text', false, 'Currency of above; NULL: the default currency of the table.'),
	('approval', 'role', 'text NOT NULL', false, 'Role whose members may do it. A superuser may as a member only.'),

	('deal_type', 'layout_id', 'integer', true, 'The layout.'),
	('deal_type', 'column_name', 'text', true, 'Column of the deals, by its part or its name.'),
	('deal_type', 'value', 'text', true, 'Value of that column, as text.'),
	('deal_type', 'pipeline_id', 'integer NOT NULL', false, 'The pipeline for such deals.'),
	('deal_type', 'position', 'integer NOT NULL DEFAULT 0', false, 'Of several that fit the lowest counts.'),

	('forecast_category', 'code', 'text', true, 'Short name, as deals and stages have it.'),
	('forecast_category', 'name', 'text NOT NULL', false, 'Name for people.'),
	('forecast_category', 'cumulative_name', 'text', false, 'Name of the cumulative forecast, or NULL for the same name.'),
	('forecast_category', 'rank', 'integer NOT NULL', false, 'Order, the least sure first. A cumulative forecast takes in all categories of its rank and above.'),
	('forecast_category', 'includes_open', 'boolean NOT NULL DEFAULT true', false, 'Is it for open deals?'),
	('forecast_category', 'includes_closed', 'boolean NOT NULL DEFAULT true', false, 'Does its cumulative forecast take in what is won?'),
	('forecast_category', 'is_closed_won', 'boolean NOT NULL DEFAULT false', false, 'Is it that of won deals?'),
	('forecast_category', 'omit', 'boolean NOT NULL DEFAULT false', false, 'Do its deals stay out of every forecast?'),

	('forecast_type', 'forecast_type_id', 'integer GENERATED BY DEFAULT AS IDENTITY', true, 'Key; never changes.'),
	('forecast_type', 'code', 'text NOT NULL', false, 'Unique short name.'),
	('forecast_type', 'name', 'text NOT NULL', false, 'Name for people.'),
	('forecast_type', 'is_standard', 'boolean NOT NULL DEFAULT false', false, 'Is it meant where none is named?'),
	('forecast_type', 'measure', 'text NOT NULL DEFAULT ''amount''', false, 'What is added up: amount, quantity, cost, margin (amount - cost), recurring_monthly (recurring_amount / recurring_months), recurring_annual (12 times that), or any column or expression of immutable functions of pg_catalog over the columns of the deals.'),
	('forecast_type', 'weighted', 'boolean NOT NULL DEFAULT false', false, 'Do open deals count times their probability?'),
	('forecast_type', 'is_money', 'boolean NOT NULL DEFAULT true', false, 'Is it in the currency of the deal? If not, it is never converted and has no currency.'),
	('forecast_type', 'period_date', 'text', false, 'Column or expression for the day that decides the period; NULL: closed_on of closed deals, expected_close_on of others.'),
	('forecast_type', 'filter', 'text', false, 'Condition that says which deals count, or NULL for all.'),
	('forecast_type', 'rollup', 'text NOT NULL DEFAULT ''cumulative''', false, 'Which figure of a category is its forecast: cumulative or single.'),
	('forecast_type', 'attrs', 'jsonb', false, 'The application''s own properties.'),

	('sales_unit', 'unit_id', 'integer GENERATED BY DEFAULT AS IDENTITY', true, 'Key; never changes. Several rows, of different days, may have the same.'),
	('sales_unit', 'starts_on', 'date DEFAULT ''-infinity''', true, 'First day of this row; never changes. It holds up to the next row of the unit.'),
	('sales_unit', 'name', 'text NOT NULL', false, 'Name.'),
	('sales_unit', 'parent_id', 'integer', false, 'The unit that it belongs to, or NULL for a top one.'),
	('sales_unit', 'manager', 'text', false, 'Who leads it, named as owners of deals are.'),
	('sales_unit', 'ends_on', 'date', false, 'Day on which it ends, exclusive, or NULL.'),
	('sales_unit', 'attrs', 'jsonb', false, 'The application''s own properties.'),

	('sales_unit_member', 'owner', 'text', true, 'Owner of deals.'),
	('sales_unit_member', 'starts_on', 'date DEFAULT ''-infinity''', true, 'First day in the unit. It holds up to the next row of the owner.'),
	('sales_unit_member', 'unit_id', 'integer', false, 'The unit; NULL: none from that day on.'),
	('sales_unit_member', 'ends_on', 'date', false, 'Day on which it ends, exclusive, or NULL.'),

	('quota', 'quota_id', 'integer GENERATED BY DEFAULT AS IDENTITY', true, 'Key; never changes.'),
	('quota', 'relation', 'regclass', false, 'The deals table that it is about, or NULL for any.'),
	('quota', 'forecast_type_id', 'integer NOT NULL', false, 'What is measured.'),
	('quota', 'period_id', 'integer NOT NULL', false, 'The fiscal period.'),
	('quota', 'owner', 'text', false, 'For whom, or NULL.'),
	('quota', 'unit_id', 'integer', false, 'For which unit of the sales structure with all below it, or NULL.'),
	('quota', 'team', 'text', false, 'For which team, as deals have it, or NULL.'),
	('quota', 'territory', 'text', false, 'For which territory, or NULL.'),
	('quota', 'pipeline_id', 'integer', false, 'For which pipeline, or NULL.'),
	('quota', 'product', 'text', false, 'For which product, or NULL.'),
	('quota', 'dimensions', 'jsonb NOT NULL DEFAULT ''{}''', false, 'Further keys: column of the deals (by part or name) or expression -> value, as text.'),
	('quota', 'currency', 'text', false, 'Currency of the value; NULL: the default currency of the table, or no money.'),
	('quota', 'value', 'numeric NOT NULL', false, 'The target, in the unit of what is measured.'),
	('quota', 'note', 'text', false, 'For people.'),
	('quota', 'set_at', 'timestamptz NOT NULL DEFAULT now()', false, 'Since when the first version counts as set, for readings as of a day.'),

	('adjustment', 'adjustment_id', 'bigint GENERATED BY DEFAULT AS IDENTITY', true, 'Key. Of two rows made at one instant the higher one is the newer.'),
	('adjustment', 'relation', 'regclass', false, 'The deals table that it is about, or NULL for any.'),
	('adjustment', 'forecast_type_id', 'integer NOT NULL', false, 'What is measured.'),
	('adjustment', 'period_id', 'integer NOT NULL', false, 'The fiscal period.'),
	('adjustment', 'owner', 'text', false, 'Whose forecast, or NULL.'),
	('adjustment', 'unit_id', 'integer', false, 'The forecast of which unit, or NULL.'),
	('adjustment', 'category', 'text NOT NULL', false, 'Forecast category whose figure is adjusted.'),
	('adjustment', 'currency', 'text', false, 'Currency of the figure; NULL: the default currency of the table, or no money.'),
	('adjustment', 'value', 'numeric', false, 'The figure that takes the place of the one below; NULL: see delta.'),
	('adjustment', 'delta', 'numeric', false, 'What is added to the figure below; value and delta NULL: taken back.'),
	('adjustment', 'reason', 'text', false, 'Why.'),
	('adjustment', 'made_by', 'text NOT NULL DEFAULT CURRENT_USER', false, 'Who says so, named as owners of deals are.'),
	('adjustment', 'role_name', 'text NOT NULL DEFAULT SESSION_USER', false, 'The database role that wrote the row.'),
	('adjustment', 'made_at', 'timestamptz NOT NULL DEFAULT now()', false, 'When.'),
	('adjustment', 'visible_to', 'text[]', false, 'Database roles whose members may see it besides who made it; NULL: everybody.'),

	('submission', 'submission_id', 'bigint GENERATED BY DEFAULT AS IDENTITY', true, 'Key. Of two rows made at one instant the higher one is the newer.'),
	('submission', 'relation', 'regclass', false, 'The deals table that it is about, or NULL for any.'),
	('submission', 'forecast_type_id', 'integer NOT NULL', false, 'What is measured.'),
	('submission', 'period_id', 'integer NOT NULL', false, 'The fiscal period.'),
	('submission', 'owner', 'text', false, 'Whose forecast, or NULL.'),
	('submission', 'unit_id', 'integer', false, 'The forecast of which unit, or NULL.'),
	('submission', 'category', 'text NOT NULL', false, 'Forecast category whose figure is submitted.'),
	('submission', 'currency', 'text', false, 'Currency of the figure; NULL: the default currency of the table, or no money.'),
	('submission', 'value', 'numeric NOT NULL', false, 'The figure that is committed to.'),
	('submission', 'note', 'text', false, 'For people.'),
	('submission', 'made_by', 'text NOT NULL DEFAULT CURRENT_USER', false, 'Who commits to it, named as owners of deals are.'),
	('submission', 'role_name', 'text NOT NULL DEFAULT SESSION_USER', false, 'The database role that wrote the row.'),
	('submission', 'made_at', 'timestamptz NOT NULL DEFAULT now()', false, 'When.'),
	('submission', 'visible_to', 'text[]', false, 'Database roles whose members may see it besides who made it; NULL: everybody.'),

	('pipeline_role', 'pipeline_id', 'integer', true, 'The pipeline.'),
	('pipeline_role', 'role', 'text', true, 'Name of the role; its members are meant, too.'),
	('pipeline_role', 'can_see', 'boolean NOT NULL DEFAULT true', false, 'May it see the pipeline, its deals and their past? If not, its totals only; see totals().'),
	('pipeline_role', 'can_move', 'boolean NOT NULL DEFAULT false', false, 'May it make, change, move and delete deals of it?'),
	('pipeline_role', 'can_define', 'boolean NOT NULL DEFAULT false', false, 'May it change the pipeline and its stages?'),

	('score_model', 'relation', 'regclass', true, 'The deals table.'),
	('score_model', 'pipeline_id', 'integer', true, 'The pipeline.'),
	('score_model', 'trained_at', 'timestamptz NOT NULL', false, 'When it was counted.'),
	('score_model', 'as_of', 'timestamptz NOT NULL', false, 'Up to when it was known.'),
	('score_model', 'features', 'text[] NOT NULL DEFAULT ''{}''', false, 'Columns, or expressions, that have a say beside stage and age.'),
	('score_model', 'ages', 'interval[] NOT NULL', false, 'Bounds of the ages, ascending; a day is 24 hours.'),
	('score_model', 'smoothing', 'numeric NOT NULL', false, 'What is added to each count when it is read.'),
	('score_model', 'min_won', 'integer NOT NULL', false, 'With fewer won deals the rate of the stage counts.'),
	('score_model', 'min_lost', 'integer NOT NULL', false, 'With fewer lost deals the rate of the stage counts.'),
	('score_model', 'prior_weight', 'numeric NOT NULL', false, 'How many deals the configured probability weighs in that rate.'),
	('score_model', 'won', 'bigint NOT NULL', false, 'Deals won.'),
	('score_model', 'lost', 'bigint NOT NULL', false, 'Deals lost or disqualified.'),

	('score_count', 'relation', 'regclass', true, 'The deals table.'),
	('score_count', 'pipeline_id', 'integer', true, 'The pipeline.'),
	('score_count', 'feature', 'text', true, 'prior (all), age (open at it), stage (no further than it), column:<name>.'),
	('score_count', 'value', 'text', true, 'The stage''s id, or the value of the column.'),
	('score_count', 'age', 'integer', true, 'Number of the age, 0 for the youngest; -1: at any.'),
	('score_count', 'won', 'bigint NOT NULL', false, 'Deals that were won.'),
	('score_count', 'lost', 'bigint NOT NULL', false, 'Deals that were lost or disqualified.'),

	('board', 'name', 'text', true, 'Name, unique for an owner.'),
	('board', 'owner', 'text', true, 'Name of the role that saved it.'),
	('board', 'relation', 'regclass NOT NULL', false, 'The deals table.'),
	('board', 'settings', 'jsonb NOT NULL', false, 'The arguments of board().'),
	('board', 'shared', 'boolean NOT NULL DEFAULT false', false, 'May others use it?'),
	('board', 'saved_at', 'timestamptz NOT NULL', false, 'When it was saved.'),

	('stage_value', 'relation', 'regclass', true, 'The adopted table.'),
	('stage_value', 'part', 'text', true, 'Which column of the application: stage or outcome.'),
	('stage_value', 'value', 'text', true, 'Value of that column, as text.'),
	('stage_value', 'stage_id', 'integer NOT NULL', false, 'The stage that it stands for.'),
	('stage_value', 'is_written', 'boolean NOT NULL DEFAULT true', false, 'Is it the value that is written for the stage?'),

	('adoption_plan', 'relation', 'regclass', true, 'The table to be adopted.'),
	('adoption_plan', 'part', 'text', true, 'Which column of the application: stage or outcome.'),
	('adoption_plan', 'value', 'text', true, 'Value of that column, as text; empty for none.'),
	('adoption_plan', 'deals', 'bigint', false, 'How many rows had it.'),
	('adoption_plan', 'stage', 'text', false, 'Name of the stage that it shall stand for.'),
	('adoption_plan', 'position', 'integer', false, 'Position of the stage.'),
	('adoption_plan', 'outcome', 'text', false, 'Outcome of the stage: open, on_hold, won, lost, disqualified, done.'),
	('adoption_plan', 'probability', 'numeric', false, 'Probability of the stage in percent.'),
	('adoption_plan', 'remark', 'text', false, 'What to look at, or NULL.'),

	('purge_log', 'purge_id', 'bigint GENERATED BY DEFAULT AS IDENTITY', true, 'Key.'),
	('purge_log', 'relation', 'text NOT NULL', false, 'The deals table.'),
	('purge_log', 'deal', 'text NOT NULL', false, 'Key of the deal, as text.'),
	('purge_log', 'keep_figures', 'boolean NOT NULL', false, 'Were its figures kept?'),
	('purge_log', 'history_rows', 'bigint NOT NULL', false, 'How many rows of its history were changed or deleted.'),
	('purge_log', 'purged_at', 'timestamptz NOT NULL', false, 'When.'),
	('purge_log', 'purged_by', 'text NOT NULL', false, 'By whom: the actor.'),
	('purge_log', 'role_name', 'text NOT NULL', false, 'By which role.'),
	('purge_log', 'reason', 'text', false, 'Why: the setting pipelines.reason.'),

	('adoption', 'relation', 'regclass', true, 'The table to be adopted.'),
	('adoption', 'arguments', 'jsonb NOT NULL', false, 'The arguments of adopt().')
$$;
COMMENT ON FUNCTION pipelines._definition_columns() IS
'The columns of the definition tables that setup() makes; version and changed_at are added to each versioned table.';

-- References among the tables are no foreign keys: a parallel restore of data
-- alone loads tables in any order.  The triggers check them instead.
CREATE FUNCTION pipelines._definition_constraints()
RETURNS TABLE (ordinal integer, table_name name, constraint_name name, definition text)
LANGUAGE sql IMMUTABLE PARALLEL SAFE COST 10 ROWS 90
SET search_path = pg_catalog, pg_temp
AS $$
	VALUES
	(100, 'layout'::name, 'layout_pkey'::name, 'PRIMARY KEY (layout_id)'),
	(101, 'layout', 'layout_name_is_unique', 'UNIQUE (name)'),
	(102, 'layout', 'name_is_trimmed_and_short', 'CHECK (name = btrim(name, E'' \t\r\n'') AND length(name) BETWEEN 1 AND 200)'),
	(103, 'layout', 'attrs_is_an_object', 'CHECK (jsonb_typeof(attrs) = ''object'')'),

	(200, 'stage', 'stage_pkey', 'PRIMARY KEY (stage_id)'),
	(201, 'stage', 'stage_name_is_unique', 'UNIQUE (name)'),
	(202, 'stage', 'stage_code_is_unique', 'UNIQUE (code)'),
	(203, 'stage', 'name_is_trimmed_and_short', 'CHECK (name = btrim(name, E'' \t\r\n'') AND length(name) BETWEEN 1 AND 200)'),
	(204, 'stage', 'code_is_trimmed_and_short', 'CHECK (code = btrim(code, E'' \t\r\n'') AND length(code) BETWEEN 1 AND 200)'),

	(300, 'pipeline', 'pipeline_pkey', 'PRIMARY KEY (pipeline_id)'),
	(302, 'pipeline', 'pipeline_name_is_unique_in_its_layout', 'UNIQUE (layout_id, name)'),
	(303, 'pipeline', 'pipeline_code_is_unique', 'UNIQUE (code)'),
	(304, 'pipeline', 'one_standard_pipeline_per_layout',
		'EXCLUDE USING btree (layout_id WITH =) WHERE (is_standard) DEFERRABLE INITIALLY IMMEDIATE'),
	(305, 'pipeline', 'standard_pipeline_is_not_archived', 'CHECK (NOT is_standard OR archived_at IS NULL)'),
	(306, 'pipeline', 'name_is_trimmed_and_short', 'CHECK (name = btrim(name, E'' \t\r\n'') AND length(name) BETWEEN 1 AND 200)'),
	(307, 'pipeline', 'code_is_trimmed_and_short', 'CHECK (code = btrim(code, E'' \t\r\n'') AND length(code) BETWEEN 1 AND 200)'),
	(308, 'pipeline', 'kind_is_trimmed_and_short', 'CHECK (kind = btrim(kind, E'' \t\r\n'') AND length(kind) BETWEEN 1 AND 200)'),
	(309, 'pipeline', 'mode_is_known', 'CHECK (mode IN (''free'', ''warn'', ''strict'', ''graph''))'),
	(310, 'pipeline', 'override_policy_is_known', 'CHECK (override_policy IN (''keep'', ''clear_on_move'', ''clear_on_forward''))'),
	(311, 'pipeline', 'transfer_policy_is_known', 'CHECK (transfer_policy IN (''error'', ''first'', ''nearest''))'),
	(312, 'pipeline', 'attrs_is_an_object', 'CHECK (jsonb_typeof(attrs) = ''object'')'),
	(313, 'pipeline', 'backward_is_known', 'CHECK (backward IN (''allowed'', ''reason'', ''refused''))'),
	(314, 'pipeline', 'close_requires_is_known',
		'CHECK (close_requires <@ ARRAY[''lost_reason'', ''other_notes'', ''won_amount'', ''closed_by_today''])'),
	(315, 'pipeline', 'bypass_role_is_short', 'CHECK (length(bypass_role) BETWEEN 1 AND 200)'),
	(316, 'pipeline', 'totals_from_is_positive', 'CHECK (totals_from > 0)'),

	(400, 'pipeline_stage', 'pipeline_stage_pkey', 'PRIMARY KEY (pipeline_id, stage_id)'),
	(403, 'pipeline_stage', 'live_stages_have_different_positions',
		'EXCLUDE USING btree (pipeline_id WITH =, "position" WITH =) WHERE (archived_at IS NULL) DEFERRABLE INITIALLY IMMEDIATE'),
	(404, 'pipeline_stage', 'outcome_is_known', 'CHECK (outcome IN (''open'', ''on_hold'', ''won'', ''lost'', ''disqualified'', ''done''))'),
	(405, 'pipeline_stage', 'won_means_100_percent', 'CHECK (outcome <> ''won'' OR probability = 100)'),
	(406, 'pipeline_stage', 'open_means_0_to_99_percent', 'CHECK (outcome NOT IN (''open'', ''on_hold'') OR probability BETWEEN 0 AND 99)'),
	(407, 'pipeline_stage', 'closed_without_win_means_0_percent', 'CHECK (outcome NOT IN (''lost'', ''disqualified'', ''done'') OR probability = 0)'),
	(408, 'pipeline_stage', 'probability_has_two_decimals', 'CHECK (probability = round(probability, 2))'),
	(409, 'pipeline_stage', 'forecast_category_is_trimmed_and_short',
		'CHECK (forecast_category = btrim(forecast_category, E'' \t\r\n'') AND length(forecast_category) BETWEEN 1 AND 200)'),
	(410, 'pipeline_stage', 'stall_limit_is_positive', 'CHECK (stall_limit > interval ''0'')'),
	(411, 'pipeline_stage', 'stall_basis_is_known', 'CHECK (stall_basis IN (''stage'', ''activity'', ''age''))'),
	(412, 'pipeline_stage', 'stall_time_is_known', 'CHECK (stall_time IN (''calendar'', ''business''))'),
	(413, 'pipeline_stage', 'business_limit_has_no_months', 'CHECK (stall_time <> ''business'' OR (extract(year FROM stall_limit) = 0 AND extract(month FROM stall_limit) = 0))'),
	(412, 'pipeline_stage', 'attrs_is_an_object', 'CHECK (jsonb_typeof(attrs) = ''object'')'),
	(413, 'pipeline_stage', 'entry_rule_is_short', 'CHECK (length(entry_rule) BETWEEN 1 AND 2000)'),
	(414, 'pipeline_stage', 'exit_rule_is_short', 'CHECK (length(exit_rule) BETWEEN 1 AND 2000)'),
	(415, 'pipeline_stage', 'stage_is_merged_into_another', 'CHECK (merged_into <> stage_id)'),
	(416, 'pipeline_stage', 'merged_stage_is_archived', 'CHECK (merged_into IS NULL OR archived_at IS NOT NULL)'),

	(500, 'stage_map', 'stage_map_pkey', 'PRIMARY KEY (from_pipeline_id, from_stage_id, to_pipeline_id)'),
	(503, 'stage_map', 'map_leads_to_another_pipeline', 'CHECK (from_pipeline_id <> to_pipeline_id)'),

	(600, 'stage_transition', 'stage_transition_pkey', 'PRIMARY KEY (pipeline_id, from_stage_id, to_stage_id)'),
	(603, 'stage_transition', 'transition_leads_to_another_stage', 'CHECK (from_stage_id <> to_stage_id)'),

	(2100, 'rate_set', 'rate_set_pkey', 'PRIMARY KEY (rate_set)'),
	(2101, 'rate_set', 'rate_set_is_trimmed_and_short', 'CHECK (rate_set = btrim(rate_set, E'' \t\r\n'') AND length(rate_set) BETWEEN 1 AND 200)'),
	(2102, 'rate_set', 'max_age_is_not_negative', 'CHECK (max_age >= 0)'),

	(2200, 'exchange_rate', 'exchange_rate_pkey', 'PRIMARY KEY (rate_set, currency, base, rate_on)'),
	(2201, 'exchange_rate', 'rate_set_is_trimmed_and_short', 'CHECK (rate_set = btrim(rate_set, E'' \t\r\n'') AND length(rate_set) BETWEEN 1 AND 200)'),
	(2202, 'exchange_rate', 'currency_is_three_capitals', 'CHECK (currency ~ ''^[A-Z]{3}$'')'),
	(2203, 'exchange_rate', 'base_is_three_capitals', 'CHECK (base ~ ''^[A-Z]{3}$'')'),
	(2204, 'exchange_rate', 'currency_is_not_its_base', 'CHECK (currency <> base)'),
	(2205, 'exchange_rate', 'rate_on_is_a_day', 'CHECK (isfinite(rate_on))'),
	(2206, 'exchange_rate', 'rate_is_positive_and_finite', 'CHECK (rate > 0 AND rate - rate = 0)'),

	(700, 'tracked_table', 'tracked_table_pkey', 'PRIMARY KEY (relation)'),
	(701, 'tracked_table', 'history_belongs_to_one_table', 'UNIQUE (history)'),
	(703, 'tracked_table', 'on_truncate_is_known', 'CHECK (on_truncate IN (''refuse'', ''record''))'),
	(704, 'tracked_table', 'table_has_a_key', 'CHECK (cardinality(key) > 0)'),
	(705, 'tracked_table', 'columns_is_an_object', 'CHECK (jsonb_typeof(columns) = ''object'')'),
	(706, 'tracked_table', 'tracked_is_an_object', 'CHECK (jsonb_typeof(tracked) = ''object'')'),
	(707, 'tracked_table', 'history_is_another_table', 'CHECK (history <> relation)'),
	(708, 'tracked_table', 'activity_columns_is_an_object', 'CHECK (jsonb_typeof(activity_columns) = ''object'')'),
	(709, 'tracked_table', 'application_is_an_object', 'CHECK (jsonb_typeof(application) = ''object'')'),

	(2300, 'fiscal_calendar', 'fiscal_calendar_pkey', 'PRIMARY KEY (calendar_id)'),
	(2301, 'fiscal_calendar', 'fiscal_calendar_name_is_unique', 'UNIQUE (name)'),
	(2302, 'fiscal_calendar', 'one_standard_calendar', 'EXCLUDE USING btree (is_standard WITH =) WHERE (is_standard) DEFERRABLE INITIALLY IMMEDIATE'),
	(2303, 'fiscal_calendar', 'name_is_trimmed_and_short', 'CHECK (name = btrim(name, E'' \t\r\n'') AND length(name) BETWEEN 1 AND 200)'),
	(2304, 'fiscal_calendar', 'pattern_is_known',
		'CHECK (pattern IN (''months'', ''4-4-5'', ''4-5-4'', ''5-4-4'', ''13x4'', ''iso_weeks'', ''custom''))'),
	(2305, 'fiscal_calendar', 'first_month_is_a_month', 'CHECK (first_month BETWEEN 1 AND 12)'),
	(2306, 'fiscal_calendar', 'weeks_need_an_end_of_the_year',
		'CHECK ((pattern IN (''months'', ''custom'')) = (year_end IS NULL))'),
	(2307, 'fiscal_calendar', 'year_name_is_known', 'CHECK (year_name IN (''start'', ''end''))'),
	(2308, 'fiscal_calendar', 'quarters_make_up_a_year',
		'CHECK (array_position(quarters, NULL) IS NULL AND 0 < ALL (quarters))'),
	(2309, 'fiscal_calendar', 'first_weekday_is_a_weekday', 'CHECK (first_weekday BETWEEN 1 AND 7)'),
	(2310, 'fiscal_calendar', 'labels_is_an_object', 'CHECK (jsonb_typeof(labels) = ''object'')'),
	(2311, 'fiscal_calendar', 'attrs_is_an_object', 'CHECK (jsonb_typeof(attrs) = ''object'')'),

	(2400, 'fiscal_period', 'fiscal_period_pkey', 'PRIMARY KEY (period_id)'),
	(2401, 'fiscal_period', 'period_is_called_once', 'UNIQUE (calendar_id, kind, label) DEFERRABLE INITIALLY IMMEDIATE'),
	(2402, 'fiscal_period', 'period_begins_once', 'UNIQUE (calendar_id, kind, starts) DEFERRABLE INITIALLY IMMEDIATE'),
	(2403, 'fiscal_period', 'period_is_numbered_once', 'UNIQUE (calendar_id, kind, year, number) DEFERRABLE INITIALLY IMMEDIATE'),
	(2404, 'fiscal_period', 'kind_is_known', 'CHECK (kind IN (''week'', ''month'', ''quarter'', ''year''))'),
	(2405, 'fiscal_period', 'period_ends_after_it_starts', 'CHECK (starts < ends AND isfinite(starts) AND isfinite(ends))'),
	(2406, 'fiscal_period', 'number_counts_from_one', 'CHECK (number >= 1 AND (kind <> ''year'' OR number = 1))'),
	(2407, 'fiscal_period', 'label_is_trimmed_and_short', 'CHECK (label = btrim(label, E'' \t\r\n'') AND length(label) BETWEEN 1 AND 200)'),
	(2408, 'fiscal_period', 'period_is_part_of_another', 'CHECK (parent_id <> period_id)'),

	(2500, 'business_hours', 'business_hours_pkey', 'PRIMARY KEY (hours_id)'),
	(2501, 'business_hours', 'hours_are_given_once', 'UNIQUE (calendar_id, weekday, opens, closes)'),
	(2502, 'business_hours', 'weekday_is_a_weekday', 'CHECK (weekday BETWEEN 1 AND 7)'),
	(2503, 'business_hours', 'closes_after_it_opens', 'CHECK (opens < closes)'),

	(2600, 'holiday', 'holiday_pkey', 'PRIMARY KEY (calendar_id, day)'),
	(2601, 'holiday', 'day_is_a_day', 'CHECK (isfinite(day))'),

	(900, 'stage_activity', 'stage_activity_pkey', 'PRIMARY KEY (pipeline_id, stage_id, kind)'),
	(901, 'stage_activity', 'kind_is_trimmed_and_short', 'CHECK (kind = btrim(kind, E'' \t\r\n'') AND length(kind) BETWEEN 1 AND 200)'),

	(1000, 'approval', 'approval_pkey', 'PRIMARY KEY (approval_id)'),
	(1001, 'approval', 'approval_is_about_something', 'CHECK (from_stage_id IS NOT NULL OR to_stage_id IS NOT NULL OR above IS NOT NULL)'),
	(1002, 'approval', 'role_is_short', 'CHECK (length(role) BETWEEN 1 AND 200)'),
	(1003, 'approval', 'above_is_an_amount', 'CHECK (above >= 0 AND above <> ''NaN'')'),

	(1100, 'deal_type', 'deal_type_pkey', 'PRIMARY KEY (layout_id, column_name, value)'),

	(2700, 'forecast_category', 'forecast_category_pkey', 'PRIMARY KEY (code)'),
	(2701, 'forecast_category', 'category_rank_is_unique', 'UNIQUE (rank) DEFERRABLE INITIALLY IMMEDIATE'),
	(2702, 'forecast_category', 'code_is_trimmed_and_short', 'CHECK (code = btrim(code, E'' \t\r\n'') AND length(code) BETWEEN 1 AND 200)'),
	(2703, 'forecast_category', 'name_is_trimmed_and_short', 'CHECK (name = btrim(name, E'' \t\r\n'') AND length(name) BETWEEN 1 AND 200)'),
	(2704, 'forecast_category', 'closed_is_what_is_won', 'CHECK (is_closed_won = (code = ''closed''))'),
	(2705, 'forecast_category', 'omitted_is_what_is_left_out', 'CHECK (omit = (code = ''omitted''))'),
	(2706, 'forecast_category', 'other_categories_are_for_open_deals', 'CHECK (includes_open = (NOT is_closed_won AND NOT omit))'),
	(2707, 'forecast_category', 'closed_takes_in_what_is_won', 'CHECK (includes_closed OR NOT is_closed_won)'),

	(2800, 'forecast_type', 'forecast_type_pkey', 'PRIMARY KEY (forecast_type_id)'),
	(2801, 'forecast_type', 'forecast_type_code_is_unique', 'UNIQUE (code)'),
	(2802, 'forecast_type', 'one_standard_forecast_type', 'EXCLUDE USING btree (is_standard WITH =) WHERE (is_standard) DEFERRABLE INITIALLY IMMEDIATE'),
	(2803, 'forecast_type', 'code_is_trimmed_and_short', 'CHECK (code = btrim(code, E'' \t\r\n'') AND length(code) BETWEEN 1 AND 200)'),
	(2804, 'forecast_type', 'name_is_trimmed_and_short', 'CHECK (name = btrim(name, E'' \t\r\n'') AND length(name) BETWEEN 1 AND 200)'),
	(2805, 'forecast_type', 'measure_is_short', 'CHECK (length(measure) BETWEEN 1 AND 2000)'),
	(2806, 'forecast_type', 'period_date_is_short', 'CHECK (length(period_date) BETWEEN 1 AND 2000)'),
	(2807, 'forecast_type', 'filter_is_short', 'CHECK (length(filter) BETWEEN 1 AND 2000)'),
	(2808, 'forecast_type', 'rollup_is_known', 'CHECK (rollup IN (''cumulative'', ''single''))'),
	(2809, 'forecast_type', 'attrs_is_an_object', 'CHECK (jsonb_typeof(attrs) = ''object'')'),

	(2900, 'sales_unit', 'sales_unit_pkey', 'PRIMARY KEY (unit_id, starts_on)'),
	(2901, 'sales_unit', 'name_is_trimmed_and_short', 'CHECK (name = btrim(name, E'' \t\r\n'') AND length(name) BETWEEN 1 AND 200)'),
	(2902, 'sales_unit', 'unit_has_another_parent', 'CHECK (parent_id <> unit_id)'),
	(2903, 'sales_unit', 'unit_ends_after_it_began', 'CHECK (ends_on > starts_on)'),
	(2904, 'sales_unit', 'attrs_is_an_object', 'CHECK (jsonb_typeof(attrs) = ''object'')'),

	(3000, 'sales_unit_member', 'sales_unit_member_pkey', 'PRIMARY KEY (owner, starts_on)'),
	(3001, 'sales_unit_member', 'membership_ends_after_it_began', 'CHECK (ends_on > starts_on)'),

	(3100, 'quota', 'quota_pkey', 'PRIMARY KEY (quota_id)'),
	(3101, 'quota', 'one_quota_for_each_target',
		'EXCLUDE USING btree (period_id WITH =, forecast_type_id WITH =, coalesce(owner, '''') WITH =, coalesce(unit_id, 0) WITH =,'
		' coalesce(team, '''') WITH =, coalesce(territory, '''') WITH =, coalesce(pipeline_id, 0) WITH =, coalesce(product, '''') WITH =,'
		' dimensions WITH =, coalesce(currency, '''') WITH =, coalesce(relation::oid, 0::oid) WITH =) DEFERRABLE INITIALLY IMMEDIATE'),
	(3102, 'quota', 'value_is_an_amount', 'CHECK (value >= 0 AND value - value = 0)'),
	(3103, 'quota', 'dimensions_is_an_object', 'CHECK (jsonb_typeof(dimensions) = ''object'')'),
	(3104, 'quota', 'unit_quota_takes_in_all_its_owners', 'CHECK (unit_id IS NULL OR owner IS NULL)'),
	(3105, 'quota', 'keys_are_not_blank', 'CHECK (owner <> '''' AND team <> '''' AND territory <> '''' AND product <> '''' AND currency <> '''')'),

	(3200, 'adjustment', 'adjustment_pkey', 'PRIMARY KEY (adjustment_id)'),
	(3201, 'adjustment', 'adjustment_says_one_thing', 'CHECK (value IS NULL OR delta IS NULL)'),
	(3202, 'adjustment', 'adjustment_is_an_amount', 'CHECK (value - value = 0 AND delta - delta = 0)'),
	(3203, 'adjustment', 'forecast_of_an_owner_or_a_unit', 'CHECK (owner IS NULL OR unit_id IS NULL)'),

	(3300, 'submission', 'submission_pkey', 'PRIMARY KEY (submission_id)'),
	(3301, 'submission', 'submission_is_an_amount', 'CHECK (value - value = 0)'),
	(3302, 'submission', 'forecast_of_an_owner_or_a_unit', 'CHECK (owner IS NULL OR unit_id IS NULL)'),

	(1200, 'pipeline_role', 'pipeline_role_pkey', 'PRIMARY KEY (pipeline_id, role)'),
	(1201, 'pipeline_role', 'role_is_short', 'CHECK (length(role) BETWEEN 1 AND 200)'),
	(1202, 'pipeline_role', 'who_moves_or_defines_sees', 'CHECK (can_see OR NOT (can_move OR can_define))'),

	(3500, 'score_model', 'score_model_pkey', 'PRIMARY KEY (relation, pipeline_id)'),
	(3501, 'score_model', 'smoothing_is_positive', 'CHECK (smoothing > 0 AND prior_weight >= 0)'),
	(3502, 'score_model', 'counts_are_not_negative', 'CHECK (won >= 0 AND lost >= 0)'),

	(3600, 'score_count', 'score_count_pkey', 'PRIMARY KEY (relation, pipeline_id, feature, value, age)'),
	(3601, 'score_count', 'counts_are_not_negative', 'CHECK (won >= 0 AND lost >= 0)'),

	(3700, 'board', 'board_pkey', 'PRIMARY KEY (owner, name)'),
	(3701, 'board', 'name_is_trimmed_and_short', 'CHECK (name = btrim(name, E'' \t\r\n'') AND length(name) BETWEEN 1 AND 200)'),
	(3702, 'board', 'settings_is_an_object', 'CHECK (jsonb_typeof(settings) = ''object'')'),

	(1300, 'stage_value', 'stage_value_pkey', 'PRIMARY KEY (relation, part, value)'),
	(1301, 'stage_value', 'part_is_known', 'CHECK (part IN (''stage'', ''outcome''))'),

	(1400, 'adoption_plan', 'adoption_plan_pkey', 'PRIMARY KEY (relation, part, value)'),
	(1401, 'adoption_plan', 'part_is_known', 'CHECK (part IN (''stage'', ''outcome''))'),

	(1500, 'purge_log', 'purge_log_pkey', 'PRIMARY KEY (purge_id)'),

	(1600, 'adoption', 'adoption_pkey', 'PRIMARY KEY (relation)'),
	(1601, 'adoption', 'arguments_is_an_object', 'CHECK (jsonb_typeof(arguments) = ''object'')')
$$;
COMMENT ON FUNCTION pipelines._definition_constraints() IS
'The constraints of the definition tables that setup() makes, in the order in which they can be made.';

-- Calls among our own functions give every argument, with its exact type: an
-- overload that somebody managed to plant in the schema must not fit better.
CREATE FUNCTION pipelines.setup(owner regrole DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 100000
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	schema_oid oid := to_regnamespace('pipelines');
	schema_owner oid;
	expected oid;
	found_relation record;
	t record;
	c record;
	relation oid;
	twin oid;
	twin_name name;
	fresh text[];
	missing text;
BEGIN
	-- two of these at once would both find the same things missing
	PERFORM pg_advisory_xact_lock(2615, schema_oid::bigint::bit(32)::integer);

	-- whose schema is it?
	SELECT n.nspowner INTO schema_owner FROM pg_namespace AS n WHERE n.oid = schema_oid;
	IF NOT (SELECT r.rolsuper FROM pg_roles AS r WHERE r.oid = schema_owner)
		AND schema_owner <> (SELECT e.extowner FROM pg_extension AS e WHERE e.extname = 'pipelines')
	THEN
		RAISE EXCEPTION 'schema "pipelines" belongs to role "%"', pg_get_userbyid(schema_owner)
			USING ERRCODE = 'insufficient_privilege',
				HINT = 'ALTER SCHEMA pipelines OWNER TO the owner of the extension, if its contents can be trusted.';
	END IF;

	-- whose tables will they be?  All belong to one role; those that exist decide.
	expected := setup.owner;
	FOR found_relation IN
		SELECT r.relname, r.relkind, r.relowner
		FROM pg_class AS r
		JOIN pipelines._definition_tables() AS d
			ON r.relname = d.table_name OR (d.versioned AND r.relname = d.table_name || '_history')
		WHERE r.relnamespace = schema_oid
		ORDER BY d.table_name = 'definition_lock' DESC, r.relname
	LOOP
		IF found_relation.relkind NOT IN ('r', 'p') THEN
			RAISE EXCEPTION '"pipelines.%" is not a table', found_relation.relname
				USING ERRCODE = 'duplicate_object',
					SCHEMA = 'pipelines', TABLE = found_relation.relname,
					HINT = 'Definition tables need this name. Find out who made it, and drop it.';
		END IF;
		expected := coalesce(expected, found_relation.relowner);
		IF found_relation.relowner <> expected THEN
			RAISE EXCEPTION 'table "pipelines.%" belongs to role "%" instead of "%"',
					found_relation.relname, pg_get_userbyid(found_relation.relowner), pg_get_userbyid(expected)
				USING ERRCODE = 'insufficient_privilege',
					SCHEMA = 'pipelines', TABLE = found_relation.relname,
					DETAIL = 'All definition tables belong to one role.',
					HINT = 'Find out who made it. Drop it, or ALTER TABLE ... OWNER TO, or name its owner: SELECT pipelines.setup(owner => ...).';
		END IF;
	END LOOP;
	expected := coalesce(expected, (SELECT r.oid FROM pg_roles AS r WHERE r.rolname = current_user));
	IF NOT pg_has_role(current_user, expected, 'USAGE') THEN
		RAISE EXCEPTION 'definitions belong to role "%"', pg_get_userbyid(expected)
			USING ERRCODE = 'insufficient_privilege',
				HINT = 'Only members of that role, and the database''s administrator, may run pipelines.setup().';
	END IF;

	-- USAGE is granted by the install script; a restore without grants loses it
	IF pg_has_role(current_user, schema_owner, 'USAGE')
		AND NOT EXISTS (SELECT FROM pg_namespace AS n, aclexplode(n.nspacl) AS a
			WHERE n.oid = schema_oid AND a.grantee = 0 AND a.privilege_type = 'USAGE')
	THEN
		GRANT USAGE ON SCHEMA pipelines TO PUBLIC;
	END IF;

	-- rows of ours go into tables that are new, never into those of a restore
	fresh := ARRAY(SELECT d.table_name::text FROM pipelines._definition_tables() AS d
		WHERE to_regclass(format('pipelines.%I', d.table_name)) IS NULL);

	FOR t IN
		SELECT d.table_name, d.comment, d.versioned, coalesce(k.columns, '{}') AS columns
		FROM pipelines._definition_tables() AS d
		LEFT JOIN (SELECT k.table_name, array_agg(format('%I %s', k.column_name, k.definition) ORDER BY k.ordinal) AS columns
			  FROM pipelines._definition_columns() WITH ORDINALITY AS k (table_name, column_name, definition, is_key, comment, ordinal)
			  GROUP BY k.table_name) AS k ON k.table_name = d.table_name
		ORDER BY d.ordinal
	LOOP
		PERFORM pipelines._setup_table(t.table_name, t.comment, expected, t.columns
			|| CASE WHEN t.versioned
				THEN ARRAY['version integer NOT NULL', 'changed_at timestamptz NOT NULL']
				ELSE ARRAY[]::text[] END);
	END LOOP;

	FOR c IN
		SELECT k.table_name, string_agg(format('ADD CONSTRAINT %I %s', k.constraint_name, k.definition), ', ' ORDER BY k.ordinal) AS missing
		FROM pipelines._definition_constraints() AS k
		WHERE NOT EXISTS (SELECT FROM pg_constraint AS p
			WHERE p.conrelid = format('pipelines.%I', k.table_name)::regclass
				AND p.conname = k.constraint_name)
		GROUP BY k.table_name
		ORDER BY min(k.ordinal)
	LOOP
		EXECUTE format('ALTER TABLE pipelines.%I %s', c.table_name, c.missing);
	END LOOP;

	-- an earlier state declared what the triggers check now
	FOR c IN
		SELECT p.conrelid::regclass AS relation, p.conname AS constraint_name
		FROM pg_constraint AS p
		JOIN (VALUES
			('pipeline', 'pipeline_belongs_to_a_layout'),
			('pipeline_stage', 'stage_belongs_to_a_pipeline'),
			('pipeline_stage', 'stage_is_in_the_picklist'),
			('stage_map', 'map_leaves_a_stage'),
			('stage_map', 'map_enters_a_stage'),
			('stage_transition', 'transition_leaves_a_stage'),
			('stage_transition', 'transition_enters_a_stage'),
			('tracked_table', 'tracked_table_belongs_to_a_layout')
		) AS k (table_name, constraint_name)
			ON p.conrelid = to_regclass(format('pipelines.%I', k.table_name)) AND p.conname = k.constraint_name
		WHERE p.contype = 'f'
		ORDER BY p.conrelid, p.conname
	LOOP
		EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', c.relation, c.constraint_name);
	END LOOP;

	FOR t IN
		SELECT d.table_name, k.keys
		FROM pipelines._definition_tables() AS d
		JOIN (SELECT k.table_name, array_agg(k.column_name ORDER BY k.ordinal) AS keys
			  FROM pipelines._definition_columns() WITH ORDINALITY AS k (table_name, column_name, definition, is_key, comment, ordinal)
			  WHERE k.is_key
			  GROUP BY k.table_name) AS k ON k.table_name = d.table_name
		WHERE d.versioned
		ORDER BY d.ordinal
	LOOP
		relation := format('pipelines.%I', t.table_name)::regclass;
		twin_name := t.table_name || '_history';

		-- the twin: the table's columns as plain types, whatever they are today
		PERFORM pipelines._setup_table(twin_name,
			format('Versions of pipelines.%I that ended. Append only.', t.table_name), expected, ARRAY(
				SELECT format('%I %s%s', a.attname,
					CASE WHEN a.atttypid = 'regclass'::regtype THEN 'text' ELSE format_type(a.atttypid, a.atttypmod) END,
					CASE WHEN a.attname = 'version' OR a.attname = ANY (t.keys) THEN ' NOT NULL' ELSE '' END)
				FROM pg_attribute AS a
				WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped
				ORDER BY a.attnum)
			|| ARRAY['valid_from timestamptz NOT NULL', 'valid_to timestamptz NOT NULL',
				'change text NOT NULL', 'actor text', 'recorded_at timestamptz NOT NULL']);
		twin := format('pipelines.%I', twin_name)::regclass;
		SELECT string_agg(format('ADD CONSTRAINT %I %s', k.constraint_name, k.definition), ', ' ORDER BY k.ordinal)
		INTO missing
		FROM (VALUES
			(1, twin_name || '_pkey', format('PRIMARY KEY (%s, version)', (SELECT string_agg(quote_ident(x.name), ', ') FROM unnest(t.keys) AS x (name)))),
			(2, 'version_ends_after_it_began', 'CHECK (valid_from < valid_to)'),
			(3, 'change_is_known', 'CHECK (change IN (''update'', ''delete''))')
		) AS k (ordinal, constraint_name, definition)
		WHERE NOT EXISTS (SELECT FROM pg_constraint AS p
			WHERE p.conrelid = twin AND p.conname = k.constraint_name);
		IF missing IS NOT NULL THEN
			EXECUTE format('ALTER TABLE %s %s', twin::regclass, missing);
		END IF;

		IF t.table_name <> 'tracked_table' THEN
			PERFORM pipelines._setup_trigger(relation, name 'pipelines_turn',
				text 'BEFORE UPDATE OR DELETE', text 'STATEMENT', text 'pipelines._definition_turn()');
		END IF;
		PERFORM pipelines._setup_trigger(relation, name '~pipelines_before',
			text 'BEFORE INSERT OR UPDATE OR DELETE', text 'ROW', text 'pipelines._definition_before()');
		PERFORM pipelines._setup_trigger(relation, name 'pipelines_after',
			text 'AFTER INSERT OR UPDATE OR DELETE', text 'ROW', text 'pipelines._definition_after()');
		PERFORM pipelines._setup_trigger(relation, name 'pipelines_truncate',
			text 'BEFORE TRUNCATE', text 'STATEMENT', text 'pipelines._definition_truncate()');
		PERFORM pipelines._setup_trigger(twin, name 'pipelines_guard',
			text 'BEFORE UPDATE OR DELETE', text 'ROW', text 'pipelines._history_guard()');
		PERFORM pipelines._setup_trigger(twin, name 'pipelines_guard_truncate',
			text 'BEFORE TRUNCATE', text 'STATEMENT', text 'pipelines._history_guard()');
	END LOOP;

	PERFORM pipelines._setup_calendar();

	FOR c IN
		SELECT format('pipelines.%I', k.name)::regclass AS relation
		FROM (VALUES ('purge_log'), ('adjustment'), ('submission')) AS k (name)
	LOOP
		PERFORM pipelines._setup_trigger(c.relation::oid, name 'pipelines_guard',
			text 'BEFORE UPDATE OR DELETE', text 'ROW', text 'pipelines._history_guard()');
		PERFORM pipelines._setup_trigger(c.relation::oid, name 'pipelines_guard_truncate',
			text 'BEFORE TRUNCATE', text 'STATEMENT', text 'pipelines._history_guard()');
	END LOOP;
	-- whoever owns a table plans its adoption: the trigger lets nobody else
	FOR c IN
		SELECT format('pipelines.%I', k.name)::regclass AS relation
		FROM (VALUES ('adoption'), ('adoption_plan'), ('score_model'), ('score_count')) AS k (name)
	LOOP
		IF NOT EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgrelid = c.relation AND t.tgname = 'pipelines_guard') THEN
			EXECUTE format('GRANT INSERT, UPDATE, DELETE ON %s TO PUBLIC', c.relation);
		END IF;
		PERFORM pipelines._setup_trigger(c.relation::oid, name 'pipelines_guard',
			text 'BEFORE INSERT OR UPDATE OR DELETE', text 'ROW', text 'pipelines._adoption_guard()');
	END LOOP;

	-- who saves a board is its owner: the trigger lets nobody else
	IF NOT EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgrelid = 'pipelines.board'::regclass AND t.tgname = 'pipelines_guard') THEN
		GRANT INSERT, UPDATE, DELETE ON pipelines.board TO PUBLIC;
	END IF;
	relation := 'pipelines.board'::regclass;
	PERFORM pipelines._setup_trigger(relation, name 'pipelines_guard',
		text 'BEFORE INSERT OR UPDATE OR DELETE', text 'ROW', text 'pipelines._board_guard()');

	FOR c IN
		SELECT k.table_name, k.column_name, k.comment
		FROM pipelines._definition_columns() AS k
		JOIN pg_attribute AS a ON a.attrelid = format('pipelines.%I', k.table_name)::regclass
			AND a.attname = k.column_name
		WHERE col_description(a.attrelid, a.attnum) IS DISTINCT FROM k.comment
	LOOP
		EXECUTE format('COMMENT ON COLUMN pipelines.%I.%I IS %L', c.table_name, c.column_name, c.comment);
	END LOOP;

	PERFORM pipelines._setup_forecasts(fresh);
	PERFORM pipelines._secure_definitions();
END
$$;
COMMENT ON FUNCTION pipelines.setup(regrole) IS
'Makes the definition tables, or whatever is missing of them: columns, constraints, triggers, comments, grants, and policies while a pipeline is protected. Safe to call again. They belong to owner (default: whom they belong to already, else the caller). For the database''s administrator; raises 42501 or 42710 where a schema or table of the name belongs to somebody else.';

CREATE FUNCTION pipelines._setup_table(table_name name, comment text, owner oid, columns text[]) RETURNS void
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	relation oid := to_regclass(format('pipelines.%I', table_name));
	sequence regclass;
	missing text;
BEGIN
	IF relation IS NULL THEN
		IF NOT has_schema_privilege(current_user, 'pipelines', 'CREATE') THEN
			RAISE EXCEPTION 'permission denied to create table "pipelines.%"', table_name
				USING ERRCODE = 'insufficient_privilege',
					HINT = format('Ask the database''s administrator to run SELECT pipelines.setup(owner => %L).', pg_get_userbyid(owner));
		END IF;
		EXECUTE format('CREATE TABLE pipelines.%I (%s)', table_name, array_to_string(columns, ', '));
		relation := to_regclass(format('pipelines.%I', table_name));
		IF pg_get_userbyid(owner) <> current_user THEN
			EXECUTE format('ALTER TABLE pipelines.%I OWNER TO %I', table_name, pg_get_userbyid(owner));
		END IF;
	ELSE
		SELECT string_agg('ADD COLUMN ' || k.definition, ', ' ORDER BY k.ordinal) INTO missing
		FROM unnest(columns) WITH ORDINALITY AS k (definition, ordinal)
		WHERE NOT EXISTS (SELECT FROM pg_attribute AS a
			WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped
				AND starts_with(k.definition, quote_ident(a.attname) || ' '));
		IF missing IS NOT NULL THEN
			EXECUTE format('ALTER TABLE pipelines.%I %s', table_name, missing);
		END IF;
	END IF;
	-- once: whoever revokes it later means it; whose data were purged is not for all
	IF table_name <> 'purge_log' AND (SELECT r.relacl IS NULL FROM pg_class AS r WHERE r.oid = relation) THEN
		EXECUTE format('GRANT SELECT ON pipelines.%I TO PUBLIC', table_name);
		-- a dump reads the sequence behind an identity column, too
		FOR sequence IN
			SELECT d.objid::regclass FROM pg_depend AS d
			WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = relation
				AND d.classid = 'pg_class'::regclass AND d.deptype = 'i'
				AND (SELECT r.relkind = 'S' FROM pg_class AS r WHERE r.oid = d.objid)
		LOOP
			EXECUTE format('GRANT SELECT ON SEQUENCE %s TO PUBLIC', sequence);
		END LOOP;
	END IF;
	IF obj_description(relation, 'pg_class') IS DISTINCT FROM comment THEN
		EXECUTE format('COMMENT ON TABLE pipelines.%I IS %L', table_name, comment);
	END IF;
END
$$;
COMMENT ON FUNCTION pipelines._setup_table(name, text, oid, text[]) IS
'Makes one definition table, or the columns that it lacks.';

CREATE FUNCTION pipelines._setup_trigger(relation oid, trigger_name name, event text, level text, function text) RETURNS void
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	enabled "char";
BEGIN
	SELECT t.tgenabled INTO enabled FROM pg_trigger AS t
	WHERE t.tgrelid = relation AND t.tgname = trigger_name AND t.tgfoid = function::regprocedure;
	IF NOT FOUND THEN
		EXECUTE format('CREATE TRIGGER %I %s ON %s FOR EACH %s EXECUTE FUNCTION %s',
			trigger_name, event, relation::regclass, level, function);
	END IF;
	IF enabled IS DISTINCT FROM 'A' THEN
		EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', relation::regclass, trigger_name);
	END IF;
END
$$;
COMMENT ON FUNCTION pipelines._setup_trigger(oid, name, text, text, text) IS
'Makes one trigger that fires in every session, the replica role included, or makes it so again.';

CREATE FUNCTION pipelines._require_setup() RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	missing text;
BEGIN
	SELECT string_agg(d.table_name, ', ' ORDER BY d.ordinal) INTO missing
	FROM pipelines._definition_tables() AS d
	WHERE NOT EXISTS (SELECT FROM pg_class AS r
		WHERE r.relnamespace = to_regnamespace('pipelines') AND r.relname = d.table_name
			AND r.relkind IN ('r', 'p')
			AND r.relowner = (SELECT l.relowner FROM pg_class AS l
				WHERE l.relnamespace = r.relnamespace AND l.relname = 'definition_lock')
			AND (NOT d.versioned OR EXISTS (SELECT FROM pg_trigger AS t
				WHERE t.tgrelid = r.oid AND t.tgname = 'pipelines_after')));
	IF missing IS NULL THEN
		RETURN;
	END IF;
	IF NOT has_schema_privilege(current_user, 'pipelines', 'CREATE') THEN
		RAISE EXCEPTION 'definition tables are missing, without their triggers, or not ours: %', missing
			USING ERRCODE = 'object_not_in_prerequisite_state',
				HINT = 'Ask the database''s administrator to run SELECT pipelines.setup(owner => ...) with the role that shall own them.';
	END IF;
	PERFORM pipelines.setup(NULL::regrole);
END
$$;
COMMENT ON FUNCTION pipelines._require_setup() IS
'Calls setup() if definition tables are missing and the caller may create them; else raises 55000 with a hint.';
