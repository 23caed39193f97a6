"""Limits of cgroups, read from files as Linux writes them."""

import pytest

from llmseg_cli.artifacts.container import cpu_quota, memory_limit
from llmseg_cli.artifacts.hardware import hardware


def write(root, path: str, content: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(content)


@pytest.mark.parametrize(
    ("files", "quota", "memory"),
    [
        ({}, None, None),
        ({"cpu.max": "max 100000\n", "memory.max": "max\n"}, None, None),
        ({"cpu.max": "150000 100000\n", "memory.max": "1073741824\n"}, 1.5, 1073741824),
        (
            {
                "cpu/cpu.cfs_quota_us": "200000\n",
                "cpu/cpu.cfs_period_us": "100000\n",
                "memory/memory.limit_in_bytes": "4096\n",
            },
            2.0,
            4096,
        ),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None, None),
    ],
)
def test_limits_of_both_cgroup_versions(tmp_path, files, quota, memory):
    for name, content in files.items():
        write(tmp_path, f"sys/fs/cgroup/{name}", content)
    assert (cpu_quota(tmp_path), memory_limit(tmp_path)) == (quota, memory)


def test_run_json_has_what_the_container_leaves(tmp_path):
    write(tmp_path, "sys/fs/cgroup/memory.max", "1500000000")
    write(tmp_path, "sys/fs/cgroup/cpu.max", "50000 100000")
    found = hardware(tmp_path)
    assert (found["cores"], found["memory_gb"]) == (0.5, 1.5)
