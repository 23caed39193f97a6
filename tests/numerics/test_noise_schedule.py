"""Noise schedules and the sampler beside closed forms and MONAI's."""

import math

import numpy as np
import pytest
import torch
from monai.networks.schedulers import DDIMScheduler

from llmseg_cli.numerics.noise_schedule import (
    SCHEDULES,
    clean_of,
    ddim_step,
    kept_shares,
    noised,
    visited,
)


def test_the_linear_schedule_is_the_published_one():
    kept = kept_shares("linear", 1000)
    assert kept[0].item() == pytest.approx(0.9999, rel=1e-12)
    assert kept[99].item() == pytest.approx(0.8970181, abs=1e-7)
    assert kept[499].item() == pytest.approx(0.0785872, abs=1e-7)
    assert kept[999].item() == pytest.approx(4.0358e-5, rel=1e-4)
    fifty = np.cumprod(1 - np.linspace(0.002, 0.4, 50))  # as the authors sample
    np.testing.assert_allclose(kept_shares("linear", 50).numpy(), fifty, rtol=1e-12)


@pytest.mark.parametrize(("ours", "monais"), [("linear", "linear_beta"), ("cosine", "cosine")])
def test_schedules_are_those_of_monai(ours, monais):
    expected = DDIMScheduler(num_train_timesteps=1000, schedule=monais).alphas_cumprod
    found = kept_shares(ours, 1000)
    torch.testing.assert_close(found.float(), expected, rtol=2e-4, atol=1e-6)  # it sums in float32


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("times", [25, 1000])
def test_less_is_kept_at_each_step(schedule, times):
    kept = kept_shares(schedule, times)
    assert len(kept) == times
    assert (kept.diff() < 0).all()
    assert 0 < kept[-1] < 2e-3


def test_noise_is_added_and_taken_away():
    kept = kept_shares("linear", 1000)[[499, 0]]
    clean, noise = torch.ones(2, 1, 2, 2).double(), torch.full((2, 1, 2, 2), 0.3).double()
    noisy = noised(clean, noise, kept)
    assert noisy[0, 0, 0, 0].item() == pytest.approx(0.5683049, abs=1e-7)
    torch.testing.assert_close(clean_of(noisy, noise, kept), clean, rtol=0, atol=1e-12)


def test_a_sampler_asks_from_the_last_step_to_the_first():
    assert visited(1000, 10) == [999, 888, 777, 666, 555, 444, 333, 222, 111, 0]
    assert visited(1000, 1) == [999]
    assert visited(50, 50) == [*range(49, -1, -1)]
    scheduler = DDIMScheduler(num_train_timesteps=1000)
    scheduler.set_timesteps(7)
    assert visited(1000, 7) == scheduler.timesteps.tolist()


@pytest.mark.parametrize("kind", ["sample", "epsilon"])
@pytest.mark.parametrize("time", [999, 500, 100, 60])
def test_a_step_is_that_of_monai(kind, time):
    """From a step to the one that MONAI goes to: 100 less, or the end."""
    scheduler = DDIMScheduler(1000, prediction_type=kind, clip_sample=False)
    scheduler.set_timesteps(10)
    generator = torch.Generator().manual_seed(1)
    noisy, said = torch.randn(2, 1, 3, 4, 5, generator=generator)
    expected, _ = scheduler.step(said, time, noisy)
    kept = kept_shares("linear", 1000)
    ahead = float(kept[time - 100]) if time >= 100 else 1.0
    clean = said if kind == "sample" else clean_of(noisy, said, kept[[time]])
    found = ddim_step(noisy, clean, float(kept[time]), ahead)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("steps", [1, 3, 10])
def test_who_knows_what_is_clean_gets_it_from_any_noise(steps):
    kept = kept_shares("linear", 1000)
    clean = torch.randint(2, (2, 3, 4), generator=torch.Generator().manual_seed(0)) * 2.0 - 1
    current = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(1))
    noise = (current - math.sqrt(kept[999]) * clean) / math.sqrt(1 - kept[999])
    asked = visited(1000, steps)
    for time, following in zip(asked, [*asked[1:], None], strict=True):
        ahead = 1.0 if following is None else float(kept[following])
        current = ddim_step(current, clean, float(kept[time]), ahead)
        expected = math.sqrt(ahead) * clean + math.sqrt(1 - ahead) * noise  # the same noise, less
        torch.testing.assert_close(current, expected, rtol=1e-3, atol=1e-4)
    assert torch.equal(current, clean)
