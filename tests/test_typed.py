"""Values of documents against annotations."""

from dataclasses import dataclass, field
from typing import Annotated, Any, NotRequired, TypedDict

import pytest

from llmseg_cli.errors import ArtifactError
from llmseg_cli.typed import MisfitError, fit, fitted, shown


class Known(TypedDict):
    size: int
    name: NotRequired[str | None]


@dataclass(frozen=True)
class Leaf:
    text: str
    cut: bool = False

    @classmethod
    def from_text(cls, text: str) -> "Leaf":
        return cls(text.upper())


@dataclass(frozen=True)
class Tree:
    count: int
    share: float = 0.5
    names: tuple[str, ...] = ()
    leaves: dict[str, tuple[Leaf, ...]] = field(default_factory=dict)
    known: Annotated[dict[str, Any], Known] | None = None
    free: Any = None


def test_a_whole_document():
    found = fit(
        {
            "count": 3,
            "share": 1,
            "names": ["a", "b"],
            "leaves": {1: ["short", {"text": "long", "cut": True}]},
            "known": {"size": 2, "more": [1, {"x": None}]},
            "free": [1, "a"],
        },
        Tree,
    )
    assert found == Tree(
        count=3,
        share=1.0,
        names=("a", "b"),
        leaves={"1": (Leaf("SHORT"), Leaf("long", cut=True))},
        known={"size": 2, "more": [1, {"x": None}]},
        free=[1, "a"],
    )
    assert type(found.share) is float


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": "3"}, "'count' is '3', expected a whole number"),
        ({"count": True}, "'count' is True, expected a whole number"),
        ({"count": 1.0}, "'count' is 1.0, expected a whole number"),
        ({"count": None}, "'count' is empty, expected a whole number"),
        ({"share": float("nan")}, "'share' is nan, expected a finite number"),
        ({"share": float("inf")}, "'share' is inf, expected a finite number"),
        ({"share": False}, "'share' is False, expected a number"),
        ({"names": "ab"}, "'names' is 'ab', expected a list"),
        ({"names": ["a", 2]}, r"'names\[1\]' is 2, expected text; put it in quotes"),
        ({"names": ["a", "\ud800"]}, r"'names\[1\]' .* no Unicode text"),
        ({"names": ["a\0"]}, r"'names\[0\]' .* without NUL"),
        ({"leaves": []}, "'leaves' is a list, expected a mapping"),
        ({"leaves": {"a": [{"txt": "x"}]}}, r"'leaves.a\[0\].txt' .* Did you mean 'text'"),
        ({"leaves": {"a": [{}]}}, r"'leaves.a\[0\]' lacks 'text'"),
        ({"leaves": {"a": [[]]}}, r"'leaves.a\[0\]' is a list, expected a mapping"),
        ({"known": {}}, "'known' lacks 'size'"),
        ({"known": {"size": "x"}}, "'known.size' is 'x', expected a whole number"),
        ({"cuont": 1}, "'cuont' is not known here: .* Did you mean 'count'"),
    ],
)
def test_misfits(change, message):
    with pytest.raises(MisfitError, match=message):
        fit({"count": 1, **change}, Tree)


def test_what_is_not_known_has_a_depth():
    value: Any = 1
    for _ in range(100):
        value = [value]
    with pytest.raises(MisfitError, match="within it"):
        fit({"count": 1, "free": value}, Tree)


def test_a_fault_names_file_line_key_and_what_to_do():
    text = "count: 1\nleaves:\n  a:\n  - 5\n"
    with pytest.raises(ArtifactError) as caught:
        fitted(
            {"count": 1, "leaves": {"a": [5]}},
            Tree,
            name="t.yaml",
            error=ArtifactError,
            text=text,
            hint="Write it again.",
        )
    expected = "t.yaml:4: 'leaves.a[0]' is 5, expected a mapping. Write it again."
    assert str(caught.value) == expected


def test_long_values_are_cut():
    assert shown("x" * 99) == "'" + "x" * 39 + "..."
