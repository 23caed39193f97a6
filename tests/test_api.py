"""The library: what it answers is what the commands write, of volumes and pictures alike."""

import gc
import inspect
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from test_startup import HEAVY
from tiny_data import write_nifti
from tiny_models import write_encoder
from toy_cohort import SPACING_MM, toy_case
from training_cli import TINY, invoke, weights

from llmseg_cli import api
from llmseg_cli.knowledge.embeddings.file import load_embeddings
from llmseg_cli.metrics.signature import METRICS, key

EXAMPLE = Path(__file__).parents[1] / "examples" / "library" / "segment.py"
OPTIONS = {
    "patch": (16, 16, 16),
    "model": "vnet",
    "model-option": ["filters=4", "dropout=0.2"],
    "optimizer": "sgd",
    "learning-rate": 0.02,
    "steps": 2,
}
PICTURE = {"patch": [16, 16], "model": "vnet", "model-option": ["filters=4"], "steps": 2}


def ok(*words: str | Path) -> str:
    result = invoke(*words)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, toy_data: Path, toy_split: Path) -> Path:
    """A run that resamples, and has learned a little."""
    folder = tmp_path_factory.mktemp("api") / "run"
    words = ("--data", toy_data, "--split", toy_split, *TINY, "--steps", "30", "--spacing", "1.5")
    ok("train-sup", *words, "-o", folder)
    return folder


@pytest.mark.parametrize("more", [{}, {"overlap": 0.25, "mirror": True}, {"blend": "constant"}])
def test_an_array_is_segmented_as_its_file(run: Path, toy_data: Path, tmp_path: Path, more):
    file = toy_data / "images" / "toy06.nii.gz"
    words = [w for k, v in more.items() for w in ((f"--{k}",) if v is True else (f"--{k}", str(v)))]
    ok("predict", "--run", run, "--images", file, *words, "-o", tmp_path / "masks")
    written = np.asarray(nib.load(tmp_path / "masks" / file.name).dataobj)
    found = api.load(run).predict(np.asarray(nib.load(file).dataobj), SPACING_MM, **more)
    assert found.dtype == written.dtype == np.uint8
    assert np.array_equal(found, written)
    assert len(np.unique(found)) > 1


def test_probabilities_are_those_that_predict_chooses_from(run: Path):
    image, _ = toy_case(7)
    opened = api.load(run)
    found, labels = (f(image, SPACING_MM) for f in (opened.probabilities, opened.predict))
    assert found.shape == (3, *image.shape)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-5)
    best = np.sort(found, axis=0)
    clear = best[-1] - best[-2] > 1e-3
    assert clear.mean() > 0.9
    assert np.array_equal(found.argmax(axis=0)[clear], labels[clear])


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Color pictures whose masks have the value 255, and a run of them."""
    place = tmp_path_factory.mktemp("pictures")
    for name in ("images", "labels"):
        (place / "data" / name).mkdir(parents=True)
    for index in range(4):
        pixels = np.random.default_rng(index).integers(0, 90, (21, 26, 3), np.uint8)
        mask = np.zeros((21, 26), np.uint8)
        mask[5 + index : 14, 6 : 16 + index] = 255
        pixels[mask > 0] += 120
        Image.fromarray(pixels).save(place / "data" / "images" / f"p{index}.png")
        Image.fromarray(mask).save(place / "data" / "labels" / f"p{index}.png")
    data = ("--data", place / "data")
    changes = ("--label-map", "255:1", "--test", "1")
    ok("split", *data, *changes, "-o", place / "split.json")
    words = ("--patch", "16,16", "--model", "vnet", "--model-option", "filters=4", "--steps", "20")
    ok("train-sup", *data, "--split", place / "split.json", *words, "-o", place / "run")
    return place


def test_a_color_picture_and_its_own_values(pictures: Path):
    file = pictures / "data" / "images" / "p3.png"
    ok("predict", "--run", pictures / "run", "--images", file, "-o", pictures / "masks", "--force")
    written = np.asarray(Image.open(pictures / "masks" / "p3.png"))
    opened = api.load(pictures / "run")
    pixels = np.asarray(Image.open(file)).transpose(2, 1, 0)  # (C, X, Y)
    labels = opened.predict(pixels, (1, 1))
    assert opened.channels == 3
    assert opened.label_values == (0, 255)
    assert set(np.unique(labels)) == {0, 1}
    assert np.array_equal(np.asarray(opened.label_values)[labels].T, written)
    assert opened.probabilities(pixels, (1, 1)).shape == (2, 26, 21)


def one_case(tmp_path: Path, *arrays: Any, affine: Any) -> tuple[Path, Path]:
    names = ("prediction", "reference")
    for name, array in zip(names, arrays, strict=True):
        write_nifti(tmp_path / f"{name}.nii.gz", array, affine)
    return tmp_path / "prediction.nii.gz", tmp_path / "reference.nii.gz"


@pytest.mark.parametrize("policy", ["diagonal", "skip"])
def test_scores_are_those_of_the_command(tmp_path: Path, policy: str):
    random = np.random.default_rng(3)
    reference = random.integers(0, 3, (9, 8, 7)).astype(np.uint8)
    prediction = np.where(random.random(reference.shape) < 0.7, reference, 0).astype(np.uint8)
    prediction[prediction == 2] = 0  # missed
    prediction[0, 0, :2], reference[8, 7, 3:] = 4, 9  # a false alarm, and what is not known
    spacing = (0.5, 0.75, 2.0)
    files = one_case(tmp_path, prediction, reference, affine=np.diag([*spacing, 1]))
    words = ("--ignore-label", "9", "--tolerance-mm", "0.6", "--empty-policy", policy, "--json")
    expected = json.loads(ok("score", "--pred", files[0], "--ref", files[1], *words))
    found = api.score(
        *(prediction, reference, spacing), ignore_label=9, tolerance=0.6, empty_policy=policy
    )
    assert list(found) == ["mean", "1", "2", "4"]
    assert found["mean"]["dice"] > 0
    for name in METRICS:
        metric = expected["metrics"][key(name, "mm")]
        assert found["mean"][key(name, "mm")] == metric["mean"]
        for number, summary in metric["classes"].items():
            assert found[number][key(name, "mm")] == summary["mean"]


def test_pictures_are_scored_in_pixels(pictures: Path):
    words = ("--pred", pictures / "data/labels/p0.png", "--ref", pictures / "data/labels/p1.png")
    expected = json.loads(ok("score", *words, "--json"))["metrics"]
    one, other = (np.asarray(Image.open(words[place])).T for place in (1, 3))
    found = api.score(one, other, classes={255: "square"})
    assert found["square"]["hd95_px"] == expected["hd95_px"]["mean"] > 0
    assert found["mean"]["dice"] == expected["dice"]["mean"]


def test_training_on_arrays_is_training_on_files(tmp_path: Path, cache: Path, capfd):
    cases = [toy_case(seed) for seed in range(5)]
    heard = []
    trained = api.train(
        [image for image, _ in cases[:3]],
        [labels for _, labels in cases[:3]],
        unlabeled=[image for image, _ in cases[3:]],
        spacing=SPACING_MM,
        classes=["left", "right"],
        validation=1,
        method="mean-teacher",
        options=OPTIONS,
        folder=tmp_path / "kept",
        seed=5,
        progress=lambda phase, done, total, **values: heard.append((phase, done, total)),
    )
    assert capfd.readouterr() == ("", "")
    assert [one for one in heard if one[0] == "train"][-1] == ("train", 2, 2)
    assert heard[-1] == ("validate", 1, 1)
    assert trained.classes == ("background", "left", "right")
    assert trained.folder == tmp_path / "kept" / "run"
    words = ("--data", tmp_path / "kept" / "data", "--split", tmp_path / "kept" / "split.json")
    ok(
        *("train-semi", "--method", "mean-teacher", *words, *TINY, "--steps", "2", "--seed", "5"),
        *("-o", tmp_path / "again"),
    )
    assert weights(tmp_path / "again") == weights(trained.folder)
    image, labels = cases[0]
    for kind, array in (("images", image), ("labels", labels)):
        file = nib.load(tmp_path / "kept" / "data" / kind / "case0.nii.gz")
        assert np.array_equal(np.asarray(file.dataobj), array)
        assert file.header.get_zooms() == pytest.approx(SPACING_MM)
    with pytest.raises(api.LlmsegError, match="is not empty"):
        api.train([image], [labels], spacing=SPACING_MM, folder=tmp_path / "kept")


def channels_of(dimensions: int, channels: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    cases = [toy_case(seed) for seed in range(3)]
    middle = (slice(None),) * 2 + ((8,) if dimensions == 2 else (slice(None),))
    images = [image[middle] for image, _ in cases]
    several = [np.stack([image, -image][:channels]) for image in images]
    return several if channels > 1 else images, [labels[middle] for _, labels in cases]


@pytest.mark.parametrize(
    ("dimensions", "channels", "options"), [(2, 1, PICTURE), (2, 2, PICTURE), (3, 2, OPTIONS)]
)
def test_pictures_and_channels(cache: Path, dimensions: int, channels: int, options):
    images, labels = channels_of(dimensions, channels)
    spacing = SPACING_MM[:dimensions]
    trained = api.train(images, labels, spacing=[spacing] * 3, options=options)
    folder = trained.folder
    assert trained.channels == channels
    assert trained.classes == ("background", "class 1", "class 2")
    found = trained.predict(images[0], spacing)
    assert found.shape == labels[0].shape
    assert not (cache / "cases").exists()  # a temporary run leaves nothing
    del trained
    gc.collect()
    assert not folder.exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"labels": []}, "3 images and 0 label maps"),
        ({"spacing": [(1, 1, 1)] * 2}, "2 entries for 3 images"),
        ({"spacing": (1, 1)}, r"labels\[0\] of shape \(26, 22, 20\), expected 2 axes"),
        ({"images": [np.zeros(5)] * 3}, r"image of shape \(5,\), expected 3 axes"),
        ({"spacing": (1, 0, 1)}, "two or three sides of a voxel in mm, above 0"),
        ({"labels": [np.zeros((3, 4, 5))] * 3}, r"labels\[0\] of shape \(3, 4, 5\)"),
        ({"options": {"stepz": 3}}, "'stepz' is not known here.*steps"),
        ({"options": {"steps": "many"}}, "'steps' is 'many', expected a whole number"),
        ({"method": "mean-techer"}, "Did you mean 'mean-teacher'"),
        ({"label_map": {1: 7}}, "label value"),
    ],
)
def test_what_cannot_be_trained_on(cache: Path, tmp_path: Path, monkeypatch, change, said):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    images, labels = channels_of(3, 1)
    asked = {"images": images, "labels": labels, "spacing": SPACING_MM, "options": OPTIONS}
    kind = ValueError if set(change) & {"images", "labels", "spacing"} else api.LlmsegError
    with pytest.raises(kind, match=said):
        api.train(**{**asked, **change})
    assert [path for path in tmp_path.iterdir() if path.name.startswith("llmseg-")] == []


def test_arrays_that_do_not_fit_the_run(run: Path):
    opened = api.load(run)
    image, _ = toy_case(0)
    with pytest.raises(api.LlmsegError, match="2 channel"):
        opened.predict(np.stack([image, image]), SPACING_MM)
    with pytest.raises(ValueError, match="real numbers"):
        opened.predict(image.astype(complex), SPACING_MM)
    with pytest.raises(api.LlmsegError, match="overlap 1"):
        opened.predict(image, SPACING_MM, overlap=1)
    with pytest.raises(api.LlmsegError, match="finite"):
        opened.predict(np.full_like(image, np.nan), SPACING_MM)


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        (np.ones((2, 3, 4)), np.ones((2, 3, 5)), r"shape \(2, 3, 4\), reference \(2, 3, 5\)"),
        (np.ones((2, 3, 4)), np.full((2, 3, 4), 0.5), "no whole numbers"),
        (np.zeros((2, 3, 4)), np.zeros((2, 3, 4)), "nothing to score"),
        (np.ones((2, 3)), np.ones((2, 3, 4)), r"prediction of shape \(2, 3\)"),
        (np.full((2, 3, 4), -1), np.ones((2, 3, 4)), "Class -1"),
    ],
)
def test_what_cannot_be_scored(one, other, said: str):
    with pytest.raises((ValueError, api.LlmsegError), match=said):
        api.score(one, other, (1, 1, 2))


def test_texts_and_embeddings_are_those_of_the_commands(tmp_path: Path, cache: Path):
    ok("describe", "--target", "left atrium", "-o", tmp_path / "d.yaml")
    found = api.describe("left atrium")
    assert found == api.Descriptions.load(tmp_path / "d.yaml")
    folder = write_encoder(tmp_path / "encoder")
    ok("embed", tmp_path / "d.yaml", "--encoder", folder, "-o", tmp_path / "e.safetensors")
    expected = load_embeddings(tmp_path / "e.safetensors")
    for source in (found, tmp_path / "d.yaml"):
        embedded = api.embed(source, encoder=str(folder))
        assert embedded.texts == expected.texts
        for name in ("token_ids", "mask", "tokens", "pooled"):
            assert np.array_equal(getattr(embedded, name), getattr(expected, name))
    images, labels = channels_of(3, 1)
    trained = api.train(
        *(images[:2], labels[:2]),
        unlabeled=np.stack(images[2:]),
        spacing=SPACING_MM,
        options=OPTIONS,
        text=embedded,
        folder=tmp_path / "run",
    )
    assert "target: left atrium" in (trained.folder / "config.yaml").read_text()


def test_importing_it_loads_nothing_heavy():
    code = "import sys, llmseg_cli.api; print(*{name.partition('.')[0] for name in sys.modules})"
    words = [sys.executable, "-c", code]
    loaded = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    assert "llmseg_cli" in loaded
    assert set(loaded) & HEAVY == set()


def test_all_that_is_promised_is_documented_and_typed():
    promised = [getattr(api, name) for name in api.__all__]
    functions = [one for one in promised if inspect.isfunction(one)]
    functions += [one for _, one in inspect.getmembers(api.Run, inspect.isfunction)]
    assert {one.__name__ for one in functions} >= {"train", "score", "predict", "probabilities"}
    for one in functions:
        signature = inspect.signature(one)
        given = [p for name, p in signature.parameters.items() if name != "self"]
        assert all(p.annotation is not p.empty for p in given), one
        assert signature.return_annotation is not signature.empty
        if not one.__name__.startswith("_"):
            text = inspect.getdoc(one) or ""
            assert all(f"\n    {p.name}: " in text or f"*{p.name}*" in text for p in given), one


def test_the_example_runs(tmp_path: Path, cache: Path):
    text = EXAMPLE.read_text(encoding="utf-8")
    assert text.count("# %%") >= 5
    assert '"steps": 40' in text
    shutil.copy(EXAMPLE, tmp_path)
    (tmp_path / EXAMPLE.name).write_text(text.replace('"steps": 40', '"steps": 1'))
    words = [sys.executable, "-W", "error", tmp_path / EXAMPLE.name]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "classes: ('background', 'ball')" in done.stdout
    assert "mean Dice:" in done.stdout
