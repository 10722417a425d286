-- keys.sql: the deal key and its lives (CORE 1, 2; CORE tests 2, 3, 4)
-- In a database of its own, so that every id is the same in every run.
\set ECHO none
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_pipelines_keys;
CREATE DATABASE regress_pipelines_keys TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\set home :DBNAME
\c regress_pipelines_keys
\i test/data/checks.sql
\set ECHO all
SELECT pipelines.create_pipeline('Sales', stages => '["New", "Quote", "Demo", {"name": "Won", "outcome": "won"}, {"name": "Lost", "outcome": "lost"}]');
SELECT pipelines.create_deals('deals');
CREATE VIEW told AS SELECT deal_id AS deal, version AS v, change, stage_id AS stage, to_stage_id AS became, amount FROM deals_history;

--
-- The key never changes (CORE 1, test 4)
--
INSERT INTO deals (deal_id, amount) VALUES (1, 1), (2, 2);
SELECT try('UPDATE deals SET deal_id = 3 WHERE deal_id = 1');
SELECT try('UPDATE deals SET deal_id = deal_id + 10');
SELECT try('UPDATE deals SET deal_id = 3, stage_id = 2 WHERE deal_id = 1');
SELECT try('INSERT INTO deals (deal_id) VALUES (1) ON CONFLICT (deal_id) DO UPDATE SET deal_id = 3');
SELECT try('UPDATE deals SET deal_id = deal_id');
-- by a trigger before ours: refused as well
CREATE FUNCTION rekey() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.deal_id := OLD.deal_id + 100; RETURN NEW; END';
CREATE TRIGGER a_rekey BEFORE UPDATE ON deals FOR EACH ROW EXECUTE FUNCTION rekey();
SELECT try('UPDATE deals SET amount = 5 WHERE deal_id = 1');
DROP TRIGGER a_rekey ON deals;
-- by a trigger after ours
CREATE TRIGGER "§zzz" BEFORE UPDATE ON deals FOR EACH ROW EXECUTE FUNCTION rekey();
SELECT try('UPDATE deals SET amount = 5 WHERE deal_id = 1');
SELECT try('UPDATE deals SET stage_id = 2 WHERE deal_id = 1');
DROP TRIGGER "§zzz" ON deals;
-- whatever it is called
CREATE TRIGGER "§pipelines_before_rekey" BEFORE UPDATE ON deals FOR EACH ROW EXECUTE FUNCTION rekey();
SELECT try('UPDATE deals SET amount = 5 WHERE deal_id = 1');
DROP TRIGGER "§pipelines_before_rekey" ON deals;
-- by a cascade
CREATE TABLE owner_of_keys (id bigint PRIMARY KEY);
INSERT INTO owner_of_keys VALUES (1), (2);
ALTER TABLE deals ADD CONSTRAINT cascade FOREIGN KEY (deal_id) REFERENCES owner_of_keys ON UPDATE CASCADE ON DELETE CASCADE;
SELECT try('UPDATE owner_of_keys SET id = 9 WHERE id = 1');
ALTER TABLE deals DROP CONSTRAINT cascade;
SELECT deal_id, version, amount FROM deals ORDER BY 1;
SELECT count(*) FROM deals_history;
SELECT problems();

--
-- A key comes back (CORE 2, test 2): its versions go on
--
DELETE FROM deals WHERE deal_id = 1;
INSERT INTO deals (deal_id, amount) VALUES (1, 10);
UPDATE deals SET stage_id = 2 WHERE deal_id = 1;
DELETE FROM deals WHERE deal_id = 1;
INSERT INTO deals (deal_id, amount) VALUES (1, 11);
UPDATE deals SET amount = 12 WHERE deal_id = 1;
SELECT life('1');
-- in one transaction
BEGIN;
DELETE FROM deals WHERE deal_id = 2;
INSERT INTO deals (deal_id, amount) VALUES (2, 20);
DELETE FROM deals WHERE deal_id = 2;
INSERT INTO deals (deal_id, amount) VALUES (2, 21);
UPDATE deals SET stage_id = 3 WHERE deal_id = 2;
COMMIT;
-- the deletion was rolled back: no new life
BEGIN;
SAVEPOINT a;
DELETE FROM deals WHERE deal_id = 2;
INSERT INTO deals (deal_id, amount) VALUES (2, 99);
ROLLBACK TO a;
UPDATE deals SET amount = 22 WHERE deal_id = 2;
COMMIT;
SELECT life('2');
-- by upsert, where there is nothing any more
DELETE FROM deals WHERE deal_id = 2;
INSERT INTO deals (deal_id, amount) VALUES (2, 23), (3, 1) ON CONFLICT (deal_id) DO UPDATE SET amount = excluded.amount;
INSERT INTO deals (deal_id, amount) VALUES (2, 24), (3, 2) ON CONFLICT (deal_id) DO UPDATE SET amount = excluded.amount;
SELECT deal_id, version, amount FROM deals ORDER BY 1;
-- highest first, lowest first, beside keys that never were
DELETE FROM deals;
INSERT INTO deals (deal_id) VALUES (5), (3), (7), (2), (1), (4);
SELECT deal_id, version FROM deals ORDER BY 1;
DELETE FROM deals;
INSERT INTO deals (deal_id) VALUES (1), (2), (3), (8), (4), (5), (7);
SELECT deal_id, version FROM deals ORDER BY 1;
-- deleted and inserted by one statement, many keys, in either order
WITH d AS (DELETE FROM deals RETURNING deal_id) INSERT INTO deals (deal_id) SELECT deal_id FROM d;
SELECT deal_id, version FROM deals ORDER BY 1;
WITH d AS (DELETE FROM deals RETURNING deal_id) INSERT INTO deals (deal_id) SELECT deal_id FROM d ORDER BY deal_id DESC;
UPDATE deals SET amount = 1;
SELECT deal_id, version FROM deals ORDER BY 1;
-- deleted by a function while the INSERT runs
CREATE FUNCTION kill(id bigint) RETURNS bigint LANGUAGE plpgsql AS 'BEGIN DELETE FROM deals WHERE deal_id = id; RETURN id; END';
INSERT INTO deals (deal_id) SELECT kill(g) FROM unnest('{1,8,3}'::bigint[]) g;
SELECT deal_id, version FROM deals ORDER BY 1;
SELECT problems();

--
-- 100,000 old keys by COPY (CORE test 2)
--
SELECT pipelines.create_deals('many');
COPY many (deal_id) FROM PROGRAM 'seq 1 100000';
DELETE FROM many;
COPY many (deal_id) FROM PROGRAM 'seq 1 100000';
SELECT version, count(*) FROM many GROUP BY 1;
UPDATE many SET stage_id = 2;
SELECT change, version, count(*) FROM many_history GROUP BY 1, 2 ORDER BY 2;
DELETE FROM many;
-- highest first, after one that never was
COPY many (deal_id) FROM PROGRAM 'seq 100001 -1 1';
SELECT version, count(*) FROM many GROUP BY 1 ORDER BY 1;
SELECT count(*) AS problems FROM (SELECT deal_id, version - row_number() OVER (PARTITION BY deal_id ORDER BY version) AS gap FROM
	(SELECT deal_id, version FROM many_history UNION ALL SELECT deal_id, version FROM many) v) g WHERE gap <> 0;

--
-- Keys of several columns
--
SELECT pipelines.create_deals('branch_deals', key => '{branch_id,deal_id}');
INSERT INTO branch_deals (branch_id, deal_id, amount) VALUES (1, 1, 11), (1, 2, 12), (2, 1, 21);
UPDATE branch_deals SET stage_id = 2 WHERE deal_id = 1;
DELETE FROM branch_deals WHERE branch_id = 1;
INSERT INTO branch_deals (branch_id, deal_id, amount) VALUES (1, 2, 13), (1, 3, 13), (1, 1, 13), (2, 2, 22);
UPDATE branch_deals SET amount = amount + 1;
SELECT try('UPDATE branch_deals SET branch_id = 3 WHERE branch_id = 2');
SELECT try('UPDATE branch_deals SET stage_id = 9 WHERE branch_id = 2 AND deal_id = 1');
SELECT branch_id, deal_id, version, change, amount FROM branch_deals_history ORDER BY 1, 2, 3;
SELECT branch_id, deal_id, version, amount FROM branch_deals ORDER BY 1, 2;
SELECT life('(1,1)', relation => 'branch_deals');
SELECT try('INSERT INTO branch_deals (deal_id) VALUES (77)');
SELECT problems('branch_deals');

--
-- Identity: by default, and always
--
SELECT pipelines.create_deals('auto');
INSERT INTO auto (name) VALUES ('a'), ('b');
UPDATE auto SET stage_id = 2;
ALTER TABLE auto ALTER deal_id SET GENERATED ALWAYS;
INSERT INTO auto (name) VALUES ('c');
-- (the message has other words since PostgreSQL 14)
SELECT replace(try('INSERT INTO auto (deal_id, name) VALUES (1, ''d'')'), 'insert a non-DEFAULT value into', 'insert into') AS try;
DELETE FROM auto WHERE deal_id = 1;
INSERT INTO auto (deal_id, name) OVERRIDING SYSTEM VALUE VALUES (1, 'd');
UPDATE auto SET amount = 1;
SELECT try('UPDATE auto SET deal_id = 7 WHERE deal_id = 1');
SELECT try('UPDATE auto SET deal_id = DEFAULT WHERE deal_id = 1');
SELECT deal_id, version, name FROM auto ORDER BY 1;
SELECT deal_id, version, change FROM auto_history ORDER BY 1, 2;
SELECT problems('auto');

--
-- Keys of other types: uuid, text with a collation, several of them
--
SELECT pipelines.create_deals('odd');
DO $$DECLARE v record; BEGIN FOR v IN SELECT relname FROM pg_class WHERE relkind = 'v' AND relname ~ '^odd_' LOOP EXECUTE format('DROP VIEW IF EXISTS %I CASCADE', v.relname); END LOOP; END$$;
ALTER TABLE odd ALTER deal_id DROP IDENTITY;
-- the mapping guards the type of the key
SELECT try('ALTER TABLE odd ALTER deal_id TYPE uuid USING NULL');
DROP TRIGGER pipelines_columns ON odd;
DROP TRIGGER pipelines_columns ON odd_history;
ALTER TABLE odd ALTER deal_id TYPE uuid USING NULL;
ALTER TABLE odd_history ALTER deal_id TYPE uuid USING NULL;
SELECT count(*) > 0 AS resumed FROM pipelines.resume('odd');
INSERT INTO odd (deal_id, name) VALUES ('00000000-0000-0000-0000-000000000003', 'c'), ('00000000-0000-0000-0000-000000000001', 'a');
UPDATE odd SET stage_id = 2;
DELETE FROM odd;
INSERT INTO odd (deal_id, name) VALUES ('00000000-0000-0000-0000-000000000002', 'b'), ('00000000-0000-0000-0000-000000000001', 'a'), ('00000000-0000-0000-0000-000000000003', 'c'), ('00000000-0000-0000-0000-000000000004', 'd');
UPDATE odd SET amount = 1;
SELECT try('UPDATE odd SET deal_id = ''00000000-0000-0000-0000-000000000009'' WHERE name = ''a''');
SELECT try('UPDATE odd SET stage_id = 99 WHERE name = ''a''');
SELECT right(deal_id::text, 1) AS deal, version, change FROM odd_history ORDER BY deal_id, version;
SELECT name, version FROM odd ORDER BY 1;
SELECT problems('odd');
DELETE FROM odd;
DO $$DECLARE v record; BEGIN FOR v IN SELECT relname FROM pg_class WHERE relkind = 'v' AND relname ~ '^odd_' LOOP EXECUTE format('DROP VIEW IF EXISTS %I CASCADE', v.relname); END LOOP; END$$;
DROP TRIGGER pipelines_columns ON odd;
DROP TRIGGER pipelines_columns ON odd_history;
ALTER TABLE odd ALTER deal_id TYPE text;
ALTER TABLE odd_history ALTER deal_id TYPE text;
SELECT count(*) > 0 AS resumed FROM pipelines.resume('odd');
INSERT INTO odd (deal_id, name) VALUES ('zebra', 'z'), ('Ärger', 'a'), ('apple, pie', 'p'), ('00000000-0000-0000-0000-000000000001', 'old');
UPDATE odd SET stage_id = 2;
DELETE FROM odd;
INSERT INTO odd (deal_id, name) VALUES ('apple, pie', 'p'), ('zebra', 'z'), ('Zebra', 'Z'), ('Ärger', 'a');
UPDATE odd SET amount = 2;
SELECT name, version FROM odd ORDER BY name COLLATE "C";
SELECT try('UPDATE odd SET stage_id = 99 WHERE name = ''p''');
SELECT problems('odd');

--
-- TRUNCATE (CORE 7, test 3)
--
SELECT try('TRUNCATE auto');
SELECT try('TRUNCATE auto RESTART IDENTITY');
CREATE TABLE parent_of_auto (id bigint PRIMARY KEY);
ALTER TABLE auto ADD COLUMN p bigint REFERENCES parent_of_auto;
SELECT try('TRUNCATE parent_of_auto CASCADE');
SELECT count(*) FROM auto;
SELECT pipelines.create_deals('brief', on_truncate => 'record');
INSERT INTO brief (name, amount) VALUES ('a', 1), ('b', 2), ('c', 3);
UPDATE brief SET stage_id = 2 WHERE deal_id = 2;
SET pipelines.reason = 'season over';
TRUNCATE brief;
RESET pipelines.reason;
SELECT deal_id, version, change, amount, to_stage_id, reason FROM brief_history ORDER BY 1, 2;
INSERT INTO brief (deal_id, amount) VALUES (2, 5), (4, 5);
SELECT deal_id, version FROM brief ORDER BY 1;
-- with what it refers to
CREATE TABLE parent_of_brief (id bigint PRIMARY KEY);
ALTER TABLE brief ADD COLUMN p bigint REFERENCES parent_of_brief;
BEGIN;
TRUNCATE parent_of_brief CASCADE;
SELECT count(*) FROM brief;
SELECT deal_id, version, change, amount FROM brief_history WHERE version > 2 ORDER BY 1, 2;
ROLLBACK;
BEGIN;
TRUNCATE brief RESTART IDENTITY;
ROLLBACK;
SELECT count(*) FROM brief_history;
TRUNCATE brief RESTART IDENTITY;
-- the numbers begin anew, the lives go on
INSERT INTO brief (name) VALUES ('one') RETURNING deal_id, version;
INSERT INTO brief (deal_id) SELECT g FROM generate_series(1001, 3000) g;
TRUNCATE brief;
SELECT change, count(*) FROM brief_history GROUP BY 1 ORDER BY 1;
TRUNCATE brief;
SELECT change, count(*) FROM brief_history GROUP BY 1 ORDER BY 1;
SELECT problems('brief');
SELECT problems('auto');
\set ECHO none
\c :home
SET client_min_messages = warning;
DROP DATABASE regress_pipelines_keys;
