"""What was typed, as run.json holds it: ready for a shell, without what is secret."""

import shlex

import pytest

from llmseg_cli.artifacts import command_line
from llmseg_cli.artifacts.command_line import is_typed, note, restored


@pytest.fixture(autouse=True)
def nothing_before():
    yield
    note([])


def kept(*words: str) -> list[str]:
    note(words)
    line = command_line.command_line()
    assert line is not None
    return shlex.split(line)


def test_words_are_kept_and_quoted():
    words = ["train-sup", "--data", "my scans", "-o", "it's", "--model-option", "token=8"]
    assert kept(*words) == ["llmseg", *words]


def test_outside_of_llmseg_there_is_none():
    note([])
    assert command_line.command_line() is None


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (("--api-key", "mine", "-o", "x"), ("--api-key", "***", "-o", "x")),
        (("--api-key=mine",), ("--api-key=***",)),
        (("--base-url", "http://me:pass@host/v1"), ("--base-url", "http://***@host/v1")),
        (("--base-url", "http://h/v1?api_key=a&b=c"), ("--base-url", "http://h/v1?api_key=***&b=c")),
        (("--llm", "openai:sk-0123456789abcdef"), ("--llm", "openai:***")),
    ],
)  # fmt: skip
def test_secrets_are_not(words, shown):
    assert kept("describe", *words) == ["llmseg", "describe", *shown]


def test_keys_of_the_environment_are_not_kept_wherever_they_stand(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "opensesame")
    monkeypatch.setenv("HF_TOKEN", "tiny")  # too short to be one; 'tiny' is a word
    assert kept("describe", "--llm", "x:opensesame", "tiny") == [
        *("llmseg", "describe", "--llm", "x:***", "tiny")
    ]


def test_whether_an_option_was_typed():
    note(["train-sup", "--steps=4", "--seed", "1"])
    assert is_typed("--steps")
    assert is_typed("--seed")
    assert not is_typed("--step")


def test_words_of_a_command_that_another_runs_are_forgotten():
    note(["auto", "-o", "out"])
    with restored():
        note(["train-sup", "--steps", "3"])
        assert is_typed("--steps")
    assert command_line.command_line() == "llmseg auto -o out"
    assert not is_typed("--steps")
