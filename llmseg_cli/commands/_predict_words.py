"""What `llmseg predict` says before, while and after it works."""

from pathlib import Path
from typing import TYPE_CHECKING

from llmseg_cli import console
from llmseg_cli.artifacts.text import counted

if TYPE_CHECKING:
    from llmseg_cli.workflows.predict.cases import CaseResult
    from llmseg_cli.workflows.predict.cost import Estimate
    from llmseg_cli.workflows.predict.run import Predicted
    from llmseg_cli.workflows.runs.ensemble import Ensemble

SHOWN_NETWORKS = 6
SHOWN_CASES, FEWEST = 3, 5  # least trusted ones that are named, and of how many cases at least
NOUNS = {"networks": "networks", "views": "mirrored views"}


def announce(estimate: "Estimate", opened: "Ensemble") -> None:
    if not estimate.windows:  # no header could be read; the failures say so
        return
    sides = " and ".join("x".join(map(str, patch)) for patch in opened.patches)
    most = "up to " if len(opened.groups) > 1 else ""
    passes = f", each asked {most}{estimate.passes} times" if estimate.passes > 1 else ""
    on_device = f" and {estimate.device_mb} MB of the GPU" if estimate.device_mb else ""
    networks = [*opened.networks]
    shown = ", ".join(networks[:SHOWN_NETWORKS])
    if len(networks) > SHOWN_NETWORKS:
        shown += f" and {counted(len(networks) - SHOWN_NETWORKS, 'more network')}"
    console.info(
        f"{counted(len(estimate.windows), 'case')}, "
        f"{counted(sum(estimate.windows.values()), 'window')} of {sides}"
        f"{passes}, {shown} on {opened.device.type} in "
        f"{str(opened.dtype).removeprefix('torch.')}; about {estimate.memory_mb} MB of memory"
        f"{on_device} for the largest ({estimate.largest})."
    )
    if found := opened.temperatures:
        listed = [f"{name} {one:.2f}" for name, one in found.items()][:SHOWN_NETWORKS]
        console.info(
            f"Calibrated: probabilities and entropies at the temperatures {', '.join(listed)}"
            f"{', ...' * (len(found) > SHOWN_NETWORKS)}; masks are as without."
        )


def tell(result: "CaseResult") -> None:
    if result.status == "failed":
        console.warn(f"{result.case} failed: {result.reason}")
    else:
        agreement = _agreement(result)
        shown = "" if agreement is None else f", agreement {agreement:.3f}"
        console.detail(f"{result.case}: {result.status}, {result.elapsed_s:.1f} s{shown}")


def conclude(predicted: "Predicted") -> None:
    counts = predicted.counts
    skipped = f", {counts['skipped']} kept from before" if counts["skipped"] else ""
    empty = sum(case.windows_skipped for case in predicted.cases)
    unasked = f"; {counted(empty, 'window')} of background not asked" if empty else ""
    blank = sum(case.classes == () for case in predicted.cases)
    hollow = f"; {blank} of {len(predicted.cases)} empty" if blank else ""
    console.info(f"{predicted.folder}: {counted(counts['ok'], 'mask')}{skipped}{unasked}{hollow}.")
    drawn = [case.overlay for case in predicted.cases if case.overlay is not None]
    if drawn:
        console.info(f"Look at {predicted.folder}/overlays: {counted(len(drawn), 'picture')}.")
    known = [(found, case) for case in predicted.cases if (found := _agreement(case)) is not None]
    if len(known) >= FEWEST:
        least = sorted(known, key=lambda pair: pair[0])[:SHOWN_CASES]
        shown = ", ".join(f"{case.case} {found:.2f}" for found, case in least)
        trust = least[0][1].trust or {}
        noun = NOUNS.get(trust["between"], "voices")
        console.info(f"Least agreement of {trust['voices']} {noun}: {shown}.")


def _agreement(result: "CaseResult") -> float | None:
    """How far those who answered agree, if that is known."""
    return None if result.trust is None else result.trust["agreement"]


def following(
    out: Path, data: Path | None, split: Path | None, subset: str | None
) -> list[str | Path]:
    """The words of the next command: of masks with references the scores, of others trust.

    Args:
        out: The folder of masks.
        data: The data set, if images are not named one by one.
        split: The split whose cases were predicted, or None.
        subset: Which of them; None are the test cases.
    """
    if data is None or split is None or subset not in (None, "test", "validation"):
        return ["guide", "trust"]
    tried = ["--try-post-processing"] if subset == "validation" else []
    words: list[str | Path] = ["score", "--pred", out, "--ref", data, "--split", split]
    return [*words, "--subset", subset or "test", *tried, "-o", f"{out}-scores.json"]
