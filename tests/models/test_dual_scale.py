"""DEC-Seg's fusion: its formula and size, and its answers around every network."""

import pytest
import torch
from torch import nn

from llmseg_cli.errors import UsageError
from llmseg_cli.methods.supervision import supervise
from llmseg_cli.models.dual_scale import WIDTH, Complementary, DualScale, copy_sides
from llmseg_cli.models.local_global import build_network
from llmseg_cli.models.text_fusion import TextFeatures, TextFused
from llmseg_cli.numerics.scales import enlarged, reduced
from llmseg_cli.registry import MODELS

EXTRA = {
    "vit": {"token": 4, "depth": 2},
    "medvisionllama": {"token": 4, "depth": 2},
    "catformer": {"width": 12, "heads": 2, "iterations": 2, "layers": 0},
}


def made(name="unet", *, dimensions=2, dual_scale="own", **options) -> DualScale:
    torch.manual_seed(0)
    given = {"filters": 4, "dual_scale": dual_scale, **EXTRA.get(name, {}), **options}
    found = build_network(name, MODELS.load(name), 1, 3, {"dimensions": dimensions, **given})
    assert isinstance(found, DualScale)
    return found


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_fusion_has_the_published_parameters():
    assert count(Complementary(64, 64, 2)) == 148_228
    assert count(Complementary(256, 256, 2)) == 2_362_372


@torch.no_grad()
def test_the_fusion_written_out():
    torch.manual_seed(0)
    fusion = Complementary(2, 3, 2).eval()
    for layer in fusion.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_mean, -0.2, 0.2)
            nn.init.uniform_(layer.weight, 0.5, 2)
    first, second = torch.randn(2, 2, 2, 5, 4)

    def block(part: nn.Sequential, features: torch.Tensor) -> torch.Tensor:
        convolution, norm, _ = part
        found = nn.functional.conv2d(
            features, convolution.weight, padding=convolution.weight.shape[2] // 2
        )
        spread = (norm.running_var + norm.eps).sqrt().view(1, -1, 1, 1)
        scaled = (found - norm.running_mean.view(1, -1, 1, 1)) / spread
        return (scaled * norm.weight.view(1, -1, 1, 1) + norm.bias.view(1, -1, 1, 1)).relu()

    p, q = block(fusion.first, first), block(fusion.second, second)
    left = block(fusion.third, p + q / (1 + (-q).exp()))
    right = block(fusion.fourth, q + p / (1 + (-p).exp()))
    gate = block(fusion.gate, torch.cat([left, right], dim=1)).exp()
    expected = (gate[:, :1] * left + gate[:, 1:] * right) / gate.sum(dim=1, keepdim=True)
    torch.testing.assert_close(fusion(first, second), expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_of_two_equal_maps_and_branches_the_gate_does_not_matter():
    fusion = Complementary(4, 4, 2).eval()
    fusion.second.load_state_dict(fusion.first.state_dict())
    fusion.fourth.load_state_dict(fusion.third.state_dict())
    features = torch.randn(1, 4, 6, 6)
    before = fusion(features, features)
    nn.init.normal_(fusion.gate[0].weight, std=5)
    torch.testing.assert_close(fusion(features, features), before)


@pytest.mark.parametrize("name", MODELS.names())
@pytest.mark.parametrize(("dimensions", "kind"), [(2, "own"), (2, "shared"), (3, "own")])
def test_every_network_answers_and_is_trained_as_a_whole(name, dimensions, kind):
    network = made(name, dimensions=dimensions, dual_scale=kind)
    image = torch.randn(2, 1, *((64, 128) if dimensions == 2 else (32, 32, 64)))
    target = torch.randint(3, image[:, 0].shape)
    _, loss = supervise(network, image, target)
    loss.backward()
    for key, weight in network.named_parameters():
        assert weight.grad is not None, key
        assert weight.grad.isfinite().all(), key
    network.eval()
    with torch.no_grad():
        answer, heads = network(image), network(image, heads=True)
        bottleneck, skips = network.encode(image)
        torch.testing.assert_close(network.decode(bottleneck, skips), answer)
    assert answer.shape == (2, 3, *image.shape[2:])
    torch.testing.assert_close(network.together(heads), answer)
    torch.testing.assert_close(heads[0], answer)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["own", "shared"])
def test_heads_are_the_fused_answer_the_copy_s_and_the_image_s(kind):
    network = made(dual_scale=kind).eval()
    image = torch.randn(1, 1, 64, 96)
    fused, smaller, whole = network(image, heads=True)
    torch.testing.assert_close(whole, network.whole(image))
    copy = reduced(image, (32, 48))
    own = network.whole if kind == "shared" else network.smaller
    torch.testing.assert_close(smaller, enlarged(own(copy), (64, 96)))
    torch.testing.assert_close(fused, network.output(network.fusion(whole, smaller)))
    assert network.output.weight.shape == (3, WIDTH, 3, 3)


def test_copies_have_the_sides_of_the_method():
    network = made(dual_scale="shared")
    assert copy_sides(network.whole, (352, 224)) == (176, 112)
    assert copy_sides(network.whole, (16, 48)) == (16, 32)


def test_it_starts_as_the_network_that_it_is_around_does():
    torch.manual_seed(0)
    alone = MODELS.load("unet")(1, 3, dimensions=2, filters=4)
    state = made().whole.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in alone.state_dict().items())


def test_shared_has_no_weights_but_those_of_the_fusion_besides():
    shared, own = made(dual_scale="shared"), made(dual_scale="own")
    fusion = count(shared.fusion) + count(shared.output)
    assert count(shared) == count(shared.whole) + fusion
    assert count(own) == 2 * count(shared.whole) + fusion


@torch.no_grad()
def test_text_enters_at_full_size():
    ids = torch.randint(9, (2, 1, 4))
    text = TextFeatures(ids, torch.ones_like(ids).bool(), torch.randn(2, 1, 5))
    network = made()
    fused = TextFused(network, text, fusion="token-map", patch=(64, 64)).eval()
    image = torch.randn(1, 1, 64, 64)
    bottleneck, skips = network.whole.encode(image)
    whole = network.whole.decode(fused.fusion(bottleneck, text), skips)
    smaller = enlarged(network.smaller(reduced(image, (32, 32))), (64, 64))
    torch.testing.assert_close(fused(image), network.output(network.fusion(whole, smaller)))


def test_a_network_of_one_size_has_another_for_its_copies_or_is_refused():
    options = {"dimensions": 2, "patch": (128, 64), "feature_size": 4, "hidden_size": 12,
               "mlp_dim": 12, "num_heads": 2}  # fmt: skip
    build = MODELS.load("monai:UNETR")
    network = build_network("monai:UNETR", build, 1, 2, {**options, "dual_scale": "own"}).eval()
    assert network.smaller.built_for == (64, 32)
    assert network(torch.randn(1, 1, 128, 64)).shape == (1, 2, 128, 64)
    with pytest.raises(UsageError, match="dual_scale=shared: this network takes patches of one"):
        build_network("monai:UNETR", build, 1, 2, {**options, "dual_scale": "shared"})


def test_what_is_refused():
    with pytest.raises(UsageError, match="local_global and dual_scale are two strategies"):
        made(local_global=True)
    with pytest.raises(UsageError, match="'both'"):
        made(dual_scale="both")


def test_every_network_knows_the_option():
    for name in (*MODELS.names(), "monai:UNet"):
        assert MODELS.defaults(name)["dual_scale"] == "none"
        assert MODELS.fit_options(name, {"dual_scale": "own"}, place="") == {"dual_scale": "own"}
