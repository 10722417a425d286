#!/usr/bin/env bash
#
# What scores cost: training, scores of all open deals, calibration, the
# accuracy of forecasts and boards, against reading both tables once:
# SELECT count(*), sum(amount) over T and T_history together.  And what views
# cost of a table that was trained, while no pipeline uses its scores.
#
# In turns, in one run; the median of the turns counts.  By the clock, since the
# base may run in parallel; said beside it: the base in one process.
#
# BENCH_DEALS (default 1000000; five times as many versions) and BENCH_TURNS
# (default 3) make it smaller or larger.
#
set -eu
deals=${BENCH_DEALS:-1000000}
turns=${BENCH_TURNS:-3}
sql() { psql -XAtq -v ON_ERROR_STOP=1 "$@"; }
median() { sort -g | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN {printf "%.3f", a / b}'; }
report() { # name, target, ours, base
	printf '{"bench": "%s", "ratio": %s, "target": "%s", "ours_ms": %s, "base_ms": %s}\n' \
		"$1" "$(ratio "$3" "$4")" "$2" "$3" "$4"
}

# deals of two years, made in their stages by writing the past as import_history()
# would: six versions each, half of them closed
sql <<-END
	CREATE EXTENSION pipelines;
	SELECT pipelines.create_pipeline('Sales', time_zone => 'UTC', stages => '[
		{"name": "Lead", "probability": 10}, {"name": "Demo", "probability": 30}, {"name": "Offer", "probability": 60},
		{"name": "Deal", "probability": 80}, {"name": "Won", "outcome": "won"}, {"name": "Lost", "outcome": "lost"}]') \g /dev/null
	SELECT pipelines.create_deals('deals', currency => 'EUR') \g /dev/null
	SET session_replication_role = replica;
	CREATE TABLE life AS
		SELECT g AS deal_id, timestamptz '2024-01-01' + g % 700 * interval '1 day' + g % 86400 * interval '1 second' AS born,
			interval '1 hour' * (1 + g::bigint * 7919 % 400) AS step, g::bigint * 104729 % 4 AS fate
		FROM generate_series(1, $deals) g;
	INSERT INTO deals_history (deal_id, version, change, valid_from, valid_to, owner, source, pipeline_id, stage_id, amount,
		expected_close_on, stage_entered_at, furthest_stage_id, episode, to_pipeline_id, to_stage_id, actor, recorded_at, bypassed, imported)
	SELECT l.deal_id, v, CASE WHEN v = 5 AND l.fate < 2 THEN 'close' WHEN v = 3 THEN 'change' ELSE 'move' END,
		l.born + l.step * (v - 1), l.born + l.step * v, 'owner ' || l.deal_id % 200, 'source ' || l.deal_id % 7, 1,
		s.stage, l.deal_id * 7.25, (l.born + interval '60 days')::date, l.born + l.step * (v - 1), s.stage, 1, 1,
		CASE WHEN v = 5 THEN CASE l.fate WHEN 0 THEN 5 WHEN 1 THEN 6 ELSE 4 END ELSE (ARRAY[2, 2, 3, 4])[v] END, 'x', now(), false, true
	FROM life l, generate_series(1, 5) v, LATERAL (SELECT (ARRAY[1, 2, 2, 3, 4])[v] AS stage) s;
	INSERT INTO deals (deal_id, name, owner, source, pipeline_id, stage_id, amount, expected_close_on, closed_at, closed_on, created_at,
		created_by, stage_entered_at, furthest_stage_id, episode, version, changed_at)
	SELECT l.deal_id, 'Deal ' || l.deal_id, 'owner ' || l.deal_id % 200, 'source ' || l.deal_id % 7, 1, s.stage, l.deal_id * 7.25,
		(l.born + interval '60 days')::date, CASE WHEN l.fate < 2 THEN l.born + l.step * 5 END,
		CASE WHEN l.fate < 2 THEN (l.born + l.step * 5)::date END, l.born, 'x', l.born + l.step * 5,
		CASE WHEN l.fate < 2 THEN s.stage ELSE 4 END, 1, 6, l.born + l.step * 5
	FROM life l, LATERAL (SELECT CASE l.fate WHEN 0 THEN 5 WHEN 1 THEN 6 ELSE 4 END AS stage) s;
	DROP TABLE life;
	RESET session_replication_role;
	VACUUM ANALYZE deals; VACUUM ANALYZE deals_history;
END

# milliseconds of one statement in a session of its own
time_of() { # statement [before]
	sql -c "${2:-SELECT 1}" -c "SELECT pipelines.pipeline_id('Sales')" -c '\timing on' -c "$1" |
		sed -n 's/^Time: \([0-9.]*\) ms.*/\1/p' | tail -n 1
}
base='SELECT count(*), sum(amount) FROM (SELECT amount FROM deals UNION ALL SELECT amount FROM deals_history) x'
declare -A all
names=(base single train scores scores_past calibration accuracy accuracy_owner board board_owner)
declare -A statement=(
	[base]=$base [single]=$base
	[train]="SELECT count(*) FROM pipelines.train_scores('deals')"
	[scores]="SELECT count(*), sum(score) FROM pipelines.scores('deals')"
	[scores_past]="SELECT count(*), sum(score) FROM pipelines.scores('deals', as_of => '2025-06-01')"
	[calibration]="SELECT count(*) FROM pipelines.calibration('deals', '2025-06-01', as_of => '2025-12-01')"
	[accuracy]="SELECT count(*) FROM pipelines.forecast_accuracy('deals', as_of => '2025-12-01')"
	[accuracy_owner]="SELECT count(*) FROM pipelines.forecast_accuracy('deals', by => 'owner', as_of => '2025-12-01')"
	[board]="SELECT count(*) FROM pipelines.board('deals', as_json => true)"
	[board_owner]="SELECT count(*) FROM pipelines.board('deals', by => 'owner', as_json => true)"
)
for turn in $(seq 1 "$turns"); do
	for name in "${names[@]}"; do
		before='SELECT 1'
		[ "$name" != single ] || before='SET max_parallel_workers_per_gather = 0'
		all[$name]+="$(time_of "${statement[$name]}" "$before")"$'\n'
	done
done
for name in "${names[@]}"; do
	all[$name]=$(printf '%s' "${all[$name]}" | median)
done
for name in "${names[@]:2}"; do
	report "$name of $deals deals, against reading both tables" 'at most 3' "${all[$name]}" "${all[base]}"
	report "$name, against reading both tables in one process" 'told' "${all[$name]}" "${all[single]}"
done

# views of a trained table, scores not used, against before it was trained
read_views() { # view
	time_of "SELECT count(*), sum(weighted) FROM deals_$1"
}
for view in current board forecast; do
	with='' without=''
	for turn in $(seq 1 "$turns"); do
		sql -c "SELECT count(*) FROM pipelines.train_scores('deals', as_of => '2024-02-01')" >/dev/null
		with+="$(read_views $view)"$'\n'
		sql -c "DELETE FROM pipelines.score_model" -c "SELECT count(*) FROM pipelines.rebuild_views('deals')" >/dev/null
		without+="$(read_views $view)"$'\n'
	done
	report "deals_$view of a trained table, no scores used, against before" 'about 1' "$(printf '%s' "$with" | median)" "$(printf '%s' "$without" | median)"
done
