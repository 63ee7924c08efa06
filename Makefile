# Each target makes its own virtual environment; nothing has to be prepared but Python 3.11 or newer.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
STRICT = python -X dev -W error
# Without the debug hooks of memory allocation, which find faults in C code: they cost a seventh of the time.
PYTEST = PYTHONMALLOC=default $(BIN)/$(STRICT) -m pytest
WORKERS ?= 4
TIER ?= full
# In interpreters as strict as the one that leads them.
PARALLEL = --dist worksteal --tx '$(WORKERS)*popen//python=$(abspath $(BIN))/$(STRICT)'
# Compiled once, not at every start of the hundreds of processes that the tests start.
unexport PYTHONDONTWRITEBYTECODE
export VENV
CHOSEN = $(FILE) $(if $(K),-k '$(K)')

.PHONY: demo demo-admin screenshots test test-all test-long coverage lint bench matrix clean

demo: $(VENV)/.package
	$(BIN)/python example/demo.py

# The pages of the admin, ready to click. PORT=8000
demo-admin: $(VENV)/.package
	$(BIN)/python example/serve.py

# The pictures of docs/admin.md and of the README, of what `make demo-admin` shows.
screenshots: $(VENV)/.test
	scripts/test-programs
	$(BIN)/python scripts/screenshots docs/images

# The fast tier: all that needs no database server and no project in processes of its own, and the contracts of the
# engines. With FILE=tests/test_house.py, K=word or both: these of all tests but the long ones, in one process.
test: $(VENV)/.test
	scripts/test-programs
	$(PYTEST) $(if $(FILE)$(K),$(CHOSEN),--tier fast $(PARALLEL))

# TIER=rest leaves out what `make test` runs.
test-all: $(VENV)/.test
	scripts/test-programs
	$(PYTEST) --tier $(TIER) $(PARALLEL) $(CHOSEN)

test-long: $(VENV)/.test
	scripts/test-programs
	$(PYTEST) --tier long $(PARALLEL) $(CHOSEN)

# Lines and branches of src/ that the full tier runs.
coverage: $(VENV)/.test
	scripts/test-programs
	rm -f .coverage .coverage.*
	$(BIN)/python -m coverage run -m pytest --tier full --dist worksteal -n $(WORKERS) $(CHOSEN)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --config-file= --strict --cache-dir .mypy_cache/users tests/support/python_api_user.py
	$(BIN)/lint-imports
	$(BIN)/codespell
	scripts/plain-words
	$(BIN)/python docs/generate_configuration.py --check
	$(BIN)/python docs/generate_api.py --check

# Writes docs/benchmarks.md, its chart and the figures of the README; takes hours. BENCH='--size 0.1 --turns 3 sqlite'
# only prints: what is named is run, of that size in GB.
bench: $(VENV)/.bench
	scripts/test-programs
	$(BIN)/python -m benchmarks $(BENCH)

# The fast tier under the newest interpreter of this machine, with the newest Django it can run.
matrix:
	for python in $$(scripts/interpreters); do \
	    $(MAKE) test PYTHON=$$python VENV=.venv-$$(basename $$(dirname $$(dirname $$python))) || exit 1; \
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
