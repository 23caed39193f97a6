"""Start a method's networks from the weights of another run."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from llmseg_cli.errors import ArtifactError
from llmseg_cli.methods.base import Method
from llmseg_cli.training.checkpoints import load_weights
from llmseg_cli.training.loop import WEIGHTS

BACKBONE, TEXTS = "backbone.", "text_"  # names in the state dict of a `TextFused`


def start_from(method: Method, folder: Path) -> None:
    """Load the weights of another run into the networks of a method.

    Networks of the same name take theirs; otherwise every network takes the run's first one. Text
    layers are taken where they fit; the texts themselves are always this run's own.

    Raises:
        ArtifactError: If the run is of another architecture.
    """
    weights = load_weights(folder / WEIGHTS)
    first = next(iter(weights.values()))
    for name, network in method.networks().items():
        own = network.state_dict()
        is_fused = any(key.startswith(BACKBONE) for key in own)
        given = _with_prefix(weights.get(name, first), BACKBONE if is_fused else "")
        for key, value in own.items():
            if key in given and given[key].shape == value.shape:
                continue
            if not is_fused or key.startswith(BACKBONE):
                found = tuple(given[key].shape) if key in given else None
                raise ArtifactError(
                    f"--init {folder}: '{key}' has shape {found}, this network needs "
                    f"{tuple(value.shape)}. Use the --model, --model-option and classes of that "
                    "run."
                )
            given.pop(key, None)
        taken = {k: v for k, v in given.items() if k in own and not k.startswith(TEXTS)}
        network.load_state_dict({**own, **taken})


def _with_prefix(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The state of a network with or without text, under the names that *prefix* asks for."""
    fused = any(key.startswith(BACKBONE) for key in state)
    if prefix and not fused:
        return {prefix + key: value for key, value in state.items()}
    if fused and not prefix:
        return {k.removeprefix(BACKBONE): v for k, v in state.items() if k.startswith(BACKBONE)}
    return dict(state)
