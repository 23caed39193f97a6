"""Round trips, and files that cannot be read."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import nn

from llmseg_cli.config import TrainSettings
from llmseg_cli.errors import ArtifactError
from llmseg_cli.models.vnet import VNet
from llmseg_cli.training.checkpoints import (
    load_into,
    load_state,
    load_weights,
    save_state,
    save_weights,
)
from llmseg_cli.training.loop import Loop

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


def test_a_network_within_another_one_is_written_with_both(tmp_path):
    whole = nn.Sequential(network(), nn.Conv2d(2, 2, 1))
    save_weights(tmp_path / "a", {"whole": whole, "part": whole[0]}, {})
    found = load_weights(tmp_path / "a")
    for name, one in (("whole", whole), ("part", whole[0])):
        assert found[name].keys() == one.state_dict().keys()
        assert all(torch.equal(found[name][key], value) for key, value in one.state_dict().items())


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


def changed_states() -> Iterator[tuple[str, Any]]:
    for key in ("learner", "optimizer", "scaler", "averages", "step", "best", "random"):
        yield f"no {key}", lambda state, key=key: state.pop(key)
        for value in (None, "text", 1.5, [1], {"a": "b"}, torch.zeros(2)):
            harmless = (key, value) in (("best", None), ("scaler", {"a": "b"}))  # none on a CPU
            if not harmless:
                yield f"{key} {value}", lambda state, key=key, v=value: state.update({key: v})
    for value in ("text", torch.zeros(3), torch.zeros(2, 2)):
        yield f"generator {value}", lambda state, v=value: state["random"].update(torch=v)


@pytest.fixture
def saved(tmp_path) -> tuple[Path, Callable[[], Loop]]:
    """The state of a loop after a step, and what makes such a loop."""
    settings = TrainSettings(steps=5, optimizer="adam", ema=0.5, patch=(8, 8))

    def make() -> Loop:
        return Loop(Learner(), settings, folder=tmp_path, device=CPU)

    loop = make()
    loop.take_step(torch.ones(2))
    loop.save()
    return tmp_path / "state.ckpt", make


class Learner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(2, 1)

    def losses(self, batch: torch.Tensor, *, progress: float) -> dict[str, torch.Tensor]:
        return {"loss": self.net(batch).sum()}

    def observed(self) -> dict[str, torch.Tensor]:
        return {}

    def after_step(self, step: int) -> None:
        pass

    def judges(self) -> tuple[nn.Module, ...]:
        return ()

    def networks(self) -> dict[str, nn.Module]:
        return {"net": self.net}


CHANGED = dict(changed_states())


@pytest.mark.parametrize("change", CHANGED)
def test_a_state_of_other_content_is_one_sentence(saved, change):
    path, make = saved
    state = torch.load(path, weights_only=True)
    CHANGED[change](state)
    torch.save(state, path)
    with pytest.raises(ArtifactError, match=r"state\.ckpt .*--force") as caught:
        make().resume()
    assert "\n" not in str(caught.value)


def optimizers() -> Iterator[tuple[str, Callable[[dict[str, Any]], Any]]]:
    yield "rate", lambda o: o["param_groups"][0].update(lr="fast")
    yield "betas", lambda o: o["param_groups"][0].update(betas=0.9)
    yield "missing", lambda o: o["param_groups"][0].pop("weight_decay")
    yield "moment", lambda o: o["state"][0].update(exp_avg=torch.zeros(7))
    yield "word", lambda o: o["state"][0].update(exp_avg="none")
    yield "groups", lambda o: o["param_groups"].append(o["param_groups"][0])


@pytest.mark.parametrize(("name", "change"), list(optimizers()))
def test_an_optimizer_that_would_fail_at_the_next_step(saved, name, change):
    path, make = saved
    state = torch.load(path, weights_only=True)
    change(state["optimizer"])
    torch.save(state, path)
    with pytest.raises(ArtifactError, match=r"state\.ckpt is damaged"):
        make().resume()


def test_a_sound_state_goes_on(saved):
    _, make = saved
    loop = make()
    loop.resume()
    assert loop.step == 1


def test_weights_of_whole_numbers_are_refused():
    own = nn.Linear(2, 1)
    state = {key: value.long() for key, value in own.state_dict().items()}
    with pytest.raises(
        ArtifactError, match=r"'weight' holds torch\.int64, expected torch\.float32"
    ):
        load_into(own, state, source="it")


@pytest.mark.parametrize("kind", ["absent", "folder", "pipe"])
@pytest.mark.parametrize("load", [load_weights, lambda path: load_state(path, CPU)])
def test_only_regular_files_are_read(tmp_path, kind, load):
    path = tmp_path / "x"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(ArtifactError, match="Cannot read"):
        load(path)
