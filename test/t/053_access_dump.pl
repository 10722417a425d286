# Protected pipelines outlive dump and restore: who saw what sees that, and
# nothing more at any step in between.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PipelinesTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('access_dump');
my $dir = PostgreSQL::Test::Utils::tempdir();
$node->safe_psql('postgres', 'CREATE ROLE app LOGIN; CREATE ROLE clerk LOGIN; CREATE ROLE banker LOGIN; CREATE ROLE leaver LOGIN');

# a program against the node; returns its status, what it printed and said
sub run_program
{
	my (@command) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run([ program($node, $command[0]), '-h', $node->host, '-p', $node->port, @command[ 1 .. $#command ] ], '>', \$out, '2>', \$err);
	return ($? >> 8, $out, $err);
}

# what an administrator prepares for a plain owner (CORE 22)
sub make_database
{
	my ($db) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $db TEMPLATE template0 OWNER app");
	$node->safe_psql($db, 'CREATE EXTENSION pipelines; GRANT CREATE ON SCHEMA pipelines TO app');
	return;
}

# policies, row security and privileges, to the column
sub rights
{
	my ($db) = @_;
	return $node->safe_psql($db, <<'END');
SELECT schemaname || '.' || tablename, policyname, permissive, roles, cmd, qual, with_check FROM pg_policies ORDER BY 1, 2;
SELECT c.oid::regclass::text AS relation, c.relrowsecurity, (SELECT string_agg(x::text, ' ' ORDER BY x::text) FROM unnest(coalesce(c.relacl, acldefault('r', c.relowner))) x)
FROM pg_class c WHERE c.relnamespace IN ('app'::regnamespace, 'pipelines'::regnamespace) AND c.relkind IN ('r', 'v', 'p') ORDER BY 1;
SELECT a.attrelid::regclass::text, a.attname, (SELECT string_agg(x::text, ' ' ORDER BY x::text) FROM unnest(a.attacl) x)
FROM pg_attribute a WHERE a.attacl IS NOT NULL AND a.attrelid::regclass::text ~ '^app' ORDER BY 1, 2;
END
}

# what a role sees
sub seen
{
	my ($db, $role) = @_;
	return run_sql($node, $db, <<'END', undef, $role);
SELECT 'deals: ' || coalesce(string_agg(name, ' ' ORDER BY name), '') FROM app.deals;
SELECT 'past: ' || coalesce(string_agg(deal_id || '.' || version, ' ' ORDER BY deal_id, version), '') FROM app.deals_history;
SELECT 'pipelines: ' || coalesce(string_agg(name, ' ' ORDER BY name), '') FROM pipelines.pipeline;
SELECT 'stages: ' || coalesce(string_agg(name, ' ' ORDER BY name), '') FROM pipelines.stage;
SELECT 'past of stages: ' || count(*) FROM pipelines.pipeline_stage_history;
END
}

make_database('source');
run_sql($node, 'source', <<'END', 'the source is made', 'app');
SELECT pipelines.setup();
CREATE SCHEMA app;
SELECT pipelines.create_pipeline('Sales', stages => '["Lead", "Talks", {"name": "Won", "outcome": "won"}]');
SELECT pipelines.create_pipeline('Takeovers', stages => '["Lead", "Target", {"name": "Signed", "outcome": "won"}]');
UPDATE pipelines.pipeline_stage SET probability = probability + 1 WHERE position = 1;
SELECT pipelines.create_deals('app.deals');
INSERT INTO app.deals (name) VALUES ('s1'), ('s2');
INSERT INTO app.deals (name, pipeline_id) VALUES ('t1', 2), ('t2', 2);
UPDATE app.deals SET amount = 5;
SELECT pipelines.grant_access('app.deals', 'clerk', 'write');
SELECT pipelines.grant_access('app.deals', 'banker', 'write');
SELECT pipelines.grant_pipeline('Takeovers', 'banker', 'move');
SELECT pipelines.grant_pipeline('Takeovers', 'leaver', 'move');
UPDATE app.deals SET pipeline_id = 2, stage_id = pipelines.stage_id('Takeovers', 'Target') WHERE name = 's2';
END
$node->safe_psql('source', 'REVOKE CREATE ON SCHEMA pipelines FROM app');
# a role that is gone must break nothing
$node->safe_psql('postgres', 'DROP ROLE leaver');
my $rights = rights('source');
my %seen = map { $_ => seen('source', $_) } qw(clerk banker);
is($seen{clerk}, <<'END' =~ s/\n\z//r, 'the clerk sees his part');
deals: s1
past: 1.1 2.1 2.2
pipelines: Sales
stages: Lead Talks Won
past of stages: 1
END
like($seen{banker}, qr/^deals: s1 s2 t1 t2\n/, 'the banker sees all');

# as the owner, in every way
my %formats = (
	plain => {},
	custom => { dump => ['-Fc'], restore => [] },
	directory => { dump => [ '-Fd', '-j2' ], restore => ['-j2'] },
	inserts => { dump => ['--inserts'] },
	two_steps => { steps => 1 });
for my $format (sort keys %formats)
{
	my $f = $formats{$format};
	my $target = "target_$format";
	my @steps = $f->{steps} ? ('-s', '-a') : ('');
	make_database($target);
	for my $step (@steps)
	{
		my $file = "$dir/$format$step";
		my ($status, $out, $err) = run_program('pg_dump', '-U', 'app', '-f', $file, ($step ? $step : ()), @{ $f->{dump} || [] }, 'source');
		is($status, 0, "$format $step: dumped by the owner") or diag($err);
		($status, $out, $err) = $f->{restore}
			? run_program('pg_restore', '-U', 'app', '-d', $target, @{ $f->{restore} }, $file)
			: run_program('psql', '-U', 'app', '-X', '-q', '-d', $target, '-f', $file);
		my @complaints = grep { /ERROR|error:|FATAL/ && !/errors ignored on restore|schema "pipelines" already exists|must be owner of (?:extension|schema) pipelines|permission denied for schema pipelines$/ } split /\n/, $err;
		is("@complaints", '', "$format $step: restored");
		# while only the tables are there, nobody sees more than nothing
		is(run_sql($node, $target, 'SELECT count(*) FROM app.deals', undef, 'clerk'), '0', "$format: without data nothing is seen") if $step eq '-s';
	}
	$node->safe_psql($target, 'REVOKE CREATE ON SCHEMA pipelines FROM app');
	same_text(rights($target), $rights, "$format: policies and privileges are equal");
	is(seen($target, $_), $seen{$_}, "$format: the $_ sees what he saw") for qw(clerk banker);
	is($node->safe_psql($target, "SELECT count(*) FROM pipelines.verify('app.deals')"), '0', "$format: verify finds nothing");
	# before 15 it says each time that there can be no views
	is(run_sql($node, $target, "SELECT count(*) FROM pipelines.resume() WHERE action !~ '^refused: before PostgreSQL 15'", undef, 'app'), '0', "$format: nothing is left for resume()");
	fails_with($node, $target, "UPDATE app.deals SET pipeline_id = 2 WHERE name = 's1'", '23S01', "$format: what is hidden does not exist", 'clerk');
	is(run_sql($node, $target, "UPDATE app.deals SET pipeline_id = 2 WHERE name = 's1' RETURNING version", undef, 'banker'), '3', "$format: the banker moves on");
	$node->safe_psql('postgres', "DROP DATABASE $target");
}

# By somebody else: not without saying so, and then what he may see.
my ($status, $out, $err) = run_program('pg_dump', '-U', 'clerk', '-a', '-t', 'app.deals', 'source');
isnt($status, 0, 'a reader can not take a part for the whole');
like($err, qr/row-level security/, 'and is told why');
($status, $out, $err) = run_program('pg_dump', '-U', 'clerk', '-a', '-t', 'app.deals', '--enable-row-security', 'source');
is($status, 0, 'with --enable-row-security he dumps') or diag($err);
like($out, qr/\ts1\t/, 'what he sees');
unlike($out, qr/\tt1\t/, 'and no more');
($status, $out, $err) = run_program('pg_dump', '-U', 'clerk', '-a', '-t', 'pipelines.pipeline*', '-t', 'pipelines.stage*', '--enable-row-security', 'source');
is($status, 0, 'definitions, too') or diag($err);
like($out, qr/\tSales\t/, 'those that he sees');
unlike($out, qr/Takeovers|Target|Signed|banker/, 'and no others');

# a dump without the extension: the policies can't be made, and nobody sees anything
$node->safe_psql('postgres', 'CREATE DATABASE bare TEMPLATE template0 OWNER app');
run_program('psql', '-U', 'app', '-X', '-q', '-d', 'bare', '-f', "$dir/plain");
is(run_sql($node, 'bare', 'SELECT count(*) FROM app.deals', undef, 'clerk'), '0', 'without the extension nothing is seen');
is(run_sql($node, 'bare', 'SELECT count(*) FROM app.deals', undef, 'app'), '4', 'by others than the owner');

$node->stop;
done_testing();
