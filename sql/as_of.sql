-- The time machine: as_of() and what it stands on.
-- In a database of its own, since schema pipelines is one per database.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT current_database() AS home \gset
DROP DATABASE IF EXISTS regress_pipelines_as_of;
CREATE DATABASE regress_pipelines_as_of;
CREATE ROLE regress_as_of_owner;
CREATE ROLE regress_as_of_reader;
CREATE ROLE regress_as_of_mallory;
\c regress_pipelines_as_of
SET lc_messages = 'C';
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
CREATE EXTENSION pipelines;

-- Is as_of() planned through T_as_of, that is, without a function scan?
CREATE FUNCTION inlined(query text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	plan json;
BEGIN
	EXECUTE 'EXPLAIN (FORMAT json) ' || query INTO plan;
	RETURN plan::text !~ '"Node Type": "(Function Scan|ProjectSet)"';
END
$$;

SELECT pipelines.create_pipeline('Sales', stages => '["Lead", "Quote", "Won", "Lost"]', time_zone => 'UTC');
SELECT pipelines.create_deals('deals');

-- ----- instants

-- three deals on New Year's Day; one moves, one goes, one stays
SET pipelines.event_time = '2026-01-01 00:00+00';
INSERT INTO deals (deal_id, name, account, amount) VALUES (1, 'one', 'a', 10), (2, 'two', 'b', 20), (3, 'three', 'c', 30);
SET pipelines.event_time = '2026-02-01 00:00+00';
UPDATE deals SET stage_id = pipelines.stage_id('Sales', 'Quote') WHERE deal_id = 2;
SET pipelines.event_time = '2026-02-01 00:00:00.000001+00';
UPDATE deals SET amount = 25 WHERE deal_id = 2;
SET pipelines.event_time = '2026-03-01 00:00+00';
UPDATE deals SET stage_id = pipelines.stage_id('Sales', 'Won'), closed_on = '2026-02-27' WHERE deal_id = 2;
DELETE FROM deals WHERE deal_id = 3;
SET pipelines.event_time = '2026-04-01 00:00+00';
INSERT INTO deals (deal_id, amount) VALUES (3, 33);
UPDATE deals SET amount = 34 WHERE deal_id = 3;		-- a version that no instant sees
RESET pipelines.event_time;

CREATE VIEW instant AS SELECT * FROM (VALUES
	(1, '-infinity'::timestamptz), (2, '2025-12-31 23:59:59.999999'), (3, '2026-01-01 00:00'), (4, '2026-01-31 23:59:59.999999'),
	(5, '2026-02-01 00:00'), (6, '2026-02-01 00:00:00.000001'), (7, '2026-02-28 23:59:59.999999'), (8, '2026-03-01 00:00'),
	(9, '2026-03-31 23:59:59.999999'), (10, '2026-04-01 00:00'), (11, 'infinity')) AS i(n, at);
SELECT i.n, i.at, a.deal_id, a.stage_id, a.amount, a.closed_on, a.version, a.changed_at, a.stage_entered_at
FROM instant i LEFT JOIN LATERAL pipelines.as_of(NULL::deals, i.at) a ON true
ORDER BY i.n, a.deal_id;

-- what isn't tracked is NULL, in rows of the past and in present ones
SELECT deal_id, name, account, created_at, created_by, attributes FROM pipelines.as_of(NULL::deals, '2026-01-15') ORDER BY 1;
-- a NULL instant: no row is known to qualify
SELECT count(*) FROM pipelines.as_of(NULL::deals, NULL);
SELECT count(*) FROM pipelines.as_of(NULL::deals, (SELECT NULL::timestamptz));

-- ----- plans

SELECT inlined($$SELECT * FROM pipelines.as_of(NULL::deals, '2026-02-01')$$);
SELECT inlined($$SELECT stage_id, sum(amount) FROM pipelines.as_of(NULL::deals, now() - interval '7 days') WHERE amount > 5 GROUP BY 1$$);
SELECT inlined($$SELECT * FROM instant i, pipelines.as_of(NULL::deals, i.at)$$);
SELECT inlined($$SELECT * FROM deals d LEFT JOIN pipelines.as_of(NULL::deals, '2026-02-01') a USING (deal_id)$$);
PREPARE at_instant(timestamptz) AS SELECT sum(amount) FROM pipelines.as_of(NULL::deals, $1);
SET plan_cache_mode = force_generic_plan;
SELECT inlined($$EXECUTE at_instant('2026-01-15')$$);
EXECUTE at_instant('2026-01-15');
EXECUTE at_instant('2026-03-15');
RESET plan_cache_mode;
-- not these, which give the same rows
SELECT inlined($$SELECT * FROM pipelines.as_of(NULL::deals, clock_timestamp())$$);
SELECT inlined($$SELECT * FROM pipelines.as_of((SELECT d FROM deals d LIMIT 1), '2026-02-01')$$);
SELECT deal_id, amount FROM pipelines.as_of((SELECT d FROM deals d LIMIT 1), '2026-02-01') ORDER BY 1;
SELECT (pipelines.as_of(NULL::deals, '2026-02-01')).deal_id ORDER BY 1;
SELECT n, deal_id FROM pipelines.as_of(NULL::deals, '2026-02-01') WITH ORDINALITY a(deal_id) , LATERAL (SELECT 1 AS n) x ORDER BY 2;
SELECT count(*) FROM ROWS FROM (pipelines.as_of(NULL::deals, '2026-02-01'), generate_series(1, 5)) r;
-- both ways give the same
CREATE FUNCTION slow_as_of(at timestamptz) RETURNS SETOF deals LANGUAGE sql VOLATILE AS $$
	SELECT * FROM pipelines.as_of((SELECT d FROM deals d WHERE false), $1)
$$;
SELECT i.n FROM instant i WHERE EXISTS (
	(SELECT * FROM slow_as_of(i.at) EXCEPT SELECT * FROM pipelines.as_of(NULL::deals, i.at))
	UNION ALL
	(SELECT * FROM pipelines.as_of(NULL::deals, i.at) EXCEPT SELECT * FROM slow_as_of(i.at)));

-- ----- what it can't be asked

SELECT * FROM pipelines.as_of(1, now());
SELECT * FROM pipelines.as_of(NULL::pipelines.stage, now());
SELECT * FROM pipelines.as_of(NULL::deals_history, now());
SELECT count(*) FROM pipelines.as_of(NULL::record, now());

-- ----- columns that come, go and change

ALTER TABLE deals ADD COLUMN junk integer DEFAULT 7;
ALTER TABLE deals DROP COLUMN junk;
ALTER TABLE deals ADD COLUMN doubled numeric GENERATED ALWAYS AS (amount * 2) STORED;
ALTER TABLE deals ADD COLUMN note text NOT NULL DEFAULT 'new';
-- T_as_of isn't what it should be any more: the slow way, the same rows
SELECT inlined($$SELECT * FROM pipelines.as_of(NULL::deals, '2026-02-01')$$);
SELECT deal_id, amount, doubled, note FROM pipelines.as_of(NULL::deals, '2026-02-01') ORDER BY 1;
SELECT count(*) > 0 FROM pipelines.rebuild_views('deals');
SELECT inlined($$SELECT * FROM pipelines.as_of(NULL::deals, '2026-02-01')$$);
SELECT deal_id, amount, doubled, note FROM pipelines.as_of(NULL::deals, '2026-02-01') ORDER BY 1;
SELECT a.* IS DISTINCT FROM s.* FROM pipelines.as_of(NULL::deals, '2026-02-01') a JOIN slow_as_of('2026-02-01') s USING (deal_id);
ALTER TABLE deals RENAME COLUMN amount TO worth;
SELECT inlined($$SELECT * FROM pipelines.as_of(NULL::deals, '2026-02-01')$$);
SELECT deal_id, worth FROM pipelines.as_of(NULL::deals, '2026-02-01') ORDER BY 1;
ALTER TABLE deals RENAME COLUMN worth TO amount;
SELECT inlined($$SELECT * FROM pipelines.as_of(NULL::deals, '2026-02-01')$$);
-- a plan that was kept notices
PREPARE kept AS SELECT count(*), count(note) FROM pipelines.as_of(NULL::deals, now());
EXECUTE kept;
SELECT pipelines.track('deals', 'note');
EXECUTE kept;

-- a column that is tracked from now on was not known before
SELECT inlined($$SELECT * FROM pipelines.as_of(NULL::deals, '2026-02-01')$$);
UPDATE deals SET note = 'changed' WHERE deal_id = 1;
SELECT deal_id, note FROM pipelines.as_of(NULL::deals, '2026-06-01') ORDER BY 1;
SELECT deal_id, note FROM pipelines.as_of(NULL::deals, clock_timestamp()) ORDER BY 1;
SELECT a.deal_id, a.note FROM deals_history h, LATERAL pipelines.as_of(NULL::deals, h.valid_to - interval '1 microsecond') a
WHERE h.deal_id = 1 AND h.note IS NOT NULL ORDER BY 1;

-- ----- names and rights

ALTER TABLE deals RENAME TO "Deals 'n' more";
SELECT inlined($$SELECT * FROM pipelines.as_of(NULL::"Deals 'n' more", '2026-02-01')$$);
SELECT count(*) FROM pipelines.as_of(NULL::"Deals 'n' more", '2026-02-01');
ALTER TABLE "Deals 'n' more" RENAME TO deals;
SELECT inlined($$SELECT * FROM pipelines.as_of(NULL::deals, '2026-02-01')$$);

CREATE SCHEMA app AUTHORIZATION regress_as_of_owner;
GRANT USAGE ON SCHEMA app TO PUBLIC;
SET ROLE regress_as_of_owner;
SELECT pipelines.create_deals('app.deals');
INSERT INTO app.deals (amount) VALUES (1), (2);
UPDATE app.deals SET amount = 3;
SELECT inlined($$SELECT * FROM pipelines.as_of(NULL::app.deals, now())$$);
SELECT deal_id, amount FROM pipelines.as_of(NULL::app.deals, 'infinity') ORDER BY 1;
-- the caller needs the history too
GRANT SELECT ON app.deals TO regress_as_of_reader;
SET ROLE regress_as_of_reader;
SELECT count(*) FROM pipelines.as_of(NULL::app.deals, 'infinity');
SELECT count(*) FROM pipelines.as_of(NULL::app.deals, clock_timestamp());
SET ROLE regress_as_of_owner;
GRANT SELECT ON app.deals_history TO regress_as_of_reader;
SET ROLE regress_as_of_reader;
SELECT inlined($$SELECT * FROM pipelines.as_of(NULL::app.deals, now())$$);
SELECT count(*) FROM pipelines.as_of(NULL::app.deals, 'infinity');
-- policies of both hold
SET ROLE regress_as_of_owner;
ALTER TABLE app.deals ENABLE ROW LEVEL SECURITY;
CREATE POLICY only_first ON app.deals USING (deal_id = 1);
ALTER TABLE app.deals_history ENABLE ROW LEVEL SECURITY;
CREATE POLICY only_first ON app.deals_history USING (deal_id = 1);
SET ROLE regress_as_of_reader;
SELECT deal_id, amount FROM pipelines.as_of(NULL::app.deals, 'infinity');
SELECT deal_id, amount FROM pipelines.as_of((SELECT d FROM app.deals d WHERE false), 'infinity');
SELECT inlined($$SELECT * FROM pipelines.as_of(NULL::app.deals, now())$$);

-- what others plant beside the table is never run: not with another body ...
RESET ROLE;
DROP FUNCTION app.deals_as_of(timestamptz);
CREATE FUNCTION app.deals_as_of(timestamptz) RETURNS SETOF app.deals LANGUAGE sql STABLE AS 'SELECT * FROM app.deals WHERE 1 / 0 = 1';
ALTER FUNCTION app.deals_as_of(timestamptz) OWNER TO regress_as_of_owner;
SELECT inlined($$SELECT * FROM pipelines.as_of(NULL::app.deals, now())$$);
SELECT count(*) FROM pipelines.as_of(NULL::app.deals, 'infinity');
-- ... nor of another owner, with settings, or as somebody else
SET ROLE regress_as_of_owner;
SELECT count(*) FROM pipelines.rebuild_views('app.deals') WHERE item LIKE 'function%';
SELECT inlined($$SELECT * FROM pipelines.as_of(NULL::app.deals, now())$$);
RESET ROLE;
ALTER FUNCTION app.deals_as_of(timestamptz) SET search_path = app;
SELECT inlined($$SELECT * FROM pipelines.as_of(NULL::app.deals, now())$$);
ALTER FUNCTION app.deals_as_of(timestamptz) RESET ALL;
SELECT inlined($$SELECT * FROM pipelines.as_of(NULL::app.deals, now())$$);
ALTER FUNCTION app.deals_as_of(timestamptz) SECURITY DEFINER;
SELECT inlined($$SELECT * FROM pipelines.as_of(NULL::app.deals, now())$$);
ALTER FUNCTION app.deals_as_of(timestamptz) SECURITY INVOKER;
ALTER FUNCTION app.deals_as_of(timestamptz) OWNER TO regress_as_of_mallory;
SELECT inlined($$SELECT * FROM pipelines.as_of(NULL::app.deals, now())$$);
ALTER FUNCTION app.deals_as_of(timestamptz) OWNER TO regress_as_of_owner;
REVOKE EXECUTE ON FUNCTION app.deals_as_of(timestamptz) FROM PUBLIC;
SET ROLE regress_as_of_reader;
SELECT inlined($$SELECT * FROM pipelines.as_of(NULL::app.deals, now())$$);
SELECT deal_id, amount FROM pipelines.as_of(NULL::app.deals, 'infinity');
RESET ROLE;
-- operators that somebody put first in the search_path are not used either
CREATE SCHEMA trap;
CREATE FUNCTION trap.never(timestamptz, timestamptz) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT 1 / 0 = 1';
CREATE OPERATOR trap.<= (LEFTARG = timestamptz, RIGHTARG = timestamptz, FUNCTION = trap.never);
CREATE OPERATOR trap.> (LEFTARG = timestamptz, RIGHTARG = timestamptz, FUNCTION = trap.never);
SET search_path = trap, pg_catalog, public;
SELECT count(*) FROM pipelines.as_of(NULL::deals, '2026-02-01');
SELECT count(*) FROM pipelines.as_of(NULL::app.deals, 'infinity');
RESET search_path;

-- ----- partitions, keys of several columns

SELECT pipelines.create_deals('parted', key => '{tenant_id,deal_id}', partition_by => 'LIST (tenant_id)');
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
-- a partition whose columns stand in another order
CREATE TABLE parted_2 (LIKE parted INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
ALTER TABLE parted_2 DROP COLUMN deal_id, ADD COLUMN deal_id bigint NOT NULL;
ALTER TABLE parted ATTACH PARTITION parted_2 FOR VALUES IN (2);
SELECT count(*) > 0 FROM pipelines.resume('parted');
SET pipelines.event_time = '2026-01-01 00:00+00';
INSERT INTO parted (tenant_id, deal_id, amount) VALUES (1, 1, 11), (1, 2, 12), (2, 1, 21), (2, 2, 22);
SET pipelines.event_time = '2026-02-01 00:00+00';
UPDATE parted SET amount = amount + 100 WHERE deal_id = 1;
UPDATE parted_2 SET amount = amount + 1000 WHERE deal_id = 2;
RESET pipelines.event_time;
SELECT inlined($$SELECT * FROM pipelines.as_of(NULL::parted, '2026-01-15')$$);
SELECT tenant_id, deal_id, amount FROM pipelines.as_of(NULL::parted, '2026-01-15') ORDER BY 1, 2;
SELECT tenant_id, deal_id, amount FROM pipelines.as_of(NULL::parted, '2026-02-01') ORDER BY 1, 2;
SELECT * FROM pipelines.as_of(NULL::parted_1, '2026-02-01');

-- ----- a table that was adopted knows nothing of the time before

UPDATE pipelines.tracked_table SET tracked_since = '2026-01-10 00:00+00', adopted = true WHERE relation = 'parted'::regclass;
SELECT inlined($$SELECT * FROM pipelines.as_of(NULL::parted, '2026-01-15')$$);
SELECT count(*) FROM pipelines.rebuild_views('parted') WHERE item LIKE 'function%';
SELECT inlined($$SELECT * FROM pipelines.as_of(NULL::parted, '2026-01-15')$$);
SELECT tenant_id, deal_id, amount FROM pipelines.as_of(NULL::parted, '2026-01-10') ORDER BY 1, 2;
SELECT tenant_id, deal_id, amount FROM pipelines.as_of(NULL::parted, '2026-01-09 23:59:59.999999+00');
\echo :LAST_ERROR_SQLSTATE
SELECT tenant_id, deal_id, amount FROM pipelines.as_of((SELECT d FROM parted d WHERE false), '2026-01-09');
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM pipelines.as_of(NULL::parted, NULL);

-- ----- settled_at

SELECT pipelines.settled_at() BETWEEN now() AND clock_timestamp();
BEGIN;
SELECT pipelines.settled_at() > now();
SELECT count(*) FROM deals;
SELECT pipelines.settled_at() > now();
UPDATE deals SET amount = amount + 1 WHERE deal_id = 1;
SELECT pipelines.settled_at() = now();
ROLLBACK;
SELECT pipelines.settled_at() >= now();
SET ROLE regress_as_of_reader;
SELECT pipelines.settled_at() >= now();
RESET ROLE;

\c :home
DROP DATABASE regress_pipelines_as_of;
DROP ROLE regress_as_of_owner, regress_as_of_reader, regress_as_of_mallory;
