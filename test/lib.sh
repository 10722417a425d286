# Shared by the scripts under test/: which PostgreSQL, which user, a private
# build, and throwaway clusters.  Source it; it needs bash and coreutils only.
#
# A throwaway cluster lives in one directory, listens on a Unix socket in that
# directory only, and knows the extension through a private install tree where
# the server has a setting for that.  Nothing here touches a cluster, a
# service or a file that it did not make.
#
# What the functions share:
#   root        the project's root
#   pg_config   the chosen server's pg_config, bindir its programs
#   as_user     runs a command as the user who may start a server
#   scratch     a directory that goes away when the script ends

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
project=pipelines

# Settings of the caller's own must not steer the throwaway clusters, and a
# make that called us must not steer the makes that we call.
for variable in $(env | sed -n 's/^\(PG[A-Z]*\)=.*/\1/p'); do
	unset "$variable"
done
unset variable MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES
export LC_ALL=C.UTF-8 PSQLRC=/dev/null

say() { printf '%s\n' "$*"; }
heading() { printf '\n=== %s\n' "$*"; }
die() {
	printf '%s: %s\n' "$(basename "$0")" "$*" >&2
	exit 1
}

# Is this pg_config that of a server one can build for and start?
pg_config_usable() {
	local config=$1 bin
	[ -x "$(command -v "$config")" ] || return 1
	bin=$("$config" --bindir 2>/dev/null) || return 1
	[ -x "$bin/postgres" ] && [ -x "$bin/initdb" ] && [ -x "$bin/psql" ] &&
		[ -f "$("$config" --pgxs)" ] &&
		[ -f "$("$config" --includedir-server)/postgres.h" ] &&
		version_supported "$("$config" --version)"
}

version_supported() {
	local major=${1#PostgreSQL }
	major=${major%%[!0-9]*}
	[ -n "$major" ] && [ "$major" -ge 13 ]
}

# Choose a server: the one named by PG_CONFIG, else the one on the PATH, else
# the newest that Debian's packages installed.  Sets pg_config, bindir, major.
find_postgres() {
	local candidate
	pg_config=
	if [ -n "${PG_CONFIG:-}" ]; then
		pg_config_usable "$PG_CONFIG" || return 1
		pg_config=$(command -v "$PG_CONFIG")
	else
		while read -r candidate; do
			if pg_config_usable "$candidate"; then
				pg_config=$(command -v "$candidate")
				break
			fi
		done < <(
			echo pg_config
			printf '%s\n' /usr/lib/postgresql/*/bin/pg_config | sort -t/ -k5,5nr
		)
	fi
	[ -n "$pg_config" ] || return 1
	bindir=$("$pg_config" --bindir)
	major=$("$pg_config" --version)
	major=${major#PostgreSQL }
	major=${major%%[!0-9]*}
}

# The user who runs servers and tests: ourselves, or when we are root, whom
# PostgreSQL refuses, the packages' user postgres (else nobody).
choose_user() {
	if [ "$(id -u)" -ne 0 ]; then
		run_user=$(id -un)
	elif id postgres >/dev/null 2>&1; then
		run_user=postgres
	else
		run_user=nobody
	fi
}

# Run a command as that user, from a directory that he can read and with a
# home of his own.
as_user() {
	if [ "$(id -u)" -ne 0 ]; then
		HOME=${scratch:-$HOME} "$@"
	else
		setpriv --reuid="$run_user" --regid="$(id -g "$run_user")" --init-groups \
			env HOME="${scratch:-/nonexistent}" USER="$run_user" LOGNAME="$run_user" "$@"
	fi
}

# Where temporary directories go: to TMPDIR, unless that user can't get there
# or the path is too long for a socket (108 bytes in all), else to /tmp.
temporary_base() {
	local base=${TMPDIR:-/tmp}
	if [ "${#base}" -le 40 ] && as_user test -d "$base/."; then
		printf '%s' "$base"
	else
		printf '/tmp'
	fi
}

# Give a directory to that user.
give() {
	[ "$(id -u)" -ne 0 ] || chown "$run_user:$(id -g "$run_user")" "$1"
}

# scratch, gone at the end together with every server that runs below it.
make_scratch() {
	scratch=$(mktemp -d "$(temporary_base)/$project-$1.XXXXXX") || exit 1
	give "$scratch"
	trap remove_scratch EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	as_user mkdir "$scratch/tmp"
	export TMPDIR=$scratch/tmp
	cd "$scratch" || exit 1
}

remove_scratch() {
	local status=$? job
	trap '' INT TERM HUP
	for job in $(jobs -p); do
		kill -TERM -- "-$job" 2>/dev/null || kill -TERM "$job" 2>/dev/null
	done
	wait 2>/dev/null
	stop_clusters_below "$scratch"
	cd /
	if [ -n "${KEEP_SCRATCH:-}" ]; then
		say "kept: $scratch"
	else
		rm -rf "$scratch"
	fi
	exit $status
}

stop_clusters_below() {
	local pidfile
	find "$1" -name postmaster.pid 2>/dev/null | while read -r pidfile; do
		as_user "$bindir/pg_ctl" -D "$(dirname "$pidfile")" -m immediate -t 30 -w stop \
			>/dev/null 2>&1 </dev/null || true
	done
}

# Copy the project (without what git or a build made) to a directory that the
# user owns, so that builds and tests can write there.
copy_project() {
	local target=$1
	as_user mkdir -p "$target"
	tar -C "$root" -cf - --exclude-vcs --exclude='*.o' --exclude='*.bc' --exclude='*.so' \
		--exclude=./results --exclude=./tmp_check --exclude=./output_iso \
		--exclude=./regression.diffs --exclude=./regression.out . |
		as_user tar -C "$target" --no-same-owner --no-same-permissions -xf -
}

# The flags that the project must compile with, never a user's default.
strict_flags='-Wall -Wextra -Werror -Wno-unused-parameter'

# Build below $1 and install to the tree $2.  Further arguments go to make.
build_extension() {
	local source=$1 tree=$2
	shift 2
	as_user make -C "$source" --no-print-directory -s -j"$(nproc)" \
		PG_CONFIG="$pg_config" with_llvm=no "$@" || return 1
	if [ -n "$(install_setting)" ]; then
		as_user make -C "$source" --no-print-directory -s \
			PG_CONFIG="$pg_config" with_llvm=no DESTDIR="$tree" "$@" install
	else
		say "This server knows no private install tree: installing into $("$pg_config" --pkglibdir)."
		[ -w "$("$pg_config" --pkglibdir)" ] || die 'only root may do that'
		make -C "$source" --no-print-directory -s \
			PG_CONFIG="$pg_config" with_llvm=no "$@" install
	fi
}

# The setting that makes a server look for extensions elsewhere: of PostgreSQL
# since 18, of Debian's packages before; empty where there is neither.
install_setting() {
	"$bindir/postgres" --describe-config 2>/dev/null | cut -f1 |
		grep -xE 'extension_control_path|extension_destdir' | sort | head -n 1
}

# Lines of postgresql.conf for an install tree.
install_settings() {
	local tree=$1
	case $(install_setting) in
	extension_control_path)
		printf "extension_control_path = '%s:\$system'\n" "$tree$("$pg_config" --sharedir)"
		;;
	extension_destdir)
		printf "extension_destdir = '%s'\n" "$tree"
		;;
	*) return ;;
	esac
	printf "dynamic_library_path = '%s:\$libdir'\n" "$tree$("$pg_config" --pkglibdir)"
}

# Make and start a cluster in directory $1, which must not exist; what standard
# input says is added to its postgresql.conf.  The socket is in $1 too.
# $2: port (it only names the socket).
start_cluster() {
	local directory=$1 port=$2 settings
	settings=$(cat)
	as_user mkdir -m 700 "$directory" || return 1
	as_user "$bindir/initdb" -D "$directory/data" -U postgres -A trust -E UTF8 \
		--locale=C.UTF-8 --no-sync >"$directory.initdb.log" 2>&1 </dev/null || {
		cat "$directory.initdb.log" >&2
		return 1
	}
	rm -f "$directory.initdb.log"
	as_user tee -a "$directory/data/postgresql.conf" >/dev/null <<-END
		listen_addresses = ''
		unix_socket_directories = '$directory'
		port = $port
		$settings
	END
	start_server "$directory"
}

start_server() {
	local directory=$1
	as_user env ${TEST_PRELOAD:+LD_PRELOAD="$TEST_PRELOAD"} \
		"$bindir/pg_ctl" -D "$directory/data" -l "$directory/log" -w -t 60 -s start \
		>/dev/null </dev/null || {
		tail -n 20 "$directory/log" >&2
		return 1
	}
}

stop_server() {
	as_user "$bindir/pg_ctl" -D "$1/data" -m fast -w -t 60 -s stop </dev/null
}

# Play the demo in an empty database: host, port, database.  The scripts come
# from standard input, so that errors are shown the way somebody sees them who
# types: without the name of a file and a line.
play_demo() {
	local script
	for script in dealer history tour; do
		as_user "$bindir/psql" -Xq -v ON_ERROR_STOP=1 -h "$1" -p "$2" -U postgres -d "$3" \
			<"$root/test/demo/$script.sql" 2>&1 || return 1
	done
}
