"""`llmseg weights list`, `fetch`, `verify` and `path`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmseg_cli import console
from llmseg_cli.commands._command import Answer, command
from llmseg_cli.commands._help import Command, group_of_commands
from llmseg_cli.commands._hints import BASIC, OneOf
from llmseg_cli.commands._options import Cache, Offline

if TYPE_CHECKING:
    from llmseg_cli.workflows.weights import WeightsState

SHOWN_FILES = 3
weights = group_of_commands("Pre-trained weights: list, fetch, verify, and say where they are.")


def _names() -> list[str]:
    from llmseg_cli.knowledge.weights.embedded import WEIGHTS

    return list(WEIGHTS)


Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="NAME",
        help="hf:OWNER/NAME[@REVISION], or what llmseg knows.",
        show_default="all that it knows",
    ),
    OneOf(_names),
]


@weights.command("list", cls=Command)
@command(example="llmseg weights list")
def list_weights(cache: Annotated[Cache, BASIC] = None) -> Answer:
    """List the embedded weights with licence, size, origin and digest."""
    from llmseg_cli.workflows.weights import states

    found = states(cache=cache)
    lines = [line for state in found for line in _lines(state)]
    return Answer(lines, {"weights": [vars(state) for state in found]})


def _lines(state: "WeightsState") -> list[str]:
    here = "fetched" if state.fetched else "absent"
    first = f"{state.name:<12}{here:<9}{state.size / 1e6:>5.0f} MB  {state.licence}, {state.use}"
    shown = list(state.sha256.items())
    if len(shown) > SHOWN_FILES:
        shown = [(name, digest) for name, digest in shown if name.endswith(".safetensors")]
    files = [f"{digest}  {name}" for name, digest in shown]
    others = len(state.sha256) - len(shown)
    more = [f"and {others} small files (--json lists them)"] * bool(others)
    details = [f"{state.origin} in {state.requirement}", *files, *more]
    return [first, *(f"{'':<12}{line}" for line in details)]


@weights.command("fetch", cls=Command)
@command(example="llmseg weights fetch lite-medsam")
def fetch_weights(
    names: Names = None,
    cache: Annotated[Cache, BASIC] = None,
    offline: Annotated[Offline, BASIC] = False,
) -> dict[str, Any]:
    """Fetch weights that are not there yet; afterwards nothing needs the network."""
    from llmseg_cli.workflows.weights import run

    with console.progress("byte") as progress:
        found = run(names or (), cache=cache, offline=offline, progress=progress)
    for name, path in found.items():
        console.info(f"{name}: {path}")
    return {"weights": {name: str(path) for name, path in found.items()}}


@weights.command("verify", cls=Command)
@command(example="llmseg weights verify")
def verify_weights(names: Names = None, cache: Annotated[Cache, BASIC] = None) -> dict[str, Any]:
    """Recompute the digests of fetched weights; exit 7 if one differs."""
    from llmseg_cli.workflows.weights import check

    found = check(names or (), cache=cache)
    for name, files in found.items():
        console.info(f"{name}: {len(files)} file(s) as they should be")
    return {"weights": found}


@weights.command("path", cls=Command)
@command(example="llmseg weights path minilm")
def path_of_weights(
    name: Annotated[
        str, typer.Argument(help="A name, as for fetch.", metavar="NAME"), OneOf(_names)
    ],
    cache: Annotated[Cache, BASIC] = None,
) -> Answer:
    """Print where fetched weights are."""
    from llmseg_cli.workflows.weights import locate

    path = locate(name, cache=cache)
    return Answer([str(path)], {"name": name, "path": str(path)})
