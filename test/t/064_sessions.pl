# Ten sessions change the same deals at once: moves, bulk moves, deletions and
# returning keys, upserts, savepoints, all isolation levels, beside changes of
# definitions and of the tables.  Whatever came of it, verify finds nothing,
# and without a definer there is no deadlock.
#
# PIPELINES_TEST_ALL=1: a minute each.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PipelinesTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{PIPELINES_SEED} || (time() ^ ($$ << 8)) & 0x7fffffff;
my $seconds = $ENV{PIPELINES_TEST_ALL} ? 60 : 4;
note "PIPELINES_SEED=$seed";
my $node = start_node('sessions', "log_error_verbosity = verbose", "deadlock_timeout = 200ms");
my $db = 'postgres';
$node->safe_psql($db, 'CREATE EXTENSION pipelines');
run_sql($node, $db, <<'END', 'made');
SELECT pipelines.create_pipeline('P', stages => '["One", "Two", "Three", {"name": "Won", "outcome": "won"}, {"name": "Lost", "outcome": "lost"}]');
SELECT pipelines.create_pipeline('Q', transfer_policy => 'first', stages => '["One", "Four", {"name": "Won", "outcome": "won"}]');
SELECT pipelines.create_deals('plain');
SELECT pipelines.create_deals('parted', partition_by => 'HASH (deal_id)');
CREATE TABLE parted_0 PARTITION OF parted FOR VALUES WITH (modulus 2, remainder 0);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES WITH (modulus 2, remainder 1);
SELECT * FROM pipelines.resume();
INSERT INTO plain (amount) SELECT n FROM generate_series(1, 200) n;
INSERT INTO parted (amount) SELECT n FROM generate_series(1, 200) n;
-- one random change, on deals in ascending order, so that sessions can't lock each other
CREATE FUNCTION change(t regclass, a integer, dice integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	CASE dice % 10
	WHEN 0, 1, 2 THEN
		EXECUTE format('UPDATE %s SET stage_id = $2, pipeline_id = 1 WHERE deal_id = $1', t) USING a, 1 + dice % 3;
	WHEN 3 THEN
		EXECUTE format('UPDATE %s SET pipeline_id = 3 - pipeline_id WHERE deal_id = $1 AND pipeline_id = 1 AND stage_id IN (1, 4)', t) USING a;
	WHEN 4 THEN
		EXECUTE format('UPDATE %s SET amount = amount + 1, owner = $2 WHERE deal_id = $1', t) USING a, dice::text;
	WHEN 5 THEN
		EXECUTE format('DELETE FROM %s WHERE deal_id = $1', t) USING a;
	WHEN 6 THEN
		EXECUTE format('INSERT INTO %s (deal_id, amount) VALUES ($1, 1) ON CONFLICT (deal_id) DO UPDATE SET amount = EXCLUDED.amount + 1', t) USING a;
	WHEN 7 THEN
		EXECUTE format('WITH l AS (SELECT deal_id FROM %1$s WHERE deal_id BETWEEN $1 AND $1 + 15 ORDER BY deal_id FOR UPDATE)
			UPDATE %1$s d SET stage_id = $2, pipeline_id = 1 FROM l WHERE d.deal_id = l.deal_id', t) USING a, 1 + dice % 5;
	WHEN 8 THEN
		BEGIN
			EXECUTE format('UPDATE %s SET stage_id = $2, pipeline_id = 1 WHERE deal_id = $1', t) USING a, 1 + dice % 4;
			RAISE 'no';
		EXCEPTION WHEN raise_exception THEN NULL;
		END;
	ELSE
		EXECUTE format('INSERT INTO %s (deal_id, amount) VALUES ($1, 2) ON CONFLICT (deal_id) DO NOTHING', t) USING a;
	END CASE;
END $$;
END

# A key that is inserted while its deletion is not committed: an error at the
# next change that says what to do, and repair() mends it.
for my $t (qw(plain parted))
{
	my ($one, $two) = map { $node->background_psql($db, on_error_stop => 0) } 1, 2;
	$one->query_safe("UPDATE $t SET stage_id = 4 WHERE deal_id = 200");
	$one->query_safe("BEGIN; UPDATE $t SET stage_id = 1 WHERE deal_id = 200; DELETE FROM $t WHERE deal_id = 200");
	$two->query_until(qr/started/, "\\echo started\nINSERT INTO $t (deal_id) VALUES (200);\n");
	$node->poll_query_until($db, "SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'INSERT INTO $t%'");
	$one->query_safe('COMMIT');
	$two->query('SELECT 1');
	is($two->{stderr}, '', "$t: a key is inserted beside its deletion");
	my $error = fails_with($node, $db, "UPDATE $t SET stage_id = 2 WHERE deal_id = 200", '23S09', "$t: the next change fails");
	like($error, qr/^HINT: .*pipelines\.repair/m, "$t: and says what to do");
	is($node->safe_psql($db, "SELECT deal, was, version FROM pipelines.repair('$t')"), '200|2|4', "$t: repaired");
	is(problems($node, $db), '', "$t: verify finds nothing");
	is($node->safe_psql($db, "UPDATE $t SET stage_id = 2 WHERE deal_id = 200 RETURNING version, episode"), '5|3', "$t: and it moves on, in a new episode");
	is(problems($node, $db), '', "$t: verify finds nothing then");
	$_->quit for $one, $two;
}

my $script = "$PostgreSQL::Test::Utils::tmp_check/sessions";
my $variables = "\\set a random(1, 190)\n\\set b :a + random(1, 10)\n\\set d random(0, 1000)\n\\set e random(0, 1000)\n";
append_to_file("$script.$_->[0]", $_->[1]) for (
	[ 'single', "${variables}SELECT change('plain', :a, :d);\n" ],
	[ 'single_parted', "${variables}SELECT change('parted', :a, :d);\n" ],
	[ 'two', "${variables}BEGIN;\nSELECT change('plain', :a, :d % 7);\nSAVEPOINT s;\nSELECT change('parted', :a, :d % 7);\nROLLBACK TO s;\nSELECT change('parted', :b, :e % 7);\nCOMMIT;\n" ],
	[ 'repeatable', "${variables}BEGIN ISOLATION LEVEL REPEATABLE READ;\nSELECT count(*) FROM plain;\nSELECT change('plain', :a, :d);\nSELECT change('parted', :a, :e % 7);\nCOMMIT;\n" ],
	[ 'serializable', "${variables}BEGIN ISOLATION LEVEL SERIALIZABLE;\nSELECT sum(amount) FROM plain WHERE deal_id BETWEEN :a AND :b;\nSELECT change('plain', :a, :d);\nCOMMIT;\n" ],
	[ 'definer', "${variables}UPDATE pipelines.pipeline_stage SET probability = :d % 90 WHERE pipeline_id = 1 AND stage_id = 2;\n\\sleep 20 ms\n"
			. "SELECT pipelines.create_pipeline('R' || clock_timestamp(), stages => '[\"One\"]');\n" ],
	[ 'remover', "SET pipelines.definition_wait = 50;\nDELETE FROM pipelines.pipeline WHERE pipeline_id = (SELECT max(pipeline_id) FROM pipelines.pipeline WHERE pipeline_id > 2);\n\\sleep 30 ms\n" ],
	[ 'outcome', "SET pipelines.definition_wait = 1000;\nSELECT * FROM pipelines.change_outcome('P', 'Three', CASE (SELECT outcome FROM pipelines.pipeline_stage WHERE pipeline_id = 1 AND stage_id = 3)\n"
			. "WHEN 'open' THEN 'won' WHEN 'won' THEN 'lost' ELSE 'open' END, apply_to => 'all', probability => CASE (SELECT outcome FROM pipelines.pipeline_stage WHERE pipeline_id = 1 AND stage_id = 3) WHEN 'lost' THEN 40 END);\n" ],
	[ 'altering', "${variables}SET lock_timeout = '200ms';\nALTER TABLE plain SET (fillfactor = 90);\nALTER TABLE parted_history ALTER COLUMN reason SET STATISTICS 50;\n\\sleep 50 ms\n" ]);

# what may happen to a transaction: lost races at the higher levels, a key that
# two sessions insert at once, a definer that gave up, an altering lock
my %may = map { $_ => 1 } qw(40001 23505 23S09);

# before 15 pgbench gives up a client at its first error: then it starts anew
sub round
{
	my ($title, $may, @files) = @_;
	my $log = -s $node->logfile;
	my ($out, $err) = ('', '');
	my $end = time + $seconds;
	my @command = (program($node, 'pgbench'), '-h', $node->host, '-p', $node->port, '-n', '-c', '10', '-j', '2', '--random-seed', $seed,
		(map { ('-f', "$script.$_") } @files), $db);
	my $transactions = 0;
	while (time < $end)
	{
		my $left = $end - time;
		IPC::Run::run([ @command[ 0 .. $#command - 1 ], '-T', $left < 1 ? 1 : $left, $db ], '>', \$out, '2>', \$err);
		$transactions += $1 if $out =~ /number of transactions actually processed: (\d+)/;
	}
	my $said = substr(slurp_file($node->logfile), $log);
	my %errors;
	$errors{$1}++ while $said =~ /ERROR:  (\w{5}):/g;
	cmp_ok($transactions, '>', 100, "$title: $transactions transactions, errors: " . (join(', ', map { "$_ ($errors{$_})" } sort keys %errors) || 'none'));
	is(join(', ', grep { !$may->{$_} } sort keys %errors), '', "$title: no other error than expected");
	unlike($said, qr/terminated by signal|PANIC|TRAP/, "$title: nothing crashed");
	for my $t (qw(plain parted))
	{
		my $problems = $node->safe_psql($db, "SELECT * FROM pipelines.verify('$t')");
		if ($problems =~ /version occurs twice/)
		{
			# a key that came back beside its deletion: said, and mended
			note "$t: " . $node->safe_psql($db, "SELECT count(*) FROM pipelines.repair('$t')") . ' repaired';
			$problems = $node->safe_psql($db, "SELECT * FROM pipelines.verify('$t')");
		}
		is($problems, '', "$title: verify finds nothing in $t");
	}
	return;
}

round('one table at a time', { %may }, qw(single single_parted));
round('several, at all levels', { %may }, qw(single single_parted two repeatable serializable));
round('beside definers', { %may, map { $_ => 1 } qw(40P01 55P03 23S01 23S07) }, qw(single@6 two@3 repeatable@2 definer@1 remover@1));
# 22023, 22004, 23514: two of them, and the outcome is what it was to become
my $redefined = $node->safe_psql($db, 'SELECT version FROM pipelines.pipeline_stage WHERE (pipeline_id, stage_id) = (1, 3)');
round('beside change_outcome()', { %may, map { $_ => 1 } qw(40P01 55P03 22023 22004 23514) }, qw(single@8 single_parted@4 two@3 repeatable@2 outcome@1));
cmp_ok($node->safe_psql($db, 'SELECT version FROM pipelines.pipeline_stage WHERE (pipeline_id, stage_id) = (1, 3)'), '>', $redefined, 'a stage was redefined among them');
for my $t (qw(plain parted))
{
	is($node->safe_psql($db, "SELECT count(*) FROM $t d JOIN pipelines.pipeline_stage s USING (pipeline_id, stage_id)
		WHERE (s.outcome IN ('won', 'lost', 'disqualified', 'done')) <> (d.closed_at IS NOT NULL)"), '0', "no deal of $t is open in a closed stage, or closed in an open one");
}
$node->safe_psql($db, q{SELECT * FROM pipelines.change_outcome('P', 'Three', 'open', apply_to => 'all', probability => 40)}) if $node->safe_psql($db, 'SELECT outcome FROM pipelines.pipeline_stage WHERE (pipeline_id, stage_id) = (1, 3)') ne 'open';
round('beside ALTER TABLE', { %may, map { $_ => 1 } qw(40P01 55P03) }, qw(single@6 single_parted@6 two@4 altering@1));
cmp_ok($node->safe_psql($db, "SELECT count(*) FROM plain_history WHERE change = 'delete'"), '>', 10, 'deals were deleted');
cmp_ok($node->safe_psql($db, 'SELECT count(*) FROM plain WHERE version > 5'), '>', 10, 'and moved often');

$node->stop;
done_testing();
