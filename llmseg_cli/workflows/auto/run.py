"""What `llmseg auto` does: one ordinary command after another, each recorded before and after."""

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llmseg_cli.artifacts.files import refuse_existing
from llmseg_cli.artifacts.lock import only_job
from llmseg_cli.artifacts.manifest import MANIFEST, Manifest
from llmseg_cli.errors import ArtifactError, LlmsegError, PolicyError
from llmseg_cli.knowledge.descriptions.library import entry_of_classes, find_entry
from llmseg_cli.planning.course import (
    Roles,
    Time,
    choose_roles,
    networks_in_time,
    share_of_supervised,
)
from llmseg_cli.workflows.auto.journal import AUTO, SCRIPT, Course
from llmseg_cli.workflows.auto.predicting import predicting_s
from llmseg_cli.workflows.auto.scores import dice_of
from llmseg_cli.workflows.auto.wish import Wish

logger = logging.getLogger(__name__)

Call = Callable[[Sequence[str]], str]  # runs a command; returns what it wrote on stdout
SUPERVISED = "supervised"
CHECK, SPLIT, FOLDS, PLAN = "check.json", "split.json", "folds", "llmseg.yaml"
TEXTS, EMBEDDINGS, MASKS, VALIDATION = "texts.yaml", "texts.safetensors", "masks", "validation"


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
        LlmsegError: What a command raised; the course can be resumed after it.
    """
    if not resume:
        refuse_existing(wish.out, force=force)
    wish.out.mkdir(parents=True, exist_ok=True)
    with only_job(wish.out):
        return _Auto(wish, call, resume=resume, force=force).run()


class _Auto:
    def __init__(self, wish: Wish, call: Call, *, resume: bool, force: bool) -> None:
        self.wish, self.call, self.force = wish, call, force
        self.manifest = Manifest("auto", seed=wish.seed)
        asked = {key: str(value) for key, value in asdict(wish).items() if key != "out"}
        self.course = Course(wish=asked)
        if resume and (wish.out / AUTO).is_file():
            self.course = Course.load(wish.out / AUTO)
            if changed := [k for k in asked if self.course.wish.get(k) != asked[k]]:
                raise ArtifactError(
                    f"{wish.out} holds a course of another {changed[0].replace('_', '-')} "
                    f"({self.course.wish.get(changed[0])}, now {asked[changed[0]]}). Choose "
                    "another -o, or pass --force instead of --resume to begin anew."
                )

    def run(self) -> Outcome:
        """All steps that are not done."""
        labeled, unlabeled = self._check()
        roles = choose_roles(labeled, self.wish.test)
        logger.info("%s.", roles.reason[:1].upper() + roles.reason[1:])
        split = self._split(roles)
        planned = self._plan(split)
        self._describe(planned)
        candidates = self._train(planned, split, roles, unlabeled)
        dice = {name: self._validate(name, split, roles) for name in candidates}
        chosen = max(dice, key=lambda name: -1.0 if dice[name] is None else float(dice[name] or 0))
        answering = self._answering(chosen, roles, labeled, unlabeled)
        counts = self._predict(answering, split, unlabeled)
        document = {
            "schema": "llmseg/auto-summary/1",
            "out": str(self.wish.out),
            "roles": asdict(roles),
            "validation_dice": dice,
            "chosen": chosen,
            **counts,
            "budget_s": self.wish.budget_s,
            "spent_s": round(self.course.spent_s, 1),
        }
        self.manifest.details = document
        self.manifest.write(self.wish.out, outputs=(AUTO, SCRIPT))
        return Outcome(self.course, document)

    # steps

    def _check(self) -> tuple[int, int]:
        """Labeled cases (or patients) and unlabeled cases."""
        wish, path = self.wish, self.wish.out / CHECK
        grouped = ["--group-by", wish.group_by] if wish.group_by else []
        self._step(
            "check", ["check", "--data", str(wish.data), *wish.labels, *grouped, "-o", str(path)]
        )
        cases = json.loads(path.read_text(encoding="utf-8"))["cases"]
        labeled = {case["group"] or case["id"] for case in cases if case["label_values"]}
        if not labeled:
            raise PolicyError(
                f"No case of {wish.data} has a label map, and a training needs some. Put them "
                "into labels/, named like the images."
            )
        return len(labeled), sum(not case["label_values"] for case in cases)

    def _split(self, roles: Roles) -> Path:
        """The split, or the first of its folds."""
        wish = self.wish
        grouped = ["--group-by", wish.group_by] if wish.group_by else []
        test = ["--test", roles.test] if roles.test else []
        words = ["split", "--data", str(wish.data), *wish.labels, *grouped, *test]
        words += ["--seed", str(wish.seed)]
        if roles.folds:
            folder = wish.out / FOLDS
            self._step("split", [*words, "--folds", str(roles.folds), "-o", str(folder)])
            return folder
        held = ["--validation", roles.validation] if roles.validation else []
        self._step("split", [*words, *held, "-o", str(wish.out / SPLIT)])
        return wish.out / SPLIT

    def _plan(self, split: Path) -> dict[str, Any]:
        wish = self.wish
        if self.course.step("plan") is None or "plan" not in self.course.found:
            words = ["plan", "--data", str(wish.data), *wish.labels, "--device", wish.device]
            words += ["--split", str(_first(split)), "--budget", f"{wish.budget_s / 2:.0f}s"]
            said = self._step("plan", [*words, "-o", str(wish.out / PLAN)], "--json")
            self.course = self.course.with_found(plan=json.loads(said))
            self.course.save_in(wish.out)
        found: dict[str, Any] = self.course.found["plan"]
        return found

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
        self._step("describe", ["describe", "--target", entry.target, *classes, "-o", texts])
        self._step("embed", ["embed", texts, "-o", embeddings])

    def _train(
        self, planned: dict[str, Any], split: Path, roles: Roles, unlabeled: int
    ) -> list[str]:
        """Train the baseline, and one that learns from unlabeled scans; returns their names."""
        runs = max(1, roles.folds)
        method = planned["choices"].get("method", {}).get("value") if unlabeled else None
        method = (self.wish.method or method) if unlabeled else None
        semi = planned["paces"].get("train-semi")
        left = self._time_left(planned, runs, unlabeled, semi)
        share = share_of_supervised(left, runs=runs, semi_step_s=semi["step_s"] if method else 0.0)
        self._training(SUPERVISED, ["train-sup"], split, share)
        if method is None:
            return [SUPERVISED]
        left = self._time_left(planned, runs, unlabeled, semi)
        if left.training_s / runs < share / 4:
            logger.info("There is no time left to learn from unlabeled scans.")
            return [SUPERVISED]
        start = ["train-semi", "--method", method, "--init", str(self.wish.out / SUPERVISED)]
        self._training(method, start, split, left.training_s / runs)
        return [SUPERVISED, method]

    def _training(self, name: str, start: list[str], split: Path, seconds: float) -> None:
        wish = self.wish
        words = [*start, "--config", str(wish.out / PLAN), "--data", str(wish.data)]
        words += ["--split", str(split), "--budget", f"{seconds:.0f}s", "--seed", str(wish.seed)]
        self._step(name, [*words, "-o", str(wish.out / name), "--resume"])

    def _time_left(
        self, planned: dict[str, Any], runs: int, unlabeled: int, semi: dict[str, Any] | None
    ) -> Time:
        scans = planned["scans"]
        pace = semi or planned["paces"]["train-sup"]
        predicting = predicting_s(
            planned["shape"],
            scans["sizes"]["shape"],
            tuple(planned["choices"]["patch"]["value"]),
            classes=1 + len(scans["classes"]),
            scans=unlabeled + 2 * scans["labeled"],
            networks=runs,
            forward_s=pace["forward_s"],
        )
        return Time(self.wish.budget_s, self.course.spent_s, predicting)

    def _validate(self, name: str, split: Path, roles: Roles) -> float | None:
        """Mean Dice on the validation cases of all folds; None without any."""
        if not roles.folds and not roles.validation:
            return None
        wish = self.wish
        masks, scores = wish.out / VALIDATION / name, wish.out / VALIDATION / f"{name}.json"
        held = ["--subset", "validation"]
        asked = ["--cross-validation"] if roles.folds else ["--split", str(split), *held]
        words = ["predict", "--run", str(wish.out / name), "--data", str(wish.data), *asked]
        self._step(f"validate {name}", [*words, "-o", str(masks), "--resume"])
        known = ["--split", str(masks / SPLIT if roles.folds else split), *held]
        words = ["score", "--pred", str(masks), "--ref", str(wish.data), *known]
        self._step(f"score {name}", [*words, "-o", str(scores), "--force"])
        return dice_of(scores)

    def _answering(self, chosen: str, roles: Roles, labeled: int, unlabeled: int) -> list[str]:
        """The `--run` words of the chosen training: all of its runs, or as many as time allows."""
        folder = self.wish.out / chosen
        validation = self.course.step(f"validate {chosen}")
        if not roles.folds or validation is None:
            return ["--run", str(folder)]
        time = Time(self.wish.budget_s, self.course.spent_s, 0.0)
        count = networks_in_time(
            time,
            runs=roles.folds,
            scans=unlabeled,
            seconds_a_scan=validation["seconds"] / labeled,
        )
        if count == roles.folds:
            return ["--run", str(folder)]
        logger.info("There is time for %d of the %d networks to predict.", count, roles.folds)
        members = [str(folder / f"fold-{number}") for number in range(count)]
        return [word for member in members for word in ("--run", member)]

    def _predict(self, answering: list[str], split: Path, unlabeled: int) -> dict[str, Any]:
        """Masks of all unlabeled scans and, if there are any, scores of the locked test scans."""
        wish = self.wish
        words = ["predict", *answering, "--data", str(wish.data), "--split", str(_first(split))]
        found: dict[str, Any] = {"masks": 0, "test_dice": None}
        if unlabeled:
            masks = wish.out / MASKS
            self._step("predict", [*words, "--subset", "unlabeled", "-o", str(masks), "--resume"])
            record = json.loads((masks / MANIFEST).read_text(encoding="utf-8"))
            found["masks"] = record["counts"]["ok"] + record["counts"]["skipped"]
        from llmseg_cli.artifacts.split import Split

        if Split.load(_first(split)).test:
            masks, scores = wish.out / "test-masks", wish.out / "test-scores.json"
            self._step("predict test", [*words, "--subset", "test", "-o", str(masks), "--resume"])
            roles = ["--split", str(_first(split)), "--subset", "test"]
            line = ["score", "--pred", str(masks), "--ref", str(wish.data), *roles]
            line += ["-o", str(scores)]
            self._step("score test", [*line, "--force"])
            found["test_dice"] = dice_of(scores)
        return found

    def _step(self, name: str, words: list[str], *quiet: str) -> str:
        """Run a command unless it is done; a training that was begun keeps its words."""
        before = self.course.step(name)
        if before is not None and before["is_done"]:
            return ""
        line = list(before["words"]) if before is not None else words
        used = before["seconds"] if before is not None else 0.0
        if self.force and "--force" not in line and "--resume" not in line:
            line = [*line, "--force"]
        self.course = self.course.with_step(name, line, seconds=used, is_done=False)
        self.course.save_in(self.wish.out)
        begun = time.monotonic()
        try:
            said = self.call([*line, *quiet])
        except LlmsegError:
            self._note(name, line, used + time.monotonic() - begun, is_done=False)
            raise
        self._note(name, line, used + time.monotonic() - begun, is_done=True)
        return said

    def _note(self, name: str, line: list[str], seconds: float, *, is_done: bool) -> None:
        self.course = self.course.with_step(name, line, seconds=seconds, is_done=is_done)
        self.course.save_in(self.wish.out)


def _first(split: Path) -> Path:
    """The split, or the first fold of a folder of them; tests and unlabeled are those of all."""
    return split / "fold-0.json" if split.suffix != ".json" else split
