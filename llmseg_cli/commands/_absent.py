"""Files and folders that a command is given and that are not there: refused before it starts."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from llmseg_cli.artifacts.absent import did_you_mean, is_absent, nearest
from llmseg_cli.commands._inputs import DRAWN, OUTPUTS, SHARED
from llmseg_cli.errors import DataError, UsageError, unknown

FILE, FOLDER, EITHER = "file", "folder", "file or folder"
KINDS = {  # argument: what it names, and what to do where no other name is near
    "run": (FOLDER, "'llmseg train-semi' makes one."),
    "runs": (EITHER, "'llmseg train-semi' makes a run."),
    "init": (EITHER, "Name the folder of a finished run."),
    "pseudo": (FOLDER, "'llmseg mine-sam' makes one."),
    "split": (FILE, "'llmseg split' writes it."),
    "into": (FILE, "'llmseg split' writes it."),
    "text": (FILE, "'llmseg embed' writes it."),
    "descriptions": (FILE, "'llmseg describe' writes it."),
    "config": (FILE, "Check the path."),
    "from0": (FILE, "Make it with 'find DIR ... -print0'."),
    "scores": (FILE, "'llmseg score' writes it."),
    "pred": (EITHER, "'llmseg predict' writes masks."),
    "compare": (EITHER, "'llmseg predict' writes masks."),
    "masks": (FOLDER, "'llmseg predict' writes masks."),
}
OF_DATA = (
    "data",
    "images",
    "pred",
    "ref",
    "compare",
    "pseudo",
    "masks",
)  # exit 3; others are words, exit 2
WORDS = ("descriptions", "from0")  # arguments whose text is a path, or - for stdin
OWN_WORDS = "file:"  # before the path of `--llm`


def refuse_absent(values: Mapping[str, Any]) -> None:
    """Refuse a command that is given a file or folder that is not there.

    Args:
        values: All of its words, by the names of its options.

    Raises:
        LlmsegError: Naming option and path, and the nearest name in the same folder.
    """
    for name, path in _paths(values):
        if not is_absent(path):
            continue
        kind, remedy = KINDS.get(name, (EITHER, "Check the path."))
        said = "" if name == "descriptions" else f"--{name.replace('_', '-')} "
        hint = did_you_mean(path) or f" {remedy}"
        error = DataError if name in OF_DATA else UsageError
        raise error(f"{said}{path}: there is no such {kind}.{hint}")


def unknown_recipe(word: str, known: Sequence[str]) -> UsageError:
    """An error that corrects a recipe's name, or the path of a file of options."""
    path = Path(word)
    if (path.suffix or path.parent.name) and nearest(path) is not None:
        return UsageError(f"--recipe {word}: there is no such file.{did_you_mean(path)}")
    return UsageError(f"{unknown('recipe', word, known)} A file of options serves, too.")


def _paths(values: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    for name, value in values.items():
        if name in (*OUTPUTS, *SHARED, *DRAWN):
            continue
        if name in WORDS and isinstance(value, str) and value != "-":
            yield name, Path(value)
        elif name == "llm" and isinstance(value, str) and value.startswith(OWN_WORDS):
            yield name, Path(value.removeprefix(OWN_WORDS)).expanduser()
        for one in value if isinstance(value, list | tuple) else [value]:
            if isinstance(one, Path):
                yield name, one
