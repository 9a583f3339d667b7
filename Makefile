# Two commands do everything on a fresh Debian machine: `make demo` and `make test`.
# `make help` lists the rest.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
PYTHON ?= python3
BIN := .venv/bin
LOCK = $(BIN)/python -m piptools compile -q --allow-unsafe --generate-hashes --no-strip-extras \
    --no-annotate --no-header --no-emit-index-url --no-emit-find-links --no-emit-trusted-host
JOBS ?= 2
export PYTHON

.DEFAULT_GOAL := help

.PHONY: help
help: ## list these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: setup
setup: ## install Debian packages and the virtual environment
	@packaging/setup.sh

.PHONY: demo
demo: setup ## build a disk and a signed repository, update, reboot, confirm; a bad update, the way back
	@$(BIN)/python -m demo

.PHONY: test
test: setup ## lint, types, import rules and every test but the boots, with branch coverage
	@$(BIN)/python -m pytest -n $(JOBS) $(addprefix --ignore=,$(PROOFS)) \
	    --cov --cov-report=term:skip-covered --cov-fail-under=$(COVERAGE)
	@$(BIN)/python -m pytest -n $(JOBS) $(PROOFS)

.PHONY: test-boot
test-boot: ## on machines that really boot, in QEMU: updates, rollbacks, power cuts; OPTIONS=--help
	@packaging/setup.sh packaging/apt-packages-boot.txt
	@$(BIN)/python -m tests.boot $(OPTIONS)

.PHONY: test-clients
test-clients: setup ## a TUF client of other people's, tuf-js, reads what repo-tools makes
	@command -v npm >/dev/null || packaging/setup.sh packaging/apt-packages-clients.txt
	@mkdir -p build/test-clients && cp tests/clients/package*.json build/test-clients/
	@npm ci --prefix build/test-clients --ignore-scripts --no-audit --no-fund --silent
	@$(BIN)/python -m pytest tests/clients/tuf_js.py

.PHONY: bench
bench: setup ## measure against a careful shell, and print a table; results go to docs/performance.md
	@$(BIN)/python -m benchmarks.pipeline
	@$(BIN)/python -m benchmarks.asking
	@$(BIN)/python -m benchmarks.migrations
	@$(BIN)/python -m benchmarks.images

.PHONY: man
man: setup ## manual pages of all programs, in build/man
	@mkdir -p build/man
	@$(BIN)/repo-tools manual build/man

.PHONY: fuzz
fuzz: setup ## every parser, coverage-guided; SECONDS_EACH=n (60)
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-fuzz.lock
	@$(BIN)/python -m fuzz --seconds $(or $(SECONDS_EACH),60)

.PHONY: lint
lint: setup ## ruff and mypy alone
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

.PHONY: lock
lock: setup ## resolve the ranges of pyproject.toml into requirements.lock
	@$(BIN)/python -m pip install -q --disable-pip-version-check pip-tools
	@$(LOCK) --extra test --extra disk --extra pkcs11 --extra s3 --extra schema --extra simulate \
	    --output-file requirements.lock pyproject.toml
	@$(LOCK) --extra fuzz --output-file requirements-fuzz.lock pyproject.toml

.PHONY: clean
clean: ## remove what the targets above made
	@rm -rf .venv .cache build dist demo-work .coverage* .mypy_cache .pytest_cache .ruff_cache .hypothesis

-include packaging/install.mk

# They go through thousands of power cuts; under the coverage tracer that takes more than twice as
# long, and what they run is covered by the tests of each module.
PROOFS := $(wildcard tests/crash tests/mutation tests/model tests/kill)

# Least branch coverage that `make test` accepts, in percent.
COVERAGE := 90
