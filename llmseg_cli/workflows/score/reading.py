"""How the label maps of both sides are read: which values are changed, and which unknown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmseg_cli.data.checking.label_values import map_classes
from llmseg_cli.data.class_values import changes_from_stored
from llmseg_cli.data.ignore_label import ignored_value
from llmseg_cli.errors import UsageError
from llmseg_cli.options import parse_label_map
from llmseg_cli.workflows.score.pairing import Predictions, References


@dataclass(frozen=True)
class Reading:
    """How label maps are read.

    Args:
        label_map: Changes to values of the references.
        ignore: Value of their voxels of which nothing is known, or None.
        classes: Value after the changes to name, background left out; empty if unknown.
    """

    label_map: Mapping[int, int]
    ignore: int | None
    classes: dict[int, str]


def reading_of(
    references: References,
    made: Sequence[Predictions],
    *,
    label_map: Mapping[int, int] | None,
    ignore_label: int | None,
) -> Reading:
    """What is asked, or else what the split says, the data set, or the runs behind the masks.

    Args:
        references: What is scored against, with its split.
        made: The folders of masks.
        label_map: Changes that are asked; none if None or empty.
        ignore_label: The ignore label that is asked, or None.

    Raises:
        UsageError: If these contradict each other.
    """
    split = references.roles
    changes = split.label_changes(label_map) if split else dict(label_map or {})
    changes = changes or _learned_changes(made)
    declared = map_classes(references.classes, changes)
    names = declared or (split.class_names if split else {})
    classes = {value: name for value, name in names.items() if value}
    asked = split.ignored(ignore_label) if split else ignore_label
    known = references.ignore
    if known is None and asked is None:
        known = _learned_ignore(made)
    return Reading(changes, ignored_value(known, asked, changes), classes)


def _learned_changes(made: Sequence[Predictions]) -> dict[int, int]:
    """The label map that the runs behind the masks have learned with."""
    recorded = {one.label_map for one in made} - {()}
    if len(recorded) > 1:
        shown = " and ".join(",".join(one) for one in sorted(recorded))
        raise UsageError(
            f"The predictions come from runs with different label maps, {shown}. Say with "
            "--label-map how to change the values of the references."
        )
    return parse_label_map(next(iter(recorded), ()))


def _learned_ignore(made: Sequence[Predictions]) -> int | None:
    """The ignore label that the runs behind the masks have learned with."""
    recorded = {one.ignore_label for one in made} - {None}
    if len(recorded) > 1:
        raise UsageError(
            f"The predictions come from runs with different ignore labels, "
            f"{' and '.join(map(str, recorded))}. Say with --ignore-label which one the "
            "references have."
        )
    return next(iter(recorded), None)


def changes_of(one: Predictions, asked: Mapping[int, int] | None) -> Mapping[int, int]:
    """Changes to values of masks: those that are asked, or from values of files to classes."""
    return asked or changes_from_stored(one.label_values)
