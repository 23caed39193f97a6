"""The course of `llmseg auto`, with commands that only write what later ones read."""

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny_data import write_cases

from llmseg_cli.artifacts.run_files import COURSE
from llmseg_cli.artifacts.split import Split
from llmseg_cli.errors import ArtifactError, CommandError, ExitCode, PolicyError, UsageError
from llmseg_cli.options import parse_duration
from llmseg_cli.workflows.auto import steps as stepping
from llmseg_cli.workflows.auto.journal import SCRIPT, Course
from llmseg_cli.workflows.auto.run import run
from llmseg_cli.workflows.auto.wish import Wish

LABELED = ("case00", "case01", "case02", "case03")
UNLABELED = ("case04", "case05", "case06")
SECONDS = {"check": 5.0, "split": 2.0, "plan": 10.0, "describe": 1.0, "embed": 3.0}
SEMI = "cross-pseudo-supervision"
DICE = {"supervised": 0.7, SEMI: 0.8, "usl": 0.6, "test": 0.75}


class Killed(BaseException):  # no error: SIGKILL
    """The process is gone."""


class Commands:
    """Writes what commands write; time goes as they would take it.

    Args:
        data: The data set.
        labeled: Cases with a label map.
    """

    def __init__(self, data: Path, labeled: Sequence[str] = LABELED) -> None:
        self.data, self.labeled = data, tuple(labeled)
        self.unlabeled = tuple(UNLABELED)
        self.seconds = 0.0
        self.said: list[list[str]] = []
        self.kill: tuple[int, bool] | None = None  # at which call, and whether it has written
        self.slow = 1.0  # of trainings, over their budget
        self.classes = {"1": "left atrium"}
        self.augment = "standard"
        self.refused: dict[str, CommandError] = {}

    def now(self) -> float:
        return self.seconds

    def __call__(self, words: Sequence[str]) -> str:
        words = list(words)
        self.said.append(words)
        name = words[0]
        is_killed = self.kill is not None and self.kill[0] == len(self.said) - 1
        if is_killed and not self.kill[1]:
            raise Killed
        if name in self.refused:
            raise self.refused[name]
        out = Path(words[words.index("-o") + 1])
        if out.exists() and not {"--force", "--resume"} & set(words):
            raise UsageError(f"{out} exists.")
        self.seconds += self.cost(words)
        said = getattr(self, f"_{name.replace('-', '_')}")(words, out)
        if is_killed:
            raise Killed
        return json.dumps(said) if "--json" in words else ""

    def cost(self, words: list[str]) -> float:
        if words[0].startswith("train"):
            if "--resume" in words and (Path(words[words.index("-o") + 1]) / "done").exists():
                return 1.0
            return self.slow * self.runs(words) * self.budget(words)
        return SECONDS.get(words[0], 4.0)

    def budget(self, words: list[str]) -> float:
        return parse_duration(words[words.index("--budget") + 1])

    def runs(self, words: list[str]) -> int:
        split = Path(words[words.index("--split") + 1])
        return 1 if split.suffix == ".json" else len(list(split.iterdir()))

    def _check(self, words, out):
        cases = [
            {
                "id": name,
                "group": None,
                "label_values": {"0": 9, "1": 3} if name in self.labeled else None,
                "shape": [20, 20, 20],
                "spacing": [1.0, 1.0, 1.0],
            }
            for name in (*self.labeled, *self.unlabeled)
        ]
        out.write_text(json.dumps({"cases": cases}))

    def split_of(self, labeled, validation=(), test=()) -> Split:
        images = dict.fromkeys((*labeled, *validation, *test, *self.unlabeled), "0" * 64)
        return Split(
            labeled=tuple(labeled),
            unlabeled=self.unlabeled,
            validation=tuple(validation),
            test=tuple(test),
            seed=0,
            images=images,
            groups={},
        )

    def _split(self, words, out):
        if "--folds" in words:
            out.mkdir(exist_ok=True)
            folds = int(words[words.index("--folds") + 1])
            for fold in range(folds):
                held = self.labeled[fold::folds]
                rest = [name for name in self.labeled if name not in held]
                self.split_of(rest, held).save(out / f"fold-{fold}.json")
            return
        rest, held, test = list(self.labeled), [], []
        if "--validation" in words:
            held = [rest.pop()]
        if "--test" in words:
            test = [rest.pop()]
        self.split_of(rest, held, test).save(out)

    def _plan(self, words, out):
        out.write_text("patch: 16,16,16\n")
        paces = {"train-sup": {"step_s": 0.1, "forward_s": 0.01}}
        values = {"patch": [16, 16, 16], "spacing": [0.0], "augment": self.augment}
        choices: dict[str, Any] = {name: {"value": value} for name, value in values.items()}
        if self.unlabeled:
            paces["train-semi"] = {"step_s": 0.3, "forward_s": 0.02}
            choices["method"] = {"value": SEMI}
        return {
            "choices": choices,
            "paces": paces,
            "shape": [20, 20, 20],
            "scans": {
                "sizes": {"shape": [20, 20, 20]},
                "classes": self.classes,
                "labeled": len(self.labeled),
            },
        }

    def _describe(self, words, out):
        out.write_text("texts")

    def _embed(self, words, out):
        out.write_text("vectors")

    def _train_sup(self, words, out):
        out.mkdir(exist_ok=True)
        (out / "done").touch()

    _train_semi = _train_sup

    def _predict(self, words, out):
        out.mkdir(parents=True, exist_ok=True)
        record = {"tool": "llmseg", "counts": {"ok": len(self.unlabeled), "skipped": 0}}
        (out / "run.json").write_text(json.dumps(record))
        if "--cross-validation" in words:
            self.split_of((), self.labeled).save(out / "split.json")

    def _score(self, words, out):
        name = "test" if out.name.startswith("test") else out.stem
        write_scores(out, DICE[name])


def write_scores(path: Path, dice: float) -> None:
    """A report of `score` with nothing but a mean."""
    from llmseg_cli.artifacts.scores import Scores

    empty: dict[str, Any] = {}
    Scores(
        status="ok",
        unit="mm",
        empty_policy="diagonal",
        worst_distance=1.0,
        tolerance=1.0,
        bootstrap=empty,
        classes=empty,
        split=None,
        subset="validation",
        predictions=empty,
        counts=empty,
        metrics={"dice": {"mean": dice}},
        cases=(),
        failed=empty,
    ).save(path)


@pytest.fixture
def data(tmp_path) -> Path:
    maps = [*[[1]] * len(LABELED), *[None] * len(UNLABELED)]
    return write_cases(tmp_path / "scans", maps)


@pytest.fixture
def commands(data, monkeypatch) -> Commands:
    found = Commands(data)
    monkeypatch.setattr(stepping, "time", SimpleNamespace(monotonic=found.now))
    return found


@pytest.fixture
def wish(data, tmp_path) -> Wish:
    return Wish(data, tmp_path / "out", 600.0, folds=3)


def go(wish: Wish, commands: Commands, *, resume: bool = False, force: bool = False):
    return run(wish, commands, resume=resume, force=force)


def names(course: Course) -> list[str]:
    return [step["name"] for step in course.steps]


def test_the_course_with_few_labels(wish, commands):
    found = go(wish, commands)
    assert names(found.course) == [
        *("check", "split", "plan", "describe", "embed", "supervised", SEMI),
        *("validate supervised", "score supervised", f"validate {SEMI}", f"score {SEMI}"),
        "predict",
    ]
    assert found.course == Course.load(wish.out / COURSE)
    assert all(step["is_done"] for step in found.course.steps)
    out, data = str(wish.out), str(wish.data)
    by_name = {step["name"]: step["words"] for step in found.course.steps}
    folds = f"{out}/folds"
    assert by_name["split"] == ["split", "--data", data, "--seed", "0", "--folds", "3", "-o", folds]
    assert "--split" in by_name["plan"]
    assert by_name["plan"][by_name["plan"].index("--split") + 1] == f"{folds}/fold-0.json"
    assert by_name["describe"][:5] == [
        "describe",
        "--target",
        "left atrium",
        "--class",
        "left atrium",
    ]
    assert by_name["supervised"][:3] == ["train-sup", "--config", f"{out}/llmseg.yaml"]
    start = ["train-semi", "--method", SEMI, "--learning-rate", "0.0005"]
    assert by_name[SEMI][:7] == [*start, "--init", f"{out}/supervised"]
    assert by_name["predict"][:3] == ["predict", "--run", f"{out}/{SEMI}"]  # the better one
    assert found.document["chosen"] == SEMI
    assert found.document["validation_dice"] == {"supervised": 0.7, SEMI: 0.8}
    assert found.document["masks"] == len(UNLABELED)
    assert found.document["test_dice"] is None
    assert json.loads((wish.out / "run.json").read_text())["details"] == found.document


def test_what_was_run_is_a_script(wish, commands):
    found = go(wish, commands)
    lines = (wish.out / SCRIPT).read_text().splitlines()
    assert lines[0] == "#!/bin/sh"
    run_lines = [line for line in lines if line.startswith("llmseg ")]
    assert [shlex.split(line)[1:] for line in run_lines] == [
        step["words"] for step in found.course.steps
    ]
    assert not any("--json" in line for line in run_lines)


@pytest.mark.parametrize("budget_s", [300.0, 600.0, 3600.0])
def test_trainings_share_the_time_and_all_ends_within_it(wish, commands, budget_s):
    found = go(replace(wish, budget_s=budget_s), commands)
    trainings = [words for words in commands.said if words[0].startswith("train")]
    sup, semi = (3 * commands.budget(words) for words in trainings)
    assert sup == pytest.approx(semi, rel=0.1)
    assert sup + semi > 0.7 * budget_s - 60
    assert found.document["spent_s"] == pytest.approx(commands.seconds, abs=0.1)
    assert commands.seconds <= 1.1 * budget_s


def test_little_time_for_few_labels_is_for_one_network(wish, commands, caplog):
    caplog.set_level("INFO")
    found = go(replace(wish, folds=None), commands)
    by_name = {step["name"]: step["words"] for step in found.course.steps}
    assert "--folds" not in by_name["split"]
    assert SEMI not in by_name
    assert found.document["roles"]["is_hurried"]
    assert found.document["chosen"] == "supervised"
    assert commands.budget(by_name["supervised"]) > 0.7 * wish.budget_s
    assert commands.seconds <= 1.1 * wish.budget_s


def test_much_time_for_few_labels_is_for_folds_and_asked_ones_are_had_in_any(wish, commands):
    found = go(replace(wish, folds=None, budget_s=3600.0), commands)
    assert found.document["roles"]["folds"] == 3
    assert SEMI in names(found.course)
    other = replace(wish, folds=2, out=wish.out.with_name("two"))
    assert go(other, Commands(wish.data)).document["roles"]["folds"] == 2


@pytest.mark.parametrize("augment", ["standard", "no-flips"])
def test_all_predictions_are_made_with_the_flips_of_the_training(wish, commands, augment):
    commands.augment = augment
    found = go(wish, commands)
    predictions = [words for words in commands.said if words[0] == "predict"]
    assert len(predictions) == 3  # two validations, the unlabeled
    assert found.document["mirror"] == (augment == "standard")
    assert [("--mirror" in words) for words in predictions] == [found.document["mirror"]] * 3


def test_a_baseline_that_took_too_long_leaves_no_time_for_another(wish, commands):
    commands.slow = 2.2
    found = go(wish, commands)
    assert SEMI not in names(found.course)
    assert found.document["chosen"] == "supervised"
    again = go(wish, Commands(wish.data), resume=True)
    assert names(again.course) == names(found.course)


def test_a_small_budget_trains_the_baseline_alone(wish, commands):
    found = go(replace(wish, budget_s=120.0), commands)
    assert SEMI not in names(found.course)
    (words,) = [words for words in commands.said if words[0] == "train-sup"]
    assert 3 * commands.budget(words) > 30


def test_a_budget_that_is_no_use_is_told(wish, commands, caplog):
    found = go(replace(wish, budget_s=12.0), commands)
    assert "A budget of 12 s is too small; a training gets 5 s." in caplog.text
    (words,) = [words for words in commands.said if words[0] == "train-sup"]
    assert words[words.index("--budget") + 1] == "5s"
    assert found.document["chosen"] == "supervised"


def without_time(words: list[str]) -> list[str]:
    """Words but for what earlier steps have left: a training's budget, and how many runs answer."""
    if words[0] == "predict":  # `--run out/usl`, or `--run out/usl/fold-0 --run out/usl/fold-1`
        line = re.sub(r"--run (\S+?)(/fold-\d+)? ", r"--run \1 ", " ".join(words))
        return list(dict.fromkeys(line.split()))
    if not words[0].startswith("train"):
        return words
    place = words.index("--budget") + 1
    return [*words[:place], *words[place + 1 :]]


@pytest.mark.parametrize("has_written", [False, True])
@pytest.mark.parametrize("at", range(12))
def test_killed_at_any_step_and_resumed_it_is_the_same_course(
    wish, commands, monkeypatch, at, has_written
):
    whole = replace(wish, out=wish.out.with_name("whole"))
    expected = [
        (step["name"], [word.replace("/whole", "/out") for word in step["words"]])
        for step in go(whole, commands).course.steps
    ]
    assert len(expected) == 12
    first = Commands(wish.data)
    monkeypatch.setattr(stepping, "time", SimpleNamespace(monotonic=first.now))
    first.kill = (at, has_written)
    with pytest.raises(Killed):
        go(wish, first)
    killed = Course.load(wish.out / COURSE)
    assert names(killed) == [name for name, _ in expected][: at + 1]
    assert [step["is_done"] for step in killed.steps] == [True] * at + [False]
    second = Commands(wish.data)
    monkeypatch.setattr(stepping, "time", SimpleNamespace(monotonic=second.now))
    found = go(wish, second, resume=True)
    assert len(second.said) == 12 - at
    got = [(step["name"], step["words"]) for step in found.course.steps]
    assert [name for name, _ in got] == [name for name, _ in expected]
    for (_, words), (_, wanted) in zip(got, expected, strict=True):
        assert without_time(words) == without_time(wanted)
    assert found.document["chosen"] == SEMI
    third = Commands(wish.data)
    assert go(wish, third, resume=True).course == found.course
    assert third.said == []


def test_a_command_that_fails_can_be_repaired(wish, commands):
    commands.refused = {"train-sup": CommandError("said above", ExitCode.RESOURCE)}
    with pytest.raises(CommandError):
        go(wish, commands)
    course = Course.load(wish.out / COURSE)
    assert course.step("supervised")["is_done"] is False
    assert not (wish.out / "run.json").exists()
    commands.refused = {}
    assert go(wish, commands, resume=True).document["chosen"] == SEMI


def test_texts_without_an_encoder_are_no_reason_to_stop(wish, commands, caplog):
    commands.refused = {"embed": CommandError("no weights", ExitCode.WEIGHTS)}
    found = go(wish, commands)
    assert "The texts are not embedded" in caplog.text
    assert found.course.step("embed")["is_done"] is False
    assert found.document["chosen"] == SEMI
    commands.refused = {"embed": CommandError("broken", ExitCode.USAGE)}
    with pytest.raises(CommandError):
        go(wish, commands, resume=True)


def test_classes_that_the_library_does_not_have_are_not_described(wish, commands):
    commands.classes = {"1": "class 1"}
    assert "describe" not in names(go(wish, commands).course)


def test_a_target_that_is_named(wish, commands):
    commands.classes = {"1": "class 1"}
    found = go(replace(wish, target="left atrium"), commands)
    words = found.course.step("describe")["words"]
    assert words[:3] == ["describe", "--target", "left atrium"]
    with pytest.raises(UsageError, match="nowhere"):
        go(replace(wish, target="nowhere", out=wish.out.with_name("b")), commands)
    assert not wish.out.with_name("b").exists()


def test_another_method_and_device(wish, commands):
    found = go(replace(wish, method="usl", device="cpu"), commands)
    assert found.document["chosen"] == "supervised"  # 0.7 against 0.6
    for step in found.course.steps:
        computes = step["words"][0] in ("plan", "embed", "train-sup", "train-semi", "predict")
        assert ("--device" in step["words"]) == computes
    only = go(replace(wish, method="supervised", out=wish.out.with_name("b")), commands)
    assert list(only.document["validation_dice"]) == ["supervised"]


def test_without_unlabeled_scans_nothing_is_predicted(tmp_path, commands):
    data = write_cases(tmp_path / "all", [[1]] * 4)
    commands.unlabeled = ()
    found = go(Wish(data, tmp_path / "out", 600.0), commands)
    assert "predict" not in names(found.course)
    assert found.document["masks"] == 0
    assert list(found.document["validation_dice"]) == ["supervised"]


def test_one_label_validates_nothing_and_nothing_is_compared(wish, commands):
    commands.labeled = LABELED[:1]
    found = go(wish, commands)
    assert names(found.course) == [
        *("check", "split", "plan", "describe", "embed", "supervised", "predict")
    ]
    assert found.document["validation_dice"] == {"supervised": None}
    (words,) = [words for words in commands.said if words[0].startswith("train")]
    assert commands.budget(words) > 500  # all of the time


def test_a_method_that_is_asked_for_is_taken_where_nothing_tells(wish, commands):
    commands.labeled = LABELED[:1]
    found = go(replace(wish, method="usl"), commands)
    assert found.document["validation_dice"] == {"supervised": None, "usl": None}
    assert found.document["chosen"] == "usl"


def test_many_labels_are_held_out_and_a_test_is_scored(wish, commands):
    commands.labeled = tuple(f"label{index:02d}" for index in range(60))
    found = go(replace(wish, folds=None), commands)
    words = found.course.step("split")["words"]
    assert words[-8:-2] == ["--test", "0.2", "--seed", "0", "--validation", "0.2"]
    assert words[-1] == str(wish.out / "split.json")
    assert names(found.course)[-2:] == ["predict test", "score test"]
    assert found.document["test_dice"] == 0.75
    asked = found.course.step("validate supervised")["words"]
    assert asked[asked.index("--split") + 1] == str(wish.out / "split.json")


def test_how_label_maps_are_read_is_told_to_those_that_read_them(wish, commands):
    found = go(
        replace(wish, label_map=("255:1",), ignore_label=7, group_by="(case)", seed=3), commands
    )
    for name in ("check", "split", "plan"):
        words = found.course.step(name)["words"]
        assert words[words.index("--label-map") + 1] == "255:1"
        assert words[words.index("--ignore-label") + 1] == "7"
        assert ("--group-by" in words) == (name != "plan")
    assert all(
        step["words"][step["words"].index("--seed") + 1] == "3"
        for step in found.course.steps
        if step["words"][0].startswith(("train", "split"))
    )


def test_scans_without_labels_are_refused(wish, commands):
    commands.labeled = ()
    with pytest.raises(PolicyError, match="a training needs some"):
        go(wish, commands)


def test_a_course_of_an_earlier_version_says_so(wish, commands):
    go(wish, commands)
    path = wish.out / COURSE
    path.write_text(path.read_text().replace('"folds"', '"a wish of that time"'))
    with pytest.raises(ArtifactError, match="of an earlier version, which knew no --folds"):
        go(wish, commands, resume=True)


@pytest.mark.parametrize(
    ("asked", "share"),
    [({"folds": None}, 1), ({"method": "supervised"}, 1 / 3), ({}, 0.5 / 3)],
)
def test_a_plan_is_for_the_time_that_a_training_gets(wish, commands, asked, share):
    found = go(replace(wish, **asked), commands)
    words = found.course.step("plan")["words"]
    assert commands.budget(words) == pytest.approx(share * wish.budget_s, abs=1)


def test_a_folder_with_a_course_says_what_can_be_done(wish, commands):
    go(wish, commands)
    with pytest.raises(UsageError, match="Go on with --resume, replace it with --force"):
        go(wish, commands)
    with pytest.raises(ArtifactError, match="a course of another budget "):
        go(replace(wish, budget_s=900.0), commands, resume=True)
    fresh = Commands(wish.data)
    found = go(replace(wish, budget_s=900.0), fresh, force=True)
    assert len(fresh.said) == 12
    for words in fresh.said:  # what an earlier course has left is replaced, and not gone on with
        assert "--force" in words
        assert "--resume" not in words
    assert not any("--force" in step["words"] for step in found.course.steps[:7])


def test_a_new_course_that_was_killed_goes_on_with_its_own(wish, commands):
    go(wish, commands)
    second = Commands(wish.data)
    second.kill = (5, True)
    with pytest.raises(Killed):
        go(wish, second, force=True)
    third = Commands(wish.data)
    go(wish, third, resume=True)
    assert third.said[0][0] == "train-sup"
    assert "--resume" in third.said[0]
    assert "--force" not in third.said[0]


def test_files_of_others_stay(wish, commands):
    wish.out.mkdir()
    (wish.out / "check.json").write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        go(wish, commands)
    with pytest.raises(UsageError, match="not written by llmseg"):
        go(wish, commands, force=True)
    assert (wish.out / "check.json").read_text() == "mine"
    assert commands.said == []
