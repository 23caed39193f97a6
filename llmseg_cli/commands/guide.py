"""`llmseg guide`; no general options, so that no configuration file can hide the guide."""

import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from llmseg_cli import console
from llmseg_cli.artifacts.files import write_text
from llmseg_cli.commands._hints import BASIC, OneOf, example
from llmseg_cli.commands._manual import as_man_page, as_markdown, page_of, pages_of
from llmseg_cli.errors import UsageError, unknown

GUIDE = Path(__file__).parent.parent / "guide"
INDEX = "index"
MARK = '.\\" Made by llmseg guide --man.\n'  # at the start of each man page, so that it is known


def topics() -> list[str]:
    """Names of the pages that are written, without the index."""
    return sorted(path.stem for path in GUIDE.glob("*.md") if path.stem != INDEX)


@example("llmseg guide first-steps")
def guide(
    context: typer.Context,
    topic: Annotated[
        str | None,
        typer.Argument(help="Page, or the name of a command. Without, a list", metavar="TOPIC"),
        OneOf(topics),
    ] = None,
    man: Annotated[
        Path | None,
        typer.Option(help="Write man pages of all commands there.", metavar="FOLDER"),
        BASIC,
    ] = None,
) -> None:
    """Read the guide: how to start, which method when, what went wrong, and each command.

    On a terminal the page is laid out; a pipe gets its Markdown.
    """
    program: Any = context.find_root().command
    if man is not None:
        if topic is not None:
            raise UsageError("--man writes the pages of all commands. Pass it without a topic.")
        _write_man_pages(program, man)
        return
    console.page(_page(program, context, topic or INDEX), for_terminal=_without_links)


def _page(program: Any, context: typer.Context, name: str) -> str:
    commands = program.list_commands(context)
    if name in commands:
        return as_markdown(page_of(program, name), mentioning(f"llmseg {name}"))
    if name != INDEX and name not in topics():
        raise unknown("topic", name, [*topics(), *commands])
    text = (GUIDE / f"{name}.md").read_text(encoding="utf-8")
    return text if name != INDEX else f"{text}\n{', '.join(f'`{one}`' for one in commands)}\n"


def mentioning(words: str) -> list[str]:
    """Topics whose pages say the words, such as `llmseg split`."""
    said = re.compile(rf"\b{re.escape(words)}(?![\w-])")
    texts = {name: (GUIDE / f"{name}.md").read_text(encoding="utf-8") for name in topics()}
    return [name for name, text in texts.items() if said.search(text)]


def _without_links(text: str) -> str:
    """Links to other pages as the commands that show them, and to other files as their paths."""
    text = re.sub(r"\[([\w-]+)\]\(\1\.md\)", r"`\1`", text)
    text = re.sub(r"\[([^\]]+)\]\(([\w-]+)\.md\)", r"\1 (`llmseg guide \2`)", text)
    text = re.sub(r"\[([\w/.-]+)\]\((?:\.\./)+\1\)", r"`\1` of the repository", text)
    return re.sub(r"!?\[([^\]]+)\]\((?:\.\./)+([^)]+)\)", r"\1 (`\2` of the repository)", text)


def _write_man_pages(program: Any, folder: Path) -> None:
    pages = dict(_man_pages(program))
    for name in pages:
        _refuse_other_file(folder / name)
    for name, text in pages.items():
        write_text(folder / name, text)
    console.info(f"{folder}: {len(pages)} man pages. Read one with 'man -l {folder}/llmseg.1'.")


def _man_pages(program: Any) -> Iterator[tuple[str, str]]:
    release = version("llmseg")
    for page in pages_of(program):
        mentioned = mentioning(page.name) if page.name != "llmseg" else topics()
        yield f"{page.file}.1", MARK + as_man_page(page, release, mentioned)


def _refuse_other_file(path: Path) -> None:
    if path.exists() and not path.read_bytes().startswith(MARK.encode()):
        raise UsageError(
            f"{path} exists, and 'llmseg guide --man' did not write it. Choose another folder."
        )
