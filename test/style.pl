# style.pl: the house rules that a program can check.
#
# Prints one line per offence, file:line: rule, and exits with 1 if there was
# any.  C is held to the marks of pgindent's style that need no formatter:
# formatters other than pgindent do not keep it (.clang-format is an aid for
# editors, close but not equal).  What a rule means stands beside it below.

use strict;
use warnings;
use File::Basename;
use File::Find;

chdir dirname(__FILE__) . '/..' or die "cannot find the project: $!";

my $offences = 0;

sub offence
{
	my ($file, $line, $rule) = @_;
	print "$file:$line: $rule\n";
	$offences++;
	return;
}

sub slurp
{
	my ($file) = @_;
	open my $in, '<', $file or die "$file: $!";
	local $/;
	my $text = <$in>;
	return $text // '';
}

sub line_at
{
	my ($text, $offset) = @_;
	return 1 + (substr($text, 0, $offset) =~ tr/\n//);
}

# Blank out what matches, keeping every newline, so that line numbers stay.
sub blank
{
	my ($found) = @_;
	$found =~ s/[^\n]/ /g;
	return $found;
}

# C without the text of comments, strings and characters.
sub bare_c
{
	my ($text) = @_;
	$text =~ s{(/\*.*?\*/)|"((?:\\.|[^"\\\n])*)"|'((?:\\.|[^'\\\n])*)'}
			  {defined $1 ? blank($1)
				: defined $2 ? '"' . blank($2) . '"' : "'" . blank($3) . "'"}gse;
	return $text;
}

# SQL without comments, and without the text of strings and dollar quotes.
sub bare_sql
{
	my ($text) = @_;
	$text =~ s{(--[^\n]*|/\*.*?\*/)|(\$\w*\$)(.*?)\2|'((?:''|[^'])*)'}
			  {defined $1 ? blank($1)
				: defined $2 ? $2 . blank($3) . $2 : "'" . blank($4) . "'"}gse;
	return $text;
}

# The column at which text ends when it starts at column 0, tabs being 4 wide.
sub width
{
	my ($text) = @_;
	my $width = 0;
	for my $character (split //, $text)
	{
		$width += $character eq "\t" ? 4 - $width % 4 : 1;
	}
	return $width;
}

# From the opening parenthesis at this offset to the closing one.
sub parenthesised
{
	my ($text, $offset) = @_;
	my $depth = 0;
	pos($text) = $offset;
	while ($text =~ /\G[^()]*([()])/g)
	{
		$depth += $1 eq '(' ? 1 : -1;
		return substr($text, $offset, pos($text) - $offset) if $depth == 0;
	}
	return substr($text, $offset);
}

# ---------------------------------------------------------------- every text

# in two halves, or this file would be the first offender
my $loose_ends = join '|', 'TO' . 'DO', 'FIX' . 'ME', 'XX' . 'X', 'HA' . 'CK';

sub check_text
{
	my ($file, $text) = @_;
	my $number = 0;

	for my $line (split /\n/, $text, -1)
	{
		$number++;
		offence($file, $number, 'blanks at the end of the line')
		  if $line =~ /[ \t\r]$/;
		offence($file, $number, 'loose end') if $line =~ /\b(?:$loose_ends)\b/;
	}
	offence($file, $number, 'no newline at the end of the file')
	  if $text ne '' && $text !~ /\n\z/;
	return;
}

# ------------------------------------------------------------------------- C

sub check_c
{
	my ($file, $text) = @_;
	my $bare = bare_c($text);
	my $name = basename($file);
	my $number = 0;

	offence($file, 1, 'the first comment must name the file, and say what it owns')
	  if $text !~ m{\A/\*-+\n \*\n \* \Q$name\E\n \*\t  \S};

	for my $line (split /\n/, $text)
	{
		$number++;
		offence($file, $number, 'indent with tabs of 4')
		  if $line =~ /^\t* {4}/ || $line =~ /^\t* +\t/;
	}

	my @lines = split /\n/, $bare;
	my $depth = 0;				# of parentheses, where a line begins
	for my $i (0 .. $#lines)
	{
		my $line = $lines[$i];
		my $at = $i + 1;
		my $inside = $depth > 0;

		$depth += ($line =~ tr/(//) - ($line =~ tr/)//);

		offence($file, $at, 'comments are /* */') if $line =~ m{//};
		offence($file, $at, 'server versions are compared in src/compat.h only')
		  if $line =~ /\bPG_VERSION_NUM\b/ && $file ne 'src/compat.h';
		offence($file, $at, 'an opening brace has a line of its own')
		  if $line =~ /^\s*(?:\}\s*)?(?:if|for|foreach|while|switch|else|do)\b.*\{\s*$/
		  || $line =~ /^(?:typedef\s+)?(?:struct|union|enum)\b[^;=(]*\{\s*$/
		  || $line =~ /^[A-Za-z_].*\)\s*\{\s*$/;
		offence($file, $at, 'else has a line of its own') if $line =~ /\}\s*else\b/;
		offence($file, $at, 'a keyword is followed by a space')
		  if $line =~ /\b(?:if|for|while|switch)\(/;
		offence($file, $at, 'elog is for what cannot happen: elog(ERROR, ...)')
		  if $line =~ /\belog\((?!\s*ERROR\b)/;

		# names of declarations stand 12 columns behind their types' beginning
		if (!$inside && $line =~ /^(\t*)((?:(?:const|extern|static|struct|enum|union|unsigned|volatile)\s)*
					   [A-Za-z_]\w*)([ \t]+)(\**)[A-Za-z_]\w*(?:\[[^\]]*\])*\s*(?:[=;,]|$)/x)
		{
			my ($indent, $type, $gap, $stars) = ($1, $2, $3, $4);
			my $good = length($type) + 1 + length($stars) > 12 ? $gap eq ' '
			  : width("$indent$type$gap$stars") == width($indent) + 12;

			offence($file, $at, 'declarations are aligned: 12 columns from type to name')
			  if !$good && $type !~ /\b(?:return|goto|else|case|typedef|struct|enum|union|break|continue)$/
			  && $line =~ /[=;,]/ && $line !~ /[\\]$/;
		}

		# a definition, told from a declaration by the brace that follows it
		if ($line =~ /^[A-Za-z_][\w\s\*]*[\s\*]\w+\(.*[,)]\s*$/ && $line !~ /^(?:typedef|else|return)\b/)
		{
			my $j = $i;
			$j++ while $j < $#lines && $lines[$j] !~ /[;{]/;
			offence($file, $at, "a function's return type has a line of its own")
			  if $lines[$j] =~ /^\{/;
		}
	}

	# a notice is no error: it has the code of successful completion
	while ($bare =~ /\b(ereport|ereturn|errsave)\s*(?=\((?!\s*(?:NOTICE|INFO|LOG|DEBUG\d)\b))/g)
	{
		my $what = $1;
		my $call = parenthesised($bare, pos $bare);
		offence($file, line_at($bare, pos $bare), "$what without errcode")
		  if $call !~ /\berrcode/ && $file ne 'src/compat.h';	# wrappers: their callers say it
	}

	if ($file =~ /\.c$/)
	{
		my ($first) = $text =~ /^#include\s+(\S+)/m;
		offence($file, 1, 'postgres.h is included first')
		  if ($first // '') ne '"postgres.h"';
	}
	elsif ($bare =~ /^#include\s+"postgres\.h"/m)
	{
		offence($file, 1, 'a header does not include postgres.h');
	}
	return;
}

# ------------------------------------------------- SQL of the install script

sub check_install_sql
{
	my ($file, $text) = @_;
	my $bare = bare_sql($text);
	my $offset = 0;

	# what a function does when it runs is its own business: bodies are blank here
	while ($bare =~ /^\s*(CREATE\s+OR\s+REPLACE\b|CREATE\s[^;(]*?\bIF\s+NOT\s+EXISTS\b)/gm)
	{
		offence($file, line_at($bare, $-[1]),
			'an install script takes over nothing: no OR REPLACE, no IF NOT EXISTS');
	}

	for my $statement (split /(?<=;)/, $bare)
	{
		my $at = line_at($bare, $offset + ($statement =~ /^(\s*)/ ? length $1 : 0));

		$offset += length $statement;
		next if $statement !~ /^\s*CREATE\s+FUNCTION\s+([\w."]+)/;

		my $function = $1;
		# what is said about the function stands outside its arguments
		my $options = $statement;
		my $arguments = parenthesised($statement, index $statement, '(');

		substr($options, index($options, $arguments), length $arguments) = '';
		offence($file, $at, "$function does not state its volatility")
		  if $options !~ /\b(?:IMMUTABLE|STABLE|VOLATILE)\b/i;
		offence($file, $at, "$function does not state its parallel safety")
		  if $options !~ /\bPARALLEL\s+(?:SAFE|RESTRICTED|UNSAFE)\b/i;
		offence($file, $at, "$function does not set its search_path")
		  if $options =~ /\bLANGUAGE\s+plpgsql\b/i
		  && $options !~ /\bSET\s+search_path\b/i;
	}
	return;
}

# ------------------------------------------------- lists that must be complete

sub listed
{
	my ($makefile, $variable) = @_;
	my ($value) = $makefile =~ /^$variable\s*=((?:[^\n]*\\\n)*[^\n]*)/m;
	$value //= '';
	$value =~ s/\\\n/ /g;
	return split ' ', $value;
}

sub check_lists
{
	my $makefile = slurp('Makefile');
	my %regress = map { $_ => 1 } listed($makefile, 'REGRESS');
	my %install = map { $_ => 1 } listed($makefile, 'INSTALL_SQL');

	for my $file (glob 'sql/*.sql')
	{
		my $test = basename($file, '.sql');
		next if $test =~ /--/;
		offence($file, 1, 'not in REGRESS: nobody runs it') if !$regress{$test};
		offence($file, 1, 'has no expected output') if !-e "expected/$test.out";
	}
	for my $test (sort keys %regress)
	{
		offence('Makefile', 1, "REGRESS lists $test, and there is no sql/$test.sql")
		  if !-e "sql/$test.sql";
	}
	for my $file (glob 'test/isolation/specs/*.spec')
	{
		my $test = basename($file, '.spec');
		offence($file, 1, 'has no expected output')
		  if !-e "test/isolation/expected/$test.out";
	}
	for my $file (glob 'src/*.sql src/*/*.sql')
	{
		offence($file, 1, 'not in INSTALL_SQL: nobody installs it') if !$install{$file};
	}
	return;
}

# ----------------------------------------------------------------------- main

my @files;
find(
	{
		no_chdir => 1,
		wanted => sub {
			push @files, $_ if -f && /\.(?:c|h|sql|pl|pm|sh|spec|md|control)$/;
		}
	},
	grep { -e } qw(src sql test README.md CHANGELOG.md pipelines.control));

for my $file (sort @files)
{
	my $text = slurp($file);

	next if $file =~ /--.*\.sql$/ && $file !~ /--.*--/;   # built
	check_text($file, $text);
	if ($file =~ m{^src/.*\.[ch]$})
	{
		check_c($file, $text);
	}
	elsif ($file =~ m{^src/.*\.sql$})
	{
		check_install_sql($file, $text);
	}
	if ($file =~ m{^src/})
	{
		offence($file, line_at($text, $-[0]), 'nothing here runs with the rights of another')
		  while $text =~ /\bSECURITY\s+DEFINER\b/gi;
	}
}
check_lists();

print "$offences offences against the house rules\n" if $offences;
exit($offences ? 1 : 0);
