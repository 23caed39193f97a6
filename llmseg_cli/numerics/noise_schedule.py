"""How a diffusion adds noise step by step, and how DDIM takes it away in few steps."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

SCHEDULES = ("linear", "cosine")
FIRST, LAST, PUBLISHED = 1e-4, 0.02, 1000  # variances of the linear schedule, and its steps
PLACE: Any = {"dtype": torch.float64, "device": "cpu"}  # where networks are built on meta, too
OFFSET, MOST = 0.008, 0.999  # of the cosine


def kept_shares(schedule: str, times: int) -> Tensor:
    r"""Share of the signal's variance that each step leaves, $\bar\alpha_t$, `(times,)` float64.

    `linear` has $\beta$ from 1e-4 to 0.02 over 1,000 steps, as published, and as much larger as the
    steps are fewer. `cosine` has $\bar\alpha_t \propto \cos^2(\frac{(t + 1) / T + 0.008}{1.008}
    \frac{\pi}{2})$, with $\beta$ of at most 0.999.

    Args:
        schedule: One of `SCHEDULES`.
        times: Steps of the diffusion, more than 20.

    References:
        Ho et al., DDPM, NeurIPS 2020. arXiv:2006.11239. Nichol and Dhariwal, ICML 2021, eq. 17 and
        section 3.3 (the scale). arXiv:2102.09672.
    """
    if schedule == "linear":
        scale = PUBLISHED / times
        variances = torch.linspace(scale * FIRST, scale * LAST, times, **PLACE)
    else:
        done = torch.arange(times + 1, **PLACE) / times
        shares = torch.cos((done + OFFSET) / (1 + OFFSET) * math.pi / 2) ** 2
        variances = (1 - shares[1:] / shares[:-1]).clamp_max(MOST)
    return torch.cumprod(1 - variances, dim=0)


def noised(clean: Tensor, noise: Tensor, kept: Tensor) -> Tensor:
    r"""$x_t = \sqrt{\bar\alpha_t} x_0 + \sqrt{1 - \bar\alpha_t} \epsilon$.

    Args:
        clean: $x_0$, `(B, K, X, Y[, Z])`.
        noise: $\epsilon$, of its shape.
        kept: $\bar\alpha_t$ of each case, `(B,)`.
    """
    shares = kept.to(clean.dtype).view(-1, *[1] * (clean.ndim - 1))
    return shares.sqrt() * clean + (1 - shares).sqrt() * noise


def clean_of(noisy: Tensor, noise: Tensor, kept: Tensor) -> Tensor:
    """The same solved for what was clean, by the noise that was added."""
    shares = kept.to(noisy.dtype).view(-1, *[1] * (noisy.ndim - 1))
    return (noisy - (1 - shares).sqrt() * noise) / shares.sqrt()


def visited(times: int, steps: int) -> list[int]:
    """Steps of the diffusion at which a sampler of fewer *steps* asks, from the last one to 0."""
    return [round(time) for time in np.linspace(times - 1, 0, steps).tolist()]


def ddim_step(noisy: Tensor, clean: Tensor, kept: float, next_kept: float) -> Tensor:
    r"""$x_s = \sqrt{\bar\alpha_s} \hat x_0 + \sqrt{1 - \bar\alpha_s} \hat\epsilon$, with no noise.

    $\hat\epsilon$ is the noise that *noisy* has if *clean* is right. MONAI's scheduler (1.6.1) asks
    at even steps from the first to the last one, but goes by another distance ($T$ over the number
    of steps), so that a network is told another step than the noise it sees; here it goes to the
    step that is asked next.

    Args:
        noisy: $x_t$.
        clean: $\hat x_0$, of its shape.
        kept: $\bar\alpha_t$, below 1.
        next_kept: $\bar\alpha_s$; 1 for the end, which is *clean*.

    References:
        Song et al., DDIM, ICLR 2021, eq. 12 with variance 0. arXiv:2010.02502.
    """
    noise = (noisy - math.sqrt(kept) * clean) / math.sqrt(1 - kept)
    return math.sqrt(next_kept) * clean + math.sqrt(1 - next_kept) * noise
