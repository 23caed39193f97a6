"""The result in words: the verdict, and what a reader should know before anything else."""

from collections.abc import Iterator, Sequence

from llmseg_cli.artifacts.text import counted
from llmseg_cli.workflows.report.document import RunFacts
from llmseg_cli.workflows.report.numbers import interval, shown
from llmseg_cli.workflows.report.scored import ScoreFacts

FEW = 10  # cases; with fewer, an interval is a guess
LISTED = 5
DIGEST = 8  # signs that are shown of a digest
HELD_OUT = ("test", "validation")


def title_of(runs: Sequence[RunFacts]) -> str:
    """What the report is about, in a few words."""
    classes = list(dict.fromkeys(name for run in runs for name in run.classes[1:]))
    target = f"{', '.join(classes[:LISTED])}{', ...' * (len(classes) > LISTED)}"
    methods = list(dict.fromkeys(run.method for run in runs))
    shown_methods = f"{', '.join(methods[:LISTED])}{', ...' * (len(methods) > LISTED)}"
    return f"{target or 'without classes'} by {shown_methods}"


def verdict(runs: Sequence[RunFacts], scores: Sequence[ScoreFacts]) -> tuple[str, ...]:
    """The result, a sentence for each file of scores; without any, what validation says."""
    if scores:
        return tuple(sentence for one in scores for sentence in _of_scores(one, runs))
    return tuple(_of_validation(run) for run in runs)


def _of_scores(scores: ScoreFacts, runs: Sequence[RunFacts]) -> Iterator[str]:
    row = scores.row("dice")
    mean = row.mean if row else None
    role = f"{scores.subset} case" if scores.subset else "case"
    over = counted(len(scores.cases), role) + (f" and {scores.seeds} seeds" if scores.seeds else "")
    who = f"{scores.folder} ({_maker(scores, runs)})"
    if mean is None or row is None:
        yield f"{who}: no mean Dice over {over}; {_why_none(scores)}."
    else:
        known = f", 95 % interval {interval(row.interval)}" if row.interval else ", no interval"
        yield f"{who}: Dice {shown(mean)}{known}, over {over}."
    paired = next((one for one in scores.paired if one.metric == "dice"), None)
    if paired is not None and paired.difference is not None:
        more = "above" if paired.difference > 0 else "below" if paired.difference < 0 else "from"
        yield (
            f"That is {shown(abs(paired.difference))} {more} {scores.compared} (95 % interval "
            f"{interval(paired.interval)}, Wilcoxon p = {shown(paired.p_value)}): "
            f"{counted(paired.better or 0, 'case')} better, {paired.worse or 0} worse, "
            f"{paired.equal or 0} equal."
        )


def _why_none(scores: ScoreFacts) -> str:
    if scores.failed:
        return f"{counted(len(scores.failed), 'case')} could not be scored"
    return "scores.json says why"


def _maker(scores: ScoreFacts, runs: Sequence[RunFacts]) -> str:
    run = next((one for one in runs if one.name == scores.run), None)
    by = f"{run.method}, {run.model}" if run else scores.run or "of a run that is not here"
    checkpoint = scores.made_by.get("checkpoint")
    return f"{by}, {checkpoint} checkpoint" if checkpoint else by


def _of_validation(run: RunFacts) -> str:
    told = f"{run.name} ({run.method}, {run.model})"
    final = run.validation.get("final")
    if final is None:
        return f"{told}: no validation cases and no scores, so nobody knows how good it is."
    cases = counted(run.counts.get("validation", 0), "validation case")
    return f"{told}: Dice {shown(final)} on {cases} at the last step, not on test cases."


def warnings_of(
    runs: Sequence[RunFacts], scores: Sequence[ScoreFacts], differing: dict[str, list[str]]
) -> tuple[str, ...]:
    """What a reader should know first, each once.

    Args:
        runs: The runs.
        scores: The files of scores.
        differing: File of scores to cases whose mask at hand is another than the one scored.
    """
    found = [*_of_runs(runs)]
    for one in scores:
        found += [*_of_file(one, runs), *one.warnings]
    for file, cases in differing.items():
        found.append(
            f"{file} was made of other masks than those of --masks ({_some(cases)}): its numbers "
            "are not of what is shown. Score these masks with 'llmseg score'."
        )
    return tuple(dict.fromkeys(found))


def _of_runs(runs: Sequence[RunFacts]) -> Iterator[str]:
    without = [run.name for run in runs if run.test_list is None]
    if without:
        has = "has" if len(without) == 1 else "have"
        yield f"{_some(without)} {has} no locked test list."
    for run in runs:
        if run.status != "finished":
            yield f"{run.name} is {run.status}: its numbers are of an earlier step than planned."
    yield from _of_several([(run.name, warning) for run in runs for warning in run.warnings])
    if len({run.split for run in runs}) > 1:
        yield "The runs have different splits: their numbers may not be of the same cases."


def _of_several(told: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Each warning once, with all whose it is."""
    names: dict[str, list[str]] = {}
    for name, warning in told:
        names.setdefault(warning, []).append(name)
    yield from (f"{_some(found)}: {warning}" for warning, found in names.items())


def _of_file(scores: ScoreFacts, runs: Sequence[RunFacts]) -> Iterator[str]:
    if scores.run is None and runs:
        yield (
            f"{scores.file}: none of the runs of this report is known to have made the masks that "
            "were scored."
        )
    if scores.split is None:
        yield f"{scores.file}: no split chose these cases, so nobody knows that they were held out."
    elif scores.subset not in HELD_OUT:
        yield f"{scores.file}: the subset '{scores.subset}' is not held out."
    missed = [case.case for case in scores.cases if case.missed]
    if missed:
        cases = counted(len(missed), "case")
        yield f"{scores.file}: a class is missed in {cases} ({_some(missed)})."
    for name in _never_found(scores):
        yield f"{scores.file}: {name} is found in no case."
    if scores.failed:
        yield (
            f"{scores.file}: {counted(len(scores.failed), 'case')} without a score "
            f"({_some(list(scores.failed))}); there is no mean then."
        )
    has = scores.has_intervals
    if len(scores.cases) < FEW:
        told = "intervals are wide" if has else "there is no interval"
        yield f"{scores.file}: {counted(len(scores.cases), 'case')} are few; {told}."
    if scores.seeds is None:
        more = " by more than the interval" * has
        yield f"{scores.file}: of one training; another seed may differ{more}."


def _never_found(scores: ScoreFacts) -> list[str]:
    """Classes whose Dice is 0 in every case that has one."""
    found = []
    for name in scores.classes:
        values = [case.dices.get(name) for case in scores.cases]
        known = [value for value in values if value is not None]
        if known and not any(known):
            found.append(name)
    return found


def locked_words(runs: Sequence[RunFacts]) -> list[str]:
    """Which test list is locked, by the first signs of its digest."""
    lists = {run.test_list: run.test_words for run in runs if run.test_list}
    return [
        f"Test list locked, digest {digest[:DIGEST]}{f'; test cases: {words}' if words else ''}."
        for digest, words in lists.items()
    ]


def _some(names: Sequence[str]) -> str:
    return f"{', '.join(names[:LISTED])}{', ...' * (len(names) > LISTED)}"
