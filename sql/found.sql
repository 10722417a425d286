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

-- ----- rules of stages (found by attacking them)
CREATE FUNCTION entry(rule text) RETURNS text LANGUAGE sql AS
	$$SELECT try(format('UPDATE pipelines.pipeline_stage SET entry_rule = %L WHERE pipeline_id = 1 AND stage_id = 2', rule))$$;
CREATE ROLE regress_pipelines_boss;
-- who may write tracked_table must not run code as whoever reads the views
UPDATE pipelines.tracked_table SET live = 'public.ran(''x'')' WHERE relation = 'public.bait'::regclass;
SELECT try('SELECT pipelines.rebuild_views(''public.bait'')');
UPDATE pipelines.tracked_table SET live = 'true) OR (true' WHERE relation = 'public.bait'::regclass;
SELECT try('SELECT pipelines.rebuild_views(''public.bait'')');
DROP TABLE deals, bait, mine CASCADE;

-- a literal is read by the input function of its type, which may run somebody's code
CREATE FUNCTION ran(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RAISE EXCEPTION 'I ran as %', current_user; END$$;
CREATE DOMAIN odd AS text CHECK (ran(VALUE));
CREATE TYPE colour AS ENUM ('red', 'blue');
ALTER TABLE tasks ADD COLUMN odds odd[], ADD COLUMN colour colour, ADD COLUMN colours colour[],
	ADD COLUMN margin numeric GENERATED ALWAYS AS (amount - cost) STORED;
SELECT entry('odds IS DISTINCT FROM ''{x}''');
SELECT entry('odds IS DISTINCT FROM ''{}''');
SELECT entry('odds');
SELECT entry('colour IS DISTINCT FROM ''red'' AND colours IS DISTINCT FROM ''{red}''');

-- whoever moves a deal can't set what a rule means; nor does the day on which it was read
SELECT entry('expected_close_on < ''03/04/2026''');
SELECT entry('expected_close_on < ''Tomorrow''');
SELECT entry('expected_close_on < ''2026-03-04''');
SELECT entry('name = ''today''');
SELECT entry('$1 = ''x''');
SELECT entry('amount = NULL');
SET transform_null_equals = on;
SELECT try('UPDATE tasks SET stage_id = 2 WHERE deal_id = 1');
SELECT try('UPDATE tasks SET stage_id = 2, amount = NULL WHERE deal_id = 1');
RESET transform_null_equals;

-- a rule on a generated column is judged, also if the table's description is made anew in between
SELECT entry('margin > 10');
CREATE FUNCTION renew() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN GRANT SELECT ON tasks TO CURRENT_USER; RETURN NULL; END$$;
CREATE TRIGGER a_renew AFTER UPDATE ON tasks FOR EACH ROW EXECUTE FUNCTION renew();
SELECT try('UPDATE tasks SET stage_id = 2, amount = 20, cost = 15 WHERE deal_id = 1');
DROP TRIGGER a_renew ON tasks;
-- for each deal of a statement (R-2.22)
INSERT INTO tasks (deal_id) VALUES (101), (102), (103);
SELECT try('UPDATE tasks SET stage_id = 2, amount = 20, cost = deal_id - 91 WHERE deal_id > 100');
DELETE FROM tasks WHERE deal_id > 100;
-- and its bypass is remembered (R-2.8)
UPDATE pipelines.pipeline SET bypass_role = 'regress_pipelines_boss' WHERE pipeline_id = 1;
GRANT regress_pipelines_boss TO CURRENT_USER;
BEGIN;
SET LOCAL pipelines.bypass = on;
SET LOCAL pipelines.reason = 'chief said so';
UPDATE tasks SET stage_id = 2, amount = 20, cost = 15 WHERE deal_id = 1;
COMMIT;
SELECT change, bypassed FROM tasks_history WHERE deal_id = 1 ORDER BY version DESC LIMIT 1;
REVOKE regress_pipelines_boss FROM CURRENT_USER;
SELECT entry(NULL);

-- a refused deal stays as it was: half a change would break a constraint, and tell of that
INSERT INTO tasks (deal_id, stage_id, amount) VALUES (2, 3, 5);
ALTER TABLE tasks ADD CONSTRAINT won CHECK (stage_id <> 3 OR amount > 0);
SELECT entry('source');
SELECT try('UPDATE tasks SET stage_id = 2, amount = 0 WHERE deal_id = 2');
SELECT entry(NULL);
ALTER TABLE tasks DROP CONSTRAINT won;

-- a pause is no way around what a stage demands on leaving it
UPDATE pipelines.pipeline_stage SET exit_rule = 'source' WHERE pipeline_id = 1 AND stage_id = 1;
INSERT INTO pipelines.stage (name) VALUES ('Parked');
INSERT INTO pipelines.pipeline_stage (pipeline_id, stage_id, position, probability, outcome)
	SELECT 1, stage_id, 10, 0, 'on_hold' FROM pipelines.stage WHERE name = 'Parked';
INSERT INTO tasks (deal_id) VALUES (3);
SELECT try('UPDATE tasks SET stage_id = pipelines.stage_id(''Sales'', ''Parked'') WHERE deal_id = 3');
SELECT try('UPDATE tasks SET stage_id = 2 WHERE deal_id = 3'), try('UPDATE tasks SET stage_id = 1 WHERE deal_id = 3');
UPDATE pipelines.pipeline_stage SET exit_rule = NULL WHERE pipeline_id = 1 AND stage_id = 1;
-- nor one around the gate (R-2.11)
INSERT INTO pipelines.stage (name) VALUES ('Contract');
INSERT INTO pipelines.pipeline_stage (pipeline_id, stage_id, position, probability, outcome)
	SELECT 1, stage_id, 1000, 90, 'open' FROM pipelines.stage WHERE name = 'Contract';
UPDATE pipelines.pipeline_stage SET position = position + 2000 WHERE pipeline_id = 1 AND outcome <> 'open';
UPDATE tasks SET stage_id = pipelines.stage_id('Sales', 'Contract') WHERE deal_id = 3;
SELECT deal, ok, target FROM pipelines.push_back('tasks', '3', 'too fast', 'Lead');
SELECT try('UPDATE tasks SET stage_id = pipelines.stage_id(''Sales'', ''Parked'') WHERE deal_id = 3');
SELECT try('UPDATE tasks SET stage_id = pipelines.stage_id(''Sales'', ''Contract'') WHERE deal_id = 3'), try('UPDATE tasks SET stage_id = 1 WHERE deal_id = 3');

-- approvals: an amount in a new currency, one beside a merge, one that is computed
INSERT INTO pipelines.approval (pipeline_id, above, currency, role) VALUES (1, 1000, 'EUR', 'regress_pipelines_boss');
INSERT INTO tasks (deal_id, currency) VALUES (4, 'JPY');
SET session_replication_role = replica;
UPDATE tasks SET amount = 5 WHERE deal_id = 4;
RESET session_replication_role;
SELECT try('UPDATE tasks SET currency = ''EUR'', amount = 1001 WHERE deal_id = 4');
SELECT try('UPDATE tasks SET currency = ''EUR'', amount = 1000 WHERE deal_id = 4');
UPDATE pipelines.pipeline_stage SET archived_at = now(), merged_into = 4 WHERE pipeline_id = 1 AND stage_id = 5;
SET session_replication_role = replica;
UPDATE tasks SET stage_id = 5 WHERE deal_id = 4;
RESET session_replication_role;
SELECT try('UPDATE tasks SET stage_id = 4, amount = 1001 WHERE deal_id = 4');
SELECT try('UPDATE tasks SET stage_id = 4, amount = 999 WHERE deal_id = 4');
CREATE TABLE computed (id bigint PRIMARY KEY, status text NOT NULL, n numeric, price numeric, currency text,
	amount numeric GENERATED ALWAYS AS (n * price) STORED);
INSERT INTO computed VALUES (1, 'Lead', 1, 10, 'EUR');
SELECT count(*) > 0 AS planned FROM pipelines.adopt('computed', stage => 'status', amount => 'amount', currency => 'currency', pipeline => 'Sales');
SELECT count(*) > 0 AS adopted FROM pipelines.apply_adoption('computed');
SELECT try('UPDATE computed SET n = 101 WHERE id = 1');
SELECT try('UPDATE computed SET n = 101, stage_id = 2 WHERE id = 1');
SELECT try('UPDATE computed SET n = 99, stage_id = 2 WHERE id = 1');
DELETE FROM pipelines.approval;
-- what the application's column says is what we say, whoever comes after us
CREATE FUNCTION put_back() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.status := OLD.status; RETURN NEW; END';
DO $$ BEGIN EXECUTE format('CREATE TRIGGER %I BEFORE UPDATE ON computed FOR EACH ROW EXECUTE FUNCTION put_back()', pipelines._trigger_name() || 'z'); END $$;
SELECT try('UPDATE computed SET stage_id = 1 WHERE id = 1');
DO $$ BEGIN EXECUTE format('DROP TRIGGER %I ON computed', pipelines._trigger_name() || 'z'); END $$;

-- the default of that column is the table owner's code: looking at it runs nothing
CREATE FUNCTION default_status() RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RAISE EXCEPTION 'the default ran as %', current_user; END$$;
ALTER TABLE computed ALTER COLUMN status SET DEFAULT public.default_status();
SELECT try('UPDATE computed SET stage_id = 1 WHERE id = 1');
DROP TABLE computed CASCADE;

-- activities may run code of their owner's, which may take the target away
SELECT pipelines.create_pipeline('Third', stages => '["Lead", {"name": "Won", "outcome": "won"}]') AS third \gset
CREATE FUNCTION take_away() RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN
	DELETE FROM pipelines.pipeline_stage WHERE pipeline_id = pipelines.pipeline_id('Third');
	DELETE FROM pipelines.pipeline WHERE name = 'Third';
	RETURN true;
END$$;
CREATE VIEW done AS SELECT a.deal_id, a.kind, a.done_at FROM tasks_activity a WHERE public.take_away();
INSERT INTO tasks_activity (deal_id, kind, done_at) VALUES (3, 'call', now());
SELECT pipelines.use_activities('tasks', 'done');
INSERT INTO pipelines.stage_activity (pipeline_id, stage_id, kind) VALUES (1, 1, 'call');
SELECT regexp_replace(try(format('UPDATE tasks SET pipeline_id = %s, stage_id = 3 WHERE deal_id = 3', :third)), '\d+ does', 'N does');
DELETE FROM pipelines.stage_activity;

-- what triggers before ours do is not what a move, a push-back or a purge does
ALTER TABLE tasks ADD COLUMN parent bigint;
INSERT INTO tasks (deal_id, stage_id) VALUES (10, 1), (11, 1);
INSERT INTO tasks (deal_id, stage_id, parent) VALUES (12, 1, 10), (13, 1, 11);
CREATE FUNCTION move_parent() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	UPDATE tasks SET stage_id = 2 WHERE deal_id = NEW.parent;
	RETURN NEW;
END $$;
CREATE TRIGGER a_move_parent BEFORE UPDATE ON tasks FOR EACH ROW WHEN (NEW.parent IS NOT NULL) EXECUTE FUNCTION move_parent();
SELECT entry('source');
SELECT try($$SELECT * FROM pipelines.move_many('tasks', '{12}', 'Won', on_refuse => 'skip')$$);
SELECT entry(NULL);
SELECT pipelines.purge('tasks', '13');
SELECT deal_id, stage_id, version FROM tasks WHERE deal_id BETWEEN 10 AND 13 ORDER BY 1;
DROP TRIGGER a_move_parent ON tasks;

-- purge() knows what was added to the history by hand (R-2.37)
ALTER TABLE tasks_history ADD COLUMN name text;
INSERT INTO tasks (deal_id, name) VALUES (14, 'Jane Doe');
UPDATE tasks SET amount = 5 WHERE deal_id = 14;
SELECT name FROM tasks_history WHERE deal_id = 14;
SELECT pipelines.purge('tasks', '14');
SELECT name FROM tasks_history WHERE deal_id = 14;
SELECT deal, problem FROM pipelines.verify('tasks') WHERE deal <> '4';

\set ECHO none
\c :home
SET client_min_messages = warning;
DROP DATABASE regress_pipelines_found;
DROP ROLE regress_pipelines_definer, regress_pipelines_victim, regress_pipelines_boss;
