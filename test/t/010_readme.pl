# Every SQL block of README.md runs, in order, in one database; blocks marked
# "sql error" must fail with the error that the README shows next.
use strict;
use warnings;

use File::Basename qw(dirname);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $readme = slurp_file(dirname(__FILE__) . '/../../README.md');
my $node = PostgreSQL::Test::Cluster->new('readme');
$node->init;
$node->start;

my $blocks = 0;
while ($readme =~ /^```sql( error)?\n(.*?)^```\n(?:\s*^```\n(.*?)^```)?/msg)
{
	my ($fails, $sql, $shown) = ($1, $2, $3);
	my ($out, $err);
	$blocks++;
	my $status = $node->psql('postgres', $sql, stdout => \$out, stderr => \$err);
	my ($title) = $sql =~ /^(.*)$/m;
	if ($fails)
	{
		isnt($status, 0, "block $blocks fails: $title");
		my ($message) = $shown =~ /^ERROR:\s+(.*)$/m;
		like($err, qr/\Q$message\E/, "block $blocks fails as README shows");
	}
	else
	{
		is($status, 0, "block $blocks runs: $title") or diag($err);
		unlike($err, qr/^(?:psql:\S+ )?(?:WARNING|ERROR)/m, "block $blocks warns of nothing");
	}
}
ok($blocks >= 7, "found $blocks blocks");
is($node->safe_psql('postgres', q{SELECT count(*) FROM pipelines.verify('deals')}),
	'0', 'verify finds nothing afterwards');

$node->stop;
done_testing();
