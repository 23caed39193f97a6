# Does Segment Anything help in the Left Atrium? 4 and 8 labeled scans, masks mined in 16 of the unlabeled ones.
#
#   make -C examples/left-atrium -f mining.mk DATA=/data/la      the runs of RESULTS.md, and mining.md
#
# Per number of labels: 2,000 steps on the labels (start), then 1,000 more of each way to go on from there. The box is
# tight (--box-margin 0) and masks of low agreement are dropped; see RESULTS.md for why.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.SECONDARY:
.DEFAULT_GOAL := mining.md
MAKEFLAGS += --warn-undefined-variables --no-builtin-rules

LLMSEG ?= llmseg
DATA ?= $(error say where the scans are: make -C examples/left-atrium -f mining.mk DATA=FOLDER)
OUT ?= out/mining
LABELED ?= 4 8
STEPS ?= 1000
RUNS := supervised self-training one-time
HERE := $(dir $(abspath $(lastword $(MAKEFILE_LIST))))
SPLIT = --data $(DATA) --split $(OUT)/$*/split.json
COMMON = $(SPLIT) --recipe la-cpu --seed 0 --resume
MORE = --steps $(STEPS) --learning-rate 0.01
MINE = --box-margin 0 --min-agreement 0.7

start = train-sup
supervised = train-sup --init $(OUT)/$*/start $(MORE)
self-training = train-semi --init $(OUT)/$*/start --method self-training $(MORE)
one-time = train-semi --init $(OUT)/$*/start --method sam-mining $(MINE) $(MORE)

# The first scans of the published list are labeled, the 16 after its first 8 unlabeled, its last 16 locked.
$(OUT)/%/split.json:
	@mkdir -p $(@D)
	$(LLMSEG) split --data $(DATA) --preset la-8 --test 16 -o $@.whole
	python -c 'import json, sys; s = json.load(sys.stdin); s["labeled"] = s["labeled"][:$*]; s["unlabeled"] = s["unlabeled"][:16]; print(json.dumps(s, indent=2))' < $@.whole > $@
	rm $@.whole

define run
$$(OUT)/%/$(1)/run.json: $$(OUT)/%/split.json $(2)
	$$(LLMSEG) $$($(1)) $$(COMMON) -o $$(@D)

$$(OUT)/%/$(1)-masks/run.json: $$(OUT)/%/$(1)/run.json
	$$(LLMSEG) predict --run $$(<D) $$(SPLIT) --subset test --resume -o $$(@D)

$$(OUT)/%/$(1).scores.json: $$(OUT)/%/$(1)-masks/run.json $(3)
	$$(LLMSEG) score --pred $$(<D) $(4) --ref $$(DATA) --split $$(OUT)/$$*/split.json --subset test --force -o $$@
endef
$(eval $(call run,start))
$(eval $(call run,supervised,$$(OUT)/%/start/run.json))
$(foreach name,self-training one-time,$(eval $(call run,$(name),$$(OUT)/%/start/run.json,$$(OUT)/%/supervised-masks/run.json,--compare $$(OUT)/$$*/supervised-masks)))

TABLES := $(LABELED:%=$(OUT)/%.md)
$(foreach n,$(LABELED),$(eval $(OUT)/$(n).md: $(patsubst %,$(OUT)/$(n)/%.scores.json,start $(RUNS))))
$(TABLES): $(OUT)/%.md: $(HERE)table.py
	{ echo "$* labeled scans"; echo; python $(HERE)table.py $(filter %.json,$^); } > $@.tmp
	mv $@.tmp $@

mining.md: $(TABLES)
	{ cat $(firstword $^); for more in $(wordlist 2,9,$^); do echo; cat $$more; done; } > $@.tmp
	mv $@.tmp $@
