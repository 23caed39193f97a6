"""What is cited is what the docstrings of methods and networks refer to."""

import inspect
import re
import subprocess
import sys

import pytest

from llmseg_cli.registry import METHODS, MODELS
from llmseg_cli.workflows.report import citing
from llmseg_cli.workflows.report.citing import references_of

ARXIV = re.compile(r"arXiv:(\d{4}\.\d{4,5})")


@pytest.mark.parametrize("registry", [METHODS, MODELS], ids=["methods", "networks"])
def test_every_paper_of_a_docstring_is_cited(registry):
    cited = 0
    for name in registry:
        found = references_of(registry[name]) or ""
        told = (inspect.getdoc(registry.load(name)) or "").partition("\nReferences:")[2]
        assert ARXIV.findall(found) == ARXIV.findall(told)
        cited += bool(found)
    assert cited >= len(list(registry)) - 1  # supervised training cites nobody


@pytest.mark.parametrize(
    "target", [citing.SAM, citing.ENCODER, citing.TEXT, citing.WEIGHTS], ids=str
)
def test_what_is_named_by_hand_is_there(target: str):
    assert ARXIV.search(references_of(target) or "")


def test_a_name_that_is_not_there_cites_nobody():
    assert references_of("llmseg_cli.methods.usl:Absent") is None
    assert references_of("llmseg_cli.absent:Absent") is None


def test_citing_loads_no_network():
    program = (
        "import sys; from llmseg_cli.workflows.report.citing import *;"
        "references_of(METHODS['usl']); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
