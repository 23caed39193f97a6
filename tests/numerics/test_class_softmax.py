"""Softmax over classes, against torch's in float64, whatever the layout."""

import pytest
import torch

from llmseg_cli.numerics import class_softmax as class_softmax_module
from llmseg_cli.numerics.class_softmax import MANY, class_softmax

LAYOUTS = {2: torch.channels_last, 3: torch.channels_last_3d}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("classes", [1, 2, MANY - 1, MANY, 100])
@pytest.mark.parametrize("sides", [(9, 7), (6, 5, 4), (1, 5, 1)])
@pytest.mark.parametrize("layout", ["contiguous", "channels last", "a part"])
def test_equals_torch_in_double_precision(monkeypatch, dtype, classes, sides, layout):
    monkeypatch.setattr(class_softmax_module, "VALUES_AT_ONCE", 700)  # so in parts
    random = torch.Generator().manual_seed(classes)
    scores = 4 * torch.randn(3, classes, *sides, generator=random)
    scores = scores.to(dtype)
    if layout != "contiguous":
        scores = scores.to(memory_format=LAYOUTS[len(sides)])
    if layout == "a part":
        scores = scores[1:, :, :, 1:4]
    found = class_softmax(scores)
    assert (found.dtype, found.is_contiguous()) == (torch.float32, True)
    torch.testing.assert_close(found.double(), scores.double().softmax(dim=1), rtol=1e-5, atol=1e-7)
