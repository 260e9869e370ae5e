# The two commands of a fresh machine: `make demo` and `make test`. They need make, python3 and python3-venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
.DEFAULT_GOAL := help

.PHONY: help demo test lint venv bench bench-serial lock clean

help: ## say what there is to make
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

demo: $(STAMP) ## a simulated shop of 25 machines, live; more options: make demo ARGS="--speed 60"
	$(BIN)/farmd demo $(ARGS)

test: lint ## everything that must hold: lint, then all tests; some: make test ARGS=tests/model
	$(BIN)/pytest $(ARGS)

lint: $(STAMP) ## ruff, mypy --strict and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP) ## the short benchmarks of docs/BENCHMARKS.md, one after another
	$(BIN)/python -m bench

bench-serial: $(STAMP) ## the serial link's goals beside its figures, printcore and OctoPrint in the same run; ARGS=--quick
	$(BIN)/python -m bench.serial $(ARGS)

venv: $(STAMP) ## only make .venv, from the lock file

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(BIN)/python -m farmd.planner.warm
	touch $@

lock: ## write requirements.lock anew from pyproject.toml; needs uv
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-emit-find-links --no-annotate --no-header --extra dev --extra build pyproject.toml -o requirements.lock

clean: ## remove .venv and all caches
	rm -rf $(VENV) .venv-peers .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
