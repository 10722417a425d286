# tap.pl FILE...: run TAP files two at a time and count their assertions.
#
# The environment (PERL5LIB, TEMP_CONFIG and so on) is check.sh's business.
# Prints one line per file, all that a failing file said, and at the very end
# `counts PASSED FAILED SKIPPED` for check.sh.

use strict;
use warnings;
use File::Basename;
use TAP::Parser;
use TAP::Harness;

my $limit = $ENV{TAP_LIMIT} || 480;
my $dump = $ENV{PERL_TEST_HARNESS_DUMP_TAP};
my ($passed, $failed, $skipped) = (0, 0, 0);

my $harness = TAP::Harness->new({
	jobs => 2,
	verbosity => -3,
	merge => 1,
	exec => [ 'timeout', '-k', '10', $limit, $^X ],
});

# one line as soon as a file is through
$harness->callback(
	after_test => sub {
		my ($test, $parser) = @_;
		my $name = basename($test->[0], '.pl');
		my @failed = $parser->failed;
		my @skipped = $parser->skipped;
		my @good = $parser->passed;

		# a skipped assertion counts as passed for TAP, not for us
		my $bad = @failed;
		my $good = @good - @skipped;

		if (defined $parser->skip_all)
		{
			$skipped++;
			printf "skipped %s: %s\n", $name, $parser->skip_all;
			return;
		}
		# died, wrong plan, no plan: a failure even if each assertion passed
		$bad++ if !$bad && $parser->has_problems;
		$passed += $good;
		$failed += $bad;
		$skipped += @skipped;
		printf "%s %s: %d passed", ($bad ? 'FAILED ' : 'ok     '), $name, $good;
		printf ", %d failed", $bad if $bad;
		printf ", %d skipped", scalar @skipped if @skipped;
		printf ", exit code %d", $parser->exit if $parser->exit;
		printf " (%.0f s)\n", $parser->end_time - $parser->start_time;
		if ($bad)
		{
			print "  $_\n" for $parser->parse_errors;
			show_output($test->[0], !$parser->parse_errors);
		}
	});

# What a failing file said: each assertion that failed with the explanation
# that follows it, and what stands outside of all assertions.  PostgreSQL's test
# modules send the rest, such as the error that a test died of, to a log of
# their own; its end is of interest where the test came to no end.
sub show_output
{
	my ($file, $came_to_end) = @_;
	my $name = basename($file, '.pl');
	my $logs = "$ENV{TESTLOGDIR}";

	if (open my $out, '<', "$dump/$file")
	{
		my ($wanted, @lines) = (1);
		while (my $line = <$out>)
		{
			$wanted = 1 if $line =~ /^not ok /;
			$wanted = 0 if $line =~ /^ok /;
			push @lines, length $line > 500 ? substr($line, 0, 500) . "...\n" : $line
			  if $wanted || $line !~ /^(?:ok |#)/;
		}
		my $left_off = @lines - 200;
		splice @lines, 200 if $left_off > 0;
		print map { "  $_" } @lines;
		print "  ... and $left_off lines more\n" if $left_off > 0;
	}
	if (!$came_to_end && open my $log, '<', "$logs/regress_log_$name")
	{
		my @lines = <$log>;
		splice @lines, 0, -40 if @lines > 40;
		print "  ... the end of its log:\n", map { "  | $_" } @lines;
	}
	for my $server_log (glob "$logs/${name}_*.log")
	{
		open my $log, '<', $server_log or next;
		my @lines = grep { /PANIC|TRAP|was terminated by signal/ } <$log>;
		print map { "  $server_log: $_" } @lines;
	}
	return;
}

$| = 1;
$harness->runtests(@ARGV);
print "counts $passed $failed $skipped\n";
exit($failed ? 1 : 0);
