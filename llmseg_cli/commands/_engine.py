"""Who does the cases of `predict` and `mine-sam`: this process, or tasks of Ray."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import typer

from llmseg_cli import console
from llmseg_cli.commands._hints import OneOf
from llmseg_cli.errors import UsageError, unknown
from llmseg_cli.progress import Progress

T = TypeVar("T")
HERE, RAY = ENGINES = ("here", "ray")
PANEL = "Machine"


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """Who does the cases."""

    engine: Annotated[
        str,
        typer.Option(
            help="Who does the cases: this process, or tasks of Ray on all processors or machines "
            "(pip install 'llmseg[ray]').",
            rich_help_panel=PANEL,
        ),
        OneOf(ENGINES),
    ] = HERE
    address: Annotated[
        str | None,
        typer.Option(
            help="Cluster of Ray: auto, or its HOST:PORT; default: this machine alone.",
            metavar="NAME",
            rich_help_panel=PANEL,
        ),
    ] = None
    cpus_per_case: Annotated[
        float,
        typer.Option(
            min=0.1, help="With --engine ray: processors of a case.", rich_help_panel=PANEL
        ),
    ] = 1.0
    gpus_per_case: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="With --engine ray: GPUs of a case, such as 0.25 for four at a time on each.",
            show_default="1 if there are GPUs",
            rich_help_panel=PANEL,
        ),
    ] = None

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise unknown("engine", self.engine, ENGINES)

    @property
    def is_shared(self) -> bool:
        """Whether others do the cases."""
        return self.engine != HERE

    def do(
        self,
        work: Callable[[Any, bool], T],
        function: Callable[..., Any],
        words: Mapping[str, Any],
        cases: Callable[[], int],
        progress: Progress,
        *,
        part: tuple[Any, bool],
    ) -> T:
        """Do the cases, a share of them, or join shares.

        Args:
            work: Given a shard, or None, and whether to join, does it here.
            function: Does the same, given *words*, in another process.
            words: Its arguments.
            cases: Looks how many cases there are.
            progress: Hears how far it is.
            part: What of `--shard` and `--merge` was asked.
        """
        from llmseg_cli.workflows.shards.share import in_shards

        shard, merge = part
        resume, force, dry_run = (bool(words[name]) for name in ("resume", "force", "dry_run"))
        if self.engine == HERE or dry_run:
            return in_shards(
                work,
                words["out"],
                shard=shard,
                merge=merge,
                dry_run=dry_run,
                tell=console.info,
            )
        from llmseg_cli.workflows.shards.on_ray import RayOptions, Work, do_on_ray

        if shard is not None or merge:
            raise UsageError("--engine ray makes its own shards. Leave --shard and --merge out.")
        asked = {k: v for k, v in words.items() if k not in ("resume", "force", "dry_run")}
        do_on_ray(
            Work(function, asked, words["out"], cases()),
            RayOptions(self.address, self.cpus_per_case, self.gpus_per_case),
            resume=resume,
            force=force,
            progress=progress,
            hear=console.info,
        )
        return work(None, True)
