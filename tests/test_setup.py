"""Set-up is pinned and needs nothing before it; the check of a change is `make test`."""

import os
import re
import shutil
import subprocess
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PINS = {
    canonicalize_name(name): pin
    for name, _, pin in (
        line.partition("==") for line in (ROOT / "constraints.txt").read_text().splitlines()
    )
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NEEDED = [
    Requirement(text)
    for group in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    for text in group
]
needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="no make here")


@pytest.mark.parametrize("requirement", NEEDED, ids=str)
def test_every_dependency_is_pinned_within_its_range(requirement):
    pin = PINS[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(pin)


def test_pins_are_plain_versions_for_any_machine():
    assert [name for name, pin in PINS.items() if not re.fullmatch(r"[0-9][0-9a-z.]*", pin)] == []


@pytest.mark.parametrize("requirement", NEEDED, ids=str)
def test_what_is_installed_is_what_is_pinned(requirement):
    installed = version(requirement.name).partition("+")[0]  # as in 2.13.0+cpu
    assert installed == PINS[canonicalize_name(requirement.name)]


def test_the_check_of_a_change_is_make_test():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    lines = script.read_text().splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert [line for line in lines if "make" in line] == ["exec make test"]


@needs_make
def test_make_test_runs_every_check():
    done = subprocess.run(
        ["make", "-n", "test"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for command in ("llmseg weights fetch", "ruff check", "ruff format --check", "mypy", "pytest"):
        assert command in done.stdout


@needs_make
def test_make_installs_torch_first_and_pinned(tmp_path):
    done = subprocess.run(
        ["make", "-n", "install", f"VENV={tmp_path}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    installs = [line for line in done.stdout.splitlines() if " pip install " in line]
    assert len(installs) == 2
    assert "grep '^torch==' constraints.txt" in installs[0]
    assert all("-c constraints.txt" in line for line in installs)
