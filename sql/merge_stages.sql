-- merge_stages.sql: merge_stages() (R-2.35) and archive_pipeline() with a map (R-2.14,
-- R-2.20).  In a database of its own.
\set ECHO none
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_pipelines_merge_stages;
CREATE DATABASE regress_pipelines_merge_stages TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\set home :DBNAME
\c regress_pipelines_merge_stages
\i test/data/checks.sql
\set ECHO all
CREATE ROLE regress_merge_clerk;
SELECT pipelines.create_pipeline('Sales', stages => '[
	"New", {"name": "Quote", "code": "q"}, "Demo", "Contract", {"name": "Won", "outcome": "won"}, {"name": "Signed", "outcome": "won"},
	{"name": "Lost", "outcome": "lost"}]');
SELECT pipelines.create_pipeline('Renewal', stages => '["New", "Offer", {"name": "Won", "outcome": "won"}, {"name": "Lost", "outcome": "lost"}]');
SELECT pipelines.create_pipeline('Boats', layout => 'boats', stages => '["New", {"name": "Won", "outcome": "won"}]');
SELECT pipelines.create_deals('deals');
SELECT pipelines.create_deals('others', key => '{a,b}');
SELECT pipelines.create_deals('boats', layout => 'boats');
CREATE FUNCTION st(stage text, pipeline text DEFAULT 'Sales') RETURNS integer LANGUAGE sql STABLE AS
	'SELECT pipelines.stage_id(pipeline, stage)';
INSERT INTO deals (deal_id, amount, stage_id) SELECT i, i, (ARRAY[st('New'), st('Quote'), st('Demo'), st('Won')])[1 + i % 4] FROM generate_series(1, 12) i;
INSERT INTO others (a, b, stage_id) SELECT 1, i, st('Quote') FROM generate_series(1, 2) i;

-- what can't be
SELECT try($$SELECT pipelines.merge_stages('Sales', 'Quote', 'Quote')$$);
SELECT try($$SELECT pipelines.merge_stages('Sales', 'Quote', 'Won')$$);
SELECT try($$SELECT pipelines.merge_stages('Sales', 'Quote', 'Offer')$$);
SELECT try($$SELECT pipelines.merge_stages('Trade', 'Quote', 'Offer')$$);
SELECT pipelines.archive_stage('Sales', 'Contract');
SELECT try($$SELECT pipelines.merge_stages('Sales', 'Quote', 'Contract')$$);
UPDATE pipelines.pipeline_stage SET archived_at = NULL WHERE pipeline_id = 1;
SELECT * FROM pipelines.merge_stages(NULL, 'Quote', 'Demo');

-- a trigger of the application, which counts on its search_path
CREATE SCHEMA app;
CREATE TABLE app.seen (deal_id bigint);
CREATE FUNCTION app.see() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO seen VALUES (new.deal_id); RETURN NULL; END$$;
CREATE TRIGGER see AFTER UPDATE ON deals FOR EACH ROW EXECUTE FUNCTION app.see();
SET search_path = public, app;

-- R-2.35: its deals move, past visits keep it, the definition stays
UPDATE deals SET stage_id = st('Demo') WHERE deal_id = 1;
INSERT INTO pipelines.stage_map (from_pipeline_id, from_stage_id, to_pipeline_id, to_stage_id) VALUES (2, st('Offer', 'Renewal'), 1, st('Quote'));
INSERT INTO pipelines.stage_transition (pipeline_id, from_stage_id, to_stage_id) VALUES
	(1, st('New'), st('Quote')), (1, st('New'), st('Demo')), (1, st('Quote'), st('Demo')), (1, st('Quote'), st('Contract'));
SET pipelines.reason = 'fewer stages';
SELECT * FROM pipelines.merge_stages('Sales', 'q', 'Demo');
RESET pipelines.reason;
SELECT st('Quote') = stage_id AS quote, archived_at IS NOT NULL AS archived, merged_into = st('Demo') AS into_demo FROM pipelines.pipeline_stage WHERE merged_into IS NOT NULL;
SELECT change, reason, count(*) FROM deals_history WHERE deal_id > 1 GROUP BY 1, 2;
SELECT life('5');
SELECT stage_name, count(*) FROM deals_current GROUP BY 1 ORDER BY 1;
SELECT stage_name, count(*), count(*) FILTER (WHERE running) AS running FROM deals_visits GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM app.seen;
-- maps and transitions lead on
SELECT to_stage_id = st('Demo') AS demo FROM pipelines.stage_map;
SELECT a.name, b.name FROM pipelines.stage_transition t JOIN pipelines.stage a ON a.stage_id = t.from_stage_id JOIN pipelines.stage b ON b.stage_id = t.to_stage_id ORDER BY 1, 2;
SELECT problems();
SELECT problems('others');
SELECT try('UPDATE deals SET stage_id = st(''Quote'') WHERE deal_id = 1');
-- no stage loses another that was merged into it
SELECT try('DELETE FROM pipelines.pipeline_stage WHERE pipeline_id = 1 AND stage_id = st(''Demo'')') ~ '^23' AS refused;

-- on: what was merged into it goes along, with closed deals, too (their closing stays: R-2.26)
SELECT * FROM pipelines.merge_stages('Sales', 'Demo', 'Contract');
SELECT s.name, m.name AS merged_into FROM pipelines.pipeline_stage p JOIN pipelines.stage s USING (stage_id) JOIN pipelines.stage m ON m.stage_id = p.merged_into ORDER BY 1;
SELECT deal_id, outcome, closed_at FROM deals_closings EXCEPT SELECT deal_id, 'won', closed_at FROM deals;
SELECT * FROM pipelines.merge_stages('Sales', 'Won', 'Signed');
SELECT deal_id, stage_name, from_stage_name, superseded_at, closed_at = (SELECT created_at FROM deals d WHERE d.deal_id = c.deal_id) AS same FROM deals_closings c ORDER BY 1;
SELECT problems();

-- deals that are not the caller's to change are left alone, and counted
SELECT pipelines.grant_access('deals', 'regress_merge_clerk', 'define');
GRANT USAGE ON SCHEMA app TO regress_merge_clerk;
GRANT INSERT ON app.seen TO regress_merge_clerk;
ALTER TABLE deals ENABLE ROW LEVEL SECURITY;
CREATE POLICY late_ones ON deals TO regress_merge_clerk USING (deal_id > 8);
INSERT INTO others (a, b) VALUES (2, 1);
SET ROLE regress_merge_clerk;
SELECT * FROM pipelines.merge_stages('Sales', 'New', 'Contract');
RESET ROLE;
SELECT stage_name, array_agg(deal_id ORDER BY deal_id) FROM deals_current GROUP BY 1 ORDER BY 1;
-- those left may follow later
SELECT * FROM pipelines.merge_stages('Sales', 'New', 'Contract');
CREATE ROLE regress_merge_stranger;
SET ROLE regress_merge_stranger;
SELECT try($$SELECT pipelines.merge_stages('Renewal', 'New', 'Offer')$$);
SELECT try($$SELECT pipelines.archive_pipeline('Renewal', '"Sales"')$$);
SELECT try($$SELECT pipelines._deals_left(1, '{1}')$$);
RESET ROLE;

--
-- archive_pipeline(): what the map must be
--
SELECT try($$SELECT pipelines.archive_pipeline('Sales', '"Renewal"')$$);
UPDATE pipelines.pipeline SET is_standard = (name = 'Renewal') WHERE layout_id = 1;
-- who may not move all of them archives nothing
SET ROLE regress_merge_clerk;
SELECT try($$SELECT pipelines.archive_pipeline('Sales', '{"pipeline": "Renewal", "stages": {"Contract": "Offer"}}')$$);
RESET ROLE;
ALTER TABLE deals DISABLE ROW LEVEL SECURITY;
SELECT m, try(format($$SELECT pipelines.archive_pipeline('Sales', %L)$$, m))
FROM unnest(ARRAY['"Trade"', '"Sales"', '[]', 'true', '{"Contract": "Renewal"}', '{"Contract": {"stage": "Offer"}}', '{"Contract": {"pipeline": "Renewal", "staeg": "Offer"}}',
	'{"pipeline": "Renewal", "stage": {}}', '{"pipeline": "Renewal", "stages": []}', '{"pipeline": "Renewal", "stages": {"Contract": "Quote"}}',
	'{"pipeline": "Renewal", "stages": {"Treaty": "Offer"}}', '{"pipeline": "Renewal", "stages": {"Signed": "Won"}}', '{"Demo": {"pipeline": "Renewal", "stage": "Offer"}}']) m;
-- no deal may be left without a place, nor in another layout: nothing is archived
SELECT try($$SELECT pipelines.archive_pipeline('Sales', '"Renewal"')$$);
SELECT try($$SELECT pipelines.archive_pipeline('Sales', '"Boats"')$$) ~ '^23S10' AS other_layout;
SELECT archived_at, (SELECT count(*) FROM deals WHERE pipeline_id = 1) AS deals FROM pipelines.pipeline WHERE pipeline_id = 1;
-- stage by stage, or by the rules for any transfer: the same stage, here New
UPDATE pipelines.pipeline_stage SET archived_at = NULL, merged_into = NULL WHERE pipeline_id = 1 AND stage_id = st('New');
UPDATE deals SET stage_id = st('New') WHERE deal_id IN (2, 3);
SELECT * FROM pipelines.archive_pipeline('Sales', '{"pipeline": "Renewal", "stages": {"Contract": "Offer"}}');
SELECT pipeline_name, stage_name, array_agg(deal_id ORDER BY deal_id) FROM deals_current GROUP BY 1, 2 ORDER BY 1, 2;
SELECT change, count(*) FROM deals_history WHERE to_pipeline_id = 2 GROUP BY 1;
SELECT name, archived_at IS NOT NULL AS archived, is_standard FROM pipelines.pipeline ORDER BY 1;
SELECT problems();
SELECT problems('others');
-- the other forms
SELECT pipelines.create_pipeline('Next', stages => '["New", "Offer", {"name": "Won", "outcome": "won"}]', transfer_policy => 'first');
SELECT * FROM pipelines.archive_pipeline('Next', '{"New": {"pipeline": "Renewal"}}');
UPDATE pipelines.pipeline SET archived_at = NULL WHERE name = 'Next';
UPDATE pipelines.pipeline SET is_standard = (name = 'Next') WHERE layout_id = 1;
SELECT try($$SELECT pipelines.archive_pipeline('Renewal', '{"New": {"pipeline": "Next", "stage": null}}')$$);
SELECT * FROM pipelines.archive_pipeline('2', '{"New": {"pipeline": "Next", "stage": "Offer"}, "Offer": {"pipeline": "4"}}');
SELECT pipeline_name, stage_name, count(*) FROM deals_current GROUP BY 1, 2 ORDER BY 1, 2;
-- R-2.35: what is archived stays readable
SELECT DISTINCT pipeline_name, stage_name FROM deals_visits ORDER BY 1, 2;
-- without a map deals stay
SELECT * FROM pipelines.archive_pipeline('Boats');
SELECT * FROM pipelines.archive_pipeline(NULL, '"Next"');

-- what an application writes means the stage that took over
CREATE TABLE orders (id bigint PRIMARY KEY, state text NOT NULL);
INSERT INTO orders VALUES (1, 'New'), (2, 'Checked'), (3, 'Approved'), (4, 'Won');
SELECT count(*) > 0 AS adopted FROM pipelines.adopt('orders', stage => 'state', layout => 'orders', apply => true);
SELECT p.name AS orders FROM pipelines.pipeline p JOIN pipelines.layout l USING (layout_id) WHERE l.name = 'orders' \gset
SELECT moved, left_alone FROM pipelines.merge_stages(:'orders', 'Checked', 'Approved');
INSERT INTO orders VALUES (5, 'Checked');
UPDATE orders SET state = 'Checked' WHERE id = 1;
SELECT id, state, stage_name FROM orders_current ORDER BY 1;
SELECT v.value, s.name, v.is_written FROM pipelines.stage_value v JOIN pipelines.stage s USING (stage_id) WHERE v.relation = 'orders'::regclass ORDER BY 1;
SELECT * FROM pipelines.verify('orders');

\set ECHO none
\c :home
SET client_min_messages = warning;
DROP DATABASE regress_pipelines_merge_stages;
DROP ROLE regress_merge_clerk, regress_merge_stranger;
