-- access.sql: who sees, moves and defines in which pipeline (S105, R-12.1, R-12.3, R-2.19)
-- In a database of its own, so that every id is the same in every run.
\set ECHO none
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_pipelines_access;
CREATE DATABASE regress_pipelines_access TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\set home :DBNAME
\c regress_pipelines_access
SET client_min_messages = warning;
\i test/data/checks.sql
\set ECHO all
\set SHOW_CONTEXT never
CREATE ROLE regress_access_definer;
CREATE ROLE regress_access_owner;
-- everybody's clerk; who deals with takeovers; a reader of them; who shapes all
-- open pipelines; who shapes the takeovers
CREATE ROLE regress_access_clerk;
CREATE ROLE regress_access_banker;
CREATE ROLE regress_access_auditor;
CREATE ROLE regress_access_planner;
CREATE ROLE regress_access_partner;
CREATE ROLE regress_access_banker_jo IN ROLE regress_access_banker;
CREATE ROLE regress_access_bypass BYPASSRLS;
GRANT CREATE ON SCHEMA public TO regress_access_owner;
SELECT pipelines.setup(owner => 'regress_access_definer');
SET ROLE regress_access_definer;
SELECT pipelines.create_pipeline('Sales', stages => '["Lead", "Talks", "Offer", {"name": "Won", "outcome": "won"}, {"name": "Lost", "outcome": "lost"}]');
SELECT pipelines.create_pipeline('Takeovers', code => 'TO', stages => '["Lead", "Target", "Due diligence", "Offer", {"name": "Signed", "outcome": "won"}]');
INSERT INTO pipelines.stage_map VALUES (2, 6, 1, 2);
UPDATE pipelines.pipeline_stage SET probability = 55 WHERE pipeline_id = 2 AND stage_id = pipelines.stage_id('Takeovers', 'Due diligence');
SET ROLE regress_access_owner;
SELECT pipelines.create_deals('deals', currency => 'EUR');
INSERT INTO deals (name, owner, amount) SELECT 's' || i, 'x', i FROM generate_series(1, 4) i;
INSERT INTO deals (name, owner, amount, pipeline_id) SELECT 't' || i, 'y', 100 * i, 2 FROM generate_series(1, 4) i;
UPDATE deals SET stage_id = pipelines.stage_id('Sales', 'Offer') WHERE name = 's1';
UPDATE deals SET amount = 150 WHERE name = 't1';
UPDATE deals SET stage_id = pipelines.stage_id('Takeovers', 'Due diligence') WHERE name IN ('t1', 't2');
SELECT pipelines.grant_access('deals', r, 'write') FROM unnest('{regress_access_clerk,regress_access_banker,regress_access_partner,regress_access_bypass}'::name[]) r;
SELECT pipelines.grant_access('deals', 'regress_access_auditor', 'read');
RESET ROLE;
SELECT pipelines.grant_access('deals', 'regress_access_planner', 'define');
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA pipelines TO regress_access_partner;
-- what a role sees, in one line per table
CREATE FUNCTION seen() RETURNS SETOF text LANGUAGE sql STABLE AS $$
	SELECT 'deals: ' || string_agg(name, ' ' ORDER BY name) FROM deals
	UNION ALL SELECT 'history: ' || string_agg(deal_id || '.' || version || '-' || change, ' ' ORDER BY deal_id, version) FROM deals_history
	UNION ALL SELECT 'as of: ' || string_agg(deal_id::text, ' ' ORDER BY deal_id) FROM pipelines.as_of(NULL::deals, now())
	UNION ALL SELECT 'sum: ' || sum(amount) FROM deals
	UNION ALL SELECT 'forecast: ' || pipelines.pipeline(pipelines.forecast(d.amount, ps.probability, ps.outcome)) FROM deals d JOIN pipelines.pipeline_stage ps USING (pipeline_id, stage_id)
	UNION ALL SELECT 'pipelines: ' || string_agg(name, ' ' ORDER BY name) FROM pipelines.pipeline
	UNION ALL SELECT 'stages: ' || string_agg(name, ' ' ORDER BY stage_id) FROM pipelines.stage
	UNION ALL SELECT 'in pipelines: ' || string_agg(pipeline_id || '.' || stage_id, ' ' ORDER BY pipeline_id, position) FROM pipelines.pipeline_stage
	UNION ALL SELECT 'maps: ' || count(*) FROM pipelines.stage_map
	UNION ALL SELECT 'past: ' || count(*) FROM pipelines.pipeline_stage_history
	UNION ALL SELECT 'past of pipelines: ' || count(*) FROM pipelines.pipeline_history
	UNION ALL SELECT 'roles: ' || count(*) FROM pipelines.pipeline_role
$$;
-- nothing is protected: everybody sees all
SELECT * FROM pg_policy WHERE polrelid NOT IN ('pipelines.adjustment'::regclass, 'pipelines.submission'::regclass);
SELECT pipelines.visible_pipelines(), pipelines.movable_pipelines(), pipelines.definable_pipelines();
SET ROLE regress_access_clerk;
SELECT * FROM seen();
SELECT * FROM deals_history WHERE false;

--
-- Who may say who may (S105)
--
SELECT try($$SELECT pipelines.grant_pipeline('Takeovers', 'regress_access_banker', 'move')$$);
SELECT try($$SELECT pipelines.revoke_pipeline('Takeovers', 'regress_access_banker')$$);
SELECT try($$SELECT pipelines.protect_pipeline('Takeovers')$$);
SELECT try($$SELECT pipelines._set_protected(2, true)$$);
SELECT try($$SELECT pipelines._set_pipeline_role(2, 'regress_access_clerk', true, true, true)$$);
SELECT try($$SELECT pipelines._copy_protection(2, 1)$$);
SET ROLE regress_access_owner;
SELECT try($$SELECT pipelines.grant_pipeline('Takeovers', 'regress_access_owner', 'see')$$);
RESET ROLE;
SELECT try($$SELECT pipelines.grant_pipeline('Takeovers', 'regress_access_missing', 'see')$$);
SELECT try($$SELECT pipelines.grant_pipeline('Takeovers', 'regress_access_banker', 'own')$$);
SELECT try($$SELECT pipelines.grant_pipeline('Takeovers', 'regress_access_banker', NULL)$$);
SELECT try($$SELECT pipelines.grant_pipeline('Takeovers', NULL, 'see')$$);
SELECT try($$SELECT pipelines.grant_pipeline(NULL, 'regress_access_banker', 'see')$$);
SELECT try($$SELECT pipelines.grant_pipeline('Mergers', 'regress_access_banker', 'see')$$);
SELECT try($$SELECT pipelines.protect_pipeline('Takeovers', NULL)$$);
SELECT try($$SELECT pipelines.revoke_pipeline('Takeovers', NULL)$$);

--
-- The first grant protects.  The definitions' owner does not own the deals: he
-- is told, and their owner follows
--
SET ROLE regress_access_definer;
SELECT pipelines.grant_pipeline('Takeovers', 'regress_access_banker', 'move');
SELECT pipelines.grant_pipeline('Takeovers', 'regress_access_auditor', 'see');
SELECT pipelines.grant_pipeline('Takeovers', 'regress_access_partner', 'define');
SELECT advice, message FROM pipelines.check_definitions() WHERE advice = 'not_protected';
RESET ROLE;
SELECT role, can_see, can_move, can_define FROM pipelines.pipeline_role ORDER BY role;
SET ROLE regress_access_owner;
SELECT item, action FROM pipelines.resume('deals') WHERE item !~ '^view';
SELECT count(*) FROM pipelines.resume('deals') WHERE item !~ '^view';
SELECT advice, message FROM pipelines.check_definitions() WHERE advice = 'not_protected';
RESET ROLE;
SELECT polrelid::regclass AS relation, polname, polcmd, polpermissive, regexp_replace(pg_get_expr(polqual, polrelid), '\s+', ' ', 'g') AS using, pg_get_expr(polwithcheck, polrelid) AS check
FROM pg_policy WHERE polrelid::regclass::text ~ '^deals' ORDER BY 1, 2;

-- R-12.1: each sees what is his, and adds up what he sees
SET ROLE regress_access_clerk;
SELECT pipelines.visible_pipelines(), pipelines.movable_pipelines(), pipelines.definable_pipelines();
SELECT * FROM seen();
SET ROLE regress_access_banker;
SELECT pipelines.visible_pipelines(), pipelines.movable_pipelines(), pipelines.definable_pipelines();
SELECT * FROM seen();
SET ROLE regress_access_auditor;
SELECT pipelines.visible_pipelines(), pipelines.movable_pipelines(), pipelines.definable_pipelines();
SET ROLE regress_access_partner;
SELECT pipelines.visible_pipelines(), pipelines.movable_pipelines(), pipelines.definable_pipelines();
-- members of a granted role, of the owner of the definitions, and who bypasses row security
SET ROLE regress_access_banker_jo;
SELECT pipelines.visible_pipelines(), pipelines.movable_pipelines(), pipelines.definable_pipelines();
SELECT count(*) FROM deals;
SET ROLE regress_access_bypass;
SELECT pipelines.visible_pipelines(), pipelines.definable_pipelines();
SELECT count(*) FROM deals;
SET ROLE regress_access_definer;
SELECT pipelines.visible_pipelines(), pipelines.definable_pipelines();
RESET ROLE;
SELECT pipelines.visible_pipelines();
-- who may add to the picklist sees all of it, but not which pipelines have it
SET ROLE regress_access_planner;
SELECT pipelines.visible_pipelines(), pipelines.definable_pipelines();
SELECT * FROM seen();
-- the owner of the deals sees deals, as always, but no definition that is hidden
SET ROLE regress_access_owner;
SELECT * FROM seen();
SET ROLE regress_access_clerk;
SELECT name FROM pipelines.pipeline_history;
SELECT DISTINCT name FROM pipelines.stage_history;
COPY (SELECT name FROM pipelines.pipeline) TO STDOUT;
COPY pipelines.pipeline (name) TO STDOUT;

--
-- R-12.3: what is hidden is told like what does not exist
--
SELECT try($$SELECT pipelines.pipeline_id('Takeovers')$$);
SELECT try($$SELECT pipelines.pipeline_id('Nonsense')$$);
SELECT try($$SELECT pipelines.pipeline_id('TO')$$);
SELECT try($$SELECT pipelines.pipeline_id('2')$$);
SELECT try($$SELECT pipelines.pipeline_id('99')$$);
SELECT try($$SELECT pipelines.pipeline_id('Takeovers', 'default')$$);
SELECT try($$SELECT pipelines.stage_id('Takeovers', 'Target')$$);
SELECT try($$SELECT pipelines.stage_id('Nonsense', 'Target')$$);
SELECT try($$SELECT pipelines.stage_id('Sales', 'Target')$$);
SELECT try($$SELECT pipelines.grant_pipeline('Takeovers', 'regress_access_clerk', 'see')$$);
SELECT try($$SELECT pipelines.archive_pipeline('Takeovers')$$);
SELECT try($$SELECT pipelines.clone_pipeline('Takeovers', 'Copy')$$);
SELECT try($$SELECT pipelines._set_protected(2, false)$$);
SELECT try($$SELECT pipelines._set_protected(99, false)$$);
SELECT * FROM pipelines.check_definitions() WHERE message ~ 'Takeover|Target|diligence' OR pipeline_id = 2;
-- a move into it, by number: as into one that is not there
SELECT try($$UPDATE deals SET pipeline_id = 2 WHERE name = 's1'$$);
SELECT try($$UPDATE deals SET pipeline_id = 99 WHERE name = 's1'$$);
SELECT try($$UPDATE deals SET pipeline_id = 2, stage_id = 1 WHERE name = 's1'$$);
SELECT try($$UPDATE deals SET stage_id = 6 WHERE name = 's1'$$);
SELECT try($$INSERT INTO deals (deal_id, name, pipeline_id) VALUES (50, 'n', 2)$$);
SELECT try($$INSERT INTO deals (deal_id, name, pipeline_id) VALUES (50, 'n', 99)$$);
SELECT try($$INSERT INTO deals (deal_id, name, pipeline_id, stage_id) VALUES (50, 'n', 2, 99)$$);
SELECT try($$SELECT pipelines.move('deals', '1', 'Target')$$);
SELECT try($$SELECT pipelines.move('deals', '1', 'Nonsense')$$);
SELECT try($$SELECT pipelines.move('deals', '1', 'Lead', pipeline => 'Takeovers')$$);
SELECT try($$SELECT pipelines.move('deals', '5', 'Lead')$$);
SELECT try($$SELECT pipelines.move('deals', '500', 'Lead')$$);
-- deals that are not seen are not changed
SELECT try($$UPDATE deals SET amount = 0 WHERE name = 't1'$$);
SELECT try($$UPDATE deals SET pipeline_id = 1 WHERE pipeline_id = 2$$);
SELECT try($$DELETE FROM deals WHERE pipeline_id = 2$$);
SELECT try($$INSERT INTO deals (deal_id, name) VALUES (5, 'n') ON CONFLICT (deal_id) DO NOTHING$$);
SELECT try($$INSERT INTO deals (deal_id, name) VALUES (5, 'n') ON CONFLICT (deal_id) DO UPDATE SET amount = 0$$);
-- the history tells nothing of where a deal went
SELECT try($$SELECT to_stage_id FROM deals_history$$);
SELECT try($$SELECT to_pipeline_id FROM deals_history$$);
SELECT try($$SELECT skipped_stages FROM deals_history$$);
SELECT try($$SELECT * FROM deals_history$$);
SELECT deal_id, version, change, pipeline_id, stage_id FROM deals_history;
-- a function of the reader's own is given no row that he may not see
CREATE FUNCTION pg_temp.peek(t text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$ BEGIN
	IF t ~ '^t|^Target|^Due' THEN RAISE NOTICE '%', t; END IF;
	RETURN true;
END $$;
SET client_min_messages = notice;
SELECT count(*) FROM deals WHERE pg_temp.peek(name);
SELECT count(*) FROM pipelines.stage WHERE pg_temp.peek(name);
RESET client_min_messages;
RESET ROLE;

--
-- Transfers: the right on both (R-2.19)
--
SET ROLE regress_access_auditor;
SELECT count(*) FROM deals WHERE pipeline_id = 2;
SELECT try($$UPDATE deals SET amount = 1$$);
RESET ROLE;
GRANT UPDATE, INSERT, DELETE ON deals TO regress_access_auditor;
SET ROLE regress_access_auditor;
-- sees, but does not move: nothing of it is changed, and nothing gets there
SELECT try($$UPDATE deals SET amount = amount + 1 WHERE pipeline_id = 2$$);
SELECT try($$UPDATE deals SET pipeline_id = 1, stage_id = 1 WHERE name = 't4'$$);
SELECT try($$DELETE FROM deals WHERE name = 't4'$$);
SELECT try($$UPDATE deals SET pipeline_id = 2, stage_id = 1 WHERE name = 's2'$$);
SELECT try($$INSERT INTO deals (name, pipeline_id) VALUES ('n', 2)$$);
SELECT try($$UPDATE deals SET amount = amount + 1 WHERE name = 's2'$$);
SELECT deal, ok, sqlstate, reason FROM pipelines.move_many('deals', '{2,7,5}', 'Lead', pipeline => 'Takeovers', on_refuse => 'skip');
SET ROLE regress_access_banker_jo;
SELECT try($$UPDATE deals SET pipeline_id = 2 WHERE name = 's1'$$);
SELECT try($$UPDATE deals SET pipeline_id = 1 WHERE name = 't1'$$);
SELECT try($$UPDATE deals SET pipeline_id = 1, stage_id = pipelines.stage_id('Sales', 'Talks') WHERE name = 't1'$$);
SELECT try($$UPDATE deals SET pipeline_id = 2, stage_id = pipelines.stage_id('Takeovers', 'Target') WHERE name = 's4'$$);
SELECT try($$UPDATE deals SET pipeline_id = 1, stage_id = pipelines.stage_id('Sales', 'Lead') WHERE name = 's4'$$);
SELECT try($$DELETE FROM deals WHERE name = 't3'$$);
SELECT try($$INSERT INTO deals (name, pipeline_id) VALUES ('t5', 2)$$);
SELECT name, pipeline_id, stage_id, version FROM deals ORDER BY name;
SELECT deal_id, version, change, pipeline_id, stage_id FROM deals_history ORDER BY 1, 2;
-- who sees one side sees that the deal went, or came from somewhere
SET ROLE regress_access_clerk;
SELECT name, pipeline_id, stage_id, version FROM deals ORDER BY name;
SELECT deal_id, version, change, pipeline_id, stage_id FROM deals_history ORDER BY 1, 2;
-- of t1 and s4 only the present is his; the past of s1 is, and its present is not
SELECT deal_id FROM pipelines.as_of(NULL::deals, (SELECT min(changed_at) FROM deals)) ORDER BY 1;
RESET ROLE;
SELECT life(d.deal_id::text) FROM deals d WHERE name IN ('s1', 't1', 's4') ORDER BY deal_id;
SELECT * FROM problems();

--
-- A hidden standard pipeline is none
--
SET ROLE regress_access_definer;
UPDATE pipelines.pipeline SET is_standard = (name = 'Takeovers');
SET ROLE regress_access_clerk;
SELECT try($$INSERT INTO deals (deal_id, name) VALUES (60, 'n')$$);
SET ROLE regress_access_banker;
SELECT try($$INSERT INTO deals (deal_id, name) VALUES (60, 't6')$$);
SET ROLE regress_access_definer;
UPDATE pipelines.pipeline SET is_standard = (name = 'Sales');

--
-- To define: a privilege on the tables, and the right to the pipeline
--
SET ROLE regress_access_planner;
SELECT try($$UPDATE pipelines.pipeline SET mode = 'warn'$$);
SELECT try($$UPDATE pipelines.pipeline_stage SET probability = 12 WHERE position = 1$$);
SELECT try($$DELETE FROM pipelines.stage_map$$);
SELECT try($$INSERT INTO pipelines.pipeline_stage (pipeline_id, stage_id, position, outcome, probability) VALUES (2, 2, 9, 'open', 1)$$);
SELECT try($$INSERT INTO pipelines.pipeline_stage (pipeline_id, stage_id, position, outcome, probability) VALUES (99, 2, 9, 'open', 1)$$);
-- not even the judgement of what is refused anyway names it
SELECT try($$INSERT INTO pipelines.pipeline_stage (pipeline_id, stage_id, position, outcome, probability) VALUES (2, 2, 9, 'open', 200)$$);
SELECT try($$INSERT INTO pipelines.pipeline_stage (pipeline_id, stage_id, position, outcome, probability) VALUES (99, 2, 9, 'open', 200)$$);
SELECT try($$UPDATE pipelines.pipeline_stage SET pipeline_id = 2 WHERE pipeline_id = 1$$);
SELECT try($$INSERT INTO pipelines.stage_map VALUES (1, 2, 2, 1)$$);
SELECT try($$DELETE FROM pipelines.pipeline WHERE pipeline_id = 2$$);
SELECT try($$INSERT INTO pipelines.pipeline_role (pipeline_id, role) VALUES (2, 'regress_access_planner')$$);
SELECT try($$SELECT pipelines.grant_pipeline('Sales', 'regress_access_planner', 'define')$$);
-- what is protected is not changed by the way, by nobody
SELECT try($$UPDATE pipelines.pipeline SET protected = true WHERE pipeline_id = 1$$);
SELECT try($$INSERT INTO pipelines.pipeline (layout_id, name, protected) VALUES (1, 'Mine', true)$$);
RESET ROLE;
SELECT try($$UPDATE pipelines.pipeline SET protected = NOT protected$$);
SELECT try($$INSERT INTO pipelines.pipeline (layout_id, name, protected) VALUES (1, 'Mine', true)$$);
SET ROLE regress_access_planner;
-- a stage that only hidden pipelines have is picked by its name, and is seen then
SELECT pipelines.create_pipeline('Grants', stages => '["Lead", "Target", {"name": "Granted", "outcome": "won"}]');
-- a name that a hidden pipeline has is taken: that much must be told
SELECT try($$SELECT pipelines.create_pipeline('Takeovers', stages => '["Lead"]')$$);
SELECT try($$UPDATE pipelines.pipeline SET name = 'Takeovers' WHERE name = 'Grants'$$);
-- what is in the way is not named
SELECT try($$DELETE FROM pipelines.stage WHERE name = 'Due diligence'$$);
SELECT try($$DELETE FROM pipelines.stage WHERE name = 'Target'$$);
SELECT try($$SELECT pipelines.archive_pipeline('Sales')$$);
SET ROLE regress_access_clerk;
SELECT string_agg(name, ' ' ORDER BY stage_id) AS stages FROM pipelines.stage;
SET ROLE regress_access_partner;
SELECT try($$UPDATE pipelines.pipeline_stage SET probability = 20 WHERE pipeline_id = 2 AND position = 2$$);
SELECT try($$SELECT pipelines.grant_pipeline('Takeovers', 'regress_access_auditor', 'move')$$);
SELECT try($$SELECT pipelines.revoke_pipeline('Takeovers', 'regress_access_auditor')$$);
SELECT try($$SELECT pipelines.grant_pipeline('Sales', 'regress_access_partner', 'define')$$);
-- the right alone is not enough: who has no privilege on the tables may decide
-- who has access, and no more
SELECT try($$SELECT pipelines.grant_pipeline('Takeovers', 'regress_access_auditor', 'define')$$);
SET ROLE regress_access_auditor;
SELECT try($$UPDATE pipelines.pipeline_stage SET probability = 20 WHERE pipeline_id = 2$$);
SELECT try($$SELECT pipelines.revoke_pipeline('Takeovers', 'regress_access_auditor')$$);
SELECT try($$SELECT pipelines.grant_pipeline('Takeovers', 'regress_access_auditor', 'see')$$);
SET ROLE regress_access_partner;
-- a copy of what is hidden is hidden from the same
SELECT pipelines.clone_pipeline('Takeovers', 'Takeovers abroad') > 0 AS cloned;
SELECT p.name, r.role, r.can_see, r.can_move, r.can_define FROM pipelines.pipeline_role r JOIN pipelines.pipeline p USING (pipeline_id) ORDER BY 1, 2;
SET ROLE regress_access_clerk;
SELECT name FROM pipelines.pipeline ORDER BY 1;
RESET ROLE;
DELETE FROM pipelines.pipeline WHERE name IN ('Grants', 'Takeovers abroad');
SET ROLE regress_access_clerk;
-- the past of what was deleted is its owner's
SELECT count(*) FROM pipelines.pipeline_history WHERE name IN ('Grants', 'Takeovers abroad');
RESET ROLE;

--
-- To take it back
--
SET ROLE regress_access_auditor;
SELECT count(*) FROM deals WHERE pipeline_id = 2;
RESET ROLE;
BEGIN;
SELECT pipelines.revoke_pipeline('Takeovers', 'regress_access_banker');
SELECT pipelines.revoke_pipeline('Takeovers', 'regress_access_partner');
SELECT pipelines.revoke_pipeline('Takeovers', 'regress_access_partner');
SELECT count(*) FROM pipelines.pipeline_role;
SET LOCAL ROLE regress_access_banker;
SELECT count(*) FROM deals WHERE pipeline_id = 2;
SELECT pipelines.visible_pipelines();
ROLLBACK;
SET ROLE regress_access_banker;
SELECT count(*) FROM deals WHERE pipeline_id = 2;
RESET ROLE;
-- a role that does not exist lets nobody in; everybody may be let in, too
BEGIN;
CREATE ROLE regress_access_gone;
GRANT regress_access_gone TO regress_access_clerk;
SELECT pipelines.grant_pipeline('Takeovers', 'regress_access_gone', 'see');
SET LOCAL ROLE regress_access_clerk;
SELECT pipelines.visible_pipelines();
RESET ROLE;
DROP ROLE regress_access_gone;
SET LOCAL ROLE regress_access_clerk;
SELECT pipelines.visible_pipelines();
RESET ROLE;
SELECT pipelines.revoke_pipeline('Takeovers', 'regress_access_gone');
SELECT pipelines.grant_pipeline('Takeovers', 'public', 'see');
SET LOCAL ROLE regress_access_clerk;
SELECT pipelines.visible_pipelines(), pipelines.movable_pipelines();
ROLLBACK;
-- a prepared statement follows the role and the grants
PREPARE many AS SELECT count(*) FROM deals;
SET ROLE regress_access_banker;
EXECUTE many;
SET ROLE regress_access_clerk;
EXECUTE many;
RESET ROLE;
SELECT pipelines.grant_pipeline('Takeovers', 'regress_access_clerk', 'see');
SET ROLE regress_access_clerk;
EXECUTE many;
RESET ROLE;
SELECT pipelines.revoke_pipeline('Takeovers', 'regress_access_clerk');
SET ROLE regress_access_clerk;
EXECUTE many;
RESET ROLE;
DEALLOCATE many;

--
-- Who reads what of the history
--
CREATE VIEW columns AS
	SELECT r.rolname AS role, string_agg(a.attname, ' ' ORDER BY a.attnum) FILTER (WHERE NOT has_column_privilege(r.oid, a.attrelid, a.attnum, 'SELECT')) AS without,
		count(*) FILTER (WHERE has_column_privilege(r.oid, a.attrelid, a.attnum, 'SELECT')) > 0 AS reads
	FROM pg_attribute a, pg_roles r
	WHERE a.attrelid = 'deals_history'::regclass AND a.attnum > 0 AND r.rolname ~ '^regress_access' GROUP BY r.rolname;
SELECT role, without FROM columns WHERE reads ORDER BY role;
SET ROLE regress_access_owner;
REVOKE ALL ON deals_history FROM regress_access_bypass;
GRANT SELECT ON deals_history TO regress_access_planner WITH GRANT OPTION;
GRANT SELECT (deal_id, change, to_stage_id) ON deals_history TO regress_access_partner, regress_access_bypass;
SELECT item, action FROM pipelines.rebuild_views('deals') WHERE item !~ '^view';
SELECT pipelines.grant_access('deals', 'public', 'read');
SELECT pipelines.track('deals', 'account');
RESET ROLE;
SELECT count(*) FILTER (WHERE reads) AS readers, count(*) FILTER (WHERE reads AND without = 'to_pipeline_id to_stage_id skipped_stages') AS as_readers FROM columns;
REVOKE ALL ON deals, deals_history FROM PUBLIC;
SELECT role, CASE WHEN length(without) > 100 THEN '(many)' ELSE without END AS without FROM columns WHERE reads ORDER BY role;

--
-- Row security of one's own, partitions, other tables of the layout
--
SET ROLE regress_access_owner;
-- a table that is made now is protected at once, partitions too
SELECT pipelines.create_deals('parts', partition_by => 'HASH (deal_id)', partition_history => true);
CREATE TABLE parts_0 PARTITION OF parts FOR VALUES WITH (MODULUS 1, REMAINDER 0);
SELECT item, action FROM pipelines.resume('parts') WHERE item ~ 'polic|security';
SELECT pipelines.grant_access('parts', 'regress_access_clerk', 'write');
GRANT SELECT ON parts_0 TO regress_access_clerk;
INSERT INTO parts (name, pipeline_id) VALUES ('s', 1), ('t', 2);
UPDATE parts SET amount = 1;
-- one with policies of its own: both count
SELECT pipelines.create_deals('teams');
INSERT INTO teams (name, owner, pipeline_id) SELECT 'n' || p || o, o, p FROM unnest('{1,2}'::int[]) p, unnest('{regress_access_clerk,regress_access_banker}'::text[]) o;
DROP POLICY pipelines_open ON teams;
CREATE POLICY own ON teams USING (owner = current_user);
SELECT item, action FROM pipelines.rebuild_views('teams') WHERE item !~ '^view';
SELECT pipelines.grant_access('teams', r, 'write') FROM unnest('{regress_access_clerk,regress_access_banker}'::name[]) r;
UPDATE teams SET amount = 1;
SET ROLE regress_access_clerk;
SELECT name FROM parts;
SELECT name FROM parts_0;
SELECT deal_id, change FROM parts_history;
SELECT name FROM teams;
SELECT deal_id, change FROM teams_history;
SELECT try($$UPDATE teams SET owner = 'z'$$);
SET ROLE regress_access_banker;
SELECT name FROM teams ORDER BY 1;
SELECT deal_id, change FROM teams_history ORDER BY 1;
-- another layout is not concerned
RESET ROLE;
SELECT pipelines.create_pipeline('Service', layout => 'service', stages => '["New", {"name": "Over", "outcome": "done"}]') > 0 AS made;
SET ROLE regress_access_owner;
SELECT pipelines.create_deals('cases', layout => 'service');
SELECT relrowsecurity FROM pg_class WHERE oid = 'cases'::regclass;
RESET ROLE;

-- the plan of an adoption names stages: it is for the owner of the table
SET ROLE regress_access_owner;
CREATE TABLE plain (id integer PRIMARY KEY);
INSERT INTO pipelines.adoption_plan (relation, part, value, stage) VALUES ('plain', 'stage', 'dd', 'Due diligence');
SELECT stage FROM pipelines.adoption_plan;
SET ROLE regress_access_clerk;
SELECT stage FROM pipelines.adoption_plan;
SET ROLE regress_access_owner;
DELETE FROM pipelines.adoption_plan;
DROP TABLE plain;
RESET ROLE;
-- workers of a parallel query see what their leader sees
SET ROLE regress_access_clerk;
SET max_parallel_workers_per_gather = 2;
SET min_parallel_table_scan_size = 0;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SELECT count(*) FROM deals d JOIN pipelines.pipeline_stage s USING (pipeline_id, stage_id) JOIN pipelines.stage c USING (stage_id);
SELECT count(*) FROM deals WHERE pipeline_id = ANY (pipelines.visible_pipelines());
RESET max_parallel_workers_per_gather;
RESET min_parallel_table_scan_size;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET ROLE;

--
-- Activities follow their deal
--
SET ROLE regress_access_owner;
INSERT INTO deals_activity (activity_id, deal_id, kind, stage_id, subject)
SELECT row_number() OVER (ORDER BY name), deal_id, 'call', stage_id, 'with ' || name FROM deals WHERE name IN ('s2', 't1', 't2', 's1');
INSERT INTO deals_activity (activity_id, deal_id, kind, stage_id, subject)
SELECT 10, deal_id, 'call', pipelines.stage_id('Sales', 'Lead') + 5, 'for a stage of before it became a sale' FROM deals WHERE name = 't1';
INSERT INTO deals_activity (activity_id, deal_id, kind, subject) VALUES (11, 7, 'call', 'about a deal that is gone');
RESET ROLE;
SELECT activity_id, stage_id, (SELECT s.name FROM pipelines.stage s WHERE s.stage_id = a.stage_id) FROM deals_activity a WHERE activity_id = 10;
GRANT SELECT, INSERT, UPDATE, DELETE ON deals_activity TO regress_access_auditor;
SET ROLE regress_access_clerk;
SELECT activity_id, subject FROM deals_activity ORDER BY 1;
SELECT try($$INSERT INTO deals_activity (activity_id, deal_id, kind) SELECT 20, deal_id, 'call' FROM deals WHERE name = 's2'$$);
SELECT try($$INSERT INTO deals_activity (activity_id, deal_id, kind) VALUES (21, 6, 'call')$$);
SELECT try($$UPDATE deals_activity SET subject = 'y' WHERE activity_id = 20$$);
SELECT try($$UPDATE deals_activity SET deal_id = 6 WHERE activity_id = 20$$);
SELECT try($$DELETE FROM deals_activity WHERE activity_id = 2$$);
SET ROLE regress_access_auditor;
SELECT count(*) FROM deals_activity;
SELECT try($$UPDATE deals_activity SET subject = 'y' WHERE deal_id IN (SELECT deal_id FROM deals WHERE pipeline_id = 2)$$);
SET ROLE regress_access_banker;
SELECT activity_id, subject FROM deals_activity ORDER BY 1;
SELECT try($$UPDATE deals_activity SET subject = 'y' WHERE deal_id IN (SELECT deal_id FROM deals WHERE pipeline_id = 2)$$);
RESET ROLE;
-- another table of them is protected when it is named
SET ROLE regress_access_owner;
CREATE TABLE calls (about bigint, kind text, done_at timestamptz);
SELECT pipelines.create_deals('others');
SELECT pipelines.use_activities('others', 'calls', '{"key1": "about"}');
SELECT relrowsecurity FROM pg_class WHERE oid = 'calls'::regclass;
CREATE VIEW all_calls AS SELECT * FROM calls;
SELECT pipelines.use_activities('others', 'all_calls', '{"key1": "about"}');
SELECT count(*) FROM pipelines.resume('others') WHERE item !~ '^view';
RESET ROLE;
-- views, of which there are fewer before PostgreSQL 15
SET client_min_messages = warning;
DROP TABLE calls CASCADE;
RESET client_min_messages;

--
-- Without the extension nobody sees anything; nor does he before resume()
--
SET client_min_messages = error;
DROP EXTENSION pipelines CASCADE;
RESET client_min_messages;
CREATE FUNCTION visible() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	t text; n bigint; answer text := '';
BEGIN
	FOREACH t IN ARRAY '{deals,deals_history,parts,parts_0,parts_history,teams,teams_history,deals_activity,pipelines.pipeline,pipelines.stage,pipelines.pipeline_stage,pipelines.pipeline_history,pipelines.stage_map,pipelines.pipeline_role}'::text[] LOOP
		BEGIN
			EXECUTE format('SELECT count(*) FROM %s', t) INTO n;
			answer := answer || t || ' ' || n || ', ';
		EXCEPTION WHEN insufficient_privilege THEN
			answer := answer || t || ' denied, ';
		END;
	END LOOP;
	RETURN answer;
END $$;
SET ROLE regress_access_clerk;
SELECT visible();
SET ROLE regress_access_banker;
SELECT visible();
RESET ROLE;
CREATE EXTENSION pipelines;
SET ROLE regress_access_banker;
SELECT visible();
RESET ROLE;
SELECT deals, count(*) FILTER (WHERE item ~ '^policy') AS policies FROM pipelines.resume() GROUP BY 1 ORDER BY 1;
SET ROLE regress_access_clerk;
SELECT visible();
SET ROLE regress_access_banker;
SELECT visible();
RESET ROLE;
-- a policy that was dropped by hand hides all; resume() has it again
DROP POLICY pipelines_see ON deals;
SET ROLE regress_access_banker;
SELECT count(*) FROM deals;
RESET ROLE;
SELECT item, action FROM pipelines.resume('deals') WHERE item !~ '^view';
SET ROLE regress_access_banker;
SELECT count(*) FROM deals;
RESET ROLE;

--
-- To let it go: its owner alone sees it then
--
SET ROLE regress_access_owner;
SET client_min_messages = notice;
SELECT pipelines.release('teams');
RESET client_min_messages;
SELECT polrelid::regclass AS relation, polname FROM pg_policy WHERE polrelid IN ('teams'::regclass, 'teams_history'::regclass) ORDER BY 1, 2;
SET ROLE regress_access_clerk;
SELECT count(*) FROM teams;
RESET ROLE;

--
-- To open it again: all is as it was
--
SELECT pipelines.protect_pipeline('Takeovers', false);
SELECT polrelid::regclass AS relation, polname FROM pg_policy WHERE polrelid::regclass::text !~ '^(teams|pipelines.(adjustment|submission)$)' ORDER BY 1, 2;
SELECT oid::regclass FROM pg_class WHERE relrowsecurity AND oid NOT IN ('pipelines.adjustment'::regclass, 'pipelines.submission'::regclass) ORDER BY oid::regclass::text;
SELECT role, CASE WHEN length(without) > 100 THEN '(many)' ELSE without END AS without FROM columns WHERE reads ORDER BY role;
SET ROLE regress_access_clerk;
SELECT count(*) FROM deals;
SELECT count(*) FROM deals_history WHERE to_stage_id IS NOT NULL;
RESET ROLE;
-- grants were kept for the next time
SELECT pipelines.protect_pipeline('Takeovers');
SET ROLE regress_access_clerk;
SELECT count(*) FROM deals;
SET ROLE regress_access_banker;
SELECT count(*) FROM deals;
RESET ROLE;
SELECT * FROM problems();

\set ECHO none
\c :home
SET client_min_messages = warning;
DROP DATABASE regress_pipelines_access;
DROP ROLE regress_access_definer, regress_access_owner, regress_access_clerk, regress_access_banker, regress_access_banker_jo, regress_access_auditor, regress_access_planner, regress_access_partner, regress_access_bypass;
