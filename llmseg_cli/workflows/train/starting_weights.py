"""Start a method's networks from the weights of another run, of the same task or of another."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path

import torch
from torch import Tensor, nn

from llmseg_cli.artifacts.run_config import RunConfig
from llmseg_cli.artifacts.run_files import CONFIG, WEIGHTS
from llmseg_cli.errors import ArtifactError
from llmseg_cli.methods.base import Method
from llmseg_cli.training.checkpoints import load_weights

BACKBONE, TEXTS = "backbone.", "text_"  # names in the state dict of a `TextFused`
SHOWN = 4  # names of tensors in a sentence
Build = Callable[[RunConfig], Callable[[], nn.Module]]


@dataclass(frozen=True)
class OtherTask:
    """What a network of other classes or channels cannot take as it is.

    Args:
        head: Names of the tensors that depend on the classes.
        stem: Names of those that depend on the image channels.
    """

    head: frozenset[str] = frozenset()
    stem: frozenset[str] = frozenset()


SAME_TASK = OtherTask()


@dataclass(frozen=True)
class Started:
    """What networks took of the weights that they were given.

    Args:
        copied: Number of tensors of a network that were copied as they are.
        adapted: Names of those that were spread over other channels.
        fresh: Names of those that were not taken, and start as in a network without `--init`.
    """

    copied: int
    adapted: tuple[str, ...]
    fresh: tuple[str, ...]

    def in_words(self) -> str:
        """One line: what was copied, adapted and dropped."""
        parts = [f"{self.copied} tensors are copied"]
        if self.adapted:
            parts.append(f"{_named(self.adapted)} spread over the channels")
        parts.append(f"{_named(self.fresh)} start anew" if self.fresh else "none starts anew")
        return ", ".join(parts)


def other_task(config: RunConfig, given: RunConfig, build: Build) -> OtherTask:
    """How the task of a run differs from that of the run whose weights it is given.

    Tasks are the same where channels and names of the classes are. What depends on them is found by
    comparing the network with others of more classes and of the given channels, so that it holds
    for every network; they are built without memory.

    Args:
        config: Of the run that starts.
        given: Of the other one.
        build: Returns what builds a network of such a run.
    """
    head: frozenset[str] = frozenset()
    stem: frozenset[str] = frozenset()
    if config.classes != given.classes:
        wider = replace(config, classes=(*config.classes, "one more"), label_values=())
        head = differing(build, config, wider)
    if config.channels != given.channels:
        settings = {**config.settings, "slices": given.slices}
        other = replace(config, in_channels=given.in_channels, settings=settings)
        stem = differing(build, config, other)
    return OtherTask(head, stem)


def start_from(method: Method, folder: Path, task: OtherTask = SAME_TASK) -> Started:
    """Load the weights of another run into the networks of a method.

    Networks of the same name take theirs; where no name fits, networks pair up with those of the
    run in order, from its first again where it has fewer. Text layers are taken where they fit; the
    texts themselves are always this run's own. Of another task all is taken but the head; the stem
    is spread (`spread`).

    Args:
        method: Whose networks take them.
        folder: The run.
        task: How its task differs.

    Returns:
        What was taken; the same for each network.

    Raises:
        ArtifactError: If the run is of another architecture.
    """
    weights = load_weights(folder / WEIGHTS)
    in_order = cycle(weights.values())
    taken: dict[str, Tensor] = {}
    adapted: list[str] = []
    own: dict[str, Tensor] = {}
    for (name, network), next_one in zip(method.networks().items(), in_order, strict=False):
        own, taken, adapted = network.state_dict(), {}, []
        is_fused = any(key.startswith(BACKBONE) for key in own)
        given = _with_prefix(weights.get(name, next_one), BACKBONE if is_fused else "")
        for key, value in own.items():
            plain = key.removeprefix(BACKBONE)
            if plain in task.head or key.startswith(TEXTS):
                continue
            if key in given and given[key].shape == value.shape:
                taken[key] = given[key]
            elif plain in task.stem and key not in given:
                continue  # a layer that only images of other channels need
            elif plain in task.stem and fits_but_for_channels(given[key], value):
                taken[key] = spread(given[key], value.shape[1])
                adapted.append(plain)
            elif not is_fused or key.startswith(BACKBONE):
                raise ArtifactError(_misfit(folder, key, given, value))
        network.load_state_dict({**own, **taken})
    fresh = [key.removeprefix(BACKBONE) for key in own if key not in taken]
    return Started(
        copied=len(taken) - len(adapted),
        adapted=tuple(adapted),
        fresh=tuple(key for key in fresh if not key.startswith(TEXTS)),
    )


def spread(kernels: Tensor, channels: int) -> Tensor:
    r"""The first layer's kernels for images of other channels.

    Each of the $C'$ new channels gets $\frac{1}{C'} \sum_{c=1}^{C} W_c$, so that an image answers
    as before whose channels all show the same. For one channel, $W_1 / C'$, this is what nnU-Net
    2.8 does (`train_pretrained` repeats the stem and divides); for several, which it does not
    take, the sum is ours.

    Args:
        kernels: `(N, C, ...)`.
        channels: $C'$.

    Returns:
        `(N, C', ...)`.
    """
    total = kernels.sum(dim=1, keepdim=True) / channels
    return total.repeat(1, channels, *[1] * (kernels.ndim - 2))


def refuse_other_network(folder: Path, given: RunConfig, config: RunConfig) -> None:
    """Refuse weights of another network, or of one for scans of other dimensions.

    Args:
        folder: The run that `--init` names.
        given: Its settings.
        config: Of the run that starts.

    Raises:
        ArtifactError: Saying what to pass instead.
    """
    if given.model != config.model:
        raise ArtifactError(
            f"--init {folder} has the network '{given.model}', this network needs "
            f"'{config.model}'. Pass --model {given.model}, or leave --init out."
        )
    if len(given.patch) != len(config.patch):
        raise ArtifactError(
            f"--init {folder} was trained in {len(given.patch)}D, and this network needs weights "
            f"in {len(config.patch)}D. Give --patch {len(given.patch)} sides, or leave --init out."
        )


def differing(build: Build, one: RunConfig, other: RunConfig) -> frozenset[str]:
    """Names of the tensors of one network that another lacks or has in another shape."""
    with torch.device("meta"):
        first, second = (
            {key.removeprefix(BACKBONE): value.shape for key, value in made.state_dict().items()}
            for made in (build(one)(), build(other)())
        )
    return frozenset(key for key, shape in first.items() if second.get(key) != shape)


def fits_but_for_channels(given: Tensor, own: Tensor) -> bool:
    """Whether kernels have the shape of others but for the channels that they read."""
    shapes = [(*value.shape[:1], *value.shape[2:]) for value in (given, own)]
    return given.ndim > 1 and shapes[0] == shapes[1]


def _misfit(folder: Path, key: str, given: Mapping[str, Tensor], own: Tensor) -> str:
    found = f"of shape {tuple(given[key].shape)}" if key in given else "missing"
    return (
        f"--init {folder}: '{key}' is {found}, this network needs {tuple(own.shape)}. Use the "
        f"{_options_of(folder)} of that run."
    )


def _options_of(folder: Path) -> str:
    """The options that make the network of a run, as a user types them."""
    if not (folder / CONFIG).is_file():
        return "--model, --model-option, --image-encoder and --slices"
    config = RunConfig.load(folder / CONFIG)
    options = [f"--model-option {key}={value}" for key, value in config.model_options.items()]
    encoder = [f"--image-encoder {config.image_encoder['name']}"] if config.image_encoder else []
    slices = [f"--slices {config.slices}"] if config.slices > 1 else []
    return " ".join([f"--model {config.model}", *options, *encoder, *slices])


def _with_prefix(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The state of a network with or without text, under the names that *prefix* asks for."""
    fused = any(key.startswith(BACKBONE) for key in state)
    if prefix and not fused:
        return {prefix + key: value for key, value in state.items()}
    if fused and not prefix:
        return {k.removeprefix(BACKBONE): v for k, v in state.items() if k.startswith(BACKBONE)}
    return dict(state)


def _named(names: tuple[str, ...]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
