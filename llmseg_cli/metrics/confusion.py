"""Sensitivity, precision and specificity."""

from llmseg_cli.metrics.pair import MaskPair


def sensitivity(pair: MaskPair) -> float | None:
    r"""$|P \cap R| / |R|$: share of the reference that was found; None if it is empty."""
    return pair.both / pair.referenced if pair.referenced else None


def precision(pair: MaskPair) -> float | None:
    r"""$|P \cap R| / |P|$: share of the prediction that is right.

    Returns:
        None if the prediction is empty: what finds nothing is neither right nor wrong there.
    """
    return pair.both / pair.predicted if pair.predicted else None


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
