"""Where a step is in its part of a training: by hand."""

import pytest

from llmseg_cli.training.parts import within_part


@pytest.mark.parametrize(
    ("restarts", "expected"),
    [
        ((), [(0, 5), (1, 5), (2, 5), (3, 5), (4, 5)]),
        ((2,), [(0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]),
        ((1, 4), [(0, 1), (0, 3), (1, 3), (2, 3), (0, 1)]),
    ],
)
def test_steps_of_each_part(restarts, expected):
    assert [within_part(restarts, step, 5) for step in range(5)] == expected
