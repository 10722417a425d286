#!/usr/bin/env bash
#
# demo.sh start|stop: a car dealer's pipelines, live in a throwaway cluster.
#
# `start` installs what is missing, builds, starts a cluster of its own, fills
# it, shows what there is to see, and leaves it running.  All of it is in one
# directory, with the socket; another `start` replaces it, `stop` ends and
# removes it.  No other cluster is touched.
#
set -u
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

port=54321
database=dealer
mark=.pipelines-demo

# One demo for each user: the name is the same next time, so that the next
# start, or a stop, finds it.
locate() {
	choose_user
	directory=$(temporary_base)/$project-demo-$(id -un)
	scratch=$directory
}

running_demo() {
	[ -e "$directory/$mark" ] && [ "$(stat -c %U "$directory")" = "$run_user" ]
}

remove_demo() {
	if [ -f "$directory/server/data/postmaster.pid" ]; then
		stop_server "$directory/server" >/dev/null 2>&1 || stop_clusters_below "$directory"
	fi
	cd / && rm -rf "$directory"
}

start() {
	bash "$root/test/prepare.sh" build || exit 1
	find_postgres || die 'no PostgreSQL'
	locate
	if [ -e "$directory" ]; then
		running_demo || die "$directory is in the way, and is no demo of yours"
		say 'There is a demo already: replacing it.'
		remove_demo
	fi
	mkdir -m 755 "$directory" || exit 1
	give "$directory"
	as_user touch "$directory/$mark"
	as_user mkdir "$directory/tmp"
	export TMPDIR=$directory/tmp
	finished=
	trap '[ -n "$finished" ] || remove_demo' EXIT
	trap 'exit 130' INT TERM HUP

	say "Building for $("$pg_config" --version)."
	copy_project "$directory/project"
	cd "$directory/project" || exit 1
	build_extension "$directory/project" "$directory/install" || die 'the build failed'

	say 'Starting a cluster of its own.'
	start_cluster "$directory/server" "$port" <<-END || die 'the server does not start'
		$(install_settings "$directory/install")
		fsync = off
		timezone = 'UTC'
		cluster_name = 'pipelines demo'
	END
	as_user "$bindir/createdb" -h "$directory/server" -p "$port" -U postgres "$database" || exit 1

	say 'Making the dealer: three pipelines, and eighteen months of deals.'
	play_demo "$directory/server" "$port" "$database" || die 'the demo failed'
	finished=yes

	cat <<-END

		The dealer is open. Look around with

		    $(connect_command)

		and close it with

		    make demo-stop
	END
}

# psql itself when it is on the PATH, else by its full name
connect_command() {
	local psql=$bindir/psql
	! command -v psql >/dev/null || psql=psql
	printf '%s -h %s -p %s -U postgres %s' "$psql" "$directory/server" "$port" "$database"
}

stop() {
	find_postgres || die 'no PostgreSQL'
	locate
	if ! running_demo; then
		say 'There is no demo to stop.'
		exit 0
	fi
	remove_demo
	say "The demo is stopped, and $directory is gone."
}

case ${1:-} in
start) start ;;
stop) stop ;;
*) die 'usage: demo.sh start|stop' ;;
esac
