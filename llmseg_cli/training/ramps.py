"""How weights and learning rates change as training goes on."""

import math


def sigmoid_ramp(progress: float, *, length: float = 1.0) -> float:
    r"""Grow from almost 0 to 1: $\exp(-5 (1 - \min(t, T) / T)^2)$.

    Args:
        progress: Fraction of training done, $t$, in [0, 1].
        length: Fraction of training after which the ramp is 1, $T$; 0 is 1 at once.

    References:
        Laine and Aila, Temporal Ensembling, ICLR 2017. arXiv:1610.02242.
    """
    if length <= 0:
        return 1.0
    return math.exp(-5.0 * (1.0 - min(progress, length) / length) ** 2)


def learning_rate_factor(schedule: str, step: int, *, steps: int, warmup: int) -> float:
    r"""Factor of the learning rate at a step.

    `poly` is $(1 - t)^{0.9}$, `cosine` $\frac12 (1 + \cos \pi t)$, `step` $0.1^{\lfloor t / 0.4167
    \rfloor}$ (UA-MT divides by 10 every 2,500 of 6,000 steps), `constant` 1, with $t$ = step /
    steps; over the first *warmup* steps the factor also grows linearly. `plateau` is 1, for
    `Plateau` knows its factor.

    Args:
        schedule: `poly`, `cosine`, `step`, `constant` or `plateau`.
        step: Current step, from 0.
        steps: Steps in all.
        warmup: Steps of linear warm-up.
    """
    done = step / steps
    factor = {
        "poly": (1 - done) ** 0.9,
        "cosine": 0.5 * (1 + math.cos(math.pi * done)),
        "step": 0.1 ** math.floor(done * 6000 / 2500),
        "constant": 1.0,
        "plateau": 1.0,
    }[schedule]
    return factor * min(1.0, (step + 1) / warmup) if warmup else factor
