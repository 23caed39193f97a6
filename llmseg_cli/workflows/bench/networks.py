"""What `llmseg bench` measures of networks beside each other, and of the losses of their heads."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from llmseg_cli.config import TrainSettings
from llmseg_cli.errors import UsageError, WeightsError
from llmseg_cli.registry import MODELS
from llmseg_cli.workflows.bench.run import Contest, SkippedError, Way, Wish
from llmseg_cli.workflows.bench.work import Stepping, cross


@contextmanager
def forward(wish: Wish) -> Iterator[Contest]:
    """A patch through each network, without gradient."""
    yield _of_networks(wish, f"a patch of {cross(wish.settings.patch)} through", _passing)


@contextmanager
def steps(wish: Wish) -> Iterator[Contest]:
    """A step of training with each network."""
    yield _of_networks(wish, f"a step of {wish.method} with", lambda stepping: stepping.first_step)


@contextmanager
def head_losses(wish: Wish) -> Iterator[Contest]:
    """A step by the loss of each head, and by that of every combination of heads."""
    losses = {"each head": "dice-ce-cascade", "every combination": "mutation"}
    made = {name: replace(wish.settings, loss=loss) for name, loss in losses.items()}
    try:
        stepping = {name: Stepping(wish, one, name) for name, one in made.items()}
    except UsageError as error:
        raise SkippedError(str(error)) from error
    yield Contest(
        f"a step of {wish.method} with {wish.settings.model}",
        tuple(Way(name, one.first_step) for name, one in stepping.items()),
    )


def _of_networks(wish: Wish, work: str, way: Callable[[Stepping], Callable[[], Any]]) -> Contest:
    """The wish's own network first, then all others of llmseg with their own options."""
    own = wish.settings.model
    ways, missing = [Way(own, way(Stepping(wish, wish.settings, own)))], []
    for name in MODELS.names():
        if name == own:
            continue
        try:
            ways.append(Way(name, way(Stepping(wish, _plain(wish.settings, name), name))))
        except (UsageError, WeightsError) as error:
            missing.append(f"{name} ({str(error).rstrip('.')})")
    left_out = f"; left out: {', '.join(missing)}" if missing else ""
    return Contest(f"{work} each network{left_out}", tuple(ways))


def _plain(settings: TrainSettings, model: str) -> TrainSettings:
    """The same for another network, without what was said for that one."""
    return replace(settings, model=model, model_option=(), image_encoder=None, llm_block=None)


def _passing(stepping: Stepping) -> Callable[[], Any]:
    """One patch through the first network of a run, as predicting does."""
    loop = stepping.loop
    network = next(iter(loop.learner.networks().values()))
    patch = stepping.batch.image[:1]

    @torch.inference_mode()
    def once() -> Any:
        network.eval()
        with torch.autocast(loop.device.type, loop.dtype, enabled=loop.dtype != torch.float32):
            return network(patch)

    return once
