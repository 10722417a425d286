-- statements.sql: every kind of statement on a deals table gives the same bookkeeping and history (I4, I6, I7, R-2.21; CORE 8 to 14, tests 5, 7, 14)
-- In a database of its own, so that every id is the same in every run.
\set ECHO none
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_pipelines_statements;
CREATE DATABASE regress_pipelines_statements TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\set home :DBNAME
\c regress_pipelines_statements
\i test/data/checks.sql
\set ECHO all
SELECT pipelines.create_pipeline('Sales', stages => '["New", "Quote", "Demo", {"name": "Won", "outcome": "won"}, {"name": "Lost", "outcome": "lost"}, {"name": "Late", "may_start": false}]');
SELECT pipelines.create_deals('deals');
SELECT pipelines.create_deals('leads');
CREATE VIEW told AS SELECT deal_id AS deal, version AS v, change, stage_id AS stage, to_stage_id AS became, amount FROM deals_history;
CREATE VIEW now_ AS SELECT deal_id AS deal, version AS v, stage_id AS stage, amount FROM deals;

--
-- INSERT of many rows, INSERT ... SELECT, COPY
--
INSERT INTO deals (deal_id, name, stage_id) VALUES (1, 'one', NULL), (2, 'two', 2), (3, 'three', 4);
INSERT INTO deals (deal_id, name) SELECT g, 'many' FROM generate_series(11, 210) g;
COPY deals (deal_id, name, stage_id, amount) FROM stdin;
2001	copied	\N	5
2002	copied	3	\N
2003	copied	5	7
\.
SELECT try('INSERT INTO deals (deal_id, stage_id) VALUES (2004, 1), (2005, 77)');
SELECT count(*), min(version), max(version), min(episode), max(episode), count(DISTINCT changed_at) AS instants, count(closed_at) AS closed FROM deals;
SELECT count(*) FROM deals_history;
SELECT problems();

--
-- UPDATE of many rows: one instant, one history row each; those already there get none (R-2.5)
--
UPDATE deals SET stage_id = 2 WHERE deal_id <= 110;
SELECT change, stage_id, to_stage_id, count(*), count(DISTINCT valid_to) AS instants, count(DISTINCT txid) AS transactions FROM deals_history GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
UPDATE deals SET name = 'x';
UPDATE deals SET stage_id = stage_id, amount = amount;
UPDATE deals SET stage_id = 2;
SELECT change, stage_id, to_stage_id, count(*) FROM deals_history GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
SELECT problems();

--
-- UPDATE FROM, also joining one row twice: the row changes once
--
UPDATE deals SET amount = v.amount FROM (VALUES (1, 10), (1, 20), (2, 30), (1, 40)) v(id, amount) WHERE v.id = deal_id;
SELECT deal_id, version, amount IN (10, 20, 40) OR deal_id = 2 AND amount = 30 AS amount FROM deals WHERE deal_id <= 2 ORDER BY 1;
SELECT deal, v, change FROM told WHERE deal <= 2 ORDER BY 1, 2;
SELECT problems();

--
-- Upserts (CORE 8, test 7)
--
DELETE FROM deals;
INSERT INTO deals (deal_id, name, stage_id, amount) VALUES (3001, 'new', 1, 1), (3002, 'quoted', 2, 1), (3003, 'won', 4, 1), (3004, 'late', 1, 1);
UPDATE deals SET stage_id = 6 WHERE deal_id = 3004;
SELECT closed_at AS closed_at_before FROM deals WHERE deal_id = 3003 \gset
INSERT INTO deals (deal_id, amount) VALUES (3001, 99), (3010, 99) ON CONFLICT DO NOTHING;
INSERT INTO deals (deal_id, amount) VALUES (3001, 2), (3002, 2), (3003, 2), (3004, 2), (3011, 2) ON CONFLICT (deal_id) DO UPDATE SET amount = excluded.amount;
INSERT INTO deals (deal_id, stage_id) VALUES (3001, 3), (3012, 3) ON CONFLICT (deal_id) DO UPDATE SET stage_id = excluded.stage_id;
-- into the stage where it is, that no new deal may start in; a new deal there is refused
SELECT try('INSERT INTO deals (deal_id, stage_id, amount) VALUES (3004, 6, 3) ON CONFLICT (deal_id) DO UPDATE SET stage_id = excluded.stage_id, amount = excluded.amount');
SELECT try('INSERT INTO deals (deal_id, stage_id, amount) VALUES (3004, 6, 4), (3013, 6, 4) ON CONFLICT (deal_id) DO UPDATE SET stage_id = excluded.stage_id, amount = excluded.amount');
-- all columns EXCLUDED, the won deal: it stays closed when it was
INSERT INTO deals (deal_id, name, stage_id, amount) VALUES (3003, 'won', 4, 5) ON CONFLICT (deal_id) DO UPDATE SET
	(name, pipeline_id, stage_id, amount, probability, closed_at, closed_on, close_reason, stage_entered_at, furthest_stage_id, gate_stage_id, episode, version, changed_at)
	= (excluded.name, excluded.pipeline_id, excluded.stage_id, excluded.amount, excluded.probability, excluded.closed_at, excluded.closed_on, excluded.close_reason,
	   excluded.stage_entered_at, excluded.furthest_stage_id, excluded.gate_stage_id, excluded.episode, excluded.version, excluded.changed_at);
SELECT closed_at = :'closed_at_before' AS same_closing FROM deals WHERE deal_id = 3003;
-- the same again: nothing changes
INSERT INTO deals (deal_id, name, stage_id, amount) VALUES (3003, 'won', 4, 5) ON CONFLICT (deal_id) DO UPDATE SET
	name = excluded.name, stage_id = excluded.stage_id, amount = excluded.amount, closed_at = excluded.closed_at, version = excluded.version, changed_at = excluded.changed_at;
-- EXCLUDED carries what was completed: the stage that was not given is the first
INSERT INTO deals (deal_id, amount) VALUES (3002, 6) ON CONFLICT (deal_id) DO UPDATE SET amount = excluded.amount, stage_id = excluded.stage_id;
-- with a condition that says no
INSERT INTO deals (deal_id, amount) VALUES (3002, 7) ON CONFLICT (deal_id) DO UPDATE SET amount = excluded.amount WHERE deals.amount > 100;
SELECT try('INSERT INTO deals (deal_id, amount) VALUES (3001, 1), (3001, 2) ON CONFLICT (deal_id) DO UPDATE SET amount = excluded.amount');
SELECT * FROM told WHERE deal > 3000 ORDER BY 1, 2;
SELECT * FROM now_ ORDER BY 1;
SELECT problems();

--
-- DELETE: one row each, and where it went nothing
--
DELETE FROM deals WHERE deal_id IN (3001, 3003);
DELETE FROM deals USING (VALUES (3002), (3002)) v(id) WHERE id = deal_id;
SELECT deal, v, change, stage, became FROM told WHERE change = 'delete' AND deal > 3000 ORDER BY 1;
SELECT change, count(*) FROM deals_history WHERE deal_id < 3000 AND change = 'delete' GROUP BY 1;
SELECT problems();

--
-- Data-modifying CTEs
--
INSERT INTO deals (deal_id, amount) SELECT g, 0 FROM generate_series(4001, 4020) g;
-- two on one table
WITH a AS (UPDATE deals SET stage_id = 2 WHERE deal_id BETWEEN 4001 AND 4005 RETURNING deal_id),
	b AS (UPDATE deals SET stage_id = 3 WHERE deal_id BETWEEN 4006 AND 4008 RETURNING deal_id)
SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b);
-- insert, update and delete
WITH a AS (INSERT INTO deals (deal_id, amount) VALUES (4101, 1), (4102, 1)),
	b AS (DELETE FROM deals WHERE deal_id IN (4009, 4010))
UPDATE deals SET amount = 5 WHERE deal_id BETWEEN 4001 AND 4003;
-- a CTE that nobody reads
WITH a AS (UPDATE deals SET amount = 6 WHERE deal_id = 4004) SELECT 1 AS one;
-- delete and insert of the same keys: lives go on (CORE 2)
WITH gone AS (DELETE FROM deals WHERE deal_id BETWEEN 4011 AND 4015 RETURNING deal_id)
INSERT INTO deals (deal_id, amount) SELECT deal_id, 7 FROM gone;
UPDATE deals SET amount = 8 WHERE deal_id BETWEEN 4011 AND 4015;
WITH gone AS (DELETE FROM deals WHERE deal_id BETWEEN 4011 AND 4015 RETURNING deal_id)
INSERT INTO deals (deal_id, amount) SELECT deal_id, 9 FROM gone ORDER BY deal_id DESC;
-- two deals tables in one statement
WITH a AS (INSERT INTO leads (deal_id, amount) VALUES (1, 1), (2, 2) RETURNING deal_id) INSERT INTO deals (deal_id) SELECT 4200 + deal_id FROM a;
WITH a AS (UPDATE leads SET stage_id = 2 RETURNING deal_id), b AS (DELETE FROM deals WHERE deal_id = 4202)
UPDATE deals SET stage_id = 2 WHERE deal_id = 4201;
WITH a AS (DELETE FROM leads WHERE deal_id = 2 RETURNING amount) UPDATE deals SET amount = a.amount FROM a WHERE deals.deal_id = 4201;
SELECT * FROM told WHERE deal > 4000 ORDER BY 1, 2;
SELECT * FROM now_ WHERE deal > 4000 ORDER BY 1;
SELECT deal_id, version, change, stage_id, to_stage_id FROM leads_history ORDER BY 1, 2;
SELECT problems();
SELECT problems('leads');

--
-- Savepoints, rolled back and released
--
BEGIN;
INSERT INTO deals (deal_id, amount) VALUES (5001, 0), (5002, 0), (5003, 0);
SAVEPOINT a;
UPDATE deals SET stage_id = 2 WHERE deal_id IN (5001, 5002);
SAVEPOINT b;
UPDATE deals SET stage_id = 3 WHERE deal_id = 5001;
DELETE FROM deals WHERE deal_id = 5002;
INSERT INTO deals (deal_id, amount) VALUES (5002, 5), (5004, 5);
ROLLBACK TO b;
UPDATE deals SET amount = 1 WHERE deal_id = 5001;
RELEASE a;
SAVEPOINT c;
UPDATE deals SET stage_id = 99 WHERE deal_id = 5003;
ROLLBACK TO c;
UPDATE deals SET stage_id = 4 WHERE deal_id = 5003;
COMMIT;
BEGIN;
SAVEPOINT a;
UPDATE deals SET stage_id = 5 WHERE deal_id = 5001;
ROLLBACK TO a;
SAVEPOINT b;
UPDATE deals SET stage_id = 3 WHERE deal_id = 5002;
RELEASE b;
COMMIT;
BEGIN;
UPDATE deals SET stage_id = 5 WHERE deal_id = 5001;
DELETE FROM deals WHERE deal_id = 5003;
ROLLBACK;
SELECT * FROM told WHERE deal > 5000 ORDER BY 1, 2;
SELECT * FROM now_ WHERE deal > 5000 ORDER BY 1;
SELECT problems();

--
-- Blocks with exceptions in PL/pgSQL
--
DO $$
BEGIN
	INSERT INTO deals (deal_id, amount) VALUES (5101, 0), (5102, 0);
	BEGIN
		UPDATE deals SET stage_id = 2 WHERE deal_id = 5101;
		BEGIN
			UPDATE deals SET stage_id = 3 WHERE deal_id IN (5101, 5102);
			RAISE EXCEPTION 'undo';
		EXCEPTION WHEN raise_exception THEN
			UPDATE deals SET stage_id = 4 WHERE deal_id = 5102;
		END;
		UPDATE deals SET stage_id = 99 WHERE deal_id = 5101;
	EXCEPTION WHEN SQLSTATE '23S01' THEN
		UPDATE deals SET amount = 1 WHERE deal_id = 5102;
	END;
	FOR i IN 1 .. 3 LOOP
		BEGIN
			DELETE FROM deals WHERE deal_id = 5101;
			INSERT INTO deals (deal_id, amount) VALUES (5101, i);
			IF i = 2 THEN
				RAISE EXCEPTION 'undo';
			END IF;
		EXCEPTION WHEN raise_exception THEN NULL;
		END;
	END LOOP;
END
$$;
SELECT * FROM told WHERE deal > 5100 ORDER BY 1, 2;
SELECT * FROM now_ WHERE deal > 5100 ORDER BY 1;
SELECT problems();

--
-- Foreign keys into the table
--
CREATE TABLE client (id bigint PRIMARY KEY);
INSERT INTO client SELECT generate_series(1, 4);
ALTER TABLE deals ADD COLUMN client_id bigint REFERENCES client ON DELETE CASCADE ON UPDATE CASCADE;
ALTER TABLE deals ADD CONSTRAINT parent FOREIGN KEY (parent_deal_id) REFERENCES client ON DELETE SET NULL ON UPDATE CASCADE;
SELECT pipelines.track('deals', 'client_id');
INSERT INTO deals (deal_id, client_id, parent_deal_id) SELECT 6000 + g, (ARRAY[1, 1, 2, 2, NULL])[g], (ARRAY[3, NULL, 3, NULL, 3])[g] FROM generate_series(1, 5) g;
DELETE FROM client WHERE id IN (1, 3);
UPDATE client SET id = 22 WHERE id = 2;
SELECT deal_id, version, change, client_id, parent_deal_id FROM deals_history WHERE deal_id > 6000 ORDER BY 1, 2;
SELECT deal_id, version, client_id, parent_deal_id FROM deals WHERE deal_id > 6000 ORDER BY 1;
-- onto the key: refused (CORE 1)
ALTER TABLE leads ADD FOREIGN KEY (deal_id) REFERENCES client ON UPDATE CASCADE ON DELETE CASCADE NOT VALID;
INSERT INTO client VALUES (50);
INSERT INTO leads (deal_id) VALUES (50);
SELECT try('UPDATE client SET id = 51 WHERE id = 50');
SELECT try('DELETE FROM client WHERE id = 50');
SELECT deal_id, version, change FROM leads_history WHERE deal_id = 50;
-- a table that refers to deals, and a deal that refers to a deal
CREATE TABLE note (deal_id bigint REFERENCES deals ON DELETE CASCADE, txt text);
ALTER TABLE deals ADD COLUMN follows bigint REFERENCES deals ON DELETE CASCADE;
INSERT INTO deals (deal_id, follows) VALUES (6101, NULL), (6102, 6101), (6103, 6102), (6104, 6103);
INSERT INTO note VALUES (6101, 'a'), (6104, 'b');
DELETE FROM deals WHERE deal_id = 6101;
SELECT count(*) FROM note;
SELECT * FROM told WHERE deal > 6100 ORDER BY 1, 2;
SELECT problems();
SELECT problems('leads');

--
-- Functions that change the same table while a statement runs
--
INSERT INTO deals (deal_id, amount) SELECT g, 0 FROM generate_series(7001, 7040) g;
CREATE FUNCTION beside(id bigint) RETURNS numeric LANGUAGE plpgsql AS $$
BEGIN
	UPDATE deals SET amount = amount + 1 WHERE deal_id = id;
	RETURN 7;
END
$$;
UPDATE deals SET quantity = beside(deal_id + 5) WHERE deal_id BETWEEN 7001 AND 7003;		-- another row
UPDATE deals SET quantity = beside(7020) WHERE deal_id BETWEEN 7004 AND 7005;			-- the same other row, twice
SELECT count(*) FROM deals WHERE deal_id = 7020 AND beside(7021) > 0;
INSERT INTO deals (deal_id, amount) SELECT 7041, beside(7022);
WITH u AS (UPDATE deals SET quantity = 1 WHERE deal_id = 7011 RETURNING beside(7012) AS b) SELECT b FROM u;
DELETE FROM deals WHERE deal_id = 7013 AND beside(7014) > 0;
SELECT * FROM told WHERE deal BETWEEN 7000 AND 7099 ORDER BY 1, 2;
SELECT problems();
-- what an inner statement undid is undone, and nothing else is
CREATE FUNCTION fails(kind text) RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
	CASE kind
		WHEN 'insert' THEN INSERT INTO deals (deal_id) VALUES (7999);
		WHEN 'unknown' THEN INSERT INTO deals (deal_id, stage_id) VALUES (7999, 99);
		WHEN 'late' THEN INSERT INTO deals (deal_id, stage_id) VALUES (7999, 6);
		WHEN 'update' THEN UPDATE deals SET amount = amount + 1 WHERE deal_id = 7040;
		WHEN 'delete' THEN DELETE FROM deals WHERE deal_id = 7040;
		WHEN 'again' THEN
			DELETE FROM deals WHERE deal_id = 7040;
			INSERT INTO deals (deal_id) VALUES (7040);
			UPDATE deals SET stage_id = 2 WHERE deal_id = 7040;
	END CASE;
	RAISE EXCEPTION 'undo';
EXCEPTION WHEN OTHERS THEN
	RETURN 1;
END
$$;
SELECT k, try(format('UPDATE deals SET quantity = fails(%L) WHERE deal_id BETWEEN %s AND %s', k, 7014 + 2 * n, 7015 + 2 * n))
	FROM unnest('{insert,unknown,late,update,delete,again}'::text[]) WITH ORDINALITY u(k, n);
SELECT * FROM told WHERE deal BETWEEN 7016 AND 7027 AND change <> 'delete' ORDER BY 1, 2;
SELECT k, try(format('DELETE FROM deals WHERE deal_id BETWEEN %s AND %s AND fails(%L) = 1', 7014 + 2 * n, 7015 + 2 * n, k))
	FROM unnest('{insert,unknown,late,update,delete,again}'::text[]) WITH ORDINALITY u(k, n);
SELECT * FROM told WHERE deal BETWEEN 7016 AND 7027 AND change = 'delete' ORDER BY 1, 2;
SELECT problems();

--
-- Triggers that change the same table
--
INSERT INTO deals (deal_id, amount) SELECT g, 0 FROM generate_series(8001, 8020) g;
CREATE FUNCTION sibling() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF pg_trigger_depth() = 1 THEN
		UPDATE deals SET amount = amount + 1 WHERE deal_id = OLD.deal_id + 1;
	END IF;
	RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END
$$;
CREATE TRIGGER a_sibling BEFORE UPDATE OR DELETE ON deals FOR EACH ROW EXECUTE FUNCTION sibling();
UPDATE deals SET stage_id = 2 WHERE deal_id IN (8001, 8003);
DELETE FROM deals WHERE deal_id = 8005;
DROP TRIGGER a_sibling ON deals;
CREATE TRIGGER a_sibling AFTER UPDATE OR DELETE ON deals FOR EACH ROW EXECUTE FUNCTION sibling();
UPDATE deals SET stage_id = 2 WHERE deal_id IN (8007, 8009, 8010);
DELETE FROM deals WHERE deal_id = 8011;
DROP TRIGGER a_sibling ON deals;
SELECT * FROM told WHERE deal BETWEEN 8001 AND 8020 ORDER BY 1, 2;
SELECT problems();
-- ... and fail, and go on
CREATE TABLE mishap (kind text);
CREATE FUNCTION mishaps() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
	k text;
BEGIN
	IF pg_trigger_depth() = 1 THEN
		FOR k IN SELECT kind FROM mishap LOOP
			PERFORM fails(k);
		END LOOP;
	END IF;
	RETURN NULL;
END
$$;
INSERT INTO mishap VALUES ('insert'), ('unknown'), ('late'), ('update'), ('delete'), ('again');
CREATE TRIGGER a_mishaps AFTER INSERT OR UPDATE OR DELETE ON deals FOR EACH ROW EXECUTE FUNCTION mishaps();
CREATE TRIGGER z_mishaps AFTER INSERT OR UPDATE OR DELETE ON deals FOR EACH ROW EXECUTE FUNCTION mishaps();
INSERT INTO deals (deal_id, amount) SELECT g, 0 FROM generate_series(8021, 8030) g;
UPDATE deals SET stage_id = 3 WHERE deal_id BETWEEN 8021 AND 8024;
DELETE FROM deals WHERE deal_id BETWEEN 8023 AND 8026;
INSERT INTO deals (deal_id, amount) VALUES (8021, 1), (8023, 1) ON CONFLICT (deal_id) DO UPDATE SET amount = 1;
SELECT * FROM told WHERE deal BETWEEN 8021 AND 8030 ORDER BY 1, 2;
-- with a cascade between
UPDATE deals SET client_id = 4 WHERE deal_id BETWEEN 8027 AND 8030;
DELETE FROM client WHERE id = 4;
UPDATE deals SET parent_deal_id = 22 WHERE deal_id BETWEEN 8021 AND 8024;
DELETE FROM client WHERE id = 22;
SELECT * FROM told WHERE deal BETWEEN 8021 AND 8030 AND v > 2 OR deal BETWEEN 8027 AND 8030 ORDER BY 1, 2;
DROP TRIGGER a_mishaps ON deals;
DROP TRIGGER z_mishaps ON deals;
SELECT problems();

--
-- Cursors, RETURNING, EXPLAIN ANALYZE, prepared statements, LOOP over an UPDATE
--
INSERT INTO deals (deal_id, amount) SELECT g, 0 FROM generate_series(9001, 9010) g;
BEGIN;
DECLARE c CURSOR FOR SELECT * FROM deals WHERE deal_id > 9000 ORDER BY deal_id FOR UPDATE;
MOVE 2 FROM c;
UPDATE deals SET stage_id = 2 WHERE CURRENT OF c;
UPDATE deals SET stage_id = 3 WHERE CURRENT OF c;
MOVE 1 FROM c;
DELETE FROM deals WHERE CURRENT OF c;
COMMIT;
UPDATE deals SET stage_id = 4 WHERE deal_id IN (9004, 9005) RETURNING deal_id, version, episode, stage_id, closed_at = changed_at AS closed, stage_entered_at = changed_at AS entered;
INSERT INTO deals (deal_id) VALUES (9011) RETURNING pipeline_id, stage_id, version, episode, created_by = session_user AS me;
DELETE FROM deals WHERE deal_id = 9011 RETURNING deal_id, version;
\o /dev/null
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) UPDATE deals SET amount = 3 WHERE deal_id IN (9006, 9007);
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) DELETE FROM deals WHERE deal_id = 9007;
EXPLAIN UPDATE deals SET amount = 4 WHERE deal_id = 9006;
\o
PREPARE m(bigint, integer) AS UPDATE deals SET stage_id = $2 WHERE deal_id = $1;
EXECUTE m(9008, 2);
EXECUTE m(9008, 3);
EXECUTE m(9008, 3);
DEALLOCATE m;
DO $$
DECLARE
	r record;
BEGIN
	FOR r IN UPDATE deals SET amount = 5 WHERE deal_id IN (9009, 9010) RETURNING deal_id LOOP
		UPDATE deals SET stage_id = 2 WHERE deal_id = r.deal_id;
	END LOOP;
END
$$;
SELECT * FROM told WHERE deal BETWEEN 9001 AND 9099 ORDER BY 1, 2;
SELECT * FROM now_ WHERE deal BETWEEN 9001 AND 9099 ORDER BY 1;
SELECT problems();

--
-- More rows than fit one batch of the writer, wide ones too; the end of a statement empties it
--
INSERT INTO deals (deal_id, amount) SELECT g, 0 FROM generate_series(10001, 11300) g;
UPDATE deals SET close_notes = repeat('wide ', 2000) WHERE deal_id BETWEEN 10001 AND 10200;
UPDATE deals SET stage_id = 2 + deal_id % 2 WHERE deal_id > 10000;
UPDATE deals SET close_notes = NULL WHERE deal_id BETWEEN 10001 AND 10200;
SELECT change, count(*), sum(length(close_notes)) FROM deals_history WHERE deal_id > 10000 GROUP BY 1 ORDER BY 1;
DELETE FROM deals WHERE deal_id > 10000;
SELECT change, count(*), sum(length(close_notes)) FROM deals_history WHERE deal_id > 10000 GROUP BY 1 ORDER BY 1;
INSERT INTO deals (deal_id) SELECT g FROM generate_series(10001, 11300) g;
SELECT min(version), max(version), count(*) FROM deals WHERE deal_id > 10000;
SELECT problems();

--
-- Between our BEFORE trigger and the end of the statement: a CHECK that runs statements which are undone
--
INSERT INTO deals (deal_id, amount) SELECT g, 0 FROM generate_series(14001, 14020) g;
CREATE FUNCTION checked(id bigint, stage integer, kind text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	IF id BETWEEN 14001 AND 14010 AND stage = 2 THEN
		PERFORM fails(kind);
	END IF;
	RETURN true;
END
$$;
ALTER TABLE deals ADD CONSTRAINT checked CHECK (checked(deal_id, stage_id, source));
SELECT try(format('UPDATE deals SET stage_id = 2, source = %L WHERE deal_id IN (%s, %s)', k, 14000 + n, 14005 + n))
	FROM unnest('{insert,unknown,late,update,again}'::text[]) WITH ORDINALITY u(k, n);
ALTER TABLE deals DROP CONSTRAINT checked;
SELECT * FROM told WHERE deal BETWEEN 14001 AND 14020 ORDER BY 1, 2;
-- statements in statements, of which a middle one is undone
CREATE FUNCTION chain() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.deal_id BETWEEN 14011 AND 14016 THEN
		UPDATE deals SET amount = NEW.amount + 1 WHERE deal_id = NEW.deal_id + 1;
	END IF;
	IF NEW.deal_id = 14014 THEN
		RAISE EXCEPTION 'undo';
	END IF;
	RETURN NULL;
EXCEPTION WHEN raise_exception THEN
	RETURN NULL;
END
$$;
CREATE TRIGGER a_chain AFTER UPDATE ON deals FOR EACH ROW EXECUTE FUNCTION chain();
UPDATE deals SET amount = 10 WHERE deal_id = 14011;
UPDATE deals SET amount = 20 WHERE deal_id BETWEEN 14012 AND 14013;
DROP TRIGGER a_chain ON deals;
SELECT * FROM told WHERE deal BETWEEN 14011 AND 14020 ORDER BY 1, 2;
SELECT * FROM now_ WHERE deal BETWEEN 14011 AND 14020 ORDER BY 1;
SELECT problems();
\set ECHO none
\c :home
SET client_min_messages = warning;
DROP DATABASE regress_pipelines_statements;
