"""How progress is shown: bars on a terminal, plain lines in a log, JSON lines for programs."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from llmseg_cli.artifacts.text import visible
from llmseg_cli.progress import LEFT, UNITS, Progress, duration, in_words

if TYPE_CHECKING:
    from rich.console import Console

PLAIN_FIRST_S, PLAIN_EVERY_S = 3.0, 30.0


@contextmanager
def bars(console: "Console") -> Iterator[Progress]:
    """A bar per phase; one that is full goes when another phase goes on."""
    from rich.progress import BarColumn, SpinnerColumn, TextColumn
    from rich.progress import Progress as Bars
    from rich.table import Column

    def text(field: str) -> TextColumn:
        column = Column(no_wrap=True, overflow="crop")
        return TextColumn(f"{{task.{field}}}", markup=False, table_column=column)

    bar = BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=3))
    columns = (SpinnerColumn(), text("description"), bar, text("fields[facts]"))
    with Bars(*columns, console=console, transient=True, expand=True) as bars:
        tasks: dict[str, Any] = {}

        def report(phase: str, done: int, total: int, **values: float | str) -> None:
            for other, task in tasks.items():
                if other != phase and bars.tasks[task].finished:
                    bars.update(task, visible=False)
            if phase not in tasks:
                tasks[phase] = bars.add_task(visible(phase), total=total, facts="")
            task = tasks[phase]
            if done < bars.tasks[task].completed:  # it begins anew
                bars.reset(task)
            bars.update(task, completed=done, total=total, visible=True)
            left = values.get(LEFT, bars.tasks[task].time_remaining)
            bars.update(task, facts=facts_of(done, total, left, values), refresh=done in (0, total))

        yield report


def json_progress(phase: str, done: int, total: int, **values: float | str) -> None:
    line = {"t": round(time.time(), 3), "phase": phase, "step": done, "total": total, **values}
    sys.stderr.write(json.dumps(line) + "\n")
    sys.stderr.flush()


class PlainProgress:
    """A line when a phase has run for a moment, then now and then, and at its end."""

    def __init__(self, unit: str, say: Callable[[str], None]) -> None:
        self.unit, self.say = unit, say
        self.due: dict[str, float] = {}

    def __call__(self, phase: str, done: int, total: int, **values: float | str) -> None:
        now = time.monotonic()
        due = self.due.setdefault(phase, now + PLAIN_FIRST_S)
        if done >= total or now >= due:
            self.due[phase] = now + PLAIN_EVERY_S
            unit = UNITS.get(phase, self.unit)
            self.say(f"{phase}: {unit} {facts_of(done, total, values.get(LEFT), values)}")


def facts_of(
    done: int, total: int, left: float | str | None, values: Mapping[str, float | str]
) -> str:
    """What a report says, in at most 70 signs for a training."""
    remaining = f"{duration(float(left))} left" if left is not None and done < total else ""
    return visible(" ".join(filter(None, (f"{done}/{total}", remaining, in_words(values)))))
