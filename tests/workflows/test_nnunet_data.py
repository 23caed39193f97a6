"""Raw data sets of nnU-Net 1 and 2 go through the commands as they are, and so do its masks."""

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from pseudo_runs import UNLABELED, write_masks
from training_cli import TINY, invoke, write_split

from llmseg_cli.artifacts.run_config import RunConfig
from llmseg_cli.artifacts.split import Split
from llmseg_cli.data.cases import find_cases
from llmseg_cli.data.volumes import load_image

SHAPE = (16, 18, 20)  # X Y Z
CASES = ("p_01", "p_02", "p_03", "p_04")
VERSION_2 = {
    "channel_names": {"0": "T1", "1": "FLAIR"},
    "labels": {"background": 0, "whole": [1, 2], "core": [2], "ignore": 3},
    "regions_class_order": [1, 2],
    "numTraining": len(CASES),
    "file_ending": ".nrrd",
}
VERSION_1 = {
    "name": "Brain",
    "tensorImageSize": "4D",
    "modality": {"0": "T1", "1": "FLAIR"},
    "labels": {"0": "background", "1": "edema", "2": "core"},
    "numTraining": len(CASES),
    "training": [
        {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"}
        for name in CASES
    ],
    "test": ["./imagesTs/q_01.nii.gz"],
}


def write(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    image.SetSpacing((1.0, 1.0, 2.0))
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))  # so that files and RAS+ agree
    sitk.WriteImage(image, str(path))


def scan(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, SHAPE).astype(np.float32)


def label(index: int, *, ignore: bool) -> np.ndarray:
    found = np.zeros(SHAPE, np.uint8)
    found[3 : 11 + index, 4:12, 5:15] = 1
    found[5:9, 6:10, 7:12] = 2
    if ignore:
        found[:, :, 18:] = 3
    return found


@pytest.fixture(params=[VERSION_1, VERSION_2], ids=["version 1", "version 2"])
def raw(request: pytest.FixtureRequest, quiet_place: Path) -> Path:
    """A raw folder of two channels, with an image of its own test set."""
    content, root = request.param, quiet_place / "Dataset042_Brain"
    ending = content.get("file_ending", ".nii.gz")
    for index, name in enumerate((*CASES, "q_01")):
        place = "imagesTr" if name in CASES else "imagesTs"
        for channel in (0, 1):
            write(root / place / f"{name}_{channel:04d}{ending}", scan(10 * index + channel))
        if name in CASES:
            has_ignore = "ignore" in content["labels"]
            write(root / "labelsTr" / f"{name}{ending}", label(index, ignore=has_ignore))
    (root / "dataset.json").write_text(json.dumps(content))
    return root


def done(*words: str | Path) -> str:
    found = invoke(*words)
    assert found.exit_code == 0, found.output
    return found.stderr


def test_a_raw_folder_is_checked_split_trained_on_and_predicted(raw: Path):
    found = find_cases(raw)
    names = ("T1", "FLAIR")
    assert [len(case.images) for case in found.cases] == [2] * 5
    assert found.channels == names
    has_regions = found.ignore == 3
    expected = ("whole without core", "core") if has_regions else ("edema", "core")
    assert found.classes == dict(enumerate(("background", *expected)))
    for index, case in enumerate(found.cases):
        stacked = load_image(case.images).array
        np.testing.assert_array_equal(stacked, [scan(10 * index), scan(10 * index + 1)])
    told = done("check", "--data", raw)
    regions = "regions of several values (whole, core) are read as classes, one a value: 1 is whole"
    assert (regions in told) == has_regions
    done("split", "--data", raw, "--labeled", "3", "--validation", "1", "-o", "split.json")
    split = Split.load(Path("split.json"))
    assert split.test == ("q_01",)
    assert len(split.labeled) == 2
    done(
        *("train-sup", "--data", raw, "--split", "split.json", *TINY, "--steps", "2"),
        *("--device", "cpu", "-o", "run"),
    )
    config = RunConfig.load(Path("run/config.yaml"))
    assert (config.in_channels, config.classes) == (2, ("background", *expected))
    assert config.ignore_label == found.ignore
    of_test = ("--data", raw, "--split", "split.json", "--device", "cpu")
    done("predict", "--run", "run", *of_test, "-o", "masks")
    (mask,) = Path("masks").glob("q_01.*")
    assert sitk.ReadImage(str(mask)).GetSize() == SHAPE


def test_a_region_is_scored_as_a_whole_by_merging_its_values(quiet_place: Path):
    for index, name in enumerate(CASES):
        truth = label(index, ignore=False)
        write(Path("refs") / f"{name}.nrrd", truth)
        write(Path("masks") / f"{name}.nrrd", np.roll(truth, 1, axis=0))
    merged = ("--label-map", "2:1", "--pred-label-map", "2:1")
    found = invoke("score", "--pred", "masks", "--ref", "refs", *merged, "--json")
    assert found.exit_code == 0, found.stderr
    for one in json.loads(found.stdout)["cases"]:
        truth = label(CASES.index(one["case"]), ignore=False) > 0
        both = (truth & np.roll(truth, 1, axis=0)).sum()
        assert one["classes"]["1"]["dice"] == pytest.approx(2 * both / (2 * truth.sum()))


def test_convert_says_that_it_is_not_needed_and_keeps_channels_and_values(raw: Path):
    done("split", "--data", raw, "--labeled", "2", "-o", "split.json")
    out = Path("raw/Dataset043_Again")
    told = done("convert", "--data", raw, "--split", "split.json", "-o", out)
    assert "needs no converting to be used here: check, split and train-* read it as it is" in told
    first, again = find_cases(raw), find_cases(out)
    assert (again.channels, again.classes, again.ignore) == (
        first.channels,
        first.classes,
        first.ignore,
    )
    for name in Split.load(Path("split.json")).labeled:
        index = CASES.index(name)
        path = out / "labelsTr" / f"{name}.nii.gz"
        written = sitk.GetArrayFromImage(sitk.ReadImage(str(path))).T
        np.testing.assert_array_equal(written, label(index, ignore=first.ignore is not None))


def test_other_data_sets_are_converted_without_that_sentence(toy_data: Path, tmp_path: Path):
    split = write_split(tmp_path / "split.json", toy_data)
    out = tmp_path / "Dataset001_Toy"
    assert "needs no converting" not in done(
        "convert", "--data", toy_data, "--split", split, "-o", out
    )


def test_masks_that_nnunet_predicted_are_pseudo_labels(
    toy_data: Path, toy_split: Path, quiet_place: Path
):
    """A folder as `nnUNetv2_predict --save_probabilities` leaves it."""
    masks = write_masks(quiet_place / "predicted")
    for name in ("dataset.json", "plans.json", "predict_from_raw_data_args.json"):
        (masks / name).write_text("{}")
    for case in UNLABELED:
        np.savez(masks / f"{case}.npz", probabilities=np.zeros((2, 3, 4, 5), np.float16))
        (masks / f"{case}.pkl").write_bytes(b"properties")
    done(
        *("train-semi", "--method", "self-training", "--data", toy_data, "--split", toy_split),
        *("--pseudo", masks, *TINY, "--steps", "2", "--device", "cpu", "-o", "run"),
    )
    record = json.loads(Path("run/run.json").read_text())
    assert record["counts"]["pseudo_labeled"] == len(UNLABELED)
