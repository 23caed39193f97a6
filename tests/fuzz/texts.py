"""Damage to text files: JSON, YAML, lists; as a tree where they hold one, and as text."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from fuzz import trees
from fuzz.bytewise import damage
from fuzz.choices import Choices

DEPTH = 20_000
ALIASES = "{a0: &a0 [x, x, x, x, x, x, x, x, x]" + "".join(
    f", a{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * 9) + "]" for n in range(1, 9)
) + "}"  # fmt: skip
TAG = "!!python/object/apply:os.system ['echo hacked > ../victim.txt']"
JSON_TEXT = {
    trees.DEEP: "[" * DEPTH + "]" * DEPTH,
    trees.HUGE: "9" * 5000,
    trees.DATE: "2024-01-31",
    trees.TAGGED: '{"__reduce__": ["os.system", "echo hacked > ../victim.txt"]}',
    trees.SIXTY: "123:12",
    trees.INFINITE: "1e999",
    trees.LONG: json.dumps("long " * 20_000),
    trees.MERGE: '{"a": 1, "a": 2}',
}
YAML_TEXT = JSON_TEXT | {
    trees.TAGGED: TAG,
    trees.INFINITE: ".inf",
    trees.LONG: ALIASES,
    trees.MERGE: "{<<: [1, 2]}",
}


def write_json(content: Any) -> str:
    """JSON, with what JSON does not have, such as NaN, too; keys become text as JSON wants it."""
    return _marked(json.dumps(content, indent=1, default=str), JSON_TEXT)


def write_yaml(content: Any) -> str:
    """YAML of plain values."""
    return _marked(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), YAML_TEXT)


def _marked(text: str, raw: dict[str, str]) -> str:
    for mark, instead in raw.items():
        text = text.replace(f'"{mark}"', instead).replace(mark, instead)
    return text


def _utf16(choices: Choices, text: str) -> tuple[bytes, str]:
    return text.encode("utf-16", "surrogatepass"), "in UTF-16"


def _latin(choices: Choices, text: str) -> tuple[bytes, str]:
    place = choices.place(len(text))
    return (text[:place] + "\xe4\xff" + text[place:]).encode("latin-1", "replace"), "in Latin-1"


def _marked_as_utf8(choices: Choices, text: str) -> tuple[bytes, str]:
    return b"\xef\xbb\xbf" + text.encode("utf-8", "surrogatepass"), "with a byte order mark"


def _inserted(choices: Choices, text: str) -> tuple[bytes, str]:
    piece = choices.pick(
        ("\0", "\t", "\x1b[31m", "\r", "\x85", "\u2028", "'", '"', "{", "]", ": ", "&a ", "*a", "%",
         "\n---\n", "!!binary ", "- ", "#", "\\u0000", "\\ud800", ",", "\ufffe")
    )  # fmt: skip
    place = choices.place(len(text))
    return (text[:place] + piece + text[place:]).encode("utf-8", "surrogatepass"), (
        f"{piece!r} inserted at {place}"
    )


def _lines(choices: Choices, text: str) -> tuple[bytes, str]:
    lines = text.splitlines(keepends=True) or [""]
    place, other = choices.place(len(lines)), choices.place(len(lines))
    changed, done = choices.pick(
        (
            (lines[:place] + lines[place + 1 :], f"line {place + 1} removed"),
            ([*lines[:place], lines[place], *lines[place:]], f"line {place + 1} twice"),
            ([*lines, *lines], "everything twice"),
            ([*lines[:place], lines[other], *lines[place + 1 :]], f"line {other} at {place}"),
            ([*lines[:place], "  " + lines[place], *lines[place + 1 :]], f"line {place + 1} in"),
        )
    )
    return "".join(changed).encode("utf-8", "surrogatepass"), done


def _bytes(choices: Choices, text: str) -> tuple[bytes, str]:
    return damage(choices, text.encode("utf-8", "surrogatepass"))


WAYS: tuple[Callable[[Choices, str], tuple[bytes, str]], ...] = (
    _inserted, _lines, _bytes, _utf16, _latin, _marked_as_utf8,
)  # fmt: skip


def damage_text_file(choices: Choices, path: Path) -> str:
    """Damage a text file as text; returns what was done, in words."""
    text = path.read_bytes().decode("utf-8", "replace")
    content, done = choices.pick(WAYS)(choices, text)
    path.write_bytes(content)
    return f"{path.name}: {done}"


def damage_document(choices: Choices, path: Path) -> str:
    """Damage a JSON or YAML file, in three of four cases as a tree, else as text."""
    if choices.chance(4):
        return damage_text_file(choices, path)
    is_json = path.suffix == ".json"
    text = path.read_text(encoding="utf-8")
    content = json.loads(text) if is_json else yaml.safe_load(text)
    changed, done = trees.damage_tree(choices, content)
    written = write_json(changed) if is_json else write_yaml(changed)
    path.write_bytes(written.encode("utf-8", "surrogatepass"))
    return f"{path.name}: {done}"


def damage_lines(choices: Choices, path: Path) -> str:
    """Damage a file of one JSON document a line."""
    if choices.chance(4):
        return damage_text_file(choices, path)
    lines = path.read_text(encoding="utf-8").splitlines()
    place = choices.place(len(lines))
    changed, done = trees.damage_tree(choices, json.loads(lines[place]))
    lines[place] = write_json(changed).replace("\n", "")
    path.write_bytes(("\n".join(lines) + "\n").encode("utf-8", "surrogatepass"))
    return f"{path.name}, line {place + 1}: {done}"


def damage_lines_or_document(choices: Choices, path: Path) -> str:
    """As the name of the file says."""
    way = damage_lines if path.suffix == ".jsonl" else damage_document
    return way(choices, path)


def damage_cells(choices: Choices, path: Path) -> str:
    """Change a cell, a column's name, or how many cells a row of a CSV file has."""
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream))
    row = choices.place(len(rows))
    cell = choices.place(len(rows[row]))
    way = choices.pick(
        ("value", "value", "value", "name", "fewer", "more", "other comma", "swapped")
    )
    if way == "value":
        absolute = str(path.resolve().parents[4] / "victim.nii.gz")
        rows[row][cell] = choices.pick((*trees.TEXTS, absolute, ";", "a;b", "scans/0.nii.gz;" * 3))
    elif way == "name":
        names = (
            "image",
            "label",
            "id",
            "Image",
            "images",
            "image_0",
            "image_x",
            "",
            "group",
            "lable",
        )
        rows[0][cell % len(rows[0])] = choices.pick(names)
    elif way == "fewer":
        del rows[row][cell:]
    elif way == "more":
        rows[row] += ["more", "../more"]
    elif way == "swapped":
        rows[row].reverse()
    written = io.StringIO(newline="")
    csv.writer(written, delimiter=";" if way == "other comma" else ",").writerows(rows)
    path.write_bytes(written.getvalue().encode("utf-8", "surrogatepass"))
    return f"{path.name}, row {row}, cell {cell}: {way}, {rows[row][:4]}"
