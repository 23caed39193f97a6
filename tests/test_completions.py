"""The shipped completion scripts are what the program prints, and bash completes with them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llmseg_cli.cli import COMMANDS, app
from llmseg_cli.commands.completion import SHELLS
from llmseg_cli.registry import MONAI

FOLDER = Path(__file__).parents[1] / "completions"
BASH = shutil.which("bash")
COMPLETE = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_llmseg_completion llmseg
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize("shell", SHELLS)
def test_shipped_script_is_up_to_date(shell):
    printed = CliRunner().invoke(app, ["completion", shell])
    assert printed.exit_code == 0
    shipped = (FOLDER / f"llmseg.{shell}").read_text(encoding="utf-8")
    assert shipped == printed.stdout, "run 'make completions'"


@pytest.mark.parametrize("shell", SHELLS)
def test_equals_what_typer_prints(shell):
    environment = os.environ | {"_LLMSEG_COMPLETE": f"source_{shell}"}
    done = subprocess.run(
        [sys.executable, "-c", "from llmseg_cli.cli import app; app(prog_name='llmseg')"],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    shipped = (FOLDER / f"llmseg.{shell}").read_text(encoding="utf-8")
    assert done.stdout.strip() == shipped.strip()


def test_an_unknown_shell_is_corrected():
    printed = CliRunner().invoke(app, ["completion", "fsh"])
    assert printed.exit_code == 2
    assert printed.stdout == ""
    assert "Did you mean 'fish'?" in printed.stderr


def completed(*words: str) -> list[str]:
    """What bash offers for the last of *words*."""
    assert BASH is not None
    program = str(Path(sys.executable).parent)
    done = subprocess.run(
        [BASH, "--norc", "-c", COMPLETE, "bash", str(FOLDER / "llmseg.bash"), *words],
        env=os.environ | {"PATH": f"{program}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.skipif(BASH is None, reason="no bash here")
class TestBash:
    def test_completes_a_command(self):
        assert completed("llmseg", "comp") == ["completion"]

    def test_offers_every_command(self):
        assert sorted(completed("llmseg", "")) == sorted(COMMANDS)

    def test_completes_an_argument(self):
        assert completed("llmseg", "completion", "z") == ["zsh"]

    def test_completes_an_option(self):
        assert completed("llmseg", "demo-data", "--sub") == ["--subjects"]

    def test_offers_networks_of_monai_by_their_names(self):
        offered = completed("llmseg", "train-sup", "--model", "mon")
        assert offered == [f"monai:{name}" for name in MONAI]
