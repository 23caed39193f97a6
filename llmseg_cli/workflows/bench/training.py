"""What `llmseg bench` measures of training."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

from torch.utils.flop_counter import FlopCounterMode

from llmseg_cli.data.patches.sampling import QUEUED
from llmseg_cli.training.compilation import are_compiled
from llmseg_cli.workflows.bench.run import Contest, SkippedError, Way, Wish
from llmseg_cli.workflows.bench.work import (
    Stepping,
    fastest_convolution,
)
from llmseg_cli.workflows.train.cost import ON_CPU

STEPS = 5  # per batch that waits, of a comparison with and without loading
SAME_LOSS = 0.02  # relative; bfloat16 has 8 bits


@contextmanager
def training_step(wish: Wish) -> Iterator[Contest]:
    """A step as set, and as the field's scripts do it: float32, contiguous memory."""
    field = replace(wish.settings, precision="fp32", memory_format="contiguous")
    ways = {"as set": wish.settings, "fp32, contiguous": field}
    yield _steps(wish, {name: Stepping(wish, settings, name) for name, settings in ways.items()})


def _steps(wish: Wish, stepping: dict[str, Stepping]) -> Contest:
    """A first step each, whose losses should agree."""
    return Contest(
        f"a step of {wish.method} with {wish.settings.model}",
        tuple(Way(name, one.first_step) for name, one in stepping.items()),
        lambda a, b: abs(a - b) / abs(b),
        SAME_LOSS,
    )


@contextmanager
def convolution_floor(wish: Wish) -> Iterator[Contest]:
    """A step, and as many operations of the fastest of some convolutions here."""
    stepping = Stepping(wish, wish.settings, "step")
    with FlopCounterMode(display=False, custom_mapping=ON_CPU) as counter:
        stepping.first_step()
    total = counter.get_total_flops()
    loop = stepping.loop
    convolve, each = fastest_convolution(loop.device, loop.dtype, wish.settings.dimensions)
    times = max(1, round(total / each))

    def convolutions() -> None:
        for _ in range(times):
            convolve()

    yield Contest(
        f"{total / 1e9:.3g} GFLOP in a step of {wish.method} with {wish.settings.model}",
        (Way("the step", stepping.first_step), Way("convolutions alone", convolutions)),
    )


@contextmanager
def compilation(wish: Wish) -> Iterator[Contest]:
    """A step, and the same with networks through torch.compile, which draws the same dropout."""
    from torch._inductor import config  # takes a second

    ways = {
        "as they are": replace(wish.settings, compile=False),
        "torch.compile": replace(wish.settings, compile=True, gradient_checkpointing=False),
    }
    stepping = {name: Stepping(wish, settings, name) for name, settings in ways.items()}
    with config.patch(fallback_random=True):
        for one in stepping.values():
            one.first_step()
        if not are_compiled(stepping["torch.compile"].loop.learner.networks()):
            raise SkippedError("torch.compile does not work here; the warning says why")
        yield _steps(wish, stepping)


@contextmanager
def data_path(wish: Wish) -> Iterator[Contest]:
    """Steps with one batch again and again, and with batches that are read and augmented.

    The steps are many more than the batches that wait ahead; these are made within the time, too.
    """
    stepping = Stepping(wish, wish.settings, "steps")
    settings = stepping.loop.settings
    steps = STEPS * (settings.workers + QUEUED)

    def without() -> None:
        for _ in range(steps):
            stepping.step(stepping.batch)

    def loading() -> None:
        with closing(stepping.batches(steps)) as batches:
            for batch in batches:
                stepping.step(batch)

    ways = (Way("without loading", without), Way("with loading", loading))
    yield Contest(f"{steps} steps of {wish.method} with {wish.settings.model}", ways)
