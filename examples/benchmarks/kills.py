"""Kill trainings at random moments of their steps, resume them, and compare their last weights.

    python examples/benchmarks/kills.py --kills 40

Each training runs once undisturbed. Then it runs in fresh folders, is killed (SIGKILL) at a random
step, goes on with `--resume`, is killed again, and so on to its end. Weights, the best checkpoint,
pseudo-labels and the logged steps have to be those of the undisturbed run, to the bit. A process
that imported everything once is forked for each start, so that kills hit steps and not imports.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: a fork has one thread

import numpy as np
from PIL import Image

STEPS = 60
KILLS_OF_A_RUN = 4
TRAININGS = {
    "usl": (),
    "sam-mining": ("--schedule", "continuous", "--every", "15"),
    "uncertainty-aware-mean-teacher": ("--method-option", "passes=2"),
}
COMMON = (
    *("--steps", f"{STEPS}", "--save-every", "5", "--log-every", "1", "--validate-every", "20"),
    *("--patch", "16,16", "--model", "vnet", "--optimizer", "sgd", "--learning-rate", "0.05"),
    *("--model-option", "filters=4", "--model-option", "dropout=0.2", "--device", "cpu", "--quiet"),
)


def main() -> None:
    """Kill, resume, compare, and print what was tried and what survived."""

    def undisturbed(words: list[str], place: Path) -> None:
        finish(start(words, place), expected=0)

    campaign(
        str(__doc__),
        {name: (*own, *COMMON) for name, own in TRAININGS.items()},
        title="training",
        kills=40,
        undisturbed=undisturbed,
        disturb=disturb,
    )


def campaign(
    about: str,
    trainings: Mapping[str, Sequence[str]],
    *,
    title: str,
    kills: int,
    undisturbed: Callable[[list[str], Path], None],
    disturb: Callable[..., Sequence[object]],
) -> None:
    """Kill trainings, resume them, compare, and print what was tried and what survived.

    Args:
        about: What the program is for.
        trainings: Method to its words.
        title: Of the table.
        kills: As many if nothing else is asked.
        undisturbed: Trains by words, with a folder for what is said.
        disturb: Trains by words with some kills, into a folder; what they hit.
    """
    options = argparse.ArgumentParser(description=about.splitlines()[0])
    options.add_argument("--kills", type=int, default=kills)
    options.add_argument("--seed", type=int, default=0, help="Of what is drawn.")
    chosen = options.parse_args()
    import llmseg_cli.workflows.train.run  # noqa: F401 - imported once, for all forks

    draw = random.Random(chosen.seed)
    tried, survived = dict.fromkeys(trainings, 0), dict.fromkeys(trainings, 0)
    with tempfile.TemporaryDirectory(prefix="llmseg-kills-") as name:
        place = Path(name)
        data, split = write_pictures(place / "data"), place / "split.json"
        words = ["split", "--data", f"{data}", "--labeled", "5", "--validation", "1"]
        finish(start([*words, "-o", f"{split}"], place), expected=0)
        roles = ("--data", f"{data}", "--split", f"{split}", "--seed", "0")
        share = -(-chosen.kills // len(trainings))
        for method, own in trainings.items():
            wanted, number = min(share, chosen.kills - sum(tried.values())), 0
            if not wanted:
                continue
            words = ["train-semi", "--method", method, *roles, *own]
            whole = place / method / "whole"
            undisturbed([*words, "-o", f"{whole}"], place)
            while tried[method] < wanted:
                number += 1
                run = place / method / f"run{number}"
                most = min(KILLS_OF_A_RUN, wanted - tried[method])
                hit = disturb([*words, "-o", f"{run}", "--resume"], run, place, draw, most=most)
                faults = list(differences(run, whole))
                tried[method] += len(hit)
                survived[method] += 0 if faults else len(hit)
                told = ", ".join(map(str, hit))
                print(f"{method}: killed at {told}: {'; '.join(faults) or 'equal'}", flush=True)
    print(f"{title:<32}{'kills':>6}{'survived':>10}")
    for method in trainings:
        print(f"{method:<32}{tried[method]:>6}{survived[method]:>10}")
    print(f"{'all':<32}{sum(tried.values()):>6}{sum(survived.values()):>10}")
    sys.exit(tried != survived)


def disturb(
    words: list[str], run: Path, place: Path, draw: random.Random, *, most: int
) -> list[int]:
    """Train to the end with some kills on the way; returns the steps at which they hit."""
    hit: list[int] = []
    while True:
        before = saved_step(run)
        process = start(words, place)
        if len(hit) < most and before < STEPS - 6:
            moment = draw.randint(before + 1, STEPS - 2)
            if wait_for_step(run, moment, process):
                time.sleep(draw.uniform(0, 0.1))  # anywhere within a step, or a mining
                os.kill(process, signal.SIGKILL)
                finish(process, expected=-signal.SIGKILL)
                hit.append(logged_step(run))
                continue
        finish(process, expected=0)
        return hit


def start(words: list[str], place: Path) -> int:
    """Run llmseg in a fork; returns its process number."""
    process = os.fork()
    if process:
        return process
    code: object = 1
    try:
        sys.argv = ["llmseg", *words]
        sys.stderr = (place / "stderr.txt").open("a")
        from llmseg_cli.cli import app

        app()
    except SystemExit as leaving:
        code = leaving.code
    finally:
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0)


def finish(process: int, *, expected: int) -> None:
    """Wait for a process; ends the program if it did not end as expected."""
    _, status = os.waitpid(process, 0)
    code = os.waitstatus_to_exitcode(status)
    if code != expected:
        sys.exit(f"a training ended with {code}, expected {expected}")


def wait_for_step(run: Path, step: int, process: int) -> bool:
    """Wait until a step is logged; false if the process ended before."""
    while logged_step(run) < step:
        if os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return False
        time.sleep(0.002)
    return True


def logged(run: Path) -> Iterator[dict[str, float]]:
    """Whole lines of the log; the last one may be in the writing."""
    path = run / "log.jsonl"
    text = path.read_text() if path.is_file() else ""
    for line in text.splitlines(keepends=True):
        if line.endswith("\n"):
            yield json.loads(line)


def logged_step(run: Path) -> int:
    """The last step that the log knows."""
    return max((int(line["step"]) for line in logged(run)), default=0)


def saved_step(run: Path) -> int:
    """The step from which a run would go on."""
    import torch

    path = run / "state.ckpt"
    return int(torch.load(path, weights_only=True)["step"]) if path.is_file() else 0


def differences(run: Path, whole: Path) -> Iterator[str]:
    """In what a run differs from the undisturbed one, in words."""
    names = {p.relative_to(whole) for p in whole.rglob("*") if is_compared(p.relative_to(whole))}
    found = {p.relative_to(run) for p in run.rglob("*") if is_compared(p.relative_to(run))}
    if names != found:
        yield f"other files: {', '.join(sorted(map(str, names ^ found)))}"
    for name in sorted(names & found):
        if (run / name).read_bytes() != (whole / name).read_bytes():
            yield f"{name} differs"
    steps = [int(line["step"]) for line in logged(run) if "learning_rate" in line]
    if steps != list(range(1, STEPS + 1)):
        yield "log.jsonl lacks steps, or has one twice"


def is_compared(name: Path) -> bool:
    """Weights, settings and pseudo-labels; no times, and no state that is only a way to them."""
    return name.suffix in (".safetensors", ".yaml", ".png", ".csv") or name.name == "split.json"


def write_pictures(root: Path) -> Path:
    """Ten pictures with a bright rectangle somewhere, and label maps of six of them."""
    noise = np.random.default_rng(0)
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    for index in range(10):
        x, y = noise.integers(2, 14, 2)
        labels = np.zeros((32, 32), np.uint8)
        labels[x : x + 12, y : y + 14] = 1
        image = noise.normal(60 + 120 * labels, 10).clip(0, 255).astype(np.uint8)
        Image.fromarray(image).save(root / "images" / f"picture{index}.png")
        if index < 6:
            Image.fromarray(labels).save(root / "labels" / f"picture{index}.png")
    return root


if __name__ == "__main__":
    main()
