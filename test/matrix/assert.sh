#!/usr/bin/env bash
#
# assert.sh [quick|all]: test/check.sh with a server that has assertions and
# marks for valgrind in its memory management (mkassert.sh), which is kept in
# the folder of the matrix.  `make assert`, `make valgrind` and `make discard`
# are this.
#
#   MEMORY=valgrind  its processes run under valgrind, which sees every access
#                    beyond a palloc'ed piece, to what was freed and to what was
#                    never set; whatever it says about us is a failure, whatever
#                    the tests say.  Twenty times as slow.
#   MEMORY=discard   every cache entry that may be forgotten is forgotten at
#                    once (debug_discard_caches).  A hundred times as slow.
#   ONLY, REGRESS_TESTS, PROVE_TESTS  as for check.sh
#
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../lib.sh"
find_postgres || die 'no PostgreSQL'
cache=${MATRIX_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pipelines-matrix}
server=$cache/assert$major
case $cache/ in
"$root"/*) die 'MATRIX_CACHE must lie outside the project' ;;
esac
[ -x "$server/bin/postgres" ] || bash "$here/mkassert.sh" "$major" "$server" || exit 1

reports=$(mktemp -d /tmp/pipelines-assert.XXXXXX)
chmod 1777 "$reports"
trap 'rm -rf "$reports"' EXIT
export PG_CONFIG=$server/bin/pg_config
export TEST_LIMIT=${TEST_LIMIT:-20000}

case ${MEMORY:-} in
valgrind)
	command -v valgrind >/dev/null || die 'valgrind is not installed'
	# the same server, but what its programs start is valgrind
	cp -a "$server" "$reports/server" && chmod 755 "$reports/server" || exit 1
	mv "$reports/server/bin/postgres" "$reports/server/bin/postgres.bare"
	# initdb's own processes are none of our concern
	cat >"$reports/server/bin/postgres" <<-END
		#!/bin/sh
		bare=\$(dirname "\$0")/postgres.bare
		case " \$* " in
		*' --boot '* | *' --single '* | *' --check '* | *' -V '* | *' --describe-config '*) exec "\$bare" "\$@" ;;
		esac
		exec valgrind --quiet --trace-children=yes --track-origins=yes --leak-check=no \\
			--suppressions=$server/valgrind.supp --error-markers=VALGRIND-BEGIN,VALGRIND-END \\
			--log-file=$reports/%p.log "\$bare" "\$@"
	END
	chmod 755 "$reports/server/bin/postgres"
	PG_CONFIG=$reports/server/bin/pg_config
	;;
discard)
	export TEST_SETTINGS='debug_discard_caches = 1'
	;;
esac

ONLY=${ONLY:-regress isolation} bash "$here/../check.sh" "$@" | tee "$reports/said"
status=${PIPESTATUS[0]}
if [ "${MEMORY:-}" = valgrind ]; then
	found=$(cat "$reports"/*.log 2>/dev/null | sed -n 's/^==[0-9]*== \(Invalid\|Conditional\|Use of\|Syscall param\|Source and dest\)/\1/p' |
		sort | uniq -c | sort -rn)
	if [ -n "$found" ]; then
		cat "$reports"/*.log | head -n 300
		printf '\nreport: %s\n' 'valgrind found'
		sed 's/^/report: /' <<<"$found"
		exit 1
	fi
	printf 'report: valgrind found nothing in %d processes\n' "$(find "$reports" -maxdepth 1 -name '*.log' | wc -l)"
fi
exit "$status"
