"""Steps of semi-supervised training, by llmseg and by PyMIC.

PyMIC's agents insist on a CUDA device; their own training code runs here unchanged, with the device
set. Its losses are replaced by llmseg's, so that both compute the same: Dice and cross entropy of
the labeled patches, and in co-training cross entropy alone of the unlabeled ones (PyMIC itself has
one loss for both). Of co-training both terms are compared, each by itself, for the second has a
small weight. Of UA-MT the supervised loss alone is: its consistency is over noise that each way
draws for itself, and nearly 0 where a teacher equals its student.

Each way has a process of its own. llmseg's training lets the C library keep freed memory
(`keep_freed_memory`), a setting of a whole process: shared, it would speed PyMIC up; left out, it
would slow llmseg down. Weights are equal because both processes draw them from the same seed.
"""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from own_process import own_process

from llmseg_cli.losses.dice_cross_entropy import dice_cross_entropy
from llmseg_cli.methods.base import SemiBatch
from llmseg_cli.models.vnet import VNet
from llmseg_cli.numerics.memory import keep_freed_memory
from llmseg_cli.numerics.torchvision_operators import ensure_torchvision
from llmseg_cli.registry import METHODS
from llmseg_cli.training.loop import Loop
from llmseg_cli.training.precision import choose_device, choose_memory_format
from llmseg_cli.workflows.bench.run import Contest, Way, Wish

CPS = "cross-pseudo-supervision"
UA_MT = "uncertainty-aware-mean-teacher"
Terms = tuple[float, ...]  # the supervised loss, and the weighted unsupervised one
OF_LABELED = ("loss_sup", "loss_sup1", "loss_sup2")  # PyMIC's names
OF_UNLABELED = ("loss_pse_sup1", "loss_pse_sup2", "loss_reg")
SAME_LOSS = 0.02  # relative; bfloat16 has 8 bits


@contextmanager
def cross_pseudo_supervision(wish: Wish) -> Iterator[Contest]:
    """A step of co-training: two V-Nets, two labeled and two unlabeled patches."""
    work = "a step of cross pseudo supervision, two V-Nets, 2+2"
    with own_process(llmsegs, wish, CPS) as ours, own_process(pymics_co_training, wish) as theirs:
        yield Contest(work, (Way("llmseg", ours), Way("PyMIC", theirs)), _of_terms, SAME_LOSS)


@contextmanager
def uncertainty_aware(wish: Wish) -> Iterator[Contest]:
    """A step of UA-MT: a V-Net, its teacher, eight noisy passes of the teacher."""
    work = "a step of UA-MT, V-Net, 2+2"
    with own_process(llmsegs, wish, UA_MT) as ours, own_process(pymics_ua_mt, wish) as theirs:
        yield Contest(work, (Way("llmseg", ours), Way("PyMIC", theirs)), _of_supervised, SAME_LOSS)


def _of_terms(first: Terms, second: Terms) -> float:
    """The largest relative difference of two terms."""
    return max(abs(ours - theirs) / abs(theirs) for ours, theirs in zip(first, second, strict=True))


def _of_supervised(first: Terms, second: Terms) -> float:
    return _of_terms(first[:1], second[:1])


def llmsegs(wish: Wish, name: str) -> Callable[[], Terms]:
    """A step of llmseg's loop as `train-semi` takes it."""
    keep_freed_memory()  # as training does
    device = choose_device(wish.settings.device)
    layout = choose_memory_format("auto", dimensions=3)
    learner = _method(name).to(device).to(memory_format=layout).train()
    labeled, target, unlabeled = _batch(wish)
    batch = SemiBatch(
        labeled.to(device, memory_format=layout),
        target.to(device),
        unlabeled.to(device, memory_format=layout),
    )
    loop = Loop(learner, wish.settings, folder=wish.folder, device=device)

    def step() -> Terms:
        loop.step = 0
        terms = {name: float(value) for name, value in loop.take_step(batch).items()}
        supervised = {name: value for name, value in terms.items() if "supervised" in name}
        others = sum(value for name, value in terms.items() if name not in supervised)
        return sum(supervised.values()), others

    return step


def pymics_co_training(wish: Wish) -> Callable[[], Terms]:
    """A step of PyMIC's `SSLCPS`."""
    ensure_torchvision()  # PyMIC imports it
    from pymic.net_run.semi_sup import SSLCPS  # type: ignore[import-not-found]

    method = _method(CPS)
    return _pymics(wish, SSLCPS, _TwoNetworks(method.first, method.second))


def pymics_ua_mt(wish: Wish) -> Callable[[], Terms]:
    """A step of PyMIC's `SSLUncertaintyAwareMeanTeacher`."""
    ensure_torchvision()
    from pymic.net_run.semi_sup import SSLUncertaintyAwareMeanTeacher

    student = _method(UA_MT).student
    return _pymics(wish, SSLUncertaintyAwareMeanTeacher, student, net_ema=deepcopy(student))


def _method(name: str) -> Any:
    """A method with fresh V-Nets, the same in every process."""
    torch.manual_seed(0)
    return METHODS.load(name)(lambda: VNet(1, 2, dropout=0.0))


def _batch(wish: Wish) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Labeled images, their label maps, unlabeled images."""
    generator = torch.Generator().manual_seed(0)
    sides = wish.settings.patch
    images = torch.randn(4, 1, *sides, generator=generator)
    target = (torch.rand(2, *sides, generator=generator) > 0.9).long()
    return images[:2], target, images[2:]


class _TwoNetworks(torch.nn.Module):
    def __init__(self, first: torch.nn.Module, second: torch.nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.first(image), self.second(image)


def _pymics(wish: Wish, agent_type: Any, net: torch.nn.Module, **more: Any) -> Callable[[], Terms]:
    """PyMIC's own training code, one iteration."""
    device = choose_device(wish.settings.device)
    labeled, target, unlabeled = _batch(wish)
    agent = agent_type.__new__(agent_type)
    agent.config = {
        "network": {"class_num": 2},
        "training": {"iter_valid": 1, "iter_max": wish.settings.steps},
        "semi_supervised_learning": {"regularize_w": 0.1, "rampup_end": wish.settings.steps},
    }
    agent.tensor_type, agent.device, agent.glob_it = "float", device, 0
    agent.net = net.to(device)
    for name, value in more.items():
        setattr(agent, name, value)
    settings = wish.settings
    agent.optimizer = torch.optim.SGD(
        agent.net.parameters(), settings.learning_rate, settings.momentum,
        weight_decay=settings.weight_decay,
    )  # fmt: skip
    shares = torch.nn.functional.one_hot(target, 2).movedim(-1, 1).float()
    agent.trainIter = itertools.repeat({"image": labeled, "label_prob": shares})
    agent.trainIter_unlab = itertools.repeat({"image": unlabeled})
    agent.get_loss_value = _loss

    def step() -> Terms:
        found = agent.training()
        unsupervised = float(found["regular_w"]) * _sum(found, OF_UNLABELED)
        return _sum(found, OF_LABELED), unsupervised

    return step


def _loss(data: dict[str, Any], prediction: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """The loss of labeled patches and, with pseudo-labels, of unlabeled ones, as in llmseg."""
    labels = truth.argmax(dim=1)
    if "label_prob" in data:
        return dice_cross_entropy(prediction, labels)
    return torch.nn.functional.cross_entropy(prediction, labels)


def _sum(found: dict[str, Any], names: tuple[str, ...]) -> float:
    return sum(float(found.get(name, 0)) for name in names)
