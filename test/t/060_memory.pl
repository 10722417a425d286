# A session that moves deals for days needs no more memory than one that moves
# them for a minute.  100,000 single moves; a million with PIPELINES_TEST_ALL=1.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PipelinesTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('memory', 'synchronous_commit = off', 'autovacuum_naptime = 5s', 'max_wal_size = 4GB');
my $db = 'postgres';
if ($node->safe_psql($db, 'SHOW server_version_num') < 140000)
{
	$node->stop;
	plan skip_all => 'PostgreSQL 13 has no pg_backend_memory_contexts';
}
my $all = $ENV{PIPELINES_TEST_ALL} ? 1_000_000 : 30_000;
my $first = 10_000;
# some of the cases of one table after the other, by a regular expression
my $chosen = $ENV{PIPELINES_MEMORY_CASES} || '.';
my $megabyte = 1024 * 1024;

$node->safe_psql($db, 'CREATE EXTENSION pipelines');
run_sql($node, $db, <<'END', 'made');
SELECT pipelines.create_pipeline('P', stages => '["One", "Two", "Three", {"name": "Won", "outcome": "won"}]');
SELECT pipelines.create_deals('deals');
SELECT pipelines.create_deals('parted', partition_by => 'HASH (deal_id)');
CREATE TABLE parted_0 PARTITION OF parted FOR VALUES WITH (modulus 2, remainder 0);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES WITH (modulus 2, remainder 1);
SELECT pipelines.create_deals('judged');
SELECT * FROM pipelines.resume();
-- fires after ours: every row is judged again
CREATE FUNCTION later() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF TG_OP = ''DELETE'' THEN RETURN OLD; END IF; RETURN NEW; END';
CREATE TRIGGER "§zz" BEFORE INSERT OR UPDATE OR DELETE ON judged FOR EACH ROW EXECUTE FUNCTION later();
-- not written directly
CREATE INDEX ON judged_history ((upper(owner)));
INSERT INTO deals (amount) SELECT n FROM generate_series(1, 500) n;
CREATE TABLE bare AS SELECT * FROM deals;
ALTER TABLE bare ADD PRIMARY KEY (deal_id);
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER nothing AFTER INSERT OR UPDATE OR DELETE ON bare FOR EACH ROW EXECUTE FUNCTION nothing();
INSERT INTO parted (amount) SELECT n FROM generate_series(1, 500) n;
INSERT INTO judged (amount) SELECT n FROM generate_series(1, 500) n;
END

# What the backend that asks uses.  Two contexts are PostgreSQL's own and grow
# with each change of one transaction, whatever the trigger is ('Combo CIDs': a
# row changed twice; 'AfterTriggerEvents': which columns were set): they are
# added up apart, and compared with those of a table that is not ours.
my $measure = q{SELECT 'MEMORY', sum(total_bytes) FILTER (WHERE NOT core), count(*) FILTER (WHERE name LIKE 'CachedPlan%'), count(*) FILTER (WHERE name LIKE 'pipelines%'),
	sum(total_bytes) FILTER (WHERE core)
	FROM (SELECT *, name IN ('Combo CIDs', 'AfterTriggerEvents') AS core FROM pg_backend_memory_contexts) x;};

my %core;

sub compare
{
	my ($title, $output) = @_;
	my @at = map { [ split /\|/, $_, -1 ] } grep { /^MEMORY/ } split /\n/, $output;
	cmp_ok(scalar @at, '>=', 2, "$title: measured before and after") or return;
	my ($before, $after) = @at[ -2, -1 ];
	my $more = $after->[1] - $before->[1];
	cmp_ok($more, '<=', $megabyte, "$title: $before->[1] bytes, then $more more");
	cmp_ok($after->[2] - $before->[2], '<=', 0, "$title: $before->[2] saved plans, and no more");

	# what a vacuum beside us makes outdated is freed when the transaction ends
	cmp_ok($after->[3] - $before->[3], '<=', $title =~ /^one transaction/ ? 10 : 1, "$title: $before->[3] memory contexts of ours, and hardly more");
	my ($name, $t) = split /, (?=\w+$)/, $title;
	my $core = ($after->[4] || 0) - ($before->[4] || 0);
	if (($t || '') eq 'bare') { $core{$name} = $core }
	elsif ($t)
	{
		cmp_ok($core, '<=', $megabyte + 2 * ($core{$name} || 0), "$title: PostgreSQL's own lists grow as for other tables");
	}
	return;
}

sub run_session
{
	my ($title, $script) = @_;
	my ($out, $err);
	my $status = $node->psql($db, $script, stdout => \$out, stderr => \$err, on_error_stop => 1, timeout => 3600);
	is($status, 0, "$title: ran") or diag(substr($err, 0, 2000));
	return $out;
}

# one transaction per move, each a statement of the client
{
	my $move = sub {
		my ($n) = @_;
		my @names = qw(One Two Three);
		return sprintf("EXECUTE mv(%d, %d);\n", 1 + $n % 3, 1 + $n % 500);
	};
	my $script = "SET client_min_messages = warning;\nPREPARE mv(integer, bigint) AS UPDATE deals SET stage_id = \$1 WHERE deal_id = \$2;\n";
	my $n = 0;
	$script .= $move->($n += 7) for 1 .. $first;
	$script .= $measure;
	$script .= $move->($n += 7) for $first + 1 .. $all;
	$script .= $measure;
	my $before = $node->safe_psql($db, 'SELECT count(*) FROM deals_history');
	compare('a transaction per move', run_session('a transaction per move', $script));
	my $written = $node->safe_psql($db, 'SELECT count(*) FROM deals_history') - $before;
	cmp_ok($written, '>', $all * 0.9, "a transaction per move: $written versions ended");
}

# One transaction, in PL/pgSQL: with savepoints that are kept and rolled back,
# errors that are caught, refusals.  A kept savepoint costs PostgreSQL itself
# four bytes until the transaction ends: so those come in transactions of 1,000.
for my $case (
	[ 'one transaction', <<'END' ],
	UPDATE T SET stage_id = 1 + i % 3 WHERE deal_id = 1 + i % 500;
END
	[ 'one transaction, savepoints rolled back', <<'END' ],
	BEGIN
		UPDATE T SET stage_id = 1 + i % 3 WHERE deal_id = 1 + i % 500;
		UPDATE T SET amount = i WHERE deal_id = 1 + i % 500;
		RAISE 'no';
	EXCEPTION WHEN raise_exception THEN NULL;
	END;
END
	[ 'one transaction, refused moves', <<'END' ],
	BEGIN
		UPDATE T SET stage_id = 99 WHERE deal_id = 1 + i % 500;
	EXCEPTION WHEN integrity_constraint_violation THEN NULL;
	END;
END
	[ 'transactions with savepoints', <<'END' ],
	BEGIN
		UPDATE T SET stage_id = 1 + i % 3 WHERE deal_id = 1 + i % 500;
		IF i % 5 = 0 THEN RAISE 'no'; END IF;
	EXCEPTION WHEN raise_exception THEN
		UPDATE T SET owner = i::text WHERE deal_id = 1 + i % 500;
	END;
	IF i % 1000 = 0 THEN COMMIT; END IF;
END
	[ 'deals that go and come back', <<'END' ],
	IF i % 3 = 0 THEN
		DELETE FROM T WHERE deal_id = 1 + i % 400;
	ELSE
		INSERT INTO T (deal_id, amount) VALUES (1 + i % 400, i) ON CONFLICT (deal_id) DO UPDATE SET amount = EXCLUDED.amount, stage_id = 1 + i % 3;
	END IF;
	IF i % 50 = 0 THEN COMMIT; END IF;
END
	[ 'dynamic statements', <<'END' ],
	EXECUTE format('UPDATE T SET amount = %s, stage_id = %s WHERE deal_id IN (%s, %s)', i, 1 + i % 3, 1 + i % 500, 1 + i % 499);
	IF i % 20 = 0 THEN COMMIT; END IF;
END
	[ 'by function', <<'END' ],
	PERFORM m.* FROM T d, LATERAL pipelines.move('T', d.deal_id::text, (ARRAY['One', 'Two', 'Three'])[1 + i % 3]) m WHERE d.deal_id = 1 + i % 500;
	IF i % 7 = 0 THEN PERFORM * FROM pipelines.move_many('T', ARRAY[(1 + i % 499)::text, (2 + i % 498)::text], 'Three', on_refuse => 'skip'); END IF;
	IF i % 50 = 0 THEN
		PERFORM * FROM pipelines.move_plan('T', ARRAY['1', '2'], 'Two');
		PERFORM * FROM pipelines.totals('T');
		PERFORM count(*) FROM pipelines.as_of(NULL::T, now());
		PERFORM count(*) FROM T_current;
		COMMIT;
	END IF;
END
	)
{
	my ($name, $body) = @$case;
	next if $name !~ /$chosen/;
	for my $t (qw(bare deals parted judged))
	{
		# more of it on the plain table
		next if $t eq 'bare' && $name =~ /refused|come back|by function/;
		my $many = $t eq 'deals' || $t eq 'bare' ? $all / 10 : $all / 20;
		my $title = "$name, $t";
		(my $statements = $body) =~ s/\bT(?=_current\b|\b)/$t/g;
		my $loop = sub { "DO \$\$ BEGIN FOR i IN $_[0] .. $_[1] LOOP\n$statements\nEND LOOP; END \$\$;\n" };
		my $start = $first < $many / 2 ? $first : $many / 2;
		my $script;
		if ($name =~ /^one transaction/)
		{
			# measured inside it
			$script = "BEGIN;\n" . $loop->(1, $start) . $measure . $loop->($start + 1, $many) . $measure . 'COMMIT;';
		}
		else
		{
			$script = $loop->(1, $start) . $measure . $loop->($start + 1, $many) . $measure;
		}
		compare($title, run_session($title, $script));
	}
}

# What makes the caches start anew, again and again: changed definitions,
# changed tables, tables that come and go.
{
	my $round = sub {
		my ($n) = @_;
		return <<"END";
UPDATE pipelines.pipeline_stage SET probability = $n % 90 WHERE stage_id = 1;
UPDATE deals SET stage_id = 1 + $n % 3 WHERE deal_id = 1 + $n % 500;
ALTER TABLE deals SET (fillfactor = @{[ 50 + $n % 40 ]});
UPDATE deals SET stage_id = 1 + ($n + 1) % 3 WHERE deal_id = 1 + $n % 500;
ALTER TABLE deals_history ALTER COLUMN reason SET STATISTICS @{[ 10 + $n % 50 ]};
UPDATE deals SET owner = '$n' WHERE deal_id < 20;
INSERT INTO parted (amount) VALUES ($n);
UPDATE parted SET owner = '$n' WHERE deal_id < 20;
BEGIN; ALTER TABLE parted RENAME COLUMN team TO crew; UPDATE parted SET crew = '$n' WHERE deal_id = 30; ROLLBACK;
END
	};
	my $rounds = $ENV{PIPELINES_TEST_ALL} ? 3000 : 200;
	my $script = join('', map { $round->($_) } 1 .. 100) . $measure . join('', map { $round->($_) } 101 .. $rounds) . $measure;
	compare('caches started anew', run_session('caches started anew', $script));

	# Tables that come and go.  PostgreSQL's own caches keep some of them, so
	# only ours are counted.
	my $ours = q{SELECT 'MEMORY', count(*), coalesce(sum(total_bytes), 0) FROM pg_backend_memory_contexts WHERE name LIKE 'pipelines%';} . "\n";
	my $table = q{BEGIN; SELECT pipelines.create_deals('t'); INSERT INTO t (amount) VALUES (1), (2); UPDATE t SET stage_id = 2; ROLLBACK;} . "\n";
	my $output = run_session('tables that come and go',
		"SET client_min_messages = warning;\n" . $table x 10 . $ours . $table x ($ENV{PIPELINES_TEST_ALL} ? 200 : 20) . $ours);
	my @at = map { [ split /\|/ ] } grep { /^MEMORY/ } split /\n/, $output;
	cmp_ok($at[1][1] - $at[0][1], '<=', 2, "tables that come and go: $at[0][1] memory contexts of ours, and hardly more");
	cmp_ok($at[1][2] - $at[0][2], '<=', 100_000, "tables that come and go: $at[0][2] bytes of ours, and hardly more");
}

# bulk: what a statement needs is given back at its end, and does not grow with
# the number of rows
{
	my $script = "UPDATE deals SET amount = 1;\nINSERT INTO deals (amount) SELECT n FROM generate_series(1, 5) n;\nUPDATE deals SET stage_id = 3 - stage_id % 2;\n"
		. "DELETE FROM deals WHERE deal_id > 1000;\n$measure\n$measure\nINSERT INTO deals (amount) SELECT n FROM generate_series(1, 50000) n;\n"
		. "UPDATE deals SET stage_id = 3 - stage_id % 2;\nDELETE FROM deals WHERE deal_id > 1000;\n$measure";
	compare('bulk', run_session('bulk', $script));
}

is(problems($node, $db), '', 'verify finds nothing');
$node->stop;
done_testing();
