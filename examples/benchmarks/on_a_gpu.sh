#!/usr/bin/env bash
# What only a card can show, within twelve minutes: the tests on CUDA, the benchmarks, and a published recipe at full
# resolution (LLM-SegNet's la-8, by the clock), with its scores. All of it ends in OUT/on-a-gpu.json.
#
#   examples/benchmarks/on_a_gpu.sh DATA OUT     DATA: Left Atrium scans with label maps, at least 16
#   DEVICE=cpu TESTS=tests/training SUITE_S=120 BENCH_S=60 BUDGET=20s examples/benchmarks/on_a_gpu.sh DATA OUT
#
# A part that fails or runs out of its time does not stop the others; its exit code is in the JSON file, and this
# script ends with 1 then. After TOTAL_S seconds (700) nothing more is begun, and what runs is ended (code 124). The second
# line tries the script itself where no card is.
set -euo pipefail

data=${1:?a folder of scans with label maps} out=${2:?a folder to write}
device=${DEVICE:-cuda} tests=${TESTS:-tests} suite_s=${SUITE_S:-240} bench_s=${BENCH_S:-120} budget=${BUDGET:-4m}
total_s=${TOTAL_S:-700}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export LLMSEG_DEVICE=$device
mkdir -p "$out"
out=$(cd "$out" && pwd) data=$(cd "$data" && pwd)
: > "$out/parts.tsv"

# part NAME SECONDS COMMAND...: its output goes to OUT/NAME.log, its exit code (124: out of time) to OUT/parts.tsv.
part() {
  local name=$1 limit=$2 begun=$SECONDS code=0 left=$((total_s - SECONDS))
  shift 2
  : > "$out/$name.log"
  if ((left > 0)); then
    timeout --signal=INT --kill-after=20 "$((limit < left ? limit : left))" "$@" > "$out/$name.log" 2>&1 || code=$?
  else
    code=124
  fi
  printf '%s\t%d\t%d\n' "$name" "$code" "$((SECONDS - begun))" | tee -a "$out/parts.tsv"
}

cd "$here"
part doctor 60 python -m llmseg_cli doctor
part suite "$suite_s" python -m pytest -q -p no:cacheprovider -m "not slow" -n "$(nproc)" --dist=loadfile $tests
part bench "$bench_s" python -m llmseg_cli bench training-step convolution-floor sliding-window -o "$out/bench.json" --force
cd "$out"
part split 60 python -m llmseg_cli split --data "$data" --labeled 8 --test 4 -o split.json --force
part train 420 python -m llmseg_cli train-semi --recipe la-8 --budget "$budget" --data "$data" --split split.json -o run --force
part predict 180 python -m llmseg_cli predict --run run --data "$data" --split split.json --subset test \
  --stride 18,18,4 --blend constant -o masks --force
part score 60 python -m llmseg_cli score --pred masks --ref "$data" --split split.json --subset test -o scores.json --force

python - "$out" "$device" << 'END'
import json
import re
import sys
from pathlib import Path

out, device = Path(sys.argv[1]), sys.argv[2]


def read(name):
    path = out / name
    return json.loads(path.read_text()) if path.is_file() else None


rows = [line.split("\t") for line in (out / "parts.tsv").read_text().splitlines()]
tests = re.findall(r"^.*\d+ passed.*$", (out / "suite.log").read_text(), re.MULTILINE)
run, scores = read("run/run.json") or {}, read("scores.json") or {}
found = {
    "device": device,
    "parts": {name: {"exit_code": int(code), "seconds": int(took)} for name, code, took in rows},
    "tests": tests[-1].strip("= ") if tests else None,
    "bench": read("bench.json"),
    "training": {key: run.get(key) for key in ("hardware", "env", "wall_s", "peak_rss_mb", "peak_vram_mb", "details")},
    "dice": scores.get("metrics", {}).get("dice"),
}
(out / "on-a-gpu.json").write_text(json.dumps(found, indent=1) + "\n")
print(out / "on-a-gpu.json")
sys.exit(any(part["exit_code"] for part in found["parts"].values()))
END
