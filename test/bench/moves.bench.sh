#!/usr/bin/env bash
#
# What rules cost, what move_many() costs, and what it takes to adopt a table.
#
# Each comparison is made in turns, in one run; the median of the turns counts.
# Moves are timed by the processor time of the backend, which other work on the
# machine does not change; adoption by the clock, since it is several statements.
#
# BENCH_DEALS (default 200000), BENCH_ADOPT (default 1000000) and BENCH_TURNS
# (default 5) make it smaller or larger.
#
set -eu
deals=${BENCH_DEALS:-200000}
adopted=${BENCH_ADOPT:-1000000}
turns=${BENCH_TURNS:-5}
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
	SELECT pipelines.create_pipeline('Free', stages => '["A", "B", "C", "D", {"name": "Won", "outcome": "won"}]') \g /dev/null
	SELECT pipelines.create_pipeline('Strict', mode => 'strict', stages => '[
		{"name": "A", "exit_rule": "amount, owner"},
		{"name": "B", "entry_rule": "amount, owner, expected_close_on", "exit_rule": "amount > 0 AND owner IS NOT NULL"},
		{"name": "C", "entry_rule": "amount > 0 AND owner IS NOT NULL"}, "D", {"name": "Won", "outcome": "won"}]') \g /dev/null
	SELECT pipelines.create_deals('free') \g /dev/null
	SELECT pipelines.create_deals('strict') \g /dev/null
	INSERT INTO free (name, owner, amount, expected_close_on, pipeline_id)
	SELECT 'Deal number ' || g || ' of a customer', 'owner ' || g % 200, g * 7.25, '2026-12-31', 1 FROM generate_series(1, $deals) g;
	INSERT INTO strict (name, owner, amount, expected_close_on, pipeline_id)
	SELECT 'Deal number ' || g || ' of a customer', 'owner ' || g % 200, g * 7.25, '2026-12-31', 2 FROM generate_series(1, $deals) g;
	VACUUM ANALYZE free; VACUUM ANALYZE strict;
END

# processor time of one statement (in a session of its own, warmed up)
cpu_of() { # statement
	sql -c "SELECT cpu() AS c \gset" -c "SELECT pipelines.pipeline_id('Free') \g /dev/null" >/dev/null 2>&1 || true
	sql <<-END | tail -n 1
		SELECT pipelines.pipeline_id('Free') \g /dev/null
		SELECT cpu() AS c \gset
		$1 \g /dev/null
		SELECT cpu() - :c;
	END
}
stage() { sql -c "SELECT pipelines.stage_id('Free', '$1')"; }
a=$(stage A) b=$(stage B) c=$(stage C)

# A -> B -> C -> A: the way back is free in both
free=() strict=()
for turn in $(seq 1 "$turns"); do
	for to in "$b" "$c" "$a"; do
		sql -c 'VACUUM free' -c 'VACUUM strict' -c CHECKPOINT
		x=$(cpu_of "UPDATE free SET stage_id = $to")
		y=$(cpu_of "UPDATE strict SET stage_id = $to")
		[ "$to" = "$a" ] || { free+=("$x") strict+=("$y"); }
	done
done
report 'moves in strict mode with required fields, against free mode' 'at most 1.1' \
	"$(printf '%s\n' "${strict[@]}" | median)" "$(printf '%s\n' "${free[@]}" | median)"

# half of the deals, by move_many() and by UPDATE
half=$((deals / 2))
plain=() many=() skip=()
ids="(SELECT array_agg(deal_id::text) FROM free WHERE deal_id <= $half)"
for turn in $(seq 1 "$turns"); do
	sql -c 'VACUUM free' -c CHECKPOINT
	plain+=("$(cpu_of "UPDATE free SET stage_id = $b WHERE deal_id <= $half")")
	sql -c 'VACUUM free' -c CHECKPOINT
	many+=("$(cpu_of "SELECT count(*) FROM pipelines.move_many('free', $ids, 'C')")")
	sql -c 'VACUUM free' -c CHECKPOINT
	skip+=("$(cpu_of "SELECT count(*) FROM pipelines.move_many('free', $ids, 'A', on_refuse => 'skip')")")
done
report "move_many() of $half deals, against the plain UPDATE" 'at most 1.5' \
	"$(printf '%s\n' "${many[@]}" | median)" "$(printf '%s\n' "${plain[@]}" | median)"
report "the same with on_refuse => 'skip'" 'at most 1.5' \
	"$(printf '%s\n' "${skip[@]}" | median)" "$(printf '%s\n' "${plain[@]}" | median)"

# adoption, against one UPDATE of one column of all rows
seconds() { # statement
	sql -c '\timing on' -c "$1" | sed -n 's/^Time: \([0-9.]*\) ms.*/\1/p' | tail -n 1
}
make_table() {
	sql <<-END
		DROP TABLE IF EXISTS opportunity, opportunity_history, opportunity_activity CASCADE;
		CREATE TABLE opportunity (id bigint PRIMARY KEY, title text NOT NULL, customer text, state text NOT NULL,
			value numeric(12, 2), close_on date, rep text, created timestamptz NOT NULL DEFAULT now(), note text);
		INSERT INTO opportunity SELECT g, 'Opportunity ' || g, 'customer ' || g % 5000,
			(ARRAY['new', 'qualified', 'proposal', 'won', 'lost'])[1 + g % 5], g * 1.25, date '2026-01-01' + g % 500,
			'rep ' || g % 100, now(), repeat('x', 40) FROM generate_series(1, $adopted) g;
		VACUUM ANALYZE opportunity; CHECKPOINT;
	END
}
adopt() { # layout
	seconds "SELECT pipelines.adopt('opportunity', stage => 'state', amount => 'value', close_date => 'close_on', owner => 'rep', layout => '$1', apply => true)"
}
update=() adoption=()
for turn in 1 2 3; do
	make_table
	update+=("$(seconds "UPDATE opportunity SET note = 'y'")")
	make_table
	adoption+=("$(adopt "bench $turn")")
	sql -c "SELECT pipelines.release('opportunity')" >/dev/null
done
report "adoption of $adopted rows, against one UPDATE of one column" 'at most 2' \
	"$(printf '%s\n' "${adoption[@]}" | median)" "$(printf '%s\n' "${update[@]}" | median)"
