"""Time and peak memory of `llmseg predict` on one scan, of one network and of the mean of two.

    python examples/benchmarks/predict_scan.py SCAN.nii.gz [--patch 112,112,80] [--overlap 0.5]
    python examples/benchmarks/predict_scan.py --noise 512,512,600 --classes 100 --rounds 1

Each is a process of its own, as a user starts it, timed from its start to its end. The networks
are V-Nets with 16 filters and random weights, on which neither time nor memory depends.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from llmseg_cli.artifacts.manifest import load_manifest
from llmseg_cli.artifacts.run_config import RunConfig
from llmseg_cli.config import TrainSettings
from llmseg_cli.models.vnet import VNet
from llmseg_cli.options import parse_sizes
from llmseg_cli.training.checkpoints import save_weights

NAMES = ("first", "second")


def main() -> None:
    """Print the medians."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("scan", type=Path, nargs="?")
    options.add_argument("--noise", type=parse_sizes, help="instead of a scan, voxels of one")
    options.add_argument("--classes", type=int, default=2)
    options.add_argument("--max-ram")
    options.add_argument("--patch", default="112,112,80")
    options.add_argument("--overlap", default="0.5")
    options.add_argument("--device", default="auto")
    options.add_argument("--rounds", type=int, default=3)
    chosen = options.parse_args()
    if (chosen.scan is None) == (chosen.noise is None):
        options.error("give a SCAN or --noise")
    answers = {"one network": "first", "mean of two": "mean"}
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in answers}
    with tempfile.TemporaryDirectory() as folder:
        if chosen.noise:
            chosen.scan = Path(folder) / "noise.nii"
            _write_noise(chosen.scan, chosen.noise)
        patch = parse_sizes(chosen.patch)
        run = _write_random_run(Path(folder) / "random-run", patch, chosen.classes)
        for round_number in range(chosen.rounds):
            for name, network in answers.items():
                masks = Path(folder) / f"{network}-{round_number}"
                measured[name].append(_predict(chosen, run, network, masks))
    for name, found in measured.items():
        seconds, memory = (statistics.median(values) for values in zip(*found, strict=True))
        shown = " ".join(f"{value:.2f}" for value, _ in found)
        print(f"{name:12} {seconds:6.2f} s ({shown}), peak memory {memory:.0f} MB")


def _predict(
    chosen: argparse.Namespace, run: Path, network: str, masks: Path
) -> tuple[float, float]:
    command = [sys.executable, "-m", "llmseg_cli", "predict", "--quiet"]
    command += ["--run", str(run), "--images", str(chosen.scan), "--network", network]
    command += ["--max-ram", chosen.max_ram] if chosen.max_ram else []
    command += ["--overlap", chosen.overlap, "--device", chosen.device, "-o", str(masks)]
    started = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - started, load_manifest(masks)["peak_rss_mb"]


def _write_noise(path: Path, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).integers(-1000, 1000, shape, dtype=np.int16)
    nib.save(nib.Nifti1Image(values, np.eye(4)), path)


def _write_random_run(folder: Path, patch: tuple[int, ...], classes: int) -> Path:
    torch.manual_seed(0)
    settings = asdict(TrainSettings(patch=patch))
    config = RunConfig(
        command="train-semi",
        method="usl",
        model="vnet",
        settings={k: list(v) if isinstance(v, tuple) else v for k, v in settings.items()},
        unlabeled_batch=2,
        seed=0,
        in_channels=1,
        classes=("background", *(f"random {number}" for number in range(1, classes))),
        preprocessing={"spacing": [0.0], "normalize": "zscore"},
        networks=NAMES,
        answer="mean",
    )
    folder.mkdir()
    config.save(folder / "config.yaml")
    save_weights(folder / "model.safetensors", {name: VNet(1, classes) for name in NAMES}, {})
    return folder


if __name__ == "__main__":
    main()
