
-- ---------------------------------------------------------------------------
-- values: the small exact types
-- ---------------------------------------------------------------------------

CREATE TYPE pipelines.probability;

CREATE FUNCTION pipelines._probability_in(cstring) RETURNS pipelines.probability
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1
	AS 'MODULE_PATHNAME', 'pipelines_probability_in';
CREATE FUNCTION pipelines._probability_out(pipelines.probability) RETURNS cstring
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1
	AS 'MODULE_PATHNAME', 'pipelines_probability_out';
CREATE FUNCTION pipelines._probability_recv(internal) RETURNS pipelines.probability
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1
	AS 'MODULE_PATHNAME', 'pipelines_probability_recv';
CREATE FUNCTION pipelines._probability_send(pipelines.probability) RETURNS bytea
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1
	AS 'MODULE_PATHNAME', 'pipelines_probability_send';

COMMENT ON FUNCTION pipelines._probability_in(cstring) IS 'text input of pipelines.probability';
COMMENT ON FUNCTION pipelines._probability_out(pipelines.probability) IS 'text output of pipelines.probability';
COMMENT ON FUNCTION pipelines._probability_recv(internal) IS 'binary input of pipelines.probability';
COMMENT ON FUNCTION pipelines._probability_send(pipelines.probability) IS 'binary output of pipelines.probability';

-- Category N, not preferred: CASE, COALESCE and UNION with a numeric give a
-- numeric, and quoted literals are never pulled away from a numeric argument.
CREATE TYPE pipelines.probability (
	INPUT = pipelines._probability_in,
	OUTPUT = pipelines._probability_out,
	RECEIVE = pipelines._probability_recv,
	SEND = pipelines._probability_send,
	INTERNALLENGTH = 2,
	PASSEDBYVALUE,
	ALIGNMENT = int2,
	STORAGE = plain,
	CATEGORY = 'N'
);

COMMENT ON TYPE pipelines.probability IS
	'a chance of winning: 0 to 100 percent, at most two decimals, two bytes. Written ''62.5'' or ''62.5%'', shown as 62.5. Errors: 22P02 not a percentage, 22003 out of range or more than two decimals.';

-- casts -----------------------------------------------------------------------

CREATE FUNCTION pipelines.probability(numeric) RETURNS pipelines.probability
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 2
	AS 'MODULE_PATHNAME', 'pipelines_probability_from_numeric';
CREATE FUNCTION pipelines.probability(integer) RETURNS pipelines.probability
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1
	AS 'MODULE_PATHNAME', 'pipelines_probability_from_integer';
CREATE FUNCTION pipelines.probability(double precision) RETURNS pipelines.probability
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1
	AS 'MODULE_PATHNAME', 'pipelines_probability_from_double';
CREATE FUNCTION pipelines._probability_numeric(pipelines.probability) RETURNS numeric
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1
	AS 'MODULE_PATHNAME', 'pipelines_probability_to_numeric';
CREATE FUNCTION pipelines._probability_double(pipelines.probability) RETURNS double precision
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1
	AS 'MODULE_PATHNAME', 'pipelines_probability_to_double';

COMMENT ON FUNCTION pipelines.probability(numeric) IS
	'percentage to probability, exactly; errors: 22003 outside 0 to 100, NaN, or more than two decimals that are not zero';
COMMENT ON FUNCTION pipelines.probability(integer) IS
	'percentage to probability; errors: 22003 outside 0 to 100';
COMMENT ON FUNCTION pipelines.probability(double precision) IS
	'percentage to probability, rounded to the nearest hundredth of a percent; errors: 22003 outside 0 to 100, or NaN';
COMMENT ON FUNCTION pipelines._probability_numeric(pipelines.probability) IS
	'probability to percentage with two decimals';
COMMENT ON FUNCTION pipelines._probability_double(pipelines.probability) IS
	'probability to percentage, 0 to 100';

CREATE CAST (numeric AS pipelines.probability) WITH FUNCTION pipelines.probability(numeric) AS ASSIGNMENT;
CREATE CAST (integer AS pipelines.probability) WITH FUNCTION pipelines.probability(integer) AS ASSIGNMENT;
CREATE CAST (double precision AS pipelines.probability) WITH FUNCTION pipelines.probability(double precision);
CREATE CAST (pipelines.probability AS numeric) WITH FUNCTION pipelines._probability_numeric(pipelines.probability) AS IMPLICIT;
CREATE CAST (pipelines.probability AS double precision) WITH FUNCTION pipelines._probability_double(pipelines.probability);

COMMENT ON CAST (numeric AS pipelines.probability) IS 'percentage to probability, exactly';
COMMENT ON CAST (integer AS pipelines.probability) IS 'percentage to probability';
COMMENT ON CAST (double precision AS pipelines.probability) IS 'percentage to probability, rounded to two decimals';
COMMENT ON CAST (pipelines.probability AS numeric) IS 'probability to percentage with two decimals';
COMMENT ON CAST (pipelines.probability AS double precision) IS 'probability to percentage';

-- comparison: a probability is stored as an int2, so int2's functions serve ----

CREATE FUNCTION pipelines._probability_eq(pipelines.probability, pipelines.probability) RETURNS boolean
	LANGUAGE internal IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 AS 'int2eq';
CREATE FUNCTION pipelines._probability_ne(pipelines.probability, pipelines.probability) RETURNS boolean
	LANGUAGE internal IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 AS 'int2ne';
CREATE FUNCTION pipelines._probability_lt(pipelines.probability, pipelines.probability) RETURNS boolean
	LANGUAGE internal IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 AS 'int2lt';
CREATE FUNCTION pipelines._probability_le(pipelines.probability, pipelines.probability) RETURNS boolean
	LANGUAGE internal IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 AS 'int2le';
CREATE FUNCTION pipelines._probability_gt(pipelines.probability, pipelines.probability) RETURNS boolean
	LANGUAGE internal IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 AS 'int2gt';
CREATE FUNCTION pipelines._probability_ge(pipelines.probability, pipelines.probability) RETURNS boolean
	LANGUAGE internal IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 AS 'int2ge';
CREATE FUNCTION pipelines._probability_cmp(pipelines.probability, pipelines.probability) RETURNS integer
	LANGUAGE internal IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 AS 'btint2cmp';
CREATE FUNCTION pipelines._probability_sortsupport(internal) RETURNS void
	LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE COST 1 AS 'btint2sortsupport';
CREATE FUNCTION pipelines._probability_hash(pipelines.probability) RETURNS integer
	LANGUAGE internal IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 AS 'hashint2';
CREATE FUNCTION pipelines._probability_hash(pipelines.probability, bigint) RETURNS bigint
	LANGUAGE internal IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 AS 'hashint2extended';

COMMENT ON FUNCTION pipelines._probability_eq(pipelines.probability, pipelines.probability) IS 'implementation of = operator';
COMMENT ON FUNCTION pipelines._probability_ne(pipelines.probability, pipelines.probability) IS 'implementation of <> operator';
COMMENT ON FUNCTION pipelines._probability_lt(pipelines.probability, pipelines.probability) IS 'implementation of < operator';
COMMENT ON FUNCTION pipelines._probability_le(pipelines.probability, pipelines.probability) IS 'implementation of <= operator';
COMMENT ON FUNCTION pipelines._probability_gt(pipelines.probability, pipelines.probability) IS 'implementation of > operator';
COMMENT ON FUNCTION pipelines._probability_ge(pipelines.probability, pipelines.probability) IS 'implementation of >= operator';
COMMENT ON FUNCTION pipelines._probability_cmp(pipelines.probability, pipelines.probability) IS 'order of two probabilities: less than, equal to, greater than zero';
COMMENT ON FUNCTION pipelines._probability_sortsupport(internal) IS 'sort support of probabilities';
COMMENT ON FUNCTION pipelines._probability_hash(pipelines.probability) IS 'hash of a probability';
COMMENT ON FUNCTION pipelines._probability_hash(pipelines.probability, bigint) IS 'salted hash of a probability';

CREATE OPERATOR pipelines.= (
	FUNCTION = pipelines._probability_eq, LEFTARG = pipelines.probability, RIGHTARG = pipelines.probability,
	COMMUTATOR = OPERATOR(pipelines.=), NEGATOR = OPERATOR(pipelines.<>),
	RESTRICT = eqsel, JOIN = eqjoinsel, HASHES, MERGES);
CREATE OPERATOR pipelines.<> (
	FUNCTION = pipelines._probability_ne, LEFTARG = pipelines.probability, RIGHTARG = pipelines.probability,
	COMMUTATOR = OPERATOR(pipelines.<>), NEGATOR = OPERATOR(pipelines.=),
	RESTRICT = neqsel, JOIN = neqjoinsel);
CREATE OPERATOR pipelines.< (
	FUNCTION = pipelines._probability_lt, LEFTARG = pipelines.probability, RIGHTARG = pipelines.probability,
	COMMUTATOR = OPERATOR(pipelines.>), NEGATOR = OPERATOR(pipelines.>=),
	RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
CREATE OPERATOR pipelines.<= (
	FUNCTION = pipelines._probability_le, LEFTARG = pipelines.probability, RIGHTARG = pipelines.probability,
	COMMUTATOR = OPERATOR(pipelines.>=), NEGATOR = OPERATOR(pipelines.>),
	RESTRICT = scalarlesel, JOIN = scalarlejoinsel);
CREATE OPERATOR pipelines.> (
	FUNCTION = pipelines._probability_gt, LEFTARG = pipelines.probability, RIGHTARG = pipelines.probability,
	COMMUTATOR = OPERATOR(pipelines.<), NEGATOR = OPERATOR(pipelines.<=),
	RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
CREATE OPERATOR pipelines.>= (
	FUNCTION = pipelines._probability_ge, LEFTARG = pipelines.probability, RIGHTARG = pipelines.probability,
	COMMUTATOR = OPERATOR(pipelines.<=), NEGATOR = OPERATOR(pipelines.<),
	RESTRICT = scalargesel, JOIN = scalargejoinsel);

COMMENT ON OPERATOR pipelines.= (pipelines.probability, pipelines.probability) IS 'equal';
COMMENT ON OPERATOR pipelines.<> (pipelines.probability, pipelines.probability) IS 'not equal';
COMMENT ON OPERATOR pipelines.< (pipelines.probability, pipelines.probability) IS 'less than';
COMMENT ON OPERATOR pipelines.<= (pipelines.probability, pipelines.probability) IS 'less than or equal';
COMMENT ON OPERATOR pipelines.> (pipelines.probability, pipelines.probability) IS 'greater than';
COMMENT ON OPERATOR pipelines.>= (pipelines.probability, pipelines.probability) IS 'greater than or equal';

CREATE OPERATOR FAMILY pipelines.probability_ops USING btree;
CREATE OPERATOR FAMILY pipelines.probability_ops USING hash;
CREATE OPERATOR CLASS pipelines.probability_ops DEFAULT FOR TYPE pipelines.probability
	USING btree FAMILY pipelines.probability_ops AS
	OPERATOR 1 pipelines.<,
	OPERATOR 2 pipelines.<=,
	OPERATOR 3 pipelines.=,
	OPERATOR 4 pipelines.>=,
	OPERATOR 5 pipelines.>,
	FUNCTION 1 pipelines._probability_cmp(pipelines.probability, pipelines.probability),
	FUNCTION 2 pipelines._probability_sortsupport(internal),
	FUNCTION 4 pg_catalog.btequalimage(oid);
CREATE OPERATOR CLASS pipelines.probability_ops DEFAULT FOR TYPE pipelines.probability
	USING hash FAMILY pipelines.probability_ops AS
	OPERATOR 1 pipelines.=,
	FUNCTION 1 pipelines._probability_hash(pipelines.probability),
	FUNCTION 2 pipelines._probability_hash(pipelines.probability, bigint);

COMMENT ON OPERATOR FAMILY pipelines.probability_ops USING btree IS 'order of probabilities';
COMMENT ON OPERATOR FAMILY pipelines.probability_ops USING hash IS 'hashing of probabilities';
COMMENT ON OPERATOR CLASS pipelines.probability_ops USING btree IS 'order of probabilities';
COMMENT ON OPERATOR CLASS pipelines.probability_ops USING hash IS 'hashing of probabilities';
