"""What the templates of a page are given: tables, plots, and the sentences between them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from markupsafe import Markup

from llmseg_cli.artifacts.text import counted
from llmseg_cli.pictures.tiles import Inline
from llmseg_cli.workflows.report.document import Facts, RunFacts
from llmseg_cli.workflows.report.groups import CASES, LEAST, group_of
from llmseg_cli.workflows.report.layout import plots, tables
from llmseg_cli.workflows.report.layout.calibrated import calibrations
from llmseg_cli.workflows.report.paper import POLICIES
from llmseg_cli.workflows.report.scored import ScoreFacts
from llmseg_cli.workflows.report.seen import LeastTrusted, PseudoFacts, ShownCase, Slice

MOST_CURVES = 12  # runs whose curves are drawn


@dataclass(frozen=True)
class Tile:
    """A slice in the page: its picture, what it is in words, and its size in pixels."""

    address: str
    words: str
    size: tuple[int, int]


def context_of(facts: Facts, tiles: Mapping[tuple[str, str], Sequence[Inline]]) -> dict[str, Any]:
    """The values that the templates show.

    Args:
        facts: What the page says.
        tiles: Group and case to the pictures of its slices.
    """
    data = facts.data
    together, numbers = plots.beside(facts.runs, "beside")
    return {
        "scores": [_scores(one, index) for index, one in enumerate(facts.scores)],
        "shown": _all_shown(facts.shown, CASES, tiles),
        "least": _least(facts.least, tiles),
        "shown_words": _shown_words(facts),
        "several_classes": any(len(run.classes) > 2 for run in facts.runs),
        "slices": tables.slices(facts.shown),
        "curves": [_curves(run, index) for index, run in enumerate(facts.runs[:MOST_CURVES])],
        "curves_left_out": _left_out(facts),
        "calibrations": [{**vars(one), "svg": Markup(one.svg)} for one in calibrations(facts.runs)],
        "roles": tables.roles(facts.runs),
        "data_words": _data_words(facts),
        "data_svg": Markup(plots.data(data, "data")) if data else "",
        "scans": tables.scans(data) if data else None,
        "faults": tables.faults(data) if data else None,
        "pseudo": [_pseudo(one, index, tiles) for index, one in enumerate(facts.pseudo)],
        "pseudo_words": _pseudo_words(facts),
        "texts": list(_texts(facts.runs)),
        "controls": tables.controls(facts.runs, facts.scores),
        "cost": tables.cost(facts.runs),
        "machine": tables.machine(facts.runs),
        "licences": tables.licences(facts.licences) if facts.licences else None,
        "configs": [
            yaml.safe_dump(_plain(run.config), sort_keys=False, allow_unicode=True)
            for run in facts.runs
        ],
        "beside": tables.beside(facts.runs, facts.scores),
        "beside_svg": Markup(together),
        "beside_numbers": numbers,
    }


def _scores(one: ScoreFacts, index: int) -> dict[str, Any]:
    policy = POLICIES.get(one.empty_policy, "")
    compared = (
        f"A line is a case: left {one.compared}, right {one.folder}; falling lines are dashed."
    )
    return {
        "facts": one,
        "means": tables.means(one),
        "intervals": one.has_intervals,
        "policy": f"{policy[:1].upper()}{policy[1:]}." if policy else "",
        "strip": Markup(plots.strip(one, f"strip{index}")),
        "strip_words": plots.strip_words(one),
        "paired": tables.paired(one) if one.paired else None,
        "slopes": Markup(plots.slopes(one, f"slopes{index}")),
        "slopes_words": compared,
        "cases": tables.cases(one),
        "failed": tables.failed(one) if one.failed else None,
    }


def _pseudo(
    one: PseudoFacts, index: int, tiles: Mapping[tuple[str, str], Sequence[Inline]]
) -> dict[str, Any]:
    return {
        "facts": one,
        "counts": tables.kept(one),
        "reasons": tables.reasons(one),
        "svg": Markup(plots.agreements(one, f"pseudo{index}")),
        "words": "Agreement of each component, or case, with the network.",
        "agreements": tables.agreements(one),
        "shown": _all_shown(one.shown, group_of(index), tiles),
    }


def _least(
    found: LeastTrusted | None, tiles: Mapping[tuple[str, str], Sequence[Inline]]
) -> dict[str, Any] | None:
    if found is None:
        return None
    by = f"agreement of {found.between}" if found.between else "entropy, the highest first"
    cases = counted(found.of, "mask")
    return {
        "title": f"Least trusted in {found.folder}",
        "words": (
            f"Of {cases} without a reference, by {by}. No reference was there to compare with, so "
            "these numbers say where the network is unsure, not how good a mask is: llmseg "
            "guide trust. 'llmseg suggest' chooses what to label next by them."
        ),
        "table": tables.least(found),
        "shown": _all_shown(found.shown, LEAST, tiles),
    }


def _all_shown(
    cases: Sequence[ShownCase], group: str, tiles: Mapping[tuple[str, str], Sequence[Inline]]
) -> list[dict[str, Any]]:
    return [_shown(one, tiles.get((group, one.case), ())) for one in cases]


def _shown(one: ShownCase, pictures: Sequence[Inline]) -> dict[str, Any]:
    tiles = [
        Tile(picture.address, _slice_words(one.case, found), (picture.width, picture.height))
        for picture, found in zip(pictures, one.slices, strict=True)
    ]
    return {"facts": one, "tiles": tiles}


def _slice_words(case: str, found: Slice) -> str:
    place = f"slice {found.number} of {found.of} across {found.axis}" if found.axis else "picture"
    if found.missed is None:
        return f"{case}, {place}"
    unit = "voxels" if found.axis else "pixels"
    wrong = f"{found.missed:,} {unit} missed, {found.false:,} false"
    others = f", {found.other_class:,} of another class" if found.other_class else ""
    return f"{case}, {place}: {wrong}{others}"


def _shown_words(facts: Facts) -> str:
    if not facts.shown:
        return (
            "No case is shown: pass --data DIR, --masks DIR and --scores FILE, whose cases are "
            "then shown with their references and errors."
        )
    ranked = any(one.rank for one in facts.shown)
    order = "The worst cases first, then the median and the best." if ranked else "By name."
    if facts.shown_by and len(facts.scores) > 1:
        order += f" By {facts.shown_by}, whose masks these are."
    slices = ""
    if any(found.axis for one in facts.shown for found in one.slices):
        slices = (
            " Slices with most errors; of patients, as radiologists look at them: right is on the "
            "left."
        )
    return f"{order}{slices} The mask's outline is dashed."


def _curves(run: RunFacts, index: int) -> dict[str, Any]:
    found = plots.curves(run, f"curves{index}")
    return {
        "name": run.name,
        "svg": Markup(found.svg),
        "words": found.words,
        "tables": found.tables,
    }


def _left_out(facts: Facts) -> str:
    more = len(facts.runs) - MOST_CURVES
    return f"The curves of {more} more runs stand in report.json." if more > 0 else ""


def _data_words(facts: Facts) -> str:
    if facts.data is None:
        return ""
    found = facts.data
    return (
        f"{found.cases} cases, {found.labeled} with a label map ({found.layout}); "
        f"{len(found.scans)} scans were read."
    )


def _pseudo_words(facts: Facts) -> str:
    if any(run.config.get("pseudo") for run in facts.runs):
        return (
            "The runs have learned from ready masks: pass --pseudo DIR, the folder that "
            "'llmseg mine-sam' wrote, to see what was kept and dropped."
        )
    return "The runs used none."


def _texts(runs: Sequence[RunFacts]) -> Iterator[dict[str, Any]]:
    for run in runs:
        if run.text is None:
            continue
        control = run.text.get("control", "none")
        own = "a text of each image" if "cases" in run.text else "the target's own texts"
        kind = own if control == "none" else f"the control '{control}'"
        words = (
            f"Texts of {run.text.get('target', 'the target')}: {kind}, encoded by "
            f"{run.text.get('encoder', 'an unknown encoder')}, entering by '{run.text['fusion']}'."
        )
        yield {"name": run.name, "words": words, "texts": list(run.text.get("texts") or ())}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
