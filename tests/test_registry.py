"""Options of a constructor that hands some on to its parent are those of both, declared once."""

from inspect import signature
from typing import Any

import pytest

from llmseg_cli.errors import UsageError
from llmseg_cli.registry import METHODS, MODELS, Registry, takes_options_of


class Plain:
    def __init__(self, place: int, *, width: int = 3, depth: int = 5) -> None:
        self.found = (place, width, depth)


class Richer(Plain):
    @takes_options_of(Plain)
    def __init__(self, place: int, *, heads: int = 7, **options: Any) -> None:
        super().__init__(place, **options)
        self.heads = heads


def test_the_signature_lists_the_parents_options_then_the_own():
    found = [(p.name, p.default) for p in signature(Richer).parameters.values()][1:]
    assert found == [("width", 3), ("depth", 5), ("heads", 7)]


def test_an_option_reaches_the_parent_and_its_default_stays_there():
    assert Richer(1, depth=2).found == (1, 3, 2)
    assert Richer(1, heads=4).heads == 4


def test_the_registry_checks_options_of_both():
    table = Registry("network", {"richer": f"{__name__}:Richer"})
    table.load = lambda name: Richer
    table.check_options("richer", {"width": 1, "heads": 1})
    with pytest.raises(UsageError, match="Did you mean 'width'"):
        table.check_options("richer", {"wdth": 1})


@pytest.mark.parametrize(
    ("table", "name", "parent", "own"),
    [
        (
            MODELS,
            "medvisionllama",
            "vit",
            {"llm_position", "residual", "mapper", "rank", "booster"},
        ),
        (METHODS, "uncertainty-aware-mean-teacher", "mean-teacher", {"passes"}),
    ],
)
def test_what_extends_another_takes_all_its_options(table, name, parent, own):
    extended, extends = (signature(table.load(one)).parameters for one in (name, parent))
    assert set(extended) - set(extends) == own
    assert {key: p.default for key, p in extends.items()}.items() <= {
        key: p.default for key, p in extended.items()
    }.items()
