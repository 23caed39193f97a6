"""Trainings that several processes do, and a test in one: what comes out.

In float64, and of each method a step in float32, before one voxel on the other side of a threshold
has changed what follows.

Run as a program it writes, from the first process, the final state of each training to a file.
"""

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from llmseg_cli.artifacts.launch import launched
from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.config import TrainSettings
from llmseg_cli.methods.base import Method, SemiBatch
from llmseg_cli.models.base import recompute_activations
from llmseg_cli.models.text_features import TextFeatures
from llmseg_cli.models.text_fusion import TextFused
from llmseg_cli.registry import METHODS, MODELS, WITHOUT_LABELS
from llmseg_cli.training.joining import join_ranks
from llmseg_cli.training.loop import Loop
from llmseg_cli.training.ranks import Ranks
from llmseg_cli.training.rows import shared
from llmseg_cli.training.stop import StopRequest
from llmseg_cli.workflows.train.batches import place_batch

CPU = torch.device("cpu")
CLASSES, BATCH, STEPS = 3, 4, 2
INSTANCE = {"filters": 2, "normalization": "instance", "dropout": 0.2}
SIDES = {2: (32, 48), 3: (16, 32, 16)}
SMALL: dict[str, dict] = {  # networks of every other kind, some with statistics of their own
    "resenc": {"filters": 4, "stages": 3},
    "vit": {"filters": 8, "depth": 2, "heads": 2},
    "medt": {"filters": 4, "heads": 2},
    "seunet-trans": {"filters": 4, "width": 8, "layers": 1},
    "catformer": {"filters": 4, "width": 12, "heads": 2, "layers": 1, "decoder_width": 8},
    "cascade": {"filters": 4},
    "merit": {"filters": 4},
}
State = dict[str, Tensor]


def train(
    method: str,
    ranks: Ranks,
    *,
    model: str = "vnet",
    dimensions: int = 2,
    recompute: bool = False,
    fusion: str = "",
    dtype: torch.dtype = torch.float64,
    count: int = BATCH,
    options: dict | None = None,
    settings: dict | None = None,
    **network,
) -> State:
    """A few steps of a method, on batches of *count* patches that the ranks share."""
    torch.manual_seed(0)

    def build() -> nn.Module:
        made: nn.Module = MODELS.load(model)(1, CLASSES, dimensions=dimensions, **network)
        if fusion:
            made = TextFused(made, texts(), fusion=fusion, patch=SIDES[dimensions])
        return kind.around(made, wished).to(dtype)

    kind: type[Method] = METHODS.load(method)
    wished = dict(options or {}) | ({"levels": 2} if method in WITHOUT_LABELS else {})
    learner = kind(shared(build, ranks), **wished)
    for part in learner.children():
        if any(True for _ in part.parameters()):  # a method's own parts, too
            part.to(dtype)
    learner.start()
    if recompute:
        recompute_activations(learner)
    steps = STEPS if dtype == torch.float64 else 1
    chosen = {"precision": "fp32", "optimizer": "sgd", "learning_rate": 0.05, "steps": steps}
    with TemporaryDirectory() as folder:
        loop = Loop(
            learner,
            TrainSettings(**chosen | (settings or {})),
            folder=Path(folder),
            device=CPU,
            ranks=ranks,
        )
        place = partial(place_batch, device=CPU, layout=torch.contiguous_format, ranks=ranks)
        made = batches(SIDES[dimensions], ranks, dtype, count)
        trained = loop.run(map(place, made), StopRequest())
    ranks.refuse_other_start(loop.step, learner)
    found = {name: value.clone() for name, value in learner.state_dict().items()}
    found |= {f"loss {name}": torch.tensor(value) for name, value in trained.losses.items()}
    return found | {"random": torch.rand(2)}


def texts() -> TextFeatures:
    """Three texts a class, of which one is drawn for each patch."""
    ids = torch.arange(1, 1 + 2 * 3 * 4).view(2, 3, 4)
    pooled = torch.linspace(-1, 1, 2 * 3 * 5, dtype=torch.float64).view(2, 3, 5)
    tokens = torch.linspace(-1, 1, 2 * 3 * 4 * 5, dtype=torch.float64).view(2, 3, 4, 5)
    return TextFeatures(ids, ids > 0, pooled, tokens=tokens)


def batches(
    sides: tuple[int, ...], ranks: Ranks, dtype: torch.dtype, count: int
) -> Iterator[SemiBatch]:
    """This rank's parts of an endless sequence, in which one case is known in part."""
    own = count // ranks.size
    rows = slice(ranks.rank * own, (ranks.rank + 1) * own)
    step = 0
    while True:
        generator = torch.Generator().manual_seed(step)
        images = torch.randn(2, BATCH, 1, *sides, generator=generator, dtype=torch.float64)
        maps = torch.randint(CLASSES, (2, BATCH, *sides), generator=generator)
        maps[0, 3, : sides[0] // 3] = UNKNOWN
        maps[1, :, : sides[0] // 2] = UNKNOWN
        images = images.to(dtype)
        whole = SemiBatch(images[0], maps[0], images[1], maps[1])
        batch = SemiBatch(whole.image[rows], whole.target[rows], images[1][rows], maps[1][rows])
        yield replace(batch, has_unknown=bool((batch.target == UNKNOWN).any()))
        step += 1


TRAININGS: dict[str, Callable[[Ranks], State]] = {
    **{name: partial(train, name, **INSTANCE) for name in METHODS},
    **{f"{n} in float32": partial(train, n, dtype=torch.float32, **INSTANCE) for n in METHODS},
    "two steps in one": partial(
        train, "usl", settings={"accumulate": 2, "clip_grad": 0.1, "ema": 0.9}, **INSTANCE
    ),
    "rare classes": partial(train, "usl", options={"weights": "heterogeneous"}, **INSTANCE),
    "peers in training mode": partial(train, "usl", options={"peer": "clean"}, **INSTANCE),
    "channel dropout": partial(
        train, "weak-to-strong", options={"channel_dropout": True, "strong_views": 2}, **INSTANCE
    ),
    "batch statistics": partial(train, "supervised", filters=2, dropout=0.2),
    "a patch a rank": partial(train, "supervised", count=2, filters=2, dropout=0.2),
    "batch statistics of peers": partial(
        train, "usl", options={"peer": "clean"}, filters=2, dropout=0.0
    ),
    "volumes": partial(train, "mean-teacher", dimensions=3, **INSTANCE),
    "activations computed again": partial(
        train, "supervised", recompute=True, filters=2, dropout=0.2
    ),
    "unet": partial(train, "supervised", model="unet", filters=2),
    "deep supervision": partial(
        train, "supervised", model="unetpp", filters=2, deep_supervision=True
    ),
    **{f"network {n}": partial(train, "supervised", model=n, **SMALL[n]) for n in SMALL},
    "text": partial(train, "usl", fusion="sentence-modulation", **INSTANCE),  # in float64, too
    "tokens": partial(
        train, "supervised", model="transunet", filters=2, width=8, heads=2, depth=1, dropout=0.2
    ),
}


def main(file: str) -> None:
    """Train all of them in this process, one of several."""
    with join_ranks(launched(os.environ), CPU) as ranks:
        found = {name: training(ranks) for name, training in TRAININGS.items()}
        if ranks.leads:
            torch.save(found, file)


if __name__ == "__main__":
    main(sys.argv[1])
