# A bank's loan applications: 60,849 real events, imported as the past of
# 13,087 deals, give the figures that were worked out from the same events
# without a database.
use strict;
use warnings;

use File::Basename qw(dirname);
use lib dirname(__FILE__);
use JSON::PP;
use PostgreSQL::Test::Utils;
use RealData;
use Test::More;

my $folder = data_folder('bpi2012');
my $want = oracle("$folder/oracle_bpi2012_A_pipeline.json");
my $node = start_node('loans');

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub check { my ($title, $query, $expected) = @_; same_figures(figures($node, $query), $expected, $title); return; }

# ----- load

sql(qq{
	CREATE TABLE log (case_id bigint, seq integer, activity text, ts timestamptz, resource text, amount numeric);
	COPY log FROM PROGRAM 'gzip -dc "$folder/loan_application_events.csv.gz"' (FORMAT csv, HEADER);
});
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
});
my $result = figures($node, q{SELECT row_to_json(r) FROM pipelines.import_history('loans', 'events') r});
same_figures(
	$result,
	{   deals => $want->{cases},
		events => $want->{events},
		rows => $want->{stage_moves},
		repeats => $want->{repeats_of_same_stage} },
	'what import_history says');
is(sql('SELECT count(*) FROM loans'), 13087, 'deals');
is(sql('SELECT count(*) FROM loans_history'), 43270, 'history rows');
is(sql(q{SELECT count(*) FROM pipelines.verify('loans')}), 0, 'verify finds nothing');
is(sql('SELECT bool_and(imported AND NOT bypassed) FROM loans_history'), 't', 'marked as imported');
is(sql(q{SELECT count(*) FROM loans_history WHERE actor IS NULL}),
	0, 'each change has an actor');

# ----- visits, moves, paths
#
# Left out: what concerns events that change nothing (the length of a case up to
# its last event, neighbours at one instant), since those leave no trace.

sql(q{
	-- the stages that a deal went through, by name
	CREATE TABLE visit AS SELECT * FROM loans_visits;
	ANALYZE visit;
	CREATE FUNCTION stats(numeric[]) RETURNS json LANGUAGE sql IMMUTABLE AS $$
		SELECT CASE WHEN count(*) = 0 THEN json_build_object('n', 0)
			ELSE json_build_object('n', count(*), 'sum_s', sum(x), 'mean_s', avg(x), 'min_s', min(x), 'max_s', max(x),
				'median_pc_s', percentile_cont(0.5) WITHIN GROUP (ORDER BY x),
				'p90_pc_s', percentile_cont(0.9) WITHIN GROUP (ORDER BY x),
				'median_pd_s', percentile_disc(0.5) WITHIN GROUP (ORDER BY x),
				'p90_pd_s', percentile_disc(0.9) WITHIN GROUP (ORDER BY x)) END
		FROM unnest($1) x
	$$;
	CREATE TABLE path AS
		SELECT deal_id, array_agg(stage_name ORDER BY visit) AS stages FROM visit GROUP BY deal_id;
});
check('visits', 'SELECT count(*) FROM visit', $want->{visits});
check('visits per stage', 'SELECT json_object_agg(stage_name, n) FROM (SELECT stage_name, count(*) AS n FROM visit GROUP BY 1) v',
	$want->{visits_per_stage});
check('cases ever in a stage',
	'SELECT json_object_agg(stage_name, n) FROM (SELECT stage_name, count(DISTINCT deal_id) AS n FROM visit GROUP BY 1) v',
	$want->{cases_ever_in_stage});
check('moves per case',
	q{SELECT json_build_object('mean', avg(version - 1), 'max', max(version - 1), 'min', min(version - 1)) FROM loans},
	$want->{moves_per_case});
check('distinct paths', 'SELECT count(DISTINCT stages) FROM path', $want->{distinct_paths});
check('paths', q{SELECT json_agg(json_build_array(stages, n) ORDER BY n DESC)
	FROM (SELECT stages, count(*) AS n FROM path GROUP BY 1) p}, $want->{top_paths});
check('first stage', 'SELECT json_object_agg(stage_name, n) FROM (SELECT stage_name, count(*) AS n FROM visit WHERE visit = 1 GROUP BY 1) v',
	$want->{first_stage});
check('last stage', 'SELECT json_object_agg(stage_name, n) FROM (SELECT stage_name, count(*) AS n FROM loans_current GROUP BY 1) v',
	$want->{last_stage});
check('final state', 'SELECT json_object_agg(outcome, n) FROM (SELECT outcome, count(*) AS n FROM loans_current GROUP BY 1) v',
	$want->{final_state});
check('transitions',
	q{SELECT json_agg(json_build_array(a, b, n) ORDER BY n DESC, a, b) FROM (
		SELECT f.name AS a, t.name AS b, count(*) AS n
		FROM loans_history h
			JOIN pipelines.stage f ON f.stage_id = h.stage_id JOIN pipelines.stage t ON t.stage_id = h.to_stage_id
		WHERE (h.stage_id, h.pipeline_id) <> (h.to_stage_id, h.to_pipeline_id)
		GROUP BY 1, 2) x},
	[ sort { $b->[2] <=> $a->[2] || $a->[0] cmp $b->[0] || $a->[1] cmp $b->[1] } @{ $want->{transitions} } ]);
check('classes of moves',
	q{SELECT json_object_agg(class, n) FROM (
		SELECT CASE WHEN h.change = 'reopen' THEN 'reopen' WHEN t.outcome = 'won' THEN 'to_won' WHEN t.outcome = 'lost' THEN 'to_lost'
				WHEN t."position" = f."position" + 1 THEN 'next' WHEN t."position" > f."position" THEN 'skip' ELSE 'back' END AS class,
			count(*) AS n
		FROM loans_history h
			JOIN pipelines.pipeline_stage f ON (f.pipeline_id, f.stage_id) = (h.pipeline_id, h.stage_id)
			JOIN pipelines.pipeline_stage t ON (t.pipeline_id, t.stage_id) = (h.to_pipeline_id, h.to_stage_id)
		GROUP BY 1) x}, $want->{move_classes});
check('skips, steps back, reopenings',
	q{SELECT json_build_object(
		'cases_with_skip', count(DISTINCT deal_id) FILTER (WHERE skipped_stages IS NOT NULL AND change = 'move'),
		'cases_with_back_move', count(DISTINCT deal_id) FILTER (WHERE t."position" < f."position"),
		'cases_reopened', count(DISTINCT deal_id) FILTER (WHERE change = 'reopen'))
	FROM loans_history h
		JOIN pipelines.pipeline_stage f ON (f.pipeline_id, f.stage_id) = (h.pipeline_id, h.stage_id)
		JOIN pipelines.pipeline_stage t ON (t.pipeline_id, t.stage_id) = (h.to_pipeline_id, h.to_stage_id)},
	{ map { $_ => $want->{$_} } qw(cases_with_skip cases_with_back_move cases_reopened) });
check('lost from which stage',
	q{SELECT json_object_agg(name, n) FROM (SELECT s.name, count(*) AS n FROM loans_history h JOIN pipelines.stage s USING (stage_id)
		WHERE h.to_stage_id = pipelines.stage_id('Loans', 'Lost') GROUP BY 1) x}, $want->{loss_moves_from_stage});
check('cases that reached a stage or one behind it',
	q{SELECT json_object_agg(rank, (SELECT count(*) FROM (
			SELECT v.deal_id FROM visit v JOIN pipelines.pipeline_stage s USING (pipeline_id, stage_id)
			WHERE s.outcome <> 'lost' GROUP BY 1 HAVING max(s."position") >= rank) d)) FROM generate_series(1, 6) rank},
	$want->{cases_reaching_rank_or_further});
# the furthest stage of the bookkeeping is the same thing
check('furthest stage of the deals',
	q{SELECT json_object_agg(rank, (SELECT count(*) FROM loans d
			JOIN pipelines.pipeline_stage s ON s.pipeline_id = d.pipeline_id AND s.stage_id = d.furthest_stage_id
			WHERE s."position" >= rank)) FROM generate_series(1, 6) rank},
	$want->{cases_reaching_rank_or_further});

# ----- time in stage

check('time in stage, each visit',
	q{SELECT json_object_agg(stage_name, (stats(seconds)::jsonb || jsonb_build_object('open_visits', open))::json) FROM (
		SELECT stage_name,
			array_agg(extract(epoch FROM exited_at - entered_at)::numeric) FILTER (WHERE exited_at IS NOT NULL) AS seconds,
			count(*) FILTER (WHERE exited_at IS NULL) AS open
		FROM visit GROUP BY 1) v},
	$want->{time_in_stage_per_visit});
check('time in stage, each case',
	q{SELECT json_object_agg(stage_name, stats(seconds)) FROM (
		SELECT stage_name, array_agg(seconds) AS seconds FROM (
			SELECT stage_name, deal_id, sum(extract(epoch FROM exited_at - entered_at)::numeric) AS seconds
			FROM visit WHERE exited_at IS NOT NULL GROUP BY 1, 2) d
		GROUP BY 1) v},
	$want->{time_in_stage_total_per_case});
for my $outcome (qw(won lost))
{
	check("cycle time to $outcome",
		qq{SELECT stats(array_agg(extract(epoch FROM closed_at - created_at)::numeric)) FROM loans_current WHERE outcome = '$outcome'},
		$want->{"cycle_time_first_event_to_first_${outcome}_event_of_finally_${outcome}_cases"});
}

# ----- amounts and months

check('amounts', q{SELECT json_build_object('sum', sum(amount), 'min', min(amount), 'max', max(amount),
	'oddities', json_build_object('zero', count(*) FILTER (WHERE amount = 0))) FROM loans}, $want->{amount});
check('amount by final state', 'SELECT json_object_agg(outcome, amount) FROM (SELECT outcome, sum(amount) AS amount FROM loans_current GROUP BY 1) v',
	$want->{amount_by_final_state});
for my $zone ('UTC', 'Europe/Amsterdam')
{
	check("created per month, $zone",
		qq{SELECT json_object_agg(month, n) FROM (SELECT to_char(created_at AT TIME ZONE '$zone', 'YYYY-MM') AS month, count(*) AS n FROM loans GROUP BY 1) v},
		$want->{created_per_month}{$zone});
	check("won per month, $zone",
		qq{SELECT json_object_agg(month, n) FROM (SELECT to_char(closed_at AT TIME ZONE '$zone', 'YYYY-MM') AS month, count(*) AS n FROM loans_current WHERE outcome = 'won' GROUP BY 1) v},
		$want->{won_per_month_by_first_won_event}{$zone});
	check("won amount per month, $zone",
		qq{SELECT json_object_agg(month, n) FROM (SELECT to_char(closed_at AT TIME ZONE '$zone', 'YYYY-MM') AS month, sum(amount) AS n FROM loans_current WHERE outcome = 'won' GROUP BY 1) v},
		$want->{won_amount_per_month_by_first_won_event}{$zone});
}
# closed_on is a day of the pipeline's time zone
check('won per month, closed_on',
	q{SELECT json_object_agg(month, n) FROM (SELECT to_char(closed_on, 'YYYY-MM') AS month, count(*) AS n FROM loans_current WHERE outcome = 'won' GROUP BY 1) v},
	$want->{won_per_month_by_first_won_event}{'Europe/Amsterdam'});

# ----- snapshots

for my $instant (sort keys %{ $want->{snapshots_state_at} })
{
	check("snapshot at $instant",
		qq{WITH past AS (
			SELECT s.name, ps.outcome, a.amount, ps.probability
			FROM pipelines.as_of(NULL::loans, '$instant') a
				JOIN pipelines.stage s USING (stage_id) JOIN pipelines.pipeline_stage ps USING (pipeline_id, stage_id)
		)
		SELECT json_build_object(
			'cases', (SELECT json_object_agg(name, n) FROM (SELECT name, count(*) AS n FROM past GROUP BY 1) x),
			'open', (SELECT count(*) FROM past WHERE outcome = 'open'),
			'amount', (SELECT json_object_agg(name, n) FROM (SELECT name, sum(amount) AS n FROM past GROUP BY 1) x),
			'open_amount', (SELECT sum(amount) FROM past WHERE outcome = 'open'),
			'weighted_open_amount', (SELECT pipelines.weighted_forecast(amount, probability) FROM past WHERE outcome = 'open'))},
		$want->{snapshots_state_at}{$instant});
}
my $probe = $want->{boundary_probe};
check('around an instant of a change',
	qq{SELECT json_object_agg(name, (SELECT count(*) FROM pipelines.as_of(NULL::loans, '$probe->{instant}'::timestamptz + shift) a
			JOIN pipelines.pipeline_stage s USING (pipeline_id, stage_id) WHERE s.outcome = 'open'))
		FROM (VALUES ('open_1ms_before', interval '-1 ms'), ('open_at', interval '0'), ('open_1ms_after', interval '1 ms')) p(name, shift)},
	{ map { $_ => $probe->{$_} } qw(open_1ms_before open_at open_1ms_after) });

# ----- the same through the reports

my $end = '2012-03-15 00:00+00';
check('report: time in stage per visit',
	qq{SELECT json_object_agg(stage_name, json_build_object('n', n, 'sum_s', extract(epoch FROM total), 'mean_s', extract(epoch FROM mean),
			'min_s', extract(epoch FROM shortest), 'max_s', extract(epoch FROM longest), 'median_pc_s', extract(epoch FROM median),
			'p90_pc_s', extract(epoch FROM p90), 'open_visits', running))
		FROM pipelines.time_in_stage('loans', as_of => '$end')},
	{ map { my $f = $want->{time_in_stage_per_visit}{$_}; $_ => { map { $_ => $f->{$_} } grep { !/_pd_/ } keys %$f } }
		grep { !/^(?:Won|Lost)$/ } keys %{ $want->{time_in_stage_per_visit} } });
check('report: time in stage per case',
	q{SELECT json_object_agg(stage_name, json_build_object('n', n, 'sum_s', extract(epoch FROM total), 'mean_s', extract(epoch FROM mean),
			'min_s', extract(epoch FROM shortest), 'max_s', extract(epoch FROM longest), 'median_pc_s', extract(epoch FROM median),
			'p90_pc_s', extract(epoch FROM p90)))
		FROM pipelines.time_in_stage('loans', measure => 'cumulative')},
	{ map { my $f = $want->{time_in_stage_total_per_case}{$_}; $_ => { map { $_ => $f->{$_} } grep { !/_pd_/ } keys %$f } }
		grep { !/^(?:Won|Lost)$/ } keys %{ $want->{time_in_stage_total_per_case} } });
check('report: transitions',
	q{SELECT json_agg(json_build_array(stage_name, to_stage_name, n) ORDER BY n DESC, stage_name COLLATE "C", to_stage_name COLLATE "C") FROM loans_transitions},
	[ sort { $b->[2] <=> $a->[2] || $a->[0] cmp $b->[0] || $a->[1] cmp $b->[1] } @{ $want->{transitions} } ]);
check('report: classes of moves',
	q{SELECT json_object_agg(class, n) FROM (
		SELECT CASE WHEN kind = 'close' THEN 'to_' || to_outcome ELSE kind END AS class, sum(n) AS n FROM loans_transitions GROUP BY 1) x},
	$want->{move_classes});
check('report: losses by stage',
	q{SELECT json_object_agg(stage_name, n) FROM loans_transitions WHERE to_outcome = 'lost'}, $want->{loss_moves_from_stage});
check('report: cases ever in a stage',
	q{SELECT json_object_agg(stage_name, n) FROM loans_funnel},
	{ map { $_ => $want->{cases_ever_in_stage}{$_} } grep { $_ ne 'Lost' } keys %{ $want->{cases_ever_in_stage} } });
# in this log nobody skipped a stage
for my $mode (qw(strict reached))
{
	check("report: funnel $mode",
		qq{SELECT json_object_agg("position", n) FROM pipelines.funnel('loans', '$mode')},
		$want->{cases_reaching_rank_or_further});
}
check('report: where those in the first stage stand',
	q{SELECT json_build_object('won', won, 'lost', lost, 'open', still_open) FROM loans_funnel WHERE "position" = 1}, $want->{final_state});
for my $outcome (qw(won lost))
{
	my $f = $want->{"cycle_time_first_event_to_first_${outcome}_event_of_finally_${outcome}_cases"};
	check("report: cycle of the $outcome",
		qq{SELECT json_build_object('n', n, 'sum_s', extract(epoch FROM total), 'mean_s', extract(epoch FROM mean),
				'min_s', extract(epoch FROM shortest), 'max_s', extract(epoch FROM longest), 'median_pc_s', extract(epoch FROM median),
				'p90_pc_s', extract(epoch FROM p90))
			FROM pipelines.cycle('loans', closed_as => '$outcome')},
		{ map { $_ => $f->{$_} } grep { !/_pd_/ } keys %$f });
}
for my $month (sort keys %{ $want->{created_per_month}{'Europe/Amsterdam'} })
{
	check("report: created and won in $month",
		qq{SELECT json_build_object('created', created, 'won', won, 'amount', won_amount)
			FROM pipelines.win_rate('loans', since => '$month-01', until => ('$month-01'::date + interval '1 month')::date)},
		{   created => $want->{created_per_month}{'Europe/Amsterdam'}{$month},
			won => $want->{won_per_month_by_first_won_event}{'Europe/Amsterdam'}{$month} // 0,
			amount => $want->{won_amount_per_month_by_first_won_event}{'Europe/Amsterdam'}{$month} // 0 });
}
check('report: amounts won and lost',
	q{SELECT json_build_object('won', won_amount, 'lost', lost_amount) FROM loans_win_rate},
	{ map { $_ => $want->{amount_by_final_state}{$_} } qw(won lost) });
for my $instant (sort keys %{ $want->{snapshots_state_at} })
{
	my $f = $want->{snapshots_state_at}{$instant};
	check("report: load at $instant",
		qq{SELECT json_build_object('open', sum(n), 'open_amount', sum(amount), 'weighted_open_amount', sum(weighted))
			FROM pipelines.load('loans', by => NULL, as_of => '$instant')},
		{ map { $_ => $f->{$_} } qw(open open_amount weighted_open_amount) });
	check("report: open visits at $instant",
		qq{SELECT coalesce(json_object_agg(stage_name, running) FILTER (WHERE running > 0), '{}') FROM pipelines.time_in_stage('loans', as_of => '$instant')},
		{ map { $_ => $f->{cases}{$_} } grep { !/^(?:Won|Lost)$/ } keys %{ $f->{cases} } });
	check("report: won and lost at $instant",
		qq{SELECT json_build_object('won', won, 'lost', lost) FROM pipelines.win_rate('loans', as_of => '$instant')},
		{ won => $f->{cases}{Won} // 0, lost => $f->{cases}{Lost} // 0 });
}
is(sql(q{SELECT count(*) FROM (
		SELECT deal, sum(stage_time) AS s FROM pipelines.stage_times('loans') GROUP BY 1) t
		JOIN loans_current d ON d.deal_id::text = t.deal
		WHERE t.s <> coalesce(d.closed_at, now()) - d.created_at AND d.outcome <> 'open'}), 0, 'stays partition the life of each closed case');
is(sql(q{SELECT count(*) FROM (SELECT deal_id FROM loans ORDER BY deal_id LIMIT 200) d
		WHERE (SELECT array_agg(stage_name ORDER BY version) FROM pipelines.journey('loans', d.deal_id::text)) <>
			(SELECT stages FROM path p WHERE p.deal_id = d.deal_id)}), 0, 'journeys go the paths');

# ----- life goes on

sql(q{
	UPDATE loans SET stage_id = pipelines.stage_id('Loans', 'A_ACCEPTED')
	WHERE stage_id IN (pipelines.stage_id('Loans', 'A_PREACCEPTED'), pipelines.stage_id('Loans', 'Lost'));
	UPDATE loans SET amount = amount + 1 WHERE deal_id % 10 = 0;
	INSERT INTO loans (name) SELECT 'new' FROM generate_series(1, 10);
	DELETE FROM loans WHERE deal_id % 100 = 0;
});
is(sql(q{SELECT count(*) FROM pipelines.verify('loans')}), 0, 'verify finds nothing after live changes');
is(sql(q{SELECT count(*) FROM loans_history WHERE NOT imported AND change = 'reopen'}),
	$want->{final_state}{lost}, 'lost deals were reopened');
my $last = '2012-04-01T00:00:00+00:00';
check('the past is as it was',
	qq{SELECT json_object_agg(name, n) FROM (SELECT s.name, count(*) AS n
		FROM pipelines.as_of(NULL::loans, '$last') JOIN pipelines.stage s USING (stage_id) GROUP BY 1) x},
	$want->{snapshots_state_at}{$last}{cases});
must_fail($node, q{SELECT pipelines.import_history('loans', 'events')}, 'a second import', '23S12', qr/has history already/, qr/and \d+ more/);

# ----- every activity a stage of its own: three last stages follow each other

my $raw = oracle("$folder/oracle_bpi2012_A_raw.json");
my %closed = ((map { $_ => 'won' } @{ $raw->{won_stages} }), (map { $_ => 'lost' } @{ $raw->{lost_stages} }));
my $position = 5;
my $raw_stages = JSON::PP->new->encode([
	(map { { name => $_, position => $raw->{stage_ranks}{$_}, outcome => 'open' } }
		sort { $raw->{stage_ranks}{$a} <=> $raw->{stage_ranks}{$b} } keys %{ $raw->{stage_ranks} }),
	map { { name => $_, position => ++$position, outcome => $closed{$_} } } sort keys %closed ]);
sql(qq{
	SELECT pipelines.create_pipeline('Raw', stages => '$raw_stages', time_zone => 'Europe/Amsterdam');
	SELECT pipelines.create_deals('raws');
	CREATE VIEW raw_events AS SELECT case_id AS deal_id, seq, ts AS at, amount, 'Raw'::text AS pipeline, activity AS stage FROM log;
	SELECT pipelines.import_history('raws', 'raw_events');
});
check('raw: visits per stage', 'SELECT json_object_agg(stage_name, n) FROM (SELECT stage_name, count(*) AS n FROM raws_visits GROUP BY 1) v',
	$raw->{visits_per_stage});
check('raw: transitions',
	q{SELECT json_agg(json_build_array(stage_name, to_stage_name, n) ORDER BY n DESC, stage_name COLLATE "C", to_stage_name COLLATE "C") FROM raws_transitions},
	[ sort { $b->[2] <=> $a->[2] || $a->[0] cmp $b->[0] || $a->[1] cmp $b->[1] } @{ $raw->{transitions} } ]);
check('raw: time in stage per visit',
	q{SELECT json_object_agg(stage_name, json_build_object('n', n, 'sum_s', extract(epoch FROM total), 'mean_s', extract(epoch FROM mean),
			'min_s', extract(epoch FROM shortest), 'max_s', extract(epoch FROM longest), 'median_pc_s', extract(epoch FROM median),
			'p90_pc_s', extract(epoch FROM p90), 'open_visits', running))
		FROM raws_time_in_stage},
	{ map { my $f = $raw->{time_in_stage_per_visit}{$_}; $_ => { map { $_ => $f->{$_} } grep { !/_pd_/ } keys %$f } }
		grep { !$closed{$_} } keys %{ $raw->{time_in_stage_per_visit} } });
# the file measures stays in last stages, too: visits keep them, the statistics don't (R-3.2)
check('raw: stays in last stages',
	q{SELECT json_object_agg(stage_name, f) FROM (
		SELECT stage_name, json_build_object('n', count(*) FILTER (WHERE NOT running), 'open_visits', count(*) FILTER (WHERE running)) AS f
		FROM raws_visits WHERE stage_name IN ('A_APPROVED', 'A_REGISTERED', 'A_ACTIVATED') GROUP BY 1) x},
	{ map { my $f = $raw->{time_in_stage_per_visit}{$_}; $_ => { n => $f->{n}, open_visits => $f->{open_visits} } } @{ $raw->{won_stages} } });
check('raw: last stage', 'SELECT json_object_agg(stage_name, n) FROM (SELECT stage_name, count(*) AS n FROM raws_current GROUP BY 1) v',
	$raw->{last_stage});
for my $outcome (qw(won lost))
{
	my $f = $raw->{"cycle_time_first_event_to_first_${outcome}_event_of_finally_${outcome}_cases"};
	check("raw: cycle of the $outcome",
		qq{SELECT json_build_object('n', n, 'sum_s', extract(epoch FROM total), 'mean_s', extract(epoch FROM mean),
				'min_s', extract(epoch FROM shortest), 'max_s', extract(epoch FROM longest), 'median_pc_s', extract(epoch FROM median),
				'p90_pc_s', extract(epoch FROM p90))
			FROM pipelines.cycle('raws', closed_as => '$outcome')},
		{ map { $_ => $f->{$_} } grep { !/_pd_/ } keys %$f });
}
check('raw: funnel', q{SELECT json_object_agg("position", n) FROM pipelines.funnel('raws', 'reached') WHERE "position" <= 5},
	{ map { $_ => $raw->{cases_reaching_rank_or_further}{$_} } 1 .. 5 });

$node->stop;
done_testing();
