"""`--force` replaces what llmseg wrote, and nothing else."""

import os
from pathlib import Path

import pytest

from llmseg_cli.artifacts.files import temporary_of
from llmseg_cli.artifacts.own_folder import (
    is_ours,
    refuse_foreign_record,
    refuse_links,
    refuse_replacing,
)
from llmseg_cli.errors import ArtifactError, UsageError

CASE = '{"case": "a", "file": null, "image": "", "made_by": "", "output": "", "size": 0}'
OURS = {
    "cases.jsonl": f"{CASE}\n",
    "run.json": '{"schema": 1, "tool": "llmseg"}',
    "config.yaml": "schema: llmseg/run/1\n",
}
BOMB = "schema: llmseg/run/1\na0: &a0 {}\n" + "".join(
    f"a{index}: &a{index} {{<<: [*a{index - 1}, *a{index - 1}]}}\n" for index in range(1, 41)
)
THEIRS = {
    "notes.txt": "mine",
    "cases.jsonl": '{"id": 7, "image": "a.png"}\n',
    "config.yaml  ": BOMB,
    "run.json": '{"tool": "other"}',
    "config.yaml": "model: unet\n",
    "config.yaml ": "schema: [",
}


@pytest.mark.parametrize(("name", "content"), OURS.items())
def test_what_llmseg_wrote_is_known_by_its_contents(tmp_path: Path, name: str, content: str):
    (tmp_path / name).write_text(content)
    (tmp_path / "mask.png").write_text("mask")
    assert is_ours(tmp_path)
    refuse_replacing(tmp_path, force=True)
    with pytest.raises(UsageError, match="--force"):
        refuse_replacing(tmp_path, force=False)


@pytest.mark.parametrize(("name", "content"), THEIRS.items())
def test_what_others_wrote_is_not_replaced(tmp_path: Path, name: str, content: str):
    (tmp_path / name.strip()).write_text(content)
    assert not is_ours(tmp_path)
    with pytest.raises(UsageError, match=f"was not written by llmseg .it holds {name.strip()}"):
        refuse_replacing(tmp_path, force=True)


def test_files_of_others_may_lie_beside_what_is_written(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("all of it")
    refuse_replacing(tmp_path, force=True, names=("split.json", "pseudo"))
    (tmp_path / "pseudo").mkdir()
    with pytest.raises(UsageError, match="it holds pseudo"):
        refuse_replacing(tmp_path, force=True, names=("split.json", "pseudo"))


def test_what_is_empty_or_absent_is_free(tmp_path: Path):
    refuse_replacing(tmp_path / "new", force=False)
    refuse_replacing(tmp_path, force=False)
    temporary_of(tmp_path / "a").write_text("half")  # of a process that was killed
    (tmp_path / "cases.jsonl").touch()  # of one that was killed before its first case
    refuse_replacing(tmp_path, force=True)
    (tmp_path / "a.png").write_text("mine")
    with pytest.raises(UsageError, match=r"it holds a\.png"):
        refuse_replacing(tmp_path, force=True)


@pytest.mark.parametrize("name", [".tmp-notes", ".tmp-12-a", ".tmp-0123456789abcdef"])
def test_a_name_like_that_of_a_temporary_file_is_no_leftover(tmp_path: Path, name: str):
    (tmp_path / name).write_text("mine")
    with pytest.raises(UsageError, match=f"it holds {name}"):
        refuse_replacing(tmp_path, force=True)


@pytest.mark.parametrize("name", ["run.json", "config.yaml", "cases.jsonl"])
def test_pipes_are_not_opened(tmp_path: Path, name: str):
    os.mkfifo(tmp_path / name)
    assert not is_ours(tmp_path)
    with pytest.raises(UsageError, match=f"it holds {name}"):
        refuse_replacing(tmp_path, force=True)


@pytest.mark.parametrize("content", [THEIRS["run.json"], "[", '{"tool": ["llmseg"]}'])
def test_the_record_of_another_program_is_not_replaced(tmp_path: Path, content: str):
    refuse_foreign_record(tmp_path)
    (tmp_path / "run.json").write_text(OURS["run.json"])
    refuse_foreign_record(tmp_path)
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(UsageError, match=r"run\.json was not written by llmseg"):
        refuse_foreign_record(tmp_path)


def test_links_in_an_output_are_refused(tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "real").mkdir(parents=True)
    refuse_links(tmp_path / "out", ("real", "absent"))
    (tmp_path / "out" / "overlays").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ArtifactError, match=r"overlays is a link to .*elsewhere"):
        refuse_links(tmp_path / "out", ("real", "overlays"))


@pytest.mark.parametrize("name", ["overlays", "probabilities", "uncertainty", "dicom-seg"])
def test_a_folder_of_cases_without_a_whole_file_is_of_a_killed_process(tmp_path: Path, name: str):
    (tmp_path / "cases.jsonl").touch()
    (tmp_path / name).mkdir()
    temporary_of(tmp_path / name / "a.png").write_text("half")
    refuse_replacing(tmp_path, force=True)
    (tmp_path / name / "a.png").write_text("mine")
    with pytest.raises(UsageError, match=f"it holds {name}"):
        refuse_replacing(tmp_path, force=True)


def test_a_folder_of_another_name_is_of_somebody_even_if_empty(tmp_path: Path):
    (tmp_path / "plans").mkdir()
    with pytest.raises(UsageError, match="it holds plans"):
        refuse_replacing(tmp_path, force=True)
