# Bulk is a loop (R-2.21, R-2.22): moving many deals by one UPDATE, or by
# move_many(..., on_refuse => 'skip'), gives the rows, the history and the
# refusals that one UPDATE for each deal gives.
#
# Random deals are sent to random stages, under random modes, policies, rules
# and activities, on a plain table, on partitions and beside another trigger
# that fires after ours.  Each kind of table is there three times: moved deal
# by deal, by one UPDATE of those that may move, and by move_many().  All nine
# must be equal after each round.
#
# The seed is printed; PIPELINES_SEED repeats a run.  PIPELINES_TEST_ALL=1 runs
# more programs.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Utils;
use Test::More;
use PipelinesTest;

my $seed = new_seed();
my $programs = $ENV{PIPELINES_TEST_ALL} ? 30 : 3;
my $rounds = 6;
my $deals = 40;
srand($seed);

my $node = start_node('bulk_is_loop');
my @kinds = qw(plain parted later);
my @ways = qw(loop update many);
my @tables = map { my $k = $_; map { "${k}_$_" } @ways } @kinds;

run_sql($node, 'postgres', <<'SQL');
CREATE EXTENSION pipelines;
SELECT pipelines.create_pipeline('Alpha', time_zone => 'UTC', stages => '[
	{"name": "Lead", "probability": 10}, {"name": "Quote", "probability": 30}, {"name": "Demo", "probability": 50, "mandatory": false},
	{"name": "Talks", "probability": 70}, {"name": "Contract", "probability": 90}, {"name": "Paused", "outcome": "on_hold", "mandatory": false},
	{"name": "Won", "outcome": "won"}, {"name": "Lost", "outcome": "lost"}, {"name": "Junk", "outcome": "disqualified"}]');
SELECT pipelines.create_pipeline('Beta', time_zone => 'Asia/Tokyo', stages => '[
	{"name": "Lead", "probability": 20}, {"name": "Quote", "probability": 40}, {"name": "Signing", "probability": 80},
	{"name": "Won", "outcome": "won"}, {"name": "Lost", "outcome": "lost"}, {"name": "Finished", "outcome": "done"}]');
CREATE TABLE target (round integer, deal bigint, pipeline integer, stage integer, amount numeric, PRIMARY KEY (round, deal));
CREATE TABLE said (relation text, round integer, deal bigint, state text, PRIMARY KEY (relation, round, deal));
CREATE TABLE whole (relation text, round integer, state text, message text);

-- one UPDATE for each deal
CREATE FUNCTION run_loop(relation text, r integer, pure boolean) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	t target;
	state text;
BEGIN
	FOR t IN SELECT * FROM target WHERE round = r ORDER BY md5(deal || ' ' || r) LOOP
		state := NULL;
		BEGIN
			EXECUTE format('UPDATE %I SET pipeline_id = coalesce($2, pipeline_id), stage_id = coalesce($3, stage_id), amount = CASE WHEN $5 THEN amount ELSE $4 END WHERE deal_id = $1', relation)
				USING t.deal, t.pipeline, t.stage, t.amount, pure;
		EXCEPTION WHEN OTHERS THEN
			state := sqlstate;
		END;
		INSERT INTO said VALUES (relation, r, t.deal, state);
	END LOOP;
END
$$;
-- all by one UPDATE, which is refused if one deal is; then those that the loop says may move
CREATE FUNCTION run_update(relation text, looped text, r integer, pure boolean) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	statement CONSTANT text := format('UPDATE %I d SET pipeline_id = coalesce(t.pipeline, d.pipeline_id), stage_id = coalesce(t.stage, d.stage_id), amount = CASE WHEN $2 THEN d.amount ELSE t.amount END FROM target t WHERE t.round = $1 AND t.deal = d.deal_id', relation);
BEGIN
	BEGIN
		EXECUTE statement USING r, pure;
		INSERT INTO whole VALUES (relation, r);
		RETURN;
	EXCEPTION WHEN OTHERS THEN
		INSERT INTO whole VALUES (relation, r, sqlstate, sqlerrm);
	END;
	EXECUTE statement || format(' AND t.deal IN (SELECT s.deal FROM said s WHERE s.relation = %L AND s.round = $1 AND s.state IS NULL)', looped)
		USING r, pure;
END
$$;
-- by move_many(), as far as it can say it, one call for each target; move_plan() says the same before
CREATE FUNCTION run_many(relation text, looped text, r integer, pure boolean) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	g record;
	planned pipelines.move_result[];
	done pipelines.move_result[];
BEGIN
	FOR g IN SELECT pipeline, stage, array_agg(deal::text ORDER BY md5(deal::text)) AS deals FROM target WHERE round = r GROUP BY 1, 2 ORDER BY 1, 2 LOOP
		IF pure THEN
			planned := ARRAY(SELECT m FROM pipelines.move_plan(relation::regclass, g.deals, g.stage::text, g.pipeline::text) m);
			done := ARRAY(SELECT m FROM pipelines.move_many(relation::regclass, g.deals, g.stage::text, g.pipeline::text, on_refuse => 'skip') m);
			IF planned IS DISTINCT FROM done THEN
				RAISE EXCEPTION 'planned % but done %', planned, done;
			END IF;
			INSERT INTO said SELECT relation, r, m.deal::bigint, CASE WHEN NOT m.ok THEN coalesce(m.sqlstate, 'none') END FROM unnest(done) m;
		ELSE
			EXECUTE format('UPDATE %I d SET pipeline_id = coalesce(t.pipeline, d.pipeline_id), stage_id = coalesce(t.stage, d.stage_id), amount = t.amount FROM target t
				WHERE t.round = $1 AND t.deal = d.deal_id AND d.deal_id::text = ANY ($2) AND t.deal IN (SELECT s.deal FROM said s WHERE s.relation = %L AND s.round = $1 AND s.state IS NULL)', relation, looped)
				USING r, g.deals;
		END IF;
	END LOOP;
END
$$;
-- push a deal back, if it can be
CREATE FUNCTION push(relation text, r integer, deal bigint, stage text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pipelines.push_back(relation::regclass, deal::text, 'too fast', stage);
	INSERT INTO said VALUES (relation, r, -deal);
EXCEPTION WHEN OTHERS THEN
	INSERT INTO said VALUES (relation, r, -deal, sqlstate);
END
$$;
SQL

for my $t (@tables)
{
	my $sql = "SET client_min_messages = warning;\n";
	if ($t =~ /^parted/)
	{
		$sql .= "SELECT pipelines.create_deals('$t', partition_by => 'HASH (deal_id)', partition_history => true);\n";
		$sql .= "CREATE TABLE ${t}_$_ PARTITION OF $t FOR VALUES WITH (modulus 3, remainder $_);\n" for 0 .. 2;
		$sql .= "SELECT * FROM pipelines.resume('$t');\n";
	}
	else
	{
		$sql .= "SELECT pipelines.create_deals('$t');\n";
	}
	$sql .= <<"END" if $t =~ /^later/;
CREATE FUNCTION ${t}_note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.name := ''seen''; RETURN NEW; END';
CREATE TRIGGER "\xc2\xa7zz" BEFORE INSERT OR UPDATE ON $t FOR EACH ROW EXECUTE FUNCTION ${t}_note();
END
	run_sql($node, 'postgres', $sql, "table $t");
}

my (%stage, %pipeline);
for (split /\n/, $node->safe_psql('postgres',
		'SELECT p.name, p.pipeline_id, s.name, s.stage_id FROM pipelines.pipeline p JOIN pipelines.pipeline_stage USING (pipeline_id) JOIN pipelines.stage s USING (stage_id) ORDER BY 1, position'))
{
	my ($p, $pid, $s, $sid) = split /\|/;
	$pipeline{$p} = $pid;
	push @{ $stage{$pid} }, $sid;
}
my @both = @pipeline{qw(Alpha Beta)};

sub pick { $_[ rand @_ ] }
sub chance { rand() < $_[0] }

# what holds in this program
sub definitions
{
	my $sql = "DELETE FROM pipelines.stage_activity; DELETE FROM pipelines.stage_transition; DELETE FROM pipelines.stage_map;\n";
	my @told;
	for my $p (@both)
	{
		my %is = (mode => pick(qw(free free warn strict graph)), backward => pick(qw(allowed allowed reason refused)),
			override_policy => pick(qw(keep clear_on_move clear_on_forward)), transfer_policy => pick(qw(error first nearest)),
			close_requires => pick('{}', '{}', '{lost_reason}', '{won_amount,closed_by_today}'));
		$sql .= "UPDATE pipelines.pipeline SET " . join(', ', map { "$_ = '$is{$_}'" } sort keys %is) . " WHERE pipeline_id = $p;\n";
		push @told, join(' ', map { $is{$_} } sort keys %is);
		for my $s (@{ $stage{$p} })
		{
			my $entry = chance(0.2) ? pick("'amount > 100'", "'owner'", "'amount, owner'") : 'NULL';
			my $exit = chance(0.15) ? pick("'amount IS NOT NULL'", "'owner = ''ann'''") : 'NULL';
			my $start = chance(0.1) ? 'false' : 'true';
			$sql .= "UPDATE pipelines.pipeline_stage SET entry_rule = $entry, exit_rule = $exit, may_start = $start WHERE pipeline_id = $p AND stage_id = $s;\n";
			$sql .= "INSERT INTO pipelines.stage_activity (pipeline_id, stage_id, kind) VALUES ($p, $s, '" . pick(qw(call demo)) . "');\n"
				if chance(0.15);
			for my $to (@{ $stage{$p} })
			{
				$sql .= "INSERT INTO pipelines.stage_transition VALUES ($p, $s, $to);\n" if $to != $s && $is{mode} eq 'graph' && chance(0.5);
			}
		}
	}
	$sql .= "UPDATE pipelines.pipeline_stage SET may_start = true, entry_rule = NULL WHERE position = 1;\n";
	return ($sql, join('; ', @told));
}

sub text { defined $_[0] ? "'$_[0]'" : 'NULL' }

# The query for all versions of the deals, times as numbers of the versions that began then;
# where the times were given, as they are.
sub content
{
	my ($t, $timed, $since) = @_;
	my $time = sub {
		return $timed ? "v.$_[0]" : "coalesce((SELECT min(x.version) FROM v AS x WHERE x.deal_id = v.deal_id AND x.valid_from = v.$_[0])::text, v.$_[0]::text)";
	};
	my $columns = 'deal_id, version, pipeline_id, stage_id, furthest_stage_id, gate_stage_id, episode, amount, owner, probability, forecast_category, close_reason, stage_entered_at, closed_at';
	my $day = $timed ? ', v.valid_from, v.closed_on' : '';
	return <<"END";
WITH v AS (
	SELECT $columns, closed_on, valid_from, change, to_pipeline_id, to_stage_id, skipped_stages, actor, role_name, reason, batch, bypassed, imported FROM ${t}_history
	UNION ALL
	SELECT $columns, closed_on, changed_at, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM $t
)
SELECT v.deal_id, v.version, v.change, v.pipeline_id, v.stage_id, v.to_pipeline_id, v.to_stage_id, v.skipped_stages, v.furthest_stage_id, v.gate_stage_id, v.episode,
	v.amount, v.owner, v.probability, v.forecast_category, v.close_reason, @{[ $time->('stage_entered_at') ]}, @{[ $time->('closed_at') ]} $day,
	v.actor, v.role_name, v.reason, v.batch, v.bypassed, v.imported
FROM v WHERE v.deal_id >= $since ORDER BY v.deal_id, v.version, v.change;
END
}

# Run queries in one session; what each of them says, by its name.
sub ask
{
	my (%query) = @_;
	my $name;
	my %answer = map { $_ => '' } keys %query;
	for (split /\n/, $node->safe_psql('postgres', join('', map { "\\echo \@\@$_\n$query{$_};\n" } sort keys %query)))
	{
		if (/^\@\@(.*)/) { $name = $1 }
		else { $answer{$name} .= "$_\n" }
	}
	return %answer;
}

# the first line in which two texts differ
sub first_difference
{
	my @a = split /\n/, $_[0];
	my @b = split /\n/, $_[1];
	for my $n (0 .. ($#a > $#b ? $#a : $#b))
	{
		return "   found " . ($a[$n] // 'nothing') . "\nexpected " . ($b[$n] // 'nothing') if ($a[$n] // '') ne ($b[$n] // '');
	}
	return;
}

my $round = 0;
my $next = 1;
# what the programs are for, and have not met yet
sub unmet
{
	my %met = map { split /\|/ } split /\n/, $node->safe_psql('postgres',
		"SELECT change, count(*) FROM plain_loop_history GROUP BY 1 UNION ALL SELECT coalesce(state, 'ok'), count(*) FROM said WHERE relation = 'plain_loop' AND deal > 0 GROUP BY 1
			UNION ALL SELECT 'gated', count(gate_stage_id) FROM plain_loop_history UNION ALL SELECT 'skipped', count(skipped_stages) FROM plain_loop_history");
	note join(', ', map { "$_: $met{$_}" } sort keys %met);
	my @unmet = (grep({ !$met{$_} } qw(move close reopen transfer push_back change skipped gated ok)),
		(grep { /^23/ } keys %met) >= 3 ? () : 'several refusals');
	return @unmet;
}

# more of them where chance has left something out
PROGRAM: for (my $program = 1; $program <= $programs || ($program <= 5 * $programs && unmet()); $program++)
{
	my $timed = $program % 2;
	my ($definitions, $told) = definitions();
	my %script = map { $_ => "SET client_min_messages = error;\n" } @tables;
	my $all = sub { my ($sql) = @_; for my $t (@tables) { (my $s = $sql) =~ s/\bT(?=\b|_)/$t/g; $script{$t} .= $s } };
	my $targets = '';
	my @mine = ($next .. $next + $deals - 1);
	my $first = $round + 1;
	my %pure;
	$next += $deals;

	# a month for each round, from years of its own for each program
	my $when = sub { $timed ? sprintf("SET pipelines.event_time = '%04d-%02d-15 10:00+00';\n", 1990 + $program, $_[0]) : '' };
	$all->($when->(1));
	$all->("INSERT INTO T (deal_id, pipeline_id, stage_id, amount, owner, probability) VALUES "
		. join(', ', map { "($_, " . join(', ', pick(map { "$_, $stage{$_}[0]" } @both), map { text($_) } pick(50, 500, undef), pick('ann', 'bob', undef), pick(33, undef, undef)) . ')' } @mine) . ";\n");
	for my $r (1 .. $rounds)
	{
		my $pure = $pure{ ++$round } = chance(0.7);
		my %kind_of_reason = (chance(0.6) ? (reason => 'because') : (), chance(0.3) ? (batch => "b$round") : ());
		$all->($when->($r + 1));
		$all->("SET pipelines.$_ = '$kind_of_reason{$_}';\n") for sort keys %kind_of_reason;
		# things that are no moves; what is won keeps its amount
		for my $d (grep { chance(0.2) } @mine)
		{
			my $amount = text(pick(50, 500, undef));
			$all->("UPDATE T SET amount = coalesce($amount, CASE WHEN closed_at IS NOT NULL THEN amount END), owner = " . text(pick('ann', 'bob', undef)) . " WHERE deal_id = $d;\n");
		}
		$all->("INSERT INTO T_activity (deal_id, kind, done_at) SELECT d, '" . pick(qw(call demo)) . "', "
			. ($timed ? "current_setting('pipelines.event_time')::timestamptz" : 'clock_timestamp()') . " FROM unnest('{" . join(',', grep { chance(0.4) } @mine) . "}'::bigint[]) d;\n");
		for my $d (grep { chance(0.2) } @mine)
		{
			$all->("SELECT push('T', $round, $d, " . text(chance(0.3) ? 'Quote' : undef) . ");\n");
		}
		# moves
		for my $d (grep { chance(0.7) } @mine)
		{
			my $p = chance(0.3) ? pick(@both) : undef;
			my $s = defined $p && chance(0.4) ? undef : pick(@{ $stage{ $p // pick(@both[ 0, 0, 1 ]) } });
			$targets .= "INSERT INTO target VALUES ($round, $d, " . join(', ', map { text($_) } $p, $s, pick(60, 600, undef)) . ");\n";
		}
		for my $t (@tables)
		{
			my ($kind, $way) = split /_/, $t;
			my $arguments = $way eq 'loop' ? "'$t', $round" : "'$t', '${kind}_loop', $round";
			$script{$t} .= "SELECT run_$way($arguments, " . ($pure ? 'true' : 'false') . ");\n";
		}
		$all->("RESET pipelines.$_;\n") for sort keys %kind_of_reason;
	}

	run_sql($node, 'postgres', $definitions . $targets);
	my $ok = 1;
	for my $t (@tables)
	{
		my ($out, $err);
		my $status = $node->psql('postgres', $script{$t}, stdout => \$out, stderr => \$err, on_error_stop => 1);
		$ok &= is($status . ($err =~ /ERROR/ ? $err : ''), '0', "program $program runs on $t");
	}
	note "program $program: $told";
	my %found = ask(map { ("$_ content" => content($_, $timed, $mine[0]), "$_ verify" => "SELECT * FROM pipelines.verify('$_')",
			"$_ said" => "SELECT round, deal, state FROM said WHERE relation = '$_' AND round >= $first ORDER BY 1, 2") } @tables);
	my $expected = $found{'plain_loop content'};
	my $looped = $found{'plain_loop said'};
	for my $t (@tables)
	{
		my $difference = $t eq 'plain_loop' ? undef : first_difference($found{"$t content"}, $expected);
		$ok &= ok(!defined $difference, "program $program on $t: rows and history as one by one") or diag($difference);
		my %heard = map { my ($r, $d, $state) = split /\|/, $_, -1; ("$r|$d" => $state) } split /\n/, $found{"$t said"};
		my @wrong;
		for (split /\n/, $looped)
		{
			my ($r, $d, $state) = split /\|/, $_, -1;
			next if $d > 0 && ($t =~ /_update/ || ($t =~ /_many/ && !$pure{$r}));
			push @wrong, "$_ but " . ($heard{"$r|$d"} // 'nothing') if ($heard{"$r|$d"} // 'nothing') ne $state;
		}
		$ok &= is(join("\n", @wrong), '', "program $program on $t: the same deals are refused, for the same reasons");
		$ok &= is($found{"$t verify"}, '', "program $program on $t: verify finds nothing");
	}
	# one UPDATE of all is refused if and only if a deal is, as itself or with their number
	$ok &= is($node->safe_psql('postgres', <<"END"), '', "program $program: one UPDATE of all is refused as it must be");
SELECT w.relation, w.round, w.state, w.message, s.*
FROM whole w, LATERAL (SELECT count(*) AS refused, min(s.state) AS state FROM said s WHERE s.relation = split_part(w.relation, '_', 1) || '_loop' AND s.round = w.round AND s.deal > 0 AND s.state IS NOT NULL) s
WHERE w.round >= $first AND CASE s.refused WHEN 0 THEN w.state IS NOT NULL WHEN 1 THEN w.state IS DISTINCT FROM s.state
	ELSE w.message IS DISTINCT FROM format('%s deals of table "%s" were refused', s.refused, w.relation) END
ORDER BY 1, 2
END
	if (!$ok)
	{
		my $file = "$PostgreSQL::Test::Utils::log_path/program$program.sql";
		append_to_file($file, join("\n", $definitions, $targets, map { "-- $_\n$script{$_}" } @tables));
		diag("PIPELINES_SEED=$seed; the statements are in $file");
		last PROGRAM;
	}
}

is(join(', ', unmet()), '', 'the programs have met what they are for');

$node->stop;
repeat_recorded_seeds();
done_testing();
