"""A trained run in memory: what `llmseg_cli.api` gives to a program."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from llmseg_cli.workflows.predict.image import Manner
    from llmseg_cli.workflows.runs.run_folder import OpenRun


class Run:
    """A trained run with its networks in memory, as `load` and `train` return it.

    Args:
        folder: The run folder.
        opened: Its networks.
    """

    def __init__(self, folder: Path, opened: "OpenRun") -> None:
        self._folder, self._opened = folder, opened

    @property
    def folder(self) -> Path:
        """The run folder, which all commands take as `--run`."""
        return self._folder

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the K classes; a class is its place here, and the first is the background."""
        return self._opened.config.classes

    @property
    def channels(self) -> int:
        """Channels that an image must have, C."""
        return self._opened.config.in_channels

    @property
    def label_values(self) -> tuple[int, ...]:
        """Value of each class in the label maps that the run has learned from, K values.

        `numpy.asarray(run.label_values)[labels]` is what `llmseg predict` writes.
        """
        return self._opened.config.label_values or tuple(range(len(self.classes)))

    def predict(
        self,
        image: "ArrayLike",
        spacing: Sequence[float],
        *,
        overlap: float = 0.5,
        stride: Sequence[int] | None = None,
        blend: str = "gaussian",
        mirror: bool = False,
    ) -> "NDArray[np.uint8 | np.uint16]":
        """Segment an image: the most probable class of each voxel, as `llmseg predict` finds it.

        Args:
            image: `(X, Y, Z)` or `(C, X, Y, Z)`; `(X, Y)` or `(C, X, Y)` with two sides of a voxel.
            spacing: Sides of a voxel in mm, along X, Y and Z or along X and Y.
            overlap: Share of a window that the next one covers, from 0 to below 1.
            stride: Voxels between windows, per side of the patch; instead of *overlap*.
            blend: How windows count where they overlap: `gaussian` or `constant`.
            mirror: Average over the flips of the training; each axis doubles the time.

        Returns:
            Numbers of classes, `(X, Y, Z)` or `(X, Y)`; uint8, or uint16 for more than 256 classes.

        Raises:
            ValueError: If shape or type do not fit.
            LlmsegError: If the channels are not those of the run, a voxel is not finite, or an
                option is wrong.
        """
        from llmseg_cli.data.arrays import image_volume
        from llmseg_cli.workflows.predict.array import labels_of

        manner = _manner(overlap, stride, blend, mirror)
        labels = labels_of(self._opened, image_volume(image, spacing), manner)
        return labels[:, :, 0] if len(spacing) == 2 else labels

    def probabilities(
        self,
        image: "ArrayLike",
        spacing: Sequence[float],
        *,
        overlap: float = 0.5,
        stride: Sequence[int] | None = None,
        blend: str = "gaussian",
        mirror: bool = False,
    ) -> "NDArray[np.float32]":
        """Probability of each class at each voxel of the image.

        The most probable class is that of `predict`, up to rounding where two are equally probable.
        All classes are held in memory at once, 4 bytes a voxel and class.

        Args:
            image: As of `predict`, like all others.
            spacing: Sides of a voxel in mm.
            overlap: Share of a window that the next one covers.
            stride: Voxels between windows; instead of *overlap*.
            blend: How windows count where they overlap.
            mirror: Average over the flips of the training.

        Returns:
            `(K, X, Y, Z)` or `(K, X, Y)` float32 from 0 to 1; the classes of a voxel sum to 1.

        Raises:
            ValueError, LlmsegError: As `predict`.
        """
        from llmseg_cli.data.arrays import image_volume
        from llmseg_cli.workflows.predict.array import probabilities_of

        manner = _manner(overlap, stride, blend, mirror)
        found = probabilities_of(self._opened, image_volume(image, spacing), manner)
        return found[..., 0] if len(spacing) == 2 else found


def _manner(overlap: float, stride: Sequence[int] | None, blend: str, mirror: bool) -> "Manner":
    from llmseg_cli.workflows.predict.image import Manner

    return Manner(overlap, None if stride is None else tuple(stride), blend, mirror)
