"""The short form of `make fuzz`: some damaged inputs of every kind, the same ones each time."""

from collections.abc import Iterator

import pytest
from fuzz.bench import Bench, Tried, bench
from fuzz.kinds import KINDS, Kind
from fuzz.series import run_series

EXAMPLES = 3  # of a kind of weight 1

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def fuzz_bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    root = tmp_path_factory.mktemp("fuzz")
    with bench(root, root / "failures") as made:
        yield made


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_damaged_input_ends_in_an_exit_code_and_a_sentence(kind: Kind, fuzz_bench: Bench):
    found: list[Tried] = []
    count = max(round(EXAMPLES * kind.weight), 1)
    run_series(fuzz_bench, kind, start=0, count=count, heard=found.append)
    assert found
    assert [str(tried) for tried in found if tried.broken] == []
