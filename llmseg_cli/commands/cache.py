"""`llmseg cache build`, `ls` and `clean`."""

from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from llmseg_cli import console
from llmseg_cli.artifacts.text import counted
from llmseg_cli.commands._command import Answer, command
from llmseg_cli.commands._help import Command, group_of_commands
from llmseg_cli.commands._hints import BASIC, OneOf
from llmseg_cli.commands._options import (
    Cache,
    DataDir,
    DryRun,
    IgnoreLabel,
    LabelMap,
    ShardOption,
)
from llmseg_cli.config import TrainSettings
from llmseg_cli.options import label_pairs, parse_label_map, parse_size

NAMES = ("cases", "sam", "converted", "weights", "hub")
OF_PREPARING = (
    "patch",
    "spacing",
    "normalize",
    "image_encoder",
    "device",
    "cache",
)  # by which it differs
SHOWN = 5  # cases

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


@cache.command("build", cls=Command)
@command(
    TrainSettings,
    without=[one.name for one in fields(TrainSettings) if one.name not in OF_PREPARING],
    example="llmseg cache build --data scans --split split.json --shard 1/4",
)
def build_cache(
    *,
    data: DataDir,
    split: Annotated[
        Path, typer.Option("--split", help="File of 'llmseg split'; its test cases are left alone.")
    ],
    label_map: LabelMap = None,
    ignore_label: IgnoreLabel = None,
    shard: ShardOption = None,
    merge: Annotated[
        bool, typer.Option("--merge", help="Prepare nothing; say which cases are missing.")
    ] = False,
    train_settings: TrainSettings,
) -> dict[str, Any]:
    """Prepare the cases of a split before a training, which then finds them in the cache."""
    from llmseg_cli.artifacts.cache_folder import default_cache
    from llmseg_cli.artifacts.split import Split
    from llmseg_cli.workflows.train.ahead import build
    from llmseg_cli.workflows.train.request import Request

    roles = Split.load(split)
    request = Request(
        command="cache",
        data=data,
        split=roles,
        output=Path(),
        settings=train_settings,
        method="supervised",
        cache=train_settings.cache or default_cache(),
        label_map=label_pairs(roles.label_changes(parse_label_map(label_map or ()))),
        ignore_label=roles.ignored(ignore_label),
    )
    one: Any = shard  # typer's parser has made it one
    with console.progress("case") as progress:
        found = build(request, shard=one, merge=merge, progress=progress)
    if not merge:
        spacing = ",".join(f"{side:g}" for side in found.spacing)
        console.info(
            f"{found.cache}: {counted(len(found.done), 'case')} prepared, {len(found.made)} of "
            f"them now; spacing {spacing}, {found.normalize}."
        )
    if found.missing:
        shown = ", ".join(found.missing[:SHOWN]) + ", ..." * (len(found.missing) > SHOWN)
        console.info(
            f"{len(found.missing)} of {counted(len(found.cases), 'case')} are left to other "
            f"shards: {shown}. 'llmseg cache build --merge' says when all are there."
        )
    else:
        console.info(f"All {counted(len(found.cases), 'case')} of the split are prepared.")
    return found.to_dict()


def _size(count: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1000:.0f} kB"


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d")
