"""Case lists as people and spreadsheets write them."""

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_data import write_cases
from typer.testing import CliRunner

from llmseg_cli.cli import app
from llmseg_cli.data.case import Case
from llmseg_cli.data.cases import find_cases, survey
from llmseg_cli.errors import DataError

ROWS = "id,image,label\na,images/case00.nii.gz,labels/case00.nii.gz\nb,images/case01.nii.gz,\n"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_cases(tmp_path, [[1], [1]])


def found(data: Path, content: bytes) -> tuple[Case, ...]:
    (data / "cases.csv").write_bytes(content)
    return find_cases(data).cases


@pytest.mark.parametrize(
    "content",
    [
        ROWS.encode("utf-8-sig"),
        ROWS.encode("utf-16"),
        ROWS.replace(",", ";").encode(),
        ROWS.replace(",", "\t").encode(),
        ROWS.replace("\n", "\r\n").encode(),
        ROWS.replace("\n", "\n\n,,\n   \n").encode(),
        ROWS.replace(",", " , ").encode(),
        ROWS.rstrip(",\n").encode(),
    ],
    ids=["bom", "utf-16", "semicolons", "tabs", "crlf", "empty rows", "spaces", "short row"],
)
def test_the_same_list_however_it_was_saved(data: Path, content: bytes) -> None:
    first, second = found(data, content)
    assert (first.id, first.label) == ("a", data / "labels" / "case00.nii.gz")
    assert (second.id, second.label) == ("b", None)


def test_channels_within_a_list_of_semicolons(data: Path) -> None:
    content = b'id;image\na;"images/case00.nii.gz;images/case01.nii.gz"\n'
    assert [len(case.images) for case in found(data, content)] == [2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no line"),
        (b"\n\n", "holds no line"),
        (b"id,image\n", "lists no cases"),
        (b"image,image\na,b\n", "2 columns are called 'image'"),
        (b"id,image\na,b,c\n", "line 2 has 3 cells; expected 2"),
        (b'image\n"a\n', "line "),
        (b"image\n" + b"x" * 200_000 + b"\n", "field larger than field limit"),
        ("image\nlésion.png\n".encode("latin-1"), "line 2 is no UTF-8"),
        (b"image\na\0b.png\n", "the file does not exist"),
        (b"image\n" + b"x" * 5000 + b".png\n", "the file does not exist"),
        (b"image,mask\na.png,b.png\n", "Did you mean 'label'"),
        (b"image,mask_path\na.png,b.png\n", "Did you mean 'label'"),
        (b"image,Segmentation\na.png,b.png\n", "Did you mean 'label'"),
        (b"image_path,label\na.png,b.png\n", "Call 'image_path' image"),
    ],
)
def test_every_fault_is_one_sentence(data: Path, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        found(data, content)
    assert "cases.csv" in str(caught.value)
    checked = CliRunner().invoke(app, ["check", "--data", str(data)])
    assert checked.exit_code == 8, checked.output


def test_columns_that_are_not_read_are_said(data: Path) -> None:
    rows = ROWS.replace("label\n", "label,patient,age,site\n", 1)
    assert len(found(data, rows.encode())) == 2
    assert [str(fault) for fault in survey(data).faults] == [
        "cases.csv: column 'patient' is not read. Call it 'group' to keep the cases of a patient "
        "together.",
        "cases.csv: columns 'age', 'site' are not read. The columns that are read: id, image, "
        "label, group, image_0, image_1, ...",
    ]


FAULTY: list[Any] = [
    3,
    None,
    "x",
    [],
    [1],
    {"cases": 3},
    {"cases": {"a": 1}},
    {"classes": [1], "cases": [{"image": "images/case00.nii.gz"}]},
    {"classes": {"x": "y"}, "cases": [{"image": "images/case00.nii.gz"}]},
    [{"image": 3}],
    [{"image": [3]}],
    [{"image": {"a": "b"}}],
    [{"image": "images/case00.nii.gz", "label": 1}],
    [{"image": "images/case00.nii.gz", "label": ["a", "b"]}],
    [{"image": "images/case00.nii.gz", "id": ["a"]}],
    [{"image": "images/case00.nii.gz", "group": {"a": 1}}],
]


@pytest.mark.parametrize("content", FAULTY, ids=lambda content: json.dumps(content)[:40])
def test_every_fault_of_json_is_one_sentence(data: Path, content: Any) -> None:
    (data / "cases.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"^[^\n]*cases\.json[^\n]*$"):
        find_cases(data)


def test_a_list_of_hdf5_names_that_is_no_text(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image"] = [[[1.0]]]
    (tmp_path / "train.list").write_bytes("a\né\n".encode("latin-1"))
    (tmp_path / "test.list").mkdir()
    (tmp_path / "val.list").write_text("a\n", encoding="utf-8-sig")
    assert [str(fault).split(".")[0] for fault in survey(tmp_path).faults] == ["test", "train"]
