"""Weights and states on disk: written whole, read without running code."""

import pickle
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from llmseg_cli.artifacts.files import atomic_path
from llmseg_cli.artifacts.tensors import write_tensors
from llmseg_cli.errors import ArtifactError, LlmsegError, is_out_of_memory
from llmseg_cli.reading import file_fault
from llmseg_cli.typed import fit

STATE_VERSION = 1
FINISH = "Finish the run with --resume."
ANEW = "Train anew with --force."
UNFIT = (  # what torch and Python raise for a state of other content
    OSError, EOFError, RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError,
    OverflowError, pickle.UnpicklingError,
)  # fmt: skip


class _Random(TypedDict):
    torch: Tensor
    cuda: NotRequired[list[Tensor]]


class State(TypedDict):
    """What `state.ckpt` holds beside its version."""

    random: _Random
    step: int
    learner: dict[str, Any]
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    averages: dict[str, dict[str, Any]]
    plateau: NotRequired[dict[str, Any] | None]  # absent in older runs, as what follows
    losses: NotRequired[dict[str, float]]
    score: NotRequired[float | None]
    steps: NotRequired[int]  # in all, which a budget of time lays out anew
    used_s: NotRequired[float | None]  # of that budget
    best: list[float] | None


def save_weights(path: Path, networks: Mapping[str, nn.Module], metadata: dict[str, str]) -> None:
    """Write the weights of named networks into one safetensors file.

    Of a network within another one, each has its own copy.

    Args:
        path: The file.
        networks: Name to network; tensors are stored as `name.parameter`.
        metadata: Text to keep with them.
    """
    tensors: dict[str, Tensor] = {}
    places: dict[int, str] = {}  # of what is written, to the network that has it
    for name, network in networks.items():
        for key, value in network.state_dict().items():
            own = value.detach().cpu().contiguous()
            shares = places.setdefault(own.data_ptr(), name) != name
            tensors[f"{name}.{key}"] = own.clone() if shares else own
    write_tensors(path, save(tensors, metadata))


def load_weights(path: Path) -> dict[str, dict[str, Tensor]]:
    """Read weights that `save_weights` wrote.

    Returns:
        Network name to its state dict.

    Raises:
        ArtifactError: If the file is missing or damaged.
    """
    if fault := file_fault(path):
        raise ArtifactError(f"Cannot read the weights {path}: {fault}. {FINISH}")
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise ArtifactError(f"Cannot read the weights {path}: {error}. {FINISH}") from error
    found: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        name, _, parameter = key.partition(".")
        found.setdefault(name, {})[parameter] = value
    return found


def weights_note(path: Path) -> dict[str, str]:
    """The text that `save_weights` kept with weights.

    Raises:
        ArtifactError: If the file is missing or damaged.
    """
    if fault := file_fault(path):
        raise ArtifactError(f"Cannot read the weights {path}: {fault}. {FINISH}")
    try:
        with safe_open(path, framework="pt") as stored:
            return dict(stored.metadata() or {})
    except (OSError, SafetensorError, ValueError) as error:
        raise ArtifactError(f"Cannot read the weights {path}: {error}. {FINISH}") from error


def load_into(network: nn.Module, state: Mapping[str, Tensor], *, source: str) -> None:
    """Load a state dict that must fit exactly.

    Raises:
        ArtifactError: If names, shapes or kinds of numbers differ, as from another architecture.
    """
    refuse_unfit(network, state, source=source)
    network.load_state_dict(dict(state))


def refuse_unfit(network: nn.Module, state: Mapping[str, Tensor], *, source: str) -> None:
    """Compare a network, which may be on the device `meta`, with a state dict for it.

    Raises:
        ArtifactError: If names, shapes or kinds of numbers differ.
    """
    own = network.state_dict()
    wanted = {key: tuple(value.shape) for key, value in own.items()}
    given = {key: tuple(value.shape) for key, value in state.items()}
    if wanted != given:
        odd = next(k for k in [*wanted, *given] if wanted.get(k) != given.get(k))
        raise ArtifactError(
            f"{source} is of another architecture: '{odd}' has shape {given.get(odd)}, expected "
            f"{wanted.get(odd)}. Use the --model and --model-option of that run."
        )
    for key, value in own.items():
        if value.is_floating_point() != state[key].is_floating_point():
            raise ArtifactError(
                f"{source}: '{key}' holds {state[key].dtype}, expected {value.dtype}. Take it from "
                "a sound copy, or train anew."
            )


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write all that is needed to continue a run exactly, with the random states."""
    random_state: dict[str, Any] = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        random_state["cuda"] = torch.cuda.get_rng_state_all()
    with atomic_path(path) as temporary:
        torch.save({"version": STATE_VERSION, "random": random_state, **state}, temporary)


def load_state(path: Path, device: torch.device) -> State:
    """Read what `save_state` wrote, and put the random states back.

    Raises:
        ArtifactError: If the file is damaged or of another version.
    """
    if fault := file_fault(path):
        raise ArtifactError(f"Cannot read the state {path}: {fault}. {ANEW}")
    if not zipfile.is_zipfile(path):
        raise ArtifactError(f"The state {path} is damaged. {ANEW}")
    with refused_state(path):
        content = torch.load(path, map_location=device, weights_only=True)
        if not isinstance(content, dict) or content.get("version") != STATE_VERSION:
            raise ArtifactError(f"{path} was written by another version of llmseg. {ANEW}")
        fit(content, State)
        state = cast(State, content)  # as torch made it: keys of an optimizer are numbers
        torch.set_rng_state(state["random"]["torch"].cpu())
        if "cuda" in state["random"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all([value.cpu() for value in state["random"]["cuda"]])
    return state


@contextmanager
def refused_state(path: Path) -> Iterator[None]:
    """Say in one sentence that a state does not fit, whatever part of torch finds out.

    Raises:
        ArtifactError: Instead of what torch raises for values of another kind.
    """
    try:
        yield
    except (LlmsegError, MemoryError):
        raise
    except UNFIT as error:
        if is_out_of_memory(error):
            raise
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ArtifactError(f"The state {path} is damaged ({first[:200]}). {ANEW}") from error
