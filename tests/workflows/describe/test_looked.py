"""A model looks at pictures of each image: what it is shown, what leaves, what is recorded."""

import hashlib
import io
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest
from completion_server import MODEL, TEXT, completion_server
from PIL import Image
from tiny_data import write_nifti
from tiny_models import write_language_model, write_vision_model

from llmseg_cli.artifacts.case_descriptions import CaseDescriptions
from llmseg_cli.data.volumes import load_image
from llmseg_cli.errors import UsageError, WeightsError
from llmseg_cli.workflows.describe.looked import look
from llmseg_cli.workflows.describe.pictures import chosen_slices, pictures_of
from llmseg_cli.workflows.describe.run import DescribeSettings

WORDS = {"modality": "CT", "classes": ("spleen",)}


def scan(path: Path, *, seed: int = 0, flip: bool = False) -> Path:
    """A bright ball in a dark box of 16 x 16 x 10 voxels, 1 x 1 x 3 mm, to the left."""
    array = np.random.default_rng(seed).normal(0, 0.1, (16, 16, 10)).astype(np.float32)
    array[2:7, 5:11, 2:9] += 5
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    return write_nifti(path, array[::-1].copy() if flip else array, affine)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    scan(tmp_path / "scans" / "one.nii.gz")
    scan(tmp_path / "scans" / "two.nii.gz", flip=True)
    return tmp_path / "scans"


def test_a_server_is_shown_slices_and_all_of_it_is_recorded(images, tmp_path):
    with completion_server() as server:
        settings = DescribeSettings(base_url=server.url, seed=7)
        found = look("spleen", images=[images], llm=f"openai:{MODEL}", settings=settings, **WORDS)
    assert list(found.cases) == ["one", "two"]
    assert {text for _, _, text in found.rows()} == {TEXT}
    assert (found.reviewed, found.written_by.model) == (False, MODEL)
    assert len(server.requests) == 2
    for request, case in zip(server.requests, found.cases.values(), strict=True):
        (message,) = request["messages"]
        text, *shown = message["content"]
        assert "slice 4 of 10, from the feet" in text["text"]
        assert "are the patient's right, left, front and back" in text["text"]
        assert case.classes["spleen"][0].query == text["text"]
        files = [b64decode(one["image_url"]["url"].partition("base64,")[2]) for one in shown]
        assert len(files) == 3
        assert case.pictures == tuple(hashlib.sha256(file).hexdigest() for file in files)
        assert (case.image, case.mask) != (None, "")
    found.save(tmp_path / "d.yaml")
    assert CaseDescriptions.load(tmp_path / "d.yaml") == found


def test_the_patients_left_is_at_the_right_of_a_picture(images):
    for name, brighter in (("one", "right"), ("two", "left")):
        volume = load_image([images / f"{name}.nii.gz"])
        (picture,), hint = pictures_of(volume, 1)
        pixels = np.asarray(Image.open(io.BytesIO(picture.png)).convert("L"), np.float32)
        np.testing.assert_array_equal(picture.pixels[..., 0], pixels)
        half = pixels.shape[1] // 2
        found = "right" if pixels[:, half:].mean() > pixels[:, :half].mean() else "left"
        assert found == brighter
        assert hint.startswith("At the left, right, top and bottom of a picture are the patient's")
        assert pixels.max() > 250
        assert pixels.min() < 5


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_are_where_something_bright_is(axis):
    array = np.zeros((1, 10, 10, 10), np.float32)
    np.moveaxis(array[0], axis, 0)[7] = 1
    assert chosen_slices(array, axis, 3) == [7]
    np.moveaxis(array[0], axis, 0)[2:8] = 1
    assert chosen_slices(array, axis, 3) == [3, 5, 7]
    assert chosen_slices(array, axis, 1) == [5]
    assert chosen_slices(0 * array, axis, 2) == [2, 7]  # of no contrast, all


def test_images_do_not_leave_the_machine_unasked(images, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    for url in ("http://192.0.2.1:8000/v1", "https://models.example/v1", None):
        settings = DescribeSettings(base_url=url)
        with pytest.raises(UsageError, match=r"is another machine.*--send-images"):
            look("spleen", images=[images], llm="openai:m", settings=settings, **WORDS)
    with pytest.raises(WeightsError, match="--offline forbids"):
        look("spleen", images=[images], llm="openai:m", send_images=True, offline=True, **WORDS)


def test_with_leave_a_server_elsewhere_is_asked(images, monkeypatch):
    monkeypatch.setattr("llmseg_cli.knowledge.descriptions.openai_client._LOOPBACK", ())
    with completion_server() as server:
        asked = {"settings": DescribeSettings(base_url=server.url), "llm": f"openai:{MODEL}"}
        with pytest.raises(UsageError, match="--send-images"):
            look("spleen", images=[images], **asked, **WORDS)
        assert server.requests == []
        look("spleen", images=[images], send_images=True, **asked, **WORDS)
        assert len(server.requests) == 2


def test_a_model_of_transformers_looks_and_says_the_same_again(images, tmp_path):
    folder = write_vision_model(tmp_path / "model")
    settings = DescribeSettings(max_words=20, seed=3, device="cpu")
    asked = {"images": [images], "llm": str(folder), "settings": settings, **WORDS}
    found = look("spleen", **asked)
    assert look("spleen", **asked).to_text() == found.to_text()
    assert found.written_by.provider == "transformers"
    assert found.written_by.digest.startswith("sha256:")
    one, two = (case.classes["spleen"][0] for case in found.cases.values())
    assert one.query.count("<image>") == 3
    assert one.text != two.text  # of two pictures; the question is the same
    assert any("under one billion" in warning for warning in found.warnings)


def test_a_model_without_eyes_is_refused(images, tmp_path):
    folder = write_language_model(tmp_path / "words")
    with pytest.raises(WeightsError, match="does not look at pictures"):
        look("spleen", images=[images], llm=str(folder), **WORDS)
    blind = write_vision_model(tmp_path / "blind")
    (blind / "processor_config.json").unlink()
    with pytest.raises(WeightsError, match="processor"):
        look("spleen", images=[images], llm=str(blind), **WORDS)


def test_what_is_missing_is_said_before_anybody_is_asked(images):
    with pytest.raises(UsageError, match="--modality"):
        look("spleen", images=[images], llm="openai:m", modality=None, classes=())
    settings = DescribeSettings(base_url="http://127.0.0.1:1/v1")
    with pytest.raises(UsageError, match="--base-url goes with"):
        look("spleen", images=[images], llm="nowhere", settings=settings, **WORDS)
