"""What a finished training has to say."""

from dataclasses import dataclass


@dataclass
class Trained:
    """What a finished run has to say.

    Args:
        steps: Steps that were taken in all.
        losses: Losses of the last step.
        final_score: Score of the final weights on the validation cases, or None without any.
        best_score: Best score on the validation cases, or None.
        best_step: Step of that score.
        elapsed_s: Seconds of this process's part of the run.
        waited_s: Seconds in which the loop waited for data.
    """

    steps: int
    losses: dict[str, float]
    final_score: float | None = None
    best_score: float | None = None
    best_step: int | None = None
    elapsed_s: float = 0.0
    waited_s: float = 0.0
