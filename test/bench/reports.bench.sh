#!/usr/bin/env bash
#
# Reports on a million deals and five million history rows, each against
# counting and adding up both tables; what must not depend on the size of the
# table, against the same on a tenth of the deals.
#
# BENCH_DEALS (default 1000000) and BENCH_TURNS (default 3) make it smaller.
#
set -eu
deals=${BENCH_DEALS:-1000000}
turns=${BENCH_TURNS:-3}
sql() { psql -XAtq -v ON_ERROR_STOP=1 "$@"; }
timed() {
	sql -c '\timing on' "$@" | sed -n 's/^Time: \([0-9.]*\) ms.*/\1/p' | tail -n 1
}
median() { sort -g | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN {printf "%.3f", a / b}'; }
report() { # name, ratio, target, figures of both sides
	printf '{"bench": "%s", "ratio": %s, "target": "%s", "ours": %s, "base": %s}\n' "$@"
}

# A table of deals that went through the stages in order, one in ten of them
# with a step back; half of them are closed by their last change.
make_deals() { # table, how many
	sql <<-END
		SELECT pipelines.create_deals('$1') \g /dev/null
		SET session_replication_role = replica;
		ALTER TABLE $1_history DISABLE TRIGGER USER;
		CREATE TEMP TABLE st AS
		SELECT array_agg(stage_id ORDER BY position) FILTER (WHERE outcome = 'open') AS o,
			min(stage_id) FILTER (WHERE outcome = 'won') AS w, min(stage_id) FILTER (WHERE outcome = 'lost') AS l
		FROM pipelines.pipeline_stage;
		CREATE TEMP TABLE turn AS
		SELECT g::bigint AS deal_id, v AS version,
			now() - interval '730 days' * ((g::bigint * 7919 % 1000003)::numeric / 1000003 / 6 + (6 - v)::numeric / 6) AS at,
			CASE WHEN v = 6 THEN (ARRAY[st.w, st.l, st.o[6], st.o[5]])[1 + g % 4]
				WHEN v = 4 AND g % 10 = 0 THEN st.o[2] ELSE st.o[v] END AS stage
		FROM generate_series(1, $2) g, generate_series(1, 6) v, st;
		INSERT INTO $1 (deal_id, name, account, owner, source, pipeline_id, stage_id, amount, currency, expected_close_on,
			closed_at, closed_on, product, channel, created_at, created_by, stage_entered_at, furthest_stage_id, episode, version, changed_at)
		SELECT g, 'Deal number ' || g || ' of a customer', 'Account ' || g % 20000, 'owner ' || g % 200,
			(ARRAY['web', 'fair', 'phone'])[1 + g % 3], 1, t.stage, round((g::bigint * 7919 % 1000000) / 7.0, 2),
			(ARRAY['EUR', 'USD'])[1 + g % 2], date '2026-01-01' + g % 600, CASE WHEN g % 4 < 2 THEN t.at END,
			CASE WHEN g % 4 < 2 THEN t.at::date END, 'product ' || g % 10, 'channel ' || g % 4, f.at, 'somebody', t.at,
			CASE WHEN g % 4 < 2 THEN (SELECT o[5] FROM st) ELSE t.stage END, 1, 6, t.at
		FROM generate_series(1, $2) g
		JOIN turn t ON t.deal_id = g AND t.version = 6 JOIN turn f ON f.deal_id = g AND f.version = 1;
		INSERT INTO $1_history (deal_id, version, change, valid_from, valid_to, owner, source, pipeline_id, stage_id, amount, currency,
			expected_close_on, product, channel, stage_entered_at, furthest_stage_id, episode, to_pipeline_id, to_stage_id, actor,
			role_name, application_name, txid, recorded_at, bypassed, imported)
		SELECT d.deal_id, t.version, CASE WHEN t.version = 5 AND d.closed_at IS NOT NULL THEN 'close' ELSE 'move' END, t.at, u.at,
			d.owner, d.source, 1, t.stage, d.amount, d.currency, d.expected_close_on, d.product, d.channel, t.at, t.stage, 1, 1, u.stage,
			'somebody', 'somebody', 'app', 1, u.at, false, false
		FROM $1 d JOIN turn t USING (deal_id) JOIN turn u ON u.deal_id = t.deal_id AND u.version = t.version + 1
		ORDER BY u.at;
		ALTER TABLE $1_history ENABLE ALWAYS TRIGGER pipelines_guard;
		ALTER TABLE $1_history ENABLE ALWAYS TRIGGER pipelines_guard_truncate;
		VACUUM ANALYZE $1; VACUUM ANALYZE $1_history;
	END
}

sql -c 'CREATE EXTENSION pipelines' -c "SELECT pipelines.create_pipeline('Sales', template => 'standard')" >/dev/null
make_deals deals "$deals"
make_deals tenth "$((deals / 10))"

base="SELECT count(*), sum(amount) FROM (SELECT amount FROM deals UNION ALL SELECT amount FROM deals_history) x"
measure() { # name, query
	local a=() b=() turn x y
	for turn in $(seq 1 "$turns"); do
		a+=("$(timed -c "$2")") b+=("$(timed -c "$base")")
	done
	x=$(printf '%s\n' "${a[@]}" | median)
	y=$(printf '%s\n' "${b[@]}" | median)
	report "$1, against counting and adding up deals and history" "$(ratio "$x" "$y")" 'at most 3' "$x" "$y"
}
measure time_in_stage "SELECT count(*) FROM pipelines.time_in_stage('deals')"
for name in latest cumulative; do
	measure "time_in_stage, $name" "SELECT count(*) FROM pipelines.time_in_stage('deals', measure => '$name')"
done
measure 'time_in_stage, days' "SELECT count(*) FROM pipelines.time_in_stage('deals', days => true)"
for mode in any strict reached direct; do
	measure "funnel $mode" "SELECT count(*) FROM pipelines.funnel('deals', '$mode')"
done
for name in transitions win_rate cycle velocity load flow trend; do
	measure "$name" "SELECT count(*) FROM pipelines.$name('deals')"
done
measure 'flow of all time' "SELECT count(*) FROM pipelines.flow('deals', '-infinity')"
for name in win_rate cycle trend; do
	measure "$name by owner" "SELECT count(*) FROM pipelines.$name('deals', by => 'owner')"
done
for name in load win_rate velocity flow stalled; do
	measure "$name of a year ago" "SELECT count(*) FROM pipelines.$name('deals', as_of => now() - interval '1 year')"
done
measure review "SELECT count(*) FROM pipelines.review('deals')"
measure 'bridge of three months' "SELECT count(*) FROM pipelines.bridge('deals', now() - interval '90 days')"
measure 'changes of three months' "SELECT count(*), sum(amount_after) FROM pipelines.changes('deals', now() - interval '90 days')"
measure stalled "SELECT count(*), sum(cardinality(reasons)) FROM pipelines.stalled('deals')"
measure 'stalled, without reasons' "SELECT count(*) FROM pipelines.stalled('deals', with_reasons => false)"

sized() { # name, query with %s for the table
	local a=() b=() turn x y
	for turn in $(seq 1 9); do
		a+=("$(timed -c "${2//%s/deals}" -c "${2//%s/deals}")") b+=("$(timed -c "${2//%s/tenth}" -c "${2//%s/tenth}")")
	done
	x=$(printf '%s\n' "${a[@]}" | median)
	y=$(printf '%s\n' "${b[@]}" | median)
	report "$1, against the same on a tenth of the deals" "$(ratio "$x" "$y")" 'at most 1.5' "$x" "$y"
}
sized 'journey of one deal' "SELECT count(*) FROM pipelines.journey('%s', '5')"
sized 'stage times of one deal' "SELECT count(*) FROM pipelines.stage_times('%s', '5')"
sized 'stalling within a minute' "SELECT count(*) FROM pipelines.stalling('%s', now() + interval '1 minute')"
