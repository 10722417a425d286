-- bookkeeping.sql: who writes the bookkeeping, instants, provenance (CORE 3, 4, 11 to 14, tests 8, 10, 11)
-- In a database of its own, so that every id is the same in every run.
\set ECHO none
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_pipelines_bookkeeping;
CREATE DATABASE regress_pipelines_bookkeeping TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\set home :DBNAME
\c regress_pipelines_bookkeeping
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
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_pipelines_owner, regress_pipelines_member, regress_pipelines_clerk;
RESET client_min_messages;
CREATE ROLE regress_pipelines_owner;
CREATE ROLE regress_pipelines_member IN ROLE regress_pipelines_owner;
CREATE ROLE regress_pipelines_clerk;
SELECT pipelines.create_pipeline('Sales', time_zone => 'UTC', stages => '["New", "Quote", "Demo", {"name": "Won", "outcome": "won"}, {"name": "Lost", "outcome": "lost"}, {"name": "Late", "may_start": false}]');
CREATE SCHEMA crm AUTHORIZATION regress_pipelines_owner;
GRANT USAGE ON SCHEMA crm TO PUBLIC;
SET search_path = crm, public;
SET ROLE regress_pipelines_owner;
SELECT pipelines.create_deals('deals');
GRANT SELECT, INSERT, UPDATE, DELETE ON deals TO regress_pipelines_clerk;
RESET ROLE;
CREATE FUNCTION public.book(id bigint) RETURNS text LANGUAGE sql AS $$
	SELECT format('v%s e%s furthest %s gate %s entered %s changed %s created %s by %s closed %s on %s', version, episode, furthest_stage_id, gate_stage_id,
		CASE WHEN stage_entered_at > '2021-01-01' THEN 'now' ELSE stage_entered_at::date::text END, CASE WHEN changed_at > '2021-01-01' THEN 'now' ELSE changed_at::date::text END,
		CASE WHEN created_at > '2021-01-01' THEN 'now' ELSE created_at::date::text END, CASE created_by WHEN session_user THEN 'me' ELSE created_by END,
		CASE WHEN closed_at > '2021-01-01' THEN 'now' ELSE closed_at::date::text END, CASE WHEN closed_on > '2021-01-01' THEN 'now' ELSE closed_on::text END)
	FROM crm.deals WHERE deal_id = id
$$;

--
-- A row that brings all of it, plausible, from a member of the owner's role: kept (CORE 3, reading 4)
--
CREATE TABLE public.sent AS SELECT 1::bigint AS deal_id, 1 AS pipeline_id, 3 AS stage_id, '2019-12-24'::timestamptz AS created_at, 'santa'::text AS created_by,
	'2020-01-02'::timestamptz AS stage_entered_at, 3 AS furthest_stage_id, NULL::integer AS gate_stage_id, 2 AS episode, 5 AS version, '2020-01-03'::timestamptz AS changed_at, NULL::timestamptz AS closed_at, NULL::date AS closed_on;
GRANT SELECT, UPDATE ON public.sent TO PUBLIC;
\set columns 'deal_id, pipeline_id, stage_id, created_at, created_by, stage_entered_at, furthest_stage_id, gate_stage_id, episode, version, changed_at, closed_at, closed_on'
SET ROLE regress_pipelines_owner;
INSERT INTO deals (:columns) SELECT * FROM sent;
SET ROLE regress_pipelines_member;
INSERT INTO deals (:columns) SELECT 2, 1, 4, created_at, created_by, stage_entered_at, 3, NULL, 1, 1, changed_at, '2020-01-02', '2020-01-01' FROM sent;
RESET ROLE;
INSERT INTO deals (:columns) SELECT 3, 1, 6, created_at, created_by, stage_entered_at, 3, 2, 1, 2, stage_entered_at, NULL, NULL FROM sent;		-- the superuser; may_start was judged then; a gate
COPY deals (deal_id, pipeline_id, stage_id, created_at, created_by, stage_entered_at, furthest_stage_id, gate_stage_id, episode, version, changed_at) FROM stdin;
4	1	2	2019-12-24	santa	2020-01-02	2	\N	1	1	2020-01-02
\.
SELECT deal_id, book(deal_id) FROM deals ORDER BY 1;
SELECT count(*) AS history_rows FROM deals_history;
-- the next change goes on from there
UPDATE deals SET stage_id = 4 WHERE deal_id IN (1, 3, 4);
SELECT deal_id, version, change, stage_id, to_stage_id, valid_from::date FROM deals_history ORDER BY 1, 2;
-- judged against the definitions all the same (CORE 4)
SELECT try('INSERT INTO crm.deals SELECT (jsonb_populate_record(NULL::crm.deals, to_jsonb(s) || ''{"deal_id": 9, "stage_id": 99}'')).* FROM sent s');
SELECT try('INSERT INTO crm.deals SELECT (jsonb_populate_record(NULL::crm.deals, to_jsonb(s) || ''{"deal_id": 9, "pipeline_id": 99}'')).* FROM sent s');
-- verify lists a version with no history behind it (CORE 4)
SELECT deal, version, problem FROM pipelines.verify('deals') ORDER BY 1, 2;
DELETE FROM deals;

--
-- Not plausible, not all of it, or not the owner: completed; fragments are ignored (CORE 3, test 10)
--
SET ROLE regress_pipelines_owner;
INSERT INTO deals (:columns) SELECT 11, 1, 2, created_at, created_by, stage_entered_at, 3, NULL, 2, 5, '2100-01-01', NULL, NULL FROM sent;		-- changed in the future
INSERT INTO deals (:columns) SELECT 12, 1, 2, created_at, created_by, changed_at, 3, NULL, 2, 5, stage_entered_at, NULL, NULL FROM sent;		-- entered after the change
INSERT INTO deals (:columns) SELECT 13, 1, 2, created_at, created_by, stage_entered_at, 3, NULL, 2, 0, changed_at, NULL, NULL FROM sent;		-- no such version
INSERT INTO deals (:columns) SELECT 14, 1, 2, created_at, created_by, stage_entered_at, 3, NULL, NULL, 5, changed_at, NULL, NULL FROM sent;		-- no episode
INSERT INTO deals (:columns) SELECT 15, 1, 2, NULL, NULL, stage_entered_at, NULL, 2, 2, 5, changed_at, NULL, NULL FROM sent;					-- no furthest stage
INSERT INTO deals (deal_id, version, changed_at, episode) VALUES (16, 7, '2020-01-01', 9);
INSERT INTO deals (deal_id, stage_id, version, changed_at, episode, closed_at) VALUES (17, 4, 7, '2020-01-01', 9, '2020-01-05');
SET ROLE regress_pipelines_clerk;
INSERT INTO deals (:columns) SELECT 21, pipeline_id, stage_id, created_at, created_by, stage_entered_at, furthest_stage_id, gate_stage_id, episode, version, changed_at, closed_at, closed_on FROM sent;
INSERT INTO deals (deal_id, version, changed_at, episode, gate_stage_id) VALUES (22, 7, '2020-01-01', 9, 3);
INSERT INTO deals (:columns) SELECT 23, 1, 4, created_at, created_by, stage_entered_at, 3, NULL, 1, 1, changed_at, '2020-01-02', NULL FROM sent;	-- closed_at is no bookkeeping: given where it closes
SELECT try('INSERT INTO crm.deals SELECT (jsonb_populate_record(NULL::crm.deals, to_jsonb(s) || ''{"deal_id": 24, "stage_id": 6}'')).* FROM sent s');	-- a start, therefore judged
RESET ROLE;
SELECT deal_id, book(deal_id) FROM deals ORDER BY 1;
SELECT * FROM problems('deals') WHERE deal::integer > 10;

--
-- UPDATE ignores what is sent of it, whoever sends it (CORE 3, test 8)
--
SET ROLE regress_pipelines_owner;
UPDATE deals SET version = 99, episode = 9, changed_at = '2020-01-01', stage_entered_at = '2020-01-01', furthest_stage_id = 5, gate_stage_id = 2, closed_at = '2020-01-01', closed_on = '2020-01-01' WHERE deal_id IN (11, 12);
UPDATE deals SET amount = 5, version = 99, episode = 9, changed_at = '2020-01-01', stage_entered_at = '2020-01-01', furthest_stage_id = 5, gate_stage_id = 2, closed_at = '2020-01-01', closed_on = '2020-01-01' WHERE deal_id IN (12, 13);
UPDATE deals SET version = NULL, episode = NULL, changed_at = NULL, stage_entered_at = NULL, furthest_stage_id = NULL, amount = 6 WHERE deal_id = 14;
SET ROLE regress_pipelines_clerk;
UPDATE deals SET stage_id = 3, version = 99, episode = 9, changed_at = '2020-01-01', stage_entered_at = '2020-01-01', furthest_stage_id = 1 WHERE deal_id = 15;
-- a whole row, as it was read before somebody else moved the deal
UPDATE deals SET (pipeline_id, stage_id, amount, stage_entered_at, furthest_stage_id, gate_stage_id, episode, version, changed_at, closed_at, closed_on)
	= ROW (1, 3, 5, '2020-01-01', 1, NULL, 1, 1, '2020-01-01', NULL, NULL) WHERE deal_id = 16;
UPDATE deals SET (pipeline_id, stage_id, amount, stage_entered_at, furthest_stage_id, gate_stage_id, episode, version, changed_at, closed_at, closed_on)
	= ROW (1, 3, 5, '2020-01-01', 1, NULL, 1, 1, '2020-01-01', NULL, NULL) WHERE deal_id = 16;
RESET ROLE;
SELECT deal_id, book(deal_id) FROM deals WHERE deal_id <= 16 ORDER BY 1;
SELECT deal_id, version, change, stage_id, to_stage_id, amount FROM deals_history WHERE deal_id BETWEEN 11 AND 16 ORDER BY 1, 2;
SELECT * FROM problems('deals') WHERE deal::integer > 10;

--
-- Generated columns (CORE 13, test 8): no version of their own, their values are kept
--
SET ROLE regress_pipelines_owner;
ALTER TABLE deals ADD COLUMN value numeric GENERATED ALWAYS AS (amount * quantity) STORED;
SELECT pipelines.track('deals', 'value');
INSERT INTO deals (deal_id, amount, quantity) VALUES (31, 10, 3);
UPDATE deals SET amount = 10, quantity = 3 WHERE deal_id = 31;
UPDATE deals SET name = 'same' WHERE deal_id = 31;
SELECT version FROM deals WHERE deal_id = 31;
UPDATE deals SET quantity = 4 WHERE deal_id = 31;
UPDATE deals SET stage_id = 2 WHERE deal_id = 31;
SELECT version, change, amount, quantity, value FROM deals_history WHERE deal_id = 31 ORDER BY 1;
RESET ROLE;
SELECT * FROM problems('deals') WHERE deal::integer > 10;

--
-- One instant per transaction (CORE 11), definitions included
--
BEGIN;
INSERT INTO deals (deal_id) VALUES (41);
SELECT pg_sleep(0.01);
UPDATE deals SET amount = 1 WHERE deal_id IN (11, 13);
UPDATE pipelines.pipeline_stage SET probability = 11 WHERE stage_id = 1;
INSERT INTO deals (deal_id, stage_id) VALUES (42, 4);
DELETE FROM deals WHERE deal_id = 12;
SAVEPOINT a;
UPDATE deals SET amount = 2 WHERE deal_id = 15;
RELEASE a;
SELECT count(DISTINCT t) AS instants FROM (
	SELECT changed_at AS t FROM deals WHERE deal_id IN (41, 11, 13, 15, 42) UNION ALL SELECT closed_at FROM deals WHERE deal_id = 42
	UNION ALL SELECT created_at FROM deals WHERE deal_id IN (41, 42)
	UNION ALL SELECT valid_to FROM deals_history WHERE deal_id = 12 AND change = 'delete'
	UNION ALL SELECT recorded_at FROM deals_history WHERE deal_id = 15 AND amount IS NULL AND to_stage_id = 3 AND change = 'change'
	UNION ALL SELECT changed_at FROM pipelines.pipeline_stage WHERE stage_id = 1) x;
-- but a deal's versions are never at one instant
UPDATE deals SET amount = 3 WHERE deal_id = 15;
UPDATE deals SET amount = 4 WHERE deal_id = 15;
DELETE FROM deals WHERE deal_id = 15;
INSERT INTO deals (deal_id) VALUES (15);
COMMIT;
SELECT version, change, valid_to - valid_from AS lived FROM deals_history WHERE deal_id = 15 AND version > 2 ORDER BY 1;
SELECT d.changed_at >= h.valid_to AS not_before_the_deletion FROM deals d JOIN deals_history h USING (deal_id) WHERE deal_id = 15 AND h.change = 'delete';
SELECT * FROM problems('deals') WHERE deal::integer > 10;

--
-- pipelines.event_time (CORE 12, test 11)
--
SET pipelines.event_time = '2020-03-01 10:00+00';
INSERT INTO deals (deal_id, stage_id) VALUES (51, 1), (52, 4);
SET pipelines.event_time = '2020-03-02 10:00+00';
UPDATE deals SET stage_id = 2 WHERE deal_id = 51;
UPDATE deals SET amount = 9 WHERE deal_id = 51;				-- the same instant: not before, therefore taken as it is
SELECT deal_id, book(deal_id) FROM deals WHERE deal_id IN (51, 52) ORDER BY 1;
SELECT version, valid_from, valid_to, recorded_at > '2021-01-01' AS recorded_now FROM deals_history WHERE deal_id = 51 ORDER BY 1;
-- out of order
SET pipelines.event_time = '2020-03-01 12:00+00';
SELECT try('UPDATE crm.deals SET stage_id = 3 WHERE deal_id = 51');
SELECT try('DELETE FROM crm.deals WHERE deal_id = 51');
SELECT try('UPDATE crm.deals SET name = ''no version'' WHERE deal_id = 52');
SET pipelines.event_time = '2020-04-01 12:00+00';
DELETE FROM deals WHERE deal_id = 51;
SET pipelines.event_time = '2020-03-15 12:00+00';
SELECT try('INSERT INTO crm.deals (deal_id) VALUES (51)');		-- before its last life ended
SET pipelines.event_time = '2020-05-01 12:00+00';
SELECT try('INSERT INTO crm.deals (deal_id) VALUES (51)');
-- in the future, nonsense, by others than the owner
SET pipelines.event_time = '2100-01-01';
SELECT left(try('UPDATE crm.deals SET stage_id = 3 WHERE deal_id = 51'), 40) AS said;
SELECT left(try('INSERT INTO crm.deals (deal_id) VALUES (53)'), 40) AS said;
SELECT try('SET pipelines.event_time = ''yesterweek''; UPDATE crm.deals SET stage_id = 3 WHERE deal_id = 51');
SET pipelines.event_time = '2020-06-01 12:00+00';
SET ROLE regress_pipelines_clerk;
SELECT try('UPDATE crm.deals SET stage_id = 3 WHERE deal_id = 51');
SELECT try('INSERT INTO crm.deals (deal_id) VALUES (53)');
SELECT try('DELETE FROM crm.deals WHERE deal_id = 51');
SET ROLE regress_pipelines_member;
SELECT try('UPDATE crm.deals SET stage_id = 3 WHERE deal_id = 51');
RESET ROLE;
RESET pipelines.event_time;
BEGIN;
SET LOCAL pipelines.event_time = '2020-07-01';
UPDATE deals SET stage_id = 4 WHERE deal_id = 51;
COMMIT;
UPDATE deals SET amount = 8 WHERE deal_id = 51;
SELECT version, change, stage_id, CASE WHEN valid_from < '2021-01-01' THEN valid_from::text END AS valid_from, CASE WHEN valid_to < '2021-01-01' THEN valid_to::text ELSE 'now' END AS valid_to FROM deals_history WHERE deal_id = 51 ORDER BY 1;
SELECT * FROM problems('deals') WHERE deal::integer > 10;

--
-- Who, why, in which batch (CORE 14)
--
SET pipelines.actor = 'web:42';
SET pipelines.reason = 'because';
SET pipelines.batch = 'b1';
SET application_name = 'till';
INSERT INTO deals (deal_id) SELECT generate_series(61, 69);
UPDATE deals SET stage_id = 2 WHERE deal_id = 61;
SET ROLE regress_pipelines_clerk;
UPDATE deals SET stage_id = 2 WHERE deal_id = 62;
RESET ROLE;
RESET pipelines.actor; RESET pipelines.reason; RESET pipelines.batch; RESET application_name;
UPDATE deals SET stage_id = 2 WHERE deal_id = 63;
SET SESSION AUTHORIZATION regress_pipelines_member;
UPDATE deals SET stage_id = 2 WHERE deal_id = 64;
SET ROLE regress_pipelines_owner;
UPDATE deals SET stage_id = 2 WHERE deal_id = 65;
INSERT INTO deals (deal_id) VALUES (70);
-- a function of the owner, called by the clerk
CREATE FUNCTION promote(id bigint) RETURNS void LANGUAGE sql SECURITY DEFINER AS 'UPDATE crm.deals SET stage_id = 2 WHERE deal_id = id';
-- FK cascades: the clerk's, too (CORE test 14)
CREATE TABLE house (id bigint PRIMARY KEY);
INSERT INTO house VALUES (1), (2);
ALTER TABLE deals ADD FOREIGN KEY (parent_deal_id) REFERENCES house ON DELETE SET NULL;
UPDATE deals SET parent_deal_id = 1 WHERE deal_id IN (67, 68);
GRANT SELECT, DELETE ON house TO regress_pipelines_clerk;
SET SESSION AUTHORIZATION regress_pipelines_clerk;
SELECT promote(66);
DELETE FROM house WHERE id = 1;
RESET SESSION AUTHORIZATION;
-- transaction-local settings; a setting that changes while the transaction runs
BEGIN;
SET LOCAL pipelines.reason = 'first';
UPDATE deals SET amount = 1 WHERE deal_id = 69;
SET LOCAL pipelines.reason = 'second';
UPDATE deals SET amount = 2 WHERE deal_id = 69;
COMMIT;
UPDATE deals SET amount = 3 WHERE deal_id = 69;
SELECT deal_id, version, CASE actor WHEN session_user THEN 'me' ELSE actor END AS actor, CASE role_name WHEN session_user THEN 'me' ELSE role_name END AS role_name,
	CASE WHEN deal_id < 63 THEN application_name ELSE '' END AS application_name, reason, batch FROM deals_history WHERE deal_id BETWEEN 61 AND 69 ORDER BY 1, 2;
SELECT deal_id, CASE created_by WHEN session_user THEN 'me' ELSE created_by END AS created_by FROM deals WHERE deal_id IN (61, 70) ORDER BY 1;
-- many transactions, one number each
SELECT count(DISTINCT txid) > 5 AS several, bool_and(txid > 0) AS known FROM deals_history WHERE deal_id BETWEEN 61 AND 69;
SELECT count(DISTINCT txid) = 1 AS one FROM deals_history WHERE deal_id = 69 AND version < 3;
SELECT * FROM problems('deals') WHERE deal::integer > 10;
RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA crm CASCADE;
DROP OWNED BY regress_pipelines_owner, regress_pipelines_member, regress_pipelines_clerk;
DROP ROLE regress_pipelines_owner, regress_pipelines_member, regress_pipelines_clerk;
\set ECHO none
\c :home
SET client_min_messages = warning;
DROP DATABASE regress_pipelines_bookkeeping;
