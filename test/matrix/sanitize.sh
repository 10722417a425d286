#!/usr/bin/env bash
#
# sanitize.sh [quick|all]: test/check.sh with our library under AddressSanitizer
# and UndefinedBehaviorSanitizer, in an ordinary server.
#
# `make sanitize` runs it in the folder of PostgreSQL 18 (matrix.sh): gcc 12's
# AddressSanitizer, which Debian 12 has, hangs when it is loaded into a server.
# Found are overruns on the stack, of globals and of big allocations, freed
# contexts, shifts, overflows and null pointers; not overruns of small ones.
# Every report of either fails, whatever the tests say.
#
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
compiler=${CC:-gcc}
address=$("$compiler" -print-file-name=libasan.so)
undefined=$("$compiler" -print-file-name=libubsan.so)
for library in "$address" "$undefined"; do
	[ -e "$library" ] || {
		echo "$compiler has no $library"
		exit 1
	}
done

reports=$(mktemp -d /tmp/pipelines-sanitize.XXXXXX)
chmod 1777 "$reports"
trap 'rm -rf "$reports"' EXIT

# -fno-wrapv: PGXS asks for wrapping, which would hide overflows
export TEST_COPT="-fsanitize=address,undefined -fno-wrapv -O1 -g -fno-omit-frame-pointer -Wno-error ${TEST_COPT:-}"
TEST_PRELOAD="$(readlink -f "$address") $(readlink -f "$undefined")"
export TEST_PRELOAD
export ASAN_OPTIONS="detect_leaks=0:abort_on_error=1:detect_stack_use_after_return=0:log_path=$reports/asan"
export UBSAN_OPTIONS="print_stacktrace=1:log_path=$reports/ubsan"
# memory tests count bytes, which a sanitizer multiplies
ONLY=${ONLY:-regress isolation} bash "$here/../check.sh" "$@" | tee "$reports/said"
status=${PIPESTATUS[0]}

found=$(cat "$reports"/asan.* "$reports"/ubsan.* 2>/dev/null |
	grep -E 'runtime error:|ERROR: AddressSanitizer' | sed -E 's/^==[0-9]+==//; s/0x[0-9a-f]+/ADDRESS/g' | sort | uniq -c | sort -rn)
if [ -n "$found" ]; then
	cat "$reports"/asan.* "$reports"/ubsan.* 2>/dev/null | head -n 200
	printf '\nreport: %s\n' 'the sanitizers found'
	sed 's/^/report: /' <<<"$found"
	exit 1
fi
echo 'report: the sanitizers found nothing'
exit "$status"
