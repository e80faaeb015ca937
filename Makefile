# The entry points of the project. `make` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
WORKERS ?= 2
THREADS ?= $(shell nproc)
CACHE := $(or $(RELORA_CACHE),$(HOME)/.cache/relora)

TOOLS := $(CACHE)/tools/$(shell sha256sum locks/build.txt | cut -c1-12)
UV := $(TOOLS)/bin/uv
STAMP := .venv/.made-from-locks
BENCH_STAMP := .venv-bench/.made-from-locks
BIN := .venv/bin
DEVCLUSTER := PYTHONPATH=tests $(BIN)/python -m devcluster
DEMO := PYTHONPATH=tests $(BIN)/python -m demo
CODE := operator trainer_image tests

COMPILE := $(UV) pip compile --quiet --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
	--generate-hashes --no-emit-index-url --no-header --no-annotate

# The tests run side by side, one thread each.
export OMP_NUM_THREADS ?= 1
export UV_PYTHON_DOWNLOADS := never

.PHONY: help venv lock generate check lint types imports fast-tests every-state test integration interruptions e2e \
	cluster-up cluster-down demo demo-down bench-fleet bench-method bench-plan recordings

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(UV): locks/build.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "Python 3.11 to 3.13 is needed: make PYTHON=...")'
	@echo "installing uv into $(TOOLS)"
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps \
		--require-hashes --upgrade \
		--target $(TOOLS) -r locks/build.txt
	@touch $@

$(STAMP): locks/dev.txt pyproject.toml | $(UV)
	@echo "installing the locked packages into .venv"
	@$(UV) venv --quiet --allow-existing --python $(PYTHON) .venv
	@$(UV) pip sync --quiet --python $(BIN)/python --require-hashes locks/dev.txt
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --build-constraint locks/build.txt -e .
	@touch $@

$(BENCH_STAMP): locks/bench.txt | $(UV)
	@echo "installing the bench's peers into .venv-bench"
	@$(UV) venv --quiet --allow-existing --python $(PYTHON) .venv-bench
	@$(UV) pip sync --quiet --python .venv-bench/bin/python --require-hashes locks/bench.txt
	@touch $@

venv: $(STAMP) ## make .venv from the locked packages

lock: | $(UV) ## resolve the dependencies anew
	$(COMPILE) --group build -o locks/build.txt
	$(COMPILE) pyproject.toml --all-extras --group dev --group demo -o locks/dev.txt
	$(COMPILE) pyproject.toml --extra operator --extra store -c locks/dev.txt -o locks/operator.txt
	$(COMPILE) pyproject.toml --extra trainer -c locks/dev.txt -o locks/trainer.txt
	$(COMPILE) --group bench -c locks/dev.txt -o locks/bench.txt

generate: $(STAMP) ## write the CRDs, the chart's copies, the reference pages and the expected texts of tests
	$(BIN)/python -m relora_contract.crd --write
	$(BIN)/python -m relora_operator.reasons_page > docs/failure-reasons.md
	RELORA_UPDATE_GOLDEN=1 $(BIN)/pytest -q tests/golden

check: $(STAMP) ## lint, types, imports, unit, property and golden tests
	@$(MAKE) --jobs 4 --output-sync=target lint imports types fast-tests

lint: $(STAMP)
	$(BIN)/ruff format --check --quiet $(CODE)
	$(BIN)/ruff check --quiet $(CODE)

types: $(STAMP)
	$(BIN)/mypy
	$(BIN)/mypy tests

imports: $(STAMP)
	$(BIN)/lint-imports

fast-tests: $(STAMP)
	$(BIN)/pytest -q -n $(WORKERS) -m "not integration and not exhaustive" tests/unit tests/property tests/golden tests/interruptions

every-state: $(STAMP) ## search every state that a small fleet can reach, and say how many they are
	$(BIN)/pytest -q -s -m exhaustive tests/unit/operator_core

test: check every-state integration e2e ## everything that this machine can run

integration: $(STAMP) ## tests against a real API server and a real S3 gateway; no root, no containers
	$(BIN)/pytest -q -n $(WORKERS) --dist worksteal tests/integration
	$(BIN)/pytest -q -m integration tests/unit/store

interruptions: $(STAMP) ## kill the trainer all over its work, with a folder and with an S3 store
	$(BIN)/pytest -q -m integration tests/interruptions

e2e: $(STAMP) ## tests on a real node with real Jobs; needs root, says so where it cannot run
	@if [ "$$(id -u)" = 0 ]; then $(DEVCLUSTER) deps; fi
	$(BIN)/pytest -q tests/e2e

cluster-up: $(STAMP) ## bring up a real one-node cluster on this machine
	$(DEVCLUSTER) deps
	$(DEVCLUSTER) up --node

cluster-down: $(STAMP) ## remove that cluster
	$(DEVCLUSTER) down --node

bench-fleet: $(STAMP) ## move a fleet of N bindings to a new base and measure what that costs (100)
	PYTHONPATH=tests $(BIN)/python -m bench.fleet $(or $(N),100)

bench-plan: $(STAMP) ## how long kubectl relora plan takes for N bindings (5000)
	PYTHONPATH=tests $(BIN)/python -m plugin.bench $(or $(N),5000)

recordings: $(STAMP) ## make the docs' pictures of kubectl relora from a real operator on a real API server
	PYTHONPATH=tests $(BIN)/python -m recordings

bench-method: $(STAMP) $(BENCH_STAMP) ## what the method costs and brings beside its peers; QUICK=1 for the short form
	OMP_NUM_THREADS=$(THREADS) PYTHONPATH=tests $(BIN)/python -m bench.method --form $(if $(QUICK),quick,full) $(if $(ONLY),--only $(ONLY))

demo: $(STAMP) ## show one release from the apply to the served adapter
	$(DEVCLUSTER) deps
	$(DEMO) up

demo-down: $(STAMP) ## remove all that the demo made
	$(DEMO) down
