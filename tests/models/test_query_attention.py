"""Query attention against attention written by hand, and texts of cases against texts of all."""

import copy
import math

import pytest
import torch

from llmseg_cli.models.query_attention import HEADS, WIDTH, QueryAttention
from llmseg_cli.models.text_features import TextBank, TextFeatures
from llmseg_cli.models.text_fusion import FUSIONS, TextFused, begin
from llmseg_cli.models.vnet import VNet
from llmseg_cli.registry import MODELS
from llmseg_cli.workflows.runs.sides import sides_for

GRID, CHANNELS = (2, 3, 2), 5


def make_text(*shape: int, seed: int = 0, length: int = 6, width: int = 7) -> TextFeatures:
    """Random texts, `(N, T)` or `(M, N, T)` of them, each of 3 to *length* tokens."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(100, 30000, (*shape, length), generator=generator)
    counts = torch.randint(3, length + 1, shape, generator=generator)
    mask = torch.arange(length) < counts[..., None]
    pooled = torch.randn(*shape, width, generator=generator)
    tokens = torch.randn(*shape, length, width, generator=generator)
    return TextFeatures(ids, mask, pooled, tuple("ab"[: shape[-2]]), tokens)


def make_fusion(text: TextFeatures) -> QueryAttention:
    torch.manual_seed(3)
    fusion = QueryAttention(text, channels=CHANNELS, grid=GRID)
    torch.nn.init.normal_(fusion.output.weight)
    return fusion.eval()


def by_hand(attention, asking, asked, keep=None):
    """softmax(Q K^T / sqrt d) V, head by head, with the weights of a layer of torch."""
    weights = attention.in_proj_weight.chunk(3)
    biases = attention.in_proj_bias.chunk(3)
    query, key, value = (
        given @ weight.T + bias
        for given, weight, bias in zip((asking, asked, asked), weights, biases, strict=True)
    )
    heads, size = [], WIDTH // HEADS
    for head in range(HEADS):
        part = slice(head * size, (head + 1) * size)
        scores = query[:, part] @ key[:, part].T / math.sqrt(size)
        if keep is not None:
            scores[:, ~keep] = -math.inf
        heads.append(scores.exp() / scores.exp().sum(1, keepdim=True) @ value[:, part])
    joined = torch.cat(heads, dim=1)
    return joined @ attention.out_proj.weight.T + attention.out_proj.bias


@pytest.mark.parametrize("shape", [(1, 1), (2, 3)])
def test_the_answer_is_that_of_attention_by_hand(shape):
    text = make_text(*shape)
    fusion = make_fusion(text)
    bottleneck = torch.randn(1, CHANNELS, *GRID)
    voxels = fusion.voxel_norm(fusion.voxels(bottleneck[0].reshape(CHANNELS, -1).T))
    words = torch.cat(
        [fusion.words(text.tokens[n, t]) + fusion.classes[n] for n in range(shape[0])
         for t in range(shape[1])]
    )  # fmt: skip
    words, keep = fusion.word_norm(words), text.mask.flatten()
    queries = fusion.queries
    queries = queries + by_hand(fusion.to_words, fusion.norms[0](queries), words, keep)
    queries = queries + by_hand(fusion.to_voxels, fusion.norms[1](queries), voxels)
    queries = queries + fusion.mlp(fusion.norms[2](queries))
    heard = by_hand(fusion.to_queries, voxels, fusion.norms[3](queries))
    expected = bottleneck[0] + fusion.output(heard).T.reshape(CHANNELS, *GRID)
    torch.testing.assert_close(fusion(bottleneck, text)[0], expected, atol=1e-5, rtol=1e-4)


def test_it_starts_as_the_network_without_text():
    text = make_text(2, 2)
    fusion = QueryAttention(text, channels=CHANNELS, grid=GRID)
    bottleneck = torch.randn(2, CHANNELS, *GRID)
    assert torch.equal(fusion(bottleneck, text), bottleneck)


def test_voxels_have_no_place_and_padding_says_nothing():
    text = make_text(1, 2)
    fusion, bottleneck = make_fusion(text), torch.randn(2, CHANNELS, *GRID)
    order = torch.randperm(math.prod(GRID))
    shuffled = bottleneck.flatten(2)[..., order].view_as(bottleneck)
    expected = fusion(bottleneck, text).flatten(2)[..., order].view_as(bottleneck)
    torch.testing.assert_close(fusion(shuffled, text), expected, atol=1e-5, rtol=1e-4)
    tokens = text.tokens.masked_fill(~text.mask.unsqueeze(-1), 1e3)
    other = TextFeatures(text.token_ids, text.mask, text.pooled, tokens=tokens)
    assert torch.equal(fusion(bottleneck, other), fusion(bottleneck, text))
    assert not torch.equal(fusion(bottleneck, make_text(1, 2, seed=9)), fusion(bottleneck, text))


def test_without_token_vectors_there_is_nothing_to_attend_to():
    text = make_text(1, 1)
    with pytest.raises(ValueError, match="token vectors"):
        QueryAttention(
            TextFeatures(text.token_ids, text.mask, text.pooled), channels=2, grid=(1, 1)
        )


@pytest.mark.parametrize("name", MODELS.names())
@pytest.mark.parametrize("patch", [(64, 64), (64, 64, 64)], ids=str)
def test_every_network_with_a_bottleneck_takes_it_on_meta(name, patch):
    text = make_text(2, 1).of(lambda held: held.to("meta"))
    with torch.device("meta"):
        network = MODELS.load(name)(1, 3, **sides_for(name, patch))
        fused = TextFused(network, text, fusion="query-attention", patch=patch).eval()
        bottleneck, skips = fused.encode(torch.randn(2, 1, *patch))
        found = fused.fusion(bottleneck, text)  # autocast, around it, knows no such device
        assert found.shape == bottleneck.shape
        assert network.decode(found, skips).shape == (2, 3, *patch)


def bank_and_network(fusion: str) -> tuple[TextBank, TextFeatures, TextFused]:
    texts = make_text(4, 2, 1)
    bank = TextBank(texts, ["a", "b", "c", "d"])
    torch.manual_seed(1)
    network = TextFused(VNet(1, 3, filters=2, dropout=0), bank, fusion=fusion, patch=(16, 16, 32))
    for name, value in network.fusion.named_parameters():
        if name in ("output.weight", "mapper.weight") and not value.any():
            torch.nn.init.normal_(value)  # fusions that start at zero
    return bank, texts, network


@pytest.mark.parametrize("fusion", list(FUSIONS))
def test_each_image_of_a_batch_has_its_own_text(fusion):
    bank, texts, network = bank_and_network(fusion)
    images = torch.randn(3, 1, 16, 16, 32)
    rows = torch.tensor([2, 0, 2])
    for training in (True, False):  # one text of each class, so that nothing is drawn
        network.train(training)
        network.backbone.eval()
        found = network(images, texts=rows)
        for number, row in enumerate(rows.tolist()):
            alone = texts.of(lambda held, row=row: held[row])
            network_alone = TextFused(
                network.backbone, alone, fusion=fusion, patch=(16, 16, 32)
            ).eval()
            network_alone.fusion.load_state_dict(network.fusion.state_dict())
            expected = network_alone(images[number : number + 1])
            torch.testing.assert_close(found[number : number + 1], expected, atol=1e-5, rtol=1e-4)
    bottleneck = torch.randn(1, 32, 1, 1, 2)
    one, other = (network.fusion(bottleneck, bank.rows(torch.tensor([row]))) for row in (0, 1))
    assert not torch.allclose(one, other)


@pytest.mark.parametrize("fusion", list(FUSIONS))
def test_a_case_is_looked_at_until_another_is(fusion):
    bank, _, network = bank_and_network(fusion)
    network.eval()
    image = torch.randn(2, 1, 16, 16, 32)
    with pytest.raises(ValueError, match="without the text of a case"):
        network(image)
    begin([network], "c")
    torch.testing.assert_close(network(image), network(image, texts=torch.tensor([2, 2])))
    begin([network], "a")
    torch.testing.assert_close(network(image), network(image, texts=torch.tensor([0, 0])))
    with pytest.raises(KeyError):
        begin([network], "nobody")
    assert copy.deepcopy(network).bank is bank
    assert not any(value.any() for key, value in network.state_dict().items() if "text_" in key)


def test_a_bank_refuses_what_is_none():
    texts = make_text(2, 1, 1)
    with pytest.raises(ValueError, match="of 1 cases"):
        TextBank(texts, ["a"])
    with pytest.raises(ValueError, match="twice"):
        TextBank(texts, ["a", "a"])
