"""Small run folders, written to disk for tests."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from llmseg_cli.artifacts.run_config import RunConfig
from llmseg_cli.config import TrainSettings
from llmseg_cli.registry import MODELS
from llmseg_cli.training.checkpoints import save_weights


def run_config(patch: tuple[int, ...] = (16, 16, 16), **changes: Any) -> RunConfig:
    """Settings of a run with two V-Nets of two filters and the classes background and bright."""
    settings = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in asdict(TrainSettings(patch=patch)).items()
    }
    values = {
        "command": "train-semi",
        "method": "usl",
        "model": "vnet",
        "model_options": {"filters": 2},
        "settings": settings,
        "unlabeled_batch": 2,
        "seed": 0,
        "in_channels": 1,
        "classes": ("background", "bright"),
        "preprocessing": {"spacing": [0.0], "normalize": "none"},
        "networks": ("first", "second"),
        "answer": "first",
    }
    return RunConfig(**(values | changes))


def write_run(folder: Path, config: RunConfig, *, seed: int = 0) -> dict[str, nn.Module]:
    """Write a run folder with random weights; returns its networks."""
    torch.manual_seed(seed)
    options = {**config.model_options, "dimensions": len(config.patch)}
    networks: dict[str, nn.Module] = {
        name: MODELS.load(config.model)(config.in_channels, len(config.classes), **options)
        for name in config.networks
    }
    folder.mkdir(exist_ok=True)
    config.save(folder / "config.yaml")
    save_weights(folder / "model.safetensors", networks, {})
    return networks
