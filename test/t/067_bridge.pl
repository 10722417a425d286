# The bridge balances, and each of its legs is what a replay says.
#
# Random programs change deals and definitions: moves, skips, back moves,
# transfers, reopenings, deletions and keys that come back, amounts, dates,
# owners, currencies, overrides, probabilities and outcomes of stages, several
# changes in one transaction, histories that are imported later.  The test keeps
# a log of its own: the rows that each statement returned, and what the
# definitions were made.  From that log it works out, for random instants and
# scopes, what bridge(), changes(), as_of() and as_of(known_at =>) must say.
#
# The seed is printed; PIPELINES_SEED repeats a run.  PIPELINES_TEST_ALL=1 runs
# more and longer programs.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PipelinesTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = new_seed();
my $programs = $ENV{PIPELINES_TEST_ALL} ? 12 : 2;
my $transactions = $ENV{PIPELINES_TEST_ALL} ? 150 : 60;
my $questions = $ENV{PIPELINES_TEST_ALL} ? 60 : 12;
srand($seed);

my $node = start_node('bridge');
my @outcomes = qw(open on_hold won lost disqualified done);

my %met;						# how often each leg was expected

sub pick { return $_[ rand @_ ]; }

sub quoted
{
	my ($value) = @_;
	return 'NULL' unless defined $value;
	$value =~ s/'/''/g;
	return "'$value'";
}

# ----------------------------------------------------------------- the program

# In database $db, on a table of this shape; returns what the log says.
sub run_program
{
	my ($db, $shape) = @_;
	my $pair = $shape eq 'parted';
	my $key = $pair ? 'branch_id, deal_id' : 'deal_id';
	my $text = $pair ? "'(' || branch_id || ',' || deal_id || ')'" : 'deal_id::text';

	run_sql($node, 'postgres', "CREATE DATABASE $db");
	run_sql($node, $db, <<'END');
CREATE EXTENSION pipelines;
SELECT pipelines.create_pipeline('One', transfer_policy => 'first', time_zone => 'UTC', stages => '[
	{"name": "Lead", "probability": 10}, {"name": "Quote", "probability": 40}, {"name": "Talks", "probability": 70},
	{"name": "Held", "outcome": "on_hold", "probability": 5}, {"name": "Won", "outcome": "won"}, {"name": "Lost", "outcome": "lost"},
	{"name": "Junk", "outcome": "disqualified"}, {"name": "Done", "outcome": "done"}]');
SELECT pipelines.create_pipeline('Two', transfer_policy => 'first', time_zone => 'UTC', stages => '[
	{"name": "Lead", "probability": 20}, {"name": "Trial", "probability": 60.5}, {"name": "Won", "outcome": "won"}, {"name": "Gone", "outcome": "lost"}]');
CREATE TABLE log (seq serial PRIMARY KEY, deal text, pipeline_id integer, stage_id integer, amount numeric, currency text,
	probability numeric, category text, owner text, expected date, deleted boolean, imported boolean NOT NULL DEFAULT false);
CREATE TABLE definition_log (seq integer DEFAULT nextval('log_seq_seq'), pipeline_id integer, stage_id integer, outcome text, probability numeric, omitted boolean);
CREATE TABLE mark (seq integer DEFAULT nextval('log_seq_seq'), at timestamptz DEFAULT clock_timestamp());
CREATE FUNCTION note_definitions() RETURNS void LANGUAGE sql AS $$
	INSERT INTO definition_log (pipeline_id, stage_id, outcome, probability, omitted)
	SELECT pipeline_id, stage_id, outcome, probability, forecast_category = 'omitted' FROM pipelines.pipeline_stage ORDER BY 1, 2 $$;
SELECT note_definitions();
END
	run_sql($node, $db, $pair
		? q{SELECT pipelines.create_deals('d', key => '{branch_id,deal_id}', currency => 'EUR', partition_by => 'LIST (branch_id)');
			CREATE TABLE d_0 PARTITION OF d FOR VALUES IN (0); CREATE TABLE d_1 PARTITION OF d FOR VALUES IN (1); SELECT * FROM pipelines.resume()}
		: q{SELECT pipelines.create_deals('d', currency => 'EUR')});
	# an application's own names
	run_sql($node, $db, 'ALTER TABLE d RENAME amount TO worth; ALTER TABLE d RENAME owner TO rep') if $shape eq 'renamed';
	my ($amount, $owner) = $shape eq 'renamed' ? qw(worth rep) : qw(amount owner);
	run_sql($node, $db, q{INSERT INTO mark DEFAULT VALUES});

	my %stages = (1 => [ split /,/, $node->safe_psql($db, q{SELECT string_agg(stage_id::text, ',' ORDER BY position) FROM pipelines.pipeline_stage WHERE pipeline_id = 1}) ],
		2 => [ split /,/, $node->safe_psql($db, q{SELECT string_agg(stage_id::text, ',' ORDER BY position) FROM pipelines.pipeline_stage WHERE pipeline_id = 2}) ]);
	my $columns = "$text, pipeline_id, stage_id, $amount, currency, probability, forecast_category, $owner, expected_close_on";
	my $target = 'log (deal, pipeline_id, stage_id, amount, currency, probability, category, owner, expected, deleted)';

	my $some_amount = sub { return pick('NULL', '0', 1 + int rand 1000, sprintf('%.2f', rand 5000), sprintf('%.4f', rand 100)) };
	my $some_day = sub { return pick('NULL', map { "date '2030-01-01' + $_" } 0, 10, 40, 80) };
	my $some_stage = sub { my $p = pick(1, 1, 2); return "$p, " . pick(@{ $stages{$p} }); };
	my $one = sub { my $n = 1 + int rand 14; return $pair ? 'branch_id = ' . $n % 2 . " AND deal_id = $n" : "deal_id = $n"; };
	my $change = sub {
		my ($what, $where) = @_;
		return "WITH r AS (UPDATE d SET $what WHERE $where RETURNING $columns) INSERT INTO $target SELECT *, false FROM r;\n";
	};
	my $insert = sub {
		my $n = 1 + int rand 14;
		my ($stage) = $some_stage->();
		return "WITH r AS (INSERT INTO d ($key, pipeline_id, stage_id, $amount, currency, $owner, expected_close_on)\n"
			. "SELECT " . ($pair ? $n % 2 . ", $n" : $n) . ", $stage, " . $some_amount->() . ', ' . pick(qw(NULL 'USD' 'EUR')) . ', ' . pick(qw('ann' 'bob' NULL)) . ', ' . $some_day->()
			. "\nON CONFLICT DO NOTHING RETURNING $columns) INSERT INTO $target SELECT *, false FROM r;\n";
	};
	my @kinds = ($insert, $insert, $insert,
		(sub { $change->('stage_id = ' . pick(@{ $stages{1} }), 'pipeline_id = 1 AND ' . $one->()) }) x 5,
		(sub { $change->('stage_id = ' . pick(@{ $stages{2} }), 'pipeline_id = 2 AND ' . $one->()) }) x 2,
		sub { $change->('pipeline_id = 3 - pipeline_id', $one->()) },
		(sub { $change->("$amount = " . $some_amount->(), $one->()) }) x 3,
		# closed with another amount; reopened with another currency
		sub { $change->('stage_id = ' . pick(@{ $stages{1} }) . ", $amount = " . $some_amount->(), 'pipeline_id = 1 AND ' . $one->()) },
		sub { $change->('stage_id = ' . pick(@{ $stages{1} }) . ", currency = 'CHF'", 'pipeline_id = 1 AND ' . $one->()) },
		sub { $change->('currency = ' . pick(qw(NULL 'USD' 'EUR')), $one->()) },
		sub { $change->("$owner = " . pick(qw('ann' 'bob' NULL)), $one->()) },
		sub { $change->('expected_close_on = ' . $some_day->(), $one->()) },
		sub { $change->('probability = ' . pick('NULL', '33', '12.5', '90'), $one->()) },
		sub { $change->('forecast_category = ' . pick(qw(NULL NULL 'omitted' 'commit')), $one->()) },
		sub { "WITH r AS (DELETE FROM d WHERE " . $one->() . " RETURNING $columns) INSERT INTO $target SELECT *, true FROM r;\n" },
		# many at once
		sub { $change->("$amount = $amount + 1, expected_close_on = expected_close_on + 15", 'deal_id % 3 = ' . int rand 3) });

	my $script = "SET client_min_messages = warning;\n";
	my $lost = $stages{1}[5];
	my $trial = $stages{2}[1];
	my $imported = 100;
	for my $t (1 .. $transactions)
	{
		my $chance = rand;
		if ($t > 5 && $chance < 0.06)
		{
			my $p = pick(1, 2);
			$script .= "UPDATE pipelines.pipeline_stage SET probability = " . int(rand 99) . " WHERE pipeline_id = $p AND outcome = 'open' AND stage_id = "
				. pick(@{ $stages{$p} }[0, 1]) . ";\n";
		}
		elsif ($t > 5 && $chance < 0.09)
		{
			$script .= "UPDATE pipelines.pipeline_stage SET forecast_category = CASE forecast_category WHEN 'omitted' THEN 'pipeline' ELSE 'omitted' END"
				. " WHERE pipeline_id = 1 AND stage_id = " . pick(@{ $stages{1} }[0, 1, 3]) . ";\n";
		}
		elsif ($t > 5 && $chance < 0.14)
		{
			# each deal in the stage gets a version at the same instant; the log notes the definition first
			my ($p, $s) = rand() < 0.5 ? (1, $lost) : (2, $trial);
			$script .= "SELECT outcome FROM pipelines.pipeline_stage WHERE pipeline_id = $p AND stage_id = $s \\gset was_\n"
				. "SELECT * FROM pipelines.change_outcome('$p', '$s', CASE :'was_outcome' WHEN 'open' THEN 'lost' ELSE 'open' END, apply_to => 'all', probability => CASE :'was_outcome' WHEN 'open' THEN 0 ELSE 35 END);\n"
				. "SELECT note_definitions();\n"
				. "INSERT INTO $target SELECT $columns, false FROM d WHERE pipeline_id = $p AND stage_id = $s;\n";
		}
		elsif ($t > 5 && $chance < 0.18)
		{
			# a past that is learned now; it has been so all the time that is asked for
			my $n = ++$imported;
			my @at = map { "timestamptz '2020-0$_-01'" } 1 .. 3;
			$script .= "CREATE TEMP TABLE events AS SELECT " . ($pair ? $n % 2 . " AS branch_id, " : '') . "$n AS deal_id, e.* FROM (VALUES "
				. join(', ', map { "($at[$_], " . $some_stage->() . ", $_ + 10.5)" } 0 .. 2) . ") e (at, pipeline_id, stage_id, $amount);\n"
				. "SELECT * FROM pipelines.import_history('d', 'events');\nDROP TABLE events;\n"
				. "INSERT INTO log (deal, pipeline_id, stage_id, amount, currency, probability, category, owner, expected, deleted, imported) SELECT $columns, false, true FROM d WHERE deal_id = $n;\n";
		}
		else
		{
			my $n = pick(1, 1, 1, 2, 4);
			$script .= "BEGIN;\n" . join('', map { pick(@kinds)->() } 1 .. $n) . "COMMIT;\n";
		}
		$script .= "SELECT note_definitions();\nINSERT INTO mark DEFAULT VALUES;\n";
	}
	run_sql($node, $db, $script, "$shape: the program ran");
	return { db => $db, key => $text, amount => $amount, owner => $owner };
}

# ------------------------------------------------------------------ the replay

# amounts as integers of 1/10000, probabilities as integers of 1/100 percent
sub scaled
{
	my ($text, $decimals) = @_;
	return undef if !defined $text || $text eq '';
	my ($sign, $whole, $part) = $text =~ /^(-?)(\d+)(?:\.(\d*))?$/ or die "not a number: $text";
	my $digits = substr(($part // '') . '0' x $decimals, 0, $decimals);
	return ($sign ? -1 : 1) * ($whole . $digits);
}

sub load_log
{
	my ($program) = @_;
	my $db = $program->{db};
	my (%images, @marks, @definitions);
	for (split /\n/, $node->safe_psql($db, 'SELECT seq, deal, pipeline_id, stage_id, amount, currency, probability, category, owner, expected, deleted, imported FROM log ORDER BY seq'))
	{
		my ($seq, $deal, $p, $s, $amount, $currency, $probability, $category, $owner, $expected, $deleted, $known) = split /\|/, $_, -1;
		my $list = $images{$deal} //= [];
		my $image = join '|', $p, $s, $amount, $currency, $probability, $category, $owner, $expected, $deleted;
		push @$list, { seq => $known eq 't' ? 0 : $seq, recorded => $seq, image => $image, stage => "$p $s", pipeline => $p, amount => scaled($amount, 4),
			currency => $currency eq '' ? 'EUR' : $currency, probability => scaled($probability, 2), category => $category,
			owner => $owner, expected => $expected, deleted => $deleted eq 't' };
	}
	for (split /\n/, $node->safe_psql($db, 'SELECT seq, at FROM mark ORDER BY seq'))
	{
		my ($seq, $at) = split /\|/;
		push @marks, { seq => $seq, at => $at };
	}
	my %defined;
	for (split /\n/, $node->safe_psql($db, 'SELECT seq, pipeline_id, stage_id, outcome, probability, omitted FROM definition_log ORDER BY seq'))
	{
		my ($seq, $p, $s, $outcome, $probability, $omitted) = split /\|/;
		my $text = "$outcome $probability $omitted";
		my $list = $defined{"$p $s"} //= [];
		next if @$list && $list->[-1]{text} eq $text;
		# what is first noted holds since ever
		push @$list, { seq => @$list ? $seq : -1, text => $text, outcome => $outcome, probability => scaled($probability, 2), omitted => $omitted eq 't' };
	}
	@$program{qw(images marks defined)} = (\%images, \@marks, \%defined);
	return;
}

# the definition of a stage after everything up to $seq
sub defined_at
{
	my ($program, $stage, $seq) = @_;
	my ($found) = grep { $_->{seq} <= $seq } reverse @{ $program->{defined}{$stage} };
	return $found;
}

# what a deal is: the image with what the definitions make of it
sub state_of
{
	my ($program, $scope, $image, $seq) = @_;
	return { standing => 'absent' } if !$image || $image->{deleted};
	my $definition = defined_at($program, $image->{stage}, $seq);
	my %state = (image => $image, seq => $seq, outcome => $definition->{outcome}, reason => '');
	my $omitted = $image->{category} ne '' ? $image->{category} eq 'omitted' : $definition->{omitted};
	my $closed = $definition->{outcome} ne 'open' && $definition->{outcome} ne 'on_hold';
	# where a closing counts is not for its stage to say
	$omitted = $image->{category} eq 'omitted' if $closed;
	my $reason = '';
	$reason = 'other' if $omitted || ($scope->{filter} && !$scope->{filter}{code}->($image));
	$reason = 'date' if $scope->{expected} && ($image->{expected} eq '' || $image->{expected} lt $scope->{expected}[0] || $image->{expected} ge $scope->{expected}[1]);
	$reason = 'owner' if $scope->{owners} && !grep { $_ eq $image->{owner} } @{ $scope->{owners} };
	$reason = 'pipeline' if $scope->{pipelines} && !grep { $_ == $image->{pipeline} } @{ $scope->{pipelines} };
	$state{standing} = $closed ? 'closed' : $reason eq '' ? 'in' : 'out';
	$state{reason} = $reason;
	return \%state;
}

# hundredths of a percent, by the definitions of $seq
sub chance
{
	my ($program, $override, $stage, $seq) = @_;
	return defined $override ? $override : defined_at($program, $stage, $seq)->{probability};
}

# 1/10000, or 1/10^8 where it is weighted
sub worth
{
	my ($scope, $amount, $chance) = @_;
	return 0 unless defined $amount;
	return $scope->{weighted} ? $amount * $chance : $amount;
}

# The states that a deal went through after the first mark, up to the second,
# beginning with that at the first: after each change of its own and each one
# of the definition of its stage.
sub timeline
{
	my ($program, $scope, $images, $from, $to) = @_;
	my ($now) = grep { $_->{seq} <= $from } reverse @$images;
	my @events = map { { seq => $_->{seq}, image => $_ } } grep { $_->{seq} > $from && $_->{seq} <= $to } @$images;
	for my $list (values %{ $program->{defined} })
	{
		push @events, map { { seq => $_->{seq} } } grep { $_->{seq} > $from && $_->{seq} <= $to } @$list;
	}
	my @states = state_of($program, $scope, $now, $from);
	for my $event (sort { $a->{seq} <=> $b->{seq} } @events)
	{
		$now = $event->{image} if $event->{image};
		push @states, state_of($program, $scope, $now, $event->{seq});
	}
	return @states;
}

# legs of one life: called with a function that takes leg, reason, currency, value, unpriced
sub legs_of_life
{
	my ($program, $scope, $tell, @states) = @_;
	my ($first, $last) = @states[0, -1];
	my ($in, $out, $exit_leg, $gone);
	my $price = sub { my ($state, $image) = @_; return worth($scope, $image->{amount}, chance($program, $state->{image}{probability}, $state->{image}{stage}, $state->{seq})); };

	$in = $first if $first->{standing} eq 'in';
	($in) = grep { $_->{standing} eq 'in' } @states if $first->{standing} eq 'absent';
	my ($priced, $end);
	if ($last->{standing} eq 'in')
	{
		($end, $priced, $exit_leg) = ($last, $last->{image}, 'end');
	}
	elsif ($last->{standing} eq 'out')
	{
		$gone = $last;
	}
	else
	{
		my ($i) = grep { $states[$_]{standing} =~ /in|out/ } reverse 0 .. $#states;
		if (defined $i && $states[$i]{standing} eq 'out')
		{
			$gone = $states[$i];
		}
		elsif (defined $i)
		{
			my $closed = $last->{standing} eq 'closed' ? $last : $states[-2]{standing} eq 'closed' ? $states[-2] : undef;
			$end = $states[$i];
			$exit_leg = $closed ? $closed->{outcome} : 'deleted';
			$priced = $closed ? $states[ $i + 1 ]{image} : $end->{image};
		}
	}
	# made closed
	if (!$in && !$end && $first->{standing} eq 'absent' && @states > 1 && $states[1]{standing} eq 'closed' && $states[1]{reason} eq '')
	{
		my $image = $states[1]{image};
		my $value = $price->($states[1], $image);
		$tell->('created', '', $image->{currency}, $value, !defined $image->{amount});
		$tell->($states[1]{outcome}, '', $image->{currency}, -$value, !defined $image->{amount});
	}
	return unless $in || $end;

	my $kind = $first->{standing} eq 'in' ? 'start' : $first->{standing} eq 'absent' ? 'created' : $first->{standing} eq 'closed' ? 'reopened' : 'moved_in';
	if ($in)
	{
		$tell->($kind, '', $in->{image}{currency}, $price->($in, $in->{image}), !defined $in->{image}{amount});
		$tell->('moved_out', $gone ? $gone->{reason} : '?', $in->{image}{currency}, -$price->($in, $in->{image}), !defined $in->{image}{amount}) unless $end;
	}
	if ($end)
	{
		my $currency = $priced->{currency};
		my $value = $price->($end, $priced);
		if (!$in)
		{
			$tell->($kind, $kind eq 'moved_in' ? $first->{reason} : '', $currency, $value, !defined $priced->{amount});
		}
		elsif ($in->{image}{currency} ne $currency)
		{
			$tell->('moved_out', 'currency', $in->{image}{currency}, -$price->($in, $in->{image}), !defined $in->{image}{amount});
			$tell->('moved_in', 'currency', $currency, $value, !defined $priced->{amount});
		}
		else
		{
			my $effect = sub { my ($leg, $value) = @_; $tell->($leg, '', $currency, $value, 0) if $value != 0; };
			my ($a, $b) = ($in->{image}, $end->{image});
			my @p = (chance($program, $a->{probability}, $a->{stage}, $in->{seq}), chance($program, $a->{probability}, $b->{stage}, $in->{seq}),
				chance($program, $b->{probability}, $b->{stage}, $in->{seq}), chance($program, $b->{probability}, $b->{stage}, $end->{seq}));
			my $growth = worth($scope, $priced->{amount}, $p[0]) - worth($scope, $a->{amount}, $p[0]);
			$effect->($growth > 0 ? 'increased' : 'decreased', $growth);
			if ($scope->{weighted})
			{
				$effect->((qw(stage_move override probability_redefined))[$_],
					worth($scope, $priced->{amount}, $p[ $_ + 1 ]) - worth($scope, $priced->{amount}, $p[$_])) for 0 .. 2;
			}
		}
		$tell->($exit_leg, '', $currency, $exit_leg eq 'end' ? $value : -$value, !defined $priced->{amount});
	}
	return;
}

# 'currency leg reason' => [deals, unpriced, value]
sub expected_legs
{
	my ($program, $scope, $from, $to) = @_;
	my %sums;
	my $tell = sub {
		my ($leg, $reason, $currency, $value, $unpriced) = @_;
		my $sum = $sums{"$currency|$leg|$reason"} //= [ 0, 0, 0 ];
		$sum->[0]++;
		$sum->[1] += $unpriced ? 1 : 0;
		$sum->[2] += $value;
	};
	for my $images (values %{ $program->{images} })
	{
		my @life;
		for my $state (timeline($program, $scope, $images, $from, $to))
		{
			# a deletion ends a life; what follows it is another one
			if (@life && $life[-1]{standing} eq 'absent' && $state->{standing} ne 'absent' && @life > 1)
			{
				legs_of_life($program, $scope, $tell, @life);
				@life = ({ standing => 'absent' });
			}
			push @life, $state unless @life && $life[-1]{standing} eq 'absent' && $state->{standing} eq 'absent';
		}
		legs_of_life($program, $scope, $tell, @life);
	}
	return \%sums;
}

# --------------------------------------------------------------- the questions

# a sum of the server's as an integer like ours
sub as_integer { my ($scope, $text) = @_; return scaled($text, $scope->{weighted} ? 8 : 4); }

sub told_legs
{
	my ($program, $scope, $query) = @_;
	my %sums;
	for (split /\n/, $node->safe_psql($program->{db}, $query))
	{
		my ($currency, $leg, $reason, $deals, $unpriced, $value) = split /\|/, $_, -1;
		$sums{"$currency|$leg|$reason"} = [ $deals, $unpriced, as_integer($scope, $value) ];
	}
	return \%sums;
}

sub as_text
{
	my ($sums, @parts) = @_;
	return join "\n", map { "$_: " . join ' ', @{ $sums->{$_} }[@parts] } sort keys %$sums;
}

sub ask
{
	my ($program) = @_;
	my ($amount, $owner) = @$program{qw(amount owner)};
	my @marks = @{ $program->{marks} };
	my ($i, $j) = sort { $a <=> $b } int rand @marks, int rand @marks;
	my ($from, $to) = @marks[ $i, $j ];
	my %scope = (weighted => rand() < 0.5 ? 1 : 0);
	my @arguments = ("'d'", "'$from->{at}'", $j == $#marks && rand() < 0.5 ? "'infinity'" : "'$to->{at}'");
	if (rand() < 0.3)
	{
		$scope{pipelines} = [ pick(1, 2) ];
		push @arguments, "pipelines => '{" . (qw(One Two))[ $scope{pipelines}[0] - 1 ] . "}'";
	}
	if (rand() < 0.3)
	{
		$scope{owners} = [ rand() < 0.5 ? 'ann' : ('ann', 'bob') ];
		push @arguments, "owners => '{" . join(',', @{ $scope{owners} }) . "}'";
	}
	if (rand() < 0.3)
	{
		$scope{expected} = [ '2030-01-05', '2030-02-20' ];
		push @arguments, "expected => '[2030-01-05,2030-02-20)'";
	}
	if (rand() < 0.3)
	{
		$scope{filter} = pick(
			{ text => "$amount > 100", code => sub { defined $_[0]{amount} && $_[0]{amount} > 1000000 } },
			{ text => "amount <= 500 OR owner = 'bob'", code => sub { (defined $_[0]{amount} && $_[0]{amount} <= 5000000) || $_[0]{owner} eq 'bob' } },
			{ text => "probability IS NULL", code => sub { !defined $_[0]{probability} } });
		push @arguments, 'filter => ' . quoted($scope{filter}{text});
	}
	push @arguments, 'weighted => true' if $scope{weighted};
	my $arguments = join ', ', @arguments;
	my $expected = expected_legs($program, \%scope, $from->{seq}, $to->{seq});
	$met{ join ' ', grep { $_ ne '' } (split /\|/)[ 1, 2 ] }++ for keys %$expected;

	my $bridge = told_legs($program, \%scope, "SELECT currency, leg, reason, deals, unpriced, value FROM pipelines.bridge($arguments) WHERE deals <> 0 OR value <> 0");
	is(as_text($bridge, 0 .. 2), as_text($expected, 0 .. 2), "bridge($arguments)");
	my %totals;
	for (keys %$bridge)
	{
		my ($currency, $leg) = split /\|/;
		$totals{$currency} += ($leg eq 'end' ? -1 : 1) * $bridge->{$_}[2];
	}
	is(join(' ', grep { $totals{$_} != 0 } sort keys %totals), '', "it balances");

	my $changes = told_legs($program, \%scope, "SELECT currency, leg, reason, count(*), 0, sum(value) FROM pipelines.changes($arguments) WHERE leg IS NOT NULL GROUP BY 1, 2, 3");
	delete $expected->{$_} for grep { /\|(start|end)\|/ } keys %$expected;
	is(as_text($changes, 0, 2), as_text($expected, 0, 2), 'changes() adds up to it');

	# the table at the second instant, and as it was known at the first
	my $list = "$program->{key}, pipeline_id, stage_id, $amount, currency, probability, forecast_category, $owner, expected_close_on";
	for my $known (undef, $from, $to)
	{
		my @rows;
		for my $deal (keys %{ $program->{images} })
		{
			my $bound = !$known ? $to->{seq} : $known->{seq} < $to->{seq} ? $known->{seq} : $to->{seq};
			my ($image) = grep { $_->{seq} <= $bound && (!$known || $_->{recorded} <= $known->{seq}) } reverse @{ $program->{images}{$deal} };
			push @rows, join('|', $deal, (split /\|/, $image->{image}, -1)[ 0 .. 7 ]) if $image && !$image->{deleted};
		}
		my $at = "'$to->{at}'" . ($known ? ", known_at => '$known->{at}'" : '');
		is(join("\n", sort split /\n/, $node->safe_psql($program->{db}, "SELECT $list FROM pipelines.as_of(NULL::d, $at)")),
			join("\n", sort @rows), "as_of($at)");
	}
	return;
}

# A reader of pipeline One only: what comes from Two moves in, what goes there moves
# out, start and end are those of One, and the legs lead from one to the other.
sub ask_as_reader
{
	my ($program) = @_;
	my @marks = @{ $program->{marks} };
	my ($from, $to) = @marks[ sort { $a <=> $b } int rand @marks, int rand @marks ];
	my $arguments = "'d', '$from->{at}', '$to->{at}'";
	my $ends = "SELECT currency, leg, deals, unpriced, value FROM pipelines.bridge($arguments%s) WHERE leg IN ('start', 'end') AND deals > 0 ORDER BY 1, 2";

	is($node->safe_psql($program->{db}, 'SET ROLE reader; ' . sprintf $ends, ''),
		$node->safe_psql($program->{db}, sprintf $ends, q{, pipelines => '{One}'}), "a reader's bridge($arguments): the ends");
	is($node->safe_psql($program->{db}, "SET ROLE reader;
		SELECT currency FROM pipelines.bridge($arguments) GROUP BY 1 HAVING sum(CASE leg WHEN 'end' THEN -value ELSE value END) <> 0"), '', 'it balances');
	is($node->safe_psql($program->{db}, "SET ROLE reader;
		WITH c AS (SELECT currency, leg, reason, count(*) AS deals, sum(value) AS value FROM pipelines.changes($arguments) WHERE leg IS NOT NULL GROUP BY 1, 2, 3),
			b AS (SELECT currency, leg, reason, deals, value FROM pipelines.bridge($arguments) WHERE leg NOT IN ('start', 'end') AND deals > 0)
		(TABLE b EXCEPT TABLE c) UNION ALL (TABLE c EXCEPT TABLE b)"), '', 'changes() adds up to it');
	return;
}

run_sql($node, 'postgres', 'CREATE ROLE reader');
# some more, where chance has left out too much
for (my $n = 1; $n <= $programs || (keys %met < 8 && $n <= $programs + 8); $n++)
{
	my $program = run_program("p$n", (qw(plain parted renamed))[ ($n + $seed) % 3 ]);
	load_log($program);
	is($node->safe_psql($program->{db}, q{SELECT count(*) FROM pipelines.verify('d')}), '0', 'verify() finds nothing');
	ask($program) for 1 .. $questions;
	run_sql($node, $program->{db}, q{SELECT pipelines.grant_access('d', 'reader', 'read'); SELECT pipelines.protect_pipeline('Two')});
	ask_as_reader($program) for 1 .. $questions;
}

note join ', ', map { "$_ $met{$_}" } sort keys %met;
cmp_ok(scalar keys %met, '>=', 8, 'the programs met most of the legs');

repeat_recorded_seeds();
done_testing();
