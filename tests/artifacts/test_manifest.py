"""What run.json says of the process that wrote it."""

import subprocess
import sys

import pytest
import torch

from llmseg_cli.artifacts.manifest import peak_rss_mb

READ = "from llmseg_cli.artifacts.manifest import peak_rss_mb; print(peak_rss_mb())"
TAKE = "taken = bytearray(b'x' * (400 << 20)); del taken; "


def elsewhere(code: str) -> float:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system's own figure is right")
def test_the_memory_of_the_process_that_started_this_one_is_not_counted():
    held = torch.ones(100, 2**20)  # 400 MB here, and in no program that is started from here
    assert elsewhere(READ) < 200
    assert peak_rss_mb() > held.nbytes / 2**20


def test_what_was_taken_once_stays_counted():
    assert elsewhere(TAKE + READ) > 400
