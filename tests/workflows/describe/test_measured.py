"""Texts of each image: whose, about what, and what nobody opened for them."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from tiny_data import write_nifti

from llmseg_cli.artifacts.case_descriptions import CaseDescriptions
from llmseg_cli.data.cases import find_cases, image_digest
from llmseg_cli.errors import ArtifactError, DataError, PolicyError, UsageError
from llmseg_cli.workflows.describe.measured import measure

SHAPE = (24, 24, 24)


def body(at: int) -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    labels[at : at + 4, 10:14, 10:14] = 1
    return labels


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two scans, whose label maps are no files that could be read."""
    for name, at in (("one", 1), ("two", 19)):
        write_nifti(tmp_path / "data" / "images" / f"{name}.nii.gz", 10.0 * body(at) + 1)
        path = tmp_path / "data" / "labels" / f"{name}.nii.gz"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"not to be opened")
    return tmp_path / "data"


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    for name, at in (("one", 1), ("two", 19)):
        write_nifti(tmp_path / "masks" / f"{name}.nii.gz", body(at))
    return tmp_path / "masks"


def test_each_image_has_its_text_and_no_label_map_is_opened(data, masks):
    found = measure("spleen", data=data, pred=masks, modality="CT")
    assert list(found.cases) == ["one", "two"]
    texts = {case: text for case, _, text in found.rows()}
    assert "left third" in texts["one"]
    assert "right third" in texts["two"]
    assert all("This CT has 24 x 24 x 24 voxels" in text for text in texts.values())
    digests = {case.id: image_digest(case) for case in find_cases(data).cases}
    assert {name: case.image for name, case in found.cases.items()} == digests
    assert found.cases["one"].mask != found.cases["two"].mask
    assert found.reviewed
    assert (found.written_by.provider, found.class_names) == ("measured", ("spleen",))
    again = measure("spleen", data=data, pred=masks, modality="CT")
    assert again.to_text() == found.to_text()


def test_without_masks_the_image_alone_is_told_of(data):
    found = measure("spleen", images=[data / "images" / "one.nii.gz"], classes=("a", "b"))
    one, other = (found.cases["one"].classes[name][0].text for name in ("a", "b"))
    assert one == other
    assert one.startswith("This scan has")
    assert found.cases["one"].mask is None


def test_a_class_that_is_not_predicted_is_said_to_be_absent(data, masks):
    found = measure("spleen", data=data, pred=masks, classes=("spleen", "cyst"))
    assert "No cyst was predicted" in found.cases["one"].classes["cyst"][0].text


def test_label_maps_of_the_data_set_are_refused(data):
    with pytest.raises(PolicyError, match="tell the answer"):
        measure("spleen", data=data, pred=data / "labels")


def test_masks_of_nobody_are_warned_of_and_missing_ones_named(data, masks):
    assert "Nothing in" in measure("spleen", data=data, pred=masks).warnings[0]
    (masks / "two.nii.gz").unlink()
    with pytest.raises(UsageError, match=r"no mask of 1 case \(two\)"):
        measure("spleen", data=data, pred=masks)


def test_a_mask_of_another_size_or_class_is_refused(data, masks):
    write_nifti(masks / "two.nii.gz", body(3)[:-1])
    with pytest.raises(DataError, match="23 x 24 x 24 voxels"):
        measure("spleen", data=data, pred=masks)
    write_nifti(masks / "two.nii.gz", 4 * body(3))
    with pytest.raises(DataError, match="has the value 4"):
        measure("spleen", data=data, pred=masks)


def test_images_have_to_be_named_and_a_target(data):
    with pytest.raises(UsageError, match="Pass --data DIR"):
        measure("spleen")
    with pytest.raises(UsageError, match="--target is empty"):
        measure(" ", data=data)


def test_the_file_reads_as_it_was_written_and_lacks_nothing(data, tmp_path):
    found = measure("spleen", data=data)
    found.save(tmp_path / "d.yaml")
    assert CaseDescriptions.load(tmp_path / "d.yaml") == found
    content = yaml.safe_load((tmp_path / "d.yaml").read_text())
    assert "mask" not in content["cases"]["one"]
    content["cases"]["two"]["classes"] = {}
    (tmp_path / "d.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ArtifactError, match="case two has texts of no class, expected spleen"):
        CaseDescriptions.load(tmp_path / "d.yaml")
    content["cases"]["two"]["classes"] = {"spleen": [" "]}
    (tmp_path / "d.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ArtifactError, match="case two, class 'spleen' has no text"):
        CaseDescriptions.load(tmp_path / "d.yaml")
