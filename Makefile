# Needs Python >= 3.11 and make; everything else is installed into .venv from hash-locked files.
#
#   make demo    an exchange to bring along, a backtest on its market, and its report
#   make test    everything that must hold before a change is taken
#   make help    the other targets

.DEFAULT_GOAL := help
SHELL := /bin/bash
.PHONY: help demo test lint types unit bench soak lock clean setup

# The first Python that is new enough and can make a virtual environment; PYTHON=… names another.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
  $$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 \
  && { echo $$p; break; }; done)

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
RUNTIME := $(VENV)/.runtime-installed
DEV := $(VENV)/.dev-installed

# demo: adjust here

DEMO_DIR := data/demo

demo: $(RUNTIME) ## start the emulator, download from it, run a backtest, print its summary and report
	tools/demo $(BIN) $(DEMO_DIR)

# what must hold

test: lint types unit ## lint, types, and all tests with their coverage gates

lint: $(DEV) ## style, formatting and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

types: $(DEV) ## mypy --strict
	$(BIN)/mypy

unit: $(DEV) ## the tests alone, with branch coverage
	$(BIN)/python -m pytest -n auto --dist worksteal --cov --cov-report=json --cov-report=
	$(BIN)/python tools/coverage_gate.py .coverage.json

bench: $(DEV) ## what is measured, as ratios in one run
	$(BIN)/python -m benchmarks.venues
	$(BIN)/python -m benchmarks

soak: $(DEV) ## a virtual day of bad weather at both venues: about half an hour
	$(BIN)/python -m benchmarks.soak --hours 24

# environment

setup: $(DEV) ## install everything into .venv

$(BIN)/python:
	@if [ -z "$(PYTHON)" ]; then \
	  echo "error: no Python >= 3.11 with the venv module was found." >&2; \
	  echo " next: install one (on Debian: python3 and python3-venv), or say make PYTHON=/path/to/python3" >&2; \
	  exit 2; fi
	$(PYTHON) -m venv $(VENV)

$(RUNTIME): requirements/build.lock requirements/runtime.lock pyproject.toml | $(BIN)/python
	@echo "installing perpdesk into $(VENV) …"
	$(PIP) --require-hashes -r requirements/build.lock -r requirements/runtime.lock
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV): requirements/dev.lock $(RUNTIME)
	@echo "installing the tools for tests into $(VENV) …"
	$(PIP) --require-hashes -r requirements/dev.lock
	@touch $@

# uv resolves once for every supported Python and platform; the files hold hashes and no addresses.
LOCK := build/lock/bin/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 \
  --fork-strategy fewest --generate-hashes --annotation-style line --no-header \
  --no-emit-index-url --no-emit-find-links $(LOCK_OPTIONS)

lock: ## resolve the dependencies anew (LOCK_OPTIONS=--upgrade takes newer ones)
	@[ -n "$(PYTHON)" ] || { echo "error: no Python >= 3.11 was found" >&2; exit 2; }
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip --disable-pip-version-check install --quiet uv
	$(LOCK) --extra dev --output-file requirements/dev.lock
	$(LOCK) --constraint requirements/dev.lock --output-file requirements/runtime.lock
	$(subst compile pyproject.toml,compile --group build,$(LOCK)) --output-file requirements/build.lock

clean: ## drop the environment, caches and the demo's data; your own data stays
	rm -rf $(VENV) build dist src/*.egg-info $(DEMO_DIR) .coverage .coverage.* .hypothesis \
	  .mypy_cache .pytest_cache .ruff_cache .import_linter_cache htmlcov
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 15
