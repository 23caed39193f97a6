"""Views of an image: noise, and CutMix."""

import torch
from torch import Tensor


def add_noise(image: Tensor, deviation: float) -> Tensor:
    """Add Gaussian noise, clipped at twice its deviation (UA-MT's teacher input)."""
    noise = torch.randn_like(image).mul_(deviation)
    return image + noise.clamp_(-2 * deviation, 2 * deviation)


def add_uniform_noise(image: Tensor, width: float) -> Tensor:
    """Add noise that is uniform from -width to width, drawn anew for each call."""
    return image + torch.empty_like(image).uniform_(-width, width)


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
    share = torch.distributions.Beta(concentration, concentration).sample()
    ratio = float((1 - share).sqrt())
    inside = []
    for side in sides:
        center = torch.randint(side // 8, side, (count, 1))
        half = int(side * ratio) // 2
        place = torch.arange(side)[None]
        inside.append((place >= center - half) & (place < center + half))
    return inside[0][:, :, None] & inside[1][:, None, :]


def paste(base: Tensor, other: Tensor, boxes: Tensor) -> Tensor:
    """*other* inside the boxes, *base* outside.

    Args:
        base: `(B, C, X, Y[, Z])`.
        other: Same shape.
        boxes: `(B, X, Y)` bool.
    """
    mask = boxes.to(base.device)[:, None]
    return torch.where(mask[..., None] if base.ndim == 5 else mask, other, base)
