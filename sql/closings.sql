-- closings.sql: T_closings (R-1.2 to R-1.4, R-2.24 to R-2.27), and what T_stalled
-- says of deals in the wrong pipeline (S4, S19).  In a database of its own.
\set ECHO none
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_pipelines_closings;
CREATE DATABASE regress_pipelines_closings TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\set home :DBNAME
\c regress_pipelines_closings
\i test/data/checks.sql
\set ECHO all
SELECT pipelines.create_pipeline('Sales', time_zone => 'Pacific/Auckland', stages => '[
	{"name": "New", "probability": 10}, {"name": "Quote", "probability": 40, "forecast_category": "best_case"},
	{"name": "Contract", "probability": 80},
	{"name": "Won", "outcome": "won"}, {"name": "Signed", "outcome": "won"},
	{"name": "Lost", "outcome": "lost"}, {"name": "Junk", "outcome": "disqualified"}, {"name": "Over", "outcome": "done"},
	{"name": "Parked", "outcome": "on_hold", "probability": 5}]');
SELECT pipelines.create_pipeline('Renewal', stages => '["New", {"name": "Won", "outcome": "won"}, {"name": "Lost", "outcome": "lost"}]');
SELECT pipelines.create_deals('deals', currency => 'EUR');
CREATE FUNCTION st(stage text, pipeline text DEFAULT 'Sales') RETURNS integer LANGUAGE sql STABLE AS
	'SELECT pipelines.stage_id(pipeline, stage)';
-- move a deal on a day, for a reason
CREATE PROCEDURE go(id bigint, stage text, day date, why text DEFAULT '', pipeline text DEFAULT 'Sales') LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('pipelines.event_time', day || ' 22:00+00', false), set_config('pipelines.reason', why, false);
	UPDATE deals SET pipeline_id = pipelines.pipeline_id(go.pipeline), stage_id = st(go.stage, go.pipeline) WHERE deal_id = id;
END
$$;
CREATE VIEW told AS
	SELECT deal_id, concat_ws(' ', 'e' || episode, outcome, closed_at::date, 'on ' || closed_on, amount || coalesce(' ' || currency, ''),
		'because ' || reason, '(' || notes || ')', 'against ' || competitor, 'by ' || owner,
		'in ' || pipeline_name || '/' || stage_name,
		'from ' || from_pipeline_name || '/' || from_stage_name, 'furthest ' || furthest_stage_name,
		'before ' || probability_before || '% ' || category_before,
		'reopened ' || reopened_at::date, 'superseded ' || superseded_at::date, 'deleted ' || deleted_at::date) AS closing
	FROM deals_closings ORDER BY deal_id, closed_at, episode;

SET pipelines.event_time = '2020-01-01 10:00+00';
INSERT INTO deals (deal_id, name, amount, owner) SELECT i, 'n', 100 * i, 'eve' FROM generate_series(1, 9) i;

-- R-2.24, R-2.25: one row, from the stage it was in; the day is the pipeline's (22:00 UTC is tomorrow there)
CALL go(1, 'Quote', '2020-01-02');
CALL go(1, 'Contract', '2020-01-03');
CALL go(1, 'Quote', '2020-01-04');
CALL go(1, 'Won', '2020-01-05', 'they liked it');
SELECT closing FROM told WHERE deal_id = 1;
-- corrections while it is closed: the closing says so, its instant stays; close_reason beats the change's reason
SET pipelines.event_time = '2020-01-06 10:00+00';
RESET pipelines.reason;
UPDATE deals SET amount = 99.50, currency = 'USD', close_reason = 'price', close_notes = 'by phone', competitor = 'ACME', owner = 'bob', closed_on = '2020-01-05' WHERE deal_id = 1;
SELECT closing FROM told WHERE deal_id = 1;
-- R-2.26, same kind: one closing, its date unchanged
CALL go(1, 'Signed', '2020-01-07');
SELECT closing FROM told WHERE deal_id = 1;
-- R-2.26, another kind: superseded, and a new one with the new instant
CALL go(1, 'Lost', '2020-01-08', 'cancelled');
SELECT closing FROM told WHERE deal_id = 1;
-- transfer while closed: the same closing; to another outcome: another one
CALL go(1, 'Lost', '2020-01-09', '', 'Renewal');
SELECT closing FROM told WHERE deal_id = 1;
CALL go(1, 'Won', '2020-01-10', '', 'Renewal');
SELECT closing FROM told WHERE deal_id = 1;
-- R-2.27: reopened, the reasons stay with the closing; then closed again
CALL go(1, 'Quote', '2020-01-11', 'second thoughts');
SELECT closing FROM told WHERE deal_id = 1;
SELECT closed_at, closed_on, close_reason, competitor, episode FROM deals WHERE deal_id = 1;
CALL go(1, 'Over', '2020-01-12');
CALL go(1, 'New', '2020-01-13');
CALL go(1, 'Junk', '2020-01-14', 'spam');
SELECT closing FROM told WHERE deal_id = 1;

-- R-1.4: the last open value counts, the deal's own or the stage's
SET pipelines.event_time = '2020-01-02 10:00+00';
UPDATE deals SET probability = 33, forecast_category = 'commit' WHERE deal_id = 2;
CALL go(2, 'Won', '2020-01-05');
CALL go(3, 'Quote', '2020-01-02');
CALL go(3, 'Lost', '2020-01-05', 'no budget');
CALL go(4, 'Parked', '2020-01-02');
CALL go(4, 'Lost', '2020-01-05');
-- ... as it was then, whatever the definitions say now
UPDATE pipelines.pipeline_stage SET probability = 45, forecast_category = 'commit' WHERE pipeline_id = 1 AND stage_id = st('Quote');
RESET pipelines.event_time;
UPDATE deals SET stage_id = st('Quote') WHERE deal_id = 5;
UPDATE deals SET stage_id = st('Lost'), close_reason = 'late' WHERE deal_id = 5;
SELECT deal_id, closing FROM told WHERE deal_id IN (2, 3, 4);
SELECT from_stage_name, probability_before, category_before, reason FROM deals_closings WHERE deal_id = 5;

-- R-1.3, R-1.2: made closed, from nowhere; a date that is given counts
SET pipelines.event_time = '2020-01-01 10:00+00';
INSERT INTO deals (deal_id, name, amount, stage_id, closed_at, close_reason) VALUES (20, 'import', 1, st('Lost'), '2019-06-01', 'old');
CALL go(20, 'Junk', '2020-01-02');
CALL go(20, 'Quote', '2020-01-03');
SELECT closing FROM told WHERE deal_id = 20;

-- R-2.36: deleted; a key that came back has closings of its own
CALL go(6, 'Won', '2020-01-02');
SET pipelines.event_time = '2020-01-03 10:00+00';
DELETE FROM deals WHERE deal_id = 6;
INSERT INTO deals (deal_id, amount) VALUES (6, 66);
CALL go(6, 'Contract', '2020-01-04');
CALL go(6, 'Lost', '2020-01-05');
SELECT closing FROM told WHERE deal_id = 6;

-- the same by the book: all versions in order, a closing is a run of one episode and outcome
RESET pipelines.event_time;
RESET pipelines.reason;
INSERT INTO deals (deal_id, amount, stage_id) SELECT i, i, CASE WHEN i % 7 = 0 THEN st('Won') ELSE st('New') END FROM generate_series(100, 199) i;
UPDATE deals SET stage_id = (ARRAY[st('Won'), st('Lost'), st('Quote'), st('Over')])[1 + deal_id % 4] WHERE deal_id >= 100;
UPDATE deals SET stage_id = (ARRAY[st('Signed'), st('Lost'), st('New')])[1 + deal_id % 3], amount = amount + 1 WHERE deal_id >= 100;
UPDATE deals SET amount = amount + 1 WHERE deal_id >= 100 AND deal_id % 2 = 0;
DELETE FROM deals WHERE deal_id >= 100 AND deal_id % 5 = 0;
UPDATE deals SET stage_id = (ARRAY[st('Signed'), st('Junk'), st('Contract')])[1 + deal_id % 2] WHERE deal_id >= 100;
WITH v AS (
	SELECT h.deal_id, h.version, h.episode, s.outcome, h.amount, h.change, h.valid_to, h.closed_at, h.stage_id
	FROM deals_history h JOIN pipelines.pipeline_stage s USING (pipeline_id, stage_id)
	UNION ALL
	SELECT d.deal_id, d.version, d.episode, s.outcome, d.amount, NULL, NULL, d.closed_at, d.stage_id
	FROM deals d JOIN pipelines.pipeline_stage s USING (pipeline_id, stage_id)
), marked AS (
	SELECT v.*, CASE WHEN (episode, outcome) IS DISTINCT FROM (lag(episode) OVER w, lag(outcome) OVER w) THEN 1 END AS first,
		CASE WHEN outcome IN ('won', 'lost', 'disqualified', 'done') THEN NULL ELSE stage_id END AS open_stage
	FROM v WINDOW w AS (PARTITION BY deal_id ORDER BY version)
), numbered AS (
	SELECT m.*, count(first) OVER (PARTITION BY deal_id ORDER BY version) AS run FROM marked m
), book AS (
	SELECT DISTINCT ON (deal_id, run) deal_id, episode, outcome, amount, closed_at,
		(SELECT o.open_stage FROM numbered o WHERE o.deal_id = n.deal_id AND o.episode = n.episode AND o.version < n.version AND o.open_stage IS NOT NULL
		 ORDER BY o.version DESC LIMIT 1) AS from_stage_id,
		CASE change WHEN 'reopen' THEN valid_to END AS reopened_at, CASE change WHEN 'close' THEN valid_to END AS superseded_at,
		CASE change WHEN 'delete' THEN valid_to END AS deleted_at
	FROM numbered n WHERE outcome IN ('won', 'lost', 'disqualified', 'done') ORDER BY deal_id, run, version DESC
), ours AS (
	SELECT deal_id, episode, outcome, amount, closed_at, from_stage_id, reopened_at, superseded_at, deleted_at FROM deals_closings
)
SELECT (SELECT count(*) FROM book) AS closings, (SELECT count(superseded_at) FROM book) AS superseded,
	(SELECT count(reopened_at) FROM book) AS reopened, (SELECT count(deleted_at) FROM book) AS deleted,
	(SELECT count(*) FROM ((TABLE book EXCEPT TABLE ours) UNION ALL (TABLE ours EXCEPT TABLE book)) x) AS differences;
SELECT problems();

-- an imported past has its closings, too
SELECT pipelines.create_deals('old');
CREATE TABLE events (deal_id bigint, at timestamptz, stage text, amount numeric, close_reason text, closed_at timestamptz);
INSERT INTO events VALUES
	(1, '2018-01-01', 'New', 5, NULL, NULL), (1, '2018-02-01', 'Contract', 6, NULL, NULL), (1, '2018-03-01', 'Won', 7, 'fast', NULL),
	(1, '2018-04-01', 'Quote', 7, NULL, NULL), (1, '2018-05-01', 'Lost', 7, 'slow', '2018-04-30'),
	(2, '2018-01-01', 'Won', 9, 'gift', NULL);
SELECT * FROM pipelines.import_history('old', 'events');
SELECT deal_id, episode, outcome, closed_at, reason, amount, currency, from_stage_name, probability_before, reopened_at FROM old_closings ORDER BY deal_id, closed_at;

-- rows that do not count as deals have no closing that stands
UPDATE pipelines.tracked_table SET live = 'account IS NULL' WHERE relation = 'old'::regclass;
SELECT item, action FROM pipelines.rebuild_views('old') WHERE item ~ 'closings';
UPDATE old SET account = 'gone';
SELECT deal_id, episode, outcome, reopened_at FROM old_closings ORDER BY 1, 2;

-- names that are taken; a partitioned history; one deal is an index lookup
SELECT pipelines.create_deals('clash', key => '{outcome,notes,id}', partition_history => true);
INSERT INTO clash (outcome, notes, stage_id) VALUES (1, 2, st('Contract'));
UPDATE clash SET stage_id = st('Won'), close_notes = 'done';
UPDATE clash SET stage_id = st('Over');
SELECT outcome, notes, id, episode, pipelines_outcome, pipelines_notes, from_stage_name, superseded_at IS NOT NULL AS superseded FROM clash_closings ORDER BY closed_at;
CREATE FUNCTION plan(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$BEGIN RETURN QUERY EXECUTE 'EXPLAIN (COSTS OFF) ' || query; END$$;
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SELECT count(*) FILTER (WHERE p ~ 'Index Cond: \(deal_id = 1\)') AS lookups, count(*) FILTER (WHERE p ~ 'Index Cond: .*version <') AS lookups_before,
	count(*) FILTER (WHERE p ~ 'Seq Scan on deals') AS scans
FROM plan('SELECT * FROM deals_closings WHERE deal_id = 1') p;
RESET enable_seqscan;
RESET enable_bitmapscan;
-- columns of the history that not everybody may read are not needed
SELECT count(*) FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
WHERE r.ev_class = 'deals_closings'::regclass AND a.attrelid = 'deals_history'::regclass AND a.attname IN ('to_pipeline_id', 'to_stage_id', 'skipped_stages');
-- types are built in, and everything is commented
SELECT count(*) FILTER (WHERE t.typnamespace <> 'pg_catalog'::regnamespace) AS not_built_in, count(*) FILTER (WHERE col_description(a.attrelid, a.attnum) IS NULL) AS without_comment
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid WHERE a.attrelid = 'deals_closings'::regclass AND a.attnum > 0;

--
-- S4, S19: stalled, since it is tracked in the wrong pipeline
--
UPDATE pipelines.pipeline_stage SET stall_limit = '1 day' WHERE stage_id = st('New');
INSERT INTO pipelines.deal_type (layout_id, column_name, value, pipeline_id, position) VALUES
	(1, 'product', 'insurance', 2, 1), (1, 'source', 'fair', 1, 2), (1, 'region', 'north', 2, 0), (1, 'owner', 'eve', 1, 9);
ALTER TABLE deals RENAME source TO origin;
SELECT item FROM pipelines.rebuild_views('deals');
SET pipelines.event_time = '2020-01-01';
INSERT INTO deals (deal_id, amount, next_action_at, product, origin, owner, pipeline_id, stage_id) VALUES
	(301, 1, '2100-01-01', 'insurance', NULL, NULL, 1, 1),
	(302, 1, '2100-01-01', 'insurance', NULL, NULL, 2, 1),
	(303, 1, '2100-01-01', 'insurance', 'fair', 'eve', 2, 1),
	(304, 1, '2100-01-01', 'car', 'fair', NULL, 2, 1),
	(305, 1, '2100-01-01', NULL, NULL, NULL, 1, 1);
SELECT deal_id, pipeline_name, reasons FROM deals_stalled WHERE deal_id > 300 ORDER BY 1;
-- a column that came later than the view
ALTER TABLE deals ADD region text;
UPDATE deals SET region = 'north' WHERE deal_id IN (302, 305);
SELECT deal_id, pipeline_name, reasons FROM deals_stalled WHERE deal_id > 300 ORDER BY 1;
\set ECHO none
\c :home
SET client_min_messages = warning;
DROP DATABASE regress_pipelines_closings;
