# Transactions that end in other ways than by COMMIT: prepared ones,
# savepoints, cancelled statements, crashes.  Rows and history agree after each.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PipelinesTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $bulk = $ENV{PIPELINES_TEST_ALL} ? 200000 : 40000;
my $node = start_node('transactions', 'max_prepared_transactions = 10', 'log_min_messages = panic',
	'checkpoint_timeout = 1h', 'max_wal_size = 4GB');
$node->safe_psql('postgres', 'CREATE EXTENSION pipelines');
run_sql($node, 'postgres', <<'END', 'made');
SELECT pipelines.create_pipeline('P', stages => '["One", "Two", "Three", {"name": "Won", "outcome": "won"}]');
SELECT pipelines.create_deals('deals');
SELECT pipelines.create_deals('parted', partition_by => 'HASH (deal_id)');
CREATE TABLE parted_0 PARTITION OF parted FOR VALUES WITH (modulus 2, remainder 0);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES WITH (modulus 2, remainder 1);
SELECT * FROM pipelines.resume();
INSERT INTO deals (name, amount) SELECT n, n FROM generate_series(1, 20) n;
INSERT INTO parted (name, amount) SELECT n, n FROM generate_series(1, 20) n;
END

sub stages
{
	my ($t) = @_;
	return $node->safe_psql('postgres', "SELECT string_agg(format('%s %s v%s', n, s.name, x.version), ', ' ORDER BY n, x.version)
		FROM (SELECT stage_id, version, count(*) AS n FROM $t GROUP BY 1, 2) x JOIN pipelines.stage s USING (stage_id)");
}

sub history { return $node->safe_psql('postgres', "SELECT count(*) || ' ' || coalesce(string_agg(DISTINCT change, ',' ORDER BY change), '') FROM $_[0]_history") }

#
# Prepared transactions
#
for my $t (qw(deals parted))
{
	run_sql($node, 'postgres', <<"END", "$t: prepared");
BEGIN;
UPDATE $t SET stage_id = pipelines.stage_id('P', 'Two') WHERE deal_id <= 10;
SAVEPOINT s;
UPDATE $t SET amount = 0 WHERE deal_id <= 5;
ROLLBACK TO s;
DELETE FROM $t WHERE deal_id = 20;
INSERT INTO $t (deal_id, name) VALUES (20, 'again');
PREPARE TRANSACTION 'p1';
END
	is(stages($t), '20 One v1', "$t: not seen before COMMIT PREPARED");
	is(history($t), '0 ', "$t: nor is its history");
	is($node->safe_psql('postgres', 'SELECT pipelines.settled_at() IS NULL'), 't', "$t: nothing is settled meanwhile");
	run_sql($node, 'postgres', "SET lock_timeout = '5s'; UPDATE $t SET owner = 'beside' WHERE deal_id = 15", "$t: others move beside it");
	my $error = fails_with($node, 'postgres', "SET pipelines.definition_wait = 300; DELETE FROM pipelines.pipeline_stage WHERE stage_id = pipelines.stage_id('P', 'Three')",
		'55P03', "$t: a definition can't be removed while it is prepared");
	like($error, qr/^HINT: /m, "$t: which comes with a hint");
	run_sql($node, 'postgres', "COMMIT PREPARED 'p1'", "$t: committed");
	is($node->safe_psql('postgres', "SELECT string_agg(format('%s:%s', version, n), ' ' ORDER BY version) FROM (SELECT version, count(*) n FROM $t GROUP BY 1) x"),
		'1:8 2:12', "$t: ten moved, one came back, one changed");
	is(history($t), '12 change,delete,move', "$t: with their history");
	is($node->safe_psql('postgres', 'SELECT pipelines.settled_at() IS NOT NULL'), 't', "$t: settled again");
	is(problems($node, 'postgres'), '', "$t: verify finds nothing");

	run_sql($node, 'postgres', "BEGIN; UPDATE $t SET amount = -1; PREPARE TRANSACTION 'p2'; ROLLBACK PREPARED 'p2'", "$t: rolled back");
	is(history($t), '12 change,delete,move', "$t: and nothing is left of it");

	# it survives a crash
	run_sql($node, 'postgres', "BEGIN; UPDATE $t SET stage_id = pipelines.stage_id('P', 'Won') WHERE deal_id = 1; PREPARE TRANSACTION 'p3'");
	$node->stop('immediate');
	$node->start;
	is($node->safe_psql('postgres', 'SELECT pipelines.settled_at() IS NULL'), 't', "$t: still prepared after a crash");
	fails_with($node, 'postgres', "SET pipelines.definition_wait = 100; DELETE FROM pipelines.pipeline_stage WHERE stage_id = pipelines.stage_id('P', 'Three')",
		'55P03', "$t: and still in the way of a definer");
	run_sql($node, 'postgres', "COMMIT PREPARED 'p3'");
	is($node->safe_psql('postgres', "SELECT change FROM ${t}_history WHERE deal_id = 1 ORDER BY version DESC LIMIT 1"), 'close', "$t: committed then");
	is(problems($node, 'postgres'), '', "$t: verify finds nothing then");
}

#
# Savepoints.  ROLLBACK TO releases the lock on the definitions: what comes
# after must take it anew.
#
for my $t (qw(deals parted))
{
	my $before = history($t);
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	$session->query_safe('BEGIN');
	$session->query_safe('SAVEPOINT a');
	$session->query_safe("UPDATE $t SET amount = 100 WHERE deal_id = 2");
	$session->query_safe('ROLLBACK TO a');
	is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_locks WHERE relation = 'pipelines.definition_lock'::regclass}), '0',
		"$t: ROLLBACK TO released the lock");
	$session->query_safe("UPDATE $t SET amount = 101 WHERE deal_id = 2");
	is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_locks WHERE relation = 'pipelines.definition_lock'::regclass AND mode = 'RowShareLock'}), '1',
		"$t: the next change takes it again");
	$session->query_safe('SAVEPOINT b; INSERT INTO ' . $t . ' (deal_id) VALUES (-1); SAVEPOINT c; DELETE FROM ' . $t . ' WHERE deal_id = -1; ROLLBACK TO c; UPDATE ' . $t . ' SET amount = 5 WHERE deal_id = -1; RELEASE b');
	$session->query_safe('COMMIT');
	$session->quit;
	is($node->safe_psql('postgres', "SELECT version, amount FROM $t WHERE deal_id = -1"), '2|5', "$t: what stands is what was released");
	is($node->safe_psql('postgres', "SELECT string_agg(version || ' ' || change || ' ' || coalesce(amount::text, '-'), ',' ORDER BY version) FROM ${t}_history WHERE deal_id = -1"),
		'1 change -', "$t: its history, too");
	is($node->safe_psql('postgres', "SELECT amount FROM $t WHERE deal_id = 2"), '101', "$t: the rolled back change is gone");
	is(problems($node, 'postgres'), '', "$t: verify finds nothing");

	# errors caught in PL/pgSQL, in the middle of statements
	run_sql($node, 'postgres', <<"END", "$t: errors are caught");
CREATE OR REPLACE FUNCTION fail_at(n bigint, at bigint) RETURNS numeric LANGUAGE plpgsql AS
	'BEGIN IF n = at THEN RAISE ''no''; END IF; RETURN n; END';
DO \$\$
BEGIN
	FOR i IN 1 .. 10 LOOP
		BEGIN
			UPDATE $t SET amount = fail_at(deal_id, i) + 1000, stage_id = pipelines.stage_id('P', 'Three') WHERE deal_id <= 10;
		EXCEPTION WHEN raise_exception THEN
			UPDATE $t SET owner = 'round ' || i WHERE deal_id = i;
		END;
	END LOOP;
END \$\$;
END
	is($node->safe_psql('postgres', "SELECT count(*), count(*) FILTER (WHERE owner = 'round ' || deal_id) FROM $t WHERE deal_id BETWEEN 1 AND 10"), '10|10', "$t: ten small changes");
	is($node->safe_psql('postgres', "SELECT count(*) FROM ${t}_history WHERE change = 'change' AND deal_id <= 10 AND to_stage_id = pipelines.stage_id('P', 'Three')"), '0', "$t: and no big one");
	is(problems($node, 'postgres'), '', "$t: verify finds nothing after them");
}

#
# Cancelled in the middle of a bulk move
#
run_sql($node, 'postgres', "INSERT INTO deals (name, amount) SELECT n, n FROM generate_series(1, $bulk) n;
	INSERT INTO parted (name, amount) SELECT n, n FROM generate_series(1, $bulk / 4) n; ANALYZE deals; ANALYZE parted");
for my $t (qw(deals parted))
{
	my $stages = stages($t);
	my $history = history($t);
	my $hash = $node->safe_psql('postgres', "SELECT md5(string_agg(d::text, ',' ORDER BY deal_id)) FROM $t d");
	my $caught = 0;

	# within the first second, at ever later moments
	for my $timeout (5, 20, 40, 80, 150, 300)
	{
		my ($out, $err);
		my $status = $node->psql('postgres', "BEGIN; SET LOCAL statement_timeout = ${timeout};
			UPDATE $t SET stage_id = pipelines.stage_id('P', CASE WHEN stage_id = pipelines.stage_id('P', 'Two') THEN 'Three' ELSE 'Two' END); ROLLBACK",
			stdout => \$out, stderr => \$err, on_error_stop => 1);
		$caught++ if $err =~ /statement timeout/;
	}
	cmp_ok($caught, '>=', 1, "$t: cancelled by timeout ($caught times)");
	is(stages($t), $stages, "$t: all deals are where they were");
	is(history($t), $history, "$t: no history was left");
	is($node->safe_psql('postgres', "SELECT md5(string_agg(d::text, ',' ORDER BY deal_id)) FROM $t d"), $hash, "$t: no row changed");

	# cancelled inside a savepoint, by another session; the transaction goes on
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	my $pid = $session->query_safe('SELECT pg_backend_pid()');
	$session->query_safe("BEGIN; UPDATE $t SET owner = 'kept' WHERE deal_id = 3; SAVEPOINT s");
	$session->query_until(qr/started/, "\\echo started\nUPDATE $t SET amount = amount + 1 FROM generate_series(1, 3) g;\n");
	usleep(60_000);
	$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
	$session->query('ROLLBACK TO s');
	$session->query("UPDATE $t SET owner = 'after' WHERE deal_id = 4");
	$session->query('COMMIT');
	$session->quit;
	is($node->safe_psql('postgres', "SELECT string_agg(owner, ',' ORDER BY deal_id) FROM $t WHERE deal_id IN (3, 4)"), 'kept,after', "$t: after a cancelled statement the transaction goes on");
	is(problems($node, 'postgres'), '', "$t: verify finds nothing");
	is($node->safe_psql('postgres', 'SELECT 1'), '1', "$t: the server lives");

	# a backend that is terminated
	$session = $node->background_psql('postgres', on_error_stop => 0);
	$pid = $session->query_safe('SELECT pg_backend_pid()');
	$session->query_until(qr/started/, "\\echo started\nUPDATE $t SET amount = amount + 1;\n");
	usleep(60_000);
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
	eval { $session->quit };
	$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid");
	is(problems($node, 'postgres'), '', "$t: verify finds nothing after a terminated backend");
}

#
# The server dies in the middle of a bulk move.
#
for my $t (qw(deals parted))
{
	for my $wait (50, 200)
	{
		my $committed = $node->safe_psql('postgres', "UPDATE $t SET owner = 'before crash $wait' WHERE deal_id = 5 RETURNING version");
		my $history = history($t);
		my $count = $node->safe_psql('postgres', "SELECT count(*), sum(version) FROM $t");
		my $session = $node->background_psql('postgres', on_error_stop => 0);
		$session->query_until(qr/started/, "\\echo started\nBEGIN; INSERT INTO $t (name) SELECT 'lost' FROM generate_series(1, 500); DELETE FROM $t WHERE deal_id > 1000 AND deal_id < 1500;
			UPDATE $t SET stage_id = pipelines.stage_id('P', CASE WHEN stage_id = pipelines.stage_id('P', 'Two') THEN 'Three' ELSE 'Two' END); SELECT pg_sleep(100);\n");
		usleep($wait * 1000);
		$node->stop('immediate');
		eval { $session->quit };
		$node->start;
		is($node->safe_psql('postgres', "SELECT version FROM $t WHERE deal_id = 5"), $committed, "$t: what was committed is there");
		is(history($t), $history, "$t: what was not left no history");
		is($node->safe_psql('postgres', "SELECT count(*), sum(version) FROM $t"), $count, "$t: nor a version");
		is(problems($node, 'postgres'), '', "$t: verify finds nothing after recovery");
		is($node->safe_psql('postgres', "UPDATE $t SET amount = $wait WHERE deal_id = 5 RETURNING version"), $committed + 1, "$t: and it goes on");
	}
}

# Crashes right after a commit: the move is there, with its history.
for my $t (qw(deals parted))
{
	my $before = $node->safe_psql('postgres', "SELECT count(*) FROM ${t}_history");
	my $moved = $node->safe_psql('postgres', "WITH m AS (UPDATE $t SET stage_id = pipelines.stage_id('P', 'Won') WHERE closed_at IS NULL RETURNING 1) SELECT count(*) FROM m");
	$node->stop('immediate');
	$node->start;
	is($node->safe_psql('postgres', "SELECT count(*) - $before FROM ${t}_history"), $moved, "$t: a committed bulk move survives");
	is(problems($node, 'postgres'), '', "$t: verify finds nothing then");

	# the primary key of the history agrees with its rows
	is($node->safe_psql('postgres', "SET enable_seqscan = off; SELECT count(*) FROM (SELECT deal_id, version FROM ${t}_history ORDER BY deal_id, version) x"),
		$node->safe_psql('postgres', "SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off; SELECT count(*) FROM ${t}_history"), "$t: index and table agree");
}

$node->stop;
done_testing();
