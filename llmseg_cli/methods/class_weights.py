"""How much each class counts in co-training: alike, by rarity, or by difficulty, too."""

import torch
from torch import Tensor, nn

from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.errors import unknown
from llmseg_cli.methods.base import SemiBatch

WEIGHTS = ("equal", "balanced", "heterogeneous")
MOST = UNKNOWN + 1  # classes that label maps can have
RARITY_MOMENTUM, DIFFICULTY_MOMENTUM = 0.99, 0.98  # DHC's code: 0.99, and 49 of 50
TINY = 1e-8
Weights = Tensor | None  # `(MOST,)`; None for equal ones


class ClassWeights(nn.Module):
    """Weights of the classes for the losses of two networks.

    `equal` are none. `balanced` gives both networks those of `Rarity`. `heterogeneous`, as DHC,
    gives the first network those of `Difficulty` and the second those of `Rarity`. A factor that is
    common to all classes does not matter, for the losses divide by the sum of the weights.

    Args:
        kind: One of `WEIGHTS`.

    Raises:
        UsageError: If the kind is unknown.

    References:
        Wang and Li, DHC: Dual-debiased Heterogeneous Co-training, MICCAI 2023. arXiv:2307.11960.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        if kind not in WEIGHTS:
            raise unknown("--method-option weights", kind, WEIGHTS)
        self.rarity = Rarity() if kind != "equal" else None
        self.difficulty = Difficulty() if kind == "heterogeneous" else None

    def forward(self) -> tuple[Weights, Weights]:
        """Of the first and of the second network, as learned in the steps before."""
        rarity = self.rarity() if self.rarity is not None else None
        return (self.difficulty() if self.difficulty is not None else rarity), rarity

    def learn(self, first: Tensor, batch: SemiBatch) -> None:
        """Take note of the labels of a batch, and of what the first network said.

        Args:
            first: Logits of the labeled images, `(B, K, X, Y[, Z])`.
            batch: With their label maps.
        """
        answer, classes = first.detach().argmax(dim=1), first.shape[1]
        if self.rarity is not None:
            counts = torch.stack([(batch.target == k).sum() for k in range(classes)])
            self.rarity.learn(counts.float())
        if self.difficulty is not None:
            self.difficulty.learn(answer, batch, classes)


class Rarity(nn.Module):
    r"""The rarer a class is among the labeled voxels, the more it counts.

    $w_k = \ln(1 + (N_{max} + 1) / (N_k + 1))$ with $N_k$ the moving average of the voxels of class
    k in a labeled batch: DHC's distribution-based weights, in two ways ours. There
    $\ln(N_{max} / N_k)$ leaves the most frequent class, the background, nothing; and after a first
    count of the labels the networks' own answers for unlabeled images are counted.
    """

    counts: Tensor
    batches: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("counts", torch.zeros(MOST))
        self.register_buffer("batches", torch.zeros(()))

    def learn(self, counts: Tensor) -> None:
        """Take note of the voxels of each class in a batch, `(K,)`."""
        self.batches += 1
        share = (1 / self.batches).clamp_min(1 - RARITY_MOMENTUM)
        self.counts[: len(counts)].lerp_(counts, share)

    def forward(self) -> Tensor:
        """Weights of the classes, `(MOST,)`."""
        return torch.log1p((self.counts.max() + 1) / (self.counts + 1))


class Difficulty(nn.Module):
    r"""The worse a class is segmented and the slower it gets better, the more it counts.

    With $d_k$ the Dice of the network's answer over the labeled voxels of a batch, and $\Delta_k$
    its change since the last one,
    $w_k = (\frac{u_k + \epsilon}{l_k + \epsilon})^{1/5} \, \bar e_k$, where $l_k$ and $u_k$ are
    moving averages of $\Delta_k \ln \frac{d_k}{d_k - \Delta_k}$ where $\Delta_k > 0$ and where not,
    $\bar e_k$ that of $1 - d_k$, and $\epsilon = 10^{-8}$: DHC's
    difficulty-based weights. That a class which a batch does not hold keeps its averages is ours.
    """

    dice: Tensor
    learned: Tensor
    unlearned: Tensor
    error: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("dice", torch.full((MOST,), TINY))
        self.register_buffer("learned", torch.zeros(MOST))
        self.register_buffer("unlearned", torch.zeros(MOST))
        self.register_buffer("error", torch.ones(MOST))

    def learn(self, answer: Tensor, batch: SemiBatch, classes: int) -> None:
        """Take note of an answer, label maps `(B, X, Y[, Z])`, to the labeled images of a batch."""
        known = batch.target != UNKNOWN if batch.has_unknown else torch.ones_like(answer) > 0
        sizes = []
        for k in range(classes):
            said, true = (answer == k) & known, (batch.target == k) & known
            sizes.append(torch.stack([(said & true).sum(), said.sum() + true.sum(), true.sum()]))
        both, either, true = torch.stack(sizes).T.float()
        dice = (2 * both / either.clamp_min(1)).clamp_min(TINY)
        holds, own = true > 0, slice(classes)
        change = dice - self.dice[own]
        grown = change * (dice / self.dice[own]).log()  # 0 or more, whichever way
        for average, new in (
            (self.learned, torch.where(change > 0, grown, 0)),
            (self.unlearned, torch.where(change > 0, 0, grown)),
            (self.error, 1 - dice),
        ):
            moved = torch.lerp(average[own], new, 1 - DIFFICULTY_MOMENTUM)
            average[own] = torch.where(holds, moved, average[own])
        self.dice[own] = torch.where(holds, dice, self.dice[own])

    def forward(self) -> Tensor:
        """Weights of the classes, `(MOST,)`."""
        ratio = (self.unlearned + TINY) / (self.learned + TINY)
        return ratio ** (1 / 5) * self.error + TINY
