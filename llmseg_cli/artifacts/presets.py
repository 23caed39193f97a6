"""Published lists of cases, shipped as identifiers only."""

from dataclasses import dataclass
from pathlib import Path

from llmseg_cli.errors import unknown

FOLDER = Path(__file__).parent.parent / "presets"
PRESETS = {"la-8": ("la.txt", 8), "la-16": ("la.txt", 16)}


@dataclass(frozen=True)
class Preset:
    """A published list.

    Args:
        name: What `--preset` calls it.
        cases: Identifiers in the published order.
        labeled: How many of them, from the first, are labeled.

    References:
        Yu et al., Uncertainty-Aware Self-Ensembling Model for Semi-Supervised 3D Left Atrium
        Segmentation, MICCAI 2019. arXiv:1907.07034. The order is that of its training list.
    """

    name: str
    cases: tuple[str, ...]
    labeled: int


def load_preset(name: str) -> Preset:
    """Read a list that the package ships.

    Raises:
        UsageError: If the name is unknown; the message corrects its spelling.
    """
    if name not in PRESETS:
        raise unknown("preset", name, PRESETS)
    file, labeled = PRESETS[name]
    lines = (FOLDER / file).read_text(encoding="utf-8").splitlines()
    cases = tuple(line for line in lines if line and not line.startswith("#"))
    return Preset(name, cases, labeled)
