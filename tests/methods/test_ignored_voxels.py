"""Every method, every loss: voxels of the ignore label teach nothing, the others all they do."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.methods.base import Method, SemiBatch
from llmseg_cli.models.unetpp import UNetPlusPlus
from llmseg_cli.models.vnet import VNet
from llmseg_cli.registry import LOSSES, METHODS, methods_of_labels

CLASSES, SIDES, LABELED = 3, (32, 16), 2
DEEP = ("dice-ce", True)  # supervision of several heads

each_method = pytest.mark.parametrize("name", methods_of_labels())
each_loss = pytest.mark.parametrize("loss", LOSSES.names())


def make_method(name: str, loss: str, *, deep: bool = False, **options) -> Method:
    torch.manual_seed(0)

    def build() -> nn.Module:
        if deep:
            return UNetPlusPlus(1, CLASSES, dimensions=2, filters=2, deep_supervision=True)
        return VNet(1, CLASSES, dimensions=2, filters=2)

    made: Method = METHODS.load(name)(build, **options)
    made.segmentation_loss = LOSSES.load(loss)
    return made.train()


def make_batch(share: float = 0.6) -> SemiBatch:
    """Patches of which a random *share* of the labeled voxels is known."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(LABELED, 1, *SIDES, generator=generator)
    target = torch.randint(CLASSES, (LABELED, *SIDES), generator=generator)
    unknown = torch.rand(target.shape, generator=generator) >= share
    others = torch.randn(3, 1, *SIDES, generator=generator)
    pseudo = torch.randint(CLASSES, (3, *SIDES), generator=generator)
    return SemiBatch(images, target.masked_fill(unknown, UNKNOWN), others, pseudo, True)


def trained_passes(method: Method) -> list[list[Tensor]]:
    """Fills with the logits of each pass that is trained, a list of its heads."""
    passes: list[list[Tensor]] = []

    def note(module: nn.Module, given: object, answer: Tensor | list[Tensor]) -> None:
        heads = answer if isinstance(answer, list) else [answer]
        if heads[0].requires_grad:
            passes.append(heads)

    for network in method.networks().values():
        network.register_forward_hook(note)
    return passes


def by_hand(loss: str, logits: Tensor, target: Tensor) -> float:
    """The loss in plain numpy, over the known voxels alone, taken out one by one."""
    known = (target != UNKNOWN).numpy()
    scores = logits[: len(target)].detach().double().movedim(1, -1).numpy()[known]  # (N, K)
    true = target.numpy()[known]
    p = np.exp(scores - scores.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    y = np.eye(CLASSES)[true]
    if loss.startswith("dice-ce") or loss == "mutation":  # of one head
        entropy = -np.log(p[np.arange(len(true)), true]).mean()
        overlap = 2 * (p * y).sum(0) + 1e-5
        dice = 1 - overlap / ((p**2).sum(0) + y.sum(0) + 1e-5)
        first = 1 if loss == "dice-ce" else 0
        share = 0.5 if loss in ("dice-ce", "dice-ce-background") else 0.7
        return float((1 - share) * entropy + share * dice[first:].mean())
    entropies = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean(0)
    s = np.eye(CLASSES)[p.argmax(1)] if loss == "hard-dice-bce" else p
    dice = 1 - (2 * (s * y).sum(0) + 1) / (s.sum(0) + y.sum(0) + 1)
    return float((0.5 * entropies + 0.5 * dice)[1:].mean())


@pytest.mark.parametrize(
    "name", sorted({*methods_of_labels()} - {"copy-paste", "dec-seg", "diffusion"})
)  # which mixes them, which shrinks them, and which passes once with two answers, below
@pytest.mark.parametrize(("loss", "deep"), [*((loss, False) for loss in LOSSES.names()), DEEP])
def test_the_supervised_loss_is_that_over_the_known_voxels(name, loss, deep):
    method, batch = make_method(name, loss, deep=deep), make_batch()
    passes = trained_passes(method)
    found = method.losses(batch, progress=0.7)
    supervised = [term for key, term in found.items() if key.startswith("supervised")]
    assert len(passes) == len(supervised)
    for heads, term in zip(passes, supervised, strict=True):
        expected = np.mean([by_hand(loss, head, batch.target) for head in heads])
        assert term.item() == pytest.approx(expected, rel=2e-5)
    whole = SemiBatch(batch.image, batch.target % CLASSES, batch.unlabeled, batch.pseudo)
    torch.manual_seed(0)
    other = make_method(name, loss, deep=deep).losses(whole, progress=0.7)
    changed = [other[key].item() != found[key].item() for key in found if "supervised" in key]
    assert all(changed)


@each_method
@each_loss
def test_all_known_is_the_loss_without(name, loss):
    results = []
    for has_unknown in (False, True):
        batch = make_batch(share=1.0)
        batch = SemiBatch(batch.image, batch.target, batch.unlabeled, batch.pseudo, has_unknown)
        method = make_method(name, loss)
        torch.manual_seed(3)
        results.append([term.item() for term in method.losses(batch, progress=1.0).values()])
    assert results[0] == pytest.approx(results[1], rel=1e-5)


@each_method
@each_loss
def test_nothing_known_is_no_supervised_loss_and_no_nan(name, loss):
    method, batch = make_method(name, loss), make_batch(share=0.0)
    assert (batch.target == UNKNOWN).all()
    found = method.losses(batch, progress=1.0)
    for key, term in found.items():
        assert torch.isfinite(term), key
        assert term.item() == 0 or not key.startswith("supervised"), key
    sum(found.values()).backward()
    grads = [p.grad for p in method.parameters() if p.grad is not None]
    assert all(torch.isfinite(grad).all() for grad in grads)


@pytest.mark.parametrize("deep", [False, True])
def test_copy_paste_counts_the_known_voxels_of_labeled_images_wherever_they_are(deep):
    """The unknown have impossible intensities, by which they are found in the mixed images."""
    method, batch = make_method("copy-paste", "dice-ce", deep=deep), make_batch()
    unknown = batch.target == UNKNOWN
    batch.image[unknown[:, None]] = 100.0
    batch.unlabeled.fill_(-100.0)
    passes, seen = trained_passes(method), []
    method.student.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    found = method.losses(batch, progress=1.0)
    ((heads,), (mixed,)) = passes, seen
    partners = [1, 0, 1]  # labeled images whose boxes the unlabeled ones have
    targets = torch.cat([batch.target, batch.target[partners]])
    counts = mixed[:, 0].abs() < 50
    assert counts[:LABELED].any()
    assert counts[LABELED:].any()
    halves = [
        0.5 * by_hand("dice-ce", logits[part], targets[part].where(counts[part], UNKNOWN))
        for logits in heads
        for part in (slice(LABELED), slice(LABELED, None))
    ]
    assert found["supervised"].item() == pytest.approx(sum(halves) / len(heads), rel=2e-5)


def test_dec_seg_counts_the_known_voxels_at_both_scales():
    method = make_method("dec-seg", "dice-ce", filters=2, copies_weight=1.0)
    batch = make_batch()
    passes = trained_passes(method)
    found = method.losses(batch, progress=0.7)
    (full,), _, (half,) = passes
    assert half.shape[2:] == (16, 16)  # a side of one stride is left
    targets = {
        "supervised": (full, batch.target),
        "supervised_copies": (half, batch.target[:, 1::2]),
    }
    for key, (logits, target) in targets.items():
        assert found[key].item() == pytest.approx(by_hand("dice-ce", logits, target), rel=2e-5)


@pytest.mark.parametrize("deep", [False, True])
def test_diffusion_counts_the_known_voxels_in_both_answers(deep):
    method, batch = make_method("diffusion", "dice-ce", deep=deep, filters=8), make_batch()
    passes = trained_passes(method)
    found = method.losses(batch, progress=0.7)
    ((said, *heads),) = passes
    expected = by_hand("dice-ce", said, batch.target)
    assert found["supervised"].item() == pytest.approx(expected, rel=2e-5)
    expected = np.mean([by_hand("dice-ce", head, batch.target) for head in heads])
    assert found["supervised_anchor"].item() == pytest.approx(expected, rel=2e-5)


def test_what_is_unknown_of_a_labeled_image_stays_so_where_usl_pastes_it():
    """CutMix pastes label maps with the images; pasted unknown voxels are no pseudo-labels."""
    method = make_method("usl", "dice-ce", noise=0.0)
    batch = make_batch(share=0.0)
    given = []

    def note(logits: Tensor, target: Tensor, *, known: Tensor | None = None) -> Tensor:
        given.append((target, known))
        return logits.sum() * 0

    method.segmentation_loss = note
    for seed in range(4):
        torch.manual_seed(seed)
        method.losses(batch, progress=1.0)
    pasted = [(target, known) for target, known in given if len(target) == len(batch.pseudo)]
    assert any((target == UNKNOWN).any() for target, _ in pasted)
    for target, known in pasted:
        assert torch.equal(known, target != UNKNOWN)
