"""A `dataset.json` of any origin: read, or refused in a sentence that names it."""

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_data import label_with, random_image, write_cases, write_nifti
from typer.testing import CliRunner

from llmseg_cli.cli import app
from llmseg_cli.data.cases import find_cases, survey
from llmseg_cli.errors import DataError

LABELS = {"0": "background", "1": "tumor"}


def write(root: Path, **content: Any) -> Path:
    (root / "dataset.json").write_text(json.dumps({"labels": LABELS, **content}))
    return root


def brats(root: Path) -> list[dict[str, Any]]:
    entries = []
    for case in ("p0", "p1"):
        for index, channel in enumerate(("t1", "t2")):
            write_nifti(
                root / "img" / f"{case}_{channel}.nii.gz", random_image(index + ord(case[1]))
            )
        write_nifti(root / "lab" / f"{case}.nii.gz", label_with([1]))
        files = [f"img/{case}_t1.nii.gz", f"./img/{case}_t2.nii.gz"]
        entries.append({"image": files, "label": f"lab/{case}.nii.gz", "fold": 0})
    return entries


def test_channels_are_read_in_their_order(tmp_path: Path) -> None:
    entries = brats(tmp_path)
    write(tmp_path, training=entries[:1], validation=entries[1:], test=None)
    first, second = find_cases(tmp_path).cases
    assert [path.name for path in first.images] == ["p0_t1.nii.gz", "p0_t2.nii.gz"]
    assert (second.label, second.is_test) == (tmp_path / "lab" / "p1.nii.gz", False)


def test_nnunet_2_may_list_its_cases(tmp_path: Path) -> None:
    entries = brats(tmp_path)
    listed = {f"c{i}": {"images": e["image"], "label": e["label"]} for i, e in enumerate(entries)}
    write(tmp_path, dataset=listed, channel_names={"0": "t1", "1": "t2"})
    assert [(c.id, len(c.images)) for c in find_cases(tmp_path).cases] == [("c0", 2), ("c1", 2)]


@pytest.mark.parametrize("key", ["test", "testing"])
def test_listed_test_images_are_the_test_set(tmp_path: Path, key: str) -> None:
    entries = brats(tmp_path)
    write_nifti(tmp_path / "imagesTs" / "q0.nii.gz", random_image(7))
    write_nifti(tmp_path / "imagesTs" / "q1.nii.gz", random_image(8))
    write_nifti(tmp_path / "labelsTs" / "q1.nii.gz", label_with([1]))
    tests = ["./imagesTs/q0.nii.gz", {"image": "imagesTs/q1.nii.gz"}]
    write(tmp_path, training=entries, **{key: tests})
    found = [(c.id, c.is_test, c.label is not None) for c in find_cases(tmp_path).cases]
    assert found == [
        ("p0_t1", False, True),
        ("p1_t1", False, True),
        ("q0", True, False),
        ("q1", True, True),
    ]


def test_paths_of_another_machine_are_missing(tmp_path: Path) -> None:
    write(tmp_path, training=[{"image": "/mnt/other/a.nii.gz", "label": "/mnt/other/b.nii.gz"}])
    for fault in survey(tmp_path).faults:
        assert "missing, though dataset.json lists it" in str(fault)
        assert "Name files relative to dataset.json" in fault.remedy
    assert [fault.file for fault in survey(tmp_path).faults] == [
        "/mnt/other/a.nii.gz",
        "/mnt/other/b.nii.gz",
    ]


@pytest.mark.parametrize(
    "name", ["../secret.nii.gz", "x/../../secret.nii.gz", "{root}/secret.nii.gz"]
)
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    write_nifti(tmp_path / "secret.nii.gz", random_image(0))
    (tmp_path / "data").mkdir()
    write(tmp_path / "data", training=[name.format(root=tmp_path)])
    (fault,) = survey(tmp_path / "data").faults
    assert "outside of the folder of dataset.json" in fault.found


def test_an_absolute_path_into_the_folder_is_read(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii.gz", random_image(0))
    write(tmp_path, training=[str(path)])
    assert [case.id for case in find_cases(tmp_path).cases] == ["a"]


def test_images_that_are_not_listed_are_said(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_nifti(tmp_path / "imagesTr" / f"{name}.nii.gz", random_image(ord(name)))
    write(tmp_path, training=["imagesTr/a.nii.gz"])
    (fault,) = survey(tmp_path).faults
    assert fault.is_warning
    assert "1 files are not listed in dataset.json and not read (b.nii.gz)" in str(fault)


FAULTY: list[dict[str, Any]] = [
    {"training": "imagesTr"},
    {"training": {"a": 1}},
    {"training": [1]},
    {"training": [None]},
    {"training": [[]]},
    {"training": [{"image": None}]},
    {"training": [{"image": {"t1": "a"}}]},
    {"training": [{"image": ["a", 2]}]},
    {"training": [{"image": "a", "label": 1}]},
    {"training": [{"image": "a", "label": ["b", "c"]}]},
    {"training": ["a\0b"]},
    {"training": ["a" * 5000]},
    {"training": ["[*]?"]},
    {"validation": 3},
    {"test": "imagesTs"},
    {"dataset": [1]},
    {"dataset": {"a": 1}},
    {"channel_names": 3},
    {"channel_names": "CT"},
    {"labels": 3},
    {"labels": ["a"]},
    {"labels": {"whole": [0, 1]}},
    {"labels": {"x": None}},
    {"labels": {"x": 2 * 10**9}},
    {"labels": {"x": 1, "ignore": 70000}},
]


@pytest.mark.parametrize("content", FAULTY, ids=lambda content: json.dumps(content)[:30])
def test_every_fault_is_one_sentence(tmp_path: Path, content: dict[str, Any]) -> None:
    write_cases(tmp_path, [[1]])
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": LABELS} | content))
    checked = CliRunner().invoke(app, ["check", "--data", str(tmp_path), "--json"])
    assert checked.exit_code == 8, checked.output
    assert json.loads(checked.stdout)["faults"]
    split = CliRunner().invoke(app, ["split", "--data", str(tmp_path), "--labeled", "1", "-o", "-"])
    assert split.exit_code == 3
    assert "dataset.json" in split.stderr
    assert "Traceback" not in split.stderr


TEXTS = {
    "latin-1": '{"labels": {"0": "b", "1": "l\xe9sion"}}'.encode("latin-1"),
    "cut": b'{"labels": ',
    "deep": b"[" * 100_000,
    "digits": b'{"labels": {"a": ' + b"9" * 6000 + b"}}",
    "list": b"[]",
    "empty": b"",
    "zeros": bytes(100),
}


@pytest.mark.parametrize("name", TEXTS)
def test_what_is_no_json_object_is_one_sentence(tmp_path: Path, name: str) -> None:
    write_cases(tmp_path, [[1]])
    (tmp_path / "dataset.json").write_bytes(TEXTS[name])
    with pytest.raises(DataError, match=r"^dataset\.json: [^\n]{10,200}$"):
        find_cases(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_of_editors_are_read(tmp_path: Path, encoding: str) -> None:
    write_cases(tmp_path, [[1]])
    text = json.dumps({"labels": {"0": "background", "1": "lésion"}}, ensure_ascii=False)
    (tmp_path / "dataset.json").write_text(text, encoding=encoding)
    assert find_cases(tmp_path).classes[1] == "lésion"
