# as_of() while others write: an answer for an instant before settled_at() is
# final, and no transaction is ever torn apart by it.
#
# Writers move amounts between deals in ways that keep the sum of all amounts:
# whatever instant as_of() is asked for, the sum must be the same.  At READ
# COMMITTED a transaction can come upon a deal that another one changed after
# the instant of the first; then the later instant counts for that deal, or its
# versions would be out of order.  So these writers lock their deals before they
# change the first one, or run at REPEATABLE READ, where that can't happen.
#
# The seed is printed; PIPELINES_SEED repeats a run.  PIPELINES_TEST_ALL=1 asks
# for 1,000 instants during a minute.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PipelinesTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $seed = new_seed();
my $wanted = $ENV{PIPELINES_TEST_ALL} ? 1000 : 150;
my $seconds = $ENV{PIPELINES_TEST_ALL} ? 60 : 12;
srand($seed);

my $node = start_node('time', 'max_prepared_transactions = 5');
my $db = 'postgres';
$node->safe_psql($db, 'CREATE EXTENSION pipelines');
run_sql($node, $db, <<'END', 'made');
SELECT pipelines.create_pipeline('P', stages => '["One", "Two", {"name": "Won", "outcome": "won"}]');
SELECT pipelines.create_deals('plain');
SELECT pipelines.create_deals('parted', partition_by => 'HASH (deal_id)');
CREATE TABLE parted_0 PARTITION OF parted FOR VALUES WITH (modulus 2, remainder 0);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES WITH (modulus 2, remainder 1);
SELECT * FROM pipelines.resume();
INSERT INTO plain (name, amount) SELECT 'd' || n, 1000 FROM generate_series(1, 100) n;
INSERT INTO parted (name, amount) SELECT 'd' || n, 1000 FROM generate_series(1, 100) n;

-- two statements in one transaction, with a pause
CREATE FUNCTION transfer(t regclass, a bigint, b bigint, x numeric, pause float8) RETURNS void LANGUAGE plpgsql AS $$
DECLARE n integer;
BEGIN
	EXECUTE format('SELECT count(*) FROM (SELECT FROM %s WHERE deal_id IN ($1, $2) ORDER BY deal_id FOR UPDATE) x', t) INTO n USING a, b;
	IF n <> 2 THEN RETURN; END IF;
	EXECUTE format('UPDATE %s SET amount = amount - $2 WHERE deal_id = $1', t) USING a, x;
	PERFORM pg_sleep(pause);
	EXECUTE format('UPDATE %s SET amount = amount + $2, stage_id = pipelines.stage_id(''P'', CASE WHEN $1 %% 3 = 0 THEN ''Won'' ELSE ''Two'' END) WHERE deal_id = $1', t) USING b, x;
END $$;
CREATE FUNCTION lock_deals(a bigint, b bigint) RETURNS void LANGUAGE sql AS $$
	SELECT FROM plain WHERE deal_id IN (a, b) ORDER BY deal_id FOR UPDATE;
	SELECT FROM parted WHERE deal_id IN (a, b) ORDER BY deal_id FOR UPDATE $$;
-- with errors on the way
CREATE FUNCTION attempt(t regclass, a bigint, b bigint, pause float8) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	BEGIN
		EXECUTE format('UPDATE %s SET amount = amount - 500 WHERE deal_id = $1', t) USING a;
		PERFORM pg_sleep(pause);
		RAISE 'no';
	EXCEPTION WHEN raise_exception THEN NULL;
	END;
	PERFORM transfer(t, a, b, 7, pause);
	BEGIN
		EXECUTE format('DELETE FROM %s WHERE deal_id IN ($1, $2)', t) USING a, b;
		RAISE 'no';
	EXCEPTION WHEN raise_exception THEN NULL;
	END;
END $$;
-- a deal goes, another or the same comes with its amount
CREATE FUNCTION replace_deal(t regclass, a bigint, same boolean) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('WITH gone AS (DELETE FROM %1$s WHERE deal_id = $1 RETURNING deal_id, amount)
		INSERT INTO %1$s (deal_id, amount) SELECT CASE WHEN $2 THEN deal_id ELSE 100 + nextval(''fresh'') END, amount FROM gone', t) USING a, same;
END $$;
CREATE SEQUENCE fresh;
CREATE FUNCTION look(t regclass, at timestamptz) RETURNS text LANGUAGE plpgsql AS $$
DECLARE r text;
BEGIN
	EXECUTE format('SELECT sum(amount) || '' '' || count(*) || '' '' || md5(string_agg(x::text, E''\n'' ORDER BY deal_id)) FROM pipelines.as_of(NULL::%s, $1) x', t)
		INTO r USING at;
	RETURN r;
END $$;
END

my $script = "$PostgreSQL::Test::Utils::tmp_check/writers";
append_to_file("$script.$_->[0]", $_->[1]) for (
	[ 'transfer', "\\set a random(1, 100)\n\\set b 1 + (:a + random(0, 9)) % 100\n\\set x random(1, 50)\n\\set w random(0, 30)\n\\set t random(1, 2)\n"
			. "SELECT transfer((ARRAY['plain', 'parted'])[:t]::regclass, :a, :b, :x, :w / 1000.0);\n" ],
	[ 'client', "\\set a random(1, 100)\n\\set b 1 + (:a + random(0, 9)) % 100\n\\set w random(0, 40)\n"
			. "BEGIN;\nSELECT lock_deals(:a, :b);\nSELECT transfer('plain', :a, :b, 3, 0);\n\\sleep :w ms\nSAVEPOINT s;\nSELECT transfer('parted', :a, :b, 5, 0);\n\\sleep :w ms\nROLLBACK TO s;\n"
			. "SELECT transfer('parted', :a, :b, 11, 0);\nCOMMIT;\n" ],
	[ 'attempt', "\\set a random(1, 100)\n\\set b 1 + (:a + random(0, 9)) % 100\n\\set t random(1, 2)\nSELECT attempt((ARRAY['plain', 'parted'])[:t]::regclass, :a, :b, 0.004);\n" ],
	[ 'replace', "\\set a random(1, 100)\n\\set s random(0, 5)\n\\set t random(1, 2)\nSELECT replace_deal((ARRAY['plain', 'parted'])[:t]::regclass, :a, :s > 0);\n" ],
	[ 'repeatable', "\\set a random(1, 100)\n\\set b 1 + (:a + random(0, 9)) % 100\n\\set w random(0, 20)\nBEGIN ISOLATION LEVEL REPEATABLE READ;\n"
			. "SELECT transfer('plain', :a, :b, 2, 0);\n\\sleep :w ms\nSELECT transfer('parted', :a, :b, 4, 0.003);\nCOMMIT;\n" ],
	[ 'bulk', "BEGIN;\nLOCK TABLE plain IN SHARE ROW EXCLUSIVE MODE;\nUPDATE plain SET amount = amount + CASE deal_id % 2 WHEN 0 THEN 1 ELSE -1 END "
			. "WHERE (SELECT count(*) FILTER (WHERE deal_id % 2 = 0) = count(*) FILTER (WHERE deal_id % 2 = 1) FROM plain);\nCOMMIT;\n" ]);

# pgbench lives on after a serialization failure only since 15, nor after a
# deadlock, as bulk's lock of the table makes with those who lock rows first
my @files = qw(transfer@4 client@3 attempt@2 replace@3);
push @files, qw(repeatable@3 bulk@1) if $node->safe_psql($db, 'SHOW server_version_num') >= 150000;

my $start = $node->safe_psql($db, 'SELECT clock_timestamp()');
my ($out, $err) = ('', '');
my $writers = IPC::Run::start(
	[ program($node, 'pgbench'), '-h', $node->host, '-p', $node->port, '-n', '-c', '4', '-j', '2', '-t', $seconds * 6,
		'-R', '150', '--random-seed', $seed, (map { ('-f', "$script.$_") } @files), $db ],
	'>', \$out, '2>', \$err);

my $reader = $node->background_psql($db, on_error_stop => 0);
my (%seen, @torn, @changed, @instants);
my ($advanced, $last, $looked) = (0, '', 0);
my $end = time + 30 * $seconds;		# for the case that they hang
usleep(300_000);

sub look
{
	my ($t, $at) = @_;
	$looked++;
	return $reader->query_safe("SELECT look('$t', '$at')");
}

while (time < $end)
{
	$writers->pump_nb if $writers->pumpable;
	last unless $writers->pumpable;
	my $settled = $reader->query_safe('SELECT pipelines.settled_at()');
	if ($settled eq '')
	{
		usleep(5_000);
		next;
	}
	$advanced++ if $settled ne $last;
	$last = $settled;

	# near the edge, where a late commit would show, and anywhere
	my $at = $reader->query_safe(rand() < 0.6
		? "SELECT greatest('$start', '$settled'::timestamptz - interval '1 microsecond' * (1 + floor(random() * 20000)))"
		: "SELECT '$start'::timestamptz + ('$settled'::timestamptz - interval '1 microsecond' - '$start'::timestamptz) * random()");
	for my $t ('plain', 'parted')
	{
		my $found = look($t, $at);
		push @torn, "$t at $at: $found" if $found !~ /^100000 100 /;
		$seen{"$t $at"} = $found;
		push @instants, [ $t, $at ];
	}
	# an answer that was given before
	my ($t, $then) = @{ $instants[ rand @instants ] };
	my $again = look($t, $then);
	push @changed, "$t at $then: $seen{\"$t $then\"}, then $again" if $again ne $seen{"$t $then"};
}
$writers->finish;
is($writers->result(0), 0, 'the writers came through') or diag($err);
unlike($err, qr/ERROR|aborted/, 'without an error') or diag($err);
my ($transactions) = $out =~ /number of transactions actually processed: (\d+)/;
cmp_ok($transactions, '>=', 200, "there were $transactions transactions");
cmp_ok($advanced, '>=', 10, 'settled_at() advanced while they wrote');
is(scalar @torn, 0, scalar(@instants) . ' answers: the sum is kept at every instant') or diag(join("\n", @torn[ 0 .. ($#torn > 3 ? 3 : $#torn) ]));
for (@instants)
{
	my ($t, $at) = @$_;
	my $again = look($t, $at);
	push @changed, "$t at $at: $seen{\"$t $at\"}, now $again" if $again ne $seen{"$t $at"};
}
is(scalar @changed, 0, "asked again, each answer is the same ($looked times looked)") or diag(join("\n", @changed[ 0 .. ($#changed > 3 ? 3 : $#changed) ]));

# now that all is quiet, at as many instants as are wanted, also exactly those
# at which something ended
for my $t ('plain', 'parted')
{
	is($node->safe_psql($db, <<"END"), '', "$t: the sum is kept at $wanted random instants and at those of changes");
SELECT x.at, look('$t', x.at), (SELECT string_agg(format('%s/%s %s', h.deal_id, h.version, h.change), ', ') FROM ${t}_history h WHERE x.at IN (h.valid_to, h.valid_from)) FROM (
	SELECT '$start'::timestamptz + (clock_timestamp() - '$start'::timestamptz) * random() AS at FROM generate_series(1, $wanted)
	UNION ALL
	(SELECT valid_to FROM ${t}_history WHERE valid_to > '$start' ORDER BY random() LIMIT $wanted / 3)
) x WHERE look('$t', x.at) !~ '^100000 100 ' LIMIT 5
END
	cmp_ok($node->safe_psql($db, "SELECT count(*) FROM ${t}_history WHERE change = 'delete'"), '>', 5, "$t: some deals were deleted");
	is($node->safe_psql($db, "SELECT string_agg(DISTINCT look, '') FROM look('$t', '$start') EXCEPT SELECT look('$t', '$start')"), '', "$t: the beginning is still there");
}
is(problems($node, $db), '', 'verify finds nothing');
$reader->quit;

#
# settled_at()
#
sub at { return $node->safe_psql($db, "SELECT $_[0]") }
my $writer = $node->background_psql($db, on_error_stop => 0);
$writer->query_safe('INSERT INTO plain (deal_id, amount) SELECT n, 0 FROM generate_series(9100, 9110) n');
is(at("pipelines.settled_at() > now() - interval '1 minute'"), 't', 'without writers it is now');
$writer->query_safe('BEGIN');
$writer->query_safe('SELECT count(*) FROM plain');
my $t0 = at('clock_timestamp()');
is(at("pipelines.settled_at() > '$t0'"), 't', 'a reader does not hold it up');
$writer->query_safe('UPDATE plain SET amount = amount WHERE deal_id = 9101');
$writer->query_safe("UPDATE plain SET owner = 'w' WHERE deal_id = 9101");
my $instant = $writer->query_safe('SELECT changed_at FROM plain WHERE deal_id = 9101');
is(at("pipelines.settled_at() <= '$instant'"), 't', 'a writer holds it up');
usleep(100_000);
is(at("pipelines.settled_at() <= '$instant'"), 't', 'as long as it is at it');
$writer->query_safe('COMMIT');
is(at("pipelines.settled_at() > '$instant'"), 't', 'and no longer');

# A writer whose savepoint was rolled back has no lock any more: the instant
# that it takes then must not lie in what was settled meanwhile.
for my $case (
	[ 'a change that was rolled back', 'SAVEPOINT s', "UPDATE plain SET owner = 'x' WHERE deal_id = 9102", 'ROLLBACK TO s' ],
	[ 'an insertion that was rolled back', 'SAVEPOINT s', 'INSERT INTO plain (amount) VALUES (0)', 'ROLLBACK TO s' ],
	[ 'a nested one', 'SAVEPOINT s', 'SAVEPOINT r', "UPDATE plain SET owner = 'x' WHERE deal_id = 9102", 'RELEASE r', 'ROLLBACK TO s' ],
	[ 'a refused move', 'SAVEPOINT s', 'UPDATE plain SET stage_id = 12345 WHERE deal_id = 9102', 'ROLLBACK TO s' ],
	[ 'a changed definition', "UPDATE pipelines.stage SET description = 'x' || clock_timestamp() WHERE name = 'One'" ],
	[ 'a new definition', q{SELECT pipelines.create_pipeline('P' || clock_timestamp(), stages => '["One"]')} ],
	[ 'a changed definition, rolled back', 'SAVEPOINT s', "UPDATE pipelines.stage SET description = 'y' WHERE name = 'One'", 'ROLLBACK TO s' ],
	[ 'a change of nothing', "UPDATE plain SET name = 'n' WHERE deal_id = 9102", 'SAVEPOINT s', "UPDATE plain SET name = 'm' WHERE deal_id = 9102", 'ROLLBACK TO s' ])
{
	my ($title, @statements) = @$case;
	$writer->query('BEGIN');
	for (@statements) { $writer->query($_) }
	$writer->{stderr} = '';
	usleep(20_000);
	my $settled = at('pipelines.settled_at()');
	my $before = at("look('plain', '$settled'::timestamptz - interval '1 microsecond')");
	usleep(20_000);
	$writer->query_safe('UPDATE plain SET amount = amount + 1 WHERE deal_id = 9103');
	my $changed = $writer->query_safe('SELECT changed_at FROM plain WHERE deal_id = 9103');
	$writer->query_safe('COMMIT');
	is(at("'$changed'::timestamptz >= '$settled'"), 't', "after $title: the next change is not before what was settled")
		or diag("changed at $changed, settled at $settled");
	is(at("look('plain', '$settled'::timestamptz - interval '1 microsecond')"), $before, "after $title: what was settled stays");
}

# prepared transactions
$writer->query_safe("BEGIN; UPDATE plain SET owner = 'p' WHERE deal_id = 9104; PREPARE TRANSACTION 'p'");
is(at('pipelines.settled_at() IS NULL'), 't', 'a prepared writer: nobody knows');
$writer->query_safe("COMMIT PREPARED 'p'");
is(at('pipelines.settled_at() IS NOT NULL'), 't', 'until it is committed');
$writer->query_safe("BEGIN; CREATE TEMPORARY TABLE IF NOT EXISTS x (n integer); COMMIT; BEGIN; SELECT 1; PREPARE TRANSACTION 'q'");
is(at('pipelines.settled_at() IS NOT NULL'), 't', 'one that wrote no deals does not count');
$writer->query_safe("ROLLBACK PREPARED 'q'");

# a writer in another database
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', q{CREATE EXTENSION pipelines; SELECT pipelines.create_pipeline('P', stages => '["One"]'); SELECT pipelines.create_deals('plain')});
my $other = $node->background_psql('other', on_error_stop => 0);
$other->query_safe('BEGIN; INSERT INTO plain (amount) VALUES (1)');
my $now = at('clock_timestamp()');
is(at("pipelines.settled_at() >= '$now'"), 't', 'a writer in another database does not hold it up');
$other->query_safe('ROLLBACK');
$other->quit;

# a role without any right sees it, too
$node->safe_psql($db, 'CREATE ROLE nobody_special LOGIN');
is($node->safe_psql($db, 'SELECT pipelines.settled_at() IS NOT NULL', extra_params => [ '-U', 'nobody_special' ]), 't', 'it needs no right');
$writer->query_safe("BEGIN; UPDATE plain SET owner = 'q' WHERE deal_id = 9105");
my $held = $writer->query_safe('SELECT changed_at FROM plain WHERE deal_id = 9105');
is($node->safe_psql($db, "SELECT pipelines.settled_at() <= '$held'", extra_params => [ '-U', 'nobody_special' ]), 't', 'and is right for it');
$writer->query_safe('COMMIT');

#
# Two transactions that meet: the one with the earlier instant changes a deal
# that the other has changed.
#
my $second_writer = $node->background_psql($db, on_error_stop => 0);
for my $level ('READ COMMITTED', 'REPEATABLE READ')
{
	$writer->query_safe("BEGIN ISOLATION LEVEL $level");
	$writer->query_safe('UPDATE plain SET amount = amount - 1 WHERE deal_id = 9106');
	my $mine = $writer->query_safe('SELECT changed_at FROM plain WHERE deal_id = 9106');
	$second_writer->query_safe('UPDATE plain SET amount = amount + 5 WHERE deal_id = 9107');
	my $theirs = at('(SELECT changed_at FROM plain WHERE deal_id = 9107)');
	$writer->query('UPDATE plain SET amount = amount + 1 WHERE deal_id = 9107');
	if ($level eq 'READ COMMITTED')
	{
		is($writer->query_safe("SELECT changed_at - '$theirs' FROM plain WHERE deal_id = 9107"), '00:00:00.000001', "$level: right after the other's change of it");
		is($writer->query_safe("SELECT changed_at - '$mine' FROM plain WHERE deal_id = 9106"), '00:00:00', "$level: the first change keeps its instant");
	}
	else
	{
		like($writer->{stderr}, qr/could not serialize access/, "$level: refused");
		$writer->{stderr} = '';
	}
	$writer->query('COMMIT');
	$writer->{stderr} = '';
}
$second_writer->quit;
is(problems($node, $db), '', 'verify finds nothing then');

#
# The edges of a version
#
$writer->query_safe("INSERT INTO plain (deal_id, amount) VALUES (9001, 1)");
my $born = at('(SELECT changed_at FROM plain WHERE deal_id = 9001)');
$writer->query_safe('UPDATE plain SET amount = 2 WHERE deal_id = 9001');
my $second = at('(SELECT changed_at FROM plain WHERE deal_id = 9001)');
$writer->query_safe('BEGIN; UPDATE plain SET amount = 3 WHERE deal_id = 9001; UPDATE plain SET amount = 4 WHERE deal_id = 9001; COMMIT');
my $third = at('(SELECT valid_from FROM plain_history WHERE deal_id = 9001 AND amount = 3)');
$writer->query_safe('DELETE FROM plain WHERE deal_id = 9001');
my $died = at("(SELECT valid_to FROM plain_history WHERE deal_id = 9001 AND change = 'delete')");
sub amount { return at("(SELECT coalesce(sum(amount)::text, 'none') FROM pipelines.as_of(NULL::plain, '$_[0]'::timestamptz + interval '$_[1] microseconds') WHERE deal_id = 9001)") }
is(amount($born, -1), 'none', 'before it was made');
is(amount($born, 0), '1', 'when it was made');
is(amount($second, -1), '1', 'just before a change');
is(amount($second, 0), '2', 'at a change: the new version');
is(amount($third, -1), '2', 'before a version of one microsecond');
is(amount($third, 0), '3', 'that version');
is(amount($third, 1), '4', 'after it');
is(amount($died, -1), '4', 'just before the deletion');
is(amount($died, 0), 'none', 'at the deletion');
is(amount($died, 1000), 'none', 'after it');
is(at(q{(SELECT count(*) FROM pipelines.as_of(NULL::plain, '-infinity'))}), '0', 'at the beginning of time');
is(at(q{(SELECT sum(amount) - (SELECT sum(amount) FROM plain) FROM pipelines.as_of(NULL::plain, 'infinity'))}), '0', 'at the end of time');
is(at(q{(SELECT count(*) FROM pipelines.as_of(NULL::plain, NULL))}), '0', 'at no time');
$writer->quit;

$node->stop;
repeat_recorded_seeds();
done_testing();
