"""The loss of every method written out by hand, from what its networks were shown.

The networks remember their inputs, so that noise, CutMix, the order of passes and gradients show.
"""

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.errors import UsageError
from llmseg_cli.methods import affine_consistency, copy_paste, diffusion, usl, weak_to_strong
from llmseg_cli.methods.base import Method, SemiBatch
from llmseg_cli.models import generator
from llmseg_cli.models.denoiser import Denoiser
from llmseg_cli.registry import METHODS

CLASSES, SIDES = 3, (8, 6, 4)
LABELED, UNLABELED = 2, 4  # another number than of classes
PARTNERS = torch.tensor([4, 2, 0, 5, 1, 3])
PROGRESS = (0.3, 0.5, 0.7)
VIEWS_OF = ((0, 7), (3, 1), (2, 6), (5, 4), (7, 0), (1, 2))  # of each image
TIMES = (20, 700, 3, 999, 250, 400)  # steps of a diffusion, of each image
RAMP, WEIGHT = 0.8, 0.7
Terms = dict[str, Tensor]


class Heard(nn.Module):
    """A voxel-wise network that remembers every image, and how it was asked about it."""

    in_channels, classes, dimensions, stride, smallest_grid = 1, CLASSES, 3, 1, 1
    bottleneck_channels = 1

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv3d(1, CLASSES, 1)
        self.layer.weight.data.mul_(4)  # sure of some voxels, and of others
        self.layer.bias.data.zero_()  # not at all
        self.images: list[Tensor] = []
        self.with_gradient: list[bool] = []
        self.modes: list[bool] = []

    def forward(self, image: Tensor) -> Tensor:
        self.images.append(image)
        self.with_gradient.append(torch.is_grad_enabled())
        self.modes.append(self.training)
        answer: Tensor = self.layer(image)
        return answer


@pytest.fixture
def boxes(monkeypatch) -> Tensor:
    """Boxes of CutMix that are known, like its partners, who cross labeled and unlabeled."""
    found = torch.zeros(LABELED + UNLABELED, *SIDES[:2], dtype=torch.bool)
    for sample in range(len(found)):
        found[sample, sample : sample + 3, 1:4] = True
    monkeypatch.setattr(torch, "randperm", lambda count: PARTNERS)
    monkeypatch.setattr(usl, "cutmix_boxes", lambda count, sides, alpha: found)
    monkeypatch.setattr(
        affine_consistency,
        "chosen_views",
        lambda cases, views, count: torch.tensor(VIEWS_OF[:cases])[:, :count],
    )
    monkeypatch.setattr(generator, "DROPOUTS", (0.0,) * 5)
    monkeypatch.setattr(diffusion, "drawn_times", lambda count, *_: torch.tensor(TIMES[:count]))
    monkeypatch.setattr(diffusion, "drawn_noise", lambda shape, like: fixed_noise(shape))
    for method in (weak_to_strong, copy_paste):
        monkeypatch.setattr(method, "placed_boxes", lambda spans, sides: deep_boxes(len(spans)))
    return found


def fixed_noise(shape: tuple[int, ...]) -> Tensor:
    """The same for the same shape."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def deep_boxes(count: int) -> Tensor:
    """Boxes `(count, X, Y, Z)` that are known, of as many images as are asked for."""
    found = torch.zeros(count, *SIDES, dtype=torch.bool)
    for sample in range(count):
        found[sample, sample % 4 : sample % 4 + 3, 1:4, sample % 2 : 3] = True
    return found


def make_method(name: str, **options) -> Method:
    torch.manual_seed(5)
    made: Method = METHODS.load(name.split()[0])(Heard, **options)  # behind it, what is asked
    return made.train()


def make_batch() -> SemiBatch:
    generator = torch.Generator().manual_seed(1)
    pseudo = torch.randint(CLASSES, (UNLABELED, *SIDES), generator=generator)
    pseudo[torch.rand(pseudo.shape, generator=generator) < 0.3] = UNKNOWN
    return SemiBatch(
        2 * torch.rand(LABELED, 1, *SIDES, generator=generator) - 1,
        torch.randint(CLASSES, (LABELED, *SIDES), generator=generator),
        2 * torch.rand(UNLABELED, 1, *SIDES, generator=generator) - 1,
        pseudo,
    )


def grown(progress: float) -> float:
    return math.exp(-5 * (1 - min(progress, RAMP) / RAMP) ** 2)


def in_rows(values: Tensor) -> Tensor:
    """`(B, K, X, Y, Z)` as a row per voxel, `(V, K)`."""
    return values.movedim(1, -1).reshape(-1, values.shape[1])


def supervised(logits: Tensor, target: Tensor) -> Tensor:
    """Half the cross entropy and half the Dice loss, of the voxels that are known."""
    known = (target != UNKNOWN).flatten()
    row, true = in_rows(logits)[known], target.flatten()[known]
    entropy = -row.log_softmax(1)[torch.arange(len(true)), true].mean()
    p, y = row.softmax(1)[:, 1:], nn.functional.one_hot(true, CLASSES)[:, 1:]
    dice = (2 * (p * y).sum(0) + 1e-5) / (p.square().sum(0) + y.sum(0) + 1e-5)
    return (entropy + 1 - dice.mean()) / 2


def unified(logits: Tensor, peer: Tensor) -> Tensor:
    """The three terms of USL over rows of voxels, with the paper's thresholds."""
    p, q = in_rows(logits).softmax(1), in_rows(peer).softmax(1)
    sure, label = q.max(1)
    certain, excluded = sure >= 0.65, q < 0.1
    between = ~certain & (1 - sure >= 0.1)
    assert certain.any()
    assert excluded.any()
    assert between.any()
    positive = -(sure * p.gather(1, label[:, None])[:, 0].log())[certain].mean()
    negative = -(q * (1 - p).log())[excluded].mean()
    return positive + negative + (p - q).square().mean(1)[between].mean()


def is_noisy(seen: Tensor, clean: Tensor, *, most: float, unit: Callable[..., Any]) -> bool:
    """Whether there is noise everywhere, and never more than *most* times an image's *unit*."""
    share = [
        (noisy - image).abs() / float(unit(image.numpy()))
        for noisy, image in zip(seen, clean, strict=True)
    ]
    noise = torch.stack(share)
    return bool((noise > 0).float().mean() > 0.99 and 0.95 * most < noise.max() <= most + 1e-5)


def by_supervised(method: Method, batch: SemiBatch, _: float) -> Terms:
    members = method.networks()
    assert list(members) == ["network", "network1"]
    for member in members.values():
        assert len(member.images) == 1
        assert torch.equal(member.images[0], batch.image)
    return {
        f"supervised_{name}": supervised(member.layer(batch.image), batch.target)
        for name, member in members.items()
    }


def by_mean_teacher(method: Method, batch: SemiBatch, progress: float) -> Terms:
    logits = student_answer(method, batch)
    (seen,) = method.teacher.images
    assert is_noisy(seen, batch.unlabeled, most=0.4, unit=np.std)
    assert_teaches(method)
    error = (logits[LABELED:].softmax(1) - method.teacher.layer(seen).softmax(1)).square()
    return {
        "supervised": supervised(logits[:LABELED], batch.target),
        "consistency": WEIGHT * grown(progress) * error.mean(),
    }


def by_uncertainty_aware_mean_teacher(method: Method, batch: SemiBatch, progress: float) -> Terms:
    logits = student_answer(method, batch)
    first, *passes = method.teacher.images
    assert len(passes) == 5
    views = [first, *passes]
    assert all(is_noisy(seen, batch.unlabeled, most=0.4, unit=np.std) for seen in views)
    noises = {round(float(seen.sum()), 4) for seen in views}
    assert len(noises) == len(views)  # drawn anew for each
    assert_teaches(method)
    mean = sum(method.teacher.layer(seen).softmax(1) for seen in passes) / len(passes)
    entropy = -(mean * mean.log()).sum(1)
    certain = entropy < (0.75 + 0.25 * grown(progress)) * math.log(CLASSES)
    lowest = entropy < 0.75 * math.log(CLASSES)
    assert lowest.sum() < certain.sum() < certain.numel()  # what the threshold is decides
    error = (logits[LABELED:].softmax(1) - method.teacher.layer(first).softmax(1)).square()
    return {
        "supervised": supervised(logits[:LABELED], batch.target),
        "consistency": WEIGHT * grown(progress) * error.mean(1)[certain].mean(),
    }


def student_answer(method: Method, batch: SemiBatch) -> Tensor:
    """The student's logits; it sees all images once, as they are, and with gradient."""
    (seen,) = method.student.images
    assert torch.equal(seen, torch.cat([batch.image, batch.unlabeled]))
    assert method.student.with_gradient == method.student.modes == [True]
    answer: Tensor = method.student.layer(seen)
    return answer


def assert_teaches(method: Method) -> None:
    """A teacher answers with dropout, as published, and without gradient."""
    assert not any(method.teacher.with_gradient)
    assert all(method.teacher.modes)
    assert not any(p.requires_grad for p in method.teacher.parameters())


def by_cross_pseudo_supervision(method: Method, batch: SemiBatch, progress: float) -> Terms:
    logits = {}
    for name, network in method.networks().items():
        (seen,) = network.images
        assert torch.equal(seen, torch.cat([batch.image, batch.unlabeled]))
        assert network.with_gradient == network.modes == [True]
        logits[name] = network.layer(seen)
    terms = {}
    for name, other in (("first", "second"), ("second", "first")):
        row = in_rows(logits[name][LABELED:]).log_softmax(1)
        label = in_rows(logits[other][LABELED:]).argmax(1)
        terms[f"supervised_{name}"] = supervised(logits[name][:LABELED], batch.target)
        cross = -row[torch.arange(len(label)), label].mean()
        terms[f"cross_{name}"] = WEIGHT * grown(progress) * cross
    return terms


def by_usl(method: Method, batch: SemiBatch, progress: float) -> Terms:
    boxes = usl.cutmix_boxes(LABELED + UNLABELED, SIDES[:2], alpha=4.0)[:, None, ..., None]
    images = torch.cat([batch.image, batch.unlabeled])
    mixed = torch.where(boxes, images[PARTNERS], images)[LABELED:]
    (first_seen,), (second_seen,) = method.first.images, method.second.images
    assert is_noisy(first_seen, images, most=0.3, unit=np.ptp)
    assert is_noisy(second_seen, torch.cat([batch.image, mixed]), most=0.3, unit=np.ptp)
    assert method.first.with_gradient == method.second.with_gradient == [True]
    first_peer, second_peer = method.averages
    assert torch.equal(first_peer.images[0], images)
    assert torch.equal(second_peer.images[0], batch.unlabeled)
    for peer in (first_peer, second_peer):  # without gradient and dropout
        assert (peer.with_gradient, peer.modes) == ([False], [False])
    first, second = method.first.layer(first_seen), method.second.layer(second_seen)
    answer = first_peer.layer(images)
    pasted = torch.where(boxes, answer[PARTNERS], answer)[LABELED:]
    maps = torch.cat([batch.target, batch.pseudo])
    labels = torch.where(boxes[:, 0], maps[PARTNERS], maps)[LABELED:]
    factor = WEIGHT * grown(progress)
    return {
        "supervised_first": supervised(first[:LABELED], batch.target),
        "supervised_second": supervised(second[:LABELED], batch.target),
        "usl_first": factor * unified(first[LABELED:], second_peer.layer(batch.unlabeled)),
        "usl_second": factor * unified(second[LABELED:], pasted),
        "pseudo_first": 0.4 * supervised(first[LABELED:], batch.pseudo),
        "pseudo_second": 0.4 * supervised(second[LABELED:], labels),
    }


def by_pseudo_labels(method: Method, batch: SemiBatch, progress: float) -> Terms:
    (seen,) = method.network.images
    assert torch.equal(seen, torch.cat([batch.image, batch.unlabeled]))
    assert method.network.with_gradient == method.network.modes == [True]
    logits = method.network.layer(seen)
    return {
        "supervised": supervised(logits[:LABELED], batch.target),
        "pseudo": WEIGHT * grown(progress) * supervised(logits[LABELED:], batch.pseudo),
    }


def by_rounds(method: Method, batch: SemiBatch, progress: float) -> Terms:
    terms = {}
    for name, network in method.networks().items():
        (seen,) = network.images
        assert torch.equal(seen, torch.cat([batch.image, batch.unlabeled]))
        logits = network.layer(seen)
        terms[f"supervised_{name}"] = supervised(logits[:LABELED], batch.target)
        terms[f"ensemble_{name}"] = WEIGHT * supervised(logits[LABELED:], batch.pseudo)
    assert list(method.networks()) == ["network", "network1"]
    return terms


def by_weak_to_strong(method: Method, batch: SemiBatch, progress: float) -> Terms:
    (seen,), (asked,) = method.student.images, method.teacher.images
    assert torch.equal(asked, batch.unlabeled)
    assert_answers(method)
    assert torch.equal(seen[:LABELED], batch.image)
    first, second = seen[LABELED:].split(UNLABELED)
    assert not torch.equal(first, second)
    probabilities = method.teacher.layer(asked).softmax(1)
    labels = probabilities.argmax(1)
    labels[probabilities.amax(1) < 0.6] = UNKNOWN
    assert 0.1 < (labels == UNKNOWN).float().mean() < 0.9
    share = (labels != UNKNOWN).float().mean()
    torch.testing.assert_close(method.observed()["confident"], share)
    labels = torch.where(batch.pseudo == UNKNOWN, labels, batch.pseudo)
    before = [3, 0, 1, 2]
    labels = torch.where(deep_boxes(UNLABELED), labels[before], labels)
    logits = method.student.layer(seen)
    share = (labels != UNKNOWN).float().mean()
    strong = [share * supervised(view, labels) for view in logits[LABELED:].split(UNLABELED)]
    return {
        "supervised": supervised(logits[:LABELED], batch.target),
        "strong": WEIGHT * grown(progress) * sum(strong) / 2,
    }


def by_copy_paste(method: Method, batch: SemiBatch, progress: float) -> Terms:
    if progress < WARMUP:
        return by_copy_paste_among_labeled(method, batch)
    (seen,), (asked,) = method.student.images, method.teacher.images
    assert torch.equal(asked, batch.unlabeled)
    assert_answers(method)
    labels = method.teacher.layer(asked).argmax(1)
    labels = torch.where(batch.pseudo == UNKNOWN, labels, batch.pseudo)
    boxes = deep_boxes(LABELED + UNLABELED)
    outer = [*((batch.image[i], batch.target[i], True) for i in range(LABELED))]
    outer += [(batch.unlabeled[i], labels[i], False) for i in range(UNLABELED)]
    inner = [(batch.unlabeled[i], labels[i]) for i in (0, 1)]
    inner += [(batch.image[i], batch.target[i]) for i in (1, 0, 1, 0)]
    images, of_labeled, of_unlabeled = [], [], []
    for (image, target, is_labeled), (image_in, target_in), box in zip(
        outer, inner, boxes, strict=True
    ):
        images.append(torch.where(box, image_in, image))
        of_box = torch.where(box, target_in, UNKNOWN)
        of_rest = torch.where(box, UNKNOWN, target)
        of_labeled.append(of_rest if is_labeled else of_box)
        of_unlabeled.append(of_box if is_labeled else of_rest)
    torch.testing.assert_close(seen, torch.stack(images))
    logits = method.student.layer(seen)
    terms = [
        0.5 * supervised(logits[:LABELED], maps[:LABELED])
        + 0.5 * supervised(logits[LABELED:], maps[LABELED:])
        for maps in (torch.stack(of_labeled), torch.stack(of_unlabeled))
    ]
    return {"supervised": terms[0], "copy_paste": WEIGHT * grown(progress) * terms[1]}


def by_copy_paste_among_labeled(method: Method, batch: SemiBatch) -> Terms:
    (seen,) = method.student.images
    assert not method.teacher.images
    boxes = deep_boxes(LABELED)
    other = [1, 0]
    images = torch.where(boxes[:, None], batch.image[other], batch.image)
    assert torch.equal(seen, images)
    target = torch.where(boxes, batch.target[other], batch.target)
    return {"supervised": supervised(method.student.layer(seen), target)}


def by_affine_consistency(method: Method, batch: SemiBatch, progress: float) -> Terms:
    """Two views of each image; torch's own sampling is the reference, and the maps are the start's.

    The transformer's last layer is 0 at first; its gradient goes through the pixels of views alone.
    """
    (seen,), (asked,) = method.student.images, method.teacher.images
    assert torch.equal(asked, batch.unlabeled)
    assert_answers(method)
    images = torch.cat([batch.image, batch.unlabeled])
    corners = affine_consistency.corner_zooms(3)
    corners[:, :, 3] *= 0.6  # shifts of 0.5 are beyond their bound of 0.3
    chosen = VIEWS_OF[: len(images)]
    said = 0.1 * method.chooser(images)
    said = torch.stack([said[i, list(views)] for i, views in enumerate(chosen)])
    maps = torch.stack([corners[list(views)] for views in chosen]) + said  # (B, N, 3, 4)
    twice = [i for i in range(len(images)) for _ in range(2)]

    def sampled(values: Tensor, mode: str = "bilinear", padding: str = "zeros") -> Tensor:
        flat = maps.flatten(0, 1)
        grid = nn.functional.affine_grid(flat, list(values.shape), align_corners=False)
        return nn.functional.grid_sample(
            values, grid, mode=mode, padding_mode=padding, align_corners=False
        )

    views = sampled(images[twice])
    expected = torch.cat([batch.image, views])
    torch.testing.assert_close(seen, expected)
    logits = method.student.layer(expected)
    of_views = logits[LABELED:]
    ones = torch.ones(len(twice), 1, *SIDES)
    inside = sampled(ones, "nearest")[:, 0] > 0.5
    assert 0.5 < inside.float().mean() <= 1
    every_target = torch.cat([batch.target, batch.pseudo])[twice].unsqueeze(1).float()
    targets = sampled(every_target, "nearest")[:, 0].round().long()
    targets[~inside] = UNKNOWN
    probabilities = method.teacher.layer(asked).softmax(1)
    known = (batch.pseudo != UNKNOWN)[:, None]
    sure = nn.functional.one_hot(batch.pseudo % UNKNOWN, CLASSES).movedim(-1, 1).float()
    probabilities = torch.where(known, sure, probabilities)
    everyone = torch.cat([torch.zeros(LABELED, *probabilities.shape[1:]), probabilities])[twice]
    taught = sampled(everyone, padding="border").detach()
    error = (of_views.softmax(1) - taught).square().mean(1)[2 * LABELED :][inside[2 * LABELED :]]
    weight = WEIGHT * grown(progress) if progress >= 0.4 else 0.0
    return {
        "supervised": supervised(logits[:LABELED], batch.target),
        "consistency": weight * error.mean(),
        "labeled_views": 0.6 * supervised(of_views[: 2 * LABELED], targets[: 2 * LABELED]),
    }


def by_dec_seg(method: Method, batch: SemiBatch, progress: float) -> Terms:
    """Light and copies are checked in what was heard; sampling and sums are torch's own."""
    seen, lit, copies = method.student.images
    assert method.student.modes == [True] * 3
    assert torch.equal(seen, torch.cat([batch.image, batch.unlabeled]))
    low, high = (
        find(batch.unlabeled, (2, 3, 4), keepdim=True) for find in (torch.amin, torch.amax)
    )
    clean, in_light = (batch.unlabeled - low) / (high - low), (lit - low) / (high - low)
    factors = assert_recolored(clean, in_light)
    half = [*(side // 2 for side in SIDES)]
    averages = nn.functional.avg_pool3d(seen, 2)
    torch.testing.assert_close(copies[: len(seen)], averages)
    clean_copies = nn.functional.avg_pool3d(clean, 2)
    own = assert_recolored(clean_copies, (copies[len(seen) :] - low) / (high - low))
    assert (factors - own).abs().min() > 1e-4  # a light of its own
    layer = method.student.layer
    middle = batch.target[:, 1::2, 1::2, 1::2]
    logits, of_copies = torch.cat([layer(seen), layer(lit)]), layer(copies)
    p, q = logits.softmax(1), of_copies.softmax(1)
    larger = nn.functional.interpolate(q, SIDES, mode="trilinear", align_corners=True)
    assert list(q.shape[2:]) == half
    parts = [slice(LABELED), slice(LABELED, len(seen)), slice(len(seen), None)]
    scales = sum((p[part] - larger[part]).square().mean() for part in parts)
    lights = sum((x[parts[1]] - x[parts[2]]).square().mean() for x in (p, q))
    first, second = method.generators
    painted = (first(logits[parts[1]]) - in_light).square().mean()
    painted = painted + (second(logits[parts[2]]) - clean).square().mean()
    weight = WEIGHT * grown(progress)
    return {
        "supervised": supervised(logits[:LABELED], batch.target),
        "supervised_copies": 0.7 * supervised(of_copies[:LABELED], middle),
        "scales": weight * 0.8 * scales,
        "lights": weight * 0.5 * lights,
        "generation": weight * 0.3 * painted,
    }


def by_adversarial(method: Method, batch: SemiBatch, progress: float) -> Terms:
    """Least squares; two critics of the same weights, of which one cannot learn."""
    (seen,) = method.network.images
    images = torch.cat([batch.image, batch.unlabeled])
    assert torch.equal(seen, images)
    logits = method.network.layer(seen)
    low, high = (find(images, (2, 3, 4), keepdim=True) for find in (torch.amin, torch.amax))
    unit = (images - low) / (high - low)
    masked = torch.cat([logits.softmax(1)[:, [k]] * unit for k in (1, 2)], dim=1)
    frozen = copy.deepcopy(method.critic).requires_grad_(False)
    real, fake = (method.critic(part.detach()) for part in masked.split([LABELED, UNLABELED]))
    critic = ((1 - real).square().mean() + fake.square().mean()) / 2
    torch.testing.assert_close(method.observed()["real"], real.mean())
    deceived = (1 - frozen(masked[LABELED:])).square().mean()
    return {
        "supervised": supervised(logits[:LABELED], batch.target),
        "adversarial": WEIGHT * grown(progress) * deceived,
        "critic": 0.3 * critic + 0.7 * critic.detach(),
    }


def by_diffusion(method: Method, batch: SemiBatch, progress: float) -> Terms:
    """The denoiser sees masks with noise; the average says what the unlabeled are, in two steps."""
    student, teacher = method.student, method.teacher
    (seen,), (asked,) = student.backbone.images, teacher.backbone.images
    assert torch.equal(asked, batch.unlabeled)
    assert torch.equal(seen, torch.cat([batch.image, batch.unlabeled]))
    assert student.backbone.with_gradient == student.backbone.modes == [True]
    assert teacher.backbone.with_gradient == teacher.backbone.modes == [False]
    kept = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))

    as_noise = student.prediction == "noise"

    def said(network: nn.Module, images: Tensor, noisy: Tensor, times: list[int]) -> Tensor:
        anchor = network.backbone.layer(images).detach()
        told = network.denoiser.condition(images, anchor, None)
        found = network.denoiser(noisy, torch.tensor(times), told)
        return found if as_noise else anchor + found

    def shares(noisy: Tensor, time: int) -> Tensor:
        found = said(teacher, asked, noisy, [time] * UNLABELED)
        if not as_noise:
            return found.softmax(1)
        clean = (noisy - (1 - kept[time]) ** 0.5 * found) / kept[time] ** 0.5
        share = (clean.clamp(-1, 1) + 1).clamp_min(2e-12) / 2
        return share / share.sum(1, keepdim=True)

    samples = []
    for start in fixed_noise((UNLABELED, 4, CLASSES, *SIDES)).unbind(1):
        share = shares(start, 999)
        noise = (start - kept[999] ** 0.5 * (2 * share - 1)) / (1 - kept[999]) ** 0.5
        noisy = kept[0] ** 0.5 * (2 * share - 1) + (1 - kept[0]) ** 0.5 * noise
        samples.append(shares(noisy, 0))
    mean = sum(samples) / 4
    variance = sum((sample - mean).square() for sample in samples).sum(1) / 4
    known = batch.pseudo != UNKNOWN
    labels = torch.where(known, batch.pseudo, mean.argmax(1))
    sure = torch.where(known, 1.0, 1 - variance / (1 - 1 / CLASSES)).detach()
    assert sure[~known].min() < 0.999 < sure[~known].max()
    masks = nn.functional.one_hot(torch.cat([batch.target, labels]), CLASSES).movedim(-1, 1)
    scale = torch.tensor(kept)[list(TIMES)].float().view(-1, 1, 1, 1, 1)
    noise = fixed_noise(masks.shape)
    noisy = scale.sqrt() * (2 * masks - 1) + (1 - scale).sqrt() * noise
    answer, anchor = said(student, seen, noisy, list(TIMES)), student.backbone.layer(seen)
    weight = WEIGHT * grown(progress)

    def taught(rows: Tensor) -> Tensor:
        entropy = nn.functional.cross_entropy(rows[LABELED:], labels, reduction="none")
        return weight * (sure * entropy).mean()

    if as_noise:
        errors = (answer - noise).square().mean(1)
        of_masks = errors[:LABELED].mean(), weight * (sure * errors[LABELED:]).mean()
    else:
        of_masks = supervised(answer[:LABELED], batch.target), taught(answer)
    return {
        "supervised_anchor": 0.6 * supervised(anchor[:LABELED], batch.target),
        "supervised": of_masks[0],
        "unlabeled": of_masks[1],
        "unlabeled_anchor": 0.6 * taught(anchor),
    }


def assert_recolored(unit: Tensor, found: Tensor) -> Tensor:
    """Each image is a multiple of what it was, cut at 1; returns the factors."""
    found_factors = []
    for image, other in zip(unit, found, strict=True):
        dark = (image > 0.1) & (image < 0.6)
        ratios = (other / image)[dark]
        assert ratios.max() - ratios.min() < 1e-4
        assert 0.7 <= ratios[0] <= 1.3
        torch.testing.assert_close(other, (ratios[0] * image).clamp(0, 1), atol=1e-5, rtol=1e-4)
        found_factors.append(ratios[0])
    return torch.stack(found_factors)


def assert_answers(method: Method) -> None:
    """This teacher answers without dropout and gradient; its student is trained in one pass."""
    assert method.student.with_gradient == method.student.modes == [True]
    assert method.teacher.with_gradient == method.teacher.modes == [False]


WARMUP = 0.4
OF_THEIR_OWN = (  # terms that the weight of the unlabeled does not reach
    *("supervised", "pseudo_"),  # of `usl`, pseudo-labels have a weight of their own
    "labeled_",  # views of labeled images
    "critic",  # which teaches the critic, and nothing to the network
)
GROWS = {"weight": WEIGHT, "ramp": RAMP}
TAUGHT = {**GROWS, "noise": 0.2}
FORMULAS: dict[str, tuple[Callable[[Method, SemiBatch, float], Terms], dict[str, float]]] = {
    "supervised": (by_supervised, {"members": 2}),
    "mean-teacher": (by_mean_teacher, TAUGHT),
    "uncertainty-aware-mean-teacher": (by_uncertainty_aware_mean_teacher, {**TAUGHT, "passes": 5}),
    "cross-pseudo-supervision": (by_cross_pseudo_supervision, GROWS),
    "usl": (by_usl, {**GROWS, "noise": 0.3, "pseudo_weight": 0.4}),
    "weak-to-strong": (by_weak_to_strong, {**GROWS, "threshold": 0.6, "strong_views": 2}),
    "copy-paste": (by_copy_paste, {**GROWS, "warmup": WARMUP}),
    "affine-consistency": (
        by_affine_consistency,
        {**GROWS, "start": 0.4, "count": 2, "labeled_weight": 0.6},
    ),
    "dec-seg": (
        by_dec_seg,
        {
            **GROWS,
            "scale_weight": 0.8,
            "copies_weight": 0.7,
            "perturbation_weight": 0.5,
            "generation_weight": 0.3,
            "brightness": 0.3,
            "filters": 2,
        },
    ),
    "adversarial": (
        by_adversarial,
        {**GROWS, "noise": 0.0, "spectral": False, "critic_rate": 0.3, "blocks": 1},
    ),
    "diffusion": (
        by_diffusion,
        {
            **GROWS,
            "anchor_weight": 0.6,
            "pseudo_samples": 4,
            "semantic": "none",
            "filters": 8,
            "levels": 2,
        },
    ),
    "diffusion prediction=noise": (
        by_diffusion,
        {
            **GROWS,
            "prediction": "noise",
            "anchor_weight": 0.6,
            "pseudo_samples": 4,
            "semantic": "none",
            "filters": 8,
            "levels": 2,
        },
    ),
    "sam-mining": (by_pseudo_labels, GROWS),
    "self-training": (by_pseudo_labels, GROWS),
    "rounds": (by_rounds, {"weight": WEIGHT, "members": 2}),
}


def test_every_method_has_its_formula():
    """That of volume fusion is in `test_volume_fusion.py`."""
    assert {*(name.split()[0] for name in FORMULAS), "volume-fusion"} == set(METHODS)


@pytest.mark.parametrize("progress", PROGRESS)
@pytest.mark.parametrize("name", FORMULAS)
def test_the_loss_is_the_formula(boxes, name, progress):
    formula, options = FORMULAS[name]
    method, batch = make_method(name, **options), make_batch()
    for module in method.modules():  # teachers and averages that differ from who they follow
        if isinstance(module, Heard) and not module.layer.weight.requires_grad:
            module.layer.bias.data += torch.tensor([0.3, -0.2, 0.1])
        if isinstance(module, Denoiser):  # whose last layer starts at 0
            nn.init.normal_(module.output.weight, std=0.3)
    losses = method.losses(batch, progress=progress)
    expected = formula(method, batch, progress)
    assert losses.keys() == expected.keys()
    for term, value in expected.items():
        torch.testing.assert_close(losses[term], value, msg=lambda m, t=term: f"{t}: {m}")
    gradients = {
        key: torch.autograd.grad(sum(terms.values()), list(trained(method)), retain_graph=True)
        for key, terms in (("found", losses), ("expected", expected))
    }
    for found, wanted in zip(gradients["found"], gradients["expected"], strict=True):
        torch.testing.assert_close(found, wanted)


def trained(method: Method) -> list[nn.Parameter]:
    return [parameter for parameter in method.parameters() if parameter.requires_grad]


@pytest.mark.parametrize("name", sorted(set(FORMULAS) - {"supervised"}))
def test_the_ramp_ends_and_its_weight_counts(boxes, name):
    """Behind the ramp nothing grows any more; at no weight the unlabeled teach nothing."""
    _, options = FORMULAS[name]
    batch = make_batch()
    totals = []
    for progress in (RAMP, 1.0):
        torch.manual_seed(3)
        method = make_method(name, **options)
        totals.append(sum(method.losses(batch, progress=progress).values()).item())
    assert totals[0] == totals[1]
    torch.manual_seed(3)
    losses = make_method(name, **{**options, "weight": 0.0}).losses(batch, progress=1.0)
    silent = {term for term, value in losses.items() if value.item() == 0}
    assert silent == {term for term in losses if not term.startswith(OF_THEIR_OWN)}


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_what_follows_a_network_is_its_average(decay):
    """At step t the decay is at most 1 - 1 / (t + 1), so that the first step copies."""
    for name, pairs in (
        ("mean-teacher", [("student", "teacher")]),
        ("uncertainty-aware-mean-teacher", [("student", "teacher")]),
        ("weak-to-strong", [("student", "teacher")]),
        ("copy-paste", [("student", "teacher")]),
        ("affine-consistency", [("student", "teacher")]),
        ("usl", [("first", "averages.0"), ("second", "averages.1")]),
    ):
        method = make_method(name, decay=decay)
        for step, share in ((0, 1.0), (1, max(0.5, 1 - decay)), (99, 1 - decay)):
            before = copy.deepcopy(method)
            with torch.no_grad():
                for parameter in trained(method):
                    parameter += 1.0
            method.after_step(step)
            for current, average in pairs:
                new = method.get_submodule(current).layer.weight
                old = before.get_submodule(average).layer.weight
                found = method.get_submodule(average).layer.weight
                torch.testing.assert_close(found, old + share * (new - old))


OF_TEACHERS = {
    "weight": 0.1,
    "decay": 0.99,
    "ramp": 1.0,
    "noise": 0.1,
    "noise_unit": "deviation",
}
DEFAULTS = {  # of the papers' code, or ours, as the docstrings say
    "supervised": {"members": 1},
    "mean-teacher": OF_TEACHERS,
    "uncertainty-aware-mean-teacher": {**OF_TEACHERS, "passes": 8},
    "cross-pseudo-supervision": {"weight": 0.1, "ramp": 1.0, "weights": "equal"},
    "usl": {
        "weight": 0.3,
        "ramp": 1.0,
        "threshold_positive": 0.65,
        "threshold_negative": 0.1,
        "noise": 0.2,
        "noise_unit": "range",
        "noise_clamp": False,
        "cutmix_alpha": 4.0,
        "peer": "average",
        "decay": 0.99,
        "pseudo_weight": 1.0,
        "weights": "equal",
    },
    "weak-to-strong": {
        "weight": 1.0,
        "ramp": 1.0,
        "threshold": 0.0,
        "decay": 0.996,
        "strong_views": 1,
        "contrast": 0.5,
        "brightness": 0.5,
        "blur": 1.0,
        "cutmix": True,
        "channel_dropout": False,
    },
    "copy-paste": {
        "weight": 0.5,
        "ramp": 1.0,
        "decay": 0.99,
        "box": 2 / 3,
        "warmup": 0.12,
        "largest_component": False,
    },
    "affine-consistency": {
        "weight": 0.1,
        "start": 0.2,
        "ramp": 0.0,
        "decay": 0.99,
        "views": "easy",
        "count": 1,
        "labeled_weight": 1.0,
        "zoom_low": 0.5,
        "zoom_high": 1.25,
        "shear": 0.2,
        "shift": 0.3,
        "bound": "smooth",
        "rate": 0.1,
    },
    "dec-seg": {
        "weight": 1.0,
        "ramp": 1.0,
        "scale_weight": 0.1,
        "copies_weight": 0.1,
        "perturbation_weight": 1.0,
        "generation_weight": 1.0,
        "scale": 0.5,
        "brightness": 0.2,
        "hue": 0.0,
        "jitter": "independent",
        "stop_gradient": False,
        "filters": 16,
    },
    "adversarial": {
        "weight": 0.1,
        "ramp": 1.0,
        "kind": "least-squares",
        "real": "predictions",
        "joint": "product",
        "noise": 0.1,
        "critic_rate": 0.1,
        "spectral": True,
        "penalty": 10.0,
        "blocks": 2,
    },
    "diffusion": {
        "weight": 0.1,
        "ramp": 1.0,
        "decay": 0.99,
        "anchor_weight": 1.0,
        "pseudo_samples": 3,
        "pseudo_steps": 2,
        "prediction": "residual",
        "anchor": "gate",
        "semantic": "band-pass",
        "schedule": "linear",
        "times": 1000,
        "steps": 5,
        "samples": 5,
        "noise_seed": 0,
        "filters": 16,
        "levels": 4,
        "blocks": 2,
        "heads": 4,
    },
    "sam-mining": {"weight": 1.0, "ramp": 0.0},
    "self-training": {
        "weight": 1.0,
        "ramp": 0.0,
        "voxel_confidence": 0.0,
        "mask_confidence": 0.0,
    },
    "rounds": {"members": 3, "rounds": 2, "agreement": 0.5, "restart": True, "weight": 1.0},
}
RANGES = {  # lowest and highest
    "members": (1, math.inf),
    "rounds.members": (2, math.inf),
    "rounds": (1, math.inf),
    "agreement": (0.0, 1.0),
    "passes": (1, math.inf),
    "weight": (0.0, math.inf),
    "pseudo_weight": (0.0, math.inf),
    "noise": (0.0, math.inf),
    "ramp": (0.0, 1.0),
    "decay": (0.0, 1.0),
    "threshold_positive": (0.0, 1.0),
    "threshold_negative": (0.0, 0.5),
    "cutmix_alpha": (1e-3, math.inf),
    "threshold": (0.0, 1.0),
    "strong_views": (1, 2),
    "contrast": (0.0, 1.0),
    "brightness": (0.0, math.inf),
    "blur": (0.0, 8.0),
    "box": (0.0, 1.0),
    "warmup": (0.0, 1.0),
    "start": (0.0, 1.0),
    "count": (1, 4),
    "labeled_weight": (0.0, math.inf),
    "zoom_low": (0.1, 1.0),
    "zoom_high": (1.0, 4.0),
    "shear": (0.0, 1.0),
    "shift": (0.0, 1.0),
    "rate": (0.0, 1.0),
    "critic_rate": (0.0, 1.0),
    "penalty": (0.0, math.inf),
    "blocks": (1, math.inf),
    "scale_weight": (0.0, math.inf),
    "copies_weight": (0.0, math.inf),
    "perturbation_weight": (0.0, math.inf),
    "generation_weight": (0.0, math.inf),
    "scale": (0.1, 1.0),
    "dec-seg.brightness": (0.0, 1.0),
    "filters": (1, math.inf),
    "anchor_weight": (0.0, math.inf),
    "pseudo_samples": (1, math.inf),
    "pseudo_steps": (1, math.inf),
    "times": (25, 10_000),
    "steps": (1, 1000),
    "samples": (1, math.inf),
    "noise_seed": (0, math.inf),
    "levels": (1, 6),
    "voxel_confidence": (0.0, 1.0),
    "mask_confidence": (0.0, 1.0),
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_options_and_their_ranges(name):
    assert METHODS.defaults(name) == DEFAULTS[name]
    for option in DEFAULTS[name].keys() & RANGES:
        low, high = RANGES.get(f"{name}.{option}", RANGES[option])
        step = 1 if isinstance(low, int) else 1e-4
        make_method(name, **{option: low})
        wanted = f"{low:g} or more" if high == math.inf else f"{low:g} to {high:g}"
        beyond = [low - step]
        if high != math.inf:
            make_method(name, **{option: high})
            beyond.append(high + step)
        for value in beyond:
            with pytest.raises(UsageError) as refused:
                make_method(name, **{option: value})
            assert str(refused.value) == f"--method-option {option}={value}: expected {wanted}."
