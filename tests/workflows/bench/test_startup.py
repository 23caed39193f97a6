"""The lines that `llmseg bench startup` measures do what they are measured for."""

import pytest

from llmseg_cli.artifacts.split import Split
from llmseg_cli.cli import COMMANDS
from llmseg_cli.data.cases import find_cases
from llmseg_cli.workflows.bench.startup import (
    LABELED,
    REFUSING,
    SCANS,
    Line,
    lines,
    run_in,
    write_scans,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("startup")
    write_scans(found)
    return found


def test_scans_are_as_many_as_the_names_say(folder):
    cases = find_cases(folder / "data").cases
    assert len(cases) == SCANS == 30
    assert sum(case.label is not None for case in cases) == LABELED


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("--version", "llmseg "),
        ("describe --llm library", "left ventricle"),
        ("tab after 'llmseg'", "train-semi"),
        ("tab after 'llmseg train-semi --le'", "--learning-rate"),
        ("tab after 'llmseg train-semi --method'", "mean-teacher"),
        ("predict refuses -o", ""),
    ],
)
def test_a_line_answers(name, said, folder):
    (line,) = (line for line in lines() if name in (line.name, line.words))
    assert said in run_in(folder, line)()


def test_what_is_split_are_the_scans(folder):
    (line,) = (line for line in lines() if line.name.startswith("split"))
    found = Split.from_text(run_in(folder, line)(), name="stdout")
    assert (len(found.labeled), len(found.unlabeled)) == (4, SCANS - 4)


def test_another_exit_code_is_told_with_what_was_said(folder):
    with pytest.raises(RuntimeError, match=r"ended with 2, expected 0:\n[^$]*No such command"):
        run_in(folder, Line("nothing", 1.0))()


def test_refusing_commands_are_commands():
    assert set(REFUSING) <= set(COMMANDS)
