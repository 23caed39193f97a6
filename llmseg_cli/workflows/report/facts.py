"""Collect what a report says, before anything of it is drawn."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmseg_cli.progress import Progress
from llmseg_cli.workflows.report.document import DataFacts, Facts
from llmseg_cli.workflows.report.paper import commands_of, methods_of
from llmseg_cli.workflows.report.seen import LeastTrusted, PseudoFacts, ShownCase
from llmseg_cli.workflows.report.sources.licences import licences_of
from llmseg_cli.workflows.report.sources.pseudo_labels import facts_of as pseudo_facts
from llmseg_cli.workflows.report.sources.pseudo_labels import rounds_of
from llmseg_cli.workflows.report.sources.scoring import facts_of as score_facts
from llmseg_cli.workflows.report.sources.scoring import told_apart
from llmseg_cli.workflows.report.sources.trainings import facts_of as run_facts
from llmseg_cli.workflows.report.sources.trainings import names_of, run_folders
from llmseg_cli.workflows.report.wish import Wish
from llmseg_cli.workflows.report.wording import locked_words, title_of, verdict, warnings_of

if TYPE_CHECKING:
    from llmseg_cli.pictures.tiles import Inline
    from llmseg_cli.workflows.report.sources.viewing import View


@dataclass(frozen=True)
class Collected:
    """The facts, and the pictures of cases among them.

    Args:
        facts: All that is said.
        tiles: Group and case to its pictures.
        folders: Of the runs, in their order.
        view: The volume in the page, or None.
    """

    facts: Facts
    tiles: "dict[tuple[str, str], tuple[Inline, ...]]"
    folders: tuple[Path, ...]
    view: "View | None" = None


def collect(wish: Wish, progress: Progress) -> Collected:
    """Read everything, scans last.

    Raises:
        ArtifactError: If a run, scores or `qc.csv` are missing or damaged.
        DataError: If masks or data are not there.
    """
    folders = run_folders(wish.runs)
    names = names_of(folders)
    runs = tuple(run_facts(folder, names[folder]) for folder in folders)
    scores = told_apart([score_facts(path, runs) for path in wish.scores], wish.scores)
    pseudo = [*_rounds(folders, names), *((one, pseudo_facts(one, runs)) for one in wish.pseudo)]
    seen = tuple(facts for _, facts in pseudo)
    shown: tuple[ShownCase, ...] = ()
    data: DataFacts | None = None
    least: LeastTrusted | None = None
    view: View | None = None
    tiles: dict[tuple[str, str], tuple[Inline, ...]] = {}
    differing: dict[str, list[str]] = {}
    shown_by: str | None = None
    if wish.masks is not None or wish.data is not None:
        from llmseg_cli.workflows.report.sources.looking import look  # loads what reads scans

        looked = look(wish, runs, scores, pseudo, progress)
        shown, data, tiles, differing = looked.shown, looked.data, looked.tiles, looked.differing
        seen, least, view = looked.pseudo, looked.least, looked.view
        shown_by = looked.deciding.file if shown and looked.deciding else None
    said = verdict(runs, scores)
    facts = Facts(
        title=title_of(runs),
        verdict=(*said, *locked_words(runs), *(look for one in scores for look in one.looks)),
        warnings=warnings_of(runs, scores, differing),
        runs=runs,
        scores=scores,
        shown=shown,
        data=data,
        pseudo=seen,
        methods=methods_of(runs, scores),
        commands=commands_of(runs, (*wish.pseudo, wish.masks)),
        licences=licences_of(runs, wish.pseudo),
        least=least,
        viewer=view.facts if view else None,
        shown_by=shown_by,
    )
    return Collected(facts, tiles, tuple(folders), view)


def _rounds(
    folders: Sequence[Path], names: Mapping[Path, str]
) -> Iterator[tuple[Path | None, PseudoFacts]]:
    """Those that runs have made for themselves; the masks of the last round are shown."""
    for folder in folders:
        found = list(rounds_of(folder, names[folder]))
        for index, (place, facts) in enumerate(found, start=1):
            yield (place if index == len(found) else None), facts
