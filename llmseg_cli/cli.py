"""The program: command table and error boundary."""

import errno
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.main import get_group

from llmseg_cli import console, process
from llmseg_cli.artifacts import command_line
from llmseg_cli.artifacts.cache_folder import default_cache
from llmseg_cli.commands._help import Command, Group
from llmseg_cli.commands._summaries import SUMMARIES
from llmseg_cli.errors import EXIT_CODE_MEANING, ExitCode, LlmsegError, is_out_of_memory

COMMANDS: dict[str, str] = {
    "auto": "llmseg_cli.commands.auto:auto",
    "check": "llmseg_cli.commands.check:check",
    "describe": "llmseg_cli.commands.describe:describe",
    "plan": "llmseg_cli.commands.plan:plan",
    "embed": "llmseg_cli.commands.embed:embed",
    "split": "llmseg_cli.commands.split:split",
    "train-sup": "llmseg_cli.commands.train_sup:train_sup",
    "mine-sam": "llmseg_cli.commands.mine_sam:mine_sam",
    "train-semi": "llmseg_cli.commands.train_semi:train_semi",
    "predict": "llmseg_cli.commands.predict:predict",
    "ensemble": "llmseg_cli.commands.ensemble:ensemble",
    "calibrate": "llmseg_cli.commands.calibrate:calibrate",
    "explain": "llmseg_cli.commands.explain:explain",
    "score": "llmseg_cli.commands.score:score",
    "suggest": "llmseg_cli.commands.suggest:suggest",
    "report": "llmseg_cli.commands.report:report",
    "paper": "llmseg_cli.commands.paper:paper",
    "convert": "llmseg_cli.commands.convert:convert",
    "export": "llmseg_cli.commands.export:export",
    "guide": "llmseg_cli.commands.guide:guide",
    "config": "llmseg_cli.commands.config:config",
    "recipe": "llmseg_cli.commands.recipe:recipe",
    "weights": "llmseg_cli.commands.weights:weights",
    "cache": "llmseg_cli.commands.cache:cache",
    "bench": "llmseg_cli.commands.bench:bench",
    "doctor": "llmseg_cli.commands.doctor:doctor",
    "demo-data": "llmseg_cli.commands.demo_data:demo_data",
    "completion": "llmseg_cli.commands.completion:completion",
}

UNUSABLE = (
    errno.EACCES, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EPERM,
    errno.EROFS,
)  # fmt: skip


class _Commands(Mapping[str, Any]):
    """The commands by name; the module of one is imported when it is asked for, and not before.

    Args:
        targets: Name to `module:attribute`.
    """

    def __init__(self, targets: dict[str, str]) -> None:
        self._targets = dict(targets)
        self._built: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._built:
            self._built[name] = _build(name, self._targets[name])
        return self._built[name]

    def __contains__(self, name: object) -> bool:
        return name in self._targets

    def __iter__(self) -> Iterator[str]:
        return iter(self._targets)

    def __len__(self) -> int:
        return len(self._targets)


def _build(name: str, target: str) -> Any:
    """The command of a function, or the group of commands that a `Typer` holds."""
    module, _, attribute = target.partition(":")
    found = getattr(import_module(module), attribute)
    holder = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    if isinstance(found, typer.Typer):
        holder.add_typer(found, name=name)
    else:
        holder.command(name, cls=Command)(found)
    return get_group(holder).commands[name]


def _unbuilt() -> dict[str, Any]:
    """The commands without their modules, as a list of them shows them."""
    return {name: Command(name, help=SUMMARIES[name]) for name in COMMANDS}


class _Program(Group):
    """The one place where errors become messages and exit codes."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _Commands(COMMANDS)  # type: ignore[assignment]  # nothing adds to them

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)  # their names alone

    def summaries(self, ctx: Any) -> list[tuple[str, str]]:
        return list(SUMMARIES.items())  # without their modules

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        built, self.commands = self.commands, _unbuilt()  # their names and summaries are enough
        try:
            return super().shell_complete(ctx, incomplete)
        finally:
            self.commands = built

    def make_context(self, info_name: Any, args: list[str], *more: Any, **kwargs: Any) -> Any:
        command_line.note(args)  # before they are consumed
        with _boundary():
            return super().make_context(info_name, args, *more, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        with _boundary():
            return super().invoke(ctx)


@contextmanager
def _boundary() -> Iterator[None]:
    try:
        yield
    except typer.BadParameter as error:
        from llmseg_cli.commands._command import file_of

        if path := file_of(error):
            error.message = f"{error.message.rstrip('.')}. It is set in {path}."
        raise
    except LlmsegError as error:
        console.error(str(error), code=error.exit_code)
        raise typer.Exit(int(error.exit_code)) from error
    except (BrokenPipeError, SystemExit) as error:
        is_ours = isinstance(error, BrokenPipeError)
        if not is_ours and not isinstance(error.__context__, BrokenPipeError):
            raise  # rich takes a broken pipe on itself, as 1
        process.silence(sys.stdout)
        raise typer.Exit(int(ExitCode.BROKEN_PIPE)) from error
    except EOFError as error:  # typer takes it for Ctrl-D at a question, and llmseg asks none
        raise RuntimeError("A file ended before its time.") from error
    except (MemoryError, OSError, RuntimeError) as error:
        if message := _resource_message(error):
            console.error(message)
            raise typer.Exit(int(ExitCode.RESOURCE)) from error
        if message := _path_message(error):
            console.error(message)
            raise typer.Exit(int(ExitCode.USAGE)) from error
        raise


def _path_message(error: Exception) -> str | None:
    """What to say of a path that cannot be used, for other reasons than a full disk."""
    if not isinstance(error, OSError):
        return None
    path = error.filename2 or error.filename
    if path and _is_of_cache(Path(os.fsdecode(path))):
        return (
            f"The cache cannot be used ({path}: {error.strerror}). Name another folder with "
            "--cache or LLMSEG_CACHE."
        )
    if error.errno not in UNUSABLE:
        return None
    return (
        f"Cannot use {path or 'a file'}: {error.strerror}. Choose another path, or change its "
        "permissions."
    )


def _is_of_cache(path: Path) -> bool:
    """Whether a path is in the cache folder, or a folder above it that cannot be made."""
    cache = default_cache()
    return path.is_relative_to(cache) or (cache.is_relative_to(path) and not path.exists())


def _resource_message(error: Exception) -> str | None:
    if is_out_of_memory(error):
        return (
            "Out of memory. Use a smaller batch (--batch, or --windows of predict), a smaller "
            "--patch, or --device cpu."
        )
    if not isinstance(error, OSError):
        return None
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"No space left while writing {error.filename or 'standard output or a file'}. "
            "Free some disk and run the same command again."
        )
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return (
            f"{error.strerror} at a time. Raise the limit with 'ulimit -n 4096', and run the same "
            "command again."
        )
    return None


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version  # takes as long as typer

        console.print_lines([f"llmseg {version('llmseg')}"])
        raise typer.Exit


def _epilogue() -> str:
    codes = [f"{int(code)} {meaning}" for code, meaning in EXIT_CODE_MEANING.items()]
    return "Exit codes: " + "; ".join(codes) + "."


app = typer.Typer(
    cls=_Program,
    name="llmseg",
    help="Segment medical scans with few labels and much unlabeled data. Research use only.",
    epilog=_epilogue(),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _root(
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Segment medical scans with few labels and much unlabeled data. Research use only."""


def main() -> None:
    """Run the program."""
    process.begin()
    try:
        app()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        raise SystemExit(process.end(code)) from None
    except KeyboardInterrupt:  # before typer listens
        raise SystemExit(int(ExitCode.INTERRUPTED)) from None
