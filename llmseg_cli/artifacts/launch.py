"""Which one of several processes of one training this is, as `torchrun` says."""

from collections.abc import Mapping
from dataclasses import dataclass

from llmseg_cli.errors import ExitCode, UsageError

RANK, SIZE, LOCAL = "RANK", "WORLD_SIZE", "LOCAL_RANK"
ALIKE = (ExitCode.USAGE, ExitCode.POLICY, ExitCode.STOPPED)  # errors that come alike in all
PLACE = ("MASTER_ADDR", "MASTER_PORT")  # where the processes meet; torch reads them


@dataclass(frozen=True)
class Launch:
    """One of several processes that train together.

    Args:
        rank: Its number, from 0 on; the first one writes and speaks.
        size: How many there are.
        local: Its number on its machine, which is that of its GPU.
    """

    rank: int
    size: int
    local: int

    @property
    def leads(self) -> bool:
        """Whether it is the one that writes and speaks."""
        return self.rank == 0

    def told(self, message: str, code: int | None) -> str:
        """An error as this process says it: nothing where the first one says the same.

        Args:
            message: What is wrong.
            code: The exit code that it comes with, if it is known.
        """
        if self.leads:
            return message
        return "" if code in ALIKE else f"process {self.rank} of {self.size}: {message}"


def launched(environment: Mapping[str, str]) -> Launch | None:
    """What `torchrun`, or a script that sets the same variables, says; None without.

    Raises:
        UsageError: If only some of them are set, or they do not fit.
    """
    if RANK not in environment or SIZE not in environment:
        return None
    missing = [name for name in PLACE if name not in environment]
    texts = [environment[RANK], environment[SIZE], environment.get(LOCAL, environment[RANK])]
    if missing or not all(text.isdecimal() for text in texts):
        raise UsageError(
            f"{RANK} and {SIZE} are set, as torchrun does, but {', '.join(missing) or 'a number'} "
            "is not. Start with 'torchrun --nproc-per-node 2 -m llmseg_cli train-sup ...', or "
            f"unset {RANK} and {SIZE}."
        )
    rank, size, local = map(int, texts)
    if not rank < size:
        raise UsageError(f"{RANK}={rank} is not below {SIZE}={size}. Start with torchrun.")
    return Launch(rank, size, local)
