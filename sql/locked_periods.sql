-- locked_periods.sql: what was closed in a locked fiscal period stays (R-9.3).
-- In a database of its own.
\set ECHO none
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_pipelines_locked_periods;
CREATE DATABASE regress_pipelines_locked_periods TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\set home :DBNAME
\c regress_pipelines_locked_periods
\i test/data/checks.sql
\set ECHO all
CREATE ROLE regress_locked_finance;
CREATE ROLE regress_locked_owner;
CREATE ROLE regress_locked_clerk;
GRANT CREATE, USAGE ON SCHEMA public TO regress_locked_owner;
SELECT pipelines.setup(owner => 'regress_locked_finance');
SELECT pipelines.create_fiscal_calendar('Standard', from_year => 2024, to_year => 2026, time_zone => 'UTC');
SELECT pipelines.create_fiscal_calendar('Retail', '4-5-4', from_year => 2023, to_year => 2026, time_zone => 'UTC');
SELECT pipelines.create_pipeline('Sales', stages => '["Lead", "Talks", {"name": "Sold", "outcome": "won"}, {"name": "Delivered", "outcome": "won"}, {"name": "Lost", "outcome": "lost"}]');
SELECT pipelines.create_pipeline('Shops', stages => '["Lead", "Talks", {"name": "Sold", "outcome": "won"}, {"name": "Lost", "outcome": "lost"}]');
UPDATE pipelines.pipeline SET calendar_id = pipelines.calendar_id('Retail'), time_zone = 'America/New_York' WHERE name = 'Shops';
SELECT pipelines.stage_id('Sales', 'Lead') AS lead, pipelines.stage_id('Sales', 'Talks') AS talks, pipelines.stage_id('Sales', 'Sold') AS sold,
	pipelines.stage_id('Sales', 'Delivered') AS delivered, pipelines.stage_id('Sales', 'Lost') AS lost, pipelines.pipeline_id('Shops') AS shops, pipelines.pipeline_id('Sales') AS sales \gset
SET ROLE regress_locked_owner;
SELECT pipelines.create_deals('deals');
GRANT SELECT, INSERT, UPDATE, DELETE ON deals TO regress_locked_clerk;
GRANT SELECT ON deals_history TO regress_locked_clerk;
INSERT INTO deals (name, amount, currency, stage_id, closed_on, closed_at, owner, close_reason) VALUES
	('jan', 100, 'EUR', :sold, '2024-01-15', '2024-01-15 12:00+00', 'ann', 'price'),
	('feb', 200, 'EUR', :sold, '2024-02-15', '2024-02-15 12:00+00', 'ann', NULL),
	('open', 300, 'EUR', :lead, NULL, NULL, 'bob', NULL);
INSERT INTO deals (name, amount, pipeline_id, stage_id, closed_at) VALUES ('shop', 400, :shops, :sold, '2024-02-04 03:00+00');
SELECT name, closed_on FROM deals ORDER BY deal_id;
RESET ROLE;

-- nobody but who may change definitions locks
SET ROLE regress_locked_clerk;
SELECT try($$SELECT pipelines.lock_period('Standard', 'Jan 2024')$$);
RESET ROLE;
SELECT try($$SELECT pipelines.lock_period('Standard', 'Smarch 2024')$$);
SELECT try($$SELECT pipelines.lock_period('Standard', '2024', kind => 'month')$$);
SELECT try($$SELECT pipelines.lock_period(99999)$$);
SELECT try($$SELECT pipelines.lock_period(NULL::integer)$$);
SELECT pipelines.lock_period('Standard', 'Jan 2024', reason => 'audited') AS january \gset
SELECT label, locked_at IS NOT NULL AS locked, lock_reason FROM pipelines.fiscal_period WHERE period_id = :january;
SELECT pipelines.lock_period(:january, 'again') = :january AS same;
SELECT lock_reason FROM pipelines.fiscal_period WHERE period_id = :january;
SELECT d, pipelines.locked_period_id(d) = :january AS locked, pipelines.locked_period_id(d, 'Retail') AS elsewhere
FROM (VALUES (date '2023-12-31'), ('2024-01-01'), ('2024-01-31'), ('2024-02-01'), (NULL), ('infinity')) v(d);

-- each thing that would change what was reported
SET ROLE regress_locked_clerk;
SELECT try($$UPDATE deals SET amount = 101 WHERE name = 'jan'$$);
SELECT try($$UPDATE deals SET currency = 'USD' WHERE name = 'jan'$$);
SELECT try($$UPDATE deals SET quantity = 3 WHERE name = 'jan'$$);
SELECT try($$UPDATE deals SET cost = 3 WHERE name = 'jan'$$);
SELECT try($$UPDATE deals SET amount = NULL WHERE name = 'jan'$$);
SELECT try($$UPDATE deals SET closed_on = '2024-02-01' WHERE name = 'jan'$$);
SELECT try($$UPDATE deals SET closed_on = '2024-01-16' WHERE name = 'jan'$$);
SELECT try($$UPDATE deals SET close_reason = 'luck' WHERE name = 'jan'$$);
SELECT try($$UPDATE deals SET competitor = 'them' WHERE name = 'jan'$$);
SELECT try($$UPDATE deals SET close_notes = 'see mail' WHERE name = 'jan'$$);
SELECT try(format('UPDATE deals SET stage_id = %s WHERE name = %L', :talks, 'jan'));
SELECT try(format('UPDATE deals SET stage_id = %s WHERE name = %L', :delivered, 'jan'));
SELECT try(format('UPDATE deals SET stage_id = %s WHERE name = %L', :lost, 'jan'));
SELECT try(format('UPDATE deals SET pipeline_id = %s WHERE name = %L', :shops, 'jan'));
SELECT try($$DELETE FROM deals WHERE name = 'jan'$$);
-- and what would not
SELECT try($$UPDATE deals SET owner = 'carl', name = 'jan' WHERE name = 'jan'$$);
SELECT try($$UPDATE deals SET amount = 100.00, currency = 'EUR', closed_on = '2024-01-15', next_action_at = '2027-01-01' WHERE name = 'jan'$$);
SELECT try($$UPDATE deals SET amount = 201 WHERE name = 'feb'$$);

-- into it
SELECT try(format('UPDATE deals SET stage_id = %s, closed_on = %L WHERE name = %L', :sold, '2024-01-31', 'open'));
SELECT try(format('UPDATE deals SET stage_id = %s, closed_at = %L WHERE name = %L', :sold, '2024-01-31 12:00+00', 'open'));
SELECT try($$UPDATE deals SET closed_on = '2024-01-31' WHERE name = 'feb'$$);
SELECT try(format('INSERT INTO deals (name, stage_id, closed_on) VALUES (%L, %s, %L)', 'new', :sold, '2024-01-31'));
SELECT try(format('INSERT INTO deals (name, stage_id, closed_on) VALUES (%L, %s, %L)', 'new', :sold, '2024-02-01'));
-- a closing of today is none of it
BEGIN;
SELECT try(format('UPDATE deals SET stage_id = %s WHERE name = %L', :sold, 'open'));
SELECT try(format('UPDATE deals SET stage_id = %s WHERE name = %L', :talks, 'open'));
ROLLBACK;
-- an upsert is judged as what it turns out to be
SELECT try(format('INSERT INTO deals (deal_id, name, stage_id, closed_on) VALUES (3, %L, %s, %L) ON CONFLICT (deal_id) DO UPDATE SET name = excluded.name', 'open', :sold, '2024-01-31'));
SELECT try(format('INSERT INTO deals (deal_id, name, stage_id, closed_on) VALUES (3, %L, %s, %L) ON CONFLICT (deal_id) DO UPDATE SET stage_id = excluded.stage_id, closed_on = excluded.closed_on', 'open', :sold, '2024-01-31'));

-- several at once; move_plan() and move_many() say which
SELECT try($$UPDATE deals SET amount = amount + 1 WHERE name IN ('jan', 'feb', 'open')$$);
SELECT deal, ok, sqlstate FROM pipelines.move_plan('deals', '{1,2,3}', 'Talks') ORDER BY deal;
BEGIN;
SELECT deal, ok, sqlstate FROM pipelines.move_many('deals', '{1,2,3}', 'Talks', on_refuse => 'skip') ORDER BY deal;
SELECT deal_id, stage_id = :talks AS moved FROM deals WHERE deal_id <= 3 ORDER BY 1;
ROLLBACK;
-- there is no bypass
RESET ROLE;
UPDATE pipelines.pipeline SET bypass_role = 'regress_locked_clerk';
SET ROLE regress_locked_clerk;
SET pipelines.bypass = on;
SET pipelines.reason = 'because';
SELECT try($$UPDATE deals SET amount = 101 WHERE name = 'jan'$$);
RESET pipelines.bypass;
RESET pipelines.reason;
RESET ROLE;

-- the calendar is the pipeline's: 2024-02-03 is the last day of the retailers' 2023
SELECT pipelines.lock_period('Retail', 'FY2023') AS retail \gset
SELECT try($$UPDATE deals SET amount = 401 WHERE name = 'shop'$$);
SELECT try($$UPDATE deals SET closed_on = '2024-02-04' WHERE name = 'shop'$$);
SELECT try($$UPDATE deals SET amount = 202 WHERE name = 'feb'$$);
SELECT try(format('UPDATE deals SET pipeline_id = %s, closed_on = %L WHERE name = %L', :shops, '2024-02-03', 'feb'));
-- year and month: the day is locked as long as one of them is
SELECT pipelines.lock_period('Retail', 'P12 FY2023') AS december \gset
SELECT pipelines.locked_period_id('2024-02-03', 'Retail') = :retail AS by_year;
SELECT try(format('SELECT pipelines.unlock_period(%s)', :retail));
SELECT pipelines.unlock_period(:retail, reason => 'wrong one') = :retail AS unlocked;
SELECT pipelines.locked_period_id('2024-02-03', 'Retail') = :december AS by_month, pipelines.locked_period_id('2023-12-30', 'Retail') AS before;
SELECT try($$UPDATE deals SET amount = 401 WHERE name = 'shop'$$);
SET pipelines.reason = 'restated';
SELECT pipelines.unlock_period('Retail', 'P12 FY2023') = :december AS unlocked;
RESET pipelines.reason;
SELECT try($$UPDATE deals SET amount = 401 WHERE name = 'shop'$$);
-- who locked what when, and why
SELECT h.label, h.version, h.locked_at IS NOT NULL AS locked, h.lock_reason, h.change, h.actor = session_user AS by_me FROM pipelines.fiscal_period_history h ORDER BY h.period_id, h.version;
SELECT label, version, locked_at, lock_reason FROM pipelines.fiscal_period WHERE period_id IN (:retail, :december) ORDER BY period_id;

-- in the transaction that locks, and after it was rolled back
BEGIN;
SELECT pipelines.lock_period('Standard', 'Feb 2024') > 0 AS locked;
SELECT try($$UPDATE deals SET amount = 1 WHERE name = 'feb'$$);
SAVEPOINT s;
SELECT pipelines.unlock_period('Standard', 'Feb 2024', 'oh') > 0 AS unlocked;
SELECT try($$UPDATE deals SET amount = 2 WHERE name = 'feb'$$);
ROLLBACK TO s;
SELECT try($$UPDATE deals SET amount = 3 WHERE name = 'feb'$$);
ROLLBACK;
SELECT try($$UPDATE deals SET amount = 4 WHERE name = 'feb'$$);
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT amount FROM deals WHERE name = 'feb';
SELECT pipelines.lock_period('Standard', 'Feb 2024') > 0 AS locked;
SELECT try($$UPDATE deals SET amount = 1 WHERE name = 'feb'$$);
ROLLBACK;

-- a locked period stays what it is; its calendar, too
SELECT try(format('UPDATE pipelines.fiscal_period SET ends = %L WHERE period_id = %s', '2024-01-30', :january));
SELECT try(format('DELETE FROM pipelines.fiscal_period WHERE period_id = %s', :january));
SELECT try($$DELETE FROM pipelines.fiscal_period WHERE label = '2024' AND kind = 'year' AND calendar_id = pipelines.calendar_id()$$);
SELECT try($$DELETE FROM pipelines.fiscal_calendar WHERE name = 'Standard'$$);
SELECT try(format('UPDATE pipelines.fiscal_period SET label = %L WHERE period_id = %s', 'January', :january));
SELECT try($$UPDATE deals SET amount = 5 WHERE name = 'jan'$$);

-- merging stages changes nothing that was reported, and passes
SELECT pipelines.merge_stages('Sales', 'Delivered', 'Sold');
SELECT pipelines.create_pipeline('Merged', stages => '["Lead", {"name": "Sold", "outcome": "won"}, {"name": "Gone", "outcome": "won"}]');
INSERT INTO deals (name, amount, pipeline_id, stage_id, closed_on) VALUES ('merge', 1, pipelines.pipeline_id('Merged'), pipelines.stage_id('Merged', 'Gone'), '2024-02-10');
SELECT pipelines.lock_period('Standard', 'Feb 2024') > 0 AS locked;
SELECT pipelines.merge_stages('Merged', 'Gone', 'Sold');
SELECT stage_id = pipelines.stage_id('Merged', 'Sold') AS merged FROM deals WHERE name = 'merge';

-- generated amounts, seen once the row stands
CREATE TABLE g (id integer PRIMARY KEY, n integer, price numeric, total numeric GENERATED ALWAYS AS (n * price) STORED, status text);
INSERT INTO g (id, n, price, status) VALUES (1, 2, 10, 'open'), (2, 2, 10, 'won');
SELECT count(*) > 0 AS adopted FROM pipelines.adopt('g', stage => 'status', amount => 'total', apply => true);
UPDATE g SET status = 'won', closed_on = '2024-03-05' WHERE id = 1;
SELECT pipelines.lock_period('Standard', 'Mar 2024') > 0 AS locked;
SELECT try($$UPDATE g SET n = 3 WHERE id = 1$$);
SELECT try($$UPDATE g SET n = 4, price = 5 WHERE id = 1$$);
SELECT try($$UPDATE g SET n = 3 WHERE id = 2$$);
SELECT id, total FROM g ORDER BY id;

-- purge() erases what the law says, and keeps the figures
SET ROLE regress_locked_owner;
SELECT count(*) > 0 AS purged FROM pipelines.purge('deals', '1');
SELECT name, amount, close_reason FROM deals WHERE deal_id = 1;
RESET ROLE;

-- imports and restores come with their bookkeeping, from the owner
SET ROLE regress_locked_owner;
CREATE TEMP TABLE copy AS SELECT * FROM deals;
SELECT pipelines.create_deals('deals2');
INSERT INTO deals2 SELECT * FROM copy;
SELECT count(*) FROM deals2 WHERE closed_on BETWEEN '2024-01-01' AND '2024-02-29';
CREATE TABLE events AS SELECT 10::bigint AS deal_id, e.at, e.stage, 7::numeric AS amount FROM (VALUES (timestamptz '2024-01-02', 'Lead'), ('2024-01-20', 'Sold')) e(at, stage);
SELECT deals, events FROM pipelines.import_history('deals2', 'events');
SELECT deal_id, closed_on FROM deals2 WHERE deal_id = 10;
SELECT try($$UPDATE deals2 SET amount = 8 WHERE deal_id = 10$$);
RESET ROLE;
-- TRUNCATE that records deletions deletes, too
UPDATE pipelines.tracked_table SET on_truncate = 'record' WHERE relation = 'deals2'::regclass;
SELECT try($$TRUNCATE deals2$$);

SELECT * FROM pipelines.verify('deals');
\c :home
DROP DATABASE regress_pipelines_locked_periods;
DROP ROLE regress_locked_owner;
DROP ROLE regress_locked_clerk;
DROP ROLE regress_locked_finance;
