"""A case, a data set of them, and what may be wrong with one."""

from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

from llmseg_cli.errors import DataError

BESIDE = 32  # names before and behind one in the alphabet that it is compared with


@dataclass(frozen=True)
class Case:
    """One image with its identifier.

    Args:
        id: Identifier, unique in the data set.
        images: One file with all channels, or one file per channel; a folder is a DICOM series.
        label: Reference label map, or none. For HDF5 it is the image file itself: the `label` data
            set inside, which nobody opens for an unlabeled case.
        group: What must stay together, such as the patient.
        listed: Where a list gives the identifier, such as `cases.csv, entry 3`; empty if the files'
            names do.
        is_test: Whether it is of the data set's own test set (imagesTs, or listed as such).
    """

    id: str
    images: tuple[Path, ...]
    label: Path | None
    group: str | None = None
    listed: str = field(default="", compare=False)
    is_test: bool = False


@dataclass(frozen=True)
class Dataset:
    """The cases of a folder, sorted by identifier.

    Args:
        root: The folder (or the list file) they were found in.
        layout: How it is arranged, in words.
        cases: The cases.
        classes: Label value to name, with background; empty if the layout names none.
        ignore: Label value of voxels of which nothing is known; it is no class.
        notes: What was found beside the cases and is not read.
        channels: Names of the image channels; empty if the layout names none.
    """

    root: Path
    layout: str
    cases: tuple[Case, ...]
    classes: dict[int, str]
    ignore: int | None = None
    notes: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()

    def case(self, name: str) -> Case:
        """The case with this identifier.

        Raises:
            DataError: If there is none; the message names the nearest ones.
        """
        if case := self._by_name.get(name):
            return case
        near = nearest(name, sorted(self._by_name))
        raise DataError(f"No case '{name}' in {self.root}. Nearest: {', '.join(near)}.")

    @cached_property
    def _by_name(self) -> dict[str, Case]:
        return {case.id: case for case in reversed(self.cases)}


@dataclass(frozen=True)
class Fault:
    """Something wrong with a data set, and what to do about it.

    Args:
        kind: One word, such as `pairing` or `geometry`.
        case: Identifier of the case, or empty if it concerns the whole data set.
        file: The file, relative to the data set where possible.
        found: What is there.
        expected: What should be.
        remedy: What to do.
        is_warning: Whether the data can be used all the same.
    """

    kind: str
    case: str
    file: str
    found: str
    expected: str
    remedy: str
    is_warning: bool = False

    def __str__(self) -> str:
        where = self.file or (f"case {self.case}" if self.case else "data set")
        expected = f"; expected {self.expected}" if self.expected else ""
        return f"{where}: {self.found}{expected}. {self.remedy}".rstrip()


@dataclass(frozen=True)
class Survey:
    """What a layout found: the data set, and the faults in how it is arranged."""

    dataset: Dataset
    faults: tuple[Fault, ...] = ()


class LayoutError(DataError):
    """A file that names the cases, such as `dataset.json`, cannot be used.

    Args:
        fault: Why; `check` lists it, all else ends with it.
    """

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


def nearest(name: str, known: Sequence[str]) -> list[str]:
    """The three names most like *name*, best first.

    Args:
        name: What is looked for.
        known: Names in order; of many, those that stand near it are compared, so that ten thousand
            names without a partner take seconds.
    """
    place = bisect(known, name)
    first = max(0, min(place - BESIDE, len(known) - 2 * BESIDE))
    return get_close_matches(name, known[first : first + 2 * BESIDE], n=3, cutoff=0)
