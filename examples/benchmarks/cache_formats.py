"""Disk and time of prepared cases in each `--cache-format`: made once, then read patch by patch.

    python examples/benchmarks/cache_formats.py --data /data/la --patch 112,112,80 [--spacing 1.25]
    python examples/benchmarks/cache_formats.py --made-ct --patch 112,112,80

Seconds are those of the processor, so that other work on the machine does not count. Patches are
those of a training without augmentation, a fourth of them read before, so that files are at hand.
Made CT is a body of soft tissue in air, with noise of 15 HU, in whole numbers.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from llmseg_cli.choices import CACHE_FORMATS
from llmseg_cli.data.cases import Case, find_cases, image_digest
from llmseg_cli.data.patches.augmentation import AUGMENTATIONS
from llmseg_cli.data.patches.cache import PreparedCase, prepare_image, prepare_labels
from llmseg_cli.data.patches.preprocessing import Preprocessing
from llmseg_cli.data.patches.sampling import PatchSampler
from llmseg_cli.errors import DataError
from llmseg_cli.options import parse_sizes, parse_spacing

MADE = (256, 256, 96)


def main() -> None:
    """Print a row a format."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--data", type=Path)
    options.add_argument("--made-ct", action="store_true")
    options.add_argument("--cases", type=int, default=8)
    options.add_argument("--patch", type=parse_sizes, required=True)
    options.add_argument("--patches", type=int, default=64)
    options.add_argument("--spacing", type=parse_spacing, default=(0.0,))
    options.add_argument("--normalize", default="zscore")
    options.add_argument("--label-map", default="", help="as FROM:TO, for the references")
    chosen = options.parse_args()
    preprocessing = Preprocessing(chosen.spacing, chosen.normalize)
    changes = [pair.split(":") for pair in chosen.label_map.split(",") if pair]
    label_map = {int(old): int(new) for old, new in changes}
    with tempfile.TemporaryDirectory(prefix="llmseg-formats-") as name:
        place = Path(name)
        data = write_ct(place / "ct") if chosen.made_ct else chosen.data
        cases = [case for case in find_cases(data).cases if case.label][: chosen.cases]
        print("| format | MB images | MB label maps | s to make | ms a patch | slowest |")
        print("|---|---|---|---|---|---|")
        for form in CACHE_FORMATS:
            begun = time.process_time()
            try:
                prepared = list(make(cases, preprocessing, label_map, place / form, form))
            except DataError as error:
                print(f"| {form} | refused: {error} |")
                continue
            made = time.process_time() - begun
            taken = read_s(prepared, chosen.patch, chosen.patches)
            sizes = [
                sum(path.stat().st_size for one in prepared for path in [getattr(one, kind)])
                for kind in ("image", "labels")
            ]
            print(
                f"| {form} | {sizes[0] / 1e6:.1f} | {sizes[1] / 1e6:.2f} | {made:.1f} | "
                f"{1000 * statistics.median(taken):.1f} | {1000 * max(taken):.1f} |",
                flush=True,
            )


def make(
    cases: Sequence[Case],
    preprocessing: Preprocessing,
    label_map: dict[int, int],
    cache: Path,
    form: str,
) -> Iterator[PreparedCase]:
    """Prepare the cases in an empty cache."""
    for case in cases:
        image = prepare_image(case, image_digest(case), preprocessing, cache, form=form)
        yield prepare_labels(case, image, preprocessing, label_map, form=form)


def read_s(prepared: Sequence[PreparedCase], patch: tuple[int, ...], count: int) -> list[float]:
    """Seconds of the processor for each patch, image and label map."""
    sampler = PatchSampler(
        prepared, patch=patch, batch=1, seed=0, stream=0, augmentation=AUGMENTATIONS["none"]
    )
    taken = []
    for position in range(-(count // 4), count):
        begun = time.process_time()
        sampler.patch_at(abs(position))
        if position >= 0:
            taken.append(time.process_time() - begun)
    return taken


def write_ct(root: Path, number: int = 4) -> Path:
    """Bodies in air, and an organ in each, which is its label map."""
    axes = np.meshgrid(*(np.linspace(-1, 1, side) for side in MADE), indexing="ij")
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    for index in range(number):
        random = np.random.default_rng(index)
        x, y, z = axes
        inside = x**2 / 0.8 + y**2 / 0.5 < 1
        tissue = 40 + 60 * np.sin((5 + index) * x) * np.cos(5 * y + z)
        values = np.where(
            inside, tissue + random.normal(0, 15, MADE), random.normal(-1000, 8, MADE)
        )
        organ = (x - 0.3) ** 2 + y**2 + (z / 2) ** 2 < 0.06
        affine = np.diag([0.8, 0.8, 2.5, 1])
        for folder, array in (("images", np.round(values)), ("labels", organ)):
            kind = np.int16 if folder == "images" else np.uint8
            image = nib.Nifti1Image(array.astype(kind), affine)
            nib.save(image, root / folder / f"made{index}.nii.gz")
    return root


if __name__ == "__main__":
    main()
