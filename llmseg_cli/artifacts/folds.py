"""A folder of splits, one a fold: `fold-0.json`, `fold-1.json`, ..."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from llmseg_cli.artifacts.files import sha256_file, sha256_json
from llmseg_cli.artifacts.split import Split
from llmseg_cli.errors import ArtifactError

NAME = re.compile(r"fold-(0|[1-9]\d*)\.json")


def fold_name(fold: int) -> str:
    """The name of a fold's file."""
    return f"fold-{fold}.json"


def load_folds(folder: Path) -> dict[Path, Split]:
    """The folds of a folder, in their order.

    Args:
        folder: As `llmseg split --folds` wrote it.

    Raises:
        ArtifactError: If a fold is missing, or one says that it is another.
    """
    names = (NAME.fullmatch(path.name) for path in folder.iterdir())
    numbers = sorted(int(name[1]) for name in names if name)
    if not numbers:
        raise ArtifactError(
            f"{folder} is a folder without {fold_name(0)}. 'llmseg split --folds 5 -o FOLDER' "
            "writes one of folds; one split is a file."
        )
    found = {folder / fold_name(n): Split.load(folder / fold_name(n)) for n in numbers}
    count = next(iter(found.values())).folds or len(numbers)
    if numbers != list(range(count)):
        raise ArtifactError(
            f"{folder} has the folds {', '.join(map(str, numbers))}; expected 0 to {count - 1}. "
            "Write them again with 'llmseg split --folds'."
        )
    for number, (path, split) in enumerate(found.items()):
        if split.fold != number or split.folds != count:
            raise ArtifactError(
                f"{path} says that it is fold {split.fold} of {split.folds}; expected {number} of "
                f"{count}. Write the folds again with 'llmseg split --folds'."
            )
    return found


def load_one_or_folds(path: Path) -> dict[Path, Split]:
    """The split of a file, or all folds of a folder.

    Raises:
        ArtifactError: If it is neither.
    """
    return load_folds(path) if path.is_dir() else {path: Split.load(path)}


def load_pooled(path: Path) -> tuple[Split, str]:
    """The split of a file; of a folder of folds, one with the validation cases of all of them.

    Returns:
        The split, and the SHA-256 of its file or of its files together.

    Raises:
        ArtifactError: If it is neither, or the folds do not belong together.
    """
    if not path.is_dir():
        return Split.load(path), sha256_file(path)
    folds = load_folds(path)
    return pool(list(folds.values()), name=str(path)), sha256_json(
        {file.name: sha256_file(file) for file in folds}
    )


def pool(folds: Sequence[Split], *, name: str) -> Split:
    """One split with the validation cases of all folds.

    Args:
        folds: All of them.
        name: What holds them, for messages.

    Raises:
        ArtifactError: If they do not belong together.
    """
    first, *others = folds
    if any(_shared(one) != _shared(first) for one in others):
        raise ArtifactError(
            f"The folds of {name} have other test cases, images or label maps; expected the same "
            "in all. Write them again with 'llmseg split --folds'."
        )
    return replace(
        first,
        labeled=tuple(sorted(set(first.labeled).intersection(*(one.labeled for one in others)))),
        validation=tuple(sorted(case for one in folds for case in one.validation)),
        fold=None,
        folds=None,
    )


def _shared(split: Split) -> tuple[object, ...]:
    """What all folds have alike."""
    reading = (split.label_map, split.ignore_label, split.classes)
    return (split.test, split.images, *reading)
