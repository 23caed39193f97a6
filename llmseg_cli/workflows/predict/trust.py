"""How far a mask may be trusted: agreement of those who answer, and entropy of what they say.

Both are gathered while windows are asked, on the voxels that the networks see, so that they cost
neither another pass nor memory of the volume's size. Whether they tell good masks from bad ones is
for `score` to say, where there are references.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from llmseg_cli.inference.agreement import Overlaps, Pair
from llmseg_cli.inference.entropy import ForegroundEntropy
from llmseg_cli.inference.mirroring import flips_along, mirrored
from llmseg_cli.inference.shares import Shares
from llmseg_cli.inference.sliding_window import Corners, Predict
from llmseg_cli.inference.windows import Windows
from llmseg_cli.workflows.predict.image import Manner
from llmseg_cli.workflows.runs.ensemble import Ensemble
from llmseg_cli.workflows.runs.flips import known_flips
from llmseg_cli.workflows.runs.run_folder import OpenRun

NETWORKS, VIEWS = "networks", "views"
ALONE = "one network answers about one view; several, or --mirror, can disagree"
APART = "no two networks are asked about the same windows, so their masks are not compared"
BLANK = "none of them marks anything"
DIGITS = 6


@dataclass(frozen=True)
class Trust:
    """What is known of a mask without a reference.

    Args:
        agreement: Mean of *classes*, 0 to 1; None if nothing can disagree, or none marks anything.
        classes: Foreground class to the mean Dice of pairs; None where none of a pair marks it.
        between: `networks`, each pair of those that answer; `views`, the answer and that to each
            mirrored view; or None.
        voices: How many networks or views were compared.
        entropy: Mean entropy of the voxels of foreground, 0 to 1 (ln K), at the temperatures if
            runs have some; None without foreground.
        reason: Why there is no agreement.
    """

    agreement: float | None
    classes: dict[int, float | None]
    between: str | None
    voices: int
    entropy: float | None
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As `cases.jsonl` has it."""
        found = {
            "agreement": self.agreement,
            "classes": {str(value): dice for value, dice in self.classes.items()},
            "between": self.between,
            "voices": self.voices,
            "entropy": self.entropy,
        }
        return found if self.reason is None else {**found, "reason": self.reason}


class Watch:
    """Listens while an image's windows are asked.

    Where windows overlap, each counts for the share of a voxel that it has in the blend, so that a
    voxel counts once in all, and what is said at a window's edge counts little, as in the mask.

    Args:
        runs: Those that answer.
        manner: How they are asked.
    """

    def __init__(self, runs: Ensemble, manner: Manner) -> None:
        self.runs, self.manner = runs, manner
        self.between = compared(runs, manner)
        self.overlaps = [self._overlaps(group) for group in runs.groups]
        self.entropies = [ForegroundEntropy() for _ in runs.groups]
        self.rows = [0 for _ in runs.groups]  # counted so far, of an image in parts

    def asks(self, index: int, placed: Windows) -> Callable[[Corners], Predict]:
        """Gives what answers for windows of a group of runs, and is listened to.

        Args:
            index: Of the group.
            placed: Its windows.
        """
        run, overlaps = self.runs.groups[index], self.overlaps[index]
        axes = known_flips(run.config) if self.manner.mirror else ()
        if overlaps is None:
            plain = mirrored(run.probabilities, axes) if axes else run.probabilities
            return lambda corners: plain
        shares, ask = Shares(placed, begin=self.rows[index], device=run.device), _of_networks
        if self.between == VIEWS:
            ask = _of_views
        return lambda corners: ask(run, axes, overlaps, shares.at(corners))

    def slabs(
        self, index: int, placed: Windows, found: Iterator[tuple[int, Tensor]]
    ) -> Iterator[tuple[int, Tensor]]:
        """The same slabs of probabilities of a group, each looked at before it is given away."""
        first, stop = placed.wanted
        begin = max(first, self.rows[index]) - first  # parts share rows at their edges
        classes = len(self.runs.config.classes)
        for start, slab in found:
            new = slab[:, :, begin:]
            self.entropies[index].add(new[:classes], new[-classes:])
            yield start, slab
        self.rows[index] = max(stop, self.rows[index])

    def trust(self) -> Trust:
        """What is known once all windows were asked."""
        classes = self._agreement() if self.between else {}
        known = [dice for dice in classes.values() if dice is not None]
        agreement = _rounded(sum(known) / len(known)) if known else None
        reason = None if known else BLANK
        if self.between is None:
            reason = ALONE if len(self.runs.networks) == 1 else APART
        voices = sum(one.voices for one in self.overlaps if one is not None)
        return Trust(
            agreement,
            {value: _rounded(dice) for value, dice in classes.items()},
            self.between,
            voices - (self.between == VIEWS),  # the answer itself is no view
            self._entropy(),
            reason,
        )

    def _overlaps(self, run: OpenRun) -> Overlaps | None:
        voices = len(run.networks)
        if self.between == VIEWS:
            voices = 1 + len(flips_along(known_flips(run.config)))
        if self.between is None or voices == 1:
            return None
        return Overlaps(voices, len(run.config.classes))

    def _agreement(self) -> dict[int, float | None]:
        """Per class the mean Dice of all pairs, of whichever group they are."""
        found: dict[int, list[float]] = {}
        for overlaps in filter(None, self.overlaps):
            for pair in _pairs(overlaps.voices, self.between):
                for value, dice in overlaps.dice([pair]).items():
                    found.setdefault(value, []).extend([] if dice is None else [dice])
        return {value: sum(one) / len(one) if one else None for value, one in found.items()}

    def _entropy(self) -> float | None:
        """Of several groups, the mean by their weights."""
        pairs = zip(self.runs.weights, self.entropies, strict=True)
        known = [(weight, one.mean) for weight, one in pairs if one.mean is not None]
        total = sum(weight for weight, _ in known)
        return _rounded(sum(weight * mean for weight, mean in known) / total) if known else None


def compared(runs: Ensemble, manner: Manner) -> str | None:
    """Whose masks are compared: networks that are asked about the same windows, else views."""
    if any(len(group.networks) > 1 for group in runs.groups):
        return NETWORKS
    return VIEWS if manner.mirror and len(runs.networks) == 1 else None


def voices_of(run: OpenRun, manner: Manner) -> int:
    """Label maps of a batch that are held at once to be compared, at most."""
    if len(run.networks) > 1:
        return len(run.networks)
    return 1 + len(flips_along(known_flips(run.config))) if manner.mirror else 0


def _of_networks(run: OpenRun, axes: Sequence[int], overlaps: Overlaps, weights: Tensor) -> Predict:
    """Asks, and counts what each network says of each view."""

    def ask(batch: Tensor) -> Tensor:
        views = iter(flips_along(axes))  # as `mirrored` asks them

        def heard(view: Tensor) -> Tensor:
            labels: list[Tensor] = []
            found = run.probabilities(view, hear=lambda share: labels.append(_labels(share)))
            turned = [axis - 1 for axis in next(views)]  # there are no channels
            overlaps.add(torch.stack(labels), weights.flip(turned) / len(flips_along(axes)))
            return found

        return mirrored(heard, axes)(batch) if axes else heard(batch)

    return ask


def _of_views(run: OpenRun, axes: Sequence[int], overlaps: Overlaps, weights: Tensor) -> Predict:
    """Asks, and counts what is said of each view, and what in the mean of them."""

    def ask(batch: Tensor) -> Tensor:
        labels: list[Tensor] = []
        classes = len(run.config.classes)  # those at a temperature stand behind them

        def hear(found: Tensor) -> None:
            labels.append(_labels(found[:, :classes]))

        found = mirrored(run.probabilities, axes, hear=hear)(batch)
        overlaps.add(torch.stack([_labels(found[:, :classes]), *labels]), weights)
        return found

    return ask


def _pairs(voices: int, between: str | None) -> list[Pair]:
    """Each two networks; the answer, which is the first voice, with each view."""
    if between == VIEWS:
        return [(0, view) for view in range(1, voices)]
    return [(a, b) for a in range(voices) for b in range(a + 1, voices)]


def _labels(probabilities: Tensor) -> Tensor:
    """The most probable class, `(B, X, Y[, Z])`."""
    kind = torch.uint8 if probabilities.shape[1] <= 256 else torch.int32
    return probabilities.argmax(dim=1).to(kind)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)
