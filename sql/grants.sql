-- grant_access(): who may do what.  In a database of its own.
SELECT current_database() AS regression \gset
CREATE DATABASE regress_pipelines_grants ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0;
\c regress_pipelines_grants
\set SHOW_CONTEXT never
CREATE EXTENSION pipelines;
CREATE ROLE regress_grants_definer;
CREATE ROLE regress_grants_owner;
CREATE ROLE "regress grants Read""er";
CREATE ROLE regress_grants_writer;
CREATE ROLE regress_grants_planner;
CREATE ROLE regress_grants_nobody;
SELECT pipelines.setup(owner => 'regress_grants_definer');
SET ROLE regress_grants_definer;
SELECT pipelines.create_pipeline('Sales', stages => '["Lead", "Talks", {"name": "Sold", "outcome": "won"}]') > 0 AS made;
RESET ROLE;
CREATE SCHEMA app AUTHORIZATION regress_grants_owner;
SET search_path = app;
SET ROLE regress_grants_owner;
SELECT pipelines.create_deals('deals');
INSERT INTO deals (name, amount) VALUES ('a', 1), ('b', 2);
UPDATE deals SET amount = 3 WHERE deal_id = 1;

-- nobody may do anything yet
CREATE VIEW rights AS
	SELECT r.rolname AS role, c.relname AS relation,
		   array_to_string(ARRAY(SELECT lower(p) FROM unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) p
								 WHERE has_table_privilege(r.oid, c.oid, p)), ',') AS may
	FROM pg_roles r, pg_class c
	WHERE r.rolname ~ '^regress.grants' AND r.rolname !~ 'owner|definer'
		AND c.relnamespace = 'app'::regnamespace AND c.relkind IN ('r', 'v') AND c.relname <> 'rights';
SELECT * FROM rights WHERE may <> '' ORDER BY role COLLATE "C", relation COLLATE "C";
SET ROLE regress_grants_nobody;
SELECT count(*) FROM app.deals;
RESET ROLE;

SET ROLE regress_grants_owner;
SELECT pipelines.grant_access('deals', 'regress grants Read"er', 'read');
SELECT pipelines.grant_access('deals', 'regress_grants_writer', 'write');
SELECT * FROM rights WHERE may <> '' ORDER BY role COLLATE "C", relation COLLATE "C";
SELECT rolname, has_schema_privilege(oid, 'app', 'USAGE') AS app, has_schema_privilege(oid, 'pipelines', 'USAGE') AS pipelines,
	   has_sequence_privilege(oid, pg_get_serial_sequence('deals', 'deal_id'), 'USAGE') AS sequence
FROM pg_roles WHERE rolname ~ '^regress.grants' ORDER BY rolname COLLATE "C";

-- they can read, they can write, and neither can touch the history
SET ROLE "regress grants Read""er";
SELECT stage_name, deals, amount FROM deals_board;
SELECT sum(deals) AS deals, sum(pipeline) AS pipeline FROM deals_forecast;
SELECT count(*) FROM deals_current;
SELECT count(*) FROM deals_stalled;
SELECT count(*) FROM deals_visits;
SELECT count(*) FROM pipelines.as_of(NULL::deals, now());
SELECT deal_id, amount FROM deals_history;
UPDATE deals SET amount = 5;
INSERT INTO deals (name) VALUES ('x');
SET ROLE regress_grants_writer;
INSERT INTO deals (name) VALUES ('c') RETURNING deal_id;
UPDATE deals SET stage_id = pipelines.stage_id('Sales', 'Talks');
DELETE FROM deals WHERE deal_id = 2;
SELECT deal_id, version, change, role_name FROM deals_history ORDER BY 1, 2;
INSERT INTO deals_history SELECT * FROM deals_history;
DELETE FROM deals_history;
TRUNCATE deals_history;
UPDATE deals_history SET amount = 0;
TRUNCATE deals;
UPDATE pipelines.pipeline_stage SET probability = 1;
SELECT pipelines.release('deals');
RESET ROLE;
-- not even its owner rewrites it
SET ROLE regress_grants_owner;
UPDATE deals_history SET amount = 0;
\echo :LAST_ERROR_SQLSTATE
TRUNCATE deals_history;
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
SET session_replication_role = replica;
DELETE FROM deals_history;
\echo :LAST_ERROR_SQLSTATE
RESET session_replication_role;

-- to define is the definitions' owner's to give
SET ROLE regress_grants_owner;
SELECT pipelines.grant_access('deals', 'regress_grants_planner', 'define');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM rights WHERE role = 'regress_grants_planner' AND may <> '';
RESET ROLE;
SELECT pipelines.grant_access('deals', 'regress_grants_planner', 'define');
SELECT relation, may FROM rights WHERE role = 'regress_grants_planner' ORDER BY relation COLLATE "C";
SELECT c.relname, has_table_privilege('regress_grants_planner', c.oid, 'UPDATE') AS "update"
FROM pg_class c WHERE c.relnamespace = 'pipelines'::regnamespace AND c.relkind = 'r' ORDER BY 1;
SET ROLE regress_grants_planner;
UPDATE pipelines.pipeline_stage SET probability = 35 WHERE stage_id = pipelines.stage_id('Sales', 'Talks');
INSERT INTO pipelines.stage (name) VALUES ('Idea');
UPDATE deals SET amount = 10;
SELECT effective_probability, weighted FROM deals_current WHERE stage_name = 'Talks' ORDER BY deal_id LIMIT 1;
RESET ROLE;

-- everybody
SET ROLE regress_grants_owner;
SELECT pipelines.grant_access('deals', 'public', 'read');
SET ROLE regress_grants_nobody;
SELECT count(*) > 0 AS seen FROM deals_current;
RESET ROLE;

-- row security reaches the past
SET ROLE regress_grants_owner;
SELECT pipelines.create_deals('secured');
ALTER TABLE secured ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON secured TO regress_grants_writer USING (owner = current_user) WITH CHECK (true);
CREATE POLICY priced ON secured AS RESTRICTIVE FOR SELECT USING (amount > 0);
CREATE POLICY others ON secured FOR UPDATE TO regress_grants_nobody USING (true);
SELECT pipelines.grant_access('secured', 'regress_grants_writer', 'write');
SELECT polname, polcmd, polpermissive, polroles::regrole[] AS roles, pg_get_expr(polqual, polrelid) AS condition
FROM pg_policy WHERE polrelid = 'secured_history'::regclass ORDER BY 1;
INSERT INTO secured (owner, amount) VALUES ('regress_grants_writer', 1), ('regress_grants_owner', 2), ('regress_grants_writer', NULL);
UPDATE secured SET stage_id = pipelines.stage_id('Sales', 'Talks');
INSERT INTO secured_activity (deal_id, kind, subject, due_at) SELECT deal_id, 'call', 'of deal ' || deal_id, '2030-01-01' FROM secured;
SET ROLE regress_grants_writer;
-- activities are those of the deals that one sees
SELECT deal_id, subject FROM secured_activity ORDER BY 1;
INSERT INTO secured_activity (deal_id, kind, subject) VALUES (1, 'mail', 'mine');
INSERT INTO secured_activity (deal_id, kind, subject) VALUES (2, 'mail', 'not mine');
\echo :LAST_ERROR_SQLSTATE
UPDATE secured_activity SET done_at = '2029-01-01' WHERE kind = 'call';
UPDATE secured SET amount = amount + 1;
SELECT deal_id, amount FROM secured ORDER BY 1;
SELECT deal_id, version, amount FROM secured_history ORDER BY 1, 2;
-- before PostgreSQL 15, where a view can't tell who asks, it shows nothing
SELECT deal_id, visit, stage_name, amount FROM secured_visits
UNION ALL
SELECT * FROM (VALUES (1, 1, 'Lead', 1), (1, 2, 'Talks', 2)) v WHERE current_setting('server_version_num')::int < 150000
ORDER BY 1, 2;
SELECT sum(deals) FROM (
	SELECT deals FROM secured_board
	UNION ALL
	SELECT 1 WHERE current_setting('server_version_num')::int < 150000) v;
SELECT count(*) FROM pipelines.as_of(NULL::secured, now());
SET ROLE regress_grants_owner;
SELECT count(*) FROM secured_history;
-- they follow
ALTER POLICY own ON secured USING (owner IS NOT NULL);
DROP POLICY priced ON secured;
CREATE POLICY handmade ON secured_history FOR SELECT TO regress_grants_nobody USING (true);
-- ('views' is what tells, before PostgreSQL 15, that none are made)
SELECT * FROM pipelines.rebuild_views('secured') WHERE item <> 'views';
SELECT * FROM pipelines.rebuild_views('secured') WHERE item <> 'views';
CREATE POLICY named ON secured FOR SELECT USING (name = 'x');
SELECT * FROM pipelines.rebuild_views('secured');
\echo :LAST_ERROR_SQLSTATE
DROP VIEW secured_board;
SELECT item, action FROM pipelines.resume('secured') WHERE item !~ '^view';
SELECT (to_regclass('secured_board') IS NOT NULL) = (current_setting('server_version_num')::int >= 150000) AS as_it_must_be;
SELECT pipelines.track('secured', 'name');
SELECT * FROM pipelines.rebuild_views('secured') WHERE item <> 'views';
CREATE POLICY circular ON secured FOR SELECT USING (EXISTS (SELECT FROM app.rights WHERE rights.role = secured.owner));
SELECT * FROM pipelines.rebuild_views('secured');
\echo :LAST_ERROR_SQLSTATE
DROP POLICY circular ON secured;
ALTER TABLE secured DISABLE ROW LEVEL SECURITY;
SELECT * FROM pipelines.rebuild_views('secured') WHERE item !~ '^view ';
SELECT to_regclass('secured_board') IS NOT NULL AS made;
SELECT count(*) FROM secured_activity;
RESET ROLE;

-- refused
SET ROLE regress_grants_owner;
SELECT pipelines.grant_access('deals', 'regress_grants_writer', 'own');
\echo :LAST_ERROR_SQLSTATE
SELECT pipelines.grant_access('deals', 'regress_grants_writer', NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT pipelines.grant_access('deals', 'regress_grants_missing', 'read');
\echo :LAST_ERROR_SQLSTATE
SELECT pipelines.grant_access(NULL, 'regress_grants_writer', 'read');
\echo :LAST_ERROR_SQLSTATE
SELECT pipelines.grant_access('deals_history', 'regress_grants_writer', 'read');
\echo :LAST_ERROR_SQLSTATE
SET ROLE regress_grants_writer;
SELECT pipelines.grant_access('deals', 'regress_grants_nobody', 'write');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
-- a schema of somebody else: said
CREATE SCHEMA other;
GRANT CREATE, USAGE ON SCHEMA other TO regress_grants_owner;
SET ROLE regress_grants_owner;
SELECT pipelines.create_deals('other.deals');
SELECT pipelines.grant_access('other.deals', 'regress_grants_writer', 'write');
RESET ROLE;

-- who may not even see the definitions moves deals by them (CORE 17), one statement for many or row by row
SELECT pipelines.create_deals('app.pieces', partition_by => 'HASH (deal_id)');
CREATE TABLE app.pieces_0 PARTITION OF app.pieces FOR VALUES WITH (modulus 1, remainder 0);
SELECT count(*) > 0 AS resumed FROM pipelines.resume('app.pieces');
GRANT SELECT, INSERT, UPDATE, DELETE ON app.deals, app.pieces TO regress_grants_nobody;
GRANT USAGE ON SCHEMA app TO regress_grants_nobody;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA app TO regress_grants_nobody;
BEGIN;
REVOKE ALL ON ALL TABLES IN SCHEMA pipelines FROM public;
REVOKE USAGE ON SCHEMA pipelines FROM public;
SET ROLE regress_grants_nobody;
INSERT INTO app.deals (deal_id, name, stage_id) VALUES (801, 'unseen', 1), (802, 'unseen', 1);
UPDATE app.deals SET stage_id = 2, amount = 5 WHERE name = 'unseen';
DELETE FROM app.deals WHERE deal_id = 802;
INSERT INTO app.pieces (deal_id, name, stage_id) VALUES (801, 'unseen', 1), (802, 'unseen', 1);
UPDATE app.pieces SET stage_id = 2, amount = 5 WHERE name = 'unseen';
DELETE FROM app.pieces WHERE deal_id = 802;
RESET ROLE;
SELECT deal_id, version, change, stage_id, to_stage_id, actor = session_user AS session FROM app.deals_history WHERE deal_id > 800
UNION ALL SELECT deal_id, version, change, stage_id, to_stage_id, actor = session_user FROM app.pieces_history ORDER BY 1, 2, 3;
ROLLBACK;

-- what a superuser does for the owner is the owner's
SELECT pipelines.rebuild_views('app.deals');
DROP VIEW deals_board;
DROP FUNCTION deals_as_of;
SELECT item, action FROM pipelines.resume('app.deals');
SELECT c.relname, c.relowner::regrole AS owner FROM pg_class c WHERE c.relnamespace = 'app'::regnamespace AND c.relname = 'deals_board';
SELECT p.proname, p.proowner::regrole AS owner FROM pg_proc p WHERE p.pronamespace = 'app'::regnamespace AND p.proname = 'deals_as_of';
SELECT role, may FROM rights WHERE relation = 'deals_board' ORDER BY role COLLATE "C";
-- a new owner gets all of it
ALTER TABLE deals OWNER TO regress_grants_planner;
GRANT CREATE ON SCHEMA app TO regress_grants_planner;
SET ROLE regress_grants_planner;
SELECT * FROM pipelines.rebuild_views('deals');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
SELECT * FROM pipelines.rebuild_views('deals');
SELECT DISTINCT c.relowner::regrole AS owner FROM pg_class c WHERE c.relnamespace = 'app'::regnamespace AND c.relname ~ '^deals';
SET ROLE regress_grants_planner;
UPDATE deals SET amount = 12;
SELECT * FROM pipelines.rebuild_views('deals');
SELECT pipelines.release('deals');
RESET ROLE;

\c :"regression"
DROP DATABASE regress_pipelines_grants;
DROP ROLE regress_grants_definer, regress_grants_owner, "regress grants Read""er", regress_grants_writer, regress_grants_planner, regress_grants_nobody;
