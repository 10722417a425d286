#!/usr/bin/env bash
#
# older.sh INSIDE MAJOR FOLDER...: put the servers of older majors, as they are
# in other folders of the matrix (or in / itself), into the Debian below INSIDE,
# so that what upgrades from them can be tested there.
#
# A server is its programs, its share and its headers; of the libraries that it
# was linked with, those that INSIDE has no version of come along.  Its own C
# library doesn't: the newer one runs older programs.  Only for folders that go
# away afterwards.  Prints which majors are there then.
#
set -u
inside=$1 newest=$2
shift 2

for folder in "$@"; do
	for home in "${folder%/}"/usr/lib/postgresql/*; do
		major=${home##*/}
		[ -x "$home/bin/postgres" ] && [ -x "$home/bin/pg_config" ] && [ "$major" -lt "$newest" ] || continue
		[ ! -e "$inside/usr/lib/postgresql/$major" ] || continue
		cp -a "$home" "$inside/usr/lib/postgresql/"
		cp -a "${folder%/}/usr/share/postgresql/$major" "$inside/usr/share/postgresql/"
		cp -a "${folder%/}/usr/include/postgresql/$major" "$inside/usr/include/postgresql/"
		chroot "$folder" sh -c "ldd /usr/lib/postgresql/$major/bin/* /usr/lib/postgresql/$major/lib/*.so" 2>/dev/null |
			sed -n 's/^\t\([^ ]*\) => \(\/[^ ]*\) .*/\1 \2/p' | sort -u |
			while read -r name path; do
				[ -n "$(find "$inside"/lib "$inside"/usr/lib "$inside"/usr/local/lib -name "$name" 2>/dev/null | head -n 1)" ] ||
					cp -L "${folder%/}$path" "$inside/usr/local/lib/$name"
			done
		chroot "$inside" ldconfig
		# it must start at all
		if chroot "$inside" "/usr/lib/postgresql/$major/bin/postgres" -V >/dev/null 2>&1; then
			printf '%s ' "$major"
		else
			rm -rf "$inside/usr/lib/postgresql/$major"
		fi
	done
done
