"""Sentences that a paper would have on what was done, and the commands that repeat it."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from llmseg_cli.artifacts.manifest import MANIFEST, load_manifest
from llmseg_cli.artifacts.text import counted
from llmseg_cli.workflows.report.citing import citations
from llmseg_cli.workflows.report.document import Methods, RunFacts
from llmseg_cli.workflows.report.numbers import shown
from llmseg_cli.workflows.report.scored import ScoreFacts

POLICIES = {
    "diagonal": "where one of two masks is empty, a distance counts as the diagonal of the largest "
    "image",
    "nan": "where one of two masks is empty, a distance is undefined, and so is the mean",
    "skip": "distances leave out cases in which one of two masks is empty",
    "error": "no mask is empty",
}


def methods_of(runs: Sequence[RunFacts], scores: Sequence[ScoreFacts]) -> Methods:
    """A paragraph for each run, one for the scores, and what to cite."""
    paragraphs = [" ".join(_of_run(run)) for run in runs]
    paragraphs += [_of_scores(one) for one in scores]
    return Methods(paragraphs=tuple(dict.fromkeys(paragraphs)), citations=citations(runs))


def _of_run(run: RunFacts) -> Iterator[str]:
    settings = run.config["settings"]
    yield f"{run.name}: {_cases(run)}"
    yield f"Classes: {', '.join(run.classes[1:])}."
    yield _prepared(run.config["preprocessing"])
    steps = f"{run.steps:,} steps" if run.steps else "an unknown number of steps"
    unlabeled = f" and {run.config['unlabeled_batch']} unlabeled" if _is_semi(run) else ""
    yield (
        f"A network '{run.model}' was trained by '{run.method}' for {steps} on batches of "
        f"{settings.get('batch')} labeled{unlabeled} patches of "
        f"{' x '.join(map(str, settings['patch']))} voxels, with the loss "
        f"'{settings.get('loss')}', {settings.get('optimizer')} at a learning rate of "
        f"{shown(settings.get('learning_rate'))} ({settings.get('learning_rate_schedule')}), "
        f"augmentation '{settings.get('augment')}' and seed {run.seed}."
    )
    if run.text:
        yield _text(run.text)
    if pseudo := run.config.get("pseudo"):
        yield f"Pseudo-labels: {pseudo.get('schedule', 'ready masks')}."
    if run.config.get("init"):
        yield "It started from the weights of an earlier run."
    known = {key: run.versions.get(key) for key in ("llmseg", "torch")}
    used = [f"{name} {version}" for name, version in known.items() if version]
    if used:
        yield f"Software: {', '.join(used)}."


def _is_semi(run: RunFacts) -> bool:
    return run.command == "train-semi"


def _cases(run: RunFacts) -> str:
    roles = {"labeled": "labeled", "unlabeled": "unlabeled", "validation": "validation"}
    known = [f"{run.counts[key]} {name}" for key, name in roles.items() if run.counts.get(key)]
    test = run.counts.get("locked_test")
    how = f" ({run.test_words})" if run.test_words else ""
    locked = f"; {counted(test, 'case')} locked as test{how}" if test else ""
    return f"{', '.join(known) or 'unknown'} cases{locked}."


def _prepared(preprocessing: Mapping[str, Any]) -> str:
    spacing = preprocessing["spacing"]
    if any(spacing):
        grid = f"resampled to {' x '.join(f'{side:g}' for side in spacing)} mm"
    else:
        grid = "taken on their own voxels"
    return f"Images were {grid} and normalized by '{preprocessing['normalize']}'."


def _text(text: Mapping[str, Any]) -> str:
    control = text.get("control", "none")
    told = f" (control '{control}')" if control != "none" else ""
    return (
        f"Texts of {text.get('target', 'the target')}{told}, encoded by "
        f"{text.get('encoder', 'an encoder')}, entered by '{text['fusion']}'."
    )


def _of_scores(scores: ScoreFacts) -> str:
    names = list(dict.fromkeys(row.metric for row in scores.metrics))
    role = f"{scores.subset} cases" if scores.subset else "cases"
    checkpoint = scores.made_by.get("checkpoint")
    weights = f" of the {checkpoint} checkpoint" if checkpoint else ""
    tested = " Differences were paired by case and tested by Wilcoxon's signed-rank test."
    intervals = " with 95 % bootstrap intervals" * scores.has_intervals
    return (
        f"Masks{weights} were scored on {len(scores.cases)} {role} by {', '.join(names)}: means "
        f"over cases{intervals}; {POLICIES.get(scores.empty_policy, '')}."
        + tested
        * bool(scores.paired)
    )


def commands_of(runs: Sequence[RunFacts], recorded: Sequence[Path | None]) -> tuple[str, ...]:
    """Command lines that repeat it, as they were typed.

    Args:
        runs: The runs.
        recorded: Folders whose `run.json` also has a command line.
    """
    lines = [run.command_line for run in runs]
    lines += [_line_of(folder) for folder in recorded if folder is not None]
    return tuple(dict.fromkeys(line for line in lines if line))


def _line_of(folder: Path) -> str | None:
    if not (folder / MANIFEST).is_file():
        return None
    found = load_manifest(folder).get("command_line")
    return found if isinstance(found, str) else None
