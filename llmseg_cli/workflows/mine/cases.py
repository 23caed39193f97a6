"""Case after case through a miner, each finished before it is noted."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from llmseg_cli.artifacts.files import sha256_json
from llmseg_cli.artifacts.journal import Entry, Journal
from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.data.cases import Case, image_digest
from llmseg_cli.data.digests import voxel_digest
from llmseg_cli.data.volumes import Volume, prediction_suffix, read_grid, save_label_map
from llmseg_cli.errors import ArtifactError, DataError, StoppedError
from llmseg_cli.knowledge.mining.rules import Finding, Mined
from llmseg_cli.pictures.figure import figure, save_picture
from llmseg_cli.pictures.marks import ORANGE, SKY_BLUE, VERMILLION, Mark
from llmseg_cli.pictures.slices import WHOLE, Layers
from llmseg_cli.pictures.tiles import outlines_tile
from llmseg_cli.progress import Progress
from llmseg_cli.training.stop import StopRequest
from llmseg_cli.workflows.case_pictures import LARGE, Slicer
from llmseg_cli.workflows.mine.case import Miner
from llmseg_cli.workflows.predict.cases import is_scarcity, why_failed
from llmseg_cli.workflows.runs.run_folder import OpenRun

NOTHING = "the network predicts nothing"
SIGNS = (  # of pictures, in the order in which they are drawn
    Mark("the pseudo-label", SKY_BLUE),
    Mark("unknown, not learned from", VERMILLION),
    Mark("the prediction of the network", ORANGE, "dashes"),
)


@dataclass(frozen=True)
class MinedCase:
    """What became of a case.

    Args:
        case: Its identifier.
        status: ok; kept (finished before); no-prompt (the network predicts nothing); dropped (all
            its masks were); failed.
        file: The mask, relative to the output folder; None without one.
        findings: The columns of `qc.csv`, a mapping per component.
        reason: Why it failed, was dropped as a whole, or has no findings.
        measures: Numbers of the case, by name, such as the network's mean confidence.
    """

    case: str
    status: str
    file: str | None = None
    findings: tuple[dict[str, Any], ...] = ()
    reason: str | None = None
    measures: Mapping[str, float] = field(default_factory=dict)


@dataclass
class MiningWork:
    """Mines case after case into a folder.

    Args:
        miner: What makes the pseudo-labels.
        run: The networks.
        journal: Of the folder.
        made_by: All that a pseudo-label depends on besides the image.
        stop: Set by a signal.
        progress: Hears about cases.
        overlays: Folder of pictures, or None.
        drawn: Cases of which a picture is written.
        answers_all: Write an empty mask where there is none to keep, and background where nothing
            is known: what Segment Anything alone is scored by.
    """

    miner: Miner
    run: OpenRun
    journal: Journal
    made_by: dict[str, Any]
    stop: StopRequest
    progress: Progress
    overlays: Path | None = None
    drawn: frozenset[str] = frozenset()
    answers_all: bool = False

    def __post_init__(self) -> None:
        self.digest = sha256_json(self.made_by)
        self.lacking: set[str] = set()  # cases that failed for want of memory

    def all(
        self, cases: Sequence[Case], on_case: Callable[[MinedCase], None] = lambda case: None
    ) -> list[MinedCase]:
        """What became of each case.

        Raises:
            StoppedError: If a signal stopped it; finished cases are kept.
        """
        results = []
        for done, case in enumerate(cases):
            self.progress("mine", done, len(cases), case=case.id)
            if self.stop:
                raise StoppedError(
                    f"{self.stop.signal}: finished cases are kept in {self.journal.folder}. "
                    "Run the same command again with --resume."
                )
            results.append(self._one(case))
            on_case(results[-1])
        self.progress("mine", len(cases), max(1, len(cases)))
        return results

    def compared(self, results: Sequence[MinedCase]) -> list[MinedCase]:
        """The same, without the pseudo-labels that the miner drops when it compares all cases."""
        reasons = self.miner.dropped({one.case: one.measures for one in results})
        return [
            self._drop(one, reasons[one.case]) if one.case in reasons else one for one in results
        ]

    def _drop(self, result: MinedCase, reason: str) -> MinedCase:
        entry = self.journal.entries[result.case]
        if entry.file is not None:
            details = {**entry.details, "status": "dropped", "reason": reason}
            self.journal.discard(result.case)
            self.journal.add(
                result.case, None, image=entry.image, made_by=entry.made_by, details=details
            )
        return replace(result, status="dropped", file=None, reason=reason)

    def _one(self, case: Case) -> MinedCase:
        try:
            digest = image_digest(case)
            entry = self.journal.finished(case.id, image=digest, made_by=self.digest)
            if entry is not None:
                return noted(entry)
            self._clear(case)
            volume, mined = self.miner.mine(case, digest, self.run)
            result = self._write(case, digest, volume, mined)
        except (ArtifactError, DataError, MemoryError, RuntimeError) as error:
            reason = why_failed(error)
            if is_scarcity(error):
                self.lacking.add(case.id)
            self.journal.discard(case.id)
            return MinedCase(case.id, "failed", reason=reason)
        details: dict[str, Any] = {
            "status": result.status,
            "findings": list(result.findings),
            "reason": result.reason,
            "voxels": voxel_digest(volume.array),
        }
        if result.measures:
            details["measures"] = dict(result.measures)
        self.journal.add(case.id, result.file, image=digest, made_by=self.digest, details=details)
        return result

    def _clear(self, case: Case) -> None:
        """Delete an earlier answer, unless somebody else's file has its name."""
        file = f"{case.id}{prediction_suffix(read_grid(case.images))}"
        overlay = None if self.overlays is None else self.overlays / f"{case.id}.png"
        shown = () if overlay is None else (str(overlay.relative_to(self.journal.folder)),)
        self.journal.refuse_others(case.id, file, *shown)
        self.journal.discard(case.id)
        if overlay is not None:
            overlay.unlink(missing_ok=True)

    def _write(self, case: Case, digest: str, volume: Volume, mined: Mined) -> MinedCase:
        lines = tuple(line_of(finding) for finding in mined.findings)
        file = f"{case.id}{prediction_suffix(volume.grid)}"
        self.journal.begin(case.id, file, image=digest)
        if case.id in self.drawn and self.overlays is not None:
            _draw(self.overlays / f"{case.id}.png", case.id, volume, mined)
        reason = NOTHING if mined.predicted is None else mined.reason or None
        if self.answers_all:
            mined = _decided(mined, volume)
        if mined.labels is None:
            status = "dropped" if mined.findings or mined.reason else "no-prompt"
            return MinedCase(case.id, status, None, lines, reason, mined.measures)
        save_label_map(self.journal.folder / file, mined.labels, volume.grid)
        return MinedCase(case.id, "ok", file, lines, reason, mined.measures)


def _decided(mined: Mined, volume: Volume) -> Mined:
    empty = np.zeros(volume.array.shape[1:], np.uint8)
    found = empty if mined.labels is None else mined.labels
    return replace(mined, labels=np.where(found == UNKNOWN, empty, found))


def line_of(finding: Finding) -> dict[str, Any]:
    """A component's line of `qc.csv`."""
    return {
        "class": finding.label,
        "component": finding.component,
        "slices": finding.slices,
        "prompts": finding.prompts,
        "predicted_iou": round(finding.predicted_iou, 4),
        "stability": round(finding.stability, 4),
        "agreement": round(finding.agreement, 4),
        "area": finding.area,
        "network_area": finding.network_area,
        "area_ratio": round(finding.area_ratio, 4),
        "kept": "yes" if finding.is_kept else "no",
        "reason": finding.reason,
    }


def noted(entry: Entry) -> MinedCase:
    """A case that was finished before."""
    status = entry.details.get("status", "ok")
    findings = tuple(entry.details.get("findings", ()))
    kept = "kept" if status == "ok" else status
    reason, measures = entry.details.get("reason"), entry.details.get("measures", {})
    return MinedCase(entry.case, kept, entry.file, findings, reason, measures)


def _draw(path: Path, case: str, volume: Volume, mined: Mined) -> None:
    """The slice with the most foreground."""
    empty = np.zeros(volume.array.shape[1:], np.uint8)
    before = empty if mined.predicted is None else mined.predicted
    after = empty if mined.labels is None else mined.labels
    either = ((before > 0) | (after > 0)).astype(np.uint8)
    slicer = Slicer(volume, Layers(either.shape, volume.spacing_mm, volume.grid.unit, either))
    (number,) = slicer.layers.numbers(1)
    areas = (np.where(after == UNKNOWN, 0, after), after == UNKNOWN, before)
    drawn = [(slicer.turned(area, number), mark) for area, mark in zip(areas, SIGNS, strict=True)]
    picture = outlines_tile(slicer.plane(number), WHOLE, drawn, side=LARGE)
    save_picture(path, figure(case, [slicer.panel(number, picture)], SIGNS))
