"""Stratified draws of whole units, against brute force."""

from collections.abc import Iterator
from itertools import combinations
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from llmseg_cli.data.splitting.draws import (
    Unit,
    classes_of,
    draw,
    sizes,
    smallest_cover,
    total,
    without,
)


@st.composite
def some_units(pull: st.DrawFn, most: int = 8) -> list[Unit]:
    count = pull(st.integers(1, most))
    return [
        Unit(
            name=f"u{index}",
            cases=tuple(f"u{index}c{case}" for case in range(pull(st.integers(1, 4)))),
            bare=(),
            classes=frozenset(pull(st.sets(st.integers(1, 4), max_size=3))),
            volume=pull(st.floats(0, 100)),
        )
        for index in range(count)
    ]


def subsets(units: list[Unit]) -> Iterator[tuple[Unit, ...]]:
    for count in range(1, len(units) + 1):
        yield from combinations(units, count)


@settings(deadline=None)
@given(units=some_units(), size=st.integers(1, 20), seed=st.integers(0, 9))
def test_draws_have_the_exact_size_whenever_one_exists(
    units: list[Unit], size: int, seed: int
) -> None:
    possible = {total(subset) for subset in subsets(units)}
    assert sizes(units) == sorted(possible)
    drawn = draw(units, size, Random(seed))
    assert (drawn is not None) == (size in possible)
    if drawn is not None:
        assert total(drawn) == size
        left = without(units, drawn)
        assert [unit for unit in units if unit in left or unit in drawn] == units
        assert not set(left) & set(drawn)
        assert len(set(drawn)) == len(drawn)
        assert drawn == draw(units[::-1], size, Random(seed))


@settings(deadline=None)
@given(units=some_units(), classes=st.sets(st.integers(1, 4)))
def test_the_smallest_cover_is_smallest(units: list[Unit], classes: set[int]) -> None:
    covers = [total(subset) for subset in subsets(units) if classes <= classes_of(subset)]
    found = smallest_cover(units, classes)
    assert (found is None) == (not covers and bool(classes))
    if found is not None:
        assert classes <= classes_of(found)
        assert total(found) == (min(covers) if classes else 0)


def test_draws_are_stratified_by_foreground() -> None:
    units = [Unit(f"u{i}", (f"c{i}",), (), frozenset({1}), float(i)) for i in range(100)]
    for seed in range(20):
        drawn = draw(units, 10, Random(seed))
        assert drawn is not None
        assert sorted(int(unit.volume) // 10 for unit in drawn) == list(range(10))


def test_draws_are_stratified_by_class() -> None:
    units = [
        Unit(f"u{i}", (f"c{i}",), (), frozenset({1, 2} if i % 5 == 0 else {1}), 1.0)
        for i in range(50)
    ]
    for seed in range(20):
        drawn = draw(units, 10, Random(seed))
        assert drawn is not None
        assert sum(2 in unit.classes for unit in drawn) == 2


def test_an_empty_draw() -> None:
    assert draw([], 0, Random(0)) == []
    assert draw([], 1, Random(0)) is None
