"""The encoder of LiteMedSAM against values of the authors' own code, with their weights."""

import pytest
import torch
from tiny_sam import published_picture

from llmseg_cli.knowledge.sam.choose import open_segmenter
from llmseg_cli.knowledge.sam.tiny_vit import TinyViT


@pytest.mark.weights
def test_the_embedding_is_that_of_the_authors_code(weights_cache):
    """Computed with github.com/bowang-lab/MedSAM, branch LiteMedSAM."""
    segmenter = open_segmenter(
        "lite-medsam", device=torch.device("cpu"), dtype=torch.float32, cache=weights_cache
    )
    (half,) = segmenter.embed(published_picture())
    assert half.shape == (256, 64, 64)
    assert half.dtype == torch.float16
    embedding = half.float()
    assert float(embedding.mean()) == pytest.approx(-0.0002459145, abs=1e-6)
    assert float(embedding.square().mean()) == pytest.approx(0.0116110519, abs=1e-6)
    expected = {
        (0, 10, 20, 30): -0.0706308857,
        (0, 200, 5, 60): -0.0056927577,
        (0, 77, 63, 0): -0.1190132499,
    }
    for place, value in expected.items():
        assert float(embedding[place[1:]]) == pytest.approx(value, abs=1e-6, rel=2**-11)


def test_windows_that_do_not_fit_are_filled_with_zeros():
    """Attention by a loop over windows, on a side that neither 7 nor 14 divides."""
    torch.manual_seed(0)
    block = TinyViT(8).layers[1].blocks[0].eval()
    torch.nn.init.normal_(block.attn.attention_biases)
    features = torch.randn(2, 128, 10, 9)
    padded = torch.zeros(2, 128, 14, 14)
    padded[:, :, :10, :9] = features
    expected = torch.zeros_like(padded)
    for row in (0, 7):
        for column in (0, 7):
            window = padded[:, :, row : row + 7, column : column + 7]
            answer = attention(block.attn, window.flatten(2).mT)
            expected[:, :, row : row + 7, column : column + 7] = answer.mT.unflatten(2, (7, 7))
    with torch.no_grad():
        found = block._attend(features)
    torch.testing.assert_close(found, expected[:, :, :10, :9], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def attention(layer, tokens):
    """Head by head and softmax by hand: `(B, 49, 128)`, 4 heads of 32."""
    projected = layer.qkv(layer.norm(tokens))
    x, y = torch.arange(49) // 7, torch.arange(49) % 7
    offset = (x[:, None] - x).abs() * 7 + (y[:, None] - y).abs()
    heads = []
    for head, mine in enumerate(projected.split(96, dim=2)):
        query, key, value = mine.split(32, dim=2)
        scores = query @ key.mT / 32**0.5 + layer.attention_biases[head][offset]
        heads.append(scores.softmax(2) @ value)
    return layer.proj(torch.cat(heads, 2))
