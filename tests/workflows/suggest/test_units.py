"""Cases that are labeled together."""

import numpy as np

from llmseg_cli.workflows.suggest.choice import Chosen
from llmseg_cli.workflows.suggest.units import (
    features_of_units,
    trust_of,
    units_of,
    with_at_least,
)

UNITS = {"p/": ["a", "c"], "b": ["b"], "q/": ["d", "e", "f"]}


def test_cases_without_a_group_stand_alone():
    groups = {"a": "p", "c": "p", "d": "q", "e": "q", "f": "q", "elsewhere": "p"}
    assert units_of(["f", "e", "d", "c", "b", "a"], groups) == UNITS
    assert units_of(["b", "a"], {}) == {"a": ["a"], "b": ["b"]}


def test_a_group_is_named_unlike_every_case():
    assert units_of(["p", "x"], {"x": "p"}) == {"p": ["p"], "p/": ["x"]}


def test_trust_is_the_mean_and_unknown_if_one_is():
    trust = {"a": 0.5, "b": None, "c": 0.75, "d": 0.1, "e": None, "f": 0.9}
    assert trust_of(UNITS, trust) == {"p/": 0.625, "b": None, "q/": None}


def test_features_are_means():
    features = {case: np.array([n, n**2]) for n, case in enumerate("abcdef")}
    found = features_of_units(UNITS, features)
    assert found["p/"].tolist() == [1, 2]
    assert found["b"].tolist() == [1, 1]
    assert found["q/"].tolist() == [4, 50 / 3]


def test_units_are_taken_until_there_are_enough_cases():
    chosen = [Chosen(name) for name in ("p/", "b", "q/")]
    taken = [[one.case for one in with_at_least(chosen, UNITS, n)] for n in (1, 2, 3, 4, 9)]
    assert taken == [["p/"], ["p/"], ["p/", "b"], ["p/", "b", "q/"], ["p/", "b", "q/"]]
