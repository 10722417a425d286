-- history_guard.sql: nothing but DDL changes a history row, whoever tries; moving needs no right on the history; forged calls (CORE 7, 20, 24; issue 2, ENGINEERING 2c, 2k)
-- In a database of its own, so that every id is the same in every run.
\set ECHO none
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_pipelines_history_guard;
CREATE DATABASE regress_pipelines_history_guard TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\set home :DBNAME
\c regress_pipelines_history_guard
\i test/data/checks.sql
\set ECHO all
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_pipelines_owner, regress_pipelines_clerk, regress_pipelines_reader;
RESET client_min_messages;
CREATE ROLE regress_pipelines_owner;
CREATE ROLE regress_pipelines_clerk;
CREATE ROLE regress_pipelines_reader;
SELECT pipelines.create_pipeline('Sales', stages => '["New", "Quote", {"name": "Won", "outcome": "won"}]');
CREATE SCHEMA crm AUTHORIZATION regress_pipelines_owner;
GRANT ALL ON SCHEMA crm TO PUBLIC;
SET search_path = crm, public;
SET ROLE regress_pipelines_owner;
SELECT pipelines.create_deals('deals', on_truncate => 'record');
GRANT SELECT, INSERT, UPDATE, DELETE ON deals TO regress_pipelines_clerk, regress_pipelines_reader;
GRANT SELECT ON deals_history TO regress_pipelines_reader;
INSERT INTO deals (deal_id, amount) SELECT g, 1 FROM generate_series(1, 9) g;
UPDATE deals SET stage_id = 2 WHERE deal_id < 3;
RESET ROLE;

--
-- Nobody changes a row of the history
--
CREATE FUNCTION public.assaults() RETURNS SETOF text LANGUAGE sql AS $$
	SELECT s || ' => ' || try(s) FROM unnest(ARRAY[
		'UPDATE crm.deals_history SET reason = ''forged''',
		'UPDATE crm.deals_history SET version = version WHERE deal_id = 1',
		'DELETE FROM crm.deals_history WHERE deal_id = 1',
		'DELETE FROM crm.deals_history USING crm.deals d WHERE d.deal_id = deals_history.deal_id',
		'TRUNCATE crm.deals_history',
		'TRUNCATE crm.deals, crm.deals_history',
		'INSERT INTO crm.deals_history SELECT * FROM crm.deals_history ON CONFLICT (deal_id, version) DO UPDATE SET reason = ''forged''',
		'WITH x AS (DELETE FROM crm.deals_history RETURNING *) SELECT count(*) FROM x'
	]) s
$$;
SET ROLE regress_pipelines_owner;
SELECT assaults();
RESET ROLE;
SELECT assaults();
SET session_replication_role = replica;
SELECT assaults();
SET session_replication_role = local;
SELECT assaults();
RESET session_replication_role;
SET ROLE regress_pipelines_clerk;
SELECT assaults();
SELECT try('INSERT INTO crm.deals_history SELECT * FROM crm.deals_history');
SET ROLE regress_pipelines_reader;
SELECT assaults();
SELECT try('INSERT INTO crm.deals_history SELECT * FROM crm.deals_history');
RESET ROLE;
-- what nothing matches, nothing refuses; and a cascade is stopped
SELECT try('DELETE FROM crm.deals_history WHERE deal_id = 77');
CREATE TABLE crm.reference (id bigint PRIMARY KEY);
INSERT INTO crm.reference SELECT generate_series(1, 9);
ALTER TABLE deals_history ADD CONSTRAINT r FOREIGN KEY (deal_id) REFERENCES crm.reference ON DELETE CASCADE ON UPDATE CASCADE;
SELECT try('DELETE FROM crm.reference WHERE id = 1');
SELECT try('UPDATE crm.reference SET id = 11 WHERE id = 1');
SET client_min_messages = warning;
SELECT try('TRUNCATE crm.reference CASCADE');
RESET client_min_messages;
ALTER TABLE deals_history DROP CONSTRAINT r;
SELECT deal_id, version, change, reason FROM deals_history ORDER BY 1, 2;
-- the guard can be switched off by DDL; then verify says so, and resume() switches it on
ALTER TABLE deals_history DISABLE TRIGGER pipelines_guard;
SELECT count(*) > 0 AS told FROM pipelines.verify('deals');
ALTER TABLE deals_history ENABLE TRIGGER pipelines_guard;
SELECT count(*) > 0 AS told FROM pipelines.verify('deals');	-- not ENABLE ALWAYS any more
SELECT count(*) FROM pipelines.resume('deals');
SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = 'deals_history'::regclass AND NOT tgisinternal ORDER BY 1;
SELECT problems();

--
-- Who has no right on the history writes it all the same, by moving deals
--
SET ROLE regress_pipelines_clerk;
SELECT try('SELECT count(*) FROM crm.deals_history');
UPDATE deals SET stage_id = 2 WHERE deal_id = 3;
DELETE FROM deals WHERE deal_id = 4;
INSERT INTO deals (deal_id) VALUES (4);
UPDATE deals SET amount = 4 WHERE deal_id = 4;
WITH d AS (DELETE FROM deals WHERE deal_id = 5 RETURNING deal_id) INSERT INTO deals (deal_id, amount) SELECT deal_id, 5 FROM d;
SET ROLE regress_pipelines_reader;
UPDATE deals SET stage_id = 3 WHERE deal_id = 3;
SELECT deal_id, version, change, role_name FROM deals_history WHERE deal_id BETWEEN 3 AND 5 ORDER BY 1, 2;
RESET ROLE;
-- nor does row security on the history stand in the way, or an owner without INSERT on it
ALTER TABLE deals_history ENABLE ROW LEVEL SECURITY;
SET ROLE regress_pipelines_clerk;
UPDATE deals SET amount = 2 WHERE deal_id = 6;
RESET ROLE;
ALTER TABLE deals_history FORCE ROW LEVEL SECURITY;
SET ROLE regress_pipelines_clerk;
UPDATE deals SET amount = 3 WHERE deal_id = 6;
DELETE FROM deals WHERE deal_id = 6;
INSERT INTO deals (deal_id) VALUES (6);
RESET ROLE;
ALTER TABLE deals_history NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY;
SELECT deal_id, version, change, role_name FROM deals_history WHERE deal_id = 6 ORDER BY 1, 2;
-- policies on the deals decide what a clerk may move
ALTER TABLE deals ENABLE ROW LEVEL SECURITY;
CREATE POLICY beyond_six ON deals TO regress_pipelines_clerk USING (deal_id > 6) WITH CHECK (stage_id < 3);
SET ROLE regress_pipelines_clerk;
UPDATE deals SET amount = 7;
SELECT try('UPDATE crm.deals SET stage_id = 3 WHERE deal_id = 7');
RESET ROLE;
ALTER TABLE deals DISABLE ROW LEVEL SECURITY;
SELECT deal_id, version, change FROM deals_history WHERE amount = 7 OR deal_id > 6 ORDER BY 1, 2;
SELECT problems();

--
-- What somebody attaches to his own table
--
SET ROLE regress_pipelines_clerk;
CREATE TABLE mine (LIKE deals);
CREATE TABLE mine_history (deal_id bigint);
SELECT 'INSERT' AS event, try('CREATE TRIGGER t BEFORE INSERT ON crm.mine FOR EACH ROW EXECUTE FUNCTION pipelines._deal_before()') LIKE ANY ('{rows%,42501%}') AS said;
SELECT try('INSERT INTO crm.mine SELECT * FROM crm.deals') ~ '^(55000|42501|rows)' AS harmless;
DROP TABLE mine;
CREATE TABLE mine (LIKE deals);
SELECT try('SELECT pipelines._register(''crm.mine'', ''crm.deals_history'', 1, ''{deal_id}'', ''{"pipeline_id": "pipeline_id", "stage_id": "stage_id"}'', NULL, false, ''refuse'', ''-infinity'', false)');
SELECT try('SELECT pipelines._register(''crm.deals'', ''crm.mine_history'', 1, ''{deal_id}'', ''{"pipeline_id": "pipeline_id", "stage_id": "stage_id"}'', NULL, false, ''refuse'', ''-infinity'', false)');
SELECT try('SELECT pipelines._unregister(''crm.deals'')');
SELECT try('INSERT INTO pipelines.tracked_table SELECT ''crm.mine''::regclass, history, layout_id, key, columns FROM pipelines.tracked_table');
SELECT try('UPDATE pipelines.tracked_table SET history = ''crm.mine_history''');
CREATE TEMPORARY TABLE forged AS SELECT deal_id, stage_entered_at, furthest_stage_id, gate_stage_id, episode, 99 AS version, changed_at, closed_at, closed_on FROM deals;
SELECT try('SELECT pipelines._rebook(''crm.deals'', ''pg_temp.forged'')');
SELECT try('SELECT * FROM pipelines.repair(''crm.deals'')');
SELECT try('SELECT * FROM pipelines.resume(''crm.deals'')');
SELECT try('SELECT pipelines.track(''crm.deals'', ''name'')');
SELECT try('CREATE TRIGGER t BEFORE UPDATE ON crm.deals FOR EACH ROW EXECUTE FUNCTION pipelines._deal_before()');
SELECT try('CREATE TABLE crm.leaf PARTITION OF crm.deals FOR VALUES IN (1)');
SELECT try('CREATE TABLE crm.kid () INHERITS (crm.deals)');
RESET ROLE;
SELECT relation, history FROM pipelines.tracked_table;
SELECT max(version) FROM deals;

--
-- The trigger functions, called wrongly: an error, never a crash
--
SELECT try(format('SELECT pipelines.%I()', f)) FROM unnest('{_deal_before,_deal_after,_deal_turn,_deal_truncate,_columns,_history_guard}'::text[]) f;
SELECT pipelines._pending();
CREATE TABLE wrong (LIKE deals);
INSERT INTO wrong SELECT * FROM deals LIMIT 1;
CREATE FUNCTION public.wrongly(fun text, timing text, event text, level text, statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	EXECUTE format('CREATE TRIGGER t %s %s ON crm.wrong FOR EACH %s EXECUTE FUNCTION pipelines.%I()', timing, event, level, fun);
	result := try(statement);
	DROP TRIGGER t ON crm.wrong;
	RETURN concat_ws(' ', rpad(fun, 14), timing, event, level) || ': ' || result;
END
$$;
SELECT wrongly(f, t, e, l, s)
	FROM unnest('{_deal_before,_deal_after,_deal_turn,_deal_truncate,_columns}'::text[]) f,
		(VALUES ('BEFORE', 'INSERT', 'ROW', 'INSERT INTO crm.wrong SELECT * FROM crm.deals LIMIT 1'), ('BEFORE', 'UPDATE', 'ROW', 'UPDATE crm.wrong SET stage_id = 2'),
			('BEFORE', 'DELETE', 'ROW', 'DELETE FROM crm.wrong'),
			('AFTER', 'INSERT', 'ROW', 'INSERT INTO crm.wrong SELECT * FROM crm.deals LIMIT 1'), ('AFTER', 'UPDATE', 'ROW', 'UPDATE crm.wrong SET stage_id = 2'),
			('AFTER', 'DELETE', 'ROW', 'DELETE FROM crm.wrong'),
			('BEFORE', 'UPDATE', 'STATEMENT', 'UPDATE crm.wrong SET stage_id = 2'), ('AFTER', 'UPDATE', 'STATEMENT', 'UPDATE crm.wrong SET stage_id = 2'),
			('BEFORE', 'TRUNCATE', 'STATEMENT', 'TRUNCATE crm.wrong'), ('AFTER', 'TRUNCATE', 'STATEMENT', 'TRUNCATE crm.wrong')) v(t, e, l, s)
	ORDER BY f, t, e, l;
CREATE VIEW wrong_view AS SELECT * FROM wrong;
CREATE TRIGGER t INSTEAD OF UPDATE ON wrong_view FOR EACH ROW EXECUTE FUNCTION pipelines._deal_before();
SELECT try('UPDATE crm.wrong_view SET stage_id = 2');
DROP VIEW wrong_view;
CREATE TABLE bare (a integer);
CREATE TRIGGER t BEFORE INSERT ON bare FOR EACH ROW EXECUTE FUNCTION pipelines._deal_before();
SELECT try('INSERT INTO crm.bare VALUES (1)');
-- ours twice on a deals table: refused
CREATE TRIGGER aaa_before BEFORE INSERT OR UPDATE OR DELETE ON deals FOR EACH ROW EXECUTE FUNCTION pipelines._deal_before();
SELECT try('UPDATE crm.deals SET amount = 55 WHERE deal_id = 9') LIKE 'rows%' AS accepted;
DROP TRIGGER aaa_before ON deals;
SELECT problems();
-- without the AFTER trigger, or with a disabled one: refused, not lost
DROP TRIGGER pipelines_after ON deals;
SELECT try('UPDATE crm.deals SET stage_id = 2');
SELECT count(*) FROM pipelines.resume('deals');
ALTER TABLE deals DISABLE TRIGGER pipelines_after;
SELECT try('UPDATE crm.deals SET stage_id = 2');
ALTER TABLE deals ENABLE REPLICA TRIGGER pipelines_after;
SELECT try('UPDATE crm.deals SET stage_id = 2 WHERE deal_id = 8');
SELECT count(*) FROM pipelines.resume('deals');
DROP TRIGGER pipelines_columns ON deals;
SELECT try('UPDATE crm.deals SET stage_id = 2');
SELECT count(*) FROM pipelines.resume('deals');
-- an AFTER trigger with another condition: too
DROP TRIGGER pipelines_after ON deals;
CREATE TRIGGER pipelines_after AFTER INSERT OR UPDATE OR DELETE ON deals FOR EACH ROW WHEN (false) EXECUTE FUNCTION pipelines._deal_after();
UPDATE deals SET amount = 66 WHERE deal_id = 9;
DROP TRIGGER pipelines_after ON deals;
CREATE TRIGGER pipelines_after AFTER UPDATE ON deals FOR EACH ROW EXECUTE FUNCTION pipelines._deal_after();
SELECT try('DELETE FROM crm.deals WHERE deal_id = 9');
DROP TRIGGER IF EXISTS pipelines_after ON deals;
SELECT count(*) FROM pipelines.resume('deals');
UPDATE deals SET amount = 77 WHERE deal_id = 9;
SELECT life('9', relation => 'deals');
SELECT problems();
SET client_min_messages = warning;
RESET search_path;
DROP SCHEMA crm CASCADE;
DROP OWNED BY regress_pipelines_owner, regress_pipelines_clerk, regress_pipelines_reader;
DROP ROLE regress_pipelines_owner, regress_pipelines_clerk, regress_pipelines_reader;
\set ECHO none
\c :home
SET client_min_messages = warning;
DROP DATABASE regress_pipelines_history_guard;
