"""Laws of folds: every labeled case validates once, groups whole, classes everywhere."""

from collections import Counter
from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmseg_cli.data.splitting.folds import Folds, make_folds
from llmseg_cli.data.splitting.roles import CaseFacts, Roles
from llmseg_cli.errors import DataError


@st.composite
def labeled_and_unlabeled(pull: st.DrawFn) -> list[CaseFacts]:
    facts = []
    for group in range(pull(st.integers(2, 14))):
        for case in range(pull(st.integers(1, 4))):
            classes = pull(st.sets(st.integers(1, 3), min_size=1))
            foreground = {value: pull(st.floats(1, 100)) for value in classes}
            has_label = pull(st.integers(0, 9)) > 0
            name = f"g{group}c{case}"
            facts.append(CaseFacts(name, f"g{group}", foreground if has_label else None))
    return facts


def roles_of(facts: list[CaseFacts]) -> Roles:
    """All label maps labeled, all else unlabeled."""
    labeled = tuple(sorted(case.id for case in facts if case.foreground is not None))
    bare = tuple(sorted(case.id for case in facts if case.foreground is None))
    return Roles(labeled, bare, (), ("t0", "t1"))


def divide(facts: list[CaseFacts], folds: int, seed: int = 0) -> Folds:
    return make_folds(roles_of(facts), facts, folds=folds, seed=seed)


def plain(count: int, classes: tuple[int, ...] = (1,)) -> list[CaseFacts]:
    return [CaseFacts(f"c{i:02d}", None, dict.fromkeys(classes, float(i))) for i in range(count)]


@settings(deadline=None, max_examples=150)
@given(
    facts=labeled_and_unlabeled(),
    folds=st.integers(2, 5),
    seed=st.integers(0, 99),
    shuffle=st.randoms(),
)
def test_laws(facts: list[CaseFacts], folds: int, seed: int, shuffle: object) -> None:
    try:
        found = divide(facts, folds, seed)
    except DataError:
        return
    whole = roles_of(facts)
    group = {case.id: case.group for case in facts}
    classes = {case.id: {*case.foreground} for case in facts if case.foreground is not None}
    kept = {*found.partly_unlabeled, *found.alone}
    assert len(found.roles) == folds
    validated = Counter(chain.from_iterable(one.validation for one in found.roles))
    assert validated == Counter(set(whole.labeled) - kept)
    needed = set().union(*(classes[name] for name in whole.labeled))
    for one in found.roles:
        assert one.validation
        assert sorted((*one.labeled, *one.validation)) == list(whole.labeled)
        assert (one.unlabeled, one.test) == (whole.unlabeled, whole.test)
        trains = {group[name] for name in (*one.labeled, *one.unlabeled)}
        assert trains.isdisjoint(group[name] for name in one.validation)
        assert set().union(*(classes[name] for name in one.labeled)) == needed
    counts = [len({group[name] for name in one.validation}) for one in found.roles]
    assert max(counts) - min(counts) <= 1
    shuffle.shuffle(facts)  # type: ignore[attr-defined]
    assert divide(facts, folds, seed) == found


@pytest.mark.parametrize(("cases", "folds"), [(10, 5), (11, 3), (7, 7)])
def test_single_cases_are_divided_evenly(cases: int, folds: int) -> None:
    found = divide(plain(cases), folds)
    sizes = sorted(len(one.validation) for one in found.roles)
    assert sizes == sorted(cases // folds + (number < cases % folds) for number in range(folds))


def test_the_seed_decides() -> None:
    facts = plain(20)
    assert divide(facts, 4, seed=1) == divide(facts, 4, seed=1)
    assert divide(facts, 4, seed=1) != divide(facts, 4, seed=2)


def test_every_fold_has_small_and_large_ones() -> None:
    found = divide(plain(20), 5)  # c00 has the least foreground, c19 the most
    for one in found.roles:
        quarters = sorted(int(name[1:]) // 5 for name in one.validation)
        assert quarters == [0, 1, 2, 3]


def test_classes_are_spread() -> None:
    facts = [*plain(12), *(CaseFacts(f"r{i}", None, {1: 5.0, 2: 1.0}) for i in range(4))]
    found = divide(facts, 4)
    assert [sum(name[0] == "r" for name in one.validation) for one in found.roles] == [1] * 4


def test_large_groups_are_divided_evenly() -> None:
    sizes = [8, 6, 4, 4, 2, 2, 1, 1]
    facts = [
        CaseFacts(f"g{group}c{case}", f"g{group}", {1: 1.0})
        for group, size in enumerate(sizes)
        for case in range(size)
    ]
    for seed in range(10):
        found = divide(facts, 2, seed)
        first, second = (len(one.validation) for one in found.roles)
        assert abs(first - second) <= max(sizes)


def test_the_only_case_with_a_class_is_always_labeled() -> None:
    facts = [*plain(6), CaseFacts("rare", None, {1: 1.0, 2: 1.0})]
    found = divide(facts, 3)
    assert found.alone == ("rare",)
    assert all("rare" in one.labeled for one in found.roles)


def test_groups_with_unlabeled_cases_are_always_labeled() -> None:
    facts = [*plain(6), CaseFacts("p_0", "p", {1: 1.0}), CaseFacts("p_1", "p", None)]
    found = divide(facts, 3)
    assert found.partly_unlabeled == ("p_0",)
    assert all("p_0" in one.labeled for one in found.roles)


def test_more_folds_than_cases_are_refused() -> None:
    with pytest.raises(DataError, match=r"there are 3 labeled cases to divide.*at most 3"):
        divide(plain(3), 4)
    grouped = [CaseFacts(f"c{i}", f"g{i // 3}", {1: 1.0}) for i in range(6)]
    with pytest.raises(DataError, match=r"there are 2 groups to divide.*at most 2"):
        divide(grouped, 3)


def test_classes_that_cannot_be_in_every_fold_are_refused() -> None:
    triangle = [((1, 2), "a"), ((2, 3), "b"), ((1, 3), "c")]  # two of them share a fold of two
    facts = [CaseFacts(name, None, dict.fromkeys(found, 1.0)) for found, name in triangle]
    with pytest.raises(DataError, match=r"no division leaves every class.*1, 2, 3 are in the few"):
        divide(facts, 2)
    assert len(divide(facts, 3).roles) == 3
