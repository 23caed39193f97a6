"""A segmenter whose answers are known, and a cohort of pictures with bright rectangles."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from tiny_runs import run_config, write_run
from torch import Tensor, nn

from llmseg_cli.artifacts.split import Split
from llmseg_cli.data.cases import find_cases, image_digest
from llmseg_cli.knowledge.sam.framing import Framing
from llmseg_cli.knowledge.sam.interface import Answer, PromptableSegmenter
from llmseg_cli.knowledge.sam.prompt import Prompt
from llmseg_cli.workflows.mine import case as mining
from llmseg_cli.workflows.mine import run as mine_sam
from llmseg_cli.workflows.runs.run_folder import OpenRun, open_run

LEVEL = 99.5  # between whole numbers, so that no voxel lies on the threshold
DEPTH = 5.0  # logits inside a drawn mask; outside it is the negative
UNLABELED = ("u0", "u1", "u2", "u3")

Draw = Callable[[Prompt], Answer]


def rectangle(shape: Sequence[int], box: Sequence[float], depth: float = DEPTH) -> NDArray:
    """Logits `(X, Y)`, above 0 from the first to the last corner of a box."""
    logits = np.full(shape, -depth, np.float32)
    x0, y0, x1, y1 = box
    logits[int(np.ceil(x0)) : int(x1) + 1, int(np.ceil(y0)) : int(y1) + 1] = depth
    return logits


def answer(logits: NDArray, *, iou: float = 0.9, stability: float = 0.95) -> Answer:
    """An answer with these logits."""
    return Answer(logits, torch.from_numpy(logits[:1]), iou, stability)


def margin_of(prompt: Prompt) -> float:
    """Share of the region's longer side that the box is wider, at its first corner."""
    x, y = np.nonzero(prompt.region)
    assert prompt.box is not None
    return float((x.min() - prompt.box[0]) / (max(np.ptp(x), np.ptp(y)) + 1))


def as_asked(prompt: Prompt) -> Answer:
    """The box itself; the narrower it is, the surer."""
    assert prompt.box is not None
    return answer(rectangle(prompt.region.shape, prompt.box), iou=0.9 - margin_of(prompt))


class Drawing(PromptableSegmenter):
    """Answers each prompt by *draw*, and notes what it encoded and was asked."""

    def __init__(self, draw: Draw = as_asked) -> None:
        super().__init__("drawing", "sha256:" + "d" * 64, Framing(64), CPU, torch.float32)
        self.draw = draw
        self.asked: list[list[Prompt]] = []
        self.previous: list[Sequence[Tensor | None]] = []
        self.encoded: list[NDArray[np.float32]] = []

    def embed(self, image):
        self.encoded.append(image)
        return (torch.from_numpy(image).half(),)

    def decode(self, embeddings, prompts):
        raise AssertionError

    def ask(self, embeddings, prompts, *, previous=(), batch=16):
        assert len(embeddings) == len(prompts)
        self.asked.append(list(prompts))
        self.previous.append(previous)
        return [self.draw(prompt) for prompt in prompts]


CPU = torch.device("cpu")


class Bright(nn.Module):
    """Class 1 where the last channel is above LEVEL."""

    def forward(self, image: Tensor) -> Tensor:
        above = (image[:, -1:] - LEVEL) / 10
        return torch.cat([torch.zeros_like(above), above], dim=1)


def pixels(index: int, side: int = 40) -> NDArray[np.uint8]:
    """`(Y, X)`: a bright rectangle, elsewhere for each index, on darkness that differs, too."""
    found = np.full((side, side - 4), 10 + index, np.uint8)
    found[6 + index : 18 + index, 8 : 22 + index] = 200
    return found


def write_pictures(root: Path) -> Path:
    """`images/` of u0 to u3 (unlabeled), l0 and t0, and `labels/`, which no mining may open."""
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    for index, case in enumerate((*UNLABELED, "l0", "t0")):
        Image.fromarray(pixels(index)).save(root / "images" / f"{case}.png")
        Image.fromarray((pixels(index) > LEVEL).astype(np.uint8)).save(
            root / "labels" / f"{case}.png"
        )
    return root


def write_split(path: Path, data: Path, **changes) -> Path:
    """Roles of the pictures by their first letter, unless *changes* say otherwise."""
    digests = {case.id: image_digest(case) for case in find_cases(data).cases}
    roles = {
        role: tuple(case for case in digests if case[0] == letter)
        for role, letter in {"labeled": "l", "unlabeled": "u", "test": "t"}.items()
    }
    values = {"validation": (), "seed": 0, "images": digests, "groups": {}}
    Split(**(values | roles | changes)).save(path)
    return path


def write_bright_run(folder: Path, split: Path, monkeypatch: pytest.MonkeyPatch, **changes) -> Path:
    """A run folder that learned from *split*; its network is `Bright` when it is opened."""
    settings = run_config(**({"patch": (16, 16)} | changes))
    write_run(folder, settings)
    (folder / "split.json").write_bytes(split.read_bytes())
    opened = OpenRun(settings, {"first": Bright()}, CPU, torch.float32)

    def opening(place: Path, **options) -> OpenRun:
        return opened if place == folder else open_run(place, **options)

    monkeypatch.setattr(mine_sam, "open_run", opening)
    return folder


def use(segmenter: PromptableSegmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever --sam names is *segmenter*."""
    monkeypatch.setattr(mining, "open_segmenter", lambda name, **options: segmenter)
