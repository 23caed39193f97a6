"""Look for faults that only show when the cases of a data set are compared."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain

from llmseg_cli.data.case import Fault
from llmseg_cli.data.checking.case import CaseCheck
from llmseg_cli.data.checking.label_values import find_value_fault, some_values, unheld
from llmseg_cli.data.checking.slices import find_slices

SCALE_RATIO = 100.0


def compare_cases(checks: Sequence[CaseCheck], classes: Mapping[int, str]) -> list[Fault]:
    """Faults in label values, duplicates, channels and intensity scales.

    Args:
        checks: All cases.
        classes: Declared label values, or none.
    """
    return [
        *_label_values(checks, classes),
        *_unused_classes(checks, classes),
        *_duplicates(checks),
        *_channels(checks),
        *_dimensions(checks),
        *_scales(checks),
        *find_slices(checks),
        *_nothing_to_learn(checks),
    ]


def find_unheld(
    checks: Sequence[CaseCheck], label_map: Mapping[int, int], ignore: int | None
) -> list[Fault]:
    """Warnings of options whose value no label map holds; none where there are no label maps."""
    known = [check.stored for check in checks if check.stored is not None]
    stored = set(chain.from_iterable(known))
    return [
        Fault(
            "unused option",
            "",
            "",
            f"no label map holds the value {value} of {option}",
            some_values(stored),
            "Leave it out, or correct the value.",
            is_warning=True,
        )
        for option, value in unheld(stored, label_map, ignore).items()
        if known
    ]


def _observed(checks: Sequence[CaseCheck]) -> set[int]:
    return set(chain.from_iterable(check.values or () for check in checks))


def _label_values(checks: Sequence[CaseCheck], classes: Mapping[int, str]) -> list[Fault]:
    fault = find_value_fault(_observed(checks), classes)
    if fault is None:
        return []
    return [
        Fault(
            "label values",
            check.case.id,
            check.label_file,
            f"label values {some_values(check.values or ())}",
            fault.expected,
            fault.remedy,
        )
        for check in checks
        if set(fault.values) & set(check.values or ())
    ]


def _unused_classes(checks: Sequence[CaseCheck], classes: Mapping[int, str]) -> list[Fault]:
    if not any(check.values for check in checks):
        return []
    # As 'split' refuses them; but where other values are at fault, one may be meant by the other.
    is_warning = find_value_fault(_observed(checks), classes) is not None
    return [
        Fault(
            "unused class",
            "",
            "",
            f"class {value} '{classes[value]}' is declared but in no label map",
            "",
            "Remove it from the declared classes, or rename values with --label-map.",
            is_warning,
        )
        for value in sorted(set(classes) - _observed(checks) - {0})
    ]


def _nothing_to_learn(checks: Sequence[CaseCheck]) -> list[Fault]:
    """A fault if all label maps are empty, for `split` refuses them, too."""
    known = [check for check in checks if check.values is not None]
    if not known or _observed(known) - {0}:
        return []
    return [
        Fault(
            "no foreground",
            "",
            "",
            f"none of the {len(known)} label maps has any foreground",
            "voxels of a class in at least one",
            "Label some, or rename values with --label-map.",
        )
    ]


def _duplicates(checks: Sequence[CaseCheck]) -> list[Fault]:
    same: dict[str, list[CaseCheck]] = defaultdict(list)
    for check in checks:
        if check.content:
            same[check.content].append(check)
    return [
        Fault(
            "duplicate",
            check.case.id,
            check.file,
            f"the same voxels as case {group[0].case.id} ({group[0].file})",
            "every image once",
            "Remove one: a copy in training makes a test score too good.",
        )
        for group in same.values()
        for check in group[1:]
    ]


def _channels(checks: Sequence[CaseCheck]) -> list[Fault]:
    readable = [check for check in checks if check.grid is not None]
    counts = Counter(check.channels for check in readable)
    if len(counts) < 2:
        return []
    usual = counts.most_common(1)[0][0]
    return [
        Fault(
            "channels",
            check.case.id,
            check.file,
            f"{check.channels} channel(s)",
            f"{usual}, as in most cases",
            "Convert all images to the same channels.",
        )
        for check in readable
        if check.channels != usual
    ]


def _dimensions(checks: Sequence[CaseCheck]) -> list[Fault]:
    flat = [check for check in checks if check.grid is not None and check.grid.ras_shape[2] == 1]
    deep = [check for check in checks if check.grid is not None and check.grid.ras_shape[2] > 1]
    if not flat or not deep:
        return []
    return [
        Fault(
            "dimensions",
            "",
            "",
            f"{len(flat)} images have one slice (such as {flat[0].file}), {len(deep)} have more",
            "only 2D or only 3D",
            "Train in 2D (a --patch of two numbers), or take the former out.",
            is_warning=True,
        )
    ]


def _scales(checks: Sequence[CaseCheck]) -> list[Fault]:
    scales = sorted(
        (max(abs(check.low), abs(check.high)), check.file)
        for check in checks
        if check.grid is not None and max(abs(check.low), abs(check.high)) > 0
    )
    if not scales or scales[-1][0] <= SCALE_RATIO * scales[0][0]:
        return []
    (least, low_file), (most, high_file) = scales[0], scales[-1]
    return [
        Fault(
            "intensity scale",
            "",
            "",
            f"intensities reach {least:.3g} in {low_file} and {most:.3g} in {high_file}, "
            f"a factor of {most / least:,.0f}",
            "",
            "Keep a normalization per case (--normalize zscore, the default), not a window.",
            is_warning=True,
        )
    ]
