# make demo   an environment in .venv, then the main job on the embedded sandbox
# make test   an environment, then every test that this machine can run
# make bench  the benchmarks: each prints its ratio last
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo test test-full bench lint types conformance dictionary notebooks peers clean
.DELETE_ON_ERROR:

demo: $(VENV)/.demo
	$(BIN)/s4s demo

test: $(VENV)/.test peers lint types
	$(BIN)/python -m pytest -p no:cacheprovider --junitxml=test-artefacts/junit.xml

test-full: $(VENV)/.test peers lint types
	S4S_FULL=1 $(BIN)/python -m pytest -p no:cacheprovider --timeout=3600

bench: $(VENV)/.test
	@for script in benchmarks/bench_*.py; do \
		name=$$(basename $$script .py); echo "== $$name"; $(BIN)/python -m benchmarks.$$name || exit 1; \
	done

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.test
	$(BIN)/mypy

conformance: $(VENV)/.test
	$(BIN)/python -m pytest --collect-only -q --conformance-page=docs/conformance.md >/dev/null

notebooks: $(VENV)/.test
	$(BIN)/python -m tests.notebooks.store

dictionary: $(VENV)/.test
	$(BIN)/python -m tests.conformance.dictionary

# Programs of other makers that the tests talk to: Debian's when this is root on Debian, npm's where there is npm; else
# the tests that need them say what is missing.
peers:
	@sh tests/peers/install.sh

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade pip

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) install -c constraints.txt -e '.[sandbox,pixels]'
	touch $@

$(VENV)/.test: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) install -c constraints.txt -e '.[all]' --group test --group lint
	touch $@ $(VENV)/.demo

clean:
	rm -rf $(VENV) tests/peers/node_modules build dist test-artefacts .mypy_cache .ruff_cache .pytest_cache
