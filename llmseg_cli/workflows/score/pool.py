"""Score many cases, in this process or in several."""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

from llmseg_cli.errors import ResourceError
from llmseg_cli.progress import Progress
from llmseg_cli.workflows.score.case import CaseScore, ScoreSettings, ScoreTask, try_case

Outcome = CaseScore | str


def score_cases(
    tasks: Sequence[ScoreTask],
    settings: ScoreSettings,
    *,
    workers: int,
    phase: str,
    progress: Progress,
    hear: Callable[[str, Outcome], None] = lambda case, outcome: None,
) -> dict[str, Outcome]:
    """Score every case; one that fails gives its reason instead of stopping the others.

    Args:
        tasks: The cases.
        settings: How to score them.
        workers: Processes; 0 and 1 score in this one.
        phase: Name for *progress*.
        progress: Called after each case.
        hear: Told of each case's outcome at once.

    Returns:
        Case to its score or to a reason, in the order of *tasks*.

    Raises:
        ResourceError: If a worker process died.
    """
    if min(workers, len(tasks)) <= 1:
        found: dict[str, Outcome] = {}
        for done, task in enumerate(tasks, start=1):
            found[task.case] = try_case(task, settings)
            hear(task.case, found[task.case])
            progress(phase, done, len(tasks), case=task.case)
        return found
    return _in_processes(tasks, settings, min(workers, len(tasks)), phase, progress, hear)


def _in_processes(
    tasks: Sequence[ScoreTask],
    settings: ScoreSettings,
    workers: int,
    phase: str,
    progress: Progress,
    hear: Callable[[str, Outcome], None],
) -> dict[str, Outcome]:
    spawn = multiprocessing.get_context("spawn")  # fork is unsafe beside threads, and not portable
    with ProcessPoolExecutor(workers, mp_context=spawn) as pool:
        case_of: dict[Future[Outcome], str] = {
            pool.submit(try_case, task, settings): task.case for task in tasks
        }
        found: dict[str, Outcome] = {}
        try:
            for done, future in enumerate(as_completed(case_of), start=1):
                found[case_of[future]] = future.result()
                hear(case_of[future], found[case_of[future]])
                progress(phase, done, len(tasks), case=case_of[future])
        except BrokenProcessPool as error:
            raise ResourceError(
                "A process that scores cases was killed, probably for want of memory. "
                "Use --workers 0."
            ) from error
        except BaseException:  # an interrupt too: do not start what is still waiting
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return {task.case: found[task.case] for task in tasks}
