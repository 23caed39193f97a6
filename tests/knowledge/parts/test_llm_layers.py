"""Layers of a language model, read from small models in the library's own format."""

import hashlib
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_gguf import write_short_gguf
from tiny_models import write_image_encoder, write_llama

from llmseg_cli.errors import UsageError, WeightsError
from llmseg_cli.knowledge.parts.llm_layers import read_layers
from llmseg_cli.knowledge.weights import checkpoint
from llmseg_cli.knowledge.weights.embedded import path_of


@pytest.fixture
def folder(tmp_path):
    return write_llama(tmp_path / "model")


def test_weights_are_those_of_the_file_by_their_names_in_the_layer(folder):
    stored = load_file(folder / "model.safetensors")
    found = read_layers(str(folder), (0, -1))
    assert found.numbers == (0, 2)
    for number, layer in zip(found.numbers, found.layers, strict=True):
        own = {k for k in stored if k.startswith(f"model.layers.{number}.")}
        assert {f"model.layers.{number}.{k}" for k in layer} == own
        for name, tensor in layer.items():
            assert torch.equal(tensor, stored[f"model.layers.{number}.{name}"])
    assert torch.equal(found.norm, stored["model.norm.weight"])


def test_sizes_are_those_of_the_configuration(folder):
    assert read_layers(str(folder)).sizes == {
        "width": 24,
        "heads": 4,
        "key_heads": 2,
        "head_width": 6,
        "hidden": 40,
        "epsilon": 1e-6,
        "rotary_base": 10000.0,
    }


def test_other_tensors_are_not_read(folder, monkeypatch):
    read = []
    real = checkpoint.safe_open

    class Watched:
        def __init__(self, *words, **options):
            self.file = real(*words, **options)

        def __enter__(self):
            self.inner = self.file.__enter__()
            return self

        def __exit__(self, *error):
            return self.file.__exit__(*error)

        def keys(self):
            return self.inner.keys()

        def get_slice(self, name):
            return self.inner.get_slice(name)

        def get_tensor(self, name):
            read.append(name)
            return self.inner.get_tensor(name)

    monkeypatch.setattr(checkpoint, "safe_open", Watched)
    read_layers(str(folder), (1,))
    assert len(read) == 10
    assert all(name.startswith("model.layers.1.") or name == "model.norm.weight" for name in read)


def test_layer_1_of_12_is_not_layer_11(tmp_path):
    folder = write_llama(tmp_path / "model", layers=12)
    (layer,) = read_layers(str(folder), (1,)).layers
    assert len(layer) == 9


def test_weights_in_several_files_are_found(folder):
    stored = load_file(folder / "model.safetensors")
    whole = read_layers(str(folder), (1,))
    (folder / "model.safetensors").unlink()
    parts: list[dict] = [{}, {}]
    for index, (name, tensor) in enumerate(sorted(stored.items())):
        parts[index % 2][name] = tensor
    for number, part in enumerate(parts):
        save_file(part, folder / f"model-0000{number + 1}-of-00002.safetensors")
    (split,) = read_layers(str(folder), (1,)).layers
    assert {k: v.tolist() for k, v in split.items()} == {
        k: v.tolist() for k, v in whole.layers[0].items()
    }


@pytest.mark.parametrize("number", [3, -4])
def test_a_layer_that_is_not_there_is_refused(folder, number):
    with pytest.raises(UsageError, match=f"no layer {number}; it has 3"):
        read_layers(str(folder), (number,))


def test_a_model_of_another_family_is_refused(tmp_path):
    folder = write_image_encoder(tmp_path / "model", "bert")
    with pytest.raises(UsageError, match="a model 'bert'; layers are taken of llama or mistral"):
        read_layers(str(folder))


def test_biases_are_refused_and_not_left_out(folder):
    stored = load_file(folder / "model.safetensors")
    stored["model.layers.2.self_attn.q_proj.bias"] = torch.zeros(24)
    save_file(stored, folder / "model.safetensors")
    with pytest.raises(UsageError, match="has biases"):
        read_layers(str(folder))


def test_a_damaged_file_is_refused(folder):
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:50])
    with pytest.raises(WeightsError, match="is damaged"):
        read_layers(str(folder))


def test_weights_without_the_layer_are_refused(folder):
    stored = load_file(folder / "model.safetensors")
    kept = {k: v for k, v in stored.items() if not k.startswith("model.layers.2.")}
    save_file(kept, folder / "model.safetensors")
    with pytest.raises(
        WeightsError,
        match=r"lacks 9 tensors of .* layer 2, such as 'model\.layers\.2\.",
    ):
        read_layers(str(folder))


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({}))
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match="no model of transformers"):
        read_layers(str(tmp_path))


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("hidden_size", 48, r"q_proj\.weight' has the shape \(24, 24\).*expected \(\d+, 48\)"),
        ("intermediate_size", 41, r"gate_proj\.weight' has the shape \(40, 24\).*\(41, 24\)"),
        ("num_key_value_heads", 1, r"k_proj\.weight' has the shape \(12, 24\).*\(6, 24\)"),
        ("head_dim", 8, r"q_proj\.weight' has the shape \(24, 24\).*\(32, 24\)"),
    ],
)
def test_a_configuration_of_other_sizes_is_refused(folder, key, value, says):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {key: value}))
    with pytest.raises(WeightsError, match=says):
        read_layers(str(folder))


def test_a_layer_without_one_of_its_tensors_is_refused(folder):
    stored = load_file(folder / "model.safetensors")
    del stored["model.layers.2.mlp.up_proj.weight"]
    save_file(stored, folder / "model.safetensors")
    with pytest.raises(
        WeightsError,
        match=r"lacks 1 tensor .*'model\.layers\.2\.mlp\.up_proj\.weight'",
    ):
        read_layers(str(folder))


def test_buffers_of_older_libraries_are_left_aside(folder):
    stored = load_file(folder / "model.safetensors")
    old = {f"model.layers.{n}.self_attn.rotary_emb.inv_freq": torch.ones(3) for n in range(3)}
    before = read_layers(str(folder)).layers[0]
    save_file(stored | old, folder / "model.safetensors")
    after = read_layers(str(folder)).layers[0]
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], tensor) for name, tensor in after.items())


def test_only_the_shards_of_the_layer_count_for_the_digest(folder):
    stored = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    places = {
        name: "of-the-layer.safetensors"
        if name.startswith(("model.layers.2.", "model.norm."))
        else "others.safetensors"
        for name in stored
    }
    for file in set(places.values()):
        part = {name: stored[name] for name, place in places.items() if place == file}
        save_file(part, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    digest = read_layers(str(folder)).digest
    (folder / "others.safetensors").write_bytes(b"not looked at")
    assert read_layers(str(folder)).digest == digest
    with pytest.raises(WeightsError, match="is damaged"):
        read_layers(str(folder), (0,))


def test_a_run_of_an_older_version_knows_its_language_model(folder):
    found = read_layers(str(folder))
    weights = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert found.digest != f"sha256:{weights}"
    assert found.is_of(found.digest)
    assert found.is_of(f"sha256:{weights}")
    assert not found.is_of("sha256:0")


@pytest.mark.weights
@pytest.mark.slow
def test_a_gguf_file_without_some_tensors_is_refused_and_not_filled_at_random(
    weights_cache, tmp_path
):
    source = path_of("smollm2", cache=weights_cache)
    for name, dropped in (("whole", ()), ("cut", ("blk.0.ffn_up.weight",))):
        write_short_gguf(source, tmp_path / f"{name}.gguf", dropped=dropped)
    found = read_layers(str(tmp_path / "whole.gguf"), cache=tmp_path / "cache")
    assert found.numbers == (0,)
    with pytest.raises(WeightsError, match=r"lacks 1 tensor .*0\.mlp\.up_proj\.weight"):
        read_layers(str(tmp_path / "cut.gguf"), cache=tmp_path / "cache")
    kept = [path.name for path in (tmp_path / "cache" / "converted").iterdir()]
    assert [name.partition("-")[0] for name in kept] == ["whole"]


@pytest.mark.weights
@pytest.mark.slow
def test_scaled_positions_of_a_gguf_file_are_kept_and_an_altered_conversion_is_made_anew(
    weights_cache, tmp_path
):
    source, cache = path_of("smollm2", cache=weights_cache), tmp_path / "cache"
    factors = np.linspace(1, 8, 32, dtype=np.float32)
    write_short_gguf(source, tmp_path / "scaled.gguf", factors=factors)
    (tmp_path / "config.json").write_text("{")  # what lies beside a GGUF file is not of it
    (tmp_path / "tokenizer_config.json").write_text(
        '{"auto_map": {"AutoTokenizer": ["a.B", null]}}'
    )
    found = read_layers(str(tmp_path / "scaled.gguf"), rotary=True, cache=cache)
    plain = found.sizes["rotary_base"] ** (-np.arange(32) / 32)
    np.testing.assert_allclose(found.sizes["rotary_rates"], plain / factors, rtol=1e-5)
    assert found.sizes["rotary_factor"] == 1.0

    (folder,) = (cache / "converted").iterdir()
    stored = load_file(folder / "model.safetensors")
    altered = {name: tensor + 1 for name, tensor in stored.items()}
    save_file(altered, folder / "model.safetensors", {"format": "pt"})
    again = read_layers(str(tmp_path / "scaled.gguf"), rotary=True, cache=cache)
    for name, tensor in again.layers[0].items():
        assert torch.equal(tensor, found.layers[0][name])

    write_short_gguf(source, tmp_path / "yarn.gguf", scaling="yarn")
    with pytest.raises(WeightsError, match=r"scales its positions \('yarn'\), which is not read"):
        read_layers(str(tmp_path / "yarn.gguf"), cache=cache)
