# Point-in-time recovery: to an instant between two moves, to a name, and to
# just before a transaction.  What stands is what stood then, with the past of
# then; the deals go on from there, and what as_of() said of an instant before
# it still says.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PipelinesTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = PostgreSQL::Test::Cluster->new('archived');
$node->init(has_archiving => 1, allows_streaming => 1);
$node->append_conf('postgresql.conf', "timezone = 'UTC'\n");
$node->start;
my $db = 'postgres';
$node->safe_psql($db, 'CREATE ROLE app LOGIN; CREATE ROLE clerk LOGIN; CREATE ROLE reader LOGIN; CREATE ROLE definer LOGIN');
$node->safe_psql($db, 'CREATE EXTENSION pipelines; CREATE SCHEMA app; CREATE SCHEMA zapp');
make_shop($node, $db);
$node->backup('base');

# what is there, but for sequences, which may be some numbers ahead
sub rows { return join "\n", grep { /\|/ } split /\n/, contents($_[0], $db) }
sub as_of { return $_[0]->safe_psql($db, "SELECT count(*), sum(amount), sum(version), md5(string_agg(d::text, ',' ORDER BY deal_id)) FROM pipelines.as_of(NULL::app.deals, '$_[1]') d") }

# a transaction that moves many, and another one; between them the point
my @points;
sub point
{
	my ($title, $kind) = @_;
	$node->safe_psql($db, q{UPDATE app.deals SET stage_id = pipelines.stage_id('Vans', CASE WHEN stage_id = pipelines.stage_id('Vans', 'Quote') THEN 'Lead' ELSE 'Quote' END)
		WHERE pipeline_id = pipelines.pipeline_id('Vans') AND deal_id % 3 > 0;
		UPDATE pipelines.pipeline_stage SET probability = (probability + 1)::integer % 90 WHERE stage_id = pipelines.stage_id('Vans', 'Lead')});
	usleep(20_000);
	my %point = (title => $title, rows => rows($node));
	$point{at} = $node->safe_psql($db, 'SELECT clock_timestamp()');
	$point{as_of} = as_of($node, $point{at});
	$node->safe_psql($db, "SELECT pg_create_restore_point('$title')") if $kind eq 'name';
	usleep(20_000);
	my $xid = $node->safe_psql($db, q{BEGIN; UPDATE app.deals SET stage_id = pipelines.stage_id('Vans', 'Won') WHERE deal_id BETWEEN 20 AND 60 AND pipeline_id = pipelines.pipeline_id('Vans');
		DELETE FROM app.deals WHERE deal_id BETWEEN 90 AND 99; INSERT INTO app.deals (deal_id, name) VALUES (91, 'again'); SELECT txid_current() % (2 ^ 32)::bigint; COMMIT});
	$point{target} = $kind eq 'time' ? "recovery_target_time = '$point{at}'" : $kind eq 'name' ? "recovery_target_name = '$title'"
		: "recovery_target_xid = '$xid'\nrecovery_target_inclusive = off";
	push @points, \%point;
	return;
}
point('an instant', 'time');
point('a name', 'name');
point('before a transaction', 'xid');
$node->safe_psql($db, q{SELECT * FROM pipelines.change_outcome('Vans', 'Quote', 'lost', apply_to => 'all')});
point('an instant after a redefinition', 'time');
my $end = $node->safe_psql($db, 'SELECT pg_walfile_name(pg_current_wal_lsn())');
$node->safe_psql($db, q{INSERT INTO app.deals (name) VALUES ('last'); SELECT pg_switch_wal()});
$node->poll_query_until($db, "SELECT last_archived_wal >= '$end' FROM pg_stat_archiver") or die 'the log was not archived';

my $n = 0;
for my $point (@points)
{
	my $title = $point->{title};
	my $copy = PostgreSQL::Test::Cluster->new('copy' . ++$n);
	$copy->init_from_backup($node, 'base', has_restoring => 1, standby => 0);
	# the lives that begin at the other points are not ours
	$copy->append_conf('postgresql.conf', "$point->{target}\nrecovery_target_action = 'promote'\nrecovery_target_timeline = 'current'\narchive_mode = off\n");
	$copy->start;
	ok($copy->poll_query_until($db, 'SELECT NOT pg_is_in_recovery()'), "$title: recovered");
	same_text(rows($copy), $point->{rows}, "$title: rows, history and definitions are those of then");
	is(as_of($copy, $point->{at}), $point->{as_of}, "$title: so is what as_of() says of it");
	is(as_of($copy, $_->{at}), $_->{as_of}, "$title: and of '$_->{title}', which is earlier") for grep { $_->{at} lt $point->{at} } @points;
	is(problems($copy, $db), '', "$title: verify finds nothing");
	is($copy->safe_psql($db, 'SELECT item FROM pipelines.resume()'), '', "$title: nothing is left for resume()");

	# another life begins there
	my $past = $copy->safe_psql($db, 'SELECT count(*) FROM app.deals_history');
	is($copy->safe_psql($db, q{UPDATE app.deals SET stage_id = pipelines.stage_id('Vans', 'Lost') WHERE deal_id IN (23, 25) RETURNING deal_id}), "23\n25", "$title: deals move");
	is($copy->safe_psql($db, 'SELECT count(*) FROM app.deals_history'), $past + 2, "$title: each with a row of history");
	is($copy->safe_psql($db, q{INSERT INTO app.deals (name) VALUES ('new') RETURNING deal_id > 200}), 't', "$title: deals are made");
	run_sql($copy, $db, q{UPDATE pipelines.pipeline_stage SET colour = 'red' WHERE stage_id = pipelines.stage_id('Vans', 'Quote'); SELECT pipelines.create_pipeline('Other', stages => '["A"]')}, "$title: definitions change");
	is(as_of($copy, $point->{at}), $point->{as_of}, "$title: the past is as before");
	is(problems($copy, $db), '', "$title: verify finds nothing then");
	$copy->stop;
}
$node->stop;
done_testing();
