"""The training loop: one for all methods."""

import copy
import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from llmseg_cli.artifacts.run_files import BEST, CONFIG, STATE, WEIGHTS
from llmseg_cli.config import TrainSettings
from llmseg_cli.errors import StoppedError
from llmseg_cli.options import MOST
from llmseg_cli.progress import Progress, silent
from llmseg_cli.training.checkpoints import (
    load_into,
    save_state,
    save_weights,
)
from llmseg_cli.training.clock import Clock
from llmseg_cli.training.compilation import compiled
from llmseg_cli.training.continuing import go_on_from_state, state_of
from llmseg_cli.training.ema import frozen_copy, update_average
from llmseg_cli.training.learner import Learner, Score
from llmseg_cli.training.log import OBSERVED, ScalarLog, refuse_nonfinite
from llmseg_cli.training.means import add_shares
from llmseg_cli.training.optimizers import build_optimizer, set_rate
from llmseg_cli.training.pace import Pace, memory_mb
from llmseg_cli.training.parts import within_part
from llmseg_cli.training.plateau import Plateau
from llmseg_cli.training.precision import autocast, choose_dtype
from llmseg_cli.training.ramps import learning_rate_factor
from llmseg_cli.training.ranks import ALONE, Ranks
from llmseg_cli.training.stop import StopRequest
from llmseg_cli.training.trained import Trained
from llmseg_cli.training.undisturbed import answering

LOOK_EVERY_S = 5.0  # between two looks at the loss on a GPU, which is waited for then


class Loop:
    """Trains a method step by step, saves its state, and continues exactly from it.

    Args:
        learner: The method, on its device.
        settings: How to train.
        folder: The run folder; its files are written here.
        device: Where the learner is.
        score: Scores networks on the validation cases; None if there are none.
        epoch: Steps in which each labeled case is seen once, for the schedule `plateau`.
        encoder: The learner's parameters that are of a pre-trained image encoder.
        restarts: Steps before which `restart` is called, so that each part has its own course.
        ranks: Who trains the run.
        progress: Hears about every step.
    """

    def __init__(
        self,
        learner: Learner,
        settings: TrainSettings,
        *,
        folder: Path,
        device: torch.device,
        score: Score | None = None,
        epoch: int = 1,
        encoder: Iterable[nn.Parameter] = (),
        restarts: Sequence[int] = (),
        ranks: Ranks = ALONE,
        progress: Progress = silent,
    ) -> None:
        self.learner, self.settings, self.folder = learner, settings, folder
        self.ranks = ranks
        self.device, self.score, self.progress = device, score, progress
        self.dtype = choose_dtype(settings.precision, device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype == torch.float16)
        self.trained = [p for p in learner.parameters() if p.requires_grad]
        self.optimizer = build_optimizer(self.trained, settings, encoder=encoder)
        self.averages = (
            {name: frozen_copy(network) for name, network in learner.networks().items()}
            if settings.ema
            else {}
        )
        is_plateau = settings.learning_rate_schedule == "plateau"
        self.plateau = Plateau(epoch) if is_plateau else None
        self.step, self.steps, self.restarts = 0, settings.steps, tuple(restarts)
        self._first = copy.deepcopy(learner.state_dict()) if restarts else {}
        self.clock = Clock(settings.budget_s) if settings.budget else None
        self.losses: dict[str, float] = {}  # when they were last looked at
        self._observed: dict[str, Tensor] = {}  # by the method in the last step
        self.final_score: float | None = None
        self.best: tuple[float, int] | None = None
        self.log, self.pace = ScalarLog(folder if ranks.leads else None), Pace()
        self._looked = -LOOK_EVERY_S  # when at the loss
        self._losses = learner.losses
        if settings.compile:
            self._losses = compiled(learner.losses, learner.networks())

    def resume(self) -> None:
        """Continue from the saved state, if there is one."""
        go_on_from_state(self)

    def restart(self) -> None:
        """Go back to the first weights, with a new optimizer; averages begin with the next step."""
        load_into(self.learner, self._first, source="the first weights")  # type: ignore[arg-type]
        self.optimizer.state.clear()
        if self.plateau:
            self.plateau = Plateau(self.plateau.epoch)

    def run(self, batches: Iterator[Any], stop: StopRequest) -> Trained:
        """Train to the last step, and write the final weights.

        Args:
            batches: Batches from the current step on, on the CPU or the device.
            stop: Set by a signal; the loop then saves and raises.

        Raises:
            StoppedError: If a signal stopped the run; its state is saved.
            DataError: If a loss is not finite.
        """
        self.log.start(self.step)
        if self.clock:
            self.clock.start(self.clock.used_s if self.step else 0.0)
        try:
            return self._run(batches, stop)
        finally:
            self.log.close()

    def _run(self, batches: Iterator[Any], stop: StopRequest) -> Trained:
        self.learner.train()
        started, waited = time.monotonic(), 0.0
        self.pace.start()
        self._report()
        while self.step < self.steps:
            with self.ranks.going_back(self._save_as_left, self.learner):
                before = time.monotonic()
                chosen = list(itertools.islice(batches, self.settings.accumulate))
                if len(chosen) < self.settings.accumulate:
                    raise ValueError(f"batches end at step {self.step} of {self.steps}")
                waited += time.monotonic() - before
                means = self.take_step(*chosen)
            with self.ranks.going_back(self._save_as_left):
                stopping = self.ranks.agree_to_stop(stop)
                self._after_step(means, round(waited, 3), stopping=stopping)
            if stopping or (stop and self.ranks.is_alone):
                self.save()
                raise StoppedError(
                    f"{stop.signal}: saved after step {self.step} of {self.steps} in "
                    f"{self.folder}. Run the same command with --resume to continue."
                )
        return self._finish(time.monotonic() - started, waited)

    @property
    def last_step(self) -> int:
        """One past the last step that batches may be asked for."""
        return MOST if self.clock else self.steps

    def final_networks(self) -> dict[str, nn.Module]:
        """The networks whose weights are the result: the averages if there are any."""
        return self.averages or self.learner.networks()

    def take_step(self, *batches: Any) -> dict[str, Tensor]:
        """Learn from the mean loss of the batches; returns its terms, on the device."""
        schedule, warmup = self.settings.learning_rate_schedule, self.settings.warmup
        done, steps = within_part(self.restarts, self.step, self.steps)
        factor = learning_rate_factor(schedule, done, steps=steps, warmup=warmup)
        factor *= self.plateau.factor if self.plateau else 1
        set_rate(self.optimizer, self.settings, factor=factor)
        self.optimizer.zero_grad(set_to_none=True)
        means: dict[str, Tensor] = {}
        self._observed = {}
        for batch in batches:
            with autocast(self.device, self.dtype), self.ranks.sharing():
                terms = self._losses(batch, progress=done / steps)
            shares = [term.float() / len(batches) for term in terms.values()]
            self.scaler.scale(torch.stack(shares).sum()).backward()  # type: ignore[no-untyped-call]
            add_shares(means, terms, of=len(batches))
            add_shares(self._observed, self.learner.observed(), of=len(batches))
        total = self.ranks.as_first(torch.stack([*means.values()]).sum())
        whole = {id(p) for judge in self.learner.judges() for p in judge.parameters()}
        self.ranks.add_gradients(p for p in self.trained if id(p) not in whole)
        if self.settings.clip_grad:
            self.scaler.unscale_(self.optimizer)
            for network in self.learner.networks().values():
                nn.utils.clip_grad_norm_(network.parameters(), self.settings.clip_grad)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.plateau:
            self.plateau.add(total)
        self.learner.after_step(self.step)
        for name, average in self.averages.items():
            current = self.learner.networks()[name]
            update_average(average, current, decay=self.settings.ema, step=done)
        self.step += 1
        return means

    def _after_step(self, terms: dict[str, Tensor], waited: float, *, stopping: bool) -> None:
        settings, step = self.settings, self.step
        self.pace.step()
        if self.clock:
            self.steps = self.ranks.of_first(
                self.clock.steps(
                    step,
                    step_s=self.pace.step_s or 0.0,
                    validation_s=self.pace.validation_s,
                    validate_every=settings.validate_every,
                )
            )
        last = step == self.steps
        saves = step % settings.save_every == 0 and not last
        logs = step % settings.log_every == 0 or last
        if logs or saves or stopping or self._may_look():
            self.losses = {name: float(term) for name, term in terms.items()}
            refuse_nonfinite(self.losses, step)  # a state that is saved is worth continuing from
        if logs:
            rate = self.optimizer.param_groups[0]["lr"]
            seen = {OBSERVED + name: float(value) for name, value in self._observed.items()}
            self.log.write(step, learning_rate=rate, data_wait_s=waited, **self.losses, **seen)
        self._report()
        if self.score and (step % settings.validate_every == 0 or last):
            with self.pace.validating():
                self._validate()
        if saves:
            self.save()

    def _may_look(self) -> bool:
        """Whether to ask for the losses of a step: a GPU would have to be waited for."""
        now = time.monotonic()
        if self.device.type != "cpu" and now - self._looked < LOOK_EVERY_S:
            return False
        self._looked = now
        return True

    def _report(self) -> None:
        """Say how far training is, and what is known without waiting for a GPU."""
        step, steps, every = self.step, self.steps, self.settings.validate_every
        known: dict[str, float | None] = {
            "step_s": self.pace.step_s,
            "left_s": None,
            "loss": sum(self.losses.values()) if self.losses else None,
            "validation_dice": self.final_score,
            "memory_mb": memory_mb(self.device),
        }
        if self.pace.step_s is not None:
            validations = -(-steps // every) - step // every
            known["left_s"] = self.pace.left_s(steps - step, validations if self.score else 0)
        told = {name: value for name, value in known.items() if value is not None}
        self.progress("train", step, steps, **told)

    def _validate(self) -> None:
        assert self.score is not None
        networks = self.final_networks()
        with answering(networks), autocast(self.device, self.dtype):
            value = self.score(networks)
        self.final_score = value
        self.log.write(self.step, validation_dice=value)
        if self.best is None or value > self.best[0]:
            self.best = (value, self.step)
            metadata = {"step": str(self.step), "validation_dice": repr(value)}
            if self.ranks.leads:
                save_weights(self.folder / BEST, networks, metadata)

    def save(self) -> None:
        """Write the state, from which `resume` continues exactly."""
        if self.ranks.leads:
            self.log.flush()
            save_state(self.folder / STATE, state_of(self))

    def _save_as_left(self) -> None:
        """The same where another process is gone, maybe the one that writes; all have all of it."""
        if (self.folder / CONFIG).is_file():  # it is seen from here
            save_state(self.folder / STATE, state_of(self))

    def _finish(self, elapsed: float, waited: float) -> Trained:
        self.save()
        if self.ranks.leads:
            save_weights(self.folder / WEIGHTS, self.final_networks(), {"step": str(self.step)})
        best_score, best_step = self.best or (None, None)
        return Trained(
            self.step, self.losses, self.final_score, best_score, best_step, elapsed, waited
        )
