"""Shares of cases: each case in exactly one, counted from 1."""

import pytest

from llmseg_cli.artifacts.shard import Shard, parse_shard, shards_in
from llmseg_cli.errors import UsageError


@pytest.mark.parametrize("of", [1, 2, 3, 7])
def test_every_case_is_in_one_shard_and_none_is_much_larger(of):
    cases = list(range(17))
    shares = [Shard(number, of).of_cases(cases) for number in range(1, of + 1)]
    assert sorted(case for share in shares for case in share) == cases
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert all(share == sorted(share) for share in shares)


@pytest.mark.parametrize(
    "text", ["3/2", "0/2", "0/0", "1/0", "-1/2", "1", "1/2/3", "a/b", "1.5/2", "", "1/"]
)
def test_what_is_no_shard_is_refused_with_what_would_be(text):
    with pytest.raises(UsageError, match=r"expected I/N, the I-th of N shards, from 1/N to N/N"):
        parse_shard(text)


def test_a_shard_is_read_and_named():
    assert parse_shard(" 2/3 ") == Shard(2, 3)
    assert (str(Shard(2, 3)), Shard(2, 3).name) == ("2/3", "shard-2-of-3")


def test_more_shards_than_cases_are_refused():
    with pytest.raises(UsageError, match=r"--shard 3/5: there are only 2 cases. Pass --shard 2/2"):
        Shard(3, 5).of_cases(["a", "b"])


def test_folders_of_shards_are_found_by_name(tmp_path):
    for name in ("shard-10-of-12", "shard-2-of-12", "shard-2-of-12b", "shards", "shard-x-of-2"):
        (tmp_path / name).mkdir()
    assert shards_in(tmp_path) == [Shard(2, 12), Shard(10, 12)]
    assert shards_in(tmp_path / "absent") == []
