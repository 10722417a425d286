# What several TAP tests share: a server, a shop with everything in it, and
# fingerprints of contents and catalogs that can be compared line by line.

package PipelinesTest;

use strict;
use warnings;

use Exporter 'import';
use File::Basename;
use File::Path 'make_path';
use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(new_seed at_seed recorded_seeds repeat_recorded_seeds seed_failed start_node program config run_sql fails_with make_shop contents reports catalogs problems same_text);

# Those of old minor versions leave a separator or a line's end in what a session
# in the background says, now and then.
if (my $query = PostgreSQL::Test::BackgroundPsql->can('query'))
{
	no warnings 'redefine';
	*PostgreSQL::Test::BackgroundPsql::query = sub {
		my ($out, $status) = $query->(@_);
		$out =~ s/^\n?(?:background_psql: QUERY_SEPARATOR[^\n]*\n)?//;
		$out =~ s/\n?(?:background_psql: QUERY_SEPARATOR[^\n]*)?\n?\z//;
		return wantarray ? ($out, $status) : $out;
	};
}

# A test with random programs begins with its seed: PIPELINES_SEED, or a new one.
my $announced;

sub new_seed
{
	return at_seed($ENV{PIPELINES_SEED} || (time() ^ ($$ << 8)) & 0x7fffffff);
}

# one that makes several runs says which it is at
sub at_seed
{
	($announced) = @_;
	note "PIPELINES_SEED=$announced";
	return $announced;
}

# The seeds that once made this test fail; the file seeds tells which, and of what.
sub recorded_seeds
{
	return () if $ENV{PIPELINES_SEED};
	my @seeds;
	for (split /\n/, slurp_file("$FindBin::RealBin/seeds"))
	{
		next if /^#/ || !/\S/;
		die "no seed: $_\n" if !/^(\w+) (\d+) \S/;
		push @seeds, $2 if $1 eq test_name();
	}
	return @seeds;
}

# A test that makes one run of its seed ends with those that are recorded, each in
# a process and with servers of its own.
sub repeat_recorded_seeds
{
	# what is still to fail is not our own seed's doing
	$announced = undef if Test::More->builder->is_passing;
	for my $seed (recorded_seeds())
	{
		# the test modules before 16 know the first of these, the later ones the others
		my $folder = "$PostgreSQL::Test::Utils::tmp_check/seed_$seed";
		make_path("$folder/tmp_check/log");
		local @ENV{qw(PIPELINES_SEED TESTDIR TESTDATADIR TESTLOGDIR)} = ($seed, $folder, "$folder/tmp_check", "$folder/tmp_check/log");
		my $said = '';
		my $ok = IPC::Run::run([ $^X, $0 ], '>', \$said, '2>&1');
		local $Test::Builder::Level = $Test::Builder::Level + 1;
		ok($ok, "what seed $seed once found is not there") or diag(join("\n", grep { !/^ok / } split /\n/, $said));
	}
	return;
}

# how a failing seed is repeated, and how it gets among those that every run repeats
sub seed_failed
{
	my ($seed) = @_;
	diag("PIPELINES_SEED=$seed repeats this.  Once it is understood, add this line to test/t/seeds, so that every run repeats it:\n"
		. test_name() . " $seed <what it found>");
	return;
}

# also where the test died of it
END
{
	seed_failed($announced) if $announced && ($? || !Test::More->builder->is_passing);
}

sub test_name
{
	return basename($0, '.pl');
}

sub start_node
{
	my ($name, @settings) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init;
	$node->append_conf('postgresql.conf', join("\n", "timezone = 'UTC'", @settings, ''));
	$node->start;
	return $node;
}

# Where a program of the node's server is; the test modules of PostgreSQL 13
# don't say, and have it in PATH.
sub program
{
	my ($node, $name) = @_;
	return $node->can('installed_command') ? $node->installed_command($name) : $name;
}

# What pg_config says of the node's server, one item.
sub config
{
	my ($node, $option) = @_;
	return $node->config_data($option) if $node->can('config_data');
	chomp(my $said = `$ENV{PG_CONFIG} $option`);
	return $said;
}

# Run as a role (or undef: the superuser); a failure is a failed assertion.
sub run_sql
{
	my ($node, $db, $sql, $title, $role) = @_;
	my ($out, $err);
	my $status = $node->psql($db, $sql, stdout => \$out, stderr => \$err, on_error_stop => 1,
		extra_params => $role ? [ '-U', $role ] : []);
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is($status, 0, $title) or diag($err) if defined $title;
	die "$sql\n$err" if $status != 0 && !defined $title;
	return $out;
}

# It must fail with this SQLSTATE; returns what was said.
sub fails_with
{
	my ($node, $db, $sql, $sqlstate, $title, $role) = @_;
	my ($out, $err);
	my $status = $node->psql($db, "\\set VERBOSITY verbose\n$sql", stdout => \$out, stderr => \$err, on_error_stop => 1,
		extra_params => $role ? [ '-U', $role ] : []);
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	like($err, qr/ERROR:  $sqlstate:/, $title);
	return $err;
}

# Two pipelines with a past, deals in a schema that sorts before pipelines and
# in one that sorts after it, partitioned ones too, moved, closed, reopened,
# deleted; a reader, a writer and a definer.
sub make_shop
{
	my ($node, $db, $owner) = @_;
	run_sql($node, $db, <<'END', undef, $owner);
SET client_min_messages = warning;
SELECT pipelines.create_pipeline('Vans', stages => '[
	{"name": "Lead", "probability": 10}, {"name": "Quote", "probability": 50, "stall_limit": "14 days"},
	{"name": "Held", "outcome": "on_hold", "probability": 5},
	{"name": "Won", "outcome": "won"}, {"name": "Lost", "outcome": "lost"}]');
SELECT pipelines.create_pipeline('Repairs', transfer_policy => 'first', override_policy => 'clear_on_move',
	stages => '["Request", "Work", {"name": "Request closed", "outcome": "done"}]');
INSERT INTO pipelines.stage_map
SELECT a.pipeline_id, pipelines.stage_id('Vans', 'Quote'), b.pipeline_id, pipelines.stage_id('Repairs', 'Work')
FROM pipelines.pipeline a, pipelines.pipeline b WHERE a.name = 'Vans' AND b.name = 'Repairs';
INSERT INTO pipelines.stage_transition VALUES
	(pipelines.pipeline_id('Vans'), pipelines.stage_id('Vans', 'Lead'), pipelines.stage_id('Vans', 'Quote'));
UPDATE pipelines.pipeline_stage SET probability = 55 WHERE stage_id = pipelines.stage_id('Vans', 'Quote');
UPDATE pipelines.pipeline_stage SET probability = 60, archived_at = NULL WHERE stage_id = pipelines.stage_id('Vans', 'Quote');
UPDATE pipelines.stage SET description = 'O''Brien said "so"; \n' WHERE name = 'Lead';
UPDATE pipelines.pipeline_stage SET position = 6 - position WHERE pipeline_id = pipelines.pipeline_id('Repairs');
DELETE FROM pipelines.stage_transition;

SELECT pipelines.create_deals('app.deals', currency => 'EUR');
SELECT pipelines.create_deals('zapp.deals', on_truncate => 'record', key => '{tenant, nr}');
SELECT pipelines.create_deals('app.parts', partition_by => 'HASH (deal_id)');
CREATE TABLE app.parts_0 PARTITION OF app.parts FOR VALUES WITH (modulus 2, remainder 0);
CREATE TABLE app.parts_1 PARTITION OF app.parts FOR VALUES WITH (modulus 2, remainder 1);
SELECT * FROM pipelines.resume('app.parts');
SELECT pipelines.grant_access(t, 'reader', 'read') FROM unnest('{app.deals,zapp.deals,app.parts}'::regclass[]) t;
SELECT pipelines.grant_access(t, 'clerk', 'write') FROM unnest('{app.deals,zapp.deals,app.parts}'::regclass[]) t;
SELECT pipelines.grant_access('app.deals', 'definer', 'define');
COMMENT ON TABLE app.deals IS 'Our deals';
COMMENT ON COLUMN app.deals.amount IS 'Without tax';
-- a view that is made anew takes over the comment of the column that it shows
COMMENT ON COLUMN app.deals_stalled.amount IS 'Without tax';

INSERT INTO app.deals (name, amount, owner, attributes)
SELECT 'deal ' || n, n * 10.50, 'rep ' || n % 3, '{"a": [1, "ü"]}' FROM generate_series(1, 200) n;
INSERT INTO zapp.deals (tenant, nr, name, amount) SELECT n % 3, n, E'tab\tnewline\n\\', n FROM generate_series(1, 50) n;
INSERT INTO app.parts (name, amount) SELECT 'p' || n, n FROM generate_series(1, 60) n;
BEGIN;
SET LOCAL pipelines.reason = 'spring';
SET LOCAL pipelines.batch = 'b1';
UPDATE app.deals SET stage_id = pipelines.stage_id('Vans', 'Won') WHERE deal_id % 3 = 0;
COMMIT;
UPDATE app.deals SET stage_id = pipelines.stage_id('Vans', 'Lost'), close_reason = 'price' WHERE deal_id % 7 = 1;
UPDATE app.deals SET stage_id = pipelines.stage_id('Vans', 'Lead'), amount = amount * 2 WHERE deal_id % 6 = 0;
UPDATE app.deals SET pipeline_id = pipelines.pipeline_id('Repairs') WHERE deal_id % 11 = 0;
DELETE FROM app.deals WHERE deal_id % 13 = 0;
INSERT INTO app.deals (deal_id, name) VALUES (13, 'again'), (26, 'again');
UPDATE zapp.deals SET stage_id = pipelines.stage_id('Vans', 'Quote'), probability = 12.5 WHERE nr % 2 = 0;
DELETE FROM zapp.deals WHERE nr = 50;
UPDATE app.parts SET stage_id = pipelines.stage_id('Vans', 'Won') WHERE deal_id % 2 = 0;
UPDATE app.parts SET owner = 'x' WHERE deal_id % 5 = 0;
END
	make_office($node, $db, $owner);
	return;
}

# A pipeline with rules in a layout of its own, deals with further columns, an
# adopted table, and something in nearly every other table of definitions: what
# is restored is compared with what there was.
sub make_office
{
	my ($node, $db, $owner) = @_;
	run_sql($node, $db, <<'END', undef, $owner);
SET client_min_messages = warning;
SELECT pipelines.create_fiscal_calendar('Office', from_year => 2025, to_year => 2027);
INSERT INTO pipelines.holiday (calendar_id, day, name) VALUES (pipelines.calendar_id('Office'), '2026-12-25', 'Christmas');
INSERT INTO pipelines.business_hours (calendar_id, weekday, opens, closes) SELECT pipelines.calendar_id('Office'), d, '09:00', '17:30' FROM generate_series(1, 5) d;
INSERT INTO pipelines.rate_set (rate_set, max_age) VALUES ('month_end', 40);
INSERT INTO pipelines.exchange_rate (rate_set, currency, base, rate_on, rate) VALUES ('spot', 'USD', 'EUR', '2026-01-02', 1.1), ('month_end', 'GBP', 'EUR', '2026-01-31', 0.85);
UPDATE pipelines.exchange_rate SET rate = 1.125 WHERE currency = 'USD';

SELECT pipelines.create_pipeline('Office', layout => 'office', mode => 'graph', stages => '[{"name": "Asked", "probability": 10},
	{"name": "Checked", "probability": 60, "entry_rule": "amount > 0", "exit_rule": "length(name) > 0"}, {"name": "Signed", "outcome": "won"}, {"name": "Gone", "outcome": "lost"}]');
INSERT INTO pipelines.stage_transition (pipeline_id, from_stage_id, to_stage_id)
SELECT a.pipeline_id, a.stage_id, b.stage_id FROM pipelines.pipeline_stage a JOIN pipelines.pipeline_stage b USING (pipeline_id)
WHERE a.pipeline_id = pipelines.pipeline_id('Office') AND a.position < b.position;
SELECT pipelines.create_deals('app.offers', layout => 'office', currency => 'EUR');
ALTER TABLE app.offers ADD region text, ADD label text GENERATED ALWAYS AS ('offer ' || name) STORED;
SELECT pipelines.track('app.offers', 'region');
-- columns that come later are the last ones of a view, until it is made anew
DROP VIEW app.offers_current, app.offers_detail, app.offers_stalled CASCADE;
SELECT count(*) FROM pipelines.resume('app.offers');
INSERT INTO pipelines.stage_activity (pipeline_id, stage_id, kind) VALUES (pipelines.pipeline_id('Office'), pipelines.stage_id('Office', 'Checked'), 'call');
INSERT INTO pipelines.approval (pipeline_id, above, role) VALUES (pipelines.pipeline_id('Office'), 1000000, 'definer');
INSERT INTO pipelines.deal_type (layout_id, column_name, value, pipeline_id) SELECT layout_id, 'product', 'desk', pipeline_id FROM pipelines.pipeline WHERE name = 'Office';
INSERT INTO app.offers (name, amount, owner, region, product) SELECT 'offer ' || n, n * 100, 'ann', 'north', 'desk' FROM generate_series(1, 20) n;
UPDATE app.offers SET region = 'south' WHERE deal_id > 10;
INSERT INTO app.offers_activity (deal_id, kind, done_at) SELECT deal_id, 'call', now() FROM app.offers WHERE deal_id <= 12;
UPDATE app.offers SET stage_id = pipelines.stage_id('Office', 'Checked') WHERE deal_id <= 12;
UPDATE app.offers SET stage_id = pipelines.stage_id('Office', CASE WHEN deal_id % 2 = 0 THEN 'Signed' ELSE 'Gone' END) WHERE deal_id <= 8;
SELECT * FROM pipelines.train_scores('app.offers', features => '{owner}', min_won => 1, min_lost => 1);
SELECT pipelines.save_board('Mine', 'app.offers', by => 'owner', stages => '{Asked,Checked}', shared => true);
SELECT pipelines.purge('app.offers', '20');

INSERT INTO pipelines.sales_unit (unit_id, name, parent_id, manager) VALUES (1, 'World', NULL, 'wanda'), (2, 'North', 1, 'nora');
INSERT INTO pipelines.sales_unit_member (owner, unit_id) VALUES ('ann', 2);
SELECT pipelines.set_quota(1000, '2026-07-01', owner => 'ann', kind => 'quarter', calendar => 'Office');
INSERT INTO pipelines.adjustment (forecast_type_id, period_id, owner, category, delta, reason)
SELECT t.forecast_type_id, q.period_id, 'ann', 'commit', -50, 'an optimist' FROM pipelines.quota q, (SELECT min(forecast_type_id) AS forecast_type_id FROM pipelines.forecast_type) t;
INSERT INTO pipelines.submission (forecast_type_id, period_id, owner, category, value)
SELECT t.forecast_type_id, q.period_id, 'ann', 'commit', 290 FROM pipelines.quota q, (SELECT min(forecast_type_id) AS forecast_type_id FROM pipelines.forecast_type) t;

CREATE TABLE app.crm (id uuid PRIMARY KEY, title text, state text CHECK (state IN ('New', 'Quoted', 'Won')), value numeric);
INSERT INTO app.crm SELECT ('00000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid, 'crm ' || n, (ARRAY['New', 'Quoted', 'Won'])[1 + n % 3], n FROM generate_series(1, 9) n;
SELECT count(*) FROM pipelines.adopt('app.crm', stage => 'state', amount => 'value', layout => 'office', apply => true);
UPDATE app.crm SET state = 'Won' WHERE value = 3;
END
	return;
}

# One line per table: its rows, all columns, in an order of their own.
sub contents
{
	my ($node, $db) = @_;
	my $tables = $node->safe_psql($db, <<'END');
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname IN ('app', 'zapp', 'pipelines') AND c.relkind IN ('r', 'p') ORDER BY 1
END
	my $query = join("\nUNION ALL ", map {
		"SELECT '$_', count(*), md5(string_agg(t::text, E'\\n' ORDER BY t::text COLLATE \"C\")) FROM $_ t"
	} split /\n/, $tables);
	my $sequences = $node->safe_psql($db, <<'END');
SELECT quote_ident(schemaname) || '.' || quote_ident(sequencename) || ' ' || coalesce(last_value, 0)
FROM pg_sequences WHERE schemaname IN ('app', 'zapp', 'pipelines') ORDER BY 1
END
	return $node->safe_psql($db, "SET search_path = pg_catalog; SET timezone = 'UTC'; $query") . "\n$sequences";
}

# What is said of the shop's deals by their views, and of the past by as_of().
sub reports
{
	my ($node, $db, @instants) = @_;
	my $query = '';
	for my $t (qw(app.deals zapp.deals app.parts))
	{
		for my $view (qw(current board forecast visits closings))
		{
			# days since something depend on the moment of asking, the last digits of a distribution on the order of the rows
			my $rounded = $view eq 'forecast' ? q{|| jsonb_build_object('about', ARRAY[round(stddev::numeric, 3), round(p10::numeric, 3), round(p50::numeric, 3), round(p90::numeric, 3)])} : '';
			$query .= "SELECT '${t}_$view', count(*), md5(string_agg(j::text, ',' ORDER BY j::text))
				FROM (SELECT to_jsonb(v) - '{days_in_stage,age_days,avg_days_in_stage,duration,stddev,p10,p50,p90}'::text[] $rounded AS j FROM ${t}_$view v) x;\n";
		}
		$query .= "SELECT '$t', '$_', count(*), sum(amount), sum(version), md5(string_agg(d::text, ',' ORDER BY d::text)) FROM pipelines.as_of(NULL::$t, '$_') d;\n" for @instants;
	}
	return $node->safe_psql($db, $query);
}

# Everything that says what the tables are: triggers and their state, views,
# functions beside the tables, constraints, indexes, comments, owners, grants.
sub catalogs
{
	my ($node, $db) = @_;
	return $node->safe_psql($db, <<'END');
SET search_path = pg_catalog;
WITH ours AS (
	SELECT c.* FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE n.nspname IN ('app', 'zapp', 'pipelines')
		AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
)
SELECT 'trigger ' || g.tgrelid::regclass || ' ' || g.tgenabled::text || ' ' || pg_get_triggerdef(g.oid) AS line
FROM pg_trigger g WHERE g.tgrelid IN (SELECT oid FROM ours) AND NOT g.tgisinternal
UNION ALL
SELECT 'relation ' || oid::regclass || ' ' || relkind::text || ' ' || pg_get_userbyid(relowner) || ' ' || coalesce(array_to_string(reloptions, ','), '')
	|| ' ' || relrowsecurity::text || ' ' || coalesce(obj_description(oid, 'pg_class'), '')
FROM ours WHERE relkind IN ('r', 'p', 'v', 'S')
UNION ALL
SELECT 'grant ' || o.oid::regclass || ' ' || coalesce(nullif(a.grantee, 0)::regrole::text, 'public') || ' '
	|| string_agg(a.privilege_type || CASE WHEN a.is_grantable THEN '*' ELSE '' END, ',' ORDER BY a.privilege_type)
FROM ours o, aclexplode(coalesce(o.relacl, acldefault(CASE o.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", o.relowner))) a
WHERE o.relkind IN ('r', 'p', 'v', 'S') GROUP BY o.oid, a.grantee
UNION ALL
SELECT 'view ' || oid::regclass || ' ' || regexp_replace(regexp_replace(pg_get_viewdef(oid), '\s+', ' ', 'g'),
	-- the second branch of a UNION gets column names when it is made from text
	'(NULL::[a-z ]+) AS (?:timestamptz|text)', '\1', 'g') FROM ours WHERE relkind = 'v'
UNION ALL
SELECT 'column ' || o.oid::regclass || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull::text || ' '
	|| a.attidentity::text || ' ' || coalesce(pg_get_expr(d.adbin, d.adrelid), '') || ' ' || coalesce(col_description(o.oid, a.attnum), '')
FROM ours o JOIN pg_attribute a ON a.attrelid = o.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = o.oid AND d.adnum = a.attnum
WHERE o.relkind IN ('r', 'p', 'v')
UNION ALL
SELECT 'constraint ' || conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid)
FROM pg_constraint WHERE conrelid IN (SELECT oid FROM ours)
UNION ALL
SELECT 'index ' || pg_get_indexdef(oid) FROM ours WHERE relkind IN ('i', 'I')
UNION ALL
SELECT 'schema ' || n.nspname || ' ' || coalesce(nullif(a.grantee, 0)::regrole::text, 'public') || ' '
	|| string_agg(a.privilege_type, ',' ORDER BY a.privilege_type)
FROM pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
WHERE n.nspname IN ('app', 'zapp', 'pipelines') AND a.grantee <> n.nspowner GROUP BY n.nspname, a.grantee
UNION ALL
SELECT 'function ' || p.oid::regprocedure || ' ' || pg_get_userbyid(p.proowner) || ' ' || regexp_replace(p.prosrc, '\s+', ' ', 'g') || ' '
	|| coalesce(obj_description(p.oid, 'pg_proc'), '') || ' ' || coalesce(p.proacl::text, '')
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname IN ('app', 'zapp')
ORDER BY 1
END
}

# what verify() says of all deals tables
sub problems
{
	my ($node, $db) = @_;
	return $node->safe_psql($db, 'SELECT t.relation, v.* FROM pipelines.tracked_table t, pipelines.verify(t.relation) v');
}

# is(), but of two long texts show only the lines that differ
sub same_text
{
	my ($found, $expected, $title) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my (%found, %expected);
	$found{$_}++ for split /\n/, $found;
	$expected{$_}++ for split /\n/, $expected;
	my @missing = grep { ($found{$_} || 0) < $expected{$_} } sort keys %expected;
	my @extra = grep { ($expected{$_} || 0) < $found{$_} } sort keys %found;
	my $same = ok(!@missing && !@extra, $title);
	diag(map { substr($_, 0, 4000) . "\n" } (map { "missing: $_" } @missing), (map { "extra:   $_" } @extra)) if !$same;
	return $same;
}

1;
