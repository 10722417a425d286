# Definitions change while deals move, in other sessions and at every isolation
# level: a move sees the newest committed definitions, nothing in use is ever
# removed, and nobody waits for long.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PipelinesTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $node = start_node('live');
my $db = 'postgres';
$node->safe_psql($db, 'CREATE EXTENSION pipelines');
run_sql($node, $db, <<'END', 'made');
SELECT pipelines.create_pipeline('P', stages => '["One", "Two", "Three", {"name": "Won", "outcome": "won"}]');
SELECT pipelines.create_pipeline('Q', stages => '["One", "Other"]');
SELECT pipelines.create_deals('deals');
SELECT pipelines.create_deals('more', partition_by => 'HASH (deal_id)');
CREATE TABLE more_0 PARTITION OF more FOR VALUES WITH (modulus 1, remainder 0);
SELECT * FROM pipelines.resume();
INSERT INTO deals (name) SELECT n FROM generate_series(1, 50) n;
INSERT INTO more (name) SELECT n FROM generate_series(1, 5) n;
CREATE TABLE app_data (n integer);
INSERT INTO app_data VALUES (1);
-- a stage that nobody has ever been in
CREATE FUNCTION add_stage(stage_name text, place integer) RETURNS integer LANGUAGE sql AS $$
	INSERT INTO pipelines.stage (name) VALUES (stage_name) ON CONFLICT (name) DO NOTHING;
	INSERT INTO pipelines.pipeline_stage (pipeline_id, stage_id, position, outcome, probability)
	SELECT pipelines.pipeline_id('P'), s.stage_id, place, 'open', 20 FROM pipelines.stage s WHERE s.name = stage_name;
	SELECT s.stage_id FROM pipelines.stage s WHERE s.name = stage_name $$;
END

my $two = $node->safe_psql($db, "SELECT pipelines.stage_id('P', 'Two')");
my $p = $node->safe_psql($db, "SELECT pipelines.pipeline_id('P')");
my $place = 100;

sub new_stage { my ($name) = @_; return $node->safe_psql($db, "SELECT add_stage('$name', " . ++$place . ')') }

sub session
{
	my (@settings) = @_;
	my $s = $node->background_psql($db, on_error_stop => 0);
	$s->query_safe('\set VERBOSITY verbose');
	$s->query_safe($_) for @settings;
	return $s;
}

# what a session says to a statement: its rows, or the SQLSTATE
sub ask
{
	my ($s, $sql) = @_;
	my $out = $s->query($sql);
	my $err = $s->{stderr};
	$s->{stderr} = '';
	return $1 if $err =~ /ERROR:  (\w{5}):/;
	return $out;
}

# let a session run a statement without waiting for it, and see what came later
sub start
{
	my ($s, $sql) = @_;
	$s->query_until(qr/started/, "\\echo started\n$sql;\n");
	return;
}

sub outcome
{
	my ($s) = @_;
	$s->query('SELECT 1');
	my $err = $s->{stderr};
	$s->{stderr} = '';
	return $err =~ /ERROR:  (\w{5}):/ ? $1 : 'done';
}

sub waits
{
	my ($s_pid) = @_;
	return $node->poll_query_until($db, "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $s_pid");
}

sub pid { return $_[0]->query_safe('SELECT pg_backend_pid()') }

my @levels = ('READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE');
my $deal = 0;

for my $level (@levels)
{
	#
	# A move sees the newest committed definitions, whatever its snapshot is.
	#
	my $s = session();
	my $gone = new_stage("gone $level");
	my $archived = new_stage("archived $level");
	ask($s, "UPDATE deals SET stage_id = $two WHERE deal_id = 40");    # its cache is warm
	ask($s, "PREPARE mv(integer, bigint) AS UPDATE deals SET stage_id = \$1 WHERE deal_id = \$2 RETURNING version > 1");
	ask($s, 'EXECUTE mv(' . $two . ", 41)") for 1 .. 7;
	ask($s, "BEGIN ISOLATION LEVEL $level");
	is(ask($s, 'SELECT count(*) FROM app_data'), '1', "$level: a snapshot is taken");
	my $new = new_stage("new $level");
	$node->safe_psql($db, "DELETE FROM pipelines.pipeline_stage WHERE stage_id = $gone;
		UPDATE pipelines.pipeline_stage SET archived_at = now() WHERE stage_id = $archived");
	$deal++;
	ask($s, 'SAVEPOINT a');
	is(ask($s, "UPDATE deals SET stage_id = $new WHERE deal_id = $deal RETURNING stage_id"), $new, "$level: a stage that was made after it");
	is(ask($s, "EXECUTE mv($new, 42)"), 't', "$level: by a prepared statement, too");
	is(ask($s, "INSERT INTO deals (stage_id) VALUES ($new) RETURNING stage_id"), $new, "$level: by INSERT, too");
	ask($s, 'SAVEPOINT b');
	is(ask($s, "UPDATE deals SET stage_id = $gone WHERE deal_id = $deal"), '23S01', "$level: one that was removed after it");
	ask($s, 'ROLLBACK TO b');
	is(ask($s, "EXECUTE mv($archived, 42)"), '23S02', "$level: one that was archived after it");
	ask($s, 'ROLLBACK TO b');
	is(ask($s, "SELECT pipelines.stage_id('P', 'new $level')"), $new, "$level: names are looked up likewise");
	is(ask($s, 'COMMIT'), '', "$level: committed");
	is($node->safe_psql($db, "SELECT stage_id FROM deals WHERE deal_id = $deal"), $new, "$level: moved");

	# what is not committed is not seen, what was rolled back never was
	my $d = session();
	ask($d, 'BEGIN');
	my $never = ask($d, "SELECT add_stage('never $level', " . ++$place . ')');
	is(ask($s, "UPDATE deals SET stage_id = $never WHERE deal_id = $deal"), '23S01', "$level: an uncommitted stage does not exist");
	is(ask($d, "UPDATE deals SET stage_id = $never WHERE deal_id = 43 RETURNING stage_id"), $never, "$level: but for the session that makes it");
	ask($d, 'ROLLBACK');
	is(ask($d, "UPDATE deals SET stage_id = $never WHERE deal_id = 43"), '23S01', "$level: rolled back, it does not");
	ask($d, 'BEGIN');
	ask($d, 'SAVEPOINT a');
	$never = ask($d, "SELECT add_stage('never $level', " . ++$place . ')');
	is(ask($d, "UPDATE deals SET stage_id = $never WHERE deal_id = 43 RETURNING stage_id"), $never, "$level: made in a savepoint");
	ask($d, 'ROLLBACK TO a');
	is(ask($d, "UPDATE deals SET stage_id = $never WHERE deal_id = 43"), '23S01', "$level: and rolled back with it");
	ask($d, 'ROLLBACK');

	# definitions that arrive as a replica's
	ask($d, 'SET session_replication_role = replica');
	my $replicated = ask($d, "SELECT add_stage('replicated $level', " . ++$place . ')');
	SKIP:
	{
		skip 'the replica role made no stage', 1 if $replicated !~ /^\d+$/;
		is(ask($s, "UPDATE deals SET stage_id = $replicated WHERE deal_id = 44 RETURNING stage_id"), $replicated, "$level: a stage made in the replica role");
	}
	$d->quit;
	$s->quit;

	#
	# Removing a stage beside a mover: both orders, both ends, at both levels.
	#
	for my $other (@levels)
	{
		my $title = "definer $level, mover $other";

		# the mover is first, and commits while the definer tries
		my $stage = new_stage("a $level $other");
		my ($def, $mover) = (session('SET pipelines.definition_wait = 5000'), session());
		ask($def, "BEGIN ISOLATION LEVEL $level");
		ask($def, 'SELECT count(*) FROM app_data');
		ask($mover, "BEGIN ISOLATION LEVEL $other");
		is(ask($mover, "UPDATE deals SET stage_id = $stage WHERE deal_id = 10 RETURNING stage_id"), $stage, "$title: moved in");
		start($def, "UPDATE deals SET stage_id = $two WHERE stage_id = $stage; DELETE FROM pipelines.pipeline_stage WHERE stage_id = $stage");
		usleep(150_000);
		ask($mover, 'COMMIT');
		is(outcome($def), '23S07', "$title: moved in and committed, the stage stays");
		ask($def, 'ROLLBACK');

		# the mover rolls back
		ask($mover, "UPDATE deals SET stage_id = $two WHERE deal_id = 10");
		$stage = new_stage("b $level $other");
		ask($def, "BEGIN ISOLATION LEVEL $level");
		ask($def, 'SELECT count(*) FROM app_data');
		ask($mover, "BEGIN ISOLATION LEVEL $other");
		ask($mover, "UPDATE deals SET stage_id = $stage WHERE deal_id = 11");
		start($def, "UPDATE deals SET stage_id = $two WHERE stage_id = $stage; DELETE FROM pipelines.pipeline_stage WHERE stage_id = $stage");
		usleep(100_000);
		ask($mover, 'ROLLBACK');
		is(outcome($def), 'done', "$title: rolled back, the stage goes");
		ask($def, 'COMMIT');
		is($node->safe_psql($db, "SELECT count(*) FROM pipelines.pipeline_stage WHERE stage_id = $stage"), '0', "$title: it is gone");

		# the definer is first: the mover waits, and finds it gone
		$stage = new_stage("c $level $other");
		ask($mover, "BEGIN ISOLATION LEVEL $other");
		ask($mover, 'SELECT count(*) FROM app_data');
		ask($def, "BEGIN ISOLATION LEVEL $level");
		is(ask($def, "DELETE FROM pipelines.pipeline_stage WHERE stage_id = $stage RETURNING stage_id"), $stage, "$title: removed");
		my $pid = pid($mover);
		start($mover, "UPDATE deals SET stage_id = $stage WHERE deal_id = 12");
		ok(waits($pid), "$title: the mover waits for the definer");
		ask($def, 'COMMIT');
		is(outcome($mover), '23S01', "$title: and is refused");
		ask($mover, 'ROLLBACK');

		# the definer rolls back: the mover moves
		$stage = new_stage("d $level $other");
		ask($mover, "BEGIN ISOLATION LEVEL $other");
		ask($mover, 'SELECT count(*) FROM app_data');
		ask($def, "BEGIN ISOLATION LEVEL $level");
		ask($def, "DELETE FROM pipelines.pipeline_stage WHERE stage_id = $stage");
		start($mover, "UPDATE deals SET stage_id = $stage WHERE deal_id = 13");
		ok(waits($pid), "$title: the mover waits again");
		ask($def, 'ROLLBACK');
		is(outcome($mover), 'done', "$title: and moves");
		is(ask($mover, 'COMMIT'), '', "$title: committed");
		is($node->safe_psql($db, "SELECT stage_id FROM deals WHERE deal_id = 13"), $stage, "$title: it is there");
		ask($mover, "UPDATE deals SET stage_id = $two WHERE deal_id IN (12, 13)");

		# move off, delete: everything in one transaction, with a deal that
		# came in after the definer's snapshot
		ask($def, "BEGIN ISOLATION LEVEL $level");
		ask($def, 'SELECT count(*) FROM deals');
		ask($mover, "UPDATE more SET stage_id = $stage WHERE deal_id = 1");
		is(ask($def, "DELETE FROM pipelines.pipeline_stage WHERE stage_id = $stage"), '23S07', "$title: a deal in another table, later than the snapshot");
		ask($def, 'ROLLBACK');
		ask($mover, "UPDATE more SET stage_id = $two WHERE deal_id = 1");
		$_->quit for $def, $mover;
	}
}

#
# An idle writer, a definer who waits for it, and others who must not wait.
#
my $stage = new_stage('unused');
my ($idle, $definer, $third) = (session(), session("SET pipelines.definition_wait = '3s'"), session("SET lock_timeout = '1500ms'"));
ask($idle, 'BEGIN');
ask($idle, "UPDATE deals SET amount = 1 WHERE deal_id = 20");
my $began = time;
start($definer, "DELETE FROM pipelines.pipeline_stage WHERE stage_id = $stage");
my $slowest = 0;
my $moves = 0;
while (time - $began < 2.5)
{
	my $t = time;
	my $answer = ask($third, "UPDATE deals SET amount = coalesce(amount, 0) + 1, stage_id = $two WHERE deal_id = 21 RETURNING 1");
	last if $answer ne '1';
	$moves++;
	$slowest = time - $t if time - $t > $slowest;
	usleep(20_000);
}
cmp_ok($moves, '>=', 20, "beside an idle writer and a waiting definer others move ($moves times)");
cmp_ok($slowest, '<', 1, 'none of them waited for long');
$definer->query('SELECT 1');
my $took = time - $began;
like($definer->{stderr}, qr/ERROR:  55P03:/, 'the definer gives up');
like($definer->{stderr}, qr/^HINT: /m, 'with a hint');
like($definer->{stderr}, qr/^DETAIL: /m, 'and the detail');
cmp_ok($took, '>=', 2.9, 'not before pipelines.definition_wait');
cmp_ok($took, '<', 15, 'and not long after it');
$definer->{stderr} = '';
ask($idle, 'COMMIT');
is(ask($definer, "DELETE FROM pipelines.pipeline_stage WHERE stage_id = $stage RETURNING stage_id"), $stage, 'when the writer is through, the stage goes');
$began = time;
ask($definer, 'SET pipelines.definition_wait = 0');
ask($idle, 'BEGIN');
ask($idle, 'UPDATE deals SET amount = 2 WHERE deal_id = 20');
is(ask($definer, "DELETE FROM pipelines.pipeline_stage WHERE stage_id = pipelines.stage_id('Q', 'Other')"), '55P03', 'definition_wait = 0: at once');

# what takes nothing away waits for nobody
ask($definer, "SET lock_timeout = '1500ms'");
like(ask($definer, "SELECT add_stage('beside', " . ++$place . ')'), qr/^\d+$/, 'adding a stage does not wait for a writer');
is(ask($definer, "UPDATE pipelines.pipeline_stage SET probability = 33 WHERE stage_id = $two AND pipeline_id = $p RETURNING probability"), '33', 'nor does a new probability');
is(ask($definer, "UPDATE pipelines.stage SET name = 'Second' WHERE stage_id = $two RETURNING name"), 'Second', 'nor a new name');
ask($idle, 'COMMIT');
is(ask($idle, "SELECT pipelines.stage_id('P', 'Second')"), $two, 'which others see at once');

# two definers
my $x = new_stage('x');
my $y = new_stage('y');
ask($definer, 'SET pipelines.definition_wait = 300');
ask($idle, 'BEGIN');
is(ask($idle, "DELETE FROM pipelines.pipeline_stage WHERE stage_id = $x RETURNING stage_id"), $x, 'a definer removes');
is(ask($definer, "DELETE FROM pipelines.pipeline_stage WHERE stage_id = $y RETURNING stage_id"), '55P03', 'a second one waits, and gives up');
ask($idle, 'COMMIT');
is(ask($definer, "DELETE FROM pipelines.pipeline_stage WHERE stage_id = $y RETURNING stage_id"), $y, 'then it is his turn');

# what is in use stays, and keeps its meaning
is(ask($definer, "UPDATE pipelines.pipeline_stage SET outcome = 'won', probability = 100 WHERE stage_id = $two AND pipeline_id = $p"), '23S07', 'the outcome of a stage in use');
is(ask($definer, "DELETE FROM pipelines.pipeline WHERE pipeline_id = $p"), '23S07', 'a pipeline in use');
is(ask($definer, "UPDATE pipelines.pipeline_stage SET stage_id = 99999 WHERE stage_id = $two"), '23S05', 'its key');
is(ask($definer, "DELETE FROM pipelines.stage WHERE stage_id = $two"), '23S07', 'a stage in use of the picklist') ;
isnt(ask($definer, 'TRUNCATE pipelines.pipeline_stage CASCADE'), '', 'TRUNCATE of definitions');
is($node->safe_psql($db, 'SELECT count(*) > 5 FROM pipelines.pipeline_stage'), 't', 'is refused');

# a stage that only the history refers to
my $past = new_stage('past');
ask($third, "UPDATE deals SET stage_id = $past WHERE deal_id = 30");
ask($third, "UPDATE deals SET stage_id = $two WHERE deal_id = 30");
is(ask($definer, "DELETE FROM pipelines.pipeline_stage WHERE stage_id = $past"), '23S07', 'a stage that the history refers to');
is(ask($definer, "UPDATE pipelines.pipeline_stage SET archived_at = now() WHERE stage_id = $past RETURNING stage_id"), $past, 'it may be archived');

# Definitions that refer to each other: one goes while a reference to it comes.
my $orphans = <<'END';
SELECT (SELECT count(*) FROM pipelines.pipeline_stage x WHERE NOT EXISTS (SELECT FROM pipelines.pipeline p WHERE p.pipeline_id = x.pipeline_id))
	+ (SELECT count(*) FROM pipelines.pipeline_stage x WHERE NOT EXISTS (SELECT FROM pipelines.stage s WHERE s.stage_id = x.stage_id))
	+ (SELECT count(*) FROM pipelines.pipeline x WHERE NOT EXISTS (SELECT FROM pipelines.layout l WHERE l.layout_id = x.layout_id))
	+ (SELECT count(*) FROM pipelines.stage_map x WHERE NOT EXISTS (SELECT FROM pipelines.pipeline_stage s WHERE (s.pipeline_id, s.stage_id) = (x.to_pipeline_id, x.to_stage_id))
		OR NOT EXISTS (SELECT FROM pipelines.pipeline_stage s WHERE (s.pipeline_id, s.stage_id) = (x.from_pipeline_id, x.from_stage_id)))
	+ (SELECT count(*) FROM pipelines.stage_transition x WHERE NOT EXISTS (SELECT FROM pipelines.pipeline_stage s WHERE (s.pipeline_id, s.stage_id) = (x.pipeline_id, x.to_stage_id))
		OR NOT EXISTS (SELECT FROM pipelines.pipeline_stage s WHERE (s.pipeline_id, s.stage_id) = (x.pipeline_id, x.from_stage_id)))
END
is($node->safe_psql($db, $orphans), '0', 'every definition has what it refers to');
ask($_, "SET pipelines.definition_wait = 1000; SET lock_timeout = '3s'") for $idle, $definer;
my $turn = 0;
for my $level (@levels)
{
	for my $case (
		[ 'pipeline', "INSERT INTO pipelines.pipeline (layout_id, name, is_standard) SELECT layout_id, 'N', false FROM pipelines.pipeline WHERE pipeline_id = $p RETURNING pipeline_id",
			'DELETE FROM pipelines.pipeline WHERE pipeline_id = NEW', "INSERT INTO pipelines.pipeline_stage (pipeline_id, stage_id, position, outcome, probability) VALUES (NEW, $two, 1, 'open', 10)" ],
		[ 'stage', "INSERT INTO pipelines.stage (name) VALUES ('N') RETURNING stage_id",
			'DELETE FROM pipelines.stage WHERE stage_id = NEW', "INSERT INTO pipelines.pipeline_stage (pipeline_id, stage_id, position, outcome, probability) VALUES ($p, NEW, 9000 + NEW, 'open', 10)" ],
		[ 'layout', "INSERT INTO pipelines.layout (name) VALUES ('N') RETURNING layout_id",
			'DELETE FROM pipelines.layout WHERE layout_id = NEW', "INSERT INTO pipelines.pipeline (layout_id, name) VALUES (NEW, 'N')" ],
		[ 'pipeline_stage', "SELECT add_stage('N', 8000 + TURN)",
			"DELETE FROM pipelines.pipeline_stage WHERE stage_id = NEW AND pipeline_id = $p", "INSERT INTO pipelines.stage_transition VALUES ($p, $two, NEW)" ])
	{
		my ($what, $make, $remove, $refer) = @$case;
		for my $order ('removed first', 'referred first', 'referred after the snapshot')
		{
			my $title = "$level, $what, $order";
			$turn++;
			(my $m = $make) =~ s/'N'/'N$turn'/;
			$m =~ s/\bTURN\b/$turn/;
			my $new = $node->safe_psql($db, $m);
			my ($remove_it, $refer_to_it) = map { (my $x = $_) =~ s/\bNEW\b/$new/g; $x =~ s/'N'/'N$turn'/g; $x } $remove, $refer;
			ask($_, "BEGIN ISOLATION LEVEL $level") for $idle, $definer;
			ask($_, 'SELECT count(*) FROM app_data') for $idle, $definer;
			my @two = $order eq 'removed first' ? ($remove_it, $refer_to_it) : ($refer_to_it, $remove_it);
			my $first = ask($idle, $two[0]);
			if ($order eq 'referred after the snapshot') { ask($idle, 'COMMIT') }
			start($definer, $two[1]);
			usleep(50_000);
			ask($idle, 'COMMIT') if $order ne 'referred after the snapshot';
			my $second = outcome($definer);
			ask($definer, $second eq 'done' ? 'COMMIT' : 'ROLLBACK');
			is($node->safe_psql($db, $orphans), '0', "$title: nothing refers to what is gone (first $first, then $second)");
			is($first, '', "$title: the first one goes through");
			$node->safe_psql($db, "DELETE FROM pipelines.stage_transition; DELETE FROM pipelines.pipeline_stage WHERE position > 8000; DELETE FROM pipelines.pipeline_stage s USING pipelines.pipeline q WHERE q.pipeline_id = s.pipeline_id AND q.name ~ '^N\\d'; DELETE FROM pipelines.pipeline WHERE name ~ '^N\\d'");
		}
	}
}

$_->quit for $idle, $definer, $third;
is(problems($node, $db), '', 'verify finds nothing');
$node->stop;
done_testing();
