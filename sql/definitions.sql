-- The definition tables: setup(), constraints, usage, privileges, resumption.
-- In a database of its own, since schema pipelines is one per database.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT current_database() AS home \gset
DROP DATABASE IF EXISTS regress_pipelines_definitions;
CREATE DATABASE regress_pipelines_definitions;
CREATE ROLE regress_sales;
CREATE ROLE regress_clerk;
CREATE ROLE regress_mallory;
\c regress_pipelines_definitions
SET lc_messages = 'C';
SET client_min_messages = warning;
GRANT CREATE ON DATABASE regress_pipelines_definitions TO regress_mallory;

-- CORE 21: a schema that belongs to somebody else is refused
CREATE SCHEMA pipelines AUTHORIZATION regress_mallory;
CREATE EXTENSION pipelines;
\echo :LAST_ERROR_SQLSTATE
-- ours by now, but with somebody else's code in it
ALTER SCHEMA pipelines OWNER TO CURRENT_USER;
GRANT CREATE ON SCHEMA pipelines TO regress_mallory;
SET ROLE regress_mallory;
CREATE FUNCTION pipelines.weighted_forecast(integer, integer) RETURNS integer LANGUAGE sql AS 'SELECT 1';
CREATE VIEW pipelines.stage AS SELECT 1 AS stage_id;
RESET ROLE;
CREATE EXTENSION pipelines;
\echo :LAST_ERROR_SQLSTATE
DROP FUNCTION pipelines.weighted_forecast(integer, integer);
DROP VIEW pipelines.stage;
CREATE EXTENSION pipelines;

-- nothing is there yet: an error with the way out, for who may not make it
SELECT * FROM pipelines.check_definitions();
\echo :LAST_ERROR_SQLSTATE
SELECT pipelines.pipeline_id('Sales');
\echo :LAST_ERROR_SQLSTATE
SET ROLE regress_clerk;
SELECT pipelines.create_pipeline('Sales');
\echo :LAST_ERROR_SQLSTATE
SELECT pipelines.setup();
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;

-- a planted view, a planted table
SET ROLE regress_mallory;
CREATE VIEW pipelines.stage AS SELECT 1 AS stage_id;
RESET ROLE;
SELECT pipelines.setup(owner => 'regress_sales');
\echo :LAST_ERROR_SQLSTATE
DROP VIEW pipelines.stage;
SET ROLE regress_mallory;
CREATE TABLE pipelines.stage (stage_id integer);
RESET ROLE;
SELECT pipelines.setup(owner => 'regress_sales');
\echo :LAST_ERROR_SQLSTATE
DROP TABLE pipelines.stage;
REVOKE CREATE ON SCHEMA pipelines FROM regress_mallory;

-- CORE 20: the DBA's call, for the role that shall own them
SELECT pipelines.setup(owner => 'regress_sales');
SELECT pipelines.setup();
SELECT pipelines.setup(owner => 'regress_clerk');
\echo :LAST_ERROR_SQLSTATE
SELECT c.relname, c.relowner::regrole, c.relacl IS NOT NULL AS granted,
	has_table_privilege('regress_clerk', c.oid, 'SELECT') AS read,
	has_table_privilege('regress_clerk', c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE') AS write,
	EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e') AS member,
	obj_description(c.oid, 'pg_class') IS NOT NULL AS commented
FROM pg_class c WHERE c.relnamespace = 'pipelines'::regnamespace AND c.relkind = 'r' ORDER BY 1;
SELECT count(*) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE c.relnamespace = 'pipelines'::regnamespace AND c.relkind = 'r' AND c.relname NOT LIKE '%\_history'
	AND a.attnum > 0 AND a.attname NOT IN ('version', 'changed_at')
	AND col_description(a.attrelid, a.attnum) IS NULL;
SELECT c.relname, t.tgname, t.tgenabled FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
WHERE c.relnamespace = 'pipelines'::regnamespace AND NOT t.tgisinternal ORDER BY c.relname, t.tgname;
SELECT conrelid::regclass, conname FROM pg_constraint
WHERE connamespace = 'pipelines'::regnamespace AND contype <> 'n' ORDER BY conrelid::regclass::text COLLATE "C", conname;
SELECT has_schema_privilege('regress_clerk', 'pipelines', 'USAGE') AS usage,
	has_schema_privilege('regress_clerk', 'pipelines', 'CREATE') AS create;

-- the owner defines; others read
SET ROLE regress_clerk;
SELECT pipelines.create_pipeline('Sales');
\echo :LAST_ERROR_SQLSTATE
SELECT pipelines.setup();
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM pipelines.pipeline;
SET ROLE regress_sales;
SELECT pipelines.create_pipeline('Sales', stages => '["New", "Quote", "Won", "Lost"]') AS sales \gset
SELECT pipelines.create_pipeline('Service', stages => '["New", "Work", "Done"]') AS service \gset
SET ROLE regress_clerk;
SELECT pipelines.pipeline_id('Sales') = :sales AS by_name, pipelines.pipeline_id(:sales::text) = :sales AS by_id,
	pipelines.stage_id('Sales', 'Won') = pipelines.stage_id(:sales::text, pipelines.stage_id('Sales', 'Won')::text) AS stage;
RESET ROLE;

-- rows that no pipeline may have: the error names row and rule
UPDATE pipelines.pipeline_stage SET probability = 1000 WHERE stage_id = pipelines.stage_id('Sales', 'Quote');
\echo :LAST_ERROR_SQLSTATE
UPDATE pipelines.pipeline_stage SET probability = 100 WHERE stage_id = pipelines.stage_id('Sales', 'Quote');
UPDATE pipelines.pipeline_stage SET probability = 99.5 WHERE stage_id = pipelines.stage_id('Sales', 'Quote');
UPDATE pipelines.pipeline_stage SET probability = -1 WHERE stage_id = pipelines.stage_id('Sales', 'Quote');
UPDATE pipelines.pipeline_stage SET probability = 'NaN' WHERE stage_id = pipelines.stage_id('Sales', 'Quote');
UPDATE pipelines.pipeline_stage SET probability = 62.125 WHERE stage_id = pipelines.stage_id('Sales', 'Quote');
UPDATE pipelines.pipeline_stage SET probability = 0 WHERE stage_id = pipelines.stage_id('Sales', 'Won');
UPDATE pipelines.pipeline_stage SET probability = 5 WHERE stage_id = pipelines.stage_id('Sales', 'Lost');
UPDATE pipelines.pipeline_stage SET probability = 100 WHERE stage_id = pipelines.stage_id('Service', 'Done');
UPDATE pipelines.pipeline_stage SET outcome = 'maybe' WHERE stage_id = pipelines.stage_id('Sales', 'Quote');
UPDATE pipelines.pipeline_stage SET outcome = 'won' WHERE stage_id = pipelines.stage_id('Sales', 'Quote');
UPDATE pipelines.pipeline_stage SET stall_limit = '0' WHERE stage_id = pipelines.stage_id('Sales', 'Quote');
UPDATE pipelines.pipeline_stage SET entry_rule = 'now() > closed_at' WHERE stage_id = pipelines.stage_id('Sales', 'Quote');
\echo :LAST_ERROR_SQLSTATE
UPDATE pipelines.pipeline SET time_zone = 'Europe/Atlantis' WHERE name = 'Sales';
\echo :LAST_ERROR_SQLSTATE
-- the same rules stand beside the table, and hold without us
ALTER TABLE pipelines.pipeline_stage DISABLE TRIGGER ALL;
\set VERBOSITY terse
UPDATE pipelines.pipeline_stage SET probability = 1000 WHERE stage_id = pipelines.stage_id('Sales', 'Quote');
UPDATE pipelines.pipeline_stage SET probability = 62.125 WHERE stage_id = pipelines.stage_id('Sales', 'Quote');
UPDATE pipelines.pipeline_stage SET probability = 0 WHERE stage_id = pipelines.stage_id('Sales', 'Won');
UPDATE pipelines.pipeline_stage SET probability = 5 WHERE stage_id = pipelines.stage_id('Sales', 'Lost');
UPDATE pipelines.pipeline_stage SET outcome = 'maybe' WHERE stage_id = pipelines.stage_id('Sales', 'Quote');
UPDATE pipelines.pipeline_stage SET stall_limit = '0' WHERE stage_id = pipelines.stage_id('Sales', 'Quote');
UPDATE pipelines.pipeline_stage SET stall_basis = 'moon' WHERE stage_id = pipelines.stage_id('Service', 'Done');
\set VERBOSITY default
SELECT message FROM pipelines.check_definitions() WHERE advice IN ('trigger_missing', 'constraint_disabled');
-- as pg_restore --disable-triggers leaves it
ALTER TABLE pipelines.pipeline_stage ENABLE TRIGGER ALL;
SELECT message FROM pipelines.check_definitions() WHERE advice IN ('trigger_missing', 'constraint_disabled');
SELECT pipelines.setup();
SELECT message FROM pipelines.check_definitions() WHERE advice IN ('trigger_missing', 'constraint_disabled');

-- names
\set VERBOSITY terse
INSERT INTO pipelines.stage (name) VALUES (' padded ');
INSERT INTO pipelines.stage (name) VALUES ('');
INSERT INTO pipelines.stage (name) VALUES (repeat('x', 201));
INSERT INTO pipelines.stage (name) VALUES (NULL);
INSERT INTO pipelines.stage (name) VALUES ('Quote');
INSERT INTO pipelines.layout (name) VALUES (E'tab\t');
INSERT INTO pipelines.layout (name, attrs) VALUES ('x', '[]');
INSERT INTO pipelines.pipeline (layout_id, name) VALUES (1, 'Sales');
INSERT INTO pipelines.pipeline (layout_id, name) VALUES (99, 'Elsewhere');
INSERT INTO pipelines.pipeline (layout_id, name, mode) VALUES (1, 'Odd', 'anarchy');
INSERT INTO pipelines.pipeline (layout_id, name, override_policy) VALUES (1, 'Odd', 'x');
INSERT INTO pipelines.pipeline (layout_id, name, transfer_policy) VALUES (1, 'Odd', 'x');
\set VERBOSITY default

-- positions: unique among live stages, reordered by one statement
UPDATE pipelines.pipeline_stage SET "position" = 1
WHERE pipeline_id = :sales AND stage_id = pipelines.stage_id('Sales', 'Quote');
\echo :LAST_ERROR_SQLSTATE
UPDATE pipelines.pipeline_stage SET "position" = 5 - "position" WHERE pipeline_id = :sales;
SELECT s.name, p."position" FROM pipelines.pipeline_stage p JOIN pipelines.stage s USING (stage_id)
WHERE p.pipeline_id = :sales ORDER BY 2;
UPDATE pipelines.pipeline_stage SET "position" = 5 - "position" WHERE pipeline_id = :sales;
-- an archived one may share
SELECT pipelines.archive_stage('Sales', 'Quote');
UPDATE pipelines.pipeline_stage SET "position" = 1
WHERE pipeline_id = :sales AND stage_id = pipelines.stage_id('Sales', 'Quote');
UPDATE pipelines.pipeline_stage SET archived_at = NULL
WHERE pipeline_id = :sales AND stage_id = pipelines.stage_id('Sales', 'Quote');
UPDATE pipelines.pipeline_stage SET archived_at = NULL, "position" = 2
WHERE pipeline_id = :sales AND stage_id = pipelines.stage_id('Sales', 'Quote');

-- one standard pipeline a layout, switched by one statement
SELECT name, is_standard FROM pipelines.pipeline ORDER BY 1;
UPDATE pipelines.pipeline SET is_standard = true;
\echo :LAST_ERROR_SQLSTATE
UPDATE pipelines.pipeline SET is_standard = (name = 'Service') WHERE layout_id = 1;
SELECT name, is_standard FROM pipelines.pipeline ORDER BY 1;
\set VERBOSITY terse
UPDATE pipelines.pipeline SET archived_at = now() WHERE name = 'Service';
\set VERBOSITY default
SELECT pipelines.archive_pipeline('Service');
\echo :LAST_ERROR_SQLSTATE
UPDATE pipelines.pipeline SET is_standard = (name = 'Sales') WHERE layout_id = 1;
SELECT pipelines.archive_pipeline('Service');
SELECT pipelines.archive_pipeline('Service');
UPDATE pipelines.pipeline SET archived_at = NULL WHERE name = 'Service';
-- two pipelines of a new layout in one statement: the first is the standard one
INSERT INTO pipelines.layout (name) VALUES ('Furniture') RETURNING layout_id AS furniture \gset
INSERT INTO pipelines.pipeline (layout_id, name) VALUES (:furniture, 'Chairs'), (:furniture, 'Tables')
RETURNING name, is_standard, time_zone = current_setting('TimeZone') AS zone;

-- names to ids: never a guess
SELECT pipelines.pipeline_id('Nothing');
\echo :LAST_ERROR_SQLSTATE
SELECT pipelines.pipeline_id('Sales', 'Furniture');
SELECT pipelines.pipeline_id('Sales', 'Nowhere');
SELECT pipelines.pipeline_id(NULL) IS NULL AS n, pipelines.stage_id('Sales', NULL) IS NULL AS m;
SELECT pipelines.stage_id('Sales', 'won');
\echo :LAST_ERROR_SQLSTATE
INSERT INTO pipelines.pipeline (layout_id, name, code) VALUES (:furniture, 'Sales', 'furn') RETURNING pipeline_id AS furn \gset
SELECT pipelines.pipeline_id('Sales');
\echo :LAST_ERROR_SQLSTATE
SELECT pipelines.pipeline_id('Sales', 'default') = :sales AS a, pipelines.pipeline_id('Sales', 'Furniture') = :furn AS b,
	pipelines.pipeline_id('furn') = :furn AS c;
SELECT pipelines.archive_pipeline('furn');
SELECT pipelines.pipeline_id('Sales') = :sales AS the_live_one;
DELETE FROM pipelines.pipeline WHERE pipeline_id = :furn;

-- keys never change, TRUNCATE is refused
UPDATE pipelines.stage SET stage_id = 99 WHERE name = 'Quote';
\echo :LAST_ERROR_SQLSTATE
TRUNCATE pipelines.stage_transition;
\echo :LAST_ERROR_SQLSTATE
SET session_replication_role = replica;
TRUNCATE pipelines.stage_transition;
RESET session_replication_role;

-- what deals refer to stays: a table of deals without our triggers
CREATE SCHEMA crm AUTHORIZATION regress_sales;
SET ROLE regress_sales;
CREATE TABLE crm.deals (deal_id bigint PRIMARY KEY, pipeline_id integer, stage_id integer,
	furthest_stage_id integer, gate_stage_id integer);
CREATE TABLE crm.deals_history (deal_id bigint, version integer, pipeline_id integer, stage_id integer,
	to_pipeline_id integer, to_stage_id integer, skipped_stages integer[]);
\set register 'SELECT pipelines._register(''crm.deals'', ''crm.deals_history'', 1, ''{deal_id}'', ''{"pipeline_id": "pipeline_id", "stage_id": "stage_id", "furthest_stage_id": "furthest_stage_id", "gate_stage_id": "gate_stage_id"}'', NULL, false, ''refuse'', ''-infinity'', false)'
SET ROLE regress_clerk;
:register;
\echo :LAST_ERROR_SQLSTATE
SELECT pipelines._unregister('crm.deals');
SET ROLE regress_sales;
:register;
:register;
SELECT relation, history, key, version FROM pipelines.tracked_table;
SELECT pipelines._register('crm.deals', 'crm.deals', 1, '{deal_id}', '{}', NULL, false, 'refuse', '-infinity', false);
SELECT pipelines._register('crm.deals', NULL, 1, '{deal_id}', '{}', NULL, false, 'refuse', '-infinity', false);
CREATE VIEW crm.v AS SELECT * FROM crm.deals;
SELECT pipelines._register('crm.v', 'crm.deals_history', 1, '{deal_id}', '{}', NULL, false, 'refuse', '-infinity', false);
CREATE TEMP TABLE t (deal_id integer);
SELECT pipelines._register('t', 'crm.deals_history', 1, '{deal_id}', '{}', NULL, false, 'refuse', '-infinity', false);
INSERT INTO crm.deals SELECT g, :sales, pipelines.stage_id('Sales', 'New'), pipelines.stage_id('Sales', 'Quote')
FROM generate_series(1, 7) g;
DELETE FROM pipelines.pipeline_stage WHERE pipeline_id = :sales AND stage_id = pipelines.stage_id('Sales', 'New');
\echo :LAST_ERROR_SQLSTATE
-- furthest stage of a deal
DELETE FROM pipelines.pipeline_stage WHERE pipeline_id = :sales AND stage_id = pipelines.stage_id('Sales', 'Quote');
DELETE FROM pipelines.pipeline WHERE pipeline_id = :sales;
UPDATE pipelines.pipeline_stage SET outcome = 'on_hold'
WHERE pipeline_id = :sales AND stage_id = pipelines.stage_id('Sales', 'New');
\echo :LAST_ERROR_SQLSTATE
UPDATE pipelines.pipeline SET layout_id = :furniture WHERE pipeline_id = :sales;
\echo :LAST_ERROR_SQLSTATE
-- who can't see the deals is told that there are some
RESET ROLE;
GRANT INSERT, UPDATE, DELETE ON pipelines.pipeline_stage TO regress_clerk;
SET ROLE regress_clerk;
DELETE FROM pipelines.pipeline_stage WHERE pipeline_id = :sales AND stage_id = pipelines.stage_id('Sales', 'New');
SET ROLE regress_sales;
-- the same stage in another pipeline, and what is not a redefinition
UPDATE pipelines.pipeline_stage SET outcome = 'on_hold'
WHERE pipeline_id = :service AND stage_id = pipelines.stage_id('Service', 'New');
UPDATE pipelines.pipeline_stage SET probability = 12, colour = 'red', mandatory = false
WHERE pipeline_id = :sales AND stage_id = pipelines.stage_id('Sales', 'New');
SELECT pipelines.archive_stage('Sales', 'New');
-- many deals are counted up to a limit
INSERT INTO crm.deals SELECT g, :sales, pipelines.stage_id('Sales', 'New') FROM generate_series(8, 1200) g;
DELETE FROM pipelines.pipeline_stage WHERE pipeline_id = :sales AND stage_id = pipelines.stage_id('Sales', 'New');
DELETE FROM crm.deals;
-- history: where a deal was, went, and what it skipped
INSERT INTO crm.deals_history VALUES (1, 1, :sales, pipelines.stage_id('Sales', 'New'), :sales,
	pipelines.stage_id('Sales', 'Won'), ARRAY[pipelines.stage_id('Sales', 'Quote')]);
DELETE FROM pipelines.pipeline_stage WHERE pipeline_id = :sales AND stage_id = pipelines.stage_id('Sales', 'New');
DELETE FROM pipelines.pipeline_stage WHERE pipeline_id = :sales AND stage_id = pipelines.stage_id('Sales', 'Won');
DELETE FROM pipelines.pipeline_stage WHERE pipeline_id = :sales AND stage_id = pipelines.stage_id('Sales', 'Quote');
DELETE FROM pipelines.pipeline WHERE pipeline_id = :sales;
-- in the same transaction: move off, then delete
DELETE FROM pipelines.pipeline_stage WHERE pipeline_id = :sales AND stage_id = pipelines.stage_id('Sales', 'Lost');
BEGIN;
DELETE FROM crm.deals_history;
DELETE FROM pipelines.pipeline WHERE pipeline_id = :sales;
SELECT count(*) FROM pipelines.pipeline_stage WHERE pipeline_id = :sales;
ROLLBACK;
-- the mapping trigger follows renames; columns of tracked_table don't
ALTER TABLE crm.deals RENAME COLUMN stage_id TO phase;
INSERT INTO crm.deals VALUES (1, :service, pipelines.stage_id('Service', 'Work'));
RESET ROLE;
CREATE TRIGGER pipelines_columns BEFORE UPDATE OF deal_id, pipeline_id, phase ON crm.deals
FOR EACH STATEMENT WHEN (false)
EXECUTE FUNCTION pipelines._columns('key1=deal_id', 'pipeline_id=pipeline_id', 'stage_id=stage_id');
SET ROLE regress_sales;
DELETE FROM pipelines.pipeline_stage WHERE pipeline_id = :service AND stage_id = pipelines.stage_id('Service', 'Work');
-- a table that is gone is no obstacle
DROP TABLE crm.deals, crm.deals_history CASCADE;
DELETE FROM pipelines.pipeline_stage WHERE pipeline_id = :service AND stage_id = pipelines.stage_id('Service', 'Work');
SELECT advice FROM pipelines.check_definitions() WHERE advice = 'table_missing';
SELECT pipelines._unregister(relation) FROM pipelines.tracked_table;
SELECT pipelines._unregister('pipelines.stage');
RESET ROLE;

-- a stage of the picklist that a pipeline has
DELETE FROM pipelines.stage WHERE name = 'Done';
-- a pipeline takes its stages, maps and transitions along
INSERT INTO pipelines.stage_transition VALUES (:service, pipelines.stage_id('Service', 'New'), pipelines.stage_id('Service', 'Done'));
INSERT INTO pipelines.stage_map VALUES (:service, pipelines.stage_id('Service', 'New'), :sales, pipelines.stage_id('Sales', 'New'));
\set VERBOSITY terse
INSERT INTO pipelines.stage_map VALUES (:service, pipelines.stage_id('Service', 'New'), :service, pipelines.stage_id('Service', 'Done'));
INSERT INTO pipelines.stage_transition VALUES (:service, 77, 78);
\set VERBOSITY default
DELETE FROM pipelines.pipeline WHERE pipeline_id = :service;
SELECT (SELECT count(*) FROM pipelines.pipeline_stage WHERE pipeline_id = :service),
	(SELECT count(*) FROM pipelines.stage_map), (SELECT count(*) FROM pipelines.stage_transition);

-- references among definitions: a missing end is an error that names it, as
-- that of a foreign key does
CREATE FUNCTION crm.complaint(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	state text;
	relation text;
	name text;
	message text;
	detail text;
BEGIN
	EXECUTE statement;
	RETURN 'done';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, relation = TABLE_NAME, name = CONSTRAINT_NAME,
		message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
	RETURN format(E'%s %s %s\n%s\n%s', state, relation, name, message, detail);
END
$$;
\pset format unaligned
\pset tuples_only on
INSERT INTO pipelines.stage (stage_id, name) VALUES (901, 'Ref a'), (902, 'Ref b'), (903, 'Ref c');
INSERT INTO pipelines.layout (layout_id, name) VALUES (900, 'Refs');
INSERT INTO pipelines.pipeline (pipeline_id, layout_id, name) VALUES (900, 900, 'Refs'), (901, 900, 'Refs too');
INSERT INTO pipelines.pipeline_stage (pipeline_id, stage_id, "position", outcome, probability)
VALUES (900, 901, 1, 'open', 10), (900, 902, 2, 'open', 20), (901, 901, 1, 'open', 10);
INSERT INTO pipelines.stage_map VALUES (900, 901, 901, 901);
SELECT crm.complaint('INSERT INTO pipelines.pipeline (layout_id, name) VALUES (999, ''No layout'')');
SELECT crm.complaint('UPDATE pipelines.pipeline SET layout_id = 999, is_standard = false WHERE pipeline_id = 901');
SELECT crm.complaint('INSERT INTO pipelines.pipeline_stage (pipeline_id, stage_id, "position", outcome) VALUES (999, 901, 1, ''won'')');
SELECT crm.complaint('INSERT INTO pipelines.pipeline_stage (pipeline_id, stage_id, "position", outcome) VALUES (900, 999, 3, ''won'')');
SELECT crm.complaint('INSERT INTO pipelines.stage_map VALUES (900, 903, 901, 901)');
SELECT crm.complaint('INSERT INTO pipelines.stage_map VALUES (900, 902, 901, 902)');
SELECT crm.complaint('UPDATE pipelines.stage_map SET to_stage_id = 902 WHERE from_pipeline_id = 900');
SELECT crm.complaint('INSERT INTO pipelines.stage_transition VALUES (999, 901, 902)');
SELECT crm.complaint('INSERT INTO pipelines.stage_transition VALUES (900, 901, 903)');
SELECT crm.complaint('INSERT INTO pipelines.tracked_table (relation, history, layout_id, key, columns) VALUES (''crm.a'', ''crm.b'', 999, ''{id}'', ''{}'')')
FROM (SELECT crm.complaint('CREATE TABLE crm.a (id integer)'), crm.complaint('CREATE TABLE crm.b (id integer)')) AS made;
-- what is in the way of a deletion is listed, up to five
SELECT crm.complaint('DELETE FROM pipelines.stage WHERE stage_id = 901');
INSERT INTO pipelines.pipeline (layout_id, name) SELECT 900, 'Refs ' || g FROM generate_series(1, 6) AS g;
SELECT crm.complaint('DELETE FROM pipelines.layout WHERE layout_id = 900');
DELETE FROM pipelines.pipeline WHERE name ~ '^Refs [1-6]$';
INSERT INTO pipelines.layout (layout_id, name) VALUES (910, 'Tracked');
INSERT INTO pipelines.tracked_table (relation, history, layout_id, key, columns) VALUES ('crm.a', 'crm.b', 910, '{id}', '{}');
SELECT crm.complaint('DELETE FROM pipelines.layout WHERE layout_id = 910');
DELETE FROM pipelines.tracked_table WHERE relation = 'crm.a'::regclass;
SELECT crm.complaint('TRUNCATE pipelines.pipeline, pipelines.pipeline_stage, pipelines.stage_map, pipelines.stage_transition');
-- one statement may make both ends, or remove them, in any order
WITH a AS (INSERT INTO pipelines.pipeline (pipeline_id, layout_id, name) VALUES (902, 900, 'Refs at once'))
INSERT INTO pipelines.pipeline_stage (pipeline_id, stage_id, "position", outcome) VALUES (902, 901, 1, 'won');
WITH a AS (DELETE FROM pipelines.pipeline_stage WHERE stage_id = 902)
DELETE FROM pipelines.stage WHERE stage_id = 902;
INSERT INTO pipelines.stage (stage_id, name) VALUES (902, 'Ref b');
INSERT INTO pipelines.pipeline_stage (pipeline_id, stage_id, "position", outcome, probability) VALUES (900, 902, 2, 'open', 20);
-- a row that is not inserted refers to nothing
INSERT INTO pipelines.stage_transition VALUES (900, 901, 902);
SELECT crm.complaint('INSERT INTO pipelines.stage_transition VALUES (900, 901, 902) ON CONFLICT DO NOTHING');
-- deletions are handed on, and remembered at every end
DELETE FROM pipelines.pipeline WHERE pipeline_id IN (900, 902);
SELECT 'pipeline_stage', pipeline_id, stage_id, change FROM pipelines.pipeline_stage_history WHERE pipeline_id IN (900, 902) AND change = 'delete'
UNION ALL SELECT 'stage_map', from_pipeline_id, from_stage_id, change FROM pipelines.stage_map_history WHERE from_pipeline_id = 900
UNION ALL SELECT 'stage_transition', pipeline_id, from_stage_id, change FROM pipelines.stage_transition_history WHERE pipeline_id = 900
ORDER BY 1, 2, 3;
-- a restore brings rows with their bookkeeping, in any order (a parallel one does)
SET ROLE regress_sales;
INSERT INTO pipelines.stage_transition VALUES (920, 921, 922, 1, '-infinity');
INSERT INTO pipelines.stage_map VALUES (920, 921, 901, 901, 1, '-infinity');
SELECT pipeline_id, stage_id, stage_name, message FROM pipelines.check_definitions() WHERE advice = 'reference_missing';
INSERT INTO pipelines.pipeline_stage (pipeline_id, stage_id, "position", outcome, probability, version, changed_at)
VALUES (920, 921, 1, 'open', 10, 1, '-infinity'), (920, 922, 2, 'won', 100, 3, '2026-01-01');
INSERT INTO pipelines.tracked_table (relation, history, layout_id, key, columns, version, changed_at)
VALUES ('crm.b', 'crm.a', 920, '{id}', '{}', 1, '-infinity');
SELECT pipeline_id, stage_id, message FROM pipelines.check_definitions() WHERE advice = 'reference_missing';
-- without, or for somebody else, it is an ordinary row; so is one of the same key
SELECT crm.complaint('INSERT INTO pipelines.stage_transition VALUES (920, 922, 923, 1, NULL)');
SELECT crm.complaint('INSERT INTO pipelines.stage_transition VALUES (920, 921, 922, 1, ''-infinity'') ON CONFLICT DO NOTHING');
BEGIN;
INSERT INTO pipelines.stage_transition VALUES (920, 921, 922, 1, '-infinity') ON CONFLICT DO NOTHING;
DELETE FROM pipelines.stage_transition WHERE pipeline_id = 920;
SELECT crm.complaint('INSERT INTO pipelines.stage_transition VALUES (920, 921, 924)');
SELECT crm.complaint('INSERT INTO pipelines.stage_transition VALUES (920, 921, 922)');
ROLLBACK;
RESET ROLE;
GRANT INSERT ON pipelines.pipeline_stage TO regress_clerk;
GRANT USAGE ON SCHEMA crm TO regress_clerk;
SET ROLE regress_clerk;
SELECT crm.complaint('INSERT INTO pipelines.pipeline_stage (pipeline_id, stage_id, "position", outcome, probability, version, changed_at) VALUES (920, 923, 3, ''open'', 10, 1, ''-infinity'')');
SET ROLE regress_sales;
-- a row that refers to nothing is not what a deletion hands on: it is looked after
CREATE TABLE crm.few (deal_id bigint, pipeline_id integer, stage_id integer);
CREATE TABLE crm.few_history (deal_id bigint, pipeline_id integer, stage_id integer);
SELECT pipelines._register('crm.few', 'crm.few_history', NULL, '{deal_id}', '{"pipeline_id": "pipeline_id", "stage_id": "stage_id"}', NULL, false, 'refuse', '-infinity', false);
INSERT INTO crm.few VALUES (1, 920, 921);
SELECT crm.complaint('DELETE FROM pipelines.pipeline_stage WHERE pipeline_id = 920 AND stage_id = 921');
SELECT pipelines._unregister('crm.few');
DROP TABLE crm.few, crm.few_history;
-- the other ends come later
INSERT INTO pipelines.stage (stage_id, name, version, changed_at) VALUES (921, 'Late a', 1, '-infinity'), (922, 'Late b', 1, '-infinity');
INSERT INTO pipelines.pipeline (pipeline_id, layout_id, name, is_standard, version, changed_at) VALUES (920, 920, 'Late', true, 1, '-infinity');
SELECT pipeline_id, stage_id, message FROM pipelines.check_definitions() WHERE advice = 'reference_missing';
INSERT INTO pipelines.layout (layout_id, name, version, changed_at) VALUES (920, 'Late', 1, '-infinity');
SELECT count(*) FROM pipelines.check_definitions() WHERE advice = 'reference_missing';
DELETE FROM pipelines.pipeline WHERE pipeline_id = 920;
DELETE FROM pipelines.tracked_table WHERE relation = 'crm.b'::regclass;
DELETE FROM pipelines.layout WHERE layout_id = 920;
DROP TABLE crm.a, crm.b;
RESET ROLE;
\pset tuples_only off
\pset format aligned

-- an earlier state declared the references as foreign keys: setup() drops ours
ALTER TABLE pipelines.pipeline_stage ADD CONSTRAINT stage_belongs_to_a_pipeline FOREIGN KEY (pipeline_id) REFERENCES pipelines.pipeline ON DELETE CASCADE,
	ADD CONSTRAINT of_the_house FOREIGN KEY (stage_id) REFERENCES pipelines.stage;
ALTER TABLE pipelines.stage_map ADD CONSTRAINT map_enters_a_stage FOREIGN KEY (to_pipeline_id, to_stage_id) REFERENCES pipelines.pipeline_stage ON DELETE CASCADE;
-- until then they do no harm
INSERT INTO pipelines.stage_map VALUES (901, 901, :sales, pipelines.stage_id('Sales', 'New'));
DELETE FROM pipelines.pipeline WHERE pipeline_id = 901;
SELECT count(*), min(change) FROM pipelines.stage_map_history WHERE from_pipeline_id = 901;
SELECT pipelines.setup();
SELECT conrelid::regclass, conname FROM pg_constraint WHERE connamespace = 'pipelines'::regnamespace AND contype = 'f';
ALTER TABLE pipelines.pipeline_stage DROP CONSTRAINT of_the_house;
DELETE FROM pipelines.layout WHERE layout_id IN (900, 910);

-- deals that are restored between pipelines and their stages are kept
SET ROLE regress_sales;
SELECT pipelines.create_deals('crm.kept') IS NOT NULL AS made;
INSERT INTO crm.kept (name, pipeline_id) SELECT 'kept ' || g, :sales FROM generate_series(1, 3) AS g;
CREATE TEMP TABLE kept AS SELECT * FROM crm.kept;
CREATE TEMP TABLE places AS SELECT * FROM pipelines.pipeline_stage;
CREATE TEMP TABLE registered AS SELECT * FROM pipelines.tracked_table;
RESET ROLE;
ALTER TABLE pipelines.pipeline_stage DISABLE TRIGGER USER;
ALTER TABLE pipelines.tracked_table DISABLE TRIGGER USER;
ALTER TABLE crm.kept DISABLE TRIGGER USER;
DELETE FROM pipelines.pipeline_stage;
DELETE FROM pipelines.tracked_table;
DELETE FROM crm.kept;
ALTER TABLE crm.kept ENABLE TRIGGER USER;
ALTER TABLE pipelines.pipeline_stage ENABLE TRIGGER USER;
ALTER TABLE pipelines.tracked_table ENABLE TRIGGER USER;
SELECT pipelines.setup();
SET ROLE regress_sales;
INSERT INTO crm.kept SELECT * FROM kept;
INSERT INTO pipelines.pipeline_stage SELECT * FROM places;
INSERT INTO pipelines.tracked_table SELECT * FROM registered;
SELECT count(*) FROM (TABLE crm.kept EXCEPT TABLE kept) AS difference;
UPDATE crm.kept SET stage_id = pipelines.stage_id('Sales', 'Won') WHERE name = 'kept 2';
SELECT name, version, stage_id = pipelines.stage_id('Sales', 'Won') AS won FROM crm.kept ORDER BY 1;
SELECT pipelines._unregister('crm.kept');
RESET ROLE;
DROP TABLE crm.kept, crm.kept_history CASCADE;

-- lookups trust only tables of one owner, and only tables
ALTER TABLE pipelines.stage_map OWNER TO regress_mallory;
SELECT pipelines.pipeline_id('Sales');
\echo :LAST_ERROR_SQLSTATE
ALTER TABLE pipelines.stage_map OWNER TO regress_sales;
ALTER TABLE pipelines.stage_map RENAME TO stage_map_away;
CREATE VIEW pipelines.stage_map AS SELECT 1 AS one;
SELECT pipelines.pipeline_id('Sales');
\echo :LAST_ERROR_SQLSTATE
DROP VIEW pipelines.stage_map;
SELECT pipelines.pipeline_id('Sales');
\echo :LAST_ERROR_SQLSTATE
ALTER TABLE pipelines.stage_map_away RENAME TO stage_map;
SELECT pipelines.pipeline_id('Sales') = :sales AS found;

-- our trigger functions work on definition tables only
SET ROLE regress_sales;
CREATE TABLE crm.mine (version integer, changed_at timestamptz);
CREATE TRIGGER t BEFORE INSERT ON crm.mine FOR EACH ROW EXECUTE FUNCTION pipelines._definition_before();
INSERT INTO crm.mine DEFAULT VALUES;
\echo :LAST_ERROR_SQLSTATE
CREATE TRIGGER s BEFORE UPDATE ON crm.mine EXECUTE FUNCTION pipelines._definition_turn();
UPDATE crm.mine SET version = 1;
\echo :LAST_ERROR_SQLSTATE
DROP TABLE crm.mine;
RESET ROLE;

-- an older state is brought forward: columns, constraints, triggers, comments
ALTER TABLE pipelines.pipeline_stage DROP COLUMN colour;
ALTER TABLE pipelines.pipeline_stage_history DROP COLUMN colour;
ALTER TABLE pipelines.pipeline_stage DROP CONSTRAINT won_means_100_percent;
ALTER TABLE pipelines.pipeline_stage ADD COLUMN house_colour text DEFAULT 'blue';
DROP TRIGGER pipelines_guard ON pipelines.stage_history;
ALTER TABLE pipelines.stage ENABLE TRIGGER pipelines_after;
COMMENT ON TABLE pipelines.stage IS NULL;
REVOKE SELECT ON pipelines.stage_map FROM PUBLIC;
SELECT advice, message FROM pipelines.check_definitions() WHERE advice IN ('trigger_missing', 'constraint_disabled');
SELECT pipelines.setup();
SELECT advice, message FROM pipelines.check_definitions() WHERE advice IN ('trigger_missing', 'constraint_disabled');
SELECT a.attrelid::regclass, a.attname FROM pg_attribute a
WHERE a.attrelid IN ('pipelines.pipeline_stage'::regclass, 'pipelines.pipeline_stage_history'::regclass)
	AND a.attname LIKE '%colour' ORDER BY a.attrelid::regclass::text COLLATE "C", a.attname;
SELECT conname FROM pg_constraint WHERE conname = 'won_means_100_percent';
-- what was revoked stays revoked
SELECT has_table_privilege('regress_clerk', 'pipelines.stage_map', 'SELECT');

-- an overload that fits better for a careless call is never run by us
GRANT CREATE ON SCHEMA pipelines TO regress_mallory;
SET ROLE regress_mallory;
CREATE FUNCTION pipelines.pipeline_id(text) RETURNS integer LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''planted code runs as %'', current_user; END';
CREATE FUNCTION pipelines.setup() RETURNS void LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''planted code runs as %'', current_user; END';
CREATE FUNCTION pipelines._setup_trigger(oid, text, text, text, text) RETURNS void LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''planted code runs as %'', current_user; END';
CREATE FUNCTION pipelines.create_pipeline(text, text, jsonb) RETURNS integer LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''planted code runs as %'', current_user; END';
CREATE FUNCTION pipelines.format(text, text) RETURNS text LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''planted code runs as %'', current_user; END';
RESET ROLE;
DROP TRIGGER pipelines_guard ON pipelines.stage_history;
SELECT pipelines.setup(owner => NULL);
SELECT pipelines.create_pipeline('Overloads', stages => '["Planted"]', layout => 'Overloads') > 0 AS made;
SELECT pipelines.clone_pipeline('Overloads', 'Overloads 2') > 0 AS made;
SELECT pipelines.archive_stage('Overloads', 'Planted');
SELECT pipelines.archive_pipeline('Overloads 2');
SELECT count(*) FROM pipelines.check_definitions() WHERE advice = 'trigger_missing';
DROP FUNCTION pipelines.pipeline_id(text), pipelines.setup(), pipelines._setup_trigger(oid, text, text, text, text),
	pipelines.create_pipeline(text, text, jsonb), pipelines.format(text, text);
REVOKE CREATE ON SCHEMA pipelines FROM regress_mallory;

-- DROP EXTENSION loses no definition; CREATE EXTENSION and setup() resume
CREATE TEMP TABLE before AS SELECT * FROM pipelines.pipeline_stage;
DROP EXTENSION pipelines CASCADE;
SELECT count(*) FROM ((TABLE before EXCEPT TABLE pipelines.pipeline_stage)
	UNION ALL (TABLE pipelines.pipeline_stage EXCEPT TABLE before)) AS difference;
\set VERBOSITY terse
INSERT INTO pipelines.stage (name) VALUES ('Without extension');
\set VERBOSITY default
CREATE EXTENSION pipelines;
SET ROLE regress_sales;
SELECT pipelines.create_pipeline('Too early');
RESET ROLE;
SELECT pipelines.setup();
SELECT count(*) FROM pipelines.check_definitions() WHERE advice IN ('trigger_missing', 'constraint_disabled');
SET ROLE regress_sales;
SELECT pipelines.create_pipeline('New again', template => 'deals') > 0 AS made;
RESET ROLE;

\c :home
DROP DATABASE regress_pipelines_definitions;
DROP ROLE regress_sales, regress_clerk, regress_mallory;
