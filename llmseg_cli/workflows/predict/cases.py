"""Case after case through a run's networks, each finished before it is noted."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

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
from llmseg_cli.progress import Progress
from llmseg_cli.training.stop import StopRequest
from llmseg_cli.workflows.predict.absent_classes import classes_in
from llmseg_cli.workflows.predict.image import (
    Manner,
    Prepared,
    predict_labels,
    prepare,
)
from llmseg_cli.workflows.runs.run_folder import OpenRun

Loading = Future[tuple[str, Prepared | None]]


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
    """

    case: str
    status: str
    file: str | None = None
    reason: str | None = None
    elapsed_s: float = 0.0
    windows_skipped: int = 0
    classes: tuple[int, ...] | None = None


@dataclass
class Work:
    """Predicts case after case, and loads the next image meanwhile."""

    run: OpenRun
    manner: Manner
    journal: Journal
    made_by: dict[str, Any]
    stop: StopRequest
    progress: Progress
    windows: dict[str, int]
    too_large: dict[str, str] = field(default_factory=dict)
    done: int = 0
    refuse: Callable[[str, str], None] = lambda case, voxels: None  # what the run has learned

    def __post_init__(self) -> None:
        self.lacking: set[str] = set()  # cases that failed for want of memory
        self.digest = sha256_json(self.made_by)

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

    def _load(self, case: Case) -> tuple[str, Prepared | None]:
        """The image's digest, and the image unless its mask is finished."""
        image = image_digest(case)
        if self.journal.finished(case.id, image=image, made_by=self.digest):
            self.refuse(case.id, self.journal.entries[case.id].details.get("voxels", ""))
            return image, None
        if why := self.too_large.get(case.id):
            raise TooLargeError(why)
        prepared = prepare(case, self.run, self.manner)
        self.refuse(case.id, prepared.voxels)
        return image, prepared

    def _one(self, case: Case, loading: Loading) -> CaseResult:
        begun, before = time.monotonic(), self.done
        try:
            image, prepared = loading.result()
            self._refuse_stopped()
            if prepared is None:
                entry = self.journal.entries[case.id]
                kept = entry.details.get("classes")
                classes = None if kept is None else tuple(kept)
                result = CaseResult(case.id, "skipped", entry.file, classes=classes)
            else:
                file, classes = self._write(case, image, prepared)
                left = before + self.windows[case.id] - self.done
                skipped = 0 if self.manner.skip_below is None else max(0, left)
                result = CaseResult(case.id, "ok", file, windows_skipped=skipped, classes=classes)
        except (LlmsegError, OSError, MemoryError, RuntimeError) as error:
            result = CaseResult(case.id, "failed", reason=why_failed(error))
            if is_scarcity(error):
                self.lacking.add(case.id)
            self.journal.discard(case.id)
        self.done = before + self.windows.get(case.id, 0)
        self._report(case.id)
        return replace(result, elapsed_s=round(time.monotonic() - begun, 3))

    def _write(self, case: Case, image: str, prepared: Prepared) -> tuple[str, tuple[int, ...]]:
        def asked(count: int) -> None:
            self._refuse_stopped()
            self._report(case.id)
            self.done += count

        file = f"{case.id}{prediction_suffix(prepared.grid)}"
        self.journal.refuse_others(case.id, file)
        self.journal.discard(case.id)
        labels = predict_labels(prepared, self.run, self.manner, asked=asked)
        self.journal.begin(case.id, file, image=image)
        classes = classes_in(labels)
        stored = as_stored(labels, self.run.config.label_values)
        save_label_map(self.journal.folder / file, stored, prepared.grid)
        details = {"voxels": prepared.voxels, "classes": list(classes)}
        self.journal.add(case.id, file, image=image, made_by=self.digest, details=details)
        return file, classes

    def _report(self, case: str) -> None:
        self.progress("predict", self.done, max(1, sum(self.windows.values())), case=case)

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
