#!/usr/bin/env bash
#
# What it costs to find the fiscal period of a day, business time, and locked
# periods, over a million deals.
#
# Each comparison is made in turns, in one run; the median of the turns counts.
# Timed by the processor time of the backend, which other work on the machine
# does not change; no parallel workers, whose time would not be in it.
#
# BENCH_DEALS (default 1000000) and BENCH_TURNS (default 7) make it smaller or
# larger.
#
set -eu
deals=${BENCH_DEALS:-1000000}
turns=${BENCH_TURNS:-7}
sql() { psql -XAtq -v ON_ERROR_STOP=1 "$@"; }
median() { sort -g | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN {printf "%.3f", a / b}'; }
report() { # name, target, ours, base
	printf '{"bench": "%s", "ratio": %s, "target": "%s", "ours": %s, "base": %s}\n' \
		"$1" "$(ratio "$3" "$4")" "$2" "$3" "$4"
}

sql <<-END
	CREATE EXTENSION pipelines;
	-- user and system time of this backend, in milliseconds
	CREATE FUNCTION cpu() RETURNS bigint LANGUAGE sql VOLATILE AS \$\$
		SELECT (split_part(s, ' ', 14)::bigint + split_part(s, ' ', 15)::bigint) * 10
		FROM (SELECT regexp_replace(pg_read_file('/proc/self/stat'), '\(.*\)', 'x') AS s) f
	\$\$;
	SELECT pipelines.create_fiscal_calendar('Standard', from_year => 2015, to_year => 2030) \g /dev/null
	SELECT pipelines.create_fiscal_calendar('Retail', '4-5-4', from_year => 2015, to_year => 2030, time_zone => 'America/New_York') \g /dev/null
	INSERT INTO pipelines.holiday (calendar_id, day, name)
	SELECT pipelines.calendar_id('Retail'), make_date(y, 12, 25), 'Christmas' FROM generate_series(2015, 2030) y;
	-- what a report reads, in the order in which deals come in: their days are at random
	CREATE TABLE days AS SELECT g AS id, 'owner ' || g % 200 AS owner, (random() * 100000)::numeric(12, 2) AS amount,
		date '2018-01-01' + (random() * 3650)::integer AS day,
		timestamptz '2018-01-01 00:00+00' + random() * interval '87600 hours' AS at
	FROM generate_series(1, $deals) g;
	VACUUM ANALYZE days;
	SELECT pipelines.create_pipeline('Sales', stages => '["A", "B", {"name": "Won", "outcome": "won"}]') \g /dev/null
	SELECT pipelines.create_deals('deals') \g /dev/null
	INSERT INTO deals (name, stage_id, amount, closed_on, closed_at)
	SELECT 'deal ' || id, pipelines.stage_id('Sales', 'Won'), amount, date '2018-01-01' + id % 2000, timestamptz '2018-01-01 12:00+00' + id % 2000 * interval '1 day'
	FROM days WHERE id <= $deals / 10;
	VACUUM ANALYZE deals;
END

# processor time of one statement, warmed up
cpu_of() { # statement
	sql <<-END | tail -n 1
		SET max_parallel_workers_per_gather = 0;
		SELECT pipelines.fiscal_period_id(date '2020-01-01') \g /dev/null
		SELECT pipelines.fiscal_period_id(now(), 'month', 'Retail') \g /dev/null
		SELECT cpu() AS c \gset
		$1 \g /dev/null
		SELECT cpu() - :c;
	END
}
compare() { # name, target, ours, base
	local ours=() base=()
	for turn in $(seq 1 "$turns"); do
		base+=("$(cpu_of "$4")")
		ours+=("$(cpu_of "$3")")
	done
	report "$1" "$2" "$(printf '%s\n' "${ours[@]}" | median)" "$(printf '%s\n' "${base[@]}" | median)"
}

compare 'GROUP BY fiscal_period_id(day), against date_trunc(month, day)' 'at most 1' \
	'SELECT pipelines.fiscal_period_id(day), sum(amount) FROM days GROUP BY 1' \
	"SELECT date_trunc('month', day), sum(amount) FROM days GROUP BY 1"
compare 'GROUP BY owner, fiscal_period_id(day), against owner, date_trunc(month, day)' 'at most 1' \
	'SELECT owner, pipelines.fiscal_period_id(day), sum(amount) FROM days GROUP BY 1, 2' \
	"SELECT owner, date_trunc('month', day), sum(amount) FROM days GROUP BY 1, 2"
compare 'the same by week of a 4-5-4 calendar, against date_trunc(week, day)' 'at most 1' \
	"SELECT owner, pipelines.fiscal_period_id(day, 'week', 'Retail'), sum(amount) FROM days GROUP BY 1, 2" \
	"SELECT owner, date_trunc('week', day), sum(amount) FROM days GROUP BY 1, 2"
compare 'a scan that sums up, with fiscal_period_id(day) counted, against day counted' 'at most 1.2' \
	'SELECT sum(amount), count(pipelines.fiscal_period_id(day)) FROM days' \
	'SELECT sum(amount), count(day) FROM days'
compare 'GROUP BY fiscal_period_id(at) of instants, against date_trunc(month, at)' 'at most 1' \
	"SELECT pipelines.fiscal_period_id(at, 'month', 'Retail'), sum(amount) FROM days GROUP BY 1" \
	"SELECT date_trunc('month', at, 'America/New_York'), sum(amount) FROM days GROUP BY 1"
compare 'business_time() over years, against age()' 'none' \
	"SELECT max(pipelines.business_time(at, '2026-01-01 00:00+00', 'Retail')) FROM days" \
	"SELECT max(age(at, '2026-01-01 00:00+00')) FROM days"

# closed deals that change while other years are locked, and while none is
unlocked=() locked=()
for turn in $(seq 1 "$turns"); do
	sql -c 'VACUUM deals' -c CHECKPOINT
	unlocked+=("$(cpu_of "UPDATE deals SET owner = 'a $turn'")")
	sql -c "SELECT pipelines.lock_period(period_id) FROM pipelines.fiscal_period WHERE kind = 'year' AND year > 2024" >/dev/null
	sql -c 'VACUUM deals' -c CHECKPOINT
	locked+=("$(cpu_of "UPDATE deals SET owner = 'b $turn'")")
	sql -c "SELECT pipelines.unlock_period(period_id, 'again') FROM pipelines.fiscal_period WHERE locked_at IS NOT NULL" >/dev/null
done
report 'changes of closed deals while other periods are locked, against none locked' 'at most 1.1' \
	"$(printf '%s\n' "${locked[@]}" | median)" "$(printf '%s\n' "${unlocked[@]}" | median)"
