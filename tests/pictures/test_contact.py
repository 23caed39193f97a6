"""The sheet of small pictures, pixel by pixel where it can be foretold."""

import numpy as np
import pytest

from llmseg_cli.pictures.contact import CAPTION, SIDE, TITLE, Look, Tile, contact
from llmseg_cli.pictures.marks import ORANGE, SKY_BLUE, Mark
from llmseg_cli.pictures.tiles import Plane


def plain(value: float, shape: tuple[int, int] = (20, 20), mask=None, step=(1.0, 1.0)) -> Plane:
    return Plane(np.full(shape, value, np.float32), mask, None, None, step)


@pytest.mark.parametrize(("count", "size"), [(1, (1, 1)), (4, (4, 1)), (5, (5, 1)), (7, (5, 2))])
def test_tiles_stand_in_rows_of_five(count, size):
    sheet = contact([Tile(f"{n}", plain(n / 10)) for n in range(count)], Look())
    assert sheet.size == (size[0] * SIDE, size[1] * (SIDE + CAPTION))
    pixels = np.asarray(sheet)
    for n in range(count):
        x, y = n % 5 * SIDE + SIDE // 2, n // 5 * (SIDE + CAPTION) + CAPTION + SIDE // 2
        assert pixels[y, x].tolist() == [round(255 * n / 10)] * 3


def test_a_picture_keeps_its_sides_in_mm():
    sheet = contact([Tile("", plain(1, (10, 30), step=(1.5, 1.0)))], Look())
    filled = (np.asarray(sheet)[CAPTION:] == 255).all(axis=2)
    assert filled.any(axis=0).sum() == SIDE  # 30 mm across
    assert filled.any(axis=1).sum() == SIDE // 2  # 15 mm down


def test_outlines_lie_on_the_borders_of_their_classes():
    mask = np.zeros((16, 16), np.uint8)
    mask[4:8, 10:14] = 2
    mask[10:12, 2:4] = 7
    marks = {2: Mark("two", ORANGE), 7: Mark("seven", SKY_BLUE)}
    pixels = np.asarray(contact([Tile("", plain(0.5, (16, 16), mask))], Look(marks)))
    pixels = pixels[CAPTION : CAPTION + SIDE]  # without the legend
    step = SIDE // 16
    for color, top, left, size in ((ORANGE, 4, 10, 4), (SKY_BLUE, 10, 2, 2)):
        rows, columns = np.nonzero((pixels == color).all(axis=2))
        assert (rows.min(), rows.max()) == (top * step, (top + size) * step - 1)
        assert (columns.min(), columns.max()) == (left * step, (left + size) * step - 1)


def test_title_and_legend_take_lines_of_their_own_and_a_note_stands_in_the_picture():
    plane = plain(0.5)
    bare = contact([Tile("", plane)], Look())
    told = contact([Tile("", plane, "no label map")], Look({1: Mark("liver", ORANGE)}, "Scans"))
    assert told.height > bare.height + TITLE
    picture = np.asarray(told)[TITLE + CAPTION :][:SIDE]
    assert (picture[-20:] == 255).all(axis=2).any()  # letters
    assert (picture[:200] == 128).all()
    legend = np.asarray(told)[TITLE + CAPTION + SIDE :]
    assert (legend == ORANGE).all(axis=2).sum() >= 60  # its sign


def test_what_cannot_be_shown_has_a_frame_and_says_why():
    sheet = np.asarray(contact([Tile("a", None, "cannot be read")], Look()))[CAPTION:]
    assert (sheet == 255).all(axis=2).any()
    assert not (sheet[20 : SIDE - 30, 20:-20]).any()
