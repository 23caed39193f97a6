"""The tables of a page."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from llmseg_cli.workflows.report.document import Curve, DataFacts, Licence, RunFacts
from llmseg_cli.workflows.report.numbers import NONE, duration, interval, shown
from llmseg_cli.workflows.report.scored import ALL, ScoreFacts
from llmseg_cli.workflows.report.seen import LeastTrusted, PseudoFacts, ShownCase

FEW_CLASSES = 6  # with more, a table of cases has no column for each
ROLES = {
    "labeled": "labeled",
    "unlabeled": "unlabeled",
    "pseudo_labeled": "of them with pseudo-labels",
    "validation": "validation",
    "locked_test": "test, locked",
}


@dataclass(frozen=True)
class Table:
    """Cells as text.

    Args:
        columns: Their heads.
        rows: Of one length.
        caption: Above it; empty for none.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]], caption: str = "") -> Table:
    return Table(tuple(columns), tuple(tuple(row) for row in rows), caption)


def means(scores: ScoreFacts) -> Table:
    """A row for each class, a column for each metric."""
    metrics = list(dict.fromkeys(row.metric for row in scores.metrics))
    names = [ALL, *scores.classes] if len(scores.classes) != 1 else list(scores.classes)
    rows = []
    for name in names:
        found = [scores.row(metric, name) for metric in metrics]
        cells = [
            NONE if row is None or row.mean is None else f"{shown(row.mean)} ({_interval(row)})"
            for row in found
        ]
        counts = [str(row.n) for row in found if row is not None and row.n is not None]
        rows.append([name, *cells, counts[0] if counts else NONE])
    return _table(["class", *metrics, "n"], rows)


def _interval(row: object) -> str:
    found = getattr(row, "interval", None)
    return interval(found) if found else "no interval"


def paired(scores: ScoreFacts) -> Table:
    """Mean differences, a row for each metric."""
    rows = [
        [
            row.metric,
            shown(row.difference),
            interval(row.interval),
            shown(row.p_value),
            *(shown(count) for count in (row.better, row.worse, row.equal)),
        ]
        for row in scores.paired
    ]
    columns = ["metric", "difference", "95 % interval", "Wilcoxon p", "better", "worse", "equal"]
    return _table(columns, rows, f"{scores.folder} minus {scores.compared}, paired by case")


def cases(scores: ScoreFacts) -> Table:
    """A row for each case, the lowest Dice first."""
    metrics = list(scores.cases[0].values) if scores.cases else []
    classes = scores.classes if 1 < len(scores.classes) <= FEW_CLASSES else ()
    others = [f"dice of {scores.compared}"] if scores.compared else []
    rows = [
        [
            case.case,
            *(shown(case.values.get(metric)) for metric in metrics),
            *(shown(case.dices.get(name)) for name in classes),
            *([shown(case.other)] if others else []),
            ", ".join(case.missed) or NONE,
        ]
        for case in scores.cases
    ]
    return _table(["case", *metrics, *(f"dice, {c}" for c in classes), *others, "missed"], rows)


def failed(scores: ScoreFacts) -> Table:
    """Cases without a score."""
    return _table(["case", "why it has no score"], scores.failed.items())


def slices(shown_cases: Sequence[ShownCase]) -> Table:
    """A row for each slice that is shown."""
    rows = [
        [
            case.case,
            f"{one.axis} {one.number} of {one.of}".strip(),
            *(shown(count) for count in (one.missed, one.false, one.other_class)),
        ]
        for case in shown_cases
        for one in case.slices
    ]
    return _table(["case", "slice", "missed", "false", "another class"], rows)


def points(title: str, curves: Sequence[Curve], axis: str = "step") -> Table:
    """A row for each step, a column for each curve."""
    steps = sorted({step for curve in curves for step, _ in curve.points})
    values = [dict(curve.points) for curve in curves]
    rows = [[f"{step:g}", *(shown(own.get(step), 4) for own in values)] for step in steps]
    return _table([axis, *(curve.name for curve in curves)], rows, title)


def roles(runs: Sequence[RunFacts]) -> Table:
    """Cases by role, a row for each run."""
    used = [key for key in ROLES if any(key in run.counts for run in runs)]
    rows = [[run.name, *(shown(run.counts.get(key)) for key in used)] for run in runs]
    return _table(["run", *(ROLES[key] for key in used)], rows, "Cases by role")


def scans(data: DataFacts) -> Table:
    """A row for each scan that was read."""
    names = list(dict.fromkeys(name for scan in data.scans for name in scan.volumes or {}))
    names = names[: 2 * FEW_CLASSES]
    unit = "ml" if all(scan.unit == "mm" for scan in data.scans) else "ml or voxels"
    rows = [
        [
            scan.case,
            " x ".join(map(str, scan.shape)),
            f"{' x '.join(f'{side:g}' for side in scan.spacing)} {scan.unit}",
            str(scan.channels),
            f"{shown(scan.low)} to {shown(scan.high)}",
            *(
                NONE if scan.volumes is None else shown(scan.volumes.get(name, 0.0))
                for name in names
            ),
        ]
        for scan in data.scans
    ]
    heads = ["case", "voxels", "spacing", "channels", "intensities, 1 to 99 %"]
    return _table([*heads, *(f"{name}, {unit}" for name in names)], rows)


def faults(data: DataFacts) -> Table:
    """Sentences of what is wrong."""
    rows = [
        *(("fault", sentence) for sentence in data.faults),
        *(("warning", sentence) for sentence in data.warnings),
    ]
    return _table(["", "what was found"], rows)


def kept(pseudo: PseudoFacts) -> Table:
    """Cases by status, and components that were kept and dropped."""
    rows = [(f"cases: {status}", shown(count)) for status, count in pseudo.cases.items()]
    rows += [(f"components: {what}", shown(count)) for what, count in pseudo.components.items()]
    if pseudo.accepted is not None:
        rows.append(("accepted", f"{100 * pseudo.accepted:.3g} %"))
    return _table(["what", "number"], rows)


def least(found: LeastTrusted) -> Table:
    """Cases without a reference, the least trusted first."""
    rows = [
        (one.case, shown(one.agreement), shown(one.entropy), one.reason or NONE)
        for one in found.cases
    ]
    return _table(["case", "agreement", "entropy", "why there is no agreement"], rows)


def licences(found: Sequence[Licence]) -> Table:
    """A row for each pre-trained model."""
    rows = [(one.weights, one.licence, ", ".join(one.used_by)) for one in found]
    return _table(["weights", "licence", "used by"], rows, "Licences of pre-trained weights")


def reasons(pseudo: PseudoFacts) -> Table:
    """Why components or cases were dropped."""
    rows = [(reason, shown(count)) for reason, count in pseudo.reasons.items()]
    return _table(["why dropped", "number"], rows)


def agreements(pseudo: PseudoFacts, bins: int = 10) -> Table:
    """Agreements by tenths."""
    counts = [0] * bins
    for value in pseudo.agreements:
        counts[min(bins - 1, int(value * bins))] += 1
    rows = [
        (f"{index / bins:g} to {(index + 1) / bins:g}", shown(count))
        for index, count in enumerate(counts)
    ]
    return _table(["agreement with the network", "number"], rows)


def cost(runs: Sequence[RunFacts]) -> Table:
    """What a training took, a row for each run."""
    rows = [
        [
            run.name,
            run.status,
            shown(run.steps),
            duration(run.cost.get("wall_s")),
            _megabytes(run.cost.get("peak_rss_mb")),
            _megabytes(run.cost.get("peak_vram_mb")),
            shown(run.cost.get("parameters")),
        ]
        for run in runs
    ]
    heads = ["run", "status", "steps", "time", "memory", "GPU memory", "weights trained"]
    return _table(heads, rows, "Cost")


def _megabytes(value: float | None) -> str:
    return NONE if value is None else f"{value:,.0f} MB"


def machine(runs: Sequence[RunFacts]) -> Table:
    """On what it ran, a row for each run."""
    rows = [
        [run.name, *(_joined(values) for values in (run.machine, run.versions))] for run in runs
    ]
    return _table(["run", "machine", "versions"], rows, "Machine and software")


def _joined(values: dict[str, str]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items()) or NONE


def beside(runs: Sequence[RunFacts], scores: Sequence[ScoreFacts]) -> Table:
    """The runs, with their Dice where scores name them."""
    rows = []
    for run in runs:
        own = [one for one in scores if one.run == run.name]
        row = own[0].row("dice") if own else None
        rows.append(
            [
                run.name,
                run.method,
                run.model,
                str(run.seed),
                shown(run.counts.get("labeled")),
                shown(run.counts.get("unlabeled")),
                shown(run.steps),
                shown(run.validation.get("final")),
                shown(run.validation.get("best")),
                NONE if row is None else shown(row.mean),
                NONE if row is None else interval(row.interval),
            ]
        )
    heads = ["run", "method", "network", "seed", "labeled", "unlabeled", "steps"]
    dice = ["validation Dice, last", "best", "scored Dice", "95 % interval"]
    return _table([*heads, *dice], rows)


def controls(runs: Sequence[RunFacts], scores: Sequence[ScoreFacts]) -> Table | None:
    """Runs with text beside those with a control of it, or without; None without a control."""
    kinds = {_control(run) for run in runs}
    if len(kinds) < 2:
        return None
    full = beside(runs, scores)
    places = [full.columns.index(name) for name in ("validation Dice, last", "scored Dice")]
    rows = [
        [run.name, _control(run), *(row[place] for place in places)]
        for run, row in zip(runs, full.rows, strict=True)
    ]
    return _table(["run", "text", "validation Dice, last", "scored Dice"], rows)


def _control(run: RunFacts) -> str:
    if run.text is None:
        return "none"
    control = str(run.text.get("control", "none"))
    own = "of each image" if "cases" in run.text else "the target's"
    return own if control == "none" else control
