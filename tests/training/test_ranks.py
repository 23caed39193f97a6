"""Several processes that train together do what one would."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import two_ranks
from several_processes import codes, free_port, place, start
from torch import Tensor, nn

from llmseg_cli.artifacts.launch import Launch
from llmseg_cli.config import TrainSettings
from llmseg_cli.errors import ResourceError, UsageError
from llmseg_cli.training.joining import device_of_rank, join_ranks
from llmseg_cli.training.loop import Loop
from llmseg_cli.training.ranks import ALONE, LostRankError, Ranks
from llmseg_cli.training.rows import shared
from llmseg_cli.training.stop import StopRequest

CPU = torch.device("cpu")
EXACT = {"rtol": 1e-6, "atol": 1e-8}
OF_FLOAT32 = {"rtol": 1e-6, "atol": 1e-6}


@pytest.fixture(scope="module")
def of_two(tmp_path_factory) -> dict[str, dict[str, Tensor]]:
    """What two processes have made of each training."""
    folder = tmp_path_factory.mktemp("two")
    found = codes(start([two_ranks.__file__, folder / "two.pt"], folder))
    said = [(folder / f"{rank}.txt").read_text() for rank in (0, 1)]
    assert found == [0, 0], said
    states: dict[str, dict[str, Tensor]] = torch.load(folder / "two.pt")
    return states


@pytest.fixture
def one(monkeypatch) -> Iterator[Ranks]:
    """A single process, started as several are."""
    for name, value in place(free_port()).items():
        monkeypatch.setenv(name, value)
    with join_ranks(Launch(0, 1, 0), CPU) as ranks:
        yield ranks


@pytest.mark.parametrize("name", two_ranks.TRAININGS)
def test_two_ranks_of_two_patches_are_one_of_four(name, of_two, one):
    expected, found = two_ranks.TRAININGS[name](one), of_two[name]
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        bounds = OF_FLOAT32 if name.endswith("float32") else EXACT
        torch.testing.assert_close(found[key], value, **bounds, msg=lambda m, k=key: f"{k}: {m}")


@pytest.mark.parametrize("name", ["supervised", "usl", "copy-paste", "batch statistics"])
def test_they_are_a_process_without_torchrun_where_dropout_is_of_channels(name, of_two):
    expected = two_ranks.TRAININGS[name](ALONE)
    for key, value in expected.items():
        torch.testing.assert_close(of_two[name][key], value, **EXACT)


@pytest.mark.parametrize(("steps_in_one", "method"), [(1, "mean-teacher"), (2, "usl")])
def test_gradients_of_what_is_trained_are_sent_once_a_step_and_nothing_else(
    steps_in_one, method, one, monkeypatch
):
    """Neither teachers and averages, nor the gradients of each part of a step."""
    sent: list[int] = []
    monkeypatch.setattr(one, "add", lambda values: sent.append(values.numel()))
    state = two_ranks.train(
        method, one, settings={"accumulate": steps_in_one}, **two_ranks.INSTANCE
    )
    trained = ("student.", "first.", "second.")
    weights = sum(value.numel() for key, value in state.items() if key.startswith(trained))
    assert sum(sent) == two_ranks.STEPS * weights
    assert weights < sum(value.numel() for value in state.values())


class Shaky(nn.Module):
    """A network that draws numbers for itself."""

    def __init__(self, draw) -> None:
        super().__init__()
        self.draw = draw

    def forward(self, image: Tensor) -> Tensor:
        return image + self.draw(image)


class Second(Ranks):
    """The second of two, whose first says the same."""

    def __init__(self) -> None:
        super().__init__(Launch(1, 2, 1), None)

    def gather(self, rows: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(rows), rows])


@pytest.mark.parametrize(
    "draw",
    [
        torch.rand_like,
        lambda image: torch.rand(image.shape),
        lambda image: torch.randn(size=image.shape),
        lambda image: torch.randint(9, (len(image), 1)),
        lambda image: torch.empty_like(image).uniform_(-1, 1),
        lambda image: nn.functional.dropout1d(torch.ones_like(image)[..., None], 0.4)[..., 0],
    ],
)
def test_numbers_drawn_in_a_network_are_the_rows_of_all(draw):
    ranks, whole = Second(), torch.zeros(4, 3)
    network = shared(lambda: Shaky(draw), ranks)()
    torch.manual_seed(1)
    expected = network(whole)
    torch.manual_seed(1)
    with ranks.sharing():
        found = network(whole)
    assert torch.equal(found[2:], expected[2:])


class Alone(Ranks):
    """One of one, started as several are."""

    def __init__(self) -> None:
        super().__init__(Launch(0, 1, 0), None)

    def gather(self, rows: Tensor) -> Tensor:
        return rows


@pytest.mark.parametrize("p", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("inplace", [False, True])
def test_dropout_of_single_values_is_that_of_one_rank(p, inplace):
    whole, answers = torch.rand(4, 3, 500) + 1, []
    for ranks in (Alone(), Second()):
        network = shared(
            lambda: Shaky(lambda image: nn.functional.dropout(image.clone(), p, True, inplace)),
            ranks,
        )()
        torch.manual_seed(1)
        with ranks.sharing():
            answers.append(network(whole))
    of_one, of_two = answers
    assert torch.equal(of_two[2:], of_one[2:])
    factors = (of_one - whole) / whole
    kept = factors > 0
    torch.testing.assert_close(factors[kept], torch.full_like(factors[kept], 1 / (1 - p or 1)))
    assert factors[~kept].abs().max() == 0
    assert (~kept).float().mean().item() == pytest.approx(p, abs=4 * (p * (1 - p) / 6000) ** 0.5)
    assert not torch.equal(kept[0], kept[1]) or p == 1  # each row has numbers of its own


@pytest.mark.parametrize(
    "draw",
    [
        lambda image: torch.randperm(len(image))[:, None],
        lambda image: torch.rand(7, 1)[: len(image)],
        lambda image: torch.rand(())[None],
        lambda image: nn.functional.scaled_dot_product_attention(
            image[None], image[None], image[None], dropout_p=0.5
        )[0],
    ],
)
def test_what_cannot_be_drawn_exactly_is_refused(draw):
    ranks = Second()
    network = shared(lambda: Shaky(draw), ranks)()
    with ranks.sharing(), pytest.raises(UsageError, match=r"one process"):
        network(torch.zeros(4, 3))
    assert network(torch.zeros(3, 3)).shape == (3, 3)  # by itself it may


def test_a_rank_may_be_an_hour_behind_and_the_first_prepare_for_days(monkeypatch):
    """Ten minutes, torch's own, end a training whose first rank prepares cases or mines."""
    waits: list[timedelta] = []
    for name in ("init_process_group", "new_group"):
        monkeypatch.setattr(
            torch.distributed, name, lambda *_, timeout, **__: waits.append(timeout)
        )
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: None)
    with join_ranks(Launch(0, 2, 0), CPU):
        assert waits == [timedelta(hours=1), timedelta(days=7)]


def test_numbers_of_patches_that_cannot_be_shared_are_refused():
    ranks = Ranks(Launch(0, 4, 0))
    with pytest.raises(UsageError, match=r"--batch 6 on 4 processes.*such as 8, or start fewer"):
        ranks.refuse_uneven(batch=6)
    ranks.refuse_uneven(batch=8, unlabeled_batch=4)
    second = Second()
    network = shared(lambda: Shaky(torch.zeros_like), second)()
    with second.sharing(), pytest.raises(UsageError, match=r"3 patches are asked at once, which 2"):
        network(torch.zeros(3, 3))


def test_each_process_of_a_machine_has_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    gpu = torch.device("cuda")
    assert device_of_rank(gpu, Launch(3, 4, 1)) == torch.device("cuda", 1)
    assert device_of_rank(CPU, Launch(3, 4, 1)) == CPU
    assert device_of_rank(torch.device("cuda", 1), None) == torch.device("cuda", 1)
    with pytest.raises(UsageError, match=r"cuda:1 is one GPU, and each of 4 processes needs its"):
        device_of_rank(torch.device("cuda", 1), Launch(0, 4, 0))
    with pytest.raises(ResourceError, match=r"no GPU: there are 2.*--nproc-per-node 2"):
        device_of_rank(gpu, Launch(2, 4, 2))


class Counting(nn.Module):
    """A learner whose step draws a number and counts it, and may lose a rank after that."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.register_buffer("seen", torch.zeros(1))
        self.lost_at = -1

    def losses(self, batch: int, *, progress: float) -> dict[str, Tensor]:
        drawn = torch.rand(1)
        self.seen += drawn
        if batch == self.lost_at:
            raise LostRankError("Connection closed by peer")
        return {"near": (self.weight - drawn).square().sum()}

    def observed(self) -> dict[str, Tensor]:
        return {}

    def after_step(self, step: int) -> None:
        pass

    def judges(self) -> tuple[nn.Module, ...]:
        return ()

    def networks(self) -> dict[str, nn.Module]:
        return {"one": self}


def counting(folder: Path, ranks: Ranks, *, lost_at: int = -1, resume: bool = False) -> Loop:
    torch.manual_seed(0)
    learner = Counting()
    learner.lost_at = lost_at
    settings = TrainSettings(steps=6, precision="fp32", optimizer="sgd", learning_rate=0.1)
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").touch()
    loop = Loop(learner, settings, folder=folder, device=CPU, ranks=ranks)
    if resume:
        loop.resume()
    loop.run(iter(range(loop.step, 6)), StopRequest())
    return loop


def test_a_lost_rank_costs_the_step_that_it_was_lost_in_alone(tmp_path, one):
    straight = counting(tmp_path / "straight", one)
    with pytest.raises(LostRankError):
        counting(tmp_path / "run", one, lost_at=4)
    resumed = counting(tmp_path / "run", one, resume=True)
    assert torch.load(tmp_path / "run" / "state.ckpt")["step"] == 6
    assert torch.equal(resumed.learner.weight, straight.learner.weight)
    assert torch.equal(resumed.learner.seen, straight.learner.seen)
