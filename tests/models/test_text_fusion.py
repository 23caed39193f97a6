"""The map against its formula, which text is used when, and that a state dict is enough."""

import pytest
import torch
import torch.nn.functional as F
from processor import both_formats, computing_in, keeps_layout
from safetensors.torch import load, save

from llmseg_cli.errors import UsageError
from llmseg_cli.models.text_features import TextFeatures
from llmseg_cli.models.text_fusion import FUSIONS, TextFused, text_in
from llmseg_cli.models.unet import UNet
from llmseg_cli.models.vnet import VNet
from llmseg_cli.registry import MODELS

PATCH, GRID = (32, 48, 16), (2, 3, 1)


def make_text(*, classes: int = 1, texts: int = 3, length: int = 6, width: int = 5):
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(100, 30000, (classes, texts, length), generator=generator)
    mask = torch.arange(length).expand(ids.shape) < length - 2
    pooled = torch.randn(classes, texts, width, generator=generator)
    tokens = torch.randn(classes, texts, length, width, generator=generator)
    return TextFeatures(ids, mask, pooled, tokens=tokens)


def make_network(fusion: str, text: TextFeatures | None = None) -> TextFused:
    torch.manual_seed(2)
    backbone = VNet(1, 3, filters=2, dropout=0)
    return TextFused(backbone, text or make_text(), fusion=fusion, patch=PATCH)


def map_by_the_formula(network: TextFused, cls: int, text: int) -> torch.Tensor:
    """Min-max over the padded ids, two linear layers, sigmoid, one value per bottleneck voxel."""
    ids = [
        float(i) if there else 0.0
        for i, there in zip(
            network.text_token_ids[cls, text], network.text_mask[cls, text], strict=True
        )
    ]
    t = torch.tensor([(i - min(ids)) / (max(ids) - min(ids)) for i in ids])
    state = network.state_dict()
    prefix = next(k for k in state if k.endswith("mapper.0.weight")).removesuffix("0.weight")
    hidden = state[prefix + "0.weight"] @ t + state[prefix + "0.bias"]
    logits = state[prefix + "1.weight"] @ hidden + state[prefix + "1.bias"]
    assert hidden.shape == (2 * len(t),)
    return (1 / (1 + (-logits).exp())).reshape(GRID)


@pytest.mark.parametrize("fusion", ["token-map", "token-map-balance"])
@pytest.mark.parametrize("classes", [1, 2])
def test_evaluation_adds_the_mean_map_to_every_channel(fusion, classes):
    network = make_network(fusion, make_text(classes=classes)).eval()
    bottleneck = torch.randn(2, 32, *GRID)
    maps = [map_by_the_formula(network, n, t) for n in range(classes) for t in range(3)]
    expected = bottleneck + torch.stack(maps).mean(0)
    torch.testing.assert_close(network.fusion(bottleneck, network.text), expected)


def test_balance_scales_the_map():
    network = make_network("token-map-balance").eval()
    bottleneck = torch.randn(2, 32, *GRID)
    once = network.fusion(bottleneck, network.text) - bottleneck
    with torch.no_grad():
        network.fusion.balance.fill_(-0.5)
    torch.testing.assert_close(
        network.fusion(bottleneck, network.text) - bottleneck, -0.5 * once, atol=1e-6, rtol=1e-5
    )


def test_training_draws_one_text_per_case_from_the_global_generator():
    network = make_network("token-map").train()
    bottleneck = torch.zeros(40, 32, *GRID)
    maps = torch.stack([map_by_the_formula(network, 0, t) for t in range(3)])
    torch.manual_seed(5)
    added = network.fusion(bottleneck, network.text)[:, 0]
    match = (added[:, None] - maps[None]).abs().amax((2, 3, 4)) < 1e-6  # (40, 3)
    assert (match.sum(1) == 1).all()
    assert match.any(0).all()
    torch.manual_seed(5)
    torch.testing.assert_close(network.fusion(bottleneck, network.text)[:, 0], added)


def test_training_draws_for_each_class_on_its_own():
    network = make_network("token-map", make_text(classes=2, texts=2)).train()
    maps = [[map_by_the_formula(network, n, t) for t in range(2)] for n in range(2)]
    pairs = torch.stack([(maps[0][i] + maps[1][j]) / 2 for i in range(2) for j in range(2)])
    torch.manual_seed(0)
    added = network.fusion(torch.zeros(40, 32, *GRID), network.text)[:, 0]
    match = (added[:, None] - pairs[None]).abs().amax((2, 3, 4)) < 1e-6
    assert (match.sum(1) == 1).all()
    assert match.any(0).all()


def test_modulation_starts_as_the_identity_and_then_scales_and_shifts():
    network = make_network("sentence-modulation").eval()
    bottleneck = torch.randn(2, 32, *GRID)
    torch.testing.assert_close(network.fusion(bottleneck, network.text), bottleneck)
    torch.nn.init.normal_(network.fusion.mapper.weight)
    mapper, pooled = network.fusion.mapper, network.text_pooled[0]
    scale, shift = (pooled @ mapper.weight.T + mapper.bias).mean(0).split(32)
    expected = bottleneck.movedim(1, -1) * (1 + scale) + shift
    torch.testing.assert_close(
        network.fusion(bottleneck, network.text), expected.movedim(-1, 1), atol=1e-5, rtol=1e-5
    )


def test_another_patch_gets_the_map_interpolated():
    network = make_network("token-map").eval()
    maps = [map_by_the_formula(network, 0, t) for t in range(3)]
    expected = F.interpolate(torch.stack(maps).mean(0)[None, None], (3, 3, 2), mode="trilinear")
    added = network.fusion(torch.zeros(1, 32, 3, 3, 2), network.text)
    torch.testing.assert_close(added[:, :1], expected)
    assert network(torch.randn(1, 1, 48, 48, 32)).shape == (1, 3, 48, 48, 32)


@pytest.mark.parametrize("fusion", list(FUSIONS))
def test_gradient_reaches_every_parameter(fusion):
    network = make_network(fusion)
    if fusion == "query-attention":  # starts at zero, where nothing goes through it
        torch.nn.init.normal_(network.fusion.output.weight)
    network(torch.randn(2, 1, *PATCH)).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    assert all(p.grad.any() for p in network.fusion.parameters())


@pytest.mark.parametrize("fusion", list(FUSIONS))
def test_a_state_dict_is_enough(fusion):
    network = make_network(fusion).eval()
    state = load(save({"a": torch.zeros(1), **network.state_dict()}))
    state.pop("a")
    text = text_in(state)
    torch.manual_seed(3)
    again = TextFused(VNet(1, 3, filters=2), text, fusion=fusion, patch=PATCH).eval()
    again.load_state_dict(state)
    image = torch.randn(1, 1, *PATCH)
    torch.testing.assert_close(again(image), network(image), rtol=0, atol=0)
    assert text_in(network.backbone.state_dict()) is None


def test_loaded_text_replaces_the_text_it_was_built_with():
    blank = TextFeatures(
        torch.zeros(1, 3, 6).long(), torch.ones(1, 3, 6).bool(), torch.zeros(1, 3, 5)
    )
    network, other = make_network("token-map").eval(), make_network("token-map", blank).eval()
    bottleneck = torch.zeros(1, 32, *GRID)
    expected = network.fusion(bottleneck, network.text)
    assert not torch.equal(other.fusion(bottleneck, other.text), expected)
    other.load_state_dict(network.state_dict())
    torch.testing.assert_close(other.fusion(bottleneck, other.text), expected)


def test_two_networks_with_one_text_do_not_share_memory():
    text = make_text()
    pair = torch.nn.ModuleList(make_network("token-map", text) for _ in range(2))
    save(pair.state_dict())  # refuses shared memory


@pytest.mark.parametrize("fusion", list(FUSIONS))
@pytest.mark.parametrize("backbone", [VNet, UNet])
@both_formats
def test_runs_with_channels_last(fusion, backbone, dtype):
    layout = torch.channels_last_3d
    network = TextFused(backbone(1, 2, filters=2), make_text(), fusion=fusion, patch=PATCH)
    network = network.to(memory_format=layout)
    with computing_in(dtype):
        bottleneck, skips = network.encode(torch.randn(2, 1, *PATCH).to(memory_format=layout))
        fused = network.fusion(bottleneck, network.text)
        logits = network.decode(bottleneck, skips)
    assert fused.dtype == logits.dtype == dtype
    assert fused.is_contiguous(memory_format=layout) or not keeps_layout(dtype)
    logits.float().square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_in_two_dimensions():
    network = TextFused(VNet(3, 2, dimensions=2, filters=2), make_text(), patch=(32, 48))
    assert network(torch.randn(2, 3, 32, 48)).shape == (2, 2, 32, 48)
    assert network(torch.randn(2, 3, 48, 48)).shape == (2, 2, 48, 48)


def test_ids_that_are_all_the_same_give_zero():
    text = TextFeatures(torch.full((1, 1, 4), 7), torch.ones(1, 1, 4).bool(), torch.zeros(1, 1, 2))
    assert not text.normalized_ids().any()


def test_padding_counts_as_zero_whatever_its_id():
    mask = torch.tensor([[[True, True, False]]])
    text = TextFeatures(torch.tensor([[[50, 100, 9999]]]), mask, torch.zeros(1, 1, 2))
    torch.testing.assert_close(text.normalized_ids(), torch.tensor([[[0.5, 1.0, 0.0]]]))


def test_an_unknown_fusion_is_corrected():
    with pytest.raises(UsageError, match=r"Unknown fusion 'tokenmap'\. Did you mean 'token-map'"):
        make_network("tokenmap")


def test_a_patch_the_backbone_does_not_divide_is_refused():
    with pytest.raises(UsageError, match="Instead of 30 use 16 or 32"):
        TextFused(VNet(1, 2, filters=2), make_text(), patch=(30, 48, 16))


def test_texts_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match="expected"):
        TextFeatures(torch.zeros(1, 2, 3).long(), torch.ones(1, 2, 4).bool(), torch.zeros(1, 2, 5))
    with pytest.raises(ValueError, match="no text"):
        TextFeatures(torch.zeros(1, 0, 3).long(), torch.ones(1, 0, 3).bool(), torch.zeros(1, 0, 5))


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("name", list(MODELS))
def test_with_and_without_text_all_other_weights_start_alike(name, fusion):
    """Two networks one after the other, as co-training builds them, and whatever is drawn next."""

    def backbone():
        return MODELS.load(name)(1, 2, dimensions=2, filters=8)

    torch.manual_seed(7)
    plain, drawn = [backbone(), backbone()], torch.rand(4)
    torch.manual_seed(7)
    fused = [TextFused(backbone(), make_text(), fusion=fusion, patch=(64, 64)) for _ in range(2)]
    assert torch.equal(torch.rand(4), drawn)
    for one, other in zip(plain, fused, strict=True):
        state = other.backbone.state_dict()
        assert state.keys() == one.state_dict().keys()
        for key, value in one.state_dict().items():
            assert torch.equal(state[key], value), key


@pytest.mark.parametrize("fusion", ["token-map", "token-map-balance"])
def test_fusion_weights_follow_the_seed_and_differ_between_networks(fusion):
    def mappers(seed: int) -> list[torch.Tensor]:
        torch.manual_seed(seed)
        made = [
            TextFused(VNet(1, 2, filters=2), make_text(), fusion=fusion, patch=PATCH)
            for _ in range(2)
        ]
        return [
            next(v for k, v in one.fusion.state_dict().items() if k.endswith("0.weight"))
            for one in made
        ]

    first, second = mappers(1)
    assert torch.equal(mappers(1)[0], first)
    assert not torch.equal(first, second)
    assert not torch.equal(mappers(2)[0], first)
