# Virtual generated columns (PostgreSQL 18 and later): a trigger does not see
# their values, so they can't be the column for anything, nor be tracked, nor be
# asked for by a rule, each of which is told; a table that has one besides is as
# good as any other, and reports may show it.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PipelinesTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('virtual_columns');
my $db = 'postgres';
if ($node->safe_psql($db, 'SHOW server_version_num') < 180000)
{
	$node->stop;
	plan skip_all => 'PostgreSQL 18 is the first to have virtual generated columns';
}
run_sql($node, $db, <<'END', 'a table with a virtual column');
CREATE EXTENSION pipelines;
SELECT pipelines.setup();
SELECT pipelines.create_pipeline('Sales', stages => '["Lead", "Offer", {"name": "Won", "outcome": "won"}]');
SELECT pipelines.create_deals('deals', currency => 'EUR');
ALTER TABLE deals ADD region text, ADD label text GENERATED ALWAYS AS (upper(name)) VIRTUAL, ADD twice numeric GENERATED ALWAYS AS (2 * amount) VIRTUAL;
INSERT INTO deals (name, amount) SELECT 'deal ' || n, n FROM generate_series(1, 5) n;
UPDATE deals SET stage_id = pipelines.stage_id('Sales', 'Offer') WHERE deal_id < 4;
UPDATE deals SET name = 'renamed', amount = 10 WHERE deal_id = 1;
DELETE FROM deals WHERE deal_id = 5;
END
is($node->safe_psql($db, 'SELECT deal_id, label, twice, version FROM deals ORDER BY 1'), "1|RENAMED|20|3\n2|DEAL 2|4|2\n3|DEAL 3|6|2\n4|DEAL 4|8|1", 'it is moved as any other');
is($node->safe_psql($db, 'SELECT count(*) FROM deals_history'), 5, 'with its history');
is(problems($node, $db), '', 'verify finds nothing');

sub refused
{
	my ($sql, $sqlstate, $said, $title) = @_;
	my $err = fails_with($node, $db, $sql, $sqlstate, $title);
	like($err, $said, "$title: is told");
	return;
}

# tracked
refused(q{SELECT pipelines.track('deals', 'label')}, '0A000',
	qr/column "label" of table public\.deals can't be tracked\nDETAIL:  It is a virtual generated column: its value is stored nowhere\.\nHINT:  Track the columns that it is computed from\./, 'track()');
run_sql($node, $db, 'ALTER TABLE deals_history ADD label text', 'a column of the history by hand');
refused(q{UPDATE deals SET amount = 11 WHERE deal_id = 2}, '0A000',
	qr/column "label" of deals table "deals" is a virtual generated column and can't be tracked\nHINT:  Make it a stored one, or drop the column of the history\.(?s:.*)COLUMN NAME:  label/, 'a change of a deal');
refused(q{INSERT INTO deals (name) VALUES ('x')}, '0A000', qr/column "label" of deals table "deals" is a virtual generated column/, 'a new deal');
run_sql($node, $db, 'ALTER TABLE deals_history DROP label; UPDATE deals SET amount = 11 WHERE deal_id = 2', 'without the column deals change again');

# rules and conditions
for my $rule ('label', 'twice > 5', 'name IS NOT NULL AND label <> name')
{
	my ($name) = $rule =~ /(label|twice)/;
	refused(qq{UPDATE pipelines.pipeline_stage SET entry_rule = '$rule' WHERE stage_id = 2}, '0A000',
		qr/entry_rule of stage "Offer" of pipeline "Sales", for deals of public\.deals uses more than a condition may\nDETAIL:  Column "$name" is a virtual generated column\./, "the rule $rule");
}
refused(q{SELECT * FROM pipelines.board('deals', condition => 'twice > 5')}, '0A000', qr/the condition of the board uses more than a condition may\nDETAIL:  Column "twice" is a virtual generated column/, 'the condition of a board');
refused(q{SELECT * FROM pipelines.bridge('deals', now() - interval '1 hour', now(), filter => 'twice > 5')}, '0A000', qr/the filter uses more than a condition may\nDETAIL:  Column "twice" is a virtual generated column/, 'the filter of a bridge');
refused(q{SELECT * FROM pipelines.flow('deals', by => 'label || region')}, '0A000', qr/what the report is split by uses more than an expression may\nDETAIL:  Column "label" is a virtual generated column/, 'what a report is split by');
refused(q{SELECT pipelines.train_scores('deals', features => '{label}')}, '22023', qr/column label of table public\.deals is not tracked/, 'what is scored by');

# adopted
run_sql($node, $db, q{CREATE TABLE jobs (id integer PRIMARY KEY, state text, price numeric, gross numeric GENERATED ALWAYS AS (price * 1.2), said text GENERATED ALWAYS AS (state || '!'));
	INSERT INTO jobs (id, state, price) VALUES (1, 'Lead', 10), (2, 'Won', 20)}, 'an application with virtual columns');
refused(q{SELECT * FROM pipelines.adopt('jobs', stage => 'said')}, '0A000', qr/column "said" of table public\.jobs can't be the column for the stage: it is a generated column/, 'the stage');
refused(q{SELECT * FROM pipelines.adopt('jobs', stage => 'state', amount => 'gross')}, '0A000',
	qr/column "gross" of table public\.jobs can't be the column for amount: it is a virtual generated column\nHINT:  Its value is stored nowhere, so that it has no past\.  Make it a stored one, or leave it out\./, 'the amount');
refused(q{SELECT * FROM pipelines.adopt('jobs', stage => 'state', outcome => 'said')}, '0A000', qr/column "said" of table public\.jobs can't be the column for application_outcome: it is a generated column/, 'the outcome');
refused(q{SELECT * FROM pipelines.adopt('jobs', stage => 'state', key => '{id,gross}')}, '55000|42P16|0A000|23502', qr/jobs/, 'the key');
refused(q{SELECT * FROM pipelines.adopt('jobs', stage => 'state', live => 'gross > 5')}, '0A000', qr/what says which rows of table "jobs" count as deals \(live\) uses more than a condition may\nDETAIL:  Column "gross" is a virtual generated column/, 'which rows count');
run_sql($node, $db, q{SELECT * FROM pipelines.adopt('jobs', stage => 'state', amount => 'price', pipeline => 'Sales', apply => true); UPDATE jobs SET state = 'Offer' WHERE id = 1}, 'it is adopted with them');
is($node->safe_psql($db, 'SELECT id, state, gross, said, version FROM jobs ORDER BY 1'), "1|Offer|12.0|Offer!|2\n2|Won|24.0|Won!|1", 'and its deals move');

# what reads them
for my $t (qw(deals jobs))
{
	run_sql($node, $db, "SELECT * FROM pipelines.$_", "$t: $_") for "as_of(NULL::$t, now())", "board('$t')", "rebuild_views('$t')", "resume('$t')";
	run_sql($node, $db, "SELECT * FROM ${t}_$_", "${t}_$_") for qw(current board visits);
	is($node->safe_psql($db, "SELECT count(*) FROM pipelines.verify('$t')"), 0, "$t: verify finds nothing");
}
is($node->safe_psql($db, "SELECT count(*), count(label), count(twice), count(amount) FROM pipelines.as_of(NULL::deals, $_)"), $_ eq 'now()' ? '4|0|0|4' : '5|0|0|5', "as of $_: like all that isn't tracked")
  for 'now()', '(SELECT min(valid_from) FROM deals_history WHERE version = 1)';
like($node->safe_psql($db, q{SELECT * FROM pipelines.board('deals', by => 'label')}), qr/RENAMED/, 'a board is split by one');
run_sql($node, $db, q{SELECT * FROM pipelines.changes('deals', now() - interval '1 hour', now())}, 'changes()');
is(problems($node, $db), '', 'verify finds nothing in the end');
$node->stop;
done_testing();
