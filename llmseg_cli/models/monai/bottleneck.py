"""Where the bottleneck of a network of MONAI is, and how to see and change it there."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

INNERMOST = "submodule"  # MONAI's name of what a skip connection encloses
PLACES = {  # name of a network: the module whose answer is the bottleneck; with `>`, whose input
    "AHNet": "layer4",
    "AttentionUnet": INNERMOST,
    "BasicUNet": "down_4",
    "BasicUNetPlusPlus": "conv_4_0",
    "DynUNet": "bottleneck",
    "FlexibleUNet": ">decoder",
    "HighResNet": ">blocks.-1",
    "MedNeXt": "bottleneck",
    "SegResNet": "down_layers.-1",
    "SegResNetDS": "encoder.layers.-1.blocks",
    "SwinUNETR": "encoder10",
    "UNETR": ">decoder5",
    "UNet": INNERMOST,
    "VNet": "down_tr256",
}


class ReachedError(Exception):
    """The bottleneck is reached; nothing behind it is asked for."""


@dataclass(frozen=True)
class Place:
    """A module of a network, by its name within it.

    Args:
        path: Names joined by dots.
        is_input: The bottleneck is what the module is given, the last one of a list, and not what
            it answers.
    """

    path: str
    is_input: bool = False

    @classmethod
    def of(cls, name: str, network: nn.Module) -> "Place":
        """The bottleneck of the network of that name in MONAI."""
        written = PLACES[name]
        path = written.removeprefix(">")
        if path == INNERMOST:
            path = max((n for n, _ in network.named_modules() if n.endswith(INNERMOST)), key=len)
        return cls(_resolved(network, path), written.startswith(">"))

    @contextmanager
    def changing(self, network: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
        """While this is open, the network goes on with what *change* makes of its bottleneck."""
        module = network.get_submodule(self.path)

        def changed(given: Any) -> Any:
            if isinstance(given, list | tuple):
                return [*given[:-1], change(given[-1])]
            return change(given)

        if self.is_input:
            handle = module.register_forward_pre_hook(lambda _, a: (changed(a[0]), *a[1:]))
        else:
            handle = module.register_forward_hook(lambda _, __, answer: changed(answer))
        try:
            yield
        finally:
            handle.remove()

    def reached(self, network: nn.Module, image: Tensor) -> Tensor:
        """The bottleneck of an image; nothing behind it is computed."""
        found: list[Tensor] = []

        def keep(bottleneck: Tensor) -> Tensor:
            found.append(bottleneck)
            raise ReachedError

        with self.changing(network, keep), suppress(ReachedError):
            network(image)
        (bottleneck,) = found
        return bottleneck


def _resolved(network: nn.Module, path: str) -> str:
    """The path with `-1` replaced by the name of the last child."""
    names: list[str] = []
    for step in path.split("."):
        here = network.get_submodule(".".join(names))
        names.append([n for n, _ in here.named_children()][-1] if step == "-1" else step)
    return ".".join(names)
