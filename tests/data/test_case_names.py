"""Names of cases are names of files on every disk, wherever they come from."""

import json
import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from tiny_data import random_image, write_cases, write_dicom, write_nifti

from llmseg_cli.data.case_names import LONGEST, alike, why_unsafe
from llmseg_cli.data.cases import find_cases, survey
from llmseg_cli.errors import DataError

UNSAFE = {
    "/tmp/scans/p0": "separator",
    "site1/p0": "separator",
    "site1\\p0": "separator",
    "../p0": "separator",
    "..": "'..'",
    "p..0": "'..'",
    ".p0": "begins with a dot",
    " ": "is empty",
    "p\0": "U+0000",
    "p\n0": "U+000A",
    "\x1b]0;title\x07p": "U+001B",
    "p\x9b31m": "U+009B",
    "p\u202e0": "U+202E",
    "p\ufeff": "U+FEFF",
    "p\u2028": "U+2028",
    "caf\udce9": "not UTF-8",
    "é" * (LONGEST // 2 + 1): f"{LONGEST + 2} bytes",
}
SAFE = (
    "p0",
    "la_01-b",
    "a.b",
    "=1+1",
    "-rf",
    "[red]",
    "Zoë",
    "左心房",
    "ka\u200cna",
    "x" * LONGEST,
)


def write_list(root: Path, *ids: str) -> Path:
    """A `cases.json` with these identifiers, each with an image of its own."""
    rows = []
    for number, name in enumerate(ids):
        write_nifti(root / "scans" / f"{number}.nii.gz", random_image(number))
        rows.append({"id": name, "image": f"scans/{number}.nii.gz"})
    (root / "cases.json").write_text(json.dumps(rows))
    return root


@pytest.mark.parametrize(("name", "reason"), UNSAFE.items())
def test_unsafe_names_are_faults_that_name_the_row(tmp_path: Path, name: str, reason: str):
    assert reason in (why_unsafe(name) or "")
    faults = survey(write_list(tmp_path, "good", name)).faults
    assert [(fault.kind, fault.case, fault.file) for fault in faults] == [
        ("name", name, "cases.json, entry 2")
    ]
    assert reason in faults[0].found
    with pytest.raises(DataError, match=r"cases\.json, entry 2: .*another 'id'"):
        find_cases(tmp_path)


@pytest.mark.parametrize("name", SAFE)
def test_safe_names_can_be_those_of_files(tmp_path: Path, name: str):
    assert why_unsafe(name) is None
    assert [case.id for case in find_cases(write_list(tmp_path, name)).cases] == [name]
    (tmp_path / f".tmp-1234567-{name}.attention-before.nii.gz").touch()  # the longest we write


@pytest.mark.parametrize("second", ["P1", "\u00c5", "A\u030a", "a\u030a"], ids=ascii)
def test_names_that_some_disks_take_for_one(tmp_path: Path, second: str):
    first = "p1" if second == "P1" else "\u00e5"
    (fault,) = survey(write_list(tmp_path, first, second)).faults
    assert fault.kind == "name"
    assert "differ in case or Unicode form alone" in fault.found
    assert alike(first) == alike(second)


def test_forms_of_one_letter_are_alike_and_different_letters_are_not():
    names = ["Åse", "ÅSE", "straße", "STRASSE"]
    for form in ("NFC", "NFD"):
        assert alike(unicodedata.normalize(form, names[0])) == alike(names[1])
    assert alike(names[2]) == alike(names[3])
    assert alike("p1") != alike("p2")


def test_names_of_files_pass_the_same_gate(tmp_path: Path):
    write_cases(tmp_path, [[1], [1], [1]], names=["a", "A", "b"])
    (tmp_path / "images" / "b.nii.gz").rename(tmp_path / "images" / "b\x1b.nii.gz")
    (tmp_path / "labels" / "b.nii.gz").unlink()
    found = {fault.case: fault for fault in survey(tmp_path).faults}
    assert set(found) == {"a", "b\x1b"}
    assert "Rename the file" in found["a"].remedy
    assert found["b\x1b"].file == "b\x1b.nii.gz"


def test_a_name_that_is_not_utf8(tmp_path: Path):
    write_cases(tmp_path, [[1], [1]], names=["a", "b"])
    folder = os.fsencode(tmp_path / "images")
    os.rename(folder + b"/a.nii.gz", folder + b"/caf\xe9.nii.gz")  # noqa: PTH104  bytes
    (tmp_path / "labels" / "a.nii.gz").unlink()
    with pytest.raises(DataError, match="is not UTF-8"):
        find_cases(tmp_path)


@pytest.mark.parametrize("place", [".", "../p7", "inside/.."])
def test_a_series_where_one_stands_has_the_name_of_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
):
    folder = write_dicom(tmp_path / "p7", np.zeros((5, 4, 3), np.int16))
    (folder / "inside").mkdir()
    monkeypatch.chdir(folder)
    assert [case.id for case in find_cases(Path(place)).cases] == ["p7"]


@pytest.mark.parametrize("entry", ["../other/a.nii.gz", "/nowhere/a.nii.gz", "{root}/a.nii.gz"])
def test_a_dataset_json_leads_nowhere_else(tmp_path: Path, entry: str):
    elsewhere = tmp_path / "other" if "other" in entry else tmp_path / "data" / "imagesTr"
    write_nifti(elsewhere / "a.nii.gz", random_image(0))
    root = tmp_path / "data"
    root.mkdir(exist_ok=True)
    listed = entry.format(root=root / "imagesTr")
    content = {"labels": {"1": "x"}, "training": [{"image": listed}], "test": None}
    (root / "dataset.json").write_text(json.dumps(content))
    if "{root}" in entry:
        assert [case.id for case in find_cases(root).cases] == ["a"]
        return
    (fault,) = (fault for fault in survey(root).faults if not fault.is_warning)
    assert (fault.kind, fault.case) == ("pairing", "a")
    assert "dataset.json" in fault.found


def test_a_case_list_may_read_images_elsewhere(tmp_path: Path):
    image = write_nifti(tmp_path / "archive" / "a.nii.gz", random_image(0))
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "cases.csv").write_text(f"id,image\nx,{image}\ny,../archive/a.nii.gz\n")
    assert [case.id for case in find_cases(tmp_path / "study").cases] == ["x", "y"]
