-- activities.sql: the table of activities of a deals table (S1, S52; what a stage
-- demands of it is judged in other tests).  In a database of its own.
\set ECHO none
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_pipelines_activities;
CREATE DATABASE regress_pipelines_activities TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\set home :DBNAME
\c regress_pipelines_activities
\i test/data/checks.sql
\set ECHO all
CREATE ROLE regress_activities_owner;
CREATE ROLE regress_activities_clerk;
CREATE ROLE regress_activities_other;
SELECT pipelines.create_pipeline('Sales', stages => '["Lead", "Talks", {"name": "Sold", "outcome": "won"}]');
CREATE SCHEMA app AUTHORIZATION regress_activities_owner;
SET search_path = app, public;
SET ROLE regress_activities_owner;
SELECT pipelines.create_deals('deals');
SELECT a.attname, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS not_null, a.attidentity AS identity,
	col_description(a.attrelid, a.attnum) IS NOT NULL AS comment
FROM pg_attribute a WHERE a.attrelid = 'deals_activity'::regclass AND a.attnum > 0 ORDER BY a.attnum;
SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'deals_activity'::regclass AND contype <> 'n' ORDER BY 1;
SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'deals_activity'::regclass ORDER BY 1;
SELECT obj_description('deals_activity'::regclass, 'pg_class');
SELECT activity, activity_columns FROM pipelines.tracked_table;
SELECT relowner::regrole FROM pg_class WHERE oid = 'deals_activity'::regclass;
SELECT try($$INSERT INTO deals_activity (deal_id, kind, direction) VALUES (1, 'call', 'up')$$);
SELECT try($$INSERT INTO deals_activity (deal_id) VALUES (1)$$);

-- no foreign key: what was done stays when the deal goes
INSERT INTO deals (name) VALUES ('a'), ('b');
INSERT INTO deals_activity (deal_id, kind, subject, direction, done_at) VALUES (1, 'call', 'hello', 'in', '2026-01-01');
DELETE FROM deals WHERE deal_id = 1;
SELECT deal_id, kind, subject, direction, done_at FROM deals_activity;

-- several key columns, one of which is called like a part of ours
SELECT pipelines.create_deals('tenants', key => '{kind,activity_id}');
SELECT a.attname, a.attidentity AS identity FROM pg_attribute a WHERE a.attrelid = 'tenants_activity'::regclass AND a.attnum > 0 ORDER BY a.attnum;
SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'tenants_activity'::regclass ORDER BY 1;
SELECT activity_columns FROM pipelines.tracked_table WHERE relation = 'tenants'::regclass;
-- beside partitions
SELECT pipelines.create_deals('parts', partition_by => 'HASH (deal_id)', partition_history => true);
SELECT relkind FROM pg_class WHERE oid = 'parts_activity'::regclass;

-- a name that is taken
CREATE TABLE taken_activity ();
SELECT try($$SELECT pipelines.create_deals('taken')$$);

--
-- Access
--
SELECT pipelines.grant_access('deals', 'regress_activities_clerk', 'read');
SELECT has_table_privilege('regress_activities_clerk', 'deals_activity', 'SELECT') AS read,
	has_table_privilege('regress_activities_clerk', 'deals_activity', 'INSERT') AS write;
SELECT pipelines.grant_access('deals', 'regress_activities_clerk', 'write');
SET ROLE regress_activities_clerk;
INSERT INTO deals_activity (deal_id, kind) VALUES (2, 'demo') RETURNING activity_id;
UPDATE deals_activity SET done_at = '2026-02-02' WHERE kind = 'demo';
SELECT try('TRUNCATE deals_activity');
SET ROLE regress_activities_owner;

--
-- Renames are followed
--
ALTER TABLE deals_activity RENAME done_at TO finished;
ALTER TABLE deals_activity RENAME deal_id TO opportunity;
ALTER TABLE deals_activity RENAME TO chores;
SELECT * FROM pipelines.rebuild_views('deals');
SELECT * FROM pipelines.rebuild_views('deals');
SELECT activity, activity_columns FROM pipelines.tracked_table WHERE relation = 'deals'::regclass;
-- a column that plays a part is not dropped by accident
SELECT try('ALTER TABLE chores DROP COLUMN finished');
\set VERBOSITY terse
ALTER TABLE chores DROP COLUMN finished CASCADE;
\set VERBOSITY default
SELECT item, action FROM pipelines.resume('deals');
ALTER TABLE chores ADD COLUMN finished timestamptz;
SELECT item, action FROM pipelines.resume('deals');
SELECT item, action FROM pipelines.resume('deals');
-- without the table the rest goes on
DROP TABLE chores CASCADE;
SELECT item, action FROM pipelines.resume('deals');
UPDATE deals SET amount = 1;

--
-- A table or a view that is there already
--
CREATE TABLE tasks (id bigint PRIMARY KEY, deal_id bigint, type text, done timestamptz, owner text, extra int);
SELECT try($$SELECT pipelines.use_activities('deals', 'tasks')$$);
SELECT try($$SELECT pipelines.use_activities('deals', 'tasks', '{"kind": "type", "finished": "done"}')$$);
SELECT try($$SELECT pipelines.use_activities('deals', 'tasks', '{"kind": 1}')$$);
SELECT try($$SELECT pipelines.use_activities('deals', 'tasks', '[]')$$);
SELECT try($$SELECT pipelines.use_activities('deals', 'tasks', '{"kind": "type", "done_at": "extra"}')$$);
SELECT try($$SELECT pipelines.use_activities('deals', 'tasks', '{"kind": "type", "done_at": "done", "subject": "title"}')$$);
SELECT pipelines.use_activities('deals', 'tasks', '{"kind": "type", "done_at": "done"}');
SELECT activity, activity_columns FROM pipelines.tracked_table WHERE relation = 'deals'::regclass;
SELECT tgname FROM pg_trigger WHERE tgrelid = 'tasks'::regclass;
ALTER TABLE tasks RENAME type TO what;
SELECT item, action FROM pipelines.resume('deals');
SELECT activity_columns ->> 'kind' AS kind FROM pipelines.tracked_table WHERE relation = 'deals'::regclass;
-- what serves one table serves no other, except through a view
SELECT try($$SELECT pipelines.use_activities('tenants', 'tasks', '{"kind": "what", "done_at": "done"}')$$);
SELECT try($$SELECT pipelines.use_activities('deals', 'deals')$$);
SELECT try($$SELECT pipelines.use_activities('deals', 'tenants_history')$$);
CREATE VIEW all_tasks AS SELECT deal_id AS kind, 0::bigint AS activity_id, what, done AS done_at FROM tasks;
SELECT pipelines.use_activities('tenants', 'all_tasks', '{"kind": "what"}');
SELECT activity, activity_columns FROM pipelines.tracked_table WHERE relation = 'tenants'::regclass;
SELECT count(*) AS triggers FROM pg_trigger WHERE tgrelid IN ('all_tasks'::regclass, 'tenants_activity'::regclass);
ALTER VIEW all_tasks RENAME done_at TO done;
SELECT item, action FROM pipelines.resume('tenants');
ALTER VIEW all_tasks RENAME done TO done_at;
-- only its owner lends it
RESET ROLE;
CREATE TABLE others (LIKE tasks);
ALTER TABLE others OWNER TO regress_activities_other;
CREATE TEMPORARY TABLE passing (deal_id bigint, kind text, done_at timestamptz);
GRANT regress_activities_other TO regress_activities_owner;
SELECT try($$SELECT pipelines.use_activities('deals', 'passing')$$);
SET ROLE regress_activities_owner;
SELECT pipelines.use_activities('deals', 'others', '{"kind": "what", "done_at": "done"}');
RESET ROLE;
REVOKE regress_activities_other FROM regress_activities_owner;
SELECT try($$SELECT pipelines.use_activities('deals', 'others', '{"kind": "what", "done_at": "done"}')$$);
SET ROLE regress_activities_owner;
SELECT pipelines.use_activities('deals', 'tasks', '{"kind": "what", "done_at": "done"}');
SELECT try($$SELECT pipelines.use_activities('deals', 'others', '{"kind": "what", "done_at": "done"}')$$);
SET ROLE regress_activities_clerk;
SELECT try($$SELECT pipelines.use_activities('deals', 'tasks')$$);
SET ROLE regress_activities_owner;
SELECT try($$SELECT pipelines.use_activities('tasks', 'deals_history')$$);
-- and takes it back
SELECT pipelines.use_activities('deals', NULL);
SELECT activity, activity_columns FROM pipelines.tracked_table WHERE relation = 'deals'::regclass;
SELECT count(*) AS triggers FROM pg_trigger WHERE tgrelid = 'tasks'::regclass;

--
-- Advice: what rules refer to, and is not there
--
RESET ROLE;
INSERT INTO pipelines.stage_activity (pipeline_id, stage_id, kind) VALUES (1, 1, 'call'), (1, 1, 'demo');
UPDATE pipelines.pipeline SET bypass_role = 'regress_activities_gone';
INSERT INTO pipelines.approval (pipeline_id, above, role) VALUES (1, 1000, 'regress_activities_gone'), (1, 2000, 'regress_activities_owner');
INSERT INTO pipelines.pipeline_role (pipeline_id, role) VALUES (1, 'regress_activities_gone'), (1, 'public');
INSERT INTO pipelines.deal_type (layout_id, column_name, value, pipeline_id) VALUES (1, 'product', 'x', 1), (1, 'name', 'x', 1), (1, 'region', 'x', 1), (1, 'region', 'y', 1);
SELECT pipeline_name, stage_name, advice, message FROM pipelines.check_definitions() WHERE advice IN ('role_missing', 'no_activities', 'column_missing', 'reference_missing');
-- rows that a restore brought, and that refer to nothing
SET session_replication_role = replica;
ALTER TABLE pipelines.stage_activity DISABLE TRIGGER "~pipelines_before";
ALTER TABLE pipelines.stage_activity DISABLE TRIGGER pipelines_after;
INSERT INTO pipelines.stage_activity (pipeline_id, stage_id, kind, version, changed_at) VALUES (1, 77, 'call', 1, now());
SELECT pipeline_name, advice, message FROM pipelines.check_definitions() WHERE advice = 'reference_missing';
DELETE FROM pipelines.stage_activity;
RESET session_replication_role;
SELECT pipelines.setup();
DELETE FROM pipelines.deal_type;
DELETE FROM pipelines.approval;
DELETE FROM pipelines.pipeline_role;
UPDATE pipelines.pipeline SET bypass_role = NULL;
SELECT count(*) FROM pipelines.check_definitions() WHERE advice IN ('role_missing', 'no_activities', 'column_missing', 'reference_missing', 'trigger_missing');
SET ROLE regress_activities_owner;

-- release() leaves it
SELECT pipelines.use_activities('deals', 'tasks', '{"kind": "what", "done_at": "done"}');
SELECT pipelines.release('deals');
SELECT count(*) AS triggers FROM pg_trigger WHERE tgrelid = 'tasks'::regclass;
SELECT count(*) FROM tasks;
RESET ROLE;
-- and it survives the extension
\set VERBOSITY terse
SET client_min_messages = warning;
DROP EXTENSION pipelines CASCADE;
SELECT count(*) AS triggers FROM pg_trigger WHERE tgrelid = 'parts_activity'::regclass AND NOT tgisinternal;
CREATE EXTENSION pipelines;
SELECT item, action FROM pipelines.resume('parts') WHERE item ~ 'activity';

\set ECHO none
SET client_min_messages = warning;
\c :home
DROP DATABASE regress_pipelines_activities;
DROP ROLE regress_activities_owner, regress_activities_clerk, regress_activities_other;
