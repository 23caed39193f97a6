"""Which one of several processes this is."""

import pytest

from llmseg_cli.artifacts.launch import Launch, launched
from llmseg_cli.errors import ExitCode, UsageError

TORCHRUN = {
    "RANK": "5",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "1",
    "MASTER_ADDR": "node1",
    "MASTER_PORT": "29500",
}


def test_what_torchrun_says_is_read():
    assert launched(TORCHRUN) == Launch(5, 8, 1)
    assert launched({}) is None
    assert launched({"RANK": "0"}) is None


def test_without_a_local_number_the_machine_has_all():
    assert launched({k: v for k, v in TORCHRUN.items() if k != "LOCAL_RANK"}) == Launch(5, 8, 5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"MASTER_ADDR": None}, "MASTER_ADDR is not"),
        ({"RANK": "first"}, "a number is not"),
        ({"RANK": "8"}, "RANK=8 is not below WORLD_SIZE=8"),
    ],
)
def test_half_a_launch_is_refused(change, said):
    environment = {k: v for k, v in (TORCHRUN | change).items() if v is not None}
    with pytest.raises(UsageError, match=said):
        launched(environment)


def test_the_first_says_what_comes_alike_in_all():
    first, other = Launch(0, 2, 0), Launch(1, 2, 1)
    assert first.told("wrong", ExitCode.USAGE) == "wrong"
    assert other.told("wrong", ExitCode.USAGE) == ""
    assert other.told("no memory", ExitCode.RESOURCE) == "process 1 of 2: no memory"
