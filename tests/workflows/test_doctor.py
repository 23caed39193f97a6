"""Verdicts on versions, and facts read from files as Linux writes them."""

import pytest

from llmseg_cli.knowledge.weights.embedded import weights_folder
from llmseg_cli.workflows import doctor
from llmseg_cli.workflows.doctor import judge_cudnn, judge_torch, run
from llmseg_cli.workflows.machine import bf16_flags, driver, look_at_machine


@pytest.mark.parametrize(
    ("version", "verdict"),
    [
        ("2.8.0", "ok"),
        ("2.9.0", "bad"),
        ("2.9.1+cu128", "bad"),
        ("2.13.0+cpu", "ok"),
        ("2.90", "ok"),
    ],
)
def test_torch_2_9_is_bad(version, verdict):
    assert judge_torch(version).verdict == verdict


@pytest.mark.parametrize(
    ("version", "shown", "verdict"),
    [
        (90701, "9.7.1", "ok"),
        (90800, "9.8.0", "bad"),
        (91002, "9.10.2", "bad"),
        (91100, "9.11.0", "ok"),
        (None, "none", "info"),
    ],
)
def test_cudnn_9_8_to_9_10_is_bad(version, shown, verdict):
    found = judge_cudnn(version)
    assert (found.value, found.verdict) == (shown, verdict)


def write(root, path: str, content: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(content)


def test_instructions(tmp_path):
    assert bf16_flags(tmp_path) == ()
    write(tmp_path, "proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu amx_bf16 avx512_bf16 sse\n")
    assert bf16_flags(tmp_path) == ("avx512_bf16", "amx_bf16")
    write(tmp_path, "proc/cpuinfo", "Features\t: fp asimd bf16\n")
    assert bf16_flags(tmp_path) == ("bf16",)


def test_the_smallest_limit_counts(tmp_path):
    write(tmp_path, "sys/fs/cgroup/memory.max", "1048576")
    write(tmp_path, "sys/fs/cgroup/cpu.max", "50000 100000")
    machine = look_at_machine(tmp_path)
    assert (machine.memory, machine.processors) == (1048576, 0.5)
    assert "cgroup" in machine.memory_limit
    assert "cgroup" in machine.processor_limit
    assert machine.shared_memory is None
    (tmp_path / "dev" / "shm").mkdir(parents=True)
    assert look_at_machine(tmp_path).shared_memory > 0


def test_the_driver(tmp_path):
    assert driver(tmp_path) is None
    line = (
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  560.35.03  Fri Aug 16 21:39:15 UTC 2024\n"
    )
    write(tmp_path, "proc/driver/nvidia/version", line)
    assert driver(tmp_path) == "560.35.03"


def test_this_machine(tmp_path):
    diagnosis = run(cache=tmp_path / "cache")
    found = {finding.name: finding for finding in diagnosis.findings}
    assert {"python", "torch", "torchvision", "memory", "cache", "transformers"} <= set(found)
    assert found["weights minilm"].value == "absent"
    assert found["weights minilm"].remedy == "llmseg weights fetch minilm"
    assert diagnosis.to_dict()["healthy"] is True


def test_altered_weights_are_bad(tmp_path):
    folder = weights_folder("lite-medsam", cache=tmp_path)
    folder.mkdir(parents=True)
    (folder / "lite_medsam.pth").write_bytes(b"altered")
    diagnosis = run(cache=tmp_path)
    assert [finding.name for finding in diagnosis.bad] == ["weights lite-medsam"]


def test_a_nearly_full_disk_is_warned_of(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "LITTLE_SPACE", 1 << 60)
    assert doctor._cache(tmp_path).verdict == "warning"
