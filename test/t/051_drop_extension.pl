# DROP EXTENSION CASCADE loses no definition, no deal and no history row, and
# CREATE EXTENSION with resume() puts everything back as it was.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PipelinesTest;
use Test::More;

my $node = start_node('drop');
$node->safe_psql('postgres', 'CREATE ROLE app LOGIN; CREATE ROLE clerk LOGIN; CREATE ROLE reader LOGIN; CREATE ROLE definer LOGIN');

sub drop_extension
{
	my ($db) = @_;
	return run_sql($node, $db, 'SET client_min_messages = warning; DROP EXTENSION pipelines CASCADE');
}

# what remains of the catalogs must be what was there before
sub remaining
{
	my ($text) = @_;
	return join("\n", sort grep { /^(?:column|constraint|index|relation|grant|schema) / } split /\n/, $text);
}

for my $who ('superuser', 'owner')
{
	my $db = "shop_$who";
	my $role = $who eq 'superuser' ? undef : 'app';
	$node->safe_psql('postgres', "CREATE DATABASE $db" . ($role ? " OWNER $role" : ''));
	$node->safe_psql($db, 'CREATE EXTENSION pipelines' . ($role ? "; SELECT pipelines.setup(owner => '$role')" : ''));
	run_sql($node, $db, 'CREATE SCHEMA app; CREATE SCHEMA zapp;', undef, $role);
	make_shop($node, $db, $role);
	my $views = $node->safe_psql($db, q{SELECT c.oid::regclass FROM pg_class c WHERE c.relkind = 'v' AND c.relnamespace IN ('app'::regnamespace, 'zapp'::regnamespace) ORDER BY 1});
	cmp_ok(scalar(split /\n/, $views), '>=', 6, "$who: there are views");
	my $contents = contents($node, $db);
	my $catalogs = catalogs($node, $db);

	for my $round ($role || $ENV{PIPELINES_TEST_ALL} ? (1, 2) : (1))
	{
		my $title = "$who, round $round";
		# a session that has everything in its caches lives through all of it
		my $session = $node->background_psql($db, on_error_stop => 0);
		$session->query_safe("PREPARE mv AS UPDATE app.deals SET owner = coalesce(owner, '') || '.' WHERE deal_id = 4 RETURNING version");
		my $cached = $session->query_safe('EXECUTE mv');
		$session->query_safe('EXECUTE mv') for 1 .. 6;
		$contents = contents($node, $db);

		fails_with($node, $db, 'DROP EXTENSION pipelines', '2BP01', "$title: without CASCADE it is refused");
		drop_extension($db);
		same_text(contents($node, $db), $contents, "$title: the drop lost nothing");
		my $without = catalogs($node, $db);
		unlike($without, qr/^trigger .* pipelines\._/m, "$title: none of our triggers is left");
		my %there = map { $_ => 1 } split /\n/, $without;
		is(join("\n", grep { !$there{$_} && !/^(?:relation|grant|column) \S+_(?:current|board|forecast|visits|stalled|closings|detail|accounts|next_steps|candidates|due|unanswered|dormant|time_in_stage|funnel|transitions|win_rate|cycle|velocity|load|flow|trend|bridge|changes|scores|forecast_accuracy|review|quota|behind)\b/ } split /\n/, remaining($catalogs)),
			'', "$title: tables, constraints, comments and grants are left");

		is($session->query_safe('BEGIN; EXECUTE mv; ROLLBACK'), $cached + 6, "$title: a session that was there before changes deals without us");

		# the application without us
		run_sql($node, $db, q{BEGIN; UPDATE app.deals SET amount = 1 WHERE deal_id = 1; DELETE FROM app.deals WHERE deal_id = 2;
			UPDATE app.deals_history SET reason = 'possible without the guard' WHERE deal_id = 3; ROLLBACK},
			"$title: updates and deletes go on", $role);
		fails_with($node, $db, "INSERT INTO app.deals (deal_id, name) VALUES (9999, 'x')", '23502', "$title: inserts fail on NOT NULL", $role);
		fails_with($node, $db, "INSERT INTO app.parts (deal_id, name, pipeline_id, stage_id) VALUES (9999, 'x', 1, 1)", '23502', "$title: on partitions, too", $role);

		run_sql($node, $db, 'CREATE EXTENSION pipelines', "$title: made again");
		same_text(contents($node, $db), $contents, "$title: that changed no row");

		# before resume() nothing is judged or remembered
		isnt(problems($node, $db), '', "$title: verify misses the triggers");
		like(problems($node, $db), qr/trigger/, "$title: and says so");
		if ($role)
		{
			# the definitions' triggers are the administrator's business, the rest the owner's
			my $said = run_sql($node, $db, 'SELECT item, action FROM pipelines.resume()', undef, $role);
			like($said, qr/problem: their triggers are missing; an administrator must run/, "$title: the owner is told who must help");
			run_sql($node, $db, 'SELECT pipelines.setup()', "$title: the administrator helps");
		}
		my $said = run_sql($node, $db, 'SELECT deals, item, action FROM pipelines.resume()', "$title: resumed", $role);
		unlike($said, qr/problem/, "$title: without a problem") or diag($said);
		same_text(contents($node, $db), $contents, "$title: resume() changed no row");
		same_text(catalogs($node, $db), $catalogs, "$title: triggers, guards, views, comments, grants are as before");
		is(run_sql($node, $db, 'SELECT count(*) FROM pipelines.resume()', undef, $role), '0', "$title: resume() again does nothing");
		is(problems($node, $db), '', "$title: verify finds nothing");

		# everything goes on
		is($session->query_safe('EXECUTE mv'), $cached + 7, "$title: the session that was there before goes on");
		is($session->query_safe('SELECT count(*) FROM app.deals_history WHERE deal_id = 4 AND version >= ' . $cached), '7', "$title: with history");
		$session->quit;
		my $id = run_sql($node, $db, <<'END', "$title: insert and move", $role);
SET client_min_messages = warning;
INSERT INTO app.deals (name, amount) VALUES ('next', 1) RETURNING deal_id
END
		is(run_sql($node, $db, "UPDATE app.deals SET stage_id = pipelines.stage_id('Vans', 'Won') WHERE deal_id = $id RETURNING version, closed_at = changed_at", undef, 'clerk'),
			'2|t', "$title: a clerk closes a deal");
		is($node->safe_psql($db, "SELECT change, skipped_stages, role_name FROM app.deals_history WHERE deal_id = $id"),
			'close|{' . $node->safe_psql($db, "SELECT pipelines.stage_id('Vans', 'Quote')") . '}|clerk', "$title: with history");
		is(run_sql($node, $db, "UPDATE app.parts SET stage_id = pipelines.stage_id('Vans', '" . ($round == 1 ? 'Lost' : 'Lead') . "') WHERE deal_id = 1 RETURNING version, episode", undef, 'clerk'),
			$round == 1 ? '2|1' : '3|2', "$title: on partitions, too");
		is(run_sql($node, $db, 'SELECT sum(deals) > 0 FROM app.deals_board', undef, 'reader'), 't', "$title: a reader reads the views");
		fails_with($node, $db, "SET session_replication_role = replica; UPDATE app.deals_history SET reason = 'x'", '23S11', "$title: the guard is ENABLE ALWAYS");
		run_sql($node, $db, "UPDATE pipelines.pipeline_stage SET probability = probability + 1 WHERE stage_id = pipelines.stage_id('Vans', 'Quote')", "$title: definitions change", $role);
		fails_with($node, $db, "DELETE FROM pipelines.pipeline_stage WHERE stage_id = pipelines.stage_id('Vans', 'Lead')", '23S07', "$title: and are kept while deals refer to them", $role);
		is(problems($node, $db), '', "$title: verify finds nothing then");
		$contents = contents($node, $db);
	}

	#
	# What was changed meanwhile, as far as it can be seen.
	#
	my $won = $node->safe_psql($db, "SELECT pipelines.stage_id('Vans', 'Won')");
	my $quote = $node->safe_psql($db, "SELECT pipelines.stage_id('Vans', 'Quote')");
	my @moved = split /\n/, $node->safe_psql($db, "SELECT deal_id FROM app.deals WHERE version > 1 AND stage_id <> $quote AND closed_at IS NULL ORDER BY 1 LIMIT 3");
	is(scalar @moved, 3, "$who: three deals with a history");
	my $deleted = $node->safe_psql($db, "SELECT deal_id FROM app.deals WHERE version > 1 AND deal_id <> ALL ('{@{[ join ',', @moved ]}}') ORDER BY 1 DESC LIMIT 1");
	drop_extension($db);
	run_sql($node, $db, "UPDATE app.deals SET stage_id = $quote WHERE deal_id IN ($moved[0], $moved[1]);
		UPDATE app.deals SET version = version + 5 WHERE deal_id = $moved[2];
		DELETE FROM app.deals WHERE deal_id = $deleted", "$who: changed without us", $role);
	run_sql($node, $db, 'CREATE EXTENSION pipelines; SELECT pipelines.setup()');
	my $said = run_sql($node, $db, 'SELECT action FROM pipelines.resume()', "$who: resumed", $role);
	like($said, qr/problem: 3 deals were changed without their history/, "$who: resume() counts the rows that were changed");
	my $problems = $node->safe_psql($db, "SELECT deal, problem FROM pipelines.verify('app.deals') ORDER BY deal::bigint, problem");
	like($problems, qr/^$moved[0]\|history leads to another stage$/m, "$who: verify names a deal that was moved");
	like($problems, qr/^$moved[1]\|history leads to another stage$/m, "$who: and the other");
	like($problems, qr/^$moved[2]\|version missing$/m, "$who: a version without history");
	like($problems, qr/^$deleted\|deal missing$/m, "$who: a deal that vanished");
	is(join(',', sort { $a <=> $b } keys %{ { map { (split /\|/)[0] => 1 } split /\n/, $problems } }),
		join(',', sort { $a <=> $b } @moved, $deleted), "$who: and no other deal");

	# a deal that was changed meanwhile can still be moved, and its history goes on
	is(run_sql($node, $db, "UPDATE app.deals SET stage_id = $won WHERE deal_id = $moved[0] RETURNING version > 2", "$who: it moves on", $role), 't', "$who: with a version");

	# a partition and a table that were dropped meanwhile
	drop_extension($db);
	run_sql($node, $db, 'DROP TABLE zapp.deals CASCADE', undef, $role);
	run_sql($node, $db, 'CREATE EXTENSION pipelines; SELECT pipelines.setup()');
	like(run_sql($node, $db, 'SELECT action FROM pipelines.resume()', "$who: resumed without a table", $role),
		qr/forgotten: it does not exist any more/, "$who: a table that is gone is forgotten");
}

# A planted object in the schema is not taken over (CORE 21).
$node->safe_psql('postgres', 'CREATE DATABASE planted');
$node->safe_psql('planted', 'CREATE EXTENSION pipelines; SELECT pipelines.setup(); DROP EXTENSION pipelines CASCADE;
	GRANT CREATE ON SCHEMA pipelines TO clerk');
run_sql($node, 'planted', q{CREATE FUNCTION pipelines.stage_id(text, varchar) RETURNS integer LANGUAGE sql AS 'SELECT 1'}, 'a function is planted', 'clerk');
fails_with($node, 'planted', 'CREATE EXTENSION pipelines', '42501', 'then the extension refuses');

$node->stop;
done_testing();
