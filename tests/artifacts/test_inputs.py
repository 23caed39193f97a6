"""An output is none of the inputs: not itself, not in them, not around them, by no link."""

import json
import os
from pathlib import Path

import pytest

from llmseg_cli.artifacts.inputs import (
    Input,
    refuse_file_over_inputs,
    refuse_folder_over_inputs,
)
from llmseg_cli.errors import UsageError


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with scans, an empty folder, and links to the scans."""
    (tmp_path / "study" / "scans").mkdir(parents=True)
    (tmp_path / "study" / "scans" / "a.json").write_text("mine")
    (tmp_path / "free").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "study" / "scans")
    (tmp_path / "above").symlink_to(tmp_path / "study")
    os.link(tmp_path / "study" / "scans" / "a.json", tmp_path / "hard.json")
    return tmp_path


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("study/scans", "is --images itself"),
        ("free/../study/scans", "is --images itself"),
        ("link", "is --images itself"),
        ("above/scans", "is --images itself"),
        ("study/scans/masks", "lies in --images"),
        ("link/deep/masks", "lies in --images"),
        ("study", "holds --images"),
        ("above", "holds --images"),
        (".", "holds --images"),
    ],
)
def test_folders(place: Path, out: str, said: str):
    for spelled in ("study/scans", "link"):
        with pytest.raises(UsageError, match=f"{said}.*-o"):
            refuse_folder_over_inputs(place / out, [Input("--images", place / spelled)])


@pytest.mark.parametrize("out", ["free", "new", "study/masks", "free/../study/scans2"])
def test_folders_beside_the_inputs_are_free(place: Path, out: str):
    refuse_folder_over_inputs(
        place / out, [Input("--images", place / "study" / "scans"), Input("--x", place / "none")]
    )


def test_a_data_set_has_room_for_outputs_but_is_none(place: Path):
    data = Input("--data", place / "study", has_room=True)
    refuse_folder_over_inputs(place / "study" / "runs", [data])
    for out in ("study", "above", "."):
        with pytest.raises(UsageError, match="--data"):
            refuse_folder_over_inputs(place / out, [data])


def test_a_file_that_the_command_writes_back_is_its_own(place: Path):
    split = place / "run" / "split.json"
    split.parent.mkdir()
    split.write_text("{}")
    refuse_folder_over_inputs(split.parent, [Input("--split", split)], own=("split.json",))
    with pytest.raises(UsageError, match="holds --split"):
        refuse_folder_over_inputs(split.parent, [Input("--split", split)])


@pytest.mark.parametrize("out", ["study/scans/a.json", "link/a.json", "hard.json"])
def test_files(place: Path, out: str):
    with pytest.raises(UsageError, match="itself, which would be lost"):
        refuse_file_over_inputs(
            place / out, [Input("--split", place / "study" / "scans" / "a.json")]
        )


def test_in_a_folder_that_is_read_a_report_may_lie_and_replace_a_report_alone(place: Path):
    scans = [Input("--data", place / "study" / "scans")]
    refuse_file_over_inputs(place / "study" / "scans" / "check.json", scans)
    ours = place / "study" / "scans" / "split.json"
    ours.write_text(json.dumps({"schema": "llmseg/split/1"}, indent=2))
    refuse_file_over_inputs(ours, scans)
    for name in ("a.json", "dataset.json", "cases.csv", "cases.jsonl", "run.json", "config.yaml"):
        with pytest.raises(UsageError, match="where a file of that name is read"):
            refuse_file_over_inputs(place / "link" / name, scans)


def test_a_text_that_is_no_path_is_no_input(place: Path):
    refuse_file_over_inputs(place / "new.json", [Input("--llm", Path("x" * 5000))])
    refuse_folder_over_inputs(place / "new", [Input("--llm", Path("x" * 5000))])
