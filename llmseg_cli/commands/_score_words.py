"""What `llmseg score` says of the scores."""

import shlex
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmseg_cli import console
from llmseg_cli.artifacts.manifest import load_manifest
from llmseg_cli.errors import ArtifactError

if TYPE_CHECKING:
    from llmseg_cli.artifacts.scores import Scores

SHOWN = ("dice", "jaccard", "hd95", "asd", "nsd")


def show(scores: "Scores") -> None:
    """Print means, differences and what else a reader should know."""
    for warning in scores.warnings:
        console.warn(warning)
    if scores.empty_policy == "skip" and scores.counts["n_missed"]:
        console.warn("--empty-policy skip leaves missed cases out of the mean distances.")
    _show_means(scores.predictions["folder"], scores.metrics, scores)
    if scores.comparison is not None:
        folder = scores.comparison["predictions"]["folder"]
        _show_means(folder, scores.comparison["metrics"], scores)
        _show_differences(folder, scores)
    if scores.centres is not None:
        _show_centres(scores.centres)
    counts = scores.counts
    times = f" of {counts['seeds']} seeds" if "seeds" in counts else ""
    console.info(
        f"{counts['ok']} of {counts['cases_in']} cases{times}; masks scored {counts['n_scored']}, "
        f"missed {counts['n_missed']}, false alarms {counts['n_false_alarm']}, "
        f"empty in both {counts['n_both_empty']}."
    )
    if scores.ignore is not None:
        console.info(
            f"{scores.ignore['voxels']:,} voxels of the references have the ignore label "
            f"{scores.ignore['label']}: {scores.ignore['treatment']}."
        )
    looks = scores.looks["predictions"] if scores.looks else ()
    for told in (*looks, *(scores.trust or ()), *(scores.post_processing or ())):
        console.info(told["in_words"])
    for key in _keys(scores.metrics):
        console.detail(scores.metrics[key]["signature"])


def following(pred: Sequence[Path], ref: Path, document: Path) -> list[str | Path]:
    """The words of the next command, a page of the scores; none without a run to tell of.

    Args:
        pred: Folders of masks that were scored.
        ref: The data set of the references.
        document: The scores.
    """
    runs = [run for folder in pred for run in _runs_of(folder)]
    if len(pred) > 1 or not runs:
        return []
    shown: list[str | Path] = ["--masks", pred[0], "--data", ref]
    page = document.with_name(f"{document.stem}-report.html")
    return ["report", *runs, "--scores", document, *shown, "-o", page]


def _runs_of(masks: Path) -> list[str]:
    """The runs that `predict` was given for a folder of masks, those that are still there."""
    try:
        words = shlex.split(load_manifest(masks)["command_line"])
    except ArtifactError:
        return []
    runs = [run for word, run in pairwise(words) if word == "--run"]
    return [run for run in runs if Path(run).is_dir()]


def _keys(metrics: dict[str, Any]) -> list[str]:
    """Names in *metrics* of what the tables show; distances carry their unit."""
    return [key for name in SHOWN for key in metrics if key == name or key.startswith(f"{name}_")]


def _show_means(folder: str, metrics: dict[str, Any], scores: "Scores") -> None:
    names = {**scores.classes, **({"": "class mean"} if len(scores.classes) > 1 else {})}
    seeds, rows = scores.counts.get("seeds"), []
    for number, name in names.items():
        label = name
        for key in _keys(metrics):
            found = metrics[key]["classes"][number] if number else metrics[key]
            values = [_number(found[field]) for field in ("mean", "std", "median")]
            own = [_number(found["seeds"]["std"])] if seeds else []
            row = [label, key, values[0], _interval(found), *own, *values[1:], str(found["n"])]
            rows.append(row)
            label = ""
    own = ["std of seeds"] if seeds else []
    columns = ["class", "metric", "mean", "95 % interval", *own, "std", "median", "n"]
    cases, times = scores.counts["ok"] // (seeds or 1), f" and {seeds} seeds" if seeds else ""
    console.table(f"{folder}: over {cases} cases{times}", columns, rows)


def _show_centres(told: dict[str, Any]) -> None:
    """F1 of detection and of each class, and what it comes from."""
    detection = {"name": "any class", **told["detection"]}
    rows = []
    for found in (detection, *told["classes"].values()):
        numbers = [_number(found[key]) for key in ("f1", "precision", "recall", "mean_of_cases")]
        counts = [str(found[key]) for key in ("tp", "fp", "fn")]
        rows.append([found["name"], numbers[0], _interval(found), *numbers[1:], *counts])
    columns = ["centres", "F1", "95 % interval", "precision", "recall", "mean F1 of cases"]
    title = f"Centres within {told['radius']:g} {told['unit']}: all cases together"
    console.table(title, [*columns, "pairs", "wrong", "missed"], rows)
    mean = told["mean_of_classes"]
    if len(told["classes"]) > 1 and mean is not None:
        console.info(f"Mean F1 of the classes: {mean:.4g}.")
    console.detail(told["signature"])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _interval(found: dict[str, Any]) -> str:
    if found["interval"] is None:
        return "-"
    low, high = found["interval"]
    return f"{low:.3g} to {high:.3g}"


def _show_differences(folder: str, scores: "Scores") -> None:
    assert scores.comparison is not None
    paired = scores.comparison["paired"]
    rows = []
    for key in _keys(paired):
        found = paired[key]
        values = [
            _number(found["difference"]),
            _interval(found),
            _number(found["p_value"]),
        ]
        counts = [str(found[name]) for name in ("n_better", "n_worse", "n_equal")]
        rows.append([key, *values, *counts])
    columns = ["metric", "difference", "95 % interval", "Wilcoxon p", "better", "worse", "equal"]
    console.table(f"{scores.predictions['folder']} minus {folder}, paired", columns, rows)
