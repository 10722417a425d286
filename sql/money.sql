-- money.sql: currencies, exchange rates by date, conversion (R-8.1 to R-8.6, S48)
-- In a database of its own, since schema pipelines is one per database.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT current_database() AS home \gset
DROP DATABASE IF EXISTS regress_pipelines_money;
CREATE DATABASE regress_pipelines_money TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
CREATE ROLE regress_money_reader;
\c regress_pipelines_money
SET lc_messages = 'C';
SET client_min_messages = warning;
CREATE EXTENSION pipelines;
SELECT pipelines.setup();
SET search_path = pipelines, pg_catalog;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';

-- ISO 4217
SELECT currency, minor_units(currency) FROM unnest('{EUR,JPY,KWD,CLF,ISK,HRK,XAU}'::text[]) AS currency;
SELECT count(*) > 150 AS many, bool_and(currency ~ '^[A-Z]{3}$') AS codes, count(*) = count(DISTINCT currency) AS once,
	array_agg(DISTINCT c.minor_units ORDER BY c.minor_units) AS decimals,
	bool_and(c.minor_units IS NOT DISTINCT FROM minor_units(currency)) AS same, array_agg(currency) = array_agg(currency ORDER BY currency COLLATE "C") AS sorted
FROM currencies() AS c;
SELECT minor_units('eur');
SELECT minor_units('EURO');
SELECT round_money(2.345, 'EUR'), round_money(-2.345, 'EUR'), round_money(2.5, 'JPY'), round_money(1.23456, 'KWD'), round_money(7, 'USD'),
	round_money(1.23456, 'XAU'), round_money('NaN', 'EUR'), round_money(1, NULL);
SELECT round_money(1, 'QQQ');

-- what rates there can be (R-8.1)
INSERT INTO exchange_rate VALUES ('spot', 'usd', 'EUR', '2026-01-05', 1.1);
INSERT INTO exchange_rate VALUES ('spot', 'USD', 'Euro', '2026-01-05', 1.1);
INSERT INTO exchange_rate VALUES ('spot', 'EUR', 'EUR', '2026-01-05', 1);
INSERT INTO exchange_rate VALUES ('spot', 'USD', 'EUR', '2026-01-05', 0);
INSERT INTO exchange_rate VALUES ('spot', 'USD', 'EUR', '2026-01-05', -1.1);
INSERT INTO exchange_rate VALUES ('spot', 'USD', 'EUR', '2026-01-05', 'NaN');
INSERT INTO exchange_rate VALUES ('spot', 'USD', 'EUR', 'infinity', 1.1);
INSERT INTO exchange_rate VALUES (' spot', 'USD', 'EUR', '2026-01-05', 1.1);
INSERT INTO rate_set VALUES ('spot', -1);
TRUNCATE exchange_rate;

-- no rates at all: null, and never the amount itself; but the same currency needs none (R-8.2)
SELECT convert(100, 'USD', 'EUR', '2026-01-05'), convert(100.50, 'EUR', 'EUR', '2026-01-05'), convert(100, 'USD', 'EUR', '2026-01-05', 'no such set');

INSERT INTO exchange_rate (rate_set, currency, base, rate_on, rate) VALUES
	('spot', 'USD', 'EUR', '2026-01-05', 1.1000), ('spot', 'USD', 'EUR', '2026-01-06', 1.2500), ('spot', 'USD', 'EUR', '2026-01-09', 1.6),
	('spot', 'GBP', 'EUR', '2026-01-05', 0.8), ('spot', 'GBP', 'EUR', '2026-01-08', 0.5),
	('spot', 'JPY', 'EUR', '2025-12-31', 160), ('spot', 'IDR', 'EUR', '2026-01-05', 18606.59);

-- to the base, from it, across; the last rate on or before the day
SELECT d::date AS "on", convert(110, 'USD', 'EUR', d::date) AS to_base, convert(110, 'EUR', 'USD', d::date) AS from_base,
	convert(110, 'USD', 'GBP', d::date) AS across
FROM generate_series(timestamp '2026-01-04', '2026-01-10', '1 day') AS d;
SELECT convert(NULL, 'USD', 'EUR', '2026-01-05'), convert(1, NULL, 'EUR', '2026-01-05'), convert(1, 'USD', NULL, '2026-01-05'),
	convert(1, 'USD', 'EUR', NULL), convert(1, 'USD', 'EUR', '2026-01-05', NULL);
SELECT convert(1, 'usd', 'EUR', '2026-01-05'), convert(1, 'US dollar', 'EUR', '2026-01-05'), convert(1, '', 'EUR', '2026-01-05'),
	convert(1, 'EUR', 'XYZ', '2026-01-05'), convert(1, 'USD', 'EUR', 'infinity'), convert(1, 'USD', 'EUR', '-infinity');

-- the limit: 10 days where the set says nothing, as many as it says, none
SELECT convert(160, 'JPY', 'EUR', '2026-01-10') AS ten, convert(160, 'JPY', 'EUR', '2026-01-11') AS eleven;
INSERT INTO rate_set (rate_set, max_age) VALUES ('spot', 11);
SELECT convert(160, 'JPY', 'EUR', '2026-01-11') AS eleven, convert(160, 'JPY', 'EUR', '2026-01-12') AS twelve;
UPDATE rate_set SET max_age = NULL;
SELECT convert(160, 'JPY', 'EUR', '2126-01-12') AS without_limit, convert(160, 'JPY', 'EUR', '2025-12-30') AS before_it;
UPDATE rate_set SET max_age = 0;
SELECT convert(160, 'JPY', 'EUR', '2025-12-31') AS that_day, convert(160, 'JPY', 'EUR', '2026-01-01') AS next_day;
DELETE FROM rate_set;
SELECT convert(160, 'JPY', 'EUR', '2026-01-10') AS ten, convert(160, 'JPY', 'EUR', '2026-01-11') AS eleven;

-- what was used, or why there is none
SELECT q.*, r.* FROM (VALUES ('USD', 'EUR', date '2026-01-07'), ('EUR', 'USD', '2026-01-07'), ('USD', 'GBP', '2026-01-07'), ('EUR', 'EUR', '2026-01-07'),
	('JPY', 'EUR', '2026-01-11'), ('JPY', 'USD', '2026-01-05'), ('USD', 'CHF', '2026-01-07'), ('USD', 'EUR', '2026-01-04')) AS q ("from", "to", "on"),
	rate_on(q."from", q."to", q."on") AS r;
SELECT rate_on('USD', NULL, '2026-01-07') IS NULL AS nothing;

-- sets: constant currency beside the rates of the day
INSERT INTO rate_set (rate_set, max_age, description) VALUES ('plan', NULL, 'Rates of the budget');
INSERT INTO exchange_rate (rate_set, currency, base, rate_on, rate) VALUES ('plan', 'USD', 'EUR', '2026-01-01', 2);
SELECT convert(100, 'USD', 'EUR', '2026-07-01', 'plan'), convert(100, 'USD', 'EUR', '2026-01-09', 'spot');
SELECT * FROM rate_sets();

-- several bases: the newest way, then the direct one, then by base
INSERT INTO exchange_rate (rate_set, currency, base, rate_on, rate) VALUES
	('many', 'USD', 'EUR', '2026-01-01', 2), ('many', 'GBP', 'EUR', '2026-01-01', 1),
	('many', 'USD', 'CHF', '2026-01-01', 3), ('many', 'GBP', 'CHF', '2026-01-01', 1);
SELECT convert(6, 'USD', 'GBP', '2026-01-01', 'many') AS by_chf;
INSERT INTO exchange_rate (rate_set, currency, base, rate_on, rate) VALUES ('many', 'GBP', 'USD', '2026-01-01', 0.25);
SELECT convert(6, 'USD', 'GBP', '2026-01-01', 'many') AS direct, convert(1.5, 'GBP', 'USD', '2026-01-01', 'many') AS back;
INSERT INTO exchange_rate (rate_set, currency, base, rate_on, rate) VALUES
	('many', 'USD', 'EUR', '2026-01-02', 2), ('many', 'GBP', 'EUR', '2026-01-02', 1);
SELECT convert(6, 'USD', 'GBP', '2026-01-01', 'many') AS direct, convert(6, 'USD', 'GBP', '2026-01-02', 'many') AS newest_is_by_eur,
	convert(6, 'USD', 'GBP', '2026-01-12', 'many') AS still, convert(6, 'USD', 'GBP', '2026-01-13', 'many') AS none;

-- exact: twenty decimals or more, whatever path is taken (rates and amounts that 64 bits can't hold, too)
INSERT INTO exchange_rate (rate_set, currency, base, rate_on, rate) VALUES
	('odd', 'AAA', 'EUR', '2026-01-01', 1.12345678901234567890), ('odd', 'BBB', 'EUR', '2026-01-01', 0.000000000000000000012345),
	('odd', 'CCC', 'EUR', '2026-01-01', 123456789012345678901234567890), ('odd', 'DDD', 'EUR', '2026-01-01', 1.50000000000000),
	('odd', 'EEE', 'EUR', '2026-01-01', 3), ('odd', 'FFF', 'EUR', '2026-01-01', 18446744073.70955161), ('odd', 'GGG', 'EUR', '2026-01-01', 999999.99999999);
SELECT count(*) AS conversions, count(*) FILTER (WHERE scale(c) >= 20) AS scale,
	count(*) FILTER (WHERE round(c, 8) = round(round(a * t.rate, 400) / f.rate, 8)) AS exact
FROM (SELECT currency, rate FROM exchange_rate WHERE rate_set = 'odd' UNION ALL VALUES ('EUR', 1)) AS f,
	(SELECT currency, rate FROM exchange_rate WHERE rate_set = 'odd' UNION ALL VALUES ('EUR', 1)) AS t,
	unnest('{0, 0.01, -0.01, 1, 0.5, -7.25, 0.0001, 12345.6789, 921999999999999.9999, -922000000000000, 1e30, 0.000000000000123456789, 99999999.99}'::numeric[]) AS a,
	convert(a, f.currency, t.currency, '2026-01-01', 'odd') AS c
WHERE f.currency <> t.currency;
SELECT convert('NaN', 'EEE', 'EUR', '2026-01-01', 'odd'), convert(1, 'EEE', 'EUR', '2026-01-01', 'odd'), convert(2, 'EEE', 'EUR', '2026-01-01', 'odd'), convert(-2, 'EEE', 'EUR', '2026-01-01', 'odd');
SELECT from_rate, to_rate FROM rate_on('DDD', 'AAA', '2026-01-01', 'odd');

-- rates are those of now: changes of one's own, undone ones, in functions and prepared statements
PREPARE usd AS SELECT convert(100, 'USD', 'EUR', '2026-01-09');
EXECUTE usd;
BEGIN;
UPDATE exchange_rate SET rate = 4 WHERE rate_set = 'spot' AND currency = 'USD' AND rate_on = '2026-01-09';
EXECUTE usd;
SAVEPOINT a;
UPDATE exchange_rate SET rate = 5 WHERE rate_set = 'spot' AND currency = 'USD' AND rate_on = '2026-01-09';
EXECUTE usd;
ROLLBACK TO a;
EXECUTE usd;
DELETE FROM exchange_rate WHERE rate_set = 'spot' AND currency = 'USD' AND rate_on = '2026-01-09';
EXECUTE usd;
ROLLBACK;
EXECUTE usd;
DO $$
DECLARE
	a numeric; b numeric;
BEGIN
	a := pipelines.convert(100, 'USD', 'EUR', '2026-01-09');
	INSERT INTO pipelines.exchange_rate (rate_set, currency, base, rate_on, rate) VALUES ('spot', 'USD', 'EUR', '2026-01-10', 8);
	b := pipelines.convert(100, 'USD', 'EUR', '2026-01-10');
	RAISE EXCEPTION 'before %, after %', a, b;
EXCEPTION WHEN raise_exception THEN
	SET LOCAL client_min_messages = notice;
	RAISE NOTICE '%, undone %', SQLERRM, pipelines.convert(100, 'USD', 'EUR', '2026-01-10');
END
$$;

-- the past of rates is kept; the policy frozen takes what was known at the closing (R-8.3)
SELECT clock_timestamp() AS closed_at, pg_sleep(0.01) \gset
UPDATE exchange_rate SET rate = 1.5 WHERE rate_set = 'spot' AND currency = 'USD' AND rate_on = '2026-01-09';
SELECT clock_timestamp() AS corrected_at, pg_sleep(0.01) \gset
DELETE FROM exchange_rate WHERE rate_set = 'spot' AND currency = 'USD' AND rate_on = '2026-01-09';
SELECT clock_timestamp() AS deleted_at, pg_sleep(0.01) \gset
INSERT INTO exchange_rate (rate_set, currency, base, rate_on, rate) VALUES ('spot', 'USD', 'EUR', '2026-01-09', 1);
SELECT convert(120, 'USD', 'EUR', '2026-01-09', 'spot', :'closed_at') AS closed, convert(120, 'USD', 'EUR', '2026-01-09', 'spot', :'corrected_at') AS corrected,
	convert(120, 'USD', 'EUR', '2026-01-09', 'spot', :'deleted_at') AS deleted, convert(120, 'USD', 'EUR', '2026-01-09', 'spot', NULL) AS now,
	convert(120, 'USD', 'EUR', '2026-01-09', 'spot', '2000-01-01') AS first_version_is_known_since_ever,
	convert(120, 'USD', 'GBP', '2026-01-09', 'spot', :'corrected_at') AS across, convert(120, 'GBP', 'USD', '2026-01-05', 'spot', :'closed_at') AS back;
SELECT convert(120, NULL, 'EUR', '2026-01-09', 'spot', NULL) IS NULL AS null_is_null, convert(5, 'EUR', 'EUR', '2026-01-09', 'spot', now());
SELECT rate, oldest_rate_on FROM rate_on('USD', 'EUR', '2026-01-09', 'spot', :'corrected_at');
SELECT rate, version, change FROM exchange_rate_history ORDER BY version;

-- which day, which set, as known when: one policy for all figures
SELECT p AS policy, conversion_date(p, '2026-03-01', '2026-01-01', '2026-02-01') AS closed, conversion_date(p, '2026-03-01', '2026-01-01', NULL) AS open,
	conversion_rate_set(p) AS rate_set, conversion_known_at(p, '2026-02-01 12:00+00') AS known_at
FROM unnest('{close_date,frozen,creation,current,fixed:plan@2026-01-31,fixed:a@b@2024-02-29}'::text[]) AS p;
SELECT conversion_date('creation', '2026-03-01', NULL, '2026-02-01'), conversion_date(NULL, '2026-03-01', NULL, NULL), conversion_rate_set('frozen', NULL),
	conversion_rate_set('frozen', 'month_end'), conversion_known_at('frozen', NULL);
SELECT conversion_date('closing', now()::date, NULL, NULL);
SELECT conversion_date('fixed:plan@2026-02-30', now()::date, NULL, NULL);
SELECT conversion_rate_set('fixed:plan');
SELECT conversion_rate_set('fixed:@2026-01-31');
SELECT conversion_known_at('fixed:plan@31.01.2026', now());

-- counted, not priced (R-8.4), rounded once per deal (R-8.5)
CREATE TABLE public.deal (id integer, amount numeric, currency text, "on" date, owner text);
INSERT INTO public.deal VALUES
	(1, 100.005, 'EUR', '2026-01-05', 'ann'), (2, 100, 'USD', '2026-01-05', 'bob'), (3, 0.01, 'JPY', '2026-01-05', 'ann'), (4, NULL, 'USD', '2026-01-05', 'bob'),
	(5, NULL, 'HRK', NULL, 'ann'), (6, 1200.50, 'HRK', '2026-01-05', 'bob'), (7, 7.123456, 'HRK', '2026-01-05', 'ann'), (8, 5, NULL, '2026-01-05', 'bob'),
	(9, 3, 'USD', NULL, 'ann'), (10, 160, 'JPY', '2026-02-01', 'bob'), (11, 9, 'US "dollars", of which there are many', '2026-01-05', 'ann'),
	(12, 1e25, 'GBP', '2026-01-07', 'bob'), (13, -33.335, 'EUR', '2026-01-05', 'ann'), (14, -0.011, 'USD', '2026-01-07', 'bob'), (15, 'NaN', 'CHF', '2026-01-05', 'ann');
SELECT total(s), currency(s), deals(s), converted(s), unpriced(s), unconverted(s), complete(s), oldest_rate_on(s)
FROM (SELECT converted_sum(amount, currency, 'EUR', "on", 'spot') AS s FROM public.deal) AS t;
SELECT jsonb_pretty(unconverted_amounts(s)) FROM (SELECT converted_sum(amount, currency, 'EUR', "on", 'spot') AS s FROM public.deal) AS t;
SELECT s::jsonb FROM (SELECT converted_sum(amount, currency, 'JPY', "on", 'spot') AS s FROM public.deal WHERE id < 4) AS t;
SELECT s::jsonb FROM (SELECT converted_sum(amount, currency, 'KWD', "on", 'spot') AS s FROM public.deal WHERE id IN (1, 4)) AS t;
SELECT converted_sum(amount, currency, 'EUR', "on", 'spot') IS NULL AS none FROM public.deal WHERE false;
SELECT s::jsonb FROM (SELECT converted_sum(amount, currency, 'EUR', "on", NULL) AS s FROM public.deal WHERE id < 4) AS t;
SELECT total(converted_sum(120, 'USD', 'EUR', '2026-01-09', 'spot', k)) FROM (VALUES (:'closed_at'::timestamptz), (:'corrected_at'), (NULL)) AS v (k) GROUP BY k ORDER BY 1;
SELECT converted_sum(amount, currency, 'QQQ', "on", 'spot') FROM public.deal;
SELECT converted_sum(amount, currency, 'XAU', "on", 'spot') FROM public.deal;
SELECT converted_sum(amount, currency, NULL, "on", 'spot') FROM public.deal;
SELECT converted_sum(amount, currency, CASE id WHEN 1 THEN 'EUR' ELSE 'USD' END, "on", 'spot') FROM public.deal;

-- the sum is that of the rounded amounts, and any split adds up to it (I8)
SELECT total(converted_sum(amount, currency, 'EUR', "on", 'spot')) = sum(round(convert(amount, currency, 'EUR', "on"), 2)) AS same FROM public.deal;
WITH s AS (SELECT owner, converted_sum(amount, currency, 'EUR', "on", 'spot') AS s FROM public.deal GROUP BY owner)
SELECT rollup(s)::text = (SELECT converted_sum(amount, currency, 'EUR', "on", 'spot')::text FROM public.deal) AS rolled_up,
	((SELECT s FROM s WHERE owner = 'ann') + (SELECT s FROM s WHERE owner = 'bob'))::text = rollup(s)::text AS added,
	rollup(s::text::converted_sum)::text = rollup(s)::text AS read_again
FROM s;
SELECT rollup(s) FROM (VALUES ('1 EUR 0 0 0 - 0 - 0'::converted_sum), ('1 USD 0 0 0 - 0 - 0')) AS v (s);
SELECT rollup(s)::jsonb FROM (VALUES (NULL), ('1 EUR 0 0 0 - 0 - 0'::converted_sum), (NULL)) AS v (s);

-- texts that are none
DO $$
DECLARE
	t text;
BEGIN
	SET LOCAL client_min_messages = notice;
	FOREACH t IN ARRAY '{"", "2 EUR 0 0 0 - 0 - 0", "1 eur 0 0 0 - 0 - 0", "1 XAU 0 0 0 - 0 - 0", "1 EUR 1 0 0 - 0 - 0", "1 EUR 1 1 1 - 0 - 0", "1 EUR -1 0 0 - 0 - 0",
		"1 EUR 1 0 1 x 5 - 0", "1 EUR 1 0 1 - 5.5 - 0", "1 EUR 1 0 1 - 5 q 0", "1 EUR 1 0 1 - 5 - 0 ", "1 EUR 1 0 1 - 5 - 0 x", "1 EUR 1 0 0 - 0 - 1 HRK 1 12345 0 -",
		"1 EUR 2 0 0 - 0 - 2 USD 1 0 0 - HRK 1 0 0 -", "1 EUR 1 0 0 - 0 - 1 %0 1 0 0 -", "1 EUR 1 0 0 - 0 - 1 %00 1 0 0 -", "1 EUR 1 0 1 - 1e5 - 0",
		"1 EUR 1 0 1 - 99999999999999999999999999999999999999 - 0", "1 EUR 1 0 1 99999999999 5 - 0", "1 EUR 1 0 1 - 5 - 9999"}'::text[]
	LOOP
		BEGIN
			PERFORM t::pipelines.converted_sum;
			RAISE NOTICE '"%" is one', t;
		EXCEPTION WHEN invalid_text_representation OR invalid_parameter_value THEN
			NULL;
		END;
	END LOOP;
END
$$;
SELECT '1 EUR 2 0 0'::converted_sum;

-- more currencies than are listed
SELECT deals(s), unconverted(s), jsonb_object_agg(k, v) FILTER (WHERE k = '...') AS others, count(*) AS listed, sum((v ->> 'deals')::integer) AS listed_deals
FROM (SELECT converted_sum(1, 'X' || chr(65 + n / 26) || chr(65 + n % 26), 'EUR', '2026-01-05', 'spot') AS s FROM generate_series(0, 299) AS n) AS t,
	jsonb_each(unconverted_amounts(s)) AS e (k, v)
GROUP BY 1, 2;

-- what changed: amount and rate (R-8.6)
SELECT * FROM change_effects(100, 130, 'USD', 'EUR', '2026-01-05', '2026-01-06');
SELECT * FROM change_effects(100, 130, 'USD', 'EUR', '2026-01-05', '2025-01-06');
SELECT count(*) AS changes, count(*) FILTER (WHERE before + amount_effect + rate_effect = after) AS add_up
FROM generate_series(1, 100) AS n, change_effects(n * 3.337, n * n * 0.77, 'USD', 'GBP', '2026-01-05', '2026-01-08');

-- parallel workers read rates, too
CREATE TABLE public.many AS
SELECT round((n * 7.77)::numeric, 2) AS amount, (ARRAY['USD', 'GBP', 'EUR', 'HRK'])[1 + n % 4] AS currency, date '2026-01-05' + n % 9 AS "on" FROM generate_series(1, 20000) AS n;
CREATE TABLE public.alone AS SELECT converted_sum(amount, currency, 'EUR', "on", 'spot')::text AS s, sum(convert(amount, currency, 'USD', "on")) AS c FROM public.many;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 2;
SELECT converted_sum(amount, currency, 'EUR', "on", 'spot')::text = (SELECT s FROM public.alone) AS same, sum(convert(amount, currency, 'USD', "on")) = (SELECT c FROM public.alone) AS same_sum
FROM public.many;
RESET max_parallel_workers_per_gather;

-- whoever may read the rates may convert
SET ROLE regress_money_reader;
SELECT convert(120, 'USD', 'EUR', '2026-01-06');
RESET ROLE;
REVOKE SELECT ON exchange_rate FROM PUBLIC;
SELECT convert(120, 'USD', 'EUR', '2026-01-06');
SET ROLE regress_money_reader;
SELECT convert(120, 'USD', 'EUR', '2026-01-06');
SELECT convert(120, 'EUR', 'EUR', '2026-01-06');
RESET ROLE;
GRANT SELECT ON exchange_rate TO PUBLIC;
ALTER TABLE exchange_rate ENABLE ROW LEVEL SECURITY;
SET ROLE regress_money_reader;
SELECT convert(120, 'USD', 'EUR', '2026-01-06');
RESET ROLE;
ALTER TABLE exchange_rate DISABLE ROW LEVEL SECURITY;

-- and who keeps the rates needs plain grants only; what he changes is kept
GRANT INSERT, UPDATE ON exchange_rate TO regress_money_reader;
SET ROLE regress_money_reader;
INSERT INTO exchange_rate (rate_set, currency, base, rate_on, rate) VALUES ('kept', 'USD', 'EUR', '2026-01-05', 2);
INSERT INTO exchange_rate (rate_set, currency, base, rate_on, rate) VALUES ('kept', 'USD', 'EUR', '2026-01-05', 2), ('kept', 'USD', 'EUR', '2026-01-06', 2.5)
ON CONFLICT (rate_set, currency, base, rate_on) DO UPDATE SET rate = EXCLUDED.rate;
UPDATE exchange_rate SET rate = 3 WHERE rate_set = 'kept' AND rate_on = '2026-01-05';
SELECT convert(6, 'USD', 'EUR', '2026-01-05', 'kept');
RESET ROLE;
SELECT rate, version, change FROM exchange_rate_history WHERE rate_set = 'kept';

-- without definition tables there is a hint
DROP TABLE exchange_rate_history;
SELECT convert(120, 'USD', 'EUR', '2026-01-06');

\c :home
DROP DATABASE regress_pipelines_money;
DROP ROLE regress_money_reader;
