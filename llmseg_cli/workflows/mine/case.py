"""What makes the pseudo-label of a case: any miner, and Segment Anything."""

import functools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmseg_cli.choices import AXES
from llmseg_cli.config_mining import CALIBRATED, MiningSettings
from llmseg_cli.data.cases import Case
from llmseg_cli.data.volumes import Volume, load_image
from llmseg_cli.errors import DataError
from llmseg_cli.knowledge.mining.calibration import class_shares, thresholds_for
from llmseg_cli.knowledge.mining.masks import network_masks
from llmseg_cli.knowledge.mining.mine import mine, sliced_axis
from llmseg_cli.knowledge.mining.prompts import PromptRules
from llmseg_cli.knowledge.mining.rules import Mined, MiningRules
from llmseg_cli.knowledge.sam.choose import open_segmenter
from llmseg_cli.knowledge.sam.embedding_cache import EmbeddingCache
from llmseg_cli.knowledge.sam.interface import Embedding
from llmseg_cli.models.text_fusion import begin
from llmseg_cli.numerics.unit_range import to_unit, unit_range
from llmseg_cli.progress import Progress, silent
from llmseg_cli.training.precision import choose_device, choose_dtype
from llmseg_cli.workflows.predict.image import Manner, Prepared, prepare_volume
from llmseg_cli.workflows.predict.labels import network_probabilities
from llmseg_cli.workflows.runs.run_folder import OpenRun

EMBEDDINGS = "sam"  # folder of llmseg's cache


class Miner(ABC):
    """Makes the pseudo-label of a case from a run's networks.

    Args:
        manner: How the networks are asked.
        calibrates: Whether thresholds follow the labeled cases.
        thresholds: Probability from which a voxel is predicted, per class with the background;
            empty for the most probable class.
    """

    replaces = False  # whether its masks stand in place of all masks before, not beside them

    def __init__(
        self, manner: Manner, *, calibrates: bool = False, thresholds: tuple[float, ...] = ()
    ) -> None:
        self.manner, self.calibrates, self.thresholds = manner, calibrates, thresholds

    def calibrate(
        self,
        cases: Sequence[Case],
        run: OpenRun,
        label_maps: Iterable[NDArray[np.uint8]],
        *,
        progress: Progress = silent,
    ) -> None:
        """Set the thresholds, if that was asked for.

        Args:
            cases: Unlabeled cases; a faulty one is left to the mining to report.
            run: The networks.
            label_maps: Of the labeled cases.
            progress: Hears about cases.
        """
        if self.calibrates:
            shares = class_shares(label_maps, len(run.config.classes))
            found = self._probabilities(cases, run, progress)
            self.thresholds = thresholds_for(found, [float(share) for share in shares])

    def _probabilities(
        self, cases: Sequence[Case], run: OpenRun, progress: Progress
    ) -> Iterator[NDArray[np.float32]]:
        for done, case in enumerate(cases):
            progress("calibrate", done, len(cases), case=case.id)
            try:
                prepared = prepared_case(case, run)[1]
            except DataError:
                continue
            yield network_probabilities(prepared, run, self.manner)

    @abstractmethod
    def mine(self, case: Case, digest: str, run: OpenRun) -> tuple[Volume, Mined]:
        """The image, and its pseudo-label on its own voxels.

        Args:
            case: The case; its label map is never opened.
            digest: `image_digest(case)`.
            run: The networks.

        Raises:
            DataError: If the image cannot be used.
        """

    def dropped(self, measures: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
        """Cases that keep no pseudo-label when all are compared, each with the reason.

        Args:
            measures: Of each case, as `Mined` has them.
        """
        return {}

    @property
    @abstractmethod
    def made_by(self) -> dict[str, Any]:
        """All that a pseudo-label depends on besides the image and the networks."""


class SamMiner(Miner):
    """Masks of Segment Anything, asked with prompts from the network's probabilities.

    Args:
        rules: How prompts are made, and which masks are kept.
        cache: The segmenter, and its embeddings.
        manner: How the networks are asked.
        masks: Whose masks are the pseudo-labels: `sam`, or (the control) `network`.
    """

    def __init__(
        self,
        rules: MiningRules,
        cache: EmbeddingCache,
        manner: Manner,
        *,
        calibrates: bool = False,
        masks: str = "sam",
    ) -> None:
        super().__init__(manner, calibrates=calibrates)
        self.rules, self.cache, self.masks = rules, cache, masks

    def mine(self, case: Case, digest: str, run: OpenRun) -> tuple[Volume, Mined]:
        volume, prepared = prepared_case(case, run)
        limits = functools.cache(lambda: unit_range(volume.array))  # not if all are cached
        axis = sliced_axis(volume.array.shape[1:], self.rules)

        def embedding(index: int) -> Embedding:
            key = f"{digest} {AXES[axis]} {index}"
            return self.cache.get(
                key, lambda: to_unit(np.take(volume.array, index, 1 + axis), limits())
            )

        mined = mine(
            network_probabilities(prepared, run, self.manner),
            volume.array.shape[1:],
            self.cache.segmenter,
            embedding,
            replace(self.rules, thresholds=self.thresholds),
        )
        if self.masks == "network":
            mined = replace(mined, labels=network_masks(mined, largest=self.rules.largest))
        return volume, mined

    @property
    def made_by(self) -> dict[str, Any]:
        segmenter = self.cache.segmenter
        return {
            **({"masks": self.masks} if self.masks != "sam" else {}),
            "miner": "sam",
            "mirror": self.manner.mirror,
            "sam": segmenter.name,
            "weights": segmenter.digest,
            "dtype": str(segmenter.dtype).removeprefix("torch."),
            "rules": asdict(self.rules),
            "calibrates": self.calibrates,
            "thresholds": self.thresholds,
        }


def rules_of(settings: MiningSettings) -> MiningRules:
    """The rules that a user's settings stand for.

    Raises:
        UsageError: If a value is out of its range.
    """
    prompts = PromptRules(
        kinds=settings.prompts,
        threshold=settings.fixed_threshold,
        smallest=settings.smallest_component,
        positives=settings.positive_points,
        negatives=settings.negative_points,
        confident=settings.confident,
        margin=max(settings.box_margin),
    )
    return MiningRules(
        prompts=prompts,
        margins=settings.box_margin,
        refine=settings.refine,
        axis=settings.slice_axis,
        largest=settings.largest_component,
        min_iou=settings.min_iou,
        min_stability=settings.min_stability,
        min_agreement=settings.min_agreement,
        max_area_ratio=settings.max_area_ratio,
    )


def open_sam_miner(
    settings: MiningSettings, *, device: str, cache: Path, offline: bool = False
) -> SamMiner:
    """A miner with the segmenter that the settings name.

    Raises:
        UsageError: If a setting is wrong.
        WeightsError: If the segmenter's weights are missing, altered or of another model.
    """
    rules = rules_of(settings)
    place = choose_device(device)
    segmenter = open_segmenter(
        settings.sam,
        device=place,
        dtype=choose_dtype(settings.sam_precision, place),
        cache=cache,
        offline=offline,
    )
    embeddings = EmbeddingCache(cache / EMBEDDINGS, segmenter)
    return SamMiner(
        rules,
        embeddings,
        Manner(mirror=settings.mirror),
        calibrates=settings.threshold == CALIBRATED,
        masks=settings.masks,
    )


def prepared_case(case: Case, run: OpenRun) -> tuple[Volume, Prepared]:
    """The image of a case, and as the networks of a run see it, which are told whose it is."""
    begin(run.networks.values(), case.id)
    volume = load_image(case.images)
    return volume, prepare_volume(case, volume, run)
