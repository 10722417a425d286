#!/usr/bin/env bash
#
# What led from the pipeline of one instant to that of another, on a million
# deals with five million rows of history.
#
# The base is what both tables cost to be read and added up:
# SELECT count(*), sum(amount) over T and over T_history.  The past is written
# as a restore writes it, directly; each deal has six versions in up to a year,
# over three years.  Sides are run in turns, and the median counts.
#
# BENCH_DEALS (default 1000000) and BENCH_TURNS (default 3) make it smaller.
#
set -eu
deals=${BENCH_DEALS:-1000000}
turns=${BENCH_TURNS:-3}
sql() { psql -XAtq -v ON_ERROR_STOP=1 "$@"; }
timed() { sql -c '\timing on' "$@" | sed -n 's/^Time: \([0-9.]*\) ms.*/\1/p' | awk '{s += $1} END {print s}'; }
median() { sort -g | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'; }

sql <<-END
	CREATE EXTENSION pipelines;
	SELECT pipelines.create_pipeline('Sales', template => 'standard') \g /dev/null
	SELECT pipelines.create_deals('deals', currency => 'EUR') \g /dev/null
	CREATE UNLOGGED TABLE version AS
	SELECT g::bigint AS deal_id, k AS version, 'owner ' || (g + k / 4) % 200 AS owner,
		(SELECT array_agg(stage_id ORDER BY position) FROM pipelines.pipeline_stage WHERE pipeline_id = 1)[
			CASE WHEN k = 6 AND g % 10 < 3 THEN 7 WHEN k = 6 AND g % 10 < 6 THEN 8 ELSE (ARRAY[1,2,2,3,3,4])[k] END] AS stage_id,
		round((g::bigint * 7919 % 1000000) / 7.0 * (1 + (k / 3) * 0.1), 2) AS amount,
		CASE WHEN g % 20 = 0 AND k > 3 THEN 55.5 END AS probability,
		date '2023-06-01' + (g % 700 + (k / 4) * 30)::integer AS expected_close_on,
		timestamptz '2023-01-01' + interval '1 day' * (g::bigint * 7919 % 900)::integer + interval '1 second' * (g % 86400)
			+ interval '1 day' * ((k - 1) * (5 + g % 20)) AS at
	FROM generate_series(1, $deals) AS g, generate_series(1, 6) AS k;
	INSERT INTO deals_history (deal_id, version, change, valid_from, valid_to, owner, pipeline_id, stage_id, amount, probability, expected_close_on,
		stage_entered_at, furthest_stage_id, episode, to_pipeline_id, to_stage_id, actor, role_name, application_name, txid, recorded_at, bypassed, imported)
	SELECT v.deal_id, v.version, CASE WHEN n.version = 6 AND v.deal_id % 10 < 6 THEN 'close' WHEN n.stage_id <> v.stage_id THEN 'move' ELSE 'change' END,
		v.at, n.at, v.owner, 1, v.stage_id, v.amount, v.probability, v.expected_close_on, v.at, v.stage_id, 1,
		1, n.stage_id, 'postgres', 'postgres', 'psql', 1, n.at, false, false
	FROM version v JOIN version n ON n.deal_id = v.deal_id AND n.version = v.version + 1
	ORDER BY n.at;
	SET session_replication_role = replica;
	INSERT INTO deals (deal_id, name, account, owner, pipeline_id, stage_id, amount, probability, expected_close_on, closed_at, closed_on,
		created_at, created_by, stage_entered_at, furthest_stage_id, episode, version, changed_at)
	SELECT v.deal_id, 'Deal number ' || v.deal_id || ' of a customer', 'Account ' || v.deal_id % 20000, v.owner, 1, v.stage_id, v.amount, v.probability,
		v.expected_close_on, CASE WHEN s.outcome IN ('won', 'lost') THEN v.at END, CASE WHEN s.outcome IN ('won', 'lost') THEN v.at::date END,
		'2022-01-01', 'somebody', v.at, v.stage_id, 1, 6, v.at
	FROM version v JOIN pipelines.pipeline_stage s ON s.pipeline_id = 1 AND s.stage_id = v.stage_id
	WHERE v.version = 6;
	DROP TABLE version;
	VACUUM ANALYZE deals; VACUUM ANALYZE deals_history;
END

compare() { # name, statement
	local a=() b=() turn x y
	for turn in $(seq 1 "$turns"); do
		a+=("$(timed -c "$2")")
		b+=("$(timed -c 'SELECT count(*), sum(amount) FROM deals' -c 'SELECT count(*), sum(amount) FROM deals_history')")
	done
	x=$(printf '%s\n' "${a[@]}" | median)
	y=$(printf '%s\n' "${b[@]}" | median)
	printf '{"bench": "%s", "ratio": %s, "target": "at most 3", "ours": %s, "base": %s}\n' "$1" \
		"$(awk -v a="$x" -v b="$y" 'BEGIN {printf "%.3f", a / b}')" "$x" "$y"
}

compare 'bridge of a week' "SELECT sum(deals) FROM pipelines.bridge('deals', '2024-06-01', '2024-06-08')"
compare 'bridge of a quarter' "SELECT sum(deals) FROM pipelines.bridge('deals', '2024-04-01', '2024-07-01')"
compare 'bridge of a quarter, weighted' "SELECT sum(deals) FROM pipelines.bridge('deals', '2024-04-01', '2024-07-01', weighted => true)"
compare 'bridge of a quarter, of some owners' "SELECT sum(deals) FROM pipelines.bridge('deals', '2024-04-01', '2024-07-01', owners => '{owner 1,owner 2}')"
compare 'bridge of all time' "SELECT sum(deals) FROM pipelines.bridge('deals', '2022-01-01', '2028-01-01')"
compare 'changes of a week' "SELECT count(*) FROM pipelines.changes('deals', '2024-06-01', '2024-06-08')"
compare 'changes of a quarter' "SELECT count(*) FROM pipelines.changes('deals', '2024-04-01', '2024-07-01')"
compare 'review of a week' "SELECT count(*) FROM pipelines.review('deals', as_of => '2024-06-08', large => 100000)"
compare 'as known at an instant' "SELECT count(*), sum(amount) FROM pipelines.as_of(NULL::deals, '2024-06-08', known_at => '2024-06-08')"
