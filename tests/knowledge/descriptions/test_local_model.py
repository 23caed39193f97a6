"""Local language models: seeds, templates, formats, and what is recorded."""

import json
import socket

import numpy as np
import pytest
import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from safetensors import safe_open
from tiny_gguf import write_short_gguf
from tiny_models import write_image_encoder, write_language_model

from llmseg_cli.errors import UsageError, WeightsError
from llmseg_cli.knowledge.descriptions.llm import Sampling
from llmseg_cli.knowledge.descriptions.local_model import LocalModel
from llmseg_cli.knowledge.weights.embedded import WEIGHTS, path_of
from llmseg_cli.knowledge.weights.gguf_file import converted_folder

QUERY = "the left atrium"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return LocalModel(str(write_language_model(tmp_path_factory.mktemp("llm") / "tiny")))


def written(model, seed=0, **sampling):
    return model.write(QUERY, seed=seed, sampling=Sampling(**{"max_tokens": 12} | sampling)).text


def test_the_seed_decides(model):
    torch.manual_seed(99)
    before = torch.get_rng_state()
    assert written(model, seed=3) == written(model, seed=3)
    assert len({written(model, seed=seed) for seed in range(5)}) > 1
    assert torch.equal(torch.get_rng_state(), before)


def test_temperature_zero_ignores_the_seed(model):
    assert len({written(model, seed=seed, temperature=0.0) for seed in range(3)}) == 1


def test_a_low_temperature_is_nearly_greedy(model):
    assert written(model, temperature=1e-4) == written(model, temperature=0.0)


def test_the_chat_template_is_applied_and_recorded(model):
    found = model.write(QUERY, seed=0, sampling=Sampling(max_tokens=3))
    assert found.query == f"user {QUERY} assistant "
    assert model.about.chat_template is True


def test_a_model_without_chat_template_continues_the_query(tmp_path):
    model = LocalModel(str(write_language_model(tmp_path / "base", chat=False)))
    assert model.about.chat_template is False
    assert model.write(QUERY, seed=0, sampling=Sampling(max_tokens=3)).query == f"{QUERY}\n\n"


def test_a_model_that_was_stopped_is_not_finished(model):
    assert not model.write(QUERY, seed=0, sampling=Sampling(max_tokens=1)).finished


def test_what_is_recorded(model, tmp_path):
    folder = write_language_model(tmp_path / "same")
    (folder / "README.md").write_text("---\nlanguage: en\nlicense: mit\n---\n")
    about = LocalModel(str(folder)).about
    assert (about.provider, about.model, about.licence) == ("transformers", "same", "mit")
    assert about.digest == model.about.digest
    assert about.parameters == sum(p.numel() for p in model.model.parameters())
    assert about.revision is None


def test_a_folder_needs_no_network(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the network was touched")

    folder = write_language_model(tmp_path / "tiny")
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert written(LocalModel(str(folder), offline=True))


def test_a_folder_that_is_no_model(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "none-such"}))
    with pytest.raises(WeightsError, match="holds no model of transformers"):
        LocalModel(str(tmp_path))


def test_a_file_that_is_no_gguf(tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF, it says")
    with pytest.raises(WeightsError, match="not readable as a GGUF"):
        LocalModel(str(tmp_path / "model.gguf"), cache=tmp_path / "cache")
    assert list((tmp_path / "cache" / "converted").iterdir()) == []
    with pytest.raises(UsageError, match=r"expected the folder of a model or a \.gguf file"):
        LocalModel(str(tmp_path / "absent.gguf"))


def test_more_than_a_model_takes_is_not_given_to_it(tmp_path):
    folder = write_language_model(tmp_path)
    expected = written(LocalModel(str(folder)))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    model = LocalModel(str(folder))
    assert "token_type_ids" in model.tokenizer("the heart")
    assert written(model) == expected


def test_a_model_that_does_not_write_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="'resnet', which is no language model that writes"):
        LocalModel(str(write_image_encoder(tmp_path)))


@pytest.mark.parametrize("name", ["tokenizer.json", "generation_config.json"])
def test_words_and_habits_count_for_the_digest(tmp_path, name):
    folder = write_language_model(tmp_path)
    digest = LocalModel(str(folder)).about.digest
    content = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(content))
    assert LocalModel(str(folder)).about.digest != digest


def test_the_models_own_habits_are_heeded(tmp_path):
    folder = write_language_model(tmp_path)
    habits = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps(habits | {"min_new_tokens": 12}))
    model = LocalModel(str(folder))
    assert model.model.generation_config.min_new_tokens == 12


@pytest.mark.parametrize("habit", [{"output_hidden_states": "yes"}, {"min_new_tokens": "many"}])
def test_habits_that_make_no_sense_are_refused(tmp_path, habit):
    folder = write_language_model(tmp_path)
    (folder / "generation_config.json").write_text(json.dumps(habit))
    with pytest.raises(WeightsError, match=r"does not write: .*|generation_config\.json is not"):
        written(LocalModel(str(folder)))


def test_a_tokenizer_without_its_unknown_word_is_refused(tmp_path):
    folder = write_language_model(tmp_path)
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["unk_token"] = "absent"
    (folder / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(WeightsError, match=r"loads, but does not write: .*Missing"):
        LocalModel(str(folder)).write("colonoscope", seed=0, sampling=Sampling())


def test_a_template_that_takes_no_question_is_told_so(tmp_path):
    folder = write_language_model(tmp_path)
    (folder / "chat_template.jinja").write_text("{{ raise_exception('roles must alternate') }}")
    with pytest.raises(WeightsError, match=r"does not take a question: .*roles must alternate"):
        written(LocalModel(str(folder)))


@pytest.mark.weights
def test_a_damaged_embedded_model_is_refused(weights_cache, tmp_path):
    original = path_of("smollm2", cache=weights_cache)
    copy = tmp_path / "weights" / "smollm2" / original.name
    copy.parent.mkdir(parents=True)
    copy.write_bytes(original.read_bytes()[:-1])
    with pytest.raises(WeightsError, match=f"expected {WEIGHTS['smollm2'].files[original.name]}"):
        LocalModel("smollm2", cache=tmp_path)


@pytest.mark.weights
@pytest.mark.slow
def test_conversion_equals_the_gguf_librarys_own_arithmetic(weights_cache, tmp_path):
    source = path_of("smollm2", cache=weights_cache)
    gguf = write_short_gguf(source, tmp_path / "short.gguf", layers=(3, 29))
    folder = converted_folder(gguf, digest="sha256:" + "0" * 64, cache=tmp_path)
    reader = GGUFReader(gguf)
    names = {
        "token_embd.weight": "model.embed_tokens.weight",
        "blk.0.ffn_down.weight": "model.layers.0.mlp.down_proj.weight",
        "blk.1.attn_v.weight": "model.layers.1.self_attn.v_proj.weight",
        "output_norm.weight": "model.norm.weight",
    }
    originals = {
        t.name: dequantize(t.data, t.tensor_type) for t in reader.tensors if t.name in names
    }
    with safe_open(folder / "model.safetensors", framework="numpy") as stream:
        for name, ours in names.items():
            expected = originals[name].astype(np.float16)
            np.testing.assert_array_equal(stream.get_tensor(ours), expected)
    modes = {path.stat().st_mode for path in folder.iterdir()}
    assert len(modes) == 1
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


@pytest.mark.weights
@pytest.mark.slow
def test_smollm2_is_converted_once_and_writes_english(weights_cache):
    digest = f"sha256:{WEIGHTS['smollm2'].files['SmolLM2-135M-Instruct.Q4_1.gguf']}"
    gguf = path_of("smollm2", cache=weights_cache)
    folder = converted_folder(gguf, digest=digest, cache=weights_cache)
    made = (folder / "model.safetensors").stat()
    model = LocalModel("smollm2", cache=weights_cache, offline=True)
    assert (folder / "model.safetensors").stat() == made
    assert (model.about.digest, model.about.parameters) == (digest, 134515008)
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())
    found = model.write(
        "What is the capital of France?", seed=0, sampling=Sampling(temperature=0, max_tokens=10)
    )
    assert "Paris" in found.text
    assert found.query.endswith(
        "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    )
