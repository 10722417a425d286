-- rare_errors.sql: errors that only broken tables, extreme values and rare rights
-- bring about: each names what is wrong, and nothing is half-written.  In a
-- database of its own.
\set ECHO none
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_pipelines_rare_errors;
CREATE DATABASE regress_pipelines_rare_errors TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\set home :DBNAME
\c regress_pipelines_rare_errors
\i test/data/checks.sql
\set ECHO all
\set SHOW_CONTEXT never

-- before there is anything
SELECT pipelines.setup() IS NOT NULL AS made;
SELECT try($$SELECT pipelines.pipeline_id('Sales')$$);
SELECT pipelines.create_pipeline('Sales', time_zone => 'Asia/Tokyo', stages => '[
	{"name": "Lead", "probability": 10}, {"name": "Offer", "probability": 50}, {"name": "Won", "outcome": "won"}, {"name": "Lost", "outcome": "lost"}]');

--
-- Instants and days at the end of time
--
SELECT pipelines.create_deals('deals', currency => 'EUR');
INSERT INTO deals (name, pipeline_id, stage_id) VALUES ('one', 1, 1), ('two', 1, 2);
SELECT try($$UPDATE deals SET stage_id = 3, closed_at = '294276-12-31 23:30+00' WHERE name = 'one'$$);
SELECT try($$INSERT INTO deals (name, pipeline_id, stage_id, closed_at) VALUES ('x', 1, 3, '294276-12-31 23:30+00')$$);
SELECT name, stage_id, closed_at, version FROM deals ORDER BY 1;

--
-- Sums that count more rows than there can be: doubled 62 times
--
CREATE FUNCTION doubled(make text, twice text DEFAULT 's OPERATOR(pipelines.+) s') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	times integer := 0;
BEGIN
	EXECUTE format('CREATE TEMP TABLE state AS SELECT %s AS s FROM generate_series(1, 3) g', make);
	LOOP
		EXECUTE 'UPDATE state SET s = ' || twice;
		times := times + 1;
		EXIT WHEN times = 70;
	END LOOP;
	DROP TABLE state;
	RETURN 'never refused';
EXCEPTION WHEN OTHERS THEN
	RETURN format('%s: %s, after more than 50 times: %s', SQLSTATE, SQLERRM, times > 50);
END
$$;
SELECT doubled('pipelines.forecast(g, 50.0, ''open'')');
SELECT doubled('pipelines.converted_sum(g, ''EUR'', ''EUR'', ''2026-01-01'', ''spot'')');
SELECT doubled('pipelines._weighted_add(NULL, 1, 50)', 'pipelines._weighted_combine(s, s)');

-- values that no function of ours made: who may do anything casts what he likes
CREATE CAST (path AS pipelines.forecast) WITHOUT FUNCTION;
CREATE CAST (path AS pipelines.weighted_sum) WITHOUT FUNCTION;
SELECT p, try(format('SELECT pipelines.weighted(CAST(%L::path AS pipelines.forecast))', path)), try(format('SELECT pipelines._weighted_combine(CAST(%1$L::path AS pipelines.weighted_sum), CAST(%1$L::path AS pipelines.weighted_sum))', path))
FROM (SELECT p, ('(' || repeat('(1,2),', p) || '(1,2))')::path FROM unnest('{1,99,999}'::integer[]) p) u;
DROP CAST (path AS pipelines.forecast);
DROP CAST (path AS pipelines.weighted_sum);

--
-- Tables that their owner broke
--
CREATE FUNCTION drop_views(deals regclass) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	n bigint := 0; v regclass;
BEGIN
	FOR v IN SELECT f.view FROM pipelines._find_views(deals) f WHERE f.view IS NOT NULL LOOP
		EXECUTE format('DROP VIEW %s', v);
		n := n + 1;
	END LOOP;
	EXECUTE format('DROP FUNCTION %s', pipelines._find_as_of(deals));
	RETURN n;
END
$$;
SELECT pipelines.create_deals('typed', currency => 'EUR'), pipelines.create_deals('lost', currency => 'EUR'), pipelines.create_deals('past', currency => 'EUR'),
	pipelines.create_deals('half', currency => 'EUR');
SELECT drop_views(t) > 20 AS dropped FROM unnest('{typed,lost,past,half}'::regclass[]) t;
-- a column of another type: the trigger has to go for that
INSERT INTO typed (name, pipeline_id) VALUES ('one', 1);
DROP TRIGGER pipelines_columns ON typed;
ALTER TABLE typed ALTER COLUMN episode TYPE bigint;
SELECT try($$UPDATE typed SET amount = 1$$);
ALTER TABLE typed ALTER COLUMN episode TYPE integer;
SELECT try($$UPDATE typed SET amount = 1$$);
-- and was made again; or of a column that says what it likes
SELECT replace(pg_get_triggerdef(t.oid), 'public.half', 'typed') AS mapping FROM pg_trigger t WHERE t.tgrelid = 'half'::regclass AND t.tgname = 'pipelines_columns' \gset
ALTER TABLE typed ALTER COLUMN episode TYPE bigint;
:mapping;
SELECT try($$UPDATE typed SET amount = 1$$);
DROP TRIGGER pipelines_columns ON typed;
ALTER TABLE typed DROP COLUMN episode, ADD COLUMN episode integer GENERATED ALWAYS AS (1) STORED;
:mapping;
SELECT try($$UPDATE typed SET amount = 1$$);
-- a column that is no more, of the deals, of the history
INSERT INTO lost (name, pipeline_id) VALUES ('one', 1);
ALTER TABLE lost DROP COLUMN changed_at CASCADE;
SELECT try($$UPDATE lost SET amount = 1$$);
SELECT try($$SELECT count(*) FROM pipelines.as_of(NULL::lost, now())$$);
SELECT try($$SELECT * FROM pipelines.bridge('lost', now() - interval '1 day', now())$$);
INSERT INTO past (name, pipeline_id) VALUES ('one', 1);
ALTER TABLE past_history DROP COLUMN valid_to CASCADE;
SELECT try($$UPDATE past SET amount = 1$$);
SELECT try($$SELECT count(*) FROM pipelines.as_of(NULL::past, now() - interval '1 day')$$);
SELECT try($$SELECT count(*) FROM pipelines.funnel('past')$$);
ALTER TABLE half_history DROP COLUMN episode CASCADE;
SELECT try($$INSERT INTO half (name, pipeline_id) VALUES ('one', 1)$$);
SELECT try($$SELECT count(*) FROM pipelines.time_in_stage('half')$$);
-- a table that is broken keeps pipelines from being protected, and is named
SELECT try($$SELECT pipelines.protect_pipeline('Sales')$$);
SELECT p.name FROM pipelines.pipeline p WHERE p.protected;
DROP TABLE typed, typed_history, lost, lost_history, past, past_history, half, half_history CASCADE;
-- a column of the history that its owner renames: refused at the first change, and
-- mended by resume(), if it is one of the deals'
SELECT pipelines.create_deals('renames', currency => 'EUR');
INSERT INTO renames (name, pipeline_id, stage_id, owner, amount) VALUES ('renamed', 1, 1, 'ann', 1);
UPDATE renames SET amount = 2 WHERE name = 'renamed';
CREATE FUNCTION rename_history(col name, OUT change text, OUT resumed text, OUT again text, OUT kept bigint) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('ALTER TABLE renames_history RENAME COLUMN %I TO elsewhere', col);
	change := try('UPDATE renames SET amount = amount + 1, owner = ''bob'' WHERE name = ''renamed''');
	-- after an error of its own nothing is mended
	resumed := try('CREATE TEMP TABLE said ON COMMIT DROP AS SELECT * FROM pipelines.resume(''renames'')');
	IF resumed ~ '^rows' THEN
		SELECT string_agg(r.item || ': ' || r.action, ', ') INTO resumed FROM pg_temp.said r;
		again := try('UPDATE renames SET amount = amount + 1, owner = ''bob'' WHERE name = ''renamed''');
	END IF;
	SELECT count(*) INTO kept FROM renames_history h WHERE to_jsonb(h) ->> 'owner' = 'ann';
	RAISE EXCEPTION USING ERRCODE = 'P9999', MESSAGE = concat_ws(' || ', change, resumed, again, kept);
END $$;
CREATE FUNCTION renamed(col name) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM rename_history(col); EXCEPTION WHEN SQLSTATE 'P9999' THEN RETURN sqlerrm; END $$;
SELECT a.attname, renamed(a.attname) FROM pg_attribute a WHERE a.attrelid = 'renames_history'::regclass AND a.attnum > 0
	AND a.attname IN ('deal_id', 'owner', 'stage_id', 'episode', 'version', 'valid_to', 'change', 'skipped_stages', 'reason', 'to_stage_id', 'actor', 'txid') ORDER BY a.attnum;
SELECT count(*) FROM pipelines.verify('renames');
SELECT drop_views('renames') > 20 AS dropped;
DROP TABLE renames, renames_history CASCADE;
-- names with what format() looks for
UPDATE pipelines.pipeline_stage SET stall_limit = '100 days' WHERE outcome = 'open';
ALTER TABLE deals RENAME COLUMN owner TO "100%s";
SELECT try($$SELECT * FROM pipelines.stalling('deals', now() + interval '1 year')$$), try($$SELECT * FROM pipelines.stalled('deals', respect_next_action => true)$$),
	try($$SELECT * FROM pipelines.flow('deals', by => '100%s')$$);
-- types that can't be compared
ALTER TABLE deals ADD COLUMN notes json;
SELECT try($$SELECT pipelines.track('deals', 'notes')$$);
SELECT try($$UPDATE deals SET notes = '{}' WHERE name = 'two'$$);
SELECT count(*) FROM pipelines.as_of(NULL::deals, now());
-- no function to convert with
ALTER FUNCTION pipelines.convert(numeric, text, text, date, text, timestamptz) RENAME TO convert_no_more;
SELECT try($$SELECT * FROM pipelines.bridge('deals', now() - interval '1 day', now(), currency => 'EUR')$$);
ALTER FUNCTION pipelines.convert_no_more(numeric, text, text, date, text, timestamptz) RENAME TO convert;

--
-- Rules that would run somebody's code, in ways that nobody spells out
--
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE COLLATION public.mine FROM "C";
CREATE DOMAIN word AS text CHECK (VALUE <> 'x');
ALTER TABLE deals ADD COLUMN mood mood, ADD COLUMN words word[];
SELECT e, try(format('UPDATE pipelines.pipeline_stage SET entry_rule = %L WHERE stage_id = 2', e))
FROM unnest(ARRAY['name COLLATE public.mine > ''a''', 'greatest(mood, mood) IS NOT NULL', 'words IS DISTINCT FROM ''{x}''']) e;
-- a month has no certain number of business days
SELECT try($$UPDATE pipelines.pipeline_stage SET stall_limit = '1 month', stall_time = 'business' WHERE stage_id = 2$$);

--
-- Columns of an application that can't say what they should, or say too much
--
CREATE TYPE state AS ENUM ('Lead', 'Offer');
CREATE DOMAIN state_name AS text CHECK (VALUE IN ('Lead', 'Offer'));
CREATE TABLE in_enum (id integer PRIMARY KEY, state state);
CREATE TABLE in_domain (id integer PRIMARY KEY, state state_name);
CREATE TABLE in_tree (path integer[] PRIMARY KEY, state text);
CREATE TABLE in_time (id integer PRIMARY KEY, state text, close date);
INSERT INTO in_enum VALUES (1, 'Lead'), (2, 'Offer');
INSERT INTO in_domain VALUES (1, 'Lead'), (2, 'Offer');
INSERT INTO in_tree VALUES ('{1}', 'Lead'), ('{1,2}', 'Lead');
-- days for which there is no timestamp are as good as no day at all
INSERT INTO in_time VALUES (1, 'Lead', NULL), (2, 'Won', '2020-02-02'), (3, 'Won', '5874897-12-31'), (4, 'Won', 'infinity'), (5, 'Won', '4714-11-24 BC');
SELECT a.item, a.action FROM unnest('{in_enum,in_domain,in_tree}'::regclass[]) t, pipelines.adopt(t, stage => 'state', pipeline => 'Sales', apply => true) a WHERE a.item = 'rows';
SELECT a.item, a.action FROM pipelines.adopt('in_time', stage => 'state', close_date => 'close', pipeline => 'Sales', apply => true) a WHERE a.item = 'rows';
SELECT try('UPDATE in_enum SET stage_id = 4 WHERE id = 1'), try('UPDATE in_domain SET stage_id = 4 WHERE id = 1');
SELECT try($$SELECT pipelines.move('in_tree', '{1}', 'Offer')$$), try($$SELECT pipelines.move_many('in_tree', '{"{1}","{1,2}"}', 'Offer')$$);
SELECT try($$UPDATE in_time SET state = 'Won', close = '5874897-12-31' WHERE id = 1$$), try($$UPDATE in_time SET close = '5874897-12-31' WHERE id = 2$$);
SELECT t.id, t.close, CASE WHEN t.closed_at < t.changed_at THEN t.closed_at END AS closed_at FROM in_time t ORDER BY 1;
-- the name of a stage is what the application calls another one
SELECT pipelines.add_stage_value('in_time', 'Legal', 'Offer');
WITH s AS (INSERT INTO pipelines.stage (name) VALUES ('Legal') RETURNING stage_id)
INSERT INTO pipelines.pipeline_stage (pipeline_id, stage_id, position, outcome, probability) SELECT 1, s.stage_id, 25, 'open', 70 FROM s;
SELECT try($$UPDATE in_time SET stage_id = pipelines.stage_id('Sales', 'Legal') WHERE id = 1$$);

--
-- Several deals that skip stages are told of at once (R-2.8)
--
UPDATE pipelines.pipeline SET mode = 'warn' WHERE name = 'Sales';
INSERT INTO deals (name, pipeline_id, stage_id) VALUES ('three', 1, 1), ('four', 1, 1);
UPDATE deals SET stage_id = 3 WHERE name IN ('three', 'four');

--
-- Rights that are enough for one half only
--
CREATE ROLE regress_rare_clerk;
GRANT USAGE ON SCHEMA pipelines TO regress_rare_clerk;
GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA pipelines TO regress_rare_clerk;
GRANT UPDATE ON pipelines.pipeline_stage TO regress_rare_clerk;
SELECT pipelines.create_pipeline('Secret', stages => '[{"name": "Target", "probability": 20}, {"name": "Second", "probability": 30}, {"name": "Signed", "outcome": "won"}]') > 0 AS made;
SELECT pipelines.protect_pipeline('Secret');
INSERT INTO pipelines.pipeline_role (pipeline_id, role, can_see, can_move, can_define) VALUES (pipelines.pipeline_id('Secret'), 'regress_rare_clerk', true, true, false);
SET ROLE regress_rare_clerk;
SELECT try($$SELECT pipelines.clone_pipeline('Secret', 'Copy')$$);
SELECT try($$SELECT pipelines.change_outcome('Secret', 'Target', 'on_hold')$$);
SELECT try($$SELECT pipelines._redefine_outcome(s.pipeline_id, s.stage_id, 'on_hold', 50, NULL) FROM pipelines.pipeline_stage s JOIN pipelines.stage t USING (stage_id) WHERE t.name = 'Target'$$);
RESET ROLE;
SELECT p.name, s.outcome FROM pipelines.pipeline p JOIN pipelines.pipeline_stage s USING (pipeline_id) WHERE p.name <> 'Sales' ORDER BY 1, s.position;
-- with the privilege for all pipelines, but not for this one
GRANT UPDATE ON pipelines.pipeline TO regress_rare_clerk;
SET ROLE regress_rare_clerk;
SELECT try($$SELECT * FROM pipelines.merge_stages('Secret', 'Target', 'Second')$$), try($$SELECT * FROM pipelines.archive_pipeline('Secret')$$);
SELECT try($$SELECT pipelines.clone_pipeline('Secret', 'Copy')$$);
RESET ROLE;
SELECT p.name, p.protected, p.archived_at IS NOT NULL AS archived, r.role, r.can_see, r.can_move, r.can_define FROM pipelines.pipeline p LEFT JOIN pipelines.pipeline_role r USING (pipeline_id) ORDER BY 1, 4;

--
-- What is not there
--
SELECT try($$SELECT pipelines._register_activity('deals', 4294967294::oid::regclass, '{}')$$);
SELECT try($$SELECT pipelines._register_adoption(4294967294::oid::regclass, NULL, NULL)$$);
SELECT try($$SELECT pipelines._register(4294967294::oid::regclass, 'deals_history', 1, '{deal_id}', '{}', NULL, false, 'refuse', now(), true)$$);
SELECT try($$SELECT pipelines._register('deals', 4294967294::oid::regclass, 1, '{deal_id}', '{}', NULL, false, 'refuse', now(), true)$$);
-- a schema that was given away
BEGIN;
ALTER SCHEMA pipelines OWNER TO regress_rare_clerk;
SELECT try('SELECT pipelines.setup()');
ROLLBACK;
-- what came with a version of the extension
ALTER FUNCTION pipelines.business_time(timestamptz, timestamptz, text) RENAME TO no_business_time;
SELECT try($$SELECT * FROM pipelines.stage_times('deals', business => true)$$);
ALTER FUNCTION pipelines.no_business_time(timestamptz, timestamptz, text) RENAME TO business_time;
-- a definition table that lost a column to its owner
SELECT pipelines.create_fiscal_calendar('Fiscal', from_year => 2024, to_year => 2025) > 0 AS made;
BEGIN;
ALTER TABLE pipelines.fiscal_period DROP COLUMN locked_at CASCADE;
SELECT try($$UPDATE pipelines.fiscal_period SET label = label || 'x'$$), try($$INSERT INTO pipelines.fiscal_period DEFAULT VALUES$$);
ROLLBACK;
-- the table of deals says of itself what no condition is
UPDATE pipelines.tracked_table SET live = 'name' WHERE relation = 'deals'::regclass;
SELECT try($$SELECT * FROM pipelines.board('deals')$$), try($$SELECT * FROM pipelines.flow('deals')$$);
UPDATE pipelines.tracked_table SET live = NULL WHERE relation = 'deals'::regclass;
SELECT try($$SELECT pipelines._register_activity('deals_history', 'deals_activity', '{}')$$);
SELECT try($$SELECT pipelines.follow_application(4294967294::oid::regclass)$$);
SELECT try('SELECT * FROM pipelines.bridge(4294967294::oid::regclass, now(), now())');

--
-- Look-ups that are none
--
SELECT try($$SELECT pipelines._lookup('SELECT $1', 1)$$);
SELECT try($$SELECT pipelines._lookup('SELECT $1, $1', 'a'::text)$$);
SELECT try($$SELECT pipelines._lookup('SELECT $1', VARIADIC ARRAY['a'::text])$$);
SELECT pipelines._lookup(NULL, 1) IS NULL AS nothing, pipelines._lookup('SELECT $1 WHERE false', 'a'::text) IS NULL AS none,
	pipelines._lookup('SELECT $1 || $2', 'a'::text, 'b'::text) AS both;
SELECT pipelines._lookup(q, 'x'::text) FROM unnest('{SELECT $1 || 1,SELECT $1 || 2,SELECT $1 || 1}'::text[]) q;

\c :home
SET client_min_messages = warning;
DROP DATABASE regress_pipelines_rare_errors;
DROP ROLE regress_rare_clerk;
