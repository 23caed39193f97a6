"""Whether something happened as often as it is said to, by the exact binomial distribution."""

from scipy.stats import binom

ONCE_IN = 1e-5  # of that many tests of a right probability, one on each side fails


def is_near(count: int, draws: int, probability: float) -> bool:
    least = binom.ppf(ONCE_IN, draws, probability)
    return bool(least <= count <= binom.isf(ONCE_IN, draws, probability))
