"""What is written beside a mask from what is heard of each class: maps, and a table of centres."""

import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from llmseg_cli.artifacts.centres import CENTRES, centres_file
from llmseg_cli.artifacts.journal import PROBABILITIES, UNCERTAINTY
from llmseg_cli.data.grids import Grid
from llmseg_cli.inference.entropy import share_of_entropy
from llmseg_cli.inference.to_image_grid import Rows
from llmseg_cli.workflows.predict.centres import CentreSearch
from llmseg_cli.workflows.predict.probabilities import ProbabilityStore, probability_files


@dataclass(frozen=True)
class Maps:
    """Which maps are written.

    Args:
        classes: Classes K of the run.
        probabilities: That of each class.
        uncertainty: The entropy over classes.
        centres: How centres of objects are looked for; None for no table of them.
    """

    classes: int = 2
    probabilities: bool = False
    uncertainty: bool = False
    centres: CentreSearch | None = None

    def names(self, case: str, suffix: str) -> list[str]:
        """Files of a case in an output folder."""
        found = probability_files(case, self.classes, suffix) if self.probabilities else []
        found += [f"{UNCERTAINTY}/{case}.entropy{suffix}"] * self.uncertainty
        return [*found, *([centres_file(case)] if self.centres else [])]

    @contextmanager
    def opened(self, folder: Path, shape: Sequence[int]) -> Iterator["OpenMaps"]:
        """Where the maps of an image are kept until they are written.

        Args:
            folder: The output folder.
            shape: `(X, Y, Z)` of the image.
        """
        with ExitStack() as stack:
            chances = entropies = None
            if self.probabilities or self.centres:
                chances = stack.enter_context(closing(ProbabilityStore(folder, shape)))
            if self.uncertainty:
                entropies = stack.enter_context(closing(EntropyStore(folder, shape, self.classes)))
            yield OpenMaps(chances, entropies, self.centres)


def by_kind(names: Collection[str]) -> dict[str, Any]:
    """Files of a case as `CaseResult` has them: `probabilities`, `uncertainty`, `centres`."""

    def within(folder: str) -> list[str]:
        return [name for name in names if name.startswith(f"{folder}/")]

    return {
        "probabilities": tuple(within(PROBABILITIES)),
        "uncertainty": next(iter(within(UNCERTAINTY)), None),
        "centres": next(iter(within(CENTRES)), None),
    }


class EntropyStore:
    """Takes probabilities a few rows at a time, all classes in turn, and keeps their entropy.

    What is kept lies on the disk of the output, a byte per voxel; in memory are the rows at hand.

    Args:
        folder: The output folder.
        shape: `(X, Y, Z)` of the image.
        classes: Classes K.
    """

    def __init__(self, folder: Path, shape: Sequence[int], classes: int) -> None:
        self.classes = classes
        self.store = ProbabilityStore(folder, shape, place=UNCERTAINTY)
        self._sum: Tensor | None = None

    def close(self) -> None:
        """Let go of the file."""
        self.store.close()

    def take(self, index: int, rows: Rows, values: Tensor) -> None:
        """Add what `mean_to_image_grid` tells of a class; with the last, the rows are done."""
        share = share_of_entropy(values)
        self._sum = share if self._sum is None else self._sum.add_(share)
        if index == self.classes - 1:
            self.store.take(0, rows, self._sum.div_(math.log(self.classes)))
            self._sum = None

    def save(self, folder: Path, name: str, grid: Grid) -> None:
        """Write the file: 0 for certain, 255 for ln K, where all classes are equally probable."""
        self.store.save(folder, [name], grid)


@dataclass(frozen=True)
class OpenMaps:
    """The maps of one image while it is predicted; none is kept that is None."""

    probabilities: ProbabilityStore | None
    entropy: EntropyStore | None
    centres: CentreSearch | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether anything is to be heard."""
        return self.probabilities is not None or self.entropy is not None

    def take(self, index: int, rows: Rows, values: Tensor) -> None:
        """Keep what `mean_to_image_grid` tells of a class."""
        for store in (self.probabilities, self.entropy):
            if store is not None:
                store.take(index, rows, values)

    def save(self, folder: Path, case: str, names: Sequence[str], grid: Grid) -> None:
        """Write the files of a case; *names* as of `Maps.names`."""
        kinds = by_kind(names)
        if self.probabilities is not None:
            self.probabilities.save(folder, kinds["probabilities"], grid)
        if self.entropy is not None:
            self.entropy.save(folder, kinds["uncertainty"], grid)
        if self.centres is not None and self.probabilities is not None:
            self.centres.save(folder / kinds["centres"], case, self.probabilities.of_class, grid)
