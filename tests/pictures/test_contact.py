"""The sheet of small pictures, pixel by pixel where it can be foretold."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llmseg_cli.pictures.contact import CAPTION, SIDE, Tile, save_contact
from llmseg_cli.pictures.heat import OUTLINE


def plain(value: float, shape: tuple[int, int] = (20, 20)) -> np.ndarray:
    return np.full((3, *shape), value, np.float32)


@pytest.mark.parametrize(("count", "size"), [(1, (1, 1)), (4, (4, 1)), (5, (5, 1)), (7, (5, 2))])
def test_tiles_stand_in_rows_of_five(tmp_path: Path, count, size):
    tiles = [Tile(f"{n}", plain(n / 10)) for n in range(count)]
    save_contact(tmp_path / "sheet.png", tiles)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (size[0] * SIDE, size[1] * (SIDE + CAPTION))
        pixels = np.asarray(sheet)
    for n in range(count):
        x, y = n % 5 * SIDE + SIDE // 2, n // 5 * (SIDE + CAPTION) + CAPTION + SIDE // 2
        assert pixels[y, x].tolist() == [round(255 * n / 10)] * 3


def test_a_picture_keeps_its_sides_in_mm(tmp_path: Path):
    save_contact(tmp_path / "sheet.png", [Tile("a", plain(1, (30, 10)), spacing=(1.0, 1.5))])
    pixels = np.asarray(Image.open(tmp_path / "sheet.png"))[CAPTION:]
    filled = (pixels == 255).all(axis=2)
    assert filled.any(axis=0).sum() == SIDE  # 30 mm along X
    assert filled.any(axis=1).sum() == SIDE // 2  # 15 mm along Y


def test_the_outline_lies_around_the_mask(tmp_path: Path):
    labels = np.zeros((16, 16), np.uint8)
    labels[4:8, 10:14] = 2  # X 4 to 7, Y 10 to 13
    save_contact(tmp_path / "sheet.png", [Tile("a", plain(0.5, (16, 16)), labels)])
    pixels = np.asarray(Image.open(tmp_path / "sheet.png"))[CAPTION:]
    rows, columns = np.nonzero((pixels == OUTLINE).all(axis=2))
    step = SIDE // 16
    assert (columns.min(), columns.max()) == (4 * step - 1, 8 * step)
    assert (rows.min(), rows.max()) == (10 * step - 1, 14 * step)
