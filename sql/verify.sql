-- verify(): silent on what is sound, and it names each thing that isn't.
-- In a database of its own, since schema pipelines is one per database.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT current_database() AS home \gset
DROP DATABASE IF EXISTS regress_pipelines_verify;
CREATE DATABASE regress_pipelines_verify;
\c regress_pipelines_verify
SET lc_messages = 'C';
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
CREATE EXTENSION pipelines;

SELECT pipelines.create_pipeline('Sales', stages => '["Lead", "Quote", "Won", "Lost"]', time_zone => 'UTC');
SELECT pipelines.create_pipeline('Service', stages => '["Lead", "Repair", {"name": "Ready", "outcome": "done"}]', time_zone => 'UTC');
SELECT pipelines.create_deals('deals');

-- ----- everything that may happen to a deal is sound

CREATE FUNCTION at(instant timestamptz) RETURNS void LANGUAGE sql AS $$ SELECT set_config('pipelines.event_time', $1::text, false) $$;
CREATE FUNCTION stage(name text, pipeline text DEFAULT 'Sales') RETURNS integer LANGUAGE sql AS $$ SELECT pipelines.stage_id($2, $1) $$;
SELECT at('2026-01-01');
INSERT INTO deals (deal_id, amount) SELECT n, n * 10 FROM generate_series(1, 9) n;
INSERT INTO deals (deal_id, stage_id) VALUES (10, stage('Won')), (11, stage('Lost'));
SELECT at('2026-01-02');
UPDATE deals SET stage_id = stage('Quote') WHERE deal_id IN (2, 3, 4, 5);
UPDATE deals SET pipeline_id = pipelines.pipeline_id('Service') WHERE deal_id = 6;
SELECT at('2026-01-03');
UPDATE deals SET stage_id = stage('Won') WHERE deal_id IN (3, 4);
UPDATE deals SET stage_id = stage('Lost') WHERE deal_id = 5;
UPDATE deals SET stage_id = stage('Ready', 'Service') WHERE deal_id = 6;
DELETE FROM deals WHERE deal_id IN (7, 8);
SELECT at('2026-01-04');
UPDATE deals SET stage_id = stage('Lost') WHERE deal_id = 3;
UPDATE deals SET stage_id = stage('Lead') WHERE deal_id IN (4, 5);
UPDATE deals SET amount = amount + 1 WHERE deal_id IN (1, 4);
UPDATE deals SET pipeline_id = pipelines.pipeline_id('Sales'), stage_id = stage('Lead') WHERE deal_id = 6;
INSERT INTO deals (deal_id) VALUES (7);
SELECT at('2026-01-05');
UPDATE deals SET stage_id = stage('Quote') WHERE deal_id IN (4, 5, 7);
RESET pipelines.event_time;
SELECT * FROM pipelines.verify('deals');
SELECT deal_id, string_agg(change, ' ' ORDER BY version) FROM deals_history GROUP BY 1 ORDER BY 1;

-- ----- what goes wrong in rows (of a history whose guard is switched off, too)

-- Makes one thing wrong, says what verify() finds, and takes it back.
CREATE FUNCTION broken(statements text, VARIADIC more text[] DEFAULT '{}')
	RETURNS TABLE (deal text, version integer, problem text, expected text, found text) LANGUAGE plpgsql AS $$
DECLARE
	statement text;
BEGIN
	BEGIN
		FOREACH statement IN ARRAY statements || more LOOP
			EXECUTE statement;
		END LOOP;
		CREATE TEMP TABLE said AS SELECT * FROM pipelines.verify('deals');
		RAISE EXCEPTION USING ERRCODE = 'PVERI', MESSAGE = (SELECT coalesce(jsonb_agg(to_jsonb(s)), '[]') FROM said s);
	EXCEPTION WHEN SQLSTATE 'PVERI' THEN
		RETURN QUERY SELECT * FROM jsonb_to_recordset(SQLERRM::jsonb)
			AS (deal text, version integer, problem text, expected text, found text);
	END;
END
$$;
CREATE FUNCTION no_triggers(VARIADIC statements text[])
	RETURNS TABLE (deal text, version integer, problem text, expected text, found text) LANGUAGE sql AS $$
	SELECT b.* FROM broken('ALTER TABLE deals DISABLE TRIGGER ALL', VARIADIC
		'ALTER TABLE deals_history DISABLE TRIGGER ALL'::text || $1 ||
		'ALTER TABLE deals ENABLE TRIGGER ALL; ALTER TABLE deals_history ENABLE ALWAYS TRIGGER pipelines_guard;
		 ALTER TABLE deals_history ENABLE ALWAYS TRIGGER pipelines_guard_truncate; ALTER TABLE deals_history ENABLE TRIGGER pipelines_columns'::text) b
$$;

-- a version is missing, or there once too often
SELECT * FROM no_triggers('DELETE FROM deals_history WHERE deal_id = 4 AND version = 2');
SELECT * FROM no_triggers('DELETE FROM deals_history WHERE deal_id = 4 AND version = 1');
SELECT * FROM no_triggers('DELETE FROM deals_history WHERE deal_id = 2');
SELECT * FROM no_triggers('UPDATE deals SET version = 4 WHERE deal_id = 2');
SELECT * FROM no_triggers('UPDATE deals SET version = 1 WHERE deal_id = 2');
-- time
SELECT * FROM no_triggers($$UPDATE deals_history SET valid_to = '2026-01-03 12:00' WHERE deal_id = 4 AND version = 2$$);
SELECT * FROM no_triggers($$UPDATE deals SET changed_at = '2026-01-02 12:00' WHERE deal_id = 2$$);
SELECT * FROM no_triggers($$UPDATE deals_history SET valid_to = '2026-01-09' WHERE deal_id = 7 AND change = 'delete'$$);
SELECT * FROM no_triggers($$UPDATE deals_history SET valid_from = '2026-01-03' WHERE deal_id = 2$$);
SELECT problem, expected ~ '^not after', found FROM no_triggers($$UPDATE deals SET changed_at = '2999-01-01', stage_entered_at = '2999-01-01' WHERE deal_id = 9$$);
-- stages
SELECT * FROM no_triggers($$UPDATE deals SET stage_id = stage('Lead'), furthest_stage_id = stage('Lead') WHERE deal_id = 2$$);
SELECT * FROM no_triggers($$UPDATE deals_history SET stage_id = stage('Lead') WHERE deal_id = 3 AND version = 2$$);
SELECT * FROM no_triggers($$UPDATE deals_history SET to_stage_id = stage('Lost') WHERE deal_id = 3 AND version = 1$$);
SELECT * FROM no_triggers($$UPDATE deals_history SET to_stage_id = NULL WHERE deal_id = 3 AND version = 1$$);
SELECT * FROM no_triggers($$UPDATE deals_history SET to_stage_id = 1, to_pipeline_id = 1 WHERE deal_id = 8$$);
SELECT * FROM no_triggers($$UPDATE deals SET stage_id = 999 WHERE deal_id = 9$$);
SELECT * FROM no_triggers($$UPDATE deals SET pipeline_id = 999 WHERE deal_id = 9$$);
-- bookkeeping
SELECT * FROM no_triggers($$UPDATE deals SET stage_entered_at = '2026-01-04' WHERE deal_id = 1$$);
SELECT * FROM no_triggers($$UPDATE deals SET stage_entered_at = '2026-01-01' WHERE deal_id = 2$$);
SELECT * FROM no_triggers($$UPDATE deals SET stage_entered_at = '2026-01-01 12:00' WHERE deal_id = 9$$);
SELECT * FROM no_triggers($$UPDATE deals SET episode = 1 WHERE deal_id = 4$$);
SELECT * FROM no_triggers($$UPDATE deals SET episode = 2 WHERE deal_id = 9$$);
SELECT * FROM no_triggers($$UPDATE deals SET episode = 1 WHERE deal_id = 7$$);
SELECT * FROM no_triggers($$UPDATE deals SET furthest_stage_id = stage('Won') WHERE deal_id = 2$$);
SELECT * FROM no_triggers($$UPDATE deals SET closed_at = NULL WHERE deal_id = 10$$);
SELECT * FROM no_triggers($$UPDATE deals SET closed_at = '2026-01-01' WHERE deal_id = 9$$);
-- a deal has gone without a deletion; of one that left no trace nobody knows
SELECT * FROM no_triggers('DELETE FROM deals WHERE deal_id = 2');
SELECT * FROM no_triggers('DELETE FROM deals_history WHERE deal_id = 8');
-- a row that came with bookkeeping but without its past
SELECT * FROM broken($$INSERT INTO deals (deal_id, pipeline_id, stage_id, stage_entered_at, furthest_stage_id, episode, version, changed_at, created_at, created_by)
	VALUES (20, 1, stage('Quote'), '2026-01-02', stage('Quote'), 1, 5, '2026-01-03', '2026-01-01', 'x')$$);
-- what it can't see, and says so in its description
SELECT * FROM no_triggers('UPDATE deals SET amount = 1000 WHERE deal_id = 2');

-- ----- what goes wrong around them

SELECT * FROM broken('ALTER TABLE deals DISABLE TRIGGER pipelines_after');
SELECT * FROM broken(format('ALTER TABLE deals DISABLE TRIGGER %I', pipelines._trigger_name()));
SELECT * FROM broken('ALTER TABLE deals DISABLE TRIGGER ALL');
SELECT * FROM broken('ALTER TABLE deals ENABLE REPLICA TRIGGER pipelines_truncate');
SELECT * FROM broken('ALTER TABLE deals_history ENABLE TRIGGER ALL');
SELECT * FROM broken('DROP TRIGGER pipelines_guard ON deals_history');
SELECT * FROM broken('DROP TRIGGER pipelines_columns ON deals');
SELECT * FROM broken('DROP TRIGGER pipelines_after ON deals',
	'CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $x$ BEGIN RETURN NULL; END $x$',
	'CREATE TRIGGER pipelines_after AFTER INSERT OR UPDATE OR DELETE ON deals FOR EACH ROW EXECUTE FUNCTION nothing()');
SELECT * FROM broken('CREATE TABLE child () INHERITS (deals)');
SELECT * FROM broken('ALTER TABLE deals_history ADD COLUMN forgotten text');
SELECT * FROM broken('ALTER TABLE deals_history DROP COLUMN reason CASCADE');
SELECT * FROM broken('ALTER TABLE deals DROP COLUMN amount CASCADE');
-- columns of the history that its owner changed, by which each change of a deal is refused, or remembered wrongly
SELECT * FROM broken('ALTER TABLE deals_history RENAME amount TO value');
SELECT * FROM broken('ALTER TABLE deals_history RENAME owner TO name');
SELECT * FROM broken('ALTER TABLE deals_history RENAME deal_id TO "Deal"');
SELECT * FROM broken('ALTER TABLE deals_history RENAME amount TO x', 'ALTER TABLE deals_history RENAME cost TO amount', 'ALTER TABLE deals_history RENAME x TO cost');
SELECT * FROM broken('ALTER TABLE deals_history DROP COLUMN amount CASCADE');
SELECT * FROM broken('ALTER TABLE deals_history DROP COLUMN amount CASCADE', 'ALTER TABLE deals_history ADD amount text');
SELECT * FROM broken('ALTER TABLE deals_history DROP COLUMN deal_id CASCADE');
SELECT * FROM broken('ALTER TABLE deals_history DROP COLUMN reason CASCADE', 'ALTER TABLE deals_history ADD reason integer');
-- the deals and their history may have other names for a column
SELECT * FROM broken('ALTER TABLE deals RENAME amount TO value');
SELECT * FROM broken('ALTER TABLE deals RENAME amount TO value', 'ALTER TABLE deals_history RENAME amount TO value');
SELECT * FROM broken('CREATE DOMAIN price AS numeric', 'DROP TRIGGER pipelines_columns ON deals', 'ALTER TABLE deals DROP amount CASCADE, ADD amount price',
	'SELECT pipelines.resume(''deals'')');
CREATE ROLE regress_verify_other;
SELECT * FROM broken('ALTER TABLE deals_history OWNER TO regress_verify_other');
SELECT * FROM broken('GRANT regress_verify_other TO CURRENT_USER', 'ALTER TABLE deals OWNER TO regress_verify_other');
DROP ROLE regress_verify_other;
-- the past of a column isn't mixed with that of another one; resume() mends it
BEGIN;
ALTER TABLE deals_history RENAME owner TO name;
SAVEPOINT renamed;
UPDATE deals SET name = 'not an owner' WHERE deal_id = 1;
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO renamed;
SELECT item, action FROM pipelines.resume('deals');
SELECT * FROM pipelines.verify('deals');
UPDATE deals SET owner = 'ann' WHERE deal_id = 1;
ALTER TABLE deals_history RENAME amount TO x;
ALTER TABLE deals_history RENAME cost TO amount;
ALTER TABLE deals_history RENAME x TO cost;
SELECT item, action FROM pipelines.resume('deals');
SELECT * FROM pipelines.verify('deals');
UPDATE deals SET amount = 77 WHERE deal_id = 1;
SELECT version, change, owner, amount, cost FROM deals_history WHERE deal_id = 1 ORDER BY version;
-- the same on the other side
ALTER TABLE deals RENAME amount TO x;
ALTER TABLE deals RENAME cost TO amount;
ALTER TABLE deals RENAME x TO cost;
UPDATE deals SET cost = 78, amount = 1 WHERE deal_id = 1;
SELECT * FROM pipelines.verify('deals');
SELECT item, action FROM pipelines.resume('deals');
UPDATE deals SET cost = 79 WHERE deal_id = 1;
SELECT version, change, owner, amount, cost FROM deals_history WHERE deal_id = 1 ORDER BY version;
SELECT * FROM pipelines.verify('deals');
ROLLBACK;
SELECT problem, expected ~ '^relation \d+, as', found FROM broken('DROP TABLE deals_history CASCADE');
SELECT * FROM pipelines.verify('pipelines.stage');
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM pipelines.verify(NULL);

-- after all that
SELECT * FROM pipelines.verify('deals');

-- ----- partitions, a key of several columns

SELECT pipelines.create_deals('parted', key => '{tenant_id,deal_id}', partition_by => 'LIST (tenant_id)');
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES IN (2);
SELECT problem, expected FROM pipelines.verify('parted');
SELECT count(*) > 0 FROM pipelines.resume('parted');
SELECT * FROM pipelines.verify('parted');
INSERT INTO parted (tenant_id, deal_id) VALUES (1, 1), (2, 1), (2, 2);
UPDATE parted SET amount = 5;
DELETE FROM parted WHERE deal_id = 2;
SELECT * FROM pipelines.verify('parted');
ALTER TABLE parted_2 DISABLE TRIGGER pipelines_after;
SELECT * FROM pipelines.verify('parted');
ALTER TABLE parted_2 ENABLE TRIGGER pipelines_after;
BEGIN;
ALTER TABLE parted_history RENAME tenant_id TO tenant;
SELECT * FROM pipelines.verify('parted');
UPDATE parted SET amount = 6;
ROLLBACK;
BEGIN;
ALTER TABLE parted_history DISABLE TRIGGER ALL;
DELETE FROM parted_history WHERE tenant_id = 2 AND deal_id = 1;
ALTER TABLE parted_history ENABLE ALWAYS TRIGGER pipelines_guard;
ALTER TABLE parted_history ENABLE ALWAYS TRIGGER pipelines_guard_truncate;
ALTER TABLE parted_history ENABLE TRIGGER pipelines_columns;
SELECT * FROM pipelines.verify('parted');
ROLLBACK;

\c :home
DROP DATABASE regress_pipelines_verify;
