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
CREATE FUNCTION doubled(make text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	times integer := 0;
BEGIN
	EXECUTE format('CREATE TEMP TABLE state AS SELECT %s AS s FROM generate_series(1, 3) g', make);
	LOOP
		UPDATE state SET s = s OPERATOR(pipelines.+) s;
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

--
-- Tables that their owner broke
--
CREATE FUNCTION drop_views(deals regclass) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	n bigint := 0; v regclass;
BEGIN
	FOR v IN SELECT pipelines._find_view(deals, k.kind) FROM pipelines._view_kinds() k LOOP
		IF v IS NOT NULL THEN
			EXECUTE format('DROP VIEW %s', v);
			n := n + 1;
		END IF;
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

--
-- Rights that are enough for one half only
--
CREATE ROLE regress_rare_clerk;
GRANT USAGE ON SCHEMA pipelines TO regress_rare_clerk;
GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA pipelines TO regress_rare_clerk;
GRANT UPDATE ON pipelines.pipeline_stage TO regress_rare_clerk;
SELECT pipelines.create_pipeline('Secret', stages => '[{"name": "Target", "probability": 20}, {"name": "Signed", "outcome": "won"}]') > 0 AS made;
SELECT pipelines.protect_pipeline('Secret');
INSERT INTO pipelines.pipeline_role (pipeline_id, role, can_see, can_move, can_define) VALUES (pipelines.pipeline_id('Secret'), 'regress_rare_clerk', true, true, false);
SET ROLE regress_rare_clerk;
SELECT try($$SELECT pipelines.clone_pipeline('Secret', 'Copy')$$);
SELECT try($$SELECT pipelines.change_outcome('Secret', 'Target', 'on_hold')$$);
RESET ROLE;
SELECT p.name, s.outcome FROM pipelines.pipeline p JOIN pipelines.pipeline_stage s USING (pipeline_id) WHERE p.name <> 'Sales' ORDER BY 1, s.position;

--
-- What is not there
--
SELECT try($$SELECT pipelines._register_activity('deals', 4294967294::oid::regclass, '{}')$$);
SELECT try($$SELECT pipelines._register_activity('deals_history', 'deals_activity', '{}')$$);
SELECT try($$SELECT pipelines.follow_application(4294967294::oid::regclass)$$);
SELECT try('SELECT * FROM pipelines.bridge(4294967294::oid::regclass, now(), now())');

\c :home
SET client_min_messages = warning;
DROP DATABASE regress_pipelines_rare_errors;
DROP ROLE regress_rare_clerk;
