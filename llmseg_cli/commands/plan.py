"""`llmseg plan`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmseg_cli import console
from llmseg_cli.artifacts.cache_folder import default_cache
from llmseg_cli.artifacts.files import refuse_existing, write_text
from llmseg_cli.artifacts.split import Split
from llmseg_cli.commands._command import command
from llmseg_cli.commands._hints import BASIC
from llmseg_cli.commands._options import (
    Cache,
    DataDir,
    Device,
    Force,
    IgnoreLabel,
    LabelMap,
    OutputFile,
)
from llmseg_cli.config_file import PROJECT_FILE
from llmseg_cli.options import parse_duration

if TYPE_CHECKING:
    from llmseg_cli.workflows.plan.run import Planned

STDOUT = Path("-")
PlanSplit = Annotated[
    Path | None,
    typer.Option(
        "--split",
        help="File of 'llmseg split', so that no label map is opened but those of its labeled "
        "cases. Default: all label maps count.",
    ),
    BASIC,
]
Budget = Annotated[
    str,
    typer.Option(
        help="Time that one training may take, such as 90s, 30m or 1h30m.", metavar="TIME"
    ),
    BASIC,
]


@command(
    example="llmseg plan --data scans --budget 30m", places={"data": "DIR"}, writes_settings=True
)
def plan(
    data: DataDir,
    budget: Budget = "30m",
    split: PlanSplit = None,
    label_map: LabelMap = None,
    ignore_label: IgnoreLabel = None,
    output: OutputFile = Path(PROJECT_FILE),
    device: Device = "auto",
    cache: Cache = None,
    force: Force = False,
) -> dict[str, Any] | None:
    """Choose all settings of a training from the scans and the machine, each with its reason."""
    seconds = parse_duration(budget)
    if output != STDOUT:
        refuse_existing(output, force=force)
    found_split = Split.load(split) if split is not None else None
    from llmseg_cli.workflows.plan.run import Wish, run

    wish = Wish(
        data,
        seconds,
        tuple(label_map or ()),
        ignore_label,
        found_split,
        device,
        cache or default_cache(),
    )
    with console.progress("case") as progress:
        planned = run(wish, progress=progress)
    if output == STDOUT:
        console.data(planned.text)
        return None
    write_text(output, planned.text)
    _warn_of_little_time(planned, seconds)
    _tell(planned, output, split)
    return planned.to_dict()


def _warn_of_little_time(planned: "Planned", budget_s: float) -> None:
    from llmseg_cli.planning.steps import FEWEST, in_words, is_too_short

    for name, pace in planned.paces.items():
        if is_too_short(budget_s, pace.step_s):
            needed = in_words(FEWEST * pace.step_s)
            console.warn(
                f"{in_words(budget_s)} is too short for {name}: {FEWEST} steps, the fewest that "
                f"teach anything, take {needed}. Pass a larger --budget."
            )


def _tell(planned: "Planned", output: Path, split: Path | None) -> None:
    choices = {**planned.recommended.choices}
    steps = ", ".join(f"{choice.value} of {name}" for name, choice in planned.steps.items())
    rows = [
        *((name, _shown(choice.value), choice.reason) for name, choice in choices.items()),
        ("steps", steps, next(iter(planned.steps.values())).reason),
    ]
    for name, value, reason in rows:
        console.info(f"{name} {value}: {reason}.")
    given = [] if output == Path(PROJECT_FILE) else ["--config", output]
    roles = ["--split", split] if split is not None else []
    console.info(f"Wrote {output}, with the reasons.")
    console.next_step("train-sup", *given, *roles, "-o", "runs/supervised")


def _shown(value: object) -> str:
    from llmseg_cli.planning.recommended import as_yaml

    return as_yaml(value)
