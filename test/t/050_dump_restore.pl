# Dump and restore in every format, as superuser and as a plain owner: equal
# contents and catalogs, nothing written twice, and everything goes on.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PipelinesTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('dump');
my $dir = PostgreSQL::Test::Utils::tempdir();
my $version = $node->safe_psql('postgres', 'SHOW server_version_num');
$node->safe_psql('postgres', 'CREATE ROLE app LOGIN; CREATE ROLE clerk LOGIN; CREATE ROLE reader LOGIN; CREATE ROLE definer LOGIN');

# a program against the node; returns what it printed and said
sub run_program
{
	my (@command) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run([ program($node, $command[0]), '-h', $node->host, '-p', $node->port, @command[ 1 .. $#command ] ], '>', \$out, '2>', \$err);
	return ($? >> 8, $out, $err);
}

# where: as superuser, or as app on what an administrator prepared (CORE 22)
sub make_database
{
	my ($db, $who) = @_;
	if ($who eq 'superuser')
	{
		$node->safe_psql('postgres', "CREATE DATABASE $db TEMPLATE template0");
		return;
	}
	$node->safe_psql('postgres', "CREATE DATABASE $db TEMPLATE template0 OWNER app");
	$node->safe_psql($db, 'CREATE EXTENSION pipelines; GRANT CREATE ON SCHEMA pipelines TO app');
	return;
}

# What a plain owner's restore may stumble over: what the administrator made.
my $harmless = qr/schema "pipelines" already exists|must be owner of (?:extension|schema) pipelines|no privileges (?:were granted|could be revoked) for "pipelines"|role "\w+" is not a member|permission denied for schema pipelines$/;

sub complaints
{
	my ($who, $err) = @_;
	my @lines = grep { /ERROR|error:|FATAL/ && !/errors ignored on restore/ } split /\n/, $err;

	# pg_dump --clean drops the indexes of partitions one by one, in vain
	@lines = grep { !/cannot drop inherited constraint "parts_|cannot drop index app\.parts_\d_\S+ because index app\.parts_/ } @lines;
	@lines = grep { !/$harmless/ } @lines if $who ne 'superuser';
	return join("\n", @lines);
}

sub guards
{
	my ($db) = @_;
	return $node->safe_psql($db, q{SELECT tgrelid::regclass || ' ' || tgname || ' ' || tgenabled::text FROM pg_trigger
		WHERE NOT tgisinternal AND tgfoid = 'pipelines._history_guard'::regproc AND tgenabled <> 'A'});
}

my $probe = 0;

# the next insert, move, deletion and definition work
sub goes_on
{
	my ($db, $title, $who) = @_;
	my $role = $who eq 'superuser' ? undef : 'app';
	$probe++;
	is(run_sql($node, $db, <<'END', "$title: insert and move work", $role), "t\nt\n1\n2\n1\nt", "$title: with the right result");
SET client_min_messages = warning;
\o /dev/null
CREATE TEMPORARY TABLE before AS SELECT (SELECT max(deal_id) FROM app.deals) AS highest, (SELECT count(*) FROM app.deals_history) AS many;
INSERT INTO app.deals (name, amount) VALUES ('next', 1), ('next', 2);
\o
SELECT min(deal_id) > (SELECT highest FROM before) FROM app.deals WHERE name = 'next';
SELECT count(*) = (SELECT many FROM before) FROM app.deals_history;
\o /dev/null
UPDATE app.deals SET stage_id = pipelines.stage_id('Vans', 'Quote') WHERE name = 'next' AND amount = 1;
\o
SELECT version - 1 FROM app.deals WHERE name = 'next' AND amount = 1;
\o /dev/null
INSERT INTO zapp.deals (tenant, amount) VALUES (7, 1);
UPDATE zapp.deals SET amount = 2 WHERE tenant = 7;
\o
SELECT version FROM zapp.deals WHERE tenant = 7;
\o /dev/null
INSERT INTO app.parts (name) VALUES ('next');
DELETE FROM app.parts WHERE name = 'next';
\o
SELECT count(*) FROM app.parts_history WHERE change = 'delete';
\o /dev/null
UPDATE pipelines.pipeline_stage SET probability = probability + 1 WHERE stage_id = pipelines.stage_id('Vans', 'Quote');
\o
SELECT count(*) = 3 FROM pipelines.pipeline_stage_history WHERE stage_id = pipelines.stage_id('Vans', 'Quote') AND pipeline_id = pipelines.pipeline_id('Vans');
\o /dev/null
SELECT pipelines.create_pipeline('Another', stages => '["Lead", "More"]');
END
	is(problems($node, $db), '', "$title: verify finds nothing then");
	fails_with($node, $db, "UPDATE app.deals_history SET reason = 'x'", '23S11', "$title: the guard guards", $role);
	fails_with($node, $db, "DELETE FROM pipelines.pipeline_stage_history", '23S11', "$title: the guard of past definitions guards", $role);
	is(run_sql($node, $db, <<'END', "$title: a clerk moves deals", 'clerk'), '3', "$title: with history");
UPDATE app.deals SET stage_id = pipelines.stage_id('Vans', 'Won') WHERE name = 'next' AND amount = 1 RETURNING version;
END
	return;
}

for my $who ('superuser', 'owner')
{
	my $source = "source_$who";
	my $role = $who eq 'superuser' ? undef : 'app';
	make_database($source, $who);
	if ($who eq 'superuser')
	{
		$node->safe_psql($source, 'CREATE EXTENSION pipelines');
	}
	else
	{
		$node->safe_psql($source, "SELECT pipelines.setup(owner => 'app'); REVOKE CREATE ON SCHEMA pipelines FROM app");
	}
	run_sql($node, $source, 'CREATE SCHEMA app; CREATE SCHEMA zapp;', undef, $role);
	make_shop($node, $source, $role);
	# an empty table is restored by anybody; a plan is gone once it is carried out, what is locked has no rows, and roles of pipelines have a test of their own
	my $empty = join ' ', grep { !/_history$|^adoption(?:_plan)?$|^definition_lock$|^pipeline_role$/ } map { /^pipelines\.(\w+)\|0\|/ ? $1 : () } split /\n/, contents($node, $source);
	is($empty, '', "$who: no table of definitions is empty");
	my $contents = contents($node, $source);
	my $catalogs = catalogs($node, $source);
	is(problems($node, $source), '', "$who: the source is sound");
	cmp_ok($node->safe_psql($source, 'SELECT count(*) FROM pipelines.pipeline_stage_history'), '>', 3, "$who: definitions have a past");

	my @as = $role ? ('-U', $role) : ();
	my $n = 0;
	my %formats = (
		plain => { dump => [] },
		custom => { dump => ['-Fc'], restore => [] },
		directory => { dump => [ '-Fd', '-j2' ], restore => ['-j2'] },
		inserts => { dump => ['--inserts'] },
		column_inserts => { dump => [ '--column-inserts', '--rows-per-insert=50' ] },
		clean => { dump => [ '--clean', '--if-exists' ], again => 1 },
		custom_clean => { dump => ['-Fc'], restore => [ '--clean', '--if-exists' ], again => 1 });

	# each kind once (a plain one is a clean one, restored a first time); all of them as both with PIPELINES_TEST_ALL
	delete @formats{ qw(plain column_inserts custom_clean), $role ? qw(directory clean) : qw(custom inserts) } if !$ENV{PIPELINES_TEST_ALL};
	for my $format (sort keys %formats)
	{
		my $f = $formats{$format};
		my $title = "$who, $format";
		my $file = "$dir/$who.$format";
		my $target = "target_${who}_$format";
		my ($status, $out, $err) = run_program('pg_dump', @as, '-f', $file, @{ $f->{dump} }, $source);
		is($status, 0, "$title: dumped") or diag($err);
		is($err, '', "$title: dumped without a warning");
		make_database($target, $who);
		for my $round (1 .. ($f->{again} ? 2 : 1))
		{
			($status, $out, $err) = $f->{restore}
				? run_program('pg_restore', @as, '-d', $target, @{ $f->{restore} }, $file)
				: run_program('psql', @as, '-X', '-q', '-d', $target, '-f', $file);
			is(complaints($who, $err), '', "$title: restored, round $round");
		}
		same_text(contents($node, $target), $contents, "$title: contents are equal");
		if ($who eq 'superuser')
		{
			same_text(catalogs($node, $target), $catalogs, "$title: catalogs are equal");
		}
		else
		{
			$node->safe_psql($target, 'REVOKE CREATE ON SCHEMA pipelines FROM app');
			same_text(catalogs($node, $target), $catalogs, "$title: catalogs are equal");
		}
		is(guards($target), '', "$title: all guards are ENABLE ALWAYS");
		is(problems($node, $target), '', "$title: verify finds nothing");
		$node->safe_psql($target, 'GRANT CREATE ON SCHEMA pipelines TO app') if $role;
		is(run_sql($node, $target, 'SELECT count(*) FROM pipelines.resume()', undef, $role), '0', "$title: nothing is left for resume()");
		goes_on($target, $title, $who);
		$node->safe_psql('postgres', "DROP DATABASE $target");
	}

	# data only, into tables that a schema-only dump made
	my $schema = "$dir/$who.schema";
	my ($status, $out, $err) = run_program('pg_dump', @as, '-s', '-f', $schema, $source);
	is($status, 0, "$who: schema dumped") or diag($err);
	my %data = (
		copy => { dump => [] },
		inserts => { dump => ['--inserts'] },
		column_inserts => { dump => ['--column-inserts'] },
		custom => { dump => ['-Fc'], restore => [ '-a', '-j2' ] },
		custom_4 => { dump => ['-Fc'], restore => [ '-a', '-j4' ] },
		one_by_one => { dump => ['-Fc'], restore => ['-a'] });
	if (!$role)
	{
		# only a superuser can switch off the triggers of foreign keys
		$data{disabled_copy} = { dump => ['--disable-triggers'], disabled => 1 };
		$data{disabled_inserts} = { dump => [ '--disable-triggers', '--inserts' ], disabled => 1 };
		$data{disabled_custom} = { dump => ['-Fc'], restore => [ '-a', '-j2', '--disable-triggers' ], disabled => 1 };
	}
	delete @data{ qw(inserts column_inserts custom_4 one_by_one disabled_inserts), $role ? () : qw(copy custom) } if !$ENV{PIPELINES_TEST_ALL};
	for my $format (sort keys %data)
	{
		my $f = $data{$format};
		my $title = "$who, data only, $format";
		my $file = "$dir/$who.data.$format";
		my $target = "data_${who}_$format";
		($status, $out, $err) = run_program('pg_dump', @as, '-a', '-f', $file, @{ $f->{dump} }, $source);
		is($status, 0, "$title: dumped") or diag($err);
		make_database($target, $who);
		($status, $out, $err) = run_program('psql', @as, '-X', '-q', '-d', $target, '-f', $schema);
		is(complaints($who, $err), '', "$title: schema restored");
		($status, $out, $err) = $f->{restore}
			? run_program('pg_restore', @as, '-d', $target, @{ $f->{restore} }, $file)
			: run_program('psql', @as, '-X', '-q', '-d', $target, '-f', $file);
		is(complaints($who, $err), '', "$title: data restored");
		same_text(contents($node, $target), $contents, "$title: contents are equal");
		if ($f->{disabled})
		{
			isnt(guards($target), '', "$title: it leaves guards that are not ENABLE ALWAYS");
			isnt(problems($node, $target), '', "$title: which verify reports");
			isnt($node->safe_psql($target, 'SELECT count(*) FROM pipelines.resume()'), '0', "$title: and resume() mends");
		}
		is(guards($target), '', "$title: all guards are ENABLE ALWAYS");
		$node->safe_psql($target, 'REVOKE CREATE ON SCHEMA pipelines FROM app') if $role;
		same_text(catalogs($node, $target), $catalogs, "$title: catalogs are equal");
		is(problems($node, $target), '', "$title: verify finds nothing");
		$node->safe_psql($target, 'GRANT CREATE ON SCHEMA pipelines TO app') if $role;
		goes_on($target, $title, $who);
		$node->safe_psql('postgres', "DROP DATABASE $target");
	}
}

$node->stop;
done_testing();
