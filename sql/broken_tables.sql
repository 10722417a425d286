-- broken_tables.sql: what is said where somebody altered our tables by hand, has
-- put one of his own in their place, or calls by hand what is called by us; and
-- at the ends of what dates, times and numbers can hold.  Never an internal
-- error, and nothing changes.  In a database of its own.
\set ECHO none
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_pipelines_broken_tables;
CREATE DATABASE regress_pipelines_broken_tables TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\set home :DBNAME
\c regress_pipelines_broken_tables
\i test/data/checks.sql
-- what a statement says once these were carried out; all is taken back
CREATE FUNCTION once(before text, statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	said text;
BEGIN
	BEGIN
		EXECUTE before;
		said := try(statement);
		RAISE EXCEPTION USING errcode = 'ZZZZZ';
	EXCEPTION WHEN SQLSTATE 'ZZZZZ' THEN
		RETURN said;
	END;
END
$$;
SET client_min_messages = warning;
\set ECHO all
CREATE ROLE regress_broken_owner;
CREATE ROLE regress_broken_other;
GRANT CREATE, USAGE ON SCHEMA public TO regress_broken_owner, regress_broken_other;
SELECT pipelines.setup(owner => 'regress_broken_owner');
SELECT pipelines.create_pipeline('Sales', stages => '["Lead", "Talks", {"name": "Sold", "outcome": "won"}, {"name": "Lost", "outcome": "lost"}]');
SELECT pipelines.create_fiscal_calendar('Standard', from_year => 2024, to_year => 2024, time_zone => 'UTC');
INSERT INTO pipelines.rate_set (rate_set) VALUES ('spot');
INSERT INTO pipelines.exchange_rate (rate_set, base, currency, rate_on, rate) VALUES ('spot', 'EUR', 'USD', '2024-01-02', 1.25);
SET ROLE regress_broken_owner;
SELECT pipelines.create_deals('deals', currency => 'EUR');
SELECT pipelines.create_deals('parts', partition_by => 'RANGE (created_at)');
CREATE TABLE parts_a PARTITION OF parts FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE parts_b PARTITION OF parts FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
SELECT pipelines.create_deals('others', key => '{tenant, nr}');
RESET ROLE;
SELECT count(*) FROM pipelines.resume('parts');
INSERT INTO deals (name, amount) VALUES ('one', 1), ('two', 2);
INSERT INTO parts (deal_id, name, created_at) VALUES (1, 'one', '2024-05-05');

-- definition tables: a column that is missing, or not of its type
SELECT once('ALTER TABLE pipelines.stage RENAME name TO label', $$INSERT INTO deals (name) VALUES ('x')$$);
SELECT once('ALTER TABLE pipelines.approval ALTER approval_id TYPE bigint', $$INSERT INTO deals (name) VALUES ('x')$$);
SELECT once('ALTER TABLE pipelines.tracked_table RENAME activity TO work', $$INSERT INTO deals (name) VALUES ('x')$$);
SELECT once('DO $d$ DECLARE c name; BEGIN FOR c IN SELECT conname FROM pg_constraint WHERE conrelid = ''pipelines.pipeline''::regclass AND contype = ''c'' LOOP EXECUTE format(''ALTER TABLE pipelines.pipeline DROP CONSTRAINT %I'', c); END LOOP; END $d$; UPDATE pipelines.pipeline SET mode = ''lax''', $$INSERT INTO deals (name) VALUES ('x')$$);
SELECT once('ALTER TABLE pipelines.stage DROP CONSTRAINT stage_pkey CASCADE', $$INSERT INTO pipelines.stage (name) VALUES ('New')$$);
SELECT once('ALTER TABLE pipelines.stage_history RENAME valid_to TO ended', $$INSERT INTO pipelines.stage (name) VALUES ('New')$$);
SELECT once('ALTER TABLE pipelines.stage_history OWNER TO regress_broken_other', $$UPDATE pipelines.stage SET description = 'd'$$);

-- calendars and rates
SELECT once('ALTER TABLE pipelines.holiday OWNER TO regress_broken_other', $$SELECT pipelines.add_business_days('2024-01-02', 1, 'Standard')$$);
SELECT once('ALTER TABLE pipelines.holiday DROP COLUMN day CASCADE', $$SELECT pipelines.add_business_days('2024-01-02', 1, 'Standard')$$);
SELECT once('ALTER TABLE pipelines.exchange_rate OWNER TO regress_broken_other', $$SELECT pipelines.convert(1, 'EUR', 'USD', '2024-01-02', 'spot')$$);
SELECT once('ALTER TABLE pipelines.exchange_rate RENAME rate TO price', $$SELECT pipelines.convert(1, 'EUR', 'USD', '2024-01-02', 'spot')$$);

-- deals and their history
SELECT once('ALTER TABLE others_history DROP COLUMN nr CASCADE', $$INSERT INTO others (tenant, nr, name) VALUES (1, 1, 'x')$$);
SELECT once('DELETE FROM pipelines.tracked_table', $$UPDATE deals SET stage_id = pipelines.stage_id('Sales', 'Talks')$$);
SELECT once('CREATE RULE no AS ON INSERT TO deals_history DO INSTEAD NOTHING', $$UPDATE deals SET amount = 9 WHERE name = 'one'$$);

-- a partition key that a later trigger changes, and a key that is in another partition already
CREATE FUNCTION elsewhere() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN new.created_at := '2025-06-06'; RETURN new; END$$;
SELECT once('CREATE TRIGGER "~~~~~~z" BEFORE UPDATE ON parts_a FOR EACH ROW EXECUTE FUNCTION elsewhere()', $$UPDATE parts SET amount = 5$$);
SELECT try($$INSERT INTO parts (deal_id, name, created_at) VALUES (1, 'again', '2025-05-05')$$);

SELECT once(format('CREATE TRIGGER %I BEFORE UPDATE ON parts_a FOR EACH ROW EXECUTE FUNCTION elsewhere()', pipelines._trigger_name() || 'z'), $$UPDATE parts SET amount = 5$$);

-- the trigger that says which column plays which part, altered
CREATE FUNCTION remap(deals regclass, part text, becomes text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	definition CONSTANT text := (SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = deals AND tgname = 'pipelines_columns');
BEGIN
	EXECUTE format('DROP TRIGGER pipelines_columns ON %s', deals);
	EXECUTE replace(definition, '''' || part || '=', '''' || becomes);
END
$$;
SELECT becomes, once(format('SELECT remap(''others'', %L, %L)', part, becomes), $$INSERT INTO others (tenant, nr, name) VALUES (1, 1, 'x')$$)
FROM (VALUES ('key1', 'clef1='), ('key1', 'key3='), ('key2', 'key99='), ('key1', 'key2147483648='), ('key1', 'key99999999999='), ('key2', 'key1='), ('key2', 'clef2='), ('version', 'version'), ('version', 'edition='), ('stage_id', 'phase=')) v(part, becomes);
SELECT once($$SELECT remap('others', 'key2', 'key99='); DROP TRIGGER pipelines_columns ON others; SELECT pipelines.resume('others')$$, $$INSERT INTO others (tenant, nr, name) VALUES (1, 1, 'x')$$);
SELECT once($$SELECT remap('deals', 'key1', 'clef1=')$$, $$DELETE FROM pipelines.pipeline_stage WHERE stage_id = pipelines.stage_id('Sales', 'Talks')$$);
SELECT once($$SELECT remap('others', 'changed_at', 'changed=')$$, $$SELECT count(*) FROM pipelines.as_of(NULL::others, now())$$),
	once($$SELECT remap('others', 'version', 'edition=')$$, $$SELECT count(*) FROM pipelines.as_of(NULL::others, now(), now())$$);
-- a key that may be null
SELECT once('ALTER TABLE others DROP CONSTRAINT others_pkey CASCADE; ALTER TABLE others ALTER tenant DROP NOT NULL', $$INSERT INTO others (name) VALUES ('x')$$),
	once($$SELECT remap('deals', 'key1', 'clef1='); SELECT remap('deals', 'quantity', 'key1=')$$, 'UPDATE deals SET amount = 4'),
	once($$SELECT remap('deals', 'key1', 'clef1='); SELECT remap('deals', 'quantity', 'key1=')$$, $$SELECT count(*) FROM pipelines.bridge('deals', now() - interval '1 day', now())$$);
-- more columns than a key can have
CREATE FUNCTION widen(deals regclass) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	definition text := (SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = deals AND tgname = 'pipelines_columns');
BEGIN
	FOR n IN 3..40 LOOP
		EXECUTE format('ALTER TABLE %s ADD COLUMN x%s integer; ALTER TABLE %1$s_history ADD COLUMN x%2$s integer', deals, n);
		definition := replace(replace(definition, 'UPDATE OF ', format('UPDATE OF x%s, ', n)), '_columns(', format('_columns(''key%s=x%s'', ', n, n));
	END LOOP;
	EXECUTE format('DROP TRIGGER pipelines_columns ON %s', deals);
	EXECUTE definition;
END
$$;
SELECT statement, once('SELECT widen(''others'')', statement) FROM unnest(ARRAY[
	$$INSERT INTO others (tenant, nr, name) VALUES (1, 1, 'x')$$, $$SELECT pipelines.move('others', '(1,1)', 'Talks')$$, $$SELECT pipelines.purge('others', '(1,1)')$$,
	$$SELECT count(*) FROM pipelines.as_of(NULL::others, now())$$, $$SELECT count(*) FROM pipelines.bridge('others', now() - interval '1 day', now())$$]) statement;

-- our trigger functions on a table of somebody's, or called in another way
CREATE TABLE mine (a integer, version integer, changed_at timestamptz);
SELECT once('CREATE TRIGGER t AFTER INSERT ON mine FOR EACH STATEMENT EXECUTE FUNCTION pipelines._definition_before()', 'INSERT INTO mine VALUES (1)');
SELECT once('CREATE TRIGGER t BEFORE INSERT ON mine FOR EACH ROW EXECUTE FUNCTION pipelines._definition_truncate()', 'INSERT INTO mine VALUES (1)');
SELECT once('CREATE TRIGGER t BEFORE INSERT ON mine FOR EACH STATEMENT EXECUTE FUNCTION pipelines._calendar_before()', 'INSERT INTO mine VALUES (1)');
SELECT once('CREATE TRIGGER t BEFORE INSERT ON mine FOR EACH ROW EXECUTE FUNCTION pipelines._period_before()', 'INSERT INTO mine VALUES (1)');
SELECT try($$SELECT pipelines._adopt_fill('parts', 0, 1)$$);
SELECT try($$SELECT pipelines._adopt_fill('deals', 0, 1)$$);

-- tables of activities
CREATE TABLE calls (deal_id bigint, kind text, done_at timestamptz);
INSERT INTO pipelines.stage_activity (pipeline_id, stage_id, kind) VALUES (pipelines.pipeline_id('Sales'), pipelines.stage_id('Sales', 'Lead'), 'call');
GRANT SELECT ON calls TO regress_broken_owner;
SELECT pipelines.use_activities('deals', 'calls', '{"key1": "deal_id"}');
SELECT once($$UPDATE pipelines.tracked_table SET activity_columns = '{"key1": "deal_id"}' WHERE relation = 'deals'::regclass$$,
	$$UPDATE deals SET stage_id = pipelines.stage_id('Sales', 'Talks') WHERE name = 'one'$$);
SELECT once($$UPDATE pipelines.tracked_table SET activity_columns = '{"key1": 5, "kind": "kind", "done_at": "done_at"}' WHERE relation = 'deals'::regclass$$,
	$$UPDATE deals SET stage_id = pipelines.stage_id('Sales', 'Talks') WHERE name = 'one'$$);
DELETE FROM pipelines.stage_activity;
SELECT try($$SELECT pipelines._register_activity('deals', 4294967295::oid::regclass, '{}')$$);
CREATE SEQUENCE numbers;
SELECT try($$SELECT pipelines._register_activity('deals', 'numbers', '{}')$$);

-- the ends of time
SELECT once('SET LOCAL pipelines.event_time = ''-infinity''', $$UPDATE deals SET amount = 3 WHERE name = 'one'$$);
SELECT pipelines.create_fiscal_calendar('Hours', from_year => 2024, to_year => 2024, time_zone => 'UTC');
INSERT INTO pipelines.business_hours (calendar_id, weekday, opens, closes) SELECT pipelines.calendar_id('Hours'), d, '09:00', '17:00' FROM generate_series(1, 5) d;
SELECT try($$SELECT pipelines.add_business_time('294276-12-31 16:00+00', '20 hours', 'Hours')$$);
SELECT try($$SELECT pipelines.add_business_days('5874897-12-31', 5, 'Hours')$$);
SELECT try($$SELECT pipelines._durations('4713-01-01 00:00:00+00 BC', '294276-12-31 00:00+00', false)$$);
SELECT try($$SELECT pipelines._durations('-infinity', 'infinity', false)$$);
SELECT try($$SELECT pipelines._stay_counts('-infinity', 'infinity', now(), 'move', false, NULL)$$);
SELECT try($$SELECT pipelines._durations('0001-01-01', '290000-01-01', false) FROM generate_series(1, 40)$$);

-- sums beyond their limits
SELECT try($$SELECT pipelines.rollup('1|9007199254740992 1 0 0 0 0 0 0|1 50 - -|0.25 0 -0.125|1:0.5|0|'::pipelines.forecast) FROM generate_series(1, 2)$$);

-- keys of reports and models of scores that are none
SELECT try($$SELECT pipelines._unpack('\x0102')$$);
SELECT try($$SELECT pipelines._pack(1.5)$$);
SELECT try('SELECT pipelines._pack(' || string_agg('1', ', ') || ')') FROM generate_series(1, 99);
SELECT try($$SELECT pipelines._score_detail('{}', 1, 1, now(), now(), 1, '{}')$$);
SELECT try($$SELECT pipelines._score_counts('{}', now(), now(), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '{}')$$);
SELECT try($$SELECT pipelines._score_counts('{"ages": ["x"]}', now(), now(), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '{}')$$);
SELECT try($$SELECT pipelines._score_counts('{"ages": [1], "features": [1]}', now(), now(), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '{}')$$);
SELECT try($$SELECT pipelines._score_counts('[]', now(), now(), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '{}')$$);
SELECT try($$SELECT pipelines._score_counts('1', now(), now(), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '{}')$$);
SELECT try($$SELECT pipelines._score_counts('{"ages": [1], "features": [], "stages": [1]}', now(), now(), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '{}')$$);
SELECT try($$SELECT pipelines._score_counts('{"ages": [1], "features": [], "stages": [[1, 1, 99, 50]]}', now(), now(), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '{}')$$);
SELECT try($$SELECT pipelines._score_detail('{"ages": [1], "features": [], "stages": [[1, 1, 0, 50]], "counts": ["x"]}', 1, 1, now(), now(), 1, '{}')$$);
SELECT try($$SELECT pipelines._score_counts((SELECT jsonb_build_object('ages', '[1]'::jsonb, 'features', '[]'::jsonb, 'stages', jsonb_agg(jsonb_build_array(1, n, 0, 1))) FROM generate_series(1, 65536) n), now(), now(), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '{}')$$);
SELECT try($$SELECT pipelines._score_bins('{"ages": [1], "features": [], "stages": [[1, 1, 0, 50]], "counts": [], "every": 0}', now(), now(), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '{}')$$);
SELECT try($$SELECT pipelines._funnel('{1,1,40000,0}', 'any', 'created_in', 1::bigint, 1, 1, 1, true, 'open', true, NULL)$$);
SELECT try($$SELECT pipelines._funnel('{1,1,0,0}', 'any', NULL, 1::bigint, 1, 1, 1, true, 'open', true, NULL)$$);
SELECT try($$SELECT pipelines._funnel('{1,1,0,0}', NULL, 'created_in', 1::bigint, 1, 1, 1, true, 'open', true, NULL)$$);
SELECT try($$SELECT pipelines._funnel(NULL, 'any', 'created_in', '1'::text, 1, 1, 1, true, 'open', true, NULL)$$);

-- the condition that says which rows are deals names a column that is there no more:
-- whatever reads it says that, and what doesn't goes on
CREATE TABLE orders (id integer PRIMARY KEY, state text, value numeric, close date, rep text, gone boolean);
INSERT INTO orders VALUES (1, 'Lead', 1, '2026-01-01', 'ann', NULL), (2, 'Lead', 2, '2026-01-01', 'bob', true);
SELECT count(*) > 0 AS adopted FROM pipelines.adopt('orders', stage => 'state', amount => 'value', close_date => 'close', owner => 'rep',
	live => 'gone IS NULL', pipeline => 'Sales', apply => true);
UPDATE orders SET state = 'Talks';
SELECT count(*) FROM orders_current;
ALTER TABLE orders DROP COLUMN gone CASCADE;
SELECT r AS report, try(format('SELECT * FROM pipelines.%s', r)) FROM unnest(ARRAY['stalled(''orders'')', 'stalling(''orders'', now() + interval ''1 year'')', 'funnel(''orders'')',
	'transitions(''orders'')', 'win_rate(''orders'')', 'cycle(''orders'')', 'velocity(''orders'')', 'flow(''orders'')', 'load(''orders'')', 'review(''orders'')', 'trend(''orders'')',
	'journey(''orders'', ''1'')', 'board(''orders'')', 'changes(''orders'', (SELECT tracked_since FROM pipelines.tracked_table WHERE relation = ''orders''::regclass), now())', 'bridge(''orders'', (SELECT tracked_since FROM pipelines.tracked_table WHERE relation = ''orders''::regclass), now())',
	'forecast_report(''orders'')', 'forecast_deals(''orders'')', 'quota_report(''orders'')', 'train_scores(''orders'')', 'scores(''orders'')',
	'calibration(''orders'', (SELECT tracked_since FROM pipelines.tracked_table WHERE relation = ''orders''::regclass))', 'forecast_accuracy(''orders'')', 'time_in_stage(''orders'')', 'stage_times(''orders'', ''1'')', 'candidates(''orders'')',
	'next_steps(''orders'', ''1'')', 'totals(''orders'')', 'as_of(NULL::orders, now())', 'move_plan(''orders'', ''{1}'', ''Sold'')', 'rebuild_views(''orders'')',
	'bridge(''orders'', (SELECT tracked_since FROM pipelines.tracked_table WHERE relation = ''orders''::regclass), now(), filter => ''value > 1'')']) r;
-- a filter of the caller's is told as his
SELECT try($$SELECT * FROM pipelines.bridge('deals', now() - interval '1 day', now(), filter => 'gone IS NULL')$$);
UPDATE orders SET state = 'Sold' WHERE id = 1;
SELECT deal, problem, expected, found FROM pipelines.verify('orders');
SELECT item, action FROM pipelines.resume('orders');
UPDATE pipelines.tracked_table SET live = 'rep <> ''bob''' WHERE relation = 'orders'::regclass;
SELECT count(*) > 0 AS views FROM pipelines.resume('orders');
SELECT id, stage_name FROM orders_current;
SELECT * FROM problems('orders');
DROP TABLE orders, orders_history CASCADE;

-- nothing of all that remained
SELECT * FROM problems();
SELECT * FROM problems('parts');
\set ECHO none
\c :home
DROP DATABASE regress_pipelines_broken_tables;
DROP ROLE regress_broken_owner;
DROP ROLE regress_broken_other;
