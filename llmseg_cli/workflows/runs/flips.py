"""Flips that a network knows from its training."""

from llmseg_cli.artifacts.run_config import RunConfig
from llmseg_cli.data.patches.augmentation import AUGMENTATIONS
from llmseg_cli.errors import UsageError


def flips_of(config: RunConfig) -> tuple[int, ...]:
    """Axes along which a run's training mirrored its patches, 0 being X."""
    return AUGMENTATIONS[config.settings.get("augment", "none")].mirrored


def known_flips(config: RunConfig) -> tuple[int, ...]:
    """The same for an average over flips, which needs one.

    A network that has never seen a scan upside down answers nonsense there: with all flips of a
    hippocampus, Dice fell from 0.843 to 0.450.

    Raises:
        UsageError: If there are none.
    """
    refuse_without_flips(config.settings.get("augment", "none"))
    return flips_of(config)


def refuse_without_flips(augment: str) -> None:
    """Refuse to mirror for a network whose training mirrors nothing.

    Args:
        augment: Name of the training's augmentation.

    Raises:
        UsageError: If it has no flips.
    """
    if not AUGMENTATIONS[augment].mirrored:
        those = ", ".join(name for name, one in AUGMENTATIONS.items() if one.mirrored)
        raise UsageError(
            f"--mirror: with --augment {augment} a training mirrors nothing, and its network knows "
            f"no mirrored scan. Leave --mirror out, or train with one of {those}."
        )
