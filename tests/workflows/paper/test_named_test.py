"""Report, methods and model card say that test cases were named, where they were."""

from dataclasses import replace
from pathlib import Path

import pytest
from report_files import write_run
from training_cli import invoke

from llmseg_cli.artifacts.split import Split


@pytest.mark.parametrize(
    ("named", "words"),
    [((), ""), (("a",), "1 of 2 named, not drawn"), (("a", "b"), "named, not drawn")],
)
def test_report_methods_and_card_say_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: tuple[str, ...], words: str
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLMSEG_CACHE", str(tmp_path / "cache"))
    split = write_run(tmp_path / "semi", test=("a", "b")) / "split.json"
    replace(Split.load(split), named_test=named).save(split)
    for command in (("report", "semi", "-o", "r.html"), ("paper", "semi", "-o", "paper")):
        done = invoke(*command)
        assert done.exit_code == 0, done.output
    (card,) = Path("paper/cards").iterdir()
    for path in (Path("r.html"), Path("paper/paper.md"), card):
        text = path.read_text()
        assert ("named, not drawn" in text) == bool(named)
        assert words in text
