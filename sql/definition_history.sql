-- Definitions keep their past: versions, instants, the guard, who did it.
-- In a database of its own, since schema pipelines is one per database.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT current_database() AS home \gset
DROP DATABASE IF EXISTS regress_pipelines_history;
CREATE DATABASE regress_pipelines_history;
CREATE ROLE regress_sales;
CREATE ROLE regress_definer;
\c regress_pipelines_history
SET lc_messages = 'C';
SET client_min_messages = warning;
CREATE EXTENSION pipelines;
SELECT pipelines.setup(owner => 'regress_sales');
SET ROLE regress_sales;
SELECT pipelines.create_pipeline('Sales', stages => '["New", "Quote", "Won", "Lost"]') AS sales \gset
SELECT pipelines.stage_id('Sales', 'Quote') AS quote \gset
-- what happened to the stage, oldest first, the present last
RESET ROLE;
CREATE SCHEMA crm AUTHORIZATION regress_sales;
CREATE VIEW crm.past AS
SELECT pipeline_id, stage_id, version, probability, colour, change, actor, valid_from, valid_to FROM pipelines.pipeline_stage_history
UNION ALL
SELECT pipeline_id, stage_id, version, probability, colour, NULL, NULL, changed_at, 'infinity' FROM pipelines.pipeline_stage;
GRANT SELECT ON crm.past TO PUBLIC;
GRANT USAGE ON SCHEMA crm TO PUBLIC;

-- version 1 is the row itself, valid since ever; nothing is in the past
SELECT version, probability, valid_from, change FROM crm.past WHERE stage_id = :quote;
SELECT count(*) FROM pipelines.pipeline_stage_history;

-- a change ends a version; one that changes nothing does not (I6)
UPDATE pipelines.pipeline_stage SET probability = 60 WHERE stage_id = :quote;
UPDATE pipelines.pipeline_stage SET probability = 60 WHERE stage_id = :quote;
UPDATE pipelines.pipeline_stage SET colour = colour, version = 99, changed_at = '2001-01-01' WHERE stage_id = :quote;
SELECT version, probability, change, valid_from = '-infinity' AS since_ever, valid_to = 'infinity' AS now FROM crm.past WHERE stage_id = :quote ORDER BY 1;

-- bookkeeping that a client sends along is ignored
UPDATE pipelines.pipeline_stage SET probability = 65, version = 1, changed_at = '2001-01-01' WHERE stage_id = :quote;
SELECT version, probability, changed_at > '2026-01-01' AS by_the_clock FROM pipelines.pipeline_stage WHERE stage_id = :quote;

-- one instant per transaction, strictly increasing per row
BEGIN;
UPDATE pipelines.pipeline_stage SET probability = 70 WHERE stage_id = :quote;
SELECT changed_at AS first FROM pipelines.pipeline_stage WHERE stage_id = :quote \gset
SELECT pg_sleep(0.01);
UPDATE pipelines.pipeline_stage SET colour = 'red' WHERE pipeline_id = :sales AND stage_id <> :quote;
UPDATE pipelines.stage SET description = 'A price is offered.' WHERE stage_id = :quote;
UPDATE pipelines.pipeline_stage SET probability = 71 WHERE stage_id = :quote;
UPDATE pipelines.pipeline_stage SET probability = 72 WHERE stage_id = :quote;
COMMIT;
SELECT stage_id = :quote AS quote, changed_at - :'first' AS after FROM pipelines.pipeline_stage ORDER BY stage_id;
SELECT changed_at = :'first' AS same_instant FROM pipelines.stage WHERE stage_id = :quote;

-- savepoints: what is rolled back leaves no trace
BEGIN;
SAVEPOINT a;
UPDATE pipelines.pipeline_stage SET probability = 1 WHERE stage_id = :quote;
ROLLBACK TO a;
UPDATE pipelines.pipeline_stage SET probability = 73 WHERE stage_id = :quote;
COMMIT;
SELECT version, probability FROM crm.past WHERE stage_id = :quote ORDER BY 1;

-- a key that comes back continues its versions
SET ROLE regress_sales;
DELETE FROM pipelines.pipeline_stage WHERE stage_id = :quote;
INSERT INTO pipelines.pipeline_stage (pipeline_id, stage_id, "position", outcome, probability) VALUES (:sales, :quote, 2, 'open', 50);
DELETE FROM pipelines.pipeline_stage WHERE stage_id = :quote;
BEGIN;
INSERT INTO pipelines.pipeline_stage (pipeline_id, stage_id, "position", outcome, probability) VALUES (:sales, :quote, 2, 'open', 51);
DELETE FROM pipelines.pipeline_stage WHERE stage_id = :quote;
INSERT INTO pipelines.pipeline_stage (pipeline_id, stage_id, "position", outcome, probability) VALUES (:sales, :quote, 2, 'open', 52);
COMMIT;
SELECT version, probability, change FROM crm.past WHERE stage_id = :quote ORDER BY 1;
-- versions of a key follow each other; a gap only after a deletion, no overlap ever
SELECT count(*) AS breaches FROM (
	SELECT version, valid_from, lag(version) OVER key AS version_before, lag(valid_to) OVER key AS ended, lag(change) OVER key AS how
	FROM crm.past WINDOW key AS (PARTITION BY pipeline_id, stage_id ORDER BY version)) AS v
WHERE version <> version_before + 1 OR valid_from < ended OR (how = 'update' AND valid_from <> ended);

-- restored by the owner with all its bookkeeping: kept; anything else is completed
INSERT INTO pipelines.stage (stage_id, name, version, changed_at) VALUES (10501, 'Restored', 7, '2020-02-02');
INSERT INTO pipelines.stage (stage_id, name, version, changed_at) VALUES (10502, 'First version', 1, '-infinity');
INSERT INTO pipelines.stage (stage_id, name, version) VALUES (10503, 'Half given', 7);
INSERT INTO pipelines.stage (stage_id, name, version, changed_at) VALUES (10504, 'From the future', 7, '2999-01-01');
INSERT INTO pipelines.stage (stage_id, name, version, changed_at) VALUES (10505, 'Version zero', 0, '2020-02-02');
SELECT stage_id, version, changed_at FROM pipelines.stage WHERE stage_id > 10500 ORDER BY 1;
UPDATE pipelines.stage SET name = 'Restored, renamed' WHERE stage_id = 10501;
SELECT version, name, valid_from, change FROM pipelines.stage_history WHERE stage_id = 10501;
-- the past itself is restored by its owner
COPY pipelines.stage_history (stage_id, name, version, changed_at, valid_from, valid_to, change, recorded_at) FROM stdin;
10501	Older	6	2019-01-01	2019-01-01	2020-02-02	update	2020-02-02
\.

-- who: a role that may change definitions, but may not write the past
RESET ROLE;
GRANT INSERT, UPDATE, DELETE ON pipelines.stage TO regress_definer;
SET ROLE regress_definer;
INSERT INTO pipelines.stage (stage_id, name, version, changed_at) VALUES (10510, 'By definer', 9, '2020-02-02');
SELECT version, changed_at FROM pipelines.stage WHERE stage_id = 10510;
BEGIN;
SET LOCAL pipelines.actor = 'eva@example.org';
UPDATE pipelines.stage SET description = 'one' WHERE stage_id = 10510;
COMMIT;
DELETE FROM pipelines.stage WHERE stage_id = 10510;
SELECT version, change, actor = 'eva@example.org' AS by_eva, actor = session_user AS by_session_user FROM pipelines.stage_history WHERE stage_id = 10510 ORDER BY 1;
INSERT INTO pipelines.stage_history (stage_id, version, valid_from, valid_to, change, recorded_at) VALUES (10510, 99, now(), 'infinity', 'update', now());
\echo :LAST_ERROR_SQLSTATE
-- a search path full of traps changes nothing
RESET ROLE;
CREATE SCHEMA trap AUTHORIZATION regress_definer;
SET ROLE regress_definer;
CREATE TABLE trap.stage_history (LIKE pipelines.stage_history);
CREATE FUNCTION trap.eq(integer, integer) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''trapped as %'', current_user; END';
CREATE OPERATOR trap.= (LEFTARG = integer, RIGHTARG = integer, PROCEDURE = trap.eq);
SET search_path = trap, pipelines, pg_catalog;
INSERT INTO stage (stage_id, name) VALUES (10511, 'In a trap');
UPDATE stage SET description = 'two';
DELETE FROM stage WHERE name OPERATOR(pg_catalog.=) 'In a trap';
RESET search_path;
SELECT count(*) FROM pipelines.stage_history WHERE stage_id = 10511;
SELECT count(*) FROM trap.stage_history;

-- the guard: no UPDATE, DELETE, TRUNCATE, whoever runs it
UPDATE pipelines.stage_history SET actor = 'nobody';
SET ROLE regress_sales;
UPDATE pipelines.stage_history SET actor = 'nobody';
\echo :LAST_ERROR_SQLSTATE
DELETE FROM pipelines.stage_history;
TRUNCATE pipelines.stage_history;
INSERT INTO pipelines.stage_history SELECT * FROM pipelines.stage_history ON CONFLICT (stage_id, version) DO UPDATE SET actor = 'nobody';
RESET ROLE;
DELETE FROM pipelines.stage_history;
SET session_replication_role = replica;
UPDATE pipelines.stage_history SET actor = 'nobody';
DELETE FROM pipelines.stage_history;
TRUNCATE pipelines.stage_history;
\echo :LAST_ERROR_SQLSTATE
-- definitions keep their past in the replica role, too
UPDATE pipelines.stage SET description = 'replica' WHERE stage_id = 10501;
RESET session_replication_role;
SELECT version, change FROM pipelines.stage_history WHERE stage_id = 10501 ORDER BY 1;

-- a user's trigger before ours takes part; one after ours is found out
CREATE FUNCTION crm.fill() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.description := coalesce(NEW.description, ''to be described''); RETURN NEW; END';
CREATE TRIGGER fill BEFORE INSERT OR UPDATE ON pipelines.stage FOR EACH ROW EXECUTE FUNCTION crm.fill();
INSERT INTO pipelines.stage (stage_id, name) VALUES (10520, 'Filled') RETURNING description, version;
CREATE FUNCTION crm.forge() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.version := 1; RETURN NEW; END';
CREATE TRIGGER "~~forge" BEFORE UPDATE ON pipelines.stage FOR EACH ROW EXECUTE FUNCTION crm.forge();
UPDATE pipelines.stage SET name = 'Forged' WHERE stage_id = 10501;
\echo :LAST_ERROR_SQLSTATE
DROP TRIGGER "~~forge" ON pipelines.stage;
DROP TRIGGER fill ON pipelines.stage;

-- a column of the user's own is not kept until setup() has seen it
ALTER TABLE pipelines.stage ADD COLUMN owner_team text;
UPDATE pipelines.stage SET owner_team = 'east' WHERE stage_id = 10501;
SELECT version FROM pipelines.stage WHERE stage_id = 10501;
SELECT pipelines.setup();
UPDATE pipelines.stage SET owner_team = 'west' WHERE stage_id = 10501;
SELECT version, owner_team FROM pipelines.stage_history WHERE stage_id = 10501 ORDER BY 1;
-- renamed in the table alone, it is another column: the past of the old one stays
ALTER TABLE pipelines.stage RENAME COLUMN owner_team TO team;
UPDATE pipelines.stage SET name = 'Restored again' WHERE stage_id = 10501;
SELECT version, name, owner_team FROM pipelines.stage_history WHERE stage_id = 10501 ORDER BY 1 DESC LIMIT 1;

-- tables are remembered by their names, not by numbers that mean nothing later
SET ROLE regress_sales;
CREATE TABLE crm."Deals 1" (deal_id bigint, pipeline_id integer, stage_id integer);
CREATE TABLE crm."Deals 1_history" (deal_id bigint, pipeline_id integer, stage_id integer);
SELECT pipelines._register('crm."Deals 1"', 'crm."Deals 1_history"', NULL, '{deal_id}', '{"pipeline_id": "pipeline_id", "stage_id": "stage_id"}', NULL, false, 'refuse', '-infinity', false);
SELECT pipelines._unregister('crm."Deals 1"');
SELECT relation, history, version, change FROM pipelines.tracked_table_history;
SELECT pg_typeof(relation) FROM pipelines.tracked_table_history;
SELECT pipelines._register('crm."Deals 1"', 'crm."Deals 1_history"', NULL, '{deal_id}', '{"pipeline_id": "pipeline_id", "stage_id": "stage_id"}', NULL, false, 'refuse', '-infinity', false);
SELECT relation, version FROM pipelines.tracked_table;
RESET ROLE;

-- in bulk: many rows, one instant, one past row each
INSERT INTO pipelines.stage (name) SELECT 'bulk ' || g FROM generate_series(1, 1000) AS g;
UPDATE pipelines.stage SET description = 'bulk' WHERE name LIKE 'bulk %';
SELECT count(*), count(DISTINCT valid_to), min(version), max(version) FROM pipelines.stage_history WHERE name LIKE 'bulk %';
DELETE FROM pipelines.stage WHERE name LIKE 'bulk %';
SELECT change, count(*), count(DISTINCT valid_to) FROM pipelines.stage_history WHERE name LIKE 'bulk %' GROUP BY 1 ORDER BY 1;

-- after DROP EXTENSION the past is still there, and goes on after setup()
SELECT count(*) AS before FROM pipelines.stage_history \gset
DROP EXTENSION pipelines CASCADE;
SELECT count(*) = :before AS kept FROM pipelines.stage_history;
CREATE EXTENSION pipelines;
SELECT pipelines.setup();
UPDATE pipelines.stage SET description = 'resumed' WHERE stage_id = 10501;
SELECT count(*) = :before + 1 AS goes_on FROM pipelines.stage_history;
DELETE FROM pipelines.stage_history;

\c :home
DROP DATABASE regress_pipelines_history;
DROP ROLE regress_sales, regress_definer;
