"""What `llmseg auto` does: one ordinary command after another, each recorded before and after."""

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llmseg_cli.artifacts.lock import only_job
from llmseg_cli.artifacts.manifest import MANIFEST, Manifest
from llmseg_cli.artifacts.own_folder import refuse_replacing
from llmseg_cli.artifacts.run_files import COURSE
from llmseg_cli.artifacts.split import SPLIT, Split
from llmseg_cli.config_file import PROJECT_FILE
from llmseg_cli.data.cases import find_cases
from llmseg_cli.errors import CommandError, ExitCode, PolicyError, UsageError
from llmseg_cli.knowledge.descriptions.library import entry_of_classes, find_entry
from llmseg_cli.planning.course import (
    LEAST_S,
    SHARED,
    Roles,
    Time,
    choose_roles,
    expected_s,
    is_worth,
    networks_in_time,
    share_of_supervised,
)
from llmseg_cli.workflows.auto.choice import SUPERVISED, labels_alone, method_of
from llmseg_cli.workflows.auto.journal import SCRIPT, Course
from llmseg_cli.workflows.auto.predicting import Forecast, answering, foresee
from llmseg_cli.workflows.auto.scores import dice_of
from llmseg_cli.workflows.auto.steps import Call, Steps
from llmseg_cli.workflows.auto.wish import Wish, first_fold, refuse_other_wish

logger = logging.getLogger(__name__)

CHECK, FOLDS, PLAN = "check.json", "folds", PROJECT_FILE
TEXTS, EMBEDDINGS, MASKS, VALIDATION = "texts.yaml", "texts.safetensors", "masks", "validation"
TEST_MASKS, TEST_SCORES = "test-masks", "test-scores.json"
NAMES = (
    *(COURSE, SCRIPT, MANIFEST, CHECK, SPLIT, FOLDS, PLAN, TEXTS, EMBEDDINGS, MASKS, VALIDATION),
    *(SUPERVISED, TEST_MASKS, TEST_SCORES),
)


@dataclass(frozen=True)
class Outcome:
    """What was found.

    Args:
        course: All commands.
        document: What `run.json` and `--json` tell.
    """

    course: Course
    document: dict[str, Any]


def run(wish: Wish, call: Call, *, resume: bool, force: bool) -> Outcome:
    """Go from a folder of scans to masks of all its unlabeled scans.

    Args:
        wish: What to do.
        call: Runs an ordinary command, its words without `llmseg`; returns its stdout.
        resume: Go on with what the folder holds.
        force: Begin anew in a folder that exists.

    Raises:
        UsageError: If the folder or a wish does not serve.
        LlmsegError: What a command raised; the course can be resumed after it.
    """
    has_course = (wish.out / COURSE).is_file()
    if has_course and not resume and not force:
        raise UsageError(
            f"{wish.out} holds a course of 'llmseg auto'. Go on with --resume, replace it with "
            "--force, or choose another -o."
        )
    if not has_course and not resume:
        refuse_replacing(wish.out, force=force, names=NAMES)
    if wish.target is not None:
        find_entry(wish.target)  # refuses what the library does not have
    wish.out.mkdir(parents=True, exist_ok=True)
    with only_job(wish.out):
        return _Auto(wish, call, resume=resume, force=force).run()


GENTLE = "0.0005"  # learning rate of weights that have learned already
TOO_SMALL = "A budget of %.0f s is too small; a training gets %.0f s. Pass a larger --budget."


class _Auto:
    def __init__(self, wish: Wish, call: Call, *, resume: bool, force: bool) -> None:
        self.wish = wish
        self.manifest = Manifest("auto", seed=wish.seed)
        asked = {key: str(value) for key, value in asdict(wish).items() if key != "out"}
        course = Course(wish=asked)
        if resume and (wish.out / COURSE).is_file():
            course = Course.load(wish.out / COURSE)
            refuse_other_wish(wish.out, course.wish, asked)
        self.steps = Steps(wish.out, call, course, force=force)

    def run(self) -> Outcome:
        """All steps that are not done."""
        labeled = self._check()
        roles = choose_roles(
            labeled, self.wish.test, budget_s=self.wish.budget_s, folds=self.wish.folds
        )
        logger.info("%s.", roles.reason[:1].upper() + roles.reason[1:])
        split = self._split(roles)
        unlabeled = len(Split.load(first_fold(split)).unlabeled)
        planned = self._plan(split, roles)
        self._describe(planned)
        self.forecast = self._foresee(planned, split, roles)
        candidates = self._train(planned, split, roles, unlabeled)
        dice = {name: self._validate(name, split, roles) for name in candidates}
        known = {name: value for name, value in dice.items() if value is not None}
        chosen = max(known, key=lambda name: known[name]) if known else candidates[-1]
        counts = self._predict(self._answering(chosen, split, roles), split, unlabeled)
        document = {
            "schema": "llmseg/auto-summary/1",
            "out": str(self.wish.out),
            "roles": asdict(roles),
            "validation_dice": dice,
            "chosen": chosen,
            **counts,
            "mirror": self.forecast.mirror,
            "budget_s": self.wish.budget_s,
            "spent_s": round(self.steps.course.spent_s, 1),
        }
        self.manifest.details = document
        self.manifest.write(self.wish.out, outputs=(COURSE, SCRIPT))
        return Outcome(self.steps.course, document)

    def _check(self) -> int:
        """Labeled cases, or patients, that are not of the data set's own test set."""
        wish, path = self.wish, self.wish.out / CHECK
        grouped = ["--group-by", wish.group_by] if wish.group_by else []
        self.steps.take(
            "check", ["check", "--data", str(wish.data), *wish.labels, *grouped, "-o", str(path)]
        )
        cases = json.loads(path.read_text(encoding="utf-8"))["cases"]
        tests = {case.id for case in find_cases(wish.data).cases if case.is_test}
        open_cases = [case for case in cases if case["id"] not in tests]
        labeled = {case["group"] or case["id"] for case in open_cases if case["label_values"]}
        if not labeled:
            raise PolicyError(
                f"No case of {wish.data} has a label map, and a training needs some. Put them "
                "into labels/, named like the images."
            )
        return len(labeled)

    def _split(self, roles: Roles) -> Path:
        """The split, or the first of its folds."""
        wish = self.wish
        grouped = ["--group-by", wish.group_by] if wish.group_by else []
        test = ["--test", roles.test] if roles.test else []
        words = ["split", "--data", str(wish.data), *wish.labels, *grouped, *test]
        words += ["--seed", str(wish.seed)]
        if roles.folds:
            folder = wish.out / FOLDS
            self.steps.take("split", [*words, "--folds", str(roles.folds), "-o", str(folder)])
            return folder
        held = ["--validation", roles.validation] if roles.validation else []
        self.steps.take("split", [*words, *held, "-o", str(wish.out / SPLIT)])
        return wish.out / SPLIT

    def _plan(self, split: Path, roles: Roles) -> dict[str, Any]:
        """Settings for about the time that one supervised training will get."""
        wish = self.wish
        share = 1.0 if labels_alone(wish, roles) else SHARED
        seconds = expected_s(wish.budget_s, runs=max(1, roles.folds), share=share)
        words = ["plan", "--data", str(wish.data), *wish.labels, *wish.on_device]
        words += ["--split", str(first_fold(split)), "--budget", f"{seconds:.0f}s"]
        self.steps.take("plan", [*words, "-o", str(wish.out / PLAN)], keeps=True)
        return dict(self.steps.course.found["plan"])

    def _describe(self, planned: dict[str, Any]) -> None:
        """Texts for the classes, where the library has them."""
        names = list(planned["scans"]["classes"].values())
        if self.wish.target is not None:
            entry = find_entry(self.wish.target)
        else:
            known = entry_of_classes(names, hints=[self.wish.data.resolve().name])
            if known is None:
                return
            entry = known
        texts, embeddings = (str(self.wish.out / name) for name in (TEXTS, EMBEDDINGS))
        classes = [word for name in names for word in ("--class", name)]
        self.steps.take("describe", ["describe", "--target", entry.target, *classes, "-o", texts])
        try:
            self.steps.take("embed", ["embed", texts, "-o", embeddings, *self.wish.on_device])
        except CommandError as error:
            if error.exit_code != ExitCode.WEIGHTS:
                raise
            logger.warning("The texts are not embedded, and no training here needs them.")

    def _train(
        self, planned: dict[str, Any], split: Path, roles: Roles, unlabeled: int
    ) -> list[str]:
        """Train the baseline, and one that learns from unlabeled scans; returns their names."""
        runs = max(1, roles.folds)
        semi = planned["paces"].get("train-semi") if unlabeled else None
        method = method_of(self.wish, planned, roles) if semi else None
        step_s = semi["step_s"] if semi and method else 0.0
        left = self._time_left()
        share = share_of_supervised(left, runs=runs, semi_step_s=step_s)
        if share < LEAST_S and self.steps.course.step(SUPERVISED) is None:
            logger.warning(TOO_SMALL, self.wish.budget_s, LEAST_S)
        self._training(SUPERVISED, ["train-sup"], split, share)
        if method is None:
            return [SUPERVISED]
        left = self._time_left()
        is_begun = self.steps.course.step(method) is not None
        if not is_begun and not is_worth(2 * left.training_s / runs, semi_step_s=step_s):
            logger.info("There is no time left to learn from unlabeled scans.")
            return [SUPERVISED]
        start = ["train-semi", "--method", method, "--learning-rate", GENTLE]
        start += ["--init", str(self.wish.out / SUPERVISED)]
        self._training(method, start, split, left.training_s / runs)
        return [SUPERVISED, method]

    def _training(self, name: str, start: list[str], split: Path, seconds: float) -> None:
        wish = self.wish
        words = [*start, "--config", str(wish.out / PLAN), "--data", str(wish.data)]
        words += ["--split", str(split), "--budget", f"{max(LEAST_S, seconds):.0f}s"]
        words += ["--seed", str(wish.seed), *wish.on_device]
        self.steps.take(name, [*words, "-o", str(wish.out / name), "--resume"])

    def _foresee(self, planned: dict[str, Any], split: Path, roles: Roles) -> Forecast:
        checked = json.loads((self.wish.out / CHECK).read_text(encoding="utf-8"))["cases"]
        known = Split.load(first_fold(split))
        budget_s = self.wish.budget_s
        return foresee(planned, checked, known, folds=roles.folds, budget_s=budget_s)

    def _time_left(self) -> Time:
        return Time(self.wish.budget_s, self.steps.course.spent_s, self.forecast.seconds)

    def _validate(self, name: str, split: Path, roles: Roles) -> float | None:
        """Mean Dice on the validation cases of all folds; None without any."""
        if not roles.folds and not roles.validation:
            return None
        wish = self.wish
        masks = wish.out / VALIDATION / name
        scores = masks.with_name(f"{name}.json")
        held = ["--subset", "validation"]
        asked = ["--cross-validation"] if roles.folds else ["--split", str(split), *held]
        words = ["predict", "--run", str(wish.out / name), "--data", str(wish.data)]
        words += [*asked, *self.forecast.words, *wish.on_device]
        self.steps.take(f"validate {name}", [*words, "-o", str(masks), "--resume"])
        known = ["--split", str(masks / SPLIT if roles.folds else split), *held]
        words = ["score", "--pred", str(masks), "--ref", str(wish.data), *known]
        self.steps.take(f"score {name}", [*words, "-o", str(scores), "--force"])
        return dice_of(scores)

    def _answering(self, chosen: str, split: Path, roles: Roles) -> list[str]:
        """The `--run` words of the chosen training."""
        folder, known = self.wish.out / chosen, Split.load(first_fold(split))
        validation = self.steps.course.step(f"validate {chosen}")
        if not roles.folds or validation is None:
            return ["--run", str(folder)]
        count = networks_in_time(
            Time(self.wish.budget_s, self.steps.course.spent_s, 0.0),
            runs=roles.folds,
            scans=len(known.unlabeled) + len(known.test),
            seconds_a_scan=validation["seconds"] / (len(known.labeled) + len(known.validation)),
        )
        return answering(folder, count, roles.folds)

    def _predict(self, runs: list[str], split: Path, unlabeled: int) -> dict[str, Any]:
        """Masks of all unlabeled scans and, if there are any, scores of the locked test scans."""
        wish = self.wish
        words = ["predict", *runs, "--data", str(wish.data), "--split", str(first_fold(split))]
        words += [*self.forecast.words, *wish.on_device]
        found: dict[str, Any] = {"masks": 0, "test_dice": None}
        if unlabeled:
            masks = wish.out / MASKS
            asked = ["--subset", "unlabeled", "-o", str(masks), "--resume"]
            self.steps.take("predict", [*words, *asked])
            record = json.loads((masks / MANIFEST).read_text(encoding="utf-8"))
            found["masks"] = record["counts"]["ok"] + record["counts"]["skipped"]
        if Split.load(first_fold(split)).test:
            masks, scores = wish.out / TEST_MASKS, wish.out / TEST_SCORES
            asked = ["--subset", "test", "-o", str(masks), "--resume"]
            self.steps.take("predict test", [*words, *asked])
            line = ["score", "--pred", str(masks), "--ref", str(wish.data)]
            line += ["--split", str(first_fold(split)), "--subset", "test", "-o", str(scores)]
            self.steps.take("score test", [*line, "--force"])
            found["test_dice"] = dice_of(scores)
        return found
