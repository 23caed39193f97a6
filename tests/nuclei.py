"""Synthetic nuclei: dark discs of two colors on a light ground, with a number and a kind each."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

COLORS = {1: (110, 60, 150), 2: (40, 90, 60)}


def draw(
    seed: int, *, side: int = 64, count: int = 8
) -> tuple[NDArray[np.uint8], NDArray[np.uint16], NDArray[np.uint8], NDArray[np.float64]]:
    """A picture `(rows, columns, 3)`, its instances, their kinds, and the centres drawn `(n, 2)`.

    Kinds alternate; numbers are not those of 1 to n.
    """
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side]
    places: list[NDArray[np.float64]] = []
    while len(places) < count:
        place = rng.uniform(6, side - 6, 2)
        if all(np.linalg.norm(place - other) > 11.5 for other in places):
            places.append(place)
    picture = np.full((side, side, 3), 220.0)
    instances, kinds = np.zeros((side, side), np.uint16), np.zeros((side, side), np.uint8)
    for index, (row, column) in enumerate(places):
        inside = np.hypot(rows - row, columns - column) <= rng.uniform(4, 5.5)
        kind = 1 + index % 2
        instances[inside], kinds[inside], picture[inside] = 10 + 7 * index, kind, COLORS[kind]
    noisy = picture + rng.normal(0, 10, picture.shape)
    return noisy.clip(0, 255).astype(np.uint8), instances, kinds, np.array(places)


def write_nuclei(root: Path, cases: int, **how: int) -> Path:
    """`raw/images`, `raw/labels` with instances, and `kinds` below a folder; returns `raw`."""
    for name in ("raw/images", "raw/labels", "kinds"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for number in range(cases):
        picture, instances, kinds, _ = draw(number, **how)
        Image.fromarray(picture).save(root / "raw" / "images" / f"n{number}.png")
        Image.fromarray(instances).save(root / "raw" / "labels" / f"n{number}.png")
        Image.fromarray(kinds).save(root / "kinds" / f"n{number}.png")
    return root / "raw"
