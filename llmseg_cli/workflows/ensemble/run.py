"""`llmseg ensemble`: one mask a case from several folders of masks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from llmseg_cli.artifacts.folders import replaced_folder
from llmseg_cli.artifacts.inputs import Input, refuse_folder_over_inputs
from llmseg_cli.artifacts.learned import Learned
from llmseg_cli.artifacts.lock import only_job
from llmseg_cli.artifacts.manifest import MANIFEST, Manifest, load_manifest
from llmseg_cli.artifacts.own_folder import refuse_not_made
from llmseg_cli.choices import BEST_RULE
from llmseg_cli.data.consensus import RULES
from llmseg_cli.errors import DataError, UsageError, unknown
from llmseg_cli.progress import Progress, silent
from llmseg_cli.workflows.ensemble.masks import MEAN, Masks, write_masks
from llmseg_cli.workflows.ensemble.rule import choose_rule, refuse_no_references
from llmseg_cli.workflows.predict.known import union_of
from llmseg_cli.workflows.score.predictions import Predictions, find_predictions

COMMAND = "ensemble"
READING = ("label_map", "ignore_label", "label_values", "classes")  # what masks mean


@dataclass(frozen=True)
class Combined:
    """What was written.

    Args:
        folder: Where.
        files: Case to its mask.
        rule: How masks became one.
        warnings: What a reader should know.
        tried: Rule to its mean Dice of the validation cases, where these chose it.
    """

    folder: Path
    files: dict[str, str]
    rule: str
    warnings: tuple[str, ...]
    tried: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The `--json` document."""
        return {
            "out": str(self.folder),
            "rule": self.rule,
            "tried": dict(self.tried),
            "cases": self.files,
            "warnings": list(self.warnings),
        }


def run(
    folders: Sequence[Path],
    *,
    out: Path,
    rule: str = "vote",
    references: Path | None = None,
    split: Path | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> Combined:
    """Combine masks of the same cases; they keep the grid and the values of the first folder's.

    What the runs behind the folders have learned from, as `predict` recorded it, is recorded for
    the masks, so that `score` knows it.

    Args:
        folders: At least two, of `predict` or of any program.
        out: Folder to write.
        rule: A name in `consensus.RULES`, or `mean`, of the probabilities beside the masks; or
            `best`, the one with the largest mean Dice of the validation cases of *split*.
        references: Data set with the label maps of these cases, for `best` alone.
        split: File of `llmseg split`, for `best` alone.
        force: Replace an earlier output.
        progress: Hears about cases.

    Raises:
        UsageError: If there are fewer than two folders, the rule is unknown, the output is there,
            or references are given without `best`, or `best` without them.
        DataError: If a folder lacks a case that another has, or masks of a case have other grids,
            or the masks of two folders mean different things, or probabilities or masks of
            validation cases are missing.
        PolicyError: If a run behind the folders has learned from a validation case.
    """
    if rule not in (*RULES, MEAN, BEST_RULE):
        raise unknown("rule", rule, (*RULES, MEAN, BEST_RULE))
    refuse_no_references(rule, references, split)
    if len(folders) < 2:
        raise UsageError(
            f"{len(folders)} folder of masks: an ensemble has two or more. Name another behind it."
        )
    refuse_folder_over_inputs(out, [Input("a folder of masks", folder) for folder in folders])
    found = [find_predictions(folder) for folder in folders]
    cases = _cases(found)
    manifest = Manifest(COMMAND)
    for index, folder in enumerate(folders):
        if (folder / MANIFEST).is_file():
            manifest.add_input(folder / MANIFEST, name=f"{index}/{MANIFEST}")
    details, warnings = _recorded(folders)
    masks = Masks(folders, found, details)
    tried: dict[str, float] = {}
    with only_job(out):
        refuse_not_made(out, command=COMMAND, force=force)
        with replaced_folder(out) as written:
            if rule == BEST_RULE:
                assert references is not None
                assert split is not None
                manifest.add_input(split, name="split")
                chosen = choose_rule(
                    masks, cases, references, split=split, work=written, progress=progress
                )
                rule, tried = chosen.rule, chosen.tried
                details["choosing_cases"] = sorted({*details["choosing_cases"], *chosen.cases})
            files = write_masks(written, masks, cases, rule, progress=progress)
            manifest.counts = {"cases": len(cases), "folders": len(folders)}
            manifest.warnings += [*warnings]
            manifest.details = {**details, "rule": rule, "tried": tried}
            manifest.write(written, outputs=tuple(files.values()))
    return Combined(out, files, rule, warnings, tried)


def _cases(found: Sequence[Predictions]) -> list[str]:
    """The cases that all folders have.

    Raises:
        DataError: If one has a case that another lacks.
    """
    every = sorted({case for one in found for case in one.files})
    for one in found:
        if lacking := [case for case in every if case not in one.files]:
            named = f"{lacking[0]} and {len(lacking) - 1} more" if lacking[1:] else lacking[0]
            raise DataError(
                f"{one.folder} has no mask of {named}, which another folder has. Give folders of "
                "the same cases."
            )
    return every


def _recorded(folders: Sequence[Path]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What `predict` says in the folders, put together, and what it does not say."""
    said = [load_manifest(one)["details"] for one in folders if (one / MANIFEST).is_file()]
    details: dict[str, Any] = {}
    for key in READING:
        values = [one[key] for one in said if one.get(key) is not None]
        if any(value != values[0] for value in values):
            raise DataError(
                f"The masks are of runs with different {key.replace('_', ' ')}: {values[0]} and "
                f"{next(value for value in values if value != values[0])}. Give masks with the "
                "same meaning."
            )
        details |= {key: values[0]} if values else {}
    knowing = [one for one in said if one.get("learned") is not None]
    best = any(one.get("checkpoint") == "best" for one in knowing)
    union = union_of([_learned(one) for one in knowing])
    details["learned"] = None if union is None else union.to_dict()
    details["checkpoint"] = "best" if best else "final"
    for key in ("training_cases", "choosing_cases"):
        details[key] = sorted({case for one in knowing for case in one.get(key, ())})
    silent_ones = len(folders) - len(knowing)
    if not silent_ones:
        return details, ()
    return details, (
        f"{silent_ones} of {len(folders)} folders do not say which cases their masks' makers "
        "learned from, so 'score' cannot tell.",
    )


def _learned(details: Mapping[str, Any]) -> Learned:
    """What a run learned from; what chose its best checkpoint counts only if that answered."""
    found: Learned = Learned.from_dict(details["learned"], name=f"{MANIFEST}: learned")
    if details.get("checkpoint") == "best":
        return found
    return replace(found, chose=(), chose_voxels=())
