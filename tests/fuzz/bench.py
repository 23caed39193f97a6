"""One example: a copy of sound inputs, damaged, given to a command, and the law."""

import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fuzz import law
from fuzz.choices import Choices
from fuzz.forking import LIMIT_S, Ended, forks
from fuzz.kinds import Kind
from fuzz.sound import Sound, scan

EXAMPLE = "home/study/example"  # within the world; what a name with some `..` reaches is watched


@dataclass(frozen=True)
class Tried:
    """What one example came to.

    Args:
        kind: Of what it was.
        seed: Of the series that it was drawn in.
        number: Its place there, counted from 0.
        damage: What was done to sound inputs, in words.
        words: The command, without `llmseg`.
        ended: How the command ended.
        broken: The laws that it broke.
        kept: Where the inputs were kept, if it broke one.
    """

    kind: str
    seed: int
    number: int
    damage: str
    words: tuple[str, ...]
    ended: Ended
    broken: tuple[str, ...]
    kept: Path | None = None

    def __str__(self) -> str:
        place = f"\n    inputs: {self.kept}" if self.kept else ""
        return (
            f"{self.kind}, seed {self.seed}, example {self.number}: {'; '.join(self.broken)}\n"
            f"    damage: {self.damage}\n    command: llmseg {shlex.join(self.words)}{place}"
        )


class Bench:
    """A world for examples, one after the other.

    Args:
        root: An empty folder; it is where everything happens.
        sound: Makes sound inputs.
        failures: Where inputs that break a law are kept.
    """

    def __init__(self, root: Path, sound: Sound, failures: Path) -> None:
        self.world, self.sound, self.failures = root / "world", sound, failures
        self.example = self.world / EXAMPLE
        self._rehearsed: set[tuple[str, str]] = set()
        _fill_world(self.example)
        self._outside = law.inventory(self.world)

    def attempt(self, kind: Kind, choices: Choices, *, seed: int, number: int) -> Tried:
        """Damage, run, judge; inputs that break a law are kept."""
        words = choices.pick(kind.commands)
        source = self.sound.folder(kind.sound)
        self._rehearse(kind, words, source)
        self._copy(source)
        damage = kind.damage(choices, self.example)
        before = self._inventory()
        ended = self.sound.forks.run(words, self.example, limit_s=LIMIT_S)
        after = law.inventory(self.world)
        found = law.broken(ended, before, after, example=os.fsencode(EXAMPLE) + b"/")
        tried = Tried(kind.name, seed, number, damage, words, ended, tuple(found))
        if not found:
            return tried
        self._restore(before, after)
        return self._keep(tried, kind, choices)

    def _inventory(self) -> law.Inventory:
        inside = law.inventory(self.example)
        return self._outside | {os.fsencode(EXAMPLE) + b"/" + k: v for k, v in inside.items()}

    def _rehearse(self, kind: Kind, words: tuple[str, ...], source: Path) -> None:
        """Once a command, on sound inputs: what it imports late is then there for all forks."""
        if (kind.sound, words[0]) not in self._rehearsed:
            self._rehearsed.add((kind.sound, words[0]))
            self._copy(source)
            ended = self.sound.forks.run(words, self.example, rehearse=True)
            assert ended.code in law.LAWFUL, f"sound inputs, llmseg {shlex.join(words)}: {ended}"

    def _copy(self, source: Path) -> None:
        _remove(self.example)
        shutil.copytree(source, self.example, symlinks=True)
        (self.example / "tmp").mkdir(exist_ok=True)

    def _restore(self, before: law.Inventory, after: law.Inventory) -> None:
        """Make the world anew if something outside the example changed."""
        own = os.fsencode(EXAMPLE) + b"/"
        outside = [
            {k: v for k, v in found.items() if not k.startswith(own)} for found in (before, after)
        ]
        if outside[0] != outside[1]:
            _remove(self.world)
            _fill_world(self.example)

    def _keep(self, tried: Tried, kind: Kind, choices: Choices) -> Tried:
        """Keep what is needed to see it again: inputs, command, and what was said."""
        target = self.failures / f"{tried.kind}-{tried.seed}-{tried.number}"
        _remove(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        if self.example.exists():
            shutil.copytree(self.example, target, symlinks=True, copy_function=_copy_file)
        target.mkdir(exist_ok=True)
        (target / "command.sh").write_text(f"llmseg {shlex.join(tried.words)}\n")
        (target / "why.txt").write_text(f"{tried}\n")
        (target / "stderr.txt").write_text(tried.ended.stderr, errors="backslashreplace")
        return Tried(**{**vars(tried), "kept": target})


def _copy_file(source: str, target: str) -> None:
    """A copy; of what is no file, nothing: a pipe would wait for ever."""
    if Path(source).is_file():
        shutil.copyfile(source, target)


def _fill_world(example: Path) -> None:
    """Files of the user on all levels above the example, in its home, and where caches go."""
    example.mkdir(parents=True)
    for folder in (example.parent, example.parent.parent, example.parent.parent.parent):
        (folder / "victim.txt").write_text(f"of the user, in {folder.name}\n")
        (folder / "victim.nii.gz").write_bytes(scan(3)[1].tobytes())
        (folder / "victim.h5").write_bytes(b"not of llmseg")
        for name in ("images", "labels", ".cache", "pseudo"):
            (folder / name).mkdir()
            (folder / name / "victim.txt").write_text("of the user\n")


def _remove(folder: Path) -> None:
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)


@contextmanager
def bench(root: Path, failures: Path) -> Iterator[Bench]:
    """A bench in *root*, with a process that forks."""
    example = root / "world" / EXAMPLE
    environment = {
        "HOME": str(example.parent.parent),
        "TMPDIR": str(example / "tmp"),
        "LLMSEG_CACHE": "cache",
        "LLMSEG_OFFLINE": "1",
        "HF_HUB_OFFLINE": "1",
        "XDG_CONFIG_HOME": str(example.parent / "config"),
        "XDG_CACHE_HOME": str(example.parent.parent / ".cache"),
    }
    root.mkdir(parents=True, exist_ok=True)
    with forks(root, environment) as process:
        yield Bench(root, Sound(root / "sound", process), failures)
