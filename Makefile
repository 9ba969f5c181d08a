# Needs make and Python 3.11, 3.12 or 3.13, and no root; whatever else there is goes into .venv, and what tests need of
# JavaScript, where there is Node 18 or later, into tests/node.
# HOST, PORT and every setting count from the environment, from .env and from the command line: make run PORT=9000

# The first of these that is a Python we run on makes .venv; name another with: make setup PYTHON=/opt/python3.13
PYTHON ?= python3 python3.13 python3.12 python3.11

VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
NODE_READY := tests/node/node_modules/.ready

.DEFAULT_GOAL := help
.PHONY: help setup run test test-real check bench clean

help: ## Says what there is to do
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "  %-16s %s\n", $$1, $$2 }'

setup: $(READY) $(NODE_READY) ## Makes .venv with everything in it; once, and again when requirements change

run: $(READY) ## Serves the chat and its page at http://127.0.0.1:8000
	@$(PY) -m quartapp

# Debian keeps nginx and other servers where only root's PATH leads.
test test-real bench: export PATH := $(PATH):/usr/sbin:/sbin

test: $(READY) $(NODE_READY) ## Runs every test that stays on this machine
	@$(PY) -m pytest -m "not real" -n auto --dist loadfile

test-real: $(READY) ## Runs against third parties' servers, installed for the occasion
	@$(PY) -m pytest -m real tests/real

check: $(READY) $(NODE_READY) ## Lints, checks the formatting and the types of Python and of the page's scripts
	@$(PY) -m ruff check
	@$(PY) -m ruff format --check
	@$(PY) -m mypy
	@if [ -e $(NODE_READY) ]; then \
		tests/node/node_modules/.bin/tsc --project tests/node; \
	else \
		echo "The types of the page's scripts are unchecked, because Node is not installed" >&2; \
		[ -z "$$CI" ]; \
	fi

bench: $(READY) ## Measures beside nginx and the usual way, and writes docs/performance.md
	@$(PY) -m bench --write

clean: ## Removes .venv and everything that was built or cached
	@rm -rf $(VENV) tests/node/node_modules build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# An environment that was begun and not finished, or whose Python has gone, is made anew.
$(READY): pyproject.toml requirements.txt bench/requirements.txt
	@for python in $(PYTHON) ""; do \
		$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && break; \
	done; \
	if [ -z "$$python" ]; then \
		echo "quartapp runs on Python 3.11, 3.12 and 3.13; found none of them among: $(PYTHON)" >&2; \
		echo "Name one: make $(or $(MAKECMDGOALS),setup) PYTHON=/path/to/python3.13" >&2; \
		exit 1; \
	fi; \
	if ! $$python -c 'import ensurepip, venv' 2>/dev/null; then \
		echo "$$python cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv" >&2; \
		exit 1; \
	fi; \
	echo "Making $(VENV) with $$($$python --version), which takes a minute …"; \
	$(PY) -c 'import pip' 2>/dev/null || $$python -m venv --clear $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[dev]' --requirement bench/requirements.txt
	@touch $@

# The JavaScript clients that tests ask with. Where there is no Node the tests say that they were skipped.
$(NODE_READY): tests/node/package.json tests/node/package-lock.json
	@if command -v node >/dev/null && command -v npm >/dev/null; then \
		npm ci --prefix tests/node --loglevel error --no-audit --no-fund --no-update-notifier >/dev/null && touch $@; \
	fi
