"""Volumes, in ml; in voxels or pixels where the unit is not mm."""

from llmseg_cli.metrics.pair import MaskPair


def prediction_volume(pair: MaskPair) -> float:
    """Volume of the prediction."""
    return pair.predicted * pair.voxel_volume


def reference_volume(pair: MaskPair) -> float:
    """Volume of the reference."""
    return pair.referenced * pair.voxel_volume


def volume_difference(pair: MaskPair) -> float:
    """Volume of the prediction minus that of the reference; its mean over cases is the bias."""
    return (pair.predicted - pair.referenced) * pair.voxel_volume


def relative_volume_difference(pair: MaskPair) -> float | None:
    """Volume difference divided by the volume of the reference; None if that is empty."""
    if not pair.referenced:
        return None
    return (pair.predicted - pair.referenced) / pair.referenced
