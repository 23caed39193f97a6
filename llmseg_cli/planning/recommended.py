"""All settings of a training together, and the file that holds them with their reasons."""

import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from llmseg_cli.artifacts.text import visible
from llmseg_cli.planning.fingerprint import Choice, Fingerprint, Power
from llmseg_cli.planning.geometry import ENCODER_STRIDE, STRIDE, Geometry, choose_geometry
from llmseg_cli.planning.learning import (
    choose_augmentation,
    choose_batch,
    choose_encoder,
    choose_method,
    choose_narrower,
    choose_network,
    choose_normalization,
    choose_optimizer,
    is_picture,
    suits_encoder,
    without_encoder,
)

COLUMNS = 88  # of a comment
FEW_STEPS_OF_SLICES = 1000  # at their own grid, on a CPU
PIXELS_OF_FEW_STEPS, COVERED_OF_FEW_STEPS = 128 * 128, 0.75  # of a patch, and of a slice


@dataclass(frozen=True)
class Recommended:
    """Settings for a data set and a machine.

    Args:
        scans: What they were chosen for.
        power: The machine.
        geometry: Patch and spacing.
        choices: Setting, as the command line names it, to its value and reason.
        method: Way of learning from unlabeled scans, or None where there are none.
    """

    scans: Fingerprint
    power: Power
    geometry: Geometry
    choices: Mapping[str, Choice]
    method: Choice | None

    def settings(self) -> dict[str, Any]:
        """Fields of `TrainSettings` to values."""
        values = {name.replace("-", "_"): choice.value for name, choice in self.choices.items()}
        options = values.pop("model_option")
        assert isinstance(options, dict)
        return values | {"model_option": tuple(f"{key}={value}" for key, value in options.items())}


def narrowed(found: Recommended, steps: int, budget: str) -> Recommended:
    """The same with a narrower network, where few steps fit.

    Args:
        found: What was recommended.
        steps: Supervised steps of its network that fit.
        budget: What they fit into, in words.
    """
    options = choose_narrower(found.power, len(found.geometry.sides), steps, budget)
    if options is None:
        return found
    return replace(found, choices={**found.choices, "model-option": options})


def coarsened(
    found: Recommended, steps: int, budget: str, choose: Callable[[int], Recommended]
) -> Recommended:
    """The same with a coarser grid, where few steps fit and slices are learned.

    Args:
        found: What was recommended.
        steps: Supervised steps at its grid that fit.
        budget: What they fit into, in words.
        choose: Recommends for at most so many pixels of a patch.
    """
    is_flat = len(found.geometry.sides) == 2 and not is_picture(found.scans)
    if found.power.gpu or not is_flat or steps >= FEW_STEPS_OF_SLICES:
        return found
    coarse = choose(PIXELS_OF_FEW_STEPS)
    if coarse.geometry.sides == found.geometry.sides:
        return found
    spacing = coarse.choices["spacing"]
    why = (
        f"for {steps} steps at their own in {budget} are few: in 150 s of 14 hearts 267 steps of "
        "a coarser grid gave a Dice of 0.63, 86 steps 0.36 (examples/defaults/RESULTS.md)"
    )
    told = Choice(spacing.value, f"{spacing.reason}, {why}")
    return replace(coarse, choices={**coarse.choices, "spacing": told})


def recommend(
    scans: Fingerprint,
    power: Power,
    *,
    can_mine: bool = False,
    has_encoder: bool = False,
    pixels: int | None = None,
) -> Recommended:
    """Choose everything but the number of steps, which takes a look at the clock.

    Args:
        scans: What is to be segmented.
        power: What trains.
        can_mine: Whether the weights of the embedded Segment Anything are here.
        has_encoder: Whether those of the encoder of pictures are.
        pixels: The most of a patch in 2D, where few steps fit; None takes what the machine can do.
    """
    voxels = {axes: power.patch_voxels(axes) for axes in (2, 3)}
    covered = power.covered
    if pixels:
        voxels, covered = voxels | {2: pixels}, covered | {2: COVERED_OF_FEW_STEPS}
    geometry = choose_geometry(
        scans.sizes,
        voxels,
        scans.extents.values(),
        covered=covered,
        flat_stride=ENCODER_STRIDE if has_encoder and suits_encoder(scans, 2) else STRIDE,
    )
    dimensions = len(geometry.sides)
    network, options = choose_network(power)
    if not has_encoder:
        network = without_encoder(network, scans, dimensions)
    choices = {
        "patch": geometry.patch,
        "spacing": geometry.spacing,
        "batch": choose_batch(geometry.sides, scans, power, is_hurried=bool(pixels)),
        "normalize": choose_normalization(scans),
        "augment": choose_augmentation(scans),
        "model": network,
        "model-option": options,
        "optimizer": choose_optimizer(),
        **(choose_encoder(scans, dimensions) if has_encoder else {}),
    }
    method = choose_method(scans, can_mine=can_mine) if scans.silent else None
    return Recommended(scans, power, geometry, choices, method)


@dataclass(frozen=True)
class Lines:
    """Lines of a YAML file of options, each below its reason."""

    indent: str = ""

    def comment(self, text: str) -> str:
        return textwrap.fill(
            visible(text),
            COLUMNS,
            initial_indent=f"{self.indent}# ",
            subsequent_indent=f"{self.indent}# ",
            break_long_words=False,
            break_on_hyphens=False,
        )

    def choice(self, name: str, choice: Choice) -> str:
        reason = choice.reason[:1].upper() + choice.reason[1:]
        return f"{self.comment(f'{reason}.')}\n{self.indent}{name}: {as_yaml(choice.value)}"


def as_yaml(value: object) -> str:
    """A setting as the command line and the file write it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {as_yaml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, tuple):
        return ",".join(f"{one:g}" if isinstance(one, float) else str(one) for one in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
