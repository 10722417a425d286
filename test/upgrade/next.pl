# next.pl [PG_CONFIG]: make the next version of the extension, in a copy of the
# project that has not been built yet.
#
# The next version is never shipped: it has a script that leads to it from the
# present version, and none of its own, so that CREATE EXTENSION in a server that
# gets this copy is an installation of the present version and, in the same
# command, the update that ALTER EXTENSION ... UPDATE would carry out.
#
# Its update is the largest that there can be: it replaces each function,
# procedure and aggregate by itself, which a real one does to those that have
# changed, and says all comments and grants again.  What can't be replaced (types,
# operators, casts) an update leaves as it is.  Each update is told to the server's
# log, so that whoever runs tests with it can see that there were any.

use strict;
use warnings;

my $config = shift // 'pg_config';

sub slurp
{
	my ($file) = @_;
	open my $in, '<', $file or die "$file: $!";
	local $/;
	return scalar <$in>;
}

sub spit
{
	my ($file, $text) = @_;
	open my $out, '>', $file or die "$file: $!";
	print $out $text;
	close $out or die "$file: $!";
	return;
}

my ($version) = slurp('Makefile') =~ /^EXTVERSION = (\S+)$/m or die 'no EXTVERSION in the Makefile';
(my $next = $version) =~ s/(\d+)$/$1 + 1/e;
my $script = "sql/pipelines--$version.sql";
system('make', '-s', "PG_CONFIG=$config", $script) == 0 or die "$script could not be made";

# its statements: a semicolon ends one, outside of comments and quotes
my @statements;
my $sql = slurp($script);
$sql =~ s/^\\echo.*\n//;
my $statement = '';
while ($sql =~ /\G(--[^\n]*|'(?:[^']|'')*'|"[^"]*"|(\$\w*\$).*?\2|;|[^-'"\$;]+|.)/gs)
{
	my $token = $1;
	next if $token =~ /^--/;
	if ($token ne ';')
	{
		$statement .= $token;
		next;
	}
	push @statements, $statement =~ s/^\s+|\s+$//gr;
	$statement = '';
}
die "what follows the last statement: $statement" if $statement =~ /\S/;

my %counts;
my $update = qq{\\echo Use "ALTER EXTENSION pipelines UPDATE TO '$next'" to load this file. \\quit\n};
for my $statement (@statements)
{
	my ($kind) = $statement =~ /^(CREATE FUNCTION|CREATE PROCEDURE|CREATE AGGREGATE|COMMENT|GRANT)\b/ or next;
	$statement =~ s/^CREATE /CREATE OR REPLACE /;
	$update .= "$statement;\n";
	$counts{$kind}++;
}
die 'nothing to update' if !$counts{'CREATE FUNCTION'} || !$counts{COMMENT};
$update .= qq{DO \$\$ BEGIN RAISE LOG 'pipelines is now at version $next'; END \$\$;\n};
spit("sql/pipelines--$version--$next.sql", $update);

my $control = slurp('pipelines.control');
$control =~ s/^default_version = '\Q$version\E'$/default_version = '$next'/m or die 'no default_version';
spit('pipelines.control', $control);
print join(', ', map { "$counts{$_} x $_" } sort keys %counts), "\n";
