"""Sheets of `check`: every case is on one, unlabeled and unreadable ones say so."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from tiny_data import label_with, random_image, write_cases, write_nifti
from training_cli import invoke

from llmseg_cli.pictures.contact import CAPTION, TITLE
from llmseg_cli.pictures.marks import ORANGE, SKY_BLUE
from llmseg_cli.workflows import contact_sheets
from llmseg_cli.workflows.contact_sheets import COLUMNS, SIDE


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four cases: of one class, of two, empty, unlabeled."""
    monkeypatch.chdir(tmp_path)
    write_cases(tmp_path / "data", [[1], [1, 2], [], None])
    return tmp_path


def check(*words: str):
    return invoke("check", "--data", "data", *words)


def cell(path: Path, number: int) -> np.ndarray:
    """A tile of a sheet, without its caption."""
    pixels = np.asarray(Image.open(path))
    top, left = TITLE + CAPTION, number % COLUMNS * SIDE
    return pixels[top : top + SIDE, left : left + SIDE]


def has(color: tuple[int, int, int], pixels: np.ndarray) -> bool:
    return bool((pixels == color).all(axis=2).any())


def test_a_sheet_has_a_tile_a_case_with_its_classes(place: Path):
    result = check("--pictures", "sheet.png", "--json")
    assert json.loads(result.stdout)["pictures"] == ["sheet.png"]
    assert "4 cases" in result.stderr
    found = [(has(ORANGE, one), has(SKY_BLUE, one)) for one in _cells(place / "sheet.png")]
    assert found == [(True, False), (True, True), (False, False), (False, False)]
    assert np.asarray(Image.open(place / "sheet.png")).shape[1] == 4 * SIDE


def _cells(path: Path) -> list[np.ndarray]:
    return [cell(path, number) for number in range(4)]


def test_the_tile_says_what_is_missing(place: Path, monkeypatch: pytest.MonkeyPatch):
    (place / "data/images/case00.nii.gz").write_bytes(b"damaged")
    write_nifti(place / "data/labels/case01.nii.gz", label_with([1], (3, 3, 3)))
    notes = []
    real = contact_sheets.contact

    def heard(tiles, look):
        notes.extend((tile.caption, tile.plane is None, tile.note) for tile in tiles)
        return real(tiles, look)

    monkeypatch.setattr(contact_sheets, "contact", heard)
    assert check("--pictures", "sheet.png").exit_code == 8
    assert notes == [
        ("case00", True, "fault: unreadable"),
        ("case01", False, "fault: geometry"),
        ("case02", False, "the label map is empty"),
        ("case03", False, "no label map"),
    ]


def test_a_folder_has_all_pages_and_a_file_a_sample(place: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(contact_sheets, "PAGE", 3)
    assert check("--pictures", "sheets").exit_code == 0
    names = sorted(path.name for path in (place / "sheets").iterdir())
    assert names == ["page-01.png", "page-02.png", "run.json"]
    assert np.asarray(Image.open(place / "sheets/page-02.png")).shape[1] == SIDE
    told = check("--pictures", "one.png").stderr
    assert "3 cases of 4" in told
    monkeypatch.setattr(contact_sheets, "PAGE", 60)
    assert check("--pictures", "sheets").exit_code == 2
    assert check("--pictures", "sheets", "--force").exit_code == 0
    assert sorted(p.name for p in (place / "sheets").iterdir()) == ["page-01.png", "run.json"]


@pytest.mark.parametrize("where", ["data/sheet.png", "data/images/sheet.png", "data/sheets"])
def test_a_sheet_never_lies_among_the_images(place: Path, where: str):
    before = sorted(place.rglob("*"))
    result = check("--pictures", where, "--force")
    assert result.exit_code == 2
    assert "outside of the data set" in result.stderr
    assert sorted(place.rglob("*")) == before


def test_a_file_of_that_name_needs_force(place: Path):
    (place / "sheet.png").write_text("mine")
    assert check("--pictures", "sheet.png").exit_code == 2
    assert (place / "sheet.png").read_text() == "mine"
    assert check("--pictures", "sheet.png", "--force").exit_code == 0


def test_a_scan_stored_upside_down_is_shown_upright(place: Path):
    image = random_image(7, (8, 9, 5))
    for folder, array in (("images", image), ("labels", (image > 105).astype(np.uint8))):
        path = place / "data" / folder / "case00.nii.gz"
        write_nifti(path, array)
        turned = nib.load(path).as_reoriented(nib.orientations.axcodes2ornt("LPI"))
        nib.save(turned, place / "data" / folder / "case01.nii.gz")
    check("--pictures", "sheet.png")
    first, second = cell(place / "sheet.png", 0), cell(place / "sheet.png", 1)
    assert np.array_equal(first, second)
