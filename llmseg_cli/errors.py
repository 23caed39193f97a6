"""What a user can cause, each with its exit code."""

import errno
from collections.abc import Iterable
from difflib import get_close_matches
from enum import IntEnum
from typing import Any

LISTED = 15  # names that a message lists when it can also correct the spelling


class ExitCode(IntEnum):
    """Exit codes of `llmseg`; 1 is left to unexpected exceptions, which are bugs."""

    OK = 0
    INTERNAL = 1
    USAGE = 2
    DATA = 3
    POLICY = 4
    PARTIAL = 5
    RESOURCE = 6
    WEIGHTS = 7
    GATE = 8
    STOPPED = 75
    INTERRUPTED = 130
    BROKEN_PIPE = 141


EXIT_CODE_MEANING = {
    ExitCode.OK: "done",
    ExitCode.INTERNAL: "bug in llmseg (traceback shown)",
    ExitCode.USAGE: "wrong option, configuration or artifact",
    ExitCode.DATA: "faulty or missing data",
    ExitCode.POLICY: "refused: test case in training, changed split, patient in two roles",
    ExitCode.PARTIAL: "some cases failed; the others are complete",
    ExitCode.RESOURCE: "out of memory or disk, or no such device",
    ExitCode.WEIGHTS: "weights missing, altered or not accessible",
    ExitCode.GATE: "a check found faults or a required score was not met",
    ExitCode.STOPPED: "stopped by a signal after saving; run again with --resume",
    ExitCode.INTERRUPTED: "interrupted",
    ExitCode.BROKEN_PIPE: "the reader of a pipe went away",
}


class LlmsegError(Exception):
    """Something a user can cause and repair; its text is the message to show.

    `report` is what `--json` prints although the command fails, such as the faults of every case.
    """

    exit_code = ExitCode.USAGE
    report: dict[str, Any] | None = None


class UsageError(LlmsegError):
    """A wrong option or configuration value."""


class ArtifactError(LlmsegError):
    """A file written by another command is missing, altered or of another version."""


class DataError(LlmsegError):
    """Images or label maps that cannot be used as they are."""

    exit_code = ExitCode.DATA


class TooLargeError(DataError):
    """An image or label map that the machine's memory cannot hold; a fault of its case alone."""

    exit_code = ExitCode.RESOURCE


class PolicyError(LlmsegError):
    """Something that would make the numbers dishonest."""

    exit_code = ExitCode.POLICY


class PartialError(LlmsegError):
    """Some cases failed; the others are complete."""

    exit_code = ExitCode.PARTIAL


class ResourceError(LlmsegError):
    """Out of memory or disk, or a device that is not there."""

    exit_code = ExitCode.RESOURCE


class WeightsError(LlmsegError):
    """Weights that are missing, altered or not accessible."""

    exit_code = ExitCode.WEIGHTS


class GateError(LlmsegError):
    """A check found faults, or a required score was not met."""

    exit_code = ExitCode.GATE


class StoppedError(LlmsegError):
    """A signal stopped the run after its state was saved."""

    exit_code = ExitCode.STOPPED


class CommandError(LlmsegError):
    """Another command that was run for this one failed, and has said why.

    Args:
        message: What to do.
        exit_code: That of the command.
    """

    def __init__(self, message: str, exit_code: ExitCode) -> None:
        super().__init__(message)
        self.exit_code = exit_code


SCARCE = (  # what libraries say that do not raise MemoryError
    "can't allocate memory",  # torch's allocator on a CPU
    "DefaultCPUAllocator",
    "Storage size calculation overflowed",  # torch, of more bytes than there are numbers
    "can't start new thread",
    "Cannot allocate memory",
    "std::bad_alloc",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that there is not enough memory, whoever raised it."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in SCARCE)


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """An error that corrects the spelling of *name*, or lists what is known.

    Args:
        kind: What was looked up, such as `method`.
        name: The name that is not known.
        known: The names that are.
    """
    names = list(known)
    close = get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    known_names = f" Known: {', '.join(names)}." if len(names) <= LISTED or not hint else ""
    return UsageError(f"Unknown {kind} '{name}'.{hint}{known_names}")
