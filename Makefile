# The two commands of a fresh machine: `make demo` and `make test`. They need make, python3 and python3-venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
.DEFAULT_GOAL := help

.PHONY: help demo test lint venv bench bench-serial bench-planner bench-reliability install install-units lock clean

help: ## say what there is to make
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

demo: $(STAMP) ## a simulated shop of 25 machines, live; more options: make demo ARGS="--speed 60"
	$(BIN)/farmd demo $(ARGS)

test: lint ## everything that must hold: lint, then all tests; some: make test ARGS=tests/model
	$(BIN)/pytest --numprocesses auto --maxprocesses 4 $(ARGS)

lint: $(STAMP) ## ruff, mypy --strict and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP) ## the short benchmarks of docs/BENCHMARKS.md, one after another
	$(BIN)/python -m bench

bench-serial: $(STAMP) ## the serial link's goals beside its figures, printcore and OctoPrint in the same run; ARGS=--quick
	$(BIN)/python -m bench.serial $(ARGS)

bench-planner: $(STAMP) ## the planner's goals beside its figures, short; all of it, in hours: make bench-planner ARGS=--long
	$(BIN)/python -m bench.planner $(ARGS)

bench-reliability: $(STAMP) ## crashes, restarts, loop lag, emergency stops beside their goals, short; some: ARGS="--only loaded"
	$(BIN)/python -m bench.reliability $(ARGS)

venv: $(STAMP) ## only make .venv, from the lock file

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(BIN)/python -m farmd.planner.warm
	touch $@

# Where `make install` puts things. UNITS and ETC are roots that a package or a test may set elsewhere.
PREFIX ?= /opt/farmd
ETC ?= /etc
UNITS ?= $(ETC)/systemd/system

install: ## farmd for good: its own environment under PREFIX, and install-units
	$(PYTHON) -m venv $(PREFIX)/.venv
	$(PREFIX)/.venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(PREFIX)/.venv/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation .
	$(PREFIX)/.venv/bin/python -m farmd.planner.warm
	cp -r docs $(PREFIX)/
	$(MAKE) install-units

install-units: ## only units, user, folders, udev rules and an example configuration, under ETC
	install -d $(UNITS) $(ETC)/sysusers.d $(ETC)/tmpfiles.d $(ETC)/udev/rules.d $(ETC)/farmd
	for unit in farmd.service farmd-planner.service farmd-backup.service farmd-backup.timer; do \
	  sed 's|/opt/farmd|$(PREFIX)|g' systemd/$$unit > $(UNITS)/$$unit && chmod 644 $(UNITS)/$$unit || exit 1; done
	install -m 644 systemd/farmd.sysusers.conf $(ETC)/sysusers.d/farmd.conf
	install -m 644 systemd/farmd.tmpfiles.conf $(ETC)/tmpfiles.d/farmd.conf
	install -m 644 systemd/70-farmd.rules $(ETC)/udev/rules.d/70-farmd.rules
	test -e $(ETC)/farmd/farm.toml || install -m 640 config/farm.example.toml $(ETC)/farmd/farm.toml

lock: ## write requirements.lock anew from pyproject.toml; needs uv
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-emit-find-links --no-annotate --no-header --extra dev --extra build pyproject.toml -o requirements.lock

clean: ## remove .venv and all caches
	rm -rf $(VENV) .venv-peers .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
