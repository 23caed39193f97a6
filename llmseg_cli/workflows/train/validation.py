"""Dice on the validation cases, at the network's own spacing."""

import logging
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.artifacts.run_config import RunConfig
from llmseg_cli.data.patches.cache import PreparedCase
from llmseg_cli.data.patches.foreground import is_unknown
from llmseg_cli.data.patches.mapped import MappedArrays
from llmseg_cli.inference.sliding_window import sliding_window
from llmseg_cli.inference.windows import Windows
from llmseg_cli.metrics.overlap import dice_per_class
from llmseg_cli.models.text_fusion import begin
from llmseg_cli.progress import Progress, silent
from llmseg_cli.training.ranks import ALONE, Ranks

logger = logging.getLogger(__name__)


class Absences:
    """The foreground classes that the last validation found in no prediction."""

    def __init__(self) -> None:
        self.wanted: set[int] = set()
        self.found: set[int] = set()

    def add(self, labels: NDArray[np.uint8], wanted: NDArray[np.uint8]) -> None:
        """Take note of the label map of a case, and of its reference."""
        for values, seen in ((labels, self.found), (wanted, self.wanted)):
            seen.update(np.flatnonzero(np.bincount(values.ravel())).tolist())

    def join(self, ranks: Ranks) -> None:
        """Take over what the other ranks have noted of their cases."""
        for seen in (self.wanted, self.found):
            seen.update(*ranks.of_all(set(seen)))

    def warnings(self, classes: Sequence[str]) -> list[str]:
        """A sentence, if some classes are predicted and others never.

        Args:
            classes: Names of the classes, background first.
        """
        absent = sorted((self.wanted - self.found) & set(range(1, len(classes))))
        if not absent or not self.found - {0}:  # where nothing is, the Dice says it
            return []
        names = ", ".join(classes[value] for value in absent)
        is_one = len(absent) == 1
        return [
            f"{'Class' if is_one else 'Classes'} {names}: predicted on no validation case. The "
            f"network has not learned {'it' if is_one else 'them'} yet. Train longer (--steps, "
            "with --resume), or with another --seed or --learning-rate."
        ]


def dice_scorer(
    cases: Sequence[PreparedCase],
    config: RunConfig,
    *,
    device: torch.device,
    absences: Absences | None = None,
    progress: Progress = silent,
    ranks: Ranks = ALONE,
) -> Callable[[Mapping[str, nn.Module]], float] | None:
    """Returns what scores networks by their mean Dice over cases and foreground classes.

    Args:
        cases: Validation cases with label maps.
        config: The run: classes, patch and the network that answers.
        device: Where the networks are.
        absences: Told of the classes of each validation.
        progress: Hears about every case.
        ranks: Who trains the run; each scores a share of the cases.

    Returns:
        None if there are no validation cases of which anything is known. A class that neither the
        prediction nor the reference of a case has is left out of the mean; where all are, the score
        is 1, for all agree. Voxels of which nothing is known do not count.
    """
    cases = _telling(cases, config.ignore_label)
    if not cases:
        return None
    classes = range(1, len(config.classes))
    files = [(case.id, case.image, case.labels) for case in cases if case.labels is not None]
    arrays = MappedArrays()
    arrays.open_first([path for _, *pair in files for path in pair])

    def score(networks: Mapping[str, nn.Module]) -> float:
        asked = networks if config.answer == "mean" else {"": networks[config.answer]}
        for network in asked.values():
            network.eval()
        values = []
        told = absences or Absences()
        told.wanted.clear()
        told.found.clear()
        progress("validate", 0, len(files))
        for done, (case, stored, reference) in enumerate(ranks.share(files), start=1):
            image = torch.from_numpy(np.array(arrays.get(stored), np.float32)).to(device)
            begin(asked.values(), case)
            labels = _predict(image, list(asked.values()), config)
            wanted: NDArray[np.uint8] = np.asarray(arrays.get(reference), np.uint8)
            if config.ignore_label is not None:
                counts = wanted != UNKNOWN
                labels, wanted = labels[counts], wanted[counts]
            told.add(labels, wanted)
            values.append(dice_per_class(labels, wanted, classes=classes))
            if done < len(files):
                progress("validate", min(done * ranks.size, len(files) - 1), len(files))
        begin(asked.values(), None)
        told.join(ranks)
        found = np.concatenate(ranks.joined(values))
        found = found[~np.isnan(found)]
        mean = float(found.mean()) if found.size else 1.0
        progress("validate", len(files), len(files), validation_dice=mean)
        return mean

    return score


def _telling(cases: Sequence[PreparedCase], ignore: int | None) -> list[PreparedCase]:
    """Those of which something is known; any answer agrees with the others."""
    if ignore is None:
        return list(cases)
    unknown = [case for case in cases if case.foreground and is_unknown(np.load(case.foreground))]
    for case in unknown:
        logger.warning(
            "case %s is a validation case, but all its voxels have the ignore label %d; it says "
            "nothing, and is left out.",
            case.id,
            ignore,
        )
    return [case for case in cases if case not in unknown]


@torch.inference_mode()
def _predict(
    image: Tensor, networks: Sequence[nn.Module], config: RunConfig
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    def ask(window: Tensor) -> Tensor:
        shares = [network(window).float().softmax(dim=1) for network in networks]
        return torch.stack(shares).mean(dim=0)

    shape = tuple(image.shape[1:])
    windows = Windows(shape, config.patch, overlap=0.25, slices=config.slices)
    slabs = sliding_window(image, ask, windows)
    labels = [slab.argmax(dim=0).to(torch.uint8).cpu().numpy() for _, slab in slabs]
    return np.concatenate(labels)
