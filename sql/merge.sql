-- merge.sql: MERGE on a deals table (PostgreSQL 15 and later; issue 2, R-2.21, CORE 2, 8)
-- In a database of its own, so that every id is the same in every run.
\set ECHO none
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_pipelines_merge;
CREATE DATABASE regress_pipelines_merge TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\set home :DBNAME
\c regress_pipelines_merge
\i test/data/checks.sql
\set ECHO all
SELECT pipelines.create_pipeline('Sales', stages => '["New", "Quote", "Demo", {"name": "Won", "outcome": "won"}, {"name": "Lost", "outcome": "lost"}, {"name": "Late", "may_start": false}]');
SELECT pipelines.create_deals('deals');
CREATE VIEW told AS SELECT deal_id AS deal, version AS v, change, stage_id AS stage, to_stage_id AS became, amount FROM deals_history;
CREATE VIEW now_ AS SELECT deal_id AS deal, version AS v, stage_id AS stage, amount, closed_at IS NOT NULL AS closed FROM deals;
CREATE TABLE feed (deal_id bigint, stage_id integer, amount numeric, gone boolean);
INSERT INTO deals (deal_id, amount) SELECT g, 0 FROM generate_series(1, 12) g;

-- update, delete, insert and nothing in one statement
INSERT INTO feed VALUES (1, 2, 10, false), (2, 4, 20, false), (3, NULL, NULL, true), (4, 1, 0, false), (5, 3, 50, NULL), (21, 2, 60, false), (22, NULL, 70, false), (23, 1, 1, true);
MERGE INTO deals d USING feed f ON d.deal_id = f.deal_id
	WHEN MATCHED AND f.gone THEN DELETE
	WHEN MATCHED AND f.gone IS NULL THEN DO NOTHING
	WHEN MATCHED THEN UPDATE SET stage_id = f.stage_id, amount = f.amount
	WHEN NOT MATCHED AND f.gone THEN DO NOTHING
	WHEN NOT MATCHED THEN INSERT (deal_id, stage_id, amount) VALUES (f.deal_id, f.stage_id, f.amount);
SELECT * FROM told ORDER BY 1, 2;
SELECT * FROM now_ ORDER BY 1;
SELECT problems();

-- the same again: what is there already gets no version (I6)
MERGE INTO deals d USING (SELECT * FROM feed WHERE NOT gone) f ON d.deal_id = f.deal_id
	WHEN MATCHED THEN UPDATE SET stage_id = coalesce(f.stage_id, d.stage_id), amount = f.amount
	WHEN NOT MATCHED THEN INSERT (deal_id, amount) VALUES (f.deal_id, f.amount);
SELECT count(*) FROM told;

-- a key comes back by MERGE (CORE 2, test 2)
MERGE INTO deals d USING (VALUES (3), (1)) f(id) ON d.deal_id = f.id
	WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (deal_id, amount) VALUES (f.id, 3);
MERGE INTO deals d USING (VALUES (3), (1)) f(id) ON d.deal_id = f.id
	WHEN MATCHED THEN UPDATE SET amount = 4 WHEN NOT MATCHED THEN INSERT (deal_id, amount) VALUES (f.id, 5);
MERGE INTO deals d USING (VALUES (3), (1)) f(id) ON d.deal_id = f.id WHEN MATCHED THEN DELETE;
MERGE INTO deals d USING (VALUES (3), (1)) f(id) ON d.deal_id = f.id WHEN NOT MATCHED THEN INSERT (deal_id, amount) VALUES (f.id, 6);
SELECT * FROM told WHERE deal IN (1, 3) ORDER BY 1, 2;
SELECT * FROM now_ WHERE deal IN (1, 3) ORDER BY 1;
SELECT problems();

-- refused: one row twice, an unknown stage, a start where none may start, the key
SELECT try('MERGE INTO deals d USING (VALUES (4), (4)) f(id) ON d.deal_id = f.id WHEN MATCHED THEN UPDATE SET amount = amount + 1');
SELECT try('MERGE INTO deals d USING (VALUES (4), (5)) f(id) ON d.deal_id = f.id WHEN MATCHED THEN UPDATE SET stage_id = 99');
SELECT try('MERGE INTO deals d USING (VALUES (4), (41)) f(id) ON d.deal_id = f.id WHEN MATCHED THEN UPDATE SET stage_id = 6 WHEN NOT MATCHED THEN INSERT (deal_id, stage_id) VALUES (f.id, 6)');
SELECT try('MERGE INTO deals d USING (VALUES (4)) f(id) ON d.deal_id = f.id WHEN MATCHED THEN UPDATE SET deal_id = 44');
SELECT count(*) FROM told WHERE deal IN (4, 5, 41, 44);
-- a deal in a stage that none may start in is only matched
SELECT try('MERGE INTO deals d USING (VALUES (4)) f(id) ON d.deal_id = f.id WHEN MATCHED THEN UPDATE SET stage_id = 6 WHEN NOT MATCHED THEN INSERT (deal_id, stage_id) VALUES (f.id, 6)');
-- bookkeeping that is sent is ignored (CORE 3)
MERGE INTO deals d USING (VALUES (6)) f(id) ON d.deal_id = f.id WHEN MATCHED THEN UPDATE SET version = 77, episode = 9, changed_at = '2000-01-01', stage_entered_at = '2000-01-01', furthest_stage_id = 3, closed_at = '2000-01-01';
SELECT version, episode, changed_at > '2001-01-01' AS changed_at, furthest_stage_id, closed_at FROM deals WHERE deal_id = 6;
-- closing and reopening; overrides
MERGE INTO deals d USING (VALUES (7, 4), (8, 5), (9, 2)) f(id, stage) ON d.deal_id = f.id WHEN MATCHED THEN UPDATE SET stage_id = f.stage, close_reason = 'merged';
MERGE INTO deals d USING (VALUES (7, 1), (8, 4), (9, 2)) f(id, stage) ON d.deal_id = f.id WHEN MATCHED THEN UPDATE SET stage_id = f.stage;
SELECT g, life(g::text) FROM generate_series(6, 9) g;
-- in a savepoint that is rolled back, in a block that fails, in a function
BEGIN;
SAVEPOINT a;
MERGE INTO deals d USING (VALUES (10), (51)) f(id) ON d.deal_id = f.id WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (deal_id) VALUES (f.id);
ROLLBACK TO a;
MERGE INTO deals d USING (VALUES (10), (51)) f(id) ON d.deal_id = f.id WHEN MATCHED THEN UPDATE SET stage_id = 2 WHEN NOT MATCHED THEN INSERT (deal_id) VALUES (f.id);
COMMIT;
DO $$
BEGIN
	BEGIN
		MERGE INTO deals d USING (VALUES (11), (52)) f(id) ON d.deal_id = f.id WHEN MATCHED THEN UPDATE SET stage_id = 3 WHEN NOT MATCHED THEN INSERT (deal_id, stage_id) VALUES (f.id, 99);
	EXCEPTION WHEN OTHERS THEN
		MERGE INTO deals d USING (VALUES (11), (52)) f(id) ON d.deal_id = f.id WHEN MATCHED THEN UPDATE SET stage_id = 2 WHEN NOT MATCHED THEN INSERT (deal_id) VALUES (f.id);
	END;
END
$$;
SELECT * FROM told WHERE deal IN (10, 11, 51, 52) ORDER BY 1, 2;
SELECT * FROM now_ WHERE deal IN (10, 11, 51, 52) ORDER BY 1;
SELECT problems();
-- one of many rows, from itself
MERGE INTO deals d USING deals s ON d.deal_id = s.deal_id WHEN MATCHED AND d.stage_id = 1 THEN UPDATE SET stage_id = 2, amount = s.amount + 1 WHEN MATCHED THEN DO NOTHING;
SELECT change, stage, became, count(*) FROM told GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
SELECT problems();

--
-- On partitions: the same; and nothing moves between them (CORE 1, test 1)
--
SELECT pipelines.create_deals('parted', key => '{branch_id,deal_id}', partition_by => 'LIST (branch_id)');
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES IN (2);
SELECT pipelines.create_deals('whole', key => '{branch_id,deal_id}');
SELECT count(*) > 0 AS resumed FROM pipelines.resume('parted');
CREATE TABLE steps (step integer, branch_id bigint, deal_id bigint, stage_id integer, amount numeric);
INSERT INTO steps VALUES (1, 1, 1, 1, 1), (1, 1, 2, 2, 2), (1, 2, 1, 1, 3), (1, 2, 2, 4, 4), (2, 1, 1, 2, 1), (2, 2, 1, NULL, 0), (2, 2, 3, 1, 5),
	(3, 2, 1, 3, 6), (3, 2, 2, 1, 4), (3, 1, 2, NULL, 0), (4, 1, 2, 5, 7), (4, 2, 1, NULL, 0), (5, 2, 1, 1, 8), (5, 1, 2, 3, 9);
SELECT t, s, try(format('MERGE INTO %I d USING (SELECT * FROM steps WHERE step = %s) f ON d.branch_id = f.branch_id AND d.deal_id = f.deal_id
	WHEN MATCHED AND f.stage_id IS NULL THEN DELETE WHEN MATCHED THEN UPDATE SET stage_id = f.stage_id, amount = f.amount
	WHEN NOT MATCHED THEN INSERT (branch_id, deal_id, stage_id, amount) VALUES (f.branch_id, f.deal_id, f.stage_id, f.amount)', t, s))
	FROM (SELECT * FROM generate_series(1, 5) s, unnest('{whole,parted}'::text[]) t ORDER BY t DESC, s OFFSET 0) x;
SELECT branch_id, deal_id, version, change, stage_id, to_stage_id, amount FROM parted_history ORDER BY 1, 2, 3;
SELECT count(*) AS different FROM (SELECT branch_id, deal_id, version, change, stage_id, to_stage_id, skipped_stages, amount, episode FROM whole_history EXCEPT ALL
	SELECT branch_id, deal_id, version, change, stage_id, to_stage_id, skipped_stages, amount, episode FROM parted_history) x;
SELECT try('MERGE INTO parted d USING (VALUES (1)) f(id) ON d.branch_id = f.id WHEN MATCHED THEN UPDATE SET branch_id = 2');
SELECT try('MERGE INTO parted d USING (VALUES (1)) f(id) ON d.branch_id = f.id WHEN MATCHED THEN UPDATE SET branch_id = 2, stage_id = 2');
-- a leaf
MERGE INTO parted_2 d USING (VALUES (1), (9)) f(id) ON d.deal_id = f.id WHEN MATCHED THEN UPDATE SET stage_id = 4 WHEN NOT MATCHED THEN INSERT (branch_id, deal_id) VALUES (2, f.id);
SELECT life('(2,1)', relation => 'parted');
SELECT problems('parted');
SELECT problems('whole');
\set ECHO none
\c :home
SET client_min_messages = warning;
DROP DATABASE regress_pipelines_merge;
