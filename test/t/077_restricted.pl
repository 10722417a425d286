# Code that a low role leaves for an administrator to run: a materialized view
# that he refreshes, an index that he builds anew, a trigger on a history that he
# makes grow.  PostgreSQL and we run it as its owner; what our functions and
# triggers allow is what its owner may, and never what the administrator may, who
# stands behind it.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PipelinesTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('restricted');
my $db = 'postgres';
run_sql($node, $db, 'CREATE ROLE definer LOGIN; CREATE ROLE owner LOGIN; CREATE ROLE low LOGIN; CREATE ROLE boss; CREATE ROLE admin LOGIN SUPERUSER; GRANT boss TO admin;
	CREATE EXTENSION pipelines; SELECT pipelines.setup(owner => \'definer\'); CREATE SCHEMA app AUTHORIZATION owner; CREATE SCHEMA low AUTHORIZATION low; GRANT USAGE ON SCHEMA app TO low');
run_sql($node, $db, <<'END', 'two pipelines', 'definer');
SELECT pipelines.create_pipeline('Sales', stages => '["Lead", "Offer", "Approved", {"name": "Won", "outcome": "won"}]');
SELECT pipelines.create_pipeline('Zqhidden', stages => '["Zqone", {"name": "Zqwon", "outcome": "won"}]');
UPDATE pipelines.pipeline SET bypass_role = 'boss' WHERE name = 'Sales';
UPDATE pipelines.pipeline_stage SET entry_rule = 'amount > 1000' WHERE stage_id = pipelines.stage_id('Sales', 'Approved');
INSERT INTO pipelines.approval (pipeline_id, to_stage_id, role) VALUES (pipelines.pipeline_id('Sales'), pipelines.stage_id('Sales', 'Won'), 'boss');
END
run_sql($node, $db, <<'END', 'deals, which a low role may change', 'owner');
SET search_path = app;
SELECT pipelines.create_deals('deals', currency => 'EUR');
INSERT INTO deals (name, amount) SELECT 'deal ' || n, n FROM generate_series(1, 40) n;
INSERT INTO deals (name, amount, pipeline_id) SELECT 'Zqdeal ' || n, 77000000 + n, pipelines.pipeline_id('Zqhidden') FROM generate_series(1, 3) n;
SELECT pipelines.grant_access('deals', 'low', 'write');
-- a foreign key whose action moves deals, and runs as the table's owner
CREATE TABLE place (place_id integer PRIMARY KEY, stage_id integer UNIQUE);
INSERT INTO place SELECT s, s FROM generate_series(1, 6) s;
ALTER TABLE deals ADD FOREIGN KEY (stage_id) REFERENCES place (stage_id) ON UPDATE CASCADE;
GRANT SELECT, UPDATE ON place TO low;
END
run_sql($node, $db, q{SELECT pipelines.protect_pipeline('Zqhidden')}, 'one of them is hidden', 'definer');
run_sql($node, $db, q{SELECT pipelines.resume('app.deals')}, 'everything is in place');

# What the low role tries: each statement is one that it is refused when it runs
# it itself, and says so where it was not.
my %attempts = (
	'an instant of its choice' => q{PERFORM set_config('pipelines.event_time', clock_timestamp()::text, true); UPDATE app.deals SET stage_id = 2 WHERE deal_id = 1},
	'past rules by a setting' => q{PERFORM set_config('pipelines.bypass', 'on', true), set_config('pipelines.reason', 'x', true); UPDATE app.deals SET stage_id = 3 WHERE deal_id = 2},
	'an approval' => q{UPDATE app.deals SET stage_id = 4 WHERE deal_id = 3},
	'past rules by a foreign key' => q{PERFORM set_config('pipelines.bypass', 'on', true), set_config('pipelines.reason', 'x', true);
		UPDATE app.place SET stage_id = 93 WHERE stage_id = 3; UPDATE app.place SET stage_id = 3 WHERE stage_id = 1},
	'an approval by a foreign key' => q{UPDATE app.place SET stage_id = 94 WHERE stage_id = 4; UPDATE app.place SET stage_id = 4 WHERE stage_id = 1},
	'an instant by a foreign key' => q{PERFORM set_config('pipelines.event_time', clock_timestamp()::text, true); UPDATE app.place SET stage_id = 92 WHERE stage_id = 2; UPDATE app.place SET stage_id = 2 WHERE stage_id = 1},
	'the hidden pipeline' => q{PERFORM pipelines.grant_pipeline('Zqhidden', 'low', 'define')},
	'its protection' => q{PERFORM pipelines.protect_pipeline('Zqhidden', false)},
	'access' => q{PERFORM pipelines.grant_access('app.deals', 'low', 'define')},
	'the definitions' => q{PERFORM pipelines.setup(owner => 'low')},
	'a pipeline' => q{PERFORM pipelines.create_pipeline('Low', stages => '["One"]')},
	'a purge' => q{PERFORM pipelines.purge('app.deals', '1')},
	'the registration' => q{PERFORM pipelines.release('app.deals')},
	'another column' => q{PERFORM pipelines.track('app.deals', 'name')},
	'the past' => q{PERFORM pipelines.import_history('app.deals', 'low.events')},
	'the history' => q{DELETE FROM app.deals_history},
	'a registration by hand' => q{PERFORM pipelines._register_adoption('app.deals', '{}', 'true')},
	'a quota' => q{PERFORM pipelines.secure_quotas(secured => false)},
	'an outcome' => q{PERFORM * FROM pipelines.change_outcome('Sales', 'Lead', 'lost', apply_to => 'all')},
	'the end of a pipeline' => q{PERFORM * FROM pipelines.archive_pipeline('Zqhidden')});
my @names = sort keys %attempts;
my $tries = '';
for my $i (0 .. $#names)
{
	$tries .= <<"END";
	BEGIN
		$attempts{ $names[$i] };
		RAISE LOG 'attempt $names[$i]: came through as %', current_user;
		RAISE 'taken back' USING ERRCODE = 'P9999';
	EXCEPTION WHEN SQLSTATE 'P9999' THEN NULL;
	WHEN OTHERS THEN RAISE LOG 'attempt $names[$i]: % %', sqlstate, sqlerrm;
	END;
END
}
run_sql($node, $db, <<"END", 'what the low role has prepared', 'low');
SET search_path = low;
CREATE TABLE events (deal_id bigint, at timestamptz, stage text);
CREATE TABLE facts (a integer);
INSERT INTO facts VALUES (1);
CREATE FUNCTION try_all() RETURNS integer LANGUAGE plpgsql VOLATILE AS \$\$
BEGIN
	-- only as long as it is being prepared
	IF current_setting('low.quiet', true) = 'on' THEN RETURN 1; END IF;
$tries
	RETURN 1;
END \$\$;
GRANT EXECUTE ON FUNCTION try_all() TO PUBLIC;
CREATE FUNCTION innocent(integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS \$\$ BEGIN RETURN low.try_all(); END \$\$;
SET low.quiet = 'on';
CREATE MATERIALIZED VIEW tries AS SELECT try_all() WITH NO DATA;
CREATE INDEX facts_innocent ON facts (innocent(a));
SELECT pipelines.create_deals('mine', currency => 'EUR');
INSERT INTO mine (name) VALUES ('bait'), ('bait');
CREATE FUNCTION grown() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN PERFORM low.try_all(); RETURN NEW; END \$\$;
CREATE TRIGGER grown BEFORE INSERT ON mine_history FOR EACH ROW EXECUTE FUNCTION grown();
-- what is seen of the hidden pipeline
CREATE MATERIALIZED VIEW sights AS
	SELECT 'board' AS what, b::text AS said FROM pipelines.board('app.deals') b
	UNION ALL SELECT 'current', d::text FROM app.deals_current d
	UNION ALL SELECT 'as_of', d::text FROM pipelines.as_of(NULL::app.deals, now()) d
	UNION ALL SELECT 'changes', d::text FROM pipelines.changes('app.deals', '-infinity', now()) d
	UNION ALL SELECT 'totals', d::text FROM pipelines.totals('app.deals') d
	UNION ALL SELECT 'pipeline', d::text FROM pipelines.pipeline d
	UNION ALL SELECT 'stage', d::text FROM pipelines.stage d
	UNION ALL SELECT 'definitions', d::text FROM pipelines.definitions_as_of(NULL::pipelines.pipeline_stage, now()) d
	WITH NO DATA;
END
my $mark = 0;

# What came of the attempts since the last time.
sub said
{
	my $log = slurp_file($node->logfile);
	my $new = substr $log, $mark;
	$mark = length $log;
	my %said;
	$said{$1} = $2 while $new =~ /LOG:  attempt ([^:\n]+): ([^\n]*)/g;
	return \%said;
}

said();
run_sql($node, $db, 'SELECT low.try_all()', 'the low role tries for itself', 'low');
my $own = said();
for my $name (@names)
{
	unlike($own->{$name} // 'not tried', qr/came through|not tried|syntax|does not exist|XX000/, "$name: refused") or diag($own->{$name});
	note("$name: $own->{$name}");
}

my %ways = (
	'a view that is refreshed' => 'REFRESH MATERIALIZED VIEW low.tries',
	'an index that is built' => 'REINDEX TABLE low.facts',
	'an index that is vacuumed' => 'INSERT INTO low.facts SELECT 2; ANALYZE low.facts',
	'a history that grows' => q{UPDATE low.mine SET stage_id = pipelines.stage_id('Sales', 'Offer') WHERE name = 'bait'});
for my $way (sort keys %ways)
{
	my ($out, $err);
	$node->psql($db, $ways{$way}, stdout => \$out, stderr => \$err, extra_params => [ '-U', 'admin' ]);
	my $by = said();
	is(join(', ', grep { !defined $by->{$_} } @names), '', "$way: everything was tried") or diag($err);
	is(join("\n", map { "$_: $by->{$_}" } grep { ($by->{$_} // '') =~ /came through/ } @names), '', "$way: nothing came through");
}

run_sql($node, $db, 'REFRESH MATERIALIZED VIEW low.sights', 'the administrator refreshes what is seen', 'admin');
is($node->safe_psql($db, q{SELECT what, count(*) FROM low.sights WHERE said ~* 'zq|77000' GROUP BY 1 ORDER BY 1}), '', 'nothing of the hidden pipeline is in it');
cmp_ok($node->safe_psql($db, q{SELECT count(*) FROM low.sights}), '>', 20, 'but what may be seen');
is($node->safe_psql($db, q{SELECT count(*) FROM pipelines.pipeline_role}), '0', 'nobody was let in');

# who was it?  Not who stands behind it.
run_sql($node, $db, <<'END', 'a change that it may make', 'low');
CREATE FUNCTION low.move(n integer) RETURNS integer LANGUAGE plpgsql AS $$ BEGIN UPDATE app.deals SET stage_id = 2 WHERE deal_id = n; RETURN n; END $$;
CREATE MATERIALIZED VIEW low.moved AS SELECT low.move(20) WITH NO DATA;
END
run_sql($node, $db, 'REFRESH MATERIALIZED VIEW low.moved', 'is made by the administrator', 'admin');
is($node->safe_psql($db, 'SELECT role_name, actor FROM app.deals_history WHERE deal_id = 20'), 'low|admin', 'in the name of the low role, in a session of the administrator');
is(problems($node, $db), '', 'verify finds nothing');
$node->stop;
done_testing();
