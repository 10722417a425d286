# Ten opportunities of a real CRM: all load but the one whose probability is
# 1000, which is refused by an error that names it.
use strict;
use warnings;

use File::Basename qw(dirname);
use lib dirname(__FILE__);
use PostgreSQL::Test::Utils;
use RealData;
use Test::More;

my $folder = data_folder('salesforce');
my $want = oracle("$folder/oracle_salesforce_seeds.json");
my $node = start_node('salesforce');

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub check { my ($title, $query, $expected) = @_; same_figures(figures($node, $query), $expected, $title); return; }

# all columns are text, in the file's order
sub load
{
	my ($table, $file) = @_;
	open my $handle, '<', "$folder/$file" or die "$file: $!";
	chomp(my $header = <$handle>);
	close $handle;
	$header =~ s/\r//;
	my $columns = join ', ', map { "$_ text" } split /,/, $header;
	sql("CREATE TABLE $table ($columns, n bigint GENERATED ALWAYS AS IDENTITY); COPY $table ($header) FROM '$folder/$file' (FORMAT csv, HEADER)");
	return;
}

sql('CREATE SCHEMA file');
load('file.opportunity', 'sf_opportunity_data.csv');
load('file.history', 'sf_opportunity_history_data.csv');
check('the files',
	q{SELECT json_build_object('opportunities', (SELECT count(*) FROM file.opportunity), 'history_rows', (SELECT count(*) FROM file.history))},
	{ map { $_ => $want->{$_} } qw(opportunities history_rows) });

# Stages are known by hashes of their names; what they mean is said by flags.
sql(q{
	SELECT pipelines.create_pipeline('Opportunities', time_zone => 'UTC', stages => jsonb_agg(s))
	FROM (SELECT jsonb_build_object('name', stage_name,
			'outcome', CASE WHEN bool_or(is_won::boolean) THEN 'won' WHEN bool_or(is_closed::boolean) THEN 'lost' ELSE 'open' END,
			'probability', CASE WHEN bool_or(is_won::boolean) THEN 100 WHEN bool_or(is_closed::boolean) THEN 0 ELSE min(probability)::numeric END) AS s
		FROM file.opportunity GROUP BY stage_name ORDER BY bool_or(is_closed::boolean), stage_name) x;
	SELECT pipelines.create_deals('deals', currency => 'USD');
	CREATE VIEW file.deal AS
		SELECT n AS deal_id, name, account_id AS account, owner_id AS owner, lead_source AS source, amount::numeric AS amount,
			pipelines.stage_id('Opportunities', stage_name) AS stage_id, probability::numeric AS probability,
			CASE WHEN is_closed::boolean THEN close_date::timestamp::date END AS closed_on,
			CASE WHEN NOT is_closed::boolean THEN close_date::timestamp::date END AS expected_close_on,
			created_date::timestamp AT TIME ZONE 'UTC' AS created_at, id
		FROM file.opportunity;
});
my $columns = 'deal_id, name, account, owner, source, amount, stage_id, probability, closed_on, expected_close_on, created_at';

my ($bad) = @{ $want->{probability_over_100} };
must_fail($node, "INSERT INTO deals ($columns) SELECT $columns FROM file.deal", 'all at once', '23514',
	qr/"deals_probability_check"/, qr/Failing row contains \(\d+, \Q$bad->[1]\E, /, qr/CONSTRAINT NAME:\s+deals_probability_check/,
	qr/TABLE NAME:\s+deals/);
is(sql('SELECT count(*) FROM deals'), 0, 'nothing was written');
my $copy = $node->basedir . '/deals.csv';
sql("COPY (SELECT $columns FROM file.deal ORDER BY probability) TO '$copy' (FORMAT csv)");
must_fail($node, "COPY deals ($columns) FROM '$copy' (FORMAT csv)", 'by COPY', '23514',
	qr/"deals_probability_check"/, qr/COPY deals, line 10:/, qr/\Q$bad->[1]\E/);

sql("INSERT INTO deals ($columns) SELECT $columns FROM file.deal WHERE probability <= 100");
is(sql('SELECT count(*) FROM deals'), $want->{opportunities} - 1, 'the others load');
is(sql(q{SELECT count(*) FROM pipelines.verify('deals')}), 0, 'verify finds nothing');
must_fail($node, "UPDATE deals SET probability = $bad->[2] WHERE deal_id = 3", 'an override of 1000 percent', '23514',
	qr/"deals_probability_check"/, qr/Failing row contains \(3, /);

sql("INSERT INTO deals ($columns) SELECT " . ($columns =~ s/probability/NULL/r) . ' FROM file.deal WHERE probability > 100');
check('figures of all of them',
	q{SELECT json_build_object(
		'opportunities', count(*),
		'won', count(*) FILTER (WHERE outcome = 'won'),
		'closed', count(*) FILTER (WHERE closed_at IS NOT NULL),
		'null_amount', count(*) FILTER (WHERE amount IS NULL),
		'won_null_amount', count(*) FILTER (WHERE outcome = 'won' AND amount IS NULL),
		'sum_amount', sum(amount)) FROM deals_current},
	{ map { $_ => $want->{$_} } qw(opportunities won closed null_amount won_null_amount sum_amount) });
# as given, less what 1000 percent are too much
check('weighted',
	'SELECT pipelines.weighted_forecast(amount, effective_probability) FROM deals_current',
	$want->{weighted_amount_as_given} - 9 * $bad->[3]);
check('closed before created',
	q{SELECT json_agg(json_build_array(f.id, (d.closed_on::timestamp)::text, to_char(d.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')))
	FROM deals d JOIN file.deal f USING (deal_id) WHERE d.closed_on < (d.created_at AT TIME ZONE 'UTC')::date},
	$want->{close_date_before_created});

$node->stop;
done_testing();
