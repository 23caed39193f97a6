"""The least of what machine, container and process still have."""

import os
from pathlib import Path

import pytest

from llmseg_cli.numerics.free_memory import available_bytes, resident_bytes


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, "proc/meminfo", "MemTotal:  9000 kB\nMemFree:  1 kB\nMemAvailable:  5000 kB\n")
    return tmp_path


def test_of_the_machine(root):
    assert available_bytes(root) == 5000 * 1024


@pytest.mark.parametrize("most", ["max", ""])
def test_a_container_without_a_limit(root, most):
    write(root, "sys/fs/cgroup/memory.max", most)
    write(root, "sys/fs/cgroup/memory.current", "7")
    assert available_bytes(root) == 5000 * 1024


def test_a_container_gives_up_its_cached_files(root):
    group = "sys/fs/cgroup"
    write(root, f"{group}/memory.max", "1000000\n")
    write(root, f"{group}/memory.current", "900000\n")
    write(root, f"{group}/memory.stat", "anon 5\ninactive_file 300000\nactive_file 200000\n")
    assert available_bytes(root) == 600000


def test_the_older_container(root):
    group = "sys/fs/cgroup/memory"
    write(root, f"{group}/memory.limit_in_bytes", "1000000\n")
    write(root, f"{group}/memory.usage_in_bytes", "900000\n")
    write(root, f"{group}/memory.stat", "inactive_file 1\ntotal_inactive_file 300000\n")
    assert available_bytes(root) == 400000


def test_limits_of_the_process(root, monkeypatch):
    resource = pytest.importorskip("resource")
    page = __import__("os").sysconf("SC_PAGE_SIZE")
    write(root, "proc/self/statm", "100 50 10 1 0 40 0\n")
    limits = {resource.RLIMIT_AS: 300 * page, resource.RLIMIT_DATA: 90 * page}
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (limits[kind], limits[kind]))
    assert available_bytes(root) == 50 * page
    limits[resource.RLIMIT_DATA] = resource.RLIM_INFINITY
    assert available_bytes(root) == 200 * page


def test_where_nothing_is_known_nothing_is_refused(tmp_path):
    assert available_bytes(tmp_path) > 1 << 50


def test_memory_of_the_process(tmp_path):
    assert resident_bytes(tmp_path) is None
    write(tmp_path, "proc/self/statm", "900 70 30 1 0 500 0\n")
    assert resident_bytes(tmp_path) == 70 * os.sysconf("SC_PAGE_SIZE")
