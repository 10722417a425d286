#!/usr/bin/env bash
#
# quota: the view T_quota on a million deals, 200 owners and 12 periods, against
# a plain sum of amounts by owner and month over the same rows.
#
# In turns, without parallel workers on either side and with them; the median of
# the turns counts.  BENCH_DEALS (default 1000000) and BENCH_TURNS (default 5)
# make it smaller.
#
set -eu
deals=${BENCH_DEALS:-1000000}
turns=${BENCH_TURNS:-5}
sql() { psql -XAtq -v ON_ERROR_STOP=1 "$@"; }
timed() {
	sql -c '\timing on' "$@" | sed -n 's/^Time: \([0-9.]*\) ms.*/\1/p' | tail -n 1
}
median() { sort -g | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'; }

sql <<-END
	CREATE EXTENSION pipelines;
	SELECT pipelines.create_pipeline('Sales', template => 'standard') \g /dev/null
	SELECT pipelines.create_fiscal_calendar('Standard', from_year => extract(year FROM current_date)::integer - 1,
		to_year => extract(year FROM current_date)::integer + 3) \g /dev/null
	SELECT pipelines.create_deals('deals', currency => 'EUR') \g /dev/null
	SET session_replication_role = replica;
	INSERT INTO deals (deal_id, name, account, owner, source, amount, currency, pipeline_id, stage_id, expected_close_on,
		closed_at, closed_on, created_at, created_by, stage_entered_at, furthest_stage_id, episode, version, changed_at)
	SELECT g, 'Deal number ' || g || ' of a customer', 'Account ' || g % 20000, 'owner ' || g % 200, 'web',
		round((g::bigint * 7919 % 1000000) / 7.0, 2), 'EUR', 1, s.stage_id, d.day,
		CASE WHEN s.closed THEN now() END, CASE WHEN s.closed THEN d.day END, now(), 'x', now(), 1, 1, 1, now()
	FROM generate_series(1, $deals) g
	JOIN (SELECT stage_id, outcome IN ('won', 'lost') AS closed, row_number() OVER (ORDER BY position) - 1 AS n,
			count(*) OVER () AS stages FROM pipelines.pipeline_stage) s ON s.n = (g * 13 / 7) % s.stages
	CROSS JOIN LATERAL (SELECT (date_trunc('month', current_date) + interval '1 month')::date + (g * 7) % 365 AS day) d;
	RESET session_replication_role;
	INSERT INTO pipelines.quota (forecast_type_id, period_id, owner, value)
	SELECT 1, p.period_id, 'owner ' || o, 10000000
	FROM pipelines.fiscal_period p, generate_series(0, 199) o
	WHERE p.kind = 'month' AND p.starts > current_date AND p.starts < current_date + 365;
END
sql -c 'VACUUM ANALYZE deals'

base="SELECT count(s) FROM (SELECT owner, date_trunc('month', expected_close_on), sum(amount) AS s FROM deals GROUP BY 1, 2) x"
all="SELECT count(chance), sum(p50) FROM (SELECT * FROM deals_quota OFFSET 0) q"
months="SELECT sum(won), sum(gap) FROM pipelines.quota_report('deals', forecast_period => 'month')"
for workers in 0 2; do
	for what in all months; do
		a=() b=()
		for _ in $(seq 1 "$turns"); do
			a+=("$(timed -c "SET max_parallel_workers_per_gather = $workers" -c "${!what}")")
			b+=("$(timed -c "SET max_parallel_workers_per_gather = $workers" -c "$base")")
		done
		x=$(printf '%s\n' "${a[@]}" | median)
		y=$(printf '%s\n' "${b[@]}" | median)
		printf '{"bench": "quota: %s, %s workers", "ratio": %s, "target": "at most 3", "ours": %s, "base": %s}\n' \
			"$what" "$workers" "$(awk -v a="$x" -v b="$y" 'BEGIN {printf "%.3f", a / b}')" "$x" "$y"
	done
done
