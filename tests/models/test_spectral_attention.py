"""The SS-Former and its band beside numpy's transforms."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from llmseg_cli.inference.folding import hold_convolutions_as
from llmseg_cli.models.spectral_attention import BANDS, BandPass, SpectralAttention, SSFormer

WIDTH, HEADS, TIME = 8, 2, 12
GRIDS = [(3, 4), (2, 3, 2)]

each_grid = pytest.mark.parametrize("grid", GRIDS)


def made(band: str, dimensions: int = 2) -> SpectralAttention:
    torch.manual_seed(1)
    options = {"time_width": TIME, "band": band, "dimensions": dimensions}
    return SpectralAttention(WIDTH, HEADS, **options).double()


def given(grid) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    asking, asked = torch.randn(2, 2, int(np.prod(grid)), WIDTH, generator=generator).double()
    return asking, asked, torch.randn(2, TIME, generator=generator).double()


def split(tokens: Tensor) -> np.ndarray:
    """`(B, heads, N, width / heads)`."""
    return tokens.detach().reshape(2, -1, HEADS, WIDTH // HEADS).movedim(2, 1).numpy()


def transforms(grid) -> np.ndarray:
    """The matrix of a transform over a grid, `(N, N)`, from those of its axes."""
    found = np.ones((1, 1))
    for side in grid:
        found = np.kron(found, np.fft.fft(np.eye(side), norm="ortho"))
    return found


@each_grid
def test_all_pass_is_the_plain_affinity(grid):
    layer, (asking, asked, time) = made("all-pass"), given(grid)
    queries, keys = split(layer.query(asking)), split(layer.key(asked))
    expected = queries @ keys.swapaxes(2, 3) / (np.sqrt(WIDTH / HEADS) * np.prod(grid))
    found = layer.affinity(asking, asked, time, grid)
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=1e-12)


@each_grid
@pytest.mark.parametrize("band", BANDS)
def test_the_affinity_is_that_of_numpy(grid, band):
    """Transforms of queries and keys, complex weights, the band over frequencies, and back."""
    layer, (asking, asked, time) = made(band, len(grid)), given(grid)
    for spectrum in (layer.query_spectrum, layer.key_spectrum):
        nn.init.normal_(spectrum)
    axes = tuple(range(2, 2 + len(grid)))
    spectra = []
    for tokens, spectrum in ((layer.query(asking), layer.query_spectrum),
                             (layer.key(asked), layer.key_spectrum)):  # fmt: skip
        on_grid = split(tokens).reshape(2, HEADS, *grid, WIDTH // HEADS)
        found = np.fft.fftn(on_grid, axes=axes, norm="ortho").reshape(2, HEADS, -1, WIDTH // HEADS)
        weights = spectrum.detach().numpy()[:, None]
        spectra.append(found * (weights[..., 0] + 1j * weights[..., 1]))
    affinity = spectra[0] @ spectra[1].swapaxes(2, 3) / np.sqrt(WIDTH / HEADS)
    if band != "all-pass":
        axis = [2 * np.abs(np.fft.fftfreq(side)) for side in grid]
        height = np.sqrt(np.mean(np.square(np.meshgrid(*axis, indexing="ij")), axis=0)).ravel()
        pair = np.stack(np.broadcast_arrays(height[:, None], height[None]))[None]
        reads = np.log1p(np.abs(affinity)) if band == "band-pass" else pair
        passed = layer.band(torch.from_numpy(reads.copy()), time).detach().numpy()
        assert passed.shape == affinity.shape
        assert 0 < passed.min() < passed.max() < 1
        affinity = affinity * passed
    back = np.linalg.inv(transforms(grid))
    expected = (back @ affinity @ back.T).real / np.prod(grid)
    found = layer.affinity(asking, asked, time, grid).detach().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-12)


@each_grid
@pytest.mark.parametrize("band", ["band-pass", "positions"])
def test_what_passes_is_said_by_the_band(grid, band):
    """All of it: the plain affinity. Nothing: the answer of a token that met none."""
    layer, plain = made(band, len(grid)), made("all-pass")
    asking, asked, time = given(grid)
    plain.load_state_dict({k: v for k, v in layer.state_dict().items() if "band." not in k})
    nn.init.constant_(layer.band.output.bias, 1e3)
    torch.testing.assert_close(layer(asking, asked, time, grid), plain(asking, asked, time, grid))
    nn.init.constant_(layer.band.output.bias, -1e3)
    expected = layer.output(layer.norm(torch.zeros(WIDTH).double()))
    found = layer(asking, asked, time, grid)
    torch.testing.assert_close(found, expected.expand_as(found))


def test_a_low_pass_is_that_of_numpy():
    """A band that lets the lowest pair pass leaves the product of the means."""
    layer, (asking, asked, time) = made("positions"), given((3, 4))

    def lowest(maps: Tensor, _: Tensor) -> Tensor:
        return (maps.amax(dim=1, keepdim=True) == 0).to(maps.dtype)

    layer.band.forward = lowest
    found = layer.affinity(asking, asked, time, (3, 4))
    means = [split(tokens).mean(axis=2) for tokens in (layer.query(asking), layer.key(asked))]
    expected = (means[0] * means[1]).sum(axis=2) / (np.sqrt(WIDTH / HEADS) * 12)
    np.testing.assert_allclose(found.detach().amax(dim=(2, 3)).numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(found.detach().amin(dim=(2, 3)).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("band", BANDS)
def test_the_time_counts_when_it_was_learned(band):
    layer, (asking, asked, time) = made(band), given((3, 4))
    other = time.flip(0)
    answers = [layer(asking, asked, when, (3, 4)) for when in (time, other)]
    torch.testing.assert_close(*answers)  # scale and shift start at none
    for name, parameter in layer.named_parameters():
        if "time" in name:
            nn.init.normal_(parameter)
    answers = [layer(asking, asked, when, (3, 4)) for when in (time, other)]
    assert (answers[0] - answers[1]).abs().min(dim=-1).values.max() > 1e-3


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("band", BANDS)
def test_noise_and_image_meet_on_a_grid(dimensions, band):
    torch.manual_seed(0)
    options = {"blocks": 2, "heads": HEADS, "time_width": TIME, "band": band}
    former = SSFormer(WIDTH, 5, dimensions=dimensions, **options)
    features = torch.randn(2, WIDTH, *(6, 10, 4)[:dimensions], requires_grad=True)
    image = torch.randn(2, 5, *(3, 2, 1)[:dimensions], requires_grad=True)
    found = former(features, image, torch.randn(2, TIME))
    assert found.shape == features.shape
    found.square().mean().backward()
    assert image.grad.any()
    silent = {name for name, p in former.named_parameters() if not p.grad.any()}
    assert all(".times." in name for name in silent)  # behind a last layer that starts at 0
    with torch.autocast("cpu", dtype=torch.bfloat16):  # transforms stay in float32
        again = former(features.bfloat16(), image.bfloat16(), torch.randn(2, TIME).bfloat16())
    assert again.isfinite().all()


@pytest.mark.parametrize("dimensions", [2, 3])
def test_weights_of_convolutions_may_be_held_in_bfloat16(dimensions):
    """As in networks that predict, where transforms and all else stay in float32."""
    torch.manual_seed(0)
    options = {"blocks": 1, "heads": HEADS, "time_width": TIME, "band": "band-pass"}
    former = SSFormer(WIDTH, 5, dimensions=dimensions, **options).eval()
    features, image = torch.randn(1, WIDTH, *[4] * dimensions), torch.randn(1, 5, *[2] * dimensions)
    time = torch.randn(1, TIME)
    expected = former(features, image, time)
    hold_convolutions_as(former, torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = former(features, image, time)
    assert not torch.equal(found, expected)
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.02)


def test_a_band_is_between_nothing_and_all():
    torch.manual_seed(0)
    band = BandPass(3, HEADS, time_width=TIME, dimensions=2)
    found = band(torch.randn(2, 3, 6, 6), torch.randn(2, TIME))
    assert found.shape == (2, HEADS, 6, 6)
    assert ((found > 0) & (found < 1)).all()
