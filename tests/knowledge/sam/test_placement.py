"""Segment Anything makes its tensors on its own device, found out without a GPU.

On torch's `meta` device nothing is computed, and tensors of two devices cannot be combined, so that
one which is made on the CPU raises, as it would on a GPU. What is fetched from it is zeros.
"""

from collections.abc import Callable, Iterator
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from tiny_sam import PATCH, SIDE, original_sam, picture, write_sam
from torch.fx.experimental import _config

from llmseg_cli.knowledge.sam.framing import Framing
from llmseg_cli.knowledge.sam.huggingface import transformers_sam
from llmseg_cli.knowledge.sam.interface import PromptableSegmenter
from llmseg_cli.knowledge.sam.original import OriginalSam
from llmseg_cli.knowledge.sam.prompt import Prompt
from llmseg_cli.knowledge.weights.model_files import FoundModel

META = torch.device("meta")
SHAPE = (50, 39)
GRID = 4 * SIDE // PATCH  # of a mask that is asked about
KINDS = ("original", "sam", "sam_hq", "sam2", "sam2_video")


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[torch.Size]]:
    """Shapes of what was fetched from the device."""
    found: list[torch.Size] = []
    real: Callable[[torch.Tensor], torch.Tensor] = torch.Tensor.cpu

    def cpu(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.device != META:
            return real(tensor)
        found.append(tensor.shape)
        return torch.zeros(tensor.shape, dtype=tensor.dtype)

    monkeypatch.setattr(torch.Tensor, "cpu", cpu)
    monkeypatch.setattr(PromptableSegmenter, "autocast", lambda _: nullcontext())
    # Points are told apart by what they are, whose number nobody knows there.
    with _config.patch("meta_nonzero_assume_all_nonzero", True):
        yield found


def opened(kind: str, folder) -> PromptableSegmenter:
    words = {"device": META, "dtype": torch.float32}
    if kind == "original":
        framing = Framing(SIDE)
        return OriginalSam(original_sam(), name="sam", digest="", framing=framing, **words)
    return transformers_sam(FoundModel("", write_sam(folder / kind, kind)), name=kind, **words)


@pytest.mark.parametrize("asked", ["box", "points", "mask"])
@pytest.mark.parametrize("kind", KINDS)
def test_embedding_and_prompts(kind, asked, fetched, tmp_path):
    segmenter = opened(kind, tmp_path)
    embedding = segmenter.embed(picture(SHAPE))
    assert len(fetched) == len(embedding)  # once each, and nothing else
    assert {part.dtype for part in embedding} == {torch.float16}
    points = np.array([(20, 11), (33, 17)] if asked == "points" else [], np.float32).reshape(-1, 2)
    box = None if asked == "points" else (8.5, 4.0, 40.0, 31.0)
    prompt = Prompt(np.zeros(SHAPE, bool), box, points, np.ones(len(points), bool))
    before = torch.zeros(GRID, GRID) if asked == "mask" else None
    logits, quality = segmenter.decode([embedding], [segmenter._frame(prompt, before)])
    assert logits.device == quality.device == META
    assert logits.shape[:2] == quality.shape == (1, logits.shape[1])


def test_a_prompt_left_on_the_cpu_would_be_found(fetched, tmp_path, monkeypatch):
    segmenter = opened("original", tmp_path)
    embedding = segmenter.embed(picture(SHAPE))
    prompt = Prompt(np.zeros(SHAPE, bool), (8.5, 4.0, 40.0, 31.0), np.zeros((0, 2)), np.zeros(0))
    framed = segmenter._frame(prompt, None)
    monkeypatch.setattr(segmenter, "device", torch.device("cpu"))
    with pytest.raises(RuntimeError, match="device"):
        segmenter.decode([embedding], [framed])
