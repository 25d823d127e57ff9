# Every target sets up what it needs first; run again with nothing changed, it installs nothing.
# ARGS goes to the command behind the target: make demo ARGS="--workspace /data/talkies".

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test lint setup install environment requirements clean

PYTHON ?= python3.11
ARGS ?=
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

# The stamp's name is the hash of what the environment is made from, so a checkout that only touches times
# installs nothing, and a set-up that was killed has no stamp and starts over.
KEY := $(shell { pwd; cat pyproject.toml infra/requirements.txt; } | sha256sum | cut -c-16)
STAMP := .venv/.installed-$(KEY)

# Node comes from the pinned wheel, and pyright does not ask the network for a newer pyright.
export PYRIGHT_PYTHON_GLOBAL_NODE := 0
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

help:  ## list the targets
	@sed -nE 's/^([a-z]+):.*## (.*)/make \1|\2/p' Makefile | column -t -s '|'

demo: $(STAMP)  ## build, train, sonify and report on a small real corpus
	$(BIN)/talkies demo $(ARGS)

test: lint  ## lint, types, layers and tests; ARGS goes to pytest
	@$(BIN)/python -m tasks.corpus --fetch || echo "make test: without the corpus the real-media tests skip"
	$(BIN)/pytest --numprocesses auto --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(STAMP)  ## lint, format, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

setup: $(STAMP)  ## make .venv with the pinned requirements

# One set-up at a time in a folder; who waited finds the stamp and has nothing to do.
$(STAMP):
	@flock Makefile $(MAKE) --no-print-directory install

install: $(if $(wildcard $(STAMP)),,environment)
	@:

# Without a stamp .venv is half made and removed; with an older stamp of this folder it is brought up to date.
environment:
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) is missing; on Debian: apt-get install python3.11 python3.11-venv, or pass PYTHON=<a Python 3.11>" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "make: $(PYTHON) is not a working Python 3.11, for which the requirements are pinned; pass PYTHON=<a Python 3.11>" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "make: $(PYTHON) cannot make environments; on Debian: apt-get install python3.11-venv" >&2; exit 1; }
	@if compgen -G '.venv/.installed-*' >/dev/null && [ "$$(cat .venv/.folder 2>/dev/null)" = "$(CURDIR)" ]; then \
	  rm -f .venv/.installed-*; \
	else \
	  rm -rf .venv && $(PYTHON) -m venv .venv && pwd > .venv/.folder; \
	fi
	@echo "make: installing the pinned requirements: 3 GB to download, 7 GB on disk, two minutes on a fast line"
	@PYTHONUNBUFFERED=1 $(PIP) install --no-deps --require-hashes --requirement infra/requirements.txt 2> .venv/pip.log \
	  | awk -v all="$$(grep -c == infra/requirements.txt)" \
	    '/^(Collecting|Processing|Requirement) / && ++n % 20 == 0 { print "make: " n " of " all " packages at hand"; fflush() } \
	    /^Installing collected/ { print "make: unpacking"; fflush() }' \
	  || { grep -v '^WARNING' .venv/pip.log >&2; echo "make: pip failed; mend what it says above (network, index or disk) and run make again" >&2; exit 1; }
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@$(PIP) check
	@touch $(STAMP)

requirements: $(STAMP)  ## pin requirements.in anew; ARGS=--upgrade takes newer versions
	$(BIN)/uv pip compile --quiet --no-config --generate-hashes --python-version 3.11 \
	  --python-platform x86_64-manylinux_2_36 --annotation-style line \
	  --custom-compile-command "make requirements" --output-file infra/requirements.txt $(ARGS) infra/requirements.in

clean:  ## remove what the other targets made in this folder
	rm -rf .venv .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist
	find flows tasks models storage tests -name __pycache__ -type d -prune -exec rm -rf {} +
