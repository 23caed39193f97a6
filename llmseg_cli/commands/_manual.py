"""A page per command, made of the sections of its help: as Markdown, and as a man page."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmseg_cli.commands._help import EVERYTHING, sections_of, usage_of
from llmseg_cli.commands._help_layout import NO_BREAK, Section
from llmseg_cli.errors import EXIT_CODE_MEANING

OTHER_VARIABLES = {  # those of options stand with their options
    "NO_COLOR": "No colors, if it is set to anything.",
    "FORCE_COLOR": "Colors and bars also where the output is no terminal.",
    "OPENAI_API_KEY": "Key of the server of 'describe --llm openai:MODEL'.",
    "HF_HOME": "Folder of models that transformers has fetched.",
}
FILES = {
    "llmseg.yaml": "Options, in the folder that a command starts in.",
    "~/.config/llmseg/config.yaml": "Options for all folders of a user.",
    "~/.cache/llmseg": "Fetched weights, prepared cases, image embeddings; LLMSEG_CACHE moves it.",
}


@dataclass(frozen=True)
class Page:
    """What is told of a command.

    Args:
        name: All of its words, such as `llmseg weights list`.
        usage: Its words and what may follow them.
        description: Paragraphs, of which the first says what it does.
        sections: Example, arguments and options, with their titles.
        variables: Environment variable to what it sets.
        parts: Its commands, of a group.
    """

    name: str
    usage: str
    description: Sequence[str]
    sections: Sequence[Section]
    variables: Mapping[str, str] = field(default_factory=dict)
    parts: Sequence["Page"] = ()

    @property
    def file(self) -> str:
        """Name of its man page, such as `llmseg-train-sup`."""
        return self.name.replace(" ", "-")


def page_of(program: Any, *words: str) -> Page:
    """The page of a command; without words, of the program.

    Args:
        program: The command of all commands.
        words: Of the command, without `llmseg`.
    """
    context = _context(program, "llmseg", None)
    command = program
    for word in words:
        command = command.get_command(context, word)
        context = _context(command, word, context)
    return _page(command, context, parts=bool(words))


def pages_of(program: Any) -> Iterator[Page]:
    """The page of the program, which has all variables, and one per command or group."""
    context = _context(program, "llmseg", None)
    pages = [page_of(program, name) for name in program.list_commands(context)]
    whole = page_of(program)
    variables: dict[str, str] = {}
    for page in (*pages, *(part for one in pages for part in one.parts)):
        variables = {**page.variables, **variables}
    yield Page(whole.name, whole.usage, whole.description, whole.sections, variables)
    yield from pages


def _context(command: Any, name: str, parent: Any) -> Any:
    context = command.context_class(
        command, info_name=name, parent=parent, **command.context_settings
    )
    context.meta[EVERYTHING] = True
    return context


def _page(command: Any, context: Any, *, parts: bool) -> Page:
    first, *others = sections_of(command, context)
    names = command.list_commands(context) if parts and hasattr(command, "commands") else []
    inner = [command.get_command(context, name) for name in names]
    return Page(
        name=context.command_path,
        usage=usage_of(command, context).removeprefix("Usage: "),
        description=first.paragraphs,
        sections=[part for part in others if part.title and (part.lines or part.rows)],
        variables={p.envvar: p.help for p in command.params if isinstance(p.envvar, str)},
        parts=[
            _page(one, _context(one, name, context), parts=True)
            for name, one in zip(names, inner, strict=True)
        ],
    )


def as_markdown(page: Page, mentioned: Sequence[str] = (), level: int = 1) -> str:
    """The page for `llmseg guide COMMAND`.

    Args:
        page: The command's.
        mentioned: Topics of the guide in which it occurs.
        level: Of its heading.
    """
    blocks = [f"{'#' * level} {page.name}", *map(_marked, page.description)]
    blocks.append(f"```text\n{page.usage}\n```")
    for part in page.sections:
        blocks.append(f"{'#' * (level + 1)} {part.title}")
        blocks += ["```sh\n{}\n```".format("\n".join(part.lines))] if part.lines else []
        rows = [f"- `{name}`: {_marked(text)}" for name, text in part.rows]
        blocks += ["\n".join(rows)] if rows else []
    blocks += [as_markdown(part, level=level + 1).rstrip("\n") for part in page.parts]
    if mentioned:
        blocks.append(f"See also: {', '.join(f'`llmseg guide {name}`' for name in mentioned)}.")
    return "\n\n".join(blocks).replace(NO_BREAK, " ") + "\n"


def _marked(text: str) -> str:
    """Plain text as Markdown that shows it."""
    return re.sub(r"([\\`*<])", r"\\\1", text)


def as_man_page(page: Page, version: str, mentioned: Sequence[str] = ()) -> str:
    """The page in roff, with the macros of man(7).

    Args:
        page: The command's.
        version: Of llmseg.
        mentioned: Topics of the guide in which it occurs.
    """
    summary = _roff(page.description[0].removesuffix("."))
    lines = [f'.TH "{_roff(page.file.upper())}" "1" "" "llmseg {version}" "llmseg"']
    lines += [".SH NAME", f"{_roff(page.file)} \\- {summary}"]
    lines += [".SH SYNOPSIS", *_usage(page), ".SH DESCRIPTION", *_paragraphs(page.description)]
    lines += [line for part in page.sections for line in _section(part)]
    lines += [line for part in page.parts for line in _part(part)]
    lines += [*_terms("EXIT STATUS", {str(int(c)): m for c, m in EXIT_CODE_MEANING.items()})]
    is_whole = page.name == "llmseg"
    variables = {**page.variables, **OTHER_VARIABLES} if is_whole else page.variables
    lines += [*_terms("ENVIRONMENT", variables), *_terms("FILES", FILES if is_whole else {})]
    topics = [f"llmseg guide {name}" for name in mentioned] or ["llmseg guide"]
    others = [] if is_whole else [r"\fBllmseg\fR(1)"]
    lines += [".SH SEE ALSO", ", ".join([*others, *(rf"\fB{_roff(one)}\fR" for one in topics)])]
    return "\n".join(lines).replace(NO_BREAK, " ") + "\n"


def _usage(page: Page) -> Iterator[str]:
    yield rf"\fB{_roff(page.name)}\fR{_roff(page.usage.removeprefix(page.name))}"


def _paragraphs(texts: Sequence[str]) -> Iterator[str]:
    for text in texts:
        yield from (".PP", _line(text))


def _section(part: Section, heading: str = ".SH") -> Iterator[str]:
    title = part.title.upper() if heading == ".SH" else part.title
    yield f'{heading} "{_roff(title)}"'
    if part.lines:
        yield from (".PP", ".nf", *map(_line, part.lines), ".fi")
    yield from (line for row in part.rows for line in _term(*row))


def _part(page: Page) -> Iterator[str]:
    """A command of a group; its parts are named by its words, for sections cannot nest."""
    yield from (f'.SH "{_roff(page.name.upper())}"', *_paragraphs(page.description))
    yield from (".PP", *_usage(page))
    for part in page.sections:
        yield from _section(part, ".SS")


def _terms(title: str, rows: Mapping[str, str]) -> Iterator[str]:
    if rows:
        yield f".SH {title}"
    yield from (line for row in rows.items() for line in _term(*row))


def _term(name: str, text: str) -> Iterator[str]:
    yield from (".TP", rf"\fB{_roff(name)}\fR", _line(text))


def _line(text: str) -> str:
    r"""Text as a line of roff: a leading dot or quote would be a request, `\&` hides it."""
    found = _roff(text)
    return rf"\&{found}" if found.startswith((".", "'")) else found


def _roff(text: str) -> str:
    """Text in which roff sees no commands, and whose hyphens can be copied as they are."""
    return text.replace("\\", r"\e").replace("-", r"\-").replace('"', r"\(dq")
