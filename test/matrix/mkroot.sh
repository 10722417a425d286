#!/usr/bin/env bash
#
# mkroot.sh MAJOR DIRECTORY: a folder with a small Debian that has PostgreSQL
# MAJOR, its server headers, a compiler and what the tests want, to be entered
# by chroot.
#
# Debian's suites carry one major each; which one is written below.  Packages
# come from the apt source that this machine uses itself.  The headers are only
# unpacked, not installed: with what they depend on (clang, llvm) the folder
# would be twice as large.  Needs root.  Leaves nothing behind when it fails.
#
set -u
major=$1 directory=$2

suite_of() {
	case $1 in
	13) echo bullseye ;;
	15) echo bookworm ;;
	17) echo trixie ;;
	18) echo forky ;;
	19) echo experimental ;;
	esac
}

fail() {
	printf '%s\n' "$*"
	exit 1
}

suite=$(suite_of "$major")
[ -n "$suite" ] || fail "no Debian suite carries PostgreSQL $major"
[ "$(id -u)" -eq 0 ] || fail 'only root can make a Debian folder for it'
command -v apt-get >/dev/null || fail 'no apt-get to make a Debian folder with'
if ! command -v debootstrap >/dev/null; then
	apt-get -qq update >/dev/null 2>&1
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends debootstrap >/dev/null 2>&1 ||
		fail 'no debootstrap, and it could not be installed'
fi

# the apt source of this machine that carries Debian's main archive
mirror=$(apt-get indextargets --format '$(ORIGIN) $(COMPONENT) $(RELEASE) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
	sed -n 's/^Debian main [a-z]* //p' | grep -v security | head -n 1)
[ -n "$mirror" ] || fail "apt has no source with Debian's main archive"

base=$suite
[ "$suite" != experimental ] || base=sid
script=$base
[ -e "/usr/share/debootstrap/scripts/$script" ] || script=sid

part=$directory.part
log=$directory.log
give_up() {
	rm -rf --one-file-system "$part"
	fail "$1: $(tail -n 1 "$log") (all of it in $log)"
}
rm -rf --one-file-system "$part"
mkdir -p "$(dirname "$directory")"

debootstrap --variant=minbase "$base" "$part" "$mirror" "$script" >"$log" 2>&1 </dev/null ||
	give_up "debootstrap of $base failed"

# how this machine reaches its source
cp /etc/apt/apt.conf.d/* "$part/etc/apt/apt.conf.d/" 2>/dev/null
cp -L /etc/resolv.conf "$part/etc/" 2>/dev/null
cp -L /etc/hosts "$part/etc/" 2>/dev/null
if [ "$suite" = experimental ]; then
	# only PostgreSQL from there: its perl can't be installed beside sid's
	echo "deb $mirror experimental main" >"$part/etc/apt/sources.list.d/experimental.list"
	cat >"$part/etc/apt/preferences.d/experimental" <<-END
		Package: postgresql* libpq*
		Pin: release a=experimental
		Pin-Priority: 990
	END
fi
# no cluster, no service
mkdir -p "$part/etc/postgresql-common"
echo 'create_main_cluster = false' >"$part/etc/postgresql-common/createcluster.conf"
printf '#!/bin/sh\nexit 101\n' >"$part/usr/sbin/policy-rc.d"
chmod +x "$part/usr/sbin/policy-rc.d"

# A suite in the making may be a snapshot whose date has passed; its signature
# is checked nevertheless.
unshare -m -p -f --kill-child bash -c '
	set -e
	part=$1 major=$2
	mount -t proc proc "$part/proc"
	inside() { chroot "$part" env LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"; }
	inside apt-get -o Acquire::Check-Valid-Until=false update
	inside apt-get install -y --no-install-recommends "postgresql-$major" gcc libc6-dev make perl libipc-run-perl
	inside sh -c "cd /tmp && apt-get download postgresql-server-dev-$major libpq-dev && for d in *.deb; do dpkg -x \$d /; done; rm -f *.deb"
	inside apt-get clean
	test -x "$part/usr/lib/postgresql/$major/bin/postgres" -a -f "$part/usr/include/postgresql/$major/server/postgres.h"
' - "$part" "$major" >>"$log" 2>&1 </dev/null ||
	give_up "packages of $suite could not be installed"
rm -rf --one-file-system "$directory"
mv "$part" "$directory"
rm -f "$log"
