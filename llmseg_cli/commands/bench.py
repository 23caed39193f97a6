"""`llmseg bench`."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmseg_cli import console
from llmseg_cli.artifacts.cache_folder import default_cache
from llmseg_cli.commands._command import command
from llmseg_cli.commands._hints import BASIC, OneOf
from llmseg_cli.commands._options import Force
from llmseg_cli.config import OF_THE_COURSE, TrainSettings
from llmseg_cli.errors import GateError, unknown
from llmseg_cli.registry import METHODS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmseg_cli.workflows.bench.run import Outcome

PATCH = (64, 64, 48)  # where none is given: the made scans have no proportions of their own
NAMES = (
    *("startup", "training-step", "convolution-floor", "torch-compile", "data-path"),
    *("patch-reading", "preprocessing", "sliding-window", "distances", "mining"),
    *("forward", "network-steps", "head-losses", "diffusion-step", "diffusion-sample"),
)


@command(TrainSettings, example="llmseg bench training-step --rounds 5", without=OF_THE_COURSE)
def bench(
    *,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="What to measure.", show_default="all"),
        OneOf(NAMES),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", help="Data set with label maps; default: made noise.", metavar="FOLDER"
        ),
        BASIC,
    ] = None,
    method: Annotated[
        str, typer.Option(help="Way of learning."), OneOf(METHODS.names), BASIC
    ] = "usl",
    method_option: Annotated[
        list[str] | None,
        typer.Option(
            "--method-option", help="Option of the method; repeat for more.", metavar="KEY=VALUE"
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(help="Times that each way is measured.", min=1), BASIC] = 3,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="JSON file to write, besides the table."),
        BASIC,
    ] = None,
    force: Force = False,
    train_settings: TrainSettings,
) -> dict[str, Any]:
    """Measure ways to do the same work, in turns: medians and ratios on this machine.

    Network, patch, batch, precision and the like are those of training; --patch auto is 64,64,48.
    Exit 8 if two ways that should agree do not.
    """
    for name in names or ():
        if name not in NAMES:
            raise unknown("benchmark", name, NAMES)
    from llmseg_cli.artifacts.files import refuse_existing, write_json
    from llmseg_cli.numerics.memory import keep_freed_memory
    from llmseg_cli.workflows.bench.contests import CONTESTS
    from llmseg_cli.workflows.bench.run import Wish, report, run
    from llmseg_cli.workflows.case_folder import refuse_over_data

    if out is not None:
        refuse_existing(out, force=force)
        refuse_over_data(out, data)
    keep_freed_memory()  # as training, predict and mine-sam; all ways have it here, others' too
    cache = train_settings.cache or default_cache()
    settings = replace(train_settings, patch=train_settings.patch or PATCH)
    wish = Wish(settings, method, tuple(method_option or ()), data, cache, Path())
    with console.progress("turn") as progress:
        outcomes = run(
            CONTESTS, names or (), wish, rounds=rounds, on_outcome=_tell, progress=progress
        )
    document = report(outcomes, wish, rounds)
    _show(outcomes)
    if out is not None:
        write_json(out, document)
        console.info(f"Wrote {out}.")
    if wrong := [outcome for outcome in outcomes if outcome.status == "different"]:
        error = GateError("; ".join(f"{found.name}: {found.reason}" for found in wrong) + ".")
        error.report = document
        raise error
    return document


def _tell(outcome: "Outcome") -> None:
    if outcome.status == "skipped":
        console.warn(f"{outcome.name} skipped: {outcome.reason}")


def _show(outcomes: "Sequence[Outcome]") -> None:
    """A table of all comparisons, and one for each outcome that has aims."""
    rows = [row for outcome in outcomes if not outcome.aims for row in _rows(outcome)]
    if rows:
        console.table("", ("benchmark", "work", "way", "median s", "times the first"), rows)
    for outcome in outcomes:
        if outcome.aims:
            columns = (f"{outcome.name}: {outcome.work}", "median s", "worst s", "aim s", "")
            console.table("", columns, [_beside_aim(outcome, way) for way in outcome.medians])
            console.info(
                f"{sum(outcome.met.values())} of {len(outcome.met)} medians are within their aims, "
                "which are for an idle machine."
            )


def _beside_aim(outcome: "Outcome", way: str) -> tuple[str, ...]:
    seconds = f"{outcome.medians[way]:.3g}", f"{outcome.worst[way]:.3g}"
    if way not in outcome.aims:
        return (way, *seconds, "", "")
    return (way, *seconds, f"{outcome.aims[way]:.3g}", "met" if outcome.met[way] else "missed")


def _rows(outcome: "Outcome") -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for number, (way, median) in enumerate(outcome.medians.items()):
        head = ("", "") if number else (outcome.name, outcome.work)
        ratio = f"{outcome.ratios[way]:.2f}" if number else ""
        rows.append((*head, way, f"{median:.3g}", ratio))
    return rows
