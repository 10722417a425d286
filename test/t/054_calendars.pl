# Fiscal calendars outlive dump and restore: periods, locks, hours and holidays
# are as they were, and what was closed in a locked period comes back as well.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PipelinesTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('calendars', 'max_prepared_transactions = 5');
my $dir = PostgreSQL::Test::Utils::tempdir();
$node->safe_psql('postgres', 'CREATE ROLE app LOGIN');

sub run_program
{
	my (@command) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run([ program($node, $command[0]), '-h', $node->host, '-p', $node->port, @command[ 1 .. $#command ] ], '>', \$out, '2>', \$err);
	return ($? >> 8, $out, $err);
}

sub make_database
{
	my ($db) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $db TEMPLATE template0 OWNER app");
	$node->safe_psql($db, 'CREATE EXTENSION pipelines; GRANT CREATE ON SCHEMA pipelines TO app');
	return;
}

# all that calendars consist of, their past, and what they say
sub calendars
{
	my ($db) = @_;
	return $node->safe_psql($db, <<'END');
SELECT * FROM pipelines.fiscal_calendar ORDER BY 1;
SELECT * FROM pipelines.fiscal_period ORDER BY 1;
SELECT * FROM pipelines.fiscal_period_history ORDER BY period_id, version;
SELECT * FROM pipelines.business_hours ORDER BY 1;
SELECT * FROM pipelines.holiday ORDER BY 1, 2;
SELECT name, calendar_id FROM pipelines.pipeline ORDER BY 1;
SELECT deal_id, amount, closed_on, version FROM app.deals ORDER BY 1;
SELECT d, pipelines.fiscal_period_id(d::date), pipelines.fiscal_period_id(d::date, 'week', 'Retail'), pipelines.locked_period_id(d::date),
	pipelines.business_days('2024-01-01', d::date, 'Retail') FROM generate_series(date '2023-12-20', '2026-02-10', interval '1 day') d ORDER BY 1;
END
}

make_database('source');
run_sql($node, 'source', <<'END', 'the source is made', 'app');
SELECT pipelines.setup();
CREATE SCHEMA app;
SELECT pipelines.create_fiscal_calendar('Standard', from_year => 2024, to_year => 2026, time_zone => 'UTC');
SELECT pipelines.create_fiscal_calendar('Retail', '4-5-4', from_year => 2023, to_year => 2025, time_zone => 'America/New_York');
INSERT INTO pipelines.business_hours (calendar_id, weekday, opens, closes) SELECT 2, d, '10:00', '24:00' FROM generate_series(1, 6) d;
INSERT INTO pipelines.holiday VALUES (2, '2024-12-25', 'Christmas');
SELECT pipelines.create_pipeline('Sales', stages => '["Lead", {"name": "Won", "outcome": "won"}]');
UPDATE pipelines.pipeline SET calendar_id = 1;
SELECT pipelines.create_deals('app.deals');
INSERT INTO app.deals (name, amount, stage_id, closed_on) VALUES ('a', 5, 2, '2024-01-10'), ('b', 6, 2, '2024-02-10');
-- a parent that comes after its parts in the table
UPDATE pipelines.fiscal_period SET label = 'Year 2025' WHERE calendar_id = 1 AND kind = 'year' AND year = 2025;
SELECT pipelines.lock_period('Standard', 'Jan 2024', 'audited');
SELECT pipelines.lock_period('Standard', 'Feb 2024');
SELECT pipelines.unlock_period('Standard', 'Feb 2024', 'wrong one');
END
my $calendars = calendars('source');
cmp_ok(length $calendars, '>', 10000, 'there is something to keep');

my %formats = (
	plain => {},
	directory => { dump => [ '-Fd', '-j2' ], restore => ['-j2'] },
	inserts => { dump => ['--inserts'] },
	two_steps => { steps => 1 },
	# each row in a transaction of its own, in the order of the table, with all triggers
	two_steps_inserts => { steps => 1, dump => ['--inserts'] });
for my $format (sort keys %formats)
{
	my $f = $formats{$format};
	my $target = "target_$format";
	my @steps = $f->{steps} ? ('-s', '-a') : ('');
	make_database($target);
	for my $step (@steps)
	{
		my $file = "$dir/$format$step";
		my ($status, $out, $err) = run_program('pg_dump', '-U', 'app', '-f', $file, ($step ? $step : ()), @{ $f->{dump} || [] }, 'source');
		is($status, 0, "$format $step: dumped by the owner") or diag($err);
		($status, $out, $err) = $f->{restore}
		  ? run_program('pg_restore', '-U', 'app', '-d', $target, @{ $f->{restore} }, $file)
		  : run_program('psql', '-X', '-q', '-U', 'app', '-d', $target, '-f', $file);
		unlike($err, qr/pipelines\.|23S|fiscal|deals/, "$format $step: restored") or diag($err);
	}
	same_text(calendars($target), $calendars, "$format: everything is as it was");
	is($node->safe_psql($target, 'SELECT count(*) FROM pipelines.check_calendar()'), 0, "$format: nothing is wrong with the calendars");
	is($node->safe_psql($target, q{SELECT count(*) FROM pipelines.check_definitions() WHERE advice IN ('trigger_missing', 'reference_missing')}), 0, "$format: triggers are there");
	fails_with($node, $target, 'UPDATE app.deals SET amount = 7 WHERE deal_id = 1', '23S22', "$format: January is locked", 'app');
	run_sql($node, $target, 'UPDATE app.deals SET amount = 7 WHERE deal_id = 2', "$format: February is not", 'app');
	fails_with($node, $target, q{UPDATE pipelines.fiscal_period SET ends = ends + 1 WHERE label = 'Year 2025'}, '23S23', "$format: periods are checked", 'app');
}

# what is prepared is looked at before
fails_with($node, 'source', q{BEGIN; UPDATE pipelines.fiscal_period SET ends = ends + 1 WHERE label = 'Year 2025'; PREPARE TRANSACTION 'x';}, '23S23', 'PREPARE TRANSACTION looks at the calendar', 'app');
run_sql($node, 'source', q{BEGIN; SELECT pipelines.lock_period('Standard', 'Mar 2024'); PREPARE TRANSACTION 'y';}, 'a lock is prepared', 'app');
run_sql($node, 'source', q{COMMIT PREPARED 'y'}, 'and committed', 'app');
is($node->safe_psql('source', q{SELECT pipelines.locked_period_id('2024-03-31') IS NOT NULL}), 't', 'it counts');

# parallel workers see what their leader sees, uncommitted changes too
my $parallel = $node->safe_psql('source', <<'END');
SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET max_parallel_workers_per_gather = 2;
CREATE TABLE days AS SELECT date '2024-01-01' + g % 900 AS day FROM generate_series(1, 200000) g;
ANALYZE days;
BEGIN;
UPDATE pipelines.fiscal_period SET ends = '2026-02-03' WHERE calendar_id = 1 AND kind = 'month' AND label = 'Jan 2026';
UPDATE pipelines.fiscal_period SET starts = '2026-02-03' WHERE calendar_id = 1 AND kind = 'month' AND label = 'Feb 2026';
SELECT count(*) FROM days WHERE pipelines.fiscal_period_id(day) = pipelines.fiscal_period_id(date '2026-01-15');
ROLLBACK;
SELECT count(*) FROM days WHERE pipelines.fiscal_period_id(day) = pipelines.fiscal_period_id(date '2026-01-15');
END
my ($inside, $outside) = split /\n/, $parallel;
is($inside, $outside / 31 * 33, 'parallel workers know the calendar as changed, and as it was again');
$node->stop;
done_testing();
