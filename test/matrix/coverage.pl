# coverage.pl [FOLDER]: what of src/ the tests reached, from the .gcda files that
# a library built with --coverage left beside its objects.
#
# Prints one line per file and the sum; FOLDER/coverage-missed.txt lists every
# line that was not reached.  `elog(ERROR, ...)` is by the house rules for what
# cannot happen: such lines, and those that do nothing but lead to them, are
# counted apart.  Exits with 1 below COVERAGE_MINIMUM percent (95).

use strict;
use warnings;
use File::Basename;
use File::Find;

my $folder = shift // '.';
my $minimum = $ENV{COVERAGE_MINIMUM} // 95;
my (%reached, %missed, %impossible);
my @objects;

chdir $folder or die "$folder: $!";
find({ no_chdir => 1, wanted => sub { push @objects, $_ if /\.gcda$/ } }, 'src');
die "no .gcda file: was the library built with --coverage, and its server stopped in time?\n" if !@objects;
open my $list, '>', 'coverage-missed.txt' or die $!;
for my $object (sort @objects)
{
	my @lines = `gcov --stdout --object-directory "@{[ dirname $object ]}" "$object" 2>/dev/null`;
	my ($file, @rows);
	my $flush = sub {
		return if !defined $file || $file !~ /\.[ch]$/ || $file =~ m{^/};
		my @source = map { $_->[2] } @rows;
		for my $i (0 .. $#rows)
		{
			my ($count, $number, $text) = @{ $rows[$i] };
			next if $count eq '-';
			if ($count !~ /^#+|^=+/) { $reached{$file}{$number} = 1; delete $missed{$file}{$number}; next }
			next if $reached{$file}{$number};
			my $cannot = $text =~ /\belog\(ERROR/;
			# an elog over several lines
			for my $back (1 .. 3)
			{
				last if $i - $back < 0 || $source[ $i - $back ] =~ /;\s*$/;
				$cannot ||= $source[ $i - $back ] =~ /\belog\(ERROR/;
			}
			$missed{$file}{$number} = [ $text, $cannot ];
		}
	};
	for my $line (@lines)
	{
		chomp $line;
		my ($count, $number, $text) = $line =~ /^\s*([^:]+?):\s*(\d+):(.*)$/ or next;
		if ($number == 0)
		{
			if ($text =~ /^Source:(.*)/) { $flush->(); ($file, @rows) = ($1); }
			next;
		}
		push @rows, [ $count, $number, $text ];
	}
	$flush->();
}

my ($good, $bad, $cannot) = (0, 0, 0);
for my $file (sort keys %{ { %reached, %missed } })
{
	my @missed = sort { $a <=> $b } keys %{ $missed{$file} || {} };
	my $never = grep { $missed{$file}{$_}[1] } @missed;
	my ($r, $m) = (scalar keys %{ $reached{$file} || {} }, @missed - $never);
	printf "%6.1f %%  %5d of %5d lines%s  %s\n", $r + $m ? 100 * $r / ($r + $m) : 100, $r, $r + $m, $never ? sprintf(' (+%d impossible)', $never) : '', $file;
	printf $list "%s:%d:%s%s\n", $file, $_, $missed{$file}{$_}[1] ? ' [impossible]' : '', $missed{$file}{$_}[0] for @missed;
	$good += $r;
	$bad += $m;
	$cannot += $never;
}
my $percent = 100 * $good / ($good + $bad);
printf "report: %.2f %% of %d lines in src/ reached, %d not (%d more lines are elog(ERROR))\n", $percent, $good + $bad, $bad, $cannot;
exit($percent < $minimum ? 1 : 0);
