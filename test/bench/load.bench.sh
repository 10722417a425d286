#!/usr/bin/env bash
#
# A day in a CRM: people add deals, move them, edit them, close and reopen them,
# look at boards, lists, lives and forecasts, and now and then move many at once;
# 1, 4 and 16 at a time.
#
# The same script runs in turns on our tables and on bare ones: a twin of the
# table without a trigger, without history, with the indexes and with views that
# say what ours say of the present.  What the ratio shows is the price of judging
# and remembering every change, reports included.  Then it is counted: no
# deadlock, no failed transaction, a history row for each version that ended, and
# verify() has nothing to say.  Else this benchmark fails.
#
# BENCH_SECONDS (default 60) is how long each number of people works on each of
# the tables, for the day as a whole and for its changes alone: twelve minutes in
# all.  BENCH_DEALS (default 50000) deals there are at the beginning.
#
set -eu
deals=${BENCH_DEALS:-50000}
seconds=${BENCH_SECONDS:-60}
scripts=$(mktemp -d)
trap 'rm -rf "$scripts"' EXIT
sql() { psql -XAtq -v ON_ERROR_STOP=1 "$@"; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN {printf "%.3f", (b > 0) ? a / b : 0}'; }

sql <<-END
	CREATE EXTENSION pipelines;
	SELECT pipelines.create_pipeline('Sales', stages => '[
		{"name": "New", "probability": 10, "stall_limit": "14 days"}, {"name": "Meeting", "probability": 25}, {"name": "Quote", "probability": 50},
		{"name": "Talks", "probability": 75}, {"name": "Won", "outcome": "won"}, {"name": "Lost", "outcome": "lost"}]') \g /dev/null
	SELECT pipelines.create_deals('deals', currency => 'EUR') \g /dev/null
	INSERT INTO deals (name, account, owner, source, amount, expected_close_on, stage_id)
	SELECT 'Deal number ' || g, 'Account ' || g % 5000, 'owner ' || g % 200, (ARRAY['web', 'fair', 'phone'])[1 + g % 3],
		round((g::bigint * 7919 % 1000000) / 7.0, 2), current_date + g % 300 - 30, 1 + g % 4
	FROM generate_series(1, $deals) AS g;
	CREATE TABLE bare (LIKE deals INCLUDING ALL);
	INSERT INTO bare SELECT * FROM deals;
	SELECT setval(pg_get_serial_sequence('bare', 'deal_id'), $deals) \g /dev/null
	ALTER TABLE bare
		ALTER pipeline_id SET DEFAULT 1, ALTER stage_id SET DEFAULT 1,
		ALTER created_at SET DEFAULT now(), ALTER created_by SET DEFAULT 'somebody',
		ALTER stage_entered_at SET DEFAULT now(), ALTER furthest_stage_id SET DEFAULT 1,
		ALTER episode SET DEFAULT 1, ALTER version SET DEFAULT 1, ALTER changed_at SET DEFAULT now();
	CREATE INDEX ON deals (owner) WHERE closed_at IS NULL;
	CREATE INDEX ON bare (owner) WHERE closed_at IS NULL;
	-- what ours say of the present, as one would write it
	CREATE VIEW bare_board AS
		SELECT s.stage_id, s.position, count(d.deal_id) AS deals, sum(d.amount) AS amount,
			sum(d.amount * coalesce(d.probability, s.probability) / 100) AS weighted,
			avg(extract(epoch FROM now() - d.stage_entered_at) / 86400) AS avg_days_in_stage
		FROM pipelines.pipeline_stage AS s LEFT JOIN bare AS d USING (pipeline_id, stage_id)
		GROUP BY s.stage_id, s.position;
	CREATE VIEW bare_forecast AS
		SELECT date_trunc('month', coalesce(d.closed_on, d.expected_close_on)) AS month, d.owner, count(*) AS deals,
			sum(d.amount) FILTER (WHERE s.outcome = 'open') AS pipeline,
			sum(d.amount * coalesce(d.probability, s.probability) / 100) FILTER (WHERE s.outcome = 'open') AS weighted,
			sum(d.amount) FILTER (WHERE s.outcome = 'won') AS won, sum(d.amount) FILTER (WHERE s.outcome = 'lost') AS lost
		FROM bare AS d JOIN pipelines.pipeline_stage AS s USING (pipeline_id, stage_id)
		GROUP BY 1, 2;
	VACUUM ANALYZE;
END

# One script of each kind of work for a table; the bare one does the bookkeeping
# that its application would do, its instant and the day of closing.
write_scripts() { # table
	local t=$1 moved='' closed='' reopened='' d=$scripts/$1
	if [ "$t" = bare ]; then
		moved=', stage_entered_at = now()'
		closed=', stage_entered_at = now(), closed_at = now(), closed_on = current_date'
		reopened=', stage_entered_at = now(), closed_at = NULL, closed_on = NULL'
	fi
	local id="\\set id random(1, $deals)"
	printf '%s\n' '\set n random(1, 1000000)' \
		"INSERT INTO $t (name, account, owner, source, amount, expected_close_on) VALUES ('New ' || :n, 'Account ' || :n % 5000, 'owner ' || :n % 200, 'web', :n / 10.0, current_date + (:n % 200)::integer);" >"$d.add"
	printf '%s\n' "$id" '\set s random(2, 4)' "UPDATE $t SET stage_id = :s$moved WHERE deal_id = :id AND closed_at IS NULL;" >"$d.move"
	printf '%s\n' "$id" '\set n random(1, 1000000)' \
		"UPDATE $t SET amount = :n / 10.0, expected_close_on = current_date + (:n % 200)::integer, next_action_at = now() + interval '3 days' WHERE deal_id = :id;" >"$d.edit"
	printf '%s\n' "$id" "UPDATE $t SET name = name || '.' WHERE deal_id = :id AND length(name) < 40;" >"$d.rename"
	printf '%s\n' "$id" "UPDATE $t SET stage_id = 5$closed WHERE deal_id = :id AND closed_at IS NULL;" >"$d.win"
	printf '%s\n' "$id" "UPDATE $t SET stage_id = 6, close_reason = 'price'$closed WHERE deal_id = :id AND closed_at IS NULL;" >"$d.lose"
	printf '%s\n' "$id" "UPDATE $t SET stage_id = 3$reopened WHERE deal_id = :id AND closed_at IS NOT NULL;" >"$d.reopen"
	printf '%s\n' '\set o random(0, 199)' \
		"SELECT deal_id, name, amount, stage_id, expected_close_on FROM $t WHERE owner = 'owner ' || :o AND closed_at IS NULL ORDER BY expected_close_on LIMIT 25;" >"$d.list"
	printf '%s\n' "$id" "BEGIN;" "SELECT * FROM $t WHERE deal_id = :id;" "UPDATE $t SET stage_id = 2 + (stage_id + 1) % 3$moved WHERE deal_id = :id AND closed_at IS NULL;" \
		"UPDATE $t SET next_action_at = now() + interval '1 day' WHERE deal_id = :id;" "COMMIT;" >"$d.work"
	printf '%s\n' '\set o random(0, 199)' '\set s random(2, 4)' \
		"WITH l AS (SELECT deal_id FROM $t WHERE owner = 'owner ' || :o AND closed_at IS NULL ORDER BY deal_id LIMIT 30 FOR UPDATE) UPDATE $t AS d SET stage_id = :s$moved FROM l WHERE d.deal_id = l.deal_id;" >"$d.many"
	printf '%s\n' "SELECT * FROM ${t}_board ORDER BY position;" >"$d.board"
	printf '%s\n' '\set o random(0, 199)' "SELECT * FROM ${t}_forecast WHERE owner = 'owner ' || :o ORDER BY month;" >"$d.forecast"
}
write_scripts deals
write_scripts bare
writes='add@12 move@24 edit@24 rename@4 win@4 lose@4 reopen@3 work@10 many@1'
day="$writes list@30 board@1 forecast@1"

# half of the time, since both sides take turns: transactions per second
run() { # table, clients, work
	local files=() kind
	for kind in $3; do files+=(-f "$scripts/$1.$kind"); done
	pgbench -n -M prepared -c "$2" -j "$(($2 < 4 ? $2 : 4))" -T "$((seconds / 2 > 0 ? seconds / 2 : 1))" \
		"${files[@]}" >"$scripts/out" 2>"$scripts/said" || cat "$scripts/said" >&2
	# a failed transaction is counted since 15, a client that gave up says so
	failed=$((failed + $(awk '/^number of failed transactions:/ {n += $5} END {print n + 0}' "$scripts/out") +
		$(grep -cE 'aborted|ERROR' "$scripts/said" || true)))
	tps=$(sed -n 's/^tps = \([0-9.]*\) .*/\1/p' "$scripts/out" | tail -n 1)
}
mean() { awk -v a="$1" -v b="$2" 'BEGIN {printf "%.1f", (a + b) / 2}'; }

bad=0
database="SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
deadlocks=$(sql -c "$database")
for work in everything 'changes only'; do
	list=$writes
	[ "$work" != everything ] || list=$day
	for clients in 1 4 16; do
		sql -c 'VACUUM ANALYZE deals' -c 'VACUUM ANALYZE bare' -c 'VACUUM ANALYZE deals_history' -c CHECKPOINT
		before=$(sql -c 'SELECT count(*) FROM deals_history')
		failed=0 ours=() base=()
		for turn in 1 2; do
			run bare "$clients" "$list"
			base+=("${tps:-0}")
			run deals "$clients" "$list"
			ours+=("${tps:-0}")
		done
		x=$(mean "${ours[@]}") y=$(mean "${base[@]}")
		written=$(sql -c "SELECT count(*) - $before FROM deals_history")
		lost=$(sql -c 'SELECT (SELECT sum(version - 1) FROM deals) - (SELECT count(*) FROM deals_history)')
		printf '{"bench": "a day in a CRM (%s) by %s client(s), transactions per second against bare tables", "ratio": %s, "ours": %s, "base": %s, "seconds": %s, "history_rows": %s, "lost": %s, "failed": %s}\n' \
			"$work" "$clients" "$(ratio "$x" "$y")" "$x" "$y" "$seconds" "$written" "$lost" "$failed"
		[ "$lost" = 0 ] && [ "$failed" = 0 ] && [ "$written" -gt 0 ] || bad=1
	done
done
problems=$(sql -c "SELECT count(*) FROM pipelines.verify('deals')")
deadlocks=$(($(sql -c "$database") - deadlocks))
[ "$problems" = 0 ] && [ "$deadlocks" = 0 ] || bad=1
sql <<-SUM
	SELECT json_build_object('bench', 'a day in a CRM, what is left of it', 'deals', (SELECT count(*) FROM deals),
		'history_rows', (SELECT count(*) FROM deals_history), 'problems', $problems, 'deadlocks', $deadlocks)
SUM
exit $bad
