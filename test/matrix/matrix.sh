#!/usr/bin/env bash
#
# matrix.sh [MAJOR...]: build and test with every PostgreSQL that can be had.
#
# Of each major from 13 to 19 it takes the first that there is of
#   - a server with headers that is installed on this machine;
#   - a folder <cache>/pgNN with a small Debian in it, entered by chroot;
#   - such a folder made now (mkroot.sh; needs root and half a gigabyte each).
# No Debian suite carries 14 or 16: those are tested where they are installed.
#
# There it runs test/check.sh, in name spaces of their own and on a layer above
# the folder, so that the folder stays as it is.  One line each:
#   PASS   what was run, and counts
#   FAIL   the same, and where the log is
#   -      not available, and why; that is no pass
# The exit code is zero when something passed and nothing failed.
#
#   MATRIX_CACHE     the folders (default ~/.cache/pipelines-matrix); outside
#                    the project, and may be shared among clones
#   MATRIX_SUITES    suites of check.sh (default "regress isolation tap demo")
#   MATRIX_EXTENT    quick (default) or all
#   MATRIX_OFFLINE=1 makes no new folder
#   MATRIX_RUN       what runs there instead of test/check.sh (see sanitize.sh)
#   TEST_LIMIT       seconds that a suite may take (default 3600)
#   PROVE_TESTS      chooses TAP files, PIPELINES_DATA names real data: both as
#                    for check.sh
#
set -u
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

cache=${MATRIX_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pipelines-matrix}
suites=${MATRIX_SUITES:-regress isolation tap demo}
extent=${MATRIX_EXTENT:-quick}
run=${MATRIX_RUN:-test/check.sh}
majors=("$@")
[ ${#majors[@]} -gt 0 ] || majors=(13 14 15 16 17 18 19)
data=${PIPELINES_DATA:-$root/../shared/data}
export TEST_LIMIT=${TEST_LIMIT:-3600}
logs=$(mktemp -d "${TMPDIR:-/tmp}/$project-matrix.XXXXXX") || exit 1
here=$root/test/matrix

case $cache/ in
"$root"/*) die 'MATRIX_CACHE must lie outside the project' ;;
esac

# What the major itself lacks, or its packages.
remarks() {
	case $1 in
	13) echo 'no isolation tester outside its sources; no MERGE' ;;
	14) echo 'no MERGE' ;;
	esac
}

# The pg_config of an installed server of this major.
installed() {
	local candidate
	for candidate in "${PG_CONFIG:-pg_config}" "/usr/lib/postgresql/$1/bin/pg_config" \
		"/usr/pgsql-$1/bin/pg_config" "/usr/local/pgsql-$1/bin/pg_config"; do
		if pg_config_usable "$candidate" && [ "$(major_of "$("$candidate" --version)")" = "$1" ]; then
			command -v "$candidate"
			return
		fi
	done
}

major_of() {
	local version=${1#PostgreSQL }
	printf '%s' "${version%%[!0-9]*}"
}

run_installed() { # pg_config
	PG_CONFIG=$1 ONLY=$suites bash "$root/$run" "$extent"
}

# In the folder: what is written lands in a layer that goes away with us.  The
# servers of older majors that there are come along, to be upgraded from.
run_folder() { # folder, major
	local status
	layer=$(mktemp -d "${TMPDIR:-/tmp}/$project-layer.XXXXXX")
	unshare -m -p -i -n --fork --kill-child bash -c '
		folder=$1 layer=$2 root=$3 major=$4 data=$5 suites=$6 extent=$7 run=$8
		shift 8
		mkdir "$layer/up" "$layer/work" "$layer/root"
		# a layer on a layer is not always possible: then in memory
		mount -t overlay overlay -o "lowerdir=$folder,upperdir=$layer/up,workdir=$layer/work" "$layer/root" 2>/dev/null || {
			mount -t tmpfs none "$layer" && mkdir "$layer/up" "$layer/work" "$layer/root" &&
				mount -t overlay overlay -o "lowerdir=$folder,upperdir=$layer/up,workdir=$layer/work" "$layer/root"
		} || exit 99
		inside=$layer/root
		mount -t proc proc "$inside/proc" || exit 99
		mkdir -p "$inside/dev/shm" "$inside/srv/project" "$inside/srv/data"
		mount -t tmpfs -o mode=1777 none "$inside/dev/shm"
		chmod 1777 "$inside/tmp"
		tar -C "$root" -cf - --exclude-vcs --exclude="*.o" --exclude="*.bc" --exclude="*.so" \
			--exclude=./results --exclude=./tmp_check --exclude=./output_iso . |
			tar -C "$inside/srv/project" --no-same-owner -xf - || exit 99
		if [ -d "$data" ]; then
			mount --bind "$data" "$inside/srv/data" && export PIPELINES_DATA=/srv/data
		fi
		ip link set lo up 2>/dev/null
		cd /
		case " $suites " in
		*" tap "*) echo "older servers: $(bash "$root/test/matrix/older.sh" "$inside" "$major" "$@")" ;;
		esac
		# our own folder for temporary files does not exist in there; not exec: the
		# first process of a name space inherits what servers leave behind.  All that
		# is installed there goes away.
		chroot "$inside" env -u TMPDIR TEST_INSTALL=1 HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin ONLY="$suites" \
			PG_CONFIG="/usr/lib/postgresql/$major/bin/pg_config" \
			bash "/srv/project/$run" "$extent"
		exit $?
	' - "$1" "$layer" "$root" "$2" "$data" "$suites" "$extent" "$run" "$cache"/pg* / &
	inside=$!
	wait "$inside"
	status=$?
	leave
	return $status
}

# Whoever is still in there dies with the first process of its name space;
# unshare itself heeds no gentler signal.
layer='' inside=''
leave() {
	[ -z "$inside" ] || kill -KILL "$inside" 2>/dev/null
	[ -z "$layer" ] || rm -rf --one-file-system "$layer"
	layer='' inside=''
}
trap leave EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

passed=0 failed=0 missing=()
for major in "${majors[@]}"; do
	log=$logs/$major.log
	remark=$(remarks "$major")
	began=$(date +%s)
	config=$(installed "$major")
	if [ -n "$config" ]; then
		where='installed here'
		run_installed "$config" >"$log" 2>&1 </dev/null
		status=$?
	else
		folder=$cache/pg$major
		where="in $(basename "$folder")"
		reason=
		if [ ! -x "$folder/usr/lib/postgresql/$major/bin/postgres" ]; then
			if [ -n "${MATRIX_OFFLINE:-}" ]; then
				reason='not installed, and no folder for it (MATRIX_OFFLINE)'
			else
				reason=$(bash "$here/mkroot.sh" "$major" "$folder" </dev/null) && reason=
			fi
		elif [ "$(id -u)" -ne 0 ]; then
			reason='not installed, and only root can enter its folder'
		fi
		if [ -n "$reason" ]; then
			printf -- '-    %s  not available: %s\n' "$major" "$reason"
			missing+=("$major")
			continue
		fi
		run_folder "$folder" "$major" >"$log" 2>&1 </dev/null
		status=$?
		if [ "$status" -eq 99 ]; then
			printf -- '-    %s  not available: its folder could not be entered: %s\n' "$major" "$(tail -n 1 "$log")"
			missing+=("$major")
			continue
		fi
	fi
	# Nothing counts but what the run itself said: that it built for this
	# version, and how many passed.
	version=$(sed -n 's/^=== Build for \(PostgreSQL .*\)/\1/p' "$log" | head -n 1)
	counts=$(grep -E '^[0-9]+ passed, [0-9]+ failed' "$log" | tail -n 1)
	verdict=FAIL
	case $counts in
	'0 passed'*) ;;
	*' 0 failed'*) [ "$status" -ne 0 ] || [ "$(major_of "$version")" != "$major" ] || verdict=PASS ;;
	esac
	printf '%s %s  %s, %s, %d s: %s%s\n' "$verdict" "$major" "${version:-no PostgreSQL}" "$where" \
		$(($(date +%s) - began)) "${counts:-came to no end}" "${remark:+ ($remark)}"
	if [ $verdict = PASS ]; then
		passed=$((passed + 1))
		grep -E '^(skipped |report: )' "$log" | sed 's/^/        /'
	else
		failed=$((failed + 1))
		grep -E '^(FAILED |report: )' "$log" | sed 's/^/        /'
		printf '        log: %s\n' "$log"
	fi
done
printf '\n%d versions passed, %d failed, %d not run%s\n' "$passed" "$failed" "${#missing[@]}" \
	"${missing[*]:+ (${missing[*]})}"
[ "$failed" -gt 0 ] || [ -n "${KEEP_SCRATCH:-}" ] || rm -rf "$logs"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
