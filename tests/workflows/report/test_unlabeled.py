"""What a page says of cases without a reference: pseudo-labels, and the least trusted masks."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from report_files import write_masks, write_run, write_scans
from training_cli import invoke

from llmseg_cli.artifacts.journal import Journal
from llmseg_cli.artifacts.pseudo import QC_COLUMNS
from llmseg_cli.artifacts.spreadsheet import csv_text

NAMES = tuple(f"u{index}" for index in range(6))
AGREEMENTS = (0.9, 0.3, 0.7, 0.5, 0.8, 0.6)  # of the cases, in their order
BY_AGREEMENT = ("u1", "u3", "u5", "u2", "u4", "u0")
TILE = re.compile(r"data:image/webp;base64,[^\"]+")


@pytest.fixture
def place(quiet_place: Path) -> Path:
    """A run and scans with references, which nothing here may look at."""
    write_run(quiet_place / "run")
    write_scans(quiet_place / "scans", NAMES)
    return quiet_place


def write_pseudo(folder: Path) -> Path:
    """Masks of all cases but the last, which was dropped, with one component dropped of another."""
    write_masks(folder, NAMES[:-1])
    rows: list[dict[str, Any]] = [
        {"case": case, "status": "ok", "component": 1, "agreement": value, "kept": "yes"}
        for case, value in zip(NAMES[:-1], AGREEMENTS[:-1], strict=True)
    ]
    rows.append({**rows[0], "component": 2, "kept": "no", "reason": "area 3 below 10"})
    rows.append({**rows[0], "case": "u5", "status": "dropped", "kept": "no", "reason": "agreement"})
    (folder / "qc.csv").write_text(csv_text(QC_COLUMNS, rows))
    return folder


def write_trusted(folder: Path, agreements: dict[str, float | None]) -> Path:
    """Masks as `predict` leaves them."""
    write_masks(folder, list(agreements))
    journal = Journal(folder, resume=False)
    for case, agreement in agreements.items():
        trust = {"agreement": agreement, "classes": {}, "between": "views", "voices": 4}
        trust |= {"entropy": 0.1} if agreement is not None else {"entropy": None, "reason": "empty"}
        file = f"{case}.nii.gz"
        journal.add(case, file, image="i", made_by="m", details={"trust": trust})
    return folder


def report(*words: str) -> tuple[str, dict[str, Any]]:
    done = invoke("report", "run", "--data", "scans", *words, "-o", "report.html", "--force")
    assert done.exit_code == 0, done.output
    return Path("report.html").read_text(), json.loads(Path("report.json").read_text())


def section(page: str, name: str) -> str:
    return page.partition(f'<section id="{name}">')[2].partition("</section>")[0]


def test_kept_pseudo_labels_are_shown_by_agreement(place: Path):
    write_pseudo(place / "pseudo")
    page, facts = report("--pseudo", "pseudo")
    (found,) = facts["pseudo"]
    assert found["accepted"] == 5 / 7
    assert "71.4 %" in section(page, "pseudo")
    shown = [one["case"] for one in found["shown"]]
    kept = [case for case in BY_AGREEMENT if case != "u5"]
    assert shown == [kept[0], kept[1], kept[2], kept[4]]
    assert len(TILE.findall(section(page, "pseudo"))) == 4


def test_references_change_no_picture_of_pseudo_labels(place: Path):
    write_pseudo(place / "pseudo")
    before, facts = report("--pseudo", "pseudo")
    assert {one["missed"] for case in facts["pseudo"][0]["shown"] for one in case["slices"]} == {
        None
    }
    for path in (place / "scans/labels").iterdir():
        path.unlink()
    after, _ = report("--pseudo", "pseudo")
    assert TILE.findall(section(before, "pseudo")) == TILE.findall(section(after, "pseudo"))


def test_of_rounds_the_last_one_is_shown(place: Path):
    for step in (50, 100):
        write_pseudo(place / f"run/pseudo/step-{step:06d}")
    _, facts = report()
    assert [len(one["shown"]) for one in facts["pseudo"]] == [0, 4]


def test_the_least_trusted_come_first_and_have_no_reference(place: Path):
    write_trusted(place / "masks", dict(zip(NAMES, AGREEMENTS, strict=True)))
    for case in NAMES[1:]:
        (place / f"scans/labels/{case}.nii.gz").unlink()  # u0 has a reference
    page, facts = report("--masks", "masks")
    least = facts["least"]
    assert [one["case"] for one in least["cases"]] == [c for c in BY_AGREEMENT if c != "u0"]
    assert (least["measure"], least["between"], least["of"]) == ("agreement", "views", 5)
    assert [one["case"] for one in least["shown"]] == list(BY_AGREEMENT[:4])
    words = " ".join(section(page, "cases").split())
    assert "No reference was there to compare with" in words


def test_a_mask_in_which_nothing_is_marked_comes_first(place: Path):
    for case in NAMES:
        (place / f"scans/labels/{case}.nii.gz").unlink()
    write_trusted(place / "masks", {"u0": 0.2, "u1": None})
    _, facts = report("--masks", "masks")
    assert [one["case"] for one in facts["least"]["cases"]] == ["u1", "u0"]
    assert facts["least"]["cases"][0]["reason"] == "empty"


def test_scored_masks_and_masks_of_others_are_not_listed(place: Path):
    write_trusted(place / "masks", dict(zip(NAMES, AGREEMENTS, strict=True)))
    assert invoke("score", "masks", "scans", "-o", "scores.json").exit_code == 0
    assert report("--masks", "masks", "--scores", "scores.json")[1]["least"] is None
    write_masks(place / "others", NAMES)  # nothing is noted of these
    assert report("--masks", "others")[1]["least"] is None


def test_licences_of_what_was_borrowed_are_told(place: Path):
    encoder = {"name": "efficientnet-lite0", "digest": "e" * 64, "config": {}}
    block = {"kind": "pretrained", "source": "x", "name": "strange", "digest": "d" * 64}
    block |= {"layers": [3], "sizes": {}, "embedded": True}
    write_run(place / "other", image_encoder=encoder, llm_block=block)
    page, facts = report("other")
    told = {one["weights"]: (one["licence"], one["used_by"]) for one in facts["licences"]}
    assert told["efficientnet-lite0"][0].startswith("Apache-2.0")
    assert told["efficientnet-lite0"][1] == ["other"]
    assert "not known to llmseg" in told["strange"][0]
    assert "Licences of pre-trained weights" in section(page, "methods")
