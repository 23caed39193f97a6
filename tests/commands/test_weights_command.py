"""`llmseg weights`: streams, JSON, exit codes, configuration."""

import errno
import json
import os
from pathlib import Path

import pytest
from fake_wheels import fake_weights
from typer.testing import CliRunner

from llmseg_cli.artifacts.files import sha256_file
from llmseg_cli.cli import app
from llmseg_cli.knowledge.weights import downloads
from llmseg_cli.knowledge.weights.embedded import WEIGHTS


def invoke(*arguments: str):
    return CliRunner().invoke(app, ["weights", *arguments])


@pytest.fixture
def fetched(quiet_place, cache, monkeypatch) -> Path:
    """The cache folder with weights of one file."""
    folder = cache / "weights" / "fake"
    folder.mkdir(parents=True)
    (folder / "model.bin").write_bytes(b"right")
    entry = fake_weights(files={"model.bin": sha256_file(folder / "model.bin")}, size=5)
    monkeypatch.setitem(WEIGHTS, "fake", entry)
    return cache


def test_list_shows_licence_size_origin_and_digest(fetched):
    result = invoke("list")
    assert result.exit_code == 0
    assert result.stderr == ""
    for weights in WEIGHTS.values():
        assert weights.licence in result.stdout
        assert weights.origin in result.stdout
    assert WEIGHTS["minilm"].files["model.safetensors"] in result.stdout
    lines = {line.split()[0]: line for line in result.stdout.splitlines() if line[0] != " "}
    assert "fetched" in lines["fake"]
    assert "absent" in lines["smollm2"]


def test_list_as_json(fetched):
    result = invoke("list", "--json")
    found = {entry["name"]: entry for entry in json.loads(result.stdout)["weights"]}
    assert set(found) == set(WEIGHTS)
    assert found["minilm"]["sha256"] == WEIGHTS["minilm"].files
    assert found["fake"]["fetched"] is True


def test_path_is_for_scripts(fetched):
    result = invoke("path", "fake")
    assert result.stdout == f"{fetched / 'weights' / 'fake' / 'model.bin'}\n"
    assert json.loads(invoke("path", "fake", "--json").stdout)["name"] == "fake"
    missing = invoke("path", "minilm")
    assert (missing.exit_code, missing.stdout) == (7, "")
    assert "llmseg weights fetch minilm" in missing.stderr


def test_verify_exits_with_7_on_a_difference(fetched):
    right = invoke("verify")
    assert (right.exit_code, right.stdout) == (0, "")
    assert "fake: 1 file(s) as they should be" in right.stderr
    path = fetched / "weights" / "fake" / "model.bin"
    expected = sha256_file(path)
    path.write_bytes(b"wrong")
    wrong = invoke("verify", "fake")
    assert wrong.exit_code == 7
    assert f"SHA-256 {sha256_file(path)}, expected {expected}" in wrong.stderr


def test_fetch_reports_what_is_there(fetched):
    result = invoke("fetch", "fake", "--offline", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["weights"]["fake"].endswith("model.bin")


def test_offline_and_misspelled(fetched):
    assert invoke("fetch", "minilm", "--offline").exit_code == 7
    wrong = invoke("fetch", "minillm")
    assert wrong.exit_code == 2
    assert "Did you mean 'minilm'" in wrong.stderr


def test_a_full_disk_exits_with_6(fetched, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "model.bin")

    monkeypatch.setattr(downloads, "_download", full)
    result = invoke("fetch", "minilm")
    assert result.exit_code == 6
    assert "No space left" in result.stderr
    assert sorted(p.name for p in (fetched / "weights").iterdir()) == ["fake"]


def test_the_cache_may_stand_in_the_project_file(fetched, monkeypatch):
    monkeypatch.delenv("LLMSEG_CACHE")
    for content in (f"cache: {fetched}\n", f"weights:\n  cache: {fetched}\n"):
        Path("llmseg.yaml").write_text(content)
        assert invoke("path", "fake").stdout.startswith(str(fetched))


def test_names_are_completed():
    from llmseg_cli.commands.weights import _names

    embedded = ["smollm2", "minilm", "lite-medsam", "efficientnet-lite0", "mni152", "niivue"]
    assert _names()[:6] == embedded
