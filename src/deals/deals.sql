-- deals.sql: the trigger functions on deals tables, and what they share.

CREATE FUNCTION pipelines._deal_before() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE COST 1
AS 'MODULE_PATHNAME', 'pipelines_deal_before';
COMMENT ON FUNCTION pipelines._deal_before() IS
'BEFORE ROW trigger on a deals table: completes and judges the row, hands the version that ends to the history. Raises 23S01 to 23S10.';

CREATE FUNCTION pipelines._deal_after() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE COST 1
AS 'MODULE_PATHNAME', 'pipelines_deal_after';
COMMENT ON FUNCTION pipelines._deal_after() IS
'AFTER ROW trigger on a deals table: writes the history rows of the statement; judges what could not be judged before. Raises 23S03, 23S06, 23S09.';

CREATE FUNCTION pipelines._deal_turn() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE COST 1
AS 'MODULE_PATHNAME', 'pipelines_deal_turn';
COMMENT ON FUNCTION pipelines._deal_turn() IS
'BEFORE STATEMENT trigger on a deals table: waits for those who redefine stages before PostgreSQL locks a row that they may want to change.';

CREATE FUNCTION pipelines._deal_truncate() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE COST 1
AS 'MODULE_PATHNAME', 'pipelines_deal_truncate';
COMMENT ON FUNCTION pipelines._deal_truncate() IS
'BEFORE TRUNCATE trigger on a deals table: refuses (23S13), or records one deletion per deal where tracked_table.on_truncate is ''record''.';

CREATE FUNCTION pipelines._columns() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE COST 1
AS 'MODULE_PATHNAME', 'pipelines_columns';
COMMENT ON FUNCTION pipelines._columns() IS
'Never called: the column list of the trigger that names it says which column of a deals table plays which part, and follows renames.';

CREATE FUNCTION pipelines._pending() RETURNS boolean
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE COST 1
AS 'MODULE_PATHNAME', 'pipelines_pending';
COMMENT ON FUNCTION pipelines._pending() IS
'WHEN clause of the AFTER ROW trigger on deals tables: true once for each statement that has history to write, and for rows that must be judged once more.';

CREATE FUNCTION pipelines._trigger_name() RETURNS name
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 1
AS 'MODULE_PATHNAME', 'pipelines_trigger_name';
COMMENT ON FUNCTION pipelines._trigger_name() IS
'Name of the BEFORE ROW trigger on deals tables: begins with a sign that sorts after every ASCII name, so that the trigger fires last.';

CREATE FUNCTION pipelines._rebook(deals regclass, bookkeeping regclass) RETURNS bigint
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE COST 1000
AS 'MODULE_PATHNAME', 'pipelines_rebook';
COMMENT ON FUNCTION pipelines._rebook(regclass, regclass) IS
'Sets the bookkeeping of deals to that of a temporary table with the key''s columns, stage_entered_at, furthest_stage_id, gate_stage_id, episode, version, changed_at, closed_at and closed_on. For repair() and import_history(), which have checked it; only members of the owner of the deals may call it (42501). Returns the number of rows.';
