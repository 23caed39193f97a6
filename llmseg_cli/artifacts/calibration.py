"""`calibration.json` of a run folder: what its networks' logits are divided by."""

from dataclasses import dataclass

from llmseg_cli.artifacts.document import Document
from llmseg_cli.errors import ArtifactError

Row = tuple[float, float, int]


@dataclass(frozen=True, kw_only=True)
class Quality:
    """How true probabilities are on the voxels that were drawn.

    Args:
        nll: Negative log-likelihood, the mean over voxels.
        ece: Expected calibration error, 0 to 1.
        ece_foreground: That of the voxels that the reference or the network calls foreground; null
            if there are none.
        bins: Of a reliability diagram, the least sure voxels first: how sure their most probable
            class is, how often it is the true one, and how many they are. Empty in files of older
            versions.
    """

    nll: float
    ece: float
    ece_foreground: float | None
    bins: tuple[Row, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Change:
    """Of probabilities before and after logits are divided.

    Args:
        before: At temperature 1.
        after: At the temperatures.
    """

    before: Quality
    after: Quality


@dataclass(frozen=True, kw_only=True)
class Fitted(Change):
    """The temperature of a network, and what it is worth.

    Args:
        temperature: What the logits are divided by; above 1 for a network that is too sure.
    """

    temperature: float


@dataclass(frozen=True, kw_only=True)
class Calibration(Document, schema="llmseg/calibration/1", writer="calibrate"):
    """The temperatures of a run's networks.

    Args:
        checkpoint: `final` or `best`, whichever weights were asked.
        weights: SHA-256 of their file.
        split: Digest of the split whose validation cases were asked about.
        cases: Those cases.
        voxels: Drawn, of all cases together.
        seed: Of the draw.
        networks: Name to temperature.
        answer: The same for the mean of several networks, if that is what the run answers.
    """

    checkpoint: str
    weights: str
    split: str
    cases: tuple[str, ...]
    voxels: int
    seed: int
    networks: dict[str, Fitted]
    answer: Change | None = None

    def __post_init__(self) -> None:
        for name, found in self.networks.items():
            if not found.temperature > 0:
                raise ArtifactError(
                    f"A calibration has the temperature {found.temperature:g} for the network "
                    f"'{name}', expected a number above 0. Find it again with 'llmseg calibrate'."
                )
