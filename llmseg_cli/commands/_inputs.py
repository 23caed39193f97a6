"""Which of a command's words name something that it reads, to be kept from what it writes."""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from llmseg_cli.artifacts.files import refuse_existing
from llmseg_cli.artifacts.inputs import (
    Input,
    refuse_file_over_inputs,
    refuse_folder_over_inputs,
)
from llmseg_cli.artifacts.split import SPLIT
from llmseg_cli.errors import UsageError

OUTPUTS = ("out", "output", "csv", "bundle")
LOG, LOG_FLAG = "log_file", "--log-file"
SHARED = ("cache", "folder")  # the cache, which all commands read and write beside all else
DRAWN = ("pictures",)  # may have the name of an image; the workflow keeps them from the data
SETTINGS = ("config", "recipe")  # may lie in a folder that is written
MAY_BE_PATHS = (
    *("descriptions", "from0", "encoder"),
    *("llm", "llm_model", "image_encoder", "sam"),
)
ARGUMENTS = {"descriptions": "the file of descriptions"}


def refuse_outputs_over_inputs(
    values: Mapping[str, Any],
    *,
    settings: Iterable[Path],
    writes_folder: bool,
    writes_settings: bool = False,
) -> None:
    """Refuse a command whose output is among its inputs.

    Args:
        values: All of its words, by the names of its options.
        settings: Files that some of these words stand in.
        writes_folder: Whether `-o` names a folder.
        writes_settings: Whether it names a file of settings, which may replace one that is read.

    Raises:
        UsageError: Naming both.
    """
    inputs = list(_inputs(values))
    read = [Input("the file of settings", path) for path in settings]
    if isinstance(log := values.get(LOG), Path):
        _refuse_image_name(log, LOG_FLAG)
        refuse_file_over_inputs(log, [*inputs, *read], flag=LOG_FLAG)
        _refuse_among_outputs(log, list(_outputs(values)))
    for out in _outputs(values):
        if writes_folder:
            refuse_folder_over_inputs(out, inputs, own=(SPLIT,))
        else:
            _refuse_image_name(out)
            refuse_file_over_inputs(out, inputs if writes_settings else [*inputs, *read])


def refuse_taken_outputs(values: Mapping[str, Any]) -> None:
    """Refuse a command whose output is there already.

    Args:
        values: All of its words, by the names of its options.

    Raises:
        UsageError: Naming it.
    """
    for out in _outputs(values):
        refuse_existing(out, force=False)


def _outputs(values: Mapping[str, Any]) -> Iterator[Path]:
    for name in OUTPUTS:
        out = values.get(name)
        if not isinstance(out, Path) or str(out) == "-":
            continue
        yield out
        if name == "out" and "csv" in values and values["csv"] is None:
            yield out.with_suffix(".csv")  # the table that lies beside


def _refuse_among_outputs(log: Path, outputs: Iterable[Path]) -> None:
    place = Path(os.path.realpath(log))
    for out in outputs:
        if place.is_relative_to(os.path.realpath(out)):
            raise UsageError(
                f"{LOG_FLAG} {log} is or lies in -o {out}, which the command writes. Choose a "
                f"{LOG_FLAG} beside it."
            )


def _inputs(values: Mapping[str, Any]) -> Iterator[Input]:
    for name, value in values.items():
        if name in (*OUTPUTS, *SHARED, *DRAWN, *SETTINGS, LOG):
            continue
        said = ARGUMENTS.get(name, f"--{name.replace('_', '-')}")
        for one in value if isinstance(value, list | tuple) else [value]:
            if isinstance(one, Path):
                yield Input(said, one, has_room=name == "data")
            elif isinstance(one, str) and name in MAY_BE_PATHS:
                for text in filter(None, (one, one.partition(":")[2])):  # medsam:PATH, file:PATH
                    yield Input(said, Path(text).expanduser())


def _refuse_image_name(out: Path, flag: str = "-o") -> None:
    from llmseg_cli.data.naming import suffix

    if suffix(out):
        raise UsageError(
            f"{flag} {out} is the name of an image, and a document would be written there. Name it "
            f"{'.log or .txt' if flag == LOG_FLAG else '.json, .yaml, .csv or .safetensors'}."
        )
