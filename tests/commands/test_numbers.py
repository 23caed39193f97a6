"""No command begins with a number that is not finite, or beyond all use."""

from typing import Any

import pytest
import typer
from training_cli import invoke

from llmseg_cli.cli import app
from llmseg_cli.options import MOST

COMMANDS = {  # with the words that they cannot do without
    "train-sup": ("--data", "d", "--labeled", "2"),
    "train-semi": ("--data", "d", "--labeled", "2"),
    "mine-sam": ("--run", "r", "--data", "d", "--split", "s", "-o", "out"),
    "predict": ("--run", "r", "--images", "i", "-o", "out"),
    "calibrate": ("--run", "r", "--data", "d"),
    "score": ("--pred", "p", "--ref", "r"),
    "suggest": ("--data", "d", "--split", "s", "-o", "out"),
    "describe": ("--target", "atrium", "-o", "out.yaml", "--llm", "openai:m"),
    "check": ("--data", "d"),
    "explain": ("--run", "r", "--images", "i", "-o", "out"),
    "report": ("--run", "r", "--data", "d", "-o", "out.html"),
}
BY_TYPER = "Input should be "  # of what has a range of its own
PROGRAM: Any = typer.main.get_command(app)


def numeric(command: str, kind: type) -> list[str]:
    """The options of a command that take a number of a kind."""
    found = PROGRAM.commands[command].params
    kinds = {one.opts[0]: one.type_descriptor.annotation for one in found}
    return [option for option, one in kinds.items() if one in (kind, kind | None)]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_number_is_bounded(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = [
        *((option, value) for option in numeric(command, float) for value in ("inf", "nan")),
        *((option, "9" * 24) for option in numeric(command, int)),
    ]
    assert asked
    for option, value in asked:
        result = invoke(command, *COMMANDS[command], option, value)
        assert result.exit_code == 2, (option, value, result.output)
        assert option in result.stderr, (option, value, result.output)
        assert "expected a finite number" in result.stderr or BY_TYPER in result.stderr
    assert not list(tmp_path.iterdir())


def test_an_option_says_its_own_bound():
    assert "at most 1,000,000,000" in invoke("train-sup", "--steps", MOST + 1, "--data", "d").stderr
    words = ("--pred", "p", "--ref", "r", "--bootstrap", "1000001")
    assert "less than or equal to 1000000" in invoke("score", *words).stderr
