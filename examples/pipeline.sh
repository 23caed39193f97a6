#!/usr/bin/env bash
# From your own folder of scans to scores, as a shell script. Run again after an interruption, it goes on.
#
#   examples/pipeline.sh /data/hearts runs/hearts
#   TARGET='left atrium' MODALITY='late gadolinium MRI' LABELED=8 TRAIN='--steps 2000' examples/pipeline.sh ...
set -euo pipefail

data=${1:?say where the scans are: pipeline.sh DATA RUN}
run=${2:?say where to write: pipeline.sh DATA RUN}
target=${TARGET:-left atrium}
modality=${MODALITY:-late gadolinium MRI}
IFS=';' read -ra classes <<< "${CLASSES:-}" # as in CLASSES='grey matter;white matter'
read -ra train <<< "${TRAIN:-}"
mkdir -p "$run"

llmseg check --data "$data"

[[ -e $run/split.json ]] || llmseg split --data "$data" --labeled "${LABELED:-all}" \
  --test "${TEST:-0.2}" --validation "${VALIDATION:-1}" -o "$run/split.json"

# The texts go straight into the encoder. To read and correct them in between, write them to a file.
[[ -e $run/embeddings.safetensors ]] ||
  llmseg describe --target "$target" --modality "$modality" "${classes[@]/#/--class=}" \
    --llm "${LLM:-library}" -o - |
  llmseg embed - -o "$run/embeddings.safetensors"

llmseg train-sup --data "$data" --split "$run/split.json" "${train[@]}" -o "$run/supervised" --resume
llmseg train-semi --data "$data" --split "$run/split.json" --method usl \
  --text "$run/embeddings.safetensors" "${train[@]}" -o "$run/usl" --resume

for method in supervised usl; do
  llmseg predict --run "$run/$method" --data "$data" --split "$run/split.json" --subset test \
    -o "$run/$method-masks" --resume
done

llmseg score --pred "$run/usl-masks" --ref "$data" --split "$run/split.json" \
  --compare "$run/supervised-masks" -o "$run/scores.json" --force
