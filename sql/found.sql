-- found.sql: failures found by reading the code, each silent or worse
-- In a database of its own, so that every id is the same in every run.
\set ECHO none
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_pipelines_found;
CREATE DATABASE regress_pipelines_found TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\set home :DBNAME
\c regress_pipelines_found
SET client_min_messages = warning;
SET client_encoding = 'UTF8';
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
\pset format unaligned
\pset footer off
\set ECHO all
CREATE EXTENSION pipelines;
SELECT pipelines.create_pipeline('Sales', stages => '["Lead", "Quote", {"name": "Won", "outcome": "won"},
	{"name": "Lost", "outcome": "lost"}, {"name": "Given up", "outcome": "lost"}]');
SELECT pipelines.create_deals('deals'), pipelines.create_deals('tasks');
CREATE FUNCTION try(sql text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	n bigint;
	state text;
	message text;
BEGIN
	EXECUTE sql;
	GET DIAGNOSTICS n = ROW_COUNT;
	RETURN 'rows: ' || n;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT;
	RETURN state || ': ' || message;
END $$;

-- I7: a statement that runs between BEFORE and AFTER of a row does not take
-- the place of its history, where a trigger fires after ours (CORE 9)
INSERT INTO tasks (deal_id) VALUES (1);
INSERT INTO deals (deal_id, amount) VALUES (1, 10), (2, 20);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	UPDATE tasks SET amount = coalesce(amount, 0) + 1 WHERE deal_id = 1;
	RETURN NEW;
END $$;
DO $$ BEGIN EXECUTE format('CREATE TRIGGER %I BEFORE UPDATE ON deals FOR EACH ROW EXECUTE FUNCTION touch()', pipelines._trigger_name() || 'z'); END $$;
UPDATE deals SET amount = 11, stage_id = 2 WHERE deal_id = 1;
UPDATE deals SET amount = 21 WHERE deal_id = 2;
SELECT deal_id, version, change, amount FROM deals_history ORDER BY 1, 2;
SELECT deal_id, version, change, amount FROM tasks_history ORDER BY 1, 2;
DO $$ BEGIN EXECUTE format('DROP TRIGGER %I ON deals', pipelines._trigger_name() || 'z'); END $$;

-- a relation that does not exist is an error, not a crash
SELECT try($$SELECT pipelines._rebook('deals', 99999999::oid::regclass)$$);

-- R-2.25: a closing day is corrected, whatever the statement before it was
INSERT INTO deals (deal_id, stage_id, closed_at) VALUES (3, 3, '2026-01-05 12:00+00');
BEGIN;
INSERT INTO deals (deal_id, stage_id) VALUES (4, 3);
UPDATE deals SET closed_on = (SELECT closed_on FROM deals WHERE deal_id = 4) WHERE deal_id = 3;
COMMIT;
SELECT deal_id, closed_on = (closed_at AT TIME ZONE 'UTC')::date AS as_it_was, version FROM deals WHERE deal_id = 3;

-- R-2.26: from lost to lost, the day stays, even if a client sends none
INSERT INTO deals (deal_id, stage_id, closed_at) VALUES (5, 4, '2026-01-05 12:00+00');
UPDATE deals SET stage_id = 5, closed_on = NULL WHERE deal_id = 5;
SELECT closed_on FROM deals WHERE deal_id = 5;

-- code attached to the history may change deals in its turn
CREATE FUNCTION mark() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF new.deal_id = 1 THEN
		UPDATE public.deals SET amount = amount + 1 WHERE deal_id = 2;
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER mark AFTER INSERT ON deals_history FOR EACH ROW EXECUTE FUNCTION mark();
UPDATE deals SET amount = 12 WHERE deal_id = 1;
SELECT deal_id, version, change, amount FROM deals_history WHERE deal_id IN (1, 2) ORDER BY 1, 2;
DROP TRIGGER mark ON deals_history;

-- an AFTER INSERT trigger may change the new deal, also where another fires after ours
CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	UPDATE deals SET amount = 5 WHERE deal_id = NEW.deal_id;
	RETURN NULL;
END $$;
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER again AFTER INSERT ON deals FOR EACH ROW EXECUTE FUNCTION again();
DO $$ BEGIN EXECUTE format('CREATE TRIGGER %I BEFORE INSERT ON deals FOR EACH ROW EXECUTE FUNCTION nothing()', pipelines._trigger_name() || 'z'); END $$;
SELECT try('INSERT INTO deals (deal_id, amount) VALUES (6, 10)');
SELECT version, amount FROM deals WHERE deal_id = 6;
DO $$ BEGIN EXECUTE format('DROP TRIGGER %I ON deals', pipelines._trigger_name() || 'z'); END $$;
DROP TRIGGER again ON deals;

-- 0 is not NULL
SELECT try('INSERT INTO deals (deal_id, pipeline_id) VALUES (7, 0)');
SELECT try('INSERT INTO deals (deal_id, pipeline_id, stage_id) VALUES (7, 1, 0)');
SELECT try('UPDATE deals SET stage_id = 0 WHERE deal_id = 6');

-- versions end somewhere
INSERT INTO deals (deal_id, pipeline_id, stage_id, created_at, created_by, stage_entered_at, furthest_stage_id, episode, version, changed_at)
VALUES (8, 1, 1, '2026-01-01', 'x', '2026-01-01', 1, 1, 2147483646, '2026-01-01');
UPDATE deals SET amount = 1 WHERE deal_id = 8;
SELECT try('UPDATE deals SET amount = 2 WHERE deal_id = 8');
-- what can't be true is completed, not kept (CORE 3)
INSERT INTO deals (deal_id, pipeline_id, stage_id, created_at, created_by, stage_entered_at, furthest_stage_id, episode, version, changed_at)
VALUES (9, 1, 1, '2026-01-01', 'x', '-infinity', 1, 1, 7, '2026-01-01'),
	(10, 1, 1, '2026-01-01', 'x', '2026-01-01', 1, 1, 2147483647, '2026-01-01');
SELECT deal_id, version, changed_at > '2026-01-01' AS completed FROM deals WHERE deal_id IN (9, 10) ORDER BY 1;

-- a kept row is held to its table's layout (R-2.20)
SELECT pipelines.create_pipeline('Repair', layout => 'workshop', stages => '["New"]');
SELECT try($$INSERT INTO deals (deal_id, pipeline_id, stage_id, created_at, created_by, stage_entered_at, furthest_stage_id, episode, version, changed_at)
	SELECT 11, pipeline_id, stage_id, '2026-01-01', 'x', '2026-01-01', stage_id, 1, 1, '2026-01-01'
	FROM pipelines.pipeline_stage WHERE pipeline_id = pipelines.pipeline_id('Repair')$$);

-- who owns the definitions can't write into the history of somebody else
CREATE ROLE regress_pipelines_definer;
CREATE ROLE regress_pipelines_victim;
GRANT CREATE ON SCHEMA public TO regress_pipelines_definer, regress_pipelines_victim;
GRANT UPDATE, DELETE ON pipelines.tracked_table TO regress_pipelines_definer;
SET ROLE regress_pipelines_definer;
SELECT pipelines.create_deals('public.bait');
SET ROLE regress_pipelines_victim;
SELECT pipelines.create_deals('public.mine');
SET ROLE regress_pipelines_definer;
DELETE FROM pipelines.tracked_table WHERE relation = 'public.mine'::regclass;
UPDATE pipelines.tracked_table SET history = 'public.mine_history' WHERE relation = 'public.bait'::regclass;
SELECT try('INSERT INTO public.bait (deal_id) VALUES (1)');
RESET ROLE;
SELECT count(*) FROM public.mine_history;

\set ECHO none
\c :home
SET client_min_messages = warning;
DROP DATABASE regress_pipelines_found;
DROP ROLE regress_pipelines_definer, regress_pipelines_victim;
