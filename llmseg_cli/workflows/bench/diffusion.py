"""What `llmseg bench` measures of a diffusion: its step, and a sample of its sampler."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from llmseg_cli.workflows.bench.run import Contest, Way, Wish
from llmseg_cli.workflows.bench.work import Stepping, cross

METHOD, OTHER = "diffusion", "mean-teacher"
PICTURE, AIM_S = (256, 256), 5.0  # a sample of such a picture, on two cores


@contextmanager
def step(wish: Wish) -> Iterator[Contest]:
    """A step of it, and one of a mean teacher with the same network."""
    wishes = (_of_diffusion(wish), replace(wish, method=OTHER, method_option=()))
    made = {one.method: Stepping(one, wish.settings, one.method) for one in wishes}
    yield Contest(
        f"a step with {wish.settings.model}",
        tuple(Way(name, one.first_step) for name, one in made.items()),
    )


@contextmanager
def sample(wish: Wish) -> Iterator[Contest]:
    """One sample of a patch, one of a single step, and the network that it is around."""
    wish = _of_diffusion(wish)
    stepping = Stepping(wish, wish.settings, METHOD)
    networks: dict[str, Any] = dict(stepping.loop.learner.networks())
    whole = networks["student"]
    whole.samples = 1
    steps = whole.steps
    aim_s = AIM_S if tuple(wish.settings.patch) == PICTURE else None
    name = f"a sample of {steps} step{'s' * (steps != 1)}"
    yield Contest(
        f"a patch of {cross(wish.settings.patch)} through diffusion with {wish.settings.model}",
        (
            Way(name, _asking(stepping, whole, steps), aim_s),
            Way("of one step", _asking(stepping, whole, 1)),
            Way("the network alone", _asking(stepping, networks["anchor"], 1)),
        ),
    )


def _of_diffusion(wish: Wish) -> Wish:
    """The wish, with its method's options if that is diffusion."""
    options = wish.method_option if wish.method == METHOD else ()
    return replace(wish, method=METHOD, method_option=options)


def _asking(stepping: Stepping, network: Any, steps: int) -> Callable[[], Any]:
    """One patch through a network, as predicting does."""
    loop, patch = stepping.loop, stepping.batch.image[:1]

    @torch.inference_mode()
    def once() -> Any:
        network.eval()
        if hasattr(network, "samples"):
            network.steps = steps
        with torch.autocast(loop.device.type, loop.dtype, enabled=loop.dtype != torch.float32):
            return network(patch)

    return once
