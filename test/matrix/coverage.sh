#!/usr/bin/env bash
#
# coverage.sh [quick|all]: test/check.sh with a library that counts which lines
# run.  `make coverage` is this.  Prints coverage.pl's table; the lines that no
# test reached are put into COVERAGE_FILE (default coverage-missed.txt in the
# temporary folder, whose name is printed).  Fails below 95 percent, and where an
# error was reached by no test (../errors.pl).
#
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
file=${COVERAGE_FILE:-${TMPDIR:-/tmp}/pipelines-coverage-missed.txt}
export TEST_COPT="--coverage -O0 -Wno-error ${TEST_COPT:-}"
export TEST_BEFORE='perl test/errors.pl mark'
export TEST_AFTER="perl test/matrix/coverage.pl . ; status=\$?; perl test/errors.pl reached \$(find ../server/log tmp_check/log -type f -name '*log') || status=1; cat coverage-missed.txt >'$file'; exit \$status"
touch "$file" && chmod a+w "$file"
echo "What was missed: $file"
ONLY=${ONLY:-regress isolation tap demo} exec bash "$here/../check.sh" "$@"
