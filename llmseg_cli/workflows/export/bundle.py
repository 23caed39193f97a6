"""A run as a MONAI bundle: `python -m monai.bundle run`, MONAI Label and, with it, 3D Slicer."""

import warnings
from pathlib import Path
from typing import Any

import torch

from llmseg_cli.artifacts.document import llmseg_version
from llmseg_cli.artifacts.files import write_json, write_text
from llmseg_cli.artifacts.manifest import environment
from llmseg_cli.artifacts.run_config import RunConfig
from llmseg_cli.workflows.export.facts import INTENDED_USE, OVERLAP, values_of

SCRIPT = "scripts/llmseg_bundle.py"
MODEL, STATE = "models/model.pt2", "models/model.pt"
METADATA, INFERENCE = "configs/metadata.json", "configs/inference.json"
FACTS, README = "configs/llmseg.json", "docs/README.md"
FILES = (MODEL, STATE, METADATA, INFERENCE, FACTS, README, SCRIPT, "scripts/__init__.py")
RUN = """\
    python -m monai.bundle run --config_file configs/inference.json \\
        --bundle_root . --dataset_dir FOLDER_OF_SCANS --output_dir FOLDER_OF_MASKS
"""
TEXT = """\
# {name}

{model}, trained with `llmseg {command}` ({method}), as a MONAI bundle. {use}

In this folder, with MONAI, nibabel and fire installed (llmseg is not needed):

{run}
writes a mask for each scan, the same as `llmseg predict --precision fp32`. `--device cpu` keeps it
from a GPU. Values in the masks: {values}.

In MONAI Label, copy this folder into `model/` of the app `monaibundle`, and start the server with
`--conf models {name}`; 3D Slicer then finds it through its extension MONAILabel.

`configs/llmseg.json` says how scans are prepared and how the network is asked; `scripts/` does it.
"""


def write_bundle(folder: Path, config: RunConfig, facts: dict[str, Any], *, name: str) -> None:
    """Write all but `models/model.pt2`, which lies there.

    Args:
        folder: The bundle, with the network.
        config: Settings of the run.
        facts: Of `facts_of`.
        name: Of the bundle.
    """
    carried = Path(__file__).with_name("carried.py").read_text(encoding="utf-8")
    for place in ("configs", "docs", "scripts"):
        (folder / place).mkdir()
    write_text(folder / SCRIPT, carried)
    write_text(folder / "scripts/__init__.py", "")
    write_json(folder / INFERENCE, inference(config))
    write_json(folder / METADATA, metadata(config, name=name))
    write_json(folder / FACTS, facts)
    write_text(folder / README, _readme(config, name))
    _save_state(folder)


def _save_state(folder: Path) -> None:
    """The weights alone, which MONAI Label looks for and loads into `network_def`."""
    from llmseg_cli.workflows.export.carried import Exported  # loads MONAI

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about its own parts
        torch.save(Exported(str(folder / MODEL)).state_dict(), folder / STATE)


def _readme(config: RunConfig, name: str) -> str:
    classes = zip(values_of(config), config.classes, strict=True)
    return TEXT.format(
        name=name,
        model=config.model,
        command=config.command,
        method=config.method,
        use=INTENDED_USE,
        run=RUN,
        values=", ".join(f"{value} {class_name}" for value, class_name in classes),
    )


def inference(config: RunConfig) -> dict[str, Any]:
    """`configs/inference.json`."""
    ours = "scripts.llmseg_bundle"
    values = values_of(config)
    return {
        "imports": ["$import glob", "$import os", "$import torch"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/images'",
        "output_dir": "$@bundle_root + '/eval'",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "datalist": "$[{'image': path} for path in sorted(glob.glob(os.path.join(@dataset_dir, "
        "'*')))]",
        "network_def": {
            "_target_": f"{ours}.Exported",
            "path": f"$os.path.join(@bundle_root, '{MODEL}')",
        },
        "network": "$@network_def.to(torch.device(@device))",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image", "ensure_channel_first": True},
                {
                    "_target_": f"{ours}.ToNetwork",
                    "keys": "image",
                    "spacing": list(config.preprocessing["spacing"]),
                    "normalize": config.preprocessing["normalize"],
                },
            ],
        },
        "dataset": {"_target_": "Dataset", "data": "@datalist", "transform": "@preprocessing"},
        "inferer": {
            "_target_": f"{ours}.Windows",
            "patch": list(config.patch),
            "overlap": OVERLAP,
            "batch": 1,
            "slices": config.slices,
        },
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": f"{ours}.ToImage", "keys": "pred", "values": values},
            ],
        },
        "evaluator": {
            "_target_": f"{ours}.Evaluator",
            "device": "$torch.device(@device)",
            "dataset": "@dataset",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "output_dir": "@output_dir",
        },
        "run": ["$@evaluator.run()"],
    }


def metadata(config: RunConfig, *, name: str) -> dict[str, Any]:
    """`configs/metadata.json`; classes go by their value in masks, as MONAI Label takes them."""
    versions = environment()
    sides = list(config.patch)
    return {
        "version": "0.1.0",
        "changelog": {"0.1.0": "exported by llmseg"},
        "monai_version": versions.get("monai", ""),
        "pytorch_version": versions["torch"],
        "numpy_version": versions["numpy"],
        "required_packages_version": {"nibabel": versions["nibabel"]},
        "name": name,
        "task": f"Segmentation of {', '.join(config.classes[1:])}",
        "description": f"{config.model} trained by llmseg {llmseg_version()} ({config.method}).",
        "authors": "",
        "copyright": "",
        "intended_use": INTENDED_USE,
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "magnitude",
                    "num_channels": config.channels,
                    "spatial_shape": sides,
                    "dtype": "float32",
                    "value_range": [],
                    "is_patch_data": True,
                    "channel_def": {str(c): f"channel{c}" for c in range(config.channels)},
                }
            },
            "outputs": {
                "pred": {
                    "type": "image",
                    "format": "segmentation",
                    "num_channels": len(config.classes),
                    "spatial_shape": sides,
                    "dtype": "float32",
                    "value_range": [0, 1],
                    "is_patch_data": True,
                    "channel_def": {
                        str(value): class_name
                        for value, class_name in zip(values_of(config), config.classes, strict=True)
                    },
                }
            },
        },
    }
