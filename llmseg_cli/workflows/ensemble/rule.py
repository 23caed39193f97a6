"""Which rule makes the best masks of the validation cases."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from llmseg_cli.artifacts.folds import load_pooled
from llmseg_cli.artifacts.manifest import Manifest
from llmseg_cli.artifacts.scores import Scores
from llmseg_cli.choices import BEST_RULE
from llmseg_cli.data.consensus import RULES
from llmseg_cli.errors import DataError, PolicyError, UsageError
from llmseg_cli.progress import Progress, silent
from llmseg_cli.workflows.ensemble.masks import MEAN, Masks, write_masks
from llmseg_cli.workflows.ensemble.mean import has_probabilities
from llmseg_cli.workflows.score.planned import ScoreOptions
from llmseg_cli.workflows.score.run import run as score

VALIDATION = "validation"  # the role


@dataclass(frozen=True)
class Choice:
    """A rule, and what it was chosen by.

    Args:
        rule: The one with the largest mean Dice; of equal ones the first of `tried`.
        tried: Rule to mean Dice of the validation cases, in [0, 1].
        cases: These cases.
    """

    rule: str
    tried: dict[str, float]
    cases: tuple[str, ...]


def refuse_no_references(rule: str, references: Path | None, split: Path | None) -> None:
    """Refuse `best` without references and split, and these with another rule.

    Raises:
        UsageError: Saying what is missing, or is there for nothing.
    """
    given = {"--ref": references, "--split": split}
    if rule == BEST_RULE and (missing := [flag for flag, value in given.items() if value is None]):
        raise UsageError(
            f"--rule {BEST_RULE} chooses by the validation cases: give {' and '.join(missing)}, as "
            f"in 'llmseg ensemble A B --rule {BEST_RULE} --ref scans --split split.json'."
        )
    if rule != BEST_RULE and (useless := [flag for flag, value in given.items() if value]):
        raise UsageError(
            f"{useless[0]} is for --rule {BEST_RULE}, and the rule is {rule}. Leave it out, or say "
            f"--rule {BEST_RULE}."
        )


def choose_rule(
    masks: Masks,
    cases: Sequence[str],
    references: Path,
    *,
    split: Path,
    work: Path,
    progress: Progress,
) -> Choice:
    """Try every rule on the validation cases; `mean` where all folders have probabilities.

    Args:
        masks: What is combined.
        cases: Those that all folders have.
        references: Data set with their label maps.
        split: File of `llmseg split`, or folder of its folds.
        work: Folder for what is tried, which is removed.
        progress: Hears about cases.

    Raises:
        DataError: If a validation case has no mask, or none can be scored.
        PolicyError: If a run behind the masks has learned from one of them, or the split is of
            other images.
    """
    asked = load_pooled(split)[0].cases(VALIDATION)
    if not asked:
        raise DataError(
            f"{split} has no validation cases, by which --rule {BEST_RULE} chooses. Name a rule, "
            "or make a split with 'llmseg split --validation 0.2'."
        )
    if missing := [case for case in asked if case not in cases]:
        raise DataError(
            f"No mask of {missing[0]}, one of {len(asked)} validation cases by which --rule "
            f"{BEST_RULE} chooses, in {masks.folders[0]}. Write it with 'llmseg predict --subset "
            f"{VALIDATION}'."
        )
    with_mean = all(has_probabilities(folder, asked) for folder in masks.folders)
    tried = {}
    for rule in (*RULES, *([MEAN] if with_mean else [])):
        with TemporaryDirectory(dir=work) as name:
            folder = Path(name)
            files = write_masks(folder, masks, asked, rule, progress=progress)
            manifest = Manifest("ensemble")
            manifest.details = dict(masks.details)
            manifest.write(folder, outputs=tuple(files.values()))
            found = _score(folder, masks, references, split)
        if found.failed:
            case, why = next(iter(found.failed.items()))
            raise DataError(f"--rule {BEST_RULE} cannot be chosen: {case}: {why}")
        tried[rule] = float(found.metrics["dice"]["mean"])
    return Choice(max(tried, key=lambda rule: tried[rule]), tried, tuple(asked))


def _score(folder: Path, masks: Masks, references: Path, split: Path) -> Scores:
    """Scores of the validation cases; what was wrong is told of the folders that were given."""
    options = ScoreOptions(draws=0)
    try:
        return score(
            folder, references, split=split, subset=VALIDATION, options=options, progress=silent
        ).scores
    except PolicyError as error:
        named = " and ".join(map(str, masks.folders))
        raise PolicyError(str(error).replace(str(folder), named)) from error
