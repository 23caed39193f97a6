# llmseg: set-up, checks and the demo. Needs python3.11 (or newer), make and git; `make help` lists the targets.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --warn-undefined-variables --no-builtin-rules

PYTHON ?= $(shell command -v python3.11 || echo python3)
VENV := .venv
JOBS ?= 2
INSTALLED := $(VENV)/.installed
LIBRARY := methods models losses training inference knowledge data metrics pictures numerics
# Two processes of one thread each: a file's tests stay together, with the runs that they share, and
# files with slow tests come first (tests/conftest.py).
PYTEST := OMP_NUM_THREADS=1 python -m pytest --numprocesses=$(JOBS) --dist=loadfile --no-loadscope-reorder
COMMA := ,
EMPTY :=
LIBRARY_FILES := $(subst $(EMPTY) $(EMPTY),$(COMMA),$(LIBRARY:%=llmseg_cli/%/*))
DEMO := demo
DEMO_BUDGET ?= 6m
DATA ?= $(error say where the scans are: make bench DATA=FOLDER)
# auto's training from unlabeled scans, its learning rate and its time; known when auto is through.
DEMO_SEMI = $(shell sed -n 's/^llmseg train-semi --method \([^ ]*\) .*/\1/p' $(DEMO)/result/commands.sh 2>/dev/null)
DEMO_TIME = $(shell sed -n 's/^llmseg train-semi .*--budget \([^ ]*\) .*/\1/p' $(DEMO)/result/commands.sh 2>/dev/null)
DEMO_RATE = $(shell sed -n 's/^llmseg train-semi .*--learning-rate \([^ ]*\) .*/\1/p' $(DEMO)/result/commands.sh 2>/dev/null)
DEMO_PREDICT := --data $(DEMO)/data --split $(DEMO)/result/folds/fold-0.json --subset unlabeled

export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

## Set-up
install: $(INSTALLED)  ## Make .venv with pinned packages and llmseg itself, editable

# torch comes first and alone, at its exact version, so that pip looks for no other build of it.
$(INSTALLED): pyproject.toml constraints.txt
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install -c constraints.txt --upgrade pip $$(grep '^torch==' constraints.txt)
	$(VENV)/bin/python -m pip install -c constraints.txt -e '.[dev]'
	touch $@

weights: $(INSTALLED)  ## Fetch the embedded models and the demo's template, about 240 MB, once
	llmseg weights fetch

## Checks
test: install weights lint  ## All checks: ruff, mypy, pytest with its slow tests
	$(PYTEST) --durations=20 --durations-min=10

coverage: install weights  ## All tests, slower by half where Python does the work: they have to reach 90 % of the library
	$(PYTEST) --cov --cov-report=
	coverage report --skip-covered --include='$(LIBRARY_FILES)' --fail-under=90

test-fast: install  ## pytest without slow tests and without the embedded models
	$(PYTEST) -m 'not slow and not weights'

# Two processes try at a time; FUZZ="--kind HDF5 --seed 3" tries one kind alone (python -m fuzz --help).
FUZZ ?=
fuzz: install  ## Thousands of damaged inputs of every kind, ten minutes; what fails is kept in fuzz-failures/
	PYTHONPATH=tests python -m fuzz --jobs 2 $(FUZZ)

lint: install  ## ruff check, ruff format --check, mypy
	ruff check .
	ruff format --check .
	mypy llmseg_cli

completions: install  ## Write completions/ anew
	for shell in bash zsh fish; do llmseg completion $$shell > completions/llmseg.$$shell; done

man: install  ## Man pages of all commands, in man/
	llmseg guide --man man

## Benchmarks
RIVALS := examples/benchmarks/.venv
bench: $(RIVALS)/.installed  ## llmseg beside PyMIC, MONAI, TorchIO, medpy and surface-distance, in an environment of their own; DATA=scans of the Left Atrium
	$(RIVALS)/bin/python examples/benchmarks/rivals.py --data $(DATA) -o examples/benchmarks/rivals.json

# ACCURACY="--minutes 10,30,60 nnU-Net" has other minutes, or one contestant (accuracy.py --help).
ACCURACY ?=
bench-accuracy: $(RIVALS)/.installed  ## Dice after the same minutes beside nnU-Net and PyMIC, in that environment; DATA=a data set
	$(RIVALS)/bin/python examples/benchmarks/accuracy.py --data $(DATA) -o examples/benchmarks/accuracy.jsonl $(ACCURACY)

kills: install weights  ## Kill trainings 40 times at random steps, resume them, and compare their weights to the bit
	python examples/benchmarks/kills.py --kills 40

kills-ranks: install  ## Kill random ranks of trainings of two processes 20 times, resume them, compare likewise
	python examples/benchmarks/kill_ranks.py --kills 20

# SHARES="--only predict" measures one of them (shares.py --help).
SHARES ?=
bench-shares: install weights  ## Two shards, two tasks of Ray and two ranks, beside one, on two processors
	python examples/benchmarks/shares.py $(SHARES)

$(RIVALS)/.installed: examples/benchmarks/requirements.txt constraints.txt
	test -x $(RIVALS)/bin/python || $(PYTHON) -m venv $(RIVALS)
	$(RIVALS)/bin/python -m pip install -c constraints.txt --upgrade pip $$(grep '^torch==' constraints.txt)
	$(RIVALS)/bin/python -m pip install -c constraints.txt -e . -r examples/benchmarks/requirements.txt
	touch $@

## Demo
demo: $(DEMO)/result/run.json  ## llmseg auto on made brains, two of 30 labeled, and what the 28 others give, in demo/
	@$(MAKE) --no-print-directory demo-$(if $(DEMO_SEMI),compared,alone)

demo-compared: $(DEMO)/report.html
	@echo
	@echo "Of 30 brains two have a label map. What 'llmseg auto' made of them is in $(DEMO)/result (commands.sh, llmseg.yaml)."
	@echo "The last table is what the 28 unlabeled brains give ($(DEMO)/scores.json, scores.csv): both sides start from"
	@echo "$(DEMO)/result/supervised and train on for the same time, $(DEMO)/with-masks with the unlabeled brains, $(DEMO)/without-masks without."
	@echo "A negative Dice difference says that the time was better spent on the labels alone, as it was here: llmseg guide demo."
	@echo "All of it on one page, with the worst cases: $(abspath $<)"

# A machine so busy or slow that auto had no time for the unlabeled brains has its masks scored all the same.
demo-alone:
	llmseg score --pred $(DEMO)/result/masks --ref $(DEMO)/data/references --split $(DEMO)/result/folds/fold-0.json --subset unlabeled -o $(DEMO)/scores.json --force
	llmseg report $(DEMO)/result/supervised/fold-0 --scores $(DEMO)/scores.json --masks $(DEMO)/result/masks --data $(DEMO)/data -o $(DEMO)/report.html --force
	@echo
	@echo "Of 30 brains two have a label map. What 'llmseg auto' made of them is in $(DEMO)/result (commands.sh, llmseg.yaml)."
	@echo "On this machine $(DEMO_BUDGET) left no time for the 28 unlabeled brains: the table is that of networks which learned from two."
	@echo "For the comparison: rm -r $(DEMO)/result, and make demo DEMO_BUDGET=15m."
	@echo "All of it on one page, with the worst cases: $(abspath $(DEMO)/report.html)"

$(DEMO)/data/run.json: | $(INSTALLED) weights
	llmseg demo-data --subjects 30 --labeled 2 --spacing 4 --seed 0 -o $(@D)

$(DEMO)/result/run.json: $(DEMO)/data/run.json
	llmseg auto --data $(<D) --folds 2 --budget $(DEMO_BUDGET) --seed 0 -o $(@D) --resume

# The same start, learning rate and time, without the unlabeled brains: so the difference is theirs.
$(DEMO)/without/run.json: $(DEMO)/result/run.json
	llmseg train-sup --init $(<D)/supervised --config $(<D)/llmseg.yaml --data $(DEMO)/data --split $(<D)/folds --learning-rate $(DEMO_RATE) --budget $(DEMO_TIME) --seed 0 -o $(@D) --resume

$(DEMO)/without-masks/run.json: $(DEMO)/without/run.json
	llmseg predict --run $(<D) $(DEMO_PREDICT) -o $(@D) --resume

$(DEMO)/with-masks/run.json: $(DEMO)/without/run.json
	llmseg predict --run $(DEMO)/result/$(DEMO_SEMI) $(DEMO_PREDICT) -o $(@D) --resume

$(DEMO)/scores.json: $(DEMO)/with-masks/run.json $(DEMO)/without-masks/run.json
	llmseg score --pred $(DEMO)/with-masks --ref $(DEMO)/data/references --split $(DEMO)/result/folds/fold-0.json --subset unlabeled --compare $(DEMO)/without-masks -o $@ --force

$(DEMO)/report.html: $(DEMO)/scores.json
	llmseg report $(DEMO)/result/$(DEMO_SEMI) $(DEMO)/without --scores $< --masks $(DEMO)/with-masks --data $(DEMO)/data -o $@ --force

## Other
clean:  ## Remove what the demo, the tests and the tools left; keeps .venv and the weights
	rm -rf demo man build dist fuzz-failures .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find llmseg_cli tests -name __pycache__ -prune -exec rm -rf {} +

help:  ## This list
	@sed -n -e 's/^## \(.*\)/\n\1/p' -e 's/^\([a-z][a-z-]*\):[^#]*  ## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) \
	| awk -F'|' 'NF == 2 { printf "  make %-14s %s\n", substr($$1, 3), $$2; next } { print }'

.PHONY: bench bench-accuracy bench-shares kills kills-ranks demo demo-compared demo-alone install weights test test-fast coverage fuzz lint completions man clean help
