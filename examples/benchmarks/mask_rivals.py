"""Surface metrics of masks that are nearly right, by llmseg and by the field's packages."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from distances import Mask, Problem
from distances import load as disturbed_masks
from medpy.metric import binary
from monai.metrics import (
    compute_average_surface_distance,
    compute_hausdorff_distance,
    compute_surface_dice,
)

from llmseg_cli.metrics.pair import MaskPair, mask_pairs
from llmseg_cli.metrics.surface import asd, assd, hd95
from llmseg_cli.metrics.surface_dice import nsd
from llmseg_cli.numerics.torchvision_operators import ensure_torchvision
from llmseg_cli.workflows.bench.run import Contest, Way, Wish

MASKS = 16
TOLERANCE_MM = 1.0
SAME_MM = 1e-4
SAME_SHARE = 1e-6
Both = tuple[float, float]  # HD95 and a mean distance


@contextmanager
def distances(wish: Wish) -> Iterator[Contest]:
    """HD95 and the mean distance from prediction to reference.

    The mean is compared. Of HD95 MONAI takes the larger of the two directions' percentiles, medpy
    and llmseg the percentile of all distances.
    """

    def llmsegs(problem: Problem) -> Both:
        pair = _pair(problem)
        return hd95(pair) or 0.0, asd(pair) or 0.0

    def medpys(problem: Problem) -> Both:
        return float(binary.hd95(*problem)), float(binary.asd(*problem))

    def monais(problem: Problem) -> Both:
        masks, both = _for_monai(problem)
        hausdorff = compute_hausdorff_distance(*masks, percentile=95, **both)
        surface = compute_average_surface_distance(*masks, symmetric=False, **both)
        return float(hausdorff), float(surface)

    problems = _problems(wish)
    ways = {"llmseg": llmsegs, "medpy": medpys, "MONAI": monais}
    work = f"HD95 and ASD of {len(problems)} masks"
    yield Contest(work, _ways(ways, problems), _means_apart, SAME_MM)


@contextmanager
def distances_of_pymic(wish: Wish) -> Iterator[Contest]:
    """HD95 and the mean distance of both directions (ASSD), which PyMIC has in place of ASD.

    ASSD is compared: it is the mean of all distances of both directions in both tools. Of HD95
    PyMIC takes the larger of the two directions' percentiles, not interpolated.
    """
    ensure_torchvision()  # PyMIC imports it
    from pymic.util.evaluation_seg import (  # type: ignore[import-not-found]
        binary_assd,
        binary_hd95,
    )

    def llmsegs(problem: Problem) -> Both:
        pair = _pair(problem)
        return hd95(pair) or 0.0, assd(pair) or 0.0

    def pymics(problem: Problem) -> Both:
        return float(binary_hd95(*problem)), float(binary_assd(*problem))

    problems = _problems(wish)
    work = f"HD95 and ASSD of {len(problems)} masks"
    ways = _ways({"llmseg": llmsegs, "PyMIC": pymics}, problems)
    yield Contest(work, ways, _means_apart, SAME_MM)


@contextmanager
def surface_dice(wish: Wish) -> Iterator[Contest]:
    """Normalized surface Dice, elements of the surface weighted by their area in all tools."""
    import surface_distance  # type: ignore[import-untyped]

    def llmsegs(problem: Problem) -> float:
        return nsd(_pair(problem)) or 0.0

    def deepminds(problem: Problem) -> float:
        prediction, reference, spacing = problem
        found = surface_distance.compute_surface_distances(reference, prediction, spacing)
        return float(surface_distance.compute_surface_dice_at_tolerance(found, TOLERANCE_MM))

    def monais(problem: Problem) -> float:
        masks, both = _for_monai(problem)
        return float(compute_surface_dice(*masks, [TOLERANCE_MM], use_subvoxels=True, **both))

    def apart(first: list[float], second: list[float]) -> float:
        return max(abs(a - b) for a, b in zip(first, second, strict=True))

    problems = _problems(wish)
    ways = {"llmseg": llmsegs, "surface-distance": deepminds, "MONAI, use_subvoxels": monais}
    work = f"surface Dice at {TOLERANCE_MM:g} mm of {len(problems)} masks"
    yield Contest(work, _ways(ways, problems), apart, SAME_SHARE)


def _problems(wish: Wish) -> list[Problem]:
    assert wish.data is not None
    return disturbed_masks(wish.data, MASKS)


def _ways(
    functions: Mapping[str, Callable[[Problem], Any]], problems: list[Problem]
) -> tuple[Way, ...]:
    def over_all(function: Callable[[Problem], Any]) -> Callable[[], list[Any]]:
        return lambda: [function(problem) for problem in problems]

    return tuple(Way(name, over_all(function)) for name, function in functions.items())


def _pair(problem: Problem) -> MaskPair:
    prediction, reference, spacing = problem
    maps = (prediction.view(np.uint8), reference.view(np.uint8))
    return next(mask_pairs(*maps, classes=[1], spacing_mm=spacing, tolerance=TOLERANCE_MM))


def _for_monai(problem: Problem) -> tuple[list[torch.Tensor], dict[str, Any]]:
    prediction, reference, spacing = problem

    def one_hot(mask: Mask) -> torch.Tensor:
        return torch.from_numpy(mask[None, None]).float()

    masks = [one_hot(prediction), one_hot(reference)]
    return masks, {"include_background": True, "spacing": list(spacing)}


def _means_apart(first: list[Both], second: list[Both]) -> float:
    return max(abs(a[1] - b[1]) for a, b in zip(first, second, strict=True))
