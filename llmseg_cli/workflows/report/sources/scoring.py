"""What files of scores say."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any, NotRequired, TypedDict

from llmseg_cli.artifacts.files import sha256_json
from llmseg_cli.artifacts.scores import Scores
from llmseg_cli.errors import ArtifactError
from llmseg_cli.typed import fitted
from llmseg_cli.workflows.report.document import RunFacts
from llmseg_cli.workflows.report.numbers import finite, words
from llmseg_cli.workflows.report.scored import ALL, MetricRow, PairedRow, ScoredCase, ScoreFacts
from llmseg_cli.workflows.report.sources.trainings import names_of

SHOWN = ("dice", "jaccard", "hd95", "asd", "nsd")  # metrics; the others stay in scores.json
AGAIN = "Write it again with 'llmseg score'."


class _Row(TypedDict):
    mean: float | None
    interval: list[float] | None
    std: NotRequired[float | None]
    median: NotRequired[float | None]
    n: NotRequired[int | None]


class _Metric(_Row):
    classes: dict[str, _Row]
    better: NotRequired[str | None]


class _Difference(TypedDict):
    difference: float | None
    interval: list[float] | None
    p_value: float | None
    n_better: int | None
    n_worse: int | None
    n_equal: int | None


class _Case(TypedDict):
    case: str
    classes: dict[str, dict[str, Any]]
    digests: dict[str, str]


class _Masks(TypedDict):
    folder: str


class _Other(TypedDict):
    predictions: _Masks
    paired: dict[str, _Difference]
    cases: list[_Case]
    failed: NotRequired[dict[str, str]]


def facts_of(path: Path, runs: Sequence[RunFacts]) -> ScoreFacts:
    """What a file of scores says.

    Args:
        path: As `llmseg score -o` wrote it.
        runs: Those of the report, to tell which of them made the masks.

    Raises:
        ArtifactError: If it is no file of scores, or damaged.
    """
    scores = Scores.load(path)
    keys = _shown(scores.metrics)
    chosen = {key: scores.metrics[key] for key in keys}
    metrics = _fitted(path, chosen, dict[str, _Metric], "metrics")
    cases = _fitted(path, list(scores.cases), list[_Case], "cases")
    masks = _fitted(path, scores.predictions, _Masks, "predictions")
    other = _fitted(path, scores.comparison, _Other | None, "comparison")
    names = _class_names(scores.classes)
    return ScoreFacts(
        file=path.name,
        folder=masks["folder"],
        run=_maker(masks, runs),
        made_by=words({key: masks.get(key) for key in ("checkpoint", "network")}),
        compared=other["predictions"]["folder"] if other else None,
        seeds=_whole(scores.counts, "seeds"),
        subset=scores.subset,
        split=scores.split,
        empty_policy=scores.empty_policy,
        classes=tuple(names.values()),
        metrics=tuple(_rows(metrics, keys, names)),
        paired=tuple(_paired(other["paired"], keys)) if other else (),
        cases=_cases(cases, other["cases"] if other else [], keys, names),
        looks=_looks(scores),
        failed=words({**scores.failed, **(other or {}).get("failed", {})}),
        warnings=tuple(map(str, scores.warnings)),
    )


def told_apart(found: Sequence[ScoreFacts], paths: Sequence[Path]) -> tuple[ScoreFacts, ...]:
    """The same, where names of files or of folders of masks are alike with names that tell more.

    Args:
        found: What the files say.
        paths: The files, in their order.
    """
    if len({one.folder for one in found}) == len({one.file for one in found}) == len(found):
        return tuple(found)
    names = names_of(paths)
    return tuple(_named(one, Path(names[path])) for one, path in zip(found, paths, strict=True))


def _named(one: ScoreFacts, file: Path) -> ScoreFacts:
    """With a name of its file, and its folder named after where that is, or after the file."""
    alone = file.parent == Path()
    folder = f"{one.folder} ({file})" if alone else (file.parent / one.folder).as_posix()
    looks = tuple(
        folder + look.removeprefix(one.folder) if look.startswith(f"{one.folder}:") else look
        for look in one.looks
    )
    return replace(one, file=file.as_posix(), folder=folder, looks=looks)


def _fitted(path: Path, values: Any, kind: Any, key: str) -> Any:
    return fitted(values, kind, name=f"{path}: {key}", error=ArtifactError, hint=AGAIN)


def _class_names(classes: Mapping[str, str]) -> dict[str, str]:
    """Value of a class to its name; of two of one name, with the value."""
    names = list(classes.values())
    return {
        value: name if names.count(name) == 1 and name != ALL else f"{name} ({value})"
        for value, name in classes.items()
    }


def _shown(metrics: Mapping[str, Any]) -> list[str]:
    return [key for name in SHOWN for key in metrics if key == name or key.startswith(f"{name}_")]


def _whole(values: Mapping[str, Any], key: str) -> int | None:
    found = finite(values, key)
    return None if found is None else int(found)


def _maker(masks: Mapping[str, Any], runs: Sequence[RunFacts]) -> str | None:
    """The run that made the masks, or the runs that did together or with several seeds."""
    seeds = masks.get("seeds")
    wanted = [one.get("run") for one in seeds] if isinstance(seeds, list) else [masks.get("run")]
    by_digest = {digest: run.name for run in runs for digest in run.weights.values()}
    names = [by_digest.get(str(digest)) for digest in wanted]
    if names and None not in names:
        return ", ".join(dict.fromkeys(name for name in names if name))
    for checkpoint in ("final", "best"):
        made = [one for one in runs if checkpoint in one.weights]
        for start, stop in combinations(range(len(made) + 1), 2):  # such as the folds of a set
            together = made[start:stop]
            digests = sorted(one.weights[checkpoint] for one in together)
            if len(digests) > 1 and sha256_json(digests) == wanted[0]:
                return ", ".join(one.name for one in together)
    return None


def _rows(
    metrics: Mapping[str, Any], keys: Sequence[str], names: Mapping[str, str]
) -> Iterator[MetricRow]:
    for key in keys:
        metric = metrics[key]
        own = {ALL: metric} if len(names) != 1 else {}
        classes = {names[value]: row for value, row in metric["classes"].items() if value in names}
        for name, row in {**own, **classes}.items():
            yield _row(name, key, metric.get("better") or "", row)
        if not own:  # of one class, its mean is that of all
            yield _row(ALL, key, metric.get("better") or "", metric)


def _row(name: str, key: str, better: str, row: Mapping[str, Any]) -> MetricRow:
    return MetricRow(
        class_name=name,
        metric=key,
        better=better,
        mean=row["mean"],
        interval=_pair(row["interval"]),
        std=row.get("std"),
        median=row.get("median"),
        n=row.get("n"),
    )


def _pair(found: Sequence[float] | None) -> tuple[float, float] | None:
    return (found[0], found[1]) if found and len(found) == 2 else None


def _paired(paired: Mapping[str, Any], keys: Sequence[str]) -> Iterator[PairedRow]:
    for key in keys:
        if key in paired:
            row = paired[key]
            yield PairedRow(
                metric=key,
                difference=row["difference"],
                interval=_pair(row["interval"]),
                p_value=row["p_value"],
                better=row["n_better"],
                worse=row["n_worse"],
                equal=row["n_equal"],
            )


def _cases(
    cases: Sequence[Mapping[str, Any]],
    others: Sequence[Mapping[str, Any]],
    keys: Sequence[str],
    names: Mapping[str, str],
) -> tuple[ScoredCase, ...]:
    """Every case, of several seeds the means over them; the lowest Dice first."""
    own, other = _by_case(cases), _by_case(others)
    found = [_case(name, own[name], other.get(name, ()), keys, names) for name in own]
    return tuple(sorted(found, key=lambda one: (one.dice is None, one.dice or 0.0, one.case)))


def _by_case(cases: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    found = defaultdict(list)
    for case in cases:
        found[case["case"]].append(case)
    return dict(found)


def _case(
    name: str,
    own: Sequence[Mapping[str, Any]],
    others: Sequence[Mapping[str, Any]],
    keys: Sequence[str],
    names: Mapping[str, str],
) -> ScoredCase:
    classes = {
        value: [one["classes"][value] for one in own if value in one["classes"]] for value in names
    }
    return ScoredCase(
        case=name,
        dice=_class_mean(own, "dice", names),
        other=_class_mean(others, "dice", names),
        values={key: _class_mean(own, key, names) for key in keys},
        dices={
            names[value]: _mean([finite(score, "dice") for score in found])
            for value, found in classes.items()
        },
        missed=tuple(
            names[value]
            for value, found in classes.items()
            if any(score.get("status") == "missed" for score in found)
        ),
        digests=tuple(one["digests"].get("prediction", "") for one in own),
    )


def _class_mean(
    cases: Sequence[Mapping[str, Any]], key: str, names: Mapping[str, str]
) -> float | None:
    """Mean over the classes of each, then over them; None where a class has none for a reason."""
    means = [
        _mean([finite(one["classes"][value], key) for value in names if value in one["classes"]])
        for one in cases
    ]
    return _mean(means)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _looks(scores: Scores) -> tuple[str, ...]:
    told = (scores.looks or {}).get("predictions", ())
    return tuple(str(one["in_words"]) for one in told if "in_words" in one)
