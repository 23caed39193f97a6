"""Pseudo-labels as one more term: against the formula written out, and in their place."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.methods.base import SemiBatch
from llmseg_cli.methods.pseudo_labels import SamMining, SelfTraining
from llmseg_cli.methods.usl import Usl
from llmseg_cli.registry import METHODS

SIDES = {2: (12, 10), 3: (10, 8, 3)}
CLASSES = 3

each_dimension = pytest.mark.parametrize("dimensions", [2, 3])
each_miner = pytest.mark.parametrize("method_type", [SamMining, SelfTraining])


class Heard(nn.Module):
    """A voxel-wise network that remembers every image it was asked about."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.layer = (nn.Conv2d if dimensions == 2 else nn.Conv3d)(1, CLASSES, 1)
        self.images: list[Tensor] = []

    def forward(self, image: Tensor) -> Tensor:
        self.images.append(image)
        return self.layer(image)


def make_method(method_type, *, dimensions: int = 3, **options):
    torch.manual_seed(0)
    return method_type(lambda: Heard(dimensions), **options).train()


def make_batch(dimensions: int = 3) -> SemiBatch:
    generator = torch.Generator().manual_seed(1)
    sides = SIDES[dimensions]
    pseudo = torch.randint(CLASSES, (3, *sides), generator=generator)
    pseudo[torch.rand(pseudo.shape, generator=generator) < 0.3] = UNKNOWN
    return SemiBatch(
        torch.rand(2, 1, *sides, generator=generator),
        torch.randint(CLASSES, (2, *sides), generator=generator),
        torch.rand(3, 1, *sides, generator=generator),
        pseudo,
    )


def without_pseudo(batch: SemiBatch) -> SemiBatch:
    return SemiBatch(batch.image, batch.target, batch.unlabeled)


def by_hand(logits: Tensor, target: Tensor) -> Tensor:
    """Half the cross entropy and half the Dice loss of the known voxels, laid in one row."""
    known = target != UNKNOWN
    row, true = logits.movedim(1, -1)[known], target[known]  # (V, K), (V,)
    entropy = nn.functional.cross_entropy(row, true)
    p, y = row.softmax(1)[:, 1:], nn.functional.one_hot(true, CLASSES)[:, 1:]
    dice = (2 * (p * y).sum(0) + 1e-5) / (p.square().sum(0) + y.sum(0) + 1e-5)
    return (entropy + 1 - dice.mean()) / 2


def gradients(method, batch: SemiBatch, *, progress: float = 1.0) -> list[Tensor]:
    torch.manual_seed(3)
    method.zero_grad()
    sum(method.losses(batch, progress=progress).values()).backward()
    return [p.grad for p in method.parameters() if p.requires_grad]


TAUGHT = [
    ("weak-to-strong", ""),
    ("copy-paste", ""),
    ("affine-consistency", ""),
    ("diffusion", ""),
]  # by pseudo-labels in place of a teacher


@pytest.mark.parametrize(
    ("name", "mines"),
    [
        *(("sam-mining", "sam"), ("self-training", "network"), ("rounds", "ensemble"), ("usl", "")),
        *TAUGHT,
    ],
)
def test_who_learns_from_pseudo_labels_and_who_makes_them(name, mines):
    assert METHODS.load(name).uses_pseudo
    assert METHODS.load(name).mines == mines
    others = set(METHODS) - {"sam-mining", "self-training", "rounds", "usl", *dict(TAUGHT)}
    assert not any(METHODS.load(other).uses_pseudo for other in others)


@each_miner
@each_dimension
def test_without_pseudo_labels_there_is_the_supervised_term_alone(method_type, dimensions):
    method, batch = make_method(method_type, dimensions=dimensions), make_batch(dimensions)
    expected = by_hand(method.network.layer(batch.image), batch.target)
    for one in (without_pseudo(batch), SemiBatch(batch.image, batch.target)):
        losses = method.losses(one, progress=0.5)
        assert list(losses) == ["supervised"]
        torch.testing.assert_close(losses["supervised"], expected)


@each_miner
@each_dimension
@pytest.mark.parametrize("progress", [0.0, 0.1, 1.0])
def test_equals_the_formula(method_type, dimensions, progress):
    options = {"weight": 0.3, "ramp": 0.25}
    method = make_method(method_type, dimensions=dimensions, **options)
    batch = make_batch(dimensions)
    losses = method.losses(batch, progress=progress)
    layer = method.network.layer
    factor = 0.3 * math.exp(-5 * (1 - min(progress / 0.25, 1)) ** 2)
    expected = {
        "supervised": by_hand(layer(batch.image), batch.target),
        "pseudo": factor * by_hand(layer(batch.unlabeled), batch.pseudo),
    }
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value, msg=name)


@each_miner
def test_by_default_pseudo_labels_count_in_full_from_the_start(method_type):
    method, batch = make_method(method_type), make_batch()
    losses = method.losses(batch, progress=0.0)
    expected = by_hand(method.network.layer(batch.unlabeled), batch.pseudo)
    torch.testing.assert_close(losses["pseudo"], expected)


@each_miner
def test_what_is_unknown_teaches_nothing(method_type):
    batch = make_batch()
    batch.pseudo.fill_(UNKNOWN)
    method = make_method(method_type)
    assert method.losses(batch, progress=1.0)["pseudo"].item() == 0
    for one, other in zip(
        gradients(method, batch),
        gradients(make_method(method_type), without_pseudo(batch)),
        strict=True,
    ):
        assert torch.equal(one, other)


@each_miner
def test_a_method_asks_its_network_once(method_type):
    method = make_method(method_type)
    method.losses(make_batch(), progress=1.0)
    assert len(method.network.images) == 1


# As a third source of co-training


def make_usl(dimensions: int = 3, **options) -> Usl:
    return make_method(Usl, dimensions=dimensions, **({"peer": "clean", "noise": 0.0} | options))


@each_dimension
def test_usl_has_two_more_terms_and_the_others_as_before(dimensions):
    batch = make_batch(dimensions)
    before = make_usl(dimensions)
    torch.manual_seed(3)
    expected = before.losses(without_pseudo(batch), progress=0.0)
    method = make_usl(dimensions, pseudo_weight=0.4)
    torch.manual_seed(3)
    losses = method.losses(batch, progress=0.0)
    assert losses.keys() - expected.keys() == {"pseudo_first", "pseudo_second"}
    for name, value in expected.items():
        assert torch.equal(losses[name], value), name
    first = 0.4 * by_hand(method.first.layer(batch.unlabeled), batch.pseudo)
    torch.testing.assert_close(losses["pseudo_first"], first)


@each_dimension
def test_pseudo_labels_are_pasted_as_the_images_are(dimensions, monkeypatch):
    """Each image shows its own label map, so the pasted ones must, too."""
    taught = []
    monkeypatch.setattr(
        Usl,
        "pseudo_loss",
        lambda self, logits, maps: taught.append((logits, maps)) or logits.sum() * 0,
    )
    drawn = make_batch(dimensions)
    target = torch.full_like(drawn.target, 1)
    pseudo = torch.where(drawn.pseudo == 1, 0, drawn.pseudo)  # so that 1 is of labeled cases
    batch = SemiBatch(target[:, None].float(), target, pseudo[:, None].float(), pseudo)
    method = make_usl(dimensions)
    for seed in range(5):
        torch.manual_seed(seed)
        method.losses(batch, progress=1.0)
    crossed = False
    for number in range(5):
        (first, own), (second, pasted) = taught[2 * number : 2 * number + 2]
        image = method.second.images[2 * number + 1][2:]  # after its answer as a peer
        assert torch.equal(own, pseudo)
        assert torch.equal(first, method.first.layer(batch.unlabeled))
        assert torch.equal(pasted.float(), image[:, 0])
        assert torch.equal(second, method.second.layer(image))
        crossed = crossed or bool((pasted == 1).any())
    assert crossed  # true labels came along with labeled patches


@each_dimension
def test_without_weight_pseudo_labels_change_no_gradient(dimensions):
    method = make_usl(dimensions, noise=0.1, pseudo_weight=0.0)
    twin, batch = copy.deepcopy(method), make_batch(dimensions)
    pairs = zip(gradients(method, batch), gradients(twin, without_pseudo(batch)), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    heavy = gradients(make_usl(dimensions, noise=0.1, pseudo_weight=2.0), batch)
    assert not torch.equal(heavy[0], gradients(twin, without_pseudo(batch))[0])


@pytest.mark.parametrize("peer", ["clean", "noisy", "average"])
def test_every_kind_of_peer_takes_pseudo_labels(peer):
    method = make_usl(peer=peer)
    losses = method.losses(make_batch(), progress=0.5)
    assert {"pseudo_first", "pseudo_second"} < losses.keys()
    for term, learner, other in (
        ("pseudo_first", method.first, method.second),
        ("pseudo_second", method.second, method.first),
    ):
        method.zero_grad()
        losses[term].backward(retain_graph=True)
        assert learner.layer.weight.grad.any()
        assert other.layer.weight.grad is None
