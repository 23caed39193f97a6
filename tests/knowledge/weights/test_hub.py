"""Models of the hub, through the real client and a server that answers as the hub does."""

import json
import socket

import huggingface_hub
import pytest
from hub_server import COMMIT, MODEL_ID, hub_server
from tiny_models import write_encoder

from llmseg_cli.errors import UsageError, WeightsError
from llmseg_cli.knowledge.embeddings.text_encoder import encode_texts, load_encoder
from llmseg_cli.knowledge.weights.hub import (
    HubModel,
    hub_folder,
    parse_hub_model,
    verify_hub,
    weight_files,
)


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A model's folder as its owner publishes it, with pickled weights beside the safe ones."""
    folder = write_encoder(tmp_path / "published")
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.onnx").write_bytes(b"something else")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "theirs"))
    return folder


def listen(monkeypatch, url):
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", url)
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.fixture
def no_network(monkeypatch):
    """A machine on which every connection fails, and is noticed."""

    def refuse(*_, **__):
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_fetch_verify_and_use_offline(published, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    with hub_server(published) as hub:
        listen(monkeypatch, hub.url)
        folder = hub_folder(HubModel(MODEL_ID), cache=cache)
        assert hub_folder(HubModel(MODEL_ID), cache=cache) == folder
    assert folder.name == COMMIT
    assert cache in folder.parents
    assert sorted(set(hub.asked)) == sorted(hub.asked)
    assert "model.safetensors" in hub.asked
    assert not {"pytorch_model.bin", "onnx/model.onnx"} & set(hub.asked)
    assert "model.safetensors" in verify_hub(HubModel(MODEL_ID), cache=cache)
    encoder = load_encoder(MODEL_ID, cache=cache, offline=True)
    assert encoder.revision == COMMIT
    here = encode_texts(load_encoder(str(published)), ["the heart"])
    assert (encode_texts(encoder, ["the heart"]).pooled == here.pooled).all()


def test_an_altered_file_is_found(published, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    with hub_server(published) as hub:
        listen(monkeypatch, hub.url)
        folder = hub_folder(HubModel(MODEL_ID), cache=cache)
    for name in ("model.safetensors", "config.json"):
        original = (folder / name).read_bytes()
        (folder / name).resolve().write_bytes(original + b" ")
        with pytest.raises(WeightsError, match=f"{name} of 'owner/model' has SHA-256"):
            verify_hub(HubModel(MODEL_ID), cache=cache)
        (folder / name).resolve().write_bytes(original)


def test_an_interrupted_download_is_continued(published, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    with hub_server(published) as hub:
        listen(monkeypatch, hub.url)
        folder = hub_folder(HubModel(MODEL_ID), cache=cache)
        (folder / "model.safetensors").unlink()
        with pytest.raises(WeightsError, match="in no cache here"):
            hub_folder(HubModel(MODEL_ID), cache=cache, offline=True)
        assert hub_folder(HubModel(MODEL_ID), cache=cache) == folder
        assert (folder / "model.safetensors").is_file()
        index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(WeightsError, match="in no cache here"):
        hub_folder(HubModel(MODEL_ID), cache=cache, offline=True)


def test_the_users_own_hub_cache_serves_too(published, tmp_path, monkeypatch, no_network):
    theirs = tmp_path / "theirs" / "models--owner--model"
    (theirs / "refs").mkdir(parents=True)
    (theirs / "refs" / "main").write_text(COMMIT)
    (theirs / "snapshots").mkdir()
    published.rename(theirs / "snapshots" / COMMIT)
    found = hub_folder(HubModel(MODEL_ID), cache=tmp_path / "cache", offline=True)
    assert found == theirs / "snapshots" / COMMIT


def test_offline_touches_no_network(published, tmp_path, no_network):
    with pytest.raises(WeightsError, match=r"in no cache here.*copy a folder") as raised:
        hub_folder(HubModel(MODEL_ID), cache=tmp_path, offline=True)
    assert "llmseg weights fetch hf:owner/model" in str(raised.value)
    encode_texts(load_encoder(str(published), offline=True), ["the heart"])


def test_no_network(published, tmp_path, monkeypatch):
    listen(monkeypatch, "http://127.0.0.1:9")
    with pytest.raises(WeightsError, match=r"Cannot fetch the model 'owner/model'") as raised:
        hub_folder(HubModel(MODEL_ID), cache=tmp_path / "cache")
    assert raised.value.exit_code == 7


def test_an_unknown_and_a_gated_model(published, tmp_path, monkeypatch):
    with hub_server(published) as hub:
        listen(monkeypatch, hub.url)
        with pytest.raises(WeightsError, match="The hub knows no public model 'owner/other'"):
            hub_folder(HubModel("owner/other"), cache=tmp_path / "cache")
    with hub_server(published, gated=True) as hub:
        listen(monkeypatch, hub.url)
        with pytest.raises(WeightsError, match=r"is gated: accept its licence.*hf auth login"):
            hub_folder(HubModel(MODEL_ID), cache=tmp_path / "cache")


def test_a_model_without_weights(published, tmp_path, monkeypatch):
    for name in ("model.safetensors", "pytorch_model.bin"):
        (published / name).unlink()
    with hub_server(published) as hub:
        listen(monkeypatch, hub.url)
        with pytest.raises(WeightsError, match=r"neither safetensors nor \.bin"):
            hub_folder(HubModel(MODEL_ID), cache=tmp_path / "cache")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf:a/b", HubModel("a/b")),
        ("a/b@v1", HubModel("a/b", "v1")),
        ("hf:bert-base-uncased", HubModel("bert-base-uncased")),
    ],
)
def test_names(text, expected):
    assert parse_hub_model(text) == expected


@pytest.mark.parametrize("text", ["", "hf:", "a/b/c", "a b", "../x", "a--b", "a/b..c", "a.git"])
def test_what_is_no_name(text):
    with pytest.raises(UsageError, match="expected hf:OWNER/NAME"):
        parse_hub_model(text)


def test_safe_weights_win_over_pickles():
    names = ["a.safetensors", "b.safetensors", "pytorch_model.bin", "sub/c.safetensors"]
    assert weight_files(names) == ["a.safetensors", "b.safetensors"]
    assert weight_files(["pytorch_model.bin", "config.json"]) == ["pytorch_model.bin"]
