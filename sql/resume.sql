-- resume(), track(), repair(): deals outlive the extension, restores and races.
-- In a database of its own, since the extension is dropped.
SELECT current_database() AS regression \gset
CREATE DATABASE regress_pipelines_resume ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0;
\c regress_pipelines_resume
\set SHOW_CONTEXT never
SET client_encoding = 'UTF8';
SET client_min_messages = warning;
CREATE EXTENSION pipelines;
CREATE ROLE regress_resume_owner;
CREATE ROLE regress_resume_other;
CREATE ROLE regress_resume_reader;
SELECT pipelines.create_pipeline('Sales', stages => '["Lead", "Talks", "Offer", {"name": "Sold", "outcome": "won"}]');
CREATE SCHEMA app;
GRANT ALL ON SCHEMA app TO regress_resume_owner, regress_resume_other;
GRANT USAGE ON SCHEMA app TO regress_resume_reader;
SET search_path = app;
SET ROLE regress_resume_other;
SELECT pipelines.create_deals('others');
SET ROLE regress_resume_owner;
SELECT pipelines.create_deals('deals', currency => 'EUR');
SELECT pipelines.create_deals('gone');
SELECT pipelines.create_deals('parts', partition_by => 'HASH (deal_id)');
CREATE TABLE parts_0 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 0);
SELECT pipelines.grant_access('deals', 'regress_resume_reader', 'read');
INSERT INTO deals (name, amount) SELECT 'n' || i, i FROM generate_series(1, 6) i;
UPDATE deals SET stage_id = pipelines.stage_id('Sales', 'Talks') WHERE deal_id <= 4;
DELETE FROM deals WHERE deal_id = 6;

-- nothing to do but for the new partition
SELECT * FROM pipelines.resume('deals');
SELECT item, action FROM pipelines.resume('parts');
SELECT * FROM pipelines.resume();

-- what it needs
SELECT * FROM pipelines.resume('pg_class');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM pipelines.resume('others');
\echo :LAST_ERROR_SQLSTATE
CREATE TABLE plain (i integer);
SELECT * FROM pipelines.resume('plain');
\echo :LAST_ERROR_SQLSTATE

-- guards that lost ENABLE ALWAYS (as by pg_restore --disable-triggers), triggers that were disabled or dropped
ALTER TABLE deals_history DISABLE TRIGGER ALL;
ALTER TABLE deals_history ENABLE TRIGGER ALL;
ALTER TABLE deals DISABLE TRIGGER ALL;
SELECT item, action FROM pipelines.resume('deals');
DROP TRIGGER pipelines_guard ON deals_history;
DROP TRIGGER pipelines_columns ON deals_history;
DROP TRIGGER pipelines_columns ON deals;
DROP TRIGGER pipelines_truncate ON deals;
DROP VIEW deals_visits;
DROP FUNCTION deals_as_of;
UPDATE deals SET amount = 0;
\echo :LAST_ERROR_SQLSTATE
SELECT item, action FROM pipelines.resume('deals');
SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = 'deals_history'::regclass ORDER BY tgname;

-- the same triggers and views as before?
CREATE TABLE before AS
	SELECT format('%s %s %s', tgrelid::regclass, tgenabled, pg_get_triggerdef(oid)) AS what FROM pg_trigger
	WHERE tgrelid IN ('deals'::regclass, 'deals_history'::regclass)
	UNION ALL
	SELECT format('%s %s %s %s', oid::regclass, relowner::regrole, relacl, pg_get_viewdef(oid)) FROM pg_class
	WHERE relnamespace = 'app'::regnamespace AND relkind = 'v' AND relname ~ '^deals'
	UNION ALL
	SELECT format('%s %s', c.oid::regclass || '.' || a.attname, col_description(c.oid, a.attnum)) FROM pg_class c
	JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
	WHERE relnamespace = 'app'::regnamespace AND relname ~ '^deals' AND relkind IN ('r', 'v')
	UNION ALL
	SELECT format('%s %s', c.oid::regclass, obj_description(c.oid, 'pg_class')) FROM pg_class c
	WHERE relnamespace = 'app'::regnamespace AND relname ~ '^deals' AND relkind IN ('r', 'v');
CREATE TABLE figures AS SELECT deal_id, version, stage_id, amount FROM deals;

-- without the extension: the data is there, inserts fail
DROP TABLE gone CASCADE;
DROP TABLE gone_history CASCADE;
RESET ROLE;
DROP EXTENSION pipelines CASCADE;
SET ROLE regress_resume_owner;
SELECT count(*) AS deals, (SELECT count(*) FROM deals_history) AS versions, (SELECT count(*) FROM pipelines.pipeline_stage) AS stages FROM deals;
SELECT relname FROM pg_class WHERE relnamespace = 'app'::regnamespace AND relkind = 'v' AND relname ~ '^deals' ORDER BY 1;
SELECT count(*) AS triggers FROM pg_trigger WHERE tgrelid IN ('deals'::regclass, 'deals_history'::regclass);
INSERT INTO deals (name) VALUES ('x');
\echo :LAST_ERROR_SQLSTATE
-- one is moved past the history, one is renumbered, one change can't be seen
UPDATE deals SET stage_id = 3 WHERE deal_id = 1;
UPDATE deals SET version = 9 WHERE deal_id = 2;
UPDATE deals SET name = 'unseen' WHERE deal_id = 3;
RESET ROLE;
CREATE EXTENSION pipelines;
-- the owner of the deals can't mend the definitions: he is told
SET ROLE regress_resume_owner;
SELECT item, action FROM pipelines.resume('deals') WHERE item = 'definitions';
RESET ROLE;
SELECT CASE WHEN action ~ '^forgotten' THEN 'gone' ELSE deals::text END AS deals, count(*), min(action), max(action)
FROM pipelines.resume() GROUP BY 1 ORDER BY 1;
SELECT * FROM pipelines.resume();
SET ROLE regress_resume_owner;
SELECT what FROM before EXCEPT (
	SELECT format('%s %s %s', tgrelid::regclass, tgenabled, pg_get_triggerdef(oid)) AS what FROM pg_trigger
	WHERE tgrelid IN ('deals'::regclass, 'deals_history'::regclass)
	UNION ALL
	SELECT format('%s %s %s %s', oid::regclass, relowner::regrole, relacl, pg_get_viewdef(oid)) FROM pg_class
	WHERE relnamespace = 'app'::regnamespace AND relkind = 'v' AND relname ~ '^deals'
	UNION ALL
	SELECT format('%s %s', c.oid::regclass || '.' || a.attname, col_description(c.oid, a.attnum)) FROM pg_class c
	JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
	WHERE relnamespace = 'app'::regnamespace AND relname ~ '^deals' AND relkind IN ('r', 'v')
	UNION ALL
	SELECT format('%s %s', c.oid::regclass, obj_description(c.oid, 'pg_class')) FROM pg_class c
	WHERE relnamespace = 'app'::regnamespace AND relname ~ '^deals' AND relkind IN ('r', 'v'));
-- work goes on
UPDATE deals SET version = 2, stage_id = pipelines.stage_id('Sales', 'Offer') WHERE deal_id = 4;
INSERT INTO deals (name) VALUES ('next');
SELECT name, version FROM deals WHERE deal_id = 4 OR name = 'next' ORDER BY 1;
DELETE FROM deals_history;
\echo :LAST_ERROR_SQLSTATE

-- renamed and dropped columns while the triggers are away
DROP TRIGGER pipelines_columns ON deals;
ALTER TABLE deals RENAME amount TO value;
SELECT item, action FROM pipelines.resume('deals');
SELECT * FROM pipelines.rebuild_views('deals');
\echo :LAST_ERROR_SQLSTATE
ALTER TABLE deals RENAME value TO amount;
ALTER TABLE deals DROP COLUMN product CASCADE;
SELECT item, action FROM pipelines.resume('deals');
ALTER TABLE deals ALTER cost TYPE text;
SELECT item, action FROM pipelines.resume('deals');
ALTER TABLE deals ALTER cost TYPE numeric USING cost::numeric;
ALTER TABLE deals_history DROP product CASCADE;
SELECT item, action FROM pipelines.resume('deals');
UPDATE deals SET amount = 77 WHERE deal_id = 5;
SELECT change, amount FROM deals_history WHERE deal_id = 5;

-- track()
ALTER TABLE deals ADD region varchar(10) DEFAULT 'north', ADD "to_stage_id" integer, ADD "a=b ""c" date;
SELECT pipelines.track('deals', 'region');
SELECT pipelines.track('deals', 'to_stage_id');
SELECT pipelines.track('deals', 'a=b "c');
SELECT pipelines.track('deals', 'account');
UPDATE deals SET region = 'south', to_stage_id = 1, "a=b ""c" = '2026-01-01', account = 'x' WHERE deal_id = 5;
UPDATE deals SET region = 'east' WHERE deal_id = 5;
SELECT version, change, region, to_stage_id, pipelines_to_stage_id, "a=b ""c", account FROM deals_history WHERE deal_id = 5 ORDER BY version;
SELECT visit, stage_name, running FROM deals_visits WHERE deal_id = 5;
SELECT e.key, e.value::timestamptz BETWEEN now() - interval '1 minute' AND now() AS just_now
FROM pipelines.tracked_table, jsonb_each_text(tracked) e WHERE relation = 'deals'::regclass ORDER BY 1;
SELECT role, column_name, history_column FROM pipelines._roles('deals') WHERE n > 26 ORDER BY n;
SELECT count(*) FILTER (WHERE region IS NULL) AS unknown, count(*) AS deals FROM pipelines.as_of(NULL::deals, now());
SELECT count(*) FILTER (WHERE region IS NULL) AS unknown, count(*) AS deals FROM pipelines.as_of(NULL::deals, (SELECT min(changed_at) FROM deals));
SELECT pipelines.track('deals', 'region');
\echo :LAST_ERROR_SQLSTATE
SELECT pipelines.track('deals', 'amount');
\echo :LAST_ERROR_SQLSTATE
SELECT pipelines.track('deals', 'version');
\echo :LAST_ERROR_SQLSTATE
SELECT pipelines.track('deals', 'nothing');
\echo :LAST_ERROR_SQLSTATE
SELECT pipelines.track('others', 'name');
\echo :LAST_ERROR_SQLSTATE
SELECT pipelines.track('plain', 'i');
\echo :LAST_ERROR_SQLSTATE
-- a renamed column stays the same column
ALTER TABLE deals RENAME region TO area;
UPDATE deals SET area = 'west' WHERE deal_id = 5;
SELECT item, action FROM pipelines.rebuild_views('deals');
UPDATE deals SET area = 'here' WHERE deal_id = 5;
SELECT version, area FROM deals_history WHERE deal_id = 5 ORDER BY version;

-- repair(): a key that was inserted again before its deletion was committed
RESET ROLE;
BEGIN;
SET LOCAL session_replication_role = replica;
INSERT INTO deals (deal_id, pipeline_id, stage_id, created_at, created_by, stage_entered_at, furthest_stage_id, episode, version, changed_at)
SELECT 6, pipeline_id, stage_id, now(), 'x', valid_to - interval '1 hour', furthest_stage_id, 1, 1, valid_to - interval '1 hour'
FROM deals_history WHERE deal_id = 6 AND change = 'delete';
COMMIT;
SET ROLE regress_resume_owner;
UPDATE deals SET amount = 1 WHERE deal_id = 6;
\echo :LAST_ERROR_SQLSTATE
SELECT item, action FROM pipelines.resume('deals');
SELECT * FROM pipelines.repair('deals') WHERE deal = '6';
SELECT * FROM pipelines.repair('deals');
UPDATE deals SET amount = 1 WHERE deal_id = 6;
SELECT version, change, valid_from < valid_to AS lasts FROM deals_history WHERE deal_id = 6 ORDER BY version;
SELECT pipelines.repair('others');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;

\c :"regression"
DROP DATABASE regress_pipelines_resume;
DROP ROLE regress_resume_owner, regress_resume_other, regress_resume_reader;
