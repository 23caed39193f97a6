"""What `llmseg report` reads, written without any training."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from tiny_data import write_nifti

from llmseg_cli.artifacts.manifest import Manifest
from llmseg_cli.artifacts.run_config import RunConfig
from llmseg_cli.artifacts.split import Split
from llmseg_cli.config import TrainSettings

SHAPE = (20, 18, 6)
AFFINE = np.diag([1.0, 1.0, 3.0, 1.0])
CLASSES = ("background", "atrium", "wall")


def write_run(
    folder: Path,
    *,
    test: Sequence[str] = (),
    steps: int = 200,
    finished: bool = True,
    validated: bool = True,
    **changes: Any,
) -> Path:
    """A run folder as a training leaves it, with weights that are none."""
    folder.mkdir(parents=True)
    settings = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in asdict(TrainSettings(patch=(16, 16, 16))).items()
        if key not in ("cache", "workers", "device")
    }
    values: dict[str, Any] = {
        "command": "train-semi",
        "method": "weak-to-strong",
        "model": "vnet",
        "settings": {**settings, "steps": steps},
        "unlabeled_batch": 2,
        "seed": 3,
        "in_channels": 1,
        "classes": CLASSES,
        "preprocessing": {"spacing": [0.0], "normalize": "zscore"},
        "networks": ("student",),
        "answer": "student",
        "split": "0" * 64,
    }
    RunConfig(**(values | changes)).save(folder / "config.yaml")
    images = dict.fromkeys(("l0", "u0", *test), "1" * 64)
    roles = {"labeled": ("l0",), "unlabeled": ("u0",), "validation": (), "test": tuple(test)}
    Split(**roles, seed=0, images=images, groups={}).save(folder / "split.json")
    (folder / "model.safetensors").write_bytes(folder.name.encode())
    write_log(folder, steps=steps, validated=validated)
    if finished:
        manifest = Manifest(str((values | changes)["command"]), seed=3)
        manifest.counts = {"labeled": 1, "unlabeled": 1, "validation": 1, "locked_test": len(test)}
        score = {"final_score": 0.8, "best_score": 0.85, "best_step": steps // 2}
        manifest.details = {
            "trained": {"steps": steps, "losses": {}, **(score if validated else {})},
            "parameters": 1234,
        }
        manifest.write(folder, outputs=("model.safetensors", "config.yaml"))
    return folder


def write_log(folder: Path, *, steps: int, validated: bool = True) -> None:
    """A line each second step, and Dice at every quarter."""
    lines = []
    for step in range(2, steps + 1, 2):
        own = {"supervised": 1 / step, "strong": 0.1, "observed_confident": step / steps}
        line = {"step": step, "time": 100.0 + 0.5 * step, "learning_rate": 0.01}
        lines.append({**line, "data_wait_s": 0.01 * step, **own})
        if validated and step % max(2, steps // 4) == 0:
            lines.append({"step": step, "time": 100.0 + 0.5 * step, "validation_dice": 0.5})
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def label_of(index: int, classes: int = 2) -> np.ndarray:
    """Boxes of the classes one behind another, larger for a larger index."""
    label = np.zeros(SHAPE, np.uint8)
    width = max(1, 12 // classes)
    for value in range(1, classes + 1):
        first = 3 + (value - 1) * width
        label[first : first + width, 4 : 10 + index % 4, 1:5] = value
    return label


def write_scans(root: Path, names: Sequence[str], classes: int = 2) -> Path:
    """Images with their reference label maps."""
    for index, name in enumerate(names):
        label = label_of(index, classes)
        noise = np.random.default_rng(index).normal(0, 5, SHAPE)
        write_nifti(root / "images" / f"{name}.nii.gz", (label * 40 + noise).astype("f4"), AFFINE)
        write_nifti(root / "labels" / f"{name}.nii.gz", label, AFFINE)
    return root


def write_masks(folder: Path, names: Sequence[str], *, shift: int = 1, classes: int = 2) -> Path:
    """Masks that are the references, moved by a few voxels; more so for later cases."""
    for index, name in enumerate(names):
        moved = np.roll(label_of(index, classes), (shift + index) % 4, axis=1)
        write_nifti(folder / f"{name}.nii.gz", moved, AFFINE)
    return folder
