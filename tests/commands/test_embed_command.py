"""`llmseg embed`: from a file or a pipe to a checked file."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_models import write_encoder
from typer.testing import CliRunner

from llmseg_cli.cli import app
from llmseg_cli.knowledge.embeddings.file import load_embeddings


def invoke(*arguments: str, stdin: str | None = None):
    return CliRunner().invoke(app, ["embed", *arguments], input=stdin)


@pytest.fixture
def place(quiet_place) -> Path:
    """A working folder with an encoder and the library's words on polyps."""
    write_encoder(quiet_place / "encoder", length=128)
    CliRunner().invoke(app, ["describe", "--target", "polyp", "--texts", "2", "-o", "d.yaml"])
    return quiet_place


def test_a_file(place):
    result = invoke("d.yaml", "--encoder", "encoder", "--offline", "-o", "e.safetensors")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "2 texts" in result.stderr
    assert "--text e.safetensors -o runs/text" in result.stderr
    assert load_embeddings(Path("e.safetensors")).classes == ("polyp",)


def test_a_pipe_and_json(place):
    text = Path("d.yaml").read_text()
    result = invoke("-", "--encoder", "encoder", "-o", "e.safetensors", "--json", stdin=text)
    document = json.loads(result.stdout)
    assert (document["texts"], document["width"], document["target"]) == (2, 12, "polyp")
    assert document["metadata"]["encoder_digest"].startswith("sha256:")


def test_a_short_length_is_warned_of(place):
    result = invoke("d.yaml", "--encoder", "encoder", "--max-length", "16", "-o", "e.safetensors")
    assert "Warning: Cut to 16 tokens: polyp 1, polyp 2" in result.stderr
    assert load_embeddings(Path("e.safetensors")).token_ids.shape == (2, 16)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("absent.yaml",), 2, "'llmseg describe' writes it"),
        (("encoder/config.json",), 2, "expected 'llmseg/descriptions/1'"),
        (("d.yaml", "--encoder", "minilm"), 7, "llmseg weights fetch minilm"),
        (("d.yaml", "--encoder", "minillm", "--offline"), 7, "--offline forbids"),
        (("d.yaml", "--max-length", "many"), 2, "expected auto or a whole number"),
        (("d.yaml", "--encoder", "encoder", "--max-length", "500"), 2, "takes 3 to 128"),
        (("-",), 2, "Nothing came in on stdin"),
    ],
)
def test_faults_have_their_exit_codes(place, arguments, code, message):
    result = invoke(*arguments, "-o", "e.safetensors")
    assert (result.exit_code, message in result.stderr) == (code, True), result.stderr
    assert not Path("e.safetensors").exists()


def test_what_comes_in_is_text(place):
    done = CliRunner().invoke(app, ["embed", "-", "-o", "e.safetensors"], input=b"target: \xff\n")
    assert done.exit_code == 2
    assert "Cannot read stdin: line 1 is not UTF-8" in done.stderr


def test_a_file_is_not_overwritten(place):
    Path("e.safetensors").write_text("mine")
    assert invoke("d.yaml", "--encoder", "encoder", "-o", "e.safetensors").exit_code == 2
    assert Path("e.safetensors").read_text() == "mine"


@pytest.mark.weights
def test_describe_pipes_into_embed(quiet_place, weights_cache):
    llmseg = shlex.join([sys.executable, "-m", "llmseg_cli"])
    cache = shlex.quote(str(weights_cache))
    line = (
        f"{llmseg} describe --target hippocampus --class anterior --class posterior -o - | "
        f"{llmseg} embed - --cache {cache} --offline -o e.safetensors"
    )
    subprocess.run(["bash", "-o", "pipefail", "-c", line], check=True, timeout=120)
    found = load_embeddings(Path("e.safetensors"))
    assert found.classes == ("anterior", "posterior")
    assert found.tokens.shape == (8, 80, 384)
