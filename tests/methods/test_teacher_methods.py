"""What `weak-to-strong` and `copy-paste` promise beyond every method, and what a step costs."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.methods.base import Method, SemiBatch
from llmseg_cli.models.base import Segmenter
from llmseg_cli.models.unetpp import UNetPlusPlus
from llmseg_cli.models.vnet import VNet
from llmseg_cli.registry import METHODS, MODELS

BOTH = ("weak-to-strong", "copy-paste")
QUIET = {"contrast": 0.0, "brightness": 0.0, "blur": 0.0}
SIDES = {2: (32, 16), 3: (16, 32, 16)}

each_of_both = pytest.mark.parametrize("name", BOTH)
each_dimension = pytest.mark.parametrize("dimensions", [2, 3])


def make_method(name: str, build: Callable[[], nn.Module], **options) -> Method:
    torch.manual_seed(0)
    made: Method = METHODS.load(name)(build, **options)
    return made.train()


def make_batch(classes: int, *, dimensions: int, labeled: int = 2, unlabeled: int = 2):
    generator = torch.Generator().manual_seed(1)
    sides = SIDES[dimensions]
    return SemiBatch(
        torch.randn(labeled, 1, *sides, generator=generator),
        torch.randint(classes, (labeled, *sides), generator=generator),
        torch.randn(unlabeled, 1, *sides, generator=generator),
    )


def seen_by(method: Method) -> list[Tensor]:
    """Fills with the images that the student is shown."""
    seen: list[Tensor] = []
    method.student.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    return seen


def operations_of_a_step(name: str, model: str, *, dimensions: int) -> int:
    torch.manual_seed(0)
    method = METHODS.load(name)(lambda: MODELS.load(model)(1, 2, dimensions=dimensions)).train()
    batch = make_batch(2, dimensions=dimensions)
    with FlopCounterMode(display=False) as counter:
        sum(method.losses(batch, progress=0.9).values()).backward()
    return counter.get_total_flops()


@pytest.mark.parametrize(("model", "dimensions"), [("vnet", 3), ("unet", 2), ("unetpp", 2)])
def test_a_step_costs_less_than_two_thirds_of_two_networks(model, dimensions):
    """At default settings and equal batches; 14 passes to 24, a trained one being three."""
    whole = operations_of_a_step("cross-pseudo-supervision", model, dimensions=dimensions)
    for name in BOTH:
        part = operations_of_a_step(name, model, dimensions=dimensions)
        assert part / whole <= 0.65
        assert part / whole == pytest.approx(14 / 24, abs=0.02)


@each_of_both
@each_dimension
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize(("labeled", "unlabeled"), [(1, 1), (3, 1), (1, 3), (3, 2)])
def test_batches_of_any_size(name, dimensions, classes, labeled, unlabeled):
    """Every image is shown once, labeled and unlabeled ones, wherever boxes are."""
    method = make_method(
        name, lambda: VNet(1, classes, dimensions=dimensions, filters=2, normalization="group")
    )
    batch = make_batch(classes, dimensions=dimensions, labeled=labeled, unlabeled=unlabeled)
    seen = seen_by(method)
    losses = method.losses(batch, progress=1.0)
    sum(losses.values()).backward()
    assert [len(images) for images in seen] == [labeled + unlabeled]
    grads = [p.grad for p in method.student.parameters()]
    assert all(grad.isfinite().all() for grad in grads)
    assert any(grad.any() for grad in grads)
    assert all(torch.isfinite(term) for term in losses.values())


def test_a_strong_view_holds_the_boxes_that_its_labels_hold():
    """Images tell their number, and the teacher answers it: view and labels stay together."""
    method = make_method("weak-to-strong", lambda: nn.Conv3d(1, 4, 1), **QUIET)
    numbers = torch.arange(4.0).view(4, 1, 1, 1, 1)
    batch = SemiBatch(
        torch.zeros(1, 1, 16, 8, 12),
        torch.zeros(1, 16, 8, 12, dtype=torch.long),
        numbers.expand(4, 1, 16, 8, 12).contiguous(),
    )
    method.teacher.forward = lambda images: (
        50 * nn.functional.one_hot(images[:, 0].long(), 4).movedim(-1, 1).float()
    )
    taught = []
    method.segmentation_loss = lambda logits, target, known=None: (
        taught.append(target) or logits.sum() * 0
    )
    seen, pasted = seen_by(method), 0
    for seed in range(6):
        torch.manual_seed(seed)
        method.losses(batch, progress=1.0)
        view, labels = seen[-1][1:, 0], taught[-1]
        assert torch.equal(view.long(), labels)
        inside = labels != numbers[:, 0].long()
        assert set(labels[3][inside[3]].tolist()) <= {2}  # of the one before
        pasted += int(inside.flatten(1).any(1).sum())
    assert 5 <= pasted <= 19  # half of 24
    alone = SemiBatch(batch.image, batch.target, batch.unlabeled[:1])
    method.losses(alone, progress=1.0)
    assert torch.equal(seen[-1][1:], alone.unlabeled)


def test_without_anything_strong_the_student_sees_the_weak_view():
    method = make_method("weak-to-strong", lambda: VNet(1, 2, filters=2), **QUIET, cutmix=False)
    batch, seen = make_batch(2, dimensions=3), seen_by(method)
    method.losses(batch, progress=1.0)
    torch.testing.assert_close(seen[0], batch.all_images())


@pytest.mark.parametrize(
    ("dimensions", "option", "threshold"),
    [(2, 0.0, 0.95), (3, 0.0, 0.8), (2, 0.7, 0.7), (3, 0.7, 0.7)],
)
def test_the_threshold_is_the_given_one_or_that_of_the_dimensions(dimensions, option, threshold):
    """Images are the probability that the teacher gives to class 1."""
    method = make_method(
        "weak-to-strong", lambda: VNet(1, 2, dimensions=dimensions, filters=2), threshold=option
    )
    batch = make_batch(2, dimensions=dimensions)
    shares = 0.5 + 0.499 * torch.rand(batch.unlabeled.shape)
    method.teacher.forward = lambda images: torch.cat([0 * images, images.logit()], dim=1)
    method.losses(SemiBatch(batch.image, batch.target, shares), progress=1.0)
    expected = (shares >= threshold).float().mean()
    torch.testing.assert_close(method.observed()["confident"], expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("share", [0.1, 0.6])
def test_cross_entropy_counts_as_in_fixmatch(share):
    """Of a cross entropy the term is the mean over all voxels, those that do not count being 0."""
    method = make_method(
        "weak-to-strong", lambda: VNet(1, 2, filters=2, dropout=0.0), **QUIET, cutmix=False
    )
    batch = make_batch(2, dimensions=3)
    sure = torch.rand(batch.unlabeled.shape) < share
    method.teacher.forward = lambda images: torch.cat([0.0 * images, 5.0 * sure], dim=1)

    def entropy(logits: Tensor, target: Tensor, *, known: Tensor | None = None) -> Tensor:
        values = nn.functional.cross_entropy(logits, target, reduction="none", ignore_index=UNKNOWN)
        return values.sum() / (values.numel() if known is None else known.sum())

    method.segmentation_loss = entropy
    found = method.losses(batch, progress=1.0)["strong"]
    logits = method.student(batch.all_images())[2:]
    expected = -(logits.log_softmax(1)[:, 1:] * sure).mean()
    torch.testing.assert_close(found, expected)


def test_nothing_confident_is_no_loss_and_no_gradient():
    method = make_method("weak-to-strong", lambda: VNet(1, 2, filters=2), threshold=1.0)
    loss = method.losses(make_batch(2, dimensions=3), progress=1.0)["strong"]
    loss.backward()
    assert loss == 0
    assert method.observed()["confident"] == 0
    assert not any(p.grad.any() for p in method.student.parameters())


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("views", [1, 2])
def test_channels_are_dropped_at_the_bottleneck_of_strong_views_alone(views, deep):
    def build() -> Segmenter:
        if deep:
            return UNetPlusPlus(1, 3, dimensions=2, filters=2, deep_supervision=True)
        return VNet(1, 3, dimensions=2, filters=2)

    method = make_method("weak-to-strong", build, strong_views=views, channel_dropout=True)
    batch, bottlenecks, decoded = make_batch(3, dimensions=2, unlabeled=6), [], []
    encode, decode = method.student.encode, method.student.decode_heads
    decode_one = method.student.decode

    def noted(image: Tensor) -> tuple[Tensor, list[Tensor]]:
        bottlenecks.append(encode(image))
        return bottlenecks[-1]

    method.student.encode = noted
    name, original = ("decode_heads", decode) if deep else ("decode", decode_one)
    setattr(method.student, name, lambda b, s: decoded.append(b) or original(b, s))
    method.losses(batch, progress=1.0)
    (before, _), (after,) = bottlenecks[0], decoded
    factors = torch.where(before.abs().amax((2, 3), keepdim=True) > 0, after / before, 1)
    factors = factors.nan_to_num(nan=1.0)[:2].unique().tolist()
    assert factors == [1.0]  # labeled
    changed = (after[2:] != before[2:]).flatten(1).any(1)
    assert changed.any()
    assert not changed.all()
    if views == 2:
        assert torch.equal(changed[:6], changed[6:])


def test_copy_paste_takes_boxes_of_its_share_both_ways():
    """Images tell who they are; a box is two thirds of each side, rounded down."""
    method = make_method("copy-paste", lambda: nn.Conv3d(1, 2, 1))
    image = torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1, 1, 1).expand(3, 1, 12, 9, 7)
    target = image[:, 0].long() % 2
    batch = SemiBatch(image, target, -image)
    seen = seen_by(method)
    method.losses(batch, progress=1.0)
    inner = [-1.0, -2.0, -3.0, 2.0, 3.0, 1.0]
    for mixed, outer, pasted in zip(seen[0], [1, 2, 3, -1, -2, -3], inner, strict=True):
        assert set(mixed.unique().tolist()) == {float(outer), pasted}
        assert (mixed == pasted).sum() == 8 * 6 * 4
    places = [(mixed[0] < 0).nonzero()[0].tolist() for mixed in seen[0][:3]]
    assert len({tuple(place) for place in places}) > 1  # drawn for each


def test_warm_up_is_that_share_of_training():
    method = make_method("copy-paste", lambda: VNet(1, 2, filters=2), warmup=0.25)
    batch = make_batch(2, dimensions=3)
    assert method.losses(batch, progress=0.2499).keys() == {"supervised"}
    assert method.losses(batch, progress=0.25).keys() == {"supervised", "copy_paste"}
    method = make_method("copy-paste", lambda: VNet(1, 2, filters=2), warmup=0.0)
    assert "copy_paste" in method.losses(batch, progress=0.0)


@each_dimension
def test_the_largest_component_of_each_class_is_kept_where_asked(dimensions):
    """The teacher's labels, against scipy's components."""
    batch = make_batch(3, dimensions=dimensions)
    labels = []
    for largest in (False, True):
        method = make_method(
            "copy-paste",
            lambda: VNet(1, 3, dimensions=dimensions, filters=2),
            largest_component=largest,
        )
        labels.append(method._labels(batch.unlabeled, None).numpy())
    raw, kept = labels
    touching = np.ones((3,) * dimensions)
    for found, one in zip(kept, raw, strict=True):
        expected = np.zeros_like(one)
        for value in (1, 2):
            numbers, count = ndimage.label(one == value, touching)
            if count:
                expected[numbers == 1 + np.bincount(numbers.flat)[1:].argmax()] = value
        np.testing.assert_array_equal(found, expected)
    assert (raw != kept).any()


@each_of_both
def test_pseudo_labels_stand_in_place_of_the_teachers(name):
    """Where all are known, the teacher's answer does not matter; where none is, they do not."""
    batch = make_batch(3, dimensions=2)
    known = torch.randint(3, batch.target.shape)
    found = {}
    for kind, pseudo in (("all", known), ("none", torch.full_like(known, UNKNOWN)), ("", None)):
        for bias in (0.0, 30.0):
            method = make_method(name, lambda: VNet(1, 3, dimensions=2, filters=2))
            method.teacher.output.bias.data[2] += bias
            torch.manual_seed(4)
            given = SemiBatch(batch.image, batch.target, batch.unlabeled, pseudo)
            terms = method.losses(given, progress=1.0)
            found[kind, bias] = sum(terms.values()).item()
    assert found["all", 0.0] == found["all", 30.0]
    assert found["none", 30.0] == found["", 30.0] != found["all", 30.0]
