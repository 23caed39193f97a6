"""What a report says of a calibration, and that it says nothing of a run without one."""

import json
import re
from pathlib import Path

import pytest
from report_files import write_run
from training_cli import invoke

from llmseg_cli.artifacts.calibration import Calibration, Change, Fitted, Quality
from llmseg_cli.artifacts.files import sha256_file

BEFORE = Quality(
    nll=0.912, ece=0.234, ece_foreground=0.456, bins=((0.6, 0.5, 70), (0.99, 0.7, 930))
)
AFTER = Quality(nll=0.512, ece=0.034, ece_foreground=None, bins=((0.7, 0.71, 1000),))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return write_run(tmp_path / "semi")


def calibrated(run: Path, *, weights: str | None = None, before: Quality = BEFORE) -> None:
    Calibration(
        checkpoint="final",
        weights=weights or sha256_file(run / "model.safetensors"),
        split="0" * 64,
        cases=("v0", "v1"),
        voxels=1000,
        seed=0,
        networks={"student": Fitted(temperature=2.34, before=before, after=AFTER)},
        answer=Change(before=BEFORE, after=AFTER),
    ).save(run / "calibration.json")


def page() -> str:
    done = invoke("report", "semi", "-o", "report.html", "--force")
    assert done.exit_code == 0, done.stderr
    return Path("report.html").read_text(encoding="utf-8")


def test_a_page_has_temperatures_numbers_cases_and_curves(run: Path):
    calibrated(run)
    text = page()
    assert re.findall(r"<section id=\"(\w+)\">", text).index("calibration") == 4
    section = text.split('<section id="calibration">')[1].split("</section>")[0]
    cells = re.findall(r"<td>(.*?)</td>", section)
    assert cells[:5] == ["student", "2.34", "0.912 to 0.512", "0.234 to 0.034", "-"]
    assert cells[5:7] == ["mean", "-"]
    assert "1,000 voxels of 2 validation cases (v0, v1)" in section
    assert section.count("<svg") == 1
    assert "Bins of student" in section
    assert ["before", "0.6", "0.5", "70"] in [cells[i : i + 4] for i in range(len(cells))]
    assert "other weights" not in section
    (told,) = json.loads(Path("report.json").read_text())["runs"][0]["calibrations"]
    assert told["temperatures"] == {"student": 2.34}
    assert told["is_current"] is True


def test_a_calibration_of_other_weights_is_told(run: Path):
    calibrated(run, weights="1" * 64)
    assert "The run has other weights now: calibrate it again." in page()


def test_without_bins_there_is_no_curve(run: Path):
    calibrated(run)
    path = run / "calibration.json"
    content = json.loads(path.read_text())
    changes = [content["networks"]["student"], content["answer"]]
    for quality in (one[when] for one in changes for when in ("before", "after")):
        del quality["bins"]  # as an older version wrote it
    path.write_text(json.dumps(content))
    section = page().split('<section id="calibration">')[1].split("</section>")[0]
    assert "2.34" in section
    assert "<svg" not in section


def test_without_a_calibration_nothing_is_said(run: Path):
    assert "calibrat" not in page().lower()
