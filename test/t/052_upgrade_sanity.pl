# pg_upgrade into a new cluster of the same version: tables, triggers, their
# state and the registration come along, and everything goes on.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PipelinesTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $old = start_node('old');
$old->safe_psql('postgres', 'CREATE ROLE app LOGIN; CREATE ROLE clerk LOGIN; CREATE ROLE reader LOGIN; CREATE ROLE definer LOGIN');
for my $who ('superuser', 'owner')
{
	my $role = $who eq 'owner' ? 'app' : undef;
	$old->safe_psql('postgres', "CREATE DATABASE $who" . ($role ? " OWNER $role" : ''));
	$old->safe_psql($who, 'CREATE EXTENSION pipelines' . ($role ? "; SELECT pipelines.setup(owner => '$role')" : ''));
	run_sql($old, $who, 'CREATE SCHEMA app; CREATE SCHEMA zapp;', undef, $role);
	make_shop($old, $who, $role);
}
my %contents = map { $_ => contents($old, $_) } qw(superuser owner);
my %catalogs = map { $_ => catalogs($old, $_) } qw(superuser owner);
$old->stop;

my $new = PostgreSQL::Test::Cluster->new('new');
$new->init;
$new->append_conf('postgresql.conf', "timezone = 'UTC'\n");
my $bindir = $new->config_data('--bindir');
my $dir = PostgreSQL::Test::Utils::tempdir();
my ($out, $err) = ('', '');
chdir $dir or die $!;
IPC::Run::run([ program($new, 'pg_upgrade'), '--no-sync', '-b', $bindir, '-B', $bindir, '-d', $old->data_dir, '-D', $new->data_dir,
		'-s', $new->host, '-p', $old->port, '-P', $new->port ], '>', \$out, '2>', \$err)
	or do
{
	# an old pg_upgrade knows no --no-sync
	IPC::Run::run([ program($new, 'pg_upgrade'), '-b', $bindir, '-B', $bindir, '-d', $old->data_dir, '-D', $new->data_dir,
			'-s', $new->host, '-p', $old->port, '-P', $new->port ], '>', \$out, '2>', \$err);
};
is($? >> 8, 0, 'upgraded') or diag($out, $err);
$new->start;

for my $who ('superuser', 'owner')
{
	my $role = $who eq 'owner' ? 'app' : undef;
	same_text(contents($new, $who), $contents{$who}, "$who: contents are equal");
	same_text(catalogs($new, $who), $catalogs{$who}, "$who: catalogs are equal");
	is(problems($new, $who), '', "$who: verify finds nothing");
	is(run_sql($new, $who, 'SELECT count(*) FROM pipelines.resume()', undef, $role), '0', "$who: nothing is left for resume()");
	my $id = run_sql($new, $who, "INSERT INTO app.deals (name) VALUES ('next') RETURNING deal_id", "$who: an insertion", $role);
	is(run_sql($new, $who, "UPDATE app.deals SET stage_id = pipelines.stage_id('Vans', 'Won') WHERE deal_id = $id RETURNING version", "$who: a move", 'clerk'), '2', "$who: with history");
	run_sql($new, $who, "UPDATE pipelines.pipeline_stage SET probability = 61 WHERE stage_id = pipelines.stage_id('Vans', 'Quote')", "$who: a changed definition", $role);
	fails_with($new, $who, 'DELETE FROM app.deals_history', '23S11', "$who: the guard", $role);
	is(problems($new, $who), '', "$who: verify finds nothing then");
}
$new->stop;
done_testing();
