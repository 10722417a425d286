#!/usr/bin/env bash
#
# Conversion: a million deals in ten currencies, at the rates of their own
# days, against summing them up unconverted and against a sub-query over the
# rates; and loading 200,000 rates.
#
# Both sides of a comparison run in turns in one session, and the median of
# the turns counts.  What counts is the time that the backend spent on the
# processor (/proc/self/schedstat), where the system tells it.  "scan_ms" is
# the time for count() of the last column that is needed.
#
# BENCH_DEALS (default 1000000) and BENCH_TURNS (default 7) make it smaller.
#
set -eu
deals=${BENCH_DEALS:-1000000}
turns=${BENCH_TURNS:-7}
sql() { psql -XAtq -v ON_ERROR_STOP=1 "$@"; }

if sql -c "SELECT pg_read_file('/proc/self/schedstat')" >/dev/null 2>&1; then
	stamp="SELECT '@' || split_part(pg_read_file('/proc/self/schedstat'), ' ', 1)::bigint / 1e6"
else
	stamp="SELECT '@' || extract(epoch FROM clock_timestamp()) * 1e3"
fi

# Medians of the milliseconds of some statements, run in turns in one session
# after some settings, on one line.
medians() { # turns, settings, statement...
	local turns=$1 settings=$2 turn statement
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

# rates of twenty years, on working days, for forty currencies
sql <<-END
	SET client_min_messages = warning;
	CREATE EXTENSION IF NOT EXISTS pipelines;
	SELECT pipelines.setup() \g /dev/null
	SELECT setseed(0.5) \g /dev/null
	CREATE TABLE rates AS
	SELECT 'spot'::text AS rate_set, c.currency, 'EUR'::text AS base, d::date AS rate_on,
		round((0.5 + random() * c.size)::numeric, 4) AS rate
	FROM generate_series(date '2007-01-01', '2026-03-01', '1 day') AS d,
		(SELECT CASE n WHEN 1 THEN 'USD' WHEN 2 THEN 'JPY' WHEN 3 THEN 'GBP' ELSE 'X' || chr(65 + n / 26) || chr(65 + n % 26) END AS currency,
			power(10, n % 4) AS size FROM generate_series(1, 40) AS n) AS c
	WHERE extract(isodow FROM d) < 6;
	VACUUM ANALYZE rates;
	CREATE TABLE plain (rate_set text, currency text, base text, rate_on date, rate numeric NOT NULL,
		version integer NOT NULL DEFAULT 1, changed_at timestamptz NOT NULL DEFAULT '-infinity',
		PRIMARY KEY (rate_set, currency, base, rate_on));
	CREATE TABLE money_deals AS
	SELECT g::bigint AS deal_id, 'Deal number ' || g AS name, 'owner ' || g % 200 AS owner,
		round(exp(10.5 + sqrt(-2 * ln(1 - random())) * cos(6.283185 * random()))::numeric, 2) AS amount,
		(ARRAY['EUR', 'USD', 'GBP', 'JPY', 'XAE', 'XAF', 'XAG', 'USD', 'USD', 'EUR'])[1 + g * 7 % 10] AS currency,
		date '2016-01-01' + (random() * 3600)::integer AS closed_on, 1 + g % 7 AS stage_id
	FROM generate_series(1, $deals) AS g;
	VACUUM ANALYZE money_deals;
END

# milliseconds of one statement, run once
once() { # statement
	printf '%s;\n%s;\n%s;\n' "$stamp" "$1" "$stamp" | sql | sed -n 's/^@//p' |
		awk 'NR == 1 {start = $1} NR == 2 {printf "%.1f", $1 - start}'
}
load='(rate_set, currency, base, rate_on, rate) SELECT * FROM rates'
sql -c 'SELECT count(*) FROM rates' >/dev/null
base=$(once "INSERT INTO plain $load")
ours=$(once "INSERT INTO pipelines.exchange_rate $load")
report '200,000 rates loaded, against a table with the same key and without triggers' 5 "$ours" "$base" 0
sql -c 'VACUUM ANALYZE pipelines.exchange_rate' -c 'VACUUM ANALYZE plain'

from='FROM money_deals'
alone='SET max_parallel_workers_per_gather = 0; SET jit = off;'
read -r base base_convert convert cross total cross_total scan <<<"$(medians "$turns" "$alone" \
	"SELECT sum(amount) $from" "SELECT sum(amount) $from" \
	"SELECT sum(pipelines.convert(amount, currency, 'EUR', closed_on)) $from" \
	"SELECT sum(pipelines.convert(amount, currency, 'USD', closed_on)) $from" \
	"SELECT pipelines.total(pipelines.converted_sum(amount, currency, 'EUR', closed_on, 'spot')) $from" \
	"SELECT pipelines.total(pipelines.converted_sum(amount, currency, 'USD', closed_on, 'spot')) $from" \
	"SELECT count(closed_on) $from")"
report 'sum(convert()) to the base, against sum(amount)' 2 "$convert" "$base" "$scan"
report 'sum(convert()) across the base, against sum(amount)' 2 "$cross" "$base_convert" "$scan"
report 'converted_sum() to the base, rounded per deal, against sum(amount)' 2 "$total" "$base" "$scan"
report 'converted_sum() across the base, rounded per deal, against sum(amount)' 2 "$cross_total" "$base_convert" "$scan"

# a tenth of the deals, since the sub-query takes its time
sql <<-END
	CREATE TABLE some_deals AS SELECT * FROM money_deals WHERE deal_id <= $deals / 10;
	VACUUM ANALYZE some_deals;
END
subquery="CASE d.currency WHEN 'EUR' THEN 1 ELSE (SELECT r.rate FROM plain r WHERE r.rate_set = 'spot' AND r.currency = d.currency
	AND r.base = 'EUR' AND r.rate_on <= d.closed_on AND r.rate_on >= d.closed_on - 10 ORDER BY r.rate_on DESC LIMIT 1) END"
read -r convert base <<<"$(medians 3 "$alone" \
	"SELECT sum(pipelines.convert(amount, currency, 'EUR', closed_on)) FROM some_deals" \
	"SELECT sum(d.amount / $subquery) FROM some_deals d")"
report 'sum(convert()) of a tenth, against a sub-query over the rates for each deal' 0.05 "$convert" "$base" 0
sql -c 'DROP TABLE money_deals, some_deals, rates, plain'
