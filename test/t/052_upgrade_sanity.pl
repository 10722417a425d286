# pg_upgrade into a new cluster, by copying and by linking files: tables,
# triggers, their state and the registration come along, and everything goes on.
# From the same version, and from each older one that is installed with us; from
# there also by dump and restore, in every format.

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

# Versions differ in the privileges and constraints that there are, in how a view is shown, and in
# what of a partitioned table is its partitions' own.
sub comparable
{
	my ($text) = @_;
	return join "\n", grep { !/^(?:grant|view) |^(?:column|trigger) app\.parts_\d|^constraint .* NOT NULL/ } split /\n/, $text;
}

# everything is there, and goes on
sub goes_on
{
	my ($new, $db, $who, $title) = @_;
	my $role = $who eq 'owner' ? 'app' : undef;
	is(problems($new, $db), '', "$title: verify finds nothing");
	my $id = run_sql($new, $db, "INSERT INTO app.deals (name) VALUES ('next') RETURNING deal_id", "$title: an insertion", $role);
	is(run_sql($new, $db, "UPDATE app.deals SET stage_id = pipelines.stage_id('Vans', 'Won') WHERE deal_id = $id RETURNING version", "$title: a move", 'clerk'), '2', "$title: with history");
	run_sql($new, $db, "UPDATE pipelines.pipeline_stage SET probability = 61 WHERE stage_id = pipelines.stage_id('Vans', 'Quote')", "$title: a changed definition", $role);
	fails_with($new, $db, 'DELETE FROM app.deals_history', '23S11', "$title: the guard", $role);
	is(problems($new, $db), '', "$title: verify finds nothing then");
	return;
}

# The old cluster stays as it is when it is copied; linked, it may not be started again.
sub upgrade
{
	my ($from, $bindir, $mode) = @_;
	my $title = $from->name . " $mode";
	my $same = $bindir eq config($old, '--bindir');
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
		same_text($same ? catalogs($new, $who) : comparable(catalogs($new, $who)), $same ? $catalogs{$who} : comparable($catalogs{$who}), "$title, $who: catalogs are equal");
		is(run_sql($new, $who, 'SELECT count(*) FROM pipelines.resume()', undef, $role), '0', "$title, $who: nothing is left for resume()") if $same;
		goes_on($new, $who, $who, "$title, $who");
	}
	$new->stop;
	return;
}

# Minor versions may be too far apart for a table of anybody's: what the new pg_dump
# writes of the old server, the new server does not know.
sub strangers
{
	my ($from) = @_;
	my $new = start_node($from->name . '_plain');
	my ($out, $err) = ('', '');
	$from->safe_psql('postgres', 'CREATE DATABASE plain');
	$from->safe_psql('plain', 'CREATE TABLE plain (a integer PRIMARY KEY)');
	IPC::Run::run([ program($new, 'pg_dump'), '-h', $from->host, '-p', $from->port, 'plain' ], '>', \$out, '2>', \$err);
	IPC::Run::run([ program($new, 'psql'), '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-h', $new->host, '-p', $new->port, '-d', 'postgres' ], '<', \$out, '>', \(my $said = ''), '2>', \$err);
	my $failed = $? >> 8;
	$new->stop;
	$from->safe_psql('postgres', 'DROP DATABASE plain');
	return $failed ? $err =~ s/^.*?ERROR: +//sr =~ s/\n.*//sr : '';
}

# What the new pg_dump takes from a running older server, and what its own one
# does, into databases of a new cluster.
sub carry
{
	my ($from, $bindir) = @_;
	my $new = start_node($from->name . '_carried');
	$new->safe_psql('postgres', 'CREATE ROLE app LOGIN; CREATE ROLE clerk LOGIN; CREATE ROLE reader LOGIN; CREATE ROLE definer LOGIN');
	my @ways = map { [ 'new', $_ ] } qw(plain custom directory tar);
	for my $way (@ways, [ 'old', 'plain' ], [ 'old', 'custom' ])
	{
		my ($whose, $format) = @$way;
		my ($db, $title, $file) = ("${whose}_$format", $from->name . ", its dump by the $whose pg_dump, $format", "$dir/" . $from->name . "_${whose}_$format");
		my ($out, $err) = ('', '');
		IPC::Run::run([ $whose eq 'old' ? "$bindir/pg_dump" : program($new, 'pg_dump'), '-h', $from->host, '-p', $from->port, "-F$format", '-f', $file, 'superuser' ], '>', \$out, '2>', \$err);
		is($? >> 8, 0, "$title: dumped") or diag($err);
		$new->safe_psql('postgres', "CREATE DATABASE $db TEMPLATE template0");
		IPC::Run::run([ $format eq 'plain' ? (program($new, 'psql'), '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $file) : program($new, 'pg_restore'),
			'-h', $new->host, '-p', $new->port, '-d', $db, $format eq 'plain' ? () : $file ], '>', \$out, '2>', \$err);
		is($? >> 8, 0, "$title: restored") or diag($err);
		same_text(contents($new, $db), $contents{superuser}, "$title: contents are equal");
		same_text(comparable(catalogs($new, $db)), comparable($catalogs{superuser}), "$title: catalogs are equal");
		goes_on($new, $db, 'superuser', $title);
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
		# not a copy of what the new server made; from 18 on clusters have checksums
		$from->init(force_initdb => 1, extra => $major >= 18 ? ['--data-checksums'] : []);
		# what the new server's modules and the new server want there, an old one doesn't
		# know; and it finds us in its own folder
		my %known = map { (split /\t/)[0] => 1 } `$bindir/postgres --describe-config`;
		my $conf = slurp_file($from->data_dir . '/postgresql.conf');
		$conf =~ s/^(\w+)\s*=.*\n/$known{lc $1} && $1 !~ m{^(?:extension_control_path|dynamic_library_path)$}i ? $& : ''/gme;
		open my $out, '>', $from->data_dir . '/postgresql.conf' or die $!;
		print $out $conf;
		close $out;
		$from->append_conf('postgresql.conf', "timezone = 'UTC'\n");
		$from->start;
		if (my $why = strangers($from))
		{
			SKIP: { skip "no plain table of PostgreSQL $version can be restored here: $why", 1; }
			$from->stop;
			next;
		}
		fill($from);
		carry($from, $bindir);
		$from->stop;
		upgrade($from, $bindir, 'copy');
	}
}
done_testing();
