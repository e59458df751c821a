# Two commands matter: `make run` and `make test`. `make help` lists the rest.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

# Nothing on this machine reports anywhere.
export DO_NOT_TRACK := true
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export MLFLOW_DISABLE_TELEMETRY := true
export DVC_NO_ANALYTICS := 1
export HF_HUB_DISABLE_TELEMETRY := 1
export GX_ANALYTICS_ENABLED := false
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help install run test test-servers test-again test-fast fuzz durations evidence lint scan scan-review audit sbom format bench servers stack backup restore secrets schema deps lock clean

help: ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

install: $(STAMP) ## The virtual environment with the locked dependencies

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
		{ echo "error: Python 3.11 is needed; name it with make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@# By all cores instead of pip's one. Templates among the packages' files are no valid Python.
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null 2>&1 || true
	@touch $@

run: $(STAMP) ## The pipeline; draws sample pictures first when there are none
	@$(BIN)/nadir run

# A file of tests stays on one worker, and the longest file starts first.
test: $(STAMP) ## All tests but the long ones of `make evidence`
	@$(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder

test-servers: $(STAMP) ## The story of a model against the whole server stack
	@$(BIN)/pytest -m servers tests/servers

test-again: $(STAMP) ## The files with a test that failed last, one after another
	@files=$$($(BIN)/python scripts/failed_test_files.py) && $(BIN)/pytest $$files

test-fast: $(STAMP) ## The tests that take under 0.1 s, and a short one of every folder
	@$(BIN)/pytest -m "not slow" -n auto --dist loadfile --no-loadscope-reorder

fuzz: $(STAMP) ## The property tests on examples drawn anew; what they find becomes a test
	@$(BIN)/pytest -m "hypothesis and not evidence" --hypothesis-profile drawn -n auto --dist loadfile

durations: $(STAMP) ## All tests; what each takes is written to tests/durations.json
	@$(BIN)/pytest --record-durations -n auto --dist loadfile --no-loadscope-reorder

evidence: $(STAMP) ## The long measurements behind the claims in docs/; after `make run`
	$(BIN)/python -m bench.terminal_step
	$(BIN)/python scripts/compare_zero_terminal.py
	$(BIN)/pytest -m evidence

bench: $(STAMP) ## Side-by-side measurements
	$(BIN)/python -m bench.schedulers_against_diffusers
	$(BIN)/python -m bench.stock_scheduler
	$(BIN)/python -m bench.stock_spacings
	$(BIN)/python -m bench.spacing
	$(BIN)/python -m bench.sampler_order
	$(BIN)/python -m bench.half_precision
	$(BIN)/python -m bench.registry_drawing
	$(BIN)/python -m bench.inspection
	$(BIN)/python -m bench.screening
	$(BIN)/python -m bench.bucketing
	$(BIN)/python -m bench.tag_statistics
	$(BIN)/python -m bench.batch_plan
	$(BIN)/python -m bench.training_samples
	$(BIN)/python -m bench.training_start
	$(BIN)/python -m bench.listing
	$(BIN)/python -m bench.tag_reading
	$(BIN)/python -m bench.shard_reading
	$(BIN)/python -m bench.busy_machine
	$(BIN)/python -m bench.evaluation
	$(BIN)/python -m bench.step_overhead
	$(BIN)/python -m bench.serving
	$(BIN)/python -m bench.quality

lint: $(STAMP) ## Style, types and the order of the rooms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/deptry src flows scripts bench

# A minute of work: not a part of lint, but of CI. 3 says that known finds moved to other lines.
scan: $(STAMP) ## Passwords and keys among the files of git, beside the reviewed list
	@$(BIN)/detect-secrets-hook --no-verify --baseline .secrets.baseline $$(git ls-files) || [ $$? = 3 ]

scan-review: $(STAMP) ## Take the present finds into the list, each to be judged by a person
	$(BIN)/detect-secrets scan --no-verify --baseline .secrets.baseline
	$(BIN)/detect-secrets audit .secrets.baseline

audit: $(STAMP) ## Known faults of the pinned packages, from PyPI or OSV
	@$(BIN)/python scripts/audit.py

sbom: $(STAMP) ## Rewrite sbom.json, the bill of materials, from what is installed
	scripts/sbom.sh $(PYTHON)

format: $(STAMP) ## Mend the style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

servers: $(STAMP) ## The MLflow and Prefect pages, until Ctrl-C
	@$(BIN)/nadir servers

# With ARGS="--port postgres=5433" on another port, and so on: --help lists them.
stack: $(STAMP) ## The servers of docker-compose.yml without containers, until Ctrl-C
	@$(BIN)/python -m nadir.pipeline.servers.stack $(ARGS)

# In containers with ARGS=--docker.
backup: $(STAMP) ## The stack's databases and bucket into the new folder TO
	@$(BIN)/python -m nadir.pipeline.servers.stack.backup $(ARGS) "$(TO)"

restore: $(STAMP) ## The backup in the folder FROM into a stack that is empty
	@$(BIN)/python -m nadir.pipeline.servers.stack.backup --restore $(ARGS) "$(FROM)"

secrets: ## The server stack's .env, with passwords of chance; one that is there stays
	@$(PYTHON) scripts/make_secrets.py

schema: $(STAMP) ## Rewrite schemas/params.schema.json
	$(BIN)/nadir params schema > schemas/params.schema.json

deps: $(STAMP) ## Rewrite the code dependencies in dvc.yaml from the stages' imports
	$(BIN)/python scripts/sync_stage_deps.py

lock: ## Resolve the dependencies anew
	scripts/lock.sh $(PYTHON)

clean: ## Remove everything the pipeline made, the sample pictures and the cache included
	rm -rf data/sample data/latents data/*.parquet data/*.json
	rm -rf models reports work .dvc/cache .dvc/tmp dvc.lock
