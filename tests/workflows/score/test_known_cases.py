"""Scores of cases that a run has learned from are refused, unless their role is asked for."""

import dataclasses
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tiny_data import write_nifti
from tiny_runs import run_config, write_run

from llmseg_cli.artifacts.learned import Learned
from llmseg_cli.artifacts.manifest import load_manifest
from llmseg_cli.artifacts.split import Split
from llmseg_cli.data.cases import find_cases, image_digest
from llmseg_cli.data.digests import voxels_of
from llmseg_cli.errors import ArtifactError, PolicyError
from llmseg_cli.workflows.predict import run as predicting
from llmseg_cli.workflows.runs.learned import (
    learned_from,
    learned_with,
    showing,
    with_voxels,
)
from llmseg_cli.workflows.score.planned import ScoreOptions
from llmseg_cli.workflows.score.run import run as run_score

CASES = ("l0", "l1", "u0", "v0", "t0", "t1")
SHAPE = (18, 17, 16)
ROLES = {"labeled": ("l0", "l1"), "unlabeled": ("u0",), "validation": ("v0",), "test": ("t0", "t1")}
predict = predicting.run


@dataclasses.dataclass
class House:
    """A data set, a run that learned from its split, and what is predicted with it."""

    place: Path

    @property
    def data(self) -> Path:
        return self.place / "data"

    @property
    def run(self) -> Path:
        return self.place / "run"

    def split(self, name: str = "split.json", **roles: tuple[str, ...]) -> Path:
        """A split of the data with these roles, those of `ROLES` if none are given."""
        chosen = dict.fromkeys(ROLES, ()) | (roles or ROLES)
        images = {case.id: image_digest(case) for case in find_cases(self.data).cases}
        Split(**chosen, seed=0, images=images, groups={}).save(self.place / name)
        return self.place / name

    def write(self, method: str = "usl") -> None:
        networks = write_run(self.run, run_config(method=method))
        assert networks
        (self.run / "best.safetensors").write_bytes((self.run / "model.safetensors").read_bytes())
        self.split().rename(self.run / "split.json")

    def predict(self, out: str = "masks", **words) -> Path:
        where = {} if "images" in words else {"data": self.data}
        predict(self.run, out=self.place / out, **where, overlap=0, **words)
        return self.place / out


@pytest.fixture
def house(tmp_path) -> House:
    made = House(tmp_path)
    random = np.random.default_rng(0)
    for case in CASES:
        image = random.standard_normal(SHAPE).astype(np.float32)
        write_nifti(made.data / "images" / f"{case}.nii.gz", image)
        write_nifti(made.data / "labels" / f"{case}.nii.gz", (image > 1).astype(np.uint8))
    made.write()
    return made


def score(house: House, masks: Path, **words):
    options = ScoreOptions(classes=("1",), draws=0)
    return run_score(masks, house.data, options=options, **words).scores


@pytest.mark.parametrize(
    ("method", "role", "case", "is_refused"),
    [
        ("usl", "test", "l0", True),
        ("usl", "test", "u0", True),
        ("usl", "validation", "l1", True),
        ("usl", "test", "v0", False),  # the last weights do not know it
        ("supervised", "test", "l0", True),
        ("supervised", "test", "u0", False),  # whose image the method never saw
        ("usl", "labeled", "l0", False),
        ("usl", "unlabeled", "u0", False),
    ],
)
def test_predicting_what_a_run_has_learned(house, method, role, case, is_refused):
    house.write(method)
    other = house.split(**{role: (case,)})
    words = {"split": other, "subset": role, "out": "masks"}
    if not is_refused:
        assert (house.predict(**words) / f"{case}.nii.gz").is_file()
        return
    with pytest.raises(PolicyError, match=rf"learned from 1 test or validation .*\({case}\)"):
        house.predict(**words)
    with pytest.raises(PolicyError, match="learned from 1"):
        house.predict(split=other, subset="all", dry_run=True)
    assert not (house.place / "masks" / "run.json").exists()


def test_the_best_checkpoint_knows_its_validation_cases(house):
    other = house.split(test=("v0", "t0"))
    with pytest.raises(PolicyError, match=r"best of .* was chosen by 1 test cases .*\(v0\)"):
        house.predict(split=other, checkpoint="best")
    house.predict(split=other)  # the last weights do not
    masks = house.predict("best", split=house.split(), subset="validation", checkpoint="best")
    found = score(house, masks, split=house.split(), subset="validation")
    assert found.warnings == ("The checkpoint that made best was chosen by 1 of these cases.",)
    with pytest.raises(PolicyError, match="chose its best checkpoint by 1"):
        score(house, masks, split=house.split(test=("v0",)))
    with pytest.raises(PolicyError, match="chose its best checkpoint by 1"):
        score(house, masks)


def test_a_case_is_known_by_its_image(house):
    for folder in ("images", "labels"):
        source = house.data / folder / "l0.nii.gz"
        (house.place / "other" / folder).mkdir(parents=True)
        (house.place / "other" / folder / "new.nii.gz").write_bytes(source.read_bytes())
    elsewhere = House(house.place)
    images = [house.place / "other" / "images"]
    masks = elsewhere.predict(images=images)
    details = load_manifest(masks)["details"]
    assert details["training_cases"] == ["new"]
    with pytest.raises(PolicyError, match="learned from 1"):
        run_score(masks, house.place / "other", options=ScoreOptions(draws=0))


def test_the_split_of_the_run_and_what_it_saw_stand_beside_the_masks(house):
    masks = house.predict(split=house.split())
    details = load_manifest(masks)["details"]
    split = Split.load(house.run / "split.json")
    assert details["learned"]["split"] == split.digest
    assert set(details["learned"]["trained"]) == {split.images[c] for c in ("l0", "l1", "u0")}
    assert details["learned"]["chose"] == [split.images["v0"]]
    assert details["training_cases"] == details["choosing_cases"] == []
    assert score(house, masks, split=house.split()).warnings == ()
    assert score(house, masks / "t0.nii.gz", split=house.split(test=("t0",))).status == "ok"


def test_training_cases_are_scored_on_purpose_alone_and_named(house):
    masks = house.predict(split=house.split(), subset="labeled")
    warnings = load_manifest(masks)["warnings"]
    assert "2 of the masks are of cases that the run has learned from (l0, l1)" in warnings[0]
    with pytest.raises(PolicyError, match="flatter"):
        score(house, masks)
    with pytest.raises(PolicyError, match=r"learned from 2 of these cases \(l0, l1\)"):
        score(house, masks, split=house.split(test=("l0", "l1")))
    with pytest.raises(PolicyError, match="learned from 1"):
        run_score(masks / "l0.nii.gz", house.data / "labels" / "l0.nii.gz")
    found = score(house, masks, split=house.split(), subset="labeled")
    assert found.predictions["training_cases"] == ["l0", "l1"]
    assert "2 of 2 cases in masks are training cases of the run" in found.warnings[0]
    assert found.warnings[0].endswith("say nothing about new ones.")


def test_of_unlabeled_cases_it_is_said_that_they_are_unlabeled(house):
    masks = house.predict(split=house.split(), subset="unlabeled")
    (warning,) = score(house, masks, split=house.split(), subset="unlabeled").warnings
    assert "1 of 1 cases in masks are training cases of the run (u0); unlabeled by this" in warning


@pytest.fixture
def encoded(house) -> Path:
    """The cases under other names and in other files, with a split; the run knows its voxels."""
    cases = find_cases(house.data).cases
    split = Split.load(house.run / "split.json")
    shown = voxels_of(case for case in cases if case.id not in split.test)
    with_voxels(learned_from(split, "usl"), split, shown).save(house.run / "learned.json")
    place = house.place / "encoded"
    for case in CASES:
        for kind in ("images", "labels"):
            array = np.asarray(nib.load(house.data / kind / f"{case}.nii.gz").dataobj)
            header = np.diag([1.0, 1.0, 1.5, 1.0])
            write_nifti(place / kind / f"new-{case}.nii", array.astype(np.float64), header)
    return place


def test_a_case_is_known_by_what_its_image_shows(house, encoded):
    masks = house.predict(images=[encoded / "images"])
    details = load_manifest(masks)["details"]
    assert details["training_cases"] == ["new-l0", "new-l1", "new-u0"]
    assert details["choosing_cases"] == []
    with pytest.raises(PolicyError, match=r"learned from 3 .*\(new-l0, new-l1, new-u0\)"):
        run_score(masks, encoded, options=ScoreOptions(classes=("1",), draws=0))
    best = house.predict("best", images=[encoded / "images"], checkpoint="best")
    assert load_manifest(best)["details"]["choosing_cases"] == ["new-v0"]


@pytest.mark.parametrize(
    ("role", "case", "checkpoint", "why"),
    [
        ("test", "new-l0", "final", "has learned from 1 test or validation"),
        ("validation", "new-u0", "final", "has learned from 1 test or validation"),
        ("test", "new-v0", "best", "was chosen by 1 test cases"),
        ("test", "new-v0", "final", ""),
        ("test", "new-t0", "best", ""),
        ("labeled", "new-l0", "best", ""),
    ],
)
def test_predicting_what_a_run_knows_in_other_files(house, encoded, role, case, checkpoint, why):
    images = {one.id: image_digest(one) for one in find_cases(encoded).cases}
    roles = dict.fromkeys(ROLES, ()) | {role: (case,)}
    Split(**roles, seed=0, images=images, groups={}).save(house.place / "new.json")
    words = {"data": encoded, "out": house.place / "masks", "overlap": 0, "checkpoint": checkpoint}

    def ask(**more):
        return predict(house.run, split=house.place / "new.json", subset=role, **words, **more)

    if not why:
        assert [one.status for one in ask().cases] == ["ok"]
        return
    with pytest.raises(PolicyError, match=rf"{why} .*\({case}\)"):
        ask()
    assert not (house.place / "masks" / "run.json").exists()
    predict(house.run, images=[encoded / "images"], **{**words, "data": None}, force=True)
    with pytest.raises(PolicyError, match=why):  # also of a mask that is there already
        ask(resume=True)


def test_weights_that_have_learned_what_is_held_out_in_another_file(house, encoded):
    images = {one.id: image_digest(one) for one in find_cases(encoded).cases}
    roles = dict.fromkeys(ROLES, ()) | {"labeled": ("new-t0",), "test": ("new-u0",)}
    split = Split(**roles, seed=0, images=images, groups={})
    with pytest.raises(PolicyError, match=r"--init .* learned from 1 .*\(new-u0\)"):
        learned_with(split, "usl", init=house.run, masks=None, show=showing(encoded))
    innocent = dataclasses.replace(split, test=("new-t1",))
    found = learned_with(innocent, "usl", init=house.run, masks=None, show=showing(encoded))
    before = Learned.load(house.run / "learned.json")
    assert (found.trained_voxels, found.chose_voxels) == (before.trained_voxels, ())


def test_a_training_mask_is_known_under_any_name(house):
    masks = house.predict(split=house.split(), subset="labeled")
    labels = house.place / "references"
    write = (house.data / "labels" / "l0.nii.gz").read_bytes
    labels.mkdir()
    for name in ("zz", "l1"):
        (labels / f"{name}.nii.gz").write_bytes(write())
    (masks / "l0.nii.gz").rename(masks / "zz.nii.gz")
    (labels / "l1.nii.gz").unlink()
    options = ScoreOptions(classes=("1",), draws=0)
    for one in (masks, masks / "zz.nii.gz"):
        with pytest.raises(PolicyError, match=r"learned from 1 of these cases \(zz\)"):
            run_score(one, labels, options=options)
    (labels / "zz.nii.gz").rename(labels / "t0.nii.gz")
    (masks / "zz.nii.gz").rename(masks / "t0.nii.gz")
    with pytest.raises(PolicyError, match=r"learned from 1 of these cases \(t0\)"):
        run_score(masks, labels, options=options)


def test_masks_that_are_all_alike_tell_nothing_of_their_cases(house):
    masks = house.predict(split=house.split(), subset="all")
    record = json.loads((masks / "run.json").read_text())
    record["outputs"] = dict.fromkeys(record["outputs"], record["outputs"]["t0.nii.gz"])
    for case in CASES:
        (masks / f"{case}.nii.gz").write_bytes((masks / "t0.nii.gz").read_bytes())
    (masks / "run.json").write_text(json.dumps(record))
    assert score(house, masks, split=house.split()).status == "ok"


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("training_cases", None, "a list"),
        ("training_cases", [[1]], "text"),
        ("choosing_cases", "t0", "a list"),
        ("learned", [1], "a mapping"),
        ("ignore_label", [1], "a whole number"),
        ("ignore_label", "x", "a whole number"),
        ("ignore_label", True, "a whole number"),
        ("checkpoint", 5, "text"),
    ],
)
def test_a_record_of_masks_is_typed(house, key, value, wanted):
    masks = house.predict(split=house.split())
    record = json.loads((masks / "run.json").read_text())
    record["details"][key] = value
    (masks / "run.json").write_text(json.dumps(record))
    for one in (masks, masks / "t0.nii.gz"):
        with pytest.raises(ArtifactError, match=rf"'details\.{key}.* expected {wanted}"):
            score(house, one, split=house.split())


def test_the_other_side_of_a_comparison_is_held_to_the_same(house):
    masks = house.predict(split=house.split())
    other = house.predict("other", split=house.split(labeled=("t0", "t1")), subset="labeled")
    learned = (
        Learned.load(house.run / "learned.json") if (house.run / "learned.json").is_file() else None
    )
    assert learned is None  # a run from before there was such a file
    assert score(house, masks, other=other, split=house.split()).comparison is not None
    house.split(labeled=("t0",)).rename(house.run / "split.json")
    knows = house.predict("knows", split=house.split(labeled=("t0", "t1")), subset="labeled")
    with pytest.raises(PolicyError, match=r"knows has learned from 1 of these cases \(t0\)"):
        score(house, masks, other=knows, split=house.split())


def test_a_run_that_does_not_say_what_it_learned(house):
    (house.run / "split.json").unlink()
    with pytest.raises(ArtifactError, match="nobody knows which cases it learned from"):
        house.predict(split=house.split())
    masks = house.predict(images=[house.data / "images" / "l0.nii.gz"])
    assert "does not say which cases" in load_manifest(masks)["warnings"][0]


def test_a_split_that_was_changed_by_hand(house):
    path = house.split()
    split = Split.load(path)
    images = {case: digest for case, digest in split.images.items() if case != "t1"}
    dataclasses.replace(split, images=images).save(path)
    with pytest.raises(PolicyError, match="no digest of t1"):
        house.predict(split=path)
