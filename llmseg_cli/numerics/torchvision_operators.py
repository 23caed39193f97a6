"""Stand-ins for torchvision's compiled operators, for installations where they do not load.

A torchvision that was built for another torch (on a CPU machine, the registry's only one) dies on
import with `operator torchvision::nms does not exist`, and transformers, timm and segment-anything
die with it.
"""

import importlib
from typing import Any

import torch
from torch import Tensor

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_libraries: list[torch.library.Library] = []  # an operator lives as long as its library object


def ensure_torchvision() -> bool:
    """Make `import torchvision` work; call it before transformers, timm or segment_anything.

    Where the native operators load, or torchvision is not installed, nothing changes.

    Returns:
        Whether the stand-ins are in use.
    """
    if _libraries:
        return True
    try:
        importlib.import_module("torchvision")
    except ModuleNotFoundError:
        return False
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        _declare()
    return bool(_libraries)


def _declare() -> None:
    library: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for name in ("nms", "qnms"):
        library.define(f"{name}{_SCHEMA}")
        library.impl(name, nms, "CompositeExplicitAutograd")
    library.define("_cuda_version() -> int")
    library.impl("_cuda_version", lambda: -1, "CompositeExplicitAutograd")
    _libraries.append(library)
    importlib.import_module("torchvision")
    extension: Any = importlib.import_module("torchvision.extension")
    extension._has_ops = lambda: True  # what torchvision.ops.nms asks before it calls the operator


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Non-maximum suppression: keep a box unless it overlaps a better one that is kept.

    Args:
        boxes: `(N, 4)` corners x1, y1, x2, y2.
        scores: `(N,)`; of equal scores the first comes first.
        iou_threshold: Boxes whose intersection over union with a kept one is above it are dropped.

    Returns:
        Indices of the kept boxes, best first, int64.

    Raises:
        ValueError: If the shapes are not `(N, 4)` and `(N,)`.
    """
    if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.shape != boxes.shape[:1]:
        raise ValueError(f"boxes {tuple(boxes.shape)}, scores {tuple(scores.shape)}")
    order = scores.argsort(descending=True, stable=True)
    ranked = boxes[order].to(torch.promote_types(boxes.dtype, torch.float32))
    areas = (ranked[:, 2] - ranked[:, 0]) * (ranked[:, 3] - ranked[:, 1])
    alive = torch.ones(len(order), dtype=torch.bool, device=boxes.device)
    for index in range(len(order)):
        if alive[index]:
            later = slice(index + 1, None)
            corner_low = torch.maximum(ranked[index, :2], ranked[later, :2])
            corner_high = torch.minimum(ranked[index, 2:], ranked[later, 2:])
            overlap = (corner_high - corner_low).clamp(min=0).prod(dim=1)
            union = areas[index] + areas[later] - overlap
            alive[later] &= ~(overlap > iou_threshold * union)
    return order[alive]
