"""A network whose weights are to be loaded is built without the compiler of PyTorch."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys, torch
from llmseg_cli.registry import MODELS
with torch.device("meta"):
    MODELS.load({name!r})(1, 2, dimensions=3)
sys.exit("torch._dynamo" in sys.modules)
"""


@pytest.mark.parametrize("name", ["vnet", "unet", "unetpp"])
def test_nothing_is_compiled_for_weights_without_values(name: str):
    subprocess.run([sys.executable, "-c", PROGRAM.format(name=name)], check=True)
