"""Which images `llmseg predict` is given, in its own words."""

import os
from pathlib import Path

from llmseg_cli.errors import UsageError
from llmseg_cli.reading import file_fault, read_stdin


def refuse_beside_folds(
    runs: list[Path],
    data: Path | None,
    split: Path | None,
    subset: str | None,
    images: list[Path],
) -> None:
    """Refuse words that `--cross-validation` leaves no room for; raises `UsageError`."""
    if len(runs) > 1:
        raise UsageError(
            f"--cross-validation takes one --run, a set of folds, and there are {len(runs)}."
        )
    if data is None or split is not None or subset is not None or images:
        raise UsageError(
            "--cross-validation predicts the validation cases that the runs of the folds have in "
            "their own splits. Pass --data DIR, and neither --split, --subset nor images."
        )


def images_of(source: str | None) -> list[Path]:
    """The images that `--from0` names; raises `UsageError` if it names none."""
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
