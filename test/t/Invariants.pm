# Invariants I1 to I7 of a deals table and its history, checked row by row over what
# is read with plain SELECTs: nothing of it asks verify(), or any other function of
# the extension.

package Invariants;

use strict;
use warnings;

use Exporter 'import';

our @EXPORT = qw(read_deals stale_keys broken_invariants);

# what of a deal counts as said by somebody: a version that differs in none of it is
# one too many (I6)
my @said = qw(pipeline_id stage_id amount owner probability close_reason closed_on);
my @kept = ('deal_id', 'version', @said, qw(episode stage_entered_at closed_at));

# Present rows and ended versions of each key, the latter in order, with the
# instants at which those who wrote them committed, as far as they are known
# (track_commit_timestamp).
sub read_deals
{
	my ($node, $db, $t) = @_;
	my @past = qw(change valid_from valid_to to_pipeline_id to_stage_id batch txid);
	my %state = (name => $t, present => {}, past => {}, stages => {});
	my $instants = sub { return join(', ', map { /_(?:at|from|to)$/ ? "(extract(epoch FROM $_) * 1000000)::bigint" : $_ } @_) };
	# ended versions first, and all at one snapshot
	my $out = $node->safe_psql($db, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
		SELECT 'h', @{[ $instants->(@kept, @past) ]}, (extract(epoch FROM pg_xact_commit_timestamp(xmin)) * 1000000)::bigint FROM ${t}_history ORDER BY deal_id, version;
		SELECT 'd', @{[ $instants->(@kept, 'changed_at') ]}, (extract(epoch FROM pg_xact_commit_timestamp(xmin)) * 1000000)::bigint, xmin FROM $t;
		SELECT 's', pipeline_id, stage_id, outcome FROM pipelines.pipeline_stage;
		COMMIT;");
	for (split /\n/, $out)
	{
		my ($what, @values) = split /\|/, $_, -1;
		my %row;
		if ($what eq 's') { $state{stages}{"$values[0]/$values[1]"} = $values[2] }
		elsif ($what eq 'h')
		{
			@row{ @kept, @past, 'committed' } = @values;
			push @{ $state{past}{ $row{deal_id} } }, \%row;
		}
		else
		{
			@row{ @kept, 'changed_at', 'committed', 'xmin' } = @values;
			$state{present}{ $row{deal_id} } = \%row;
		}
	}
	return \%state;
}

# Was a transaction over and visible in a snapshot (pg_current_snapshot() as text)?
sub is_visible
{
	my ($txid, $snapshot) = @_;
	my ($xmin, $xmax, $running) = split /:/, $snapshot, -1;
	return $txid < $xmin || ($txid < $xmax && !grep { $_ == $txid } split /,/, $running);
}

# Keys that were inserted again before their deletion was committed (CORE 2), the one
# thing that repair() is for: the row has a version that the history has already,
# the last of the history is the deletion, and the statement that inserted the row
# could not see that, nor began much later (to become visible takes a commit a
# moment).  Anything else that looks like it is none, and breaks I7.  'insertions':
# for each key and version [snapshot, time] of the statement.
sub stale_keys
{
	my ($state, $insertions) = @_;
	my @stale;
	for my $id (sort { $a <=> $b } keys %{ $state->{present} })
	{
		my $row = $state->{present}{$id};
		my $last = ($state->{past}{$id} || [])->[-1] || next;
		my ($snapshot, $at) = @{ $insertions->{$id}{ $row->{version} } || next };
		push @stale, $id if $row->{version} <= $last->{version} && $last->{change} eq 'delete'
			&& !is_visible($last->{txid}, $snapshot) && $at < $last->{committed} + 1_000_000;
	}
	return @stale;
}

sub is_closed { return ($_[0] // '') =~ /^(?:won|lost|disqualified|done)$/ }

# What is wrong, in words.  {except => {key => 1}}: only what is past is looked at;
# {redefined => {txid => 1}}: transactions that changed what stages mean.
sub broken_invariants
{
	my ($state, %more) = @_;
	my @broken;
	my %ids = map { $_ => 1 } keys %{ $state->{past} }, keys %{ $state->{present} };
	for my $id (sort { $a <=> $b } keys %ids)
	{
		my $say = sub { push @broken, "$state->{name} $id: @_" };
		my @versions = @{ $state->{past}{$id} || [] };
		my $present = $state->{present}{$id};
		push @versions, { %$present, valid_from => $present->{changed_at}, change => 'present' } if $present && !$more{except}{$id};
		my $before;
		for my $v (@versions)
		{
			my $stage = $state->{stages}{"$v->{pipeline_id}/$v->{stage_id}"};
			my $moved = $before && ($before->{pipeline_id} != $v->{pipeline_id} || $before->{stage_id} != $v->{stage_id});
			my $redefined = $before && $more{redefined}{ $before->{txid} };
			my $n = $v->{version};

			# I1: a stage that is there
			$say->("version $n is in a stage that does not exist") if !defined $stage;
			# I7: gapless, and in the order of time
			$say->("version $n after " . ($before ? $before->{version} : 'nothing')) if $n != ($before ? $before->{version} + 1 : 1);
			$say->("version $n is over before it begins") if $v->{change} ne 'present' && $v->{valid_from} >= $v->{valid_to};
			# I5: closed or not as the stage says (of the past it may have said something else)
			$say->('closed where stages are open, or open where they are closed') if $v->{change} eq 'present' && is_closed($stage) != ($v->{closed_at} ne '');
			if (!$before || $before->{change} eq 'delete')
			{
				# I2, I3: a life begins with a visit, and an episode of its own
				$say->("version $n: a visit that does not begin with the deal's life") if $v->{stage_entered_at} != $v->{valid_from};
				$say->("version $n: episode $v->{episode}") if $v->{episode} != ($before ? $before->{episode} + 1 : 1);
				$say->("version $n begins before the deletion of the one before") if $before && $v->{valid_from} < $before->{valid_to};
				$before = $v;
				next;
			}
			# I3, I4: no gap, no overlap, and what one version says of the next is true
			$say->("version $n begins " . ($v->{valid_from} - $before->{valid_to}) . ' microseconds after the one before ended') if $v->{valid_from} != $before->{valid_to};
			$say->("version $n is not where the one before says that it went")
				if "$before->{to_pipeline_id}/$before->{to_stage_id}" ne "$v->{pipeline_id}/$v->{stage_id}";
			my $enters = $moved || $redefined;
			$say->("version $n: a visit that begins neither with it nor before") if $v->{stage_entered_at} != ($enters ? $v->{valid_from} : $before->{stage_entered_at});
			$say->("version $n: $before->{change} without a move, or a move without saying so") if !$redefined && $moved != ($before->{change} ne 'change');
			# I6: nothing is written when nothing changed
			$say->("version $n is like the one before") if !$redefined && !grep { $before->{$_} ne $v->{$_} } @said;
			$say->("version $n: episode $v->{episode} after $before->{episode}, by $before->{change}")
				if $v->{episode} != $before->{episode} + ($before->{change} eq 'reopen' ? 1 : 0);
			$say->("version $n: closed $v->{closed_at} after $before->{change}") if $before->{change} eq 'close' && $v->{closed_at} eq '';
			$say->("version $n: still closed after $before->{change}") if $before->{change} eq 'reopen' && $v->{closed_at} ne '';
			# who waits for a row sees what was committed before: versions are in the order of commits,
			# and none begins after it was committed
			$say->("version $n was committed before the one that it follows") if $v->{change} ne 'present' && $v->{committed} < $before->{committed};
			$say->("version $n begins after its commit") if $v->{valid_from} > $before->{committed};
			$before = $v;
		}
		my $last = ($state->{past}{$id} || [])->[-1];
		if ($present && !$more{except}{$id} && $last && $last->{change} ne 'delete')
		{
			$say->('the row is not the version that the history leads to') if $last->{version} + 1 != $present->{version};
		}
		$say->("gone without a deletion, by $last->{change}") if !$present && $last->{change} ne 'delete';
	}
	return @broken;
}

1;
