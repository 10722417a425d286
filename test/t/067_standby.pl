# A streaming standby: equal to the primary while deals and definitions change,
# good for every report, and told clearly that it can't write.  Sessions on it
# learn of changed definitions and tables.  Promoted, it goes on; the old primary
# follows it.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PipelinesTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', join("\n", "timezone = 'UTC'", 'wal_log_hints = on', 'max_prepared_transactions = 5', 'wal_keep_size = 1GB', ''));
$primary->start;
my $db = 'postgres';
$primary->safe_psql($db, 'CREATE ROLE app LOGIN; CREATE ROLE clerk LOGIN; CREATE ROLE reader LOGIN; CREATE ROLE definer LOGIN');
$primary->safe_psql($db, 'CREATE EXTENSION pipelines; CREATE SCHEMA app; CREATE SCHEMA zapp');
make_shop($primary, $db);
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
# answers are compared: no query may be cancelled for the sake of replay
$standby->append_conf('postgresql.conf', "hot_standby_feedback = on\nmax_standby_streaming_delay = -1\n");
$standby->start;

sub caught_up { $primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert')); return }
caught_up();

my @instants = ($primary->safe_psql($db, 'SELECT clock_timestamp()'));
sub equal
{
	my ($title) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	push @instants, $primary->safe_psql($db, 'SELECT clock_timestamp()');
	caught_up();
	# a sequence of the standby is ahead by what the primary has logged beforehand
	my ($here, $there) = map { join "\n", grep { /\|/ } split /\n/, contents($_, $db) } $standby, $primary;
	same_text($here, $there, "$title: rows, history and definitions are equal");
	same_text(reports($standby, $db, @instants), reports($primary, $db, @instants), "$title: so are views and the past");
	is(problems($standby, $db), '', "$title: verify finds nothing there");
	return;
}
equal('at the beginning');

# a session that has looked everything up before
my $session = $standby->background_psql($db, on_error_stop => 0);
sub ask
{
	my ($sql) = @_;
	my $out = $session->query($sql);
	my $err = $session->{stderr};
	$session->{stderr} = '';
	return $err =~ /ERROR:  (\w{5}):/ ? $1 : $out;
}
$session->query_safe('\set VERBOSITY verbose');
my $quote = ask(q{SELECT pipelines.stage_id('Vans', 'Quote')});
my $board = q{SELECT string_agg(stage_name || ' ' || outcome || ' ' || deals, ', ' ORDER BY position, currency) FROM app.deals_board WHERE pipeline_name = 'Vans'};
ask($board);
my $past = q{SELECT count(*), sum(version) FROM pipelines.as_of(NULL::app.deals, now())};
ask($past);

#
# Work, and what arrives.
#
run_sql($primary, $db, <<'END', 'a day of work');
SET client_min_messages = warning;
INSERT INTO app.deals (name, amount) SELECT 'day ' || n, n FROM generate_series(1, 300) n;
UPDATE app.deals SET stage_id = pipelines.stage_id('Vans', 'Won') WHERE name LIKE 'day %' AND deal_id % 2 = 0;
UPDATE app.deals SET stage_id = pipelines.stage_id('Vans', 'Quote') WHERE name LIKE 'day %' AND deal_id % 3 = 0;
DELETE FROM app.deals WHERE deal_id % 19 = 0;
INSERT INTO app.deals (deal_id, name) SELECT n, 'back' FROM generate_series(1, 200) n WHERE n % 19 = 0 ON CONFLICT (deal_id) DO UPDATE SET amount = 1;
BEGIN;
UPDATE app.parts SET amount = amount + 1;
SAVEPOINT s;
DELETE FROM app.parts;
ROLLBACK TO s;
COMMIT;
SELECT count(*) FROM pipelines.move_many('app.deals', (SELECT array_agg(deal_id::text) FROM app.deals WHERE owner = 'rep 1'), 'Lost', on_refuse => 'skip');
SELECT pipelines.purge('app.deals', '9');
SELECT pipelines.create_deals('app.more', currency => 'USD');
INSERT INTO app.more (amount) VALUES (1), (2);
UPDATE app.more SET amount = 3;
END
equal('after a day');
is($standby->safe_psql($db, q{SELECT sum(deals) FROM app.more_board}), '2', 'a table that was made meanwhile has its views');
is($standby->safe_psql($db, q{SELECT count(*), sum(amount) FROM pipelines.as_of(NULL::app.more, now())}), '2|6', 'and its past');

# definitions: the session looks up anew
$primary->safe_psql($db, q{UPDATE pipelines.stage SET name = 'Offer' WHERE name = 'Quote'; SELECT * FROM pipelines.change_outcome('Vans', 'Held', 'lost', apply_to => 'all')});
caught_up();
is(ask(q{SELECT pipelines.stage_id('Vans', 'Offer')}), $quote, 'a session on the standby knows a new name');
is(ask(q{SELECT pipelines.stage_id('Vans', 'Quote')}), '23S01', 'and not the old one');
is(ask($board), $primary->safe_psql($db, $board), 'its board shows the stage as it is now');
$primary->safe_psql($db, q{UPDATE pipelines.stage SET name = 'Quote' WHERE name = 'Offer'; ALTER TABLE app.deals RENAME COLUMN amount TO value});
caught_up();
is(ask($past), $primary->safe_psql($db, $past), 'as_of() follows a renamed column');
is(ask($board), $primary->safe_psql($db, $board), 'so does the board');
is(ask(q{SELECT count(*) FROM pipelines.verify('app.deals')}), '0', 'and verify()');
$primary->safe_psql($db, 'ALTER TABLE app.deals RENAME COLUMN value TO amount');
equal('definitions and columns');

# a transaction that is prepared, or goes on for long, shows nothing of itself
$primary->safe_psql($db, q{BEGIN; UPDATE app.deals SET amount = -1; PREPARE TRANSACTION 'p'});
my $writer = $primary->background_psql($db, on_error_stop => 0);
$writer->query_safe(q{BEGIN; UPDATE app.parts SET stage_id = pipelines.stage_id('Vans', 'Lost')});
caught_up();
equal('beside open transactions');
$writer->query_safe('COMMIT');
$writer->quit;
$primary->safe_psql($db, q{COMMIT PREPARED 'p'});
equal('when they are committed');

#
# What works there, and what is refused, and how.
#
$primary->safe_psql($db, q{CREATE TABLE app.legacy (id integer PRIMARY KEY, state text); INSERT INTO app.legacy VALUES (1, 'Lead');
	CREATE TABLE app.log AS SELECT 9000::bigint AS deal_id, timestamptz '2020-01-01' AS at, 'Lead' AS stage});
caught_up();
my $deal = $primary->safe_psql($db, q{SELECT min(deal_id) FROM app.deals WHERE stage_id = pipelines.stage_id('Vans', 'Quote')});
for my $case (
	[ 'weighted_forecast()', q{SELECT pipelines.weighted_forecast(amount, effective_probability) IS NOT NULL FROM app.deals_current}, 't' ],
	[ 'forecast()', q{SELECT pipelines.chance(pipelines.forecast(amount, effective_probability, outcome), 1) BETWEEN 0 AND 1 FROM app.deals_current}, 't' ],
	[ 'the views of a reader', q{SET ROLE reader; SELECT sum(deals) > 0 FROM app.deals_board}, 't' ],
	[ 'pipeline_id()', q{SELECT pipelines.pipeline_id('Vans') > 0}, 't' ],
	[ 'templates()', q{SELECT count(*) > 3 FROM pipelines.templates()}, 't' ],
	[ 'check_definitions()', q{SELECT count(*) >= 0 FROM pipelines.check_definitions()}, 't' ],
	[ 'totals()', q{SELECT count(*) >= 0 FROM pipelines.totals('app.deals')}, 't' ],
	[ 'scope_note()', q{SELECT count(*) FROM (SELECT pipelines.scope_note('app.deals')) x}, '1' ],
	[ 'import_formats()', q{SELECT count(*) > 1 FROM pipelines.import_formats()}, 't' ],
	[ 'visible_pipelines()', q{SELECT count(*) FROM (SELECT pipelines.visible_pipelines()) x}, '1' ],
	[ 'settled_at(), which is unknown', q{SELECT pipelines.settled_at() IS NULL}, 't' ],
	[ 'as_of() in a transaction of REPEATABLE READ', q{BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) > 0 FROM pipelines.as_of(NULL::app.deals, now()); COMMIT}, 't' ],
	[ 'move_plan()', "SELECT deal, ok, target FROM pipelines.move_plan('app.deals', '{$deal}', 'Won')", "$deal|t|Won" ],
	[ 'move_plan() of many', q{SELECT * FROM pipelines.move_plan('app.deals', (SELECT array_agg(deal_id::text ORDER BY deal_id) FROM app.deals), 'Work', pipeline => 'Repairs')}, undef ])
{
	my ($title, $sql, $expected) = @$case;
	my ($out, $err) = ('', '');
	$standby->psql($db, $sql, stdout => \$out, stderr => \$err);
	# what it says there it says here
	$expected = $primary->safe_psql($db, $sql) if !defined $expected;
	is($out, $expected, "works: $title") or diag($err);
}
for my $case (
	[ 'an UPDATE', "UPDATE app.deals SET amount = 1 WHERE deal_id = $deal" ],
	[ 'an INSERT', q{INSERT INTO app.deals (name) VALUES ('x')} ],
	[ 'move()', "SELECT * FROM pipelines.move('app.deals', '$deal', 'Won')" ],
	[ 'move_many()', "SELECT * FROM pipelines.move_many('app.deals', '{$deal}', 'Won', on_refuse => 'skip')" ],
	[ 'push_back()', "SELECT * FROM pipelines.push_back('app.deals', '$deal', 'no', 'Lead')" ],
	[ 'undo_batch()', q{SELECT * FROM pipelines.undo_batch('app.deals', 'b1')} ],
	[ 'purge()', "SELECT pipelines.purge('app.deals', '$deal')" ],
	[ 'change_outcome()', q{SELECT * FROM pipelines.change_outcome('Vans', 'Quote', 'won', apply_to => 'all')} ],
	[ 'create_pipeline()', q{SELECT pipelines.create_pipeline('X', stages => '["A"]')} ],
	[ 'create_deals()', q{SELECT pipelines.create_deals('app.x')} ],
	[ 'merge_stages()', q{SELECT * FROM pipelines.merge_stages('Vans', 'Lead', 'Quote')} ],
	[ 'import_history()', q{SELECT pipelines.import_history('app.deals', 'app.log')} ],
	[ 'adopt(), which fills a table', q{SELECT pipelines.adopt('app.legacy', stage => 'state')} ],
	[ 'grant_access()', q{SELECT pipelines.grant_access('app.deals', 'reader', 'read')} ],
	[ 'rebuild_views()', q{SELECT pipelines.rebuild_views('app.deals')} ],
	[ 'repair()', q{SELECT * FROM pipelines.repair('app.deals')} ],
	[ 'a definition', q{UPDATE pipelines.stage SET name = 'x' WHERE name = 'Lead'} ])
{
	my ($title, $sql) = @$case;
	my ($out, $err) = ('', '');
	$standby->psql($db, "\\set VERBOSITY verbose\n$sql", stdout => \$out, stderr => \$err, on_error_stop => 1);
	like($err, qr/ERROR:  25006: cannot /, "refused: $title");
}

# beside a load, whoever reads there sees whole transactions: sums that each of
# them keeps are kept
$primary->safe_psql($db, q{SELECT pipelines.create_deals('app.sums'); INSERT INTO app.sums (amount) SELECT 100 FROM generate_series(1, 40)});
my $script = "$PostgreSQL::Test::Utils::tmp_check/standby.sql";
append_to_file($script, "\\set a random(1, 20)\n\\set b random(21, 40)\n\\set s random(1, 2)\nBEGIN;\n"
		# who would wait for another later on has its instant already
		. "SELECT deal_id FROM app.sums WHERE deal_id IN (:a, :b) ORDER BY deal_id FOR UPDATE;\nUPDATE app.sums SET amount = amount - 7 WHERE deal_id = :a;\n"
		. "UPDATE app.sums SET amount = amount + 7, stage_id = :s WHERE deal_id = :b;\nCOMMIT;\n");
my $seconds = $ENV{PIPELINES_TEST_ALL} ? 60 : 5;
caught_up();
my $begun = $primary->safe_psql($db, 'SELECT clock_timestamp()');
my ($out, $err) = ('', '');
my $load = IPC::Run::start([ program($primary, 'pgbench'), '-h', $primary->host, '-p', $primary->port, '-n', '-c', '4', '-T', $seconds, '-f', $script, $db ], '>', \$out, '2>', \$err);
my ($reads, $torn) = (0, 0);
my $end = time + $seconds;
while (time < $end)
{
	my $said = $standby->safe_psql($db, q{SELECT (SELECT sum(amount) FROM app.sums), (SELECT sum(amount) FROM app.sums_current), (SELECT sum(amount) FROM app.sums_board),
		(SELECT count(*) FROM pipelines.verify('app.sums'))});
	$reads++;
	$torn++ if $said ne '4000|4000|4000|0' && !diag($said);
}
$load->finish;
like($out, qr/actually processed: [1-9]/, 'deals were changed on the primary') or diag($err);
is($torn, 0, "$reads reports on the standby beside it: no transaction was torn");
caught_up();
is($standby->safe_psql($db, <<"END"), '0', 'nor is it at 200 instants of that time');
SELECT count(*) FROM (SELECT '$begun'::timestamptz + random() * (now() - '$begun'::timestamptz) AS at FROM generate_series(1, 200)) x
WHERE (SELECT sum(amount) FROM pipelines.as_of(NULL::app.sums, x.at)) IS DISTINCT FROM 4000
END

#
# Promotion
#
equal('before the promotion');
my $versions = $primary->safe_psql($db, 'SELECT count(*) FROM app.deals_history');
$primary->stop('fast');
$standby->promote;
is(ask('SELECT pg_is_in_recovery()'), 'f', 'promoted');
is(ask(q{SELECT pipelines.settled_at() IS NULL}), 'f', 'the past is settled again');
is(ask("UPDATE app.deals SET stage_id = pipelines.stage_id('Vans', 'Won') WHERE deal_id = $deal RETURNING deal_id"), $deal, 'a session that was there before moves a deal');
is(ask("SELECT count(*) - $versions FROM app.deals_history"), '1', 'with one row of history');
is($standby->safe_psql($db, q{SELECT count(*) FROM pipelines.move_many('app.deals', (SELECT array_agg(deal_id::text) FROM app.deals WHERE stage_id = pipelines.stage_id('Vans', 'Lead')), 'Quote') WHERE NOT ok}), '0', 'many are moved');
my $new = $standby->safe_psql($db, q{INSERT INTO app.deals (name) VALUES ('new') RETURNING deal_id});
is($standby->safe_psql($db, "SELECT count(*) FROM app.deals_history WHERE deal_id = $new"), '0', 'a new deal has a key of its own');
run_sql($standby, $db, q{SELECT pipelines.create_pipeline('After', stages => '["A", "B"]'); SELECT * FROM pipelines.change_outcome('Vans', 'Quote', 'won', apply_to => 'all')}, 'definitions are made and changed');
is($standby->safe_psql($db, 'SELECT item FROM pipelines.resume()'), '', 'nothing is left for resume()');
is(problems($standby, $db), '', 'verify finds nothing');
$session->quit;

# the old primary follows: it was stopped cleanly, so that it has nothing of its own
$primary->enable_streaming($standby);
$primary->append_conf('postgresql.conf', "recovery_target_timeline = 'latest'\n");
$primary->set_standby_mode;
$primary->start;
$standby->wait_for_catchup($primary, 'replay', $standby->lsn('insert'));
same_text(join("\n", grep { /\|/ } split /\n/, contents($primary, $db)), join("\n", grep { /\|/ } split /\n/, contents($standby, $db)), 'the old primary is equal to the new one');
is(problems($primary, $db), '', 'verify finds nothing there');

$primary->stop;
$standby->stop;
done_testing();
