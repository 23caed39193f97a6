"""The same work by llmseg and by the field's own tools, in turns within one run.

    make bench DATA=/data/la             an environment with the rivals, and this program
    python examples/benchmarks/rivals.py --data /data/la [NAME ...] [--rounds 3] [-o rivals.json]

Same data, same patch, same batch, same number of windows; results are compared for equality first.
Where llmseg sets something for its whole process, each way has a process of its own
(`own_process.py`). What is compared, and how far tools differ by definition, stands with each
contest: `training_rivals.py`, `window_rivals.py`, `mask_rivals.py`, `patch_rivals.py`.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from mask_rivals import distances, distances_of_pymic, surface_dice
from patch_rivals import augmentations, patch_queue, patch_queue_with_worker, patches
from training_rivals import cross_pseudo_supervision, uncertainty_aware
from window_rivals import windows_at_stride, windows_half_overlapping, windows_of_pymic

from llmseg_cli.artifacts.files import write_json
from llmseg_cli.config import TrainSettings
from llmseg_cli.options import parse_sizes
from llmseg_cli.workflows.bench.run import MakeContest, Outcome, Wish, report, run

CONTESTS: dict[str, MakeContest] = {
    "cross-pseudo-supervision": cross_pseudo_supervision,
    "ua-mt": uncertainty_aware,
    "windows-at-stride": windows_at_stride,
    "windows-half-overlapping": windows_half_overlapping,
    "windows-of-pymic": windows_of_pymic,
    "distances": distances,
    "distances-of-pymic": distances_of_pymic,
    "surface-dice": surface_dice,
    "patches": patches,
    "patch-queue": patch_queue,
    "patch-queue-with-worker": patch_queue_with_worker,
    "augmentations": augmentations,
}


def main() -> None:
    """Hold the contests and print a Markdown table."""
    options = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    options.add_argument("names", nargs="*", metavar="NAME", help=", ".join(CONTESTS))
    options.add_argument("--data", type=Path, required=True, help="scans of the Left Atrium")
    options.add_argument("--patch", type=parse_sizes, default=(112, 112, 80))
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--device", default="auto")
    options.add_argument("-o", "--out", type=Path)
    chosen = options.parse_args()
    settings = TrainSettings(
        patch=chosen.patch, device=chosen.device,
        optimizer="sgd", learning_rate=0.02,  # as PyMIC's step
    )  # fmt: skip
    with TemporaryDirectory() as folder:
        place = Path(folder)
        wish = Wish(settings, "cross-pseudo-supervision", (), chosen.data, place, place)
        print("| work | way | median s | times llmseg | each round |")
        print("|---|---|---|---|---|")
        outcomes = run(CONTESTS, chosen.names, wish, rounds=chosen.rounds, on_outcome=_print)
    if chosen.out:
        write_json(chosen.out, report(outcomes, wish, chosen.rounds))


def _print(outcome: Outcome) -> None:
    for way, seconds in outcome.seconds.items():
        ratio = f"{outcome.ratios[way]:.2f}" if way in outcome.ratios else ""
        each = " ".join(f"{value:.3g}" for value in seconds)
        print(f"| {outcome.work} | {way} | {outcome.medians[way]:.3g} | {ratio} | {each} |")
    print(f"| {outcome.name} | {_verdict(outcome)} | | | {outcome.status} |", flush=True)


def _verdict(outcome: Outcome) -> str:
    if outcome.reason:
        return outcome.reason
    if outcome.difference is None:
        return "results are not compared"
    return f"results differ by {outcome.difference:.3g}; up to {outcome.tolerance:.3g} is equal"


if __name__ == "__main__":
    main()
