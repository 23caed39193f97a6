"""`llmseg predict --dicom-seg`: a segmentation beside each mask, and its refusals."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tiny_data import random_image, write_dicom, write_nifti
from tiny_runs import run_config, write_run
from training_cli import invoke

pytest.importorskip("highdicom")
pydicom = pytest.importorskip("pydicom")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "run"
    write_run(folder, run_config((16, 16, 16), label_map=("9:1",), label_values=(0, 9)))
    return folder


def write_series(folder: Path) -> Path:
    write_dicom(folder, (10 * random_image(0, (18, 17, 16))).astype(np.int16))
    for path in folder.iterdir():
        one = pydicom.dcmread(path)
        one.FrameOfReferenceUID = "1.2.3"
        one.save_as(path)
    return folder


def predict(run: Path, images: Path, out: Path, *words: str, code: int = 0) -> str:
    found = invoke("predict", "--run", run, "--images", images, "-o", out, "--dicom-seg", *words)
    assert found.exit_code == code, f"{found.output}{found.exception!r}"
    return found.stderr


def test_a_segmentation_lies_beside_each_mask(run: Path, tmp_path: Path):
    series = write_series(tmp_path / "patient")
    predict(run, series, tmp_path / "masks")
    seg = pydicom.dcmread(tmp_path / "masks" / "dicom-seg" / "patient.dcm")
    mask = nib.load(tmp_path / "masks" / "patient.nii.gz").get_fdata()
    assert int(seg.pixel_array.sum()) == int((mask == 9).sum()) > 0
    assert [one.SegmentLabel for one in seg.SegmentSequence] == ["bright"]
    record = json.loads((tmp_path / "masks" / "run.json").read_text())
    assert set(record["outputs"]) == {"patient.nii.gz", "dicom-seg/patient.dcm"}
    scored = invoke("score", tmp_path / "masks", tmp_path / "masks" / "patient.nii.gz")
    assert scored.exit_code == 0, scored.output


def test_other_formats_are_refused_before_anything_is_written(run: Path, tmp_path: Path):
    scan = write_nifti(tmp_path / "scan.nii.gz", random_image(0, (18, 17, 16)))
    said = predict(run, scan, tmp_path / "masks", code=2)
    assert "case scan (scan.nii.gz) is no DICOM series" in said
    assert not (tmp_path / "masks").exists()


def test_a_missing_package_is_one_sentence(run: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("llmseg_cli.data.formats.dicom_seg.find_spec", lambda name: None)
    said = predict(run, write_series(tmp_path / "patient"), tmp_path / "masks", code=2)
    assert "needs the package highdicom: python -m pip install 'llmseg[dicom]'." in said
