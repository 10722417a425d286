-- merge.sql: MERGE on a deals table (PostgreSQL 15 and later; issue 2, R-2.21, CORE 2, 8)
-- In a database of its own, so that every id is the same in every run.
\set ECHO none
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_pipelines_merge;
CREATE DATABASE regress_pipelines_merge TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\set home :DBNAME
\c regress_pipelines_merge
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
SELECT pipelines.create_pipeline('Sales', stages => '["New", "Quote", "Demo", {"name": "Won", "outcome": "won"}, {"name": "Lost", "outcome": "lost"}, {"name": "Late", "may_start": false}]');
SELECT pipelines.create_deals('deals');
CREATE VIEW told AS SELECT deal_id AS deal, version AS v, change, stage_id AS stage, to_stage_id AS became, amount FROM deals_history;
CREATE VIEW now_ AS SELECT deal_id AS deal, version AS v, stage_id AS stage, amount, closed_at IS NOT NULL AS closed FROM deals;
CREATE TABLE feed (deal_id bigint, stage_id integer, amount numeric, gone boolean);
INSERT INTO deals (deal_id, amount) SELECT g, 0 FROM generate_series(1, 12) g;

-- update, delete, insert and nothing in one statement
INSERT INTO feed VALUES (1, 2, 10, false), (2, 4, 20, false), (3, NULL, NULL, true), (4, 1, 0, false), (5, 3, 50, NULL), (21, 2, 60, false), (22, NULL, 70, false), (23, 1, 1, true);
MERGE INTO deals d USING feed f ON d.deal_id = f.deal_id
	WHEN MATCHED AND f.gone THEN DELETE
	WHEN MATCHED AND f.gone IS NULL THEN DO NOTHING
	WHEN MATCHED THEN UPDATE SET stage_id = f.stage_id, amount = f.amount
	WHEN NOT MATCHED AND f.gone THEN DO NOTHING
	WHEN NOT MATCHED THEN INSERT (deal_id, stage_id, amount) VALUES (f.deal_id, f.stage_id, f.amount);
SELECT * FROM told ORDER BY 1, 2;
SELECT * FROM now_ ORDER BY 1;
SELECT problems();

-- the same again: what is there already gets no version (I6)
MERGE INTO deals d USING (SELECT * FROM feed WHERE NOT gone) f ON d.deal_id = f.deal_id
	WHEN MATCHED THEN UPDATE SET stage_id = coalesce(f.stage_id, d.stage_id), amount = f.amount
	WHEN NOT MATCHED THEN INSERT (deal_id, amount) VALUES (f.deal_id, f.amount);
SELECT count(*) FROM told;

-- a key comes back by MERGE (CORE 2, test 2)
MERGE INTO deals d USING (VALUES (3), (1)) f(id) ON d.deal_id = f.id
	WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (deal_id, amount) VALUES (f.id, 3);
MERGE INTO deals d USING (VALUES (3), (1)) f(id) ON d.deal_id = f.id
	WHEN MATCHED THEN UPDATE SET amount = 4 WHEN NOT MATCHED THEN INSERT (deal_id, amount) VALUES (f.id, 5);
MERGE INTO deals d USING (VALUES (3), (1)) f(id) ON d.deal_id = f.id WHEN MATCHED THEN DELETE;
MERGE INTO deals d USING (VALUES (3), (1)) f(id) ON d.deal_id = f.id WHEN NOT MATCHED THEN INSERT (deal_id, amount) VALUES (f.id, 6);
SELECT * FROM told WHERE deal IN (1, 3) ORDER BY 1, 2;
SELECT * FROM now_ WHERE deal IN (1, 3) ORDER BY 1;
SELECT problems();

-- refused: one row twice, an unknown stage, a start where none may start, the key
SELECT try('MERGE INTO deals d USING (VALUES (4), (4)) f(id) ON d.deal_id = f.id WHEN MATCHED THEN UPDATE SET amount = amount + 1');
SELECT try('MERGE INTO deals d USING (VALUES (4), (5)) f(id) ON d.deal_id = f.id WHEN MATCHED THEN UPDATE SET stage_id = 99');
SELECT try('MERGE INTO deals d USING (VALUES (4), (41)) f(id) ON d.deal_id = f.id WHEN MATCHED THEN UPDATE SET stage_id = 6 WHEN NOT MATCHED THEN INSERT (deal_id, stage_id) VALUES (f.id, 6)');
SELECT try('MERGE INTO deals d USING (VALUES (4)) f(id) ON d.deal_id = f.id WHEN MATCHED THEN UPDATE SET deal_id = 44');
SELECT count(*) FROM told WHERE deal IN (4, 5, 41, 44);
-- a deal in a stage that none may start in is only matched
SELECT try('MERGE INTO deals d USING (VALUES (4)) f(id) ON d.deal_id = f.id WHEN MATCHED THEN UPDATE SET stage_id = 6 WHEN NOT MATCHED THEN INSERT (deal_id, stage_id) VALUES (f.id, 6)');
-- bookkeeping that is sent is ignored (CORE 3)
MERGE INTO deals d USING (VALUES (6)) f(id) ON d.deal_id = f.id WHEN MATCHED THEN UPDATE SET version = 77, episode = 9, changed_at = '2000-01-01', stage_entered_at = '2000-01-01', furthest_stage_id = 3, closed_at = '2000-01-01';
SELECT version, episode, changed_at > '2001-01-01' AS changed_at, furthest_stage_id, closed_at FROM deals WHERE deal_id = 6;
-- closing and reopening; overrides
MERGE INTO deals d USING (VALUES (7, 4), (8, 5), (9, 2)) f(id, stage) ON d.deal_id = f.id WHEN MATCHED THEN UPDATE SET stage_id = f.stage, close_reason = 'merged';
MERGE INTO deals d USING (VALUES (7, 1), (8, 4), (9, 2)) f(id, stage) ON d.deal_id = f.id WHEN MATCHED THEN UPDATE SET stage_id = f.stage;
SELECT g, life(g::text) FROM generate_series(6, 9) g;
-- in a savepoint that is rolled back, in a block that fails, in a function
BEGIN;
SAVEPOINT a;
MERGE INTO deals d USING (VALUES (10), (51)) f(id) ON d.deal_id = f.id WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (deal_id) VALUES (f.id);
ROLLBACK TO a;
MERGE INTO deals d USING (VALUES (10), (51)) f(id) ON d.deal_id = f.id WHEN MATCHED THEN UPDATE SET stage_id = 2 WHEN NOT MATCHED THEN INSERT (deal_id) VALUES (f.id);
COMMIT;
DO $$
BEGIN
	BEGIN
		MERGE INTO deals d USING (VALUES (11), (52)) f(id) ON d.deal_id = f.id WHEN MATCHED THEN UPDATE SET stage_id = 3 WHEN NOT MATCHED THEN INSERT (deal_id, stage_id) VALUES (f.id, 99);
	EXCEPTION WHEN OTHERS THEN
		MERGE INTO deals d USING (VALUES (11), (52)) f(id) ON d.deal_id = f.id WHEN MATCHED THEN UPDATE SET stage_id = 2 WHEN NOT MATCHED THEN INSERT (deal_id) VALUES (f.id);
	END;
END
$$;
SELECT * FROM told WHERE deal IN (10, 11, 51, 52) ORDER BY 1, 2;
SELECT * FROM now_ WHERE deal IN (10, 11, 51, 52) ORDER BY 1;
SELECT problems();
-- one of many rows, from itself
MERGE INTO deals d USING deals s ON d.deal_id = s.deal_id WHEN MATCHED AND d.stage_id = 1 THEN UPDATE SET stage_id = 2, amount = s.amount + 1 WHEN MATCHED THEN DO NOTHING;
SELECT change, stage, became, count(*) FROM told GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
SELECT problems();

--
-- On partitions: the same; and nothing moves between them (CORE 1, test 1)
--
SELECT pipelines.create_deals('parted', key => '{branch_id,deal_id}', partition_by => 'LIST (branch_id)');
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES IN (2);
SELECT pipelines.create_deals('whole', key => '{branch_id,deal_id}');
SELECT count(*) > 0 AS resumed FROM pipelines.resume('parted');
CREATE TABLE steps (step integer, branch_id bigint, deal_id bigint, stage_id integer, amount numeric);
INSERT INTO steps VALUES (1, 1, 1, 1, 1), (1, 1, 2, 2, 2), (1, 2, 1, 1, 3), (1, 2, 2, 4, 4), (2, 1, 1, 2, 1), (2, 2, 1, NULL, 0), (2, 2, 3, 1, 5),
	(3, 2, 1, 3, 6), (3, 2, 2, 1, 4), (3, 1, 2, NULL, 0), (4, 1, 2, 5, 7), (4, 2, 1, NULL, 0), (5, 2, 1, 1, 8), (5, 1, 2, 3, 9);
SELECT t, s, try(format('MERGE INTO %I d USING (SELECT * FROM steps WHERE step = %s) f ON d.branch_id = f.branch_id AND d.deal_id = f.deal_id
	WHEN MATCHED AND f.stage_id IS NULL THEN DELETE WHEN MATCHED THEN UPDATE SET stage_id = f.stage_id, amount = f.amount
	WHEN NOT MATCHED THEN INSERT (branch_id, deal_id, stage_id, amount) VALUES (f.branch_id, f.deal_id, f.stage_id, f.amount)', t, s))
	FROM (SELECT * FROM generate_series(1, 5) s, unnest('{whole,parted}'::text[]) t ORDER BY t DESC, s OFFSET 0) x;
SELECT branch_id, deal_id, version, change, stage_id, to_stage_id, amount FROM parted_history ORDER BY 1, 2, 3;
SELECT count(*) AS different FROM (SELECT branch_id, deal_id, version, change, stage_id, to_stage_id, skipped_stages, amount, episode FROM whole_history EXCEPT ALL
	SELECT branch_id, deal_id, version, change, stage_id, to_stage_id, skipped_stages, amount, episode FROM parted_history) x;
SELECT try('MERGE INTO parted d USING (VALUES (1)) f(id) ON d.branch_id = f.id WHEN MATCHED THEN UPDATE SET branch_id = 2');
SELECT try('MERGE INTO parted d USING (VALUES (1)) f(id) ON d.branch_id = f.id WHEN MATCHED THEN UPDATE SET branch_id = 2, stage_id = 2');
-- a leaf
MERGE INTO parted_2 d USING (VALUES (1), (9)) f(id) ON d.deal_id = f.id WHEN MATCHED THEN UPDATE SET stage_id = 4 WHEN NOT MATCHED THEN INSERT (branch_id, deal_id) VALUES (2, f.id);
SELECT life('(2,1)', relation => 'parted');
SELECT problems('parted');
SELECT problems('whole');
\set ECHO none
\c :home
SET client_min_messages = warning;
DROP DATABASE regress_pipelines_merge;
