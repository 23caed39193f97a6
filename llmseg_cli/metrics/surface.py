"""Distances between surfaces: HD95, ASD, ASSD.

The surface of a mask is the set of its voxels with a face neighbor outside of it, and a distance is
measured between centers of voxels, as in medpy.
"""

import numpy as np

from llmseg_cli.metrics.pair import MaskPair


def hd95(pair: MaskPair) -> float | None:
    """95th percentile of the distances of both directions together; None if a mask is empty.

    References:
        Huttenlocher et al., IEEE TPAMI 15(9), 1993, for the percentile; medpy's `hd95` for taking
        it over both directions at once, linearly interpolated.
    """
    if pair.surface_distances is None:
        return None
    return float(np.percentile(np.hstack(pair.surface_distances), 95))


def asd(pair: MaskPair) -> float | None:
    """Mean distance from the surface of the prediction to that of the reference, one direction.

    This is what the semi-supervised literature prints as ASD. None if a mask is empty.
    """
    if pair.surface_distances is None:
        return None
    return float(pair.surface_distances[0].mean())


def assd(pair: MaskPair) -> float | None:
    """Mean of the distances of both directions, taken together; None if a mask is empty.

    References:
        Heimann et al., IEEE TMI 28(8), 2009; medpy's `assd` (0.5).
    """
    if pair.surface_distances is None:
        return None
    return float(np.hstack(pair.surface_distances).mean())
