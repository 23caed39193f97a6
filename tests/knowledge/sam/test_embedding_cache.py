"""What is computed once, and when it is computed anew."""

import numpy as np
import pytest
import torch
from tiny_sam import picture

from llmseg_cli.knowledge.sam.embedding_cache import VERSION, EmbeddingCache
from llmseg_cli.knowledge.sam.framing import Framing
from llmseg_cli.knowledge.sam.interface import PromptableSegmenter

FRAMING = Framing(64)


class Counting(PromptableSegmenter):
    """Two tensors of the image's own values, and a count of images encoded."""

    def __init__(self, digest="sha256:" + "a" * 64, framing=FRAMING, dtype=torch.float32):
        super().__init__("counting", digest, framing, torch.device("cpu"), dtype)
        self.encoded = 0

    def embed(self, image):
        self.encoded += 1
        values = torch.from_numpy(image)
        return values.half(), (values[0] * 3).half()

    def decode(self, embeddings, prompts):
        raise AssertionError


@pytest.fixture
def segmenter():
    return Counting()


def test_a_second_request_calls_no_encoder_and_reads_no_image(tmp_path, segmenter):
    image = picture((20, 30))
    made = EmbeddingCache(tmp_path, segmenter).get("a", lambda: image)
    cache = EmbeddingCache(tmp_path, segmenter)
    found = cache.get("a", lambda: pytest.fail("opened the image"))
    assert (segmenter.encoded, cache.hits, cache.misses) == (1, 1, 0)
    assert len(found) == len(made) == 2
    for one, other in zip(made, found, strict=True):
        assert one.dtype == other.dtype == torch.float16
        assert torch.equal(one, other)
    np.testing.assert_allclose(found[0].numpy(), image, rtol=2**-11)


def test_more_than_ten_tensors_keep_their_order(tmp_path, segmenter):
    segmenter.embed = lambda image: tuple(torch.tensor([float(i)]).half() for i in range(12))
    cache = EmbeddingCache(tmp_path, segmenter)
    cache.get("a", lambda: None)
    assert [int(part) for part in cache.get("a", lambda: None)] == list(range(12))


@pytest.mark.parametrize(
    "other",
    [
        Counting("sha256:" + "b" * 64),
        Counting(framing=Framing(64, keeps_aspect=False)),
        Counting(framing=Framing(64, mean=(0.5, 0.5, 0.5))),
        Counting(dtype=torch.bfloat16),
    ],
    ids=["weights", "stretched", "normalized", "format"],
)
def test_another_model_or_preparation_is_another_embedding(tmp_path, segmenter, other):
    image = picture((8, 8))
    EmbeddingCache(tmp_path, segmenter).get("a", lambda: image)
    EmbeddingCache(tmp_path, other).get("a", lambda: image)
    assert (segmenter.encoded, other.encoded) == (1, 1)
    other.encoded = 0


def test_another_image_is_another_embedding(tmp_path, segmenter):
    cache = EmbeddingCache(tmp_path, segmenter)
    first = cache.get("a/0", lambda: picture((8, 8), 0))
    second = cache.get("a/1", lambda: picture((8, 8), 1))
    assert (cache.hits, cache.misses) == (0, 2)
    assert not torch.equal(first[0], second[0])


@pytest.mark.parametrize("keep", [0, 4, 60, -3])
def test_a_damaged_file_is_made_anew(tmp_path, segmenter, keep):
    cache = EmbeddingCache(tmp_path, segmenter)
    image = picture((20, 30))
    made = cache.get("a", lambda: image)
    path = cache.path("a")
    whole = path.read_bytes()
    path.write_bytes(whole[:keep])
    again = cache.get("a", lambda: image)
    assert (segmenter.encoded, cache.hits, cache.misses) == (2, 0, 2)
    assert torch.equal(again[0], made[0])
    assert path.read_bytes() == whole


def test_the_path_names_version_and_digest_and_no_partial_file_stays(tmp_path, segmenter):
    cache = EmbeddingCache(tmp_path, segmenter)
    cache.get("../odd name", lambda: picture((8, 8)))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files == [cache.path("../odd name")]
    assert files[0].parent == tmp_path / f"v{VERSION}" / f"sha256-{'a' * 64}"


def test_nothing_is_left_of_an_encoder_that_fails(tmp_path, segmenter):
    segmenter.embed = lambda image: (_ for _ in ()).throw(MemoryError)
    with pytest.raises(MemoryError):
        EmbeddingCache(tmp_path, segmenter).get("a", lambda: None)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
