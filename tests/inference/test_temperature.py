"""Temperatures of logits whose true one is known, and what windows say, as `predict` blends it."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

from llmseg_cli.inference.sliding_window import sliding_window
from llmseg_cli.inference.temperature import (
    HIGHEST,
    LOWEST,
    Heard,
    fit_temperature,
    heard_at,
    is_at_limit,
    joined_heard,
)
from llmseg_cli.inference.windows import Windows

N, K = 20_000, 4


def alone(logits: torch.Tensor) -> Heard:
    """Of voxels that one window sees."""
    return Heard(len(logits), torch.arange(len(logits)), torch.ones(len(logits)), logits)


def drawn(temperature: float, *, seed: int = 0, spread: float = 2.0) -> tuple[Heard, torch.Tensor]:
    """Logits that are *temperature* times those that labels were drawn from."""
    random = np.random.default_rng(seed)
    true = random.normal(size=(N, K)) * spread
    gumbel = random.gumbel(size=(N, K))  # the largest of logits and these is drawn by softmax
    labels = (true + gumbel).argmax(axis=1)
    return alone(torch.from_numpy(true * temperature)), torch.from_numpy(labels)


def overlapping(temperature: float, seed: int = 1) -> tuple[Heard, torch.Tensor]:
    """Each voxel seen by three windows, with different weights."""
    heard, labels = drawn(temperature, seed=seed)
    random = np.random.default_rng(seed)
    noise = torch.from_numpy(random.normal(size=(3 * N, K)))
    weights = torch.from_numpy(random.uniform(0.1, 1, 3 * N))
    place = torch.arange(N).repeat(3)
    return Heard(N, place, weights, heard.logits.repeat(3, 1) + noise), labels


def loss(heard: Heard, labels: torch.Tensor, temperature: float) -> float:
    """Negative log-likelihood by numpy alone."""
    logits, weights = heard.logits.numpy() / temperature, heard.weights.numpy()
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    total = np.zeros((heard.voxels, K))
    np.add.at(total, heard.place.numpy(), shares * weights[:, None])
    total /= total.sum(axis=1, keepdims=True)
    return float(-np.log(total[np.arange(heard.voxels), labels.numpy()]).mean())


@pytest.mark.parametrize("temperature", [0.4, 1.0, 1.7, 6.0])
def test_the_temperature_that_made_the_logits_is_found(temperature: float):
    heard, labels = drawn(temperature)
    assert fit_temperature(heard, labels) == pytest.approx(temperature, rel=0.04)


@pytest.mark.parametrize("temperature", [0.5, 2.5])
@pytest.mark.parametrize("made", [drawn, overlapping])
def test_the_least_is_that_of_scipy_and_never_worse_than_1(made, temperature: float):
    heard, labels = made(temperature)
    found = fit_temperature(heard, labels)
    other = minimize_scalar(
        lambda one: loss(heard, labels, one), bounds=(LOWEST, HIGHEST), method="bounded"
    )
    assert loss(heard, labels, found) == pytest.approx(other.fun, abs=1e-7)
    assert found == pytest.approx(other.x, rel=1e-2)
    assert loss(heard, labels, found) < loss(heard, labels, 1.0)


def test_random_labels_never_get_a_worse_likelihood():
    for seed in range(5):
        random = torch.Generator().manual_seed(seed)
        heard = alone(torch.randn((50, K), generator=random))
        labels = torch.randint(0, K, (50,), generator=random)
        found = fit_temperature(heard, labels)
        assert loss(heard, labels, found) <= loss(heard, labels, 1.0)


def test_right_in_every_voxel_goes_to_the_limit_and_says_so():
    logits = torch.eye(K) * 3
    assert is_at_limit(fit_temperature(alone(logits), torch.arange(K)))
    assert not is_at_limit(fit_temperature(*drawn(1.7)))


def test_the_most_probable_class_is_the_same_at_every_temperature():
    heard, _ = drawn(1.0)
    plain = heard.probabilities().argmax(dim=1)
    for temperature in (LOWEST, 0.5, 3.0, HIGHEST):
        assert torch.equal(heard.probabilities(temperature).argmax(dim=1), plain)


def test_one_class_is_that_of_all():
    heard, labels = overlapping(1.3)
    probabilities = heard.probabilities(1.9)
    torch.testing.assert_close(
        heard.of_class(labels, 1.9), probabilities.gather(1, labels[:, None])[:, 0]
    )
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(N, dtype=torch.float64))


@pytest.mark.parametrize("patch", [(8, 6, 4), (8, 32, 4), (8, 6)])
def test_what_is_heard_is_what_a_sliding_window_blends(patch: tuple[int, ...]):
    shape = (13, 11, 7)
    image = torch.randn((2, *shape), generator=torch.Generator().manual_seed(0))
    mix = torch.randn((K, 2), generator=torch.Generator().manual_seed(1)) * 2

    def score(batch: torch.Tensor) -> torch.Tensor:  # differs from window to window
        shifted = batch + batch.mean(dim=tuple(range(2, batch.ndim)), keepdim=True)
        return torch.einsum("kc,bc...->bk...", mix, shifted)

    windows = Windows(shape, patch)
    places = np.stack(np.unravel_index(np.arange(0, 13 * 11 * 7, 3), shape), axis=1)
    heard = heard_at(image, score, windows, places, batch=2)
    for temperature in (1.0, 2.2):
        slabs = sliding_window(image, lambda b, t=temperature: (score(b) / t).softmax(1), windows)
        whole = torch.cat([slab.clone() for _, slab in slabs], dim=1)
        expected = whole[:, *places.T].T.double()
        torch.testing.assert_close(heard.probabilities(temperature), expected, atol=1e-5, rtol=1e-5)


def test_several_images_are_joined_voxel_by_voxel():
    one, other = overlapping(1.0, 2)[0], drawn(2.0)[0]
    both = joined_heard([one, other]).probabilities(1.5)
    expected = torch.cat([one.probabilities(1.5), other.probabilities(1.5)])
    torch.testing.assert_close(both, expected)
