"""Kill random ranks of trainings of two processes, resume them, and compare their last weights.

    python examples/benchmarks/kill_ranks.py --kills 20

As `kills.py`, but each training is one of two processes, as `torchrun` starts them. One of them,
whichever is drawn, is killed (SIGKILL) at a random step; the other has to end by itself, with exit
code 6, within a minute and a half; then both go on with `--resume`. Weights, checkpoints, settings
and the logged steps have to be those of two processes that nobody disturbed, to the bit.
"""

import os
import random
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: a fork has one thread

import kills
from kills import STEPS, logged_step, saved_step

RANKS = 2
LOST = 6  # the exit code of a process whose others are gone
ENDS_S = 90
TRAININGS = {
    "usl": (),
    "mean-teacher": (),
    "uncertainty-aware-mean-teacher": ("--method-option", "passes=2"),
}
COMMON = (*kills.COMMON, "--batch", f"{RANKS}", "--precision", "fp32")


def main() -> None:
    """Kill, resume, compare, and print what was tried and what survived."""

    def undisturbed(words: list[str], place: Path) -> None:
        end_well(start(words, place))

    kills.campaign(
        str(__doc__),
        {name: (*own, *COMMON) for name, own in TRAININGS.items()},
        title="training of two processes",
        kills=20,
        undisturbed=undisturbed,
        disturb=disturb,
    )


def disturb(
    words: list[str], run: Path, place: Path, draw: random.Random, *, most: int
) -> list[str]:
    """Train to the end with some kills on the way; which rank they hit, and at which step."""
    hit: list[str] = []
    while True:
        before = saved_step(run)
        processes = start(words, place)
        if len(hit) < most and before < STEPS - 6:
            moment, rank = draw.randint(before + 1, STEPS - 2), draw.randrange(RANKS)
            if kills.wait_for_step(run, moment, processes[0]):
                time.sleep(draw.uniform(0, 0.1))  # anywhere within a step
                os.kill(processes[rank], signal.SIGKILL)
                kills.finish(processes[rank], expected=-signal.SIGKILL)
                end_of_others([one for one in processes if one != processes[rank]])
                hit.append(f"step {logged_step(run)} of rank {rank}")
                continue
        end_well(processes)
        return hit


def start(words: list[str], place: Path) -> list[int]:
    """Run llmseg in a fork a rank; their process numbers."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    started = []
    for rank in range(RANKS):
        names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": RANKS, "MASTER_PORT": port}
        os.environ |= {"MASTER_ADDR": "127.0.0.1"} | {k: str(v) for k, v in names.items()}
        started.append(kills.start(words, place))
    for name in (*names, "MASTER_ADDR"):
        del os.environ[name]
    return started


def end_well(processes: Sequence[int]) -> None:
    """Wait until all have ended, as they should."""
    for process in processes:
        kills.finish(process, expected=0)


def end_of_others(processes: Sequence[int]) -> None:
    """Wait until those have ended that lost one of theirs; ends the program if they do not."""
    until = time.monotonic() + ENDS_S
    for process in processes:
        while os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if time.monotonic() > until:
                os.kill(process, signal.SIGKILL)
                sys.exit(f"a rank whose other was killed goes on after {ENDS_S} s")
            time.sleep(0.05)
        kills.finish(process, expected=LOST)


if __name__ == "__main__":
    main()
