"""Names that file systems allow, and things that stand where a file should."""

import os
from collections.abc import Callable
from pathlib import Path

from fuzz.choices import Choices

STEMS = (
    b"-rf", b"--out", b".hidden", b"..", b"...", b"a b", b" a", b"a ", b"a\nb", b"a\tb", b"\x7f",
    b"a\x1b[31mb", b"\xff\xfe", b"caf\xe9", "caf\u00e9".encode(), "cafe\u0301".encode(), b"[red]x",
    b"[bold]", b"{0}", b"%s%n", b"$HOME", b"~", b"`id`", b"a;b", b"a\\b", b"..\\..\\x", b"CON",
    b"a:b", b"a*b", b"a?b", b"=1+1", b"@x", b"n" * 230, "\u202egnp".encode(), b"a_0000", b"a_0001",
    "\U0001f9e0".encode(), b"a.nii", b"a.png", b"CASE0", b"case0_seg", b"1", b"null", b"a,b",
    b'a"b', b"a'b", b"a.",
)  # fmt: skip
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/urandom")


def odd_name(choices: Choices, folder: Path) -> str:
    """Give a file of a folder another name, with its suffix, or a twin of that name."""
    path = choices.pick(sorted(folder.iterdir()))
    stem, suffix = choices.pick(STEMS), "".join(path.suffixes)
    end = choices.pick((suffix, suffix, suffix, suffix.upper(), ""))
    target = folder / (os.fsdecode(stem) + end)
    if os.path.lexists(target):
        return f"{path.name} as it is"
    if choices.chance(3):
        target.write_bytes(path.read_bytes())
        return f"{path.name} also as {target.name!r}"
    path.rename(target)
    return f"{path.name} as {target.name!r}"


def odd_thing(choices: Choices, path: Path) -> str:
    """Put something else where a file was, or nothing."""
    kept = path.read_bytes()
    path.unlink()
    name = choices.pick(list(THINGS))
    THINGS[name](choices, path, kept)
    return f"{path.name}: {name}"


def _full_folder(choices: Choices, path: Path, kept: bytes) -> None:
    path.mkdir()
    (path / "inner.txt").write_bytes(kept)


def _link(choices: Choices, path: Path, kept: bytes) -> None:
    path.with_name("linked").write_bytes(kept)
    path.symlink_to("linked")


def _device(choices: Choices, path: Path, kept: bytes) -> None:
    path.symlink_to(choices.pick(DEVICES))


def _random(choices: Choices, path: Path, kept: bytes) -> None:
    path.write_bytes(bytes(choices.whole(0, 255) for _ in range(40)))


THINGS: dict[str, Callable[[Choices, Path, bytes], object]] = {
    "nothing": lambda choices, path, kept: None,
    "a folder": lambda choices, path, kept: path.mkdir(),
    "a folder that holds it": _full_folder,
    "a link to itself": lambda choices, path, kept: path.symlink_to(path.name),
    "a link to nowhere": lambda choices, path, kept: path.symlink_to("nowhere"),
    "a link out": lambda choices, path, kept: path.symlink_to("../" * 12 + "etc/passwd"),
    "a link to it": _link,
    "a link to a device": _device,
    "a pipe": lambda choices, path, kept: os.mkfifo(path),
    "empty": lambda choices, path, kept: path.write_bytes(b""),
    "random bytes": _random,
}
