#!/usr/bin/env bash
#
# run.sh [NAME...]: run the benchmarks, and print their figures as JSON lines.
#
# A benchmark is a file test/bench/NAME.bench.sh.  It runs as an ordinary user
# in a copy of the project, with PGHOST, PGPORT, PGUSER and PGDATABASE of an
# empty database of its own, the server's programs on its PATH, and prints one
# JSON object per line; whatever else it says goes to standard error.  What is
# compared is always taken in one run, as a ratio: absolute times of different
# machines mean nothing.
#
# The server: one throwaway cluster with settings that keep noise away from
# what is measured, which is work of the processor.  No fsync and no
# synchronous commit, or the disk would be measured; checkpoints far apart and
# no autovacuum, or they would strike one side of a comparison and not the
# other.  The first line lists them.
#
# BENCH_SETTINGS adds lines to postgresql.conf.  KEEP_SCRATCH=1 keeps the files.
#
set -u
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

bash "$root/test/prepare.sh" build >&2 || exit 1
find_postgres || die 'no PostgreSQL'
choose_user
make_scratch bench

copy_project "$scratch/project"
build_extension "$scratch/project" "$scratch/install" >&2 || die 'the build failed'

# a quarter of the memory, and a gigabyte at most
shared_buffers=$(awk '/^MemTotal:/ {mb = int($2 / 4096); print (mb > 1024 ? 1024 : mb)}' /proc/meminfo)
start_cluster "$scratch/server" 54330 <<-END || die 'the server does not start'
	$(install_settings "$scratch/install")
	shared_buffers = ${shared_buffers}MB
	work_mem = 64MB
	maintenance_work_mem = 256MB
	max_wal_size = 16GB
	checkpoint_timeout = 1d
	fsync = off
	synchronous_commit = off
	autovacuum = off
	jit = off
	timezone = 'UTC'
	${BENCH_SETTINGS:-}
END
export PGHOST=$scratch/server PGPORT=54330 PGUSER=postgres
export PG_CONFIG=$pg_config

as_user "$bindir/psql" -XAtq -d postgres <<-END
	SELECT json_build_object('bench', 'settings',
			'server', version(), 'processors', $(nproc),
			'memory_mb', $(awk '/^MemTotal:/ {print int($2 / 1024)}' /proc/meminfo),
			'settings', (SELECT json_object_agg(name, current_setting(name) ORDER BY name)
				FROM pg_settings
				WHERE source = 'configuration file' AND name NOT IN (
					'DateStyle', 'TimeZone', 'default_text_search_config', 'dynamic_library_path',
					'extension_control_path', 'extension_destdir', 'lc_messages', 'lc_monetary',
					'lc_numeric', 'lc_time', 'listen_addresses', 'log_timezone', 'port',
					'unix_socket_directories')))
END

cd "$scratch/project" || exit 1
for name in "$@"; do
	[ -f "test/bench/$name.bench.sh" ] || die "there is no benchmark $name"
done

failed=0
for file in test/bench/*.bench.sh; do
	name=$(basename "$file" .bench.sh)
	[ -f "$file" ] || die 'there are no benchmarks'
	case " $* " in
	'  ' | *" $name "*) ;;
	*) continue ;;
	esac
	as_user "$bindir/psql" -Xq -d postgres -c 'CHECKPOINT' || exit 1
	as_user "$bindir/createdb" "$name" || exit 1
	printf '%s ...\n' "$name" >&2
	as_user env PATH="$bindir:$PATH" PGDATABASE="$name" bash "$file" </dev/null |
		while IFS= read -r line; do
			case $line in
			'{'*) printf '%s\n' "$line" ;;
			*) printf '%s\n' "$line" >&2 ;;
			esac
		done
	if [ "${PIPESTATUS[0]}" -ne 0 ]; then
		printf '%s failed\n' "$name" >&2
		failed=1
	fi
	as_user "$bindir/dropdb" "$name"
done
exit $failed
