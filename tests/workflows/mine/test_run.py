"""Pseudo-labels on the images' own voxels, and their evidence; failures, resuming, signals."""

import csv
import json
import os
import signal
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from tiny_data import write_nifti
from tiny_mining import (
    LEVEL,
    UNLABELED,
    Drawing,
    as_asked,
    pixels,
    use,
    write_bright_run,
    write_pictures,
    write_split,
)

from llmseg_cli.artifacts.files import sha256_file
from llmseg_cli.artifacts.journal import Journal
from llmseg_cli.artifacts.manifest import load_manifest
from llmseg_cli.artifacts.pseudo import QC_COLUMNS, UNKNOWN
from llmseg_cli.artifacts.split import Split
from llmseg_cli.config_mining import MiningSettings
from llmseg_cli.errors import DataError, PartialError, PolicyError, StoppedError, UsageError
from llmseg_cli.workflows.mine.folder import find_masks
from llmseg_cli.workflows.mine.run import run

MASKS = [f"{case}.png" for case in UNLABELED]


class Place:
    """A cohort, its split, a run that learned from it, and a segmenter that draws as asked."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.monkeypatch = root, monkeypatch
        self.data, self.split, self.out = root / "data", root / "split.json", root / "out"
        self.folder = root / "run"

    def prepare(self, segmenter: Drawing | None = None, **config) -> "Place":
        write_split(self.split, self.data)
        write_bright_run(self.folder, self.split, self.monkeypatch, **config)
        return self.drawing(segmenter or Drawing())

    def drawing(self, segmenter: Drawing) -> "Place":
        self.segmenter = segmenter
        use(segmenter, self.monkeypatch)
        return self

    def replace(self, case: str, array: np.ndarray) -> None:
        Image.fromarray(array).save(self.data / "images" / f"{case}.png")

    def mine(self, **words):
        known = vars(MiningSettings())
        wanted = {name: words.pop(name) for name in {*words} & {*known}}
        settings = MiningSettings(**{"box_margin": (0.0,), **wanted})
        values = {
            "out": self.out,
            "data": self.data,
            "split": self.split,
            "cache": self.root / "cache",
        }
        return run(self.folder, settings=settings, **(values | words))


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Pictures that may be changed before `prepare`."""
    place = Place(tmp_path, monkeypatch)
    write_pictures(place.data)
    return place


@pytest.fixture
def place(bare: Place) -> Place:
    return bare.prepare()


def doubtful_if_small(prompt):
    found = as_asked(prompt)
    large = prompt.region.sum() > 100
    return type(found)(found.logits, found.low_logits, 0.9 if large else 0.5, 0.95)


@pytest.fixture
def mixed(bare: Place) -> Place:
    """u0 has a second component, which the segmenter doubts; in u2 the network sees nothing."""
    two = pixels(0)
    two[30:36, 25:33] = 200
    bare.replace("u0", two)
    bare.replace("u2", np.full((40, 36), 20, np.uint8))
    return bare.prepare(Drawing(doubtful_if_small))


def mask(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in (*MASKS, "qc.csv")}


def test_each_unlabeled_picture_gets_its_mask_and_the_folder_can_train(place):
    found = place.mine()
    assert [case.status for case in found.cases] == ["ok"] * 4
    assert names(place.out) == ["cases.jsonl", "overlays", "qc.csv", "run.json", *MASKS]
    for index, case in enumerate(UNLABELED):
        np.testing.assert_array_equal(mask(place.out / f"{case}.png"), pixels(index) > LEVEL)
    assert tuple(find_masks(place.out, Split.load(place.split))) == UNLABELED


def test_the_evidence_is_a_line_per_component_and_one_for_a_case_without(mixed):
    mixed.mine(min_iou=0.6, box_margin=(0.0,))
    with (mixed.out / "qc.csv").open(newline="") as stream:
        lines = list(csv.reader(stream))
    full = ["0.95", "1.0"]  # stability and agreement
    nothing = [""] * (len(QC_COLUMNS) - 3)
    assert lines == [
        list(QC_COLUMNS),
        ["u0", "ok", "1", "1", "1", "box 8 6 21 17", "0.9", *full, "168", "168", "1.0", "yes", ""],
        [
            *("u0", "ok", "1", "2", "1", "box 25 30 32 35", "0.5", *full, "48", "48", "1.0"),
            *("no", "predicted IoU below 0.6"),
        ],
        ["u1", "ok", "1", "1", "1", "box 8 7 22 18", "0.9", *full, "180", "180", "1.0", "yes", ""],
        ["u2", "no-prompt", *nothing, "the network predicts nothing"],
        ["u3", "ok", "1", "1", "1", "box 8 9 24 20", "0.9", *full, "204", "204", "1.0", "yes", ""],
    ]
    expected = np.zeros((40, 36), np.uint8)
    expected[6:18, 8:22], expected[30:36, 25:33] = 1, 255
    np.testing.assert_array_equal(mask(mixed.out / "u0.png"), expected)


def test_cases_without_prediction_are_listed_and_no_failure(mixed):
    found = mixed.mine()
    assert [case.case for case in found.cases if case.status == "no-prompt"] == ["u2"]
    assert (found.counts["ok"], found.counts["no-prompt"]) == (3, 1)
    assert "u2.png" not in names(mixed.out)
    assert load_manifest(mixed.out)["status"] == "ok"


def test_the_manifest_is_last_and_says_what_was_made_from_what(place):
    place.mine(min_iou=0.3)
    manifest = load_manifest(place.out)
    ages = {path.name: path.stat().st_mtime_ns for path in place.out.iterdir()}
    assert max(ages, key=lambda name: (ages[name], name == "run.json")) == "run.json"
    assert manifest["counts"] == {
        "cases_in": 4, "ok": 4, "kept": 0, "no-prompt": 0, "dropped": 0, "failed": 0,
        "embeddings_cached": 0, "embeddings_made": 4,
    }  # fmt: skip
    inputs = [place.folder / "config.yaml", place.folder / "model.safetensors", place.split]
    assert manifest["inputs"] == {p.name: f"sha256:{sha256_file(p)}" for p in inputs}
    assert manifest["outputs"] == {
        name: f"sha256:{sha256_file(place.out / name)}" for name in ("qc.csv", *MASKS)
    }
    details = manifest["details"]
    assert (details["sam"], details["weights"]) == ("drawing", place.segmenter.digest)
    assert (details["rules"]["min_iou"], details["subset"]) == (0.3, "unlabeled")
    assert details["split"] == Split.load(place.split).digest
    assert details["learned"]["split"] == details["split"]
    assert details["training_cases"] == [*UNLABELED]  # of the run, which looked at their images
    assert str(place.root) not in json.dumps(manifest)


def test_pictures_are_of_the_sample_alone_and_show_both_outlines(place):
    place.mine(overlays=2, box_margin=(0.2,))
    assert names(place.out / "overlays") == ["u0.png", "u2.png"]
    picture = mask(place.out / "overlays" / "u0.png")[40:, 12:]  # below the name, 32 times as large
    assert picture[3 * 32, 4 * 32].tolist() == [230, 159, 0]  # where the network's corner is
    assert picture[2 * 32, 3 * 32].tolist() == [86, 180, 233]  # SAM's: 2.8 pixels out, cut to whole
    assert picture[5, 5].tolist() == [0, 0, 0]  # the darkest of the picture


def test_pictures_of_an_earlier_output_do_not_stay(place):
    place.mine(overlays=4)
    place.mine(overlays=1, force=True)
    assert names(place.out / "overlays") == ["u0.png"]


def test_another_filter_encodes_nothing_anew(place):
    place.mine()
    again = place.mine(out=place.root / "again", min_agreement=0.1, refine=1)
    assert (again.hits, again.misses) == (4, 0)
    assert len(place.segmenter.encoded) == 4
    counts = load_manifest(place.root / "again")["counts"]
    assert (counts["embeddings_cached"], counts["embeddings_made"]) == (4, 0)


def test_the_encoder_sees_the_picture(place):
    place.mine()
    seen = place.segmenter.encoded[1]
    low, high = np.percentile(pixels(1), (0.5, 99.5))
    stretched = (pixels(1).T.clip(low, high) - low) / (high - low)
    expected = np.repeat(stretched[None], 3, axis=0)
    np.testing.assert_allclose(seen, expected, atol=1e-6)


def test_resuming_mines_what_is_not_whole(place):
    place.mine()
    before, asked = contents(place.out), len(place.segmenter.asked)
    (place.out / "u1.png").write_bytes(before["u1.png"][:-9])
    found = place.mine(resume=True)
    assert [case.status for case in found.cases] == ["kept", "ok", "kept", "kept"]
    assert len(place.segmenter.asked) == asked + 1
    assert contents(place.out) == before


def test_resuming_with_other_rules_mines_all_anew(place):
    place.mine()
    found = place.mine(resume=True, box_margin=(0.2,))
    assert [case.status for case in found.cases] == ["ok"] * 4
    assert mask(place.out / "u0.png").sum() > (pixels(0) > LEVEL).sum()


def test_resuming_after_masks_to_be_scored_gives_masks_to_learn_from(mixed):
    """The empty mask of a case without prediction must not train."""
    mixed.mine(subset="all")
    assert not mask(mixed.out / "u2.png").any()
    mixed.mine(resume=True)
    assert "u2.png" not in names(mixed.out)


@pytest.mark.parametrize("how", ["resume", "force"])
def test_a_table_of_others_is_not_replaced(place, how):
    place.mine()
    place.mine(**{how: True})
    (place.out / "qc.csv").write_text("my,own,table\n")
    with pytest.raises(UsageError, match=r"qc\.csv was not written by llmseg"):
        place.mine(**{how: True})
    assert (place.out / "qc.csv").read_text() == "my,own,table\n"


@pytest.mark.parametrize("how", ["resume", "force"])
@pytest.mark.parametrize("file", ["u2.png", "overlays/u2.png"])
def test_files_of_others_are_not_replaced(place, how, file):
    place.mine(limit=1)  # u0
    (place.out / file).write_bytes(b"drawn by hand")
    with pytest.raises(PartialError, match=r"u2\.png was not written by llmseg"):
        place.mine(**{how: True})
    assert (place.out / file).read_bytes() == b"drawn by hand"
    (place.out / file).unlink()
    assert {case.status for case in place.mine(resume=True).cases} == {"kept", "ok"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_keeps_finished_cases_and_resuming_ends_as_if_it_had_not_come(place, number):
    def signals_in_the_second_case(prompt):
        if len(stopping.asked) == 2:
            os.kill(os.getpid(), number)
        return as_asked(prompt)

    stopping = Drawing(signals_in_the_second_case)
    place.drawing(stopping)
    with pytest.raises(StoppedError, match=f"{number.name}: finished cases are kept"):
        place.mine(overlays=0, box_margin=(0.0,))
    assert names(place.out) == ["cases.jsonl", "u0.png", "u1.png"]
    place.drawing(Drawing())
    found = place.mine(resume=True, box_margin=(0.0,))
    assert [case.status for case in found.cases] == ["kept", "kept", "ok", "ok"]
    place.mine(out=place.root / "straight", box_margin=(0.0,))
    assert contents(place.out) == contents(place.root / "straight")


def test_labels_of_unlabeled_cases_are_never_opened(place):
    place.mine(out=place.root / "before")
    for index, case in enumerate(UNLABELED):
        label = place.data / "labels" / f"{case}.png"
        label.write_bytes(b"no picture")
        if index % 2:
            label.unlink()
    place.mine()
    assert contents(place.out) == contents(place.root / "before")


def rotation() -> np.ndarray:
    a, b = 0.3, -0.2
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    return about_z @ about_x


AFFINES = {
    "flipped": np.diag([-1.0, -1.0, 1.0]),
    "permuted": np.array([[0, 0, 1.5], [-1.0, 0, 0], [0, 0.7, 0]]),
    "oblique": rotation() @ np.diag([0.8, 1.1, -2.0]),
}


@pytest.mark.parametrize(
    ("kind", "axis"), [("flipped", "y"), ("permuted", "z"), ("permuted", "x"), ("oblique", "z")]
)
def test_masks_of_volumes_lie_exactly_on_the_images(tmp_path, monkeypatch, kind, axis):
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = AFFINES[kind], (10.25, -3.5, 7.125)
    raw = np.random.default_rng(0).integers(0, 90, (21, 18, 13)).astype(np.int16)
    raw[4:12, 5:15, 3:8] += 110
    place = Place(tmp_path, monkeypatch)
    write_nifti(place.data / "images" / "u0.nii.gz", raw, affine)
    write_nifti(place.data / "images" / "l0.nii.gz", raw + 1, affine)
    place.prepare(patch=(16, 16, 16)).mine(slice_axis=axis, box_margin=(0.0,))
    image, found = (nib.load(f / "u0.nii.gz") for f in (place.data / "images", place.out))
    np.testing.assert_array_equal(np.asarray(found.dataobj), raw > LEVEL)
    assert found.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(found.affine, image.affine)
    assert names(place.out / "overlays") == ["u0.png"]
    sliced = {len(place.segmenter.encoded), load_manifest(place.out)["counts"]["embeddings_made"]}
    raw_axis = int(np.abs(affine[:3, :3])["xyz".index(axis)].argmax())
    assert sliced == {(8, 10, 5)[raw_axis]}


def test_a_run_that_learned_from_a_test_case_is_refused(place):
    learned = write_split(place.root / "other.json", place.data, labeled=("l0", "t0"), test=())
    (place.folder / "split.json").write_bytes(learned.read_bytes())
    with pytest.raises(PolicyError, match=r"--run .* has learned from 1 .*\(t0\)") as caught:
        place.mine()
    assert caught.value.exit_code == 4
    assert not place.out.exists()


def test_a_split_of_other_data_is_refused(place):
    place.replace("u1", pixels(7))
    with pytest.raises(PolicyError, match=r"other data: 1 changed \(u1\)") as caught:
        place.mine()
    assert caught.value.exit_code == 4
    assert not place.out.exists()


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"threshold": "1.0"}, "the run predicts nothing to ask about. Train it longer"),
        ({"min_iou": 2.0}, "the filters dropped every mask. Lower --min-iou"),
    ],
)
def test_no_mask_at_all_is_partial_and_written_down(place, rules, said):
    with pytest.raises(PartialError, match=f"None of 4 cases has a pseudo-label: {said}") as caught:
        place.mine(**rules)
    assert caught.value.exit_code == 5
    assert names(place.out) == ["cases.jsonl", "overlays", "qc.csv", "run.json"]
    manifest = load_manifest(place.out)
    assert (manifest["status"], manifest["exit_code"]) == ("partial", 5)
    assert caught.value.report["counts"] == manifest["counts"]
    assert len((place.out / "qc.csv").read_text().splitlines()) == 1 + 4


def test_a_corrupt_image_fails_alone(bare):
    whole = (bare.data / "images" / "u1.png").read_bytes()
    (bare.data / "images" / "u1.png").write_bytes(whole[: len(whole) // 2])
    bare.prepare()
    heard = []
    with pytest.raises(PartialError, match=r"1 of 4 cases failed.*\n?u1: .*not a whole") as caught:
        bare.mine(on_case=heard.append)
    assert "--resume" in str(caught.value)
    assert [case.status for case in heard] == ["ok", "failed", "ok", "ok"]
    assert {*MASKS} - {*names(bare.out)} == {"u1.png"}
    assert load_manifest(bare.out)["counts"]["failed"] == 1
    (line,) = [line for line in (bare.out / "qc.csv").read_text().splitlines() if "u1" in line]
    assert line.startswith("u1,failed,")
    assert "not a whole picture" in line


def grey(index: int) -> np.ndarray:
    return pixels(index)


def deep(index: int) -> np.ndarray:
    return np.where(pixels(index) > LEVEL, 60000, 50).astype(np.uint16)


def colored(index: int) -> np.ndarray:
    return np.stack([pixels(index) // 3, pixels(index) // 2, pixels(index)], axis=-1)


def transparent(index: int) -> np.ndarray:
    return np.concatenate([colored(index), np.full((40, 36, 1), 255, np.uint8)], axis=-1)


@pytest.mark.parametrize(
    ("kind", "channels"), [(grey, 1), (deep, 1), (colored, 3), (transparent, 3)]
)
def test_pictures_of_every_kind(bare, kind, channels):
    for index, case in enumerate(UNLABELED):
        bare.replace(case, kind(index))
    bare.prepare(in_channels=channels).mine()
    for index, case in enumerate(UNLABELED):
        np.testing.assert_array_equal(mask(bare.out / f"{case}.png"), pixels(index) > LEVEL)
    for seen in bare.segmenter.encoded:
        assert seen.shape == (3, 36, 40)
        assert seen.min() >= 0
        assert 0.75 < seen.max() <= 1


def test_other_channels_than_the_run_has_are_one_clear_sentence(bare):
    bare.replace("u1", colored(1))
    with pytest.raises(PartialError, match=r"u1\.png: 3 channel\(s\).* trained with 1") as caught:
        bare.prepare().mine()
    assert caught.value.report["counts"]["ok"] == 3


@pytest.mark.parametrize("shape", [(24, 20), (31, 9), (5, 4)])
def test_pictures_smaller_than_32_pixels(bare, shape):
    small = np.full(shape, 10, np.uint8)
    small[1:4, 1:3] = 200
    bare.replace("u0", small)
    bare.prepare().mine(box_margin=(0.0,), smallest_component=0.0)
    np.testing.assert_array_equal(mask(bare.out / "u0.png"), small > LEVEL)
    assert mask(bare.out / "overlays" / "u0.png").shape[0] >= shape[0]


def test_masks_to_be_scored_are_there_for_each_case_without_unknown_pixels(mixed):
    found = mixed.mine(subset="all", min_iou=0.6)
    assert [case.status for case in found.cases] == ["ok"] * 6
    assert not mask(mixed.out / "u2.png").any()
    first = mask(mixed.out / "u0.png")
    assert set(np.unique(first)) == {0, 1}
    assert first.sum() == 168
    with pytest.raises(PolicyError, match="masks of 1 test cases"):
        find_masks(mixed.out, Split.load(mixed.split))


def test_a_test_set_without_any_prediction_is_answered(bare):
    bare.replace("t0", np.full((40, 36), 20, np.uint8))
    found = bare.prepare().mine(subset="test")
    assert [(case.case, case.status, case.file) for case in found.cases] == [("t0", "ok", "t0.png")]
    assert not mask(bare.out / "t0.png").any()


def test_a_dry_run_names_the_cases_and_writes_nothing(place):
    before = sorted(place.root.rglob("*"))
    found = place.mine(dry_run=True)
    assert [(case.case, case.status) for case in found.cases] == [
        (case, "planned") for case in UNLABELED
    ]
    assert sorted(place.root.rglob("*")) == before
    assert not place.segmenter.encoded


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        ({"resume": True, "force": True}, UsageError, "Pass one of them"),
        ({"out": "run"}, UsageError, "the run folder itself"),
        ({"out": "data"}, UsageError, "data exists. Choose another -o"),
        ({"out": "data", "resume": True}, UsageError, "holds the folder of images"),
        ({"subset": "tests"}, UsageError, "Unknown subset 'tests'"),
        ({"subset": "validation"}, DataError, "no case with the role 'validation'"),
    ],
)
def test_words_that_contradict_each_other(place, words, kind, message):
    if "out" in words:
        words = words | {"out": place.root / words["out"]}
    with pytest.raises(kind, match=message):
        place.mine(**words)
    assert not place.out.exists()


def test_a_limit_takes_cases_evenly_over_all(place):
    found = place.mine(limit=2)
    assert [case.case for case in found.cases] == ["u0", "u2"]


def test_with_the_networks_masks_pictures_and_unknown_pixels_are_the_same(mixed):
    wide = {"min_iou": 0.8, "box_margin": (0.2,)}  # SAM draws more than the network predicts
    mixed.mine(**wide)
    drawn = {path.name: mask(path) for path in mixed.out.glob("*.png")}
    findings = {e.case: e.details["findings"] for e in Journal.read(mixed.out)}
    mixed.mine(**wide, masks="network", resume=True)
    own = {path.name: mask(path) for path in mixed.out.glob("*.png")}
    assert own.keys() == drawn.keys()
    assert findings == {e.case: e.details["findings"] for e in Journal.read(mixed.out)}
    differs = unknown = 0
    for name, labels in own.items():
        np.testing.assert_array_equal(labels == UNKNOWN, drawn[name] == UNKNOWN)
        known = labels != UNKNOWN
        picture = mask(mixed.data / "images" / name)
        np.testing.assert_array_equal(labels[known], (picture > LEVEL)[known])
        differs += int((labels != drawn[name]).sum())
        unknown += int((~known).sum())
    assert differs
    assert unknown


def test_thresholds_follow_the_labeled_cases_and_never_those_that_are_scored(place):
    place.mine(threshold="labeled")
    unlabeled = load_manifest(place.out)["details"]
    place.mine(threshold="labeled", subset="test", out=place.root / "test")
    scored = load_manifest(place.root / "test")["details"]
    assert unlabeled["calibrates"] is True
    assert len(unlabeled["thresholds"]) == 2
    assert 0.5 <= unlabeled["thresholds"][1] <= 0.95
    assert scored["thresholds"] == unlabeled["thresholds"]
    place.mine(out=place.root / "fixed")
    assert load_manifest(place.root / "fixed")["details"]["thresholds"] == []
