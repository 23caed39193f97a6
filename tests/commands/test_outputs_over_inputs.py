"""No command writes over what it reads, whatever `--force` says: exit 2, and nothing is changed."""

import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from tiny_data import write_cases, write_dicom
from training_cli import invoke

from llmseg_cli.data.cases import find_cases
from llmseg_cli.errors import UsageError
from llmseg_cli.workflows.case_folder import refuse_over_cases


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Data, a run, predictions, pseudo-labels and documents, by all kinds of names."""
    monkeypatch.chdir(tmp_path)
    write_cases(tmp_path / "scans", [[1], [1], None])
    (tmp_path / "link").symlink_to("scans")
    for name in (
        "run/config.yaml",
        "pred/case00.nii.gz",
        "pseudo/case02.nii.gz",
        "enc/config.json",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("content")
    for name in ("split.json", "d.yaml", "e.safetensors", "prompt.txt", "my.gguf"):
        (tmp_path / name).write_text("content")
    os.link(tmp_path / "split.json", tmp_path / "hard.json")
    for name in ("notes.json", "notes.csv"):
        (tmp_path / "scans" / name).write_text("mine")
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


MINE = "mine-sam --run run --data scans --split split.json"
SEMI = "train-semi --data scans --split split.json"


@pytest.mark.parametrize(
    "words",
    [
        "predict --run run --images scans/images -o scans/images",
        "predict --run run --images scans/images -o link/images",
        "predict --run run --images scans/images -o scans/images/masks",
        "predict --run run --images scans/images/case00.nii.gz -o scans",
        "predict --run run --data scans -o .",
        "predict --run run --data link -o scans",
        "predict --run run --data scans -o run",
        "predict --run run --data scans -o run/masks",
        "explain --run run --images scans/images -o scans/images",
        "ensemble scans/labels scans/labels -o scans/labels",
        f"{MINE} -o scans",
        f"{MINE} -o run",
        f"{SEMI} -o scans",
        f"{SEMI} -o .",
        f"{SEMI} --method sam-mining --pseudo pseudo -o pseudo",
        f"{SEMI} --method sam-mining --pseudo pseudo -o pseudo/run",
        f"{SEMI} --init run -o run",
        f"{SEMI} --text e.safetensors -o e.safetensors",
        f"{SEMI} --image-encoder enc --model unetpp -o enc/run",
        "train-sup --data scans --labeled 1 -o scans",
        "split --data scans --labeled 1 -o scans/notes.json",
        "split --data scans --labeled 1 -o scans/dataset.json",
        "split --data scans --labeled 1 -o scans/cases.csv",
        "split --data scans --labeled 1 -o scans/images/case00.nii.gz",
        "split --data scans --into split.json --add case02 -o split.json",
        "split --data scans --into split.json --add case02 -o hard.json",
        "suggest --data scans --split split.json -o scans",
        "suggest --data scans --split split.json --run run -o run/next",
        "suggest --data scans --split split.json --masks pred -o pred",
        "check --data scans -o link/notes.json",
        "check --data scans -o somewhere.png",
        "score --pred pred --ref scans --split split.json -o split.json",
        "score --pred pred --ref scans --split split.json -o hard.json",
        "score --pred pred --ref scans --split split.json -o s.json --csv hard.json",
        "score --pred pred --ref scans -o pred/run.json",
        "score --pred pred --ref scans/notes.csv -o scans/notes.js",
        "score --pred pred --ref scans --compare pseudo -o pseudo/cases.jsonl",
        "describe --target x --modality y --llm file:d.yaml -o d.yaml",
        "describe --target x --modality y --llm my.gguf -o my.gguf",
        "describe --target x --modality y --template prompt.txt -o prompt.txt",
        "embed d.yaml -o d.yaml",
        "embed d.yaml --encoder enc -o enc/config.json",
        "bench startup --data scans -o scans/notes.json",
    ],
)
def test_it_is_refused(place: Path, words: str):
    before = contents(place)
    result = invoke(*words.split(), "--force")
    assert result.exit_code == 2, result.output
    assert "Error: -o" in result.stderr
    assert contents(place) == before


@pytest.fixture
def listed(place: Path) -> Path:
    """Lists, in a folder of their own, of a series, a header with its data, and label maps."""
    voxels = np.arange(60, dtype=np.int16).reshape(5, 4, 3)
    series = write_dicom(place / "ct" / "p0", voxels)
    for path in sorted(series.iterdir()):
        path.rename(path.with_name(f"IM{path.stem}"))  # as archives export them
    for name in ("p1", "seg0", "seg1"):
        array = (voxels > 30).astype(np.uint8) if "seg" in name else voxels
        sitk.WriteImage(sitk.GetImageFromArray(array.T.copy()), str(place / "ct" / f"{name}.mhd"))
    (place / "ct" / "hard").hardlink_to(place / "ct" / "p1.raw")
    (place / "lists").mkdir()
    (place / "lists" / "cases.csv").write_text(
        "id,image,label\np0,../ct/p0,../ct/seg0.mhd\np1,../ct/p1.mhd,../ct/seg1.mhd\n"
    )
    return place


@pytest.mark.parametrize("file", ["ct/p0/IM000", "ct/p1.raw", "ct/hard", "ct/seg1.raw"])
@pytest.mark.parametrize(
    "words",
    [
        "check --data lists/cases.csv -o {}",
        "check --data lists -o {}",
        "split --data lists/cases.csv --labeled 1 -o {}",
        "score --pred ct/seg0.mhd --ref lists/cases.csv -o {}",
        "score --pred ct/seg0.mhd --ref lists/cases.csv -o s.json --csv {}",
        "bench preprocessing --data lists/cases.csv -o {}",
    ],
)
def test_files_that_a_list_names_elsewhere_are_not_replaced(listed: Path, words: str, file: str):
    before = contents(listed)
    result = invoke(*words.format(file).split(), "--force")
    assert result.exit_code == 2, result.output
    assert "Error: -o" in result.stderr
    assert "image or label map" in result.stderr
    assert contents(listed) == before


def test_a_report_lies_beside_files_that_a_list_names(listed: Path):
    for _ in range(2):
        result = invoke("check", "--data", "lists/cases.csv", "-o", "ct/check.json", "--force")
        assert (listed / "ct" / "check.json").exists(), result.output


def test_settings_are_read_too(place: Path):
    (place / "llmseg.yaml").write_text("labeled: '1'\n")
    for words in ((), ("--config", "llmseg.yaml")):
        result = invoke("split", "--data", "scans", "-o", "llmseg.yaml", "--force", *words)
        assert result.exit_code == 2
        assert "is the file of settings itself" in result.stderr or "is --config" in result.stderr
    assert (place / "llmseg.yaml").read_text() == "labeled: '1'\n"


def test_reports_may_lie_beside_the_data_and_replace_reports(place: Path):
    for _ in range(2):
        result = invoke("split", "--data", "scans", "--labeled", "1", "-o", "scans/s.json", "-f")
        assert result.exit_code == 0, result.output
        assert invoke("check", "--data", "scans", "-o", "scans/c.json", "-f").exit_code == 0


@pytest.mark.parametrize(
    ("out", "refused"),
    [
        ("scans/images", True),
        ("scans/images/deep", True),
        ("scans/labels/x", True),
        ("scans/imagesTs", True),
        ("scans/masks", True),
        ("scans", True),
        (".", True),
        ("scans/runs/a", False),
        ("elsewhere", False),
    ],
)
def test_folders_of_images_and_names_that_would_be_read(place: Path, out: str, refused: bool):
    data = place / "scans"
    cases = find_cases(data).cases
    if not refused:
        refuse_over_cases(place / out, cases, data)
        return
    with pytest.raises(UsageError, match="-o"):
        refuse_over_cases(place / out, cases, data)


def test_images_that_a_list_names_are_guarded_wherever_they_are(place: Path):
    (place / "study").mkdir()
    image = place / "scans" / "images" / "case00.nii.gz"
    (place / "study" / "cases.csv").write_text(f"id,image\nx,{image}\n")
    cases = find_cases(place / "study").cases
    for out in (image.parent, place / "scans", place):
        with pytest.raises(UsageError, match="images or label maps"):
            refuse_over_cases(out, cases, place / "study")
    refuse_over_cases(image.parent / "masks", cases, place / "study")  # as beside a single image
