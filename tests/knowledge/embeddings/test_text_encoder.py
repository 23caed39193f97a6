"""Encoders against independent calculations, and MiniLM's sense of meaning."""

import hashlib
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import (
    write_encoder,
    write_image_encoder,
    write_language_model,
    write_pooling,
    write_two_towers,
)

from llmseg_cli.errors import UsageError, WeightsError
from llmseg_cli.knowledge.embeddings.text_encoder import encode_texts, load_encoder, pool
from llmseg_cli.knowledge.weights.embedded import WEIGHTS, path_of
from llmseg_cli.knowledge.weights.transformers import load_transformers

SAFE = "model.safetensors"
TEXTS = ["the left atrium", "a thin round wall behind the heart and in front of the body"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return load_encoder(str(write_encoder(tmp_path_factory.mktemp("encoder"))))


def test_pooling_by_plain_loops():
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(3, 5, 4, generator=generator, dtype=torch.float64)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]]).bool()
    for pooling in ("mean", "cls", "max"):
        for normalized in (False, True):
            found = pool(hidden, mask, pooling=pooling, normalized=normalized)
            for row in range(3):
                kept = np.array([hidden[row, i].numpy() for i in range(5) if mask[row, i]])
                expected = {"mean": kept.mean(0), "cls": kept[0], "max": kept.max(0)}[pooling]
                if normalized:
                    expected = expected / np.sqrt((expected**2).sum())
                np.testing.assert_allclose(found[row].numpy(), expected, rtol=1e-12)


def test_texts_are_padded_to_a_multiple_of_eight(encoder):
    encoded = encode_texts(encoder, TEXTS)
    assert encoded.token_ids.shape == encoded.mask.shape == (2, 16)
    assert encoded.tokens.shape == (2, 16, 12)
    assert encoded.pooled.shape == (2, 12)
    assert encoded.mask.sum(axis=1).tolist() == [5, 15]  # with the markers at both ends
    assert (encoded.token_ids[~encoded.mask] == encoder.tokenizer.pad_token_id).all()
    assert encoded.truncated == ()
    assert (encoded.token_ids.dtype, encoded.mask.dtype) == (np.int64, np.bool_)
    assert (encoded.tokens.dtype, encoded.pooled.dtype) == (np.float32, np.float32)


def test_padding_changes_nothing(encoder):
    together = encode_texts(encoder, TEXTS)
    alone = encode_texts(encoder, TEXTS[:1])
    assert alone.token_ids.shape == (1, 8)
    np.testing.assert_allclose(together.pooled[0], alone.pooled[0], atol=1e-6)
    np.testing.assert_allclose(together.tokens[0, :5], alone.tokens[0, :5], atol=1e-6)


def test_a_given_length_pads_or_cuts(encoder):
    assert encode_texts(encoder, TEXTS, max_length=32).token_ids.shape == (2, 32)
    cut = encode_texts(encoder, TEXTS, max_length=6)
    assert cut.token_ids.shape == (2, 6)
    assert cut.truncated == (1,)
    assert cut.token_ids[1, -1] == encoder.tokenizer.sep_token_id


@pytest.mark.parametrize("length", [2, 33])
def test_a_length_the_encoder_cannot_take(encoder, length):
    with pytest.raises(UsageError, match="takes 3 to 32"):
        encode_texts(encoder, TEXTS, max_length=length)


def test_texts_longer_than_the_encoder_takes_are_cut(encoder):
    encoded = encode_texts(encoder, [" ".join(["heart"] * 50), "heart"])
    assert encoded.token_ids.shape == (2, 32)
    assert encoded.truncated == (0,)


@pytest.mark.parametrize(("mode", "normalize"), [("cls_token", False), ("mean_tokens", True)])
def test_pooling_is_read_from_the_folder(tmp_path, mode, normalize):
    write_pooling(write_encoder(tmp_path), mode, normalize=normalize)
    encoder = load_encoder(str(tmp_path))
    assert (encoder.pooling, encoder.normalized) == (mode.partition("_")[0], normalize)
    encoded = encode_texts(encoder, TEXTS)
    lengths = np.linalg.norm(encoded.pooled, axis=1)
    if normalize:
        np.testing.assert_allclose(lengths, 1, atol=1e-6)
    else:
        np.testing.assert_array_equal(encoded.pooled, encoded.tokens[:, 0])


def test_a_pooling_llmseg_does_not_know_is_refused(tmp_path):
    write_pooling(write_encoder(tmp_path), "cls_token", normalize=False)
    (tmp_path / "1_Pooling" / "config.json").write_text('{"pooling_mode": "weightedmean"}')
    with pytest.raises(WeightsError, match="'weightedmean' pooling"):
        load_encoder(str(tmp_path))


@pytest.mark.parametrize("mode", ["lasttoken", "weightedmean_tokens", "mean_sqrt_len_tokens"])
@pytest.mark.parametrize("others", [{}, {"pooling_mode_mean_tokens": True}])
def test_a_pooling_of_another_name_is_no_mean(tmp_path, mode, others):
    write_pooling(write_encoder(tmp_path), "cls_token", normalize=False)
    said = {"word_embedding_dimension": 12, "pooling_mode_cls_token": False, **others}
    text = json.dumps({**said, f"pooling_mode_{mode}": True})
    (tmp_path / "1_Pooling" / "config.json").write_text(text)
    with pytest.raises(WeightsError, match=rf"{mode}' pooling") as raised:
        load_encoder(str(tmp_path))
    assert raised.value.exit_code == 7


@pytest.mark.parametrize(
    ("said", "pooling"),
    [
        ({"word_embedding_dimension": 12}, "mean"),
        ({"pooling_mode": "cls"}, "cls"),
        ({"pooling_mode_mean_tokens": False}, None),
        ({"pooling_mode": ["mean", "max"]}, None),
    ],
)
def test_a_pooling_that_is_not_named(tmp_path, said, pooling):
    write_pooling(write_encoder(tmp_path), "cls_token", normalize=False)
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(said))
    if pooling is not None:
        assert load_encoder(str(tmp_path)).pooling == pooling
        return
    with pytest.raises(WeightsError, match="pooling; llmseg knows"):
        load_encoder(str(tmp_path))


def placed(folder, place):
    """Let modules.json name another place for the settings of the pooling."""
    modules = json.loads((folder / "modules.json").read_text())
    for module in modules:
        module["path"] = place if module["type"].endswith("Pooling") else ""
    (folder / "modules.json").write_text(json.dumps(modules))


def test_the_pooling_is_where_modules_json_says(tmp_path):
    write_pooling(write_encoder(tmp_path), "cls_token", normalize=False)
    (tmp_path / "2_Pooling").mkdir()
    said = tmp_path / "2_Pooling" / "config.json"
    said.write_text('{"pooling_mode_max_tokens": true}')
    placed(tmp_path, "2_Pooling")
    before = load_encoder(str(tmp_path))
    assert before.pooling == "max"
    (tmp_path / "1_Pooling" / "config.json").write_text("{}")  # nobody reads it
    assert load_encoder(str(tmp_path)).digest == before.digest
    said.write_text('{"pooling_mode_mean_tokens": true}')
    assert load_encoder(str(tmp_path)).digest != before.digest
    said.unlink()
    with pytest.raises(WeightsError, match="names the pooling 2_Pooling, and there is no"):
        load_encoder(str(tmp_path))


@pytest.mark.parametrize("place", ["../elsewhere", "/etc", "a/../../elsewhere"])
def test_the_pooling_is_never_read_elsewhere(tmp_path, place):
    folder = tmp_path / "model"
    folder.mkdir()
    write_pooling(write_encoder(folder), "cls_token", normalize=False)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "config.json").write_text('{"pooling_mode_max_tokens": true}')
    placed(folder, place)
    with pytest.raises(WeightsError, match="expected one folder in its own"):
        load_encoder(str(folder))


def test_a_stage_llmseg_does_not_know_is_refused(tmp_path):
    write_pooling(write_encoder(tmp_path), "cls_token", normalize=False)
    modules = json.loads((tmp_path / "modules.json").read_text())
    modules.append({"type": "sentence_transformers.models.Dense"})
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(WeightsError, match="names a stage 'Dense'"):
        load_encoder(str(tmp_path))


def test_a_decoder_serves_too(tmp_path):
    encoder = load_encoder(str(write_language_model(tmp_path)))
    encoded = encode_texts(encoder, TEXTS)
    assert encoded.tokens.shape == (2, 16, 24)
    assert np.isfinite(encoded.pooled).all()


def test_a_folder_without_a_model(tmp_path):
    with pytest.raises(WeightsError, match="holds no model of transformers"):
        load_encoder(str(tmp_path))


def test_a_path_that_does_not_exist():
    with pytest.raises(UsageError, match="expected the folder of a model"):
        load_encoder("/nowhere/model")


def test_an_absent_hub_model_while_offline(tmp_path, monkeypatch):
    monkeypatch.setattr("llmseg_cli.knowledge.weights.hub.fetch_hub", None)
    with pytest.raises(WeightsError, match="--offline forbids to fetch it"):
        load_encoder("owner/model", cache=tmp_path, offline=True)


@pytest.mark.parametrize(("kind", "name"), [("clip", "CLIP"), ("siglip", "Siglip")])
def test_the_tower_for_text_is_taken_out_of_a_model_of_two(tmp_path, kind, name):
    folder = write_two_towers(tmp_path / "both", kind)
    encoder = load_encoder(str(folder))
    tower = getattr(load_transformers(), f"{name}Model").from_pretrained(folder).eval().text_model
    encoded = encode_texts(encoder, TEXTS)
    ids, mask = torch.from_numpy(encoded.token_ids), torch.from_numpy(encoded.mask)
    with torch.no_grad():
        hidden = tower(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    np.testing.assert_allclose(encoded.tokens, hidden.numpy(), atol=1e-6)
    assert mask.sum(dim=1).tolist() == [5, 15]


def test_a_tower_that_lacks_a_layer_is_refused(tmp_path):
    folder = write_two_towers(tmp_path / "both")
    kept = {
        k: v for k, v in load_file(folder / SAFE).items() if "text_model.encoder.layers.1" not in k
    }
    save_file(kept, folder / SAFE, {"format": "pt"})
    with pytest.raises(WeightsError, match="lacks 16 tensors of the text encoder"):
        load_encoder(str(folder))


@pytest.mark.parametrize("kind", ["resnet", "dinov2"])
def test_a_model_that_reads_no_text_is_refused(tmp_path, kind):
    folder = write_image_encoder(tmp_path, kind)
    with pytest.raises(WeightsError, match="holds no tokenizer"):
        load_encoder(str(folder))
    write_encoder(tmp_path / "words")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "words" / name).rename(folder / name)
    with pytest.raises(WeightsError, match=rf"'{kind}', which reads pixel_values and no text"):
        load_encoder(str(folder))


@pytest.mark.parametrize("kept", [(), ("tokenizer_config.json",)])
def test_an_encoder_without_its_tokenizer_is_refused(tmp_path, kept):
    folder = write_encoder(tmp_path)
    for name in {"tokenizer.json", "tokenizer_config.json"} - set(kept):
        (folder / name).unlink()
    with pytest.raises(WeightsError, match=r"holds no tokenizer") as raised:
        load_encoder(str(folder))
    assert raised.value.exit_code == 7


def test_a_tokenizer_of_a_larger_model_is_refused(tmp_path):
    folder = write_encoder(tmp_path)
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["vocab"]["heart"] = 4000
    (folder / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(WeightsError, match=r"has token 4000, and its network knows .* together"):
        encode_texts(load_encoder(str(folder)), ["the heart"])


def test_a_tokenizer_without_its_unknown_word_is_refused(tmp_path):
    folder = write_encoder(tmp_path / "encoder")
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["unk_token"] = "absent"
    (folder / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(WeightsError, match=r"does not take the texts: .*Missing"):
        encode_texts(load_encoder(str(folder)), ["colonoscope"])


def test_heads_of_another_task_are_left_aside_and_a_pooler_may_be_absent(tmp_path):
    folder, hf = write_encoder(tmp_path), load_transformers()
    before = encode_texts(load_encoder(str(folder)), TEXTS).tokens
    model = hf.BertForMaskedLM(hf.BertConfig.from_pretrained(folder))
    model.bert.load_state_dict(hf.BertModel.from_pretrained(folder).state_dict(), strict=False)
    model.save_pretrained(folder)
    stored = load_file(folder / SAFE)
    assert any(name.startswith("cls.") for name in stored)
    assert not any("pooler" in name for name in stored)
    assert (encode_texts(load_encoder(str(folder)), TEXTS).tokens == before).all()


def test_layers_that_the_configuration_does_not_count_are_refused(tmp_path):
    folder = write_encoder(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps(config | {"num_hidden_layers": 1, "architectures": ["BertForMaskedLM"]})
    )
    with pytest.raises(WeightsError, match=r"holds 16 tensors that .*'encoder\.layer\.1\."):
        load_encoder(str(folder))


def test_pooling_counts_for_the_digest(tmp_path):
    folder = write_encoder(tmp_path)
    digest = load_encoder(str(folder)).digest
    write_pooling(folder, "cls_token", normalize=False)
    assert load_encoder(str(folder)).digest != digest


def test_vectors_of_an_older_version_know_their_encoder(tmp_path):
    folder = write_encoder(tmp_path)
    encoder = load_encoder(str(folder))
    weights = hashlib.sha256((folder / SAFE).read_bytes()).hexdigest()
    assert encoder.is_of(encoder.digest)
    assert encoder.is_of(f"sha256:{weights}")
    assert not encoder.is_of("sha256:0")
    assert not encoder.is_of(None)


@pytest.mark.weights
def test_minilm_equals_an_independent_computation(weights_cache):
    texts = ["The left atrium receives the pulmonary veins.", "A polyp."]
    encoded = encode_texts(load_encoder("minilm", cache=weights_cache), texts)
    hf = load_transformers()
    folder = path_of("minilm", cache=weights_cache)
    tokenizer = hf.BertTokenizer(str(folder / "vocab.txt"), do_lower_case=True)
    model = hf.BertModel.from_pretrained(folder).eval()
    for row, text in enumerate(texts):
        ids = torch.tensor([tokenizer.encode(text)])
        with torch.no_grad():
            hidden = model(ids).last_hidden_state[0].numpy()
        expected = hidden.mean(axis=0)
        expected /= np.linalg.norm(expected)
        assert encoded.token_ids[row][encoded.mask[row]].tolist() == ids[0].tolist()
        np.testing.assert_allclose(encoded.pooled[row], expected, atol=1e-5)


@pytest.mark.weights
def test_minilm_finds_related_sentences_closer(weights_cache):
    encoder = load_encoder("minilm", cache=weights_cache)
    texts = [
        "The left atrium is a chamber of the heart.",
        "The upper left cavity of the heart receives oxygenated blood.",
        "The stock market fell sharply on Monday.",
    ]
    pooled = encode_texts(encoder, texts).pooled
    similarity = pooled @ pooled.T
    assert similarity[0, 1] > similarity[0, 2] + 0.3
    assert similarity[0, 1] > similarity[1, 2] + 0.3
    assert encoder.is_of(encoder.digest)
    assert encoder.is_of(f"sha256:{WEIGHTS['minilm'].files['model.safetensors']}")  # as before
    assert not encoder.is_of(f"sha256:{WEIGHTS['minilm'].files['config.json']}")
    assert (encoder.pooling, encoder.normalized, encoder.limit) == ("mean", True, 256)
