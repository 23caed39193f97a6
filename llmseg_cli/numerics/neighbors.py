"""A slice of a volume together with those beside it."""


def neighbors(place: int, *, slices: int, size: int) -> list[int]:
    """Places of a slice and its neighbors, in order; at an edge of the volume, its slice repeats.

    Args:
        place: Of the slice in the middle, from 0.
        slices: How many; an odd number.
        size: Slices of the volume.
    """
    beside = range(place - slices // 2, place + slices // 2 + 1)
    return [min(max(one, 0), size - 1) for one in beside]
