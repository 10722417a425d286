-- move_functions.sql: move(), move_many(), move_plan() (R-2.14, R-2.21, R-2.22), push_back()
-- (S20, R-2.10 to R-2.12), undo_batch() (R-2.23).  In a database of its own.
\set ECHO none
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_pipelines_move_functions;
CREATE DATABASE regress_pipelines_move_functions TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\set home :DBNAME
\c regress_pipelines_move_functions
\i test/data/checks.sql
\set ECHO all
CREATE ROLE regress_move_owner;
CREATE ROLE regress_move_clerk;
SELECT pipelines.create_pipeline('Sales', stages => '[
	{"name": "New", "probability": 10}, {"name": "Quote", "code": "q", "probability": 40},
	{"name": "Demo", "probability": 60}, {"name": "Contract", "probability": 80},
	{"name": "Won", "outcome": "won"}, {"name": "Lost", "outcome": "lost"}, {"name": "Parked", "outcome": "on_hold", "probability": 5, "mandatory": false}]');
SELECT pipelines.create_pipeline('Renewal', stages => '["New", {"name": "Offer", "probability": 70}, {"name": "Won", "outcome": "won"}]');
SELECT pipelines.create_pipeline('Boats', layout => 'boats', stages => '["New", "Sail", {"name": "Won", "outcome": "won"}]');
CREATE SCHEMA app AUTHORIZATION regress_move_owner;
GRANT USAGE ON SCHEMA app TO regress_move_clerk;
CREATE FUNCTION st(stage text, pipeline text DEFAULT 'Sales') RETURNS integer LANGUAGE sql STABLE AS
	'SELECT pipelines.stage_id(pipeline, stage)';
SET search_path = app, public;
SET ROLE regress_move_owner;
SELECT pipelines.create_deals('deals', layout => 'default');
INSERT INTO deals (deal_id, amount) SELECT i, 100 * i FROM generate_series(1, 12) i;

--
-- move(): to a stage, to a pipeline, to a stage of another one
--
SELECT * FROM pipelines.move('deals', '1', 'q');
SELECT * FROM pipelines.move('deals', '1', 'Demo', reason => 'they insist');
SELECT try($$SELECT pipelines.move('deals', '1', NULL, 'Renewal')$$);
SELECT * FROM pipelines.move('deals', '1', 'Offer', 'Renewal');
SELECT * FROM pipelines.move('deals', '2', NULL, 'Renewal');
SELECT * FROM pipelines.move('deals', '2', 'Offer');
SELECT * FROM pipelines.move('deals', '2', 'Demo', 'Sales');
SELECT life('2');
SELECT version, change, reason FROM deals_history WHERE deal_id = 1 ORDER BY 1;
-- R-2.5: where it is already
SELECT * FROM pipelines.move('deals', '2', 'Demo');
SELECT version FROM deals WHERE deal_id = 2;
-- the weighted amount: won, lost, on hold (omitted), with a probability and a category of its own, without an amount
SELECT * FROM pipelines.move('deals', '3', 'Won');
SELECT * FROM pipelines.move('deals', '4', 'Lost');
SELECT * FROM pipelines.move('deals', '5', 'Parked');
UPDATE deals SET probability = 12.5 WHERE deal_id = 6;
SELECT * FROM pipelines.move('deals', '6', 'Demo');
SELECT * FROM pipelines.move('deals', '6', 'Won');
UPDATE deals SET forecast_category = 'omitted' WHERE deal_id = 7;
SELECT * FROM pipelines.move('deals', '7', 'Demo');
UPDATE deals SET amount = NULL WHERE deal_id = 8;
SELECT * FROM pipelines.move('deals', '8', 'Demo');
-- the sum of the changes is what T_current says
SELECT sum(weighted) - 10 * sum(deal_id) FILTER (WHERE deal_id IN (3, 4, 5)) AS change FROM deals_current WHERE deal_id IN (3, 4, 5);
-- compare and set
SELECT try($$SELECT pipelines.move('deals', '1', 'Contract', expect_stage => 'New')$$);
SELECT try($$SELECT pipelines.move('deals', '9', 'Quote', expect_stage => 'q')$$);
SELECT * FROM pipelines.move('deals', '9', 'Quote', expect_stage => 'New');
-- what can't be
SELECT try($$SELECT pipelines.move('deals', '99', 'Quote')$$);
SELECT try($$SELECT pipelines.move('deals', 'x', 'Quote')$$);
SELECT try($$SELECT pipelines.move('deals', '9', 'Treaty')$$);
SELECT try($$SELECT pipelines.move('deals', '9', 'Sail')$$);
SELECT try($$SELECT pipelines.move('deals', '9', 'Offer')$$);
SELECT try($$SELECT pipelines.move('deals', '9', 'Offer', 'Sales')$$);
SELECT try($$SELECT pipelines.move('deals', '9', NULL, 'Boats')$$);
SELECT try($$SELECT pipelines.move('deals', '9', NULL)$$);
SELECT try($$SELECT pipelines.move('deals', NULL, 'Quote')$$);
SELECT try($$SELECT pipelines.move(NULL, '9', 'Quote')$$);
SELECT try($$SELECT pipelines.move('deals_history', '9', 'Quote')$$);
SELECT problems();

--
-- move_many() and move_plan()
--
RESET ROLE;
UPDATE pipelines.pipeline SET mode = 'strict' WHERE name = 'Sales';
SET ROLE regress_move_owner;
-- 9 is in Quote, 10 to 12 are in New, 1 is in Renewal
SELECT * FROM pipelines.move_plan('deals', '{9,10,1,77,12,9}', 'Demo');
SELECT count(*) FROM deals_history WHERE deal_id IN (10, 11, 12);
SELECT try($$SELECT pipelines.move_many('deals', '{9,10,1,12}', 'Demo')$$);
SELECT try($$SELECT pipelines.move_many('deals', '{9,77,88}', 'Demo')$$);
SELECT try($$SELECT pipelines.move_many('deals', '{9,77}', 'Demo')$$);
SELECT deal_id, stage_id = st('Quote') AS quote FROM deals WHERE deal_id = 9;
SET pipelines.batch = 'many';
SELECT * FROM pipelines.move_many('deals', '{9,10,1,77,12,9}', 'Demo', reason => 'spring', on_refuse => 'skip');
SELECT deal_id, change, reason, batch FROM deals_history WHERE reason = 'spring';
SELECT * FROM pipelines.move_many('deals', '{10,11}', 'Quote');
RESET pipelines.batch;
SELECT * FROM pipelines.move_many('deals', '{}', 'Quote');
SELECT * FROM pipelines.move_plan('deals', '{}', 'Quote');
SELECT try($$SELECT pipelines.move_many('deals', '{1,NULL}', 'Quote')$$);
SELECT try($$SELECT pipelines.move_many('deals', '{1}', 'Quote', on_refuse => 'shrug')$$);
SELECT try($$SELECT pipelines.move_many('deals', '{1}', 'Quote', on_refuse => NULL)$$);
-- R-2.14: a transfer finds the stage of each deal; what has none is told
SELECT * FROM pipelines.move_plan('deals', '{9,10,11,12,3}', NULL, 'Renewal');
SELECT * FROM pipelines.move_many('deals', '{9,10,11,12,3}', NULL, 'Renewal', on_refuse => 'skip');
-- keys in another form are the same deal
SELECT * FROM pipelines.move_plan('deals', '{ 09 ,+9}', NULL, 'Renewal');
-- the plan says what happens: over all deals and targets, in modes
RESET ROLE;
CREATE FUNCTION compare(stage text, pipeline text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	ids text[] := (SELECT array_agg(deal_id::text ORDER BY deal_id) FROM app.deals);
	answer bigint;
BEGIN
	CREATE TEMPORARY TABLE planned AS SELECT * FROM pipelines.move_plan('app.deals', ids, stage, pipeline);
	BEGIN
		CREATE TEMPORARY TABLE done AS SELECT * FROM pipelines.move_many('app.deals', ids, stage, pipeline, on_refuse => 'skip');
		SELECT count(*) INTO answer FROM ((TABLE planned EXCEPT TABLE done) UNION ALL (TABLE done EXCEPT TABLE planned)) x;
		-- and nothing stays of it
		RAISE EXCEPTION USING ERRCODE = 'P9999';
	EXCEPTION WHEN SQLSTATE 'P9999' THEN
		NULL;
	END;
	DROP TABLE planned;
	RETURN answer;
END
$$;
SELECT s.stage, p.pipeline, compare(s.stage, p.pipeline) AS differences
FROM (VALUES ('Quote'), ('Contract'), ('Won'), ('Lost')) s(stage), (VALUES (NULL), ('Sales')) p(pipeline)
UNION ALL SELECT NULL, 'Renewal', compare(NULL, 'Renewal') UNION ALL SELECT 'Offer', NULL, compare('Offer', NULL);
SET ROLE regress_move_owner;
SELECT problems();

-- several key columns; partitions
SELECT pipelines.create_deals('parts', layout => 'default', key => '{tenant,id}', partition_by => 'LIST (tenant)', partition_history => true);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES IN (2);
SELECT count(*) FROM pipelines.resume('parts');
INSERT INTO parts (tenant, id, amount) SELECT 1 + i % 2, i, i FROM generate_series(1, 4) i;
SELECT * FROM pipelines.move_plan('parts', '{"(1,2)","(2,1)","(2,2)"}', 'Quote');
SET pipelines.batch = 'p';
SELECT * FROM pipelines.move_many('parts', '{"(1,2)","(2,1)","( 2,\"3\")"}', 'Quote');
RESET pipelines.batch;
SELECT * FROM pipelines.move('parts', '(1,4)', 'Quote');
SELECT try($$SELECT pipelines.move('parts', '1', 'Quote')$$);
SELECT try($$SELECT pipelines.move('parts_1', '(1,4)', 'Quote')$$);
SELECT * FROM pipelines.undo_batch('parts', 'p');
SELECT tenant, id, stage_name FROM parts_current ORDER BY 1, 2;

-- rights: those of the caller, and what he can't see is not there
SELECT pipelines.grant_access('deals', 'regress_move_clerk', 'read');
SET ROLE regress_move_clerk;
SELECT try($$SELECT pipelines.move('deals', '10', 'Demo')$$);
SELECT try($$SELECT pipelines.move_plan('deals', '{10}', 'Demo')$$);
SET ROLE regress_move_owner;
SELECT pipelines.grant_access('deals', 'regress_move_clerk', 'write');
ALTER TABLE deals ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON deals TO regress_move_clerk USING (deal_id <= 10);
SELECT count(*) FROM pipelines.rebuild_views('deals') WHERE item ~ 'policy';
SET ROLE regress_move_clerk;
SELECT deal, ok, sqlstate, reason FROM pipelines.move_many('deals', '{10,11}', 'Lost', on_refuse => 'skip');
SELECT deal, ok, sqlstate, reason FROM pipelines.move_plan('deals', '{10,11}', 'Lost');
SELECT try($$SELECT pipelines.move('deals', '11', 'Lost')$$);
SET ROLE regress_move_owner;
ALTER TABLE deals DISABLE ROW LEVEL SECURITY;
-- a trigger of the application finds its tables where the caller does; what it does is judged like anything else
CREATE TABLE seen (deal_id bigint);
CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO seen VALUES (new.deal_id);
	UPDATE deals SET stage_id = 4 WHERE deal_id = 900;
	RETURN NULL;
END
$$;
INSERT INTO deals (deal_id) VALUES (900), (901);
CREATE TRIGGER see AFTER UPDATE ON deals FOR EACH ROW WHEN (new.deal_id = 901) EXECUTE FUNCTION see();
SELECT try($$SELECT pipelines.move_many('deals', '{901}', 'Quote', on_refuse => 'skip')$$);
DROP TRIGGER see ON deals;

--
-- push_back() (S20): skipped, pushed back, and on again only step by step
--
RESET ROLE;
UPDATE pipelines.pipeline SET mode = 'free' WHERE name = 'Sales';
INSERT INTO pipelines.stage_activity (pipeline_id, stage_id, kind) VALUES (1, st('Quote'), 'call');
SET ROLE regress_move_owner;
INSERT INTO deals (deal_id, amount, expected_close_on, probability) VALUES (20, 1000, '2030-01-01', 90), (21, 1000, NULL, NULL), (22, 1, NULL, NULL);
SELECT * FROM pipelines.move('deals', '20', 'Contract');
SELECT try($$SELECT pipelines.push_back('deals', '20', NULL)$$);
SELECT * FROM pipelines.push_back('deals', '20', 'no quote was sent');
-- it is seen in what changed (R-2.12)
SELECT deal, 'pushed_back' = ANY (flags) AS in_review, 'moved' = ANY (flags) AS moved FROM pipelines.review('deals') WHERE deal = '20';
SELECT DISTINCT deal FROM pipelines.changes('deals') WHERE 'pushed_back' = ANY (flags);
SELECT count(*) FROM pipelines.review('deals', since => clock_timestamp()) WHERE 'pushed_back' = ANY (flags);
SELECT life('20');
-- R-2.11: strict, with activities, up to where it was; R-2.12: amounts, dates and overrides stay
SELECT amount, expected_close_on, probability, gate_stage_id = st('Contract') AS gate, furthest_stage_id = st('Contract') AS furthest FROM deals WHERE deal_id = 20;
SELECT try($$SELECT pipelines.move('deals', '20', 'Contract')$$);
SELECT try($$SELECT pipelines.move('deals', '20', 'Demo')$$);
INSERT INTO deals_activity (deal_id, kind, done_at) VALUES (20, 'call', now());
SELECT deal, ok FROM pipelines.move('deals', '20', 'Demo');
-- Quote was visited since, Demo is where it is: nothing that was skipped is left
SELECT try($$SELECT pipelines.push_back('deals', '20', 'again')$$);
SELECT deal, ok FROM pipelines.move('deals', '20', 'Contract');
SELECT gate_stage_id FROM deals WHERE deal_id = 20;
SELECT try($$SELECT pipelines.push_back('deals', '20', 'again')$$);
-- to a stage that is named
SELECT deal, ok, target FROM pipelines.push_back('deals', '20', 'start anew', 'New');
SELECT try($$SELECT pipelines.push_back('deals', '21', 'why', 'Quote')$$);
SELECT try($$SELECT pipelines.push_back('deals', '21', 'why')$$);
SELECT try($$SELECT pipelines.push_back('deals', '3', 'why', 'New')$$);
SELECT try($$SELECT pipelines.push_back('deals', '99', 'why')$$);
-- only skips of the present episode count
SELECT deal, ok FROM pipelines.move('deals', '22', 'Demo');
SELECT deal, ok FROM pipelines.move('deals', '22', 'Lost');
SELECT deal, ok FROM pipelines.move('deals', '22', 'Demo');
SELECT try($$SELECT pipelines.push_back('deals', '22', 'why')$$);
-- who may not see what was skipped may push back nevertheless
SELECT deal, ok FROM pipelines.move('deals', '21', 'Demo');
REVOKE SELECT ON deals_history FROM regress_move_clerk;
SET ROLE regress_move_clerk;
SELECT deal, ok, target FROM pipelines.push_back('deals', '21', 'why');
SET ROLE regress_move_owner;
SELECT problems();

--
-- undo_batch() (R-2.23)
--
RESET ROLE;
DELETE FROM pipelines.stage_activity;
UPDATE pipelines.pipeline SET backward = 'refused' WHERE name = 'Sales';
SET ROLE regress_move_owner;
INSERT INTO deals (deal_id, amount, owner, close_reason) SELECT i, i, 'eve', NULL FROM generate_series(30, 39) i;
UPDATE deals SET stage_id = st('Quote') WHERE deal_id = 38;
UPDATE deals SET stage_id = st('Won'), close_reason = 'price', closed_on = '2020-02-02' WHERE deal_id = 39;
SET pipelines.batch = 'b';
SET pipelines.reason = 'mass update';
UPDATE deals SET stage_id = st('Demo'), owner = 'bob', amount = amount * 2 WHERE deal_id BETWEEN 30 AND 37;
UPDATE deals SET stage_id = st('Contract'), next_action_at = '2030-01-01' WHERE deal_id BETWEEN 30 AND 31;
UPDATE deals SET stage_id = st('Lost'), close_reason = 'gone' WHERE deal_id IN (37, 38);
UPDATE deals SET stage_id = st('Quote') WHERE deal_id = 39;
DELETE FROM deals WHERE deal_id = 36;
INSERT INTO deals (deal_id) VALUES (40);
UPDATE deals SET owner = 'cid' WHERE deal_id = 40;
RESET pipelines.batch;
RESET pipelines.reason;
UPDATE deals SET amount = 7 WHERE deal_id = 32;
UPDATE deals SET stage_id = st('Contract') WHERE deal_id = 33;
UPDATE deals SET stage_id = st('Contract') WHERE deal_id = 34;
SELECT deal, ok FROM pipelines.push_back('deals', '34', 'to where the batch had put it', 'Demo');
SET pipelines.batch = 'b';
UPDATE deals SET stage_id = st('Contract') WHERE deal_id = 32;
RESET pipelines.batch;
SET pipelines.batch = 'back again';
SELECT * FROM pipelines.undo_batch('deals', 'b');
RESET pipelines.batch;
SELECT deal_id, stage_name, amount, owner, next_action_at, close_reason, closed_on, episode, version FROM deals_current WHERE deal_id BETWEEN 30 AND 40 ORDER BY 1;
SELECT deal_id, change, count(*) FROM deals_history WHERE batch = 'back again' GROUP BY 1, 2 ORDER BY 1;
SELECT life('30');
SELECT * FROM pipelines.undo_batch('deals', 'back again') WHERE deal = '30';
SELECT stage_name, amount, owner, next_action_at FROM deals_current WHERE deal_id = 30;
-- changed since, but not moved: only the stage goes back, and only as the rules let it
INSERT INTO deals (deal_id, amount, owner) VALUES (50, 50, 'eve'), (51, 51, 'eve');
SET pipelines.batch = 'c';
UPDATE deals SET stage_id = st('Demo'), owner = 'bob' WHERE deal_id IN (50, 51);
RESET pipelines.batch;
UPDATE deals SET amount = 1000000 WHERE deal_id IN (50, 51);
SELECT * FROM pipelines.undo_batch('deals', 'c');
RESET ROLE;
UPDATE pipelines.pipeline SET backward = 'allowed' WHERE name = 'Sales';
INSERT INTO pipelines.approval (pipeline_id, to_stage_id, above, role) VALUES (1, st('New'), 1000, 'regress_move_owner');
SET ROLE regress_move_owner;
UPDATE deals SET amount = 999 WHERE deal_id = 51;
RESET ROLE;
SELECT * FROM pipelines.undo_batch('app.deals', 'c');
DELETE FROM pipelines.approval;
SET ROLE regress_move_owner;
SELECT life('51');
-- a column that was not tracked yet keeps what it has
INSERT INTO deals (deal_id, name) VALUES (52, 'a name');
SET pipelines.batch = 'd';
UPDATE deals SET stage_id = st('Demo') WHERE deal_id = 52;
RESET pipelines.batch;
SELECT pipelines.track('deals', 'name');
SELECT * FROM pipelines.undo_batch('deals', 'd');
SELECT name, stage_name FROM deals_current WHERE deal_id = 52;
-- what needs leave now was allowed once, whether or not the deal moves
INSERT INTO deals (deal_id, amount, stage_id) VALUES (53, 5000, st('New')), (54, 5000, st('New'));
SET pipelines.batch = 'e';
UPDATE deals SET amount = 10 WHERE deal_id = 53;
UPDATE deals SET amount = 10, stage_id = st('Demo') WHERE deal_id = 54;
RESET pipelines.batch;
RESET ROLE;
INSERT INTO pipelines.approval (pipeline_id, above, role) VALUES (1, 1000, 'regress_move_clerk');
SET ROLE regress_move_owner;
SELECT try('UPDATE deals SET amount = 5000 WHERE deal_id = 53'), try('UPDATE deals SET amount = 5000, stage_id = st(''New'') WHERE deal_id = 54');
SELECT * FROM pipelines.undo_batch('deals', 'e');
SELECT deal_id, amount, stage_name, version FROM deals_current WHERE deal_id IN (53, 54) ORDER BY 1;
RESET ROLE;
DELETE FROM pipelines.approval;
SET ROLE regress_move_owner;
-- what a closing said comes back, too: of a deal that was closed again in the same stage, or in
-- another one, on another day or on the same one
INSERT INTO deals (deal_id, stage_id, closed_at, closed_on) SELECT n, st('Won'), '2026-01-01 10:00+00', '2026-01-02' FROM generate_series(55, 58) n;
SET pipelines.batch = 'f';
UPDATE deals SET stage_id = st('Demo') WHERE deal_id IN (55, 56);
UPDATE deals SET stage_id = st('Won'), closed_at = '2026-03-03 10:00+00', closed_on = CASE deal_id WHEN 56 THEN date '2026-01-02' END WHERE deal_id IN (55, 56);
UPDATE deals SET stage_id = st('Lost'), close_reason = 'price', closed_at = '2026-03-03 10:00+00' WHERE deal_id = 57;
UPDATE deals SET stage_id = st('Lost'), close_reason = 'price', closed_at = '2026-03-03 10:00+00', closed_on = '2026-03-04' WHERE deal_id = 58;
UPDATE deals SET closed_on = '2026-01-02' WHERE deal_id = 58;
RESET pipelines.batch;
SELECT deal_id, stage_name, closed_at, closed_on, episode FROM deals_current WHERE deal_id BETWEEN 55 AND 58 ORDER BY 1;
SELECT * FROM pipelines.undo_batch('deals', 'f');
SELECT deal_id, stage_name, closed_at, closed_on, close_reason, episode FROM deals_current WHERE deal_id BETWEEN 55 AND 58 ORDER BY 1;
SELECT deal_id, string_agg(change, ' ' ORDER BY version) FROM deals_history WHERE deal_id BETWEEN 55 AND 58 GROUP BY 1 ORDER BY 1;
SELECT try($$SELECT pipelines.undo_batch('deals', 'none')$$);
SELECT try($$SELECT pipelines.undo_batch('deals', NULL)$$);
SELECT problems();

-- on_refuse => 'skip', where only the row as it stands can tell: rules over generated
-- columns, and triggers that fire after ours; on partitions, too
RESET ROLE;
CREATE TABLE offers (region integer, id integer, quantity integer, price numeric, total numeric GENERATED ALWAYS AS (quantity * price) STORED, state text DEFAULT 'New', PRIMARY KEY (region, id)) PARTITION BY LIST (region);
CREATE TABLE offers_1 PARTITION OF offers FOR VALUES IN (1);
CREATE TABLE offers_2 PARTITION OF offers FOR VALUES IN (2);
INSERT INTO offers SELECT r, i, i, 10 FROM generate_series(1, 2) r, generate_series(1, 6) i;
INSERT INTO offers (region, id, quantity, price, state) VALUES (1, 9, 9, 10, 'Sent'), (2, 9, 9, 10, 'Won');
SELECT count(*) > 0 AS adopted FROM pipelines.adopt('offers', stage => 'state', amount => 'total', layout => 'offers', apply => true);
UPDATE pipelines.pipeline_stage s SET entry_rule = 'total > 20' FROM pipelines.pipeline p, pipelines.layout l, pipelines.stage n
WHERE p.pipeline_id = s.pipeline_id AND l.layout_id = p.layout_id AND l.name = 'offers' AND n.stage_id = s.stage_id AND n.name = 'Sent';
SELECT deal, ok, sqlstate, reason FROM pipelines.move_many('offers', '{"(1,1)","(2,2)","(2,3)","(1,4)","(3,1)"}', 'Sent', on_refuse => 'skip', reason => 'season');
SELECT region, id, state, version FROM offers WHERE version > 1 ORDER BY 1, 2;
SELECT region, id, change, reason FROM offers_history ORDER BY 1, 2;
SELECT try($$SELECT pipelines.move_many('offers', '{"(1,1)","(2,2)","(2,4)"}', 'Sent')$$);
CREATE FUNCTION halve() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN new.quantity := new.quantity / 2; RETURN new; END$$;
CREATE TRIGGER "§zz" BEFORE UPDATE ON offers FOR EACH ROW EXECUTE FUNCTION halve();
SELECT deal, ok, sqlstate, reason FROM pipelines.move_many('offers', '{"(2,4)","(2,5)","(2,6)","(1,6)"}', 'Sent', on_refuse => 'skip');
SELECT region, id, state, quantity, version FROM offers WHERE id > 3 AND id < 7 ORDER BY 1, 2;
-- what a trigger raises is no refusal; the transaction goes on from its savepoint
CREATE OR REPLACE FUNCTION halve() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'never'; END$$;
BEGIN;
SAVEPOINT before;
SELECT try($$SELECT pipelines.move_many('offers', '{"(2,4)"}', 'New', on_refuse => 'skip')$$);
ROLLBACK TO before;
DROP TRIGGER "§zz" ON offers;
SELECT deal, ok FROM pipelines.move_many('offers', '{"(2,4)"}', 'Sent', on_refuse => 'skip');
COMMIT;
SELECT region, id, state, version FROM offers WHERE region = 2 AND id = 4;
SELECT * FROM pipelines.verify('offers');

--
-- weighted_change is what T_current says of before and after: with what a deal says of
-- itself, put aside, and with probabilities as the application writes them
--
CREATE FUNCTION changes(deals text, stage text) RETURNS TABLE (changes numeric[], as_shown boolean) LANGUAGE plpgsql AS $$
DECLARE
	before jsonb; moved jsonb; after jsonb; shown CONSTANT text := format('SELECT jsonb_object_agg(deal_id, coalesce(weighted::text, ''none'')) FROM %I', deals || '_current');
BEGIN
	EXECUTE shown INTO before;
	SELECT jsonb_object_agg(m.deal, m.weighted_change) INTO moved FROM pipelines.move_many(deals::regclass, ARRAY(SELECT jsonb_object_keys(before)), stage) m;
	EXECUTE shown INTO after;
	RETURN QUERY SELECT array_agg(m.value::numeric ORDER BY m.key::integer), bool_and(m.value::numeric IS NOT DISTINCT FROM
		nullif(after ->> m.key, 'none')::numeric - nullif(before ->> m.key, 'none')::numeric) FROM jsonb_each_text(moved) m;
END
$$;
SELECT pipelines.create_pipeline('Chances', layout => 'chances', stages => '[{"name": "Lead", "probability": 10}, {"name": "Offer", "probability": 50},
	{"name": "Won", "outcome": "won"}, {"name": "Lost", "outcome": "lost"}, {"name": "Aside", "outcome": "on_hold", "probability": 5}]') > 0 AS made;
SELECT pipelines.create_deals('own', layout => 'chances', currency => 'EUR');
INSERT INTO own (deal_id, amount, probability, forecast_category) SELECT row_number() OVER (ORDER BY p, c), 100, p, c
FROM unnest(ARRAY[NULL, 0, 37.5]) p, unnest(ARRAY[NULL, 'omitted', 'commit']) c;
SELECT n, stage, c.* FROM unnest('{Offer,Aside,Lead,Won,Offer,Lost}'::text[]) WITH ORDINALITY s(stage, n), changes('own', stage) c;
CREATE TABLE written (deal_id integer PRIMARY KEY, state text, p double precision, amount integer);
INSERT INTO written SELECT n, 'Lead', p, 1000 FROM unnest('{NULL,0,0.25,0.12345,1,1.001,-0.01,37.5,100,100.001,NaN}'::float8[]) WITH ORDINALITY u(p, n);
SELECT count(*) > 0 AS adopted FROM pipelines.adopt('written', stage => 'state', probability => 'p', amount => 'amount', scale => 'fraction', pipeline => 'Chances', layout => 'chances', apply => true);
CREATE TABLE at_first AS SELECT w.deal_id, w.p FROM written w;
-- what is not a fraction is a percentage, as in the views, whatever somebody made of it; null is no word
CREATE FUNCTION written_as(scale jsonb) RETURNS TABLE (offer numeric[], won numeric[], as_shown boolean) LANGUAGE plpgsql AS $$
BEGIN
	UPDATE pipelines.tracked_table SET application = jsonb_set(application, '{scale}', scale) WHERE relation = 'written'::regclass;
	PERFORM pipelines.rebuild_views('written');
	PERFORM pipelines.move_many('written', ARRAY(SELECT w.deal_id::text FROM written w), 'Lead');
	UPDATE written w SET p = f.p FROM at_first f WHERE f.deal_id = w.deal_id;
	SELECT c.changes, c.as_shown INTO offer, as_shown FROM changes('written', 'Offer') c;
	SELECT c.changes, c.as_shown AND written_as.as_shown INTO won, as_shown FROM changes('written', 'Won') c;
	RETURN NEXT;
END
$$;
SELECT scale, w.* FROM unnest(ARRAY['"fraction"', '"percent"', '"per cent"', '""', '1', 'true', 'null']::jsonb[]) scale, written_as(scale) w;
\set ECHO none
RESET ROLE;
SET client_min_messages = warning;
\c :home
DROP DATABASE regress_pipelines_move_functions;
DROP ROLE regress_move_owner, regress_move_clerk;
