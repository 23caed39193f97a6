"""Signals that ask a run to save and leave."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

logger = logging.getLogger(__name__)

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)
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


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Collect SIGINT, SIGTERM and SIGUSR1 instead of dying of them; handlers are put back after.

    Outside the main thread, where no handler can be set, the request is never made.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request.ask) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
