-- fiscal_calendars.sql: fiscal calendars and the period of a day (R-9.1, R-9.2; rows 66, 67; S75).
-- In a database of its own.
\set ECHO none
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_pipelines_fiscal_calendars;
CREATE DATABASE regress_pipelines_fiscal_calendars TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\set home :DBNAME
\c regress_pipelines_fiscal_calendars
SET TIME ZONE 'UTC';
SET datestyle = 'ISO, YMD';
\i test/data/checks.sql
-- 'first to last (weeks)' of a period
CREATE FUNCTION span(starts date, ends date) RETURNS text LANGUAGE sql AS
	$$SELECT format('%s to %s (%s days)', starts, ends - 1, ends - starts)$$;
\set ECHO all

-- nothing there yet
SELECT pipelines.setup();
SELECT try($$SELECT pipelines.fiscal_period_id(date '2026-01-01')$$);
SELECT try($$SELECT pipelines.fiscal_period_id(date '2026-01-01', 'month', 'Standard')$$);

-- the first one is the standard one; calendar years, in English whatever the locale
SELECT pipelines.create_fiscal_calendar('Standard', from_year => 2024, to_year => 2026, time_zone => 'UTC');
SELECT name, is_standard, pattern, first_month, year_name, quarters, labels FROM pipelines.fiscal_calendar;
SELECT kind, count(*), min(starts), max(ends) FROM pipelines.fiscal_period GROUP BY kind ORDER BY count(*);
SELECT label, number, span(starts, ends) FROM pipelines.fiscal_period WHERE kind <> 'week' AND year = 2024 ORDER BY ends - starts DESC, starts;
-- months lie in quarters and these in years; weeks go across both, and belong to the year of most of their days
SELECT p.label, p.kind, o.label AS parent FROM pipelines.fiscal_period p LEFT JOIN pipelines.fiscal_period o ON o.period_id = p.parent_id
WHERE p.year = 2025 AND p.number IN (1, 12) ORDER BY p.kind, p.number;
SELECT label, span(starts, ends) FROM pipelines.fiscal_period WHERE kind = 'week' AND number IN (1, 52, 53) ORDER BY starts;

-- row 66: the US federal fiscal year is October to September, named by its end
SELECT pipelines.create_fiscal_calendar('US federal', first_month => 10, from_year => 2020, to_year => 2026, time_zone => 'America/New_York');
SELECT label, span(starts, ends) FROM pipelines.fiscal_period
WHERE calendar_id = pipelines.calendar_id('US federal') AND kind = 'year' ORDER BY starts;
SELECT k.kind, p.label, span(p.starts, p.ends)
FROM unnest('{month,quarter,year}'::text[]) WITH ORDINALITY k(kind, i), pipelines.fiscal_period_of('2025-10-01', k.kind, 'US federal') p ORDER BY k.i;
SELECT pipelines.fiscal_period_id(date '2025-09-30', 'year', 'US federal') + 0 = pipelines.fiscal_period_id(date '2024-10-01', 'year', 'US federal') AS same_year,
	pipelines.fiscal_period_id(date '2019-09-30', 'year', 'US federal') AS before_it, pipelines.fiscal_period_id(date '2026-10-01', 'year', 'US federal') AS after_it,
	pipelines.fiscal_period_id(NULL::date) AS no_day, pipelines.fiscal_period_id(date 'infinity') AS never, pipelines.fiscal_period_id(date '-infinity') AS ever;

-- April 2010 to March 2011 is "2010" or "2011" (Zoho), or both
SELECT pipelines.create_fiscal_calendar('by start', first_month => 4, year_name => 'start', from_year => 2010, to_year => 2010, labels => '{"year": "{year}"}');
SELECT pipelines.create_fiscal_calendar('by end', first_month => 4, from_year => 2011, to_year => 2011, labels => '{"year": "{year}"}');
SELECT pipelines.create_fiscal_calendar('by both', first_month => 4, from_year => 2011, to_year => 2011,
	labels => '{"year": "FY{first_year}/{last_yy}", "quarter": "FY{yy} Q{n}", "month": "{month} {calendar_year} (Q{q})", "week": "{yy}W{nn}"}');
SELECT c.name, p.label, span(p.starts, p.ends) FROM pipelines.fiscal_period p JOIN pipelines.fiscal_calendar c USING (calendar_id)
WHERE c.name LIKE 'by %' AND p.kind = 'year' ORDER BY c.calendar_id;
SELECT kind, label FROM pipelines.fiscal_period WHERE calendar_id = pipelines.calendar_id('by both') AND number IN (1, 12) AND kind <> 'year' ORDER BY starts, kind;

-- row 67: the National Retail Federation's 4-5-4 calendar: 2012, 2017 and 2023 have 53 weeks
SELECT pipelines.create_fiscal_calendar('Retail', '4-5-4', from_year => 2010, to_year => 2030);
SELECT year_end, year_name FROM pipelines.fiscal_calendar WHERE name = 'Retail';
SELECT label, span(starts, ends) FROM pipelines.fiscal_period
WHERE calendar_id = pipelines.calendar_id('Retail') AND kind = 'year' AND year IN (2012, 2017, 2018, 2022, 2023, 2024) ORDER BY starts;
SELECT year FROM pipelines.fiscal_period WHERE calendar_id = pipelines.calendar_id('Retail') AND kind = 'year' AND ends - starts = 371 ORDER BY year;
SELECT label, span(starts, ends) FROM pipelines.fiscal_period
WHERE calendar_id = pipelines.calendar_id('Retail') AND kind = 'month' AND year = 2023 ORDER BY starts;
SELECT (pipelines.fiscal_period_of('2024-02-03', k, 'Retail')).label FROM unnest('{week,month,quarter,year}'::text[]) k;
SELECT (pipelines.fiscal_period_of('2024-02-04', k, 'Retail')).label FROM unnest('{week,month,quarter,year}'::text[]) k;

-- 4-4-5 that ends on the last Saturday of September (Apple: 2017 and 2023 had 53 weeks)
SELECT pipelines.create_fiscal_calendar('4-4-5', '4-4-5', year_end => 'Last Saturday of September', from_year => 2012, to_year => 2024);
SELECT label, span(starts, ends) FROM pipelines.fiscal_period
WHERE calendar_id = pipelines.calendar_id('4-4-5') AND kind = 'year' ORDER BY starts;
SELECT p.label, o.label AS parent, span(p.starts, p.ends) FROM pipelines.fiscal_period p JOIN pipelines.fiscal_period o ON o.period_id = p.parent_id
WHERE p.calendar_id = pipelines.calendar_id('4-4-5') AND p.kind = 'month' AND p.year = 2023 ORDER BY p.starts;

-- 5-4-4 and thirteen periods; a rule that aims at New Year's Eve names a year by that
SELECT pipelines.create_fiscal_calendar('5-4-4', '5-4-4', year_end => 'friday nearest december 31', from_year => 2018, to_year => 2026);
SELECT label, span(starts, ends) FROM pipelines.fiscal_period
WHERE calendar_id = pipelines.calendar_id('5-4-4') AND kind = 'year' ORDER BY starts;
SELECT pipelines.create_fiscal_calendar('thirteen', '13x4', from_year => 2016, to_year => 2017);
SELECT label, span(starts, ends) FROM pipelines.fiscal_period
WHERE calendar_id = pipelines.calendar_id('thirteen') AND kind <> 'week' ORDER BY kind, starts;
SELECT pipelines.create_fiscal_calendar('thirteen, no quarters', '13x4', from_year => 2017, to_year => 2017, quarters => '{}', year_name => 'start');
SELECT kind, count(*), count(parent_id) AS nested FROM pipelines.fiscal_period WHERE calendar_id = pipelines.calendar_id('thirteen, no quarters') GROUP BY kind ORDER BY kind;
SELECT pipelines.create_fiscal_calendar('grocer', '13x4', year_end => 'saturday nearest january 31', from_year => 2017, to_year => 2017, quarters => '{4,3,3,3}');
SELECT label, span(starts, ends) FROM pipelines.fiscal_period WHERE calendar_id = pipelines.calendar_id('grocer') AND kind = 'quarter' ORDER BY starts;

-- S75: ISO weeks, each day of 1999 to 2040, against to_char()
SELECT pipelines.create_fiscal_calendar('ISO', 'iso_weeks', from_year => 1998, to_year => 2041);
SELECT count(*) AS days, count(*) FILTER (WHERE p.label <> to_char(d, 'IYYY-"W"IW') OR p.year::text <> to_char(d, 'IYYY') OR y.label <> to_char(d, 'IYYY')
	OR p.number <> extract(week FROM d) OR p.parent_id <> y.period_id) AS wrong
FROM generate_series(date '1999-01-01', date '2040-12-31', interval '1 day') g(t)
CROSS JOIN LATERAL (VALUES (t::date)) v(d)
LEFT JOIN pipelines.fiscal_period p ON p.period_id = pipelines.fiscal_period_id(d, 'week', 'ISO')
LEFT JOIN pipelines.fiscal_period y ON y.period_id = pipelines.fiscal_period_id(d, 'year', 'ISO');
-- the weeks of a plain calendar are these, too; of others, what weeks begin on decides
SELECT count(*) FROM pipelines.fiscal_period p JOIN pipelines.fiscal_period i USING (starts, ends, label, kind)
WHERE p.calendar_id = pipelines.calendar_id() AND i.calendar_id = pipelines.calendar_id('ISO');
SELECT pipelines.create_fiscal_calendar('Sundays', first_weekday => 7, from_year => 2026, to_year => 2026);
SELECT label, span(starts, ends), to_char(starts, 'Dy') FROM pipelines.fiscal_period
WHERE calendar_id = pipelines.calendar_id('Sundays') AND kind = 'week' AND number IN (1, 52) ORDER BY starts;

-- each day of each period of each calendar, and the days beside them
SELECT count(*) > 100000 AS many, count(*) FILTER (WHERE p.period_id IS DISTINCT FROM pipelines.fiscal_period_id(v.d, p.kind, c.name)) AS wrong
FROM pipelines.fiscal_period p JOIN pipelines.fiscal_calendar c USING (calendar_id)
CROSS JOIN LATERAL generate_series(p.starts, p.ends - 1, interval '1 day') g(t)
CROSS JOIN LATERAL (VALUES (t::date)) v(d);
SELECT count(*) AS ends, count(pipelines.fiscal_period_id(v.d, k.kind, k.name)) AS wrong
FROM (SELECT c.name, p.kind, min(p.starts) AS starts, max(p.ends) AS ends FROM pipelines.fiscal_period p JOIN pipelines.fiscal_calendar c USING (calendar_id) GROUP BY c.name, p.kind) k
CROSS JOIN LATERAL (VALUES (k.starts - 1), (k.ends), (k.ends + 100000), (date '4713-01-01 BC'), (date '5874897-12-31')) v(d);
SELECT count(*) FROM pipelines.check_calendar();

-- an instant: the calendar's time zone decides, not the session's
SET TIME ZONE 'Asia/Tokyo';
SELECT p.label, pipelines.fiscal_period_id(v.t, 'month', 'US federal') = p.period_id AS found
FROM (VALUES (timestamptz '2025-10-01 03:59:59.999999+00'), ('2025-10-01 04:00+00'), ('2025-11-01 03:59:59+00'), ('2025-12-01 04:59:59+00'), ('2025-12-01 05:00+00')) v(t)
JOIN pipelines.fiscal_period p ON p.period_id = pipelines.fiscal_period_id(v.t, 'month', 'US federal') ORDER BY v.t;
SELECT count(*) AS instants, count(*) FILTER (WHERE pipelines.fiscal_period_id(t, 'week', 'US federal') IS DISTINCT FROM
	pipelines.fiscal_period_id((t AT TIME ZONE 'America/New_York')::date, 'week', 'US federal')) AS wrong
FROM generate_series(timestamptz '2019-09-25 00:00+00', '2026-10-10', interval '37 minutes') g(t);
SELECT pipelines.fiscal_period_id(timestamptz 'infinity') AS never, pipelines.fiscal_period_id(timestamptz '-infinity') AS ever;
SET TIME ZONE 'UTC';
SELECT count(*) FROM pipelines.current_period('month', 'Retail') p WHERE pipelines.fiscal_period_id(now(), 'month', 'Retail') = p.period_id;
SELECT (SELECT p.label FROM pipelines.fiscal_period p WHERE p.period_id = pipelines.period_shifted(f.period_id, v.by))
FROM pipelines.fiscal_period_of('2024-01-15') f, (VALUES (0), (1), (12), (-1), (35), (36)) v(by);

-- what is not understood
SELECT try($$SELECT pipelines.fiscal_period_id(date '2026-01-01', 'fortnight')$$);
SELECT try($$SELECT pipelines.fiscal_period_id(date '2026-01-01', 'month', 'Moon')$$);
SELECT try($$SELECT pipelines.create_fiscal_calendar('x', '3-3-3')$$);
SELECT try($$SELECT pipelines.create_fiscal_calendar('x', '4-4-5', year_end => 'first monday of may')$$);
SELECT try($$SELECT pipelines.create_fiscal_calendar('x', '4-4-5', year_end => 'last caturday of may')$$);
SELECT try($$SELECT pipelines.create_fiscal_calendar('x', '4-4-5', year_end => 'sunday nearest to february 29')$$);
SELECT try($$SELECT pipelines.create_fiscal_calendar('x', '4-4-5', year_end => 'sunday nearest to june 31')$$);
SELECT try($$SELECT pipelines.create_fiscal_calendar('x', year_end => 'last sunday of may')$$);
SELECT try($$SELECT pipelines.create_fiscal_calendar('x', first_month => 13)$$);
SELECT try($$SELECT pipelines.create_fiscal_calendar('x', quarters => '{4,4,5}')$$);
SELECT try($$SELECT pipelines.create_fiscal_calendar('x', from_year => 2026, to_year => 2020)$$);
SELECT try($$SELECT pipelines.create_fiscal_calendar('x', labels => '{"year": "{jahr}"}')$$);
SELECT try($$SELECT pipelines.create_fiscal_calendar('x', labels => '{"day": "{n}"}')$$);
SELECT try($$SELECT pipelines.create_fiscal_calendar('x', time_zone => 'Moon/Mare')$$);
SELECT try($$SELECT pipelines.create_fiscal_calendar('Standard')$$);
SELECT try($$SELECT pipelines.create_fiscal_calendar('x', labels => '{"month": "same"}')$$);

-- more years, forward and back; and none twice
SELECT pipelines.extend_fiscal_calendar('Retail', 2031), pipelines.extend_fiscal_calendar('Retail', 2031);
SELECT pipelines.extend_fiscal_calendar('Retail', 2031, from_year => 2009);
SELECT count(*), span(min(starts), max(ends)) FROM pipelines.fiscal_period WHERE calendar_id = pipelines.calendar_id('Retail') AND kind = 'year';
-- years that don't join on
BEGIN;
SELECT pipelines._make_periods(pipelines.calendar_id('Retail'), 2033, 2033);
COMMIT;
\echo :LAST_ERROR_SQLSTATE

-- another standard one
SELECT pipelines.create_fiscal_calendar('New standard', from_year => 2026, to_year => 2026, is_standard => true);
SELECT name FROM pipelines.fiscal_calendar WHERE is_standard;
BEGIN;
UPDATE pipelines.fiscal_calendar SET is_standard = name = 'Standard' WHERE is_standard OR name = 'Standard';
SELECT pipelines.calendar_id() = pipelines.calendar_id('Standard') AS back;
COMMIT;
SELECT try($$UPDATE pipelines.fiscal_calendar SET is_standard = true$$);

--
-- Periods by hand
--
SELECT pipelines.create_fiscal_calendar('hand', 'custom');
SELECT try($$SELECT pipelines.extend_fiscal_calendar('hand', 2030)$$);
SELECT pipelines.calendar_id('hand') AS hand \gset
INSERT INTO pipelines.fiscal_period (calendar_id, kind, starts, ends, number, year, label)
VALUES (:hand, 'year', '2026-01-10', '2026-12-20', 1, 2026, 'First'), (:hand, 'year', '2026-12-20', '2028-01-01', 1, 2027, 'Long');
SELECT (pipelines.fiscal_period_of('2027-12-31', 'year', 'hand')).label;
-- seen at once, and gone when it is rolled back
BEGIN;
UPDATE pipelines.fiscal_period SET ends = '2028-02-01' WHERE label = 'Long';
SELECT (pipelines.fiscal_period_of('2028-01-31', 'year', 'hand')).label;
SAVEPOINT s;
UPDATE pipelines.fiscal_period SET ends = '2028-03-01' WHERE label = 'Long';
SELECT (pipelines.fiscal_period_of('2028-02-28', 'year', 'hand')).label;
ROLLBACK TO s;
SELECT count(*) FROM pipelines.fiscal_period_of('2028-02-28', 'year', 'hand');
ROLLBACK;
SELECT count(*) FROM pipelines.fiscal_period_of('2028-01-31', 'year', 'hand');
-- the boundary moves, in two steps and in either order
BEGIN;
UPDATE pipelines.fiscal_period SET ends = '2026-12-31' WHERE label = 'First';
UPDATE pipelines.fiscal_period SET starts = '2026-12-31' WHERE label = 'Long';
COMMIT;
UPDATE pipelines.fiscal_period SET starts = CASE label WHEN 'Long' THEN date '2027-01-01' ELSE starts END, ends = CASE label WHEN 'First' THEN date '2027-01-01' ELSE ends END
WHERE label IN ('First', 'Long');
-- a single step is refused, and names the period
UPDATE pipelines.fiscal_period SET ends = '2026-12-31' WHERE label = 'First';
\echo :LAST_ERROR_SQLSTATE
UPDATE pipelines.fiscal_period SET ends = '2027-02-01' WHERE label = 'First';
\echo :LAST_ERROR_SQLSTATE
SELECT period_id AS first FROM pipelines.fiscal_period WHERE label = 'First' \gset
INSERT INTO pipelines.fiscal_period (calendar_id, kind, starts, ends, number, year, label, parent_id)
VALUES (:hand, 'month', '2026-01-01', '2026-02-01', 1, 2026, 'M1', :first);
\echo :LAST_ERROR_SQLSTATE
INSERT INTO pipelines.fiscal_period (calendar_id, kind, starts, ends, number, year, label, parent_id)
VALUES (:hand, 'month', '2026-01-10', '2026-02-01', 1, 2026, 'M1', :first), (:hand, 'month', '2026-02-01', '2026-12-01', 2, 2026, 'M2', :first);
\echo :LAST_ERROR_SQLSTATE
INSERT INTO pipelines.fiscal_period (calendar_id, kind, starts, ends, number, year, label, parent_id)
VALUES (:hand, 'year', '2028-01-01', '2029-01-01', 1, 2028, 'M1', :first);
\echo :LAST_ERROR_SQLSTATE
INSERT INTO pipelines.fiscal_period (calendar_id, kind, starts, ends, number, year, label, parent_id)
VALUES (pipelines.calendar_id('by start'), 'year', '2011-04-01', '2012-04-01', 1, 2011, '2011', 1);
\echo :LAST_ERROR_SQLSTATE
SELECT try(format('INSERT INTO pipelines.fiscal_period (calendar_id, kind, starts, ends, number, year, label, parent_id) VALUES (%s, %L, %L, %L, 1, 2026, %L, 99999)', :hand, 'month', '2026-01-10', '2026-02-01', 'M1'));
SELECT try(format('INSERT INTO pipelines.fiscal_period (calendar_id, kind, starts, ends, number, year, label) VALUES (%s, %L, %L, %L, 1, 2028, %L)', :hand, 'year', '2028-01-01', '2028-01-01', 'M1'));
SELECT try(format('INSERT INTO pipelines.fiscal_period (calendar_id, kind, starts, ends, number, year, label) VALUES (%s, %L, %L, %L, 1, 2028, %L)', :hand, 'decade', '2028-01-01', '2028-02-01', 'M1'));
-- what a savepoint took back is looked at as it is in the end; so is what is prepared
BEGIN;
UPDATE pipelines.fiscal_period SET ends = '2026-12-31' WHERE label = 'First';
SAVEPOINT s;
UPDATE pipelines.fiscal_period SET starts = '2026-12-31' WHERE label = 'Long';
ROLLBACK TO s;
COMMIT;
\echo :LAST_ERROR_SQLSTATE
BEGIN;
SAVEPOINT s;
UPDATE pipelines.fiscal_period SET ends = '2026-12-31' WHERE label = 'First';
ROLLBACK TO s;
COMMIT;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM pipelines.check_calendar('hand');
UPDATE pipelines.fiscal_period SET ends = '2026-12-31' WHERE label = 'First';
SELECT problem, message FROM pipelines.check_calendar('hand');
COMMIT;
\echo :LAST_ERROR_SQLSTATE
INSERT INTO pipelines.fiscal_period (calendar_id, kind, starts, ends, number, year, label, parent_id)
VALUES (:hand, 'month', '2026-01-10', '2026-02-01', 1, 2026, 'M1', :first), (:hand, 'month', '2026-02-01', '2027-01-01', 2, 2026, 'M2', :first);
SELECT (pipelines.fiscal_period_of('2026-06-01', k, 'hand')).label FROM unnest('{month,year}'::text[]) k;
-- the past of a definition is kept; a year goes with its parts
DELETE FROM pipelines.fiscal_period WHERE period_id = :first;
SELECT kind, label FROM pipelines.fiscal_period WHERE calendar_id = :hand ORDER BY starts;
SELECT kind, label, change FROM pipelines.fiscal_period_history WHERE calendar_id = :hand ORDER BY period_id, version;

-- a calendar goes with all that it has, unless a pipeline is reckoned by it
SELECT pipelines.create_pipeline('Shops', stages => '["Lead", {"name": "Sold", "outcome": "won"}]');
UPDATE pipelines.pipeline SET calendar_id = pipelines.calendar_id('Retail');
SELECT try($$DELETE FROM pipelines.fiscal_calendar WHERE name = 'Retail'$$);
SELECT try($$UPDATE pipelines.pipeline SET calendar_id = 999$$);
-- a clone is reckoned as its model is
SELECT pipelines.clone_pipeline('Shops', 'More shops') > 0 AS cloned;
SELECT calendar_id = pipelines.calendar_id('Retail') AS same FROM pipelines.pipeline WHERE name = 'More shops';
UPDATE pipelines.pipeline SET calendar_id = NULL;
SELECT count(*) > 1000 AS many FROM pipelines.fiscal_period WHERE calendar_id = pipelines.calendar_id('Retail');
SELECT pipelines.calendar_id('Retail') AS retail \gset
DELETE FROM pipelines.fiscal_calendar WHERE name = 'Retail';
SELECT count(*) FROM pipelines.fiscal_period WHERE calendar_id = :retail;

-- a row that comes with its bookkeeping is a restore: let through, and found by check_calendar()
INSERT INTO pipelines.fiscal_period (calendar_id, kind, starts, ends, number, year, label, parent_id, version, changed_at)
VALUES (:hand, 'year', '2030-01-01', '2031-01-01', 1, 2030, 'Restored', NULL, 1, '-infinity'),
	(:hand, 'month', '2029-12-01', '2031-01-01', 1, 2030, 'Lost', 99999, 1, '-infinity');
SELECT * FROM pipelines.check_calendar('hand');
DELETE FROM pipelines.fiscal_period WHERE year = 2030 AND calendar_id = :hand;
SELECT count(*) FROM pipelines.check_calendar('hand');

-- anybody may read; who may not write definitions makes no calendar
CREATE ROLE regress_fiscal_clerk;
SET ROLE regress_fiscal_clerk;
SELECT (pipelines.fiscal_period_of('2026-02-28')).label;
SELECT try($$SELECT pipelines.create_fiscal_calendar('clerk')$$);
SELECT try($$SELECT pipelines.extend_fiscal_calendar('Standard', 2030)$$);
RESET ROLE;
DROP ROLE regress_fiscal_clerk;
-- our trigger functions are good for our tables only
CREATE TABLE t (calendar_id integer);
CREATE TRIGGER x BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION pipelines._period_before();
SELECT try($$INSERT INTO t VALUES (1)$$);
SELECT obj_description(t.oid, 'pg_class') IS NOT NULL AS table_comment,
	(SELECT count(*) FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attnum > 0 AND col_description(a.attrelid, a.attnum) IS NULL AND a.attname NOT IN ('version', 'changed_at')) AS uncommented
FROM pg_class t WHERE t.relname IN ('fiscal_calendar', 'fiscal_period', 'business_hours', 'holiday') AND t.relnamespace = 'pipelines'::regnamespace;
-- setup() finds its triggers, and makes them again
ALTER TABLE pipelines.fiscal_period DISABLE TRIGGER pipelines_calendar;
DROP TRIGGER pipelines_calendar ON pipelines.fiscal_calendar;
SELECT message FROM pipelines.check_definitions() WHERE advice = 'trigger_missing';
SELECT pipelines.setup();
SELECT message FROM pipelines.check_definitions() WHERE advice = 'trigger_missing';
-- what is dropped in the same transaction needs no look
BEGIN;
SELECT pipelines.create_fiscal_calendar('last', from_year => 2026, to_year => 2026) > 0 AS made;
SET client_min_messages = error;
DROP EXTENSION pipelines CASCADE;
COMMIT;

\c :home
DROP DATABASE regress_pipelines_fiscal_calendars;
