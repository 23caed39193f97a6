"""A page of `llmseg report` as a browser shows it: complete, silent, offline, and it sorts."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from browser import Page, opened, program
from PIL import Image
from report_files import write_masks, write_run, write_scans
from training_cli import invoke

from llmseg_cli.knowledge.weights.embedded import is_fetched

NAMES = tuple(f"case{index:02d}" for index in range(5))
NO_NUMBER = re.compile(r"\b(NaN|undefined|Infinity|\[object)")
SMALLEST = 8  # points of a plot's letters
FIRST_TABLE = "document.querySelector('#cases table, #scores details table')"
COLUMN = f"[...{FIRST_TABLE}.tBodies[0].rows].map((row) => row.cells[1].textContent)"

needs_browser = pytest.mark.skipif(program() is None, reason="no Chromium on the PATH")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Scores, masks and scans of five cases, and a run."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "place"
    folder.mkdir()
    monkeypatch.chdir(folder)
    write_run(folder / "run", test=NAMES)
    write_scans(folder / "scans", NAMES)
    write_masks(folder / "masks", NAMES)
    scored = invoke("score", "masks", "scans", "-o", "scores.json", "--bootstrap", "50")
    assert scored.exit_code == 0, scored.output
    return folder


WORDS = ("run", "--scores", "scores.json", "--masks", "masks", "--data", "scans")


def refuse_faults(page: Page, path: Path) -> None:
    assert page.complaints == []
    asked = [one for one in page.requests if not one.startswith("data:")]
    assert asked == [path.resolve().as_uri()]
    assert not NO_NUMBER.search(page.value("document.body.innerText"))


@needs_browser
@pytest.mark.slow
def test_a_page_is_whole_and_asks_for_nothing(place: Path, tmp_path: Path):
    made = invoke("report", *WORDS, "-o", "report.html")
    assert made.exit_code == 0, made.output
    with opened(place / "report.html", tmp_path / "profile") as page:
        page.value("document.querySelectorAll('img').forEach((one) => { one.loading = 'eager' })")
        page.becomes_true("[...document.images].every((one) => one.complete)")
        widths = page.value("[...document.images].map((one) => one.naturalWidth)")
        assert len(widths) >= len(NAMES)
        assert min(widths) > 0
        refuse_faults(page, place / "report.html")
        details = "[...document.querySelectorAll('details')]"
        assert page.value(f"{details}.every((one) => !one.open)")
        page.value(f"{details}.forEach((one) => one.querySelector('summary').click())")
        assert page.value(f"{details}.every((one) => one.open && one.offsetHeight > 40)")
        sorts(page)


def sorts(page: Page) -> None:
    """The table of cases, by the column of Dice: up, then down."""
    before = page.value(COLUMN)
    click = f"{FIRST_TABLE}.tHead.rows[0].cells[1].querySelector('button').click()"
    for factor, order in ((1, "ascending"), (-1, "descending")):
        page.value(click)
        values = [factor * float(cell) for cell in page.value(COLUMN)]
        assert values == sorted(values)
        assert page.value(f"{FIRST_TABLE}.tHead.rows[0].cells[1].ariaSort") == order
    assert len(before) == len(NAMES)
    assert sorted(page.value(COLUMN)) == sorted(before)


@needs_browser
@pytest.mark.slow
def test_a_telephone_shows_all_of_it_large_enough(place: Path, tmp_path: Path):
    made = invoke("report", *WORDS, "-o", "report.html")
    assert made.exit_code == 0, made.output
    with opened(place / "report.html", tmp_path / "profile") as page:
        size = {"width": 400, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        page.ask("Emulation.setDeviceMetricsOverride", **size)
        page.value("document.querySelectorAll('details').forEach((one) => { one.open = true })")
        assert page.value("document.documentElement.scrollWidth") == 400
        first = "[...document.querySelectorAll('tr > :first-child')]"
        assert min(page.value(f"{first}.map((one) => one.offsetWidth)")) >= 7 * 16
        scales = page.value(
            "[...document.querySelectorAll('figure svg')].map((one) => "
            "one.getBoundingClientRect().width / one.viewBox.baseVal.width)"
        )
        assert min(scales) * SMALLEST >= 8  # pixels


@needs_browser
@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.skipif(not is_fetched("niivue"), reason="not fetched: niivue (llmseg weights fetch)")
def test_a_volume_can_be_seen_and_nothing_is_asked_for(place: Path, tmp_path: Path):
    made = invoke("report", *WORDS, "--viewer", "-o", "report.html")
    assert made.exit_code == 0, made.output
    with opened(place / "report.html", tmp_path / "profile") as page:
        page.becomes_true("document.getElementById('viewer').dataset.volumes === '2'")
        refuse_faults(page, place / "report.html")
        page.value("document.getElementById('viewer').scrollIntoView()")
        seen = np.asarray(Image.open(io.BytesIO(page.picture())).convert("RGB"), dtype=int)
        for red, green, blue in ((230, 159, 0), (86, 180, 233)):  # classes 1 and 2, half opaque
            warm = red > blue
            is_colored = abs(seen[..., 0] - seen[..., 2]) > 60
            assert (is_colored & ((seen[..., 0] > seen[..., 2]) == warm)).sum() > 100, green
