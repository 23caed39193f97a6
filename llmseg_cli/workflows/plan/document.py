"""The file of settings that a plan becomes."""

import math
from collections.abc import Mapping
from pathlib import Path

import yaml

from llmseg_cli.artifacts.text import counted
from llmseg_cli.planning.fingerprint import Choice
from llmseg_cli.planning.recommended import Lines, Recommended
from llmseg_cli.registry import METHODS

HEAD = (
    "Settings that 'llmseg plan' chose for {data}: {scans}, on {machine}. Change what you like: "
    "'llmseg train-sup' and 'llmseg train-semi' read this file where it is called llmseg.yaml in "
    "the folder that they start in, or with --config. What is not here has its default."
)


def write_plan(
    data: Path,
    label_map: tuple[str, ...],
    ignore_label: int | None,
    found: Recommended,
    steps: Mapping[str, Choice],
) -> str:
    """YAML of options, each below its reason.

    Args:
        data: The data set, as it was named.
        label_map: Label values to change, `FROM:TO`.
        ignore_label: Value of unknown voxels, or None.
        found: The settings.
        steps: Command to the steps of its training.
    """
    top, inner = Lines(), Lines("  ")
    blocks = [top.comment(HEAD.format(data=data, scans=_scans(found), machine=_machine(found)))]
    blocks.append("\n".join([f"data: {_quoted(str(data))}", *_labels(label_map, ignore_label)]))
    blocks += [top.choice(name, choice) for name, choice in found.choices.items()]
    for command, choice in steps.items():
        lines = [inner.choice("steps", choice)]
        if command == "train-semi" and found.method:
            lines.insert(0, inner.choice("method", found.method))
            if METHODS.load(str(found.method.value)).mines:
                lines.append(inner.choice("every", first_masks(choice)))
        blocks.append("\n".join([f"{command}:", *lines]))
    return "\n\n".join(blocks) + "\n"


def first_masks(steps: Choice) -> Choice:
    """The step before which pseudo-labels are made, where none come from a trained run."""
    assert isinstance(steps.value, int)
    return Choice(
        max(1, steps.value // 3),
        "after a third of the steps the network makes its masks, unless --init names a trained one",
    )


def _labels(label_map: tuple[str, ...], ignore_label: int | None) -> list[str]:
    changes = ", ".join(f'"{change}"' for change in label_map)
    lines = [f"label-map: [{changes}]"] if label_map else []
    return lines if ignore_label is None else [*lines, f"ignore-label: {ignore_label}"]


def _scans(found: Recommended) -> str:
    scans = found.scans
    names = ", ".join(scans.classes.values())
    labeled = f"{scans.labeled} with a label map that may be used ({names})"
    return f"{counted(scans.sizes.cases, 'scan')}, {labeled}"


def _machine(found: Recommended) -> str:
    power = found.power
    gpu = f"{power.gpu} with {power.gpu_memory / 1e9:.0f} GB" if power.gpu else "no GPU"
    cores = counted(power.processors, "processor")
    return f"{cores}, {power.memory / 2**30:.0f} GiB of memory and {gpu}"


def _quoted(text: str) -> str:
    return yaml.safe_dump(text, allow_unicode=True, default_style='"', width=math.inf).rstrip()
