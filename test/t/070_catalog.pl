# Version 1.0.0 is what test/upgrade/pipelines--1.0.0.catalog says, line by
# line (`make catalog` writes it anew); and whatever it says, some things hold
# for every function.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PipelinesTest;
use PostgreSQL::Test::Utils;
use Test::More;

# SQL and PL/pgSQL without a search_path of their own, and why
my %without_path = (
	# passes the caller's search_path on, in which names of new tables are meant
	map({ $_ => 'SQL of one call' } qw(advance archive_pipeline change_outcome create_deals import_view merge_stages)),
	# PostgreSQL allows no COMMIT in a procedure with settings
	'adopt_in_batches' => 'commits',
	# inlined, which a setting would prevent
	'as_of' => 'inlined',
	'changes' => 'inlined',
	'_flags' => 'inlined',
	'_magnitude' => 'inlined',);

my $here = "$FindBin::RealBin/..";
my $node = start_node('catalog');
$node->safe_psql('postgres', 'CREATE EXTENSION pipelines');
open my $file, '<', "$here/upgrade/catalog.sql" or die $!;
my $query = do { local $/; <$file> };
my $listing = run_sql($node, 'postgres', "\\set bodies 0\n$query");
my $frozen = PostgreSQL::Test::Utils::slurp_file("$here/upgrade/pipelines--1.0.0.catalog");
same_text($listing, $frozen, 'the catalog is that of 1.0.0');

my @functions = grep { /^(?:function|procedure|aggregate) / } split /\n/, $listing;
cmp_ok(scalar @functions, '>', 200, scalar(@functions) . ' functions');
is(join("\n", grep { /SECURITY DEFINER/ } @functions), '', 'none runs with the rights of another');
is($node->safe_psql('postgres', <<'END'), '', "none claims to leak nothing but PostgreSQL's own for smallint");
SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
WHERE p.pronamespace = 'pipelines'::regnamespace AND p.proleakproof
	AND NOT (l.lanname = 'internal' AND p.prosrc ~ '^(int2(eq|ne|lt|le|gt|ge)|btint2cmp|hashint2(extended)?)$')
END
is(join("\n", grep { /^no comment on / } split /\n/, $listing), '', 'each object has a comment');

my @loose;
for my $line (@functions)
{
	my ($name) = $line =~ /^\w+ pipelines\.(\w+)/ or next;
	my ($language) = $line =~ / \| (sql|plpgsql|c|internal) \| / or next;
	next if $language !~ /sql/;
	push @loose, $name if $line !~ /set search_path=pg_catalog, pg_temp/ && !$without_path{$name};
}
is("@loose", '', 'SQL and PL/pgSQL run with a search_path of their own');

# those that have none name nothing without its schema
my $unqualified = $node->safe_psql('postgres', <<'END');
SELECT p.oid::regprocedure, w[1]
FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang, regexp_matches(p.prosrc, '(?<![.\w"])((?!OPERATOR|ANY|VALUES|IN|AND|LATERAL|EXISTS)[a-z_]\w*)\s*\(', 'g') w
WHERE p.pronamespace = 'pipelines'::regnamespace AND l.lanname IN ('sql', 'plpgsql')
	AND NOT EXISTS (SELECT FROM unnest(p.proconfig) c WHERE c LIKE 'search_path=%') AND w[1] NOT IN ('coalesce', 'nullif', 'row', 'select')
END
is($unqualified, '', 'those without call nothing by an unqualified name');

# nothing that everybody may change
is($node->safe_psql('postgres', <<'END'), '', 'nobody but its owner may create in the schema');
SELECT a.grantee, a.privilege_type FROM pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
WHERE n.nspname = 'pipelines' AND a.grantee <> n.nspowner AND a.privilege_type = 'CREATE'
END
$node->stop;
done_testing();
