#!/usr/bin/env bash
#
# mkassert.sh MAJOR DIRECTORY: a server with assertions and with marks for
# valgrind in its memory management, built from Debian's source package, whose
# patches it has (a private install tree among them: test/lib.sh).
#
# The package comes from the apt source that this machine uses itself, as a
# source this time; which majors there are is that suite's choice.  Needs root
# only where a compiler's tools have to be installed.  Three minutes on two
# cores.  Leaves nothing behind when it fails.
#
set -u
major=$1 directory=$2

fail() {
	printf '%s\n' "$*"
	exit 1
}

command -v apt-get >/dev/null || fail 'no apt-get to get the source package with'
tools=(bison flex dpkg-source gcc make perl patch xz)
missing=()
for tool in "${tools[@]}"; do
	command -v "$tool" >/dev/null || missing+=("$tool")
done
if [ ${#missing[@]} -gt 0 ]; then
	[ "$(id -u)" -eq 0 ] || fail "not installed: ${missing[*]}"
	apt-get -qq update >/dev/null 2>&1
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
		bison flex dpkg-dev gcc libc6-dev make perl patch xz-utils >/dev/null 2>&1 ||
		fail "not installed, and could not be: ${missing[*]}"
fi

part=$directory.part
log=$directory.log
give_up() {
	rm -rf --one-file-system "$part"
	fail "$1: $(tail -n 1 "$log") (all of it in $log)"
}
rm -rf --one-file-system "$part"
mkdir -p "$part/lists/partial" "$part/source" || exit 1

# the same archives as sources; not that of security fixes, which keeps no old
# files while its lists may be old
apt-get indextargets --format '$(ORIGIN) $(COMPONENT) $(REPO_URI) $(RELEASE)' 'Created-By: Packages' 2>/dev/null |
	sed -n 's/^Debian main /deb-src /p' | grep -v security | sed 's/$/ main/' | sort -u >"$part/sources.list"
[ -s "$part/sources.list" ] || fail "apt has no source with Debian's main archive"
apt=(apt-get -o "Dir::Etc::SourceList=$part/sources.list" -o Dir::Etc::SourceParts=/dev/null
	-o "Dir::State::Lists=$part/lists" -o Acquire::Check-Valid-Until=false -o APT::Sandbox::User=root)
{
	"${apt[@]}" update && cd "$part/source" && "${apt[@]}" source "postgresql-$major"
} >"$log" 2>&1 </dev/null || give_up "no source package of PostgreSQL $major"

# Optimised a little: valgrind is slow enough.  No more libraries than the tests
# need.  One patch is taken back: it gives all servers of a major one place for
# their libraries.
{
	cd "$part"/source/postgresql-"$major"-*/ &&
		patch -R -p1 <debian/patches/50-per-version-dirs.patch &&
		./configure --prefix="$directory" --enable-cassert --enable-debug --without-readline --without-icu \
			$(perl -MIPC::Run -e 'print "--enable-tap-tests"' 2>/dev/null) CFLAGS='-O1 -g -fno-omit-frame-pointer' CPPFLAGS=-DUSE_VALGRIND &&
		make -s -j"$(nproc)" &&
		make -s install DESTDIR="$part/install" &&
		make -s -C src/test/isolation install DESTDIR="$part/install" &&
		make -s -C contrib/amcheck install DESTDIR="$part/install" &&
		cp src/tools/valgrind.supp "$part/install$directory/"
} >>"$log" 2>&1 </dev/null || give_up "the build of PostgreSQL $major failed"
rm -rf --one-file-system "$directory"
mv "$part/install$directory" "$directory"
rm -rf --one-file-system "$part" "$log"
