#!/usr/bin/env bash
#
# Changing deals, and looking back, on a million deals of normal width.
#
# Every comparison is made in turns on the same rows, and
# the median of the turns counts.  "Without triggers" is a twin of the table
# that never had any (a disabled BEFORE trigger still makes PostgreSQL lock each
# row first); what is written by hand goes to that twin and a twin of its
# history, indexes included.
#
# BENCH_DEALS (default 1000000) and BENCH_TURNS (default 5) make it smaller.
#
set -eu
deals=${BENCH_DEALS:-1000000}
turns=${BENCH_TURNS:-5}
copies=$(mktemp -d)
trap 'rm -rf "$copies"' EXIT
sql() { psql -XAtq -v ON_ERROR_STOP=1 "$@"; }

# milliseconds of one statement (the last -c), after settings (the others)
timed() {
	sql -c '\timing on' "$@" | sed -n 's/^Time: \([0-9.]*\) ms.*/\1/p' | tail -n 1
}
median() { sort -g | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'; }
report() { # name, ratio, target, figures of both sides
	printf '{"bench": "%s", "ratio": %s, "target": "%s", "ours": %s, "base": %s}\n' "$@"
}
ratio() { awk -v a="$1" -v b="$2" 'BEGIN {printf "%.3f", a / b}'; }

# Run both sides in turns: each is a function of the turn's number.
compare() { # name, target, ours, base
	local a=() b=() turn x y
	for turn in $(seq 1 "$turns"); do
		sql -c 'VACUUM deals' -c 'VACUUM twin' -c CHECKPOINT
		x=$("$3" "$turn")
		sql -c 'VACUUM deals' -c 'VACUUM twin' -c CHECKPOINT
		y=$("$4" "$turn")
		a+=("$x") b+=("$y")
	done
	x=$(printf '%s\n' "${a[@]}" | median)
	y=$(printf '%s\n' "${b[@]}" | median)
	report "$1" "$(ratio "$x" "$y")" "$2" "$x" "$y"
}

sql <<-END
	CREATE EXTENSION pipelines;
	SELECT pipelines.create_pipeline('Sales', template => 'standard') \g /dev/null
	SELECT pipelines.create_deals('deals') \g /dev/null
	CREATE UNLOGGED TABLE source AS
	SELECT g::bigint AS deal_id, 'Deal number ' || g || ' of a customer' AS name,
		'Account ' || g % 20000 AS account, 'owner ' || g % 200 AS owner,
		(ARRAY['web', 'fair', 'phone'])[1 + g % 3] AS source,
		round((g::bigint * 7919 % 1000000) / 7.0, 2) AS amount,
		(ARRAY['EUR', 'USD'])[1 + g % 2] AS currency,
		date '2026-01-01' + g % 600 AS expected_close_on
	FROM generate_series(1, $deals) AS g;
	COPY source TO STDOUT \g '$copies/source'
	CREATE TABLE bare (LIKE deals INCLUDING ALL);
	ALTER TABLE bare
		ALTER pipeline_id SET DEFAULT 1, ALTER stage_id SET DEFAULT 1,
		ALTER created_at SET DEFAULT now(), ALTER created_by SET DEFAULT 'somebody',
		ALTER stage_entered_at SET DEFAULT now(), ALTER furthest_stage_id SET DEFAULT 1,
		ALTER episode SET DEFAULT 1, ALTER version SET DEFAULT 1, ALTER changed_at SET DEFAULT now();
END

columns='deal_id, name, account, owner, source, amount, currency, expected_close_on'
copy_deals() {
	sql -c 'SET session_replication_role = replica' -c 'TRUNCATE deals'
	sql -c CHECKPOINT
	timed -c "COPY deals ($columns) FROM STDIN" <"$copies/source"
}
copy_bare() {
	sql -c 'TRUNCATE bare' -c CHECKPOINT
	timed -c "COPY bare ($columns) FROM STDIN" <"$copies/source"
}
a=() b=()
for turn in $(seq 1 3); do
	a+=("$(copy_deals)") b+=("$(copy_bare)")
done
x=$(printf '%s\n' "${a[@]}" | median)
y=$(printf '%s\n' "${b[@]}" | median)
report 'COPY of deals, against COPY into the bare table' "$(ratio "$x" "$y")" 'at most 1.6' "$x" "$y"
sql -c 'DROP TABLE bare'

# the twin: the same rows, indexes and history, no triggers
sql <<-END
	CREATE TABLE twin (LIKE deals INCLUDING ALL);
	INSERT INTO twin SELECT * FROM deals;
	CREATE TABLE twin_history (LIKE deals_history INCLUDING ALL);
	VACUUM ANALYZE deals; VACUUM ANALYZE twin; ANALYZE deals_history; ANALYZE twin_history;
END

# a fifth of the deals moves to another of the first four stages
next='(SELECT array_agg(stage_id ORDER BY position) FROM pipelines.pipeline_stage WHERE pipeline_id = 1 AND outcome = '"'open'"')'
stages=$(sql -c "SELECT $next")
target="(ARRAY[${stages//[\{\}]/}])[1 + (stage_id + 1) % 4]"
part() { echo "deal_id % 5 = $(($1 % 5))"; }
bookkeeping='stage_entered_at = now(), furthest_stage_id = 3, episode = 1, version = version + 1, changed_at = now()'

ours() { timed -c "UPDATE deals SET stage_id = $target WHERE $(part "$1")"; }
without_triggers() { timed -c "UPDATE twin SET stage_id = $target, $bookkeeping WHERE $(part "$1")"; }
history_columns=$(sql -c "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
	WHERE attrelid = 'deals_history'::regclass AND attnum > 0 AND NOT attisdropped")
# the history row of an old row 'o' and its successor 'n', in that order
history_values=$(sql -c "SELECT string_agg(CASE attname
		WHEN 'change' THEN '''move''' WHEN 'valid_from' THEN 'o.changed_at' WHEN 'valid_to' THEN 'n.changed_at'
		WHEN 'to_pipeline_id' THEN 'n.pipeline_id' WHEN 'to_stage_id' THEN 'n.stage_id'
		WHEN 'skipped_stages' THEN 'NULL::integer[]' WHEN 'actor' THEN 'session_user::text'
		WHEN 'role_name' THEN 'current_user::text'
		WHEN 'application_name' THEN 'pg_catalog.current_setting(''application_name'')'
		WHEN 'reason' THEN 'NULL::text' WHEN 'batch' THEN 'NULL::text'
		WHEN 'txid' THEN 'pg_catalog.txid_current()' WHEN 'recorded_at' THEN 'now()'
		WHEN 'bypassed' THEN 'false' WHEN 'imported' THEN 'false'
		ELSE 'o.' || quote_ident(attname) END, ', ' ORDER BY attnum)
	FROM pg_attribute WHERE attrelid = 'deals_history'::regclass AND attnum > 0 AND NOT attisdropped")
old_columns=$(sql -c "SELECT string_agg('o.' || quote_ident(attname) || ' AS o_' || attname, ', ')
	FROM pg_attribute WHERE attrelid = 'twin'::regclass AND attnum > 0 AND NOT attisdropped")
cte_values=$(printf '%s' "$history_values" | sed 's/o\.\([a-z_]*\)/u.o_\1/g; s/n\.\([a-z_]*\)/u.n_\1/g')
by_hand_statement() { # the WHERE clause
	cat <<-END
		WITH u AS (
			UPDATE twin AS d SET stage_id = ${target//stage_id/d.stage_id}, stage_entered_at = now(),
				furthest_stage_id = 3, version = d.version + 1, changed_at = now()
			FROM twin AS o WHERE o.deal_id = d.deal_id AND $1
			RETURNING $old_columns, d.pipeline_id AS n_pipeline_id, d.stage_id AS n_stage_id, d.changed_at AS n_changed_at)
		INSERT INTO twin_history ($history_columns) SELECT $cte_values FROM u
	END
}
by_hand() { timed -c "$(by_hand_statement "d.$(part "$1")")"; }

compare '200,000 deals moved, against the same without triggers' 'at most 1.45' ours without_triggers
compare '200,000 deals moved, against UPDATE and INSERT by hand' 'at most 0.95' ours by_hand

sql <<-END
	CREATE FUNCTION remember() RETURNS trigger LANGUAGE plpgsql AS \$\$
	DECLARE o twin := OLD; n twin := NEW;
	BEGIN
		INSERT INTO twin_history ($history_columns) VALUES ($history_values);
		RETURN NULL;
	END \$\$;
	CREATE TRIGGER remember AFTER UPDATE ON twin FOR EACH ROW EXECUTE FUNCTION remember();
END
by_row_trigger() { timed -c "UPDATE twin SET stage_id = $target, $bookkeeping WHERE $(part "$1")"; }
compare '200,000 deals moved, against a PL/pgSQL row trigger' 'at most 0.55' ours by_row_trigger
sql -c 'DROP FUNCTION remember CASCADE'

# single moves: transactions per second
cat >"$copies/ours.sql" <<-END
	\set id random(1, $deals)
	UPDATE deals SET stage_id = $target WHERE deal_id = :id;
END
{
	echo "\\set id random(1, $deals)"
	echo "$(by_hand_statement 'd.deal_id = :id');"
} >"$copies/by_hand.sql"
tps() { # script, clients
	pgbench -n -M prepared -c "$2" -j "$2" -T "${BENCH_SECONDS:-8}" -f "$1" 2>/dev/null |
		sed -n 's/^tps = \([0-9.]*\) .*/\1/p' | tail -n 1
}
for clients in 1 4; do
	a=() b=()
	for turn in $(seq 1 3); do
		a+=("$(tps "$copies/ours.sql" $clients)") b+=("$(tps "$copies/by_hand.sql" $clients)")
	done
	x=$(printf '%s\n' "${a[@]}" | median)
	y=$(printf '%s\n' "${b[@]}" | median)
	report "single moves by $clients client(s), transactions per second against UPDATE and INSERT by hand" \
		"$(ratio "$x" "$y")" 'at least 1.0' "$x" "$y"
done

# a history of five versions a deal, evenly over two years, as it would have
# been written: in the order of time
sql <<-END
	SET session_replication_role = replica;
	ALTER TABLE deals_history DISABLE TRIGGER USER;
	TRUNCATE deals_history;
	CREATE TEMP TABLE turn AS
	SELECT d.deal_id, v AS version,
		now() - interval '730 days' * ((d.deal_id * 7919 % 1000003)::numeric / 1000003 / 6 + (5 - v)::numeric / 6) AS at
	FROM deals AS d, generate_series(0, 5) AS v;
	INSERT INTO deals_history ($history_columns)
	SELECT $(printf '%s' "$history_values" | sed "s/o\.version/u.version/; s/o\.changed_at/t.at/; s/n\.changed_at/u.at/; s/n\./o./g")
	FROM deals AS o JOIN turn AS t USING (deal_id) JOIN turn AS u ON u.deal_id = t.deal_id AND u.version = t.version + 1
	ORDER BY u.at;
	UPDATE deals SET version = 6, changed_at = t.at, stage_entered_at = t.at
	FROM turn AS t WHERE t.deal_id = deals.deal_id AND t.version = 5;
	ALTER TABLE deals_history ENABLE ALWAYS TRIGGER pipelines_guard;
	ALTER TABLE deals_history ENABLE ALWAYS TRIGGER pipelines_guard_truncate;
	VACUUM FULL ANALYZE deals;
	VACUUM ANALYZE deals_history;
END
week_back() { timed -c "SELECT count(*), sum(amount) FROM pipelines.as_of(NULL::deals, now() - interval '7 days')"; }
plain_scan() { timed -c 'SELECT count(*), sum(amount) FROM deals'; }
a=() b=()
for turn in $(seq 1 "$turns"); do
	a+=("$(week_back)") b+=("$(plain_scan)")
done
x=$(printf '%s\n' "${a[@]}" | median)
y=$(printf '%s\n' "${b[@]}" | median)
report 'as_of a week back, against a plain scan of the deals' "$(ratio "$x" "$y")" 'at most 2' "$x" "$y"
