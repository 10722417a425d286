# pg_dump, VACUUM and ANALYZE beside sessions that move deals and change
# definitions (CORE test 16).  Nobody is refused anything, there is no deadlock, and
# each dump is what one snapshot shows: restored, it has the same contents, verify()
# finds nothing, and work goes on.
#
# PIPELINES_TEST_ALL=1: more dumps, in every format.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PipelinesTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = new_seed();
my $node = start_node('beside', 'log_statement = none', 'max_locks_per_transaction = 256', 'autovacuum_naptime = 1s', 'deadlock_timeout = 200ms');
my $db = 'postgres';
my $dir = PostgreSQL::Test::Utils::tempdir();
my @formats = $ENV{PIPELINES_TEST_ALL} ? (qw(custom directory plain) x 3) : qw(custom directory);

$node->safe_psql($db, 'CREATE EXTENSION pipelines');
run_sql($node, $db, <<'END', 'made');
SET client_min_messages = warning;
CREATE SCHEMA app;
SELECT pipelines.create_pipeline('Vans', stages => '["One", "Two", "Three", {"name": "Won", "outcome": "won"}, {"name": "Lost", "outcome": "lost"}]');
SELECT pipelines.create_pipeline('Cars', transfer_policy => 'first', stages => '["One", "Four", {"name": "Won", "outcome": "won"}]');
SELECT pipelines.create_deals('app.deals', currency => 'EUR');
SELECT pipelines.create_deals('app.parts', partition_by => 'HASH (deal_id)', partition_history => true);
CREATE TABLE app.parts_0 PARTITION OF app.parts FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE app.parts_1 PARTITION OF app.parts FOR VALUES WITH (MODULUS 2, REMAINDER 1);
SELECT count(*) FROM pipelines.resume();
INSERT INTO app.deals (amount) SELECT n FROM generate_series(1, 400) n;
INSERT INTO app.parts (amount) SELECT n FROM generate_series(1, 400) n;
-- both tables in one transaction, by one amount: a dump has either all of it or nothing
CREATE TABLE app.total (client integer PRIMARY KEY, changes bigint NOT NULL);
INSERT INTO app.total SELECT n, 0 FROM generate_series(0, 3) n;
CREATE FUNCTION app.change(client integer, a integer, dice integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	t regclass;
BEGIN
	FOREACH t IN ARRAY '{app.deals,app.parts}'::regclass[] LOOP
		CASE dice % 8
		WHEN 0, 1, 2 THEN
			EXECUTE format('UPDATE %s SET stage_id = $2, pipeline_id = 1, quantity = coalesce(quantity, 0) + 1 WHERE deal_id = $1', t) USING a, 1 + dice % 5;
		WHEN 3 THEN
			EXECUTE format('UPDATE %s SET pipeline_id = 2, stage_id = 1, quantity = coalesce(quantity, 0) + 1 WHERE deal_id = $1', t) USING a;
		WHEN 4 THEN
			EXECUTE format('DELETE FROM %s WHERE deal_id = $1', t) USING a;
		WHEN 5 THEN
			-- which stage is the first one may change between the two
			EXECUTE format('INSERT INTO %s (deal_id, amount, pipeline_id, stage_id) VALUES ($1, 1, 1, 1) ON CONFLICT (deal_id) DO UPDATE SET amount = EXCLUDED.amount + 1', t) USING a;
		ELSE
			EXECUTE format('UPDATE %s SET stage_id = $3, pipeline_id = 1 WHERE deal_id BETWEEN $1 AND least($1 + 10, $2)', t) USING a, 100 * client + 100, 1 + dice % 3;
		END CASE;
	END LOOP;
	UPDATE app.total s SET changes = s.changes + 1 WHERE s.client = change.client;
END $$;
CREATE FUNCTION app.define(dice integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	CASE dice % 6
	WHEN 0 THEN
		UPDATE pipelines.pipeline_stage SET probability = dice % 90 WHERE pipeline_id = 1 AND stage_id = 2;
	WHEN 1 THEN
		PERFORM pipelines.create_pipeline('R' || clock_timestamp(), stages => '["One", "Five"]');
	WHEN 2 THEN
		-- deferred, so that the two may exchange their places
		SET CONSTRAINTS ALL DEFERRED;
		UPDATE pipelines.pipeline_stage s SET position = (SELECT sum(o.position) FROM pipelines.pipeline_stage o WHERE o.pipeline_id = 1 AND o.stage_id IN (1, 2)) - s.position
		WHERE pipeline_id = 1 AND stage_id IN (1, 2);
	WHEN 3 THEN
		UPDATE pipelines.stage SET description = dice::text WHERE stage_id = 3;
	WHEN 4 THEN
		DELETE FROM pipelines.pipeline WHERE pipeline_id = (SELECT max(pipeline_id) FROM pipelines.pipeline WHERE pipeline_id > 2);
	ELSE
		PERFORM pipelines.archive_pipeline(p.name) FROM pipelines.pipeline p WHERE p.pipeline_id > 2 AND p.archived_at IS NULL LIMIT 1;
	END CASE;
-- whoever removes gives up where deals are moved all the time
EXCEPTION WHEN lock_not_available THEN
	RETURN;
END $$;
END

my $script = "$PostgreSQL::Test::Utils::tmp_check/beside";
append_to_file("$script.mover", "\\set a 100 * :client_id + random(1, 100)\n\\set d random(0, 10000)\nSELECT app.change(:client_id, :a, :d);\n");
append_to_file("$script.definer", "\\set d random(0, 10000)\nSET pipelines.definition_wait = '300ms';\nSELECT app.define(:d);\n\\sleep 20 ms\n");
append_to_file("$script.keeper", "VACUUM;\nANALYZE;\nVACUUM (FREEZE) app.deals, app.parts, app.deals_history, app.parts_history, pipelines.pipeline_stage, pipelines.definition_lock;\n");

# what a transaction sees; which tables there are doesn't change
my $tables = $node->safe_psql($db, q{SELECT string_agg(format('SELECT %L, count(*), md5(string_agg(t::text, E''\n'' ORDER BY t::text COLLATE "C")) FROM %s t', c.oid::regclass, c.oid::regclass), ' UNION ALL ' ORDER BY c.oid::regclass::text)
	FROM pg_class c WHERE c.relnamespace IN ('app'::regnamespace, 'pipelines'::regnamespace) AND c.relkind IN ('r', 'p')});
my $contents = "SET search_path = pg_catalog; SET timezone = 'UTC'; $tables";

sub value
{
	my ($query) = @_;
	return $node->safe_psql($db, $query);
}

my $log = -s $node->logfile;
my $seconds = 600;	# until they are interrupted
my %running;
for (['mover', 4], ['definer', 1], ['keeper', 1])
{
	my ($who, $clients) = @$_;
	$running{$who} = IPC::Run::start([ program($node, 'pgbench'), '-h', $node->host, '-p', $node->port, '-n', '-c', $clients, '-j', 1, '--random-seed', $seed,
		'-T', $seconds, '-f', "$script.$who", $db ], '<', \undef, '>', "$script.$who.out", '2>', "$script.$who.err");
}
my (@dumps, %seen);
for my $n (0 .. $#formats)
{
	my $format = $formats[$n];
	my $session = $node->background_psql($db);
	$session->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
	my $snapshot = $session->query_safe('SELECT pg_export_snapshot()');
	my $said = '';
	my $before = value('SELECT sum(changes) FROM app.total');
	IPC::Run::run([ program($node, 'pg_dump'), '-h', $node->host, '-p', $node->port, "--snapshot=$snapshot", "--format=$format", ($format eq 'directory' ? '--jobs=2' : ()),
		'-f', "$dir/dump$n", $db ], '>', \$said, '2>&1');
	is($?, 0, "dump $n ($format)") or diag($said);
	cmp_ok(value('SELECT sum(changes) FROM app.total'), '>', $before, 'deals were moved meanwhile');
	(my $one = $contents) =~ s/;/;\n/g;
	my $shown = $session->query_safe("$one;");
	$session->query_safe('ROLLBACK');
	$session->quit;
	$seen{$shown} = 1;
	push @dumps, [ $n, $format, $shown ];
}
for my $who (sort keys %running)
{
	$running{$who}->signal('INT');
	IPC::Run::finish($running{$who});
	my $told = slurp_file("$script.$who.err");
	unlike($told, qr/ERROR|FATAL|aborted in/, "the ${who}s were refused nothing");
}
is(scalar(keys %seen), scalar(@dumps), 'each dump is of another state');
cmp_ok(value('SELECT count(*) FROM pipelines.pipeline_history'), '>', 0, 'pipelines were made, archived or removed');
cmp_ok(value('SELECT count(*) FROM pipelines.pipeline_stage_history'), '>', 0, 'stages were changed');
ok($node->poll_query_until($db, q{SELECT count(*) = 3 FROM pg_stat_user_tables WHERE relid IN ('app.deals'::regclass, 'pipelines.pipeline_stage'::regclass, 'pipelines.definition_lock'::regclass) AND vacuum_count > 1 AND analyze_count > 1}),
	'tables were vacuumed and analyzed');
is(value("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"), '0', 'no deadlock');
my $said = substr(slurp_file($node->logfile), $log);
# whom we interrupted may not have heard the last answer; and a VACUUM that runs by
# itself gives way to one that somebody wants
is(join("\n", grep { /(?:ERROR|FATAL|PANIC):|terminated by signal|TRAP/ && !/connection to client lost|canceling autovacuum task/ } split /\n/, $said), '', 'no error');
is(problems($node, $db), '', 'verify finds nothing');

for (@dumps)
{
	my ($n, $format, $shown) = @$_;
	my $copy = "copy$n";
	my $told = '';
	$node->safe_psql($db, "CREATE DATABASE $copy TEMPLATE template0");
	IPC::Run::run($format eq 'plain'
		? [ program($node, 'psql'), '-X', '-q', '-h', $node->host, '-p', $node->port, '-v', 'ON_ERROR_STOP=1', '-f', "$dir/dump$n", $copy ]
		: [ program($node, 'pg_restore'), '-h', $node->host, '-p', $node->port, '--exit-on-error', '--jobs=2', '-d', $copy, "$dir/dump$n" ], '>', \$told, '2>&1');
	is($?, 0, "$copy: restored") or diag($told);
	same_text($node->safe_psql($copy, $contents), $shown, "$copy: what the snapshot showed");
	is(problems($node, $copy), '', "$copy: verify finds nothing");
	is($node->safe_psql($copy, q{SELECT count(*) FROM app.deals d FULL JOIN app.parts p USING (deal_id) WHERE (d.pipeline_id, d.stage_id, d.version) IS DISTINCT FROM (p.pipeline_id, p.stage_id, p.version)}), '0',
		"$copy: what was done together is there together");
	$node->safe_psql($copy, q{UPDATE app.deals SET stage_id = 5 - stage_id, pipeline_id = 1 WHERE stage_id IN (1, 4); UPDATE app.parts SET amount = amount + 1;
		SELECT pipelines.create_pipeline('Later', stages => '["One"]')});
	is(problems($node, $copy), '', "$copy: and nothing after further changes");
}
$node->stop;
done_testing();
