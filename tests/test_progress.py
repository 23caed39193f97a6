"""Values of a report in words, and the bar that shows them in 80 columns."""

import io
import json
import re

import pytest
from rich.console import Console

from llmseg_cli import console, progress_display
from llmseg_cli.progress import duration, in_words, memory

LONGEST = {
    "step_s": 12.34567,
    "left_s": 123456.0,
    "loss": -0.31234,
    "validation_dice": 0.71234,
    "memory_mb": 123456.0,
}


@pytest.fixture(autouse=True)
def as_before():
    yield
    console.configure(quiet=False, verbose=False, color=True, progress="auto")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.2, "0 s"), (59, "59 s"), (99.4, "99 s"), (99.6, "2 min"), (5000, "83 min"),
        (5969, "99 min"), (5971, "1.7 h"), (172_000, "47.8 h"), (173_000, "2.0 days"),
    ],
)  # fmt: skip
def test_durations(seconds, said):
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("megabytes", "said"), [(3.2, "3 MB"), (999, "999 MB"), (1234, "1.2 GB"), (139_000, "139 GB")]
)
def test_memory(megabytes, said):
    assert memory(megabytes) == said


def test_values_have_units_and_others_stay_as_they_are():
    values = {"step_s": 0.0834, "left_s": 9.0, "loss": 0.51251, "memory_mb": 812.0}
    assert in_words(values) == "0.083 s/step loss 0.513 812 MB"
    assert in_words({"case": "a b", "rate": 0.25}) == "case a b rate 0.25"
    assert in_words({"loss": "unknown"}) == "loss unknown"


def plain(monkeypatch, times, report) -> list[str]:
    said, clock = [], iter(times)
    console.configure(quiet=False, verbose=False, color=False, progress="plain")
    monkeypatch.setattr(console, "info", said.append)
    monkeypatch.setattr(progress_display.time, "monotonic", lambda: next(clock))
    with console.progress() as progress:
        report(progress)
    return said


def test_a_log_gets_a_line_soon_then_now_and_then_and_at_the_end(monkeypatch):
    times = [0, 1, 3.5, 20, 34, 40]

    def report(progress):
        for done in range(6):
            progress("train", done, 5, **LONGEST)

    said = plain(monkeypatch, times, report)
    facts = "34.3 h left 12 s/step loss -0.312 Dice 0.712 123 GB"
    assert said == [
        f"train: step 2/5 {facts}",
        f"train: step 4/5 {facts}",
        f"train: step 5/5 {facts.removeprefix('34.3 h left ')}",
    ]


def test_each_phase_has_its_own_lines_and_its_own_unit(monkeypatch):
    def report(progress):
        progress("prepare", 0, 2)
        progress("prepare", 2, 2)
        progress("train", 0, 9)
        progress("validate", 3, 3, validation_dice=0.5)

    said = plain(monkeypatch, [0, 1, 2, 3], report)
    assert said == ["prepare: case 2/2", "validate: case 3/3 Dice 0.500"]


def test_json_lines_hold_the_numbers(capsys):
    console.configure(quiet=False, verbose=False, color=False, progress="json")
    with console.progress() as progress:
        progress("train", 7, 9, **LONGEST)
    line = json.loads(capsys.readouterr().err)
    assert line.pop("t") > 0
    assert line == {"phase": "train", "step": 7, "total": 9, **LONGEST}


def shown(report, width: int = 80) -> list[str]:
    """The lines of a terminal of that width, as often as they are drawn."""
    text = io.StringIO()
    console.configure(quiet=False, verbose=False, color=False, progress="bar")
    console._terminal.console = Console(file=text, force_terminal=True, width=width, no_color=True)
    with console.progress() as progress:
        report(progress)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "\n", text.getvalue())
    return [line.rstrip() for line in re.split(r"[\r\n]+", plain) if line.strip()]


def test_the_bar_of_a_training_fits_80_columns_whole():
    def report(progress):
        progress("prepare", 0, 30)
        progress("prepare", 30, 30)
        progress("train", 0, 20_000)
        progress("train", 12_345, 20_000, **LONGEST)

    lines = shown(report)
    facts = "12345/20000 34.3 h left 12 s/step loss -0.312 Dice 0.712 123 GB"
    assert max(map(len, lines)) <= 80
    assert any(re.search(rf"train ━+[╸ ]*\s+{re.escape(facts)}$", line) for line in lines)


def test_a_bar_stands_before_the_first_unit_and_goes_when_another_phase_goes_on():
    def report(progress):
        progress("prepare", 0, 2)
        progress("prepare", 2, 2)
        progress("train", 0, 9)
        progress("validate", 1, 4)
        progress("validate", 4, 4)
        progress("train", 9, 9)

    lines = shown(report)
    assert any("prepare" in line and line.endswith("0/2") for line in lines)
    assert any("train" in line and line.endswith("0/9") for line in lines)
    last = max(index for index, line in enumerate(lines) if line.endswith("9/9"))
    assert "train" in lines[last]
    assert not any("prepare" in line or "validate" in line for line in lines[last:])


def test_a_phase_that_comes_again_begins_anew():
    def report(progress):
        for _ in range(2):
            progress("validate", 0, 4)
            progress("validate", 4, 4)

    assert sum(line.endswith("0/4") for line in shown(report)) == 2
