# What the owner of deals plants beside them does not run as an administrator
# who moves deals: index expressions and triggers on the history, functions and
# operators in schemas that stand first on the path, or in pg_temp.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PipelinesTest;
use Test::More;

my $node = start_node('planted');
my $db = 'postgres';
$node->safe_psql($db, 'CREATE ROLE owner LOGIN; CREATE ROLE clerk LOGIN; CREATE EXTENSION pipelines; CREATE SCHEMA app AUTHORIZATION owner');
run_sql($node, $db, q{SELECT pipelines.create_pipeline('P', stages => '["One", "Two", {"name": "Won", "outcome": "won"}]')}, 'a pipeline');
run_sql($node, $db, <<'END', 'planted', 'owner');
SET search_path = app;
CREATE TABLE seen (who text, what text);
GRANT INSERT ON seen TO PUBLIC;
SELECT pipelines.create_deals('deals');
INSERT INTO deals (amount) SELECT n FROM generate_series(1, 20) n;
SELECT pipelines.grant_access('deals', 'clerk', 'write');
CREATE FUNCTION evil(x text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	RAISE LOG 'planted: index as %', current_user;
	IF current_user = 'postgres' THEN EXECUTE 'ALTER ROLE owner SUPERUSER'; END IF;
	RETURN x;
EXCEPTION WHEN insufficient_privilege OR active_sql_transaction THEN RETURN x;
END $$;
GRANT EXECUTE ON FUNCTION evil TO PUBLIC;
CREATE INDEX ON deals_history (evil(reason));
-- what a text without schemas would find here
CREATE FUNCTION now() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN RAISE LOG 'planted: now as %', current_user; RETURN pg_catalog.now(); END $$;
CREATE FUNCTION lower(text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE LOG 'planted: lower as %', current_user; RETURN $1; END $$;
CREATE FUNCTION same(a integer, b integer) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE LOG 'planted: operator as %', current_user; RETURN a OPERATOR(pg_catalog.=) b; END $$;
CREATE OPERATOR = (LEFTARG = integer, RIGHTARG = integer, FUNCTION = same);
CREATE FUNCTION sametext(a text, b text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE LOG 'planted: operator as %', current_user; RETURN a OPERATOR(pg_catalog.=) b; END $$;
CREATE OPERATOR = (LEFTARG = text, RIGHTARG = text, FUNCTION = sametext);
CREATE FUNCTION forecast(numeric, numeric, text) RETURNS numeric LANGUAGE plpgsql AS $$ BEGIN RAISE LOG 'planted: forecast as %', current_user; RETURN 0; END $$;
CREATE FUNCTION pipeline_id(text) RETURNS integer LANGUAGE plpgsql AS $$ BEGIN RAISE LOG 'planted: pipeline_id as %', current_user; RETURN 0; END $$;
CREATE TABLE pipeline AS SELECT 1 AS pipeline_id, 'x' AS name;
CREATE TABLE tracked_table (relation regclass);
END

# an administrator works with the owner's schema first on the path, and with
# temporary objects of the same names
run_sql($node, $db, <<'END', 'an administrator works there');
SET search_path = app, pg_catalog, pg_temp;
CREATE TEMP TABLE stage AS SELECT 1 AS stage_id;
CREATE TEMP TABLE pipeline_stage AS SELECT 1 AS stage_id;
UPDATE deals SET stage_id = pipelines.stage_id('P', 'Two'), owner = 'x' WHERE deal_id OPERATOR(pg_catalog.<) 5;
SELECT * FROM pipelines.move('deals', '6', 'Two', reason => 'x');
SELECT * FROM pipelines.move_many('deals', '{7,8}', 'Won', reason => 'x');
SELECT * FROM pipelines.push_back('deals', '6', 'x', stage => 'One');
SELECT * FROM pipelines.move_plan('deals', '{9}', 'Two');
SELECT * FROM pipelines.totals('deals');
SELECT * FROM pipelines.verify('deals');
SELECT * FROM pipelines.resume('deals');
SELECT * FROM pipelines.rebuild_views('deals');
SELECT * FROM pipelines.check_definitions();
SELECT count(*) FROM pipelines.as_of(NULL::deals, pg_catalog.now());
SELECT count(*) FROM deals_current;
SELECT count(*) FROM deals_board;
SELECT pipelines.purge('deals', '9');
DELETE FROM deals WHERE deal_id OPERATOR(pg_catalog.=) 10;
SELECT pipelines.create_deals('app.more');
SELECT pipelines.track('deals', 'name');
UPDATE deals SET name = 'y' WHERE deal_id OPERATOR(pg_catalog.=) 11;
REINDEX TABLE deals_history;
END
is($node->safe_psql($db, q{SELECT rolsuper FROM pg_roles WHERE rolname = 'owner'}), 'f', 'nobody became an administrator');
my $log = PostgreSQL::Test::Utils::slurp_file($node->logfile);
my %ran;
$ran{$1}++ for $log =~ /planted: (\w+ as \w+)/g;
note(join ', ', map { "$_ $ran{$_}" } sort keys %ran);
cmp_ok($ran{'index as owner'} || 0, '>', 0, 'the index expression ran as the owner');
is(join(', ', grep { /as postgres/ } sort keys %ran), '', 'nothing planted ran as the administrator');

# triggers of the history: the guard is ours and stands ALWAYS; others the
# writer must not run with the mover's rights
run_sql($node, $db, <<'END', 'a trigger on the history', 'owner');
SET search_path = app, pg_catalog;
CREATE FUNCTION spy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE LOG 'planted: trigger as %', current_user; RETURN NEW; END $$;
CREATE TRIGGER spy BEFORE INSERT ON deals_history FOR EACH ROW EXECUTE FUNCTION spy();
END
$node->psql($db, q{UPDATE app.deals SET owner = 'z' WHERE deal_id = 12}, stderr => \my $said);
note($said) if $said;
$log = PostgreSQL::Test::Utils::slurp_file($node->logfile);
unlike($log, qr/planted: trigger as postgres/, 'it did not run as the administrator');

# forged calls of our trigger functions
for my $function (qw(_deal_before _deal_after _deal_truncate _columns _definition_before _definition_after _definition_truncate _definition_turn))
{
	fails_with($node, $db, "SELECT pipelines.$function()", '39P01', "$function() is no function to be called", 'clerk');
}
run_sql($node, $db, 'CREATE TABLE app.forged (a integer, b text); INSERT INTO app.forged VALUES (1)', 'a table of its own', 'owner');
for my $function (qw(_deal_before _deal_after _deal_truncate _columns _definition_before _definition_after _definition_truncate _definition_turn))
{
	for my $when ('BEFORE INSERT OR UPDATE OR DELETE ON app.forged FOR EACH ROW', 'AFTER INSERT OR UPDATE OR DELETE ON app.forged FOR EACH ROW', 'AFTER UPDATE ON app.forged FOR EACH STATEMENT', 'AFTER UPDATE ON app.forged REFERENCING OLD TABLE AS o NEW TABLE AS n FOR EACH STATEMENT', 'BEFORE TRUNCATE ON app.forged FOR EACH STATEMENT')
	{
		my ($out, $err);
		my $status = $node->psql($db, "\\set VERBOSITY verbose\nBEGIN; CREATE TRIGGER f $when EXECUTE FUNCTION pipelines.$function(); UPDATE app.forged SET a = 2; TRUNCATE app.forged; ROLLBACK",
			stdout => \$out, stderr => \$err, on_error_stop => 1, extra_params => [ '-U', 'owner' ]);
		unlike($err, qr/ERROR:  XX|server closed|terminated/, "$function() $when: nothing internal");
	}
}

# types of the owner's, with casts and operators that PostgreSQL would use, in the
# columns that an adopted table is known, split and keyed by
run_sql($node, $db, <<'END', 'types with casts', 'owner');
SET search_path = app, pg_catalog;
CREATE TYPE mood AS ENUM ('One', 'Two', 'Won');
CREATE TYPE pair AS (a text);
CREATE FUNCTION says_text(mood) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE LOG 'planted: cast as %', current_user; RETURN enum_out($1); END $$;
CREATE FUNCTION says_text(pair) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE LOG 'planted: cast as %', current_user; RETURN 'x'; END $$;
CREATE FUNCTION says_json(mood) RETURNS json LANGUAGE plpgsql AS $$ BEGIN RAISE LOG 'planted: json as %', current_user; RETURN '1'; END $$;
CREATE FUNCTION same(mood, mood) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE LOG 'planted: equality as %', current_user; RETURN true; END $$;
CREATE FUNCTION same(mood, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE LOG 'planted: equality as %', current_user; RETURN true; END $$;
CREATE FUNCTION same(mood, mood[]) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE LOG 'planted: equality as %', current_user; RETURN true; END $$;
CREATE CAST (mood AS text) WITH FUNCTION says_text(mood) AS IMPLICIT;
CREATE CAST (mood AS json) WITH FUNCTION says_json(mood) AS IMPLICIT;
CREATE CAST (pair AS text) WITH FUNCTION says_text(pair) AS IMPLICIT;
CREATE OPERATOR = (LEFTARG = mood, RIGHTARG = mood, FUNCTION = same);
CREATE OPERATOR = (LEFTARG = mood, RIGHTARG = text, FUNCTION = same);
CREATE OPERATOR = (LEFTARG = mood, RIGHTARG = mood[], FUNCTION = same);
CREATE FUNCTION likes(bigint) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE LOG 'planted: condition as %', current_user; RETURN true; END $$;
CREATE DOMAIN number AS bigint CHECK (likes(VALUE));
CREATE TABLE jobs (number number PRIMARY KEY, state mood, price numeric, who text, feel mood, extra pair, feels mood[]);
INSERT INTO jobs VALUES (1, 'One', 10, 'ann', 'One', '(x)', '{One}'), (2, 'Two', 20, 'bob', 'Two', '(y)', '{Two}'), (3, 'One', 30, 'ann', 'Two', '(y)', NULL), (4, 'One', 40, NULL, NULL, NULL, NULL);
SELECT * FROM pipelines.adopt('jobs', stage => 'state', amount => 'price', owner => 'who', pipeline => 'P', apply => true);
SELECT pipelines.track('jobs', 'feel'), pipelines.track('jobs', 'extra');
CREATE TYPE phase AS ENUM ('One', 'Two', 'Won');
CREATE FUNCTION says_text(phase) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE LOG 'planted: cast as %', current_user; RETURN enum_out($1); END $$;
CREATE CAST (phase AS text) WITH FUNCTION says_text(phase) AS IMPLICIT;
CREATE TABLE phases (phase text PRIMARY KEY, name phase);
INSERT INTO phases VALUES ('One', 'One'), ('Two', 'Two'), ('Won', 'Won');
CREATE TABLE tasks (id bigint PRIMARY KEY, state mood, result mood, price numeric);
CREATE TABLE chores (id bigint PRIMARY KEY, state text REFERENCES phases, price numeric);
INSERT INTO tasks VALUES (1, 'One', NULL, 1), (2, 'Two', 'Won', 2);
INSERT INTO chores VALUES (1, 'One', 1), (2, 'Two', 2);
UPDATE jobs SET state = 'Two', feel = 'Two' WHERE number = 1;
END
my $mark = length PostgreSQL::Test::Utils::slurp_file($node->logfile);
run_sql($node, $db, <<'END', 'an administrator asks and mends');
SET search_path = app, pg_catalog;
SELECT * FROM pipelines.adopt('tasks', stage => 'state', outcome => 'result', amount => 'price', pipeline => 'T', apply => true);
SELECT * FROM pipelines.adopt('chores', stage => 'state', amount => 'price', pipeline => 'C', apply => true);
UPDATE tasks SET stage_id = pipelines.stage_id('T', 'Two') WHERE id OPERATOR(pg_catalog.=) 1;
SELECT * FROM pipelines.board('jobs');
SELECT * FROM pipelines.board('jobs', by => 'feel');
SELECT * FROM pipelines.flow('jobs', by => 'feel');
SELECT * FROM pipelines.flow('jobs', by => 'extra');
SELECT * FROM pipelines.flow('jobs', by => 'feels');
SELECT * FROM pipelines.trend('jobs', 2, by => 'feel');
SELECT * FROM pipelines.funnel('jobs', by => 'feel');
SELECT * FROM pipelines.velocity('jobs', by => 'feel');
SELECT * FROM pipelines.time_in_stage('jobs', by => 'feel');
SELECT * FROM pipelines.forecast_report('jobs');
SELECT * FROM pipelines.quota_report('jobs');
SELECT pipelines.train_scores('jobs', features => '{feel,extra}', min_won => 0, min_lost => 0);
SELECT * FROM pipelines.scores('jobs');
SELECT * FROM pipelines.journey('jobs', '1');
SELECT * FROM pipelines.stage_times('jobs', '1');
SELECT * FROM pipelines.next_steps('jobs', '1');
SELECT * FROM pipelines.advance('jobs', '1');
SELECT * FROM pipelines.move_plan('jobs', '{1,2,3}', 'Won');
SELECT * FROM pipelines.bridge('jobs', pg_catalog.now(), pg_catalog.now());
SELECT * FROM pipelines.transitions('jobs');
SELECT * FROM pipelines.as_of(NULL::jobs, pg_catalog.now());
SELECT * FROM jobs_current;
SELECT * FROM jobs_board;
SELECT * FROM pipelines.verify('jobs');
SELECT * FROM pipelines.check_definitions();
SELECT * FROM pipelines.resume('jobs');
SELECT * FROM pipelines.rebuild_views('jobs');
SELECT * FROM pipelines.repair('jobs');
SELECT pipelines.follow_application('jobs');
SELECT pipelines.add_stage_value('jobs', 'x', 'Two');
END
$log = substr PostgreSQL::Test::Utils::slurp_file($node->logfile), $mark;
my %called;
$called{$1}++ for $log =~ /LOG:  planted: (\w+ as \w+)/g;
is(join(', ', map { "$_ $called{$_}" } grep { /as postgres/ } sort keys %called), '', 'no cast, operator or condition of a domain ran as the administrator');
is($node->safe_psql($db, q{SELECT string_agg(DISTINCT f.value, ',') FROM pipelines.flow('app.jobs', by => 'feel') f}), 'One,Two', 'a report shows what the type itself writes');
is($node->safe_psql($db, q{SELECT state, stage_id, version FROM app.jobs WHERE number = 1}), 'Two|2|2', 'and deals are where they were');
is(problems($node, $db), '', 'verify finds nothing');
$node->stop;
done_testing();
