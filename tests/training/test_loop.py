"""The loop with a network of four numbers, against the same training written out."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.exc import BackendCompilerFailed

from llmseg_cli.artifacts.run_files import BEST, STATE, WEIGHTS
from llmseg_cli.config import TrainSettings
from llmseg_cli.errors import ArtifactError, DataError, StoppedError
from llmseg_cli.training.checkpoints import load_weights
from llmseg_cli.training.log import losses_of
from llmseg_cli.training.loop import Loop
from llmseg_cli.training.stop import StopRequest

CPU = torch.device("cpu")
TARGET = torch.tensor([1.0, -2.0, 0.5, 3.0])


class Point(nn.Module):
    """A network that is a point, and dropout, so that random states matter."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(4))
        self.dropout = nn.Dropout(0.5)
        self.register_buffer("calls", torch.tensor(0))

    def forward(self, shift: Tensor) -> Tensor:
        self.calls += 1
        return self.dropout(self.place + shift)


class Seek(nn.Module):
    """Learns to be at the target; remembers the progress it was told."""

    def __init__(self, bad_from: float = 2.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.point = Point()
        self.bad_from = bad_from
        self.told: list[float] = []
        self.after: list[int] = []

    def losses(self, batch: Tensor, *, progress: float) -> dict[str, Tensor]:
        self.told.append(progress)
        self.seen = batch
        near = (self.point(batch) - TARGET).square().mean()
        far = near * 0 + (float("nan") if progress >= self.bad_from else 0.25)
        return {"near": near, "far": far}

    def observed(self) -> dict[str, Tensor]:
        return {"mean": self.seen.mean()}

    def after_step(self, step: int) -> None:
        self.after.append(step)

    def judges(self) -> tuple[nn.Module, ...]:
        return ()

    def networks(self) -> dict[str, nn.Module]:
        return {"point": self.point}


def batches(start: int = 0) -> Iterator[Tensor]:
    step = start
    while True:
        yield 0.1 * torch.randn(4, generator=torch.Generator().manual_seed(step))
        step += 1


def settings(**changes) -> TrainSettings:
    options = {
        "steps": 12,
        "precision": "fp32",
        "optimizer": "sgd",
        "learning_rate": 0.1,
        "log_every": 4,
        "save_every": 5,
        "validate_every": 3,
    }
    return TrainSettings(**(options | changes))


def loop(folder: Path, *, score=None, learner=None, restarts=(), **changes) -> Loop:
    folder.mkdir(exist_ok=True)
    return Loop(
        learner or Seek(),
        settings(**changes),
        folder=folder,
        device=CPU,
        score=score,
        restarts=restarts,
    )


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def stopping() -> StopRequest:
    stop = StopRequest()
    stop.signal = "SIGTERM"
    return stop


def final_place(folder: Path) -> Tensor:
    return load_weights(folder / WEIGHTS)["point"]["place"]


@pytest.mark.parametrize("ema", [0.0, 0.8])
@pytest.mark.parametrize("clip", [0.0, 0.3])
def test_equals_training_written_out(tmp_path, ema, clip):
    loop(tmp_path, ema=ema, clip_grad=clip, learning_rate_schedule="cosine").run(
        batches(), StopRequest()
    )
    learner, data = Seek(), batches()
    optimizer = torch.optim.SGD(learner.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=12)
    average = torch.zeros(4)
    for step in range(12):
        optimizer.zero_grad()
        sum(learner.losses(next(data), progress=0.0).values()).backward()
        if clip:
            nn.utils.clip_grad_norm_(learner.parameters(), clip)
        optimizer.step()
        schedule.step()
        kept = min(ema, 1 - 1 / (step + 1))
        average = kept * average + (1 - kept) * learner.point.place.detach()
    expected = average if ema else learner.point.place.detach()
    torch.testing.assert_close(final_place(tmp_path), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("schedule", ["cosine", "plateau"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("ema", [0.0, 0.8])
def test_a_part_is_a_training_from_the_first_weights(tmp_path, optimizer, ema, schedule):
    changes = {"optimizer": optimizer, "ema": ema, "learning_rate_schedule": schedule}

    def sure() -> Seek:  # without dropout, whose draws would be others
        learner = Seek()
        learner.point.dropout.p = 0.0
        return learner

    def restarted() -> Iterator[Tensor]:
        for step, batch in enumerate(batches()):
            if step == 5:
                parts.restart()
            yield batch

    parts = loop(tmp_path / "parts", learner=sure(), restarts=(5,), **changes)
    parts.run(restarted(), StopRequest())
    alone = loop(tmp_path / "alone", learner=sure(), steps=7, **changes)
    alone.run(batches(5), StopRequest())
    assert torch.equal(final_place(tmp_path / "parts"), final_place(tmp_path / "alone"))
    told = [*(step / 5 for step in range(5)), *(step / 7 for step in range(7))]
    assert parts.learner.told == told


@pytest.mark.parametrize("accumulate", [1, 3])
def test_what_a_method_observes_is_logged_and_is_no_loss(tmp_path, accumulate):
    """The mean over the batches of the step that is logged; the losses are as without it."""
    trained = loop(tmp_path, accumulate=accumulate).run(batches(), StopRequest())
    data = list(itertools.islice(batches(), 12 * accumulate))
    logged = [line for line in lines(tmp_path) if "near" in line]
    assert [line["step"] for line in logged] == [4, 8, 12]
    for line in logged:
        of_step = data[(line["step"] - 1) * accumulate : line["step"] * accumulate]
        expected = torch.stack(of_step).mean().item()
        assert line["observed_mean"] == pytest.approx(expected, rel=1e-5)
        assert losses_of(line).keys() == trained.losses.keys() == {"near", "far"}


@pytest.mark.parametrize("schedule", ["poly", "plateau"])
def test_accumulated_gradients_are_those_of_the_mean_loss(tmp_path, schedule):
    changes = {"accumulate": 3, "learning_rate_schedule": schedule}
    trained = loop(tmp_path, **changes).run(batches(), StopRequest())
    learner, data = Seek(), batches()
    optimizer = torch.optim.SGD(learner.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    for step in range(12):
        for group in optimizer.param_groups:
            group["lr"] = 0.1 * ((1 - step / 12) ** 0.9 if schedule == "poly" else 1)
        found = [learner.losses(next(data), progress=step / 12) for _ in range(3)]
        means = {name: sum(terms[name] for terms in found) / 3 for name in found[0]}
        optimizer.zero_grad()
        sum(means.values()).backward()
        optimizer.step()
    torch.testing.assert_close(final_place(tmp_path), learner.point.place.detach())
    assert trained.losses == pytest.approx({name: value.item() for name, value in means.items()})


def test_accumulation_continues_with_the_batch_that_comes_next(tmp_path):
    loop(tmp_path / "whole", accumulate=2).run(batches(), StopRequest())
    taken = loop(tmp_path / "half", accumulate=2, steps=12)
    source = batches()
    for _ in range(5):
        taken.take_step(next(source), next(source))
    taken.save()
    random = torch.get_rng_state()
    continued = loop(tmp_path / "half", accumulate=2)
    torch.set_rng_state(random)
    continued.resume()
    continued.run(batches(start=2 * continued.step), StopRequest())
    assert torch.equal(final_place(tmp_path / "whole"), final_place(tmp_path / "half"))


def test_the_learner_hears_progress_and_steps(tmp_path):
    learner = Seek()
    loop(tmp_path, learner=learner).run(batches(), StopRequest())
    assert learner.told == [step / 12 for step in range(12)]
    assert learner.after == list(range(12))


def test_the_log_has_each_logged_step_and_the_last(tmp_path):
    trained = loop(tmp_path, steps=10).run(batches(), StopRequest())
    found = lines(tmp_path)
    assert [line["step"] for line in found] == [4, 8, 10]
    values = {"learning_rate", "data_wait_s", "near", "far", "observed_mean"}
    assert set(found[0]) == {"step", "time", *values}
    assert found[-1]["near"] == trained.losses["near"]
    assert found[0]["learning_rate"] == pytest.approx(0.1 * (1 - 3 / 10) ** 0.9)
    assert list((tmp_path / "tensorboard").iterdir())


def test_progress_is_told(tmp_path):
    heard = []
    training = loop(tmp_path, steps=10)
    training.progress = lambda *report, **values: heard.append((*report, sorted(values)))
    training.run(batches(), StopRequest())
    assert [report[:3] for report in heard] == [("train", step, 10) for step in range(11)]
    rate = ["left_s", "loss", "step_s"]
    assert all(set(report[3]) - {"memory_mb"} == set(rate) for report in heard[1:])


def test_each_step_tells_its_loss_and_the_last_score(tmp_path):
    told = []
    training = loop(tmp_path, steps=7, score=lambda _: 0.25)
    training.progress = lambda phase, done, total, **values: told.append(values)
    terms = []
    take = training.take_step
    training.take_step = lambda *chosen: terms.append(take(*chosen)) or terms[-1]
    training.run(batches(), StopRequest())
    for values, step in zip(told[1:], terms, strict=True):
        assert values["loss"] == pytest.approx(sum(float(term) for term in step.values()))
    assert [values.get("validation_dice") for values in told] == [None] * 4 + [0.25] * 4


def test_a_gpu_is_not_waited_for_at_each_step(tmp_path):
    looked = []
    training = loop(tmp_path, log_every=1000, save_every=1000)

    class OnGpu:
        def __float__(self) -> float:
            looked.append(training.step)
            return 0.5

    def step(*chosen: Tensor) -> dict[str, OnGpu]:
        training.step += 1
        return {"near": OnGpu()}

    training.take_step = step
    training.device = torch.device("meta")  # any but the CPU
    training.run(batches(), StopRequest())
    assert looked == [1, 12]  # at once, for something to show, and for the log


@pytest.mark.parametrize("log_every", [1, 4, 100])
@pytest.mark.parametrize("save_every", [5, 100])
def test_a_loss_that_is_not_finite_ends_the_run_and_is_never_saved(tmp_path, log_every, save_every):
    training = loop(
        tmp_path, learner=Seek(bad_from=0.3), log_every=log_every, save_every=save_every
    )
    with pytest.raises(DataError, match=r"loss 'far' is nan at step \d+\. Try a lower --learning"):
        training.run(batches(), StopRequest())
    assert not (tmp_path / STATE).exists()
    assert not (tmp_path / WEIGHTS).exists()


def test_a_state_saved_on_a_signal_is_finite_too(tmp_path):
    with pytest.raises(DataError, match="nan at step 1"):
        loop(tmp_path, learner=Seek(bad_from=0), log_every=100).run(batches(), stopping())
    assert not (tmp_path / STATE).exists()


@pytest.mark.parametrize("ema", [0.0, 0.9])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_stopped_after_every_step_and_resumed_equals_in_one_go(tmp_path, ema, optimizer):
    options = {"ema": ema, "optimizer": optimizer, "warmup": 4, "clip_grad": 1.0}
    scores = iter([0.3, 0.9, 0.2, 0.5] * 2)
    whole = loop(tmp_path / "whole", score=lambda _: next(scores), **options)
    expected = whole.run(batches(), StopRequest())
    for done in range(1, 13):
        piece = loop(tmp_path / "pieces", score=lambda _: next(scores), **options)
        if done > 1:
            torch.manual_seed(done)  # whatever happened before
        piece.resume()
        assert piece.step == done - 1
        with pytest.raises(StoppedError, match=f"SIGTERM: saved after step {done} of 12.*--resume"):
            piece.run(batches(piece.step), stopping())
    last = loop(tmp_path / "pieces", **options)
    last.resume()
    found = last.run(batches(last.step), StopRequest())
    for name in (WEIGHTS, BEST):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "pieces" / name).read_bytes()
    found.elapsed_s, found.waited_s = expected.elapsed_s, expected.waited_s
    assert found == expected
    assert (found.final_score, found.best_score, found.best_step) == (0.5, 0.9, 6)
    kept = [{**line, "time": 0, "data_wait_s": 0} for line in lines(tmp_path / "pieces")]
    assert kept == [{**line, "time": 0, "data_wait_s": 0} for line in lines(tmp_path / "whole")]


def test_resuming_drops_what_will_be_done_again(tmp_path):
    first = loop(tmp_path, steps=12)
    with pytest.raises(RuntimeError, match="power"):
        first.run(_failing_at(9), StopRequest())  # saved at 5, logged 4 and 8
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 9, "ti')  # cut short by a kill
    again = loop(tmp_path, steps=12)
    again.resume()
    assert again.step == 5
    again.run(batches(5), StopRequest())
    assert [line["step"] for line in lines(tmp_path)] == [4, 8, 12]


def _failing_at(step: int) -> Iterator[Tensor]:
    for index, batch in enumerate(batches()):
        if index == step:
            raise RuntimeError("power")
        yield batch


def test_a_kill_while_the_log_is_written_anew_loses_nothing(tmp_path, monkeypatch):
    with pytest.raises(RuntimeError, match="power"):
        loop(tmp_path).run(_failing_at(9), StopRequest())
    before = (tmp_path / "log.jsonl").read_text()
    again = loop(tmp_path)
    again.resume()

    def replace(source: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        again.run(batches(5), StopRequest())
    assert (tmp_path / "log.jsonl").read_text() == before


def test_nothing_to_resume_starts_at_the_beginning(tmp_path):
    fresh = loop(tmp_path)
    fresh.resume()
    assert fresh.step == 0


def test_a_state_of_another_architecture(tmp_path):
    loop(tmp_path).run(batches(), StopRequest())
    other = Seek()
    other.point.place = nn.Parameter(torch.zeros(5))
    with pytest.raises(ArtifactError, match=r"state\.ckpt is of another.*point\.place"):
        loop(tmp_path, learner=other).resume()


def test_the_best_checkpoint_is_the_best_on_validation(tmp_path):
    seen = []

    def score(networks) -> float:
        seen.append(networks["point"].place.detach().clone())
        return [0.1, 0.7, 0.4, 0.7][len(seen) - 1]

    trained = loop(tmp_path, score=score).run(batches(), StopRequest())
    assert (trained.best_score, trained.best_step, trained.final_score) == (0.7, 6, 0.7)
    assert torch.equal(load_weights(tmp_path / BEST)["point"]["place"], seen[1])
    assert torch.equal(final_place(tmp_path), seen[3])
    found = {line["step"]: line["validation_dice"] for line in lines(tmp_path) if len(line) == 3}
    assert found == {3: 0.1, 6: 0.7, 9: 0.4, 12: 0.7}


def test_without_validation_there_is_no_best(tmp_path):
    trained = loop(tmp_path).run(batches(), StopRequest())
    assert not (tmp_path / BEST).exists()
    assert (trained.best_score, trained.best_step, trained.final_score) == (None, None, None)


def test_validation_scores_the_average_and_changes_nothing(tmp_path):
    kinds = []

    def score(networks) -> float:
        torch.randn(100)
        kinds.append(networks["point"].place.requires_grad)
        networks["point"].eval()
        return 0.5

    loop(tmp_path / "a", ema=0.9, score=score).run(batches(), StopRequest())
    loop(tmp_path / "b", ema=0.9).run(batches(), StopRequest())
    assert kinds == [False] * 4
    assert torch.equal(final_place(tmp_path / "a"), final_place(tmp_path / "b"))


def test_validation_of_trained_networks_puts_their_mode_back(tmp_path):
    learner = Seek()

    def score(networks) -> float:
        networks["point"].eval()
        return 0.5

    loop(tmp_path, learner=learner, score=score, steps=7).run(batches(), StopRequest())
    assert learner.point.training
    assert learner.point.calls == 7


def test_compiled_networks_are_asked_for(tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(Point, "compile", lambda network: compiled.append(network))
    training = loop(tmp_path, compile=True)
    assert compiled == [training.learner.point]


def test_where_compiling_fails_training_goes_on_without_it(tmp_path, monkeypatch, caplog):
    def cannot(*shift):
        torch.randn(3)  # what was drawn before it failed is drawn again
        raise BackendCompilerFailed("inductor", RuntimeError("no C++ compiler"), None)

    monkeypatch.setattr(Point, "compile", lambda net: setattr(net, "_compiled_call_impl", cannot))
    loop(tmp_path / "compiled", compile=True).run(batches(), StopRequest())
    loop(tmp_path / "plain").run(batches(), StopRequest())
    assert torch.equal(final_place(tmp_path / "compiled"), final_place(tmp_path / "plain"))
    (warning,) = caplog.records
    assert "--compile does not work here" in warning.getMessage()
    assert "no C++ compiler" in warning.getMessage()


def test_waiting_for_data_is_measured(tmp_path):
    trained = loop(tmp_path, steps=3).run(batches(), StopRequest())
    assert 0 <= trained.waited_s <= trained.elapsed_s
