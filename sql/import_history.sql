-- import_history(): logs of past changes become deals and their history.
-- In a database of its own, since schema pipelines is one per database.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT current_database() AS home \gset
DROP DATABASE IF EXISTS regress_pipelines_import;
CREATE DATABASE regress_pipelines_import;
CREATE ROLE regress_import_owner;
CREATE ROLE regress_import_clerk;
\c regress_pipelines_import
SET lc_messages = 'C';
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
CREATE EXTENSION pipelines;

SELECT pipelines.create_pipeline('Sales', time_zone => 'America/New_York', stages => '[
	"Lead", "Meeting", {"name": "Waiting", "outcome": "on_hold"}, "Quote", {"name": "Talk", "mandatory": false}, "Order",
	"Won", {"name": "Renewed", "outcome": "won"}, "Lost", {"name": "Junk", "outcome": "disqualified"}]');
SELECT pipelines.create_pipeline('Service', time_zone => 'UTC', stages => '[
	"Lead", {"name": "Repair", "code": "rep"}, "Quote", {"name": "Ready", "outcome": "done"}, "Lost"]');
SELECT pipelines.create_deals('deals');

-- ----- one log with everything that may happen

CREATE TABLE log (deal_id bigint, at timestamptz, seq integer, pipeline text, stage text, amount numeric,
	close_reason text, closed_on date, name text, actor text, reason text);
INSERT INTO log VALUES
	-- in order, with a repeat, a change of the amount, a skip; won at 1 in the morning UTC
	(1, '2026-01-01 10:00+00', 1, NULL, 'Lead', 100, NULL, NULL, 'old name', 'ann', NULL),
	(1, '2026-01-02 10:00+00', 2, NULL, 'Lead', 100, NULL, NULL, 'old name', 'ann', NULL),
	(1, '2026-01-03 10:00+00', 3, NULL, 'Lead', 150, NULL, NULL, 'old name', 'bob', 'asked for more'),
	(1, '2026-01-04 10:00+00', 4, NULL, 'Quote', 150.00, NULL, NULL, 'old name', NULL, NULL),
	(1, '2026-01-05 01:00+00', 5, NULL, 'Won', 140, 'price', NULL, 'new name', 'ann', NULL),
	(1, '2026-01-06 01:00+00', 6, NULL, 'Won', 140, 'price', NULL, 'newest name', 'ann', NULL),
	-- three events of one instant; closed_on given; won, then won differently, then lost, then reopened
	(2, '2026-01-01 10:00+00', 1, 'Sales', 'Lead', 1, NULL, NULL, NULL, NULL, NULL),
	(2, '2026-01-02 10:00+00', 3, 'Sales', 'Order', 1, NULL, NULL, NULL, NULL, NULL),
	(2, '2026-01-02 10:00+00', 2, 'Sales', 'Waiting', 1, NULL, NULL, NULL, NULL, NULL),
	(2, '2026-01-02 10:00+00', 4, 'Sales', 'Won', 1, NULL, '2025-12-31', NULL, NULL, NULL),
	(2, '2026-01-03 10:00+00', 5, 'Sales', 'Renewed', 1, NULL, NULL, NULL, NULL, NULL),
	(2, '2026-01-04 10:00+00', 6, 'Sales', 'Lost', 1, NULL, NULL, NULL, NULL, NULL),
	(2, '2026-01-05 10:00+00', 7, 'Sales', 'Lost', 1, NULL, '2026-01-03', NULL, NULL, NULL),
	(2, '2026-01-06 10:00+00', 8, 'Sales', 'Meeting', 1, NULL, NULL, NULL, NULL, NULL),
	-- back and forth between pipelines
	(3, '2026-01-01 10:00+00', 1, 'Sales', 'Lead', 1, NULL, NULL, NULL, NULL, NULL),
	(3, '2026-01-02 10:00+00', 2, 'Sales', 'Quote', 1, NULL, NULL, NULL, NULL, NULL),
	(3, '2026-01-03 10:00+00', 3, 'Service', 'Repair', 1, NULL, NULL, NULL, NULL, NULL),
	(3, '2026-01-04 10:00+00', 4, 'Service', 'Ready', 1, NULL, NULL, NULL, NULL, NULL),
	(3, '2026-01-05 10:00+00', 5, 'Sales', 'Order', 1, NULL, NULL, NULL, NULL, NULL),
	-- one event, and one in a stage that closes
	(4, '2026-01-01 10:00+00', 1, 'Sales', 'Meeting', NULL, NULL, NULL, 'four', NULL, NULL),
	(5, '2026-01-01 10:00+00', 1, 'Sales', 'Junk', NULL, NULL, NULL, NULL, NULL, NULL),
	-- begun in a pause, then on in another pipeline, which knows nothing of where it has been
	(6, '2026-01-01 10:00+00', 1, 'Sales', 'Waiting', NULL, NULL, NULL, NULL, NULL, NULL),
	(6, '2026-01-02 10:00+00', 2, 'Sales', 'Quote', NULL, NULL, NULL, NULL, NULL, NULL),
	(7, '2026-01-01 10:00+00', 1, 'Sales', 'Waiting', NULL, NULL, NULL, NULL, NULL, NULL),
	(7, '2026-01-02 10:00+00', 2, 'Service', 'Repair', NULL, NULL, NULL, NULL, NULL, NULL),
	(7, '2026-01-03 10:00+00', 3, 'Service', 'Ready', NULL, NULL, NULL, NULL, NULL, NULL);
SET pipelines.batch = 'old system';
SET pipelines.actor = 'importer';
SELECT * FROM pipelines.import_history('deals', 'log');
RESET pipelines.batch;
RESET pipelines.actor;
SELECT * FROM pipelines.verify('deals');
CREATE VIEW names AS SELECT p.pipeline_id, s.stage_id, p.name AS pipeline, s.name AS stage
	FROM pipelines.pipeline_stage ps JOIN pipelines.pipeline p USING (pipeline_id) JOIN pipelines.stage s USING (stage_id);
SELECT h.deal_id AS deal, h.version AS v, h.change, h.valid_from, h.valid_to, n.stage, h.amount, f.stage AS furthest, h.episode AS e,
	h.stage_entered_at, h.closed_at, h.closed_on, t.pipeline AS to_pipeline, t.stage AS to_stage,
	(SELECT array_agg(k.stage ORDER BY k.stage_id) FROM names k WHERE k.pipeline_id = h.to_pipeline_id AND k.stage_id = ANY (h.skipped_stages)) AS skipped
FROM deals_history h
	JOIN names n USING (pipeline_id, stage_id)
	JOIN names f ON f.pipeline_id = h.pipeline_id AND f.stage_id = h.furthest_stage_id
	JOIN names t ON t.pipeline_id = h.to_pipeline_id AND t.stage_id = h.to_stage_id
ORDER BY 1, 2;
SELECT deal_id AS deal, version AS v, actor, reason, batch, role_name = current_user AS me, imported, bypassed, txid IS NOT NULL AS txid,
	recorded_at > now() - interval '1 hour' AS recently
FROM deals_history ORDER BY 1, 2;
SELECT d.deal_id AS deal, d.version AS v, d.name, n.pipeline, n.stage, d.amount, d.close_reason, f.stage AS furthest, d.episode AS e,
	d.stage_entered_at, d.changed_at, d.closed_at, d.closed_on, d.created_at, d.created_by
FROM deals d
	JOIN names n USING (pipeline_id, stage_id)
	JOIN names f ON f.pipeline_id = d.pipeline_id AND f.stage_id = d.furthest_stage_id
ORDER BY 1;
-- life goes on
INSERT INTO deals DEFAULT VALUES RETURNING deal_id, version;
UPDATE deals SET stage_id = pipelines.stage_id('Sales', 'Lead') WHERE deal_id IN (1, 4) RETURNING deal_id, version, episode;
UPDATE deals SET stage_id = pipelines.stage_id('Sales', 'Order') WHERE deal_id = 4;
SELECT version, change, skipped_stages FROM deals_history WHERE deal_id = 4 ORDER BY 1;
SELECT * FROM pipelines.verify('deals');

-- ----- import equals the same events one by one

SELECT pipelines.create_deals('live');
SELECT pipelines.create_deals('imported');
CREATE TABLE random_event AS
	SELECT deal_id, n AS seq, '2025-01-01'::timestamptz + n * interval '1 day' + random() * interval '1 day' AS at, pipeline, stage,
		floor(random() * 3)::numeric AS amount, CASE WHEN random() < 0.5 THEN 'x' END AS owner
	FROM (
		SELECT d AS deal_id, n, CASE WHEN random() < 0.85 THEN 'Sales' ELSE 'Service' END AS pipeline, random() AS r
		FROM generate_series(1, 300) d, generate_series(1, 12) n) e
		CROSS JOIN LATERAL (SELECT array_agg(stage ORDER BY stage_id) AS stages FROM names WHERE names.pipeline = e.pipeline) s
		CROSS JOIN LATERAL (SELECT stages[1 + floor(e.r * cardinality(stages))::integer] AS stage) t;
DO $$
DECLARE
	e record;
	p integer;
	s integer;
BEGIN
	FOR e IN SELECT * FROM random_event ORDER BY at LOOP
		PERFORM set_config('pipelines.event_time', e.at::text, true);
		p := pipelines.pipeline_id(e.pipeline);
		s := pipelines.stage_id(e.pipeline, e.stage);
		UPDATE live SET pipeline_id = p, stage_id = s, amount = e.amount, owner = e.owner WHERE deal_id = e.deal_id;
		IF NOT FOUND THEN
			INSERT INTO live (deal_id, pipeline_id, stage_id, amount, owner) VALUES (e.deal_id, p, s, e.amount, e.owner);
		END IF;
	END LOOP;
END
$$;
SELECT deals, events, rows = (SELECT count(*) FROM live_history) AS rows, repeats = 3300 - (SELECT count(*) FROM live_history) AS repeats
FROM pipelines.import_history('imported', 'random_event');
SELECT count(DISTINCT change), bool_or(skipped_stages IS NOT NULL), max(episode) > 2 FROM live_history;
CREATE VIEW live_facts AS SELECT to_jsonb(h) - '{txid,recorded_at,imported,actor,role_name,application_name}'::text[] AS fact FROM live_history h
	UNION ALL SELECT to_jsonb(d) FROM live d;
CREATE VIEW imported_facts AS SELECT to_jsonb(h) - '{txid,recorded_at,imported,actor,role_name,application_name}'::text[] AS fact FROM imported_history h
	UNION ALL SELECT to_jsonb(d) FROM imported d;
SELECT 'only live' AS which, fact FROM (SELECT fact FROM live_facts EXCEPT SELECT fact FROM imported_facts) l
UNION ALL SELECT 'only imported', fact FROM (SELECT fact FROM imported_facts EXCEPT SELECT fact FROM live_facts) i
LIMIT 4;
SELECT * FROM pipelines.verify('live');
SELECT * FROM pipelines.verify('imported');

-- ----- deals that are there already

SELECT pipelines.create_deals('present');
INSERT INTO present (deal_id, stage_id, amount, name) VALUES
	(1, pipelines.stage_id('Sales', 'Won'), 10, 'won'), (2, pipelines.stage_id('Sales', 'Quote'), 20, 'open'),
	(3, pipelines.stage_id('Sales', 'Quote'), 30, 'elsewhere'), (4, pipelines.stage_id('Sales', 'Quote'), 40, 'changed'),
	(5, pipelines.stage_id('Sales', 'Quote'), 50, 'not in the log');
UPDATE present SET amount = 41 WHERE deal_id = 4;
CREATE TABLE present_log AS SELECT * FROM (VALUES
	(1::bigint, '2026-01-01 10:00+00'::timestamptz, 'Lead', 5::numeric), (1, '2026-02-01 10:00+00', 'Won', 10),
	(2, '2026-01-01 10:00+00', 'Lead', 5), (2, '2026-02-01 10:00+00', 'Quote', 20),
	(3, '2026-01-01 10:00+00', 'Lead', 5), (3, '2026-02-01 10:00+00', 'Order', 30),
	(4, '2026-01-01 10:00+00', 'Lead', 5), (4, '2026-02-01 10:00+00', 'Quote', 41),
	(6, '2026-01-01 10:00+00', 'Lead', 60)) AS l(deal_id, at, stage, amount);
SELECT * FROM pipelines.import_history('present', 'present_log');
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM present_history WHERE deal_id <> 4;
DELETE FROM present_log WHERE deal_id IN (3, 4);
SELECT * FROM pipelines.import_history('present', 'present_log');
SELECT deal_id, name, version, changed_at < '2026-03-01' AS past, stage_entered_at < '2026-03-01' AS entered, closed_at, closed_on,
	created_at < '2026-03-01' AS created, amount
FROM present ORDER BY 1;
SELECT * FROM pipelines.verify('present');
SELECT deal_id, amount FROM pipelines.as_of(NULL::present, '2026-01-15') ORDER BY 1;

-- ----- what is refused, all of it at once

CREATE TABLE bad (deal_id bigint, at timestamptz, seq integer, pipeline text, stage text, amount numeric);
INSERT INTO bad VALUES
	(NULL, '2026-01-01 00:00+00', 1, NULL, 'Lead', 1),
	(11, NULL, 1, NULL, 'Lead', 1),
	(12, '2999-01-01 00:00+00', 1, NULL, 'Lead', 1),
	(13, 'infinity', 1, NULL, 'Lead', 1),
	(14, '2026-01-01 00:00+00', 1, NULL, NULL, 1),
	(15, '2026-01-01 00:00+00', 1, NULL, 'Leed', 1),
	(16, '2026-01-01 00:00+00', 1, 'Service', 'Meeting', 1),
	(17, '2026-01-01 00:00+00', 1, 'Servize', 'Lead', 1),
	(18, '2026-01-01 00:00+00', 1, NULL, 'Lead', 1),
	(18, '2026-01-01 00:00+00', 1, NULL, 'Meeting', 1),
	(19, '2026-01-01 00:00+00', 1, NULL, 'Lead', 1),
	(19, '2026-01-01 00:00+00', 1, NULL, 'Lead', 1),
	(1, '2026-01-01 00:00+00', 1, NULL, 'Lead', 1);
SELECT pipelines.import_history('deals', 'bad');
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM deals WHERE deal_id BETWEEN 11 AND 19;
-- the first twenty, and how many more
CREATE VIEW many AS SELECT n AS deal_id, '2026-01-01 00:00+00'::timestamptz AS at, 'Leed' AS stage FROM generate_series(1001, 1050) n;
SELECT pipelines.import_history('deals', 'many');
-- columns
CREATE VIEW c1 AS SELECT 30::bigint AS deal_id, now() AS at, 'Lead' AS stage, 1 AS ammount;
SELECT pipelines.import_history('deals', 'c1');
CREATE VIEW c2 AS SELECT 30::bigint AS deal_id, now() AS at, 'Lead' AS stage, 1 AS version, 2 AS episode;
SELECT pipelines.import_history('deals', 'c2');
CREATE VIEW c3 AS SELECT now() AS at;
SELECT pipelines.import_history('deals', 'c3');
CREATE VIEW c4 AS SELECT 30::bigint AS deal_id, now()::timestamp AS at, 'Lead' AS stage;
SELECT pipelines.import_history('deals', 'c4');
CREATE VIEW c5 AS SELECT 30::bigint AS deal_id, now() AS at, 'Lead' AS stage, 1 AS stage_id;
SELECT pipelines.import_history('deals', 'c5');
SELECT pipelines.import_history('deals', 'deals_history');
SELECT pipelines.import_history('log', 'log');

-- nothing to import
CREATE VIEW nothing AS SELECT * FROM log WHERE false;
SELECT * FROM pipelines.import_history('deals', 'nothing');

-- ----- names, codes, ids; archived stages; a table's columns of its own

SELECT pipelines.create_deals('other', key => '{tenant_id,deal_id}');
ALTER TABLE other ADD COLUMN remark text, ADD COLUMN doubled numeric GENERATED ALWAYS AS (amount * 2) STORED;
SELECT pipelines.archive_stage('Sales', 'Talk');
CREATE TABLE other_log (tenant_id bigint, deal_id bigint, at timestamptz, pipeline_id integer, stage_id smallint, amount text,
	remark text, created_at timestamptz, created_by text, attributes jsonb);
INSERT INTO other_log
SELECT 7, d, '2026-01-01 00:00+00'::timestamptz + n * interval '1 day', pipelines.pipeline_id('Sales'), pipelines.stage_id('Sales', s),
	'1' || n, 'remark ' || n, '2020-01-01', 'somebody', '{"a": 1}'
FROM (VALUES (1, 1, 'Lead'), (1, 2, 'Talk'), (1, 3, 'Order'), (2, 1, 'Order'), (2, 2, 'Lead')) AS x(d, n, s);
SELECT * FROM pipelines.import_history('other', 'other_log');
SELECT tenant_id, deal_id, amount, doubled, remark, created_at, created_by, attributes, version FROM other ORDER BY 1, 2;
SELECT tenant_id, deal_id, version, change, amount, skipped_stages FROM other_history ORDER BY 1, 2, 3;
SELECT * FROM pipelines.verify('other');
SELECT pipelines.import_history('other', 'other_log');
CREATE VIEW codes AS SELECT 1::bigint AS tenant_id, 1::bigint AS deal_id, '2026-01-01 00:00+00'::timestamptz AS at, 'Service' AS pipeline, 'rep' AS stage;
SELECT * FROM pipelines.import_history('other', 'codes');
SELECT n.pipeline, n.stage FROM other JOIN names n USING (pipeline_id, stage_id) WHERE tenant_id = 1;
-- the next key
INSERT INTO other (tenant_id) VALUES (7) RETURNING deal_id;

-- partitions
SELECT pipelines.create_deals('parted', partition_by => 'HASH (deal_id)');
CREATE TABLE parted_0 PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 1);
SELECT count(*) > 0 FROM pipelines.resume('parted');
SELECT * FROM pipelines.import_history('parted', 'log');
SELECT * FROM pipelines.verify('parted');

-- a trigger of one's own that fires after ours; an event time that somebody forgot; stages where nobody may start
SELECT pipelines.create_deals('watched');
CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.name := upper(NEW.name); RETURN NEW; END $$;
SELECT format('CREATE TRIGGER %I BEFORE INSERT OR UPDATE ON watched FOR EACH ROW EXECUTE FUNCTION shout()', pipelines._trigger_name() || '_later') AS late \gset
:late;
SET pipelines.event_time = '2020-01-01 00:00+00';
UPDATE pipelines.pipeline SET mode = 'strict' WHERE name = 'Sales';
UPDATE pipelines.pipeline_stage SET may_start = false WHERE stage_id = pipelines.stage_id('Sales', 'Lead');
SELECT * FROM pipelines.import_history('watched', 'log');
SHOW pipelines.event_time;
RESET pipelines.event_time;
SELECT deal_id, name, version FROM watched ORDER BY 1;
SELECT * FROM pipelines.verify('watched');

-- two in one transaction; what a transaction takes back
BEGIN;
SELECT pipelines.create_deals('twice');
SELECT * FROM pipelines.import_history('twice', 'log');
CREATE VIEW log_2 AS SELECT deal_id + 100 AS deal_id, at, seq, stage FROM log WHERE deal_id = 1;
SELECT * FROM pipelines.import_history('twice', 'log_2');
SELECT count(*) FROM twice;
ROLLBACK;
SELECT count(*) FROM pg_class WHERE relname LIKE 'pipelines_import%' AND relkind = 'r';

-- ----- whose call it is

CREATE SCHEMA app AUTHORIZATION regress_import_owner;
GRANT USAGE ON SCHEMA app, public TO PUBLIC;
GRANT SELECT ON log TO PUBLIC;
SET ROLE regress_import_owner;
SELECT pipelines.create_deals('app.deals');
GRANT ALL ON app.deals TO regress_import_clerk;
SET ROLE regress_import_clerk;
SELECT pipelines.import_history('app.deals', 'public.log');
\echo :LAST_ERROR_SQLSTATE
SET ROLE regress_import_owner;
SELECT * FROM pipelines.import_history('app.deals', 'public.log');
SELECT DISTINCT role_name, actor = session_user AS session FROM app.deals_history WHERE actor <> ALL ('{ann,bob}');
SELECT * FROM pipelines.verify('app.deals');
RESET ROLE;

-- ----- a pipeline of another layout is unknown here

SELECT pipelines.create_pipeline('Elsewhere', stages => '["Lead", "Won"]', layout => 'other');
CREATE VIEW elsewhere AS SELECT 30::bigint AS deal_id, '2026-01-01 00:00+00'::timestamptz AS at, 'Elsewhere' AS pipeline, 'Lead' AS stage;
SELECT pipelines.import_history('deals', 'elsewhere');

\c :home
DROP DATABASE regress_pipelines_import;
DROP ROLE regress_import_owner, regress_import_clerk;
