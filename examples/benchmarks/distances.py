"""HD95 and ASD of many masks, by llmseg and by medpy, in turns within one run.

    python examples/benchmarks/distances.py --data ../shared/data/la [--cases 16] [--rounds 3]

The predictions are the label maps themselves with their surface moved in and out at random by a few
voxels and shifted by one, which gives a Dice near 0.9, as a trained network reaches. Loading is not
measured. Needs medpy (`make install` brings it).
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from medpy.metric import binary
from numpy.typing import NDArray
from scipy import ndimage

from llmseg_cli.data.cases import find_cases
from llmseg_cli.data.volumes import load_label_map
from llmseg_cli.metrics.pair import mask_pairs
from llmseg_cli.metrics.surface import asd, hd95

Mask = NDArray[np.bool_]
Spacing = tuple[float, float, float]
Problem = tuple[Mask, Mask, Spacing]
AMPLITUDE = 2.5  # voxels
SMOOTHNESS = 3.0  # voxels


def disturb(mask: Mask, seed: int) -> Mask:
    """A mask whose surface is moved by smooth noise, shifted by a voxel along X."""
    noise = ndimage.gaussian_filter(
        np.random.default_rng(seed).standard_normal(mask.shape), SMOOTHNESS
    )
    depth = ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)
    moved: Mask = depth + AMPLITUDE * noise / noise.std() > 0
    return np.roll(moved, 1, axis=0)


def load(data: Path, count: int) -> list[Problem]:
    """The last *count* label maps of a data set with their disturbed copies."""
    found = []
    labeled = [case.label for case in find_cases(data).cases if case.label is not None]
    for seed, path in enumerate(labeled[-count:]):
        label_map = load_label_map(path)
        reference = label_map.array != 0
        found.append((disturb(reference, seed), reference, label_map.spacing_mm))
    return found


def with_medpy(problem: Problem) -> tuple[float, float]:
    """What most evaluation scripts call."""
    prediction, reference, spacing = problem
    return (
        float(binary.hd95(prediction, reference, spacing)),
        float(binary.asd(prediction, reference, spacing)),
    )


def with_llmseg(problem: Problem) -> tuple[float, float]:
    """What `llmseg score` calls."""
    prediction, reference, spacing = problem
    labels = (prediction.view(np.uint8), reference.view(np.uint8))
    pair = next(mask_pairs(*labels, classes=[1], spacing_mm=spacing))
    return hd95(pair) or 0.0, asd(pair) or 0.0


def measure(
    function: Callable[[Problem], tuple[float, float]], problems: Sequence[Problem]
) -> tuple[float, NDArray[np.float64]]:
    """Seconds for all problems, and the values `(N, 2)`."""
    start = time.perf_counter()
    values = np.array([function(problem) for problem in problems])
    return time.perf_counter() - start, values


def main(arguments: Sequence[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", maxsplit=1)[0])
    parser.add_argument("--data", type=Path, required=True, help="data set with label maps")
    parser.add_argument("--cases", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args(arguments)
    problems = load(chosen.data, chosen.cases)
    for number in range(1, chosen.rounds + 1):
        theirs, expected = measure(with_medpy, problems)
        ours, values = measure(with_llmseg, problems)
        sys.stdout.write(
            f"round {number}, {len(problems)} masks: medpy {theirs:.2f} s, llmseg {ours:.2f} s, "
            f"{theirs / ours:.1f} times faster, "
            f"largest difference {np.abs(values - expected).max():.1e} mm\n"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
