"""What every method promises, tested for every name in the registry."""

import copy

import pytest
import torch
from torch import Tensor, nn

from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.config import TrainSettings
from llmseg_cli.errors import UsageError
from llmseg_cli.methods.base import Method, SemiBatch
from llmseg_cli.models.vnet import VNet
from llmseg_cli.registry import METHODS, WITHOUT_LABELS, methods_of_labels
from llmseg_cli.training.optimizers import build_optimizer

CLASSES = 3
SIDES = {2: (32, 16), 3: (16, 32, 16)}
STEPS = 30

each_method = pytest.mark.parametrize("name", METHODS.names())
each_dimension = pytest.mark.parametrize("dimensions", [2, 3])


def make_method(
    name: str, *, dimensions: int = 2, classes: int = CLASSES, dropout: float = 0.0, **options
) -> Method:
    torch.manual_seed(0)

    def build() -> nn.Module:
        return VNet(1, classes, dimensions=dimensions, filters=4, dropout=dropout)

    if name in WITHOUT_LABELS:  # their classes are their own
        options = {"levels": classes - 1} | options
    made: Method = METHODS.load(name)(build, **options)
    return made.train()


def make_batch(dimensions: int = 2, *, seed: int = 0, labeled: int = 2, unlabeled: int = 3):
    generator = torch.Generator().manual_seed(seed)
    sides = SIDES[dimensions]
    images = torch.randn(labeled, 1, *sides, generator=generator)
    target = torch.randint(CLASSES, (labeled, *sides), generator=generator)
    others = torch.randn(unlabeled, 1, *sides, generator=generator)
    pseudo = torch.randint(CLASSES, (unlabeled, *sides), generator=generator)
    pseudo[:, : sides[0] // 3] = UNKNOWN
    return SemiBatch(images, target, others, pseudo)


def disks(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Pictures of a bright disk somewhere, `(B, 1, X, Y)`, and its label map."""
    generator = torch.Generator().manual_seed(seed)
    place = torch.rand(count, 2, 1, 1, generator=generator) * 10 + 11
    x, y = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    labels = (((x - place[:, 0]) ** 2 + (y - place[:, 1]) ** 2) < 49).long()
    noise = torch.randn(count, 32, 32, generator=generator)
    return ((labels * 3 + noise)[:, None] / 2), labels


def dice(prediction: Tensor, reference: Tensor) -> float:
    both = (prediction * reference).sum()
    return float(2 * both / (prediction.sum() + reference.sum()))


@each_method
@each_dimension
@pytest.mark.parametrize("progress", [0.0, 0.5, 1.0])
def test_losses_are_finite_scalars(name, dimensions, progress):
    method = make_method(name, dimensions=dimensions)
    losses = method.losses(make_batch(dimensions), progress=progress)
    assert losses
    for term in losses.values():
        assert term.shape == ()
        assert torch.isfinite(term)
        assert term >= 0
    assert any(key.startswith("supervised") for key in losses)


@each_method
@each_dimension
def test_one_logit_per_class_and_voxel(name, dimensions):
    method = make_method(name, dimensions=dimensions).eval()
    image = make_batch(dimensions).image
    logits = method(image)
    assert logits.shape == (2, CLASSES, *SIDES[dimensions])
    networks = method.networks()
    asked = networks.values() if method.answer == "mean" else [networks[method.answer]]
    expected = torch.stack([network(image).softmax(1) for network in asked]).mean(0)
    torch.testing.assert_close(logits.softmax(1), expected)
    if method.answer != "mean":
        assert torch.equal(logits, networks[method.answer](image))


@each_method
def test_an_answer_is_finite_however_sure_the_networks_are(name):
    method = make_method(name).eval()
    for network in method.networks().values():
        network.register_forward_hook(lambda module, given, answer: 1e4 * answer)
    assert method(make_batch(2).image).isfinite().all()


@each_method
def test_the_answer_is_one_of_the_networks_or_their_mean(name):
    method = make_method(name)
    assert method.answer in (*method.networks(), "mean")
    assert len(method.networks()) > 1 or method.answer != "mean"
    owned = {id(module) for module in method.modules()}
    assert all(id(network) in owned for network in method.networks().values())


@each_method
@each_dimension
def test_gradient_reaches_what_is_trained_and_nothing_else(name, dimensions):
    method = make_method(name, dimensions=dimensions)
    sum(method.losses(make_batch(dimensions), progress=1.0).values()).backward()
    for key, parameter in method.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, key
        if parameter.requires_grad:
            assert torch.isfinite(parameter.grad).all(), key
    for key, network in method.networks().items():
        trained = [p for p in network.parameters() if p.requires_grad]
        if trained:
            assert any(p.grad.any() for p in trained), key


@each_method
def test_networks_start_apart(name):
    """Two networks that learn from each other learn nothing if they start as one."""
    trained = [
        network.output.weight
        for network in make_method(name).networks().values()
        if network.output.weight.requires_grad
    ]
    assert len({weight.square().sum().item() for weight in trained}) == len(trained)


@each_method
def test_state_dict_round_trip(name):
    method, other = make_method(name), make_method(name)
    for parameter in other.parameters():
        parameter.data.add_(1)
    other.load_state_dict(method.state_dict())
    image = make_batch().image
    torch.testing.assert_close(other.eval()(image), method.eval()(image), rtol=0, atol=0)


@each_method
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_a_step_is_a_function_of_state_and_seed(name, dropout):
    results = []
    method = make_method(name, dropout=dropout)
    for twin in (copy.deepcopy(method), method):
        torch.manual_seed(7)
        losses = twin.losses(make_batch(), progress=0.7)
        results.append([term.item() for term in losses.values()])
    assert results[0] == results[1]


@each_method
def test_a_batch_is_not_changed(name):
    batch, same = make_batch(), make_batch()
    make_method(name).losses(batch, progress=1.0)
    for value, expected in zip(vars(batch).values(), vars(same).values(), strict=True):
        if expected is None:
            assert value is None
        else:
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(expected))


@each_method
def test_unlabeled_cases_count_for_those_who_use_them(name):
    method = make_method(name)
    uses = METHODS.load(name).uses_unlabeled
    totals = []
    for seed in (0, 1):
        batch = make_batch()
        unlabeled = make_batch(seed=seed).unlabeled
        other = SemiBatch(batch.image, batch.target, unlabeled, batch.pseudo)
        torch.manual_seed(0)
        losses = copy.deepcopy(method).losses(other, progress=1.0)
        totals.append(sum(losses.values()).item())
    assert (totals[0] != totals[1]) == uses


@each_method
def test_pseudo_labels_count_for_those_who_use_them(name):
    method = make_method(name)
    totals = []
    for seed in (0, 1):
        batch = make_batch()
        pseudo = make_batch(seed=seed).pseudo
        other = SemiBatch(batch.image, batch.target, batch.unlabeled, pseudo)
        torch.manual_seed(0)
        losses = copy.deepcopy(method).losses(other, progress=1.0)
        totals.append(sum(losses.values()).item())
    assert (totals[0] != totals[1]) == METHODS.load(name).uses_pseudo


@each_method
def test_memory_layout_changes_nothing(name):
    method = make_method(name, dimensions=3)
    batch = make_batch(3)
    results = []
    for layout in (torch.contiguous_format, torch.channels_last_3d):
        twin = copy.deepcopy(method).to(memory_format=layout)
        moved = SemiBatch(
            batch.image.to(memory_format=layout),
            batch.target,
            batch.unlabeled.to(memory_format=layout),
            batch.pseudo,
        )
        torch.manual_seed(3)
        results.append(sum(twin.losses(moved, progress=1.0).values()))
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-5)


@each_method
def test_losses_under_autocast_are_wide(name):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = make_method(name).losses(make_batch(), progress=1.0)
    assert {term.dtype for term in losses.values()} == {torch.float32}


@pytest.mark.parametrize("name", methods_of_labels())
def test_learns_a_disk(name):
    method = make_method(name, classes=2, dropout=0.1)
    trained = [p for p in method.parameters() if p.requires_grad]
    optimizer = build_optimizer(trained, TrainSettings(optimizer="sgd", learning_rate=0.05))
    for step in range(STEPS):
        image, target = disks(3, seed=step)
        batch = SemiBatch(image, target, disks(2, seed=1000 + step)[0])
        optimizer.zero_grad()
        sum(method.losses(batch, progress=step / STEPS).values()).backward()
        optimizer.step()
        method.after_step(step)
    image, reference = disks(16, seed=9999)
    with torch.inference_mode():
        prediction = method.eval()(image).argmax(dim=1)
    assert dice(prediction, reference) > 0.8


WRONG = {
    "supervised": {"members": 0},
    "mean-teacher": {"decay": 1.5},
    "uncertainty-aware-mean-teacher": {"passes": 0},
    "cross-pseudo-supervision": {"weight": -1.0},
    "usl": {"threshold_negative": 0.9},
    "weak-to-strong": {"strong_views": 3},
    "copy-paste": {"box": 1.5},
    "affine-consistency": {"zoom_low": 2.0},
    "dec-seg": {"scale": 1.5},
    "adversarial": {"critic_rate": 1.5},
    "diffusion": {"pseudo_steps": 0},
    "sam-mining": {"weight": -1.0},
    "self-training": {"ramp": 2.0},
    "rounds": {"members": 1},
    "volume-fusion": {"largest_box": 1.5},
}


def test_methods_without_labels_are_those_that_say_so():
    assert {n for n in METHODS if not METHODS.load(n).uses_labels} == set(WITHOUT_LABELS)


@each_method
def test_an_option_out_of_its_range_is_refused(name):
    ((key, value),) = WRONG[name].items()
    with pytest.raises(UsageError, match=f"--method-option {key}={value}: expected"):
        make_method(name, **WRONG[name])


@each_method
def test_weights_and_shares_that_are_not_numbers_are_refused(name):
    numbers = {key for key, value in METHODS.defaults(name).items() if isinstance(value, float)}
    for key in numbers:
        with pytest.raises(UsageError, match=f"{key}=nan"):
            make_method(name, **{key: float("nan")})


def test_a_semi_batch_joins_labeled_and_unlabeled():
    batch = make_batch()
    joined = batch.all_images()
    assert torch.equal(joined[:2], batch.image)
    assert torch.equal(joined[2:], batch.unlabeled)
    assert SemiBatch(batch.image, batch.target).all_images() is batch.image


@pytest.mark.parametrize(
    "name",
    [
        *("mean-teacher", "uncertainty-aware-mean-teacher", "weak-to-strong", "copy-paste"),
        "affine-consistency",
    ],
)
def test_a_teacher_is_the_average_of_its_student(name):
    method = make_method(name, decay=0.9)
    student, teacher = method.networks().values()
    values = []
    expected = 0.0
    for step in range(15):
        with torch.no_grad():
            student.output.bias.fill_(float(step) ** 0.5)
        values.append(float(step) ** 0.5)
        method.after_step(step)
        kept = min(0.9, 1 - 1 / (step + 1))
        expected = kept * expected + (1 - kept) * values[-1]
        assert teacher.output.bias[0].item() == pytest.approx(expected, rel=1e-5)


def test_supervised_members_are_trained_side_by_side():
    method = make_method("supervised", members=3)
    assert list(method.networks()) == ["network", "network1", "network2"]
    assert method.answer == "mean"
    assert len(method.losses(make_batch(), progress=0)) == 3
    assert make_method("supervised").answer == "network"


def test_cross_pseudo_supervision_crosses():
    """Each network is pulled towards what the other is sure of, and only the learner moves."""
    method = make_method("cross-pseudo-supervision", weight=1.0)
    with torch.no_grad():
        method.second.output.bias.copy_(torch.tensor([0.0, 0.0, 50.0]))  # sure of class 2
    batch = make_batch()
    logits = copy.deepcopy(method).first(batch.all_images())[len(batch.image) :]
    losses = method.losses(batch, progress=1.0)
    expected = -logits.log_softmax(1)[:, 2].mean()
    torch.testing.assert_close(losses["cross_first"], expected)
    assert losses["cross_second"] > 10
    losses["cross_first"].backward()
    assert method.first.output.weight.grad.any()
    assert method.second.output.weight.grad is None
