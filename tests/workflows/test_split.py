"""Splitting data sets on disk."""

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_data import label_with, write_cases, write_nifti

from llmseg_cli.artifacts.split import Split
from llmseg_cli.data.cases import find_cases, image_digest
from llmseg_cli.data.formats import opening
from llmseg_cli.errors import DataError, ExitCode, TooLargeError, UsageError
from llmseg_cli.workflows.split import plan, run


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Ten cases of five patients, the last two without label maps."""
    names = [f"patient{index // 2}_{index % 2}" for index in range(10)]
    return write_cases(tmp_path / "data", [[1, 2]] * 8 + [None] * 2, names)


def test_a_split_holds_what_a_run_must_compare(data: Path, tmp_path: Path) -> None:
    found = run(data, labeled="2", test="2", group_by="(patient[0-9])", seed=3)
    assert len(found.cases("all")) == 10
    assert found.images == {case.id: image_digest(case) for case in find_cases(data).cases}
    assert found.groups["patient3_1"] == "patient3"
    assert (found.seed, found.group_by, found.preset) == (3, "(patient[0-9])", None)
    assert {"patient4_0", "patient4_1"} <= set(found.unlabeled)
    found.save(tmp_path / "split.json")
    assert Split.load(tmp_path / "split.json") == found
    assert run(data, labeled="2", test="2", group_by="(patient[0-9])", seed=3) == found


def test_deleting_unlabeled_masks_leaves_the_digests(data: Path) -> None:
    found = run(data, labeled="2", test="2")
    for name in found.unlabeled:
        (data / "labels" / f"{name}.nii.gz").unlink(missing_ok=True)
    found.refuse_other_data({case.id: image_digest(case) for case in find_cases(data).cases})


def test_the_plan_counts_classes(data: Path) -> None:
    planned = plan(data, labeled="2")
    assert planned.classes == {1: "1", 2: "2"}
    assert set(planned.facts["patient0_0"].foreground or ()) == {1, 2}
    assert planned.facts["patient4_0"].foreground is None


def test_validation_of_zero_is_none(data: Path) -> None:
    found = run(data, labeled="2", test="0", validation="0")
    assert (found.test, found.validation) == ((), ())


def test_a_label_map_may_be_needed(data: Path) -> None:
    write_nifti(data / "labels" / "patient1_0.nii.gz", label_with([1, 2, 255]))
    with pytest.raises(DataError, match=r"patient1_0\.nii\.gz: label value\(s\) 255.*255:3"):
        run(data, labeled="2")
    run(data, labeled="2", label_map={255: 2})


def test_names_of_classes_follow_the_label_map(data: Path) -> None:
    content = {"labels": {"0": "background", "1": "head", "5": "tail"}}
    (data / "dataset.json").write_text(json.dumps(content))
    for index in range(8):
        name = f"patient{index // 2}_{index % 2}.nii.gz"
        write_nifti(data / "labels" / name, label_with([1, 5]))
    with pytest.raises(DataError, match=r"label value\(s\) 5; .* Pass --label-map 5:2"):
        plan(data, labeled="2")
    assert plan(data, labeled="2", label_map={5: 2}).classes == {1: "head", 2: "tail"}


@pytest.mark.parametrize("labeled", ["0", "1.5", "-3", "some"])
def test_nonsense_is_a_usage_error(data: Path, labeled: str | None) -> None:
    with pytest.raises(UsageError, match=r"--labeled"):
        run(data, labeled=labeled)


def test_all_label_maps_are_used_unless_told_otherwise(data: Path) -> None:
    for index in (1, 3):
        (data / "labels" / f"patient{index}_0.nii.gz").unlink()
    made = plan(data, labeled=None, test="1")
    assert (len(made.split.labeled), len(made.split.test)) == (5, 1)
    bare = {"patient1_0", "patient3_0", "patient4_0", "patient4_1"}
    assert set(made.split.unlabeled) == bare
    assert made.sentences() == []
    fewer = plan(data, labeled="50%", test="1")
    assert (len(fewer.split.labeled), len(fewer.split.unlabeled)) == (3, 6)
    shares, unused = fewer.sentences()
    assert shares == "Fractions are of the 6 cases with a label map: --labeled 50% is 3."
    left = [name for name in fewer.split.unlabeled if name not in bare]
    assert unused == (
        f"2 of the 6 label maps are not used ({', '.join(left)}): these cases count as unlabeled. "
        "--labeled all uses them."
    )


def test_a_preset_and_labeled_must_agree(data: Path) -> None:
    with pytest.raises(UsageError, match="--labeled 9 contradicts --preset la-8, which has 8"):
        run(data, labeled="9", preset="la-8")
    with pytest.raises(DataError, match="lists 80 cases, and 80 are not in the data"):
        run(data, labeled="8", preset="la-8")


def test_a_truncated_label_map_is_named(data: Path) -> None:
    path = data / "labels" / "patient0_0.nii.gz"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DataError, match=r"patient0_0\.nii\.gz: not a whole NIfTI file"):
        run(data, labeled="2")


def test_real_left_atrium_presets(shared_data: Path) -> None:
    listed = (shared_data / "la" / "train.list").read_text().split()
    found = run(shared_data / "la", labeled=None, preset="la-8", test="16")
    assert list(found.labeled) == listed[:8]
    assert list(found.unlabeled) == listed[8:64]
    assert list(found.test) == listed[64:]
    found = run(shared_data / "la", labeled="16", preset="la-16")
    assert list(found.labeled) == listed[:16]
    assert (len(found.unlabeled), found.test) == (64, ())


def test_real_acdc_patients_stay_together(shared_data: Path) -> None:
    found = run(
        shared_data / "acdc",
        labeled="0.3",
        test="0.25",
        validation="2",
        group_by="(patient[0-9]+)",
    )
    numbers = [len(found.cases(role)) for role in ("labeled", "validation", "test")]
    assert numbers == [4, 2, 6]  # 0.3 of 24 is 7, and whole patients make 6, of which 2 validate
    roles = {
        found.groups[name]: role
        for role in ("labeled", "unlabeled", "validation", "test")
        for name in found.cases(role)
    }
    for role in ("labeled", "unlabeled", "validation", "test"):
        assert all(roles[found.groups[name]] == role for name in found.cases(role))


def test_real_kvasir_needs_a_label_map(shared_data: Path) -> None:
    with pytest.raises(DataError, match="--label-map 255:1"):
        run(shared_data / "kvasir", labeled="0.2")
    found = run(shared_data / "kvasir", labeled="0.2", label_map={255: 1})
    assert (len(found.labeled), len(found.unlabeled)) == (60, 240)


def test_all_label_maps_that_cannot_be_read_are_named_at_once(data: Path) -> None:
    paths = [data / "labels" / f"patient{number}_0.nii.gz" for number in (0, 2)]
    for path in paths:
        path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match="2 of 10 cases cannot be read") as caught:
        run(data, labeled="2")
    assert all(str(path) in str(caught.value) for path in paths)
    assert caught.value.exit_code == ExitCode.DATA


def test_a_label_map_that_memory_cannot_hold_is_no_damage(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_nifti(data / "labels" / "patient0_0.nii.gz", np.zeros((300, 300, 300), np.uint8))
    monkeypatch.setattr(opening, "available_bytes", lambda: 1 << 26)
    with pytest.raises(TooLargeError, match=r"300 x 300 x 300 .* 67\.1 MB are available") as caught:
        run(data, labeled="2")
    assert caught.value.exit_code == ExitCode.RESOURCE


def test_options_of_values_that_no_label_map_holds_are_told(data: Path, caplog) -> None:
    run(data, labeled="2", label_map={9: 1}, ignore_label=77)
    for option in ("--label-map 9:1", "--ignore-label 77"):
        assert f"{option}: no label map that was read holds the value" in caplog.text
    caplog.clear()
    run(data, labeled="2", ignore_label=None)
    assert not caplog.text
