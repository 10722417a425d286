# The sales of a hardware maker as it keeps them: one table with a text column for
# the stage and two days.  Adopted, it gives the figures that were worked out
# without a database, and goes on giving them when the application moves deals.
use strict;
use warnings;

use File::Basename qw(dirname);
use lib dirname(__FILE__);
use PostgreSQL::Test::Utils;
use RealData;
use Test::More;

my $folder = data_folder('maven_crm');
my $want = oracle("$folder/oracle_maven.json");
my $node = start_node('maven_adopted');

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub check { my ($title, $query, $expected) = @_; same_figures(figures($node, $query), $expected, $title); return; }

sql(qq{
	CREATE TABLE sales (opportunity_id text PRIMARY KEY, sales_agent text, product text, account text, deal_stage varchar(20) NOT NULL,
		engage_date date, close_date date, close_value integer);
	COPY sales FROM '$folder/sales_pipeline.csv' (FORMAT csv, HEADER);
});
my $stages = q{SELECT string_agg(concat_ws(' ', position || '.', value, deals, outcome, probability), ', ' ORDER BY position) FROM pipelines.adoption_plan};

# ----- the plan: the more frequent stages first, those that close last

sql(q{SELECT pipelines.adopt('sales', stage => 'deal_stage', amount => 'close_value', close_date => 'close_date', owner => 'sales_agent',
	currency => 'USD', since => 'engage_date', columns => '{"product": "product"}')});
is(sql($stages), '1. Engaging 1589 open 10, 2. Prospecting 500 open 90, 3. Won 4238 won 100, 4. Lost 2473 lost 0', 'what is proposed');
sql(q{UPDATE pipelines.adoption_plan SET position = 3 - position, probability = CASE value WHEN 'Engaging' THEN 50 ELSE 10 END WHERE outcome = 'open'});
sql(q{SELECT pipelines.adopt('sales', stage => 'deal_stage', amount => 'close_value', close_date => 'close_date', owner => 'sales_agent',
	currency => 'USD', since => 'engage_date', columns => '{"product": "product"}')});
is(sql($stages), '1. Prospecting 500 open 10, 2. Engaging 1589 open 50, 3. Won 4238 won 100, 4. Lost 2473 lost 0', 'what was edited stays');

# ----- applied

is(sql(q{SELECT action FROM pipelines.apply_adoption('sales') WHERE item = 'rows'}), '8800 put into the pipeline', 'every row');
is(sql(q{SELECT count(*) FROM pipelines.verify('sales')}), 0, 'verify finds nothing');
check('stages',
	q{SELECT json_object_agg(stage_name, f) FROM (
		SELECT stage_name, json_build_object(
			'count', count(*),
			'sum_close_value', coalesce(sum(close_value), 0),
			'null_close_value', count(*) FILTER (WHERE close_value IS NULL),
			'null_engage_date', count(*) FILTER (WHERE engage_date IS NULL),
			'null_close_date', count(*) FILTER (WHERE closed_on IS NULL),
			'no_account', count(*) FILTER (WHERE account IS NULL),
			'sum_list_price', 0) AS f
		FROM sales_current GROUP BY 1) g},
	{ map { $_ => { %{ $want->{per_stage}{$_} }, sum_list_price => 0 } } keys %{ $want->{per_stage} } });
check('won per quarter',
	q{SELECT json_object_agg(q, json_build_object('won', n, 'value_won', v)) FROM (
		SELECT to_char(closed_on, 'YYYY"-Q"Q') AS q, count(*) AS n, sum(close_value) AS v FROM sales_current WHERE outcome = 'won' GROUP BY 1) g},
	$want->{won_per_quarter_by_close_date});
check('won per month, from the forecast view',
	q{SELECT json_object_agg(to_char(month, 'YYYY-MM'), won) FROM (SELECT month, sum(won) AS won FROM sales_forecast WHERE bucket = 'month' GROUP BY 1) f},
	{ map { $_ => $want->{won_per_month_by_close_date}{$_}{value_won} } keys %{ $want->{won_per_month_by_close_date} } });
check('the board', q{SELECT json_object_agg(stage_name, deals) FROM sales_board}, { map { $_ => $want->{per_stage}{$_}{count} } keys %{ $want->{per_stage} } });
is(sql(q{SELECT count(*) FROM sales WHERE engage_date IS NOT NULL AND stage_entered_at::date <> engage_date}), 0, 'a stage was entered when the application says so');

# ----- the application goes on: everything that is engaged is won

sql(q{UPDATE sales SET deal_stage = 'Won', close_value = 1000, close_date = '2018-01-01' WHERE deal_stage = 'Engaging'});
is(sql(q{SELECT deals || ' ' || amount FROM sales_board WHERE stage_name = 'Won'}), (4238 + 1589) . ' ' . (10005534 + 1589000), 'its moves are followed');
is(sql(q{SELECT count(*) FROM sales_history WHERE change = 'close'}), 1589, 'and remembered');
sql(q{UPDATE sales d SET stage_id = h.stage_id FROM sales_history h WHERE h.opportunity_id = d.opportunity_id});
is(sql(q{SELECT count(*) FROM sales WHERE deal_stage = 'Engaging'}), 1589, 'ours are followed by the application');
is(sql(q{SELECT count(*) FROM pipelines.verify('sales')}), 0, 'verify finds nothing then');

$node->stop;
done_testing();
