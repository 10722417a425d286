# The definitions of a real CRM portal, with everything that is odd in them:
# 71 stages in six pipelines load, the two deleted ones archived; what can't be
# right is refused by an error that names the row and the rule.
use strict;
use warnings;

use File::Basename qw(dirname);
use lib dirname(__FILE__);
use PostgreSQL::Test::Utils;
use RealData;
use Test::More;

my $folder = data_folder('hubspot');
my $want = oracle("$folder/oracle_hubspot_seeds.json");
my $node = start_node('hubspot');

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub check { my ($title, $query, $expected) = @_; same_figures(figures($node, $query), $expected, $title); return; }

sql(qq{
	CREATE SCHEMA file;
	CREATE TABLE file.stage (fivetran_deleted boolean, synced text, active boolean, closed_won boolean, is_closed boolean,
		display_order integer, probability numeric, stage_id text, label text, pipeline_id text, created_at text, updated_at text);
	COPY file.stage FROM '$folder/deal_pipeline_stage_data.csv' (FORMAT csv, HEADER);
	CREATE TABLE file.pipeline (pipeline_id text, deleted boolean, synced text, active boolean, display_order integer,
		label text, created_at text, updated_at text);
	COPY file.pipeline FROM '$folder/deal_pipeline_data.csv' (FORMAT csv, HEADER);
});
is(sql('SELECT count(*) FROM file.pipeline'), $want->{pipelines_in_pipeline_table}, 'pipelines in the file');

# ----- the definitions load

# Outcomes are said by the portal's flags, never taken from a probability: a
# stage at 0 that isn't closed is an open one.
sql(q{
	SELECT pipelines.create_pipeline(pipeline_id, code => pipeline_id,
		stages => jsonb_agg(jsonb_build_object(
			'name', stage_id, 'position', display_order,
			'outcome', CASE WHEN closed_won THEN 'won' WHEN is_closed THEN 'lost' ELSE 'open' END,
			'probability', probability * 100,
			'archived_at', CASE WHEN fivetran_deleted THEN now() END) ORDER BY display_order, stage_id))
	FROM file.stage GROUP BY pipeline_id ORDER BY pipeline_id;
});
is(sql('SELECT count(*) FROM pipelines.pipeline_stage'), $want->{stages}, 'stages');
is(sql('SELECT count(*) FROM pipelines.pipeline_stage WHERE archived_at IS NOT NULL'), 2, 'archived stages');
is(sql('SELECT count(*) FROM pipelines.pipeline'), $want->{pipeline_ids_used_by_stages}, 'pipelines');
is(sql('SELECT count(*) FROM pipelines.pipeline WHERE is_standard'), 1, 'one of them is the standard one');
check('stages of the pipelines',
	q{SELECT json_object_agg(name, f) FROM (
		SELECT p.name, json_build_object(
			'stages', count(*),
			'deleted', count(*) FILTER (WHERE s.archived_at IS NOT NULL),
			'won_stages', count(*) FILTER (WHERE s.outcome = 'won'),
			'display_orders', json_agg(s."position" ORDER BY s."position"),
			'duplicate_display_orders', (SELECT coalesce(json_agg(d."position" ORDER BY 1), '[]') FROM (
				SELECT x."position" FROM pipelines.pipeline_stage x WHERE x.pipeline_id = p.pipeline_id
				GROUP BY 1 HAVING count(*) > 1) d),
			'probabilities_in_order', json_agg(round(s.probability / 100, 1)::text ORDER BY s."position"),
			'zero_probability_but_not_closed', count(*) FILTER (WHERE s.probability = 0 AND s.outcome = 'open')) AS f
		FROM pipelines.pipeline p JOIN pipelines.pipeline_stage s USING (pipeline_id)
		GROUP BY p.pipeline_id, p.name) x},
	{   map {
			my $pipeline = $want->{per_pipeline}{$_};
			$_ => { map { $_ => $pipeline->{$_} } grep { $_ ne 'probability_not_rising' } keys %$pipeline }
		} keys %{ $want->{per_pipeline} } });

# ----- deals live in them

sql(q{
	SELECT pipelines.create_deals('deals');
	INSERT INTO deals (pipeline_id, stage_id)
		SELECT pipeline_id, stage_id FROM pipelines.pipeline_stage WHERE archived_at IS NULL;
});
is(sql('SELECT count(*) FROM deals_current'), 69, 'a deal in each live stage');
is(sql(q{SELECT count(*) FROM deals_current WHERE outcome = 'won' AND effective_probability = 100}), 5, 'won ones');
is(sql(q{SELECT count(*) FROM pipelines.verify('deals')}), 0, 'verify finds nothing');
must_fail($node,
	q{INSERT INTO deals (pipeline_id, stage_id) SELECT pipeline_id, stage_id FROM pipelines.pipeline_stage WHERE archived_at IS NOT NULL},
	'a deal in a deleted stage', '23S02', qr/is archived/);

# ----- planted rows

my $name = 'wh+Wm18D0z1D4E+PE252gg==';
my ($pipeline, $open, $open_name, $position) = split /\|/, sql(qq{
	SELECT p.pipeline_id, o.stage_id, s.name, o."position"
	FROM pipelines.pipeline p
		JOIN pipelines.pipeline_stage o ON o.pipeline_id = p.pipeline_id AND o.outcome = 'open'
		JOIN pipelines.stage s ON s.stage_id = o.stage_id
	WHERE p.name = '$name' ORDER BY o."position" LIMIT 1});
my $stage = sql(q{INSERT INTO pipelines.stage (name) VALUES ('planted') RETURNING stage_id});

must_fail($node,
	"INSERT INTO pipelines.pipeline_stage (pipeline_id, stage_id, position, outcome, probability) VALUES ($pipeline, $stage, 99, 'open', 1000)",
	'a stage at 1000 percent', '23514', qr/stage "planted" of pipeline "\Q$name\E": probability 1000/,
	qr/outcome open has a probability of 0 to 99/, qr/CONSTRAINT NAME:\s+open_means_0_to_99_percent/);
must_fail($node,
	"UPDATE pipelines.pipeline_stage SET probability = 1000 WHERE pipeline_id = $pipeline AND stage_id = $open",
	'a stage set to 1000 percent', '23514', qr/stage "\Q$open_name\E" of pipeline "\Q$name\E": probability 1000/);
must_fail($node,
	"INSERT INTO pipelines.pipeline_stage (pipeline_id, stage_id, position, outcome, probability) VALUES ($pipeline, $stage, $position, 'open', 10)",
	'two live stages with one position', '23P01', qr/position/, qr/\($pipeline, $position\)/);
must_fail($node,
	"INSERT INTO pipelines.pipeline_stage (pipeline_id, stage_id, position, outcome, probability) VALUES ($pipeline, $stage, 99, 'won', 0)",
	'a won stage at 0', '23514', qr/stage "planted" of pipeline "\Q$name\E": probability 0/,
	qr/won stage has a probability of 100/, qr/CONSTRAINT NAME:\s+won_means_100_percent/);
must_fail($node,
	q{SELECT pipelines.create_pipeline('bad', stages => '[{"name": "a", "probability": 1000}]')},
	'a new pipeline with a stage at 1000 percent', '23514', qr/probability/);
is(sql('SELECT count(*) FROM pipelines.pipeline_stage'), $want->{stages}, 'nothing of it was kept');

$node->stop;
done_testing();
