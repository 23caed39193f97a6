"""Values of label maps, and the mapping that repairs them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmseg_cli.data.checking.label_values import (
    count_values,
    find_value_fault,
    map_classes,
    map_values,
    unheld,
)
from llmseg_cli.options import parse_label_map

values = st.sets(st.integers(-3, 300), min_size=1, max_size=20)


def proposal(remedy: str) -> dict[int, int]:
    word = next(part for part in remedy.split() if part[0] in "-0123456789" and ":" in part)
    return parse_label_map([word.rstrip(".,")])


@pytest.mark.parametrize("observed", [{0, 1}, {1}, {0}, {0, 1, 2, 3}, set()])
def test_consecutive_values_are_right(observed: set[int]) -> None:
    assert find_value_fault(observed, {}) is None


@pytest.mark.parametrize(
    ("observed", "declared", "wanted"),
    [
        ({0, 255}, {}, {255: 1}),
        ({0, 1, 2, 4}, {}, {4: 3}),
        ({0, 85, 170, 255}, {}, {85: 1, 170: 2, 255: 3}),
        ({-1, 0, 1}, {}, {-1: 0}),
        ({0, 255}, {0: "background", 1: "polyp"}, {255: 1}),
        ({0, 1, 7}, {0: "background", 1: "liver"}, {7: 0}),
        ({0, 2}, {0: "background", 2: "cyst"}, {2: 1}),
        ({0, 2, 9}, {0: "background", 2: "cyst", 5: "vein"}, {2: 1, 5: 2, 9: 2}),
    ],
)
def test_the_remedy_is_a_label_map(
    observed: set[int], declared: dict[int, str], wanted: dict[int, int]
) -> None:
    fault = find_value_fault(observed, declared)
    assert fault is not None
    assert proposal(fault.remedy) == wanted


@given(
    stored=values,
    label_map=st.dictionaries(st.integers(-3, 300), st.integers(0, 9), max_size=4),
    ignore=st.none() | st.integers(-3, 300),
)
def test_an_option_counts_exactly_if_its_value_is_held(stored, label_map, ignore):
    told = unheld(stored, label_map, ignore).values()
    array = np.array([*stored, *stored])
    for value in {*label_map, *([] if ignore is None else [ignore])}:
        assert (value in told) == (not (array == value).any())


@given(observed=values, declared=st.sets(st.integers(1, 12), max_size=6))
def test_the_remedy_repairs(observed: set[int], declared: set[int]) -> None:
    fault = find_value_fault(observed, declared)
    if fault is None:
        return
    assert set(fault.values) <= observed
    mapping = proposal(fault.remedy)
    repaired = {mapping.get(value, value) for value in observed}
    classes = map_classes({value: f"class {value}" for value in declared}, mapping)
    assert find_value_fault(repaired, classes) is None


def test_lossy_compression_is_called_by_name() -> None:
    fault = find_value_fault(set(range(0, 256, 5)), {})
    assert fault is not None
    assert "lossy compression" in fault.remedy
    assert "--label-map" not in fault.remedy


@given(st.lists(st.integers(0, 255), max_size=50), st.sampled_from([np.uint8, np.int16, np.int64]))
def test_counts_are_those_of_a_loop(found: list[int], kind: type[np.integer]) -> None:
    counts: dict[int, int] = {}
    for value in found:
        counts[value] = counts.get(value, 0) + 1
    assert count_values(np.array(found, kind)) == counts


def test_names_follow_their_values() -> None:
    names = {0: "background", 1: "a", 2: "b", 255: "c"}
    assert map_classes(names, {255: 3}) == {0: "background", 1: "a", 2: "b", 3: "c"}
    assert map_classes(names, {1: 2, 2: 1, 255: 0}) == {0: "background", 1: "b", 2: "a"}
    assert map_classes(names, {}) == names


def test_mapping_swaps_and_leaves_others() -> None:
    labels = np.array([0, 1, 2, 9], np.uint8)
    np.testing.assert_array_equal(map_values(labels, {1: 2, 2: 1, 9: -1}), [0, 2, 1, -1])
    assert map_values(labels, {}) is labels
