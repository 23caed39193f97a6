"""Case after case through a run's networks, each finished before it is noted."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmseg_cli.artifacts.files import sha256_json
from llmseg_cli.artifacts.journal import Journal
from llmseg_cli.data.cases import Case, image_digest
from llmseg_cli.data.class_values import as_stored
from llmseg_cli.data.volumes import prediction_suffix, save_label_map
from llmseg_cli.errors import (
    LlmsegError,
    PolicyError,
    ResourceError,
    StoppedError,
    TooLargeError,
    is_out_of_memory,
)
from llmseg_cli.inference.post_processing import NOTHING, PostProcessing
from llmseg_cli.models.text_fusion import begin
from llmseg_cli.progress import Progress
from llmseg_cli.training.stop import StopRequest
from llmseg_cli.workflows.predict.absent_classes import classes_in
from llmseg_cli.workflows.predict.image import Manner, Prepared, prepare_all
from llmseg_cli.workflows.predict.labels import labels_of_mean
from llmseg_cli.workflows.predict.maps import Maps, OpenMaps, by_kind
from llmseg_cli.workflows.predict.opening import refuse_other_image
from llmseg_cli.workflows.predict.trust import Watch
from llmseg_cli.workflows.runs.ensemble import Ensemble

Images = tuple[Prepared, ...]  # an image as each group of runs sees it
Loading = Future[tuple[str, Images | None]]


@dataclass(frozen=True)
class CaseResult:
    """What became of a case: `status` is ok, failed or skipped (finished before).

    Args:
        case: Its identifier.
        status: What became of it.
        file: The mask, relative to the output folder; None if it failed.
        reason: Why it failed, or None.
        elapsed_s: Seconds it took.
        windows_skipped: Windows that are background without asking.
        classes: Foreground classes that the mask has; None if it failed, or was made by an older
            version.
        probabilities: Files of the probabilities of its classes, if they were asked for.
        uncertainty: File of the entropy over its classes, likewise.
        centres: Table of the centres of its objects, likewise.
        trust: How far the mask may be trusted, as `trust.Trust` says; None if it failed, or was
            made by an older version.
        dicom_seg: The mask as DICOM SEG, if that was asked for.
        overlay: Picture of the mask over the image, if that was asked for.
    """

    case: str
    status: str
    file: str | None = None
    reason: str | None = None
    elapsed_s: float = 0.0
    windows_skipped: int = 0
    classes: tuple[int, ...] | None = None
    probabilities: tuple[str, ...] = ()
    uncertainty: str | None = None
    centres: str | None = None
    trust: dict[str, Any] | None = None
    dicom_seg: str | None = None
    overlay: str | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """All files of the case."""
        more = (self.uncertainty, self.centres, self.dicom_seg, self.overlay)
        named = (name for name in more if name is not None)
        return (*((self.file,) if self.file else ()), *self.probabilities, *named)


@dataclass
class Work:
    """Predicts case after case, and loads the next image meanwhile."""

    runs: Ensemble
    manner: Manner
    journal: Journal
    made_by: dict[str, Any]
    stop: StopRequest
    progress: Progress
    windows: dict[str, int]
    too_large: dict[str, str] = field(default_factory=dict)
    done: int = 0
    refuse: Callable[[str, str], None] = lambda case, voxels: None  # what the runs have learned
    after: PostProcessing = NOTHING
    maps: Maps = field(default_factory=Maps)

    def __post_init__(self) -> None:
        self.lacking: set[str] = set()  # cases that failed for want of memory
        self.digest = sha256_json(self.made_by)
        self.total = max(1, sum(self.windows.values()))

    def all(self, cases: Sequence[Case], on_case: Callable[[CaseResult], None]) -> list[CaseResult]:
        results = []
        with ThreadPoolExecutor(1, thread_name_prefix="load") as loader:
            waiting: deque[Loading] = deque()
            left = iter(cases)
            for case in cases:
                for later in islice(left, 1 + self.manner.ahead - len(waiting)):
                    waiting.append(loader.submit(self._load, later))
                results.append(self._one(case, waiting.popleft()))
                on_case(results[-1])
        return results

    def _load(self, case: Case) -> tuple[str, Images | None]:
        """The image's digest, and the image unless its mask is finished."""
        image = image_digest(case)
        if self.journal.finished(case.id, image=image, made_by=self.digest):
            self.refuse(case.id, self.journal.entries[case.id].details.get("voxels", ""))
            return image, None
        if why := self.too_large.get(case.id):
            raise TooLargeError(why)
        refuse_other_image(self.runs.groups, case.id, image)
        prepared = prepare_all(case, self.runs.groups, self.manner)
        self.refuse(case.id, prepared[0].voxels)
        return image, prepared

    def _one(self, case: Case, loading: Loading) -> CaseResult:
        begun, before = time.monotonic(), self.done
        try:
            image, prepared = loading.result()
            self._refuse_stopped()
            if prepared is None:
                result = self._kept(case)
            else:
                result = self._write(case, image, prepared)
                left = before + self.windows[case.id] - self.done
                skipped = 0 if self.manner.skip_below is None else max(0, left)
                result = replace(result, windows_skipped=skipped)
        except (LlmsegError, OSError, MemoryError, RuntimeError) as error:
            result = CaseResult(case.id, "failed", reason=why_failed(error))
            if is_scarcity(error):
                self.lacking.add(case.id)
            self.journal.discard(case.id)
        self.done = before + self.windows.get(case.id, 0)
        self._report(case.id)
        return replace(result, elapsed_s=round(time.monotonic() - begun, 3))

    def _kept(self, case: Case) -> CaseResult:
        entry = self.journal.entries[case.id]
        classes = entry.details.get("classes")
        return CaseResult(
            case.id,
            "skipped",
            entry.file,
            classes=None if classes is None else tuple(classes),
            **by_kind(entry.details.get("maps", ())),
            trust=entry.details.get("trust"),
        )

    def _write(self, case: Case, image: str, prepared: Images) -> CaseResult:
        grid, folder = prepared[0].grid, self.journal.folder
        suffix = prediction_suffix(grid)
        file, maps = f"{case.id}{suffix}", self.maps.names(case.id, suffix)
        self.journal.refuse_others(case.id, file, *maps)
        self.journal.discard(case.id)
        with self.maps.opened(folder, grid.ras_shape) as opened:
            labels, trust = self._labels(case, prepared, opened)
            self.journal.begin(case.id, file, *maps, image=image)
            classes = classes_in(labels)  # before they become the values of files
            stored = as_stored(labels, self.runs.config.label_values)
            save_label_map(folder / file, stored, grid)
            opened.save(folder, case.id, maps, grid)
        details = {"voxels": prepared[0].voxels, "classes": list(classes), "trust": trust}
        if maps:
            details["maps"] = maps
        self.journal.add(case.id, file, image=image, made_by=self.digest, details=details)
        return CaseResult(case.id, "ok", file, classes=classes, trust=trust, **by_kind(maps))

    def _labels(
        self, case: Case, prepared: Images, maps: OpenMaps
    ) -> tuple[NDArray[np.uint8 | np.uint16], dict[str, Any]]:
        def asked(count: int) -> None:
            self._refuse_stopped()
            self._report(case.id)
            self.done += count

        begin(self.runs.networks.values(), case.id)
        hear = maps.take if maps.is_wanted else None
        watch = Watch(self.runs, self.manner)
        labels = labels_of_mean(
            prepared, self.runs, self.manner, asked=asked, hear=hear, watch=watch
        )
        self.after.apply(labels)
        return labels, watch.trust().to_dict()

    def _report(self, case: str) -> None:
        self.progress("predict", self.done, self.total, case=case)

    def _refuse_stopped(self) -> None:
        if self.stop:
            raise StoppedError(
                f"{self.stop.signal}: finished cases are kept in {self.journal.folder}. "
                "Run the same command again with --resume."
            )


def is_scarcity(error: Exception) -> bool:
    """Whether an error says that memory did not suffice."""
    return isinstance(error, TooLargeError) or is_out_of_memory(error)


def why_failed(error: Exception) -> str:
    """Why a case failed; raises *error* again if the fault is not the case's."""
    if isinstance(error, StoppedError | ResourceError | PolicyError):
        raise error
    if isinstance(error, LlmsegError):
        return str(error)
    if is_scarcity(error):
        return (
            "out of memory; try --max-ram with what the machine has, --device cpu, or a machine "
            "with more memory"
        )
    raise error
