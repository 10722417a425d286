# Histories of real CRM systems come in through import_view(): what stands in
# the deals and their history afterwards is what Perl makes of the files.
# R-13.3.
use strict;
use warnings;

use File::Basename qw(dirname);
use lib dirname(__FILE__);
use JSON::PP;
use PostgreSQL::Test::Utils;
use RealData;
use Test::More;

my $hubspot = data_folder('hubspot');
my $salesforce = data_folder('salesforce');
my $want = oracle("$salesforce/oracle_salesforce_seeds.json");
my $node = start_node('formats');

sub sql { return $node->safe_psql('postgres', $_[0]); }

# The rows of a file without quotes, as hashes.
sub rows_of
{
	my ($file) = @_;
	my @rows;

	open my $handle, '<', $file or die "$file: $!";
	chomp(my $header = <$handle>);
	$header =~ s/\r//;
	my @names = split /,/, $header;
	while (my $line = <$handle>)
	{
		$line =~ s/[\r\n]+$//;
		die "$file has quotes" if $line =~ /"/;
		my %row;
		@row{@names} = split /,/, $line, -1;
		push @rows, \%row;
	}
	close $handle;
	return (\@names, \@rows);
}

# all columns are text, in the file's order
sub load
{
	my ($table, $file) = @_;
	my ($names, $rows) = rows_of($file);

	sql("CREATE TABLE $table (" . join(', ', map { qq{"$_" text} } @$names) . ");
		COPY $table FROM '$file' (FORMAT csv, HEADER)");
	return $rows;
}

sub quoted { my ($text) = @_; $text =~ s/'/''/g; return "'$text'"; }

# an instant as the database writes it
sub instant
{
	my ($text) = @_;
	$text =~ s/(\.\d*?)0+$/$1/;
	$text =~ s/\.$//;
	return "$text+00";
}

sql('CREATE SCHEMA file');

# ----- versions of properties

my $versions = load('file.version', "$hubspot/deal_property_history_data.csv");

# The names of the properties are hashed: the most frequent one stands for the
# stage here, and the next two for columns that a deal carries along.
my %frequency;
$frequency{ $_->{name} }++ for @$versions;
my ($stage, $owner, $team) = sort { $frequency{$b} <=> $frequency{$a} || $a cmp $b } keys %frequency;

my (%of_deal, %stages);
for my $version (grep { $_->{name} eq $stage || $_->{name} eq $owner || $_->{name} eq $team } @$versions)
{
	push @{ $of_deal{ $version->{deal_id} }{ $version->{timestamp} } }, $version;
	$stages{ $version->{value} } = 1 if $version->{name} eq $stage;
}
my ($stageless_events, $stageless, $events, $repeats, %end, @past) = (0, 0, 0, 0);
for my $deal (sort { $a <=> $b } keys %of_deal)
{
	my $at = $of_deal{$deal};
	if (!grep { $_->{name} eq $stage } map { @$_ } values %$at)
	{
		$stageless++;
		$stageless_events += keys %$at;
		next;
	}
	my (%now, $before, $since);
	for my $time (sort keys %$at)
	{
		$now{ $_->{name} } = $_->{value} for @{ $at->{$time} };
		next if !defined $now{$stage};
		$events++;
		my $state = join '|', map { $_ // '' } @now{ $stage, $owner, $team };
		if (defined $before && $state eq $before)
		{
			$repeats++;
			next;
		}
		push @past, join '|', $deal, instant($since), instant($time), $before, (sort map { $_->{source_id} } @{ $at->{$time} })[-1]
		  if defined $before;
		($before, $since) = ($state, $time);
	}
	$end{$deal} = join '|', $before, instant($since);
}
cmp_ok(scalar keys %end, '>', 50, 'deals with a stage');
cmp_ok($stageless, '>', 10, 'deals without one');
cmp_ok(scalar @past, '>', 0, 'some have a past');

sql("SELECT pipelines.create_pipeline('Hashed', stages => jsonb_agg(s ORDER BY s)) FROM unnest(ARRAY["
	  . join(', ', map { quoted($_) } sort keys %stages) . '])  s');
sql(q{SELECT pipelines.create_deals('hubspot')});
my $fields = JSON::PP->new->canonical->encode({ fields => { stage => $stage, owner => $owner, team => $team } });
sql(qq{SELECT pipelines.import_view('hubspot_events', 'hubspot', 'file.version', 'hubspot', } . quoted($fields) . ')');
must_fail($node, q{SELECT pipelines.import_history('hubspot', 'hubspot_events')}, 'deals without a stage', '23S12',
	qr/refused: $stageless_events problems/, qr/it has no stage/, qr/Nothing was written/);
is(sql('SELECT count(*) FROM hubspot'), 0, 'nothing was written');

sql(q{
	DROP VIEW hubspot_events;
	CREATE VIEW file.version_of_staged AS
		SELECT * FROM file.version WHERE deal_id IN (SELECT deal_id FROM file.version WHERE name = } . quoted($stage) . ')');
sql(qq{SELECT pipelines.import_view('hubspot_events', 'hubspot', 'file.version_of_staged', 'hubspot', } . quoted($fields) . ')');
is(sql(q{SELECT deals, events, rows, repeats FROM pipelines.import_history('hubspot', 'hubspot_events')}),
	join('|', scalar keys %end, $events, scalar @past, $repeats), 'deals, events, rows and repeats');
is(sql(q{SELECT deal_id, stage_name, coalesce(owner, ''), coalesce(team, ''), changed_at FROM hubspot_current ORDER BY 1}),
	join("\n", map { "$_|$end{$_}" } sort { $a <=> $b } keys %end), 'the deals as they are');
is(sql(q{SELECT h.deal_id, h.valid_from, h.valid_to, s.name, coalesce(h.owner, ''), coalesce(h.team, ''), h.actor
		FROM hubspot_history h JOIN pipelines.stage s USING (stage_id) ORDER BY 1, 2}),
	join("\n", @past), 'and as they were');
is(sql(q{SELECT count(*) FROM pipelines.verify('hubspot')}), 0, 'verify finds nothing');

# ----- states of opportunities

my $states = load('file.state', "$salesforce/sf_opportunity_history_data.csv");

# stages are hashed, too: what they mean is said by flags
sql(q{
	SELECT pipelines.create_pipeline('Opportunities', time_zone => 'UTC', stages => jsonb_agg(s ORDER BY s ->> 'name'))
	FROM (SELECT jsonb_build_object('name', stage_name, 'outcome',
			CASE WHEN bool_or(is_won::boolean) THEN 'won' WHEN bool_or(is_closed::boolean) THEN 'lost' ELSE 'open' END) AS s
		FROM file.state GROUP BY stage_name) x;
	SELECT pipelines.create_deals('opportunities', currency => 'USD');
	CREATE TABLE file.ids AS SELECT row_number() OVER (ORDER BY id) AS deal_id, id AS foreign_id FROM (SELECT DISTINCT id FROM file.state) s;
});
my %options = (
	columns => { OpportunityId => 'id', CreatedDate => '_fivetran_start' },
	key => { table => 'file.ids', foreign => 'foreign_id' },
	constants => { pipeline => 'Opportunities' });

sub view_of_states
{
	my ($view, %more) = @_;
	my $options = JSON::PP->new->canonical->encode({ %options, %more });
	$options =~ s/"(true)"/$1/g;
	sql("SELECT pipelines.import_view('$view', 'salesforce', 'file.state', 'opportunities', " . quoted($options) . ')');
	return;
}

# all of them are flagged as deleted
view_of_states('without_deleted');
is(sql(q{SELECT count(*) FROM without_deleted}), scalar(grep { $_->{is_deleted} ne 'true' } @$states), 'deleted ones are left out');

# one has a probability of 1000 percent
view_of_states('with_probability', deleted => 'true', probability => 'true');
must_fail($node, q{SELECT pipelines.import_history('opportunities', 'with_probability')}, 'a probability of 1000', '23514',
	qr/"opportunities_probability_check"/);
is(sql('SELECT count(*) FROM opportunities'), 0, 'nothing of it was written');

view_of_states('states', deleted => 'true');
is(sql(q{SELECT deals, events, rows, repeats FROM pipelines.import_history('opportunities', 'states')}),
	join('|', $want->{distinct_history_ids}, $want->{history_rows}, 0, 0), 'all of them come in');
my @expected;
for my $state (sort { $a->{id} cmp $b->{id} } @$states)
{
	my $closed = $state->{is_closed} eq 'true';
	my $day = substr $state->{close_date}, 0, 10;
	push @expected, join '|', $state->{id}, instant($state->{_fivetran_start}), $state->{stage_name}, $state->{amount}, $day,
	  $state->{is_won} eq 'true' ? 'won' : $closed ? 'lost' : 'open', $closed ? $day : '', '';
}
is(sql(q{SELECT i.foreign_id, c.changed_at, c.stage_name, c.amount, c.expected_close_on, c.outcome, c.closed_on, c.probability
		FROM opportunities_current c JOIN file.ids i USING (deal_id) ORDER BY i.foreign_id COLLATE "C"}),
	join("\n", @expected), 'as the file has them');
same_figures(figures($node, q{SELECT json_build_object('won', count(*) FILTER (WHERE outcome = 'won'),
		'closed', count(*) FILTER (WHERE closed_at IS NOT NULL), 'null_amount', count(*) FILTER (WHERE amount IS NULL),
		'won_null_amount', count(*) FILTER (WHERE outcome = 'won' AND amount IS NULL), 'sum_amount', sum(amount)) FROM opportunities_current}),
	{ map { $_ => $want->{$_} } qw(won closed null_amount won_null_amount sum_amount) }, 'figures of all of them');
is(sql(q{SELECT count(*) FROM pipelines.verify('opportunities')}), 0, 'verify finds nothing');

$node->stop;
done_testing();
