"""Means over the batches of a step, kept on the device."""

from collections.abc import Mapping

from torch import Tensor


def add_shares(means: dict[str, Tensor], values: Mapping[str, Tensor], *, of: int) -> None:
    """Add the values of one of *of* batches to their means, in float32 and without gradient."""
    for name, value in values.items():
        share = value.detach().float() / of
        means[name] = means[name] + share if name in means else share
