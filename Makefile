# Each target makes its own virtual environment; nothing has to be prepared but Python 3.11 or newer.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
STRICT = python -X dev -W error
PYTEST = $(BIN)/$(STRICT) -m pytest
WORKERS ?= 2
# Whole files beside each other, in interpreters as strict as the one that tells of them.
BESIDE = --dist loadfile --tx '$(WORKERS)*popen//python=$(abspath $(BIN))/$(STRICT)'

.PHONY: demo test test-long lint bench matrix clean

demo: $(VENV)/.package
	$(BIN)/python example/demo.py

test: $(VENV)/.test
	scripts/test-programs
	$(PYTEST) -m "not long" $(BESIDE) $(PYTEST_OPTIONS)

test-long: $(VENV)/.test
	scripts/test-programs
	$(PYTEST) -m long

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	scripts/plain-words
	$(BIN)/python docs/generate_configuration.py --check

bench: $(VENV)/.bench
	scripts/test-programs
	$(BIN)/python -m benchmarks --slow

# The tests under the newest interpreter of this machine, with the newest Django it can run. Of the servers' engines
# the contract: what only one of them has does not depend on Python.
matrix:
	for python in $$(scripts/interpreters); do \
	    $(MAKE) test PYTEST_OPTIONS='--ignore-glob=*/engines/test_*_*.py' PYTHON=$$python VENV=.venv-$$(basename $$(dirname $$(dirname $$python))) || exit 1; \
	done

$(VENV)/bin/pip:
	scripts/make-venv $(PYTHON) $(VENV)

$(VENV)/.package: $(VENV)/bin/pip pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.test: $(VENV)/bin/pip pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@

$(VENV)/.bench: $(VENV)/bin/pip pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test,bench]'
	touch $@

$(VENV)/.lint: $(VENV)/bin/pip pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test,lint]'
	touch $@

clean:
	rm -rf .venv .venv-* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
