"""How `llmseg auto` spends labels and time."""

from dataclasses import dataclass

from llmseg_cli.planning.steps import in_words

FOLDS = 3
FEWEST_FOR_FOLDS = 2  # labeled cases, or patients
ENOUGH_FOR_ONE_LIST = 30  # above which a fifth of them is enough to choose by
ENOUGH_FOR_FIFTH = 10  # below which a fifth is one label, which tells little and teaches more
FEWEST_S = 600.0  # of the supervised training of one fold, or all of them learn too little
ENOUGH_FOR_TEST = 50  # above which another fifth may be locked away
FIFTH = "0.2"
SHARED = 0.5  # of the time for trainings
FEWEST_STEPS = 50  # of a training from unlabeled scans that is worth its start
LEAST_S = 5.0  # of a training, however small the budget is
SPARE = 0.04  # of the budget, for what cannot be foreseen
FOR_PREDICTING = 0.35  # of the budget at most; with less, fewer networks predict


@dataclass(frozen=True)
class Roles:
    """Which labeled cases choose, and which are locked.

    Args:
        folds: Parts for cross-validation; 0 has one validation list, or none.
        validation: What `llmseg split --validation` takes, or None.
        test: What `llmseg split --test` takes, or None.
        is_hurried: Whether time is too short for several networks.
        reason: Why, a sentence.
    """

    folds: int = 0
    validation: str | None = None
    test: str | None = None
    is_hurried: bool = False
    reason: str = ""


def choose_roles(
    labeled: int, test: str | None, *, budget_s: float, folds: int | None = None
) -> Roles:
    """Cross-validation where labels are few, a validation list where they are many.

    Where labels are few and the time of a fold is short, one network has all of it.

    Args:
        labeled: Cases with a label map, or patients where they have several.
        test: What the user wants of a locked test list, or None.
        budget_s: Seconds of everything.
        folds: Parts that the user wants; 0 for none, None for what labels and time allow.
    """
    if labeled < FEWEST_FOR_FOLDS:
        return Roles(test=test, reason="with one labeled case nothing can be validated")
    are_few = labeled < ENOUGH_FOR_ONE_LIST
    wanted = min(folds or FOLDS, labeled)
    each_s = expected_s(budget_s, runs=wanted)
    is_hurried = are_few and folds is None and each_s < FEWEST_S
    if folds or (are_few and folds is None and not is_hurried):
        return Roles(
            wanted,
            test=test,
            reason=f"{labeled} labels{' are few' * are_few}: {wanted} networks, each validated on "
            f"the {'others' if wanted == labeled else 'part'} that it did not learn from, and all "
            "of them predict",
        )
    held = FIFTH if labeled >= ENOUGH_FOR_FIFTH else None
    locked = test or (FIFTH if labeled >= ENOUGH_FOR_TEST else None)
    validates = "a fifth validates" if held else "all teach, and nothing validates"
    why = (
        f" one network has all of the time (each of {wanted} would learn for {in_words(each_s)}; "
        f"--folds {wanted} has them),"
    )
    return Roles(
        validation=held,
        test=locked,
        is_hurried=is_hurried,
        reason=f"{labeled} labels:{why * is_hurried} {validates}"
        f"{', a fifth is locked as test' * bool(locked)}",
    )


def expected_s(budget_s: float, *, runs: int, share: float = SHARED) -> float:
    """Seconds that one supervised training gets, as long as nothing is known but the budget.

    Args:
        budget_s: Of everything.
        runs: Trainings of each kind.
        share: Of the supervised ones; 1 where there are no others.
    """
    return budget_s * share / runs


@dataclass(frozen=True)
class Time:
    """What is left to train with.

    Args:
        budget_s: Of everything.
        spent_s: Up to now.
        predicting_s: What prediction and scores at the end will take.
    """

    budget_s: float
    spent_s: float
    predicting_s: float

    @property
    def training_s(self) -> float:
        """Seconds for all trainings from now on."""
        predicting = min(self.predicting_s, FOR_PREDICTING * self.budget_s)
        return max(0.0, self.budget_s * (1 - SPARE) - self.spent_s - predicting)


def is_worth(seconds: float, *, semi_step_s: float) -> bool:
    """Whether that time is enough for a training from unlabeled scans."""
    return seconds > 0 and seconds >= FEWEST_STEPS * semi_step_s


def share_of_supervised(time: Time, *, runs: int, semi_step_s: float) -> float:
    """Seconds of one supervised training; the rest is for those that learn from unlabeled scans.

    Args:
        time: What is left.
        runs: Trainings of each kind.
        semi_step_s: Seconds of a step that learns from unlabeled scans; 0 where there are none.

    Returns:
        All of the time where the other half would not be worth its start.
    """
    half = time.training_s * (1 - SHARED) / runs
    if not semi_step_s or not is_worth(half, semi_step_s=semi_step_s):
        return time.training_s / runs
    return time.training_s * SHARED / runs


def networks_in_time(time: Time, *, runs: int, scans: int, seconds_a_scan: float) -> int:
    """How many of the runs can predict all scans in the time that is left; at least one.

    Args:
        time: What is left.
        runs: Those that there are.
        scans: To be predicted.
        seconds_a_scan: Of one run, as validation took.
    """
    each = max(1e-9, scans * seconds_a_scan)
    return max(1, min(runs, int((time.budget_s - time.spent_s) / each)))
