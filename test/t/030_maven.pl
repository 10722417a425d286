# The sales of a hardware maker: a view turns final states with two dates into
# events (engaged at list price, closed at close value), and the imported past
# gives the figures that were worked out without a database; so does a plain
# COPY of the final states, as far as they need no past.
use strict;
use warnings;

use File::Basename qw(dirname);
use lib dirname(__FILE__);
use PostgreSQL::Test::Utils;
use RealData;
use Test::More;

my $folder = data_folder('maven_crm');
my $want = oracle("$folder/oracle_maven.json");
my $node = start_node('maven');

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub check { my ($title, $query, $expected) = @_; same_figures(figures($node, $query), $expected, $title); return; }

# ----- load

sql(qq{
	CREATE SCHEMA file;
	CREATE TABLE file.pipeline (opportunity_id text, sales_agent text, product text, account text, deal_stage text,
		engage_date date, close_date date, close_value numeric, n bigint GENERATED ALWAYS AS IDENTITY);
	CREATE TABLE file.team (sales_agent text, manager text, regional_office text);
	CREATE TABLE file.product (product text, series text, sales_price numeric);
	CREATE TABLE file.account (account text, sector text, year_established integer, revenue numeric, employees integer,
		office_location text, subsidiary_of text);
	COPY file.pipeline (opportunity_id, sales_agent, product, account, deal_stage, engage_date, close_date, close_value)
		FROM '$folder/sales_pipeline.csv' (FORMAT csv, HEADER);
	COPY file.team FROM '$folder/sales_teams.csv' (FORMAT csv, HEADER);
	COPY file.product FROM '$folder/products.csv' (FORMAT csv, HEADER);
	COPY file.account FROM '$folder/accounts.csv' (FORMAT csv, HEADER);

	SELECT pipelines.create_pipeline('Hardware', time_zone => 'UTC', stages => '[
		{"name": "Prospecting", "outcome": "open", "probability": 10},
		{"name": "Engaging", "outcome": "open", "probability": 50},
		{"name": "Won", "outcome": "won"},
		{"name": "Lost", "outcome": "lost"}]');

	-- one row per deal, with what other files say of it
	CREATE VIEW file.deal AS
		SELECT p.n, p.opportunity_id, p.sales_agent, p.product, p.account, p.deal_stage, p.engage_date, p.close_date, p.close_value,
			t.manager, t.regional_office, r.sales_price
		FROM file.pipeline p
			JOIN file.team t USING (sales_agent)
			JOIN file.product r ON r.product = CASE p.product WHEN 'GTXPro' THEN 'GTX Pro' ELSE p.product END;
	CREATE VIEW file.event AS
		SELECT n AS deal_id, engage_date::timestamp AT TIME ZONE 'UTC' AS at, 1 AS seq, 'Engaging' AS stage, sales_price AS amount,
			sales_agent AS owner, product, manager AS team, regional_office AS territory, opportunity_id AS name, account
		FROM file.deal WHERE engage_date IS NOT NULL
		UNION ALL
		SELECT n, close_date::timestamp AT TIME ZONE 'UTC', 2, deal_stage, close_value,
			sales_agent, product, manager, regional_office, opportunity_id, account
		FROM file.deal WHERE close_date IS NOT NULL;
});

# With a past; the deals that were never engaged have no date at all.
sql(q{SELECT pipelines.create_deals('opps', currency => 'USD')});
my $result = figures($node, q{SELECT row_to_json(r) FROM pipelines.import_history('opps', 'file.event') r});
same_figures($result, { deals => 8300, events => 8300 + 6711, rows => 6711, repeats => 0 }, 'what import_history says');
sql(q{
	INSERT INTO opps (deal_id, name, owner, product, team, territory, account, amount, stage_id)
	SELECT n, opportunity_id, sales_agent, product, manager, regional_office, account, sales_price,
		pipelines.stage_id('Hardware', 'Prospecting')
	FROM file.deal WHERE engage_date IS NULL;
});
is(sql(q{SELECT count(*) FROM pipelines.verify('opps')}), 0, 'verify finds nothing');
is(sql('SELECT count(*) FROM opps'), $want->{rows}, 'deals');
is(sql('SELECT nextval(pg_get_serial_sequence($$opps$$, $$deal_id$$)) > (SELECT max(deal_id) FROM file.event)'),
	't', 'new deals get keys of their own');

# Without a past: final states, through a file.
my $copy = $node->basedir . '/final.csv';
sql(qq{
	SELECT pipelines.create_deals('finals', currency => 'USD');
	COPY (SELECT opportunity_id, sales_agent, product, manager, regional_office, account,
			CASE WHEN close_date IS NULL THEN sales_price ELSE close_value END,
			pipelines.stage_id('Hardware', deal_stage), close_date, engage_date
		FROM file.deal) TO '$copy' (FORMAT csv);
	COPY finals (name, owner, product, team, territory, account, amount, stage_id, closed_on, created_at) FROM '$copy'
		(FORMAT csv, FORCE_NULL (created_at));
});
is(sql(q{SELECT count(*) FROM pipelines.verify('finals')}), 0, 'verify finds nothing after COPY');
is(sql('SELECT count(*) FROM finals_history'), 0, 'COPY writes no history');

# ----- figures of the deals, for both

sql(q{
	CREATE FUNCTION stats(numeric[]) RETURNS json LANGUAGE sql IMMUTABLE AS $$
		SELECT CASE WHEN count(*) = 0 THEN json_build_object('n', 0)
			ELSE json_build_object('n', count(*), 'sum', sum(x), 'mean', avg(x), 'min', min(x), 'max', max(x),
				'median_pc', percentile_cont(0.5) WITHIN GROUP (ORDER BY x),
				'p90_pc', percentile_cont(0.9) WITHIN GROUP (ORDER BY x),
				'median_pd', percentile_disc(0.5) WITHIN GROUP (ORDER BY x),
				'p90_pd', percentile_disc(0.9) WITHIN GROUP (ORDER BY x)) END
		FROM unnest($1) x
	$$;
	-- the days come from the visits where there is a past
	CREATE TABLE engaged AS
		SELECT deal_id, min(entered_at)::date AS engaged_on FROM opps_visits WHERE stage_name = 'Engaging' GROUP BY 1;
});

# the deals of T with the keys that they are grouped by
sub deals
{
	my ($table, $days) = @_;
	return qq{(SELECT d.*, $days AS days, a.sector, p.sales_price,
			CASE d.product WHEN 'GTXPro' THEN 'GTX Pro' ELSE d.product END AS fixed_product
		FROM ${table}_current d
			LEFT JOIN engaged e USING (deal_id)
			LEFT JOIN file.account a ON a.account = d.account
			JOIN file.product p ON p.product = CASE d.product WHEN 'GTXPro' THEN 'GTX Pro' ELSE d.product END)};
}

# the figures that the oracle has for each group
sub group_figures
{
	my ($deals, $key) = @_;
	return qq{SELECT json_object_agg(k, f) FROM (
		SELECT $key AS k, json_build_object(
			'deals', count(*),
			'won', count(*) FILTER (WHERE outcome = 'won'),
			'lost', count(*) FILTER (WHERE outcome = 'lost'),
			'prospecting', count(*) FILTER (WHERE stage_name = 'Prospecting'),
			'engaging', count(*) FILTER (WHERE stage_name = 'Engaging'),
			'win_rate_of_closed', (count(*) FILTER (WHERE outcome = 'won'))::numeric / nullif(count(*) FILTER (WHERE outcome IN ('won', 'lost')), 0),
			'win_rate_of_all', (count(*) FILTER (WHERE outcome = 'won'))::numeric / count(*),
			'value_won', coalesce(sum(amount) FILTER (WHERE outcome = 'won'), 0),
			'avg_won_value', avg(amount) FILTER (WHERE outcome = 'won'),
			'days_to_win', stats(array_agg(days) FILTER (WHERE outcome = 'won')),
			'days_to_lose', stats(array_agg(days) FILTER (WHERE outcome = 'lost'))) AS f
		FROM $deals d GROUP BY 1) g};
}

my %group_keys = (
	by_agent => 'owner',
	by_manager => 'team',
	by_region => 'territory',
	by_product_raw => 'product',
	by_product_gtxpro_fixed => 'fixed_product',
	by_account_blank_is_empty => q{coalesce(account, '')},
	by_sector_raw => q{coalesce(sector, '(no account)')});

for my $table (qw(opps finals))
{
	# the COPY gave created_at where the file has a day
	my $deals = deals($table, $table eq 'opps' ? 'd.closed_on - e.engaged_on' : 'd.closed_on - d.created_at::date');

	check("$table: stages",
		qq{SELECT json_object_agg(stage_name, f) FROM (
			SELECT stage_name, json_build_object(
				'count', count(*),
				'sum_close_value', coalesce(sum(amount) FILTER (WHERE closed_on IS NOT NULL), 0),
				'null_close_value', count(*) FILTER (WHERE closed_at IS NULL),
				'null_engage_date', count(*) FILTER (WHERE stage_name = 'Prospecting'),
				'null_close_date', count(*) FILTER (WHERE closed_on IS NULL),
				'no_account', count(*) FILTER (WHERE account IS NULL),
				'sum_list_price', sum(sales_price)) AS f
			FROM $deals d GROUP BY 1) g},
		$want->{per_stage});
	check("$table: all deals", group_figures($deals, q{'all'}), { all => $want->{overall} });
	check("$table: $_", group_figures($deals, $group_keys{$_}), $want->{$_}) for sort keys %group_keys;

	check("$table: won per quarter",
		qq{SELECT json_object_agg(q, json_build_object('won', n, 'value_won', v)) FROM (
			SELECT to_char(closed_on, 'YYYY"-Q"Q') AS q, count(*) AS n, sum(amount) AS v FROM $deals d WHERE outcome = 'won' GROUP BY 1) g},
		$want->{won_per_quarter_by_close_date});
	check("$table: lost per quarter",
		qq{SELECT json_object_agg(q, n) FROM (
			SELECT to_char(closed_on, 'YYYY"-Q"Q') AS q, count(*) AS n FROM $deals d WHERE outcome = 'lost' GROUP BY 1) g},
		$want->{lost_per_quarter_by_close_date});
	check("$table: won per month",
		qq{SELECT json_object_agg(q, json_build_object('won', n, 'value_won', v)) FROM (
			SELECT to_char(closed_on, 'YYYY-MM') AS q, count(*) AS n, sum(amount) AS v FROM $deals d WHERE outcome = 'won' GROUP BY 1) g},
		$want->{won_per_month_by_close_date});
	my $agent_quarters = qq{(SELECT a.owner, q.quarter, coalesce(sum(d.amount), 0) AS v
		FROM (SELECT DISTINCT owner FROM $table) a
			CROSS JOIN (SELECT DISTINCT to_char(closed_on, 'YYYY"-Q"Q') AS quarter FROM ${table}_current WHERE outcome = 'won') q
			LEFT JOIN ${table}_current d ON d.owner = a.owner AND d.outcome = 'won' AND to_char(d.closed_on, 'YYYY"-Q"Q') = q.quarter
		GROUP BY 1, 2)};
	check("$table: won value of agents",
		qq{SELECT json_object_agg(owner, f) FROM (SELECT owner, json_object_agg(quarter, v) AS f FROM $agent_quarters x GROUP BY 1) g},
		$want->{won_value_agent_quarter});
	check("$table: attainment of a flat quota",
		qq{SELECT json_object_agg(owner, f) FROM (SELECT owner, json_object_agg(quarter, v / 75000) AS f FROM $agent_quarters x GROUP BY 1) g},
		$want->{attainment_vs_flat_quota_75000_per_agent_quarter});
	check("$table: agents at or over a flat quota",
		qq{SELECT json_object_agg(quarter, json_build_object('agents_at_or_over', o, 'agents_under', u)) FROM (
			SELECT quarter, count(*) FILTER (WHERE v >= 75000) AS o, count(*) FILTER (WHERE v < 75000) AS u
			FROM $agent_quarters x GROUP BY 1) g},
		$want->{attainment_counts});
	check("$table: weighted forecast",
		qq{SELECT json_build_object(
			'all', (SELECT pipelines.weighted_forecast(amount, effective_probability) FROM ${table}_current WHERE outcome = 'open'),
			'by_region', (SELECT json_object_agg(territory, w) FROM (
				SELECT territory, pipelines.weighted_forecast(amount, effective_probability) AS w FROM ${table}_current WHERE outcome = 'open' GROUP BY 1) x),
			'by_manager', (SELECT json_object_agg(team, w) FROM (
				SELECT team, pipelines.weighted_forecast(amount, effective_probability) AS w FROM ${table}_current WHERE outcome = 'open' GROUP BY 1) x))},
		$want->{weighted_forecast_final_P10_E50});
	check("$table: weighted forecast, the same from column weighted",
		qq{SELECT sum(weighted) FROM ${table}_current WHERE outcome = 'open'}, $want->{weighted_forecast_final_P10_E50}{all});
	check("$table: weighted by each agent's win rate",
		qq{WITH rate AS (SELECT owner, (count(*) FILTER (WHERE outcome = 'won'))::numeric / count(*) FILTER (WHERE outcome IN ('won', 'lost')) AS r
			FROM ${table}_current GROUP BY 1)
		SELECT sum(amount * r) FROM ${table}_current JOIN rate USING (owner) WHERE stage_name = 'Engaging'},
		$want->{weighted_forecast_engaging_by_agent_win_rate});
	check("$table: open deals without an account",
		qq{SELECT json_object_agg(stage_name, n) FROM (SELECT stage_name, count(*) AS n FROM $deals d WHERE account IS NULL GROUP BY 1) g},
		$want->{oddities}{blank_account_by_stage});
	check("$table: won value against list price",
		qq{SELECT json_build_object('min', min(r), 'max', max(r), 'mean', avg(r), 'above_list', count(*) FILTER (WHERE r > 1),
				'equal_list', count(*) FILTER (WHERE r = 1), 'below_list', count(*) FILTER (WHERE r < 1))
			FROM (SELECT amount / sales_price AS r FROM $deals d WHERE outcome = 'won') x},
		$want->{oddities}{won_value_over_list_ratio});
}

# ----- figures that need a past

check('days of engaging and closing',
	q{SELECT json_build_object(
		'engage_min', min(entered_at::date) FILTER (WHERE stage_name = 'Engaging'),
		'engage_max', max(entered_at::date) FILTER (WHERE stage_name = 'Engaging'),
		'close_min', min(entered_at::date) FILTER (WHERE stage_name IN ('Won', 'Lost')),
		'close_max', max(entered_at::date) FILTER (WHERE stage_name IN ('Won', 'Lost'))) FROM opps_visits},
	$want->{dates});
check('deals by month of engagement',
	q{SELECT json_object_agg(month, json_build_object('engaged', n, 'won', w, 'lost', l, 'open', o)) FROM (
		SELECT to_char(v.entered_at, 'YYYY-MM') AS month, count(*) AS n, count(*) FILTER (WHERE d.outcome = 'won') AS w,
			count(*) FILTER (WHERE d.outcome = 'lost') AS l, count(*) FILTER (WHERE d.outcome = 'open') AS o
		FROM opps_visits v JOIN opps_current d USING (deal_id)
		WHERE v.stage_name = 'Engaging' GROUP BY 1) x},
	$want->{cohort_by_engage_month});
check('time in stage Engaging',
	q{SELECT json_build_object(
		'won', stats(array_agg(days) FILTER (WHERE outcome = 'won')),
		'lost', stats(array_agg(days) FILTER (WHERE outcome = 'lost')),
		'closed', stats(array_agg(days) FILTER (WHERE outcome <> 'open')),
		'open_at_2017-12-31', stats(array_agg(until_then) FILTER (WHERE outcome = 'open')))
	FROM (SELECT d.outcome, extract(day FROM v.exited_at - v.entered_at)::numeric AS days, ('2017-12-31'::date - v.entered_at::date)::numeric AS until_then
		FROM opps_visits v JOIN opps_current d USING (deal_id) WHERE v.stage_name = 'Engaging') x},
	$want->{time_in_engaging_days});

# A snapshot is that of the end of the day; whoever closes does it at midnight
# before.
for my $day (sort keys %{ $want->{snapshot_end_of_day} })
{
	check("snapshot at the end of $day",
		qq{SELECT json_build_object(
			'engaging', count(*) FILTER (WHERE s.name = 'Engaging'),
			'engaging_list_price', coalesce(sum(a.amount) FILTER (WHERE s.name = 'Engaging'), 0),
			'won_to_date', count(*) FILTER (WHERE ps.outcome = 'won'),
			'value_won_to_date', coalesce(sum(a.amount) FILTER (WHERE ps.outcome = 'won'), 0),
			'lost_to_date', count(*) FILTER (WHERE ps.outcome = 'lost'),
			'engaging_age_days', stats(array_agg(('$day'::date - a.stage_entered_at::date)::numeric) FILTER (WHERE s.name = 'Engaging')),
			'weighted_forecast_p50_list_price', pipelines.weighted_forecast(a.amount, ps.probability) FILTER (WHERE s.name = 'Engaging'))
		FROM pipelines.as_of(NULL::opps, '$day 23:59:59.999999') a
			JOIN pipelines.stage s USING (stage_id) JOIN pipelines.pipeline_stage ps USING (pipeline_id, stage_id)},
		$want->{snapshot_end_of_day}{$day});
}

# ----- the same through the reports
#
# The deals that were never engaged have no day of creation in the file: their
# cohort is everybody.

my %report_keys = (
	by_agent => 'owner',
	by_manager => 'team',
	by_region => 'territory',
	by_product_raw => 'product',
	by_product_gtxpro_fixed => q{CASE product WHEN 'GTXPro' THEN 'GTX Pro' ELSE product END},
	by_account_blank_is_empty => q{coalesce(account, '')});
my @rates = qw(deals won lost win_rate_of_closed win_rate_of_all value_won);
my @times = qw(n sum mean min max median_pc p90_pc);

sub some { my ($f, @keys) = @_; return { map { $_ => $f->{$_} } @keys }; }
sub times_of { my ($f) = @_; return $f->{n} ? some($f, @times) : { n => 0 }; }

for my $group (sort keys %report_keys)
{
	my $by = $report_keys{$group} =~ s/'/''/gr;

	check("report: rates $group",
		qq{SELECT json_object_agg(value, json_build_object('deals', created, 'won', won, 'lost', lost, 'win_rate_of_closed', count_rate,
				'win_rate_of_all', cohort_rate, 'value_won', won_amount))
			FROM pipelines.win_rate('opps', by => '$by')},
		{ map { $_ => some($want->{$group}{$_}, @rates) } keys %{ $want->{$group} } });
	for my $outcome (qw(won lost))
	{
		my $what = $outcome eq 'won' ? 'days_to_win' : 'days_to_lose';

		check("report: $what $group",
			qq{SELECT json_object_agg(value, json_build_object('n', n, 'sum', extract(epoch FROM total) / 86400, 'mean', extract(epoch FROM mean) / 86400,
					'min', extract(epoch FROM shortest) / 86400, 'max', extract(epoch FROM longest) / 86400,
					'median_pc', extract(epoch FROM median) / 86400, 'p90_pc', extract(epoch FROM p90) / 86400))
				FROM pipelines.cycle('opps', by => '$by', closed_as => '$outcome', from_stage => 'Engaging')},
			{ map { $_ => times_of($want->{$group}{$_}{$what}) } grep { $want->{$group}{$_}{$what}{n} } keys %{ $want->{$group} } });
	}
	check("report: open deals $group",
		qq{SELECT json_object_agg(value, n) FROM pipelines.load('opps', by => '$by')},
		{   map { $_ => $want->{$group}{$_}{prospecting} + $want->{$group}{$_}{engaging} }
			grep { $want->{$group}{$_}{prospecting} + $want->{$group}{$_}{engaging} > 0 } keys %{ $want->{$group} } });
}
for my $quarter (sort keys %{ $want->{won_per_quarter_by_close_date} })
{
	my ($year, $q) = $quarter =~ /^(\d+)-Q(\d)$/;
	my $since = sprintf '%d-%02d-01', $year, 3 * $q - 2;
	my $until = qq{('$since'::date + interval '3 months')::date};

	check("report: closed in $quarter",
		qq{SELECT json_build_object('won', won, 'value_won', won_amount, 'lost', lost)
			FROM pipelines.win_rate('opps', since => '$since', until => $until)},
		{ %{ $want->{won_per_quarter_by_close_date}{$quarter} }, lost => $want->{lost_per_quarter_by_close_date}{$quarter} });
	check("report: won by agents in $quarter",
		qq{SELECT json_object_agg(value, won_amount) FILTER (WHERE won_amount <> 0)
			FROM pipelines.win_rate('opps', since => '$since', until => $until, by => 'owner')},
		{   map { $_ => $want->{won_value_agent_quarter}{$_}{$quarter} }
			grep { $want->{won_value_agent_quarter}{$_}{$quarter} } keys %{ $want->{won_value_agent_quarter} } });
}
check('report: weighted by region',
	q{SELECT json_object_agg(value, weighted) FROM pipelines.load('opps', by => 'territory')}, $want->{weighted_forecast_final_P10_E50}{by_region});
check('report: time in Engaging',
	q{SELECT json_build_object('n', n, 'sum', extract(epoch FROM total) / 86400, 'mean', extract(epoch FROM mean) / 86400,
			'min', extract(epoch FROM shortest) / 86400, 'max', extract(epoch FROM longest) / 86400,
			'median_pc', extract(epoch FROM median) / 86400, 'p90_pc', extract(epoch FROM p90) / 86400)
		FROM opps_time_in_stage WHERE stage_name = 'Engaging'}, some($want->{time_in_engaging_days}{closed}, @times));
check('report: months of engagement',
	q{SELECT json_object_agg(to_char(m, 'YYYY-MM'), json_build_object('engaged', n, 'won', won, 'lost', lost, 'open', still_open))
		FROM generate_series(timestamp '2016-10-01', '2017-12-01', '1 month') m
		CROSS JOIN LATERAL pipelines.funnel('opps', cohort => 'entered_stage_in', since => m::date, until => (m + interval '1 month')::date)
		WHERE stage_name = 'Engaging' AND n > 0},
	$want->{cohort_by_engage_month});
check('report: transitions',
	q{SELECT json_object_agg(to_stage_name, n) FROM opps_transitions WHERE stage_name = 'Engaging'},
	{ Won => $want->{overall}{won}, Lost => $want->{overall}{lost} });
for my $day (sort keys %{ $want->{snapshot_end_of_day} })
{
	my $f = $want->{snapshot_end_of_day}{$day};

	check("report: stages at the end of $day",
		qq{SELECT json_build_object(
			'engaging', coalesce((SELECT running FROM pipelines.time_in_stage('opps', as_of => '$day 23:59:59.999999') WHERE stage_name = 'Engaging'), 0),
			'won_to_date', coalesce(sum(won), 0), 'value_won_to_date', coalesce(sum(won_amount), 0), 'lost_to_date', coalesce(sum(lost), 0))
			FROM pipelines.win_rate('opps', as_of => '$day 23:59:59.999999')},
		some($f, qw(engaging won_to_date value_won_to_date lost_to_date)));
}

$node->stop;
done_testing();
