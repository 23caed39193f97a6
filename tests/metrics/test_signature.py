"""Signatures, keys and the table of metrics."""

import pytest

from llmseg_cli.metrics.signature import METRICS, key, signature

COMMON = {
    "empty_policy": "diagonal",
    "tolerance": 1.0,
    "cases": 16,
    "draws": 2000,
    "seed": 0,
    "version": "0.1.0",
}


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        (
            "dice",
            {"classes": (1,), "unit": "mm", "groups": None},
            "dice|k:1|empty:diagonal|unit:-|cases:16|ci:bootstrap2000s0|v:0.1.0",
        ),
        (
            "hd95",
            {"classes": (1, 2), "unit": "voxel", "groups": 9},
            "hd95|k:1,2|empty:diagonal|unit:voxel|cases:16|groups:9|ci:bootstrap2000s0|v:0.1.0",
        ),
        (
            "nsd",
            {"classes": (3,), "unit": "mm", "groups": None, "tolerance": 2.5, "draws": 0},
            "nsd|k:3|empty:diagonal|unit:-|tol:2.5mm|cases:16|ci:none|v:0.1.0",
        ),
        (
            "pooled_dice",
            {"classes": (1,), "unit": "mm", "groups": None},
            "pooled_dice|k:1|empty:diagonal|unit:-|cases:16|ci:bootstrap2000s0|v:0.1.0",
        ),
    ],
)
def test_signature(name, options, expected):
    assert signature(name, **(COMMON | options)) == expected


def test_names_carry_their_unit():
    assert [key(name, "mm") for name in ("dice", "hd95", "volume_difference")] == [
        "dice",
        "hd95_mm",
        "volume_difference_ml",
    ]
    assert key("hd95", "voxel") == "hd95_voxel"
    assert key("volume_difference", "px") == "volume_difference_px"


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_defined_and_directed(name):
    metric = METRICS[name]
    assert metric.definition
    assert (metric.better is None) == ("volume" in name)
