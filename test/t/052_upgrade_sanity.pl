# pg_upgrade into a new cluster, by copying and by linking files: tables,
# triggers, their state and the registration come along, and everything goes on.
# From the same version, and from each older one that is installed with us.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PipelinesTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# From 18 on the check of libraries loads $libdir/pipelines, and there $libdir is
# the server's own folder, whatever dynamic_library_path says.
{
	my ($major) = `$ENV{PG_CONFIG} --version` =~ /(\d+)/;
	chomp(my $libdir = `$ENV{PG_CONFIG} --pkglibdir`);
	plan skip_all => "pg_upgrade of $major finds no library outside of $libdir" if $major >= 18 && !-e "$libdir/pipelines.so";
}

my (%contents, %catalogs);
sub fill
{
	my ($node) = @_;
	$node->safe_psql('postgres', 'CREATE ROLE app LOGIN; CREATE ROLE clerk LOGIN; CREATE ROLE reader LOGIN; CREATE ROLE definer LOGIN');
	for my $who ('superuser', 'owner')
	{
		my $role = $who eq 'owner' ? 'app' : undef;
		$node->safe_psql('postgres', "CREATE DATABASE $who" . ($role ? " OWNER $role" : ''));
		$node->safe_psql($who, 'CREATE EXTENSION pipelines' . ($role ? "; SELECT pipelines.setup(owner => '$role')" : ''));
		run_sql($node, $who, 'CREATE SCHEMA app; CREATE SCHEMA zapp;', undef, $role);
		make_shop($node, $who, $role);
	}
	%contents = map { $_ => contents($node, $_) } qw(superuser owner);
	%catalogs = map { $_ => catalogs($node, $_) } qw(superuser owner);
	return;
}
my $old = start_node('old');
fill($old);
$old->stop;

my $dir = PostgreSQL::Test::Utils::tempdir();
chdir $dir or die $!;

# The old cluster stays as it is when it is copied; linked, it may not be started again.
sub upgrade
{
	my ($from, $bindir, $mode) = @_;
	my $title = $from->name . " $mode";
	my $new = PostgreSQL::Test::Cluster->new($from->name . "_$mode");
	$new->init;
	$new->append_conf('postgresql.conf', "timezone = 'UTC'\n");
	my ($out, $err) = ('', '');
	my @command = (program($new, 'pg_upgrade'), '-b', $bindir, '-B', config($new, '--bindir'), '-d', $from->data_dir, '-D', $new->data_dir,
		'-s', $new->host, '-p', $from->port, '-P', $new->port, $mode eq 'link' ? '--link' : ());
	# an old pg_upgrade knows no --no-sync
	IPC::Run::run([ @command, '--no-sync' ], '>', \$out, '2>', \$err) or IPC::Run::run(\@command, '>', \$out, '2>', \$err);
	is($? >> 8, 0, "$title: upgraded") or diag($out, $err);
	$new->start;

	for my $who ('superuser', 'owner')
	{
		my $role = $who eq 'owner' ? 'app' : undef;
		same_text(contents($new, $who), $contents{$who}, "$title, $who: contents are equal");
		same_text(catalogs($new, $who), $catalogs{$who}, "$title, $who: catalogs are equal");
		is(problems($new, $who), '', "$title, $who: verify finds nothing");
		is(run_sql($new, $who, 'SELECT count(*) FROM pipelines.resume()', undef, $role), '0', "$title, $who: nothing is left for resume()");
		my $id = run_sql($new, $who, "INSERT INTO app.deals (name) VALUES ('next') RETURNING deal_id", "$title, $who: an insertion", $role);
		is(run_sql($new, $who, "UPDATE app.deals SET stage_id = pipelines.stage_id('Vans', 'Won') WHERE deal_id = $id RETURNING version", "$title, $who: a move", 'clerk'), '2', "$title, $who: with history");
		run_sql($new, $who, "UPDATE pipelines.pipeline_stage SET probability = 61 WHERE stage_id = pipelines.stage_id('Vans', 'Quote')", "$title, $who: a changed definition", $role);
		fails_with($new, $who, 'DELETE FROM app.deals_history', '23S11', "$title, $who: the guard", $role);
		is(problems($new, $who), '', "$title, $who: verify finds nothing then");
	}
	$new->stop;
	return;
}
# by links is by far the quicker one, and what people take
upgrade($old, config($old, '--bindir'), 'copy') if $ENV{PIPELINES_TEST_ALL};
upgrade($old, config($old, '--bindir'), 'link');

# Older versions, where the extension is installed for them, too.
SKIP:
{
	my ($major) = config($old, '--version') =~ /(\d+)/;
	my @older;
	for my $config (glob('/usr/lib/postgresql/*/bin/pg_config'))
	{
		my ($version) = `$config --version` =~ /(\d+)/;
		chomp(my $share = `$config --sharedir`);
		push @older, [ $version, $config =~ s/.pg_config$//r ] if $version && $version < $major && -f "$share/extension/pipelines.control";
	}
	skip 'no older PostgreSQL with the extension is installed', 1 if !@older;
	for my $server (sort { $a->[0] <=> $b->[0] } @older)
	{
		my ($version, $bindir) = @$server;
		my $from = PostgreSQL::Test::Cluster->new("from$version", install_path => $bindir =~ s/.bin$//r);
		$from->init;
		$from->append_conf('postgresql.conf', "timezone = 'UTC'\n");
		$from->start;
		fill($from);
		$from->stop;
		upgrade($from, $bindir, 'copy');
	}
}
done_testing();
