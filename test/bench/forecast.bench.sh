#!/usr/bin/env bash
#
# The exact weighted sum and the forecast, on a million deals of normal width,
# against core's numeric.
#
# Both sides of a comparison run in turns in one session, and the median of
# the turns counts.  Single-process work is measured as the time that the
# backend spent on the processor (/proc/self/schedstat), where the system tells
# it, so that other work on the machine does not count; parallel work by the
# clock.  "scan_ms" is the time for count() of the last column that is needed:
# what reading the rows takes before anything is added up.
#
# BENCH_DEALS (default 1000000) and BENCH_TURNS (default 7) make it smaller.
#
set -eu
deals=${BENCH_DEALS:-1000000}
turns=${BENCH_TURNS:-7}
sql() { psql -XAtq -v ON_ERROR_STOP=1 "$@"; }

sql <<-END
	SET client_min_messages = warning;
	CREATE EXTENSION IF NOT EXISTS pipelines;
	DROP TABLE IF EXISTS forecast_deals;
	SELECT setseed(0.5) \g /dev/null
	CREATE TABLE forecast_deals AS
	SELECT g::bigint AS deal_id, 'Deal number ' || g AS name,
		'Account ' || g % 20000 AS account, 'owner ' || g % 200 AS owner,
		1 + g % 3 AS pipeline_id, 1 + g % 7 AS stage_id,
		round(exp(10.5 + sqrt(-2 * ln(1 - random())) * cos(6.283185 * random()))::numeric, 2) AS amount,
		round((5 + 90 * random())::numeric, 2)::numeric(5, 2) AS probability,
		NULL::pipelines.probability AS chance,
		(ARRAY['open', 'open', 'open', 'open', 'open', 'won', 'lost'])[1 + g % 7] AS outcome,
		'EUR'::text AS currency, date '2026-01-01' + g % 600 AS expected_close_on,
		now() AS created_at, now() AS stage_entered_at
	FROM generate_series(1, $deals) AS g;
	UPDATE forecast_deals SET chance = probability;
	VACUUM FULL forecast_deals;
	VACUUM ANALYZE forecast_deals;
END

if sql -c "SELECT pg_read_file('/proc/self/schedstat')" >/dev/null 2>&1; then
	stamp="SELECT '@' || split_part(pg_read_file('/proc/self/schedstat'), ' ', 1)::bigint / 1e6"
else
	stamp="SELECT '@' || extract(epoch FROM clock_timestamp()) * 1e3"
fi
clock="SELECT '@' || extract(epoch FROM clock_timestamp()) * 1e3"

# Medians of the milliseconds of some statements, run in turns in one session
# after some settings, on one line.
medians() { # stamp, settings, statement...
	local stamp=$1 settings=$2 turn statement
	shift 2
	{
		echo "$settings"
		for statement in "$@"; do echo "$statement;"; done # warm up
		for turn in $(seq 1 "$turns"); do
			for statement in "$@"; do printf '%s;\n%s;\n%s;\n' "$stamp" "$statement" "$stamp"; done
		done
	} | sql | sed -n 's/^@//p' | awk -v n=$# '
		NR % 2 == 1 {start = $1; next}
		{i = k++ % n; t[i, c[i]++] = $1 - start}
		END {
			for (i = 0; i < n; i++) {
				for (a = 0; a < c[i]; a++)
					for (b = a + 1; b < c[i]; b++)
						if (t[i, b] < t[i, a]) {x = t[i, a]; t[i, a] = t[i, b]; t[i, b] = x}
				printf "%.1f ", t[i, int((c[i] - 1) / 2)]
			}
			print ""
		}'
}

report() { # name, target, ms, base_ms, scan_ms
	awk -v name="$1" -v target="$2" -v ms="$3" -v base="$4" -v scan="$5" 'BEGIN {
		printf "{\"bench\": \"%s\", \"ratio\": %.3f, \"target\": \"at most %s\", \"ms\": %s, \"base_ms\": %s, \"scan_ms\": %s}\n",
			name, ms / base, target, ms, base, scan}'
}

from='FROM forecast_deals'
core='sum(amount * probability / 100)'
plain="count(*), count(*) FILTER (WHERE outcome = 'open'), sum(amount) FILTER (WHERE outcome = 'open'),
	sum(amount * probability / 100) FILTER (WHERE outcome = 'open'),
	sum(amount) FILTER (WHERE outcome = 'won'), sum(amount) FILTER (WHERE outcome = 'lost'),
	sum(amount * amount * (probability / 100) * (1 - probability / 100)) FILTER (WHERE outcome = 'open')"
by_probability='pipelines.weighted_forecast(amount, chance)'
by_numeric='pipelines.weighted_forecast(amount, probability)'
whole='pipelines.deals(pipelines.forecast(amount, probability, outcome))'
alone='SET max_parallel_workers_per_gather = 0; SET jit = off;'

read -r probability numeric base forecast all scan_probability scan_outcome <<<"$(medians "$stamp" "$alone" \
	"SELECT $by_probability $from" "SELECT $by_numeric $from" "SELECT $core $from" \
	"SELECT $whole $from" "SELECT $plain $from" \
	"SELECT count(probability) $from" "SELECT count(outcome) $from")"
report 'weighted_forecast, probability as pipelines.probability, against sum(amount * probability / 100)' 0.27 "$probability" "$base" "$scan_probability"
report 'weighted_forecast, probability as numeric, against sum(amount * probability / 100)' 0.32 "$numeric" "$base" "$scan_probability"
report 'forecast, against the same figures in plain SQL' 0.15 "$forecast" "$all" "$scan_outcome"

group='GROUP BY pipeline_id, stage_id'
read -r probability numeric base forecast all scan_probability scan_outcome <<<"$(medians "$stamp" "$alone" \
	"SELECT $by_probability $from $group" "SELECT $by_numeric $from $group" "SELECT $core $from $group" \
	"SELECT $whole $from $group" "SELECT $plain $from $group" \
	"SELECT count(probability) $from $group" "SELECT count(outcome) $from $group")"
report 'weighted_forecast, probability as pipelines.probability, by pipeline and stage' 0.40 "$probability" "$base" "$scan_probability"
report 'weighted_forecast, probability as numeric, by pipeline and stage' 0.40 "$numeric" "$base" "$scan_probability"
report 'forecast, by pipeline and stage' 0.20 "$forecast" "$all" "$scan_outcome"

# by the clock: two workers against none, and core's sum(amount) the same way
statements=("SELECT $by_numeric $from" "SELECT $whole $from" "SELECT sum(amount) $from")
settings="$alone SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;"
none='SET max_parallel_workers_per_gather = 0'
two='SET max_parallel_workers_per_gather = 2'
in_turns=()
for statement in "${statements[@]}"; do
	# the setting costs microseconds, and belongs to both sides
	in_turns+=("$none; $statement" "$two; $statement")
done
read -r numeric numeric2 forecast forecast2 sum sum2 <<<"$(medians "$clock" "$settings" "${in_turns[@]}")"
speed_up() { # name, alone, with workers
	awk -v name="$1" -v a="$2" -v b="$3" -v c="$sum" -v d="$sum2" 'BEGIN {
		printf "{\"bench\": \"%s, speed-up by two workers, against that of sum(amount)\", \"ratio\": %.3f, \"target\": \"at least 0.9\", \"ms\": %s, \"base_ms\": %s, \"speed_up\": %.2f, \"base_speed_up\": %.2f}\n",
			name, (a / b) / (c / d), b, d, a / b, c / d}'
}
speed_up weighted_forecast "$numeric" "$numeric2"
speed_up forecast "$forecast" "$forecast2"
sql -c 'DROP TABLE forecast_deals'
