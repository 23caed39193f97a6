"""How many steps fit a budget of time."""

from llmseg_cli.planning.fingerprint import Choice

FEWEST = 20
MOST = 50_000  # beyond which nothing was ever measured here
SHARE = 0.85  # of a budget that steps may take; the rest is for preparing, validation and saving
START_S = 10.0  # of the program itself, before the first step


def in_words(seconds: float) -> str:
    """A budget such as `30 min`."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    minutes = seconds / 60
    return f"{minutes:.3g} min" if minutes < 120 else f"{minutes / 60:.3g} h"


def is_too_short(budget_s: float, step_s: float) -> bool:
    """Whether fewer steps fit than teach anything.

    Args:
        budget_s: Seconds of the whole training.
        step_s: Seconds of a step.
    """
    return _fitting(budget_s, step_s) < FEWEST


def _fitting(budget_s: float, step_s: float) -> int:
    return int(max(0.0, budget_s - START_S) * SHARE / step_s)


def steps_within(budget_s: float, step_s: float) -> Choice:
    """The steps that a budget allows.

    Args:
        budget_s: Seconds of the whole training.
        step_s: Seconds of a step.
    """
    steps = max(FEWEST, min(MOST, _fitting(budget_s, step_s)))
    if steps > 100:
        steps = int(float(f"{steps:.2g}")) if steps < 1000 else steps // 100 * 100
    cost = f"{step_s:.3g} s a step, of three that were timed here"
    if is_too_short(budget_s, step_s):
        return Choice(
            steps,
            f"the fewest that teach anything; {in_words(budget_s)} is too short for them ({cost})",
        )
    return Choice(steps, f"what fits into {in_words(budget_s)} ({cost})")
