"""What scans of magnetic resonance suffer: bias field, motion, ghosts, spikes, thick slices.

Motion, ghosts and spikes are TorchIO's (Perez-Garcia et al., 2021), with parameters from the
generator that is passed in. Its transforms are asked by `apply_transform`: called as functions,
even those without randomness draw from torch's global generator, which is the network's.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray

from llmseg_cli.data.patches.intensities import Change, Channel, lower_resolution
from llmseg_cli.data.patches.movement import Image, is_thin

if TYPE_CHECKING:
    import torchio

ORDER = 3  # of the polynomial of a bias field; this and its size as RandomBiasField has them
BIAS = 0.3  # largest coefficient
MOVES = 2  # of the patient while the scan was made
MOVE_DEGREES, MOVE_MM = 5.0, 5.0  # largest
GHOSTS = (4, 10)  # fewest and most, as RandomGhosting
GHOST_STRENGTH = (0.2, 0.8)  # share of the planes of k-space that is lost
SPIKE_STRENGTH = (0.1, 0.5)  # of the largest value of k-space
THICKNESS = (1.5, 5.0)  # slices, in voxels, as RandomAnisotropy


def draw_bias_field(image: Image, random: Generator, spacing_mm: Sequence[float]) -> Image:
    """Multiply all channels by a smooth field, counted from the least intensity of each."""
    count = (ORDER + 1) * (ORDER + 2) * (ORDER + 3) // 6
    field = bias_field(image.shape[1:], random.uniform(-BIAS, BIAS, count))
    low = image.min((1, 2, 3), keepdims=True)  # where there is no signal, there is no bias
    return (image - low) * field + low


def bias_field(
    shape: Sequence[int], coefficients: Sequence[float] | NDArray[np.float64]
) -> Channel:
    """The exponential of a polynomial of the place, from -1 to 1 along each axis.

    TorchIO's formula (Van Leemput et al., IEEE TMI 1999), summed along one axis after the other,
    which takes a hundredth of its time.

    Args:
        shape: `(X, Y, Z)`.
        coefficients: In the order of TorchIO: by the powers of x, y and z of up to `ORDER` in all.
    """
    cube = np.zeros((ORDER + 1,) * 3)
    powers = [p for p in np.ndindex(cube.shape) if sum(p) <= ORDER]
    for power, coefficient in zip(powers, coefficients, strict=True):
        cube[power] = coefficient
    for side in shape:  # an axis of powers goes, one of places comes
        places = (2 * np.arange(side) + 1 - side) / max(side - 1, 1)
        cube = np.tensordot(cube, np.vander(places, ORDER + 1, increasing=True), (0, 1))
    return np.exp(cube.astype(np.float32))


def draw_motion(image: Image, random: Generator, spacing_mm: Sequence[float]) -> Image:
    """Parts of k-space come from the patient in other places; its middle does not."""
    phase = _draw_axis(image, random)
    degrees = random.uniform(-MOVE_DEGREES, MOVE_DEGREES, (MOVES, 3))
    shifts_mm = random.uniform(-MOVE_MM, MOVE_MM, (MOVES, 3))
    step = 1 / (MOVES + 1)
    times = step * (np.arange(1, MOVES + 1) + random.uniform(-0.3, 0.3, MOVES))  # as RandomMotion
    if is_thin(image.shape[1:]):
        degrees[:, :2], shifts_mm[:, 2] = 0, 0
    channel = int(random.integers(len(image)))
    return _with(image, channel, move(image[channel], degrees, shifts_mm, times, phase, spacing_mm))


def move(
    channel: Channel,
    degrees: NDArray[np.float64],
    shifts_mm: NDArray[np.float64],
    times: NDArray[np.float64],
    phase: int,
    spacing_mm: Sequence[float],
) -> Channel:
    """TorchIO's `Motion`, about the center of the patch.

    Args:
        channel: `(X, Y, Z)`.
        degrees: `(N, 3)`, angles about X, Y, Z.
        shifts_mm: `(N, 3)`.
        times: `(N,)` increasing, from 0 to 1: the share of k-space that was read before.
        phase: Axis along which k-space is read. TorchIO's is the last.
        spacing_mm: mm per voxel along X, Y, Z.
    """
    import torchio  # takes most of a second

    order = [axis for axis in range(3) if axis != phase] + [phase]
    transform = torchio.Motion(degrees[:, order], shifts_mm[:, order], times, "linear")
    turned = channel.transpose(order)
    spacing = np.asarray(spacing_mm, float)[order]
    # TorchIO turns about the origin, whatever it says of a center
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -spacing * (np.array(turned.shape) - 1) / 2
    return _ask(transform, turned, affine).transpose(np.argsort(order))


def draw_ghosts(image: Image, random: Generator, spacing_mm: Sequence[float]) -> Image:
    """Faint copies along an axis, as a pulse or breath gives them."""
    import torchio

    axis, count = _draw_axis(image, random), int(random.integers(GHOSTS[0], GHOSTS[1] + 1))
    transform = torchio.Ghosting(count, axis, random.uniform(*GHOST_STRENGTH), None)
    channel = int(random.integers(len(image)))
    return _with(image, channel, _ask(transform, image[channel], np.eye(4)))


def draw_spike(image: Image, random: Generator, spacing_mm: Sequence[float]) -> Image:
    """Stripes, of one value of k-space that is too large."""
    import torchio

    transform = torchio.Spike(random.random((1, 3)), random.uniform(*SPIKE_STRENGTH))
    channel = int(random.integers(len(image)))
    return _with(image, channel, _ask(transform, image[channel], np.eye(4)))


def draw_thick_slices(image: Image, random: Generator, spacing_mm: Sequence[float]) -> Image:
    """Fewer voxels along one axis, interpolated."""
    axis, shares = _draw_axis(image, random), [1.0, 1.0, 1.0]
    shares[axis] = 1 / random.uniform(*THICKNESS)
    channel = int(random.integers(len(image)))
    return _with(image, channel, lower_resolution(image[channel], shares))


def _draw_axis(image: Image, random: Generator) -> int:
    """An axis, in thin stacks and flat patches one of the slices' own."""
    return int(random.integers(2 if is_thin(image.shape[1:]) else 3))


def _with(image: Image, channel: int, changed: Channel) -> Image:
    """The image with one channel changed, as a scan of its own."""
    image = image.copy()
    image[channel] = changed
    return image


def _ask(transform: "torchio.Transform", channel: Channel, affine: NDArray[np.float64]) -> Channel:
    import torchio

    tensor = torch.from_numpy(np.ascontiguousarray(channel))[None]
    subject = torchio.Subject(image=torchio.ScalarImage(tensor=tensor, affine=affine))
    return np.asarray(transform.apply_transform(subject)["image"].data[0].numpy(), np.float32)


MR = (
    Change(0.3, draw_bias_field),
    Change(0.1, draw_motion),
    Change(0.1, draw_ghosts),
    Change(0.05, draw_spike),
    Change(0.1, draw_thick_slices),
)
