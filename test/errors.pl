# errors.pl [list | mark | reached [FILE...]]: every error, warning and notice of
# src/ is in a test.
#
# An ereport() in C, what is said through a refuse...() there, and a RAISE in
# PL/pgSQL counts as tested when its message's fixed words stand in one line of an
# expected output or of a TAP test.  A message that is one of several (a
# conditional, a CASE) is looked for as each of them, the singular and the plural of
# errmsg_plural() as either.  elog(ERROR) is by the house rules for what cannot
# happen, LOG and DEBUG are not for users: neither counts.
#
# Several may say the same, and some are tested by their code alone: which were
# reached, coverage tells.  `mark` makes each RAISE of src/ tell the server's log
# that it was (of a copy of the project, before it is built); `reached` then lists
# those of which no FILE, a log, says so, and each ereport() that is a line of
# coverage-missed.txt, which coverage.pl writes.
#
# errors.txt lists the exceptions.  One that is needed no more is an offence, too.
# Prints one line per offence and the sum, and exits with 1 if there was any; `list`
# prints every message with how it stands.

use strict;
use warnings;
use File::Basename;
use File::Find;

chdir dirname(__FILE__) . '/..' or die "cannot find the project: $!";
my $mode = shift // '';

sub slurp
{
	my ($file) = @_;
	open my $in, '<', $file or die "$file: $!";
	local $/;
	return scalar <$in>;
}

# ------------------------------------------------------------ what is tested

# Without backslashes, as patterns have them before what they take literally, and
# without the lines that only repeat the source.
my $tested = '';
for my $file (glob('expected/*.out'), glob('test/t/*.pl'), glob('test/isolation/expected/*.out'))
{
	$tested .= slurp($file) . "\n";
}
$tested =~ s/\\//g;
$tested =~ s/''/'/g;

# The message as a pattern: its words, and anything between them on the line.
sub is_tested
{
	my ($message) = @_;
	my @words = grep { $_ ne '' } split /\0/, $message;
	my ($longest) = sort { length $b <=> length $a } @words;
	return 0 if !@words || $longest !~ /\w/;
	return 0 if index($tested, $longest) < 0;
	my $pattern = join '[^\n]{0,400}?', map { quotemeta } @words;
	return $tested =~ /$pattern/;
}

# -------------------------------------------------------------- what there is

# [file, line, [[alternatives of one message], ...]]
my @errors;

# From the opening parenthesis at this offset to the closing one, strings minded.
sub parenthesised
{
	my ($text, $offset, $string) = @_;
	my $depth = 0;
	pos($text) = $offset;
	while ($text =~ /\G(?:$string|[^()"']|(?<paren>[()])|["'])/gc)
	{
		next if !defined $+{paren};
		$depth += $+{paren} eq '(' ? 1 : -1;
		return substr($text, $offset, pos($text) - $offset) if $depth == 0;
	}
	return substr($text, $offset);
}

my $c_string = qr/"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])'/;
my $sql_string = qr/'(?:''|[^'])*'/;

sub line_at
{
	my ($text, $offset) = @_;
	return 1 + (substr($text, 0, $offset) =~ tr/\n//);
}

# Arguments of a call, from its parentheses.
sub arguments
{
	my ($call, $string) = @_;
	my @arguments = ('');
	my $depth = 0;
	while ($call =~ /\G($string|.)/gcs)
	{
		my $token = $1;
		$depth-- if $token eq ')';
		if ($token eq ',' && $depth == 1) { push @arguments, '' }
		elsif ($depth > 0) { $arguments[-1] .= $token }
		$depth++ if $token eq '(';
	}
	return @arguments;
}

# What lies between commas, question marks and colons: the texts that may be said.
sub choices
{
	my ($call) = @_;
	my @choices = ('');
	while ($call =~ /\G($c_string|.)/gcs)
	{
		my $token = $1;
		if ($token =~ /^[,?:]$/) { push @choices, '' }
		else { $choices[-1] .= $token }
	}
	return grep { /"/ } @choices;
}

# What stands between placeholders, each of which becomes \0.
sub c_words
{
	my ($literals) = @_;
	my $words = join '', map { /^"(.*)"$/s ? $1 : "\0" } $literals =~ /("(?:\\.|[^"\\])*"|\bU?INT64_FORMAT\b)/g;
	$words =~ s/\\(.)/$1/g;
	$words =~ s/%(%)(?!\w)|%+[-+ 0#]*(?:\d+|\*)?(?:\.(?:\d+|\*))?(?:l|ll|h|z)?[a-zA-Z]/defined $1 ? '%' : "\0"/ge;
	return $words;
}

sub c_errors
{
	my ($file, $text) = @_;
	$text =~ s{($c_string)|(/\*.*?\*/)}{defined $1 ? $1 : $2 =~ s/[^\n]/ /gr}gse;
	while ($text =~ /\b(ereport|elog|compat_ereturn)\(\s*([\w>.-]+)/g)
	{
		my ($call, $level, $at) = ($1, $2, $-[0]);
		my $all = parenthesised($text, $at + length $call, $c_string);
		next if $level =~ /^(?:LOG|DEBUG\d)$/ || $call eq 'elog' && $level eq 'ERROR';
		# what a macro hands on is nobody's message
		next if $call ne 'elog' && $all !~ /\berrmsg/;
		my @messages;
		if ($all =~ /\b(errmsg\w*)\(/)
		{
			my $kind = $1;
			my @arguments = arguments(parenthesised($all, $+[0] - 1, $c_string), $c_string);
			if ($kind eq 'errmsg_plural') { @messages = ([ map { c_words($_) } @arguments[ 0, 1 ] ]) }
			else { @messages = map { [ c_words($_) ] } choices($arguments[0]) }
		}
		elsif ($call eq 'elog') { @messages = ([ c_words((arguments($all, $c_string))[1]) ]) }
		push @errors, [ $file, line_at($text, $at), $level, \@messages ];
	}
	# refuse(..., "message", ...): what a function of that kind is told to say
	while ($text =~ /\b(\w*refuse\w*)\(/g)
	{
		my ($at, $paren) = ($-[0], $+[0] - 1);
		my @messages = map { [ c_words($_) ] } grep { /"[^"]*\w [^"]*\w/ } choices(parenthesised($text, $paren, $c_string));
		push @errors, [ $file, line_at($text, $at), 'ERROR', \@messages ] if @messages;
	}
	return;
}

sub sql_errors
{
	my ($file, $text) = @_;
	$text =~ s{($sql_string)|(--[^\n]*|/\*.*?\*/)}{defined $1 ? $1 : $2 =~ s/[^\n]/ /gr}gse;
	while ($text =~ /\bRAISE\b\s*(?:(EXCEPTION|WARNING|NOTICE|INFO)\s+)?((?:$sql_string|[^;'])*);/g)
	{
		my ($level, $rest, $at) = ($1 // 'EXCEPTION', $2, $-[0]);
		# LOG is not for users, and what mark put there
		next if $rest =~ /^(?:LOG|DEBUG)\b/;
		# what is raised again is not ours
		next if $rest eq '';
		my @literals;
		if ($rest =~ /^'%'\s*,(.*?)\bUSING\s+ERRCODE/s || $rest =~ /\bMESSAGE\s*=\s*(.*?)(?:,\s*\w+\s*=|$)/s)
		{
			@literals = grep { /\w+ .*\w/ } $1 =~ /($sql_string)/g;
		}
		else { @literals = ($rest =~ /^($sql_string)/) }
		my @messages;
		for my $literal (@literals)
		{
			my $words = $literal =~ s/^'(.*)'$/$1/sr =~ s/''/'/gr =~ s/%(?:(%)|[sIL]?)/$1 ? q{%} : "\0"/ger;
			push @messages, [$words];
		}
		push @errors, [ $file, line_at($text, $at), $level, \@messages ];
	}
	return;
}

find({ no_chdir => 1, preprocess => sub { return sort @_ }, wanted => sub {
	c_errors($_, slurp($_)) if /\.[ch]$/;
	sql_errors($_, slurp($_)) if /\.sql$/;
} }, 'src');

# ------------------------------------------------------------ what is excepted

my (%excepted, %used);
my $exceptions = 'test/errors.txt';
for my $line (-e $exceptions ? split /\n/, slurp($exceptions) : ())
{
	next if $line =~ /^\s*(?:#|$)/;
	my ($file, $message, $why) = $line =~ /^(\S+?): "(.*)": (\S.*)$/ or die "$exceptions: not understood: $line\n";
	$excepted{"$file: $message"} = $why;
}

# ------------------------------------------------------------------- the modes

my ($offences, $good, $known) = (0, 0, 0);

sub judge
{
	my ($error, $message, $seen, $how) = @_;
	my ($file, $line) = @$error;
	my $name = "$file: " . ($message =~ s/\0/%/gr);
	my $how_it_is = $seen ? $how : $excepted{$name} ? 'excepted' : "not $how";
	if ($seen) { $good++ }
	elsif ($excepted{$name}) { $known++ }
	else { $offences++ }
	$used{$name} = 1;
	print "$file:$line: $how_it_is: $name\n" =~ s/: \Q$file\E: /: /r if $mode eq 'list' || $how_it_is =~ /^not/;
	return;
}

if ($mode eq 'mark')
{
	my %lines;
	push @{ $lines{ $_->[0] } }, $_->[1] for grep { $_->[0] =~ /\.sql$/ } @errors;
	for my $file (keys %lines)
	{
		my @text = split /^/, slurp($file);
		$text[ $_ - 1 ] =~ s/\bRAISE\b/RAISE LOG 'reached $file:$_.'; RAISE/ for @{ $lines{$file} };
		open my $out, '>', $file or die "$file: $!";
		print $out @text;
		close $out or die "$file: $!";
	}
	exit;
}
if ($mode eq 'reached')
{
	my (%reached, %missed, %unneeded);
	for my $log (@ARGV)
	{
		open my $in, '<', $log or die "$log: $!";
		while (<$in>) { $reached{$1} = 1 while /reached (src\S+:\d+)\./g }
	}
	for (split /\n/, slurp('coverage-missed.txt')) { $missed{$1} = 1 if /^(src\S+?:\d+):/ }
	for my $error (@errors)
	{
		my $where = "$error->[0]:$error->[1]";
		my $message = join ' / ', map { @$_ } @{ $error->[3] };
		my $was = $error->[0] =~ /\.sql$/ ? $reached{$where} : !$missed{$where};
		my $name = "$error->[0]: " . ($message =~ s/\0/%/gr);
		# one that newer servers alone can bring about is excepted for the others
		$unneeded{$name} = 1 if $was && $excepted{$name} && $excepted{$name} !~ /^only PostgreSQL/;
		judge($error, $message, $was, 'reached');
	}
	for (sort keys %unneeded) { print "$exceptions: was reached: $_\n"; $offences++ }
}
else
{
	for my $error (@errors)
	{
		# what has no word of its own was said by somebody else
		judge($error, $_->[0], scalar(grep { is_tested($_) } @$_), 'in a test') for grep { $_->[0] =~ /\w/ } @{ $error->[3] };
	}
	# what others say, too, may be in a test, and yet never be reached
	for (sort grep { !$used{$_} } keys %excepted) { print "$exceptions: no such message: $_\n"; $offences++ }
}
printf "%d errors %s, %d excepted, %d offences\n", $good, $mode eq 'reached' ? 'reached' : 'in a test', $known, $offences;
exit($offences ? 1 : 0);
