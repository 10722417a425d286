# Shared by the tests on real data: where it is, and how figures that the
# database works out are held against figures worked out without it.
package RealData;

use strict;
use warnings;

use Cwd qw(abs_path);
use Exporter qw(import);
use File::Basename qw(dirname);
use File::Spec;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use Test::More;

our @EXPORT = qw(data_folder oracle start_node figures same_figures must_fail);

# The figures are rounded to six decimals.
use constant TOLERANCE => 1.0e-6;

# The folder with one kind of data, or the end of the test.
sub data_folder
{
	my ($kind) = @_;
	my $folder = $ENV{PIPELINES_DATA}
	  || File::Spec->catdir(dirname(__FILE__), qw(.. .. .. shared data));

	$folder = "$folder/$kind";
	plan skip_all => "skipped: there is no real data in $folder" unless -d $folder;
	return abs_path($folder);
}

sub oracle
{
	my ($file) = @_;

	open my $handle, '<:raw', $file or die "$file: $!";
	local $/ = undef;
	return JSON::PP->new->utf8->decode(scalar <$handle>);
}

sub start_node
{
	my ($name) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init;
	$node->append_conf('postgresql.conf', "timezone = 'UTC'\njit = off\n");
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION pipelines');
	return $node;
}

# What one query that gives one JSON value says.
sub figures
{
	my ($node, $sql) = @_;
	my $text = $node->safe_psql('postgres', $sql);

	return JSON::PP->new->allow_nonref->decode($text);
}

# A value at the end of a path, as text for the list of differences.
sub shown
{
	my ($value) = @_;

	return defined $value ? "$value" : 'null';
}

sub is_number
{
	my ($value) = @_;

	return defined $value && !ref $value && $value =~ /^-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?$/;
}

sub differences
{
	my ($got, $want, $path) = @_;

	if (ref $want eq 'HASH')
	{
		return ("$path: got " . shown($got) . ', expected an object') if ref $got ne 'HASH';
		my %keys = (%$got, %$want);
		return map {
			my $at = "$path/$_";
			    !exists $want->{$_} ? ("$at: got " . shown($got->{$_}) . ', expected nothing')
			  : !exists $got->{$_} ? ("$at: got nothing, expected " . shown($want->{$_}))
			  : differences($got->{$_}, $want->{$_}, $at)
		} sort keys %keys;
	}
	if (ref $want eq 'ARRAY')
	{
		return ("$path: got " . shown($got) . ', expected a list') if ref $got ne 'ARRAY';
		my @found = map { differences($got->[$_], $want->[$_], "$path/$_") } 0 .. $#$want;
		push @found, sprintf('%s: got %d, expected %d entries', $path, scalar @$got, scalar @$want)
		  if @$got != @$want;
		return @found;
	}
	if (is_number($got) && is_number($want))
	{
		return () if abs($got - $want) <= TOLERANCE;
	}
	elsif (!defined $got && !defined $want)
	{
		return ();
	}
	elsif (defined $got && defined $want && !ref $got && $got eq $want)
	{
		return ();
	}
	return ("$path: got " . shown($got) . ', expected ' . shown($want));
}

sub leaves
{
	my ($value) = @_;
	my $sum = 0;

	return 1 unless ref $value;
	$sum += leaves($_) for ref $value eq 'HASH' ? values %$value : @$value;
	return $sum;
}

# Compare a group of figures: one assertion for each entry of an object of
# objects, so that a wrong figure is named, else one for the whole.
sub same_figures
{
	my ($got, $want, $title) = @_;

	if (ref $want eq 'HASH' && ref $got eq 'HASH' && %$want && !grep { !ref } values %$want)
	{
		same_figures_at($got->{$_}, $want->{$_}, "$title: $_") for sort keys %$want;
		is(join(', ', grep { !exists $want->{$_} } sort keys %$got), '', "$title: nothing else");
		return;
	}
	same_figures_at($got, $want, $title);
	return;
}

sub same_figures_at
{
	my ($got, $want, $title) = @_;
	my @found = differences($got, $want, '');

	ok(!@found, "$title (" . leaves($want) . ' figures)');
	diag(join "\n", @found[ 0 .. ($#found > 19 ? 19 : $#found) ]) if @found;
	return;
}

# A statement that must be refused, with the SQLSTATE and all of the patterns
# in what it says.
sub must_fail
{
	my ($node, $sql, $title, $state, @patterns) = @_;
	my ($out, $err);
	my $status = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql",
		stdout => \$out, stderr => \$err, on_error_stop => 1);

	isnt($status, 0, "$title: refused");
	like($err, qr/ERROR:\s+\Q$state\E:/, "$title: $state");
	like($err, $_, "$title: says $_") for @patterns;
	return;
}

1;
