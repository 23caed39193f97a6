"""How long a step takes here, asked of three steps on the real scans."""

import statistics
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from llmseg_cli.artifacts.run_config import RunConfig
from llmseg_cli.artifacts.split import Split
from llmseg_cli.config import TrainSettings
from llmseg_cli.data.case import Dataset
from llmseg_cli.data.digests import image_digest
from llmseg_cli.data.patches.sampling import prefetch
from llmseg_cli.numerics.memory import keep_freed_memory
from llmseg_cli.planning.fingerprint import Fingerprint
from llmseg_cli.progress import Progress, silent
from llmseg_cli.registry import METHODS
from llmseg_cli.training.loop import Loop
from llmseg_cli.training.precision import choose_memory_format
from llmseg_cli.training.stop import StopRequest
from llmseg_cli.workflows.runs.run_folder import OpenRun, made_ready
from llmseg_cli.workflows.train.batches import batch_maker, place_batch
from llmseg_cli.workflows.train.request import PseudoRequest, Request
from llmseg_cli.workflows.train.run import plan
from llmseg_cli.workflows.train.start import start

TIMED_STEPS = 3
TIMED_FORWARDS = 5


@dataclass(frozen=True)
class Pace:
    """What a step costs.

    Args:
        step_s: Seconds of a step, the median of three.
        forward_s: Seconds in which the network that answers predicts one patch; at most those of a
            step, which does that and more.
        parameters: Trained weights.
    """

    step_s: float
    forward_s: float
    parameters: int


def time_steps(
    dataset: Dataset,
    scans: Fingerprint,
    settings: TrainSettings,
    *,
    method: str,
    label_map: tuple[str, ...],
    ignore_label: int | None,
    cache: Path,
    progress: Progress = silent,
) -> Pace:
    """Take four steps of a training, and time the last three.

    Args:
        dataset: The data set.
        scans: Its facts; two or more of its cases are used.
        settings: How to train.
        method: Name of the way of learning.
        label_map: Label values to change, `FROM:TO`.
        ignore_label: Value of unknown voxels.
        cache: Folder of prepared cases; those of the training itself are the same.
        progress: Hears about cases and steps.

    Raises:
        DataError: If a case cannot be used.
        UsageError: If a setting does not fit.
    """
    keep_freed_memory()  # as training and predicting do, which are faster by it
    chosen = {case.id: case for case in dataset.cases}
    split = Split(
        labeled=scans.telling,
        unlabeled=scans.silent,
        validation=(),
        test=(),
        seed=0,
        images={name: image_digest(chosen[name]) for name in (*scans.telling, *scans.silent)},
        groups={},
    )
    with tempfile.TemporaryDirectory(prefix="llmseg-plan-") as folder:
        request = Request(
            command="train-sup" if method == "supervised" else "train-semi",
            data=dataset.root,
            split=split,
            output=Path(folder) / "run",
            settings=replace(settings, steps=TIMED_STEPS + 1),
            method=method,
            label_map=label_map,
            ignore_label=ignore_label,
            pseudo=_pseudo(method),
            cache=cache,
            offline=True,
        )
        planned = plan(request, progress=progress)
        request.output.mkdir()
        loop, _ = start(request, planned, StopRequest(), silent, resume=False)
        loop.learner.train()
        make = batch_maker(
            planned.data,
            planned.config,
            request.settings,
            uses_unlabeled=planned.method.uses_unlabeled,
            uses_pseudo=bool(planned.method.mines),
            pin=loop.device.type == "cuda",
        )
        layout = choose_memory_format("auto", dimensions=settings.dimensions)
        place = partial(place_batch, device=loop.device, layout=layout)
        seconds = []
        with closing(prefetch(make, start=0, stop=TIMED_STEPS + 1, workers=1)) as batches:
            for done, batch in enumerate(map(place, batches)):
                before = time.monotonic()
                loop.take_step(batch)
                if loop.device.type == "cuda":
                    torch.cuda.synchronize()
                seconds.append(time.monotonic() - before)
                progress("time", done + 1, TIMED_STEPS + 1)
        forward_s = _forward_s(loop, planned.config, settings.patch)
    step_s = statistics.median(seconds[1:])
    return Pace(step_s, min(forward_s, step_s), planned.parameters)


def _pseudo(method: str) -> PseudoRequest:
    """Pseudo-labels within the few steps that are timed; none are made, for that is no step."""
    on_schedule = METHODS.load(method).mines in ("sam", "network")
    return PseudoRequest(every=1) if on_schedule else PseudoRequest()


def _forward_s(loop: Loop, config: RunConfig, patch: tuple[int, ...]) -> float:
    """Seconds to predict a patch as `llmseg predict` does, the fastest of some.

    The networks are made ready for it, and cannot be trained any more.
    """
    networks = loop.final_networks()
    layout = choose_memory_format("auto", dimensions=len(patch))
    for network in networks.values():
        made_ready(network, loop.dtype, layout)
    asked = OpenRun(config, dict(networks), loop.device, loop.dtype)
    image = torch.zeros(1, config.channels, *patch)
    seconds = []
    for _ in range(TIMED_FORWARDS):
        before = time.monotonic()
        asked.probabilities(image).sum().item()
        seconds.append(time.monotonic() - before)
    return min(seconds)  # other programs add to it, now and then ten times as much
