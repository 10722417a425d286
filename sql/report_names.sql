-- report_names.sql: reports on tables whose columns are called as something inside the
-- reports is.  Two tables with the same deals, of which one has names of our own choice,
-- must tell the same.  In a database of its own.
\set ECHO none
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_pipelines_report_names;
CREATE DATABASE regress_pipelines_report_names TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\set home :DBNAME
\c regress_pipelines_report_names
\i test/data/checks.sql
\set ECHO all
SET client_min_messages = warning;
SELECT pipelines.create_pipeline('Sales', time_zone => 'UTC', stages => '[
	{"name": "Lead", "probability": 10, "stall_limit": "3 days"}, {"name": "Demo", "probability": 30, "stall_limit": "3 days", "stall_basis": "activity"}, {"name": "Offer", "probability": 60, "stall_limit": "5 days", "stall_basis": "age"},
	{"name": "Parked", "outcome": "on_hold", "probability": 5}, {"name": "Won", "outcome": "won"}, {"name": "Lost", "outcome": "lost"}]');
SELECT pipelines.create_pipeline('Service', time_zone => 'Pacific/Auckland', stages => '["Demo", {"name": "Over", "outcome": "done"}]');
-- the second of each pair is renamed
SELECT pipelines.create_deals('one', currency => 'EUR'), pipelines.create_deals('odd_one', currency => 'EUR', key => '{last}');
SELECT pipelines.create_deals('two', currency => 'EUR', key => '{tenant,deal_id}'), pipelines.create_deals('odd_two', currency => 'EUR', key => '{by_,ends_}');
CREATE FUNCTION st(stage text, pipeline text DEFAULT 'Sales') RETURNS integer LANGUAGE sql STABLE AS 'SELECT pipelines.stage_id(pipeline, stage)';
-- key 1 is deleted and comes back, 4 is deleted
CREATE PROCEDURE fill(t regclass) LANGUAGE plpgsql AS $$
DECLARE
	keys CONSTANT text[] := (SELECT x.key FROM pipelines.tracked_table x WHERE x.relation = t);
	key CONSTANT text := keys[cardinality(keys)];
	step text;
	columns text := (SELECT string_agg(quote_ident(k), ', ' ORDER BY n) FROM unnest(keys) WITH ORDINALITY u(k, n));
	before text := CASE cardinality(keys) WHEN 1 THEN '' ELSE '7, ' END;
BEGIN
	FOREACH step IN ARRAY ARRAY[
		'01:INSERT INTO %1$s (%2$s, name, account, amount, owner, source, product, team, stage_id, created_at, expected_close_on)
			SELECT %3$s n, ''n'' || n %% 3, ''a'' || n, 100 * n, (ARRAY[''ann'', ''bob''])[n %% 2 + 1], CASE n WHEN 9 THEN ''spam'' ELSE ''web'' END, ''van'', ''t'' || n %% 2, st(''Lead''), ''2026-01-01'', ''2026-02-01''
			FROM generate_series(1, 10) n',
		'03:UPDATE %1$s SET stage_id = st(''Demo'') WHERE %4$I %% 2 = 1',
		'04:UPDATE %1$s SET amount = amount + 1, owner = ''cat'', team = ''t9'' WHERE %4$I < 5',
		'05:DELETE FROM %1$s WHERE %4$I IN (1, 4)',
		'06:INSERT INTO %1$s (%2$s, name, amount, owner, source, stage_id, created_at) VALUES (%3$s 1, ''again'', 50, ''dan'', ''web'', st(''Lead''), ''2026-01-06'')',
		'07:UPDATE %1$s SET stage_id = st(''Won'') WHERE %4$I IN (2, 3)',
		'08:UPDATE %1$s SET owner = ''eve'' WHERE %4$I = 3',
		'09:UPDATE %1$s SET stage_id = st(''Lost'') WHERE %4$I = 5',
		'10:UPDATE %1$s SET stage_id = st(''Offer''), expected_close_on = ''2026-03-01'' WHERE %4$I IN (3, 6)',
		'11:UPDATE %1$s SET stage_id = st(''Parked'') WHERE %4$I = 7',
		'12:UPDATE %1$s SET pipeline_id = pipelines.pipeline_id(''Service''), stage_id = st(''Demo'', ''Service'') WHERE %4$I = 8',
		'13:UPDATE %1$s SET stage_id = st(''Demo'') WHERE %4$I = 1',
		'14:UPDATE %1$s SET stage_id = st(''Won'') WHERE %4$I IN (1, 6)',
		'15:UPDATE %1$s SET probability = 44, next_action_at = ''2026-02-10'' WHERE %4$I = 9']
	LOOP
		PERFORM set_config('pipelines.event_time', format('2026-01-%s 12:00+00', split_part(step, ':', 1)), true);
		EXECUTE format(substr(step, 4), t, columns, before, key);
	END LOOP;
END
$$;
DO $$
DECLARE
	t regclass;
BEGIN
	FOR t IN SELECT relation FROM pipelines.tracked_table ORDER BY relation::text LOOP
		CALL fill(t);
	END LOOP;
END
$$;
CREATE PROCEDURE rename(t regclass, names jsonb) LANGUAGE plpgsql AS $$
DECLARE
	r record;
BEGIN
	FOR r IN SELECT u.t, n.key AS was, n.value AS name
			 FROM unnest(ARRAY[t, (t::text || '_history')::regclass]) u(t), jsonb_each_text(names) n
			 WHERE EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = u.t AND a.attname = n.key AND (u.t = rename.t OR n.key <> 'version')) LOOP
		EXECUTE format('ALTER TABLE %s RENAME %I TO %I', r.t, r.was, r.name);
	END LOOP;
END
$$;
CALL rename('odd_one', '{"amount": "d", "owner": "h", "currency": "l", "source": "p", "created_at": "x", "expected_close_on": "r", "next_action_at": "c", "probability": "key_",
	"closed_at": "m", "closed_on": "y", "stage_entered_at": "w", "episode": "version_", "furthest_stage_id": "f", "name": "n", "account": "g", "product": "pipelines_unsaid", "team": "e"}');
CALL rename('odd_two', '{"amount": "key_", "owner": "amount_", "currency": "exited_", "source": "value", "created_at": "o", "expected_close_on": "pipeline_id_", "next_action_at": "changed_at_",
	"probability": "k1", "closed_at": "met", "closed_on": "first", "stage_entered_at": "last", "episode": "way_", "name": "d", "account": "by", "product": "a\"%s", "team": "key", "version": "b", "changed_at": "z"}');
SELECT count(v) > 0 AS rebuilt FROM pipelines.tracked_table t CROSS JOIN LATERAL pipelines.rebuild_views(t.relation) v;
-- what is asked: T is the table, AT an instant, BY what it is split by, and columns are in square brackets
CREATE TABLE question (call text);
INSERT INTO question VALUES
	('flow(T, since => $$2026-01-02$$, by => BY, as_of => AT)'), ('trend(T, 4, by => BY, as_of => AT)'), ('win_rate(T, by => BY, count_reopened => true, as_of => AT)'),
	('cycle(T, by => BY, from_stage => $$Lead$$, without_hold => true, as_of => AT)'), ('velocity(T, by => BY, as_of => AT)'), ('load(T, by => BY, as_of => AT)'),
	('time_in_stage(T, by => BY, as_of => AT)'), ('time_in_stage(T, by => BY, measure => $$cumulative$$, as_of => AT)'), ('funnel(T, by => BY, as_of => AT)'),
	('funnel(T, $$direct$$, by => BY, as_of => AT)'), ('transitions(T, by => BY, as_of => AT)'), ('transitions(T, by => BY, transient => false, as_of => AT)'),
	('board(T, by => BY, as_of => AT)'), ('forecast_accuracy(T, $${5}$$, $$week$$, 6, by => BY, as_of => AT)'),
	('stage_times(T, as_of => AT)'), ('stage_times(T, days => true, as_of => AT)'), ('stalled(T, as_of => AT)'), ('stalling(T, $$2026-02-20$$, as_of => AT)'),
	('next_steps(T, as_of => AT)'), ('candidates(T, as_of => AT)'), ('review(T, as_of => AT)'), ('scores(T, as_of => AT)'), ('journey(T, KEY, as_of => AT)'), ('stage_times(T, KEY, as_of => AT)'),
	('bridge(T, $$2026-01-05$$, AT)'), ('changes(T, $$2026-01-05$$, AT)'), ('changes(T, $$2026-01-05$$, AT, filter => $$[key] > 2 AND [amount] > 100 AND [name] <> ''n1''$$)'),
	('board(T, condition => $$[name] <> ''n1'' AND [key] > 1$$, order_by => $$<name> desc$$, as_of => AT)'), ('forecast_report(T, as_of => AT)'), ('quota_report(T, as_of => AT)'),
	('calibration(T, $$2026-01-05$$, $$1 day$$, as_of => $$2026-01-20$$)');
CREATE FUNCTION named(call text, t text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	names CONSTANT jsonb := ('{"one": {"key": "deal_id"}, "two": {"key": "deal_id"},
		"odd_one": {"key": "last", "name": "n", "account": "g", "product": "pipelines_unsaid", "team": "e", "source": "p", "amount": "d"},
		"odd_two": {"key": "ends_", "name": "d", "account": "by", "product": "a\"%s", "team": "key", "source": "value", "amount": "key_"}}'::jsonb) -> t;
	n text;
BEGIN
	FOREACH n IN ARRAY '{key,name,account,product,team,source,amount}'::text[] LOOP
		call := replace(replace(call, '[' || n || ']', quote_ident(coalesce(names ->> n, n))), '<' || n || '>', coalesce(names ->> n, n));
	END LOOP;
	RETURN replace(replace(call, '(T', '(' || quote_literal(t)), 'KEY', CASE WHEN t LIKE '%one' THEN quote_literal('1') ELSE quote_literal('(7,1)') END);
END
$$;
CREATE FUNCTION told(call text, t text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	EXECUTE format('SELECT string_agg(regexp_replace(x::text, ''""(name|account)"": ""[^"]*"", '', '''', ''g''), E''\n'' ORDER BY x::text) FROM pipelines.%s x', named(call, t)) INTO result;
	RETURN result;
EXCEPTION WHEN OTHERS THEN
	RETURN format('%s: %s', SQLSTATE, SQLERRM);
END
$$;
-- those of the calls to which the odd table has another answer, or that fail
CREATE FUNCTION differences(at text, tables text[]) RETURNS TABLE (call text, t text, told text, odd text) LANGUAGE sql AS $$
	SELECT x.call, x.t, x.told, x.odd
	FROM (SELECT c.call, t, told(c.call, t) AS told, told(c.call, 'odd_' || t) AS odd
		  FROM (SELECT DISTINCT replace(replace(q.call, 'AT', quote_literal(at)), 'BY', '$b$' || d || '$b$') AS call
				FROM question q, unnest('{<name>,<team>,[key] % 2}'::text[]) d) c, unnest(tables) t) x
	WHERE x.told IS DISTINCT FROM x.odd OR x.told ~ '^[0-9A-Z]{5}: '
$$;
SELECT * FROM differences('2026-01-08', '{one,two}') ORDER BY 1, 2;
SELECT * FROM differences('2199-01-01', '{two}') ORDER BY 1, 2;
-- it is no accident that they are the same
SELECT told('flow(T, by => ''[key] % 2'', as_of => ''2026-01-20'')', 'odd_two');
SELECT told('flow(T, by => ''nothing'')', 'one');
-- which rows are deals is said by a column that is tracked and one that isn't
UPDATE pipelines.tracked_table SET live = named('[source] <> ''spam'' AND [name] <> ''n2''', relation::text);
SELECT * FROM differences('2026-01-13', '{one}') ORDER BY 1, 2;
SELECT told('load(T, by => ''<name>'', as_of => ''2026-01-08'')', 'odd_one');
-- the views, too, are there
DO $$
DECLARE
	v regclass;
BEGIN
	FOR v IN SELECT c.oid FROM pg_class c WHERE c.relkind = 'v' AND c.relname ~ '^odd_' LOOP
		EXECUTE format('SELECT count(x::text) FROM %s x', v);
	END LOOP;
END
$$;
\c :home
DROP DATABASE regress_pipelines_report_names;
