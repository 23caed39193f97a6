"""Every loader says what it did not find, and runs no code: one law, tried on each of them."""

import builtins
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import write_encoder, write_image_encoder, write_language_model, write_llama
from tiny_sam import write_sam

from llmseg_cli.errors import WeightsError
from llmseg_cli.knowledge.descriptions.local_model import LocalModel
from llmseg_cli.knowledge.embeddings.text_encoder import load_encoder
from llmseg_cli.knowledge.parts.image_encoder import open_image_encoder
from llmseg_cli.knowledge.parts.llm_layers import read_layers
from llmseg_cli.knowledge.sam.choose import open_segmenter
from llmseg_cli.knowledge.weights.loading import load_network, open_config
from llmseg_cli.knowledge.weights.transformers import load_transformers

SAFE = "model.safetensors"


def read_encoder(folder):
    found = load_encoder(str(folder))
    return found.digest, found.model.state_dict()


def read_language_model(folder):
    found = LocalModel(str(folder))
    return found.about.digest, found.model.state_dict()


def read_image_encoder(folder):
    found = open_image_encoder(str(folder))
    return found.digest, found.weights


def read_sam(folder):
    found = open_segmenter(
        f"transformers:{folder}", device=torch.device("cpu"), dtype=torch.float32
    )
    return found.digest, found.model.state_dict()


def read_llm_layers(folder):
    found = read_layers(str(folder), (0, 1))
    both = {f"{n}.{k}": v for n, one in enumerate(found.layers) for k, v in one.items()}
    return found.digest, both


@dataclass(frozen=True)
class Loader:
    """A loader, how its model is written, and a tensor within a part that the model has."""

    write: object
    read: object
    inside: str
    settings: tuple[str, ...] = ("config.json",)


LOADERS = {
    "encoder": Loader(
        write_encoder,
        read_encoder,
        "encoder.layer.7.output.dense.weight",
        ("config.json", "tokenizer_config.json"),
    ),
    "llm": Loader(
        write_language_model,
        read_language_model,
        "model.layers.7.mlp.up_proj.weight",
        ("config.json", "tokenizer_config.json"),
    ),
    "layers": Loader(write_llama, read_llm_layers, "model.layers.1.self_attn.q_norm.weight"),
    "image": Loader(write_image_encoder, read_image_encoder, "encoder.stages.9.weight"),
    "sam": Loader(
        write_sam,
        read_sam,
        "mask_decoder.other.weight",
        ("config.json", "processor_config.json"),
    ),
}
MISSING = {  # a tensor that each loader needs
    "encoder": "encoder.layer.1.output.dense.weight",
    "llm": "model.layers.1.mlp.up_proj.weight",
    "layers": "model.layers.1.mlp.up_proj.weight",
    "image": "encoder.stages.1.layers.0.layer.0.convolution.weight",
    "sam": "mask_decoder.iou_token.weight",
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Each model, written once."""
    place = tmp_path_factory.mktemp("models")
    return {name: loader.write(place / name) for name, loader in LOADERS.items()}


@pytest.fixture(params=LOADERS)
def model(request, written, tmp_path):
    """A loader's name, the loader, and a folder of its own."""
    name = request.param
    return name, LOADERS[name], Path(shutil.copytree(written[name], tmp_path / name))


def changed(folder, change):
    """Replace the tensors of a folder by what *change* makes of them."""
    save_file(change(load_file(folder / SAFE)), folder / SAFE, {"format": "pt"})


def configured(path, **values):
    settings = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(settings | values))


def test_a_tensor_that_is_missing_is_named_and_not_drawn(model):
    name, loader, folder = model
    changed(folder, lambda tensors: {k: v for k, v in tensors.items() if k != MISSING[name]})
    with pytest.raises(WeightsError, match=rf"lacks 1 tensor of .*'{MISSING[name]}'") as raised:
        loader.read(folder)
    assert raised.value.exit_code == 7


def test_a_tensor_without_a_place_is_named(model):
    _, loader, folder = model
    changed(folder, lambda tensors: tensors | {loader.inside: torch.zeros(2)})
    with pytest.raises(WeightsError, match=rf"holds 1 tensor that .*'{loader.inside}'"):
        loader.read(folder)


def test_a_tensor_of_another_shape_is_named(model):
    name, loader, folder = model
    changed(folder, lambda tensors: tensors | {MISSING[name]: torch.zeros(3, 5)})
    with pytest.raises(WeightsError, match=rf"'{MISSING[name]}' has the shape \(3, 5\), expected"):
        loader.read(folder)


@pytest.mark.parametrize(
    ("dtype", "said"),
    [
        (torch.float8_e4m3fn, "so it is quantized"),
        (torch.int8, "so it is quantized"),
        (torch.uint8, "so it is quantized"),
        (torch.int32, "int32, expected floating-point numbers"),
        (torch.int64, "int64, expected floating-point numbers"),
        (torch.bool, "bool, expected floating-point numbers"),
        (torch.complex64, "expected floating-point numbers"),
    ],
)
def test_numbers_of_other_formats_are_refused_by_name(model, dtype, said):
    name, loader, folder = model
    changed(folder, lambda tensors: tensors | {MISSING[name]: tensors[MISSING[name]].to(dtype)})
    with pytest.raises(WeightsError, match=rf"'{MISSING[name]}' as .*{said}.*float32"):
        loader.read(folder)


@pytest.mark.parametrize("is_pickle", [False, True])
def test_double_precision_is_read(model, is_pickle):
    _, loader, folder = model
    _, plain = loader.read(folder)
    changed(
        folder,
        lambda tensors: {k: t.double() if t.is_floating_point() else t for k, t in tensors.items()},
    )
    if is_pickle:
        torch.save(load_file(folder / SAFE), folder / "pytorch_model.bin")
        (folder / SAFE).unlink()
    _, found = loader.read(folder)
    for name, tensor in plain.items():
        assert torch.equal(found[name].float(), tensor.float()), name
        assert found[name].dtype != torch.float64


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.bool])
def test_whole_numbers_that_the_network_has_not_are_left_aside(model, dtype):
    _, loader, folder = model
    _, plain = loader.read(folder)
    changed(folder, lambda tensors: tensors | {loader.inside: torch.ones(2).to(dtype)})
    _, found = loader.read(folder)
    assert all(torch.equal(found[name], tensor) for name, tensor in plain.items())


def write_causal(folder, kind):
    """A small GPT-2 or GPT-NeoX, and where its attention stands among its tensors."""
    hf = load_transformers()
    sizes = {"vocab_size": 64, "bos_token_id": 0, "eos_token_id": 0}
    if kind == "gpt2":
        config = hf.GPT2Config(n_embd=16, n_layer=1, n_head=2, n_positions=32, **sizes)
        network, place = hf.GPT2LMHeadModel, "transformer.h.0.attn"
    else:
        wide = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
        config = hf.GPTNeoXConfig(intermediate_size=32, **wide, **sizes)
        network, place = hf.GPTNeoXForCausalLM, "gpt_neox.layers.0.attention"
    network(config).save_pretrained(folder)
    return network, place


@pytest.mark.parametrize("kind", ["gpt2", "gpt_neox"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_masks_of_older_libraries_are_left_aside_and_true_biases_are_not(tmp_path, kind, dtype):
    network, place = write_causal(tmp_path, kind)

    def read():
        found = load_network(tmp_path, network, config=open_config(tmp_path), what="the model")
        return found.network.state_dict()

    plain = read()
    masks = {"bias": torch.ones(1, 1, 32, 32).to(dtype), "masked_bias": torch.tensor(-1e4)}
    changed(tmp_path, lambda tensors: tensors | {f"{place}.{k}": v for k, v in masks.items()})
    found = read()
    assert all(torch.equal(found[name], tensor) for name, tensor in plain.items())
    if kind == "gpt_neox":
        return  # of which transformers itself leaves such names aside
    changed(tmp_path, lambda tensors: tensors | {f"{place}.masked_bias": torch.ones(16)})
    with pytest.raises(WeightsError, match=rf"holds 1 tensor that .*{place}\.masked_bias"):
        read()


@pytest.mark.parametrize(
    ("key", "settings", "said"),
    [
        ("quantization_config", {"quant_method": "bitsandbytes", "load_in_4bit": True}, "4 bit"),
        ("quantization_config", {"quant_method": "gptq", "bits": 4}, "gptq, 4 bit"),
        ("quantization_config", {"quant_method": "awq"}, "awq"),
        ("quantization_config", {"quant_method": "fp8"}, "fp8"),
        ("compression_config", {"format": "float-quantized"}, "float-quantized"),
    ],
)
def test_a_quantized_model_is_refused_by_name(model, key, settings, said):
    _, loader, folder = model
    configured(folder / "config.json", **{key: settings})
    with pytest.raises(WeightsError, match=rf"quantized model \(.*{said}.*unquantized"):
        loader.read(folder)


def test_code_of_a_model_is_neither_run_nor_asked_about(model, monkeypatch, tmp_path):
    _, loader, folder = model

    def ask(*_):
        raise AssertionError("asked a question")

    monkeypatch.setattr(builtins, "input", ask)
    mark = tmp_path / "ran"
    (folder / "own.py").write_text(f"open({str(mark)!r}, 'w')\n")
    named = {"AutoConfig": "own.C", "AutoModel": "own.M", "AutoTokenizer": ["own.T", None]}
    for file in loader.settings:
        before = (folder / file).read_text()
        configured(folder / file, auto_map=named)
        with pytest.raises(WeightsError, match=rf"{file} names code .*own\.C.* not supported"):
            loader.read(folder)
        (folder / file).write_text(before)
    assert not mark.exists()


@pytest.mark.parametrize("wrapper", ["module.", "text_encoder.", "model.inner."])
def test_weights_saved_out_of_a_larger_model_are_found(model, wrapper):
    _, loader, folder = model
    _, plain = loader.read(folder)
    changed(
        folder,
        lambda tensors: (
            {f"{wrapper}{k}": v for k, v in tensors.items()} | {"head.w": torch.ones(1)}
        ),
    )
    _, found = loader.read(folder)
    assert found.keys() == plain.keys()
    for name, tensor in plain.items():
        if not name.startswith("pooler."):
            assert torch.equal(found[name], tensor), name


def test_a_network_that_is_there_twice_is_refused(model):
    _, loader, folder = model
    changed(
        folder,
        lambda tensors: {
            f"{who}.{k}": v.clone() for k, v in tensors.items() for who in ("student", "teacher")
        },
    )
    with pytest.raises(WeightsError, match=r"more than once, as 'student\.' and 'teacher\.'"):
        loader.read(folder)


def test_a_pickle_of_tensors_gives_the_same(model):
    _, loader, folder = model
    _, plain = loader.read(folder)
    torch.save(load_file(folder / SAFE), folder / "pytorch_model.bin")
    (folder / SAFE).unlink()
    _, found = loader.read(folder)
    assert all(torch.equal(found[name], tensor) for name, tensor in plain.items())


@pytest.mark.parametrize(
    "content", [print, {"a": print}, {"a": 1.0}, {"a": "text"}, [torch.zeros(1)], {}, None, 7]
)
def test_other_pickles_are_refused_in_one_sentence(model, content):
    _, loader, folder = model
    (folder / SAFE).unlink()
    torch.save(content, folder / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="is no checkpoint of tensors alone"):
        loader.read(folder)


def test_the_digest_is_of_what_is_read_and_of_nothing_else(model):
    _, loader, folder = model
    digest, _ = loader.read(folder)
    for name in (".DS_Store", "README.md", "notes.txt", "optimizer.pt"):
        (folder / name).write_text("x")
    (folder / SAFE).touch()
    assert loader.read(folder)[0] == digest
    for name in loader.settings:
        content = (folder / name).read_text()
        (folder / name).write_text(f"{content}\n")
        assert loader.read(folder)[0] != digest, name
        (folder / name).write_text(content)
    assert loader.read(folder)[0] == digest


def test_an_adapter_alone_is_no_model(model):
    _, loader, folder = model
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "owner/model"}')
    with pytest.raises(WeightsError, match=r"adapter of peft.*merge_and_unload"):
        loader.read(folder)
