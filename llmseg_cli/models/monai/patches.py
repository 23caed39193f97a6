"""Which patches a network of MONAI takes, found by trying it on tensors without memory."""

import copy
import math
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from llmseg_cli.errors import UsageError
from llmseg_cli.models.monai.bottleneck import Place

LARGEST = 256  # of the steps of a side that are tried
MEASURED = 64  # voxels of a side at which memory is measured
UNFIT = (  # what MONAI and torch raise for what they cannot use
    RuntimeError, ValueError, TypeError, IndexError, KeyError, AssertionError, AttributeError,
    NotImplementedError, ZeroDivisionError, ImportError,
)  # fmt: skip
Sides = tuple[int, ...]


@dataclass(frozen=True)
class Facts:
    """What trying has found.

    Args:
        multiples: Every side of a patch is a multiple of its one.
        strides: Voxels of the image per voxel of the bottleneck, along each side.
        channels: Of the bottleneck.
        smallest: Voxels that the bottleneck needs, 1 or 2.
        live_maps: Feature maps of full size, each as wide as the first convolution, that a forward
            pass holds at once.
    """

    multiples: Sides
    strides: Sides
    channels: int
    smallest: int
    live_maps: int


class Trial:
    """A network that is run without memory.

    Args:
        network: Of MONAI.
        place: Its bottleneck.
        channels: Of its images.
    """

    def __init__(self, network: nn.Module, place: Place, channels: int) -> None:
        self.place, self.channels = place, channels
        weights: dict[int, Any] = {id(p): nn.Parameter(p.to("meta")) for p in network.parameters()}
        buffers = {id(b): b.to("meta") for b in network.buffers()}
        self.network = copy.deepcopy(network, weights | buffers).eval()

    def answer(self, sides: Sides) -> tuple[Sides, Sides] | None:
        """Shapes of logits and bottleneck, without that of the batch; None if it cannot be run."""
        try:
            return self.run(sides)
        except UNFIT:
            return None

    def run(self, sides: Sides) -> tuple[Sides, Sides]:
        """The same, with the network's own error."""
        seen: list[Sides] = []

        def see(bottleneck: Tensor) -> Tensor:
            seen.append(tuple(bottleneck.shape[1:]))
            return bottleneck

        image = torch.empty(1, self.channels, *sides, device="meta")
        with torch.no_grad(), self.place.changing(self.network, see):
            answer = self.network(image)
        logits = answer if torch.is_tensor(answer) else answer[0]
        return tuple(logits.shape[1:]), seen[0]

    def takes(self, steps: Sides) -> bool:
        """Whether twice and three times these sides work, the bottleneck in proportion."""
        twice, thrice = (tuple(times * step for step in steps) for times in (2, 3))
        small, large = self.answer(twice), self.answer(thrice)
        if small is None or large is None:
            return False
        same = small[0][1:] == twice and large[0][1:] == thrice
        pairs = zip(small[1][1:], large[1][1:], strict=True)
        return same and all(3 * a == 2 * b for a, b in pairs)


def explore(network: nn.Module, place: Place, *, channels: int, dimensions: int) -> Facts:
    """Try a network that takes patches of many sizes.

    Args:
        network: Of MONAI, on the CPU.
        place: Its bottleneck.
        channels: Of its images.
        dimensions: 2 or 3.

    Raises:
        UsageError: If there is no step up to `LARGEST` of which multiples work.
    """
    trial = Trial(network, place, channels)
    powers = [1 << n for n in range(LARGEST.bit_length())]
    step = next((s for s in powers if trial.takes((s,) * dimensions)), None)
    if step is None:
        raise UsageError(
            f"With these options MONAI's {type(network).__name__} takes no patch of equal sides up "
            f"to {2 * LARGEST} voxels ({_fault(trial, dimensions)})."
        )
    steps = [step] * dimensions
    for axis in range(dimensions):
        while steps[axis] > 1:
            fewer = [*steps[:axis], steps[axis] // 2, *steps[axis + 1 :]]
            if not trial.takes(tuple(fewer)):
                break
            steps = fewer
    found = trial.answer(tuple(2 * s for s in steps))
    assert found is not None
    bottleneck = found[1]
    strides = tuple(2 * s // g for s, g in zip(steps, bottleneck[1:], strict=True))
    sides = tuple(s * max(2, math.ceil(MEASURED / s)) for s in steps)
    return Facts(
        multiples=tuple(steps),
        strides=strides,
        channels=bottleneck[0],
        smallest=1 if trial.answer(tuple(steps)) else 2,
        live_maps=live_maps(trial, sides),
    )


def explore_at(network: nn.Module, place: Place, *, channels: int, patch: Sequence[int]) -> Facts:
    """Try a network that is built for one size of patch and takes no other."""
    trial = Trial(network, place, channels)
    sides = tuple(patch)
    _, bottleneck = trial.run(sides)
    strides = tuple(side // g for side, g in zip(sides, bottleneck[1:], strict=True))
    return Facts(sides, strides, bottleneck[0], 1, live_maps(trial, sides))


def live_maps(trial: Trial, sides: Sides) -> int:
    """See `Facts`."""
    first = (m for m in trial.network.modules() if isinstance(m, nn.Conv2d | nn.Conv3d))
    width = next(first).out_channels
    with Alive() as alive:
        trial.run(sides)
    return math.ceil(alive.peak / (math.prod(sides) * width))


class Alive(TorchDispatchMode):  # type: ignore[no-untyped-call]  # as torch has it
    """Counts the values that tensors hold at once; views of a tensor hold none of their own."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.holders: dict[int, list[int]] = {}  # storage: tensors that hold it, and its values
        self.now = self.peak = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:  # torch's signature
        answer = func(*args, **kwargs or {})
        for one in tree_leaves(answer):
            if torch.is_tensor(one):
                self._see(one)
        return answer

    def _see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self.holders:
            values = storage.nbytes() // tensor.element_size()
            self.holders[key] = [0, values]
            self.now += values
            self.peak = max(self.peak, self.now)
        self.holders[key][0] += 1
        weakref.finalize(tensor, self._forget, key)

    def _forget(self, key: int) -> None:
        held = self.holders[key]
        held[0] -= 1
        if not held[0]:
            self.now -= held[1]
            del self.holders[key]


def _fault(trial: Trial, dimensions: int) -> str:
    try:
        trial.run((2 * LARGEST,) * dimensions)
    except UNFIT as error:
        return f"it says: {' '.join(str(error).split())[:160]}"
    return "its output has another size"
