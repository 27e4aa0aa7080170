# torghut: everything a developer does, by one word. `make` alone lists the words.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON := .venv/bin/python
PYTEST := $(PYTHON) -m pytest
READY := .venv/.ready
ARGS ?=

export PYTHONUTF8 := 1

.PHONY: help setup demo dev test test-full campaign lint format typecheck bench docs conformance-alpaca clean

help: ## List these targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.bootstrap/uv: scripts/bootstrap.sh
	@scripts/bootstrap.sh

$(READY): .bootstrap/uv pyproject.toml uv.lock scripts/sync.sh
	@scripts/sync.sh
	@touch $@

setup: $(READY) ## Bring uv and install the locked packages into .venv
	@echo "ready: .venv/bin/torghut --help"

demo: $(READY) ## Two candidates on real daily bars: verdicts and reasons; then the runtime trades on a simulator
	@.venv/bin/torghut demo $(ARGS)

dev: $(READY) ## Start the platform, trading on a simulator, Dagster's UI on 127.0.0.1:3000; Ctrl-C stops all
	@.venv/bin/torghut dev $(ARGS)

test: $(READY) ## All tests that need nothing but this checkout, with coverage
	$(PYTEST) -n auto --dist loadfile -m "not full and not campaign" --cov --cov-report=term --cov-report=xml:test-artifacts/coverage.xml $(ARGS)

test-full: $(READY) ## The tests that `make test` leaves out: real Dagster processes and a browser
	@scripts/install-browser.sh
	@scripts/install-promtool.sh
	$(PYTEST) -m "full and not campaign" $(ARGS)

campaign: $(READY) ## Long seeded campaigns and property tests with many more examples
	$(PYTEST) tests/property -m "not full" --hypothesis-profile=campaign $(ARGS)
	$(PYTEST) --ignore=tests/property -m campaign -s $(ARGS)

lint: $(READY) ## Style, imports and formatting
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

format: $(READY) ## Put files into the project's format
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

typecheck: $(READY) ## Types, strict
	$(PYTHON) -m pyright

bench: $(READY) ## Every benchmark, with its targets
	@for script in benchmarks/*.py; do echo "== $$script"; $(PYTHON) $$script || exit 1; done

docs: $(READY) ## Regenerate what is generated under docs/ (schemas, gate tables, command line, settings, records)
	$(PYTHON) -m torghut_assets.schemas
	$(PYTHON) -m torghut_assets.gates.reference
	$(PYTHON) -m torghut_assets.guard.reference
	$(PYTHON) -m torghut_assets.commands.reference
	$(PYTHON) scripts/alpaca_methods.py
	$(PYTHON) scripts/runtime_settings.py
	$(PYTHON) scripts/metrics_page.py
	$(PYTHON) scripts/adr_index.py

conformance-alpaca: $(READY) ## The simulator's cases against a real Alpaca paper account; keys from the environment
	$(PYTHON) scripts/conformance_alpaca.py $(ARGS)

clean: ## Remove environments, caches and build results; keeps artifacts/ and .torghut/
	rm -rf .venv .bootstrap .pytest_cache .ruff_cache .hypothesis build dist htmlcov test-artifacts .coverage .coverage.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
