"""`learned.json`: which images a run's weights have seen."""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any

from llmseg_cli.artifacts.document import Document

LEARNED = "learned.json"  # its name in a run folder


@dataclass(frozen=True, kw_only=True)
class Learned(Document, schema="llmseg/learned/1", writer="train-semi"):
    """Images by digests, of their files and of their voxels, for a case has other names elsewhere.

    Args:
        split: Digest of the run's split.
        trained: Images that the weights come from: labeled ones, unlabeled ones if the method looks
            at them, and those of the runs that weights and pseudo-labels were taken from.
        chose: Validation images, by which `best.safetensors` was chosen.
        trained_voxels: The former by what they show, whatever file it stands in; runs of before
            have none.
        chose_voxels: Likewise the latter.
    """

    split: str
    trained: tuple[str, ...]
    chose: tuple[str, ...] = ()
    trained_voxels: tuple[str, ...] = ()
    chose_voxels: tuple[str, ...] = ()

    def trained_among(
        self, images: Mapping[str, Set[str]], voxels: Mapping[str, str] | None = None
    ) -> list[str]:
        """Those of the cases that the weights come from.

        Args:
            images: Case to the digests of its image.
            voxels: Case to the digest of what its image shows, as far as that is known.
        """
        return _among(images, self.trained, voxels or {}, self.trained_voxels)

    def chose_among(
        self, images: Mapping[str, Set[str]], voxels: Mapping[str, str] | None = None
    ) -> list[str]:
        """Those of the cases that the best checkpoint was chosen by; see `trained_among`."""
        return _among(images, self.chose, voxels or {}, self.chose_voxels)

    def known(
        self,
        images: Mapping[str, Set[str]],
        checkpoint: str,
        voxels: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """What the manifest of a folder of masks says of them, for those who score them.

        Args:
            images: Case to the digests of its image.
            checkpoint: `final` or `best`.
            voxels: Case to the digest of what its image shows, as far as that is known.
        """
        return {
            "learned": self.to_dict(),
            "training_cases": self.trained_among(images, voxels),
            "choosing_cases": self.chose_among(images, voxels) if checkpoint == "best" else [],
        }


def _among(
    images: Mapping[str, Set[str]],
    files: Iterable[str],
    voxels: Mapping[str, str],
    shown: Iterable[str],
) -> list[str]:
    by_file, by_voxels = frozenset(files), frozenset(shown)
    return [
        case
        for case, image in images.items()
        if image & by_file or voxels.get(case, "") in by_voxels
    ]
