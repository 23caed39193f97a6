"""The memory that `predict` foretells, against what a process of its own takes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from tiny_data import write_nifti
from tiny_runs import run_config, write_run

from llmseg_cli.artifacts.manifest import load_manifest
from llmseg_cli.knowledge.parts.image_encoder import open_image_encoder
from llmseg_cli.knowledge.weights.transformers import load_transformers
from llmseg_cli.training.checkpoints import save_weights
from llmseg_cli.workflows.runs.run_folder import network_builder

CLAIMED = re.compile(r"about ([\d.]+) MB of memory")


def predict(*words: str | Path) -> str:
    command = [sys.executable, "-m", "llmseg_cli", "predict", *map(str, words)]
    threads = {**os.environ, "OMP_NUM_THREADS": "2"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=threads)
    return done.stdout + done.stderr


def both(run: Path, image: Path, masks: Path, *more: str) -> tuple[float, float]:
    """Megabytes that were foretold and that were taken."""
    (claimed,) = CLAIMED.findall(predict("--run", run, "--images", image, "-o", masks, *more))
    return float(claimed), load_manifest(masks)["peak_rss_mb"]


@pytest.mark.slow
@pytest.mark.parametrize("normalization", ["batch", "instance"])
@pytest.mark.parametrize("model", ["vnet", "unet", "unetpp", "resenc", "seunet-trans"])
def test_a_process_takes_no_more_than_was_foretold(tmp_path, model, normalization):
    options = {"filters": 16, "normalization": normalization}
    changes = {"model": model, "model_options": options, "networks": ("first",)}
    write_run(tmp_path / "run", run_config((96, 96, 80), **changes))
    scan = np.random.default_rng(0).normal(size=(96, 96, 120)).astype(np.float32)
    image = write_nifti(tmp_path / "scan.nii.gz", scan)
    foretold, taken = both(tmp_path / "run", image, tmp_path / "masks")
    assert 0.4 * foretold < taken < 1.05 * foretold


@pytest.mark.slow
def test_a_pretrained_encoder_is_counted(tmp_path):
    folder = tmp_path / "encoder"
    wide = {"embedding_size": 64, "hidden_sizes": [256, 512, 1024, 2048], "depths": [3, 4, 6, 3]}
    library = load_transformers()
    library.AutoModel.from_config(library.ResNetConfig(**wide)).save_pretrained(folder)
    encoder = open_image_encoder(str(folder), depth=4)
    changes = {"model": "unetpp", "model_options": {"filters": 8}, "networks": ("first",)}
    config = run_config((512, 512), **changes, image_encoder=encoder.record)
    (tmp_path / "run").mkdir()
    config.save(tmp_path / "run" / "config.yaml")
    save_weights(tmp_path / "run" / "model.safetensors", {"first": network_builder(config)()}, {})
    pixels = np.random.default_rng(0).integers(0, 255, (1024, 512), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    words = (tmp_path / "picture.png", tmp_path / "masks", "--overlap", "0")  # two windows
    foretold, taken = both(tmp_path / "run", *words)
    assert 0.4 * foretold < taken < 1.05 * foretold


@pytest.mark.slow
def test_many_classes_take_no_more_than_was_allowed(tmp_path):
    """Their sums, 530 MB for the whole scan, are made in parts, and each part's go before the next.

    Two threads: what they have answered and nobody has added yet counts, too. One window at a time
    would spare 200 MB of the 300.
    """
    classes = ("background", *(f"class {n}" for n in range(1, 80)))
    changes = {"model_options": {"filters": 2}, "classes": classes, "networks": ("first",)}
    write_run(tmp_path / "run", run_config((32, 32, 32), **changes))
    scan = np.random.default_rng(0).normal(size=(64, 400, 128)).astype(np.float32)
    image = write_nifti(tmp_path / "scan.nii.gz", scan)
    run, more = tmp_path / "run", ("--overlap", "0")
    whole, _ = both(run, image, tmp_path / "whole", *more)
    less = (*more, "--max-ram", f"{whole - 300}MB")
    foretold, taken = both(run, image, tmp_path / "parts", *less)
    assert foretold <= whole - 300
    assert 0.4 * foretold < taken < 1.05 * foretold
    paths = [tmp_path / name / "scan.nii.gz" for name in ("whole", "parts")]
    masks = [np.asarray(nib.load(path).dataobj) for path in paths]
    assert (masks[0] != masks[1]).mean() < 1e-3  # by rounding
