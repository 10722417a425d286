-- adopt_shapes.sql: adoption of tables of other shapes than ours (S59; SEMANTICS 3.13,
-- R-13.1): lookup tables, text, integers, domains, keys, partitions, won and
-- lost said apart, and what is refused.
-- In a database of its own, so that every id is the same in every run.
\set ECHO none
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_pipelines_adopt_shapes;
CREATE DATABASE regress_pipelines_adopt_shapes TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\set home :DBNAME
\c regress_pipelines_adopt_shapes
\i test/data/checks.sql
SELECT pipelines.setup();
-- the plan of a table
CREATE FUNCTION plan(relation regclass) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT concat_ws(' | ', part, '"' || value || '"', deals, coalesce(position || '. ' || stage, 'no stage'), outcome, probability, remark)
	FROM pipelines.adoption_plan p WHERE p.relation = plan.relation ORDER BY part DESC, position, value COLLATE "C"
$$;
-- what adopt() says, but for the columns that it adds
CREATE FUNCTION adopted(arguments text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY EXECUTE format('SELECT item || '': '' || action FROM pipelines.adopt(%s) WHERE action !~ ''^(to be added|edit|ANALYZE)''', arguments);
END
$$;
\set ECHO all
--
-- A lookup table (as Odoo has one): gaps in its order, names as jsonb, its column
-- called as ours, won marked there, probabilities as double precision, a timestamp
-- without zone, archived rows
--
CREATE TABLE crm_stage (id serial PRIMARY KEY, name jsonb NOT NULL, sequence integer, is_won boolean);
INSERT INTO crm_stage (name, sequence, is_won) VALUES ('{"en_US": "Won"}', 70, true), ('{"en_US": "New", "de_DE": "Neu"}', 1, false),
	('{"de_DE": "Angebot"}', 20, NULL), ('{"en_US": "Proposition"}', 30, false), ('{"en_US": "Proposition"}', 31, false);
CREATE TABLE crm_lead (id serial PRIMARY KEY, stage_id integer REFERENCES crm_stage, expected_revenue numeric, probability double precision,
	date_deadline date, date_last_stage_update timestamp, create_date timestamp, active boolean NOT NULL DEFAULT true);
INSERT INTO crm_lead (stage_id, expected_revenue, probability, date_deadline, date_last_stage_update, create_date, active)
SELECT 1 + i % 5, i * 100, (ARRAY[100, 10, 35.5, 60, 61])[1 + i % 5] + CASE WHEN i = 7 THEN 5 ELSE 0 END,
	date '2026-03-01' + i, timestamp '2026-02-01 12:00' + i * interval '1 day', '2026-01-01', i <> 20 FROM generate_series(1, 20) i;
SELECT adopted($$'crm_lead', stage => 'stage_id', amount => 'expected_revenue', close_date => 'date_deadline', probability => 'probability',
	live => 'active', since => 'date_last_stage_update', columns => '{"created_at": "create_date"}'$$);
SELECT plan('crm_lead');
UPDATE pipelines.adoption_plan SET stage = 'Proposition' WHERE stage = 'Proposition (2)';
SELECT item, action FROM pipelines.apply_adoption('crm_lead') WHERE item = 'rows';
SELECT position, stage_name, outcome, deals, amount, weighted FROM crm_lead_board ORDER BY 1;
-- an override is a probability that is not the stage's
SELECT id, stage_name, effective_probability, probability_source, stage_entered_at, closed_on FROM crm_lead_current WHERE id IN (5, 6, 7, 8) ORDER BY 1;
-- both values of a stage that was merged stand for it; the more frequent one, or the first, is written
UPDATE crm_lead SET stage_id = 5 WHERE id = 1 RETURNING pipelines_stage_id;
UPDATE crm_lead SET stage_id = 4 WHERE id = 1 RETURNING pipelines_stage_id, version;
UPDATE crm_lead SET pipelines_stage_id = pipelines.stage_id('Standard', 'Proposition') WHERE id = 2 RETURNING stage_id;
UPDATE crm_lead SET pipelines_stage_id = pipelines.stage_id('Standard', 'Won') WHERE id IN (2, 3) RETURNING stage_id, closed_on = current_date AS today;
-- a new row of the lookup table is unknown until somebody says what it stands for
INSERT INTO crm_stage (name) VALUES ('{"en_US": "Legal"}') RETURNING id;
SELECT try('UPDATE crm_lead SET stage_id = 6 WHERE id = 4');
INSERT INTO pipelines.stage (name) VALUES ('Legal');
INSERT INTO pipelines.pipeline_stage (pipeline_id, stage_id, position, outcome, probability) VALUES (1, currval('pipelines.stage_stage_id_seq'), 40, 'open', 80);
SELECT try('UPDATE crm_lead SET pipelines_stage_id = pipelines.stage_id(''Standard'', ''Legal'') WHERE id = 4');
SELECT pipelines.add_stage_value('crm_lead', '6', 'Legal');
UPDATE crm_lead SET pipelines_stage_id = pipelines.stage_id('Standard', 'Legal') WHERE id = 4 RETURNING stage_id;
SELECT * FROM pipelines.verify('crm_lead');
-- resume() and rebuild_views() find everything in its place
SELECT * FROM pipelines.resume('crm_lead');
SELECT * FROM pipelines.rebuild_views('crm_lead');

--
-- Text without a list: 200 values that differ in case and blanks, none merged
--
CREATE TABLE messy (id integer PRIMARY KEY, state text, amount money);
INSERT INTO messy SELECT i, (ARRAY['lead %s', 'Lead %s', 'LEAD  %s ', ' lead %s'])[1 + i % 4], i FROM generate_series(0, 199) i;
UPDATE messy SET state = format(state, id / 4);
INSERT INTO messy VALUES (1000, NULL, 1), (1001, '   ', 1), (1002, '', 1), (1003, 'Closed Won', 5), (1004, 'closed won', 5);
SELECT * FROM adopted($$'messy', stage => 'state', amount => 'amount'$$) LIMIT 10;
SELECT count(*) AS values, count(DISTINCT stage) AS stages, count(*) FILTER (WHERE remark ~ '^Differs from') AS alike,
	count(*) FILTER (WHERE stage IS NULL) AS stageless, min(position), max(position) FROM pipelines.adoption_plan WHERE relation = 'messy'::regclass;
SELECT * FROM plan('messy') WHERE plan ~ '"(.?lead.+7 ?|.losed won|[ ]*)"' LIMIT 12;
-- rows without a stage are listed, and nothing is changed
SELECT try('SELECT pipelines.apply_adoption(''messy'')');
SELECT count(*) AS pipelines FROM pipelines.pipeline;
UPDATE pipelines.adoption_plan SET stage = 'Lead' WHERE relation = 'messy'::regclass AND (value ~* 'lead' OR btrim(value) = '');
UPDATE pipelines.adoption_plan SET outcome = NULL WHERE relation = 'messy'::regclass AND value ~* 'lead';
SELECT item, action FROM pipelines.apply_adoption('messy') WHERE item ~ 'rows|pipeline';
SELECT stage_name, outcome, deals, amount FROM messy_board WHERE pipeline_name = 'messy' ORDER BY position;
SELECT try('UPDATE messy SET state = ''closed WON'' WHERE id = 1');
UPDATE messy SET state = 'Closed Won' WHERE id = 1004 RETURNING version, stage_id = pipelines.stage_id('messy', 'Closed Won') AS moved;
UPDATE messy SET state = NULL WHERE id = 1004 RETURNING stage_id = pipelines.stage_id('messy', 'Lead') AS lead;
SELECT * FROM problems('messy');

--
-- Text with a CHECK, in the order of the list; a domain; a varchar that is too short
--
CREATE DOMAIN phase AS varchar(20) CHECK (VALUE IN ('Z first', 'A second', 'it''s "won"'));
CREATE TABLE checked (id uuid PRIMARY KEY, state text NOT NULL DEFAULT 'Prospect' CHECK (state IN ('Prospect', 'Quote', 'Closed Won', 'Closed/Lost')),
	phase phase, code varchar(5), letter char(3) CHECK (letter = ANY ('{N,"Q x",W}')), n integer CHECK (n IN (30, 10, 20)), CHECK (n > 0 OR code <> 'x'));
INSERT INTO checked VALUES ('00000000-0000-0000-0000-000000000001', 'Quote', 'A second', 'abc', 'Q x', 10);
SELECT count(*) FROM pipelines.adopt('checked', stage => 'n');
SELECT plan('checked');
SELECT count(*) FROM pipelines.adopt('checked', stage => 'letter');
SELECT plan('checked');
SELECT count(*) FROM pipelines.adopt('checked', stage => 'phase');
SELECT plan('checked');
SELECT count(*) FROM pipelines.adopt('checked', stage => 'state', pipeline => 'Checked', apply => true);
INSERT INTO checked (id) VALUES ('00000000-0000-0000-0000-000000000002') RETURNING state, stage_id = pipelines.stage_id('Checked', 'Prospect') AS first;
INSERT INTO checked (id, stage_id) VALUES ('00000000-0000-0000-0000-000000000003', pipelines.stage_id('Checked', 'Closed/Lost')) RETURNING state;
INSERT INTO pipelines.pipeline_stage (pipeline_id, stage_id, position, outcome, probability)
SELECT pipelines.pipeline_id('Checked'), stage_id, 40, 'open', 80 FROM pipelines.stage WHERE name = 'Legal';
SELECT try('UPDATE checked SET stage_id = pipelines.stage_id(''Checked'', ''Legal'')');
SELECT pipelines.release('checked');
CREATE TABLE short (a integer, b text, code varchar(5), letter char(3), PRIMARY KEY (b, a));
INSERT INTO short VALUES (1, 'x', 'abc', 'N'), (2, 'x', 'Legal', 'W');
SELECT adopted($$'short', stage => 'letter', pipeline => 'Short', apply => true$$);
UPDATE short SET letter = 'W' WHERE a = 1 RETURNING stage_id = pipelines.stage_id('Short', 'W') AS followed;
UPDATE short SET stage_id = pipelines.stage_id('Short', 'N') RETURNING letter;
SELECT * FROM problems('short');
SELECT pipelines.release('short');
CREATE TABLE short2 (a integer PRIMARY KEY, code varchar(5));
INSERT INTO short2 VALUES (1, 'abc');
SELECT count(*) FROM pipelines.adopt('short2', stage => 'code', pipeline => 'Short2', apply => true);
INSERT INTO pipelines.stage (name) VALUES ('too long');
INSERT INTO pipelines.pipeline_stage (pipeline_id, stage_id, position, outcome, probability)
SELECT pipelines.pipeline_id('Short2'), stage_id, stage_id, 'open', 80 FROM pipelines.stage WHERE name IN ('Legal', 'too long');
UPDATE short2 SET stage_id = pipelines.stage_id('Short2', 'Legal') RETURNING code;
SELECT try('UPDATE short2 SET stage_id = pipelines.stage_id(''Short2'', ''too long'')');

--
-- Integers, dropped columns, generated columns, identity, the application's activities,
-- probabilities as integer percent, and columns that are added because they were asked for
--
CREATE TABLE job (a integer, gone text, id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, phase smallint NOT NULL, qty integer, price real,
	total real GENERATED ALWAYS AS (qty * price) STORED, pct integer, big text DEFAULT 'big');
ALTER TABLE job DROP COLUMN gone;
CREATE TABLE job_task (id integer, job integer REFERENCES job, kind text, done_at timestamptz);
INSERT INTO job (phase, qty, price, pct) SELECT 10 * (i % 4), i, 1.5, 25 * (i % 4) FROM generate_series(1, 20) i;
SELECT adopted($$'job', stage => 'phase', amount => 'total', probability => 'pct', activity => 'job_task', pipeline => 'Jobs',
	columns => '{"cost": "cost_price", "version": "row_version", "source": "big"}'$$);
SELECT plan('job');
UPDATE pipelines.adoption_plan SET stage = (ARRAY['Asked', 'Planned', 'Under way', 'Billed'])[position], outcome = CASE position WHEN 4 THEN 'done' ELSE 'open' END,
	probability = CASE position WHEN 4 THEN 0 ELSE probability END WHERE relation = 'job'::regclass;
SELECT item, action FROM pipelines.apply_adoption('job') WHERE item = 'rows';
SELECT activity, activity_columns FROM pipelines.tracked_table WHERE relation = 'job'::regclass;
SELECT stage_name, deals, amount, weighted FROM job_board WHERE pipeline_name = 'Jobs' ORDER BY position;
UPDATE job SET stage_id = pipelines.stage_id('Jobs', 'Under way') WHERE id = 1 RETURNING phase, total;
UPDATE job SET phase = 30, qty = 7, cost_price = 5 WHERE id = 1 RETURNING stage_id = pipelines.stage_id('Jobs', 'Billed') AS followed, total, closed_on = current_date AS closed, row_version;
SELECT version, change, phase, total, big FROM job_history WHERE id = 1 ORDER BY version;
SELECT try('UPDATE job SET phase = 40 WHERE id = 2');
SELECT * FROM pipelines.verify('job');

--
-- Won and lost said apart from the stage (as Pipedrive does), several key columns
--
CREATE TABLE pd (org integer, id integer, stage text NOT NULL, status varchar(10) NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'won', 'lost', 'deleted')),
	value numeric, close_time timestamptz, PRIMARY KEY (org, id));
INSERT INTO pd SELECT i % 2, i, (ARRAY['Contact', 'Demo', 'Offer'])[1 + i % 3], (ARRAY['open', 'won', 'lost', 'open'])[1 + i % 4], i, CASE WHEN i % 4 IN (1, 2) THEN timestamptz '2026-02-01 UTC' + i * interval '1 day' END
FROM generate_series(1, 12) i;
SELECT adopted($$'pd', stage => 'stage', outcome => 'status', amount => 'value', close_date => 'close_time', currency => 'USD', pipeline => 'PD'$$);
SELECT plan('pd');
SELECT item, action FROM pipelines.apply_adoption('pd') WHERE item = 'rows';
SELECT stage_name, d.outcome, count(*), sum(amount_) FROM (SELECT *, value AS amount_ FROM pd_current) d GROUP BY 1, 2, position ORDER BY position;
SELECT id, stage, status, stage_name, closed_on, closed_at = close_time AS then FROM pd_current WHERE id < 5 ORDER BY id;
-- its status closes the deal, and reopens it in the stage that it had
UPDATE pd SET status = 'won' WHERE id = 4 RETURNING stage_id = pipelines.stage_id('PD', 'Won') AS won, stage;
UPDATE pd SET status = 'open' WHERE id = 4 RETURNING stage_id = pipelines.stage_id('PD', 'Demo') AS reopened, episode;
-- a closed deal whose stage alone is changed stays closed
UPDATE pd SET stage = 'Offer' WHERE id = 1 RETURNING stage_id = pipelines.stage_id('PD', 'Won') AS won, version;
-- the other way round
UPDATE pd SET stage_id = pipelines.stage_id('PD', 'Lost') WHERE id = 4 RETURNING stage, status;
UPDATE pd SET stage_id = pipelines.stage_id('PD', 'Contact') WHERE id = 4 RETURNING stage, status;
INSERT INTO pd (org, id, stage_id) VALUES (9, 1, pipelines.stage_id('PD', 'Won')) RETURNING stage, status;
INSERT INTO pd (org, id, stage, status) VALUES (9, 2, 'Demo', 'lost') RETURNING stage_id = pipelines.stage_id('PD', 'Lost') AS lost;
SELECT try('UPDATE pd SET status = ''won'', stage_id = pipelines.stage_id(''PD'', ''Lost'') WHERE id = 3');
SELECT * FROM problems('pd');
-- a column of type boolean
CREATE TABLE flag (id text PRIMARY KEY, stage integer NOT NULL, is_won boolean);
INSERT INTO flag VALUES ('a', 1, true), ('b', 2, false), ('c', 2, NULL);
SELECT count(*) FROM pipelines.adopt('flag', stage => 'stage', outcome => 'is_won', pipeline => 'Flags');
SELECT plan('flag');
SELECT item, action FROM pipelines.apply_adoption('flag') WHERE item = 'rows';
UPDATE flag SET stage_id = pipelines.stage_id('Flags', 'Won') WHERE id = 'c' RETURNING is_won;
UPDATE flag SET stage_id = pipelines.stage_id('Flags', 'Stage 1') WHERE id = 'c' RETURNING stage, is_won;
UPDATE flag SET is_won = false WHERE id = 'a' RETURNING stage_id = pipelines.stage_id('Flags', 'Stage 1') AS reopened;

--
-- Probabilities as a fraction of 1
--
CREATE TABLE fraction (id integer PRIMARY KEY, state text, p real, amount bigint);
INSERT INTO fraction SELECT i, (ARRAY['Lead', 'Offer', 'Won'])[1 + i % 3], (ARRAY[0.1, 0.655, 1])[1 + i % 3], 100 FROM generate_series(0, 8) i;
INSERT INTO fraction VALUES (9, 'Lead', 0.25, 100), (10, 'Lead', 'NaN', 100), (11, 'Lead', NULL, 100), (12, 'Lead', -3, 100);
SELECT adopted($$'fraction', stage => 'state', probability => 'p', amount => 'amount', pipeline => 'Fractions', scale => 'fraction'$$);
SELECT plan('fraction');
SELECT item, action FROM pipelines.apply_adoption('fraction') WHERE item = 'rows';
SELECT id, stage_name, p, effective_probability, probability_source, weighted FROM fraction_current ORDER BY id;
SELECT stage_name, deals, weighted FROM fraction_board WHERE pipeline_name = 'Fractions' ORDER BY position;
SELECT bucket, deals, pipeline, weighted, won FROM fraction_forecast ORDER BY bucket COLLATE "C";

--
-- Partitions: another order of columns, one that is attached later
--
CREATE TABLE part (tenant integer, id integer, state text NOT NULL, made date NOT NULL, PRIMARY KEY (tenant, id)) PARTITION BY LIST (tenant);
CREATE TABLE part1 PARTITION OF part FOR VALUES IN (1);
CREATE TABLE part2 (id integer NOT NULL, junk text, state text NOT NULL, made date NOT NULL, tenant integer NOT NULL);
ALTER TABLE part2 DROP COLUMN junk;
ALTER TABLE part ATTACH PARTITION part2 FOR VALUES IN (2);
INSERT INTO part SELECT 1 + i % 2, i, (ARRAY['lead', 'won'])[1 + i % 2], '2026-01-01' FROM generate_series(1, 10) i;
SELECT adopted($$'part', stage => 'state', close_date => 'made', pipeline => 'Parts', apply => true$$);
SELECT tableoid::regclass, state, stage_id = pipelines.stage_id('Parts', state) AS filled, closed_on, count(*) FROM part GROUP BY 1, 2, 3, 4 ORDER BY 1;
UPDATE part SET state = 'won' WHERE id = 2 RETURNING stage_id = pipelines.stage_id('Parts', 'won') AS followed;
UPDATE part2 SET stage_id = pipelines.stage_id('Parts', 'lead') WHERE id = 3 RETURNING state;
SELECT * FROM problems('part');
SELECT pipelines.release('part');
SELECT count(*) AS ours FROM pg_trigger WHERE tgrelid IN ('part'::regclass, 'part1'::regclass, 'part2'::regclass) AND NOT tgisinternal;

--
-- In batches: columns and triggers first, then the rows; what is written meanwhile is
-- completed by the trigger, as what it was before
--
CREATE TABLE batch (id integer PRIMARY KEY, state text, close_on date);
INSERT INTO batch SELECT i, (ARRAY['A', 'B', 'Won'])[1 + i % 3], '2026-02-01' FROM generate_series(1, 7) i;
SELECT adopted($$'batch', stage => 'state', close_date => 'close_on', pipeline => 'Batch'$$);
-- what adopt_in_batches() commits first
SELECT count(*) > 0 AS begun FROM pipelines._begin_adoption('batch');
SELECT count(*) AS unfilled FROM batch WHERE stage_id IS NULL AND pipeline_id IS NOT NULL AND version = 1;
UPDATE batch SET state = 'B' WHERE id = 3;
UPDATE batch SET close_on = '2026-03-01' WHERE id = 2;
UPDATE batch SET stage_id = pipelines.stage_id('Batch', 'Won') WHERE id = 1;
DELETE FROM batch WHERE id = 6;
INSERT INTO batch VALUES (8, 'Won', '2026-03-03');
SELECT try('UPDATE batch SET state = ''Nonsense'' WHERE id = 4');
SELECT id, state, s.name, batch.version, closed_on = '2026-02-01' AS closed_then FROM batch LEFT JOIN pipelines.stage s USING (stage_id) ORDER BY 1;
SELECT id, h.version, change, state, s.name, closed_on FROM batch_history h JOIN pipelines.stage s USING (stage_id) ORDER BY 1;
SELECT try('SELECT pipelines.adopt(''batch'', stage => ''state'')');
SELECT try('SELECT pipelines.apply_adoption(''batch'')');
-- a row that slipped in with a value that nobody planned
ALTER TABLE batch DISABLE TRIGGER USER;
UPDATE batch SET state = 'Slipped' WHERE id IN (4, 7);
ALTER TABLE batch ENABLE TRIGGER USER;
\set SHOW_CONTEXT never
CALL pipelines.adopt_in_batches('batch', 1);
-- mended by the application, or by saying what it stands for
UPDATE batch SET state = 'A' WHERE id = 4 RETURNING version, stage_id = pipelines.stage_id('Batch', 'A') AS filled;
SELECT pipelines.add_stage_value('batch', 'Slipped', 'B');
CALL pipelines.adopt_in_batches('batch', 1);
SELECT try('CALL pipelines.adopt_in_batches(''batch'', 0)');
SELECT id, state, s.name, batch.version, closed_on = '2026-02-01' AS closed_then FROM batch JOIN pipelines.stage s USING (stage_id) ORDER BY 1;
SELECT count(*) AS not_null FROM pg_attribute WHERE attrelid = 'batch'::regclass AND attname IN ('stage_id', 'furthest_stage_id') AND attnotnull;
SELECT count(*) AS checks FROM pg_constraint WHERE conrelid = 'batch'::regclass AND conname = 'pipelines_filled';
\set SHOW_CONTEXT errors
SELECT * FROM problems('batch');
-- an adoption that was begun can be taken back
CREATE TABLE regretted (id integer PRIMARY KEY, state text);
INSERT INTO regretted VALUES (1, 'A');
SELECT count(*) > 0 AS planned FROM pipelines.adopt('regretted', stage => 'state', pipeline => 'Batch');
SELECT count(*) > 0 AS begun FROM pipelines._begin_adoption('regretted');
SELECT pipelines.release('regretted');
INSERT INTO regretted VALUES (2, 'whatever');

--
-- Every way to move a deal moves the application's column, too
--
CREATE TYPE step AS ENUM ('New', 'Quote', 'Demo', 'Talk', 'Won', 'Lost');
CREATE TABLE moved (id integer PRIMARY KEY, state step NOT NULL DEFAULT 'New', amount numeric);
INSERT INTO moved SELECT i, 'New', i FROM generate_series(1, 9) i;
SELECT count(*) > 0 AS adopted FROM pipelines.adopt('moved', stage => 'state', amount => 'amount', pipeline => 'Moved', apply => true);
SELECT * FROM pipelines.move('moved', '1', 'Demo');
SET pipelines.batch = 'b1';
SELECT * FROM pipelines.move_many('moved', '{2,3}', 'Quote');
RESET pipelines.batch;
SELECT ok FROM pipelines.push_back('moved', '1', 'not yet');
SELECT id, state FROM moved WHERE id < 4 ORDER BY 1;
SELECT * FROM pipelines.undo_batch('moved', 'b1');
SELECT id, state FROM moved WHERE id < 4 ORDER BY 1;
-- refused for the table, one by one
INSERT INTO pipelines.pipeline_stage (pipeline_id, stage_id, position, outcome, probability)
SELECT pipelines.pipeline_id('Moved'), stage_id, 99, 'open', 80 FROM pipelines.stage WHERE name = 'Legal';
SELECT * FROM pipelines.move_many('moved', '{7,8}', 'Legal', on_refuse => 'skip');
SELECT * FROM pipelines.move_plan('moved', '{7}', 'Legal');
-- a stage that is merged: its value stands for the one that took over
UPDATE moved SET state = 'Talk' WHERE id = 5;
SELECT * FROM pipelines.merge_stages('Moved', 'Talk', 'Demo');
UPDATE moved SET state = 'Talk' WHERE id = 6;
UPDATE moved SET amount = 1 WHERE id = 5;
SELECT id, state, s.name FROM moved JOIN pipelines.stage s USING (stage_id) WHERE id IN (5, 6) ORDER BY 1;
-- what the application writes while our triggers are off: seen, and mended
SELECT item, action FROM pipelines.resume('moved');
ALTER TABLE moved DISABLE TRIGGER USER;
UPDATE moved SET state = 'Won' WHERE id = 9;
ALTER TABLE moved ENABLE TRIGGER USER;
SELECT item, action FROM pipelines.resume('moved');
SELECT pipelines.follow_application('moved');
SELECT id, state, s.name, closed_on = current_date AS today FROM moved JOIN pipelines.stage s USING (stage_id) WHERE id = 9;
SELECT try('SELECT pipelines.follow_application(''pd'')');
SELECT * FROM problems('moved');

--
-- Refused, before anything is changed
--
CREATE VIEW v AS SELECT * FROM pd;
SELECT try('SELECT pipelines.adopt(''v'', stage => ''stage'')');
CREATE MATERIALIZED VIEW mv AS SELECT 1 AS a;
SELECT try('SELECT pipelines.adopt(''mv'', stage => ''a'')');
CREATE TEMPORARY TABLE tmp (id integer PRIMARY KEY, s text);
SELECT try('SELECT pipelines.adopt(''tmp'', stage => ''s'')');
CREATE UNLOGGED TABLE unlogged (id integer PRIMARY KEY, s text);
SELECT try('SELECT pipelines.adopt(''unlogged'', stage => ''s'')');
CREATE FOREIGN DATA WRAPPER nowhere;
CREATE SERVER elsewhere FOREIGN DATA WRAPPER nowhere;
CREATE FOREIGN TABLE remote (id integer, s text) SERVER elsewhere;
SELECT try('SELECT pipelines.adopt(''remote'', stage => ''s'')');
CREATE TABLE parent (id integer PRIMARY KEY, s text);
CREATE TABLE child () INHERITS (parent);
SELECT try('SELECT pipelines.adopt(''parent'', stage => ''s'')');
SELECT try('SELECT pipelines.adopt(''child'', stage => ''s'')');
SELECT try('SELECT pipelines.adopt(''part1'', stage => ''state'')');
CREATE TABLE by_stage (id integer, s text, PRIMARY KEY (id, s)) PARTITION BY LIST (s);
SELECT try('SELECT pipelines.adopt(''by_stage'', stage => ''s'', key => ''{id}'')');
CREATE TYPE row_type AS (id integer, s text);
CREATE TABLE typed OF row_type (PRIMARY KEY (id));
SELECT try('SELECT pipelines.adopt(''typed'', stage => ''s'')');
CREATE TABLE a234567890123456789012345678901234567890123456 (id integer PRIMARY KEY, s text);
SELECT try('SELECT pipelines.adopt(''a234567890123456789012345678901234567890123456'', stage => ''s'')');
CREATE TABLE keyless (id integer, s text, g text GENERATED ALWAYS AS (upper(s)) STORED, p point, d date);
SELECT try('SELECT pipelines.adopt(''keyless'', stage => ''s'')');
SELECT try('SELECT pipelines.adopt(''keyless'', stage => ''s'', key => ''{id}'')');
ALTER TABLE keyless ALTER COLUMN id SET NOT NULL;
SELECT try('SELECT pipelines.adopt(''keyless'', stage => ''s'', key => ''{id}'')');
CREATE UNIQUE INDEX ON keyless (id);
SELECT try('SELECT pipelines.adopt(''keyless'', stage => ''g'', key => ''{id}'')');
SELECT try('SELECT pipelines.adopt(''keyless'', stage => ''p'', key => ''{id}'')');
SELECT try('SELECT pipelines.adopt(''keyless'', stage => ''id'', key => ''{id}'')');
SELECT try('SELECT pipelines.adopt(''keyless'', stage => ''nope'', key => ''{id}'')');
SELECT try('SELECT pipelines.adopt(''keyless'', stage => NULL)');
SELECT try('SELECT pipelines.adopt(NULL, stage => ''s'')');
SELECT try('SELECT pipelines.adopt(''keyless'', stage => ''s'', key => ''{id}'', amount => ''d'')');
SELECT try('SELECT pipelines.adopt(''keyless'', stage => ''s'', key => ''{id}'', amount => ''s'')');
SELECT try('SELECT pipelines.adopt(''keyless'', stage => ''s'', key => ''{id}'', columns => ''{"closed_at": "d"}'')');
SELECT try('SELECT pipelines.adopt(''keyless'', stage => ''s'', key => ''{id}'', columns => ''{"version": "d"}'')');
SELECT try('SELECT pipelines.adopt(''keyless'', stage => ''s'', key => ''{id}'', columns => ''{"colour": "d"}'')');
SELECT try('SELECT pipelines.adopt(''keyless'', stage => ''s'', key => ''{id}'', close_date => ''d'', columns => ''{"expected_close_on": "d"}'')');
SELECT try('SELECT pipelines.adopt(''keyless'', stage => ''s'', key => ''{id}'', live => ''d IS NULL) OR (true'')');
SELECT try('SELECT pipelines.adopt(''keyless'', stage => ''s'', key => ''{id}'', live => ''true; DROP TABLE keyless'')');
SELECT try('SELECT pipelines.adopt(''keyless'', stage => ''s'', key => ''{id}'', live => ''1, 2'')');
-- a key that no primary key can be of, since only an operator class that is named orders it
\set ECHO none
SET client_min_messages = warning;
CREATE TYPE ticket;
CREATE FUNCTION ticket_in(cstring) RETURNS ticket LANGUAGE internal IMMUTABLE STRICT AS 'int4in';
CREATE FUNCTION ticket_out(ticket) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'int4out';
CREATE TYPE ticket (INPUT = ticket_in, OUTPUT = ticket_out, LIKE = integer);
CREATE FUNCTION ticket_lt(ticket, ticket) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'int4lt';
CREATE FUNCTION ticket_le(ticket, ticket) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'int4le';
CREATE FUNCTION ticket_eq(ticket, ticket) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'int4eq';
CREATE FUNCTION ticket_ge(ticket, ticket) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'int4ge';
CREATE FUNCTION ticket_gt(ticket, ticket) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'int4gt';
CREATE FUNCTION ticket_cmp(ticket, ticket) RETURNS integer LANGUAGE internal IMMUTABLE STRICT AS 'btint4cmp';
CREATE OPERATOR < (LEFTARG = ticket, RIGHTARG = ticket, FUNCTION = ticket_lt);
CREATE OPERATOR <= (LEFTARG = ticket, RIGHTARG = ticket, FUNCTION = ticket_le);
CREATE OPERATOR = (LEFTARG = ticket, RIGHTARG = ticket, FUNCTION = ticket_eq);
CREATE OPERATOR >= (LEFTARG = ticket, RIGHTARG = ticket, FUNCTION = ticket_ge);
CREATE OPERATOR > (LEFTARG = ticket, RIGHTARG = ticket, FUNCTION = ticket_gt);
CREATE OPERATOR CLASS by_number FOR TYPE ticket USING btree AS
	OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 ticket_cmp(ticket, ticket);
CREATE DOMAIN ticket_number AS ticket;
\set ECHO all
CREATE TABLE ticketed (id ticket NOT NULL, number ticket_number NOT NULL, name text NOT NULL, s text);
CREATE UNIQUE INDEX ON ticketed (id by_number);
CREATE UNIQUE INDEX ON ticketed (number by_number, name);
CREATE UNIQUE INDEX ON ticketed (name text_pattern_ops);
SELECT k, try(format('SELECT pipelines.adopt(''ticketed'', stage => ''s'', key => %L)', k)) FROM unnest('{"{id}", "{name,number}"}'::text[]) k;
INSERT INTO ticketed VALUES ('1', '2', 'first', 'New'), ('2', '3', 'second', 'Won');
-- another operator class than the default one doesn't matter where there is one
SELECT count(*) > 0 AS adopted FROM pipelines.adopt('ticketed', stage => 's', key => '{name}', apply => true);
UPDATE ticketed SET s = 'Won' WHERE name = 'first';
SELECT name, version, change FROM ticketed_history;
SELECT * FROM problems('ticketed');
-- nor one whose equality is not PostgreSQL's own
CREATE OPERATOR CLASS by_itself DEFAULT FOR TYPE ticket USING btree AS
	OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 ticket_cmp(ticket, ticket);
CREATE TABLE numbered (id ticket_number PRIMARY KEY, list ticket[] NOT NULL UNIQUE, s text);
SELECT try('SELECT pipelines.adopt(''numbered'', stage => ''s'')');
SELECT try('SELECT pipelines.adopt(''numbered'', stage => ''s'', key => ''{list}'')');
RESET client_min_messages;
CREATE TABLE keyless_history ();
SELECT try('SELECT pipelines.adopt(''keyless'', stage => ''s'', key => ''{id}'')');
-- an empty table gets the stages of the standard template
SELECT adopted($$'keyless', stage => 's', key => '{id}', history => 'keyless_past'$$);
SELECT count(*) AS adopted FROM pipelines.adopt('keyless', stage => 's', key => '{id}', history => 'keyless_past', apply => true, columns => '{"amount": "value"}');
INSERT INTO keyless (id, value) VALUES (1, 5);
SELECT try('INSERT INTO keyless (id, s) VALUES (2, ''x'')');
-- what is done in batches says how far it has come, every hundred of them
CREATE TABLE pages (id integer PRIMARY KEY, s text, note text);
ALTER TABLE pages ALTER COLUMN note SET STORAGE PLAIN;
INSERT INTO pages SELECT n, 'New', repeat('x', 5000) FROM generate_series(1, 120) n;
SELECT count(*) > 0 AS planned FROM pipelines.adopt('pages', stage => 's');
SET client_min_messages = notice;
\set VERBOSITY terse
CALL pipelines.adopt_in_batches('pages', 1);
\set VERBOSITY default
RESET client_min_messages;
SELECT count(*), count(stage_id) AS filled, min(version) AS version FROM pages;

-- accounts by whatever name (S35), and what boards show of a deal
CREATE TABLE sale (id integer PRIMARY KEY, state text, worth numeric, customer_id integer, concern integer, subject text);
INSERT INTO sale VALUES (1, 'New', 10, 7, 70, 'one'), (2, 'New', 20, 7, 70, 'two'), (3, 'Won', 30, 8, 70, 'three'), (4, 'New', 40, 9, NULL, 'four');
SELECT * FROM pipelines.adopt('sale', stage => 'state', amount => 'worth', currency => 'EUR', pipeline => 'Sale', columns => '{"account": "customer_id", "parent_account": "concern", "name": "subject"}')
WHERE item ~ 'customer_id|concern|subject';
SELECT count(*) > 0 AS adopted FROM pipelines.apply_adoption('sale');
SELECT account, deals, open_deals, open_amount, won_amount, parent_account, customer_open_amount, customer_won_amount FROM sale_accounts ORDER BY 1;
SELECT card ->> 'name' AS name, card ->> 'account' AS account FROM pipelines.board('sale') b, jsonb_array_elements(b.card_list) card ORDER BY 1;
DROP VIEW sale_accounts;
SELECT * FROM pipelines.resume('sale');
SELECT account, deals FROM sale_accounts ORDER BY 1;
CREATE TABLE sale2 (id integer PRIMARY KEY, state text);
SELECT try($$SELECT pipelines.adopt('sale2', stage => 'state', columns => '{"account": "nobody"}')$$);

\c :home
SET client_min_messages = warning;
DROP DATABASE regress_pipelines_adopt_shapes;
