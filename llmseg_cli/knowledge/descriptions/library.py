"""The descriptions that the package ships, one YAML file a target."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from llmseg_cli.artifacts.files import sha256_file
from llmseg_cli.errors import ArtifactError, UsageError, unknown
from llmseg_cli.reading import read_text
from llmseg_cli.typed import fitted, parsed

FOLDER = Path(__file__).parents[2] / "library"


@dataclass(frozen=True)
class LibraryClass:
    """One class of a target: its names and its texts."""

    name: str
    aliases: tuple[str, ...]
    texts: tuple[str, ...]


@dataclass(frozen=True)
class LibraryEntry:
    """One file of the library.

    Args:
        name: The file's stem, such as `left-atrium`.
        target: The usual name of the target.
        aliases: Other names of it.
        modality: How the texts suppose it was imaged.
        licence: Licence of the texts.
        references: What they were checked against.
        classes: All classes of the target.
        default_classes: Those that are meant when a user names none.
        digest: SHA-256 of the file.
    """

    name: str
    target: str
    aliases: tuple[str, ...]
    modality: str
    licence: str
    references: tuple[str, ...]
    classes: tuple[LibraryClass, ...]
    default_classes: tuple[str, ...]
    digest: str

    def find_class(self, name: str) -> LibraryClass:
        """The class that *name* or one of its aliases means.

        Raises:
            UsageError: If there is none; the message lists what there is.
        """
        for found in self.classes:
            if _plain(name) in {_plain(known) for known in (found.name, *found.aliases)}:
                return found
        names = [found.name for found in self.classes]
        error = unknown(f"class of the library's '{self.target}'", name, names)
        raise UsageError(f"{error} For other classes use another --llm.")

    def suits(self, modality: str) -> bool:
        """Whether *modality* and the texts' own have a word in common, such as `MRI`."""
        return bool(set(_plain(modality).split()) & set(_plain(self.modality).split()))


@cache
def load_library() -> tuple[LibraryEntry, ...]:
    """All entries, by name."""
    return tuple(_read(path) for path in sorted(FOLDER.glob("*.yaml")))


def find_entry(target: str) -> LibraryEntry:
    """The entry that *target* or one of its aliases means; case and hyphens do not matter.

    Raises:
        UsageError: If there is none; the message lists all targets and the other providers.
    """
    known: dict[str, LibraryEntry] = {}
    for entry in load_library():
        known |= dict.fromkeys(map(_plain, (entry.target, entry.name, *entry.aliases)), entry)
    wanted = _plain(target)
    if wanted in known:
        return known[wanted]
    close = get_close_matches(wanted, known, n=1, cutoff=0.6)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    targets = ", ".join(entry.target for entry in load_library())
    raise UsageError(
        f"The library has no texts on '{target}'.{hint} It has: {targets}. For another target give "
        "--llm a model (ID, PATH, FILE.gguf, openai:MODEL; smollm2 only to try the pipeline) or "
        "your own texts (file:PATH)."
    )


def entry_of_classes(names: Sequence[str], *, hints: Sequence[str] = ()) -> LibraryEntry | None:
    """The entry that has all classes of a data set, if there is just one; hints break a tie.

    Args:
        names: Names of the foreground classes, as the data set has them.
        hints: What else may name the target, such as the name of the folder.
    """
    fitting = [entry for entry in load_library() if all(_has(entry, name) for name in names)]
    hinted = [entry for entry in fitting if any(_is_about(entry, hint) for hint in hints)]
    found = hinted or fitting
    return found[0] if len(found) == 1 and names else None


def _has(entry: LibraryEntry, name: str) -> bool:
    known = {_plain(n) for found in entry.classes for n in (found.name, *found.aliases)}
    return _plain(name) in known


def _is_about(entry: LibraryEntry, hint: str) -> bool:
    return _plain(hint) in {_plain(name) for name in (entry.target, entry.name, *entry.aliases)}


def library_texts() -> dict[str, dict[str, tuple[str, ...]]]:
    """All texts: target to class to texts."""
    return {
        entry.target: {found.name: found.texts for found in entry.classes}
        for entry in load_library()
    }


def _plain(name: str) -> str:
    return " ".join(name.lower().replace("-", " ").replace("_", " ").split())


@dataclass(frozen=True)
class _Texts:
    aliases: tuple[str, ...]
    texts: tuple[str, ...]


@dataclass(frozen=True)
class _File:
    """One file of the library, as it is written."""

    target: str
    aliases: tuple[str, ...]
    modality: str
    license: str
    author: str
    references: tuple[str, ...]
    classes: dict[str, _Texts]
    default_classes: tuple[str, ...] = ()


def _read(path: Path) -> LibraryEntry:
    text = read_text(path, error=ArtifactError)
    content = parsed(text, name=str(path), error=ArtifactError)
    found: _File = fitted(content, _File, name=str(path), text=text, error=ArtifactError)
    return LibraryEntry(
        name=path.stem,
        target=found.target,
        aliases=found.aliases,
        modality=found.modality,
        licence=found.license,
        references=found.references,
        classes=tuple(LibraryClass(n, one.aliases, one.texts) for n, one in found.classes.items()),
        default_classes=found.default_classes or tuple(found.classes),
        digest=sha256_file(path),
    )
