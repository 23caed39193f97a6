"""Start networks from a file of weights that is no run of llmseg: one of MONAI's model zoo."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from llmseg_cli.artifacts.run_config import RunConfig
from llmseg_cli.artifacts.run_files import WEIGHTS
from llmseg_cli.errors import ArtifactError, UsageError, WeightsError
from llmseg_cli.knowledge.weights.checkpoint import Checkpoint, read_pickle
from llmseg_cli.methods.base import Method
from llmseg_cli.workflows.train.starting_weights import (
    BACKBONE,
    TEXTS,
    Build,
    OtherTask,
    Started,
    differing,
    fits_but_for_channels,
    spread,
)

logger = logging.getLogger(__name__)

READ_BY = "monai:"  # beginning of the names of networks that read files
WITHIN = ("state_dict", "model", "model_state_dict", "network", "net", "weights")  # of a checkpoint
WRAPPED = "module."  # before the names of a network that was trained on several devices
OWN = "network."  # before MONAI's names in our networks
SWIN = "swinViT."  # the encoder of SwinUNETR, of which the self-supervised file has no name
RENAMED = {".fc1.": ".linear1.", ".fc2.": ".linear2."}  # in that file; as MONAI's `load_from`
HISTORY = (
    "--init %s does not say which scans it learned from; make sure that none of the test and "
    "validation cases is among them."
)


def weights_file(init: Path) -> Path:
    """The file of weights that `--init` names: itself, or that of a run folder."""
    return init if init.is_file() else init / WEIGHTS


def refuse_unread(init: Path | None, model: str) -> None:
    """Refuse a file of weights for a network that reads none.

    Raises:
        UsageError: If it is one.
    """
    if init is not None and init.is_file() and not model.startswith(READ_BY):
        raise UsageError(
            f"--init {init}: '{model}' starts from the folder of a finished run; files of weights "
            "are read by MONAI's networks, such as --model monai:SwinUNETR."
        )


def start_from_file(method: Method, path: Path, config: RunConfig, build: Build) -> Started:
    """Load a state dict of MONAI into the networks of a method.

    Every network takes the same. The head starts anew where its classes are of another number, the
    stem is spread over the channels of the images, and what the file does not have starts anew.

    Args:
        method: Whose networks take them.
        path: Of safetensors, or of `torch.save`; nothing in it is run.
        config: Of the run that starts.
        build: Returns what builds a network of such a run.

    Returns:
        What was taken; the same for each network.

    Raises:
        ArtifactError: If the file cannot be read, or is of another network.
    """
    task = OtherTask(
        head=differing(build, config, replace(config, classes=(*config.classes, "one more"))),
        stem=differing(build, config, replace(config, in_channels=config.in_channels + 1)),
    )
    logger.warning(HISTORY, path)
    given = read_state(path)
    started = Started(0, (), ())
    unused: list[str] = []
    for network in method.networks().values():
        own = network.state_dict()
        names = {key.removeprefix(BACKBONE): key for key in own if not key.startswith(TEXTS)}
        fitting = {name: value for k, value in given.items() if (name := named(k, names))}
        taken, adapted = _taken(path, {n: own[k] for n, k in names.items()}, fitting, task)
        unused = [key for key in given if named(key, names) not in taken]
        if 2 * len(taken) < len(given):
            raise ArtifactError(
                f"--init {path}: {len(given) - len(taken)} of its {len(given)} tensors are not in "
                f"'{config.model}', such as '{unused[0]}'. Use the network that it is of."
            )
        network.load_state_dict({**own, **{names[name]: value for name, value in taken.items()}})
        fresh = tuple(name for name in names if name not in taken)
        started = Started(len(taken) - len(adapted), adapted, fresh)
    left = f"; {len(unused)} of the file have no place" if unused else ""
    logger.info("--init %s: %s%s.", path, started.in_words(), left)
    return started


def named(key: str, own: Mapping[str, Any]) -> str | None:
    """Our name of a tensor that a file names *key*; None if the network has none."""
    plain = key.removeprefix(WRAPPED).removeprefix(OWN)
    renamed = plain
    for old, new in RENAMED.items():
        renamed = renamed.replace(old, new)
    return next((n for n in (OWN + plain, OWN + SWIN + renamed) if n in own), None)


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, by their names there.

    Raises:
        ArtifactError: If it holds none, or cannot be read.
    """
    try:
        if path.suffix == ".safetensors":
            tensors = Checkpoint((path,), None, {}).tensors()
        else:
            tensors = read_pickle(path, wrappers=WITHIN)
    except WeightsError as error:
        said = str(error).partition(": ")[0]  # behind it torch advises to run what is in the file
        raise ArtifactError(
            f"--init {path}: expected weights as .safetensors, or a state dict of torch.save "
            f"({said})."
        ) from error
    kept: dict[str, Tensor] = {}
    seen = set()  # a tensor under two names counts once
    for key, value in tensors.items():
        if (place := (value.data_ptr(), value.shape)) not in seen:
            kept[key] = value
            seen.add(place)
    return kept


def _taken(
    path: Path, own: Mapping[str, Tensor], given: Mapping[str, Tensor], task: OtherTask
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Our names of tensors with what is taken, and those among them that were spread."""
    taken: dict[str, Tensor] = {}
    adapted: list[str] = []
    for name, value in given.items():
        if value.shape == own[name].shape:
            taken[name] = value
        elif name in task.stem and fits_but_for_channels(value, own[name]):
            taken[name] = spread(value, own[name].shape[1])
            adapted.append(name)
        elif name not in task.head:
            raise ArtifactError(
                f"--init {path}: '{name.removeprefix(OWN)}' is of shape {tuple(value.shape)}, this "
                f"network needs {tuple(own[name].shape)}. Give the --model-option of that network."
            )
    return taken, tuple(adapted)
