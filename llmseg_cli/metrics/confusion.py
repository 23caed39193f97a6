"""Sensitivity and specificity."""

from llmseg_cli.metrics.pair import MaskPair


def sensitivity(pair: MaskPair) -> float | None:
    r"""$|P \cap R| / |R|$: share of the reference that was found; None if it is empty."""
    return pair.both / pair.referenced if pair.referenced else None


def specificity(pair: MaskPair) -> float | None:
    r"""$|\bar P \cap \bar R| / |\bar R|$: share of the background left alone, over the whole image.

    Returns:
        None if the reference fills the image, and for an empty prediction: finding nothing leaves
        all background alone, and a missed case must not improve a mean.
    """
    negatives = pair.image_voxels - pair.referenced
    if not negatives or not pair.predicted:
        return None
    return (negatives - (pair.predicted - pair.both)) / negatives
