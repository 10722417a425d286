# Ten sessions change the same deals at once: moves, bulk moves, deletions and
# returning keys, upserts, savepoints, all isolation levels, beside changes of
# definitions and of the tables.  Four more keep books of what they were told.
# Whatever came of it, verify finds nothing, and without a definer there is no
# deadlock.
#
# Nor does verify have the only word.  After each round all versions are read and
# held against the invariants (Invariants.pm), and against the books:
#
# - the four clients number their transactions, and note what each statement said
#   it left behind, and whether COMMIT was answered with COMMIT; all of that must
#   be in the history, each version once, in the order of their commits, and
#   nothing else of theirs: no refused move, nothing rolled back;
# - the ten note in a table, in the same transaction, what they did: what is there
#   must be in the history, and nothing of theirs that is not there.
#
# Only one thing is repaired before, and only where commit timestamps prove it: a
# key that was inserted again before its deletion was committed (CORE 2).  The
# repair must change nothing else.
#
# The seed decides which statements there are, though not how they meet.
# PIPELINES_TEST_ALL=1: a minute each.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Invariants;
use PipelinesTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = new_seed();
my $seconds = $ENV{PIPELINES_TEST_ALL} ? 60 : 4;
srand($seed);
my $node = start_node('sessions', "log_error_verbosity = verbose", "deadlock_timeout = 200ms", 'track_commit_timestamp = on');
my $db = 'postgres';
$node->safe_psql($db, 'CREATE EXTENSION pipelines');
run_sql($node, $db, <<'END', 'made');
SELECT pipelines.create_pipeline('P', stages => '["One", "Two", "Three", {"name": "Won", "outcome": "won"}, {"name": "Lost", "outcome": "lost"}, {"name": "Guarded", "mandatory": false, "entry_rule": "amount > 1000000000"}]');
SELECT pipelines.create_pipeline('Q', transfer_policy => 'first', stages => '["One", "Four", {"name": "Won", "outcome": "won"}]');
SELECT pipelines.create_deals('plain');
SELECT pipelines.create_deals('parted', partition_by => 'HASH (deal_id)');
CREATE TABLE parted_0 PARTITION OF parted FOR VALUES WITH (modulus 2, remainder 0);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES WITH (modulus 2, remainder 1);
SELECT * FROM pipelines.resume();
INSERT INTO plain (amount) SELECT n FROM generate_series(1, 200) n;
INSERT INTO parted (amount) SELECT n FROM generate_series(1, 200) n;
-- what was done, and by whom: made (a version, by all means), inserted, upserted
-- (one or the other), left (the row as it is then, be it by this statement or
-- before), deleted; and what the statement saw when it began
CREATE TABLE journal (label text, t text, what text, deal_id bigint, version integer, pipeline_id integer, stage_id integer, amount numeric, seen text, at bigint);
-- who changed what a stage means
CREATE TABLE redefinition (txid bigint);
-- one random change, on deals in ascending order, so that sessions can't lock each other
CREATE FUNCTION change(t regclass, a integer, dice integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	noted CONSTANT text := 'WITH c AS (%2$s RETURNING %1$s.*) INSERT INTO journal SELECT current_setting(''pipelines.batch''), %1$L, %3$L, c.deal_id, c.version, c.pipeline_id, c.stage_id, c.amount, pg_current_snapshot()::text, extract(epoch FROM statement_timestamp()) * 1000000 FROM c';
BEGIN
	PERFORM set_config('pipelines.batch', 'p' || txid_current(), true);
	CASE dice % 10
	WHEN 0, 1, 2 THEN
		EXECUTE format(noted, t, format('UPDATE %s SET stage_id = $2, pipeline_id = 1 WHERE deal_id = $1', t), 'left') USING a, 1 + dice % 3;
	WHEN 3 THEN
		EXECUTE format(noted, t, format('UPDATE %s SET pipeline_id = 3 - pipeline_id WHERE deal_id = $1 AND pipeline_id = 1 AND stage_id IN (1, 4)', t), 'made') USING a;
	WHEN 4 THEN
		EXECUTE format(noted, t, format('UPDATE %s SET amount = coalesce(amount, 0) + 1, owner = $2 WHERE deal_id = $1', t), 'made') USING a, dice::text;
	WHEN 5 THEN
		EXECUTE format(noted, t, format('DELETE FROM %s WHERE deal_id = $1', t), 'deleted') USING a;
	WHEN 6 THEN
		EXECUTE format(noted, t, format('INSERT INTO %s (deal_id, amount) VALUES ($1, 1) ON CONFLICT (deal_id) DO UPDATE SET amount = EXCLUDED.amount + 1', t), 'upserted') USING a;
	WHEN 7 THEN
		EXECUTE format('WITH l AS (SELECT deal_id FROM %1$s WHERE deal_id BETWEEN $1 AND $1 + 15 ORDER BY deal_id FOR UPDATE), c AS (
			UPDATE %1$s d SET stage_id = $2, pipeline_id = 1 FROM l WHERE d.deal_id = l.deal_id RETURNING d.*)
			INSERT INTO journal SELECT current_setting(''pipelines.batch''), %1$L, ''left'', c.deal_id, c.version, c.pipeline_id, c.stage_id, c.amount, pg_current_snapshot()::text, extract(epoch FROM statement_timestamp()) * 1000000 FROM c', t) USING a, 1 + dice % 5;
	WHEN 8 THEN
		BEGIN
			PERFORM set_config('pipelines.batch', 'undone', true);
			EXECUTE format(noted, t, format('UPDATE %s SET stage_id = $2, pipeline_id = 1 WHERE deal_id = $1', t), 'left') USING a, 1 + dice % 4;
			RAISE 'no';
		EXCEPTION WHEN raise_exception THEN NULL;
		END;
	ELSE
		EXECUTE format(noted, t, format('INSERT INTO %s (deal_id, amount) VALUES ($1, 2) ON CONFLICT (deal_id) DO NOTHING', t), 'inserted') USING a;
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
	[ 'outcome', "SET pipelines.definition_wait = 1000;\nINSERT INTO redefinition SELECT txid_current() FROM pipelines.change_outcome('P', 'Three', CASE (SELECT outcome FROM pipelines.pipeline_stage WHERE pipeline_id = 1 AND stage_id = 3)\n"
			. "WHEN 'open' THEN 'won' WHEN 'won' THEN 'lost' ELSE 'open' END, apply_to => 'all', probability => CASE (SELECT outcome FROM pipelines.pipeline_stage WHERE pipeline_id = 1 AND stage_id = 3) WHEN 'lost' THEN 40 END);\n" ],
	[ 'altering', "${variables}SET lock_timeout = '200ms';\nALTER TABLE plain SET (fillfactor = 90);\nALTER TABLE parted_history ALTER COLUMN reason SET STATISTICS 50;\n\\sleep 50 ms\n" ]);

# what may happen to a transaction: lost races at the higher levels, a key that
# two sessions insert at once, a definer that gave up, an altering lock
# (and what the clients try in vain, and go on with regardless)
my %may = map { $_ => 1 } qw(40001 23505 23S09 23S14 25P02 3B001);

sub pick { return $_[ rand @_ ] }

#
# The clients that keep books.  Each has a list of transactions that psql plays;
# what they say and how they end is read from its output.
#
my $clients = 4;
my $client_transactions = $ENV{PIPELINES_TEST_ALL} ? 1500 : 120;
my $number = 0;
# whose versions were judged in an earlier round
my %known;

# each of them changes something, if there is something
sub client_statement
{
	my ($t, $a) = @_;
	my $returning = sub { return "RETURNING '$t', '$_[0]', $t.deal_id, $t.version, $t.pipeline_id, $t.stage_id, $t.amount, pg_current_snapshot(), (extract(epoch FROM statement_timestamp()) * 1000000)::bigint" };
	my $stage = pick(1 .. 5);
	return pick(
		"UPDATE $t SET stage_id = $stage, pipeline_id = 1, amount = coalesce(amount, 0) + 1 WHERE deal_id = $a " . $returning->('made'),
		"UPDATE $t SET stage_id = $stage, pipeline_id = 1, amount = coalesce(amount, 0) + 1 WHERE deal_id = $a " . $returning->('made'),
		"UPDATE $t SET pipeline_id = 2, stage_id = 1, amount = coalesce(amount, 0) + 1 WHERE deal_id = $a " . $returning->('made'),
		"UPDATE $t SET amount = coalesce(amount, 0) + 1 WHERE deal_id = $a " . $returning->('made'),
		"DELETE FROM $t WHERE deal_id = $a " . $returning->('deleted'),
		"INSERT INTO $t (deal_id, amount) VALUES ($a, 0.5) ON CONFLICT (deal_id) DO UPDATE SET amount = coalesce($t.amount, 0) + 1 " . $returning->('upserted'),
		"INSERT INTO $t (deal_id, amount, stage_id) VALUES ($a, 4, $stage) ON CONFLICT (deal_id) DO NOTHING " . $returning->('inserted'),
		"MOVE IN $t");
}

sub client_script
{
	my ($client) = @_;
	my $sql = "\\pset format unaligned\n\\pset tuples_only on\n";
	for (1 .. $client_transactions)
	{
		my $label = "c$client-" . ++$number;
		my $a = 1 + int rand 180;
		my $t = pick(qw(plain plain parted));
		my $end = rand() < 0.15 ? 'ROLLBACK' : 'COMMIT';
		$sql .= "\\echo begins $label\nBEGIN ISOLATION LEVEL " . pick('READ COMMITTED', 'READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE')
			. ";\nSET LOCAL pipelines.batch = '$label';\n";
		for (1 .. 1 + int rand 3)
		{
			my $statement = client_statement($t, $a);
			my $dice = rand;
			# of names of their own: in a transaction that is aborted there is no going back to an earlier one
			my $savepoint = 's' . ++$number;
			if ($statement =~ /^MOVE/ || $dice < 0.15)
			{
				# refused: all of the transaction, or up to a savepoint
				my $refused = "SET LOCAL pipelines.batch = 'undone';\nUPDATE $t SET stage_id = 6, pipeline_id = 1 WHERE deal_id = $a;\n";
				$sql .= $dice < 0.03 ? "${refused}SET LOCAL pipelines.batch = '$label';\n" : "SAVEPOINT $savepoint;\n${refused}ROLLBACK TO $savepoint;\n";
			}
			elsif ($dice < 0.3)
			{
				$sql .= "SAVEPOINT $savepoint;\nSET LOCAL pipelines.batch = 'undone';\n\\echo undone\n$statement;\nROLLBACK TO $savepoint;\n\\echo done\n";
			}
			else { $sql .= "$statement;\n" }
			# in ascending order, too
			$a += int rand 3;
		}
		$sql .= "\\echo ends\n$end;\n";
	}
	return $sql;
}

# What a client was told: entries as in the journal, of transactions of which it
# was told that they were committed.
sub client_journal
{
	my ($out) = @_;
	my (@entries, @open, $label, $undone, $ends);
	my $committed = 0;
	for (split /\n/, $out)
	{
		if (/^begins (.*)/) { ($label, $undone, $ends, @open) = ($1, 0, 0) }
		elsif (/^(undone|done)$/) { $undone = $1 eq 'undone' }
		elsif (/^ends$/) { $ends = 1 }
		elsif ($ends && /^COMMIT$/) { push @entries, @open; $committed++; @open = () }
		elsif (/\|/ && !$undone) { push @open, [ $label, split /\|/ ] }
	}
	return ($committed, @entries);
}

# Did it insert?  Whoever is an upsert tells by the amount, which is none that an
# update leaves.
sub inserts
{
	my ($what, $amount, $label) = @_;
	return $what eq 'inserted' || ($what eq 'upserted' && $amount eq ($label =~ /^c/ ? '0.5' : '1'));
}

# The books against the history: what is written there is there, once, and
# nothing else bears the name of who wrote them.
sub unlike_the_books
{
	my ($state, $entries, $stale) = @_;
	my $t = $state->{name};
	my (@wrong, %made, %seen, %at);
	for my $id (keys %{ $state->{past} })
	{
		$at{$id}{ $_->{version} } = $_ for @{ $state->{past}{$id} };
	}
	for my $entry (@$entries)
	{
		my ($label, undef, $what, $id, $version, $p, $s, $amount) = @$entry;
		my $name = "$label: $t $id, version $version $what";
		my @candidates = grep { $_ && $_->{version} == $version } $at{$id}{$version}, $state->{present}{$id} // ();
		my @such = grep { "$_->{pipeline_id}/$_->{stage_id}" eq "$p/$s" && $_->{amount} eq $amount } @candidates;
		push @wrong, "$name, which is not there" if !@such;
		push @wrong, "$name, which is there twice" if @candidates > 1 && !$stale->{$id};
		my $ended = $what eq 'deleted' ? $version : $version - 1;
		my $row = $at{$id}{$ended};
		if (inserts($what, $amount, $label))
		{
			push @wrong, "$name, and the history says $row->{change}" if $row && $row->{change} ne 'delete' && !$stale->{$id};
			push @wrong, "$name, twice" if $seen{"$id $version inserted"}++ && !$stale->{$id};
			next;
		}
		$made{"$id $ended $label"} = 1;
		next if $what eq 'left' || ($what eq 'upserted' && $label =~ /^p/);
		push @wrong, "$name, and the history says that " . ($row ? "$row->{batch} did" : 'nobody did') if !$row || $row->{batch} ne $label;
		push @wrong, "$name, twice" if $seen{"$id $ended"}++;
		push @wrong, "$name, and the history says $row->{change}" if $row && ($what eq 'deleted') != ($row->{change} eq 'delete');
	}
	my %last;
	for my $id (sort { $a <=> $b } keys %{ $state->{past} })
	{
		for my $row (@{ $state->{past}{$id} })
		{
			next if $row->{batch} eq '';
			push @wrong, "$t $id, version $row->{version}: ended by $row->{batch}, of which nobody was told"
				if $row->{batch} eq 'undone' || ($state->{books}{ $row->{batch} } && !$made{"$id $row->{version} $row->{batch}"});
			# what one client did one after the other is in that order for each deal
			next if $row->{batch} !~ /^(c\d+)-(\d+)$/;
			push @wrong, "$t $id, version $row->{version}: $row->{batch} after $1-$last{$id}{$1}" if ($last{$id}{$1} // 0) > $2;
			$last{$id}{$1} = $2;
		}
	}
	return @wrong;
}

# all of a table as text, one line for each row
sub lines
{
	my ($t, $key) = @_;
	return { map { /^(.*?)\t(.*)/ ? ($1 => $2) : () } split /\n/, $node->safe_psql($db, "SELECT $key || E'\\t' || x::text FROM $t x") };
}

sub first_few
{
	my (@of) = @_;
	return join("\n", @of > 10 ? (@of[ 0 .. 9 ], '... ' . @of . ' in all') : @of);
}

# Everything about one table after a round.
sub judge
{
	my ($title, $t, $entries) = @_;
	my $state = read_deals($node, $db, $t);
	my %insertions;
	for my $entry (grep { $_->[1] eq $t && inserts(@$_[ 2, 7, 0 ]) } @$entries)
	{
		$insertions{ $entry->[3] }{ $entry->[4] } = [ @$entry[ 8, 9 ] ];
	}
	my @stale = stale_keys($state, \%insertions);
	my %stale = map { $_ => 1 } @stale;
	my %redefined = map { $_ => 1 } split /\n/, $node->safe_psql($db, 'SELECT txid FROM redefinition');
	$state->{books}{ $_->[0] } = 1 for @$entries;
	# those who wrote nothing down that was committed are strangers here, but their names are ours
	$state->{books}{ $_->{batch} } = 1 for grep { $_->{batch} =~ /^[cp]\d/ && !$known{ $_->{batch} } } map { @$_ } values %{ $state->{past} };
	my $versions = 0;
	$versions += @$_ for values %{ $state->{past} };
	note "$title: $t has $versions ended versions, " . scalar(grep { $_->[1] eq $t } @$entries) . ' in the books, ' . @stale . ' keys inserted beside their deletion';
	is(first_few(broken_invariants($state, except => \%stale, redefined => \%redefined)), '', "$title: the invariants hold in $t");
	is(first_few(unlike_the_books($state, [ grep { $_->[1] eq $t } @$entries ], \%stale)), '', "$title: $t is as in the books");
	$known{ $_->{batch} } = 1 for map { @$_ } values %{ $state->{past} };
	if (@stale)
	{
		my @before = (lines($t, 'deal_id'), lines("${t}_history", q{deal_id || ' ' || version}));
		is(join(',', sort { $a <=> $b } split /\n/, $node->safe_psql($db, "SELECT deal FROM pipelines.repair('$t')")), join(',', @stale),
			"$title: repair() mends in $t what was inserted beside its deletion, and nothing else");
		my @after = (lines($t, 'deal_id'), lines("${t}_history", q{deal_id || ' ' || version}));
		is_deeply($after[1], $before[1], "$title: it leaves the history of $t alone");
		delete @{$_}{@stale} for $before[0], $after[0];
		is_deeply($after[0], $before[0], "$title: and all other deals");
		my $mended = read_deals($node, $db, $t);
		is(first_few(broken_invariants($mended, redefined => \%redefined)), '', "$title: the invariants hold in $t then");
		for my $id (@stale)
		{
			my ($was, $is) = ($state->{present}{$id}, $mended->{present}{$id});
			is(join(' ', @$is{qw(pipeline_id stage_id amount owner version)}), join(' ', @$was{qw(pipeline_id stage_id amount owner)}, $state->{past}{$id}[-1]{version} + 1),
				"$title: $t $id is what it was, but for its version");
		}
		$state = $mended;
	}
	# I8, I9: the board's figures are those of the deals
	my %board;
	for my $row (values %{ $state->{present} })
	{
		my $line = $board{"$row->{pipeline_id}/$row->{stage_id}"} ||= [ 0, 0 ];
		$line->[0]++;
		$line->[1] += $row->{amount} || 0;
	}
	my @board = split /\n/, $node->safe_psql($db, "SELECT pipeline_id || '/' || stage_id, sum(deals), sum(amount)::double precision FROM ${t}_board WHERE deals > 0 GROUP BY 1");
	is(join("\n", sort { $a cmp $b } @board), join("\n", map { join('|', $_, @{ $board{$_} }) } sort { "$a|" cmp "$b|" } keys %board), "$title: the board of $t adds up");
	is($node->safe_psql($db, "SELECT * FROM pipelines.verify('$t')"), '', "$title: verify finds nothing in $t");
	return;
}

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
	$node->safe_psql($db, 'TRUNCATE journal');
	# to files: nobody reads a pipe meanwhile, and who waits for that keeps locks
	my @said = map { "$script.client$_." . ++$number } 1 .. $clients;
	my @psql = map {
		my $file = $said[ $_ - 1 ];
		append_to_file($file, client_script($_));
		IPC::Run::start([ program($node, 'psql'), '-X', '-h', $node->host, '-p', $node->port, '-f', $file, $db ], '>', "$file.out", '2>', "$file.err");
	} 1 .. $clients;
	while (time < $end)
	{
		my $left = $end - time;
		IPC::Run::run([ @command[ 0 .. $#command - 1 ], '-T', $left < 1 ? 1 : $left, $db ], '>', \$out, '2>', \$err);
		$transactions += $1 if $out =~ /number of transactions actually processed: (\d+)/;
	}
	IPC::Run::finish($_) for @psql;
	my $said = substr(slurp_file($node->logfile), $log);
	my %errors;
	$errors{$1}++ while $said =~ /ERROR:  (\w{5}):/g;
	cmp_ok($transactions, '>', 100, "$title: $transactions transactions, errors: " . (join(', ', map { "$_ ($errors{$_})" } sort keys %errors) || 'none'));
	is(join(', ', grep { !$may->{$_} } sort keys %errors), '', "$title: no other error than expected");
	unlike($said, qr/terminated by signal|PANIC|TRAP/, "$title: nothing crashed");
	my @entries = map { [ split /\|/, $_, -1 ] } split /\n/, $node->safe_psql($db, 'SELECT * FROM journal');
	my $acknowledged = 0;
	for (@said)
	{
		my ($committed, @told) = client_journal(slurp_file("$_.out"));
		$acknowledged += $committed;
		push @entries, @told;
	}
	cmp_ok($acknowledged, '>', 50, "$title: $acknowledged transactions of those who keep books");
	judge($title, $_, \@entries) for qw(plain parted);
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
$node->safe_psql($db, q{INSERT INTO redefinition SELECT txid_current() FROM pipelines.change_outcome('P', 'Three', 'open', apply_to => 'all', probability => 40)}) if $node->safe_psql($db, 'SELECT outcome FROM pipelines.pipeline_stage WHERE (pipeline_id, stage_id) = (1, 3)') ne 'open';
round('beside ALTER TABLE', { %may, map { $_ => 1 } qw(40P01 55P03) }, qw(single@6 single_parted@6 two@4 altering@1));
cmp_ok($node->safe_psql($db, "SELECT count(*) FROM plain_history WHERE change = 'delete'"), '>', 10, 'deals were deleted');
cmp_ok($node->safe_psql($db, 'SELECT count(*) FROM plain WHERE version > 5'), '>', 10, 'and moved often');

$node->stop;
done_testing();
