-- user_triggers.sql: triggers of the user's own beside ours (CORE 9, 10, tests 5 and 9): right history or a named error, never silence
-- In a database of its own, so that every id is the same in every run.
\set ECHO none
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_pipelines_user_triggers;
CREATE DATABASE regress_pipelines_user_triggers TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\set home :DBNAME
\c regress_pipelines_user_triggers
\i test/data/checks.sql
\set ECHO all
SELECT pipelines.create_pipeline('Sales', stages => '["New", "Quote", "Demo", {"name": "Won", "outcome": "won"}, {"name": "Lost", "outcome": "lost"}]');
SELECT pipelines.create_pipeline('Other', stages => '["New", "Quote", {"name": "Won", "outcome": "won"}]');
SELECT pipelines.create_deals('deals');
CREATE VIEW told AS SELECT deal_id AS deal, version AS v, change, stage_id AS stage, to_stage_id AS became, amount FROM deals_history;
CREATE VIEW now_ AS SELECT deal_id AS deal, version AS v, stage_id AS stage, amount FROM deals;
-- a trigger that runs one assignment
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	CASE TG_ARGV[0]
		WHEN 'stage' THEN NEW.stage_id := 3;
		WHEN 'pipeline' THEN NEW.pipeline_id := 2;
		WHEN 'amount' THEN NEW.amount := 77;
		WHEN 'version' THEN NEW.version := 7;
		WHEN 'episode' THEN NEW.episode := 7;
		WHEN 'changed_at' THEN NEW.changed_at := '2001-01-01';
		WHEN 'entered' THEN NEW.stage_entered_at := '2001-01-01';
		WHEN 'both times' THEN NEW.stage_entered_at := '2001-01-01'; NEW.changed_at := '2001-01-01';
		WHEN 'furthest' THEN NEW.furthest_stage_id := 5;
		WHEN 'gate' THEN NEW.gate_stage_id := 2;
		WHEN 'closed_at' THEN NEW.closed_at := '2001-01-01';
		WHEN 'probability' THEN NEW.probability := 12;
		WHEN 'name' THEN NEW.name := 'meddled';
		WHEN 'revert' THEN NEW := OLD;
		WHEN 'skip' THEN RETURN NULL;
		WHEN 'nothing' THEN NULL;
	END CASE;
	RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END
$$;
-- one statement on deals 1 and 2 with a meddling trigger; what became of it
CREATE FUNCTION attempt(what text, trigger_name name, event text, statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
	stands text;
BEGIN
	BEGIN
		INSERT INTO deals (deal_id, stage_id, amount) VALUES (1, 1, 1);
		EXECUTE format('CREATE TRIGGER %I BEFORE %s ON deals FOR EACH ROW EXECUTE FUNCTION meddle(%L)', trigger_name, event, what);
		result := try(statement);
		EXECUTE format('DROP TRIGGER %I ON deals', trigger_name);
		SELECT coalesce(string_agg(l, ', '), 'nothing') INTO stands FROM unnest('{1,2}'::text[]) d, life(d) l;
		SELECT stands || coalesce(' PROBLEMS: ' || string_agg(p::text, ' '), '') INTO stands FROM problems() p;
		RAISE EXCEPTION USING ERRCODE = 'ZZZZZ', MESSAGE = rpad(what, 12) || result || ' => ' || stands;
	EXCEPTION WHEN SQLSTATE 'ZZZZZ' THEN
		RETURN sqlerrm;
	END;
END
$$;

--
-- Before ours, whatever ASCII name: as if the client had sent it
--
SELECT attempt(w, 'aaa', 'UPDATE', 'UPDATE deals SET stage_id = 2 WHERE deal_id = 1')
	FROM unnest('{nothing,stage,pipeline,amount,version,episode,changed_at,entered,both times,furthest,gate,closed_at,probability,name,revert,skip}'::text[]) w;
SELECT attempt(w, '~~~~~~~~~~', 'UPDATE', 'UPDATE deals SET name = ''new'' WHERE deal_id = 1')
	FROM unnest('{nothing,stage,pipeline,amount,version,furthest,name,revert,skip}'::text[]) w;
SELECT attempt(w, 'zzz', 'INSERT', 'INSERT INTO deals (deal_id) VALUES (2)')
	FROM unnest('{nothing,stage,amount,version,episode,both times,closed_at,skip}'::text[]) w;
SELECT attempt(w, 'zzz', 'DELETE', 'DELETE FROM deals') FROM unnest('{nothing,skip}'::text[]) w;

--
-- After ours: history is right, or 23S06 names the trigger
--
SELECT attempt(w, '§zz', 'UPDATE', 'UPDATE deals SET stage_id = 2 WHERE deal_id = 1')
	FROM unnest('{nothing,stage,pipeline,amount,version,episode,changed_at,entered,both times,furthest,gate,closed_at,probability,name,revert,skip}'::text[]) w;
-- where we saw no change
SELECT attempt(w, '§zz', 'UPDATE', 'UPDATE deals SET name = ''new'' WHERE deal_id = 1')
	FROM unnest('{nothing,stage,amount,version,both times,probability,name,revert,skip}'::text[]) w;
-- the closing
SELECT attempt(w, '§zz', 'UPDATE', 'UPDATE deals SET stage_id = 4 WHERE deal_id = 1')
	FROM unnest('{nothing,stage,closed_at,amount}'::text[]) w;
SELECT attempt(w, '§zz', 'INSERT', 'INSERT INTO deals (deal_id) VALUES (2)')
	FROM unnest('{nothing,amount,name,stage,pipeline,version,episode,changed_at,entered,both times,furthest,gate,closed_at,skip}'::text[]) w;
SELECT attempt(w, '§zz', 'DELETE', 'DELETE FROM deals') FROM unnest('{nothing,skip}'::text[]) w;
-- an upsert has both
SELECT attempt(w, '§zz', 'INSERT OR UPDATE', 'INSERT INTO deals (deal_id, stage_id) VALUES (1, 2), (2, 2) ON CONFLICT (deal_id) DO UPDATE SET stage_id = excluded.stage_id')
	FROM unnest('{nothing,amount,stage,version,skip}'::text[]) w;
-- called like ours, or nearly
SELECT attempt(w, '§pipelines_before_too', 'INSERT OR UPDATE', 'UPDATE deals SET stage_id = 2 WHERE deal_id = 1')
	FROM unnest('{nothing,stage,version}'::text[]) w;
-- the key of a new deal, moved onto one that had a life
INSERT INTO deals (deal_id) VALUES (3);
DELETE FROM deals;
CREATE FUNCTION rekey() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.deal_id := 3; RETURN NEW; END';
CREATE TRIGGER "§zz" BEFORE INSERT ON deals FOR EACH ROW EXECUTE FUNCTION rekey();
SELECT try('INSERT INTO deals (deal_id) VALUES (8)');
DROP TRIGGER "§zz" ON deals;
-- only for some columns, under a condition, switched off: such a trigger is found, or does no harm
INSERT INTO deals (deal_id, stage_id, amount) VALUES (1, 1, 1);
CREATE TRIGGER "§zz" BEFORE UPDATE OF name ON deals FOR EACH ROW EXECUTE FUNCTION meddle('stage');
SELECT try('UPDATE deals SET stage_id = 2 WHERE deal_id = 1');
SELECT try('UPDATE deals SET name = ''n'' WHERE deal_id = 1');
DROP TRIGGER "§zz" ON deals;
CREATE TRIGGER "§zz" BEFORE UPDATE ON deals FOR EACH ROW WHEN (NEW.amount = 5) EXECUTE FUNCTION meddle('stage');
SELECT try('UPDATE deals SET amount = 4 WHERE deal_id = 1');
SELECT try('UPDATE deals SET amount = 5 WHERE deal_id = 1');
ALTER TABLE deals DISABLE TRIGGER "§zz";
SELECT try('UPDATE deals SET amount = 5 WHERE deal_id = 1');
ALTER TABLE deals ENABLE ALWAYS TRIGGER "§zz";
SELECT try('UPDATE deals SET amount = 5 WHERE deal_id = 1');
SELECT try('UPDATE deals SET amount = 5, quantity = 1 WHERE deal_id = 1');
DROP TRIGGER "§zz" ON deals;
SELECT life('1');
SELECT problems();

--
-- AFTER ROW triggers that change the same row: one history row per version, no gap
--
CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF pg_trigger_depth() = 1 THEN
		IF TG_ARGV[0] = 'delete' THEN
			DELETE FROM deals WHERE deal_id = NEW.deal_id;
		ELSE
			UPDATE deals SET amount = coalesce(amount, 0) + 1 WHERE deal_id = NEW.deal_id;
		END IF;
	END IF;
	RETURN NULL;
END
$$;
INSERT INTO deals (deal_id, amount) SELECT g, 0 FROM generate_series(11, 16) g;
CREATE TRIGGER aaa_again AFTER UPDATE ON deals FOR EACH ROW EXECUTE FUNCTION again();
UPDATE deals SET stage_id = 2 WHERE deal_id IN (11, 12);
CREATE TRIGGER zzz_again AFTER UPDATE ON deals FOR EACH ROW EXECUTE FUNCTION again();
UPDATE deals SET stage_id = 2 WHERE deal_id IN (13, 14);
DROP TRIGGER aaa_again ON deals;
UPDATE deals SET stage_id = 3 WHERE deal_id IN (13, 14);
DROP TRIGGER zzz_again ON deals;
CREATE TRIGGER aaa_again AFTER INSERT ON deals FOR EACH ROW EXECUTE FUNCTION again();
INSERT INTO deals (deal_id) VALUES (17), (18);
DROP TRIGGER aaa_again ON deals;
CREATE TRIGGER aaa_again AFTER INSERT OR UPDATE ON deals FOR EACH ROW EXECUTE FUNCTION again('delete');
UPDATE deals SET stage_id = 2 WHERE deal_id IN (15, 16);
INSERT INTO deals (deal_id) VALUES (19);
DROP TRIGGER aaa_again ON deals;
SELECT * FROM told WHERE deal BETWEEN 11 AND 19 ORDER BY 1, 2;
SELECT * FROM now_ WHERE deal BETWEEN 11 AND 19 ORDER BY 1;
SELECT problems();
-- when the transaction ends
CREATE CONSTRAINT TRIGGER late_again AFTER UPDATE ON deals DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.stage_id <> OLD.stage_id) EXECUTE FUNCTION again();
BEGIN;
UPDATE deals SET stage_id = 4 WHERE deal_id IN (11, 12);
UPDATE deals SET stage_id = 2 WHERE deal_id = 11;
COMMIT;
DROP TRIGGER late_again ON deals;
SELECT * FROM told WHERE deal BETWEEN 11 AND 12 AND v > 2 ORDER BY 1, 2;
SELECT problems();
-- statement triggers that change the table
CREATE FUNCTION total() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF pg_trigger_depth() = 1 THEN
		UPDATE deals SET amount = (SELECT count(*) FROM moved) WHERE deal_id = 17;
	END IF;
	RETURN NULL;
END
$$;
CREATE TRIGGER aaa_total AFTER UPDATE ON deals REFERENCING NEW TABLE AS moved FOR EACH STATEMENT EXECUTE FUNCTION total();
UPDATE deals SET stage_id = 5 WHERE deal_id IN (11, 12, 13);
DROP TRIGGER aaa_total ON deals;
SELECT * FROM told WHERE deal = 17 OR deal BETWEEN 11 AND 13 AND change = 'close' ORDER BY 1, 2;
SELECT problems();

--
-- Two cascades that change one row in one statement
--
CREATE TABLE person (name text PRIMARY KEY);
INSERT INTO person VALUES ('ann'), ('bob'), ('cid');
ALTER TABLE deals ADD FOREIGN KEY (owner) REFERENCES person ON DELETE SET NULL ON UPDATE CASCADE,
	ADD FOREIGN KEY (source) REFERENCES person ON DELETE SET NULL ON UPDATE CASCADE;
INSERT INTO deals (deal_id, owner, source) VALUES (21, 'ann', 'ann'), (22, 'ann', 'bob'), (23, 'bob', 'bob');
DELETE FROM person WHERE name = 'ann';
UPDATE person SET name = 'bert' WHERE name = 'bob';
WITH x AS (UPDATE deals SET amount = 5 WHERE deal_id = 22) DELETE FROM person WHERE name = 'bert';
SELECT deal_id, version, change, owner, source, amount FROM deals_history WHERE deal_id BETWEEN 21 AND 23 ORDER BY 1, 2;
SELECT deal_id, version, owner, source, amount FROM deals WHERE deal_id BETWEEN 21 AND 23 ORDER BY 1;
SELECT problems();

--
-- A trigger that logs reads what stands; a view with rules and INSTEAD OF triggers writes through
--
CREATE TABLE log (deal_id bigint, v integer, entered boolean);
CREATE FUNCTION logs() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO log VALUES (NEW.deal_id, NEW.version, NEW.stage_entered_at = NEW.changed_at); RETURN NULL; END';
CREATE TRIGGER logs AFTER INSERT OR UPDATE ON deals FOR EACH ROW EXECUTE FUNCTION logs();
CREATE VIEW my_deals AS SELECT deal_id, stage_id, amount FROM deals WHERE deal_id > 30 WITH CHECK OPTION;
INSERT INTO my_deals (deal_id, amount) VALUES (31, 1);
UPDATE my_deals SET stage_id = 2;
UPDATE my_deals SET amount = 2;
SELECT try('UPDATE my_deals SET deal_id = 30');
SELECT * FROM log;
SELECT problems();
\set ECHO none
\c :home
SET client_min_messages = warning;
DROP DATABASE regress_pipelines_user_triggers;
