"""Options by a constructor, classes by declared and found values, the score of validation cases."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_runs import run_config
from torch import Tensor, nn

from llmseg_cli.data.patches.cache import PreparedCase
from llmseg_cli.errors import DataError, UsageError
from llmseg_cli.metrics.overlap import dice_per_class
from llmseg_cli.registry import METHODS, MODELS, Registry
from llmseg_cli.workflows.train.data import class_names
from llmseg_cli.workflows.train.named_options import options_of
from llmseg_cli.workflows.train.validation import dice_scorer


class Thing:
    """What a registry could name."""

    def __init__(
        self, build, *, share: float = 0.5, count: int = 2, fast: bool = False, kind: str = "a"
    ) -> None:
        del build, share, count, fast, kind


@pytest.fixture
def things() -> Registry:
    return Registry("thing", {"one": f"{__name__}:Thing"})


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("share=0.25", 0.25),
        ("share=1", 1.0),
        ("share=1e-3", 0.001),
        ("share=-2.5E+2", -250.0),
        ("count=7", 7),
        ("fast=true", True),
        ("fast=off", False),
        ("kind=batch", "batch"),
        ("kind=3", "3"),
        ("kind=1:30", "1:30"),
        ("kind=no", "no"),
        ('kind="a b"', "a b"),
    ],
)
def test_an_option_has_the_type_of_its_default(things, entry, value):
    (found,) = options_of(things, "one", [entry]).values()
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("share=half", "--thing-option share=half: expected a number"),
        ("share=true", "share=True: expected a number"),
        ("count=1.5", "count=1.5: expected a whole number"),
        ("count=1e1", "count=10.0: expected a whole number"),
        ("count=true", "count=True: expected a whole number"),
        ("fast=1", "fast=1: expected true or false"),
        ("share=", "share=None: expected a number"),
        ("share=[1, 2]", "expected a number"),
        ("share={", "expected KEY=VALUE"),
        ("speed=3", "Unknown option of thing 'one' 'speed'"),
    ],
)
def test_a_wrong_value(things, entry, message):
    with pytest.raises(UsageError, match=message.replace("(", r"\(")):
        options_of(things, "one", [entry])


def test_dashes_are_underscores():
    found = options_of(METHODS, "usl", ["threshold-positive=0.7"])
    assert found == {"threshold_positive": 0.7}


def test_defaults_come_from_the_constructor():
    assert METHODS.defaults("supervised") == {"members": 1}
    assert MODELS.defaults("vnet")["filters"] == 16


# Classes


@pytest.fixture
def labeled(tmp_path: Path):
    """Makes prepared cases, each with voxels of the given classes."""

    def make(*cases: tuple[int, ...]) -> list[PreparedCase]:
        made = []
        for index, values in enumerate(cases):
            path = tmp_path / f"foreground{index}.npy"
            np.save(path, np.array([[value, 0, 0, 0] for value in values], np.int32).reshape(-1, 4))
            made.append(PreparedCase(str(index), tmp_path / "image.npy", path, path))
        return made

    return make


def test_declared_names_are_taken(labeled):
    declared = {0: "background", 1: "head", 2: "body"}
    assert class_names(declared, labeled((1,), (2,))) == ("background", "head", "body")


def test_a_background_that_is_not_declared_is_added(labeled):
    assert class_names({1: "head"}, labeled((1,))) == ("background", "head")


def test_found_values_name_themselves(labeled):
    expected = ("background", "class 1", "class 2", "class 3")
    assert class_names({}, labeled((1, 2), (2, 3))) == expected


@pytest.mark.parametrize(
    ("declared", "cases", "message"),
    [
        ({0: "background", 1: "a", 2: "b"}, ((1,), (1,)), "No labeled case has a voxel of b"),
        ({0: "background", 1: "a"}, ((1, 2),), r"\[2\] are not among the declared classes"),
        ({0: "background", 1: "a", 4: "b"}, ((1, 4),), "without gaps.*--label-map 4:2"),
        ({}, ((1, 3),), r"label values \[0, 1, 3\].*--label-map 3:2"),
        ({}, ((), ()), "No labeled case has any foreground"),
    ],
)
def test_classes_that_cannot_be_learned(labeled, declared, cases, message):
    with pytest.raises(DataError, match=message):
        class_names(declared, labeled(*cases))


# Validation


class Above(nn.Module):
    """Class 1 where the image is above a level."""

    def __init__(self, level: float) -> None:
        super().__init__()
        self.level = level

    def forward(self, image: Tensor) -> Tensor:
        assert not self.training
        assert not torch.is_grad_enabled()
        return torch.cat([torch.zeros_like(image), 10 * (image - self.level)], dim=1)


@pytest.fixture
def cases(tmp_path: Path) -> list[PreparedCase]:
    made = []
    for index, shape in enumerate([(20, 18, 17), (9, 16, 30)]):
        image = np.random.default_rng(index).random((1, *shape), dtype=np.float32)
        np.save(tmp_path / f"image{index}.npy", image)
        np.save(tmp_path / f"labels{index}.npy", (image[0] > 0.6).astype(np.uint8))
        made.append(
            PreparedCase(
                str(index), tmp_path / f"image{index}.npy", tmp_path / f"labels{index}.npy"
            )
        )
    return made


def expected_dice(cases: list[PreparedCase], level: float) -> float:
    scores = []
    for case in cases:
        image, labels = np.load(case.image)[0], np.load(case.labels)
        scores.append(dice_per_class((image > level).astype(np.uint8), labels, classes=[1])[0])
    return float(np.mean(scores))


@pytest.mark.parametrize("answer", ["first", "second"])
def test_the_score_is_the_mean_dice_of_the_answering_network(cases, answer):
    config = run_config(networks=("first", "second"), answer=answer)
    networks = {"first": Above(0.5), "second": Above(0.7)}
    score = dice_scorer(cases, config, device=torch.device("cpu"))
    assert score is not None
    level = networks[answer].level
    assert score(networks) == pytest.approx(expected_dice(cases, level), abs=1e-6)


def test_the_mean_of_networks_is_of_their_probabilities(cases):
    config = run_config(answer="mean")
    score = dice_scorer(cases, config, device=torch.device("cpu"))
    assert score is not None
    found = score({"first": Above(0.5), "second": Above(0.7)})
    assert found == pytest.approx(expected_dice(cases, 0.6), abs=0.01)


def test_two_dimensional_patches_score_slice_by_slice(cases):
    config = run_config(patch=(16, 16), answer="first")
    score = dice_scorer(cases, config, device=torch.device("cpu"))
    assert score is not None
    assert score({"first": Above(0.5)}) == pytest.approx(expected_dice(cases, 0.5), abs=1e-6)


def test_no_cases_give_no_scorer():
    assert dice_scorer([], run_config(), device=torch.device("cpu")) is None


def test_nothing_there_and_nothing_found_is_agreement(cases):
    for case in cases:
        np.save(case.labels, np.zeros(np.load(case.image).shape[1:], np.uint8))
    score = dice_scorer(cases, run_config(answer="first"), device=torch.device("cpu"))
    assert score is not None
    assert score({"first": Above(2.0)}) == 1.0
    assert score({"first": Above(0.5)}) == 0.0
