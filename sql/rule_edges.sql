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

--
-- What follows is about moves.  Waiting is a pause among the open stages, and a
-- deal may get a second try after it was lost; Back again is beside it
--
SELECT pipelines.create_pipeline('Trade', layout => 'trade', stages => '["New", {"name": "Waiting", "outcome": "on_hold", "mandatory": false}, "Demo", "Offer", "Talks", {"name": "Won", "outcome": "won"}, {"name": "Lost", "outcome": "lost"}, "Second try"]') AS trade;
SELECT pipelines.create_pipeline('Back again', layout => 'trade', stages => '["Known", "Talks", "Offer", "Demo", "Bid", {"name": "Won", "outcome": "won"}]') AS back_again;
SELECT pipelines.create_deals('trades', layout => 'trade', currency => 'EUR');
CREATE FUNCTION st(stage text, pipeline text DEFAULT 'Trade') RETURNS integer LANGUAGE sql STABLE AS
	'SELECT pipelines.stage_id(pipeline, stage)';
CREATE FUNCTION go(deal bigint, stage text, more text DEFAULT '', pipeline text DEFAULT 'Trade') RETURNS text LANGUAGE sql AS
	$$SELECT try(format('UPDATE trades SET pipeline_id = %s, stage_id = %s%s WHERE deal_id = %s', pipelines.pipeline_id(pipeline), st(stage, pipeline), more, deal))$$;
CREATE FUNCTION stands(deal bigint) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(', ', s.name, 'furthest ' || f.name, 'gate ' || g.name) FROM trades d LEFT JOIN pipelines.stage s USING (stage_id)
		LEFT JOIN pipelines.stage f ON f.stage_id = d.furthest_stage_id LEFT JOIN pipelines.stage g ON g.stage_id = d.gate_stage_id WHERE d.deal_id = deal
$$;
CREATE FUNCTION leaving(stage text, rule text) RETURNS text LANGUAGE sql AS
	$$SELECT try(format('UPDATE pipelines.pipeline_stage SET exit_rule = %L WHERE pipeline_id = pipelines.pipeline_id(''Trade'') AND stage_id = %s', rule, st(stage)))$$;
INSERT INTO trades (deal_id) SELECT generate_series(1, 20);

--
-- Closed differently, the closing date and its day are what the statement says (R-2.25, R-2.26)
--
SELECT go(1, 'Won', ', closed_at = ''2020-02-01 12:00+00'''), go(2, 'Won', ', closed_at = ''2020-02-01 12:00+00''');
SELECT go(1, 'Lost', ', closed_at = ''2020-03-01 12:00+00'''), go(2, 'Lost', ', closed_on = ''2020-03-05''');
SELECT deal_id, CASE WHEN closed_at < '2021-01-01' THEN closed_at END AS closed_at, closed_on FROM trades WHERE deal_id IN (1, 2) ORDER BY 1;
-- one that was restored without its day is given it later
INSERT INTO trades (deal_id, pipeline_id, stage_id, created_at, created_by, stage_entered_at, furthest_stage_id, episode, version, changed_at, closed_at)
	VALUES (21, pipelines.pipeline_id('Trade'), st('Won'), '2020-01-01', 'me', '2020-02-01', st('Won'), 1, 1, '2020-02-01', '2020-02-01');
UPDATE trades SET closed_on = '2020-01-31' WHERE deal_id = 21;
SELECT closed_at, closed_on FROM trades WHERE deal_id = 21;
-- R-2.28: a reason may come with a new deal, or be there before the closing
UPDATE pipelines.pipeline SET close_requires = '{lost_reason}' WHERE name = 'Trade';
SELECT try($$INSERT INTO trades (deal_id, stage_id, close_reason) VALUES (22, st('Lost'), 'price')$$);
UPDATE trades SET close_reason = 'price' WHERE deal_id = 17;
SELECT go(17, 'Lost'), stands(17);
UPDATE pipelines.pipeline SET close_requires = '{}' WHERE name = 'Trade';

--
-- A pause is no way around what the stage before it demands: the one where the deal
-- was, not the furthest; what the pause itself demands comes first, however far the
-- deal goes on.  Taken elsewhere, only the pause is asked
--
-- every stage demands something, most of them only a key
UPDATE pipelines.pipeline_stage SET exit_rule = 'deal_id' WHERE pipeline_id = pipelines.pipeline_id('Trade');
SELECT leaving('Demo', 'amount'), leaving('Waiting', 'quantity');
SELECT go(3, 'Talks'), go(3, 'Demo'), go(3, 'Waiting');
SELECT go(3, 'Talks'), go(3, 'Talks', ', quantity = 1'), go(3, 'Won', ', quantity = 1'), go(3, 'Demo'), go(3, 'Demo', ', quantity = 1');
SELECT go(3, 'Waiting'), go(3, 'Talks', ', amount = 1'), stands(3);
SELECT go(4, 'Demo'), go(4, 'Waiting'), go(4, 'Talks', ', amount = 1'), go(4, 'New'), stands(4);
SELECT go(5, 'Demo'), go(5, 'Waiting'), go(5, 'Won', '', 'Back again'), go(5, 'Won', ', quantity = 1', 'Back again'), stands(5);
-- nor does a closed stage demand anything of a deal that is reopened (R-2.27)
UPDATE pipelines.pipeline_stage SET exit_rule = NULL WHERE pipeline_id = pipelines.pipeline_id('Trade');
SELECT leaving('Lost', 'amount');
SELECT go(6, 'Lost'), go(6, 'Second try'), go(7, 'Lost'), go(7, 'Won');
SELECT leaving('Lost', NULL);
-- pushed back it stands where it was before the pause, also where nothing is demanded (R-2.10)
SELECT go(10, 'Talks'), go(10, 'Demo'), go(10, 'Waiting');
SELECT try($$SELECT pipelines.push_back('trades', '10', 'why', 'Demo')$$);
SELECT deal, ok, target, stands(10) FROM pipelines.push_back('trades', '10', 'why', 'New');

--
-- What is nothing but blanks, of whatever kind, is not filled in; so is a domain of texts
--
CREATE DOMAIN words AS text;
ALTER TABLE trades ADD COLUMN remark words;
SELECT leaving('New', 'remark');
INSERT INTO trades (deal_id, stage_id, remark)
SELECT 100 + n, st('New'), v FROM unnest(ARRAY[NULL, '', ' ', E'\t', E'\n', E'\r', E' \t\n\r ', ' x ', '0']) WITH ORDINALITY u(v, n);
SELECT to_json(remark) AS remark, go(deal_id, 'Demo') FROM trades WHERE deal_id > 100 ORDER BY deal_id;
SELECT leaving('New', 'name');
UPDATE trades SET name = remark, remark = NULL, stage_id = st('New') WHERE deal_id > 100;
SELECT to_json(name) AS name, go(deal_id, 'Demo') FROM trades WHERE deal_id > 100 ORDER BY deal_id;
SELECT leaving('New', NULL);

--
-- Activities are asked for when the other triggers are through, which may record them
--
INSERT INTO pipelines.stage_activity (pipeline_id, stage_id, kind) VALUES (pipelines.pipeline_id('Trade'), st('Demo'), 'demo');
CREATE FUNCTION record() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO trades_activity (deal_id, kind, done_at) VALUES (new.deal_id, 'demo', clock_timestamp());
	RETURN new;
END
$$;
CREATE TRIGGER "§zz" BEFORE UPDATE ON trades FOR EACH ROW WHEN (new.quantity = 8) EXECUTE FUNCTION record();
SELECT go(8, 'Demo'), go(8, 'Offer'), go(8, 'Offer', ', quantity = 8'), stands(8);
DROP TRIGGER "§zz" ON trades;
DELETE FROM pipelines.stage_activity;
-- so is what a closing requires (R-2.28)
UPDATE pipelines.pipeline SET close_requires = '{lost_reason}' WHERE name = 'Trade';
CREATE FUNCTION explain() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN new.close_reason := 'price'; RETURN new; END$$;
CREATE TRIGGER "§zz" BEFORE UPDATE ON trades FOR EACH ROW WHEN (new.quantity = 9) EXECUTE FUNCTION explain();
INSERT INTO trades (deal_id) VALUES (23);
SELECT go(23, 'Lost'), go(23, 'Lost', ', quantity = 9'), stands(23);
DROP TRIGGER "§zz" ON trades;
UPDATE pipelines.pipeline SET close_requires = '{}' WHERE name = 'Trade';

--
-- The target's way back is none of a deal that comes from elsewhere, even to a lower
-- position (R-2.14); nor is the same position forward (R-2.17)
--
UPDATE pipelines.pipeline SET backward = 'refused', override_policy = 'clear_on_forward' WHERE name = 'Back again';
UPDATE trades SET probability = 33 WHERE deal_id IN (11, 12, 13);
SELECT go(11, 'Talks'), go(12, 'Offer'), go(13, 'Demo');
SELECT go(11, 'Talks', '', 'Back again'), go(12, 'Demo', '', 'Back again'), go(13, 'Bid', '', 'Back again');
SELECT deal_id, stands(deal_id), probability FROM trades WHERE deal_id IN (11, 12, 13) ORDER BY 1;

--
-- An archived stage may share its position with a live one: going from one to the other
-- is not forward.  Of two that are equally far the deal got to the first (R-2.7), and
-- the first gate stays (R-2.10)
--
SELECT go(14, 'Offer'), go(15, 'Offer'), leaving('Offer', 'amount');
SELECT deal, ok, target FROM pipelines.push_back('trades', '15', 'too fast', 'Demo');
SELECT pipelines.archive_stage('Trade', 'Offer');
UPDATE pipelines.pipeline_stage SET position = 4 WHERE pipeline_id = pipelines.pipeline_id('Trade') AND stage_id = st('Demo');
SELECT go(14, 'Demo'), stands(14), stands(15);
SELECT deal, ok, target FROM pipelines.push_back('trades', '15', 'again', 'New');
SELECT stands(15);

--
-- What was decided elsewhere skips nothing (R-2.7): neither an undoing (R-2.23) nor a merge (R-2.35)
--
SELECT go(9, 'Won'), set_config('pipelines.batch', 'b', false);
SELECT go(9, 'New');
RESET pipelines.batch;
SELECT count(*) FROM pipelines.undo_batch('trades', 'b');
SELECT life('9', false, 'trades');
SELECT moved > 0 AS moved FROM pipelines.merge_stages('Trade', 'New', 'Talks');
SELECT life('20', false, 'trades');

--
-- A deal that came into a pause from another pipeline can be pushed back from as far as it counts there
--
SELECT pipelines.create_pipeline('Here', stages => '["A1", "A2", "A3", {"name": "Hold A", "outcome": "on_hold"}, {"name": "Won A", "outcome": "won"}]') AS here,
	pipelines.create_pipeline('There', stages => '["B1", "B2", "B3", {"name": "Hold B", "outcome": "on_hold"}, {"name": "Won B", "outcome": "won"}]') AS there \gset
INSERT INTO pipelines.stage_map SELECT :here, pipelines.stage_id('Here', 'A' || n), :there, pipelines.stage_id('There', 'B' || n) FROM generate_series(1, 3) n;
SELECT pipelines.create_deals('gone_over', currency => 'EUR');
INSERT INTO gone_over (deal_id, pipeline_id, stage_id) SELECT n, :here, pipelines.stage_id('Here', 'A3') FROM generate_series(1, 3) n;
UPDATE gone_over SET stage_id = pipelines.stage_id('Here', 'Hold A') WHERE deal_id = 2;
UPDATE gone_over SET pipeline_id = :there, stage_id = pipelines.stage_id('There', 'Hold B') WHERE deal_id < 3;
UPDATE gone_over SET pipeline_id = :there, stage_id = pipelines.stage_id('There', 'B2') WHERE deal_id = 3;
UPDATE gone_over SET stage_id = pipelines.stage_id('There', 'Hold B') WHERE deal_id = 3;
SELECT try(format('SELECT pipelines.push_back(''gone_over'', %L, ''x'', stage => ''B1'') IS NULL', n)) FROM generate_series(1, 3) n;
SELECT g.deal_id, s.name AS stage FROM gone_over g JOIN pipelines.stage s USING (stage_id) ORDER BY 1;

--
-- A pause is no progress, wherever it stands: whoever begins in one, comes into one
-- from elsewhere or is reopened into one has been nowhere yet (R-2.7, R-2.8, R-2.16);
-- who has been somewhere comes back to it (R-2.32)
--
SELECT pipelines.create_pipeline('Strict', mode => 'strict', stages => '["C1", "C2", "C3", {"name": "Hold C", "outcome": "on_hold"}, {"name": "No C", "outcome": "lost"}, {"name": "Won C", "outcome": "won"}]') AS strict \gset
CREATE FUNCTION goes(deal bigint, stage text, pipeline text DEFAULT 'Strict') RETURNS text LANGUAGE sql AS
	$$SELECT try(format('UPDATE gone_over SET pipeline_id = %s, stage_id = %s WHERE deal_id = %s', pipelines.pipeline_id(pipeline), st(stage, pipeline), deal))$$;
CREATE FUNCTION is_at(deal bigint) RETURNS text LANGUAGE sql AS $$
	SELECT s.name || ', furthest ' || f.name FROM gone_over d JOIN pipelines.stage s USING (stage_id) JOIN pipelines.stage f ON f.stage_id = d.furthest_stage_id WHERE d.deal_id = deal
$$;
INSERT INTO gone_over (deal_id, pipeline_id, stage_id) SELECT n, :strict, pipelines.stage_id('Strict', CASE WHEN n = 16 THEN 'No C' ELSE 'Hold C' END) FROM generate_series(10, 16) n;
INSERT INTO gone_over (deal_id, pipeline_id, stage_id) SELECT n, :here, pipelines.stage_id('Here', 'A2') FROM generate_series(20, 22) n;
SELECT goes(10, 'Won C'), goes(10, 'C2'), goes(10, 'C1'), is_at(10), goes(10, 'Hold C'), goes(10, 'C3'), goes(10, 'C2'), is_at(10);
SELECT goes(20, 'Hold C'), goes(20, 'Won C'), goes(21, 'No C'), goes(21, 'Won C'), goes(22, 'C1'), goes(22, 'C2'), goes(22, 'Hold C'), goes(22, 'C3'), goes(22, 'Won C');
-- closed as lost is no progress either
SELECT goes(16, 'Won C'), is_at(16);
-- what answers to a pause further on is no progress there
INSERT INTO pipelines.stage_map SELECT :strict, pipelines.stage_id('Strict', 'C' || n), :there, pipelines.stage_id('There', 'B' || n) FROM generate_series(1, 3) n;
SELECT goes(11, 'Hold B', 'There'), is_at(11);
-- nor is it when a deal is reopened (R-2.27)
SELECT goes(22, 'Won C'), goes(22, 'Hold C'), goes(22, 'Won C'), goes(22, 'C1'), is_at(22);
-- who had been further here before he went there, in the same episode, comes back to that
INSERT INTO gone_over (deal_id, pipeline_id, stage_id) VALUES (33, :strict, pipelines.stage_id('Strict', 'C3')), (34, :there, pipelines.stage_id('There', 'Hold B'));
SELECT goes(33, 'Hold B', 'There'), goes(33, 'Hold C'), is_at(33), goes(33, 'Won C'), is_at(33), goes(34, 'Hold C'), is_at(34), goes(34, 'Won C');
-- it is told, too, also to who may not see the history itself
UPDATE pipelines.pipeline SET mode = 'free' WHERE name = 'Strict';
SELECT goes(12, 'C3'), goes(13, 'Won C');
UPDATE pipelines.pipeline_stage SET stall_limit = '1 day' WHERE stage_id = st('C3', 'Strict');
SELECT deal, reasons FROM pipelines.stalled('gone_over', as_of => now() + interval '2 days');
SELECT (SELECT array_agg(n.name ORDER BY n.stage_id) FROM pipelines.stage n WHERE n.stage_id = ANY (h.skipped_stages)) AS skipped FROM gone_over_history h WHERE deal_id IN (12, 13) ORDER BY deal_id;
BEGIN;
SELECT pipelines.protect_pipeline('Here');
SELECT pipelines._secured('gone_over');
SELECT deal, reasons FROM pipelines.stalled('gone_over', as_of => now() + interval '2 days');
ROLLBACK;
-- and no way back leads out of it (R-2.13)
UPDATE pipelines.pipeline SET backward = 'refused' WHERE name = 'Strict';
SELECT goes(14, 'C2'), goes(14, 'Hold C'), goes(14, 'C1'), is_at(14);
-- it leads to where the deal stood, which is less far than it had got if it was pushed
-- back or went back while it might (R-2.10, R-2.32)
INSERT INTO gone_over (deal_id, pipeline_id, stage_id) SELECT n, :strict, st('C3', 'Strict') FROM generate_series(17, 18) n;
SELECT deal, ok, target FROM pipelines.push_back('gone_over', '17', 'too fast', 'C1');
SELECT goes(17, 'Hold C'), goes(17, 'C1'), goes(17, 'C2'), goes(17, 'Hold C'), goes(17, 'C1'), goes(17, 'C2'), goes(17, 'C3'), is_at(17);
UPDATE pipelines.pipeline SET backward = 'allowed' WHERE name = 'Strict';
SELECT goes(18, 'C1');
UPDATE pipelines.pipeline SET backward = 'refused' WHERE name = 'Strict';
SELECT goes(18, 'Hold C'), goes(18, 'C1'), goes(18, 'C2'), goes(18, 'Hold C'), goes(18, 'C1'), goes(18, 'C2'), is_at(18);
-- an open stage that became a pause: who was there is where he was before
UPDATE pipelines.pipeline SET mode = 'free', backward = 'allowed' WHERE name = 'Strict';
INSERT INTO gone_over (deal_id, pipeline_id, stage_id) VALUES (32, :strict, pipelines.stage_id('Strict', 'C3'));
SELECT goes(32, 'C2'), is_at(32);
UPDATE pipelines.pipeline SET mode = 'strict' WHERE name = 'Strict';
SELECT goes(15, 'C1'), goes(15, 'C2'), goes(15, 'C3');
INSERT INTO gone_over (deal_id, pipeline_id, stage_id) SELECT n, :strict, pipelines.stage_id('Strict', 'C1') FROM generate_series(30, 31) n;
SELECT goes(30, 'C2'), goes(30, 'C3');
UPDATE pipelines.pipeline_stage SET mandatory = false WHERE stage_id = st('C2', 'Strict');
SELECT goes(31, 'C3');
UPDATE pipelines.pipeline_stage SET mandatory = true WHERE stage_id = st('C2', 'Strict');
SELECT count(*) AS tables FROM pipelines.change_outcome('Strict', 'C3', 'on_hold', 'all');
SELECT is_at(15), goes(15, 'Won C'), is_at(15);
-- and who goes back from there and on again has skipped what it was never in
SELECT n, goes(n, 'C1'), is_at(n), goes(n, 'Won C'), is_at(n) FROM generate_series(30, 31) n;
-- also who stands where no version of the past has been
SELECT goes(32, 'Won C'), is_at(32);
SELECT * FROM pipelines.verify('gone_over');

--
-- Of a deal that was on hold when its table was adopted nobody knows where it had been:
-- nothing that comes before where it goes is skipped (R-2.7, R-13.1), whatever it does
-- before that.  One that is made in a pause later has been nowhere
--
CREATE TABLE halted (id integer PRIMARY KEY, phase text, amount numeric);
INSERT INTO halted SELECT n, CASE WHEN n = 8 THEN 'H3' WHEN n = 9 THEN 'No H' ELSE 'On hold' END, 10 FROM generate_series(1, 9) n;
SELECT pipelines.create_pipeline('Halted', mode => 'strict', stages => '["H1", "H2", "H3", {"name": "On hold", "outcome": "on_hold"}, {"name": "Off", "outcome": "on_hold"}, {"name": "No H", "outcome": "lost"}, {"name": "Won H", "outcome": "won"}]') AS halted \gset
INSERT INTO pipelines.stage_map SELECT :halted, pipelines.stage_id('Halted', 'H' || n), :strict, pipelines.stage_id('Strict', 'C' || n) FROM generate_series(1, 2) n;
SELECT count(*) > 0 AS adopted FROM pipelines.adopt('halted', stage => 'phase', amount => 'amount', currency => 'EUR', pipeline => 'Halted', apply => true);
INSERT INTO halted VALUES (10, 'On hold', 10);
CREATE FUNCTION resumes(deal integer, stage text, pipeline text DEFAULT 'Halted') RETURNS text LANGUAGE sql AS
	$$SELECT try(format('UPDATE halted SET pipeline_id = %s, stage_id = %s WHERE id = %s', pipelines.pipeline_id(pipeline), st(stage, pipeline), deal))$$;
SELECT resumes(1, 'H3'), resumes(2, 'Won H'), resumes(9, 'Won H'), resumes(8, 'Won H'), resumes(10, 'H3');
UPDATE halted SET amount = 20 WHERE id = 3;
SELECT resumes(3, 'Off'), resumes(3, 'H2'), resumes(3, 'Won H');
-- over there, too, straight or through a pause
SELECT resumes(4, 'C2', 'Strict'), resumes(5, 'Hold C', 'Strict'), resumes(5, 'C2', 'Strict'), resumes(10, 'C2', 'Strict');
-- and is told so, to those who see the history and those who don't
UPDATE pipelines.pipeline SET mode = 'free' WHERE name = 'Halted';
SELECT resumes(6, 'H2'), resumes(10, 'H2');
UPDATE pipelines.pipeline_stage SET stall_limit = '1 day' WHERE stage_id = st('H2', 'Halted');
SELECT deal, reasons FROM pipelines.stalled('halted', as_of => now() + interval '2 days');
BEGIN;
SELECT pipelines.protect_pipeline('Here');
SELECT pipelines._secured('halted');
SELECT deal, reasons FROM pipelines.stalled('halted', as_of => now() + interval '2 days');
ROLLBACK;
SELECT h.id, h.version, (SELECT array_agg(n.name ORDER BY n.stage_id) FROM pipelines.stage n WHERE n.stage_id = ANY (h.skipped_stages)) AS skipped FROM halted_history h WHERE skipped_stages IS NOT NULL ORDER BY 1, 2;
SELECT * FROM pipelines.verify('halted');

--
-- Activities are looked up by the key, whatever stands beside it
--
CREATE TABLE beside (id integer PRIMARY KEY, extra json, phase text, amount numeric);
INSERT INTO beside VALUES (1, '{}', 'First', 10), (2, '{}', 'First', 20), (3, '{}', 'Second', 30);
SELECT count(*) > 0 AS adopted FROM pipelines.adopt('beside', stage => 'phase', amount => 'amount', currency => 'EUR', pipeline => 'Beside', apply => true);
INSERT INTO pipelines.stage_activity (pipeline_id, stage_id, kind) VALUES (pipelines.pipeline_id('Beside'), pipelines.stage_id('Beside', 'First'), 'call');
INSERT INTO beside_activity (id, kind, done_at) VALUES (2, 'call', now());
SELECT try($$UPDATE beside SET phase = 'Second' WHERE id = 1$$);
SELECT try($$UPDATE beside SET phase = 'Second' WHERE id = 2$$);
-- without a table of them all that the stage demands is missing
INSERT INTO pipelines.stage_activity (pipeline_id, stage_id, kind) VALUES (pipelines.pipeline_id('Beside'), pipelines.stage_id('Beside', 'First'), 'mail');
SELECT pipelines.use_activities('beside', NULL);
SELECT try($$UPDATE beside SET phase = 'Second' WHERE id = 1$$);

--
-- Leave is that of who is at work: a function that runs as its owner hands on his, an
-- action of a foreign key, which runs as the table's owner, does not
--
CREATE ROLE regress_edges_boss;
CREATE ROLE regress_edges_clerk;
GRANT regress_edges_boss TO CURRENT_USER;
SELECT pipelines.grant_access('trades', 'regress_edges_clerk', 'write');
CREATE TABLE price (amount numeric PRIMARY KEY);
INSERT INTO price VALUES (900), (1500);
GRANT SELECT, UPDATE ON price TO regress_edges_clerk;
UPDATE trades SET amount = 900 WHERE deal_id = 18;
ALTER TABLE trades ADD FOREIGN KEY (amount) REFERENCES price ON UPDATE CASCADE NOT VALID;
INSERT INTO pipelines.approval (pipeline_id, above, role) VALUES (pipelines.pipeline_id('Trade'), 1000, 'regress_edges_boss');
CREATE FUNCTION raise_amount() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS
	'UPDATE trades SET amount = 1500 WHERE deal_id = 18 RETURNING deal_id';
SET ROLE regress_edges_clerk;
SELECT try('UPDATE price SET amount = 1100 WHERE amount = 900'), try('UPDATE trades SET amount = 1500 WHERE deal_id = 18');
SELECT try('SELECT raise_amount()');
RESET ROLE;
SELECT deal_id, amount FROM trades WHERE deal_id = 18;
-- where no role is named, nobody may bypass the rules
SET pipelines.bypass = on;
SET pipelines.reason = 'why not';
SET ROLE regress_edges_clerk;
SELECT try('UPDATE trades SET amount = 1200 WHERE deal_id = 19');
RESET ROLE;
RESET pipelines.bypass;
RESET pipelines.reason;
REVOKE regress_edges_boss FROM CURRENT_USER;
DELETE FROM pipelines.approval;

--
-- Leave to take a deal out of a stage, whatever the target, is asked for on the way to
-- another pipeline, too (R-2.19); leave for a move within the pipeline is not, and what
-- is asked for a stage that both have says nothing of who comes from elsewhere
--
INSERT INTO price VALUES (500), (5000);
INSERT INTO trades (deal_id, stage_id, amount) SELECT n, st(CASE WHEN n < 210 THEN 'Demo' ELSE 'Talks' END), 500 FROM generate_series(201, 210) n;
INSERT INTO pipelines.approval (pipeline_id, from_stage_id, role) VALUES (pipelines.pipeline_id('Trade'), st('Demo'), 'regress_edges_boss');
SELECT go(201, 'Known', '', 'Back again'), go(210, 'Known', '', 'Back again');
UPDATE pipelines.approval SET to_stage_id = st('Talks');
SELECT go(202, 'Known', '', 'Back again');
UPDATE pipelines.approval SET to_stage_id = NULL, above = 1000;
SELECT go(203, 'Known', '', 'Back again'), go(204, 'Known', ', amount = 5000', 'Back again');
SELECT try('UPDATE trades SET amount = 5000 WHERE deal_id = 205');
DELETE FROM pipelines.approval;
INSERT INTO pipelines.approval (pipeline_id, from_stage_id, to_stage_id, role) VALUES (pipelines.pipeline_id('Back again'), st('Demo'), st('Bid', 'Back again'), 'regress_edges_boss');
SELECT go(206, 'Bid', '', 'Back again'), go(207, 'Demo', '', 'Back again'), go(207, 'Bid', '', 'Back again');
SELECT try($$INSERT INTO trades (deal_id, pipeline_id, stage_id) VALUES (211, pipelines.pipeline_id('Back again'), st('Bid', 'Back again'))$$);
DELETE FROM pipelines.approval;

--
-- An amount in another currency was another one, be the currency said or that of the table
--
SELECT pipelines.create_pipeline('Priced', layout => 'priced', stages => '["Open", {"name": "Sold", "outcome": "won"}]') > 0 AS made;
SELECT pipelines.create_deals('priced', layout => 'priced'), pipelines.create_deals('priced_in_eur', layout => 'priced', currency => 'EUR');
CREATE TABLE change (deal_id integer, before text, after text);
INSERT INTO change VALUES (1, NULL, NULL), (2, NULL, 'EUR'), (3, 'EUR', NULL), (4, 'EUR', 'EUR'), (5, 'EUR', 'USD'), (6, NULL, 'USD'), (7, 'USD', NULL), (8, 'USD', 'USD');
INSERT INTO priced (deal_id, amount, currency) SELECT deal_id, 1500, before FROM change;
INSERT INTO priced_in_eur (deal_id, amount, currency) SELECT deal_id, amount, currency FROM priced;
INSERT INTO pipelines.approval (pipeline_id, above, role) VALUES (pipelines.pipeline_id('Priced'), 1000, 'regress_edges_boss');
SELECT before, after, split_part(try(format('UPDATE priced SET amount = 1600, currency = %L WHERE deal_id = %s', after, deal_id)), ' | ', 1) AS without,
	split_part(try(format('UPDATE priced_in_eur SET amount = 1600, currency = %L WHERE deal_id = %s', after, deal_id)), ' | ', 1) AS in_eur FROM change ORDER BY deal_id;

--
-- Only what is computed is judged when the row stands: else the refusal comes before what
-- half of the change would break
--
INSERT INTO pipelines.approval (pipeline_id, above, role) VALUES (pipelines.pipeline_id('Beside'), 1000, 'regress_edges_boss');
ALTER TABLE beside ADD CHECK (amount < 2000);
UPDATE priced SET amount = 10;
ALTER TABLE priced ADD CHECK (amount < 2000);
SELECT try('UPDATE beside SET amount = 3000 WHERE id = 1'), try('UPDATE priced SET amount = 3000 WHERE deal_id = 1');
CREATE TABLE computed (id integer PRIMARY KEY, phase text, n numeric, amount numeric GENERATED ALWAYS AS (n * 10) STORED, currency text);
CREATE TABLE abroad (id integer PRIMARY KEY, phase text, country text, amount numeric, currency text GENERATED ALWAYS AS (CASE country WHEN 'US' THEN 'USD' ELSE 'EUR' END) STORED);
INSERT INTO computed VALUES (1, 'Open', 1, DEFAULT, 'EUR');
INSERT INTO abroad VALUES (1, 'Open', 'DE', 900, DEFAULT);
SELECT count(*) > 0 AS adopted FROM unnest('{computed,abroad}'::regclass[]) t,
	pipelines.adopt(t, stage => 'phase', amount => 'amount', currency => 'currency', pipeline => 'Priced', layout => 'priced', apply => true);
UPDATE pipelines.approval SET currency = 'EUR' WHERE pipeline_id = pipelines.pipeline_id('Priced');
SELECT try('UPDATE computed SET n = 101 WHERE id = 1'), try('UPDATE computed SET n = 100 WHERE id = 1');
SELECT try($$UPDATE abroad SET country = 'US' WHERE id = 1$$), try($$UPDATE abroad SET country = 'FR' WHERE id = 1$$);

--
-- So is what a closing requires (R-2.28)
--
DELETE FROM pipelines.approval;
UPDATE pipelines.pipeline SET close_requires = '{won_amount}' WHERE name = 'Priced';
ALTER TABLE priced ADD CHECK (amount IS NOT NULL OR closed_at IS NULL);
SELECT try($$UPDATE priced SET stage_id = st('Sold', 'Priced'), amount = NULL WHERE deal_id = 1$$);
SELECT try($$UPDATE computed SET phase = 'Sold', n = NULL WHERE id = 1$$), try($$UPDATE computed SET phase = 'Sold' WHERE id = 1$$);
-- what is given up with the closing is not kept (R-2.27)
UPDATE pipelines.pipeline SET close_requires = '{other_notes}' WHERE name = 'Priced';
UPDATE priced SET stage_id = st('Sold', 'Priced'), close_reason = 'other', close_notes = 'a gift' WHERE deal_id = 2;
SELECT try('UPDATE priced SET close_notes = NULL WHERE deal_id = 2');
SELECT try($$UPDATE priced SET stage_id = st('Open', 'Priced'), close_reason = 'Other', close_notes = NULL WHERE deal_id = 2$$);
UPDATE pipelines.pipeline SET close_requires = '{}' WHERE name = 'Priced';
-- a batch takes back what it brought, be that required (R-2.23)
UPDATE priced_in_eur SET stage_id = st('Sold', 'Priced'), amount = NULL WHERE deal_id = 1;
UPDATE pipelines.pipeline SET close_requires = '{won_amount}' WHERE name = 'Priced';
SET pipelines.batch = 'priced';
UPDATE priced_in_eur SET amount = 5 WHERE deal_id = 1;
RESET pipelines.batch;
SELECT try('UPDATE priced_in_eur SET amount = NULL WHERE deal_id = 1');
SELECT ok, reason FROM pipelines.undo_batch('priced_in_eur', 'priced');
SELECT amount FROM priced_in_eur WHERE deal_id = 1;
UPDATE pipelines.pipeline SET close_requires = '{}' WHERE name = 'Priced';

--
-- Who has leave to bypass what is judged when the row stands is said to have done so;
-- nobody else is, though he had asked for it (R-2.8)
--
SELECT pipelines.create_pipeline('Priced too', layout => 'priced', stages => '["Open too", {"name": "Sold too", "outcome": "won"}]') > 0 AS made;
UPDATE pipelines.pipeline_stage SET entry_rule = 'amount > 5' WHERE stage_id IN (st('Sold', 'Priced'), st('Sold too', 'Priced too'));
INSERT INTO computed (id, phase, n, currency) SELECT n, 'Open', 1, 'EUR' FROM generate_series(11, 16) n;
CREATE FUNCTION sell(deal integer, n integer, pipeline text DEFAULT 'Priced', stage text DEFAULT 'Sold') RETURNS text LANGUAGE sql AS
	$$SELECT try(format('UPDATE computed SET n = %s, pipeline_id = %s, stage_id = %s WHERE id = %s', n, pipelines.pipeline_id(pipeline), st(stage, pipeline), deal))$$;
SELECT set_config('pipelines.bypass', 'on', false), set_config('pipelines.reason', 'why not', false);
SELECT sell(11, 1);
UPDATE pipelines.pipeline SET bypass_role = 'regress_edges_boss' WHERE name = 'Priced too';
GRANT regress_edges_boss TO CURRENT_USER;
SELECT sell(12, 1, 'Priced too', 'Sold too'), sell(13, 0, 'Priced too', 'Sold too');
UPDATE pipelines.pipeline SET bypass_role = 'regress_edges_boss' WHERE name = 'Priced';
SELECT sell(13, 0, 'Priced too', 'Sold too');
SET pipelines.reason = ' ';
SELECT sell(14, 1);
SET pipelines.reason = 'why not';
SELECT sell(15, 0);
REVOKE regress_edges_boss FROM CURRENT_USER;
SELECT sell(16, 1);
RESET pipelines.bypass;
RESET pipelines.reason;
SELECT id, bypassed FROM computed_history WHERE id > 10 ORDER BY id;

--
-- A deal whose stage somebody took away by force may go where it likes, and be changed
-- where it is
--
SELECT go(16, 'Second try');
UPDATE pipelines.pipeline SET close_requires = '{lost_reason}' WHERE name = 'Trade';
ALTER TABLE pipelines.pipeline_stage DISABLE TRIGGER ALL;
DELETE FROM pipelines.pipeline_stage WHERE stage_id IN (st('Second try'), st('Lost'));
ALTER TABLE pipelines.pipeline_stage ENABLE TRIGGER ALL;
SELECT go(16, 'Demo'), stands(16);
SELECT try('UPDATE trades SET owner = ''eve'' WHERE deal_id = 2');
-- so may one whose pipeline went
ALTER TABLE pipelines.pipeline DISABLE TRIGGER ALL;
DELETE FROM pipelines.pipeline WHERE name = 'Back again';
ALTER TABLE pipelines.pipeline ENABLE TRIGGER ALL;
SELECT go(207, 'Demo'), stands(207);

\set ECHO none
\c :home
SET client_min_messages = warning;
DROP DATABASE regress_pipelines_rule_edges;
DROP ROLE regress_edges_boss, regress_edges_clerk;
