"""What others wrote reaches a terminal as text: no control characters, no markup."""

import io
import logging
import re
import sys
from types import SimpleNamespace

import pytest

from llmseg_cli import console

EVIL = "\x1b]0;pwned\x07[/red] :smile: caf\udce9"
SHOWN = r"\x1b]0;pwned\x07[/red] :smile: caf\udce9"


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "200")
    console.configure(quiet=False, verbose=True, color=False, progress="plain")
    yield
    console.configure(quiet=False, verbose=False, color=True, progress="auto")


@pytest.mark.parametrize("say", [console.info, console.detail, console.warn, console.error])
def test_messages(capsys: pytest.CaptureFixture[str], say):
    say(EVIL)
    assert capsys.readouterr().err.endswith(f"{SHOWN}\n")


def test_tables(capsys: pytest.CaptureFixture[str]):
    console.table(EVIL, ("what", EVIL), [("row", EVIL), ("other", "[bold]x")])
    err = capsys.readouterr().err
    assert err.count(SHOWN) == 3
    assert "[bold]x" in err
    assert "\x1b" not in err


@pytest.mark.parametrize("mode", ["plain", "bar", "json"])
def test_progress(capsys: pytest.CaptureFixture[str], mode: str):
    console.configure(quiet=False, verbose=False, color=False, progress=mode)
    with console.progress("case") as progress:
        progress("predict", 1, 1, case=EVIL)
    assert "\x1b]0;" not in capsys.readouterr().err


def test_warnings_of_the_library(capsys: pytest.CaptureFixture[str]):
    evil, shown = EVIL.removesuffix("\udce9"), SHOWN.removesuffix(r"\udce9")
    # pytest keeps what is logged, and its processes exchange it as UTF-8
    logging.getLogger("llmseg_cli.workflows.train.run").warning("class %s", evil)
    assert capsys.readouterr().err == f"Warning: class {shown}\n"


def test_a_path_that_is_not_utf8_leaves_as_it_is(monkeypatch: pytest.MonkeyPatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="utf-8"))
    console.print_lines(["/data/caf\udce9"])
    assert raw.getvalue() == b"/data/caf\xe9\n"


def test_a_full_disk_behind_stdout_is_named(monkeypatch: pytest.MonkeyPatch):
    def full(text: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stdout", SimpleNamespace(write=full))
    with pytest.raises(OSError, match="No space left") as caught:
        console.data("x")
    assert caught.value.filename == "the standard output"


ROWS = [
    ["left ventricle and its epicardium", "dice", "0.8669", "0.864 to 0.87", "9"],
    ["", "hd95_mm", "3.291", "0.138 to 5.2", "9"],
]
COLUMNS = ["class", "metric", "mean", "95 % interval", "n"]


def shown_table(capsys: pytest.CaptureFixture[str]) -> list[str]:
    console.table("a/long/name/of/a/folder/of/masks: over 9 cases", COLUMNS, ROWS)
    return re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().err).splitlines()


@pytest.mark.parametrize("width", [20, 30, 51, 52, 60, 80, 200])
def test_a_table_on_a_terminal_is_never_cut(capsys, monkeypatch, width):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(width))
    console.configure(quiet=False, verbose=False, color=False, progress="plain")
    title, *lines = shown_table(capsys)
    assert title == "a/long/name/of/a/folder/of/masks: over 9 cases"
    assert "…" not in "".join(lines)
    for cell in [*COLUMNS[1:], *ROWS[0][1:], *ROWS[1][1:]]:
        assert any(cell in line for line in lines)
    folded = "".join(line[1:].split("│")[0].strip() for line in lines if line.startswith("│"))
    assert folded.replace(" ", "") == ROWS[0][0].replace(" ", "")
    assert max(map(len, lines)) <= max(width, 51)  # all that is beside the first column


def test_a_table_in_a_pipe_is_as_wide_as_it_needs(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    console.configure(quiet=False, verbose=False, color=False, progress="plain")
    lines = shown_table(capsys)
    assert len(lines) == 1 + 3 + len(ROWS) + 1
    assert [cell.strip() for cell in lines[4].strip("│").split("│")] == ROWS[0]


LONG = "/a/path/that/is/longer/than/a/line/of/it"
WORDS = f"Masks are empty, so run 'llmseg train-sup --steps 900' with {LONG}"


@pytest.mark.parametrize("say", [console.info, console.detail, console.warn, console.error])
def test_messages_break_at_words_on_a_terminal_alone(capsys, monkeypatch, say):
    monkeypatch.setenv("COLUMNS", "36")
    console.configure(quiet=False, verbose=True, color=False, progress="plain")
    say(WORDS)
    assert capsys.readouterr().err.count("\n") == 1
    monkeypatch.setenv("FORCE_COLOR", "1")
    console.configure(quiet=False, verbose=True, color=False, progress="plain")
    say(WORDS)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().err).splitlines()
    assert len(lines) > 2
    assert " ".join(lines).endswith(WORDS)
    assert [line for line in lines if len(line) > 36] == [LONG]
    assert "'llmseg train-sup --steps 900'" in "\n".join(lines)


def test_the_next_command_stays_one_line(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "36")
    monkeypatch.setenv("FORCE_COLOR", "1")
    console.configure(quiet=False, verbose=False, color=False, progress="plain")
    console.next_step("predict", "--run", "runs/sup", "--data", "scans", "-o", "masks")
    assert capsys.readouterr().err.count("\n") == 1


def test_what_the_library_notes_is_said_and_quiet_is_quiet(capsys: pytest.CaptureFixture[str]):
    logger = logging.getLogger("llmseg_cli.workflows.somewhere")
    logger.info("patch %s: %s.", "32,48,32", "in 3D")
    assert capsys.readouterr().err == "patch 32,48,32: in 3D.\n"
    logger.debug("nothing that anybody asked for")
    logger.warning("%s of 3 scans", 2)
    assert capsys.readouterr().err == "Warning: 2 of 3 scans\n"
    console.configure(quiet=True, verbose=False, color=False, progress="plain")
    logger.info("patch")
    logger.warning("patch")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, ["--progress", "auto"]),
        ({"quiet": True, "progress": "json"}, ["--quiet", "--progress", "json"]),
        ({"verbose": True, "color": False}, ["--verbose", "--no-color", "--progress", "auto"]),
    ],
)
def test_words_that_make_another_command_speak_alike(options, words):
    plain = {"quiet": False, "verbose": False, "color": True, "progress": "auto"}
    console.configure(**(plain | options))
    assert console.general_words() == words


def test_a_log_is_shared(tmp_path):
    console.configure(
        quiet=False, verbose=False, color=True, progress="auto", log=tmp_path / "a.log"
    )
    assert console.general_words()[-2:] == ["--log-file", str(tmp_path / "a.log")]
