# What as_of() promises while others write: final before settled_at(), and no
# transaction torn apart; and when settled_at() must say that it doesn't know.
use strict;
use warnings;

use IPC::Run qw(start);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('primary');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "max_prepared_transactions = 5\ntimezone = 'UTC'\n");
$node->start;

sub sql { return $node->safe_psql('postgres', $_[0]); }

sql(q{
	CREATE EXTENSION pipelines;
	SELECT pipelines.create_pipeline('Sales', stages => '["Lead", "Quote", "Won", "Lost"]');
	SELECT pipelines.create_deals('deals');
	INSERT INTO deals (deal_id, amount) SELECT n, 1000 FROM generate_series(1, 200) n;
	CREATE ROLE clerk;
});

# A session that does something and stays in its transaction until it is ended.
sub session
{
	my ($statements) = @_;
	my ($in, $out, $err) = ('', '', '');
	my $handle = start(
		[   'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-c', "BEGIN; $statements",
			'-c', "SET application_name = 'waiting'; SELECT pg_sleep(300)" ],
		'<', \$in, '>', \$out, '2>', \$err);

	$node->poll_query_until('postgres',
		q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(300)%' AND wait_event = 'PgSleep'})
	  or die "session: $err";
	return $handle;
}

sub end_session
{
	my ($handle) = @_;

	sql(q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'});
	$handle->finish;
	return;
}

my $settled_now = 'SELECT pipelines.settled_at() >= now()';

# ----- who holds it back

is(sql($settled_now), 't', 'nobody writes: now');

my $reader = session('SELECT count(*) FROM deals; SELECT count(*) FROM pipelines.definition_lock');
is(sql($settled_now), 't', 'a reader, even of the lock table, holds nothing back');
end_session($reader);

my $writer = session('SELECT pg_sleep(0.2); UPDATE deals SET amount = amount WHERE deal_id = 1');
my $is_start = q{SELECT pipelines.settled_at() = (SELECT xact_start FROM pg_stat_activity WHERE wait_event = 'PgSleep')};
is(sql($is_start), 't', 'a writer: the start of its transaction');
is(sql("SET ROLE clerk; $settled_now"), 'f', 'a role without any right hears the same');
is(sql("BEGIN; SELECT count(*) FROM pg_stat_activity; UPDATE deals SET amount = 1001 WHERE deal_id = 2; $is_start; ROLLBACK") =~ /t$/m, 1,
	'the oldest of two');
end_session($writer);
is(sql($settled_now), 't', 'it has ended: now');

my $definer = session(q{UPDATE pipelines.pipeline_stage SET probability = 11 WHERE stage_id = pipelines.stage_id('Sales', 'Lead')});
is(sql($is_start), 't', 'a changed definition holds it back too: deals that follow bear the same instant');
end_session($definer);

my $undone = session('SAVEPOINT s; UPDATE deals SET amount = amount + 1 WHERE deal_id = 1; ROLLBACK TO s');
is(sql($settled_now), 't', 'a writer that took everything back holds nothing back');
end_session($undone);

# such a session can't be seen waiting
my ($in, $out, $err) = ('', '', '');
my $silent = start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'),
		'-c', 'SET track_activities = off',
		'-c', 'BEGIN; UPDATE deals SET amount = amount + 1 WHERE deal_id = 3; SELECT pg_sleep(300)' ],
	'<', \$in, '>', \$out, '2>', \$err);
$node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM pg_locks WHERE relation = 'pipelines.definition_lock'::regclass AND mode = 'RowShareLock'});
is(sql('SELECT pipelines.settled_at() IS NULL'), 't', 'a writer that does not report its state: unknown');
sql(q{SELECT pg_terminate_backend(pid) FROM pg_locks WHERE relation = 'pipelines.definition_lock'::regclass});
$silent->finish;
$node->poll_query_until('postgres', $settled_now);

sql(q{BEGIN; UPDATE deals SET amount = amount + 1 WHERE deal_id = 1; PREPARE TRANSACTION 'later'});
is(sql('SELECT pipelines.settled_at() IS NULL'), 't', 'a prepared writer: unknown');
$node->restart;
is(sql('SELECT pipelines.settled_at() IS NULL'), 't', 'a prepared writer, after a restart: unknown');
sql(q{ROLLBACK PREPARED 'later'});
is(sql($settled_now), 't', 'it has ended: now');

# ----- final, and whole

# Each transaction moves money from one deal to another; it locks both first,
# so that transactions that meet are in the order of their instants.
my $script = $node->basedir . '/transfer.sql';
append_to_file($script, q{
\set a random(1, 199)
\set b random(:a + 1, 200)
\set x random(1, 100)
BEGIN;
SELECT amount FROM deals WHERE deal_id IN (:a, :b) ORDER BY deal_id FOR UPDATE;
UPDATE deals SET amount = amount - :x WHERE deal_id = :a;
UPDATE deals SET amount = amount + :x WHERE deal_id = :b;
\sleep 2 ms
END;
});
sql(q{
	UPDATE deals SET amount = 1000;
	CREATE TABLE seen (at timestamptz, what text);
	CREATE FUNCTION state(timestamptz) RETURNS text LANGUAGE sql AS $$
		SELECT md5(string_agg(a::text, ',' ORDER BY a.deal_id)) || ' ' || sum(a.amount) FROM pipelines.as_of(NULL::deals, $1) a
	$$;
});
my $begin = sql('SELECT clock_timestamp()');
my $said = $node->basedir . '/pgbench.log';
my $load = start([ 'pgbench', '-n', '-c', '6', '-j', '2', '-T', '8', '-f', $script, $node->connstr('postgres') ],
	'<', \$in, '>', $said, '2>&1');
sleep 1;
for (1 .. 60)
{
	sql(q{INSERT INTO seen SELECT s.at - interval '1 microsecond', state(s.at - interval '1 microsecond')
		FROM (SELECT pipelines.settled_at() AS at OFFSET 0) s});
	select undef, undef, undef, 0.1;
}
$load->finish;
is($load->result(0), 0, 'pgbench ran') or diag(slurp_file($said));
my $changes = sql('SELECT count(*) FROM deals_history');
cmp_ok($changes, '>', 200, "$changes versions ended meanwhile");
is(sql('SELECT count(*) FROM seen WHERE at IS NULL'), 0, 'settled_at() was known all the time');
is(sql('SELECT count(*) FROM seen WHERE state(at) IS DISTINCT FROM what'), 0, 'what was seen before settled_at() stands');
is(sql(q{SELECT count(*) FROM seen WHERE what !~ ' 200000$'}), 0, 'and no transaction was torn apart');
is( sql(qq{SELECT count(*) FROM (SELECT '$begin'::timestamptz + random() * (clock_timestamp() - '$begin') AS at FROM generate_series(1, 1000)) i
		WHERE (SELECT sum(amount) FROM pipelines.as_of(NULL::deals, i.at)) IS DISTINCT FROM 200000}),
	0, 'the sum is the same at 1,000 random instants');
is( sql(q{SELECT count(*) FROM (SELECT valid_to AS at FROM deals_history WHERE valid_to >= (SELECT min(at) FROM seen) ORDER BY random() LIMIT 500) i
		WHERE (SELECT sum(amount) FROM pipelines.as_of(NULL::deals, i.at)) IS DISTINCT FROM 200000}),
	0, 'and at 500 instants of changes');
is(sql(q{SELECT count(*) FROM pipelines.verify('deals')}), 0, 'verify finds nothing');

# ----- a standby

$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
sql('UPDATE deals SET amount = amount + 1 WHERE deal_id = 1');
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
is($standby->safe_psql('postgres', 'SELECT pipelines.settled_at() IS NULL'), 't', 'on a standby: unknown');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM seen WHERE state(at) IS DISTINCT FROM what'), 0,
	'as_of() on a standby says what it said on the primary');
unlike($standby->safe_psql('postgres', q{EXPLAIN SELECT * FROM pipelines.as_of(NULL::deals, now())}), qr/Function Scan/,
	'and is planned as there');
is($standby->safe_psql('postgres', q{SELECT count(*) FROM pipelines.verify('deals')}), 0, 'verify() runs there too');

$standby->stop;
$node->stop;
done_testing();
