# Every function of schema pipelines, called by its administrator and by a role
# that may see one pipeline of two, with hostile arguments: NULL, nothing,
# limits, quotes, text as long as it comes, relations of every kind.  Nothing
# crashes, nothing ends in an internal error, nothing of the hidden pipeline
# comes back, and what is hidden is told like what does not exist.
#
# The calls are made up from pg_proc, so that a new function is called, too.
# Each is taken back.  A function gets each hostile value in each of its
# arguments with PIPELINES_TEST_ALL=1, else as many as PIPELINES_HOSTILE_CALLS
# (default 2) chosen by PIPELINES_SEED; ONLY_FUNCTIONS is a regular expression.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PipelinesTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{PIPELINES_SEED} || 1;
my $limit = $ENV{PIPELINES_TEST_ALL} ? 100_000 : $ENV{PIPELINES_HOSTILE_CALLS} || 2;
my $chosen = $ENV{ONLY_FUNCTIONS} || '.';
my $db = 'hostile';
my $node = start_node('hostile', 'max_locks_per_transaction = 512', 'synchronous_commit = off');
$node->safe_psql('postgres', "CREATE DATABASE $db; CREATE ROLE definer LOGIN; CREATE ROLE owner LOGIN; CREATE ROLE clerk LOGIN; CREATE ROLE banker LOGIN; CREATE ROLE \"r'o\"\"l\\e %s\"");
run_sql($node, $db, <<'END');
SET client_min_messages = error;
CREATE EXTENSION pipelines;
SELECT pipelines.setup(owner => 'definer');
SET ROLE definer;
SELECT pipelines.create_pipeline('Sales', stages => '["Lead", "Talks", {"name": "Won", "outcome": "won"}, {"name": "Lost", "outcome": "lost"}]');
SELECT pipelines.create_pipeline('Zqhidden', code => 'Zqcode', stages => '["Zqone", "Zqtwo", {"name": "Zqwon", "outcome": "won"}]');
RESET ROLE;
CREATE SCHEMA app AUTHORIZATION owner;
SET search_path = app;
SET ROLE owner;
SELECT pipelines.create_deals('deals', currency => 'EUR');
SELECT pipelines.create_deals('parted', partition_by => 'HASH (deal_id)');
CREATE TABLE leaf PARTITION OF parted FOR VALUES WITH (modulus 1, remainder 0);
SELECT * FROM pipelines.resume('parted');
INSERT INTO deals (name, owner, amount) SELECT 's' || i, 'clerk', i FROM generate_series(1, 5) i;
INSERT INTO deals (name, owner, amount, pipeline_id, source) SELECT 'Zqdeal' || i, 'Zqowner', 77000000 + i, pipelines.pipeline_id('Zqhidden'), 'Zqsource' FROM generate_series(1, 5) i;
INSERT INTO parted (name, amount) VALUES ('p', 1);
SET pipelines.batch = 'b';
SET pipelines.reason = 'Zqreason';
UPDATE deals SET stage_id = pipelines.stage_id('Zqhidden', 'Zqtwo') WHERE deal_id > 7;
RESET pipelines.reason;
UPDATE deals SET stage_id = pipelines.stage_id('Sales', 'Talks') WHERE deal_id < 4;
RESET pipelines.batch;
CREATE TABLE plain (id integer PRIMARY KEY, status text, amount numeric, closed date, "Qu""o'te\ %s" text);
INSERT INTO plain VALUES (1, 'new', 1), (2, 'Zqstatus', 77000001);
ALTER TABLE plain ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON plain USING (status = 'new');
CREATE VIEW seen AS SELECT * FROM plain;
CREATE MATERIALIZED VIEW kept AS SELECT 1 AS a;
CREATE SEQUENCE numbers;
CREATE INDEX plain_status ON plain (status);
CREATE TYPE shape AS (a integer, b text);
CREATE TABLE events (deal_id bigint, at timestamptz, stage text);
CREATE TABLE bare ();
CREATE TABLE parent (a integer);
CREATE TABLE child () INHERITS (parent);
RESET ROLE;
CREATE FOREIGN DATA WRAPPER nothing;
CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing;
CREATE FOREIGN TABLE foreign_one (deal_id bigint) SERVER nowhere;
CREATE TABLE "t'a""b\le %s
ü" ("c'o""l\ %s" integer PRIMARY KEY);
SET ROLE owner;
SELECT pipelines.grant_access(t, r, 'write') FROM unnest('{deals,parted}'::regclass[]) t, unnest('{clerk,banker}'::name[]) r;
RESET ROLE;
SET ROLE definer;
SELECT pipelines.grant_pipeline('Zqhidden', 'banker', 'move');
RESET ROLE;
SELECT pipelines.resume('deals');
GRANT USAGE ON SCHEMA app TO clerk;
GRANT SELECT ON plain, seen, events TO clerk;

-- benign values of an argument, by its name and type
CREATE SCHEMA probe;
GRANT USAGE ON SCHEMA probe TO PUBLIC;
CREATE FUNCTION probe.benign(name text, type text) RETURNS text LANGUAGE sql AS $fn$
	SELECT CASE
		WHEN name IN ('pipeline', 'pipeline_name', 'source_pipeline') AND type = 'text' THEN quote_literal('Sales')
		WHEN name IN ('stage', 'from', 'to', 'into', 'stage_name') AND type = 'text' THEN quote_literal('Talks')
		WHEN name = 'deal' AND type = 'text' THEN quote_literal('1')
		WHEN name = 'ids' OR name = 'deals' AND type = 'text[]' THEN quote_literal('{1,2}') || '::text[]'
		WHEN name = 'key' AND type = 'text[]' THEN quote_literal('{deal_id}') || '::text[]'
		WHEN name = 'batch' THEN quote_literal('b')
		WHEN name = 'role' AND type IN ('text', 'name') THEN quote_literal('banker')
		WHEN name = 'level' THEN quote_literal('see')
		WHEN name = 'layout' AND type = 'text' THEN quote_literal('default')
		WHEN name = 'creation_schema' THEN quote_literal('app')
		WHEN name IN ('column', 'column_name') AND type IN ('text', 'name') THEN quote_literal('name')
		WHEN name LIKE '%currency%' OR name IN ('from_currency', 'to_currency') THEN quote_literal('EUR') || '::' || type
		WHEN type = 'regclass' THEN quote_literal(CASE name WHEN 'events' THEN 'app.events' WHEN 'activity' THEN 'app.deals_activity' WHEN 'view' THEN 'app.deals_current' ELSE 'app.deals' END) || '::regclass'
		WHEN type IN ('text', 'name') THEN quote_literal('name') || '::' || type
		WHEN type = 'regrole' THEN quote_literal('clerk') || '::regrole'
		WHEN type IN ('integer', 'bigint', 'smallint', 'numeric', 'double precision', 'real', 'oid') THEN '1::' || type
		WHEN type = 'boolean' THEN 'true'
		WHEN type IN ('json', 'jsonb') THEN quote_literal('{}') || '::' || type
		WHEN type LIKE '%[]' THEN quote_literal('{}') || '::' || type
		WHEN type = 'date' THEN 'current_date'
		WHEN type LIKE 'timestamp%' THEN 'now()::' || type
		WHEN type = 'interval' THEN quote_literal('1 day') || '::interval'
		WHEN type = 'pipelines.forecast' THEN '(SELECT pipelines.forecast(n::numeric, 50::numeric, ''open''::text) FROM pg_catalog.generate_series(1, 3) n)'
		WHEN type = 'pipelines.probability' THEN quote_literal('50') || '::pipelines.probability'
		WHEN type = 'anyelement' THEN 'NULL::app.deals'
		ELSE 'NULL::' || type END
$fn$;
CREATE FUNCTION probe.hostile(type text) RETURNS SETOF text LANGUAGE sql AS $fn$
	SELECT 'NULL::' || CASE type WHEN 'anyelement' THEN 'app.deals' ELSE type END
	UNION ALL SELECT quote_literal(v) || '::' || type FROM unnest(ARRAY['', ' ', E'a''b"c\\d%s%n$1;--', E'line\nbreak\ttab', repeat(U&'\00fc', 31) || 'x', repeat('x', 64), 'pg_catalog.pg_class', '{"a":', '0', '-1', 'app.deals', 'NaN', 'Sales', 'Lead', '(', '*', ',', '$$', 'name = name', '2', '(1,2)', '99999999999999999999', 'Zqhidden', 'Zqtwo', '6', '7']) v WHERE type IN ('text', 'name')
	UNION ALL SELECT 'repeat(''x'', 1000000)' WHERE type = 'text'
	UNION ALL SELECT 'repeat(''('', 100000)' WHERE type = 'text'
	UNION ALL SELECT quote_literal(v) || '::regclass' FROM unnest(ARRAY['0', '4294967295', 'app.deals', 'app.deals_history', 'app.deals_current', 'app.deals_activity', 'app.parted', 'app.leaf', 'app.parted_history', 'app.plain', 'app.seen', 'app.kept', 'app.numbers', 'app.plain_status', 'app.shape', 'app.events', 'app.bare', 'app.parent', 'app.foreign_one', 'pg_catalog.pg_class', 'information_schema.tables', 'pg_catalog.pg_stats', 'pipelines.pipeline', 'pipelines.pipeline_history', 'pipelines.definition_lock', 'pipelines.tracked_table', (SELECT reltoastrelid::text FROM pg_class WHERE relname = 'plain'), E'app."t''a""b\\le %s\nü"']) v WHERE type = 'regclass'
	UNION ALL SELECT quote_literal(v) || '::' || type FROM unnest(ARRAY['0', '-1', '-32768', '32767', '2', '6']) v WHERE type IN ('smallint', 'integer', 'bigint', 'numeric', 'double precision')
	UNION ALL SELECT quote_literal(v) || '::' || type FROM unnest(ARRAY['-2147483648', '2147483647']) v WHERE type IN ('integer', 'bigint', 'numeric', 'oid')
	UNION ALL SELECT quote_literal(v) || '::' || type FROM unnest(ARRAY['-9223372036854775808', '9223372036854775807']) v WHERE type IN ('bigint', 'numeric')
	UNION ALL SELECT quote_literal(v) || '::' || type FROM unnest(ARRAY['NaN', '1e1000', '-1e-1000', '1e131071']) v WHERE type = 'numeric'
	UNION ALL SELECT quote_literal(v) || '::' || type FROM unnest(ARRAY['NaN', 'Infinity', '-Infinity', '1e308', '1e-320', '-0']) v WHERE type IN ('double precision')
	UNION ALL SELECT quote_literal(v) || '::' || type FROM unnest(ARRAY['infinity', '-infinity', '4713-01-01 BC', '294276-12-31', 'epoch', '2000-02-30'::text]) v WHERE type LIKE 'timestamp%' AND v <> '2000-02-30'
	UNION ALL SELECT quote_literal(v) || '::date' FROM unnest(ARRAY['infinity', '-infinity', '4713-01-01 BC', '5874897-12-31']) v WHERE type = 'date'
	UNION ALL SELECT quote_literal(v) || '::interval' FROM unnest(ARRAY['0', '-1 day', '178000000 years', '-178000000 years', '1 microsecond', '1 mon -30 days']) v WHERE type = 'interval'
	UNION ALL SELECT quote_literal(v) || '::' || type FROM unnest(ARRAY['{}', '[]', 'null', '1', '"x"', 'true', '[null]', '[[]]', '[{}]', '["Sales", null, 1]', '{"name": null}', '{"name": {"a": 1}, "outcome": ["won"]}', '{"'';--\"%s": "'';--\"%s"}', '{"a": 1e400}', '[{"name": "A", "outcome": "won", "probability": "NaN"}]']) v WHERE type IN ('json', 'jsonb')
	UNION ALL SELECT '(repeat(''['', 5000) || repeat('']'', 5000))::' || type WHERE type IN ('json', 'jsonb')
	UNION ALL SELECT '(SELECT jsonb_agg(''x'' || n) FROM generate_series(1, 20000) n)::' || type WHERE type IN ('json', 'jsonb')
	UNION ALL SELECT quote_literal(v) || '::' || type FROM unnest(ARRAY['{}', '{NULL}', '{{1,2},{3,4}}', '[0:1]={1,2}', '{1,1,1}', '{0}', '{6,7,8}', '{-1,NULL,3}']) v WHERE type LIKE '%[]' AND type !~ 'reg|timestamp|date|json'
	UNION ALL SELECT '(SELECT array_agg(n) FROM generate_series(1, 100000) n)::' || type WHERE type IN ('text[]', 'integer[]', 'bigint[]', 'numeric[]', 'name[]')
	UNION ALL SELECT 'ARRAY[''a''''b"c\d%s'', repeat(''x'', 100), '''', '' '']::' || type WHERE type IN ('text[]', 'name[]')
	UNION ALL SELECT v FROM unnest(ARRAY['true', 'false']) v WHERE type = 'boolean'
	UNION ALL SELECT v || '::' || type FROM unnest(ARRAY['0', '4294967295::oid', '''definer''', quote_literal('"r''o""l\e %s"')]) v WHERE type = 'regrole'
	UNION ALL SELECT v || '::oid' FROM unnest(ARRAY['0', '16', '''app.deals''::regclass']) v WHERE type = 'oid'
	UNION ALL SELECT v || '::bytea' FROM unnest(ARRAY['''''', '''\x00''', '''\x50447201''', '''\x50466e01''', '''\x5053630100000001''', 'decode(repeat(''00'', 100000), ''hex'')', 'decode(repeat(''ff'', 1000), ''hex'')', '(''\x50447201''::bytea || decode(repeat(''00'', 40), ''hex''))']) v WHERE type = 'bytea'
	UNION ALL SELECT v FROM unnest(ARRAY['NULL::integer', '1', '''x''::text', 'ROW(1,2)', 'NULL::app.plain', 'NULL::app.deals_history', 'NULL::app.shape', 'NULL::app.deals_current', 'NULL::pg_catalog.pg_class', 'NULL::integer[]', 'NULL::app.leaf', 'NULL::app.parted']) v WHERE type = 'anyelement'
	UNION ALL SELECT v FROM unnest(ARRAY['(SELECT pipelines.forecast(1::numeric, 1::numeric, ''won''::text) WHERE false)', '(SELECT pipelines.forecast(n::numeric * ''1e300'', ''NaN''::numeric, ''open''::text) FROM generate_series(1, 100) n)']) v WHERE type = 'pipelines.forecast'
	UNION ALL SELECT quote_literal(v) || '::' || type FROM unnest(ARRAY['0', '100', '0.01']) v WHERE type = 'pipelines.probability'
$fn$;

-- what was called, and what came of it
CREATE TABLE probe.outcome (function regprocedure, role text, call text, sqlstate text, message text, milliseconds numeric);
CREATE FUNCTION probe.try(role text, call text, OUT state text, OUT said text) LANGUAGE plpgsql AS $fn$
DECLARE detail text; hint text; context text; rows text;
BEGIN
	BEGIN
		PERFORM set_config('role', role, true), set_config('search_path', 'app, public', true), set_config('client_min_messages', 'error', true);
		IF call LIKE 'CALL %' THEN EXECUTE call; ELSE EXECUTE call INTO rows; END IF;
		RAISE 'taken back' USING ERRCODE = 'P9999';
	EXCEPTION
		-- without cancellations and failed assertions, which OTHERS leaves out
		WHEN SQLSTATE 'P9999' THEN state := '00000'; said := coalesce(rows, 'NULL');
		WHEN OTHERS OR assert_failure THEN
			GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, said = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
			said := concat_ws(' / ', said, nullif(detail, ''), nullif(hint, ''));
	END;
END $fn$;

CREATE FUNCTION probe.run(f oid, role text, many integer, seed integer) RETURNS bigint LANGUAGE plpgsql AS $fn$
DECLARE
	name text := f::regproc;
	kind "char" := (SELECT prokind FROM pg_proc WHERE oid = f);
	result text := (SELECT prorettype::regtype FROM pg_proc WHERE oid = f);
	names text[] := (SELECT coalesce(proargnames, '{}') FROM pg_proc WHERE oid = f);
	modes "char"[] := (SELECT proargmodes FROM pg_proc WHERE oid = f);
	types text[] := ARRAY(SELECT format_type(t, NULL) FROM pg_proc, unnest(proargtypes) WITH ORDINALITY t(t, n) WHERE oid = f ORDER BY n);
	ins text[] := CASE WHEN modes IS NULL THEN names ELSE ARRAY(SELECT names[i] FROM generate_subscripts(modes, 1) i WHERE modes[i] IN ('i', 'b', 'v') ORDER BY i) END;
	n integer := cardinality(types);
	calls bigint := 0;
	call text; state text; said text; began timestamptz; arguments text;
BEGIN
	FOR arguments IN
		WITH benign AS (SELECT i, probe.benign(coalesce(ins[i], ''), types[i]) AS b FROM generate_series(1, n) i),
		candidate AS (
			SELECT 0 AS rank, string_agg('NULL::' || CASE types[i] WHEN 'anyelement' THEN 'app.deals' ELSE types[i] END, ', ' ORDER BY i) AS a FROM benign
			UNION
			SELECT 0, string_agg(b, ', ' ORDER BY i) FROM benign
			UNION
			-- NULL in each argument, always
			SELECT 1, (SELECT string_agg(CASE WHEN x.i = j THEN 'NULL::' || CASE types[j] WHEN 'anyelement' THEN 'app.deals' ELSE types[j] END ELSE x.b END, ', ' ORDER BY x.i) FROM benign x)
			FROM generate_series(1, n) j
			UNION
			SELECT 2, (SELECT string_agg(CASE WHEN x.i = j THEN h ELSE x.b END, ', ' ORDER BY x.i) FROM benign x)
			FROM generate_series(1, n) j, probe.hostile(types[j]) h
		)
		SELECT coalesce(a, '') FROM (SELECT a, min(rank) AS rank FROM candidate GROUP BY a) c
		ORDER BY rank = 2, CASE rank WHEN 2 THEN md5(a || seed) END
		LIMIT n + 2 + many
	LOOP
		call := format(CASE WHEN kind = 'p' THEN 'CALL %s(%s)'
						WHEN kind = 'a' OR result IN ('trigger', 'internal', 'event_trigger', 'cstring', 'pipelines.forecast') THEN 'SELECT (%s(%s)) IS NULL'
						ELSE 'SELECT string_agg(x::text, E''\n'') FROM (SELECT * FROM %s(%s) LIMIT 50) x' END, name, arguments);
		-- what our own loops count to, a caller may count to as well
		CONTINUE WHEN call ~ '2147483647|5874897|4713-01-01|infinity' AND name ~ '^pipelines\._';
		began := clock_timestamp();
		SELECT t.state, t.said INTO state, said FROM probe.try(role, call) t;
		INSERT INTO probe.outcome VALUES (f, role, call, state, said, 1000 * extract(epoch FROM clock_timestamp() - began));
		calls := calls + 1;
	END LOOP;
	RETURN calls;
END $fn$;
END

my @functions = split /\n/, $node->safe_psql($db, <<"END");
SELECT p.oid || '|' || p.oid::regprocedure FROM pg_proc p
WHERE p.pronamespace = 'pipelines'::regnamespace AND p.prokind IN ('f', 'p', 'a') AND p.proname ~ '$chosen' ORDER BY p.proname COLLATE "C", p.oid
END
my ($calls, $dead) = (0, 0);
for my $role ('postgres', 'clerk')
{
	# a session for many, and when it dies, one for each of them
	my @groups;
	push @{ $groups[ $_ / 25 ] }, $functions[$_] for 0 .. $#functions;
	for my $group (@groups)
	{
		my $script = sub { join '', "SET statement_timeout = '300s';\n", map { "SELECT probe.run(" . (split /\|/, $_)[0] . ", '$role', $limit, $seed);\n" } @_ };
		my ($out, $err) = ('', '');
		my $status = $node->psql($db, $script->(@$group), stdout => \$out, stderr => \$err, on_error_stop => 1, timeout => 3000);
		$calls += $_ for grep { /^\d+$/ } split /\n/, $out;
		next if $status == 0;
		$dead++;
		diag("$role: $err");
		for my $one (@$group)
		{
			# until recovery is over
			$node->poll_query_until($db, 'SELECT true');
			$node->psql($db, $script->($one), stdout => \$out, stderr => \$err, on_error_stop => 1, timeout => 3000) == 0
				or diag("$role: " . (split /\|/, $one)[1] . ": $err");
		}
	}
}
is($dead, 0, scalar(@functions) . " functions were called $calls times, and every session lived");
$node->poll_query_until($db, 'SELECT true');

sub listed
{
	my ($condition, $title) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is($node->safe_psql($db, "SELECT sqlstate || ' ' || role || ': ' || left(call, 300) || ': ' || left(message, 300) FROM probe.outcome WHERE $condition ORDER BY 1 LIMIT 60"), '', $title);
}

# what PostgreSQL itself calls internal: input functions that are called by hand
# without the type modifier, NULL for an aggregate's state outside an aggregate
listed(q{sqlstate LIKE 'XX%'}, 'no internal error');
# Our own SQL is right: names, syntax, types, and never more than one row where
# one is meant.  Functions whose name begins with _ may be called as it pleases
# whoever calls them: they run with his rights and have nobody else's to lend.
listed(q{function::text !~ '^pipelines\._' AND sqlstate IN ('42601', '42703', '42883', '42P01', '42804', '42725', '42702', '21000', '22P02', '42704', 'P0003', '42846', '42P18', 'P0004', '54001')
	-- an input that is no number or no JSON; and what we say ourselves, of columns, tables and parts that were named and are not there
	AND NOT (sqlstate = '22P02' AND message ~ '^invalid input syntax for type')
	AND NOT (sqlstate = '42703' AND message ~ '^column .* of (table|view) .* does not exist|lacks columns that|has columns that')
	AND NOT (sqlstate = '42703' AND message ~ ' / It is named in .* / A condition looks at columns of the deals table')
	AND NOT (sqlstate = '42704' AND message ~ '^(forecast type|role|there is no|you have no) .* / ')
	AND NOT (sqlstate = '42804' AND message ~ '^the first argument of .* is not a row of a table / |^(what says which rows|the condition of the board|the expression)\M.* is of type .*, not boolean / ')
	AND NOT (sqlstate = '42P01' AND message ~ '^relation with OID \d+ does not exist$')
	AND NOT (sqlstate = '42601' AND message ~ 'is neither a list of columns nor|is not a condition')
	-- a text of the caller's own that is no SQL, or names what is not there: the parser says where
	AND NOT (sqlstate = '42601' AND message ~ '^syntax error at .* / The error is in ')
	AND message !~ '^the expression for the present user \(who\) (is not one expression|can''t be used)'
	AND message !~ '^a column definition list is required'},
	'no mistake in what public functions run themselves');
listed(q{milliseconds > 20000 AND function::text !~ '^pipelines\._'}, 'none takes long');
listed(q{role = 'clerk' AND (replace(replace(message, 'Zqhidden', ''), 'Zqtwo', '') ~ 'Zq' OR message ~ '7700000' OR (message ~ 'Zqhidden' AND call !~ 'Zqhidden') OR (message ~ 'Zqtwo' AND call !~ 'Zqtwo'))},
	'nothing of the hidden pipeline comes back to somebody who may not see it');

# what is hidden is told like what isn't there
my $differs = $node->safe_psql($db, <<'END');
SELECT o.call || ': ' || o.sqlstate || ' ' || left(o.message, 200) || ' <> ' || t.state || ' ' || left(t.said, 200)
FROM probe.outcome o, probe.try('clerk', replace(replace(o.call, 'Zqhidden', 'Zqnoname'), 'Zqtwo', 'Zqnot')) t
WHERE o.role = 'clerk' AND o.call ~ 'Zq'
	AND (o.sqlstate, regexp_replace(regexp_replace(o.message, '(z)qhidden', '\1qnoname', 'gi'), '(z)qtwo', '\1qnot', 'gi')) IS DISTINCT FROM (t.state, t.said)
ORDER BY 1 LIMIT 40
END
is($differs, '', 'what is hidden is told like what does not exist');

my $counts = $node->safe_psql($db, q{SELECT string_agg(sqlstate || ' ' || n, ', ' ORDER BY n DESC) FROM (SELECT sqlstate, count(*) AS n FROM probe.outcome GROUP BY 1) x});
note("outcomes: $counts");
is(problems($node, $db), '', 'verify finds nothing');
$node->stop;
done_testing();
