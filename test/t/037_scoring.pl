# Scores on real data: trained on what was known on a day, judged on what came
# after it; the counts are those that plain SQL finds in the raw files; what
# happens later changes nothing of it (R-11.1 to R-11.5).
use strict;
use warnings;

use File::Basename qw(dirname);
use lib dirname(__FILE__);
use JSON::PP;
use PostgreSQL::Test::Utils;
use RealData;
use Test::More;

my $folder = data_folder('bpi2012');
my $maven = data_folder('maven_crm');
my $want = oracle("$folder/oracle_bpi2012_A_pipeline.json");
my $node = start_node('scoring');

sub sql { return $node->safe_psql('postgres', $_[0]); }

# the line for all predictions of each predictor
sub calibration
{
	my ($arguments) = @_;
	my $lines = figures($node,
		qq{SELECT json_object_agg(predictor, row_to_json(c)) FROM pipelines.calibration($arguments) c WHERE bin = 'all'});

	note(sprintf('%-6s predictions %d, mean %s, observed %s, Brier %s, log loss %s',
			$_, @{ $lines->{$_} }{qw(predictions mean_predicted observed brier log_loss)}))
	  for qw(score stage base);
	return $lines;
}

# ----- the loan log

my $cut = '2012-01-01';
sql(qq{
	CREATE TABLE log (case_id bigint, seq integer, activity text, ts timestamptz, resource text, amount numeric);
	COPY log FROM PROGRAM 'gzip -dc "$folder/loan_application_events.csv.gz"' (FORMAT csv, HEADER);
});
# probabilities: those that the snapshots of the oracle were made with
my $stages = JSON::PP->new->encode([
	(map {
		{   name => $_,
			position => $want->{stage_ranks}{$_},
			outcome => 'open',
			probability => 100 * $want->{snapshot_probabilities}{$_} }
	} sort { $want->{stage_ranks}{$a} <=> $want->{stage_ranks}{$b} } keys %{ $want->{stage_ranks} }),
	{ name => 'Won', position => 6, outcome => 'won' },
	{ name => 'Lost', position => 7, outcome => 'lost' } ]);
my $map = join ' ', map { "WHEN '$_' THEN '$want->{stage_map}{$_}'" } sort keys %{ $want->{stage_map} };
sql(qq{
	SELECT pipelines.create_pipeline('Loans', stages => '$stages', time_zone => 'Europe/Amsterdam');
	SELECT pipelines.create_deals('loans');
	CREATE VIEW events AS
		SELECT case_id AS deal_id, seq, ts AS at, amount, resource AS actor,
			CASE activity $map ELSE activity END AS stage
		FROM log;
	SELECT pipelines.import_history('loans', 'events');
	ANALYZE loans; ANALYZE loans_history;
});

is(sql(qq{SELECT won, lost, enough FROM pipelines.train_scores('loans', as_of => '$cut')}), '1130|5680|t', 'closings known then');
# the same from the raw file; nobody goes back in it, so the stage is the furthest one
sql(qq{
	CREATE TABLE naive AS
	WITH step AS (
		SELECT e.*, lag(stage) OVER w AS before, min(at) OVER (PARTITION BY deal_id) AS born FROM events e WINDOW w AS (PARTITION BY deal_id ORDER BY at, seq)
	), visit AS (
		SELECT s.*, lead(at) OVER w AS until, last_value(stage) OVER (PARTITION BY deal_id ORDER BY at, seq ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS finally,
			max(at) OVER (PARTITION BY deal_id) AS finally_at
		FROM step s WHERE before IS DISTINCT FROM stage WINDOW w AS (PARTITION BY deal_id ORDER BY at, seq)
	), cell AS (
		SELECT DISTINCT deal_id, stage, finally, age
		FROM visit,
			(SELECT array_agg(extract(epoch FROM a)::numeric ORDER BY a) AS bounds FROM unnest((SELECT ages FROM pipelines.score_model)) a) b,
			generate_series(width_bucket(extract(epoch FROM at - born)::numeric, bounds),
				width_bucket(greatest(extract(epoch FROM until - born)::numeric - 0.000001, extract(epoch FROM at - born)::numeric), bounds)) age
		WHERE finally IN ('Won', 'Lost') AND finally_at <= '$cut' AND stage NOT IN ('Won', 'Lost')
	)
	SELECT stage, age, count(*) FILTER (WHERE finally = 'Won') AS won, count(*) FILTER (WHERE finally = 'Lost') AS lost
	FROM cell GROUP BY 1, 2;
	CREATE VIEW ours AS
	SELECT s.name AS stage, c.age, c.won, c.lost FROM pipelines.score_count c JOIN pipelines.stage s ON s.stage_id::text = c.value
	WHERE c.feature = 'stage' AND c.age >= 0;
});
cmp_ok(sql('SELECT count(*) FROM naive'), '>', 30, 'cells');
is(sql('SELECT count(*) FROM ((TABLE naive EXCEPT TABLE ours) UNION ALL (TABLE ours EXCEPT TABLE naive)) x'), 0, 'the counts are those of the raw file');

# judged each week on loans that were made after it
my $judged = "'loans', '$cut', new_only => true, as_of => '2012-04-01'";
my $lines = calibration($judged);
is($lines->{score}{predictions}, 5558, 'predictions');
for my $measure (qw(brier log_loss))
{
	cmp_ok($lines->{score}{$measure}, '<', $lines->{base}{$measure}, "$measure: better than the base rate");
	cmp_ok($lines->{score}{$measure}, '<', $lines->{stage}{$measure}, "$measure: better than the configured probabilities");
}
cmp_ok(abs($lines->{score}{mean_predicted} - $lines->{score}{observed}), '<', 3, 'right in the mean, to three percent');
# with whatever is known of the amount, and for all that were open
$lines = calibration("'loans', '$cut', features => '{amount}', as_of => '2012-04-01'");
cmp_ok($lines->{score}{$_}, '<', $lines->{base}{$_}, "$_ of all open loans: better than the base rate") for qw(brier log_loss);

# no leakage: with another future the same counts and the same scores
sql(qq{
	CREATE TABLE counts AS TABLE pipelines.score_count;
	CREATE TABLE scored AS SELECT * FROM pipelines.scores('loans', as_of => '$cut');
	UPDATE loans SET stage_id = pipelines.stage_id('Loans', CASE WHEN deal_id % 2 = 0 THEN 'Won' ELSE 'Lost' END), amount = 1 WHERE deal_id % 3 = 0;
	UPDATE loans SET stage_id = pipelines.stage_id('Loans', 'A_ACCEPTED') WHERE deal_id % 3 = 1;
	DELETE FROM loans WHERE deal_id % 10 = 0;
	UPDATE pipelines.pipeline_stage SET probability = 1 WHERE outcome = 'open';
});
is(sql("SELECT count(*) FROM loans_history WHERE NOT imported") > 5000 ? 1 : 0, 1, 'the future is another one');
sql("SELECT pipelines.train_scores('loans', as_of => '$cut')");
is(sql('SELECT count(*) FROM ((TABLE pipelines.score_count EXCEPT TABLE counts) UNION ALL (TABLE counts EXCEPT TABLE pipelines.score_count)) x'),
	0, 'the same counts');
is(sql("SELECT count(*) FROM ((SELECT * FROM pipelines.scores('loans', as_of => '$cut') EXCEPT TABLE scored) UNION ALL (TABLE scored EXCEPT SELECT * FROM pipelines.scores('loans', as_of => '$cut'))) x"),
	0, 'the same scores');

# ----- the hardware maker: little is to be known, and no more is claimed

sql(qq{
	CREATE TABLE opportunity (id text, owner text, product text, account text, stage text, engaged date, closed date, value numeric, n bigint GENERATED ALWAYS AS IDENTITY);
	COPY opportunity (id, owner, product, account, stage, engaged, closed, value) FROM '$maven/sales_pipeline.csv' (FORMAT csv, HEADER);
	SELECT pipelines.create_pipeline('Hardware', time_zone => 'UTC', stages => '[
		{"name": "Engaging", "probability": 50}, {"name": "Won", "outcome": "won"}, {"name": "Lost", "outcome": "lost"}]');
	SELECT pipelines.create_deals('opps', currency => 'USD');
	CREATE VIEW engagement AS
		SELECT n AS deal_id, engaged::timestamp AT TIME ZONE 'UTC' AS at, 1 AS seq, 'Hardware' AS pipeline, 'Engaging' AS stage, owner FROM opportunity WHERE engaged IS NOT NULL
		UNION ALL
		SELECT n, closed::timestamp AT TIME ZONE 'UTC', 2, 'Hardware', stage, owner FROM opportunity WHERE closed IS NOT NULL;
	SELECT pipelines.import_history('opps', 'engagement');
	ANALYZE opps; ANALYZE opps_history;
});
my ($won, $lost) = split /\|/, sql(q{SELECT won, lost FROM pipelines.train_scores('opps', as_of => '2017-07-01') WHERE pipeline_name = 'Hardware'});
is("$won|$lost", sql(q{SELECT count(*) FILTER (WHERE stage = 'Won'), count(*) FILTER (WHERE stage = 'Lost') FROM opportunity WHERE closed <= '2017-07-01'}),
	'closings known then');
$lines = calibration("'opps', '2017-07-01', pipeline => 'Hardware', as_of => '2018-01-01'");
cmp_ok($lines->{score}{$_}, '<', $lines->{stage}{$_}, "$_: better than the configured probability") for qw(brier log_loss);
cmp_ok(abs($lines->{score}{mean_predicted} - $lines->{score}{observed}), '<', 10, 'right in the mean, to ten percent');
is(sql(q{SELECT count(*) FROM pipelines.calibration('opps', '2017-07-01', pipeline => 'Hardware', as_of => '2018-01-01')
		WHERE bin <> 'all' AND predictor = 'score' HAVING sum(predictions) <> } . $lines->{score}{predictions}), '', 'the reliability table has all of them');

$node->stop;
done_testing();
