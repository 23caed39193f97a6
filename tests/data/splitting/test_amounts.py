"""Fractions and counts as people type them."""

import pytest

from llmseg_cli.data.splitting.amounts import Amount, parse_amount
from llmseg_cli.errors import UsageError


@pytest.mark.parametrize(
    ("text", "total", "expected"),
    [
        ("0.2", 80, 16),
        ("0.2", 24, 5),
        ("0.5", 5, 3),
        ("0.001", 80, 1),
        (".25", 8, 2),
        ("1e-1", 80, 8),
        ("1.0", 80, 80),
        ("8", 80, 8),
        ("1", 80, 1),
        ("500", 80, 500),
        ("20%", 30, 6),
        ("12.5 %", 80, 10),
        ("100%", 80, 80),
        ("all", 80, 80),
        ("All", 7, 7),
    ],
)
def test_amounts(text: str, total: int, expected: int) -> None:
    amount = parse_amount(text, flag="--labeled")
    assert amount is not None
    assert amount.of(total) == expected


@pytest.mark.parametrize(
    "text",
    ["0", "0.0", "-3", "-0.2", "1.5", "8.0", "nan", "inf", "x", "", "0%", "120%", "8%%", "%", "a"],
)
def test_nonsense_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(
        UsageError, match=r"^--labeled '?.*expected .*0\.2 or 20%, a count such as 8, or all"
    ):
        parse_amount(text, flag="--labeled")


def test_zero_is_none_where_none_is_meant() -> None:
    assert parse_amount("0", flag="--test", allow_none=True) is None
    assert parse_amount("3", flag="--test", allow_none=True) == Amount("3", count=3)


@pytest.mark.parametrize(("text", "is_all"), [("all", True), ("1.0", True), ("1", False)])
def test_all_is_all_that_is_there(text: str, is_all: bool) -> None:
    amount = parse_amount(text, flag="--labeled")
    assert amount is not None
    assert amount.is_all == is_all
