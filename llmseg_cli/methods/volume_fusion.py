"""Pre-training without labels: how two blended patches were blended."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from llmseg_cli.errors import UsageError
from llmseg_cli.methods.base import Method, SemiBatch, check_ranges

MOST_LEVELS = 64


class VolumeFusion(Method):
    r"""A network learns which of $K + 1$ weights blended another scan's patch into a voxel.

    With $x$ a patch, $x'$ that of the case before it in the batch, and classes $y_v$ in 0 to $K$
    drawn in random boxes, the network sees $\frac{y}{K} x' + (1 - \frac{y}{K}) x$ and learns $y$ as
    a segmentation, so that its decoder is trained, too. No label map is looked at; the labeled
    cases are scans like the others. The run predicts no organs: another training starts from it
    with `--init`, which drops its head.

    Boxes lie within the patch, a later one over an earlier; their classes are 1 to $K$, outside of
    all is class 0.

    Args:
        build: Returns a freshly initialized network.
        levels: $K$.
        fewest_boxes: Boxes of a patch, at least.
        most_boxes: Boxes of a patch, at most.
        smallest_box: Side of a box as a share of the patch's, at least. The paper's 8 voxels.
        largest_box: The same, at most.

    References:
        Wang et al., VolumeFusion, 2023. arXiv:2306.16925. Numbers as in the code of nnssl (10 to 39
        boxes of 8 voxels to 5/8 of a side, five classes); the classes of the boxes as in PyMIC.
    """

    uses_labels = False
    fewest_unlabeled = 2

    def __init__(
        self,
        build: Callable[[], nn.Module],
        *,
        levels: int = 4,
        fewest_boxes: int = 10,
        most_boxes: int = 39,
        smallest_box: float = 0.125,
        largest_box: float = 0.625,
    ) -> None:
        super().__init__()
        check_ranges(
            levels=(levels, 1, MOST_LEVELS),
            fewest_boxes=(fewest_boxes, 1, math.inf),
            most_boxes=(most_boxes, fewest_boxes, math.inf),
            smallest_box=(smallest_box, 0, 1),
            largest_box=(largest_box, smallest_box, 1),
        )
        self.network = build()
        self.levels = levels
        self.boxes = fewest_boxes, most_boxes
        self.shares = smallest_box, largest_box

    @classmethod
    def classes_of(cls, options: Mapping[str, Any]) -> tuple[str, ...]:
        levels = int(options["levels"])
        if not 1 <= levels <= MOST_LEVELS:
            raise UsageError(f"--method-option levels={levels}: expected 1 to {MOST_LEVELS}.")
        return tuple(f"fusion {level}/{levels}" for level in range(levels + 1))

    @classmethod
    def mixes_cases(cls, options: Mapping[str, Any]) -> str:
        return "blends cases into each other"

    def losses(self, batch: SemiBatch, *, progress: float) -> dict[str, Tensor]:
        assert batch.unlabeled is not None
        images = batch.unlabeled
        classes = fusion_classes(
            len(images),
            tuple(images.shape[2:]),
            levels=self.levels,
            boxes=self.boxes,
            shares=self.shares,
        ).to(images.device)
        fused = fuse(images, classes, levels=self.levels)
        return {"supervised": self.supervise(self.network, fused, SemiBatch(fused, classes))[1]}

    def networks(self) -> dict[str, nn.Module]:
        return {"network": self.network}


def fuse(images: Tensor, classes: Tensor, *, levels: int) -> Tensor:
    """Each patch with the one before it in the batch blended in; the first takes the last.

    Args:
        images: `(B, C, X, Y[, Z])`.
        classes: 0, where nothing is blended in, to *levels*, where nothing of the patch is left;
            `(B, X, Y[, Z])` int64.
        levels: The largest class.
    """
    share = (classes.to(images.dtype) / levels).unsqueeze(1)
    return torch.lerp(images, images.roll(1, dims=0), share)


def fusion_classes(
    count: int,
    sides: tuple[int, ...],
    *,
    levels: int,
    boxes: tuple[int, int],
    shares: tuple[float, float],
) -> Tensor:
    """Random boxes of random classes, drawn on the CPU.

    Args:
        count: Patches, B.
        sides: Of a patch in voxels.
        levels: The largest class of a box; the smallest is 1.
        boxes: Fewest and most boxes of a patch.
        shares: Smallest and largest side of a box, as shares of the patch's; a voxel at least.

    Returns:
        `(B, X, Y[, Z])` int64, 0 outside of all boxes.
    """
    most = boxes[1]
    is_drawn = torch.arange(most) < torch.randint(boxes[0], most + 1, (count, 1))
    values = torch.randint(1, levels + 1, (count, most)).to(torch.uint8) * is_drawn  # (B, boxes)
    inside = [_intervals(values.shape, side, shares) for side in sides]  # each (B, boxes, side)
    found = torch.zeros(count, *sides, dtype=torch.uint8)
    for box in range(most):
        value = values[:, box]
        for axis, within in enumerate(inside):
            shape = [count, *[1] * axis, -1, *[1] * (len(sides) - axis - 1)]
            value = value.view(count, *value.shape[1:], *[1] * (len(sides) + 1 - value.ndim))
            value = value * within[:, box].view(shape)
        found = torch.where(value > 0, value, found)
    return found.long()


def _intervals(shape: torch.Size, side: int, shares: tuple[float, float]) -> Tensor:
    """Random intervals of a side, `(*shape, side)` bool."""
    low, high = (max(1, round(share * side)) for share in shares)
    lengths = torch.randint(low, high + 1, shape)
    starts = (torch.rand(shape) * (side - lengths + 1)).long()
    place = torch.arange(side)
    return (place >= starts[..., None]) & (place < (starts + lengths)[..., None])
