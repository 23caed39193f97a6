"""Descriptions become embeddings, and what was cut or not reviewed is said."""

import json

import pytest
from tiny_models import write_encoder

from llmseg_cli.artifacts.descriptions import Description, Descriptions, Writer
from llmseg_cli.artifacts.files import sha256_text
from llmseg_cli.errors import ArtifactError, UsageError
from llmseg_cli.knowledge.embeddings.file import load_embeddings, save_embeddings
from llmseg_cli.knowledge.embeddings.text_encoder import load_encoder
from llmseg_cli.workflows.embed import read_descriptions, run


def descriptions(*, reviewed: bool = True) -> str:
    return Descriptions(
        target="heart",
        modality="MRI",
        reviewed=reviewed,
        classes={
            "atrium": (
                Description(text="the left atrium is behind"),
                Description(text="a thin round wall behind the heart and in front of the body"),
            ),
            "wall": (Description(text="a bright wall"),),
        },
        written_by=Writer(provider="transformers", model="somebody"),
    ).to_text(suffix=".yaml")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_encoder(tmp_path_factory.mktemp("encoder"))


def test_texts_classes_and_origins_travel_along(folder, tmp_path):
    text = descriptions()
    found = run(text, name="d.yaml", encoder=str(folder))
    assert found.warnings == ()
    save_embeddings(tmp_path / "e.safetensors", found.embeddings)
    read = load_embeddings(tmp_path / "e.safetensors")
    assert read.target == "heart"
    assert read.class_names == ("atrium", "atrium", "wall")
    assert read.texts[2] == "a bright wall"
    assert read.tokens.shape == (3, 16, 12)
    assert read.encoder == str(folder)
    meta = read.metadata
    assert meta["descriptions_digest"] == f"sha256:{sha256_text(text)}"
    assert meta["encoder_digest"] == load_encoder(str(folder)).digest
    assert (meta["max_length"], meta["truncated"], meta["reviewed"]) == ("16", "[]", "yes")
    assert (meta["pooling"], meta["written_by"]) == ("mean, normalized", "somebody")
    assert int(meta["vocabulary_size"]) > read.token_ids.max()


def test_the_file_is_the_same_each_time(folder, tmp_path):
    for name in ("a", "b"):
        save_embeddings(
            tmp_path / name, run(descriptions(), name="x", encoder=str(folder)).embeddings
        )
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_texts_that_were_cut_are_named(folder):
    found = run(descriptions(), name="x", encoder=str(folder), max_length=8)
    assert found.warnings == ("Cut to 8 tokens: atrium 2. Shorten them, or raise --max-length.",)
    assert json.loads(found.embeddings.metadata["truncated"]) == ["atrium 2"]


def test_unreviewed_texts_are_warned_of(folder):
    found = run(descriptions(reviewed=False), name="x", encoder=str(folder))
    assert "Nobody has reviewed what somebody wrote" in found.warnings[0]
    assert found.embeddings.metadata["reviewed"] == "no"


def test_what_is_no_description(folder):
    with pytest.raises(ArtifactError, match="stdin has no schema"):
        run("just: text", name="stdin", encoder=str(folder))


def test_reading(tmp_path):
    (tmp_path / "d.yaml").write_text("content")
    assert read_descriptions(str(tmp_path / "d.yaml"), None) == "content"
    assert read_descriptions("-", "piped") == "piped"
    with pytest.raises(UsageError, match="Nothing came in on stdin"):
        read_descriptions("-", "")
    with pytest.raises(UsageError, match="'llmseg describe' writes it"):
        read_descriptions(str(tmp_path / "absent.yaml"), None)
