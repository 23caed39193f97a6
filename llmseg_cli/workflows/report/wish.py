"""What a report is asked of."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Wish:
    """What a report is asked of.

    Args:
        runs: Run folders, or folders of several.
        scores: Files of `llmseg score`.
        masks: Folder of masks to show, or None.
        data: Data set with their images and references, or None.
        pseudo: Folders of `llmseg mine-sam`.
        cases: Cases that are shown at most.
        viewer: Whether the first of them stands in the page as a volume.
    """

    runs: Sequence[Path]
    scores: Sequence[Path] = ()
    masks: Path | None = None
    data: Path | None = None
    pseudo: Sequence[Path] = ()
    cases: int = 12
    viewer: bool = False
