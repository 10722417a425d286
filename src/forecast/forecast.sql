
-- ---------------------------------------------------------------------------
-- forecast: exact weighted sums, and what the open deals will bring
-- ---------------------------------------------------------------------------

-- weighted_sum: the state of weighted_forecast --------------------------------

CREATE TYPE pipelines.weighted_sum;

CREATE FUNCTION pipelines._weighted_in(cstring) RETURNS pipelines.weighted_sum
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 5
	AS 'MODULE_PATHNAME', 'pipelines_weighted_in';
CREATE FUNCTION pipelines._weighted_out(pipelines.weighted_sum) RETURNS cstring
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 5
	AS 'MODULE_PATHNAME', 'pipelines_weighted_out';
CREATE FUNCTION pipelines._weighted_recv(internal) RETURNS pipelines.weighted_sum
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 5
	AS 'MODULE_PATHNAME', 'pipelines_weighted_recv';
CREATE FUNCTION pipelines._weighted_send(pipelines.weighted_sum) RETURNS bytea
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 5
	AS 'MODULE_PATHNAME', 'pipelines_weighted_send';

COMMENT ON FUNCTION pipelines._weighted_in(cstring) IS 'text input of pipelines.weighted_sum';
COMMENT ON FUNCTION pipelines._weighted_out(pipelines.weighted_sum) IS 'text output of pipelines.weighted_sum';
COMMENT ON FUNCTION pipelines._weighted_recv(internal) IS 'binary input of pipelines.weighted_sum';
COMMENT ON FUNCTION pipelines._weighted_send(pipelines.weighted_sum) IS 'binary output of pipelines.weighted_sum';

CREATE TYPE pipelines.weighted_sum (
	INPUT = pipelines._weighted_in,
	OUTPUT = pipelines._weighted_out,
	RECEIVE = pipelines._weighted_recv,
	SEND = pipelines._weighted_send,
	INTERNALLENGTH = VARIABLE,
	ALIGNMENT = double,
	STORAGE = extended
);

COMMENT ON TYPE pipelines.weighted_sum IS
	'state of the aggregate weighted_forecast; a real type so that it can travel between processes and machines. Its text form is lossless and does not depend on settings. Not for tables.';

CREATE FUNCTION pipelines._weighted_add(pipelines.weighted_sum, numeric, numeric) RETURNS pipelines.weighted_sum
	LANGUAGE C IMMUTABLE PARALLEL SAFE COST 1
	AS 'MODULE_PATHNAME', 'pipelines_weighted_add';
CREATE FUNCTION pipelines._weighted_add(pipelines.weighted_sum, numeric, pipelines.probability) RETURNS pipelines.weighted_sum
	LANGUAGE C IMMUTABLE PARALLEL SAFE COST 1
	AS 'MODULE_PATHNAME', 'pipelines_weighted_add_probability';
CREATE FUNCTION pipelines._weighted_remove(pipelines.weighted_sum, numeric, numeric) RETURNS pipelines.weighted_sum
	LANGUAGE C IMMUTABLE PARALLEL SAFE COST 1
	AS 'MODULE_PATHNAME', 'pipelines_weighted_remove';
CREATE FUNCTION pipelines._weighted_remove(pipelines.weighted_sum, numeric, pipelines.probability) RETURNS pipelines.weighted_sum
	LANGUAGE C IMMUTABLE PARALLEL SAFE COST 1
	AS 'MODULE_PATHNAME', 'pipelines_weighted_remove_probability';
CREATE FUNCTION pipelines._weighted_combine(pipelines.weighted_sum, pipelines.weighted_sum) RETURNS pipelines.weighted_sum
	LANGUAGE C IMMUTABLE PARALLEL SAFE COST 2
	AS 'MODULE_PATHNAME', 'pipelines_weighted_combine';
CREATE FUNCTION pipelines._weighted_result(pipelines.weighted_sum) RETURNS numeric
	LANGUAGE C IMMUTABLE PARALLEL SAFE COST 2
	AS 'MODULE_PATHNAME', 'pipelines_weighted_result';

COMMENT ON FUNCTION pipelines._weighted_add(pipelines.weighted_sum, numeric, numeric) IS 'transition function of weighted_forecast';
COMMENT ON FUNCTION pipelines._weighted_add(pipelines.weighted_sum, numeric, pipelines.probability) IS 'transition function of weighted_forecast';
COMMENT ON FUNCTION pipelines._weighted_remove(pipelines.weighted_sum, numeric, numeric) IS 'inverse transition function of weighted_forecast, exact';
COMMENT ON FUNCTION pipelines._weighted_remove(pipelines.weighted_sum, numeric, pipelines.probability) IS 'inverse transition function of weighted_forecast, exact';
COMMENT ON FUNCTION pipelines._weighted_combine(pipelines.weighted_sum, pipelines.weighted_sum) IS 'combine function of weighted_forecast';
COMMENT ON FUNCTION pipelines._weighted_result(pipelines.weighted_sum) IS 'final function of weighted_forecast';

CREATE AGGREGATE pipelines.weighted_forecast(amount numeric, probability numeric) (
	SFUNC = pipelines._weighted_add,
	STYPE = pipelines.weighted_sum,
	SSPACE = 192,
	FINALFUNC = pipelines._weighted_result,
	COMBINEFUNC = pipelines._weighted_combine,
	MSFUNC = pipelines._weighted_add,
	MINVFUNC = pipelines._weighted_remove,
	MSTYPE = pipelines.weighted_sum,
	MSSPACE = 192,
	MFINALFUNC = pipelines._weighted_result,
	PARALLEL = SAFE
);
CREATE AGGREGATE pipelines.weighted_forecast(amount numeric, probability pipelines.probability) (
	SFUNC = pipelines._weighted_add,
	STYPE = pipelines.weighted_sum,
	SSPACE = 192,
	FINALFUNC = pipelines._weighted_result,
	COMBINEFUNC = pipelines._weighted_combine,
	MSFUNC = pipelines._weighted_add,
	MINVFUNC = pipelines._weighted_remove,
	MSTYPE = pipelines.weighted_sum,
	MSSPACE = 192,
	MFINALFUNC = pipelines._weighted_result,
	PARALLEL = SAFE
);

COMMENT ON AGGREGATE pipelines.weighted_forecast(numeric, numeric) IS
	'exact sum of amount times probability, in the unit of the amounts; probability in percent, numeric or any integer type. Equals sum(amount * probability) * 0.01 of core numeric to the last digit; rows where either is null are skipped; null without rows. Errors: 22003 probability outside 0 to 100.';
COMMENT ON AGGREGATE pipelines.weighted_forecast(numeric, pipelines.probability) IS
	'exact sum of amount times probability, in the unit of the amounts. Equals sum(amount * probability::numeric) * 0.01 of core numeric to the last digit; rows where either is null are skipped; null without rows.';

-- forecast: everything about a set of deals in one pass ----------------------

CREATE TYPE pipelines.forecast;

CREATE FUNCTION pipelines._forecast_in(cstring) RETURNS pipelines.forecast
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 50
	AS 'MODULE_PATHNAME', 'pipelines_forecast_in';
CREATE FUNCTION pipelines._forecast_out(pipelines.forecast) RETURNS cstring
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 50
	AS 'MODULE_PATHNAME', 'pipelines_forecast_out';
CREATE FUNCTION pipelines._forecast_recv(internal) RETURNS pipelines.forecast
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10
	AS 'MODULE_PATHNAME', 'pipelines_forecast_recv';
CREATE FUNCTION pipelines._forecast_send(pipelines.forecast) RETURNS bytea
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10
	AS 'MODULE_PATHNAME', 'pipelines_forecast_send';

COMMENT ON FUNCTION pipelines._forecast_in(cstring) IS 'text input of pipelines.forecast';
COMMENT ON FUNCTION pipelines._forecast_out(pipelines.forecast) IS 'text output of pipelines.forecast';
COMMENT ON FUNCTION pipelines._forecast_recv(internal) IS 'binary input of pipelines.forecast';
COMMENT ON FUNCTION pipelines._forecast_send(pipelines.forecast) IS 'binary output of pipelines.forecast';

CREATE TYPE pipelines.forecast (
	INPUT = pipelines._forecast_in,
	OUTPUT = pipelines._forecast_out,
	RECEIVE = pipelines._forecast_recv,
	SEND = pipelines._forecast_send,
	INTERNALLENGTH = VARIABLE,
	ALIGNMENT = double,
	STORAGE = extended
);

COMMENT ON TYPE pipelines.forecast IS
	'counts, exact sums, currency and distribution of a set of deals, in about 2 kB: result of the aggregates forecast and rollup, operand of +. May be stored in a summary table and rolled up later. Its text form is lossless and does not depend on settings. Errors: 22P02 (text) and 22P03 (binary) for what is not a forecast.';

CREATE FUNCTION pipelines._forecast_add(pipelines.forecast, numeric, numeric, text) RETURNS pipelines.forecast
	LANGUAGE C IMMUTABLE PARALLEL SAFE COST 1
	AS 'MODULE_PATHNAME', 'pipelines_forecast_add';
CREATE FUNCTION pipelines._forecast_add(pipelines.forecast, numeric, numeric, text, text) RETURNS pipelines.forecast
	LANGUAGE C IMMUTABLE PARALLEL SAFE COST 1
	AS 'MODULE_PATHNAME', 'pipelines_forecast_add';
CREATE FUNCTION pipelines._forecast_combine(pipelines.forecast, pipelines.forecast) RETURNS pipelines.forecast
	LANGUAGE C IMMUTABLE PARALLEL SAFE COST 20
	AS 'MODULE_PATHNAME', 'pipelines_forecast_combine';
CREATE FUNCTION pipelines._forecast_plus(pipelines.forecast, pipelines.forecast) RETURNS pipelines.forecast
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 20
	AS 'MODULE_PATHNAME', 'pipelines_forecast_plus';

COMMENT ON FUNCTION pipelines._forecast_add(pipelines.forecast, numeric, numeric, text) IS 'transition function of forecast';
COMMENT ON FUNCTION pipelines._forecast_add(pipelines.forecast, numeric, numeric, text, text) IS 'transition function of forecast';
COMMENT ON FUNCTION pipelines._forecast_combine(pipelines.forecast, pipelines.forecast) IS 'combine function of forecast, transition function of rollup';
COMMENT ON FUNCTION pipelines._forecast_plus(pipelines.forecast, pipelines.forecast) IS 'implementation of + operator';

CREATE AGGREGATE pipelines.forecast(amount numeric, probability numeric, outcome text) (
	SFUNC = pipelines._forecast_add,
	STYPE = pipelines.forecast,
	SSPACE = 2112,
	COMBINEFUNC = pipelines._forecast_combine,
	PARALLEL = SAFE
);
CREATE AGGREGATE pipelines.forecast(amount numeric, probability numeric, outcome text, currency text) (
	SFUNC = pipelines._forecast_add,
	STYPE = pipelines.forecast,
	SSPACE = 2112,
	COMBINEFUNC = pipelines._forecast_combine,
	PARALLEL = SAFE
);
CREATE AGGREGATE pipelines.rollup(pipelines.forecast) (
	SFUNC = pipelines._forecast_combine,
	STYPE = pipelines.forecast,
	SSPACE = 2112,
	COMBINEFUNC = pipelines._forecast_combine,
	PARALLEL = SAFE
);

COMMENT ON AGGREGATE pipelines.forecast(numeric, numeric, text) IS
	'forecast of a set of deals. Probability in percent (numeric, any integer type or pipelines.probability); outcome open, on_hold, won, lost, disqualified or done. Open deals make pipeline, weighted and the distribution, won and lost deals their sums; the others only count. Errors: 22003 probability outside 0 to 100, 22023 unknown outcome, 22004 outcome null.';
COMMENT ON AGGREGATE pipelines.forecast(numeric, numeric, text, text) IS
	'forecast of a set of deals of one currency, null being a currency of its own (the one that is not named). Errors: as without currency, and 22023 for amounts of different currencies, 22001 for a currency of more than 23 bytes.';
COMMENT ON AGGREGATE pipelines.rollup(pipelines.forecast) IS
	'forecast of all the deals of several forecasts; nulls are skipped. Errors: 22023 for forecasts of different currencies.';

-- accessors ----------------------------------------------------------------

CREATE FUNCTION pipelines.deals(pipelines.forecast) RETURNS bigint
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1
	AS 'MODULE_PATHNAME', 'pipelines_forecast_deals';
CREATE FUNCTION pipelines.open_deals(pipelines.forecast) RETURNS bigint
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1
	AS 'MODULE_PATHNAME', 'pipelines_forecast_open_deals';
CREATE FUNCTION pipelines.unpriced(pipelines.forecast) RETURNS bigint
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1
	AS 'MODULE_PATHNAME', 'pipelines_forecast_unpriced';
CREATE FUNCTION pipelines.unrated(pipelines.forecast) RETURNS bigint
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1
	AS 'MODULE_PATHNAME', 'pipelines_forecast_unrated';
CREATE FUNCTION pipelines.pipeline(pipelines.forecast) RETURNS numeric
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 2
	AS 'MODULE_PATHNAME', 'pipelines_forecast_pipeline';
CREATE FUNCTION pipelines.weighted(pipelines.forecast) RETURNS numeric
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 2
	AS 'MODULE_PATHNAME', 'pipelines_forecast_weighted';
CREATE FUNCTION pipelines.won(pipelines.forecast) RETURNS numeric
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 2
	AS 'MODULE_PATHNAME', 'pipelines_forecast_won';
CREATE FUNCTION pipelines.lost(pipelines.forecast) RETURNS numeric
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 2
	AS 'MODULE_PATHNAME', 'pipelines_forecast_lost';
CREATE FUNCTION pipelines.currency(pipelines.forecast) RETURNS text
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1
	AS 'MODULE_PATHNAME', 'pipelines_forecast_currency';
CREATE FUNCTION pipelines.stddev(pipelines.forecast) RETURNS double precision
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1
	AS 'MODULE_PATHNAME', 'pipelines_forecast_stddev';
CREATE FUNCTION pipelines.quantile(forecast pipelines.forecast, p double precision) RETURNS double precision
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 2000
	AS 'MODULE_PATHNAME', 'pipelines_forecast_quantile';
CREATE FUNCTION pipelines.quantiles(forecast pipelines.forecast, p double precision[]) RETURNS double precision[]
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 2000
	AS 'MODULE_PATHNAME', 'pipelines_forecast_quantiles';
CREATE FUNCTION pipelines.chance(forecast pipelines.forecast, target double precision) RETURNS double precision
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 2000
	AS 'MODULE_PATHNAME', 'pipelines_forecast_chance';
CREATE FUNCTION pipelines._outlook(forecast pipelines.forecast, target double precision) RETURNS double precision[]
	LANGUAGE C IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000
	AS 'MODULE_PATHNAME', 'pipelines_forecast_outlook';

COMMENT ON FUNCTION pipelines._outlook(pipelines.forecast, double precision) IS 'p10, p50 and p90 of what the open deals will bring, and the chance that they bring the target or more, in one go; within half a percent of weighted, or 0.005 of the probability. null without open deals';
COMMENT ON FUNCTION pipelines.deals(pipelines.forecast) IS 'number of deals of every outcome, with or without an amount';
COMMENT ON FUNCTION pipelines.open_deals(pipelines.forecast) IS 'number of open deals, with or without an amount';
COMMENT ON FUNCTION pipelines.unpriced(pipelines.forecast) IS 'number of deals of every outcome without an amount: they count as deals and add nothing to any sum';
COMMENT ON FUNCTION pipelines.unrated(pipelines.forecast) IS 'number of open deals with an amount and without a probability: they are in pipeline, and neither in weighted nor in the distribution';
COMMENT ON FUNCTION pipelines.pipeline(pipelines.forecast) IS 'sum of the amounts of open deals, exact; null if there is none';
COMMENT ON FUNCTION pipelines.weighted(pipelines.forecast) IS 'sum of amount times probability of open deals, exact: sum(amount * probability) * 0.01; null if there is none';
COMMENT ON FUNCTION pipelines.won(pipelines.forecast) IS 'sum of the amounts of won deals, exact; null if there is none';
COMMENT ON FUNCTION pipelines.lost(pipelines.forecast) IS 'sum of the amounts of lost deals, exact; null if there is none';
COMMENT ON FUNCTION pipelines.currency(pipelines.forecast) IS 'currency of the amounts; null if it was not named';
COMMENT ON FUNCTION pipelines.stddev(pipelines.forecast) IS
	'standard deviation of what the open deals will bring, in the unit of the amounts: root of the sum of amount^2 * p * (1 - p), each deal being won with its probability independently of the others; null without open deals, NaN if an amount is NaN, infinite or beyond 1e70';
COMMENT ON FUNCTION pipelines.quantile(pipelines.forecast, double precision) IS
	'the smallest value that what the open deals will bring does not exceed with probability p (0 to 1), without what is won already; exact up to 24 deals, else within half a percent of weighted, or within 0.005 of p (source: convolution of the deals one by one, see distribution.c). Null without open deals, NaN if an amount is NaN, infinite or beyond 1e70. Errors: 22023 p outside 0 to 1.';
COMMENT ON FUNCTION pipelines.quantiles(pipelines.forecast, double precision[]) IS
	'quantile for each element of an array, in the same order';
COMMENT ON FUNCTION pipelines.chance(pipelines.forecast, double precision) IS
	'probability, 0 to 1, that the open deals will bring the target or more, exact up to 24 deals, else within 0.01 of that of a target which differs by half a percent of weighted at most (nearer where no single amount carries much); what is won already is not counted: to reach a total, ask for total - won(f). Null without open deals, NaN if an amount is NaN, infinite or beyond 1e70. Errors: 22023 target NaN.';

-- operators ------------------------------------------------------------------

CREATE FUNCTION pipelines._forecast_eq(pipelines.forecast, pipelines.forecast) RETURNS boolean
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 5
	AS 'MODULE_PATHNAME', 'pipelines_forecast_equal';
CREATE FUNCTION pipelines._forecast_ne(pipelines.forecast, pipelines.forecast) RETURNS boolean
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 5
	AS 'MODULE_PATHNAME', 'pipelines_forecast_unequal';
CREATE FUNCTION pipelines._forecast_hash(pipelines.forecast) RETURNS integer
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 5
	AS 'MODULE_PATHNAME', 'pipelines_forecast_hash';
CREATE FUNCTION pipelines._forecast_hash(pipelines.forecast, bigint) RETURNS bigint
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 5
	AS 'MODULE_PATHNAME', 'pipelines_forecast_hash_extended';

COMMENT ON FUNCTION pipelines._forecast_eq(pipelines.forecast, pipelines.forecast) IS 'implementation of = operator';
COMMENT ON FUNCTION pipelines._forecast_ne(pipelines.forecast, pipelines.forecast) IS 'implementation of <> operator';
COMMENT ON FUNCTION pipelines._forecast_hash(pipelines.forecast) IS 'hash of a forecast';
COMMENT ON FUNCTION pipelines._forecast_hash(pipelines.forecast, bigint) IS 'salted hash of a forecast';

CREATE OPERATOR pipelines.+ (
	FUNCTION = pipelines._forecast_plus, LEFTARG = pipelines.forecast, RIGHTARG = pipelines.forecast,
	COMMUTATOR = OPERATOR(pipelines.+));
CREATE OPERATOR pipelines.= (
	FUNCTION = pipelines._forecast_eq, LEFTARG = pipelines.forecast, RIGHTARG = pipelines.forecast,
	COMMUTATOR = OPERATOR(pipelines.=), NEGATOR = OPERATOR(pipelines.<>),
	RESTRICT = eqsel, JOIN = eqjoinsel, HASHES);
CREATE OPERATOR pipelines.<> (
	FUNCTION = pipelines._forecast_ne, LEFTARG = pipelines.forecast, RIGHTARG = pipelines.forecast,
	COMMUTATOR = OPERATOR(pipelines.<>), NEGATOR = OPERATOR(pipelines.=),
	RESTRICT = neqsel, JOIN = neqjoinsel);

COMMENT ON OPERATOR pipelines.+ (pipelines.forecast, pipelines.forecast) IS
	'forecast of the deals of both; errors: 22023 different currencies';
COMMENT ON OPERATOR pipelines.= (pipelines.forecast, pipelines.forecast) IS
	'are the exact figures equal: counts, sums, currency and the largest open deals? (The rest is floating point and may differ in the last digits when the same deals are added in another order.)';
COMMENT ON OPERATOR pipelines.<> (pipelines.forecast, pipelines.forecast) IS 'does an exact figure differ?';

CREATE OPERATOR FAMILY pipelines.forecast_ops USING hash;
CREATE OPERATOR CLASS pipelines.forecast_ops DEFAULT FOR TYPE pipelines.forecast
	USING hash FAMILY pipelines.forecast_ops AS
	OPERATOR 1 pipelines.=,
	FUNCTION 1 pipelines._forecast_hash(pipelines.forecast),
	FUNCTION 2 pipelines._forecast_hash(pipelines.forecast, bigint);

COMMENT ON OPERATOR FAMILY pipelines.forecast_ops USING hash IS 'hashing of forecasts';
COMMENT ON OPERATOR CLASS pipelines.forecast_ops USING hash IS 'hashing of forecasts';

-- all figures by name --------------------------------------------------------

CREATE FUNCTION pipelines._forecast_json(pipelines.forecast) RETURNS json
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 2000
	AS 'MODULE_PATHNAME', 'pipelines_forecast_json';
CREATE FUNCTION pipelines._forecast_jsonb(pipelines.forecast) RETURNS jsonb
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 2000
	AS 'MODULE_PATHNAME', 'pipelines_forecast_jsonb';

COMMENT ON FUNCTION pipelines._forecast_json(pipelines.forecast) IS
	'all figures of a forecast by name: deals, open_deals, on_hold_deals, won_deals, lost_deals, unpriced, unrated, pipeline, weighted, won, lost, stddev, p10, p50, p90, currency';
COMMENT ON FUNCTION pipelines._forecast_jsonb(pipelines.forecast) IS
	'all figures of a forecast by name: deals, open_deals, on_hold_deals, won_deals, lost_deals, unpriced, unrated, pipeline, weighted, won, lost, stddev, p10, p50, p90, currency';

CREATE CAST (pipelines.forecast AS json) WITH FUNCTION pipelines._forecast_json(pipelines.forecast);
CREATE CAST (pipelines.forecast AS jsonb) WITH FUNCTION pipelines._forecast_jsonb(pipelines.forecast);

COMMENT ON CAST (pipelines.forecast AS json) IS 'all figures by name';
COMMENT ON CAST (pipelines.forecast AS jsonb) IS 'all figures by name';
