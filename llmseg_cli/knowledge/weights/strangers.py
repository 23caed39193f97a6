"""Files that others made: whatever a library raises on them becomes one sentence."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llmseg_cli.errors import LlmsegError, WeightsError, is_out_of_memory


@contextmanager
def refused(sentence: str, *, remedy: str = "") -> Iterator[None]:
    """Turn an exception of a library that reads a stranger's file into a `WeightsError`.

    torch, transformers, tokenizers and safetensors raise some twenty kinds on damaged or foreign
    files, and none of them tells a user more than its text. What means something else passes: our
    own errors, and want of memory.

    Args:
        sentence: What was tried, such as `X does not load as a text encoder`.
        remedy: What to do about it, a sentence.
    """
    try:
        yield
    except LlmsegError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        advice = f" {remedy}" if remedy else ""
        raise WeightsError(f"{sentence}: {first_line(error)}.{advice}") from error


def first_line(error: Exception) -> str:
    """The first line of what an exception says, or its kind if it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".:")


def read_mapping(path: Path) -> dict[str, Any]:
    """The JSON object in a file of a model's folder; empty if there is no such file.

    Raises:
        WeightsError: If it is not readable, not JSON or no object.
    """
    found = read_json(path)
    if not isinstance(found, dict):
        raise WeightsError(f"{path} holds no JSON object. Fetch the model again.")
    return found


def read_json(path: Path) -> Any:
    """The content of a JSON file of a model's folder; an empty object if there is no such file.

    Raises:
        WeightsError: If it is not readable or not JSON.
    """
    if not path.is_file():
        return {}
    with refused(f"{path} is not JSON", remedy="Fetch the model again."):
        return json.loads(path.read_text(encoding="utf-8"))
