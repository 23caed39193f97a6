# llmseg: set-up, checks and the demo. Needs python3.11 (or newer), make and git; `make help` lists the targets.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --warn-undefined-variables --no-builtin-rules

PYTHON ?= $(shell command -v python3.11 || echo python3)
VENV := .venv
INSTALLED := $(VENV)/.installed
LIBRARY := methods models losses training inference knowledge data metrics numerics
COMMA := ,
EMPTY :=
LIBRARY_FILES := $(subst $(EMPTY) $(EMPTY),$(COMMA),$(LIBRARY:%=llmseg_cli/%/*))

export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

## Set-up
install: $(INSTALLED)  ## Make .venv with pinned packages and llmseg itself, editable

# torch comes first and alone, at its exact version, so that pip looks for no other build of it.
$(INSTALLED): pyproject.toml constraints.txt
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install -c constraints.txt $$(grep '^torch==' constraints.txt)
	$(VENV)/bin/python -m pip install -c constraints.txt -e '.[dev]'
	touch $@

weights: $(INSTALLED)  ## Fetch the embedded models and the demo's template, about 220 MB, once
	llmseg weights fetch

## Checks
test: install weights lint  ## All checks: ruff, mypy, pytest with its slow tests, coverage
	python -m pytest --cov --cov-report=
	coverage report --skip-covered --include='$(LIBRARY_FILES)' --fail-under=90

test-fast: install  ## pytest without slow tests and without the embedded models
	python -m pytest -m 'not slow and not weights'

lint: install  ## ruff check, ruff format --check, mypy
	ruff check .
	ruff format --check .
	mypy llmseg_cli

completions: install  ## Write completions/ anew
	for shell in bash zsh fish; do llmseg completion $$shell > completions/llmseg.$$shell; done

## Other
clean:  ## Remove what the demo, the tests and the tools left; keeps .venv and the weights
	rm -rf demo build dist .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find llmseg_cli tests -name __pycache__ -prune -exec rm -rf {} +

help:  ## This list
	@sed -n -e 's/^## \(.*\)/\n\1/p' -e 's/^\([a-z][a-z-]*\):[^#]*  ## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) \
	| awk -F'|' 'NF == 2 { printf "  make %-14s %s\n", substr($$1, 3), $$2; next } { print }'

.PHONY: install weights test test-fast lint completions clean help
