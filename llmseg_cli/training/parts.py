"""A training that starts anew in between has parts, each with a course of its own."""

from collections.abc import Sequence


def within_part(restarts: Sequence[int], step: int, steps: int) -> tuple[int, int]:
    """Steps done of the part that a step belongs to, and steps of that part.

    Args:
        restarts: Steps before which training starts anew, in order, within 1 to *steps* - 1; none
            makes all of the training one part.
        step: Current step, from 0.
        steps: Steps of the training.
    """
    first = max((one for one in restarts if one <= step), default=0)
    end = min((one for one in restarts if one > step), default=steps)
    return step - first, end - first
