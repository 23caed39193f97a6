"""Tables of mining: what was kept, and why not."""

from pathlib import Path

import pytest

from llmseg_cli.artifacts.pseudo import QC_COLUMNS
from llmseg_cli.artifacts.spreadsheet import csv_text
from llmseg_cli.errors import ArtifactError
from llmseg_cli.workflows.report.sources.pseudo_labels import facts_of, rounds_of

ROWS = [
    {"case": "a", "status": "ok", "component": 1, "agreement": 0.9, "kept": "yes", "reason": ""},
    {"case": "a", "status": "ok", "component": 2, "agreement": 0.4, "kept": "no",
     "reason": "agreement 0.4 below 0.5"},
    {"case": "b", "status": "dropped", "component": 1, "agreement": 0.3, "kept": "no",
     "reason": "agreement 0.3 below 0.5"},
    {"case": "c", "status": "no-prompt", "reason": "the network predicts nothing"},
]  # fmt: skip


def write(folder: Path, rows=ROWS) -> Path:
    folder.mkdir(parents=True)
    (folder / "qc.csv").write_text(csv_text(QC_COLUMNS, rows))
    return folder


def test_cases_components_and_reasons_are_counted(tmp_path: Path):
    found = facts_of(write(tmp_path / "pseudo"), [])
    assert found.cases == {"ok": 1, "dropped": 1, "no-prompt": 1}
    assert found.components == {"kept": 1, "dropped": 2}
    assert found.reasons == {"agreement below": 2, "the network predicts nothing": 1}
    assert found.agreements == (0.9, 0.4, 0.3)
    assert found.of_run is None


def test_rounds_of_a_run_are_found(tmp_path: Path):
    write(tmp_path / "pseudo" / "step-000100")
    write(tmp_path / "pseudo" / "step-000050")
    (tmp_path / "pseudo" / "step-000150").mkdir()  # being mined
    found = list(rounds_of(tmp_path, "semi"))
    assert [one.name for _, one in found] == ["semi, at step 50", "semi, at step 100"]


def test_another_table_is_refused(tmp_path: Path):
    (write(tmp_path / "pseudo") / "qc.csv").write_text("case,mine\na,1\n")
    with pytest.raises(ArtifactError, match="has no column 'status'"):
        facts_of(tmp_path / "pseudo", [])
