# Every door of the house; `make` alone prints them.
# Settings: VENV=<folder of the virtual environment>  PYTHON=<interpreter it is made from>  JOBS=<tests at a time>  ARGS=<more arguments>

.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

VENV ?= .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3)
ARGS ?=
# Each test works in one thread. A file stays with one process, where its trained models are shared. 0: no processes.
JOBS ?= 2
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check install -q -c constraints.txt
MEASURE := .ci/measure.py

.PHONY: help venv install dev demo test test-slow lint format notebooks clean

help: ## Print this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "text4seg needs Python 3.11 or newer, got: $$($(PYTHON) --version 2>&1). Name one: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

venv: $(PY) ## Make the virtual environment (VENV, default .venv)

$(VENV)/.installed: requirements.txt constraints.txt setup.py | $(PY)
	@echo "Installing text4seg into $(VENV): about 6 GB and 2 minutes ..."
	@$(PY) $(MEASURE) install $(PIP) -e .
	@touch $@

install: $(VENV)/.installed ## Install the package with its tested versions

$(VENV)/.dev: $(VENV)/.installed
	@echo "Installing the tools for tests and linting ..."
	@$(PY) $(MEASURE) install-dev $(PIP) -e '.[dev]'
	@touch $@

dev: $(VENV)/.dev ## Install what tests, linting and notebooks need as well

# deepspeed is built against the torch that is installed already, and compiles a small operator at its first use.
$(VENV)/.deepspeed: $(VENV)/.dev
	@if command -v g++ >/dev/null; then \
	  $(PIP) setuptools wheel ninja py-cpuinfo && \
	  DS_BUILD_OPS=0 $(PY) $(MEASURE) install-deepspeed $(PIP) --no-build-isolation -e '.[deepspeed]' && touch $@; \
	else \
	  echo "No g++ here: deepspeed is left out, its tests will skip and say so."; \
	fi

demo: $(VENV)/.installed ## Fine-tune the embedded tiny model on this CPU; scores before and after, pictures
	@$(PY) $(MEASURE) demo $(PY) -m text4seg.demo $(ARGS)

test: $(VENV)/.deepspeed ## Run the default tests and the notebooks
	@$(PY) $(MEASURE) test $(PY) -m pytest -n $(JOBS) --dist loadfile --nbmake -m "not slow" tests notebooks $(ARGS)

test-slow: $(VENV)/.deepspeed ## Run the tests that take minutes
	@$(PY) $(MEASURE) test-slow $(PY) -m pytest -m slow tests $(ARGS)

lint: $(VENV)/.dev ## Check style, formatting and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyrefly check --python-interpreter-path $(PY)

format: $(VENV)/.dev ## Rewrite the code in the house's style
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

notebooks: $(VENV)/.dev ## Write each notebook anew from its .py twin, without outputs
	$(VENV)/bin/jupytext --to ipynb notebooks/*.py

clean: ## Remove the virtual environment, caches and everything built (runs/ stays)
	rm -rf $(VENV) build dist text4seg.egg-info shards/built .pytest_cache .hypothesis .ruff_cache .mypy_cache
	find text4seg tests notebooks -name __pycache__ -type d -prune -exec rm -rf {} +
