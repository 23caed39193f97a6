"""Which cases a page shows: the worst, the median and the best."""

from pathlib import Path

import pytest

from llmseg_cli.workflows.report.scored import ScoredCase, ScoreFacts
from llmseg_cli.workflows.report.sources.showing import choose
from llmseg_cli.workflows.score.predictions import Predictions


def scores(dices: list[float | None]) -> ScoreFacts:
    cases = tuple(
        ScoredCase(
            case=f"c{index}", dice=dice, other=None, values={}, dices={}, missed=(), digests=()
        )
        for index, dice in enumerate(dices)
    )
    return ScoreFacts(
        file="s.json", folder="m", run=None, made_by={}, compared=None, seeds=None, subset=None,
        split=None, empty_policy="diagonal", classes=("a",), metrics=(), paired=(), cases=cases,
        looks=(), failed={}, warnings=(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("count", "most", "expected"),
    [
        (3, 12, "c0 worst, c1 median, c2 best"),
        (9, 4, "c0 worst, c1, c4 median, c8 best"),
        (200, 5, "c0 worst, c1, c2, c99 median, c199 best"),
        (9, 7, "c0 worst, c1, c2, c3, c4 median, c5, c8 best"),
        (9, 2, "c0 worst, c8 best"),
        (9, 1, "c0 worst"),
        (1, 12, "c0 worst"),
        (9, 0, ""),
    ],
)
def test_the_worst_come_first_and_the_best_last(count: int, most: int, expected: str):
    chosen = choose(scores([index / count for index in range(count)]), None, most)
    assert ", ".join(f"{case} {rank}".strip() for case, rank, _ in chosen) == expected


def test_cases_without_a_dice_are_not_ranked():
    assert [case for case, _, _ in choose(scores([0.1, 0.2, None]), None, 12)] == ["c0", "c1"]


def test_without_scores_masks_are_taken_by_name():
    masks = Predictions(Path("m"), {"b": Path("b"), "a": Path("a")}, {}, {})
    assert choose(None, masks, 1) == [("a", "", None)]
    assert choose(None, None, 1) == []
