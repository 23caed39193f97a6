"""What a training says at its end."""

from pathlib import Path
from typing import TYPE_CHECKING

from llmseg_cli import console
from llmseg_cli.artifacts.run_files import CURVE
from llmseg_cli.progress import duration, memory

if TYPE_CHECKING:
    from llmseg_cli.training.trained import Trained

UNLEARNED = 0.01  # Dice on validation cases below which nothing has been learned


def conclude(trained: "Trained", folder: Path, *, budget: str) -> None:
    """Say what came out, and warn where a person would not go on with it.

    Args:
        trained: What came out.
        folder: The run folder.
        budget: The time that ended the training, or empty.
    """
    from llmseg_cli.planning.steps import FEWEST

    for line in _summary(trained, folder):
        console.info(line)
    if trained.final_score is not None and trained.final_score < UNLEARNED:
        console.warn(
            f"Validation Dice is {trained.final_score:.3f}: the network has not learned yet. Train "
            f"longer than {_steps(trained)}, or with another --learning-rate."
        )
    if budget and trained.steps < FEWEST:
        console.warn(
            f"--budget {budget} was time for {_steps(trained)}, and fewer than {FEWEST} teach "
            "little. Pass a larger one."
        )


def _summary(trained: "Trained", folder: Path) -> list[str]:
    """The last lines of a training: time, memory, loss, validation and folder."""
    from llmseg_cli.artifacts.manifest import load_manifest

    record = load_manifest(folder)
    peak = memory(record["peak_rss_mb"])
    if gpu := record["details"].get("peak_vram_mb"):
        peak += f", {memory(gpu)} of the GPU"
    lines = [
        f"Trained {_steps(trained)} in {duration(trained.elapsed_s)}, with at most {peak} "
        "of memory.",
        f"Loss {sum(trained.losses.values()):.4g} at the end. "
        + _validation(trained.final_score, trained.best_score, trained.best_step),
    ]
    return [*lines, f"Wrote {folder}: the weights, and the course in {folder / CURVE}."]


def _validation(final: float | None, best: float | None, step: int | None) -> str:
    if final is None or best is None or step is None:
        return "There are no validation cases."
    return f"Validation Dice {final:.3f} at the end, best {best:.3f} at step {step:,}."


def _steps(trained: "Trained") -> str:
    return f"{trained.steps:,} step{'s' * (trained.steps != 1)}"
