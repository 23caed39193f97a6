"""A model card: what a training answers, what it has seen, how well it does, and its limits."""

from collections.abc import Sequence
from typing import Any

from llmseg_cli.artifacts.run_config import RunConfig
from llmseg_cli.artifacts.run_files import CALIBRATION
from llmseg_cli.metrics.signature import key
from llmseg_cli.workflows.paper.methods import of_training
from llmseg_cli.workflows.paper.rows import Row, Table
from llmseg_cli.workflows.paper.tables import TITLES
from llmseg_cli.workflows.paper.trainings import Training
from llmseg_cli.workflows.runs.borrowed import borrowed, licence_of

USE = "Research only. Not a medical device; not for diagnosis or treatment of anybody."
SHOWN = ("dice", "hd95", "nsd")
FEW = 20  # test cases, below which an interval is wide


def card_of(training: Training, table: Table | None, rows: Sequence[Row]) -> str:
    """The card as Markdown.

    Args:
        training: The runs.
        table: The scores at hand, or None.
        rows: Those of it whose masks the runs made.
    """
    config = training.config
    parts = [
        f"# {training.name}",
        f"**{USE}**",
        "## What it is",
        of_training(training),
        "## What it answers",
        _answers(config),
        "## What it has seen",
        _seen(training),
        "## How well it does",
        _scores(table, rows),
        "## Limits",
        _limits(training, table, rows),
        "## Licences",
        _licences(config),
        "## Files",
        _files(training),
    ]
    return "\n\n".join(parts) + "\n"


def _answers(config: RunConfig) -> str:
    values = config.label_values or range(len(config.classes))
    lines = [f"- {value}: {name}" for value, name in zip(values, config.classes, strict=True)]
    channels = f"{config.in_channels} channel{'s' * (config.in_channels > 1)}"
    return (
        f"A class for each voxel of an image of {channels}, as the value that stands for it in the "
        "masks:\n\n" + "\n".join(lines)
    )


def _seen(training: Training) -> str:
    roles = ("labeled", "unlabeled", "validation", "test")
    counts = "\n".join(f"- {role}: {training.counts(role)} cases" for role in roles)
    groups = any(run.split is not None and run.split.groups for run in training.runs)
    patients = (
        "Cases of one patient had one role."
        if groups
        else "Each case counted as a patient of its own (no --group-by)."
    )
    named = f"Test cases: {training.test_words}. " if training.test_words else ""
    return (
        f"{counts}\n\nTest cases were locked: no training looked at them. {named}{patients} Which "
        "images they are is written, as digests, in `split.json` and `learned.json` of each run. "
        "Where the images come from, who consented, and what they may be used for: **add it here**."
    )


def _scores(table: Table | None, rows: Sequence[Row]) -> str:
    if table is None or not rows:
        return (
            "Not said: no scores of its masks were at hand. `llmseg paper RUN --scores FILE` adds "
            "them."
        )
    unit = table.scores.unit
    heads = [(name, key(name, unit)) for name in SHOWN]
    lines = ["| | class | " + " | ".join(TITLES[name] for name, _ in heads) + " |"]
    lines.append("|---|---" + "|---:" * len(heads) + "|")
    for row in rows:
        for number, class_name in table.scores.classes.items():
            cells = [_number(row.metrics[name]["classes"][number]) for _, name in heads]
            lines.append(f"| {row.name} | {class_name} | {' | '.join(cells)} |")
    subset = f"the {table.scores.subset} cases of its split" if table.scores.subset else "all cases"
    return (
        f"Means over {len(rows[0].ids)} cases ({subset}), with intervals, distances in {unit}:\n\n"
        + "\n".join(lines)
    )


def _number(found: dict[str, Any]) -> str:
    if found["mean"] is None:
        return "undefined"
    interval = found["interval"]
    bounds = "" if interval is None else f" [{interval[0]:.3g}, {interval[1]:.3g}]"
    return f"{found['mean']:.3g}{bounds}"


def _limits(training: Training, table: Table | None, rows: Sequence[Row]) -> str:
    config = training.config
    said = [
        f"It learned from {training.counts('labeled')} labeled cases. Scans of other scanners, "
        "protocols, ages or diseases were not looked at, and it may fail on them without a sign.",
        f"It knows {len(config.classes) - 1} class(es) and the background; whatever else an image "
        "shows becomes one of these.",
        _calibration(training),
    ]
    if table is not None and rows and len(rows[0].ids) < FEW:
        said.append(f"It was scored on {len(rows[0].ids)} cases, which say little of others.")
    if len(training.runs) == 1:
        said.append("There was one training; how much another seed changes is not known.")
    said += [str(warning) for run in training.runs for warning in run.record.get("warnings", ())]
    return "\n".join(f"- {sentence}" for sentence in dict.fromkeys(said))


def _calibration(training: Training) -> str:
    if all((run.folder / CALIBRATION).is_file() for run in training.runs):
        return (
            "Its probabilities were calibrated on its validation cases, for 'llmseg predict "
            "--calibrated' alone; those without that option were not."
        )
    return "Its probabilities were not calibrated."


def _licences(config: RunConfig) -> str:
    said = ["- llmseg: Apache-2.0."]
    said += [f"- {name}: {licence_of(name)}." for name in borrowed(config)]
    said.append("- The weights of this training: **add it here**; the data may bind them.")
    if "efficientnet-lite0" in borrowed(config):
        said.append(
            "- ImageNet, which efficientnet-lite0 was trained with, was released for research that "
            "is not commercial."
        )
    return "\n".join(said)


def _files(training: Training) -> str:
    return "\n".join(
        f"- {run.name}: weights {run.record['outputs'].get('model.safetensors', 'not recorded')}"
        for run in training.runs
    )
