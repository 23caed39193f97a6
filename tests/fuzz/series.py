"""A series of examples of one kind, which hypothesis draws from a seed."""

from collections.abc import Callable

from fuzz.bench import Bench, Tried
from fuzz.choices import Choices
from fuzz.kinds import Kind
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st


def run_series(
    bench: Bench,
    kind: Kind,
    *,
    start: int,
    count: int,
    heard: Callable[[Tried], None],
    only: int | None = None,
    enough: Callable[[], bool] = lambda: False,
) -> None:
    """Try *count* examples of a kind, the same ones for the same seed.

    Failures do not stop it: all are counted, and each keeps what is needed to see it again.

    Args:
        bench: Runs them.
        kind: What they are.
        start: The seed.
        count: How many; hypothesis may find that there are fewer.
        heard: Hears of each.
        only: The number of the one example to run, to see it again; the others are passed over.
        enough: Whether to leave the rest aside.
    """
    number = -1

    @seed(start)
    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def attempt(data: st.DataObject) -> None:
        nonlocal number
        number += 1
        if enough() or (only is not None and number != only):
            return
        drawn = Choices(lambda low, high: data.draw(st.integers(low, high)))
        heard(bench.attempt(kind, drawn, seed=start, number=number))

    attempt()
