# Two commands matter: `make demo` and `make test`. `make help` lists the rest.
.DEFAULT_GOAL := help
.PHONY: help demo test test-fast test-long check fmt up down install install-dev lock clean

# Plain relative paths throughout: the checkout may lie below a folder with a space in its name.
TUTOR := .venv/bin/tutor-pipeline
PYTEST := .venv/bin/python -m pytest

help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

demo: install ## Install, generate a synthetic platform, run the whole pipeline, show who needs attention
	@$(TUTOR) demo

test: install-dev ## Every test but the long ones, about 15 minutes on two cores
	@$(PYTEST) -n 2 --dist loadfile

test-fast: install-dev ## Tests that start no PostgreSQL, dbt, Dagster or server, under 90 seconds
	@$(PYTEST) -n 2 --dist loadfile --no-database -m "not long and not slow" \
		--ignore=tests/integration --ignore=tests/defs

test-long: install-dev ## Many seeds, long fuzzing, kills. PART=1/3: a third of the files
	@$(PYTEST) -n 2 --dist loadfile -m long --durations=10 $(if $(PART),--part $(PART))

check: install-dev ## Linters, types, import contracts, definitions
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports
	@.venv/bin/sqlfluff lint --config dbt_project/.sqlfluff dbt_project/models dbt_project/tests
	@.venv/bin/sqlfluff lint tutor_pipeline benchmarks deploy
	@scripts/check-defs

fmt: install-dev ## Format, and mend what ruff and sqlfluff can mend without a doubt
	@.venv/bin/ruff check --fix --quiet --exit-zero .
	@.venv/bin/ruff format .
	@.venv/bin/sqlfluff fix --config dbt_project/.sqlfluff dbt_project/models
	@.venv/bin/sqlfluff fix --config tutor_pipeline/.sqlfluff tutor_pipeline

up: install ## The desk, the Dagster UI and its daemon
	@$(TUTOR) up

down: ## Stop them and the embedded PostgreSQL
	@if [ -x $(TUTOR) ]; then $(TUTOR) down; fi

install: ## Install into .venv, from the lock
	@scripts/install

install-dev: install ## Install what tests, linters and `dg` need
	@scripts/install dev

lock: ## Pin the dependencies anew (needs uv)
	uv pip compile pyproject.toml --universal --generate-hashes --no-emit-index-url --no-strip-extras \
		--python-version 3.11 --custom-compile-command "make lock" -q -o requirements.lock
	uv pip compile pyproject.toml --group dev -c requirements.lock --universal --generate-hashes \
		--no-emit-index-url --no-strip-extras --python-version 3.11 \
		--custom-compile-command "make lock" -q -o requirements-dev.lock

clean: ## Remove the environment and all generated data
	@if [ -x $(TUTOR) ]; then $(TUTOR) down --delete; fi
	rm -rf .venv .tutor dbt_project/target dbt_project/logs
