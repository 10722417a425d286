# Our trigger functions on triggers that nobody of ours made: by the owner of a
# table, of a view, of a history, at the wrong time, for the wrong event, with
# arguments, deferred.  Each is refused or harmless: no crash, no internal error,
# nothing that its maker might not do without it, and what deals tables and
# definitions are is the same afterwards.
#
# The functions are those that pg_proc lists, so that a new one is tried, too.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PipelinesTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('forged');
my $db = 'postgres';
run_sql($node, $db, <<'END', 'deals and definitions');
CREATE ROLE definer LOGIN;
CREATE ROLE owner LOGIN;
CREATE EXTENSION pipelines;
SELECT pipelines.setup(owner => 'definer');
SET ROLE definer;
SELECT pipelines.create_pipeline('Sales', stages => '["Lead", "Offer", {"name": "Won", "outcome": "won"}]');
SELECT pipelines.create_fiscal_calendar('Fiscal', from_year => 2024, to_year => 2024);
RESET ROLE;
CREATE SCHEMA app AUTHORIZATION owner;
SET ROLE owner;
SET search_path = app;
SELECT pipelines.create_deals('deals', currency => 'EUR');
INSERT INTO deals (name, amount) SELECT 'deal ' || n, n FROM generate_series(1, 5) n;
UPDATE deals SET stage_id = 2 WHERE deal_id < 3;
SELECT pipelines.create_deals('other', currency => 'EUR');
-- a row of each has what the functions look for by name
CREATE TABLE plain (a integer, relation regclass, owner text, version integer, changed_at timestamptz, pipeline_id integer, stage_id integer, calendar_id integer, period_id integer, name text);
INSERT INTO plain SELECT n, 'app.deals', 'owner', 1, now(), 1, 1, 1, 1, 'x' FROM generate_series(1, 3) n;
CREATE TABLE bare (a integer);
INSERT INTO bare VALUES (1);
CREATE TABLE parted (LIKE plain) PARTITION BY LIST (a);
CREATE TABLE leaf PARTITION OF parted DEFAULT;
INSERT INTO parted SELECT * FROM plain;
CREATE VIEW seen AS SELECT * FROM plain;
-- as a definition table is called, in another schema
CREATE TABLE pipeline (LIKE plain);
INSERT INTO pipeline SELECT * FROM plain;
CREATE TABLE fiscal_period (LIKE plain);
INSERT INTO fiscal_period SELECT * FROM plain;
END
# what sequences gave away is not taken back
sub kept { return join "\n", sort grep { !/_seq \d+$/ } split /\n/, contents($node, $db) }
my $before = kept();

my @functions = split /\n/, $node->safe_psql($db, q{SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'pipelines'::regnamespace AND p.prorettype = 'trigger'::regtype ORDER BY 1::text});
cmp_ok(scalar @functions, '>=', 14, scalar(@functions) . ' trigger functions');
s/\(\)$// for @functions;

# What is tried of a relation: its changes.
my %changes = map { $_ => [ "INSERT INTO app.$_ SELECT * FROM app.$_ LIMIT 1", "UPDATE app.$_ SET a = a + 10", "DELETE FROM app.$_ WHERE a > 10", "TRUNCATE app.$_" ] } qw(plain bare parted leaf pipeline fiscal_period);
$changes{seen} = [ @{ $changes{plain} }[ 0 .. 2 ] ];
s/app\.plain/app.seen/g for @{ $changes{seen} };
$changes{deals} = [ q{INSERT INTO app.deals (name) VALUES ('x')}, 'UPDATE app.deals SET amount = 7, stage_id = 3 WHERE deal_id = 1', 'DELETE FROM app.deals WHERE deal_id = 2', 'TRUNCATE app.deals' ];
$changes{deals_history} = [ q{INSERT INTO app.deals_history SELECT * FROM app.deals_history LIMIT 1}, 'UPDATE app.deals_history SET version = 9', 'DELETE FROM app.deals_history', 'TRUNCATE app.deals_history',
	'UPDATE app.deals SET amount = 7, stage_id = 3 WHERE deal_id = 1' ];
my @shapes = (
	map({ ("BEFORE $_ ON %s FOR EACH ROW", "AFTER $_ ON %s FOR EACH ROW", "BEFORE $_ ON %s FOR EACH STATEMENT", "AFTER $_ ON %s FOR EACH STATEMENT") } 'INSERT OR UPDATE OR DELETE'),
	'BEFORE TRUNCATE ON %s FOR EACH STATEMENT', 'AFTER TRUNCATE ON %s FOR EACH STATEMENT',
	'AFTER INSERT ON %s REFERENCING NEW TABLE AS n FOR EACH STATEMENT', 'AFTER UPDATE ON %s REFERENCING OLD TABLE AS o NEW TABLE AS n FOR EACH STATEMENT',
	'AFTER DELETE ON %s REFERENCING OLD TABLE AS o FOR EACH STATEMENT', 'AFTER UPDATE ON %s REFERENCING OLD TABLE AS o FOR EACH ROW',
	'BEFORE UPDATE ON %s FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*)');
my $constraint = 'CONSTRAINT TRIGGER forged AFTER INSERT OR UPDATE OR DELETE ON %s DEFERRABLE INITIALLY DEFERRED FOR EACH ROW';

run_sql($node, $db, <<'END', 'what tries them');
CREATE SCHEMA probe;
GRANT USAGE ON SCHEMA probe TO PUBLIC;
CREATE TABLE probe.outcome (function text, shape text, change text, sqlstate text, said text);
-- all of it is taken back; what was done without an error says so
CREATE FUNCTION probe.forge(trigger text, changes text[]) RETURNS TABLE (change text, sqlstate text, said text) LANGUAGE plpgsql AS $$
DECLARE
	states text[] := '{}';
	words text[] := '{}';
	c text;
BEGIN
	BEGIN
		PERFORM set_config('role', 'owner', true), set_config('search_path', 'app, pg_catalog', true);
		BEGIN
			EXECUTE trigger;
		EXCEPTION WHEN OTHERS THEN
			RETURN QUERY SELECT 'CREATE TRIGGER'::text, SQLSTATE::text, SQLERRM::text;
			RAISE EXCEPTION USING ERRCODE = 'P9999';
		END;
		FOREACH c IN ARRAY changes LOOP
			BEGIN
				EXECUTE c;
				SET CONSTRAINTS ALL IMMEDIATE;
				RAISE EXCEPTION 'done' USING ERRCODE = 'P9998';
			EXCEPTION WHEN OTHERS OR assert_failure THEN
				states := states || CASE SQLSTATE WHEN 'P9998' THEN '00000' ELSE SQLSTATE END::text;
				words := words || SQLERRM;
			END;
		END LOOP;
		RAISE EXCEPTION USING ERRCODE = 'P9999';
	EXCEPTION WHEN SQLSTATE 'P9999' THEN NULL;
	END;
	RETURN QUERY SELECT changes[i], states[i], words[i] FROM generate_subscripts(states, 1) i;
END $$;
END
my $script = "SET client_min_messages = error;\n";
for my $function (@functions)
{
	for my $relation (sort keys %changes)
	{
		my @these = $relation eq 'seen' ? ('INSTEAD OF INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW', 'BEFORE INSERT OR UPDATE OR DELETE ON %s FOR EACH STATEMENT') : (@shapes, $constraint);
		for my $shape (@these)
		{
			for my $arguments ($shape =~ /BEFORE INSERT.*ROW|AFTER UPDATE.*STATEMENT/ ? ('', "'pipeline', '1', NULL") : (''))
			{
				my $trigger = sprintf(($shape =~ /^CONSTRAINT/ ? 'CREATE ' : 'CREATE TRIGGER forged ') . "$shape EXECUTE FUNCTION $function(@{[ $arguments =~ s/NULL/''/r ]})", "app.$relation");
				my $list = join ', ', map { "\$c\$$_\$c\$" } @{ $changes{$relation} };
				$script .= "INSERT INTO probe.outcome SELECT '$function', \$c\$$trigger\$c\$, f.* FROM probe.forge(\$c\$$trigger\$c\$, ARRAY[$list]) f;\n";
			}
		}
	}
}
my ($out, $err);
is($node->psql($db, $script, stdout => \$out, stderr => \$err, on_error_stop => 1, timeout => 300), 0, 'the session lived') or diag($err);
my $tried = $node->safe_psql($db, 'SELECT count(*) FROM probe.outcome');
cmp_ok($tried, '>', 4000, "$tried changes");
is($node->safe_psql($db, q{SELECT DISTINCT sqlstate, function, said FROM probe.outcome WHERE sqlstate LIKE 'XX%' OR sqlstate = 'P0004' OR said ~ 'cache lookup|unexpected|unrecognized'}), '', 'nothing internal');
# the guards guard whatever they are put on; those in PL/pgSQL say that there is no such column
is($node->safe_psql($db, q{SELECT DISTINCT sqlstate, function, change, said FROM probe.outcome
	WHERE sqlstate NOT IN ('00000', '39P01') AND change <> 'CREATE TRIGGER' AND shape !~ ' app\.(deals|deals_history) '
		AND NOT (sqlstate = '42703' AND function ~ '_(adoption|board)_guard$' AND said ~ '^record "(new|old)" has no field "(relation|owner)"$')
		AND NOT (sqlstate = '55000' AND said ~ 'is not a complete definition table$|^the triggers of deals table .* are not complete$')
		AND NOT (sqlstate = '23S11' AND function ~ '_history_guard$') AND NOT (sqlstate = '23S13' AND function ~ '_definition_truncate$')
	ORDER BY 1, 2, 3 LIMIT 20}), '', 'else it is refused as a trigger, or does nothing');
note($node->safe_psql($db, q{SELECT sqlstate, said, count(*) FROM probe.outcome WHERE sqlstate <> '39P01' GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 60}));
is(kept(), $before, 'nothing has changed');
for my $function (@functions)
{
	my ($said, $how);
	$node->psql($db, "\\set VERBOSITY verbose\nSELECT $function()", stdout => \$said, stderr => \$how);
	like($how, qr/ERROR:  (?:39P01|0A000): /, "$function() can't be called");
}

# on the deals themselves a further trigger of ours changes nothing of what is kept
is($node->safe_psql($db, q{SELECT DISTINCT function, change FROM probe.outcome WHERE shape ~ ' app\.deals_history ' AND sqlstate = '00000' AND change ~ '^(UPDATE|DELETE|TRUNCATE).*deals_history'}), '', 'none opens the history');
is($node->safe_psql($db, q{SELECT DISTINCT function FROM probe.outcome WHERE shape ~ ' app\.deals ' AND sqlstate = '00000' AND change ~ '^TRUNCATE'}), '', 'nor lets deals be truncated');
is(problems($node, $db), '', 'verify finds nothing');
$node->stop;
done_testing();
