# `make` lists what there is. `make demo` and `make test` need only Python 3.11-3.13 and make.
SHELL := /bin/sh
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
export PYTHONUNBUFFERED := 1
# The first interpreter that runs and is new enough; PYTHON=... overrides it.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && { echo $$p; exit; }; done; echo python3)

.PHONY: help demo test check bench bench-gpu chaos soak fuzz setup setup-dev lint types contracts locks-check lock reference reference-check \
	licences-check licences audit compose-check promtool fmt clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: ## virtual environment with everything one machine needs
	@$(PYTHON) tools/bootstrap.py --requirements requirements/all.txt

setup-dev: ## the same plus test and lint tools
	@$(PYTHON) tools/bootstrap.py --requirements requirements/dev.txt

demo: setup ## real texts, a real model, live numbers, an alert that fires and clears
	@$(BIN)/embedwatch demo $(ARGS)

test: setup-dev ## unit, contract, integration and end-to-end tests
	@$(BIN)/python -m pytest $(ARGS)

check: setup-dev lint types contracts locks-check reference-check licences-check ## ruff, mypy --strict, import contracts, lock files, reference, licences

bench: setup-dev ## measure every claim about speed; ONLY=id,id measures some
	@$(BIN)/python -m benchmarks --only "$(ONLY)"

bench-gpu: setup-dev ## the worker's steps on a GPU, one table; ARGS=--tiny tries the script on a CPU
	@$(BIN)/python benchmarks/gpu.py $(ARGS)

chaos: setup-dev ## break everything 200 times and count what is lost (FAULTS=n SEED=n RUNS=n OUT=file.json)
	@EMBEDWATCH_TEST_REQUIRE=embedded,kafka,redis EMBEDWATCH_TEST_CHAOS_RUNS=$(or $(RUNS),4) \
		EMBEDWATCH_TEST_CHAOS_FAULTS=$(or $(FAULTS),200) EMBEDWATCH_TEST_CHAOS_SEED=$(or $(SEED),1) \
		EMBEDWATCH_TEST_CHAOS_OUT="$(OUT)" $(BIN)/python -m pytest tests/chaos -m chaos $(ARGS)

soak: setup-dev ## 2 million texts through the whole flow: memory, handles, lag, totals, as a plot (TEXTS=n)
	@$(BIN)/python -m tests.chaos.soak --texts $(or $(TEXTS),2000000) $(ARGS)

fuzz: setup-dev ## hostile input to every decoder, by coverage (SECONDS=60 each; TARGETS=codec,rules; ARGS=--write)
	@$(BIN)/python tools/fuzz.py --seconds $(or $(SECONDS),60) --targets "$(TARGETS)" $(ARGS)

lint:
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types:
	@$(BIN)/mypy

contracts:
	@$(BIN)/lint-imports

locks-check:
	@$(BIN)/python tools/locks.py check

lock: setup-dev ## remake requirements/*.txt from pyproject.toml
	@$(BIN)/python tools/locks.py make

reference-check:
	@$(BIN)/python tools/reference.py check
	@$(BIN)/python -m deploy.grafana.make check

reference: setup-dev ## remake docs/reference and the dashboards of deploy/grafana from the code
	@$(BIN)/python tools/reference.py make
	@$(BIN)/python -m deploy.grafana.make make

licences-check:
	@$(BIN)/python tools/licences.py check

licences: setup-dev ## remake docs/reference/licences.md from the lock file and what is installed
	@$(BIN)/python tools/licences.py make

audit: setup-dev ## ask for advisories against the packages of the lock, by pip-audit; says when it could not (exit code 3)
	@$(BIN)/python tools/audit.py

compose-check: setup-dev ## docker-compose.yml and Dockerfile against the code, and by Docker where it is installed
	@$(BIN)/python -m pytest -q tests/unit/deploy
	@if docker compose version >/dev/null 2>&1; then \
		docker compose --env-file deploy/.env.example --profile gpu --profile dashboards config --quiet && echo "docker compose: the file is valid"; \
	else echo "docker compose is not installed here: its own parser was not asked"; fi
	@if docker buildx version >/dev/null 2>&1; then docker buildx build --check -f deploy/Dockerfile .; \
	else echo "docker buildx is not installed here: its Dockerfile checks were not run"; fi

promtool: setup-dev ## rules and tests of deploy/prometheus by Prometheus's own checker, its output shown
	@if command -v promtool >/dev/null 2>&1; then \
		promtool check config deploy/prometheus/prometheus.yml && \
		promtool check rules --lint=all --lint-fatal deploy/prometheus/rules/*.yml && \
		promtool test rules deploy/prometheus/tests/*.yml && \
		$(BIN)/python -m pytest -q tests/unit/stream_agents/test_families.py -k promtool; \
	else echo "promtool is not installed here (on Debian and Ubuntu: apt install prometheus)"; fi

fmt: setup-dev ## format and mend what ruff can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
