"""Help and completion come at once: nothing heavy is loaded for them."""

import json
import os
import subprocess
import sys

import pytest

from llmseg_cli.cli import COMMANDS

HEAVY = {
    "torch",
    "numpy",
    "monai",
    "torchio",
    "transformers",
    "nibabel",
    "scipy",
    "PIL",
    "SimpleITK",
}
RUN = """
import json, sys
from llmseg_cli.cli import main
sys.argv = ["llmseg", *json.loads(sys.argv[1])]
try:
    main()
except SystemExit:
    pass
sys.stderr.write("\\n" + json.dumps(sorted(name for name in sys.modules if "." not in name)))
"""


def loaded_by(arguments: list[str], **environment: str) -> tuple[set[str], str]:
    """Top-level modules that a run of llmseg has loaded when it ends, and its stdout."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(arguments)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stderr.splitlines()[-1])), done.stdout


@pytest.mark.parametrize(
    "arguments", [[], *([name] for name in COMMANDS)], ids=lambda a: " ".join(a)
)
def test_help_loads_nothing_heavy(arguments):
    modules, stdout = loaded_by([*arguments, "--help"])
    assert "Usage: llmseg" in stdout
    assert modules & HEAVY == set()


@pytest.mark.parametrize("line", ["llmseg ", "llmseg train-semi --method ", "llmseg score --"])
def test_completion_loads_nothing_heavy(line):
    modules, _ = loaded_by(
        [],
        _LLMSEG_COMPLETE="complete_bash",
        COMP_WORDS=line,
        COMP_CWORD=str(len(line.split(" ")) - 1),
    )
    assert modules & HEAVY == set()


def test_help_loads_few_modules():
    """400 of Python's, typer's and rich's own, 40 of them ours; numpy alone would add 180."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "llmseg_cli", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    names = [line.rpartition("|")[2].strip() for line in done.stderr.splitlines()]
    ours = [name for name in names if name.split(".")[0] == "llmseg_cli"]
    assert len(names) < 480
    assert 10 < len(ours) < 45
