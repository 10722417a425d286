# One row at a time and in bulk give the same history, row for row.
#
# Random programs of statements run on several tables: in bulk, one row at a
# time, on partitions, with partitioned histories, beside other triggers.  What
# each table and its history must contain is predicted by a model of the rules
# below, which shares nothing with the extension.
#
# The seed is printed; PIPELINES_SEED repeats a run.  PIPELINES_TEST_ALL=1 runs
# longer programs.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{PIPELINES_SEED} || (time() ^ ($$ << 8)) & 0x7fffffff;
my $programs = $ENV{PIPELINES_TEST_ALL} ? 24 : 3;
my $transactions = $ENV{PIPELINES_TEST_ALL} ? 60 : 25;
note "PIPELINES_SEED=$seed";
srand($seed);

my $node = PostgreSQL::Test::Cluster->new('equivalence');
$node->init;
$node->append_conf('postgresql.conf', "timezone = 'UTC'\n");
$node->start;
my $merge = $node->safe_psql('postgres', 'SHOW server_version_num') >= 150000;

#
# Definitions.  The model has its own copy of them.
#
$node->safe_psql('postgres', <<'END');
CREATE EXTENSION pipelines;
SELECT pipelines.create_pipeline('Alpha', transfer_policy => 'first', time_zone => 'UTC', stages => '[
	{"name": "Lead", "probability": 10},
	{"name": "Qualify", "probability": 20},
	{"name": "Demo", "probability": 40, "mandatory": false},
	{"name": "Quote", "probability": 60, "may_start": false},
	{"name": "Talks", "probability": 80},
	{"name": "Paused", "outcome": "on_hold", "probability": 5},
	{"name": "Won", "outcome": "won"},
	{"name": "Lost", "outcome": "lost"},
	{"name": "Junk", "outcome": "disqualified"},
	{"name": "Old", "probability": 30}]');
SELECT pipelines.create_pipeline('Beta', override_policy => 'clear_on_move', time_zone => 'Asia/Tokyo', stages => '[
	{"name": "Lead", "probability": 15},
	{"name": "Contract", "probability": 50},
	{"name": "Sign", "probability": 90},
	{"name": "Won", "outcome": "won"},
	{"name": "Lost", "outcome": "lost"},
	{"name": "Finished", "outcome": "done"}]');
INSERT INTO pipelines.stage_map
SELECT a.pipeline_id, pipelines.stage_id('Alpha', 'Quote'), b.pipeline_id, pipelines.stage_id('Beta', 'Sign')
FROM pipelines.pipeline a, pipelines.pipeline b WHERE a.name = 'Alpha' AND b.name = 'Beta';
UPDATE pipelines.pipeline_stage SET archived_at = '2026-01-01'
WHERE stage_id = pipelines.stage_id('Alpha', 'Old');
CREATE TABLE refused (step integer PRIMARY KEY, sqlstate text NOT NULL);
GRANT INSERT ON refused TO PUBLIC;
CREATE ROLE clerk;
END

my (%stage, %pipeline, %name, %spec);
for my $row (split /\n/, $node->safe_psql('postgres',
		'SELECT p.pipeline_id, p.name, s.stage_id, s.name FROM pipelines.pipeline_stage
			JOIN pipelines.pipeline p USING (pipeline_id) JOIN pipelines.stage s USING (stage_id)'))
{
	my ($p, $pname, $s, $sname) = split /\|/, $row;
	$pipeline{$pname} = $p;
	$name{$p} = $pname;
	$stage{$sname} = $s;
	$name{"s$s"} = $sname;
}
my @alpha = qw(Lead Qualify Demo Quote Talks Paused Won Lost Junk Old);
my @beta = qw(Lead Contract Sign Won Lost Finished);
my %outcome = (Won => 'won', Lost => 'lost', Junk => 'disqualified', Finished => 'done', Paused => 'on_hold');
for ([ Alpha => \@alpha ], [ Beta => \@beta ])
{
	my ($p, $stages) = @$_;
	my $n = 0;
	for my $s (@$stages)
	{
		$spec{ $pipeline{$p} }{ $stage{$s} } = {
			position => ++$n,
			outcome => $outcome{$s} || 'open',
			mandatory => $s ne 'Demo',
			may_start => $s ne 'Quote',
			archived => $s eq 'Old'
		};
	}
}
my ($alpha, $beta) = @pipeline{qw(Alpha Beta)};
my %graph = map { $_ => 1 } qw(Lead-Contract Contract-Sign Sign-Won Lead-Lost Contract-Lost Won-Lead Lost-Contract);
$node->safe_psql('postgres', 'INSERT INTO pipelines.stage_transition VALUES ' . join(', ', map {
			my ($from, $to) = split /-/;
			"($beta, $stage{$from}, $stage{$to})"
		} sort keys %graph));

# what each program finds: mode and override_policy
my @rules = (
	{ $alpha => [qw(free keep)], $beta => [qw(free clear_on_move)] },
	{ $alpha => [qw(strict keep)], $beta => [qw(free clear_on_move)] },
	{ $alpha => [qw(warn clear_on_forward)], $beta => [qw(strict keep)] },
	{ $alpha => [qw(free clear_on_move)], $beta => [qw(graph clear_on_forward)] });
my $rules;

#
# The model.  A deal is a hash of its columns; times are either given ones or
# the number of the version that began then.
#
my @texts = qw(owner source currency forecast_category close_reason competitor);
my @numbers = qw(amount quantity cost probability);
my @tracked = (@texts, @numbers, 'expected_close_on');
my %deals;      # present rows
my %past;       # [ended versions] of each key
my %context;    # settings

# neither a row nor an ended version ever changes: a new one takes its place
sub snapshot { return ({%deals}, { map { $_ => [ @{ $past{$_} } ] } keys %past }) }
sub refuse { die { sqlstate => shift } }
sub closed { $_[0]{outcome} =~ /^(?:won|lost|disqualified|done)$/ }
sub progress { $_[0]{outcome} =~ /^(?:open|won|done)$/ }

sub find_stage
{
	my ($p, $s) = @_;
	refuse('23S01') unless $spec{$p} && $spec{$p}{$s};
	return $spec{$p}{$s};
}

# The same stage there, or what the map says.
sub same_there
{
	my ($p, $s) = @_;
	return $s if $spec{$p}{$s} && !$spec{$p}{$s}{archived};
	return $stage{Sign} if $p == $beta && $s == $stage{Quote};
	return;
}

# R-2.14: where a deal in $s goes if only its pipeline is given.  Alpha's policy is 'first'.
sub answer
{
	my ($p, $s) = @_;
	return same_there($p, $s) // ($p == $alpha ? $stage{Lead} : undef);
}

# R-2.16: the furthest of the stages of $p that answer to those up to the deal's
# furthest one in its pipeline, or to the one that it is in if that is entered
sub reached_there
{
	my ($old, $p, $entered) = @_;
	my $from = $spec{ $old->{pipeline_id} };
	my $furthest = $from->{ $old->{furthest} };
	my @been = grep { progress($furthest) && progress($from->{$_}) && $from->{$_}{position} <= $furthest->{position} } keys %$from;
	my @there = grep { defined } map { same_there($p, $_) } @been;
	push @there, $entered if (answer($p, $old->{stage_id}) // 0) == $entered;
	@there = sort { $spec{$p}{$a}{position} <=> $spec{$p}{$b}{position} } grep { progress($spec{$p}{$_}) } @there;
	return $there[-1];
}

sub set_closing
{
	my ($deal, $given) = @_;
	$deal->{closed_at} = $given->{closed_at} // "v$deal->{version}";
	$deal->{closed_on} = $given->{closed_on} // "auto" . $deal->{pipeline_id};
	return;
}

# a row as BEFORE INSERT completes it; also what EXCLUDED is in an upsert
sub complete
{
	my ($id, $cols) = @_;
	my %deal = map { $_ => undef } @tracked, qw(closed_at closed_on gate name);
	@deal{ keys %$cols } = values %$cols;
	my $kept = delete $deal{kept};
	$deal{pipeline_id} //= $alpha;
	$deal{stage_id} //= $stage{Lead};
	my $stage = find_stage($deal{pipeline_id}, $deal{stage_id});
	my @past = @{ $past{$id} || [] };
	$deal{version} = @past ? $past[-1]{version} + 1 : 1;
	$deal{episode} = @past ? $past[-1]{episode} + 1 : 1;
	$deal{furthest} = $deal{stage_id};
	$deal{entered} = "v$deal{version}";
	my $given = { closed_at => $deal{closed_at}, closed_on => $deal{closed_on} };
	@deal{qw(closed_at closed_on)} = (undef, undef);
	set_closing(\%deal, $given) if closed($stage);
	$deal{entered} = $kept if $kept;
	return \%deal;
}

sub insert
{
	my ($id, $cols) = @_;
	my $deal = complete($id, $cols);
	refuse('23514') if defined $deal->{probability} && $deal->{probability} > 100;
	refuse('23505') if $deals{$id};
	my $stage = $spec{ $deal->{pipeline_id} }{ $deal->{stage_id} };
	if (!$cols->{kept})
	{
		refuse('23S02') if $stage->{archived};
		refuse('23S03') if !$stage->{may_start};
	}
	$deals{$id} = $deal;
	return;
}

sub ended
{
	my ($id, $old, $kind, $new, $skipped) = @_;
	push @{ $past{$id} }, {
		%$old, %context,
		change => $kind,
		to => $new ? "$new->{pipeline_id}/$new->{stage_id}" : '/',
		skipped => $skipped && @$skipped ? '{' . join(',', @$skipped) . '}' : ''
	};
	return;
}

sub differ
{
	my ($column, $a, $b) = @_;
	return defined $a != defined $b if !defined $a || !defined $b;
	return $a != $b if grep { $_ eq $column } @numbers;
	return $a ne $b;
}

sub update
{
	my ($id, $set) = @_;
	my $old = $deals{$id};
	return if !$old;
	my $new = {%$old};
	my %given;

	refuse('23S05') if exists $set->{deal_id};
	for my $column (keys %$set)
	{
		next if $column eq 'stale';
		if ($column eq 'closed_at' || $column eq 'closed_on')
		{
			$given{$column} = $set->{$column};
			next;
		}
		$new->{$column} = $set->{$column};
	}
	my $moves = ($new->{pipeline_id} // 0) != $old->{pipeline_id}
		|| ($new->{stage_id} // 0) != $old->{stage_id};
	my ($kind, @skipped, @clear);

	if ($moves)
	{
		my ($from_p, $from_s) = @$old{qw(pipeline_id stage_id)};
		my $p = $new->{pipeline_id} // refuse('23502');
		my $transfer = $p != $from_p;
		refuse('23502') if !$transfer && !defined $new->{stage_id};
		refuse('23S01') if !$spec{$p};

		# only the pipeline is given: same stage, map, policy
		if ($transfer && (!defined $new->{stage_id} || $new->{stage_id} == $from_s))
		{
			$new->{stage_id} = answer($p, $from_s) // refuse('23S04');
		}
		my $to = find_stage($p, $new->{stage_id});
		my $from = $spec{$from_p}{$from_s};
		refuse('23S02') if $to->{archived};

		$new->{version} = $old->{version} + 1;
		$new->{entered} = "v$new->{version}";
		my $reached = $transfer ? reached_there($old, $p, $new->{stage_id}) : $old->{furthest};
		if (closed($from) && !closed($to))
		{
			$kind = 'reopen';
			$new->{episode}++;
			$new->{furthest} = $new->{stage_id};
			@$new{qw(closed_at closed_on)} = (undef, undef);
			@clear = qw(probability forecast_category close_reason competitor);
		}
		else
		{
			# R-2.7, R-2.32: neither a pause nor a loss is progress
			my $position = defined $reached && progress($spec{$p}{$reached}) ? $spec{$p}{$reached}{position} : 0;
			@skipped = grep {
				my $s = $spec{$p}{$_};
				$s->{mandatory} && !$s->{archived} && $s->{outcome} eq 'open'
					&& $s->{position} > $position && $s->{position} < $to->{position}
			} sort { $spec{$p}{$a}{position} <=> $spec{$p}{$b}{position} } keys %{ $spec{$p} }
				if progress($to);
			$new->{furthest} = $reached // $new->{stage_id};
			$new->{furthest} = $new->{stage_id} if progress($to) && $to->{position} > $position;
		}
		if (closed($to) && (!closed($from) || $from->{outcome} ne $to->{outcome}))
		{
			$kind = 'close';
			set_closing($new, \%given);
		}
		$kind ||= $transfer ? 'transfer' : 'move';

		my ($mode, $policy) = @{ $rules->{$p} };
		refuse('23S03') if $mode eq 'strict' && @skipped;
		refuse('23S03') if $transfer && !$to->{may_start};
		refuse('23S03') if $mode eq 'graph' && !$transfer && !$graph{ $name{"s$from_s"} . '-' . $name{"s$new->{stage_id}"} };
		push @clear, qw(probability forecast_category)
			if $policy eq 'clear_on_move' || ($policy eq 'clear_on_forward' && $to->{position} > $from->{position});
		for my $column (@clear)
		{
			$new->{$column} = undef if !differ($column, $old->{$column}, $new->{$column});
		}
	}
	# of a closing that was there before, the day may be put right, not the instant
	$new->{closed_on} = $given{closed_on}
		if defined $given{closed_on} && defined $new->{closed_at} && ($kind || '') ne 'close';
	refuse('23514') if defined $new->{probability} && $new->{probability} > 100;
	if (!$moves)
	{
		$kind = 'change' if grep { differ($_, $old->{$_}, $new->{$_}) } @tracked, 'closed_on';
		$new->{version}++ if $kind;
	}
	ended($id, $old, $kind, $new, \@skipped) if $kind;
	$deals{$id} = $new;
	return;
}

sub remove
{
	my ($id) = @_;
	return if !$deals{$id};
	ended($id, $deals{$id}, 'delete', undef);
	delete $deals{$id};
	return;
}

# INSERT ... ON CONFLICT (deal_id) DO UPDATE SET those columns = EXCLUDED's
sub upsert
{
	my ($id, $cols, $update) = @_;
	return insert($id, $cols) if !$deals{$id};
	my $excluded = complete($id, $cols);
	refuse('23514') if defined $excluded->{probability} && $excluded->{probability} > 100;
	update($id, { map { $_ => $excluded->{$_} } @$update }) if @$update;
	return;
}

#
# Statements.  A step is a list of changes of different deals and can be
# written in bulk or row by row.
#
my %type = (
	(map { $_ => 'text' } @texts, 'name'), (map { $_ => 'numeric' } @numbers),
	pipeline_id => 'integer', stage_id => 'integer', deal_id => 'bigint',
	expected_close_on => 'date', closed_at => 'timestamptz', closed_on => 'date');

# How the model's times are written in statements.  When a copied version began
# is a time that nothing else is ever given: content() names an instant after the
# version that began then, and must not take a given one for that.
my %instants = (
	E1 => '2024-03-01 20:00:00+00',
	E2 => '2024-05-05 01:00:00+00',
	E3 => '2023-12-31 23:59:59.5+00',
	copied => '2024-06-06 02:00:00+00');

sub literal
{
	my ($column, $value) = @_;
	$value = $instants{$value} if defined $value && exists $instants{$value};
	return (defined $value ? "'$value'" : 'NULL') . "::$type{$column}";
}

sub pick { $_[ rand @_ ] }
sub chance { rand() < $_[0] }

sub sample
{
	my ($n, @from) = @_;
	my @chosen;
	push @chosen, splice @from, int(rand @from), 1 while $n-- > 0 && @from;
	return @chosen;
}

my %values = (
	owner => [ 'ann', 'bob', undef ], source => [ 'web', 'fair', undef ],
	currency => [ 'EUR', 'USD', undef ], forecast_category => [ 'commit', 'best_case', undef, undef ],
	close_reason => [ 'price', 'no budget', undef ], competitor => [ 'ACME', undef ],
	amount => [ '100', '100.00', '250.5', '250.50', '0', '-7', '123456789012345678901234567890.12', undef ],
	quantity => [ '1', '2', undef ], cost => [ '10', '10.0', undef ],
	probability => [ '33', '66.6', '0', '100', undef, undef ],
	expected_close_on => [ '2026-12-31', '2027-01-31', undef ],
	name => [ 'x', 'y', undef ]);

my @keys = (1 .. 40);
my @open_a = @stage{qw(Lead Qualify Demo Quote Talks)};

sub random_columns
{
	my ($n, @from) = @_;
	return sample($n, @from ? @from : (@tracked, 'name'));
}

# where to: mostly a legal place for a deal that is in $p
sub random_target
{
	my ($p) = @_;
	my $s = $p == $beta ? pick(@stage{@beta}) : pick(@stage{ grep { $_ ne 'Old' } @alpha });
	return $s;
}

sub random_new
{
	my %cols;
	if (chance(0.6))
	{
		my $p = pick($alpha, $alpha, $beta);
		$cols{pipeline_id} = $p if chance(0.8) || $p == $beta;
		$cols{stage_id} = random_target($p) if chance(0.7);
		$cols{stage_id} = $stage{Lead} if ($cols{stage_id} || 0) == $stage{Quote};
	}
	$cols{$_} = pick(@{ $values{$_} }) for random_columns(int(rand 5));
	if (chance(0.15))
	{
		$cols{closed_at} = pick('E1', 'E2', 'E3');
		$cols{closed_on} = '2024-02-29' if chance(0.3);
	}
	return \%cols;
}

sub random_change
{
	my ($id) = @_;
	my $deal = $deals{$id};
	my %set;
	my $p = $deal ? $deal->{pipeline_id} : $alpha;
	my $dice = rand;

	if ($dice < 0.45) { $set{stage_id} = random_target($p) }
	elsif ($dice < 0.6)
	{
		$p = pick($alpha, $beta);
		@set{qw(pipeline_id stage_id)} = ($p, random_target($p));
	}
	elsif ($dice < 0.65)
	{
		# the pipeline alone, where that says enough
		$p = $p == $alpha ? $beta : $alpha;
		my $s = $deal ? $deal->{stage_id} : $stage{Lead};
		$set{pipeline_id} = $p if $p == $alpha || $spec{$beta}{$s} || $s == $stage{Quote};
	}
	$set{$_} = pick(@{ $values{$_} }) for random_columns(int(rand 3));
	if (chance(0.1))
	{
		$set{closed_at} = pick('E1', 'E2') if moves_outcome($deal, \%set);
		$set{closed_on} = '2024-02-29' if $set{closed_at} && chance(0.3);
	}
	$set{stale} = 1 if chance(0.1);
	$set{name} = 'z' if !grep { $_ ne 'stale' } keys %set;
	return \%set;
}

# is this a closing, so that closed_at may be given?
sub moves_outcome
{
	my ($deal, $set) = @_;
	return 0 if !$deal || !defined $set->{stage_id};
	my $to = $spec{ $set->{pipeline_id} // $deal->{pipeline_id} }{ $set->{stage_id} };
	my $from = $spec{ $deal->{pipeline_id} }{ $deal->{stage_id} };
	return $to && closed($to) && $from->{outcome} ne $to->{outcome};
}

# bookkeeping as a careless client might send it
my $stale = q{version = 99, episode = 9, changed_at = '2001-01-01', stage_entered_at = '2001-01-01', furthest_stage_id = 1, gate_stage_id = 2};
my $kept_columns = 'stage_entered_at, furthest_stage_id, episode, version, changed_at';

sub assignments
{
	my ($set) = @_;
	my @parts = map { $_ eq 'stale' ? $stale : "$_ = " . literal($_, $set->{$_}) } sort keys %$set;
	return join(', ', @parts);
}

sub values_list
{
	my ($rows, @columns) = @_;
	return join(', ', map {
		my $r = $_;
		'(' . join(', ', "$r->{id}::bigint", map { literal($_, $r->{cols}{$_}) } @columns) . ')'
	} @$rows);
}

sub all_columns
{
	my %seen;
	$seen{$_}++ for map { keys %{ $_->{cols} } } @_;
	return sort keys %seen;
}

sub insert_sql
{
	my ($t, @rows) = @_;
	my @columns = all_columns(@rows);
	return "INSERT INTO $t (" . join(', ', 'deal_id', @columns) . ') VALUES ' . values_list(\@rows, @columns);
}

sub copy_sql
{
	my ($t, @rows) = @_;
	my @columns = all_columns(@rows);
	my $sql = "COPY $t (" . join(', ', 'deal_id', @columns) . ") FROM stdin;\n";
	for my $r (@rows)
	{
		$sql .= join("\t", $r->{id}, map {
				my $v = $r->{cols}{$_};
				defined $v ? $instants{$v} // $v : '\N' } @columns) . "\n";
	}
	return $sql . "\\.\n";
}

sub ids { join(', ', map { $_->{id} } @_) }

my $refusal = 0;

# Every kind: changes for the model, and the statements, [bulk], [row by row].
# In statements T is the table.
sub random_step
{
	my ($who) = @_;
	my @present = sort { $a <=> $b } keys %deals;
	my @absent = grep { !$deals{$_} } @keys;
	my $dice = rand;
	my $n = 1 + int(rand(chance(0.2) ? 25 : 6));

	if (@present < 8 || ($dice < 0.16 && @absent))
	{
		my @rows = map { { id => $_, cols => random_new() } } sample($n, @absent);
		my @apply = map { my $r = $_; sub { insert($r->{id}, $r->{cols}) } } @rows;
		my @single = map { insert_sql('T', $_) } @rows;
		if (chance(0.4))
		{
			return { apply => \@apply, bulk => [ copy_sql('T', @rows) ], plain => 1,
				row => [ map { chance(0.3) ? copy_sql('T', $_) : insert_sql('T', $_) } @rows ] };
		}
		return { apply => \@apply, bulk => [ insert_sql('T', @rows) ], row => \@single };
	}
	if ($dice < 0.36)
	{
		# the same for all
		my @rows = map { { id => $_ } } sample($n, @present, sample(2, @absent));
		my $set = random_change($rows[0]{id});
		my $where = sub { 'WHERE deal_id IN (' . ids(@_) . ')' };
		my $sql = sub { "UPDATE T SET " . assignments($set) . ' ' . $where->(@_) };
		return { apply => [ map { my $r = $_; sub { update($r->{id}, $set) } } @rows ],
			bulk => [ $sql->(@rows) ], row => [ map { $sql->($_) } @rows ], leaf => 1 };
	}
	if ($dice < 0.56)
	{
		# to each its own
		my @columns = ('pipeline_id', 'stage_id', random_columns(int(rand 3)));
		my @rows = map {
			my $deal = $deals{$_};
			my $set = random_change($_);
			my %cols = (pipeline_id => $set->{pipeline_id} // $deal->{pipeline_id},
				stage_id => $set->{stage_id} // $deal->{stage_id},
				map { $_ => pick(@{ $values{$_} }) } @columns[ 2 .. $#columns ]);
			{ id => $_, cols => \%cols }
		} sample($n, @present);
		@columns = sort @columns;
		my $sql = sub {
			'UPDATE T SET ' . join(', ', map { "$_ = v.$_" } @columns) . ' FROM (VALUES '
				. values_list([@_], @columns) . ') AS v(id, ' . join(', ', @columns) . ') WHERE T.deal_id = v.id';
		};
		return { apply => [ map { my $r = $_; sub { update($r->{id}, $r->{cols}) } } @rows ],
			bulk => [ $sql->(@rows) ],
			row => [ map { chance(0.5) ? $sql->($_) : 'UPDATE T SET ' . assignments($_->{cols}) . " WHERE deal_id = $_->{id}" } @rows ] };
	}
	if ($dice < 0.64)
	{
		my @rows = map { { id => $_ } } sample(1 + int(rand 4), @present, sample(1, @absent));
		my $sql = sub { 'DELETE FROM T WHERE deal_id IN (' . ids(@_) . ')' };
		return { apply => [ map { my $id = $_->{id}; sub { remove($id) } } @rows ],
			bulk => [ $sql->(@rows) ], row => [ map { $sql->($_) } @rows ], leaf => 1 };
	}
	if ($dice < 0.76)
	{
		my @rows = map { { id => $_, cols => random_new() } } sample($n, @keys);
		my @columns = all_columns(@rows);
		my %had = map { $_ => 1 } @columns;
		my @update = chance(0.2) ? () : grep { $_ !~ /^closed/ && chance(0.7) } @columns;

		# a stage alone may belong to another pipeline than the deal's
		if (grep { /^(?:pipeline|stage)_id$/ } @update)
		{
			@update = (qw(pipeline_id stage_id), grep { !/^(?:pipeline|stage)_id$/ } @update);
		}
		my $action = @update ? 'DO UPDATE SET ' . join(', ', map { "$_ = EXCLUDED.$_" } @update) : 'DO NOTHING';
		my $sql = sub {
			'INSERT INTO T (' . join(', ', 'deal_id', @columns) . ') VALUES ' . values_list([@_], @columns)
				. " ON CONFLICT (deal_id) $action";
		};
		return { apply => [ map { my $r = $_; sub { upsert($r->{id}, $r->{cols}, \@update) } } @rows ],
			bulk => [ $sql->(@rows) ], row => [ map { $sql->($_) } @rows ] };
	}
	if ($dice < 0.86 && $merge)
	{
		# in one statement: delete some, change some, insert some
		my @rows = map {
			my $cols = { amount => pick(@{ $values{amount} }), owner => pick('ann', 'bob') };
			my $deal = $deals{$_};
			my $p = $deal && chance(0.7) ? $deal->{pipeline_id} : pick($alpha, $beta);
			@$cols{qw(pipeline_id stage_id)} = ($p, random_target($p));
			$cols->{stage_id} = $stage{Lead} if !$deal && $cols->{stage_id} == $stage{Quote};
			$cols->{source} = pick('delete', 'change', 'change', 'ignore');
			{ id => $_, cols => $cols }
		} sample($n, @keys);
		my @columns = qw(amount owner pipeline_id source stage_id);
		my $sql = sub {
			'MERGE INTO T AS d USING (VALUES ' . values_list([@_], @columns) . ') AS v(id, ' . join(', ', @columns) . ') ON d.deal_id = v.id '
				. q{WHEN MATCHED AND v.source = 'delete' THEN DELETE }
				. q{WHEN MATCHED AND v.source = 'change' THEN UPDATE SET pipeline_id = v.pipeline_id, stage_id = v.stage_id, amount = v.amount }
				. q{WHEN NOT MATCHED AND v.source <> 'delete' THEN INSERT (deal_id, amount, owner, pipeline_id, stage_id) VALUES (v.id, v.amount, v.owner, v.pipeline_id, v.stage_id)};
		};
		my @apply = map {
			my ($id, $c) = @$_{qw(id cols)};
			my %part = map { $_ => $c->{$_} } qw(pipeline_id stage_id amount);
			sub {
				if (!$deals{$id}) { insert($id, { %part, owner => $c->{owner} }) if $c->{source} ne 'delete' }
				elsif ($c->{source} eq 'delete') { remove($id) }
				elsif ($c->{source} eq 'change') { update($id, \%part) }
			}
		} @rows;
		my @single = map { $sql->($_) } @rows;
		return { apply => \@apply, bulk => [ $sql->(@rows) ], row => \@single };
	}
	if ($dice < 0.94)
	{
		# several commands in one
		my @of = sample(6, @present);
		my @gone = map { { id => $_ } } splice @of, 0, int(rand 3);
		my @moved = map { { id => $_ } } splice @of, 0, 1 + int(rand 3);
		my @new = map { { id => $_, cols => random_new() } } sample(2, @absent);
		my $set = random_change($moved[0]{id});
		my @with;
		my @row;
		my @apply;
		if (@gone)
		{
			push @with, 'a AS (DELETE FROM T WHERE deal_id IN (' . ids(@gone) . ') RETURNING deal_id)';
			push @row, map { "DELETE FROM T WHERE deal_id = $_->{id}" } @gone;
			push @apply, map { my $id = $_->{id}; sub { remove($id) } } @gone;
		}
		if (@new)
		{
			push @with, 'b AS (' . insert_sql('T', @new) . ' RETURNING deal_id)';
			push @row, map { insert_sql('T', $_) } @new;
			push @apply, map { my $r = $_; sub { insert($r->{id}, $r->{cols}) } } @new;
		}
		push @row, map { 'UPDATE T SET ' . assignments($set) . " WHERE deal_id = $_->{id}" } @moved;
		push @apply, map { my $id = $_->{id}; sub { update($id, $set) } } @moved;
		my $with = @with ? 'WITH ' . join(', ', @with) . ' ' : '';
		return { apply => \@apply, row => \@row,
			bulk => [ $with . 'UPDATE T SET ' . assignments($set) . ' WHERE deal_id IN (' . ids(@moved) . ')' ] };
	}
	if ($dice < 0.96 && $who eq 'owner')
	{
		# a copy of deals that were made elsewhere, kept as they are
		my @fresh = sample(3, grep { !$past{$_} } @absent);
		if (@fresh)
		{
			my $p = pick($alpha, $beta);
			my $s = pick($p == $alpha ? @open_a : @stage{qw(Lead Sign)});
			my $sql = sub {
				"INSERT INTO T (deal_id, pipeline_id, stage_id, created_at, created_by, $kept_columns) VALUES "
					. join(', ', map { "($_, $p, $s, now(), 'elsewhere', '$instants{E1}', $s, 1, 1, '$instants{copied}')" } @_);
			};
			return { row => [ map { $sql->($_) } @fresh ], bulk => [ $sql->(@fresh) ],
				apply => [ map { my $id = $_; sub { insert($id, { pipeline_id => $p, stage_id => $s, kept => 'E1' }) } } @fresh ] };
		}
	}
	if ($dice < 0.97 && $who eq 'owner')
	{
		my @rows = map { { id => $_ } } @present;
		return { apply => [ map { my $id = $_; sub { remove($id) } } @present ],
			bulk => [ 'TRUNCATE T' ], row => [ map { "DELETE FROM T WHERE deal_id = $_" } @present ] };
	}
	# nothing at all
	return { apply => [ map { my $id = $_; sub { update($id, { name => 'n' }) } } @present ],
		bulk => [ 'UPDATE T SET stage_id = stage_id, amount = amount, version = 5, name = \'n\'' ],
		row => [ map { "UPDATE T SET stage_id = stage_id, pipeline_id = pipeline_id, name = 'n' WHERE deal_id = $_" } @present ] };
}

# a step that must fail as a whole, by exactly one of its rows
sub failing_step
{
	my @present = sample(3, sort { $a <=> $b } keys %deals);
	return if @present < 2;
	my @absent = sample(2, grep { !$deals{$_} } @keys);
	my $bad = shift @present;
	my %set = map { $_ => { owner => 'never' } } @present;
	my $kind = int rand 9;

	if ($kind == 0) { $set{$bad} = { pipeline_id => $alpha, stage_id => $stage{Sign} } }
	elsif ($kind == 1) { $set{$bad} = { pipeline_id => 9999, stage_id => $stage{Lead} } }
	elsif ($kind == 2) { $set{$bad} = { pipeline_id => $alpha, stage_id => $stage{Old} } }
	elsif ($kind == 3) { $set{$bad} = { stage_id => undef } }
	elsif ($kind == 4) { $set{$bad} = { deal_id => 777 } }
	elsif ($kind == 5) { $set{$bad} = { probability => 101 } }
	elsif ($kind == 6) { $set{$bad} = { pipeline_id => $beta } }
	elsif (@absent == 2)
	{
		my @rows = ({ id => $absent[0], cols => { amount => 1 } });
		push @rows, $kind == 7 ? { id => $absent[1], cols => { stage_id => $stage{Quote} } } : { id => $bad, cols => { amount => 2 } };
		@rows = reverse @rows if chance(0.5);
		return { apply => [ map { my $r = $_; sub { insert($r->{id}, $r->{cols}) } } @rows ],
			bulk => [ insert_sql('T', @rows) ], row => [ map { insert_sql('T', $_) } @rows ] };
	}
	else { return }

	# each column keeps its own value where the row doesn't change it
	my %columns = map { $_ => 1 } map { keys %$_ } values %set;
	my @columns = sort keys %columns;
	my $sql = 'UPDATE T SET ' . join(', ', map {
			my $c = $_;
			"$c = CASE deal_id " . join(' ', map { exists $set{$_}{$c} ? "WHEN $_ THEN " . literal($c, $set{$_}{$c}) : () } sort keys %set) . " ELSE $c END"
		} @columns) . ' WHERE deal_id IN (' . join(', ', sort keys %set) . ')';
	return { apply => [ map { my $id = $_; sub { update($id, $set{$id}) } } sort keys %set ],
		bulk => [$sql],
		row => [ map { "UPDATE T SET " . assignments($set{$_}) . " WHERE deal_id = $_" } sort keys %set ] };
}

#
# Tables
#
my %tables = (
	bulk => { form => 'bulk' },
	single => { form => 'row' },
	parted => { form => 'bulk', parted => 1 },
	parted_single => { form => 'row', parted => 1, history => 'PARTITION BY RANGE (valid_to)' },
	pasts => { form => 'bulk', history => 'PARTITION BY HASH (deal_id)' },
	later => { form => 'bulk', later => 1 },
	later_single => { form => 'row', later => 1, history => 'slow' },
	keyed => { form => 'bulk', options => 'foreign_keys => true' });

for my $t (sort keys %tables)
{
	my $table = $tables{$t};
	my @options = ("'$t'", "on_truncate => 'record'");
	push @options, "partition_by => 'HASH (deal_id)'" if $table->{parted};
	push @options, $table->{options} if $table->{options};
	my $sql = 'SELECT pipelines.create_deals(' . join(', ', @options) . ");\n";
	if ($table->{parted})
	{
		$sql .= "CREATE TABLE ${t}_$_ PARTITION OF $t FOR VALUES WITH (modulus 3, remainder $_);\n" for 0 .. 2;
		$sql .= "SELECT * FROM pipelines.resume('$t');\n";
	}
	if (($table->{history} || '') =~ /^PARTITION/)
	{
		# the history that we were given is replaced by a partitioned one
		my $by_time = $table->{history} =~ /RANGE/;
		$sql .= "CREATE TABLE ${t}_past (LIKE ${t}_history, PRIMARY KEY (deal_id, version"
			. ($by_time ? ', valid_to' : '') . ")) $table->{history};\n";
		$sql .= $by_time
			? "CREATE TABLE ${t}_old PARTITION OF ${t}_past FOR VALUES FROM (MINVALUE) TO ('2025-01-01');
			   CREATE TABLE ${t}_new PARTITION OF ${t}_past FOR VALUES FROM ('2025-01-01') TO (MAXVALUE);\n"
			: join('', map { "CREATE TABLE ${t}_h$_ PARTITION OF ${t}_past FOR VALUES WITH (modulus 2, remainder $_);\n" } 0, 1);
		$sql .= "SELECT pipelines._register('$t', '${t}_past', k.layout_id, k.key, k.columns, k.currency, k.foreign_keys, k.on_truncate, k.tracked_since, k.adopted)
				FROM pipelines.tracked_table k WHERE k.relation = '$t'::regclass;
			DROP TABLE ${t}_history CASCADE;
			ALTER TABLE ${t}_past RENAME TO ${t}_history;
			SELECT * FROM pipelines.resume('$t');
			SELECT pipelines.rebuild_views('$t');\n";
	}
	if (($table->{history} || '') eq 'slow')
	{
		# what a direct insertion would miss
		$sql .= "CREATE INDEX ON ${t}_history ((upper(owner))) WHERE amount > 0;
			ALTER TABLE ${t}_history ADD CHECK (version > 0);\n";
	}
	if ($table->{later})
	{
		# sorts after ours, so that rows are judged once more
		$sql .= "CREATE FUNCTION ${t}_later() RETURNS trigger LANGUAGE plpgsql AS
				'BEGIN IF TG_OP = ''DELETE'' THEN RETURN OLD; END IF; RETURN NEW; END';
			CREATE TRIGGER \"\xc2\xa7zz\" BEFORE INSERT OR UPDATE OR DELETE ON $t
				FOR EACH ROW EXECUTE FUNCTION ${t}_later();\n";
	}
	$sql .= "SELECT pipelines.grant_access('$t', 'clerk', 'write');\n";
	my ($out, $err);
	my $status = $node->psql('postgres', $sql, stdout => \$out, stderr => \$err, on_error_stop => 1);
	is($status, 0, "table $t") or diag($err);
}

# All versions of all deals of a table, as text.
sub content
{
	my ($t) = @_;
	my $columns = join(', ', qw(deal_id version pipeline_id stage_id furthest_stage_id gate_stage_id episode stage_entered_at closed_at closed_on), @tracked);
	return $node->safe_psql('postgres', <<"END");
WITH v AS (
	SELECT $columns, valid_from, change, coalesce(to_pipeline_id::text, '') || '/' || coalesce(to_stage_id::text, '') AS target,
		coalesce(skipped_stages::text, '') AS skipped, actor, role_name, reason, batch, bypassed OR imported AS odd
	FROM ${t}_history
	UNION ALL
	SELECT $columns, changed_at, 'present', '', '', NULL, NULL, NULL, NULL, false FROM $t
)
SELECT v.deal_id, v.version, v.change, v.pipeline_id, v.stage_id, v.furthest_stage_id, v.gate_stage_id, v.episode,
	coalesce((SELECT 'v' || min(x.version) FROM v AS x WHERE x.deal_id = v.deal_id AND x.valid_from = v.stage_entered_at), v.stage_entered_at::text),
	coalesce((SELECT 'v' || min(x.version) FROM v AS x WHERE x.deal_id = v.deal_id AND x.valid_from = v.closed_at), v.closed_at::text),
	v.closed_on,
	(v.closed_at AT TIME ZONE 'UTC')::date || ' ' || (v.closed_at AT TIME ZONE 'Asia/Tokyo')::date,
	@{[ join(', ', map { "v.$_" } @tracked) ]}, v.target, v.skipped, v.actor, v.role_name, v.reason, v.batch, v.odd
FROM v ORDER BY v.deal_id, v.version, v.change
END
}

my %written = map { my $v = $instants{$_}; $v =~ s/\+00$/+00/; $v =~ s/00\.5\+/00.5+/; ($_ => $v) } keys %instants;
$written{$_} =~ s/:00\+00$/:00+00/ for keys %written;

# What the model says, one line per version, in the same order.
sub expected
{
	my @lines;
	for my $id (sort { $a <=> $b } keys %{ { %past, %deals } })
	{
		push @lines, expected_line($id, $_) for @{ $past{$id} || [] };
		push @lines, expected_line($id, { %{ $deals{$id} }, change => 'present', to => '', skipped => '' }) if $deals{$id};
	}
	return @lines;
}

sub expected_line
{
	my ($id, $v) = @_;
	my $time = sub { defined $_[0] ? $written{ $_[0] } // $_[0] : '' };
	return [ $id, $v->{version}, $v->{change}, $v->{pipeline_id}, $v->{stage_id}, $v->{furthest}, '', $v->{episode},
		$time->($v->{entered}), $time->($v->{closed_at}), $v->{closed_on} // '', '*',
		(map { $v->{$_} // '' } @tracked), $v->{to}, $v->{skipped},
		$v->{actor} // '', $v->{role} // '', $v->{reason} // '', $v->{batch} // '', 'f' ];
}

# undef if all is as expected, else the first difference
sub difference
{
	my ($found) = @_;
	my @expected = expected();
	my @found = map { [ split /\|/, $_, -1 ] } split /\n/, $found;
	for my $n (0 .. ($#expected > $#found ? $#expected : $#found))
	{
		my ($e, $f) = ($expected[$n], $found[$n]);
		return "missing: " . join('|', @$e) if !$f;
		return "too much: " . join('|', @$f) if !$e;
		my @e = @$e;
		if ($e[10] =~ /^auto(\d+)$/)
		{
			my @days = split / /, $f->[11];
			$e[10] = $days[ $1 == $beta ? 1 : 0 ];
		}
		$e[11] = $f->[11];
		next if join('|', @e) eq join('|', @$f);
		return join("\n", (map { "   after " . join('|', @{ $found[$_] }) } grep { $_ >= 0 } $n - 2, $n - 1),
			"expected " . join('|', @e), "   found " . join('|', @$f));
	}
	return;
}

# The statements of a step for one table.
sub statements
{
	my ($t, $step) = @_;
	my $form = $tables{$t}{form};
	my @sql = @{ $step->{$form} };
	if ($step->{leaf} && $step->{by_leaf} && $tables{$t}{parted} && $form eq 'bulk')
	{
		my @leaves;
		for my $sql (@sql)
		{
			push @leaves, map { my $leaf = "${t}_$_"; (my $s = $sql) =~ s/\bT\b/$leaf/g; $s } 0 .. 2;
		}
		return @leaves;
	}
	s/\bT\b/$t/g for @sql;
	return @sql;
}

my %kinds;

# what the programs are for, and have not met yet
sub unmet
{
	my %met;
	for my $v (map { @$_ } values %past)
	{
		$met{ $v->{change} }++;
		$met{skipped}++ if $v->{skipped} ne '';
		$met{returned}++ if $v->{version} > 1 && $v->{entered} eq "v$v->{version}" && $v->{change} eq 'delete';
	}
	note join(', ', map { "$_: $met{$_}" } sort keys %met);
	note join(', ', map { "$_: $kinds{$_}" } sort keys %kinds);
	my @unmet = (grep({ !$met{$_} } qw(move close reopen transfer change delete skipped)),
		keys %kinds >= 4 ? () : 'several refusals');
	return @unmet;
}

# more of them where chance has left something out
for (my $program = 1; $program <= $programs || ($program <= 5 * $programs && unmet()); $program++)
{
	my $who = $program % 4 == 3 ? 'clerk' : 'owner';
	$rules = $rules[ ($program - 1) % @rules ];
	$node->safe_psql('postgres', join(' ', map { "UPDATE pipelines.pipeline SET mode = '$rules->{$_}[0]', override_policy = '$rules->{$_}[1]' WHERE pipeline_id = $_;" } $alpha, $beta));
	note "program $program as $who: " . join(', ', map { "$name{$_} @{ $rules->{$_} }" } $alpha, $beta);
	my $role = $who eq 'clerk' ? 'clerk' : $node->safe_psql('postgres', 'SELECT session_user');
	my %script = map { $_ => $who eq 'clerk' ? "SET SESSION AUTHORIZATION clerk;\n" : '' } keys %tables;
	my $all = sub { my ($sql) = @_; $script{$_} .= $sql for keys %script; };
	my %refused;
	%context = (actor => $role, role => $role);

	my $emit = sub {
		my ($step) = @_;
		$step->{by_leaf} = $who eq 'owner' && chance(0.5);
		for my $t (sort keys %script)
		{
			my @sql = statements($t, $step);
			if (@sql > 1 && $tables{$t}{form} eq 'row' && !grep({ /^COPY/ } @sql) && chance(0.3))
			{
				# the same as a block of PL/pgSQL
				$script{$t} .= "DO \$do\$ BEGIN\n" . join('', map { "$_;\n" } @sql) . "END \$do\$;\n";
				next;
			}
			$script{$t} .= join('', map { /^COPY/ ? $_ : "$_;\n" } @sql);
		}
	};

	# apply to the model; a step that the model refuses becomes one that fails
	my $perform = sub {
		my ($step) = @_;
		my @before = snapshot();
		my $state;
		if (!eval { $_->() for @{ $step->{apply} }; 1 })
		{
			my $e = $@;
			die $e if !ref $e;
			$state = $e->{sqlstate};
		}
		if (!defined $state)
		{
			$emit->($step);
			return;
		}
		%deals = %{ $before[0] };
		%past = %{ $before[1] };

		# does it fail for one reason only, so that the order can't matter?
		my %reasons;
		for my $apply (@{ $step->{apply} })
		{
			my @now = snapshot();
			$reasons{ $@->{sqlstate} }++ if !eval { $apply->(); 1 };
			%deals = %{ $now[0] };
			%past = %{ $now[1] };
		}
		return if keys %reasons != 1 || $step->{plain};
		my $number = ++$refusal;
		$refused{$number} = $state;
		$kinds{"refused $state"}++;
		for my $t (keys %script)
		{
			$script{$t} .= "DO \$do\$ BEGIN\n" . join('', map { "$_;\n" } statements($t, $step))
				. "RAISE 'not refused'; EXCEPTION WHEN OTHERS THEN INSERT INTO refused VALUES ($number, SQLSTATE); END \$do\$;\n";
		}
	};

	for (1 .. $transactions)
	{
		if (chance(0.3))
		{
			$perform->(random_step($who)) for 1 .. 2;
			next;
		}
		my @outside = (snapshot(), {%context});
		my %refused_outside = %refused;
		$all->("BEGIN;\n");
		for (1 .. 1 + int(rand 4))
		{
			if (chance(0.2))
			{
				my ($setting, $value) = (pick(qw(reason batch actor)), pick('x', 'why not', 'b-1'));
				$all->("SET LOCAL pipelines.$setting = '$value';\n");
				$context{$setting} = $value;
			}
			if (chance(0.25))
			{
				my @inside = snapshot();
				my %refused_inside = %refused;
				$all->("SAVEPOINT s;\n");
				$perform->(random_step($who)) for 1 .. 2;
				if (chance(0.5))
				{
					$all->("ROLLBACK TO s;\n");
					%deals = %{ $inside[0] };
					%past = %{ $inside[1] };
					%refused = %refused_inside;
				}
				else { $all->("RELEASE s;\n") }
			}
			if (chance(0.2))
			{
				my $failing = failing_step();
				$perform->($failing) if $failing;
			}
			$perform->(random_step($who));
		}
		if (chance(0.15))
		{
			$all->("ROLLBACK;\n");
			%deals = %{ $outside[0] };
			%past = %{ $outside[1] };
			%refused = %refused_outside;
		}
		else { $all->("COMMIT;\n") }
		%context = %{ $outside[2] };
	}

	my $refusals = join("\n", map { "$_|$refused{$_}" } sort { $a <=> $b } keys %refused);
	my $ok = 1;
	for my $t (sort keys %tables)
	{
		my ($out, $err);
		$node->safe_psql('postgres', 'TRUNCATE refused');
		my $status = $node->psql('postgres', $script{$t}, stdout => \$out, stderr => \$err, on_error_stop => 1);
		if ($status == 2)
		{
			append_to_file("$PostgreSQL::Test::Utils::log_path/$t.sql", $script{$t});
			BAIL_OUT("PIPELINES_SEED=$seed: the server crashed in program $program on $t: $err");
		}
		$ok &= is($status . ($err =~ /ERROR/ ? $err : ''), '0', "program $program as $who runs on $t");
		$ok &= is($node->safe_psql('postgres', 'SELECT * FROM refused ORDER BY step'), $refusals,
			"program $program on $t: what must fail fails, and as it must");
		my $difference = difference(content($t));
		$ok &= ok(!defined $difference, "program $program on $t: rows and history as predicted")
			or diag($difference);
		$ok &= is($node->safe_psql('postgres', "SELECT * FROM pipelines.verify('$t')"), '',
			"program $program on $t: verify finds nothing");
		if (!$ok)
		{
			my $file = "$PostgreSQL::Test::Utils::log_path/$t.sql";
			append_to_file($file, $script{$t});
			diag("PIPELINES_SEED=$seed; the statements are in $file");
			last;
		}
	}
	last if !$ok;
}

is(join(', ', unmet()), '', 'the programs have met what they are for');

$node->stop;
done_testing();
