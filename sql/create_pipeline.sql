-- create_pipeline, clone_pipeline, archiving, the shared picklist, advice.
-- In a database of its own, since schema pipelines is one per database.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT current_database() AS home \gset
DROP DATABASE IF EXISTS regress_pipelines_create;
CREATE DATABASE regress_pipelines_create;
\c regress_pipelines_create
SET lc_messages = 'C';
SET client_min_messages = warning;
SET timezone = 'Europe/Sofia';
CREATE EXTENSION pipelines;

-- the first use makes the tables, the layout, the standard pipeline (S9)
SELECT pipelines.create_pipeline('Standard') AS id;
SELECT name, kind, is_standard, mode, override_policy, transfer_policy, use_scores, time_zone, version, changed_at
FROM pipelines.pipeline;
SELECT name FROM pipelines.layout;
CREATE VIEW stages AS
SELECT p.name AS pipeline, s."position" AS pos, c.name AS stage, s.outcome, s.probability AS prob,
	s.forecast_category AS category, s.mandatory AS mand, s.stall_limit AS "limit", s.stall_basis AS basis,
	s.may_start AS start, s.colour, s.archived_at IS NOT NULL AS archived, s.attrs
FROM pipelines.pipeline p JOIN pipelines.pipeline_stage s USING (pipeline_id) JOIN pipelines.stage c USING (stage_id)
ORDER BY p.pipeline_id, s.archived_at NULLS FIRST, s."position";
SELECT pos, stage, outcome, prob, category, "limit" FROM stages;

-- from names: outcome by a few words, even steps for open stages
SELECT pipelines.create_pipeline('Names', stages => '["Lead", "Demo", "Negotiation", "On hold", "Closed won", "Closed-Lost", "Junk", "Request closed"]');
SELECT pos, stage, outcome, prob, category FROM stages WHERE pipeline = 'Names';
SELECT n, pipelines._guess_outcome(n) FROM unnest(ARRAY['Won', 'Closed Won', 'deal closed', 'Deal closed/lost', 'Won or lost',
	'Not won', 'Lost', 'Not interested', 'Unqualified', 'Qualified', 'Paused', 'Done', 'Closed', 'Not closed', 'Almost', 'Wonderful', 'Gone',
	'Lostock', 'Win/loss review', 'SOLD', 'closed_lost']) AS n;

-- from objects: every property of pipeline_stage; a mixture with names
SELECT pipelines.create_pipeline('Objects', stages => '[
	{"name": "  First contact ", "code": "first", "description": "Say hello.", "probability": 0, "stall_limit": "2 days", "stall_basis": "activity", "colour": "#ff0000", "attrs": {"n": 1}},
	"Negotiation",
	{"name": "Parked", "outcome": "on_hold", "probability": 12.5, "mandatory": false, "may_start": false},
	{"name": "Signed", "outcome": "won", "position": 90, "forecast_category": "won_by_us"},
	{"name": "Old way", "position": 2, "archived_at": "2026-01-01"},
	{"name": "Gone", "outcome": "lost", "position": 91}]',
	code => 'obj', kind => 'upsell', mode => 'strict', override_policy => 'clear_on_move', transfer_policy => 'nearest',
	time_zone => 'Asia/Tokyo', attrs => '{"team": "east"}') AS objects \gset
SELECT pos, stage, outcome, prob, category, mand, "limit", basis, start, colour, archived, attrs FROM stages WHERE pipeline = 'Objects';
SELECT code, kind, is_standard, mode, override_policy, transfer_policy, time_zone, attrs FROM pipelines.pipeline WHERE name = 'Objects';

-- S10, S11: stages are picked from the shared list by their name, missing ones are added
SELECT c.name, c.code, c.description IS NOT NULL AS described, count(*) AS pipelines
FROM pipelines.stage c JOIN pipelines.pipeline_stage s USING (stage_id) GROUP BY c.stage_id ORDER BY c.stage_id;
SELECT pipelines.stage_id('obj', 'first') = pipelines.stage_id('Objects', 'First contact') AS by_code;
SELECT pipelines.stage_id('Names', 'Negotiation') = pipelines.stage_id('Objects', 'Negotiation') AS same_stage;

-- what it refuses, before it makes anything
SELECT pipelines.create_pipeline(NULL);
SELECT pipelines.create_pipeline('X', template => 'moon');
\echo :LAST_ERROR_SQLSTATE
SELECT pipelines.create_pipeline('X', template => 'smb', stages => '["A"]');
SELECT pipelines.create_pipeline('X', stages => '[]');
SELECT pipelines.create_pipeline('X', stages => '{"name": "A"}');
SELECT pipelines.create_pipeline('X', stages => '[1]');
SELECT pipelines.create_pipeline('X', stages => '[{"outcome": "open"}]');
SELECT pipelines.create_pipeline('X', stages => '["A", {"name": "B", "propability": 5, "colour": "red", "id": 3}]');
SELECT pipelines.create_pipeline('X', stages => '["A", {"name": "B", "probability": "much"}]');
SELECT pipelines.create_pipeline('X', stages => '["A", {"name": "B", "stall_limit": "soon"}]');
SELECT pipelines.create_pipeline('X', stages => '["A", {"name": "B", "mandatory": "perhaps"}]');
SELECT pipelines.create_pipeline('X', stages => '["A", " A"]');
SELECT pipelines.create_pipeline('X', stages => '["A", {"name": "First contact", "code": "other"}]');
SELECT pipelines.create_pipeline('X', stages => '[{"name": "A", "probability": 1000}]');
\echo :LAST_ERROR_SQLSTATE
SELECT pipelines.create_pipeline('X', stages => '[{"name": "Won", "probability": 0}]');
SELECT pipelines.create_pipeline('X', stages => '[{"name": "A", "position": 1}, {"name": "B", "position": 1}]');
\echo :LAST_ERROR_SQLSTATE
SELECT pipelines.create_pipeline('X', stages => '[{"name": "A", "entry_rule": "now() > closed_at"}]');
SELECT pipelines.create_pipeline('Names', template => 'smb');
\echo :LAST_ERROR_SQLSTATE
SELECT pipelines.create_pipeline('X', time_zone => 'Moon/Tycho');
SELECT count(*) FROM pipelines.pipeline WHERE name = 'X';

-- rules and activities come with the pipeline, and with its clone
SELECT pipelines.create_pipeline('Ruled', mode => 'strict', backward => 'reason', close_requires => '{lost_reason}', bypass_role => 'chief',
	stages => '[{"name": "First", "exit_rule": "amount", "activities": ["call", "mail", "call"]}, {"name": "Second", "entry_rule": "amount > 0"}, {"name": "Won", "outcome": "won"}]');
SELECT pipelines.clone_pipeline('Ruled', 'Ruled too');
SELECT p.name, p.mode, p.backward, p.close_requires, p.bypass_role, s.position, s.entry_rule, s.exit_rule,
	(SELECT string_agg(a.kind, ', ' ORDER BY a.kind) FROM pipelines.stage_activity a WHERE a.pipeline_id = s.pipeline_id AND a.stage_id = s.stage_id) AS activities
FROM pipelines.pipeline p JOIN pipelines.pipeline_stage s ON s.pipeline_id = p.pipeline_id WHERE p.name LIKE 'Ruled%' ORDER BY 1, 6;
SELECT pipelines.create_pipeline('X', stages => '[{"name": "A", "activities": "call"}]');
SELECT pipelines.create_pipeline('X', backward => 'never');
DELETE FROM pipelines.pipeline WHERE name LIKE 'Ruled%';

-- layouts are separate; each has a standard pipeline of its own
SELECT pipelines.create_pipeline('Names', stages => '["A", "Won"]', layout => 'Furniture') AS furniture \gset
SELECT l.name, p.name, p.is_standard FROM pipelines.pipeline p JOIN pipelines.layout l USING (layout_id) ORDER BY p.pipeline_id;

-- cloning: live stages and properties, in the same or in another layout
UPDATE pipelines.pipeline SET use_scores = true WHERE pipeline_id = :objects;
INSERT INTO pipelines.stage_transition VALUES
	(:objects, pipelines.stage_id('Objects', 'First contact'), pipelines.stage_id('Objects', 'Signed')),
	(:objects, pipelines.stage_id('Objects', 'First contact'), pipelines.stage_id('Objects', 'Old way'));
SELECT pipelines.clone_pipeline('obj', 'Copy', layout => 'Furniture') AS copy \gset
SELECT pos, stage, outcome, prob, category, mand, "limit", basis, start, colour, archived, attrs FROM stages WHERE pipeline = 'Copy';
SELECT code, kind, is_standard, mode, override_policy, transfer_policy, use_scores, time_zone, attrs FROM pipelines.pipeline WHERE name = 'Copy';
SELECT count(*) FROM pipelines.stage_transition WHERE pipeline_id = :copy;
SELECT pipelines.clone_pipeline('obj', 'Copy', layout => 'Furniture');
SELECT pipelines.clone_pipeline('Nothing', 'Copy 2');
\echo :LAST_ERROR_SQLSTATE
SELECT pipelines.clone_pipeline(NULL, 'Copy 2');

-- archiving (R-2.35)
SELECT pipelines.archive_stage('Names', 'Demo');
\echo :LAST_ERROR_SQLSTATE
SELECT pipelines.archive_stage('Objects', 'Parked');
SELECT stage, archived FROM stages WHERE pipeline = 'Objects' ORDER BY 1;
SELECT pipelines.stage_id('Objects', 'Parked') IS NOT NULL AS still_found;
SELECT pipelines.archive_pipeline('Objects');
SELECT pipelines.archive_pipeline('Standard');
SELECT pipelines.archive_pipeline('Copy');
SELECT pipelines.archive_pipeline(:furniture::text);
SELECT name, is_standard, archived_at IS NOT NULL AS archived FROM pipelines.pipeline ORDER BY pipeline_id;

-- advice (S7, S13, S15)
SELECT pipelines.create_pipeline('Bad advice', kind => 'renewal', layout => 'Advice', mode => 'graph', stages => '[
	{"name": "A", "probability": 50, "description": "a"}, {"name": "B", "probability": 20, "description": "b"},
	{"name": "C", "probability": 20, "description": " "}, {"name": "D", "probability": 0, "description": "d"},
	{"name": "E", "outcome": "won", "description": "e"}, {"name": "F", "probability": 0, "description": "f"}]');
SELECT pipelines.create_pipeline('Dead end', layout => 'Advice', stages => '[{"name": "C"}]');
SELECT pipelines.create_pipeline('No way in', layout => 'Advice', stages => '[{"name": "C", "may_start": false}, {"name": "E", "outcome": "done"}]');
SELECT pipelines.create_pipeline('Closed', layout => 'Advice', stages => '[{"name": "E", "outcome": "won"}]');
SELECT pipeline_name, stage_name, advice, message FROM pipelines.check_definitions()
WHERE pipeline_name NOT IN ('Names', 'Copy') OR pipeline_name IS NULL;
-- business time needs a calendar (R-4.2)
UPDATE pipelines.pipeline_stage SET stall_limit = '2 days', stall_time = 'business' WHERE stage_id = pipelines.stage_id('Bad advice', 'B');
SELECT pipeline_name, stage_name, advice, message FROM pipelines.check_definitions() WHERE advice = 'no_calendar';
SELECT pipelines.create_fiscal_calendar('Works', from_year => 2024, to_year => 2025) > 0 AS made;
SELECT count(*) FROM pipelines.check_definitions() WHERE advice = 'no_calendar';

\c :home
DROP DATABASE regress_pipelines_create;
