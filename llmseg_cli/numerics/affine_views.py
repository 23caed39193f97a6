r"""Views of images through affine maps, in the coordinates of torch's `affine_grid`.

A map $\theta$, `(D, D + 1)`, takes places of the view to places of the image, both from -1 to 1
between the outer borders of the outermost voxels (`align_corners=False`). Its first row and column
are of the **last** axis of the tensors. What is smaller than the image is enlarged.
"""

from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

SOFTNESS = 0.1  # of the width of a bound: how far beyond it a soft bound can come


def view_of(image: Tensor, maps: Tensor, *, beyond: str = "zeros") -> Tensor:
    """Views of images, interpolated linearly in float32.

    Args:
        image: `(B, C, X, Y[, Z])`.
        maps: `(B, D, D + 1)`; gradient flows to them.
        beyond: What lies beyond the image: `zeros`, or `border`, where the outermost voxels go on.

    Returns:
        Of the image's shape.
    """
    return _sampled(image, maps, mode="bilinear", padding=beyond)


def label_view_of(labels: Tensor, maps: Tensor, *, beyond: int) -> Tensor:
    """The same views of label maps, the nearest voxel's label.

    Args:
        labels: `(B, X, Y[, Z])` int64.
        maps: `(B, D, D + 1)`; no gradient flows to them.
        beyond: The label beyond the image.
    """
    maps = maps.detach()
    found = _sampled(labels[:, None].float(), maps, mode="nearest", padding="zeros")[:, 0]
    return found.round().long().where(inside(labels, maps), beyond)


def inside(labels: Tensor, maps: Tensor) -> Tensor:
    """Which voxels of the views show a voxel of the image, `(B, X, Y[, Z])` bool.

    Args:
        labels: Anything of that shape.
        maps: `(B, D, D + 1)`; no gradient flows to them.
    """
    ones = torch.ones_like(labels[:, None], dtype=torch.float32)
    return _sampled(ones, maps.detach(), mode="nearest", padding="zeros")[:, 0] > 0.5


def _sampled(values: Tensor, maps: Tensor, *, mode: str, padding: str) -> Tensor:
    with torch.autocast(values.device.type, enabled=False):
        wide = values.to(torch.promote_types(values.dtype, torch.float32))
        grid = F.affine_grid(maps.to(wide.dtype), list(wide.shape), align_corners=False)
        return F.grid_sample(wide, grid, mode=mode, padding_mode=padding, align_corners=False)


def identity(dimensions: int) -> Tensor:
    """The map whose view is the image, `(D, D + 1)`."""
    return torch.eye(dimensions, dimensions + 1)


def corner_zooms(dimensions: int) -> Tensor:
    """Maps whose views are the quarters of a picture, or the eighths of a volume, enlarged twice.

    Returns:
        `(2 ** D, D, D + 1)`.

    References:
        Huang et al., AC-Former, ICCV 2023, the first views in its code. arXiv:2310.14154. In 3D
        ours.
    """
    half = identity(dimensions) / 2
    shifts = torch.tensor(list(product((-0.5, 0.5), repeat=dimensions)))  # (2 ** D, D)
    return torch.cat([half[:, :-1].expand(len(shifts), -1, -1), shifts[..., None]], dim=2)


def softly_bounded(values: Tensor, low: Tensor, high: Tensor) -> Tensor:
    r"""Values within bounds as they are, and others near the bound that they are beyond.

    With $e$ how far a value is beyond a bound and $s$ a tenth of the bounds' width, it becomes
    $s\, e / (s + e)$ beyond: the gradient is 1 within and never 0 outside, where that of a clamp
    is, so that what has once left can come back.

    Args:
        values: Of any shape that the bounds fit.
        low: Lowest values.
        high: Highest values, not below.
    """
    within = values.clamp(low, high).detach()
    excess = values - within
    softness = (SOFTNESS * (high - low)).clamp_min(torch.finfo(values.dtype).tiny)
    return within + softness * excess / (softness + excess.abs())
