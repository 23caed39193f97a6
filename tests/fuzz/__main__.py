"""`make fuzz`: damaged inputs of every kind for ten minutes; says how many were survived.

Run as `python -m fuzz` in the folder `tests`. `--kind "case lists" --seed 3 --only 17` shows one
example again; `--kind` alone tries a kind for as long as it is told.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path

from fuzz.bench import Tried
from fuzz.kinds import KINDS, Kind
from fuzz.rounds import run_round, start

from llmseg_cli.errors import ExitCode

ROUND = 20  # examples of a kind of weight 1 between two looks at the clock
SHOWN = 3  # failures of a kind that are shown in full; all are kept


def main() -> int:
    """Try, report, and return the exit code."""
    asked = _parser().parse_args()
    kinds = [kind for kind in KINDS if not asked.kind or kind.name in asked.kind]
    if unknown := set(asked.kind or ()) - {kind.name for kind in KINDS}:
        sys.exit(f"Unknown kind {', '.join(unknown)}. Known: {', '.join(k.name for k in KINDS)}.")
    asked.failures.mkdir(parents=True, exist_ok=True)
    tried: list[Tried] = []
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="llmseg-fuzz-") as root:
        _try_all(kinds, asked, Path(root), tried, started)
    _report(kinds, tried, time.monotonic() - started)
    return ExitCode.GATE if any(one.broken for one in tried) else ExitCode.OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long, at least")
    parser.add_argument("--inputs", type=int, default=5000, help="how many, at least")
    parser.add_argument("--kind", action="append", help="only this kind; repeat for more")
    parser.add_argument("--seed", type=int, default=1, help="of the first round")
    parser.add_argument("--only", type=int, help="only this example of the seed and kind")
    parser.add_argument("--jobs", type=int, default=1, help="processes that try at a time")
    parser.add_argument("--failures", type=Path, default=Path("fuzz-failures"), help="folder")
    return parser


def _try_all(
    kinds: Sequence[Kind],
    asked: argparse.Namespace,
    root: Path,
    tried: list[Tried],
    started: float,
) -> None:
    """Rounds of all kinds in turn, each with a seed of its own, until it is time and enough."""
    seed, running = asked.seed, set[Future[list[Tried]]]()
    with ProcessPoolExecutor(
        asked.jobs, get_context("spawn"), start, (root, asked.failures.resolve())
    ) as pool:
        while True:
            for kind in kinds:
                count = max(round(ROUND * kind.weight), 1) if asked.only is None else asked.only + 1
                running.add(pool.submit(run_round, kind.name, seed, count, asked.only))
                while len(running) > asked.jobs:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for finished in done:
                        tried += finished.result()
                    _say(tried, started)
                if asked.only is None and _is_enough(asked, tried, started):
                    break
            if asked.only is not None or _is_enough(asked, tried, started):
                break
            seed += 1
        for finished in running:
            tried += finished.result()


def _is_enough(asked: argparse.Namespace, tried: list[Tried], started: float) -> bool:
    return time.monotonic() - started >= 60 * asked.minutes and len(tried) >= asked.inputs


def _say(tried: Sequence[Tried], started: float) -> None:
    failed = sum(bool(one.broken) for one in tried)
    line = f"{len(tried)} inputs in {time.monotonic() - started:.0f} s, {failed} broke a law"
    print(f"\r{line}" if sys.stderr.isatty() else line, end="", file=sys.stderr, flush=True)  # noqa: T201
    print(end="" if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True)  # noqa: T201


def _report(kinds: Sequence[Kind], tried: Sequence[Tried], seconds: float) -> None:
    by_kind: dict[str, list[Tried]] = defaultdict(list)
    for one in tried:
        by_kind[one.kind].append(one)
    lines = [
        f"{'kind':<36}{'tried':>7}{'survived':>10}{'slowest, s':>12}{'most, MB':>10}  exit codes"
    ]
    lines += [_row(kind.name, by_kind[kind.name]) for kind in kinds]
    lines += [_row("all", tried), f"{seconds:.0f} s"]
    for kind in kinds:
        failed = [one for one in by_kind[kind.name] if one.broken]
        reasons = Counter(reason for one in failed for reason in one.broken)
        lines += [f"{count:>5} x {kind.name}: {why}" for why, count in reasons.most_common()]
    for kind in kinds:
        failed = [one for one in by_kind[kind.name] if one.broken]
        lines += [str(one) for one in failed[:SHOWN]]
    print("\n".join(lines))  # noqa: T201


def _row(name: str, tried: Sequence[Tried]) -> str:
    if not tried:
        return f"{name:<36}{0:>7}"
    survived = sum(not one.broken for one in tried)
    slowest = max(one.ended.seconds for one in tried)
    most = max(one.ended.peak_mb for one in tried)
    codes = Counter(one.ended.code for one in tried)
    shown = ", ".join(f"{code}: {count}" for code, count in sorted(codes.items()))
    return f"{name:<36}{len(tried):>7}{survived:>10}{slowest:>12.1f}{most:>10.0f}  {shown}"


if __name__ == "__main__":
    sys.exit(main())
