#!/usr/bin/env bash
#
# check.sh quick|all: every suite there is, on throwaway clusters.
#
# Suites: the mechanical house rules, and that every error is in a test; a build
# without a warning; pg_regress (REGRESS in the Makefile); isolation
# (test/isolation); TAP (test/t); the demo, which must play through.  Two lanes
# run at a time: pg_regress, isolation and demo on a cluster of their own, and the
# TAP files, which make their own, two at a time.
# `all` runs pg_regress twice more: with a library that has no integers of 128 bits,
# and with an extension that was updated to a next version (test/upgrade/next.pl).
#
# Counted are every regress file, every isolation spec, every single TAP
# assertion, and the demo as one; house rules, build and preparation only count
# when they fail.  The last line is always `N passed, N failed[, N skipped]`;
# the exit code is zero when something passed and nothing failed.
#
# `all` sets PIPELINES_TEST_ALL=1, which TAP tests with a long variant obey.
# PIPELINES_DATA names the folder of real data (default: ../shared/data beside
# the project, where there is one); tests that need it skip without.
# KEEP_SCRATCH=1 keeps the clusters' files and logs.  ONLY="regress tap" chooses
# suites; REGRESS_TESTS="moves ..." and PROVE_TESTS="test/t/a.pl ..." choose files;
# TEST_LIMIT is how many seconds a suite, or a TAP file, may take.  TEST_COPT are
# further flags of the compiler, TEST_PRELOAD libraries that servers load first,
# TEST_SETTINGS lines of postgresql.conf for regress and isolation, TEST_BEFORE a
# command that runs in the copy of the project before it is built, TEST_AFTER one
# that runs there at the end; TEST_INSTALL=1 installs into the server, too, where
# that has a private install tree (test/matrix uses these).
#
set -u
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

extent=${1:-quick}
only=${ONLY:-style regress isolation tap demo}
case $extent in
quick)
	limit=${TEST_LIMIT:-1500}
	;;
all)
	limit=${TEST_LIMIT:-7200}
	export PIPELINES_TEST_ALL=1
	;;
*) die "usage: check.sh quick|all" ;;
esac

passed=0 failed=0 skipped=0
ok() {
	passed=$((passed + 1))
	printf 'ok      %s\n' "$1"
}
not_ok() {
	failed=$((failed + 1))
	printf 'FAILED  %s\n' "$1"
}
skip() {
	skipped=$((skipped + 1))
	printf 'skipped %s\n' "$1"
}
summary() {
	printf '\n%d passed, %d failed' "$passed" "$failed"
	[ "$skipped" -eq 0 ] || printf ', %d skipped' "$skipped"
	printf '\n'
	[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
	exit
}
wants() { case " $only " in *" $1 "*) ;; *) return 1 ;; esac }

bash "$root/test/prepare.sh" test || {
	not_ok 'preparation'
	summary
}
find_postgres || die 'no PostgreSQL'
choose_user
make_scratch check

if wants style; then
	heading 'House rules'
	if perl "$root/test/style.pl"; then say 'kept'; else not_ok 'house rules'; fi
	perl "$root/test/errors.pl" || not_ok 'errors that are in no test'
fi

heading "Build for $("$pg_config" --version)"
tree=$scratch/project
copy_project "$tree"
if [ -n "${TEST_BEFORE:-}" ]; then
	(cd "$tree" && as_user bash -c "$TEST_BEFORE") || not_ok "$TEST_BEFORE"
fi
if build_extension "$tree" "$scratch/install" COPT="$strict_flags${TEST_COPT:+ $TEST_COPT}"; then
	say 'built without a warning'
else
	not_ok 'build'
	summary
fi
settings=$(install_settings "$scratch/install")
if [ -n "${TEST_INSTALL:-}" ] && [ -n "$settings" ]; then
	make -C "$tree" --no-print-directory -s PG_CONFIG="$pg_config" with_llvm=no \
		COPT="$strict_flags${TEST_COPT:+ $TEST_COPT}" install || not_ok 'installation'
fi
if [ -n "${TEST_INSTALL:-}" ]; then
	# what upgrades from an older server needs us there
	for config in /usr/lib/postgresql/*/bin/pg_config; do
		older=$("$config" --version) && older=${older#PostgreSQL } && older=${older%%[!0-9]*}
		[ "$older" -lt "$major" ] || continue
		copy_project "$scratch/older$older"
		# its headers are of the language before C23
		as_user make -C "$scratch/older$older" --no-print-directory -s -j"$(nproc)" PG_CONFIG="$config" with_llvm=no COPT=-std=gnu17 &&
			make -C "$scratch/older$older" --no-print-directory -s PG_CONFIG="$config" with_llvm=no install ||
			not_ok "installation for $older"
	done
fi

# ----- real data, by path where the user can read it, else as a copy
data=${PIPELINES_DATA:-$root/../shared/data}
unset PIPELINES_DATA
if [ -d "$data" ]; then
	data=$(cd "$data" && pwd)
	if ! as_user test -r "$data" || [ -n "$(as_user find "$data" ! -readable 2>&1 | head -n 1)" ]; then
		as_user mkdir "$scratch/data"
		tar -C "$data" -cf - . | as_user tar -C "$scratch/data" --no-same-owner -xf -
		data=$scratch/data
	fi
	export PIPELINES_DATA=$data
fi

# ----- lane 1: pg_regress and isolation
listed() { sed -n "s/^$1 *//p" "$scratch/tests"; }
as_user make -C "$tree" --no-print-directory -s PG_CONFIG="$pg_config" show-tests >"$scratch/tests"

installcheck() { # log, arguments of make
	local log=$1
	shift
	as_user timeout -k 10 "$limit" make -C "$tree" --no-print-directory -s \
		PG_CONFIG="$pg_config" with_llvm=no PGHOST="$scratch/server" PGPORT=54329 PGUSER=postgres \
		"$@" installcheck >"$log" 2>&1 </dev/null
	echo "exit $?" >>"$log"
}

lane_installcheck() {
	start_cluster "$scratch/server" 54329 <<-END
		$settings
		fsync = off
		max_prepared_transactions = 10
		wal_level = minimal
		max_wal_senders = 0
		timezone = 'UTC'
		${TEST_SETTINGS:-}
	END
	if wants regress && [ -n "$(listed regress)" ]; then
		installcheck "$scratch/regress.log" ISOLATION= ${REGRESS_TESTS:+REGRESS="$REGRESS_TESTS"}
	fi
	if wants isolation && [ -n "$(listed isolation)" ]; then
		installcheck "$scratch/isolation.log" REGRESS=
	fi
	if wants demo; then
		as_user "$bindir/createdb" -h "$scratch/server" -p 54329 -U postgres dealer &&
			play_demo "$scratch/server" 54329 dealer >"$scratch/demo.log" 2>&1
		echo "exit $?" >>"$scratch/demo.log"
	fi
	stop_server "$scratch/server"
}

# pg_regress prints `test name ... ok` until 15, and TAP from 16 on.
read_installcheck() { # suite, its files
	local suite=$1 log=$scratch/$1.log seen=0 line name
	shift
	[ $# -gt 0 ] || return 0
	heading "$suite"
	while read -r line; do
		name=$(sed -E 's/^(test|ok [0-9]+|not ok [0-9]+) +[-+]? *([^ ]+).*/\2/' <<<"$line")
		seen=$((seen + 1))
		case $line in
		ok*' # SKIP'*) skip "$name" ;;
		ok*) ok "$name" ;;
		not\ ok*) not_ok "$name" ;;
		*FAILED* | *failed*) not_ok "$name" ;;
		test*' ok '*) ok "$name" ;;
		*) not_ok "$name" ;;
		esac
	done < <(grep -E '^(test |ok [0-9]|not ok [0-9])' "$log" 2>/dev/null)
	if [ "$seen" -lt $# ]; then
		not_ok "$suite: only $seen of $# files ran"
	fi
	if ! grep -qx 'exit 0' "$log" 2>/dev/null; then
		case $suite in
		regress) show_failure "$log" "$tree/regression.diffs" ;;
		isolation) show_failure "$log" "$tree/output_iso/regression.diffs" ;;
		esac
		crashed "$scratch/server/log"
	fi
}

# The differences, or where it didn't come to that, all that was said.
show_failure() { # log, differences
	if [ -s "$2" ]; then
		head -n 1000 "$2"
		[ "$(wc -l <"$2")" -le 1000 ] || say '... and so on (KEEP_SCRATCH=1 keeps the whole)'
	elif [ -f "$1" ]; then
		cat "$1"
	else
		cat "$scratch/lane.log"
	fi
}

# What a server log says about a crash, if there was one.
crashed() {
	grep -hE 'PANIC|TRAP|was terminated by signal|server process .* exited' "$1" 2>/dev/null | head -n 20
}

# ----- lane 2: TAP
perl_modules=$(dirname "$("$pg_config" --pgxs)")/../test/perl

tap_missing() {
	if ! perl -I"$perl_modules" -MPostgreSQL::Test::Cluster -MPostgreSQL::Test::Utils -e 1 2>/dev/null; then
		say "this server's packages bring no PostgreSQL::Test::Cluster"
	fi
}

lane_tap() {
	as_user mkdir "$scratch/tap"
	# read by each cluster that a TAP test makes
	printf '%s\n' "$settings" 'fsync = off' | as_user tee "$scratch/tap.conf" >/dev/null
	# each of some fifty clusters begins as a copy of one: the test modules of 17 do
	# that themselves, those before call initdb like this
	as_user "$bindir/initdb" -D "$scratch/template" -A trust -N >/dev/null || return
	as_user mkdir "$scratch/bin"
	as_user tee "$scratch/bin/initdb" >/dev/null <<-END
		#!/bin/sh
		if [ "\$1 \$3 \$4 \$5 \$#" = '-D -A trust -N 5' ]; then
			exec cp -a '$scratch/template' "\$2"
		fi
		exec '$bindir/initdb' "\$@"
	END
	as_user chmod +x "$scratch/bin/initdb"
	cd "$tree" || return
	as_user env PATH="$scratch/bin:$bindir:$PATH" INITDB_TEMPLATE="$scratch/template" PERL5LIB="$perl_modules${PERL5LIB:+:$PERL5LIB}" \
		TESTDIR="$tree" TESTDATADIR="$tree/tmp_check" TESTLOGDIR="$tree/tmp_check/log" PGPORT=65432 PG_CONFIG="$pg_config" TEMP_CONFIG="$scratch/tap.conf" \
		PERL_TEST_HARNESS_DUMP_TAP="$scratch/tap" \
		PG_REGRESS="$(dirname "$("$pg_config" --pgxs)")/../test/regress/pg_regress" \
		TAP_LIMIT="$limit" ${TEST_PRELOAD:+LD_PRELOAD="$TEST_PRELOAD"} \
		perl test/tap.pl $PROVE_TESTS >"$scratch/tap.log" 2>&1 </dev/null
	echo "exit $?" >>"$scratch/tap.log"
}

read_tap() {
	local counts
	heading 'tap'
	grep -vE '^(exit|counts) ' "$scratch/tap.log"
	counts=$(sed -n 's/^counts //p' "$scratch/tap.log")
	if [ -z "$counts" ]; then
		not_ok 'tap: the runner came to no end'
		return
	fi
	set -- $counts
	passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
}

# ----- both
running_tap=
tap_files=$(cd "$tree" && compgen -G "test/t/*.pl")
if wants tap && [ -n "${PROVE_TESTS:=$tap_files}" ]; then
	reason=$(tap_missing)
	if [ -n "$reason" ]; then
		skip "tap: $reason"
	else
		running_tap=yes
	fi
fi

heading "Running $(listed regress | wc -w) regress files, $(listed isolation | wc -w) isolation specs, $(wc -w <<<"${running_tap:+$PROVE_TESTS}") TAP files"
set -m # each lane is a process group, which can be ended as a whole
lane_installcheck >"$scratch/lane.log" 2>&1 &
lane=$!
if [ -n "$running_tap" ]; then
	lane_tap &
	wait $!
fi
wait "$lane" || cat "$scratch/lane.log"
set +m

if wants regress; then
	read_installcheck regress ${REGRESS_TESTS:-$(listed regress)}
fi
if wants isolation; then
	read_installcheck isolation $(listed isolation)
	if [ -z "$(listed isolation)" ] && compgen -G "$tree/test/isolation/specs/*.spec" >/dev/null; then
		skip "isolation: this server's packages bring no isolation tester"
	fi
fi
if wants demo; then
	heading 'demo'
	# to the end, and with one error: the move that is refused
	if grep -qx 'exit 0' "$scratch/demo.log" && [ "$(grep -c '^ERROR:' "$scratch/demo.log")" -eq 1 ]; then
		ok 'demo'
	else
		not_ok 'demo'
		tail -n 60 "$scratch/demo.log"
	fi
fi
[ -z "$running_tap" ] || read_tap
if [ -n "${TEST_AFTER:-}" ]; then
	(cd "$tree" && as_user bash -c "$TEST_AFTER") || not_ok "$TEST_AFTER"
fi
# The regress files once more, in a run of their own.  What stands before its name
# is set for it.
again() { # name, heading, settings
	local name=$1 said=$2 log=$scratch/$1.log
	shift 2
	heading "$said"
	if env "$@" ONLY=regress bash "$root/test/check.sh" quick >"$log" 2>&1 </dev/null; then
		ok "regress, $name: $(tail -n 1 "$log")"
	else
		not_ok "regress, $name"
		tail -n 60 "$log"
	fi
}
if [ "$extent" = all ] && wants regress && [ -z "${TEST_COPT:-}" ]; then
	# all but the test that reads states with such integers, which are refused there
	again 'narrow' 'Without integers of 128 bits, which not every compiler has' \
		TEST_COPT=-DPIPELINES_NO_INT128 REGRESS_TESTS="$(listed regress | sed 's/ *aggregate_states//')"
fi
if [ "$extent" = all ] && wants regress && [ -z "${TEST_BEFORE:-}${TEST_INSTALL:-}" ] && [ -n "$settings" ]; then
	again 'updated' 'With an extension that was updated from the version before' \
		TEST_BEFORE="perl test/upgrade/next.pl '$pg_config'" \
		TEST_AFTER="grep -q 'pipelines is now at version' ../server/log"
fi
summary
