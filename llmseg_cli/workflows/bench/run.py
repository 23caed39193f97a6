"""`llmseg bench`: several ways to do the same work, in turns, on this machine."""

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from llmseg_cli.artifacts.manifest import environment, peak_rss_mb
from llmseg_cli.config import OF_THE_COURSE, TrainSettings
from llmseg_cli.errors import LlmsegError, UsageError, WeightsError, unknown
from llmseg_cli.progress import Progress, silent
from llmseg_cli.training.precision import choose_device
from llmseg_cli.workflows.machine import look_at_machine


@dataclass(frozen=True)
class Way:
    """A way to do the work.

    Args:
        name: In a few words.
        run: Does it once; what it returns is compared with what the first way returns.
        aim_s: Seconds that its median should not exceed; None where there is no such aim.
    """

    name: str
    run: Callable[[], Any]
    aim_s: float | None = None


@dataclass(frozen=True)
class Contest:
    """Work, and ways to do it.

    Args:
        work: What is done once, in words.
        ways: The first is llmseg's default.
        difference: How far two results are apart; None where there is nothing to compare.
        tolerance: Largest difference that counts as equal.
    """

    work: str
    ways: tuple[Way, ...]
    difference: Callable[[Any, Any], float] | None = None
    tolerance: float = 0.0


@dataclass(frozen=True)
class Wish:
    """What a contest is made for.

    Args:
        settings: How to train: network, patch, batch, precision, device.
        method: Way of learning.
        method_option: Its options, `KEY=VALUE`.
        data: Data set with label maps; None makes one.
        cache: llmseg's cache folder, where weights are.
        folder: For files that are gone afterwards.
    """

    settings: TrainSettings
    method: str
    method_option: tuple[str, ...]
    data: Path | None
    cache: Path
    folder: Path


MakeContest = Callable[[Wish], AbstractContextManager[Contest]]


@dataclass(frozen=True)
class Outcome:
    """What came out of a contest.

    Args:
        name: Of the contest.
        work: What was done once, in words.
        status: `ok`, `different` (the results of two ways are not equal) or `skipped`.
        reason: Why it was skipped, or how the results differ.
        seconds: Way to the seconds of each round.
        medians: Way to their median.
        worst: Way to the longest of them.
        aims: Way to the seconds that its median should not exceed, for those that have such an aim.
        met: Way to whether it does not.
        ratios: Way to its median over that of the first way.
        difference: The largest difference to the first way's result; None if none was taken, or if
            it is not a number.
        tolerance: What counts as equal.
    """

    name: str
    work: str = ""
    status: str = "ok"
    reason: str = ""
    seconds: dict[str, list[float]] = field(default_factory=dict)
    medians: dict[str, float] = field(default_factory=dict)
    worst: dict[str, float] = field(default_factory=dict)
    aims: dict[str, float] = field(default_factory=dict)
    met: dict[str, bool] = field(default_factory=dict)
    ratios: dict[str, float] = field(default_factory=dict)
    difference: float | None = None
    tolerance: float = 0.0


def run(
    contests: dict[str, MakeContest],
    names: Sequence[str],
    wish: Wish,
    *,
    rounds: int = 3,
    on_outcome: Callable[[Outcome], None] = lambda outcome: None,
    progress: Progress = silent,
) -> list[Outcome]:
    """Hold the named contests, or all.

    Args:
        contests: Name to what makes a contest.
        names: Which; without any, all.
        wish: What they are made for; its folder is replaced by one of each contest.
        rounds: Times that each way is measured, after one that warms up.
        on_outcome: Hears about each contest when it is over.
        progress: Hears about rounds.

    Raises:
        UsageError: If a name is unknown or there is no round.
    """
    for name in names:
        if name not in contests:
            raise unknown("benchmark", name, contests)
    if rounds < 1:
        raise UsageError(f"rounds is {rounds}; at least 1 is measured.")
    outcomes = []
    for name in names or contests:
        with TemporaryDirectory(prefix="llmseg-bench-") as folder:
            own = Wish(**{**vars(wish), "folder": Path(folder)})
            outcomes.append(_hold(name, contests[name], own, rounds, progress))
        on_outcome(outcomes[-1])
    return outcomes


def _hold(name: str, make: MakeContest, wish: Wish, rounds: int, progress: Progress) -> Outcome:
    with ExitStack() as stack:
        try:
            contest = stack.enter_context(make(wish))
        except (SkippedError, WeightsError) as error:
            return Outcome(name, status="skipped", reason=str(error))
        results = {way.name: way.run() for way in contest.ways}  # warms up, too
        seconds: dict[str, list[float]] = {way.name: [] for way in contest.ways}
        device = choose_device(wish.settings.device)
        turns = rounds * len(contest.ways)
        for done, way in enumerate(contest.ways * rounds, start=1):
            progress("measure", done, turns, benchmark=name)
            seconds[way.name].append(timed(way.run, device))
    first, *others = contest.ways
    medians = {way: statistics.median(found) for way, found in seconds.items()}
    aims = {way.name: way.aim_s for way in contest.ways if way.aim_s is not None}
    ratios = {way.name: medians[way.name] / medians[first.name] for way in others}
    difference, status, reason = None, "ok", ""
    if contest.difference is not None:
        apart = {w.name: contest.difference(results[first.name], results[w.name]) for w in others}
        worst = max(apart, key=lambda way: math.inf if math.isnan(apart[way]) else apart[way])
        difference = None if math.isnan(apart[worst]) else apart[worst]
        if difference is None or difference > contest.tolerance:
            status = "different"
            reason = (
                f"'{worst}' differs from '{first.name}' by {apart[worst]:.3g}, more than "
                f"{contest.tolerance:.3g}"
            )
    return Outcome(
        name,
        contest.work,
        status,
        reason,
        seconds,
        medians,
        worst={name: max(found) for name, found in seconds.items()},
        aims=aims,
        met={name: medians[name] <= aim for name, aim in aims.items()},
        ratios=ratios,
        difference=difference,
        tolerance=contest.tolerance,
    )


class SkippedError(LlmsegError):
    """A contest cannot be held here."""


def timed(work: Callable[[], Any], device: torch.device) -> float:
    """Seconds that it takes once, with all that it leaves to a GPU."""
    begun = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begun


def report(outcomes: Sequence[Outcome], wish: Wish, rounds: int) -> dict[str, Any]:
    """The `--json` document: machine, versions, settings and all numbers."""
    machine = look_at_machine()
    device = choose_device(wish.settings.device)
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "machine": {
            "processor": next(_processor_names(), None),
            "processors": machine.processors,
            "bf16_flags": list(machine.bf16_flags),
            "memory_bytes": machine.memory,
            "threads": torch.get_num_threads(),
            "gpu": gpu,
        },
        "versions": environment(),
        "rounds": rounds,
        "method": wish.method,
        "settings": {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in vars(wish.settings).items()
            if key not in ("cache", *OF_THE_COURSE)
        },
        "peak_rss_mb": peak_rss_mb(),
        "benchmarks": [vars(outcome) for outcome in outcomes],
    }


def _processor_names(path: Path = Path("/proc/cpuinfo")) -> Iterator[str]:
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                yield value.strip()
