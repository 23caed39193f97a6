"""A network of MONAI as a `Segmenter`, its tensors under MONAI's own names."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from llmseg_cli.errors import UsageError
from llmseg_cli.models.base import Segmenter
from llmseg_cli.models.monai.bottleneck import Place
from llmseg_cli.models.monai.patches import Facts


class MonaiNetwork(Segmenter):
    """A network of MONAI, which predicts as it does by itself.

    `encode` runs it as far as its bottleneck; what changes a bottleneck in `forward`, such as text,
    does so while the network runs, in one pass. `decode` alone has to run all of it again, with its
    own bottleneck replaced by the one that it is given.

    Args:
        name: As `--model` names it.
        network: Of MONAI.
        place: Where its bottleneck is.
        facts: What was found by trying it.
        in_channels: Image channels `C`.
        classes: Classes `K`, with the background.
        dimensions: 2 or 3.
        patch: The sides that it is built for, if it takes no others.

    References:
        Cardoso et al., MONAI: An open-source framework for deep learning in healthcare, 2022.
        arXiv:2211.02701.
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        place: Place,
        facts: Facts,
        *,
        in_channels: int,
        classes: int,
        dimensions: int,
        patch: Sequence[int] = (),
    ) -> None:
        super().__init__(
            in_channels=in_channels,
            classes=classes,
            dimensions=dimensions,
            bottleneck_channels=facts.channels,
            stride=max(facts.strides),
            smallest_grid=facts.smallest,
            live_maps=facts.live_maps,
        )
        self.name, self.place, self.facts, self.built_for = name, place, facts, tuple(patch)
        self.network = network
        self.aliases = _aliases(network)
        self.register_state_dict_post_hook(_without_aliases)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_with_aliases)  # type: ignore[no-untyped-call]

    @property
    def recomputes(self) -> bool:
        """Whether activations are computed again: never, for MONAI's blocks are not ours."""
        return False

    @recomputes.setter
    def recomputes(self, wanted: bool) -> None:
        if wanted:
            own = " or use --model-option use_checkpoint=true" if "Swin" in self.name else ""
            raise UsageError(
                f"--gradient-checkpointing: '{self.name}' keeps its activations. Leave it out{own}."
            )

    def encode(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        self.grid_of(image.shape[2:])
        return self.place.reached(self.network, image), [image]

    def decode(self, bottleneck: Tensor, skips: list[Tensor]) -> Tensor:
        (image,) = skips
        return self._run(image, lambda _: bottleneck)

    def changed(
        self, image: Tensor, change: Callable[[Tensor], Tensor] | None, *, heads: bool
    ) -> Tensor | list[Tensor]:
        self.grid_of(image.shape[2:])
        logits = self._run(image, change)
        return [logits] if heads else logits

    def _run(self, image: Tensor, change: Callable[[Tensor], Tensor] | None) -> Tensor:
        if change is None:
            return logits_of(self.network(image))
        with self.place.changing(self.network, change):
            return logits_of(self.network(image))

    def grid_of(self, patch: Sequence[int]) -> tuple[int, ...]:
        patch = tuple(patch)
        if len(patch) != self.dimensions or any(side < 1 for side in patch):
            return super().grid_of(patch)  # which refuses it
        if self.built_for and patch != self.built_for:
            raise UsageError(
                f"Patch {_cross(patch)}: this '{self.name}' was built for "
                f"{_cross(self.built_for)} and takes no other; its positions are of that size."
            )
        steps = (*map(max, self.facts.multiples, self.facts.strides),)
        if any(side % step for side, step in zip(patch, steps, strict=True)):
            below = [
                max(step, side // step * step) for side, step in zip(patch, steps, strict=True)
            ]
            raise UsageError(
                f"Patch {_cross(patch)}: '{self.name}' needs sides that are multiples of "
                f"{_listed(steps)}. Use --patch {','.join(map(str, below))}, or larger ones."
            )
        grid = tuple(side // s for side, s in zip(patch, self.facts.strides, strict=True))
        if self.smallest_grid > 1 and all(side == 1 for side in grid):
            raise UsageError(
                f"Patch {_cross(patch)} leaves one voxel at the bottleneck of '{self.name}', whose "
                f"normalization needs two. Use at least {2 * self.stride} along one side."
            )
        return grid

    def refuse_text(self) -> None:
        if self.stride == 1:
            raise UsageError(
                f"--text: '{self.name}' keeps the size of the image throughout and has no "
                "bottleneck where text could enter. Use another --model, or leave --text out."
            )


def logits_of(answer: Any) -> Tensor:
    """The logits among what a network of MONAI answers: some give a list with one entry."""
    found: Tensor = answer if torch.is_tensor(answer) else answer[0]
    return found


def _aliases(network: nn.Module) -> dict[str, str]:
    """Further names of tensors that a network has under several, to their first; DynUNet has."""
    first: dict[int, str] = {}
    named = network.named_parameters(prefix="network", remove_duplicate=False)
    return {name: first[id(p)] for name, p in named if first.setdefault(id(p), name) != name}


def _without_aliases(
    module: "MonaiNetwork", state: dict[str, Tensor], prefix: str, _: object
) -> None:
    """Hold every tensor under one name, as files of weights have to."""
    for name in module.aliases:
        state.pop(prefix + name)


def _with_aliases(
    module: "MonaiNetwork", state: dict[str, Tensor], prefix: str, *_: object
) -> None:
    for name, first in module.aliases.items():
        if prefix + first in state:
            state[prefix + name] = state[prefix + first]


def _cross(patch: Sequence[int]) -> str:
    return " x ".join(map(str, patch))


def _listed(steps: Sequence[int]) -> str:
    if len(set(steps)) == 1:
        return str(steps[0])
    return f"{', '.join(map(str, steps[:-1]))} and {steps[-1]}"
