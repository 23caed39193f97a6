"""Kill random ranks of trainings of two processes, resume them, and compare their last weights.

    python examples/benchmarks/kill_ranks.py --kills 20

As `kills.py`, but each training is one of two processes, as `torchrun` starts them. One of them,
whichever is drawn, is killed (SIGKILL) at a random step; the other has to end by itself, with exit
code 6, within a minute and a half; then both go on with `--resume`. Weights, checkpoints, settings
and the logged steps have to be those of two processes that nobody disturbed, to the bit.
"""

import argparse
import os
import random
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: a fork has one thread

import kills
from kills import KILLS_OF_A_RUN, STEPS, differences, logged_step, saved_step, write_pictures

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
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--kills", type=int, default=20)
    options.add_argument("--seed", type=int, default=0, help="Of the moments and the ranks.")
    chosen = options.parse_args()
    import llmseg_cli.workflows.train.run  # noqa: F401 - imported once, for all forks

    draw = random.Random(chosen.seed)
    tried, survived = dict.fromkeys(TRAININGS, 0), dict.fromkeys(TRAININGS, 0)
    with tempfile.TemporaryDirectory(prefix="llmseg-kill-ranks-") as name:
        place = Path(name)
        data, split = write_pictures(place / "data"), place / "split.json"
        words = ["split", "--data", f"{data}", "--labeled", "5", "--validation", "1"]
        kills.finish(kills.start([*words, "-o", f"{split}"], place), expected=0)
        roles = ("--data", f"{data}", "--split", f"{split}", "--seed", "0")
        share = -(-chosen.kills // len(TRAININGS))
        for method, own in TRAININGS.items():
            words = ["train-semi", "--method", method, *roles, *own, *COMMON]
            whole = place / method / "whole"
            end_well(start([*words, "-o", f"{whole}"], place))
            wanted = min(share, chosen.kills - sum(tried.values()))
            number = 0
            while tried[method] < wanted:
                number += 1
                run = place / method / f"run{number}"
                most = min(KILLS_OF_A_RUN, wanted - tried[method])
                hit = disturb([*words, "-o", f"{run}", "--resume"], run, place, draw, most=most)
                faults = list(differences(run, whole))
                tried[method] += len(hit)
                survived[method] += 0 if faults else len(hit)
                told = ", ".join(f"rank {rank} at step {step}" for rank, step in hit)
                print(f"{method}: killed {told}: {'; '.join(faults) or 'equal'}", flush=True)
    print(f"{'training of two processes':<32}{'kills':>6}{'survived':>10}")
    for method in TRAININGS:
        print(f"{method:<32}{tried[method]:>6}{survived[method]:>10}")
    print(f"{'all':<32}{sum(tried.values()):>6}{sum(survived.values()):>10}")
    sys.exit(tried != survived)


def disturb(
    words: list[str], run: Path, place: Path, draw: random.Random, *, most: int
) -> list[tuple[int, int]]:
    """Train to the end with some kills on the way; which rank they hit, and at which step."""
    hit: list[tuple[int, int]] = []
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
                hit.append((rank, logged_step(run)))
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
