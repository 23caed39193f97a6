"""Which pseudo-labels a step of training learns from: none, those of a folder, or mined ones."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from llmseg_cli.artifacts.files import write_text
from llmseg_cli.artifacts.journal import JOURNAL, Journal, is_whole
from llmseg_cli.artifacts.pseudo import QC
from llmseg_cli.artifacts.run_config import RunConfig
from llmseg_cli.config import TrainSettings
from llmseg_cli.data.cases import Case
from llmseg_cli.data.patches.cache import PreparedCase
from llmseg_cli.data.patches.sampling import prefetch
from llmseg_cli.errors import ArtifactError, DataError, UsageError
from llmseg_cli.methods.base import SemiBatch
from llmseg_cli.models.text_features import TextBank
from llmseg_cli.progress import Progress
from llmseg_cli.training.loop import Loop
from llmseg_cli.training.stop import StopRequest, stoppable
from llmseg_cli.training.undisturbed import answering
from llmseg_cli.workflows.mine.case import Miner, SamMiner
from llmseg_cli.workflows.mine.cases import MinedCase, MiningWork
from llmseg_cli.workflows.mine.folder import with_masks
from llmseg_cli.workflows.mine.run import qc_table
from llmseg_cli.workflows.runs.run_folder import OpenRun, asked_networks, preprocessing_of
from llmseg_cli.workflows.train.batches import batch_maker
from llmseg_cli.workflows.train.data import TrainingData
from llmseg_cli.workflows.train.folder import PREPARED, ROUNDS, remove_prepared

CALIBRATING = (
    "stopped while calibrating; the training up to here is saved. Run the same command with "
    "--resume to continue."
)


@dataclass(frozen=True)
class PseudoPlan:
    """What a run does about pseudo-labels.

    Args:
        images: Unlabeled cases of the data set, by name.
        masks: Ready masks, by case; they are learned from the first step on.
        minings: Steps before which pseudo-labels are made, in order.
        miner: What makes them, or None.
        record: For `config.yaml`.
        restarts: Steps before which training starts anew, after pseudo-labels were made.
    """

    images: dict[str, Case] = field(default_factory=dict)
    masks: dict[str, Path] = field(default_factory=dict)
    minings: tuple[int, ...] = ()
    miner: Miner | None = None
    record: dict[str, Any] | None = None
    restarts: tuple[int, ...] = ()


def round_steps(rounds: int, *, steps: int) -> tuple[int, ...]:
    """Steps before which an ensemble labels: the bounds of equal parts of the run.

    Raises:
        UsageError: If a part would have no step.
    """
    if steps <= rounds:
        raise UsageError(
            f"--method-option rounds={rounds}: {rounds + 1} parts need as many steps, and --steps "
            f"is {steps}. Pass more --steps, or fewer rounds."
        )
    return tuple(steps * part // (rounds + 1) for part in range(1, rounds + 1))


def mining_steps(
    schedule: str, every: int, *, steps: int, has_masks: bool, has_weights: bool
) -> tuple[int, ...]:
    """Steps before which pseudo-labels are made.

    Args:
        schedule: `one-time` or `continuous`.
        every: Steps between two.
        steps: Steps of the run.
        has_masks: Whether ready masks are there from the start; they take the first one's place.
        has_weights: Whether the networks start from those of another run.
    """
    first = 0 if has_masks or has_weights else every
    found = range(first, steps, every) if schedule == "continuous" else range(first, first + 1)
    return tuple(step for step in found if step < steps)[1 if has_masks else 0 :]


def pseudo_labeled(plan: PseudoPlan, folder: Path) -> int:
    """Unlabeled cases that have a pseudo-label at the end of the run in *folder*."""
    found = set(plan.masks)
    for step in plan.minings:
        entries = Journal.read(_folder_of(folder, step))
        labeled = {entry.case for entry in entries if entry.file is not None}
        found = labeled if plan.miner and plan.miner.replaces else found | labeled
    return len(found)


def _folder_of(run: Path, step: int) -> Path:
    return run / ROUNDS / f"step-{step:06d}"


class PseudoBatches:
    """Batches of a run whose pseudo-labels change at given steps.

    The pseudo-labels that are made before a step lie in the run folder under `pseudo/step-N`, masks
    with their `qc.csv`, so that a run that is resumed after it finds them.

    Args:
        plan: What to do.
        data: The prepared cases.
        config: The run.
        settings: How to train.
        loop: What trains; asked for its networks when it is time to mine.
        all_unlabeled: Whether unlabeled cases without pseudo-label are learned from, too.
        stop: Set by a signal.
        progress: Hears about cases that are mined.
        bank: Texts of the cases; None for none.
    """

    def __init__(
        self,
        plan: PseudoPlan,
        data: TrainingData,
        config: RunConfig,
        settings: TrainSettings,
        loop: Loop,
        *,
        all_unlabeled: bool,
        stop: StopRequest,
        progress: Progress,
        bank: TextBank | None = None,
    ) -> None:
        self.bank = bank
        self.plan, self.data, self.config, self.settings = plan, data, config, settings
        self.loop, self.all_unlabeled = loop, all_unlabeled
        self.stop, self.progress = stop, progress
        self.masks = dict(plan.masks)

    def __iter__(self) -> Iterator[SemiBatch]:
        start, steps = self.loop.step, self.loop.last_step
        bounds = [0, *(step for step in self.plan.minings if step), steps]
        for first, last in pairwise(bounds):
            if first in self.plan.minings:
                self._learn_from(self._round(first, is_over=first < start))
                if first in self.plan.restarts and first >= start:
                    self.loop.restart()
            if last > start:
                make = self._maker(first)
                begin = max(first, start)
                begin, end = (self.settings.accumulate * step for step in (begin, last))
                yield from prefetch(make, start=begin, stop=end, workers=self.settings.workers)

    def _learn_from(self, masks: dict[str, Path]) -> None:
        assert self.plan.miner is not None
        self.masks = masks if self.plan.miner.replaces else self.masks | masks

    def _maker(self, first: int) -> Callable[[int], SemiBatch]:
        cases: tuple[PreparedCase, ...] = ()
        if self.masks or self.all_unlabeled:
            folder = self.loop.folder / PREPARED
            cases = self.loop.ranks.first_alone(
                lambda: with_masks(
                    self.data.unlabeled,
                    self.masks,
                    self.plan.images,
                    preprocessing=preprocessing_of(self.config),
                    classes=self.config.classes,
                    folder=folder / f"{first}" if self.plan.miner else None,
                )
            )
            if self.loop.ranks.leads:
                remove_prepared(self.loop.folder, but=f"{first}")  # those of the round before
        if not self.all_unlabeled:
            cases = tuple(case for case in cases if case.labels is not None)
        data = replace(self.data, unlabeled=cases)
        return batch_maker(
            data,
            self.config,
            self.settings,
            uses_unlabeled=bool(cases),
            uses_pseudo=bool(self.masks),
            pin=self.loop.device.type == "cuda",
            part=(self.loop.ranks.rank, self.loop.ranks.size),
            bank=self.bank,
        )

    def _round(self, step: int, *, is_over: bool) -> dict[str, Path]:
        """Masks that were made before *step*, now or by the process that this one continues."""
        folder = _folder_of(self.loop.folder, step)
        if is_over:
            entries = Journal.read(folder)
            if not (folder / QC).is_file() or not all(is_whole(folder, e) for e in entries):
                raise ArtifactError(
                    f"{folder} lacks pseudo-labels that this run made before step {step}, or they "
                    "were changed. Train anew with --force."
                )
            return {e.case: folder / e.file for e in entries if e.file is not None}
        with self.loop.pace.paused():
            mined = self._mine(folder, step) if self.loop.ranks.leads else []
        found = {case.case: folder / case.file for case in mined if case.file}
        return self.loop.ranks.of_first(found)  # the others wait

    def _mine(self, folder: Path, step: int) -> list[MinedCase]:
        miner, loop = self.plan.miner, self.loop
        assert miner is not None
        loop.save()  # a signal or a crash while mining costs no training
        networks = asked_networks(loop.final_networks(), self.config.answer)
        opened = OpenRun(self.config, networks, loop.device, loop.dtype)
        cases = [self.plan.images[case.id] for case in self.data.unlabeled]
        with answering(networks):
            heard = stoppable(self.progress, self.stop, CALIBRATING)
            miner.calibrate(cases, opened, self._label_maps(), progress=heard)
            made_by = {**miner.made_by, "networks": _weights_digest(networks)}
            journal = Journal(folder, resume=(folder / JOURNAL).is_file())
            work = MiningWork(miner, opened, journal, made_by, self.stop, self.progress)
            results = work.all(cases)
        self._refuse_failed(results)
        results = work.compared(results)
        write_text(folder / QC, qc_table(results))  # last: the round is complete
        loop.log.write(step, **_counts(results, miner))
        return results

    def _label_maps(self) -> Iterator[NDArray[np.uint8]]:
        for case in self.data.labeled:
            assert case.labels is not None
            yield np.load(case.labels, allow_pickle=False)

    def _refuse_failed(self, results: list[MinedCase]) -> None:
        if failed := [case for case in results if case.status == "failed"]:
            raise DataError(f"case {failed[0].case}: {failed[0].reason}")


def _counts(results: list[MinedCase], miner: Miner) -> dict[str, float]:
    counts = {
        "pseudo_masks": float(sum(case.file is not None for case in results)),
        "pseudo_dropped": float(sum(case.status == "dropped" for case in results)),
        "pseudo_no_prompt": float(sum(case.status == "no-prompt" for case in results)),
    }
    for name in sorted({name for case in results for name in case.measures}):
        counts[f"pseudo_{name}"] = fmean(c.measures[name] for c in results if name in c.measures)
    if isinstance(miner, SamMiner):
        counts |= {
            "embeddings_made": float(miner.cache.misses),
            "embeddings_cached": float(miner.cache.hits),
        }
    return counts


def _weights_digest(networks: Mapping[str, nn.Module]) -> str:
    digest = hashlib.sha256()
    for network in networks.values():
        for value in network.state_dict().values():
            digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
