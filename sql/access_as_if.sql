-- access_as_if.sql: to who may not see a pipeline the world is as if none of its
-- deals had ever been (S105, R-12.1): each view and each report says the same of a
-- table with deals of a protected pipeline and of one without them.  The views and
-- functions are not named here: whatever is added is asked, too.
-- In a database of its own.  From PostgreSQL 15 on: before it, no views are made
-- on tables with row security.
\set ECHO none
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_pipelines_access_as_if;
CREATE DATABASE regress_pipelines_access_as_if TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\set home :DBNAME
\c regress_pipelines_access_as_if
SET client_min_messages = warning;
\i test/data/checks.sql
\set ECHO all
\set SHOW_CONTEXT never
CREATE ROLE regress_as_if_clerk;
SELECT pipelines.create_pipeline('Sales', stages => '[{"name": "Lead", "stall_limit": "3 days", "probability": 10}, {"name": "Talks", "stall_limit": "30 days", "stall_basis": "age", "probability": 30, "mandatory": true},
	{"name": "Offer", "stall_limit": "90 days", "probability": 60}, {"name": "Waits", "outcome": "on_hold"}, {"name": "Won", "outcome": "won"}, {"name": "Lost", "outcome": "lost"}]');
SELECT pipelines.create_pipeline('Takeovers', stages => '[{"name": "Target", "stall_limit": "3 days", "probability": 20}, {"name": "Due diligence", "stall_limit": "9 days", "probability": 70},
	{"name": "Signed", "outcome": "won"}, {"name": "Refused", "outcome": "lost"}]');
UPDATE pipelines.pipeline SET use_scores = true;
SELECT pipelines.create_fiscal_calendar('Standard', from_year => extract(year FROM now())::integer - 1, to_year => extract(year FROM now())::integer + 1) > 0 AS made;
SELECT pipelines.create_deals('world', currency => 'EUR'), pipelines.create_deals('part', currency => 'EUR');
SELECT pipelines.grant_access(t::regclass, 'regress_as_if_clerk', 'write') FROM unnest('{world,part}'::text[]) t;
-- a life for each deal: forward, back, on hold, closed, reopened, deleted, pushed, dearer, with another owner
CREATE PROCEDURE at(instant timestamptz, statement text) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('pipelines.event_time', instant::text, false);
	EXECUTE replace(statement, '$t', 'world');
	EXECUTE replace(statement, '$t', 'part') || CASE WHEN statement ~ '^INSERT' THEN '' ELSE ' AND pipeline_id = 1' END;
	PERFORM set_config('pipelines.event_time', '', false);
END
$$;
CREATE FUNCTION s(pipeline text, stage text) RETURNS integer LANGUAGE sql STABLE AS 'SELECT pipelines.stage_id(pipeline, stage)';
CALL at(now() - interval '100 days', $$INSERT INTO $t (deal_id, name, account, source, channel, product, territory, amount, currency, pipeline_id, owner, expected_close_on)
	SELECT g, 'deal ' || g, 'account ' || g % 9, (ARRAY['web', 'fair'])[1 + g % 2], 'channel ' || g % 3, 'product ' || g % 4, 'north', g * 100,
		(ARRAY['EUR', 'USD'])[1 + g % 5 / 4], 1 + (g % 3 = 0)::integer, 'owner ' || g % 5, current_date + g - 30
	FROM generate_series(1, 120) g WHERE '$t' = 'world' OR g % 3 > 0$$);
CALL at(now() - interval '80 days', $$UPDATE $t SET stage_id = CASE pipeline_id WHEN 1 THEN s('Sales', 'Talks') ELSE s('Takeovers', 'Due diligence') END WHERE deal_id % 7 > 0$$);
CALL at(now() - interval '70 days', $$UPDATE $t SET stage_id = CASE pipeline_id WHEN 1 THEN s('Sales', 'Offer') ELSE s('Takeovers', 'Target') END WHERE deal_id % 7 > 2$$);
CALL at(now() - interval '60 days', $$UPDATE $t SET amount = amount * 1.5, owner = 'owner ' || deal_id % 4, expected_close_on = expected_close_on + 20 WHERE deal_id % 4 = 0$$);
CALL at(now() - interval '50 days', $$UPDATE $t SET stage_id = CASE pipeline_id WHEN 1 THEN s('Sales', 'Won') ELSE s('Takeovers', 'Signed') END WHERE deal_id % 5 = 1$$);
CALL at(now() - interval '45 days', $$UPDATE $t SET stage_id = CASE pipeline_id WHEN 1 THEN s('Sales', 'Lost') ELSE s('Takeovers', 'Refused') END, close_reason = 'price', competitor = 'rival' WHERE deal_id % 5 = 2$$);
CALL at(now() - interval '40 days', $$UPDATE $t SET stage_id = CASE pipeline_id WHEN 1 THEN s('Sales', 'Lead') ELSE s('Takeovers', 'Target') END WHERE deal_id % 25 = 2$$);
CALL at(now() - interval '30 days', $$UPDATE $t SET stage_id = CASE pipeline_id WHEN 1 THEN s('Sales', 'Waits') ELSE s('Takeovers', 'Target') END WHERE deal_id % 13 = 5$$);
CALL at(now() - interval '4 days', $$UPDATE $t SET stage_id = CASE pipeline_id WHEN 1 THEN s('Sales', 'Lead') ELSE s('Takeovers', 'Due diligence') END, next_action_at = now() + interval '3 days' WHERE deal_id % 11 = 4$$);
CALL at(now() - interval '3 days', $$DELETE FROM $t WHERE deal_id % 29 = 6$$);
INSERT INTO world_activity (deal_id, kind, done_at) SELECT deal_id, 'call', current_date - 10 FROM world WHERE deal_id % 2 = 0;
INSERT INTO part_activity (deal_id, kind, done_at) SELECT deal_id, 'call', current_date - 10 FROM part WHERE deal_id % 2 = 0;
SELECT count(*), count(*) FILTER (WHERE pipeline_id = 1) AS sales FROM world UNION ALL SELECT count(*), count(*) FROM part;
UPDATE pipelines.pipeline_stage SET entry_rule = 'amount > 500' WHERE stage_id IN (s('Sales', 'Offer'), s('Takeovers', 'Due diligence'));
UPDATE pipelines.pipeline_stage SET exit_rule = 'quantity > 0' WHERE stage_id IN (s('Sales', 'Lead'), s('Takeovers', 'Target'));
SELECT count(*) > 0 AS trained FROM pipelines.train_scores('world') w, pipelines.train_scores('part') p;
INSERT INTO pipelines.quota (relation, forecast_type_id, period_id, pipeline_id, owner, value)
	SELECT v.relation, 1, f.period_id, v.pipeline_id, v.owner, 5000 FROM pipelines.fiscal_period f,
		(VALUES ('world'::regclass, 1, 'owner 1'), ('world', 2, 'owner 1'), ('world', 2, 'owner 2'), ('part', 1, 'owner 1')) v(relation, pipeline_id, owner)
	WHERE f.kind = 'month' AND f.starts <= current_date AND f.ends > current_date - 60;
SELECT pipelines.protect_pipeline('Takeovers');

-- what each view and each function with no more than the table to be told says to a role, of one table
CREATE FUNCTION questions() RETURNS TABLE (what text, question text) LANGUAGE sql STABLE AS $$
	SELECT 'view ' || k.kind, format('SELECT to_jsonb(x) - ''{txid,recorded_at,scope_note,stddev}''::text[] FROM $t_%s x', k.kind) FROM pipelines._view_kinds() k
	UNION ALL
	SELECT 'function ' || p.proname, format('SELECT to_jsonb(x) - ''{txid,recorded_at,scope_note,stddev}''::text[] FROM pipelines.%I(''$t''%s) x', p.proname, coalesce(a.arguments, ''))
	FROM pg_proc p
	LEFT JOIN (VALUES ('bridge', ', now() - interval ''90 days'', now() - interval ''5 days'''), ('changes', ', now() - interval ''90 days'', now() - interval ''5 days'''),
		('stalling', ', now() + interval ''30 days'''), ('board', ''), ('journey', ', ''7'''), ('calibration', ', now() - interval ''60 days''')) a(name, arguments) ON a.name = p.proname
	WHERE p.pronamespace = 'pipelines'::regnamespace AND p.proretset AND p.provolatile = 's' AND p.proname !~ '^_' AND p.proname <> 'verify' AND p.proargtypes[0] = 'regclass'::regtype
		AND (p.pronargs - p.pronargdefaults = 1 OR a.arguments <> '')
	UNION ALL
	SELECT 'the past', 'SELECT to_jsonb(x) - ''{txid,recorded_at,scope_note,stddev}''::text[] FROM pipelines.as_of(NULL::$t, now() - interval ''65 days'') x'
	UNION ALL
	SELECT 'function ' || f || ' of the past', format('SELECT to_jsonb(x) - ''stddev'' FROM pipelines.%I(''$t'', as_of => now() - interval ''55 days'') x', f)
	FROM unnest('{funnel,win_rate,velocity,flow,load,time_in_stage,stalled,scores,forecast_report}'::text[]) f
$$;
CREATE FUNCTION compare() RETURNS TABLE (what text, rows boolean, hidden bigint, apart bigint, said text) LANGUAGE plpgsql AS $$
DECLARE
	q record;
BEGIN
	FOR q IN SELECT * FROM questions() ORDER BY 1 LOOP
		what := q.what; said := NULL;
		BEGIN
			EXECUTE format('WITH w AS MATERIALIZED (SELECT x::jsonb AS j FROM (%s) w(x)), p AS MATERIALIZED (SELECT x::jsonb AS j FROM (%s) p(x))
				SELECT (SELECT count(*) > 0 FROM w), (SELECT count(*) FROM w WHERE j::text ~ ''Takeovers|Target|diligence|Signed|Refused''),
					(SELECT count(*) FROM ((TABLE w EXCEPT ALL TABLE p) UNION ALL (TABLE p EXCEPT ALL TABLE w)) x)',
				replace(q.question, '$t', 'world'), replace(q.question, '$t', 'part')) INTO rows, hidden, apart;
		EXCEPTION WHEN OTHERS THEN
			said := SQLSTATE || ' ' || SQLERRM;
		END;
		RETURN NEXT;
	END LOOP;
END
$$;
-- the owner sees more in the one than in the other
SELECT count(*) > 40 AS many, count(*) FILTER (WHERE apart > 0) > 30 AS told_apart, count(*) FILTER (WHERE said IS NOT NULL) AS errors FROM compare();
SET ROLE regress_as_if_clerk;
SELECT c.* FROM compare() c;
RESET ROLE;

\c :home
DROP DATABASE regress_pipelines_access_as_if;
DROP ROLE regress_as_if_clerk;
