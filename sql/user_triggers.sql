-- user_triggers.sql: triggers of the user's own beside ours (CORE 9, 10, tests 5 and 9): right history or a named error, never silence
-- In a database of its own, so that every id is the same in every run.
\set ECHO none
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_pipelines_user_triggers;
CREATE DATABASE regress_pipelines_user_triggers TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\set home :DBNAME
\c regress_pipelines_user_triggers
SET lc_messages = 'C';
SET client_encoding = 'UTF8';
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
SET intervalstyle = 'postgres';
SET extra_float_digits = 1;
CREATE EXTENSION pipelines;
\pset format unaligned
\pset footer off
\pset null (null)

-- what an error says, with everything that a driver can see
CREATE FUNCTION said(state text, message text, detail text, hint text, schema_name text, table_name text, column_name text)
RETURNS text LANGUAGE sql AS $$
	SELECT regexp_replace(concat_ws(' | ', state || ': ' || message, regexp_replace(nullif(detail, ''), 'Failing row contains.*', 'Failing row ...'), nullif(hint, ''),
		nullif(concat_ws('.', nullif(schema_name, ''), nullif(table_name, ''), nullif(column_name, '')), '')),
		'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+\+00', '<instant>', 'g')
$$;
-- run a statement; say how many rows it touched, or its error
CREATE FUNCTION try(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	n bigint;
	s text; m text; d text; h text; sn text; tn text; cn text;
BEGIN
	EXECUTE statement;
	GET DIAGNOSTICS n = ROW_COUNT;
	RETURN 'rows: ' || n;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS s = RETURNED_SQLSTATE, m = MESSAGE_TEXT, d = PG_EXCEPTION_DETAIL,
		h = PG_EXCEPTION_HINT, sn = SCHEMA_NAME, tn = TABLE_NAME, cn = COLUMN_NAME;
	RETURN said(s, m, d, h, sn, tn, cn);
END
$$;
-- the life of a deal, one line per version; without times where they are the clock's
CREATE FUNCTION life(which text, times boolean DEFAULT false, relation text DEFAULT 'deals')
RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY EXECUTE format($q$
		WITH t AS (SELECT * FROM pipelines.tracked_table WHERE relation = %1$s),
		v AS (
			SELECT to_jsonb(h) AS r, (to_jsonb(h) ->> 'valid_from')::timestamptz AS at FROM %2$s h
			UNION ALL
			SELECT to_jsonb(d), d.changed_at FROM %3$s d
		),
		k AS (
			SELECT v.r, v.at, CASE WHEN cardinality(t.key) = 1 THEN v.r ->> t.key[1]
				ELSE (SELECT '(' || string_agg(v.r ->> c, ',' ORDER BY n) || ')' FROM unnest(t.key) WITH ORDINALITY u(c, n)) END AS deal
			FROM v, t
		)
		SELECT concat_ws(' ', 'v' || (r ->> 'version'), CASE WHEN $2 THEN to_char(at, 'YYYY-MM-DD HH24:MI:SS') END,
			p.name || '/' || s.name, 'e' || (r ->> 'episode'),
			CASE WHEN $2 THEN 'in stage since ' || to_char((r ->> 'stage_entered_at')::timestamptz, 'YYYY-MM-DD HH24:MI:SS') END,
			CASE WHEN f.stage_id <> s.stage_id THEN 'furthest ' || f.name END,
			'amount ' || (r ->> 'amount'), 'override ' || (r ->> 'probability'), 'category ' || (r ->> 'forecast_category'),
			'expected ' || (r ->> 'expected_close_on'), 'owner ' || (r ->> 'owner'),
			CASE WHEN $2 THEN 'closed at ' || to_char((r ->> 'closed_at')::timestamptz, 'YYYY-MM-DD HH24:MI:SS')
				WHEN r ->> 'closed_at' IS NOT NULL THEN 'closed' END,
			CASE WHEN $2 THEN 'on ' || (r ->> 'closed_on') END, 'because ' || (r ->> 'close_reason'),
			'-> ' || (r ->> 'change'),
			CASE WHEN r ->> 'to_stage_id' <> r ->> 'stage_id' OR r ->> 'to_pipeline_id' <> r ->> 'pipeline_id' THEN 'to ' || p2.name || '/' || s2.name END,
			(SELECT 'skipping ' || string_agg(x.name, ',' ORDER BY j.n) FROM jsonb_array_elements_text(nullif(r -> 'skipped_stages', 'null')) WITH ORDINALITY j(id, n)
				JOIN pipelines.stage x ON x.stage_id = j.id::integer))
		FROM k
		LEFT JOIN pipelines.pipeline p ON p.pipeline_id = (r ->> 'pipeline_id')::integer
		LEFT JOIN pipelines.stage s ON s.stage_id = (r ->> 'stage_id')::integer
		LEFT JOIN pipelines.stage f ON f.stage_id = (r ->> 'furthest_stage_id')::integer
		LEFT JOIN pipelines.pipeline p2 ON p2.pipeline_id = (r ->> 'to_pipeline_id')::integer
		LEFT JOIN pipelines.stage s2 ON s2.stage_id = (r ->> 'to_stage_id')::integer
		WHERE deal = $1 ORDER BY (r ->> 'version')::integer, r ? 'change' DESC$q$,
		relation::regclass::oid, (SELECT t.history::text FROM pipelines.tracked_table t WHERE t.relation = life.relation::regclass), relation)
	USING which, times;
END
$$;
-- invariants I1, I4, I6, I7, told from the tables alone; no rows: sound
CREATE FUNCTION problems(relation text DEFAULT 'deals')
RETURNS TABLE (deal text, version integer, problem text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY EXECUTE format($q$
		WITH t AS (SELECT * FROM pipelines.tracked_table WHERE relation = %1$s),
		r AS (
			SELECT to_jsonb(h) AS r, true AS past FROM %2$s h
			UNION ALL
			SELECT to_jsonb(d) || jsonb_build_object('valid_from', d.changed_at), false FROM %3$s d
		),
		v AS (
			SELECT (SELECT string_agg(r.r ->> c, ',' ORDER BY n) FROM unnest(t.key) WITH ORDINALITY u(c, n)) AS deal,
				(r.r ->> 'version')::integer AS version, r.past, r.r, r.r ->> 'change' AS change,
				(r.r ->> 'valid_from')::timestamptz AS valid_from, (r.r ->> 'valid_to')::timestamptz AS valid_to,
				(r.r ->> 'stage_entered_at')::timestamptz AS entered,
				(r.r ->> 'pipeline_id') || '/' || (r.r ->> 'stage_id') AS stage,
				(r.r ->> 'to_pipeline_id') || '/' || (r.r ->> 'to_stage_id') AS to_stage,
				-- the tracked values: what the history has under names of the deals
				(SELECT jsonb_object_agg(e.key, e.value) FROM jsonb_each(r.r) e
				 WHERE e.key IN (SELECT a.attname FROM pg_attribute a JOIN pg_attribute b ON b.attname = a.attname
					WHERE a.attrelid = %1$s AND b.attrelid = t.history AND a.attnum > 0 AND b.attnum > 0
						AND NOT a.attisdropped AND NOT b.attisdropped AND a.attgenerated = '' AND a.attname NOT IN ('version', 'stage_entered_at', 'changed_at'))) AS tracked
			FROM r, t
		),
		w AS (
			SELECT *, lag(version) OVER k AS version0, lag(valid_to) OVER k AS valid_to0, lag(change) OVER k AS change0,
				lag(stage) OVER k AS stage0, lag(to_stage) OVER k AS to_stage0, lag(entered) OVER k AS entered0,
				lag(tracked) OVER k AS tracked0, lead(version) OVER k IS NULL AS newest
			FROM v WINDOW k AS (PARTITION BY deal ORDER BY version, past DESC)
		)
		SELECT deal, version, p FROM w, LATERAL (VALUES
			(version <> coalesce(version0, 0) + 1, format('I7: version follows %%s', coalesce(version0::text, 'nothing'))),
			(past AND valid_from > valid_to, 'I7: ends before it begins'),
			(change0 <> 'delete' AND valid_from <> valid_to0 OR change0 = 'delete' AND valid_from < valid_to0, 'I4: does not begin where the last one ended'),
			(change0 <> 'delete' AND to_stage0 IS DISTINCT FROM stage, 'I4: not where the last one led to'),
			(change = 'delete' AND to_stage IS NOT NULL, 'I4: a deletion with a target'),
			(change0 <> 'delete' AND entered <> CASE WHEN stage = stage0 THEN entered0 ELSE valid_from END, 'R-2.4, R-2.5: clock of the stage'),
			(coalesce(change0, 'delete') = 'delete' AND past AND entered > valid_from, 'entered after its beginning'),
			(change0 <> 'delete' AND tracked = tracked0, 'I6: a version in which nothing changed'),
			(newest AND past AND change <> 'delete', 'I4: the deal is missing'),
			(NOT EXISTS (SELECT FROM pipelines.pipeline_stage s WHERE s.pipeline_id || '/' || s.stage_id = stage), 'I1: no such stage'),
			(past AND (r ->> 'recorded_at' IS NULL OR r ->> 'txid' IS NULL OR r ->> 'actor' IS NULL OR r ->> 'role_name' IS NULL), 'no provenance')
		) c(bad, p) WHERE bad
		UNION ALL
		SELECT deal, version, 'verify: ' || problem FROM pipelines.verify(%1$s::oid::regclass)$q$,
		relation::regclass::oid, (SELECT t.history::text FROM pipelines.tracked_table t WHERE t.relation = problems.relation::regclass), relation);
END
$$;
RESET client_min_messages;
\set ECHO all
SELECT pipelines.create_pipeline('Sales', stages => '["New", "Quote", "Demo", {"name": "Won", "outcome": "won"}, {"name": "Lost", "outcome": "lost"}]');
SELECT pipelines.create_pipeline('Other', stages => '["New", "Quote", {"name": "Won", "outcome": "won"}]');
SELECT pipelines.create_deals('deals');
CREATE VIEW told AS SELECT deal_id AS deal, version AS v, change, stage_id AS stage, to_stage_id AS became, amount FROM deals_history;
CREATE VIEW now_ AS SELECT deal_id AS deal, version AS v, stage_id AS stage, amount FROM deals;
-- a trigger that runs one assignment
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	CASE TG_ARGV[0]
		WHEN 'stage' THEN NEW.stage_id := 3;
		WHEN 'pipeline' THEN NEW.pipeline_id := 2;
		WHEN 'amount' THEN NEW.amount := 77;
		WHEN 'version' THEN NEW.version := 7;
		WHEN 'episode' THEN NEW.episode := 7;
		WHEN 'changed_at' THEN NEW.changed_at := '2001-01-01';
		WHEN 'entered' THEN NEW.stage_entered_at := '2001-01-01';
		WHEN 'both times' THEN NEW.stage_entered_at := '2001-01-01'; NEW.changed_at := '2001-01-01';
		WHEN 'furthest' THEN NEW.furthest_stage_id := 5;
		WHEN 'gate' THEN NEW.gate_stage_id := 2;
		WHEN 'closed_at' THEN NEW.closed_at := '2001-01-01';
		WHEN 'probability' THEN NEW.probability := 12;
		WHEN 'name' THEN NEW.name := 'meddled';
		WHEN 'revert' THEN NEW := OLD;
		WHEN 'skip' THEN RETURN NULL;
		WHEN 'nothing' THEN NULL;
	END CASE;
	RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END
$$;
-- one statement on deals 1 and 2 with a meddling trigger; what became of it
CREATE FUNCTION attempt(what text, trigger_name name, event text, statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
	stands text;
BEGIN
	BEGIN
		INSERT INTO deals (deal_id, stage_id, amount) VALUES (1, 1, 1);
		EXECUTE format('CREATE TRIGGER %I BEFORE %s ON deals FOR EACH ROW EXECUTE FUNCTION meddle(%L)', trigger_name, event, what);
		result := try(statement);
		EXECUTE format('DROP TRIGGER %I ON deals', trigger_name);
		SELECT coalesce(string_agg(l, ', '), 'nothing') INTO stands FROM unnest('{1,2}'::text[]) d, life(d) l;
		SELECT stands || coalesce(' PROBLEMS: ' || string_agg(p::text, ' '), '') INTO stands FROM problems() p;
		RAISE EXCEPTION USING ERRCODE = 'ZZZZZ', MESSAGE = rpad(what, 12) || result || ' => ' || stands;
	EXCEPTION WHEN SQLSTATE 'ZZZZZ' THEN
		RETURN sqlerrm;
	END;
END
$$;

--
-- Before ours, whatever ASCII name: as if the client had sent it
--
SELECT attempt(w, 'aaa', 'UPDATE', 'UPDATE deals SET stage_id = 2 WHERE deal_id = 1')
	FROM unnest('{nothing,stage,pipeline,amount,version,episode,changed_at,entered,both times,furthest,gate,closed_at,probability,name,revert,skip}'::text[]) w;
SELECT attempt(w, '~~~~~~~~~~', 'UPDATE', 'UPDATE deals SET name = ''new'' WHERE deal_id = 1')
	FROM unnest('{nothing,stage,pipeline,amount,version,furthest,name,revert,skip}'::text[]) w;
SELECT attempt(w, 'zzz', 'INSERT', 'INSERT INTO deals (deal_id) VALUES (2)')
	FROM unnest('{nothing,stage,amount,version,episode,both times,closed_at,skip}'::text[]) w;
SELECT attempt(w, 'zzz', 'DELETE', 'DELETE FROM deals') FROM unnest('{nothing,skip}'::text[]) w;

--
-- After ours: history is right, or 23S06 names the trigger
--
SELECT attempt(w, '§zz', 'UPDATE', 'UPDATE deals SET stage_id = 2 WHERE deal_id = 1')
	FROM unnest('{nothing,stage,pipeline,amount,version,episode,changed_at,entered,both times,furthest,gate,closed_at,probability,name,revert,skip}'::text[]) w;
-- where we saw no change
SELECT attempt(w, '§zz', 'UPDATE', 'UPDATE deals SET name = ''new'' WHERE deal_id = 1')
	FROM unnest('{nothing,stage,amount,version,both times,probability,name,revert,skip}'::text[]) w;
-- the closing
SELECT attempt(w, '§zz', 'UPDATE', 'UPDATE deals SET stage_id = 4 WHERE deal_id = 1')
	FROM unnest('{nothing,stage,closed_at,amount}'::text[]) w;
SELECT attempt(w, '§zz', 'INSERT', 'INSERT INTO deals (deal_id) VALUES (2)')
	FROM unnest('{nothing,amount,name,stage,pipeline,version,episode,changed_at,entered,both times,furthest,gate,closed_at,skip}'::text[]) w;
SELECT attempt(w, '§zz', 'DELETE', 'DELETE FROM deals') FROM unnest('{nothing,skip}'::text[]) w;
-- an upsert has both
SELECT attempt(w, '§zz', 'INSERT OR UPDATE', 'INSERT INTO deals (deal_id, stage_id) VALUES (1, 2), (2, 2) ON CONFLICT (deal_id) DO UPDATE SET stage_id = excluded.stage_id')
	FROM unnest('{nothing,amount,stage,version,skip}'::text[]) w;
-- called like ours, or nearly
SELECT attempt(w, '§pipelines_before_too', 'INSERT OR UPDATE', 'UPDATE deals SET stage_id = 2 WHERE deal_id = 1')
	FROM unnest('{nothing,stage,version}'::text[]) w;
-- the key of a new deal, moved onto one that had a life
INSERT INTO deals (deal_id) VALUES (3);
DELETE FROM deals;
CREATE FUNCTION rekey() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.deal_id := 3; RETURN NEW; END';
CREATE TRIGGER "§zz" BEFORE INSERT ON deals FOR EACH ROW EXECUTE FUNCTION rekey();
SELECT try('INSERT INTO deals (deal_id) VALUES (8)');
DROP TRIGGER "§zz" ON deals;
-- only for some columns, under a condition, switched off: such a trigger is found, or does no harm
INSERT INTO deals (deal_id, stage_id, amount) VALUES (1, 1, 1);
CREATE TRIGGER "§zz" BEFORE UPDATE OF name ON deals FOR EACH ROW EXECUTE FUNCTION meddle('stage');
SELECT try('UPDATE deals SET stage_id = 2 WHERE deal_id = 1');
SELECT try('UPDATE deals SET name = ''n'' WHERE deal_id = 1');
DROP TRIGGER "§zz" ON deals;
CREATE TRIGGER "§zz" BEFORE UPDATE ON deals FOR EACH ROW WHEN (NEW.amount = 5) EXECUTE FUNCTION meddle('stage');
SELECT try('UPDATE deals SET amount = 4 WHERE deal_id = 1');
SELECT try('UPDATE deals SET amount = 5 WHERE deal_id = 1');
ALTER TABLE deals DISABLE TRIGGER "§zz";
SELECT try('UPDATE deals SET amount = 5 WHERE deal_id = 1');
ALTER TABLE deals ENABLE ALWAYS TRIGGER "§zz";
SELECT try('UPDATE deals SET amount = 5 WHERE deal_id = 1');
SELECT try('UPDATE deals SET amount = 5, quantity = 1 WHERE deal_id = 1');
DROP TRIGGER "§zz" ON deals;
SELECT life('1');
SELECT problems();

--
-- AFTER ROW triggers that change the same row: one history row per version, no gap
--
CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF pg_trigger_depth() = 1 THEN
		IF TG_ARGV[0] = 'delete' THEN
			DELETE FROM deals WHERE deal_id = NEW.deal_id;
		ELSE
			UPDATE deals SET amount = coalesce(amount, 0) + 1 WHERE deal_id = NEW.deal_id;
		END IF;
	END IF;
	RETURN NULL;
END
$$;
INSERT INTO deals (deal_id, amount) SELECT g, 0 FROM generate_series(11, 16) g;
CREATE TRIGGER aaa_again AFTER UPDATE ON deals FOR EACH ROW EXECUTE FUNCTION again();
UPDATE deals SET stage_id = 2 WHERE deal_id IN (11, 12);
CREATE TRIGGER zzz_again AFTER UPDATE ON deals FOR EACH ROW EXECUTE FUNCTION again();
UPDATE deals SET stage_id = 2 WHERE deal_id IN (13, 14);
DROP TRIGGER aaa_again ON deals;
UPDATE deals SET stage_id = 3 WHERE deal_id IN (13, 14);
DROP TRIGGER zzz_again ON deals;
CREATE TRIGGER aaa_again AFTER INSERT ON deals FOR EACH ROW EXECUTE FUNCTION again();
INSERT INTO deals (deal_id) VALUES (17), (18);
DROP TRIGGER aaa_again ON deals;
CREATE TRIGGER aaa_again AFTER INSERT OR UPDATE ON deals FOR EACH ROW EXECUTE FUNCTION again('delete');
UPDATE deals SET stage_id = 2 WHERE deal_id IN (15, 16);
INSERT INTO deals (deal_id) VALUES (19);
DROP TRIGGER aaa_again ON deals;
SELECT * FROM told WHERE deal BETWEEN 11 AND 19 ORDER BY 1, 2;
SELECT * FROM now_ WHERE deal BETWEEN 11 AND 19 ORDER BY 1;
SELECT problems();
-- when the transaction ends
CREATE CONSTRAINT TRIGGER late_again AFTER UPDATE ON deals DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.stage_id <> OLD.stage_id) EXECUTE FUNCTION again();
BEGIN;
UPDATE deals SET stage_id = 4 WHERE deal_id IN (11, 12);
UPDATE deals SET stage_id = 2 WHERE deal_id = 11;
COMMIT;
DROP TRIGGER late_again ON deals;
SELECT * FROM told WHERE deal BETWEEN 11 AND 12 AND v > 2 ORDER BY 1, 2;
SELECT problems();
-- statement triggers that change the table
CREATE FUNCTION total() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF pg_trigger_depth() = 1 THEN
		UPDATE deals SET amount = (SELECT count(*) FROM moved) WHERE deal_id = 17;
	END IF;
	RETURN NULL;
END
$$;
CREATE TRIGGER aaa_total AFTER UPDATE ON deals REFERENCING NEW TABLE AS moved FOR EACH STATEMENT EXECUTE FUNCTION total();
UPDATE deals SET stage_id = 5 WHERE deal_id IN (11, 12, 13);
DROP TRIGGER aaa_total ON deals;
SELECT * FROM told WHERE deal = 17 OR deal BETWEEN 11 AND 13 AND change = 'close' ORDER BY 1, 2;
SELECT problems();

--
-- Two cascades that change one row in one statement
--
CREATE TABLE person (name text PRIMARY KEY);
INSERT INTO person VALUES ('ann'), ('bob'), ('cid');
ALTER TABLE deals ADD FOREIGN KEY (owner) REFERENCES person ON DELETE SET NULL ON UPDATE CASCADE,
	ADD FOREIGN KEY (source) REFERENCES person ON DELETE SET NULL ON UPDATE CASCADE;
INSERT INTO deals (deal_id, owner, source) VALUES (21, 'ann', 'ann'), (22, 'ann', 'bob'), (23, 'bob', 'bob');
DELETE FROM person WHERE name = 'ann';
UPDATE person SET name = 'bert' WHERE name = 'bob';
WITH x AS (UPDATE deals SET amount = 5 WHERE deal_id = 22) DELETE FROM person WHERE name = 'bert';
SELECT deal_id, version, change, owner, source, amount FROM deals_history WHERE deal_id BETWEEN 21 AND 23 ORDER BY 1, 2;
SELECT deal_id, version, owner, source, amount FROM deals WHERE deal_id BETWEEN 21 AND 23 ORDER BY 1;
SELECT problems();

--
-- A trigger that logs reads what stands; a view with rules and INSTEAD OF triggers writes through
--
CREATE TABLE log (deal_id bigint, v integer, entered boolean);
CREATE FUNCTION logs() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO log VALUES (NEW.deal_id, NEW.version, NEW.stage_entered_at = NEW.changed_at); RETURN NULL; END';
CREATE TRIGGER logs AFTER INSERT OR UPDATE ON deals FOR EACH ROW EXECUTE FUNCTION logs();
CREATE VIEW my_deals AS SELECT deal_id, stage_id, amount FROM deals WHERE deal_id > 30 WITH CHECK OPTION;
INSERT INTO my_deals (deal_id, amount) VALUES (31, 1);
UPDATE my_deals SET stage_id = 2;
UPDATE my_deals SET amount = 2;
SELECT try('UPDATE my_deals SET deal_id = 30');
SELECT * FROM log;
SELECT problems();
\set ECHO none
\c :home
SET client_min_messages = warning;
DROP DATABASE regress_pipelines_user_triggers;
