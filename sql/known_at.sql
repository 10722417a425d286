-- The past as it was known at another instant (R-2.38, R-2.39), and the
-- definitions of an instant (R-2.33).
-- In a database of its own, since schema pipelines is one per database.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT current_database() AS home \gset
DROP DATABASE IF EXISTS regress_pipelines_known_at;
CREATE DATABASE regress_pipelines_known_at;
CREATE ROLE regress_known_reader;
\c regress_pipelines_known_at
SET lc_messages = 'C';
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
CREATE EXTENSION pipelines;

SELECT pipelines.create_pipeline('Sales', stages => '["Lead", "Quote", "Won", "Lost"]', time_zone => 'UTC');
SELECT pipelines.create_deals('deals');
-- what the clock said, by name
CREATE TABLE mark (name text PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE FUNCTION known(at timestamptz, known_at timestamptz) RETURNS TABLE (deal_id bigint, stage text, amount numeric, version integer) LANGUAGE sql AS $$
	SELECT a.deal_id, s.name, a.amount, a.version
	FROM pipelines.as_of(NULL::deals, $1, known_at => $2) a LEFT JOIN pipelines.stage s USING (stage_id)
$$;

-- ----- what is made live is known at once

INSERT INTO mark VALUES ('before');
INSERT INTO deals (deal_id, amount) VALUES (1, 10), (2, 20), (3, 30);
INSERT INTO mark VALUES ('made');
UPDATE deals SET amount = 11 WHERE deal_id = 1;
INSERT INTO mark VALUES ('changed');
DELETE FROM deals WHERE deal_id = 2;
INSERT INTO mark VALUES ('deleted');
INSERT INTO deals (deal_id, amount) VALUES (2, 22);
INSERT INTO mark VALUES ('back');
-- several changes of one transaction are known together
BEGIN;
UPDATE deals SET stage_id = pipelines.stage_id('Sales', 'Quote') WHERE deal_id = 3;
UPDATE deals SET stage_id = pipelines.stage_id('Sales', 'Won') WHERE deal_id = 3;
COMMIT;
INSERT INTO mark VALUES ('won');
SELECT m.name, k.* FROM mark m LEFT JOIN LATERAL known(m.at, m.at) k ON true ORDER BY m.at, k.deal_id;
-- the same as as_of(), and later knowledge changes nothing
SELECT m.name, n.name FROM mark m JOIN mark n ON n.at >= m.at WHERE EXISTS (
	(SELECT * FROM pipelines.as_of(NULL::deals, m.at, n.at) EXCEPT SELECT * FROM pipelines.as_of(NULL::deals, m.at))
	UNION ALL
	(SELECT * FROM pipelines.as_of(NULL::deals, m.at) EXCEPT SELECT * FROM pipelines.as_of(NULL::deals, m.at, n.at)));
-- what was known goes on where nothing newer is
SELECT m.name, k.* FROM mark m, LATERAL known('infinity', m.at) k WHERE m.name IN ('made', 'deleted') ORDER BY m.at, k.deal_id;

-- ----- what is learned later

-- a past that is imported
CREATE TABLE log (deal_id bigint, at timestamptz, stage text, pipeline text, amount numeric);
INSERT INTO log VALUES (10, '2020-01-01', 'Lead', 'Sales', 100), (10, '2020-02-01', 'Quote', 'Sales', 150), (10, '2020-03-01', 'Won', 'Sales', 160);
SELECT deals, rows FROM pipelines.import_history('deals', 'log');
INSERT INTO mark VALUES ('imported');
UPDATE deals SET amount = 161 WHERE deal_id = 10;
SELECT * FROM known('2020-01-15', (SELECT at FROM mark WHERE name = 'won'));
SELECT * FROM known('2020-01-15', '2020-01-15');
SELECT * FROM known('2020-01-15', (SELECT at FROM mark WHERE name = 'imported'));
SELECT * FROM known('2021-01-01', (SELECT at FROM mark WHERE name = 'imported'));
SELECT * FROM known('infinity', (SELECT at FROM mark WHERE name = 'imported')) WHERE deal_id = 10;
SELECT * FROM known('infinity', 'infinity') WHERE deal_id = 10;
-- the others of that time are as they were
SELECT count(*) FROM known((SELECT at FROM mark WHERE name = 'won'), (SELECT at FROM mark WHERE name = 'won'));

-- a change that is entered late
SET pipelines.event_time = '2020-06-01';
INSERT INTO deals (deal_id, amount) VALUES (20, 5);
SET pipelines.event_time = '2020-07-01';
UPDATE deals SET amount = 6 WHERE deal_id = 20;
RESET pipelines.event_time;
INSERT INTO mark VALUES ('late');
SELECT amount FROM pipelines.as_of(NULL::deals, '2020-08-01') WHERE deal_id = 20;
SELECT amount FROM known('2020-08-01', '2020-08-01') WHERE deal_id = 20;
SELECT amount FROM known('2020-08-01', (SELECT at FROM mark WHERE name = 'late')) WHERE deal_id = 20;

-- ----- what it can't be asked, and rights

SELECT count(*) FROM pipelines.as_of(NULL::deals, now(), NULL);
SELECT count(*) FROM pipelines.as_of(NULL::deals, NULL, now());
SELECT * FROM pipelines.as_of(1, now(), now());
SELECT * FROM pipelines.as_of(NULL::mark, now(), now());
SET ROLE regress_known_reader;
SELECT count(*) FROM pipelines.as_of(NULL::deals, now(), now());
RESET ROLE;
SELECT count(*) > 0 FROM pipelines.grant_access('deals', 'regress_known_reader', 'read');
SET ROLE regress_known_reader;
SELECT deal_id, amount FROM pipelines.as_of(NULL::deals, now(), now()) ORDER BY 1;
RESET ROLE;

-- keys of several columns, partitions, other names
SELECT pipelines.create_deals('parted', key => '{branch_id,deal_id}', partition_by => 'LIST (branch_id)');
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
SELECT count(*) > 0 FROM pipelines.resume();
INSERT INTO parted (branch_id, deal_id, amount) VALUES (1, 1, 1), (1, 2, 2);
ALTER TABLE parted RENAME COLUMN deal_id TO "the deal";
INSERT INTO mark VALUES ('parted');
UPDATE parted SET amount = 3 WHERE "the deal" = 2;
SELECT branch_id, "the deal", amount FROM pipelines.as_of(NULL::parted, 'infinity', (SELECT at FROM mark WHERE name = 'parted')) ORDER BY 2;
SELECT branch_id, "the deal", amount FROM pipelines.as_of(NULL::parted, 'infinity', now()) ORDER BY 2;

-- ----- definitions

INSERT INTO mark VALUES ('definitions');
UPDATE pipelines.pipeline_stage SET probability = 33 WHERE stage_id = pipelines.stage_id('Sales', 'Quote');
INSERT INTO mark VALUES ('redefined');
SELECT pipelines.create_pipeline('Late', stages => '["Begin", "End"]', time_zone => 'UTC');
SELECT m.name, s.name, p.probability, p.outcome, p.version
FROM mark m, pipelines.definitions_as_of(NULL::pipelines.pipeline_stage, m.at) p JOIN pipelines.stage s USING (stage_id)
WHERE m.name IN ('definitions', 'redefined') AND p.pipeline_id = 1 AND s.name = 'Quote' ORDER BY m.at;
-- the first version counts for ever before
SELECT string_agg(name, ', ' ORDER BY name) FROM pipelines.definitions_as_of(NULL::pipelines.pipeline, '2000-01-01');
SELECT relation, currency FROM pipelines.definitions_as_of(NULL::pipelines.tracked_table, now()) ORDER BY relation::text;
-- what is gone is still there at its time
INSERT INTO pipelines.stage (name) VALUES ('Nowhere');
INSERT INTO mark VALUES ('there');
DELETE FROM pipelines.stage WHERE name = 'Nowhere';
SELECT m.name, count(*) FILTER (WHERE s.name = 'Nowhere') FROM mark m, pipelines.definitions_as_of(NULL::pipelines.stage, m.at) s
WHERE m.name IN ('redefined', 'there') GROUP BY 1 ORDER BY 1;
SELECT count(*) FILTER (WHERE name = 'Nowhere') FROM pipelines.definitions_as_of(NULL::pipelines.stage, clock_timestamp());
SELECT count(*) FROM pipelines.definitions_as_of(NULL::pipelines.stage, NULL);
SELECT pipelines.definitions_as_of(1, now());
SELECT pipelines.definitions_as_of(NULL::deals, now());
SELECT pipelines.definitions_as_of(NULL::pipelines.stage_history, now());

\c :home
SET client_min_messages = warning;
DROP DATABASE regress_pipelines_known_at;
DROP ROLE regress_known_reader;
