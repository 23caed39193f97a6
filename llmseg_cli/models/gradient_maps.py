"""Which places of a network's bottleneck speak for a class, by gradients."""

from collections.abc import Collection, Sequence
from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor

from llmseg_cli.models.base import Segmenter
from llmseg_cli.models.layers import INTERPOLATION
from llmseg_cli.models.medvisionllama import boosters_of


def grad_cam(
    network: Segmenter, image: Tensor, *, classes: Sequence[int], voxels: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    r"""Grad-CAM of classes at the bottleneck, before text enters.

    With $A$ the bottleneck, its channels $c$ and places $p \in P$, $z^k_v$ the logit of class k at
    voxel v and M some voxels,
    $L^k = \mathrm{ReLU}(\sum_c \alpha^k_c A^c)$, $\alpha^k_c = \frac{1}{|P|} \sum_p \partial s^k /
    \partial A^c_p$, $s^k = \sum_{v \in M} z^k_v$.

    What passes the skip connections counts as fixed. The values have no unit: they compare places
    of one map.

    Args:
        network: In evaluation mode; it is not changed.
        image: `(B, C, X, Y[, Z])`.
        classes: Those that are asked about, N of them.
        voxels: M of each class, `(B, N, X, Y[, Z])` bool; None takes those predicted as it.

    Returns:
        Maps `(B, N, X, Y[, Z])` float32, interpolated linearly, 0 where the logits do not depend on
        the bottleneck; and logits `(B, K, X, Y[, Z])` without gradient.

    References:
        Selvaraju et al., Grad-CAM, ICCV 2017, eq. 1 and 2. arXiv:1610.02391.
        Vinogradova et al., AAAI 2020, the sum over a region. arXiv:2002.11434.
    """
    kept: list[Tensor] = []

    def watch(bottleneck: Tensor) -> Tensor:
        kept.append(bottleneck.detach().requires_grad_())
        return kept[0]

    with torch.enable_grad():
        logits = network.changed(image, watch, heads=False)
    assert isinstance(logits, Tensor)  # of no heads
    (bottleneck,) = kept
    predicted = logits.detach().argmax(dim=1)
    maps = []
    for index, number in enumerate(classes):
        where = predicted == number if voxels is None else voxels[:, index]
        slope = _slope(logits[:, number].float(), where, bottleneck)
        weights = slope.flatten(2).mean(dim=2).view(*slope.shape[:2], *[1] * (slope.ndim - 2))
        maps.append((weights * bottleneck.detach().float()).sum(dim=1).relu())
    sides = image.shape[2:]
    stacked = torch.stack(maps, dim=1)
    drawn = F.interpolate(stacked, sides, mode=INTERPOLATION[len(sides)], align_corners=False)
    return drawn, logits.detach()


def parts(network: Segmenter, image: Tensor) -> dict[str, list[str]]:
    """Names of parameters to draw anew, from the network's end towards its beginning.

    Args:
        network: Any.
        image: `(B, C, X, Y[, Z])`, that the network can be asked about.

    Returns:
        `decoder`: those that the bottleneck does not depend on; `all`: all of them. A block of a
        language model that networks share is in neither.
    """
    named = dict(network.named_parameters())
    learned = {name for name, one in named.items() if one.requires_grad}
    try:
        for one in named.values():
            one.requires_grad_(True)
        with torch.enable_grad():
            bottleneck, _ = network.encode(image)
            found = torch.autograd.grad(bottleneck.sum(), [*named.values()], allow_unused=True)
    finally:
        for name, one in named.items():
            one.requires_grad_(name in learned)
    behind = [name for name, slope in zip(named, found, strict=True) if slope is None]
    return {"decoder": behind, "all": [*named]}


@torch.no_grad()
def drawn_anew(network: Segmenter, names: Collection[str], *, seed: int) -> Segmenter:
    """A copy whose named parameters are random, with the mean and spread that each one had.

    A parameter of one value, or of equal ones, stays as it is, and so does a block of a language
    model that networks share, with its adapters.

    Args:
        network: It is not changed.
        names: Of its parameters.
        seed: Of the draw.

    References:
        Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018, section 3, cascading
        randomization; the normal distribution of each tensor's own statistics is ours, so that
        features keep their size. arXiv:1810.03292.
    """
    shared = [one.module for one in boosters_of(network) if not one.is_part]
    copied = deepcopy(network, {id(block): block for block in shared})
    random = torch.Generator().manual_seed(seed)
    for name, one in copied.named_parameters():
        if name not in names or one.numel() == 1:
            continue
        noise = torch.randn(one.shape, generator=random).to(one.device)
        values = one.float()
        one.copy_(values.mean() + values.std() * noise)
    return copied


def _slope(logits: Tensor, where: Tensor, bottleneck: Tensor) -> Tensor:
    """Of the sum of logits over voxels, along the bottleneck, float32; 0 without a dependence."""
    if not logits.requires_grad:
        return torch.zeros_like(bottleneck, dtype=torch.float32)
    (found,) = torch.autograd.grad(
        (logits * where).sum(), bottleneck, retain_graph=True, allow_unused=True
    )
    return torch.zeros_like(bottleneck).float() if found is None else found.float()
