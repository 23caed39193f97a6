"""Signals that ask a run to save and leave."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from llmseg_cli.errors import StoppedError
from llmseg_cli.progress import Progress

logger = logging.getLogger(__name__)

SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP")
    if hasattr(signal, name)
)


class StopRequest:
    """Whether a signal has asked the run to stop, and which."""

    def __init__(self) -> None:
        self.signal: str | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    def ask(self, number: int, frame: FrameType | None) -> None:
        """Note the signal; a second Ctrl-C leaves at once."""
        if self and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number).name
        logger.warning("%s: saving and stopping; press Ctrl-C again to abandon.", self.signal)


def stoppable(progress: Progress, stop: StopRequest, kept: str) -> Progress:
    """Progress that leaves between two cases if a signal asked for it.

    Args:
        progress: Hears about cases.
        stop: Set by a signal.
        kept: What is kept, and how to go on, for the message; it may name {done} and {total}.
    """

    def report(phase: str, done: int, total: int, **values: float | str) -> None:
        progress(phase, done, total, **values)
        if stop:
            raise StoppedError(f"{stop.signal}: {kept.format(done=done, total=total)}")

    return report


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Collect signals instead of dying of them; handlers are put back after.

    They are SIGINT, SIGTERM, SIGUSR1 and, unless it is ignored as under `nohup`, SIGHUP. Outside
    the main thread, where no handler can be set, the request is never made.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    heeded = [number for number in SIGNALS if not _is_ignored_hangup(number)]
    before = {number: signal.signal(number, request.ask) for number in heeded}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_ignored_hangup(number: int) -> bool:
    return number == getattr(signal, "SIGHUP", None) and signal.getsignal(number) == signal.SIG_IGN
