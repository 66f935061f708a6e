# The front door: `make run` does the main job on real data, `make test` proves the code.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup run test lint types format clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

setup: $(READY) ## Create .venv and install zoolet with everything it needs

# Debian keeps ensurepip in a package of its own; where it is missing it is installed if that is
# allowed, and named if it is not.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "zoolet needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null \
	  || { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq python3-venv; } \
	  || { echo "$(PYTHON) cannot make virtual environments: install Debian's python3-venv package and run make again." >&2; exit 1; }
	@echo "Installing zoolet into $(VENV) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

run: $(READY) ## Serve, load a year of flights, run jobs over them, check the answer
	@$(BIN)/python examples/flights.py

test: $(READY) lint types ## Run every check and every test
	$(BIN)/python -m pytest -n 2

lint: $(READY) ## Check format and style
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(READY) ## Check types
	$(BIN)/mypy

format: $(READY) ## Rewrite the sources in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## Remove what make made (not the data under var)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
