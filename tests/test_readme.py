"""The README names commands, options and exit codes that exist."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main

from llmseg_cli.cli import app
from llmseg_cli.commands._command import recipe_names
from llmseg_cli.errors import EXIT_CODE_MEANING
from llmseg_cli.registry import METHODS, MODELS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROGRAM: Any = typer.main.get_command(app)


def command_lines() -> list[str]:
    lines = [line.split(" # ")[0].strip() for line in README.splitlines()]
    return [line for line in lines if re.match(r"llmseg [a-z-]+ ", line)]


def flags_of(words: list[str]) -> tuple[str, set[str]]:
    command = PROGRAM.commands[words[1]]
    if hasattr(command, "commands"):
        command = command.commands[words[2]]
    known = {flag for parameter in command.params for flag in parameter.opts}
    known |= {flag for parameter in command.params for flag in parameter.secondary_opts}
    return words[1], {word for word in words if re.match(r"--?[a-z]", word)} - known


def test_there_are_command_lines() -> None:
    assert len(command_lines()) >= 9


@pytest.mark.parametrize("line", command_lines())
def test_a_command_line_uses_options_that_exist(line: str) -> None:
    name, unknown = flags_of(shlex.split(line))
    assert not unknown, f"{name} has no {unknown}"


def test_every_command_is_named() -> None:
    shown = {"demo-data", "doctor", "completion"}  # set-up and help; `llmseg --help` lists them
    missing = [
        name
        for name in PROGRAM.commands
        if name not in shown and f"`{name}" not in README and f"llmseg {name}" not in README
    ]
    assert not missing


def test_every_method_model_recipe_and_exit_code_is_named() -> None:
    for name in [*METHODS, *MODELS]:
        assert f"`{name}`" in README
    for name in recipe_names():
        assert re.search(rf"\b{re.escape(name)}\b", README)
    for code, meaning in EXIT_CODE_MEANING.items():
        assert re.search(
            rf"\| {int(code)} \| {re.escape(meaning.split(' (')[0].split(';')[0])}", README
        ), code
