"""Shards as tasks of Ray: on all processors of a machine, or on the machines of a cluster.

A task does one shard (see `share.py`) as `--shard I/N --resume` would; paths and settings travel,
never images, so that Ray's object store stays empty, and what a task did is in its folder when its
process or its machine dies. Ray starts it anew elsewhere then, and it goes on with the case that
was not finished. This process joins all when they are done.
"""

import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from llmseg_cli import errors
from llmseg_cli.artifacts.lock import BusyError
from llmseg_cli.artifacts.shard import Shard, shards_in
from llmseg_cli.artifacts.text import counted
from llmseg_cli.errors import LlmsegError, PartialError, ResourceError, StoppedError, UsageError
from llmseg_cli.progress import Progress, silent
from llmseg_cli.training.stop import stop_on_signals

T = TypeVar("T")
SHARES_PER_PLACE = 4  # so that all end at nearly the same time, and a network is opened seldom
MOST_RETRIES = 5  # of a task whose process or machine died
BUSY_S = 60.0  # how long the lock of a process that dies may outlive it
SURROUNDINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is reported to anybody
    "RAY_TQDM_PATCH_PRINT": "0",  # or `print` is another function from then on
    "RAY_worker_niceness": "0",  # 15 by default: beside other jobs, tasks would hardly run
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # as Ray will have it; else it warns
}
HOST = re.compile(r"([^:/]+):(\d{1,5})")
CONNECT_S = 10.0
LISTEN_S = 1.0  # between two looks at signals
RESUMED = "Finished cases are kept; run the same command again with --resume."


@dataclass(frozen=True)
class RayOptions:
    """Where and how tasks run.

    Args:
        address: Of a cluster, such as `auto`; None starts Ray on this machine alone.
        cpus: Processors of a task, which are its threads, too.
        gpus: GPUs of a task; a half lets two share one. None: one where there are some.
    """

    address: str | None = None
    cpus: float = 1.0
    gpus: float | None = None


@dataclass(frozen=True)
class Work:
    """What tasks do.

    Args:
        function: Does a shard, given *words*, `shard`, `resume` and `force`; of a module, since
            Ray sends its name.
        words: Its other arguments; paths may be relative to the working directory here.
        out: The folder of all.
        cases: Number of all cases.
    """

    function: Callable[..., Any]
    words: Mapping[str, Any]
    out: Path
    cases: int


def do_on_ray(
    work: Work,
    options: RayOptions,
    *,
    resume: bool,
    force: bool,
    progress: Progress = silent,
    hear: Callable[[str], None] = lambda text: None,
) -> list[Shard]:
    """Do all shards of a work; they are ready to be joined then.

    Args:
        work: What to do.
        options: Where.
        resume: Whether shards that are there go on.
        force: Whether an earlier output is replaced.
        progress: Hears about shards.
        hear: Hears what a user may want to know, such as how many tasks there are.

    Returns:
        The shards; those with cases that failed are among them.

    Raises:
        UsageError: If Ray is absent, no cluster answers, or it lacks what a task needs.
        ResourceError: If a task died again and again.
        StoppedError: If a signal stopped it.
        LlmsegError: Of a task, as the work raises it here.
    """
    there = refuse_waiting(work.out, resume=resume, force=force)
    with _connected(options) as ray, stop_on_signals() as stop:
        places = _places(ray.cluster_resources(), options)
        of = there or min(work.cases, places.number * SHARES_PER_PLACE)
        shards = Shard(1, of).all
        hear(
            f"Ray: {counted(len(shards), 'share')} of {counted(work.cases, 'case')}, "
            f"{min(places.number, of)} at a time."
        )
        task = ray.remote(
            num_cpus=options.cpus,
            num_gpus=places.gpus,
            max_retries=MOST_RETRIES,
            retry_exceptions=[StoppedError, BusyError],
        )(do_share)
        words = {name: _absolute(value) for name, value in work.words.items()}
        here = Path.cwd()
        left = {task.remote(work.function, words, one, force, here): one for one in shards}
        progress("share", 0, len(shards))
        while left:
            done, _ = ray.wait([*left], num_returns=1, timeout=LISTEN_S)
            if stop:
                raise StoppedError(f"{stop.signal}: {RESUMED}")
            for reference in done:
                _settle(ray, reference, left.pop(reference))
                progress("share", len(shards) - len(left), len(shards))
    return shards


def do_share(
    function: Callable[..., Any],
    words: Mapping[str, Any],
    shard: Shard,
    force: bool,
    folder: Path,
) -> tuple[str, str] | None:
    """Do a share, in a process of Ray.

    Args:
        function: Does it.
        words: Its arguments.
        shard: The share.
        force: Whether an earlier output is replaced.
        folder: Where names of models that are paths begin, if this machine has it.

    Returns:
        Name and text of the error that ended it; nothing if it is done, but for cases that failed.

    Raises:
        StoppedError, BusyError: Of which Ray tries it again.
    """
    if folder.is_dir():
        os.chdir(folder)
    until = time.monotonic() + BUSY_S
    while True:
        try:
            function(**words, shard=shard, resume=not force, force=force)
        except BusyError:  # of a process that died a moment ago
            if time.monotonic() > until:
                raise
            time.sleep(0.5)
        except PartialError:
            return None  # the join says which cases
        except StoppedError:
            raise
        except LlmsegError as error:
            return type(error).__name__, str(error)
        else:
            return None


def refuse_waiting(out: Path, *, resume: bool, force: bool) -> int:
    """Refuse shards that are there, but for *resume* and *force*; how many they are of, or 0.

    Raises:
        UsageError: If there are some, or of different numbers.
    """
    counts = sorted({one.of for one in shards_in(out)})
    if len(counts) > 1 or (counts and not (resume or force)):
        raise UsageError(
            f"--engine ray: {out} holds shards of {' and of '.join(map(str, counts))} that are not "
            "joined. Pass --resume to go on with those of one number, or choose another -o."
        )
    return counts[0] if counts else 0


@dataclass(frozen=True)
class _Places:
    """How many tasks run at a time, and the GPUs of each."""

    number: int
    gpus: float


def _places(resources: Mapping[str, float], options: RayOptions) -> _Places:
    gpus, cpus = resources.get("GPU", 0.0), resources.get("CPU", 0.0)
    wanted = (1.0 if gpus else 0.0) if options.gpus is None else options.gpus
    for flag, asked, found, what in (
        ("--gpus-per-case", wanted, gpus, "GPU"),
        ("--cpus-per-case", options.cpus, cpus, "processor"),
    ):
        if asked > found:
            raise UsageError(
                f"{flag} {asked:g}: Ray has {counted(int(found), what)}. Pass less, or an "
                "--address of a cluster that has them."
            )
    number = cpus / options.cpus if not wanted else min(cpus / options.cpus, gpus / wanted)
    return _Places(max(1, int(number)), wanted)


@contextmanager
def _connected(options: RayOptions) -> Iterator[Any]:
    """Ray, connected or started; what was started here ends with the block."""
    for name, value in SURROUNDINGS.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise UsageError(
            "--engine ray needs the package ray: python -m pip install 'llmseg[ray]'. --shard I/N "
            "shares cases without it."
        ) from error
    quiet: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    with _own_signals():
        if options.address is None:
            ray.init("local", num_cpus=_cores(), include_dashboard=False, **quiet)
        else:
            _join(ray, options.address, **quiet)
    try:
        yield ray
    finally:
        ray.shutdown()


def _join(ray: Any, address: str, **quiet: Any) -> None:
    """Connect to a cluster, after a look whether anybody listens, for Ray tries for minutes."""
    try:
        if found := HOST.fullmatch(address):
            socket.create_connection((found[1], int(found[2])), timeout=CONNECT_S).close()
        ray.init(address, **quiet)
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"--address {address}: no cluster of Ray answers there. Start one with "
            "'ray start --head', or leave --address out to use this machine alone."
        ) from error


@contextmanager
def _own_signals() -> Iterator[None]:
    """Put back the handler of SIGTERM, which Ray replaces for good."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)


def _cores() -> int:
    """Processors that this process may use; under SLURM Ray itself would count the machine's."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _settle(ray: Any, reference: Any, shard: Shard) -> None:
    """Take what a task returned; raise what ended it."""
    try:
        found = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except ray.exceptions.RayError as error:
        raise ResourceError(
            f"--engine ray: share {shard} was lost {MOST_RETRIES + 1} times: "
            f"{_first_line(error)} {RESUMED}"
        ) from error
    if found is not None:
        name, text = found
        kind: Any = getattr(errors, name, LlmsegError)
        raise kind(text)


def _first_line(error: Exception) -> str:
    line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return line if line.endswith(".") else f"{line}."


def _absolute(value: Any) -> Any:
    """Paths as processes with another working directory find them."""
    if isinstance(value, Path):
        return value.absolute()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return type(value)(_absolute(one) for one in value)  # type: ignore[call-arg]  # list, tuple
    return value
