#!/usr/bin/env bash
#
# catalog.sh [FILE]: write the listing of all that the extension consists of
# (default test/upgrade/pipelines--1.0.0.catalog), from a throwaway cluster.
#
# `make catalog` is this.  The listing freezes a release: functions with
# arguments, volatility, strictness, parallel safety, cost, settings and rights,
# types, operators, casts, aggregates, comments.  test/t/070_catalog.pl compares.
# Whoever changes one of these on purpose, writes it anew and reads the
# difference; of a version that is out it never changes.
#
set -u
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

file=${1:-$root/test/upgrade/pipelines--1.0.0.catalog}
bash "$root/test/prepare.sh" test || exit 1
find_postgres || die 'no PostgreSQL'
choose_user
make_scratch catalog
copy_project "$scratch/project"
build_extension "$scratch/project" "$scratch/install" || die 'the build failed'
start_cluster "$scratch/server" 54329 <<<"$(install_settings "$scratch/install")" || die 'no cluster'
psql() {
	as_user "$bindir/psql" -Xq -v ON_ERROR_STOP=1 -h "$scratch/server" -p 54329 -U postgres -d postgres "$@"
}
psql -c 'CREATE EXTENSION pipelines' || exit 1
psql -v bodies=0 <"$root/test/upgrade/catalog.sql" >"$scratch/catalog" || exit 1
cp "$scratch/catalog" "$file" || exit 1
say "$(wc -l <"$file") lines in $file"
