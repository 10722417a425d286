-- calendar.sql: fiscal calendars: their triggers, the periods that they consist
-- of, what is wrong with them, the period of a day, locked periods.

CREATE FUNCTION pipelines._calendar_before() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE COST 10
AS 'MODULE_PATHNAME', 'pipelines_calendar_before';
COMMENT ON FUNCTION pipelines._calendar_before() IS
'BEFORE ROW trigger on pipelines.fiscal_calendar: fills in is_standard and time_zone. Raises 22023, 55P03.';

CREATE FUNCTION pipelines._period_before() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE COST 10
AS 'MODULE_PATHNAME', 'pipelines_period_before';
COMMENT ON FUNCTION pipelines._period_before() IS
'BEFORE ROW trigger on pipelines.fiscal_period: a locked one stays what it is (23S22), and is locked when nobody is changing deals (55P03); what a transaction leaves of a calendar is looked at when it ends (23S23).';

-- Called by setup().
CREATE FUNCTION pipelines._setup_calendar() RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM pipelines._setup_trigger('pipelines.fiscal_calendar'::regclass::oid, name 'pipelines_calendar',
		text 'BEFORE INSERT OR UPDATE', text 'ROW', text 'pipelines._calendar_before()');
	PERFORM pipelines._setup_trigger('pipelines.fiscal_period'::regclass::oid, name 'pipelines_calendar',
		text 'BEFORE INSERT OR UPDATE OR DELETE', text 'ROW', text 'pipelines._period_before()');
END
$$;
COMMENT ON FUNCTION pipelines._setup_calendar() IS
'Makes the triggers that fiscal calendars have beside those of every definition table, or makes them so again.';

--
-- A day and its period
--

CREATE FUNCTION pipelines.calendar_id(name text DEFAULT NULL) RETURNS integer
LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1
AS 'MODULE_PATHNAME', 'pipelines_calendar_id';
COMMENT ON FUNCTION pipelines.calendar_id(text) IS
'Id of the fiscal calendar of this name; NULL: of the standard one. Unknown: 22023, listing what there is; no standard one: 55000. Sees the newest committed calendars at every isolation level.';

CREATE FUNCTION pipelines.fiscal_period_id("on" date, kind text DEFAULT 'month', calendar text DEFAULT NULL) RETURNS integer
LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1
AS 'MODULE_PATHNAME', 'pipelines_fiscal_period_id';
COMMENT ON FUNCTION pipelines.fiscal_period_id(date, text, text) IS
'Id of the period of this kind (week, month, quarter, year) of the calendar (NULL: the standard one) that contains the day; NULL if none does, or for NULL. Unknown kind or calendar: 22023; no standard calendar: 55000. Costs less than date_trunc(). Sees the newest committed calendars at every isolation level.';

CREATE FUNCTION pipelines.fiscal_period_id("at" timestamptz, kind text DEFAULT 'month', calendar text DEFAULT NULL) RETURNS integer
LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1
AS 'MODULE_PATHNAME', 'pipelines_fiscal_period_id_at';
COMMENT ON FUNCTION pipelines.fiscal_period_id(timestamptz, text, text) IS
'The same for an instant: its day in the calendar''s time zone decides, whatever the session''s is. A literal without a type is taken for an instant: write date ''2026-01-31''.';

CREATE FUNCTION pipelines.fiscal_period_of("on" date, kind text DEFAULT 'month', calendar text DEFAULT NULL)
RETURNS TABLE (period_id integer, label text, starts date, ends date, number integer, year integer, locked_at timestamptz)
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100 ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT p.period_id, p.label, p.starts, p.ends, p.number, p.year, p.locked_at
	FROM pipelines.fiscal_period AS p
	WHERE p.period_id = pipelines.fiscal_period_id($1::date, $2::text, $3::text)
$$;
COMMENT ON FUNCTION pipelines.fiscal_period_of(date, text, text) IS
'The period of this kind of the calendar (NULL: the standard one) that contains the day: label, first day, first day after it, number in its year. No row if none does. Errors as of fiscal_period_id().';

CREATE FUNCTION pipelines.current_period(kind text DEFAULT 'month', calendar text DEFAULT NULL)
RETURNS TABLE (period_id integer, label text, starts date, ends date, number integer, year integer, locked_at timestamptz)
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100 ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT p.period_id, p.label, p.starts, p.ends, p.number, p.year, p.locked_at
	FROM pipelines.fiscal_period AS p
	WHERE p.period_id = pipelines.fiscal_period_id(now(), $1::text, $2::text)
$$;
COMMENT ON FUNCTION pipelines.current_period(text, text) IS
'The period of this kind of the calendar (NULL: the standard one) that the present transaction began in, by the calendar''s time zone. No row if there is none.';

CREATE FUNCTION pipelines.period_shifted(period_id integer, by integer) RETURNS integer
LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 100
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT o.period_id
	FROM pipelines.fiscal_period AS p
	CROSS JOIN LATERAL (
		(SELECT n.period_id FROM pipelines.fiscal_period AS n
		WHERE n.calendar_id = p.calendar_id AND n.kind = p.kind AND n.starts >= p.starts AND $2 >= 0
		ORDER BY n.starts OFFSET greatest($2, 0) LIMIT 1)
		UNION ALL
		(SELECT n.period_id FROM pipelines.fiscal_period AS n
		WHERE n.calendar_id = p.calendar_id AND n.kind = p.kind AND n.starts <= p.starts AND $2 < 0
		ORDER BY n.starts DESC OFFSET greatest(-$2, 0) LIMIT 1)
	) AS o
	WHERE p.period_id = $1
$$;
COMMENT ON FUNCTION pipelines.period_shifted(integer, integer) IS
'Id of the period of the same kind and calendar that comes so many after this one (before it, if negative); NULL if there is none.';

--
-- What is wrong with a calendar
--

CREATE FUNCTION pipelines._calendar_problems(calendar_id integer)
RETURNS TABLE (calendar_id integer, period_id integer, kind text, label text, starts date, problem text, message text)
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000 ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
	WITH period AS (
		SELECT p.*, array_position(ARRAY['week', 'month', 'quarter', 'year'], p.kind) AS rank,
			format('%s "%s" (%s to %s)', p.kind, p.label, p.starts, p.ends - 1) AS name,
			lag(p.ends) OVER before AS last_end,
			lag(format('%s "%s" (%s to %s)', p.kind, p.label, p.starts, p.ends - 1)) OVER before AS last_name
		FROM pipelines.fiscal_period AS p
		WHERE $1 IS NULL OR p.calendar_id = $1
		WINDOW before AS (PARTITION BY p.calendar_id, p.kind ORDER BY p.starts, p.period_id)
	)
	SELECT p.calendar_id, p.period_id, p.kind, p.label, p.starts, 'overlap',
		format('fiscal %s overlaps %s', p.name, p.last_name)
	FROM period AS p WHERE p.starts < p.last_end
	UNION ALL
	SELECT p.calendar_id, p.period_id, p.kind, p.label, p.starts, 'gap',
		format('there is a gap between fiscal %s and %s', p.last_name, p.name)
	FROM period AS p WHERE p.starts > p.last_end
	UNION ALL
	SELECT p.calendar_id, p.period_id, p.kind, p.label, p.starts, 'parent_missing',
		format('fiscal %s is part of period %s, which does not exist', p.name, p.parent_id)
	FROM period AS p
	WHERE p.parent_id IS NOT NULL
		AND NOT EXISTS (SELECT FROM pipelines.fiscal_period AS o WHERE o.period_id = p.parent_id)
	UNION ALL
	SELECT p.calendar_id, p.period_id, p.kind, p.label, p.starts, 'wrong_parent',
		format('fiscal %s can''t be part of fiscal %s "%s"%s', p.name, o.kind, o.label,
			CASE WHEN o.calendar_id <> p.calendar_id THEN ' of another calendar' ELSE '' END)
	FROM period AS p
	JOIN pipelines.fiscal_period AS o ON o.period_id = p.parent_id
	WHERE o.calendar_id <> p.calendar_id
		OR array_position(ARRAY['week', 'month', 'quarter', 'year'], o.kind) <= p.rank
	UNION ALL
	SELECT p.calendar_id, p.period_id, p.kind, p.label, p.starts, 'outside_parent',
		format('fiscal %s does not lie in %s, which it is part of', p.name, o.name)
	FROM period AS p
	JOIN period AS o ON o.period_id = p.parent_id AND o.calendar_id = p.calendar_id
	WHERE p.starts < o.starts OR p.ends > o.ends
	UNION ALL
	SELECT o.calendar_id, o.period_id, o.kind, o.label, o.starts, 'not_filled',
		format('fiscal %s is not filled by its %ss: they go from %s to %s', o.name, c.kind, c.first, c.last - 1)
	FROM (SELECT p.calendar_id, p.parent_id, p.kind, p.rank, min(p.starts) AS first, max(p.ends) AS last
		FROM period AS p WHERE p.parent_id IS NOT NULL
		GROUP BY p.calendar_id, p.parent_id, p.kind, p.rank) AS c
	JOIN period AS o ON o.period_id = c.parent_id AND o.calendar_id = c.calendar_id AND o.rank > c.rank
	WHERE c.first > o.starts OR c.last < o.ends
$$;
COMMENT ON FUNCTION pipelines._calendar_problems(integer) IS
'What is wrong with the periods of a calendar; NULL: of all.';

CREATE FUNCTION pipelines.check_calendar(calendar text DEFAULT NULL)
RETURNS TABLE (calendar_name text, kind text, label text, period_id integer, problem text, message text)
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000 ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT c.name, p.kind, p.label, p.period_id, p.problem, p.message
	FROM pipelines._calendar_problems(CASE WHEN $1 IS NULL THEN NULL::integer ELSE pipelines.calendar_id($1::text) END) AS p
	JOIN pipelines.fiscal_calendar AS c ON c.calendar_id = p.calendar_id
	ORDER BY c.name, p.starts, p.period_id, p.problem
$$;
COMMENT ON FUNCTION pipelines.check_calendar(text) IS
'What is wrong with the periods of a calendar (NULL: of all): overlap, gap, parent_missing, wrong_parent, outside_parent, not_filled (a period whose parts do not fill it). No row: nothing. A transaction that leaves something of the kind is refused (23S23); a restore of data alone is not.';

--
-- Making periods
--

CREATE FUNCTION pipelines._weekday(name text) RETURNS integer
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 10
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT array_position(ARRAY['monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday', 'sunday'], lower(name))
$$;
COMMENT ON FUNCTION pipelines._weekday(text) IS
'Number of an English weekday, 1 Monday to 7 Sunday; NULL for anything else.';

CREATE FUNCTION pipelines._month(name text) RETURNS integer
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 10
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT array_position(ARRAY['january', 'february', 'march', 'april', 'may', 'june', 'july',
		'august', 'september', 'october', 'november', 'december'], lower(name))
$$;
COMMENT ON FUNCTION pipelines._month(text) IS
'Number of an English month, 1 to 12; NULL for anything else.';

-- What an end of the year given in words means.  'nominal' is the day that a
-- year would end on if weeks did not matter.
CREATE FUNCTION pipelines._year_end(rule text, year integer, OUT nominal date, OUT last_day date)
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 100
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	words text[] := regexp_match(lower(btrim(rule)), '^last\s+(\w+)\s+(?:of|in)\s+(\w+)$');
	weekday integer;
	away integer;
BEGIN
	IF words IS NOT NULL THEN
		weekday := pipelines._weekday(words[1]);
		nominal := (make_date(year, pipelines._month(words[2]), 1) + interval '1 month')::date - 1;
		last_day := nominal - (extract(isodow FROM nominal)::integer - weekday + 7) % 7;
	ELSE
		words := regexp_match(lower(btrim(rule)), '^(\w+)\s+nearest(?:\s+to)?\s+(\w+)\s+(\d{1,2})$');
		weekday := pipelines._weekday(words[1]);
		BEGIN
			nominal := make_date(year, pipelines._month(words[2]), words[3]::integer);
		EXCEPTION WHEN datetime_field_overflow THEN
			nominal := NULL;
		END;
		away := (weekday - extract(isodow FROM nominal)::integer + 7) % 7;
		last_day := nominal + CASE WHEN away > 3 THEN away - 7 ELSE away END;
	END IF;
	IF last_day IS NULL OR (pipelines._month(words[2]) = 2 AND words[3]::integer > 28) THEN
		RAISE EXCEPTION 'end of the year not understood: "%"', rule
			USING ERRCODE = 'invalid_parameter_value',
				HINT = 'Write ''last saturday of september'' or ''saturday nearest to january 31''.';
	END IF;
END
$$;
COMMENT ON FUNCTION pipelines._year_end(text, integer) IS
'The last day of a fiscal year that ends in this calendar year, by a rule such as ''last saturday of september'' or ''saturday nearest to january 31'', and the day that the rule aims at. Raises 22023.';

-- The first day of the year of that name.
CREATE FUNCTION pipelines._year_start(pattern text, first_month integer, year_end text, year_name text, year integer) RETURNS date
LANGUAGE plpgsql IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 300
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	ends_in integer := year;
	before record;
BEGIN
	IF pattern = 'months' THEN
		RETURN make_date(CASE WHEN year_name = 'end' AND first_month > 1 THEN year - 1 ELSE year END, first_month, 1);
	END IF;
	-- a year that aims at December 31 begins and ends in one calendar year
	IF year_name = 'start' AND to_char((SELECT e.nominal FROM pipelines._year_end(year_end::text, year::integer) AS e), 'MMDD') <> '1231' THEN
		ends_in := year + 1;
	END IF;
	SELECT * INTO before FROM pipelines._year_end(year_end::text, (ends_in - 1)::integer) AS e;
	RETURN before.last_day + 1;
END
$$;
COMMENT ON FUNCTION pipelines._year_start(text, integer, text, text, integer) IS
'First day of the fiscal year of this name in a calendar of this pattern.';

CREATE FUNCTION pipelines._period_label(template text, year integer, number integer, quarter integer,
	starts date, ends date, year_starts date, year_ends date) RETURNS text
LANGUAGE sql IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100
SET search_path = pg_catalog, pg_temp
AS $$
	-- a month of weeks is called by the calendar month that its middle lies in
	SELECT replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(template,
		'{year}', year::text),
		'{yy}', lpad((year % 100)::text, 2, '0')),
		'{nn}', lpad(number::text, 2, '0')),
		'{n}', number::text),
		'{q}', coalesce(quarter::text, '')),
		'{month}', to_char(m.middle, 'FMMonth')),
		'{mon}', to_char(m.middle, 'Mon')),
		'{calendar_year}', to_char(m.middle, 'YYYY')),
		'{first_year}', to_char(year_starts, 'YYYY')),
		'{last_year}', to_char(year_ends - 1, 'YYYY')),
		'{last_yy}', to_char(year_ends - 1, 'YY'))
	FROM (VALUES (starts + (ends - starts) / 2)) AS m (middle)
$$;
COMMENT ON FUNCTION pipelines._period_label(text, integer, integer, integer, date, date, date, date) IS
'A label from its template: {year} {yy} the fiscal year, {n} {nn} the number in it, {q} the quarter, {mon} {month} {calendar_year} by the calendar, {first_year} {last_year} {last_yy} the calendar years that the fiscal year begins and ends in.';

CREATE FUNCTION pipelines._make_periods(calendar_id integer, from_year integer, to_year integer) RETURNS integer
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE COST 100000
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	c record;
	months integer[];
	made integer := 0;
	n integer;
	y integer;
	year_starts date;
	year_ends date;
	weeks integer;
	year_id integer;
BEGIN
	SELECT * INTO STRICT c FROM pipelines.fiscal_calendar AS f WHERE f.calendar_id = _make_periods.calendar_id;
	IF from_year > to_year OR from_year < 1 OR to_year > 9998 OR to_year - from_year > 400 THEN
		RAISE EXCEPTION 'no fiscal years can be made from % to %', from_year, to_year
			USING ERRCODE = 'invalid_parameter_value',
				HINT = 'Give the first and the last year by their names; 400 at once at most.';
	END IF;
	IF c.pattern = 'custom' THEN
		RAISE EXCEPTION 'the periods of calendar "%" are made by hand', c.name
			USING ERRCODE = 'object_not_in_prerequisite_state',
				DETAIL = 'Its pattern is custom.',
				HINT = 'Insert them into pipelines.fiscal_period.';
	END IF;
	-- weeks of each month; of calendar months it does not matter
	months := CASE c.pattern
		WHEN 'months' THEN array_fill(0, ARRAY[12])
		WHEN '4-4-5' THEN '{4,4,5,4,4,5,4,4,5,4,4,5}'
		WHEN '4-5-4' THEN '{4,5,4,4,5,4,4,5,4,4,5,4}'
		WHEN '5-4-4' THEN '{5,4,4,5,4,4,5,4,4,5,4,4}'
		WHEN '13x4' THEN array_fill(4, ARRAY[13])
		ELSE '{}' END::integer[];
	IF cardinality(c.quarters) > 0
		AND (SELECT sum(q) FROM unnest(c.quarters) AS q) <> cardinality(months)
	THEN
		RAISE EXCEPTION 'the quarters of calendar "%" don''t make up its year', c.name
			USING ERRCODE = 'invalid_parameter_value',
				DETAIL = format('quarters is %s, but a year of pattern %s has %s months.', c.quarters, c.pattern, cardinality(months)),
				HINT = 'Say how many months each quarter has, or ''{}'' for no quarters.';
	END IF;

	FOR y IN from_year .. to_year LOOP
		CONTINUE WHEN EXISTS (SELECT FROM pipelines.fiscal_period AS p
			WHERE p.calendar_id = _make_periods.calendar_id AND p.kind = 'year' AND p.year = y);
		year_starts := pipelines._year_start(c.pattern::text, c.first_month::integer, c.year_end::text, c.year_name::text, y::integer);
		year_ends := pipelines._year_start(c.pattern::text, c.first_month::integer, c.year_end::text, c.year_name::text, (y + 1)::integer);
		weeks := (year_ends - year_starts) / 7;
		INSERT INTO pipelines.fiscal_period (calendar_id, kind, starts, ends, number, year, label)
		VALUES (calendar_id, 'year', year_starts, year_ends, 1, y,
			pipelines._period_label((c.labels ->> 'year')::text, y::integer, 1, NULL::integer,
				year_starts::date, year_ends::date, year_starts::date, year_ends::date))
		RETURNING period_id INTO year_id;
		made := made + 1;

		-- the months, and the quarters that they make up
		WITH part AS (
			SELECT m.i,
				(SELECT count(*) + 1 FROM unnest(c.quarters) WITH ORDINALITY AS q (many, i)
				WHERE (SELECT sum(b.many) FROM unnest(c.quarters) WITH ORDINALITY AS b (many, i) WHERE b.i <= q.i) < m.i)::integer AS quarter,
				CASE c.pattern WHEN 'months' THEN (year_starts + make_interval(months => m.i - 1))::date
					ELSE year_starts + 7 * coalesce((SELECT sum(b) FROM unnest(months[:m.i - 1]) AS b), 0)::integer END AS starts,
				CASE c.pattern WHEN 'months' THEN (year_starts + make_interval(months => m.i))::date
					-- the 53rd week goes to the last one
					WHEN '' THEN NULL
					ELSE CASE WHEN m.i = cardinality(months) THEN year_ends
						ELSE year_starts + 7 * (SELECT sum(b) FROM unnest(months[:m.i]) AS b)::integer END END AS ends
			FROM generate_series(1, cardinality(months)) AS m (i)
		), quarter AS (
			INSERT INTO pipelines.fiscal_period (calendar_id, kind, starts, ends, number, year, label, parent_id)
			SELECT calendar_id, 'quarter', min(p.starts), max(p.ends), p.quarter, y,
				pipelines._period_label((c.labels ->> 'quarter')::text, y::integer, p.quarter::integer, p.quarter::integer,
					min(p.starts)::date, max(p.ends)::date, year_starts::date, year_ends::date), year_id
			FROM part AS p WHERE cardinality(c.quarters) > 0
			GROUP BY p.quarter ORDER BY p.quarter
			RETURNING period_id, number
		), month AS (
			INSERT INTO pipelines.fiscal_period (calendar_id, kind, starts, ends, number, year, label, parent_id)
			SELECT calendar_id, 'month', p.starts, p.ends, p.i, y,
				pipelines._period_label((c.labels ->> 'month')::text, y::integer, p.i::integer,
					(CASE WHEN q.period_id IS NULL THEN NULL ELSE p.quarter END)::integer,
					p.starts::date, p.ends::date, year_starts::date, year_ends::date),
				coalesce(q.period_id, year_id)
			FROM part AS p
			LEFT JOIN quarter AS q ON q.number = p.quarter
			ORDER BY p.i
			RETURNING period_id
		)
		SELECT (SELECT count(*) FROM quarter) + (SELECT count(*) FROM month) INTO n;
		made := made + n;

		-- weeks: of the year, or those of which most days lie in it
		IF c.pattern = 'months' THEN
			INSERT INTO pipelines.fiscal_period (calendar_id, kind, starts, ends, number, year, label)
			SELECT calendar_id, 'week', w.starts, w.starts + 7, w.i, y,
				pipelines._period_label((c.labels ->> 'week')::text, y::integer, w.i::integer, NULL::integer,
					w.starts::date, (w.starts + 7)::date, year_starts::date, year_ends::date)
			FROM (SELECT d.day AS starts, row_number() OVER (ORDER BY d.day)::integer AS i
				FROM (SELECT year_starts - 3 + g AS day FROM generate_series(0, year_ends - year_starts - 1) AS g) AS d
				WHERE extract(isodow FROM d.day) = c.first_weekday) AS w
			ORDER BY w.i;
		ELSE
			INSERT INTO pipelines.fiscal_period (calendar_id, kind, starts, ends, number, year, label, parent_id)
			SELECT calendar_id, 'week', w.starts, w.starts + 7, w.i, y,
				pipelines._period_label((c.labels ->> 'week')::text, y::integer, w.i::integer, NULL::integer,
					w.starts::date, (w.starts + 7)::date, year_starts::date, year_ends::date),
				coalesce(p.period_id, year_id)
			FROM (SELECT g AS i, year_starts + 7 * (g - 1) AS starts FROM generate_series(1, weeks) AS g) AS w
			LEFT JOIN pipelines.fiscal_period AS p ON p.calendar_id = _make_periods.calendar_id
				AND p.kind = 'month' AND w.starts >= p.starts AND w.starts < p.ends
			ORDER BY w.i;
		END IF;
		GET DIAGNOSTICS n = ROW_COUNT;
		made := made + n;
	END LOOP;
	RETURN made;
END
$$;
COMMENT ON FUNCTION pipelines._make_periods(integer, integer, integer) IS
'Makes the periods of the fiscal years from_year to to_year that are not there yet; returns how many periods.';

CREATE FUNCTION pipelines.create_fiscal_calendar(name text, pattern text DEFAULT 'months',
	first_month integer DEFAULT 1, year_end text DEFAULT NULL, year_name text DEFAULT NULL,
	from_year integer DEFAULT NULL, to_year integer DEFAULT NULL, labels jsonb DEFAULT NULL,
	quarters integer[] DEFAULT NULL, first_weekday integer DEFAULT 1,
	time_zone text DEFAULT NULL, is_standard boolean DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	patterns CONSTANT text[] := '{months,4-4-5,4-5-4,5-4-4,13x4,iso_weeks,custom}';
	kinds CONSTANT text[] := '{week,month,quarter,year}';
	this_year CONSTANT integer := extract(year FROM now())::integer;
	templates jsonb;
	unknown text;
	id integer;
BEGIN
	PERFORM pipelines._require_setup();
	IF NOT coalesce(pattern = ANY (patterns), false) THEN
		RAISE EXCEPTION 'unknown pattern of a fiscal calendar: "%"', pattern
			USING ERRCODE = 'invalid_parameter_value', HINT = format('Patterns are %s.', array_to_string(patterns, ', '));
	END IF;
	IF year_end IS NOT NULL AND pattern IN ('months', 'custom', 'iso_weeks') THEN
		RAISE EXCEPTION 'the end of the year can''t be chosen for pattern %', pattern
			USING ERRCODE = 'invalid_parameter_value',
				HINT = CASE pattern WHEN 'months' THEN 'Give first_month.'
					ELSE 'Patterns 4-4-5, 4-5-4, 5-4-4 and 13x4 have a year_end.' END;
	END IF;
	year_end := CASE WHEN pattern IN ('months', 'custom') THEN NULL
		WHEN pattern = 'iso_weeks' THEN 'sunday nearest to december 31'
		-- the one of the retailers of the United States
		WHEN pattern = '4-5-4' THEN coalesce(year_end, 'saturday nearest to january 31')
		ELSE coalesce(year_end, 'last saturday of december') END;
	IF year_end IS NOT NULL THEN
		PERFORM pipelines._year_end(year_end::text, 2000);
	END IF;
	year_name := coalesce(year_name, CASE pattern WHEN '4-5-4' THEN 'start' ELSE 'end' END);
	quarters := coalesce(quarters, CASE pattern WHEN '13x4' THEN '{3,3,3,4}'
		WHEN 'iso_weeks' THEN '{}' ELSE '{3,3,3,3}' END::integer[]);
	IF labels IS NOT NULL THEN
		IF jsonb_typeof(labels) <> 'object' THEN
			RAISE EXCEPTION 'labels must be a JSON object'
				USING ERRCODE = 'invalid_parameter_value', HINT = 'As in ''{"year": "FY{yy}", "month": "{mon} {calendar_year}"}''.';
		END IF;
		SELECT string_agg(format('"%s"', k.key), ', ') INTO unknown
		FROM jsonb_each(labels) AS k WHERE k.key <> ALL (kinds) OR jsonb_typeof(k.value) <> 'string';
		IF unknown IS NOT NULL THEN
			RAISE EXCEPTION 'no label for periods: %', unknown
				USING ERRCODE = 'invalid_parameter_value',
					DETAIL = 'Kinds are week, month, quarter and year, and each label is a text.';
		END IF;
		SELECT string_agg(p.part[1], ', ') INTO unknown
		FROM jsonb_each_text(labels) AS k
		CROSS JOIN LATERAL regexp_matches(k.value, '\{[^{}]*\}', 'g') AS p (part)
		WHERE p.part[1] <> ALL ('{"{year}","{yy}","{n}","{nn}","{q}","{mon}","{month}","{calendar_year}","{first_year}","{last_year}","{last_yy}"}'::text[]);
		IF unknown IS NOT NULL THEN
			RAISE EXCEPTION 'unknown part of a label: %', unknown
				USING ERRCODE = 'invalid_parameter_value',
					HINT = 'Known are {year} {yy} {n} {nn} {q} {mon} {month} {calendar_year} {first_year} {last_year} {last_yy}.';
		END IF;
	END IF;
	templates := CASE
		WHEN pattern = 'custom' THEN '{}'
		WHEN pattern = 'iso_weeks' OR (pattern = 'months' AND first_month = 1) THEN
			'{"year": "{year}", "quarter": "Q{n} {year}", "month": "{mon} {year}", "week": "{year}-W{nn}"}'
		ELSE '{"year": "FY{year}", "quarter": "Q{n} FY{year}", "month": "P{nn} FY{year}", "week": "W{nn} FY{year}"}'
		END::jsonb || coalesce(labels, '{}');

	IF is_standard THEN
		UPDATE pipelines.fiscal_calendar AS c SET is_standard = false WHERE c.is_standard;
	END IF;
	INSERT INTO pipelines.fiscal_calendar (name, is_standard, time_zone, pattern, first_month, year_end, year_name,
		quarters, first_weekday, labels)
	VALUES (name, is_standard, time_zone, pattern, first_month, year_end, year_name, quarters, first_weekday, templates)
	RETURNING calendar_id INTO id;
	IF pattern <> 'custom' THEN
		PERFORM pipelines._make_periods(id::integer, coalesce(from_year, least(this_year - 3, to_year))::integer,
			coalesce(to_year, greatest(this_year + 3, from_year))::integer);
	END IF;
	RETURN id;
END
$$;
COMMENT ON FUNCTION pipelines.create_fiscal_calendar(text, text, integer, text, text, integer, integer, jsonb, integer[], integer, text, boolean) IS
'Makes a fiscal calendar with the periods of the years from_year to to_year (by their names; default: three before this one to three after it), and returns its id.
pattern: months (calendar months; the year begins with first_month), 4-4-5, 4-5-4 and 5-4-4 (months of so many weeks), 13x4 (thirteen months of four weeks), iso_weeks (weeks and years of ISO 8601), custom (periods are inserted by hand).
year_end, for patterns of weeks: ''last saturday of september'' or ''saturday nearest to january 31''; default: the latter for 4-5-4, ''last saturday of december'' for the others. A 53rd week goes to the last month.
year_name: start or end, by which calendar year a fiscal year is called (default: start for 4-5-4, else end).
labels: how periods are called, kind -> text in which {year} {yy} {n} {nn} {q} {mon} {month} {calendar_year} {first_year} {last_year} {last_yy} are filled in.
quarters: how many months each has; ''{}'': none. first_weekday, for pattern months: on which day weeks begin, 1 Monday to 7 Sunday; a week belongs to the year in which most of its days lie.
The first calendar is the standard one unless is_standard says otherwise. Raises 22023 for what it does not understand, 23505 for a name that is taken.';

CREATE FUNCTION pipelines.extend_fiscal_calendar(calendar text, to_year integer, from_year integer DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	id integer := pipelines.calendar_id(calendar::text);
	first_year integer;
	last_year integer;
BEGIN
	SELECT min(p.year), max(p.year) INTO first_year, last_year
	FROM pipelines.fiscal_period AS p WHERE p.calendar_id = id AND p.kind = 'year';
	-- what lies between is there already
	RETURN pipelines._make_periods(id::integer, coalesce(from_year, first_year, to_year)::integer,
		coalesce(to_year, last_year)::integer);
END
$$;
COMMENT ON FUNCTION pipelines.extend_fiscal_calendar(text, integer, integer) IS
'Adds the years up to to_year (and, if given, from from_year on) to a fiscal calendar (NULL: the standard one), as it was made; years that are there, changed by hand or not, stay as they are. Returns how many periods were made. Raises 23S23 at the end of the transaction if they don''t join on.';

--
-- Locked periods (R-9.3)
--

CREATE FUNCTION pipelines.locked_period_id("on" date, calendar text DEFAULT NULL) RETURNS integer
LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1
AS 'MODULE_PATHNAME', 'pipelines_locked_period_id';
COMMENT ON FUNCTION pipelines.locked_period_id(date, text) IS
'Id of the locked period of the calendar (NULL: the standard one) that the day lies in, the longest if several are; NULL: the day is not locked. Unknown calendar: 22023.';

CREATE FUNCTION pipelines._labelled_period(calendar text, label text, kind text) RETURNS integer
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	id integer := pipelines.calendar_id(calendar::text);
	found_ids integer[];
	kinds text;
BEGIN
	SELECT array_agg(p.period_id), string_agg(p.kind, ', ' ORDER BY p.kind) INTO found_ids, kinds
	FROM pipelines.fiscal_period AS p
	WHERE p.calendar_id = id AND p.label = label AND (kind IS NULL OR p.kind = kind);
	IF found_ids IS NULL THEN
		RAISE EXCEPTION 'there is no fiscal period "%" in the calendar', label
			USING ERRCODE = 'invalid_parameter_value',
				DETAIL = format('Calendar "%s"%s.', (SELECT c.name FROM pipelines.fiscal_calendar AS c WHERE c.calendar_id = id),
					CASE WHEN kind IS NULL THEN '' ELSE format(', kind %s', kind) END),
				HINT = 'pipelines.fiscal_period lists them.';
	ELSIF cardinality(found_ids) > 1 THEN
		RAISE EXCEPTION 'several fiscal periods are called "%"', label
			USING ERRCODE = 'invalid_parameter_value', DETAIL = format('Kinds: %s.', kinds), HINT = 'Give the kind.';
	END IF;
	RETURN found_ids[1];
END
$$;
COMMENT ON FUNCTION pipelines._labelled_period(text, text, text) IS
'Id of the period of this label and kind (NULL: any) in the calendar (NULL: the standard one). Raises 22023.';

CREATE FUNCTION pipelines._set_lock(period_id integer, locked boolean, reason text) RETURNS integer
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	why text := coalesce(nullif(btrim(reason), ''), nullif(current_setting('pipelines.reason', true), ''));
BEGIN
	IF NOT locked AND why IS NULL THEN
		RAISE EXCEPTION 'a fiscal period can''t be unlocked without a reason'
			USING ERRCODE = '23S16', HINT = 'Give reason => ''...'', or SET LOCAL pipelines.reason.';
	END IF;
	IF NOT EXISTS (SELECT FROM pipelines.fiscal_period AS p WHERE p.period_id = period_id) THEN
		RAISE EXCEPTION 'fiscal period % does not exist', coalesce(period_id::text, 'NULL')
			USING ERRCODE = 'invalid_parameter_value', HINT = 'pipelines.fiscal_period lists them.';
	END IF;
	UPDATE pipelines.fiscal_period AS p
	SET locked_at = CASE WHEN locked THEN clock_timestamp() END, lock_reason = why
	WHERE p.period_id = period_id AND (p.locked_at IS NULL) = locked;
	RETURN period_id;
END
$$;
COMMENT ON FUNCTION pipelines._set_lock(integer, boolean, text) IS
'Locks or unlocks a period, if it is not so already. Raises 22023, 23S16, 42501, 55P03.';

CREATE FUNCTION pipelines.lock_period(period_id integer, reason text DEFAULT NULL) RETURNS integer
LANGUAGE sql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT pipelines._set_lock($1::integer, true, $2::text)
$$;
COMMENT ON FUNCTION pipelines.lock_period(integer, text) IS
'Locks a fiscal period, and so every day in it, for the deals of the pipelines that are reckoned by its calendar: no deal is closed in it any more, and one that was is not reopened, moved or deleted, and keeps closing day, amount, currency, quantity, cost and what was said at its closing (23S22). The period itself does not change either. For who may change pipelines.fiscal_period. Waits for running changes of deals (55P03). Returns the period''s id.';

CREATE FUNCTION pipelines.lock_period(calendar text, label text, reason text DEFAULT NULL, kind text DEFAULT NULL) RETURNS integer
LANGUAGE sql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT pipelines._set_lock(pipelines._labelled_period($1::text, $2::text, $4::text), true, $3::text)
$$;
COMMENT ON FUNCTION pipelines.lock_period(text, text, text, text) IS
'Locks the fiscal period of this label in the calendar (NULL: the standard one); the kind is needed where several are called so (22023).';

CREATE FUNCTION pipelines.unlock_period(period_id integer, reason text DEFAULT NULL) RETURNS integer
LANGUAGE sql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT pipelines._set_lock($1::integer, false, $2::text)
$$;
COMMENT ON FUNCTION pipelines.unlock_period(integer, text) IS
'Unlocks a fiscal period. A reason must be given (23S16), here or by the setting pipelines.reason; it stays in lock_reason, and who locked and unlocked when in fiscal_period_history. A day stays locked while another period that it lies in is. Returns the period''s id.';

CREATE FUNCTION pipelines.unlock_period(calendar text, label text, reason text DEFAULT NULL, kind text DEFAULT NULL) RETURNS integer
LANGUAGE sql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT pipelines._set_lock(pipelines._labelled_period($1::text, $2::text, $4::text), false, $3::text)
$$;
COMMENT ON FUNCTION pipelines.unlock_period(text, text, text, text) IS
'Unlocks the fiscal period of this label in the calendar (NULL: the standard one); the kind is needed where several are called so (22023).';

--
-- Business time (R-3.3)
--

CREATE FUNCTION pipelines.business_time("from" timestamptz, "to" timestamptz, calendar text DEFAULT NULL) RETURNS interval
LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 5
AS 'MODULE_PATHNAME', 'pipelines_business_time';
COMMENT ON FUNCTION pipelines.business_time(timestamptz, timestamptz, text) IS
'Business time between two instants, in hours, minutes and seconds: as long as the clocks of the calendar''s time zone show hours of pipelines.business_hours (none given: Monday to Friday, 9 to 17) of a day that is not in pipelines.holiday. Negative if the second instant is the earlier one; NULL for NULL. calendar NULL: the standard one. Unknown calendar: 22023; infinite instant: 22008.';

CREATE FUNCTION pipelines.business_days("from" date, "to" date, calendar text DEFAULT NULL) RETURNS integer
LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1
AS 'MODULE_PATHNAME', 'pipelines_business_days';
COMMENT ON FUNCTION pipelines.business_days(date, date, text) IS
'Business days from the first day on, before the second one: weekdays that have business hours (none given: Monday to Friday) and are no holidays. Negative if the second day is the earlier one; NULL for NULL. Unknown calendar: 22023; infinite day: 22008.';

CREATE FUNCTION pipelines.add_business_time("from" timestamptz, duration interval, calendar text DEFAULT NULL) RETURNS timestamptz
LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100
AS 'MODULE_PATHNAME', 'pipelines_add_business_time';
COMMENT ON FUNCTION pipelines.add_business_time(timestamptz, interval, text) IS
'The first instant up to which that much business time has passed; of a negative duration, the last one from which on it has. The duration is in hours, minutes and seconds (22023). NULL for NULL. Unknown calendar: 22023; not within 10000 years: 22008.';

CREATE FUNCTION pipelines.add_business_days("from" date, days integer, calendar text DEFAULT NULL) RETURNS date
LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 5
AS 'MODULE_PATHNAME', 'pipelines_add_business_days';
COMMENT ON FUNCTION pipelines.add_business_days(date, integer, text) IS
'The business day that comes so many business days after the day, or before it if negative; the day itself does not count, and 0 gives it back. NULL for NULL. Unknown calendar: 22023; not within 10000 years: 22008.';
