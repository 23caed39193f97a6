"""`llmseg cache ls` and `clean`."""

from datetime import datetime
from typing import Annotated, Any

import typer

from llmseg_cli import console
from llmseg_cli.commands._command import Answer, command
from llmseg_cli.commands._help import Command, group_of_commands
from llmseg_cli.commands._hints import BASIC, OneOf
from llmseg_cli.commands._options import Cache, DryRun
from llmseg_cli.options import parse_size

NAMES = ("cases", "sam", "converted", "weights", "hub")

cache = group_of_commands(
    "Prepared cases, image embeddings and converted models: list them, or free their space."
)


@cache.command("ls", cls=Command)
@command(example="llmseg cache ls")
def list_cache(folder: Annotated[Cache, BASIC] = None) -> Answer:
    """List what the cache folder holds, with sizes and when it was last used."""
    from llmseg_cli.artifacts.cache_folder import default_cache
    from llmseg_cli.workflows.cache import KINDS, entries, summary

    found = summary(entries(folder))
    lines = [str(folder or default_cache())]
    for kind, meaning in KINDS.items():
        own = found[kind]
        line = f"{kind:<11}{_size(own['bytes']):>9} {own['entries']:>6} entries"
        if own["entries"]:
            line += f", used {_day(own['first_used'])} to {_day(own['last_used'])}"
        lines.append(f"{line}: {meaning}")
    return Answer(lines, {"folder": lines[0], "kinds": found})


@cache.command("clean", cls=Command)
@command(example="llmseg cache clean cases --older-than 30")
def clean_cache(
    kinds: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KIND",
            help="What to remove.",
            show_default="the first three",
        ),
        OneOf(NAMES),
    ] = None,
    older_than: Annotated[
        float | None,
        typer.Option("--older-than", min=0, help="Remove what was not used for so many days."),
        BASIC,
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            help="Remove what was unused for longest, until this size is left, such as 2GB.",
            metavar="SIZE",
        ),
        BASIC,
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Remove all of these kinds."), BASIC
    ] = False,
    folder: Annotated[Cache, BASIC] = None,
    dry_run: DryRun = False,
) -> dict[str, Any]:
    """Free space; what is removed is made again, or weights fetched again, when it is needed."""
    from llmseg_cli.workflows.cache import clean

    size = None if to is None else parse_size(to)
    found = clean(
        kinds or (),
        cache=folder,
        older_than=older_than,
        to=size,
        everything=everything,
        dry_run=dry_run,
    )
    freed, left = (sum(entry.size for entry in part) for part in (found.removed, found.left))
    verb = "would be removed" if dry_run else "removed"
    console.info(
        f"{found.folder}: {len(found.removed)} entries {verb}, {_size(freed)}; {_size(left)} left."
    )
    return found.to_dict()


def _size(count: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1000:.0f} kB"


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d")
