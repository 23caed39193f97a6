"""Start a method's networks from the weights of another run."""

from collections.abc import Mapping
from itertools import cycle
from pathlib import Path

from torch import Tensor

from llmseg_cli.artifacts.run_files import WEIGHTS
from llmseg_cli.errors import ArtifactError
from llmseg_cli.methods.base import Method
from llmseg_cli.training.checkpoints import load_weights

BACKBONE, TEXTS = "backbone.", "text_"  # names in the state dict of a `TextFused`


def start_from(method: Method, folder: Path) -> None:
    """Load the weights of another run into the networks of a method.

    Networks of the same name take theirs; where no name fits, networks pair up with those of the
    run in order, from its first again where it has fewer. Text layers are taken where they fit; the
    texts themselves are always this run's own.

    Raises:
        ArtifactError: If the run is of another architecture.
    """
    weights = load_weights(folder / WEIGHTS)
    in_order = cycle(weights.values())
    for (name, network), next_one in zip(method.networks().items(), in_order, strict=False):
        own = network.state_dict()
        is_fused = any(key.startswith(BACKBONE) for key in own)
        given = _with_prefix(weights.get(name, next_one), BACKBONE if is_fused else "")
        for key, value in own.items():
            if key in given and given[key].shape == value.shape:
                continue
            if not is_fused or key.startswith(BACKBONE):
                found = f"of shape {tuple(given[key].shape)}" if key in given else "missing"
                raise ArtifactError(
                    f"--init {folder}: '{key}' is {found}, this network needs "
                    f"{tuple(value.shape)}. Use the --model, --model-option, --image-encoder, "
                    "--slices and classes of that run."
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
