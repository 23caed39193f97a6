"""What `llmseg predict` is given to predict, and how windows stand."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from llmseg_cli.errors import UsageError
from llmseg_cli.reading import file_fault, read_stdin

Centres = Annotated[
    float | None,
    typer.Option(
        "--centres",
        help="Write the centres of objects such as nuclei, too, one within this distance in mm "
        "(pixels of pictures): tables in -o/centres of places, classes and how probable they are.",
        metavar="RADIUS",
    ),
]


def parse_stride(value: Any) -> tuple[int, ...]:
    """Turn `18,18,4` (or a YAML list) into whole numbers; the patch says how many there must be."""
    parts = value if isinstance(value, list | tuple) else str(value).split(",")
    try:
        return tuple(int(part) for part in parts)
    except ValueError:
        raise UsageError(f"stride '{value}': expected whole numbers, such as 18,18,4.") from None


def refuse_beside_folds(
    runs: list[Path],
    data: Path | None,
    split: Path | None,
    subset: str | None,
    images: list[Path],
    *,
    sharded: bool = False,
) -> None:
    """Refuse words that say which cases, for the folds say so.

    Raises:
        UsageError: Naming them.
    """
    if sharded:
        raise UsageError(
            "--shard, --merge and --engine ray share the cases of one output, and "
            "--cross-validation has one a fold. Predict each fold by itself: --run FOLD --split "
            "FOLD/split.json --subset validation."
        )
    if len(runs) > 1:
        raise UsageError(
            f"--cross-validation takes one --run, a set of folds, and there are {len(runs)}."
        )
    if data is None or split is not None or subset is not None or images:
        raise UsageError(
            "--cross-validation predicts the validation cases that the runs of the folds have in "
            "their own splits. Pass --data DIR, and neither --split, --subset nor images."
        )


def images_from0(source: str | None) -> list[Path]:
    """The images that a file, or stdin, names.

    Raises:
        UsageError: If it cannot be read, or names none.
    """
    if source is None:
        return []
    if source != "-" and (fault := file_fault(Path(source))):
        raise UsageError(f"Cannot read --from0 {source}: {fault}.")
    try:
        content = read_stdin() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise UsageError(f"Cannot read --from0 {source}: {error.strerror}.") from error
    names = [os.fsdecode(name) for name in content.split(b"\0") if name.strip()]
    if not names:
        raise UsageError(f"--from0 {source} names no image. Make it with 'find DIR ... -print0'.")
    return [Path(name) for name in names]
