-- adopt.sql: a table that an application has already becomes a deals table
-- (S57 to S60, S62; SEMANTICS 3.13, R-13.1, R-13.2)
-- In a database of its own, so that every id is the same in every run.
\set ECHO none
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_pipelines_adopt;
DROP ROLE IF EXISTS regress_adopt_app, regress_adopt_clerk;
CREATE DATABASE regress_pipelines_adopt TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\set home :DBNAME
\c regress_pipelines_adopt
\i test/data/checks.sql
\set ECHO all
--
-- S57, S59: the picklist of an enum, in its own order, whatever its labels look
-- like; outcome and probability proposed (R-13.2).  The columns of ours that the
-- application has for something else are called pipelines_...
--
CREATE TYPE state AS ENUM ('New lead', 'it''s "quoted"', 'On hold', 'Negotiation', 'Closed Won', 'Closed Lost');
CREATE TABLE opportunity (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	state state NOT NULL DEFAULT 'New lead',
	amount numeric(12,2), close_on date, rep text,
	stage_id integer, version integer NOT NULL DEFAULT 1,
	deleted_at timestamptz, updated_at timestamptz);
INSERT INTO opportunity (state, amount, close_on, rep, stage_id, deleted_at)
SELECT (enum_range(NULL::state))[1 + i % 6], i * 100, date '2026-01-01' + i, 'rep ' || i % 2, 70 + i, CASE WHEN i = 12 THEN timestamptz '2026-01-01 UTC' END
FROM generate_series(1, 12) i;
-- the application's own trigger and rule about versions
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.updated_at := now(); NEW.version := OLD.version + 1; RETURN NEW; END';
CREATE TRIGGER touch BEFORE UPDATE ON opportunity FOR EACH ROW EXECUTE FUNCTION touch();

-- without apply nothing is changed but the plan
SELECT * FROM pipelines.adopt('opportunity', stage => 'state', amount => 'amount', close_date => 'close_on', owner => 'rep',
	currency => 'EUR', live => 'deleted_at IS NULL');
SELECT part, value, deals, stage, position, outcome, probability, remark FROM pipelines.adoption_plan ORDER BY part, position;
SELECT count(*) AS pipelines FROM pipelines.pipeline;
SELECT count(*) AS columns FROM pg_attribute WHERE attrelid = 'opportunity'::regclass AND attnum > 0;
-- what was edited stays, what is new comes
UPDATE pipelines.adoption_plan SET probability = 66, stage = 'Negotiations' WHERE value = 'Negotiation';
ALTER TYPE state ADD VALUE 'Renewal' BEFORE 'Closed Won';
SELECT count(*) > 0 AS again FROM pipelines.adopt('opportunity', stage => 'state', amount => 'amount', close_date => 'close_on', owner => 'rep',
	currency => 'EUR', live => 'deleted_at IS NULL');
SELECT value, stage, position, outcome, probability FROM pipelines.adoption_plan WHERE value IN ('Negotiation', 'Renewal', 'Closed Won') ORDER BY position, value;

-- S57, S58: the standard pipeline of the layout, and every row in it
SELECT * FROM pipelines.apply_adoption('opportunity');
SELECT p.name, p.is_standard, s.name AS stage, ps.position, ps.outcome, ps.probability
FROM pipelines.pipeline p JOIN pipelines.pipeline_stage ps USING (pipeline_id) JOIN pipelines.stage s USING (stage_id) ORDER BY ps.position;
SELECT id, state, stage_name, currency_, round(weighted, 2) AS weighted, closed_on, version, pipelines_version, stage_id
FROM (SELECT *, (SELECT currency FROM pipelines.tracked_table) AS currency_ FROM opportunity_current) c ORDER BY id;
-- bookkeeping: entered at adoption, closed when the application says; its trigger did not fire
SELECT count(*) AS deals, count(DISTINCT changed_at) AS instants, bool_and(stage_entered_at = changed_at) AS entered_then,
	bool_and(furthest_stage_id = pipelines_stage_id) AS furthest, max(episode) AS episode, max(pipelines_version) AS version,
	max(updated_at) AS touched, bool_and(changed_at = (SELECT tracked_since FROM pipelines.tracked_table)) AS tracked_since
FROM opportunity;
SELECT attname, attnotnull, atthasdef FROM pg_attribute
WHERE attrelid = 'opportunity'::regclass AND attname IN ('pipeline_id', 'pipelines_stage_id', 'furthest_stage_id', 'gate_stage_id', 'pipelines_version', 'episode') ORDER BY attnum;
SELECT * FROM pipelines.stage_value ORDER BY stage_id;
SELECT count(*) AS plan FROM pipelines.adoption_plan;
SELECT * FROM pipelines.verify('opportunity');
-- CORE 17: nothing is known of the time before
SELECT try('SELECT * FROM pipelines.as_of(NULL::opportunity, now() - interval ''1 day'')');
SELECT r, split_part(try(format('SELECT * FROM pipelines.%s now() - interval ''1 day'')', r)), ' at ', 1) AS error
FROM unnest(ARRAY['stalled(''opportunity'', as_of =>', 'stalling(''opportunity'', now(), as_of =>', 'next_steps(''opportunity'', as_of =>', 'candidates(''opportunity'', as_of =>']) r;
SELECT count(*) AS now FROM pipelines.as_of(NULL::opportunity, now());
-- rows that are not live count nowhere in the views, and are tracked all the same
SELECT sum(deals) AS live FROM opportunity_board;

--
-- S62: one stage, two columns; who writes one moves the other
--
-- the application moves a deal; its own trigger goes on working
UPDATE opportunity SET state = 'it''s "quoted"' WHERE id = 6;
SELECT state, pipelines_stage_id = pipelines.stage_id('Standard', 'it''s "quoted"') AS followed, version, pipelines_version, updated_at IS NOT NULL AS touched FROM opportunity WHERE id = 6;
-- we move it
UPDATE opportunity SET pipelines_stage_id = pipelines.stage_id('Standard', 'Closed Won') WHERE id = 6;
SELECT state, closed_at IS NOT NULL AS closed, closed_on = current_date AS today FROM opportunity WHERE id = 6;
-- both, and they agree; both, and they don't
UPDATE opportunity SET state = 'Closed Lost', pipelines_stage_id = pipelines.stage_id('Standard', 'Closed Lost') WHERE id = 6;
SELECT try('UPDATE opportunity SET state = ''On hold'', pipelines_stage_id = pipelines.stage_id(''Standard'', ''Negotiations'') WHERE id = 6');
-- the whole row as an ORM writes it: the same values change nothing
UPDATE opportunity SET state = state, pipelines_stage_id = pipelines_stage_id, rep = rep WHERE id = 6;
UPDATE opportunity SET state = state WHERE id = 6;
SELECT r FROM (SELECT version, change, state, rep FROM opportunity_history WHERE id = 6 ORDER BY 1) r;
-- in bulk
UPDATE opportunity SET state = 'Negotiation' WHERE state = 'New lead';
UPDATE opportunity SET pipelines_stage_id = pipelines.stage_id('Standard', 'Renewal') WHERE pipelines_stage_id = pipelines.stage_id('Standard', 'Negotiations');
SELECT state, count(*) FROM opportunity GROUP BY 1 ORDER BY 1;
-- INSERT: its column, ours, none, both
INSERT INTO opportunity (state) VALUES ('Negotiation') RETURNING state, pipelines_stage_id = pipelines.stage_id('Standard', 'Negotiations') AS followed;
INSERT INTO opportunity (pipelines_stage_id) VALUES (pipelines.stage_id('Standard', 'On hold')) RETURNING state;
INSERT INTO opportunity (amount) VALUES (5) RETURNING state, pipelines_stage_id = pipelines.stage_id('Standard', 'New lead') AS first;
INSERT INTO opportunity (state, pipelines_stage_id) VALUES ('Closed Won', pipelines.stage_id('Standard', 'Closed Won')) RETURNING closed_on = current_date AS closed;
SELECT try('INSERT INTO opportunity (state, pipelines_stage_id) VALUES (''Closed Won'', pipelines.stage_id(''Standard'', ''On hold''))');
-- an upsert, by either column
INSERT INTO opportunity (id, state) OVERRIDING SYSTEM VALUE VALUES (6, 'On hold') ON CONFLICT (id) DO UPDATE SET state = EXCLUDED.state RETURNING id, state, pipelines_stage_id = pipelines.stage_id('Standard', 'On hold') AS followed;
INSERT INTO opportunity (id, pipelines_stage_id) OVERRIDING SYSTEM VALUE VALUES (6, pipelines.stage_id('Standard', 'Renewal'))
ON CONFLICT (id) DO UPDATE SET pipelines_stage_id = EXCLUDED.pipelines_stage_id, state = EXCLUDED.state RETURNING id, state;
-- a trigger of the application's that sorts before ours may say the stage, too
CREATE FUNCTION big_deals() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF NEW.amount > 1000000 THEN NEW.state := ''Negotiation''; END IF; RETURN NEW; END';
CREATE TRIGGER big_deals BEFORE UPDATE ON opportunity FOR EACH ROW EXECUTE FUNCTION big_deals();
UPDATE opportunity SET amount = 2000000 WHERE id = 6 RETURNING state, pipelines_stage_id = pipelines.stage_id('Standard', 'Negotiations') AS followed;
DROP TRIGGER big_deals ON opportunity;
-- one that sorts after ours is found out
CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.state := ''Closed Won''; RETURN NEW; END';
DO $$ BEGIN EXECUTE format('CREATE TRIGGER %I BEFORE UPDATE ON opportunity FOR EACH ROW EXECUTE FUNCTION late()', U&'\2190late'); END $$;
SELECT try('UPDATE opportunity SET state = ''On hold'' WHERE id = 6');
DO $$ BEGIN EXECUTE format('DROP TRIGGER %I ON opportunity', U&'\2190late'); END $$;
-- S60: the pipeline is an ordinary one.  A stage that the enum has no label for
-- is refused for this table, until it has one.
UPDATE pipelines.stage SET name = 'Talks' WHERE name = 'Negotiations';
INSERT INTO pipelines.stage (name) VALUES ('Legal'), ('Delivery');
INSERT INTO pipelines.pipeline_stage (pipeline_id, stage_id, position, outcome, probability)
SELECT 1, stage_id, 100 + stage_id, 'open', 70 FROM pipelines.stage WHERE name IN ('Legal', 'Delivery');
SELECT try('UPDATE opportunity SET pipelines_stage_id = pipelines.stage_id(''Standard'', ''Legal'') WHERE id < 4');
ALTER TYPE state ADD VALUE 'Legal';
ALTER TYPE state ADD VALUE 'delivering';
UPDATE opportunity SET pipelines_stage_id = pipelines.stage_id('Standard', 'Legal') WHERE id = 1 RETURNING state;
SELECT try('UPDATE opportunity SET state = ''delivering'' WHERE id = 2');
SELECT pipelines.add_stage_value('opportunity', 'delivering', 'Delivery');
UPDATE opportunity SET state = 'delivering' WHERE id = 2 RETURNING pipelines_stage_id = pipelines.stage_id('Standard', 'Delivery') AS followed;
UPDATE opportunity SET pipelines_stage_id = pipelines.stage_id('Standard', 'Delivery') WHERE id = 3 RETURNING state;
SELECT try('SELECT pipelines.add_stage_value(''opportunity'', ''x'', ''Nowhere'')');
SELECT * FROM pipelines.verify('opportunity');

--
-- Views and triggers can be made again
--
ALTER TABLE opportunity RENAME COLUMN state TO status;
SELECT * FROM pipelines.rebuild_views('opportunity');
UPDATE opportunity SET status = 'On hold' WHERE id = 4 RETURNING pipelines_stage_id = pipelines.stage_id('Standard', 'On hold') AS followed;
SET client_min_messages = warning;
DROP EXTENSION pipelines CASCADE;
CREATE EXTENSION pipelines;
RESET client_min_messages;
SELECT item, action FROM pipelines.resume('opportunity') WHERE item !~ 'view|function' ORDER BY item;
UPDATE opportunity SET status = 'Closed Won' WHERE id = 4 RETURNING pipelines_stage_id = pipelines.stage_id('Standard', 'Closed Won') AS followed;
SELECT * FROM pipelines.verify('opportunity');
-- a deal that is deleted and comes back
DELETE FROM opportunity WHERE id = 5;
INSERT INTO opportunity (id, status) OVERRIDING SYSTEM VALUE VALUES (5, 'Legal') RETURNING pipelines_version, episode;
SELECT * FROM pipelines.verify('opportunity');

--
-- release() leaves data and history, and the application alone
--
SELECT count(*) AS history_rows FROM opportunity_history \gset before_
SELECT pipelines.release('opportunity');
SELECT count(*) = :before_history_rows AS kept FROM opportunity_history;
SELECT count(*) AS ours FROM pg_trigger WHERE tgrelid = 'opportunity'::regclass AND NOT tgisinternal AND tgname <> 'touch';
SELECT count(*) AS registered FROM pipelines.tracked_table;
SELECT count(*) AS remembered FROM pipelines.stage_value;
INSERT INTO opportunity (status) VALUES ('On hold') RETURNING pipeline_id, pipelines_stage_id, pipelines_version;
UPDATE opportunity SET status = 'Legal' WHERE id = 5 RETURNING version, pipelines_version;
-- once more: what was left must go, or be called otherwise
SELECT try('SELECT pipelines.adopt(''opportunity'', stage => ''status'')');

--
-- The plan belongs to the owner of the table; definitions to theirs
--
CREATE ROLE regress_adopt_app;
CREATE ROLE regress_adopt_clerk;
CREATE SCHEMA app AUTHORIZATION regress_adopt_app;
SET ROLE regress_adopt_app;
CREATE TABLE app.orders (no text PRIMARY KEY, phase text NOT NULL);
INSERT INTO app.orders VALUES ('a', 'Begun'), ('b', 'Done'), ('c', 'Begun');
SELECT item, action FROM pipelines.adopt('app.orders', stage => 'phase') WHERE item !~ 'column';
UPDATE pipelines.adoption_plan SET outcome = 'won', probability = 100 WHERE relation = 'app.orders'::regclass AND value = 'Done';
-- it takes the right to define to make a pipeline, but none to use one
SELECT try('SELECT pipelines.apply_adoption(''app.orders'')');
GRANT USAGE ON SCHEMA app TO regress_adopt_clerk;
SET ROLE regress_adopt_clerk;
SELECT try('UPDATE pipelines.adoption_plan SET stage = ''x''');
SELECT try('DELETE FROM pipelines.adoption');
SELECT try('INSERT INTO pipelines.adoption VALUES (''opportunity'', ''{}'')');
SELECT try('SELECT pipelines.adopt(''app.orders'', stage => ''phase'')');
SELECT try('CALL pipelines.adopt_in_batches(''app.orders'')');
SELECT try('SELECT pipelines._adopt_fill(''app.orders'', 0, 0)');
SELECT try('SELECT pipelines._register_values(''app.orders'', ''{}'', ''{}'', ''{}'', ''{}'', true)');
SELECT try('SELECT pipelines._register_adoption(''app.orders'', ''{}'', ''true'')');
SELECT try('SELECT pipelines.add_stage_value(''app.orders'', ''x'', ''y'')');
RESET ROLE;
SELECT pipelines.create_pipeline('Orders', stages => '["begun", "Finished", "Dropped"]');
SET ROLE regress_adopt_app;
SELECT item, action FROM pipelines.adopt('app.orders', stage => 'phase', pipeline => 'Orders') WHERE item !~ 'column';
-- what was there before the pipeline was named was edited, and stays
SELECT try('SELECT pipelines.apply_adoption(''app.orders'')');
UPDATE pipelines.adoption_plan SET stage = CASE value WHEN 'Begun' THEN 'begun' ELSE 'Finished' END WHERE relation = 'app.orders'::regclass;
SELECT item, action FROM pipelines.apply_adoption('app.orders');
SELECT o.no, o.phase, s.name FROM app.orders o JOIN pipelines.stage s USING (stage_id) ORDER BY 1;
SELECT try('SELECT pipelines.adopt(''app.orders'', stage => ''phase'')');
RESET ROLE;
SELECT relowner::regrole FROM pg_class WHERE oid IN ('app.orders_history'::regclass, 'app.orders_current'::regclass);
-- a stage whose name the text column can take is written by its name
UPDATE app.orders SET stage_id = pipelines.stage_id('Orders', 'Dropped') WHERE no = 'a' RETURNING phase;
UPDATE app.orders SET phase = 'Finished' WHERE no = 'a' RETURNING stage_id = pipelines.stage_id('Orders', 'Finished') AS followed;
UPDATE app.orders SET stage_id = pipelines.stage_id('Orders', 'begun') WHERE no = 'a' RETURNING phase;
SELECT try('UPDATE app.orders SET phase = ''nonsense'' WHERE no = ''a''');
SELECT try('UPDATE app.orders SET phase = NULL WHERE no = ''a''');
-- what the application inserts goes to the pipeline of its table, not to the standard one
INSERT INTO app.orders VALUES ('d', 'Finished') RETURNING pipeline_id = pipelines.pipeline_id('Orders') AS here, closed_on = current_date AS closed;
INSERT INTO app.orders (no, stage_id) VALUES ('e', pipelines.stage_id('Orders', 'Finished')) RETURNING pipeline_id = pipelines.pipeline_id('Orders') AS here, phase;
INSERT INTO app.orders (no) VALUES ('f') RETURNING pipeline_id = pipelines.pipeline_id('Orders') AS here, phase;
SELECT * FROM problems('app.orders');

--
-- The past of an adopted table can be imported: CORE 17, CONTRACT 5
--
CREATE TABLE app.event (no text, at timestamptz, stage text);
INSERT INTO app.event VALUES ('b', '2020-01-01 UTC', 'begun'), ('b', '2020-02-01 UTC', 'Finished');
SELECT * FROM pipelines.import_history('app.orders', 'app.event');
SELECT try('SELECT * FROM pipelines.as_of(NULL::app.orders, ''2020-01-15 UTC'')') ~ 'nothing is known' AS still_unknown;
-- of all of a table
SELECT pipelines.release('app.orders');
CREATE TABLE app.shipments (no text PRIMARY KEY, phase text NOT NULL);
INSERT INTO app.shipments VALUES ('b', 'Finished'), ('c', 'begun');
SELECT count(*) > 0 AS adopted FROM pipelines.adopt('app.shipments', stage => 'phase', pipeline => 'Orders', apply => true);
INSERT INTO app.event VALUES ('c', '2020-03-01 UTC', 'begun'), ('d', '2020-03-01 UTC', 'Dropped');
SELECT * FROM pipelines.import_history('app.shipments', 'app.event');
SELECT no, stage_id = pipelines.stage_id('Orders', 'begun') AS begun FROM pipelines.as_of(NULL::app.shipments, '2020-01-15 UTC');
SELECT no, phase FROM app.shipments ORDER BY no;
SELECT * FROM problems('app.shipments');

\c :home
SET client_min_messages = warning;
DROP DATABASE regress_pipelines_adopt;
DROP ROLE regress_adopt_app, regress_adopt_clerk;
