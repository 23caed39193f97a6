"""The training loop of a planned run, on its device, and its batches."""

import math
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from llmseg_cli.data.patches.sampling import prefetch
from llmseg_cli.methods.base import SemiBatch
from llmseg_cli.models.base import recompute_activations
from llmseg_cli.progress import Progress
from llmseg_cli.training.joining import device_of_rank
from llmseg_cli.training.loop import Loop
from llmseg_cli.training.precision import choose_device, choose_dtype, choose_memory_format
from llmseg_cli.training.ranks import ALONE, Ranks
from llmseg_cli.training.stop import StopRequest
from llmseg_cli.workflows.runs.run_folder import hold_blocks_as
from llmseg_cli.workflows.train.batches import batch_maker, place_batch
from llmseg_cli.workflows.train.case_texts import bank_in
from llmseg_cli.workflows.train.pseudo_rounds import PseudoBatches
from llmseg_cli.workflows.train.raised_steps import go_on_from_weights
from llmseg_cli.workflows.train.request import Request
from llmseg_cli.workflows.train.validation import dice_scorer

if TYPE_CHECKING:
    from llmseg_cli.workflows.train.run import Plan


def start(
    request: Request,
    planned: "Plan",
    stop: StopRequest,
    progress: Progress,
    *,
    resume: bool,
    ranks: Ranks = ALONE,
) -> tuple[Loop, Any]:
    """The loop of a planned run, on its device, and the batches from its current step on.

    Args:
        request: What to do.
        planned: Of the request.
        stop: Set by a signal.
        progress: Hears about steps.
        resume: Go on from the saved state, if there is one.
        ranks: Who trains the run.
    """
    settings, config = planned.settings, planned.config
    device = device_of_rank(choose_device(settings.device), ranks.launch)
    layout = choose_memory_format(settings.memory_format, dimensions=settings.dimensions)
    method = planned.method.to(device=device).to(memory_format=layout)  # type: ignore[call-overload]
    hold_blocks_as(method, choose_dtype(settings.precision, device))
    if settings.gradient_checkpointing:
        recompute_activations(method)
    score = dice_scorer(
        planned.data.validation,
        config,
        device=device,
        absences=planned.absences,
        progress=progress,
        ranks=ranks,
    )
    cases = planned.data.labeled or planned.data.unlabeled
    loop = Loop(
        method,
        settings,
        folder=request.output,
        device=device,
        score=score,
        encoder=planned.parts.trained_in(method),
        restarts=planned.pseudo.restarts,
        epoch=math.ceil(len(cases) / (settings.batch * settings.accumulate)),
        ranks=ranks,
        progress=progress,
    )
    if resume:
        loop.resume()
        go_on_from_weights(loop, method)
    ranks.refuse_other_start(loop.step, method)
    ready: Iterable[SemiBatch]
    if planned.pseudo.record:
        ready = PseudoBatches(
            planned.pseudo,
            planned.data,
            config,
            settings,
            loop,
            all_unlabeled=not method.mines,
            stop=stop,
            progress=progress,
            bank=bank_in(request),
        )
    else:
        make = batch_maker(
            planned.data,
            config,
            settings,
            uses_unlabeled=method.uses_unlabeled,
            pin=device.type == "cuda",
            part=(ranks.rank, ranks.size),
            bank=bank_in(request),
        )
        first, end = (settings.accumulate * step for step in (loop.step, loop.last_step))
        ready = prefetch(make, start=first, stop=end, workers=settings.workers)
    return loop, map(partial(place_batch, device=device, layout=layout, ranks=ranks), ready)
