"""Views of an image: noise, CutMix, and boxes of one image in another."""

from collections.abc import Sequence

import torch
from torch import Tensor

from llmseg_cli.errors import unknown

NOISE_UNITS = ("range", "deviation", "absolute")


def check_noise_unit(unit: str) -> None:
    """Refuse a unit that is none of `NOISE_UNITS`.

    Raises:
        UsageError: Naming it.
    """
    if unit not in NOISE_UNITS:
        raise unknown("--method-option noise_unit", unit, NOISE_UNITS)


def noise_scale(image: Tensor, unit: str) -> Tensor:
    """What noise of size 1 is in intensities, for each image and channel.

    Args:
        image: `(B, C, X, Y[, Z])`.
        unit: `range`, from the lowest to the highest intensity; `deviation`, the standard deviation
            of the intensities; `absolute`, 1.

    Returns:
        `(B, C, 1, 1[, 1])`; 0 of an image without contrast, but for `absolute`.
    """
    axes = tuple(range(2, image.ndim))
    if unit == "range":
        return image.amax(axes, keepdim=True) - image.amin(axes, keepdim=True)
    if unit == "deviation":
        return image.std(axes, correction=0, keepdim=True)
    return image.new_ones(*image.shape[:2], *(1 for _ in axes))


def add_noise(image: Tensor, deviation: float, *, unit: str) -> Tensor:
    """Add Gaussian noise, clipped at twice its deviation (UA-MT's teacher input).

    Args:
        image: `(B, C, X, Y[, Z])`.
        deviation: Its standard deviation, in *unit*.
        unit: See `noise_scale`.
    """
    noise = torch.randn_like(image).mul_(deviation).clamp_(-2 * deviation, 2 * deviation)
    return image + noise.mul_(noise_scale(image, unit))


def add_uniform_noise(image: Tensor, width: float, *, unit: str) -> Tensor:
    """Add noise that is uniform from -width to width, drawn anew for each call.

    Args:
        image: `(B, C, X, Y[, Z])`.
        width: Half of its width, in *unit*.
        unit: See `noise_scale`.
    """
    noise = torch.empty_like(image).uniform_(-width, width)
    return image + noise.mul_(noise_scale(image, unit))


def cutmix_boxes(count: int, sides: tuple[int, int], *, alpha: float) -> Tensor:
    r"""Where CutMix pastes: one box a sample, all of the same size.

    One $\lambda \sim \mathrm{Beta}(\alpha, \alpha)$; a box spans $\sqrt{1 - \lambda}$ of the first
    two axes and all of the third; its center is uniform over the last seven eighths of each axis.

    Args:
        count: Samples, B.
        sides: Voxels along the first two axes, X and Y.
        alpha: Parameter of the beta distribution.

    Returns:
        `(B, X, Y)` bool, true inside the box.

    References:
        Yun et al., CutMix, ICCV 2019 (arXiv:1905.04899), as in the code of TraCoCo and LLM-SegNet
        (arXiv:2407.05088).
    """
    concentration = torch.tensor(float(alpha))
    share = torch.distributions.Beta(concentration, concentration, validate_args=False).sample()
    ratio = float((1 - share).sqrt())
    inside = []
    for side in sides:
        center = torch.randint(side // 8, side, (count, 1))
        half = int(side * ratio) // 2
        place = torch.arange(side)[None]
        inside.append((place >= center - half) & (place < center + half))
    return inside[0][:, :, None] & inside[1][:, None, :]


def random_spans(
    count: int, sides: Sequence[int], *, smallest: float, largest: float, stretch: float
) -> Tensor:
    r"""Spans of boxes whose share of the patch and whose proportions are drawn for each.

    With a share $v$ uniform from *smallest* to *largest* and factors $f_d = r^{u_d - \bar u}$, $u$
    uniform from 0 to 1 and $r$ the *stretch*, side $n_d$ is spanned by $n_d v^{1/D} f_d$, rounded
    down and at most by all of it.

    Args:
        count: Boxes, B.
        sides: Sides of the patch, D of them.
        smallest: Share of the patch, from 0 to 1.
        largest: The same.
        stretch: Largest ratio of two spans, each as a share of its side.

    Returns:
        `(B, D)` int64, in voxels.

    References:
        UniMatch draws 0.02 to 0.4 of a square picture and a ratio of sides from 0.3 to 1 / 0.3
        (arXiv:2208.09910, public code); the form for other numbers of sides is ours.
    """
    share = smallest + (largest - smallest) * torch.rand(count, 1)
    places = torch.rand(count, len(sides))
    factors = stretch ** (places - places.mean(1, keepdim=True))
    voxels = torch.tensor(sides)
    return (voxels * share ** (1 / len(sides)) * factors).long().minimum(voxels)


def placed_boxes(spans: Tensor, sides: Sequence[int]) -> Tensor:
    """Boxes of given spans, each put anywhere inside of the patch.

    Args:
        spans: `(B, D)`, in voxels; a box that spans 0 of a side is empty.
        sides: Sides of the patch, D of them.

    Returns:
        `(B, X, Y[, Z])` bool, true inside the box; on the CPU.
    """
    inside = torch.ones(len(spans), *sides, dtype=torch.bool)
    for axis, side in enumerate(sides):
        span = spans[:, axis, None]
        start = (torch.rand(len(spans), 1) * (side - span + 1)).long()
        place = torch.arange(side)[None]
        line = (place >= start) & (place < start + span)
        inside &= line.view(-1, *[side if other == axis else 1 for other in range(len(sides))])
    return inside


def paste(base: Tensor, other: Tensor, boxes: Tensor) -> Tensor:
    """*other* inside the boxes, *base* outside.

    Args:
        base: `(B, C, X, Y[, Z])`.
        other: Same shape.
        boxes: `(B, X, Y)` bool, for all of Z; or of each voxel, `(B, X, Y, Z)`.
    """
    mask = boxes.to(base.device, non_blocking=True)[:, None]
    return torch.where(mask[..., None] if base.ndim > mask.ndim else mask, other, base)


def paste_map(base: Tensor, other: Tensor, boxes: Tensor) -> Tensor:
    """The same of label maps `(B, X, Y[, Z])`."""
    return paste(base[:, None], other[:, None], boxes)[:, 0]
