"""`--patch auto` and `--spacing auto`: what a training takes that leaves them open."""

import json
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from tiny_data import write_nifti
from toy_cohort import toy_case, write_toy_cohort
from training_cli import invoke, signaled, write_split

from llmseg_cli.api import train as train_arrays
from llmseg_cli.artifacts.split import Split
from llmseg_cli.config import TrainSettings
from llmseg_cli.errors import DataError, PolicyError
from llmseg_cli.planning.fingerprint import Power
from llmseg_cli.workflows.train.geometry import settled
from llmseg_cli.workflows.train.request import Request

pytestmark = pytest.mark.usefixtures("quiet_place")
NETWORK = ("--model-option", "filters=4", "--log-every", "1")
TOY = (32, 16, 16)  # of 26 x 22 x 20


def request(data: Path, split: Path, **settings) -> Request:
    return Request(
        command="train-sup",
        data=data,
        split=Split.load(split),
        output=data / "run",
        settings=TrainSettings(device="cpu", **settings),
        method="supervised",
        cache=data / "cache",
    )


def chosen(wish: Request, *, resume: bool = False) -> tuple:
    found = settled(wish, resume=resume).settings
    return found.patch, found.spacing


def config(run: Path) -> dict:
    return yaml.safe_load((run / "config.yaml").read_text())


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({}, (TOY, (0.0,))),
        ({"spacing": (2.0,)}, ((16, 16, 16), (2.0,))),  # of 13 x 11 x 12
        ({"spacing": (0.5, 0.5, 0.0)}, ((48, 48, 16), (0.5, 0.5, 0.0))),
        ({"patch": (16, 16)}, ((16, 16), (0.0,))),
        ({"patch": (16, 16, 16), "spacing": (2.0,)}, ((16, 16, 16), (2.0,))),
    ],
)
def test_what_is_left_open_comes_from_the_scans(toy_data, toy_split, settings, wanted):
    assert chosen(request(toy_data, toy_split, **settings)) == wanted


def test_large_scans_are_coarsened(toy_data, toy_split, monkeypatch):
    monkeypatch.setattr(Power, "patch_voxels", lambda *_: 16**3 // 2)
    patch, wanted = chosen(request(toy_data, toy_split))
    assert patch == (16, 16, 16)  # there is no smaller one
    assert all(mm >= own for mm, own in zip(wanted, (1.0, 1.0, 1.2), strict=True))
    assert np.prod(wanted) / 1.2 == pytest.approx(0.75 * 26 * 22 * 20 / (16**3 / 2), rel=0.15)


def test_locked_scans_are_not_looked_at(tmp_path):
    data = write_toy_cohort(tmp_path / "data")
    split = write_split(tmp_path / "split.json", data)
    for name in ("toy06", "toy07"):  # locked
        (data / "images" / f"{name}.nii.gz").write_bytes(b"nothing that anybody reads")
    assert chosen(request(data, split))[0] == TOY
    (data / "images" / "toy03.nii.gz").write_bytes(b"unlabeled, and looked at")
    with pytest.raises(DataError, match="toy03"):
        settled(request(data, split))


def test_no_label_map_is_opened(tmp_path):
    data = write_toy_cohort(tmp_path / "data")
    split = write_split(tmp_path / "split.json", data)
    for path in (data / "labels").iterdir():
        path.write_bytes(b"nothing that anybody reads")
    assert chosen(request(data, split))[0] == TOY


def test_a_split_of_other_data_is_refused_as_such(tmp_path, toy_split):
    data = tmp_path / "data"
    write_nifti(data / "images" / "other.nii.gz", np.zeros((20, 20, 20), np.float32))
    with pytest.raises(PolicyError, match="made from other data: 8 missing"):
        settled(request(data, toy_split))


def test_a_run_that_is_resumed_or_started_from_says_it(toy_data, toy_split, quiet_place):
    first = quiet_place / "first"
    words = ("--data", toy_data, "--split", toy_split, *NETWORK, "--steps", "2")
    given = ("--patch", "16,16,32", "--spacing", "1.5")
    with signaled(signal.SIGTERM, "train", 1):
        assert invoke("train-sup", *words, *given, "-o", first).exit_code == 75
    result = invoke("train-sup", *words, "-o", first, "--resume")
    assert result.exit_code == 0, result.stderr
    assert config(first)["settings"]["patch"] == [16, 16, 32]
    dry = invoke("train-sup", *words, "-o", first, "--resume", "--dry-run", "--json")
    assert json.loads(dry.stdout)["config"]["settings"]["patch"] == [16, 16, 32]
    second = quiet_place / "second"
    result = invoke("train-sup", *words, "--init", first, "-o", second)
    assert result.exit_code == 0, result.stderr
    assert config(second)["settings"]["patch"] == [16, 16, 32]
    assert config(second)["preprocessing"]["spacing"] == [1.5]
    wish = replace(request(toy_data, toy_split, spacing=(2.0,)), init=first)
    assert chosen(wish) == ((16, 16, 32), (2.0,))


def test_an_automatic_run_is_resumed_as_it_was(toy_data, toy_split, quiet_place, monkeypatch):
    run = quiet_place / "run"
    words = ("--data", toy_data, "--split", toy_split, *NETWORK, "--steps", "2", "-o", run)
    with signaled(signal.SIGTERM, "train", 1):
        assert invoke("train-sup", *words).exit_code == 75
    assert config(run)["settings"]["patch"] == list(TOY)
    monkeypatch.setattr(Power, "patch_voxels", lambda *_: 16**3)  # another machine
    result = invoke("train-sup", *words, "--resume")
    assert result.exit_code == 0, result.stderr
    assert config(run)["settings"]["patch"] == list(TOY)
    assert config(run)["settings"]["steps"] == 2


def test_the_choice_is_said_with_its_reason_and_not_doubted(toy_data, toy_split, quiet_place):
    words = ("--data", toy_data, "--split", toy_split, *NETWORK, "--dry-run")
    said = invoke("train-sup", *words).stderr
    assert "patch 32,16,16: in 3D; the scan has 26 x 22 x 20 (median of 6)" in said
    assert "spacing 0: each scan's own: 1 x 1 x 1.2 mm." in said
    assert "larger than the scans" not in said
    given = invoke("train-sup", *words, "--patch", "32,16,16").stderr
    assert "patch 32,16,16: in 3D" not in given
    assert "larger than the scans" not in given  # it is what a plan would write
    named = invoke("train-sup", *words, "--patch", "auto", "--spacing", "auto").stderr
    assert named.splitlines()[:2] == said.splitlines()[:2]


def test_pictures_and_arrays_train_in_2d_unasked(tmp_path, cache):
    random = np.random.default_rng(0)
    images = [random.normal(size=(40, 24)).astype(np.float32) for _ in range(3)]
    labels = [(image > 1).astype(np.uint8) for image in images[:2]]
    train_arrays(
        images[:2],
        labels,
        unlabeled=images[2:],
        spacing=(1.0, 1.0),
        options={"steps": 1, "model-option": ["filters=4"]},
        folder=tmp_path / "pictures",
        method="mean-teacher",
    )
    assert config(tmp_path / "pictures" / "run")["settings"]["patch"] == [32, 32]


def test_arrays_in_3d(tmp_path, cache):
    image, labels = toy_case(0)
    train_arrays(
        [image],
        [labels],
        spacing=(1.0, 1.0, 1.2),
        options={"steps": 1, "model-option": ["filters=4"]},
        folder=tmp_path / "one",
        method="supervised",
    )
    assert config(tmp_path / "one" / "run")["settings"]["patch"] == list(TOY)
