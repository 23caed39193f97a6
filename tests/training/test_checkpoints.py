"""Round trips, and files that cannot be read."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

from llmseg_cli.errors import ArtifactError
from llmseg_cli.models.vnet import VNet
from llmseg_cli.training.checkpoints import (
    load_into,
    load_state,
    load_weights,
    save_state,
    save_weights,
)

CPU = torch.device("cpu")


def network(filters: int = 2) -> nn.Module:
    return VNet(1, 2, dimensions=2, filters=filters)


def test_weights_round_trip_with_names_and_metadata(tmp_path):
    networks = {"first": network().to(memory_format=torch.channels_last), "second": network()}
    path = tmp_path / "model.safetensors"
    save_weights(path, networks, {"step": "7"})
    found = load_weights(path)
    assert list(found) == ["first", "second"]
    for name, state in found.items():
        for key, value in networks[name].state_dict().items():
            assert torch.equal(state[key], value)
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"step": "7"}


def test_weights_are_as_readable_as_other_files(tmp_path):
    save_weights(tmp_path / "a.safetensors", {"n": network()}, {})
    (tmp_path / "b").touch()
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_equal_weights_are_equal_files(tmp_path):
    one, metadata = network(), {letter: letter * 3 for letter in "stepvalidé"}
    for name in "abcdef":
        save_weights(tmp_path / name, {"n": one}, metadata)
    assert len({(tmp_path / name).read_bytes() for name in "abcdef"}) == 1
    with safe_open(tmp_path / "a", "pt") as file:
        assert file.metadata() == metadata
    assert torch.equal(load_weights(tmp_path / "a")["n"]["output.weight"], one.output.weight)


@pytest.mark.parametrize("content", [b"", b"garbage", None])
def test_weights_that_cannot_be_read(tmp_path, content):
    path = tmp_path / "model.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"Cannot read the weights .*--resume"):
        load_weights(path)


def test_truncated_weights(tmp_path):
    path = tmp_path / "model.safetensors"
    save_weights(path, {"n": network()}, {})
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ArtifactError, match="Cannot read the weights"):
        load_weights(path)


@pytest.mark.parametrize(
    ("other", "odd"),
    [
        (network(3).state_dict(), "shape"),
        ({}, "None"),
        ({**network().state_dict(), "extra.weight": torch.zeros(1)}, "extra.weight"),
    ],
)
def test_another_architecture(other, odd):
    with pytest.raises(ArtifactError, match=f"run 7 is of another architecture.*{odd}.*--model"):
        load_into(network(), other, source="run 7")


def test_what_fits_is_loaded():
    source, target = network(), network()
    load_into(target, source.state_dict(), source="x")
    assert torch.equal(source.output.weight, target.output.weight)


def test_state_round_trip_with_random_state(tmp_path):
    path = tmp_path / "state.ckpt"
    torch.manual_seed(5)
    parts = {"learner": network().state_dict(), "optimizer": {}, "scaler": {}, "averages": {}}
    save_state(path, {"step": 3, "best": [0.5, 2], **parts})
    expected = torch.randn(4)
    torch.manual_seed(6)
    found = load_state(path, CPU)
    assert torch.equal(torch.randn(4), expected)
    assert (found["step"], found["best"]) == (3, [0.5, 2])


@pytest.mark.parametrize("kept", [0, 3, 100, 0.5, 0.99])
def test_a_truncated_state(tmp_path, kept):
    path = tmp_path / "state.ckpt"
    save_state(path, {"network": network().state_dict()})
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    with pytest.raises(ArtifactError, match=r"state.ckpt is damaged. Train anew with --force"):
        load_state(path, CPU)


@pytest.mark.parametrize("content", [b"hello world", b"PK\x03\x04 and no archive"])
def test_a_state_that_is_none(tmp_path, content):
    path = tmp_path / "state.ckpt"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match="is damaged"):
        load_state(path, CPU)


class Malicious:
    """What a pickle could smuggle in."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path, ("/tmp",))


def test_a_state_runs_no_code(tmp_path):
    path = tmp_path / "state.ckpt"
    torch.save({"version": 1, "x": Malicious()}, path)
    with pytest.raises(ArtifactError, match="is damaged"):
        load_state(path, CPU)


@pytest.mark.parametrize("content", [{"version": 0}, {"step": 1}, [1, 2]])
def test_a_state_of_another_version(tmp_path, content):
    path = tmp_path / "state.ckpt"
    torch.save(content, path)
    with pytest.raises(ArtifactError, match="another version of llmseg"):
        load_state(path, CPU)


def test_a_failed_write_leaves_the_old_state(tmp_path, monkeypatch):
    path = tmp_path / "state.ckpt"
    save_state(path, {"step": 1})
    before = path.read_bytes()

    def save(content, target):
        target.write_bytes(b"half")
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534")

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(RuntimeError, match="unexpected pos"):
        save_state(path, {"step": 2})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
