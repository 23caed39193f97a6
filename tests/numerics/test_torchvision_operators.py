"""The stand-in for torchvision's nms against a plain loop, and imports that need it."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from llmseg_cli.numerics.torchvision_operators import ensure_torchvision, nms


def _iou(a: list[float], b: list[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    overlap = max(width, 0) * max(height, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap
    return overlap / union if union > 0 else 0.0


def _plain_nms(boxes: list[list[float]], scores: list[float], threshold: float) -> list[int]:
    kept: list[int] = []
    for index in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        if all(_iou(boxes[index], boxes[other]) <= threshold for other in kept):
            kept.append(index)
    return kept


def _random_boxes(seed: int, count: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 10
    size = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 6
    scores = torch.randint(0, 8, (count,), generator=generator).double()  # with ties
    return torch.cat([corner, corner + size], dim=1), scores


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_equals_a_plain_loop(seed: int, threshold: float) -> None:
    boxes, scores = _random_boxes(seed, 37)
    assert nms(boxes, scores, threshold).tolist() == _plain_nms(
        boxes.tolist(), scores.tolist(), threshold
    )


def test_none_one_and_identical_boxes() -> None:
    box = torch.tensor([[0.0, 0.0, 2.0, 3.0]])
    assert nms(torch.zeros(0, 4), torch.zeros(0), 0.5).tolist() == []
    assert nms(box, torch.ones(1), 0.5).tolist() == [0]
    assert nms(box.repeat(3, 1), torch.tensor([0.1, 0.9, 0.5]), 0.5).tolist() == [1]


def test_a_box_without_area_keeps_its_neighbors() -> None:
    boxes = torch.tensor([[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 2.0, 2.0]])
    assert nms(boxes, torch.tensor([0.9, 0.5]), 0.5).tolist() == [0, 1]


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"boxes \(3, 5\)"):
        nms(torch.zeros(3, 5), torch.zeros(3), 0.5)


def test_torchvision_itself_uses_it_or_its_own() -> None:
    ensure_torchvision()
    from torchvision.ops import batched_nms
    from torchvision.ops import nms as torchvision_nms

    boxes, scores = _random_boxes(11, 29)
    scores += torch.linspace(0, 0.5, 29)  # native nms leaves the order of ties open
    expected = _plain_nms(boxes.tolist(), scores.tolist(), 0.4)
    assert torchvision_nms(boxes, scores, 0.4).tolist() == expected
    apart = batched_nms(boxes, scores, torch.arange(29), 0.4)
    assert apart.tolist() == scores.argsort(descending=True).tolist()


def test_calling_it_twice_changes_nothing() -> None:
    assert ensure_torchvision() == ensure_torchvision()


@pytest.mark.slow
@pytest.mark.parametrize("module", ["transformers.models.llama", "segment_anything", "torchio"])
def test_a_fresh_process_can_import(module: str) -> None:
    code = (
        "from llmseg_cli.numerics.torchvision_operators import ensure_torchvision as e; e();"
        f"import importlib; importlib.import_module('{module}')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
