"""Texts reach the network by class, and the controls are what they say."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from llmseg_cli.knowledge.descriptions.library import library_texts
from llmseg_cli.knowledge.embeddings.file import Embeddings, save_embeddings
from llmseg_cli.knowledge.embeddings.text_controls import constant_text, random_text
from llmseg_cli.knowledge.embeddings.text_encoder import encode_texts, load_encoder
from llmseg_cli.workflows.runs.texts import features_of
from llmseg_cli.workflows.train.shuffled_text import shuffled_text
from llmseg_cli.workflows.train.text_guidance import text_for


def three_texts() -> Embeddings:
    """Two texts of one class, one of another; L is 7, D is 64."""
    random = np.random.default_rng(0)
    mask = np.array([[1] * 7, [1] * 5 + [0] * 2, [1] * 6 + [0]], dtype=bool)
    ids = np.where(mask, random.integers(1000, 20000, mask.shape), 0)
    ids[:, 0] = 101
    tokens = (3 + 2 * random.standard_normal((3, 7, 64))).astype(np.float32)
    return Embeddings(
        target="heart",
        class_names=("left", "left", "right"),
        texts=("a", "b", "c"),
        token_ids=ids,
        mask=mask,
        tokens=tokens,
        pooled=tokens.mean(axis=1),
        encoder="minilm",
        metadata={"encoder_digest": "sha256:0"},
    )


def test_texts_stand_by_class_and_a_short_class_repeats_its_own() -> None:
    given = three_texts()
    found = features_of(given)
    assert found.token_ids.shape == (2, 2, 7)
    np.testing.assert_array_equal(found.token_ids[0], given.token_ids[:2])
    np.testing.assert_array_equal(found.token_ids[1], given.token_ids[[2, 2]])
    np.testing.assert_array_equal(found.pooled[1, 1], given.pooled[2])


def test_random_text_keeps_shapes_lengths_markers_and_moments() -> None:
    given = three_texts()
    found = random_text(given, seed=3)
    np.testing.assert_array_equal(found.mask, given.mask)
    np.testing.assert_array_equal(found.token_ids[:, 0], given.token_ids[:, 0])
    assert set(found.token_ids[found.mask]) <= set(given.token_ids[given.mask])
    assert not np.array_equal(found.token_ids, given.token_ids)
    assert (found.token_ids[~found.mask] == given.token_ids[~given.mask]).all()
    assert abs(np.corrcoef(found.pooled.ravel(), given.pooled.ravel())[0, 1]) < 0.4
    assert found.tokens.std() == pytest.approx(given.tokens.std(), rel=0.1)
    assert found.tokens.mean() == pytest.approx(given.tokens.mean(), rel=0.1)
    assert "random" in found.target


def test_random_text_is_the_same_for_the_same_seed_only() -> None:
    given = three_texts()
    again, other = random_text(given, seed=3), random_text(given, seed=4)
    np.testing.assert_array_equal(random_text(given, seed=3).token_ids, again.token_ids)
    assert not np.array_equal(again.pooled, other.pooled)


def other_texts(given: Embeddings) -> Embeddings:
    """Other words, of other lengths, about another target; of the same shapes."""
    random = np.random.default_rng(9)
    mask = given.mask.copy()
    mask[:, 3:] = False
    return replace(
        given,
        target="lung",
        texts=("x", "y", "z"),
        mask=mask,
        token_ids=np.where(mask, random.integers(50, 90, mask.shape), 0),
        tokens=-5 * given.tokens,
        pooled=-5 * given.pooled,
    )


def test_constant_text_knows_no_text() -> None:
    given = three_texts()
    found, other = constant_text(given), constant_text(other_texts(given))
    for name in ("token_ids", "mask", "tokens", "pooled"):
        values = getattr(found, name)
        np.testing.assert_array_equal(values, getattr(other, name))
        assert values.shape == getattr(given, name).shape
        np.testing.assert_array_equal(values, np.broadcast_to(values[:1], values.shape))
    ids = features_of(found).normalized_ids()
    np.testing.assert_allclose(ids[0, 0], np.linspace(0, 1, 7), rtol=1e-6)
    assert np.linalg.norm(found.pooled, axis=1) == pytest.approx(np.ones(3), rel=1e-6)
    assert found.class_names == given.class_names
    assert not {*found.texts} & {*given.texts}


def test_the_record_says_what_was_used(tmp_path: Path) -> None:
    path = tmp_path / "e.safetensors"
    save_embeddings(path, three_texts())
    assert text_for(None, control="none", fusion="token-map", seed=0, cache=tmp_path) is None
    found = text_for(path, control="random", fusion="token-map", seed=0, cache=tmp_path)
    assert found is not None
    features, record = found
    assert (record["control"], record["fusion"]) == ("random", "token-map")
    assert record["token_shape"] == list(features.token_ids.shape) == [2, 2, 7]
    assert torch.isfinite(features.pooled).all()


@pytest.mark.weights
def test_shuffled_text_is_true_text_of_another_target(weights_cache: Path) -> None:
    encoder = load_encoder("minilm", cache=weights_cache, offline=True)
    library = library_texts()
    target = "left atrium"
    texts = tuple(library[target]["left atrium"])
    encoded = encode_texts(encoder, texts, max_length=64)
    given = Embeddings(
        target=target,
        class_names=(target,) * len(texts),
        texts=texts,
        token_ids=encoded.token_ids,
        mask=encoded.mask,
        tokens=encoded.tokens,
        pooled=encoded.pooled,
        encoder="minilm",
        metadata={"encoder_digest": encoder.digest},
    )
    found = shuffled_text(given, seed=0, cache=weights_cache)
    assert found.target != target
    known = {text for texts in library[found.target].values() for text in texts}
    assert set(found.texts) <= known
    assert found.token_ids.shape == given.token_ids.shape
    own = encode_texts(encoder, found.texts, max_length=64)
    np.testing.assert_array_equal(found.token_ids, own.token_ids)
