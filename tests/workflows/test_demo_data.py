"""The cohort's folder is whole or absent, and nobody's data is replaced by it."""

import json

import numpy as np
import pytest
import torch
import torchio
from typer.testing import CliRunner

from llmseg_cli.cli import app
from llmseg_cli.data.cases import find_cases
from llmseg_cli.data.demo_cohort import CLASSES, TEMPLATE_FILES
from llmseg_cli.errors import UsageError
from llmseg_cli.workflows import demo_data


@pytest.fixture(autouse=True)
def template(tmp_path, monkeypatch):
    """A template of two boxes, so that these tests need no weights."""
    folder = tmp_path / "weights"
    folder.mkdir()
    box = torch.zeros(1, 32, 36, 40, dtype=torch.uint8)
    box[:, 8:24, 8:24, 8:24] = 255
    half = box.clone()
    half[:, :, :, :16] = 0
    for name, values in {"image": box, "grey": box - half, "white": half}.items():
        affine = np.diag((3.0, 3.0, 3.0, 1.0))
        torchio.ScalarImage(tensor=values, affine=affine).save(folder / TEMPLATE_FILES[name])
    monkeypatch.setattr(demo_data, "path_of", lambda name, cache: folder)


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "run.json"
    }


def test_every_file_that_the_description_names_exists(tmp_path):
    cohort = demo_data.run(tmp_path / "data", subjects=3, spacing_mm=6)
    assert cohort.cases == ("sub-001", "sub-002", "sub-003")
    described = json.loads((cohort.folder / "dataset.json").read_text())
    assert described["labels"] == {"0": "background", "1": "grey matter", "2": "white matter"}
    assert len(described["training"]) == 3
    for case in described["training"]:
        assert (cohort.folder / case["image"]).is_file()
        assert (cohort.folder / case["label"]).is_file()
    assert json.loads((cohort.folder / "run.json").read_text())["status"] == "ok"


def test_is_read_as_a_data_set_with_its_classes(tmp_path):
    cohort = demo_data.run(tmp_path / "data", subjects=2, spacing_mm=6)
    found = find_cases(cohort.folder)
    assert tuple(case.id for case in found.cases) == cohort.cases
    assert found.classes == CLASSES
    assert all(case.label is not None for case in found.cases)


def test_a_larger_cohort_begins_with_the_smaller_one(tmp_path):
    small = demo_data.run(tmp_path / "small", subjects=1, spacing_mm=6)
    large = demo_data.run(tmp_path / "large", subjects=2, spacing_mm=6)
    for kind in ("images", "labels"):
        name = f"{kind}/sub-001.nii.gz"
        assert (small.folder / name).read_bytes() == (large.folder / name).read_bytes()


def test_few_labels_lie_with_the_data_and_the_others_apart(tmp_path):
    all_of_them = demo_data.run(tmp_path / "all", subjects=3, spacing_mm=6)
    cohort = demo_data.run(tmp_path / "few", subjects=3, labeled=1, spacing_mm=6)
    assert cohort.cases == all_of_them.cases
    assert cohort.labeled == ("sub-001",)
    found = find_cases(cohort.folder)
    assert {case.id: case.label is not None for case in found.cases} == {
        "sub-001": True,
        "sub-002": False,
        "sub-003": False,
    }
    assert found.classes == CLASSES
    assert not any(case.is_test for case in found.cases)
    for folder, cases in (("labels", ("sub-001",)), ("references", ("sub-002", "sub-003"))):
        assert [path.name for path in sorted((cohort.folder / folder).iterdir())] == [
            f"{case}.nii.gz" for case in cases
        ]
        for case in cases:  # the same brain as ever
            same = all_of_them.folder / "labels" / f"{case}.nii.gz"
            assert (cohort.folder / folder / same.name).read_bytes() == same.read_bytes()
    assert "references/" in (cohort.folder / "README.txt").read_text()
    assert "references/" not in (all_of_them.folder / "README.txt").read_text()
    counts = json.loads((cohort.folder / "run.json").read_text())["counts"]
    assert counts == {"cases": 3, "labeled": 1}


def test_check_finds_nothing_odd_in_few_labels(tmp_path):
    demo_data.run(tmp_path / "few", subjects=3, labeled=2, spacing_mm=6)
    done = CliRunner().invoke(app, ["check", str(tmp_path / "few"), "--json"])
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["faults"] == []
    assert "references" not in done.stderr
    assert "Warning" not in done.stderr


def test_more_labels_than_brains_are_refused(tmp_path):
    with pytest.raises(UsageError, match="--labeled 3 is more than the 2 brains"):
        demo_data.run(tmp_path / "data", subjects=2, labeled=3)
    assert not (tmp_path / "data").exists()


def test_refuses_to_overwrite(tmp_path):
    cohort = demo_data.run(tmp_path / "data", subjects=1, spacing_mm=6)
    before = contents(cohort.folder)
    with pytest.raises(UsageError, match="--force"):
        demo_data.run(tmp_path / "data", subjects=1, spacing_mm=6)
    assert contents(cohort.folder) == before


def test_force_replaces_a_cohort_and_leaves_no_case_behind(tmp_path):
    demo_data.run(tmp_path / "data", subjects=3, spacing_mm=6)
    cohort = demo_data.run(tmp_path / "data", subjects=1, spacing_mm=6, force=True)
    assert sorted(path.name for path in (cohort.folder / "images").iterdir()) == ["sub-001.nii.gz"]


def test_force_replaces_few_labels_by_all_and_keeps_what_others_put_beside(tmp_path):
    data = tmp_path / "data"
    demo_data.run(data, subjects=3, labeled=1, spacing_mm=6)
    mine = data / "references" / "mine.nii.gz"
    mine.write_text("mine")
    with pytest.raises(UsageError, match=r"references/mine\.nii\.gz was not written by"):
        demo_data.run(data, subjects=3, spacing_mm=6, force=True)
    mine.unlink()
    demo_data.run(data, subjects=2, spacing_mm=6, force=True)
    assert not (data / "references").exists()
    assert len(list((data / "labels").iterdir())) == 2


def test_force_does_not_replace_somebody_s_data(tmp_path):
    precious = tmp_path / "data" / "images" / "sub-001.nii.gz"
    precious.parent.mkdir(parents=True)
    precious.write_text("years of work")
    with pytest.raises(UsageError, match="not written by"):
        demo_data.run(tmp_path / "data", subjects=1, force=True)
    assert precious.read_text() == "years of work"


def test_an_interruption_leaves_nothing_and_an_older_cohort_as_it_was(tmp_path):
    cohort = demo_data.run(tmp_path / "data", subjects=1, spacing_mm=6)
    before = contents(cohort.folder)

    def interrupt(phase, done, total, **values):
        raise KeyboardInterrupt

    for target in (tmp_path / "data", tmp_path / "fresh"):
        with pytest.raises(KeyboardInterrupt):
            demo_data.run(target, subjects=2, spacing_mm=6, force=True, progress=interrupt)
    assert contents(cohort.folder) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "weights"]


def test_the_command_passes_its_words_on(tmp_path):
    done = CliRunner().invoke(
        app, ["demo-data", "-o", str(tmp_path / "d"), "--subjects", "2", "--spacing", "8", "--json"]
    )
    assert done.exit_code == 0, done.stderr
    assert f"Next: llmseg check {tmp_path / 'd'}" in done.stderr
    assert json.loads(done.stdout) == {
        "folder": str(tmp_path / "d"),
        "cases": ["sub-001", "sub-002"],
        "labeled": ["sub-001", "sub-002"],
    }
    config = json.loads((tmp_path / "d" / "run.json").read_text())["config"]
    assert config == {"subjects": 2, "labeled": 2, "spacing_mm": 8.0, "seed": 0}


def test_force_deletes_no_file_of_others(tmp_path):
    cohort = demo_data.run(tmp_path / "data", subjects=1, spacing_mm=6)
    mine = cohort.folder / "images" / "mine.nii.gz"
    mine.write_text("mine")
    with pytest.raises(UsageError, match=r"images/mine\.nii\.gz was not written by"):
        demo_data.run(tmp_path / "data", subjects=1, spacing_mm=6, force=True)
    assert mine.read_text() == "mine"
    mine.unlink()
    demo_data.run(tmp_path / "data", subjects=1, spacing_mm=6, force=True)
