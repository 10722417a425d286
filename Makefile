# pipelines: sales pipelines inside PostgreSQL
#
#   make, make install, make installcheck, make clean
#       the usual PGXS meaning; PG_CONFIG=... chooses the server
#   make check, make check-all
#       install what is missing, build, and run the quick set of every suite,
#       or everything, on throwaway clusters of their own
#   make matrix
#       the same with every PostgreSQL from 13 to 19 that can be had; VERSIONS
#       chooses (test/matrix/matrix.sh)
#   make sanitize, make coverage, make mutate
#       the tests under AddressSanitizer and UndefinedBehaviorSanitizer; what of
#       src/ they reach; and whether they notice when a comparison in the rules
#       is wrong (test/matrix)
#   make assert, make valgrind, make discard
#       the tests with a server that has assertions, built from Debian's source
#       package: as it is, under valgrind, and with a cache that keeps nothing
#       (test/matrix/assert.sh)
#   make catalog
#       writes the checked-in listing of all that the extension consists of
#       anew, for whoever changes a function's arguments, volatility, comment...
#       on purpose
#   make demo, make demo-stop
#       a car dealer's pipelines, live in a throwaway cluster
#   make bench
#       the benchmarks, as JSON lines
#   make style
#       the mechanical house rules
#
# The goals of all groups but the first work without pg_config and without a
# compiler: PGXS is not even looked at for them.  (Besides, PGXS has a `check`
# of its own, which only refuses.)

HOUSE_GOALS = check check-all matrix sanitize coverage mutate assert valgrind discard catalog demo demo-stop bench style

.PHONY: $(HOUSE_GOALS)

ifneq ($(filter $(HOUSE_GOALS),$(MAKECMDGOALS)),)

check:
	@bash test/check.sh quick

check-all:
	@bash test/check.sh all

matrix:
	@bash test/matrix/matrix.sh $(VERSIONS)

sanitize:
	@MATRIX_RUN=test/matrix/sanitize.sh MATRIX_SUITES="$${MATRIX_SUITES:-regress isolation tap}" \
		PROVE_TESTS="$${PROVE_TESTS:-test/t/021_exact.pl test/t/072_hostile_calls.pl test/t/073_binary_input.pl test/t/074_planted.pl}" \
		bash test/matrix/matrix.sh $(or $(VERSIONS),18)

coverage:
	@bash test/matrix/coverage.sh

mutate:
	@bash test/matrix/mutate.sh

assert:
	@MEMORY= bash test/matrix/assert.sh

valgrind discard:
	@MEMORY=$@ bash test/matrix/assert.sh

catalog:
	@bash test/upgrade/catalog.sh

demo:
	@bash test/demo/demo.sh start

demo-stop:
	@bash test/demo/demo.sh stop

bench:
	@bash test/bench/run.sh $(BENCH)

style:
	@perl test/style.pl

# goals of PGXS given beside ours: a make of their own each
OTHER_GOALS = $(filter-out $(HOUSE_GOALS),$(MAKECMDGOALS))
ifneq ($(OTHER_GOALS),)
.PHONY: $(OTHER_GOALS)
$(OTHER_GOALS):
	@$(MAKE) --no-print-directory $@
endif

# a second goal must not build while a first one cleans
.NOTPARALLEL:

else

EXTENSION = pipelines
EXTVERSION = 1.0.0
MODULE_big = $(EXTENSION)
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c src/*/*.c)))

# the parts of the install script, in the order in which they run
INSTALL_SQL = \
	src/values/values.sql \
	src/definitions/definitions.sql \
	src/definitions/pipelines.sql \
	src/definitions/templates.sql \
	src/forecast/forecast.sql \
	src/deals/deals.sql \
	src/deals/adoption.sql \
	src/deals/activities.sql \
	src/deals/adopt.sql \
	src/deals/views.sql \
	src/deals/access.sql \
	src/deals/totals.sql \
	src/deals/purge.sql \
	src/deals/moves.sql \
	src/deals/outcome.sql \
	src/deals/advance.sql \
	src/deals/import.sql \
	src/deals/import_formats.sql \
	src/money/money.sql \
	src/calendar/calendar.sql \
	src/quota/quota.sql \
	src/quota/facts.sql \
	src/quota/quota_report.sql \
	src/quota/forecast_report.sql \
	src/insight/insight.sql \
	src/insight/bridge.sql \
	src/insight/reports.sql \
	src/insight/time_in_stage.sql \
	src/insight/funnel.sql \
	src/insight/rates.sql \
	src/insight/flow.sql \
	src/insight/stalled.sql \
	src/insight/scoring.sql \
	src/insight/accuracy.sql \
	src/insight/boards.sql \
	src/insight/daily_views.sql
INSTALL_PARTS = $(wildcard $(INSTALL_SQL))

DATA = $(wildcard sql/$(EXTENSION)--*--*.sql)
DATA_built = sql/$(EXTENSION)--$(EXTVERSION).sql

# in the order in which they run; each works in a database of its own
REGRESS = \
	probability \
	weighted_forecast \
	forecast \
	forecast_hostile \
	definitions \
	definition_history \
	create_pipeline \
	templates \
	create_deals \
	adopt \
	adopt_shapes \
	grants \
	resume \
	moves \
	matrix \
	story \
	rules_cited \
	rule_edges \
	rules \
	keys \
	bookkeeping \
	statements \
	merge \
	user_triggers \
	partitions \
	shapes \
	history_guard \
	found \
	import_history \
	import_formats \
	as_of \
	known_at \
	bridge \
	verify \
	views \
	activities \
	closings \
	merge_stages \
	outcome \
	totals \
	purge \
	move_functions \
	access \
	access_views \
	access_as_if \
	reports \
	flow \
	lives \
	report_edges report_names \
	daily_views \
	load_order \
	sales_units \
	quota_report \
	forecast_report \
	fiscal_calendars \
	locked_periods \
	business_time \
	money \
	scoring \
	aggregate_states \
	forecast_accuracy \
	boards \
	broken_tables \
	rare_errors \
	refused_input

PG_CPPFLAGS = -I$(srcdir)/src

# What we call among ourselves is ours, whatever else is loaded: libedit, which
# comes with LLVM, has a history_init(), too.
comma = ,
SHLIB_LINK = $(if $(filter linux freebsd netbsd openbsd,$(PORTNAME)),-Wl$(comma)-Bsymbolic)

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)
ifeq ($(wildcard $(PGXS)),)
$(error no PostgreSQL with server headers found through "$(PG_CONFIG)": install the package postgresql-server-dev-NN, or name its pg_config by PG_CONFIG=...; "make check" and "make demo" install what they need)
endif

# PostgreSQL 13 has no isolation tester outside its own source tree
ifneq ($(wildcard $(dir $(PGXS))../test/isolation/pg_isolation_regress*),)
ISOLATION = $(patsubst test/isolation/specs/%.spec,%,$(sort $(wildcard test/isolation/specs/*.spec)))
ISOLATION_OPTS = --inputdir=test/isolation
endif

# PostgreSQL has MERGE, and views that ask who reads them, since 15
ifneq ($(filter 13.% 14.%,$(shell $(PG_CONFIG) --version 2>/dev/null)),)
REGRESS := $(filter-out merge access_views access_as_if,$(REGRESS))
ISOLATION := $(filter-out deal_merge_race,$(ISOLATION))
endif

include $(PGXS)

# without the server's --enable-depend nothing else says this
HEADERS = $(wildcard src/*.h src/*/*.h)
$(OBJS) $(OBJS:.o=.bc): $(HEADERS) Makefile

$(DATA_built): $(INSTALL_PARTS) Makefile
	{ printf '%s\n' '\echo Use "CREATE EXTENSION $(EXTENSION)" to load this file. \quit'; \
	  cat $(INSTALL_PARTS) /dev/null; } > $@

# what the test runner wants to know
.PHONY: show-tests
show-tests:
	@echo 'regress $(REGRESS)'
	@echo 'isolation $(ISOLATION)'

endif
