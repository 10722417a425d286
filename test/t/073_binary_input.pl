# The binary and the text forms of our types with bits turned, bytes cut off and
# bytes added: an error that says so or a value that can be used, never a crash
# and never an internal error.  PIPELINES_SEED chooses which.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PipelinesTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{PIPELINES_SEED} || 1;
my $many = $ENV{PIPELINES_TEST_ALL} ? 3000 : 200;
srand($seed);
my $node = start_node('binary');
my $db = 'postgres';
my $dir = PostgreSQL::Test::Utils::tempdir();
chmod 0755, $dir;
$node->safe_psql($db, q{CREATE EXTENSION pipelines; SELECT pipelines.setup();
	INSERT INTO pipelines.exchange_rate (rate_set, currency, base, rate_on, rate) VALUES ('spot', 'USD', 'EUR', '2026-01-02', 1.25)});

# a value, and what uses all of it
my %types = (
	forecast => [ q{SELECT pipelines.forecast(n * 1.25, n * 10.0, (ARRAY['open', 'won', 'lost'])[1 + n % 3]) FROM generate_series(1, 9) n},
		'pipelines.weighted(v), pipelines.won(v), pipelines.stddev(v), pipelines.quantile(v, 0.5), pipelines.deals(v), v = v, (v + v)::text, v::jsonb' ],
	weighted_sum => [ undef, 'v::text' ],
	probability => [ 'SELECT 12.5::pipelines.probability', 'v::numeric, v::text, v < v' ],
	converted_sum => [ q{SELECT pipelines.converted_sum(n * 1.25, (ARRAY['EUR', 'USD', 'GBP'])[1 + n % 3], 'EUR', '2026-01-02', 'spot') FROM generate_series(1, 9) n},
		'pipelines.total(v), pipelines.deals(v), pipelines.complete(v), pipelines.unconverted_amounts(v), pipelines.oldest_rate_on(v), v::text' ]);
my %name = (weighted_sum => 'weighted', converted_sum => 'converted');
# the state of an aggregate, as one that was stopped half-way would send it
$types{weighted_sum}[0] = q{SELECT pipelines._weighted_add(NULL, 1234567.89, 33.5)};

sub turned
{
	my ($bytes, $from) = @_;
	my $kind = int rand 5;
	my $at = $from + int rand(length($bytes) - $from);
	if ($kind == 0) { substr($bytes, $at, 1) = chr(ord(substr($bytes, $at, 1)) ^ (1 << int rand 8)) }
	elsif ($kind == 1) { substr($bytes, $at, 1) = chr(int rand 256) }
	elsif ($kind == 2) { substr($bytes, $at) = '' }
	elsif ($kind == 3) { substr($bytes, $at, 0) = join '', map { chr int rand 256 } 0 .. rand 9 }
	else { substr($bytes, $at, 4) = ("\xff\xff\xff\xff", "\x7f\xff\xff\xff", "\x80\x00\x00\x00", "\0\0\0\0")[ rand 4 ] }
	return $bytes;
}

for my $type (sort keys %types)
{
	my ($value, $use) = @{ $types{$type} };
	my $made = $node->psql($db, "CREATE TABLE $type (v pipelines.$type); INSERT INTO $type $value", stderr => \my $why);
	is($made, 0, "$type: a value") or do { diag($why); next };
	my $hex = $node->safe_psql($db, "SELECT encode(pipelines._@{[ $name{$type} // $type ]}_send(v), 'hex') FROM $type");
	my $text = $node->safe_psql($db, "SELECT v::text FROM $type");
	is($node->safe_psql($db, "COPY $type TO '$dir/$type.good' (FORMAT binary); CREATE TABLE back_$type (v pipelines.$type);
		COPY back_$type FROM '$dir/$type.good' (FORMAT binary); SELECT v::text FROM back_$type"), $text, "$type: there and back");
	my $good = pack 'H*', $hex;
	my $script = "\\set VERBOSITY verbose\nSET search_path = public, pipelines;\nCREATE TEMP TABLE t (v pipelines.$type);\n";
	for my $i (1 .. $many)
	{
		my $bytes = $i == 1 ? $good : turned($good, 0);
		$bytes = turned($bytes, 0) if $i > $many / 2 && length $bytes;
		open my $out, '>:raw', "$dir/$type.$i" or die $!;
		print $out "PGCOPY\n\xff\r\n\0", pack('N N n N', 0, 0, 1, length $bytes), $bytes, pack('n', 0xffff);
		close $out;
		chmod 0644, "$dir/$type.$i";
		$script .= "COPY t FROM '$dir/$type.$i' (FORMAT binary);\nSELECT $use FROM t;\nDELETE FROM t;\n";
		my $changed = turned($text, 0);
		$changed =~ s/([^ -~]|['\\])/sprintf '\\%03o', ord($1) & 127 || 1/ge;
		$script .= "INSERT INTO t VALUES (E'$changed');\nSELECT $use FROM t;\nDELETE FROM t;\n";
	}
	$script .= "SELECT 'lived';\n";
	my ($out, $err);
	$node->psql($db, $script, stdout => \$out, stderr => \$err, on_error_stop => 0, timeout => 600);
	like($out, qr/lived$/, "$type: the session lived through $many binary and $many text forms");
	my %codes;
	$codes{$_}++ for $err =~ /ERROR:  (\w{5}):/g;
	note("$type: ", join ', ', map { "$_ $codes{$_}" } sort keys %codes);
	my @internal = grep { /ERROR:  XX/ } split /\n/, $err;
	is(join("\n", @internal), '', "$type: no internal error");
	cmp_ok(scalar(keys %codes), '>', 0, "$type: some were refused");
}

# What is wrong is named: one part at a time of a form that is right otherwise.
sub forecast_form
{
	my %form = (format => 1, counts => [ 1, 1, 0, 0, 0, 0, 0, 0 ], sums => [ '100', '5000', '-', '-' ], cumulants => [ 2500, 0, 0 ],
		ndeals => 1, deals => [ 100, 0.5 ], shift => 0, nclasses => 0, currency => '', @_);
	return pack('n q>8 (Z*)4 d>3 n d>* ', @form{qw(format)}, @{ $form{counts} }, @{ $form{sums} }, @{ $form{cumulants} }, $form{ndeals}, @{ $form{deals} })
	  . pack('n n Z*', @form{qw(shift nclasses currency)});
}
my @wrong = (
	[ forecast => forecast_form(), undef ],
	[ forecast => forecast_form(format => 2), 'format' ],
	[ forecast => forecast_form(counts => [ -1, 1, 0, 0, 0, 0, 0, 0 ]), 'number of deals' ],
	[ forecast => forecast_form(sums => [ '100', '5000', '7', '-' ]), 'sum' ],
	[ forecast => forecast_form(cumulants => [ -1, 0, 0 ]), 'cumulant' ],
	[ forecast => forecast_form(ndeals => 65535), 'number of the largest deals' ],
	[ forecast => forecast_form(deals => [ 0, 0.5 ]), 'amount of a deal' ],
	[ forecast => forecast_form(shift => 65535), 'resolution' ],
	[ forecast => forecast_form(nclasses => 65535), 'number of classes' ],
	[ forecast => forecast_form(currency => 'x' x 100), 'currency' ],
	[ weighted_sum => pack('n', 9), 'format' ],
	[ converted_sum => pack('Z*', '9 EUR'), 'format' ],
	[ converted_sum => pack('Z*', '1 EUR 1 0 0 x 0 0 0'), 'day' ]);
for my $wrong (@wrong, [ probability => pack('n', 10001), undef ])
{
	my ($type, $bytes, $part) = @$wrong;
	open my $out, '>:raw', "$dir/wrong" or die $!;
	print $out "PGCOPY\n\xff\r\n\0", pack('N N n N', 0, 0, 1, length $bytes), $bytes, pack('n', 0xffff);
	close $out;
	chmod 0644, "$dir/wrong";
	$node->psql($db, "\\set VERBOSITY verbose\nBEGIN; COPY $type FROM '$dir/wrong' (FORMAT binary); ROLLBACK", stderr => \my $said);
	if ($type eq 'probability') { like($said, qr/22P03: invalid binary form of type pipelines.probability\n.*10001 hundredths of a percent are not between 0 and 10000/, 'probability: refused') }
	elsif (!defined $part) { is($said, '', "$type: the form that is changed is right") }
	else { like($said, qr/22P03: invalid binary form of type pipelines.$type\nDETAIL:  The $part can't be right\./, "$type: the $part is what can't be right") }
}
for my $wrong ([ 'the number of deals', '1|' ], [ 'the number of fields', '1|1 1 0 0 0 0 0 0|100 5000 - -|2500 0 0' ], [ 'the list of the largest deals', '1|1 1 0 0 0 0 0 0|100 5000 - -|2500 0 0|100 0.5|0|' ],
	[ 'the list of classes', '1|2 2 0 0 0 0 0 0|100 5000 - -|2500 0 0|100:0.5|0 99:1:0.5|' ], [ 'the resolution', '1|1 1 0 0 0 0 0 0|100 5000 - -|2500 0 0|100:0.5|x|' ])
{
	$node->psql($db, "SELECT '$wrong->[1]'::pipelines.forecast", stderr => \my $said);
	my $part = $wrong->[0] =~ s/^the //r;
	like($said, qr/invalid input syntax for type pipelines.forecast: "1\|.*\n(?s:.*)The $part can't be right/, "forecast: $wrong->[0]");
}

# The states of the aggregates behind the reports have no type of their own: a
# bytea that is given to their functions by hand.
my $model = q{'{"ages": [86400, 864000], "features": ["a", "b"], "stages": [[1, 1, 0, 10], [1, 2, 0, 50], [1, 3, 2, 100], [2, 4, 3, 0]], "counts": []}'};
my %states = (
	durations => [ q{pipelines._stay_add, timestamptz, timestamptz, timestamptz, text, boolean, interval},
		q{'epoch', timestamptz 'epoch' + n * interval '1 hour', 'epoch', (ARRAY['move', 'delete'])[1 + n % 2], false, NULL},
		'_durations_combine', '_durations_result _stay_counts_result _survival_result' ],
	funnel => [ q{pipelines._funnel_add, integer[], text, text, bigint, integer, integer, integer, boolean, text, boolean, text},
		q{'{1,1,0,0,1,2,1,0,1,3,2,1}', 'direct', 'created_in', n % 5, n, 1, 1 + n % 3, true, (ARRAY['open', 'won', NULL])[1 + n % 3], true, 'v' || n % 2},
		'_funnel_combine', '_funnel_result' ],
	funnel_text => [ q{pipelines._funnel_add, integer[], text, text, text, integer, integer, integer, boolean, text, boolean, text},
		q{'{1,1,0,0,1,2,1,3,1,3,2,2}', 'reached', 'entered_stage_in', 'k' || n % 5, n, 1, 1 + n % 3, true, (ARRAY['open', 'won', NULL])[1 + n % 3], true, NULL},
		'_funnel_combine', '_funnel_result' ],
	scores => [ q{pipelines._score_see, jsonb, timestamptz, timestamptz, bigint, bigint, integer, integer, timestamptz, timestamptz, integer, integer, integer, timestamptz, text, text[]},
		"$model, '2024-02-01', '2024-01-01', n / 2, n / 9, 1, n, timestamptz '2024-01-01' + n * interval '1 day',
			'2024-01-19', 1, 1 + n % 3, 1 + n % 2, CASE WHEN n > 8 THEN timestamptz '2024-01-01' END, CASE WHEN n = 7 THEN 'reopen' END, ARRAY['x' || n % 3, NULL]",
		'_score_combine', '_score_counts_final _score_bins_final' ],
	sums => [ q{pipelines._sums_add, integer, VARIADIC "any"},
		q{5, n % 3, (n % 2)::bigint, n > 5, 'key ' || n % 2, nullif('x', n::text || 'x'), n * 1.25, n / 7.0, n % 3 = 0, n::double precision},
		'_sums_combine', 'sums_shown' ]);
$states{tenths} = [ 'pipelines._tenths_add, integer, VARIADIC "any"', @{ $states{sums} }[ 1 .. 3 ] ];
$node->safe_psql($db, q{CREATE FUNCTION pipelines.sums_shown(bytea) RETURNS text LANGUAGE sql AS $$ SELECT string_agg(r::text, ' ') FROM pipelines._sums_rows($1)
	AS r(a integer, b bigint, c boolean, d text, e text, n bigint, n1 bigint, v1 numeric, n2 bigint, v2 numeric, n3 bigint, n4 bigint, v4 double precision) $$});
for my $kind (sort keys %states)
{
	my ($add, $arguments, $combine, $results) = @{ $states{$kind} };
	my ($function, $types) = $add =~ /^(\S+), (.*)$/;
	my $made = $node->psql($db, "CREATE AGGREGATE gathered_$kind($types) (SFUNC = $function, STYPE = bytea);
		CREATE TABLE state_$kind AS SELECT gathered_$kind($arguments) AS v FROM generate_series(1, 12) n", stderr => \my $why);
	is($made, 0, "$kind: a state") or do { diag($why); next };
	my $good = pack 'H*', $node->safe_psql($db, "SELECT encode(v, 'hex') FROM state_$kind");
	my $script = "\\set VERBOSITY verbose\n";
	for my $i (1 .. 3 * $many)
	{
		# most keep the format, or nothing else would be looked at
		my $bytes = $i == 1 ? $good : turned($good, $i % 8 ? 4 : 0);
		$bytes = turned($bytes, 0) if $i > 2 * $many && length $bytes;
		my $hex = unpack 'H*', $bytes;
		$script .= "SELECT length(pipelines.$_('\\x$hex')::text) FROM (SELECT) x;\n" for split / /, $results;
		$script .= "SELECT length(pipelines.$combine(v, '\\x$hex')), length(pipelines.$combine('\\x$hex', v)) FROM state_$kind;\n";
	}
	$script .= "SELECT 'lived';\n";
	my ($out, $err);
	$node->psql($db, $script, stdout => \$out, stderr => \$err, on_error_stop => 0, timeout => 600);
	like($out, qr/^\d+\n(?s:.*)lived$/, "$kind: the session lived through " . 3 * $many . ' states');
	my %codes;
	$codes{$_}++ for $err =~ /ERROR:  (\w{5}):/g;
	note("$kind: ", join ', ', map { "$_ $codes{$_}" } sort keys %codes);
	is(join("\n", grep { !/^(22P03|22023|22P02|22015|54000|22003|22P05|22021)$/ } sort keys %codes), '', "$kind: no other errors than those that say what is wrong");
	cmp_ok($codes{'22P03'} // 0, '>', $many / 4, "$kind: some were refused");
}
$node->stop;
done_testing();
