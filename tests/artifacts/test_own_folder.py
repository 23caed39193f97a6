"""`--force` replaces what llmseg wrote, and nothing else."""

from pathlib import Path

import pytest

from llmseg_cli.artifacts.own_folder import is_ours, refuse_links, refuse_replacing
from llmseg_cli.errors import ArtifactError, UsageError

OURS = {
    "cases.jsonl": "",
    "run.json": '{"schema": 1, "tool": "llmseg"}',
    "config.yaml": "schema: llmseg/run/1\n",
}
THEIRS = {
    "notes.txt": "mine",
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
    (tmp_path / ".tmp-77-a").write_text("half")  # of a process that was killed
    refuse_replacing(tmp_path, force=True)


def test_links_in_an_output_are_refused(tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "real").mkdir(parents=True)
    refuse_links(tmp_path / "out", ("real", "absent"))
    (tmp_path / "out" / "overlays").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ArtifactError, match=r"overlays is a link to .*elsewhere"):
        refuse_links(tmp_path / "out", ("real", "overlays"))
