-- partitions.sql: partitioned deals and history: the same history as a plain table, and refusals where rows would be lost (CORE 1, 7, tests 1 and 3; ENGINEERING 2e)
-- In a database of its own, so that every id is the same in every run.
\set ECHO none
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_pipelines_partitions;
CREATE DATABASE regress_pipelines_partitions TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\set home :DBNAME
\c regress_pipelines_partitions
\i test/data/checks.sql
\set ECHO all
SELECT pipelines.create_pipeline('Sales', stages => '["New", "Quote", "Demo", {"name": "Won", "outcome": "won"}, {"name": "Lost", "outcome": "lost"}, {"name": "Late", "may_start": false}]');
SELECT pipelines.create_deals('plain');
SELECT pipelines.create_deals('hashed', partition_by => 'HASH (deal_id)');
CREATE TABLE hashed_0 PARTITION OF hashed FOR VALUES WITH (MODULUS 3, REMAINDER 0);
CREATE TABLE hashed_1 PARTITION OF hashed FOR VALUES WITH (MODULUS 3, REMAINDER 1);
-- one with other column numbers, and columns that were dropped
CREATE TABLE hashed_2 (dropped_1 text, LIKE hashed INCLUDING CONSTRAINTS, dropped_2 integer);
ALTER TABLE hashed_2 DROP COLUMN dropped_1, DROP COLUMN dropped_2, DROP COLUMN amount, DROP COLUMN stage_id;
ALTER TABLE hashed_2 ADD COLUMN stage_id integer NOT NULL, ADD COLUMN amount numeric;
ALTER TABLE hashed ATTACH PARTITION hashed_2 FOR VALUES WITH (MODULUS 3, REMAINDER 2);
SELECT pipelines.create_deals('listed', key => '{branch_id,deal_id}', partition_by => 'LIST (branch_id)');
CREATE TABLE listed_1 PARTITION OF listed FOR VALUES IN (1) PARTITION BY RANGE (deal_id);
CREATE TABLE listed_1a PARTITION OF listed_1 FOR VALUES FROM (1) TO (100);
CREATE TABLE listed_1b PARTITION OF listed_1 FOR VALUES FROM (100) TO (MAXVALUE);
CREATE TABLE listed_2 PARTITION OF listed FOR VALUES IN (2);
SELECT pipelines.create_deals('ranged', partition_by => 'RANGE (created_at)');
CREATE TABLE ranged_old PARTITION OF ranged FOR VALUES FROM (MINVALUE) TO ('2020-01-01');
CREATE TABLE ranged_new PARTITION OF ranged FOR VALUES FROM ('2020-01-01') TO (MAXVALUE);
SELECT r, count(*) > 0 AS resumed FROM unnest('{hashed,listed,ranged}'::regclass[]) r, pipelines.resume(r) GROUP BY r;
SELECT r, problems(r::text) FROM unnest('{plain,hashed,listed,ranged}'::regclass[]) r;

--
-- The same statements on each
--
CREATE FUNCTION everywhere(statement text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	r text;
	said text;
	first text;
BEGIN
	FOREACH r IN ARRAY '{plain,hashed,ranged,listed}'::text[] LOOP
		said := try(replace(replace(replace(statement, 'DEALS', r), 'KEY', CASE r WHEN 'listed' THEN 'branch_id, deal_id' ELSE 'deal_id' END), 'BRANCH', CASE r WHEN 'listed' THEN '1,' ELSE '' END));
		-- the leaf stands for the table, the last column for the key
		said := regexp_replace(regexp_replace(said, r || '_[a-z0-9]+', r, 'g'), '\(1,(\d+)\)', '\1', 'g');
		first := coalesce(first, said);
		IF replace(said, r, 'plain') <> first THEN
			RETURN NEXT r || ': ' || said;
		END IF;
	END LOOP;
	RETURN NEXT first;
END
$$;
SELECT s, everywhere(s) FROM unnest(ARRAY[
	'INSERT INTO DEALS (KEY, name, amount) SELECT BRANCH g, ''deal'', g FROM generate_series(1, 150) g',
	'INSERT INTO DEALS (KEY, name, stage_id) SELECT BRANCH g, ''won'', 4 FROM generate_series(151, 160) g',
	'UPDATE DEALS SET stage_id = 2 WHERE deal_id BETWEEN 1 AND 60',
	'UPDATE DEALS SET stage_id = 2 WHERE deal_id BETWEEN 50 AND 70',
	'UPDATE DEALS SET name = ''other''',
	'UPDATE DEALS SET amount = amount + 1 WHERE deal_id % 7 = 0',
	'UPDATE DEALS SET stage_id = 4 WHERE deal_id % 10 = 0',
	'UPDATE DEALS SET stage_id = 3 WHERE deal_id % 20 = 0',
	'UPDATE DEALS d SET amount = v.a FROM (VALUES (5, 1), (6, 1), (7, 1)) v(id, a) WHERE v.id = d.deal_id',
	'DELETE FROM DEALS WHERE deal_id BETWEEN 90 AND 110',
	'INSERT INTO DEALS (KEY, amount) SELECT BRANCH g, 0 FROM generate_series(95, 105) g',
	'WITH g AS (DELETE FROM DEALS WHERE deal_id BETWEEN 120 AND 125 RETURNING KEY) INSERT INTO DEALS (KEY) SELECT KEY FROM g',
	'WITH a AS (UPDATE DEALS SET stage_id = 5 WHERE deal_id = 1), b AS (DELETE FROM DEALS WHERE deal_id = 2) UPDATE DEALS SET amount = 0 WHERE deal_id = 3',
	'UPDATE DEALS SET stage_id = 99 WHERE deal_id = 4',
	'INSERT INTO DEALS (KEY, stage_id) VALUES (BRANCH 999, 6)',
	'INSERT INTO DEALS (KEY, stage_id) VALUES (BRANCH 999, 99)',
	'UPDATE DEALS SET deal_id = 1000 WHERE deal_id = 4',
	'UPDATE DEALS SET deal_id = 5000 + deal_id WHERE deal_id = 71'
]) s;
-- upserts, where the partition key is in the key
SELECT r, try(format('INSERT INTO %s (%s, amount) VALUES (%s5, 77), (%s1001, 77) ON CONFLICT DO NOTHING', r, k, b, b)),
	try(format('INSERT INTO %s (%s, amount, stage_id) VALUES (%s5, 77, 3), (%s1002, 77, 3) ON CONFLICT (%2$s) DO UPDATE SET amount = excluded.amount, stage_id = excluded.stage_id', r, k, b, b))
	FROM (VALUES ('plain', 'deal_id', ''), ('hashed', 'deal_id', ''), ('listed', 'branch_id, deal_id', '1,')) v(r, k, b);
UPDATE ranged SET amount = 77, stage_id = 3 WHERE deal_id = 5;
INSERT INTO ranged (deal_id, amount, stage_id) VALUES (1001, 77, NULL), (1002, 77, 3);
-- the histories are equal, but for times
CREATE FUNCTION history_of(r text) RETURNS TABLE (h jsonb) LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY EXECUTE format('SELECT to_jsonb(h) - ''{branch_id,valid_from,valid_to,stage_entered_at,closed_at,closed_on,recorded_at,txid}''::text[]
		|| jsonb_build_object(''closed'', closed_at IS NOT NULL, ''entered'', stage_entered_at = valid_from) FROM %I h', r || '_history');
END
$$;
SELECT count(*), count(*) FILTER (WHERE h ->> 'change' = 'move') AS moves, count(*) FILTER (WHERE h ->> 'change' = 'delete') AS deletions FROM history_of('plain');
SELECT r, (SELECT count(*) FROM history_of(r)) AS n, (SELECT count(*) FROM (SELECT * FROM history_of('plain') EXCEPT ALL SELECT * FROM history_of(r)) x) AS missing,
	(SELECT count(*) FROM (SELECT * FROM history_of(r) EXCEPT ALL SELECT * FROM history_of('plain')) x) AS extra FROM unnest('{hashed,listed,ranged}'::text[]) r;
SELECT r, problems(r) FROM unnest('{plain,hashed,listed,ranged}'::text[]) r;

--
-- Leaves, directly
--
SELECT tableoid::regclass AS leaf, min(deal_id) AS d FROM hashed WHERE version = 1 GROUP BY 1 ORDER BY 1;
SELECT min(deal_id) AS d2 FROM hashed_2 WHERE version = 1 \gset
SELECT min(deal_id) AS d0 FROM hashed_0 WHERE version = 1 \gset
UPDATE hashed_2 SET stage_id = 2, amount = 5 WHERE deal_id = :d2;
DELETE FROM hashed_2 WHERE deal_id = :d2;
INSERT INTO hashed_2 (deal_id, amount) VALUES (:d2, 6);
UPDATE hashed_0 SET stage_id = 4 WHERE deal_id = :d0;
COPY listed_2 (branch_id, deal_id) FROM stdin;
2	1
2	2
\.
UPDATE listed_2 SET stage_id = 2;
UPDATE listed_1b SET amount = -1 WHERE deal_id = 101;
UPDATE listed_1 SET amount = -2 WHERE deal_id = 101;
INSERT INTO ranged_old (deal_id, created_at) VALUES (2001, '2019-05-05');
DELETE FROM ranged_old;
SELECT life(:'d2', relation => 'hashed');
SELECT life(:'d0', relation => 'hashed');
SELECT life('(2,1)', relation => 'listed');
SELECT life('(1,101)', relation => 'listed');
SELECT life('2001', relation => 'ranged');
SELECT try('INSERT INTO listed_1b (branch_id, deal_id) VALUES (1, 5)') LIKE 'rows%' AS accepted;
SELECT try('UPDATE hashed_2 SET stage_id = 99');
SELECT r, problems(r) FROM unnest('{hashed,listed,ranged}'::text[]) r;

--
-- Nothing moves between partitions (CORE 1)
--
SELECT try('UPDATE listed SET branch_id = 2 WHERE branch_id = 1 AND deal_id = 3');
SELECT try('UPDATE listed_2 SET branch_id = 1');
SELECT try('UPDATE listed SET deal_id = 150 WHERE deal_id = 3');
SELECT try('UPDATE hashed SET deal_id = deal_id + 1 WHERE deal_id = 3');
SELECT try('UPDATE ranged SET created_at = ''2019-01-01'' WHERE deal_id = 3');
SELECT try('UPDATE ranged SET created_at = created_at + interval ''1 s'' WHERE deal_id = 3');	-- within its partition: the key must not change either
SELECT try('UPDATE ranged SET created_at = created_at WHERE deal_id = 3');
SELECT try('UPDATE plain SET created_at = ''2019-01-01'' WHERE deal_id = 3');		-- no partition key here
-- by a trigger, before or after ours
CREATE FUNCTION wander() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.created_at := ''2019-01-01''; RETURN NEW; END';
CREATE TRIGGER aaa BEFORE UPDATE ON ranged FOR EACH ROW EXECUTE FUNCTION wander();
SELECT try('UPDATE ranged SET amount = 3 WHERE deal_id = 3');
DROP TRIGGER aaa ON ranged;
CREATE TRIGGER "§zz" BEFORE UPDATE ON ranged FOR EACH ROW EXECUTE FUNCTION wander();
SELECT try('UPDATE ranged SET amount = 3 WHERE deal_id = 3') LIKE 'rows%' AS accepted;
DROP TRIGGER "§zz" ON ranged;
SELECT r, problems(r) FROM unnest('{hashed,listed,ranged}'::text[]) r;

--
-- A key in two partitions: an error that names both (CORE test 1)
--
SELECT pipelines.create_deals('doubled', partition_by => 'RANGE (created_at)');
CREATE TABLE doubled_old PARTITION OF doubled FOR VALUES FROM (MINVALUE) TO ('2020-01-01');
CREATE TABLE doubled_new PARTITION OF doubled FOR VALUES FROM ('2020-01-01') TO (MAXVALUE);
INSERT INTO doubled (deal_id, created_at) VALUES (3001, '2019-01-01');
-- told when it is inserted, or at the latest when it changes (23505, as any duplicate key)
CREATE TEMPORARY TABLE two AS SELECT try('INSERT INTO doubled (deal_id, created_at) VALUES (3001, ''2020-02-02'')') AS said;
INSERT INTO two SELECT try('UPDATE doubled SET amount = 1 WHERE deal_id = 3001');
SELECT count(*) AS errors FROM two WHERE said LIKE '23___:%' AND said LIKE '%doubled_old%' AND said LIKE '%doubled_new%';

--
-- ATTACH, DETACH, DROP
--
-- without bookkeeping there is nothing to attach: the columns are NOT NULL
ALTER TABLE ranged DETACH PARTITION ranged_new;
CREATE TABLE ranged_2020 (LIKE ranged INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
INSERT INTO ranged_2020 SELECT (jsonb_populate_record(NULL::ranged_2020, to_jsonb(r) || '{"deal_id": 4001, "version": 1, "created_at": "2020-03-03", "amount": 5}')).* FROM ranged_new r WHERE r.deal_id = 1;
ALTER TABLE ranged_2020 ALTER stage_entered_at DROP NOT NULL;
INSERT INTO ranged_2020 (deal_id, pipeline_id, stage_id, created_at, created_by, furthest_stage_id, episode, version, changed_at) VALUES (4002, 1, 1, '2020-03-03', 'x', 1, 1, 1, '2020-03-03');
SELECT try('ALTER TABLE ranged ATTACH PARTITION ranged_2020 FOR VALUES FROM (''2020-01-01'') TO (''2020-06-01'')');
DELETE FROM ranged_2020 WHERE deal_id = 4002;
ALTER TABLE ranged_2020 ALTER stage_entered_at SET NOT NULL;
SELECT try('ALTER TABLE ranged ATTACH PARTITION ranged_2020 FOR VALUES FROM (''2020-01-01'') TO (''2020-06-01'')');
UPDATE ranged SET stage_id = 2 WHERE deal_id = 4001;
UPDATE ranged_2020 SET stage_id = 3 WHERE deal_id = 4001;
SELECT version, change, stage_id, to_stage_id FROM ranged_history WHERE deal_id = 4001 ORDER BY 1;
-- the new partition lacks what only resume() can give it; verify says so until then
SELECT problem FROM pipelines.verify('ranged') WHERE deal IS NULL;
SELECT count(*) > 0 AS done FROM pipelines.resume('ranged');
SELECT problem FROM pipelines.verify('ranged') WHERE deal IS NULL;
-- what was detached is no deals table any more: its rows are unknown, its statements without history
SELECT count(*) > 0 AS missing FROM pipelines.verify('ranged') WHERE problem = 'deal missing';
SELECT count(*) AS history_before FROM ranged_history \gset
SELECT left(try('UPDATE ranged_new SET amount = 0 WHERE deal_id = 7'), 7) AS said;
SELECT count(*) - :history_before AS rows_written FROM ranged_history;
-- and back again
ALTER TABLE ranged ATTACH PARTITION ranged_new FOR VALUES FROM ('2020-06-01') TO (MAXVALUE);
SELECT count(*) > 0 AS done FROM pipelines.resume('ranged');
UPDATE ranged SET amount = 1 WHERE deal_id = 8;
SELECT problems('ranged');
-- another deals table as a partition: it has our triggers already
CREATE SCHEMA other;
SELECT pipelines.create_deals('other.apart');
INSERT INTO other.apart (deal_id, created_at) VALUES (5001, '1999-01-01');
ALTER TABLE other.apart ALTER deal_id DROP IDENTITY;
ALTER TABLE other.apart RENAME CONSTRAINT apart_probability_check TO ranged_probability_check;
ALTER TABLE ranged DETACH PARTITION ranged_old;
SELECT try('ALTER TABLE ranged ATTACH PARTITION other.apart FOR VALUES FROM (MINVALUE) TO (''2000-01-01'')') LIKE 'rows%' AS attached;
DROP TABLE ranged_old;
SELECT count(*) > 0 AS missing FROM pipelines.verify('ranged') WHERE problem = 'deal missing';

--
-- TRUNCATE of a partition (CORE 7, test 3)
--
SELECT try('TRUNCATE hashed');
SELECT try('TRUNCATE hashed_1');
SELECT try('TRUNCATE listed_1a');
SELECT try('TRUNCATE listed_1');
UPDATE pipelines.tracked_table SET on_truncate = 'record' WHERE relation = 'listed'::regclass;
TRUNCATE listed_2;
TRUNCATE listed_1;
SELECT branch_id, version > 0 AS v, change, count(*) > 0 AS some FROM listed_history WHERE change = 'delete' AND branch_id = 2 GROUP BY 1, 2, 3;
SELECT count(*) FROM listed;
SELECT problems('listed');

--
-- A partitioned history (reading 2: its key ends with valid_to)
--
SELECT pipelines.create_deals('dated');
INSERT INTO dated (deal_id, amount) SELECT g, 0 FROM generate_series(1, 5) g;
UPDATE dated SET stage_id = 2 WHERE deal_id = 1;
ALTER TABLE dated_history RENAME TO dated_history_1;
ALTER TABLE dated_history_1 DROP CONSTRAINT dated_history_pkey;
DROP TRIGGER pipelines_columns ON dated_history_1;
DROP TRIGGER pipelines_guard ON dated_history_1;
DROP TRIGGER pipelines_guard_truncate ON dated_history_1;
CREATE TABLE dated_history (LIKE dated_history_1, PRIMARY KEY (deal_id, version, valid_to)) PARTITION BY RANGE (valid_to);
ALTER TABLE dated_history ATTACH PARTITION dated_history_1 FOR VALUES FROM ('2000-01-01') TO (MAXVALUE);
CREATE TABLE dated_history_0 PARTITION OF dated_history FOR VALUES FROM (MINVALUE) TO ('2000-01-01');
UPDATE pipelines.tracked_table SET history = 'dated_history' WHERE relation = 'dated'::regclass;
SELECT count(*) > 0 AS done FROM pipelines.resume('dated');
UPDATE dated SET stage_id = 3 WHERE deal_id < 4;
DELETE FROM dated WHERE deal_id IN (3, 4);
INSERT INTO dated (deal_id) VALUES (3), (4), (6);
WITH d AS (DELETE FROM dated WHERE deal_id IN (3, 4, 6) RETURNING deal_id) INSERT INTO dated (deal_id) SELECT deal_id FROM d;
UPDATE dated SET amount = 2;
SET pipelines.event_time = '1999-06-01';
INSERT INTO dated (deal_id) VALUES (7);
UPDATE dated SET stage_id = 2 WHERE deal_id = 7;
RESET pipelines.event_time;
SELECT tableoid::regclass AS part, deal_id, version, change FROM dated_history ORDER BY 2, 3;
SELECT try(s) FROM unnest('{UPDATE dated_history SET reason = NULL,DELETE FROM dated_history_1,TRUNCATE dated_history,TRUNCATE dated_history_1,UPDATE dated_history_0 SET valid_to = now()}'::text[]) s;
SET session_replication_role = replica;
SELECT try(s) FROM unnest('{UPDATE dated_history SET reason = NULL,DELETE FROM dated_history_1,TRUNCATE dated_history,TRUNCATE dated_history_1}'::text[]) s;
RESET session_replication_role;
SELECT problems('dated');
\set ECHO none
\c :home
SET client_min_messages = warning;
DROP DATABASE regress_pipelines_partitions;
