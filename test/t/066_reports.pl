# Random histories (moves forward and back, skips, transfers, closings,
# reopenings, deletions, owners): the funnel in each of its modes equals a naive
# computation from the visits, stays partition each deal's life, moves add up,
# and what the past tells about stalled deals is the same however it is read.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PipelinesTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('reports', 'jit = off');

sub sql { return $node->safe_psql('postgres', $_[0]); }

my $seed = new_seed();
srand($seed);

sql(q{
	CREATE EXTENSION pipelines;
	SELECT pipelines.create_pipeline('A', time_zone => 'UTC', stages => '[{"name": "One", "stall_limit": "1 hour"},
		{"name": "Two", "stall_limit": "1 day"}, {"name": "Three", "stall_limit": "2 hours"}, {"name": "Four", "stall_limit": "1 hour"}, {"name": "Parked", "outcome": "on_hold"},
		{"name": "Won", "outcome": "won"}, {"name": "Lost", "outcome": "lost"}]');
	SELECT pipelines.create_pipeline('B', time_zone => 'UTC', stages => '[{"name": "Two", "stall_limit": "1 hour"}, {"name": "Four", "stall_limit": "3 hours"}, {"name": "Won", "outcome": "won"}, {"name": "Over", "outcome": "done"}]');
	SELECT pipelines.create_deals('deals');
});

# ----- a random past

my %stages = (A => [qw(One Two Three Four Parked Won Lost)], B => [qw(Two Four Won Over)]);
my $script = '';
my %pipeline_of;
for my $step (1 .. 1500)
{
	my $at = sprintf "timestamptz '2026-01-01 00:00+00' + %d * interval '1 hour'", $step;
	my $id = 1 + int rand 150;
	my $pipeline = $pipeline_of{$id} // (rand() < 0.8 ? 'A' : 'B');

	$script .= "SELECT set_config('pipelines.event_time', ($at)::text, false);\n";
	if (!defined $pipeline_of{$id})
	{
		my $stage = rand() < 0.7 ? $stages{$pipeline}[0] : $stages{$pipeline}[ rand @{ $stages{$pipeline} } ];
		my $expected = (qw(NULL '2026-02-01' '2026-06-01' 'infinity'))[ rand 4 ];
		$script .= "INSERT INTO deals (deal_id, pipeline_id, stage_id, owner, amount, created_at, expected_close_on) VALUES ($id, pipelines.pipeline_id('$pipeline'), "
		  . "pipelines.stage_id('$pipeline', '$stage'), 'o$id', $step, $at, $expected);\n";
		$pipeline_of{$id} = $pipeline;
	}
	elsif (rand() < 0.03)
	{
		$script .= "DELETE FROM deals WHERE deal_id = $id;\n";
		delete $pipeline_of{$id};
	}
	elsif (rand() < 0.15)
	{
		my $expected = (qw(expected_close_on+7 expected_close_on-3 NULL '2026-05-01'))[ rand 4 ];
		$script .= "UPDATE deals SET expected_close_on = $expected WHERE deal_id = $id;\n";
	}
	elsif (rand() < 0.1)
	{
		$script .= "UPDATE deals SET owner = 'p$step', amount = amount + 1 WHERE deal_id = $id;\n";
	}
	else
	{
		$pipeline = $pipeline_of{$id} = $pipeline eq 'A' ? 'B' : 'A' if rand() < 0.07;
		my $stage = $stages{$pipeline}[ rand @{ $stages{$pipeline} } ];
		# now and then several moves at once: those between are never seen
		for (0 .. (rand() < 0.15 ? 1 + int rand 2 : 0))
		{
			$script .= "UPDATE deals SET pipeline_id = pipelines.pipeline_id('$pipeline'), stage_id = pipelines.stage_id('$pipeline', '$stage') WHERE deal_id = $id;\n";
			$stage = $stages{$pipeline}[ rand @{ $stages{$pipeline} } ];
		}
	}
}
my $file = $node->basedir . '/past.sql';
append_to_file($file, $script);
$node->command_ok([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-f', $file, $node->connstr('postgres') ], 'a random past');
is(sql(q{SELECT count(*) FROM pipelines.verify('deals')}), 0, 'verify finds nothing');

# ----- naive: each deal's stays in its present pipeline, one deal at a time

sql(q{
	CREATE TABLE life AS
		SELECT d.deal_id, d.pipeline_id, d.outcome, v.visit, v.stage_name, v.entered_at, s."position", s.outcome AS stage_outcome, v.pipeline_id AS visited
		FROM deals_current d JOIN deals_visits v USING (deal_id)
			JOIN pipelines.pipeline_stage s ON s.pipeline_id = v.pipeline_id AND s.stage_id = v.stage_id
		-- a key that came back is another deal: the stays of its lives before are not its own (R-2.36)
		WHERE NOT v.transient AND NOT EXISTS (SELECT FROM deals_visits x WHERE x.deal_id = v.deal_id AND x.visit >= v.visit AND x.change = 'delete');
	CREATE FUNCTION naive(mode text, since timestamptz DEFAULT '-infinity', until timestamptz DEFAULT 'infinity')
	RETURNS TABLE (pipeline_id integer, stage_name text, n bigint) LANGUAGE plpgsql AS $$
	DECLARE
		d record; v record; s record;
		counted text[]; want text[]; best integer; through boolean;
	BEGIN
		CREATE TEMP TABLE hit (pipeline_id integer, stage_name text, deal_id bigint) ON COMMIT DROP;
		FOR d IN SELECT DISTINCT l.deal_id, l.pipeline_id, l.outcome FROM life l JOIN deals x USING (deal_id)
			WHERE x.created_at >= since AND x.created_at < until
		LOOP
			-- the open stages in their order, as a list that is eaten up
			want := ARRAY(SELECT st.name FROM pipelines.pipeline_stage ps JOIN pipelines.stage st USING (stage_id)
						  WHERE ps.pipeline_id = d.pipeline_id AND ps.outcome = 'open' ORDER BY ps."position");
			counted := '{}'; best := 0; through := false;
			FOR v IN SELECT * FROM life l WHERE l.deal_id = d.deal_id AND l.visited = d.pipeline_id ORDER BY l.visit LOOP
				CONTINUE WHEN v.stage_outcome NOT IN ('open', 'won', 'done');
				IF mode <> 'strict' THEN counted := counted || v.stage_name;
				ELSIF v.stage_name = want[1] THEN counted := counted || v.stage_name; want := want[2:];
				ELSIF v.stage_outcome <> 'open' AND cardinality(want) = 0 THEN counted := counted || v.stage_name;
				END IF;
				IF v.stage_outcome = 'open' THEN best := greatest(best, v."position"); ELSE through := true; END IF;
			END LOOP;
			IF mode = 'reached' AND d.outcome NOT IN ('lost', 'disqualified') THEN
				counted := counted || ARRAY(SELECT st.name FROM pipelines.pipeline_stage ps JOIN pipelines.stage st USING (stage_id)
					WHERE ps.pipeline_id = d.pipeline_id AND ps.outcome = 'open' AND (through OR ps."position" <= best));
			END IF;
			INSERT INTO hit SELECT DISTINCT d.pipeline_id, c, d.deal_id FROM unnest(counted) c;
		END LOOP;
		RETURN QUERY SELECT h.pipeline_id, h.stage_name, count(*) FROM hit h GROUP BY 1, 2;
		DROP TABLE hit;
	END
	$$;
});
for my $mode (qw(any strict reached))
{
	is(sql(qq{SELECT count(*) FROM (
			(SELECT pipeline_id, stage_name, n FROM pipelines.funnel('deals', '$mode') WHERE n > 0 EXCEPT SELECT * FROM naive('$mode'))
			UNION ALL
			(SELECT * FROM naive('$mode') EXCEPT SELECT pipeline_id, stage_name, n FROM pipelines.funnel('deals', '$mode'))) x}),
		0, "funnel $mode equals the naive one");
	is(sql(qq{SELECT count(*) FROM (
			(SELECT pipeline_id, stage_name, n FROM pipelines.funnel('deals', '$mode', since => '2026-01-03', until => '2026-01-20') WHERE n > 0
			 EXCEPT SELECT * FROM naive('$mode', '2026-01-03', '2026-01-20'))
			UNION ALL
			(SELECT * FROM naive('$mode', '2026-01-03', '2026-01-20')
			 EXCEPT SELECT pipeline_id, stage_name, n FROM pipelines.funnel('deals', '$mode', since => '2026-01-03', until => '2026-01-20'))) x}),
		0, "funnel $mode of a cohort equals the naive one");
}
is(sql(q{SELECT count(*) FROM (
		(SELECT f.pipeline_id, f.stage_name, f.n FROM pipelines.funnel('deals', 'direct') f WHERE f.n > 0
		 EXCEPT
		 SELECT l.pipeline_id, l.stage_name, count(*) FROM (
			SELECT l.*, lag((l.visited, l.stage_name)) OVER (PARTITION BY l.deal_id ORDER BY l.visit) = (l.visited, l.stage_name) AS still FROM life l) l
		 WHERE l.visited = l.pipeline_id AND l.still IS NOT TRUE GROUP BY 1, 2)) x}),
	0, 'funnel direct counts the stays');
is(sql(q{SELECT count(*) FROM pipelines.funnel('deals') f WHERE f.n <> f.won + f.lost + f.still_open + f.other}), 0, 'where they stand adds up');

# the parts of a report that is split are the whole
for my $by (qw(owner amount%10))
{
	is(sql(qq{SELECT count(*) FROM (
			SELECT pipeline_id, stage_id, sum(n) AS n FROM pipelines.funnel('deals', by => '$by') GROUP BY 1, 2) p
			FULL JOIN pipelines.funnel('deals') w USING (pipeline_id, stage_id) WHERE p.n IS DISTINCT FROM w.n}),
		0, "funnel by $by: the parts are the whole");
	is(sql(qq{SELECT (SELECT sum(n) FROM pipelines.transitions('deals', by => '$by')) = (SELECT sum(n) FROM pipelines.transitions('deals'))}),
		't', "transitions by $by: the parts are the whole");
	is(sql(qq{SELECT (SELECT sum(won) FROM pipelines.win_rate('deals', by => '$by')) = (SELECT sum(won) FROM pipelines.win_rate('deals'))}),
		't', "win rate by $by: the parts are the whole");
}

# visits partition each life
is(sql(q{SELECT count(*) FROM (
		SELECT v.*, lag(exited_at) OVER w AS before, lag(change) OVER w AS change_before, lead(visit) OVER w AS next
		FROM deals_visits v WINDOW w AS (PARTITION BY deal_id ORDER BY visit)) v
		WHERE (before IS NOT NULL AND entered_at <> before AND change_before <> 'delete')
			OR (exited_at IS NULL AND next IS NOT NULL) OR entered_at > exited_at
			OR (next IS NULL AND exited_at IS NOT NULL AND change <> 'delete')}),
	0, 'visits partition the life of each deal');
is(sql(q{SELECT count(*) FROM (SELECT deal_id, count(*) AS n FROM deals_visits WHERE exited_at IS NULL GROUP BY 1) v
		FULL JOIN deals d USING (deal_id) WHERE v.n IS DISTINCT FROM 1 OR d.deal_id IS NULL}), 0, 'one running visit per deal, none of others');
is(sql(q{SELECT count(*) FROM (
		SELECT sum(n) + sum(running) + sum(deleted) + sum(transient) AS a,
			(SELECT count(*) FROM deals_visits v LEFT JOIN pipelines.pipeline_stage s USING (pipeline_id, stage_id) WHERE s.outcome IN ('open', 'on_hold')) AS b
		FROM pipelines.time_in_stage('deals')) x WHERE a <> b}), 0, 'time in stage leaves out no stay');

# moves lead from one stay that was seen to the next one in the same life, if that is elsewhere
sql(q{
	CREATE FUNCTION naive_moves(at timestamptz) RETURNS TABLE (pipeline_id integer, stage_id integer, to_pipeline_id integer, to_stage_id integer, n bigint) LANGUAGE sql AS $$
		WITH stay AS (
			SELECT v.*, coalesce(sum((v.change = 'delete')::integer) OVER (PARTITION BY v.deal_id ORDER BY v.visit ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS life
			FROM deals_visits v WHERE v.entered_at <= at
		), seen AS (
			SELECT s.*, lead(s.pipeline_id) OVER w AS to_p, lead(s.stage_id) OVER w AS to_s
			FROM stay s WHERE NOT s.transient WINDOW w AS (PARTITION BY s.deal_id, s.life ORDER BY s.visit)
		)
		SELECT s.pipeline_id, s.stage_id, s.to_p, s.to_s, count(*) FROM seen s
		WHERE s.exited_at <= at AND (s.to_p, s.to_s) IS DISTINCT FROM (s.pipeline_id, s.stage_id)
		GROUP BY 1, 2, 3, 4
	$$;
});
is(sql(q{SELECT count(*) > 0 FROM deals_visits WHERE transient}), 't', 'there are stays that no one saw');

# as it was at an instant: equal to what is left when what came later is forgotten
for my $hour (200, 700, 1300)
{
	my $at = "timestamptz '2026-01-01 00:00+00' + $hour * interval '1 hour' + interval '30 minutes'";

	is(sql(qq{WITH t AS (SELECT pipeline_id, stage_id, to_pipeline_id, to_stage_id, sum(n)::bigint AS n FROM pipelines.transitions('deals', transient => false, as_of => $at) GROUP BY 1, 2, 3, 4),
				m AS (SELECT * FROM naive_moves($at))
			SELECT count(*) FROM ((TABLE t EXCEPT TABLE m) UNION ALL (TABLE m EXCEPT TABLE t)) x}), 0, "moves between what was seen until hour $hour");
	is(sql(qq{SELECT (SELECT coalesce(sum(n), 0) FROM pipelines.transitions('deals', as_of => $at))
			= (SELECT count(*) FROM deals_visits WHERE exited_at <= $at)}), 't', "moves until hour $hour");
	is(sql(qq{SELECT (SELECT sum(n) FROM pipelines.load('deals', by => NULL, as_of => $at))
			= (SELECT count(*) FROM pipelines.as_of(NULL::deals, $at) a JOIN pipelines.pipeline_stage s USING (pipeline_id, stage_id) WHERE s.outcome IN ('open', 'on_hold'))}),
		't', "load at hour $hour");
}

# ----- why deals are stalled: by the index, and by the query where that can't be read

sql(q{
	SELECT set_config('pipelines.event_time', '', false);
	CREATE ROLE by_query;
	SELECT pipelines.grant_access('deals', 'by_query', 'read');
	REVOKE SELECT ON deals_history FROM by_query;
	CREATE FUNCTION stalled_then(as_of timestamptz) RETURNS TABLE (deal text, reasons text[]) LANGUAGE sql AS
		$$ SELECT deal, reasons FROM pipelines.stalled('deals', as_of => as_of) $$;
});
sql('GRANT SELECT (' . sql(q{SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute WHERE attrelid = 'deals_history'::regclass AND attnum > 0})
	. ') ON deals_history TO by_query');
is(sql(q{SELECT count(*) FROM (SELECT deal, reasons FROM pipelines.stalled('deals')) f
		FULL JOIN (SELECT deal_id::text AS deal, reasons FROM deals_stalled) v USING (deal) WHERE f.reasons IS DISTINCT FROM v.reasons}),
	0, 'stalled() gives the reasons of the view');
is(sql(q{SELECT count(*) FROM deals_stalled d WHERE (SELECT count(*) FROM (
			SELECT v.expected_close_on, lag(v.expected_close_on) OVER (ORDER BY v.version) AS before
			FROM (SELECT h.version, h.expected_close_on, h.deal_id FROM deals_history h WHERE h.change <> 'delete'
				  UNION ALL SELECT x.version, x.expected_close_on, x.deal_id FROM deals x) v
			WHERE v.deal_id = d.deal_id
				AND v.version > (SELECT coalesce(max(l.version), -1) FROM deals_history l WHERE l.deal_id = d.deal_id AND l.change = 'delete')) v
			WHERE v.expected_close_on > v.before)
		<> coalesce((SELECT substring(r FROM '^pushed_([0-9]+)_times$')::bigint FROM unnest(d.reasons) r WHERE r LIKE 'pushed%'), 0)}),
	0, 'pushes are those that are found one by one');
is(sql(q{SELECT string_agg(DISTINCT substring(r FROM '^[a-z]+'), ' ' ORDER BY substring(r FROM '^[a-z]+')) FROM deals_stalled, unnest(reasons) r}),
	'no over past pushed skipped', 'reasons of each kind');
for my $hour (200, 700, 1300, 1600)
{
	my $at = "timestamptz '2026-01-01 00:00+00' + $hour * interval '1 hour' + interval '30 minutes'";
	my $by_index = sql("SELECT * FROM stalled_then($at) ORDER BY deal");
	my $by_query = sql("SET ROLE by_query; SELECT * FROM stalled_then($at) ORDER BY deal");

	isnt($by_index, '', "deals are stalled at hour $hour");
	is($by_query, $by_index, "why deals are stalled at hour $hour is the same by the index and by the query");
}

$node->stop;
repeat_recorded_seeds();
done_testing();
