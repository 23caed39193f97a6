"""Which files of a folder hold its weights, and how damaged ones are told."""

import json
from contextlib import suppress

import pytest
import torch
from safetensors.torch import save_file

from llmseg_cli.errors import WeightsError
from llmseg_cli.knowledge.weights.checkpoint import find_checkpoint, read_pickle

SAFE, BIN = "model.safetensors", "pytorch_model.bin"


def shard(folder, name, **tensors):
    save_file({k: torch.full((2,), float(v)) for k, v in tensors.items()}, folder / name)


def index(folder, places, name=f"{SAFE}.index.json"):
    (folder / name).write_text(json.dumps({"metadata": {}, "weight_map": places}))


def values(folder):
    return {name: float(t[0]) for name, t in find_checkpoint(folder).tensors().items()}


def test_safetensors_win_over_pickles_as_in_transformers(tmp_path):
    torch.save({"a": torch.zeros(2)}, tmp_path / BIN)
    assert values(tmp_path) == {"a": 0}
    shard(tmp_path, "model-1.safetensors", a=2)
    index(tmp_path, {"a": "model-1.safetensors"})
    assert values(tmp_path) == {"a": 2}
    assert [p.name for p in find_checkpoint(tmp_path).files] == ["model-1.safetensors"]
    (tmp_path / f"{SAFE}.index.json").unlink()
    shard(tmp_path, SAFE, a=1)
    assert values(tmp_path) == {"a": 1}


def test_only_the_shards_of_the_index_are_read_and_each_tensor_from_its_place(tmp_path):
    shard(tmp_path, "model-00001-of-00002.safetensors", a=1, b=9)
    shard(tmp_path, "model-00002-of-00002.safetensors", b=2)
    shard(tmp_path, "model-00003-of-00003.safetensors", c=3)
    places = {
        "a": "model-00001-of-00002.safetensors",
        "b": "model-00002-of-00002.safetensors",
    }
    index(tmp_path, places)
    assert values(tmp_path) == {"a": 1, "b": 2}
    found = find_checkpoint(tmp_path)
    assert [p.name for p in found.read] == [*places.values(), f"{SAFE}.index.json"]
    assert [p.name for p in found.holding(lambda name: name == "b").files] == [places["b"]]


@pytest.mark.parametrize("name", [SAFE, BIN])
def test_a_single_file_and_an_index_of_others_contradict_each_other(tmp_path, name):
    if name == SAFE:
        shard(tmp_path, SAFE, a=1)
    else:
        torch.save({"a": torch.zeros(2)}, tmp_path / BIN)
    index(tmp_path, {"a": "other-1.bin"}, f"{name}.index.json")
    with pytest.raises(WeightsError, match=rf"{name} and an index that names other.*other-1\.bin"):
        find_checkpoint(tmp_path)
    index(tmp_path, {"a": name}, f"{name}.index.json")
    assert [p.name for p in find_checkpoint(tmp_path).files] == [name]


def test_shards_that_are_missing_are_named(tmp_path):
    index(tmp_path, {"a": "m1.safetensors", "b": "m2.safetensors"})
    shard(tmp_path, "m1.safetensors", a=1)
    with pytest.raises(WeightsError, match=r"2 files .* 1 are not there, such as m2\.safetensors"):
        find_checkpoint(tmp_path)
    (tmp_path / f"{SAFE}.index.json").unlink()
    shard(tmp_path, "model-00001-of-00003.safetensors", a=1)
    with pytest.raises(WeightsError, match=r"expected all of model-00001-of-00003"):
        find_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "content",
    ["{", "[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": 3}}', '"x"', "[" * 100_000],
)
def test_an_index_of_another_form_is_refused(tmp_path, content):
    (tmp_path / f"{SAFE}.index.json").write_text(content)
    with pytest.raises(WeightsError, match=r"index\.json"):
        find_checkpoint(tmp_path)


@pytest.mark.parametrize("place", ["../secret.safetensors", "/etc/passwd", "sub/m.safetensors"])
def test_an_index_leads_nowhere_else(tmp_path, place):
    index(tmp_path, {"a": place})
    with pytest.raises(WeightsError, match="expected the name of a file beside it"):
        find_checkpoint(tmp_path)


@pytest.mark.parametrize("name", [SAFE, BIN])
@pytest.mark.parametrize("kept", [0, 10, 100, -3])
def test_a_file_that_was_cut_short_is_told_so(tmp_path, name, kept):
    if name == SAFE:
        shard(tmp_path, name, a=1, b=2)
    else:
        torch.save({"a": torch.zeros(200)}, tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[:kept])
    with pytest.raises(WeightsError, match=rf"{name} is (damaged|no checkpoint of tensors alone)"):
        find_checkpoint(tmp_path).tensors()


def test_a_state_within_a_training_checkpoint_is_found(tmp_path):
    for number, key in enumerate(("model", "state_dict", "model_state_dict")):
        torch.save({key: {"a": torch.zeros(2)}, "epoch": 3}, tmp_path / f"{number}.pth")
        assert list(read_pickle(tmp_path / f"{number}.pth")) == ["a"]


def test_flipped_bytes_of_a_pickle_never_escape_as_another_error(tmp_path):
    torch.save({"a": torch.arange(9.0), "b": torch.zeros(3)}, tmp_path / "whole.pth")
    content = (tmp_path / "whole.pth").read_bytes()
    for place in range(0, len(content), 37):
        (tmp_path / "x.pth").write_bytes(
            content[:place] + bytes([content[place] ^ 0x5A]) + content[place + 1 :]
        )
        with suppress(WeightsError):
            read_pickle(tmp_path / "x.pth")
