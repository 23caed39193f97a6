"""Run llmseg commands as jobs through submitit: on SLURM, or as processes of this machine.

    python examples/cluster/submit.py --seeds 0,1,2 --executor local -- train-sup --data scans ...

Each seed has a run folder of its own. Before the time limit submitit signals the job: llmseg saves
and leaves with 75, and the job goes back into the queue, where --resume goes on.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence

import submitit
from submitit.helpers import DelayedSubmission

SAVED = 75  # llmseg's exit code for "saved after a signal; run again with --resume"

MOST_TURNS = 20  # on SLURM; submitit's local executor gives up after 3


class Command:
    """A llmseg command as submitit runs it; before the time limit it saves, and comes again.

    Args:
        words: The command line, with --resume.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)
        self.process = 0

    def __call__(self) -> str:
        """Run it to its end.

        Raises:
            RuntimeError: If it ends with another code than 0.
        """
        command = [sys.executable, "-m", "llmseg_cli", *self.words]
        self.process = os.posix_spawn(command[0], command, os.environ)
        if code := self._ended():
            raise RuntimeError(f"llmseg {' '.join(self.words)} ended with {code}")
        return f"llmseg {' '.join(self.words)}"

    def checkpoint(self) -> DelayedSubmission:
        """What submitit calls at its signal: let the command save, and queue it again.

        Raises:
            RuntimeError: If it did not save.
        """
        if self.process:
            os.kill(self.process, signal.SIGUSR1)
            code = self._ended()
            if code not in (0, SAVED, -signal.SIGUSR1):  # the last: it had not begun to listen
                raise RuntimeError(f"llmseg {' '.join(self.words)} ended with {code}")
        return DelayedSubmission(Command(self.words))

    def _ended(self) -> int:
        """Its exit code; `Popen.wait` would hold its lock when the signal comes, and wait twice."""
        return os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])


def main() -> None:
    """Submit a job a seed, wait, and print what became of each."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--executor", default="auto", help="auto (SLURM where there is) or local")
    options.add_argument("--logs", default="jobs")
    options.add_argument("--runs", default="runs")
    options.add_argument("--seeds", default="0")
    options.add_argument("--minutes", type=int, default=240)
    options.add_argument("--gpus", type=int, default=0)
    options.add_argument("words", nargs="+", help="a llmseg command, without --seed and -o")
    chosen = options.parse_args()
    executor = submitit.AutoExecutor(
        folder=chosen.logs,
        cluster=None if chosen.executor == "auto" else chosen.executor,
        slurm_max_num_timeout=MOST_TURNS,
    )
    executor.update_parameters(timeout_min=chosen.minutes, gpus_per_node=chosen.gpus, name="llmseg")
    seeds = chosen.seeds.split(",")
    jobs = [
        executor.submit(
            Command([*chosen.words, "--seed", seed, "-o", f"{chosen.runs}/seed-{seed}", "--resume"])
        )
        for seed in seeds
    ]
    for seed, job in zip(seeds, jobs, strict=True):
        print(f"seed {seed}, job {job.job_id}: {job.result()}")


if __name__ == "__main__":
    main()
