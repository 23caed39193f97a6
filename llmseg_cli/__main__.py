"""The program `llmseg`, also as `python -m llmseg_cli`."""

import os
import signal
from types import FrameType

INTERRUPTED = 130  # as `ExitCode` has it, which is imported later


def main() -> None:
    """Run the program; Ctrl-C ends it at once, without a traceback, while it is being loaded."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    from llmseg_cli.cli import main as program

    program()


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Leave while a module is imported, which may not survive; elsewhere let things be put away."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            os._exit(INTERRUPTED)
        frame = frame.f_back
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
