#!/usr/bin/env bash
#
# mutate.sh [FILE...]: are the tests awake?  Turns comparisons in the sources of
# the rules (src/deals/rules.c and requirements.c) into wrong ones, one at a
# time, and runs the tests of the rules.  `make mutate` is this.
#
# A mutant that no test notices survives and is printed; those that are known to
# make no difference are listed in test/matrix/equivalent.txt, with the reason:
# file, a tab, the line's text, a tab, the mutation, a tab, the reason.  Others
# are a failure.
#
#   MUTATE_MAX       at most so many, spread over all (default: all)
#   MUTATE_TESTS     regress tests (default: those of the rules, what notices most first)
#   MUTATE_SECONDS   begin no new one after that time
#   MUTATE_LINES     FROM-TO,FROM-TO...: only what stands in these lines
#
set -u
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

files=("$@")
[ ${#files[@]} -gt 0 ] || files=(src/deals/rules.c src/deals/requirements.c)
tests=${MUTATE_TESTS:-rule_edges rules rules_cited moves matrix found closings move_functions bookkeeping user_triggers outcome merge_stages broken_tables story locked_periods activities import_history create_deals access}
bash "$root/test/prepare.sh" test || exit 1
find_postgres || die 'no PostgreSQL'
choose_user
make_scratch mutate
copy_project "$scratch/project"
build_extension "$scratch/project" "$scratch/install" || die 'the build failed'
[ -n "$(install_setting)" ] || die 'needs a server that can be told where extensions are'
start_cluster "$scratch/server" 54329 <<-END || die 'no cluster'
	$(install_settings "$scratch/install")
	fsync = off
	max_prepared_transactions = 10
	timezone = 'UTC'
END
regress=$(dirname "$("$pg_config" --pgxs)")/../test/regress/pg_regress
library=$(find "$scratch/install" -name "$project.so")

# psql, until it says what it should not: the rest of the test says no more
as_user tee "$scratch/awake.pl" >/dev/null <<'END'
open my $expected, '<', "expected/$ENV{TEST}.out" or die $!;
my $pid = open my $psql, '-|', 'sh', '-c', 'exec "$@" 2>&1', 'sh', @ARGV or die $!;
while (my $said = <$psql>)
{
	print $said;
	my $should = <$expected> // '';
	s/\s+//g for $said, $should;
	next if $said eq $should;
	kill TERM => $pid;
	last;
}
END

# what a test that was cut short left, or else the next mutant is caught by that
tidy() {
	local try
	for try in {1..100}; do
		as_user psql -X -q -h "$scratch/server" -p 54329 -U postgres -d postgres >/dev/null 2>&1 <<-'END' && break
			SELECT format('DROP DATABASE %I WITH (FORCE)', datname) FROM pg_database WHERE datname ~ 'regress' \gexec
			SELECT format('DROP ROLE %I', rolname) FROM pg_roles WHERE rolname ~ '^regress_' \gexec
		END
		sleep 0.2
	done
}

# one after the other, until one fails: 0 when all pass
tests_pass() {
	local test
	for test in $tests; do
		(cd "$scratch/project" && as_user env TEST="$test" timeout -k 5 300 "$regress" --inputdir=. --outputdir="$scratch/tmp" \
			--launcher="perl $scratch/awake.pl" \
			--bindir="$bindir" --dbname=contrib_regression --host="$scratch/server" --port=54329 --user=postgres \
			"$test") >"$scratch/regress.log" 2>&1 </dev/null || {
			caught_by=$test
			tidy
			return 1
		}
	done
}

tests_pass || {
	head -n 40 "$scratch/tmp/regression.diffs" 2>/dev/null || cat "$scratch/regress.log"
	die 'the tests fail without any mutation'
}

# number, column, what, by what: code only, no comments, strings, declarations
as_user tee "$scratch/mutants.pl" >/dev/null <<'END'
my ($file) = @ARGV;
open my $in, '<', $file or die $!;
my $text = do { local $/; <$in> };
my $bare = $text;
$bare =~ s{(/\*.*?\*/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|^\#[^\n]*)}{my $x = $1; $x =~ s/[^\n]/ /g; $x}gsem;
my %flip = ('<' => '<=', '<=' => '<', '>' => '>=', '>=' => '>', '==' => '!=', '!=' => '==', '&&' => '||', '||' => '&&', '+ 1' => '+ 0', '- 1' => '- 0');
my ($number) = (0);
for my $line (split /\n/, $bare)
{
	$number++;
	# a loop's bound without its end is no question of rules; an assertion is none
	next if $line =~ /^\s*(?:for|foreach)\b|\bAssert\b|\belog\(/;
	while ($line =~ /(?<=\s)(<=|>=|==|!=|&&|\|\||<|>|\+ 1|- 1)(?=\s|;|\)|$)/g)
	{
		print join("\t", $number, $-[1], $1, $flip{$1}), "\n";
	}
}
END

build_and_run() { # file
	as_user make -C "$scratch/project" --no-print-directory -s PG_CONFIG="$pg_config" with_llvm=no >"$scratch/make.log" 2>&1 || return 2
	# a new file: servers that run keep the old one
	as_user cp "$scratch/project/$project.so" "$library.new" && as_user mv "$library.new" "$library"
	tests_pass
}

killed=0 stillborn=0 equivalent=0 survived=0
began=$(date +%s)
for file in "${files[@]}"; do
	original=$scratch/original.c
	cp "$scratch/project/$file" "$original"
	mapfile -t mutants < <(perl "$scratch/mutants.pl" "$original" |
		perl -ne 'BEGIN { @of = map { [split /-/] } split /,/, shift } print if grep { $_->[0] <= $& && $& <= $_->[1] } (/\d+/ ? @of : ())' "${MUTATE_LINES:-1-999999}")
	step=1
	if [ -n "${MUTATE_MAX:-}" ] && [ ${#mutants[@]} -gt "$MUTATE_MAX" ]; then
		step=$((${#mutants[@]} / MUTATE_MAX))
	fi
	say "$file: ${#mutants[@]} comparisons, every ${step}. of them"
	for ((i = step / 2; i < ${#mutants[@]}; i += step)); do
		[ -z "${MUTATE_SECONDS:-}" ] || [ $(($(date +%s) - began)) -lt "$MUTATE_SECONDS" ] || break
		IFS=$'\t' read -r number column what by <<<"${mutants[i]}"
		perl -ne 'BEGIN { ($n, $c, $w, $b) = splice @ARGV, 0, 4 } substr($_, $c, length $w) = $b if $. == $n; print' \
			"$number" "$column" "$what" "$by" "$original" | as_user tee "$scratch/project/$file" >/dev/null
		build_and_run
		case $? in
		0)
			line=$(sed -n "${number}s/^[[:space:]]*//p" "$original")
			if grep -qF "$file"$'\t'"$line"$'\t'"$what -> $by"$'\t' "$root/test/matrix/equivalent.txt" 2>/dev/null; then
				equivalent=$((equivalent + 1))
			else
				survived=$((survived + 1))
				say "SURVIVED  $file:$number: $what -> $by: $line"
			fi
			;;
		1)
			killed=$((killed + 1))
			say "caught    $file:$number: $what -> $by, by $caught_by"
			;;
		2) stillborn=$((stillborn + 1)) ;;
		esac
	done
	as_user cp "$original" "$scratch/project/$file"
done
stop_server "$scratch/server"
say "report: $((killed + survived + equivalent)) mutants: $killed caught, $equivalent known to be equivalent, $survived survived; $stillborn did not compile"
[ "$survived" -eq 0 ] && [ "$killed" -gt 0 ]
