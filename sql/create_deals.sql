-- create_deals(): what is made, how it is called, whose it is; what is refused.
-- In a database of its own, since it begins without any definitions.
SELECT current_database() AS regression \gset
CREATE DATABASE regress_pipelines_create ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0;
\c regress_pipelines_create
\set SHOW_CONTEXT never
SET client_encoding = 'UTF8';
CREATE EXTENSION pipelines;
CREATE ROLE regress_create_definer;
CREATE ROLE regress_create_owner;
CREATE ROLE regress_create_reader;
CREATE SCHEMA app AUTHORIZATION regress_create_owner;
CREATE SCHEMA "Größe & Co" AUTHORIZATION regress_create_owner;
CREATE SCHEMA foreign_schema;
SET search_path = app;

-- without definitions: made by who may, for others an error that says so
SET ROLE regress_create_owner;
SELECT pipelines.create_deals('deals');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
SELECT pipelines.setup(owner => 'regress_create_definer');
SET ROLE regress_create_owner;
SELECT pipelines.create_deals('deals');
\echo :LAST_ERROR_SQLSTATE
SET ROLE regress_create_definer;
SELECT pipelines.create_pipeline('Cars', layout => 'cars', stages =>
	'["Lead", "Test drive", {"name": "Offer", "probability": 60}, {"name": "Sold", "outcome": "won"}, {"name": "Gone", "outcome": "lost"}]') > 0 AS made;

-- an unqualified name goes where CREATE TABLE would put it
SET ROLE regress_create_owner;
SELECT pipelines.create_deals('deals', currency => 'EUR');
SELECT relation, history, layout_id, key, currency, foreign_keys, on_truncate, tracked_since, tracked, adopted
FROM pipelines.tracked_table;
SELECT columns = (SELECT jsonb_object_agg(c.key, c.key) FROM jsonb_each(columns) c) AS all_as_they_are_called,
	   (SELECT count(*) FROM jsonb_each(columns)) AS roles
FROM pipelines.tracked_table;
SELECT a.attnum, a.attname, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS not_null,
	   a.attidentity AS identity, a.atthasdef AS has_default, col_description(a.attrelid, a.attnum) IS NOT NULL AS comment
FROM pg_attribute a WHERE a.attrelid = 'deals'::regclass AND a.attnum > 0 ORDER BY a.attnum;
SELECT a.attnum, a.attname, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS not_null,
	   a.atthasdef AS has_default, col_description(a.attrelid, a.attnum) IS NOT NULL AS comment
FROM pg_attribute a WHERE a.attrelid = 'deals_history'::regclass AND a.attnum > 0 ORDER BY a.attnum;
SELECT conrelid::regclass AS relation, contype, pg_get_constraintdef(oid) AS definition
FROM pg_constraint WHERE conrelid IN ('deals'::regclass, 'deals_history'::regclass) AND contype <> 'n' ORDER BY 1, 2;
SELECT indrelid::regclass AS relation, indisprimary, pg_get_indexdef(indexrelid) AS definition
FROM pg_index WHERE indrelid IN ('deals'::regclass, 'deals_history'::regclass) ORDER BY 1, 3;
SELECT tgrelid::regclass AS relation, convert_to(tgname, 'UTF8') = convert_to(pipelines._trigger_name(), 'UTF8') AS ours_is_last,
	   CASE WHEN tgname = pipelines._trigger_name() THEN '' ELSE tgname END AS name, tgenabled AS enabled,
	   tgfoid::regproc AS function, tgnargs AS arguments
FROM pg_trigger WHERE tgrelid IN ('deals'::regclass, 'deals_history'::regclass) ORDER BY 1, tgname COLLATE "C";
SELECT n, role, column_name, history_column FROM pipelines._roles('deals') ORDER BY n;
SELECT c.relname, c.relkind, c.relowner::regrole AS owner, c.relacl AS acl,
	   coalesce(c.reloptions @> '{security_invoker=true}', false) = (c.relkind = 'v' AND current_setting('server_version_num')::int >= 150000) AS invoker,
	   obj_description(c.oid, 'pg_class') AS comment
FROM pg_class c WHERE c.relnamespace = 'app'::regnamespace AND c.relkind IN ('r', 'v', 'S') ORDER BY c.relname COLLATE "C";
SELECT p.oid::regprocedure AS function, p.proowner::regrole AS owner FROM pg_proc p WHERE p.pronamespace = 'app'::regnamespace;
-- nothing of it belongs to the extension
SELECT count(*) AS members FROM pg_depend d
WHERE d.deptype = 'e' AND d.objid IN (SELECT oid FROM pg_class WHERE relnamespace = 'app'::regnamespace);
-- views name what they mean: no column of a type of ours, a comment on each
SELECT a.attrelid::regclass AS view, count(*) AS columns,
	   count(*) FILTER (WHERE t.typnamespace <> 'pg_catalog'::regnamespace) AS not_built_in,
	   count(*) FILTER (WHERE col_description(a.attrelid, a.attnum) IS NULL) AS without_comment
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_type t ON t.oid = a.atttypid
WHERE c.relnamespace = 'app'::regnamespace AND c.relkind = 'v' AND a.attnum > 0 GROUP BY 1 ORDER BY 1;

-- it works
INSERT INTO deals (name, amount) VALUES ('12 vans', 480000);
SELECT deal_id, name, pipeline_id, stage_id, version, episode, created_by = session_user AS mine FROM deals;

-- names: schema, quotes, capitals, blanks, beyond ASCII
SELECT pipelines.create_deals('"Größe & Co"."Deals ""von"" Süd"');
SELECT pipelines.create_deals('"Größe & Co".Zweite');
INSERT INTO "Größe & Co"."Deals ""von"" Süd" (name) VALUES ('a');
UPDATE "Größe & Co"."Deals ""von"" Süd" SET amount = 5;
SELECT stage_name, amount FROM "Größe & Co"."Deals ""von"" Süd_current";
SELECT deal_id, version, change FROM "Größe & Co"."Deals ""von"" Süd_history";
SELECT c.oid::regclass AS relation FROM pg_class c
WHERE c.relnamespace = '"Größe & Co"'::regnamespace AND c.relkind IN ('r', 'v') ORDER BY c.relname COLLATE "C";

-- the longest name is one of 45 bytes
SELECT pipelines.create_deals(repeat('d', 45)) IS NOT NULL AS made;
SELECT pipelines.create_deals(repeat('d', 46));
\echo :LAST_ERROR_SQLSTATE
SELECT pipelines.create_deals('"' || repeat('ä', 23) || '"');
\echo :LAST_ERROR_SQLSTATE

-- names that can't be
SELECT pipelines.create_deals(NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT pipelines.create_deals('');
\echo :LAST_ERROR_SQLSTATE
SELECT pipelines.create_deals('a b');
\echo :LAST_ERROR_SQLSTATE
SELECT pipelines.create_deals('a.b.c');
\echo :LAST_ERROR_SQLSTATE
SELECT pipelines.create_deals('nowhere.deals');
\echo :LAST_ERROR_SQLSTATE
SELECT pipelines.create_deals('foreign_schema.deals');
\echo :LAST_ERROR_SQLSTATE
SELECT pipelines.create_deals('pg_temp.deals');
\echo :LAST_ERROR_SQLSTATE
SELECT pipelines.create_deals('pg_catalog.deals');
\echo :LAST_ERROR_SQLSTATE
SELECT pipelines.create_deals('pipelines.deals');
\echo :LAST_ERROR_SQLSTATE
SET search_path = '';
SELECT pipelines.create_deals('deals');
\echo :LAST_ERROR_SQLSTATE
SET search_path = app;

-- names that are taken, by a table, a view of another table, anything
SELECT pipelines.create_deals('deals');
\echo :LAST_ERROR_SQLSTATE
CREATE VIEW orders_board AS SELECT 1 AS one;
SELECT pipelines.create_deals('orders');
\echo :LAST_ERROR_SQLSTATE
SELECT to_regclass('orders'), to_regclass('orders_history');

-- the other arguments
SELECT pipelines.create_deals('x', layout => 'boats');
\echo :LAST_ERROR_SQLSTATE
SELECT pipelines.create_deals('x', currency => ' ');
\echo :LAST_ERROR_SQLSTATE
SELECT pipelines.create_deals('x', on_truncate => 'ignore');
\echo :LAST_ERROR_SQLSTATE
SELECT pipelines.create_deals('x', key => '{}');
\echo :LAST_ERROR_SQLSTATE
SELECT pipelines.create_deals('x', key => '{a,a}');
\echo :LAST_ERROR_SQLSTATE
SELECT pipelines.create_deals('x', key => '{version}');
\echo :LAST_ERROR_SQLSTATE
SELECT pipelines.create_deals('x', foreign_keys => true);
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
GRANT REFERENCES ON pipelines.pipeline_stage TO regress_create_owner;
SET ROLE regress_create_owner;
SELECT pipelines.create_deals('with_fk', layout => 'cars', foreign_keys => true, on_truncate => 'record');
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'with_fk'::regclass AND contype = 'f';
SELECT foreign_keys, on_truncate FROM pipelines.tracked_table WHERE relation = 'with_fk'::regclass;
INSERT INTO with_fk (name) SELECT 'n' FROM generate_series(1, 3);
TRUNCATE with_fk;
SELECT deal_id, version, change FROM with_fk_history ORDER BY deal_id;
RESET ROLE;
REVOKE REFERENCES ON pipelines.pipeline_stage FROM regress_create_owner;
SET ROLE regress_create_owner;

-- a key of several columns
SELECT pipelines.create_deals('tenants', key => '{"tenant id",deal_id}');
SELECT pg_get_constraintdef(oid) FROM pg_constraint
WHERE conrelid IN ('tenants'::regclass, 'tenants_history'::regclass) AND contype = 'p' ORDER BY 1;
INSERT INTO tenants ("tenant id", name) VALUES (7, 'a'), (8, 'b');
UPDATE tenants SET amount = 1;
SELECT "tenant id", deal_id, version, change FROM tenants_history ORDER BY 1, 2;
SELECT "tenant id", deal_id, visit, stage_name, running FROM tenants_visits ORDER BY 1, 2;

-- partitioned by what never changes
SELECT pipelines.create_deals('parts', key => '{tenant_id,deal_id}', partition_by => ' list ( tenant_id ) ');
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES IN (2);
SELECT item, action FROM pipelines.resume('parts');
INSERT INTO parts (tenant_id, amount) SELECT 1 + i % 2, i FROM generate_series(1, 6) i;
UPDATE parts SET amount = amount + 1;
SELECT tenant_id, count(*), sum(amount) FROM parts_history GROUP BY 1 ORDER BY 1;
TRUNCATE parts_1;
\echo :LAST_ERROR_SQLSTATE
SELECT pipelines.create_deals('by_month', partition_by => 'RANGE (created_at)');
SELECT pg_get_constraintdef(oid) FROM pg_constraint
WHERE conrelid IN ('by_month'::regclass, 'by_month_history'::regclass) AND contype = 'p' ORDER BY 1;
CREATE TABLE by_month_old PARTITION OF by_month FOR VALUES FROM (MINVALUE) TO ('2020-01-01 00:00+00');
CREATE TABLE by_month_new PARTITION OF by_month DEFAULT;
INSERT INTO by_month (name) VALUES ('new');
INSERT INTO by_month (name, created_at) VALUES ('old', '2019-05-05');
UPDATE by_month SET amount = 3;
SELECT tableoid::regclass, name, version FROM by_month ORDER BY name;
SELECT pipelines.create_deals('hashed', partition_by => 'Hash ("deal_id")') IS NOT NULL AS made;
SELECT pipelines.create_deals('x', partition_by => 'RANGE (stage_id)');
\echo :LAST_ERROR_SQLSTATE
SELECT pipelines.create_deals('x', partition_by => 'RANGE (lower(owner))');
\echo :LAST_ERROR_SQLSTATE
SELECT pipelines.create_deals('x', partition_by => 'deal_id');
\echo :LAST_ERROR_SQLSTATE

-- a history in partitions, too
SELECT pipelines.create_deals('twice', key => '{tenant_id,deal_id}', partition_by => 'LIST (tenant_id)', partition_history => true);
CREATE TABLE twice_1 PARTITION OF twice FOR VALUES IN (1);
CREATE TABLE twice_history_future PARTITION OF twice_history FOR VALUES FROM ('2000-01-01') TO ('2200-01-01');
SELECT item, action FROM pipelines.resume('twice');
SELECT c.relname, pg_get_constraintdef(k.oid) AS key FROM pg_class c JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 'p'
WHERE c.relname ~ '^twice' ORDER BY c.relname COLLATE "C";
SELECT tgrelid::regclass AS relation, tgname AS name, tgenabled AS enabled FROM pg_trigger
WHERE tgrelid IN ('twice_history'::regclass, 'twice_history_default'::regclass, 'twice_history_future'::regclass)
ORDER BY tgrelid::regclass::text COLLATE "C", tgname;
INSERT INTO twice (tenant_id, amount) VALUES (1, 10), (1, 20);
UPDATE twice SET amount = amount + 1;
DELETE FROM twice WHERE deal_id = 2;
SELECT tableoid::regclass AS part, deal_id, version, change, amount FROM twice_history ORDER BY deal_id, version;
DELETE FROM twice_history_future;
\echo :LAST_ERROR_SQLSTATE
TRUNCATE twice_history_future;
\echo :LAST_ERROR_SQLSTATE
SELECT deal_id, visit, stage_name, change FROM twice_visits ORDER BY 1, 2;

-- default privileges never open a history
ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT ALL ON TABLES TO regress_create_reader;
ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT ON TABLES TO PUBLIC;
SELECT pipelines.create_deals('open') IS NOT NULL AS made;
SELECT relname, has_table_privilege('regress_create_reader', oid, 'SELECT') AS "select",
	   has_table_privilege('regress_create_reader', oid, 'INSERT') AS "insert"
FROM pg_class WHERE oid IN ('open'::regclass, 'open_history'::regclass) ORDER BY 1;
ALTER DEFAULT PRIVILEGES IN SCHEMA app REVOKE ALL ON TABLES FROM regress_create_reader, PUBLIC;

-- two layouts: one must be named
SET ROLE regress_create_definer;
SELECT pipelines.create_pipeline('Boats', layout => 'boats', stages => '["Lead", {"name": "Sold", "outcome": "won"}]') > 0 AS made;
SET ROLE regress_create_owner;
SELECT pipelines.create_deals('boats');
\echo :LAST_ERROR_SQLSTATE
SELECT pipelines.create_deals('boats', layout => 'boats');
INSERT INTO boats (name) VALUES ('Titanic');
SELECT pipeline_name, stage_name FROM boats_current;
SELECT pipeline_name, stage_name, deals FROM boats_board;
SET ROLE regress_create_definer;
SELECT pipelines.create_pipeline('Planes', stages => '["Lead", {"name": "Sold", "outcome": "won"}]') > 0 AS made;
SET ROLE regress_create_owner;
SELECT pipelines.create_deals('planes');
SELECT DISTINCT pipeline_name FROM planes_board;

-- with whatever search_path and operators of somebody's own
CREATE FUNCTION app.never(text, text) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'ran'; END$$;
CREATE OPERATOR app.= (LEFTARG = text, RIGHTARG = text, PROCEDURE = app.never);
CREATE OPERATOR app.|| (LEFTARG = text, RIGHTARG = text, PROCEDURE = app.never);
SET search_path = app, pg_catalog;
SELECT pipelines.create_deals('hostile', layout => pg_catalog.lower('CARS'));
SET search_path = app;
DROP OPERATOR app.= (text, text);
DROP OPERATOR app.|| (text, text);

-- verify() misses what the partitions have not got yet, and nothing else
SELECT t.relation, v.* FROM pipelines.tracked_table t, pipelines.verify(t.relation) v ORDER BY t.relation::text, v.expected;
SELECT item, action FROM pipelines.resume('by_month');
SELECT t.relation, v.* FROM pipelines.tracked_table t, pipelines.verify(t.relation) v;

-- let go: columns, rows and history stay, nothing of ours is left
SELECT pipelines.release('deals');
SELECT tgname FROM pg_trigger WHERE tgrelid IN ('deals'::regclass, 'deals_history'::regclass);
SELECT relname FROM pg_class WHERE relnamespace = 'app'::regnamespace AND relkind IN ('r', 'v') AND relname ~ '^deals' ORDER BY 1;
SELECT count(*) AS functions FROM pg_proc WHERE pronamespace = 'app'::regnamespace AND proname = 'deals_as_of';
INSERT INTO deals (name, pipeline_id, stage_id) SELECT 'plain', pipeline_id, stage_id FROM deals;
SELECT name, version FROM deals ORDER BY deal_id;
SELECT pipelines.release('deals');
\echo :LAST_ERROR_SQLSTATE
SELECT pipelines.release('parts');
SELECT count(*) AS triggers FROM pg_trigger
WHERE tgrelid IN ('parts'::regclass, 'parts_1'::regclass, 'parts_2'::regclass, 'parts_history'::regclass);
SELECT 'tenants'::regclass::oid AS tenants \gset
SET ROLE regress_create_reader;
SELECT pipelines.release(:tenants);
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;

\c :"regression"
DROP DATABASE regress_pipelines_create;
DROP ROLE regress_create_definer, regress_create_owner, regress_create_reader;
