-- matrix.sql: the summary matrix of SEMANTICS 3.2.14, row by row and column by
-- column, in the readings of CONTRACT (1: version 1 is the row itself; 2: the kinds
-- of change).  What the matrix says of an event stands beside it, as eight facts;
-- what is found is told from the tables and views, and the two are compared.
-- In a database of its own.
\set ECHO none
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_pipelines_matrix;
CREATE DATABASE regress_pipelines_matrix TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\set home :DBNAME
\c regress_pipelines_matrix
\i test/data/checks.sql
\set ECHO all
SELECT pipelines.create_pipeline('Sales', stages => '[
	{"name": "New", "probability": 10}, {"name": "Quote", "probability": 40, "forecast_category": "best_case"},
	{"name": "Demo", "probability": 60, "forecast_category": "best_case"}, {"name": "Contract", "probability": 80, "forecast_category": "commit"},
	{"name": "Won", "outcome": "won"}, {"name": "Signed", "outcome": "won"},
	{"name": "Lost", "outcome": "lost"}, {"name": "Junk", "outcome": "disqualified"}, {"name": "Over", "outcome": "done"},
	{"name": "Parked", "outcome": "on_hold", "probability": 5, "mandatory": false}]');
SELECT pipelines.create_pipeline('Renewal', stages => '["New", {"name": "Quote", "probability": 45, "forecast_category": "commit"}, {"name": "Won", "outcome": "won"}, {"name": "Lost", "outcome": "lost"}]');
SELECT pipelines.create_deals('deals', currency => 'EUR');
CREATE FUNCTION st(stage text, pipeline text DEFAULT 'Sales') RETURNS integer LANGUAGE sql STABLE AS
	'SELECT pipelines.stage_id(pipeline, stage)';
-- how overrides fare on moves in Sales
CREATE FUNCTION policy(which text) RETURNS void LANGUAGE sql AS
	'UPDATE pipelines.pipeline SET override_policy = which WHERE name = ''Sales''';

-- a deal that begins on 1 January and is in one of the stages more each day
CREATE PROCEDURE deal(id bigint, VARIADIC stages text[]) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. cardinality(stages) LOOP
		PERFORM set_config('pipelines.event_time', '2020-01-0' || i || ' 10:00+00', false);
		IF i = 1 THEN
			INSERT INTO deals (deal_id, amount, expected_close_on, stage_id) VALUES (id, 1000, '2020-06-30', st(stages[1]));
		ELSE
			UPDATE deals SET stage_id = st(stages[i]) WHERE deal_id = id;
		END IF;
	END LOOP;
END
$$;

-- all that the columns of the matrix speak of
CREATE FUNCTION look(deal bigint) RETURNS jsonb LANGUAGE sql STABLE AS $$
	SELECT coalesce((SELECT to_jsonb(c) FROM deals_current c WHERE c.deal_id = deal), '{}') || jsonb_build_object(
		'stays', coalesce((SELECT jsonb_object_agg(v.visit, to_jsonb(v)) FROM deals_visits v WHERE v.deal_id = deal), '{}'),
		'past', (SELECT coalesce(max(h.version), 0) FROM deals_history h WHERE h.deal_id = deal),
		'superseded', (SELECT count(c.superseded_at) FROM deals_closings c WHERE c.deal_id = deal))
$$;
CREATE TABLE facts (event text, deal bigint, kind text, visit text, clock text, probability text, category text, amount text,
	expected_close text, closed text, said text[]);

-- Let an event happen on 10 January, and note what it does to a deal.  '=' stands for: as before.
CREATE PROCEDURE event(name text, deal bigint, statement text, VARIADIC said text[]) LANGUAGE plpgsql AS $$
DECLARE
	a CONSTANT jsonb := look(deal);
	b jsonb;
BEGIN
	PERFORM set_config('pipelines.event_time', '2020-01-10 10:00+00', false);
	EXECUTE statement;
	b := look(deal);
	INSERT INTO facts SELECT name, deal,
		-- kind of the change rows
		coalesce((SELECT string_agg(concat_ws(' ', h.change,
					'skipping ' || (SELECT string_agg(s.name, ', ' ORDER BY x.n) FROM unnest(h.skipped_stages) WITH ORDINALITY x(id, n) JOIN pipelines.stage s ON s.stage_id = x.id),
					'in batch ' || h.batch, 'because of ' || h.reason), '; ' ORDER BY h.version)
				  FROM deals_history h WHERE h.deal_id = deal AND h.version > (a ->> 'past')::integer), 'none')
			|| coalesce(', gate at ' || (SELECT s.name FROM pipelines.stage s WHERE s.stage_id = (b ->> 'gate_stage_id')::integer), '')
			|| CASE WHEN (b ->> 'superseded')::integer > (a ->> 'superseded')::integer THEN ', closing superseded' ELSE '' END,
		-- visits
		coalesce((SELECT string_agg(concat_ws(' ', n || '.', v ->> 'stage_name',
						CASE WHEN w IS NULL THEN 'begins' WHEN v ->> 'exited_at' IS NOT NULL THEN 'ends' ELSE 'is another' END,
						CASE WHEN w IS NULL AND v ->> 'entered_at' = b -> 'stays' -> (n::integer - 1)::text ->> 'exited_at' THEN 'then' END,
						CASE WHEN w IS NULL AND v ->> 'episode' <> b -> 'stays' -> (n::integer - 1)::text ->> 'episode' THEN 'in episode ' || (v ->> 'episode') END),
					', ' ORDER BY n)
				  FROM (SELECT e.key, e.value, a -> 'stays' -> e.key FROM jsonb_each(b -> 'stays') e) x(n, v, w)
				  WHERE w IS NULL OR v - '{duration,owner,amount}'::text[] <> w - '{duration,owner,amount}'::text[]), '='),
		-- clock of the stage, and how long it has run before in the same stage of the picklist
		CASE WHEN NOT b ? 'deal_id' THEN 'stops'
			WHEN b ->> 'stage_entered_at' = a ->> 'stage_entered_at' THEN CASE WHEN b ->> 'closed_at' IS NULL THEN '=' ELSE 'stopped' END
			WHEN b ->> 'stage_entered_at' <> b ->> 'changed_at' THEN 'neither goes on nor starts'
			WHEN b ->> 'outcome' NOT IN ('open', 'on_hold') AND b ->> 'days_in_stage' = '0' THEN CASE WHEN a ->> 'closed_at' IS NULL THEN 'stops' ELSE 'stopped' END
			WHEN a ? 'deal_id' THEN 'restarts' ELSE 'starts' END
			|| coalesce((SELECT ' after ' || sum(extract(day FROM (v.value ->> 'duration')::interval)) || ' days'
				FROM jsonb_each(b -> 'stays') v WHERE b ->> 'outcome' IN ('open', 'on_hold') AND a ->> 'changed_at' <> b ->> 'changed_at' AND v.value ->> 'stage_id' = b ->> 'stage_id' AND v.value ->> 'exited_at' IS NOT NULL), ''),
		-- probability, category, amount, expected close
		CASE WHEN NOT b ? 'deal_id' THEN '-' WHEN (a ->> 'effective_probability')::numeric = (b ->> 'effective_probability')::numeric THEN '='
			ELSE concat(trim_scale((b ->> 'effective_probability')::numeric), ' of the ', b ->> 'probability_source') END,
		CASE WHEN NOT b ? 'deal_id' THEN '-' WHEN a ->> 'effective_category' = b ->> 'effective_category' THEN '=' ELSE b ->> 'effective_category' END,
		CASE WHEN NOT b ? 'deal_id' THEN '-' WHEN a -> 'amount' = b -> 'amount' AND a -> 'currency' = b -> 'currency' THEN '=' ELSE concat_ws(' ', b ->> 'amount', b ->> 'currency') END,
		CASE WHEN NOT b ? 'deal_id' THEN '-' WHEN a -> 'expected_close_on' = b -> 'expected_close_on' THEN '=' ELSE b ->> 'expected_close_on' END,
		-- closing
		CASE WHEN b ->> 'closed_at' IS NULL THEN CASE WHEN a ->> 'closed_at' IS NOT NULL AND b ? 'deal_id' THEN 'cleared' ELSE '-' END
			WHEN a ->> 'closed_at' = b ->> 'closed_at' AND a ->> 'closed_on' = b ->> 'closed_on' THEN '='
			ELSE to_char((b ->> 'closed_at')::timestamptz, 'DD Mon HH24:MI') || to_char((b ->> 'closed_on')::date, ', "on" DD Mon') END,
		said;
	RESET pipelines.event_time;
END
$$;

--
-- create: kind (reading 1: none), open #1, start, stage or override, stage default, given, given, -
--
CALL event('create', 1, $$INSERT INTO deals (deal_id, amount, expected_close_on) VALUES (1, 500, '2020-03-31')$$,
	'none', '1. New begins', 'starts', '10 of the stage', 'pipeline', '500', '2020-03-31', '-');
CALL event('create with overrides', 2, $$INSERT INTO deals (deal_id, amount, currency, probability, forecast_category) VALUES (2, 500, 'USD', 33, 'commit')$$,
	'none', '1. New begins', 'starts', '33 of the deal', 'commit', '500 USD', NULL, '-');
-- R-1.3
CALL event('create closed', 3, $$INSERT INTO deals (deal_id, stage_id) VALUES (3, st('Won'))$$,
	'none', '1. Won begins', 'stops', '100 of the stage', 'closed', '', NULL, '10 Jan 10:00, on 10 Jan');

--
-- forward: move, close + open, restart, read-through; override by policy, the same, =, =, -
--
CALL deal(10, 'New');
CALL event('forward', 10, $$UPDATE deals SET stage_id = st('Quote') WHERE deal_id = 10$$,
	'move', '1. New ends, 2. Quote begins then', 'restarts', '40 of the stage', 'best_case', '=', '=', '-');
CALL deal(11, 'New');
UPDATE deals SET probability = 77, forecast_category = 'commit' WHERE deal_id = 11;
CALL event('forward, override kept', 11, $$UPDATE deals SET stage_id = st('Quote') WHERE deal_id = 11$$,
	'move', '1. New ends, 2. Quote begins then', 'restarts', '=', '=', '=', '=', '-');
SELECT policy('clear_on_forward');
CALL deal(12, 'New');
UPDATE deals SET probability = 77, forecast_category = 'commit' WHERE deal_id = 12;
CALL event('forward, override cleared', 12, $$UPDATE deals SET stage_id = st('Quote') WHERE deal_id = 12$$,
	'move', '1. New ends, 2. Quote begins then', 'restarts', '40 of the stage', 'best_case', '=', '=', '-');
SELECT policy('clear_on_move');
CALL deal(13, 'New');
UPDATE deals SET probability = 77, forecast_category = 'commit' WHERE deal_id = 13;
CALL event('forward, override written with it', 13, $$UPDATE deals SET stage_id = st('Quote'), probability = 66, forecast_category = 'omitted' WHERE deal_id = 13$$,
	'move', '1. New ends, 2. Quote begins then', 'restarts', '66 of the deal', 'omitted', '=', '=', '-');
SELECT policy('keep');

--
-- same stage: nothing at all (R-2.5, I6), whatever else the client sends
--
CALL deal(15, 'New', 'Quote');
CALL event('same stage', 15, $$UPDATE deals SET pipeline_id = pipelines.pipeline_id('Sales'), stage_id = st('Quote'), amount = 1000.00, expected_close_on = '2020-06-30', closed_at = now() WHERE deal_id = 15$$,
	'none', '=', '=', '=', '=', '=', '=', '-');

--
-- skip: move + skipped, the rest as forward (R-2.7, R-2.9: no visit is made up)
--
CALL deal(16, 'New');
CALL event('skip', 16, $$UPDATE deals SET stage_id = st('Contract') WHERE deal_id = 16$$,
	'move skipping Quote, Demo', '1. New ends, 2. Contract begins then', 'restarts', '80 of the stage', 'commit', '=', '=', '-');

--
-- back: move, a new visit, restart and the time before adds up, the lower stage's, =, =, -
--
CALL deal(17, 'New', 'Quote', 'Demo');
CALL event('back', 17, $$UPDATE deals SET stage_id = st('Quote') WHERE deal_id = 17$$,
	'move', '3. Demo ends, 4. Quote begins then', 'restarts after 1 days', '40 of the stage', '=', '=', '=', '-');
SELECT policy('clear_on_forward');
CALL deal(18, 'New', 'Quote', 'Demo');
UPDATE deals SET probability = 77, forecast_category = 'commit' WHERE deal_id = 18;
CALL event('back, override kept', 18, $$UPDATE deals SET stage_id = st('New') WHERE deal_id = 18$$,
	'move', '3. Demo ends, 4. New begins then', 'restarts after 1 days', '=', '=', '=', '=', '-');
SELECT policy('keep');

--
-- push back: push_back + gate, a new visit, restart, the lower stage's, =, = (R-2.10, R-2.12)
--
CALL deal(20, 'New', 'Contract');
CALL event('push back', 20, $$SELECT pipelines.push_back('deals', '20', 'no quote')$$,
	'push_back because of no quote, gate at Contract', '2. Contract ends, 3. Quote begins then', 'restarts', '40 of the stage', 'best_case', '=', '=', '-');
CALL deal(21, 'New', 'Contract');
UPDATE deals SET probability = 77, forecast_category = 'commit' WHERE deal_id = 21;
CALL event('push back, override kept', 21, $$SELECT pipelines.push_back('deals', '21', 'no demo', 'Demo')$$,
	'push_back because of no demo, gate at Contract', '2. Contract ends, 3. Demo begins then', 'restarts', '=', '=', '=', '=', '-');

--
-- pipeline change: transfer (reading 1), close + open, restart; the clock of the stage
-- of the picklist continues; the target's, by the target's policy; =, =, - (R-2.14 to R-2.17)
--
CALL deal(22, 'New', 'Quote');
CALL event('pipeline change', 22, $$UPDATE deals SET pipeline_id = pipelines.pipeline_id('Renewal') WHERE deal_id = 22$$,
	'transfer', '2. Quote ends, 3. Quote begins then', 'restarts after 8 days', '45 of the stage', 'commit', '=', '=', '-');
SELECT policy('clear_on_move');
CALL deal(23, 'New', 'Quote');
UPDATE deals SET probability = 77, forecast_category = 'omitted' WHERE deal_id = 23;
CALL event('pipeline change, override kept', 23, $$UPDATE deals SET pipeline_id = pipelines.pipeline_id('Renewal') WHERE deal_id = 23$$,
	'transfer', '2. Quote ends, 3. Quote begins then', 'restarts after 8 days', '=', '=', '=', '=', '-');
SELECT policy('keep');
UPDATE pipelines.pipeline SET override_policy = 'clear_on_move' WHERE name = 'Renewal';
CALL deal(24, 'New', 'Quote');
UPDATE deals SET probability = 77, forecast_category = 'omitted' WHERE deal_id = 24;
CALL event('pipeline change, override cleared', 24, $$UPDATE deals SET pipeline_id = pipelines.pipeline_id('Renewal') WHERE deal_id = 24$$,
	'transfer', '2. Quote ends, 3. Quote begins then', 'restarts after 8 days', '45 of the stage', 'commit', '=', '=', '-');
UPDATE pipelines.pipeline SET override_policy = 'keep' WHERE name = 'Renewal';
-- the gate is left behind (R-2.11)
CALL deal(25, 'New', 'Contract');
SELECT target FROM pipelines.push_back('deals', '25', 'no quote');		-- on 2 January still
CALL event('pipeline change behind a gate', 25, $$UPDATE deals SET pipeline_id = pipelines.pipeline_id('Renewal') WHERE deal_id = 25$$,
	'transfer', '3. Quote ends, 4. Quote begins then', 'restarts after 8 days', '45 of the stage', 'commit', '=', '=', '-');

--
-- mass: the same kinds + batch, per row, and only of rows that move (R-2.5, R-2.21, R-2.23)
--
CALL deal(30, 'New');
CALL deal(31, 'New', 'Quote');
CALL deal(32, 'New', 'Quote', 'Demo');
CALL deal(33, 'New', 'Quote', 'Won');
CREATE TABLE before AS SELECT d AS deal, look(d) AS was FROM generate_series(30, 33) d;
BEGIN;
SET LOCAL pipelines.batch = 'b1';
CALL event('mass: forward', 30, $$UPDATE deals SET stage_id = st('Quote') WHERE deal_id BETWEEN 30 AND 33$$,
	'move in batch b1', '1. New ends, 2. Quote begins then', 'restarts', '40 of the stage', 'best_case', '=', '=', '-');
COMMIT;
-- the others of the same statement
SELECT d.deal_id, d.version - (b.was ->> 'version')::integer AS versions, d.stage_entered_at, h.change, h.batch
FROM deals d JOIN before b ON b.deal = d.deal_id LEFT JOIN deals_history h ON h.deal_id = d.deal_id AND h.batch = 'b1' ORDER BY 1;

--
-- win: close, terminal visit, stops, 100, closed, = (the actual amount may be set), =, set
--
CALL deal(40, 'New', 'Quote', 'Demo', 'Contract');
CALL event('win', 40, $$UPDATE deals SET stage_id = st('Won') WHERE deal_id = 40$$,
	'close', '4. Contract ends, 5. Won begins then', 'stops', '100 of the stage', 'closed', '=', '=', '10 Jan 10:00, on 10 Jan');
CALL deal(41, 'New', 'Quote', 'Demo', 'Contract');
UPDATE deals SET probability = 77, forecast_category = 'omitted' WHERE deal_id = 41;
CALL event('win, actual amount and day, in spite of overrides', 41, $$UPDATE deals SET stage_id = st('Won'), amount = 900, closed_on = '2020-01-09' WHERE deal_id = 41$$,
	'close', '4. Contract ends, 5. Won begins then', 'stops', '100 of the stage', 'closed', '900', '=', '10 Jan 10:00, on 09 Jan');
CALL deal(42, 'New', 'Contract');
SELECT target FROM pipelines.push_back('deals', '42', 'no quote', 'Demo');
CALL event('win behind a gate', 42, $$UPDATE deals SET stage_id = st('Contract') WHERE deal_id = 42; UPDATE deals SET stage_id = st('Won') WHERE deal_id = 42$$,
	'move; close', '3. Demo ends, 4. Contract begins then, 5. Won begins then', 'stops', '100 of the stage', 'closed', '=', '=', '10 Jan 10:00, on 10 Jan');

--
-- lose: close, terminal, stops, 0, omitted, =, =, set; never a skip (R-2.7)
--
CALL deal(45, 'New');
CALL event('lose', 45, $$UPDATE deals SET stage_id = st('Lost') WHERE deal_id = 45$$,
	'close', '1. New ends, 2. Lost begins then', 'stops', '0 of the stage', 'omitted', '=', '=', '10 Jan 10:00, on 10 Jan');
CALL deal(46, 'New');
UPDATE deals SET probability = 77, forecast_category = 'commit' WHERE deal_id = 46;
CALL event('disqualify, in spite of overrides', 46, $$UPDATE deals SET stage_id = st('Junk') WHERE deal_id = 46$$,
	'close', '1. New ends, 2. Junk begins then', 'stops', '0 of the stage', 'omitted', '=', '=', '10 Jan 10:00, on 10 Jan');
CALL deal(47, 'New', 'Quote', 'Demo', 'Contract');
CALL event('end as done', 47, $$UPDATE deals SET stage_id = st('Over') WHERE deal_id = 47$$,
	'close', '4. Contract ends, 5. Over begins then', 'stops', '0 of the stage', 'omitted', '=', '=', '10 Jan 10:00, on 10 Jan');
CALL deal(48, 'New', 'Contract');
SELECT target FROM pipelines.push_back('deals', '48', 'no quote');
CALL event('lose behind a gate', 48, $$UPDATE deals SET stage_id = st('Lost') WHERE deal_id = 48$$,
	'close', '3. Quote ends, 4. Lost begins then', 'stops', '0 of the stage', 'omitted', '=', '=', '10 Jan 10:00, on 10 Jan');

--
-- won to won: a change (in reading 2 a move, where the stage is another), = or a new
-- terminal visit, stopped, 100, closed, =, =, unchanged (R-2.26)
--
CALL deal(50, 'New', 'Won');
CALL event('won to won', 50, $$UPDATE deals SET stage_id = st('Signed') WHERE deal_id = 50$$,
	'move', '2. Won ends, 3. Signed begins then', 'stopped', '=', '=', '=', '=', '=');
CALL deal(51, 'New', 'Won');
CALL event('won, corrected', 51, $$UPDATE deals SET close_reason = 'price', competitor = 'ACME' WHERE deal_id = 51$$,
	'change', '=', 'stopped', '=', '=', '=', '=', '=');
CALL deal(52, 'New', 'Lost');
CALL event('lost to lost, elsewhere', 52, $$UPDATE deals SET pipeline_id = pipelines.pipeline_id('Renewal') WHERE deal_id = 52$$,
	'transfer', '2. Lost ends, 3. Lost begins then', 'stopped', '=', '=', '=', '=', '=');

--
-- won to lost: close (supersede), terminal, stopped, 0, omitted, =, =, a new instant
--
CALL deal(53, 'New', 'Won');
CALL event('won to lost', 53, $$UPDATE deals SET stage_id = st('Lost') WHERE deal_id = 53$$,
	'close, closing superseded', '2. Won ends, 3. Lost begins then', 'stopped', '0 of the stage', 'omitted', '=', '=', '10 Jan 10:00, on 10 Jan');

--
-- reopen: reopen, a new visit in the next episode, restart, read-through, the same, =, =
-- (there is no policy on it), cleared (R-2.27)
--
CALL deal(55, 'New', 'Quote', 'Won');
CALL event('reopen', 55, $$UPDATE deals SET stage_id = st('Quote') WHERE deal_id = 55$$,
	'reopen', '3. Won ends, 4. Quote begins then in episode 2', 'restarts after 1 days', '40 of the stage', 'best_case', '=', '=', 'cleared');
CALL deal(56, 'New', 'Quote', 'Lost');
UPDATE deals SET probability = 77, forecast_category = 'commit' WHERE deal_id = 56;
CALL event('reopen: overrides are cleared', 56, $$UPDATE deals SET stage_id = st('Demo') WHERE deal_id = 56$$,
	'reopen', '3. Lost ends, 4. Demo begins then in episode 2', 'restarts', '60 of the stage', 'best_case', '=', '=', 'cleared');

--
-- owner, amount and currency, close date: a change (reading 2), no visit, and the clock goes on
--
CALL deal(60, 'New', 'Quote');
CALL event('owner', 60, $$UPDATE deals SET owner = 'eve', team = 'north' WHERE deal_id = 60$$,
	'change', '=', '=', '=', '=', '=', '=', '-');
CALL deal(61, 'New', 'Quote');
CALL event('amount and currency', 61, $$UPDATE deals SET amount = 1200, currency = 'USD' WHERE deal_id = 61$$,
	'change', '=', '=', '=', '=', '1200 USD', '=', '-');
CALL deal(62, 'New', 'Quote');
CALL event('close date', 62, $$UPDATE deals SET expected_close_on = '2020-07-31' WHERE deal_id = 62$$,
	'change', '=', '=', '=', '=', '=', '2020-07-31', '-');
CALL deal(63, 'New', 'Quote');
CALL event('override', 63, $$UPDATE deals SET probability = 77, forecast_category = 'commit' WHERE deal_id = 63$$,
	'change', '=', '=', '77 of the deal', 'commit', '=', '=', '-');

--
-- a stage's probability edited: one event of the definition, =, =, new at once; closed deals untouched (R-2.34)
--
CALL deal(65, 'New', 'Quote');
CALL deal(66, 'New', 'Quote', 'Won');
SELECT count(*) AS rows_before FROM deals_history \gset
CALL event('stage probability edited', 65, $$UPDATE pipelines.pipeline_stage SET probability = 42, forecast_category = 'commit' WHERE pipeline_id = 1 AND stage_id = st('Quote')$$,
	'none', '=', '=', '42 of the stage', 'commit', '=', '=', '-');
CALL event('... of a closed deal', 66, $$UPDATE pipelines.pipeline_stage SET probability = 43 WHERE pipeline_id = 1 AND stage_id = st('Quote')$$,
	'none', '=', 'stopped', '=', '=', '=', '=', '=');
SELECT count(*) - :rows_before AS rows_of_deals, (SELECT count(*) FROM pipelines.pipeline_stage_history) AS events_of_definitions FROM deals_history;
UPDATE pipelines.pipeline_stage SET probability = 40, forecast_category = 'best_case' WHERE pipeline_id = 1 AND stage_id = st('Quote');

--
-- delete: delete, the visit closes, the clock stops
--
CALL deal(70, 'New', 'Quote');
CALL event('delete', 70, $$DELETE FROM deals WHERE deal_id = 70$$,
	'delete', '2. Quote ends', 'stops', '-', '-', '-', '-', '-');

--
-- not in the matrix: on hold is neither closed nor in the forecast, unless its category says so (R-2.32)
--
CALL deal(72, 'New', 'Quote');
CALL event('put on hold', 72, $$UPDATE deals SET stage_id = st('Parked') WHERE deal_id = 72$$,
	'move', '2. Quote ends, 3. Parked begins then', 'restarts', '5 of the stage', 'omitted', '=', '=', '-');
CALL deal(73, 'New', 'Quote');
CALL event('put on hold, but forecast', 73, $$UPDATE deals SET stage_id = st('Parked'), forecast_category = 'pipeline' WHERE deal_id = 73$$,
	'move', '2. Quote ends, 3. Parked begins then', 'restarts', '5 of the stage', 'pipeline', '=', '=', '-');

-- the facts
\pset format aligned
\pset null ''
SELECT event, kind, visit, clock, probability, category, amount, expected_close, closed FROM facts ORDER BY deal;
\pset format unaligned
\pset null (null)
-- where they are not what the matrix says
SELECT f.event, c.fact, c.found, f.said[c.n::integer] AS said
FROM facts f, ROWS FROM (unnest(ARRAY[f.kind, f.visit, f.clock, f.probability, f.category, f.amount, f.expected_close, f.closed]),
	unnest('{kind,visit,clock,probability,category,amount,expected_close,closed}'::text[])) WITH ORDINALITY c(found, fact, n)
WHERE c.found IS DISTINCT FROM f.said[c.n::integer] ORDER BY f.deal, c.n;
SELECT problems();
\set ECHO none
\c :home
SET client_min_messages = warning;
DROP DATABASE regress_pipelines_matrix;
