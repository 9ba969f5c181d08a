# Needs make and Python 3.11 or later, and no root. Python packages go into .venv, and the JavaScript clients of the
# tests into tests/node if there is Node 18 or later.
# HOST, PORT and every setting count from the environment, from .env and from the command line: make run PORT=9000

# The first of these that is Python 3.11 or later makes .venv. Another one has an environment of its own: with
# PYTHON=python3.13, each command uses .venv-3.13.
PYTHON ?= python3 python3.14 python3.13 python3.12 python3.11
VERSION = $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
VENV := .venv$(if $(filter-out file,$(origin PYTHON)),-$(VERSION))

# The file with the versions to install, instead of the newest ones that the dependencies allow.
CONSTRAINTS ?=
LOCK := requirements-dev.lock

PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check $(CONSTRAINTS:%=--constraint %)
READY := $(VENV)/.ready
DEV_READY := $(VENV)/.ready-dev
NODE_READY := tests/node/node_modules/.ready

.DEFAULT_GOAL := help
.PHONY: help setup run test test-all test-soak test-real check bench docs lock clean

help: ## Lists the commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "  %-16s %s\n", $$1, $$2 }'

setup: $(DEV_READY) $(NODE_READY) ## Installs everything that the checks and tests need

run: $(READY) ## Serves the chat and its page at http://127.0.0.1:8000
	@$(PY) -m quartapp

# Tests wait half of their time, so two workers for each core. --dist loadfile, because fixtures belong to modules.
IN_PARALLEL = -n $(shell $(PY) -c 'import os; print(2 * (os.cpu_count() or 1))') --dist loadfile

# Each worker and each server would compile every module anew.
unexport PYTHONDONTWRITEBYTECODE

# Debian installs nginx and other servers in a folder that only root's PATH has.
test test-all test-soak test-real bench: export PATH := $(PATH):/usr/sbin:/sbin

test: $(DEV_READY) $(NODE_READY) ## Runs the tests that need only this machine, with a sample of what is repeated much
	@$(PY) -m pytest -m "not real and not soak" $(IN_PARALLEL)

test-soak: $(DEV_READY) $(NODE_READY) ## Runs what make test has only a sample of: every case, and many random ones
	@$(PY) -m pytest -m "not real and (soak or hypothesis)" --hypothesis-profile=soak $(IN_PARALLEL)

test-all: test test-soak ## Runs every test that needs only this machine, in full

test-real: $(DEV_READY) ## Runs the tests that install servers of third parties
	@$(PY) -m pytest -m real tests/real

check: $(DEV_READY) $(NODE_READY) ## Lints, checks the formatting and the types of Python and of the page's scripts
	@$(PY) -m ruff check
	@$(PY) -m ruff format --check
	@$(PY) -m mypy
	@if [ -e $(NODE_READY) ]; then \
		tests/node/node_modules/.bin/prettier --check --log-level warn "**/*.{css,js,jsx,mjs,ts}" && \
		tests/node/node_modules/.bin/tsc --project tests/node; \
	else \
		echo "The page's scripts and styles are unchecked, because Node is not installed" >&2; \
		[ -z "$$CI" ]; \
	fi

bench: $(DEV_READY) ## Measures next to nginx and the usual way, and writes docs/explanation/performance.md
	@$(PY) -m bench --write

docs: $(DEV_READY) ## Builds the documentation into docs/_build/html, without the network
	@$(PY) -m sphinx -aEnW --keep-going -q docs docs/_build/html

lock: $(DEV_READY) ## Renews requirements-dev.lock, the versions that CI installs, for each Python
	@$(PY) -m pip install --quiet --disable-pip-version-check 'uv>=0.13,<1'
	@UV_CUSTOM_COMPILE_COMMAND='make lock' $(PY) -m uv pip compile --quiet --upgrade --universal --system-certs \
		--no-annotate --python-version 3.11 --extra dev pyproject.toml bench/requirements.txt --output-file $(LOCK)

clean: ## Removes .venv and everything that was built or cached
	@rm -rf .venv .venv-3.* examples/.venv tests/node/node_modules docs/_build build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What serving needs. If the environment is incomplete or its Python is missing, it is made anew.
$(READY): pyproject.toml requirements.txt $(CONSTRAINTS)
	@for python in $(PYTHON) ""; do \
		$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; \
	done; \
	if [ -z "$$python" ]; then \
		echo "quartapp needs Python 3.11 or later; found none among: $(PYTHON)" >&2; \
		echo "Name one: make $(or $(MAKECMDGOALS),setup) PYTHON=/path/to/python3.13" >&2; \
		exit 1; \
	fi; \
	if ! $$python -c 'import ensurepip, venv' 2>/dev/null; then \
		echo "$$python cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv" >&2; \
		exit 1; \
	fi; \
	echo "Making $(VENV) with $$($$python --version) …"; \
	$(PY) -c 'import pip' 2>/dev/null || $$python -m venv --clear $(VENV)
	@$(PIP) --editable '.[uvloop]'
	@touch $@

# What checks, tests and benchmarks need in addition.
$(DEV_READY): $(READY) bench/requirements.txt
	@echo "Adding the tools of the tests, which takes a minute …"
	@$(PIP) --editable '.[dev]' --requirement bench/requirements.txt
	@touch $@

# The JavaScript clients of the tests. Without Node these tests are skipped.
$(NODE_READY): tests/node/package.json tests/node/package-lock.json
	@if command -v node >/dev/null && command -v npm >/dev/null; then \
		npm ci --prefix tests/node --loglevel error --no-audit --no-fund --no-update-notifier >/dev/null && touch $@; \
	fi
