"""Normalizations against their definitions."""

import torch

from llmseg_cli.models.layers import normalize


def test_instance_normalization_is_mean_0_and_variance_1_per_case_and_channel():
    features = torch.randn(2, 3, 4, 5, 6) * 7 + 3
    for layout in (torch.contiguous_format, torch.channels_last_3d):
        given = features.to(memory_format=layout)
        normalized = normalize("instance", 3, 3)(given)
        mean = features.mean((2, 3, 4), keepdim=True)
        variance = features.var((2, 3, 4), keepdim=True, correction=0)
        expected = (features - mean) / (variance + 1e-5).sqrt()
        torch.testing.assert_close(normalized, expected)
        assert normalized.stride() == given.stride()


def test_groups_divide_the_channels():
    assert [normalize("group", n, 3).num_groups for n in (16, 64, 24, 7)] == [16, 16, 8, 1]
