-- flow.sql: what moved between two instants (R-7.2): deals that go to another
-- pipeline, are deleted, and come back, with a key of two columns; against a count
-- by hand.  In a database of its own.
\set ECHO none
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_pipelines_flow;
CREATE DATABASE regress_pipelines_flow TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\set home :DBNAME
\c regress_pipelines_flow
\i test/data/checks.sql
\set ECHO all
SET timezone = 'UTC';
SELECT pipelines.create_pipeline('Cars', time_zone => 'UTC', stages => '[
	{"name": "Lead", "probability": 10}, {"name": "Offer", "probability": 50},
	{"name": "Won", "outcome": "won"}, {"name": "Lost", "outcome": "lost"}]') AS cars,
	pipelines.create_pipeline('Repairs', time_zone => 'UTC', stages => '[
	{"name": "Asked", "probability": 20}, {"name": "Paused", "outcome": "on_hold"}, {"name": "Repaired", "outcome": "won"}]') AS repairs;
SELECT pipelines.create_deals('sold', currency => 'EUR', key => '{tenant,no}');

-- before the instant from which on flow() counts
INSERT INTO sold (tenant, no, name, pipeline_id, stage_id, owner, amount, currency, created_at)
SELECT 1, g, 'early ' || g, 1, 1, 'ann', g * 10, 'EUR', now() - interval '10 days' FROM generate_series(1, 12) g;
SELECT now() AS since \gset
SELECT pg_sleep(0.001) \g /dev/null
INSERT INTO sold (tenant, no, name, pipeline_id, stage_id, owner, amount, currency)
SELECT 2, g, 'late ' || g, 1, 1 + g % 2, 'bob', CASE WHEN g < 4 THEN g * 10 END, CASE WHEN g % 2 = 0 THEN 'USD' END FROM generate_series(1, 5) g;
UPDATE sold SET stage_id = 2 WHERE tenant = 1 AND no <= 6;
UPDATE sold SET stage_id = 3 WHERE tenant = 1 AND no IN (1, 2);
UPDATE sold SET stage_id = 1 WHERE tenant = 1 AND no = 2;
UPDATE sold SET stage_id = 4, close_reason = 'price' WHERE tenant = 1 AND no = 3;
UPDATE sold SET pipeline_id = 2, stage_id = (SELECT stage_id FROM pipelines.stage WHERE name = 'Asked') WHERE no IN (4, 5);
UPDATE sold SET stage_id = (SELECT stage_id FROM pipelines.stage WHERE name = 'Paused') WHERE no = 5 AND tenant = 1;
UPDATE sold SET pipeline_id = 2, stage_id = (SELECT stage_id FROM pipelines.stage WHERE name = 'Repaired') WHERE no = 8;
DELETE FROM sold WHERE no IN (1, 7, 9, 10);
-- back: open, made closed, and elsewhere
UPDATE sold SET pipeline_id = 1, stage_id = 2 WHERE tenant = 1 AND no = 8;
UPDATE sold SET pipeline_id = 2, stage_id = (SELECT stage_id FROM pipelines.stage WHERE name = 'Repaired') WHERE tenant = 1 AND no = 6;
INSERT INTO sold (tenant, no, name, pipeline_id, stage_id, owner, amount) VALUES
	(3, 1, 'made closed', 1, 3, 'dan', 5), (3, 2, 'made closed', 1, 4, 'dan', 6), (3, 3, 'made closed', 1, 3, 'dan', 7);
UPDATE sold SET amount = 8 WHERE tenant = 3 AND no = 2;
UPDATE sold SET stage_id = 1 WHERE tenant = 3 AND no = 3;
INSERT INTO sold (tenant, no, name, pipeline_id, stage_id, owner, amount) VALUES
	(1, 7, 'again', 1, 1, 'cid', 70), (1, 1, 'again', 1, 3, 'cid', 1),
	(1, 9, 'again', 2, (SELECT stage_id FROM pipelines.stage WHERE name = 'Asked'), 'cid', 90);

SELECT kind, pipeline_name, stage_name, to_stage_name, currency, n, unpriced, amount, mean_age_days FROM pipelines.flow('sold', since => :'since');
-- what was open, and what was added to it, is what is open, in each pipeline (all of these were open before)
SELECT pipeline_name, sum(n * CASE WHEN kind IN ('new', 'reopened', 'transferred_in') THEN 1 WHEN kind IN ('moved') THEN 0 ELSE -1 END)
	+ CASE pipeline_name WHEN 'Cars' THEN 12 ELSE 0 END AS unexplained
FROM pipelines.flow('sold', since => :'since') WHERE NOT (kind = 'deleted' AND stage_name IN ('Won', 'Lost')) GROUP BY 1 ORDER BY 1;

-- the same by hand, by owner: one row per event, from pairs of versions
CREATE FUNCTION by_hand(since timestamptz, until timestamptz)
RETURNS TABLE (pipeline_id integer, kind text, stage_id integer, to_stage_id integer, value text, currency text, n bigint, amount numeric) LANGUAGE sql AS $$
	WITH version AS (
		SELECT tenant, no, version, change, valid_from, valid_to, pipeline_id, stage_id, owner, coalesce(currency, 'EUR') AS currency, amount FROM sold_history
		UNION ALL
		SELECT tenant, no, version, NULL, changed_at, 'infinity', pipeline_id, stage_id, owner, coalesce(currency, 'EUR'), amount FROM sold
	), pair AS (
		SELECT v.*, b.change AS before, n.pipeline_id AS to_pipeline, n.stage_id AS to_stage, s.outcome, o.outcome AS was
		FROM version v
		LEFT JOIN version b ON (b.tenant, b.no, b.version) = (v.tenant, v.no, v.version - 1)
		LEFT JOIN version n ON (n.tenant, n.no, n.version) = (v.tenant, v.no, v.version + 1) AND v.change <> 'delete'
		LEFT JOIN pipelines.pipeline_stage s ON (s.pipeline_id, s.stage_id) = (n.pipeline_id, n.stage_id)
		LEFT JOIN pipelines.pipeline_stage o ON (o.pipeline_id, o.stage_id) = (v.pipeline_id, v.stage_id)
	), event AS (
		SELECT pipeline_id, 'new' AS kind, NULL::integer AS f, stage_id AS t, owner, currency, amount, valid_from AS at FROM pair
		WHERE before IS NULL AND version = 1 OR before = 'delete'
		UNION ALL SELECT pipeline_id, 'deleted', stage_id, NULL, owner, currency, amount, valid_to FROM pair WHERE change = 'delete'
		UNION ALL SELECT pipeline_id, 'transferred_out', stage_id, to_stage, owner, currency, amount, valid_to FROM pair WHERE to_pipeline <> pipeline_id
		UNION ALL SELECT to_pipeline, 'transferred_in', NULL, to_stage, owner, currency, amount, valid_to FROM pair WHERE to_pipeline <> pipeline_id
		UNION ALL SELECT to_pipeline, outcome, NULL, to_stage, owner, currency, amount, valid_to FROM pair WHERE to_pipeline <> pipeline_id AND change = 'close'
		UNION ALL SELECT pipeline_id, 'reopened', stage_id, NULL, owner, currency, amount, valid_to FROM pair WHERE to_pipeline <> pipeline_id AND change = 'reopen'
		UNION ALL SELECT pipeline_id, was, NULL, stage_id, owner, currency, amount, valid_from FROM pair
			WHERE (before IS NULL AND version = 1 OR before = 'delete') AND was IN ('won', 'lost')
		UNION ALL SELECT pipeline_id, CASE WHEN was IN ('won', 'lost') AND outcome NOT IN ('won', 'lost') THEN 'reopened'
				WHEN outcome IN ('won', 'lost') THEN outcome ELSE 'moved' END, stage_id, to_stage, owner, currency, amount, valid_to
			FROM pair WHERE to_pipeline = pipeline_id AND to_stage <> stage_id
		UNION ALL SELECT pipeline_id, 'left_open', stage_id, NULL, owner, currency, amount, until FROM pair
			WHERE valid_from <= until AND valid_to > until AND was IN ('open', 'on_hold')
	)
	SELECT pipeline_id, kind, f, t, owner, currency, count(*), coalesce(sum(amount), 0) FROM event WHERE at > since AND at <= until GROUP BY 1, 2, 3, 4, 5, 6
$$;
SELECT clock_timestamp() AS until \gset
SELECT (SELECT count(*) FROM by_hand(:'since', :'until')) AS kinds, count(*) AS differences FROM (
	(SELECT pipeline_id, kind, stage_id, to_stage_id, value, currency, n, amount FROM pipelines.flow('sold', since => :'since', by => 'owner', as_of => :'until')
	 EXCEPT ALL SELECT * FROM by_hand(:'since', :'until'))
	UNION ALL
	(SELECT * FROM by_hand(:'since', :'until')
	 EXCEPT ALL SELECT pipeline_id, kind, stage_id, to_stage_id, value, currency, n, amount FROM pipelines.flow('sold', since => :'since', by => 'owner', as_of => :'until'))) x;
-- at each instant at which something happened, and the pipelines one by one
CREATE FUNCTION one_by_one(until timestamptz)
RETURNS TABLE (pipeline_id integer, kind text, stage_id integer, to_stage_id integer, value text, currency text, n bigint, amount numeric) LANGUAGE sql AS $$
	SELECT f.pipeline_id, f.kind, f.stage_id, f.to_stage_id, f.value, f.currency, f.n, f.amount
	FROM unnest('{Cars,Repairs}'::text[]) p, pipelines.flow('sold', since => '-infinity', by => 'owner', pipeline => p, as_of => until) f
$$;
SELECT count(DISTINCT i.at) > 8 AS several, count(x.*) AS differences FROM (
	SELECT valid_to AS at FROM sold_history UNION SELECT valid_from FROM sold_history) i
LEFT JOIN LATERAL (
	(SELECT * FROM one_by_one(i.at) EXCEPT ALL SELECT * FROM by_hand('-infinity', i.at))
	UNION ALL
	(SELECT * FROM by_hand('-infinity', i.at) EXCEPT ALL SELECT * FROM one_by_one(i.at))) x ON true;
-- over all pipelines, transfers cancel
SELECT kind, sum(n) AS n, sum(amount) AS amount FROM pipelines.flow('sold', since => :'since') WHERE kind ~ '^transferred' GROUP BY 1 ORDER BY 1;
-- who came back made closed was never on its way, whatever became of its key before
SELECT n, unknown FROM pipelines.cycle('sold', pipeline => 'Cars');
SELECT n, mean_value, win_rate, cycle_days FROM pipelines.velocity('sold', pipeline => 'Cars') WHERE currency = 'EUR';

-- keys that are numbers, with ages: few moves, whose deals are joined, and so many
-- that instants of creation are looked up in a table of their own, which holds keys
-- that lie together as places, others by their hash
CREATE FUNCTION ages_by_hand(since timestamptz, until timestamptz, deals text)
RETURNS TABLE (pipeline_id integer, kind text, stage_id integer, to_stage_id integer, n bigint, amount numeric, days numeric) LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY EXECUTE format($q$WITH version AS (
		SELECT deal_id, version, change, valid_from, valid_to, pipeline_id, stage_id, amount FROM %1$I
		UNION ALL
		SELECT deal_id, version, NULL, changed_at, 'infinity', pipeline_id, stage_id, amount FROM %2$I
	), pair AS (
		SELECT v.*, b.change AS before, n.pipeline_id AS to_pipeline, n.stage_id AS to_stage, s.outcome, o.outcome AS was,
			-- of a life that ended, since its first version; of the one that goes on, as its row says
			CASE WHEN EXISTS (SELECT FROM %1$I e WHERE e.deal_id = v.deal_id AND e.change = 'delete' AND e.version >= v.version)
				 THEN (SELECT b.valid_from FROM %1$I b WHERE b.deal_id = v.deal_id AND b.version
					= 1 + coalesce((SELECT max(e.version) FROM %1$I e WHERE e.deal_id = v.deal_id AND e.change = 'delete' AND e.version < v.version), 0))
				 ELSE d.created_at END AS created
		FROM version v
		LEFT JOIN version b ON (b.deal_id, b.version) = (v.deal_id, v.version - 1)
		LEFT JOIN version n ON (n.deal_id, n.version) = (v.deal_id, v.version + 1) AND v.change <> 'delete'
		LEFT JOIN %2$I d ON d.deal_id = v.deal_id
		LEFT JOIN pipelines.pipeline_stage s ON (s.pipeline_id, s.stage_id) = (n.pipeline_id, n.stage_id)
		LEFT JOIN pipelines.pipeline_stage o ON (o.pipeline_id, o.stage_id) = (v.pipeline_id, v.stage_id)
	), event AS (
		SELECT pipeline_id, 'new' AS kind, NULL::integer AS f, stage_id AS t, amount, valid_from AS at, valid_from AS created FROM pair
		WHERE before IS NULL AND version = 1 OR before = 'delete'
		UNION ALL SELECT pipeline_id, 'deleted', stage_id, NULL, amount, valid_to, created FROM pair WHERE change = 'delete'
		UNION ALL SELECT pipeline_id, 'transferred_out', stage_id, to_stage, amount, valid_to, created FROM pair WHERE to_pipeline <> pipeline_id
		UNION ALL SELECT to_pipeline, 'transferred_in', NULL, to_stage, amount, valid_to, created FROM pair WHERE to_pipeline <> pipeline_id
		UNION ALL SELECT to_pipeline, outcome, NULL, to_stage, amount, valid_to, created FROM pair WHERE to_pipeline <> pipeline_id AND change = 'close'
		UNION ALL SELECT pipeline_id, was, NULL, stage_id, amount, valid_from, valid_from FROM pair
			WHERE (before IS NULL AND version = 1 OR before = 'delete') AND was IN ('won', 'lost')
		UNION ALL SELECT pipeline_id, CASE WHEN was IN ('won', 'lost') AND outcome NOT IN ('won', 'lost') THEN 'reopened'
				WHEN outcome IN ('won', 'lost') THEN outcome ELSE 'moved' END, stage_id, to_stage, amount, valid_to, created
			FROM pair WHERE to_pipeline = pipeline_id AND to_stage <> stage_id
		UNION ALL SELECT pipeline_id, 'left_open', stage_id, NULL, amount, $2, created FROM pair
			WHERE valid_from <= $2 AND valid_to > $2 AND was IN ('open', 'on_hold')
	)
	SELECT pipeline_id, kind, f, t, count(*), coalesce(sum(amount), 0), round((avg(CASE WHEN created IS NOT NULL THEN date_part('epoch', greatest(at - created, '0')) END) / 86400)::numeric, 2)
	FROM event WHERE at > $1 AND at <= $2 GROUP BY 1, 2, 3, 4$q$, deals || '_history', deals)
	USING since, until;
END
$$;
CREATE FUNCTION make_numbered(deals text, key text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	n bigint;
BEGIN
	PERFORM pipelines.create_deals(deals, currency => 'EUR');
	EXECUTE format('CREATE TEMP VIEW events AS SELECT %s AS deal_id, timestamptz ''2024-01-01'' + (g %% 97 + v * (1 + g %% 11)) * interval ''1 day'' + g * interval ''1 second'' AS at,
		CASE v %% 5 WHEN 4 THEN (ARRAY[3, 4, 2])[1 + g %% 3] ELSE 1 + (v + g) %% 2 END AS stage_id, 1 AS pipeline_id, nullif(g %% 50, 0) * 10.0 AS amount
		FROM generate_series(1::bigint, 400) g, generate_series(0, 6) v', key);
	PERFORM FROM pipelines.import_history(deals, 'events');
	DROP VIEW events;
	-- deleted; deleted and back; gone elsewhere
	EXECUTE format('DELETE FROM %I WHERE deal_id IN (SELECT deal_id FROM %1$I ORDER BY deal_id LIMIT 40)', deals);
	EXECUTE format('INSERT INTO %1$I (deal_id, pipeline_id, stage_id, amount) SELECT deal_id, 1, 1 + abs(deal_id) %% 2, 5 FROM %2$I WHERE change = ''delete'' AND abs(deal_id) %% 3 = 0', deals, deals || '_history');
	EXECUTE format('UPDATE %I SET pipeline_id = 2, stage_id = pipelines.stage_id(''Repairs'', ''Asked'') WHERE deal_id IN (SELECT deal_id FROM %1$I WHERE closed_at IS NULL AND pipeline_id = 1 ORDER BY deal_id DESC LIMIT 30)', deals);
	EXECUTE format('ANALYZE %I', deals);
	EXECUTE format('SELECT count(*) FROM %I', deals || '_history') INTO STRICT n;
	RETURN n;
END
$$;
CREATE FUNCTION ages_apart(deals text) RETURNS TABLE (since timestamptz, until timestamptz, rows bigint, tabled boolean, apart bigint) LANGUAGE plpgsql AS $$
BEGIN
	FOR since, until IN VALUES (timestamptz '-infinity', timestamptz 'infinity'), ('2024-01-20', 'infinity'), ('2024-05-20', 'infinity'), ('2024-01-20', '2024-04-01'), ('2024-05-01', '2024-06-01') LOOP
		tabled := pipelines._many_moves(deals::regclass, since);
		SELECT count(*), count(*) FILTER (WHERE h.n IS DISTINCT FROM f.n OR h.amount IS DISTINCT FROM f.amount OR abs(h.days - f.mean_age_days) > 0.01
										  OR (h.days IS NULL) <> (f.mean_age_days IS NULL))
		INTO rows, apart
		FROM pipelines.flow(deals::regclass, since => since, as_of => least(until, now())) f
		FULL JOIN ages_by_hand(since, CASE until WHEN 'infinity' THEN clock_timestamp() ELSE until END, deals) h ON (h.pipeline_id, h.kind, coalesce(h.stage_id, 0), coalesce(h.to_stage_id, 0))
			= (f.pipeline_id, f.kind, coalesce(f.stage_id, 0), coalesce(f.to_stage_id, 0));
		RETURN NEXT;
	END LOOP;
END
$$;
SELECT make_numbered('close_together', 'g'), make_numbered('far_apart', 'g * g * 57885161003 * (1 - 2 * (g % 2))');
SELECT * FROM ages_apart('close_together');
SELECT * FROM ages_apart('far_apart');
SELECT min(mean_age_days) > 0 FROM pipelines.flow('far_apart', since => '-infinity') WHERE kind = 'deleted';
-- deals of which nobody knows when they were created
ALTER TABLE far_apart ALTER created_at DROP NOT NULL;
UPDATE far_apart SET created_at = NULL WHERE stage_id = 1;
SELECT * FROM ages_apart('far_apart') WHERE until = 'infinity';

-- a report of the present tells what its own transaction did, which was after its now()
BEGIN;
INSERT INTO close_together (deal_id, amount, stage_id) VALUES (1000, 5, 1);
UPDATE close_together SET stage_id = 2 WHERE deal_id = 1000;
UPDATE close_together SET stage_id = 3 WHERE deal_id = 1000;
SELECT * FROM ages_apart('close_together') WHERE until = 'infinity';
SELECT kind, stage_name, to_stage_name, n FROM close_together_flow WHERE kind NOT IN ('left_open', 'new') AND to_stage_name IS NOT NULL ORDER BY 1, 2, 3;
SELECT leg, deals, value FROM close_together_bridge WHERE leg IN ('created', 'won');
SELECT deal, leg, value, stage_after = 3 AS in_won, flags FROM close_together_changes WHERE deal = '1000' ORDER BY 2;
SELECT deal, flags, stage_name FROM close_together_review WHERE deal = '1000';
SELECT count(*) FILTER (WHERE deal = '1000') AS open, (max(won) = (SELECT sum(won) FROM pipelines.win_rate('close_together'))) AS known FROM pipelines.scores('close_together');
-- but the past ends where it is said to
SELECT leg, deals, value FROM pipelines.bridge('close_together', "to" => now() - interval '1 microsecond') WHERE leg IN ('created', 'won');
ROLLBACK;
-- no end of time, and no column that says it
UPDATE close_together SET created_at = '-infinity' WHERE deal_id % 3 = 0;
SELECT since, count(*) > 5 AS rows FROM unnest('{-infinity,2024-05-20}'::timestamptz[]) since, pipelines.flow('close_together', since => since) GROUP BY 1 ORDER BY 1;
SET client_min_messages = warning;
ALTER TABLE close_together DROP COLUMN created_at CASCADE;
RESET client_min_messages;
SELECT count(*) > 10 AS rows, count(mean_age_days) FILTER (WHERE kind = 'left_open') AS ages FROM pipelines.flow('close_together', since => '-infinity');
-- a name that looks like a qualified one
CREATE TABLE dotted ("data.record.id" integer PRIMARY KEY, phase text, "a.worth" numeric, made timestamptz NOT NULL DEFAULT now(), gone boolean NOT NULL DEFAULT false);
INSERT INTO dotted ("data.record.id", phase, "a.worth", made) SELECT n, 'Some', n, now() - interval '1 day' FROM generate_series(1, 1100) n;
SELECT count(*) > 0 AS adopted FROM pipelines.adopt('dotted', stage => 'phase', amount => 'a.worth', currency => 'EUR', columns => '{"created_at": "made"}', live => 'NOT gone', apply => true);
SELECT clock_timestamp() AS between \gset
UPDATE dotted SET pipeline_id = 2, stage_id = (SELECT stage_id FROM pipelines.stage WHERE name = 'Asked');
SELECT pipelines._many_moves('dotted', now() - interval '1 hour') AS tabled;
SELECT kind, pipeline_name, n, mean_age_days FROM pipelines.flow('dotted', since => :'between');
SELECT count(*), sum(n) FROM pipelines.flow('dotted', since => :'between', as_of => :'between');

-- an adoption creates no deal (R-13.1): reports of the days after it begin with it
CREATE TABLE lots (id integer PRIMARY KEY, phase text, value numeric, made_at timestamptz);
INSERT INTO lots VALUES (1, 'Offered', 10, '2020-01-01'), (2, 'Offered', 20, '2020-01-02'), (3, 'Seen', 30, '2020-01-03'), (4, 'Closed won', 40, '2020-01-04');
SELECT count(*) > 0 AS adopted FROM pipelines.adopt('lots', stage => 'phase', amount => 'value', currency => 'EUR', pipeline => 'Lots', columns => '{"created_at": "made_at"}', apply => true);
SELECT kind, sum(n) AS n FROM lots_flow GROUP BY 1;
SELECT count(*) AS new FROM lots_review WHERE 'new' = ANY (flags);
SELECT leg, deals, value FROM lots_bridge WHERE deals > 0;
SELECT count(*) FROM lots_changes;
UPDATE lots SET phase = 'Seen', value = 15 WHERE id = 1;
DELETE FROM lots WHERE id = 2;
INSERT INTO lots VALUES (5, 'Offered', 50, '2020-01-05'), (2, 'Seen', 60, '2020-01-06');
SELECT kind, stage_name, to_stage_name, n, amount FROM pipelines.flow('lots') WHERE kind <> 'left_open';
SELECT deal, flags, amount_before, amount, stage_before FROM pipelines.review('lots') WHERE flags && '{new,moved}' ORDER BY 1;
SELECT leg, deals, value FROM lots_bridge WHERE deals > 0;
SELECT deal, leg, value FROM lots_changes ORDER BY 1, 2;
-- a table without owners
SELECT value, n, amount FROM lots_load;
SELECT version, change, stage_name FROM pipelines.journey('lots', '1');
SELECT version, change, stage_name FROM pipelines.journey('lots', '2');
SELECT version, change, stage_name FROM pipelines.journey('lots', '5');
-- whoever asks for an instant before it is told
SELECT try($t$SELECT count(*) FROM pipelines.bridge('lots', now() - interval '7 days')$t$) ~ '22023: nothing is known of "lots" at ' AS told,
	try($t$SELECT count(*) FROM pipelines.bridge('lots', NULL, now() - interval '7 days')$t$) ~ '22023: nothing is known of "lots" at ' AS told_too;
SELECT try($t$SELECT count(*) FROM pipelines.trend('lots', as_of => now() - interval '7 days')$t$) ~ '22023: nothing is known of "lots" at ' AS trend,
	try($t$SELECT count(*) FROM pipelines.transitions('lots', as_of => now() - interval '7 days')$t$) ~ '22023: nothing is known of "lots" at ' AS transitions;
-- weeks of which the past of some deals only was imported are none
CREATE TABLE some_past (id integer, at timestamptz, stage text);
INSERT INTO some_past VALUES (77, now() - interval '60 days', 'Offered'), (77, now() - interval '30 days', 'Seen');
SELECT deals, rows FROM pipelines.import_history('lots', 'some_past') \g /dev/null
SELECT count(*) > 0 AS imported FROM lots_history WHERE id = 77;
SELECT count(*) AS weeks FROM pipelines.trend('lots');
-- once the past of all of them is known, it begins with a creation again
CREATE TABLE known (id integer PRIMARY KEY, phase text);
INSERT INTO known VALUES (1, 'Seen'), (2, 'Seen');
SELECT count(*) > 0 AS adopted FROM pipelines.adopt('known', stage => 'phase', pipeline => 'Lots', apply => true);
CREATE TABLE known_past (id integer, at timestamptz, stage text);
INSERT INTO known_past SELECT id, timestamptz '2024-01-01' + id * interval '1 day', 'Offered' FROM known UNION ALL SELECT id, '2024-02-01', 'Seen' FROM known;
SELECT count(*) FROM pipelines.import_history('known', 'known_past');
SELECT kind, n FROM pipelines.flow('known', '2023-01-01') ORDER BY 1;
SELECT version, at, change, stage_name FROM pipelines.journey('known', '1');

\c :home
SET client_min_messages = warning;
DROP DATABASE regress_pipelines_flow;
