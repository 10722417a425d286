-- purge.sql: purge() (R-2.37), and the key of a deal as text.  In a database of its own.
\set ECHO none
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_pipelines_purge;
CREATE DATABASE regress_pipelines_purge TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\set home :DBNAME
\c regress_pipelines_purge
\i test/data/checks.sql
\set ECHO all
CREATE ROLE regress_purge_definer;
CREATE ROLE regress_purge_owner;
CREATE ROLE regress_purge_clerk;
SELECT pipelines.setup(owner => 'regress_purge_definer');
SELECT pipelines.create_pipeline('Sales', stages => '["New", "Quote", {"name": "Won", "outcome": "won"}, {"name": "Lost", "outcome": "lost"}]');
CREATE FUNCTION st(stage text) RETURNS integer LANGUAGE sql STABLE AS 'SELECT pipelines.stage_id(''Sales'', stage)';
CREATE SCHEMA app AUTHORIZATION regress_purge_owner;
GRANT USAGE ON SCHEMA app TO regress_purge_clerk;
SET search_path = app, public;
SET ROLE regress_purge_owner;
SELECT pipelines.create_deals('deals', currency => 'EUR');
-- columns of the application; two of them are tracked
ALTER TABLE deals ADD email text NOT NULL DEFAULT 'someone@example.org', ADD visits integer DEFAULT 1, ADD remark text;
SELECT pipelines.track('deals', 'email');
SELECT pipelines.track('deals', 'visits');

CREATE PROCEDURE live(relation regclass, id text) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('UPDATE %s SET stage_id = st(''Quote''), amount = 10, owner = ''bob'' WHERE %s', relation, id);
	EXECUTE format('UPDATE %s SET stage_id = st(''Won''), close_reason = ''friend of Ann'', close_notes = ''x'', competitor = ''Cid Inc.'' WHERE %s', relation, id);
	EXECUTE format('UPDATE %s SET stage_id = st(''New'') WHERE %s', relation, id);
	EXECUTE format('UPDATE %s SET stage_id = st(''Lost''), close_reason = ''moved away'' WHERE %s', relation, id);
END
$$;
INSERT INTO deals (deal_id, name, account, owner, amount, source, product, attributes, email, remark)
SELECT i, 'Mr. ' || i, 'Acme', 'eve', i, 'fair', 'car', '{"phone": 1}', 'a@b', 'tall' FROM generate_series(1, 4) i;
SET pipelines.actor = 'eve@desk';
SET pipelines.reason = 'Ann said so';
SET pipelines.batch = 'b1';
CALL live('deals', 'deal_id < 4');
RESET pipelines.batch;
DELETE FROM deals WHERE deal_id = 3;
INSERT INTO deals_activity (deal_id, kind, subject, owner, done_at) SELECT i, 'call', 'about Ann', 'eve', now() FROM generate_series(1, 3) i;

-- all that reports count, as one text
CREATE FUNCTION figures(deals text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	part text;
	answer text := '';
	query text;
BEGIN
	FOREACH query IN ARRAY ARRAY[
		'SELECT pipeline_name, stage_name, currency, deals, unpriced, amount, weighted FROM %1$s_board',
		'SELECT pipeline_name, month, bucket, owner, currency, deals, unpriced, pipeline, weighted, won, lost, p50 FROM %1$s_forecast',
		'SELECT visit, episode, pipeline_name, stage_name, entered_at, exited_at, owner, amount, change FROM %1$s_visits',
		'SELECT episode, outcome, closed_at, closed_on, amount, currency, probability_before, category_before, from_stage_id, owner, reopened_at, superseded_at, deleted_at FROM %1$s_closings',
		'SELECT version, change, valid_from, valid_to, pipeline_id, stage_id, amount, source, product, quantity, cost, episode, furthest_stage_id, to_stage_id, txid, recorded_at FROM %1$s_history',
		'SELECT version, pipeline_id, stage_id, amount, changed_at, stage_entered_at, closed_at, created_at, source FROM %1$s'] LOOP
		EXECUTE format('SELECT md5(string_agg(x::text, '';'' ORDER BY x::text)) FROM (' || query || ') x', deals) INTO part;
		answer := answer || part;
	END LOOP;
	RETURN md5(answer);
END
$$;
SELECT figures('deals') AS before \gset
-- who may not
SELECT pipelines.grant_access('deals', 'regress_purge_clerk', 'write');
SET ROLE regress_purge_clerk;
SELECT try($$SELECT pipelines.purge('deals', '1')$$);
SET ROLE regress_purge_definer;
SELECT try($$SELECT pipelines.purge('app.deals'::regclass, '1')$$) ~ '42501' AS refused;
SET ROLE regress_purge_owner;
SELECT try($$SELECT pipelines.purge('deals', '77')$$);
SELECT try($$SELECT pipelines.purge('deals', 'x')$$);
SELECT try($$SELECT pipelines.purge('deals_history', '1')$$);
SELECT pipelines.purge('deals', NULL);

--
-- keep_figures: names and texts go, every figure stays
--
SET pipelines.reason = 'request 12';
SELECT pipelines.purge('deals', '1');
SELECT figures('deals') = :'before' AS figures_stay;
SELECT name, account, owner, amount, source, product, close_reason, close_notes, competitor, created_by, attributes, email, visits, remark, version FROM deals WHERE deal_id = 1;
SELECT version, change, owner, amount, close_reason, competitor, actor, role_name, application_name, reason, batch, email, visits FROM deals_history WHERE deal_id = 1 ORDER BY version;
SELECT deal_id, kind, subject, owner, done_at IS NOT NULL AS done FROM deals_activity ORDER BY 1;
-- the others are as they were
SELECT count(*) FILTER (WHERE actor = 'eve@desk' AND reason = 'Ann said so') AS told, count(*) FROM deals_history WHERE deal_id <> 1;
SELECT name, email FROM deals WHERE deal_id = 2;
SELECT * FROM pipelines.verify('deals');
-- the deal lives on
UPDATE deals SET stage_id = st('Quote') WHERE deal_id = 1;
SELECT version, change, actor, reason FROM deals_history WHERE deal_id = 1 ORDER BY version DESC LIMIT 2;
-- one that was deleted has a past, too; the owner goes if it shall
SELECT pipelines.purge('deals', '3', keep_owner => false);
SELECT count(*), count(owner) AS owners, count(actor) AS actors, count(close_reason) AS reasons, sum(amount) AS amount FROM deals_history WHERE deal_id = 3;

--
-- or nothing stays
--
SELECT pipelines.purge('deals', '2', false);
SELECT (SELECT count(*) FROM deals WHERE deal_id = 2) AS deals, (SELECT count(*) FROM deals_history WHERE deal_id = 2) AS versions,
	(SELECT count(*) FROM deals_activity WHERE deal_id = 2) AS activities, (SELECT count(*) FROM deals_visits WHERE deal_id = 2) AS visits;
INSERT INTO deals (deal_id, name) VALUES (2, 'again');
SELECT version, episode FROM deals WHERE deal_id = 2;
SELECT * FROM pipelines.verify('deals');

-- it is written down, where nobody unwrites it
SET ROLE regress_purge_clerk;
SELECT try('SELECT * FROM pipelines.purge_log');
SET ROLE regress_purge_definer;
SELECT purge_id, relation, deal, keep_figures, history_rows, purged_at <= clock_timestamp() AS at, purged_by, role_name, reason FROM pipelines.purge_log ORDER BY 1;
SELECT try('UPDATE pipelines.purge_log SET reason = NULL');
SELECT try('DELETE FROM pipelines.purge_log');
SELECT try('TRUNCATE pipelines.purge_log');
SELECT count(*) FROM pipelines.check_definitions() WHERE advice = 'trigger_missing';
ALTER TABLE pipelines.purge_log DISABLE TRIGGER ALL;
SELECT message FROM pipelines.check_definitions() WHERE advice = 'trigger_missing';
RESET ROLE;
SELECT pipelines.setup();
SELECT count(*) FROM pipelines.check_definitions() WHERE advice = 'trigger_missing';

--
-- The guard: open to that one statement, and closed again whatever happens
--
SET ROLE regress_purge_owner;
SELECT try('UPDATE deals_history SET actor = NULL');
SELECT try('DELETE FROM deals_history');
CREATE FUNCTION app.sly() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN DELETE FROM app.deals_history WHERE deal_id = 4; RETURN NULL; END$$;
UPDATE deals SET amount = 5 WHERE deal_id = 4;
CREATE TRIGGER sly AFTER UPDATE ON deals_history FOR EACH ROW EXECUTE FUNCTION app.sly();
SELECT try($$SELECT pipelines.purge('deals', '1')$$);
DROP TRIGGER sly ON deals_history;
SELECT try('DELETE FROM deals_history WHERE deal_id = 1');
-- what a trigger of the deals changes in its turn is a change like any other
CREATE FUNCTION app.chain() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN UPDATE app.deals SET amount = amount + 1 WHERE deal_id = 4; RETURN NULL; END$$;
CREATE TRIGGER chain AFTER UPDATE ON deals FOR EACH ROW WHEN (new.deal_id = 1) EXECUTE FUNCTION app.chain();
SELECT count(*) AS versions FROM deals_history WHERE deal_id = 4;
SELECT pipelines.purge('deals', '1') > 0 AS purged;
SELECT count(*) AS versions FROM deals_history WHERE deal_id = 4;
DROP TRIGGER chain ON deals;
-- row security that hides rows from their owner is an error, not half a purge
ALTER TABLE deals ENABLE ROW LEVEL SECURITY;
ALTER TABLE deals FORCE ROW LEVEL SECURITY;
SELECT try($$SELECT pipelines.purge('deals', '1')$$);
ALTER TABLE deals NO FORCE ROW LEVEL SECURITY;
ALTER TABLE deals DISABLE ROW LEVEL SECURITY;
-- within a transaction that goes back
BEGIN;
SAVEPOINT s;
SELECT pipelines.purge('deals', '4', false);
ROLLBACK TO s;
SELECT count(*) FROM deals_history WHERE deal_id = 4;
SELECT try('DELETE FROM deals_history WHERE deal_id = 4') ~ '^23S11' AS refused;
COMMIT;

--
-- Partitions, a key of several columns
--
SELECT pipelines.create_deals('parts', key => '{tenant,id}', partition_by => 'LIST (tenant)', partition_history => true);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES IN (2);
CREATE TABLE parts_history_now PARTITION OF parts_history FOR VALUES FROM ('2020-01-01') TO ('2200-01-01');
SELECT count(*) FROM pipelines.resume('parts');
INSERT INTO parts (tenant, id, name, amount) VALUES (1, 7, 'Ann', 5), (2, 7, 'Bob', 6);
CALL live('parts', 'true');
SELECT figures('parts') AS before \gset
SELECT try($$SELECT pipelines.purge('parts', '7')$$);
SELECT try($$SELECT pipelines.purge('parts', '(1,7,8)')$$);
SELECT try($$SELECT pipelines.purge('parts', '(1,)')$$);
SELECT pipelines.purge('parts', '(1,7)');
SELECT figures('parts') = :'before' AS figures_stay;
SELECT tenant, name, close_reason FROM parts ORDER BY 1;
SELECT tenant, count(actor) AS actors, count(*) FROM parts_history GROUP BY 1 ORDER BY 1;
SELECT pipelines.purge('parts', ' ( 2,"7") ', false);
SELECT tenant, count(*) FROM parts_history GROUP BY 1 ORDER BY 1;
SELECT try('DELETE FROM parts_history_now');
SELECT * FROM pipelines.verify('parts');

-- the activities of a view that takes no changes are told of
CREATE VIEW calls AS SELECT tenant, id, 'call'::text AS kind, now() AS done_at, 'x'::text AS subject FROM parts GROUP BY 1, 2;
SELECT pipelines.use_activities('parts', 'calls');
SELECT pipelines.purge('parts', '(1,7)');

--
-- The key as text: what ROW(...)::text writes is read back (22P02 for anything else)
--
CREATE TABLE pair (a text, b text, n integer, d varchar(3));
SELECT pipelines._key_values('pair', '{a}', '(a,b)') AS one, pipelines._key_values('pair', '{a}', '') AS empty, pipelines._key_values('pair', '{a}', NULL) AS "null";
SELECT k.a, k.b, pipelines._key_values('pair', '{a,b}', ROW(k.a, k.b)::text) = ARRAY[k.a, k.b] AS same
FROM (VALUES ('1', '2'), ('a b', 'c,d'), ('"', '\'), ('(', ')'), ('', ' '), (' x ', E'\n'), ('a"b\c', '""')) k(a, b);
SELECT t, try(format('SELECT pipelines._key_values(''pair'', ''{a,b}'', %L)', t))
FROM unnest(ARRAY['', '1,2', '(1,2', '(1,2)x', '(1)', '(1,2,3)', '(,2)', '(1,)', '("1,2)', '(1,2\', '(1,"2""']) t;
SELECT try('SELECT pipelines._key_values(''pair'', ''{}'', ''1'')'), try('SELECT pipelines._key_values(''pair'', array_fill(''a''::name, ''{33}''), ''1'')');
-- what a column can't be is told with its name, and that of its table
SELECT t, try(format('SELECT pipelines._key_values(''pair'', ''{n,d}'', %L)', t)) FROM unnest('{"(x,a)","(99999999999,a)","(1,abcd)","( 1,a)"}'::text[]) t;
SELECT c, try(format('SELECT pipelines._key_values(''pair'', %L, ''1'')', c)) FROM unnest('{"{c}","{NULL}","{ctid}","{\"\"}"}'::text[]) c;
SELECT try('SELECT pipelines._key_values(0, ''{a}'', ''1'')');

\set ECHO none
RESET ROLE;
SET client_min_messages = warning;
\c :home
DROP DATABASE regress_pipelines_purge;
DROP ROLE regress_purge_definer, regress_purge_owner, regress_purge_clerk;
