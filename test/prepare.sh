#!/usr/bin/env bash
#
# prepare.sh PURPOSE: install what is missing on a Debian machine.
#
# PURPOSE is `build` (compiler, make, a PostgreSQL server and its headers) or
# `test` (that, and what the TAP tests want).  A server that is installed
# already, of whatever major, is preferred to a new one.  Says what it is
# going to install before it does; does nothing, fast, when all is there; asks
# nothing.  Installing a server never makes, starts or touches a cluster.
#
set -u
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

purpose=${1:-test}
missing=()
wanted=()

need() { # what it is, package...
	missing+=("$1")
	shift
	wanted+=("$@")
}

command -v make >/dev/null || need 'make' make
if ! command -v "${CC:-gcc}" >/dev/null; then
	need 'a C compiler' gcc libc6-dev
elif ! echo '#include <stdio.h>' | "${CC:-gcc}" -E -x c - >/dev/null 2>&1; then
	need 'the headers of the C library' libc6-dev
fi
if [ "$purpose" = test ]; then
	if ! perl -MTAP::Harness -MTime::HiRes -e 1 2>/dev/null; then
		need 'perl with its modules' perl
	fi
	perl -MIPC::Run -e 1 2>/dev/null || need "perl's IPC::Run" libipc-run-perl
fi

# The newest server that is installed without its headers, or else none.
server_without_headers() {
	local directory best=
	for directory in /usr/lib/postgresql/*; do
		if [ -x "$directory/bin/postgres" ] &&
			version_supported "$(basename "$directory")" &&
			{ [ -z "$best" ] || [ "$(basename "$directory")" -gt "$best" ]; }; then
			best=$(basename "$directory")
		fi
	done
	printf '%s' "$best"
}

# The major that this suite's package `postgresql` stands for.
default_major() {
	apt-cache depends postgresql 2>/dev/null |
		sed -n 's/^ *Depends: postgresql-\([0-9][0-9]*\)$/\1/p' | head -n 1
}

if ! find_postgres; then
	if [ -n "${PG_CONFIG:-}" ]; then
		die "PG_CONFIG=$PG_CONFIG is no PostgreSQL 13 or later with server, psql and server headers"
	fi
	need_server=yes
fi

if [ -z "${need_server:-}" ] && [ ${#wanted[@]} -eq 0 ]; then
	exit 0
fi

command -v apt-get >/dev/null ||
	die "this machine has no apt-get. Please install: ${missing[*]:-}${need_server:+ PostgreSQL 13 or later with its server headers}"

become=()
if [ "$(id -u)" -ne 0 ]; then
	if command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
		become=(sudo)
	else
		become=(false)
	fi
fi

# Package lists first: on a fresh machine apt knows no package at all.
if [ "${become[*]:-}" != false ]; then
	say 'Something is missing; reading the package lists (apt-get update).'
	"${become[@]}" apt-get -qq update || say 'apt-get update failed; going on with the lists there are.'
fi

if [ -n "${need_server:-}" ]; then
	major=$(server_without_headers)
	if [ -n "$major" ]; then
		need "the server headers of PostgreSQL $major" "postgresql-server-dev-$major"
	else
		major=$(default_major)
		need "a PostgreSQL server with its headers" \
			"postgresql-${major:-NN}" "postgresql-server-dev-${major:-NN}"
	fi
fi

say 'Missing here:'
printf '  %s\n' "${missing[@]}"

if [ "${become[*]:-}" = false ]; then
	say "Neither root nor sudo. Please have somebody run"
	say "  apt-get update && apt-get install --no-install-recommends ${wanted[*]}"
	say "and try again."
	exit 1
fi
case " ${wanted[*]} " in
*-NN\ *) die 'apt knows no package "postgresql": please check its sources' ;;
esac

say 'Going to install (with apt-get, and what they depend on):'
printf '  %s\n' "${wanted[@]}"

# Debian's packages make a cluster `main` for a new server and start it.  A
# drop-in says no to that as long as we install; it goes away again, so that
# the machine behaves as before for whoever installs a server later.
dropin=/etc/postgresql-common/createcluster.d/pipelines.conf
restore() {
	"${become[@]}" rm -f "$dropin"
}
trap restore EXIT
trap 'exit 130' INT TERM HUP
"${become[@]}" mkdir -p "$(dirname "$dropin")"
"${become[@]}" tee "$dropin" >/dev/null <<<'create_main_cluster = false'

log=$(mktemp)
"${become[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
	--no-install-recommends -o Dpkg::Use-Pty=0 "${wanted[@]}" >"$log" 2>&1 </dev/null || {
	cat "$log" >&2
	rm -f "$log"
	die 'apt-get install failed'
}
rm -f "$log"

find_postgres || die 'packages are installed, but still no PostgreSQL with server headers'
say "Installed. Building for PostgreSQL $major ($pg_config)."
