
-- ---------------------------------------------------------------------------
-- money: currencies, dated exchange rates, conversion
-- ---------------------------------------------------------------------------

-- currencies -------------------------------------------------------------------

CREATE FUNCTION pipelines.currencies()
RETURNS TABLE (currency text, minor_units integer, name text, is_current boolean)
LANGUAGE c IMMUTABLE PARALLEL SAFE COST 100 ROWS 215
AS 'MODULE_PATHNAME', 'pipelines_currencies';
COMMENT ON FUNCTION pipelines.currencies() IS
'The currencies of ISO 4217: code, decimals of an amount (null: has none, as gold), English name, and whether it is in use today; those of the past are listed for the deals of the past.';

CREATE FUNCTION pipelines.minor_units(currency text) RETURNS integer
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 1
AS 'MODULE_PATHNAME', 'pipelines_minor_units';
COMMENT ON FUNCTION pipelines.minor_units(text) IS
'How many decimals an amount of the currency has by ISO 4217: EUR 2, JPY 0, KWD 3; null for those that have none. Errors: 22023 unknown code.';

CREATE FUNCTION pipelines.round_money(amount numeric, currency text) RETURNS numeric
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 1
AS 'MODULE_PATHNAME', 'pipelines_round_money';
COMMENT ON FUNCTION pipelines.round_money(numeric, text) IS
'The amount rounded to the decimals of the currency, halves away from zero; as it is where the currency has none. Errors: 22023 unknown code.';

-- conversion -------------------------------------------------------------------

CREATE FUNCTION pipelines.convert(amount numeric, "from" text, "to" text, "on" date, rate_set text DEFAULT 'spot') RETURNS numeric
LANGUAGE c STABLE STRICT PARALLEL SAFE COST 2
AS 'MODULE_PATHNAME', 'pipelines_convert';
COMMENT ON FUNCTION pipelines.convert(numeric, text, text, date, text) IS
'The amount in another currency at the rates of a day: amount x rate of the target / rate of its own currency, one division, not rounded (twenty decimals or more, so that rounding it to eight or fewer is rounding once). A rate is the last one on or before the day that is not older than the set allows (rate_set.max_age, 10 days unless said). Null where there is none, never the amount itself; rate_on() says why. Either currency is quoted in the other, or both in a common base; of several ways the one whose older rate is the newest, then the direct one, then by base. Rates are the newest committed ones, and the changes of one''s own transaction. Errors: 42501 without the right to read pipelines.exchange_rate, 55000 without definition tables.';

CREATE FUNCTION pipelines.convert(amount numeric, "from" text, "to" text, "on" date, rate_set text, known_at timestamptz) RETURNS numeric
LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 2
AS 'MODULE_PATHNAME', 'pipelines_convert_known';
COMMENT ON FUNCTION pipelines.convert(numeric, text, text, date, text, timestamptz) IS
'The same by the rates as they were known at an instant: a rate that was corrected or deleted later counts as it was then. The first version of a rate counts as known since ever, so that rates loaded for the past serve the past. The limit in days is that of now. Null: as they are known now.';

CREATE FUNCTION pipelines.rate_on("from" text, "to" text, "on" date, rate_set text DEFAULT 'spot', known_at timestamptz DEFAULT NULL,
	OUT rate numeric, OUT oldest_rate_on date, OUT from_rate numeric, OUT from_rate_on date, OUT to_rate numeric, OUT to_rate_on date, OUT problem text)
LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100
AS 'MODULE_PATHNAME', 'pipelines_rate_on';
COMMENT ON FUNCTION pipelines.rate_on(text, text, date, text, timestamptz) IS
'What convert() would use: units of the target for one unit, the older day of the rates used, both rates and their days (the base itself: rate 1, no day). problem: null, missing (no rate on or before the day), too old (the rates shown are older than the set allows).';

CREATE FUNCTION pipelines.rate_sets()
RETURNS TABLE (rate_set text, max_age integer, description text, currencies bigint, rates bigint, first_on date, last_on date)
LANGUAGE sql STABLE PARALLEL SAFE COST 100000 ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT n.rate_set, CASE WHEN s.rate_set IS NULL THEN 10 ELSE s.max_age END, s.description,
		coalesce(r.currencies, 0), coalesce(r.rates, 0), r.first_on, r.last_on
	FROM (SELECT k.rate_set FROM pipelines.rate_set AS k UNION SELECT e.rate_set FROM pipelines.exchange_rate AS e) AS n
	LEFT JOIN pipelines.rate_set AS s ON s.rate_set = n.rate_set
	LEFT JOIN (
		SELECT e.rate_set, count(DISTINCT e.currency) AS currencies, count(*) AS rates, min(e.rate_on) AS first_on, max(e.rate_on) AS last_on
		FROM pipelines.exchange_rate AS e GROUP BY e.rate_set
	) AS r ON r.rate_set = n.rate_set
	ORDER BY n.rate_set
$$;
COMMENT ON FUNCTION pipelines.rate_sets() IS
'The sets of exchange rates that there are, with or without a row in pipelines.rate_set: limit in days (null: none), how many currencies and rates, first and last day.';

CREATE FUNCTION pipelines._need_rate_set(rate_set text)
RETURNS void
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	-- the usual one may be empty still
	IF rate_set = 'spot' OR EXISTS (SELECT FROM pipelines.exchange_rate e WHERE e.rate_set = _need_rate_set.rate_set)
		OR EXISTS (SELECT FROM pipelines.rate_set s WHERE s.rate_set = _need_rate_set.rate_set)
	THEN
		RETURN;
	END IF;
	RAISE EXCEPTION 'there is no set of exchange rates "%"', rate_set
		USING ERRCODE = 'invalid_parameter_value',
			  DETAIL = format('Sets: %s.', coalesce((SELECT string_agg(r.rate_set, ', ' ORDER BY r.rate_set COLLATE "C") FROM pipelines.rate_sets() r), 'none'));
END
$$;
COMMENT ON FUNCTION pipelines._need_rate_set(text) IS
'Raises 22023 for a set of rates that there is not.';

-- policies: one for all figures of a report ------------------------------------

CREATE FUNCTION pipelines.conversion_date(policy text, as_of date, created_on date, closed_on date) RETURNS date
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1
AS 'MODULE_PATHNAME', 'pipelines_conversion_date';
COMMENT ON FUNCTION pipelines.conversion_date(text, date, date, date) IS
'The day whose rates count for a deal by a policy: close_date and frozen: closed_on, for open deals as_of; creation: created_on; current: as_of; fixed:<rate set>@<day>: that day. Errors: 22023 unknown policy.';

CREATE FUNCTION pipelines.conversion_rate_set(policy text, rate_set text DEFAULT 'spot') RETURNS text
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1
AS 'MODULE_PATHNAME', 'pipelines_conversion_rate_set';
COMMENT ON FUNCTION pipelines.conversion_rate_set(text, text) IS
'The rate set that counts by a policy: that of fixed:<rate set>@<day>, else the one that is given. Errors: 22023 unknown policy.';

CREATE FUNCTION pipelines.conversion_known_at(policy text, closed_at timestamptz) RETURNS timestamptz
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1
AS 'MODULE_PATHNAME', 'pipelines_conversion_known_at';
COMMENT ON FUNCTION pipelines.conversion_known_at(text, timestamptz) IS
'The instant whose knowledge of rates counts by a policy: frozen: closed_at, so that what was closed keeps its value when a rate is corrected later; else null, which is now. Errors: 22023 unknown policy.';

-- totals: converted, rounded once per deal, and what could not be converted -----

CREATE TYPE pipelines.converted_sum;

CREATE FUNCTION pipelines._converted_in(cstring) RETURNS pipelines.converted_sum
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 10
	AS 'MODULE_PATHNAME', 'pipelines_converted_in';
CREATE FUNCTION pipelines._converted_out(pipelines.converted_sum) RETURNS cstring
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 10
	AS 'MODULE_PATHNAME', 'pipelines_converted_out';
CREATE FUNCTION pipelines._converted_recv(internal) RETURNS pipelines.converted_sum
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 10
	AS 'MODULE_PATHNAME', 'pipelines_converted_recv';
CREATE FUNCTION pipelines._converted_send(pipelines.converted_sum) RETURNS bytea
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 10
	AS 'MODULE_PATHNAME', 'pipelines_converted_send';

COMMENT ON FUNCTION pipelines._converted_in(cstring) IS 'text input of pipelines.converted_sum';
COMMENT ON FUNCTION pipelines._converted_out(pipelines.converted_sum) IS 'text output of pipelines.converted_sum';
COMMENT ON FUNCTION pipelines._converted_recv(internal) IS 'binary input of pipelines.converted_sum';
COMMENT ON FUNCTION pipelines._converted_send(pipelines.converted_sum) IS 'binary output of pipelines.converted_sum';

CREATE TYPE pipelines.converted_sum (
	INPUT = pipelines._converted_in,
	OUTPUT = pipelines._converted_out,
	RECEIVE = pipelines._converted_recv,
	SEND = pipelines._converted_send,
	INTERNALLENGTH = VARIABLE,
	ALIGNMENT = double,
	STORAGE = extended
);

COMMENT ON TYPE pipelines.converted_sum IS
	'a total of amounts that were converted to one currency, each rounded once, with what could not be converted: result of the aggregate converted_sum, operand of +. May be stored and rolled up later. Its text form is lossless and does not depend on settings. Errors: 22P02 (text) and 22P03 (binary) for what is none.';

CREATE FUNCTION pipelines._converted_add(pipelines.converted_sum, numeric, text, text, date, text) RETURNS pipelines.converted_sum
	LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 2
	AS 'MODULE_PATHNAME', 'pipelines_converted_add';
CREATE FUNCTION pipelines._converted_add(pipelines.converted_sum, numeric, text, text, date, text, timestamptz) RETURNS pipelines.converted_sum
	LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 2
	AS 'MODULE_PATHNAME', 'pipelines_converted_add';
CREATE FUNCTION pipelines._converted_combine(pipelines.converted_sum, pipelines.converted_sum) RETURNS pipelines.converted_sum
	LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10
	AS 'MODULE_PATHNAME', 'pipelines_converted_combine';
CREATE FUNCTION pipelines._converted_plus(pipelines.converted_sum, pipelines.converted_sum) RETURNS pipelines.converted_sum
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 10
	AS 'MODULE_PATHNAME', 'pipelines_converted_plus';

COMMENT ON FUNCTION pipelines._converted_add(pipelines.converted_sum, numeric, text, text, date, text) IS 'transition function of converted_sum';
COMMENT ON FUNCTION pipelines._converted_add(pipelines.converted_sum, numeric, text, text, date, text, timestamptz) IS 'transition function of converted_sum';
COMMENT ON FUNCTION pipelines._converted_combine(pipelines.converted_sum, pipelines.converted_sum) IS 'combine function of converted_sum, transition function of rollup';
COMMENT ON FUNCTION pipelines._converted_plus(pipelines.converted_sum, pipelines.converted_sum) IS 'implementation of + operator';

CREATE AGGREGATE pipelines.converted_sum(amount numeric, currency text, "to" text, "on" date, rate_set text) (
	SFUNC = pipelines._converted_add,
	STYPE = pipelines.converted_sum,
	SSPACE = 80,
	COMBINEFUNC = pipelines._converted_combine,
	PARALLEL = SAFE
);
CREATE AGGREGATE pipelines.converted_sum(amount numeric, currency text, "to" text, "on" date, rate_set text, known_at timestamptz) (
	SFUNC = pipelines._converted_add,
	STYPE = pipelines.converted_sum,
	SSPACE = 80,
	COMBINEFUNC = pipelines._converted_combine,
	PARALLEL = SAFE
);
CREATE AGGREGATE pipelines.rollup(pipelines.converted_sum) (
	SFUNC = pipelines._converted_combine,
	STYPE = pipelines.converted_sum,
	SSPACE = 80,
	COMBINEFUNC = pipelines._converted_combine,
	PARALLEL = SAFE
);

COMMENT ON AGGREGATE pipelines.converted_sum(numeric, text, text, date, text) IS
	'total of the amounts in currency "to", each converted by the rates of its own day (see convert) and rounded once to the minor units; amounts of "to" itself are only rounded. Deals without an amount count as unpriced. What can''t be converted counts, is not in the total, and is listed by currency with its native amount. Errors: 22023 unknown currency to convert to, or more than one, 22004 null.';
COMMENT ON AGGREGATE pipelines.converted_sum(numeric, text, text, date, text, timestamptz) IS
	'the same by the rates as they were known at an instant, for the policy frozen; null: now.';
COMMENT ON AGGREGATE pipelines.rollup(pipelines.converted_sum) IS
	'total of several totals in one currency; nulls are skipped. Errors: 22023 for different currencies.';

CREATE FUNCTION pipelines.total(pipelines.converted_sum) RETURNS numeric
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 2
	AS 'MODULE_PATHNAME', 'pipelines_converted_total';
CREATE FUNCTION pipelines.currency(pipelines.converted_sum) RETURNS text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 1
	AS 'MODULE_PATHNAME', 'pipelines_converted_currency';
CREATE FUNCTION pipelines.deals(pipelines.converted_sum) RETURNS bigint
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 1
	AS 'MODULE_PATHNAME', 'pipelines_converted_deals';
CREATE FUNCTION pipelines.converted(pipelines.converted_sum) RETURNS bigint
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 1
	AS 'MODULE_PATHNAME', 'pipelines_converted_converted';
CREATE FUNCTION pipelines.unpriced(pipelines.converted_sum) RETURNS bigint
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 1
	AS 'MODULE_PATHNAME', 'pipelines_converted_unpriced';
CREATE FUNCTION pipelines.unconverted(pipelines.converted_sum) RETURNS bigint
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 1
	AS 'MODULE_PATHNAME', 'pipelines_converted_unconverted';
CREATE FUNCTION pipelines.unconverted_amounts(pipelines.converted_sum) RETURNS jsonb
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 10
	AS 'MODULE_PATHNAME', 'pipelines_converted_missing';
CREATE FUNCTION pipelines.complete(pipelines.converted_sum) RETURNS boolean
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 1
	AS 'MODULE_PATHNAME', 'pipelines_converted_complete';
CREATE FUNCTION pipelines.oldest_rate_on(pipelines.converted_sum) RETURNS date
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 1
	AS 'MODULE_PATHNAME', 'pipelines_converted_oldest';

COMMENT ON FUNCTION pipelines.total(pipelines.converted_sum) IS 'sum of the amounts that were converted, each rounded once; null if there is none';
COMMENT ON FUNCTION pipelines.currency(pipelines.converted_sum) IS 'currency of the total';
COMMENT ON FUNCTION pipelines.deals(pipelines.converted_sum) IS 'number of deals: converted, unconverted and unpriced ones';
COMMENT ON FUNCTION pipelines.converted(pipelines.converted_sum) IS 'number of deals whose amount is in the total';
COMMENT ON FUNCTION pipelines.unpriced(pipelines.converted_sum) IS 'number of deals without an amount';
COMMENT ON FUNCTION pipelines.unconverted(pipelines.converted_sum) IS 'number of deals whose amount could not be converted: no rate, none recent enough, no day, or no currency';
COMMENT ON FUNCTION pipelines.unconverted_amounts(pipelines.converted_sum) IS
	'what could not be converted, by currency: {"HRK": {"deals": 2, "amount": 1200.00}}, the sum in that currency. Deals without a currency stand under the empty name; those of more than 256 different ones under "...", without an amount.';
COMMENT ON FUNCTION pipelines.complete(pipelines.converted_sum) IS 'was every amount converted?';
COMMENT ON FUNCTION pipelines.oldest_rate_on(pipelines.converted_sum) IS 'day of the oldest rate used; null if none was needed';

CREATE FUNCTION pipelines._converted_jsonb(pipelines.converted_sum) RETURNS jsonb
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 10
	AS 'MODULE_PATHNAME', 'pipelines_converted_jsonb';
COMMENT ON FUNCTION pipelines._converted_jsonb(pipelines.converted_sum) IS
	'all figures of a converted sum by name: currency, deals, converted, unpriced, unconverted, complete, total, oldest_rate_on, unconverted_amounts';

CREATE CAST (pipelines.converted_sum AS jsonb) WITH FUNCTION pipelines._converted_jsonb(pipelines.converted_sum);
COMMENT ON CAST (pipelines.converted_sum AS jsonb) IS 'all figures by name';

CREATE OPERATOR pipelines.+ (
	FUNCTION = pipelines._converted_plus, LEFTARG = pipelines.converted_sum, RIGHTARG = pipelines.converted_sum,
	COMMUTATOR = OPERATOR(pipelines.+));
COMMENT ON OPERATOR pipelines.+ (pipelines.converted_sum, pipelines.converted_sum) IS
	'total of the deals of both; errors: 22023 different currencies';

-- what changed: amount and rate ------------------------------------------------

CREATE FUNCTION pipelines.change_effects(amount_before numeric, amount_after numeric, currency text, "to" text, on_before date, on_after date, rate_set text DEFAULT 'spot',
	OUT before numeric, OUT amount_effect numeric, OUT rate_effect numeric, OUT after numeric)
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 20
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT c.before, c.between - c.before, c.after - c.between, c.after
	FROM (SELECT
		pipelines.round_money(pipelines.convert($1, $3, $4, $5, $7), $4) AS before,
		pipelines.round_money(pipelines.convert($2, $3, $4, $5, $7), $4) AS between,
		pipelines.round_money(pipelines.convert($2, $3, $4, $6, $7), $4) AS after) AS c
$$;
COMMENT ON FUNCTION pipelines.change_effects(numeric, numeric, text, text, date, date, text) IS
'What of a change in currency "to" comes from the amount, at the earlier rate, and what from the rate, on the later amount: before + amount_effect + rate_effect = after, to the minor unit. Null where a rate is missing.';
