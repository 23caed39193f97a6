"""A sheet of small pictures of images, each with its caption and the outline of its mask."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from PIL import Image, ImageDraw

from llmseg_cli.pictures.marks import INK, PAPER, Mark, fitting, font, legend
from llmseg_cli.pictures.slices import WHOLE
from llmseg_cli.pictures.tiles import Plane, class_tile

SIDE, CAPTION, COLUMNS = 256, 18, 5  # pixels, pixels, pictures
TEXT, TITLE = 13, 26  # pixels
DIM = (70, 70, 70)  # of the frame around a picture


@dataclass(frozen=True, eq=False)
class Tile:
    """One picture.

    Args:
        caption: A line above it.
        plane: The slice; None if there is nothing to show.
        note: A line over its lower edge, such as why there is no outline; or empty.
    """

    caption: str
    plane: Plane | None
    note: str = ""


@dataclass(frozen=True)
class Look:
    """How a sheet looks.

    Args:
        marks: Value of a mask to how its outline is drawn; each of these is in the legend, once.
        title: A line above all; or empty.
        side: Of a picture, in pixels.
        columns: Pictures in a row.
    """

    marks: Mapping[int, Mark] = field(default_factory=dict)
    title: str = ""
    side: int = SIDE
    columns: int = COLUMNS


def contact(tiles: Sequence[Tile], look: Look) -> Image.Image:
    """Tiles in rows, the first at the top left.

    Args:
        tiles: The pictures, at least one.
        look: How they are arranged.
    """
    columns = min(look.columns, len(tiles))
    rows = -(-len(tiles) // columns)
    above = TITLE if look.title else 0
    width, height = columns * look.side, above + rows * (look.side + CAPTION)
    signs = legend([*dict.fromkeys(look.marks.values())], width - 8) if look.marks else None
    below = signs.height + 8 if signs else 0
    sheet = Image.new("RGB", (width, height + below), PAPER)
    draw = ImageDraw.Draw(sheet)
    if look.title:
        letters = font(TEXT + 4)
        draw.text((4, 3), fitting(look.title, width - 8, letters), fill=INK, font=letters)
    for number, tile in enumerate(tiles):
        left = number % columns * look.side
        top = above + number // columns * (look.side + CAPTION)
        _draw_tile(sheet, draw, tile, (left, top), look)
    if signs is not None:
        sheet.paste(signs, (4, height + 4))
    return sheet


def _draw_tile(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    tile: Tile,
    place: tuple[int, int],
    look: Look,
) -> None:
    (left, top), side, letters = place, look.side, font(TEXT)
    under = top + CAPTION
    if tile.plane is None:
        frame = (left + 1, under + 1, left + side - 2, under + side - 2)
        draw.rectangle(frame, outline=DIM)
    else:
        drawn = class_tile(tile.plane, WHOLE, look.marks, side=side)
        sheet.paste(drawn, (left + (side - drawn.width) // 2, under + (side - drawn.height) // 2))
    caption = fitting(tile.caption, side - 10, letters)
    draw.text((left + 2, top + 2), caption, fill=INK, font=letters)
    if tile.note:
        note = fitting(tile.note, side - 8, letters)
        middle, foot = left + side / 2, under + side - 4
        box = draw.textbbox((middle, foot), note, font=letters, anchor="mb")
        draw.rectangle((box[0] - 3, box[1] - 2, box[2] + 3, box[3] + 2), fill=PAPER)
        draw.text((middle, foot), note, fill=INK, font=letters, anchor="mb")
