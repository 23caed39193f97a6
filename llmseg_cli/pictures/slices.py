"""Which slices of a volume are looked at, and how they are turned."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmseg_cli.pictures.tiles import Box, Plane, errors

SLICES = 3  # of a volume
MARGIN = 0.15  # of what is shown, around the object
LEAST_MARGIN = 8  # voxels
SIDES = (("R", "L"), ("A", "P"), ("S", "I"))  # where X, Y and Z begin on a slice, and end
WHOLE = (slice(None), slice(None))


@dataclass(frozen=True, eq=False)
class Layers:
    """The label maps over an image, `(X, Y, Z)` in RAS+.

    Args:
        shape: Voxels along X, Y, Z; one along Z of a picture.
        spacing: Between them.
        unit: Of the spacing; voxels in `mm` are those of a patient, who is shown as one looks at
            him: front or head above and his right at the left.
        mask: A label map, or None.
        reference: Another, or None.
        known: Where the reference says something; None for everywhere.
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    unit: str
    mask: NDArray[Any] | None = None
    reference: NDArray[Any] | None = None
    known: NDArray[np.bool_] | None = None

    @property
    def is_flat(self) -> bool:
        """Whether it is a picture."""
        return self.shape[2] == 1

    @property
    def axis(self) -> int:
        """Across which it is sliced: that of the widest spacing, of equal ones Z."""
        if self.is_flat:
            return 2
        return max((2, 1, 0), key=lambda axis: round(self.spacing[axis], 3))

    @property
    def plane_axes(self) -> tuple[int, int]:
        """Axes of columns and rows."""
        across, down = (axis for axis in range(3) if axis != self.axis)
        return across, down

    @property
    def sides(self) -> tuple[str, str, str, str] | None:
        """What lies at the left, right, top and bottom of a slice; None of no patient."""
        if self.unit != "mm":
            return None
        across, down = self.plane_axes
        return (*SIDES[across], *SIDES[down])

    @property
    def step(self) -> tuple[float, float]:
        """Height and width of a voxel of a slice."""
        across, down = self.plane_axes
        return self.spacing[down], self.spacing[across]

    def numbers(self, most: int = SLICES) -> list[int]:
        """The slices with most errors, apart from each other; without errors, of most foreground.

        Args:
            most: Slices at most.

        Returns:
            Indices, sorted; the middle one if nothing is labeled.
        """
        size = self.shape[self.axis]
        area, wrong = np.zeros(size), np.zeros(size)
        for labels in (self.mask, self.reference):
            if labels is not None:
                area += (labels > 0).sum(axis=self.plane_axes)
        if self.mask is not None and self.reference is not None:
            found = errors(self.mask, self.reference, self.known)
            wrong += sum(part.sum(axis=self.plane_axes) for part in found)
        value = wrong * (area.max() * 2 + 1) + area + 1  # errors first, then size
        held = np.flatnonzero(area)
        apart = max(1, len(held) // (most + 1))
        if not held.size:
            return [size // 2]
        chosen: list[int] = []
        for number in map(int, np.argsort(-value, kind="stable")):
            if len(chosen) == most or not area[number]:
                break
            if all(abs(number - other) >= apart for other in chosen):
                chosen.append(number)
        return sorted(chosen)

    def box(self) -> Box:
        """Rows and columns around the object in all slices; all of them without an object."""
        flat = np.zeros([self.shape[axis] for axis in self.plane_axes], bool)
        for labels in (self.mask, self.reference):
            if labels is not None:
                flat |= (labels > 0).any(axis=self.axis)
        flat = self.turned(flat)
        if not flat.any():
            return WHOLE
        spans = []
        for axis in (1, 0):
            held = np.flatnonzero(flat.any(axis=axis))
            margin = max(LEAST_MARGIN, round(MARGIN * (held[-1] - held[0] + 1)))
            spans.append(slice(max(0, int(held[0]) - margin), int(held[-1]) + margin + 1))
        return spans[0], spans[1]

    def turned(self, plane: NDArray[Any]) -> NDArray[Any]:
        """`(columns, rows)` of an image as rows from top to bottom."""
        rows = np.swapaxes(plane, 0, 1)
        return rows[::-1, ::-1] if self.unit == "mm" else rows

    def labels(self, number: int) -> tuple[NDArray[Any] | None, ...]:
        """Mask, reference and what is known of a slice, `(columns, rows)` each, or None."""
        every = (self.mask, self.reference, self.known)
        return tuple(None if one is None else np.take(one, number, axis=self.axis) for one in every)

    def plane(self, image: NDArray[np.float32], number: int) -> Plane:
        """A slice to be drawn.

        Args:
            image: `(C, columns, rows)` of it in [0, 1], with one channel or three.
            number: Its index.
        """
        shown = np.stack([self.turned(channel) for channel in image], axis=-1)
        mask, reference, known = (
            None if one is None else self.turned(one) for one in self.labels(number)
        )
        picture = shown if shown.shape[-1] > 1 else shown[..., 0]
        return Plane(picture, mask, reference, known, self.step)

    def missed_and_false(self, number: int) -> tuple[int, int, int] | None:
        """Voxels of a slice that are missed, false and of another class; None without two maps."""
        mask, reference, known = self.labels(number)
        if mask is None or reference is None:
            return None
        missed, false, other = (int(part.sum()) for part in errors(mask, reference, known))
        return missed, false, other
