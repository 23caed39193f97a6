"""What every way of learning offers."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.errors import UsageError
from llmseg_cli.losses.dice_cross_entropy import dice_cross_entropy
from llmseg_cli.methods.supervision import SegmentationLoss, supervise


@dataclass(frozen=True)
class SemiBatch:
    """One step's patches.

    Args:
        image: Labeled images, `(B, C, X, Y[, Z])`.
        target: Their label maps, `(B, X, Y[, Z])` int64.
        unlabeled: Unlabeled images, `(U, C, X, Y[, Z])`; None in supervised training.
        pseudo: Pseudo-labels of the unlabeled images, `(U, X, Y[, Z])` int64, `UNKNOWN` where
            nothing is known; None if there are none.
        has_unknown: Whether *target* has voxels that are `UNKNOWN`, too.
        texts: Which texts the labeled images have, rows of a `TextBank`, `(B,)` int64; None where
            texts are of no case.
        unlabeled_texts: The same of the unlabeled images, `(U,)`.
    """

    image: Tensor
    target: Tensor
    unlabeled: Tensor | None = None
    pseudo: Tensor | None = None
    has_unknown: bool = False
    texts: Tensor | None = None
    unlabeled_texts: Tensor | None = None

    @property
    def known(self) -> Tensor | None:
        """The voxels of *target* that count, of its shape, bool; None for all."""
        return self.target != UNKNOWN if self.has_unknown else None

    def all_images(self) -> Tensor:
        """Labeled images, then unlabeled ones, in one batch."""
        if self.unlabeled is None:
            return self.image
        return torch.cat([self.image, self.unlabeled])

    def all_texts(self) -> Tensor | None:
        """The texts of `all_images`."""
        if self.texts is None or self.unlabeled is None or self.unlabeled_texts is None:
            return self.texts
        return torch.cat([self.texts, self.unlabeled_texts])


class Method(nn.Module, ABC):
    """A way of learning: networks, and losses for a batch.

    A constructor takes `build`, which returns a freshly initialized network, and keyword-only
    options with defaults. Networks that teach but are not trained have `requires_grad` off.
    """

    uses_labels = True  # whether a run learns the classes of label maps, and can predict them
    uses_unlabeled = True
    fewest_unlabeled = 1  # unlabeled cases of a batch, at least
    uses_pseudo = False  # whether `losses` looks at `SemiBatch.pseudo`
    mines = ""  # who makes pseudo-labels while it trains: `sam`, `network`, `ensemble`

    def __init__(self) -> None:
        super().__init__()
        self.segmentation_loss: SegmentationLoss = dice_cross_entropy  # pseudo-labels', too
        self._observed: dict[str, Tensor] = {}

    @classmethod
    def around(cls, network: nn.Module, options: Mapping[str, Any], *, name: str = "") -> nn.Module:
        """A network as this method trains it, from one as the run's settings build it.

        A method that trains a network with something around it makes it here alone: `build` gives
        it what this returns, in training (where several processes share its calls) and where a
        run is opened. Most train a network as it is.

        Args:
            network: As built.
            options: All that were given of the method's.
            name: Which of `networks` it is to be; empty for the first.
        """
        return network

    @abstractmethod
    def losses(self, batch: SemiBatch, *, progress: float) -> dict[str, Tensor]:
        """Weighted terms, scalars that sum to the loss.

        Args:
            batch: One step's patches.
            progress: Fraction of training done, in [0, 1].
        """

    def judges(self) -> tuple[nn.Module, ...]:
        """Trained parts that see answers of the networks, and no network sees theirs.

        Where several processes share a step, each has their whole gradients already.
        """
        return ()

    @classmethod
    def classes_of(cls, options: Mapping[str, Any]) -> tuple[str, ...]:
        """Names of the classes of a method that uses no labels, by all of its options.

        Raises:
            UsageError: If an option is out of its range.
        """
        raise NotImplementedError

    @classmethod
    def mixes_cases(cls, options: Mapping[str, Any]) -> str:
        """Why a patch of this method does not have the text of one case; empty if it has.

        Args:
            options: All options of the method.

        Returns:
            What follows the method's name in a message, such as `pastes ...; pass ...`.
        """
        return "does not tell the texts of cases apart"

    @abstractmethod
    def networks(self) -> dict[str, nn.Module]:
        """Networks that can predict, by name; the names stand in the run's files."""

    @property
    def answer(self) -> str:
        """Which network predicts unless the user says otherwise: a name, or `mean` of all."""
        return next(iter(self.networks()))

    def supervise(
        self,
        network: nn.Module,
        images: Tensor,
        batch: SemiBatch,
        *,
        factors: Tensor | None = None,
        weights: Tensor | None = None,
        texts: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Logits of all images, and the loss of the first of them, where the batch knows them.

        See `supervision.supervise`.
        """
        return supervise(
            network,
            images,
            batch.target,
            self.segmentation_loss,
            known=batch.known,
            factors=factors,
            weights=weights,
            texts=texts,
        )

    def pseudo_loss(self, logits: Tensor, pseudo: Tensor) -> Tensor:
        """The segmentation loss where the pseudo-label is known.

        Args:
            logits: `(U, K, X, Y[, Z])`.
            pseudo: `(U, X, Y[, Z])` int64, `UNKNOWN` where nothing is known.
        """
        return self.segmentation_loss(logits, pseudo, known=pseudo != UNKNOWN)

    def observe(self, **values: Tensor) -> None:
        """Remember values of this pass that are no terms of the loss, scalars on the device."""
        self._observed |= {name: value.detach() for name, value in values.items()}

    def observed(self) -> dict[str, Tensor]:
        """What the last `losses` saw besides its terms, such as the share of confident voxels.

        The log shows it. Nobody waits for a GPU to have it, except when it is logged.
        """
        return dict(self._observed)

    def start(self) -> None:
        """Take note that the networks have their first weights, given or random."""

    def after_step(self, step: int) -> None:
        """Update what is not trained by gradient, such as a teacher; *step* counts from 0."""

    def forward(self, image: Tensor) -> Tensor:
        """Logits `(B, K, X, Y[, Z])` of the answering network, or the log of the mean softmax."""
        networks = self.networks()
        if self.answer != "mean":
            found: Tensor = networks[self.answer](image)
            return found
        shares = [network(image).float().softmax(dim=1) for network in networks.values()]
        return torch.stack(shares).mean(dim=0).clamp_min(1e-12).log()


def check_ranges(**options: tuple[float, float, float]) -> None:
    """Refuse options outside their range, each given as its value, lowest and highest.

    Raises:
        UsageError: Naming the option, its value and its range.
    """
    for name, (value, low, high) in options.items():
        if not low <= value <= high:
            wanted = f"{low:g} or more" if high == math.inf else f"{low:g} to {high:g}"
            raise UsageError(f"--method-option {name}={value}: expected {wanted}.")
