# Logical replication.  The four quadrants: deals with and without their history
# published, to a subscriber that has the extension and its triggers, and to one
# that has plain tables.  No history row is ever written twice.  A subscriber
# that gets everything is equal, in its views and its past, too, whatever was
# done where it came from, and can take over.
#
# PIPELINES_TEST_ALL=1: more days, and the history published alone.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PipelinesTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my ($pub, $sub) = map { PostgreSQL::Test::Cluster->new($_) } qw(publisher subscriber);
for my $node ($pub, $sub)
{
	$node->init(allows_streaming => 'logical');
	$node->append_conf('postgresql.conf', join("\n", "timezone = 'UTC'", 'max_worker_processes = 20', 'max_logical_replication_workers = 16',
		'max_sync_workers_per_subscription = 2', "wal_retrieve_retry_interval = '100ms'", ''));
	$node->start;
	$node->safe_psql('postgres', 'CREATE ROLE app LOGIN; CREATE ROLE clerk LOGIN; CREATE ROLE reader LOGIN; CREATE ROLE definer LOGIN');
	$node->safe_psql('postgres', 'CREATE DATABASE shop');
}
my $db = 'shop';
$pub->safe_psql($db, 'CREATE EXTENSION pipelines; CREATE SCHEMA app; CREATE SCHEMA zapp');
make_shop($pub, $db);
my $connection = $pub->connstr($db);
my $dir = PostgreSQL::Test::Utils::tempdir();

# what a dump of the publisher says, played on the subscriber
sub copy_schema
{
	my ($target, @options) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run([ program($pub, 'pg_dump'), '-d', $connection, '--no-publications', '--no-subscriptions', '-f', "$dir/schema.sql", @options ], '>', \$out, '2>', \$err)
		or die $err;
	IPC::Run::run([ program($sub, 'psql'), '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $sub->connstr($target), '-f', "$dir/schema.sql" ], '>', \$out, '2>', \$err)
		or die $err;
	return;
}

sub subscribe
{
	my ($target, $name, $publication) = @_;
	$sub->safe_psql($target, "CREATE SUBSCRIPTION $name CONNECTION '" . $connection =~ s/'/''/gr . "' PUBLICATION $publication");
	return synced($target, $name);
}

# everything that was committed has arrived; false when it does not come
sub synced
{
	my ($target, $name) = @_;
	my $there = $sub->poll_query_until($target, "SELECT count(*) > 0 AND count(*) FILTER (WHERE srsubstate NOT IN ('r', 's')) = 0
		FROM pg_subscription_rel r JOIN pg_subscription s ON s.oid = r.srsubid WHERE s.subname = '$name'");
	return $there && arrived($name);
}

# Has it got so far?  An apply worker that stumbles is started anew, for ever:
# not an error, but it doesn't arrive.
sub arrived
{
	my ($name) = @_;
	my $lsn = $pub->safe_psql('postgres', 'SELECT pg_current_wal_lsn()');
	my $end = time + 60;
	while (time < $end)
	{
		return 1 if $pub->safe_psql('postgres', "SELECT coalesce(bool_or(replay_lsn >= '$lsn'), false) FROM pg_stat_replication WHERE application_name = '$name'") eq 't';
		usleep(100_000);
	}
	return 0;
}

sub errors_since
{
	my ($offset) = @_;
	my %said = map { $_ => 1 } substr(slurp_file($sub->logfile), $offset) =~ /(ERROR:  .*)/g;
	return join("\n", sort keys %said);
}

sub rows { my ($node, $target) = @_; return join "\n", grep { /\|/ } split /\n/, contents($node, $target) }

my @instants = ($pub->safe_psql($db, 'SELECT clock_timestamp()'));

# what happens where the deals are written; each round is another one
my $round = 0;
sub busy_day
{
	$round++;
	run_sql($pub, $db, <<"END", undef);
SET client_min_messages = warning;
INSERT INTO app.deals (name, amount) SELECT 'day $round ' || n, n FROM generate_series(1, 40) n;
UPDATE app.deals SET stage_id = pipelines.stage_id('Vans', 'Quote') WHERE deal_id % 4 = $round % 4 AND pipeline_id = pipelines.pipeline_id('Vans');
UPDATE app.deals SET stage_id = pipelines.stage_id('Vans', 'Won') WHERE name LIKE 'day $round %' AND deal_id % 2 = 0;
UPDATE app.deals SET stage_id = pipelines.stage_id('Vans', 'Lead'), amount = amount + 1 WHERE deal_id % 10 = 0 AND pipeline_id = pipelines.pipeline_id('Vans');
DELETE FROM app.deals WHERE deal_id % 17 = $round;
INSERT INTO app.deals (deal_id, name) SELECT n, 'back' FROM generate_series(1, 100) n WHERE n % 17 = $round ON CONFLICT (deal_id) DO UPDATE SET amount = 1;
INSERT INTO zapp.deals (tenant, nr, name) SELECT n % 3, 1000 + $round * 50 + n, 'new' FROM generate_series(1, 9) n ON CONFLICT DO NOTHING;
DELETE FROM zapp.deals WHERE nr % 10 = $round;
BEGIN;
UPDATE app.parts SET amount = amount + 1 WHERE deal_id <= 30;
SAVEPOINT s;
DELETE FROM app.parts WHERE deal_id <= 10;
ROLLBACK TO s;
UPDATE app.parts SET amount = amount + 1, stage_id = pipelines.stage_id('Vans', 'Quote') WHERE deal_id <= 10;
COMMIT;
SELECT count(*) FROM pipelines.move_many('app.parts', '{11,12,13}', 'Lost', on_refuse => 'skip');
SELECT count(*) FROM pipelines.push_back('app.parts', '1', 'too fast', 'Lead');
SET pipelines.batch = 'd$round';
UPDATE app.parts SET stage_id = pipelines.stage_id('Vans', 'Quote') WHERE deal_id BETWEEN 20 AND 25;
RESET pipelines.batch;
SELECT count(*) FROM pipelines.undo_batch('app.parts', 'd$round');
UPDATE pipelines.pipeline_stage SET probability = 20 + $round, colour = 'c$round' WHERE stage_id = pipelines.stage_id('Vans', 'Quote');
UPDATE pipelines.stage SET description = 'round $round' WHERE name = 'Lead';
SELECT pipelines.create_pipeline('Extra $round', stages => '["A", "B", "C", {"name": "Won", "outcome": "won"}]');
INSERT INTO app.deals (name, pipeline_id, stage_id) SELECT 'e' || n, pipelines.pipeline_id('Extra $round'), pipelines.stage_id('Extra $round', (ARRAY['A', 'B', 'C'])[n]) FROM generate_series(1, 3) n;
SELECT count(*) FROM pipelines.merge_stages('Extra $round', 'A', 'B');
SELECT count(*) FROM pipelines.change_outcome('Extra $round', 'C', 'won', apply_to => 'all');
SELECT count(*) FROM pipelines.archive_pipeline('Extra $round', '{"B": {"pipeline": "Vans", "stage": "Lead"}}') WHERE $round % 2 = 0;
SELECT pipelines.create_pipeline('Gone $round', stages => '["A"]');
DELETE FROM pipelines.pipeline WHERE name = 'Gone $round';
END
	push @instants, $pub->safe_psql($db, 'SELECT clock_timestamp()');
	return;
}
busy_day();

# ----- everything, to a subscriber that has everything

copy_schema($db, '--schema-only');
$pub->safe_psql($db, 'CREATE PUBLICATION everything FOR ALL TABLES');
ok(subscribe($db, 'everything', 'everything'), 'everything: the copy is made');
same_text(rows($sub, $db), rows($pub, $db), 'everything: the initial copy is equal');
is(problems($sub, $db), '', 'everything: verify finds nothing');
for my $n (1 .. ($ENV{PIPELINES_TEST_ALL} ? 4 : 1))
{
	busy_day();
	ok(arrived('everything'), "everything, day $n: all that was done arrives") or diag(errors_since(0));
	same_text(rows($sub, $db), rows($pub, $db), "everything, day $n: deals, history, definitions and their past are equal");
	same_text(reports($sub, $db, @instants), reports($pub, $db, @instants), "everything, day $n: views and the past are equal");
	is(problems($sub, $db), '', "everything, day $n: verify finds nothing");
}
is(errors_since(0), '', 'everything: nothing was refused');

# a session that was there before sees what arrived
my $session = $sub->background_psql($db, on_error_stop => 0);
$session->query_safe("SELECT pipelines.stage_id('Vans', 'Quote')");
$pub->safe_psql($db, "UPDATE pipelines.pipeline SET name = 'Trucks' WHERE name = 'Vans'");
ok(arrived('everything'), 'a renamed pipeline arrives');
is($session->query_safe("SELECT pipelines.stage_id('Trucks', 'Quote')"), $pub->safe_psql($db, "SELECT pipelines.stage_id('Trucks', 'Quote')"), 'and is known to a session that had looked the old name up');
$pub->safe_psql($db, "UPDATE pipelines.pipeline SET name = 'Vans' WHERE name = 'Trucks'");
$session->quit;

# the guard stands where nobody replicates
ok(arrived('everything'), 'renamed back');
fails_with($sub, $db, 'UPDATE app.deals_history SET amount = 0', '23S11', 'on the subscriber, too, nobody changes the past');
fails_with($sub, $db, 'DELETE FROM pipelines.pipeline_stage_history', '23S11', 'nor that of the definitions');

# erased there, erased here (R-2.37)
$pub->safe_psql($db, q{SET pipelines.reason = 'asked for'; SELECT pipelines.purge('app.deals', '9'); SELECT pipelines.purge('app.deals', '10', keep_figures => false);
	SELECT pipelines.purge('app.parts', '2'); SELECT pipelines.purge('app.parts', '4', keep_figures => false)});
my $purged = ok(arrived('everything'), 'what is purged on the publisher is purged on the subscriber') or diag(errors_since(0));
same_text(rows($sub, $db), rows($pub, $db), 'rows, history and log are equal then') if $purged;
is($sub->safe_psql($db, q{SELECT count(*) FROM app.deals_history WHERE deal_id = 10 OR (deal_id = 9 AND actor IS NOT NULL)}), '0', 'nothing is left of it') if $purged;
fails_with($sub, $db, 'UPDATE app.deals_history SET amount = 0', '23S11', 'the guard stands as before');

# a deals table that is made later: its registration waits for the table
my $log = -s $sub->logfile;
$pub->safe_psql($db, q{SELECT pipelines.create_deals('app.later'); INSERT INTO app.later (name) VALUES ('one'), ('two'); UPDATE app.later SET stage_id = pipelines.stage_id('Vans', 'Won') WHERE name = 'two'});
copy_schema($db, '--schema-only', '-t', 'app.later', '-t', 'app.later_history', '-t', 'app.later_activity', '-t', 'app.later_current');
$sub->safe_psql($db, 'ALTER SUBSCRIPTION everything REFRESH PUBLICATION');
ok(synced($db, 'everything'), 'a table that is made later arrives once its schema is there') or diag(errors_since($log));
is($sub->safe_psql($db, q{SELECT string_agg(deal_id || ' ' || version, ', ' ORDER BY deal_id) FROM app.later}), '1 1, 2 2', 'its deals');
is($sub->safe_psql($db, q{SELECT count(*) FROM app.later_history}), '1', 'its history, once');
run_sql($sub, $db, q{SET client_min_messages = warning; SELECT * FROM pipelines.resume('app.later')}, 'and the rest is made by resume()');
is($sub->safe_psql($db, q{SELECT deals FROM app.later_board WHERE stage_name = 'Won' AND pipeline_name = 'Vans'}), '1', 'its views work');
is(problems($sub, $db), '', 'verify finds nothing');

# it takes over
$pub->wait_for_catchup('everything');
my $past = $sub->safe_psql($db, 'SELECT count(*) FROM app.deals_history');
$sub->safe_psql($db, 'DROP SUBSCRIPTION everything');
my $sequences = $pub->safe_psql($db, q{SELECT string_agg(format('SELECT setval(%L, %s);', quote_ident(schemaname) || '.' || quote_ident(sequencename), last_value), ' ')
	FROM pg_sequences WHERE schemaname IN ('app', 'zapp', 'pipelines') AND last_value IS NOT NULL});
$sub->safe_psql($db, $sequences);
is($sub->safe_psql($db, q{SELECT item, action FROM pipelines.resume()}), '', 'to take over nothing is left for resume()');
my $id = run_sql($sub, $db, q{INSERT INTO app.deals (name) VALUES ('here') RETURNING deal_id}, 'a deal is made on the former subscriber');
is(run_sql($sub, $db, "UPDATE app.deals SET stage_id = pipelines.stage_id('Vans', 'Won') WHERE deal_id IN ($id, 6) RETURNING deal_id IN ($id, 6)", 'deals are moved', 'clerk'), "t\nt", 'by those who may');
is($sub->safe_psql($db, 'SELECT count(*) FROM app.deals_history'), $past + 2, 'each with one row of history');
run_sql($sub, $db, q{SELECT pipelines.create_pipeline('Here', stages => '["One", "Two"]'); UPDATE pipelines.pipeline_stage SET probability = 66 WHERE stage_id = pipelines.stage_id('Vans', 'Quote')}, 'definitions are made and changed');
is(problems($sub, $db), '', 'verify finds nothing then');

# ----- the quadrants

$pub->safe_psql($db, 'CREATE PUBLICATION only_deals FOR TABLE app.deals; CREATE PUBLICATION only_history FOR TABLE app.deals_history;
	CREATE PUBLICATION deals_and_history FOR TABLE app.deals, app.deals_history');
my $count = q{SELECT (SELECT count(*) || ' ' || sum(version) || ' ' || md5(string_agg(d::text, ',' ORDER BY deal_id)) FROM app.deals d)};
my $past_of = q{SELECT count(*) || ' ' || coalesce(md5(string_agg(h::text, ',' ORDER BY deal_id, version)), '') FROM app.deals_history h};
my $nothing = '0 ';
my @quadrants = (
	# title, publication, has the subscriber our triggers, are deals and history copied
	[ 'deals and history, to triggers', 'deals_and_history', 1, 1, 1 ],
	[ 'deals and history, to plain tables', 'deals_and_history', 0, 1, 1 ],
	[ 'deals only, to triggers', 'only_deals', 1, 1, 0 ],
	[ 'deals only, to plain tables', 'only_deals', 0, 1, 0 ],
	[ 'history only, to triggers', 'only_history', 1, 0, 1 ],
	[ 'history only, to plain tables', 'only_history', 0, 0, 1 ]);
splice @quadrants, 4 if !$ENV{PIPELINES_TEST_ALL};
# with triggers: schema and definitions come by a dump, once
$sub->safe_psql('postgres', 'CREATE DATABASE with_triggers; CREATE DATABASE without');
copy_schema('with_triggers', '--schema-only');
copy_schema('with_triggers', '--data-only', '-n', 'pipelines');
$sub->safe_psql('without', 'CREATE SCHEMA app');
copy_schema('without', '--schema-only', '--section=pre-data', '-t', 'app.deals', '-t', 'app.deals_history');
$sub->safe_psql('without', 'ALTER TABLE app.deals ADD PRIMARY KEY (deal_id); ALTER TABLE app.deals_history ADD PRIMARY KEY (deal_id, version)');
$log = -s $sub->logfile;
sub compare
{
	my ($case, $when) = @_;
	my ($title, $publication, $triggers, $deals, $history) = @$case;
	my $target = "t_$publication$triggers";
	is($sub->safe_psql($target, $count), $deals ? $pub->safe_psql($db, $count) : '', "$title: the deals are equal, $when");
	is($sub->safe_psql($target, $past_of), $history ? $pub->safe_psql($db, $past_of) : $nothing, "$title: the history is there once, $when");
	return;
}
for my $case (@quadrants)
{
	my ($title, $publication, $triggers) = @$case;
	my $target = "t_$publication$triggers";
	$sub->safe_psql('postgres', "CREATE DATABASE $target TEMPLATE " . ($triggers ? 'with_triggers' : 'without'));
	ok(subscribe($target, $target, $publication), "$title: copied") or diag(errors_since($log));
	compare($case, 'the copy');
}
busy_day();
for my $case (@quadrants)
{
	my ($title, $publication, $triggers, $deals, $history) = @$case;
	my $target = "t_$publication$triggers";
	ok(arrived($target), "$title: everything arrives") or diag(errors_since($log));
	compare($case, 'what came after it');
	if ($triggers && $deals && $history)
	{
		is($sub->safe_psql($target, q{SELECT * FROM pipelines.verify('app.deals') WHERE problem NOT LIKE '%definition%' AND problem NOT LIKE '%stage%' LIMIT 3}), '', "$title: verify finds nothing in rows and history");
	}
	elsif ($triggers && $deals)
	{
		cmp_ok($sub->safe_psql($target, q{SELECT count(*) FROM pipelines.verify('app.deals') WHERE problem = 'history missing'}), '>', 10, "$title: verify says that the versions have no history behind them");
	}
	$sub->safe_psql($target, "DROP SUBSCRIPTION $target");
}
is(errors_since($log), '', 'nothing was refused in any of them');

# a history of the subscriber's own: triggers that fire in the replica role
my $target = 'own';
# (they judge what arrives, so that the definitions must be there)
$sub->safe_psql('postgres', "CREATE DATABASE $target");
copy_schema($target, '--schema-only');
copy_schema($target, '--data-only', '-n', 'pipelines');
$sub->safe_psql($target, q{DO $$ DECLARE t record; BEGIN
	FOR t IN SELECT tgname FROM pg_trigger WHERE tgrelid = 'app.deals'::regclass AND NOT tgisinternal AND tgtype & 1 = 1 LOOP
		EXECUTE format('ALTER TABLE app.deals ENABLE ALWAYS TRIGGER %I', t.tgname);
	END LOOP; END $$});
$log = -s $sub->logfile;
ok(subscribe($target, $target, 'only_deals'), 'own history: copied') or diag(errors_since($log));
my $copied = $sub->safe_psql($target, 'SELECT sum(version) FROM app.deals');
is($copied, $pub->safe_psql($db, 'SELECT sum(version) FROM app.deals'), 'own history: the copy keeps its versions');
my $before = $pub->safe_psql($db, 'SELECT count(*) FROM app.deals_history');
$pub->safe_psql($db, q{UPDATE app.deals SET amount = coalesce(amount, 0) + 1 WHERE deal_id BETWEEN 30 AND 39;
	UPDATE app.deals SET stage_id = pipelines.stage_id('Vans', 'Lost') WHERE deal_id BETWEEN 50 AND 54 AND pipeline_id = pipelines.pipeline_id('Vans'); DELETE FROM app.deals WHERE deal_id BETWEEN 60 AND 62});
my $changes = $pub->safe_psql($db, 'SELECT count(*) FROM app.deals_history') - $before;
ok(arrived($target), 'own history: changes arrive') or diag(errors_since($log));
is(errors_since($log), '', 'own history: nothing was refused');
is($sub->safe_psql($target, 'SELECT count(*) FROM app.deals_history'), $changes, 'own history: one row for each change');
is($sub->safe_psql($target, 'SELECT sum(version) FROM app.deals'), $pub->safe_psql($db, 'SELECT sum(version) FROM app.deals'), 'own history: versions agree');
$sub->safe_psql($target, "DROP SUBSCRIPTION $target");

$_->stop for $sub, $pub;
done_testing();
