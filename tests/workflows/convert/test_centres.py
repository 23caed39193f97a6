"""`llmseg convert --to centres`: where nuclei were drawn, there are discs and lines of tables."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nuclei import draw, write_nuclei
from PIL import Image
from tiny_data import write_nifti
from training_cli import invoke

from llmseg_cli.artifacts.centres import load_centres
from llmseg_cli.data.cases import find_cases
from llmseg_cli.data.volumes import load_label_map
from llmseg_cli.numerics.centres import component_centres


def convert(data: Path, out: Path, *words: str | Path, code: int = 0):
    found = invoke("convert", "--data", data, "--to", "centres", "-o", out, *words)
    assert found.exit_code == code, found.output
    return found


def test_discs_and_tables_are_where_nuclei_were_drawn(tmp_path: Path):
    raw, out = write_nuclei(tmp_path, 2), tmp_path / "deep" / "discs"
    convert(raw, out, "--radius", "3", "--instance-classes", tmp_path / "kinds")
    assert {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()} == {
        *("cases.json", "run.json"),
        *(f"{folder}/n{n}.{end}" for n in (0, 1) for folder, end in (("labels", "png"),
                                                                   ("centres", "csv"))),
    }  # fmt: skip
    data = find_cases(out)
    assert data.classes == {1: "class 1", 2: "class 2"}
    for number, case in enumerate(data.cases):
        picture, _, _, places = draw(number)
        assert np.array_equal(Image.open(case.images[0]), picture)
        table = load_centres(out / "centres" / f"{case.id}.csv")
        assert table.unit == "px"
        drawn = np.array([(one.point[1], one.point[0]) for one in table.centres])
        np.testing.assert_allclose(drawn, places, atol=0.35)  # columns are x, rows y
        assert [one.value for one in table.centres] == [1, 2] * 4
        labels = load_label_map(case.label).array
        kinds, points = component_centres(labels, (1, 2))
        assert len(kinds) == 8
        apart = np.abs(points[:, None, :2] - places[None, :, ::-1]).max(axis=2)
        assert apart.min(axis=0).max() < 0.6
        assert ((kinds[apart.argmin(axis=0)] - 1) == np.arange(8) % 2).all()


def test_without_classes_all_are_one_and_scans_have_mm_of_the_world(tmp_path: Path):
    affine = np.array([[-0.5, 0, 0, 90], [0, 2.0, 0, -20], [0, 0, 3.0, 5], [0, 0, 0, 1]])
    instances = np.zeros((20, 10, 6), np.int16)
    instances[4:7, 3:6, 2:5], instances[14, 8, 1] = 900, 4
    write_nifti(tmp_path / "raw" / "images" / "a.nii.gz", instances.astype(np.float32), affine)
    write_nifti(tmp_path / "raw" / "labels" / "a.nii.gz", instances, affine)
    write_nifti(tmp_path / "raw" / "images" / "b.nii.gz", instances.astype(np.float32), affine)
    found = convert(tmp_path / "raw", tmp_path / "out", "--radius", "1", "--json")
    told = json.loads(found.stdout)
    assert (told["objects"], told["unlabeled"]) == ({"a": 2}, ["b"])
    assert told["classes"] == {"1": "object"}
    table = load_centres(tmp_path / "out" / "centres" / "a.csv")
    points = {one.point for one in table.centres}
    assert points == {tuple((affine @ [5, 4, 3, 1])[:3]), tuple((affine @ [14, 8, 1, 1])[:3])}
    drawn = nib.load(tmp_path / "out" / "labels" / "a.nii.gz").get_fdata()
    assert np.argwhere(drawn > 0).tolist() == [
        *([x, 4, 3] for x in range(3, 8)),  # 1 mm is two voxels of X, and less than one of others
        *([x, 8, 1] for x in range(12, 17)),
    ]


def test_an_object_has_the_class_that_most_of_its_voxels_have(tmp_path: Path):
    raw = write_nuclei(tmp_path, 1)
    kinds = tmp_path / "kinds" / "n0.png"
    _, instances, own, _ = draw(0)
    inside = np.argwhere(instances == 10)
    own[tuple(inside[: len(inside) // 3].T)] = 2
    Image.fromarray(own).save(kinds)
    convert(raw, tmp_path / "out", "--instance-classes", tmp_path / "kinds")
    assert load_centres(tmp_path / "out/centres/n0.csv").centres[0].value == 1


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--radius", "0"], 2, "--radius 0: expected a distance above 0"),
        (["--instance-classes", "nowhere"], 2, "nowhere: there is no such file or folder"),
        (["--split", "split.json"], 2, "--to centres writes all cases"),
        (["--channels", "red"], 2, "--to centres writes all cases"),
        (["--label-map", "7:1"], 2, "its label maps hold instances"),
    ],
)
def test_what_is_refused(tmp_path: Path, words: list[str], code: int, said: str):
    raw = write_nuclei(tmp_path, 1)
    assert said in convert(raw, tmp_path / "out", *words, code=code).stderr
    assert not (tmp_path / "out").exists()


def test_objects_without_a_class_and_cases_without_a_map_are_named(tmp_path: Path):
    raw, kinds = write_nuclei(tmp_path, 1), tmp_path / "kinds"
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(kinds / "n0.png")
    words = ("--instance-classes", kinds)
    said = convert(raw, tmp_path / "out", *words, code=3).stderr
    assert f"case n0: object 10 has no class in {kinds / 'n0.png'}" in said
    said = convert(raw, tmp_path / "out", "--instance-classes", kinds / "n0.png", code=3).stderr
    assert "n0.png is no folder" in said
    (kinds / "n0.png").unlink()
    said = convert(raw, tmp_path / "out", *words, code=3).stderr
    assert f"case n0 has no label map of classes in {kinds}" in said
    assert not (tmp_path / "out").exists()


def test_nnunet_needs_the_split_and_no_radius(tmp_path: Path):
    raw = write_nuclei(tmp_path, 1)
    found = invoke("convert", "--data", raw, "-o", tmp_path / "out")
    assert found.exit_code == 2
    assert "--split FILE of 'llmseg split'" in found.stderr
    found = invoke("convert", "--data", raw, "-o", tmp_path / "out", "--radius", "3")
    assert "--radius 3.0: only --to centres draws discs" in found.stderr


def test_its_own_folder_is_replaced_and_no_other(tmp_path: Path):
    raw, out = write_nuclei(tmp_path, 1), tmp_path / "out"
    convert(raw, out)
    assert "exists" in convert(raw, out, code=2).stderr
    convert(raw, out, "--force", "--radius", "2")
    (out / "notes.txt").write_text("mine")
    assert "notes.txt was not written by" in convert(raw, out, "--force", code=2).stderr
