"""What a critic of masks learns, and what it teaches who draws them."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

KINDS = ("least-squares", "hinge", "wgan-gp")


def critic_loss(real: Tensor, fake: Tensor, *, kind: str) -> Tensor:
    r"""How badly a critic tells real from fake.

    `least-squares` $\tfrac12 (E (s_r - 1)^2 + E s_f^2)$, `hinge` $\tfrac12 (E (1 - s_r)_+ + E (1 +
    s_f)_+)$, `wgan-gp` $E s_f - E s_r$, which may be negative, without its penalty.

    Args:
        real: Scores of what is real, of any shape.
        fake: Scores of what is not.
        kind: One of `KINDS`.

    References:
        Mao et al., LSGAN, ICCV 2017, eq. 9. arXiv:1611.04076. Lim and Ye, Geometric GAN, 2017.
        arXiv:1705.02894. Gulrajani et al., WGAN-GP, NeurIPS 2017. arXiv:1704.00028.
    """
    if kind == "least-squares":
        return ((real - 1).square().mean() + fake.square().mean()) / 2
    if kind == "hinge":
        return (F.relu(1 - real).mean() + F.relu(1 + fake).mean()) / 2
    return fake.mean() - real.mean()


def adversarial_loss(fake: Tensor, *, kind: str) -> Tensor:
    r"""How badly a critic is deceived: $E (s_f - 1)^2$ of `least-squares`, else $-E s_f$.

    Args:
        fake: Scores of what is not real.
        kind: One of `KINDS`.

    References:
        As of `critic_loss`.
    """
    return (fake - 1).square().mean() if kind == "least-squares" else -fake.mean()


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor) -> Tensor:
    r"""How far a critic's slope is from 1 at a random place between real and fake.

    $E (\lVert \nabla_x s(x) \rVert - 1)^2$.

    Args:
        critic: Gives scores, `(B, T)`; those of a case are averaged.
        real: `(B, C, X, Y[, Z])`.
        fake: The same of as many cases or another number; as many pairs are made as both have.

    References:
        Gulrajani et al., WGAN-GP, NeurIPS 2017, eq. 3. arXiv:1704.00028.
    """
    pairs = min(len(real), len(fake))
    share = torch.rand(pairs).to(real.device, non_blocking=True)
    share = share.view(-1, *[1] * (real.ndim - 1)).to(real.dtype)
    between = torch.lerp(fake[:pairs].detach(), real[:pairs].detach(), share).requires_grad_()
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):  # others have no second derivative
        scores = critic(between).flatten(1).mean(dim=1).sum()
        (slope,) = torch.autograd.grad(scores, between, create_graph=True)
    return (slope.flatten(1).norm(dim=1) - 1).square().mean()
