-- business_time.sql: business time and business days (R-3.3, row 39).
-- In a database of its own.
\set ECHO none
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_pipelines_business_time;
CREATE DATABASE regress_pipelines_business_time TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\set home :DBNAME
\c regress_pipelines_business_time
\i test/data/checks.sql
\set ECHO all
SELECT pipelines.setup();
SELECT try($$SELECT pipelines.business_time(now(), now())$$);
SELECT pipelines.create_fiscal_calendar('Office', 'custom', time_zone => 'Europe/Berlin');

-- none given: Monday to Friday, 9 to 17; 2026-03-02 is a Monday
SELECT f, t, pipelines.business_time(f, t) FROM (VALUES
	(timestamptz '2026-03-02 08:00+01', timestamptz '2026-03-02 18:00+01'), ('2026-03-02 10:30+01', '2026-03-02 11:45:30.5+01'),
	('2026-03-06 16:00+01', '2026-03-09 10:00+01'), ('2026-03-07 09:00+01', '2026-03-08 17:00+01'), ('2026-03-02 09:00+01', '2026-03-09 09:00+01'),
	('2026-03-09 10:00+01', '2026-03-06 16:00+01'), ('2026-03-02 10:00+01', '2026-03-02 10:00+01'), (NULL, '2026-03-02 10:00+01'), ('2026-03-02 10:00+01', NULL)) v(f, t);
SELECT pipelines.business_days('2026-03-02', '2026-03-09') AS week, pipelines.business_days('2026-03-07', '2026-03-09') AS weekend, pipelines.business_days('2026-03-06', '2026-03-07') AS friday,
	pipelines.business_days('2026-03-09', '2026-03-02') AS back, pipelines.business_days('1999-12-01', '2000-02-01') AS turn, pipelines.business_days('2026-03-02', NULL) AS none;
SELECT n, d, to_char(d, 'Dy') FROM (SELECT n, pipelines.add_business_days('2026-03-06', n) FROM (VALUES (0), (1), (5), (6), (-1), (-5), (250), (NULL)) v(n)) w(n, d);
SELECT n, pipelines.add_business_days('2026-03-07', n) FROM (VALUES (0), (1), (-1)) v(n);
SELECT i, pipelines.add_business_time('2026-03-06 16:00+01', i) AT TIME ZONE 'Europe/Berlin' AS local
FROM (VALUES (interval '0'), ('1 minute'), ('1 hour'), ('61 minutes'), ('8 hours'), ('40 hours'), ('-7 hours'), ('-7:00:00.000001'), ('-15 hours'), (NULL)) v(i);

-- holidays, several spans a day; what spans have in common counts once; what changes is seen at once
INSERT INTO pipelines.holiday (calendar_id, day, name) SELECT pipelines.calendar_id('Office'), v.day::date, v.name
FROM (VALUES ('2026-04-03', 'Good Friday'), ('2026-04-06', 'Easter Monday'), ('2026-04-05', 'Easter Sunday'), ('2026-05-01', 'May Day')) v(day, name);
SELECT pipelines.business_days('2026-04-01', '2026-05-01') AS april, pipelines.business_days('2026-05-01', '2026-05-02') AS may_day,
	pipelines.add_business_days('2026-04-02', 1) AS after_easter, pipelines.add_business_days('2026-04-07', -1) AS before_easter,
	pipelines.business_time('2026-04-02 16:00+02', '2026-04-07 10:00+02') AS over_easter;
BEGIN;
INSERT INTO pipelines.business_hours (calendar_id, weekday, opens, closes)
SELECT pipelines.calendar_id('Office'), v.weekday, v.opens::time, v.closes::time FROM (VALUES (1, '08:00', '12:00'), (1, '13:00', '18:00'), (1, '11:00', '12:30'), (6, '22:00', '24:00'), (7, '00:00', '02:00')) v(weekday, opens, closes);
SELECT pipelines.business_time('2026-03-02 00:00+01', '2026-03-09 00:00+01') AS week, pipelines.business_time('2026-03-07 23:00+01', '2026-03-08 01:00+01') AS night,
	pipelines.business_days('2026-03-02', '2026-03-09') AS days, pipelines.business_time('2026-04-04 00:00+02', '2026-04-06 23:00+02') AS easter;
ROLLBACK;
SELECT pipelines.business_time('2026-03-02 00:00+01', '2026-03-09 00:00+01') AS week;

-- the clocks: an hour that is shown twice counts twice, one that is left out does not count
SELECT pipelines.create_fiscal_calendar('Always', 'custom', time_zone => 'Europe/Berlin');
INSERT INTO pipelines.business_hours (calendar_id, weekday, opens, closes) SELECT pipelines.calendar_id('Always'), d, '00:00', '24:00' FROM generate_series(1, 7) d;
SELECT pipelines.business_time('2026-03-29 00:00 Europe/Berlin', '2026-03-30 00:00 Europe/Berlin', 'Always') AS spring,
	pipelines.business_time('2026-10-25 00:00 Europe/Berlin', '2026-10-26 00:00 Europe/Berlin', 'Always') AS autumn,
	pipelines.business_time('1900-01-01 00:00+00', '2400-01-01 00:00+00', 'Always') = timestamptz '2400-01-01 00:00+00' - timestamptz '1900-01-01 00:00+00' AS centuries_are_all_there;

-- what is not possible
SELECT try($$SELECT pipelines.business_time('-infinity', now())$$);
SELECT try($$SELECT pipelines.business_days('2026-01-01', 'infinity')$$);
SELECT try($$SELECT pipelines.add_business_time(now(), '1 day')$$);
SELECT try($$SELECT pipelines.add_business_days('2026-01-01', 2000000000)$$);
SELECT try($$SELECT pipelines.add_business_time('294276-12-31 00:00+00', '1000 hours')$$);
SELECT try($$SELECT pipelines.business_time(now(), now(), 'Moon')$$);
SELECT try($$INSERT INTO pipelines.business_hours (calendar_id, weekday, opens, closes) VALUES (1, 8, '09:00', '17:00')$$);
SELECT try($$INSERT INTO pipelines.business_hours (calendar_id, weekday, opens, closes) VALUES (1, 1, '17:00', '09:00')$$);
SELECT try($$INSERT INTO pipelines.business_hours (calendar_id, weekday, opens, closes) VALUES (99, 1, '09:00', '17:00')$$);
SELECT try($$INSERT INTO pipelines.holiday (calendar_id, day) VALUES (1, 'infinity')$$);
SELECT try($$INSERT INTO pipelines.holiday (calendar_id, day) VALUES (99, '2026-01-01')$$);

--
-- Against the clock on the wall, minute by minute: zones with whole, half and midnight changes, one that skipped
-- a day (Apia, 2011-12-30) and one that changes for a month of fasting; random hours and holidays; around changes
--
SELECT setseed(0.4) IS NOT NULL AS seeded;
CREATE TABLE zone AS SELECT row_number() OVER () AS n, z AS name, t::timestamptz AS change
FROM (VALUES ('America/New_York', '2026-03-08 07:00+00'), ('America/New_York', '2026-11-01 06:00+00'), ('Europe/Berlin', '2026-03-29 01:00+00'), ('Europe/Berlin', '2026-10-25 01:00+00'),
	('Australia/Lord_Howe', '2026-04-04 15:00+00'), ('Australia/Lord_Howe', '2026-10-03 15:30+00'), ('America/Sao_Paulo', '2018-11-04 03:00+00'), ('America/Sao_Paulo', '2018-02-18 02:00+00'),
	('Pacific/Apia', '2011-12-30 10:00+00'), ('Africa/Casablanca', '2022-03-27 02:00+00'), ('Asia/Kathmandu', '1985-12-31 18:30+00'), ('UTC', '2026-01-01 00:00+00')) v(z, t);
SELECT count(pipelines.create_fiscal_calendar('zone ' || n, 'custom', time_zone => name)) FROM zone;
INSERT INTO pipelines.business_hours (calendar_id, weekday, opens, closes)
SELECT DISTINCT pipelines.calendar_id('zone ' || n), d, make_time(least(a, b) / 60, least(a, b) % 60, 0), CASE WHEN greatest(a, b) >= 1430 THEN time '24:00' ELSE make_time((greatest(a, b) + 1) / 60, (greatest(a, b) + 1) % 60, 0) END
FROM (SELECT n, d, CASE WHEN random() < 0.3 THEN 0 ELSE (random() * 1438)::integer END AS a, (random() * 1438)::integer AS b
	FROM zone, generate_series(1, 7) d, generate_series(1, 2) i WHERE random() < 0.8) r;
INSERT INTO pipelines.holiday (calendar_id, day)
SELECT DISTINCT pipelines.calendar_id('zone ' || n), (change AT TIME ZONE name)::date + (random() * 8 - 4)::integer FROM zone, generate_series(1, 2) WHERE random() < 0.5;
CREATE TABLE sample AS SELECT n, 'zone ' || n AS calendar, pipelines.calendar_id('zone ' || n) AS id, name,
	date_trunc('minute', change) + make_interval(mins => -(random() * 1600)::integer) AS f, date_trunc('minute', change) + make_interval(mins => (random() * 1600)::integer) AS t
FROM zone, generate_series(1, 6);
CREATE TABLE naive AS SELECT s.*, (
	SELECT count(*) FROM generate_series(s.f, s.t - interval '1 minute', interval '1 minute') m CROSS JOIN LATERAL (VALUES (m AT TIME ZONE s.name)) w(local)
	WHERE EXISTS (SELECT FROM pipelines.business_hours h WHERE h.calendar_id = s.id AND h.weekday = extract(isodow FROM local)
			AND local - date_trunc('day', local) >= h.opens - time '00:00' AND local - date_trunc('day', local) < h.closes - time '00:00')
		AND NOT EXISTS (SELECT FROM pipelines.holiday d WHERE d.calendar_id = s.id AND d.day = local::date)) AS minutes FROM sample s;
SELECT count(*) AS samples, count(*) FILTER (WHERE minutes > 0) > 40 AS of_some_length,
	count(*) FILTER (WHERE pipelines.business_time(f, t, calendar) <> make_interval(mins => minutes::integer)) AS wrong,
	count(*) FILTER (WHERE pipelines.business_time(t, f, calendar) <> make_interval(mins => -minutes::integer)) AS wrong_back FROM naive;
SELECT count(DISTINCT n) > 9 AS zones, count(*) > 40 AS samples,
	-- it takes exactly that long to get there, and a moment before it is not there yet
	count(*) FILTER (WHERE pipelines.business_time(f, a, calendar) <> pipelines.business_time(f, t, calendar) OR a > t
		OR pipelines.business_time(f, a - interval '1 microsecond', calendar) >= pipelines.business_time(f, t, calendar)) AS wrong
FROM (SELECT n.*, pipelines.add_business_time(f, pipelines.business_time(f, t, calendar), calendar) AS a FROM naive n WHERE minutes > 0) v;
SELECT count(*) FILTER (WHERE pipelines.business_time(b, t, calendar) <> pipelines.business_time(f, t, calendar) OR b < f
		OR pipelines.business_time(b + interval '1 microsecond', t, calendar) >= pipelines.business_time(f, t, calendar)) AS wrong
FROM (SELECT n.*, pipelines.add_business_time(t, -pipelines.business_time(f, t, calendar), calendar) AS b FROM naive n WHERE minutes > 0) v;
-- decades are the sum of their parts, whatever the parts
SELECT count(*) AS samples, count(*) FILTER (WHERE pipelines.business_time(a, c, k) <> pipelines.business_time(a, b, k) + pipelines.business_time(b, c, k)) AS wrong
FROM (SELECT 'zone ' || n AS k, timestamptz '1970-01-01 00:00+00' + random() * interval '500000 hours' AS a, timestamptz '1970-01-01 00:00+00' + random() * interval '500000 hours' AS b,
	timestamptz '1970-01-01 00:00+00' + random() * interval '500000 hours' AS c FROM zone, generate_series(1, 200)) v;
SELECT bool_and(pipelines.business_time('1990-01-01 00:00+00', '2040-01-01 00:00+00', 'zone ' || n) = d.total) AS days_add_up
FROM zone, LATERAL (SELECT sum(pipelines.business_time(g, g + interval '1 day', 'zone ' || n)) AS total FROM generate_series(timestamptz '1990-01-01 00:00+00', '2039-12-31 00:00+00', interval '1 day') g) d;
-- business days, day by day
SELECT count(*) AS samples, count(*) FILTER (WHERE pipelines.business_days(a, b, k) <> (SELECT count(*) FROM generate_series(a, b - 1, interval '1 day') g
	WHERE EXISTS (SELECT FROM pipelines.business_hours h WHERE h.calendar_id = pipelines.calendar_id(k) AND h.weekday = extract(isodow FROM g))
	AND NOT EXISTS (SELECT FROM pipelines.holiday h WHERE h.calendar_id = pipelines.calendar_id(k) AND h.day = g::date))) AS wrong
FROM (SELECT 'zone ' || n AS k, (change + i * interval '-40 hours')::date AS a, (change + i * interval '50 hours')::date AS b FROM zone, generate_series(1, 10) i) v;
SELECT count(*) AS samples, count(*) FILTER (WHERE pipelines.business_days(a + 1, d + 1, k) <> n OR pipelines.business_days(d, d + 1, k) <> 1) AS wrong,
	count(*) FILTER (WHERE pipelines.business_days(e, a, k) <> n OR pipelines.business_days(e, e + 1, k) <> 1) AS wrong_back
FROM (SELECT k, a, n, pipelines.add_business_days(a, n, k) AS d, pipelines.add_business_days(a, -n, k) AS e
	FROM (SELECT 'zone ' || z.n AS k, z.change::date + (random() * 20 - 10)::integer AS a, 1 + (random() * 30 * i)::integer AS n FROM zone z, generate_series(1, 10) i) v) w;
-- no business day at all, and one far ahead
SELECT pipelines.create_fiscal_calendar('Never', 'custom', time_zone => 'UTC');
INSERT INTO pipelines.business_hours (calendar_id, weekday, opens, closes) VALUES (pipelines.calendar_id('Never'), 1, '09:00', '10:00');
INSERT INTO pipelines.holiday (calendar_id, day) SELECT pipelines.calendar_id('Never'), g FROM generate_series(date '2026-01-05', date '2035-12-31', interval '7 days') g;
SELECT pipelines.add_business_days('2026-01-01', 1, 'Never'), pipelines.add_business_time('2026-01-01', '0:30', 'Never'), pipelines.business_time('2026-01-01', '2036-01-01', 'Never');
\c :home
DROP DATABASE regress_pipelines_business_time;
