"""The machine, as run.json holds it."""

import os
import subprocess
import sys

import torch

from llmseg_cli.artifacts.hardware import cpu_model, hardware

CPUINFO = """processor\t: 0
vendor_id\t: AuthenticAMD
model\t\t: 17
model name\t: AMD  EPYC 9R14
stepping\t: 1
"""


def test_the_processor_by_its_name(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "cpuinfo").write_text(CPUINFO)
    assert cpu_model(tmp_path) == "AMD EPYC 9R14"


def test_this_machine():
    found = hardware()
    assert found["torch_threads"] == torch.get_num_threads()
    assert 1 <= found["cores"] <= os.cpu_count()
    assert found["memory_gb"] > 0.5
    assert found["cpu"]
    assert os.uname().nodename not in str(found)


def test_torch_is_not_loaded_for_it():
    code = (
        "import sys; from llmseg_cli.artifacts.hardware import hardware; found = hardware();"
        "print('torch' in sys.modules, 'torch_threads' in found)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
