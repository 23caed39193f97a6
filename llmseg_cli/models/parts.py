"""An image as a batch of its parts, and back."""

from torch import Tensor


def in_parts(image: Tensor, parts: int) -> Tensor:
    """`(B, C, X, Y[, Z])` cut into *parts* along each side, `(B * parts ** d, C, X / parts, ...)`.

    Args:
        image: Its sides are multiples of *parts*.
        parts: Along each side.
    """
    batch, channels, *sides = image.shape
    cut = [number for side in sides for number in (parts, side // parts)]
    count = len(sides)
    order = [0, *range(2, 2 + 2 * count, 2), 1, *range(3, 3 + 2 * count, 2)]
    pieces = image.reshape(batch, channels, *cut).permute(order)
    return pieces.reshape(batch * parts**count, channels, *(side // parts for side in sides))


def put_together(pieces: Tensor, parts: int) -> Tensor:
    """What `in_parts` cut, back in its place."""
    count, channels, *sides = pieces.shape
    dimensions = len(sides)
    batch = count // parts**dimensions
    order = [0, 1 + dimensions]
    for side in range(dimensions):
        order += [1 + side, 2 + dimensions + side]
    placed = pieces.reshape(batch, *(parts,) * dimensions, channels, *sides).permute(order)
    return placed.reshape(batch, channels, *(parts * side for side in sides))
