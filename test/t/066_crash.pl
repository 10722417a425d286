# The server dies at random moments in the middle of bulk work: moves,
# deletions and keys that come back, functions that move many deals, definitions
# that are redefined, imports, purges, adoption in batches.  After recovery the
# deals and their history are exactly those of the last transaction that was
# committed: each transaction notes in a table of its own what it left behind.
#
# PIPELINES_TEST_ALL=1: five times as many crashes, of more deals.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PipelinesTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $seed = new_seed();
srand($seed);
my ($rounds, $rows) = $ENV{PIPELINES_TEST_ALL} ? (25, 20_000) : (2, 2000);

# Checkpoints come often, so that recovery begins anywhere.  Not wal_level =
# minimal: there PostgreSQL itself (15.20) sets the sequence back that a table
# got that was made and filled in one transaction, and the next key is taken.
my $node = start_node('crash', 'wal_level = replica', 'checkpoint_timeout = 30s', 'max_wal_size = 32MB', 'min_wal_size = 32MB', 'autovacuum_naptime = 1s',
	'log_min_messages = panic');
my $db = 'postgres';
$node->safe_psql($db, 'CREATE EXTENSION pipelines');
my $amcheck = $node->safe_psql($db, q{SELECT count(*) FROM pg_available_extensions WHERE name = 'amcheck'});
$node->safe_psql($db, 'CREATE EXTENSION amcheck') if $amcheck;

run_sql($node, $db, <<"END", 'made');
SELECT pipelines.create_pipeline('P', stages => '["One", "Two", "Three", {"name": "Won", "outcome": "won"}, {"name": "Lost", "outcome": "lost"}]');
SELECT pipelines.create_pipeline('Q', stages => '["One", "Two", {"name": "Other", "probability": 30}, {"name": "Won", "outcome": "won"}]');
SELECT pipelines.create_deals('plain');
SELECT pipelines.create_deals('parted', partition_by => 'HASH (deal_id)');
CREATE TABLE parted_0 PARTITION OF parted FOR VALUES WITH (modulus 2, remainder 0);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES WITH (modulus 2, remainder 1);
SELECT pipelines.create_deals('outcomes');
SELECT pipelines.create_deals('purged');
SELECT * FROM pipelines.resume();
INSERT INTO plain (name, amount) SELECT n, n FROM generate_series(1, $rows) n;
INSERT INTO parted (name, amount) SELECT n, n FROM generate_series(1, $rows) n;
INSERT INTO outcomes (name, amount, pipeline_id, stage_id)
SELECT n, n, pipelines.pipeline_id('Q'), pipelines.stage_id('Q', (ARRAY['One', 'Two', 'Other', 'Won'])[1 + n % 4]) FROM generate_series(1, $rows / 3) n;
INSERT INTO purged (name, amount, owner) SELECT 'secret ' || n, n, 'o' FROM generate_series(1, $rows / 3) n;
UPDATE purged SET stage_id = pipelines.stage_id('P', 'Two'), amount = amount + 1;
UPDATE purged SET stage_id = pipelines.stage_id('P', 'Won'), close_notes = 'secret';

-- what is there: equal before a crash and after it
CREATE FUNCTION state(t regclass) RETURNS text LANGUAGE plpgsql AS \$\$
DECLARE r text;
BEGIN
	EXECUTE format('SELECT concat_ws('' '', (SELECT count(*) || '' '' || sum(version) || '' '' || sum(hashtext(d::text)) FROM %s d),
		(SELECT count(*) || '' '' || sum(version) || '' '' || sum(hashtext(concat_ws('','', deal_id, version, change, stage_id, to_stage_id, amount, valid_from, valid_to))) FROM %s h))',
		t, (SELECT history FROM pipelines.tracked_table WHERE relation = t)) INTO r;
	RETURN r;
END \$\$;
CREATE TABLE done (t regclass, step integer, state text, PRIMARY KEY (t, step));
INSERT INTO done SELECT relation, 0, state(relation) FROM pipelines.tracked_table;

-- one transaction after the other, for ever
CREATE PROCEDURE work(t regclass) LANGUAGE plpgsql AS \$\$
DECLARE
	n integer;
	stage integer;
BEGIN
	LOOP
		SELECT max(step) + 1 INTO n FROM done d WHERE d.t = work.t;
		stage := pipelines.stage_id('P', (ARRAY['One', 'Two', 'Three', 'Won', 'Lost'])[1 + floor(random() * 5)::integer]);
		PERFORM set_config('pipelines.batch', 'step ' || n, true);
		CASE n % 6
		WHEN 0 THEN
			EXECUTE format('UPDATE %s SET stage_id = \$1 WHERE deal_id %% 2 = \$2 %% 2', t) USING stage, n / 6;
		WHEN 1 THEN
			EXECUTE format('INSERT INTO %s (name, amount, stage_id) SELECT ''new'', n, \$1 FROM generate_series(1, 300) n', t) USING stage;
		WHEN 2 THEN
			EXECUTE format('DELETE FROM %s WHERE deal_id %% 31 = \$1', t) USING n / 6 % 31;
		WHEN 3 THEN
			EXECUTE format('INSERT INTO %s (deal_id, name) SELECT n, ''again'' FROM generate_series(1, $rows) n WHERE n %% 31 = \$1 ON CONFLICT (deal_id) DO UPDATE SET name = ''upsert'', amount = 7', t) USING n / 6 % 31;
		WHEN 4 THEN
			BEGIN
				EXECUTE format('UPDATE %s SET amount = amount + 1, owner = \$1 WHERE deal_id %% 3 = 0', t) USING n::text;
				EXECUTE format('UPDATE %s SET stage_id = -1 WHERE deal_id %% 30 = 0', t);
			EXCEPTION WHEN integrity_constraint_violation OR SQLSTATE '23S01' THEN
				EXECUTE format('UPDATE %s SET amount = amount + 1 WHERE deal_id %% 4 = 0', t);
			END;
		ELSE
			EXECUTE format('SELECT count(*) FROM pipelines.move_many(%L, (SELECT array_agg(deal_id::text) FROM (SELECT deal_id FROM %s ORDER BY deal_id LIMIT 1000) x), \$1, on_refuse => ''skip'')', t, t) USING stage::text;
		END CASE;
		INSERT INTO done SELECT work.t, n, state(work.t);
		COMMIT;
	END LOOP;
END \$\$;

-- a stage is closed, reopened, merged and replaced, all its deals with it
CREATE PROCEDURE redefine() LANGUAGE plpgsql AS \$\$
DECLARE
	n integer;
BEGIN
	LOOP
		SELECT max(step) + 1 INTO n FROM done d WHERE d.t = 'outcomes'::regclass;
		CASE n % 5
		WHEN 0 THEN PERFORM pipelines.change_outcome('Q', 'Other', 'won', apply_to => 'all');
		WHEN 1 THEN PERFORM pipelines.change_outcome('Q', 'Other', 'lost', apply_to => 'all');
		WHEN 2 THEN PERFORM pipelines.change_outcome('Q', 'Other', 'open', apply_to => 'all', probability => n % 90);
		WHEN 3 THEN
			INSERT INTO pipelines.stage (name) VALUES ('Merged ' || n);
			INSERT INTO pipelines.pipeline_stage (pipeline_id, stage_id, position, outcome, probability)
			SELECT pipelines.pipeline_id('Q'), stage_id, 1000 + n, 'open', 40 FROM pipelines.stage WHERE name = 'Merged ' || n;
			UPDATE outcomes SET stage_id = pipelines.stage_id('Q', 'Merged ' || n) WHERE deal_id % 3 = n / 5 % 3;
			PERFORM pipelines.merge_stages('Q', 'Merged ' || n, 'Other');
		ELSE
			UPDATE outcomes SET stage_id = pipelines.stage_id('Q', 'Two') WHERE deal_id % 5 = n / 5 % 5;
		END CASE;
		INSERT INTO done SELECT 'outcomes', n, state('outcomes') ;
		COMMIT;
	END LOOP;
END \$\$;

-- a few deals are purged per transaction, with and without their figures
CREATE PROCEDURE erase() LANGUAGE plpgsql AS \$\$
DECLARE
	n integer;
BEGIN
	LOOP
		SELECT max(step) + 1 INTO n FROM done d WHERE d.t = 'purged'::regclass;
		PERFORM pipelines.purge('purged', deal_id::text, n % 2 = 0)
		FROM (SELECT deal_id FROM purged WHERE name LIKE 'secret%' ORDER BY deal_id LIMIT 5) x;
		EXIT WHEN NOT FOUND;
		INSERT INTO done SELECT 'purged', n, state('purged');
		COMMIT;
	END LOOP;
END \$\$;
END

# a session that works until the server dies; it has begun when we return
sub launch
{
	my ($sql) = @_;
	# a query that comes before the last one is through when we return
	my $until = $sql =~ /;\n/ ? qr/begun\s+\S/ : qr/begun/;
	my %session = (in => "\\echo begun\n$sql;\n\\q\n", out => '', err => '');
	$session{run} = IPC::Run::start([ program($node, 'psql'), '-X', '-A', '-t', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($db) ],
		'<', \$session{in}, '>', \$session{out}, '2>', \$session{err}, IPC::Run::timeout(120));
	$session{run}->pump until $session{out} =~ $until;
	return \%session;
}

# Let sessions work, and the server die after a while.
sub die_after
{
	my ($microseconds, @sql) = @_;
	my @sessions = map { launch($_) } @sql;
	usleep($microseconds);
	$node->stop('immediate');
	for my $session (@sessions)
	{
		$session->{run}->finish;
		# an error of its own would mean that nothing was at work
		fail("a session ended before the server: $session->{err}") if $session->{err} =~ /^\w*:? ?ERROR/m;
	}
	$node->start;
	return;
}

# Until so many crashes were met, and until something was committed in between;
# on a slow machine the sessions get more time each time.
my $crashes = 0;
sub rounds
{
	my ($many, $microseconds, $sessions, $committed, $check) = @_;
	for my $round (1 .. $many + 10)
	{
		die_after(50_000 + rand($microseconds), @$sessions);
		$crashes++;
		$check->($round);
		my $enough = $node->safe_psql($db, "SELECT coalesce(($committed), false)") eq 't';
		last if $round >= $many && $enough;
		$microseconds *= 1.5 if !$enough && $microseconds < 10_000_000;
	}
	return;
}

sub state_is_last
{
	my ($t, $title) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is($node->safe_psql($db, "SELECT state('$t')"), $node->safe_psql($db, "SELECT state FROM done WHERE t = '$t'::regclass ORDER BY step DESC LIMIT 1"),
		"$title: deals and history are those of the last commit");
	is($node->safe_psql($db, "SELECT * FROM pipelines.verify('$t') LIMIT 5"), '', "$title: verify finds nothing");
	return;
}

# every row is in every index, and in none twice
sub indexes_are_sound
{
	my ($title) = @_;
	return if !$amcheck;
	my ($out, $err) = ('', '');
	$node->psql($db, q{SELECT count(bt_index_check(i.indexrelid, true)) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
		JOIN pg_class r ON r.oid = i.indrelid WHERE a.amname = 'btree' AND c.relkind = 'i' AND r.relpersistence = 'p' AND r.relnamespace IN ('public'::regnamespace, 'pipelines'::regnamespace)},
		stdout => \$out, stderr => \$err);
	is($err, '', "$title: indexes and tables agree");
	return;
}

# ----- bulk moves

rounds($rounds, 1_200_000, [ map { "CALL work('$_')" } qw(plain parted) ],
	"SELECT min(n) > 2 * $rounds FROM (SELECT count(*) n FROM done WHERE t IN ('plain'::regclass, 'parted'::regclass) GROUP BY t) x", sub {
	my ($round) = @_;
	for my $t (qw(plain parted))
	{
		my $title = "crash $round, $t";
		state_is_last($t, $title);
		my $next = $node->safe_psql($db, "UPDATE $t SET amount = coalesce(amount, 0) + 1 WHERE deal_id = (SELECT min(deal_id) FROM $t) RETURNING deal_id || '|' || version");
		my ($deal, $version) = split /\|/, $next;
		is($node->safe_psql($db, "SELECT max(version) FROM ${t}_history WHERE deal_id = $deal"), $version - 1, "$title: the next change goes on where the last ended");
		$node->safe_psql($db, "INSERT INTO done SELECT '$t', max(step) + 1, state('$t') FROM done WHERE t = '$t'::regclass");
	}
	indexes_are_sound("crash $round") if $round % 4 == 0;
});
note 'transactions: ' . $node->safe_psql($db, q{SELECT string_agg(t || ' ' || n, ', ') FROM (SELECT t, count(*) n FROM done GROUP BY t) x});

# ----- definitions and their deals

rounds(($rounds + 1) / 2, 900_000, [ 'CALL redefine()' ], q{SELECT count(*) > 6 FROM done WHERE t = 'outcomes'::regclass}, sub {
	my $title = "crash $_[0] in a redefinition";
	state_is_last('outcomes', $title);
	is($node->safe_psql($db, q{SELECT count(*) FROM outcomes d JOIN pipelines.pipeline_stage s USING (pipeline_id, stage_id)
		WHERE (s.outcome IN ('won', 'lost', 'disqualified', 'done')) <> (d.closed_at IS NOT NULL) OR s.merged_into IS NOT NULL}), '0',
		"$title: no deal is open in a closed stage, closed in an open one, or in one that was merged");
	is($node->safe_psql($db, q{SELECT count(*) FROM pipelines.pipeline_stage s WHERE s.version <> 1 + (SELECT count(*) FROM pipelines.pipeline_stage_history h
		WHERE (h.pipeline_id, h.stage_id) = (s.pipeline_id, s.stage_id))}), '0', "$title: every version of the definitions has its past");
});

# ----- purges

rounds(($rounds + 1) / 2, 400_000, [ 'CALL erase()' ], 'SELECT count(*) > 5 FROM pipelines.purge_log', sub {
	my $title = "crash $_[0] in a purge";
	state_is_last('purged', $title);
	is($node->safe_psql($db, q{SELECT count(*) FROM pipelines.purge_log l FULL JOIN (
			SELECT n::text AS deal, d.name IS NULL AND d.deal_id IS NOT NULL AS kept
			FROM generate_series(1, (SELECT max(deal_id) FROM purged)) n LEFT JOIN purged d ON d.deal_id = n
			WHERE d.name IS NULL) x USING (deal)
		WHERE l.keep_figures IS DISTINCT FROM x.kept}), '0', "$title: the log tells of those that are erased, and of no other");
	is($node->safe_psql($db, q{SELECT count(*) FROM purged_history h JOIN pipelines.purge_log l ON l.deal = h.deal_id::text
		WHERE NOT l.keep_figures OR h.actor IS NOT NULL OR h.close_notes IS NOT NULL}), '0', "$title: nothing is left of what was to go");
});

# ----- imports

$node->safe_psql($db, <<"END");
SELECT pipelines.create_deals('imported');
CREATE TABLE log AS SELECT d AS deal_id, timestamptz '2025-01-01 00:00+00' + d * interval '1 minute' + s * interval '1 day' AS at,
	(ARRAY['One', 'Two', 'Three', 'Two', 'Won', 'Lost'])[s] AS stage, d + s AS amount, 'somebody' AS actor
FROM generate_series(1, $rows / 2) d, generate_series(1, 6) s;
ANALYZE log;
END
for my $round (1 .. ($rounds + 1) / 2)
{
	my $title = "crash $round in an import";
	die_after(100_000 + rand(900_000), q{SELECT pipelines.import_history('imported', 'log')});
	$crashes++;
	my $there = $node->safe_psql($db, q{SELECT (SELECT count(*) FROM imported) || ' ' || (SELECT count(*) FROM imported_history)});
	my $all = $rows / 2 . ' ' . $rows / 2 * 5;
	like($there, qr/^(?:0 0|$all)$/, "$title: all or nothing ($there)");
	is($node->safe_psql($db, q{SELECT * FROM pipelines.verify('imported') LIMIT 5}), '', "$title: verify finds nothing");
	if ($there eq $all)
	{
		$node->safe_psql($db, q{SELECT pipelines.release('imported')});
		$node->safe_psql($db, q{DROP TABLE imported, imported_history, imported_activity CASCADE; SELECT * FROM pipelines.resume(); SELECT pipelines.create_deals('imported')});
	}
}
is($node->safe_psql($db, q{SELECT deals, rows FROM pipelines.import_history('imported', 'log')}), $rows / 2 . '|' . $rows / 2 * 5, 'then it is imported');
is($node->safe_psql($db, q{SELECT * FROM pipelines.verify('imported') LIMIT 5}), '', 'and sound');

# ----- adoption in batches

for my $round (1 .. $rounds)
{
	my $title = "crash $round in an adoption";
	my $t = "crm_$round";
	$node->safe_psql($db, <<"END");
CREATE TABLE $t (id bigint PRIMARY KEY, state text NOT NULL DEFAULT 'New', value numeric, note text);
INSERT INTO $t SELECT n, (ARRAY['New', 'Offer', 'Sold'])[1 + n % 3], n, 'note' FROM generate_series(1, $rows * 2) n;
SELECT pipelines.adopt('$t', stage => 'state', amount => 'value', pipeline => 'CRM $round', layout => 'CRM $round');
UPDATE pipelines.adoption_plan SET outcome = 'won' WHERE relation = '$t'::regclass AND value = 'Sold';
VACUUM ANALYZE $t;
END
	# every second time at any moment, else once the first part is committed
	die_after(200_000 + rand(1_000_000), $round % 2 ? "SELECT count(*) FROM pipelines._begin_adoption('$t');\nCALL pipelines.adopt_in_batches('$t', 100)"
		: "CALL pipelines.adopt_in_batches('$t', 100)");
	$crashes++;
	my $open = $node->safe_psql($db, "SELECT pipelines._adoption_open('$t')");
	my $known = $node->safe_psql($db, "SELECT count(*) FROM pipelines.tracked_table WHERE relation = '$t'::regclass");
	my $filled = $known ? $node->safe_psql($db, "SELECT count(*) FROM $t WHERE version IS NOT NULL") : 0;
	note "$title: " . ($known ? $open eq 't' ? "begun, $filled rows filled" : 'done' : 'not begun');
	is($node->safe_psql($db, "SELECT count(*) || ' ' || sum(value) || ' ' || min(note) FROM $t"), $rows * 2 . ' ' . $rows * ($rows * 2 + 1) . ' note', "$title: nothing of the application's is lost");
	run_sql($node, $db, "UPDATE $t SET state = 'Offer' WHERE id IN (3, $rows * 2)", "$title: the application goes on");
	$node->safe_psql($db, "CALL pipelines.adopt_in_batches('$t', 5000)") if !$known || $open eq 't';
	is($node->safe_psql($db, "SELECT count(*) FROM $t d JOIN pipelines.stage s USING (stage_id) WHERE s.name = d.state AND d.pipeline_id = pipelines.pipeline_id('CRM $round')"), $rows * 2, "$title: called again, every row has its stage");
	is($node->safe_psql($db, "SELECT count(*) FROM $t WHERE (state = 'Sold') <> (closed_at IS NOT NULL)"), '0', "$title: and is closed if its stage is");
	is($node->safe_psql($db, "SELECT * FROM pipelines.verify('$t') LIMIT 5"), '', "$title: verify finds nothing");
	is($node->safe_psql($db, "UPDATE $t SET stage_id = pipelines.stage_id('CRM $round', 'Sold') WHERE id IN (3, 4) RETURNING state"), "Sold\nSold", "$title: deals move");
	is($node->safe_psql($db, "SELECT string_agg((d.version - h.version)::text, ' ') FROM $t d JOIN (SELECT id, max(version) AS version FROM ${t}_history WHERE id IN (3, 4) GROUP BY id) h USING (id)"), '1 1', "$title: with history");
}

# ----- and everything together

indexes_are_sound('in the end');
is(problems($node, $db), '', 'in the end verify finds nothing in any table');
note "$crashes crashes";
$node->stop;
repeat_recorded_seeds();
done_testing();
