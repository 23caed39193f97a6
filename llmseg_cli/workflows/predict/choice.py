"""Which images to predict."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from llmseg_cli.artifacts.at_hand import refuse_absent_image
from llmseg_cli.artifacts.split import Split
from llmseg_cli.data.case_names import alike
from llmseg_cli.data.cases import Case, find_cases, image_digest
from llmseg_cli.data.digests import as_recorded
from llmseg_cli.errors import DataError, PolicyError, UsageError


def choose_cases(
    data: Path | None, images: Sequence[Path], split: Path | None, subset: str | None
) -> tuple[Case, ...]:
    """The cases to predict, from a data set, a role of a split, or images alone.

    Raises:
        UsageError: If the words contradict each other.
        DataError: If there is no case, a file is missing, or two images share a name.
        PolicyError: If the images are not those that the split was made from.
    """
    refuse_contradiction(data, images, split, subset)
    if data is None:
        return _from_images(images)
    found = find_cases(data)
    if split is None:
        return found.cases
    roles = Split.load(split)
    chosen = tuple(found.case(name) for name in roles.cases(subset or "test"))
    if not chosen:
        raise DataError(f"{split} has no case with the role '{subset or 'test'}'.")
    if strangers := [case.id for case in chosen if case.id not in roles.images]:
        raise PolicyError(
            f"{split} has no digest of {', '.join(strangers[:3])}: it was changed by hand. Make a "
            "new one with 'llmseg split'."
        )
    expected = {case.id: roles.images[case.id] for case in chosen}
    at_hand = {case.id: image_digest(case) for case in chosen}
    replace(roles, images=expected).refuse_other_data(as_recorded(chosen, at_hand, expected))
    return chosen


def refuse_contradiction(
    data: Path | None, images: Sequence[Path], split: Path | None, subset: str | None
) -> None:
    """Refuse words that choose no cases, or contradict each other.

    Raises:
        UsageError: Saying what to pass.
    """
    if (data is None) == (not images):
        raise UsageError("What to predict? Pass --data DIR, or --images with folders or files.")
    if split is None and subset is not None:
        raise UsageError(f"--subset {subset} is a role of a split. Pass --split FILE with it.")
    if split is not None and data is None:
        raise UsageError("--split names cases of a data set. Pass --data DIR with it.")


def _from_images(images: Sequence[Path]) -> tuple[Case, ...]:
    found: dict[str, Case] = {}
    for path in images:
        refuse_absent_image(path)
        for case in find_cases(path).cases:
            first = found.setdefault(alike(case.id), case)
            if first is not case:
                raise DataError(
                    f"Two images are named '{case.id}' ({first.images[0]} and "
                    f"{case.images[0]}), so one mask would replace the other. Rename one."
                )
    return tuple(found.values())
