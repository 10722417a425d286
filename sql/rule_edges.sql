-- rule_edges.sql: what the rules say at their edges, one case for each comparison
-- that could be turned around unnoticed.  In a database of its own.
\set ECHO none
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_pipelines_rule_edges;
CREATE DATABASE regress_pipelines_rule_edges TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\set home :DBNAME
\c regress_pipelines_rule_edges
\i test/data/checks.sql
\set ECHO all
\set SHOW_CONTEXT never

--
-- Where a deal starts that names no stage: in the first open one that is neither
-- archived nor closed to beginners; else in the first open one, to be told so
--
SELECT pipelines.create_pipeline('Sales', stages => '["Old", {"name": "Paused", "outcome": "on_hold"}, "Inner", "Way in", "Further", {"name": "Won", "outcome": "won"}, {"name": "Lost", "outcome": "lost"}]');
SELECT pipelines.create_deals('deals', currency => 'EUR');
SELECT pipelines.archive_stage('Sales', 'Old');
UPDATE pipelines.pipeline_stage SET may_start = false WHERE stage_id IN (SELECT stage_id FROM pipelines.stage WHERE name = 'Inner');
SELECT try($$INSERT INTO deals (name) VALUES ('one')$$);
SELECT d.name, s.name AS stage FROM deals d JOIN pipelines.stage s USING (stage_id);
UPDATE pipelines.pipeline_stage SET may_start = false;
SELECT try($$INSERT INTO deals (name) VALUES ('two')$$);
UPDATE pipelines.pipeline_stage SET outcome = 'on_hold' WHERE outcome = 'open' AND stage_id NOT IN (SELECT stage_id FROM deals);
UPDATE pipelines.pipeline_stage SET may_start = true;
SELECT try($$INSERT INTO deals (name) VALUES ('three')$$);
SELECT d.name, s.name AS stage FROM deals d JOIN pipelines.stage s USING (stage_id) ORDER BY 1;
SELECT pipelines.create_pipeline('Empty', stages => '[{"name": "Shut", "outcome": "on_hold"}, {"name": "Gone", "outcome": "lost"}]');
SELECT try($$INSERT INTO deals (name, pipeline_id) VALUES ('four', 2)$$);

--
-- A deal type shows the way also where there is no standard pipeline
--
SELECT pipelines.create_pipeline('Typed', layout => 'typed', stages => '["Start", {"name": "End", "outcome": "won"}]') > 0 AS made;
SELECT pipelines.create_deals('typed', layout => 'typed', currency => 'EUR');
UPDATE pipelines.pipeline SET is_standard = false WHERE name = 'Typed';
INSERT INTO pipelines.deal_type (layout_id, column_name, value, pipeline_id) SELECT layout_id, 'source', 'web', pipeline_id FROM pipelines.pipeline WHERE name = 'Typed';
SELECT try($$INSERT INTO typed (name, source) VALUES ('one', 'web')$$), try($$INSERT INTO typed (name, source) VALUES ('two', 'fair')$$);
SELECT d.name, p.name AS pipeline FROM typed d JOIN pipelines.pipeline p USING (pipeline_id);

--
-- A row that brings all its bookkeeping is kept, but must be in a stage that is there
--
SELECT pipelines.create_pipeline('Elsewhere', layout => 'other', stages => '["There", {"name": "Yes", "outcome": "won"}]') AS elsewhere;
CREATE FUNCTION keep(name text, pipeline integer, stage integer) RETURNS text LANGUAGE sql AS $$
	SELECT try(format('INSERT INTO deals (name, pipeline_id, stage_id, created_at, created_by, stage_entered_at, furthest_stage_id, episode, version, changed_at) VALUES (%L, %s, %s, now(), ''me'', now(), %s, 1, 1, now())',
		name, coalesce(pipeline::text, 'NULL'), coalesce(stage::text, 'NULL'), coalesce(stage::text, 'NULL')))
$$;
SELECT keep('kept', 1, (SELECT stage_id FROM pipelines.stage WHERE name = 'Further'));
SELECT keep('stage of another', 1, (SELECT stage_id FROM pipelines.stage WHERE name = 'Shut'));
SELECT keep('of another layout', (SELECT pipeline_id FROM pipelines.pipeline WHERE name = 'Elsewhere'), (SELECT stage_id FROM pipelines.stage WHERE name = 'There'));
SELECT keep('of no pipeline', 99, 1);
SELECT d.name, s.name AS stage FROM deals d JOIN pipelines.stage s USING (stage_id) ORDER BY 1;
SELECT * FROM pipelines.verify('deals');

\set ECHO none
\c :home
SET client_min_messages = warning;
DROP DATABASE regress_pipelines_rule_edges;
