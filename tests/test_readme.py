"""README and guide together name what there is; their numbers are those of the experiments."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer.main
from guide_lines import PAGES

from llmseg_cli.cli import app
from llmseg_cli.commands._command import recipe_names
from llmseg_cli.errors import EXIT_CODE_MEANING
from llmseg_cli.registry import METHODS, MODELS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TEXT = "\n".join(path.read_text(encoding="utf-8") for path in PAGES)
PROGRAM: Any = typer.main.get_command(app)
RESULTS = "\n".join(
    path.read_text(encoding="utf-8") for path in (ROOT / "examples").glob("*/RESULTS.md")
)
LONGEST = 120  # lines that are read in five minutes


def test_the_readme_is_read_in_five_minutes():
    assert len(README.splitlines()) <= LONGEST


def test_the_readme_leads_to_files_that_are_there():
    targets = re.findall(r"\]\(([^)]+)\)", README)
    assert len(targets) > 20
    assert [name for name in targets if not (ROOT / name).exists()] == []


def test_the_readme_leads_to_every_topic_but_those_of_others():
    said = set(re.findall(r"guide/([\w-]+)\.md", README)) | set(
        re.findall(r"llmseg guide ([\w-]+)", README)
    )
    names = {path.stem for path in PAGES if path.name != "README.md"}
    assert names - said <= {"demo"}


@pytest.mark.parametrize("name", PROGRAM.commands)
def test_every_command_is_named(name: str):
    assert re.search(rf"`(llmseg )?{name}\b|llmseg {name}\b", TEXT)


def test_every_method_model_recipe_and_exit_code_is_named():
    for name in [*METHODS, *MODELS]:
        assert f"`{name}`" in TEXT
    for name in recipe_names():
        assert re.search(rf"\b{re.escape(name)}\b", TEXT)
    for code, meaning in EXIT_CODE_MEANING.items():
        assert f"| {int(code)} | {meaning} |" in TEXT


def intervals() -> list[str]:
    """Such as `+0.6 [+0.1, +1.2]`."""
    return sorted(set(re.findall(r"[+-]?\d+\.\d+ \[[^\]]+\d\]", TEXT)))


def test_there_are_intervals():
    assert len(intervals()) > 20


@pytest.mark.parametrize("interval", intervals())
def test_an_interval_is_one_of_an_experiment(interval: str):
    assert interval in RESULTS
