"""What an image encoder sees of a picture that was normalized for another network."""

from collections.abc import Sequence
from dataclasses import dataclass

from llmseg_cli.choices import parse_window
from llmseg_cli.errors import UsageError
from llmseg_cli.knowledge.sam.framing import IMAGENET_DEVIATION, IMAGENET_MEAN


@dataclass(frozen=True)
class Pixels:
    """An encoder sees `(image - mean) / deviation`, by color.

    Args:
        mean: Taken away from each of three channels.
        deviation: What each is then divided by.
        upright: Whether Y are its rows, as of the pictures that it was trained with, and not X.
    """

    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    deviation: tuple[float, ...] = (1.0, 1.0, 1.0)
    upright: bool = False


def pixels_seen(
    normalize: str,
    *,
    mean: Sequence[float] = IMAGENET_MEAN,
    deviation: Sequence[float] = IMAGENET_DEVIATION,
) -> Pixels:
    r"""From normalized intensities to the pixels that an encoder was trained with.

    It was trained with $(p - m) / s$ of pixels $p$ in [0, 1]. `minmax` and `window` give $p$.
    `zscore` gives $x$ of mean 0 and deviation 1, and no more is known of the picture than that
    those of ImageNet have mean $\mu$ and deviation $\sigma$ by color: $p = \mu + \sigma x$. Where
    $m = \mu$ and $s = \sigma$, as of most encoders, it sees $x$ itself.

    Args:
        normalize: Of `Preprocessing`.
        mean: $m$, by color.
        deviation: $s$, by color.

    Raises:
        UsageError: If it is `none`, which says nothing of the range.
    """
    if normalize == "none":
        raise UsageError(
            "--normalize none: an image encoder was trained with pixels of a known range. Use "
            "--normalize zscore, or for pictures of bytes window:0:255."
        )
    if normalize == "minmax" or parse_window(normalize):
        return Pixels(tuple(mean), tuple(deviation), upright=True)
    of_imagenet = list(zip(IMAGENET_MEAN, IMAGENET_DEVIATION, strict=True))
    return Pixels(
        tuple((m - mu) / sigma for m, (mu, sigma) in zip(mean, of_imagenet, strict=True)),
        tuple(s / sigma for s, (_, sigma) in zip(deviation, of_imagenet, strict=True)),
        upright=True,
    )
