"""The memory that `predict` foretells, against what a process of its own takes."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_data import write_nifti
from tiny_runs import run_config, write_run

from llmseg_cli.artifacts.manifest import load_manifest

CLAIMED = re.compile(r"([\d.]+) (MB|GB)")


def predict(*words: str | Path) -> str:
    command = [sys.executable, "-m", "llmseg_cli", "predict", *map(str, words)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("normalization", ["batch", "instance"])
@pytest.mark.parametrize("model", ["vnet", "unet", "unetpp"])
def test_a_process_takes_no_more_than_was_foretold(tmp_path, model, normalization):
    options = {"filters": 16, "normalization": normalization}
    changes = {"model": model, "model_options": options, "networks": ("first",)}
    write_run(tmp_path / "run", run_config((96, 96, 80), **changes))
    scan = np.random.default_rng(0).normal(size=(96, 96, 120)).astype(np.float32)
    image = write_nifti(tmp_path / "scan.nii.gz", scan)
    words = ("--run", tmp_path / "run", "--images", image, "-o", tmp_path / "masks")
    value, unit = CLAIMED.findall(predict(*words, "--dry-run"))[-1]
    foretold = float(value) * (1000 if unit == "GB" else 1)
    predict(*words)
    taken = load_manifest(tmp_path / "masks")["peak_rss_mb"]
    assert 0.4 * foretold < taken < 1.05 * foretold
