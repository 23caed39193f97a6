"""What an empty mask counts as; one named policy, so that a missed case cannot improve a mean.

Where both masks are empty there is nothing to score: every policy leaves the class of that case out
of all means and counts it. Where one is empty, Dice, Jaccard and NSD are 0 and no distance exists:

* `diagonal`: the distance is the longest there is, the diagonal of the largest image of the set.
  (Of the set, not of its own image: a miss in a small image would else improve the mean of bad
  predictions in large ones.)
* `nan`: the distance is undefined, and so is every mean over it.
* `skip`: the distance is left out, as most scripts do; the mean then improves with every miss.
* `error`: an empty mask of any kind is an error.
"""

from collections.abc import Mapping
from math import nan

from llmseg_cli.artifacts.scores import EMPTY_POLICIES
from llmseg_cli.errors import DataError, unknown
from llmseg_cli.metrics.scoring import ClassScore
from llmseg_cli.metrics.signature import METRICS

SHOWN_CASES = 5
Scores = Mapping[str, Mapping[int, ClassScore]]


def check_policy(name: str) -> None:
    """Refuse an unknown policy.

    Raises:
        UsageError: If there is no such policy.
    """
    if name not in EMPTY_POLICIES:
        raise unknown("empty policy", name, EMPTY_POLICIES)


def apply_policy(
    scores: Scores, *, policy: str, worst_distance: float
) -> dict[str, dict[int, ClassScore]]:
    """Fill in distances where exactly one mask is empty.

    Args:
        scores: Case to class to score.
        policy: One of `EMPTY_POLICIES`.
        worst_distance: Diagonal of the largest image, in the unit of the distances.

    Raises:
        DataError: If the policy is `error` and a mask is empty; the message lists the cases.
        UsageError: If the policy is unknown.
    """
    check_policy(policy)
    if policy == "error":
        _refuse_empty(scores)
    instead = {"diagonal": worst_distance, "nan": nan}.get(policy)
    return {
        case: {number: _filled(score, instead) for number, score in by_class.items()}
        for case, by_class in scores.items()
    }


def _filled(score: ClassScore, distance: float | None) -> ClassScore:
    if score.status not in ("missed", "false_alarm"):
        return score
    filled = {
        name: distance if METRICS[name].quantity == "distance" else value
        for name, value in score.values.items()
    }
    return score.with_values(filled)


def _refuse_empty(scores: Scores) -> None:
    empty = [
        f"{case} class {number} ({score.status.replace('_', ' ')})"
        for case, by_class in scores.items()
        for number, score in by_class.items()
        if score.status != "scored"
    ]
    if empty:
        more = f" and {len(empty) - SHOWN_CASES} more" if len(empty) > SHOWN_CASES else ""
        raise DataError(
            f"Empty masks, which --empty-policy error refuses: {', '.join(empty[:SHOWN_CASES])}"
            f"{more}. Choose --empty-policy diagonal to count them as the worst case."
        )


def count_statuses(scores: Scores, number: int) -> dict[str, int]:
    """How often a class was scored, missed, and so on.

    Returns:
        `n_scored` (all that enter the means: at least one mask is not empty), and among them
        `n_missed` (empty prediction) and `n_false_alarm` (empty reference); `n_both_empty`.
    """
    statuses = [by_class[number].status for by_class in scores.values()]
    both_empty = statuses.count("both_empty")
    return {
        "n_scored": len(statuses) - both_empty,
        "n_missed": statuses.count("missed"),
        "n_false_alarm": statuses.count("false_alarm"),
        "n_both_empty": both_empty,
    }


def why_undefined(score: ClassScore) -> str:
    """Why a value of this score is null, in words."""
    return {
        "both_empty": "both masks are empty",
        "missed": "the prediction is empty",
        "false_alarm": "the reference is empty",
    }.get(score.status, "the reference fills the image")
