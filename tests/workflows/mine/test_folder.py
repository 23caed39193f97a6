"""Ready masks, from anywhere: learned from the first step on, in the image's own geometry."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml
from PIL import Image
from pseudo_runs import AFFINE, UNLABELED, StandIn, toy_training_data, write_masks
from tiny_data import write_nifti
from toy_cohort import toy_case
from training_cli import log_lines, train, weights, write_split

from llmseg_cli.artifacts.files import sha256_file, sha256_json
from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.artifacts.split import Split
from llmseg_cli.data.cases import find_cases
from llmseg_cli.data.patches.preprocessing import Preprocessing
from llmseg_cli.workflows.mine.folder import find_masks, masks_digest, with_masks

pytestmark = pytest.mark.usefixtures("quiet_place")

LEARNERS = ("sam-mining", "self-training", "usl")
IN_PLACE = (
    "weak-to-strong",
    "copy-paste",
    "affine-consistency",
    "diffusion",
)  # pseudo-labels stand in place of a teacher's
CLASSES = ("background", "class 1", "class 2")


@pytest.fixture
def folder(quiet_place) -> Path:
    """True label maps of both unlabeled cases."""
    return write_masks(quiet_place / "masks")


def pseudo_terms(run: Path) -> list[list[float]]:
    """The pseudo-label terms of each logged step."""
    lines = [line for line in log_lines(run) if "learning_rate" in line]
    return [
        [value for key, value in line.items() if key in ("pseudo", "pseudo_first", "pseudo_second")]
        for line in lines
    ]


@pytest.mark.parametrize("method", LEARNERS)
def test_they_teach_from_the_first_step_on(toy_data, toy_split, quiet_place, folder, method):
    """Without weights of Segment Anything, for it is not asked."""
    run = quiet_place / "run"
    words = ("--split", toy_split, "--pseudo", folder, "--log-every", "1")
    train(method, toy_data, run, *words, steps=2)
    terms = pseudo_terms(run)
    assert [len(step) for step in terms] == [2 if method == "usl" else 1] * 2
    assert min(value for step in terms for value in step) > 0
    digest = sha256_json({case: sha256_file(folder / f"{case}.nii.gz") for case in UNLABELED})
    config = yaml.safe_load((run / "config.yaml").read_text())
    expected = {"schedule": "one-time", "minings": [], "masks": digest, "made_by": None}
    assert config["pseudo"] == expected
    manifest = json.loads((run / "run.json").read_text())
    assert manifest["inputs"]["pseudo"] == f"sha256:{digest}"
    assert manifest["counts"]["pseudo_labeled"] == 2
    assert manifest["counts"]["unlabeled"] == 2
    assert f"--pseudo {folder}" in manifest.pop("command_line")
    assert str(folder) not in json.dumps(manifest) + (run / "config.yaml").read_text()
    assert not (run / "pseudo").exists()


def test_without_pseudo_labels_a_run_says_nothing_of_them(toy_data, toy_split, quiet_place):
    train("usl", toy_data, quiet_place / "run", "--split", toy_split, steps=1)
    manifest = json.loads((quiet_place / "run" / "run.json").read_text())
    assert "pseudo" not in manifest["inputs"]
    assert "pseudo_labeled" not in manifest["counts"]
    assert manifest["config"]["pseudo"] is None


def test_cases_with_a_mask_are_counted(toy_data, toy_split, quiet_place):
    write_masks(quiet_place / "masks", ["toy04"])
    words = ("--split", toy_split, "--pseudo", quiet_place / "masks")
    train("usl", toy_data, quiet_place / "run", *words, steps=1)
    counts = json.loads((quiet_place / "run" / "run.json").read_text())["counts"]
    assert (counts["unlabeled"], counts["pseudo_labeled"]) == (2, 1)


@pytest.mark.parametrize("method", LEARNERS + IN_PLACE)
def test_what_is_learned_depends_on_the_masks_alone(
    toy_data, toy_split, quiet_place, folder, method
):
    """No label map of an unlabeled or locked case is opened; other masks give other weights."""
    words = ("--split", toy_split, "--pseudo")
    train(method, toy_data, quiet_place / "whole", *words, folder, steps=2)
    data = Path(shutil.copytree(toy_data, quiet_place / "data"))
    split = Split.load(toy_split)
    for index, case in enumerate((*split.unlabeled, *split.test)):
        label = data / "labels" / f"{case}.nii.gz"
        label.unlink()
        if index % 2:
            label.write_bytes(b"no mask")
    train(method, data, quiet_place / "without", *words, folder, steps=2)
    assert weights(quiet_place / "without") == weights(quiet_place / "whole")
    moved = write_masks(quiet_place / "moved", shift=3)
    train(method, toy_data, quiet_place / "other", *words, moved, steps=2)
    assert weights(quiet_place / "other") != weights(quiet_place / "whole")


def test_other_masks_are_other_settings(toy_data, toy_split, quiet_place, folder):
    run, words = quiet_place / "run", ("--split", toy_split, "--pseudo")
    train("usl", toy_data, run, *words, folder, steps=1)
    renamed = folder.rename(quiet_place / "renamed")
    train("usl", toy_data, run, *words, renamed, "--resume", steps=1)
    write_masks(renamed, ["toy03"], shift=2)
    result = train("usl", toy_data, run, *words, renamed, "--resume", steps=1, code=2)
    assert "holds a run of other settings: pseudo.masks" in result.stderr


def test_they_serve_until_better_ones_are_mined(toy_data, toy_split, quiet_place, folder):
    run = quiet_place / "run"
    words = ("--split", toy_split, "--pseudo", folder, "--schedule", "continuous")
    train("self-training", toy_data, run, *words, "--every", "2", "--log-every", "1", steps=3)
    assert [len(step) for step in pseudo_terms(run)] == [1, 1, 1]
    assert [path.name for path in (run / "pseudo").iterdir()] == ["step-000002"]
    manifest = json.loads((run / "run.json").read_text())
    assert manifest["config"]["pseudo"]["minings"] == [2]
    assert manifest["counts"]["pseudo_labeled"] == 2


def test_masks_of_a_round_serve_another_run(toy_data, toy_split, quiet_place, monkeypatch):
    opened = "llmseg_cli.workflows.train.pseudo_plan.open_sam_miner"
    monkeypatch.setattr(opened, lambda settings, **place: StandIn())
    words = ("--split", toy_split)
    train("sam-mining", toy_data, quiet_place / "first", *words, "--every", "1", steps=2)
    masks = quiet_place / "first" / "pseudo" / "step-000001"
    train("usl", toy_data, quiet_place / "second", *words, "--pseudo", masks, steps=1)
    counts = json.loads((quiet_place / "second" / "run.json").read_text())["counts"]
    assert counts["pseudo_labeled"] == 2


# The arrays that a run learns from


def test_masks_of_other_axes_lie_as_the_image_lies(toy_data, toy_split, cache, folder):
    """A mask whose voxels are stored in another order says the same of the same places."""
    labels = toy_case(3)[1]
    flipped = AFFINE.copy()
    flipped[0] = [-AFFINE[0, 0], 0, 0, AFFINE[0, 0] * (labels.shape[0] - 1)]
    write_nifti(folder / "toy03.nii.gz", labels[::-1].copy(), flipped)
    data = toy_training_data(toy_data, toy_split, cache)
    found = with_masks(
        data.unlabeled,
        find_masks(folder, Split.load(toy_split)),
        {case.id: case for case in find_cases(toy_data).cases},
        preprocessing=Preprocessing(normalize="none"),
        classes=CLASSES,
    )
    for case in found:
        np.testing.assert_array_equal(np.load(case.labels), toy_case(int(case.id[-2:]))[1])


def test_the_unknown_stays_unknown_where_masks_are_resampled(toy_data, toy_split, cache, folder):
    labels = toy_case(3)[1]
    labels[labels == 2] = UNKNOWN
    write_nifti(folder / "toy03.nii.gz", labels, AFFINE)
    data = toy_training_data(toy_data, toy_split, cache)
    (case,) = with_masks(
        data.unlabeled[:1],
        {"toy03": folder / "toy03.nii.gz"},
        {case.id: case for case in find_cases(toy_data).cases},
        preprocessing=Preprocessing((1.7,), "none"),
        classes=CLASSES,
        folder=cache / "own",
    )
    assert set(np.unique(np.load(case.labels))) == {0, 1, UNKNOWN}
    assert case.labels.parent == cache / "own" / "toy03"


def test_a_folder_may_hold_other_things(toy_split, folder):
    for name in ("qc.csv", "notes.txt", ".hidden.nii.gz"):
        (folder / name).write_text("no mask")
    (folder / "overlays").mkdir()
    (folder / "overlays" / "toy07.png").write_text("no mask")
    masks = find_masks(folder, Split.load(toy_split))
    assert masks == {case: folder / f"{case}.nii.gz" for case in UNLABELED}


def test_the_digest_is_of_contents_and_cases(folder, quiet_place):
    masks = {case: folder / f"{case}.nii.gz" for case in UNLABELED}
    first = masks_digest(masks)
    assert masks_digest(dict(reversed(masks.items()))) == first
    elsewhere = Path(shutil.copytree(folder, quiet_place / "elsewhere"))
    assert masks_digest({case: elsewhere / path.name for case, path in masks.items()}) == first
    swapped = dict(zip(masks, reversed(masks.values()), strict=True))
    assert masks_digest(swapped) != first
    image = nib.load(masks["toy03"])
    nib.save(nib.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine), masks["toy03"])
    assert masks_digest(masks) != first


# Pictures


@pytest.fixture
def pictures(quiet_place) -> Path:
    """Grey pictures of bright disks, with masks of all."""
    x, y = np.mgrid[:30, :40]
    for index in range(5):
        random = np.random.default_rng(index)
        disk = (x - random.integers(10, 20)) ** 2 + (y - random.integers(10, 30)) ** 2 < 49
        image = disk * 150 + random.integers(0, 50, disk.shape)
        for part, array in (("images", image), ("labels", disk)):
            (quiet_place / "data" / part).mkdir(parents=True, exist_ok=True)
            picture = Image.fromarray(array.astype(np.uint8))
            picture.save(quiet_place / "data" / part / f"case{index}.png")
    return quiet_place / "data"


@pytest.fixture
def picture_split(pictures, quiet_place) -> Path:
    names = [f"case{index}" for index in range(5)]
    roles = {"labeled": names[:2], "unlabeled": names[2:4], "validation": [], "test": names[4:]}
    return write_split(quiet_place / "split.json", pictures, **roles)


FLAT = ("--patch", "16,16")


@pytest.mark.parametrize("method", ["sam-mining", "usl"])
def test_masks_of_pictures(pictures, picture_split, quiet_place, method):
    masks = quiet_place / "masks"
    masks.mkdir()
    for case in ("case2", "case3"):
        shutil.copy(pictures / "labels" / f"{case}.png", masks)
        (pictures / "labels" / f"{case}.png").unlink()
    words = (*FLAT, "--split", picture_split, "--pseudo", masks, "--log-every", "1")
    train(method, pictures, quiet_place / "run", *words, steps=2)
    assert all(min(step) > 0 for step in pseudo_terms(quiet_place / "run"))


def test_black_and_white_masks_are_refused_for_255_means_unknown(
    pictures, picture_split, quiet_place
):
    masks = quiet_place / "masks"
    masks.mkdir()
    for case in ("case2", "case3"):
        array = np.asarray(Image.open(pictures / "labels" / f"{case}.png"))
        Image.fromarray(array * np.uint8(255)).save(masks / f"{case}.png")
    words = (*FLAT, "--split", picture_split, "--pseudo", masks)
    result = train("usl", pictures, quiet_place / "run", *words, code=3)
    assert "the masks have the values 0 and 255 alone, and 255 means unknown" in result.stderr
    assert not (quiet_place / "run").exists()
