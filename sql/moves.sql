-- moves.sql: what happens to one deal (SEMANTICS 3.1, 3.2, matrix 3.2.14)
-- In a database of its own, so that every id is the same in every run.
\set ECHO none
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_pipelines_moves;
CREATE DATABASE regress_pipelines_moves TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\set home :DBNAME
\c regress_pipelines_moves
\i test/data/checks.sql
\set ECHO all
--
-- Stages: New 10 %, Quote 40, Demo 60, Contract 80, then Won, Signed (won), Lost,
-- Junk (disqualified), Over (done), Parked (on hold, not mandatory).
SELECT pipelines.create_pipeline('Sales', time_zone => 'Pacific/Auckland', stages => '[
	{"name": "New", "probability": 10}, {"name": "Quote", "probability": 40},
	{"name": "Demo", "probability": 60}, {"name": "Contract", "probability": 80},
	{"name": "Won", "outcome": "won"}, {"name": "Signed", "outcome": "won"},
	{"name": "Lost", "outcome": "lost"}, {"name": "Junk", "outcome": "disqualified"},
	{"name": "Over", "outcome": "done"},
	{"name": "Parked", "outcome": "on_hold", "probability": 5, "mandatory": false}]');
SELECT pipelines.create_deals('deals', currency => 'EUR');
CREATE FUNCTION st(stage text, pipeline text DEFAULT 'Sales') RETURNS integer LANGUAGE sql STABLE AS
	'SELECT pipelines.stage_id(pipeline, stage)';
CREATE FUNCTION pl(pipeline text) RETURNS integer LANGUAGE sql STABLE AS 'SELECT pipelines.pipeline_id(pipeline)';

--
-- Creation (matrix: create; R-1.1, R-1.3, I1; reading 1: no history row)
--
SET pipelines.event_time = '2020-01-01 10:00+00';
INSERT INTO deals (deal_id, name, amount, expected_close_on) VALUES (1, 'defaults', 100, '2020-06-30');
INSERT INTO deals (deal_id, name, stage_id) VALUES (2, 'in Quote', st('Quote'));
-- R-1.3: created in a terminal stage; closed_at is the instant, or given
INSERT INTO deals (deal_id, name, stage_id) VALUES (3, 'won at once', st('Won'));
INSERT INTO deals (deal_id, name, stage_id, closed_at) VALUES (4, 'lost before', st('Lost'), '2019-11-30 20:00+00');
INSERT INTO deals (deal_id, name, stage_id, closed_on) VALUES (5, 'day given', st('Over'), '2019-10-01');
-- CORE 3: closed_at only in the statement that closes
INSERT INTO deals (deal_id, name, closed_at, closed_on) VALUES (6, 'open', '2019-11-30', '2019-11-30');
SELECT deal_id, life(deal_id::text, true) FROM deals ORDER BY 1;
SELECT count(*) AS history_rows FROM deals_history;
SELECT deal_id, created_at, created_by = session_user AS by_me, version, episode, furthest_stage_id = stage_id AS furthest,
	gate_stage_id, stage_entered_at = changed_at AS entered FROM deals ORDER BY 1;
-- I1: only what exists
SELECT try('INSERT INTO deals (deal_id, pipeline_id) VALUES (7, 99)');
SELECT try('INSERT INTO deals (deal_id, stage_id) VALUES (7, 99)');
SELECT try('INSERT INTO deals (deal_id, pipeline_id, stage_id) VALUES (7, 99, 1)');
SELECT problems();

--
-- Forward, the same stage, back (matrix: forward, same stage, back; R-2.4, R-2.5, R-2.13, I6)
--
SET pipelines.event_time = '2020-01-02 10:00+00';
UPDATE deals SET stage_id = st('Quote') WHERE deal_id = 1;
SET pipelines.event_time = '2020-01-03 10:00+00';
-- R-2.5, I6: nothing happens
UPDATE deals SET stage_id = st('Quote') WHERE deal_id = 1;
UPDATE deals SET pipeline_id = pl('Sales'), stage_id = st('Quote'), amount = 100.00 WHERE deal_id = 1;
-- not tracked (reading 3): no version either
UPDATE deals SET name = 'renamed', account = 'A', attributes = '{"a": 1}' WHERE deal_id = 1;
SELECT name, account, attributes, changed_at, version FROM deals WHERE deal_id = 1;
UPDATE deals SET stage_id = st('Demo') WHERE deal_id = 1;
-- R-2.13: back; the furthest stage stays
SET pipelines.event_time = '2020-01-04 10:00+00';
UPDATE deals SET stage_id = st('New') WHERE deal_id = 1;
SELECT life('1', true);
-- owner, amount, currency, close date (matrix; R-2.30, R-2.31): a version, and the stage's clock goes on
SET pipelines.event_time = '2020-01-05 10:00+00';
UPDATE deals SET owner = 'eve' WHERE deal_id = 1;
UPDATE deals SET amount = 120, currency = 'USD' WHERE deal_id = 1;
UPDATE deals SET expected_close_on = '2020-07-31' WHERE deal_id = 1;
UPDATE deals SET probability = 33 WHERE deal_id = 1;
UPDATE deals SET next_action_at = '2020-02-01', source = 'fair', quantity = 3, cost = 7, parent_deal_id = 2, forecast_category = 'commit' WHERE deal_id = 1;
SELECT life('1', true);
-- equal event times are not bent (CORE 12): the version decides (I7)
SELECT count(*), count(DISTINCT version), max(version) FROM deals_history WHERE deal_id = 1;
SELECT problems();

--
-- A to B to A in one transaction (R-2.6), and times of one transaction (CORE 11)
--
RESET pipelines.event_time;
INSERT INTO deals (deal_id, name) VALUES (10, 'to and fro'), (11, 'beside');
BEGIN;
UPDATE deals SET stage_id = st('Quote') WHERE deal_id = 10;
UPDATE deals SET stage_id = st('New') WHERE deal_id = 10;
UPDATE deals SET amount = 1 WHERE deal_id IN (10, 11);
COMMIT;
SELECT life('10');
-- every version is later than the one before, by a microsecond where the instant is the same
SELECT h.version, h.valid_to - lag(h.valid_to) OVER (ORDER BY h.version) AS step FROM deals_history h WHERE deal_id = 10;
SELECT (SELECT valid_to FROM deals_history WHERE deal_id = 10 AND version = 1) = (SELECT changed_at FROM deals WHERE deal_id = 11) AS one_instant;
SELECT problems();

--
-- Skips (R-2.7, R-2.9; matrix: skip)
--
INSERT INTO deals (deal_id) SELECT generate_series(20, 29);
UPDATE deals SET stage_id = st('Contract') WHERE deal_id = 20;		-- skips Quote and Demo
UPDATE deals SET stage_id = st('Quote') WHERE deal_id = 20;		-- back: no skip
UPDATE deals SET stage_id = st('Won') WHERE deal_id = 20;			-- from the furthest, Contract: no skip
UPDATE deals SET stage_id = st('Demo') WHERE deal_id = 21;			-- skips Quote
UPDATE deals SET stage_id = st('Won') WHERE deal_id = 21;			-- winning counts: skips Contract
UPDATE deals SET stage_id = st('Lost') WHERE deal_id = 22;			-- losing never does
UPDATE deals SET stage_id = st('Junk') WHERE deal_id = 23;			-- nor does disqualifying
UPDATE deals SET stage_id = st('Parked') WHERE deal_id = 24;		-- on hold: a move, nothing skipped
UPDATE deals SET stage_id = st('Quote') WHERE deal_id = 24;		-- and no progress either
UPDATE pipelines.pipeline_stage SET mandatory = false WHERE stage_id = st('Quote');
UPDATE deals SET stage_id = st('Demo') WHERE deal_id = 25;			-- Quote may be left out
UPDATE pipelines.pipeline_stage SET mandatory = true WHERE stage_id = st('Quote');
SELECT g, life(g::text) FROM generate_series(20, 25) g;
SELECT problems();

--
-- Modes (R-2.8)
--
-- warn: a notice, and the record
UPDATE pipelines.pipeline SET mode = 'warn' WHERE name = 'Sales';
UPDATE deals SET stage_id = st('Contract') WHERE deal_id = 26;
UPDATE deals SET stage_id = st('New') WHERE deal_id = 26;
UPDATE deals SET stage_id = st('Contract') WHERE deal_id = 26;
SELECT life('26');
-- strict: mandatory stages must have been visited in this episode
UPDATE pipelines.pipeline SET mode = 'strict' WHERE name = 'Sales';
SELECT try('UPDATE deals SET stage_id = st(''Contract'') WHERE deal_id = 27');
SELECT try('UPDATE deals SET stage_id = st(''Won'') WHERE deal_id = 27');
SELECT try('UPDATE deals SET stage_id = st(''Quote'') WHERE deal_id = 27');
SELECT try('UPDATE deals SET stage_id = st(''Demo'') WHERE deal_id = 27');
SELECT try('UPDATE deals SET stage_id = st(''New'') WHERE deal_id = 27');
SELECT try('UPDATE deals SET stage_id = st(''Contract'') WHERE deal_id = 27');
SELECT try('UPDATE deals SET stage_id = st(''Won'') WHERE deal_id = 27');
SELECT try('UPDATE deals SET stage_id = st(''Lost'') WHERE deal_id = 28');
-- one refused deal refuses the statement (R-2.22)
SELECT try('UPDATE deals SET stage_id = st(''Demo'') WHERE deal_id IN (2, 29)');
SELECT life('2'), life('29');
-- a reopened deal must pass them again (R-2.27: a new episode)
SELECT try('UPDATE deals SET stage_id = st(''New'') WHERE deal_id = 27');
SELECT try('UPDATE deals SET stage_id = st(''Contract'') WHERE deal_id = 27');
SELECT life('27');
-- graph: only what is listed, whatever the direction
UPDATE pipelines.pipeline SET mode = 'graph' WHERE name = 'Sales';
INSERT INTO pipelines.stage_transition (pipeline_id, from_stage_id, to_stage_id)
	VALUES (pl('Sales'), st('New'), st('Demo')), (pl('Sales'), st('Demo'), st('Lost'));
SELECT try('UPDATE deals SET stage_id = st(''Quote'') WHERE deal_id = 29');
SELECT try('UPDATE deals SET stage_id = st(''Demo'') WHERE deal_id = 29');
SELECT try('UPDATE deals SET stage_id = st(''New'') WHERE deal_id = 29');
SELECT try('UPDATE deals SET stage_id = st(''Demo''), amount = 3 WHERE deal_id = 29');
SELECT try('UPDATE deals SET stage_id = st(''Lost'') WHERE deal_id = 29');
SELECT try('UPDATE deals SET stage_id = st(''New'') WHERE deal_id = 29');
SELECT life('29');
UPDATE pipelines.pipeline SET mode = 'free' WHERE name = 'Sales';
SELECT problems();

--
-- Overrides (R-2.1, R-2.2, R-2.3)
--
INSERT INTO deals (deal_id, probability, forecast_category) SELECT g, 77, 'commit' FROM generate_series(30, 39) g;
-- the row keeps no copy of the stage's probability (R-2.1)
SELECT probability, forecast_category FROM deals WHERE deal_id = 10;
-- keep
UPDATE deals SET stage_id = st('Quote') WHERE deal_id = 30;
-- clear_on_forward
UPDATE pipelines.pipeline SET override_policy = 'clear_on_forward' WHERE name = 'Sales';
UPDATE deals SET stage_id = st('Quote') WHERE deal_id = 31;
UPDATE deals SET stage_id = st('Demo'), probability = 55, forecast_category = 'best_case' WHERE deal_id = 32;	-- written with the move: wins
UPDATE deals SET stage_id = st('New') WHERE deal_id = 32;		-- back: kept
UPDATE deals SET amount = 5 WHERE deal_id = 33;				-- no move: kept
-- clear_on_move
UPDATE pipelines.pipeline SET override_policy = 'clear_on_move' WHERE name = 'Sales';
UPDATE deals SET stage_id = st('Quote') WHERE deal_id = 34;
UPDATE deals SET stage_id = st('Quote'), probability = 50 WHERE deal_id = 35;
UPDATE deals SET stage_id = st('New') WHERE deal_id = 35;		-- back: cleared
UPDATE deals SET stage_id = stage_id WHERE deal_id = 36;		-- no move: kept
SELECT g, life(g::text) FROM generate_series(30, 36) g;
UPDATE pipelines.pipeline SET override_policy = 'keep' WHERE name = 'Sales';
-- an override is a percentage
SELECT try('UPDATE deals SET probability = 101 WHERE deal_id = 30');
SELECT problems();

--
-- Change of the pipeline (R-2.14 to R-2.17; matrix: pipeline change)
--
SELECT pipelines.create_pipeline('Renewal', stages => '[
	{"name": "Due", "probability": 50}, {"name": "Quote", "probability": 45}, {"name": "Talks", "probability": 65},
	{"name": "Last call", "probability": 55}, {"name": "Renewed", "outcome": "won"}, {"name": "Won", "outcome": "won"},
	{"name": "Churned", "outcome": "lost"}]');
INSERT INTO deals (deal_id, name, amount, probability) SELECT g, 'to Renewal', 10, 20 FROM generate_series(40, 59) g;
-- (a) the same stage of the picklist
RESET pipelines.event_time;
UPDATE deals SET stage_id = st('Quote') WHERE deal_id IN (40, 41);
UPDATE deals SET pipeline_id = pl('Renewal') WHERE deal_id = 40;
SELECT life('40');
SELECT h.episode = d.episode AS same_episode, d.stage_entered_at = d.changed_at AS clock_restarted, d.created_at < d.changed_at AS age_goes_on,
	d.amount = h.amount AS amount_untouched FROM deals d JOIN deals_history h USING (deal_id) WHERE deal_id = 40 AND h.version = 2;
-- both written at once
UPDATE deals SET pipeline_id = pl('Renewal'), stage_id = st('Talks', 'Renewal') WHERE deal_id = 41;
-- (d) default policy: an error that lists the stages
SELECT try('UPDATE deals SET pipeline_id = pl(''Renewal'') WHERE deal_id = 42');
SELECT try('UPDATE deals SET pipeline_id = pl(''Renewal''), stage_id = NULL WHERE deal_id = 42');
-- (b) the stored map, before any policy
INSERT INTO pipelines.stage_map VALUES (pl('Sales'), st('New'), pl('Renewal'), st('Last call', 'Renewal'));
UPDATE pipelines.pipeline SET transfer_policy = 'first' WHERE name = 'Renewal';
UPDATE deals SET pipeline_id = pl('Renewal') WHERE deal_id = 42;
DELETE FROM pipelines.stage_map;
-- (d) policy first: the first open stage
UPDATE deals SET pipeline_id = pl('Renewal') WHERE deal_id = 43;
-- (c) policy nearest: same outcome, nearest probability, the lower position on a tie
UPDATE pipelines.pipeline SET transfer_policy = 'nearest' WHERE name = 'Renewal';
UPDATE deals SET stage_id = st('Demo') WHERE deal_id IN (44, 45);		-- 60: Talks (65) and Last call (55) are equally near
UPDATE deals SET pipeline_id = pl('Renewal') WHERE deal_id = 44;
UPDATE deals SET stage_id = st('Signed') WHERE deal_id = 46;
UPDATE deals SET stage_id = st('Lost') WHERE deal_id = 47;
UPDATE deals SET stage_id = st('Parked') WHERE deal_id = 48;
UPDATE deals SET pipeline_id = pl('Renewal') WHERE deal_id IN (46, 47);
SELECT try('UPDATE deals SET pipeline_id = pl(''Renewal'') WHERE deal_id = 48');	-- nothing on hold there
SELECT g, life(g::text) FROM generate_series(41, 48) g;
-- won stays won: same closing (R-2.26)
SELECT d.closed_at = h.closed_at AS same_closing FROM deals d JOIN deals_history h USING (deal_id) WHERE deal_id = 46 AND h.version = 2;
-- only the stage written, and it is not in the pipeline: never guess one
SELECT try('UPDATE deals SET stage_id = st(''Talks'', ''Renewal'') WHERE deal_id = 49');
SELECT try('UPDATE deals SET stage_id = NULL WHERE deal_id = 49');
SELECT try('UPDATE deals SET pipeline_id = NULL WHERE deal_id = 49');
SELECT try('UPDATE deals SET pipeline_id = 99 WHERE deal_id = 49');
-- R-2.17: the target's policy decides on overrides
UPDATE pipelines.pipeline SET override_policy = 'clear_on_move' WHERE name = 'Renewal';
UPDATE deals SET stage_id = st('Quote') WHERE deal_id IN (50, 51);
UPDATE deals SET pipeline_id = pl('Renewal') WHERE deal_id = 50;
UPDATE pipelines.pipeline SET override_policy = 'keep' WHERE name = 'Renewal';
UPDATE pipelines.pipeline SET override_policy = 'clear_on_move' WHERE name = 'Sales';
UPDATE deals SET pipeline_id = pl('Renewal') WHERE deal_id = 51;
UPDATE pipelines.pipeline SET override_policy = 'keep' WHERE name = 'Sales';
SELECT g, life(g::text) FROM generate_series(50, 51) g;
-- archived in the target: as if it were not there; a pipeline that is archived takes nobody
SELECT pipelines.archive_stage('Renewal', 'Quote');
UPDATE pipelines.pipeline SET transfer_policy = 'error' WHERE name = 'Renewal';
UPDATE deals SET stage_id = st('Quote') WHERE deal_id IN (52, 53);
SELECT try('UPDATE deals SET pipeline_id = pl(''Renewal'') WHERE deal_id = 52');
SELECT try('UPDATE deals SET pipeline_id = pl(''Renewal''), stage_id = st(''Talks'', ''Renewal'') WHERE deal_id = 52');
-- a deal that is in the archived stage stays there, can be changed, and may leave; none may come
SELECT try('UPDATE deals SET amount = 11 WHERE deal_id = 40');
SELECT try('UPDATE deals SET stage_id = st(''Due'', ''Renewal'') WHERE deal_id = 40');
SELECT try('UPDATE deals SET stage_id = st(''Quote'', ''Renewal'') WHERE deal_id = 40');
SELECT try('INSERT INTO deals (deal_id, pipeline_id, stage_id) VALUES (60, pl(''Renewal''), st(''Quote'', ''Renewal''))');
SELECT pipelines.archive_pipeline('Renewal');
SELECT try('UPDATE deals SET pipeline_id = pl(''Renewal''), stage_id = st(''Talks'', ''Renewal'') WHERE deal_id = 53');
SELECT try('INSERT INTO deals (deal_id, pipeline_id) VALUES (60, pl(''Renewal''))');
SELECT try('UPDATE deals SET amount = 12 WHERE deal_id = 40');
-- R-2.35: what is in it may go on to its end
SELECT try('UPDATE deals SET stage_id = st(''Talks'', ''Renewal'') WHERE deal_id = 40');
-- R-2.14, back again: to where the stage is
SELECT try('UPDATE deals SET pipeline_id = pl(''Sales'') WHERE deal_id = 50');
-- another layout (R-2.20, reading: a deal's layout is its pipeline's)
SELECT pipelines.create_pipeline('Repair', layout => 'workshop', stages => '["New", "Done", "Quote"]');
SELECT try('UPDATE deals SET pipeline_id = pl(''Repair'') WHERE deal_id = 54');
SELECT try('UPDATE deals SET pipeline_id = pl(''Repair''), stage_id = st(''Quote'', ''Repair'') WHERE deal_id = 54');
SELECT try('INSERT INTO deals (deal_id, pipeline_id) VALUES (60, pl(''Repair''))');
SELECT life('54'), (SELECT count(*) FROM deals WHERE deal_id = 60) AS none;
SELECT problems();

--
-- Closing, changing the outcome, reopening (R-2.24 to R-2.27, R-1.1, I5; matrix: win, lose, won to won, won to lost, reopen; CORE test 8)
--
SET pipelines.event_time = '2020-02-01 12:00+00';
INSERT INTO deals (deal_id, amount, expected_close_on, probability, forecast_category) SELECT g, 10, '2020-05-05', 20, 'best_case' FROM generate_series(70, 89) g;
-- won; the closing day is that of the pipeline's time zone (reading 6): one day later there
SET pipelines.event_time = '2020-03-01 20:00+00';
UPDATE deals SET stage_id = st('Won'), close_reason = 'price' WHERE deal_id IN (70, 71, 72, 73, 74);
UPDATE deals SET stage_id = st('Lost'), close_reason = 'rival', competitor = 'Acme', close_notes = 'never called' WHERE deal_id = 75;
-- given in the statement that closes
UPDATE deals SET stage_id = st('Won'), closed_at = '2020-02-10 01:00+00' WHERE deal_id = 76;
UPDATE deals SET stage_id = st('Won'), closed_on = '2020-02-20' WHERE deal_id = 77;
UPDATE deals SET stage_id = st('Won'), closed_at = '2020-02-10 01:00+00', closed_on = '2020-02-01' WHERE deal_id = 78;
-- given where nothing closes: ignored
UPDATE deals SET closed_at = '2020-02-10', closed_on = '2020-02-10' WHERE deal_id = 79;
UPDATE deals SET stage_id = st('Quote'), closed_at = '2020-02-10', closed_on = '2020-02-10' WHERE deal_id = 79;
UPDATE deals SET closed_at = '2020-02-11' WHERE deal_id = 76;
UPDATE deals SET closed_at = NULL WHERE deal_id = 76;
SELECT g, life(g::text, true) FROM unnest('{70,75,76,77,78,79}'::integer[]) g;
-- won to won: the closing stays (R-2.26)
SET pipelines.event_time = '2020-03-02 20:00+00';
UPDATE deals SET stage_id = st('Signed') WHERE deal_id = 71;
-- won to lost: closed anew, at the new instant
UPDATE deals SET stage_id = st('Lost') WHERE deal_id = 72;
-- lost to disqualified: another kind, closed anew; nothing is skipped
UPDATE deals SET stage_id = st('Junk') WHERE deal_id = 75;
-- reopened: a new episode, no closing, no overrides; the reason stays with the closing, that is in the history
UPDATE deals SET stage_id = st('Demo') WHERE deal_id = 73;
-- an ORM sends the whole row as it read it
UPDATE deals SET (name, pipeline_id, stage_id, amount, probability, closed_at, closed_on, close_reason, stage_entered_at, furthest_stage_id, episode, version, changed_at)
	= (SELECT name, pipeline_id, st('Quote'), amount, probability, closed_at, closed_on, close_reason, stage_entered_at, furthest_stage_id, episode, version, changed_at
	   FROM deals o WHERE o.deal_id = 74) WHERE deal_id = 74;
-- an override written with the reopening stays
UPDATE deals SET stage_id = st('New'), probability = 66 WHERE deal_id = 77;
SELECT g, life(g::text, true) FROM unnest('{71,72,73,74,75,77}'::integer[]) g;
-- closed again, in the second episode: a closing of its own
SET pipelines.event_time = '2020-03-05 08:00+00';
UPDATE deals SET stage_id = st('Won') WHERE deal_id = 73;
-- on hold is not closed
UPDATE deals SET stage_id = st('Parked') WHERE deal_id = 80;
-- on hold to won, won to on hold (a reopening)
UPDATE deals SET stage_id = st('Won') WHERE deal_id = 80;
UPDATE deals SET stage_id = st('Parked') WHERE deal_id = 80;
SELECT g, life(g::text, true) FROM unnest('{73,80}'::integer[]) g;
-- an upsert of a won deal keeps its closing
INSERT INTO deals (deal_id, stage_id, amount) VALUES (73, st('Won'), 99)
	ON CONFLICT (deal_id) DO UPDATE SET stage_id = excluded.stage_id, amount = excluded.amount, closed_at = excluded.closed_at, closed_on = excluded.closed_on;
SELECT amount, closed_at, closed_on, episode FROM deals WHERE deal_id = 73;
-- the overrides don't matter: the outcome is the stage's (I5)
UPDATE deals SET probability = 100 WHERE deal_id = 81;
SELECT closed_at, stage_name, outcome, effective_probability FROM deals_current WHERE deal_id = 81;
SELECT problems();

--
-- Deletion (R-2.36; matrix: delete)
--
SET pipelines.event_time = '2020-03-06 08:00+00';
DELETE FROM deals WHERE deal_id = 73;
SELECT life('73', true);
SELECT change, to_pipeline_id, to_stage_id, valid_to, recorded_at > valid_to AS recorded_later, imported, bypassed FROM deals_history WHERE deal_id = 73 ORDER BY version DESC LIMIT 1;
RESET pipelines.event_time;

--
-- May a deal start there?  Judged once it is certain that it does start there (CORE 8)
--
UPDATE pipelines.pipeline_stage SET may_start = false WHERE stage_id IN (st('Contract'), st('Won'));
SELECT try('INSERT INTO deals (deal_id, stage_id) VALUES (90, st(''Contract''))');
SELECT try('INSERT INTO deals (deal_id, stage_id) VALUES (90, st(''Won''))');
SELECT try('INSERT INTO deals (deal_id) VALUES (90)');
SELECT try('UPDATE deals SET stage_id = st(''Contract'') WHERE deal_id = 90');
SELECT try('INSERT INTO deals (deal_id, stage_id, amount) VALUES (90, st(''Contract''), 5) ON CONFLICT (deal_id) DO UPDATE SET stage_id = excluded.stage_id, amount = excluded.amount');
SELECT try('INSERT INTO deals (deal_id, stage_id, amount) VALUES (90, st(''Won''), 5) ON CONFLICT (deal_id) DO UPDATE SET stage_id = excluded.stage_id');
SELECT try('INSERT INTO deals (deal_id, stage_id, amount) VALUES (90, st(''Won''), 5) ON CONFLICT (deal_id) DO NOTHING');
SELECT life('90');
-- the first open stage that may start is the default
UPDATE pipelines.pipeline_stage SET may_start = false WHERE stage_id = st('New');
INSERT INTO deals (deal_id) VALUES (91);
SELECT life('91');
UPDATE pipelines.pipeline_stage SET may_start = true;
SELECT problems();

--
-- Definitions change, deals don't (R-2.34; CORE 5 and test 12)
--
INSERT INTO deals (deal_id) SELECT generate_series(100, 102);
UPDATE deals SET stage_id = st('Demo') WHERE deal_id = 100;
SELECT count(*) AS before FROM deals_history \gset
UPDATE pipelines.pipeline_stage SET probability = 45 WHERE stage_id = st('Quote') AND pipeline_id = pl('Sales');
-- reorder in one statement: New, Contract, Quote, Demo
UPDATE pipelines.pipeline_stage SET position = CASE stage_id WHEN st('Contract') THEN 2 WHEN st('Quote') THEN 3 ELSE 4 END
	WHERE pipeline_id = pl('Sales') AND stage_id IN (st('Quote'), st('Demo'), st('Contract'));
SELECT count(*) - :before AS rows_by_definitions FROM deals_history;
SELECT life('100');
-- Demo is the furthest still, and beyond Contract now
UPDATE deals SET stage_id = st('Contract') WHERE deal_id = 100;
UPDATE deals SET stage_id = st('Won') WHERE deal_id = 100;
-- new skips follow the new order
UPDATE deals SET stage_id = st('Demo') WHERE deal_id = 101;
UPDATE pipelines.pipeline SET mode = 'strict' WHERE name = 'Sales';
SELECT try('UPDATE deals SET stage_id = st(''Quote'') WHERE deal_id = 102');
SELECT try('UPDATE deals SET stage_id = st(''Contract'') WHERE deal_id = 102');
SELECT try('UPDATE deals SET stage_id = st(''Quote'') WHERE deal_id = 102');
SELECT g, life(g::text) FROM generate_series(100, 102) g;
SELECT problems();
\set ECHO none
\c :home
SET client_min_messages = warning;
DROP DATABASE regress_pipelines_moves;
