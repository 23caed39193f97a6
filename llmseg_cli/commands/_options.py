"""Option types that several commands share, so that a name means the same everywhere."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from llmseg_cli import console
from llmseg_cli.artifacts.shard import parse_shard
from llmseg_cli.choices import CHECKPOINT_NAMES
from llmseg_cli.commands._hints import BASIC, OneOf

DataDir = Annotated[
    Path,
    typer.Option("--data", help="Folder or list file of the data set.", metavar="FOLDER"),
    BASIC,
]
OutputDir = Annotated[
    Path, typer.Option("--out", "-o", help="Folder to write.", metavar="FOLDER"), BASIC
]
OutputFile = Annotated[Path, typer.Option("--out", "-o", help="File to write; - is stdout."), BASIC]
SplitFile = Annotated[
    Path | None,
    typer.Option("--split", help="File of 'llmseg split'; it decides the roles."),
    BASIC,
]
Labeled = Annotated[
    str | None,
    typer.Option(
        "--labeled",
        help="Labeled cases: all that have a label map and are not test (all), a fraction of those "
        "with a label map (0.2, 20%), or a count (8).",
        show_default="all",
        metavar="AMOUNT",
    ),
    BASIC,
]
Seed = Annotated[
    int, typer.Option("--seed", help="Seed of everything random.", min=0, max=2**32 - 1), BASIC
]
Force = Annotated[bool, typer.Option("--force", "-f", help="Replace what -o names."), BASIC]
DryRun = Annotated[
    bool, typer.Option("--dry-run", "-n", help="Say what would be done, and do nothing."), BASIC
]
LabelMap = Annotated[
    list[str] | None,
    typer.Option("--label-map", help="Label values to change, such as 255:1.", metavar="FROM:TO"),
    BASIC,
]
IgnoreLabel = Annotated[
    int | None,
    typer.Option(
        "--ignore-label",
        help="Value in the label maps of voxels of which nothing is known, such as 255: they are "
        "neither learned from nor scored. Default: the 'ignore' label of dataset.json, if any.",
    ),
]
GroupBy = Annotated[
    str | None,
    typer.Option(
        "--group-by",
        help="Regular expression whose first group in the case name is the patient, "
        "such as '(patient[0-9]+)'.",
        metavar="REGEX",
    ),
]
Offline = Annotated[
    bool, typer.Option("--offline", help="Never use the network.", envvar="LLMSEG_OFFLINE")
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Continue what -o holds, exactly; skip what is done."),
    BASIC,
]
ShardOption = Annotated[
    str | None,
    typer.Option(
        "--shard",
        help="Do the I-th of N shares of the cases alone, such as 2/4, on as many machines as you "
        "like; the last that is done joins all.",
        metavar="I/N",
        parser=parse_shard,
    ),
]
Merge = Annotated[
    bool,
    typer.Option(
        "--merge", help="Join what the shards of the same command have done; say what is missing."
    ),
]
KeepState = Annotated[
    bool,
    typer.Option(
        "--keep-state",
        help="Keep state.ckpt of the finished run, so that --steps MORE --resume goes on exactly.",
    ),
]
Init = Annotated[
    Path | None,
    typer.Option(
        "--init",
        help="Run folder whose weights to start from, also one of other classes or channels; for "
        "MONAI's networks also a file of their weights.",
        metavar="PATH",
    ),
    BASIC,
]
Cache = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        help="Folder of fetched weights; default: the user's cache folder.",
        metavar="FOLDER",
        envvar="LLMSEG_CACHE",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        help="Where it runs: auto, cpu, cuda or cuda:N.",
        metavar="DEVICE",
        envvar="LLMSEG_DEVICE",
    ),
    BASIC,
]
DicomSeg = Annotated[
    bool,
    typer.Option(
        "--dicom-seg",
        help="Of DICOM series, write each mask as DICOM SEG, too, in -o/dicom-seg (pip install "
        "'llmseg[dicom]').",
    ),
]
LogFile = Annotated[
    Path | None,
    typer.Option(
        "--log-file",
        metavar="FILE",
        help="Also add what is said to this file, with times and the details of --verbose.",
        rich_help_panel="General",
    ),
]
SUBSETS = ("test", "validation", "labeled", "unlabeled", "all")
DataChoice = Annotated[
    Path | None,
    typer.Option("--data", help="Folder or list file of the data set.", metavar="FOLDER"),
    BASIC,
]
Subset = Annotated[
    str | None, typer.Option(help="Cases of the split.", show_default="test"), OneOf(SUBSETS), BASIC
]
CaseTexts = Annotated[
    Path | None,
    typer.Option(
        "--text",
        help="File of 'llmseg embed' with a text of each image, for a run that was trained so.",
        metavar="FILE",
    ),
]
Checkpoint = Annotated[str, typer.Option(help="Weights of the run."), OneOf(CHECKPOINT_NAMES)]


Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Errors only.", rich_help_panel="General"), BASIC
]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="More detail.", rich_help_panel="General"), BASIC
]
Color = Annotated[
    bool,
    typer.Option("--color/--no-color", help="Colors on a terminal.", rich_help_panel="General"),
]
ProgressMode = Annotated[
    str,
    typer.Option("--progress", help="How progress is shown.", rich_help_panel="General"),
    OneOf(console.PROGRESS_MODES),
]
Json = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON document on stdout.", rich_help_panel="General"),
    BASIC,
]


def label_words(label_map: Sequence[str] | None, ignore_label: int | None) -> list[str]:
    """The words of a command line that read label maps as these options do."""
    words = [word for change in label_map or () for word in ("--label-map", change)]
    return words if ignore_label is None else [*words, "--ignore-label", str(ignore_label)]
