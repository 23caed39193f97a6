"""Laws of a split, and what cannot be split."""

import re
from collections.abc import Sequence
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmseg_cli.data.splitting.amounts import Amount, parse_amount
from llmseg_cli.data.splitting.roles import CaseFacts, Roles
from llmseg_cli.data.splitting.split import make_split
from llmseg_cli.errors import DataError


def amount(text: str) -> Amount:
    found = parse_amount(text, flag="--x")
    assert found is not None
    return found


def all_of(roles: Roles) -> list[str]:
    return list(chain(roles.labeled, roles.unlabeled, roles.validation, roles.test))


@st.composite
def cohorts(pull: st.DrawFn) -> list[CaseFacts]:
    groups = pull(st.integers(6, 15))
    facts = []
    for group in range(groups):
        for case in range(pull(st.integers(1, 3))):
            classes = pull(st.sets(st.integers(1, 3), min_size=1))
            foreground = {value: pull(st.floats(1, 100)) for value in classes}
            has_label = pull(st.integers(0, 4)) > 0
            facts.append(
                CaseFacts(f"g{group}c{case}", f"g{group}", foreground if has_label else None)
            )
    return facts


def split_or_advice(
    facts: list[CaseFacts], seed: int, amounts: dict[str, Amount | None]
) -> Roles | None:
    """The roles; None if there are none and, where the message says what works, that it does."""
    try:
        return make_split(facts, seed=seed, **amounts)  # type: ignore[arg-type]
    except DataError as error:
        message = str(error)
    advice = re.search(r"smallest number that works is (\d+)\.$", message)
    if advice:
        better = amounts | {"labeled": amount(advice[1])}
        assert make_split(facts, seed=seed, **better)  # type: ignore[arg-type]
    return None


@settings(deadline=None, max_examples=200)
@given(
    facts=cohorts(),
    labeled=st.sampled_from(["0.2", "0.5", "3", "6", "all"]),
    test=st.sampled_from([None, "0.2", "2"]),
    validation=st.sampled_from([None, "0.2", "1"]),
    seed=st.integers(0, 99),
    shuffle=st.randoms(),
)
def test_laws(
    facts: list[CaseFacts],
    labeled: str,
    test: str | None,
    validation: str | None,
    seed: int,
    shuffle: object,
) -> None:
    amounts = {
        "labeled": amount(labeled),
        "test": amount(test) if test else None,
        "validation": amount(validation) if validation else None,
    }
    roles = split_or_advice(facts, seed, amounts)
    if roles is None:
        return
    by_id = {case.id: case for case in facts}
    assert sorted(all_of(roles)) == sorted(by_id)
    assert roles.labeled
    with_label = {case.id for case in facts if case.foreground is not None}
    assert set(roles.labeled + roles.validation + roles.test) <= with_label
    observed = {value for case in facts for value in case.foreground or ()}
    assert {v for name in roles.labeled for v in by_id[name].foreground or ()} == observed
    held = {}
    for role in ("labeled", "unlabeled", "validation", "test"):
        for name in getattr(roles, role):
            kind = role if role in ("validation", "test") else "training"
            assert held.setdefault(by_id[name].group, kind) == kind
    if labeled.isdigit():
        assert len(roles.labeled) + len(roles.validation) == int(labeled)
    if labeled == "all":
        assert not with_label & set(roles.unlabeled)
    if test == "2":
        assert len(roles.test) == 2
    shuffled = list(facts)
    shuffle.shuffle(shuffled)  # type: ignore[attr-defined]
    assert make_split(shuffled, seed=seed, **amounts) == roles  # type: ignore[arg-type]


def plain(count: int, *, classes: Sequence[int] = (1,)) -> list[CaseFacts]:
    return [
        CaseFacts(f"c{index:03d}", None, dict.fromkeys(classes, float(index + 1)))
        for index in range(count)
    ]


def test_numbers_of_the_fractions() -> None:
    roles = make_split(
        plain(100), labeled=amount("0.2"), test=amount("0.25"), validation=amount("0.05")
    )
    numbers = [len(part) for part in (roles.labeled, roles.unlabeled, roles.validation, roles.test)]
    assert numbers == [15, 55, 5, 25]


def test_test_cases_do_not_depend_on_labeled_but_on_the_seed() -> None:
    drawn = {
        make_split(plain(50), labeled=amount(n), test=amount("10"), seed=1).test
        for n in ("2", "0.3", "40")
    }
    assert len(drawn) == 1
    assert make_split(plain(50), labeled=amount("2"), test=amount("10"), seed=2).test not in drawn


def test_roles_have_similar_foreground() -> None:
    volumes = {case.id: (case.foreground or {})[1] for case in plain(200)}
    for seed in range(10):
        roles = make_split(plain(200), labeled=amount("0.2"), test=amount("0.2"), seed=seed)
        for part in (roles.labeled, roles.unlabeled, roles.test):
            mean = np.mean([volumes[name] for name in part])
            assert abs(mean - 100.5) < 6  # simple random draws of 40 scatter by 9


def test_a_rare_class_is_found_for_the_labeled() -> None:
    facts = plain(40)
    facts[7] = CaseFacts("c007", None, {1: 8.0, 2: 1.0})
    for seed in range(20):
        roles = make_split(
            facts, labeled=amount("3"), test=amount("0.5"), validation=amount("1"), seed=seed
        )
        assert "c007" in roles.labeled


def test_a_class_that_cannot_be_labeled_names_the_smallest_number() -> None:
    facts = [CaseFacts(f"c{i}", None, {i % 4 + 1: 1.0}) for i in range(12)]
    with pytest.raises(DataError, match=r"classes .* absent .* works is 4\.$"):
        make_split(facts, labeled=amount("2"))
    with pytest.raises(DataError, match=r"--validation 2 cannot be spared.* works is 6\.$"):
        make_split(facts, labeled=amount("4"), validation=amount("2"))
    make_split(facts, labeled=amount("4"))
    make_split(facts, labeled=amount("6"), validation=amount("2"))


def test_a_declared_class_that_never_occurs() -> None:
    with pytest.raises(DataError, match="class 2 'cyst' is in no label map, so no split"):
        make_split(plain(5), labeled=amount("2"), classes={0: "background", 1: "a", 2: "cyst"})


def test_groups_are_whole_and_counts_say_so() -> None:
    facts = [CaseFacts(f"p{i}_{j}", f"p{i}", {1: 1.0}) for i in range(10) for j in range(2)]
    roles = make_split(facts, labeled=amount("0.25"), test=amount("4"))
    assert len(roles.labeled) == 4  # 0.25 of 20 is 5, which whole pairs do not make
    with pytest.raises(DataError, match=r"no 3 cases\. Ask for 2 or 4"):
        make_split(facts, labeled=amount("3"))


def test_a_patient_with_unlabeled_frames() -> None:
    facts = [
        CaseFacts(f"p{i}_{j}", f"p{i}", {1: 1.0} if j < 2 else None)
        for i in range(6)
        for j in range(5)
    ]
    roles = make_split(facts, labeled=amount("4"))
    assert len(roles.labeled) == 4
    assert len(roles.unlabeled) == 26
    with pytest.raises(DataError, match="cannot be spared"):
        make_split(facts, labeled=amount("4"), test=amount("2"))


@pytest.mark.parametrize(
    ("facts", "kwargs", "message"),
    [
        ([CaseFacts("a", None, None)], {"labeled": "1"}, "No case has a label map"),
        ([CaseFacts("a", None, {})], {"labeled": "1"}, "No foreground in any of the 1 label maps"),
        (
            plain(4),
            {"labeled": "5"},
            "5 cases wanted, but 4 have a label map. Ask for at most 4, or --labeled all",
        ),
        (
            plain(4),
            {"labeled": "4", "test": "2"},
            "4 have a label map and 2 of them are test. Ask for at most 2",
        ),
        (plain(4), {"labeled": "1", "test": "4"}, "leave none to learn from. Ask for at most 3"),
        (plain(4), {"labeled": "1", "test": "1.0"}, "leave none to learn from"),
        (plain(10), {"labeled": "0.9", "test": "0.2"}, "9 cases wanted, but 10 have a label map"),
        (plain(10), {"labeled": "2", "validation": "0.3"}, r"0\.3 \(3 of 10\) cannot be spared"),
        (plain(4), {"labeled": "2", "validation": "2"}, "cannot be spared|absent"),
        (plain(4), {"labeled": "1", "validation": "1"}, "cannot be spared|absent"),
    ],
)
def test_too_few(facts: list[CaseFacts], kwargs: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make_split(facts, **{name: amount(text) for name, text in kwargs.items()})


@pytest.mark.parametrize("labeled", ["all", "1.0", "100%"])
def test_few_label_maps_among_many_scans(labeled: str) -> None:
    facts = [*plain(6), *(CaseFacts(f"u{index}", None, None) for index in range(24))]
    roles = make_split(facts, labeled=amount(labeled), test=amount("0.2"), validation=amount("0.2"))
    assert [len(roles.labeled), len(roles.validation), len(roles.test)] == [4, 1, 1]
    assert set(roles.unlabeled) == {case.id for case in facts[6:]}


def test_all_cases_may_be_labeled() -> None:
    roles = make_split(plain(9), labeled=amount("1.0"))
    assert len(roles.labeled) == 9
    assert roles.unlabeled == ()
