"""Read what a split knows of cases: digests of images, and the foreground of label maps."""

from collections.abc import Mapping

import numpy as np

from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.data.case import Case, Dataset
from llmseg_cli.data.cases import image_digest
from llmseg_cli.data.checking.label_values import count_values
from llmseg_cli.data.pool import map_cases
from llmseg_cli.data.splitting.roles import CaseFacts
from llmseg_cli.data.volumes import load_label_map
from llmseg_cli.errors import DataError, TooLargeError
from llmseg_cli.progress import Progress

SHOWN_FAULTS = 10


def read_facts(
    dataset: Dataset, label_map: Mapping[int, int], ignore: int | None, progress: Progress
) -> tuple[list[CaseFacts], dict[str, str], set[int]]:
    """What is known of the cases, the digests of their images, and the values of label maps.

    Args:
        dataset: The cases.
        label_map: Changes to label values.
        ignore: Value of unknown voxels, or None. A case of which nothing is known counts as one
            without a label map.
        progress: Told of every case read.

    Raises:
        DataError: If cases cannot be read.
        TooLargeError: If memory lacks for each of those.
    """

    def read(case: Case) -> tuple[CaseFacts, str, frozenset[int]] | DataError:
        try:
            return _read_case(case, label_map, ignore)
        except TooLargeError:
            raise  # tried again alone
        except DataError as error:
            return error

    def refuse(case: Case, error: TooLargeError) -> DataError:
        return error

    found = list(map_cases(read, dataset.cases, refused=refuse, phase="read", progress=progress))
    faults = [one for one in found if isinstance(one, DataError)]
    if faults:
        raise _all_of(faults, dataset)
    known = [one for one in found if not isinstance(one, DataError)]
    facts, digests, stored = zip(*known, strict=True) if known else ((), (), ())
    images = {fact.id: digest for fact, digest in zip(facts, digests, strict=True)}
    return list(facts), images, set().union(*stored)


def _all_of(faults: list[DataError], dataset: Dataset) -> DataError:
    """One error of all cases that cannot be read; of memory, if it lacks for each of them."""
    kind = TooLargeError if all(isinstance(f, TooLargeError) for f in faults) else DataError
    lines = [str(fault) for fault in faults[:SHOWN_FAULTS]]
    if len(faults) == 1:
        return kind(lines[0])
    if len(faults) > len(lines):
        lines.append(f"... and {len(faults) - len(lines)} more")
    return kind(
        f"{len(faults)} of {len(dataset.cases)} cases cannot be read; 'llmseg check --data "
        f"{dataset.root}' looks at all of each.\n" + "\n".join(lines)
    )


def _read_case(
    case: Case, label_map: Mapping[int, int], ignore: int | None
) -> tuple[CaseFacts, str, frozenset[int]]:
    digest = image_digest(case)
    if case.label is None:
        return CaseFacts(case.id, case.group, None, case.is_test), digest, frozenset()
    labels = load_label_map(case.label, label_map=label_map, ignore=ignore)
    voxel_mm3 = float(np.prod(labels.spacing_mm))
    counts = count_values(labels.array)
    if ignore is not None:
        counts.pop(UNKNOWN, None)
    if not counts:
        return CaseFacts(case.id, case.group, None, case.is_test), digest, labels.stored
    foreground = {value: count * voxel_mm3 for value, count in counts.items() if value != 0}
    return CaseFacts(case.id, case.group, foreground, case.is_test), digest, labels.stored
