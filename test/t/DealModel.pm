# What must become of deals, said once more and independently: an account of the
# rules (R-2.1 to R-2.32 and I1 to I7; README, "Rules") over plain hashes, which
# shares nothing with the extension.  Random programs are judged by it.
#
# A deal is a hash of its columns; times are either given ones or the number of
# the version that began then.  Deals are known by a number, whatever their key is.
#
# A change is refused by dying with a hash of the SQLSTATEs that say why: all that
# apply, since a statement may name any of them first.

package DealModel;

use strict;
use warnings;

use Time::Local 'timegm';

our @texts = qw(owner source currency forecast_category close_reason competitor close_notes);
our @numbers = qw(amount quantity cost probability);
our @tracked = (@texts, @numbers, 'expected_close_on');
my %is_number = map { $_ => 1 } @numbers;

# definition: {spec => {pipeline => {stage => {position, outcome, mandatory,
# may_start, archived}}}, start => the pipeline of deals that name none,
# map => {"pipeline/stage/pipeline" => stage}, first => {pipeline => 1} where a
# transfer that nothing else answers goes to the first stage}
sub new
{
	my ($class, %definition) = @_;
	return bless {
		%definition,
		deals => {},         # present rows
		past => {},          # [ended versions] of each key
		activities => {},    # [what was done, or is to be done] for each key
		context => {},       # settings
		roles => {},         # whose members are at work
		rules => {},
		clock => 0
	}, $class;
}

# neither a row nor an ended version nor an activity nor a definition ever changes: a
# new one takes its place
sub snapshot
{
	my ($self) = @_;
	my %copy = (deals => { %{ $self->{deals} } }, context => { %{ $self->{context} } }, instant => $self->{instant}, spec => $self->{spec});
	for my $lists (qw(past activities))
	{
		$copy{$lists} = { map { $_ => [ @{ $self->{$lists}{$_} } ] } keys %{ $self->{$lists} } };
	}
	return \%copy;
}

sub restore
{
	my ($self, $copy) = @_;
	@$self{ keys %$copy } = values %$copy;
	return;
}

# All that a transaction changes bears one instant, that of its first change
# (CORE 11); one that is rolled back to a savepoint has none yet.
sub instant
{
	my ($self) = @_;
	return $self->{instant} //= ++$self->{clock};
}

sub begin_transaction
{
	my ($self) = @_;
	$self->{instant} = undef;
	return;
}

sub refuse
{
	my @states = @_;
	die { map { $_ => 1 } @states };
}

sub closed { return $_[0]{outcome} =~ /^(?:won|lost|disqualified|done)$/ }
sub progress { return $_[0]{outcome} =~ /^(?:open|won|done)$/ }
sub lost { return $_[0]{outcome} =~ /^(?:lost|disqualified)$/ }
sub filled { my ($deal, $column) = @_; return defined $deal->{$column} && $deal->{$column} =~ /\S/ }

sub differ
{
	my ($column, $a, $b) = @_;
	return defined $a != defined $b if !defined $a || !defined $b;
	return $is_number{$column} ? $a != $b : $a ne $b;
}

# what the table itself refuses, whatever else is wrong with the row
sub impossible
{
	my ($deal) = @_;
	return defined $deal->{probability} && $deal->{probability} > 100 ? ('23514') : ();
}

sub stages_in_order
{
	my ($self, $p) = @_;
	my $stages = $self->{spec}{$p};
	return sort { $stages->{$a}{position} <=> $stages->{$b}{position} } keys %$stages;
}

# Definitions are changed: what deals have been through is judged by what stages are
# now, and nothing else becomes of deals (R-2.34, R-2.35).
sub redefine
{
	my ($self, $p, $s, %set) = @_;
	$self->instant;
	my %spec = %{ $self->{spec} };
	$spec{$p} = { %{ $spec{$p} }, $s => { %{ $spec{$p}{$s} }, %set } };
	$self->{spec} = \%spec;
	return;
}

# where a deal begins that names no stage: the first open one that it may begin in
sub begins_in
{
	my ($self, $p) = @_;
	my @open = grep { !$self->{spec}{$p}{$_}{archived} && $self->{spec}{$p}{$_}{outcome} eq 'open' } $self->stages_in_order($p);
	my ($first) = grep { $self->{spec}{$p}{$_}{may_start} } @open;
	return $first // $open[0];
}

sub find_stage
{
	my ($self, $p, $s, @also) = @_;
	refuse('23S01', @also) unless $self->{spec}{$p} && defined $s && $self->{spec}{$p}{$s};
	return $self->{spec}{$p}{$s};
}

# The same stage there, or what the map says.
sub same_there
{
	my ($self, $from_p, $s, $p) = @_;
	return $s if $self->{spec}{$p}{$s} && !$self->{spec}{$p}{$s}{archived};
	return $self->{map}{"$from_p/$s/$p"};
}

# R-2.14: where a deal in $s goes if only its pipeline is given.
sub answer
{
	my ($self, $from_p, $s, $p) = @_;
	return $self->same_there($from_p, $s, $p) // ($self->{first}{$p} ? $self->begins_in($p) : undef);
}

# R-2.7: how far a deal has got in its pipeline.  One that came in where nothing is
# reached, as to a pause, may have been there before, in the same episode.
sub reached_here
{
	my ($self, $id, $old, $base) = @_;
	my $stages = $self->{spec}{ $old->{pipeline_id} };
	return $old->{furthest} if progress($stages->{ $old->{furthest} });
	my @been = grep { progress($stages->{$_}) } $base,
		map { $_->{stage_id} } grep { $_->{episode} == $old->{episode} && $_->{pipeline_id} == $old->{pipeline_id} } @{ $self->{past}{$id} || [] };
	@been = sort { $stages->{$a}{position} <=> $stages->{$b}{position} } @been;
	return $been[-1] // $old->{furthest};
}

# R-2.16: the furthest of the stages of $p that answer to those up to the furthest one
# that the deal has reached in its pipeline, or to the one that it is in if that is
# entered
sub reached_there
{
	my ($self, $old, $reached, $p, $entered) = @_;
	my $from_p = $old->{pipeline_id};
	my ($from, $to) = @{ $self->{spec} }{ $from_p, $p };
	my $furthest = $from->{$reached};
	my @been = grep { progress($furthest) && progress($from->{$_}) && $from->{$_}{position} <= $furthest->{position} } keys %$from;
	my @there = grep { defined } map { $self->same_there($from_p, $_, $p) } @been;
	push @there, $entered if ($self->answer($from_p, $old->{stage_id}, $p) // 0) == $entered;
	@there = sort { $to->{$a}{position} <=> $to->{$b}{position} } grep { progress($to->{$_}) } @there;
	return $there[-1];
}

# R-2.32: a deal on hold stands where it was before in this episode and pipeline,
# or as far as it got if it was nowhere else
sub stands_in
{
	my ($self, $id, $old) = @_;
	my ($p, $s) = @$old{qw(pipeline_id stage_id)};
	return $s if $self->{spec}{$p}{$s}{outcome} ne 'on_hold';
	for my $v (reverse @{ $self->{past}{$id} || [] })
	{
		last if $v->{episode} != $old->{episode};
		return $v->{stage_id} if $v->{pipeline_id} == $p && $self->{spec}{$p}{ $v->{stage_id} }{outcome} ne 'on_hold';
	}
	return $old->{furthest};
}

sub set_closing
{
	my ($deal, $given) = @_;
	$deal->{closed_at} = $given->{closed_at} // "v$deal->{version}";
	$deal->{closed_on} = $given->{closed_on} // "auto$deal->{pipeline_id}";
	return;
}

sub reason_is_given { return ($_[0]{context}{reason} // '') =~ /\S/ }

# R-2.11, S20: which activities does a stage still demand?  Done in the present
# episode, and not in the future.
sub undone
{
	my ($self, $id, $old, $kinds) = @_;
	my %done;
	for my $activity (@{ $self->{activities}{$id} || [] })
	{
		my $done = $activity->{done} // next;
		next if $done eq 'future' || ($done eq 'past' && $old->{episode} > 1);
		next if $done =~ /^\d/ && $done < ($old->{began} // 0);
		$done{ $activity->{kind} } = 1;
	}
	return grep { !$done{$_} } @$kinds;
}

# S31, S69: what a stage demands of a deal that goes on from it.  Given up, put
# aside or taken elsewhere it may be at any time.
sub demands
{
	my ($self, $id, $old, $new, $s) = @_;
	my ($from_p, $p) = ($old->{pipeline_id}, $new->{pipeline_id});
	my $from = $self->{spec}{$from_p}{$s};
	my $to = $self->{spec}{$p}{ $new->{stage_id} };
	return if closed($from) || !progress($to);
	return if $to->{outcome} eq 'open' && ($p != $from_p || $to->{position} <= $from->{position});
	my $rules = $self->{rules}{$from_p}{stages}{$s} || {};
	my @because;
	push @because, '23S14' if $rules->{exit} && !$rules->{exit}{holds}->($new);
	push @because, '23S15' if $rules->{activities} && $self->undone($id, $old, $rules->{activities});
	return @because;
}

# R-2.28: what a closing must bring along, and what must stay ($old: as it was in
# the same closing)
# ($p: in whose time zone; where the sun rises earlier it may be tomorrow there)
sub lacks
{
	my ($self, $deal, $to, $requirement, $p) = @_;
	return lost($to) && !filled($deal, 'close_reason') if $requirement eq 'lost_reason';
	return lc($deal->{close_reason} // '') eq 'other' && !filled($deal, 'close_notes') if $requirement eq 'other_notes';
	return $to->{outcome} eq 'won' && !defined $deal->{amount} if $requirement eq 'won_amount';
	my $day = $deal->{closed_on} // '';
	return $day eq '2199-01-01' || ($p != $self->{east} && $day eq "auto$self->{east}" && (gmtime)[2] >= 15);
}

sub closing_lacks
{
	my ($self, $new, $same, $before) = @_;
	my $to = $self->{spec}{ $new->{pipeline_id} }{ $new->{stage_id} };
	my @because;
	for my $requirement (@{ $self->{rules}{ $new->{pipeline_id} }{close_requires} || [] })
	{
		my $lacks = $self->lacks($new, $to, $requirement, $new->{pipeline_id});
		if ($requirement eq 'lost_reason' && lost($to))
		{
			# the reason of another closing, which this one takes the place of, says nothing
			$lacks ||= !$same && $before && defined $before->{closed_at} && defined $before->{close_reason}
				&& $before->{close_reason} eq $new->{close_reason};
			$lacks &&= !$self->reason_is_given;
		}
		next if !$lacks || ($same && $self->lacks($before, $to, $requirement, $new->{pipeline_id}));
		push @because, $requirement eq 'lost_reason' ? '23S16' : '23S14';
	}
	return @because;
}

sub is_above
{
	my ($deal, $approval) = @_;
	return 0 if !defined $deal->{amount};
	return $deal->{amount} > 0 if defined $deal->{currency} && defined $approval->{currency} && $deal->{currency} ne $approval->{currency};
	return $deal->{amount} > $approval->{above};
}

# who may do it?  $old is undef for a new deal
sub unapproved
{
	my ($self, $old, $new, $moves) = @_;
	my $p = $new->{pipeline_id};
	my $transfer = $old && $old->{pipeline_id} != $p;
	my @concerned;
	for my $approval (@{ $self->{rules}{$p}{approvals} || [] })
	{
		my ($from, $to) = @$approval{qw(from to)};
		next if defined $to && $to != $new->{stage_id};
		if ($moves)
		{
			next if defined $from && (!$old || $transfer || $from != $old->{stage_id});
			next if defined $approval->{above} && !is_above($new, $approval);
		}
		else
		{
			# the amount grows where the deal is; one in another currency was another one
			next if defined $from || !defined $approval->{above} || !is_above($new, $approval);
			next if is_above($old, $approval) && !differ('currency', $old->{currency}, $new->{currency});
		}
		push @concerned, $approval;
	}
	if ($transfer)
	{
		# what is reserved of leaving a stage for wherever
		push @concerned, grep {
			defined $_->{from} && !defined $_->{to} && $_->{from} == $old->{stage_id}
				&& (!defined $_->{above} || is_above($new, $_))
		} @{ $self->{rules}{ $old->{pipeline_id} }{approvals} || [] };
	}
	return grep({ !$self->{roles}{ $_->{role} } } @concerned) ? ('42501') : ();
}

# The one way around the rules: a setting, a role, a reason.  Returns what stands
# against it; nothing: go on.
sub no_bypass
{
	my ($self, @pipelines) = @_;
	for my $p (@pipelines)
	{
		my $role = $self->{rules}{$p}{bypass};
		return '42501' if !defined $role || !$self->{roles}{$role};
		return '23S16' if !$self->reason_is_given;
	}
	return;
}

# a row as BEFORE INSERT completes it; also what EXCLUDED is in an upsert
sub complete
{
	my ($self, $id, $cols) = @_;
	$self->instant;
	my %deal = map { $_ => undef } @tracked, qw(closed_at closed_on name);
	@deal{ keys %$cols } = values %$cols;
	my $kept = delete $deal{kept};
	my $type = $self->{rules}{deal_type};
	$deal{pipeline_id} //= $type && ($deal{ $type->{column} } // '') eq $type->{value} ? $type->{pipeline} : $self->{start};
	$deal{stage_id} //= $self->begins_in($deal{pipeline_id}) if $self->{spec}{ $deal{pipeline_id} };
	my $stage = $self->find_stage($deal{pipeline_id}, $deal{stage_id}, impossible(\%deal));
	my @past = @{ $self->{past}{$id} || [] };
	$deal{version} = @past ? $past[-1]{version} + 1 : 1;
	$deal{episode} = @past ? $past[-1]{episode} + 1 : 1;
	$deal{began} = $past[-1]{ended} if @past;
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
	my ($self, $id, $cols) = @_;
	my $deal = $self->complete($id, $cols);
	my @because = impossible($deal);
	push @because, '23505' if $self->{deals}{$id};
	my ($p, $s) = @$deal{qw(pipeline_id stage_id)};
	my $stage = $self->{spec}{$p}{$s};
	if (!$cols->{kept})
	{
		my $rules = $self->{rules}{$p}{stages}{$s} || {};
		push @because, '23S02' if $stage->{archived};
		push @because, '23S03' if !$stage->{may_start};
		push @because, '23S14' if $rules->{entry} && !$rules->{entry}{holds}->($deal);
		push @because, $self->closing_lacks($deal, 0) if closed($stage);
		push @because, $self->unapproved(undef, $deal, 1);
	}
	refuse(@because) if @because;
	$self->{deals}{$id} = $deal;
	return;
}

sub ended
{
	my ($self, $id, $old, $kind, $new, %more) = @_;
	push @{ $self->{past}{$id} }, {
		%$old, %{ $self->{context} },
		change => $kind,
		to => $new ? "$new->{pipeline_id}/$new->{stage_id}" : '/',
		skipped => $more{skipped} && @{ $more{skipped} } ? '{' . join(',', @{ $more{skipped} }) . '}' : '',
		bypassed => $more{bypassed} ? 't' : 'f',
		ended => $self->instant
	};
	return;
}

# ($undoing: what was allowed once comes back, all of it, and no rule is asked)
sub update
{
	my ($self, $id, $set, $undoing) = @_;
	my $old = $self->{deals}{$id};
	return if !$old;
	$self->instant;
	my $new = {%$old};
	my %given;

	refuse('23S05') if exists $set->{deal_id};
	for my $column (keys %$set)
	{
		next if $column eq 'stale';
		if ($column eq 'closed_at' || $column eq 'closed_on')
		{
			# what is sent as it was is not given: nobody can tell it from a whole row that is sent
			$given{$column} = $set->{$column} if differ($column, $old->{$column}, $set->{$column});
			next;
		}
		$new->{$column} = $set->{$column};
	}
	my @impossible = impossible($new);
	my $moves = ($new->{pipeline_id} // 0) != $old->{pipeline_id}
		|| ($new->{stage_id} // 0) != $old->{stage_id};
	my ($kind, @skipped, @clear, @because, $transfer);

	if ($moves)
	{
		my ($from_p, $from_s) = @$old{qw(pipeline_id stage_id)};
		my $p = $new->{pipeline_id} // refuse('23502', @impossible);
		$transfer = $p != $from_p;
		refuse('23502', @impossible) if !$transfer && !defined $new->{stage_id};
		my $stages = $self->{spec}{$p} // refuse('23S01', @impossible);

		# only the pipeline is given: same stage, map, policy
		if ($transfer && (!defined $new->{stage_id} || $new->{stage_id} == $from_s))
		{
			$new->{stage_id} = $self->answer($from_p, $from_s, $p) // refuse('23S04', @impossible);
		}
		my $to = $self->find_stage($p, $new->{stage_id}, @impossible);
		my $from = $self->{spec}{$from_p}{$from_s};
		refuse('23S02', @impossible) if $to->{archived};

		$new->{version} = $old->{version} + 1;
		$new->{entered} = "v$new->{version}";
		my $base = $self->stands_in($id, $old);
		my $reached = $self->reached_here($id, $old, $base);
		$reached = $self->reached_there($old, $reached, $p, $new->{stage_id}) if $transfer;
		if (closed($from) && !closed($to))
		{
			$kind = 'reopen';
			$new->{episode}++;
			$new->{began} = $self->instant;
			$new->{furthest} = $new->{stage_id};
			@$new{qw(closed_at closed_on)} = (undef, undef);
			@clear = qw(probability forecast_category close_reason competitor close_notes);
		}
		else
		{
			# R-2.7, R-2.32: neither a pause nor a loss is progress
			my $position = defined $reached && progress($stages->{$reached}) ? $stages->{$reached}{position} : 0;
			@skipped = grep {
				my $s = $stages->{$_};
				$s->{mandatory} && !$s->{archived} && $s->{outcome} eq 'open'
					&& $s->{position} > $position && $s->{position} < $to->{position}
			} $self->stages_in_order($p)
				if progress($to);
			$new->{furthest} = $reached // $new->{stage_id} if $transfer;
			$new->{furthest} = $new->{stage_id} if progress($to) && $to->{position} > $position;
		}
		if (closed($to) && (!closed($from) || $from->{outcome} ne $to->{outcome}))
		{
			$kind = 'close';
			set_closing($new, \%given);
		}
		$kind ||= $transfer ? 'transfer' : $undoing ? 'undo' : 'move';
		@skipped = () if $undoing;

		my $rules = $self->{rules}{$p};
		push @clear, qw(probability forecast_category)
			if $rules->{policy} eq 'clear_on_move' || ($rules->{policy} eq 'clear_on_forward' && $to->{position} > $from->{position});
		for my $column (@clear)
		{
			$new->{$column} = undef if !$undoing && !differ($column, $old->{$column}, $new->{$column});
		}

		push @because, '23S03' if $rules->{mode} eq 'strict' && @skipped;
		push @because, '23S03' if $transfer && !$to->{may_start};
		push @because, '23S03' if $rules->{mode} eq 'graph' && !$transfer && !$self->{graph}{"$from_s-$new->{stage_id}"};
		# R-2.13, and a pause does not turn a move back into none
		my $stood = $self->{spec}{$from_p}{$base};
		if (!$transfer && !closed($from) && $to->{outcome} eq 'open' && progress($stood) && $to->{position} < $stood->{position})
		{
			push @because, '23S03' if $rules->{backward} eq 'refused';
			push @because, '23S16' if $rules->{backward} eq 'reason' && !$self->reason_is_given;
		}
		push @because, $self->demands($id, $old, $new, $from_s);
		push @because, $self->demands($id, $old, $new, $base) if $base != $from_s && !$transfer;
		my $entry = $rules->{stages}{ $new->{stage_id} }{entry};
		push @because, '23S14' if $entry && !$entry->{holds}->($new);
	}
	# of a closing that was there before, the day may be put right, not the instant
	$new->{closed_on} = $given{closed_on}
		if defined $given{closed_on} && defined $new->{closed_at} && ($kind || '') ne 'close';
	# what a closing said comes back with all the rest
	@$new{qw(closed_at closed_on)} = @$set{qw(closed_at closed_on)} if $undoing && defined $new->{closed_at} && defined $set->{closed_at};
	if (!$moves)
	{
		$kind = $undoing ? 'undo' : 'change' if grep { differ($_, $old->{$_}, $new->{$_}) } @tracked, 'closed_at', 'closed_on';
		$new->{version}++ if $kind;
	}
	if ($kind)
	{
		push @because, $self->closing_lacks($new, 0, $old) if $kind eq 'close';
		push @because, $self->closing_lacks($new, 1, $old)
			if $kind ne 'close' && defined $old->{closed_at} && defined $new->{closed_at};
		push @because, $self->unapproved($old, $new, $moves);
	}
	@because = () if $undoing;
	my $bypassed = 0;
	if (@because && $self->{context}{bypass})
	{
		$bypassed = 1;
		@because = $self->no_bypass($new->{pipeline_id}, $transfer ? $old->{pipeline_id} : ());
	}
	refuse(@because, @impossible) if @because || @impossible;
	$self->ended($id, $old, $kind, $new, skipped => \@skipped, bypassed => $bypassed) if $kind;
	$self->{deals}{$id} = $new;
	return;
}

# A stage becomes something else, and all deals in it with it (R-2.34): a closing, or
# a reopening, which no rule refuses and which is no move.
sub change_outcome
{
	my ($self, $p, $s, $outcome) = @_;
	my $from = $self->{spec}{$p}{$s};
	$self->redefine($p, $s, outcome => $outcome);
	my $to = $self->{spec}{$p}{$s};
	return if !closed($from) && !closed($to);
	for my $id (grep { my $deal = $self->{deals}{$_}; $deal->{pipeline_id} == $p && $deal->{stage_id} == $s } keys %{ $self->{deals} })
	{
		my $old = $self->{deals}{$id};
		my $new = { %$old, version => $old->{version} + 1 };
		$new->{entered} = "v$new->{version}";
		if (closed($to))
		{
			my $reached = $self->{spec}{$p}{ $self->reached_here($id, $old, $s) };
			$new->{furthest} = $s if progress($to) && (!progress($reached) || $to->{position} > $reached->{position});
			set_closing($new, {});
		}
		else
		{
			@$new{qw(closed_at closed_on probability forecast_category close_reason competitor close_notes)} = ();
			@$new{qw(episode began furthest)} = ($old->{episode} + 1, $self->instant, $s);
		}
		$self->ended($id, $old, closed($to) ? 'close' : 'reopen', $new);
		$self->{deals}{$id} = $new;
	}
	return;
}

sub remove
{
	my ($self, $id) = @_;
	return if !$self->{deals}{$id};
	$self->ended($id, $self->{deals}{$id}, 'delete', undef);
	delete $self->{deals}{$id};
	return;
}

# INSERT ... ON CONFLICT (key) DO UPDATE SET those columns = EXCLUDED's
sub upsert
{
	my ($self, $id, $cols, $update) = @_;
	return $self->insert($id, $cols) if !$self->{deals}{$id};
	my $excluded = $self->complete($id, $cols);
	my @impossible = impossible($excluded);
	refuse(@impossible) if @impossible;
	$self->update($id, { map { $_ => $excluded->{$_} } @$update }) if @$update;
	return;
}

# R-2.23: which deals did a batch change, and is the last that it did with each of
# them what it did without a break: its first and its last version there?
sub of_batch
{
	my ($self, $batch) = @_;
	my %of;
	for my $id (keys %{ $self->{past} })
	{
		my ($first, $last, $deleted);
		for my $v (@{ $self->{past}{$id} })
		{
			next if !defined $v->{batch} || $v->{batch} ne $batch;
			($first, $deleted) = ($v, 0) if !$last || $last->{version} != $v->{version} - 1;
			$last = $v;
			$deleted = 1 if $v->{change} eq 'delete';
		}
		$of{$id} = { first => $first, last => $last, deleted => $deleted } if $last;
	}
	return \%of;
}

# The batch is taken back: what has not changed since gets all that it had before,
# what has changed but not moved goes back to its stage as the rules let it.  Returns
# of how many deals, and of how many of them it was.
sub undo_batch
{
	my ($self, $batch) = @_;
	my $of = $self->of_batch($batch);
	my $done = 0;
	for my $id (keys %$of)
	{
		my ($first, $last, $deleted) = @{ $of->{$id} }{qw(first last deleted)};
		my $deal = $self->{deals}{$id};
		next if !$deal || $deleted;
		my $untouched = $deal->{version} == $last->{version} + 1;
		my ($next) = grep { $_->{version} == $last->{version} + 1 } @{ $self->{past}{$id} };
		next if !$untouched && !($next && !grep { $next->{$_} ne $deal->{$_} } qw(entered pipeline_id stage_id));
		my $now = $self->snapshot;
		if (eval { $self->update($id, { map { $_ => $first->{$_} } qw(pipeline_id stage_id), $untouched ? (@tracked, qw(closed_at closed_on)) : () }, $untouched); 1 })
		{
			$done++;
			next;
		}
		die $@ if !ref $@;
		$self->restore($now);
	}
	return (scalar(keys %$of), $done);
}

# How often the expected closing was put off in the present life of a key, and by how
# many days altogether (R-2.30): to bring it forward subtracts nothing.
sub pushes
{
	my ($self, $id) = @_;
	my ($times, $days) = (0, 0);
	my $before;
	for my $v (@{ $self->{past}{$id} || [] }, $self->{deals}{$id})
	{
		my ($from, $to) = ($before && $before->{expected_close_on}, $v->{expected_close_on});
		if (defined $from && defined $to && $to gt $from)
		{
			$times++;
			$days += day_number($to) - day_number($from);
		}
		$before = $v;
		($times, $days, $before) = (0, 0) if ($v->{change} // '') eq 'delete';
	}
	return ($times, $days);
}

sub day_number
{
	my ($year, $month, $day) = $_[0] =~ /^(\d+)-(\d+)-(\d+)$/ or die "no day: $_[0]";
	return timegm(0, 0, 0, $day, $month - 1, $year) / 86400;
}

# an activity: done 'past', 'future' or undef (planned), or 'now'
sub add_activity
{
	my ($self, $id, $kind, $done) = @_;
	$done = ++$self->{clock} if ($done // '') eq 'now';
	push @{ $self->{activities}{$id} }, { kind => $kind, done => $done };
	return;
}

# all of a kind are done now, or (done undef) planned again
sub set_activities
{
	my ($self, $id, $kind, $done) = @_;
	$done = ++$self->{clock} if ($done // '') eq 'now';
	$self->{activities}{$id} = [ map { $_->{kind} eq $kind ? { %$_, done => $done } : $_ } @{ $self->{activities}{$id} || [] } ];
	return;
}

1;
