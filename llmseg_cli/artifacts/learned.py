"""`learned.json`: which images a run's weights have seen."""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

from llmseg_cli.artifacts.document import Document

LEARNED = "learned.json"  # its name in a run folder


@dataclass(frozen=True, kw_only=True)
class Learned(Document, schema="llmseg/learned/1", writer="train-semi"):
    """Images by the digests of their contents, for a case has other names in other data sets.

    Args:
        split: Digest of the run's split.
        trained: Images that the weights come from: labeled ones, unlabeled ones if the method looks
            at them, and those of the runs that weights and pseudo-labels were taken from.
        chose: Validation images, by which `best.safetensors` was chosen.
    """

    split: str
    trained: tuple[str, ...]
    chose: tuple[str, ...] = ()

    def known(self, images: Mapping[str, Set[str]], checkpoint: str) -> dict[str, Any]:
        """What the manifest of a folder of masks says of them, for those who score them.

        Args:
            images: Case to the digests of its image.
            checkpoint: `final` or `best`.
        """
        trained, chose = frozenset(self.trained), frozenset(self.chose)
        return {
            "learned": self.to_dict(),
            "training_cases": [case for case, found in images.items() if found & trained],
            "choosing_cases": [
                case for case, found in images.items() if found & chose and checkpoint == "best"
            ],
        }
