# From 1.0.0 to the next version.  A 1.0.1 that is never shipped is made here: a
# function in C, one in SQL, a changed function and a changed comment.  ALTER
# EXTENSION UPDATE gives what a fresh installation gives; an old dump restores
# into the new version; a new library serves the old SQL; an old library with
# the new SQL refuses what it lacks, and nothing else.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use File::Copy;
use File::Path;
use PipelinesTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $config = $ENV{PG_CONFIG} || 'pg_config';
my $settings = $ENV{TEMP_CONFIG} && -e $ENV{TEMP_CONFIG} ? PostgreSQL::Test::Utils::slurp_file($ENV{TEMP_CONFIG}) : '';
my ($library_path) = $settings =~ /^dynamic_library_path = '([^:']+):/m;
my ($control_path) = $settings =~ /^extension_control_path = '([^:']+):/m;
my ($destdir) = $settings =~ /^extension_destdir = '([^']+)'/m;
plan skip_all => 'this server looks for extensions in one place only' if !$library_path || (!$control_path && !$destdir);
plan skip_all => 'no compiler' if system('make --version >/dev/null 2>&1') || system(($ENV{CC} || 'gcc') . ' --version >/dev/null 2>&1');

chomp(my $sharedir = `$config --sharedir`);
chomp(my $pkglibdir = `$config --pkglibdir`);
my $dir = PostgreSQL::Test::Utils::tempdir();
my $extensions = ($control_path ? $control_path : "$destdir$sharedir") . '/extension';

# ---- 1.0.1
my $old_sql = PostgreSQL::Test::Utils::slurp_file("$extensions/pipelines--1.0.0.sql");
my $update = <<'END';
CREATE FUNCTION pipelines._upgrade_c() RETURNS integer LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pipelines_upgrade_c';
COMMENT ON FUNCTION pipelines._upgrade_c() IS 'Of 1.0.1';
CREATE FUNCTION pipelines._upgrade_sql() RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS 'SELECT 101';
COMMENT ON FUNCTION pipelines._upgrade_sql() IS 'Of 1.0.1';
CREATE OR REPLACE FUNCTION pipelines.settled_at() RETURNS timestamptz LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED COST 200 AS 'MODULE_PATHNAME', 'pipelines_settled_at';
COMMENT ON FUNCTION pipelines.settled_at() IS 'Other words of 1.0.1';
END
(my $guarded = $update) =~ s/^/\\echo Use "ALTER EXTENSION pipelines UPDATE TO '1.0.1'" to load this file. \\quit\n/;

# the tree that servers look into, with the new SQL, once per library
sub make_tree
{
	my ($name, $library) = @_;
	my $tree = "$dir/$name";
	mkpath("$tree$sharedir/extension");
	mkpath("$tree$pkglibdir");
	for my $file ('pipelines.control', 'pipelines--1.0.0.sql')
	{
		copy("$extensions/$file", "$tree$sharedir/extension/$file") or die "$file: $!";
	}
	copy($library, "$tree$pkglibdir/pipelines.so") or die "$library: $!";
	append_to_file("$tree$sharedir/extension/pipelines--1.0.0--1.0.1.sql", $guarded);
	append_to_file("$tree$sharedir/extension/pipelines--1.0.1.sql", "$old_sql\n$update");
	my $control = PostgreSQL::Test::Utils::slurp_file("$tree$sharedir/extension/pipelines.control");
	$control =~ s/default_version = '1\.0\.0'/default_version = '1.0.1'/ or die 'no default_version';
	unlink "$tree$sharedir/extension/pipelines.control";
	append_to_file("$tree$sharedir/extension/pipelines.control", $control);
	return ($control_path ? "extension_control_path = '$tree$sharedir:\$system'" : "extension_destdir = '$tree'",
		"dynamic_library_path = '$tree$pkglibdir:\$libdir'");
}

# with the objects, whose times say that they are up to date
mkpath("$dir/project");
system("cp -rp Makefile pipelines.control sql src '$dir/project/'") == 0 or die;
append_to_file("$dir/project/src/upgrade.c", <<'END');
#include "postgres.h"
#include "compat.h"
#include "fmgr.h"

PG_FUNCTION_INFO_V1(pipelines_upgrade_c);

Datum
pipelines_upgrade_c(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(101);
}
END
my $log = `make -C '$dir/project' -s PG_CONFIG='$config' with_llvm=no COPT='@{[ $ENV{TEST_COPT} || '' ]}' 2>&1`;
is($?, 0, 'a library of 1.0.1 was built') or diag($log);
my @new = make_tree('new', "$dir/project/pipelines.so");
my @old = make_tree('old', "$library_path/pipelines.so");

my $query = do { open my $in, '<', "$FindBin::RealBin/../upgrade/catalog.sql" or die $!; local $/; <$in> };
sub listing
{
	my ($node, $db) = @_;
	return run_sql($node, $db, "\\set bodies 1\n$query");
}

my @roles = qw(app clerk reader definer);
my $roles = join ';', map { "CREATE ROLE $_ LOGIN" } @roles;

# ---- the old library goes, the new one comes, SQL and data stay
my $node = start_node('upgrade', 'max_locks_per_transaction = 256');
$node->safe_psql('postgres', $roles);
for my $who ('superuser', 'owner')
{
	my $role = $who eq 'owner' ? 'app' : undef;
	$node->safe_psql('postgres', "CREATE DATABASE $who" . ($role ? " OWNER $role" : ''));
	$node->safe_psql($who, 'CREATE EXTENSION pipelines' . ($role ? "; SELECT pipelines.setup(owner => '$role')" : ''));
	run_sql($node, $who, 'CREATE SCHEMA app; CREATE SCHEMA zapp;', undef, $role);
	make_shop($node, $who, $role);
}
my $frozen = listing($node, 'superuser');
my %contents = map { $_ => contents($node, $_) } qw(superuser owner);
my %catalogs = map { $_ => catalogs($node, $_) } qw(superuser owner);
# dumps of the old version
for my $who ('superuser', 'owner')
{
	IPC::Run::run([ program($node, 'pg_dump'), '-h', $node->host, '-p', $node->port, '-Fc', '-f', "$dir/$who.dump", $who ]) or die;
}
$node->append_conf('postgresql.conf', join("\n", @new, ''));
$node->restart;

for my $who ('superuser', 'owner')
{
	my $role = $who eq 'owner' ? 'app' : undef;
	is($node->safe_psql($who, q{SELECT extversion FROM pg_extension WHERE extname = 'pipelines'}), '1.0.0', "$who: new library, old SQL");
	is(problems($node, $who), '', "$who: verify finds nothing");
	is(run_sql($node, $who, "BEGIN; UPDATE app.deals SET stage_id = pipelines.stage_id('Vans', 'Quote'), owner = 'n' WHERE deal_id = 1 RETURNING version > 1; ROLLBACK", "$who: deals move", 'clerk'), 't', "$who: with history");

	# a session that has everything in its caches lives through the update
	my $session = $node->background_psql($who, on_error_stop => 0);
	$session->query_safe("PREPARE mv AS UPDATE app.deals SET owner = coalesce(owner, '') || '.' WHERE deal_id = 4 RETURNING version");
	my $version = $session->query_safe('EXECUTE mv');
	$contents{$who} = contents($node, $who);
	run_sql($node, $who, 'ALTER EXTENSION pipelines UPDATE', "$who: updated");
	is($node->safe_psql($who, q{SELECT extversion FROM pg_extension WHERE extname = 'pipelines'}), '1.0.1', "$who: to 1.0.1");
	is($session->query_safe('EXECUTE mv'), $version + 1, "$who: a session from before moves on");
	is($session->query_safe('SELECT pipelines._upgrade_c() + pipelines._upgrade_sql()'), '202', "$who: and finds what is new");
	$session->quit;
	$node->safe_psql($who, q{UPDATE app.deals SET owner = left(owner, -1) WHERE deal_id = 4});
	same_text(catalogs($node, $who), $catalogs{$who}, "$who: tables, triggers, views and rights are as before");
	is(problems($node, $who), '', "$who: verify finds nothing after the update");
	is(run_sql($node, $who, 'SELECT count(*) FROM pipelines.resume()', undef, $role), '0', "$who: nothing is left for resume()");
}
my $updated = listing($node, 'superuser');
isnt($updated, $frozen, 'the update changed the catalog');

# ---- the same as if it had been installed new
$node->safe_psql('postgres', 'CREATE DATABASE fresh');
$node->safe_psql('fresh', 'CREATE EXTENSION pipelines');
is($node->safe_psql('fresh', q{SELECT extversion FROM pg_extension WHERE extname = 'pipelines'}), '1.0.1', 'a fresh installation is 1.0.1');
same_text($updated, listing($node, 'fresh'), 'an update gives what a fresh installation gives');
$node->safe_psql('postgres', 'CREATE DATABASE before');
$node->safe_psql('before', "CREATE EXTENSION pipelines VERSION '1.0.0'");
same_text(listing($node, 'before'), $frozen, 'the old version can still be installed');
fails_with($node, 'before', "ALTER EXTENSION pipelines UPDATE TO '0.9'", '22023', 'there is no way back or elsewhere');

# ---- an old dump into the new version
for my $who ('superuser', 'owner')
{
	my $role = $who eq 'owner' ? 'app' : undef;
	my $db = "restored_$who";
	$node->safe_psql('postgres', "CREATE DATABASE $db TEMPLATE template0" . ($role ? " OWNER $role" : ''));
	my ($out, $err) = ('', '');
	IPC::Run::run([ program($node, 'pg_restore'), '-h', $node->host, '-p', $node->port, '--exit-on-error', '-d', $db, "$dir/$who.dump" ], '>', \$out, '2>', \$err);
	is($? >> 8, 0, "$who: an old dump restores into the new version") or diag($err);
	is($node->safe_psql($db, q{SELECT extversion FROM pg_extension WHERE extname = 'pipelines'}), '1.0.1', "$who: which it then has");
	same_text(catalogs($node, $db), $catalogs{$who}, "$who: restored: catalogs are equal");
	is(problems($node, $db), '', "$who: restored: verify finds nothing");
	my $id = run_sql($node, $db, "INSERT INTO app.deals (name) VALUES ('next') RETURNING deal_id", "$who: restored: an insertion", $role);
	is(run_sql($node, $db, "UPDATE app.deals SET stage_id = pipelines.stage_id('Vans', 'Won') WHERE deal_id = $id RETURNING version", "$who: restored: a move", 'clerk'), '2', "$who: restored: with history");
}

# ---- the old library again, under the new SQL: somebody downgraded the package
$node->append_conf('postgresql.conf', join("\n", @old, ''));
$node->restart;
my $said = fails_with($node, 'superuser', 'SELECT pipelines._upgrade_c()', '42883', 'an old library refuses what it lacks');
like($said, qr/could not find function "pipelines_upgrade_c" in file/, 'and says what');
is(run_sql($node, 'superuser', "BEGIN; UPDATE app.deals SET owner = 'n' WHERE deal_id = 1 RETURNING version > 1; ROLLBACK", 'all else goes on', 'clerk'), 't', 'with history');
is(problems($node, 'superuser'), '', 'verify finds nothing');
$said = fails_with($node, 'before', 'ALTER EXTENSION pipelines UPDATE', '42883', 'an update with the old library is refused');
is($node->safe_psql('before', q{SELECT extversion FROM pg_extension WHERE extname = 'pipelines'}), '1.0.0', 'and leaves the old version');
same_text(listing($node, 'before'), $frozen, 'as it was');
$node->safe_psql('postgres', 'CREATE DATABASE none');
fails_with($node, 'none', 'CREATE EXTENSION pipelines', '42883', 'so is a fresh installation');
is($node->safe_psql('none', q{SELECT count(*) FROM pg_namespace WHERE nspname = 'pipelines'}), '0', 'which leaves nothing behind');
# and the right library makes it good again
$node->append_conf('postgresql.conf', join("\n", @new, ''));
$node->restart;
is($node->safe_psql('superuser', 'SELECT pipelines._upgrade_c()'), '101', 'with the right library all is well');
$node->stop;
done_testing();
