"""Normalized surface Dice (NSD)."""

import numpy as np

from llmseg_cli.metrics.nearest import nearest_distances
from llmseg_cli.metrics.pair import MaskPair
from llmseg_cli.metrics.surfels import surfels


def nsd(pair: MaskPair) -> float | None:
    """Share of both surfaces, by area, that lies within the tolerance of the other surface.

    Returns:
        A number from 0 to 1; 0 if one mask is empty, None if both are.

    References:
        Nikolov et al., JMIR 23(7), 2021, arXiv:1809.04430; equal to
        `compute_surface_dice_at_tolerance` of the package surface-distance.
    """
    if pair.status == "both_empty":
        return None
    if pair.status != "scored":
        return 0.0
    first, first_sizes = surfels(pair.prediction, spacing=pair.spacing)
    second, second_sizes = surfels(pair.reference, spacing=pair.spacing)
    shape = tuple(side + 1 for side in pair.prediction.shape)
    near = 0.0
    for points, targets, sizes in ((first, second, first_sizes), (second, first, second_sizes)):
        distances = nearest_distances(
            points, targets, shape=shape, spacing=pair.spacing, bound=pair.tolerance
        )
        near += float(sizes[distances <= pair.tolerance].sum())
    return near / float(np.sum(first_sizes) + np.sum(second_sizes))
