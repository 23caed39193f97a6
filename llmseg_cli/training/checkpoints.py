"""Weights and states on disk: written whole, read without running code."""

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from llmseg_cli.artifacts.files import atomic_path
from llmseg_cli.artifacts.tensors import write_tensors
from llmseg_cli.errors import ArtifactError

STATE_VERSION = 1


def save_weights(path: Path, networks: Mapping[str, nn.Module], metadata: dict[str, str]) -> None:
    """Write the weights of named networks into one safetensors file.

    Args:
        path: The file.
        networks: Name to network; tensors are stored as `name.parameter`.
        metadata: Text to keep with them.
    """
    tensors = {
        f"{name}.{key}": value.detach().cpu().contiguous()
        for name, network in networks.items()
        for key, value in network.state_dict().items()
    }
    write_tensors(path, save(tensors, metadata))


def load_weights(path: Path) -> dict[str, dict[str, Tensor]]:
    """Read weights that `save_weights` wrote.

    Returns:
        Network name to its state dict.

    Raises:
        ArtifactError: If the file is missing or damaged.
    """
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ArtifactError(
            f"Cannot read the weights {path}: {error}. Finish the run with --resume."
        ) from error
    found: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        name, _, parameter = key.partition(".")
        found.setdefault(name, {})[parameter] = value
    return found


def load_into(network: nn.Module, state: Mapping[str, Tensor], *, source: str) -> None:
    """Load a state dict that must fit exactly.

    Raises:
        ArtifactError: If names or shapes differ, as from another architecture.
    """
    wanted = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    given = {key: tuple(value.shape) for key, value in state.items()}
    if wanted != given:
        odd = next(k for k in [*wanted, *given] if wanted.get(k) != given.get(k))
        raise ArtifactError(
            f"{source} is of another architecture: '{odd}' has shape {given.get(odd)}, expected "
            f"{wanted.get(odd)}. Use the --model and --model-option of that run."
        )
    network.load_state_dict(dict(state))


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write all that is needed to continue a run exactly, with the random states."""
    random_state: dict[str, Any] = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        random_state["cuda"] = torch.cuda.get_rng_state_all()
    with atomic_path(path) as temporary:
        torch.save({"version": STATE_VERSION, "random": random_state, **state}, temporary)


def load_state(path: Path, device: torch.device) -> dict[str, Any]:
    """Read what `save_state` wrote, and put the random states back.

    Raises:
        ArtifactError: If the file is damaged or of another version.
    """
    damaged = f"The state {path} is damaged. Train anew with --force."
    if not zipfile.is_zipfile(path):
        raise ArtifactError(damaged)
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except (OSError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        raise ArtifactError(f"{damaged} ({error})") from error
    if not isinstance(state, dict) or state.get("version") != STATE_VERSION:
        raise ArtifactError(f"{path} was written by another version of llmseg. Use --force.")
    torch.set_rng_state(state["random"]["torch"].cpu())
    if "cuda" in state["random"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([value.cpu() for value in state["random"]["cuda"]])
    return state
