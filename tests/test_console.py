"""What others wrote reaches a terminal as text: no control characters, no markup."""

import io
import logging
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
    assert capsys.readouterr().err == f"class {shown}\n"


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
